"""The update endpoint: SPARQL 1.1 Protocol, update operation (section 2.2), each update a write like any other.

Hides the two ways in which an update arrives. Promises that all its operations are one write, past the gate, or none; and that
what was answered with success is seen by the writer's next query.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, request

from kg import updates
from kg.engine import NOBODY
from kg.errors import RequestError, UnsupportedMediaType
from kg.library import Library
from kg.verdict import Batch
from kg.web.authority import Authority
from kg.web.negotiation import best
from kg.web.sparql import decoded, read_fields
from kg.web.verdicts import sent_body
from kg.web.writing import told, why

_FORM, _UPDATE = "application/x-www-form-urlencoded", "application/sparql-update"


def blueprint(library: Library, authority: Authority) -> Blueprint:
    """The route `/update`."""
    routes = Blueprint("updating", __name__)

    @routes.post("/update")
    def update() -> Response:
        token = authority.require()
        change, note = why()
        if {"If-Match", "If-None-Match"} & set(request.headers.keys()):
            raise RequestError(
                "a condition is on one document, and an update may be about many: put it into the WHERE of the update, or write "
                "the document at its own address"
            )
        text, using, using_named = _sent(library.config.document_limit)
        read = updates.read(text, library.base, using, using_named)
        caller = request.environ.get("kg.caller", NOBODY)

        def compose() -> Batch:
            batch = read.compose(library, caller)
            if None in batch.values():
                authority.require("admin")
            return batch

        receipt = library.change(compose, agent=token.name, change=change, note=note, judge_all=library.judges.judge)
        if best(request.headers.get("Accept"), ["*/*", "application/json"]) == "application/json":
            return told(receipt)
        response = Response(status=204)
        del response.headers["Content-Type"]  # of nothing
        response.headers["KG-Revision"] = str(receipt.revision)
        return response

    return routes


def _sent(limit: int) -> tuple[str, Sequence[str], Sequence[str]]:
    """The update and the graphs of its parameters. Raises `RequestError`, `UnsupportedMediaType` or `DocumentTooLarge`."""
    if request.mimetype not in (_FORM, _UPDATE):
        supported = [_UPDATE, _FORM]
        raise UnsupportedMediaType(
            f"an update comes as {' or '.join(supported)}; got {request.mimetype or 'no Content-Type'}",
            supported=supported,
        )
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(f"an update is text in UTF-8; got charset {charset}", supported=["utf-8"])
    body = sent_body(limit)
    fields = read_fields(request.query_string)
    fields += [("update", decoded(body))] if request.mimetype == _UPDATE else read_fields(body)
    given: dict[str, list[str]] = {}
    for name, value in fields:
        given.setdefault(name, []).append(value)
    if "query" in given:
        raise RequestError("this address takes updates; a query goes to /sparql", parameter="query")
    texts = given.get("update", [])
    if len(texts) != 1:
        raise RequestError(
            f"there are {len(texts)} parameters `update`; send one" if texts else "there is no parameter `update`",
            parameter="update",
        )
    return texts[0], given.get("using-graph-uri", []), given.get("using-named-graph-uri", [])
