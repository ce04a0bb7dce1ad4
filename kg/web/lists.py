"""Lists of the documents of a kind, in pages: for people, and for machines as hydra and TREE collections.

Hides paging. Promises that a page costs the same however many documents there are: titles are kept sorted in the journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyoxigraph as ox
from flask import Blueprint, Response, render_template, request

from kg import documents
from kg.asking import Desk
from kg.errors import NotFound, RequestError
from kg.journal import Title
from kg.library import Library
from kg.names import Label
from kg.terms import KINDS, PREFIXES, RDF_TYPE, RDFS_LABEL, XSD, Base
from kg.web.negotiation import HTML, RDF_TYPES, choose, languages
from kg.web.pages import KIND_NAMES
from kg.web.searching import Lines

_KINDS = f"any({', '.join(KINDS)})"
_PAGE = 100

#: Orders by their names in the address; the first is the one without a name.
_ORDERS = {"label": "by name", "newest": "newest first"}

_HYDRA = "http://www.w3.org/ns/hydra/core#"
_TREE = "https://w3id.org/tree#"

#: A page is one graph, so syntaxes that name graphs have nothing to add.
_TYPES = {kind: suffix for kind, suffix in RDF_TYPES.items() if suffix not in ("trig", "nq")}


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The routes `/{kind}/`."""
    routes = Blueprint("lists", __name__)
    base = library.base
    home = urlsplit(base.iri).path

    @routes.get(f"/<{_KINDS}:kind>/")
    def listing(kind: str) -> Response:
        order, number = _order_asked(), _page_asked()
        media_type = choose(request.headers.get("Accept"), [HTML, *_TYPES])
        revision = library.journal.last()
        total = library.journal.counts().get(kind, 0)
        pages = max(1, -(-total // _PAGE))
        if number > pages:
            raise NotFound(
                f"the list has {pages} page{'s' if pages > 1 else ''}; there is no page {number}", pages=pages
            )
        skip = (number - 1) * _PAGE
        items = library.journal.titles(kind, newest_first=order == "newest", skip=skip, limit=_PAGE)
        near = {"first": 1, "prev": number - 1, "next": number + 1, "last": pages}
        near = {rel: to for rel, to in near.items() if 1 <= to <= pages}
        if media_type == HTML:
            page = render_template(
                "list.html",
                kind=kind,
                items=_lines(desk, kind, items, languages(request.headers.get("Accept-Language"))),
                ld_items=[
                    {"@type": "ListItem", "position": skip + place, "name": item.label, "url": item.document}
                    for place, item in enumerate(items, 1)
                ],
                total=total,
                skip=skip,
                number=number,
                pages=pages,
                order=order,
                orders=_ORDERS,
                near={rel: _query(order, to) for rel, to in near.items()},
                query=_query,
            )
            response = Response(page, content_type="text/html; charset=utf-8")
        else:
            triples = _collection(base, kind, items, total, order, number, near)
            body = documents.write(triples, _TYPES[media_type], base)
            response = Response(
                body, content_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
            )
        links = [f'<{home}{kind}/{_query(order, to)}>; rel="{rel}"' for rel, to in near.items()]
        response.headers["Link"] = ", ".join(links)
        response.headers["KG-Revision"] = str(revision)  # with which the answer is kept until the next
        response.headers["Cache-Control"] = "public, no-cache"
        response.vary.update(["Accept", "Accept-Language"] if media_type == HTML else ["Accept"])
        return response

    return routes


@dataclass(frozen=True)
class _Line:
    """A document in a list: its name in the reader's language, the one by which it is sorted where that is another, and what it is."""

    path: str
    label: Label
    sorted_by: Label | None
    line: list[Label]
    retracted: bool


def _lines(desk: Desk, kind: str, items: Sequence[Title], spoken: Sequence[str]) -> list[_Line]:
    base = desk.library.base
    labels = desk.names.labels([item.document for item in items], spoken)
    facts = desk.names.facts(item.document for item in items)
    lines = Lines(desk, ((item.document, facts.get(item.document, {})) for item in items), spoken)
    found = []
    for item in items:
        label, known = labels[item.document], facts.get(item.document, {})
        other = Label(item.label, item.language or None) if label.text != item.label else None
        told = lines.of(kind, item.document, known)
        found.append(_Line(item.document.removeprefix(base.iri), label, other, told, bool(known.get("retracted"))))
    return found


def _order_asked() -> str:
    order = request.args.get("order", "label")
    if order not in _ORDERS:
        raise RequestError(f"order is one of {', '.join(_ORDERS)}; got {order[:50]!r}", parameter="order")
    return order


def _page_asked() -> int:
    text = request.args.get("page", "1")
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise RequestError(f"page is a number from 1; got {text[:50]!r}", parameter="page")
    return int(text)


def _query(order: str, number: int) -> str:
    """The query of a page's address: each page has one address only."""
    return f"?page={number}" + ("" if order == "label" else f"&order={order}")


def _collection(
    base: Base, kind: str, items: Sequence[Title], total: int, order: str, number: int, near: dict[str, int]
) -> Iterator[ox.Triple]:
    """A page of the collection of a kind, as hydra:PartialCollectionView and tree:Node in one."""

    def iri(text: str) -> ox.NamedNode:
        return ox.NamedNode(text)

    def of(text: str) -> ox.NamedNode:
        return iri(f"{base}{kind}/{text}")

    a, whole, page = iri(RDF_TYPE), of(""), of(_query(order, number))
    yield ox.Triple(whole, a, iri(_HYDRA + "Collection"))
    yield ox.Triple(whole, a, iri(_TREE + "Collection"))
    yield ox.Triple(whole, iri(PREFIXES["dcterms"] + "title"), ox.Literal(KIND_NAMES[kind][1], language="en"))
    yield ox.Triple(whole, iri(_HYDRA + "totalItems"), ox.Literal(str(total), datatype=iri(XSD + "integer")))
    yield ox.Triple(whole, iri(_HYDRA + "view"), page)
    yield ox.Triple(whole, iri(_TREE + "view"), of(_query(order, 1)))
    yield ox.Triple(page, a, iri(_HYDRA + "PartialCollectionView"))
    yield ox.Triple(page, a, iri(_TREE + "Node"))
    for rel, to in near.items():
        yield ox.Triple(page, iri(_HYDRA + ("previous" if rel == "prev" else rel)), of(_query(order, to)))
    if "next" in near:
        relation = ox.BlankNode("next")
        yield ox.Triple(page, iri(_TREE + "relation"), relation)
        yield ox.Triple(relation, a, iri(_TREE + "Relation"))
        yield ox.Triple(relation, iri(_TREE + "node"), of(_query(order, near["next"])))
    for item in items:
        it = iri(item.document)
        yield ox.Triple(whole, iri(_HYDRA + "member"), it)
        yield ox.Triple(whole, iri(_TREE + "member"), it)
        yield ox.Triple(it, a, iri(KINDS[kind]))
        yield ox.Triple(it, iri(RDFS_LABEL), ox.Literal(item.label, language=item.language or None))
