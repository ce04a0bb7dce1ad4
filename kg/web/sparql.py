"""The SPARQL endpoint: SPARQL 1.1 Protocol, query operation (section 2.1).

Hides the three ways in which a query arrives and the many in which its answer is wanted. An answer is whole or an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pyoxigraph as ox
from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge

from kg import describe, documents, lexis
from kg.engine import NOBODY, Answer, Query
from kg.errors import MalformedQuery, NotAcceptable, RequestError, UnsupportedMediaType
from kg.library import Library
from kg.terms import KINDS, shorten
from kg.web.negotiation import HTML, RDF_TYPES, SOLUTION_TYPES, best, choose, not_acceptable, require_xml, short_cut

#: RDF that a query can answer with. It has triples and no graphs, and so Turtle is TriG and N-Triples are N-Quads too.
_GRAPH_TYPES = RDF_TYPES

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
        return _respond(library, _read_fields(request.query_string))

    @routes.post("/sparql")
    def post() -> Response:
        request.max_content_length = library.config.query_limit
        media_type = request.mimetype
        if media_type not in ("application/x-www-form-urlencoded", "application/sparql-query"):
            supported = ["application/x-www-form-urlencoded", "application/sparql-query"]
            raise UnsupportedMediaType(
                f"a query comes as {' or '.join(supported)}; got {media_type or 'no Content-Type'}", supported=supported
            )
        charset = request.mimetype_params.get("charset", "utf-8").lower()
        if charset not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType(f"a query is text in UTF-8; got charset {charset}", supported=["utf-8"])
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            limit = library.config.query_limit
            raise RequestEntityTooLarge(f"a query has at most {limit:,} bytes") from None
        # What stands in the address counts for a POST too: a parameter is never dropped without a word.
        fields = _read_fields(request.query_string)
        if media_type == "application/sparql-query":
            return _respond(library, [*fields, ("query", _decoded(body))])
        return _respond(library, [*fields, *_read_fields(body)])

    return routes


def _read_fields(encoded: bytes) -> list[tuple[str, str]]:
    """The pairs of a query string or form. Raises `RequestError` where it is not UTF-8, which werkzeug would mend in silence."""
    try:
        return parse_qsl(_decoded(encoded), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except UnicodeDecodeError as error:
        raise RequestError(f"the parameters are not UTF-8: {error.object!r} cannot be read") from None
    except ValueError as error:
        raise RequestError(f"the parameters cannot be read: {error}") from None


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"the query is not UTF-8: byte {error.start + 1} cannot be read") from None


def _respond(library: Library, fields: Iterable[tuple[str, str]]) -> Response:
    given: dict[str, list[str]] = {}
    for name, value in fields:
        given.setdefault(name, []).append(value)
    if "update" in given:
        raise RequestError("this address takes queries; an update goes elsewhere", parameter="update")
    texts = given.get("query", [])
    if len(texts) > 1:
        raise RequestError(f"there are {len(texts)} parameters `query`; send one", parameter="query")
    asked = short_cut([*given.get("output", []), *given.get("format", [])])
    accept = asked or request.headers.get("Accept")
    if not texts:
        if request.method == "GET" and not given.keys() - {"format", "output"}:
            return _without_query(library, accept)
        raise RequestError("there is no parameter `query`", parameter="query")
    as_page = best(accept, [*SOLUTION_TYPES, *_GRAPH_TYPES, HTML]) == HTML
    solutions = "application/sparql-results+json" if as_page else best(accept, SOLUTION_TYPES)
    triples = "text/turtle" if as_page else best(accept, _GRAPH_TYPES)
    if solutions is None and triples is None:
        raise not_acceptable(accept, [*SOLUTION_TYPES, *_GRAPH_TYPES, HTML])
    query = Query(
        texts[0],
        base=library.base.iri,
        default_graphs=_iris(given.get("default-graph-uri", []), "default-graph-uri"),
        named_graphs=_iris(given.get("named-graph-uri", []), "named-graph-uri"),
        solutions=SOLUTION_TYPES[solutions] if solutions else None,
        triples=_WRITTEN.get(_GRAPH_TYPES[triples], _GRAPH_TYPES[triples]) if triples else None,
        timeout=_seconds(given.get("timeout", [])),
    )
    try:
        answer = library.answer(query, request.environ.get("kg.caller", NOBODY))
    except NotAcceptable as error:
        available = list(_GRAPH_TYPES if error.facts["available"] == "triples" else SOLUTION_TYPES)
        raise NotAcceptable(f"{error.detail}; there are {', '.join(available)}", available=available) from None
    except MalformedQuery as error:
        if not as_page:
            raise
        page = render_template("sparql.html", query=query.text, error=error)
        return Response(page, 400, mimetype=HTML)
    if as_page:
        response = _page(library, query, answer)
    elif answer.kind == "triples" and triples == "application/ld+json":
        quads = ox.parse(answer.read(), format=ox.RdfFormat.N_TRIPLES, lenient=True)
        response = Response(
            documents.json_ld((quad.triple for quad in quads), library.base), mimetype="application/ld+json"
        )
    else:
        media_type = triples if answer.kind == "triples" else solutions
        if answer.format in ("xml", "rdf"):
            _require_xml(answer)
        response = Response(
            answer.chunks(), content_type=_with_charset(str(media_type)), headers={"Content-Length": str(answer.length)}
        )
    response.vary.add("Accept")
    response.headers["KG-Revision"] = str(answer.revision)
    response.headers["Cache-Control"] = "no-store" if _CHANGING & lexis.words(query.text) else "public, no-cache"
    if answer.prefixes:
        response.headers["KG-Prefixes-Added"] = ", ".join(answer.prefixes)
    return response


def _require_xml(answer: Answer) -> None:
    """Raise `NotAcceptable` where an answer in XML would not be XML; else it can still be read from its beginning."""
    available = _GRAPH_TYPES if answer.kind == "triples" else SOLUTION_TYPES
    others = [media_type for media_type, name in available.items() if name != answer.format]
    if isinstance(answer.body, bytes):
        require_xml([answer.body], others)
        return
    try:
        require_xml(iter(lambda: answer.body.read(2**20), b""), others)  # type: ignore[union-attr]
    except NotAcceptable:
        answer.body.close()
        raise
    answer.body.seek(0)


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
        response = Response(render_template("sparql.html", query=_EXAMPLE), mimetype=HTML)
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


def _page(library: Library, query: Query, answer: Answer) -> Response:
    """The form with the answer below it."""
    names = ("csv", "tsv", "json", "xml") if answer.kind != "triples" else ("ttl", "jsonld", "nt", "rdf")
    titles = {"ttl": "Turtle", "jsonld": "JSON-LD", "nt": "N-Triples", "rdf": "RDF/XML"}
    forms = [(titles.get(name, name.upper()), f"?{urlencode({'query': query.text, 'format': name})}") for name in names]
    context: dict[str, Any] = {"query": query.text, "answer": answer, "forms": forms}
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
        href = term.value if term.value.startswith(("http://", "https://")) else ""
        return shorten(term.value, library.base), href, None
    return getattr(term, "value", str(term)), "", getattr(term, "language", None)
