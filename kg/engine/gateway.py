"""The gateway of SERVICE: the only one whom query processes ask, and the only one who asks elsewhere.

Hides both sides of an HTTP exchange. On one it listens on 127.0.0.1, under addresses that nobody can guess and that live as long as
one query. On the other it asks the endpoint of the setting, never one of a text: by an address that was looked up once and checked,
with TLS for the name, without redirections, with a deadline for all of it and a size cap. It passes on tables and nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pyoxigraph as ox

from kg import __version__
from kg.config import Endpoint

_RESULTS = {
    "application/sparql-results+json": ox.QueryResultsFormat.JSON,
    "application/sparql-results+xml": ox.QueryResultsFormat.XML,
}

#: The longest query that the gateway passes on: what the engine writes may be longer than what it read.
_LONGEST_QUERY = 16 * 2**20


@dataclass(eq=False)
class Ticket:
    """One SERVICE of one query that is being evaluated: the right to have its endpoint asked."""

    endpoint: Endpoint
    silent: bool
    secret: str = field(default_factory=lambda: secrets.token_hex(24))
    siblings: Sequence[Ticket] = ()
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


class Gateway:
    """A gateway that runs until it is closed. `timeout` is in seconds and `limit` in bytes, for each request."""

    def __init__(self, timeout: float, limit: int) -> None:
        self._timeout = timeout
        self._limit = limit
        self._tls = ssl.create_default_context()
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}
        self._server = _Server(("127.0.0.1", 0), self)
        self.origin = f"http://127.0.0.1:{self._server.server_port}/"
        self._closed = False
        # `shutdown` waits for as long as the interval, in seconds, so half a second, the default, is too long.
        run = partial(self._server.serve_forever, poll_interval=0.1)
        threading.Thread(target=run, name="service gateway", daemon=True).start()

    def open(self, tickets: Sequence[Ticket]) -> None:
        """Answer under the addresses of the tickets of one query."""
        with self._lock:
            for ticket in tickets:
                ticket.siblings = tickets
                self._tickets[ticket.secret] = ticket

    def end(self, tickets: Sequence[Ticket]) -> None:
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

    def find(self, secret: str) -> Ticket | None:
        with self._lock:
            return self._tickets.get(secret)

    def ask(self, ticket: Ticket, text: str) -> tuple[str, bytes]:
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

    def __init__(self, address: tuple[str, int], gateway: Gateway) -> None:
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
