"""Clients that are not ours and write: rdflib's update store and SPARQLWrapper, over HTTP."""

from __future__ import annotations

import json
import urllib.error

import pytest
import rdflib
from rdflib.namespace import RDF, RDFS, SH
from rdflib.plugins.stores.sparqlstore import SPARQLUpdateStore
from serving import Server
from SPARQLWrapper import POST, POSTDIRECTLY, URLENCODED, SPARQLWrapper
from SPARQLWrapper.SPARQLExceptions import QueryBadFormed

from kg.tokens import Tokens

# What rdflib uses of its own older names is its to change.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*ConjunctiveGraph.*:DeprecationWarning", "ignore:.*default_context.*:DeprecationWarning"
)

EKG = rdflib.Namespace("https://w3id.org/ekg/ns#")


@pytest.fixture(scope="module")
def token(blank: Server) -> str:
    return Tokens(blank.data).create("notebook", "admin")


def store(server: Server, token: str, *, autocommit: bool = True) -> SPARQLUpdateStore:
    return SPARQLUpdateStore(
        query_endpoint=server.url + "sparql",
        update_endpoint=server.url + "update",
        autocommit=autocommit,
        context_aware=True,
        headers={"Authorization": f"Bearer {token}"},
    )


def test_rdflib_writes_through_its_update_store(blank: Server, token: str) -> None:
    place = rdflib.URIRef(blank.url + "place/harbour")
    opened = store(blank, token, autocommit=False)
    graph = rdflib.Dataset(opened).graph(place)
    graph.add((place, RDF.type, EKG.Place))
    graph.add((place, RDFS.label, rdflib.Literal("Harbour", lang="en")))
    opened.commit()
    assert set(graph) == {(place, RDF.type, EKG.Place), (place, RDFS.label, rdflib.Literal("Harbour", lang="en"))}

    # Each of these is one request.
    graph.store.autocommit = True
    graph.add((place, RDFS.comment, rdflib.Literal("} GRAPH ?g { # not a comment")))
    graph.remove((place, RDFS.comment, None))
    graph.update('INSERT { ?s rdfs:comment "in words"@en } WHERE { ?s a ekg:Place }', initNs={"rdfs": RDFS, "ekg": EKG})
    assert set(graph.objects(place, RDFS.comment)) == {rdflib.Literal("in words", lang="en")}
    assert blank.count(f"GRAPH <{place}> {{ ?s ?p ?o }}") == 3


def test_rdflib_tells_why_the_gate_refused(blank: Server, token: str) -> None:
    place = rdflib.URIRef(blank.url + "place/nameless")
    graph = rdflib.Dataset(store(blank, token)).graph(place)
    with pytest.raises(urllib.error.HTTPError) as refused:
        graph.add((place, RDF.type, EKG.Place))
    with refused.value as error:  # it takes RDF, as it does from a query, so it gets the SHACL report
        report = rdflib.Graph().parse(data=error.read(), format=error.headers.get_content_type())
    assert error.code == 422
    (result,) = report.subjects(RDF.type, SH.ValidationResult)
    assert report.value(result, SH.focusNode) == place
    assert report.value(result, SH.resultPath) == RDFS.label
    assert "rdfs:label" in str(report.value(result, SH.resultMessage))
    with pytest.raises(urllib.error.HTTPError) as refused:
        rdflib.Dataset(store(blank, token)).update("CLEAR ALL")
    with refused.value as error:
        assert "name each document outright" in json.loads(error.read())["detail"]
    assert len(graph) == 0


@pytest.mark.parametrize("form", [URLENCODED, POSTDIRECTLY])
def test_sparqlwrapper_writes_by_post(blank: Server, token: str, form: str) -> None:
    def send(text: str) -> int:
        client = SPARQLWrapper(blank.url + "update")
        client.setMethod(POST)
        client.setRequestMethod(form)
        client.addCustomHttpHeader("Authorization", f"Bearer {token}")
        client.setQuery(text)
        return int(client.query().response.status)

    iri = f"{blank.url}place/{form}"
    prefixes = f"PREFIX ekg: <{EKG}> PREFIX rdfs: <{RDFS}>"
    assert (
        send(f"{prefixes} INSERT DATA {{ GRAPH <{iri}> {{ <{iri}> a ekg:Place ; rdfs:label 'by post'@en }} }}") == 204
    )
    assert blank.count(f"GRAPH <{iri}> {{ ?s ?p ?o }}") == 2
    with pytest.raises(QueryBadFormed, match="every triple belongs"):
        send("DELETE WHERE { ?s ?p ?o }")
    assert send(f"DROP GRAPH <{iri}>") == 204
    assert blank.count(f"GRAPH <{iri}> {{ ?s ?p ?o }}") == 0
