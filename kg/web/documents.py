"""Documents by their IRIs: 303 from the thing to its document, and the document in any syntax (Cool URIs for the Semantic Web, section 4.3).

Hides negotiation and conditional requests. What is served comes from the journal, byte for byte what was accepted, never from the index.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, request

from kg import documents
from kg.errors import NotFound
from kg.journal import Revision
from kg.library import Library
from kg.terms import KINDS
from kg.web import pages
from kg.web.negotiation import HTML, RDF_TYPES, choose, require_xml

#: In the order of preference where the client has none.
_TYPES = {"text/turtle": "ttl", **RDF_TYPES, HTML: "html"}
_BY_SUFFIX = {suffix: media_type for media_type, suffix in _TYPES.items()}

#: What N-Triples was called before it had a media type of its own; rdflib still asks for it by that name.
_PLAIN = "text/plain"

_KINDS = f"any({', '.join(KINDS)})"


def blueprint(library: Library) -> Blueprint:
    """The routes `/{kind}/{slug}` and `/{kind}/{slug}.{suffix}`."""
    routes = Blueprint("documents", __name__)
    home = urlsplit(library.base.iri).path

    @routes.get(f"/<{_KINDS}:kind>/<slug>")
    def thing(kind: str, slug: str) -> Response:
        slug, dot, suffix = slug.partition(".")
        if dot:
            return document(kind, slug, suffix)
        _find(library, kind, slug)
        media_type = choose(request.headers.get("Accept"), [*_TYPES, _PLAIN])
        response = redirect(f"{home}{kind}/{slug}.{_TYPES.get(media_type, 'nt')}", 303)
        response.vary.add("Accept")
        assert isinstance(response, Response)
        return response

    def document(kind: str, slug: str, suffix: str) -> Response:
        if suffix not in _BY_SUFFIX:
            raise NotFound(f"there is no form .{suffix}; there are {', '.join('.' + s for s in _BY_SUFFIX)}")
        found, revision = _find(library, kind, slug)
        media_type = _BY_SUFFIX[suffix]
        if suffix == "html":
            body = pages.document(library, found, revision).encode()
        else:
            body = documents.serialize(found, documents.syntax_of_suffix(suffix), library.base)
            if suffix == "rdf":
                require_xml([body], [other for other in _TYPES if other != media_type])
        response = Response(
            body, content_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        )
        if suffix != "html":  # a page also shows who refers to the document, so it changes when others do
            response.set_etag(f"{revision.digest}.{suffix}")
            response.last_modified = revision.time
        response.headers["Cache-Control"] = "no-cache"
        response.headers["KG-Revision"] = str(revision.seq)
        response.headers["Content-Location"] = f"{home}{kind}/{slug}.{suffix}"
        _add_links(response, f"{home}{kind}/{slug}", suffix, found.iri)
        return response.make_conditional(request)  # type: ignore[return-value]

    return routes


def _find(library: Library, kind: str, slug: str) -> tuple[documents.Document, Revision]:
    iri = library.base.document(kind, slug)
    found = library.read(iri)
    if found is None:
        gone = library.journal.history(iri)
        raise NotFound(
            f"{iri} was withdrawn in revision {gone[-1].seq}" if gone else f"there is no document {iri}", document=iri
        )
    return found


def _add_links(response: Response, address: str, suffix: str, iri: str) -> None:
    links = [
        f'<{address}.{other}>; rel="alternate"; type="{kind}"' for kind, other in _TYPES.items() if other != suffix
    ]
    links += [f'<{iri}>; rel="about"', '<https://creativecommons.org/licenses/by/4.0/>; rel="license"']
    home = address.rsplit("/", 2)[0]
    links += [f'<{home}/ns>; rel="describedby"', f'<{home}/shapes>; rel="describedby"']
    response.headers["Link"] = ", ".join(links)
