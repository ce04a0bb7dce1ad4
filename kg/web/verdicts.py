"""Verdicts over HTTP: why a document was refused, and `/validate`, which only asks.

Hides the two ways of telling it: results in words for people and programs, and SHACL validation reports for those who speak RDF.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pyoxigraph as ox
from flask import Blueprint, Response, jsonify, request

from kg import documents
from kg.documents import Syntax
from kg.errors import RequestError, TooManyRequests, UnsupportedMediaType
from kg.gate import Report, Result, reports_as_turtle
from kg.library import Library
from kg.loading import line_of
from kg.terms import Base
from kg.web.authority import Rate, address
from kg.web.negotiation import HTML, RDF_TYPES, best, choose, require_xml

#: Results that one answer tells; a wrong document of megabytes has tens of thousands.
_RESULTS = 500

PROBLEM = "application/problem+json"


def results_of(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """What there is to mend, in words: which node, which property, which value, what to do, by which constraint."""

    def entry(report: Report, result: Result) -> dict[str, Any]:
        parts = {
            "document": report.document,
            "focus": result.focus,
            "path": result.path,
            "value": result.value,
            "message": result.message,
            "constraint": result.component,
            "shape": result.shape,
        }
        return {name: value for name, value in parts.items() if value is not None}

    return [entry(report, result) for report in reports for result in report.results][:_RESULTS]


def add_lines(results: Sequence[dict[str, Any]], text: bytes, base: Base, relative_to: str) -> None:
    """Tell each result the line of the text on which the description of its node begins, where that can be found."""
    found: dict[str, int | None] = {}
    for result in results:
        focus = result["focus"]
        if focus not in found:
            lines = io.TextIOWrapper(io.BytesIO(text), "utf-8", errors="replace")
            found[focus] = line_of(lines, focus, base, relative_to) if len(found) < 50 else None
        if found[focus] is not None:
            result["line"] = found[focus]


def prefers_rdf() -> str | None:
    """The media type of RDF in which the caller would rather have a report than as a problem document or page."""
    chosen = best(request.headers.get("Accept"), [PROBLEM, "application/json", HTML, *RDF_TYPES])
    return chosen if chosen in RDF_TYPES else None


def as_rdf(reports: Sequence[Report], media_type: str, base: Base, status: int) -> Response:
    """The reports as SHACL validation reports (SHACL, section 3.6)."""
    body = reports_as_turtle(reports)
    if media_type != "text/turtle":
        triples = (quad.triple for quad in ox.parse(body, format=ox.RdfFormat.TURTLE, lenient=True))
        body = documents.write(triples, RDF_TYPES[media_type], base)
        if media_type == "application/rdf+xml":
            require_xml([body], [other for other in RDF_TYPES if other != media_type])
    text = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
    response = Response(body, status, content_type=text)
    response.vary.add("Accept")
    return response


def sent_syntax() -> Syntax:
    """The syntax of the body that was sent. Raises `UnsupportedMediaType`, which lists those there are."""
    supported = [syntax.media_type for syntax in documents.SYNTAXES]
    found = next((syntax for syntax in documents.SYNTAXES if syntax.media_type == request.mimetype), None)
    if found is None:
        got = f"got {request.mimetype}" if request.mimetype else "there is no Content-Type"
        raise UnsupportedMediaType(f"{got}; the body is read as {', '.join(supported)}", supported=supported)
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(f"RDF is read in UTF-8; got charset {charset}", supported=supported)
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise UnsupportedMediaType(f"the body is in {coding}; send it as it is", supported=supported)
    return found


def sent_body(limit: int) -> bytes:
    """The body that was sent. Raises `DocumentTooLarge`."""
    if request.content_length is not None and request.content_length > limit:
        raise documents.too_large(request.content_length, limit, "the body")
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise documents.too_large(len(data), limit, "the body")
    return data


_HOW = """POST a document here, or many as TriG, N-Quads or JSON-LD, with its media type in Content-Type. The answer is the verdict that a
write would get now. Nothing is stored, and no token is needed.

  curl --data-binary @article.ttl -H 'Content-Type: text/turtle' {here}

The answer is JSON; with `Accept: text/turtle` or another syntax of RDF it is a SHACL validation report. Relative IRIs resolve against
{base}; with ?graph=IRI against that document's. A body has at most {limit:,} bytes, and one address may ask {rate} times a minute.
"""


def blueprint(library: Library) -> Blueprint:
    """The route `/validate`."""
    routes = Blueprint("verdicts", __name__)
    rate = Rate(library.config.validate_rate)
    limit = library.config.validate_limit

    @routes.get("/validate")
    def how() -> Response:
        text = _HOW.format(
            here=f"{library.base}validate", base=library.base, limit=limit, rate=library.config.validate_rate
        )
        return Response(text, content_type="text/plain; charset=utf-8")

    @routes.post("/validate")
    def validate() -> Response:
        caller = address()
        if wait := rate.wait(caller):
            raise TooManyRequests(
                f"one address may ask {library.config.validate_rate} times a minute; try again in {wait} seconds",
                retry_after=wait,
            )
        rate.count(caller)
        media_type = choose(request.headers.get("Accept"), ["application/json", *RDF_TYPES])
        syntax = sent_syntax()
        data = sent_body(limit)
        into = _document_asked_for(library.base)
        relative_to = into or f"{library.base}validate"
        candidates = library.judges.read(data, syntax, relative_to=relative_to, into=into, limit=limit, guest=True)
        require_sizes(candidates, library.config.document_limit)
        verdict = library.judge(candidates, partial(library.judges.judge, guest=True))
        judged = {report.document: report for report in verdict.reports}
        there = library.journal.digests(candidate.iri for candidate in candidates)
        reports = [*verdict.reports, *(Report(iri, ()) for iri in verdict.unchanged if iri not in judged)]
        if media_type in RDF_TYPES:
            response = as_rdf(reports, media_type, library.base, 200)
        else:
            results = results_of(verdict.reports)
            add_lines(results, data, library.base, relative_to)
            response = jsonify(
                conforms=verdict.conforms,
                revision=verdict.as_of,
                documents=[
                    {
                        "document": one.iri,
                        "conforms": one.iri not in judged or judged[one.iri].conforms,
                        "state": "unchanged"
                        if one.iri in verdict.unchanged
                        else "changed"
                        if one.iri in there
                        else "new",
                    }
                    for one in candidates
                ],
                results=results,
                total=sum(len(report.results) for report in verdict.reports),
            )
            response.vary.add("Accept")
        response.headers["Cache-Control"] = "no-store"
        return response

    return routes


def require_sizes(candidates: Iterable[documents.Document], limit: int) -> None:
    """Raises `DocumentTooLarge` where one is too large when its names are written in full."""
    for candidate in candidates:
        if len(candidate.content) > limit:
            raise documents.too_large(len(candidate.content), limit, f"{candidate.iri}, written in full,")


def _document_asked_for(base: Base) -> str | None:
    asked = request.args.getlist("graph")
    if not asked:
        return None
    if len(asked) > 1 or base.document_of(asked[0]) != asked[0]:
        raise RequestError(f"graph is the IRI of one document, such as {base}article/x", parameter="graph")
    return asked[0]
