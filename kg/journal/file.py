"""The journal as a file of SQLite's: its format, its connections, its errors; copying it, and putting one in another's place.

Hides SQLite. Promises that what was committed survives `kill -9` and loss of power (WAL, synchronous=FULL), that history is
never rewritten (triggers refuse it), that readers never wait for writers, and that every failure of the file is a `StorageError`
which says what to do about it. Several processes may hold one file open; several threads may use one `File`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from kg.errors import BaseMismatch, DirectoryInUse, NewerFormat, StorageError
from kg.journal.rows import DAMAGED, stamp
from kg.terms import Base

FORMAT = 1

#: What lists show. A journal from before there was this table gets it when it is opened.
TITLES = """
CREATE TABLE title (
    document TEXT PRIMARY KEY, kind TEXT NOT NULL, label TEXT NOT NULL, language TEXT NOT NULL,
    place TEXT NOT NULL,                -- by which labels are sorted
    seq      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX title_by_label ON title (kind, place, document);
CREATE INDEX title_by_age ON title (kind, seq);
"""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE revision (
    seq      INTEGER PRIMARY KEY,
    batch    INTEGER NOT NULL,          -- seq of the last revision of the same commit
    document TEXT NOT NULL,
    time     TEXT NOT NULL,             -- UTC, RFC 3339 with microseconds and Z, never earlier than the one before
    agent    TEXT NOT NULL,
    change   TEXT NOT NULL,
    note     TEXT NOT NULL DEFAULT '',
    previous INTEGER REFERENCES revision (seq),
    content  BLOB,                      -- canonical N-Triples, zlib; NULL takes the document away
    digest   TEXT                       -- SHA-256 of the uncompressed content
);
CREATE INDEX revision_of_document ON revision (document, seq);
CREATE TABLE head (document TEXT PRIMARY KEY, seq INTEGER NOT NULL REFERENCES revision (seq)) WITHOUT ROWID;
CREATE TABLE face (iri TEXT PRIMARY KEY, document TEXT NOT NULL, triples BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX face_of_document ON face (document);
CREATE TABLE reference (target TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (target, document)) WITHOUT ROWID;
CREATE INDEX reference_of_document ON reference (document);
CREATE TABLE census (what TEXT, which TEXT, count INTEGER NOT NULL, PRIMARY KEY (what, which)) WITHOUT ROWID;
CREATE TRIGGER history_is_not_changed BEFORE UPDATE ON revision BEGIN SELECT RAISE (ABORT, 'history is never rewritten'); END;
CREATE TRIGGER history_is_not_deleted BEFORE DELETE ON revision BEGIN SELECT RAISE (ABORT, 'history is never rewritten'); END;
CREATE TRIGGER history_is_not_replaced BEFORE INSERT ON revision WHEN new.seq <= (SELECT max(seq) FROM revision)
    BEGIN SELECT RAISE (ABORT, 'history is never rewritten'); END; -- INSERT OR REPLACE deletes without the trigger above
"""

#: Bytes to which the write-ahead log is cut back when its content has gone into the journal; a large batch would leave it large.
_LOG_LIMIT = 64 * 2**20

#: What a transaction that reads begins with: until it reads something, it is of no moment.
_ANY = "SELECT key FROM meta LIMIT 1"

#: Variables in one statement; SQLite's own limit was 999 before 3.32.
_MANY = 900


class File:
    """One file that holds a journal. `base` is the base that its documents are named under."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StorageError(f"there is no journal at {path}")
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._inode = path.stat().st_ino
        meta = self._meta()
        if int(meta["format"]) > FORMAT:
            raise NewerFormat(
                f"{path} has format {meta['format']}, this version reads up to {FORMAT}; install the version that wrote it, or later"
            )
        self.base = Base(meta["base"])

    @classmethod
    def create(cls, path: Path, base: Base) -> Self:
        """A new, empty journal. A crash in here leaves no file under that name. Raises `StorageError` if there is one: of two
        processes that create it at once, one does."""
        building = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        building.unlink(missing_ok=True)
        with translated(path), _removed_afterwards(building):
            connection = sqlite3.connect(building, isolation_level=None)
            connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN; {_SCHEMA} {TITLES}")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("format", str(FORMAT)), ("base", base.iri), ("created", stamp(datetime.now(UTC)))],
            )
            connection.execute("COMMIT")
            connection.close()
            os.link(building, path)  # unlike a renaming it takes nobody's place
            synchronise(path.parent)
        return cls(path)

    def close(self) -> None:
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def require_base(self, base: Base) -> None:
        """Raises `BaseMismatch` unless the journal was created for this base."""
        if base != self.base:
            raise BaseMismatch(
                f"{self.path.parent} was created for the base {self.base}, not for {base}; start without --base or with {self.base}",
                base=self.base.iri,
            )

    # As a whole

    def copy(self, target: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Write the journal as it is now into a new file, whole and durable, while others go on reading and writing.

        `progress` gets pages copied and pages in all. Raises `StorageError`, after which the file may be there in part.
        """
        source = self._connect()
        try:
            with translated(self.path):
                source.execute("BEGIN")  # one state for all of it; others' commits would make the copying start again
                source.execute(_ANY).fetchone()
                copied = sqlite3.connect(target, isolation_level=None)
                try:
                    source.backup(copied, pages=2_000, progress=lambda _, left, of: progress(of - left, of))
                    copied.execute("PRAGMA journal_mode=DELETE")  # so that this one file is all of it
                finally:
                    copied.close()
        finally:
            source.close()
        synchronise(target)
        synchronise(target.parent)

    @classmethod
    def install(cls, copied: Path, path: Path) -> None:
        """Let a copy that `copy` made, in the same directory, take the place at `path`, where nothing may stand but another journal
        in a single file; after a crash there is the one or the other."""
        with translated(copied):
            connection = sqlite3.connect(copied, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.close()  # which leaves the one file again, and in it that it wants a log
            synchronise(copied)
            copied.replace(path)
            synchronise(path.parent)

    @staticmethod
    def seclude(path: Path) -> bool:
        """Move a journal's log into the journal, so that it is in one file; False where it is too damaged for that.

        Raises `DirectoryInUse` while any process has it open.
        """
        connection = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return False
            mode = "wal"
        finally:
            connection.close()
        if mode != "delete":
            raise DirectoryInUse(f"another process has {path} open; end it first")
        return True

    @contextmanager
    def still(self) -> Iterator[Self]:
        """The journal for reading by this thread, as it is at this moment, whatever others write meanwhile."""
        journal = type(self)(self.path)
        try:
            with translated(self.path):
                journal._connection().execute("BEGIN")
                journal._one(_ANY)
            yield journal
        finally:
            journal.close()

    def complaints(self) -> list[str]:
        """What SQLite finds wrong with the file; nothing where it is sound."""
        try:
            found = [text for (text,) in self._all("PRAGMA integrity_check(20)") if text != "ok"]
            return found + [f"foreign key of {row[0]} {row[1]}" for row in self._all("PRAGMA foreign_key_check")]
        except StorageError as error:
            return [error.detail]

    # Connections

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            with self._guard:
                self._connections.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        with translated(self.path):
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.executescript(
                f"PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit={_LOG_LIMIT};"
            )
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection in a transaction that is committed, and on disk, when the block ends, unless the block raises or has
        rolled it back."""
        connection = self._connection()
        with translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _require_in_place(self) -> None:
        """What is written to a file that has been moved aside for another would be lost to all who look for it."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise StorageError(
                f"{self.path} was replaced while this process had it open; nothing was written: start anew"
            )

    def _meta(self) -> dict[str, str]:
        try:
            meta: dict[str, str] = dict(self._all("SELECT key, value FROM meta"))
        except StorageError as error:
            raise StorageError(f"{self.path} is not a journal of this service: {error.detail}") from None
        if not {"format", "base"} <= meta.keys() or not meta["format"].isdecimal():
            raise StorageError(
                f"{self.path} is not a journal of this service: it does not say of which format and base it is"
            )
        return meta

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with translated(self.path):
            return self._connection().execute(sql, values).fetchall()

    def _one(self, sql: str, *values: object) -> tuple[Any, ...]:
        with translated(self.path):
            row: tuple[Any, ...] = self._connection().execute(sql, values).fetchone()
        return row

    def _one_or_none(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with translated(self.path):
            row: tuple[Any, ...] | None = self._connection().execute(sql, values).fetchone()
        return row

    def _stream(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with translated(self.path), closing(self._connection().execute(sql, values)) as rows:
            yield from rows

    def _in(self, sql: str, values: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        todo: Sequence[str] = list(values)
        for start in range(0, len(todo), _MANY):
            some = todo[start : start + _MANY]
            yield from self._all(sql % ",".join("?" * len(some)), *some)


def synchronise(path: Path) -> None:
    """Return when a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _removed_afterwards(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _advice(error: sqlite3.Error) -> str:
    """What to do about an error of SQLite's, where there is something; no code where the error is Python's own."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DAMAGED
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "; nothing was written. Look whether the disk is full: with space again, everything goes on by itself"
    return ""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}{_advice(error)}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", path=str(path)) from error
