"""SERVICE: allowed endpoints are asked and nobody else hears anything, however it is written and wherever a name leads.

The other endpoints are real servers on 127.0.0.1, allowed by that address. Nothing here leaves the machine.
"""

from __future__ import annotations

import contextlib
import csv
import io
import ipaddress
import json
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyoxigraph as ox
import pytest
from serving import until

from kg import config as settings
from kg import describe
from kg.config import Config, endpoints
from kg.engine import Query, gateway
from kg.engine.embedded import EmbeddedEngine
from kg.engine.federation import Federation
from kg.engine.gateway import is_public
from kg.engine.process import Limits
from kg.engine.workers import QueryProcesses
from kg.errors import (
    ConfigurationError,
    KgError,
    MalformedQuery,
    QueryTimeout,
    ServiceFailed,
    ServiceRefused,
)
from kg.terms import Base

Behaviour = Callable[[BaseHTTPRequestHandler], None]
Allow = Callable[..., QueryProcesses]

#: What the service of these tests knows, and what the other one answers about it.
THING, WORD = "http://x/1", "told elsewhere"


def tell(handler: BaseHTTPRequestHandler, body: bytes, media_type: str = "application/sparql-results+json") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", media_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def results(**values: str) -> bytes:
    """One solution: `s` is a IRI, all else are strings."""
    row = {name: {"type": "uri" if name == "s" else "literal", "value": value} for name, value in values.items()}
    return json.dumps({"head": {"vars": [*values]}, "results": {"bindings": [row]}}).encode()


def answer(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, results(s=THING, word=WORD))


class Other:
    """Another SPARQL endpoint, and what it has been asked."""

    def __init__(self, behaviour: Behaviour = answer) -> None:
        self.queries: list[str] = []
        self.hosts: list[str] = []
        self.connections = 0
        self.over = threading.Event()  # for those who never answer
        other = self

        class Handler(BaseHTTPRequestHandler):
            def handle(self) -> None:
                other.connections += 1
                with contextlib.suppress(OSError):  # whoever asked has hung up
                    super().handle()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                other.queries += parse_qs(body).get("query", [body])
                other.hosts.append(self.headers["Host"])
                behaviour(self)

            do_GET = do_POST  # noqa: N815 — the name is the library’s

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/sparql"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def others() -> Iterator[Callable[..., Other]]:
    """`others(behaviour)` is another endpoint for one test."""
    started: list[Other] = []

    def start(behaviour: Behaviour = answer) -> Other:
        started.append(Other(behaviour))
        return started[-1]

    yield start
    for other in started:
        other.close()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("store")
    store = ox.Store(directory / "store")
    node = ox.NamedNode
    for number, name in enumerate(["one", "secret service"], 1):
        store.add(ox.Quad(node(f"http://x/{number}"), node("http://x/p"), ox.Literal(name), node("http://g/")))
    store.add(ox.Quad(node("http://x/service"), node("http://x/serviceOf"), node("http://x/1"), node("http://g/")))
    store.flush()
    store.backup(directory / "snapshot")
    return directory / "snapshot"


@pytest.fixture
def allow(tmp_path: Path) -> Iterator[Allow]:
    """`allow("http://…", timeout=…, limit=…)` are query processes that may ask these endpoints."""
    started: list[QueryProcesses] = []

    def start(listed: str = "", timeout: float = 5.0, limit: int = 2**20, seconds: float = 20.0) -> QueryProcesses:
        allowed = Federation(endpoints(listed), timeout, limit)
        spool = tmp_path / f"spool{len(started)}"
        started.append(QueryProcesses(1, 16, Limits(seconds, 2**30, 2**26), spool, allowed))
        return started[-1]

    yield start
    for processes in started:
        processes.close()


@pytest.fixture(scope="module")
def on_and_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Other, list[QueryProcesses]]]:
    """Query processes that may ask nobody, ones that may ask one endpoint, and that endpoint."""
    other = Other()
    spool = tmp_path_factory.mktemp("spools")
    both = [
        QueryProcesses(1, 16, Limits(20, 2**30, 2**26), spool / "off"),
        QueryProcesses(1, 16, Limits(20, 2**30, 2**26), spool / "on", Federation(endpoints(other.url))),
    ]
    yield other, both
    for processes in both:
        processes.close()
    other.close()


@pytest.fixture
def ask(snapshot: Path) -> Callable[..., list[list[str]]]:
    """`ask(processes, text)` are the rows of the answer, without the names of the columns."""

    def evaluate(processes: QueryProcesses, text: str, base: str | None = "https://kg.example/") -> list[list[str]]:
        answered = processes.answer(Query(text, base=base, solutions="csv"), snapshot, 1)
        return list(csv.reader(io.StringIO(answered.read().decode())))[1:]

    return evaluate


Ask = Callable[..., list[list[str]]]


# What is allowed


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ?name ?word { ?s <http://x/p> ?name SERVICE <URL> { ?s ?p ?word } }",
        "SELECT ?name ?word { ?s <http://x/p> ?name service silent <URL> { ?s ?p ?word } }",
        "SELECT ?name ?word { ?s <http://x/p> ?name SERVICE<URL>{ ?s ?p ?word } }",
        "SELECT ?name ?word { ?s <http://x/p> ?name SERVICE # <http://other.example/>\n SILENT # }\n <URL> { ?s ?p ?word } }",
        "SELECT ?name ?word { ?s <http://x/p> ?name SERVICE <\\u0068URL_WITHOUT_FIRST_LETTER> { ?s ?p ?word } }",
        "PREFIX there: <URL> SELECT ?name ?word { ?s <http://x/p> ?name SERVICE there: { ?s ?p ?word } }",
        "PREFIX there: <ROOT> SELECT ?name ?word { ?s <http://x/p> ?name SERVICE there:sparql { ?s ?p ?word } }",
        "BASE <ROOT> SELECT ?name ?word { ?s <http://x/p> ?name SERVICE <sparql> { ?s ?p ?word } }",
        "BASE <ROOTa/> PREFIX there: <../> SELECT ?name ?word { ?s <http://x/p> ?name SERVICE there:sparql { ?s ?p ?word } }",
        "SELECT ?name ?word { ?s <http://x/p> ?name FILTER EXISTS { SERVICE <URL> { ?s ?p ?o } } SERVICE <URL> { ?s ?p ?word } }",
    ],
)
def test_allowed_endpoint_is_asked(allow: Allow, ask: Ask, others: Callable[..., Other], text: str) -> None:
    other = others()
    written = text.replace("URL_WITHOUT_FIRST_LETTER", other.url[1:]).replace("URL", other.url)
    written = written.replace("ROOT", other.url.removesuffix("sparql"))
    assert ask(allow(other.url), written) == [["one", WORD]]
    assert other.queries
    assert {ox_query.split()[-1] for ox_query in other.queries} == {"}"}  # whole queries, in a form


def test_relative_endpoint_is_resolved_against_the_base_of_the_service(
    allow: Allow, ask: Ask, others: Callable[..., Other]
) -> None:
    other = others()
    text = "SELECT ?word { SERVICE <sparql> { ?s ?p ?word } }"
    assert ask(allow(other.url), text, base=other.url.removesuffix("sparql")) == [[WORD]]


def test_endpoint_may_hold_the_word_itself(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    other = others()
    url = other.url.replace("/sparql", "/service")
    assert ask(allow(url), f"PREFIX x: <{url[:-7]}> SELECT ?word {{ SERVICE x:service {{ ?s ?p ?word }} }}") == [[WORD]]
    assert ask(allow(url), f"SELECT ?word {{ SERVICE <{url}> {{ ?s ?p ?word }} }}") == [[WORD]]


def test_service_in_a_service_is_passed_on_under_its_own_name(
    allow: Allow, ask: Ask, others: Callable[..., Other]
) -> None:
    first, second = others(), others()
    text = f"SELECT ?word {{ SERVICE <{first.url}> {{ ?s ?p ?word SERVICE <{second.url}> {{ ?s ?p ?o }} }} }}"
    assert ask(allow(f"{first.url}, {second.url}"), text) == [[WORD]]
    assert f"SERVICE <{second.url}>" in first.queries[0]
    assert second.connections == 0  # it is the first who asks the second


def test_each_endpoint_gets_its_own_questions(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    def colours(handler: BaseHTTPRequestHandler) -> None:
        tell(handler, results(s=THING, colour="red"))

    words, reds = others(), others(colours)
    text = (
        f"SELECT ?word ?colour {{ SERVICE <{words.url}> {{ ?s ?p ?word }} SERVICE <{reds.url}> {{ ?s ?p ?colour }} }}"
    )
    assert ask(allow(f"{words.url} {reds.url}"), text) == [[WORD, "red"]]
    assert "?word" in words.queries[0]
    assert "?colour" in reds.queries[0]


def test_results_in_xml_are_read(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    solution = '<result><binding name="word"><literal>in XML</literal></binding></result>'
    body = f'<sparql xmlns="http://www.w3.org/2005/sparql-results#"><head><variable name="word"/></head><results>{solution}</results></sparql>'
    other = others(lambda handler: tell(handler, body.encode(), "application/sparql-results+xml; charset=utf-8"))
    assert ask(allow(other.url), f"SELECT ?word {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}") == [["in XML"]]


def test_settings_reach_the_engine(tmp_path: Path, snapshot: Path, others: Callable[..., Other]) -> None:
    other = others()
    config = settings.read(
        {"KG_SERVICE_ALLOW": other.url}, data=tmp_path, base="https://kg.example/", query_processes=1
    )
    shutil.copytree(snapshot, tmp_path / "snapshots" / "7")
    engine = EmbeddedEngine(config, owner=False)
    try:
        answered = engine.answer(Query(f"SELECT ?word {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}", solutions="csv"))
        assert answered.read().split(b"\r\n")[1] == WORD.encode()
    finally:
        engine.close()


# What is refused

#: Ways to write it that the engine reads as SERVICE, though some are none by the grammar of SPARQL 1.1.
READ_BY_THE_ENGINE = [
    "SELECT * { SERVICE <URL> { ?s ?p ?o } }",
    "SELECT * { sErViCe sIlEnT <URL> { ?s ?p ?o } }",
    "SELECT * {SERVICE<URL>{ ?s ?p ?o }}",
    "SELECT * { SERVICESILENT<URL>{ ?s ?p ?o } }",
    "SELECT * { SERVICE#\n<URL> { ?s ?p ?o } }",
    "SELECT * { SERVICE <\\u0068URL_WITHOUT_FIRST_LETTER> { ?s ?p ?o } }",
    "PREFIX : <URL> SELECT * { SERVICE : { ?s ?p ?o } }",
    "PREFIX : <URL> SELECT * { SERVICE:x { ?s ?p ?o } }",
    "PREFIX e: <URL> SELECT * { SERVICEe:x { ?s ?p ?o } }",
    "PREFIX e: <URL> PREFIX SERVICEe: <URL> SELECT * { SERVICEe:x { ?s ?p ?o } }",
    "PREFIX silente: <URL> SELECT * { SERVICEsilente:x { ?s ?p ?o } }",
    "PREFIX : <URL> SELECT * { FILTER(1<2)SERVICE:x#>\n{ ?s ?p ?o } }",
    # A name that makes no IRI (a port of letters) is read as its prefix alone, and then a keyword.
    "PREFIX e: <http://a:> SELECT * { OPTIONAL { ?a ?b e:SERVICE <URL> { ?s ?p ?o } } }",
    "PREFIX e: <http://a:> SELECT * { OPTIONAL { ?a e:trueSERVICE <URL> { ?s ?p ?o } } }",
    "SELECT * { OPTIONAL { ?a ?b 1e5SERVICE<URL> { ?s ?p ?o } } }",
    "SELECT * { OPTIONAL { ?a ?b trueSERVICE<URL> { ?s ?p ?o } } }",
    "PREFIX e: <http://a/> SELECT * { OPTIONAL { ?a ?b e:.SERVICE <URL> { ?s ?p ?o } } }",
    "PREFIX e: <http://a/> SELECT * { OPTIONAL { ?a ?b e:a.b.SERVICE <URL> { ?s ?p ?o } } }",
    # Read as written, it is in a comment; read with all escapes replaced, in a string; the engine replaces some.
    'SELECT * { OPTIONAL { <http://x\\u002Fy#> ?p "\\u0022" } SERVICE <URL> { ?s ?p ?o } #"""\n }',
    "ASK { FILTER NOT EXISTS { SERVICE <URL> { ?s ?p ?o } } }",
    "CONSTRUCT { ?s ?p ?o } WHERE { SERVICE <URL> { ?s ?p ?o } }",
    "DESCRIBE ?s { { SELECT ?s { SERVICE <URL> { ?s ?p ?o } } } }",
]

NOT_READ = [
    "SELECT * { \\u0053ERVICE <URL> { ?s ?p ?o } }",
    "SELECT * { S\\U00000045RVICE <URL> { ?s ?p ?o } }",
    "SELECT * { VALUES ?e { <URL> } SERVICE ?e { ?s ?p ?o } }",
    "SELECT * { BIND(<URL> AS ?e) SERVICE $e { ?s ?p ?o } }",
    "LOAD <URL>",
    "SELECT * FROM <URL> { ?s ?p ?o }",
    "SELECT * FROM NAMED <URL> { GRAPH <URL> { ?s ?p ?o } }",
    "SELECT * { SERVICE <> { ?s ?p ?o } }",
    "SELECT * { SERVICE",
]


def spell(text: str, url: str) -> str:
    return text.replace("URL_WITHOUT_FIRST_LETTER", url[1:]).replace("URL", url)


@pytest.mark.parametrize("text", READ_BY_THE_ENGINE)
def test_nobody_hears_of_a_query_unless_allowed(
    on_and_off: tuple[Other, list[QueryProcesses]], ask: Ask, others: Callable[..., Other], text: str
) -> None:
    ear, (allowed, both) = others(), on_and_off
    written = spell(text, ear.url)
    with contextlib.suppress(ValueError, OSError, RuntimeError):
        found = ox.Store().query(written)  # what these queries do without us; some only when there is data to join
        list(found) if not isinstance(found, ox.QueryBoolean) else None
    if "OPTIONAL" not in text:
        assert ear.connections, "the engine does not read this as SERVICE: move it to the others"
    before = ear.connections
    for processes in both:
        with contextlib.suppress(MalformedQuery, ServiceRefused):
            ask(processes, written)
    assert (ear.connections, allowed.connections) == (before, 0)


#: Of these, texts are put together in which it is hard to see what is what.
_FRAGMENTS = [
    "SERVICE", "service", "SILENT", "<URL>", ":", ":x", "e:", "e:SERVICE", "<SERVICE>", "{ ?s ?p ?o }", "{", "}", " ", "\n", ".", ";",
    "#", "# SERVICE\n", "'", '"', '"""', "\\u0022", "\\", "<", ">", "<http://x\\u002Fy#>", "?s", "?s ?p ?o", "?SERVICE", "true", "1e5",
    "@en", "_:b", "FILTER(1<2)", "?x", "OPTIONAL", "'SERVICE'", "\u00aa", "\u00a0",
]  # fmt: skip


def test_whatever_is_admitted_makes_no_engine_send_anything(others: Callable[..., Other]) -> None:
    """Not what we make of the text counts here but what the engine does with what we let through; at least a tenth of the texts would
    be heard otherwise."""
    ear = others()
    nothing = Federation()
    chance = random.Random(8)
    heard = admitted_at_all = 0
    for _ in range(1500):
        pieces = chance.choices(_FRAGMENTS, k=chance.randint(0, 5))
        glue = chance.choice(["", " "])
        keyword = chance.choice(
            ["SERVICE", "service ", "SERVICESILENT", "trueSERVICE ", "e:SERVICE ", "SERVICE#\n", "?o. SERVICE"]
        )
        pieces.insert(
            chance.randint(0, len(pieces)),
            f"{keyword}{chance.choice(['<URL>', ':x', 'e:x'])}{chance.choice(['', ' ', '#>' + chr(10)])}{{?s ?p ?o}}",
        )
        text = f"PREFIX : <URL> PREFIX e: <{chance.choice(['http://a:', 'URL'])}> SELECT * {{ {glue.join(pieces)} }}"
        written = text.replace("URL", ear.url)
        before = ear.connections
        _evaluate(written)
        heard += ear.connections > before
        before = ear.connections
        with contextlib.suppress(ServiceRefused, MalformedQuery), nothing.admit(Query(written)) as admitted:
            admitted_at_all += 1
            _evaluate(admitted.text)
        assert ear.connections == before, text
    assert heard > 150
    assert admitted_at_all > 50


@pytest.mark.parametrize(
    "piece",
    ["x:service ", "'service' ", "# service\n", "?service ", "<service> ", "SERVICE <URL> {} ", "SERVICE #\n<URL> {} "],
)
def test_long_text_takes_time_in_proportion(others: Callable[..., Other], piece: str) -> None:
    other = others()
    allowed = Federation(endpoints(other.url))
    unit = piece.replace("URL", other.url)
    text = f"PREFIX x: <http://x/> SELECT * {{ {unit * (2**18 // len(unit))} }}"
    start = time.monotonic()
    try:
        with contextlib.suppress(ServiceRefused), allowed.admit(Query(text, base="https://kg.example/")) as admitted:
            assert len(admitted.text) >= len(text)
    finally:
        allowed.close()
    assert time.monotonic() - start < 10  # in square it would be minutes
    assert other.connections == 0


def test_many_comments_before_an_endpoint_take_time_in_proportion(others: Callable[..., Other]) -> None:
    other = others()
    allowed = Federation(endpoints(other.url))
    comments = "#\n" * 2**16
    start = time.monotonic()
    try:
        with allowed.admit(Query(f"{comments} ASK {{ SERVICE {comments} <{other.url}> {{ }} }}")) as admitted:
            assert admitted.text.count("#") == 2**16
    finally:
        allowed.close()
    assert time.monotonic() - start < 10


def test_query_may_ask_a_hundred_times_and_no_more(others: Callable[..., Other]) -> None:
    other = others()
    allowed = Federation(endpoints(other.url))
    try:
        for count in (100, 101):
            text = f"SELECT * {{ {f'SERVICE <{other.url}> {{ ?s ?p ?o }}' * count} }}"
            if count == 100:
                with allowed.admit(Query(text)) as admitted:
                    assert admitted.text.count("SERVICE <http://127.0.0.1:") == 100
            else:
                with pytest.raises(ServiceRefused, match="at most 100"):
                    allowed.admit(Query(text))
    finally:
        allowed.close()


def _evaluate(text: str) -> None:
    with contextlib.suppress(SyntaxError, ValueError, OSError, RuntimeError):
        found = ox.Store().query(text)
        assert isinstance(found, ox.QuerySolutions)
        list(found)


@pytest.mark.parametrize("text", NOT_READ)
def test_nobody_hears_of_what_is_no_service(
    on_and_off: tuple[Other, list[QueryProcesses]], ask: Ask, others: Callable[..., Other], text: str
) -> None:
    ear, (allowed, both) = others(), on_and_off
    for processes in both:
        if "FROM" in text:
            assert ask(processes, spell(text, ear.url)) == []
        else:
            with pytest.raises(ServiceRefused):
                ask(processes, spell(text, ear.url))
    assert (ear.connections, allowed.connections) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("http:", "https:"),
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.replace("127.0.0.1", "127.0.0.2"),
        lambda url: url.replace("127.0.0.1", "127.1"),
        lambda url: url.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        lambda url: (
            url.replace("/sparql", ":1/sparql") if url.count(":") == 1 else url.rpartition(":")[0] + ":1/sparql"
        ),
        lambda url: url + "/",
        lambda url: url + "/../../update",
        lambda url: url.replace("/sparql", "/update"),
        lambda url: url.replace("/sparql", "/sparq%6C"),
        lambda url: url + "?query=x",
        lambda url: url + "?",
        lambda url: url + "#x",
        lambda url: url.replace("//", "//user:word@"),
        lambda url: url.replace("//", "//127.0.0.1:1@"),
        lambda _url: "file:///etc/passwd",
        lambda _url: "urn:x",
    ],
)
def test_only_the_very_endpoint_is_asked(
    on_and_off: tuple[Other, list[QueryProcesses]], ask: Ask, change: Callable[[str], str]
) -> None:
    other, (_, processes) = on_and_off
    asked = change(other.url)
    with pytest.raises(ServiceRefused) as refused:
        ask(processes, f"SELECT * {{ SERVICE SILENT <{asked}> {{ ?s ?p ?o }} }}")
    assert other.connections == 0
    named = refused.value.facts["endpoint"]
    assert named in (asked, asked.replace("/sparql/../../update", "/update"))
    assert named in refused.value.detail
    assert (refused.value.facts["line"], refused.value.facts["column"]) == (1, 12)


def test_one_refused_endpoint_keeps_the_others_from_being_asked(
    allow: Allow, ask: Ask, others: Callable[..., Other]
) -> None:
    allowed, ear = others(), others()
    text = f"SELECT * {{ SERVICE <{allowed.url}> {{ ?s ?p ?o }} SERVICE <{ear.url}> {{ ?s ?p ?o }} }}"
    with pytest.raises(ServiceRefused):
        ask(allow(allowed.url), text)
    assert (allowed.connections, ear.connections) == (0, 0)


# What only looks like it


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('SELECT ?s { ?s <http://x/p> ?name FILTER(CONTAINS(?name, "secret service")) }', [["http://x/2"]]),
        ("SELECT ?s { ?s <http://x/p> '''secret service''' }", [["http://x/2"]]),
        ('SELECT ("SERVICE \\\\service" AS ?x) { }', [["SERVICE \\service"]]),
        (
            "SELECT ?service ?my_service { ?service <http://x/serviceOf> $my_service }",
            [["http://x/service", "http://x/1"]],
        ),
        ("SELECT ?o { <http://x/service> <http://x/serviceOf> ?o } # no SERVICE here", [["http://x/1"]]),
        ("PREFIX x: <http://x/> SELECT ?o { x:service x:serviceOf ?o }", [["http://x/1"]]),
        ("PREFIX x: <http://x/ser> SELECT ?o { x:vice <http://x/serviceOf> ?o }", [["http://x/1"]]),
        ("BASE <http://x/a> PREFIX x: <.> SELECT (x:my\\-service%20 AS ?o) { }", [["http://x/my-service%20"]]),
        ("SELECT (STR(schema:serviceType) AS ?o) { }", [["https://schema.org/serviceType"]]),
        ("# SERVICE <http://x/> {\nSELECT (1 AS ?o) { }", [["1"]]),
    ],
)
def test_letters_that_mean_nothing_are_no_service(
    on_and_off: tuple[Other, list[QueryProcesses]], ask: Ask, text: str, rows: list[list[str]]
) -> None:
    other, both = on_and_off
    assert [ask(processes, text) for processes in both] == [rows, rows]
    assert other.connections == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * { ?s ?p ?o } }",
        "SELECT *\n{ ?s <http://x/p> ?o . FILTER(?o = 'service') ?? }",
        "PREFIX x: <http://x/service>\nSELECT * { x:service x:service x:service ; ; nonsense }",
        "# service\nSELECT ?service\n{ SERVICE # here\n SILENT <URL> { ?s ?p ?o } nonsense }",
        "SELECT * { SERVICE <URL> nonsense { } }",
        "SELECT * { SERVICE <URL> { ?s ?p ?o } ?a <http://x/service> 'ß €' nonsense }",
    ],
)
def test_syntax_errors_are_where_they_were_written(
    on_and_off: tuple[Other, list[QueryProcesses]], ask: Ask, text: str
) -> None:
    other, (_, processes) = on_and_off
    written = text.replace("URL", other.url)
    with pytest.raises(SyntaxError) as original:
        ox.Store().query(written)
    with pytest.raises(MalformedQuery) as error:
        ask(processes, written)
    place = f"error at {error.value.facts['line']}:{error.value.facts['column']}:"
    assert str(original.value).startswith(place)
    assert other.connections == 0


def test_name_without_its_prefix_is_a_syntax_error(allow: Allow, ask: Ask) -> None:
    with pytest.raises(MalformedQuery, match="prefix") as error:
        ask(allow(), "SELECT *\n{ nobody:service ?p ?o }")
    assert (error.value.facts["line"], error.value.facts["column"]) == (2, 3)


# What the other endpoint may do


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(307)
    handler.send_header("Location", handler.headers["X-Elsewhere"] or "http://127.0.0.1:1/")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def fail(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(503)


def page(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, b"<!doctype html><title>Welcome</title>", "text/html")


def gibberish(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, b'{"head": {"vars": ["word"]}, "results": {"bindings": [{"word": ')


def verdict(handler: BaseHTTPRequestHandler) -> None:
    tell(handler, b'{"head": {}, "boolean": true}')


def flood(handler: BaseHTTPRequestHandler) -> None:
    """100 MB, without saying so before."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/sparql-results+json")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" " * 1_000_000)


def large(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/sparql-results+json")
    handler.send_header("Content-Length", str(100_000_000))
    handler.end_headers()


def breaking_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/sparql-results+json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (redirect, "not followed"),
        (fail, "status 503"),
        (page, "text/html"),
        (gibberish, "cannot be read"),
        (verdict, "not with a table"),
        (flood, "larger than"),
        (large, "larger than"),
        (breaking_off, "broke off"),
        (no_http, "could not be asked"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unusable_answer_is_an_error_that_names_the_endpoint(
    allow: Allow, ask: Ask, others: Callable[..., Other], behaviour: Behaviour, reason: str
) -> None:
    other = others(behaviour)
    processes = allow(other.url)
    start = time.monotonic()
    with pytest.raises(ServiceFailed, match=reason) as error:
        ask(processes, f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")
    assert time.monotonic() - start < 4
    assert error.value.facts["endpoint"] == other.url
    assert other.url in error.value.detail
    assert other.queries
    assert ask(processes, "SELECT (1 AS ?x) { }") == [["1"]]


@pytest.mark.parametrize("behaviour", [redirect, page, flood, gibberish, verdict, no_http])
def test_silent_goes_on_without_the_answer(
    allow: Allow, ask: Ask, others: Callable[..., Other], behaviour: Behaviour
) -> None:
    other = others(behaviour)
    text = f"SELECT ?name {{ <{THING}> <http://x/p> ?name SERVICE SILENT <{other.url}> {{ ?s ?p ?word }} }}"
    assert ask(allow(other.url), text) == [["one"]]
    assert other.queries


def test_redirection_is_not_followed(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    ear = others()

    def to_the_ear(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", ear.url)
        handler.end_headers()

    other = others(to_the_ear)
    with pytest.raises(ServiceFailed, match="not followed"):
        ask(allow(f"{other.url},{ear.url}"), f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")
    assert (other.connections, ear.connections) == (1, 0)


def test_nobody_there_is_an_error_that_names_the_endpoint(allow: Allow, ask: Ask, free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}/sparql"
    with pytest.raises(ServiceFailed, match="refused") as error:
        ask(allow(url), f"SELECT * {{ SERVICE <{url}> {{ ?s ?p ?word }} }}")
    assert error.value.facts["endpoint"] == url


@pytest.mark.parametrize("drip", [False, True])
def test_endpoint_that_does_not_answer_is_given_up(
    allow: Allow, ask: Ask, others: Callable[..., Other], drip: bool
) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        if drip:  # a byte now and then, without an end
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/sparql-results+json\r\n\r\n")
        while not other.over.wait(0.1):
            if drip:
                handler.wfile.write(b" ")

    other = others(hang)
    start = time.monotonic()
    with pytest.raises(ServiceFailed, match=r"within 0\.6 seconds"):
        ask(allow(other.url, timeout=0.6), f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")
    assert 0.5 < time.monotonic() - start < 3


def test_deadline_of_the_query_cuts_the_request(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    cut = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(1)  # returns when whoever asked hangs up
        cut.set()

    other = others(hang)
    with pytest.raises(QueryTimeout):
        ask(allow(other.url, timeout=60, seconds=0.8), f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")
    assert cut.wait(2)


# Where names lead


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`names(["8.8.8.8"], ["127.0.0.1"])` is what look-ups lead to, one after the other; it returns the names looked up."""

    def lead(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            found = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in found
            ]

        monkeypatch.setattr(gateway.socket, "getaddrinfo", look_up)
        return asked

    return lead


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "169.254.169.254", "fe80::1",
     "fd00::1", "0.0.0.0", "::", "100.64.0.1", "224.0.0.1", "ff02::1", "255.255.255.255", "64:ff9b::7f00:1", "2002:7f00:1::"],  # noqa: S104 — named, not bound
)  # fmt: skip
def test_name_that_leads_to_an_address_of_our_own_is_not_asked(
    allow: Allow, ask: Ask, others: Callable[..., Other], names: Callable[..., list[str]], address: str
) -> None:
    other = others()
    url = f"http://sparql.example:{other.port}/sparql"
    asked = names([address])
    with pytest.raises(ServiceFailed, match="not public") as error:
        ask(allow(url), f"SELECT * {{ SERVICE <{url}> {{ ?s ?p ?word }} }}")
    assert error.value.facts["endpoint"] == url
    assert asked == ["sparql.example"]
    assert other.connections == 0


def test_public_addresses_are_told_from_all_others() -> None:
    for public in ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert is_public(ipaddress.ip_address(public))


def test_internal_name_may_lead_to_an_address_of_our_own(
    allow: Allow, ask: Ask, others: Callable[..., Other], names: Callable[..., list[str]]
) -> None:
    other = others()
    url = f"http://sparql.example:{other.port}/sparql"
    names(["127.0.0.1"])
    assert ask(allow(f"internal:{url}"), f"SELECT ?word {{ SERVICE <{url}> {{ ?s ?p ?word }} }}") == [[WORD]]
    assert other.hosts == [f"sparql.example:{other.port}"]


def test_what_was_checked_is_what_is_asked(
    allow: Allow,
    ask: Ask,
    others: Callable[..., Other],
    names: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name leads to a public address when it is checked, and to this machine ever after."""
    other = others()
    asked = names(["8.8.8.8"], ["127.0.0.1"])
    dialled: list[object] = []

    class Dialler(socket.socket):
        def connect(self, address: Any) -> None:
            dialled.append(address)
            raise ConnectionRefusedError("not in a test")

    monkeypatch.setattr(gateway.socket, "socket", Dialler)
    url = f"http://sparql.example:{other.port}/sparql"
    with pytest.raises(ServiceFailed, match="not in a test"):
        ask(allow(url), f"SELECT * {{ SERVICE <{url}> {{ ?s ?p ?word }} }}")
    assert (asked, dialled) == (["sparql.example"], [("8.8.8.8", other.port)])
    assert other.connections == 0


def test_look_up_that_hangs_is_given_up(allow: Allow, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(gateway.socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    start = time.monotonic()
    try:
        with pytest.raises(ServiceFailed, match=r"within 0\.4 seconds"):
            ask(
                allow("http://sparql.example/", timeout=0.4),
                "SELECT * { SERVICE <http://sparql.example/> { ?s ?p ?o } }",
            )
        assert time.monotonic() - start < 3
    finally:
        over.set()


def test_certificate_must_be_that_of_the_name(
    allow: Allow,
    ask: Ask,
    others: Callable[..., Other],
    names: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=sparql.example", "-addext", "subjectAltName=DNS:sparql.example"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    other = others()
    other.server.socket = context.wrap_socket(other.server.socket, server_side=True)
    names(["127.0.0.1"])
    right, wrong = (f"https://{host}.example:{other.port}/sparql" for host in ("sparql", "other"))
    processes = allow(f"internal:{right} internal:{wrong}")
    assert ask(processes, f"SELECT ?word {{ SERVICE <{right}> {{ ?s ?p ?word }} }}") == [[WORD]]
    with pytest.raises(ServiceFailed, match="certificate"):
        ask(processes, f"SELECT ?word {{ SERVICE <{wrong}> {{ ?s ?p ?word }} }}")
    assert seen == ["sparql.example", "other.example"]
    assert len(other.queries) == 1


# The gateway


def test_gateway_answers_nobody_but_the_query(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        go_on.wait(10)
        answer(handler)

    other = others(wait)
    allowed = Federation(endpoints(other.url))
    try:
        with allowed.admit(Query(f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")) as admitted:
            address = admitted.text[admitted.text.index("<") + 1 : admitted.text.index(">")]
            assert address.startswith("http://127.0.0.1:")
            assert _status(address, b"ASK {}", "text/plain") == 404
            assert _status(address[:-1], b"ASK {}") == 404
            assert other.connections == 0
            go_on.set()
            assert _status(address, b"ASK {}") == 200
        assert _status(address, b"ASK {}") == 404
        assert other.queries == ["ASK {}"]
        with allowed.admit(Query(f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")) as again:
            assert address not in again.text
    finally:
        go_on.set()
        allowed.close()


def _status(url: str, body: bytes, media_type: str = "application/sparql-query") -> int:
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    try:
        with build_opener(ProxyHandler({})).open(Request(url, body, {"Content-Type": media_type}), timeout=5) as reply:
            return int(reply.status)
    except HTTPError as error:
        error.close()
        return error.code


def test_errors_never_tell_the_address_of_the_gateway(allow: Allow, ask: Ask, others: Callable[..., Other]) -> None:
    for behaviour in (fail, gibberish):
        other = others(behaviour)
        with pytest.raises(KgError) as error:
            ask(allow(other.url), f"SELECT * {{ SERVICE <{other.url}> {{ ?s ?p ?word }} }}")
        assert error.value.detail.replace(other.url, "").count("127.0.0.1") == 0


def test_nothing_listens_where_nothing_is_allowed() -> None:
    before = threading.active_count()
    Federation().close()
    assert threading.active_count() == before


def test_closing_ends_the_gateway(others: Callable[..., Other]) -> None:
    allowed = Federation(endpoints("http://127.0.0.1:9/"))
    with allowed.admit(Query("ASK { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }")) as admitted:
        port = int(admitted.text.split("127.0.0.1:")[1].split("/")[0])
    allowed.close()
    allowed.close()

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    until(gone, "nothing listens any more")


# Settings


def allowed_by(text: str) -> Config:
    return settings.read({"KG_SERVICE_ALLOW": text})


def test_setting_is_a_list_of_endpoints() -> None:
    listed = "HTTP://Example.org, https://a.example:443/x\n internal:http://[::1]:3030/ds/sparql,"
    assert [(one.iri, one.internal) for one in endpoints(allowed_by(listed).service_allow)] == [
        ("http://example.org/", False),
        ("https://a.example/x", False),
        ("http://[::1]:3030/ds/sparql", True),
    ]
    assert endpoints(allowed_by("").service_allow) == ()


def test_settings_survive_the_way_to_the_web_process() -> None:
    before = settings.read({"KG_SERVICE_ALLOW": "internal:http://a/,http://b/", "KG_SERVICE_TIMEOUT": "3"})
    assert settings.read(settings.as_environment(before)) == before
    assert (before.service_timeout, before.service_limit) == (3.0, 16 * 2**20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sparql.example", "absolute"),
        ("/sparql", "absolute"),
        ("ftp://a.example/", "absolute"),
        ("http:///sparql", "host"),
        ("http://a.example:99999/", "port"),
        ("http://a.example:0/", "port"),
        ("http://[::1/", "host"),
        ("http://a.example/?query=x", "query string"),
        ("http://a.example/?", "query string"),
        ("http://a.example/#x", "fragment"),
        ("http://user@a.example/", "password"),
        ("http://user:word@a.example/", "password"),
        ("http://a.example\\@b.example/", "absolute"),
        ("http://bücher.example/", "punycode"),
        ("http://a.example/bü", "punycode"),
        ("http://good.example/ http://a.example/?x", "lists http://a.example/"),
    ],
)
def test_setting_that_is_no_endpoint_is_told_so(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as error:
        allowed_by(text)
    assert error.value.facts["setting"] == "KG_SERVICE_ALLOW"


def test_description_tells_of_federation_only_where_it_is_on() -> None:
    feature = "http://www.w3.org/ns/sparql-service-description#BasicFederatedQuery"

    def features(**how: bool) -> set[str]:
        described = describe.service(Base("https://kg.example/"), {}, [], **how)
        return {triple.object.value for triple in described if isinstance(triple.object, ox.NamedNode)}

    assert feature not in features()
    assert feature in features(federated=True)
