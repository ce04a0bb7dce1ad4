"""The gate: a candidate document in, a report out.

Hides SHACL and rdflib; the only importer of both. Judges a document together with the *faces* of what it refers to,
never with the whole store, so that the cost of a write does not grow with the graph. Promises that a document which passes

- conforms to every shape in `shapes/`;
- speaks only about its own subjects: its IRI, hash IRIs under it, and blank nodes;
- has no reference under the base that leads nowhere;
- uses no term of the vocabulary that the vocabulary does not define.

A verdict is data: it never raises for a document that is merely wrong.
"""

from __future__ import annotations

import difflib
import functools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyoxigraph as ox
import pyshacl
import rdflib
from pyshacl.helper.path_helper import shacl_path_to_sparql_path
from pyshacl.shapes_graph import ShapesGraph
from rdflib.namespace import SH

from kg import assets
from kg.documents import TURTLE, Document, to_bytes
from kg.terms import EKG, KINDS, ORG, PREFIXES, RDF_TYPE, Base, shorten
from kg.terms import SH as SH_NS

#: What the gate sees of a node in another document.
FACE = frozenset({RDF_TYPE, EKG + "modality", EKG + "aspect", ORG + "member"})

#: rdflib warns on every ill-typed literal; the shapes say the same with a place and a remedy.
logging.getLogger("rdflib.term").setLevel(logging.ERROR)

Face = tuple[ox.Triple, ...]


@dataclass(frozen=True)
class Result:
    """One thing to mend. IRIs are whole; `path` is a SPARQL property path; absent parts are None."""

    focus: str
    path: str | None
    value: str | None
    message: str
    component: str
    shape: str | None = None

    def in_words(self, base: Base) -> str:
        """One line for a person: which node, which property, what to do."""
        path = f" {shorten(self.path, base)}" if self.path else ""
        value = f" (value: {shorten(self.value, base)[:120]})" if self.value else ""
        return f"{shorten(self.focus, base)}{path}: {self.message}{value}"


@dataclass(frozen=True)
class Report:
    """The verdict on one document. `results` is empty where it conforms, else ordered by node, path and message."""

    document: str
    results: tuple[Result, ...]

    @property
    def conforms(self) -> bool:
        return not self.results

    def as_json(self) -> dict[str, Any]:
        return {
            "document": self.document,
            "conforms": self.conforms,
            "results": [asdict(result) for result in self.results],
        }


def reports_as_json(reports: Iterable[Report]) -> str:
    """The reports as a JSON array."""
    return json.dumps([report.as_json() for report in reports], ensure_ascii=False, indent=2)


def reports_as_turtle(reports: Iterable[Report]) -> bytes:
    """The reports as one SHACL validation report each (SHACL section 3.6), in Turtle."""

    def node(text: str) -> ox.NamedNode | ox.BlankNode | ox.Literal:
        if text.startswith("_:"):
            return ox.BlankNode(text[2:])
        try:
            return ox.NamedNode(text)
        except ValueError:
            return ox.Literal(text)

    def sh(name: str) -> ox.NamedNode:
        return ox.NamedNode(SH_NS + name)

    def triples() -> Iterator[ox.Triple]:
        a = ox.NamedNode(RDF_TYPE)
        for report in reports:
            root = ox.BlankNode()
            yield ox.Triple(root, a, sh("ValidationReport"))
            yield ox.Triple(root, sh("conforms"), ox.Literal(report.conforms))
            for result in report.results:
                part = ox.BlankNode()
                yield ox.Triple(root, sh("result"), part)
                yield ox.Triple(part, a, sh("ValidationResult"))
                yield ox.Triple(part, sh("resultSeverity"), sh("Violation"))
                yield ox.Triple(part, sh("focusNode"), node(result.focus))
                yield ox.Triple(part, sh("sourceConstraintComponent"), ox.NamedNode(result.component))
                yield ox.Triple(part, sh("resultMessage"), ox.Literal(result.message, language="en"))
                if result.path is not None and isinstance(path := node(result.path), ox.NamedNode):
                    yield ox.Triple(part, sh("resultPath"), path)
                if result.value is not None:
                    yield ox.Triple(part, sh("value"), node(result.value))
                if result.shape is not None:
                    yield ox.Triple(part, sh("sourceShape"), node(result.shape))

    return to_bytes(triples(), TURTLE)


def faces(document: Document) -> dict[str, Face]:
    """What the gate would see of each named node of this document when another refers to it."""
    result: dict[str, list[ox.Triple]] = {subject: [] for subject in document.subjects}
    for triple in document.triples:
        if isinstance(triple.subject, ox.NamedNode) and triple.predicate.value in FACE:
            result[triple.subject.value].append(triple)
    return {subject: tuple(triples) for subject, triples in result.items()}


def judge(document: Document, base: Base, neighbours: Mapping[str, Face]) -> Report:
    """The verdict on a document.

    `neighbours` maps each IRI that resolves to its face; a reference that is not in it leads nowhere.
    """
    results = {
        *_foreign_subjects(document, base),
        *_untyped_subjects(document, base),
        *_undefined_terms(document),
        *_dangling_references(document, base, neighbours),
        *_violations(document, base, neighbours),
    }
    return Report(document.iri, tuple(sorted(results, key=lambda r: (r.focus, r.path or "", r.message, r.value or ""))))


OWNERSHIP = EKG + "OwnershipConstraintComponent"
REFERENCE = EKG + "ReferenceConstraintComponent"
TERM = EKG + "TermConstraintComponent"


def _foreign_subjects(document: Document, base: Base) -> Iterator[Result]:
    for subject in document.subjects:
        if base.document_of(subject) != document.iri:
            yield Result(
                subject,
                None,
                None,
                f"A document speaks only about its own subjects: {document.iri} and hash IRIs under it. "
                f"State this in the document of {subject}, or leave it out.",
                OWNERSHIP,
            )


def _untyped_subjects(document: Document, base: Base) -> Iterator[Result]:
    types: dict[str, set[str]] = {subject: set() for subject in document.subjects}
    for triple in document.triples:
        if (
            triple.predicate.value == RDF_TYPE
            and isinstance(triple.subject, ox.NamedNode)
            and isinstance(triple.object, ox.NamedNode)
        ):
            types[triple.subject.value].add(triple.object.value)
    wanted = KINDS[base.kind_of(document.iri)]
    if wanted not in types.get(document.iri, set()):
        yield Result(
            document.iri,
            RDF_TYPE,
            None,
            f"The document must describe its own IRI as an {shorten(wanted)}: add `<{document.iri}> a {shorten(wanted)}`, "
            "or write it under the address of its kind.",
            OWNERSHIP,
        )
    for subject, known in types.items():
        if (
            not any(name.startswith(EKG) for name in known)
            and subject != document.iri
            and base.document_of(subject) == document.iri
        ):
            yield Result(
                subject,
                RDF_TYPE,
                None,
                "This node has no type of the vocabulary, so nothing could check it. Add one, such as `a ekg:Evidence`.",
                TERM,
            )


def _undefined_terms(document: Document) -> Iterator[Result]:
    defined = defined_terms()
    for triple in document.triples:
        for term in (triple.predicate, triple.object):
            if isinstance(term, ox.NamedNode) and term.value.startswith(EKG) and term.value not in defined:
                name = term.value.removeprefix(EKG)
                near = difflib.get_close_matches(name, [t.removeprefix(EKG) for t in defined], 1)
                hint = f"Did you mean ekg:{near[0]}?" if near else "See /ns for the terms there are."
                focus = str(triple.subject.value) if isinstance(triple.subject, ox.NamedNode) else str(triple.subject)
                yield Result(
                    focus,
                    triple.predicate.value,
                    term.value,
                    f"ekg:{name} is not a term of the vocabulary. {hint}",
                    TERM,
                )


def _dangling_references(document: Document, base: Base, neighbours: Mapping[str, Face]) -> Iterator[Result]:
    missing = document.references(base) - neighbours.keys()
    if not missing:
        return
    for triple in document.triples:
        if isinstance(triple.object, ox.NamedNode) and triple.object.value in missing:
            target = triple.object.value
            owner = base.document_of(target)
            if owner == document.iri:
                hint = f"Describe {shorten(target, base)} in this document, or mend the reference."
            elif owner is None:
                hint = f"Mend it: documents are named {base}({'|'.join(KINDS)})/slug."
            else:
                hint = f"Send {shorten(owner, base)} first or in the same batch, or mend the reference."
            focus = str(triple.subject.value) if isinstance(triple.subject, ox.NamedNode) else str(triple.subject)
            yield Result(focus, triple.predicate.value, target, f"This reference leads nowhere. {hint}", REFERENCE)


@functools.cache
def defined_terms() -> frozenset[str]:
    """The IRIs of every term that the vocabulary defines."""
    parsed = ox.parse(path=str(assets.folder("ontology") / "ekg.ttl"), format=ox.RdfFormat.TURTLE)
    return frozenset(quad.subject.value for quad in parsed if isinstance(quad.subject, ox.NamedNode))


# SHACL


@functools.cache
def _shapes() -> rdflib.Graph:
    graph = rdflib.Graph()
    for path in assets.files("shapes", "*.ttl"):
        graph.parse(data=path.read_text("utf-8"), format="turtle")
    return graph


def _to_rdflib(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> rdflib.term.Node:
    if isinstance(term, ox.NamedNode):
        return rdflib.URIRef(term.value)
    if isinstance(term, ox.BlankNode):
        return rdflib.BNode(term.value)
    assert isinstance(term, ox.Literal)
    if term.language is not None:
        return rdflib.Literal(term.value, lang=term.language, normalize=False)
    return rdflib.Literal(term.value, datatype=rdflib.URIRef(term.datatype.value), normalize=False)


def _violations(document: Document, base: Base, neighbours: Mapping[str, Face]) -> Iterator[Result]:
    data = rdflib.Graph()
    for triple in document.triples:
        data.add((_to_rdflib(triple.subject), _to_rdflib(triple.predicate), _to_rdflib(triple.object)))
    own = set(data.subjects())
    for reference in document.references(base):
        for triple in neighbours.get(reference, ()):
            data.add((_to_rdflib(triple.subject), _to_rdflib(triple.predicate), _to_rdflib(triple.object)))
    _, report, _ = pyshacl.validate(
        data, shacl_graph=_shapes(), inference="none", advanced=False, meta_shacl=False, inplace=True
    )
    assert isinstance(report, rdflib.Graph)
    for node in report.objects(None, SH.result):
        focus = report.value(node, SH.focusNode)
        if focus not in own:
            continue
        path, value, shape = (report.value(node, p) for p in (SH.resultPath, SH.value, SH.sourceShape))
        yield Result(
            _text(focus),
            None if path is None else _path(path),
            None if value is None else _text(value),
            str(report.value(node, SH.resultMessage)),
            str(report.value(node, SH.sourceConstraintComponent)),
            None if not isinstance(shape, rdflib.URIRef) else str(shape),
        )


def _text(node: rdflib.term.Node | None) -> str:
    return f"_:{node}" if isinstance(node, rdflib.BNode) else str(node)


def _path(path: rdflib.term.Node) -> str:
    """A property path in SPARQL's notation; a single property as its whole IRI."""
    if isinstance(path, rdflib.URIRef):
        return str(path)
    return str(shacl_path_to_sparql_path(ShapesGraph(_shapes()), path, prefixes=PREFIXES))
