"""The outermost layer: requests in, the application behind, answers from memory before it.

Hides threads. It answers repeats in the event loop, and queries that are new and quick; reads bodies there too, so that slow writers
hold no thread; runs the WSGI application for all else, in a bounded number of threads; and learns when a client goes away, which WSGI
cannot tell. Promises that concurrent identical reads are computed once, that nothing is served which an earlier acknowledged write has
made stale, and that past its bounds a client is told to come back, at once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kg.engine import Caller, Pending
from kg.errors import DocumentTooLarge, KgError, Overloaded, RequestError
from kg.terms import Base
from kg.web import COMMON_HEADERS, problem_document
from kg.web import cache as caching
from kg.web.cache import Cache, Kept
from kg.web.moment import Moment, Pipes
from kg.web.sparql import Shortcut, Wanted
from kg.web.wire import status_line
from kg.web.wsgi import WSGI, Response, as_kept, encode, environ_of, of_304, run

log = logging.getLogger("kg.request")

#: Seconds within which a body must have arrived.
_BODY_PATIENCE = 60.0

#: How many bodies of the largest size, of those who need not show a token, may be arriving at once.
_BODIES = 32

#: Bytes up to which an answer is compressed in the event loop.
_COMPRESSED_AT_ONCE = 16_384

#: Requests whose meaning is remembered, and the bytes of each at the most.
_MEANINGS = 2_048
_MEANING_SIZE = 4_096

Revision = tuple[int, ...]


class Front:
    """An RSGI application over a WSGI one.

    `proxies` are the addresses of reverse proxies that are believed. `revision` tells all that answers depend on beside the request.
    `answered` is told of each answer: method, status, and the seconds it took to compute, or None. `threads` bounds the requests worked on at once, `body_limit` their bodies in bytes,
    `batch_limit` those of callers who `may_write` by what their `Authorization` says.
    `base` is the one of the errors' addresses. Queries take the `shortcut` where there is one; what it answers is what the application
    would. `log` is given a line for each request that was computed.
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
        log: Callable[[str], object] = log.info,
    ) -> None:
        self._application = application
        self._log = log
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
        self._arriving = 0  # bytes of bodies that are not there yet
        self._read_revision: Revision | None = None
        self._meanings: dict[bytes, tuple[object, str, str | None]] = {}
        self._mark, self._numbers = os.urandom(4).hex(), itertools.count(1)
        self._pipes = Pipes()
        self._flights: dict[object, asyncio.Future[Kept | Response | None]] = {}

    def close(self) -> None:
        """Wait for what runs and start nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def recall(self, raw: bytes) -> Sequence[bytes] | None:
        """What is to be sent to a request that came just so before, where the answer is in memory. What it means is a function of its
        bytes, and need not be found out again; what the answer is depends on the revision."""
        meaning = self._meanings.get(raw)
        if meaning is None:
            return None
        wanted, method, if_none_match = meaning
        kept = self._cache.find(self._revision_now(), wanted)
        if kept is None:
            del self._meanings[raw]
            return None
        if if_none_match is not None and caching.matches(if_none_match, kept.etag):
            self._answered(method, 304, None)
            return (status_line(304), kept.lines_of_304)
        self._answered(method, kept.status, None)
        head = (status_line(kept.status), kept.lines)
        return head if method == "HEAD" else (*head, kept.body)

    def _remember(self, scope: Any, wanted: object, method: str, if_none_match: str | None) -> None:
        raw = scope.raw
        if raw and len(raw) <= _MEANING_SIZE:
            if len(self._meanings) >= _MEANINGS:
                del self._meanings[next(iter(self._meanings))]
            self._meanings[raw] = (wanted, method, if_none_match)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        if scope.proto != "http":
            return
        start = time.perf_counter()
        headers = scope.headers
        method = scope.method
        if scope.path == "*":
            # Whether there is a server (RFC 9110, section 9.3.7).
            proto.response_empty(204, [("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS"), *_COMMON])
            self._answered(method, 204, None)
            return
        accepted = headers.get("accept-encoding")
        coding = caching.coding_for(accepted) if accepted else "identity"
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
            except Overloaded as error:
                self._refuse(scope, proto, 503, error)
                return
            if method == "POST" and scope.path == "/sparql" and not _conditional_beyond_etag(headers):
                wanted = _key(scope, headers, body, coding)
        if wanted is not None:
            kept = self._cache.find(revision, wanted)
            if kept is not None:
                self._remember(scope, wanted, method, if_none_match)
                self._answered(method, self._send_kept(proto, kept, method, if_none_match), None)
                return
        request = self._new_id()
        try:
            answer = await self._answer(scope, proto, body, coding, revision, wanted, request)
        except Overloaded as error:
            self._refuse(scope, proto, 503, error, request)
            return
        seconds = time.perf_counter() - start
        if answer is None:
            self._log(f"[{request}] {method} {scope.path}: the client went away after {seconds * 1000:.1f} ms")
            return
        if isinstance(answer, Kept):
            status = self._send_kept(proto, answer, method, if_none_match)
        else:
            status = await self._send(proto, answer, method, if_none_match)
        self._answered(method, status, seconds)
        self._log(f"[{request}] {method} {scope.path} {status} {seconds * 1000:.1f} ms")

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
            if wanted is not None and isinstance(answer, Response) and (kept := as_kept(answer)) is not None:
                if answer.read_at == revision[-1] or self._revision() == revision:
                    self._cache.keep(revision, wanted, kept)
                answer = kept
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
        moment = Moment(loop, self._pipes)
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
            response = Response(200, [*header, *_COMMON], answer.body, read_at=answer.revision)
            method = "POST" if scope.method == "POST" else "GET"
            if coding == "identity" or answer.length <= _COMPRESSED_AT_ONCE:
                encode(response, coding, method)
            else:
                await loop.run_in_executor(self._pool, encode, response, coding, method)
            return response
        finally:
            pending.abandon()

    def _begin(self, scope: Any, body: bytes, caller: Caller, moment: Moment) -> tuple[Wanted, Pending] | None:
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
        environ = environ_of(scope, body, caller)
        if scope.method in ("GET", "HEAD"):
            # One answer serves all: HEAD is it without its body, and whoever has it already is told so when it is sent.
            environ["REQUEST_METHOD"] = "GET"
            if environ.pop("HTTP_IF_NONE_MATCH", None) is not None:
                environ.pop("HTTP_IF_MODIFIED_SINCE", None)  # which does not count beside it (RFC 9110, section 13.1.3)
        if pending is not None:
            environ["kg.pending"] = pending
        loop = asyncio.get_running_loop()
        self._busy += 1
        work = loop.run_in_executor(self._pool, run, self._application, environ, coding)
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

        await require(int(headers.get("content-length") or "0"))
        parts, counted = bytearray(), 0
        try:
            async for part in proto:
                parts += part
                await require(len(parts))
                if limit == self._body_limit:
                    self._arriving += len(part)
                    counted += len(part)
                    if self._arriving > _BODIES * limit:
                        raise Overloaded(
                            "too much is being sent at the same time; try again in a few seconds", retry_after=5
                        )
        finally:
            self._arriving -= counted
        return bytes(parts)

    def _new_id(self) -> str:
        """By what a request is known in the log, unlike all others of this process and very likely of those before it."""
        return f"{self._mark}{next(self._numbers):06x}"

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
            proto.response_empty(304, of_304(answer))
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
        proto.response_bytes(status, *self._problem(status, error, scope.method, scope.path, request))

    def refusal(self, status: int, why: str, method: str = "-", path: str = "-") -> tuple[list[tuple[str, str]], bytes]:
        """The header and the body of an answer to what never became a request, or to one that this layer failed at."""
        if status == 503:
            return self._problem(status, Overloaded(why, retry_after=5), method, path)
        error = RequestError(why) if status < 500 else KgError("this is a fault of the service; its log tells more")
        return self._problem(status, error, method, path)

    def _problem(
        self, status: int, error: KgError, method: str, path: str, request: str = ""
    ) -> tuple[list[tuple[str, str]], bytes]:
        request = request or self._new_id()
        title = _TITLES.get(status, type(error).title())
        facts = {**error.facts, "request": request}
        document = problem_document(self._base, type(error).name(), title, status, error.detail, facts)
        headers = [("content-type", "application/problem+json"), *_COMMON]
        if status == 503:
            headers.append(("retry-after", str(error.facts["retry_after"])))
        self._answered(method, status, None)
        self._log(f"[{request}] {method} {path} {status} {error.detail}")
        return headers, json.dumps(document).encode() + b"\n"


_TITLES = {
    408: "The request took too long to arrive",
    413: "The request is too large",
    414: "The address is too long",
    431: "The header is too large",
    500: "The service failed",
}


_COMMON = tuple((name.lower(), value) for name, value in COMMON_HEADERS)


def _key(scope: Any, headers: Any, body: bytes, coding: str) -> object:
    """What the answer to a request depends on beside the revision. HEAD is answered from GET; parameters may come in any order."""
    get = headers.get
    return (
        "POST" if scope.method == "POST" else "GET",
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
    if not forwarded:
        return address
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
    if not _CONDITIONS.isdisjoint(headers):
        return "if-none-match" not in headers or not _CONDITIONS_BUT_DATE.isdisjoint(headers)
    return False


_CONDITIONS_BUT_DATE = frozenset(
    {"if-match", "if-unmodified-since", "range", "authorization", "kg-min-revision", "accept-datetime"}
)
_CONDITIONS = _CONDITIONS_BUT_DATE | {"if-modified-since"}
