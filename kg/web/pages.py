"""Pages for people, and the addresses that describe the service: home, vocabulary, shapes, context, errors, health.

Hides templates and labels. Pages work without JavaScript and ask no other host for anything.
"""

from __future__ import annotations

import calendar
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox
from flask import Blueprint, Response, redirect, render_template, request

from kg import assets, documents, questions
from kg.documents import Document
from kg.errors import KgError, NotFound
from kg.journal import Revision
from kg.library import Library
from kg.terms import EKG, PREFIXES, RDF_TYPE, RDFS, RDFS_LABEL, SKOS, XSD, Base, shorten
from kg.web.negotiation import HTML, RDF_TYPES, choose, language_rank

#: What people call the six kinds, one and many.
KIND_NAMES = {
    "article": ("Article", "Articles"),
    "actor": ("Actor", "Actors"),
    "place": ("Place", "Places"),
    "agreement": ("Agreement", "Agreements"),
    "event": ("Event", "Events"),
    "proposition": ("Proposition", "Propositions"),
}

_PAGE = 100

#: The questions that the home page offers, by their ids.
_FIRST_QUESTIONS = ("who-admitted-combat", "attribution-chain", "denied-what-was-admitted")

_LABELS = (RDFS_LABEL, PREFIXES["schema"] + "text", SKOS + "prefLabel")


def blueprint(library: Library) -> Blueprint:
    """The routes for people and for descriptions."""
    routes = Blueprint("pages", __name__)
    base = library.base

    @routes.get("/")
    def home() -> str:
        catalogue = questions.catalogue()
        chosen = [catalogue[name] for name in _FIRST_QUESTIONS if name in catalogue]
        return render_template(
            "home.html", counts=library.journal.counts(), revision=library.engine.reached(), questions=chosen, base=base
        )

    @routes.get("/ns")
    @routes.get("/ns.<suffix>")
    def vocabulary(suffix: str | None = None) -> Response:
        return _description("ontology", ("ekg.ttl", "alignments.ttl"), suffix, base, "vocabulary.html")

    @routes.get("/shapes")
    @routes.get("/shapes.<suffix>")
    def shapes(suffix: str | None = None) -> Response:
        names = tuple(path.name for path in assets.files("shapes", "*.ttl"))
        return _description("shapes", names, suffix, base, None)

    @routes.get("/context.jsonld")
    def context() -> Response:
        body = (assets.folder("ontology") / "context.jsonld").read_bytes()
        return _cached(Response(body, mimetype="application/ld+json"))

    @routes.get("/errors")
    def errors() -> str:
        known = [(kind.name(), kind.title(), _paragraphs(kind)) for kind in KgError.tree()]
        return render_template("errors.html", known=known)

    @routes.get("/favicon.ico")
    def icon() -> Response:
        return redirect(request.root_path + "/static/icon.svg", 301)  # type: ignore[return-value]

    return routes


def _paragraphs(kind: type[KgError]) -> str:
    return " ".join("".join((kind.__doc__ or "").splitlines(keepends=True)[1:]).split())


def _cached(response: Response) -> Response:
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response.make_conditional(request)  # type: ignore[return-value]


def _description(folder: str, names: tuple[str, ...], suffix: str | None, base: Base, template: str | None) -> Response:
    """Files of a folder as one graph, in the syntax asked for; as Turtle they come as they were written."""
    types = {kind: short for kind, short in RDF_TYPES.items() if short not in ("trig", "nq")}
    by_suffix = {short: kind for kind, short in types.items()} | ({"html": HTML} if template else {})
    if suffix is None:
        media_type = choose(request.headers.get("Accept"), [*types, HTML] if template else [*types])
    elif suffix in by_suffix:
        media_type = by_suffix[suffix]
    else:
        raise NotFound(f"there is no form .{suffix}; there are {', '.join('.' + s for s in by_suffix)}")
    if media_type == HTML and template:
        response = Response(render_template(template, groups=_groups()), mimetype=HTML)
    elif media_type == "text/turtle":
        text = "\n".join((assets.folder(folder) / name).read_text("utf-8") for name in names)
        response = Response(text, content_type="text/turtle; charset=utf-8")
    else:
        response = Response(_described(folder, names, types[media_type], base), content_type=media_type)
    response.vary.add("Accept")
    return _cached(response)


@functools.lru_cache(maxsize=16)
def _described(folder: str, names: tuple[str, ...], suffix: str, base: Base) -> bytes:
    return documents.write(_graph(folder, names), suffix, base)


@functools.cache
def _graph(folder: str, names: tuple[str, ...]) -> tuple[ox.Triple, ...]:
    quads = (
        quad
        for name in names
        for quad in ox.parse(
            path=str(assets.folder(folder) / name), format=ox.RdfFormat.TURTLE, rename_blank_nodes=True
        )
    )
    return tuple(quad.triple for quad in quads)


# The vocabulary


@dataclass(frozen=True)
class Term:
    """A term of the vocabulary as the page shows it."""

    name: str
    label: str
    definition: str
    kinds: tuple[str, ...]
    examples: tuple[str, ...]


@functools.cache
def _terms() -> tuple[Term, ...]:
    found: dict[str, dict[str, list[str]]] = {}
    for triple in _graph("ontology", ("ekg.ttl",)):
        if isinstance(triple.subject, ox.NamedNode) and triple.subject.value.startswith(EKG):
            value = triple.object.value if isinstance(triple.object, ox.NamedNode | ox.Literal) else ""
            found.setdefault(triple.subject.value, {}).setdefault(triple.predicate.value, []).append(value)
    terms = []
    for iri, of in found.items():
        if iri == EKG:
            continue
        label = (of.get(RDFS_LABEL) or of.get(SKOS + "prefLabel") or [iri.removeprefix(EKG)])[0]
        definition = (of.get(SKOS + "definition") or [""])[0]
        examples = tuple(of.get(SKOS + "example") or ())
        kinds = tuple(sorted({kind.rpartition("#")[2].rpartition("/")[2] for kind in of.get(RDF_TYPE, ())}))
        terms.append(Term(iri.removeprefix(EKG), label, definition, kinds, examples))
    return tuple(sorted(terms, key=lambda term: (term.name[0].islower(), term.name)))


def _groups() -> dict[str, list[Term]]:
    """The terms under the headings of their page."""
    groups: dict[str, list[Term]] = {"Classes": [], "Properties": [], "Values": []}
    for term in _terms():
        heading = "Classes" if "Class" in term.kinds else "Properties" if term.name[0].islower() else "Values"
        groups[heading].append(term)
    return groups


@functools.cache
def _term_labels() -> Mapping[str, str]:
    """Labels of the vocabulary's terms; of reused ones, their names in words."""
    return {EKG + term.name: term.label for term in _terms()}


def _name_of_term(iri: str) -> str:
    known = _term_labels().get(iri)
    if known:
        return known
    local = re.split(r"[#/]", iri)[-1]
    words = re.findall(r"[A-Z]{2,}|[A-Z]?[^A-Z]+|[A-Z]", local)
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)


# Documents

_OA = PREFIXES["oa"]

#: What a page says of an act in its heading and in its quotations, and so need not list.
_OF_AN_ACT = {
    EKG + name for name in ("speaker", "inRole", "onBehalfOf", "stance", "content", "reports", "evidence", "reportedIn")
}

#: Classes that say less than the ones below them, the least telling last.
_GENERAL = ("SpeechAct", "Organization", "Event", "Actor")


def _label(document: Document, languages: Sequence[str] = ("en",)) -> str:
    """The label of a document in the first of these languages that it has one in, else any; else its name."""
    labels = _labels_of_document(document, languages)
    return labels[0].value if labels else re.split(r"[/#]", document.iri)[-1]


def language_of(document: Document, languages: Sequence[str]) -> str:
    """The languages of its page, for `Content-Language`: that of its title, and English for the rest."""
    labels = _labels_of_document(document, languages)
    return ", ".join(dict.fromkeys([*(label.language for label in labels[:1] if label.language), "en"]))


def _labels_of_document(document: Document, languages: Sequence[str]) -> list[ox.Literal]:
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


def _labels_of(library: Library, iris: list[str], languages: Sequence[str]) -> dict[str, str]:
    """The label of each of these documents."""
    labels = {}
    for iri in iris:
        found = library.read(iri)
        labels[iri] = _label(found[0], languages) if found else shorten(iri, library.base)
    return labels


def _day(text: str) -> str:
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
    """A time in words, as the text has it, and why it is taken so."""

    anchor: str
    words: str
    surface: str
    why: tuple[Value, ...]


@dataclass(frozen=True)
class Act:
    """Who takes which stance on what, in which words."""

    speakers: tuple[Value, ...]
    roles: tuple[Value, ...]
    behalf: tuple[Value, ...]
    stance: tuple[Value, ...]
    content: tuple[Value, ...]
    reports: tuple[Value, ...]
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


def document(
    library: Library, it: Document, revision: Revision, languages: Sequence[str] = ("en",), *, past: bool = False
) -> str:
    """The page of a document: what it says, part by part, labels in the languages preferred, and who refers to it now.

    With `past`, the page of a state that may be no longer so: nothing is said of who refers to it.
    """
    base = library.base
    sections = _Reading(library, it, languages).sections()
    referrers = [] if past else sorted({referrer for _, referrer in library.journal.referrers(it.subjects)} - {it.iri})
    referring: dict[str, list[tuple[str, str]]] = {}
    for iri, label in _labels_of(library, referrers[:_PAGE], languages).items():
        referring.setdefault(base.kind_of(iri), []).append((iri.removeprefix(base.iri), label))
    return render_template(
        "document.html",
        path=it.iri.removeprefix(base.iri),
        kind=base.kind_of(it.iri),
        iri=it.iri,
        title=_label(it, languages),
        it=sections[0],
        acts=[section for section in sections[1:] if section.act],
        parts=[section for section in sections[1:] if not section.act],
        referring={kind: sorted(found, key=lambda item: item[1].casefold()) for kind, found in referring.items()},
        more_referring=max(0, len(referrers) - _PAGE),
        revision=revision,
        past=past,
    )


class _Reading:
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

        return Act(
            of("speaker"), of("inRole"), of("onBehalfOf"), of("stance"), of("content"), of("reports"), of("evidence")
        )

    def _statements(self, subject: object, left_out: Set[str]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
        by_predicate: dict[str, list[Value]] = {}
        for t in self._of.get(subject, []):
            if t.predicate.value not in left_out:
                by_predicate.setdefault(_name_of_term(t.predicate.value), []).append(self._value(t.object, subject))
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
                return Value(_day(term.value), datetime=term.value)
            return Value(
                term.value, language=term.language, code=kind.endswith("wktLiteral") or term.value.startswith("sha256:")
            )
        iri = term.value
        if self._within.get(term) == subject:
            if "Evidence" in self._classes(term):
                return Value("", quotation=self._quotation(term))
            return Value("", time=self._time(term))
        if iri in self._it.subjects:
            return Value(self._name(iri), f"#{iri.partition('#')[2]}")
        if base.holds(iri):
            return Value(self._name(iri), "/" + iri.removeprefix(base.iri))
        if iri.startswith(EKG):
            return Value(_name_of_term(iri), "/ns.html#" + iri.removeprefix(EKG))
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
        return Time(anchor, _span(found), surface, self._values(node, RDFS + "comment"))

    def _name(self, iri: str) -> str:
        """What a page calls a document or a part of one, here or elsewhere."""
        owner = self._library.base.document_of(iri)
        found = self._document(owner) if owner else None
        if found is None:
            return shorten(iri, self._library.base)
        if "#" not in iri:
            return _label(found, self._languages)
        triples = [t for t in found.triples if isinstance(t.subject, ox.NamedNode) and t.subject.value == iri]
        name = self._name_of_part(iri, triples)
        elsewhere = owner != self._it.iri and any(t.predicate.value == EKG + "speaker" for t in triples)
        return f"{name}, in “{_label(found, self._languages)}”" if elsewhere else name

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
        span = _span({t.predicate.value.removeprefix(EKG): _text(t.object) for t in triples})
        return span or f"{kind} {iri.partition('#')[2]}"

    def _document(self, iri: str) -> Document | None:
        if iri not in self._documents:
            found = self._library.read(iri)
            self._documents[iri] = found[0] if found else None
        return self._documents[iri]

    def _classes(self, node: object) -> set[str]:
        return {_text(t.object).removeprefix(EKG) for t in self._of.get(node, []) if t.predicate.value == RDF_TYPE}


def _text(term: object) -> str:
    return str(getattr(term, "value", term))


def _span(found: Mapping[str, str]) -> str:
    """A time in words, from its bounds or, where it has none, as the text has it."""
    earliest, latest = _day(found.get("earliest", "")), _day(found.get("latest", ""))
    if earliest and latest:
        return earliest if earliest == latest else f"{earliest} to {latest}"
    if earliest or latest:
        return f"from {earliest}" if earliest else f"until {latest}"
    return found.get("edtf") or found.get("surface", "")


def _types(triples: list[ox.Triple]) -> list[str]:
    names = [
        t.object.value.removeprefix(EKG)
        for t in triples
        if t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode)
    ]
    telling = [name for name in names if name not in _GENERAL] or [name for name in _GENERAL if name in names][:1]
    return [_name_of_term(EKG + name) for name in telling]
