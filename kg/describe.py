"""What the service says of itself to machines: the SPARQL service description, and VoID of what the graph holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import pyoxigraph as ox

from kg import documents, dumps, rules
from kg.terms import EKG, KINDS, PREFIXES, RDF_TYPE, RDFS, XSD, Base

_SD = "http://www.w3.org/ns/sparql-service-description#"
_VOID = "http://rdfs.org/ns/void#"
_DCTERMS = "http://purl.org/dc/terms/"
_VOID_EXT = "http://ldf.fi/void-ext#"

#: Formats by the names that the W3C keeps for them (https://www.w3.org/ns/formats/).
_FORMATS = "http://www.w3.org/ns/formats/"
_RESULT_FORMATS = (
    "SPARQL_Results_JSON",
    "SPARQL_Results_XML",
    "SPARQL_Results_CSV",
    "SPARQL_Results_TSV",
    "Turtle",
    "N-Triples",
    "JSON-LD",
    "RDF_XML",
    "TriG",
    "N-Quads",
)

#: Classes of what is derived as nodes of their own.
DERIVED_CLASSES = (EKG + "Reversal", EKG + "FormerReversal", PREFIXES["prov"] + "Entity")

_DERIVED = "What the service derives from the documents by rules. Nobody writes it."

#: Named graphs that the description names of each kind of document: it must not grow with the data.
GRAPHS_OF_A_KIND = 10


def service(
    base: Base, counts: Mapping[str, int], graphs: Iterable[str], *, federated: bool = False
) -> Iterator[ox.Triple]:
    """The service description (SPARQL 1.1 Service Description, section 3).

    `counts` is documents by kind; `graphs` are the documents to name as named graphs; `federated` says that SERVICE may ask some
    endpoint. What is absent says something too: without it there is no sd:BasicFederatedQuery because queries never reach out, and
    there never is sd:DereferencesURIs because FROM names graphs that are here. Updates have an endpoint of their own, which is
    a service of its own (sd:endpoint is inverse functional) over the same data.
    """

    def about(
        subject: ox.NamedNode | ox.BlankNode, *pairs: tuple[str, ox.NamedNode | ox.BlankNode | ox.Literal]
    ) -> Iterator[ox.Triple]:
        for name, value in pairs:
            yield ox.Triple(subject, ox.NamedNode(name), value)

    def number(count: int) -> ox.Literal:
        return ox.Literal(str(count), datatype=ox.NamedNode(XSD + "integer"))

    def sd(name: str) -> ox.NamedNode:
        return ox.NamedNode(_SD + name)

    here, dataset, default = ox.NamedNode(base.iri + "sparql"), ox.BlankNode("dataset"), ox.BlankNode("default")
    yield from about(
        here,
        (RDF_TYPE, sd("Service")),
        (_DCTERMS + "title", ox.Literal("Event knowledge graph", language="en")),
        (_SD + "endpoint", here),
        (_SD + "supportedLanguage", sd("SPARQL10Query")),
        (_SD + "supportedLanguage", sd("SPARQL11Query")),
        (_SD + "feature", sd("UnionDefaultGraph")),
        *([(_SD + "feature", sd("BasicFederatedQuery"))] if federated else []),
        (_SD + "defaultEntailmentRegime", ox.NamedNode("http://www.w3.org/ns/entailment/Simple")),
        *((_SD + "resultFormat", ox.NamedNode(_FORMATS + name)) for name in _RESULT_FORMATS),
        (_SD + "defaultDataset", dataset),
        (RDFS + "seeAlso", ox.NamedNode(base.iri + ".well-known/void")),
    )
    updates = ox.NamedNode(base.iri + "update")
    yield from about(
        updates,
        (RDF_TYPE, sd("Service")),
        (_SD + "endpoint", updates),
        (_SD + "supportedLanguage", sd("SPARQL11Update")),
        (_SD + "defaultDataset", dataset),
        (RDFS + "comment", ox.Literal("Takes a token. Every graph is named, and is a document.", language="en")),
    )
    total = sum(counts.values())
    yield from about(
        dataset,
        (RDF_TYPE, sd("Dataset")),
        (_SD + "defaultGraph", default),
        (_VOID + "uriSpace", ox.Literal(base.iri)),
        (_VOID + "documents", number(total)),
        (_VOID + "vocabulary", ox.NamedNode("https://w3id.org/ekg/ns")),
    )
    yield from about(
        default,
        (RDF_TYPE, sd("Graph")),
        (
            RDFS + "comment",
            ox.Literal(
                "The union of all named graphs. Each document is one, named by its own IRI; one more has what is derived from them.",
                language="en",
            ),
        ),
    )
    for kind, count in sorted(counts.items()):
        part = ox.BlankNode(kind)
        yield from about(default, (_VOID + "classPartition", part))
        yield from about(part, (_VOID + "class", ox.NamedNode(KINDS[kind])), (_VOID + "entities", number(count)))
    named = sorted(graphs)
    for place, name in enumerate(named):
        graph = ox.BlankNode(f"graph{place}")
        yield from about(dataset, (_SD + "namedGraph", graph))
        yield from about(graph, (RDF_TYPE, sd("NamedGraph")), (_SD + "name", ox.NamedNode(name)))
    derived = ox.BlankNode("derived")
    yield from about(dataset, (_SD + "namedGraph", derived))
    yield from about(
        derived,
        (RDF_TYPE, sd("NamedGraph")),
        (_SD + "name", rules.graph_of(base.iri)),
        (RDFS + "comment", ox.Literal(_DERIVED, language="en")),
    )
    if len(named) < total:
        told = f"{len(named)} of {total} documents are listed here as named graphs, the first of each kind."
        yield from about(dataset, (RDFS + "comment", ox.Literal(told, language="en")))


def dataset(
    base: Base, census: Mapping[tuple[str, str], int], revision: int, modified: datetime | None
) -> Iterator[ox.Triple]:
    """The description of the data (Describing Linked Datasets with the VoID Vocabulary), as of a revision.

    The dataset has two parts: the documents, with the numbers of `census`, which is that of the journal; and what is derived from
    them, of which the properties and classes are told and not how many there are. Prefixes are declared as in SHACL (section 5.2.1).
    """

    def iri(name: str) -> ox.NamedNode:
        return ox.NamedNode(name)

    def number(count: int) -> ox.Literal:
        return ox.Literal(str(count), datatype=iri(XSD + "integer"))

    a, dcterms, sh = iri(RDF_TYPE), PREFIXES["dcterms"], PREFIXES["sh"]
    here = iri(base.iri + ".well-known/void")
    me, documented, derived = (iri(f"{here.value}#{part}") for part in ("dataset", "documents", "derived"))
    yield ox.Triple(here, a, iri(_VOID + "DatasetDescription"))
    yield ox.Triple(here, iri("http://xmlns.com/foaf/0.1/primaryTopic"), me)
    yield ox.Triple(me, a, iri(_VOID + "Dataset"))
    yield ox.Triple(me, iri(dcterms + "title"), ox.Literal("Event knowledge graph", language="en"))
    yield ox.Triple(me, iri(dcterms + "license"), iri("https://creativecommons.org/licenses/by/4.0/"))
    if modified is not None:
        stamp = modified.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield ox.Triple(me, iri(dcterms + "modified"), ox.Literal(stamp, datatype=iri(XSD + "dateTime")))
    yield ox.Triple(me, iri(PREFIXES["owl"] + "versionInfo"), ox.Literal(str(revision)))
    yield ox.Triple(me, iri(_VOID + "sparqlEndpoint"), iri(base.iri + "sparql"))
    yield ox.Triple(me, iri(_VOID + "uriSpace"), ox.Literal(base.iri))
    yield ox.Triple(
        me, iri(_VOID + "exampleResource"), iri(base.document("article", "russia-admits-north-korean-soldiers"))
    )
    yield ox.Triple(me, iri(_VOID + "vocabulary"), iri(EKG))
    for suffix in ("Turtle", "JSON-LD", "N-Triples", "RDF_XML"):
        yield ox.Triple(me, iri(_VOID + "feature"), iri(_FORMATS + suffix))
    for part, title in ((documented, "The documents"), (derived, _DERIVED)):
        yield ox.Triple(me, iri(_VOID + "subset"), part)
        yield ox.Triple(part, a, iri(_VOID + "Dataset"))
        yield ox.Triple(part, iri(dcterms + "title"), ox.Literal(title, language="en"))
    for form in dumps.FORMS:  # they hold the journal, and what is derived can be derived again
        yield ox.Triple(documented, iri(_VOID + "dataDump"), iri(f"{base.iri}dump.{form}.gz"))
    yield ox.Triple(documented, iri(_VOID + "triples"), number(census.get(("triples", ""), 0)))
    yield ox.Triple(documented, iri(_VOID + "distinctSubjects"), number(census.get(("subjects", ""), 0)))
    partitions: list[ox.Triple] = []  # after what is said of the whole, so that both read well
    for what, total, part_of, key, count in (
        ("class", "classes", "classPartition", "class", "entities"),
        ("property", "properties", "propertyPartition", "property", "triples"),
        ("datatype", None, "datatypePartition", "datatype", "triples"),
    ):
        of = sorted((which, n) for (kind, which), n in census.items() if kind == what)
        if total is not None:
            yield ox.Triple(documented, iri(_VOID + total), number(len(of)))
        # Datatype partitions are the SPARQL-generated-VoID extension that editors complete from.
        space = _VOID_EXT if what == "datatype" else _VOID
        for which, n in of:
            node = ox.BlankNode()
            yield ox.Triple(documented, iri(space + part_of), node)
            partitions.append(ox.Triple(node, iri(space + key), iri(which)))
            partitions.append(ox.Triple(node, iri(_VOID + count), number(n)))
    yield ox.Triple(derived, iri(PREFIXES["prov"] + "wasDerivedFrom"), documented)
    given = sorted(predicate for rule in rules.catalogue() for predicate in rule.gives)
    for part_of, key, names in (
        ("classPartition", "class", DERIVED_CLASSES),
        ("propertyPartition", "property", [RDF_TYPE, *given]),
    ):
        for which in names:
            node = ox.BlankNode()
            yield ox.Triple(derived, iri(_VOID + part_of), node)
            partitions.append(ox.Triple(node, iri(_VOID + key), iri(which)))
    for name, namespace in PREFIXES.items():
        node = ox.BlankNode()
        yield ox.Triple(me, iri(sh + "declare"), node)
        partitions.append(ox.Triple(node, iri(sh + "prefix"), ox.Literal(name)))
        partitions.append(ox.Triple(node, iri(sh + "namespace"), ox.Literal(namespace, datatype=iri(XSD + "anyURI"))))
    yield from partitions


def write(description: Iterable[ox.Triple], suffix: str, base: Base) -> bytes:
    """A description in the syntax of a suffix, with prefixes for its own vocabularies."""
    if suffix == documents.JSON_LD.suffix:
        return documents.json_ld(description, base)
    prefixes = {
        "sd": _SD,
        "void": _VOID,
        "formats": _FORMATS,
        **{name: PREFIXES[name] for name in ("ekg", "dcterms", "rdfs")},
    }
    written = ox.serialize(description, format=documents.syntax_of_suffix(suffix).rdf_format, prefixes=prefixes)
    assert written is not None  # None only where an output is given
    return written
