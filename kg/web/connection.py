"""HTTP/1.1 on connections: bytes in, requests to the application, its answers out (RFC 9112).

Hides sockets and everything that is about a connection and not about a request: which requests come one after the other,
who is too slow, and how many may be there. Promises that a request which cannot be told from two has no answer but an error; that an
answer which broke off is never taken for a whole one; that what a client sends and does not read is bounded; and that it is known
when a client goes.

An application is what RSGI calls one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import termios
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from kg.web.parsing import Malformed, Parser
from kg.web.wire import ClientGone, Request, field_lines, status_line

log = logging.getLogger("kg.web")

#: Bytes that are read at once: so many short requests one after the other are understood before the first is answered.
_PIECE = 8_192

#: Bytes that a client which is sent something takes within its patience at the least; of the network's buffers as well as of ours.
_READ_AT_LEAST = 65_536

#: Seconds within which a head must have arrived; for which a connection may do nothing; within which a client that is sent something
#: takes enough of it; and for which one that is sent away may say nothing before it is cut, or go on with what it was saying.
_HEAD_PATIENCE = 30.0
_IDLE_PATIENCE = 75.0
_READING_PATIENCE = 60.0
_FAREWELL = 2.0
_LONG_FAREWELL = 30.0

#: Seconds for which one that will say nothing more is answered: it may have gone, and nothing tells that from waiting.
_HALF_CLOSED_PATIENCE = 1.0

#: Seconds between two looks at how long connections have been waiting.
_INTERVAL = 5.0

#: Connections that may wait to be taken.
_BACKLOG = 1_024

#: Connections at the same time; and those beyond that are told so. Others are not.
CONNECTIONS = 2_048
_SENT_AWAY = 64

#: Requests after the present one that are taken before it is answered.
_REQUESTS_AHEAD = 16


class Application(Protocol):
    """What answers requests."""

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Answer one."""

    def recall(self, raw: bytes) -> Sequence[bytes] | None:
        """The answer to a request, given as it came, if it is known already: what is to be sent."""

    def refusal(self, status: int, why: str, method: str = "-", path: str = "-") -> tuple[list[tuple[str, str]], bytes]:
        """The header and the body of an answer to what the application was not asked, or failed at; it is sure to be sent."""


def _address(name: Any) -> str:
    """Host and port of a socket, with an IPv6 address in brackets."""
    if not isinstance(name, tuple):
        return ""
    host = name[0].removeprefix("::ffff:") if "." in name[0] else name[0]  # of IPv4, on a socket for both
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


class Connection(asyncio.Protocol):
    """One client: requests come one after the other, and are answered in that order."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        open_ones: set[Connection],
        limit: int = CONNECTIONS,
    ) -> None:
        self.loop = loop
        self.lost = False
        self.closing = False  # whether nothing more is taken
        self.client = self.server = ""
        self._application = application
        self._recall = application.recall
        self._open_ones = open_ones
        self._limit = limit
        self._parser = Parser(self)
        self._transport: Any = None
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._unread = b""  # what has come and is to be understood when there is room
        self._offset = 0  # what of that is
        self._last = False  # whether nothing is answered but what has been asked
        self._half_closed = self._given_up = False
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
        self._last_words: tuple[int, str] | None = None
        self._discarded = 0

    # From the loop

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self._since = self.loop.time()
        full = len(self._open_ones) >= self._limit and not self._make_room()
        if full and len(self._open_ones) >= self._limit + _SENT_AWAY:
            transport.abort()
            return
        self._open_ones.add(self)
        if full:
            self._refuse(503, "there are as many connections as this service takes; try again in a few seconds")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self._open_ones.discard(self)
        for request in (self._current, self._parser.arriving):
            if request is not None:
                request.wake()
        for future in (*self._drained, *self._gone):
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
        self._unread = b""
        self._parser.close()

    def eof_received(self) -> bool:
        """Whether the connection stays: a client that sends nothing more has gone, or waits for the answer to what it has sent whole.
        What is answered soon is."""
        if self._parser.arriving is not None or (self._current is None and not self._waiting):
            return False
        self.closing = self._last = self._half_closed = True
        self.loop.call_later(_HALF_CLOSED_PATIENCE, self._give_up)
        return True

    def _give_up(self) -> None:
        self._given_up = True
        for future in self._gone:
            if not future.done():
                future.set_result(None)

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
        alone = self._current is None and not self._parser.in_message and not self._full and not self.closing
        if alone:
            known = self._recall(data)
            if known is not None:
                self._since = self.loop.time()
                self._transport.writelines(known)
                return
        if self._lingering:
            self._discarded += len(data)
        elif self.closing and not self._parser.in_message:
            return  # it is told with the present answer that there is no other
        elif len(data) > _PIECE or self._unread:
            self._unread = self._unread[self._offset :] + data
            self._offset = 0
            self._read_on()
        else:
            self._read(data, alone)

    def _read_on(self) -> None:
        """Understand what has come, as far as there is room for what it is."""
        while self._offset < len(self._unread):
            if len(self._waiting) > _REQUESTS_AHEAD:
                self._pause()
                return
            piece = self._unread[self._offset : self._offset + _PIECE]
            self._offset += _PIECE
            self._read(piece, alone=False)
        self._unread, self._offset = b"", 0

    def _read(self, data: bytes, alone: bool) -> None:
        parser = self._parser
        try:
            by_itself = parser.read(data)
        except Malformed as error:
            self._refuse(error.status, str(error))
            return
        if parser.upgraded:
            # To another protocol, which a server need not speak (RFC 9110, section 7.8): answered in this one, and then that is all.
            self.closing = self._lingering = True
            self._unread = b""
            last = self._waiting[-1] if self._waiting else self._current
            assert last is not None
            last.persistent = False
        if alone and by_itself and len(self._waiting) == 1:
            self._waiting[0].raw = data
        self._begin_next()
        if len(self._waiting) > _REQUESTS_AHEAD:
            self._pause()

    # From the parser

    def begin(self) -> None:
        """A request begins to come."""
        self._since = self.loop.time()

    def take(self, request: Request) -> None:
        """The head of a request has come."""
        self._waiting.append(request)

    def have_enough(self) -> None:
        """No more of a body need come for now."""
        self._pause()

    # From requests

    @property
    def ending(self) -> bool:
        """Whether the answer that is next is the last."""
        return self._last and not self._waiting

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
            self._read_on()
            if not self._unread:
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
        if not self.lost and not self._given_up:
            future: asyncio.Future[None] = self.loop.create_future()
            self._gone.append(future)
            try:
                await future
            finally:
                self._gone.remove(future)

    # From whoever keeps connections

    def end(self) -> None:
        """Answer what has been asked, and no more."""
        self.closing = self._last = True
        if self._current is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Cut it."""
        self._transport.abort()

    def look(self, now: float) -> None:
        """End it if it keeps nobody but us waiting."""
        unread = self._transport.get_write_buffer_size()
        if unread:
            taken = self._sent - unread - self._on_its_way()
            if taken - self._taken >= _READ_AT_LEAST:
                self._taken, self._since = taken, now
            elif now - self._since > _READING_PATIENCE:
                self._transport.abort()
        elif self._current is None and not self._waiting and not self._lingering:
            patience = _IDLE_PATIENCE if self._is_idle() else _HEAD_PATIENCE
            if now - self._since <= patience:
                pass
            elif self._parser.in_message:
                self._refuse(408, f"the request did not arrive within {_HEAD_PATIENCE:g} seconds")
            else:
                self._transport.close()

    def _on_its_way(self) -> int:
        """Bytes that the system holds for the client, of which there may be megabytes before any of ours move."""
        with contextlib.suppress(OSError, TypeError, ValueError):  # it is closed, or not there yet
            size = fcntl.ioctl(self._transport.get_extra_info("socket"), termios.TIOCOUTQ, b"\0\0\0\0")
            return int(struct.unpack("i", size)[0])
        return 0

    def _is_idle(self) -> bool:
        return self._current is None and not self._waiting and not self._parser.in_message and not self.closing

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; whether there is one."""
        idle = [one for one in self._open_ones if one._is_idle() and not one._transport.get_write_buffer_size()]
        if idle:
            longest = min(idle, key=lambda one: one._since)
            longest.end()
            self._open_ones.discard(longest)
        return bool(idle)

    # Turns

    def _begin_next(self) -> None:
        if self._current is None and self._waiting and not self._full and not self._transport.is_closing():
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
                fields, body = self._application.refusal(500, "", request.method, request.path)
                request.response_bytes(500, fields, body)
                whole = True
        self._since = self.loop.time()
        if self.lost:
            return
        if request.broken and not request.begun:
            self._say_last_words()
        elif not whole:
            self._transport.abort()  # so that nobody takes a part for the whole
        elif not request.complete:
            self._linger()
        elif not request.persistent or self.ending:
            self._transport.close()
        elif self._last_words is not None and not self._waiting:
            self._say_last_words()
        else:
            self._begin_next()
            self.go_on()

    def _pause(self) -> None:
        if not self._paused and not self._half_closed and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._half_closed and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, status: int, why: str) -> None:
        """Answer what is no request, once all before it is answered; nothing that comes behind it can be understood."""
        self.closing = self._lingering = True
        self._unread = b""
        self._last_words = status, why
        if self._parser.arriving is not None:
            if self._parser.arriving is self._current:
                self._parser.arriving.broken = True  # which whoever reads its body hears next
                self._parser.arriving.wake()
                return
            self._waiting.remove(self._parser.arriving)
        self._begin_next()
        if self._current is None and not self._waiting:
            self._say_last_words()

    def _say_last_words(self) -> None:
        assert self._last_words is not None
        status, why = self._last_words
        fields, body = self._application.refusal(status, why)
        fields = [*fields, ("content-length", str(len(body))), ("connection", "close")]
        self.send(b"".join((status_line(status), field_lines(fields), b"\r\n", body)))
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
    application: Application,
    listening: socket.socket,
    told_to_end: asyncio.Event,
    patience: float,
    limit: int = CONNECTIONS,
) -> None:
    """Answer whoever connects, so many at the same time, until told to end; then answer what has been asked, for so many seconds at
    the most."""
    loop = asyncio.get_running_loop()
    open_ones: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(application, loop, open_ones, limit), sock=listening, backlog=_BACKLOG
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
