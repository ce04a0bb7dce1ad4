"""The WSGI application as the front calls it (PEP 3333): the environment that it gets, and what its answer is made into.

Hides codings and entity tags. Promises that an answer is compressed only where the client takes it, and that each coding of it has
a tag of its own.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from kg import __version__
from kg.engine import Caller
from kg.web import cache as caching
from kg.web.cache import Headers, Kept

#: Answers of up to this many bytes are sent, compressed and kept in one piece; longer ones go as they are read.
_PIECE = 8 * 2**20

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass
class Response:
    """What the application answered: all of the body, or the rest of it to be read. Names of headers are in lower case."""

    status: int
    headers: Headers
    body: bytes
    rest: Iterator[bytes] | None = None
    close: Callable[[], None] = lambda: None
    #: The revision at which a query was evaluated, on which alone its answer depends; None where that is not known.
    read_at: int | None = None

    def header(self, name: str) -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return ""


def environ_of(scope: Any, body: bytes, caller: Caller) -> dict[str, Any]:
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
        if "_" in name:
            continue  # in the environment it would be another, of which caches and proxies know nothing
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key != "CONTENT_LENGTH":
            environ[f"HTTP_{key}"] = value
    return environ


def run(application: WSGI, environ: dict[str, Any], coding: str) -> Response:
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
    encode(response, coding, environ["REQUEST_METHOD"])
    return response


def encode(response: Response, coding: str, method: str) -> None:
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


def of_304(response: Response) -> Headers:
    return [(n, v) for n, v in response.headers if n in _KEPT_ON_304]


def as_kept(response: Response) -> Kept | None:
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
    return Kept(response.status, headers, response.body, etag, of_304(response))
