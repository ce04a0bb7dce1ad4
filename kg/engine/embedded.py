"""The index as an Oxigraph store of our own: it follows the journal and publishes snapshots that query processes read.

Hides the store, its files and who may write them. Promises that queries see whole batches only, in order, whatever is killed
when: the store under change is seen by nobody, replaying a batch leads to the same state, and a snapshot gets its name only when
it is complete. A store that is damaged, or ahead of the journal, is built anew from the journal.

One process at a time owns the index of a directory (a lock on `index.lock`): the server for as long as it runs, else whoever has
written. Any process may read snapshots.

    data/index/store/      the store under change; beside it REVISION, the batch it has surely reached, that batch's mark, and by which
                           rules its derived facts were made (`-` while they are not those of that batch)
    data/snapshots/42-…/   the graph as of batch 42, its mark behind the number: immutable, hard links, opened read-only
    data/spool/            answers too large for memory, nameless once opened
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyoxigraph as ox

from kg import rules
from kg.config import Config, endpoints
from kg.documents import Document
from kg.engine import NOBODY, Answer, Caller, Query
from kg.engine.deriver import Deriver, DerivingFailed, Difference, changed_by
from kg.engine.federation import Federation
from kg.engine.process import Limits
from kg.engine.workers import Evaluation, QueryProcesses
from kg.errors import DirectoryInUse, IndexBehind, SnapshotGone, StorageError
from kg.journal import Journal

log = logging.getLogger("kg.index")

#: Documents applied to the store at once; above it, loading goes by files of the store's own (`bulk_extend`).
_CHUNK = 2_000

#: Changed documents up to which derived facts are brought up by what changed; above it, they are all derived anew.
FOLLOWED_BY_RULES = 500

#: Seconds after which derived facts are tried again that could not be brought up.
RULES_AGAIN = 60.0

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

    def at(self, revision: int) -> Snapshot | None:
        """The state as of that batch, if it is still there."""
        return next((snapshot for snapshot in self._all() if snapshot.revision == revision), None)

    def _all(self) -> list[Snapshot]:
        """All that are published, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                number, _, mark = path.name.partition("-")
                if number.isdigit():
                    found.append(Snapshot(int(number), mark, path))
        return sorted(found)

    def publish(self, store: ox.Store, revision: int, mark: str, *, alone: bool = False) -> None:
        """Make the store's present state the snapshot of this batch; with `alone`, in the place of all that are there."""
        self.directory.mkdir(parents=True, exist_ok=True)
        target, building = self.directory / f"{revision}-{mark}", self.directory / f"building-{os.getpid()}"
        if target.exists() and not alone:
            return
        shutil.rmtree(building, ignore_errors=True)
        store.backup(building)
        if alone:
            self.clear()
        building.rename(target)

    def hold(self, place: Path) -> Snapshot | None:
        """The newest, under a name of the caller's own that nobody else removes; None where there is none."""
        while (newest := self.newest()) is not None:
            try:
                shutil.copytree(newest.path, place, copy_function=os.link)
            except (FileNotFoundError, shutil.Error):  # removed meanwhile, because there is a newer one
                shutil.rmtree(place, ignore_errors=True)
                if self.newest() == newest:
                    raise
            else:
                return newest
        return None

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


def differences(
    directory: Path, journal: Journal, progress: Callable[[int, int], None] = lambda done, of: None
) -> Iterator[str]:
    """How what queries see differs from what the journal held at that batch, in words; nothing where it does not. Changes nothing."""
    snapshots = Snapshots(directory / "snapshots")
    spool = directory / f"spool-{os.getpid()}-verifying"  # by its name removed after a crash too
    held = spool / "compared"  # a newer one may be published meanwhile, and this one removed
    try:
        newest = snapshots.hold(held)
        if newest is None:
            return
        if journal.mark(newest.revision) != newest.mark:
            yield f"the index is of another history than the journal's (revision {newest.revision}); it is made anew when next written"
            return
        try:
            store = ox.Store.read_only(str(held))
            yield from _differences(store, journal, newest.revision, progress)
        except StorageError as error:
            yield f"the index cannot be compared: {error.detail}"
        except (OSError, RuntimeError) as error:
            yield f"the index cannot be read ({error}); `kg rebuild` makes it anew"
    finally:
        shutil.rmtree(spool, ignore_errors=True)


def _differences(
    store: ox.Store, journal: Journal, revision: int, progress: Callable[[int, int], None]
) -> Iterator[str]:
    mend = "; `kg rebuild` makes the index anew"
    names: set[ox.NamedNode | ox.BlankNode] = {ox.NamedNode(journal.base.iri + "derived")}
    done, of = 0, journal.count()
    documents = (document for _, document in journal.current(0, revision) if document is not None)
    for document in documents:
        name = ox.NamedNode(document.iri)
        names.add(name)
        is_there, should_be = set(store.quads_for_pattern(None, None, None, name)), set(_quads([document]))
        if is_there != should_be:
            # Literals are normalised in a store, `"01"^^xsd:integer` to `1`, so what should be there is what another makes of it.
            other = ox.Store()
            other.extend(should_be)
            should_be = set(other)
        if is_there != should_be:
            lacks, has_too_many = len(should_be - is_there), len(is_there - should_be)
            yield f"of {document.iri} the index lacks {lacks} triples and has {has_too_many} that it should not{mend}"
        progress(done := min(done + 1, of), of)
    for graph in store.named_graphs():
        if graph not in names:
            yield f"the index has the graph {graph}, which is no document's at revision {revision}{mend}"
    if next(store.quads_for_pattern(None, None, None, ox.DefaultGraph()), None) is not None:
        yield f"the index has triples outside any graph{mend}"


def _quads(documents: Iterable[Document]) -> list[ox.Quad]:
    return [ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(d.iri)) for d in documents for t in d.triples]


class EmbeddedEngine:
    """The default engine. With `owner`, it holds the index for its lifetime and raises `DirectoryInUse` if another does;
    without, it takes the index only for as long as `follow` needs it, and reads what others publish."""

    def __init__(self, config: Config, *, owner: bool, patience: float = 10.0) -> None:
        self._config = config
        self._snapshots = Snapshots(config.data / "snapshots")
        self._following = threading.Lock()
        self._index: _Index | None = None
        self._owner = owner
        if owner:
            self._index = _Index(config, self._snapshots, patience)
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

    def reached(self) -> int:
        if not self._owner:
            self._published = self._snapshots.newest()
        return 0 if self._published is None else self._published.revision

    def _has_reached(self, journal: Journal, goal: int) -> bool:
        """Whether what is published is of this journal, which may have been restored from an older copy, and new enough."""
        reached = self.reached()
        if self._index is not None and self._index.of_other_rules:
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
                        index = _Index(self._config, self._snapshots, patience=0)
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
            index = self._index or _Index(self._config, self._snapshots, patience=0)
            try:
                index.rebuild(journal)
            finally:
                if self._index is None:
                    index.close()
            self._published = self._snapshots.newest()
        return self.reached()

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


class _Index:
    """The store under change, while this process owns it."""

    def __init__(self, config: Config, snapshots: Snapshots, patience: float) -> None:
        self._lock = lock(config.data / "index.lock", patience)
        self._path = config.data / "index"
        self._snapshots = snapshots
        self.deriver = Deriver(config.data / "deriving", config.query_memory)
        self._rules = "-"  # by which rules the derived facts in the store were made
        self._rules_again = 0.0
        self._rules_failed = 0
        self.of_other_rules = False  # whether what is published holds facts that are not those of our rules
        self._loaded = 0  # documents that came by files of the store's own since they were last made one
        self._anew = False  # whether what is published may be of a store that is no more
        self._store, self._reached, self._mark = self._open()

    def follow(self, journal: Journal) -> None:
        """Apply what the journal has and the store has not, then publish it."""
        if not hasattr(self, "_store"):
            self._store, self._reached, self._mark = self._open()
        try:
            self._follow(journal)
        except (OSError, RuntimeError):
            # A store that could not write, for want of space, takes nothing more until it is opened again.
            del self._store
            raise

    def _follow(self, journal: Journal) -> None:
        if self._reached and journal.mark(self._reached) != self._mark:
            log.warning(
                "the index is of another history than the journal's (revision %d): rebuilding it", self._reached
            )
            self._discard()
            self._snapshots.clear()
        last = journal.last()
        fresh = self._reached == 0
        if self._reached < last or self._is_behind_rules():
            changed = journal.current(self._reached, last)
            difference = None
            if self._rules == rules.digest():
                few = list(itertools.islice(changed, FOLLOWED_BY_RULES + 1))
                if len(few) <= FOLLOWED_BY_RULES:
                    difference = self._difference(journal.base.iri, few, journal.mark(last))
                changed = itertools.chain(few, changed)
            if difference is None or any(difference):
                # What stops us from here on leaves derived facts of which nobody knows whether they are those before or after.
                self._record("-")
            self._apply(changed, fresh)
            if difference is not None:
                self._follow_rules(journal.base.iri, *difference)
            else:
                self._derive_everything(journal.base.iri, journal.mark(last))
            # Compaction makes large queries two to four times as fast after a bulk load (measured at 10,000 articles), and costs
            # about as much as loading did: so it waits until a fair part of the graph is new.
            if self._loaded > max(_CHUNK // 4, journal.count() // 4):
                self._store.optimize()
                self._loaded = 0
            self._store.flush()
            self._reached, self._mark = last, journal.mark(last)
            self._record(self._rules)
        self._snapshots.publish(self._store, self._reached, journal.mark(self._reached), alone=self._anew)
        self._anew = self.of_other_rules = False

    def rebuild(self, journal: Journal) -> None:
        """Forget the store and all snapshots, and make them anew."""
        self._discard()
        self.follow(journal)

    def close(self) -> None:
        self.deriver.close()
        if hasattr(self, "_store"):
            del self._store
        os.close(self._lock)

    # Derived facts

    def figures(self) -> dict[str, int]:
        """For operators: how often derived facts could not be brought up so far, and whether they are older than the documents."""
        return {"rules_failed": self._rules_failed, "rules_behind": int(self._rules != rules.digest())}

    def _is_behind_rules(self) -> bool:
        """Whether derived facts are not those of the documents, though that could be tried now."""
        return self._rules != rules.digest() and time.monotonic() >= self._rules_again

    def _difference(self, base: str, changed: list[tuple[str, Document | None]], state: str) -> Difference | None:
        """What these documents, which the store does not have yet, change of the derived facts; None if that cannot be found out."""
        gone: list[ox.Quad] = []
        come: list[ox.Quad] = []
        for iri, document in changed:
            graph = ox.NamedNode(iri)
            old = (quad.triple for quad in self._store.quads_for_pattern(None, None, None, graph))
            less, more = changed_by(graph, old, () if document is None else document.triples)
            gone += less
            come += more
        if not gone and not come:
            self.deriver.pass_over(state)
            return [], []
        try:
            if not self.deriver.is_at(self._mark):
                self.deriver.open(base, self._store.backup, self._mark)
            return self.deriver.difference(gone, come, state)
        except DerivingFailed as error:
            log.warning("what changes of the derived facts could not be found out, so all are derived anew: %s", error)
            return None

    def _follow_rules(self, base: str, lost: list[ox.Triple], won: list[ox.Triple]) -> None:
        graph = rules.graph_of(base)
        for t in lost:
            self._store.remove(ox.Quad(t.subject, t.predicate, t.object, graph))
        self._store.extend(ox.Quad(t.subject, t.predicate, t.object, graph) for t in won)
        self._rules = rules.digest()

    def _derive_everything(self, base: str, state: str) -> None:
        """Make all derived facts anew from what the store holds. Where that fails, they stay as they were."""
        if not self._is_behind_rules():
            return
        graph = rules.graph_of(base)
        try:
            if any(map(self._is_read, rules.asserted())):
                self.deriver.open(base, self._store.backup, state)
                file = self.deriver.everything()
                self._store.remove_graph(graph)
                self._store.bulk_load(path=file, format=ox.RdfFormat.N_TRIPLES, to_graph=graph)
                file.unlink()
            else:
                self._store.remove_graph(graph)
            self._rules = rules.digest()
        except DerivingFailed as error:
            self._rules_again = time.monotonic() + RULES_AGAIN
            self._rules_failed += 1
            log.error("derived facts are older than the documents, and tried again at a later write: %s", error)

    def _is_read(self, predicate: str) -> bool:
        """Whether there is anything in the store that a rule reads by this predicate."""
        return next(self._store.quads_for_pattern(None, ox.NamedNode(predicate), None, None), None) is not None

    def _record(self, made_by: str) -> None:
        """Say durably what the store has surely reached, and by which rules its derived facts are those of it."""
        self._rules = made_by
        if self._reached:
            _write_durably(self._path / "REVISION", f"{self._reached} {self._mark} {made_by}")

    def _apply(self, changed: Iterator[tuple[str, Document | None]], fresh: bool) -> None:
        while chunk := list(itertools.islice(changed, _CHUNK)):
            if not fresh:
                for iri, _ in chunk:
                    self._store.remove_graph(ox.NamedNode(iri))
            quads = _quads(document for _, document in chunk if document is not None)
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
            number, mark, *made_by = said.read_text("ascii").split()
            reached = int(number)
            store = ox.Store(self._path / "store")
            self._rules = made_by[0] if made_by else "-"
            self.of_other_rules = self._rules != rules.digest()
            self._anew = self._anew or self.of_other_rules
            return store, reached, mark
        except (FileNotFoundError, ValueError):
            log.warning("the index in %s does not say what it has reached: rebuilding it from the journal", self._path)
        except (OSError, RuntimeError) as error:  # pyoxigraph raises the one or the other for a damaged store
            log.warning("the index in %s cannot be opened (%s): rebuilding it from the journal", self._path, error)
        return self._discard()

    def _discard(self) -> tuple[ox.Store, int, str]:
        if hasattr(self, "_store"):
            del self._store
        self._anew = True
        self._rules, self._rules_again = "-", 0.0
        self.deriver.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True)
        self._store, self._reached, self._mark = ox.Store(self._path / "store"), 0, ""
        return self._store, self._reached, self._mark


def remove_orphans(directory: Path) -> None:
    """Remove what commands that were killed left behind: their spools, and journals half made."""
    for path in (*directory.glob("spool-*"), *directory.glob("building-*"), *directory.glob("journal.*.new*")):
        number = re.search(r"[-.](\d+)", path.name)
        if number is not None and not process_is_alive(number[1]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def process_is_alive(pid: str) -> bool:
    """Whether there is a process of this number."""
    return pid.isdigit() and Path("/proc", pid).exists()


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
