"""Answers from memory: between two revisions a read is a function of the revision and the request.

Pure bookkeeping, no I/O. Promises that an entry is found only at the revision it was made at, that all entries together stay
within a bound in bytes, and that what it hands out is whole. What may be kept is decided by who made the answer: it carries an
`ETag` and no `no-store`.
"""

from __future__ import annotations

import binascii
import functools
import gzip
import re
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import parse_qsl

import zstandard
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from kg.web.wire import field_lines

#: Below this many bytes compression saves less than a packet.
_WORTH_COMPRESSING = 1_000

#: Codings we write, best first.
CODINGS = ("zstd", "gzip")

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Kept:
    """An answer in memory, ready to be sent: body and headers as they go out, and the headers of a 304."""

    status: int
    headers: Headers
    body: bytes
    etag: str
    not_modified: Headers

    @functools.cached_property
    def lines(self) -> bytes:
        """The header as it goes out, with the empty line behind it."""
        return field_lines(self.headers) + b"\r\n"

    @functools.cached_property
    def lines_of_304(self) -> bytes:
        """The same of a 304."""
        return field_lines(self.not_modified) + b"\r\n"

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.body) + 2_000


@functools.lru_cache(maxsize=4096)
def canonical(query: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a query string, the same for every order in which they may come."""
    return tuple(sorted(parameters(query)))


@functools.lru_cache(maxsize=64)
def parameters(query: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a query string as they come; what is no UTF-8 has U+FFFD in its place. Read once a request, wanted twice."""
    if not query:
        return ()
    if not query.isascii() or _NO_ESCAPE.search(query):
        return tuple(parse_qsl(query, keep_blank_values=True))
    # What parse_qsl does, by a decoder in C: its own in Python takes longer than a look-up's evaluation.
    pairs = []
    for part in query.replace("+", " ").split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_decoded(name), _decoded(value)))
    return tuple(pairs)


#: A per cent sign that begins no escape, and stands for itself.
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    # An escape is one of quoted-printable (RFC 2045, section 6.7) but for its first character.
    return binascii.a2b_qp(text.replace("=", "=3D").replace("%", "=")).decode("utf-8", "replace")


class Cache:
    """Answers by revision and key, the least recently used given up first. For one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._revision: tuple[int, ...] = ()
        self._kept: OrderedDict[object, Kept] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def find(self, revision: tuple[int, ...], wanted: object) -> Kept | None:
        """The answer to this request at this revision, if it is in memory."""
        if revision != self._revision:
            # Revisions only grow, so nothing kept before can be asked for again.
            self._kept.clear()
            self._size = 0
            self._revision = revision
        found = self._kept.get(wanted)
        if found is not None:
            self._kept.move_to_end(wanted)
            self.hits += 1
        else:
            self.misses += 1
        return found

    def keep(self, revision: tuple[int, ...], wanted: object, answer: Kept) -> None:
        """Remember an answer that was made at this revision, unless it is too large or the graph has gone on."""
        if revision != self._revision or answer.size > self._limit // 8:
            return
        before = self._kept.pop(wanted, None)
        self._size += answer.size - (before.size if before else 0)
        self._kept[wanted] = answer
        while self._size > self._limit:
            _, gone = self._kept.popitem(last=False)
            self._size -= gone.size

    def figures(self) -> dict[str, int]:
        """Numbers for operators."""
        return {"entries": len(self._kept), "bytes": self._size, "hits": self.hits, "misses": self.misses}


@functools.lru_cache(maxsize=1024)
def coding_for(accept_encoding: str) -> str:
    """The coding to write for an `Accept-Encoding`: zstd, gzip, or identity (RFC 9110, section 12.5.3)."""
    if not accept_encoding:
        return "identity"
    wanted = parse_accept_header(accept_encoding, Accept)
    best = max(CODINGS, key=lambda coding: (wanted.quality(coding), -CODINGS.index(coding)))
    quality = wanted.quality(best)
    return best if quality > 0 and quality >= wanted.quality("identity") else "identity"


def compress(body: bytes, coding: str) -> bytes:
    """The body in a coding."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(body)
    return gzip.compress(body, compresslevel=5, mtime=0)


_COMPRESSIBLE = ("text/", "application/json", "application/ld+json", "application/n-triples", "application/n-quads",
                 "application/rdf+xml", "application/trig", "application/sparql-results", "application/xml", "application/problem+json",
                 "application/javascript", "image/svg+xml")  # fmt: skip


def worth_compressing(media_type: str, length: int) -> bool:
    """Whether a body of this type and length gets smaller by it."""
    return length >= _WORTH_COMPRESSING and media_type.startswith(_COMPRESSIBLE)


def matches(if_none_match: str, etag: str) -> bool:
    """Whether an `If-None-Match` names this entity tag, by weak comparison (RFC 9110, section 13.1.2)."""
    if if_none_match.strip() == "*":
        return True
    bare = etag.removeprefix("W/")
    return any(tag.strip().removeprefix("W/") == bare for tag in if_none_match.split(","))
