"""Bringing another server up to the journal, from wherever it is, and knowing how far it is.

Hides the record that is kept on the server, who may write there, and where derived facts come from. Promises that one process at
a time changes the server, that the record never says more than is there, and that a server which was stopped, restored or
emptied is noticed and filled again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyoxigraph as ox

from kg import rules
from kg.config import Config
from kg.engine.deriver import Deriver, DerivingFailed, Difference, changed_by
from kg.engine.index import FOLLOWED_BY_RULES, RULES_AGAIN, lock
from kg.engine.remote import operations
from kg.engine.remote.operations import OPERATIONS_AT_ONCE, TRIPLES_AT_ONCE
from kg.engine.remote.server import Server, State
from kg.errors import ConfigurationError, DirectoryInUse, EngineUnavailable, IndexBehind
from kg.journal import Journal
from kg.terms import KINDS

log = logging.getLogger("kg.index")

#: Revisions after which the one reached is recorded on the way, so that a long catch-up need not begin again.
_REVISIONS_AT_ONCE = 2_000


class Follower:
    """Follows the journal of a data directory on a server.

    With `owner`, it alone does, for its lifetime, and raises `DirectoryInUse` if another does. Without, it takes its turn for each time.
    """

    def __init__(self, server: Server, config: Config, journal: Journal, *, owner: bool, patience: float) -> None:
        self._server = server
        self._journal = journal
        self._base = journal.base
        self._directory = config.data
        self._memory = config.query_memory
        self._following = threading.Lock()
        self._reached = 0
        self._asked = float("-inf")
        self._checked = False
        self._missed = False
        self._closed = False
        self._deriver = Deriver(config.data / "deriving", config.query_memory) if owner else None
        self._rules_again = 0.0
        self._rules_failed = 0
        self._lock = lock(config.data / "index.lock", patience) if owner else None

    @property
    def reached(self) -> int:
        """The revision that the server was last known to have reached."""
        return self._reached

    @property
    def missed(self) -> bool:
        """Whether the server could not be asked when it last was."""
        return self._missed

    @property
    def rules_failed(self) -> int:
        """How often derived facts could not be made."""
        return self._rules_failed

    @property
    def rules_behind(self) -> bool:
        """Whether derived facts are older than the documents."""
        return self._rules_again > 0

    def begin(self) -> None:
        """Raises `ConfigurationError` if the server can be asked and is not fit."""
        try:
            self._look()
        except EngineUnavailable as error:
            log.warning("%s", error.detail)

    def follow(self, journal: Journal, wait: float) -> int:
        """Bring the server up to the journal's end, or see another process do it; the revision reached. Raises `IndexBehind` after
        `wait` seconds."""
        # A catch-up that has begun is ended: to stop it in the middle would mean to begin again. So `wait` is for one's turn.
        deadline = time.monotonic() + wait
        goal = journal.last()
        while True:
            if not self._following.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise self._behind(goal)
            try:
                with self._translated(), self._ownership() as owned:
                    if owned:
                        self._catch_up(journal)
                    else:
                        self._look()
            finally:
                self._following.release()
            if self._reached >= goal:
                return self._reached
            if time.monotonic() >= deadline:
                raise self._behind(goal)
            time.sleep(0.02)

    def rebuild(self, journal: Journal) -> int:
        """Remove what is there and write everything anew; the revision reached."""
        with self._following, self._translated(), self._ownership(insist=True):
            self._reached = 0
            self._empty()
            self._catch_up(journal)
        return self._reached

    def require_state(self, *, believing: float = 0.0) -> None:
        """Make sure that the server still has what it had; believe it for so many seconds since it was last asked.

        Raises `EngineUnavailable`, or `IndexBehind` if it has less.
        """
        if time.monotonic() - self._asked <= believing:
            return
        if not self._following.acquire(blocking=False):
            if not self._checked:
                raise IndexBehind("nothing is published yet; try again in a moment", reached=0)
            return  # it is being asked or brought up this moment
        try:
            before = self._reached
            with self._translated():
                state = self._look()
                if state is None and self._lock is not None and self._journal.last() == 0:
                    self._catch_up(self._journal)  # nothing to follow, so nobody else would
                    return
        finally:
            self._following.release()
        if state is None and before == 0:
            raise IndexBehind("nothing is published yet; try again in a moment", reached=0)
        if state is None or state.revision < before:
            raise IndexBehind(
                f"{self._server} has lost what it had and is being filled again; try again in a moment",
                reached=self._reached,
            )

    def close(self) -> None:
        """Stop following, in the middle if need be, and let another process do it."""
        self._closed = True
        with self._following:
            if self._deriver is not None:
                self._deriver.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    @contextlib.contextmanager
    def _ownership(self, *, insist: bool = False) -> Iterator[bool]:
        """Whether this process may change the server within the block. With `insist`, raises `DirectoryInUse` instead of saying no."""
        if self._lock is not None:
            yield True
            return
        try:
            held = lock(self._directory / "index.lock", patience=0)
        except DirectoryInUse:
            if insist:
                raise
            yield False
            return
        try:
            yield True
        finally:
            os.close(held)

    def _behind(self, goal: int) -> IndexBehind:
        return IndexBehind(
            f"the write is safe in the journal, but questions see only revision {self._reached} of {goal} yet",
            reached=self._reached,
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """That a server is not fit is an error of configuration at the start, and afterwards one of the engine, which may mend."""
        try:
            yield
        except ConfigurationError as error:
            if isinstance(error, DirectoryInUse):
                raise
            raise EngineUnavailable(error.detail) from None

    def _look(self) -> State | None:
        """Ask the server how far it is, and believe it. Raises `ConfigurationError` for one that is not fit."""
        try:
            state = self._fit_state()
        except (EngineUnavailable, ConfigurationError):
            self._missed = True
            raise
        self._checked, self._missed = True, False
        self._reached = 0 if state is None else state.revision
        self._asked = time.monotonic()
        return state

    def _fit_state(self) -> State | None:
        state = self._server.state(self._base)
        if not self._checked:
            self._server.require_whole_answers()
        if state is None:
            return None
        last = self._journal.last()
        if state.revision > last:
            raise ConfigurationError(
                f"{self._server} has revision {state.revision} of {self._base}, the journal in {self._directory} ends at "
                f"{last}: that server follows another journal. If this is the right one, run `kg rebuild`",
                setting="KG_ENGINE",
            )
        if state.digest != _digest(self._journal, state.revision):
            raise ConfigurationError(
                f"revision {state.revision} on {self._server} is not the one in the journal in {self._directory}: that "
                "server followed another history. If this is the right one, run `kg rebuild`",
                setting="KG_ENGINE",
            )
        return state

    def _catch_up(self, journal: Journal) -> None:
        """Bring the server to the journal's end."""
        state = self._look()
        if state is None:
            self._server.update(operations.record(self._base, 0, ""))
            state = self._look()
            if state is None:
                raise ConfigurationError(
                    f"what was written to {self._server.update_url} is not seen at {self._server.url}; KG_ENGINE and "
                    "KG_ENGINE_UPDATE must be addresses of one store",
                    setting="KG_ENGINE_UPDATE",
                )
        last, done, made_by = journal.last(), state.revision, state.made_by
        difference: Difference | None = None
        if made_by == rules.digest() and done == last:
            difference = [], []
        elif made_by == rules.digest() and last <= done + FOLLOWED_BY_RULES:
            difference = self._difference(journal, done, last)
        if difference is None or sum(map(len, difference)) > TRIPLES_AT_ONCE:
            difference, made_by = None, ""
        while done < last:
            upto = min(done + _REVISIONS_AT_ONCE, last)
            closing = operations.facts(self._base, *(difference or ([], [])))
            record = operations.record(self._base, upto, _digest(journal, upto), made_by)
            self._send(
                operations.requests(journal.current(done, upto), [*closing, *record]), unmarked=any(difference or ())
            )
            done = upto
        self._reached = last
        self._asked = time.monotonic()
        if difference is None:
            self._derive_everything(journal, last)

    def _send(self, requests: Iterator[list[str]], *, unmarked: bool = False) -> None:
        """Send updates. Where more than one changes derived facts, the first says that nobody knows which of them are there."""
        first = next(requests)
        for request in itertools.chain([first], requests):
            if self._closed:
                raise EngineUnavailable("the service is stopping")
            if unmarked and request is first:
                request = [operations.unmark(self._base), *request]  # noqa: PLW2901
            self._server.update(request)

    def _difference(self, journal: Journal, done: int, last: int) -> Difference | None:
        """What the documents of these revisions change of the derived facts; None if that cannot be found out."""
        gone: list[ox.Quad] = []
        come: list[ox.Quad] = []
        for iri, document in journal.current(done, last):
            before = [revision.seq for revision in journal.history(iri) if revision.seq <= done]
            old = journal.content(before[-1]) if before else None
            less, more = changed_by(
                ox.NamedNode(iri), () if old is None else old.triples, () if document is None else document.triples
            )
            gone += less
            come += more
        with self._borrowed_deriver() as deriver:
            if not gone and not come:
                deriver.pass_over(journal.mark(last))
                return [], []
            try:
                if not deriver.is_at(journal.mark(done)):
                    deriver.open(self._base.iri, partial(_copy, journal, done), journal.mark(done), derived=False)
                    for file in deriver.everything():
                        file.unlink()
                return deriver.difference(gone, come, journal.mark(last))
            except DerivingFailed as error:
                log.warning(
                    "what changes of the derived facts could not be found out, so all are derived anew: %s", error
                )
                return None

    def _derive_everything(self, journal: Journal, last: int) -> None:
        """Make all derived facts on the server anew. Where that fails, they stay as they were."""
        if time.monotonic() < self._rules_again:
            return
        record = operations.record(self._base, last, _digest(journal, last), rules.digest())
        with self._borrowed_deriver() as deriver:
            try:
                deriver.open(self._base.iri, partial(_copy, journal, last), journal.mark(last), derived=False)
                none, file = deriver.everything()  # there were none to go
                self._rules_again = 0.0
            except DerivingFailed as error:
                self._rules_again = time.monotonic() + RULES_AGAIN
                self._rules_failed += 1
                log.error("derived facts are older than the documents, and tried again at a later write: %s", error)
                return
            derived = rules.graph_of(self._base.iri).value
            with file.open(encoding="utf-8") as lines:
                stripped = (line.rstrip("\n") for line in lines)
                pieces = iter(lambda: list(itertools.islice(stripped, TRIPLES_AT_ONCE)), [])
                self._server.update([operations.unmark(self._base), f"DROP SILENT GRAPH <{derived}>"])
                self._send(itertools.chain(([operations.insertion(derived, piece)] for piece in pieces), [record]))
            none.unlink()
            file.unlink()

    @contextlib.contextmanager
    def _borrowed_deriver(self) -> Iterator[Deriver]:
        """The deriver, which lives as long as its owner; a command that only writes has one for the moment."""
        deriver = self._deriver or Deriver(self._directory / f"deriving-{os.getpid()}", self._memory)
        try:
            yield deriver
        finally:
            if deriver is not self._deriver:
                deriver.close()

    def _empty(self) -> None:
        """Remove what belongs to this base, first of all the record of how far it is."""
        self._server.update([f"DROP SILENT GRAPH <{self._base}revision>"])
        mine = " || ".join(f'STRSTARTS(STR(?g), "{self._base}{kind}/")' for kind in KINDS)
        mine += f' || STR(?g) = "{self._base}derived"'
        left: list[str] = []
        while True:
            rows = self._server.select(
                f"SELECT DISTINCT ?g WHERE {{ GRAPH ?g {{ ?s ?p ?o }} FILTER({mine}) }} LIMIT 500"
            )
            graphs = [row["g"] for row in rows]
            if not graphs:
                return
            if graphs == left:
                raise EngineUnavailable(f"{self._server} does not remove graphs, such as <{graphs[0]}>")
            left = graphs
            for start in range(0, len(graphs), OPERATIONS_AT_ONCE):
                some = graphs[start : start + OPERATIONS_AT_ONCE]
                self._server.update([f"DROP SILENT GRAPH <{graph}>" for graph in some])


def _digest(journal: Journal, revision: int) -> str:
    document = journal.content(revision) if revision else None
    return document.digest if document is not None else ""


def _copy(journal: Journal, revision: int, path: Path) -> None:
    """Make a store of what rules read of the documents as of a revision."""
    read = rules.asserted()
    store = ox.Store(path)
    documents = (document for _, document in journal.current(0, revision) if document is not None)
    while some := list(itertools.islice(documents, 2_000)):
        store.bulk_extend(
            ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri))
            for document in some
            for t in document.triples
            if rules.read_as(t) in read
        )
    store.flush()
