"""Places on their pages: where they are, what lies in them, and what is said to have happened there.

Hides the way from the places of a page to a map of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox

from kg.documents import Document
from kg.terms import EKG, PREFIXES, RDF_TYPE
from kg.web import maps
from kg.web.enquiry import Enquiry
from kg.web.reading import Reading, Section, Value, span_of, time_of

_GEO = PREFIXES["geo"]
_CONTAINED = PREFIXES["schema"] + "containedInPlace"
_PLACE = EKG + "place"

#: Events and places that a page lists.
_LISTED = 100


@dataclass(frozen=True)
class Happening:
    """An event as a line of a list: its name, what kind it is, when, and at which place below the one of the page."""

    name: Value
    kind: str
    when: str
    where: Value | None = None


def points(reading: Reading, iris: Iterable[str], main: str = "") -> list[maps.Point]:
    """The places among these that have a point, for a map; the one the page is about is told apart where there is one."""
    found = []
    for iri in iris:
        document = reading.document(iri)
        position = next(filter(None, map(maps.point, _geometry(document) if document else ())), None)
        if position is not None:
            name = reading.named(iri)
            alone = not any(t.predicate.value == _CONTAINED for t in document.triples) if document else True
            found.append(
                maps.Point(name.text, *position, href=name.href or "", main=not main or iri == main, alone=alone)
            )
    return found


def compose(enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool) -> Mapping[str, Any]:
    """The map of a place, the places in it, and the events there, its own and those of the places in it."""
    base, journal = enquiry.desk.library.base, enquiry.desk.library.journal
    around = [value.iri for value in reading.of_itself(_CONTAINED) if value.iri]
    within: list[str] = []
    happenings: list[Happening] = []
    if not past:
        referrers = _referrers(enquiry, [it.iri])
        within = [iri for iri in referrers if _says(reading.document(iri), _CONTAINED, {it.iri})][:_LISTED]
        here = {it.iri, *within}
        nearby = sorted({other for _, other in journal.referrers(sorted(here))} - here)
        happenings = list(
            _happenings(reading, [iri for iri in nearby if base.kind_of(iri) == "event"][:_LISTED], here, it.iri)
        )
    own = points(reading, [it.iri])
    drawn = points(reading, [it.iri, *within], main=it.iri) if own else points(reading, within)
    return {
        "around": [reading.named(iri) for iri in around],
        "within": [reading.named(iri) for iri in within],
        "happenings": happenings,
        "points": own,
        "map": maps.draw(drawn),
        "ld": _as_json_ld(it, sections[0], own, [reading.named(iri) for iri in around]),
    }


def _as_json_ld(it: Document, section: Section, own: list[maps.Point], around: list[Value]) -> dict[str, Any]:
    """The place in schema.org's terms."""
    described: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "Place",
        "@id": it.iri,
        "name": section.title,
        "alternateName": [value.text for value in section.names],
        "geo": [{"@type": "GeoCoordinates", "latitude": p.latitude, "longitude": p.longitude} for p in own],
        "containedInPlace": [{"@type": "Place", "@id": value.iri, "name": value.text} for value in around],
    }
    return {name: value for name, value in described.items() if value}


def _referrers(enquiry: Enquiry, iris: list[str]) -> list[str]:
    return sorted({other for _, other in enquiry.desk.library.journal.referrers(iris)} - set(iris))


def _happenings(reading: Reading, iris: Iterable[str], here: set[str], main: str) -> Iterator[Happening]:
    found = []
    for iri in iris:
        event = reading.document(iri)
        if event is None or not _says(event, _PLACE, here):
            continue
        there = (t.object for t in event.triples if t.predicate.value == _PLACE)
        at = sorted({place.value for place in there if isinstance(place, ox.NamedNode)} & here)
        bounds = time_of(event)
        where = None if main in at else reading.named(at[0])
        found.append(
            (
                bounds.get("earliest", bounds.get("latest", "~")),
                Happening(reading.named(iri), kind_of(event), span_of(bounds), where),
            )
        )
    yield from (happening for _, happening in sorted(found, key=lambda item: (item[0], item[1].name.text)))


def kind_of(event: Document) -> str:
    """What kind of event it is, in a word; empty where it is just an event."""
    kinds = {
        str(getattr(t.object, "value", "")).removeprefix(EKG)
        for t in event.triples
        if t.predicate.value == RDF_TYPE and t.subject == ox.NamedNode(event.iri)
    }
    return next((kind.lower() for kind in ("Deployment", "Engagement", "Deception", "Signing") if kind in kinds), "")


def _says(document: Document | None, predicate: str, objects: set[str]) -> bool:
    """Whether a document states a property of itself with one of these values."""
    return document is not None and any(
        t.subject == ox.NamedNode(document.iri)
        and t.predicate.value == predicate
        and getattr(t.object, "value", "") in objects
        for t in document.triples
    )


def _geometry(document: Document) -> list[str]:
    return [str(getattr(t.object, "value", "")) for t in document.triples if t.predicate.value == _GEO + "asWKT"]
