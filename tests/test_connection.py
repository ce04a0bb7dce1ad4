"""HTTP/1.1 on the wire, over sockets: what comes, in whatever pieces, and what goes, whole or cut off."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import until

from kg.web import connection
from kg.web.connection import Connection, serve
from kg.web.wire import field_lines, status_line

Headers = list[tuple[str, str]]


class _Application:
    """Answers with what was asked: method, path, query, header and body, or as the path says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self.recalled: list[bytes] = []
        self.known: dict[bytes, Sequence[bytes]] = {}
        self.gone = threading.Event()
        self.release: asyncio.Event | None = None

    def recall(self, raw: bytes) -> Sequence[bytes] | None:
        self.recalled.append(raw)
        return self.known.get(raw)

    def refusal(self, status: int, why: str, method: str = "-", path: str = "-") -> tuple[Headers, bytes]:
        self.refused.append((status, why))
        return [("content-type", "application/problem+json")], why.encode("ascii", "replace")

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        self.asked.append(scope.path)
        match scope.path:
            case "/refuse":
                proto.response_bytes(413, [("content-type", "text/plain")], b"no")
            case "/fail":
                raise RuntimeError("on purpose")
            case "/nothing":
                pass
            case "/stream" | "/short" | "/fail-late":
                headers = [("content-length", "6")] if scope.path == "/short" else []
                stream = proto.response_stream(200, headers)
                for part in (b"one", b"two")[: 1 if scope.path == "/short" else 2]:
                    await stream.send_bytes(part)
                if scope.path == "/fail-late":
                    raise RuntimeError("on purpose")
            case "/wrong-length":
                proto.response_bytes(200, [("content-length", "3")], b"four")
            case "/named-in-a-field":
                proto.response_bytes(200, [("x", "content-length: 99")], b"four")
            case "/bad-field":
                proto.response_bytes(200, [("x", "a\r\nset-cookie: b")], b"")
            case "/empty":
                proto.response_empty(204, [])
            case "/large":
                proto.response_bytes(200, [], b"x" * 20_000_000)
            case "/wait":
                self.release = asyncio.Event()
                both = [asyncio.ensure_future(one) for one in (proto.client_disconnect(), self.release.wait())]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if both[0].done():
                    self.gone.set()
                for one in both:
                    one.cancel()
                proto.response_bytes(200, [], b"waited")
            case _:
                body = b"".join([part async for part in proto])
                told = f"{scope.method} {scope.path} {scope.query_string} {sorted(scope.headers.items())} "
                proto.response_bytes(200, [("content-type", "text/plain")], told.encode("latin-1") + body)


class _Service:
    """The application on a port, in a loop of its own."""

    def __init__(self, limit: int = connection.CONNECTIONS) -> None:
        self.application = _Application()
        self._limit = limit
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self._loop = uvloop.new_event_loop()
        self._told = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(serve(self.application, self.listening, self._told, 5, self._limit))

    def call(self, what: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(what)

    def tell_to_end(self) -> None:
        self.call(self._told.set)

    def wait(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def say(self, *pieces: bytes) -> bytes:
        """All that is answered until the connection ends, when this comes in pieces."""
        with self.connect() as client:
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.02)
                client.sendall(piece)
            return _rest(client)

    def close(self) -> None:
        if self._thread.is_alive():
            self.tell_to_end()
            self.wait()
        self._loop.close()


def _rest(client: socket.socket) -> bytes:
    said = b""
    while part := client.recv(65_536):
        said += part
    return said


@pytest.fixture(scope="module")
def service() -> Iterator[_Service]:
    running = _Service()
    yield running
    running.close()


def _get(path: str = "/a", *fields: str, method: str = "GET", version: str = "1.1", close: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *fields, *(["Connection: close"] if close else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    return int(line.split()[1]), {n.lower(): v for n, _, v in (field.partition(": ") for field in fields)}, body


def test_a_request_is_understood_in_whatever_pieces_it_comes(service: _Service) -> None:
    request = _get("/a/b?q=1&r=%20", "X-Two: b", "X-Two: c", "Content-Length: 5", method="POST") + b"hello"
    whole = _parts(service.say(request))
    told = (
        "POST /a/b q=1&r=%20 [('connection', 'close'), ('content-length', '5'), ('host', 'x'), ('x-two', 'b, c')] hello"
    )
    assert (whole[0], whole[2].decode()) == (200, told)
    assert whole[1]["date"].endswith(" GMT")
    assert int(whole[1]["content-length"]) == len(told)
    for size in (1, 7, 40):
        with service.connect() as client:
            for start in range(0, len(request), size):
                client.sendall(request[start : start + size])
            assert _parts(_rest(client))[2] == whole[2]


def test_a_body_in_chunks_is_one_body(service: _Service) -> None:
    head = _get("/a", "Transfer-Encoding: chunked", method="PUT")
    answer = service.say(head + b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n", b"X-Late: 1\r\n\r\n")
    assert _parts(answer)[2].endswith(b"] abcde")
    assert b"x-late" not in answer


def test_requests_are_answered_in_the_order_in_which_they_come(service: _Service) -> None:
    answer = service.say(b"".join(_get(f"/{n}", close=n == 29) for n in range(30)))
    places = [answer.index(f"GET /{n} ".encode()) for n in range(30)]
    assert places == sorted(places)
    assert answer.count(b"HTTP/1.1 200") == 30


def test_a_connection_stays_open_and_says_so_to_old_clients(service: _Service) -> None:
    with service.connect() as client:
        for _ in range(2):
            client.sendall(_get(close=False))
            assert "connection" not in _parts(client.recv(65_536))[1]
        client.sendall(_get("/a", "Connection: keep-alive", version="1.0", close=False))
        assert _parts(client.recv(65_536))[1]["connection"] == "keep-alive"
        client.sendall(_get(version="1.0", close=False))
        assert _parts(_rest(client))[1]["connection"] == "close"


@pytest.mark.parametrize(
    "target", ["/Курск?q=Россия", "/%D0%9A%D1%83%D1%80%D1%81%D0%BA?q=%D0%A0%D0%BE%D1%81%D1%81%D0%B8%D1%8F"]
)
def test_an_address_in_any_language_is_the_same_as_escaped(service: _Service, target: str) -> None:
    request = _get("/a").replace(b"/a", target.encode())
    for pieces in ([request], [request[:9], request[9:]]):
        answer = _parts(service.say(*pieces))
        assert b"/%D0%9A%D1%83%D1%80%D1%81%D0%BA q=%D0%A0%D0%BE%D1%81%D1%81%D0%B8%D1%8F" in answer[2]


def test_an_absolute_target_is_its_path(service: _Service) -> None:
    assert _parts(service.say(_get("http://elsewhere.example/a?b=c")))[2].startswith(b"GET /a b=c ")
    assert _parts(service.say(_get("http://elsewhere.example?b=c")))[2].startswith(b"GET / b=c ")


@pytest.mark.parametrize("method", ["BREW", "PROPFIND", "get", "M-SEARCH"])
def test_which_methods_there_are_is_not_decided_here(service: _Service, method: str) -> None:
    assert _parts(service.say(_get(method=method)))[2].startswith(f"{method} /a ".encode())
    request = _get("/a x".replace(" ", "+"), method=method)
    assert _parts(service.say(request[:2], request[2:9], request[9:]))[0] in (200, 400)


def test_a_path_that_comes_in_two_pieces_is_not_taken_for_a_method(service: _Service) -> None:
    request = _get("/abcdef")
    assert _parts(service.say(request[:7], request[7:]))[2].startswith(b"GET /abcdef ")


_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 3\r\n" + _CHUNKED + b"0\r\n\r\n",
        _CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: +3\r\n\r\nabc",
        b"Content-Length: 0x3\r\n\r\nabc",
        b"Content-Length: 99999999999999999999999\r\n\r\nabc",
        b"Content-Length: \r\n\r\nabc",
        b"Content-Length: 3\nX: y\r\n\r\nabc",
        b"Content-Length:\r\n 3\r\n\r\nabc",
        b"Content-Length : 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\n" + _CHUNKED + b"0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
        b"Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc",
        b"X: y\r\n z\r\n\r\n",
        b"X: a\0b\r\n\r\n",
        b"X: a\rb\r\n\r\n",
        b"X(: a\r\n\r\n",
        b"X\xd0: a\r\n\r\n",
        b": a\r\n\r\n",
        b"X\r\n\r\n",
        b"Host: y\r\n\r\n",
        _CHUNKED + b"3\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"3;a=b\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"3\r\nabcXX0\r\n\r\n",
        _CHUNKED + b"3\r\nabc\n0\r\n\r\n",
        _CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        _CHUNKED + b"0\r\nX: y\n\r\n",
    ],
)
def test_a_request_that_could_end_in_two_places_is_not_answered_but_refused(service: _Service, fields: bytes) -> None:
    asked = len(service.application.asked)
    # With what a proxy that sees the end elsewhere would have smuggled.
    raw = b"POST /a HTTP/1.1\r\nHost: x\r\n" + fields + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    status, headers, body = _parts(service.say(raw))
    assert (status, headers["connection"], headers["content-type"]) == (400, "close", "application/problem+json")
    assert service.application.refused[-1] == (400, body.decode())
    assert len(service.application.asked) == asked


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: \xd0\xb0\r\n\r\n",
        b"GET /a HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\n" + _CHUNKED + b"0\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS *a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://me:secret@x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1 \r\nHost: x\r\n\r\n",
        b"GET\t/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b" GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/0.9\r\n\r\n",
        b"GET /a HTTP/11\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(service: _Service, request_: bytes) -> None:
    asked = len(service.application.asked)
    status, headers, body = _parts(service.say(request_))
    assert (status, headers["connection"], headers["content-type"]) == (400, "close", "application/problem+json")
    assert service.application.refused[-1] == (400, body.decode())
    assert len(service.application.asked) == asked


@pytest.mark.parametrize("host", ["x", "", "x.example:8000", "[::1]:8000", "[::1]", "127.0.0.1:", "a_b"])
def test_hosts_are_names_and_addresses(service: _Service, host: str) -> None:
    assert _parts(service.say(_get().replace(b"Host: x", f"Host: {host}".encode())))[0] == 200


def test_empty_lines_before_a_request_are_none(service: _Service) -> None:
    request = _get("/a", method="BREW").replace(b"/a", "/Курск".encode())
    for pieces in ([b"\r\n\r\n" + request], [b"\r\n", request], [b"\r", b"\n" + request]):
        assert _parts(service.say(*pieces))[2].startswith(b"BREW /%D0%9A%D1%83%D1%80%D1%81%D0%BA ")


def test_a_body_that_comes_behind_another_request_is_left_as_it_is(service: _Service) -> None:
    body = "Россия\nBREW /a HTTP/1.1\r\n".encode()
    second = _get("/b", f"Content-Length: {len(body)}", method="PUT")
    answer = service.say(_get("/first", close=False) + second, body)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(body)


class _Transport(asyncio.Transport):
    """A client that takes what it is sent at once."""

    said, reading, ended = b"", True, False

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_very_many_requests_at_once_are_understood_a_few_at_a_time(loop: asyncio.AbstractEventLoop) -> None:
    count, transport = 7_000, _Transport()

    async def answer_all() -> None:
        one = Connection(_Application(), loop, set())
        one.connection_made(transport)
        one.data_received(b"HEAD /a HTTP/1.1\r\nHost:\r\n\r\n" * count)
        assert len(one._waiting) < 400
        assert not transport.reading
        while not transport.reading or one._waiting or one._current:
            await asyncio.sleep(0)
            assert len(one._waiting) < 400

    loop.run_until_complete(asyncio.wait_for(answer_all(), 30))
    assert transport.said.count(b"HTTP/1.1 200") == count


_BODIES = st.binary(max_size=30) | st.sampled_from(
    ["Курск\r\n\r\n".encode(), b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 20_000]
)


@st.composite
def _messages(draw: st.DrawFn) -> tuple[bytes, str, bytes]:
    """A request, its method, and its body."""
    method, body = draw(st.sampled_from(["GET", "PUT", "POST"])), draw(_BODIES)
    head = f"{method} /a HTTP/1.1\r\nHost: x\r\n".encode()
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, method, body
    size = draw(st.integers(1, 9_000))
    parts = [body[at : at + size] for at in range(0, len(body), size)][:50]
    body = b"".join(parts)
    chunks = b"".join(b"%x;ext\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Late: y\r\n\r\n", method, body


@given(st.lists(_messages(), min_size=1, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_what_comes_is_understood_alike_however_it_is_cut(
    messages: list[tuple[bytes, str, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(message for message, _, _ in messages)
    ends = [match.end() for match in re.finditer(rb"\r\n\r\n", whole)]  # of heads and of requests
    cuts = sorted(data.draw(st.lists(st.sampled_from(ends) | st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    understood: list[tuple[str, bytes]] = []

    class Application(_Application):
        async def __rsgi__(self, scope: Any, proto: Any) -> None:
            understood.append((scope.method, b"".join([part async for part in proto])))
            proto.response_empty(204, [])

    async def hear_all() -> None:
        transport = _Transport()
        one = Connection(Application(), asyncio.get_running_loop(), set())
        one.connection_made(transport)
        for piece in filter(None, pieces):
            one.data_received(piece)
            while not transport.reading:
                await asyncio.sleep(0)
        while one._current or one._waiting:
            await asyncio.sleep(0)
        assert transport.said.count(b"HTTP/1.1 204") == len(messages)
        assert not transport.ended

    asyncio.run(asyncio.wait_for(hear_all(), 20))
    assert understood == [(method, body) for _, method, body in messages]


def test_what_comes_before_nonsense_is_answered(service: _Service) -> None:
    answer = service.say(_get("/first", close=False) + _get("/second", close=False) + b"nonsense\r\n\r\n")
    assert [answer.count(part) for part in (b"GET /first", b"GET /second", b"HTTP/1.1 400")] == [1, 1, 1]


def test_a_body_that_turns_out_nonsense_ends_the_connection(service: _Service) -> None:
    answer = service.say(_get("/a", "Transfer-Encoding: chunked", method="PUT", close=False), b"zz\r\n")
    assert _parts(answer)[0] == 400


def test_a_head_without_end_is_refused(service: _Service) -> None:
    status, _, body = _parts(service.say(b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 600_000))
    assert status == 431
    assert b"262,144" in body
    status, _, body = _parts(service.say(b"GET /a?query=" + b"y" * 600_000))
    assert (status, b"POST" in body) == (414, True)
    asked = len(service.application.asked)
    head = _get("/a", "Transfer-Encoding: chunked", method="PUT")
    with service.connect() as client, pytest.raises(OSError):  # a reset, while sending or reading
        client.sendall(head + b"3\r\nabc\r\n0\r\nX-Late: ")
        for _ in range(40):
            client.sendall(b"x" * 100_000)
        raise OSError(_rest(client))
    assert len(service.application.asked) == asked + 1


@pytest.mark.parametrize("name", ["X", "X-%d"])
def test_a_head_of_very_many_fields_is_refused(service: _Service, name: str) -> None:
    fields = [f"{name.replace('%d', str(n))}: y" for n in range(10_000)]
    assert _parts(service.say(_get("/a", *fields)))[0] == 431
    assert _parts(service.say(_get("/a", *fields[:150])))[0] == 200


def test_a_client_that_wants_to_be_asked_for_its_body_is(service: _Service) -> None:
    head = _get("/a", "Content-Length: 5", "Expect: 100-continue", method="PUT")
    with service.connect() as client:
        client.sendall(head)
        assert client.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert _parts(_rest(client))[2].endswith(b"hello")
    status, headers, _ = _parts(service.say(_get("/refuse", "Content-Length: 5", "Expect: 100-continue", method="PUT")))
    assert (status, headers["connection"]) == (413, "close")


def test_a_refusal_reaches_a_client_that_sends_its_body_all_the_same(service: _Service) -> None:
    size = 20_000_000
    with service.connect() as client:
        client.sendall(_get("/refuse", f"Content-Length: {size}", method="PUT", close=False))
        client.sendall(b"x" * size)
        assert _parts(_rest(client))[0] == 413


def test_an_upgrade_is_not_taken_and_ends_the_connection(service: _Service) -> None:
    request = _get("/a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", close=False)
    assert _parts(service.say(request + b"PRI * HTTP/2.0\r\n\r\n"))[0] == 200


def test_an_answer_of_unknown_length_comes_in_chunks_or_ends_with_the_connection(service: _Service) -> None:
    status, headers, body = _parts(service.say(_get("/stream")))
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    status, headers, body = _parts(service.say(_get("/stream", "Connection: keep-alive", version="1.0", close=False)))
    assert (status, headers["connection"], body) == (200, "close", b"onetwo")


@pytest.mark.parametrize("path", ["/short", "/fail-late"])
def test_an_answer_that_broke_off_is_not_taken_for_a_whole_one(
    service: _Service, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with service.connect() as client:
        client.sendall(_get(path, close=False))
        said = b""
        try:
            while part := client.recv(65_536):
                said += part
        except ConnectionResetError:
            pass
    assert not said.endswith(b"0\r\n\r\n")
    assert len(_parts(said)[2]) < 6 or path == "/fail-late"


def test_a_failure_costs_its_own_request_and_nothing_else(service: _Service) -> None:
    with service.connect() as client:
        client.sendall(_get("/fail", close=False))
        assert _parts(client.recv(65_536))[0] == 500
        client.sendall(_get("/a"))
        assert _parts(_rest(client))[0] == 200


def test_what_has_no_body_has_none(service: _Service) -> None:
    answer = service.say(_get("/empty", close=False) + _get("/refuse", method="HEAD"))
    first, _, second = answer.partition(b"\r\n\r\n")
    assert b"content-length" not in first
    assert _parts(second)[0] == 413
    assert _parts(second)[1]["content-length"] == "2"
    assert _parts(second)[2] == b""


def test_a_client_that_goes_is_noticed(service: _Service) -> None:
    service.application.gone.clear()
    client = service.connect()
    client.sendall(_get("/wait", close=False))
    until(lambda: "/wait" in service.application.asked, "it was asked")
    client.close()
    assert service.application.gone.wait(10)


def test_a_request_that_came_by_itself_is_shown_as_it_came_and_may_be_answered_so(service: _Service) -> None:
    raw = _get("/known", close=False)
    service.application.known[raw] = (status_line(200), field_lines([("content-length", "2")]), b"\r\nok")
    with service.connect() as client:
        for _ in range(3):
            client.sendall(raw)
            assert client.recv(65_536).endswith(b"\r\n\r\nok")
        client.sendall(raw + raw)  # not by itself
        assert client.recv(65_536).count(b"GET /known") >= 1
    assert service.application.recalled.count(raw) >= 3


def test_what_is_sent_last_before_a_client_closes_its_side_is_answered(service: _Service) -> None:
    for path in ("/a", "/large", "/stream"):
        with service.connect() as client:
            client.sendall(_get("/first", close=False) + _get(path, close=False))
            client.shutdown(socket.SHUT_WR)
            answer = _rest(client)
            assert answer.count(b"HTTP/1.1 200") == 2
            assert len(answer) > (20_000_000 if path == "/large" else 0)
    with service.connect() as client:
        client.sendall(_get("/a", "Content-Length: 5", method="PUT") + b"half")
        client.shutdown(socket.SHUT_WR)
        assert _rest(client) == b""


def test_a_client_that_closed_its_side_and_waits_for_long_counts_as_gone(service: _Service) -> None:
    service.application.gone.clear()
    with service.connect() as client:
        client.sendall(_get("/wait", close=False))
        client.shutdown(socket.SHUT_WR)
        assert service.application.gone.wait(10)


@pytest.mark.parametrize("path", ["/wrong-length", "/bad-field"])
def test_an_answer_that_would_be_taken_for_another_is_not_sent(service: _Service, path: str) -> None:
    answer = service.say(_get(path, close=False) + _get("/a"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_field_that_speaks_of_lengths_has_none(service: _Service) -> None:
    status, headers, body = _parts(service.say(_get("/named-in-a-field")))
    assert (status, headers["content-length"], body) == (200, "4", b"four")


def test_when_there_is_no_room_the_idle_go_first_and_then_newcomers_are_told() -> None:
    running = _Service(limit=3)
    clients = [running.connect() for _ in range(3)]
    try:
        for number, client in enumerate(clients):
            client.sendall(_get(f"/{number}", close=False))
            assert client.recv(65_536)
            time.sleep(0.01)  # so that one has been idle for longer than the next
        clients.append(running.connect())
        assert clients[0].recv(1) == b""  # idle for longest
        for client in clients[1:]:
            client.sendall(_get("/wait", close=False))
        until(lambda: running.application.asked.count("/wait") == 3, "they are being answered")
        status, headers, _ = _parts(running.say(_get()))
        assert (status, headers["connection"]) == (503, "close")
        assert running.application.asked.count("/a") == 0
        clients[1].close()
        until(lambda: _parts(running.say(_get()))[0] == 200, "there is room again")
    finally:
        for client in clients:
            client.close()
        running.close()


def test_fields_cannot_end_their_line() -> None:
    for text in ("a\r\nset-cookie: x", "a\nb", "a\rb", "a\0b"):
        with pytest.raises(ValueError, match="end of a line"):
            field_lines([("x", text)])


def test_one_who_does_not_read_is_cut_off_and_one_who_says_nothing_too(
    service: _Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_READING_PATIENCE", "_HEAD_PATIENCE", "_IDLE_PATIENCE", "_INTERVAL"):
        monkeypatch.setattr(connection, name, 0.1)
    silent, slow, stuck = service.connect(), service.connect(), service.connect()
    slow.sendall(b"GET /a HT")
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(_get("/large", close=False))
    running = _Service()  # one with the short interval
    try:
        for client in (silent, slow, stuck):
            client.close()
        silent, slow, stuck = running.connect(), running.connect(), running.connect()
        slow.sendall(b"GET /a HT")
        stuck.sendall(_get("/large", close=False))
        assert silent.recv(1) == b""
        assert _parts(_rest(slow))[0] == 408
        time.sleep(0.5)
        with pytest.raises(ConnectionResetError):
            while stuck.recv(65_536):
                pass
            raise ConnectionResetError  # all that was in the socket already, then its end
    finally:
        for client in (silent, slow, stuck):
            client.close()
        running.close()


def test_told_to_end_it_finishes_what_runs_and_takes_nothing_new() -> None:
    running = _Service()
    idle, busy = running.connect(), running.connect()
    try:
        idle.sendall(_get(close=False))
        assert idle.recv(65_536)
        busy.sendall(_get("/wait", close=False))
        until(lambda: running.application.release is not None, "it was asked")
        running.tell_to_end()
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            running.connect()
        busy.sendall(_get("/too-late", close=False))
        assert running.application.release is not None
        running.call(running.application.release.set)
        status, headers, body = _parts(_rest(busy))
        assert (status, headers["connection"], body) == (200, "close", b"waited")
        assert "/too-late" not in running.application.asked
        running.wait()
    finally:
        idle.close()
        busy.close()
        running.close()


def test_told_to_end_in_the_middle_of_an_answer_it_finishes_that() -> None:
    running = _Service()
    client = running.connect()
    try:
        client.sendall(_get("/large", close=False))
        until(lambda: "/large" in running.application.asked, "it was asked")
        assert client.recv(10) == b"HTTP/1.1 2"
        running.tell_to_end()
        time.sleep(0.05)
        assert len(_parts(b"HTTP/1.1 2" + _rest(client))[2]) == 20_000_000
        running.wait()
    finally:
        client.close()
        running.close()


def test_a_client_that_resets_its_connection_leaves_nothing_behind(service: _Service) -> None:
    for path in ("/a", "/large", "/stream", "/wait"):
        client = service.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(_get(path, close=False))
        client.close()
    assert _parts(service.say(_get()))[0] == 200


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("::ffff:127.0.0.1", 80, 0, 0), "127.0.0.1:80"),  # as a reverse proxy of ours is configured
        (None, ""),
    ],
)
def test_who_comes_by_ipv4_has_the_same_address_on_any_socket(name: Any, address: str) -> None:
    assert connection._address(name) == address


def test_a_connection_is_one_of_the_open_ones_until_it_is_lost(loop: asyncio.AbstractEventLoop) -> None:
    open_ones: set[Connection] = set()
    one = Connection(_Application(), loop, open_ones)
    one.connection_made(_Transport())  # one that was lost before anybody asked for its names
    assert open_ones == {one}
    one.connection_lost(None)
    assert open_ones == set()
