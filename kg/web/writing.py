"""Writing over HTTP: the SPARQL 1.1 Graph Store HTTP Protocol, each graph a document, each write past the gate.

Hides methods, conditions and headers. Promises that of any number of writers who start from one version exactly one wins and the
others are told; that what is refused leaves no trace; and that what was answered with success is seen by the writer's next query.

`PUT` replaces a document, `POST` merges into it, `DELETE` takes it away, at its own address or at `/graphs?graph=IRI`. `POST /graphs`
takes a batch, all of it or nothing: like a load of files it puts each document in the place of the one that was there, since two versions
of one document merged would hardly ever conform.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urljoin

from flask import Blueprint, Response, jsonify, request

from kg import documents
from kg.documents import JSON_LD, N_QUADS, N_TRIPLES, TRIG, TURTLE, Document
from kg.errors import (
    MethodNotAllowed,
    PreconditionFailed,
    Rejected,
    RequestError,
    UnplaceableDocument,
)
from kg.journal import Revision
from kg.library import Library, Receipt
from kg.terms import KINDS, Base
from kg.tokens import Token
from kg.verdict import Batch
from kg.web.authority import Authority
from kg.web.documents import state
from kg.web.negotiation import RDF_TYPES, choose, require_xml
from kg.web.verdicts import add_lines, require_sizes, results_of, sent_body, sent_syntax

_KINDS = f"any({', '.join(KINDS)})"

#: What the union can be streamed in, document by document.
_STREAMED = {syntax.media_type: syntax for syntax in (N_TRIPLES, TURTLE, N_QUADS, TRIG, JSON_LD)}

There = tuple[Document, Revision] | None


@dataclass(frozen=True)
class Conditions:
    """The conditions of a write (RFC 9110, section 13.1): what must be there, and what must not."""

    if_match: str | None
    if_none_match: str | None

    @classmethod
    def of_request(cls) -> Conditions:
        return cls(request.headers.get("If-Match"), request.headers.get("If-None-Match"))

    def require(self, iri: str, there: There) -> None:
        """Raises `PreconditionFailed`, which tells the version there is."""
        digest = None if there is None else str(there[1].digest)
        if self.if_match is not None and not _names(self.if_match, digest, weakly=False):
            detail = f"there is no {iri}" if there is None else f"{iri} is no longer what If-Match names"
        elif self.if_none_match is not None and _names(self.if_none_match, digest, weakly=True):
            detail = f"{iri} is there already"
        else:
            return
        raise PreconditionFailed(
            f"{detail}; nothing was written",
            document=iri,
            etag=digest and f'"{digest}"',
            revision=there and there[1].seq,
        )


def _names(header: str, digest: str | None, *, weakly: bool) -> bool:
    """Whether a list of entity tags names the version with this digest; None is no version.

    Each form of a document has a tag of its own, which starts with the digest of what all of them say, so any of them will do.
    """
    if header.strip() == "*":
        return digest is not None
    tags = re.findall(r'(W/)?"([^"]*)"', header)
    if not tags:
        raise RequestError(f"{header!r} is no list of entity tags; they are written in double quotes")
    return digest is not None and any(
        re.fullmatch(re.escape(digest) + r"(?:[.-].*)?", tag) is not None for weak, tag in tags if weakly or not weak
    )


def blueprint(library: Library, authority: Authority) -> Blueprint:
    """The routes `/{kind}/{slug}` for writing, and `/graphs`."""
    routes = Blueprint("writing", __name__)
    base = library.base

    @routes.route(f"/<{_KINDS}:kind>/<slug>", methods=["PUT", "POST", "DELETE"])
    def write_document(kind: str, slug: str) -> Response:
        slug, dot, _ = slug.partition(".")
        iri = base.document(kind, slug)
        if dot and base.document_of(iri):
            raise MethodNotAllowed(
                f"this address is one form of the document and only read; write to {iri}", allow="GET, HEAD, OPTIONS"
            )
        return _write(library, authority, iri)

    @routes.get("/graphs")
    def read_graphs() -> Response:
        iri = _graph_asked_for(base)
        if iri is not None:
            return _read(library, iri)
        if "default" in request.args:
            return _union(library)
        raise RequestError(
            f"name a graph, ?graph={base}article/x, or ask for the union of all with ?default; a batch is sent here by POST"
        )

    @routes.route("/graphs", methods=["PUT", "POST", "DELETE"])
    def write_graphs() -> Response:
        iri = _graph_asked_for(base)
        if iri is not None:
            return _write(library, authority, iri)
        if "default" in request.args:
            raise MethodNotAllowed(
                f"the default graph is the union of all documents and only read; write to ?graph={base}…, or POST a batch",
                allow="GET, HEAD, OPTIONS",
            )
        if request.method != "POST":
            raise MethodNotAllowed(
                f"name the graph, ?graph={base}article/x: all documents at once are not replaced or deleted",
                allow="GET, HEAD, POST, OPTIONS",
            )
        return _write_batch(library, authority)

    return routes


def _graph_asked_for(base: Base) -> str | None:
    """The document that `?graph=` names; relative to the address, as the standard says (section 4.2)."""
    graphs, default = request.args.getlist("graph"), "default" in request.args
    unknown = request.args.keys() - {"graph", "default"}
    if unknown:
        raise RequestError(f"there is no parameter {min(unknown)!r} here; there are graph and default")
    if len(graphs) + default > 1:
        raise RequestError("name one graph, or default, and not both", parameter="graph")
    if not graphs:
        return None
    return _require_document(urljoin(base.iri + "graphs", graphs[0]), base)


def _require_document(iri: str, base: Base) -> str:
    if base.document_of(iri) != iri:
        kinds = "|".join(KINDS)
        raise UnplaceableDocument(
            f"{iri} is not the IRI of a document here: those are {base}({kinds})/slug, the slug in lower-case ASCII letters, digits and "
            "single hyphens, at most 120 characters"
        )
    return iri


# Writing


def _write(library: Library, authority: Authority, iri: str) -> Response:
    """Do what the method of the request says to a document."""
    _require_document(iri, library.base)
    deletes = request.method == "DELETE"
    change, note = why()
    token = authority.require("admin" if deletes and change != "retracted" else "writer")
    if deletes and change == "retracted":
        raise RequestError(
            "a retraction keeps the article, and DELETE takes it away: send an empty POST with these headers to retract it, "
            "or leave KG-Change out to delete it"
        )
    conditions = Conditions.of_request()
    data = b"" if deletes else sent_body(library.config.document_limit)
    sent = None if deletes else _sent_document(library, iri, data, may_be_empty=change == "retracted")
    merges = request.method == "POST"

    def compose() -> Batch:
        there = library.read(iri)
        conditions.require(iri, there)
        if sent is not None and (there is None or not merges):
            return {iri: sent}
        document, _ = there or state(library, iri, None)
        if sent is None:
            return {iri: None if deletes else document}
        merged = documents.document(iri, [*document.triples, *sent.triples])
        require_sizes([merged], library.config.document_limit)
        return {iri: merged}

    receipt = _change(library, compose, token, change, note, data, iri)
    created = bool(receipt.revisions) and receipt.revisions[0].previous is None
    response = Response(status=201 if created else 204)
    del response.headers["Content-Type"]  # of nothing
    if created:
        response.headers["Location"] = iri
    if digest := receipt.digests[iri]:
        response.set_etag(digest)
    response.headers["KG-Revision"] = str(receipt.revision)
    return response


def _write_batch(library: Library, authority: Authority) -> Response:
    """Write each document of the body, all of them or none."""
    change, note = why()
    token = authority.require()
    if {"If-Match", "If-None-Match"} & set(request.headers.keys()):
        raise RequestError("a condition is on one document; send it with the document's own address")
    syntax = sent_syntax()
    data = sent_body(library.config.batch_limit if syntax.graphs else library.config.document_limit)
    here = f"{library.base}graphs"
    limit = library.config.batch_limit
    found = library.judges.read(data, syntax, relative_to=here, limit=limit)
    require_sizes(found, library.config.document_limit)
    batch = {document.iri: document for document in found}
    receipt = _change(library, lambda: batch, token, change, note, data, here)
    return told(receipt)


def told(receipt: Receipt) -> Response:
    """What a write did, in JSON. A document that it took away has no `etag`."""
    written = [
        {
            "document": one.document,
            "revision": one.seq,
            "etag": one.digest and f'"{one.digest}"',
            "created": one.previous is None,
        }
        for one in receipt.revisions
    ]
    response = jsonify(revision=receipt.revision, written=written, unchanged=list(receipt.unchanged))
    response.headers["KG-Revision"] = str(receipt.revision)
    response.headers["Cache-Control"] = "no-store"
    return response


def _change(
    library: Library, compose: Callable[[], Batch], token: Token, change: str, note: str, text: bytes, relative_to: str
) -> Receipt:
    """Write, and where the gate refuses tell the lines of the text that was sent."""
    try:
        return library.change(compose, agent=token.name, change=change, note=note, judge_all=library.judges.judge)
    except Rejected as rejection:
        results = results_of(rejection.reports)
        add_lines(results, text, library.base, relative_to)
        rejection.facts["results"] = results
        raise


def _sent_document(library: Library, iri: str, data: bytes, *, may_be_empty: bool) -> Document | None:
    """The document in the body, which must be that of the address; None where the body is empty and may be."""
    if not data.strip():
        if may_be_empty and request.method == "POST":
            return None
        raise UnplaceableDocument("the body is empty; to take a document away, send DELETE")
    syntax = sent_syntax()
    limit = library.config.document_limit
    found = library.judges.read(data, syntax, relative_to=iri, into=iri, limit=limit)
    others = [document.iri for document in found if document.iri != iri]
    if others:
        raise UnplaceableDocument(
            f"the body holds {others[0]}, and this is the address of {iri}; write each to its own, or POST many to "
            f"{library.base}graphs",
            documents=others[:10],
        )
    require_sizes(found, limit)
    return found[0]


def why() -> tuple[str, str]:
    """The kind of change and the note, which is percent-encoded UTF-8: of what is not ASCII in a header, proxies make what they will."""
    note = request.headers.get("KG-Note", "").strip()
    if not note.isascii() or (not note and "KG-Note" in request.headers):
        raise RequestError(
            "KG-Note is empty, or has characters that a header cannot carry; percent-encode what is not ASCII, or leave it out",
            header="KG-Note",
        )
    try:
        note = unquote_to_bytes(note).decode()
    except UnicodeError:
        raise RequestError("KG-Note is not UTF-8, percent-encoded", header="KG-Note") from None
    return request.headers.get("KG-Change", "recorded").strip(), note


# Reading


def _read(library: Library, iri: str) -> Response:
    """One graph, at the address that names it by a parameter."""
    media_type = choose(request.headers.get("Accept"), list(RDF_TYPES))
    document, revision = state(library, iri, None)
    suffix = RDF_TYPES[media_type]
    body = documents.serialize(document, documents.syntax_of_suffix(suffix), library.base)
    if suffix == "rdf":
        require_xml([body], [other for other in RDF_TYPES if other != media_type])
    response = _answer(body, media_type, revision.seq)
    response.set_etag(f"{revision.digest}.{suffix}")
    response.last_modified = revision.time
    return response.make_conditional(request)  # type: ignore[return-value]


def _union(library: Library) -> Response:
    """All documents, as they are read from the journal: as much memory as one of them takes."""
    media_type = choose(request.headers.get("Accept"), list(_STREAMED))
    last = library.journal.last()
    response = _answer(_pieces(library, last, media_type), media_type, last)
    response.set_etag(f"{last}-{library.journal.mark(last)}.{RDF_TYPES[media_type]}")
    return response.make_conditional(request)  # type: ignore[return-value]


def _pieces(library: Library, upto: int, media_type: str) -> Iterator[bytes]:
    array = media_type == JSON_LD.media_type
    if array:
        yield b"["
    between = b""
    for _, document in library.journal.current(upto=upto):
        if document is None:
            continue
        if array:
            piece = documents.to_bytes(document.triples, JSON_LD).strip()
            yield between + piece[1:-1]  # what is in its array
            between = b",\n"
        elif media_type == TURTLE.media_type or media_type == TRIG.media_type:
            yield between + documents.serialize(
                document, TURTLE, library.base
            )  # Turtle is TriG too, of the default graph
            between = b"\n"
        else:
            yield document.content
    if array:
        yield b"]\n"


def _answer(body: bytes | Iterator[bytes], media_type: str, revision: int) -> Response:
    text = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
    response = Response(body, content_type=text)
    response.vary.add("Accept")
    response.headers["KG-Revision"] = str(revision)
    response.headers["Cache-Control"] = "no-cache"
    return response
