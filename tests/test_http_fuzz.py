"""Requests that nobody would write: mutated queries, headers, encodings and paths.

Whatever comes, the answer is one of the statuses that are documented, its body is what its media type says, and the server is
still the same process afterwards. The examples are drawn anew from the same seed each time, so that a failure is one for everybody.
"""

from __future__ import annotations

import csv
import gzip
import http.client
import io
import json
import socket
from typing import Any
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree

import pyoxigraph as ox
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Server

from kg.errors import KgError
from kg.web import status_of

FUZZ = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: The statuses of 5xx that a query can honestly end with, by the kind of error.
DOCUMENTED = {kind.name(): status_of(kind) for kind in KgError.tree()}

QUERIES = [
    "SELECT * WHERE { ?s ?p ?o } LIMIT 5",
    "SELECT ?a (COUNT(*) AS ?n) { ?a a ekg:Admission ; ekg:speaker ?b } GROUP BY ?a HAVING(?n > 0) ORDER BY ?n",
    "ASK { actor:russia rdfs:label 'Россия'@ru }",
    "CONSTRUCT { ?s <http://x.example/1> ?o . ?o ?s ?s } WHERE { ?s rdfs:label ?o } LIMIT 3",
    "DESCRIBE place:kursk-region",
    "SELECT (IRI(CONCAT('http://x.example/', STR(?l))) AS ?i) (STRDT(?l, ?t) AS ?d) { VALUES (?l ?t) { ('a b' <x:y>) ('<&>\\u0007' UNDEF) } }",
    "SELECT * { { SELECT ?s { ?s a/rdfs:subClassOf* ekg:Event } } OPTIONAL { ?s ^ekg:reports+ ?r } MINUS { ?s ekg:time ?t } }",
    "SELECT * FROM <a:b> FROM NAMED <c:d> { GRAPH ?g { ?s ?p 1.0e0, true, '''x''', [] } }",
    "SELECT ?x { ?x ?y '2025-04-26'^^xsd:date } ORDER BY DESC(?x) OFFSET 1",
    "INSERT DATA { <a:a> <b:b> <c:c> }",
    "SELECT * { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }",
]
PIECES = ["{", "}", "(", ")", "<", ">", '"', "'''", "\\u0053", "\\", "#", "%", "+", "?x", "_:b", "@en", "^^", "SERVICE ", "UNION", "FILTER",
          "VALUES", "\x00", "\ud7ff", "\ufeff", "🕊", "Курск", "\u202e", "\r", "ORDER BY ?o", "1e999", "<<", "BIND(1/0 AS ?z)", "REGEX(?o, '(a+)+$')"]  # fmt: skip

TYPES = ["application/sparql-results+json", "application/sparql-results+xml", "text/csv", "text/tab-separated-values", "text/turtle",
         "application/ld+json", "application/n-triples", "application/rdf+xml", "application/trig", "application/n-quads", "text/html", "*/*",
         "text/*", "application/*", "image/png", "*", "", ";", "a/b;q=1;c", "text/turtle;charset=\"", "text/html;level=1"]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A query with a few wounds, or none."""
    text = draw(st.sampled_from(QUERIES))
    for _ in range(max(0, draw(st.integers(-2, 3)))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 6)))
        what = draw(st.sampled_from(["cut", "insert", "double", "text"]))
        if what == "cut":
            text = text[:start] + text[end:]
        elif what == "insert":
            text = text[:start] + draw(st.sampled_from(PIECES)) + text[start:]
        elif what == "double":
            text = text[:end] + text[start:]
        else:
            text = text[:start] + draw(st.text(max_size=5)).encode("utf-8", "ignore").decode() + text[end:]
    return text


mixed = st.lists(
    st.tuples(
        st.sampled_from(TYPES), st.sampled_from(["", ";q=0", ";q=0.5", ";q=1.000", ";q=2", ";q=", ";q=x", "; q = 0.3"])
    ),
    max_size=4,
).map(lambda items: ", ".join(kind + quality for kind, quality in items))

accepts = st.one_of(st.sampled_from([*TYPES[:12], f"{TYPES[0]}, {TYPES[4]}", f"{TYPES[1]}, {TYPES[7]}"]), mixed)

headers = st.fixed_dictionaries(
    {"Accept": accepts},
    optional={
        "Accept-Encoding": st.sampled_from(["gzip", "zstd", "br", "gzip;q=0", "*", "identity;q=0", ""]),
        "If-None-Match": st.sampled_from(["*", '"x"', "x", 'W/"', ",,"]),
        "If-Modified-Since": st.sampled_from(["yesterday", "Sun, 06 Nov 1994 08:49:37 GMT", "0"]),
        "Range": st.sampled_from(["bytes=0-3", "bytes=9-1", "rows=1-2", "bytes=-1", "bytes=99999999-"]),
        "KG-Min-Revision": st.sampled_from(["0", "1", "1", "1", "-1", "²"]),
        "Host": st.sampled_from(["", "evil.example", "[::1", "a b"]),
        "Origin": st.just("null"),
        "Authorization": st.sampled_from(["Bearer x", "Basic !", "x"]),
        "X-Forwarded-Host": st.just("evil.example"),
        "Content-Encoding": st.just("gzip"),
        "Cookie": st.just('a="; b'),
    },
)

types = st.sampled_from(["application/x-www-form-urlencoded", "application/sparql-query", "application/sparql-query; charset=utf-8",
                         "application/sparql-query; charset=koi8-r", "application/x-www-form-urlencoded; charset", "multipart/form-data",
                         "text/plain", "", "application/sparql-update", "application/sparql-query;;=;"])  # fmt: skip

extra = st.lists(
    st.one_of(
        st.sampled_from(
            [
                ("format", "json"),
                ("output", "xml"),
                ("format", "ttl"),
                ("default-graph-uri", "a:b"),
                ("named-graph-uri", "a:b"),
                ("x", "y"),
            ]
        ),
        st.tuples(
            st.sampled_from(
                ["default-graph-uri", "named-graph-uri", "format", "output", "timeout", "query", "update", ""]
            ),
            st.sampled_from(
                ["", "a:b", "http://x.example/ y", "text/csv", "-1", "1e400", "NaN", "ASK{}", "\x00", "Курск"]
            ),
        ),
    ),
    max_size=1,
)


def send(
    server: Server, method: str, target: bytes, fields: dict[str, str], body: bytes | None
) -> tuple[int, Any, bytes]:
    """Send bytes as they are; the status, headers and body of what comes back."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1"]
    if "Host" not in fields:
        lines.append(b"Host: 127.0.0.1")
    lines += [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in fields.items()]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [b"Connection: close", b"", b""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + (body or b""))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.headers, response.read()


def require_sound(server: Server, method: str, status: int, fields: Any, body: bytes) -> None:
    """The status is documented, and the body is what it says it is."""
    media_type = (fields["Content-Type"] or "").partition(";")[0]
    if "Content-Length" in fields and method != "HEAD" and status != 304:
        assert int(fields["Content-Length"]) == len(body)
    if method == "HEAD" or status == 304:
        assert body == b""
        return
    if method == "OPTIONS" and not body:
        assert fields["Allow"]
        return
    if fields["Content-Encoding"] == "gzip":
        body = gzip.decompress(body)
    elif fields["Content-Encoding"] == "zstd":
        body = zstandard.ZstdDecompressor().decompress(body, max_output_size=2**28)
    if not body and not media_type:
        assert status in (200, 204, 400, 414, 431), (
            status
        )  # what the HTTP server cannot read at all it refuses without a word
        return
    if status >= 400 and media_type != "text/html":
        problem = json.loads(body)
        name = problem["type"].partition("errors#")[2]
        assert media_type == "application/problem+json"
        assert problem["status"] == status
        if status >= 500:
            assert name in ("query-timeout", "query-process-died", "overloaded", "index-behind"), problem
            assert DOCUMENTED[name] == status
        return
    assert status < 500, body
    parse(server, media_type, body)


def parse(server: Server, media_type: str, body: bytes) -> None:
    results = {"application/sparql-results+json": "JSON", "application/json": "JSON", "application/sparql-results+xml": "XML",
               "application/xml": "XML", "text/tab-separated-values": "TSV"}  # fmt: skip
    syntaxes = {"text/turtle": "TURTLE", "application/n-triples": "N_TRIPLES", "application/rdf+xml": "RDF_XML", "application/trig": "TRIG",
                "application/n-quads": "N_QUADS"}  # fmt: skip
    if "xml" in media_type and media_type != "image/svg+xml":
        ElementTree.fromstring(body)  # noqa: S314 — our own answer; a parser that is not the engine's, and stricter
    if media_type in results:
        if media_type == "application/json" and b'"bindings"' not in body and b'"boolean"' not in body:
            json.loads(body)
            return
        parsed = ox.parse_query_results(body, format=getattr(ox.QueryResultsFormat, results[media_type]))
        if isinstance(parsed, ox.QuerySolutions):
            list(parsed)
    elif media_type in syntaxes:
        list(ox.parse(body, format=getattr(ox.RdfFormat, syntaxes[media_type]), lenient=True))
    elif media_type == "text/csv":
        rows = list(csv.reader(io.StringIO(body.decode()), strict=True))
        assert len({len(row) for row in rows}) <= 2
    elif media_type == "application/ld+json":
        json.loads(body)
    elif media_type == "text/html":
        text = body.decode()
        assert "</html>" in text or "Redirecting" in text
    else:
        assert media_type in ("text/css", "image/svg+xml", "text/plain"), media_type


@pytest.fixture
def unchanged(served: Server) -> Any:
    """The server is the same process after all of it, and still answers."""
    before = served.web_process
    yield served
    assert served.process.poll() is None
    assert served.web_process == before
    assert served.sparql("ASK {}", "text/csv").text.strip() == "true"


@FUZZ
@given(query=mutated(), how=st.sampled_from(["GET", "HEAD", "raw"]), fields=headers, more=extra)
def test_queries_in_addresses(
    unchanged: Server, query: str, how: str, fields: dict[str, str], more: list[tuple[str, str]]
) -> None:
    encode = quote if how == "raw" else quote_plus
    pairs = [("query", query), ("timeout", "0.5"), *more]
    target = b"/sparql?" + "&".join(f"{name}={encode(value)}" for name, value in pairs).encode()
    if how == "raw":
        target = target.replace(b"%7B", b"{").replace(b"%25", b"%").replace(b"%3F", b"?")
    method = "GET" if how == "raw" else how
    require_sound(unchanged, method, *send(unchanged, method, target, fields, None))


@FUZZ
@given(
    query=mutated(),
    content_type=types,
    fields=headers,
    broken=st.sampled_from(["", "cut", "latin-1", "utf-16", "null"]),
)
def test_queries_in_bodies(
    unchanged: Server, query: str, content_type: str, fields: dict[str, str], broken: str
) -> None:
    body = query.encode()
    if content_type.startswith("application/x-www"):
        body = b"timeout=0.5&query=" + quote_plus(query).encode()
    if broken == "cut":
        body = body[: len(body) // 2]
    elif broken == "null":
        body += b"\x00\xff"
    elif broken:
        body = query.encode(broken, "ignore")
    target = b"/sparql?timeout=0.5"
    sent = {**fields, "Content-Type": content_type}
    require_sound(unchanged, "POST", *send(unchanged, "POST", target, sent, body))


segments = st.one_of(
    st.sampled_from(["actor", "article", "russia", "russia.ttl", "russia.html", "russia.", ".ttl", "..", ".", "", "ns", "ns.rdf", "shapes", "static",
                     "kg.css", "errors", "health", "metrics", "%2e%2e", "%00", "%ff", "%", "%zz", "\\", "actor%2Frussia", "sparql", ".well-known", "void",
                     "context.jsonld", "a" * 300, "Россия", "<b>", "russia;x=1", "~", "%0d%0aX:%20y"]),
    st.text(max_size=6),
)  # fmt: skip


@FUZZ
@given(
    path=st.lists(segments, max_size=4),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "POST", "DELETE", "TRACE", "X"]),
    fields=headers,
    query=st.sampled_from(["", "?", "?after=x", "?after=%ff", "?after=%00", "?v=1&v=2", "?query"]),
)
def test_paths_and_methods(unchanged: Server, path: list[str], method: str, fields: dict[str, str], query: str) -> None:
    target = quote("/" + "/".join(path), safe="/%;:~<>\\", errors="ignore") + query
    require_sound(unchanged, method, *send(unchanged, method, target.encode(), fields, None))
