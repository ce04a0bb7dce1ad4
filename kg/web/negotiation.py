"""Content negotiation as pure functions: what was asked for, what there is, what to send (RFC 9110, section 12)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence

from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from kg.engine import Answer
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


#: Short names of formats, for `format=`, and what each means for results and for RDF. `n3`, because every Turtle text is one too.
_NAMES: dict[str, tuple[str, ...]] = {
    "json": ("application/sparql-results+json", "application/ld+json"),
    "xml": ("application/sparql-results+xml", "application/rdf+xml"),
    "csv": ("text/csv",),
    "tsv": ("text/tab-separated-values",),
    **{suffix: (media_type,) for media_type, suffix in RDF_TYPES.items()},
    "turtle": ("text/turtle",),
    "n3": ("text/turtle",),
    "json-ld": ("application/ld+json",),
    "ntriples": ("application/n-triples",),
    "n-triples": ("application/n-triples",),
    "rdf+xml": ("application/rdf+xml",),
    "nquads": ("application/n-quads",),
    "n-quads": ("application/n-quads",),
    "html": (HTML,),
}


def best(accept: str | None, available: Iterable[str]) -> str | None:
    """The available media type that the header prefers; between equals the first. None where none will do.

    An absent or empty header takes anything. The most specific range that matches a type decides its quality. Parameters of a
    range (`charset=utf-8`, a JSON-LD `profile`) are wishes about a type, not another type, and exclude nothing.
    """
    return _best(accept, tuple(available))


@functools.lru_cache(maxsize=1024)
def _best(accept: str | None, available: tuple[str, ...]) -> str | None:
    if not available:
        return None
    if accept is None or not accept.strip():
        return available[0]
    qualities: dict[str, float] = {}
    for media_range, quality in parse_accept_header(accept):
        name = media_range.partition(";")[0].strip().lower()
        qualities[name] = max(quality, qualities.get(name, 0.0))

    def quality_of(media_type: str) -> float:
        whole_type = media_type.partition("/")[0] + "/*"
        return next((qualities[name] for name in (media_type, whole_type, "*/*") if name in qualities), 0.0)

    chosen = max(available, key=quality_of)  # the first of those that have the highest
    return chosen if quality_of(chosen) > 0 else None


def choose(accept: str | None, available: Sequence[str]) -> str:
    """As `best`, but raises `NotAcceptable`, which lists what there is."""
    chosen = best(accept, available)
    if chosen is None:
        raise not_acceptable(accept, available)
    return chosen


@functools.lru_cache(maxsize=1024)
def languages(accept_language: str | None) -> tuple[str, ...]:
    """The languages that the header prefers, as tags in lower case, best first; English stands at the end. At most ten."""
    wanted = parse_accept_header(accept_language or "", LanguageAccept)
    found = [tag.lower() for tag, quality in wanted if quality > 0 and tag != "*"]
    return tuple(dict.fromkeys([*found[:9], "en"]))


def not_acceptable(accept: str | None, available: Sequence[str]) -> NotAcceptable:
    """The error for a header that none of these media types satisfies."""
    return NotAcceptable(
        f"none of the media types asked for ({accept}) can be had; there are {', '.join(available)}",
        available=list(available),
    )


def short_cut(values: Sequence[str]) -> str:
    """The `Accept` header that the values of `format=` amount to: each a short name (`json`, `ttl`) or media types.

    Clients send several at once, or a list in one value. A name that means one thing for a table and another for a graph stands
    for both. Raises `NotAcceptable` for a name that is not known.
    """
    ranges: list[str] = []
    for value in values:
        name = value.strip().lower()
        if "/" in name:
            # In a query string a bare + is a space, and every media type with a suffix has one.
            ranges.append(name.replace(" ", "+") if "," not in name else name)
        elif name in _NAMES:
            ranges += _NAMES[name]
        elif name:
            names = sorted(_NAMES)
            raise NotAcceptable(f"there is no format {value!r}; there are {', '.join(names)}", available=names)
    return ", ".join(ranges)


#: Characters that XML 1.0 has no way to write (section 2.2), in UTF-8, and the tag that Oxigraph writes for a property whose IRI does not
#: end in a name (RDF 1.1 XML Syntax, section 2.3): it is not XML either. In text and attributes a `<` is always escaped.
_NOT_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|(</?oxprefix:[\s>/])")


def require_xml(pieces: Iterable[bytes], available: Sequence[str]) -> None:
    """Raise `NotAcceptable`, naming the types that are left, where what was written as XML is none because XML cannot say it.

    The engine writes it all the same, and a reader at the other end would stop in the middle.
    """
    before = b""
    for piece in pieces:
        found = _NOT_XML.search(before + piece)
        if found is not None:
            what = "a property whose IRI does not end in a name" if found[1] else "a character"
            raise NotAcceptable(
                f"the answer has {what} that XML cannot hold; there are {', '.join(available)}",
                available=list(available),
            )
        before = piece[-16:]


def require_xml_answer(answer: Answer) -> None:
    """Raise `NotAcceptable` where an answer in XML would not be XML; else it can still be read from its beginning."""
    available = RDF_TYPES if answer.kind == "triples" else SOLUTION_TYPES
    others = [media_type for media_type, name in available.items() if name != answer.format]
    body = answer.body
    if isinstance(body, bytes):
        require_xml([body], others)
        return
    try:
        require_xml(iter(lambda: body.read(2**20), b""), others)
    except NotAcceptable:
        body.close()
        raise
    body.seek(0)
