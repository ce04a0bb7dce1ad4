"""Documents as people and programs like to read them: in order, with prefixes, blank nodes in their place, in any syntax.

Hides Turtle's layout and JSON-LD's compaction. Promises that what is written depends on nothing but the document and the base, and
reads back as the same document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyoxigraph as ox

from kg.documents.syntaxes import (
    JSON_LD,
    N_QUADS,
    N_TRIPLES,
    TRIG,
    TURTLE,
    Syntax,
    context,
    syntax_of_suffix,
    to_bytes,
)
from kg.errors import RemoteReference
from kg.terms import KINDS, PREFIXES, RDF, RDF_TYPE, RDFS_LABEL, XSD, Base

if TYPE_CHECKING:
    from kg.documents import Document


def serialize(document: Document, syntax: Syntax, base: Base) -> bytes:
    """The document in a syntax, complete, in an order made for reading that depends on nothing but its content."""
    if syntax is N_TRIPLES:
        return document.content
    if syntax is TURTLE:
        return _turtle(document, base).encode()
    if syntax is TRIG:
        prefixes, body = _turtle_parts(document, base)
        indented = "".join(f"    {line}\n" if line else "\n" for line in body.rstrip("\n").split("\n"))
        return f"{prefixes}\n{_term(ox.NamedNode(document.iri), _prefixes(document, base))} {{\n{indented}}}\n".encode()
    if syntax is JSON_LD:
        return _json_ld(document, base)
    if syntax is N_QUADS:
        graph = ox.NamedNode(document.iri)
        return to_bytes((ox.Quad(t.subject, t.predicate, t.object, graph) for t in document.triples), N_QUADS)
    return to_bytes(in_reading_order(document), syntax)


def in_reading_order(document: Document) -> list[ox.Triple]:
    """The triples as a person would read them: the document's own IRI first, then its parts by number, types and labels first."""
    return sorted(
        document.triples, key=lambda t: (_subject_order(t.subject, document.iri), _predicate_order(t), str(t.object))
    )


def _subject_order(
    subject: ox.NamedNode | ox.BlankNode | ox.Triple, document: str
) -> tuple[int, list[tuple[int, int, str]]]:
    """Numbers in a name count as numbers: #s2 before #s10."""
    if not isinstance(subject, ox.NamedNode):
        return 2, [(1, 0, str(subject))]
    parts = re.findall(r"(\d+)|(\D+)", subject.value.removeprefix(document))
    return (
        0 if subject.value == document else 1,
        [(0, int(digits), "") if digits else (1, 0, text) for digits, text in parts],
    )


#: What a reader wants to know first about a node, then the rest by name.
_FIRST = [
    RDF_TYPE,
    RDFS_LABEL,
    *(PREFIXES["ekg"] + name for name in ("speaker", "onBehalfOf", "inRole", "stance", "content")),
]


def _predicate_order(triple: ox.Triple) -> tuple[int, str]:
    predicate = triple.predicate.value
    return (_FIRST.index(predicate) if predicate in _FIRST else len(_FIRST), predicate)


def _prefixes(document: Document, base: Base) -> dict[str, str]:
    """The prefixes that a document's Turtle uses; the empty one is for its own hash IRIs, one for each kind it refers to."""
    kinds = {kind: f"{base}{kind}/" for kind in KINDS}
    candidates = {"": document.iri + "#", **kinds, **PREFIXES}
    text = document.content.decode()
    return {name: iri for name, iri in candidates.items() if f"<{iri}" in text}


_LOCAL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")


def _term(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple, prefixes: dict[str, str]) -> str:
    if isinstance(term, ox.NamedNode):
        for name, namespace in prefixes.items():
            if term.value.startswith(namespace) and _LOCAL.fullmatch(term.value, len(namespace)):
                return f"{name}:{term.value[len(namespace) :]}"
        return str(term)
    if isinstance(term, ox.Literal) and term.datatype.value not in (XSD + "string", RDF + "langString"):
        if term.datatype.value == XSD + "integer" and re.fullmatch(r"[+-]?[0-9]+", term.value):
            return term.value
        return f"{ox.Literal(term.value)}^^{_term(term.datatype, prefixes)}"
    return str(term)


def _turtle(document: Document, base: Base) -> str:
    prefixes, body = _turtle_parts(document, base)
    return f"{prefixes}\n{body}"


def _turtle_parts(document: Document, base: Base) -> tuple[str, str]:
    """The prefix declarations and the blocks of a document, one block a named subject, blank nodes nested."""
    prefixes = _prefixes(document, base)
    of: dict[ox.NamedNode | ox.BlankNode | ox.Triple, list[ox.Triple]] = {}
    for triple in in_reading_order(document):
        of.setdefault(triple.subject, []).append(triple)
    nested = {t.object for t in document.triples if isinstance(t.object, ox.BlankNode)}

    def block(triples: list[ox.Triple], indent: str) -> str:
        by_predicate: dict[ox.NamedNode, list[str]] = {}
        for t in sorted(triples, key=lambda t: (_predicate_order(t), str(t.object))):
            by_predicate.setdefault(t.predicate, []).append(value(t.object, indent))
        return f" ;\n{indent}".join(
            f"{'a' if predicate.value == RDF_TYPE else _term(predicate, prefixes)} {', '.join(values)}"
            for predicate, values in by_predicate.items()
        )

    def value(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple, indent: str) -> str:
        if isinstance(term, ox.BlankNode):
            inner = of.get(term, [])
            return f"[\n{indent}    {block(inner, indent + '    ')}\n{indent}]" if inner else "[]"
        return _term(term, prefixes)

    blocks = [f"{_term(s, prefixes)}\n    {block(triples, '    ')} .\n" for s, triples in of.items() if s not in nested]
    declarations = "".join(f"@prefix {name}: <{iri}> .\n" for name, iri in prefixes.items())
    return declarations, "\n".join(blocks)


def expanded(document: Document) -> list[dict[str, Any]]:
    """The document in expanded JSON-LD, a node object each named subject in reading order, blank nodes nested."""
    of: dict[ox.NamedNode | ox.BlankNode | ox.Triple, list[ox.Triple]] = {}
    for triple in in_reading_order(document):
        of.setdefault(triple.subject, []).append(triple)

    def node(triples: list[ox.Triple]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for t in sorted(triples, key=lambda t: (_predicate_order(t), str(t.object))):
            if t.predicate.value == RDF_TYPE and isinstance(t.object, ox.NamedNode):
                result.setdefault("@type", []).append(t.object.value)
            else:
                result.setdefault(t.predicate.value, []).append(value(t.object))
        return result

    def value(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> dict[str, Any]:
        if isinstance(term, ox.NamedNode):
            return {"@id": term.value}
        if isinstance(term, ox.BlankNode):
            return node(of.get(term, []))
        assert isinstance(term, ox.Literal)
        if term.language is not None:
            return {"@value": term.value, "@language": term.language}
        if term.datatype.value == XSD + "string":
            return {"@value": term.value}
        return {"@value": term.value, "@type": term.datatype.value}

    nested = {t.object for t in document.triples if isinstance(t.object, ox.BlankNode)}
    result = []
    for subject, triples in of.items():
        if isinstance(subject, ox.NamedNode):
            result.append({"@id": subject.value, **node(triples)})
        elif subject not in nested:
            result.append(node(triples))
    return result


def _json_ld(document: Document, base: Base) -> bytes:
    return _compact(expanded(document), base)


def json_ld(triples: Iterable[ox.Triple], base: Base) -> bytes:
    """Any triples as compact JSON-LD under the vocabulary's context."""
    nodes = json.loads(to_bytes(triples, JSON_LD))
    for node in nodes:  # the serialiser writes types as a property like any other
        types = node.pop(RDF_TYPE, [])
        if named := [value["@id"] for value in types if "@id" in value]:
            node["@type"] = [*node.get("@type", []), *named]
        if literal := [value for value in types if "@id" not in value]:
            node[RDF_TYPE] = literal
    return _compact(nodes, base)


def write(triples: Iterable[ox.Triple], suffix: str, base: Base) -> bytes:
    """Any triples in the syntax of a suffix (`ttl`, `jsonld`, `nt`, `rdf`)."""
    if suffix == JSON_LD.suffix:
        return json_ld(triples, base)
    return to_bytes(triples, syntax_of_suffix(suffix))


def _compact(nodes: list[dict[str, Any]], base: Base) -> bytes:
    """Compact JSON-LD that names the context by its address in this deployment (JSON-LD 1.1 API, section 5.2)."""
    from pyld import jsonld  # takes 60 ms to import, and query processes never need it

    compacted = jsonld.compact(nodes, context(), {"graph": True, "documentLoader": _never_fetch})
    compacted = {"@context": base.iri + "context.jsonld", **{k: v for k, v in compacted.items() if k != "@context"}}
    return json.dumps(compacted, ensure_ascii=False, indent=2).encode() + b"\n"


def _never_fetch(url: str, options: object) -> Any:
    raise RemoteReference(f"{url} would have to be fetched, which is never done")
