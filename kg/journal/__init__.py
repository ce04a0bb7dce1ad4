"""The journal: every write ever acknowledged, in one SQLite file; the truth of which all else is a copy.

Hides the tables. Promises that a batch is there whole or not at all, that what `commit` returned survives `kill -9` and loss of
power, that history is never rewritten, and that readers never wait for writers. Several processes may hold one journal open;
several threads may use one `Journal`.

A *revision* is one document's new state, numbered by `seq`; a *batch* is the revisions of one commit and is known by the
number of its last. Beside the history stand five tables of the present, changed in the same transaction: the newest revision
of each document, the faces of its nodes, the references it makes, its title in lists, and a census of what all documents hold.

    rows.py       what rows hold, as values
    file.py       the file: its format, connections and errors; copies of it
    writing.py    rows of the history, and the tables of the present that follow from them
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from kg.documents import Document
from kg.errors import StorageError
from kg.gate import Face
from kg.journal.file import FORMAT, File, synchronise, translated
from kg.journal.rows import (
    CHANGES,
    COLUMNS,
    Revision,
    Title,
    decode_face,
    encode_face,
    moment_of,
    revision_of,
    stamp,
    unpack,
)
from kg.journal.writing import Batch

__all__ = ["CHANGES", "FORMAT", "Journal", "Revision", "Title", "decode_face", "encode_face", "synchronise", "unpack"]

_LAST = "SELECT coalesce(max(seq), 0) FROM revision"


class Journal(File):
    """The journal in one file. `base` is the base that its documents are named under.

    `Journal.create` makes a new file, `Journal(path)` opens one that is there.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if not self._has_titles():
            with self._writing() as connection:
                if not self._has_titles():  # another process may have been first
                    Batch(connection, self.base).collect_titles()

    def _has_titles(self) -> bool:
        return self._one_or_none("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'title'") is not None

    # Reading

    def last(self) -> int:
        """The number of the newest batch, 0 where there is none. Costs microseconds."""
        return int(self._one(_LAST)[0])

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
        return rows[0][3], moment_of(rows[0][4]), {(what, which): count for what, which, count, _, _ in rows}

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
            f"SELECT content, {', '.join('r.' + c for c in COLUMNS.split(', '))} FROM head JOIN revision r USING (seq) WHERE head.document = ?",
            document,
        )
        return None if row is None else (unpack(document, row[0]), revision_of(row[1:]))

    def history(self, document: str) -> list[Revision]:
        """All revisions of a document, oldest first."""
        return [
            revision_of(row)
            for row in self._all(f"SELECT {COLUMNS} FROM revision WHERE document = ? ORDER BY seq", document)
        ]

    def revision(self, seq: int) -> Revision | None:
        """The revision of this number, None where there is none."""
        row = self._one_or_none(f"SELECT {COLUMNS} FROM revision WHERE seq = ?", seq)
        return None if row is None else revision_of(row)

    def revision_at(self, document: str, seq: int) -> Revision | None:
        """The revision of a document that was in force at this number: its newest that is not later."""
        row = self._one_or_none(
            f"SELECT {COLUMNS} FROM revision WHERE document = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", document, seq
        )
        return None if row is None else revision_of(row)

    def revision_by(self, document: str, moment: datetime) -> Revision | None:
        """The revision of a document that was in force at the end of the second of this moment; None before its first."""
        end = stamp(moment.replace(microsecond=999_999))
        row = self._one_or_none(
            f"SELECT {COLUMNS} FROM revision WHERE document = ? AND time <= ? ORDER BY seq DESC LIMIT 1", document, end
        )
        return None if row is None else revision_of(row)

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
        rows = self._all(f"SELECT content, {COLUMNS} FROM revision WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return [(revision_of(row[1:]), None if row[0] is None else unpack(row[3], row[0])) for row in rows]

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
            with translated(self.path):
                connection.execute("BEGIN")
                upto = connection.execute(_LAST).fetchone()[0] if upto is None else upto
                changed = connection.execute(
                    "SELECT document, content FROM revision JOIN (SELECT max(seq) AS seq FROM revision WHERE seq > ? AND seq <= ? GROUP BY document)"
                    " USING (seq) ORDER BY document",
                    (after, upto),
                )
                for document, content in changed:
                    yield document, None if content is None else unpack(document, content)
        finally:
            connection.close()

    def revisions(self, after: int = 0) -> Iterator[Revision]:
        """All revisions that follow a batch, oldest first; reads as it goes."""
        sql = f"SELECT {COLUMNS} FROM revision WHERE seq > ? ORDER BY seq"
        return map(revision_of, self._stream(sql, after))

    def history_of_all(self, by_document: bool = False) -> Iterator[tuple[Revision, bytes | None]]:
        """All revisions, each with its content packed for `unpack`: oldest first, or document by document; reads as it goes."""
        order = "document, seq" if by_document else "seq"
        for row in self._stream(f"SELECT {COLUMNS}, content FROM revision ORDER BY {order}"):
            yield revision_of(row[:-1]), row[-1]

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
        with self._writing() as connection:
            self._require_in_place()
            last = self.last()
            if unless_after is not None and last != unless_after:
                connection.execute("ROLLBACK")
                return None
            newest = self._one("SELECT max(time) FROM revision WHERE seq = ?", last)[0]
            now = max(stamp(datetime.now(UTC)), newest or "")  # a clock that goes back must not reorder history
            batch = Batch(connection, self.base)
            revisions = [
                batch.write(seq, last + len(changes), iri, document, (now, agent, change, note))
                for seq, (iri, document) in enumerate(changes.items(), last + 1)
            ]
            batch.end()
            before_commit()
        return revisions

    def append(self, history: Iterable[tuple[Revision, Document | None]], together: int = 1_000) -> int:
        """Write revisions that were made elsewhere, with their numbers, times and agents, in order; how many they were.

        For a journal that nobody else knows yet: what is committed at once is about `together` revisions, and not a batch.
        """
        done = 0
        arriving = iter(history)
        while some := list(itertools.islice(arriving, together)):
            with self._writing() as connection:
                batch = Batch(connection, self.base)
                for r, document in some:
                    batch.write(r.seq, r.batch, r.document, document, (stamp(r.time), r.agent, r.change, r.note))
                batch.end()
            done += len(some)
        return done
