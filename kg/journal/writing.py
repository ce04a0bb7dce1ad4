"""Writing into a journal: rows of the history, and with each the tables of the present that follow from it.

Hides what stands beside the history: the newest revision of each document, the faces of its nodes, the references it makes, its
title in lists, and the census of what all documents hold. Promises that within one transaction these and the history agree.
"""

from __future__ import annotations

import sqlite3
import unicodedata
import zlib
from collections import Counter

import pyoxigraph as ox

from kg.documents import Document
from kg.gate import faces
from kg.journal.file import TITLES
from kg.journal.rows import COLUMNS, Revision, encode_face, revision_of, unpack
from kg.terms import RDFS_LABEL, SCHEMA, SKOS, Base


class Batch:
    """Revisions written in one transaction, which is the caller's; it holds all of them when `end` has been called."""

    def __init__(self, connection: sqlite3.Connection, base: Base) -> None:
        self._connection = connection
        self._base = base
        self._census: Counter[tuple[str, str]] = Counter()

    def write(
        self, seq: int, batch: int, iri: str, document: Document | None, circumstances: tuple[str, str, str, str]
    ) -> Revision:
        """One row of the history, and the tables of the present. The circumstances are its time, agent, change and note."""
        execute, executemany = self._connection.execute, self._connection.executemany
        row = execute(
            "SELECT seq, content FROM head JOIN revision USING (seq) WHERE head.document = ?", (iri,)
        ).fetchone()
        kind = ("document", self._base.kind_of(iri))
        if row is not None:
            self._census.subtract(unpack(iri, row[1]).census() + Counter([kind]))
        if document is not None:
            self._census.update(document.census() + Counter([kind]))
        fields = (seq, batch, iri, *circumstances, row and row[0], document and document.digest)
        content = document and zlib.compress(document.content)
        execute(f"INSERT INTO revision ({COLUMNS}, content) VALUES (?,?,?,?,?,?,?,?,?,?)", (*fields, content))
        execute("DELETE FROM face WHERE document = ?", (iri,))
        execute("DELETE FROM reference WHERE document = ?", (iri,))
        if document is None:
            execute("DELETE FROM head WHERE document = ?", (iri,))
            execute("DELETE FROM title WHERE document = ?", (iri,))
            return revision_of(fields)
        self._entitle(document, seq)
        execute("INSERT INTO head VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq", (iri, seq))
        executemany(
            "INSERT INTO face VALUES (?, ?, ?)",
            [(node, iri, encode_face(face)) for node, face in faces(document).items()],
        )
        executemany(
            "INSERT INTO reference VALUES (?, ?)", [(target, iri) for target in document.references(self._base)]
        )
        return revision_of(fields)

    def end(self) -> None:
        """Add to the census what the revisions changed of it."""
        self._connection.executemany(
            "INSERT INTO census VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(what, which, count) for (what, which), count in self._census.items() if count],
        )

    def collect_titles(self) -> None:
        """Make the table of titles, for a journal from before there was one."""
        for statement in filter(str.strip, TITLES.split(";")):
            self._connection.execute(statement)
        now = self._connection.execute("SELECT head.document, seq, content FROM head JOIN revision USING (seq)")
        for iri, seq, content in now:
            self._entitle(unpack(iri, content), seq)

    def _entitle(self, document: Document, seq: int) -> None:
        label, language = _title(document)
        values = (document.iri, self._base.kind_of(document.iri), label, language, _place(label), seq)
        self._connection.execute("INSERT OR REPLACE INTO title VALUES (?, ?, ?, ?, ?, ?)", values)


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
