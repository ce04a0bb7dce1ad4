"""One document as a value: read from any RDF syntax, brought into one canonical form, written in any syntax.

Hides the parsers, the syntaxes' differences and blank nodes. Promises that equal documents have equal `content`, byte
for byte, whatever syntax they came in; that nothing is ever fetched; and that no input makes it run away.

Canonical form: N-Triples in the canonical syntax of RDF 1.1 N-Triples section 4, sorted by code point, blank nodes named by
their content and place. Blank nodes must form trees (each is the object of one triple at the most). That makes their names
computable in linear time, where RDFC-1.0 is exponential in the worst case; keeps them stable when another part of the document
changes, so that differences between revisions mean something; and unique to the document, so that documents can share a store.

    syntaxes.py   the ways to write RDF
    received.py   statements from bytes that a stranger sent
    written.py    a document in any syntax, made for reading
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyoxigraph as ox

from kg.documents.received import CONTEXTS, DEPTH, quads
from kg.documents.syntaxes import (
    JSON_LD,
    N_QUADS,
    N_TRIPLES,
    RDF_XML,
    SYNTAXES,
    TRIG,
    TURTLE,
    Syntax,
    syntax_of_suffix,
    to_bytes,
)
from kg.documents.written import expanded, in_reading_order, json_ld, serialize, write
from kg.errors import DocumentTooLarge, TangledBlankNodes, UnplaceableDocument
from kg.terms import KINDS, RDF_TYPE, Base

__all__ = [
    "CONTEXTS",
    "DEPTH",
    "JSON_LD",
    "N_QUADS",
    "N_TRIPLES",
    "RDF_XML",
    "SYNTAXES",
    "TRIG",
    "TURTLE",
    "Document",
    "Syntax",
    "document",
    "expanded",
    "in_reading_order",
    "json_ld",
    "parse",
    "serialize",
    "syntax_of_suffix",
    "to_bytes",
    "too_large",
    "write",
]

#: How much larger than the limit a document may be when all its names are written in full: a prefix can stand for megabytes.
EXPANSION = 10

#: Deepest nesting of blank nodes in one another; the vocabulary needs two.
BLANK_DEPTH = 50


@dataclass(frozen=True)
class Document:
    """What is written, validated, versioned and fetched as one.

    `content` is the canonical N-Triples; `digest` is the SHA-256 of those bytes in hexadecimal.
    """

    iri: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def triples(self) -> tuple[ox.Triple, ...]:
        """The triples in canonical order."""
        parsed = ox.parse(self.content, format=ox.RdfFormat.N_TRIPLES, lenient=True)
        return tuple(quad.triple for quad in parsed)

    @cached_property
    def subjects(self) -> frozenset[str]:
        """The IRIs that the document speaks about."""
        return frozenset(t.subject.value for t in self.triples if isinstance(t.subject, ox.NamedNode))

    def census(self) -> Counter[tuple[str, str]]:
        """How many of what there is: `("triples", "")`, `("subjects", "")`, `("class", iri)` entities, `("property", iri)` triples,
        `("datatype", iri)` literals. Documents share no subjects, so those of many add up."""
        counts: Counter[tuple[str, str]] = Counter()
        subjects = set()
        for triple in self.triples:
            subjects.add(triple.subject)
            counts["triples", ""] += 1
            counts["property", triple.predicate.value] += 1
            if triple.predicate.value == RDF_TYPE and isinstance(triple.object, ox.NamedNode):
                counts["class", triple.object.value] += 1
            elif isinstance(triple.object, ox.Literal):
                counts["datatype", triple.object.datatype.value] += 1
        counts["subjects", ""] = len(subjects)
        return counts

    def references(self, base: Base) -> frozenset[str]:
        """The IRIs under the base that the document points to, in object position, and does not itself describe."""
        pointed = {t.object.value for t in self.triples if isinstance(t.object, ox.NamedNode)}
        return frozenset(iri for iri in pointed if base.holds(iri)) - self.subjects


def parse(
    data: bytes, syntax: Syntax, base: Base, *, relative_to: str | None = None, into: str | None = None, limit: int
) -> list[Document]:
    """The documents in `data`, in the order of their IRIs.

    Relative IRIs resolve against `relative_to`, by default the base. Triples in no graph belong to the document `into`; by default
    to the one that their subjects tell. `limit` bounds `data`, in bytes.
    Raises a `DocumentError`: too large, malformed (with line and column), or not recognisable as documents.
    """
    if len(data) > limit:
        raise too_large(len(data), limit)
    graphs: dict[str | None, list[ox.Triple]] = {}
    home: dict[ox.BlankNode, str | None] = {}
    size = 0
    for quad in quads(data, syntax, relative_to or base.iri, base):
        name = quad.graph_name.value if isinstance(quad.graph_name, ox.NamedNode) else None
        graphs.setdefault(name, []).append(quad.triple)
        for term in (quad.subject, quad.object):
            if isinstance(term, ox.BlankNode) and home.setdefault(term, name) != name:
                raise TangledBlankNodes(
                    f"a blank node stands in {home[term] or 'no graph'} and in {name or 'no graph'}; give it a name of its own in one of them"
                )
        size += len(str(quad.triple))
        if size > limit * EXPANSION:
            raise DocumentTooLarge(
                f"with its names written in full it has more than {EXPANSION} times the {limit:,} bytes that are allowed",
                limit=limit,
            )
    if not graphs:
        raise UnplaceableDocument("there is not one triple in it")
    loose = graphs.pop(None, None)
    if loose and graphs:
        raise UnplaceableDocument(
            f"{len(loose)} triple{'s stand' if len(loose) > 1 else ' stands'} outside any graph (the first is about {loose[0].subject}); "
            "put each document's triples into the graph named by the document's IRI"
        )
    if loose:
        graphs[into or _sole_document(loose, base)] = loose
    documents = []
    for name, triples in sorted((str(name), triples) for name, triples in graphs.items()):
        if base.document_of(name) != name:
            raise UnplaceableDocument(f"the name of a graph, {_place_hint(name, base)}")
        documents.append(document(name, triples))
    return documents


def too_large(size: int, limit: int, what: str = "it") -> DocumentTooLarge:
    """The error for something of `size` bytes where `limit` are allowed."""
    return DocumentTooLarge(f"{what} has {size:,} bytes, over the limit of {limit:,}", limit=limit)


def document(iri: str, triples: Iterable[ox.Triple]) -> Document:
    """The document of this IRI with these triples, in canonical form. Raises `TangledBlankNodes`."""
    lines = to_bytes(_with_named_blank_nodes(list(triples), iri), N_TRIPLES).splitlines(keepends=True)
    return Document(iri, b"".join(sorted(set(lines))))


def _sole_document(triples: list[ox.Triple], base: Base) -> str:
    """The one document whose subjects these are."""
    subjects = {t.subject.value for t in triples if isinstance(t.subject, ox.NamedNode)}
    owners = {subject: base.document_of(subject) for subject in subjects}
    documents = sorted({owner for owner in owners.values() if owner is not None})
    if len(documents) == 1:
        return documents[0]
    if not documents:
        example = min(subjects, default=None)
        hint = f"what it speaks about, {_place_hint(example, base)}" if example else "all its subjects are blank nodes"
        raise UnplaceableDocument(hint)
    raise UnplaceableDocument(
        f"it speaks about {len(documents)} documents ({', '.join(documents[:3])}{', …' if len(documents) > 3 else ''}); "
        "a document speaks only about its own subjects, so write one file each, or TriG with a graph each",
        documents=documents[:10],
    )


def _place_hint(iri: str, base: Base) -> str:
    kinds = "|".join(KINDS)
    return (
        f"<{iri}>, is not the IRI of a document here: those are {base}({kinds})/slug, the slug in lower-case ASCII letters, "
        "digits and single hyphens, at most 120 characters"
    )


# Blank nodes


def _with_named_blank_nodes(triples: list[ox.Triple], iri: str) -> list[ox.Triple]:
    """The triples with each blank node renamed to a digest of the document, its parent, its property and its own subtree."""
    inside: dict[ox.BlankNode, list[ox.Triple]] = {}
    parent: dict[ox.BlankNode, ox.Triple] = {}
    for triple in triples:
        if isinstance(triple.subject, ox.BlankNode):
            inside.setdefault(triple.subject, []).append(triple)
        if isinstance(triple.object, ox.BlankNode):
            inside.setdefault(triple.object, [])
            if triple.object in parent and parent[triple.object] != triple:
                raise TangledBlankNodes(
                    f"a blank node is the value of {parent[triple.object].predicate} and of {triple.predicate}, or of two subjects; "
                    f"give it a name of its own, such as <{iri}#part>"
                )
            parent[triple.object] = triple
    if not inside:
        return triples
    order = [node for node in inside if node not in parent or isinstance(parent[node].subject, ox.NamedNode)]
    level = dict.fromkeys(order, 1)
    for node in order:  # grows while it is walked: breadth first, parents before children
        for t in inside[node]:
            if isinstance(t.object, ox.BlankNode) and t.object not in level:
                level[t.object] = level[node] + 1
                order.append(t.object)
    if len(order) < len(inside):
        raise TangledBlankNodes(f"a blank node refers back to itself; give it a name of its own, such as <{iri}#part>")
    if max(level.values()) > BLANK_DEPTH:
        raise TangledBlankNodes(
            f"blank nodes nest deeper than {BLANK_DEPTH} levels; give the inner parts names, such as <{iri}#part>"
        )
    content: dict[ox.BlankNode, str] = {}
    for node in reversed(order):
        content[node] = _digest(
            *sorted(
                f"{t.predicate} {content[t.object] if isinstance(t.object, ox.BlankNode) else t.object}"
                for t in set(inside[node])
            )
        )
    name: dict[ox.BlankNode, ox.BlankNode] = {}
    twins: dict[tuple[str, str, str], int] = {}
    for node in order:
        above = parent.get(node)
        subject = above and (name[above.subject] if isinstance(above.subject, ox.BlankNode) else above.subject)
        place = (str(subject or ""), str(above.predicate if above else ""), content[node])
        twins[place] = twins.get(place, -1) + 1
        digest = _digest(iri, *place, str(twins[place]))
        # Oxigraph keeps a name that is 128 bits in hexadecimal, with a letter first, as a number of 16 bytes.
        name[node] = ox.BlankNode("abcdef"[int(digest[0], 16) % 6] + digest[1:32])
    return [
        ox.Triple(
            name[t.subject] if isinstance(t.subject, ox.BlankNode) else t.subject,
            t.predicate,
            name[t.object] if isinstance(t.object, ox.BlankNode) else t.object,
        )
        for t in triples
    ]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
