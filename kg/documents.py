"""One document as a value: read from any RDF syntax, brought into one canonical form, written in any syntax.

Hides the parsers, the syntaxes' differences and blank nodes. Promises that equal documents have equal `content`, byte
for byte, whatever syntax they came in; that nothing is ever fetched; and that no input makes it run away.

Canonical form: N-Triples in the canonical syntax of RDF 1.1 N-Triples section 4, sorted by code point, blank nodes named by
their content and place. Blank nodes must form trees (each is the object of one triple at the most). That makes their names
computable in linear time, where RDFC-1.0 is exponential in the worst case; keeps them stable when another part of the document
changes, so that differences between revisions mean something; and unique to the document, so that documents can share a store.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.parsers import expat

import pyoxigraph as ox

from kg import assets
from kg.errors import (
    DocumentTooLarge,
    MalformedDocument,
    RemoteReference,
    TangledBlankNodes,
    UnplaceableDocument,
    UnsupportedMediaType,
)
from kg.terms import KINDS, PREFIXES, RDF, RDF_TYPE, RDFS_LABEL, XSD, Base

#: Where clients that do not know the deployment may say they found the context; never fetched.
CONTEXT_ALIASES = ("https://w3id.org/ekg/context.jsonld", "/context.jsonld", "context.jsonld")

#: Deepest nesting of elements, objects and arrays. Python's JSON parser gives up at about a thousand, and the RDF/XML parser
#: takes time with the square of the depth.
DEPTH = 100

#: How often a document may name the vocabulary's context; each time costs 8 kB and 0.4 ms.
CONTEXTS = 1000

#: How much larger than the limit a document may be when all its names are written in full: a prefix can stand for megabytes.
EXPANSION = 10

#: Deepest nesting of blank nodes in one another; the vocabulary needs two.
BLANK_DEPTH = 50


@dataclass(frozen=True)
class Syntax:
    """A way to write RDF: its registered media type, the suffix of its files, and whether it can name graphs."""

    name: str
    media_type: str
    suffix: str
    rdf_format: ox.RdfFormat
    graphs: bool


TURTLE = Syntax("Turtle", "text/turtle", "ttl", ox.RdfFormat.TURTLE, False)
JSON_LD = Syntax("JSON-LD", "application/ld+json", "jsonld", ox.RdfFormat.JSON_LD, True)
N_TRIPLES = Syntax("N-Triples", "application/n-triples", "nt", ox.RdfFormat.N_TRIPLES, False)
RDF_XML = Syntax("RDF/XML", "application/rdf+xml", "rdf", ox.RdfFormat.RDF_XML, False)
TRIG = Syntax("TriG", "application/trig", "trig", ox.RdfFormat.TRIG, True)
N_QUADS = Syntax("N-Quads", "application/n-quads", "nq", ox.RdfFormat.N_QUADS, True)
SYNTAXES = (TURTLE, JSON_LD, N_TRIPLES, RDF_XML, TRIG, N_QUADS)


def syntax_of_suffix(suffix: str) -> Syntax:
    """The syntax of a file by its suffix, without the dot. Raises `UnsupportedMediaType`."""
    for syntax in SYNTAXES:
        if syntax.suffix == suffix.lower():
            return syntax
    known = [f".{syntax.suffix}" for syntax in SYNTAXES]
    raise UnsupportedMediaType(
        f"no syntax of RDF has the suffix .{suffix}; use one of {', '.join(known)}", supported=known
    )


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


# Reading


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
    data = _text(data)
    graphs: dict[str | None, list[ox.Triple]] = {}
    home: dict[ox.BlankNode, str | None] = {}
    size = 0
    for quad in _quads(data, syntax, relative_to or base.iri, base):
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


def _quads(data: bytes, syntax: Syntax, resolver: str, base: Base) -> Iterator[ox.Quad]:
    if syntax is JSON_LD:
        data = _with_own_context(data, base)
    elif syntax is RDF_XML:
        _check_xml(data)
    try:
        for quad in ox.parse(data, format=syntax.rdf_format, base_iri=resolver):
            _check_statement(quad)
            yield quad
    except SyntaxError as error:
        # JSON-LD has been parsed and written again, so a place in it means nothing to its author.
        line, column = (None, None) if syntax is JSON_LD else (error.lineno, error.offset)
        raise MalformedDocument(_first_line(error.msg), line=line, column=column) from None
    except ValueError as error:
        raise MalformedDocument(_first_line(str(error))) from None


#: Not to be had in XML, however it is escaped (XML 1.0, rule 2), so neither in RDF/XML nor in SPARQL's XML results.
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

#: Names that mean something to RDF/XML itself and cannot be properties in it (RDF/XML, section 5.1).
_XML_SYNTAX = {
    RDF + name
    for name in (
        *("RDF", "ID", "about", "parseType", "resource", "nodeID", "datatype", "Description", "li"),
        *("aboutEach", "aboutEachPrefix", "bagID"),
    )
}


def _check_statement(quad: ox.Quad) -> None:
    """Refuse what RDF 1.1 does not have, and what could be read here but not written in every syntax."""
    where = quad.predicate if isinstance(quad.subject, ox.BlankNode) else f"{quad.predicate} of {quad.subject}"
    if isinstance(quad.object, ox.Triple):
        raise MalformedDocument(f"the value of {where} is a triple term: RDF 1.2 is not read here, only RDF 1.1")
    if isinstance(quad.object, ox.Literal):
        if quad.object.direction is not None:
            raise MalformedDocument(
                f"the value of {where} is a string with a base direction: RDF 1.2 is not read here, only RDF 1.1"
            )
        if (found := _NOT_IN_XML.search(quad.object.value)) is not None:
            raise MalformedDocument(
                f"the value of {where} has the control character U+{ord(found[0]):04X}, which XML cannot carry; take it out"
            )
    if quad.predicate.value in _XML_SYNTAX:
        raise MalformedDocument(
            f"rdf:{quad.predicate.value.removeprefix(RDF)} is a word of RDF/XML's own syntax and no property; use another"
        )
    if isinstance(quad.graph_name, ox.BlankNode):
        raise UnplaceableDocument("a graph has a blank node for a name; name it by the document's IRI")


def _text(data: bytes) -> bytes:
    """The same without a byte order mark, known to be UTF-8, which all the syntaxes are written in, and not to be empty."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MalformedDocument("this is UTF-16; save it as UTF-8", line=1, column=1)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        line, column = data.count(b"\n", 0, start) + 1, len(data[start : error.start].decode()) + 1
        raise MalformedDocument("this is not UTF-8", line=line, column=column) from None
    if not data.strip():
        raise UnplaceableDocument("there is not one triple in it")
    return data


def _first_line(message: str) -> str:
    """The parser's message without its place, which travels apart."""
    text = message.splitlines()[0] if message else "unknown syntax error"
    return re.sub(r"^Parser error at line \d+ (?:column \d+|between .*?columns? \d+(?: and \d+)?): ", "", text)


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


def _check_xml(data: bytes) -> None:
    """Refuse what XML can do besides carrying RDF, and find the place of errors, which the RDF/XML parser does not tell."""

    def refuse(name: str, *_: object) -> None:
        raise RemoteReference(
            f"the XML has a document type declaration ({name}), by which it could pull in entities; leave it out and write IRIs in full",
            line=parser.CurrentLineNumber,
            column=parser.CurrentColumnNumber + 1,
        )

    depth = 0

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise MalformedDocument(
                f"it nests deeper than {DEPTH} levels",
                line=parser.CurrentLineNumber,
                column=parser.CurrentColumnNumber + 1,
            )

    def leave(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise MalformedDocument(expat.ErrorString(error.code), line=error.lineno, column=error.offset + 1) from None


@functools.cache
def context() -> dict[str, Any]:
    """The JSON-LD context of the vocabulary, as an object `{"@context": …}`."""
    loaded: dict[str, Any] = json.loads((assets.folder("ontology") / "context.jsonld").read_text("utf-8"))
    return loaded


def _with_own_context(data: bytes, base: Base) -> bytes:
    """The same JSON-LD with references to our own context replaced by the context, and any other refused."""
    own = {base.iri + "context.jsonld", *CONTEXT_ALIASES}
    inlined = 0

    def inline(value: Any, depth: int) -> Any:
        """A context, and all within it that is a context too: those of its terms (JSON-LD 1.1, section 4.1.8)."""
        nonlocal inlined
        if depth > DEPTH:
            raise MalformedDocument(f"it nests deeper than {DEPTH} levels")
        if isinstance(value, str):
            if value not in own:
                raise RemoteReference(
                    f"the context {value!r} would have to be fetched, which is never done; write the context into the document, "
                    f"or name {base}context.jsonld",
                    context=value,
                )
            inlined += 1
            if inlined > CONTEXTS:
                raise MalformedDocument(f"it names its context more than {CONTEXTS:,} times; name it once, at the top")
            return context()["@context"]
        if isinstance(value, list):
            return [inline(item, depth + 1) for item in value]
        if isinstance(value, dict):
            if "@import" in value:
                raise RemoteReference(
                    "@import in a context would have to be fetched, which is never done; write the terms out"
                )
            return {key: walk(item, depth + 1) for key, item in value.items()}
        return value

    def walk(value: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise MalformedDocument(f"it nests deeper than {DEPTH} levels")
        if isinstance(value, dict):
            return {
                key: inline(item, depth + 1) if key == "@context" else walk(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [walk(item, depth + 1) for item in value]
        return value

    try:
        tree = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite)
        if not isinstance(tree, dict | list):
            raise MalformedDocument("JSON-LD is an object or an array of objects", line=1, column=1)
        return json.dumps(walk(tree, 0), ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise MalformedDocument(error.msg, line=error.lineno, column=error.colno) from None
    except UnicodeEncodeError:
        raise MalformedDocument(
            "an escape such as \\ud800 is half a character; write both halves or the character"
        ) from None
    except ValueError as error:  # Python's own limit on the digits of a whole number, or one of those below
        raise MalformedDocument(str(error).partition(";")[0]) from None
    except RecursionError:
        raise MalformedDocument(f"it nests deeper than {DEPTH} levels") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are unique, as JSON-LD demands (section 9): Python would keep the last, and lose statements."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a number in JSON-LD; write it as a typed value")
    return number


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


# Writing


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


def to_bytes(statements: Iterable[ox.Triple] | Iterable[ox.Quad], syntax: Syntax) -> bytes:
    """Any triples or quads as they come, in a syntax, with the common prefixes where it has any."""
    written = ox.serialize(statements, format=syntax.rdf_format, prefixes=PREFIXES)
    assert written is not None  # None only where an output is given
    return written


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
