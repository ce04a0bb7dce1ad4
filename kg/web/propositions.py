"""The page of a proposition: how it stands on a day, who affirms and who denies it, and what it is joined to.

A proposition is neither true nor false here; the page says who takes which side, on whose word, and since when. Hides which
questions are asked and how their rows become sides, lanes and steps in time. Everything is bounded, and where there is more
the page says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kg.documents import Document
from kg.terms import EKG
from kg.web import timeline
from kg.web.articles import in_sentence
from kg.web.enquiry import Enquiry, Finding
from kg.web.positions import PASTS, STANCES, Naming, Position, Row, as_event, gather, learn_all, term, text
from kg.web.reading import Reading, Section, day
from kg.web.vocabulary import name_of_term

#: Rows that the page asks for, and what it shows of them.
_POSITIONS, _TABLE, _LANES, _ORIGINS, _ARTICLES, _STEPS, _TURNED = 500, 60, 12, 12, 20, 24, 6
_ROWS_OF_A_SIDE = 60

#: How other propositions are joined to one, in the order of the page.
RELATIONS: Mapping[str, str] = {
    "same claim": "The same claim",
    "entails": "Follows from it",
    "entailed by": "It follows from",
    "contradicts": "Cannot be so together with it",
}

_JOINING = {name_of_term(EKG + name) for name in ("entails", "contradicts", "sameClaimAs")}


@dataclass(frozen=True)
class Origin:
    """An act at which chains of attribution end, and in how many articles it is told."""

    act: str
    speakers: tuple[str, ...]
    articles: int
    article: str
    outlet: str
    published: str
    quotations: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """Those who affirm, or who deny: how many independent origins in how many articles, and the first of them."""

    stance: str
    origins: int
    articles: int
    shown: tuple[Origin, ...]


@dataclass(frozen=True)
class Turned:
    """An actor whose earlier stance no longer stands."""

    actor: str
    before: Position


@dataclass(frozen=True)
class Carrier:
    """An article that carries the proposition, with the acts by which it does."""

    article: str
    outlet: str
    published: str
    acts: tuple[tuple[str, str, bool, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Step:
    """A day on which something was published that takes a stance, and how many acts."""

    day: str
    acts: int


@dataclass(frozen=True)
class Joined:
    """Another proposition: whether a document joins them itself, and the origins of either side."""

    proposition: str
    direct: bool
    affirming: int
    denying: int


@dataclass(frozen=True)
class Stands:
    """What its page shows of a proposition besides what its own document says."""

    standing: Finding
    status: str
    since: str
    turned: tuple[Turned, ...]
    origins: tuple[Finding, ...]
    sides: Mapping[str, Side]
    positions: Finding
    acts: tuple[Position, ...]
    count: int
    firsts: Mapping[str, Position]
    drawing: timeline.Drawing | None
    lanes_hidden: int
    steps: tuple[Step, ...]
    days: int
    undated: int
    carrying: Finding
    carriers: tuple[Carrier, ...]
    joined: Finding
    relations: Mapping[str, tuple[Joined, ...]]


def compose(enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool) -> Mapping[str, Any]:
    """What the graph says around a proposition, as of the day asked for; nothing of that for a former state."""
    naming = Naming(enquiry.desk, enquiry.languages)
    stands = None if past else _read(enquiry, it, naming)
    return {
        "stands": stands,
        "described": _described(it, reading, sections[0], stands, naming),
        "naming": naming,
        "relation_names": RELATIONS,
        "pasts": PASTS,
        "stances": STANCES,
        "in_sentence": in_sentence,
        "in_words": day,
        "facts": [
            (name, values)
            for name, values in sections[0].statements
            if past or (stands and stands.joined.problem) or name not in _JOINING
        ],
    }


def _read(enquiry: Enquiry, it: Document, naming: Naming) -> Stands:
    slug = it.iri.removeprefix(enquiry.desk.library.base.iri)
    joined = enquiry.ask("joined-propositions", 100, proposition=slug)
    standing = enquiry.ask("how-it-stands", _POSITIONS, proposition=slug)
    # Of all times, for the days at which something changed; those by a day are among them, if they are all here.
    every = positions = enquiry.ask("positions", _POSITIONS, proposition=slug, asof="")
    ever = gather(every.rows, "said")
    acts = ever
    if enquiry.asof is not None:
        if every.complete:
            acts = [act for act in ever if act.published and act.published <= enquiry.asof]
        else:
            positions = enquiry.ask("positions", _POSITIONS, proposition=slug)
            acts = gather(positions.rows, "said")
    # Each side by itself, lest a side of many leave no room for the other.
    origins = tuple(
        enquiry.ask("independent-origins", _ROWS_OF_A_SIDE, proposition=slug, side=side)
        for side in ("affirms", "denies")
    )
    carrying = enquiry.ask("articles-with-proposition", 300, proposition=slug)

    turned = _turned(standing.rows)
    learn_all(naming, acts)
    naming.learn(
        text(row, column)
        for found in (standing, *origins, carrying, joined)
        for row in found.rows
        for column in ("actor", "speaker", "article", "proposition")
    )
    steps = _steps(ever)
    drawing, hidden = _timeline(acts, naming)
    return Stands(
        standing=standing,
        status=text(standing.rows[0], "status") if standing.rows else "",
        since=text(standing.rows[0], "since") if standing.rows else "",
        turned=tuple(turned[:_TURNED]),
        origins=origins,
        sides=_sides([row for found in origins for row in found.rows]),
        positions=positions,
        acts=tuple(acts[:_TABLE]),
        count=len(acts),
        firsts=_firsts(acts),
        drawing=drawing,
        lanes_hidden=hidden,
        steps=tuple(_spread(steps)),
        days=len(steps),
        undated=len({act.act for act in ever if not act.published}),
        carrying=carrying,
        carriers=tuple(_carriers(carrying.rows)[:_ARTICLES]),
        joined=joined,
        relations=_relations(joined.rows),
    )


def _turned(rows: Sequence[Row]) -> list[Turned]:
    """Who took a stance that no longer stands, with the last such act."""
    last: dict[str, Row] = {}
    for row in rows:
        if text(row, "standing") == "false":
            last[text(row, "actor")] = row
    return [
        Turned(actor, Position(text(row, "act"), "", term(row, "stance"), "act", latest=text(row, "latest")))
        for actor, row in last.items()
    ]


def _sides(rows: Sequence[Row]) -> dict[str, Side]:
    together: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        together.setdefault(term(row, "stance"), {}).setdefault(text(row, "act"), []).append(row)

    def each(rows: Sequence[Row], column: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(found for row in rows if (found := text(row, column))))

    sides = {}
    for stance, origins in sorted(together.items()):
        first = next(iter(origins.values()))[0]
        shown = [
            Origin(
                act,
                each(of, "speaker"),
                int(text(of[0], "articles")),
                text(of[0], "article"),
                ", ".join(each(of, "outlet")),
                text(of[0], "published"),
                each(of, "quotation"),
            )
            for act, of in origins.items()
        ]
        # Those of which the date is known first: the order of the question is that of the text.
        shown.sort(key=lambda origin: (not origin.published, origin.published, origin.act))
        sides[stance] = Side(
            stance, int(text(first, "origins")), int(text(first, "allArticles")), tuple(shown[:_ORIGINS])
        )
    return sides


def _firsts(acts: Sequence[Position]) -> dict[str, Position]:
    """The first dated act on either side; whoever affirms something else that excludes it is left to the questions."""
    firsts: dict[str, Position] = {}
    for act in sorted(acts, key=lambda act: (act.latest, act.earliest or act.latest, act.act)):
        if act.latest and act.relation != "contradicts it":
            firsts.setdefault(act.stance, act)
    return firsts


def _steps(acts: Iterable[Position]) -> list[Step]:
    days: dict[str, set[str]] = {}
    for act in acts:
        if act.published:
            days.setdefault(act.published, set()).add(act.act)
    return [Step(published, len(of)) for published, of in sorted(days.items())]


def _spread(steps: Sequence[Step]) -> Sequence[Step]:
    """All steps or, where there are too many, as many as there is room for, from the first to the last."""
    if len(steps) <= _STEPS:
        return steps
    return [steps[round(n * (len(steps) - 1) / (_STEPS - 1))] for n in range(_STEPS)]


def _timeline(acts: Sequence[Position], naming: Naming) -> tuple[timeline.Drawing | None, int]:
    """A lane for each actor who takes a position, by speaking or by being spoken for; and how many have no room."""
    of: dict[str, list[Position]] = {}
    for act in acts:
        for actor in act.behalf or act.speakers:
            of.setdefault(actor, []).append(act)
    if not any(act.earliest or act.latest for act in acts):
        return None, 0

    def weight(actor: str) -> tuple[bool, str]:
        stances = {act.stance for act in of[actor]}
        return (len(stances) == 1, min((act.latest for act in of[actor] if act.latest), default="9999"))

    shown = sorted(of, key=weight)[:_LANES]
    lanes = [
        timeline.Lane(
            name=naming.label(actor).text,
            language=naming.label(actor).language,
            href=naming.href(actor),
            events=[as_event(act, naming) for act in of[actor]],
            many="#acts",
        )
        for actor in shown
    ]
    return timeline.draw([lanes]), len(of) - len(shown)


def _carriers(rows: Sequence[Row]) -> list[Carrier]:
    by_article: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_article.setdefault(text(row, "article"), {}).setdefault(text(row, "act"), []).append(row)
    carriers = []
    for article, acts in by_article.items():
        first = next(iter(acts.values()))[0]
        told = tuple(
            (
                act,
                term(of[0], "stance"),
                bool(text(of[0], "passesOn")),
                tuple(dict.fromkeys(text(row, "quotation") for row in of)),
            )
            for act, of in acts.items()
        )
        outlets = {text(row, "outlet"): None for of in acts.values() for row in of if text(row, "outlet")}
        carriers.append(Carrier(article, ", ".join(outlets), text(first, "published"), told))
    return carriers


def _relations(rows: Sequence[Row]) -> dict[str, tuple[Joined, ...]]:
    grouped: dict[str, list[Joined]] = {}
    for row in rows:
        grouped.setdefault(text(row, "relation"), []).append(
            Joined(
                text(row, "proposition"),
                text(row, "direct") == "true",
                int(text(row, "affirming") or 0),
                int(text(row, "denying") or 0),
            )
        )
    return {relation: tuple(grouped[relation]) for relation in RELATIONS if relation in grouped}


def _described(
    it: Document, reading: Reading, section: Section, stands: Stands | None, naming: Naming
) -> dict[str, Any]:
    """The proposition in schema.org's terms: a claim, what it is about, and where it appears."""
    carriers = stands.carriers if stands else ()
    described: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Claim",
        "@id": it.iri,
        "name": section.title,
        "text": section.title,
        "inLanguage": section.language,
        "about": [
            {"@type": "Thing", "@id": value.iri, "name": value.text} for value in reading.of_itself(EKG + "about")
        ],
        "appearance": [
            {
                "@type": "NewsArticle",
                "@id": carrier.article,
                "name": naming.label(carrier.article).text,
                **({"datePublished": carrier.published} if carrier.published else {}),
            }
            for carrier in carriers
        ],
    }
    return {name: value for name, value in described.items() if value}
