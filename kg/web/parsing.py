"""Bytes into requests, strictly (RFC 9112).

Hides httptools: how bytes are cut, what it takes that is no request, and what it does not take that is one. Promises that nothing
which could be read in two ways, or is larger than a head may be, ever becomes a request.
"""

from __future__ import annotations

import re
from typing import Protocol

import httptools

from kg.web.wire import ABSOLUTE, Request, Way

#: Bytes of the head of a request, or of what is neither head nor body; and the fields of a head.
_HEAD = 262_144
_FIELDS = 200

#: Methods that the parser is given as they are; in the place of others it gets one whose request may have a body.
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND"})
_METHOD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ")
_STANDS_IN = b"PATCH"

#: What no address has but in its escaped form (RFC 3986, section 2.1).
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


#: `host` or `host:port` (RFC 9110, section 7.2), or nothing.
_HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")


class Malformed(Exception):
    """What comes is no request, and nothing behind it can be understood; `status` says what is wrong with it."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Receiver(Way, Protocol):
    """Where requests come in."""

    def begin(self) -> None:
        """A request begins to come."""

    def take(self, request: Request) -> None:
        """The head of a request has come."""

    def have_enough(self) -> None:
        """No more of a body need come for now."""


class Parser:
    """The requests of one connection, one after the other: handed over with their heads, given their bodies as these come."""

    def __init__(self, receiver: Receiver) -> None:
        self.in_message = False
        self.arriving: Request | None = None  # the one whose body comes in
        self.upgraded = False  # whether what comes now is another protocol's
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._in_line = True  # whether what comes next is the line with the target
        self._complete = 0  # requests that came whole with the present bytes
        self._method = ""  # that of the request which comes, where httptools has another in its place
        self._target = b""
        self._headers: dict[str, str] = {}
        self._fields = 0
        self._size = 0  # bytes since the present request, or a part of its body, began
        self._is_plain = False  # whether the request is like most

    def read(self, data: bytes) -> bool:
        """Understand what has come; whether it is one request by itself, without a body and not the last. Raises `Malformed`."""
        self._complete = 0
        if self.in_message:
            self._size += len(data)
        begins, whole = not self.in_message, data
        if self._in_line:
            data = self._readable(data)
            if not data:
                return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.upgraded = True
        except httptools.HttpParserError as error:
            # What a callback of ours raises comes as the context of an error of the parser's.
            ours = error.__context__
            raise (
                ours if isinstance(ours, Malformed) else Malformed(f"this is no request of HTTP/1.1: {error}")
            ) from None
        if self._complete:
            # Of a request that began behind another it is not known how much of its line there is.
            self._in_line = not self.in_message
        if self.in_message and self._size > _HEAD:
            if len(self._target) > _HEAD // 2:
                raise Malformed(
                    f"the address is longer than {_HEAD // 2:,} bytes; send a long query in the body of a POST", 414
                )
            raise Malformed(f"the header is longer than {_HEAD:,} bytes", 431)
        return begins and self._complete == 1 and not self.in_message and data is whole and self._is_plain

    def close(self) -> None:
        """Forget what has come: it and this hold each other, and may be large."""
        self._target, self._headers, self.arriving = b"", {}, None
        del self._parser

    def _readable(self, data: bytes) -> bytes:
        """The same for the parser, which takes ASCII in a target and the methods on its list. People type addresses in their language,
        and which methods there are is the application's to say. A request that comes together with the one before it goes as it is."""
        if not self.in_message:
            # Lines that are empty come before requests from clients of old (RFC 9112, section 2.2).
            data = data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data
        end = data.find(b"\n")
        self._in_line = end < 0
        line, rest = (data, b"") if end < 0 else (data[:end], data[end:])
        method = None if self.in_message else _METHOD.match(line)
        if method is not None and method[1] not in _METHODS:
            self._method = method[1].decode("ascii")
            line = _STANDS_IN + line[method.end(1) :]
        elif line.isascii():
            return data
        return _NOT_ASCII.sub(_escaped, line) + rest

    # From httptools

    def on_message_begin(self) -> None:
        self.in_message = True
        self._target, self._headers, self._size, self._fields = b"", {}, 0, 0
        self._receiver.begin()

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > _FIELDS:
            raise Malformed(f"the header has more than {_FIELDS} fields", 431)
        if self.arriving is not None:
            return  # behind a body in chunks: nothing here is of use (RFC 9110, section 6.5.1)
        key, text = name.decode("ascii").lower(), value.rstrip(b" \t").decode("latin-1")
        headers = self._headers
        if key in headers:
            # Repeated fields are one with commas (RFC 9110, section 5.3), but for these two.
            if key == "host":
                raise Malformed("there is more than one Host")
            text = f"{headers[key]}{'; ' if key == 'cookie' else ', '}{text}"
        headers[key] = text

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        headers = self._headers
        if version not in ("1.1", "1.0"):
            raise Malformed(f"this is HTTP/{version}; ask in HTTP/1.1")
        method, self._method = self._method or parser.get_method().decode("ascii"), ""
        absolute = ABSOLUTE.match(self._target)
        if absolute is not None:
            # Whatever the field says (RFC 9112, section 3.2.2).
            headers["host"] = absolute[1].decode("ascii")
        elif self._target[:1] != b"/" and not (self._target == b"*" and method == "OPTIONS"):
            raise Malformed("the address is no path")
        host = headers.get("host")
        if host is None and version == "1.1":
            raise Malformed("there is no Host, which HTTP/1.1 has")
        if host and _HOST.fullmatch(host) is None:
            raise Malformed("Host is no name or address, with or without a port")
        # Who reads another coding than this, or any in HTTP/1.0, might see the end elsewhere (RFC 9112, section 6.1).
        coding = headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or version == "1.0" or "content-length" in headers):
            raise Malformed("Transfer-Encoding is chunked, in HTTP/1.1, and without a Content-Length; or there is none")
        request = Request(self._receiver, method, self._target, headers)
        request.http_version = version
        request.persistent = parser.should_keep_alive()
        self._is_plain = request.persistent and version == "1.1"
        self.arriving = request
        self._receiver.take(request)

    def on_body(self, part: bytes) -> None:
        self._size, self._is_plain = 0, False
        if self.arriving is not None and self.arriving.take(part):
            self._receiver.have_enough()

    def on_message_complete(self) -> None:
        assert self.arriving is not None
        self.arriving.complete = True
        self.arriving.wake()
        self.arriving = None
        self.in_message, self._in_line = False, True
        self._complete += 1
