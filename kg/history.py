"""The past as data: what changed between two states, which states there were, who made them, and the stream of all of them.

Hides three vocabularies: PROV-O for where a revision comes from, LDES with TREE for the stream, link format for TimeMaps. Knows no
HTTP and reads nothing by itself: revisions and documents in, triples and text out. Promises that what it says of a revision
never changes, so that it may be kept for ever.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pyoxigraph as ox

from kg import documents
from kg.documents import Document
from kg.errors import RequestError
from kg.journal import Revision
from kg.terms import PREFIXES, RDF, RDF_TYPE, RDFS_LABEL, SCHEMA, SKOS, XSD, Base, shorten

Term = ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple

_PROV, _DCTERMS = PREFIXES["prov"], PREFIXES["dcterms"]
_LDES = "https://w3id.org/ldes#"
_TREE = "https://w3id.org/tree#"
_AS = "https://www.w3.org/ns/activitystreams#"

#: Revisions on one page of the stream; a page with so many is closed.
PAGE = 250


def version(revision: Revision) -> str:
    """The IRI of the state that a revision made; it leads to that state in any form."""
    return f"{revision.document}?revision={revision.seq}"


def activity(seq: int, base: Base) -> str:
    """The IRI of the making of a revision."""
    return f"{base}revision/{seq}"


def document_named(text: str, base: Base) -> str:
    """The IRI of the document that a person means by its IRI or by its kind and slug, `actor/russia`. Raises `RequestError`."""
    iri = text if text.startswith(("http://", "https://")) else base.iri + text.strip("/")
    found = base.document_of(iri)
    if found is None:
        raise RequestError(
            f"{text} names no document here; write {base}actor/russia, or actor/russia for short", name=text
        )
    return found


# Differences


@dataclass(frozen=True)
class Difference:
    """The triples by which one state of a document differs from another, in reading order."""

    document: str
    removed: tuple[ox.Triple, ...]
    added: tuple[ox.Triple, ...]

    def __bool__(self) -> bool:
        return bool(self.removed or self.added)


def difference(document: str, before: Document | None, after: Document | None) -> Difference:
    """What changed from one state to the other; None is a document that is not there.

    Blank nodes are named by what they hold, so that one which is changed within is removed and added whole, and the others stay.
    """
    old = set(before.content.splitlines(keepends=True)) if before else set()
    new = set(after.content.splitlines(keepends=True)) if after else set()

    def ordered(lines: set[bytes]) -> tuple[ox.Triple, ...]:
        return tuple(documents.in_reading_order(Document(document, b"".join(sorted(lines)))))

    return Difference(document, ordered(old - new), ordered(new - old))


def in_words(found: Difference, base: Base) -> Iterator[str]:
    """A difference as lines for people: `- ` and `+ ` before triples in the manner of Turtle, IRIs relative to the base.

    A blank node stands within the triple that leads to it. Nothing in the lines is a control character.
    """
    sides = {"-": found.removed, "+": found.added}
    within: dict[str, dict[Term, list[ox.Triple]]] = {}
    nested: set[tuple[str, Term]] = set()
    for sign, triples in sides.items():
        within[sign] = {}
        for t in triples:
            within[sign].setdefault(t.subject, []).append(t)
            if isinstance(t.object, ox.BlankNode):
                nested.add((sign, t.object))
    lines = b"".join(sorted({f"{t} .\n".encode() for triples in sides.values() for t in triples}))
    signs = {sign: set(triples) for sign, triples in sides.items()}
    in_order = documents.in_reading_order(Document(found.document, lines))
    for _, group in itertools.groupby(in_order, key=lambda t: (t.subject, t.predicate)):
        alike = list(group)
        for sign in sides:
            for t in alike:
                if t in signs[sign] and (sign, t.subject) not in nested:
                    subject, predicate = _written(t.subject, {}, base), _predicate(t.predicate, base)
                    yield f"{sign} {subject} {predicate} {_written(t.object, within[sign], base)} ."


def _predicate(term: ox.NamedNode, base: Base) -> str:
    return "a" if term.value == RDF_TYPE else _written(term, {}, base)


def _written(term: Term, within: Mapping[Term, Sequence[ox.Triple]], base: Base) -> str:
    if isinstance(term, ox.BlankNode) and term in within:
        parts = (f"{_predicate(t.predicate, base)} {_written(t.object, within, base)}" for t in within[term])
        return f"[ {' ; '.join(parts)} ]"
    if isinstance(term, ox.NamedNode):
        if base.holds(term.value):
            return f"<{term.value.removeprefix(base.iri)}>"
        short = shorten(term.value)
        return short if short != term.value else str(term)
    if isinstance(term, ox.Literal) and term.datatype.value not in (XSD + "string", RDF + "langString"):
        return f"{_written(ox.Literal(term.value), {}, base)}^^{_written(term.datatype, {}, base)}"
    # Control characters and those that turn the direction of writing must not reach a terminal.
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04X}" if ord(c) < 0x10000 else f"\\U{ord(c):08X}" for c in str(term)
    )


def as_quads(found: Difference, name: str) -> Iterator[ox.Quad]:
    """A difference as two graphs, `{name}#removed` and `{name}#added`."""
    for part, triples in (("removed", found.removed), ("added", found.added)):
        graph = ox.NamedNode(f"{name}#{part}")
        yield from (ox.Quad(t.subject, t.predicate, t.object, graph) for t in triples)


def told(revision: Revision | None, document: str, base: Base) -> str:
    """A state in one line: which, from when, by whom."""
    name = shorten(document, base)
    if revision is None:
        return f"{name}, not there yet"
    agent = "".join(c for c in revision.agent if c.isprintable())
    gone = ", withdrawn" if revision.digest is None else ""
    return f"{name}, revision {revision.seq}, {stamp(revision.time)}, {revision.change} by {agent}{gone}"


# Where revisions come from


def provenance(revision: Revision, base: Base) -> Iterator[ox.Triple]:
    """Where one revision comes from (PROV-O): an activity, with its agent, its time, its kind and note, and the version that it
    generated or, where it withdrew the document, the one that it ended."""
    iri = activity(revision.seq, base)
    by = iri + "#agent"
    moment = _moment(revision.time)
    yield from _about(
        iri,
        (RDF_TYPE, _iri(_PROV + "Activity")),
        (_PROV + "startedAtTime", moment),
        (_PROV + "endedAtTime", moment),
        (_PROV + "wasAssociatedWith", _iri(by)),
        (_DCTERMS + "type", ox.Literal(revision.change)),
        *([(SKOS + "changeNote", ox.Literal(revision.note))] if revision.note else []),
    )
    previous = None if revision.previous is None else f"{revision.document}?revision={revision.previous}"
    if revision.digest is not None:
        yield from _about(iri, (_PROV + "generated", _iri(version(revision))))
        yield from _version(revision, base)
    elif previous is not None:
        yield from _about(iri, (_PROV + "invalidated", _iri(previous)))
        yield from _about(
            previous,
            (RDF_TYPE, _iri(_PROV + "Entity")),
            (_PROV + "specializationOf", _iri(revision.document)),
            (_PROV + "invalidatedAtTime", moment),
        )
    yield from _about(by, (RDF_TYPE, _iri(_PROV + "Agent")), (RDFS_LABEL, ox.Literal(revision.agent)))


def _version(revision: Revision, base: Base) -> Iterator[ox.Triple]:
    previous = f"{revision.document}?revision={revision.previous}"
    yield from _about(
        version(revision),
        (RDF_TYPE, _iri(_PROV + "Entity")),
        (_PROV + "specializationOf", _iri(revision.document)),
        (_PROV + "wasGeneratedBy", _iri(activity(revision.seq, base))),
        (_PROV + "generatedAtTime", _moment(revision.time)),
        (SCHEMA + "sha256", ox.Literal(revision.digest or "")),
        *([(_PROV + "wasRevisionOf", _iri(previous))] if revision.previous is not None else []),
    )


# The stream of all revisions


def page_of(seq: int) -> int:
    """The number of the page on which a revision stands; pages count from 1."""
    return (seq - 1) // PAGE + 1


def stream(base: Base) -> Iterator[ox.Triple]:
    """What the stream of all revisions says of itself (LDES 1.0): how its members tell their time, their order, what they are
    versions of, and whether they create, update or delete."""
    here = f"{base}changes"
    yield from _about(
        here,
        (RDF_TYPE, _iri(_LDES + "EventStream")),
        (_DCTERMS + "title", ox.Literal("All revisions of all documents", language="en")),
        (_DCTERMS + "license", _iri("https://creativecommons.org/licenses/by/4.0/")),
        (_LDES + "timestampPath", _iri(_DCTERMS + "created")),
        (_LDES + "sequencePath", _iri(SCHEMA + "position")),
        (_LDES + "versionOfPath", _iri(_DCTERMS + "isVersionOf")),
        *(
            pair
            for kind in ("Create", "Update", "Delete")
            for pair in (
                (f"{_LDES}version{kind}Path", _iri(RDF_TYPE)),
                (f"{_LDES}version{kind}Object", _iri(_AS + kind)),
            )
        ),
        (_TREE + "view", _iri(f"{here}?page=1")),
    )


def page(number: int, members: Sequence[tuple[Revision, Document | None]], base: Base) -> Iterator[ox.Triple | ox.Quad]:
    """A page of the stream. What is said of members stands in the default graph; what a version says, in a graph named by it.

    A full page leads to the next, whether or not there is anything on it yet: so it never changes.
    """
    here, this = f"{base}changes", f"{base}changes?page={number}"
    yield from stream(base)
    yield from _about(this, (RDF_TYPE, _iri(_TREE + "Node")))
    if len(members) == PAGE:
        relation = ox.BlankNode("next")
        yield ox.Triple(_iri(this), _iri(_TREE + "relation"), relation)
        for name, value in (
            (RDF_TYPE, _iri(_TREE + "GreaterThanOrEqualToRelation")),
            (_TREE + "node", _iri(f"{here}?page={number + 1}")),
            (_TREE + "path", _iri(_DCTERMS + "created")),
            (_TREE + "value", _moment(members[-1][0].time)),
        ):
            yield ox.Triple(relation, _iri(name), value)
    for revision, document in members:
        yield from _about(here, (_TREE + "member", _iri(version(revision))))
        yield from _member(revision, base)
        graph = _iri(version(revision))
        if document is not None:
            yield from (ox.Quad(t.subject, t.predicate, t.object, graph) for t in document.triples)


def _member(revision: Revision, base: Base) -> Iterator[ox.Triple]:
    kind = "Delete" if revision.digest is None else "Create" if revision.previous is None else "Update"
    yield from _about(
        version(revision),
        (RDF_TYPE, _iri(_AS + kind)),
        (_DCTERMS + "isVersionOf", _iri(revision.document)),
        (_DCTERMS + "created", _moment(revision.time)),
        (SCHEMA + "position", ox.Literal(str(revision.seq), datatype=_iri(XSD + "integer"))),
        (_DCTERMS + "type", ox.Literal(revision.change)),
        *([(SKOS + "changeNote", ox.Literal(revision.note))] if revision.note else []),
        (_PROV + "wasGeneratedBy", _iri(activity(revision.seq, base))),
    )


def write(statements: Iterable[ox.Triple | ox.Quad], syntax: documents.Syntax) -> bytes:
    """Statements as they come, in any syntax, with those of the common prefixes, and of the stream's, that they use."""
    prefixes = {**PREFIXES, "ldes": _LDES, "tree": _TREE, "as": _AS}
    quads = (s if isinstance(s, ox.Quad) else ox.Quad(s.subject, s.predicate, s.object) for s in statements)
    found = quads if syntax.graphs else (quad.triple for quad in quads)
    written = ox.serialize(found, format=syntax.rdf_format, prefixes=prefixes)
    assert written is not None  # None only where an output is given
    if syntax not in (documents.TURTLE, documents.TRIG):
        return written
    body = written
    while body.startswith(b"@prefix "):
        body = body.partition(b"\n")[2]
    used = {name.decode() for name in re.findall(rb"\b([a-z]+):", body)}
    head = "".join(f"@prefix {name}: <{iri}> .\n" for name, iri in prefixes.items() if name in used)
    return head.encode() + body


# Which states there were


@dataclass(frozen=True)
class TimeMap:
    """The states of one document in order, or some of them: deletions are no states (RFC 7089, section 5).

    `address` is that of the list, `beyond` that of the rest of it, where there is more.
    """

    document: str
    address: str
    states: tuple[Revision, ...]
    beyond: str | None = None

    def link_format(self) -> str:
        """The list as links (RFC 7089, section 5; RFC 6690)."""
        span = (
            f'; from="{http_date(self.states[0].time)}"; until="{http_date(self.states[-1].time)}"'
            if self.states
            else ""
        )
        lines = [
            f'<{self.document}>; rel="original timegate"',
            f'<{self.address}>; rel="self"; type="application/link-format"{span}',
        ]
        lines += [f'<{self.beyond}>; rel="timemap"; type="application/link-format"'] if self.beyond else []
        for place, state in enumerate(self.states):
            ends = ["first"] * (state.previous is None and place == 0)
            ends += ["last"] * (place == len(self.states) - 1 and self.beyond is None)
            rel = " ".join([*ends, "memento"])
            lines.append(f'<{memento(state)}>; rel="{rel}"; datetime="{http_date(state.time)}"')
        return ",\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """The list as archives give it in JSON, with what the journal knows of each state."""
        states = [
            {
                "datetime": stamp(state.time),
                "uri": memento(state),
                "revision": state.seq,
                "agent": state.agent,
                "change": state.change,
                "note": state.note,
                "digest": f"sha256:{state.digest}",
            }
            for state in self.states
        ]
        result: dict[str, Any] = {
            "original_uri": self.document,
            "self": self.address,
            "timegate_uri": self.document,
            "mementos": {"list": states},
        }
        if self.beyond:
            result["next"] = self.beyond
        return result


def memento(state: Revision, suffix: str = "ttl") -> str:
    """The address of a state in a form."""
    return f"{state.document}.{suffix}?revision={state.seq}"


def http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def stamp(moment: datetime) -> str:
    """A moment to the second, as in `2026-11-22T18:30:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _iri(text: str) -> ox.NamedNode:
    return ox.NamedNode(text)


def _moment(moment: datetime) -> ox.Literal:
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return ox.Literal(text, datatype=_iri(XSD + "dateTime"))


def _about(subject: str, *pairs: tuple[str, ox.NamedNode | ox.Literal]) -> Iterator[ox.Triple]:
    for name, value in pairs:
        yield ox.Triple(_iri(subject), _iri(name), value)
