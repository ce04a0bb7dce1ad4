"""The outermost layer over real HTTP: memory, codings, conditions, and clients that go away."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import zstandard
from serving import Reply, Serve, Server, kg, until

from kg.engine import Query
from kg.library import Library
from kg.terms import Base
from kg.web import create_app
from kg.web.cache import Cache
from kg.web.front import Front, caller_address
from kg.web.sparql import Shortcut

_BASE = Base("https://kg.example/")
_REQUEST_ID = re.compile(rb'"request": ?"[0-9a-f]+"')

ALL = "SELECT ?s ?p ?o { ?s ?p ?o }"
BURN = (
    "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . FILTER(STRLEN(CONCAT(STR(?c), STR(?f), STR(?i))) < 0) }"
)


def _sparql(server: Server, query: str, method: str = "GET", **headers: str) -> Reply:
    return server.get(f"sparql?{urlencode({'query': query})}", {"Accept": "text/csv", **headers}, method)


def _hits(server: Server) -> int:
    lines = server.get("metrics").text.splitlines()
    return int(float(next(line for line in lines if line.startswith("kg_cache_hits ")).split()[1]))


def test_repeats_come_from_memory_and_are_the_same(served: Server) -> None:
    first = _sparql(served, f"{ALL} # repeat")
    before = _hits(served)
    again = _sparql(served, f"{ALL} # repeat")
    assert _hits(served) == before + 1
    assert (again.status, again.body, again.headers["ETag"]) == (first.status, first.body, first.headers["ETag"])


def test_whoever_has_it_is_told_so(served: Server) -> None:
    first = _sparql(served, ALL)
    for path_state in ("from memory", "computed"):
        query = ALL if path_state == "from memory" else f"{ALL} # fresh {time.monotonic_ns()}"
        reply = _sparql(served, query, **{"If-None-Match": first.headers["ETag"]})
        assert (reply.status, reply.body) == (304, b""), path_state
        assert reply.headers["ETag"] == first.headers["ETag"]
        assert reply.headers["KG-Revision"] == first.headers["KG-Revision"]


def test_head_is_get_without_its_body(served: Server) -> None:
    query = f"{ALL} # head first"
    head = _sparql(served, query, "HEAD")
    get = _sparql(served, query)
    assert (head.status, head.body) == (200, b"")
    assert get.body
    for name in ("ETag", "Content-Length", "Content-Type", "KG-Revision"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("coding", "unpack"), [("gzip", gzip.decompress), ("zstd", zstandard.ZstdDecompressor().decompress)]
)
def test_compression_is_negotiated_and_has_its_own_tag(served: Server, coding: str, unpack: Any) -> None:
    plain = _sparql(served, ALL)
    packed = _sparql(served, ALL, **{"Accept-Encoding": coding})
    assert packed.headers["Content-Encoding"] == coding
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert unpack(packed.body) == plain.body
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert len(packed.body) < len(plain.body)


@pytest.mark.parametrize("function", ["NOW()", "RAND()", "UUID()", "STRUUID()", "BNODE()"])
def test_what_differs_each_time_is_never_kept(served: Server, function: str) -> None:
    query = f"SELECT ({function} AS ?x) {{}}"
    first, second = _sparql(served, query), _sparql(served, query)
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["ETag"] is None
    if function != "BNODE()":  # names of blank nodes may well repeat in another answer
        assert first.body != second.body


def test_posts_of_a_query_are_kept_too(served: Server) -> None:
    def post() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("POST", "/sparql", b"ASK { ?posted ?p ?o }", {"Content-Type": "application/sparql-query"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    first = post()
    before = _hits(served)
    assert post() == first
    assert _hits(served) == before + 1


def test_a_write_is_in_the_next_answer(serve: Serve, tmp_path: Path) -> None:
    data = tmp_path / "data"
    place = tmp_path / "place.ttl"
    text = (
        "@prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        '<place/here> a ekg:Place ; rdfs:label "{}"@en .\n'
    )
    place.write_text(text.format("first"), "utf-8")
    server = serve(data, flags=["--query-processes", "2"])
    query = 'SELECT ?l { ?place a ekg:Place ; rdfs:label ?l FILTER(STRENDS(STR(?place), "place/here")) }'
    for name in ("first", "second", "third"):
        place.write_text(text.format(name), "utf-8")
        assert kg("load", place, "--data", data).code == 0
        for _ in range(2):  # computed, then from memory
            assert _sparql(server, query).text == f"l\r\n{name}\r\n"
            assert f'"{name}"@en' in server.get("place/here.ttl").text
            assert server.get("health").json()["documents"]["place"] >= 1


def test_min_revision_waits_or_says_so(served: Server) -> None:
    now = served.get("health").json()["revision"]
    assert _sparql(served, "ASK {}", **{"KG-Min-Revision": str(now)}).status == 200
    ahead = _sparql(served, "ASK {}", **{"KG-Min-Revision": str(now + 1)})
    assert ahead.status == 503
    assert ahead.json()["reached"] == now
    assert ahead.headers["Retry-After"]
    assert _sparql(served, "ASK {}", **{"KG-Min-Revision": "soon"}).status == 400


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 20)


def test_a_client_that_goes_away_frees_its_process(served: Server) -> None:
    connection = _connect(served)
    target = f"/sparql?{urlencode({'query': BURN + '# gone', 'timeout': '25'})}"
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def busy() -> int:
        return int(
            float(
                next(
                    line for line in served.get("metrics").text.splitlines() if line.startswith("kg_query_busy ")
                ).split()[1]
            )
        )

    until(lambda: busy() == 1, "the query runs")
    connection.close()
    until(lambda: busy() == 0, "its process is free", 5)
    assert "the client went away" in served.output
    assert _sparql(served, "ASK { ?after ?p ?o }").status == 200


def test_a_body_larger_than_anything_taken_is_refused_before_it_is_read(served: Server) -> None:
    connection = _connect(served)
    connection.sendall(
        b"POST /sparql HTTP/1.1\r\nHost: x\r\nContent-Type: application/sparql-query\r\nContent-Length: 99999999999\r\n\r\n"
    )
    answer = connection.recv(65_536)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 413")


def _say(server: Server, head: str) -> tuple[bytes, dict[str, Any]]:
    """The line and the document of the answer to a head, with nothing after it."""
    with _connect(server) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1"))
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    head_of_answer, _, body = answer.partition(b"\r\n\r\n")
    document = json.loads(body) if b"\r\ncontent-type: application/problem+json\r\n" in head_of_answer else {}
    return head_of_answer, document


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /a HTTP/1.1\nHost: x\nX : y\n\n", 400),
        ("GET /a HTTP/1.1\n\n", 400),
        ("nonsense\n\n", 400),
        ("GET /a HTTP/1.1\nHost: x\n" + "X: y\n" * 300 + "\n", 431),
        (f"GET /sparql?query={'x' * 300_000} HTTP/1.1\nHost: x\n\n", 414),
    ],
)
def test_what_is_refused_before_it_is_a_request_is_an_error_like_all_others(
    served: Server, head: str, status: int
) -> None:
    def counted() -> float:
        line = f'kg_requests_total{{method="other",status="{status}"}} '
        return sum(float(one.split()[-1]) for one in served.get("metrics").text.splitlines() if one.startswith(line))

    before = counted()
    start, problem = _say(served, head)
    assert start.startswith(f"HTTP/1.1 {status} ".encode())
    assert problem["status"] == status
    assert problem["type"].endswith("/errors#request-error")
    assert problem["title"]
    assert counted() == before + 1
    line = next(one for one in served.output.splitlines() if problem["request"] in one)
    assert f" {status} {problem['detail']}" in line


def test_a_server_is_asked_whether_it_is_there(served: Server) -> None:
    start, _ = _say(served, "OPTIONS * HTTP/1.1\nHost: x\nConnection: close\n\n")
    assert start.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nallow: " in start


def test_a_redirect_is_to_here_whatever_the_client_calls_it(served: Server) -> None:
    start, _ = _say(served, "GET //actor//russia?a=b HTTP/1.1\nHost: evil.example\nConnection: close\n\n")
    assert start.startswith(b"HTTP/1.1 308 ")
    assert b"\r\nlocation: /actor/russia?a=b\r\n" in start.lower()


def test_a_field_with_an_underscore_does_not_get_into_the_answers_of_others(served: Server) -> None:
    # In the environment of WSGI `_` and `-` are the same; for what is kept in memory they are not.
    head = "GET /actor/russia.html HTTP/1.1\nHost: x\nConnection: close\nAccept-Encoding: identity\n"
    poisoned, honest, other = (
        _body(served, f"{head}{field}\n\n") for field in ("Accept_Language: ru", "X: y", "Accept-Language: ru")
    )
    assert poisoned == honest != other


def _body(server: Server, head: str) -> bytes:
    with _connect(server) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer.partition(b"\r\n\r\n")[2]


def test_a_query_longer_than_the_limit_is_refused(served: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/sparql", b"#" * (2**20 + 1), {"Content-Type": "application/sparql-query"})
    response = connection.getresponse()
    problem = json.loads(response.read())
    connection.close()
    assert (response.status, problem["status"]) == (413, 413)


def test_slow_readers_and_writers_do_not_keep_others_waiting(served: Server) -> None:
    stuck = []
    for number in range(40):
        connection = _connect(served)
        if number % 2:
            connection.sendall(
                b"POST /sparql HTTP/1.1\r\nHost: x\r\nContent-Type: application/sparql-query\r\nContent-Length: 1000\r\n\r\nASK"
            )
        else:
            connection.sendall(f"GET /sparql?{urlencode({'query': ALL})} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        stuck.append(connection)
    try:
        for number in range(10):
            assert _sparql(served, f"SELECT ({number} AS ?n) {{}}").text.split() == ["n", str(number)]
    finally:
        for connection in stuck:
            connection.close()


def test_a_bound_on_all_that_is_being_sent_at_once(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.web.front._BODIES", 3)
    behind = Front(
        lambda environ, start: [], lambda: (1, 1), Cache(1_000), lambda *_: None, threads=2, body_limit=10, base=_BASE
    )
    slow = [_Proto(None) for _ in range(3)]
    for one in slow:
        one.first = b"x" * 10

    async def ask() -> _Proto:
        waiting = [asyncio.ensure_future(behind.__rsgi__(_Scope("POST"), one)) for one in slow]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = _Proto(b"x")
        await behind.__rsgi__(_Scope("POST"), late)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        return late

    late = loop.run_until_complete(ask())
    assert late.status == 503
    assert dict(late.headers)["retry-after"]
    assert behind._arriving == 0
    behind.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


class _Proto:
    """A connection: `body` comes in, or never ends where it is None; what was sent is kept."""

    def __init__(self, body: bytes | None = b"") -> None:
        self._body = body
        self.first = b""
        self.status = 0
        self.sent = b""
        self.headers: Any = []

    def __aiter__(self) -> _Proto:
        return self

    async def __anext__(self) -> bytes:
        if self.first:
            first, self.first = self.first, b""
            return first
        if self._body is None:
            await asyncio.sleep(3600)
        body, self._body = self._body, b""
        if not body:
            raise StopAsyncIteration
        return body

    async def client_disconnect(self) -> None:
        await asyncio.sleep(3600)

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.sent = status, headers, body

    def response_empty(self, status: int, headers: Any) -> None:
        self.status, self.headers = status, headers


class _Scope:
    proto, http_version, scheme, path = "http", "1.1", "http", "/sparql"
    client, server, authority = "127.0.0.1:1", "127.0.0.1:2", None
    raw = b""

    def __init__(self, method: str, query: str = "") -> None:
        self.method = method
        self.query_string = query
        self.headers: dict[str, str] = {}


class _Application:
    """Counts how often it is asked, and takes its time."""

    def __init__(self, cache_control: str) -> None:
        self.calls = 0
        self._cache_control = cache_control
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with self._lock:
            self.calls += 1
            number = self.calls
        time.sleep(0.1)
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("KG-Revision", "1"), ("Cache-Control", self._cache_control)]
        )
        return [str(number).encode()]


def _front(application: Any, answered: list[int] | None = None) -> Front:
    def tell(method: str, status: int, seconds: float | None) -> None:
        if answered is not None:
            answered.append(status)

    return Front(application, lambda: (1, 1), Cache(100_000), tell, threads=16, body_limit=10, base=_BASE)


@pytest.mark.parametrize(("cache_control", "calls"), [("public, no-cache", 1), ("no-store", 12)])
def test_identical_reads_at_once_are_computed_once_where_they_may_be_shared(
    loop: asyncio.AbstractEventLoop, cache_control: str, calls: int
) -> None:
    application = _Application(cache_control)
    front = _front(application)
    connections = [_Proto() for _ in range(12)]

    async def all_at_once() -> None:
        await asyncio.gather(*(front.__rsgi__(_Scope("GET", "query=x"), connection) for connection in connections))

    loop.run_until_complete(all_at_once())
    assert application.calls == calls
    assert len({connection.sent for connection in connections}) == calls
    assert {connection.status for connection in connections} == {200}


def test_the_revision_is_read_after_who_asks_has_come_and_once_for_all_who_have(
    loop: asyncio.AbstractEventLoop,
) -> None:
    reads: list[int] = []

    def revision() -> tuple[int, ...]:
        reads.append(1)
        return (written,)

    written = 1
    front = Front(
        _Application("public, no-cache"),
        revision,
        Cache(100_000),
        lambda *_: None,
        threads=4,
        body_limit=10,
        base=_BASE,
    )
    connections = [_Proto() for _ in range(6)]

    async def ask_together(some: list[_Proto]) -> None:
        await asyncio.gather(*(front.__rsgi__(_Scope("GET", "query=x"), one) for one in some))

    loop.run_until_complete(ask_together(connections[:1]))  # computed, and kept
    reads.clear()
    loop.run_until_complete(ask_together(connections[1:4]))
    assert len(reads) == 1
    written = 2
    loop.run_until_complete(ask_together(connections[4:]))
    assert [connection.sent for connection in connections] == [b"1"] * 4 + [b"2"] * 2


def test_what_came_just_so_before_is_answered_without_being_read_again(loop: asyncio.AbstractEventLoop) -> None:
    answered: list[int] = []
    written = 1
    front = Front(
        _Application("public, no-cache"),
        lambda: (written,),
        Cache(100_000),
        lambda method, status, seconds: answered.append(status),
        threads=4,
        body_limit=10,
        base=_BASE,
    )

    def ask(raw: bytes, method: str = "GET", **fields: str) -> _Proto:
        proto, scope = _Proto(), _Scope(method, "query=x")
        scope.raw = raw
        scope.headers = {name.replace("_", "-"): value for name, value in fields.items()}
        loop.run_until_complete(front.__rsgi__(scope, proto))
        return proto

    async def recall(raw: bytes) -> Sequence[bytes] | None:
        return front.recall(raw)

    def recalled(raw: bytes) -> bytes | None:
        parts = loop.run_until_complete(recall(raw))
        return None if parts is None else b"".join(parts)

    assert recalled(b"get") is None
    ask(b"get")
    assert recalled(b"get") is None, "nobody has asked again"
    first = ask(b"get")
    again = recalled(b"get")
    assert again is not None
    head, _, body = again.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert (lines[0], body) == ("HTTP/1.1 200 OK", first.sent)
    assert sorted(lines[2:]) == sorted(f"{name}: {value}" for name, value in first.headers)
    assert lines[1].startswith("date: ")

    etag = dict(first.headers)["etag"]
    ask(b"head", "HEAD")
    ask(b"conditional", if_none_match=etag)
    assert recalled(b"head") == (again[: -len(body)])
    unchanged = recalled(b"conditional")
    assert unchanged is not None
    assert unchanged.startswith(b"HTTP/1.1 304 ")
    assert unchanged.endswith(b"\r\n\r\n")
    assert b"content-length" not in unchanged
    assert answered[-2:] == [200, 304]

    written = 2
    assert recalled(b"get") is None, "a write was acknowledged"
    ask(b"get")
    ask(b"get")
    newer = recalled(b"get")
    assert newer is not None
    assert newer.endswith(b"2")


def test_what_is_remembered_of_requests_is_bounded(loop: asyncio.AbstractEventLoop) -> None:
    front = _front(_Application("public, no-cache"))
    for raw in [b"first", *(b"%d" % number for number in range(2_048)), b"x" * 5_000]:
        scope = _Scope("GET", "query=x")
        scope.raw = raw
        loop.run_until_complete(front.__rsgi__(scope, _Proto()))
    assert len(front._meanings) == 2_048
    assert b"x" * 5_000 not in front._meanings
    assert b"2047" in front._meanings


def test_a_post_without_a_body_is_not_the_same_as_a_get(loop: asyncio.AbstractEventLoop) -> None:
    application = _Application("public, no-cache")
    front = _front(application)
    for method in ("GET", "POST"):
        loop.run_until_complete(front.__rsgi__(_Scope(method, "query=x"), _Proto()))
    assert application.calls == 2


_PLAIN = "SELECT ?s { ?s a ekg:Person } ORDER BY ?s"
_ONE_BY_ONE = "\n".join(f"# {n}" for n in range(20_000))


#: Method, parameters, header.
_REQUESTS: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("GET", {"query": _PLAIN}, {}),
    ("GET", {"query": _PLAIN}, {"Accept": "text/csv", "Accept-Encoding": "gzip"}),
    ("HEAD", {"query": _PLAIN}, {"Accept": "application/sparql-results+xml"}),
    ("GET", {"query": _PLAIN, "format": "tsv"}, {}),
    ("GET", {"query": "ASK { ?s ?p '\u2028Курск%+ &' }"}, {}),
    ("GET", {"query": "SELECT (RAND() AS ?x) {} LIMIT 0"}, {}),
    ("GET", {"query": "DESCRIBE <actor/russia>"}, {"Accept": "application/rdf+xml"}),
    ("GET", {"query": "DESCRIBE <actor/russia>"}, {"Accept": "application/ld+json"}),
    ("GET", {"query": "SELECT ('\\u0001' AS ?x) {}"}, {"Accept": "application/sparql-results+xml"}),
    ("GET", {"query": "SELECT ?s {"}, {}),
    ("GET", {"query": "SELECT ?s { ?s a nope:Thing }"}, {}),
    ("GET", {"query": "SELECT * { SERVICE <http://127.0.0.1:1/> { ?s ?p ?o } }"}, {}),
    ("GET", {"query": _PLAIN}, {"Accept": "image/png"}),
    ("GET", {"query": _PLAIN}, {"Accept": "text/turtle"}),
    ("GET", {"query": _PLAIN}, {"Accept": "text/html"}),
    ("GET", {"query": _PLAIN, "timeout": "never"}, {}),
    ("GET", {"query": _PLAIN, "default-graph-uri": "no iri"}, {}),
    ("GET", {"query": _PLAIN, "default-graph-uri": "https://kg.example/actor/russia"}, {}),
    ("GET", {"query": "SELECT (SHA512(CONCAT(STR(?a), STR(?b))) AS ?x) { ?a ?p ?q . ?b ?r ?s } LIMIT 20000"}, {}),
    ("POST", {"query": _PLAIN}, {"Content-Type": "application/x-www-form-urlencoded"}),
    ("POST", {"query": f"{_PLAIN} {_ONE_BY_ONE}"}, {"Content-Type": "application/x-www-form-urlencoded"}),
    ("POST", {"query": _PLAIN}, {"Content-Type": "text/plain"}),
]


def test_the_short_way_answers_what_the_application_does(loop: asyncio.AbstractEventLoop, seeded: Library) -> None:
    """In status, header and body: of an answer, of an error, and of what takes too long or is too large for it."""
    application = create_app(seeded).wsgi_app
    fronts = [
        Front(
            application,
            seeded.revision,
            Cache(0),
            lambda *_: None,
            threads=2,
            body_limit=2**20,
            base=seeded.base,
            shortcut=shortcut,
        )
        for shortcut in (None, Shortcut(seeded))
    ]
    for method, fields, headers in _REQUESTS:
        answers = []
        for front in fronts:
            form = urlencode(fields)
            connection = _Proto(form.encode() if method == "POST" else b"")
            scope = _Scope(method, "" if method == "POST" else form)
            scope.headers = {name.lower(): value for name, value in headers.items()}
            loop.run_until_complete(front.__rsgi__(scope, connection))
            answers.append((connection.status, sorted(connection.headers), _REQUEST_ID.sub(b"", connection.sent)))
        assert answers[0] == answers[1], (method, fields, headers)
        assert seeded.engine.figures()["busy"] == 0


def test_a_quick_query_takes_the_short_way(loop: asyncio.AbstractEventLoop, seeded: Library) -> None:
    def application(*_: Any) -> list[bytes]:
        raise AssertionError("the application is not asked")

    front = Front(
        application,
        seeded.revision,
        Cache(0),
        lambda *_: None,
        threads=2,
        body_limit=10,
        base=seeded.base,
        shortcut=Shortcut(seeded),
    )
    for number in range(2):
        connection = _Proto()
        seeded.answer(Query("ASK {}"))  # so that the process has started
        loop.run_until_complete(front.__rsgi__(_Scope("GET", urlencode({"query": f"ASK {{}} # {number}"})), connection))
        assert connection.status == 200


def test_refusals_are_problem_documents_like_all_others(loop: asyncio.AbstractEventLoop) -> None:
    connection = _Proto()
    scope = _Scope("POST")
    scope.headers = {"content-length": "11"}
    loop.run_until_complete(_front(_Application("no-store")).__rsgi__(scope, connection))
    document = json.loads(connection.sent)
    assert (connection.status, document["status"]) == (413, 413)
    assert document["type"] == "https://kg.example/errors#request-error"
    assert document["request"]
    assert ("x-content-type-options", "nosniff") in connection.headers


def test_past_its_threads_a_client_is_told_to_come_back(loop: asyncio.AbstractEventLoop) -> None:
    front = _front(_Application("no-store"))
    connections = [_Proto() for _ in range(20)]

    async def all_at_once() -> None:
        await asyncio.gather(*(front.__rsgi__(_Scope("GET", f"query={n}"), c) for n, c in enumerate(connections)))

    loop.run_until_complete(all_at_once())
    assert sorted(connection.status for connection in connections) == [200] * 16 + [503] * 4


def test_a_body_that_does_not_come_is_given_up(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.web.front._BODY_PATIENCE", 0.05)
    answered: list[int] = []
    connection = _Proto(None)
    loop.run_until_complete(_front(_Application("no-store"), answered).__rsgi__(_Scope("POST"), connection))
    assert connection.status == 408
    assert answered == [408]


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("203.0.113.9:5000", "", "203.0.113.9"),
        ("203.0.113.9:5000", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1:5000", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1:5000", "made.up, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1:5000", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("127.0.0.1:5000", "", "127.0.0.1"),
        ("[::1]:5000", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_only_proxies_that_were_named_are_believed(client: str, forwarded: str, address: str) -> None:
    assert caller_address(client, forwarded, frozenset({"127.0.0.1", "10.0.0.2", "::1"})) == address
