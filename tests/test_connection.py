"""HTTP/1.1 on the wire, over sockets: what comes, in whatever pieces, and what goes, whole or cut off."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import uvloop
from serving import until

from kg.web import connection
from kg.web.connection import Connection, serve
from kg.web.wire import field_lines, status_line

Headers = list[tuple[str, str]]


class _Application:
    """Answers with what was asked: method, path, query, header and body, or as the path says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.recalled: list[bytes] = []
        self.known: dict[bytes, Sequence[bytes]] = {}
        self.gone = threading.Event()
        self.release: asyncio.Event | None = None

    def recall(self, raw: bytes) -> Sequence[bytes] | None:
        self.recalled.append(raw)
        return self.known.get(raw)

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

    def __init__(self) -> None:
        self.application = _Application()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self._loop = uvloop.new_event_loop()
        self._told = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(serve(self.application, self.listening, self._told, patience=5))

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


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_not_answered_but_refused(service: _Service, request_: bytes) -> None:
    asked = len(service.application.asked)
    status, headers, body = _parts(service.say(request_))
    assert (status, headers["connection"]) == (400, "close")
    assert body.startswith(b"this is no request of HTTP/1.1")
    assert len(service.application.asked) == asked


def test_what_comes_before_nonsense_is_answered(service: _Service) -> None:
    answer = service.say(_get("/first", close=False) + _get("/second", close=False) + b"nonsense\r\n\r\n")
    assert [answer.count(part) for part in (b"GET /first", b"GET /second", b"HTTP/1.1 400")] == [1, 1, 1]


def test_a_body_that_turns_out_nonsense_ends_the_connection(service: _Service) -> None:
    answer = service.say(_get("/a", "Transfer-Encoding: chunked", method="PUT", close=False), b"zz\r\n")
    assert b"200" not in answer[:20]


def test_a_head_without_end_is_refused(service: _Service) -> None:
    status, _, body = _parts(service.say(b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 600_000))
    assert status == 431
    assert b"262,144" in body
    asked = len(service.application.asked)
    head = _get("/a", "Transfer-Encoding: chunked", method="PUT")
    with service.connect() as client, pytest.raises(OSError):  # a reset, while sending or reading
        client.sendall(head + b"3\r\nabc\r\n0\r\nX-Late: ")
        for _ in range(40):
            client.sendall(b"x" * 100_000)
        raise OSError(_rest(client))
    assert len(service.application.asked) == asked + 1


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


def test_fields_cannot_end_their_line() -> None:
    for text in ("a\r\nset-cookie: x", "a\nb", "a\rb"):
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
        assert slow.recv(1) == b""
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
        assert running.application.release is not None
        running.call(running.application.release.set)
        status, headers, body = _parts(_rest(busy))
        assert (status, headers["connection"], body) == (200, "close", b"waited")
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


def test_a_connection_is_one_of_the_open_ones_until_it_is_lost() -> None:
    loop = asyncio.new_event_loop()
    open_ones: set[Connection] = set()

    class Transport(asyncio.Transport):
        """One that was lost before anybody asked for its names."""

    try:
        one = Connection(_Application(), loop, open_ones)
        one.connection_made(Transport())
        assert open_ones == {one}
        one.connection_lost(None)
        assert open_ones == set()
    finally:
        loop.close()
