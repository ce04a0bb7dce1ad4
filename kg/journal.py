"""The journal: every write ever acknowledged, in one SQLite file; the truth of which all else is a copy.

Hides SQLite. Promises that a batch is there whole or not at all, that what `commit` returned survives `kill -9` and loss of
power (WAL, synchronous=FULL), that history is never rewritten (triggers refuse it), and that readers never wait for writers.
Several processes may hold one journal open; several threads may use one `Journal`.

A *revision* is one document's new state, numbered by `seq`; a *batch* is the revisions of one commit and is known by the
number of its last. Beside the history stand four tables of the present, changed in the same transaction: the newest revision
of each document, the faces of its nodes, the references it makes, and a census of what all documents hold.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyoxigraph as ox

from kg.documents import N_TRIPLES, Document, to_bytes
from kg.errors import BaseMismatch, NewerFormat, StorageError
from kg.gate import Face, faces
from kg.terms import Base

FORMAT = 1

#: Kinds of change. A retraction keeps the document; only a deletion (no content) takes it away.
CHANGES = ("recorded", "corrected-source", "corrected-encoding", "retracted")

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

#: Variables in one statement; SQLite's own limit was 999 before 3.32.
_MANY = 900


@dataclass(frozen=True)
class Revision:
    """One row of the history. `time` is UTC; `digest` is None where the document was taken away."""

    seq: int
    batch: int
    document: str
    time: datetime
    agent: str
    change: str
    note: str
    previous: int | None
    digest: str | None


_COLUMNS = "seq, batch, document, time, agent, change, note, previous, digest"


class Journal:
    """The journal in one file. `base` is the base that its documents are named under.

    `Journal.create` makes a new file, `Journal(path)` opens one that is there.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StorageError(f"there is no journal at {path}")
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        meta = self._meta()
        if int(meta["format"]) > FORMAT:
            raise NewerFormat(
                f"{path} has format {meta['format']}, this version reads up to {FORMAT}; install the version that wrote it, or later"
            )
        self.base = Base(meta["base"])

    @classmethod
    def create(cls, path: Path, base: Base) -> Journal:
        """A new, empty journal. A crash in here leaves no file under that name. Raises `StorageError` if there is one: of two
        processes that create it at once, one does."""
        building = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        building.unlink(missing_ok=True)
        with _translated(path), _removed_afterwards(building):
            connection = sqlite3.connect(building, isolation_level=None)
            connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN; {_SCHEMA}")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("format", str(FORMAT)), ("base", base.iri), ("created", _stamp(datetime.now(UTC)))],
            )
            connection.execute("COMMIT")
            connection.close()
            os.link(building, path)  # unlike a renaming it takes nobody's place
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
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

    # Reading

    def last(self) -> int:
        """The number of the newest batch, 0 where there is none. Costs microseconds."""
        return int(self._one("SELECT coalesce(max(seq), 0) FROM revision")[0])

    def mark(self, seq: int) -> str:
        """By what a batch is told from another of the same number in another history of this journal; empty where there is none."""
        row = self._one_or_none("SELECT time, document, digest FROM revision WHERE seq = ?", seq)
        return "" if row is None else hashlib.sha256("\x00".join(map(str, row)).encode()).hexdigest()[:16]

    def count(self) -> int:
        """How many documents there are now."""
        return int(self._one("SELECT count(*) FROM head")[0])

    def counts(self) -> dict[str, int]:
        """How many documents there are now of each kind that has any."""
        return dict(self._all("SELECT which, count FROM census WHERE what = 'document' AND count > 0 ORDER BY which"))

    def census(self) -> tuple[int, datetime | None, dict[tuple[str, str], int]]:
        """The newest batch, its time, and the sums of the documents' censuses as of it: see `Document.census`, and
        `("document", kind)`."""
        rows = self._all(
            "SELECT what, which, count, (SELECT max(seq) FROM revision), (SELECT max(time) FROM revision) FROM census WHERE count > 0"
        )
        if not rows:
            return self.last(), None, {}
        return rows[0][3], _moment(rows[0][4]), {(what, which): count for what, which, count, _, _ in rows}

    def documents(self, kind: str, limit: int = 100, after: str = "") -> list[str]:
        """IRIs of documents of one kind that follow `after`, in order, at most `limit`."""
        first, end = self.base.document(kind, ""), self.base.document(kind, "\x7f")
        rows = self._all(
            "SELECT document FROM head WHERE document > ? AND document < ? ORDER BY document LIMIT ?",
            max(first, after),
            end,
            limit,
        )
        return [document for (document,) in rows]

    def read(self, document: str) -> tuple[Document, Revision] | None:
        """The document as it is now, and the revision that made it so."""
        row = self._one_or_none(
            f"SELECT content, {', '.join('r.' + c for c in _COLUMNS.split(', '))} FROM head JOIN revision r USING (seq) WHERE head.document = ?",
            document,
        )
        return None if row is None else (Document(document, zlib.decompress(row[0])), _revision(row[1:]))

    def history(self, document: str) -> list[Revision]:
        """All revisions of a document, oldest first."""
        return [
            _revision(row)
            for row in self._all(f"SELECT {_COLUMNS} FROM revision WHERE document = ? ORDER BY seq", document)
        ]

    def content(self, seq: int) -> Document | None:
        """The document as that revision left it; None where it was taken away. Raises `StorageError` for an unknown number."""
        row = self._one_or_none("SELECT document, content FROM revision WHERE seq = ?", seq)
        if row is None:
            raise StorageError(f"there is no revision {seq} in {self.path}")
        return None if row[1] is None else Document(row[0], zlib.decompress(row[1]))

    def digests(self, documents: Iterable[str]) -> dict[str, str]:
        """The digest of each of these documents that is there now."""
        rows = self._in(
            "SELECT head.document, digest FROM head JOIN revision USING (seq) WHERE head.document IN (%s)", documents
        )
        return dict(rows)

    def faces(self, iris: Iterable[str]) -> dict[str, Face]:
        """The face of each of these nodes that is there now."""
        return {
            iri: decode_face(triples)
            for iri, triples in self._in("SELECT iri, triples FROM face WHERE iri IN (%s)", iris)
        }

    def nodes_of(self, document: str) -> list[str]:
        """The named nodes that a document describes now."""
        return [iri for (iri,) in self._all("SELECT iri FROM face WHERE document = ?", document)]

    def referrers(self, iris: Iterable[str]) -> list[tuple[str, str]]:
        """Pairs of a node among `iris` and a document that points to it now, in order."""
        return sorted(
            (target, document)
            for target, document in self._in("SELECT target, document FROM reference WHERE target IN (%s)", iris)
        )

    def current(self, after: int = 0, upto: int | None = None) -> Iterator[tuple[str, Document | None]]:
        """The documents changed after one batch and up to another (default: now), each once, as they are at the end of that
        span; None where taken away. Reads as it goes, from one state of the journal."""
        connection = self._connect()
        try:
            with _translated(self.path):
                connection.execute("BEGIN")
                upto = self.last_of(connection) if upto is None else upto
                changed = connection.execute(
                    "SELECT document, content FROM revision JOIN (SELECT max(seq) AS seq FROM revision WHERE seq > ? AND seq <= ? GROUP BY document)"
                    " USING (seq) ORDER BY document",
                    (after, upto),
                )
                for document, content in changed:
                    yield document, None if content is None else Document(document, zlib.decompress(content))
        finally:
            connection.close()

    @staticmethod
    def last_of(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM revision").fetchone()[0])

    # Writing

    def commit(
        self,
        changes: Mapping[str, Document | None],
        *,
        agent: str,
        change: str = "recorded",
        note: str = "",
        unless_after: int | None = None,
        before_commit: Callable[[], None] = lambda: None,
    ) -> list[Revision] | None:
        """Write a batch: each document's new state, None to take it away. When this returns, it is on disk.

        With `unless_after`, nothing is written and None returned if the journal has gone on past that batch, so that
        a verdict which rests on what was there can be reached anew.
        """
        connection = self._connection()
        with _translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                last = self.last_of(connection)
                if unless_after is not None and last != unless_after:
                    connection.execute("ROLLBACK")
                    return None
                revisions = self._write(connection, changes, last, agent, change, note)
                before_commit()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return revisions

    def _write(
        self,
        connection: sqlite3.Connection,
        changes: Mapping[str, Document | None],
        last: int,
        agent: str,
        change: str,
        note: str,
    ) -> list[Revision]:
        now = _stamp(datetime.now(UTC))
        newest = connection.execute("SELECT max(time) FROM revision WHERE seq = ?", (last,)).fetchone()[0]
        now = max(now, newest or "")  # a clock that goes back must not reorder history
        revisions = []
        census: Counter[tuple[str, str]] = Counter()
        for seq, (iri, document) in enumerate(changes.items(), last + 1):
            row = connection.execute(
                "SELECT seq, content FROM head JOIN revision USING (seq) WHERE head.document = ?", (iri,)
            ).fetchone()
            kind = ("document", self.base.kind_of(iri))
            if row is not None:
                census.subtract(Document(iri, zlib.decompress(row[1])).census() + Counter([kind]))
            if document is not None:
                census.update(document.census() + Counter([kind]))
            fields = (
                seq,
                last + len(changes),
                iri,
                now,
                agent,
                change,
                note,
                row and row[0],
                document and document.digest,
            )
            revisions.append(_revision(fields))
            content = document and zlib.compress(document.content)
            connection.execute(
                f"INSERT INTO revision ({_COLUMNS}, content) VALUES (?,?,?,?,?,?,?,?,?,?)", (*fields, content)
            )
            connection.execute("DELETE FROM face WHERE document = ?", (iri,))
            connection.execute("DELETE FROM reference WHERE document = ?", (iri,))
            if document is None:
                connection.execute("DELETE FROM head WHERE document = ?", (iri,))
                continue
            connection.execute(
                "INSERT INTO head VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", (iri, seq)
            )
            connection.executemany(
                "INSERT INTO face VALUES (?, ?, ?)",
                [(node, iri, encode_face(face)) for node, face in faces(document).items()],
            )
            connection.executemany(
                "INSERT INTO reference VALUES (?, ?)", [(target, iri) for target in document.references(self.base)]
            )
        connection.executemany(
            "INSERT INTO census VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(what, which, count) for (what, which), count in census.items() if count],
        )
        return revisions

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
        with _translated(self.path):
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.executescript("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        return connection

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
        with _translated(self.path):
            return self._connection().execute(sql, values).fetchall()

    def _one(self, sql: str, *values: object) -> tuple[Any, ...]:
        with _translated(self.path):
            row: tuple[Any, ...] = self._connection().execute(sql, values).fetchone()
        return row

    def _one_or_none(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with _translated(self.path):
            row: tuple[Any, ...] | None = self._connection().execute(sql, values).fetchone()
        return row

    def _in(self, sql: str, values: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        todo: Sequence[str] = list(values)
        for start in range(0, len(todo), _MANY):
            some = todo[start : start + _MANY]
            yield from self._all(sql % ",".join("?" * len(some)), *some)


def encode_face(face: Face) -> bytes:
    return to_bytes(face, N_TRIPLES)


def decode_face(triples: bytes | str) -> Face:
    return tuple(quad.triple for quad in ox.parse(triples, format=ox.RdfFormat.N_TRIPLES, lenient=True))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _revision(row: Sequence[Any]) -> Revision:
    seq, batch, document, moment, *rest = row
    return Revision(seq, batch, document, _moment(moment), *rest)


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


@contextmanager
def _removed_afterwards(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", path=str(path)) from error
