"""The page of an actor: its posts, its positions over time, of whom it speaks, and apart from that what others say of it.

Hides which questions are asked and how their rows become lists and lanes. Everything is bounded: where there is more, the
page says so and leads to the question that has all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import pyoxigraph as ox

from kg.asking import Desk
from kg.documents import Document
from kg.terms import EKG, RDF_TYPE, RDFS_LABEL, SCHEMA, SKOS, language_rank
from kg.web import timeline
from kg.web.articles import in_sentence
from kg.web.enquiry import Enquiry, Finding
from kg.web.positions import PASTS, STANCES, Naming, Position, Row, as_event, gather, groups_of, learn_all, term, text
from kg.web.reading import Reading, Section, Value, day, labels_of_document, span_of
from kg.web.vocabulary import name_of_term

#: Rows that the page asks for, and what it shows of them.
_POSITIONS, _TABLE, _LANES, _REVERSALS, _LISTED = 500, 40, 12, 12, 20

#: How an act can concern an actor, the weightiest first, and what the page calls acts that do.
MANNERS: Mapping[str, str] = {
    "accusation": "Accusations",
    "evaluation": "Praise",
    "intent": "Intents ascribed",
    "about": "About this actor",
    "deed": "About what this actor takes part in",
}

VOICES: Mapping[str, str] = {
    "ArticleVoice": "in its own voice",
    "Attributed": "attributed to others",
    "Presupposed": "taken for granted",
}

#: What schema.org calls the classes. A state is here the one that acts, never the territory: no `Country`, which is a place.
_SCHEMA_TYPES = {
    "Person": "Person",
    "State": "GovernmentOrganization",
    "ArmedForce": "Organization",
    "Organization": "Organization",
    "UnnamedGroup": "Thing",
}


@dataclass(frozen=True)
class Post:
    """A post: what it is called, who holds it or where, and when; `anchor` is its part of the person's document."""

    anchor: str
    name: str
    language: str | None
    who: str
    at: str
    when: str


@dataclass(frozen=True)
class Saying:
    """An act that concerns somebody: `of` is that other, a source or whoever says it."""

    of: tuple[str, ...]
    behalf: tuple[str, ...]
    act: str
    kind: str
    stance: str
    propositions: tuple[str, ...]
    when: str
    article: str
    outlet: str
    quotations: tuple[str, ...]


@dataclass(frozen=True)
class Reversal:
    """Two acts by which a position was reversed, and the days between them."""

    days: int
    first: Position
    second: Position


@dataclass(frozen=True)
class Actor:
    """What its page shows of an actor besides what its own document says."""

    posts: Finding | None
    held: tuple[Post, ...]
    holders_found: Finding | None
    holders: tuple[Post, ...]
    positions: Finding
    acts: tuple[Position, ...]
    count: int
    reversals_found: Finding
    reversals: tuple[Reversal, ...]
    drawing: timeline.Drawing | None
    lanes_hidden: int
    praise: Finding
    praised: tuple[Saying, ...]
    accusation: Finding
    accused: tuple[Saying, ...]
    credit: Finding
    credited: tuple[Saying, ...]
    about: Finding
    said: Mapping[str, tuple[Saying, ...]]
    outlet: Outlet | None

    def anchors(self) -> set[str]:
        """The parts of the document that are posts."""
        return {post.anchor for post in self.held}


@dataclass(frozen=True)
class Outlet:
    """What an actor publishes: articles, and how many acts stand in which voice and how many hops from their origin."""

    articles: Finding
    voices: Finding
    depths: Finding

    def shares(self) -> list[tuple[str, int, float]]:
        """Each voice in words, its acts, and their share in hundredths."""
        of = {term(row, "voice"): row for row in self.voices.rows}
        return [
            (words, int(text(of[name], "acts")), round(100 * float(text(of[name], "share")), 1))
            for name, words in VOICES.items()
            if name in of
        ]

    def hops(self) -> list[tuple[int, int, int]]:
        """Each depth with its attributions and articles."""
        rows = {int(text(row, "depth")): row for row in self.depths.rows}
        return [
            (depth, int(text(row, "attributions")), int(text(row, "articles"))) for depth, row in sorted(rows.items())
        ]


def compose(enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool) -> Mapping[str, Any]:
    """What the graph says around an actor; nothing of that for a former state."""
    naming = Naming(enquiry.desk, enquiry.languages)
    classes = _classes(it)
    facts = [(name, tuple(map(_elsewhere, values))) for name, values in sections[0].statements]
    if past:
        described = _described(it, classes, (), naming, enquiry.languages, None)
        return {"actor": None, "kind_in_words": _kind(sections[0]), "described": described, "facts": facts}
    actor = _read(enquiry, it, classes, naming)
    described = _described(it, classes, actor.held, naming, enquiry.languages, actor.outlet)
    return {
        "actor": actor,
        "facts": facts,
        "kind_in_words": _kind(sections[0]),
        "described": described,
        "naming": naming,
        "manners": MANNERS,
        "most": {"sayings": _LISTED, "reversals": _REVERSALS},
        "stances": STANCES,
        "pasts": PASTS,
        "in_sentence": in_sentence,
        "in_words": day,
        # Posts are told with their holders and dates; the document's own account of them is not said twice.
        "parts": [section for section in sections[1:] if not (actor.held and section.anchor in actor.anchors())],
    }


def _read(enquiry: Enquiry, it: Document, classes: set[str], naming: Naming) -> Actor:
    slug = it.iri.removeprefix(enquiry.desk.library.base.iri)
    person = "Person" in classes
    posts = enquiry.ask("posts", 60, person=slug) if person else None
    holders = None if person or "UnnamedGroup" in classes else enquiry.ask("posts", 60, at=slug)
    positions = enquiry.ask("positions-of", _POSITIONS, actor=slug)
    turned = enquiry.ask("reversals", 60, actor=slug)
    praise = enquiry.ask("said-of", 60, actor=slug, manner="evaluation")
    accusation = enquiry.ask("said-of", 60, actor=slug, manner="accusation")
    credit = enquiry.ask("passes-on", 60, actor=slug)
    about = enquiry.ask("said-about", 200, actor=slug)
    outlet = None
    if "Organization" in classes and "ArmedForce" not in classes:
        articles = enquiry.ask("articles-of-outlet", 12, outlet=slug)
        if articles.rows or articles.problem:
            voices = enquiry.ask("voices-of-outlets", 60, outlet=slug)
            outlet = Outlet(articles, voices, enquiry.ask("attribution-depth", 100, outlet=slug))

    acts = gather(positions.rows)
    reversals = _reversals(turned.rows, acts)
    learn_all(naming, [*acts, *(at for turn in reversals for at in (turn.first, turn.second))])
    naming.learn(
        text(row, column)
        for found in (posts, holders, praise, accusation, credit, about, outlet.articles if outlet else None)
        if found is not None
        for row in found.rows
        for column in ("person", "at", "other", "source", "speaker", "onBehalfOf", "proposition", "article")
    )
    drawing, hidden = _timeline(enquiry.desk, acts, reversals, naming)
    held = _posts(posts.rows if posts else (), enquiry.languages)
    return Actor(
        posts=posts,
        held=held,
        holders_found=holders,
        holders=_posts(holders.rows if holders else (), enquiry.languages),
        positions=positions,
        acts=tuple(acts[:_TABLE]),
        count=len(acts),
        reversals_found=turned,
        reversals=tuple(reversals),
        drawing=drawing,
        lanes_hidden=hidden,
        praise=praise,
        praised=tuple(_sayings(praise.rows, "other")),
        accusation=accusation,
        accused=tuple(_sayings(accusation.rows, "other")),
        credit=credit,
        credited=tuple(_sayings(credit.rows, "source")),
        about=about,
        said=_by_manner(about.rows),
        outlet=outlet,
    )


def _classes(it: Document) -> set[str]:
    subject = ox.NamedNode(it.iri)
    return {
        t.object.value.removeprefix(EKG)
        for t in it.triples
        if t.subject == subject and t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode)
    }


def _elsewhere(value: Value) -> Value:
    """An address elsewhere by what it names and where, `Q159 at wikidata.org`."""
    if value.href is None or value.text != value.href:
        return value
    parts = urlsplit(value.href)
    name = unquote(parts.fragment or parts.path.rstrip("/").rpartition("/")[2])
    host = (parts.hostname or "").removeprefix("www.")
    return replace(value, text=f"{name} at {host}" if name else host)


def _kind(section: Section) -> str:
    return section.types[0] if section.types else "actor"


def _posts(rows: Sequence[Row], languages: Sequence[str]) -> tuple[Post, ...]:
    """Each post once, under its name in the reader's language, in the order in which they began."""
    by_tenure: dict[str, list[Row]] = {}
    for row in rows:
        by_tenure.setdefault(text(row, "tenure"), []).append(row)
    posts = []
    for tenure, of in by_tenure.items():
        row = min(of, key=lambda row: (language_rank(_language(row), languages), text(row, "post")))
        posts.append(
            Post(
                tenure.partition("#")[2],
                text(row, "post"),
                _language(row),
                text(row, "person"),
                text(row, "at"),
                span_of({"earliest": text(row, "from"), "latest": text(row, "until")}) or "",
            )
        )
    return tuple(posts)


def _language(row: Row) -> str | None:
    value = row.get("post")
    return value.language if isinstance(value, ox.Literal) else None


def _reversals(rows: Sequence[Row], acts: Sequence[Position]) -> list[Reversal]:
    """Each turn once, the latest first; with their dates where the acts are among those of the page."""
    known = {(act.act, act.proposition): act for act in acts}
    found: dict[tuple[str, ...], Reversal] = {}
    for row in rows:
        sides = []
        for side in ("from", "to"):
            act, proposition = text(row, side + "Act"), text(row, side + "Proposition")
            bare = Position(act, proposition, term(row, side + "Stance"), "act", article=text(row, side + "Article"),
                            quotations=(text(row, side + "Quotation"),))  # fmt: skip
            sides.append(known.get((act, proposition), bare))
        key = (sides[0].act, sides[0].proposition, sides[1].act, sides[1].proposition)
        found.setdefault(key, Reversal(int(text(row, "days")), *sides))
    return sorted(found.values(), key=lambda turn: (turn.second.latest, turn.second.act), reverse=True)


def _sayings(rows: Iterable[Row], of: str) -> list[Saying]:
    """The acts that rows tell of, in their order, each once for each whom it concerns."""
    together: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        # Who speaks differs among the rows of one act, and is listed; whom it concerns makes another entry.
        together.setdefault((text(row, "act"), "" if of == "speaker" else text(row, of)), []).append(row)

    def each(rows: Sequence[Row], column: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(found for row in rows if (found := text(row, column))))

    return [
        Saying(
            of=each(group, of),
            behalf=each(group, "onBehalfOf"),
            act=act,
            kind=name_of_term(text(group[0], "kind")) if text(group[0], "kind") else "act",
            stance=term(group[0], "stance"),
            propositions=each(group, "proposition"),
            when=span_of({"earliest": text(group[0], "latest"), "latest": text(group[0], "latest")}),
            article=text(group[0], "article"),
            outlet=", ".join(each(group, "outlet")),
            quotations=each(group, "quotation"),
        )
        for (act, _), group in together.items()
    ]


def _by_manner(rows: Sequence[Row]) -> dict[str, tuple[Saying, ...]]:
    """What others say, each act under the weightiest way in which it concerns the actor."""
    of_act: dict[str, str] = {}
    for manner in reversed(tuple(MANNERS)):
        of_act |= {text(row, "act"): manner for row in rows if text(row, "manner") == manner}
    grouped = {}
    for manner in MANNERS:
        # All rows of the act, as it may say several things; the same proposition in several manners adds nothing.
        of = [row for row in rows if of_act[text(row, "act")] == manner]
        if of:
            grouped[manner] = tuple(_sayings(of, "speaker"))
    return grouped


def _timeline(
    desk: Desk, acts: Sequence[Position], reversals: Sequence[Reversal], naming: Naming
) -> tuple[timeline.Drawing | None, int]:
    """The drawing of the positions, and how many propositions it has no room for."""
    of: dict[str, list[Position]] = {}
    for act in acts:
        of.setdefault(act.proposition, []).append(act)
    if not any(act.earliest or act.latest for act in acts):
        return None, 0
    turning = {at.proposition for turn in reversals for at in (turn.first, turn.second)}

    def weight(proposition: str) -> tuple[bool, bool, int]:
        denied = any(act.stance == "Denies" for act in of[proposition])
        return (proposition not in turning, not denied, -len(of[proposition]))

    # What is drawn is chosen first: whatever has turned, then whatever is denied, then what is spoken of most.
    shown = sorted(of, key=weight)[:_LANES]
    pairs = [(turn.first.proposition, turn.second.proposition) for turn in reversals]
    groups = groups_of(desk.library, shown, pairs)
    lanes = [
        [
            timeline.Lane(
                name=naming.label(proposition).text,
                language=naming.label(proposition).language,
                href=naming.href(proposition),
                events=[as_event(act, naming) for act in of[proposition]],
                many="#positions-table",
            )
            for proposition in group
        ]
        for group in groups
    ]
    turns = [
        timeline.Turn(
            (turn.first.act, turn.first.proposition),
            (turn.second.act, turn.second.proposition),
            f"reversed after {turn.days} {'day' if turn.days == 1 else 'days'}",
        )
        for turn in reversals[:_REVERSALS]
    ]
    return timeline.draw(lanes, turns), len(of) - len(shown)


def _described(
    it: Document,
    classes: set[str],
    posts: Sequence[Post],
    naming: Naming,
    languages: Sequence[str],
    outlet: Outlet | None,
) -> dict[str, Any]:
    """The actor in schema.org's terms; what is not known is left out."""
    kind = next((name for known, name in _SCHEMA_TYPES.items() if known in classes), "Thing")
    if outlet is not None and kind == "Organization":
        kind = "NewsMediaOrganization"
    subject = ox.NamedNode(it.iri)
    values: dict[str, list[str]] = {}
    for t in it.triples:
        if t.subject == subject and isinstance(t.object, ox.NamedNode | ox.Literal):
            values.setdefault(t.predicate.value, []).append(t.object.value)
    name = next((label.value for label in labels_of_document(it, languages)), it.iri)
    others = [*values.get(RDFS_LABEL, ()), *values.get(SKOS + "altLabel", ())]
    described: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": kind,
        "@id": it.iri,
        "name": name,
        "alternateName": [other for other in dict.fromkeys(others) if other != name],
        "sameAs": values.get(SCHEMA + "sameAs", []),
        "jobTitle": [post.name for post in posts],
        "affiliation": [
            {"@type": "Organization", "@id": iri, "name": naming.label(iri).text}
            for iri in dict.fromkeys(post.at for post in posts)
        ],
    }
    return {key: value for key, value in described.items() if value}
