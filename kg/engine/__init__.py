"""What every engine is: something that follows the journal and answers SPARQL.

The index is one of two implementations of `Engine`: `embedded` (an Oxigraph store of our own) and `remote` (any SPARQL 1.1
server). Callers hold an `Engine` and do not know which.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, TYPE_CHECKING, Literal, Protocol

from kg import lexis
from kg.terms import KINDS, PREFIXES

if TYPE_CHECKING:  # query processes import this module and have no use for SQLite and SHACL
    from kg.journal import Journal

Kind = Literal["boolean", "solutions", "triples"]

#: Names of result formats, as SPARQL's and RDF's registrations abbreviate them.
SOLUTION_FORMATS = ("json", "xml", "csv", "tsv")
TRIPLE_FORMATS = ("ttl", "nt", "rdf")


@dataclass(frozen=True)
class Query:
    """A SPARQL query and how its answer is to be written.

    `solutions` is the format for SELECT and ASK, `triples` for CONSTRUCT and DESCRIBE; None where the caller can take none.
    Without `default_graphs` the default graph is the union of all graphs. `timeout` is in seconds and can only shorten the
    engine's own limit. `base` resolves relative IRIs and gives `actor:russia` its meaning. `revision` is the batch to read at,
    while there is a snapshot of it; without, the newest.
    """

    text: str
    base: str | None = None
    default_graphs: tuple[str, ...] = ()
    named_graphs: tuple[str, ...] = ()
    solutions: str | None = "json"
    triples: str | None = "nt"
    timeout: float | None = None
    revision: int | None = None

    def supplied_prefixes(self) -> dict[str, str]:
        """The common prefixes that the text uses and does not declare: the vocabulary's, and one for each kind of document."""
        return dict(self._supplied)

    @cached_property
    def _supplied(self) -> Mapping[str, str]:
        missing = lexis.undeclared_prefixes(self.text)
        if not missing:
            return {}
        common = {**PREFIXES, **({kind: f"{self.base}{kind}/" for kind in KINDS} if self.base else {})}
        return {name: common[name] for name in sorted(missing & common.keys())}


@dataclass(frozen=True)
class Answer:
    """A whole answer. `revision` is the batch it was read at; `format` is one of the formats above.

    `prefixes` names the prefixes that were supplied. The body is in memory, or in a file that no longer has a name: read it with `chunks`, once.
    """

    kind: Kind
    format: str
    revision: int
    length: int
    body: bytes | IO[bytes] = field(repr=False)
    prefixes: tuple[str, ...] = ()

    def chunks(self, size: int = 65_536) -> Iterator[bytes]:
        """The body in pieces of at most `size` bytes; `length` bytes in all."""
        if isinstance(self.body, bytes):
            yield self.body
            return
        with self.body as file:
            while piece := file.read(size):
                yield piece

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())


class Caller:
    """On whose behalf a query is evaluated: an address, for fair turns, the request's id, for the log, and whether they still wait.

    The side that holds the connection calls `hang_up`; the side that evaluates leaves a callback for it.
    """

    def __init__(self, address: str = "", request: str = "") -> None:
        self.address = address
        self.request = request
        self.gone = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def hang_up(self) -> None:
        """The caller no longer waits. From any thread; idempotent."""
        with self._lock:
            self.gone = True
            for callback in self._callbacks:
                callback()

    @contextmanager
    def on_hang_up(self, callback: Callable[[], object]) -> Iterator[None]:
        """Within the block, `callback` is called once, quickly and from another thread, when the caller goes, or at once
        if they are gone. After the block it is called no more."""
        with self._lock:
            if self.gone:
                callback()
            self._callbacks.append(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)


#: A caller who never goes away and shares turns with all others like it, such as the shell.
NOBODY = Caller()


class Pending(Protocol):
    """A query on its way, for one thread at a time. In the end `answer` or `abandon` has to be called, unless `receive` gave the answer."""

    @property
    def has_turn(self) -> bool:
        """Whether it may be evaluated now."""

    def start(self) -> int | None:
        """Have it evaluated, as it is its turn; the descriptor on which there will be something to read. None: `answer` has to do it."""

    def receive(self) -> Answer | None:
        """The answer, when there is something to read and that is all of it. None: `answer` waits for the rest, or raises the error."""

    def answer(self) -> Answer:
        """The answer, after waiting for it, from whatever state. Raises what `Engine.answer` does."""

    def abandon(self) -> None:
        """Nobody wants the answer any more. Idempotent, and does nothing where it is there already."""


class Engine(Protocol):
    """Follows one journal and answers queries about what it has seen of it."""

    def product(self) -> str:
        """The name of the program that evaluates queries, in small letters, where that matters; or nothing. Raises `EngineUnavailable` or
        `IndexBehind` where it cannot be asked."""

    def reached(self) -> int:
        """The newest batch that queries see."""

    def follow(self, journal: Journal, wait: float = 30.0) -> int:
        """Bring queries up to the journal's end, within `wait` seconds; the batch then reached.

        Raises `IndexBehind` when that time did not suffice, and `EngineUnavailable` at once while the engine cannot be reached.
        """

    def rebuild(self, journal: Journal) -> int:
        """Forget all that was indexed of this base and index the journal anew; the batch then reached.

        Raises `DirectoryInUse` while a server runs on the directory.
        """

    def answer(self, query: Query, caller: Caller = NOBODY) -> Answer:
        """Evaluate a query on one state of the graph. Raises a `QueryError`, `NotAcceptable`, `Overloaded` or, for
        a revision that is no longer at hand, `SnapshotGone`; an answer is whole."""

    def begin(self, query: Query, caller: Caller, placed: Callable[[], object]) -> Pending | None:
        """Begin what `answer` does without waiting for anything; None where that cannot be done, and `answer` has to do it all.

        `placed` is called, quickly and from any thread, when it is the query's turn, unless it is at once. Raises what `answer` does.
        """

    def figures(self) -> Mapping[str, int]:
        """Numbers for operators, by name."""

    def close(self) -> None:
        """End all processes and release the files. Idempotent."""
