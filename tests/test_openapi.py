"""`/openapi.json` describes what is there, and `/.well-known/sparql-examples` offers every question to SPARQL editors."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pyshacl
import pytest
import rdflib
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from kg import config as configuration
from kg.documents import SYNTAXES
from kg.errors import KgError
from kg.library import open_library
from kg.questions import catalogue
from kg.tokens import Tokens
from kg.web import create_app, feed, status_of

BASE = "https://kg.example/"
SH, SCHEMA = "http://www.w3.org/ns/shacl#", "https://schema.org/"


@pytest.fixture(scope="module")
def app(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    data = tmp_path_factory.mktemp("openapi") / "data"
    shutil.copytree(seeded_directory, data)
    config = configuration.read({}, data=data, query_processes=1, query_timeout=5, validate_rate=100_000)
    with open_library(config, create=False, owner=True) as library:
        library.settle()
        yield create_app(library)


@pytest.fixture(scope="module")
def token(app: Flask, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an admin: without one whatever is written is turned away before it is read."""
    return Tokens(tmp_path_factory.getbasetemp() / "openapi0" / "data").create("tests", "admin")


@pytest.fixture(scope="module")
def description(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.test_client().get("/openapi.json").json
    return found


def test_description_is_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    validate(description)


def test_every_question_is_described_with_its_parameters(description: dict[str, Any]) -> None:
    for question in catalogue().values():
        operation = description["paths"][f"/questions/{question.id}"]["get"]
        assert operation["summary"] == question.summary
        described = {p["name"]: p for p in operation["parameters"] if "name" in p}
        assert set(described) == {*question.parameters, "limit"}
        for name, parameter in question.parameters.items():
            assert described[name]["required"] == (parameter.required and parameter.default is None)
            assert parameter.help[1:] in described[name]["description"]
            assert (
                ". The name of" in described[name]["description"] or "The name of" not in described[name]["description"]
            )
        assert "text/csv" in operation["responses"]["200"]["content"]
        assert {"400", "404", "410", "503", "504"} <= set(operation["responses"])


def shape_of(address: str) -> str:
    """An address without the names of its variables, of Flask or of OpenAPI, so that the two can be compared."""
    return re.sub(r"<[^<>]*>|\{[^{}]*\}", "{}", address)


#: Forms of addresses that are described on their own and served by the rule of the address without the suffix.
SUFFIXED = ("/{}/{}.{}", "/questions/{}.{}", "/revision/{}.{}")


def test_every_address_is_described_and_every_one_described_is_served(app: Flask, description: dict[str, Any]) -> None:
    """Both ways, method by method; but for HEAD and OPTIONS, which come with GET, and for the files of the pages."""
    served: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in ("static", "libraries.file"):
            served.setdefault(shape_of(rule.rule), set()).update((rule.methods or set()) - {"HEAD", "OPTIONS"})
    described: dict[str, set[str]] = {}
    asked = {f"/questions/{name}" for name in catalogue()}
    for path, operations in description["paths"].items():
        if path not in asked:
            described.setdefault(shape_of(path), set()).update(m.upper() for m in operations if m != "head")
    for suffixed in SUFFIXED:
        assert described.pop(suffixed) <= served[suffixed.removesuffix(".{}")], suffixed
    assert described == served
    assert asked <= set(description["paths"])


def test_statuses_described_are_those_of_errors(description: dict[str, Any]) -> None:
    known = {str(status_of(kind)) for kind in KgError.tree()} | {"304", "416"}
    assert set(description["components"]["responses"]) == known


def test_everything_that_writes_says_that_it_takes_a_token(description: dict[str, Any]) -> None:
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            writes = method in ("put", "delete") or (method == "post" and path not in ("/sparql", "/validate"))
            assert ("security" in operation) == writes, (method, path)
            assert ("401" in operation["responses"]) == writes, (method, path)


# Whether the service keeps to it


def does_not_fail(context: Any, response: Any, case: Any) -> None:
    """No query takes long here and nobody else is asked; a query may still be given no time at all, which is 504 and described."""
    assert response.status_code not in (500, 502, 503), response.text


CHECKS = [does_not_fail, status_code_conformance, content_type_conformance, response_schema_conformance]

STATE = """@prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<> a ekg:State , ekg:Actor ; rdfs:label "%s"@en ."""
QUERY = "SELECT ?label WHERE { actor:russia rdfs:label ?label }"
FORM = "application/x-www-form-urlencoded"
RUSSIA = {"kind": "actor", "slug": "russia"}
MINE = {"kind": "actor", "slug": "described"}
UPDATE = f'INSERT DATA {{ GRAPH <{BASE}actor/described> {{ <{BASE}actor/described> rdfs:label "beschrieben"@de }} }}'
BATCH = f"""PREFIX ekg: <https://w3id.org/ekg/ns#> PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
<{BASE}actor/described> {{ <{BASE}actor/described> a ekg:State, ekg:Actor ; rdfs:label "once more"@en }}"""

#: A request for every address and method that is described, beside the questions, and the status of its answer. In this order.
REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("get", "/sparql", {"query": {"query": QUERY}}, 200),
    ("get", "/sparql", {"headers": {"Accept": "text/turtle"}}, 200),
    ("get", "/sparql", {"query": {"query": "SELECT"}}, 400),
    ("post", "/sparql", {"body": QUERY, "media_type": "application/sparql-query"}, 200),
    ("post", "/sparql", {"body": {"query": QUERY}, "media_type": FORM}, 200),
    ("get", "/validate", {}, 200),
    (
        "post",
        "/validate",
        {"query": {"graph": f"{BASE}actor/x"}, "body": STATE % "x", "media_type": "text/turtle"},
        200,
    ),
    (
        "post",
        "/validate",
        {"query": {"graph": f"{BASE}actor/x"}, "body": "<> a <urn:x> .", "media_type": "text/turtle"},
        200,
    ),
    (
        "post",
        "/validate",
        {"body": {"text": STATE % "x", "graph": "actor/x"}, "media_type": "multipart/form-data"},
        200,
    ),
    ("put", "/{kind}/{slug}", {"path_parameters": MINE, "body": STATE % "one", "media_type": "text/turtle"}, 201),
    ("put", "/{kind}/{slug}", {"path_parameters": MINE, "body": STATE % "two", "media_type": "text/turtle"}, 204),
    ("put", "/{kind}/{slug}", {"path_parameters": MINE, "body": "<> a <urn:x> .", "media_type": "text/turtle"}, 422),
    (
        "put",
        "/{kind}/{slug}",
        {
            "path_parameters": MINE,
            "headers": {"If-Match": '"x"'},
            "body": STATE % "three",
            "media_type": "text/turtle",
        },
        412,
    ),
    ("post", "/{kind}/{slug}", {"path_parameters": MINE, "body": "<> a <urn:x> .", "media_type": "text/turtle"}, 422),
    ("post", "/update", {"body": UPDATE, "media_type": "application/sparql-update"}, 204),
    (
        "post",
        "/update",
        {"body": {"update": UPDATE}, "media_type": FORM, "headers": {"Accept": "application/json"}},
        200,
    ),
    ("get", "/{kind}/", {"path_parameters": {"kind": "actor"}}, 200),
    ("get", "/{kind}/", {"path_parameters": {"kind": "actor"}, "headers": {"Accept": "text/turtle"}}, 200),
    ("get", "/{kind}/{slug}", {"path_parameters": RUSSIA}, 303),
    ("head", "/{kind}/{slug}", {"path_parameters": RUSSIA}, 303),
    ("get", "/{kind}/{slug}.{suffix}", {"path_parameters": {**RUSSIA, "suffix": "ttl"}}, 200),
    ("head", "/{kind}/{slug}.{suffix}", {"path_parameters": {**RUSSIA, "suffix": "ttl"}}, 200),
    ("post", "/graphs", {"body": BATCH, "media_type": "application/trig"}, 200),
    ("put", "/graphs", {"query": {"graph": "actor/other"}, "body": STATE % "other", "media_type": "text/turtle"}, 201),
    ("get", "/graphs", {"query": {"graph": "actor/russia"}}, 200),
    ("head", "/graphs", {"query": {"graph": "actor/russia"}}, 200),
    ("delete", "/graphs", {"query": {"graph": "actor/other"}}, 204),
    ("delete", "/{kind}/{slug}", {"path_parameters": MINE}, 204),
    ("get", "/{kind}/{slug}", {"path_parameters": MINE}, 410),
    ("delete", "/{kind}/{slug}", {"path_parameters": RUSSIA}, 409),
    ("get", "/timemap/{kind}/{slug}", {"path_parameters": RUSSIA}, 200),
    ("get", "/timemap/{kind}/{slug}", {"path_parameters": RUSSIA, "headers": {"Accept": "application/json"}}, 200),
    ("get", "/{kind}/{slug}.diff", {"path_parameters": RUSSIA}, 200),
    ("get", "/{kind}/{slug}.diff", {"path_parameters": RUSSIA, "headers": {"Accept": "text/html"}}, 200),
    ("get", "/{kind}/{slug}.diff.{suffix}", {"path_parameters": {**RUSSIA, "suffix": "trig"}}, 200),
    ("get", "/diff", {"query": {"from": 1}}, 200),
    ("get", "/revision/{number}", {"path_parameters": {"number": 1}}, 200),
    ("get", "/revision/{number}.{suffix}", {"path_parameters": {"number": 1, "suffix": "ttl"}}, 200),
    ("get", "/changes", {}, 200),
    ("get", "/changes", {"query": {"page": 1}}, 200),
    ("get", "/changes", {"query": {"before": 3}, "headers": {"Accept": "text/html"}}, 200),
    ("get", "/changes", {"query": {"after": 3}}, 303),
    ("get", "/changes", {"query": {"after": 10**6, "wait": 0}}, 204),
    ("get", "/dump.{form}.gz", {"path_parameters": {"form": "nq"}}, 200),
    ("get", "/dump.{form}.gz", {"path_parameters": {"form": "nq"}, "headers": {"Range": "bytes=0-9"}}, 206),
    ("get", "/search", {"query": {"q": "Герасимов"}}, 200),
    ("get", "/search.{suffix}", {"path_parameters": {"suffix": "json"}, "query": {"q": "Kursk", "kind": "place"}}, 200),
    ("get", "/search.{suffix}", {"path_parameters": {"suffix": "json"}, "query": {"q": "x", "limit": "0"}}, 400),
    ("get", "/questions", {}, 200),
    ("get", "/questions.{suffix}", {"path_parameters": {"suffix": "json"}}, 200),
    ("get", "/questions/{question}", {"path_parameters": {"question": "reversals"}}, 200),
    ("get", "/questions/{question}.{suffix}", {"path_parameters": {"question": "reversals", "suffix": "md"}}, 200),
    ("get", "/questions/{question}.{suffix}", {"path_parameters": {"question": "reversals", "suffix": "srj"}}, 200),
    ("get", "/.well-known/sparql-examples/{question}", {"path_parameters": {"question": "reversals"}}, 303),
    ("get", "/ns.{suffix}", {"path_parameters": {"suffix": "nt"}}, 200),
    ("get", "/shapes.{suffix}", {"path_parameters": {"suffix": "ttl"}}, 200),
    ("get", "/favicon.ico", {}, 301),
    *(
        ("get", path, {}, 200)
        for path in (
            *("/", "/openapi.json", "/.well-known/void", "/.well-known/sparql-examples", "/ns", "/shapes"),
            *("/about", "/context.jsonld", "/errors", "/health", "/health/live", "/health/ready", "/metrics"),
        )
    ),
]


@schemathesis.serializer(
    *(syntax.media_type for syntax in SYNTAXES), "application/sparql-query", "application/sparql-update"
)
def as_it_is(context: Any, text: Any) -> bytes:
    """Texts for schemathesis, which knows how to send JSON and forms."""
    return text if isinstance(text, bytes) else str(text).encode()


@pytest.fixture(scope="module")
def api(app: Flask) -> Any:
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


def test_every_address_answers_as_it_is_described(api: Any, token: str, description: dict[str, Any]) -> None:
    """A good request to each, and bad ones where they matter: the status that it is to have, with the type and body described for it."""
    for method, path, parts, status in REQUESTS:
        case = api[path][method.upper()].Case(**parts)
        response = case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status, (method, path, response.text)
    asked = {(method, path) for method, path, _, _ in REQUESTS}
    described = {(m, p) for p, operations in description["paths"].items() for m in operations}
    assert asked == {(m, p) for m, p in described if p.removeprefix("/questions/") not in catalogue()}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_service_keeps_to_its_description(
    api: Any, token: str, description: dict[str, Any], mode: GenerationMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything that the description allows, and then anything that it does not, sent with a token that may do everything, to every
    address with every method and to every question: no failure of the service, and only statuses, media types and bodies that are
    described. What does not conform to the description of a question is refused, too. The same requests each time.
    """
    monkeypatch.setattr(feed, "_LONGEST", 0.0)  # nobody writes, so whoever waits would wait in vain
    for path, operations in description["paths"].items():
        question = path.removeprefix("/questions/") in catalogue()
        for method in operations:
            refuses = question and mode is GenerationMode.NEGATIVE
            checks = [*CHECKS, negative_data_rejection] if refuses else CHECKS
            # Questions have one handler, and HEAD that of GET.
            examples = 2 if question else 1 if method == "head" else 4
            hold(api[path][method.upper()], mode, token, checks, examples)


def hold(operation: Any, mode: GenerationMode, token: str, checks: list[Any], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(checks=checks, headers={"Authorization": f"Bearer {token}"})

    try:
        ask()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # where nothing is taken, nothing can be wrong


# SPARQL examples

#: What SIB's collection requires of each example (https://github.com/sib-swiss/sparql-examples).
EXAMPLE_SHAPE = """
@prefix sh: <http://www.w3.org/ns/shacl#> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix schema: <https://schema.org/> .
@prefix spex: <https://purl.expasy.org/sparql-examples/ontology#> .
<urn:shape> a sh:NodeShape ; sh:targetClass sh:SPARQLExecutable ;
  sh:property [ sh:path [ sh:alternativePath ( sh:select sh:ask spex:describe sh:construct ) ] ; sh:minCount 1 ; sh:maxCount 1 ] ,
    [ sh:path rdfs:comment ; sh:minCount 1 ; sh:or ( [ sh:datatype rdf:langString ] [ sh:datatype rdf:HTML ] ) ] ,
    [ sh:path schema:target ; sh:minCount 1 ] ,
    [ sh:path schema:keyword ; sh:maxCount 0 ] .
"""


def examples(app: Flask, accept: str = "text/turtle") -> rdflib.Graph:
    response = app.test_client().get("/.well-known/sparql-examples", headers={"Accept": accept})
    assert (response.status_code, response.mimetype) == (200, accept)
    return rdflib.Graph().parse(data=response.text, format=accept)


def test_examples_have_the_shape_of_sib_s_collection(app: Flask) -> None:
    found = examples(app)
    conforms, _, text = pyshacl.validate(found, shacl_graph=rdflib.Graph().parse(data=EXAMPLE_SHAPE))
    assert conforms, text
    named = set(found.subjects(rdflib.RDF.type, rdflib.URIRef(SH + "SPARQLExecutable")))
    assert named == {rdflib.URIRef(f"{BASE}.well-known/sparql-examples/{name}") for name in catalogue()}


def test_examples_are_queries_that_say_where_to_send_them(app: Flask) -> None:
    found = examples(app)
    for name in catalogue():
        me = rdflib.URIRef(f"{BASE}.well-known/sparql-examples/{name}")
        ox.Store().query(str(found.value(me, rdflib.URIRef(SH + "select"))))
        assert found.value(me, rdflib.URIRef(SCHEMA + "target")) == rdflib.URIRef(BASE + "sparql")
        assert set(map(str, found.objects(me, rdflib.URIRef(SCHEMA + "keywords")))) == set(catalogue()[name].tags)
        assert found.value(me, rdflib.URIRef(SH + "prefixes")) is not None


#: What editors of SPARQL ask where examples are (the README of SIB's collection).
LOOKED_FOR = """
PREFIX sh: <http://www.w3.org/ns/shacl#> PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
SELECT DISTINCT ?sq ?comment ?query
WHERE { ?sq a sh:SPARQLExecutable ; rdfs:comment ?comment ; sh:select|sh:ask|sh:construct ?query } ORDER BY ?sq
"""


@pytest.mark.parametrize(
    "accept", ["text/turtle", "application/n-triples", "application/rdf+xml", "application/ld+json"]
)
def test_examples_are_found_in_the_default_graph_in_every_syntax(app: Flask, accept: str) -> None:
    client = app.test_client()
    body = client.get("/.well-known/sparql-examples", headers={"Accept": accept}).text
    if accept == "application/ld+json":  # names its context by address; nothing is fetched here
        body = json.dumps({**json.loads(body), **json.loads(client.get("/context.jsonld").text)})
    store = ox.Store()
    store.load(body.encode(), ox.RdfFormat.from_media_type(accept))
    rows = store.query(LOOKED_FOR)
    assert isinstance(rows, ox.QuerySolutions)
    assert [row["sq"].value.rpartition("/")[2] for row in rows] == sorted(catalogue())


def test_address_of_an_example_leads_to_the_examples(app: Flask) -> None:
    response = app.test_client().get("/.well-known/sparql-examples/reversals", headers={"Accept": "text/turtle"})
    assert (response.status_code, response.location) == (303, BASE + ".well-known/sparql-examples")
    assert app.test_client().get("/.well-known/sparql-examples/nothing").status_code == 404
