"""One suite for all engines: what the embedded one does, Oxigraph's server and Virtuoso do behind the same interface.

The servers are real and of the tests' own (`engines/servers.py`). What Virtuoso answers otherwise is data, in `engines/virtuoso.toml`,
each with its reason.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import shutil
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import generate
import pyoxigraph as ox
import pytest
from engines.servers import (
    PASS,
    VIRTUOSO_PACKAGE,
    Exchanged,
    Odd,
    Oxigraph,
    Virtuoso,
    oxigraph_program,
    reply,
    virtuoso_is_missing,
)
from generate import Act
from serving import Serve, kg, until
from test_questions_on_seeds import CASES, bound

from kg import config as settings
from kg import documents
from kg.asking import Desk
from kg.config import Config
from kg.documents import Document
from kg.engine import Answer, Caller, Query
from kg.errors import (
    CallerGone,
    ConfigurationError,
    DirectoryInUse,
    EngineUnavailable,
    EngineUnsuitable,
    IndexBehind,
    KgError,
    MalformedQuery,
    NotAcceptable,
    Overloaded,
    QueryTimeout,
    ResultTooLarge,
    ServiceRefused,
)
from kg.gate import Report
from kg.library import Library, open_library
from kg.questions import catalogue
from kg.terms import Base
from kg.web import create_app

HERE = Path(__file__).resolve().parent
BASE = Base("https://kg.example/")
EXPECTED = HERE / "questions"
LIMITS: dict[str, dict[str, str]] = tomllib.loads((HERE / "engines" / "virtuoso.toml").read_text("utf-8"))

#: Three things joined to nothing: what no engine answers in the time that tests give it.
ENDLESS = (
    "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . FILTER(STR(?a) < STR(?f) && STR(?i) > STR(?c)) }"
)

needs_oxigraph = pytest.mark.skipif(oxigraph_program() is None, reason="needs `oxigraph serve`: pip install oxigraph")
needs_virtuoso = pytest.mark.skipif(
    virtuoso_is_missing(), reason=f"needs virtuoso-t and isql-vt: apt-get install {VIRTUOSO_PACKAGE}"
)
ENGINES = [
    pytest.param("embedded"),
    pytest.param("oxigraph", marks=needs_oxigraph),
    pytest.param("virtuoso", marks=needs_virtuoso),
]


@pytest.fixture(scope="module")
def virtuoso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Virtuoso]:
    """Virtuoso takes seconds to start, so there is one; who uses it clears it first."""
    server = Virtuoso(tmp_path_factory.mktemp("virtuoso")).start()
    yield server
    server.stop()


@pytest.fixture
def oxigraph(tmp_path: Path) -> Iterator[Oxigraph]:
    server = Oxigraph(tmp_path / "oxigraph").start()
    yield server
    server.stop()


def _settings_of(engine: str, request: pytest.FixtureRequest, directory: Path) -> dict[str, str]:
    if engine == "virtuoso":
        server: Virtuoso = request.getfixturevalue("virtuoso")
        server.clear(BASE.iri)
        return server.settings
    if engine == "oxigraph":
        started = Oxigraph(directory / "oxigraph").start()
        request.addfinalizer(started.stop)
        return started.settings
    return {}


def configured(data: Path, **overrides: Any) -> Config:
    return settings.read({}, **{"data": data, "base": BASE.iri, "query_processes": 2, "query_timeout": 20, **overrides})


@pytest.fixture(scope="module", params=ENGINES)
def asked(
    request: pytest.FixtureRequest, seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    """A library with the seeds in it, for tests that only ask; on each engine in turn."""
    directory = tmp_path_factory.mktemp(request.param)
    shutil.copytree(seeded_directory, directory / "data")
    config = configured(directory / "data", **_settings_of(request.param, request, directory))
    with open_library(config, create=False, owner=True) as library:
        library.settle()
        yield library


@pytest.fixture(params=ENGINES)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Settings for a directory that is not there yet, with each engine in turn."""
    return configured(tmp_path / "data", **_settings_of(request.param, request, tmp_path))


@pytest.fixture
def library(config: Config) -> Iterator[Library]:
    with open_library(config, create=True, owner=True) as opened:
        opened.settle()
        yield opened


def engine_of(library: Library) -> str:
    url = library.config.engine
    return "embedded" if not url else "virtuoso" if url.endswith("/sparql") else "oxigraph"


def ask(library: Library, text: str, **more: Any) -> Answer:
    return library.answer(Query(text, base=BASE.iri, **more))


def rows(library: Library, text: str) -> list[list[str]]:
    """The rows of a query, without the header."""
    return list(csv.reader(io.StringIO(ask(library, text, solutions="csv").read().decode())))[1:]


def texts(*some: generate.Text) -> list[Document]:
    return [text.document() for text in some]


def accept(library: Library, *some: generate.Text | Document, **more: Any) -> int:
    batch = [one.document() if isinstance(one, generate.Text) else one for one in some]
    return library.accept(batch, agent="a test", **more).revision


def graph(library: Library, iri: str, form: str = "nt") -> bytes:
    return ask(library, f"CONSTRUCT {{ ?s ?p ?o }} WHERE {{ GRAPH <{iri}> {{ ?s ?p ?o }} }}", triples=form).read()


SYNTAX = {"ttl": ox.RdfFormat.TURTLE, "nt": ox.RdfFormat.N_TRIPLES, "rdf": ox.RdfFormat.RDF_XML}


def canonical(triples: bytes, form: str = "nt") -> set[str]:
    dataset = ox.Dataset(ox.parse(triples, format=SYNTAX[form]))
    dataset.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    return {str(quad) for quad in dataset}


STORY = (
    generate.actor("staff"),
    generate.person("chief", organization="staff"),
    generate.event("march"),
    generate.proposition("they-marched", "event/march"),
    generate.article("speech", [Act("chief", ("they-marched",), in_role="chief#post-head")]),
)


# Answers


def test_derived_facts_are_the_same_everywhere(library: Library) -> None:
    denied = generate.article(
        "again", [Act("chief", ("they-marched",), "Denial"), Act("chief", kind="Report", reports=(1,))]
    )
    facts = []
    for change in (STORY, [denied], [generate.article("again", [Act("staff", ("they-marched",))])]):
        accept(library, *change)
        facts.append(canonical(graph(library, f"{BASE}derived")))
    assert [sum("originsDenying" in fact for fact in some) for some in facts] == [0, 1, 0]
    assert [sum("#depth" in fact for fact in some) for some in facts] == [1, 3, 2]
    library.rebuild()
    assert canonical(graph(library, f"{BASE}derived")) == facts[-1]


@pytest.mark.parametrize("case", CASES)
def test_questions_have_the_same_rows_everywhere(asked: Library, case: str) -> None:
    if engine_of(asked) == "virtuoso" and (what := catalogue()[case.partition("@")[0]].differs_on.get("virtuoso")):
        pytest.skip(f"Virtuoso {what}")
    answered = list(csv.reader(io.StringIO(ask(asked, bound(case), solutions="csv").read().decode())))
    expected = list(csv.reader((EXPECTED / f"{case}.csv").read_text("utf-8").splitlines()))
    assert answered == expected


def test_a_question_that_an_engine_answers_otherwise_is_not_answered(asked: Library) -> None:
    client = create_app(asked).test_client()
    for name in ("said-of.csv?actor=north-korea", "reversals.json", "said-of?actor=north-korea"):
        reply = client.get(f"/questions/{name}")
        if engine_of(asked) == "virtuoso":
            assert reply.status_code == 501
            assert "virtuoso" in reply.text.lower()
            assert "this question" in reply.text
        else:
            assert reply.status_code == 200
    page = client.get("/actor/north-korea.html", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert ("is a Virtuoso" in page.text) == (engine_of(asked) == "virtuoso")


def test_each_document_is_there_as_the_journal_has_it(asked: Library) -> None:
    differ = set()
    for iri, document in asked.journal.current():
        assert document is not None
        if canonical(graph(asked, iri)) != canonical(document.content):
            differ.add(iri.removeprefix(BASE.iri))
    assert differ == (set(LIMITS["documents"]) if engine_of(asked) == "virtuoso" else set())


NAMES = """SELECT ?name ?lang (STRLEN(?name) AS ?letters) (BOUND(?none) AS ?no) WHERE {
  <actor/russia> rdfs:label ?name BIND(LANG(?name) AS ?lang) OPTIONAL { <actor/russia> <urn:nothing> ?none } } ORDER BY ?lang"""


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "xml"])
def test_tables_are_written_alike_to_the_byte(
    asked: Library, seeded_directory: Path, tmp_path: Path, form: str
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    with open_library(configured(tmp_path / "data"), create=False, owner=True) as embedded:
        expected = ask(embedded, NAMES, solutions=form)
        truth = ask(embedded, "ASK { <actor/russia> a ekg:State }", solutions=form)
        body = expected.read()
        assert b"Russia" in body
        answer = ask(asked, NAMES, solutions=form)
        if engine_of(asked) == "virtuoso":  # what is no boolean for it there is a number
            body = body.replace(b"XMLSchema#boolean", b"XMLSchema#integer").replace(b"false", b"0")
            body = body.replace(b'"0"^^<http://www.w3.org/2001/XMLSchema#integer>', b"0")
        assert answer.read() == body
        assert (answer.kind, answer.format, answer.length) == ("solutions", form, len(body))
        said = ask(asked, "ASK { <actor/russia> a ekg:State }", solutions=form)
        assert (said.kind, said.read()) == ("boolean", truth.read())
    assert answer.prefixes == ("rdfs",)
    assert answer.revision == asked.journal.last()


@pytest.mark.parametrize("form", ["ttl", "nt", "rdf"])
def test_graphs_are_whole_in_every_syntax(asked: Library, form: str) -> None:
    """With blank nodes, quotations in two scripts, numbers and dates in it."""
    iri = BASE.document("article", "russia-admits-north-korean-soldiers")
    document = asked.journal.read(iri)
    assert document is not None
    body = graph(asked, iri, form)
    assert canonical(body, form) == canonical(document[0].content)
    if form == "ttl":
        assert b"ekg:speaker" in body


def test_empty_answers_are_answers(asked: Library) -> None:
    assert rows(asked, "SELECT ?s WHERE { ?s <urn:nothing> ?o }") == []
    assert canonical(ask(asked, "CONSTRUCT WHERE { ?s <urn:nothing> ?o }", triples="ttl").read(), "ttl") == set()
    assert ask(asked, "ASK { ?s <urn:nothing> ?o }", solutions="csv").read() == b"false"


def test_strange_strings_arrive_as_they_are(library: Library) -> None:
    """Among them what our mending of Virtuoso's JSON looks for."""
    strange = [
        'a "quote", a \\backslash, <a> & b, \ttab\nline',
        "кирилиця 😀 한국어 e\u0301",
        '{ "type": "bnode", "value": "nodeID://b1" }',
        '"datatype": "http://www.w3.org/2001/XMLSchema#boolean", "value": "1"',
        "}" * 3,
        "long " * 30_000,
    ]
    iri = BASE.document("actor", "strange")
    about = ox.NamedNode(iri)
    own = [
        ox.Triple(about, ox.NamedNode("http://www.w3.org/2004/02/skos/core#altLabel"), ox.Literal(text, language="en"))
        for text in strange
    ]
    plain = generate.actor("strange").document()
    content = plain.content + documents.to_bytes(own, documents.N_TRIPLES)
    (document,) = documents.parse(content, documents.N_TRIPLES, BASE, limit=2**24)
    accept(library, document)
    answer = ask(library, "SELECT ?t WHERE { <actor/strange> skos:altLabel ?t }", solutions="json").read()
    found = [row["t"]["value"] for row in json.loads(answer)["results"]["bindings"]]
    assert sorted(found) == sorted(strange)
    assert canonical(graph(library, iri)) == canonical(document.content)


def test_blank_nodes_have_labels_that_can_be_read(asked: Library) -> None:
    query = "SELECT ?selector ?exact WHERE { ?evidence oa:hasSelector ?selector . ?selector oa:exact ?exact } LIMIT 5"
    for form in ("json", "xml", "tsv"):
        parsed = ox.parse_query_results(ask(asked, query, solutions=form).read(), format=_RESULTS[form])
        assert isinstance(parsed, ox.QuerySolutions)
        assert {type(row["selector"]) for row in parsed} == {ox.BlankNode}


_RESULTS = {"json": ox.QueryResultsFormat.JSON, "xml": ox.QueryResultsFormat.XML, "tsv": ox.QueryResultsFormat.TSV}


def test_datasets_are_what_the_request_or_the_query_says(asked: Library) -> None:
    russia, ukraine = BASE.document("actor", "russia"), BASE.document("actor", "ukraine")
    states = "?s a ekg:State"
    assert len(rows(asked, f"SELECT ?s WHERE {{ {states} }}")) > 2
    assert rows(asked, f"SELECT ?s FROM <actor/russia> WHERE {{ {states} }}") == [[russia]]
    answer = ask(asked, f"SELECT ?s WHERE {{ {states} }}", default_graphs=(ukraine,), solutions="csv")
    assert answer.read().decode().split() == ["s", ukraine]
    both = ask(
        asked,
        f"SELECT ?s WHERE {{ GRAPH ?g {{ {states} }} }} ORDER BY ?s",
        named_graphs=(russia, ukraine),
        solutions="csv",
    )
    assert both.read().decode().split() == ["s", russia, ukraine]


def test_a_kind_of_answer_that_nobody_can_take_is_not_computed(asked: Library) -> None:
    with pytest.raises(NotAcceptable, match="answers with RDF"):
        ask(asked, "CONSTRUCT WHERE { ?s ?p ?o }", triples=None)
    with pytest.raises(NotAcceptable, match="answers with"):
        ask(asked, "ASK { }", solutions=None)


# What is refused


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("SELECT ?x WHERE {\n  ?x ?y }\n}", 3, 1),
        ("SELECT * WHERE { ?s rdfs:label }", 1, 32),
        ("SELECT * WHERE { ?s nobody:knows ?o }", 1, 21),
        ("SELECT * WHERE {\n  ?s ?p ?o . INSERT }", 2, 14),
        ("", 1, 1),
        ("PREFIX a: <urn:a>", 1, 18),
    ],
)
def test_a_syntax_error_says_where_it_is(asked: Library, text: str, line: int, column: int) -> None:
    with pytest.raises(MalformedQuery) as error:
        ask(asked, text)
    assert error.value.detail
    assert "SPARQL query:" not in error.value.detail, "Virtuoso repeats the query; we do not"
    if engine_of(asked) == "oxigraph":
        assert (error.value.facts.get("line"), error.value.facts.get("column")) == (line, column)
    elif engine_of(asked) == "virtuoso" and "Virtuoso" in error.value.detail:
        assert "column" not in error.value.facts, "it never says"
    else:
        assert "line" in error.value.facts


@pytest.mark.parametrize(
    "text",
    [
        "INSERT DATA { GRAPH <urn:g> { <urn:s> <urn:p> 1 } }",
        "DROP ALL",
        "SELECT * WHERE { ?s ?p ?o } ; CLEAR ALL",
        "PREFIX a: <urn:a>\n# a comment\nDELETE WHERE { GRAPH ?g { ?s ?p ?o } }",
        "\\u0044ELETE WHERE { GRAPH ?g { ?s ?p ?o } }",
        "WITH <urn:g> DELETE { ?s ?p ?o } WHERE { ?s ?p ?o }",
    ],
)
def test_no_update_passes_for_a_query(asked: Library, text: str) -> None:
    before = rows(asked, "SELECT (COUNT(*) AS ?n) WHERE { ?s a ekg:SpeechAct }")
    with pytest.raises(MalformedQuery):
        ask(asked, text)
    assert rows(asked, "SELECT (COUNT(*) AS ?n) WHERE { ?s a ekg:SpeechAct }") == before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("SELECT * WHERE { SERVICE <URL> { ?s ?p ?o } }", ServiceRefused),
        ("SELECT * WHERE { SERVICE SILENT <URL> { ?s ?p ?o } }", ServiceRefused),
        ("SELECT * WHERE {SERVICESILENT<URL>{ ?s ?p ?o } }", ServiceRefused),
        ("SELECT * WHERE { \\u0053ERVICE <URL> { ?s ?p ?o } }", ServiceRefused),
        ("LOAD <URL>", ServiceRefused),
        ('define get:soft "soft" SELECT * FROM <URL> WHERE { ?s ?p ?o }', MalformedQuery),
        ("SELECT (bif:http_get('URL') AS ?x) WHERE { }", MalformedQuery),
        ("SELECT (<bif:http_get>('URL') AS ?x) WHERE { }", MalformedQuery),
        ("SELECT (<BIF:http_get>('URL') AS ?x) WHERE { }", MalformedQuery),
        ("PREFIX b: <b> SELECT (b:if:http_get('URL') AS ?x) WHERE { }", MalformedQuery),
        ("PREFIX x: <bif:> SELECT (x:http_get('URL') AS ?x) WHERE { }", MalformedQuery),
        ("SELECT (<LONG::bif:http_get>('URL') AS ?x) WHERE { }", MalformedQuery),
        ("SELECT (`http_get('URL')` AS ?x) WHERE { }", MalformedQuery),
    ],
)
def test_no_query_makes_a_server_ask_another(asked: Library, text: str, error: type[KgError]) -> None:
    if engine_of(asked) == "embedded" and error is MalformedQuery:
        error = KgError  # it has no such function, and may leave the value out
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            ask(asked, text.replace("URL", url))
        except error:
            pass
        else:
            assert engine_of(asked) == "embedded"
        with pytest.raises(TimeoutError):
            listener.accept()


def test_ordinary_queries_are_not_taken_for_anything_else(asked: Library) -> None:
    """Words of updates, services and functions where they are none; numbers that end in a letter."""
    text = """
      PREFIX load: <urn:load#> PREFIX define: <urn:x:>
      SELECT ?insert (1.5e0 + 1E-1 + 2.0 AS ?sum) ("DROP ALL; bif:x SERVICE `" AS ?drop) WHERE { # DELETE
        VALUES ?insert { "INSERT"@en } OPTIONAL { ?delete load:clear define:with } FILTER(?insert = "INSERT"@en) }"""
    ((insert, total, drop),) = rows(asked, text)
    assert (insert, float(total), drop) == ("INSERT", 3.6, "DROP ALL; bif:x SERVICE `")


# Limits


def test_a_deadline_is_kept_and_the_next_query_is_answered(asked: Library) -> None:
    start = time.monotonic()
    with pytest.raises(QueryTimeout) as error:
        ask(asked, ENDLESS, timeout=0.7)
    assert 0.6 < time.monotonic() - start < 2.5
    assert error.value.facts["limit"] == 0.7
    assert ask(asked, "ASK { }").read()


def test_who_goes_away_is_not_waited_for(asked: Library) -> None:
    caller = Caller("someone")
    threading.Timer(0.3, caller.hang_up).start()
    start = time.monotonic()
    with pytest.raises(CallerGone):
        asked.answer(Query(ENDLESS + " #", base=BASE.iri, timeout=15), caller)
    assert time.monotonic() - start < 2


PAIRS = (
    "SELECT ?a ?c ?d ?f WHERE { { SELECT * WHERE { ?a ?b ?c } LIMIT 120 } { SELECT * WHERE { ?d ?e ?f } LIMIT 120 } }"
)


def test_an_answer_too_large_for_memory_comes_from_a_file_that_nobody_else_sees(asked: Library) -> None:
    answer = ask(asked, PAIRS, solutions="json")
    assert answer.length > 4 * 2**20
    assert not isinstance(answer.body, bytes)
    assert not list(asked.config.data.glob("spool*/*"))
    assert len(json.loads(answer.read())["results"]["bindings"]) == 14_400


def test_an_answer_over_the_cap_is_an_error(seeded_directory: Path, config: Config) -> None:
    shutil.copytree(seeded_directory, config.data)
    with open_library(replace(config, result_limit=100_000), create=False, owner=True) as library:
        library.settle()
        for text in ("SELECT * WHERE { ?s ?p ?o }", "CONSTRUCT WHERE { ?s ?p ?o }"):
            with pytest.raises(ResultTooLarge, match="100,000 bytes") as error:
                ask(library, text)
            assert error.value.facts["limit"] == 100_000
        assert not list(config.data.glob("spool*/*"))
        assert ask(library, "ASK { }").read()


def test_queries_past_the_queue_are_told_to_come_back(seeded_directory: Path, config: Config) -> None:
    shutil.copytree(seeded_directory, config.data)
    few = replace(config, query_processes=1, query_queue=1)
    with open_library(few, create=False, owner=True) as library:
        library.settle()
        caller = Caller("slow")
        running = threading.Thread(target=_ignoring(lambda: library.answer(Query(ENDLESS, base=BASE.iri), caller)))
        running.start()
        time.sleep(0.3)
        waiting = threading.Thread(target=_ignoring(lambda: library.answer(Query("ASK { }"), Caller("second"))))
        waiting.start()
        time.sleep(0.2)
        with pytest.raises(Overloaded):
            library.answer(Query("ASK { }"), Caller("third"))
        caller.hang_up()
        running.join()
        waiting.join()


def _ignoring(action: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with contextlib.suppress(KgError):
            action()

    return run


# Following


def test_changes_and_deletions_are_followed(library: Library) -> None:
    assert accept(library, *STORY) == 5
    assert rows(library, "SELECT ?w WHERE { ?a ekg:speaker ?w }") == [[BASE.document("actor", "chief")]]
    accept(library, generate.actor("staff", label="Another name"))
    labels = rows(library, "SELECT ?l WHERE { <actor/staff> rdfs:label ?l }")
    assert labels == [["Another name"]]
    library.journal.commit({STORY[-1].iri(): None}, agent="a test")
    library.settle()
    assert rows(library, "SELECT ?w WHERE { ?a ekg:speaker ?w }") == []
    assert rows(library, f"SELECT ?p WHERE {{ GRAPH <{STORY[-1].iri()}> {{ ?s ?p ?o }} }}") == []
    assert library.revision() == (7, 7)
    for iri, document in library.journal.current():
        assert canonical(graph(library, iri)) == (set() if document is None else canonical(document.content))


def test_large_documents_and_many_of_them_arrive_whole(library: Library) -> None:
    """Far more than a server takes in one request, and blank nodes whose triples must not be torn apart."""
    acts = [Act("chief", ("they-marched",), in_role="chief#post-head")] * 150
    large = generate.article("large", acts).document()
    assert len(large.content.splitlines()) > 2_000
    many = list(generate.documents(90))
    accept(library, *STORY[:-1], settle=False)
    accept(library, large, settle=False, judge_all=_fine)
    library.accept(many, agent="a test", judge_all=_fine)
    assert library.revision() == (95, 95)
    assert canonical(graph(library, large.iri)) == canonical(large.content)
    there = {iri: document for iri, document in library.journal.current() if document is not None}
    ((count,),) = rows(
        library,
        f'SELECT (COUNT(DISTINCT ?g) AS ?n) WHERE {{ GRAPH ?g {{ ?s ?p ?o }} FILTER(STRSTARTS(STR(?g), "{BASE}") && ?g NOT IN (<revision>, <derived>)) }}',
    )
    assert int(count) == len(there) == 95
    for document in (*(one for one in many[::20] if BASE.kind_of(one.iri) != "place"), large):
        assert canonical(graph(library, document.iri)) == canonical(document.content)


def _fine(pairs: Any) -> list[Report]:
    return [Report(document.iri, ()) for document, _ in pairs]


def test_another_process_writes_and_the_server_shows_it(library: Library, config: Config) -> None:
    accept(library, STORY[0])
    with open_library(config, create=False, owner=False) as another:
        another.accept(texts(STORY[2]), agent="another", settle=False)
        library.settle()
        another.settle()
        assert rows(another, "SELECT ?s WHERE { ?s a ekg:Event }") == [[STORY[2].iri()]]
    assert rows(library, "SELECT ?s WHERE { ?s a ekg:Event }") == [[STORY[2].iri()]]


def test_rebuilding_needs_the_directory_to_oneself_and_leaves_nothing_over(library: Library, config: Config) -> None:
    accept(library, *STORY)
    with open_library(config, create=False, owner=False) as another, pytest.raises(DirectoryInUse):
        another.rebuild()
    library.close()
    told = {
        setting.variable: str(getattr(config, setting.name))
        for setting in settings.SETTINGS
        if setting.name.startswith("engine")
    }
    outcome = kg("rebuild", "--data", config.data, **told)
    assert outcome.code == 0, outcome.err
    assert outcome.err == "rebuilt from the journal: 5 documents at revision 5\n"
    with open_library(config, create=False, owner=True) as opened:
        opened.settle()
        assert opened.engine.reached() == 5
        for iri, document in opened.journal.current():
            assert document is not None
            assert canonical(graph(opened, iri)) == canonical(document.content)


# A server of one's own choice


@pytest.fixture
def remote(oxigraph: Oxigraph, tmp_path: Path) -> Config:
    return configured(tmp_path / "data", **oxigraph.settings)


@needs_oxigraph
def test_rebuilding_removes_what_the_journal_does_not_know(oxigraph: Oxigraph, remote: Config) -> None:
    with open_library(remote, create=True, owner=True) as library:
        accept(library, *STORY)
    stray = "GRAPH <https://kg.example/actor/stray> { <urn:s> <urn:p> 1 } GRAPH <urn:elsewhere> { <urn:s> <urn:p> 2 }"
    oxigraph.send("update", f"INSERT DATA {{ {stray} }}")
    with open_library(remote, create=False, owner=False) as library:
        assert library.rebuild() == 5
        assert rows(library, "SELECT ?o WHERE { <urn:s> ?p ?o }") == [["2"]]


@needs_oxigraph
def test_a_server_that_lost_everything_is_filled_again(oxigraph: Oxigraph, remote: Config) -> None:
    with open_library(remote, create=True, owner=True) as library:
        accept(library, *STORY)
        library.start_following()
        oxigraph.stop()
        oxigraph.start()
        time.sleep(1.1)  # longer than a server is believed to have what it had
        with pytest.raises(IndexBehind, match="lost what it had"):
            rows(library, "SELECT ?w WHERE { ?a ekg:speaker ?w }")
        until(lambda: library.engine.reached() == 5, "it is filled again")
        assert rows(library, "SELECT ?w WHERE { ?a ekg:speaker ?w }") == [[BASE.document("actor", "chief")]]


def _try_to_follow(library: Library) -> None:
    with contextlib.suppress(EngineUnavailable):
        library.engine.follow(library.journal, wait=10)


@needs_oxigraph
def test_while_the_server_is_away_writes_are_kept_and_queries_told_so(tmp_path: Path) -> None:
    server = Oxigraph(tmp_path / "oxigraph", kept=True).start()
    config = configured(tmp_path / "data", **server.settings, engine_lag=4)
    try:
        with open_library(config, create=True, owner=True) as library:
            client = create_app(library).test_client()
            accept(library, *STORY[:2])
            library.start_following()
            assert client.get("/health").json["status"] == "ok"
            server.stop()
            until(lambda: client.get("/health").json["status"] == "the SPARQL server is away", "it is missed")
            assert accept(library, STORY[2]) == 3
            assert accept(library, *STORY[3:]) == 5
            health = client.get("/health").json
            assert (health["revision"], health["reached"]) == (5, 2)
            with ThreadPoolExecutor(1) as other:  # while it is being tried again too
                tried = other.submit(lambda: [_try_to_follow(library) for _ in range(50)])
                while not tried.done():
                    assert client.get("/health").json["status"] == "the SPARQL server is away"
                tried.result()
            time.sleep(1.1)  # longer than a server is believed to be there
            reply = client.get("/sparql?query=ASK%7B%7D", headers={"Accept": "application/json"})
            assert (reply.status_code, reply.json["type"]) == (503, "https://kg.example/errors#engine-unavailable")
            assert "cannot be reached" in reply.json["detail"]
            assert int(reply.headers["Retry-After"]) > 0
            accept(library, generate.actor("one"))
            with pytest.raises(EngineUnavailable, match="nothing was written, because queries are 4 revisions behind"):
                accept(library, generate.actor("two"))
            assert library.journal.last() == 6
            server.start()
            until(lambda: library.engine.reached() == 6, "it catches up by itself")
            assert accept(library, generate.actor("two")) == 7
            assert library.revision() == (7, 7)
            assert len(rows(library, "SELECT ?s WHERE { ?s a ekg:SpeechAct }")) == 1
    finally:
        server.stop()


@needs_virtuoso
def test_a_question_that_a_server_cannot_answer_is_never_sent(virtuoso: Virtuoso, tmp_path: Path) -> None:
    """By a process that has asked it nothing before, too: else its own error would come."""
    virtuoso.clear(BASE.iri)
    config = configured(tmp_path / "data", **virtuoso.settings)
    with open_library(config, create=True, owner=True) as library:
        accept(library, *STORY)
    with open_library(config, create=False, owner=False) as library:
        desk = Desk(library)
        wish = desk.understand(catalogue()["rings-and-unrooted"], {})
        with pytest.raises(EngineUnsuitable, match="rings-and-unrooted"):
            desk.ask(wish)
        assert len(rows(library, "SELECT ?s WHERE { ?s a ekg:SpeechAct }")) == 1


@needs_oxigraph
def test_a_directory_opens_while_its_server_is_away(tmp_path: Path) -> None:
    server = Oxigraph(tmp_path / "oxigraph")
    config = configured(tmp_path / "data", **server.settings)
    try:
        with open_library(config, create=True, owner=True) as library:
            assert accept(library, *STORY) == 5
            with pytest.raises(EngineUnavailable):
                rows(library, "ASK { }")
            library.start_following()
            server.start()
            until(lambda: library.engine.reached() == 5, "it is filled")
            assert len(rows(library, "SELECT ?s WHERE { ?s a ekg:SpeechAct }")) == 1
    finally:
        server.stop()


@needs_oxigraph
def test_the_service_starts_while_its_server_is_away(serve: Serve, seeded_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(seeded_directory, tmp_path / "served")
    server = Oxigraph(tmp_path / "oxigraph")
    told = {"KG_ENGINE": server.query, "KG_ENGINE_UPDATE": server.update}
    try:
        ours = serve(tmp_path / "served", **told)
        assert ours.get("actor/russia.ttl").status == 200
        refused = ours.sparql("ASK { ?s a ekg:Admission }")
        assert (refused.status, refused.headers["Retry-After"] is not None) == (503, True)
        until(lambda: ours.get("health").json()["status"] == "the SPARQL server is away", "it is missed")
        server.start()
        until(lambda: ours.get("health").json()["status"] == "ok", "it catches up by itself")
        assert ours.sparql("ASK { ?s a ekg:Admission }").text == "true"
        assert ours.get("metrics").status == 200
        assert ours.stop() == 0
    finally:
        server.stop()


@needs_oxigraph
def test_a_catch_up_that_was_cut_off_is_done_again(oxigraph: Oxigraph, tmp_path: Path) -> None:
    """The third update request never arrives; the record of the revision is in the last."""
    seen = itertools.count()
    cut = {"after": 2}

    def lose(request: Exchanged, connection: socket.socket) -> object:
        if "update" in request.form and next(seen) >= cut["after"]:
            return connection.close()
        return PASS

    with Odd(oxigraph, lose) as odd:
        config = configured(tmp_path / "data", **odd.settings)
        with open_library(config, create=True, owner=True) as library:
            many = list(generate.documents(200))
            library.accept(many, agent="a test", judge_all=_fine)
            assert library.revision() == (200, 0)
            assert "true" in oxigraph.send("query", "ASK { GRAPH ?g { ?s a ?class } }"), "a part of it arrived"
            cut["after"] = 10**9
            library.settle()
            assert library.revision() == (200, 200)
            ((count,),) = rows(
                library,
                "SELECT (COUNT(*) AS ?n) WHERE { GRAPH ?g { ?s ?p ?o } FILTER(?g NOT IN (<revision>, <derived>)) }",
            )
            assert int(count) == sum(len(document.triples) for document in many)


@needs_oxigraph
def test_a_server_of_another_journal_is_refused(remote: Config, tmp_path: Path) -> None:
    with open_library(remote, create=True, owner=True) as library:
        accept(library, *STORY)
    shorter = replace(remote, data=tmp_path / "shorter")
    with pytest.raises(
        ConfigurationError, match=r"has revision 5 of https://kg\.example/, the journal in .* ends at 0.*kg rebuild"
    ):
        open_library(shorter, create=True, owner=True)
    other = replace(remote, data=tmp_path / "other")
    with open_library(replace(other, engine=""), create=True, owner=True) as library:
        accept(library, *texts(*(generate.actor(f"a-{number}") for number in range(9))))
    with pytest.raises(ConfigurationError, match=r"followed another history.*kg rebuild"):
        open_library(other, create=False, owner=True)
    with open_library(other, create=False, owner=False) as library:
        with pytest.raises(EngineUnavailable, match="followed another history"):
            library.settle()
        assert library.rebuild() == 9
        assert len(rows(library, "SELECT ?s WHERE { ?s a ekg:Actor }")) == 9


@needs_oxigraph
def test_a_server_with_another_base_is_refused(remote: Config, tmp_path: Path) -> None:
    with open_library(remote, create=True, owner=True) as library:
        library.settle()
    foreign = replace(remote, data=tmp_path / "foreign", base="https://foreign.example/")
    with pytest.raises(
        ConfigurationError, match=r"holds the graph of the base https://kg\.example/, this one is for https://foreign"
    ):
        open_library(foreign, create=True, owner=True)


@needs_oxigraph
def test_a_server_whose_default_graph_is_not_the_union_is_refused(tmp_path: Path) -> None:
    server = Oxigraph(tmp_path / "oxigraph", union=False).start()
    try:
        config = configured(tmp_path / "data", **server.settings)
        with (
            open_library(config, create=True, owner=True) as library,
            pytest.raises(EngineUnavailable, match="oxigraph serve --union-default-graph"),
        ):
            library.settle()
        with pytest.raises(ConfigurationError, match="oxigraph serve --union-default-graph"):
            open_library(config, create=False, owner=True)
    finally:
        server.stop()


@needs_oxigraph
def test_addresses_of_two_stores_are_told_apart(oxigraph: Oxigraph, tmp_path: Path) -> None:
    other = Oxigraph(tmp_path / "another").start()
    try:
        config = configured(tmp_path / "data", engine=oxigraph.query, engine_update=other.update)
        one_store = pytest.raises(EngineUnavailable, match="must be addresses of one store")
        with open_library(config, create=True, owner=True) as library, one_store:
            library.settle()
    finally:
        other.stop()


@needs_virtuoso
def test_a_virtuoso_that_cuts_answers_is_refused(tmp_path: Path) -> None:
    server = Virtuoso(tmp_path / "virtuoso", cap=500).start()
    try:
        with pytest.raises(ConfigurationError, match=r"cuts graphs after 500 solutions.*ResultSetMaxRows"):
            open_library(configured(tmp_path / "data", **server.settings), create=True, owner=True)
    finally:
        server.stop()


@needs_virtuoso
def test_a_digest_is_given_where_it_is_asked_for(virtuoso: Virtuoso, tmp_path: Path) -> None:
    virtuoso.clear(BASE.iri)
    with open_library(configured(tmp_path / "data", **virtuoso.authenticated), create=True, owner=True) as library:
        assert accept(library, *STORY) == 5
        assert len(rows(library, "SELECT ?s WHERE { ?s a ekg:SpeechAct }")) == 1
    wrong = {**virtuoso.authenticated, "engine_secret": "wrong"}
    refused = pytest.raises(EngineUnavailable, match="refuses us")
    with open_library(configured(tmp_path / "data", **wrong), create=False, owner=False) as library, refused:
        library.settle()


# How it is spoken to


@needs_oxigraph
def test_all_is_sent_as_forms_with_who_we_are(oxigraph: Oxigraph, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n", "ascii")

    def challenge(request: Exchanged, connection: socket.socket) -> object:
        if "authorization" in request.headers:
            return PASS
        return connection.sendall(reply("401 Unauthorized", b"who?", {"WWW-Authenticate": 'Basic realm="x"'}))

    for user, expected in (("", "Bearer s3cr3t"), ("me", "Basic bWU6czNjcjN0")):
        with Odd(oxigraph, challenge) as odd:
            config = configured(tmp_path / "data", **odd.settings, engine_user=user, engine_secret_file=secret)
            with open_library(config, create=True, owner=True) as library:
                accept(library, generate.actor(f"user{user}"))
                rows(library, "SELECT ?ж WHERE { ?ж a ekg:Actor FILTER(STR(?ж) != '%25+ü') }")
            assert {request.method for request in odd.seen} == {"POST"}
            assert {request.headers["content-type"] for request in odd.seen} == {"application/x-www-form-urlencoded"}
            asked_first = 1 if user else 0  # nobody is given a password who did not ask for it
            assert [request.headers.get("authorization") for request in odd.seen[:asked_first]] == [None] * asked_first
            assert {request.headers.get("authorization") for request in odd.seen[asked_first:]} == {expected}
            assert "'%25+ü'" in odd.seen[-1].form["query"]
            assert {request.path for request in odd.seen} == {"/query", "/update"}


@needs_oxigraph
def test_a_secret_is_seen_by_the_server_only(
    oxigraph: Oxigraph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: Exchanged, connection: socket.socket) -> object:
        return connection.sendall(reply("401 Unauthorized", b"no", {"WWW-Authenticate": 'Basic realm="x"'}))

    with Odd(oxigraph, refuse) as odd:
        config = configured(tmp_path / "data", **odd.settings, engine_user="me", engine_secret="s3cr3t")  # noqa: S106
        refused = pytest.raises(EngineUnavailable, match=r"refuses us \(401\); see KG_ENGINE_USER")
        with open_library(config, create=True, owner=True) as library, refused as error:
            library.settle()
    assert "s3cr3t" not in repr(config) + str(error.value) + str(error.value.facts) + caplog.text
    outcome = kg("serve", "--help", KG_ENGINE_SECRET="s3cr3t")  # noqa: S106
    assert "--engine-user" in outcome.out
    assert "s3cr3t" not in outcome.out
    assert "--engine-secret " not in outcome.out
    with pytest.raises(ConfigurationError) as wrong:
        settings.read({}, engine="https://me:s3cr3t@db.example/sparql")
    assert "s3cr3t" not in wrong.value.detail
    with pytest.raises(ConfigurationError, match=r"KG_ENGINE_SECRET_FILE: .*missing cannot be read"):
        open_library(
            configured(tmp_path / "data", **oxigraph.settings, engine_secret_file=tmp_path / "missing"),
            create=True,
            owner=True,
        )


def _queries_only(body: Callable[[Exchanged, socket.socket], object]) -> Callable[[Exchanged, socket.socket], object]:
    """What a server does with queries that are not about how far it is."""

    def handler(request: Exchanged, connection: socket.socket) -> object:
        if "ODD" not in request.form.get("query", ""):
            return PASS
        return body(request, connection)

    return handler


@contextlib.contextmanager
def _odd_library(
    oxigraph: Oxigraph, config: Config, body: Callable[[Exchanged, socket.socket], object]
) -> Iterator[Library]:
    """An empty library whose server answers queries that hold the word ODD in this way."""
    with contextlib.ExitStack() as stack:
        odd = stack.enter_context(Odd(oxigraph, _queries_only(body)))
        library = stack.enter_context(open_library(replace(config, **odd.settings), create=True, owner=True))
        library.settle()
        yield library


JSON = {"Content-Type": "application/sparql-results+json"}
TABLE = b'{"head":{"vars":["x"]},"results":{"bindings":[{"x":{"type":"literal","value":"1"}}]}}'


@needs_oxigraph
@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (reply("302 Found", b"", {"Location": "http://me:pw@127.0.0.1:9/sparql"}), EngineUnavailable, "sends us to http://127.0.0.1:9/sparql, which is not followed"),
        (reply("307 Temporary Redirect", b"", {"Location": "/other"}), EngineUnavailable, "sends us to /other"),
        (reply("503 Busy", b"too much", {"Retry-After": "17"}), Overloaded, "is overloaded: too much"),
        (reply("429 Slow down"), Overloaded, "is overloaded"),
        (reply("504 Gateway Timeout"), QueryTimeout, "gave the query up"),
        (reply("502 Bad Gateway", b"nobody home"), EngineUnavailable, "status 502: nobody home"),
        (reply("404 Not Found"), EngineUnavailable, "status 404"),
        (reply("500 SPARQL Request Failed", b"Virtuoso S1T00 Error SR171: Transaction timed out\n\nSPARQL query:\nx"), QueryTimeout, "Transaction timed out$"),
        (reply("400 Bad", b"Encountered \" \"}\" at line 2, column 7.\nWas expecting: x"), MalformedQuery, "at line 2, column 7"),
        (reply("200 OK", TABLE[:-20], JSON, length=len(TABLE)), EngineUnavailable, "broke off its answer"),
        (reply("200 OK", TABLE[:-20], JSON), EngineUnavailable, "cannot be read"),
        (reply("200 OK", b"<html>Hello", {"Content-Type": "text/html"}), EngineUnavailable, "answered with text/html"),
        (reply("200 OK", TABLE, {**JSON, "X-SPARQL-MaxRows": "1"}), ResultTooLarge, "cuts answers at 1 rows"),
        (reply("200 OK", TABLE, {**JSON, "X-SQL-State": "S1TAT", "X-SQL-Message": "anytime"}), QueryTimeout, "anytime"),
        (b"", EngineUnavailable, "broke off|cannot be reached"),
        (b"nonsense\r\n\r\n", EngineUnavailable, "broke off|cannot be reached"),
    ],
)  # fmt: skip
def test_what_a_server_does_wrong_is_told(
    oxigraph: Oxigraph, remote: Config, answer: bytes, error: type[KgError], says: str
) -> None:
    with _odd_library(oxigraph, remote, lambda request, connection: connection.sendall(answer)) as library:
        with pytest.raises(error) as raised:
            ask(library, "SELECT ?x WHERE {\n ?x ?y 'ODD' }")
        assert type(raised.value) is error
        assert re.search(says, raised.value.detail), raised.value.detail
        if error is Overloaded and b"17" in answer:
            assert raised.value.facts["retry_after"] == 17
        if error is MalformedQuery:
            assert (raised.value.facts["line"], raised.value.facts["column"]) == (2, 7)
        assert not list(remote.data.glob("spool*/*"))
        assert ask(library, "ASK { }").read()


@needs_oxigraph
def test_triples_that_break_off_are_no_answer(oxigraph: Oxigraph, remote: Config) -> None:
    """A cut N-Triples file is one too: only the length tells."""
    whole = b"<urn:s> <urn:p> <urn:o> .\n" * 10
    answer = reply("200 OK", whole, {"Content-Type": "application/n-triples"}, length=len(whole) + 1)
    cut = _odd_library(oxigraph, remote, lambda request, connection: connection.sendall(answer))
    with cut as library, pytest.raises(EngineUnavailable, match="broke off its answer 1 bytes early"):
        ask(library, "CONSTRUCT WHERE { ?s ?p 'ODD' }")


@needs_oxigraph
@pytest.mark.parametrize("where", ["headers", "body"])
def test_bytes_that_trickle_do_not_stretch_the_deadline(oxigraph: Oxigraph, remote: Config, where: str) -> None:
    ended = threading.Event()

    def drip(request: Exchanged, connection: socket.socket) -> object:
        text = b"HTTP/1.1 200 OK\r\n" + (
            b"X-A: " if where == "headers" else b"Content-Type: application/sparql-results+json\r\n\r\n"
        )
        try:
            for byte in itertools.chain(text, itertools.repeat(32)):
                connection.sendall(bytes([byte]))
                time.sleep(0.001 if byte != 32 else 0.05)
        finally:
            ended.set()

    with _odd_library(oxigraph, remote, drip) as library:
        start = time.monotonic()
        with pytest.raises(QueryTimeout, match=r"0\.8 seconds"):
            ask(library, "SELECT ?x WHERE { ?x ?y 'ODD' }", timeout=0.8)
        assert 0.7 < time.monotonic() - start < 1.6
        assert ended.wait(2), "the connection is closed, so that the server can stop"


def test_settings_that_name_no_server_are_refused() -> None:
    for wrong in (
        "ftp://db.example/",
        "db.example/sparql",
        "https://",
        "https://db.example/ x",
        "https://db.example/#x",
    ):
        with pytest.raises(ConfigurationError, match="KG_ENGINE must be an http or https address"):
            settings.read({}, engine=wrong)
    assert settings.read({"KG_ENGINE": "https://db.example/sparql"}).engine == "https://db.example/sparql"
