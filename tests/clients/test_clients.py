"""Clients that are not ours, as their users run them: SPARQLWrapper, rdflib, curl, rapper and JavaScript's fetch.

What they send is theirs to choose, odd parameters and all; what they make of the answer is what counts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any
from xml.dom.minidom import Document

import pytest
import rdflib
from rdflib.compare import isomorphic
from rdflib.plugins.stores.sparqlstore import SPARQLStore
from serving import Server
from SPARQLWrapper import (
    CSV,
    GET,
    JSON,
    JSONLD,
    N3,
    POST,
    POSTDIRECTLY,
    RDFXML,
    TSV,
    TURTLE,
    URLENCODED,
    XML,
    SPARQLWrapper,
)
from SPARQLWrapper.SPARQLExceptions import QueryBadFormed

# What rdflib and SPARQLWrapper use of rdflib's older names is theirs to change.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ConjunctiveGraph.*:DeprecationWarning", "ignore:.*default_context.*:DeprecationWarning"
)

SEEDS = Path(__file__).resolve().parents[2] / "seeds"
EKG = rdflib.Namespace("https://w3id.org/ekg/ns#")

#: Its labels are in three scripts, and its number of rows is known.
LABELS = "SELECT ?label WHERE { agreement:russia-north-korea-partnership rdfs:label ?label } ORDER BY LANG(?label)"
GRAPH = "CONSTRUCT { ?s ?p ?o } WHERE { GRAPH agreement:russia-north-korea-partnership { ?s ?p ?o } }"


def seed(kind: str, slug: str, base: str) -> rdflib.Graph:
    """A seed as rdflib reads it."""
    return rdflib.Graph().parse(data=(SEEDS / kind / f"{slug}.ttl").read_text("utf-8"), format="turtle", publicID=base)


def needs(command: str, package: str) -> str:
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"there is no {command} here: apt-get install {package}")
    return path


# SPARQLWrapper

METHODS = [(GET, None), (POST, URLENCODED), (POST, POSTDIRECTLY)]


def wrapper(server: Server, method: str, request: str | None, form: str | None, text: str) -> SPARQLWrapper:
    client = SPARQLWrapper(server.url + "sparql")
    client.setMethod(method)
    if request is not None:
        client.setRequestMethod(request)
    if form is not None:
        client.setReturnFormat(form)
    client.setQuery(text)
    return client


def told(server: Server, query: str) -> str:
    """The query with the prefixes that SPARQLWrapper wants declared, to know what form it has."""
    prefixes = {"agreement": server.url + "agreement/", "rdfs": str(rdflib.RDFS)}
    return "".join(f"PREFIX {name}: <{iri}>\n" for name, iri in prefixes.items()) + query


@pytest.mark.parametrize(("method", "request_method"), METHODS)
@pytest.mark.parametrize("form", [JSON, XML, CSV, TSV, None])
def test_sparqlwrapper_gets_rows(served: Server, method: str, request_method: str | None, form: str | None) -> None:
    result = wrapper(served, method, request_method, form, told(served, LABELS)).query()
    converted: Any = result.convert()
    if form == JSON:
        rows = [row["label"]["value"] for row in converted["results"]["bindings"]]
    elif form in (XML, None):
        assert isinstance(converted, Document)
        rows = [node.firstChild.data for node in converted.getElementsByTagName("literal") if node.firstChild]  # type: ignore[union-attr]
    else:
        rows = [line.strip().partition("@")[0].strip('"') for line in converted.decode().splitlines()[1:]]
    graph = seed("agreement", "russia-north-korea-partnership", served.url)
    labels = sorted(graph.objects(None, rdflib.RDFS.label), key=lambda label: str(getattr(label, "language", "")))
    assert rows == [str(label) for label in labels]
    assert len(rows) == 3


@pytest.mark.parametrize(("method", "request_method"), METHODS)
@pytest.mark.parametrize("form", [JSON, XML])
def test_sparqlwrapper_gets_a_verdict(served: Server, method: str, request_method: str | None, form: str) -> None:
    converted: Any = wrapper(served, method, request_method, form, "ASK { ?s ?p ?o }").queryAndConvert()
    if form == JSON:
        assert converted["boolean"] is True
    else:
        assert converted.getElementsByTagName("boolean")[0].firstChild.data == "true"


@pytest.mark.parametrize(("method", "request_method"), METHODS)
@pytest.mark.parametrize("form", [TURTLE, N3, XML, RDFXML, JSONLD, None])
@pytest.mark.parametrize("query", [GRAPH, "DESCRIBE agreement:russia-north-korea-partnership"])
def test_sparqlwrapper_gets_a_graph(
    served: Server, method: str, request_method: str | None, form: str | None, query: str
) -> None:
    converted: Any = wrapper(served, method, request_method, form, told(served, query)).queryAndConvert()
    graph = converted if isinstance(converted, rdflib.Graph) else rdflib.Graph().parse(data=converted, format="turtle")
    assert isomorphic(graph, seed("agreement", "russia-north-korea-partnership", served.url))


def test_sparqlwrapper_shows_its_user_what_is_wrong(served: Server) -> None:
    client = wrapper(served, GET, None, JSON, "SELECT * WHERE { ?s ?p }")
    with pytest.raises(QueryBadFormed, match="column"):
        client.query()


def test_sparqlwrapper_asks_of_chosen_graphs(served: Server) -> None:
    client = wrapper(served, GET, None, JSON, "SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }")
    client.addDefaultGraph(served.url + "agreement/russia-north-korea-partnership")
    converted: Any = client.queryAndConvert()
    size = len(seed("agreement", "russia-north-korea-partnership", served.url))
    assert converted["results"]["bindings"][0]["n"]["value"] == str(size)


# rdflib


@pytest.mark.parametrize("form", ["xml", "json", "csv", "tsv"])
@pytest.mark.parametrize("method", ["GET", "POST", "POST_FORM"])
def test_rdflib_asks_a_remote_graph(served: Server, form: str, method: str) -> None:
    graph = rdflib.Graph(SPARQLStore(served.url + "sparql", returnFormat=form, method=method))
    rows = list(graph.query(LABELS))
    assert len(rows) == 3
    assert "조선-로씨야 포괄적인 전략적동반자관계에 관한 조약" in {str(row[0]) for row in rows}  # type: ignore[index]


def test_rdflib_walks_a_remote_graph(served: Server) -> None:
    graph = rdflib.Graph(SPARQLStore(served.url + "sparql"))
    gerasimov = rdflib.URIRef(served.url + "actor/valery-gerasimov")
    acts = set(graph.subjects(EKG.speaker, gerasimov))
    assert rdflib.URIRef(served.url + "article/russia-admits-north-korean-soldiers#s2") in acts
    assert (gerasimov, rdflib.RDF.type, EKG.Person) in graph
    assert (gerasimov, rdflib.RDF.type, EKG.State) not in graph


@pytest.mark.parametrize(("method", "kind"), [("GET", "CONSTRUCT"), ("POST", "CONSTRUCT"), ("GET", "DESCRIBE")])
def test_rdflib_gets_a_graph(served: Server, method: str, kind: str) -> None:
    store = SPARQLStore(served.url + "sparql", returnFormat="application/rdf+xml", method=method)
    query = GRAPH if kind == "CONSTRUCT" else "DESCRIBE agreement:russia-north-korea-partnership"
    graph = rdflib.Graph(store).query(query).graph
    assert graph is not None
    assert isomorphic(graph, seed("agreement", "russia-north-korea-partnership", served.url))


@pytest.mark.parametrize("form", [None, "turtle", "xml", "nt", "json-ld"])
def test_rdflib_reads_a_thing_by_its_iri(served: Server, form: str | None) -> None:
    """It negotiates, follows the 303, and for JSON-LD fetches the context that the document names, from this server."""
    graph = rdflib.Graph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph.parse(served.url + "place/kursk-region", format=form)
    assert isomorphic(graph, seed("place", "kursk-region", served.url))


@pytest.mark.parametrize(("path", "subject"), [("ns", EKG.Admission), ("shapes", None)])
def test_rdflib_reads_the_descriptions(served: Server, path: str, subject: rdflib.URIRef | None) -> None:
    graph = rdflib.Graph().parse(served.url + path)
    assert len(graph) > 100
    if subject is not None:
        assert (subject, rdflib.RDF.type, rdflib.OWL.Class) in graph


# The shell


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([needs("curl", "curl"), "-sS", *arguments], capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("accept", "content_type", "form"),
    [
        ("text/turtle", "text/turtle; charset=utf-8", "turtle"),
        ("application/n-triples", "application/n-triples", "nt"),
        ("application/rdf+xml", "application/rdf+xml", "xml"),
        ("application/ld+json", "application/ld+json", "json-ld"),
        ("application/trig", "application/trig", "trig"),
        ("application/n-quads", "application/n-quads", "nquads"),
        (None, "text/turtle; charset=utf-8", "turtle"),
        ("text/html", "text/html; charset=utf-8", None),
    ],
)
def test_curl_follows_a_thing_to_its_document(
    served: Server, accept: str | None, content_type: str, form: str | None
) -> None:
    wanted = ["-H", f"Accept: {accept}"] if accept else []
    done = curl("-L", *wanted, "-w", "\n%{content_type} %{http_code}", served.url + "place/kursk-region")
    body, _, tail = done.stdout.decode().rpartition("\n")
    assert tail == f"{content_type} 200"
    if form is None:
        assert "<h1" in body
        return
    dataset = rdflib.Dataset(default_union=True)
    dataset.parse(data=body, format=form, publicID=served.url)
    found = rdflib.Graph()
    for s, p, o in dataset.triples((None, None, None)):
        found.add((s, p, o))
    assert isomorphic(found, seed("place", "kursk-region", served.url))


def test_curl_asks_as_the_manual_of_curl_has_it(served: Server) -> None:
    for way in (["-G", "--data-urlencode", f"query={LABELS}"], ["--data-urlencode", f"query={LABELS}"]):
        done = curl(served.url + "sparql", "-H", "Accept: text/csv", *way)
        assert len(done.stdout.decode().splitlines()) == 4
    direct = ["-H", "Content-Type: application/sparql-query", "--data-binary", LABELS]
    assert len(curl(served.url + "sparql", "-H", "Accept: text/csv", *direct).stdout.decode().splitlines()) == 4


def test_curl_fails_when_it_is_told_to(served: Server) -> None:
    assert curl("--fail", served.url + "actor/nobody").returncode == 22


@pytest.mark.parametrize("suffix", ["ttl", "nt", "rdf"])
def test_rapper_counts_the_triples_of_every_article(served: Server, suffix: str) -> None:
    """raptor is a parser of its own, in C, and strict."""
    rapper = needs("rapper", "raptor2-utils")
    syntax = {"ttl": "turtle", "nt": "ntriples", "rdf": "rdfxml"}[suffix]
    for path in sorted(SEEDS.glob("article/*.ttl")):
        url = f"{served.url}article/{path.stem}.{suffix}"
        done = subprocess.run(
            [rapper, "-q", "-i", syntax, "-o", "ntriples", url], capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        assert len(set(done.stdout.splitlines())) == len(seed("article", path.stem, served.url))


@pytest.mark.parametrize("syntax", ["turtle", "rdfxml", "ntriples", None])
def test_rapper_reads_a_thing_by_its_iri(served: Server, syntax: str | None) -> None:
    """It says itself what it would rather have, and follows the 303."""
    chosen = ["-i", syntax] if syntax else ["-g"]
    command = [needs("rapper", "raptor2-utils"), "-q", *chosen, "-o", "ntriples", served.url + "place/kursk-region"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    found = rdflib.Graph().parse(data=done.stdout, format="nt")
    assert isomorphic(found, seed("place", "kursk-region", served.url))


# JavaScript

_SCRIPT = """
const base = process.argv[2];
const query = "SELECT ?label WHERE { actor:north-korea rdfs:label ?label } ORDER BY LANG(?label)";
const asked = async (url, options) => {
  const response = await fetch(url, options);
  return { status: response.status, type: response.headers.get("content-type"), revision: response.headers.get("kg-revision"), body: await response.text() };
};
(async () => {
  const form = new URLSearchParams({ query });
  const json = { Accept: "application/sparql-results+json" };
  const answers = {
    get: await asked(`${base}sparql?${form}`, { headers: json }),
    form: await asked(`${base}sparql`, { method: "POST", body: form, headers: json }),
    direct: await asked(`${base}sparql`, { method: "POST", body: query, headers: { ...json, "Content-Type": "application/sparql-query" } }),
    thing: await asked(`${base}actor/north-korea`, { headers: { Accept: "application/ld+json" } }),
    wrong: await asked(`${base}sparql?query=SELEKT`, { headers: json }),
  };
  console.log(JSON.stringify(answers));
})();
"""


def test_fetch_in_javascript(served: Server, tmp_path: Path) -> None:
    script = tmp_path / "client.cjs"
    script.write_text(_SCRIPT, "utf-8")
    done = subprocess.run([needs("node", "nodejs"), script, served.url], capture_output=True, timeout=60, check=True)
    answers = json.loads(done.stdout)
    labels = seed("actor", "north-korea", served.url).objects(None, rdflib.RDFS.label)
    for way in ("get", "form", "direct"):
        answer = answers[way]
        assert (answer["status"], answer["type"]) == (200, "application/sparql-results+json")
        assert int(answer["revision"]) >= 1
        rows = [row["label"]["value"] for row in json.loads(answer["body"])["results"]["bindings"]]
        assert sorted(rows) == sorted(
            str(label) for label in seed("actor", "north-korea", served.url).objects(None, rdflib.RDFS.label)
        )
    assert list(labels)
    thing = json.loads(answers["thing"]["body"])
    assert (answers["thing"]["status"], answers["thing"]["type"]) == (200, "application/ld+json")
    assert thing["@context"] == served.url + "context.jsonld"
    wrong = answers["wrong"]
    assert (wrong["status"], wrong["type"], json.loads(wrong["body"])["line"]) == (400, "application/problem+json", 1)
