"""Retractions: an article that no longer stands says so itself, with the reason and the moment.

Hides the two statements that make a retraction. As they are part of the document, dumps, history and followers carry them. Promises
that retracting again for the same reason gives the same document.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pyoxigraph as ox

from kg import documents
from kg.documents import Document
from kg.errors import RequestError
from kg.terms import EKG, XSD, Base, shorten

RETRACTED_AT = EKG + "retractedAt"
REASON = EKG + "retractionReason"

#: Characters of a note, and so of a reason.
NOTE_LIMIT = 2_000


def retracted(
    batch: Mapping[str, Document | None], there: Mapping[str, Document], reason: str, base: Base
) -> dict[str, Document]:
    """The same documents, each saying that it is retracted, and why. `there` are those that are there now.

    Raises `RequestError` without a reason, for a document that is no article, and for one that would be taken away.
    """
    if not reason.strip():
        raise RequestError("a retraction says why, in one to 2,000 characters: send the reason as the note (KG-Note)")
    result = {}
    now = ox.Literal(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), datatype=ox.NamedNode(XSD + "dateTime"))
    for iri, document in batch.items():
        if document is None:
            raise RequestError(
                f"{shorten(iri, base)} cannot be retracted and deleted at once; a retraction keeps it: send it, or an empty POST",
                document=iri,
            )
        if base.kind_of(iri) != "article":
            raise RequestError(
                f"{shorten(iri, base)} is no article, and only articles are retracted; correct it, or delete it",
                document=iri,
            )
        moment, before = _of(there.get(iri))
        subject = ox.NamedNode(iri)
        statements = [triple for triple in document.triples if not _is_retraction(triple, iri)]
        statements += [
            ox.Triple(subject, ox.NamedNode(RETRACTED_AT), now if before != reason or moment is None else moment),
            ox.Triple(subject, ox.NamedNode(REASON), ox.Literal(reason)),
        ]
        result[iri] = documents.document(iri, statements)
    return result


def _of(document: Document | None) -> tuple[ox.Literal | None, str | None]:
    """When and why a document says that it was retracted."""
    moment, reason = None, None
    for triple in document.triples if document is not None else ():
        if _is_retraction(triple, document.iri if document is not None else "") and isinstance(
            triple.object, ox.Literal
        ):
            if triple.predicate.value == RETRACTED_AT:
                moment = triple.object
            else:
                reason = triple.object.value
    return moment, reason


def _is_retraction(triple: ox.Triple, iri: str) -> bool:
    return (
        triple.predicate.value in (RETRACTED_AT, REASON)
        and isinstance(triple.subject, ox.NamedNode)
        and triple.subject.value == iri
    )
