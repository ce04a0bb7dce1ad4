"""Pages for people, and the addresses that describe the service: home, lists, vocabulary, shapes, context, errors, health.

Hides templates and labels. Pages work without JavaScript and ask no other host for anything.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox
from flask import Blueprint, Response, redirect, render_template, request

from kg import assets, documents, questions
from kg.documents import Document
from kg.errors import KgError, NotFound
from kg.journal import Revision
from kg.library import Library
from kg.terms import EKG, KINDS, PREFIXES, RDF_TYPE, RDFS_LABEL, SKOS, Base, shorten
from kg.web.negotiation import HTML, RDF_TYPES, choose

#: What people call the six kinds, one and many.
KIND_NAMES = {
    "article": ("Article", "Articles"),
    "actor": ("Actor", "Actors"),
    "place": ("Place", "Places"),
    "agreement": ("Agreement", "Agreements"),
    "event": ("Event", "Events"),
    "proposition": ("Proposition", "Propositions"),
}

_KINDS = f"any({', '.join(KINDS)})"
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

    @routes.get(f"/<{_KINDS}:kind>/")
    def listing(kind: str) -> str:
        after = request.args.get("after", "")
        found = library.journal.documents(kind, _PAGE + 1, base.document(kind, after) if after else "")
        labels = _labels_of(library, found[:_PAGE])
        more = found[_PAGE - 1].rpartition("/")[2] if len(found) > _PAGE else None
        items = [(iri.removeprefix(base.iri), labels[iri]) for iri in found[:_PAGE]]
        return render_template(
            "list.html", kind=kind, items=items, more=more, total=library.journal.counts().get(kind, 0)
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
        kinds = [(kind.name(), kind.title(), _paragraphs(kind)) for kind in KgError.tree()]
        return render_template("errors.html", kinds=kinds)

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
        response = Response(render_template(template, terms=_terms()), mimetype=HTML)
    elif media_type == "text/turtle":
        text = "\n".join((assets.folder(folder) / name).read_text("utf-8") for name in names)
        response = Response(text, content_type="text/turtle; charset=utf-8")
    else:
        response = Response(_described(folder, names, types[media_type], base), mimetype=media_type)
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


@functools.cache
def _term_labels() -> Mapping[str, str]:
    """Labels of the vocabulary's terms; of reused ones, their names in words."""
    return {EKG + term.name: term.label for term in _terms()}


def _name_of_term(iri: str) -> str:
    known = _term_labels().get(iri)
    if known:
        return known
    local = re.split(r"[#/]", iri)[-1]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", local).lower()


# Documents


def _label(document: Document, iri: str | None = None) -> str:
    """The English label of a node, else any; else its name."""
    iri = iri or document.iri
    labels = [
        (t.object.language != "en", _LABELS.index(t.predicate.value), t.object.value)
        for t in document.triples
        if isinstance(t.subject, ox.NamedNode)
        and t.subject.value == iri
        and t.predicate.value in _LABELS
        and isinstance(t.object, ox.Literal)
    ]
    return min(labels)[2] if labels else re.split(r"[/#]", iri)[-1]


def _labels_of(library: Library, iris: list[str]) -> dict[str, str]:
    """The label of each of these documents or parts of documents."""
    labels = {}
    for iri in iris:
        found = library.read(library.base.document_of(iri) or iri)
        labels[iri] = _label(found[0], iri) if found else shorten(iri, library.base)
    return labels


@dataclass(frozen=True)
class Value:
    """A value on a page: text, where it leads, and its language where it has one."""

    text: str
    href: str | None = None
    language: str | None = None
    parts: tuple[tuple[str, tuple[Value, ...]], ...] = ()


def document(library: Library, it: Document, revision: Revision) -> str:
    """The page of a document: what it says, part by part, and who refers to it."""
    base = library.base
    others = {
        t.object.value for t in it.triples if isinstance(t.object, ox.NamedNode) and base.holds(t.object.value)
    } - it.subjects
    labels = _labels_of(library, sorted(others))
    of: dict[Any, list[ox.Triple]] = {}
    for triple in documents.in_reading_order(it):
        of.setdefault(triple.subject, []).append(triple)

    def value(term: Any) -> Value:
        if isinstance(term, ox.BlankNode):
            return Value("", parts=statements(of.get(term, [])))
        if isinstance(term, ox.Literal):
            return Value(term.value, None, term.language)
        iri = term.value
        if iri in it.subjects:
            return Value(_name_of_part(it, iri), f"#{iri.partition('#')[2]}" if "#" in iri else iri)
        if iri in labels:
            return Value(labels[iri], "/" + iri.removeprefix(base.iri))
        if iri.startswith(EKG):
            return Value(_name_of_term(iri), "/ns.html#" + iri.removeprefix(EKG))
        return Value(shorten(iri), iri if iri.startswith(("http://", "https://")) else None)

    def statements(triples: list[ox.Triple]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
        by_predicate: dict[str, list[Value]] = {}
        for t in triples:
            if t.predicate.value != RDF_TYPE:
                by_predicate.setdefault(_name_of_term(t.predicate.value), []).append(value(t.object))
        return tuple((name, tuple(values)) for name, values in by_predicate.items())

    sections = [
        {
            "anchor": subject.value.partition("#")[2],
            "title": _label(it) if subject.value == it.iri else _name_of_part(it, subject.value),
            "types": _types(triples),
            "statements": statements(triples),
        }
        for subject, triples in of.items()
        if isinstance(subject, ox.NamedNode)
    ]
    referrers = sorted({referrer for _, referrer in library.journal.referrers(it.subjects)} - {it.iri})
    referring = [(iri.removeprefix(base.iri), label) for iri, label in _labels_of(library, referrers[:_PAGE]).items()]
    return render_template(
        "document.html",
        path=it.iri.removeprefix(base.iri),
        kind=base.kind_of(it.iri),
        iri=it.iri,
        title=_label(it),
        sections=sections,
        referring=referring,
        more_referring=max(0, len(referrers) - _PAGE),
        revision=revision,
    )


#: Classes that say less than the ones below them.
_GENERAL = {"Event", "SpeechAct", "Actor", "Organization"}


def _types(triples: list[ox.Triple]) -> list[str]:
    names = [
        t.object.value.removeprefix(EKG)
        for t in triples
        if t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode)
    ]
    special = [name for name in names if name not in _GENERAL]
    if not special:
        special = [
            name
            for name in sorted(_GENERAL, key=["SpeechAct", "Organization", "Event", "Actor"].index)
            if name in names
        ][:1]
    return [_name_of_term(EKG + name) for name in special]


def _name_of_part(it: Document, iri: str) -> str:
    """What a page calls a part of its document: its label, the quotation for evidence, or what it is and its number."""
    if "#" not in iri:
        return _label(it)
    triples = [t for t in it.triples if isinstance(t.subject, ox.NamedNode) and t.subject.value == iri]
    if any(t.predicate.value in _LABELS for t in triples):
        return _label(it, iri)
    types = _types(triples)
    return f"{types[0] if types else 'part'} {iri.partition('#')[2]}"
