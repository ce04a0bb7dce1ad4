"""HTTP/1.1 on connections: bytes in, requests to the application, its answers out (RFC 9112).

Hides sockets, the parser, and everything that is about a connection and not about a request: which requests come one after the other,
who is too slow. Promises that a request which cannot be told from two has no answer but an error; that an answer which broke off is
never taken for a whole one; that what a client sends and does not read is bounded; and that it is known when a client goes.

An application is what RSGI calls one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import httptools

from kg.web.wire import ABSOLUTE, ClientGone, Request, field_lines, status_line

log = logging.getLogger("kg.web")

#: Bytes of the head of a request, or of what is neither head nor body, that may come in pieces. What comes in one is bounded by the loop.
_HEAD = 262_144

#: Seconds within which a head must have arrived; for which a connection may do nothing; within which a client that is sent something
#: takes some of it; and for which one that is sent away may say nothing before it is cut, or go on with what it was saying.
_HEAD_PATIENCE = 30.0
_IDLE_PATIENCE = 75.0
_READING_PATIENCE = 60.0
_FAREWELL = 2.0
_LONG_FAREWELL = 30.0

#: Seconds between two looks at how long connections have been waiting.
_INTERVAL = 5.0

#: Connections that may wait to be taken.
_BACKLOG = 1_024

#: Requests after the present one that are taken before it is answered.
_REQUESTS_AHEAD = 16


class Application(Protocol):
    """What answers requests."""

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one."""

    def recall(self, raw: bytes) -> Sequence[bytes] | None:
        """The answer to a request, given as it came, if it is known already: what is to be sent."""


#: Methods that the parser is given as they are; in the place of others it gets one whose request may have a body.
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND"})
_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ")
_STANDS_IN = b"PATCH"

#: What no address has but in its escaped form (RFC 3986, section 2.1).
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _address(name: Any) -> str:
    """Host and port of a socket, with an IPv6 address in brackets."""
    if not isinstance(name, tuple):
        return ""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


class _Malformed(Exception):
    """What the parser lets pass and is no request all the same."""


class Connection(asyncio.Protocol):
    """One client: requests come one after the other, and are answered in that order."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop, open_ones: set[Connection]) -> None:
        self.loop = loop
        self.lost = False
        self.closing = False  # whether nothing more is taken
        self.ending = False  # whether the answer that is next is the last
        self.client = self.server = ""
        self._application = application
        self._recall = application.recall
        self._open_ones = open_ones
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._arriving: Request | None = None  # the one whose body comes in
        self._in_message = False
        self._in_line = True  # whether what comes next is the line with the target
        self._lingering = False
        self._paused = False
        self._full = False
        self._task: asyncio.Task[None] | None = None  # the loop itself holds it only weakly
        self._drained: list[asyncio.Future[None]] = []
        self._gone: list[asyncio.Future[None]] = []
        self._invited: Request | None = None
        self._since = 0.0  # when what is waited for began
        self._sent = 0  # bytes given to the transport
        self._taken = 0  # how many of them the client had taken at the last look
        self._complete = 0  # requests that came whole with the present bytes
        self._method = ""  # that of the request which comes, where the parser has another in its place
        self._target = b""
        self._headers: dict[str, str] = {}
        self._size = 0  # bytes since the present request, or a part of its body, began
        self._last_words = b""
        self._discarded = 0

    # From the loop

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self._since = self.loop.time()
        self._open_ones.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self._open_ones.discard(self)
        for request in (self._current, self._arriving):
            if request is not None:
                request.wake()
        for future in (*self._drained, *self._gone):
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def eof_received(self) -> None:
        """A client that will send nothing more has gone: that it might still read cannot be told from that."""

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()
        self._begin_next()

    def data_received(self, data: bytes) -> None:
        alone = self._current is None and not self._in_message and not self._full and not self.closing
        if alone:
            known = self._recall(data)
            if known is not None:
                self._since = self.loop.time()
                self._transport.writelines(known)
                return
        if self._lingering:
            self._discarded += len(data)
            return
        self._complete = 0
        if self._in_message:
            self._size += len(data)
        if self._in_line:
            data, whole = self._readable(data), data
        else:
            whole = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # To another protocol, which a server need not speak (RFC 9110, section 7.8): answered in this one, and then that is all.
            self.closing = self._lingering = True
            last = self._waiting[-1] if self._waiting else self._current
            assert last is not None
            last.persistent = False
        except httptools.HttpParserError as error:
            # What a callback of ours raises comes as the context of an error of the parser's.
            self._refuse(400, str(error.__context__ if isinstance(error.__context__, _Malformed) else error))
            return
        if self._in_message and self._size > _HEAD:
            self._refuse(431, f"its head is longer than {_HEAD:,} bytes")
            return
        if alone and self._complete == 1 and len(self._waiting) == 1 and not self._in_message and data is whole:
            request = self._waiting[0]
            if request.persistent and not request._parts and request.http_version == "1.1":
                request.raw = whole
        self._begin_next()
        if len(self._waiting) > _REQUESTS_AHEAD:
            self._pause()

    def _readable(self, data: bytes) -> bytes:
        """The same for the parser, which takes ASCII in a target and the methods on its list. People type addresses in their language,
        and which methods there are is the application's to say."""
        end = data.find(b"\n")
        self._in_line = end < 0
        line, rest = (data, b"") if end < 0 else (data[:end], data[end:])
        method = None if self._in_message else _METHOD.match(line)
        if method is not None and method[1] not in _METHODS:
            self._method = method[1].decode("ascii")
            line = _STANDS_IN + line[method.end(1) :]
        elif line.isascii():
            return data
        return _NOT_ASCII.sub(_escaped, line) + rest

    # From the parser

    def on_message_begin(self) -> None:
        self._in_message = True
        self._target, self._headers, self._size = b"", {}, 0
        self._since = self.loop.time()

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        if self._arriving is not None:
            return  # behind a body in chunks: nothing here is of use (RFC 9110, section 6.5.1)
        headers = self._headers
        if key in headers:
            # Repeated fields are one with commas (RFC 9110, section 5.3), but for these two.
            if key == "host":
                raise _Malformed("more than one Host")
            text = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Malformed(f"HTTP/{version}")
        if version == "1.1" and "host" not in self._headers:
            raise _Malformed("no Host")
        if not self._target.startswith((b"/", b"*")) and not ABSOLUTE.match(self._target):
            raise _Malformed("a target that is no path")
        method, self._method = self._method or parser.get_method().decode("ascii"), ""
        request = Request(self, method, self._target, self._headers)
        request.http_version = version
        request.persistent = parser.should_keep_alive()
        self._arriving = request
        self._waiting.append(request)

    def on_body(self, part: bytes) -> None:
        self._size = 0
        if self._arriving is not None and self._arriving.take(part):
            self._pause()

    def on_message_complete(self) -> None:
        assert self._arriving is not None
        self._arriving.complete = True
        self._arriving.wake()
        self._arriving = None
        self._in_message, self._in_line = False, True
        self._complete += 1

    # From requests

    def send(self, data: bytes) -> None:
        """Send bytes, if somebody is there."""
        if not self.lost:
            self._sent += len(data)
            self._transport.write(data)

    def invite(self, request: Request) -> None:
        """Tell a client that waits for it to send the body (RFC 9110, section 10.1.1)."""
        if self._invited is not request:
            self._invited = request
            if request.headers.get("expect", "").lower() == "100-continue" and request.http_version == "1.1":
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.go_on()

    def go_on(self) -> None:
        """Read on, if that was given up."""
        if self._paused and len(self._waiting) <= _REQUESTS_AHEAD:
            self._resume()

    async def until_taken(self) -> None:
        """Return when the client has taken most of what was sent. Raises `ClientGone`."""
        while self._full and not self.lost:
            future: asyncio.Future[None] = self.loop.create_future()
            self._drained.append(future)
            await future
        if self.lost:
            raise ClientGone

    async def until_gone(self) -> None:
        """Return when the client is gone."""
        if not self.lost:
            future: asyncio.Future[None] = self.loop.create_future()
            self._gone.append(future)
            try:
                await future
            finally:
                self._gone.remove(future)

    # From whoever keeps connections

    def end(self) -> None:
        """Answer what has been asked, and no more."""
        self.closing = self.ending = True
        if self._current is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Cut it."""
        self._transport.abort()

    def look(self, now: float) -> None:
        """End it if it keeps nobody but us waiting."""
        unread = self._transport.get_write_buffer_size()
        if unread:
            taken = self._sent - unread
            if taken != self._taken:
                self._taken, self._since = taken, now
            elif now - self._since > _READING_PATIENCE:
                self._transport.abort()
        elif self._current is None and not self._waiting:
            patience = _HEAD_PATIENCE if self._in_message or not self._in_line else _IDLE_PATIENCE
            if now - self._since > patience:
                self._transport.close()

    # Turns

    def _begin_next(self) -> None:
        if self._current is None and self._waiting and not self._full and not self.lost:
            self._current = request = self._waiting.popleft()
            self._task = self.loop.create_task(self._application.__rsgi__(request, request))
            self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        request, self._current = self._current, None
        assert request is not None
        whole = False
        error = None if task.cancelled() else task.exception()
        if error is None:
            whole = not self.lost and request.finish()
        elif not self.lost and not isinstance(error, ClientGone):
            log.error("%s %s could not be answered", request.method, request.path, exc_info=error)
            if not request.begun:
                request.response_bytes(
                    500, [("content-type", "text/plain")], b"this went wrong here, not at your side\n"
                )
                whole = True
        self._since = self.loop.time()
        if self.lost:
            return
        if not whole:
            self._transport.abort()  # so that nobody takes a part for the whole
        elif not request.complete:
            self._linger()
        elif not request.persistent or (self.ending and not self._waiting):
            self._transport.close()
        elif self._last_words and not self._waiting:
            self._say_last_words()
        else:
            self._begin_next()
            self.go_on()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, status: int, why: str) -> None:
        """Answer what is no request, once all before it is answered; nothing that comes behind it can be understood."""
        self.closing = self._lingering = True
        if self._arriving is not None:
            if self._arriving is self._current:
                self._transport.abort()  # its body has no end: whoever reads it is told so
                return
            self._waiting.remove(self._arriving)
        body = f"this is no request of HTTP/1.1: {why}\n".encode("ascii", "replace")
        fields = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
        self._last_words = b"".join((status_line(status), field_lines(fields), b"\r\n", body))
        self._begin_next()
        if self._current is None and not self._waiting:
            self._say_last_words()

    def _say_last_words(self) -> None:
        self.send(self._last_words)
        self._linger()

    def _linger(self) -> None:
        """Close it when the client has read what was sent: were it closed while more comes, they might never see it
        (RFC 9112, section 9.6)."""
        self._lingering = self.closing = True
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
        self._resume()
        self._part(-1, self.loop.time() + _LONG_FAREWELL)

    def _part(self, discarded: int, until: float) -> None:
        """Close it once nothing more comes, or it is enough."""
        if self.lost or self._discarded == discarded or self.loop.time() > until:
            self._transport.close()
        else:
            self.loop.call_later(_FAREWELL, self._part, self._discarded, until)


async def serve(
    application: Application, listening: socket.socket, told_to_end: asyncio.Event, patience: float
) -> None:
    """Answer whoever connects until told to end; then answer what has been asked, for so many seconds at the most."""
    loop = asyncio.get_running_loop()
    open_ones: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(application, loop, open_ones), sock=listening, backlog=_BACKLOG
    )
    while not told_to_end.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told_to_end.wait(), _INTERVAL)
        now = loop.time()
        for connection in tuple(open_ones):
            connection.look(now)
    server.close()
    for connection in tuple(open_ones):
        connection.end()
    deadline = loop.time() + patience
    while open_ones and loop.time() < deadline:
        await asyncio.sleep(0.02)
    for connection in tuple(open_ones):
        connection.abort()
