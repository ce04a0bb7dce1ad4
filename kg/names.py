"""What things are called: from a name in any language to the document that bears it, and from a document to its name in a language.

Promises that a look-up costs the same however many documents there are, once the register has caught up, and knows every document
that the journal has.

A name is an address, a kind and a slug (`actor/russia`), a slug, a label in any language, or the beginning of labels of one
document only; whichever of these fits first. But in addresses, whether letters are small or capital makes no difference.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kg.errors import AmbiguousName, UnknownName
from kg.register import OTHER, QUOTATION, Register, fold, numbers
from kg.terms import KINDS, SLUG, SLUG_LIMIT, language_rank

#: Values in one statement of SQL, which has a limit of its own.
_TOGETHER = 500

#: Matches that an error lists.
_LISTED = 10


@dataclass(frozen=True)
class Match:
    """A document and one of its labels."""

    iri: str
    label: str


@dataclass(frozen=True)
class Coverage:
    """What the articles are from: how many outlets are known, and the first and last day of publication (empty where none is)."""

    outlets: int
    first: str
    last: str


@dataclass(frozen=True)
class Label:
    """What something is called, and in which language; none where it has no label and is called by the end of its address."""

    text: str
    language: str | None = None


class Names:
    """The names of the documents in one register. Threads may share one."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._journal = register.journal
        self._base = register.journal.base

    def resolve(self, text: str, kinds: Sequence[str]) -> str:
        """The IRI of the document of one of these kinds that a text names.

        Raises `UnknownName`, with near names, or `AmbiguousName`, with all that have it.
        """
        asked = " ".join(text.split())
        if (iri := self._by_address(asked, kinds)) is not None:
            return iri
        slug = asked.lower()
        if SLUG.fullmatch(slug):
            by_slug = [iri for kind in kinds if self._is_there(iri := self._base.document(kind, slug))]
            if by_slug:
                return self._only([Match(iri, self.label(iri) or asked) for iri in by_slug], text, kinds)
        folded = fold(asked)
        if folded:
            with self._register.reading() as connection:
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
        with self._register.reading() as connection:
            row = connection.execute(
                "SELECT label FROM name WHERE document = ? ORDER BY rank, label LIMIT 1", (iri,)
            ).fetchone()
        return None if row is None else str(row[0])

    def labels(self, iris: Iterable[str], languages: Sequence[str] = ("en",)) -> dict[str, Label]:
        """What each of these documents is called in the first of these languages that it has a label in, else in English, else
        in any. What has no label, and what is no document, is called by the end of its address."""
        wanted = list(dict.fromkeys(iris))
        found: dict[str, list[tuple[bool, int, int, str, str]]] = {}
        with self._register.reading() as connection:
            for start in range(0, len(wanted), _TOGETHER):
                some = wanted[start : start + _TOGETHER]
                rows = connection.execute(
                    f"SELECT document, rank, language, label FROM name WHERE document IN ({', '.join('?' * len(some))})",
                    some,
                )
                for document, rank, language, label in rows:
                    place = language_rank(language, languages)
                    found.setdefault(document, []).append((rank >= OTHER, place, rank, language, label))
        labels = {}
        for iri in wanted:
            if iri in found:
                *_, language, label = min(found[iri])
                labels[iri] = Label(label, language or None)
            else:
                labels[iri] = Label(re.split(r"[/#]", iri.rstrip("/#"))[-1])
        return labels

    def facts(self, iris: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What the register keeps of each of these documents beside its names, where it is there: its classes, an article's day and
        outlets, a person's posts."""
        wanted = list(dict.fromkeys(iris))
        found = {}
        with self._register.reading() as connection:
            for start in range(0, len(wanted), _TOGETHER):
                some = wanted[start : start + _TOGETHER]
                rows = connection.execute(
                    f"SELECT document, facts FROM entry WHERE document IN ({', '.join('?' * len(some))}) AND id < ?",
                    (*some, numbers(QUOTATION)[0]),
                )
                found.update({document: json.loads(facts) for document, facts in rows})
        return found

    def coverage(self) -> Coverage:
        """What the articles are from, those that are retracted included."""
        with self._register.reading() as connection:
            days = connection.execute(
                "SELECT min(day), max(day) FROM"
                " (SELECT substr(json_extract(facts, '$.published'), 1, 10) AS day FROM entry WHERE id BETWEEN ? AND ?)",
                numbers("article"),
            ).fetchone()
            outlets = connection.execute(
                "SELECT count(DISTINCT value) FROM entry, json_each(facts, '$.outlets') WHERE entry.id BETWEEN ? AND ?",
                numbers("article"),
            ).fetchone()
        return Coverage(int(outlets[0]), days[0] or "", days[1] or "")

    def _by_address(self, text: str, kinds: Sequence[str]) -> str | None:
        # As it stands in an address bar, a prefixed name, or a query in SPARQL.
        short = re.fullmatch(r"/?([a-z]+)[:/]([a-z0-9-]+)(?:\.[a-z]+)?", text.lower())
        if short and short[1] in KINDS and SLUG.fullmatch(short[2]):
            iri = self._base.document(short[1], short[2])
        elif (bare := text.removeprefix("<").removesuffix(">")).startswith(("http://", "https://")):
            iri = re.sub(r"\.[a-z]+$", "", bare)
        else:
            return None
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
