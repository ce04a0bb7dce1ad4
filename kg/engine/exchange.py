"""One request to a SPARQL server: bounded in time, and what came back, whole or an error.

Hides threads, sockets and the ways in which servers refuse. Promises that whoever waits is free at the deadline or when the caller
goes, however slowly bytes trickle; that nothing is followed elsewhere; and that an answer which broke off is told from a whole one.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from kg.engine import NOBODY, Caller
from kg.engine.evaluator import PLACE
from kg.engine.turns import QUICK
from kg.errors import CallerGone, EngineUnavailable, KgError, MalformedQuery, Overloaded, QueryError, QueryTimeout

T = TypeVar("T")


class Exchange(Generic[T]):
    """Some work that talks to a server, done in a thread of its own, and given up at a deadline or when the caller goes.

    A timeout of a socket is none of an answer: each byte that trickles in starts it anew, and looking up a name has none at all.
    """

    def __init__(self, discard: Callable[[T], object] = lambda _: None) -> None:
        self._discard = discard
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._stopped = False
        self._socket: socket.socket | None = None
        self._result: list[T] = []
        self._error: BaseException | None = None

    def attach(self, connection: socket.socket) -> None:
        """The socket that is to be shut when the work is given up."""
        with self._guard:
            self._socket = connection
            if self._stopped:
                _shut(connection)

    def stop(self) -> None:
        """Give the work up; from any thread. What it still brings is thrown away."""
        with self._guard:
            if self._over.is_set():
                return
            self._stopped = True
            if self._socket is not None:
                _shut(self._socket)
            self._over.set()

    def perform(
        self, work: Callable[[], T], deadline: float, caller: Caller = NOBODY, slow: Callable[[], object] | None = None
    ) -> T:
        """What the work returns or raises. Raises `TimeoutError` at the deadline, a moment of the monotonic clock, and `CallerGone`.

        `slow` is called once if the work takes longer than a quick query.
        """
        threading.Thread(target=self._run, args=(work,), name="exchange", daemon=True).start()
        with caller.on_hang_up(self.stop):
            if slow is not None and not self._over.wait(max(0.0, min(QUICK, deadline - time.monotonic()))):
                slow()
            self._over.wait(max(0.0, deadline - time.monotonic()))
            self.stop()
        if self._stopped:
            if caller.gone:
                raise CallerGone("the caller went away while the query ran")
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self, work: Callable[[], T]) -> None:
        result: list[T] = []
        error: BaseException | None = None
        try:
            result.append(work())
        except BaseException as raised:  # noqa: BLE001 — it is raised again where somebody waits for it
            error = raised
        with self._guard:
            if not self._stopped:
                self._result, self._error = result, error
                self._over.set()
                return
        for late in result:
            self._discard(late)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # The plain socket's: that of TLS would take the connection's state away under the thread that reads it.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Plain(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, exchange: Exchange[Any], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._exchange = exchange

    def connect(self) -> None:
        super().connect()
        self._exchange.attach(self.sock)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, exchange: Exchange[Any], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._exchange = exchange

    def connect(self) -> None:
        super().connect()
        self._exchange.attach(self.sock)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections that their exchange can shut."""

    def __init__(self, exchange: Exchange[Any], tls: ssl.SSLContext) -> None:
        urllib.request.AbstractHTTPHandler.__init__(self)
        self._plain = partial(_Plain, exchange=exchange)
        self._secure = partial(_Secure, exchange=exchange, context=tls)

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._plain, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._secure, request)


class _Login(urllib.request.HTTPDigestAuthHandler):
    """Says who we are, in the way in which the server asks for it: a server that wants a digest, such as Virtuoso at /sparql-auth,
    never gets the password, and would not even ask if it had been given that."""

    def __init__(self, url: str, user: str, password: str, asked: Callable[[str], object]) -> None:
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, url, user, password)
        super().__init__(passwords)
        self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._asked = asked

    def http_error_401(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        challenge = headers.get("WWW-Authenticate", "").lower()
        if challenge.startswith("digest"):
            self._asked("digest")
            return super().http_error_401(req, fp, code, msg, headers)
        if challenge.startswith("basic") and req.get_header("Authorization") is None:
            self._asked("basic")
            req.add_unredirected_header("Authorization", self._basic)
            return self.parent.open(req, timeout=req.timeout)
        return None


def opener(
    exchange: Exchange[Any],
    tls: ssl.SSLContext,
    url: str,
    login: tuple[str, str] | None,
    asked: Callable[[str], object],
) -> urllib.request.OpenerDirector:
    """What opens one request of an exchange. It follows no redirection. `login` are user and password for this URL, given when the
    server asks for them; `asked` is then told how, `basic` or `digest`."""
    director = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.ProxyHandler(),
        _Handler(exchange, tls),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ]
    if login is not None:
        handlers.append(_Login(url, *login, asked))
    for handler in handlers:
        director.add_handler(handler)
    return director


# What comes back


class Response:
    """A file of the server's answer, to be read once, that knows whether all of it came."""

    def __init__(self, server: str, raw: http.client.HTTPResponse) -> None:
        self._server = server
        self._raw = raw
        self.broken: KgError | None = None
        self.media_type = raw.headers.get_content_type()
        # Virtuoso: blank nodes called nodeID://b1, which is no label, and truth that is 1. A quotation mark inside a string has a
        # backslash before it, so these never match what a literal says.
        self._mends = "virtuoso" in raw.headers.get("Server", "").lower() and self.media_type.endswith("json")
        self._held = b""  # of what was read, the end that may go on
        self._ready, self._at = b"", 0

    def read(self, size: int = 65_536) -> bytes:
        """At most `size` bytes; none at the end. Never more: pyoxigraph aborts the process if it is given more than it asked for."""
        if self._at == len(self._ready):
            self._ready, self._at = self._next(), 0
        piece = self._ready[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _next(self) -> bytes:
        while True:
            try:
                piece = self._raw.read(65_536)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                # ValueError and AttributeError: the socket was taken away while it was read.
                self.broken = EngineUnavailable(f"{self._server} broke off its answer: {error or type(error).__name__}")
                raise OSError("broken off") from None
            if not piece and self._raw.length:
                self.broken = EngineUnavailable(f"{self._server} broke off its answer {self._raw.length:,} bytes early")
                raise OSError("broken off")
            if not self._mends:
                return piece
            text = self._held + piece
            cut = text.rfind(b"}") + 1 if piece else len(text)
            self._held = text[cut:]
            if cut or not piece:
                return _mended(text[:cut])

    def require_end(self) -> None:
        """Read what the parser left. Raises `OSError` unless all that was announced came."""
        while self.read():
            pass

    def nonsense(self, why: str = "") -> EngineUnavailable:
        return EngineUnavailable(
            f"{self._server} answered with {self.media_type} that cannot be read{': ' if why else ''}{why[:300]}"
        )


_NODE = re.compile(rb'("type": *"bnode", *"value": *")nodeID://')
_TRUTH = re.compile(rb'("datatype": *"http://www\.w3\.org/2001/XMLSchema#boolean", *"value": *")([01])"')


def _mended(text: bytes) -> bytes:
    text = _NODE.sub(rb"\1", text)
    return _TRUTH.sub(lambda match: match[1] + (b'true"' if match[2] == b"1" else b'false"'), text)


class Refusal(Exception):
    """The server answered a request with an error."""

    def __init__(self, server: str, status: int, headers: Any, text: str) -> None:
        super().__init__(text)
        self.server = server
        self.status = status
        self.headers = headers
        # Virtuoso repeats the query after its message.
        self.text = text.partition("\n\nSPARQL query:")[0].strip()[:2_000] or f"status {status}"

    def as_error(self, shift: int = 0) -> KgError:
        """What it is for whoever asked; `shift` is by how many columns the first line of the query was moved."""
        match self.status:
            case 429 | 503:
                after = self.headers.get("Retry-After", "")
                return Overloaded(
                    f"{self.server} is overloaded: {self.text}", retry_after=int(after) if after.isdigit() else 5
                )
            case 400 | 422 | 500 | 501:
                return self._of_query(shift)
            case 408 | 504:
                return QueryTimeout(f"{self.server} gave the query up: {self.text}")
            case status if 300 <= status < 400:
                elsewhere = self.headers.get("Location", "elsewhere")
                return EngineUnavailable(
                    f"{self.server} sends us to {_without_user(elsewhere)}, which is not followed; if that is right, set KG_ENGINE to it"
                )
            case 401 | 403:
                return EngineUnavailable(
                    f"{self.server} refuses us ({self.status}); see KG_ENGINE_USER and KG_ENGINE_SECRET_FILE"
                )
            case _:
                return EngineUnavailable(f"{self.server} answered with status {self.status}: {self.text}")

    def _of_query(self, shift: int) -> KgError:
        virtuoso = re.match(r"Virtuoso (\w+) Error (\w+): ", self.text)
        # Virtuoso: S1T00 and S1TAT are its own limit of time; 37000 its compiler, of which SP030 and SP031 are about the query's text.
        if virtuoso is not None and virtuoso[1] in ("S1T00", "S1TAT"):
            return QueryTimeout(f"{self.server} gave the query up: {self.text}")
        if self.status != 400 or (virtuoso is not None and virtuoso[1] != "37000"):
            return QueryError(f"{self.server} could not answer: {self.text}")
        place = PLACE.search(self.text) or _PLACE_ELSEWHERE.search(self.text)
        line = int(place[1]) if place else None
        column = int(place[2]) if place and place[2] else None
        if line == 1 and column is not None:
            column = max(1, column - shift)
        message = place[3] if place and place.re is PLACE else self.text
        return MalformedQuery(message, line=line, column=column)


#: "line 1: …" (Virtuoso), "at line 2, column 7" (Jena, RDF4J).
_PLACE_ELSEWHERE = re.compile(r"\bline:? (\d+)(?:,? col(?:umn)?:? (\d+))?", re.IGNORECASE)


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)
