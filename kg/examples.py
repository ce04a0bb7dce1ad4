"""The questions as SPARQL examples, as the editors and collections of others read them.

Hides the convention of SIB's collection (https://github.com/sib-swiss/sparql-examples). Promises that every question is there, and
that each query runs as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pyoxigraph as ox

from kg import documents
from kg.questions import Parameter, Question, Term, catalogue
from kg.terms import KINDS, PREFIXES, RDF_TYPE, SH, SLUG, XSD, Base

_HERE = ".well-known/sparql-examples"


@functools.lru_cache(maxsize=8)
def write(base: Base, suffix: str) -> bytes:
    """The questions as the SPARQL examples of SIB have them (https://github.com/sib-swiss/sparql-examples), in the syntax of a suffix."""
    triples = list(_examples(base))
    if suffix == documents.JSON_LD.suffix:
        return documents.json_ld(triples, base)
    prefixes = {name: PREFIXES[name] for name in ("sh", "schema", "rdfs", "rdf", "dcterms", "xsd")}
    prefixes["ex"] = f"{base}{_HERE}/"
    written = ox.serialize(triples, format=documents.syntax_of_suffix(suffix).rdf_format, prefixes=prefixes)
    assert written is not None  # None only where an output is given
    return written


def _examples(base: Base) -> Iterator[ox.Triple]:
    def iri(prefix: str, name: str) -> ox.NamedNode:
        return ox.NamedNode(PREFIXES[prefix] + name)

    a, shared = ox.NamedNode(RDF_TYPE), ox.BlankNode("sparql_examples_prefixes")
    for name, namespace in PREFIXES.items():
        node = ox.BlankNode(f"prefix_{name}")
        yield ox.Triple(shared, iri("sh", "declare"), node)
        yield ox.Triple(node, iri("sh", "prefix"), ox.Literal(name))
        yield ox.Triple(node, iri("sh", "namespace"), ox.Literal(namespace, datatype=ox.NamedNode(XSD + "anyURI")))
    for question in catalogue().values():
        me = ox.NamedNode(f"{base}{_HERE}/{question.id}")
        yield ox.Triple(me, a, ox.NamedNode(SH + "SPARQLExecutable"))
        yield ox.Triple(me, a, ox.NamedNode(SH + "SPARQLSelectExecutable"))
        yield ox.Triple(me, iri("rdfs", "comment"), ox.Literal(question.summary, language="en"))
        yield ox.Triple(me, iri("dcterms", "description"), ox.Literal(question.description, language="en"))
        for tag in question.tags:
            yield ox.Triple(me, iri("schema", "keywords"), ox.Literal(tag))
        yield ox.Triple(me, iri("sh", "prefixes"), shared)
        yield ox.Triple(me, iri("sh", "select"), ox.Literal(sample(question, base)))
        yield ox.Triple(me, iri("schema", "target"), ox.NamedNode(f"{base}sparql"))
        yield ox.Triple(me, iri("rdfs", "seeAlso"), ox.NamedNode(f"{base}questions/{question.id}"))


def sample(question: Question, base: Base) -> str:
    """The query with defaults and, where something must be given, examples in it. What has neither stays a variable."""
    terms: dict[str, Term] = {}
    for parameter in question.parameters.values():
        text = parameter.default if parameter.default is not None or not parameter.required else parameter.example
        if text is not None:
            terms[parameter.name] = _term(parameter, text, base)
    if any(parameter.required and parameter.name not in terms for parameter in question.parameters.values()):
        return question.sparql
    return question.bind(terms, question.limit)


def _term(parameter: Parameter, text: str, base: Base) -> Term:
    """The term of a default or example: of what is given by slug, the document of the first kind."""
    kinds = [kind for kind in parameter.kinds if kind in KINDS]
    if parameter.type == "iri" and (kinds or "act" in parameter.kinds):
        kind, slash, slug = text.partition("/")
        if slash and kind in KINDS:
            return ox.NamedNode(base.document(kind, slug))
        if SLUG.fullmatch(text.partition("#")[0]):
            return ox.NamedNode(base.document(kinds[0] if kinds else "article", text))
    return parameter.read(text)
