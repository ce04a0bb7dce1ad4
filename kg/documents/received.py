"""Statements from bytes that a stranger sent.

Hides the parsers and what each syntax can do besides carrying RDF. Promises that nothing is ever fetched, that no input makes it
run away, that what it lets through can be written in every syntax, and that an error tells its place where there is one.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

import pyoxigraph as ox

from kg.documents.syntaxes import JSON_LD, RDF_XML, Syntax, context
from kg.errors import MalformedDocument, RemoteReference, UnplaceableDocument
from kg.terms import RDF, Base

#: Where clients that do not know the deployment may say they found the context; never fetched.
CONTEXT_ALIASES = ("https://w3id.org/ekg/context.jsonld", "/context.jsonld", "context.jsonld")

#: Deepest nesting of elements, objects and arrays. Python's JSON parser gives up at about a thousand, and the RDF/XML parser
#: takes time with the square of the depth.
DEPTH = 100

#: How often a document may name the vocabulary's context; each time costs 8 kB and 0.4 ms.
CONTEXTS = 1000


def quads(data: bytes, syntax: Syntax, resolver: str, base: Base) -> Iterator[ox.Quad]:
    """The statements in `data`; relative IRIs resolve against `resolver`. Raises a `DocumentError`, possibly after some of them."""
    data = _text(data)
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
