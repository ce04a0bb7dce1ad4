"""Positions as pages show them: one act on one proposition, whatever the number of rows that tell of it.

Hides how rows of questions become acts, and how acts are named, dated and joined into groups. Dates are texts, `2025-04-26`,
empty where they are not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import pyoxigraph as ox

from kg.asking import Desk
from kg.library import Library
from kg.names import Label
from kg.tables import Value
from kg.terms import EKG, Base
from kg.web import timeline
from kg.web.reading import span_of
from kg.web.vocabulary import name_of_term

Row = Mapping[str, Value]

#: What a stance is called where somebody takes it, by its name in the vocabulary.
STANCES: Mapping[str, str] = {"Affirms": "affirms", "Denies": "denies", "Entertains": "thinks it possible"}

#: And where somebody took it once.
PASTS: Mapping[str, str] = {"Affirms": "affirmed", "Denies": "denied", "Entertains": "thought it possible"}

#: Documents read to see which propositions follow from which.
_READ = 120

_JOINING = {EKG + "entails", EKG + "contradicts", EKG + "sameClaimAs"}


@dataclass(frozen=True)
class Position:
    """One act on one proposition. `stance` and `voice` are names of the vocabulary, `kind` is in words."""

    act: str
    proposition: str
    stance: str
    kind: str
    earliest: str = ""
    latest: str = ""
    speakers: tuple[str, ...] = ()
    posts: tuple[str, ...] = ()
    behalf: tuple[str, ...] = ()
    voice: str = ""
    relation: str = ""
    article: str = ""
    outlets: tuple[str, ...] = ()
    published: str = ""
    quotations: tuple[str, ...] = ()

    @property
    def when(self) -> str:
        """The days between which it can have been done, in words."""
        return span_of({"earliest": self.earliest, "latest": self.latest}) or "at a time not known"

    @property
    def verb(self) -> str:
        """The stance in a word, as it is taken."""
        return STANCES.get(self.stance, "speaks")

    @property
    def people(self) -> tuple[str, ...]:
        """All whose position it is: who speaks and who is spoken for."""
        return tuple(dict.fromkeys([*self.speakers, *self.behalf]))


def text(row: Row, column: str) -> str:
    """What stands in a column, as text; empty where nothing does."""
    value = row.get(column)
    return "" if value is None else value.value


def term(row: Row, column: str) -> str:
    """The name in the vocabulary of what stands in a column."""
    return text(row, column).removeprefix(EKG)


def gather(rows: Iterable[Row], proposition: str = "proposition") -> list[Position]:
    """The positions that rows tell of, in their order; `proposition` is the column that holds on what."""
    together: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        key = (text(row, "act"), text(row, proposition), text(row, "relation"), text(row, "stance"))
        together.setdefault(key, []).append(row)

    def each(rows: Sequence[Row], column: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(found for row in rows if (found := text(row, column))))

    positions = []
    for (act, said, relation, _), of in together.items():
        first = of[0]
        positions.append(
            Position(
                act=act,
                proposition=said,
                stance=term(first, "stance"),
                kind=name_of_term(text(first, "kind")) if text(first, "kind") else "act",
                earliest=text(first, "earliest"),
                latest=text(first, "latest"),
                speakers=each(of, "speaker"),
                posts=each(of, "post"),
                behalf=each(of, "onBehalfOf"),
                voice=term(first, "voice"),
                relation=relation,
                article=text(first, "article"),
                outlets=each(of, "outlet"),
                published=text(first, "published"),
                quotations=each(of, "quotation"),
            )
        )
    return positions


class Naming:
    """What a page calls things, and where their pages are."""

    def __init__(self, desk: Desk, languages: Sequence[str]) -> None:
        self._desk = desk
        self._languages = languages
        self._home = urlsplit(desk.library.base.iri).path
        self._known: dict[str, Label] = {}

    def learn(self, iris: Iterable[str]) -> None:
        """Look up the names of all of these at once."""
        wanted = [iri for iri in dict.fromkeys(iris) if iri and iri not in self._known]
        if wanted:
            self._known |= self._desk.names.labels(wanted, self._languages)

    def label(self, iri: str) -> Label:
        self.learn([iri])
        return self._known[iri]

    def href(self, iri: str) -> str:
        """The address of the page of a document, or of the place on it where a part is."""
        document, hash_, part = iri.partition("#")
        base: Base = self._desk.library.base
        return f"{self._home}{quote(document.removeprefix(base.iri))}.html{hash_}{part}"


def learn_all(naming: Naming, positions: Iterable[Position]) -> None:
    """Look up at once all that these positions name."""
    naming.learn(iri for it in positions for iri in (it.proposition, it.article, *it.speakers, *it.behalf) if iri)


def as_event(act: Position, naming: Naming) -> timeline.Event:
    """An act as a mark of a timeline, with what it says in words."""
    who = " and ".join(naming.label(iri).text for iri in act.speakers)
    behalf = " and ".join(naming.label(iri).text for iri in act.behalf)
    by = f"{who}, on behalf of {behalf}," if behalf else who
    words = f"{by} {act.verb}: {naming.label(act.proposition).text} {act.when[:1].upper()}{act.when[1:]}"
    return timeline.Event((act.act, act.proposition), act.stance, act.earliest, act.latest, naming.href(act.act), words)


def groups_of(library: Library, propositions: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The propositions in groups, whose members follow from each other or exclude each other, directly or by way of others
    that are not among them; `pairs` are joined whatever documents say. Groups and members keep the order given."""
    leader = {iri: iri for iri in propositions}

    def lead(iri: str) -> str:
        while leader[iri] != iri:
            iri = leader[iri]
        return iri

    def join(one: str, other: str) -> None:
        if one in leader and other in leader:
            first, second = sorted((lead(one), lead(other)), key=list(propositions).index)
            leader[second] = first

    for one, other in pairs:
        join(one, other)
    joined: dict[str, list[str]] = {}

    def neighbours(iri: str) -> list[str]:
        if iri not in joined:
            found = library.read(iri) if len(joined) < _READ else None
            subject = ox.NamedNode(iri)
            joined[iri] = [
                t.object.value
                for t in (found[0].triples if found else ())
                if t.subject == subject and t.predicate.value in _JOINING and isinstance(t.object, ox.NamedNode)
            ]
        return joined[iri]

    for start in propositions:
        seen, ahead = {start}, [start]
        while ahead:
            for other in neighbours(ahead.pop(0)):
                if other not in seen:
                    seen.add(other)
                    ahead.append(other)
                    join(start, other)
    groups: dict[str, list[str]] = {}
    for iri in propositions:
        groups.setdefault(lead(iri), []).append(iri)
    return list(groups.values())
