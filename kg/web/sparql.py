"""The SPARQL endpoint: SPARQL 1.1 Protocol, query operation (section 2.1).

Hides the three ways in which a query arrives and the many in which its answer is wanted. An answer is whole or an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pyoxigraph as ox
from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from kg import describe, documents, lexis, questions
from kg.engine import NOBODY, Answer, Caller, Pending, Query
from kg.errors import KgError, MalformedQuery, NotAcceptable, RequestError, StorageError, UnsupportedMediaType
from kg.library import Library
from kg.terms import KINDS, PREFIXES, Base, shorten
from kg.web.negotiation import (
    HTML,
    RDF_TYPES,
    SOLUTION_TYPES,
    best,
    choose,
    not_acceptable,
    require_xml_answer,
    short_cut,
)

#: RDF that a query can answer with. It has triples and no graphs, and so Turtle is TriG and N-Triples are N-Quads too.
_GRAPH_TYPES = RDF_TYPES

_ANY = (*SOLUTION_TYPES, *_GRAPH_TYPES, HTML)

_FORM, _QUERY, _JSON_LD = "application/x-www-form-urlencoded", "application/sparql-query", "application/ld+json"

_MOST_FIELDS = 1000

#: What the engine writes for each; JSON-LD is made from N-Triples.
_WRITTEN = {"jsonld": "nt", "nq": "nt", "trig": "ttl"}

#: Functions whose value is another each time: their answers are never kept.
_CHANGING = frozenset({"NOW", "RAND", "UUID", "STRUUID", "BNODE", "SERVICE"})

#: Rows that the result page shows; it says how many there are and links to all of them.
_ROWS = 500

_EXAMPLE = """SELECT ?who ?proposition ?when WHERE {
  ?act a ekg:Admission ;
       ekg:speaker/rdfs:label ?who ;
       ekg:content/schema:text ?proposition .
  OPTIONAL { ?act ekg:time/ekg:latest ?when }
  FILTER (lang(?who) = "en")
}"""


def blueprint(library: Library) -> Blueprint:
    """The routes of the endpoint over a library."""
    routes = Blueprint("sparql", __name__)

    @routes.get("/sparql")
    def get() -> Response:
        return _respond(library, read_fields(request.query_string))

    @routes.post("/sparql")
    def post() -> Response:
        limit = library.config.query_limit
        request.max_content_length = limit
        _require_form_or_query(request.headers.get("Content-Type"))
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            raise RequestEntityTooLarge(f"a query has at most {limit:,} bytes") from None
        # What stands in the address counts for a POST too: a parameter is never dropped without a word.
        fields = read_fields(request.query_string)
        return _respond(library, [*fields, *_fields_of_body(request.headers.get("Content-Type"), body)])

    return routes


# What is asked for: pure functions of the parts of a request


@dataclass(frozen=True)
class Wanted:
    """What a request for an answer says: the query, and the media types to send, each None where none will do."""

    query: Query
    solutions: str | None
    triples: str | None
    as_page: bool = False


def _require_form_or_query(content_type: str | None) -> str:
    """The media type of a POST. Raises `UnsupportedMediaType` for one in which no query comes."""
    media_type, parameters = parse_options_header(content_type)
    media_type = media_type.lower()
    if media_type not in (_FORM, _QUERY):
        supported = [_FORM, _QUERY]
        raise UnsupportedMediaType(
            f"a query comes as {' or '.join(supported)}; got {media_type or 'no Content-Type'}", supported=supported
        )
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(f"a query is text in UTF-8; got charset {charset}", supported=["utf-8"])
    return media_type


def _fields_of_body(content_type: str | None, body: bytes) -> list[tuple[str, str]]:
    if _require_form_or_query(content_type) == _QUERY:
        return [("query", decoded(body))]
    return read_fields(body)


def read_fields(encoded: bytes) -> list[tuple[str, str]]:
    """The pairs of a query string or form. Raises `RequestError` where it is not UTF-8, which werkzeug would mend in silence."""
    try:
        return parse_qsl(decoded(encoded), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError as error:
        raise RequestError(f"the parameters are not UTF-8: {error.object!r} cannot be read") from None
    except ValueError as error:
        raise RequestError(f"the parameters cannot be read: {error}") from None


def decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"the query is not UTF-8: byte {error.start + 1} cannot be read") from None


def _understand(fields: Iterable[tuple[str, str]], accept: str | None, base: Base) -> Wanted | str | None:
    """What is wanted; without a query, the media types in which the description is, None for any. Raises a `RequestError`."""
    given: dict[str, list[str]] = {}
    for name, value in fields:
        given.setdefault(name, []).append(value)
    if "update" in given:
        raise RequestError("this address takes queries; an update goes to /update", parameter="update")
    texts = given.get("query", [])
    if len(texts) > 1:
        raise RequestError(f"there are {len(texts)} parameters `query`; send one", parameter="query")
    accept = short_cut([*given.get("output", []), *given.get("format", [])]) or accept
    if not texts:
        if not given.keys() - {"format", "output"}:
            return accept
        raise RequestError("there is no parameter `query`", parameter="query")
    as_page = best(accept, _ANY) == HTML
    solutions = "application/sparql-results+json" if as_page else best(accept, SOLUTION_TYPES)
    triples = "text/turtle" if as_page else best(accept, _GRAPH_TYPES)
    if solutions is None and triples is None:
        raise not_acceptable(accept, _ANY)
    query = Query(
        texts[0],
        base=base.iri,
        default_graphs=_iris(given.get("default-graph-uri", []), "default-graph-uri"),
        named_graphs=_iris(given.get("named-graph-uri", []), "named-graph-uri"),
        solutions=SOLUTION_TYPES[solutions] if solutions else None,
        triples=_WRITTEN.get(_GRAPH_TYPES[triples], _GRAPH_TYPES[triples]) if triples else None,
        timeout=_seconds(given.get("timeout", [])),
    )
    return Wanted(query, solutions, triples, as_page)


def _headers_of(wanted: Wanted, answer: Answer) -> list[tuple[str, str]]:
    """What the answer's header says, but for its type and length."""
    headers = [
        ("Vary", "Accept"),
        ("KG-Revision", str(answer.revision)),
        (
            "Cache-Control",
            "no-store" if lexis.words_among(wanted.query.text, _CHANGING) else "public, no-cache",
        ),
    ]
    if answer.prefixes:
        headers.append(("KG-Prefixes-Added", ", ".join(answer.prefixes)))
    return headers


def _type_of(wanted: Wanted, answer: Answer) -> str:
    """The Content-Type of an answer as the engine wrote it. Raises `NotAcceptable` where it would be XML and cannot be."""
    if answer.format in ("xml", "rdf"):
        require_xml_answer(answer)
    return _with_charset(str(wanted.triples if answer.kind == "triples" else wanted.solutions))


# Answering


class Shortcut:
    """The same answers without Flask, for who must not wait: whatever is not plain sailing is left to the application.

    It does nothing that the routes do not, in the same functions; it only leaves out what a look-up has no use for.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def begin(
        self,
        fields: Sequence[tuple[str, str]],
        post: tuple[str | None, bytes] | None,
        accept: str | None,
        caller: Caller,
        placed: Callable[[], object],
    ) -> tuple[Wanted, Pending] | None:
        """What is asked for in the parameters of the address and in type and body of a POST, and the evaluation, begun.

        None for what the application has to answer, be it with an error.
        """
        try:
            if len(fields) > _MOST_FIELDS or any("\ufffd" in value for pair in fields for value in pair):
                return None  # perhaps it was not UTF-8
            if post is not None:
                if len(post[1]) > self._library.config.query_limit:
                    return None
                fields = [*fields, *_fields_of_body(*post)]
            wanted = _understand(fields, accept, self._library.base)
            if not isinstance(wanted, Wanted) or wanted.as_page or wanted.triples == _JSON_LD:
                return None
            pending = self._library.begin(wanted.query, caller, placed)
        except KgError:
            return None
        return None if pending is None else (wanted, pending)

    def head(self, wanted: Wanted, answer: Answer) -> list[tuple[str, str]] | None:
        """The header of an answer, names in lower case, but for what all answers have in common; None where it is an error after all."""
        try:
            content_type = _type_of(wanted, answer)
        except NotAcceptable:
            return None
        fields = [(name.lower(), value) for name, value in _headers_of(wanted, answer)]
        return [("content-type", content_type), ("content-length", str(answer.length)), *fields]


def _respond(library: Library, fields: Iterable[tuple[str, str]]) -> Response:
    wanted = _understand(fields, request.headers.get("Accept"), library.base)
    if not isinstance(wanted, Wanted):
        if request.method != "GET":
            raise RequestError("there is no parameter `query`", parameter="query")
        return _without_query(library, wanted)
    query = wanted.query
    try:
        answer = _evaluate(library, query)
    except NotAcceptable as error:
        available = list(_GRAPH_TYPES if error.facts["available"] == "triples" else SOLUTION_TYPES)
        raise NotAcceptable(f"{error.detail}; there are {', '.join(available)}", available=available) from None
    except MalformedQuery as error:
        if not wanted.as_page:
            raise
        page = render_template("sparql.html", query=query.text, error=error, **_editor(library))
        return Response(page, 400, mimetype=HTML)
    if wanted.as_page:
        response = _page(library, query, answer)
    elif answer.kind == "triples" and wanted.triples == _JSON_LD:
        quads = ox.parse(answer.read(), format=ox.RdfFormat.N_TRIPLES, lenient=True)
        response = Response(documents.json_ld((quad.triple for quad in quads), library.base), mimetype=_JSON_LD)
    else:
        content_type = _type_of(wanted, answer)
        response = Response(answer.chunks(), content_type=content_type, headers={"Content-Length": str(answer.length)})
    response.headers.update(_headers_of(wanted, answer))
    return response


def _evaluate(library: Library, query: Query) -> Answer:
    """The answer, of which the evaluation may have begun already."""
    pending: Pending | None = request.environ.get("kg.pending")
    if pending is not None:
        with contextlib.suppress(StorageError):  # the snapshot was removed meanwhile: there is a newer one
            return pending.answer()
    return library.answer(query, request.environ.get("kg.caller", NOBODY))


def _with_charset(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def _iris(values: Sequence[str], parameter: str) -> tuple[str, ...]:
    for value in values:
        try:
            ox.NamedNode(value)
        except ValueError:
            raise RequestError(f"{parameter} is not an absolute IRI: {value!r}", parameter=parameter) from None
    return tuple(values)


def _seconds(values: Sequence[str]) -> float | None:
    if not values:
        return None
    try:
        seconds = float(values[-1])
    except ValueError:
        seconds = -1
    if not 0 < seconds < 1e6:
        raise RequestError(f"timeout is a number of seconds above 0; got {values[-1]!r}", parameter="timeout")
    return seconds


def _without_query(library: Library, accept: str | None) -> Response:
    """The description of the service (SPARQL 1.1 Service Description), or the page with the form."""
    media_type = choose(accept, [*_GRAPH_TYPES, HTML])
    if media_type == HTML:
        response = Response(render_template("sparql.html", query=_EXAMPLE, **_editor(library)), mimetype=HTML)
    else:
        described = describe.service(
            library.base,
            library.journal.counts(),
            _some_documents(library),
            federated=bool(library.config.service_allow),
        )
        body = describe.write(described, _GRAPH_TYPES[media_type], library.base)
        response = Response(body, content_type=_with_charset(media_type))
    response.vary.add("Accept")
    response.headers["KG-Revision"] = str(library.engine.reached())
    return response


def _some_documents(library: Library) -> list[str]:
    """The first documents of each kind, as examples of named graphs."""
    return [iri for kind in KINDS for iri in library.journal.documents(kind, describe.GRAPHS_OF_A_KIND)]


def _editor(library: Library) -> dict[str, Any]:
    """What the editor knows beforehand: the prefixes that need not be declared, and the questions, which are its examples."""
    kinds = {kind: f"{library.base}{kind}/" for kind in KINDS}
    examples = [(question.id, question.summary) for question in questions.catalogue().values()]
    return {"editor": {"prefixes": {**PREFIXES, **kinds}}, "examples": examples}


def _page(library: Library, query: Query, answer: Answer) -> Response:
    """The form with the answer below it."""
    names = ("csv", "tsv", "json", "xml") if answer.kind != "triples" else ("ttl", "jsonld", "nt", "rdf")
    titles = {"ttl": "Turtle", "jsonld": "JSON-LD", "nt": "N-Triples", "rdf": "RDF/XML"}
    forms = [(titles.get(name, name.upper()), f"?{urlencode({'query': query.text, 'format': name})}") for name in names]
    context: dict[str, Any] = {"query": query.text, "answer": answer, "forms": forms, **_editor(library)}
    if answer.kind == "triples":
        context["turtle"] = _with_used_prefixes(answer.read().decode())
        return Response(render_template("sparql.html", **context), mimetype=HTML)
    parsed = ox.parse_query_results(answer.read(), format=ox.QueryResultsFormat.JSON)
    if isinstance(parsed, ox.QueryBoolean):
        context["verdict"] = bool(parsed)
        return Response(render_template("sparql.html", **context), mimetype=HTML)
    assert isinstance(parsed, ox.QuerySolutions)
    columns = [variable.value for variable in parsed.variables]
    rows: list[list[tuple[str, str, str | None]]] = []
    count = 0
    for solution in parsed:
        count += 1
        if count <= _ROWS:
            rows.append([_cell(solution[name], library) for name in columns])
    context.update(names=columns, rows=rows, count=count)
    return Response(render_template("sparql.html", **context), mimetype=HTML)


def _with_used_prefixes(turtle: str) -> str:
    """Turtle as the engine writes it, without the declarations that nothing in it uses: a reader came for the triples."""
    lines = turtle.splitlines(keepends=True)
    declared = [line for line in lines if line.startswith("@prefix ")]
    body = "".join(lines[len(declared) :])
    return "".join(line for line in declared if line.split()[1] in body) + body


def _cell(term: Any, library: Library) -> tuple[str, str, str | None]:
    """Text, address (empty where it is no link) and language of a value."""
    if term is None:
        return "", "", None
    if isinstance(term, ox.NamedNode):
        return shorten(term.value, library.base), _href(term.value, library.base), None
    return getattr(term, "value", str(term)), "", getattr(term, "language", None)


def _href(iri: str, base: Base) -> str:
    """Where a reader sees what an IRI names: here, if it is a document of ours or a part of one."""
    if base.document_of(iri) is not None:
        document, hash, part = iri.removeprefix(base.iri).partition("#")
        return f"{urlsplit(base.iri).path}{document}.html{hash}{part}"
    return iri if iri.startswith(("http://", "https://")) else ""
