"""One request of HTTP/1.1 and the way to answer it (RFC 9112): what a connection makes of bytes, and bytes of answers.

Hides how bodies end, in both directions. Promises that a field never ends its line early, and that an answer says how its end is known.

A `Request` is both things that an RSGI application is given: its scope and its protocol.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import time
from collections import deque
from collections.abc import Collection
from email.utils import formatdate
from typing import Protocol

#: Bytes of a body that are taken before the application asks for them.
AHEAD = 262_144

#: Answers of up to this many bytes are copied behind their header, which costs less than a second piece.
_COPIED = 65_536

Fields = Collection[tuple[str, str]]


class ClientGone(Exception):
    """Nobody is there any more."""


class _StatusLines:
    """Lines with which answers begin, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._lines: dict[int, bytes] = {}

    def __call__(self, status: int) -> bytes:
        """The beginning of an answer: the status and, as the clock of this moment has it, the date (RFC 9110, section 6.6.1)."""
        now = int(time.time())
        if now != self._second:
            self._second, self._lines = now, {}
        line = self._lines.get(status)
        if line is None:
            phrase = http.client.responses.get(status, "")
            line = f"HTTP/1.1 {status} {phrase}\r\ndate: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
            self._lines[status] = line
        return line


status_line = _StatusLines()


def field_lines(fields: Fields) -> bytes:
    """Fields as they go out, each on a line. Raises `ValueError` where one would end its line early, or is not Latin-1."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError("a field of the header has the end of a line in it")
    return text.encode("latin-1")


class Way(Protocol):
    """What a request needs of the connection on which it came."""

    loop: asyncio.AbstractEventLoop
    client: str
    server: str
    lost: bool

    @property
    def ending(self) -> bool:
        """Whether the answer that is next is the last."""

    def send(self, data: bytes) -> None:
        """Send bytes, if somebody is there."""

    def invite(self, request: Request) -> None:
        """Have the client send the body."""

    def go_on(self) -> None:
        """Read on, if that was given up."""

    async def until_taken(self) -> None:
        """Return when the client has taken most of what was sent. Raises `ClientGone`."""

    async def until_gone(self) -> None:
        """Return when the client is gone."""


class Request:
    """One request, and the way to answer it, once. Names of fields are in lower case, both ways."""

    proto = "http"
    scheme = "http"
    authority: str | None = None

    def __init__(self, connection: Way, method: str, target: bytes, headers: dict[str, str]) -> None:
        self._connection = connection
        self.method = method
        self.headers = headers
        self.http_version = "1.1"
        self.path, self.query_string = _parts_of(target)
        self.client, self.server = connection.client, connection.server
        #: All of it as it came, where it came by itself and has no body; else empty.
        self.raw = b""
        self.persistent = True
        self._parts: deque[bytes] = deque()
        self._held = 0
        self.complete = False
        self.broken = False  # whether it will never be complete
        self._more: asyncio.Future[None] | None = None
        self._begun = False
        self._left: int | None = None  # bytes of the answer still to come; None: it goes in chunks, or there is none
        self._chunked = False

    # What comes

    def __aiter__(self) -> Request:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self.complete:
                raise StopAsyncIteration
            if self._connection.lost or self.broken:
                raise ClientGone
            self._connection.invite(self)
            self._more = self._connection.loop.create_future()
            try:
                await self._more
            finally:
                self._more = None
        part = self._parts.popleft()
        self._held -= len(part)
        if self._held < AHEAD:
            self._connection.go_on()
        return part

    def take(self, part: bytes) -> bool:
        """Another part of the body has come; whether there is enough for now."""
        self._parts.append(part)
        self._held += len(part)
        self.wake()
        return self._held >= AHEAD

    def wake(self) -> None:
        """Something has changed for whoever waits for more."""
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def client_disconnect(self) -> None:
        """Returns when nobody waits for the answer any more."""
        await self._connection.until_gone()

    # What goes

    def response_bytes(self, status: int, headers: Fields, body: bytes) -> None:
        """The whole answer."""
        lines = self._open(status, headers, len(body))
        self._left = 0
        if self.method == "HEAD":
            body = b""
        if len(body) <= _COPIED:
            self._connection.send(lines + body)
        else:
            self._connection.send(lines)
            self._connection.send(body)

    def response_empty(self, status: int, headers: Fields) -> None:
        """The whole answer, which is a header."""
        # A HEAD has the length of what it is the header of; 204 and 304 have no body to have a length (RFC 9110, section 8.6).
        length = None if status < 200 or status in (204, 304) or self.method == "HEAD" else 0
        lines = self._open(status, headers, length)
        self._left = 0
        self._connection.send(lines)

    def response_stream(self, status: int, headers: Fields) -> Request:
        """The beginning of an answer; `send_bytes` sends the rest."""
        length = next((int(value) for name, value in headers if name == "content-length"), None)
        lines = self._open(status, headers, None)
        if length is not None:
            self._left = length
        elif self.http_version == "1.1":
            self._chunked = True
            lines = lines[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        else:
            self.persistent = False  # the end of the connection is the end of the answer
            lines = lines.replace(b"connection: keep-alive\r\n", b"connection: close\r\n")
        self._connection.send(lines)
        return self

    async def send_bytes(self, body: bytes) -> None:
        """Another part of the answer, once the client has taken most of what was sent before. Raises `ClientGone`."""
        if self._left is not None:
            if len(body) > self._left:
                raise ValueError("an answer is longer than it said")
            self._left -= len(body)
        if self._chunked and body:
            self._connection.send(b"%x\r\n" % len(body) + body + b"\r\n")
        elif body:
            self._connection.send(body)
        await self._connection.until_taken()

    @property
    def begun(self) -> bool:
        """Whether any of the answer has been sent."""
        return self._begun

    def finish(self) -> bool:
        """The application has nothing more to say; whether that was the whole answer."""
        if self._chunked:
            self._connection.send(b"0\r\n\r\n")
        return self._begun and not self._left

    def _open(self, status: int, headers: Fields, length: int | None) -> bytes:
        if self._begun:
            raise RuntimeError("a request is answered once")
        lines = field_lines(headers)
        if length is not None:
            for name, value in headers:
                if name == "content-length":
                    if value != str(length) and self.method != "HEAD":
                        raise ValueError("an answer is not as long as it says")  # and another would begin in its middle
                    break
            else:
                lines += b"content-length: %d\r\n" % length
        self._begun = True
        if not self.complete or not self.persistent or self._connection.ending:
            self.persistent = False
            lines += b"connection: close\r\n"
        elif self.http_version == "1.0":
            lines += b"connection: keep-alive\r\n"
        return b"".join((status_line(status), lines, b"\r\n"))


#: `http://host` before the path, which a proxy writes and any server has to take (RFC 9112, section 3.2.2).
ABSOLUTE = re.compile(rb"https?://([^/?#@]+)(?=[/?#]|$)", re.IGNORECASE)


def _parts_of(target: bytes) -> tuple[str, str]:
    absolute = ABSOLUTE.match(target)
    if absolute is not None:
        target = target[absolute.end() :]
    path, _, query = target.partition(b"#")[0].partition(b"?")
    if absolute is not None and not path:
        path = b"/"
    return path.decode("ascii"), query.decode("ascii")
