"""The HTTP side: an application over one library.

Hides Flask. Promises that every error is a problem document (RFC 9457), or a page where a browser asked, with the status that
`STATUSES` gives its kind; that no page or answer makes a request to another host; and that nothing here evaluates SPARQL.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from kg import __version__
from kg.asking import Desk
from kg.errors import (
    BaseMismatch,
    ConfigurationError,
    DocumentError,
    DocumentTooLarge,
    EngineUnsuitable,
    Forbidden,
    Gone,
    IndexBehind,
    JudgeDied,
    JudgingTimeout,
    KgError,
    MalformedDocument,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Overloaded,
    PreconditionFailed,
    QueryError,
    QueryProcessDied,
    QueryTimeout,
    Rejected,
    RemoteReference,
    RequestError,
    ResultTooLarge,
    ServiceFailed,
    ServiceRefused,
    SnapshotGone,
    StillReferredTo,
    StorageError,
    TangledBlankNodes,
    TooManyRequests,
    Unauthorized,
    UnplaceableDocument,
    UnsupportedMediaType,
    UpdateRefused,
)
from kg.library import Library
from kg.terms import KINDS, Base, shorten
from kg.web import (
    documents,
    dumps,
    feed,
    history,
    libraries,
    lists,
    negotiation,
    operations,
    pages,
    questions,
    reading,
    searching,
    sparql,
    updating,
    verdicts,
    vocabulary,
    writing,
)
from kg.web.authority import Authority

log = logging.getLogger("kg.web")

#: Kinds of error and their status; the nearest kind above decides.
STATUSES: dict[type[KgError], int] = {
    KgError: 400,
    ConfigurationError: 500,
    BaseMismatch: 500,
    RequestError: 400,
    NotAcceptable: 406,
    UnsupportedMediaType: 415,
    MethodNotAllowed: 405,
    PreconditionFailed: 412,
    Unauthorized: 401,
    Forbidden: 403,
    DocumentError: 400,
    MalformedDocument: 400,
    DocumentTooLarge: 413,
    UnplaceableDocument: 400,
    TangledBlankNodes: 400,
    RemoteReference: 400,
    JudgingTimeout: 413,
    JudgeDied: 500,
    Rejected: 422,
    StillReferredTo: 409,
    NotFound: 404,
    Gone: 410,
    SnapshotGone: 410,
    QueryError: 400,
    ServiceRefused: 403,
    ServiceFailed: 502,
    UpdateRefused: 400,
    QueryTimeout: 504,
    ResultTooLarge: 413,
    QueryProcessDied: 500,
    EngineUnsuitable: 501,
    Overloaded: 503,
    TooManyRequests: 429,
    StorageError: 503,
    IndexBehind: 503,
}

#: What every answer carries, unless it says otherwise.
COMMON_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    (
        "Access-Control-Expose-Headers",
        "Content-Range, ETag, KG-Prefixes-Added, KG-Revision, Link, Location, Memento-Datetime, Retry-After",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)

_CONTENT_SECURITY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def status_of(kind: type[KgError]) -> int:
    """The HTTP status for a kind of error."""
    return next(STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in STATUSES)


def problem_document(
    base: Base, name: str, title: str, status: int, detail: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What RFC 9457 says of an error, and what the case adds."""
    # Facts first: what the RFC defines is not to be overwritten by a case's own members.
    return {**facts, "type": f"{base}errors#{name}", "title": title, "status": status, "detail": detail}


def of_people(detail: str, base: Base) -> str:
    """The sentence of an error as a page has it: documents by kind and slug, which their lists and addresses show as well."""
    sentence = re.sub(rf"<?{re.escape(base.iri)}((?:{'|'.join(KINDS)})/[\w#-]+)>?", r"\1", detail)
    start = sentence if sentence.partition("/")[0] in KINDS else sentence[:1].upper() + sentence[1:]
    return start + ("" if sentence[-1:] in ".?!" else ".")


def _last_state(library: Library, facts: Mapping[str, Any]) -> str | None:
    """The address of what a document was before the revision that took it away."""
    document, seq = facts.get("document"), facts.get("revision")
    if not isinstance(document, str) or not isinstance(seq, int):
        return None
    before = library.journal.revision_at(document, seq - 1)
    if before is None or before.digest is None:
        return None
    path = document.removeprefix(library.base.iri)
    return f"{urlsplit(library.base.iri).path}{path}.html?revision={before.seq}"


def create_app(library: Library, metrics: operations.Metrics | None = None) -> Flask:
    """The application over an open library. The caller closes the library."""
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    home = urlsplit(library.base.iri).path
    desk = Desk(library)
    app.register_blueprint(libraries.blueprint(home))
    app.register_blueprint(operations.blueprint(library, metrics or operations.Metrics(library)))
    app.register_blueprint(sparql.blueprint(library))
    app.register_blueprint(pages.blueprint(library, desk))
    app.register_blueprint(vocabulary.blueprint(library))
    app.register_blueprint(questions.blueprint(library, desk))
    app.register_blueprint(searching.blueprint(desk))
    app.register_blueprint(documents.blueprint(library, desk))
    app.register_blueprint(lists.blueprint(library, desk))
    app.register_blueprint(history.blueprint(library, desk))
    app.register_blueprint(feed.blueprint(library, desk))
    app.register_blueprint(dumps.blueprint(library))
    authority = Authority(library)
    app.register_blueprint(writing.blueprint(library, authority))
    app.register_blueprint(updating.blueprint(library, authority))
    app.register_blueprint(verdicts.blueprint(library, desk, status_of))
    app.jinja_env.globals.update(version=__version__, home=home, kinds=pages.KIND_NAMES)
    app.jinja_env.filters.update(day=reading.day)
    app.jinja_env.globals.update(base=library.base, status_of=status_of, short=lambda iri: shorten(iri, library.base))
    app.jinja_env.filters["of_people"] = lambda text: of_people(text, library.base)
    app.jinja_env.globals.update(library=lambda name: libraries.address(name, home))
    if not libraries.installed():
        log.warning("the libraries of the pages are not installed, so %s", libraries.PLAINER)

    @app.before_request
    def wait_for_revision() -> None:
        asked = request.headers.get("KG-Min-Revision")
        if asked is None:
            return
        if not (asked.isascii() and asked.isdecimal() and len(asked) <= 18):
            raise RequestError(f"KG-Min-Revision is the number of a revision; got {asked!r}", header="KG-Min-Revision")
        library.wait_for(int(asked), wait=5)

    @app.errorhandler(KgError)
    def known(error: KgError) -> Response:
        status = status_of(type(error))
        if status >= 500:
            log.warning("%s %s: %s", request.method, request.path, error.detail)
        facts = error.facts
        if isinstance(error, Rejected):
            media_type = verdicts.prefers_rdf()
            if media_type is not None:
                return verdicts.as_rdf(error.reports, media_type, library.base, status)
            total = sum(len(report.results) for report in error.reports)
            facts = {"results": verdicts.results_of(error.reports), "total": total, **facts}
        response = problem(type(error).name(), type(error).title(), status, error.detail, facts)
        if isinstance(error, Unauthorized):
            response.headers["WWW-Authenticate"] = 'Bearer realm="kg"'
        if "allow" in facts:
            response.headers["Allow"] = facts["allow"]
        return response

    @app.errorhandler(HTTPException)
    def protocol(error: HTTPException) -> Response:
        status = error.code or 500
        allowed = getattr(error, "valid_methods", None)
        if status == 405:
            methods = ", ".join(sorted(allowed or ()))
            response = problem(
                MethodNotAllowed.name(), MethodNotAllowed.title(), 405, f"{request.path} takes {methods}", {}
            )
            response.headers["Allow"] = methods
            return response
        if status == 416:
            response = problem(RequestError.name(), "There is no such part", 416, str(error.description), {})
            response.headers.extend((n, v) for n, v in error.get_headers() if n == "Content-Range")
            return response
        if status == 413:
            return problem(RequestError.name(), "The request is too large", 413, str(error.description), {})
        kind = NotFound if status == 404 else RequestError
        detail = f"there is nothing at {request.path}" if status == 404 else str(error.description)
        return problem(kind.name(), kind.title() if status in (400, 404) else error.name, status, detail, {})

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        log.exception("%s %s", request.method, request.path)
        return problem("kg-error", "The service failed", 500, "this is a fault of the service; its log tells more", {})

    def problem(name: str, title: str, status: int, detail: str, facts: dict[str, Any]) -> Response:
        if status == 404 and request.method in ("GET", "HEAD") and "near" not in facts:
            near = searching.suggestions(desk, request.path, request.headers.get("Accept-Language"))
            facts = {"suggestions": near, **facts} if near else facts
        if (
            negotiation.best(request.headers.get("Accept"), ["application/problem+json", negotiation.HTML])
            == negotiation.HTML
        ):
            page = render_template(
                "error.html",
                name=name,
                title=title,
                status=status,
                detail=detail,
                facts=facts,
                meaning=next((kind.explanation() for kind in KgError.tree() if kind.name() == name), ""),
                last_state=_last_state(library, facts) if status == 410 else None,
                query=request.args.get("query") if request.blueprint == "sparql" else None,
            )
            response = Response(page, status, mimetype="text/html")
        else:
            facts = {**facts, "request": request.environ.get("kg.request_id")}
            response = jsonify(problem_document(library.base, name, title, status, detail, facts))
            response.status_code = status
            response.mimetype = "application/problem+json"
        if "timemap" in facts:
            response.headers["Link"] = f'<{facts["timemap"]}>; rel="timemap"; type="application/link-format"'
        if status in (429, 503):
            response.headers["Retry-After"] = str(facts.get("retry_after", 5))
        response.vary.update(["Accept", "Accept-Language"] if "suggestions" in facts else ["Accept"])
        return response

    @app.after_request
    def common_headers(response: Response) -> Response:
        headers = response.headers
        for name, value in COMMON_HEADERS:
            headers.setdefault(name, value)
        if response.status_code == 308:
            # An address written otherwise: it is here, whatever name the client has for this service, or says that it has.
            headers["Location"] = urlsplit(headers["Location"])._replace(scheme="", netloc="").geturl()
            response.set_data(b"")
        if request.method == "OPTIONS" and response.status_code == 200:
            response.status_code = 204
            del headers["Content-Type"]
            headers.setdefault("Access-Control-Allow-Methods", headers.get("Allow", "GET, HEAD, OPTIONS"))
            allowed = (
                "Accept, Authorization, Content-Type, If-Match, If-None-Match, KG-Change, KG-Min-Revision, KG-Note"
            )
            headers.setdefault("Access-Control-Allow-Headers", allowed)
            headers.setdefault("Access-Control-Max-Age", "86400")
        if response.mimetype == "text/html":
            headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY)
        return response

    return app
