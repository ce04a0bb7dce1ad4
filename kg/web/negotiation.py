"""Content negotiation as pure functions: what was asked for, what there is, what to send (RFC 9110, section 12)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from kg.errors import NotAcceptable

HTML = "text/html"

#: Media types of query results by the engine's name of the format; the first of each is the registered one.
SOLUTION_TYPES: dict[str, str] = {
    "application/sparql-results+json": "json",
    "application/sparql-results+xml": "xml",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/json": "json",
    "application/xml": "xml",
}

#: Media types of RDF by the suffix of a file in it. JSON-LD is made from N-Triples outside the engine.
RDF_TYPES: dict[str, str] = {
    "text/turtle": "ttl",
    "application/ld+json": "jsonld",
    "application/n-triples": "nt",
    "application/rdf+xml": "rdf",
    "application/trig": "trig",
    "application/n-quads": "nq",
}


def best(accept: str | None, available: Iterable[str]) -> str | None:
    """The available media type that the header prefers; between equals the first. None where none will do.

    An absent or empty header takes anything. The most specific range that matches a type decides its quality.
    """
    return _best(accept, tuple(available))


@functools.lru_cache(maxsize=1024)
def _best(accept: str | None, available: tuple[str, ...]) -> str | None:
    if not available:
        return None
    if accept is None or not accept.strip():
        return available[0]
    wanted = parse_accept_header(accept, MIMEAccept)
    quality, _, chosen = max((wanted.quality(kind), -place, kind) for place, kind in enumerate(available))
    return chosen if quality > 0 else None


def choose(accept: str | None, available: Sequence[str]) -> str:
    """As `best`, but raises `NotAcceptable`, which lists what there is."""
    chosen = best(accept, available)
    if chosen is None:
        raise NotAcceptable(
            f"none of the media types in Accept ({accept}) can be had; there are {', '.join(available)}",
            available=list(available),
        )
    return chosen


def short_cut(name: str, available: Mapping[str, str]) -> str:
    """The media type that `format=` names: a media type itself or its short name (`json`, `ttl`). Raises `NotAcceptable`."""
    for media_type, short in available.items():
        if name in (media_type, short):
            return media_type
    names = sorted(set(available.values()))
    raise NotAcceptable(f"there is no format {name!r}; there are {', '.join(names)}", available=names)
