"""The verdict on a document as data: what is to be mended and where, in words, as JSON, and as SHACL's validation reports.

Hides how RDF writes a property path and how a person reads one. Promises that a report needs nothing of what judged: it may be
made in one process, told in another, and printed by a command that never judges.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyoxigraph as ox

from kg import assets
from kg.documents import TURTLE, to_bytes
from kg.terms import RDF, RDF_TYPE, SH, Base, shorten


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
        return ox.NamedNode(SH + name)

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


@functools.cache
def shapes() -> ox.Dataset:
    """The shapes as they are written; read only."""
    parsed = (
        ox.parse(path=str(path), format=ox.RdfFormat.TURTLE, rename_blank_nodes=True)
        for path in assets.files("shapes", "*.ttl")
    )
    return ox.Dataset(quad for quads in parsed for quad in quads)


# Property paths (SHACL, section 2.3.1)

_MODIFIERS = {SH + "zeroOrMorePath": "*", SH + "oneOrMorePath": "+", SH + "zeroOrOnePath": "?"}

#: How tightly each form of a path binds (SPARQL 1.1, rules 89 to 94); a part that binds less than is asked for gets brackets.
_ALTERNATIVE, _SEQUENCE, _INVERSE, _MODIFIED, _PRIMARY = range(5)

_Node = ox.NamedNode | ox.BlankNode


def path_in_sparql(path: _Node, graph: ox.Dataset) -> str:
    """A property path in SPARQL's notation with the common prefixes; a single property as its whole IRI."""
    return path.value if isinstance(path, ox.NamedNode) else _path_text(path, graph)[0]


def _path_text(path: _Node, graph: ox.Dataset) -> tuple[str, int]:
    def part(node: _Node, least: int) -> str:
        text, binding = _path_text(node, graph)
        return text if binding >= least else f"({text})"

    if isinstance(path, ox.NamedNode):
        short = shorten(path.value)
        return short if short != path.value else f"<{path.value}>", _PRIMARY
    if _value(path, RDF + "first", graph) is not None:
        return " / ".join(part(node, _INVERSE) for node in _members(path, graph)), _SEQUENCE
    if (inner := _value(path, SH + "alternativePath", graph)) is not None:
        return " | ".join(part(node, _SEQUENCE) for node in _members(inner, graph)), _ALTERNATIVE
    if (inner := _value(path, SH + "inversePath", graph)) is not None:
        return "^" + part(inner, _MODIFIED), _INVERSE
    inner, sign = next(
        (inner, sign) for name, sign in _MODIFIERS.items() if (inner := _value(path, name, graph)) is not None
    )
    return part(inner, _PRIMARY) + sign, _MODIFIED


def _value(node: _Node, predicate: str, graph: ox.Dataset) -> _Node | None:
    found = (quad.object for quad in graph.quads_for_subject(node) if quad.predicate.value == predicate)
    return next((value for value in found if isinstance(value, ox.NamedNode | ox.BlankNode)), None)


def _members(node: _Node, graph: ox.Dataset) -> Iterator[_Node]:
    """The members of a list."""
    rest: _Node | None = node
    while rest is not None and (first := _value(rest, RDF + "first", graph)) is not None:
        yield first
        rest = _value(rest, RDF + "rest", graph)


@functools.cache
def _complex_paths() -> Mapping[str, ox.BlankNode]:
    """Every path of the shapes that is more than one property, by its text in a result."""
    stated = shapes().quads_for_predicate(ox.NamedNode(SH + "path"))
    nodes = (quad.object for quad in stated if isinstance(quad.object, ox.BlankNode))
    return {path_in_sparql(node, shapes()): node for node in nodes}


def _path_node(path: str, statements: list[ox.Triple]) -> _Node:
    """The node that stands for the path of a result; what is to be said of that node is added to `statements`."""

    def copy(node: _Node) -> _Node:
        if isinstance(node, ox.NamedNode):
            return node
        fresh = ox.BlankNode()
        for quad in shapes().quads_for_subject(node):
            assert isinstance(quad.object, ox.NamedNode | ox.BlankNode)
            statements.append(ox.Triple(fresh, quad.predicate, copy(quad.object)))
        return fresh

    return copy(_complex_paths()[path]) if path in _complex_paths() else ox.NamedNode(path)
