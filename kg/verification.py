"""Whether a journal holds what it should, and an article quotes what its text says: what is wrong, in words.

Hides what there is to compare. Promises that nothing is changed, that one state is looked at whatever others write meanwhile, and
that memory does not grow with the history. What it finds are sentences; none of them means that all is well.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import pyoxigraph as ox

from kg.documents import Document
from kg.errors import StorageError
from kg.gate import faces
from kg.journal import CHANGES, Journal, Revision, encode_face, unpack
from kg.terms import EKG, PREFIXES, RDF_TYPE, shorten

#: Called with how much is done, and of how much.
Progress = Callable[[int, int], None]

_OA = PREFIXES["oa"]


def silent(done: int, of: int) -> None:
    """No progress is told."""


# The journal


def verify_journal(journal: Journal, progress: Progress = silent) -> Iterator[str]:
    """What is wrong in the file, in the chain of revisions, in any content, and in the tables of the present, which the contents
    tell anew."""
    try:
        with journal.still() as still:
            yield from (f"SQLite says of {journal.path.name}: {complaint}" for complaint in still.complaints())
            yield from _broken_chain(still)
            yield from _wrong_documents(still, progress)
            for target, document in still.dangling():
                yield f"{document} refers to {target}, which no document describes"
    except (StorageError, ValueError) as error:
        yield f"the journal cannot be read to its end: {error}"


def _broken_chain(journal: Journal) -> Iterator[str]:
    """Revisions are numbered without a gap, in time, and each batch is whole."""
    before: Revision | None = None
    for revision in journal.revisions():
        number = revision.seq
        if number != (before.seq if before else 0) + 1:
            yield f"revision {(before.seq if before else 0) + 1} is missing; the next there is has the number {number}"
        if before and before.batch > before.seq:
            if revision.batch != before.batch:
                yield f"batch {before.batch} is there in part: it breaks off after revision {before.seq}"
            elif (revision.time, revision.agent) != (before.time, before.agent):
                yield f"revision {number} has another time or agent than the rest of batch {revision.batch}"
        if revision.batch < number:
            yield f"revision {number} says that it is of batch {revision.batch}, which was over by then"
        if before and revision.time < before.time:
            yield f"revision {number} is of {revision.time:%Y-%m-%dT%H:%M:%SZ}, earlier than the one before it"
        if revision.change not in CHANGES:
            yield f"revision {number} is of no known kind of change: {revision.change}"
        if journal.base.document_of(revision.document) != revision.document:
            yield f"revision {number} is of {revision.document}, which is no name for a document under {journal.base}"
        before = revision
    if before and before.batch != before.seq:
        yield f"batch {before.batch} is there in part: it breaks off after revision {before.seq}"


def _wrong_documents(journal: Journal, progress: Progress) -> Iterator[str]:
    """Each content has its digest, each revision follows the one it names, and the tables of the present say what the contents do."""
    census: Counter[tuple[str, str]] = Counter()
    done, of = 0, journal.last()
    history: Iterator[tuple[str, str, Any]] = ((r.document, "history", (r, p)) for r, p in journal.history_of_all(True))
    tables: Iterator[tuple[str, str, Any]] = ((name, "present", said) for name, *said in journal.present())
    rows = heapq.merge(history, tables, key=itemgetter(0))
    for name, group in itertools.groupby(rows, key=itemgetter(0)):
        last: Revision | None = None
        document: Document | None = None
        present: tuple[Any, ...] = (None, {}, set())
        for _, kind, found in group:
            if kind == "present":
                present = found
                continue
            revision, packed = found
            expected = last.seq if last is not None and last.digest is not None else None
            if revision.previous != expected:
                yield (
                    f"revision {revision.seq} of {name} says that it follows {_numbered(revision.previous)}, not {_numbered(expected)}"
                )
            last = revision
            try:
                document = None if packed is None else unpack(name, packed)
            except StorageError as error:
                yield f"revision {revision.seq}: {error.detail}"
                document = None
            else:
                if (document and document.digest) != revision.digest:
                    yield f"revision {revision.seq} of {name} does not have the content whose digest it bears"
            progress(done := done + 1, of)
        if document is not None:
            census.update(document.census() + Counter([("document", journal.base.kind_of(name))]))
        yield from _wrong_present(name, last, document, present, journal)
    counted = {key: count for key, count in census.items() if count}
    if counted != journal.census()[2]:
        yield "the census of what all documents hold is not that of what they hold"


def _wrong_present(
    name: str, last: Revision | None, document: Document | None, present: tuple[Any, ...], journal: Journal
) -> Iterator[str]:
    head, face, references = present
    expected = last.seq if last is not None and last.digest is not None else None
    if head != expected:
        yield f"the newest revision of {name} is {_numbered(expected)}, and the table of newest revisions has {_numbered(head)}"
    if document is None and expected is not None:
        return  # it could not be read, which has been told
    if face != ({} if document is None else {node: encode_face(said) for node, said in faces(document).items()}):
        yield f"the table of nodes does not have those of {name} as its content has them"
    if references != (set() if document is None else document.references(journal.base)):
        yield f"the table of references does not have those of {name} as its content has them"


def _numbered(seq: int | None) -> str:
    return "none" if seq is None else f"revision {seq}"


# Evidence


def verify_evidence(article: Document, text: str) -> Iterator[str]:
    """What in an article's evidence does not agree with its text: digest, quotations, what stands around them, offsets.

    Offsets count code points of the text in NFC; a byte order mark and the line breaks that an editor puts at the end are not of it.
    """
    of: dict[Any, dict[str, list[Any]]] = {}
    for triple in article.triples:
        of.setdefault(triple.subject, {}).setdefault(triple.predicate.value, []).append(triple.object)
    text = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    stated = {digest.value for digest in of.get(ox.NamedNode(article.iri), {}).get(EKG + "textDigest", [])}
    if text_digest(text) not in stated:
        text = text.rstrip("\r\n")
    if not stated:
        yield f"{article.iri} has no ekg:textDigest; that of this text is {text_digest(text)}"
    for digest in stated - {text_digest(text)}:
        yield f"ekg:textDigest is {digest}, that of this text is {text_digest(text)}: it is another text, or another version of it"
    for node, said in of.items():
        if ox.NamedNode(EKG + "Evidence") not in said.get(RDF_TYPE, []):
            continue
        selectors = [of.get(selector, {}) for selector in said.get(_OA + "hasSelector", [])]
        for wrong in _wrong_selectors(selectors, text):
            yield f"{shorten(node.value).removeprefix(article.iri)}: {wrong}"


def text_digest(text: str) -> str:
    """The digest of a text as `ekg:textDigest` has it."""
    return "sha256:" + hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()


def _wrong_selectors(selectors: Iterable[Mapping[str, list[Any]]], text: str) -> Iterator[str]:
    quotes, positions = [], []
    for selector in selectors:
        if _OA + "exact" in selector:
            quotes.append(tuple(_value(selector, name) for name in ("exact", "prefix", "suffix")))
        if _OA + "start" in selector and _OA + "end" in selector:
            positions.append((int(_value(selector, "start")), int(_value(selector, "end"))))
    for exact, prefix, suffix in quotes:
        places = list(_places(text, exact))
        if not places:
            yield f"“{exact}” is not in the text{_almost(text, exact)}"
            continue
        if (prefix or suffix) and not (
            places := [at for at in places if _stands_between(text, at, exact, prefix, suffix)]
        ):
            around = " and ".join([f"after “{prefix}”"] * bool(prefix) + [f"before “{suffix}”"] * bool(suffix))
            yield f"“{exact}” is in the text, but not {around}"
            continue
        if not positions and len(places) > 1:
            yield f"“{exact}” is in the text {len(places)} times; say which by oa:prefix, oa:suffix or offsets"
        for start, end in positions:
            if (start, end) not in [(at, at + len(exact)) for at in places]:
                right = " or ".join(f"{at} to {at + len(exact)}" for at in places[:3])
                yield f"the offsets {start} to {end} are of “{_clipped(text[start:end])}”; “{exact}” is at {right}"
    if not quotes:
        for start, end in positions:
            if not 0 <= start < end <= len(text):
                yield f"the offsets {start} to {end} are not in the text, which has {len(text)} characters"


def _value(selector: Mapping[str, list[Any]], name: str) -> str:
    values = selector.get(_OA + name, [])
    return unicodedata.normalize("NFC", values[0].value) if values else ""


def _places(text: str, exact: str) -> Iterator[int]:
    at = text.find(exact) if exact else -1
    while at >= 0:
        yield at
        at = text.find(exact, at + 1)


def _stands_between(text: str, at: int, exact: str, prefix: str, suffix: str) -> bool:
    return text.endswith(prefix, 0, at) and text.startswith(suffix, at + len(exact))


def _almost(text: str, exact: str) -> str:
    """Where only what one hardly sees differs, that it does."""
    if _plain(exact) in _plain(text):
        return ", save for spaces, line breaks, capitals, hyphens or the form of quotation marks; copy it from there"
    return ""


_PLAIN = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "’": "'", "‘": "'", "–": "-", "—": "-", "\u00ad": None}
)


def _plain(text: str) -> str:
    return " ".join(text.translate(_PLAIN).casefold().split())


def _clipped(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
