"""Rules: what follows from the documents, each a SPARQL CONSTRUCT in `ontology/rules/`, and in which order and for what they are computed anew.

Hides how rules are written and what a change of the graph means for them. Promises that what is computed for a change is what a
computation from scratch would give, since both evaluate one text: for some keys, or without them for everything. Evaluates
nothing itself: `Graph` does, in a process made for it.

A file's comment lines that start with `#+` are YAML:

    summary, description   for people
    key         the variable whose values are the units of computation: what is derived of a key is removed and computed as one
    gives       the derived predicates, which no other rule gives
    node        where what is derived are nodes of their own: the predicate by which they point to their key
    affected    {predicate: patterns}: everything the rule reads, and which keys it concerns that a triple `?subject predicate ?object` has
                come or gone. Both the old triples and the new are there when this is asked, so patterns only ever add: no negation,
                but of what the rule itself gave before, which stands still meanwhile, or of what leads to the same keys itself where it has
                come or gone.
                A class, such as `ekg:UnnamedGroup`, stands for the triples `?subject a class`
    again       for rules that build on what they gave: the keys to which a triple they have just given leads. Until there is none

In the query, each line `#> keys` is where the keys to compute are named; without them the query is about everything.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

import pyoxigraph as ox

from kg import assets
from kg.errors import ConfigurationError
from kg.terms import EKG, PREFIXES, RDF_TYPE

_KEYS_HERE = "#> keys"

#: Keys, and touched triples, that one query names at the most.
_AT_ONCE = 500

_TYPE = ox.NamedNode(RDF_TYPE)

Triples = Set[ox.Triple]


@dataclass(frozen=True)
class Rule:
    """One rule. Predicates are IRIs; `affected` and `again` hold graph patterns."""

    name: str
    summary: str
    description: str
    key: str
    gives: tuple[str, ...]
    node: str | None
    affected: Mapping[str, tuple[str, ...]]
    again: str | None
    sparql: str

    def whole(self, base: str) -> str:
        """The query about everything."""
        return f"BASE <{base}>\n{self.sparql}"

    def of(self, keys: Iterable[ox.NamedNode], base: str) -> str:
        """The query about these keys."""
        return self.whole(base).replace(_KEYS_HERE, f"VALUES ?{self.key} {{ {' '.join(map(str, keys))} }}")

    def concerned(self, pattern: str, triples: Iterable[ox.Triple]) -> str:
        """The query for the keys to which these triples lead by a pattern of `affected` or `again`."""
        names = "?subject ?object" if "?object" in pattern else "?subject"
        rows = {
            f"({triple.subject} {'UNDEF' if isinstance(triple.object, ox.BlankNode) else triple.object})"
            if "?object" in names
            else f"({triple.subject})"
            for triple in triples
        }
        values = f"VALUES ({names}) {{ {' '.join(sorted(rows))} }}"
        return f"{_PROLOGUE}SELECT DISTINCT ?{self.key} WHERE {{ {values} {pattern} }}"


class Graph(Protocol):
    """A graph on which rules are evaluated: documents and what is derived from them, as one."""

    def keys(self, query: str) -> set[ox.NamedNode]:
        """The IRIs that a SELECT of one variable finds."""

    def construct(self, query: str) -> set[ox.Triple]:
        """The triples of a CONSTRUCT."""

    def fill(self, query: str) -> None:
        """Add the triples of a CONSTRUCT, however many, to the derived ones."""

    def owned(self, rule: Rule, keys: Iterable[ox.NamedNode]) -> set[ox.Triple]:
        """What the rule has given for these keys."""

    def change(self, remove: Triples, add: Triples) -> None:
        """Change the derived triples."""

    def with_former(self, former: Triples) -> AbstractContextManager[None]:
        """Within the block, triples that have gone are there again."""


def difference(
    graph: Graph, rules: Sequence[Rule], base: str, gone: Triples, come: Triples
) -> tuple[set[ox.Triple], set[ox.Triple]]:
    """Bring what is derived up to documents that have changed already; the derived triples that are gone by it, and those that have come.

    `gone` and `come` are triples of documents, of predicates that rules read, with IRIs as subjects.
    """
    former, new = set(gone), set(come)
    lost: set[ox.Triple] = set()
    won: set[ox.Triple] = set()
    for rule in rules:
        keys = _keys(graph, rule, former, new)
        if not keys:
            continue
        old = graph.owned(rule, keys)
        if rule.again is not None:
            graph.change(old, set())
            now = _again_and_again(graph, rule, base, _construct(graph, rule, base, keys), keys)
        else:
            now = _construct(graph, rule, base, keys)
            graph.change(old - now, now - old)
        lost |= old - now
        won |= now - old
        former |= old - now
        new |= now - old
    return lost, won


def everything(graph: Graph, rules: Sequence[Rule], base: str) -> Iterator[Rule]:
    """Derive everything in a graph that has nothing derived yet, rule by rule."""
    for rule in rules:
        if rule.again is None:
            graph.fill(rule.whole(base))
        else:
            given = graph.construct(rule.whole(base))
            graph.change(set(), given)
            _again_and_again(graph, rule, base, given, None, kept=True)
        yield rule


def _keys(graph: Graph, rule: Rule, former: Triples, new: Triples) -> set[ox.NamedNode]:
    # By pattern, for several predicates may lead to keys in one way: who says something new touches all of them.
    touched: dict[str, list[ox.Triple]] = {}
    for triple in (*former, *new):
        for pattern in rule.affected.get(read_as(triple), ()):
            touched.setdefault(pattern, []).append(triple)
    keys: set[ox.NamedNode] = set()
    if touched:
        with graph.with_former(former):
            for pattern, triples in touched.items():
                for some in _in_pieces(triples):
                    keys |= graph.keys(rule.concerned(pattern, some))
    return keys


def _construct(graph: Graph, rule: Rule, base: str, keys: Iterable[ox.NamedNode]) -> set[ox.Triple]:
    found: set[ox.Triple] = set()
    for some in _in_pieces(sorted(keys, key=str)):
        found |= graph.construct(rule.of(some, base))
    return found


def _again_and_again(
    graph: Graph, rule: Rule, base: str, first: set[ox.Triple], keys: Set[ox.NamedNode] | None, *, kept: bool = False
) -> set[ox.Triple]:
    """All that a rule gives that builds on what it gave. `kept` says that the first is in the graph already; without `keys`, for all."""
    given, just = set(first), set(first)
    if not kept:
        graph.change(set(), first)
    while just:
        following: set[ox.NamedNode] = set()
        for some in _in_pieces(list(just)):
            following |= graph.keys(rule.concerned(rule.again or "", some))
        just = _construct(graph, rule, base, following if keys is None else following & keys) - given
        graph.change(set(), just)
        given |= just
    return given


def _in_pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


# Reading


def graph_of(base: str) -> ox.NamedNode:
    """The name of the graph of derived facts, which is no document's."""
    return ox.NamedNode(f"{base}derived")


@functools.cache
def catalogue() -> tuple[Rule, ...]:
    """All rules, each after those whose facts it reads. Raises `ConfigurationError` for what cannot be ordered or read."""
    return in_order([read(path.stem, path.read_text("utf-8")) for path in assets.files("ontology", "rules/*.rq")])


@functools.cache
def digest() -> str:
    """By what one set of rules is told from another: facts derived by others are derived anew."""
    return hashlib.sha256("\x00".join(f"{rule}" for rule in catalogue()).encode()).hexdigest()[:16]


@functools.cache
def asserted() -> frozenset[str]:
    """What rules read of documents: predicates, and classes."""
    rules = catalogue()
    return frozenset(p for rule in rules for p in rule.affected) - frozenset(p for rule in rules for p in rule.gives)


def read_as(triple: ox.Triple) -> str:
    """By which of `affected` a rule reads a triple: its predicate; of `?subject a class` the class."""
    if triple.predicate == _TYPE and isinstance(triple.object, ox.NamedNode):
        return triple.object.value
    return triple.predicate.value


def patterns(names: Iterable[str]) -> Iterator[tuple[ox.NamedNode, ox.NamedNode | None]]:
    """Predicate and object, if any, of the triples that are read by these names."""
    for name in names:
        is_class = name.removeprefix(EKG)[:1].isupper()
        yield (_TYPE, ox.NamedNode(name)) if is_class else (ox.NamedNode(name), None)


def read(name: str, text: str) -> Rule:
    """A rule from its file. Raises `ConfigurationError`."""
    import yaml  # not by the process that evaluates, which is to start fast

    lines = text.splitlines()
    try:
        header = yaml.safe_load("\n".join(line[2:].removeprefix(" ") for line in lines if line.startswith("#+")))
        rule = Rule(
            name,
            str(header["summary"]),
            str(header["description"]).strip(),
            str(header["key"]).removeprefix("?"),
            tuple(_iri(name) for name in header["gives"]),
            _iri(header["node"]) if "node" in header else None,
            {
                _iri(predicate): tuple(patterns) if isinstance(patterns, list) else (patterns,)
                for predicate, patterns in header["affected"].items()
            },
            header.get("again"),
            "\n".join(line for line in lines if not line.startswith("#+")).strip() + "\n",
        )
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"the header of the rule {name} cannot be read: {error!r}") from None
    if _KEYS_HERE not in rule.sparql:
        raise ConfigurationError(f"the rule {name} has no line `{_KEYS_HERE}`, so it cannot be computed for some keys")
    return rule


def in_order(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules, each after those whose facts it reads; else in the order of their names. Raises `ConfigurationError` for a circle,
    and where two rules give the same."""
    givers: dict[str, Rule] = {}
    for rule in rules:
        for predicate in rule.gives:
            if (other := givers.setdefault(predicate, rule)) is not rule:
                raise ConfigurationError(f"the rules {other.name} and {rule.name} both give {predicate}")
    by_name = {rule.name: rule for rule in sorted(rules, key=lambda rule: rule.name)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for rule in by_name.values():
        sorter.add(rule.name, *sorted({givers[p].name for p in rule.affected if p in givers}))
    try:
        return tuple(by_name[name] for name in sorter.static_order())
    except CycleError as error:
        raise ConfigurationError(
            f"these rules read each other's facts in a circle: {' → '.join(error.args[1])}"
        ) from None


def _iri(name: str) -> str:
    prefix, _, local = name.partition(":")
    return PREFIXES[prefix] + local


_PROLOGUE = "".join(f"PREFIX {name}: <{PREFIXES[name]}> " for name in ("ekg", "schema"))
