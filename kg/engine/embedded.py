"""The index as an Oxigraph store of our own: it follows the journal and publishes snapshots that query processes read.

Hides the store, its files and who may write them. Promises that queries see whole batches only, in order, whatever is killed
when: the store under change is seen by nobody, replaying a batch leads to the same state, and a snapshot gets its name only when
it is complete. A store that is damaged, or ahead of the journal, is built anew from the journal.

One process at a time owns the index of a directory (a lock on `index.lock`): the server for as long as it runs, else whoever has
written. Any process may read snapshots.

    data/index/store/      the store under change; beside it REVISION, the batch it has surely reached, and that batch's mark
    data/snapshots/42-…/   the graph as of batch 42, its mark behind the number: immutable, hard links, opened read-only
    data/spool/            answers too large for memory, nameless once opened
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyoxigraph as ox

from kg.config import Config, endpoints
from kg.documents import Document
from kg.engine import NOBODY, Answer, Caller, Query
from kg.engine.federation import Federation
from kg.engine.workers import Limits, QueryProcesses
from kg.errors import DirectoryInUse, IndexBehind, StorageError
from kg.journal import Journal

log = logging.getLogger("kg.index")

#: Documents applied to the store at once; above it, loading goes by files of the store's own (`bulk_extend`).
_CHUNK = 2_000

#: Snapshots kept at the most, and the seconds for which an older one stays for those who still read it.
_KEEP = 20
_GRACE = 90.0


class Snapshot(NamedTuple):
    """A published state: the batch, by which mark the journal knows it, and where it lies."""

    revision: int
    mark: str
    path: Path


class Snapshots:
    """The published states of a data directory. Any process may read them; only the owner of the index adds and removes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def newest(self) -> Snapshot | None:
        """What was published last."""
        return max(self._all(), default=None)

    def _all(self) -> list[Snapshot]:
        """All that are published, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                number, _, mark = path.name.partition("-")
                if number.isdigit():
                    found.append(Snapshot(int(number), mark, path))
        return sorted(found)

    def publish(self, store: ox.Store, revision: int, mark: str) -> None:
        """Make the store's present state the snapshot of this batch."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target, building = self.directory / f"{revision}-{mark}", self.directory / f"building-{os.getpid()}"
        if target.exists():
            return
        shutil.rmtree(building, ignore_errors=True)
        store.backup(building)
        building.rename(target)

    def require_readable(self) -> None:
        """Remove all, so that they are made again, if the newest cannot be opened."""
        newest = self.newest()
        if newest is None:
            return
        try:
            ox.Store.read_only(str(newest.path))
        except (OSError, RuntimeError) as error:
            log.warning("the snapshot %s cannot be opened (%s): publishing anew", newest.path, error)
            self.clear()

    def tidy(self) -> None:
        """Remove what nobody reads any more, and what a crash left half-built."""
        replaced = time.time()  # when the next newer one was published: until then this was the newest
        for place, snapshot in enumerate(reversed(self._all())):
            with contextlib.suppress(FileNotFoundError):
                published = snapshot.path.stat().st_mtime
                if place >= _KEEP or (place > 0 and time.time() - replaced > _GRACE):
                    self._remove(snapshot.path)
                replaced = published
        for path in self.directory.glob("building-*"):
            if path.name != f"building-{os.getpid()}":
                shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Remove all: they were made from a store that is no more."""
        for snapshot in self._all():
            self._remove(snapshot.path)

    def _remove(self, path: Path) -> None:
        doomed = path.with_name(f"building-removed-{path.name}")  # loses its name at once, its files one by one
        with contextlib.suppress(OSError):
            path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


class EmbeddedEngine:
    """The default engine. With `owner`, it holds the index for its lifetime and raises `DirectoryInUse` if another does;
    without, it takes the index only for as long as `follow` needs it, and reads what others publish."""

    def __init__(self, config: Config, *, owner: bool, patience: float = 10.0) -> None:
        self._directory = config.data
        self._snapshots = Snapshots(config.data / "snapshots")
        self._following = threading.Lock()
        self._index: _Index | None = None
        self._owner = owner
        if owner:
            self._index = _Index(config.data, self._snapshots, patience)
            self._snapshots.require_readable()
            remove_orphaned_spools(config.data)
        self._published = self._snapshots.newest()
        limits = Limits(config.query_timeout, config.query_memory, config.result_limit, config.slow_query)
        spool = config.data / "spool" if owner else config.data / f"spool-{os.getpid()}"
        self._spool = spool

        def start() -> QueryProcesses:
            federation = Federation(endpoints(config.service_allow), config.service_timeout, config.service_limit)
            return QueryProcesses(config.query_processes, config.query_queue, limits, spool, federation)

        self._processes = _Lazily(start)

    def reached(self) -> int:
        if not self._owner:
            self._published = self._snapshots.newest()
        return 0 if self._published is None else self._published.revision

    def _has_reached(self, journal: Journal, goal: int) -> bool:
        """Whether what is published is of this journal, which may have been restored from an older copy, and new enough."""
        reached = self.reached()
        return self._published is not None and reached >= goal and journal.mark(reached) == self._published.mark

    def follow(self, journal: Journal, wait: float = 30.0) -> int:
        deadline = time.monotonic() + wait
        goal = journal.last()
        while not self._has_reached(journal, goal):
            with self._following:
                if self._index is not None:
                    self._index.follow(journal)
                    self._published = self._snapshots.newest()  # before tidying: who waits for it may ask us now
                    self._snapshots.tidy()
                else:
                    with contextlib.suppress(DirectoryInUse):
                        index = _Index(self._directory, self._snapshots, patience=0)
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
        with self._following:
            index = self._index or _Index(self._directory, self._snapshots, patience=0)
            try:
                index.rebuild(journal)
            finally:
                if self._index is None:
                    index.close()
            self._published = self._snapshots.newest()
        return self.reached()

    def answer(self, query: Query, caller: Caller = NOBODY) -> Answer:
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

    def figures(self) -> Mapping[str, int]:
        return self._processes.get().figures()

    def query_processes(self) -> list[int]:
        """The process ids of the query processes."""
        return self._processes.get().pids()

    def close(self) -> None:
        self._processes.close()
        with self._following:
            if self._index is not None:
                self._index.close()
                self._index = None
        if not self._owner:
            shutil.rmtree(self._spool, ignore_errors=True)


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


class _Index:
    """The store under change, while this process owns it."""

    def __init__(self, directory: Path, snapshots: Snapshots, patience: float) -> None:
        self._lock = lock(directory / "index.lock", patience)
        self._path = directory / "index"
        self._snapshots = snapshots
        self._loaded = 0  # documents that came by files of the store's own since they were last made one
        self._store, self._reached, self._mark = self._open()

    def follow(self, journal: Journal) -> None:
        """Apply what the journal has and the store has not, then publish it."""
        if self._reached and journal.mark(self._reached) != self._mark:
            log.warning(
                "the index is of another history than the journal's (revision %d): rebuilding it", self._reached
            )
            self._discard()
        last = journal.last()
        fresh = self._reached == 0
        if self._reached < last:
            self._apply(journal.current(self._reached, last), fresh)
            # Compaction makes large queries two to four times as fast after a bulk load (measured at 10,000 articles), and costs
            # about as much as loading did: so it waits until a fair part of the graph is new.
            if self._loaded > max(_CHUNK // 4, journal.count() // 4):
                self._store.optimize()
                self._loaded = 0
            self._store.flush()
            self._reached, self._mark = last, journal.mark(last)
            _write_durably(self._path / "REVISION", f"{last} {self._mark}")
        self._snapshots.publish(self._store, self._reached, journal.mark(self._reached))

    def rebuild(self, journal: Journal) -> None:
        """Forget the store and all snapshots, and make them anew."""
        self._discard()
        self.follow(journal)

    def close(self) -> None:
        del self._store
        os.close(self._lock)

    def _apply(self, changed: Iterator[tuple[str, Document | None]], fresh: bool) -> None:
        while chunk := list(itertools.islice(changed, _CHUNK)):
            if not fresh:
                for iri, _ in chunk:
                    self._store.remove_graph(ox.NamedNode(iri))
            quads = [
                ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(d.iri))
                for _, d in chunk
                if d is not None
                for t in d.triples
            ]
            if len(chunk) > 100:
                self._store.bulk_extend(quads)
                self._loaded += len(chunk)
            else:
                self._store.extend(quads)

    def _open(self) -> tuple[ox.Store, int, str]:
        said = self._path / "REVISION"
        if not (self._path / "store" / "CURRENT").is_file():
            if said.exists():
                log.warning("the index in %s is missing: rebuilding it from the journal", self._path)
            return self._discard()
        try:
            number, mark = said.read_text("ascii").split()
            reached = int(number)
            return ox.Store(self._path / "store"), reached, mark
        except (FileNotFoundError, ValueError):
            log.warning("the index in %s does not say what it has reached: rebuilding it from the journal", self._path)
        except (OSError, RuntimeError) as error:  # pyoxigraph raises the one or the other for a damaged store
            log.warning("the index in %s cannot be opened (%s): rebuilding it from the journal", self._path, error)
        return self._discard()

    def _discard(self) -> tuple[ox.Store, int, str]:
        if hasattr(self, "_store"):
            del self._store
        self._snapshots.clear()
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True)
        self._store, self._reached, self._mark = ox.Store(self._path / "store"), 0, ""
        return self._store, self._reached, self._mark


def remove_orphaned_spools(directory: Path) -> None:
    """Remove what commands that were killed left behind."""
    for path in directory.glob("spool-*"):
        pid = path.name.removeprefix("spool-")
        if not (pid.isdigit() and Path("/proc", pid).exists()):
            shutil.rmtree(path, ignore_errors=True)


def lock(path: Path, patience: float) -> int:
    """The open, locked file; the lock ends with the process, however it ends. Raises `DirectoryInUse`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DirectoryInUse(
                f"{path.parent} is in use by process {holder}; stop it, or choose another directory with --data"
            ) from None
        os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)  # in one go, so that nobody reads half of it
        return descriptor


def _write_durably(path: Path, text: str) -> None:
    """Replace a small file so that after a crash it holds the old text or the new."""
    building = path.with_suffix(".new")
    with building.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    building.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
