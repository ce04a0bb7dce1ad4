"""The one write path: candidates go through the gate into the journal, and the index follows.

Hides how the three work together. Promises that a batch is accepted whole or leaves no trace; that a verdict rests on exactly
what the journal holds when the batch is written, however many write at once; that every document in the journal stays valid when
another changes under it; and that what `accept` returned can be read by the writer's next query.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kg import documents, retraction
from kg.config import Config
from kg.documents import Document
from kg.engine import NOBODY, Answer, Caller, Engine, Pending, Query
from kg.engine.embedded import EmbeddedEngine
from kg.engine.process import Limits
from kg.engine.scratch import Scratch
from kg.errors import (
    EngineUnavailable,
    IndexBehind,
    RequestError,
    StorageError,
)
from kg.gate import faces
from kg.journal import CHANGES, Journal, Revision
from kg.judging import Judges
from kg.terms import Base
from kg.verdict import Batch, Judge, Verdict, batch_of, verdict_on

log = logging.getLogger("kg.library")


@dataclass(frozen=True)
class Receipt:
    """What a write did. `revision` is the batch at which questions see it; `unchanged` are documents that were there as sent.

    `digests` are those of all documents of the batch as it left them or found them.
    """

    revision: int
    revisions: tuple[Revision, ...]
    unchanged: tuple[str, ...]
    digests: Mapping[str, str | None] = field(default_factory=dict, compare=False)


class Library:
    """The graph of one data directory: its documents, their history, and answers to queries.

    Threads may share one. Open it with `open_library`, close it or use it as a context.
    """

    def __init__(self, config: Config, journal: Journal, engine: Engine) -> None:
        self.config = config
        self.journal = journal
        self.engine = engine
        self.base: Base = journal.base
        self._stopping = threading.Event()
        #: For documents that come from outside: they are read and judged where they cannot hold anybody up.
        self.judges = Judges(
            self.base, seconds=config.judge_timeout, memory=config.query_memory, count=config.query_processes
        )
        #: Where updates are tried before they become a change.
        self.scratch = Scratch(
            Limits(config.query_timeout, config.query_memory, config.result_limit, config.slow_query),
            config.data / f"spool-{os.getpid()}-updates",
        )
        self._follower: threading.Thread | None = None

    # Writing

    def judge(self, candidates: Iterable[Document] | Batch, judge_all: Judge | None = None) -> Verdict:
        """The verdict on a batch, nothing stored.

        The batch is judged as a whole: its documents may refer to each other in any order. Documents outside it whose
        references it would break, or under which it would change what they rely on, are judged with it.
        Raises `DocumentError` when two candidates have one IRI.
        """
        as_of = self.journal.last()
        batch = candidates if isinstance(candidates, Mapping) else batch_of(candidates)
        return verdict_on(batch, self.journal, as_of, judge_all)

    def accept(
        self,
        candidates: Iterable[Document],
        *,
        agent: str,
        change: str = "recorded",
        note: str = "",
        judge_all: Judge | None = None,
        settle: bool = True,
    ) -> Receipt:
        """Write a batch, all of it or nothing: `change` to what these documents are, whatever is there now."""
        batch = batch_of(candidates)
        return self.change(lambda: batch, agent=agent, change=change, note=note, judge_all=judge_all, settle=settle)

    def change(
        self,
        compose: Callable[[], Batch],
        *,
        agent: str,
        change: str = "recorded",
        note: str = "",
        judge_all: Judge | None = None,
        settle: bool = True,
    ) -> Receipt:
        """Write what `compose` makes of what is there now, all of it or nothing. When this returns, it is on disk and the next query sees it.

        `compose` gives the new state of each document, None to take it away. It is called again whenever another wrote in
        between, so what it decides by what it reads here, a condition or a merger, holds for what is written; whatever it raises
        ends the write. A `change` of "retracted" adds to each document that it is, with the note for the reason.

        Raises `Rejected` with the reports, `StillReferredTo`, `DocumentError`, `RequestError` or `StorageError`; then nothing has
        changed. Documents that are there already, byte for byte in canonical form, make no new revision. With `settle` false, queries
        may see it a little later; as they do while a remote engine is away, until it is too far behind: then nothing is written
        and `EngineUnavailable` raised.
        """
        _require_known(change, note)
        self._require_engine_not_too_far_behind()

        batch: Batch = {}

        def verdict_now() -> Verdict:
            nonlocal batch
            as_of = self.journal.last()
            batch = compose()
            if change == "retracted":
                there = {iri: found for iri in batch if (found := self._read(iri)) is not None}
                batch = retraction.retracted(batch, there, note, self.base)
            return verdict_on(batch, self.journal, as_of, judge_all)

        verdict = verdict_now()
        with contextlib.ExitStack() as turn:
            if (verdict.conforms and verdict.changed) or self.journal.last() != verdict.as_of:
                turn.enter_context(self._turn())
            while True:
                while self.journal.last() != verdict.as_of:
                    # Another wrote in between, so the verdict may rest on what is no longer so, a rejection too.
                    verdict = verdict_now()
                verdict.require()
                digests = {iri: None if document is None else document.digest for iri, document in batch.items()}
                if not verdict.changed:
                    return Receipt(verdict.as_of, (), verdict.unchanged, digests)
                revisions = self.journal.commit(
                    verdict.changed, agent=agent, change=change, note=note, unless_after=verdict.as_of
                )
                if revisions is not None:
                    break
        receipt = Receipt(revisions[-1].seq, tuple(revisions), verdict.unchanged, digests)
        if settle:
            try:
                self.settle()
            except EngineUnavailable as error:
                log.warning("revision %d is written and not seen by queries yet: %s", receipt.revision, error.detail)
        return receipt

    def _require_engine_not_too_far_behind(self) -> None:
        if not self.config.engine or self.journal.last() - self.engine.reached() < self.config.engine_lag:
            return
        try:
            self.settle()
        except (EngineUnavailable, IndexBehind) as error:
            behind = self.journal.last() - self.engine.reached()
            raise EngineUnavailable(
                f"nothing was written, because queries are {behind:,} revisions behind already; {error.detail}"
            ) from None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else writes for as long as this lasts, in any process.

        Judging takes its time and goes on beside others' writes; only who was overtaken judges again, now with nobody to
        overtake it. Otherwise a long batch would never get through among many small ones.
        """
        path = self.config.data / "write.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{path} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def relying_on(self, candidate: Document) -> frozenset[str]:
        """The other documents there are now that rely on what this candidate would take away or alter."""
        new = faces(candidate)
        old = self.journal.faces(self.journal.nodes_of(candidate.iri))
        touched = [node for node, face in old.items() if new.get(node) != face]
        return frozenset(referrer for _, referrer in self.journal.referrers(touched)) - {candidate.iri}

    def settle(self, wait: float = 30.0) -> int:
        """Let queries see everything written so far; the batch reached. Raises `IndexBehind` after `wait` seconds."""
        return self.engine.follow(self.journal, wait)

    def rebuild(self) -> int:
        """Make the index anew from the journal; the batch reached. Raises `DirectoryInUse` while a server runs on the directory."""
        return self.engine.rebuild(self.journal)

    # Reading

    def read(self, iri: str) -> tuple[Document, Revision] | None:
        """The document as it is now, and the revision that made it so; None where there is none."""
        return self.journal.read(iri)

    def revision(self) -> tuple[int, int]:
        """The batch that the journal has, and the one that queries see: all that an answer depends on. Costs microseconds."""
        return self.journal.last(), self.engine.reached()

    def wait_for(self, revision: int, wait: float) -> None:
        """Wait until queries see this batch. Raises `IndexBehind` after `wait` seconds."""
        deadline = time.monotonic() + wait
        while self.engine.reached() < revision:
            if time.monotonic() >= deadline or revision > self.journal.last():
                reached = self.engine.reached()
                raise IndexBehind(
                    f"revision {revision} is not there yet; queries see revision {reached}", reached=reached
                )
            time.sleep(0.01)

    def _read(self, iri: str) -> Document | None:
        found = self.journal.read(iri)
        return None if found is None else found[0]

    def answer(self, query: Query, caller: Caller = NOBODY) -> Answer:
        """Evaluate a query on the newest published state. Raises a `QueryError`, `NotAcceptable` or `Overloaded`."""
        return self.engine.answer(query, caller)

    def begin(self, query: Query, caller: Caller, placed: Callable[[], object]) -> Pending | None:
        """An answer that nobody waits for yet; see `Engine.begin`."""
        return self.engine.begin(query, caller, placed)

    # Following what other processes write

    def start_following(self, interval: float = 0.05) -> None:
        """From now on, let queries see what other processes write to the journal, within about `interval` seconds."""

        def follow() -> None:
            while not self._stopping.wait(interval):
                try:
                    if self.journal.last() != self.engine.reached():  # less, where an older copy has been put back
                        self.settle()
                except IndexBehind as error:
                    log.warning("%s", error.detail)
                    self._stopping.wait(1)
                except (StorageError, OSError) as error:
                    log.error("the index cannot follow the journal, trying again: %s", error)
                    self._stopping.wait(1)

        self._follower = threading.Thread(target=follow, name="follower", daemon=True)
        self._follower.start()

    def close(self) -> None:
        """Stop following, end the query processes and release the files. Idempotent."""
        self._stopping.set()
        if self._follower is not None:
            self._follower.join()
            self._follower = None
        self.judges.close()
        self.scratch.close()
        self.engine.close()
        self.journal.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_library(config: Config, *, create: bool, owner: bool, patience: float = 10.0) -> Library:
    """The library in a data directory.

    `create` makes it where there is none, for `config.base` or, if that is empty, the base of `config.bind`. `owner` is for the
    server: it holds the index, waiting for it up to `patience` seconds.
    Raises `ConfigurationError` (another base, a newer format, in use) or `StorageError`.
    """
    path = config.data / "journal.sqlite"
    if path.is_file():
        journal = Journal(path)
        if config.base:
            journal.require_base(Base(config.base))
    elif create:
        base = Base(config.base or config.default_base)
        try:
            config.data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{config.data} cannot be made: {error.strerror}") from None
        try:
            journal = Journal.create(path, base)
        except StorageError:
            if not path.is_file():
                raise
            journal = Journal(path)  # another process made it at the same moment
            if config.base:
                journal.require_base(base)
    else:
        raise StorageError(
            f"there is no graph in {config.data}; make one with `kg serve` or `kg load`, or name another with --data"
        )
    try:
        engine: Engine
        if config.engine:
            from kg.engine.remote import RemoteEngine  # brings SPARQLWrapper and rdflib: 0.2 s

            engine = RemoteEngine(config, journal, owner=owner, patience=patience)
        else:
            engine = EmbeddedEngine(config, owner=owner, patience=patience)
    except BaseException:
        journal.close()
        raise
    return Library(config, journal, engine)


def read_file(path: Path, base: Base, config: Config) -> list[Document]:
    """The documents in a file, by its suffix. Relative IRIs resolve against the base. Raises a `DocumentError`, `RequestError` or `StorageError`."""
    syntax = documents.syntax_of_suffix(path.suffix.removeprefix("."))
    limit = config.batch_limit if syntax.graphs else config.document_limit
    try:
        size = path.stat().st_size
        if size > limit:
            raise documents.too_large(size, limit)
        found = documents.parse(path.read_bytes(), syntax, base, limit=limit)
    except OSError as error:
        raise StorageError(f"it cannot be read: {error.strerror}") from None
    for document in found:
        if len(document.content) > config.document_limit:
            raise documents.too_large(len(document.content), config.document_limit, document.iri)
    return found


#: Not to be had in XML, nor on a line of its own.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


def _require_known(change: str, note: str) -> None:
    if _CONTROL.search(note):
        raise RequestError("the note has a control character in it; take it out")
    if change not in CHANGES:
        raise RequestError(f"{change!r} is no kind of change; there are {', '.join(CHANGES)}", changes=list(CHANGES))
    if len(note) > retraction.NOTE_LIMIT:
        raise RequestError(f"a note has at most {retraction.NOTE_LIMIT:,} characters; this has {len(note):,}")
