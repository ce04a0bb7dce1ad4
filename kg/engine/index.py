"""The store under change: it follows the journal, has its derived facts brought up, and is published.

Hides the store's files and who may write them. Promises that replaying a batch leads to the same state, whatever is killed when, and
that a store which is damaged, or ahead of the journal, is built anew from it.

    data/index/store/      the store; beside it REVISION, the batch it has surely reached, that batch's mark, and by which rules its derived
                           facts were made (`-` while they are not those of that batch)
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyoxigraph as ox

from kg import rules
from kg.config import Config
from kg.documents import Document
from kg.engine.deriver import Deriver, DerivingFailed, Difference, changed_by
from kg.engine.snapshots import Snapshots, quads_of, tables_in
from kg.errors import DirectoryInUse
from kg.journal import Journal

log = logging.getLogger("kg.index")

#: Documents applied to the store at once; above it, loading goes by files of the store's own (`bulk_extend`).
_CHUNK = 2_000

#: Changed documents up to which derived facts are brought up by what changed; above it, they are all derived anew.
FOLLOWED_BY_RULES = 500

#: Bytes of derived facts that went or came from which the store is made one again after they were all made anew.
_MUCH_DERIVED = 2**24

#: Derived facts that are added or removed at once: what changes is in memory until it is flushed, at up to 1.5 kB a quad.
_AT_ONCE = 100_000

#: Seconds after which derived facts are tried again that could not be brought up.
RULES_AGAIN = 60.0


class Index:
    """The store under change, while this process owns it."""

    def __init__(self, config: Config, snapshots: Snapshots, patience: float) -> None:
        self._lock = lock(config.data / "index.lock", patience)
        self._path = config.data / "index"
        self._snapshots = snapshots
        self.deriver = Deriver(config.data / "deriving", config.query_memory)
        self._rules = "-"  # by which rules the derived facts in the store were made
        self._rules_again = 0.0
        self._rules_failed = 0
        self.just_opened = False  # whether what is published may be of other rules, or of tables merged since
        self._settled = False  # whether what is published is what the store holds
        self._tables: Mapping[str, int] = {}  # the store's when last looked at
        self._loaded = 0  # documents that came by files of the store's own since they were last made one
        self._anew = False  # whether what is published may be of a store that is no more
        self._store, self._reached, self._mark = self._open()

    def follow(self, journal: Journal) -> None:
        """Apply what the journal has and the store has not, then publish it."""
        if not hasattr(self, "_store"):
            self._store, self._reached, self._mark = self._open()
        self._settled = False
        try:
            self._follow(journal)
        except (OSError, RuntimeError):
            # A store that could not write, for want of space, takes nothing more until it is opened again.
            del self._store
            raise
        self._settled = True
        if self.just_opened:
            self.just_opened = False
            self.publish_again()

    def publish_again(self) -> bool:
        """Publish what is published once more if the store, which merges tables on its own for some time after many were written, has
        merged many of its tables, and has come to rest; whether that was so."""
        before, self._tables = self._tables, tables_in(self._path / "store")
        if not self._settled or self._tables != before or not self._snapshots.is_outdated_by(self._tables):
            return False
        try:
            self._snapshots.publish(self._store, self._reached, self._mark, again=True)
        except (OSError, RuntimeError) as error:  # pyoxigraph raises the one or the other
            log.warning("the snapshot of revision %d could not be published again: %s", self._reached, error)
            return False
        return True

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
        self._anew = False

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
                self.deriver.open(base, self._store.backup, state, derived=False)
                self._exchange(graph, *self.deriver.everything())
            else:
                self._remove(self._store.quads_for_pattern(None, None, None, graph))
                self._store.remove_graph(graph)
            self._rules = rules.digest()
        except DerivingFailed as error:
            self._rules_again = time.monotonic() + RULES_AGAIN
            self._rules_failed += 1
            log.error("derived facts are older than the documents, and tried again at a later write: %s", error)

    def _exchange(self, graph: ox.NamedNode, lost: Path, won: Path) -> None:
        """Take what went out of the graph, and bring what came into it, piece by piece: there may be millions, and what changes as one is in
        memory. Whoever is killed in the middle is made up for, as REVISION says of no rules that these are their facts until all are there."""
        much = lost.stat().st_size + won.stat().st_size > _MUCH_DERIVED
        self._remove(_read(lost, graph))
        coming = _read(won, graph)
        while some := list(itertools.islice(coming, _AT_ONCE)):
            (self._store.bulk_extend if much else self._store.extend)(some)
        if much:
            # Measured at 100,000 articles: otherwise each look-up takes three to five times as long from then on.
            self._store.optimize()
        lost.unlink()
        won.unlink()

    def _remove(self, quads: Iterator[ox.Quad]) -> None:
        while some := list(itertools.islice(quads, _AT_ONCE)):
            for quad in some:
                self._store.remove(quad)
            if len(some) == _AT_ONCE:
                self._store.flush()

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
            quads = quads_of(document for _, document in chunk if document is not None)
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
            self._anew = self._anew or self._rules != rules.digest()
            self.just_opened = True
            self._tables = tables_in(self._path / "store")
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


def _read(file: Path, graph: ox.NamedNode) -> Iterator[ox.Quad]:
    for quad in ox.parse(path=file, format=ox.RdfFormat.N_TRIPLES, lenient=True):
        yield ox.Quad(quad.subject, quad.predicate, quad.object, graph)


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
