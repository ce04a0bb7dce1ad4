"""SPARQL 1.1 Protocol (W3C Recommendation, 21 March 2013), the query operation, sentence by sentence.

Each test quotes or names, in its docstring, the sentence that binds a server. Requests are written by hand with http.client, so
that malformed ones can be sent too. Where the answer depends only on the request, the cases are data: `queries.json` beside this
file holds a request and what must come back, and a new case is a new entry.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode
from xml.etree import ElementTree

import pyoxigraph as ox
import pytest
from serving import Server

FORM = "application/x-www-form-urlencoded"
DIRECT = "application/sparql-query"
JSON = "application/sparql-results+json"
XML = "application/sparql-results+xml"
CSV, TSV = "text/csv", "text/tab-separated-values"

SD = "http://www.w3.org/ns/sparql-service-description#"
VOID = "http://rdfs.org/ns/void#"
RDF_TYPE = ox.NamedNode("http://www.w3.org/1999/02/22-rdf-syntax-ns#type")

RDF = {
    "text/turtle": ox.RdfFormat.TURTLE,
    "application/n-triples": ox.RdfFormat.N_TRIPLES,
    "application/rdf+xml": ox.RdfFormat.RDF_XML,
    "application/ld+json": ox.RdfFormat.JSON_LD,
    "application/trig": ox.RdfFormat.TRIG,
    "application/n-quads": ox.RdfFormat.N_QUADS,
}
RESULT_TYPES = {JSON, XML, CSV, TSV}
RESULTS = {JSON: ox.QueryResultsFormat.JSON, XML: ox.QueryResultsFormat.XML, TSV: ox.QueryResultsFormat.TSV}

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "queries.json").read_text("utf-8"))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def media_type(self) -> str:
        return str(self.headers["Content-Type"]).partition(";")[0]

    @property
    def boolean(self) -> bool:
        assert (self.status, self.media_type) == (200, JSON), (self.status, self.body)
        value = json.loads(self.body)["boolean"]
        assert isinstance(value, bool)
        return value

    def values(self) -> list[str]:
        """The first column of a table in JSON."""
        assert (self.status, self.media_type) == (200, JSON), (self.status, self.body)
        tree = json.loads(self.body)
        return [row[tree["head"]["vars"][0]]["value"] for row in tree["results"]["bindings"]]

    def problem(self) -> dict[str, Any]:
        assert self.media_type == "application/problem+json", self.body
        tree: dict[str, Any] = json.loads(self.body)
        assert tree["status"] == self.status
        return tree


def send(
    server: Server,
    method: str = "GET",
    target: str = "/sparql",
    body: bytes | None = None,
    accept: str | None = JSON,
    content_type: str | None = None,
    **headers: str,
) -> Answer:
    """Send exactly this, with no header of which it is not told but Host, Content-Length and the connection's own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        if accept is not None:
            connection.putheader("Accept", accept)
        if content_type is not None:
            connection.putheader("Content-Type", content_type)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def get(server: Server, *fields: tuple[str, str], accept: str | None = JSON, **headers: str) -> Answer:
    return send(server, "GET", "/sparql?" + urlencode(fields), accept=accept, **headers)


def form(server: Server, *fields: tuple[str, str], accept: str | None = JSON, content_type: str = FORM) -> Answer:
    return send(server, "POST", "/sparql", urlencode(fields).encode(), accept, content_type)


def direct(
    server: Server, query: str, *fields: tuple[str, str], accept: str | None = JSON, content_type: str = DIRECT
) -> Answer:
    target = "/sparql" + (f"?{urlencode(fields)}" if fields else "")
    return send(server, "POST", target, query.encode(), accept, content_type)


def ask(server: Server, way: str, query: str, *fields: tuple[str, str], accept: str | None = JSON) -> Answer:
    """The same operation in one of the three ways of section 2.1."""
    if way == "GET":
        return get(server, ("query", query), *fields, accept=accept)
    if way == "form":
        return form(server, ("query", query), *fields, accept=accept)
    return direct(server, query, *fields, accept=accept)


WAYS = pytest.mark.parametrize("way", ["GET", "form", "direct"])


# 2.1 The query operation


@WAYS
def test_2_1_query_by_each_of_the_three_ways(served: Server, way: str) -> None:
    """2.1: "The query operation MUST be invoked with either the HTTP GET or HTTP POST method." All three forms of 2.1.1–2.1.3."""
    assert ask(served, way, "ASK {}").boolean is True


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_2_1_other_methods_are_not_allowed(served: Server, method: str) -> None:
    """2.1, and RFC 9110 section 15.5.6: the methods that there are stand in Allow."""
    answer = send(served, method, "/sparql?query=ASK%7B%7D")
    assert answer.status == 405
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert answer.problem()["title"]


def test_2_1_more_parameters_than_there_are_do_not_hurt(served: Server) -> None:
    """2.1: additional parameters are outside of the protocol; clients send their own (`results=`, `debug=`) everywhere."""
    assert get(served, ("query", "ASK {}"), ("results", "json"), ("debug", "on"), ("", "")).boolean is True


@pytest.mark.parametrize("case", [case for case in CASES if case["section"] == "2.1"], ids=lambda case: case["name"])
@WAYS
def test_2_1_text_arrives_as_it_was_sent(served: Server, way: str, case: dict[str, Any]) -> None:
    """2.1.1: parameters are percent-encoded; 2.1.2: form-encoded; 2.1.3: "the unencoded SPARQL query string": decoded once, as UTF-8."""
    assert ask(served, way, case["query"]).values() == case["values"]


# 2.1.1 via GET


@pytest.mark.parametrize("encode", [quote, quote_plus, lambda text: "".join(f"%{byte:02x}" for byte in text.encode())])
def test_2_1_1_percent_encoding_in_each_style(served: Server, encode: Any) -> None:
    """2.1.1: "Clients must use percent-encoding"; a space may come as %20 or +, and any byte in either case of hexadecimal."""
    text = 'SELECT ("Курск 100% + 쿠르스크" AS ?x) {}'
    assert send(served, target=f"/sparql?query={encode(text)}").values() == ["Курск 100% + 쿠르스크"]


def test_2_1_1_what_is_not_utf_8_is_malformed(served: Server) -> None:
    """2.1.1 with RFC 3986 section 2.5: text in an address is UTF-8. It is refused, not mended in silence."""
    answer = send(served, target="/sparql?query=SELECT(%22%ff%22AS%3Fx)%7B%7D")
    assert (answer.status, answer.problem()["title"]) == (400, "The request does not follow the protocol")


def test_2_1_1_a_body_with_get_is_no_query(served: Server) -> None:
    """2.1.1: via GET there is no request body; one that comes is not taken for a query."""
    answer = send(served, "GET", "/sparql", b"query=ASK+%7B%7D", content_type=FORM, accept="text/turtle")
    assert (answer.status, answer.media_type) == (200, "text/turtle")
    assert b"sd:Service" in answer.body


# 2.1.2 via POST with URL-encoded parameters


def test_2_1_2_media_type_may_have_parameters_and_any_case(served: Server) -> None:
    """2.1.2: "Content-Type application/x-www-form-urlencoded"; media types are case-insensitive (RFC 9110, section 8.3.1)."""
    for content_type in (f"{FORM}; charset=UTF-8", f'{FORM};charset="utf-8"', FORM.upper()):
        assert form(served, ("query", "ASK {}"), content_type=content_type).boolean is True


def test_2_1_2_what_is_not_utf_8_is_malformed(served: Server) -> None:
    """2.1.2: parameters are URL-encoded text; bytes that are not UTF-8, encoded or bare, are refused."""
    for body in (b"query=SELECT(%22%ff%22AS%3Fx)%7B%7D", b"query=SELECT(%22\xff%22AS%3Fx)%7B%7D"):
        answer = send(served, "POST", "/sparql", body, content_type=FORM)
        assert (answer.status, answer.problem()["title"]) == (400, "The request does not follow the protocol")


def test_2_1_2_parameters_in_the_address_count_too(served: Server) -> None:
    """2.1.2 puts the parameters into the body. One in the address is honoured: to drop a dataset in silence would change the answer."""
    graph = served.url + "place/kursk-region"
    body = urlencode({"query": "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }"}).encode()
    answers = [
        send(served, "POST", target, body, content_type=FORM).values()
        for target in ("/sparql", "/sparql?" + urlencode({"default-graph-uri": graph}))
    ]
    assert int(answers[1][0]) == graph_size(served, graph) < int(answers[0][0])


# 2.1.3 via POST directly


def test_2_1_3_charset(served: Server) -> None:
    """2.1.3: "Note that UTF-8 is the only valid charset here." """
    query = 'SELECT ("Курск" AS ?x) {}'
    for content_type in (f"{DIRECT}; charset=utf-8", f"{DIRECT}; charset=UTF-8", f'{DIRECT};charset="UTF-8"'):
        assert direct(served, query, content_type=content_type).values() == ["Курск"]
    for charset in ("iso-8859-1", "utf-16", "windows-1251", "no-such-charset"):
        answer = direct(served, query, content_type=f"{DIRECT}; charset={charset}")
        assert answer.status == 415
        assert answer.problem()["supported"] == ["utf-8"]


def test_2_1_3_what_is_not_utf_8_is_malformed(served: Server) -> None:
    """2.1.3: text that is not UTF-8 is refused, with the place."""
    answer = send(served, "POST", "/sparql", 'SELECT ("Курск" AS ?x) {}'.encode("cp1251"), content_type=DIRECT)
    assert answer.status == 400
    assert "byte 10" in answer.problem()["detail"]


def test_2_1_3_the_body_is_not_decoded(served: Server) -> None:
    """2.1.3: the query is "the unencoded SPARQL query string": a + is a plus and a %41 stays one."""
    assert direct(served, 'SELECT ("1+1=%41&x" AS ?x) {}').values() == ["1+1=%41&x"]


def test_2_1_3_dataset_in_the_address(served: Server) -> None:
    """2.1.3: "clients may include the optional default-graph-uri and named-graph-uri parameters as HTTP query string parameters"."""
    graph = served.url + "place/kursk-region"
    answer = direct(served, "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }", ("default-graph-uri", graph))
    assert int(answer.values()[0]) == graph_size(served, graph)


def test_2_1_3_a_query_in_the_address_as_well_is_two(served: Server) -> None:
    """2.1 "exactly 1" query string, and 2.1.3: it is the body."""
    answer = direct(served, "ASK {}", ("query", "ASK {}"))
    assert (answer.status, answer.problem()["title"]) == (400, "The request does not follow the protocol")


# 2.1.4 Specifying an RDF dataset

COUNT = "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }"
GRAPHS = "SELECT DISTINCT ?g { GRAPH ?g { ?s ?p ?o } } ORDER BY STR(?g)"


def graph_size(server: Server, *graphs: str) -> int:
    """How many triples these documents have, from the documents themselves."""
    return sum(len(server.get(f"{graph}.nt").text.splitlines()) for graph in graphs)


def two_graphs(server: Server) -> tuple[str, str]:
    return server.url + "place/kursk-region", server.url + "actor/valery-gerasimov"


@WAYS
def test_2_1_4_default_graph_is_the_merge_of_those_named(served: Server, way: str) -> None:
    """2.1.4: default-graph-uri, "0 or more": the default graph is the RDF merge of these graphs, and of no others."""
    a, b = two_graphs(served)
    one = ask(served, way, COUNT, ("default-graph-uri", a))
    both = ask(served, way, COUNT, ("default-graph-uri", a), ("default-graph-uri", b))
    assert one.values() == [str(graph_size(served, a))]
    assert both.values() == [str(graph_size(served, a, b))]


@WAYS
def test_2_1_4_named_graphs_are_those_named(served: Server, way: str) -> None:
    """2.1.4: named-graph-uri, "0 or more": these are the named graphs, and the default graph is empty where none is given."""
    a, b = two_graphs(served)
    assert ask(served, way, GRAPHS, ("named-graph-uri", a)).values() == [a]
    assert ask(served, way, GRAPHS, ("named-graph-uri", a), ("named-graph-uri", b)).values() == sorted([a, b])
    assert ask(served, way, COUNT, ("named-graph-uri", a)).values() == ["0"]


def test_2_1_4_default_and_named_together(served: Server) -> None:
    """2.1.4: both may be given; a graph that is only named is not in the default graph, and the other way round."""
    a, b = two_graphs(served)
    fields = (("default-graph-uri", a), ("named-graph-uri", b))
    assert get(served, ("query", COUNT), *fields).values() == [str(graph_size(served, a))]
    assert get(served, ("query", GRAPHS), *fields).values() == [b]


def test_2_1_4_from_and_from_named_are_honoured(served: Server) -> None:
    """2.1.4: "The RDF dataset may also be specified in the SPARQL query via FROM and FROM NAMED"."""
    a, b = two_graphs(served)
    head, where = COUNT.split(" { ")
    assert get(served, ("query", f"{head} FROM <{a}> {{ {where}")).values() == [str(graph_size(served, a))]
    assert get(served, ("query", f"{head} FROM <{a}> FROM <{b}> {{ {where}")).values() == [
        str(graph_size(served, a, b))
    ]
    named = GRAPHS.replace("{ GRAPH", f"FROM NAMED <{b}> {{ GRAPH")
    assert get(served, ("query", named)).values() == [b]
    assert get(served, ("query", f"{head} FROM NAMED <{b}> {{ {where}")).values() == ["0"]


@WAYS
def test_2_1_4_the_protocol_wins_over_the_query(served: Server, way: str) -> None:
    """2.1.4: "In case of conflict … the RDF dataset specified in the protocol request MUST be used"."""
    a, b = two_graphs(served)
    head, where = COUNT.split(" { ")
    conflicting = f"{head} FROM <{a}> FROM NAMED <{a}> {{ {where}"
    assert ask(served, way, conflicting, ("default-graph-uri", b)).values() == [str(graph_size(served, b))]
    named = GRAPHS.replace("{ GRAPH", f"FROM NAMED <{a}> {{ GRAPH")
    assert ask(served, way, named, ("named-graph-uri", b)).values() == [b]


def test_2_1_4_without_a_dataset_the_default_is_the_services_own(served: Server) -> None:
    """2.1.4: without one, "the SPARQL service's default" — here the union, as the service description says (sd:UnionDefaultGraph)."""
    in_graphs = "SELECT (COUNT(*) AS ?n) { GRAPH ?g { ?s ?p ?o } }"
    assert get(served, ("query", COUNT)).values() == get(served, ("query", in_graphs)).values()


def test_2_1_4_a_graph_that_is_not_here_is_empty(served: Server) -> None:
    """2.1.4: the dataset consists of graphs the service has; it is not obliged to fetch any, and this one never does."""
    assert get(served, ("query", COUNT), ("default-graph-uri", "https://elsewhere.example/g")).values() == ["0"]


@pytest.mark.parametrize("name", ["default-graph-uri", "named-graph-uri"])
@pytest.mark.parametrize("value", ["", "relative/iri", "http://a b/", "<a:b>", "http://[", "Курск"])
def test_2_1_4_what_is_no_iri_is_malformed(served: Server, name: str, value: str) -> None:
    """2.1.4: the values are IRIs, absolute ones: a request has no base."""
    answer = get(served, ("query", "ASK {}"), (name, value))
    assert answer.status == 400
    assert answer.problem()["parameter"] == name


# 2.1.5 and 2.1.6: what is accepted, what comes back

ACCEPTED = [case for case in CASES if case["section"] == "2.1.5"]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case["name"])
def test_2_1_5_content_negotiation(served: Server, case: dict[str, Any]) -> None:
    """2.1.5: "Clients should use HTTP content negotiation"; preference and specificity as in RFC 9110, section 12.5.1."""
    query = {
        "SELECT": "SELECT * { ?s ?p ?o } LIMIT 1",
        "ASK": "ASK {}",
        "CONSTRUCT": "CONSTRUCT WHERE { ?s ?p ?o } LIMIT 1",
    }
    answer = get(served, ("query", query[case["form"]]), accept=case["accept"])
    assert (answer.status, answer.media_type) == (200, case["media_type"])
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("SELECT * {}", {JSON, XML, CSV, TSV}), ("ASK {}", {JSON, XML, CSV, TSV}), ("DESCRIBE <a:b>", set(RDF))],
)
@pytest.mark.parametrize("accept", ["image/png", "text/*;q=0, application/*;q=0", "*/*;q=0", "text/n3", "nonsense"])
def test_2_1_5_406_lists_what_there_is(served: Server, query: str, expected: set[str], accept: str) -> None:
    """2.1.5 with RFC 9110, section 15.5.7: what cannot be had is refused with what can."""
    answer = get(served, ("query", query), accept=accept)
    assert answer.status == 406
    assert expected <= set(answer.problem()["available"])


@pytest.mark.parametrize(
    ("query", "accept", "wrong"),
    [
        ("SELECT * {}", "text/turtle", RDF),
        ("ASK {}", "application/n-triples", RDF),
        ("DESCRIBE <a:b>", CSV, [CSV, JSON, XML]),
    ],
)
def test_2_1_5_a_type_of_the_other_kind_of_result_is_not_acceptable(
    served: Server, query: str, accept: str, wrong: list[str]
) -> None:
    """2.1.6: SELECT and ASK answer with results, CONSTRUCT and DESCRIBE with RDF; the 406 lists only what this query can have."""
    answer = get(served, ("query", query), accept=accept)
    assert answer.status == 406
    assert not set(wrong) & set(answer.problem()["available"])


@pytest.mark.parametrize("case", [case for case in CASES if case["section"] == "format"], ids=lambda case: case["name"])
@WAYS
def test_format_as_a_short_cut(served: Server, way: str, case: dict[str, Any]) -> None:
    """Beyond the protocol, as other services have it: `format=` or `output=` stand above Accept, by name or media type."""
    fields = tuple((name, value) for name, value in case["fields"])
    answer = ask(served, way, case["query"], *fields, accept="application/octet-stream")
    assert (answer.status, answer.media_type) == (case.get("status", 200), case["media_type"])


@pytest.mark.parametrize("accept", [JSON, XML, TSV])
@pytest.mark.parametrize("truth", [True, False])
def test_2_1_6_ask_in_every_format(served: Server, accept: str, truth: bool) -> None:
    """2.1.6: ASK answers in a results format; JSON and XML have a form for it, and here CSV and TSV give the word."""
    answer = get(served, ("query", "ASK {}" if truth else "ASK { FILTER(false) }"), accept=accept)
    assert (answer.status, answer.media_type) == (200, accept)
    parsed = ox.parse_query_results(answer.body, format=RESULTS[accept])
    assert isinstance(parsed, ox.QueryBoolean)
    assert bool(parsed) is truth
    csv = get(served, ("query", "ASK {}" if truth else "ASK { FILTER(false) }"), accept=CSV)
    assert (csv.media_type, csv.body.decode().strip()) == (CSV, str(truth).lower())


VALUES = """SELECT ?x ?y { VALUES (?x ?y) { ("Курск"@uk 1) ("a,\\"b\\"\\n\\t<&>" 1.5) (<http://x.example/é> UNDEF) (UNDEF true) } }"""


@pytest.mark.parametrize("accept", [JSON, XML, TSV])
def test_2_1_6_select_in_every_format_that_keeps_terms(served: Server, accept: str) -> None:
    """2.1.6: the formats of the SPARQL 1.1 recommendations; read back they hold the same terms, whatever characters are in them."""
    answer = get(served, ("query", VALUES), accept=accept)
    parsed = ox.parse_query_results(answer.body, format=RESULTS[accept])
    assert isinstance(parsed, ox.QuerySolutions)
    xsd = "http://www.w3.org/2001/XMLSchema#"
    assert [(row["x"], row["y"]) for row in parsed] == [
        (ox.Literal("Курск", language="uk"), ox.Literal("1", datatype=ox.NamedNode(xsd + "integer"))),
        (ox.Literal('a,"b"\n\t<&>'), ox.Literal("1.5", datatype=ox.NamedNode(xsd + "decimal"))),
        (ox.NamedNode("http://x.example/é"), None),
        (None, ox.Literal("true", datatype=ox.NamedNode(xsd + "boolean"))),
    ]


def test_2_1_6_csv_ends_its_lines_as_rfc_4180_has_it(served: Server) -> None:
    """SPARQL 1.1 Query Results CSV and TSV Formats, section 3.1: "the RDF term itself … RFC4180" and CRLF."""
    answer = get(served, ("query", VALUES), accept=CSV)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.body.decode() == 'x,y\r\nКурск,1\r\n"a,""b""\n\t<&>",1.5\r\nhttp://x.example/é,\r\n,true\r\n'


@pytest.mark.parametrize("accept", RDF)
@pytest.mark.parametrize("query", ["CONSTRUCT { ?s ?p ?o } WHERE { GRAPH <DOC> { ?s ?p ?o } }", "DESCRIBE <DOC>"])
def test_2_1_6_graphs_in_every_syntax(served: Server, query: str, accept: str) -> None:
    """2.1.6: CONSTRUCT and DESCRIBE answer with an RDF serialization; read back, all of them hold the same graph."""
    document = served.url + "agreement/russia-north-korea-partnership"
    answer = get(served, ("query", query.replace("DOC", document)), accept=accept)
    assert (answer.status, answer.media_type) == (200, accept)
    expected = {quad.triple for quad in ox.parse(served.get(f"{document}.nt").body, format=ox.RdfFormat.N_TRIPLES)}
    assert {quad.triple for quad in ox.parse(inlined(served, answer.body, accept), format=RDF[accept])} == expected


def inlined(server: Server, body: bytes, media_type: str) -> bytes:
    """JSON-LD with the service's context written into it, because the parser fetches none."""
    if media_type != "application/ld+json":
        return body
    tree = json.loads(body)
    assert tree["@context"] == server.url + "context.jsonld"
    return json.dumps({**tree, "@context": server.get("context.jsonld").json()["@context"]}).encode()


@pytest.mark.parametrize("accept", RDF)
def test_2_1_6_an_empty_graph_is_well_formed(served: Server, accept: str) -> None:
    """2.1.6: an empty graph is an answer, in every syntax."""
    answer = get(served, ("query", "CONSTRUCT WHERE { <a:none> ?p ?o }"), accept=accept)
    assert (answer.status, answer.media_type) == (200, accept)
    assert list(ox.parse(inlined(served, answer.body, accept), format=RDF[accept])) == []


# 2.1.7 Failure responses


@WAYS
@pytest.mark.parametrize(
    "query", ["", "SELEKT * {}", "SELECT * {", "ASK {} ASK {}", "\x00", "INSERT DATA { <a:a> <a:b> 1 }", "CLEAR ALL"]
)
def test_2_1_7_400_for_what_is_not_a_query(served: Server, way: str, query: str) -> None:
    """2.1.7: "400 if the SPARQL query supplied in the request is not a legal sequence of characters"; an update is none either."""
    answer = ask(served, way, query)
    assert (answer.status, answer.problem()["title"]) == (400, "The query is not SPARQL 1.1")
    assert answer.problem()["line"] >= 1


@pytest.mark.parametrize("case", [case for case in CASES if case["section"] == "2.1.7"], ids=lambda case: case["name"])
def test_2_1_7_requests_that_do_not_follow_the_protocol(served: Server, case: dict[str, Any]) -> None:
    """2.1 "query: exactly 1", 2.1.2 and 2.1.3 the media types: each malformed request has its own 4xx and says what is wrong."""
    body = case["body"].encode() if "body" in case else None
    answer = send(served, case["method"], case["target"], body, content_type=case.get("content_type"))
    assert answer.status == case["status"]
    assert case["says"] in answer.problem()["detail"]


def test_2_1_7_a_form_of_more_fields_than_anybody_sends(served: Server) -> None:
    """2.1.7: "400 …"; a bound on the fields keeps a small body from costing much."""
    answer = form(served, *[("named-graph-uri", "a:b")] * 1001, ("query", "ASK {}"))
    assert (answer.status, answer.problem()["title"]) == (400, "The request does not follow the protocol")


def test_2_1_7_a_wrong_media_type_is_told_which_are_right(served: Server) -> None:
    """2.1.7 with RFC 9110, section 15.5.16: 415 lists the media types that are read."""
    answer = send(served, "POST", "/sparql", b"ASK {}", content_type="application/sparql-update")
    assert answer.status == 415
    assert answer.problem()["supported"] == [FORM, DIRECT]


def test_2_1_7_an_error_is_never_a_200(served: Server) -> None:
    """2.1.7 with 2.1.6: a query that fails while it runs is refused whole."""
    answer = get(
        served,
        ("query", "SELECT * { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l } ORDER BY ?a ?d ?g ?j"),
        ("timeout", "0.3"),
    )
    assert answer.status == 504
    assert answer.problem()["limit"] == 0.3


# HTTP: HEAD, OPTIONS, CORS


@pytest.mark.parametrize("accept", [JSON, CSV, "text/html"])
def test_head_has_the_headers_of_get(served: Server, accept: str) -> None:
    """RFC 9110, section 9.3.2: HEAD is GET without its content, with the same headers and the length that it would have."""
    target = "/sparql?" + urlencode({"query": "SELECT * { ?s a ekg:Place }"})
    head, got = send(served, "HEAD", target, accept=accept), send(served, "GET", target, accept=accept)
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(got.body) > 0
    for name in ("Content-Type", "ETag", "Vary", "KG-Revision", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


def test_head_tells_of_errors_too(served: Server) -> None:
    """RFC 9110, section 9.3.2: the status is that of GET."""
    answer = send(served, "HEAD", "/sparql?query=SELEKT")
    assert (answer.status, answer.body) == (400, b"")


def test_options_names_the_methods(served: Server) -> None:
    """RFC 9110, section 9.3.7: OPTIONS describes what can be done with the resource."""
    answer = send(served, "OPTIONS")
    assert answer.status in (200, 204)
    assert {"GET", "HEAD", "POST", "OPTIONS"} == set(answer.headers["Allow"].split(", "))


def test_a_browser_on_any_site_may_ask(served: Server) -> None:
    """Fetch standard, CORS-preflight request: a direct POST is not a simple request, so a browser asks first whether it may."""
    preflight = send(
        served,
        "OPTIONS",
        Origin="https://notebook.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type, authorization",
    )
    assert preflight.status in (200, 204)
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = {name.strip().lower() for name in preflight.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"content-type", "authorization"} <= allowed
    assert int(preflight.headers["Access-Control-Max-Age"]) > 0


def test_a_browser_may_read_answers_and_errors(served: Server) -> None:
    """Fetch standard, CORS check and exposed headers: also for errors, or a page could not show them."""
    for query in ("ASK {}", "SELEKT"):
        answer = get(served, ("query", query), Origin="https://notebook.example")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert {"ETag", "Link", "KG-Revision", "Retry-After"} <= exposed


# SPARQL 1.1 Service Description


@pytest.mark.parametrize("accept", RDF)
def test_service_description_in_every_syntax(served: Server, accept: str) -> None:
    """Service Description, section 2: "SPARQL services … SHOULD return a service description document at the service endpoint when
    dereferenced using the HTTP GET operation without any query parameter strings"."""
    answer = send(served, accept=accept)
    assert (answer.status, answer.media_type) == (200, accept)
    triples = {quad.triple for quad in ox.parse(inlined(served, answer.body, accept), format=RDF[accept])}
    endpoint = ox.NamedNode(served.url + "sparql")
    assert ox.Triple(endpoint, RDF_TYPE, ox.NamedNode(SD + "Service")) in triples
    assert ox.Triple(endpoint, ox.NamedNode(SD + "endpoint"), endpoint) in triples


def test_service_description_by_short_cut_and_head(served: Server) -> None:
    """Section 2, as above; and HEAD for it."""
    assert send(served, target="/sparql?format=nt", accept=None).media_type == "application/n-triples"
    head, got = send(served, "HEAD", accept="text/turtle"), send(served, accept="text/turtle")
    assert (head.status, head.body, int(head.headers["Content-Length"])) == (200, b"", len(got.body))


def description(server: Server) -> ox.Store:
    store = ox.Store()
    store.load(send(server, accept="application/n-triples").body, format=ox.RdfFormat.N_TRIPLES)
    return store


def objects(store: ox.Store, predicate: str) -> set[str]:
    return {quad.object.value for quad in store.quads_for_pattern(None, ox.NamedNode(predicate), None)}


def test_service_description_tells_the_truth_about_features(served: Server) -> None:
    """Section 3.2: features and languages; what the service does not do (federated queries, fetching graphs) it does not claim."""
    store = description(served)
    assert objects(store, SD + "feature") == {SD + "UnionDefaultGraph"}
    assert objects(store, SD + "supportedLanguage") == {
        SD + "SPARQL10Query", SD + "SPARQL11Query", SD + "SPARQL11Update",
    }  # fmt: skip
    updating = store.quads_for_pattern(
        None, ox.NamedNode(SD + "supportedLanguage"), ox.NamedNode(SD + "SPARQL11Update")
    )
    (service,) = {quad.subject for quad in updating}
    assert [
        quad.object for quad in store.quads_for_pattern(service, ox.NamedNode(SD + "endpoint"), None)
    ] == [ox.NamedNode(served.url + "update")]  # fmt: skip


def test_service_description_names_formats_that_can_be_had(served: Server) -> None:
    """Section 3.2.9: sd:resultFormat, by the IRIs of https://www.w3.org/ns/formats/; each can in fact be had."""
    media_types = {
        "SPARQL_Results_JSON": JSON, "SPARQL_Results_XML": XML, "SPARQL_Results_CSV": CSV, "SPARQL_Results_TSV": TSV,
        "Turtle": "text/turtle", "N-Triples": "application/n-triples", "JSON-LD": "application/ld+json",
        "RDF_XML": "application/rdf+xml", "TriG": "application/trig", "N-Quads": "application/n-quads",
    }  # fmt: skip
    formats = {
        iri.removeprefix("http://www.w3.org/ns/formats/") for iri in objects(description(served), SD + "resultFormat")
    }
    assert formats == set(media_types)
    for name in formats:
        query = "ASK {}" if name.startswith("SPARQL") else "DESCRIBE <a:b>"
        assert get(served, ("query", query), accept=media_types[name]).media_type == media_types[name]


def test_service_description_counts_the_default_dataset(served: Server) -> None:
    """Section 3.3: sd:defaultDataset with its default graph; the counts in it are those that a query gives."""
    store = description(served)
    dataset = next(store.quads_for_pattern(None, ox.NamedNode(SD + "defaultDataset"), None)).object
    assert not isinstance(dataset, ox.Triple | ox.Literal)
    (graph,) = store.quads_for_pattern(dataset, ox.NamedNode(SD + "defaultGraph"), None)
    assert not isinstance(graph.object, ox.Triple | ox.Literal)
    parts = [quad.object for quad in store.quads_for_pattern(graph.object, ox.NamedNode(VOID + "classPartition"), None)]
    assert len(parts) == 6
    for part in parts:
        assert isinstance(part, ox.BlankNode)
        (kind,) = (q.object.value for q in store.quads_for_pattern(part, ox.NamedNode(VOID + "class"), None))
        (count,) = (q.object.value for q in store.quads_for_pattern(part, ox.NamedNode(VOID + "entities"), None))
        whole = "FILTER(!CONTAINS(STR(?x), '#'))"  # the documents, not the speech acts, which are events too
        assert get(served, ("query", f"SELECT (COUNT(DISTINCT ?x) AS ?n) {{ ?x a <{kind}> {whole} }}")).values() == [
            count
        ]


def test_service_description_names_graphs_that_are_there_and_not_too_many(served: Server) -> None:
    """Section 3.3: sd:namedGraph with sd:name. The list is bounded: it must not grow with the data."""
    names = objects(description(served), SD + "name")
    there = set(get(served, ("query", GRAPHS)).values())
    assert names <= there
    assert 0 < len(names) <= 60 < len(there)
    assert {name.removeprefix(served.url).partition("/")[0] for name in names} == {
        "article", "actor", "place", "agreement", "event", "proposition", "derived",
    }  # fmt: skip


def test_a_browser_gets_the_form_instead(served: Server) -> None:
    """Service Description, section 2, says SHOULD; to a browser the endpoint is a page where a query can be written."""
    answer = send(served, accept="text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<textarea" in answer.body


# The formats themselves


@pytest.mark.parametrize("character", ["\\u0000", "\\u0007", "\\u001f", "\\uFFFE", "\\uFFFF"])
def test_what_xml_cannot_hold_is_refused_in_xml_and_had_otherwise(served: Server, character: str) -> None:
    """XML 1.0, section 2.2: some characters cannot be written in XML at all, so an answer with one would not be the XML it says it is."""
    select, construct = f'SELECT ("a{character}" AS ?x) {{}}', f'CONSTRUCT {{ <a:s> <a:p> "a{character}" }} {{}}'
    for query, accept, others in (
        (select, XML, RESULT_TYPES - {XML}),
        (construct, "application/rdf+xml", set(RDF) - {"application/rdf+xml"}),
    ):
        answer = get(served, ("query", query), accept=accept)
        assert answer.status == 406
        assert others <= set(answer.problem()["available"])
    assert get(served, ("query", select)).values() == ["a" + character.encode().decode("unicode_escape")]


def test_a_property_that_xml_has_no_name_for_is_refused_in_xml(served: Server) -> None:
    """RDF 1.1 XML Syntax, section 2.3, and Namespaces in XML: an element is named by a prefix and a name, and some IRIs end in none."""
    query = "CONSTRUCT { <a:s> <http://x.example/1> 2 } {}"
    assert get(served, ("query", query), accept="application/rdf+xml").status == 406
    assert get(served, ("query", query), accept="application/rdf+xml, text/turtle;q=0.5").status == 406
    assert get(served, ("query", query.replace("/1", "/n1")), accept="application/rdf+xml").status == 200


def test_a_large_answer_in_xml_is_checked_and_comes_whole(served: Server) -> None:
    """The same for answers that do not fit into memory: 5 MB of XML."""
    rows = "SELECT (CONCAT('x', STR(?s), 'LAST') AS ?x) { ?s ?p ?o . ?a a ekg:Place . ?b a ekg:Person }"
    answer = get(served, ("query", rows), accept=XML)
    assert answer.status == 200
    assert len(answer.body) == int(answer.headers["Content-Length"]) > 4 * 2**20
    assert len(ElementTree.fromstring(answer.body)[1]) > 20_000  # noqa: S314 — our own answer
    assert get(served, ("query", rows.replace("LAST", "\\u0001")), accept=XML).status == 406


def test_results_in_json_have_the_shape_of_the_recommendation(served: Server) -> None:
    """SPARQL 1.1 Query Results JSON Format, section 3: head.vars, results.bindings, and type, value, xml:lang, datatype of terms."""
    tree = json.loads(get(served, ("query", VALUES)).body)
    assert tree["head"]["vars"] == ["x", "y"]
    first, _, third, fourth = tree["results"]["bindings"]
    assert first["x"] == {"type": "literal", "value": "Курск", "xml:lang": "uk"}
    assert first["y"] == {"type": "literal", "value": "1", "datatype": "http://www.w3.org/2001/XMLSchema#integer"}
    assert third == {"x": {"type": "uri", "value": "http://x.example/é"}}
    assert set(fourth) == {"y"}


def test_results_in_xml_have_the_namespace_of_the_recommendation(served: Server) -> None:
    """SPARQL Query Results XML Format, section 2: the document element and its namespace."""
    root = ElementTree.fromstring(get(served, ("query", VALUES), accept=XML).body)  # noqa: S314 — our own answer
    assert root.tag == "{http://www.w3.org/2005/sparql-results#}sparql"
    assert [child.attrib["name"] for child in root[0]] == ["x", "y"]
