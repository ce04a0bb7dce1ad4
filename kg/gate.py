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
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyoxigraph as ox
import rdflib
from pyshacl.constraints import ALL_CONSTRAINT_PARAMETERS, CONSTRAINT_PARAMETERS_MAP
from pyshacl.errors import ReportableRuntimeError
from pyshacl.pytypes import SHACLExecutor
from pyshacl.rdfutil.stringify import stringify_blank_node
from pyshacl.shape import Shape
from pyshacl.shapes_graph import ShapesGraph
from rdflib.namespace import RDF, SH
from rdflib.plugins.sparql import prepareQuery
from rdflib.plugins.sparql.sparql import Query

from kg import assets
from kg.documents import TURTLE, Document, to_bytes
from kg.terms import EKG, KINDS, ORG, RDF_TYPE, XSD, Base, shorten
from kg.terms import SH as SH_NS

#: What the gate sees of a node in another document.
FACE = frozenset({RDF_TYPE, EKG + "modality", EKG + "aspect", ORG + "member"})

#: rdflib warns on every ill-typed literal; the shapes say the same with a place and a remedy.
logging.getLogger("rdflib.term").setLevel(logging.ERROR)

Face = tuple[ox.Triple, ...]


@dataclass(frozen=True)
class Result:
    """One thing to mend. IRIs are whole; `path` is a SPARQL property path; absent parts are None.

    `value` is the bare text of what is wrong; `term` the same in N-Triples notation, where the gate knows more than an IRI or
    a blank node.
    """

    focus: str
    path: str | None
    value: str | None
    message: str
    component: str
    shape: str | None = None
    term: str | None = None

    def in_words(self, base: Base) -> str:
        """One line for a person: which node, which property, what to do."""
        path = f" {shorten(self.path, base)}" if self.path else ""
        value = f" (value: {_cut(shorten(self.value, base))})" if self.value else ""
        return f"{shorten(self.focus, base)}{path}: {self.message}{value}"


def _cut(text: str, length: int = 120) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


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

    def node(text: str) -> ox.NamedNode | ox.BlankNode:
        return ox.BlankNode(text[2:]) if text.startswith("_:") else ox.NamedNode(text)

    def value(result: Result) -> ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple:
        if result.term is None:
            return node(str(result.value))
        (statement,) = ox.parse(f"<urn:a> <urn:b> {result.term} .", format=ox.RdfFormat.N_TRIPLES, lenient=True)
        term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple = statement.object
        return term

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
                if result.path is not None:
                    of_path: list[ox.Triple] = []
                    yield ox.Triple(part, sh("resultPath"), _path_node(result.path, of_path))
                    yield from of_path
                if result.value is not None:
                    yield ox.Triple(part, sh("value"), value(result))
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


# SHACL


class _Graph(rdflib.Graph):
    """A graph as pySHACL is fastest with: without contexts, without prefixes, and SPARQL constraints parsed once.

    `prepared` keeps the parsed queries by their text. rdflib evaluates a query by writing into it, so it belongs to one thread.
    """

    def __init__(self, prepared: dict[str, Query]) -> None:
        super().__init__(store="SimpleMemory", bind_namespaces="none")
        self._prepared = prepared

    def __bool__(self) -> bool:
        """Always: pySHACL asks `graph or …` for each result, and without this Python would count every triple to answer."""
        return True

    def query(self, query_object: str | Query, *args: Any, **keywords: Any) -> rdflib.query.Result:
        if isinstance(query_object, str):
            if query_object not in self._prepared:
                with _PARSER:
                    self._prepared[query_object] = prepareQuery(query_object)
            query_object = self._prepared[query_object]
        return super().query(query_object, *args, **keywords)


class _FrozenGraph(_Graph):
    """The shapes, which pySHACL reads again for every node it looks at: values answered from a dictionary."""

    def freeze(self) -> None:
        """From now on the graph must not change."""
        values: dict[tuple[rdflib.term.Node, rdflib.term.Node], list[rdflib.term.Node]] = {}
        for subject, predicate, value in self.triples((None, None, None)):
            values.setdefault((subject, predicate), []).append(value)
        self._values = values

    def objects(
        self, subject: Any = None, predicate: Any = None, unique: bool = False
    ) -> Generator[rdflib.term.Node, None, None]:
        if subject is None or predicate is None or not hasattr(self, "_values"):
            return super().objects(subject, predicate, unique)
        return (value for value in self._values.get((subject, predicate), ()))


class _Shape(Shape):
    """A shape to which what cannot be compared does not conform (SHACL, section 4.5.3), where pySHACL gives up."""

    __slots__ = ()

    def validate(
        self, executor: SHACLExecutor, target_graph: rdflib.Graph, focus: Any = None, _evaluation_path: Any = None
    ) -> tuple[bool, list[Any]]:
        so_far = _evaluation_path and list(_evaluation_path)  # pySHACL appends to what it is given
        try:
            conforms, results = super().validate(executor, target_graph, focus, so_far)
        except (TypeError, ValueError, ArithmeticError, ReportableRuntimeError):
            nodes = [focus] if isinstance(focus, rdflib.term.Node) else list(focus)
            if len(nodes) == 1:
                return False, [self._not_comparable(nodes[0])]
            each = [self.validate(executor, target_graph, node, _evaluation_path) for node in nodes]
            return all(conforms for conforms, _ in each), [result for _, results in each for result in results]
        return conforms, results

    def _not_comparable(self, focus: rdflib.term.Node) -> tuple[str, rdflib.term.Node, list[Any]]:
        """A result as pySHACL hands it from shape to shape: text, node, triples."""
        assert isinstance(self.sg, _PreparedShapes)
        constraint = self.sg.demands[self.node][0][0]
        node = rdflib.BNode()
        statements: list[Any] = [
            (node, SH.focusNode, focus),
            (node, SH.sourceShape, self.node),
            (node, SH.sourceConstraintComponent, CONSTRAINT_PARAMETERS_MAP[constraint].shacl_constraint_component),
            (node, SH.resultMessage, rdflib.Literal("This cannot be compared with what it has to be compared with.")),
        ]
        if self._path is not None:
            statements.append((node, SH.resultPath, self._path))
        return "", node, statements


class _PreparedShapes(ShapesGraph):
    """The shapes as pySHACL reads them, harvested; what a shape demands is listed once, and nothing else about it."""

    def __init__(self, graph: _FrozenGraph) -> None:
        super().__init__(graph)
        demands: dict[rdflib.term.Node, dict[rdflib.term.Node, rdflib.term.Node]] = {}
        for subject, predicate, value in graph:
            if predicate in ALL_CONSTRAINT_PARAMETERS:
                demands.setdefault(subject, {}).setdefault(predicate, value)
        for shape in self.shapes:
            shape.__class__ = _Shape
        _ = self.custom_constraints
        self.demands = {shape: list(of.items()) for shape, of in demands.items()}
        graph.freeze()

    def predicate_objects(self, s: rdflib.term.Node) -> list[tuple[rdflib.term.Node, rdflib.term.Node]]:
        """What `Shape.validate` walks for every node, comparing each predicate with all that could be a constraint."""
        return self.demands.get(s, [])


#: Held while a query is parsed: rdflib's grammar is one for all threads.
_PARSER = threading.Lock()

#: Where SHACL-SPARQL writes parts of a result into its message (section 5.3.2).
_PLACE = re.compile(r"\{[?$](this|path|value)\}")


class _Validator:
    """The shapes made ready once, where `pyshacl.validate` makes them ready for every document.

    Validates only the nodes of the candidate, where `pyshacl.validate` would also judge the faces of its neighbours, which are
    incomplete by design. Not to be shared between threads: pySHACL and rdflib write into the graphs they read.
    """

    def __init__(self) -> None:
        self._prepared: dict[str, Query] = {}
        # Messages are kept from pySHACL: it pastes values into patterns of Python's, where a backslash is an error.
        self._messages: dict[rdflib.term.Node, list[rdflib.Literal]] = {}
        graph = _FrozenGraph(self._prepared)
        for subject, predicate, value in _shapes():
            if predicate == SH.message and isinstance(value, rdflib.Literal):
                self._messages.setdefault(subject, []).append(value)
            else:
                graph.add((subject, predicate, value))
        self._shapes = _PreparedShapes(graph)
        self._targeted = [
            shape
            for shape in self._shapes.shapes
            if any(next(iter(targets), None) is not None for targets in shape.target())
        ]
        self._executor = SHACLExecutor()

    def results(self, document: Document, base: Base, neighbours: Mapping[str, Face]) -> Iterator[Result]:
        data = _Graph(self._prepared)
        for triple in document.triples:
            data.add((_to_rdflib(triple.subject), _to_rdflib(triple.predicate), _to_rdflib(triple.object)))
        own = set(data.subjects())
        for reference in document.references(base):
            for triple in neighbours.get(reference, ()):
                data.add((_to_rdflib(triple.subject), _to_rdflib(triple.predicate), _to_rdflib(triple.object)))
        try:
            for shape in self._targeted:
                focus = own & shape.focus_nodes(data)
                if focus:
                    _, found = shape.validate(self._executor, data, focus=list(focus))
                    yield from (self._result(statements) for _, _, statements in found)
        finally:
            # pySHACL keeps the text of every blank node that it ever described, for ever.
            stringify_blank_node.dict_cache.clear()

    def _result(self, statements: Iterable[tuple[Any, Any, Any]]) -> Result:
        """A result from its triples, in which pySHACL gives some objects together with their graph."""
        of: dict[rdflib.term.Node, list[Any]] = {}
        for _, predicate, value in statements:
            of.setdefault(predicate, []).append(value[1] if isinstance(value, tuple) else value)
        focus, path, value, shape, component, constraint = (
            of.get(predicate, [None])[0]
            for predicate in (
                SH.focusNode,
                SH.resultPath,
                SH.value,
                SH.sourceShape,
                SH.sourceConstraintComponent,
                SH.sourceConstraint,
            )
        )
        messages = self._messages.get(constraint) or self._messages.get(shape) or of[SH.resultMessage]
        message = min(messages, key=lambda m: (m.language != "en", str(m)))
        parts = {"this": focus, "path": path, "value": value}
        return Result(
            _text(focus),
            None if path is None else _path(_shapes(), path),
            None if value is None else _text(value),
            _PLACE.sub(lambda place: place[0] if parts[place[1]] is None else _text(parts[place[1]]), message),
            str(component),
            str(shape) if isinstance(shape, rdflib.URIRef) else None,
            None if value is None or isinstance(value, rdflib.BNode) else _n_triples(value),
        )


class _Validators(threading.local):
    """One validator a thread, made when the thread first judges: 50 ms."""

    def __init__(self) -> None:
        self.mine = _Validator()


@functools.cache
def _validators() -> _Validators:
    return _Validators()


@functools.cache
def _shapes() -> rdflib.Graph:
    """The shapes as they are written; read only."""
    graph = rdflib.Graph()
    for path in assets.files("shapes", "*.ttl"):
        graph.parse(data=path.read_text("utf-8"), format="turtle")
    return graph


def _violations(document: Document, base: Base, neighbours: Mapping[str, Face]) -> Iterator[Result]:
    yield from _validators().mine.results(document, base, neighbours)


def _to_rdflib(
    term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple,
) -> rdflib.term.IdentifiedNode | rdflib.Literal:
    if isinstance(term, ox.NamedNode):
        return rdflib.URIRef(term.value)
    if isinstance(term, ox.BlankNode):
        return rdflib.BNode(term.value)
    assert isinstance(term, ox.Literal)
    if term.language is not None:
        return rdflib.Literal(term.value, lang=term.language, normalize=False)
    return rdflib.Literal(term.value, datatype=rdflib.URIRef(term.datatype.value), normalize=False)


def _text(node: rdflib.term.Node | None) -> str:
    return f"_:{node}" if isinstance(node, rdflib.BNode) else str(node)


def _n_triples(node: rdflib.term.Node) -> str:
    if isinstance(node, rdflib.Literal):
        if node.language is not None:
            return str(ox.Literal(str(node), language=node.language))
        return str(ox.Literal(str(node), datatype=ox.NamedNode(str(node.datatype or XSD + "string"))))
    return str(ox.NamedNode(str(node)))


# Property paths (SHACL, section 2.3.1)

_MODIFIERS = {SH.zeroOrMorePath: "*", SH.oneOrMorePath: "+", SH.zeroOrOnePath: "?"}

#: How tightly each form of a path binds (SPARQL 1.1, rules 89 to 94); a part that binds less than is asked for gets brackets.
_ALTERNATIVE, _SEQUENCE, _INVERSE, _MODIFIED, _PRIMARY = range(5)


def _path(graph: rdflib.Graph, path: rdflib.term.Node) -> str:
    """A property path in SPARQL's notation with the common prefixes; a single property as its whole IRI."""
    return str(path) if isinstance(path, rdflib.URIRef) else _path_text(graph, path)[0]


def _path_text(graph: rdflib.Graph, path: rdflib.term.Node) -> tuple[str, int]:
    def part(node: rdflib.term.Node, least: int) -> str:
        text, binding = _path_text(graph, node)
        return text if binding >= least else f"({text})"

    if isinstance(path, rdflib.URIRef):
        short = shorten(str(path))
        return short if short != str(path) else f"<{path}>", _PRIMARY
    if graph.value(path, RDF.first) is not None:
        return " / ".join(part(node, _INVERSE) for node in graph.items(path)), _SEQUENCE
    if (inner := graph.value(path, SH.alternativePath)) is not None:
        return " | ".join(part(node, _SEQUENCE) for node in graph.items(inner)), _ALTERNATIVE
    if (inner := graph.value(path, SH.inversePath)) is not None:
        return "^" + part(inner, _MODIFIED), _INVERSE
    inner, sign = next(
        (inner, sign) for name, sign in _MODIFIERS.items() if (inner := graph.value(path, name)) is not None
    )
    return part(inner, _PRIMARY) + sign, _MODIFIED


@functools.cache
def _complex_paths() -> Mapping[str, rdflib.term.Node]:
    """Every path of the shapes that is more than one property, by its text in a result."""
    paths = (node for node in _shapes().objects(None, SH.path) if isinstance(node, rdflib.BNode))
    return {_path(_shapes(), node): node for node in paths}


def _path_node(path: str, statements: list[ox.Triple]) -> ox.NamedNode | ox.BlankNode:
    """The node that stands for the path of a result; what is to be said of that node is added to `statements`."""

    def copy(node: rdflib.term.Node) -> ox.NamedNode | ox.BlankNode:
        if isinstance(node, rdflib.URIRef):
            return ox.NamedNode(str(node))
        fresh = ox.BlankNode()
        for predicate, value in _shapes().predicate_objects(node):
            statements.append(ox.Triple(fresh, ox.NamedNode(str(predicate)), copy(value)))
        return fresh

    return copy(_complex_paths()[path]) if path in _complex_paths() else ox.NamedNode(path)
