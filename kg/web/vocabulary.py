"""The vocabulary, the shapes and the context: as data, and the vocabulary as a page and as words for pages.

Hides the files of `ontology/` and `shapes/`, and how a term gets a name that people read.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyoxigraph as ox
from flask import Blueprint, Response, render_template, request

from kg import assets, documents
from kg.errors import NotFound
from kg.library import Library
from kg.terms import EKG, PREFIXES, RDF_TYPE, RDFS, RDFS_LABEL, SKOS, Base, shorten
from kg.web.negotiation import HTML, RDF_TYPES, choose


def blueprint(library: Library) -> Blueprint:
    """The routes `/ns`, `/shapes` and `/context.jsonld`."""
    routes = Blueprint("vocabulary", __name__)
    base = library.base

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

    return routes


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


# The terms


@dataclass(frozen=True)
class Term:
    """A term of the vocabulary as the page shows it. `joined` are other terms, with their addresses, under what they are to it."""

    name: str
    label: str
    definition: str
    kinds: tuple[str, ...]
    examples: tuple[str, ...]
    notes: tuple[str, ...] = ()
    joined: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()


#: Where codes of event codings are named that have no addresses of their own.
_CODES = "https://w3id.org/ekg/alignments#"

#: What a term is to another, as the page says it, by the properties that say so in the files.
_JOINS = {
    "a kind of": (RDFS + "subClassOf", RDFS + "subPropertyOf"),
    "on": (PREFIXES["schema"] + "domainIncludes",),
    "leads to": (PREFIXES["schema"] + "rangeIncludes",),
    "the same as": (PREFIXES["owl"] + "sameAs", SKOS + "exactMatch"),
    "like": (SKOS + "closeMatch",),
    "compare": (SKOS + "relatedMatch", SKOS + "narrowMatch", SKOS + "broadMatch"),
}


@functools.cache
def _terms() -> tuple[Term, ...]:
    found: dict[str, dict[str, list[str]]] = {}
    names: dict[str, str] = {}
    for triple in _graph("ontology", ("ekg.ttl", "alignments.ttl")):
        if not isinstance(triple.subject, ox.NamedNode):
            continue
        if triple.predicate.value == SKOS + "prefLabel" and isinstance(triple.object, ox.Literal):
            names[triple.subject.value] = triple.object.value
        if triple.subject.value.startswith(EKG):
            value = triple.object.value if isinstance(triple.object, ox.NamedNode | ox.Literal) else ""
            found.setdefault(triple.subject.value, {}).setdefault(triple.predicate.value, []).append(value)
    terms = []
    for iri, of in found.items():
        if iri == EKG or RDF_TYPE not in of:
            continue
        label = (of.get(RDFS_LABEL) or of.get(SKOS + "prefLabel") or [iri.removeprefix(EKG)])[0]
        definition = (of.get(SKOS + "definition") or [""])[0]
        examples = tuple(of.get(SKOS + "example") or ())
        kinds = tuple(sorted({kind.rpartition("#")[2].rpartition("/")[2] for kind in of.get(RDF_TYPE, ())}))
        notes = (*of.get(RDFS + "comment", ()), *of.get(SKOS + "scopeNote", ()))
        joined = []
        for word, properties in _JOINS.items():
            others = dict.fromkeys(other for name in properties for other in of.get(name, ()) if other and other != iri)
            if others:
                joined.append((word, tuple((_shown(other, names), _address(other)) for other in others)))
        terms.append(Term(iri.removeprefix(EKG), label, definition, kinds, examples, notes, tuple(joined)))
    return tuple(sorted(terms, key=lambda term: (term.name[0].islower(), term.name)))


@functools.cache
def _prefixes() -> Mapping[str, str]:
    """The prefixes of the vocabularies that ours is compared with, by their namespaces."""
    text = (assets.folder("ontology") / "alignments.ttl").read_text("utf-8")
    return {namespace: prefix for prefix, namespace in re.findall(r"@prefix ([\w-]+):\s*<([^>]*)>", text)}


def _shown(iri: str, names: Mapping[str, str]) -> str:
    """A term as the page writes it: with its prefix, or, of an event coding without addresses, with its code."""
    if iri.startswith(_CODES):
        coding, _, code = iri.removeprefix(_CODES).partition("-")
        return f"{coding.upper()} {code} “{names[iri]}”" if iri in names else f"{coding.upper()} {code}"
    namespace = next((it for it in sorted(_prefixes(), key=len, reverse=True) if iri.startswith(it)), None)
    return shorten(iri) if namespace is None else f"{_prefixes()[namespace]}:{iri.removeprefix(namespace)}"


def _address(iri: str) -> str:
    return f"#{iri.removeprefix(EKG)}" if iri.startswith(EKG) else "" if iri.startswith(_CODES) else iri


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


#: Reused terms that people call otherwise.
_OTHERWISE = {
    PREFIXES["sem"] + "hasSubEvent": "its parts",
    PREFIXES["schema"] + "containedInPlace": "in",
    PREFIXES["geo"] + "hasGeometry": "where on the map",
    SKOS + "altLabel": "also called",
}


def name_of_term(iri: str) -> str:
    known = _term_labels().get(iri) or _OTHERWISE.get(iri)
    if known:
        return known
    local = re.split(r"[#/]", iri)[-1]
    words = re.findall(r"[A-Z]{2,}|[A-Z]?[^A-Z]+|[A-Z]", local)
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)
