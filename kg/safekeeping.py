"""Copies of a graph: backed up while it is in use, put back, or moved to another base with all its history.

Hides in which order files are made, proved and named. Promises that a copy has its name only when it is whole and on disk, that what
is replaced is moved aside and never deleted, and that whatever fails in the middle leaves things as they were.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyoxigraph as ox

from kg import documents
from kg.documents import Document
from kg.engine.index import lock, process_is_alive
from kg.errors import RequestError, StorageError
from kg.journal import Journal, Revision, synchronise, unpack
from kg.terms import Base
from kg.verification import Progress, silent, verify_journal

#: Things wrong with a file that are told when it is refused; more would say nothing more.
_TOLD = 5

#: Told what is being done, a progress to report it to.
Stage = Callable[[str], Progress]


@dataclass(frozen=True)
class Held:
    """What a journal holds: its newest revision, documents there are now, bytes of its file."""

    revision: int
    documents: int
    size: int


def _quiet(stage: str) -> Progress:
    return silent


def back_up(data: Path, target: Path, *, force: bool = False, stage: Stage = _quiet) -> Held:
    """Write the journal of a data directory into one file, while others read and write it.

    Raises `RequestError` where the file is there and is not to be replaced, and `StorageError` where it cannot be written or what
    has been copied is damaged; then a file that was there is there still.
    """
    if target.is_dir():
        raise RequestError(f"{target} is a directory; name a file in it")
    if target.exists() and not force:
        raise RequestError(f"{target} is there already; name another file, or replace it with --force")
    building = target.with_name(f"{target.name}.{os.getpid()}.new")
    with contextlib.closing(_journal(data)) as journal, _translated(target), _removed_afterwards(building):
        for left in target.parent.glob(f"{target.name}.*.new"):
            if not process_is_alive(left.suffixes[-2].removeprefix(".")):
                left.unlink(missing_ok=True)
        journal.copy(building, stage("copying"))
        with contextlib.closing(Journal(building)) as copied:
            _require_sound(copied.complaints(), f"the journal in {data} is damaged, and no backup was made of it")
            held = Held(copied.last(), copied.count(), building.stat().st_size)
        if force:
            building.replace(target)
        else:
            os.link(building, target)  # unlike a renaming it takes nobody's place
        synchronise(target.absolute().parent)
    return held


def restore(source: Path, data: Path, *, force: bool = False, stage: Stage = _quiet) -> tuple[Held, Path | None]:
    """Put a backup into a data directory; what it holds, and the directory that what was there has been moved to.

    The index follows by itself. Raises `RequestError` where there is a graph that is not to be replaced, `StorageError` where the
    file is not sound, and `DirectoryInUse` while any process works on the directory. Then nothing has changed.
    """
    path = data / "journal.sqlite"
    if path.exists() and not force:
        raise RequestError(f"there is a graph in {data}; name another with --data, or move it aside with --force")
    copied = data / f"journal.{os.getpid()}.new"
    aside: Path | None = None
    with contextlib.ExitStack() as held, _translated(data), _removed_afterwards(copied):
        with contextlib.closing(Journal(source)) as journal:
            data.mkdir(parents=True, exist_ok=True)
            for name in ("index.lock", "write.lock"):
                held.callback(os.close, lock(data / name, patience=1))
            journal.copy(copied, stage("copying"))
        with contextlib.closing(Journal(copied)) as journal:
            _require_sound(
                verify_journal(journal, stage("verifying")), f"{source} is not sound, and nothing was changed"
            )
            what = Held(journal.last(), journal.count(), copied.stat().st_size)
        if path.exists():
            aside = _moved_aside(path)
        Journal.install(copied, path)
    return what, aside


def _moved_aside(path: Path) -> Path:
    """Give a journal another name beside its own, or where it is damaged another name instead, with all that belongs to it."""
    aside = path.parent / f"replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    aside.mkdir()
    if Journal.seclude(path):
        os.link(path, aside / path.name)
    else:
        # The log first: a journal without its log is less, but a log beside another's journal would be taken for that one's.
        for part in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"), path):
            with contextlib.suppress(FileNotFoundError):
                part.rename(aside / part.name)
    synchronise(aside)
    synchronise(path.parent)
    return aside


def rebase(data: Path, base: Base, target: Path, *, stage: Stage = _quiet) -> Held:
    """Make a new data directory with the same history under another base; what it holds.

    IRIs under the old base get the new one, wherever they stand; literals, other IRIs, numbers, times, agents and notes stay. Contents
    have changed, so their digests have. The original is only read. Raises `RequestError` where the target holds a graph already.
    """
    path = target / "journal.sqlite"
    if path.exists():
        raise RequestError(f"there is a graph in {target}; name a new directory with --to")
    with contextlib.closing(_journal(data)) as journal, _translated(target):
        if base == journal.base:
            raise RequestError(f"the graph in {data} is named under {base} already")
        building = target / f"building-{os.getpid()}"
        building.mkdir(parents=True)
        try:
            with journal.still() as still, contextlib.closing(Journal.create(building / path.name, base)) as renamed:
                progress = stage("renaming")
                renamed.append(_renamed(still, base, progress))
                _require_same(still, renamed)
                _require_sound(
                    verify_journal(renamed, stage("verifying")), "the renamed graph is not sound, and was not kept"
                )
                held = Held(renamed.last(), renamed.count(), 0)
            Journal.seclude(building / path.name)
            if path.exists():
                raise RequestError(
                    f"meanwhile another process made a graph in {target}; name a new directory with --to"
                )
            Journal.install(building / path.name, path)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return Held(held.revision, held.documents, path.stat().st_size)


def _renamed(journal: Journal, base: Base, progress: Progress) -> Iterator[tuple[Revision, Document | None]]:
    last = journal.last()

    def renamed(iri: str) -> str:
        return base.iri + iri.removeprefix(journal.base.iri) if journal.base.holds(iri) else iri

    def named(term: Any) -> Any:
        return ox.NamedNode(renamed(term.value)) if isinstance(term, ox.NamedNode) else term

    for revision, packed in journal.history_of_all():
        iri, document = renamed(revision.document), None
        if packed is not None:
            triples = unpack(revision.document, packed).triples
            document = documents.document(
                iri, (ox.Triple(named(t.subject), named(t.predicate), named(t.object)) for t in triples)
            )
        yield replace(revision, document=iri), document
        progress(revision.seq, last)


def _require_same(journal: Journal, renamed: Journal) -> None:
    """All but names and contents is as it was."""
    pairs = itertools.zip_longest(journal.revisions(), renamed.revisions())
    if any(
        a is None or b is None or replace(a, document="", digest="") != replace(b, document="", digest="")
        for a, b in pairs
    ):
        raise StorageError("the history did not come over as it was; the original may be damaged: see `kg verify`")


def _require_sound(findings: Iterable[str], what: str) -> None:
    if told := list(itertools.islice(findings, _TOLD)):
        raise StorageError(f"{what}: {'; '.join(told)}")


def _journal(data: Path) -> Journal:
    path = data / "journal.sqlite"
    if not path.is_file():
        raise StorageError(f"there is no graph in {data}; name another directory with --data")
    return Journal(path)


@contextlib.contextmanager
def _removed_afterwards(building: Path) -> Iterator[None]:
    """What is being built is not left over, with what SQLite puts beside it."""
    try:
        yield
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            building.with_name(building.name + suffix).unlink(missing_ok=True)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or path}: {error.strerror or error}", path=str(path)) from error
