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
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kg import documents
from kg.config import Config
from kg.documents import Document
from kg.engine import NOBODY, Answer, Caller, Engine, Query
from kg.engine.embedded import EmbeddedEngine
from kg.engine.remote import RemoteEngine
from kg.errors import EngineUnavailable, IndexBehind, Rejected, StorageError, UnplaceableDocument
from kg.gate import REFERENCE as REFERENCE_COMPONENT
from kg.gate import Face, Report, Result, faces, judge
from kg.journal import Journal, Revision
from kg.terms import Base

log = logging.getLogger("kg.library")

#: Given documents and the faces of all they refer to, the report on each, in the same order.
Judge = Callable[[Sequence[tuple[Document, Mapping[str, Face]]]], Sequence[Report]]


@dataclass(frozen=True)
class Receipt:
    """What a write did. `revision` is the batch at which questions see it; `unchanged` are documents that were there as sent."""

    revision: int
    revisions: tuple[Revision, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Reports on a batch, as of one state of the journal. `changed` are the documents that a write would change."""

    as_of: int
    reports: tuple[Report, ...]
    changed: Mapping[str, Document]
    unchanged: tuple[str, ...]

    @property
    def conforms(self) -> bool:
        return all(report.conforms for report in self.reports)


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
        self._follower: threading.Thread | None = None

    # Writing

    def judge(self, candidates: Iterable[Document], judge_all: Judge | None = None) -> Verdict:
        """The verdict on a batch, nothing stored.

        The batch is judged as a whole: its documents may refer to each other in any order. Documents outside it whose
        references it would break, or under which it would change what they rely on, are judged with it.
        Raises `DocumentError` when two candidates have one IRI.
        """
        as_of = self.journal.last()
        batch: dict[str, Document] = {}
        for candidate in candidates:
            if candidate.iri in batch and batch[candidate.iri] != candidate:
                raise UnplaceableDocument(f"{candidate.iri} comes twice in one batch, with different contents")
            batch[candidate.iri] = candidate
        there = self.journal.digests(batch)
        changed = {iri: candidate for iri, candidate in batch.items() if there.get(iri) != candidate.digest}
        unchanged = tuple(iri for iri in batch if iri not in changed)
        new_faces = {iri: face for candidate in changed.values() for iri, face in faces(candidate).items()}
        old_nodes = {node for iri in changed for node in self.journal.nodes_of(iri)}
        gone = old_nodes - new_faces.keys()
        old_faces = self.journal.faces(old_nodes)
        altered = {node for node, face in old_faces.items() if node in new_faces and new_faces[node] != face}
        dangling: dict[str, list[tuple[str, str]]] = {}
        for target, referrer in self.journal.referrers(gone):
            if referrer not in changed:
                dangling.setdefault(self.base.document_of(target) or target, []).append((target, referrer))
        relying = {referrer for _, referrer in self.journal.referrers(altered)} - changed.keys()
        todo = [*changed.values(), *filter(None, (self._read(iri) for iri in sorted(relying)))]
        wanted = {reference for candidate in todo for reference in candidate.references(self.base)}
        known = {iri: face for iri, face in self.journal.faces(wanted - new_faces.keys()).items() if iri not in gone}
        resolved = {**known, **{iri: new_faces[iri] for iri in wanted & new_faces.keys()}}
        pairs = [
            (candidate, {r: resolved[r] for r in candidate.references(self.base) if r in resolved})
            for candidate in todo
        ]
        reports = list(
            judge_all(pairs) if judge_all else (judge(candidate, self.base, near) for candidate, near in pairs)
        )
        reports += [_still_referred_to(document, pairs_of) for document, pairs_of in dangling.items()]
        return Verdict(as_of, tuple(_merged(reports)), changed, unchanged)

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
        """Write a batch, all of it or nothing. When this returns, it is on disk and the next query sees it.

        Raises `Rejected` with the reports, `DocumentError` or `StorageError`; then nothing has changed. Documents that are there
        already, byte for byte in canonical form, make no new revision. With `settle` false, queries may see it a little later; as
        they do while a remote engine is away, until it is too far behind: then nothing is written and `EngineUnavailable` raised.
        """
        self._require_engine_not_too_far_behind()
        batch = list(candidates)
        verdict = self.judge(batch, judge_all)
        with contextlib.ExitStack() as turn:
            if (verdict.conforms and verdict.changed) or self.journal.last() != verdict.as_of:
                turn.enter_context(self._turn())
            while True:
                while self.journal.last() != verdict.as_of:
                    # Another wrote in between, so the verdict may rest on what is no longer so, a rejection too.
                    verdict = self.judge(batch, judge_all)
                if not verdict.conforms:
                    raise Rejected(verdict.reports)
                if not verdict.changed:
                    return Receipt(verdict.as_of, (), verdict.unchanged)
                revisions = self.journal.commit(
                    verdict.changed, agent=agent, change=change, note=note, unless_after=verdict.as_of
                )
                if revisions is not None:
                    break
        receipt = Receipt(revisions[-1].seq, tuple(revisions), verdict.unchanged)
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
        journal = Journal.create(path, base)
    else:
        raise StorageError(
            f"there is no graph in {config.data}; make one with `kg serve` or `kg load`, or name another with --data"
        )
    try:
        engine: Engine
        if config.engine:
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


def _still_referred_to(document: str, references: Sequence[tuple[str, str]]) -> Report:
    results = tuple(
        Result(
            target,
            None,
            referrer,
            f"The document no longer describes this node, but {referrer} refers to it. Keep it, or send {referrer} without the reference "
            "in the same batch.",
            REFERENCE_COMPONENT,
        )
        for target, referrer in references
    )
    return Report(document, results)


def _merged(reports: Iterable[Report]) -> list[Report]:
    """One report a document."""
    results: dict[str, tuple[Result, ...]] = {}
    for report in reports:
        results[report.document] = (*results.get(report.document, ()), *report.results)
    return [Report(document, found) for document, found in results.items()]
