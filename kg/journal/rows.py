"""What rows of the journal hold, as values: revisions, titles, packed content, encoded faces, times.

Hides how a value is written into a column. Promises that whatever is read back equals what was written, or is a `StorageError`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyoxigraph as ox

from kg.documents import N_TRIPLES, Document, to_bytes
from kg.errors import StorageError
from kg.gate import Face

#: Kinds of change. A retraction keeps the document; only a deletion (no content) takes it away.
CHANGES = ("recorded", "corrected-source", "corrected-encoding", "retracted")

#: What to do about a file that is not what it was.
DAMAGED = "; `kg verify` tells what else is, and `kg restore` puts a backup in its place"


@dataclass(frozen=True)
class Revision:
    """One row of the history. `time` is UTC; `digest` is None where the document was taken away."""

    seq: int
    batch: int
    document: str
    time: datetime
    agent: str
    change: str
    note: str
    previous: int | None
    digest: str | None


@dataclass(frozen=True)
class Title:
    """A document in a list: the label it is shown under, English where it has one, and the number of its newest revision."""

    document: str
    label: str
    language: str
    seq: int


COLUMNS = "seq, batch, document, time, agent, change, note, previous, digest"


def unpack(document: str, content: bytes) -> Document:
    """The document in a row of the history. Raises `StorageError` where the row is damaged."""
    try:
        return Document(document, zlib.decompress(content))
    except zlib.error:
        raise StorageError(f"what the journal holds of {document} is damaged{DAMAGED}") from None


def encode_face(face: Face) -> bytes:
    return to_bytes(face, N_TRIPLES)


def decode_face(triples: bytes | str) -> Face:
    return tuple(quad.triple for quad in ox.parse(triples, format=ox.RdfFormat.N_TRIPLES, lenient=True))


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def revision_of(row: Sequence[Any]) -> Revision:
    seq, batch, document, moment, *rest = row
    return Revision(seq, batch, document, moment_of(moment), *rest)


def moment_of(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
