"""The journal: every write ever acknowledged, in one SQLite file; the truth of which all else is a copy.

Hides SQLite. Promises that a batch is there whole or not at all, that what `commit` returned survives `kill -9` and loss of
power (WAL, synchronous=FULL), that history is never rewritten (triggers refuse it), and that readers never wait for writers.
Several processes may hold one journal open; several threads may use one `Journal`.

A *revision* is one document's new state, numbered by `seq`; a *batch* is the revisions of one commit and is known by the
number of its last. Beside the history stand five tables of the present, changed in the same transaction: the newest revision
of each document, the faces of its nodes, the references it makes, its title in lists, and a census of what all documents hold.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import os
import sqlite3
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyoxigraph as ox

from kg.documents import N_TRIPLES, Document, to_bytes
from kg.errors import BaseMismatch, DirectoryInUse, NewerFormat, StorageError
from kg.gate import Face, faces
from kg.terms import RDFS_LABEL, SCHEMA, SKOS, Base

FORMAT = 1

#: Kinds of change. A retraction keeps the document; only a deletion (no content) takes it away.
CHANGES = ("recorded", "corrected-source", "corrected-encoding", "retracted")

#: What lists show. A journal from before there was this table gets it when it is opened.
_TITLES = """
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


@dataclass(frozen=True)
class Title:
    """A document in a list: the label it is shown under, English where it has one, and the number of its newest revision."""

    document: str
    label: str
    language: str
    seq: int


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
        self._inode = path.stat().st_ino
        meta = self._meta()
        if int(meta["format"]) > FORMAT:
            raise NewerFormat(
                f"{path} has format {meta['format']}, this version reads up to {FORMAT}; install the version that wrote it, or later"
            )
        self.base = Base(meta["base"])
        if not self._has_titles():
            self._collect_titles()

    @classmethod
    def create(cls, path: Path, base: Base) -> Journal:
        """A new, empty journal. A crash in here leaves no file under that name. Raises `StorageError` if there is one: of two
        processes that create it at once, one does."""
        building = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
        building.unlink(missing_ok=True)
        with _translated(path), _removed_afterwards(building):
            connection = sqlite3.connect(building, isolation_level=None)
            connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN; {_SCHEMA} {_TITLES}")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("format", str(FORMAT)), ("base", base.iri), ("created", _stamp(datetime.now(UTC)))],
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
        return None if row is None else (unpack(document, row[0]), _revision(row[1:]))

    def history(self, document: str) -> list[Revision]:
        """All revisions of a document, oldest first."""
        return [
            _revision(row)
            for row in self._all(f"SELECT {_COLUMNS} FROM revision WHERE document = ? ORDER BY seq", document)
        ]

    def revision(self, seq: int) -> Revision | None:
        """The revision of this number, None where there is none."""
        row = self._one_or_none(f"SELECT {_COLUMNS} FROM revision WHERE seq = ?", seq)
        return None if row is None else _revision(row)

    def revision_at(self, document: str, seq: int) -> Revision | None:
        """The revision of a document that was in force at this number: its newest that is not later."""
        row = self._one_or_none(
            f"SELECT {_COLUMNS} FROM revision WHERE document = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", document, seq
        )
        return None if row is None else _revision(row)

    def revision_by(self, document: str, moment: datetime) -> Revision | None:
        """The revision of a document that was in force at the end of the second of this moment; None before its first."""
        end = _stamp(moment.replace(microsecond=999_999))
        row = self._one_or_none(
            f"SELECT {_COLUMNS} FROM revision WHERE document = ? AND time <= ? ORDER BY seq DESC LIMIT 1", document, end
        )
        return None if row is None else _revision(row)

    def span(self, document: str) -> tuple[Revision, Revision, int] | None:
        """The first and the newest revision of a document and how many there are; None where there never was one."""
        row = self._one("SELECT min(seq), max(seq), count(*) FROM revision WHERE document = ?", document)
        if row[0] is None:
            return None
        first, newest = self.revision(row[0]), self.revision(row[1])
        assert first is not None
        assert newest is not None
        return first, newest, row[2]

    def following(self, after: int, limit: int) -> list[tuple[Revision, Document | None]]:
        """Up to `limit` revisions that follow this number, oldest first, each with the document as it left it."""
        rows = self._all(f"SELECT content, {_COLUMNS} FROM revision WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return [(_revision(row[1:]), None if row[0] is None else unpack(row[3], row[0])) for row in rows]

    def changed(self, after: int, upto: int, beyond: str = "", limit: int = 1_000) -> list[str]:
        """Up to `limit` IRIs, in order and following `beyond`, of documents with revisions after one number and up to another."""
        rows = self._all(
            "SELECT DISTINCT document FROM revision WHERE seq > ? AND seq <= ? AND document > ? ORDER BY document LIMIT ?",
            after,
            upto,
            beyond,
            limit,
        )
        return [document for (document,) in rows]

    def titles(self, kind: str, *, newest_first: bool = False, skip: int = 0, limit: int = 100) -> list[Title]:
        """What a list of the documents of a kind shows, by label or by the number of their newest revision."""
        order = "seq DESC" if newest_first else "place, document"
        rows = self._all(
            f"SELECT document, label, language, seq FROM title WHERE kind = ? ORDER BY {order} LIMIT ? OFFSET ?",
            kind,
            limit,
            skip,
        )
        return [Title(*row) for row in rows]

    def content(self, seq: int) -> Document | None:
        """The document as that revision left it; None where it was taken away. Raises `StorageError` for an unknown number."""
        row = self._one_or_none("SELECT document, content FROM revision WHERE seq = ?", seq)
        if row is None:
            raise StorageError(f"there is no revision {seq} in {self.path}")
        return None if row[1] is None else unpack(row[0], row[1])

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

    def documents_now(self) -> Iterator[Document]:
        """Every document as it is now, in the order of their IRIs; reads as it goes. For one state throughout, ask one that is `still`."""
        rows = self._stream("SELECT head.document, content FROM head JOIN revision USING (seq) ORDER BY head.document")
        for document, content in rows:
            yield unpack(document, content)

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
                    yield document, None if content is None else unpack(document, content)
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
                self._require_in_place()
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

    def _require_in_place(self) -> None:
        """What is written to a file that has been moved aside for another would be lost to all who look for it."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise StorageError(
                f"{self.path} was replaced while this process had it open; nothing was written: start anew"
            )

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
        batch = last + len(changes)
        census: Counter[tuple[str, str]] = Counter()
        revisions = [
            self._write_one(connection, seq, batch, iri, document, (now, agent, change, note), census)
            for seq, (iri, document) in enumerate(changes.items(), last + 1)
        ]
        _add_to_census(connection, census)
        return revisions

    def _write_one(
        self,
        connection: sqlite3.Connection,
        seq: int,
        batch: int,
        iri: str,
        document: Document | None,
        circumstances: tuple[str, str, str, str],
        census: Counter[tuple[str, str]],
    ) -> Revision:
        """One row of the history, and the tables of the present; what it changes of the census is added to `census`."""
        row = connection.execute(
            "SELECT seq, content FROM head JOIN revision USING (seq) WHERE head.document = ?", (iri,)
        ).fetchone()
        kind = ("document", self.base.kind_of(iri))
        if row is not None:
            census.subtract(Document(iri, zlib.decompress(row[1])).census() + Counter([kind]))
        if document is not None:
            census.update(document.census() + Counter([kind]))
        fields = (seq, batch, iri, *circumstances, row and row[0], document and document.digest)
        content = document and zlib.compress(document.content)
        connection.execute(
            f"INSERT INTO revision ({_COLUMNS}, content) VALUES (?,?,?,?,?,?,?,?,?,?)", (*fields, content)
        )
        connection.execute("DELETE FROM face WHERE document = ?", (iri,))
        connection.execute("DELETE FROM reference WHERE document = ?", (iri,))
        if document is None:
            connection.execute("DELETE FROM head WHERE document = ?", (iri,))
            connection.execute("DELETE FROM title WHERE document = ?", (iri,))
            return _revision(fields)
        self._entitle(connection, document, seq)
        connection.execute("INSERT INTO head VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", (iri, seq))
        connection.executemany(
            "INSERT INTO face VALUES (?, ?, ?)",
            [(node, iri, encode_face(face)) for node, face in faces(document).items()],
        )
        connection.executemany(
            "INSERT INTO reference VALUES (?, ?)", [(target, iri) for target in document.references(self.base)]
        )
        return _revision(fields)

    def append(self, history: Iterable[tuple[Revision, Document | None]], together: int = 1_000) -> int:
        """Write revisions that were made elsewhere, with their numbers, times and agents, in order; how many they were.

        For a journal that nobody else knows yet: what is committed at once is about `together` revisions, and not a batch.
        """
        connection, done = self._connection(), 0
        arriving = iter(history)
        with _translated(self.path):
            while some := list(itertools.islice(arriving, together)):
                census: Counter[tuple[str, str]] = Counter()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for r, document in some:
                        circumstances = (_stamp(r.time), r.agent, r.change, r.note)
                        self._write_one(connection, r.seq, r.batch, r.document, document, circumstances, census)
                    _add_to_census(connection, census)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                done += len(some)
        return done

    def _entitle(self, connection: sqlite3.Connection, document: Document, seq: int) -> None:
        label, language = _title(document)
        values = (document.iri, self.base.kind_of(document.iri), label, language, _place(label), seq)
        connection.execute("INSERT OR REPLACE INTO title VALUES (?, ?, ?, ?, ?, ?)", values)

    def _has_titles(self) -> bool:
        return self._one_or_none("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'title'") is not None

    def _collect_titles(self) -> None:
        connection = self._connection()
        with _translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._has_titles():  # another process may have been first
                    for statement in filter(str.strip, _TITLES.split(";")):
                        connection.execute(statement)
                    for iri, seq, content in connection.execute(
                        "SELECT head.document, seq, content FROM head JOIN revision USING (seq)"
                    ):
                        self._entitle(connection, unpack(iri, content), seq)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    # Keeping

    def copy(self, target: Path, progress: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Write the journal as it is now into a new file, whole and durable, while others go on reading and writing.

        `progress` gets pages copied and pages in all. Raises `StorageError`, after which the file may be there in part.
        """
        source = self._connect()
        try:
            with _translated(self.path):
                source.execute("BEGIN")  # one state for all of it; others' commits would make the copying start again
                self.last_of(source)
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
        with _translated(copied):
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
    def still(self) -> Iterator[Journal]:
        """The journal for reading by this thread, as it is at this moment, whatever others write meanwhile."""
        journal = Journal(self.path)
        try:
            with _translated(self.path):
                journal._connection().execute("BEGIN")
                journal.last()
            yield journal
        finally:
            journal.close()

    def revisions(self, after: int = 0) -> Iterator[Revision]:
        """All revisions that follow a batch, oldest first; reads as it goes."""
        sql = f"SELECT {_COLUMNS} FROM revision WHERE seq > ? ORDER BY seq"
        return map(_revision, self._stream(sql, after))

    def history_of_all(self, by_document: bool = False) -> Iterator[tuple[Revision, bytes | None]]:
        """All revisions, each with its content packed for `unpack`: oldest first, or document by document; reads as it goes."""
        order = "document, seq" if by_document else "seq"
        for row in self._stream(f"SELECT {_COLUMNS}, content FROM revision ORDER BY {order}"):
            yield _revision(row[:-1]), row[-1]

    def present(self) -> Iterator[tuple[str, int | None, dict[str, bytes], set[str]]]:
        """What the tables of the present say of each document they name, in order: number of its newest revision, encoded face by
        node, references."""
        heads = self._stream("SELECT document, seq FROM head ORDER BY document")
        nodes = self._stream("SELECT document, iri, triples FROM face ORDER BY document")
        targets = self._stream("SELECT document, target FROM reference ORDER BY document")
        rows = heapq.merge(
            ((row[0], "head", row[1:]) for row in heads),
            ((row[0], "face", row[1:]) for row in nodes),
            ((row[0], "reference", row[1:]) for row in targets),
            key=itemgetter(0),
        )
        for document, group in itertools.groupby(rows, key=itemgetter(0)):
            head: int | None = None
            face: dict[str, bytes] = {}
            references: set[str] = set()
            for _, table, values in group:
                if table == "head":
                    head = values[0]
                elif table == "face":
                    face[values[0]] = values[1]
                else:
                    references.add(values[0])
            yield document, head, face, references

    def dangling(self, limit: int = 20) -> list[tuple[str, str]]:
        """Pairs of an IRI that nothing describes and a document that points to it, some of them where there are many."""
        sql = "SELECT target, document FROM reference WHERE target NOT IN (SELECT iri FROM face) LIMIT ?"
        return [(target, document) for target, document in self._all(sql, limit)]

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
        with _translated(self.path):
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.executescript(
                f"PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA journal_size_limit={_LOG_LIMIT};"
            )
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

    def _stream(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with _translated(self.path), closing(self._connection().execute(sql, values)) as rows:
            yield from rows

    def _in(self, sql: str, values: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        todo: Sequence[str] = list(values)
        for start in range(0, len(todo), _MANY):
            some = todo[start : start + _MANY]
            yield from self._all(sql % ",".join("?" * len(some)), *some)


def unpack(document: str, content: bytes) -> Document:
    """The document in a row of the history. Raises `StorageError` where the row is damaged."""
    try:
        return Document(document, zlib.decompress(content))
    except zlib.error:
        raise StorageError(f"what the journal holds of {document} is damaged{_DAMAGED}") from None


def synchronise(path: Path) -> None:
    """Return when a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _add_to_census(connection: sqlite3.Connection, census: Counter[tuple[str, str]]) -> None:
    connection.executemany(
        "INSERT INTO census VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(what, which, count) for (what, which), count in census.items() if count],
    )


def encode_face(face: Face) -> bytes:
    return to_bytes(face, N_TRIPLES)


def decode_face(triples: bytes | str) -> Face:
    return tuple(quad.triple for quad in ox.parse(triples, format=ox.RdfFormat.N_TRIPLES, lenient=True))


#: By which property a document is called, the first before the others.
_LABELS = (RDFS_LABEL, SCHEMA + "text", SKOS + "prefLabel")


def _title(document: Document) -> tuple[str, str]:
    """The label of a document and its language: English, else the first, else the last part of its IRI."""
    # Of a hundred lines two are wanted, and to parse them all takes longer than the rest of the writing.
    subject = f"<{document.iri}> <".encode()
    wanted = tuple(subject + f"{name}> ".encode() for name in _LABELS)
    lines = b"".join(line for line in document.content.splitlines(keepends=True) if line.startswith(wanted))
    found = [
        (
            quad.object.language != "en",
            _LABELS.index(quad.predicate.value),
            quad.object.language or "",
            quad.object.value,
        )
        for quad in ox.parse(lines, format=ox.RdfFormat.N_TRIPLES, lenient=True)
        if isinstance(quad.object, ox.Literal)
    ]
    if not found:
        return document.iri.rpartition("/")[2], ""
    _, _, language, label = min(found)
    return label, language


def _place(label: str) -> str:
    """By what a label is sorted: without case, accents and what stands before its first letter or digit."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", label.casefold()) if not unicodedata.combining(c))
    return folded.lstrip("".join({c for c in folded if not c.isalnum()}))[:200]


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


#: What to do about a file that is not what it was.
_DAMAGED = "; `kg verify` tells what else is, and `kg restore` puts a backup in its place"


def _advice(error: sqlite3.Error) -> str:
    """What to do about an error of SQLite's, where there is something; no code where the error is Python's own."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _DAMAGED
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "; nothing was written. Look whether the disk is full: with space again, everything goes on by itself"
    return ""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}{_advice(error)}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}", path=str(path)) from error
