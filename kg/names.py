"""What things are called: from a name in any language to the document that bears it.

Hides a small SQLite file beside the journal, which follows it and can be thrown away at any time. Promises that a look-up costs
the same however many documents there are, once the file has caught up, and knows every document that the journal has.

A name is an address, a kind and a slug (`actor/russia`), a slug, a label in any language whatever its case, or the beginning of
labels of one document only; whichever of these fits first.
"""

from __future__ import annotations

import difflib
import logging
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyoxigraph as ox

from kg.documents import Document
from kg.errors import AmbiguousName, StorageError, UnknownName
from kg.journal import Journal
from kg.terms import KINDS, PREFIXES, RDFS_LABEL, SLUG, SLUG_LIMIT

log = logging.getLogger("kg.names")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reached (seq INTEGER NOT NULL, mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS name (
    kind TEXT, folded TEXT, document TEXT, label TEXT, rank INTEGER, PRIMARY KEY (kind, folded, document)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS name_of_document ON name (document);
"""

#: Properties by whose values a document can be found, and which of them is shown for it.
_LABELS = {
    RDFS_LABEL: 0,
    PREFIXES["schema"] + "text": 0,
    PREFIXES["schema"] + "headline": 0,
    PREFIXES["skos"] + "altLabel": 2,
}

#: Matches that an error lists.
_LISTED = 10


@dataclass(frozen=True)
class Match:
    """A document and one of its labels."""

    iri: str
    label: str


class Names:
    """The names of the documents in one journal; `path` is the file, made where it is missing. Threads may share one."""

    def __init__(self, journal: Journal, path: Path) -> None:
        self._journal = journal
        self._base = journal.base
        self._path = path
        self._lock = threading.Lock()
        self._reached = -1

    def resolve(self, text: str, kinds: Sequence[str]) -> str:
        """The IRI of the document of one of these kinds that a text names.

        Raises `UnknownName`, with near names, or `AmbiguousName`, with all that have it.
        """
        asked = " ".join(text.split())
        if (iri := self._by_address(asked, kinds)) is not None:
            return iri
        if SLUG.fullmatch(asked):
            by_slug = [iri for kind in kinds if self._is_there(iri := self._base.document(kind, asked))]
            if by_slug:
                return self._only([Match(iri, self.label(iri) or asked) for iri in by_slug], text, kinds)
        folded = fold(asked)
        if folded:
            with self._caught_up() as connection:
                exact = _matches(connection, kinds, "folded = ?", folded)
                if exact:
                    return self._only(exact, text, kinds)
                beginning = _matches(connection, kinds, "folded >= ? AND folded < ?", folded, folded + "\U0010ffff")
                if beginning:
                    return self._only(beginning, text, kinds)
                near = _near(connection, kinds, folded)
        else:
            near = []
        hint = f"; did you mean {self._listed(near[:3])}?" if near else ""
        raise UnknownName(f"no {_or(kinds)} is called {text[:100]!r}{hint}", matches=[_fact(m) for m in near] or None)

    def label(self, iri: str) -> str | None:
        """The label under which a document is shown: English where it has that."""
        with self._caught_up() as connection:
            row = connection.execute(
                "SELECT label FROM name WHERE document = ? ORDER BY rank, label LIMIT 1", (iri,)
            ).fetchone()
        return None if row is None else str(row[0])

    def _by_address(self, text: str, kinds: Sequence[str]) -> str | None:
        kind, colon, rest = text.partition(":")
        if kind in KINDS and colon:
            text = f"{kind}/{rest}"
        kind, slash, slug = text.partition("/")
        iri = self._base.document(kind, slug) if slash and kind in KINDS and SLUG.fullmatch(slug) else text
        if iri is text and not text.startswith(("http://", "https://")):
            return None
        iri = iri.removesuffix(".html")
        found = self._base.document_of(iri)
        if found is None or found != iri:
            raise UnknownName(f"{text[:200]} is no {_or(kinds)} here; those are {self._base}{kinds[0]}/…")
        if self._base.kind_of(found) not in kinds:
            raise UnknownName(f"{text[:200]} names no {_or(kinds)} but another kind of thing")
        if not self._is_there(found):
            raise UnknownName(f"there is no document {found}")
        return found

    def _is_there(self, iri: str) -> bool:
        return len(iri) <= len(self._base.iri) + SLUG_LIMIT + 20 and bool(self._journal.digests([iri]))

    def _only(self, matches: Sequence[Match], text: str, kinds: Sequence[str]) -> str:
        if len({match.iri for match in matches}) == 1:
            return matches[0].iri
        raise AmbiguousName(
            f"several {_or(kinds, 's')} have a name like {text[:100]!r}: {self._listed(matches[:_LISTED])}"
            + (", …" if len(matches) > _LISTED else "")
            + "; send what stands in brackets behind the one you mean",
            matches=[_fact(match) for match in matches[:_LISTED]],
        )

    def _listed(self, matches: Sequence[Match]) -> str:
        return ", ".join(f"{match.label[:80]} ({match.iri.removeprefix(self._base.iri)})" for match in matches)

    # Following the journal

    @contextmanager
    def _caught_up(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
        except sqlite3.DatabaseError as error:
            log.warning("the names in %s cannot be read (%s): collecting them anew", self._path, error)
            for path in self._path.parent.glob(self._path.name + "*"):
                path.unlink(missing_ok=True)
            try:
                connection = self._open()
            except sqlite3.Error as again:
                raise StorageError(f"{self._path}: {again}") from None
        try:
            yield connection
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from None
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=60)
        try:
            if self._reached != self._journal.last():
                with self._lock:
                    self._follow(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _follow(self, connection: sqlite3.Connection) -> None:
        # What a crash of the machine loses here is collected anew: nothing waits for the disk.
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")
        connection.execute("BEGIN IMMEDIATE")
        last = self._journal.last()
        row = connection.execute("SELECT seq, mark FROM reached").fetchone() or (0, "")
        reached = int(row[0])
        if reached and self._journal.mark(reached) != row[1]:
            connection.execute("DELETE FROM name")
            reached = 0
        if reached < last:
            for iri, document in self._journal.current(reached, last):
                if reached:
                    connection.execute("DELETE FROM name WHERE document = ?", (iri,))
                if document is not None:
                    kind = self._base.kind_of(iri)
                    rows = [(kind, folded, iri, label, rank) for folded, label, rank in _names_in(document)]
                    connection.executemany("INSERT OR IGNORE INTO name VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("DELETE FROM reached")
            connection.execute("INSERT INTO reached VALUES (?, ?)", (last, self._journal.mark(last)))
        connection.execute("COMMIT")
        self._reached = last


def fold(text: str) -> str:
    """A label as it is compared: without differences of case, of composed characters and of spaces."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def _names_in(document: Document) -> list[tuple[str, str, int]]:
    """Labels of the document itself: folded, as written, and in which order they are preferred."""
    # A document has one line a triple, and of a hundred of them two are wanted.
    subject = f"<{document.iri}> <".encode()
    wanted = tuple(subject + f"{name}> ".encode() for name in _LABELS)
    lines = b"".join(line for line in document.content.splitlines(keepends=True) if line.startswith(wanted))
    names: dict[str, tuple[str, str, int]] = {}
    for quad in ox.parse(lines, format=ox.RdfFormat.N_TRIPLES, lenient=True):
        if isinstance(quad.object, ox.Literal):
            rank = _LABELS[quad.predicate.value] + (quad.object.language != "en")
            folded = fold(quad.object.value)
            if folded not in names or rank < names[folded][2]:
                names[folded] = (folded, quad.object.value, rank)
    return list(names.values())


def _matches(connection: sqlite3.Connection, kinds: Sequence[str], condition: str, *values: str) -> list[Match]:
    """Up to one more document than an error lists, each with the first of its names that fits."""
    rows = connection.execute(
        f"SELECT document, min(label) FROM name WHERE kind IN ({', '.join('?' * len(kinds))}) AND {condition}"
        f" GROUP BY document ORDER BY min(length(folded)), document LIMIT {_LISTED + 1}",
        (*kinds, *values),
    )
    return [Match(*row) for row in rows]


def _near(connection: sqlite3.Connection, kinds: Sequence[str], folded: str) -> list[Match]:
    """Names that hold the text, or begin as it does and differ little."""
    found = _matches(connection, kinds, "instr(folded, ?) > 0", folded) if len(folded) >= 3 else []
    rows = connection.execute(
        f"SELECT folded, document, label FROM name WHERE kind IN ({', '.join('?' * len(kinds))}) AND folded >= ? AND folded < ? LIMIT 500",
        (*kinds, folded[:2], folded[:2] + "\U0010ffff"),
    ).fetchall()
    by_name = {name: Match(document, label) for name, document, label in rows}
    found += [by_name[name] for name in difflib.get_close_matches(folded[:200], by_name, 3, 0.7)]
    return list({match.iri: match for match in found}.values())[:_LISTED]


def _fact(match: Match) -> dict[str, str]:
    return {"label": match.label, "iri": match.iri}


def _or(kinds: Sequence[str], plural: str = "") -> str:
    return " or ".join(kind + plural for kind in kinds)
