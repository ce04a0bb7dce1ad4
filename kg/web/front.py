"""The outermost layer: connections in, the application behind, answers from memory before it.

Hides the server's interface (RSGI, granian's own) and threads. It answers repeats in the event loop, and queries that are new
and quick; reads bodies there too, so that slow writers hold no thread; runs the WSGI application for all else, in a bounded number
of threads; and learns when a client goes away, which WSGI cannot tell. Promises that concurrent identical reads are computed once, that nothing is served which an earlier
acknowledged write has made stale, and that past its bounds a client is told to come back, at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from kg import __version__
from kg.engine import Answer, Caller, Pending
from kg.errors import DocumentTooLarge, KgError, Overloaded, RequestError
from kg.terms import Base
from kg.web import COMMON_HEADERS, problem_document
from kg.web import cache as caching
from kg.web.cache import Cache, Headers, Kept
from kg.web.sparql import Shortcut, Wanted

log = logging.getLogger("kg.request")

#: Seconds within which a body must have arrived.
_BODY_PATIENCE = 60.0

#: Answers of up to this many bytes are sent, compressed and kept in one piece; longer ones go as they are read.
_PIECE = 8 * 2**20

#: Seconds for which a query is waited for in the event loop; then a thread waits for it, which knows of slow queries, deadlines
#: and clients that go away. Handing a request to a thread and back costs more than a look-up itself (0.5 ms and more of both).
_AT_ONCE = 0.02

#: Bytes up to which an answer is compressed in the event loop.
_COMPRESSED_AT_ONCE = 16_384

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Revision = tuple[int, ...]


@dataclass
class Response:
    """What the application answered: all of the body, or the rest of it to be read. Names of headers are in lower case."""

    status: int
    headers: Headers
    body: bytes
    rest: Iterator[bytes] | None = None
    close: Callable[[], None] = lambda: None

    def header(self, name: str) -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return ""


class Front:
    """An RSGI application over a WSGI one.

    `proxies` are the addresses of reverse proxies that are believed. `revision` tells all that answers depend on beside the request. `answered` is told of each answer: method, status, and the
    seconds it took to compute, or None. `threads` bounds the requests worked on at once, `body_limit` their bodies in bytes,
    `batch_limit` those of callers who `may_write` by what their `Authorization` says.
    `told_to_end` is called when the server is, before it waits for what runs. `base` is the one of the errors' addresses. Queries take the `shortcut` where there is one; what it answers is what the application would.
    """

    def __init__(
        self,
        application: WSGI,
        revision: Callable[[], Revision],
        cache: Cache,
        answered: Callable[[str, int, float | None], None],
        *,
        threads: int,
        body_limit: int,
        batch_limit: int = 0,
        may_write: Callable[[str], bool] = lambda authorization: False,
        proxies: frozenset[str] = frozenset(),
        base: Base,
        shortcut: Shortcut | None = None,
        told_to_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._application = application
        self._told_to_end = told_to_end
        self._revision = revision
        self._cache = cache
        self._answered = answered
        self._threads = threads
        self._proxies = proxies
        self._body_limit = body_limit
        self._batch_limit = batch_limit
        self._may_write = may_write
        self._base = base
        self._shortcut = shortcut
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._busy = 0
        self._read_revision: Revision | None = None
        self._flights: dict[object, asyncio.Future[Kept | Response | None]] = {}

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The server waits for all that runs before it says that it ends. Its own handler hangs on the loop, which learns of a signal
        # by other means, and stays.
        signal.signal(signal.SIGTERM, lambda *_: self._told_to_end())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        if scope.proto != "http":
            return
        start = time.perf_counter()
        headers = scope.headers
        method = scope.method
        coding = caching.coding_for(headers.get("accept-encoding") or "")
        if_none_match = headers.get("if-none-match")
        revision = self._revision_now()
        wanted: object = None
        body = b""
        if method in ("GET", "HEAD"):
            if not _conditional_beyond_etag(headers) and not _is_long_poll(scope):
                wanted = _key(scope, headers, b"", coding)
        else:
            try:
                body = await asyncio.wait_for(self._read(scope, proto), _BODY_PATIENCE)
            except _BodyTooLarge:
                self._refuse(scope, proto, 413, self._too_large(scope.path))
                return
            except TimeoutError:
                late = RequestError(f"the body did not arrive within {_BODY_PATIENCE:g} seconds")
                self._refuse(scope, proto, 408, late)
                return
            if method == "POST" and scope.path == "/sparql" and not _conditional_beyond_etag(headers):
                wanted = _key(scope, headers, body, coding)
        if wanted is not None:
            kept = self._cache.find(revision, wanted)
            if kept is not None:
                self._answered(method, self._send_kept(proto, kept, method, if_none_match), None)
                return
        request = _new_id()
        try:
            answer = await self._answer(scope, proto, body, coding, revision, wanted, request)
        except Overloaded as error:
            self._refuse(scope, proto, 503, error, request)
            return
        seconds = time.perf_counter() - start
        if answer is None:
            log.info("[%s] %s %s: the client went away after %.1f ms", request, method, scope.path, seconds * 1000)
            return
        if isinstance(answer, Kept):
            status = self._send_kept(proto, answer, method, if_none_match)
        else:
            status = await self._send(proto, answer, method, if_none_match)
        self._answered(method, status, seconds)
        log.info("[%s] %s %s %d %.1f ms", request, method, scope.path, status, seconds * 1000)

    def _revision_now(self) -> Revision:
        """The revision at this moment, read once for all requests that are here already.

        Who comes first has it forgotten before reading it. The loop takes things in the order in which they came, so whoever
        finds it not forgotten yet had come before it was read, and sees whatever was acknowledged before they asked.
        """
        if self._read_revision is None:
            asyncio.get_running_loop().call_soon(self._forget_revision)
            self._read_revision = self._revision()
        return self._read_revision

    def _forget_revision(self) -> None:
        self._read_revision = None

    # Computing

    async def _answer(
        self, scope: Any, proto: Any, body: bytes, coding: str, revision: Revision, wanted: object, request: str
    ) -> Kept | Response | None:
        """The answer of the application; for a read that somebody else is waiting for already, theirs."""
        flight = None
        while wanted is not None and (flight := self._flights.get((revision, wanted))) is not None:
            shared = await asyncio.shield(flight)
            if isinstance(shared, Kept):
                return shared
            # The first could not share theirs (it may differ from time to time, or failed for them alone).
            wanted = None
        if wanted is not None:
            flight = self._flights[revision, wanted] = asyncio.get_running_loop().create_future()
        answer: Kept | Response | None = None
        try:
            answer = await self._compute(scope, proto, body, coding, wanted, request)
            if wanted is not None and isinstance(answer, Response) and (kept := _as_kept(answer)) is not None:
                answer = kept
                if self._revision() == revision:
                    self._cache.keep(revision, wanted, kept)
            return answer
        finally:
            if wanted is not None and flight is not None:
                del self._flights[revision, wanted]
                flight.set_result(answer if isinstance(answer, Kept) else None)

    async def _compute(
        self, scope: Any, proto: Any, body: bytes, coding: str, wanted: object, request: str
    ) -> Response | None:
        caller = Caller(
            caller_address(scope.client, scope.headers.get("x-forwarded-for") or "", self._proxies), request
        )
        if wanted is None or scope.path != "/sparql" or self._shortcut is None:
            return await self._run_application(scope, proto, body, coding, caller, None)
        loop = asyncio.get_running_loop()
        moment = _Moment(loop)
        begun = self._begin(scope, body, caller, moment)
        if begun is None:
            return await self._run_application(scope, proto, body, coding, caller, None)
        query, pending = begun
        try:
            answer = await moment.answer_of(pending)
            header = None if answer is None else self._shortcut.head(query, answer)
            if answer is None or header is None:
                return await self._run_application(scope, proto, body, coding, caller, pending)
            assert isinstance(answer.body, bytes)
            named = [(name.lower(), value) for name, value in (*header, *COMMON_HEADERS)]
            response = Response(200, named, answer.body)
            method = "POST" if scope.method == "POST" else "GET"
            if coding == "identity" or answer.length <= _COMPRESSED_AT_ONCE:
                _encode(response, coding, method)
            else:
                await loop.run_in_executor(self._pool, _encode, response, coding, method)
            return response
        finally:
            pending.abandon()

    def _begin(self, scope: Any, body: bytes, caller: Caller, moment: _Moment) -> tuple[Wanted, Pending] | None:
        """The evaluation of the query that a request has, if it is one for the event loop."""
        assert self._shortcut is not None
        headers = scope.headers
        query_string = scope.query_string
        if not query_string.isascii():
            return None
        post = (headers.get("content-type"), body) if scope.method == "POST" else None
        accept = headers.get("accept")
        return self._shortcut.begin(caching.parameters(query_string), post, accept, caller, moment.placed)

    async def _run_application(
        self, scope: Any, proto: Any, body: bytes, coding: str, caller: Caller, pending: Pending | None
    ) -> Response | None:
        """The application's answer, in a thread; None where nobody waits for it any more. Raises `Overloaded`."""
        if self._busy >= self._threads:
            raise Overloaded("too many requests are being worked on; try again in a few seconds", retry_after=5)
        environ = _environ(scope, body, caller)
        if scope.method in ("GET", "HEAD"):
            # One answer serves all: HEAD is it without its body, and whoever has it already is told so when it is sent.
            environ["REQUEST_METHOD"] = "GET"
            if environ.pop("HTTP_IF_NONE_MATCH", None) is not None:
                environ.pop("HTTP_IF_MODIFIED_SINCE", None)  # which does not count beside it (RFC 9110, section 13.1.3)
        if pending is not None:
            environ["kg.pending"] = pending
        loop = asyncio.get_running_loop()
        self._busy += 1
        work = loop.run_in_executor(self._pool, _run, self._application, environ, coding)
        gone = asyncio.ensure_future(proto.client_disconnect())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                caller.hang_up()
            answer = await work
            return None if caller.gone else answer
        finally:
            gone.cancel()
            self._busy -= 1

    def _too_large(self, path: str) -> KgError:
        if path in ("/sparql", "/update"):
            return RequestError("the body is larger than anything taken here, or taken without a token")
        limit = self._batch_limit if path == "/graphs" else self._body_limit
        return DocumentTooLarge(
            f"the body is larger than anything taken here, which is {limit:,} bytes with a token that may write",
            limit=limit,
        )

    async def _read(self, scope: Any, proto: Any) -> bytes:
        limit, headers = self._body_limit, scope.headers

        async def require(size: int) -> None:
            """What is larger than the limit is taken where batches go, from those alone who may write: they are asked for their
            token only then. Elsewhere theirs is read to its end and kept nowhere: many clients hear no answer before that."""
            nonlocal limit
            if size > limit and limit < self._batch_limit:
                token, loop = headers.get("authorization") or "", asyncio.get_running_loop()
                if await loop.run_in_executor(self._pool, self._may_write, token):
                    limit = self._batch_limit
                    if scope.path != "/graphs":
                        if size <= limit:
                            await _let_go(proto, limit)
                        raise _BodyTooLarge
            if size > limit:
                raise _BodyTooLarge

        declared = headers.get("content-length") or "0"
        await require(int(declared) if declared.isdigit() else 0)
        parts = bytearray()
        async for part in proto:
            parts += part
            await require(len(parts))
        return bytes(parts)

    # Sending

    def _send_kept(self, proto: Any, kept: Kept, method: str, if_none_match: str | None) -> int:
        if if_none_match is not None and caching.matches(if_none_match, kept.etag):
            proto.response_empty(304, kept.not_modified)
            return 304
        if method == "HEAD":
            proto.response_empty(kept.status, kept.headers)
        else:
            proto.response_bytes(kept.status, kept.headers, kept.body)
        return kept.status

    async def _send(self, proto: Any, answer: Response, method: str, if_none_match: str | None) -> int:
        etag = answer.header("etag")
        if answer.status in (200, 206) and etag and if_none_match and caching.matches(if_none_match, etag):
            answer.close()
            proto.response_empty(304, _of_304(answer))
            return 304
        if answer.rest is None or method == "HEAD":
            answer.close()
            if answer.body and method != "HEAD":
                proto.response_bytes(answer.status, answer.headers, answer.body)
            else:
                proto.response_empty(answer.status, answer.headers)
            return answer.status
        loop = asyncio.get_running_loop()
        transport = proto.response_stream(answer.status, answer.headers)
        try:
            await transport.send_bytes(answer.body)
            while piece := await loop.run_in_executor(self._pool, next, answer.rest, b""):
                await transport.send_bytes(piece)
        finally:
            answer.close()
        return answer.status

    def _refuse(self, scope: Any, proto: Any, status: int, error: KgError, request: str = "") -> None:
        """Answer without the application, as it would."""
        request = request or _new_id()
        title = _TITLES.get(status, type(error).title())
        facts = {**error.facts, "request": request}
        document = problem_document(self._base, type(error).name(), title, status, error.detail, facts)
        headers = [("content-type", "application/problem+json"), *COMMON_HEADERS]
        if status == 503:
            headers.append(("retry-after", str(error.facts["retry_after"])))
        proto.response_bytes(
            status, [(name.lower(), value) for name, value in headers], json.dumps(document).encode() + b"\n"
        )
        self._answered(scope.method, status, None)
        log.info("[%s] %s %s %d %s", request, scope.method, scope.path, status, error.detail)


_TITLES = {408: "The request took too long to arrive", 413: "The request is too large"}


class _Moment:
    """The time for which the event loop waits for an answer: first for the query's turn, then for something to read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn: asyncio.Future[bool] = loop.create_future()
        self._reply: asyncio.Future[bool] = loop.create_future()

    def placed(self) -> None:
        """It is the query's turn. From any thread."""
        self._loop.call_soon_threadsafe(_settle, self._turn, True)

    async def answer_of(self, pending: Pending) -> Answer | None:
        """The answer, if it is there within the moment and is one."""
        loop = self._loop
        end = loop.call_later(_AT_ONCE, self._pass)
        try:
            if not pending.has_turn and not await self._turn:
                return None
            descriptor = pending.start()
            if descriptor is None:
                return None
            loop.add_reader(descriptor, _settle, self._reply, True)
            try:
                return pending.receive() if await self._reply else None
            finally:
                loop.remove_reader(descriptor)
        finally:
            end.cancel()

    def _pass(self) -> None:
        _settle(self._turn, False)
        _settle(self._reply, False)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _new_id() -> str:
    return os.urandom(6).hex()


def _key(scope: Any, headers: Any, body: bytes, coding: str) -> object:
    """What the answer to a request depends on beside the revision. HEAD is answered from GET; parameters may come in any order."""
    get = headers.get
    return (
        "POST" if body else "GET",
        scope.path,
        caching.canonical(scope.query_string),
        body,
        get("content-type") if body else None,
        get("accept"),
        get("accept-language"),
        coding,
    )


def caller_address(client: str, forwarded: str, proxies: frozenset[str]) -> str:
    """Whose request it is: the address that connected or, where that is one of our reverse proxies, the last address in
    `X-Forwarded-For` that is not. What a caller writes into that field comes before what the proxy adds, and is not believed."""
    address = client.rpartition(":")[0].strip("[]")
    for before in reversed([part.strip() for part in forwarded.split(",")]):
        if address not in proxies or not before:
            break
        address = before
    return address


async def _let_go(proto: Any, limit: int) -> None:
    """Read what still arrives of a body, up to a limit in bytes."""
    count = 0
    async for part in proto:
        count += len(part)
        if count > limit:
            return


class _BodyTooLarge(Exception):
    pass


def _is_long_poll(scope: Any) -> bool:
    """Whether a request waits for the next revision: what it gets is not a function of this one."""
    return scope.path == "/changes" and "wait=" in scope.query_string


def _conditional_beyond_etag(headers: Any) -> bool:
    """Whether a read has conditions that memory does not look at."""
    if "if-modified-since" in headers and "if-none-match" not in headers:
        return True
    return any(
        name in headers
        for name in (
            "if-match",
            "if-unmodified-since",
            "range",
            "authorization",
            "kg-min-revision",
            "accept-datetime",
        )
    )


def _environ(scope: Any, body: bytes, caller: Caller) -> dict[str, Any]:
    """The WSGI environment of a request (PEP 3333)."""
    host, _, port = (scope.server or "localhost:80").rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1")
        if "%" in scope.path
        else scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "REMOTE_ADDR": caller.address.strip("[]"),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "kg.caller": caller,
        "kg.request_id": caller.request,
    }
    if "host" not in scope.headers and getattr(scope, "authority", None):
        environ["HTTP_HOST"] = scope.authority
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key != "CONTENT_LENGTH":
            # Repeated fields are one with commas (RFC 9110, section 5.3).
            field = f"HTTP_{key}"
            environ[field] = f"{environ[field]},{value}" if field in environ else value
    for name in scope.headers.keys():  # noqa: SIM118 — no dictionary
        # The server gives no value that is not ASCII: it came all the same, and whoever reads it is to know.
        if name not in ("content-type", "content-length"):
            environ.setdefault(f"HTTP_{name.upper().replace('-', '_')}", "")
    return environ


def _run(application: WSGI, environ: dict[str, Any], coding: str) -> Response:
    """The whole answer of the application, or its beginning and the rest, compressed where that is worth it."""
    started: list[Any] = []

    def start_response(status: str, headers: Headers, exc_info: object = None) -> Callable[[bytes], None]:
        started[:] = [int(status[:3]), headers]
        raise_on_write: list[bytes] = []
        return raise_on_write.append

    result = application(environ, start_response)
    close: Callable[[], None] = getattr(result, "close", lambda: None)
    pieces = iter(result)
    body = bytearray()
    rest: Iterator[bytes] | None = None
    for piece in pieces:
        body += piece
        if len(body) > _PIECE:
            rest = pieces
            break
    status, headers = started
    response = Response(status, [(name.lower(), value) for name, value in headers], bytes(body), rest, close)
    _encode(response, coding, environ["REQUEST_METHOD"])
    return response


def _encode(response: Response, coding: str, method: str) -> None:
    """Give a whole answer to a read its entity tag, and its coding, which the tag names too."""
    media_type, length = response.header("content-type"), len(response.body)
    storable = response.status == 200 and "no-store" not in response.header("cache-control") and response.rest is None
    if not response.header("etag") and storable and method in ("GET", "POST") and response.header("kg-revision"):
        digest = hashlib.blake2b(response.body, digest_size=16, key=__version__.encode()).hexdigest()
        response.headers.append(("etag", f'"{digest}"'))
    if response.rest is None and caching.worth_compressing(media_type, length):
        vary = response.header("vary")
        response.headers = [(n, v) for n, v in response.headers if n != "vary"]
        response.headers.append(("vary", f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"))
        if coding != "identity" and response.status == 200 and not response.header("content-encoding"):
            response.body = caching.compress(response.body, coding)
            etag = response.header("etag")
            changed = {"content-encoding": coding, "content-length": str(len(response.body))}
            if etag:
                changed["etag"] = f'{etag[:-1]}-{coding}"'
            response.headers = [(n, v) for n, v in response.headers if n not in changed] + list(changed.items())


_KEPT_ON_304 = ("etag", "cache-control", "content-location", "date", "expires", "vary", "kg-revision", "link", "last-modified",
                "content-language", "memento-datetime", "access-control-allow-origin", "access-control-expose-headers")  # fmt: skip


def _of_304(response: Response) -> Headers:
    return [(n, v) for n, v in response.headers if n in _KEPT_ON_304]


def _as_kept(response: Response) -> Kept | None:
    """The answer as memory holds it, if it may."""
    etag = response.header("etag")
    if (
        response.status != 200
        or not etag
        or response.rest is not None
        or "no-store" in response.header("cache-control")
    ):
        return None
    headers = [(n, v) for n, v in response.headers if n != "content-length"]
    headers.append(("content-length", str(len(response.body))))
    return Kept(response.status, headers, response.body, etag, _of_304(response))
