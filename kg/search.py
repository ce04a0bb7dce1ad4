"""Searching: whatever somebody types, in any script, and the documents and quotations that have it in them.

Hides how a text becomes an index's question and how what is found is put in order. Promises that any text can be asked for, as it is
data and never syntax, that what is found is what the current documents say, that totals are exact, and that what has the words as
they were typed comes before what merely sounds like them.

All words asked for must be there, in any order; words within quotation marks stand together. A part of a word suffices, of short words
the beginning. Where a name is written otherwise, in another script or by another custom, its Latin form or its sound finds it.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kg.errors import RequestError
from kg.register import OTHER, QUOTATION, Register, fold, numbers
from kg.spelling import composed, plain, sound, spelling
from kg.terms import KINDS, language_rank

#: What can be found, in the order in which it is shown.
KINDS_FOUND = ("actor", "proposition", "event", "place", "agreement", "article", QUOTATION)

#: Characters of a text to search for, and words in it.
LENGTH = 200
_WORDS = 12

#: Hits of one kind that a single answer has, at most.
MOST = 100

#: How many of the best matches by the index's measure are put in order by ours, for each that is wanted.
_CANDIDATES = 3

#: Consonants from which on a sound finds a name, and from which on its beginning does.
_HEARD, _BEGINNING = 3, 4

#: Characters of a text that a hit shows.
_SHOWN = 320


@dataclass(frozen=True)
class Marked:
    """A text, its language where it is known, and which stretches of it were asked for: from, and up to."""

    text: str
    language: str | None
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The text in pieces, each with whether it is marked."""
        pieces, done = [], 0
        for start, end in self.marks:
            pieces += [(self.text[done:start], False), (self.text[start:end], True)]
            done = end
        return [piece for piece in (*pieces, (self.text[done:], False)) if piece[0]]


@dataclass(frozen=True)
class Hit:
    """Something found: a document, or a quotation in one.

    `label` is what the document is called in the reader's language, or the quotation. `matched` is the name that has the words asked
    for, where the label has not. `part` is the quotation's place in its article. `facts` are those that the register keeps of the
    document, a quotation's article included.
    """

    kind: str
    iri: str
    part: str
    label: Marked
    matched: Marked | None
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """What was found of one kind: how much in all, and the best of it."""

    kind: str
    total: int
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Found:
    """The answer to a search, at one revision; groups without hits are left out."""

    text: str
    revision: int
    groups: tuple[Group, ...]

    @property
    def total(self) -> int:
        return sum(group.total for group in self.groups)


@dataclass(frozen=True)
class _Term:
    """A word to search for, or words that stand together: as typed, and in Latin letters."""

    folded: str
    letters: str

    @property
    def asked(self) -> str:
        """What the index is asked for; it knows runs of three letters, spaces included."""
        short = {1: f" {self.letters} ", 2: f" {self.letters}"}
        return short.get(len(self.letters), self.letters)

    @property
    def as_words(self) -> str:
        """What the index is asked for where it shall be whole words."""
        return f" {self.letters} "

    @cached_property
    def of_words(self) -> re.Pattern[str]:
        """Whole words in a folded text."""
        return re.compile(rf"(?<!\w){re.escape(self.folded)}(?!\w)")

    @cached_property
    def at_beginning(self) -> re.Pattern[str]:
        """Of a word in a folded text."""
        return re.compile(rf"(?<!\w){re.escape(self.folded)}")


class Search:
    """Searches one register. Threads may share one."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._base = register.journal.base

    def find(
        self, text: str, languages: Sequence[str] = ("en",), *, kinds: Sequence[str] = KINDS_FOUND, limit: int = 10
    ) -> Found:
        """What has the text in it, of these kinds, at most `limit` hits of each. An empty text finds nothing.

        Raises `RequestError` for a text that is too long.
        """
        if len(text) > LENGTH:
            raise RequestError(f"q is a text of at most {LENGTH} characters; this one has {len(text):,}", parameter="q")
        whole = fold(text.replace('"', " "))
        terms = _terms(text)
        with self._register.reading() as connection:
            revision = int((connection.execute("SELECT seq FROM reached").fetchone() or (0,))[0])
            groups = [self._group(connection, kind, whole, terms, languages, limit) for kind in kinds] if terms else []
        return Found(text, revision, tuple(group for group in groups if group.hits))

    def near(self, kind: str, slug: str, languages: Sequence[str] = ("en",), limit: int = 5) -> list[Hit]:
        """Documents that somebody may have meant who asked for one that is not there, the nearest first: of that name but another kind,
        of nearly that name, or found by its words. `kind` may be empty, and the slug any text."""
        slug = slug[:LENGTH].lower()
        there = self._register.journal.digests(self._base.document(other, slug) for other in KINDS)
        found = sorted(there)
        words = " ".join(slug.replace("-", " ").replace('"', " ").split()[:_WORDS])
        with self._register.reading() as connection:
            if kind:
                beginning = self._base.document(kind, slug[:2])
                rows = connection.execute(
                    "SELECT DISTINCT document FROM entry WHERE document >= ? AND document < ? LIMIT 1000",
                    (beginning, beginning + "\U0010ffff"),
                )
                slugs = {row[0].rpartition("/")[2]: row[0] for row in rows}
                found += [slugs[name] for name in difflib.get_close_matches(slug, slugs, limit, 0.75)]
            for text in (words, *sorted(words.split(), key=len, reverse=True)[:2]):
                if len(found) < limit and len(text) > 3 and (terms := _terms(text)):
                    for group in sorted(KINDS_FOUND[:-1], key=lambda other: other != kind):
                        found += [hit.iri for hit in self._group(connection, group, text, terms, languages, 2).hits]
            wanted = list(dict.fromkeys(found))[:limit]
            return [self._hit(it, [], languages) for it in _documents(connection, wanted, {}, "", [])]

    def _group(
        self,
        connection: sqlite3.Connection,
        kind: str,
        whole: str,
        terms: Sequence[_Term],
        languages: Sequence[str],
        limit: int,
    ) -> Group:
        asked = _all_of(term.asked for term in terms)
        total = connection.execute(f"SELECT count(*) {_MATCHING}", (asked, *numbers(kind))).fetchone()[0]
        candidates = _best(connection, asked, kind, limit * _CANDIDATES) if total else []
        if total > len(candidates):
            # The index's measure knows no words: among thousands that have the letters, those that have the words may be late.
            words = _all_of(term.as_words for term in terms)
            candidates = list(dict.fromkeys([*_best(connection, words, kind, limit * _CANDIDATES), *candidates]))
        order = {number: place for place, number in enumerate(candidates)}
        if kind == QUOTATION:
            found = _quotations(connection, order, whole, terms)
        else:
            named = connection.execute(
                "SELECT DISTINCT document FROM name WHERE kind = ? AND folded >= ? AND folded < ? LIMIT ?",
                (kind, whole, whole + "\U0010ffff", limit * _CANDIDATES),
            )
            wanted = [row[0] for row in named] if whole else []
            by_number = connection.execute(
                f"SELECT document, id FROM entry WHERE id IN ({', '.join(map(str, order))})"
            ).fetchall()
            places = {document: order[number] for document, number in by_number}
            alike, more = _alike(connection, kind, whole, asked, limit)
            total = max(total, len({*wanted, *places})) + more
            found = _documents(connection, [*places, *wanted, *alike], places, whole, terms)
        found.sort(key=lambda it: it.order)
        return Group(kind, total, tuple(self._hit(it, terms, languages) for it in found[:limit]))

    def _hit(self, it: _Candidate, terms: Sequence[_Term], languages: Sequence[str]) -> Hit:
        if it.words is not None:
            return Hit(QUOTATION, it.document, it.part, _marked(it.words, it.language, terms), None, it.facts)
        kind = self._base.kind_of(it.document)
        names = sorted(
            it.names, key=lambda name: (name[2] >= OTHER, language_rank(name[1], languages), name[2], name[1], name[0])
        )
        if not names:
            return Hit(kind, it.document, "", Marked(it.document.rpartition("/")[2], None), None, it.facts)
        marked = [_marked(label, language or None, terms) for label, language, _ in names]
        matched = None
        if it.order[0] == _BY_SOUND or not terms:
            marked[0] = Marked(marked[0].text, marked[0].language)
        else:
            # Beside its label stands the name that has the words as typed, or in Latin letters, where the label has not.
            has = [(_has(name[0], terms), len(marked[n].marks), -n) for n, name in enumerate(names)]
            best = -max(has)[2]
            matched = marked[best] if has[best][0] > has[0][0] and marked[best].marks else None
        return Hit(kind, it.document, "", marked[0], matched, it.facts)


@dataclass
class _Candidate:
    """Something that may be shown, with what decides whether it is."""

    document: str
    part: str
    words: str | None
    language: str | None
    names: list[tuple[str, str, int]]
    facts: dict[str, Any]
    order: tuple[Any, ...]


#: Ways in which something has what is asked for, from the best: as typed, in Latin letters, some words in one name and some in another,
#: and by its sound alone.
_AS_TYPED, _IN_LATIN, _BETWEEN_THEM, _BY_SOUND = range(5), range(5, 10), 10, 11
_SHORT_FIRST = (*_AS_TYPED[:3], *_IN_LATIN[:3])

_MATCHING = "FROM latin WHERE latin MATCH ? AND rowid BETWEEN ? AND ?"


def _all_of(phrases: Iterable[str]) -> str:
    # Letters, digits and spaces are all that a phrase has: see kg.spelling.
    return " AND ".join(f'"{phrase}"' for phrase in phrases)


def _best(connection: sqlite3.Connection, asked: str, kind: str, limit: int) -> list[int]:
    """Numbers of entries, best first by the index's measure."""
    rows = connection.execute(f"SELECT rowid {_MATCHING} ORDER BY rank, rowid LIMIT ?", (asked, *numbers(kind), limit))
    return [row[0] for row in rows]


def _terms(text: str) -> list[_Term]:
    """The words of a text, those within quotation marks as one. Raises `RequestError` for too many."""
    found = []
    for together, single in re.findall(r'"([^"]*)"|([^\s"]+)', text):
        part = together or single
        letters = plain(part)
        if letters:
            found.append(_Term(fold(part), letters))
    terms = list(dict.fromkeys(found))
    if len(terms) > _WORDS:
        raise RequestError(f"q has at most {_WORDS} words; this one has {len(terms)}", parameter="q")
    return terms


def _alike(connection: sqlite3.Connection, kind: str, whole: str, asked: str, limit: int) -> tuple[list[str], int]:
    """Documents with a name that sounds like the text and that its letters do not find, at most `limit`; and how many there are."""
    heard = sound(whole)
    if len(heard) < _HEARD or any(character.isdigit() for character in whole):
        return [], 0
    upto = heard + "\U0010ffff" if len(heard) >= _BEGINNING else heard
    condition = (
        "kind = ? AND sound >= ? AND sound <= ? AND document NOT IN"
        " (SELECT document FROM entry JOIN latin ON latin.rowid = id WHERE latin MATCH ? AND latin.rowid BETWEEN ? AND ?)"
    )
    values = (kind, heard, upto, asked, *numbers(kind))
    rows = connection.execute(
        f"SELECT document FROM sound WHERE {condition} GROUP BY document ORDER BY min(length(sound)), document", values
    ).fetchall()
    return [row[0] for row in rows[:limit]], len(rows)


def _documents(
    connection: sqlite3.Connection,
    documents: Sequence[str],
    places: Mapping[str, int],
    whole: str,
    terms: Sequence[_Term],
) -> list[_Candidate]:
    found = []
    for document in dict.fromkeys(documents):
        row = connection.execute(
            "SELECT facts, letters FROM entry JOIN latin ON latin.rowid = id WHERE document = ? AND id < ?",
            (document, numbers(QUOTATION)[0]),
        ).fetchone()
        if row is None:
            continue
        names = connection.execute(
            "SELECT label, language, rank, folded FROM name WHERE document = ?", (document,)
        ).fetchall()
        ways = [(_way(name[3], whole, terms), name[2] >= OTHER, len(name[0])) for name in names]
        way, other, length = min(ways, default=(_BY_SOUND, True, 0))
        if way not in _AS_TYPED:
            way = _way_in_latin(row[1], plain(whole), terms)
        place = places.get(document, len(places))
        # Of names that are what was typed, or begin with it, the short ones are meant; of the rest the index knows better.
        order = (way, other, length, place, document) if way in _SHORT_FIRST else (way, place, other, length, document)
        found.append(_Candidate(document, "", None, None, [name[:3] for name in names], json.loads(row[0]), order))
    return found


def _quotations(
    connection: sqlite3.Connection, order: Mapping[int, int], whole: str, terms: Sequence[_Term]
) -> list[_Candidate]:
    found = []
    rows = connection.execute(
        "SELECT quoted.id, quoted.document, quoted.part, quoted.words, quoted.language, article.facts, quoted.facts"
        " FROM entry AS quoted LEFT JOIN entry AS article ON article.document = quoted.document AND article.id < ?"
        f" WHERE quoted.id IN ({', '.join(map(str, order))})",
        (numbers(QUOTATION)[0],),
    )
    for number, document, part, words, language, article, own in rows:
        place = (_way(fold(words), whole, terms), order[number], document, part)
        facts = {**json.loads(article or "{}"), **json.loads(own)}
        found.append(_Candidate(document, part, words, language or None, [], facts, place))
    return found


def _way(folded: str, whole: str, terms: Sequence[_Term]) -> int:
    """How a text has what is asked for as typed: it is that, has it as words, begins with it, has words that do, or has it."""
    if not whole or not all(term.folded in folded for term in terms):
        return _BETWEEN_THEM
    has = (
        folded == whole,
        all(term.of_words.search(folded) for term in terms),
        folded.startswith(whole),
        all(term.at_beginning.search(folded) for term in terms),
        True,
    )
    return _AS_TYPED[has.index(True)]


def _way_in_latin(letters: str, whole: str, terms: Sequence[_Term]) -> int:
    """The same of the Latin forms of the names of a document."""
    names = [f" {name} " for name in letters.strip().split("  ")]
    has = (
        f" {whole} " in names,
        any(all(term.as_words in name for term in terms) for name in names),
        any(name.startswith(f" {whole}") for name in names),
        any(all(f" {term.letters}" in name for term in terms) for name in names),
        any(all(term.asked in name for term in terms) for name in names),
    )
    if True in has:
        return _IN_LATIN[has.index(True)]
    return _BETWEEN_THEM if all(term.asked in letters for term in terms) else _BY_SOUND


def _has(text: str, terms: Sequence[_Term]) -> int:
    """2 for a text that has all terms as they were typed, 1 for one that has them in Latin letters, else 0."""
    folded, letters = fold(text), f" {plain(text)} "
    if all(term.folded in folded for term in terms):
        return 2
    return int(all(term.asked in letters for term in terms))


def _marked(text: str, language: str | None, terms: Sequence[_Term]) -> Marked:
    """The text with what was asked for marked in it; of a long one a stretch, with the first mark in it."""
    text = composed(text)
    latin = spelling(text)
    spans: list[tuple[int, int]] = []
    for term in terms:
        found = latin.spans(term.letters)
        if len(term.letters) < 3:
            found = [span for span in found if not span[0] or not text[span[0] - 1].isalnum()]
        spans += found
    marks: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if marks and start <= marks[-1][1]:
            marks[-1] = (marks[-1][0], max(end, marks[-1][1]))
        else:
            marks.append((start, end))
    if len(text) <= _SHOWN:
        return Marked(text, language, tuple(marks))
    start = max(0, (marks[0][0] if marks else 0) - _SHOWN // 3)
    end = start + _SHOWN
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    inside = [(max(a, start) + shift, min(b, end) + shift) for a, b in marks if a < end and b > start]
    return Marked(f"{before}{text[start:end]}{after}", language, tuple(inside))
