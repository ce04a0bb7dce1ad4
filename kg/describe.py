"""What the service says of itself to machines: the SPARQL service description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyoxigraph as ox

from kg.terms import KINDS, RDF_TYPE, XSD, Base

_SD = "http://www.w3.org/ns/sparql-service-description#"
_VOID = "http://rdfs.org/ns/void#"
_FORMATS = "http://www.w3.org/ns/formats/"


def service(base: Base, counts: Mapping[str, int]) -> Iterator[ox.Triple]:
    """The service description (SPARQL 1.1 Service Description, section 3). `counts` is documents by kind."""

    def iri(name: str) -> ox.NamedNode:
        return ox.NamedNode(name)

    here, dataset, graph = iri(base.iri + "sparql"), ox.BlankNode("dataset"), ox.BlankNode("graph")
    a = iri(RDF_TYPE)
    yield ox.Triple(here, a, iri(_SD + "Service"))
    yield ox.Triple(here, iri(_SD + "endpoint"), here)
    yield ox.Triple(here, iri(_SD + "supportedLanguage"), iri(_SD + "SPARQL11Query"))
    yield ox.Triple(here, iri(_SD + "feature"), iri(_SD + "UnionDefaultGraph"))
    for name in (
        "SPARQL_Results_JSON",
        "SPARQL_Results_XML",
        "SPARQL_Results_CSV",
        "SPARQL_Results_TSV",
        "Turtle",
        "N-Triples",
        "JSON-LD",
        "RDF_XML",
    ):
        yield ox.Triple(here, iri(_SD + "resultFormat"), iri(_FORMATS + name))
    yield ox.Triple(here, iri(_SD + "defaultDataset"), dataset)
    yield ox.Triple(dataset, a, iri(_SD + "Dataset"))
    yield ox.Triple(dataset, iri(_SD + "defaultGraph"), graph)
    yield ox.Triple(graph, a, iri(_SD + "Graph"))
    integer = iri(XSD + "integer")
    for kind, count in sorted(counts.items()):
        part = ox.BlankNode(kind)
        yield ox.Triple(graph, iri(_VOID + "classPartition"), part)
        yield ox.Triple(part, iri(_VOID + "class"), iri(KINDS[kind]))
        yield ox.Triple(part, iri(_VOID + "entities"), ox.Literal(str(count), datatype=integer))
