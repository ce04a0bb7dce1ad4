"""The register: what the documents of a journal are called and which words they quote, kept ready to be looked up.

Hides a SQLite file beside the journal, which follows it and can be thrown away at any time: one that is lost, damaged, of another
history or of another layout is made anew. Promises that a reading sees one state of the journal, not older than the moment it
began, and that what stands in the register is what the current documents say, no more and no less.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyoxigraph as ox

from kg.documents import Document
from kg.errors import StorageError
from kg.journal import Journal
from kg.retraction import RETRACTED_AT
from kg.spelling import plain, sounds
from kg.terms import EKG, KINDS, PREFIXES, RDF_TYPE, RDFS_LABEL, SCHEMA, SKOS

log = logging.getLogger("kg.register")

#: A `name` is a label of a document as it is compared; an `entry` a document or a quotation, whose number also tells of what group it
#: is; `latin` has the Latin form of each entry's words; a `sound` is that of a run of words of a name.
_SCHEMA = """
CREATE TABLE reached (seq INTEGER NOT NULL, mark TEXT NOT NULL);
CREATE TABLE name (
    kind TEXT, folded TEXT, document TEXT, language TEXT, label TEXT, rank INTEGER,
    PRIMARY KEY (kind, folded, document, language)) WITHOUT ROWID;
CREATE INDEX name_of_document ON name (document);
CREATE TABLE entry (id INTEGER PRIMARY KEY, document TEXT, part TEXT, words TEXT, language TEXT, facts TEXT);
CREATE INDEX entry_of_document ON entry (document);
CREATE VIRTUAL TABLE latin USING fts5 (letters, tokenize = 'trigram case_sensitive 1');
CREATE TABLE sound (kind TEXT, sound TEXT, document TEXT, PRIMARY KEY (kind, sound, document)) WITHOUT ROWID;
CREATE INDEX sound_of_document ON sound (document);
"""
_TABLES = ("reached", "name", "entry", "latin", "sound")

#: Of the layout, and of what decides what stands in it.
_LAYOUT = f"4, anyascii {version('anyascii')}"

#: What an entry can be of; each has numbers of its own for its entries.
QUOTATION = "quotation"
GROUPS = (*KINDS, QUOTATION)
_NUMBERS = 2**40

#: From this rank on, a name is one by which a document is found and not shown where it has another.
OTHER = 2

#: Properties by whose values a document can be found, and which of them is shown for it.
_LABELS = {RDFS_LABEL: 0, SCHEMA + "text": 0, SCHEMA + "headline": 0, SKOS + "altLabel": OTHER}

#: What else a result of a search says of a document: the property, and under which name it stands in the facts.
_FACTS = {
    RDF_TYPE: "classes",
    SCHEMA + "publisher": "outlets",
    SCHEMA + "datePublished": "published",
    RETRACTED_AT: "retracted",
    SCHEMA + "containedInPlace": "within",
    EKG + "modality": "modality",
    EKG + "post": "posts",
}
_OA = PREFIXES["oa"]
_EXACT, _SELECTOR, _EVIDENCE, _SPEAKER = _OA + "exact", _OA + "hasSelector", EKG + "evidence", EKG + "speaker"
_WANTED = re.compile(
    rf"^\S+ <(?:{'|'.join(map(re.escape, (*_LABELS, *_FACTS, _EXACT, _SELECTOR, _EVIDENCE, _SPEAKER)))})> .*\n".encode(),
    re.MULTILINE,
)

#: Kinds that are spoken of by name, and so are found by its sound.
_SPOKEN = ("actor", "place", "agreement")


def numbers(group: str) -> tuple[int, int]:
    """The least and the greatest number that an entry of this group can have."""
    first = GROUPS.index(group) * _NUMBERS
    return first + 1, first + _NUMBERS - 1


def fold(text: str) -> str:
    """A label as it is compared: without differences of case, of composed characters and of spaces."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


class Register:
    """The register of one journal; `path` is the file, made where it is missing. Threads and processes may share one."""

    def __init__(self, journal: Journal, path: Path) -> None:
        self.journal = journal
        self._path = path
        self._lock = threading.Lock()
        self._reached = -1

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file, caught up with the journal, in one transaction to read from. Raises `StorageError`."""
        try:
            connection = self._open()
        except sqlite3.DatabaseError as error:
            log.warning("the register %s cannot be read (%s): making it anew", self._path, error)
            for path in self._path.parent.glob(self._path.name + "*"):
                path.unlink(missing_ok=True)
            try:
                connection = self._open()
            except sqlite3.Error as again:
                raise StorageError(f"{self._path}: {again}") from None
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from None
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=60)
        try:
            if self._reached != self.journal.last():
                with self._lock:
                    self._follow(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _follow(self, connection: sqlite3.Connection) -> None:
        # What a crash of the machine loses here is collected anew: nothing waits for the disk.
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY")
        last = self.journal.last()
        connection.execute("BEGIN IMMEDIATE")
        reached = self._prepared(connection)
        if reached < last:
            self._catch_up(connection, reached, last)
            connection.execute("DELETE FROM reached")
            connection.execute("INSERT INTO reached VALUES (?, ?)", (last, self.journal.mark(last)))
        connection.execute("COMMIT")
        self._reached = last

    def _prepared(self, connection: sqlite3.Connection) -> int:
        """The revision that the file has reached, 0 where there is nothing in it that can be used."""
        layout = None
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'layout'").fetchone():
            layout = connection.execute("SELECT text FROM layout").fetchone()
        if layout == (_LAYOUT,):
            row = connection.execute("SELECT seq, mark FROM reached").fetchone() or (0, "")
            if not row[0] or self.journal.mark(row[0]) == row[1]:
                return int(row[0])
        # One statement at a time: a script would commit first, and two that make it at once would meet.
        for table in (*_TABLES, "layout"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("CREATE TABLE layout (text TEXT)")
        connection.execute("INSERT INTO layout VALUES (?)", (_LAYOUT,))
        return 0

    def _catch_up(self, connection: sqlite3.Connection, reached: int, last: int) -> None:
        base = self.journal.base
        free = {group: self._last_number(connection, group) + 1 for group in GROUPS}
        for iri, document in self.journal.current(reached, last):
            if reached:
                _forget(connection, iri)
            if document is None:
                continue
            kind = base.kind_of(iri)
            found = collect(document)
            names = [(kind, fold(name.label), iri, name.language, name.label, name.rank) for name in found.names]
            connection.executemany("INSERT OR IGNORE INTO name VALUES (?, ?, ?, ?, ?, ?)", names)
            entries = [(kind, "", "", "", found.facts, [name.label for name in found.names])]
            entries += [
                (QUOTATION, q.part, q.words, q.language, {"speakers": q.speakers}, [q.words]) for q in found.quotations
            ]
            for group, part, words, language, facts, texts in entries:
                number = free[group]
                free[group] += 1
                row = (number, iri, part, words, language, json.dumps(facts, ensure_ascii=False))
                connection.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", row)
                connection.execute("INSERT INTO latin (rowid, letters) VALUES (?, ?)", (number, _letters(texts)))
            if kind in _SPOKEN:
                rows = {(kind, sound, iri) for name in found.names for sound in sounds(name.label)}
                connection.executemany("INSERT INTO sound VALUES (?, ?, ?)", rows)

    @staticmethod
    def _last_number(connection: sqlite3.Connection, group: str) -> int:
        low, high = numbers(group)
        row = connection.execute("SELECT max(id) FROM entry WHERE id BETWEEN ? AND ?", (low, high)).fetchone()
        return int(row[0] or low - 1)


@dataclass(frozen=True)
class Name:
    """A label of a document, its language (empty for none), and in which order labels are preferred."""

    label: str
    language: str
    rank: int


@dataclass(frozen=True)
class Quoted:
    """Words that an article quotes, their language (empty for none), the part of the article that they are evidence for, and those
    who speak in it."""

    part: str
    words: str
    language: str
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class Collected:
    """What the register keeps of one document."""

    names: list[Name] = field(default_factory=list)
    quotations: list[Quoted] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def collect(document: Document) -> Collected:
    """What the register keeps of a document: its own labels, what its parts quote, and a few facts to know it by."""
    # A document has one line a triple, and of a hundred of them a dozen are wanted.
    lines = b"".join(_WANTED.findall(document.content))
    found = Collected()
    exact: dict[Any, ox.Literal] = {}
    holders: dict[Any, list[Any]] = {}
    speakers: dict[Any, list[str]] = {}
    itself = ox.NamedNode(document.iri)
    for quad in ox.parse(lines, format=ox.RdfFormat.N_TRIPLES, lenient=True):
        subject, predicate, value = quad.subject, quad.predicate.value, quad.object
        if predicate in _LABELS and subject == itself and isinstance(value, ox.Literal):
            language = value.language or ""
            found.names.append(Name(value.value, language, _LABELS[predicate] + (language != "en")))
        elif predicate == _EXACT and isinstance(value, ox.Literal):
            exact[subject] = value
        elif predicate == _SPEAKER:
            speakers.setdefault(subject, []).append(value.value)
        elif predicate in (_SELECTOR, _EVIDENCE):
            holders.setdefault(value, []).append(subject)
        elif predicate in _FACTS and (subject == itself or predicate == EKG + "post"):
            _note(found.facts, _FACTS[predicate], value)
    for selector, words in exact.items():
        evidence = sorted(holders.get(selector, []), key=str)
        acts = [act for node in evidence for act in sorted(holders.get(node, []), key=_natural)]
        part = (acts or evidence or [selector])[0]
        place = str(getattr(part, "value", "")).partition("#")[2]
        who = tuple(sorted(speakers.get(part, [])))
        found.quotations.append(Quoted(place, words.value, words.language or "", who))
    found.names.sort(key=lambda name: (name.rank, name.language, name.label))
    found.quotations.sort(key=lambda quoted: (quoted.part, quoted.words))
    return found


def _note(facts: dict[str, Any], name: str, value: Any) -> None:
    if name == "retracted":
        facts[name] = True
    elif name == "published":
        facts[name] = value.value
    elif name == "modality":
        facts[name] = value.value.removeprefix(EKG)
    elif name == "posts":
        facts.setdefault(name, []).append([value.value, value.language or ""])
    elif name == "classes":
        if value.value.startswith(EKG):
            facts.setdefault(name, []).append(value.value.removeprefix(EKG))
    else:
        facts.setdefault(name, []).append(value.value)


def _natural(node: Any) -> tuple[int, str]:
    """Acts in the order in which their numbers count: s2 before s10."""
    return len(str(node)), str(node)


def _letters(texts: list[str]) -> str:
    """The Latin forms of some texts, a space before and after each, so that whole words and beginnings of words can be asked for."""
    return f" {'  '.join(filter(None, dict.fromkeys(plain(text) for text in texts)))} "


def _forget(connection: sqlite3.Connection, iri: str) -> None:
    connection.execute("DELETE FROM name WHERE document = ?", (iri,))
    connection.execute("DELETE FROM sound WHERE document = ?", (iri,))
    connection.execute("DELETE FROM latin WHERE rowid IN (SELECT id FROM entry WHERE document = ?)", (iri,))
    connection.execute("DELETE FROM entry WHERE document = ?", (iri,))
