"""What things, parts of documents, properties and values are called on the pages about changes and verdicts.

Hides where a name comes from: from the documents at hand, which may be states long past or candidates that nobody has stored, or
from the names of all documents. Promises words of people, a language with each name, and an address where there is something to
read; and one look-up for all the names of the documents at hand.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pyoxigraph as ox

from kg import documents, history
from kg.asking import Desk
from kg.documents import Document
from kg.terms import EKG, ORG, PREFIXES, RDF_TYPE, RDFS, RDFS_LABEL, SCHEMA, SKOS, XSD, language_rank, shorten
from kg.web.reading import day, labels_of_document, span_of
from kg.web.vocabulary import name_of_term

_OA, _GEO = PREFIXES["oa"], PREFIXES["geo"]

#: Properties of other vocabularies in the words of readers; the rest are called by their names.
_PROPERTIES = {
    RDF_TYPE: "kind",
    RDFS_LABEL: "name",
    RDFS + "comment": "note",
    SKOS + "altLabel": "other name",
    SCHEMA + "text": "text",
    SCHEMA + "datePublished": "published",
    SCHEMA + "inLanguage": "language",
    SCHEMA + "isBasedOn": "based on",
    SCHEMA + "sameAs": "the same as",
    SCHEMA + "url": "address",
    SCHEMA + "containedInPlace": "lies in",
    ORG + "member": "held by",
    ORG + "organization": "post at",
    _OA + "exact": "words",
    _OA + "prefix": "words before",
    _OA + "suffix": "words after",
    _OA + "start": "from character",
    _OA + "end": "to character",
    _OA + "hasSource": "quoted from",
    _OA + "hasSelector": "place in the text",
    _GEO + "hasGeometry": "geometry",
    _GEO + "asWKT": "coordinates",
}

#: Steps to a value that say nothing where more steps follow.
_SILENT = {_OA + "hasSelector", _GEO + "hasGeometry"}

#: Classes that say less than the ones below them, the least telling last.
_GENERAL = ("SpeechAct", "Organization", "Event", "Actor")

#: Parts that are of an act, by what leads from it to them, and what they are called.
_OF_AN_ACT = {"evidence": "quotation", "time": "time"}

#: Words that are compared one by one; of longer texts it is only told that they differ.
_WORDS = 1_500


#: Values by the properties that lead to them, of each node that has a name.
_Leaves = dict[object, dict[tuple[str, ...], set[object]]]


@dataclass(frozen=True)
class Said:
    """A name or value: its text, its language, and where it leads. `pieces` are those of a text, each with whether it differs."""

    text: str
    language: str | None = None
    href: str | None = None
    quoted: bool = False
    code: bool = False
    pieces: tuple[tuple[str, bool], ...] = ()


class Wording:
    """Names for pages in the languages that a reader prefers; those of the documents at hand are what these say themselves."""

    def __init__(self, desk: Desk, languages: Sequence[str], at_hand: Iterable[Document] = ()) -> None:
        self._desk = desk
        self._base = desk.library.base
        self._home = urlsplit(self._base.iri).path
        self._languages = languages
        self._at_hand = list(at_hand)
        self._of: dict[str, list[ox.Triple]] = {}
        self._acts: dict[str, tuple[str, str]] = {}
        self._told = {it.iri for it in self._at_hand}
        for it in self._at_hand:
            self._learn(it)

    def _learn(self, it: Document) -> None:
        known = set(self._of)  # of two states of one document the first counts, for parts that both have
        for triple in it.triples:
            if not isinstance(triple.subject, ox.NamedNode) or triple.subject.value in known:
                continue
            self._of.setdefault(triple.subject.value, []).append(triple)
            name = triple.predicate.value.removeprefix(EKG)
            if name in _OF_AN_ACT and isinstance(triple.object, ox.NamedNode):
                self._acts.setdefault(triple.object.value, (triple.subject.value, _OF_AN_ACT[name]))

    @functools.cached_property
    def _documents(self) -> dict[str, Said]:
        """The names of the documents at hand and of all to which they refer."""
        objects = {t.object.value for it in self._at_hand for t in it.triples if isinstance(t.object, ox.NamedNode)}
        owners = {owner for iri in objects if (owner := self._base.document_of(iri))}
        names = self.documents(owners)
        return names | {it.iri: self.own_name(it) for it in reversed(self._at_hand)}

    def own_name(self, it: Document) -> Said:
        """What a document calls itself, which it need not do any more; else the end of its address."""
        label = next(iter(labels_of_document(it, self._languages)), None)
        if label is None:
            return Said(it.iri.rpartition("/")[2], href=self._address(it.iri))
        return Said(label.value, label.language, self._address(it.iri))

    def documents(self, iris: Iterable[str]) -> dict[str, Said]:
        """What each of these documents is called now; what is called nothing, by its address."""
        labels = self._desk.names.labels(iris, self._languages)
        return {iri: Said(label.text, label.language, self._address(iri)) for iri, label in labels.items()}

    def _address(self, iri: str) -> str:
        place, hash, part = iri.removeprefix(self._base.iri).partition("#")
        return f"{self._home}{place}.html{hash}{part}"

    def thing(self, iri: str) -> Said:
        """What anything with an IRI is called: a document, a part of one, a term of the vocabulary, an address elsewhere."""
        owner = self._base.document_of(iri)
        if owner is not None:
            name = self._documents.get(owner) or self.documents([owner])[owner]
            if owner == iri:
                return name
            part = self.part(iri)
            there = part if owner in self._told else f"{part}, in “{name.text}”"
            return Said(there, href=self._address(iri))
        if iri.startswith(EKG):
            return Said(name_of_term(iri), href=f"{self._home}ns.html#{iri.removeprefix(EKG)}")
        short = shorten(iri)
        return Said(short, href=iri if short == iri and iri.startswith(("http://", "https://")) else None)

    def part(self, iri: str) -> str:
        """What a part of a document is called: by its label or post, by what it is and whose, or by its number."""
        owner = self._base.document_of(iri)
        if iri not in self._of and owner is not None and owner not in self._told:
            found = self._desk.library.read(owner)
            if found is not None:
                self._learn(found[0])
        triples = self._of.get(iri, [])
        for wanted in (RDFS_LABEL, EKG + "post"):
            names = [t.object for t in triples if t.predicate.value == wanted and isinstance(t.object, ox.Literal)]
            if names:
                return min(names, key=lambda it: (language_rank(it.language, self._languages), it.value)).value
        if iri in self._acts and self._acts[iri][0] not in self._acts:
            act, name = self._acts[iri]
            return f"{name} of the {self.part(act)}" if EKG + "speaker" in self._properties(act) else name
        kind = self.kind(triples) or "part"
        speakers = [
            self.thing(t.object.value).text
            for t in triples
            if t.predicate.value == EKG + "speaker" and isinstance(t.object, ox.NamedNode) and "#" not in t.object.value
        ]
        if speakers:
            return f"{kind} by {' and '.join(speakers)}"
        times = {
            t.predicate.value.removeprefix(EKG): t.object.value for t in triples if isinstance(t.object, ox.Literal)
        }
        return span_of(times) or f"{kind} {iri.partition('#')[2]}"

    def _properties(self, iri: str) -> set[str]:
        return {triple.predicate.value for triple in self._of.get(iri, [])}

    def kind(self, triples: Iterable[ox.Triple]) -> str:
        """What something is, from what is said of it: the most telling of its classes."""
        names = [
            t.object.value.removeprefix(EKG)
            for t in triples
            if t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode)
        ]
        telling = [name for name in names if name not in _GENERAL] or [name for name in _GENERAL if name in names]
        return name_of_term(EKG + telling[0]).lower() if telling else ""

    def value(self, term: object) -> Said:
        """A value as people write it."""
        if isinstance(term, ox.Literal):
            kind = term.datatype.value
            if kind in (XSD + "date", XSD + "dateTime"):
                return Said(day(term.value))
            return Said(term.value, term.language, code=kind.endswith("wktLiteral") or term.value.startswith("sha256:"))
        if isinstance(term, ox.NamedNode):
            return self.thing(term.value)
        return Said("a part without a name")


def property_name(path: Sequence[str]) -> str:
    """What leads to a value, step by step, in words."""
    telling = [step for step in path[:-1] if step not in _SILENT] + list(path[-1:])
    return ", ".join(_PROPERTIES.get(step) or name_of_term(step) for step in telling)


def told_apart(old: Said, new: Said) -> tuple[Said, Said]:
    """Two texts, each in pieces that say which of its words the other has not; as they are where they have little in common."""
    before, after = (re.findall(r"\s+|\w+|[^\w\s]", it.text) for it in (old, new))
    if old.href or new.href or old.code or new.code or max(len(before), len(after)) > _WORDS:
        return old, new
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < 0.5:
        return old, new
    pieces: tuple[list[tuple[str, bool]], list[tuple[str, bool]]] = ([], [])
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        for into, text in ((pieces[0], before[start:end]), (pieces[1], after[other_start:other_end])):
            if text:
                into.append(("".join(text), tag != "equal"))
    return replace(old, pieces=tuple(pieces[0])), replace(new, pieces=tuple(pieces[1]))


def _leaves(triples: Iterable[ox.Triple]) -> _Leaves:
    """What is said of each node that has a name: values by the properties that lead to them, through parts without names."""
    of: dict[object, list[ox.Triple]] = {}
    for triple in triples:
        of.setdefault(triple.subject, []).append(triple)
    within = {t.object for found in of.values() for t in found if isinstance(t.object, ox.BlankNode)}

    def collect(node: object, path: tuple[str, ...], into: dict[tuple[str, ...], set[object]]) -> None:
        for triple in of.get(node, []):
            further = (*path, triple.predicate.value)
            if isinstance(triple.object, ox.BlankNode) and triple.object in of:
                collect(triple.object, further, into)
            else:
                into.setdefault(further, set()).add(triple.object)

    found: _Leaves = {}
    for subject in of:
        if subject not in within:
            collect(subject, (), found.setdefault(subject, {}))
    return found


@dataclass(frozen=True)
class Row:
    """What was said with one property and is no more, and what is said with it now."""

    name: str
    removed: tuple[Said, ...]
    added: tuple[Said, ...]


@dataclass(frozen=True)
class Part:
    """A part of a document that differs. `fate` is whether it was added, removed, or changed; `anchor` is empty for the whole."""

    anchor: str
    title: str
    fate: str
    rows: tuple[Row, ...]


def parts_that_differ(
    document: str, before: Document | None, after: Document | None, wording: Wording, limit: int
) -> list[Part]:
    """The first `limit` parts of a document by which one state differs from the other, in reading order; None is a state without
    the document.

    A part without a name is told with the part that leads to it, down to the values that differ.
    """
    changed = history.difference(document, before, after)
    old, new = (_leaves(documents.in_reading_order(it) if it else ()) for it in (before, after))
    parts = _compared(document, old, new, wording, limit)
    if changed and not parts:  # values changed places among parts without names: these are told whole
        parts = _compared(document, _leaves(changed.removed), _leaves(changed.added), wording, limit)
    return parts


def _compared(document: str, before: _Leaves, after: _Leaves, wording: Wording, limit: int) -> list[Part]:
    parts: list[Part] = []
    for subject in dict.fromkeys([*after, *before]):
        if len(parts) == limit:
            break
        old, new = before.get(subject, {}), after.get(subject, {})
        fate = "changed" if old and new else "added" if new else "removed"
        rows = []
        for path in dict.fromkeys([*new, *old]):
            if fate != "changed" and len(path) > 1 and path[-1] == RDF_TYPE:
                continue  # what kind of selector or geometry it is
            gone, come = old.get(path, set()) - new.get(path, set()), new.get(path, set()) - old.get(path, set())
            if gone or come:
                rows.append(_row(path, gone, come, wording))
        if rows:
            iri = subject.value if isinstance(subject, ox.NamedNode) else ""
            title = "" if iri == document else wording.part(iri) if iri else "a part without a name"
            parts.append(Part(iri.partition("#")[2], title, fate, tuple(rows)))
    return parts


def _row(path: tuple[str, ...], gone: set[object], come: set[object], wording: Wording) -> Row:
    removed, added = (sorted((wording.value(term) for term in side), key=lambda it: it.text) for side in (gone, come))
    if path[-1] in (_OA + "exact", _OA + "prefix", _OA + "suffix"):
        removed, added = ([replace(it, quoted=True) for it in side] for side in (removed, added))
    if len(removed) == len(added) == 1:
        removed[0], added[0] = told_apart(removed[0], added[0])
    return Row(property_name(path), tuple(removed), tuple(added))
