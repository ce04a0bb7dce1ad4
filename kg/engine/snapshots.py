"""Published states of the graph: immutable copies of the store, which any process may read and one makes.

Hides their directory. Promises that a snapshot gets its name only when it is complete, that one which is read is not taken away under its
reader for some time, and that what is taken away loses its name at once.

    data/snapshots/42-…/   the graph as of batch 42, its mark behind the number: immutable, hard links, opened read-only
    data/snapshots/42-…-1/ the same published again, since the store has merged its tables: large queries are faster on fewer of them
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyoxigraph as ox

from kg.documents import Document
from kg.errors import StorageError
from kg.journal import Journal

log = logging.getLogger("kg.index")

#: Snapshots kept at the most, and the seconds for which an older one stays for those who still read it.
_KEEP = 20
GRACE = 90.0

#: Bytes of a snapshot's tables that the store has since merged into others, from which it is published again.
_MERGED = 2**20


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
        return next(reversed(self._all()), None)

    def at(self, revision: int) -> Snapshot | None:
        """The state as of that batch, if it is still there."""
        return next((snapshot for snapshot in reversed(self._all()) if snapshot.revision == revision), None)

    def _all(self) -> list[Snapshot]:
        """All that are published, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in self.directory.iterdir():
                number, mark, times = [*path.name.split("-"), "", "0"][:3]
                if number.isdigit():
                    found.append((int(number), mark, int(times or 0), path))
        return [Snapshot(number, mark, path) for number, mark, _, path in sorted(found)]

    def publish(self, store: ox.Store, revision: int, mark: str, *, alone: bool = False, again: bool = False) -> None:
        """Make the store's present state the snapshot of this batch, unless there is one; with `alone`, in the place of all that are
        there, and with `again`, beside the one there is, which whoever reads it goes on reading."""
        self.directory.mkdir(parents=True, exist_ok=True)
        building = self.directory / f"building-{os.getpid()}"
        names = itertools.chain([f"{revision}-{mark}"], (f"{revision}-{mark}-{times}" for times in itertools.count(1)))
        target = self.directory / next(names)
        if again:
            while target.exists():
                target = self.directory / next(names)
        elif target.exists() and not alone:
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

    def is_outdated_by(self, tables: Mapping[str, int]) -> bool:
        """Whether a store that has these tables has merged so many of the newest snapshot's that this should be published again."""
        newest = self.newest()
        if newest is None:
            return False
        return sum(size for name, size in tables_in(newest.path).items() if tables.get(name) != size) >= _MERGED

    def tidy(self) -> None:
        """Remove what nobody reads any more, and what a crash left half-built."""
        replaced = time.time()  # when the next newer one was published: until then this was the newest
        for place, snapshot in enumerate(reversed(self._all())):
            with contextlib.suppress(FileNotFoundError):
                published = snapshot.path.stat().st_mtime
                if place >= _KEEP or (place > 0 and time.time() - replaced > GRACE):
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


def tables_in(store: Path) -> Mapping[str, int]:
    """The tables of a store, and the bytes of each. A table never changes, and a store never gives two the same name."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(store):
            if entry.name.endswith(".sst"):
                with contextlib.suppress(FileNotFoundError):  # merged at this moment
                    found[entry.name] = entry.stat().st_size
    return found


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
        is_there, should_be = set(store.quads_for_pattern(None, None, None, name)), set(quads_of([document]))
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


def quads_of(documents: Iterable[Document]) -> list[ox.Quad]:
    return [ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(d.iri)) for d in documents for t in d.triples]
