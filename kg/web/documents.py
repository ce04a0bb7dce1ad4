"""Documents by their IRIs: 303 from the thing to its document, the document in any syntax, and each of its former states.

Hides negotiation and conditional requests. What is served comes from the journal, byte for byte what was accepted, never from the index.

A thing leads to a document about it (Cool URIs for the Semantic Web, section 4.3). Its IRI is also its own TimeGate, that answers
`Accept-Datetime` with 302 to a state at an address of its own (RFC 7089, pattern 1.1: the original resource is the TimeGate, 302
negotiation, distinct mementos); each form, `actor/russia.ttl`, is one more TimeGate, which keeps to its form (pattern 2.1). Where
a moment is before the first state, that is the one; within a second it is the last. States never change: `?revision=n` is the one
in force at that revision, of this document or any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit

import pyoxigraph as ox
from flask import Blueprint, Response, redirect, request
from werkzeug.http import parse_date

from kg import documents, history
from kg.asking import Desk
from kg.documents import Document
from kg.engine import NOBODY
from kg.errors import Gone, NotFound, RequestError
from kg.journal import Revision
from kg.library import Library
from kg.terms import KINDS
from kg.web import reading, things
from kg.web.enquiry import Enquiry
from kg.web.negotiation import HTML, RDF_TYPES, choose, languages, require_xml

#: In the order of preference where the client has none.
_TYPES = {"text/turtle": "ttl", **RDF_TYPES, HTML: "html"}
_BY_SUFFIX = {suffix: media_type for media_type, suffix in _TYPES.items()}

#: What N-Triples was called before it had a media type of its own; rdflib still asks for it by that name.
_PLAIN = "text/plain"

_KINDS = f"any({', '.join(KINDS)})"

#: For what never changes (RFC 8246).
FOR_EVER = "public, max-age=31536000, immutable"

#: Documents that one answer has beside the one asked for.
_REFERRERS = 1_000


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The routes `/{kind}/{slug}` and `/{kind}/{slug}.{suffix}`."""
    routes = Blueprint("documents", __name__)
    home = urlsplit(library.base.iri).path

    @routes.get(f"/<{_KINDS}:kind>/<slug>")
    def thing(kind: str, slug: str) -> Response:
        slug, dot, suffix = slug.partition(".")
        if dot:
            return document(kind, slug, suffix)
        iri = library.base.document(kind, slug)
        asked = revision_asked()
        moment = None if asked is not None else _moment_asked()
        if moment is None:
            state(library, iri, asked)
        media_type = choose(request.headers.get("Accept"), [*_TYPES, _PLAIN])
        form = f"{home}{kind}/{slug}.{_TYPES.get(media_type, 'nt')}"
        if moment is not None:
            response = _to_state(library, iri, moment, form)
        else:
            query = "" if asked is None else f"?revision={asked}"
            response = redirect(form + query, 303)  # type: ignore[assignment]
            response.headers["Link"] = ", ".join(_links_in_time(library, iri))
        response.vary.update(["Accept", "Accept-Datetime"])
        return response

    def document(kind: str, slug: str, suffix: str) -> Response:
        if suffix not in _BY_SUFFIX:
            raise NotFound(
                f"there is no form .{suffix}; there are {', '.join('.' + s for s in _BY_SUFFIX)}, and .diff for what changed"
            )
        iri = library.base.document(kind, slug)
        address = f"{home}{kind}/{slug}"
        asked = revision_asked()
        moment = None if asked is not None else _moment_asked()
        if moment is not None:
            response = _to_state(library, iri, moment, f"{address}.{suffix}")
            response.vary.add("Accept-Datetime")
            return response
        found, revision = state(library, iri, asked)
        if (wanted := request.args.get("with")) is not None:
            return _with_references(library, found, revision, suffix, wanted, f"{address}.{suffix}")
        media_type = _BY_SUFFIX[suffix]
        spoken = languages(request.headers.get("Accept-Language"))
        if suffix == "html":
            enquiry = Enquiry(desk, spoken, request.environ.get("kg.caller", NOBODY), request.args.get("asof"))
            page = things.document(enquiry, found, revision, past=asked is not None)
            body = page.text.encode()
        else:
            body = documents.serialize(found, documents.syntax_of_suffix(suffix), library.base)
            if suffix == "rdf":
                require_xml([body], [other for other in _TYPES if other != media_type])
        response = Response(
            body, content_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        )
        response.vary.add("Accept-Datetime")
        if suffix == "html":  # a page also shows who refers to the document, so it changes when others do
            response.vary.add("Accept-Language")
            response.headers["Content-Language"] = reading.language_of(found, spoken)
        else:
            response.set_etag(f"{revision.digest}.{suffix}")
            if asked is not None or not _twice_in_a_second(library, revision):
                response.last_modified = revision.time
        response.headers["Cache-Control"] = "no-cache" if asked is None or suffix == "html" else FOR_EVER
        if suffix == "html" and not page.whole:
            response.headers["Cache-Control"] = "no-store"
        response.headers["KG-Revision"] = str(revision.seq)
        response.headers["Content-Location"] = f"{address}.{suffix}" + (
            "" if asked is None else f"?revision={revision.seq}"
        )
        links = _links(address, suffix, iri, asked, revision)
        links += _links_in_time(library, iri)
        if asked is not None:
            response.headers["Memento-Datetime"] = history.http_date(revision.time)
            links += _ends(library, iri, f"{address}.{suffix}")
        response.headers["Link"] = ", ".join(links)
        return response.make_conditional(request)  # type: ignore[return-value]

    return routes


def revision_asked(name: str = "revision") -> int | None:
    """The number in the address, None where there is none. Raises `RequestError` for what is no number."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 18) or int(text) == 0:
        raise RequestError(f"{name} is the number of a revision, from 1; got {text[:50]!r}", parameter=name)
    return int(text)


def state(library: Library, iri: str, asked: int | None) -> tuple[Document, Revision]:
    """The document as it is now or, at a number, as it was then, with the revision that made it so.

    Raises `NotFound` where there is none or the number is not reached, and `Gone` where it was withdrawn.
    """
    if asked is None:
        found = library.read(iri)
        if found is not None:
            return found
        span = library.journal.span(iri)
        if span is None:
            raise NotFound(f"there is no document {iri}", document=iri)
        raise _gone(library, span[1])
    last = library.journal.last()
    if asked > last:
        raise NotFound(f"there is no revision {asked} yet; the newest is {last}", document=iri, revision=last)
    revision = library.journal.revision_at(iri, asked)
    if revision is None:
        span = library.journal.span(iri)
        when = f" at revision {asked}; it was first recorded in revision {span[0].seq}" if span else ""
        raise NotFound(f"there is no document {iri}{when}", document=iri)
    content = library.journal.content(revision.seq)
    if content is None:
        raise _gone(library, revision, asked)
    return content, revision


def _gone(library: Library, revision: Revision, asked: int | None = None) -> Gone:
    path = revision.document.removeprefix(library.base.iri)
    since = "" if asked is None or asked == revision.seq else f" and was not there at revision {asked}"
    return Gone(
        f"{revision.document} was withdrawn in revision {revision.seq}{since}",
        document=revision.document,
        revision=revision.seq,
        timemap=f"{urlsplit(library.base.iri).path}timemap/{path}",
    )


def _moment_asked() -> datetime | None:
    """The moment in `Accept-Datetime`, None where there is none. Raises `RequestError` for what is no date (RFC 7089, section 2.1.1)."""
    text = request.headers.get("Accept-Datetime")
    if text is None:
        return None
    moment = parse_date(text)
    if moment is None:
        raise RequestError(
            f"Accept-Datetime is a date such as Sun, 22 Nov 2026 18:00:00 GMT; got {text[:100]!r}",
            header="Accept-Datetime",
        )
    return moment


def _twice_in_a_second(library: Library, revision: Revision) -> bool:
    """Whether the document had another state in the second in which it got this one: then a date does not tell them apart."""
    before = library.journal.revision_at(revision.document, revision.seq - 1)
    return before is not None and history.stamp(before.time) == history.stamp(revision.time)


def _to_state(library: Library, iri: str, moment: datetime, form: str) -> Response:
    """302 to the state that was in force at a moment, in a form; to the first, where the moment is before it."""
    revision = library.journal.revision_by(iri, moment)
    if revision is None:
        span = library.journal.span(iri)
        if span is None:
            raise NotFound(f"there is no document {iri}", document=iri)
        revision = span[0]
    if revision.digest is None:
        raise _gone(library, revision)
    response = redirect(f"{form}?revision={revision.seq}", 302)
    assert isinstance(response, Response)
    response.headers["Link"] = ", ".join(_links_in_time(library, iri))
    return response


def _with_references(
    library: Library, it: Document, revision: Revision, suffix: str, wanted: str, address: str
) -> Response:
    """The document's graph and, for each document that refers to it, a graph named by that, with just the triples that do."""
    if wanted != "references":
        raise RequestError(f"with=references is all that there is; got with={wanted[:50]!r}", parameter="with")
    if suffix not in ("trig", "nq"):
        raise RequestError(
            "with=references tells several documents apart, for which it needs graphs: ask for .trig or .nq",
            suffix=suffix,
        )
    after = request.args.get("after", "")
    beyond = library.base.iri + after if after else ""
    others = sorted({other for _, other in library.journal.referrers(it.subjects)} - {it.iri})
    others = [other for other in others if other > beyond]
    more = others[_REFERRERS:]
    others = others[:_REFERRERS]

    def quads() -> Iterator[ox.Quad]:
        named = ox.NamedNode(it.iri)
        yield from (ox.Quad(t.subject, t.predicate, t.object, named) for t in documents.in_reading_order(it))
        for other in others:
            found = library.read(other)
            graph = ox.NamedNode(other)
            for t in documents.in_reading_order(found[0]) if found else ():
                if isinstance(t.object, ox.NamedNode) and t.object.value in it.subjects:
                    yield ox.Quad(t.subject, t.predicate, t.object, graph)

    body = history.write(quads(), documents.syntax_of_suffix(suffix))
    response = Response(body, content_type=_BY_SUFFIX[suffix])
    response.headers["Cache-Control"] = "no-cache"
    response.headers["KG-Revision"] = str(library.journal.last())
    links = [f'<{it.iri}>; rel="about"']
    if more:
        last = others[-1].removeprefix(library.base.iri)
        links.append(f'<{address}?with=references&after={last}>; rel="next"')
    response.headers["Link"] = ", ".join(links)
    return response


def _links(address: str, suffix: str, iri: str, asked: int | None, revision: Revision) -> list[str]:
    query = "" if asked is None else f"?revision={revision.seq}"
    links = [
        f'<{address}.{other}{query}>; rel="alternate"; type="{kind}"'
        for kind, other in _TYPES.items()
        if other != suffix
    ]
    links += [f'<{iri}>; rel="about"', '<https://creativecommons.org/licenses/by/4.0/>; rel="license"']
    home = address.rsplit("/", 2)[0]
    links += [f'<{home}/ns>; rel="describedby"', f'<{home}/shapes>; rel="describedby"']
    if asked is None:
        links.append(f'<{address}.trig?with=references>; rel="related"; type="application/trig"')
    links.append(f'<{home}/revision/{revision.seq}>; rel="http://www.w3.org/ns/prov#has_provenance"')
    return links


def _links_in_time(library: Library, iri: str) -> list[str]:
    """Where the other states are to be had (RFC 7089, section 2.2)."""
    base = library.base
    path = iri.removeprefix(base.iri)
    home = urlsplit(base.iri).path
    return [
        f'<{iri}>; rel="original"',
        f'<{home}{path}>; rel="timegate"',
        f'<{home}timemap/{path}>; rel="timemap"; type="application/link-format"',
    ]


def _ends(library: Library, iri: str, form: str) -> list[str]:
    """Links to the first and the last state of a document, in a form."""
    span = library.journal.span(iri)
    if span is None:
        return []
    first, last, _ = span
    if last.digest is None and last.previous is not None:
        last = library.journal.revision(last.previous) or last

    def link(rel: str, to: Revision) -> str:
        return f'<{form}?revision={to.seq}>; rel="{rel}"; datetime="{history.http_date(to.time)}"'

    if first.seq == last.seq:
        return [link("first last memento", first)]
    return [link("first memento", first), link("last memento", last)]
