"""The shapes in `shapes/`, asked of one document.

Hides pySHACL and rdflib: the only importer of both. Promises pySHACL's verdict in a fraction of its time, and that what cannot be
compared is a result and no error. Whatever imports this pays 0.2 s for it, so only judging does, when it begins.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyoxigraph as ox
import rdflib
from pyshacl.constraints import ALL_CONSTRAINT_PARAMETERS, CONSTRAINT_PARAMETERS_MAP
from pyshacl.errors import ReportableRuntimeError
from pyshacl.pytypes import SHACLExecutor
from pyshacl.rdfutil.stringify import stringify_blank_node
from pyshacl.shape import Shape
from pyshacl.shapes_graph import ShapesGraph
from rdflib.namespace import SH
from rdflib.plugins.sparql import prepareQuery
from rdflib.plugins.sparql.sparql import Query

from kg.documents import Document
from kg.report import Result, path_in_sparql, shapes
from kg.terms import XSD, Base

if TYPE_CHECKING:
    from kg.gate import Face

#: rdflib warns on every ill-typed literal; the shapes say the same with a place and a remedy.
logging.getLogger("rdflib.term").setLevel(logging.ERROR)


def violations(document: Document, base: Base, neighbours: Mapping[str, Face]) -> Iterator[Result]:
    """What the shapes find wrong with a document beside the faces of what it refers to."""
    yield from _validators().mine.results(document, base, neighbours)


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
        for quad in shapes():
            subject, predicate, value = (_to_rdflib(term) for term in (quad.subject, quad.predicate, quad.object))
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
            None if path is None else path_in_sparql(_path(path), shapes()),
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


def _path(node: rdflib.term.Node) -> ox.NamedNode | ox.BlankNode:
    return ox.BlankNode(str(node)) if isinstance(node, rdflib.BNode) else ox.NamedNode(str(node))
