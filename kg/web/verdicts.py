"""Verdicts over HTTP: why a document was refused, and `/validate`, which only asks.

Hides the two ways of telling it: results in words for people and programs, and SHACL validation reports for those who speak RDF.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyoxigraph as ox
from flask import Blueprint, Response, jsonify, request

from kg import documents
from kg.asking import Desk
from kg.documents import Syntax
from kg.errors import KgError, RequestError, TooManyRequests, UnsupportedMediaType
from kg.gate import Report, Result, reports_as_turtle
from kg.library import Library
from kg.loading import line_of
from kg.terms import Base
from kg.verdict import Verdict
from kg.web import checking
from kg.web.authority import Rate, address
from kg.web.checking import Sent
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


def blueprint(library: Library, desk: Desk, status_of: Callable[[type[KgError]], int]) -> Blueprint:
    """The route `/validate`; `status_of` gives the status of a kind of error, for pages that tell it beside what was sent."""
    routes = Blueprint("verdicts", __name__)
    rate = Rate(library.config.validate_rate)
    limit = library.config.validate_limit
    page = checking.Page(desk, limit, library.config.validate_rate)

    @routes.get("/validate")
    def how() -> Response:
        if best(request.headers.get("Accept"), ["text/plain", HTML]) == HTML:
            response = Response(page.empty(), content_type="text/html; charset=utf-8")
        else:
            text = _HOW.format(
                here=f"{library.base}validate", base=library.base, limit=limit, rate=library.config.validate_rate
            )
            response = Response(text, content_type="text/plain; charset=utf-8")
        response.vary.add("Accept")
        return response

    @routes.post("/validate")
    def validate() -> Response:
        caller = address()
        wait = rate.wait(caller)
        too_many = TooManyRequests(
            f"one address may ask {library.config.validate_rate} times a minute; try again in {wait} seconds",
            retry_after=wait,
        )
        media_type = choose(request.headers.get("Accept"), ["application/json", *RDF_TYPES, HTML])
        if wait and media_type != HTML:
            raise too_many
        if not wait:
            rate.count(caller)
        if media_type != HTML:
            sent = taken()
            candidates, verdict, relative_to = examined(sent)
            response = answered(sent, candidates, verdict, relative_to, media_type)
        else:
            response = shown(too_many if wait else None)
        response.headers["Cache-Control"] = "no-store"
        return response

    def taken() -> Sent:
        """What was sent, as a form or as it is."""
        if request.mimetype == checking.FORM:
            return checking.sent_form(limit)
        syntax = sent_syntax()
        return Sent(sent_body(limit), syntax, None)

    def examined(sent: Sent) -> tuple[list[documents.Document], Verdict, str]:
        """The documents that were sent, the verdict on them, and against what relative IRIs were resolved."""
        into = _document_asked_for(library.base, sent.graph)
        relative_to = into or f"{library.base}validate"
        candidates = library.judges.read(
            sent.data, sent.syntax, relative_to=relative_to, into=into, limit=limit, guest=True
        )
        require_sizes(candidates, library.config.document_limit)
        return candidates, library.judge(candidates, partial(library.judges.judge, guest=True)), relative_to

    def shown(refusal: KgError | None) -> Response:
        """The page, with the verdict or with why there is none; what was sent stays in its form."""
        sent = None
        try:
            sent = taken()
            if refusal is not None:
                raise refusal
            body, status = page.judged(sent, *examined(sent)), 200
        except KgError as error:
            status, refusal = status_of(type(error)), error
            body = page.failed(sent, error, status)
        response = Response(body, status, content_type="text/html; charset=utf-8")
        if status in (429, 503) and refusal is not None:
            response.headers["Retry-After"] = str(refusal.facts.get("retry_after", 5))
        response.vary.update(["Accept", "Accept-Language"])
        return response

    def answered(
        sent: Sent, candidates: list[documents.Document], verdict: Verdict, relative_to: str, media_type: str
    ) -> Response:
        judged = {report.document: report for report in verdict.reports}
        there = library.journal.digests(candidate.iri for candidate in candidates)
        reports = [*verdict.reports, *(Report(iri, ()) for iri in verdict.unchanged if iri not in judged)]
        if media_type in RDF_TYPES:
            return as_rdf(reports, media_type, library.base, 200)
        results = results_of(verdict.reports)
        add_lines(results, sent.data, library.base, relative_to)
        response = jsonify(
            conforms=verdict.conforms,
            revision=verdict.as_of,
            documents=[
                {
                    "document": one.iri,
                    "conforms": one.iri not in judged or judged[one.iri].conforms,
                    "state": "unchanged" if one.iri in verdict.unchanged else "changed" if one.iri in there else "new",
                }
                for one in candidates
            ],
            results=results,
            total=sum(len(report.results) for report in verdict.reports),
        )
        response.vary.add("Accept")
        return response

    return routes


def require_sizes(candidates: Iterable[documents.Document], limit: int) -> None:
    """Raises `DocumentTooLarge` where one is too large when its names are written in full."""
    for candidate in candidates:
        if len(candidate.content) > limit:
            raise documents.too_large(len(candidate.content), limit, f"{candidate.iri}, written in full,")


def _document_asked_for(base: Base, field: str | None = None) -> str | None:
    """The document named in the address or, in a form, in its field, where kind and slug will do."""
    asked = request.args.getlist("graph") or ([field] if field else [])
    if not asked:
        return None
    if field and asked == [field] and not field.startswith(("http://", "https://")):
        asked = [base.iri + field.lstrip("/")]
    if len(asked) > 1 or base.document_of(asked[0]) != asked[0]:
        raise RequestError(f"graph is the IRI of one document, such as {base}article/x", parameter="graph")
    return asked[0]
