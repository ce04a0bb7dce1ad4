"""A process that evaluates rules, and what is said to it.

Hides the process and the copy of the graph that it keeps: its own, open to change, seen by nobody else, and brought up by the same
changes as the index, so that a write costs the rules it touches and no copying. Promises that who asks never evaluates SPARQL; that
at the deadline the process is gone, whatever it was doing; and that after any failure the next answer comes from a new process on
a new copy.

Run as `python -m kg.engine.deriver MEMORY`. Requests and replies are frames without bodies (`kg.child`).
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyoxigraph as ox

from kg import rules
from kg.child import STARTED, Child, begin, frame, next_header, write
from kg.rules import Rule, Triples

#: Seconds for what a change means, and for deriving everything.
_CHANGE_SECONDS = 20.0
_EVERYTHING_SECONDS = 3600.0

#: Bytes that a quad takes in memory, where rules are evaluated four times as fast as on disk.
_A_QUAD = 450

#: The share of the process's memory that the copy may take in it; the rest is for evaluating.
_SHARE = 2 / 3

#: Triples that are written at once where there are many.
_AT_ONCE = 100_000

NT = ox.RdfFormat.N_TRIPLES
NQ = ox.RdfFormat.N_QUADS

#: What goes and what comes.
Difference = tuple[list[ox.Triple], list[ox.Triple]]


class DerivingFailed(Exception):
    """Derived facts could not be brought up: whoever follows the journal goes on without, and says so."""


class Deriver:
    """The handle of the process. `directory` is where its copy lies while it lives; what is found there is removed.

    Not for use by several threads at once.
    """

    def __init__(self, directory: Path, memory: int) -> None:
        self._directory = directory
        self._memory = memory
        self._child: Child | None = None
        self._at = ""
        shutil.rmtree(directory, ignore_errors=True)

    def is_at(self, state: str) -> bool:
        """Whether there is a copy, and it is the graph as of this state (any word that tells it from others)."""
        return self._child is not None and not self._child.has_ended() and self._at == state

    def open(self, base: str, fill: Callable[[Path], object], state: str, *, derived: bool = True) -> None:
        """Take the store that `fill` makes at a path, documents and, unless all are made anew, derived facts, as the copy."""
        self.close()
        self._directory.mkdir(parents=True)
        path = self._directory / "store"
        fill(path)
        self._start()
        known = [asdict(rule) for rule in rules.catalogue()]
        request = {"do": "open", "store": str(path), "base": base, "rules": known, "derived": derived}
        if self._ask(request, _EVERYTHING_SECONDS)["done_with_it"]:
            shutil.rmtree(path)
        self._at = state

    def everything(self) -> tuple[Path, Path]:
        """Derive everything anew, after `open` without derived facts; what goes of those that there were and what comes, two files of
        N-Triples, to be removed by who asked."""
        state, self._at = self._at, ""
        lost, won = self._directory / "lost.nt", self._directory / "won.nt"
        self._ask({"do": "everything", "lost": str(lost), "won": str(won)}, _EVERYTHING_SECONDS)
        shutil.rmtree(self._directory / "store")
        self._at = state
        return lost, won

    def difference(self, gone: Iterable[ox.Quad], come: Iterable[ox.Quad], state: str) -> Difference:
        """Change documents' quads in the copy; the derived triples that go, and those that come, by it."""
        self._at = ""
        request = {"do": "difference", "gone": _written(gone), "come": _written(come)}
        reply = self._ask(request, _CHANGE_SECONDS)
        self._at = state
        lost, won = (
            [quad.triple for quad in ox.parse(reply[name], format=NT, lenient=True)] for name in ("lost", "won")
        )
        return lost, won

    def pass_over(self, state: str) -> None:
        """The graph has come to a new state by changes that no rule reads."""
        if self._at:
            self._at = state

    def pids(self) -> list[int]:
        """The process id, if there is a process."""
        return [] if self._child is None else [self._child.pid]

    def close(self) -> None:
        """End the process and remove its copy. Idempotent."""
        self._at = ""
        if self._child is not None:
            self._child.kill()
            self._child = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> None:
        self._child = Child("kg.engine.deriver", str(self._memory), stderr=tempfile.TemporaryFile())
        with self._failing_clearly():
            self._child.wait_until_started()

    def _ask(self, request: dict[str, Any], seconds: float) -> Any:
        """The reply. Raises `DerivingFailed`, after which there is no process."""
        if self._child is None:
            raise DerivingFailed("there is no process that evaluates rules")
        with self._failing_clearly():
            deadline = time.monotonic() + seconds
            self._child.write(frame(request))
            reply = self._child.take_header(deadline)
        if "error" in reply:
            self.close()
            raise DerivingFailed(reply["error"])
        return reply

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self.close()
            raise DerivingFailed("evaluating the rules took too long and was stopped") from None
        except (EOFError, OSError) as error:
            last_words = "" if self._child is None else self._child.last_words().strip()[-500:]
            self.close()
            raise DerivingFailed(f"the process that evaluates rules ended ({error}): {last_words}") from None
        except BaseException:  # in the middle of a frame: the pipe is of no more use
            self.close()
            raise


def _written(quads: Iterable[ox.Quad]) -> str:
    return "".join(f"{quad} .\n" for quad in quads)


def changed_by(
    graph: ox.NamedNode, old: Iterable[ox.Triple], new: Iterable[ox.Triple]
) -> tuple[list[ox.Quad], list[ox.Quad]]:
    """What rules read of a document's graph that goes, and what comes, when its triples change from old to new."""
    read = rules.asserted()
    before = {triple for triple in old if rules.read_as(triple) in read}
    after = {triple for triple in new if rules.read_as(triple) in read}
    gone, come = before - after, after - before
    # What a blank node says is about whoever points to it, for a key is an IRI.
    blank = {triple.subject for triple in gone | come if isinstance(triple.subject, ox.BlankNode)}
    while pointing := {triple for triple in before | after if triple.object in blank} - (gone | come):
        gone |= pointing & before
        come |= pointing & after
        blank |= {triple.subject for triple in pointing if isinstance(triple.subject, ox.BlankNode)}
    return [ox.Quad(t.subject, t.predicate, t.object, graph) for t in gone], [
        ox.Quad(t.subject, t.predicate, t.object, graph) for t in come
    ]


# Inside the process


class Copy:
    """The graph that rules are evaluated on, as `kg.rules.Graph`."""

    def __init__(self, store: ox.Store, derived: ox.NamedNode) -> None:
        self._store = store
        self._derived = derived
        self._former = ox.NamedNode(derived.value + "-former")

    def keys(self, query: str) -> set[ox.NamedNode]:
        found: Any = self._store.query(query, use_default_graph_as_union=True)
        return {row[0] for row in found if isinstance(row[0], ox.NamedNode)}

    def construct(self, query: str) -> set[ox.Triple]:
        found: Any = self._store.query(query, use_default_graph_as_union=True)
        return set(found)

    def fill(self, query: str) -> None:
        # Piece by piece: at a hundred thousand articles, what some rules give would take half a gigabyte as objects.
        found: Any = self._store.query(query, use_default_graph_as_union=True)
        while some := list(itertools.islice(found, _AT_ONCE)):
            (self._store.bulk_extend if len(some) == _AT_ONCE else self._store.extend)(map(self._quad, some))

    def owned(self, rule: Rule, keys: Iterable[ox.NamedNode]) -> set[ox.Triple]:
        def quads(subject: Any, predicate: ox.NamedNode | None, value: Any = None) -> Iterator[ox.Triple]:
            for quad in self._store.quads_for_pattern(subject, predicate, value, self._derived):
                yield quad.triple

        if rule.node is None:
            gives = [ox.NamedNode(predicate) for predicate in rule.gives]
            return {triple for key in keys for predicate in gives for triple in quads(key, predicate)}
        to = ox.NamedNode(rule.node)
        return {t for key in keys for pointing in quads(None, to, key) for t in quads(pointing.subject, None)}

    def change(self, remove: Triples, add: Triples) -> None:
        for triple in remove:
            self._store.remove(self._quad(triple))
        if add:
            (self._store.bulk_extend if len(add) > _AT_ONCE else self._store.extend)(map(self._quad, add))

    def _quad(self, triple: ox.Triple) -> ox.Quad:
        return ox.Quad(triple.subject, triple.predicate, triple.object, self._derived)

    @contextlib.contextmanager
    def with_former(self, former: Triples) -> Iterator[None]:
        if former:
            self._store.extend(ox.Quad(t.subject, t.predicate, t.object, self._former) for t in former)
        try:
            yield
        finally:
            if former:
                self._store.remove_graph(self._former)


class Inside:
    """What the process knows between requests."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._path = ""  # of the store that we were given
        self._base = ""
        self._rules: Sequence[Rule] = ()
        self._store: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "open":
                self._base = request["base"]
                self._rules = [Rule(**rule) for rule in request["rules"]]
                self._path = request["store"]
                return {"done_with_it": self._open(request["derived"])}
            case "everything":
                self._everything(request["lost"], request["won"])
            case "difference":
                return self._difference(_quads(request["gone"]), _quads(request["come"]))
        return {}

    def _open(self, derived: bool) -> bool:
        """Take what rules read out of the store into memory. Where that would be too much, take the store itself, if derived facts are
        wanted with it, or another on disk. Whether the store is of no more use."""
        room = int(self._memory * _SHARE / _A_QUAD)
        source = ox.Store.read_only(self._path)
        if derived:
            if len(source) > room:  # more than will be read, but found out at once
                del source
                self._store = ox.Store(self._path)
                return False
            self._store = ox.Store()
            self._store.bulk_extend(self._read(source, derived))
            return True
        self._store = ox.Store()
        quads = self._read(source, derived)
        self._store.bulk_extend(itertools.islice(quads, room // 2))  # what is derived will come to as much again
        if next(quads, None) is not None:
            self._store = ox.Store(f"{self._path}-read")
            self._store.bulk_extend(self._read(source, derived))
            self._store.optimize()
        return False

    def _read(self, source: Any, derived: bool) -> Iterator[ox.Quad]:
        graph = rules.graph_of(self._base)
        names = {name for rule in self._rules for name in rule.affected}
        given = {name for rule in self._rules for name in rule.gives}
        for pattern in rules.patterns(sorted(names - given)):
            yield from source.quads_for_pattern(None, *pattern, None)
        if derived:
            yield from source.quads_for_pattern(None, None, None, graph)

    def _everything(self, lost: str, won: str) -> None:
        """Derive everything; what the store that we were given has and should not, and the other way round, into files. Both may be
        millions: neither is ever in memory as a whole."""
        graph = rules.graph_of(self._base)
        for _ in rules.everything(Copy(self._store, graph), self._rules, self._base):
            pass
        former = ox.Store.read_only(self._path)
        for path, there, other in ((lost, former, self._store), (won, self._store, former)):
            only = (q.triple for q in there.quads_for_pattern(None, None, None, graph) if q not in other)
            ox.serialize(only, path, format=NT)

    def _difference(self, gone: list[ox.Quad], come: list[ox.Quad]) -> dict[str, Any]:
        for quad in gone:
            self._store.remove(quad)
        self._store.extend(come)
        copy = Copy(self._store, rules.graph_of(self._base))
        lost, won = rules.difference(copy, self._rules, self._base, _named(gone), _named(come))
        return {"lost": "".join(f"{t} .\n" for t in lost), "won": "".join(f"{t} .\n" for t in won)}


def _quads(text: str) -> list[ox.Quad]:
    return list(ox.parse(text, format=NQ, lenient=True))


def _named(quads: Iterable[ox.Quad]) -> set[ox.Triple]:
    return {quad.triple for quad in quads if isinstance(quad.subject, ox.NamedNode)}


def main(memory: int) -> None:
    """Answer requests from standard input until it ends."""
    requests, replies = begin(memory)
    replies.write(STARTED)
    inside = Inside(memory)
    while (request := next_header(requests)) is not None:
        try:
            reply = inside.answer(request)
        except (SyntaxError, ValueError, RuntimeError, OSError, MemoryError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        write(replies, frame(reply))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(int(sys.argv[1]))
