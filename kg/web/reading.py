"""A document made ready to be read: names in place of addresses, evidence and times within what they belong to.

Hides how the triples of a document become sections, acts, quotations and values with names in the reader's language.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox

from kg import documents
from kg.documents import Document
from kg.library import Library
from kg.terms import EKG, PREFIXES, RDF_TYPE, RDFS, RDFS_LABEL, SKOS, XSD, language_rank, shorten
from kg.web.vocabulary import name_of_term

_LABELS = (RDFS_LABEL, PREFIXES["schema"] + "text", SKOS + "prefLabel")

_OA = PREFIXES["oa"]

#: What a page says of an act in a sentence and in its quotations, and so need not list.
_OF_AN_ACT = {
    EKG + name
    for name in (
        *("speaker", "inRole", "onBehalfOf", "stance", "content", "reports", "evidence", "reportedIn", "time"),
        *("voice", "certainty", "extent", "evaluates", "invokes", "respondsTo", "sameActAs"),
    )
}

#: Classes that say less than the ones below them, the least telling last.
_GENERAL = ("SpeechAct", "Organization", "Event", "Actor")


def label_of(document: Document, languages: Sequence[str] = ("en",)) -> str:
    """The label of a document in the first of these languages that it has one in, else any; else its name."""
    labels = labels_of_document(document, languages)
    return labels[0].value if labels else re.split(r"[/#]", document.iri)[-1]


def language_of(document: Document, languages: Sequence[str]) -> str:
    """The languages of its page, for `Content-Language`: that of its title, and English for the rest."""
    labels = labels_of_document(document, languages)
    return ", ".join(dict.fromkeys([*(label.language for label in labels[:1] if label.language), "en"]))


def labels_of_document(document: Document, languages: Sequence[str]) -> list[ox.Literal]:
    subject = ox.NamedNode(document.iri)
    return _labels_in((t for t in document.triples if t.subject == subject), languages)


def _labels_in(triples: Iterable[ox.Triple], languages: Sequence[str] = ("en",)) -> list[ox.Literal]:
    """The labels that the triples of a node give it, those in the languages preferred first."""
    found = [
        (
            language_rank(t.object.language, languages),
            _LABELS.index(t.predicate.value),
            t.object.language or "",
            t.object.value,
            t.object,
        )
        for t in triples
        if t.predicate.value in _LABELS and isinstance(t.object, ox.Literal)
    ]
    return [label for *_, label in sorted(found, key=lambda item: item[:-1])]


def day(text: str) -> str:
    """A date or a moment in words, `26 April 2025`; what is neither, as it is."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?Z)?", text)
    if match is None or not 1 <= int(match[2]) <= 12:
        return text
    return f"{int(match[3])} {calendar.month_name[int(match[2])]} {match[1]}" + (
        f", {match[4]} UTC" if match[4] else ""
    )


@dataclass(frozen=True)
class Value:
    """A value on a page: text and where it leads; its language, its machine form, or what it consists of, where it has them."""

    text: str
    href: str | None = None
    language: str | None = None
    datetime: str | None = None
    code: bool = False
    parts: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    quotation: Quotation | None = None
    time: Time | None = None
    iri: str | None = None


@dataclass(frozen=True)
class Quotation:
    """Evidence: the words, what stands before and after them, and where in the text."""

    anchor: str
    words: str
    before: str
    after: str
    place: str


@dataclass(frozen=True)
class Time:
    """A time in words, as the text has it, and why it is taken so; its bounds as dates, empty where unknown."""

    anchor: str
    words: str
    surface: str
    why: tuple[Value, ...]
    bounds: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Act:
    """Who takes which stance on what, in which words. Kinds, stance, certainty, extent and voice are names of the vocabulary."""

    iri: str
    kinds: frozenset[str]
    stance: str
    certainty: str
    extent: str
    voice: str
    speakers: tuple[Value, ...]
    unnamed: bool
    roles: tuple[Value, ...]
    behalf: tuple[Value, ...]
    content: tuple[Value, ...]
    reports: tuple[Value, ...]
    evaluates: tuple[Value, ...]
    invokes: tuple[Value, ...]
    responds: tuple[Value, ...]
    same: tuple[Value, ...]
    time: tuple[Value, ...]
    quotations: tuple[Value, ...]


@dataclass(frozen=True)
class Section:
    """One subject of a document: the document itself, whose anchor is empty, or a part."""

    anchor: str
    title: str
    language: str | None
    types: tuple[str, ...]
    names: tuple[Value, ...]
    statements: tuple[tuple[str, tuple[Value, ...]], ...]
    notes: tuple[Value, ...]
    act: Act | None


class Reading:
    """One document made ready to be read: names in place of IRIs, evidence and times within what they belong to."""

    def __init__(self, library: Library, it: Document, languages: Sequence[str]) -> None:
        self._library = library
        self._it = it
        self._languages = languages
        self._documents: dict[str, Document | None] = {it.iri: it}
        self._of: dict[object, list[ox.Triple]] = {ox.NamedNode(it.iri): []}
        for triple in documents.in_reading_order(it):
            self._of.setdefault(triple.subject, []).append(triple)
        # A quotation or a time is shown where it is first referred to; elsewhere there is a link to that place.
        self._within: dict[object, object] = {}
        for triple in documents.in_reading_order(it):
            if (
                triple.object in self._of
                and triple.object != triple.subject
                and self._classes(triple.object) & {"Evidence", "Time"}
            ):
                self._within.setdefault(triple.object, triple.subject)

    def sections(self) -> list[Section]:
        """The document itself, then its parts in order, those aside that are shown within another."""
        subjects = [s for s in self._of if isinstance(s, ox.NamedNode) and s not in self._within]
        return [self._section(subject) for subject in subjects]

    def of_itself(self, predicate: str) -> tuple[Value, ...]:
        """The values that the document itself has for a property."""
        return self._values(ox.NamedNode(self._it.iri), predicate)

    def named(self, iri: str) -> Value:
        """A document or a part of one by its name, with where it leads."""
        return self._value(ox.NamedNode(iri), None)

    def address_of(self, iri: str) -> str:
        """Where a document or a part of one is to be had, from the first page on; as `Value.href` has it."""
        base = self._library.base
        return "/" + iri.removeprefix(base.iri) if base.holds(iri) else iri

    def span_of_times(self, values: Iterable[Value]) -> str:
        """The time from the earliest to the latest of these, in words; open where one of them is, empty where there is none."""
        bounds = [value.time.bounds for value in values if value.time and any(value.time.bounds)]
        if not bounds:
            return ""
        earliest, latest = zip(*bounds, strict=True)
        return span_of(
            {"earliest": min(earliest) if all(earliest) else "", "latest": max(latest) if all(latest) else ""}
        )

    def events_told(self, propositions: Iterable[Value]) -> tuple[tuple[Value, Value], ...]:
        """The events that these propositions are about, each with its time where that is known, in the order of their times."""
        found: dict[str, tuple[tuple[str, ...], Value, Value]] = {}
        for proposition in propositions:
            told = self.document(proposition.iri) if proposition.iri and "#" not in proposition.iri else None
            for t in told.triples if told else ():
                iri = _text(t.object)
                if t.predicate.value != EKG + "about" or iri in found or "#" in iri:
                    continue
                if not self._library.base.holds(iri) or self._library.base.kind_of(iri) != "event":
                    continue
                event = self.document(iri)
                if event is None:
                    continue
                of_time = time_of(event)
                bounds = tuple(filter(None, (of_time.get("earliest"), of_time.get("latest"))))
                found[iri] = (bounds or ("~",), self._value(t.object, told), Value(span_of(of_time)))
        return tuple((event, time) for _, event, time in sorted(found.values(), key=lambda item: item[0]))

    def _section(self, subject: ox.NamedNode) -> Section:
        triples = self._of[subject]
        labels = _labels_in(triples, self._languages)
        left_out = set(_LABELS) | {RDF_TYPE, RDFS + "comment"}
        act = None
        if "SpeechAct" in self._classes(subject):
            act = self._act(subject)
            left_out |= _OF_AN_ACT
        title = labels[0].value if labels else self._name(subject.value)
        return Section(
            anchor=subject.value.partition("#")[2],
            title=title,
            language=labels[0].language if labels else None,
            types=tuple(_types(triples)),
            names=tuple(self._value(label, subject) for label in labels[1:]),
            statements=self._statements(subject, left_out),
            notes=self._values(subject, RDFS + "comment"),
            act=act,
        )

    def _act(self, subject: ox.NamedNode) -> Act:
        def of(name: str) -> tuple[Value, ...]:
            return self._values(subject, EKG + name)

        def named(name: str) -> str:
            return next(
                (_text(t.object).removeprefix(EKG) for t in self._of[subject] if t.predicate.value == EKG + name), ""
            )

        return Act(
            iri=subject.value,
            kinds=frozenset(self._classes(subject)),
            **{name: named(name) for name in ("stance", "certainty", "extent", "voice")},
            speakers=of("speaker"),
            unnamed="UnnamedGroup" in self._kinds_of(of("speaker")),
            roles=of("inRole"),
            behalf=of("onBehalfOf"),
            content=of("content"),
            reports=of("reports"),
            evaluates=of("evaluates"),
            invokes=of("invokes"),
            responds=of("respondsTo"),
            same=of("sameActAs"),
            time=of("time"),
            quotations=of("evidence"),
        )

    def _statements(self, subject: object, left_out: Set[str]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
        by_predicate: dict[str, list[Value]] = {}
        for t in self._of.get(subject, []):
            if t.predicate.value not in left_out:
                by_predicate.setdefault(name_of_term(t.predicate.value), []).append(self._value(t.object, subject))
        # When comes first, as in the news.
        in_order = sorted(by_predicate.items(), key=lambda item: all(value.time is None for value in item[1]))
        return tuple((name, tuple(values)) for name, values in in_order)

    def _values(self, subject: object, predicate: str) -> tuple[Value, ...]:
        return tuple(
            self._value(t.object, subject) for t in self._of.get(subject, []) if t.predicate.value == predicate
        )

    def _value(self, term: Any, subject: object) -> Value:
        base = self._library.base
        if isinstance(term, ox.BlankNode):
            return Value("", parts=self._statements(term, {RDF_TYPE}))
        if isinstance(term, ox.Literal):
            kind = term.datatype.value
            if kind in (XSD + "date", XSD + "dateTime"):
                return Value(day(term.value), datetime=term.value)
            return Value(
                term.value, language=term.language, code=kind.endswith("wktLiteral") or term.value.startswith("sha256:")
            )
        iri = term.value
        if subject is not None and self._within.get(term) == subject:
            if "Evidence" in self._classes(term):
                return Value("", quotation=self._quotation(term))
            return Value("", time=self._time(term))
        if iri in self._it.subjects:
            return Value(self._name(iri), f"#{iri.partition('#')[2]}", iri=iri)
        if base.holds(iri):
            return Value(self._name(iri), "/" + iri.removeprefix(base.iri), self._language(iri), iri=iri)
        if iri.startswith(EKG):
            return Value(name_of_term(iri), "/ns.html#" + iri.removeprefix(EKG))
        return Value(shorten(iri), iri if iri.startswith(("http://", "https://")) else None)

    def _quotation(self, node: ox.NamedNode) -> Quotation:
        found: dict[str, str] = {}
        for selector in (t.object for t in self._of[node] if t.predicate.value == _OA + "hasSelector"):
            found.update({t.predicate.value.removeprefix(_OA): _text(t.object) for t in self._of.get(selector, [])})
        place = f"characters {found['start']} to {found['end']}" if {"start", "end"} <= found.keys() else ""
        anchor = node.value.partition("#")[2]
        return Quotation(anchor, found.get("exact", ""), found.get("prefix", ""), found.get("suffix", ""), place)

    def _time(self, node: ox.NamedNode) -> Time:
        found = {t.predicate.value.removeprefix(EKG): _text(t.object) for t in self._of[node]}
        anchor, surface = node.value.partition("#")[2], found.get("surface", "")
        bounds = (found.get("earliest", ""), found.get("latest", ""))
        return Time(anchor, span_of(found), surface, self._values(node, RDFS + "comment"), bounds)

    def _language(self, iri: str) -> str | None:
        """The language of the name of a document, where that is not English."""
        found = self.document(iri) if "#" not in iri else None
        labels = labels_of_document(found, self._languages) if found else []
        return labels[0].language if labels and labels[0].language != "en" else None

    def _name(self, iri: str) -> str:
        """What a page calls a document or a part of one, here or elsewhere."""
        owner = self._library.base.document_of(iri)
        found = self.document(owner) if owner else None
        if found is None:
            return shorten(iri, self._library.base)
        if "#" not in iri:
            return label_of(found, self._languages)
        triples = [t for t in found.triples if isinstance(t.subject, ox.NamedNode) and t.subject.value == iri]
        name = self._name_of_part(iri, triples)
        elsewhere = owner != self._it.iri and any(t.predicate.value == EKG + "speaker" for t in triples)
        return f"{name}, in “{label_of(found, self._languages)}”" if elsewhere else name

    def _name_of_part(self, iri: str, triples: list[ox.Triple]) -> str:
        """Its label or post; of an act, what it is and whose; of a time, the time; else what it is and its number."""
        posts = [t.object for t in triples if t.predicate.value == EKG + "post" and isinstance(t.object, ox.Literal)]
        in_order = sorted(posts, key=lambda post: (language_rank(post.language, self._languages), post.value))
        for label in [*_labels_in(triples, self._languages), *in_order]:
            return label.value
        types = _types(triples)
        kind = types[0] if types else "part"
        speakers = [
            self._name(t.object.value)
            for t in triples
            if t.predicate.value == EKG + "speaker" and isinstance(t.object, ox.NamedNode)
        ]
        if speakers:
            return f"{kind} by {' and '.join(speakers)}"
        span = span_of({t.predicate.value.removeprefix(EKG): _text(t.object) for t in triples})
        return span or f"{kind} {iri.partition('#')[2]}"

    def _kinds_of(self, values: Iterable[Value]) -> set[str]:
        """The classes of the documents that these values are."""
        found = [self.document(value.iri) for value in values if value.iri and "#" not in value.iri]
        return {
            _text(t.object).removeprefix(EKG)
            for document in found
            if document
            for t in document.triples
            if t.predicate.value == RDF_TYPE
        }

    def document(self, iri: str) -> Document | None:
        """A document by its IRI, this one or another as it is now."""
        if iri not in self._documents:
            found = self._library.read(iri)
            self._documents[iri] = found[0] if found else None
        return self._documents[iri]

    def _classes(self, node: object) -> set[str]:
        return {_text(t.object).removeprefix(EKG) for t in self._of.get(node, []) if t.predicate.value == RDF_TYPE}


def _text(term: object) -> str:
    return str(getattr(term, "value", term))


def span_of(found: Mapping[str, str]) -> str:
    """A time in words, from its bounds or, where it has none, as the text has it."""
    earliest, latest = day(found.get("earliest", "")), day(found.get("latest", ""))
    if earliest and latest:
        return earliest if earliest == latest else f"{earliest} to {latest}"
    if earliest or latest:
        return f"from {earliest}" if earliest else f"until {latest}"
    return found.get("edtf") or found.get("surface", "")


def time_of(event: Document) -> dict[str, str]:
    """What is known of the time of an event: its bounds, and how it was written."""
    subject = ox.NamedNode(event.iri)
    times = {t.object for t in event.triples if t.subject == subject and t.predicate.value == EKG + "time"}
    return {t.predicate.value.removeprefix(EKG): _text(t.object) for t in event.triples if t.subject in times}


def _types(triples: list[ox.Triple]) -> list[str]:
    names = [
        t.object.value.removeprefix(EKG)
        for t in triples
        if t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode)
    ]
    telling = [name for name in names if name not in _GENERAL] or [name for name in _GENERAL if name in names][:1]
    return [name_of_term(EKG + name) for name in telling]
