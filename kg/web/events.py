"""Events and agreements on their pages: what is claimed of them, by whom, and whether it is contested.

An event's page never says that it took place: it says who affirms that and who denies it, as of a day. Hides how acts are gathered
under the propositions they are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox

from kg.documents import Document
from kg.tables import Value as Cell
from kg.terms import EKG, PREFIXES
from kg.web import maps
from kg.web.enquiry import Enquiry, Finding
from kg.web.places import points
from kg.web.positions import term, text
from kg.web.reading import Reading, Section, Value, day, span_of, time_of

_SUB = PREFIXES["sem"] + "hasSubEvent"
_PLACE = EKG + "place"
_AGREEMENT = EKG + "agreement"

#: Acts that a page lists under one proposition.
_ACTS = 12


@dataclass(frozen=True)
class Stance:
    """An act under a proposition: who takes which stance, since when, in which words, in which article."""

    stance: str
    standing: bool
    actors: tuple[Value, ...]
    kind: str
    when: str
    words: str
    language: str | None
    act: str
    article: Value
    outlet: str


@dataclass(frozen=True)
class Invocation:
    """An act that invokes an agreement: for what, in which words, and the acts that dispute it."""

    speaker: Value | None
    stance: str
    proposition: Value
    words: str
    language: str | None
    act: str
    article: Value
    published: str
    disputes: tuple[Value, ...]


@dataclass(frozen=True)
class Claim:
    """A proposition about an event: how it stands, and the acts that bear on it."""

    proposition: Value
    modality: str
    status: str
    stances: tuple[Stance, ...]
    left_out: int


def compose(enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool) -> Mapping[str, Any]:
    """What is known of an event by the day asked for, its parts and what it is part of, and a map of its places."""
    where = [value.iri for value in reading.of_itself(_PLACE) if value.iri]
    finding = None if past else enquiry.ask("state-of-knowledge", 300, event=it.iri)
    located = points(reading, where)
    return {
        "knowledge": finding,
        "claims": _claims(reading, finding) if finding else [],
        "part_of": [] if past else _pointing(enquiry, reading, it.iri, "event", _SUB),
        "points": located,
        "map": maps.draw(located),
        "ld": _as_json_ld(it, sections[0], [reading.named(iri) for iri in where]),
    }


def compose_agreement(
    enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool
) -> Mapping[str, Any]:
    """When an agreement was signed, who invoked it for what, and who disputes that."""
    signings = [] if past else _pointing(enquiry, reading, it.iri, "event", _AGREEMENT)
    parties = reading.of_itself(EKG + "party")
    finding = None if past else enquiry.ask("agreements-invoked", agreement=it.iri)
    return {
        "parties": parties,
        "signings": [
            (name, span_of(time_of(found))) for name in signings if (found := reading.document(name.iri or ""))
        ],
        "invoked": finding,
        "invocations": _invocations(reading, finding) if finding else [],
        "ld": {
            "@context": "https://schema.org",
            "@type": "CreativeWork",
            "@id": it.iri,
            "name": sections[0].title,
            "contributor": [{"@type": "Organization", "@id": party.iri, "name": party.text} for party in parties],
        },
    }


def _pointing(enquiry: Enquiry, reading: Reading, iri: str, kind: str, predicate: str) -> list[Value]:
    """The documents of a kind that have this one as the value of a property."""
    library = enquiry.desk.library
    others = sorted({other for _, other in library.journal.referrers([iri])} - {iri})
    return [
        reading.named(other)
        for other in others
        if library.base.kind_of(other) == kind
        and (found := reading.document(other))
        and any(t.predicate.value == predicate and t.object == ox.NamedNode(iri) for t in found.triples)
    ]


def _claims(reading: Reading, finding: Finding) -> list[Claim]:
    """The rows of the question under their propositions; an act that several stand behind is one."""
    claims: dict[str, tuple[dict[str, Cell], dict[tuple[str, str], tuple[dict[str, Cell], list[Value]]]]] = {}
    for row in finding.rows:
        _, acts = claims.setdefault(text(row, "proposition"), (row, {}))
        _, actors = acts.setdefault((text(row, "act"), text(row, "stance")), (row, []))
        actor = reading.named(text(row, "actor"))
        if actor not in actors:
            actors.append(actor)
    found = []
    for iri, (first, acts) in claims.items():
        stances = [_stance(reading, row, actors) for row, actors in acts.values()]
        found.append(
            Claim(
                reading.named(iri),
                term(first, "modality"),
                text(first, "status"),
                tuple(stances[:_ACTS]),
                max(0, len(stances) - _ACTS),
            )
        )
    return found


def _invocations(reading: Reading, finding: Finding) -> list[Invocation]:
    """The rows of the question by act and proposition, with all that disputes them."""
    gathered: dict[tuple[str, str], list[dict[str, Cell]]] = {}
    for row in finding.rows:
        gathered.setdefault((text(row, "act"), text(row, "proposition")), []).append(row)
    found = []
    for rows in gathered.values():
        first = rows[0]
        words = first["quotation"]
        disputes = dict.fromkeys(text(row, "dispute") for row in rows if row["dispute"] is not None)
        found.append(
            Invocation(
                reading.named(text(first, "speaker")) if first["speaker"] is not None else None,
                term(first, "stance"),
                reading.named(text(first, "proposition")),
                text(first, "quotation"),
                words.language if isinstance(words, ox.Literal) else None,
                reading.address_of(text(first, "act")),
                reading.named(text(first, "article")),
                day(text(first, "published")),
                tuple(reading.named(iri) for iri in disputes),
            )
        )
    return found


def _stance(reading: Reading, row: Mapping[str, Cell], actors: Iterable[Value]) -> Stance:
    words = row["quotation"]
    return Stance(
        stance=term(row, "stance"),
        standing=text(row, "standing") in ("true", "1"),
        actors=tuple(actors),
        kind=term(row, "kind").lower(),
        when=day(text(row, "latest")),
        words=text(row, "quotation"),
        language=words.language if isinstance(words, ox.Literal) else None,
        act=reading.address_of(text(row, "act")),
        article=reading.named(text(row, "article")),
        outlet=text(row, "outlet"),
    )


def _as_json_ld(it: Document, section: Section, where: list[Value]) -> dict[str, Any]:
    """The event in schema.org's terms; that it is described does not mean that it took place."""
    times = time_of(it)
    described: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Event",
        "@id": it.iri,
        "name": section.title,
        "description": "An event that is spoken of. Whether it took place is what those who speak of it say.",
        "startDate": times.get("earliest"),
        "endDate": times.get("latest"),
        "location": [{"@type": "Place", "@id": value.iri, "name": value.text} for value in where],
    }
    return {name: value for name, value in described.items() if value}
