"""Where in a text something is said: the line of a node's description, of a property of it, of a value.

Hides how Turtle, TriG, N-Triples and N-Quads are written. Reads only texts that a parser has taken already, and judges nothing.
Promises honesty: a line is told for what was found, and as what it was found; where the writing leaves a doubt, the next larger
thing is told, down to nothing. For JSON-LD and RDF/XML only the line on which a node's name stands is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyoxigraph as ox

from kg import lexis
from kg.documents import N_QUADS, N_TRIPLES, TRIG, TURTLE, Document, Syntax
from kg.lexis import Token
from kg.loading import line_of, resolved
from kg.terms import RDF_TYPE, Base

#: Characters that are read for places: so many take a third of a second, which is everybody's time.
_LIMIT = 2**17

#: Parts within parts, at most.
_DEPTH = 100

_ESCAPE = re.compile(r"""\\([tbnrf"'\\])""")
_MEANING = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True)
class Place:
    """A line, counting from 1, and what was found there: the `value`, the `property`, the `node`, or only its `name`."""

    line: int
    what: str


@dataclass(frozen=True)
class _Statement:
    """A statement as the text has it: bare texts of the terms, nodes without names as `_:`…, and where each stands."""

    subject: str
    predicate: str
    value: str
    at: tuple[int, int, int]


class _Lost(Exception):
    """The text goes on otherwise than was expected."""


class Passages:
    """The places of one text. `documents` are what the parser made of it, `relative_to` that against which its names resolve."""

    def __init__(
        self, text: str, syntax: Syntax, base: Base, relative_to: str, documents: Iterable[Document] = ()
    ) -> None:
        self._text = text
        self._base = base
        self._relative_to = relative_to
        self._of: dict[str, list[ox.Triple]] = {}
        self._leading: dict[str, tuple[str, str]] = {}
        for triple in (triple for document in documents for triple in document.triples):
            self._of.setdefault(_bare(triple.subject), []).append(triple)
            if isinstance(triple.object, ox.BlankNode):
                self._leading[_bare(triple.object)] = (_bare(triple.subject), triple.predicate.value)
        self._said: dict[str, list[_Statement]] = {}
        self._ends = [match.end() for match in re.finditer("\n", text)]
        self._nodes: dict[str, str | None] = {}
        if syntax in (TURTLE, TRIG, N_TRIPLES, N_QUADS) and len(text) <= _LIMIT:
            for statement in _Reader(text, relative_to).statements():
                self._said.setdefault(statement.subject, []).append(statement)

    def find(self, focus: str, path: str | None = None, value: str | None = None) -> Place | None:
        """The place of a value of a property of a node; of the property where it has not that value, or has it twice and it is not
        clear which is meant; of the node where it has not that property; None where it cannot be told."""
        node = self._node(focus)
        said = self._said.get(node or "", [])
        if not said:
            line = line_of(self._text.splitlines(), focus, self._base, self._relative_to)
            return Place(line, "name") if line is not None else None
        of_property = [statement for statement in said if statement.predicate == path]
        if value is not None and value.startswith("_:"):
            value = self._node(value) or value
        of_value = [statement for statement in of_property if statement.value == value]
        if of_value:
            return Place(self._line(of_value[0].at[2]), "value")
        if of_property:
            return Place(self._line(of_property[0].at[1]), "property")
        if value in self._said and value != node:  # what is wrong with a node may be told of the one that leads to it
            return self.find(value, path)
        return Place(self._line(min(statement.at[0] for statement in said)), "node")

    def _line(self, offset: int) -> int:
        low, high = 0, len(self._ends)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._ends[middle] <= offset else (low, middle)
        return low + 1

    def _node(self, focus: str, depth: int = 0) -> str | None:
        """What a node is called here: one without a name is known by what leads to it and by what it says."""
        if not focus.startswith("_:"):
            return focus
        if focus not in self._nodes:
            self._nodes[focus] = None
            leading = self._leading.get(focus)
            parent = self._node(leading[0], depth + 1) if leading and depth < _DEPTH else None
            if leading and parent:
                likely = {
                    statement.value
                    for statement in self._said.get(parent, [])
                    if statement.predicate == leading[1] and statement.value.startswith("_:")
                }
                same = [node for node in likely if self._facts(node) == self._facts_of(focus)]
                found = list(likely) if len(likely) == 1 else same
                self._nodes[focus] = found[0] if len(found) == 1 else None
        return self._nodes[focus]

    def _facts(self, node: str) -> set[tuple[str, str]]:
        return {(s.predicate, s.value) for s in self._said.get(node, []) if not s.value.startswith("_:")}

    def _facts_of(self, focus: str) -> set[tuple[str, str]]:
        triples = self._of.get(focus, [])
        return {(t.predicate.value, _bare(t.object)) for t in triples if not isinstance(t.object, ox.BlankNode)}


def _bare(term: object) -> str:
    return str(term) if isinstance(term, ox.BlankNode) else str(getattr(term, "value", term))


class _Reader:
    """Statements of a text in Turtle or one of its relatives, as far as it goes as expected."""

    def __init__(self, text: str, resolver: str) -> None:
        self._tokens: Sequence[Token] = [t for t in lexis.tokens(text) if t.kind not in ("space", "comment")]
        self._at = 0
        self._resolver = resolver
        self._prefixes: dict[str, str] = {}
        self._found: list[_Statement] = []

    def statements(self) -> Iterator[_Statement]:
        try:
            while self._at < len(self._tokens):
                self._statement()
                yield from self._found
                self._found.clear()
        except (_Lost, ValueError):  # ValueError: something like an IRI that is none
            return

    def _peek(self) -> Token:
        if self._at >= len(self._tokens):
            raise _Lost
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at].text == text:
            self._at += 1
            return True
        return False

    def _statement(self) -> None:
        token = self._peek()
        word = token.text.upper().lstrip("@") if token.kind == "word" else ""
        if word in ("PREFIX", "BASE"):
            self._at += 1
            name = self._next().text.removesuffix(":") if word == "PREFIX" else None
            iri = self._iri(self._next())
            if name is None:
                self._resolver = iri
            else:
                self._prefixes[name] = iri
            self._take(".")
        elif word == "GRAPH" or token.text in ("{", "}", "."):
            self._at += 1
        else:
            subject = self._term(0)
            if self._take("{"):
                return
            if self._peek().text not in (".", "}"):
                self._properties(subject, token.start, 0)
            self._take(".")

    def _properties(self, subject: str, at: int, depth: int) -> None:
        while True:
            token = self._next()
            predicate = RDF_TYPE if token.text == "a" else self._name(token)
            while True:
                start = self._peek().start
                value = self._term(depth)
                self._found.append(_Statement(subject, predicate, value, (at, token.start, start)))
                if not self._take(","):
                    break
            if self._at < len(self._tokens) and self._tokens[self._at].kind in ("iri", "blank"):
                self._at += 1  # the graph of a statement in N-Quads
            if not self._take(";"):
                return
            while self._take(";"):
                pass
            if self._peek().text in (".", "]", "}"):
                return

    def _term(self, depth: int) -> str:
        token = self._next()
        if depth > _DEPTH:
            raise _Lost
        if token.text == "[":
            node = f"_:[{token.start}"
            if not self._take("]"):
                self._properties(node, token.start, depth + 1)
                if not self._take("]"):
                    raise _Lost
            return node
        if token.text == "(":
            while not self._take(")"):
                self._term(depth + 1)
            return f"_:({token.start}"
        if token.kind == "string":
            return self._literal(token)
        if token.text in ("+", "-"):
            return token.text + self._next().text
        if token.kind == "number" or token.text in ("true", "false"):
            return token.text
        return self._name(token)

    def _literal(self, token: Token) -> str:
        marks = 3 if token.text[:3] in ('"""', "'''") and len(token.text) >= 6 else 1
        inner = _ESCAPE.sub(lambda found: _MEANING.get(found[1], found[1]), lexis.expand(token.text[marks:-marks]))
        if self._at < len(self._tokens) and self._peek().text.startswith("@"):
            self._at += 1
        elif self._take("^"):
            if not self._take("^"):
                raise _Lost
            self._name(self._next())
        return inner

    def _name(self, token: Token) -> str:
        if token.kind == "iri":
            return self._iri(token)
        if token.kind == "blank":
            return token.text
        if token.kind != "name":
            raise _Lost
        prefix, _, local = token.text.partition(":")
        if prefix not in self._prefixes:
            raise _Lost
        return self._prefixes[prefix] + re.sub(r"\\(.)", r"\1", local)

    def _iri(self, token: Token) -> str:
        if token.kind != "iri":
            raise _Lost
        return resolved(lexis.expand(token.text[1:-1]), self._resolver)


def kept_lines(text: str, numbers: Iterable[int], around: int = 1) -> Mapping[int, list[tuple[int, str]]]:
    """The lines of these numbers, each with those before and after it, with their numbers."""
    lines = text.split("\n")
    return {
        number: [
            (other, lines[other - 1].rstrip("\r"))
            for other in range(max(1, number - around), min(len(lines), number + around) + 1)
        ]
        for number in numbers
    }
