"""The gate: a candidate document in, a report out.

Judges a document together with the *faces* of what it refers to, never with the whole store, so that the cost of a write does
not grow with the graph. Hides what is checked by shapes (`kg/shacl.py`) and what the gate checks itself. Promises that a document
which passes

- conforms to every shape in `shapes/`;
- speaks only about its own subjects: its IRI, hash IRIs under it, and blank nodes;
- has no reference under the base that leads nowhere;
- uses no term of the vocabulary that the vocabulary does not define.

A verdict is data: it never raises for a document that is merely wrong.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping

import pyoxigraph as ox

from kg import assets
from kg.documents import Document
from kg.report import Report, Result, reports_as_json, reports_as_turtle
from kg.terms import EKG, KINDS, ORG, RDF_TYPE, Base, shorten

__all__ = [
    "FACE",
    "OWNERSHIP",
    "REFERENCE",
    "TERM",
    "Face",
    "Report",
    "Result",
    "defined_terms",
    "faces",
    "judge",
    "reports_as_json",
    "reports_as_turtle",
]

#: What the gate sees of a node in another document.
FACE = frozenset({RDF_TYPE, EKG + "modality", EKG + "aspect", ORG + "member"})

Face = tuple[ox.Triple, ...]


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
    from kg.shacl import violations  # brings pySHACL and rdflib, 0.2 s; most commands never judge

    results = {
        *_foreign_subjects(document, base),
        *_untyped_subjects(document, base),
        *_undefined_terms(document),
        *_dangling_references(document, base, neighbours),
        *violations(document, base, neighbours),
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
            f"The document must describe its own IRI as {shorten(wanted)}: add `<{document.iri}> a {shorten(wanted)}`, "
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


#: How many misspelt terms of one document are compared with those there are; each takes milliseconds.
_GUESSES = 50


def _undefined_terms(document: Document) -> Iterator[Result]:
    defined = defined_terms()
    names = [term.removeprefix(EKG) for term in defined if term.startswith(EKG)]
    hints: dict[str, str] = {}
    for triple in document.triples:
        value = triple.object.datatype if isinstance(triple.object, ox.Literal) else triple.object
        for term in (triple.predicate, value):
            if isinstance(term, ox.NamedNode) and term.value.startswith(EKG) and term.value not in defined:
                name = term.value.removeprefix(EKG)
                if name not in hints:
                    near = difflib.get_close_matches(name, names, 1) if len(hints) < _GUESSES else []
                    hints[name] = f"Did you mean ekg:{near[0]}?" if near else "See /ns for the terms there are."
                focus = str(triple.subject.value) if isinstance(triple.subject, ox.NamedNode) else str(triple.subject)
                yield Result(
                    focus,
                    triple.predicate.value,
                    term.value,
                    f"ekg:{name} is not a term of the vocabulary. {hints[name]}",
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
