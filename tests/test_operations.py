"""What the service tells of itself in numbers, over real HTTP."""

from __future__ import annotations

import csv
import io
import re

import pyoxigraph as ox
import pytest
from serving import Server, until

from kg import describe, rules
from kg.terms import RDF_TYPE

VOID = "http://rdfs.org/ns/void#"


def _void(served: Server) -> ox.Dataset:
    reply = served.get(".well-known/void", {"Accept": "application/n-triples"})
    assert reply.status == 200
    return ox.Dataset(ox.parse(reply.body, format=ox.RdfFormat.N_TRIPLES))


def _partitions(data: ox.Dataset, namespace: str, part: str, key: str, count: str) -> dict[str, int]:
    """Those of the documents, with their numbers."""
    found = {}
    for quad in data.quads_for_predicate(ox.NamedNode(namespace + part)):
        if not quad.subject.value.endswith("#documents"):
            continue
        of = {q.predicate.value: q.object for q in data.quads_for_subject(quad.object)}  # type: ignore[arg-type]
        found[of[namespace + key].value] = int(of[VOID + count].value)  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize(
    ("namespace", "part", "key", "count", "query"),
    [
        (VOID, "classPartition", "class", "entities", "SELECT ?k (COUNT(*) AS ?n) { ?s a ?k } GROUP BY ?k"),
        (VOID, "propertyPartition", "property", "triples", "SELECT ?k (COUNT(*) AS ?n) { ?s ?k ?o } GROUP BY ?k"),
        (
            "http://ldf.fi/void-ext#",
            "datatypePartition",
            "datatype",
            "triples",
            "SELECT ?k (COUNT(*) AS ?n) { ?s ?p ?o FILTER isLiteral(?o) BIND(DATATYPE(?o) AS ?k) } GROUP BY ?k",
        ),
    ],
)
def test_partitions_agree_with_the_graph(
    served: Server, namespace: str, part: str, key: str, count: str, query: str
) -> None:
    rows = list(csv.reader(io.StringIO(served.sparql(_of_documents(query)).text)))[1:]
    assert _partitions(_void(served), namespace, part, key, count) == {k: int(n) for k, n in rows}


def _of_documents(query: str) -> str:
    """The query about what documents say: VoID describes that, and not what is derived."""
    return re.sub(r"\{ (.*) \}", r'{ GRAPH ?g { \1 } FILTER(!STRENDS(STR(?g), "/derived")) }', query)


def test_totals_agree_with_the_graph(served: Server) -> None:
    data = _void(served)

    def total(name: str) -> int:
        [quad] = [
            q for q in data.quads_for_predicate(ox.NamedNode(VOID + name)) if q.subject.value.endswith("#documents")
        ]  # type: ignore[union-attr]
        return int(quad.object.value)  # type: ignore[union-attr]

    for name, counted in (("triples", "*"), ("distinctSubjects", "DISTINCT ?s")):
        query = _of_documents(f"SELECT (COUNT({counted}) AS ?n) {{ ?s ?p ?o }}")
        assert total(name) == int(served.sparql(query).text.split()[1])


@pytest.mark.parametrize(
    ("part", "key", "query"),
    [
        ("classPartition", "class", "SELECT DISTINCT ?k { GRAPH <%sderived> { ?s a ?k } }"),
        ("propertyPartition", "property", "SELECT DISTINCT ?k { GRAPH <%sderived> { ?s ?k ?o } }"),
    ],
)
def test_what_is_derived_is_a_part_with_its_terms(served: Server, part: str, key: str, query: str) -> None:
    data = _void(served)
    whole = ox.NamedNode(f"{served.url}.well-known/void#dataset")
    subsets = {q.object.value for q in data.quads_for_subject(whole) if q.predicate.value == VOID + "subset"}
    assert subsets == {f"{served.url}.well-known/void#documents", f"{served.url}.well-known/void#derived"}
    found = {
        q.object.value  # type: ignore[union-attr]
        for quad in data.quads_for_subject(ox.NamedNode(f"{served.url}.well-known/void#derived"))
        if quad.predicate.value == VOID + part
        for q in data.quads_for_subject(quad.object)  # type: ignore[arg-type]
        if q.predicate.value == VOID + key
    }
    given = {predicate for rule in rules.catalogue() for predicate in rule.gives}
    assert set(served.sparql(query % served.url).text.split()[1:]) <= found
    assert found == (set(describe.DERIVED_CLASSES) if key == "class" else given | {RDF_TYPE})


def test_service_description_names_the_derived_graph_and_where_updates_go(served: Server) -> None:
    sd = "http://www.w3.org/ns/sparql-service-description#"
    reply = served.get("sparql", {"Accept": "application/n-triples"})
    triples = {(t.subject, t.predicate.value, t.object) for t in ox.parse(reply.body, format=ox.RdfFormat.N_TRIPLES)}
    assert ox.NamedNode(f"{served.url}derived") in {o for _, p, o in triples if p == sd + "name"}
    updates, queries = ox.NamedNode(f"{served.url}update"), ox.NamedNode(f"{served.url}sparql")
    assert (updates, sd + "endpoint", updates) in triples
    assert (updates, sd + "supportedLanguage", ox.NamedNode(sd + "SPARQL11Update")) in triples
    assert (queries, sd + "supportedLanguage", ox.NamedNode(sd + "SPARQL11Update")) not in triples
    datasets = {s: o for s, p, o in triples if p == sd + "defaultDataset"}
    assert datasets[updates] == datasets[queries]


def test_void_is_kept_and_revalidated(served: Server) -> None:
    first = served.get(".well-known/void", {"Accept": "text/turtle"})
    assert first.headers["ETag"]
    again = served.get(".well-known/void", {"Accept": "text/turtle", "If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_metrics_count_requests_and_memory(served: Server) -> None:
    def figure(name: str) -> float:
        for line in served.get("metrics").text.splitlines():
            if line.startswith((name + " ", name + "{")):
                return float(line.split()[-1])
        raise AssertionError(f"no {name}")

    served.sparql("ASK { }")
    before = figure("kg_cache_hits")
    served.sparql("ASK { }")
    assert figure("kg_cache_hits") >= before + 1
    assert figure("kg_revision") == figure("kg_revision") > 0
    assert figure("kg_revision_lag") == 0
    assert figure("kg_query_processes") >= 1
    assert figure("kg_disk_bytes") > 0


def test_live_and_ready_are_told_apart(served: Server) -> None:
    assert served.get("health/live").json() == {"status": "ok"}
    ready = served.get("health/ready")
    assert (ready.status, ready.json()["status"]) == (200, "ok")
    whole = served.get("health").json()
    assert whole["status"] == "ok"
    assert whole["revision"] == whole["reached"]


def test_errors_repeat_the_id_that_the_log_has(served: Server) -> None:
    problem = served.sparql("SELECT", "application/json").json()
    until(lambda: f"[{problem['request']}] GET /sparql 400" in served.output, "the log has the line")
