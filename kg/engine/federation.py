"""SERVICE: queries may ask the endpoints that the operator allows, and nothing else ever hears from us.

Hides how a query's text is made safe and who really asks. pyoxigraph sends the requests of SERVICE itself, has no hook to stop it,
follows redirections, and reads the keyword where SPARQL 1.1 has none: it has no tokens, so `SERVICESILENT<…>`, `SERVICEex:foo`,
and `ex:SERVICE` where that name makes no IRI are SERVICE to it. So this module does not rely on finding the keyword. It rests on
what the text that reaches pyoxigraph is allowed to look like. There, the letters of SERVICE stand only

- before the address of our own gateway, or
- in a variable's name, directly behind `?` or `$` and ASCII letters: nothing else in SPARQL looks so, wherever it stands.

In strings, IRIs and comments an `e` of it is written as an escape, in which no keyword is read; prefixed names become IRIs; anything
else is refused. If our tokens are ever others than pyoxigraph's, the query is a syntax error and sends nothing. The result is
checked once more, as text, before it leaves.

The gateway listens on 127.0.0.1 in the process that holds the query processes, under addresses that live as long as one query. It
asks the real endpoint: by the address that the setting has, resolved once and checked, without redirections, with a deadline and
a size cap of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import re
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode

import pyoxigraph as ox

from kg import __version__, lexis
from kg.config import Endpoint
from kg.engine import Query
from kg.errors import KgError, MalformedQuery, ServiceFailed, ServiceRefused, StorageError

#: The letters. ASCII only, like the parser: `ſervice` is none.
_LETTERS = re.compile("service", re.IGNORECASE | re.ASCII)

#: Without one of these there is no LOAD, and no SERVICE in escapes; and reading all words costs more than all else here.
_WORTH_READING = re.compile(r"load|\\u", re.IGNORECASE | re.ASCII)

_VARIABLE = re.compile(r"[?$][0-9A-Za-z_]*", re.ASCII)

#: White space of SPARQL (19.8, WS), which is not Python's.
_BLANK = "[ \t\r\n]*"

_RESULTS = {
    "application/sparql-results+json": ox.QueryResultsFormat.JSON,
    "application/sparql-results+xml": ox.QueryResultsFormat.XML,
}

#: The longest query that the gateway passes on: what the engine writes may be longer than what it read.
_LONGEST_QUERY = 16 * 2**20


class Federation:
    """What queries may reach: nothing, or the allowed endpoints. `timeout` is in seconds and `limit` in bytes, for each request."""

    def __init__(self, allowed: Sequence[Endpoint] = (), timeout: float = 10.0, limit: int = 16 * 2**20) -> None:
        self._allowed = {endpoint.address: endpoint for endpoint in allowed}
        self._gateway = _Gateway(timeout, limit) if allowed else None

    def admit(self, query: Query) -> Admission:
        """The query as the engine may have it, for the time of a `with` block. Raises `ServiceRefused`, naming the endpoint
        where there is one; and `MalformedQuery` for a name without a prefix, where it has to be replaced."""
        text = query.text
        words = lexis.words(text) if _WORTH_READING.search(text) else frozenset[str]()
        if "LOAD" in words:
            raise ServiceRefused("LOAD would make this service send requests elsewhere; it is not available here")
        if not _LETTERS.search(text):
            if "SERVICE" in words:
                raise ServiceRefused(
                    "SERVICE would make this service send requests elsewhere; it is refused in escapes"
                )
            return Admission(text, text, (), (), None)
        tickets: list[_Ticket] = []
        edits = []
        for found in _read(query):
            if isinstance(found, _Edit):
                edits.append(found)
                continue
            ticket = _Ticket(self._require_allowed(found), found.silent)
            tickets.append(ticket)
            edits.append(_Edit(found.start, found.end, f"<{self._origin()}{ticket.secret}>"))
        edits.sort()
        sent = _apply(text, edits)
        self._require_harmless(sent)
        return Admission(text, sent, edits, tickets, self._gateway)

    def close(self) -> None:
        """Ask nobody any more. Idempotent."""
        if self._gateway is not None:
            self._gateway.close()

    def _origin(self) -> str:
        return self._gateway.origin if self._gateway is not None else ""

    def _require_allowed(self, call: _Call) -> Endpoint:
        if self._gateway is None:
            raise ServiceRefused(
                "SERVICE would make this service send requests elsewhere; it is not available here", **call.facts
            )
        if call.iri is None:
            raise ServiceRefused(
                f"{call.written} is no endpoint: SERVICE takes an IRI that is written out", **call.facts
            )
        try:
            return self._allowed[Endpoint.read(call.iri).address]
        except ValueError as error:
            raise ServiceRefused(
                f"{call.iri} is not an endpoint that queries may ask: it {error}", **call.facts
            ) from None
        except KeyError:
            raise ServiceRefused(f"{call.iri} is not an endpoint that queries may ask here", **call.facts) from None

    def _require_harmless(self, sent: str) -> None:
        """Raises `ServiceRefused` unless the text is what the module's documentation says; whatever `_read` made of it."""
        ours = rf"service{_BLANK}(silent{_BLANK})?<{re.escape(self._origin())}[0-9A-Z]+>"
        call = re.compile(ours, re.IGNORECASE | re.ASCII) if self._gateway is not None else None
        named = {place for match in _VARIABLE.finditer(sent) for place in range(match.start() + 1, match.end())}
        for match in _LETTERS.finditer(sent):
            if match.start() not in named and (call is None or not call.match(sent, match.start())):
                raise ServiceRefused("SERVICE stands in a place where it cannot be told what it means")


class _Edit(NamedTuple):
    """`text` instead of what stands from `start` to `end`, which is on one line, as `text` is."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Call:
    """SERVICE in a query: where its endpoint stands, as it is `written`, and its `iri`, if that could be told."""

    start: int
    end: int
    silent: bool
    written: str
    iri: str | None
    line: int
    column: int

    @property
    def facts(self) -> dict[str, str | int | None]:
        return {"endpoint": self.iri, "line": self.line, "column": self.column}


def _read(query: Query) -> Iterator[_Edit | _Call]:
    """What is to be written differently in a query. Raises `ServiceRefused` where SERVICE may be hidden in something else."""
    text, base, namespaces = query.text, query.base, query.supplied_prefixes()
    code: list[lexis.Token] = []
    comments: list[lexis.Token] = []
    for token in lexis.tokens(text):
        if token.kind == "comment":
            comments.append(token)
        elif token.kind != "space":
            code.append(token)

    end = lexis.Token("end", "", len(text))
    at = 0
    while at < len(code):
        token, following, after = (*code[at : at + 3], end, end)[:3]
        keyword = token.text.upper() if token.kind == "word" else ""
        if keyword == "BASE" and following.kind == "iri":
            base = _resolve(following.text, base)
        elif keyword == "PREFIX" and following.kind == "name" and after.kind == "iri":
            namespaces[following.text[:-1]] = _resolve(after.text, base) or ""
        elif keyword == "SERVICE":
            silent = following.kind == "word" and following.text.upper() == "SILENT"
            at += 1 + silent
            named = code[at] if at < len(code) else end
            for comment in [one for one in comments if token.start < one.start < named.start]:
                comments.remove(comment)  # so that nothing but blanks stands before the endpoint
                yield _Edit(comment.start, comment.start + len(comment.text), " " * len(comment.text))
            iri = _resolve(named.text, base) if named.kind == "iri" else None
            if named.kind == "name":
                iri = _expand(named.text, namespaces)
            written = named.text or "the end of the query"
            line, column = _place(text, token.start)
            yield _Call(named.start, named.start + len(named.text), silent, written, iri, line, column)
        elif token.kind in ("string", "iri"):
            yield from _escape(token)
        elif _LETTERS.search(token.text):
            yield from _rewrite(token, text, namespaces)
        at += 1
    for comment in comments:
        yield from _escape(comment)


def _escape(token: lexis.Token) -> Iterator[_Edit]:
    """The letters with an escape in them: the same string or IRI, the same comment, and never a keyword. Not the first letter
    is escaped but the second, because a backslash may stand before the first."""
    for match in _LETTERS.finditer(token.text):
        second = token.start + match.start() + 1
        yield _Edit(second, second + 1, f"\\u{ord(token.text[match.start() + 1]):04X}")


def _rewrite(token: lexis.Token, text: str, namespaces: dict[str, str]) -> Iterator[_Edit]:
    """A word, name or variable with the letters in it, so that they cannot be read as a keyword."""
    line, column = _place(text, token.start)
    if token.kind == "variable" and _VARIABLE.fullmatch(token.text):
        return
    prefix, colon, _ = token.text.partition(":")
    if token.kind != "name" or _LETTERS.search(prefix):
        raise ServiceRefused(
            f"{token.text} may be read as SERVICE, which would make this service send requests elsewhere; "
            + ("choose another prefix" if colon else "write it otherwise"),
            line=line,
            column=column,
        )
    iri = _expand(token.text, namespaces)
    if iri is None:
        raise MalformedQuery(f"{token.text} is no name: its prefix is not declared", line=line, column=column)
    written = lexis.Token("iri", f"<{iri}>", 0)
    yield _Edit(token.start, token.start + len(token.text), _apply(written.text, list(_escape(written))))


def _expand(name: str, namespaces: dict[str, str]) -> str | None:
    """The IRI of a prefixed name, None where there is none."""
    prefix, _, local = name.partition(":")
    try:
        return ox.NamedNode(namespaces[prefix] + local.replace("\\", "")).value if namespaces.get(prefix) else None
    except ValueError:
        return None


def _resolve(reference: str, base: str | None) -> str | None:
    """The IRI of `<…>`, by the library that the engine resolves it with; None where it has none."""
    try:
        triple = next(iter(ox.parse(f"<a:> <a:> {reference} .", format=ox.RdfFormat.TURTLE, base_iri=base)))
    except (SyntaxError, ValueError):
        return None
    assert isinstance(triple.object, ox.NamedNode)
    return triple.object.value


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, as the engine counts them: in characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    parts, done = [], 0
    for edit in edits:
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


class Admission:
    """A query on its way: `text` is what the engine may have. As a context: afterwards nothing of it is asked any more."""

    def __init__(
        self,
        original: str,
        text: str,
        edits: Sequence[_Edit],
        tickets: Sequence[_Ticket],
        gateway: _Gateway | None,
    ) -> None:
        self.text = text
        self._original = original
        self._edits = edits
        self._tickets = tickets
        self._gateway = gateway

    def __enter__(self) -> Admission:
        if self._gateway is not None and self._tickets:
            self._gateway.open(self._tickets)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._gateway is not None and self._tickets:
            self._gateway.end(self._tickets)

    def explain(self, error: KgError) -> KgError:
        """The error as its caller can understand it: of the text that they wrote, and of the endpoint that failed."""
        if isinstance(error, StorageError):  # what the engine makes of a request that failed
            for ticket in self._tickets:
                if ticket.failure and not ticket.silent:
                    return ServiceFailed(ticket.failure, endpoint=ticket.endpoint.iri)
            return error
        if isinstance(error, MalformedQuery) and "line" in error.facts:
            line, column = self._place_of(error.facts["line"], error.facts["column"])
            return MalformedQuery(error.detail, line=line, column=column)
        return error

    def _place_of(self, line: int, column: int) -> tuple[int, int]:
        """The place in the original of a place in the text sent. Within what was replaced: where that begins."""
        offset = sum(len(one) + 1 for one in self.text.split("\n")[: line - 1]) + column - 1
        shift = 0  # how much further right the sent text is, behind the edits so far
        for edit in self._edits:
            begin = edit.start + shift
            if offset < begin:
                break
            if offset < begin + len(edit.text):
                return _place(self._original, edit.start)
            shift += len(edit.text) - (edit.end - edit.start)
        return _place(self._original, offset - shift)


@dataclass(eq=False)
class _Ticket:
    """One SERVICE of one query that is being evaluated: the right to have its endpoint asked."""

    endpoint: Endpoint
    silent: bool
    secret: str = field(default_factory=lambda: secrets.token_hex(24))
    siblings: Sequence[_Ticket] = ()
    over: bool = False
    failure: str = ""
    lines: set[_Line] = field(default_factory=set)


class _Line:
    """An open connection that can be cut from another thread, at a deadline or at once, whatever layers lie on it."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.late = False
        self._handle = connection.dup()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self.late = True
        self.cut()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        self._handle.close()


class _Gateway:
    """The only one whom the query processes ask, and the only one who asks elsewhere."""

    def __init__(self, timeout: float, limit: int) -> None:
        self._timeout = timeout
        self._limit = limit
        self._tls = ssl.create_default_context()
        self._lock = threading.Lock()
        self._tickets: dict[str, _Ticket] = {}
        self._server = _Server(("127.0.0.1", 0), self)
        self.origin = f"http://127.0.0.1:{self._server.server_port}/"
        self._closed = False
        # `shutdown` waits for as long as the interval, in seconds, so half a second, the default, is too long.
        run = partial(self._server.serve_forever, poll_interval=0.1)
        threading.Thread(target=run, name="service gateway", daemon=True).start()

    def open(self, tickets: Sequence[_Ticket]) -> None:
        with self._lock:
            for ticket in tickets:
                ticket.siblings = tickets
                self._tickets[ticket.secret] = ticket

    def end(self, tickets: Sequence[_Ticket]) -> None:
        """Forget tickets and cut what is being asked for them: nobody waits for it any more."""
        with self._lock:
            for ticket in tickets:
                ticket.over = True
                self._tickets.pop(ticket.secret, None)
                for line in ticket.lines:
                    line.cut()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._server.shutdown()
        self._server.server_close()
        self.end(list(self._tickets.values()))

    def find(self, secret: str) -> _Ticket | None:
        with self._lock:
            return self._tickets.get(secret)

    def ask(self, ticket: _Ticket, text: str) -> tuple[str, bytes]:
        """Media type and body of the endpoint's answer to a query. Raises `_Unusable`, naming the endpoint."""
        for other in ticket.siblings:  # of a SERVICE in a SERVICE, the endpoint is to know the real name
            text = text.replace(self.origin + other.secret, other.endpoint.iri)
        endpoint, deadline = ticket.endpoint, time.monotonic() + self._timeout
        try:
            connection = _connect(endpoint, deadline)
            with contextlib.closing(connection):
                line = _Line(connection, max(0.0, deadline - time.monotonic()))
                try:
                    with self._lock:
                        ticket.lines.add(line)
                        if ticket.over:
                            line.cut()
                    answer = self._exchange(endpoint, connection, text)
                except (OSError, http.client.HTTPException):
                    if line.late:
                        raise TimeoutError from None
                    raise
                finally:
                    with self._lock:
                        ticket.lines.discard(line)
                    line.close()
                if line.late:  # an answer that is delimited by the end of the connection looks whole when it is cut
                    raise TimeoutError
                _require_readable(*answer)
                return answer
        except TimeoutError:
            raise _Unusable(f"{endpoint.iri} did not answer within {self._timeout:g} seconds") from None
        except (OSError, http.client.HTTPException, _Unusable) as error:
            reason = str(error) or type(error).__name__
            raise _Unusable(f"{endpoint.iri} could not be asked: {reason}") from None

    def _exchange(self, endpoint: Endpoint, connection: socket.socket, text: str) -> tuple[str, bytes]:
        if endpoint.scheme == "https":
            connection = self._tls.wrap_socket(connection, server_hostname=endpoint.host)
        client = http.client.HTTPConnection(endpoint.host, endpoint.port)
        client.default_port = 443 if endpoint.scheme == "https" else 80  # of this one, for `Host`
        client.auto_open = 0  # never look the name up again
        client.sock = connection
        with contextlib.closing(client):
            # A form, of the three ways the one that every server takes: Virtuoso hangs on a direct POST.
            headers = {
                "Accept": ", ".join(_RESULTS),
                "Content-Type": "application/x-www-form-urlencoded",
                "User-Agent": f"event-knowledge-graph/{__version__}",
            }
            client.request("POST", endpoint.path, urlencode({"query": text}).encode(), headers)
            response = client.getresponse()
            if 300 <= response.status < 400:
                where = response.headers.get("Location", "elsewhere")
                raise _Unusable(f"it redirects to {where[:200]!r}, which is not followed")
            if response.status != 200:
                raise _Unusable(f"it answered with status {response.status} {response.reason}".rstrip())
            media_type = response.headers.get_content_type()
            if media_type not in _RESULTS:
                raise _Unusable(f"it answered with {media_type}, not with SPARQL results in JSON or XML")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _Unusable("it compressed its answer without being asked to")
            if (response.length or 0) > self._limit or len(body := response.read(self._limit + 1)) > self._limit:
                raise _Unusable(f"its answer is larger than {self._limit:,} bytes")
            if response.length:
                raise _Unusable("its answer broke off")
            return media_type, body


def _require_readable(media_type: str, body: bytes) -> None:
    """Raises `_Unusable` unless this is a table to its end. The engine reads it row by row and stops in the middle of the query
    where it cannot, even in SERVICE SILENT. Measured: 10 ms for a MiB."""
    parsed: ox.QuerySolutions | ox.QueryBoolean | None = None
    try:
        parsed = ox.parse_query_results(body, format=_RESULTS[media_type])
        if isinstance(parsed, ox.QueryBoolean):
            raise _Unusable("it answered with true or false, not with a table")
        deque(parsed, maxlen=0)
    except (SyntaxError, ValueError) as error:
        raise _Unusable(f"its answer cannot be read: {error}") from None
    finally:
        del parsed  # it must not outlive this thread in an error's traceback: the library forbids it


class _Unusable(Exception):
    """Why an answer, or an address, is none that we take."""


def _connect(endpoint: Endpoint, deadline: float) -> socket.socket:
    """A connection to one of the endpoint's addresses. What was checked is what is connected to: no name is looked up twice."""
    failure: OSError = OSError("its name has no address")
    for address in _addresses(endpoint, deadline):
        connection = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.connect((str(address), endpoint.port))
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _addresses(endpoint: Endpoint, deadline: float) -> list[_Address]:
    """Where to connect to: the endpoint's own address, or those of its name. Raises `_Unusable` where none may be used."""
    if endpoint.literal is not None:
        return [endpoint.literal]
    found = _look_up(endpoint.host, endpoint.port, deadline)
    usable = [address for address in found if endpoint.internal or is_public(address)]
    if found and not usable:
        raise _Unusable(f"{endpoint.host} leads to an address that is not public")
    return usable


def _look_up(host: str, port: int, deadline: float) -> list[_Address]:
    """The addresses of a name. Raises `OSError`, or `TimeoutError` at the deadline, which the system's resolver does not know."""
    result: queue.SimpleQueue[list[_Address] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result.put([ipaddress.ip_address(entry[4][0]) for entry in entries])
        except (OSError, ValueError) as error:  # UnicodeError, of a label over 63 characters, is a ValueError
            result.put(error if isinstance(error, OSError) else OSError(str(error)))

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        found = result.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, OSError):
        raise found
    return found


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: _Address) -> bool:
    """Whether anyone on the internet may have this address; of IPv6 addresses that stand for one of IPv4, whether that is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(address.packed[12:])
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], gateway: _Gateway) -> None:
        super().__init__(address, _Handler)
        self.gateway = gateway

    def handle_error(self, request: object, client_address: object) -> None:
        """A query process that was killed does not wait for its answer: nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 60  # seconds; a query process sends at once

    def do_POST(self) -> None:
        ticket = self.server.gateway.find(self.path[1:])
        length = self.headers.get("Content-Length", "")
        if ticket is None or self.headers.get_content_type() != "application/sparql-query":
            self._reply(404)
        elif not length.isdigit() or int(length) > _LONGEST_QUERY:
            ticket.failure = f"the query for {ticket.endpoint.iri} is over {_LONGEST_QUERY:,} bytes"
            self._reply(502)
        else:
            try:
                answer = self.server.gateway.ask(ticket, self.rfile.read(int(length)).decode())
            except _Unusable as error:
                ticket.failure = str(error)
                self._reply(502)
            else:
                self._reply(200, *answer)

    def _reply(self, status: int, media_type: str = "text/plain", body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: addresses of the gateway are secrets."""
