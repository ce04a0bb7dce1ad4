"""The index as an Oxigraph store of our own: it follows the journal and publishes snapshots that query processes read.

Hides how the index (`kg.engine.index`), snapshots and query processes work together. Promises that queries see whole batches only, in
order, whatever is killed when: the store under change is seen by nobody.

One process at a time owns the index of a directory (a lock on `index.lock`): the server for as long as it runs, else whoever has
written. Any process may read snapshots.

    data/spool/            answers too large for memory, nameless once opened
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from kg.config import Config, endpoints
from kg.engine import NOBODY, Answer, Caller, Query
from kg.engine.federation import Federation
from kg.engine.index import Index, remove_orphans
from kg.engine.process import Limits
from kg.engine.snapshots import GRACE, Snapshots
from kg.engine.workers import Evaluation, QueryProcesses
from kg.errors import DirectoryInUse, IndexBehind, SnapshotGone, StorageError
from kg.journal import Journal

log = logging.getLogger("kg.index")

#: Seconds after which the owner looks again whether the store has merged tables.
_LOOK_AGAIN = 5.0


class EmbeddedEngine:
    """The default engine. With `owner`, it holds the index for its lifetime and raises `DirectoryInUse` if another does;
    without, it takes the index only for as long as `follow` needs it, and reads what others publish."""

    def __init__(self, config: Config, *, owner: bool, patience: float = 10.0) -> None:
        self._config = config
        self._snapshots = Snapshots(config.data / "snapshots")
        self._following = threading.Lock()
        self._index: Index | None = None
        self._owner = owner
        if owner:
            self._index = Index(config, self._snapshots, patience)
            self._snapshots.require_readable()
            remove_orphans(config.data)
        self._published = self._snapshots.newest()
        limits = Limits(config.query_timeout, config.query_memory, config.result_limit, config.slow_query)
        spool = config.data / "spool" if owner else config.data / f"spool-{os.getpid()}"
        self._spool = spool

        def start() -> QueryProcesses:
            federation = Federation(endpoints(config.service_allow), config.service_timeout, config.service_limit)
            return QueryProcesses(config.query_processes, config.query_queue, limits, spool, federation)

        self._processes = _Lazily(start)
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="snapshots", daemon=True)
        if owner:
            self._watcher.start()

    def product(self) -> str:
        return "oxigraph"

    def reached(self) -> int:
        if not self._owner:
            self._published = self._snapshots.newest()
        return 0 if self._published is None else self._published.revision

    def _has_reached(self, journal: Journal, goal: int) -> bool:
        """Whether what is published is of this journal, which may have been restored from an older copy, and new enough."""
        reached = self.reached()
        if self._index is not None and self._index.just_opened:
            return False
        return self._published is not None and reached >= goal and journal.mark(reached) == self._published.mark

    def follow(self, journal: Journal, wait: float = 30.0) -> int:
        deadline = time.monotonic() + wait
        goal = journal.last()
        while not self._has_reached(journal, goal):
            with self._following, _behind(journal):
                if self._index is not None:
                    self._index.follow(journal)
                    self._published = self._snapshots.newest()  # before tidying: who waits for it may ask us now
                    self._snapshots.tidy()
                else:
                    with contextlib.suppress(DirectoryInUse):
                        index = Index(self._config, self._snapshots, patience=0)
                        try:
                            index.follow(journal)
                            self._snapshots.tidy()
                        finally:
                            index.close()
                self._published = self._snapshots.newest()
            if self._has_reached(journal, goal):
                break
            if time.monotonic() > deadline:
                raise IndexBehind(
                    f"the write is safe in the journal, but questions see only revision {self.reached()} of {goal} yet",
                    reached=self.reached(),
                )
            time.sleep(0.02)
        return self.reached()

    def rebuild(self, journal: Journal) -> int:
        with self._following, _behind(journal):
            index = self._index or Index(self._config, self._snapshots, patience=0)
            try:
                index.rebuild(journal)
            finally:
                if self._index is None:
                    index.close()
            self._published = self._snapshots.newest()
        return self.reached()

    def _watch(self) -> None:
        """For as long as we own the index, have queries profit from what the store merges when nobody writes."""
        tidying = 0.0
        while not self._closing.wait(_LOOK_AGAIN):
            if not self._following.acquire(blocking=False):
                continue
            try:
                if self._index is not None and self._index.publish_again():
                    self._published = self._snapshots.newest()
                    tidying = time.monotonic() + GRACE + 1
                elif tidying and time.monotonic() > tidying:
                    self._snapshots.tidy()
                    tidying = 0.0
            finally:
                self._following.release()

    def answer(self, query: Query, caller: Caller = NOBODY) -> Answer:
        if query.revision is not None:
            return self._answer_of_revision(query, query.revision, caller)
        for _ in range(3):
            if not self._owner:
                self._published = self._snapshots.newest()
            if self._published is None:
                raise IndexBehind("nothing is published yet; try again in a moment", reached=0)
            revision, _, path = self._published
            try:
                return self._processes.get().answer(query, path, revision, caller)
            except StorageError:
                # Removed between our look and the process's: there is a newer one. Otherwise it is a real failure.
                self._published = self._snapshots.newest()
                if self._published is not None and self._published.revision == revision and path.exists():
                    raise
        raise StorageError(f"no snapshot in {self._snapshots.directory} can be opened")

    def begin(self, query: Query, caller: Caller, placed: Callable[[], object]) -> Evaluation | None:
        if query.revision is not None or self._published is None or not self._owner:
            return None
        revision, _, path = self._published
        return self._processes.get().begin(query, path, revision, caller, placed)

    def _answer_of_revision(self, query: Query, revision: int, caller: Caller) -> Answer:
        snapshot = self._snapshots.at(revision)
        try:
            if snapshot is not None:
                return self._processes.get().answer(query, snapshot.path, revision, caller)
        except StorageError:
            if snapshot is not None and snapshot.path.exists():
                raise
        raise SnapshotGone(
            f"the graph as of revision {revision} is no longer at hand; it is at revision {self.reached()} now",
            revision=revision,
            reached=self.reached(),
        )

    def figures(self) -> Mapping[str, int]:
        facts = {} if self._index is None else self._index.figures()
        return {**self._processes.get().figures(), **facts}

    def deriving_processes(self) -> list[int]:
        """The process ids of what evaluates rules: one, or none while nothing was written."""
        return [] if self._index is None else self._index.deriver.pids()

    def query_processes(self) -> list[int]:
        """The process ids of the query processes."""
        return self._processes.get().pids()

    def close(self) -> None:
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._processes.close()
        with self._following:
            if self._index is not None:
                self._index.close()
                self._index = None
        if not self._owner:
            shutil.rmtree(self._spool, ignore_errors=True)


@contextlib.contextmanager
def _behind(journal: Journal) -> Iterator[None]:
    """What keeps the index from following as an error of ours: of the write itself nothing is lost."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # pyoxigraph raises the one or the other
        raise IndexBehind(
            f"the write is safe in the journal at revision {journal.last()}, but the index cannot take it: {error}. "
            "Look whether the disk is full; with space again, it goes on by itself"
        ) from error


class _Lazily:
    """Query processes that start when first asked for: a command that only writes needs none."""

    def __init__(self, start: Callable[[], QueryProcesses]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._value: QueryProcesses | None = None

    def get(self) -> QueryProcesses:
        with self._lock:
            if self._value is None:
                self._value = self._start()
            return self._value

    def close(self) -> None:
        with self._lock:
            if self._value is not None:
                self._value.close()
