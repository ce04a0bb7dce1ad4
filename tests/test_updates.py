"""SPARQL Update: what it may name, that it changes just that, and that it is a write like any other."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import generate
import pyoxigraph as ox
import pytest
from flask.testing import FlaskClient
from serving import until

from kg import config as settings
from kg import updates
from kg.documents import N_QUADS, parse
from kg.engine import Query
from kg.engine.federation import Admission
from kg.engine.process import Limits
from kg.engine.scratch import Scratch
from kg.errors import MalformedQuery, QueryTimeout, RequestError, ServiceRefused, UpdateRefused
from kg.library import Library, open_library
from kg.terms import KINDS, Base
from kg.tokens import Tokens
from kg.web import create_app

BASE = Base("https://kg.example/")
KURSK, SUDZHA, EVENT = "https://kg.example/place/kursk", "https://kg.example/place/sudzha", "https://kg.example/event/e"

#: What is there at the beginning: two places and an event that refers to one of them.
THERE = (generate.place("kursk"), generate.place("sudzha"), generate.event("e", at="kursk"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """One library, since the processes that judge and try take a second to start."""
    config = settings.read(
        {}, data=tmp_path_factory.mktemp("updates") / "data", base=BASE.iri, query_processes=1, query_timeout=20
    )
    with open_library(config, create=True, owner=True) as library:
        yield library


@pytest.fixture
def filled(shared: Library) -> Library:
    """It, as it was at the beginning."""
    beginning = {text.iri(BASE): text.document() for text in THERE}
    left = {iri: None for kind in KINDS for iri in shared.journal.documents(kind, 1000)}
    shared.change(lambda: {**left, **beginning}, agent="tests")
    return shared


@pytest.fixture
def client(filled: Library) -> FlaskClient:
    return create_app(filled).test_client()


@pytest.fixture(scope="module")
def writer(shared: Library) -> dict[str, str]:
    return {"Authorization": f"Bearer {Tokens(shared.config.data).create('wren', 'writer')}"}


@pytest.fixture(scope="module")
def admin(shared: Library) -> dict[str, str]:
    return {"Authorization": f"Bearer {Tokens(shared.config.data).create('ada', 'admin')}"}


def send(client: FlaskClient, text: str, headers: dict[str, str], **form: Any) -> Any:
    return client.post("/update", data={"update": text, **form}, headers=headers)


def triples(library: Library, iri: str) -> str:
    found = library.read(iri)
    return "" if found is None else found[0].content.decode()


# What may be named

#: Each with a word of the reason.
REFUSED = [
    ("INSERT DATA { <place/kursk> rdfs:comment 'x' }", "every triple belongs to a document"),
    ("INSERT DATA { GRAPH <place/kursk> { } <place/kursk> rdfs:comment 'x' }", "every triple belongs"),
    ("DELETE DATA { <place/kursk> rdfs:label 'kursk'@en }", "every triple belongs"),
    ("DELETE WHERE { ?s ?p ?o }", "every triple belongs"),
    ("DELETE { ?s ?p ?o } WHERE { GRAPH <place/kursk> { ?s ?p ?o } }", "every triple belongs"),
    ("INSERT { GRAPH <place/kursk> { ?s rdfs:comment 'x' } } WHERE { ?s a ekg:Place }", "read from no graph"),
    ("INSERT { GRAPH <place/kursk> { ?s rdfs:comment 'x' } } WHERE { { { OPTIONAL { ?s a ?c } } } }", "no graph"),
    ("WITH <place/kursk> INSERT { ?s ?p ?o } USING NAMED <event/e> WHERE { ?s ?p ?o }", "read from no graph"),
    (
        "INSERT { GRAPH <place/kursk> { <a:b> ?p 1 } } WHERE { GRAPH <event/e> { ?p ?q ?r } MINUS { ?p a ?r } }",
        "no graph",
    ),
    ("INSERT { GRAPH <place/kursk> { <a:b> ?p 1 } } WHERE { FILTER(1 IN (2) || EXISTS { ?p a ?r }) }", "no graph"),
    ("INSERT { GRAPH <place/kursk> { <a:b> ?p 1 } } WHERE { BIND(EXISTS { ?p a ?r } AS ?b) }", "no graph"),
    ("INSERT { GRAPH <place/kursk> { <a:b> ?p 1 } } WHERE { SELECT ?p WHERE { ?p a ?r } }", "no graph"),
    ("INSERT { GRAPH <place/kursk> { <a:b> ?p 1 } } WHERE { SELECT ?p { } HAVING (EXISTS { ?p a ?r }) }", "no graph"),
    ("INSERT DATA { GRAPH ?g { <a:b> a <a:c> } }", "may be any graph"),
    ("INSERT { graph ?g { ?s ?p 1 } } WHERE { GRAPH <place/kursk> { ?s ?p ?o } }", "may be any graph"),
    ("WITH <place/kursk> DELETE { ?s ?p ?o } WHERE { GRAPH $g { ?s ?p ?o } }", "may be any graph"),
    ("DELETE WHERE { GrApH#\n?g { ?s ?p ?o } }", "may be any graph"),
    ("WITH <place/kursk> DELETE { ?s ?p ?o } WHERE { FILTER NOT EXISTS { GRAPH ?g { ?s ?p ?o } } }", "any graph"),
    ("INSERT DATA { GRAPH <derived> { <a:b> a <a:c> } }", "follows by rules"),
    ("PREFIX ekg: <https://kg.example/> WITH ekg:derived DELETE { ?s ?p ?o } WHERE { ?s ?p ?o }", "by rules"),
    ("WITH <place/kursk> INSERT { ?s ?p ?o } USING <derived> WHERE { ?s ?p ?o }", "follows by rules"),
    ("WITH <place/kursk> INSERT { ?s ?p ?o } WHERE { GRAPH <derived> { ?s ?p ?o } }", "follows by rules"),
    ("DROP GRAPH <https://kg.example/d\\u0065rived>", "follows by rules"),
    ("BASE <https://other.example/> CLEAR GRAPH <place/kursk>", "are documents"),
    ("INSERT DATA { GRAPH <place/kursk#part> { <place/kursk> a <a:c> } }", "a part of"),
    ("INSERT DATA { GRAPH <place/Kursk> { <place/kursk> a <a:c> } }", "are documents"),
    ("INSERT DATA { GRAPH <> { <place/kursk> a <a:c> } }", "are documents"),
    ("PREFIX place: <urn:x:> INSERT DATA { GRAPH place:kursk { <a:b> a <a:c> } }", "are documents"),
    ("CREATE GRAPH <urn:x>", "are documents"),
    ("CLEAR ALL", "more than one document"),
    ("clear silent default", "more than one document"),
    ("DROP NAMED", "more than one document"),
    ("INSERT DATA { GRAPH <place/kursk> { } } ; # and\n drop#\nall", "more than one document"),
    ("COPY DEFAULT TO <place/kursk>", "more than one document"),
    ("MOVE <place/kursk> TO DEFAULT", "more than one document"),
    ("ADD SILENT GRAPH <place/kursk> TO GRAPH <urn:x>", "are documents"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_graphs_that_are_not_documents_named_outright_are_refused(text: str, why: str) -> None:
    with pytest.raises(UpdateRefused) as refused:
        updates.read(text, BASE)
    assert why in refused.value.detail
    assert refused.value.facts["line"] >= 1


MALFORMED = [
    r"INSERT DATA { \u0047RAPH <place/kursk> { <a:b> a <a:c> } }",
    r"\u0044ROP ALL",
    "INSERTDATA { GRAPH <place/kursk> { <a:b> a <a:c> } }",
    "DROPALL",
    "INSERT DATA { GRAPH <place/kursk> { <a:b> a <a:c> }",
    "INSERT DATA { GRAPH <place/kursk> { <a:b> a <a:c> } } }",
    "INSERT DATA { GRAPH <place/kursk> { <a:b> a 'x } }",
    'INSERT DATA { GRAPH <place/kursk> { <a:b> a """x } }',
    "INSERT DATA { GRAPH <place/kursk> { { <a:b> a <a:c> } } }",
    "INSERT DATA { { <a:b> a <a:c> } }",
    "INSERT DATA { GRAPH nobody:kursk { <a:b> a <a:c> } }",
    "PREFIX GRAPH: <a:> WITH <place/kursk> DELETE { ?s ?p ?o } WHERE { GRAPH:x { ?s ?p ?o } }",
    "DROP <place/kursk>",
    "INSERT { GRAPH <place/kursk> { <a:b> a <a:c> } }",
    "WITH <place/kursk> DELETE { ?s ?p ?o } WHERE " + "{" * 200 + "}" * 200,
    "SELECT * { ?s ?p ?o }",
    "PREFIX <place/kursk> DROP ALL",
    "WITH <place/kursk>",
    "GARBAGE",
]


@pytest.mark.parametrize("text", MALFORMED, ids=[text[:60] for text in MALFORMED])
def test_what_is_no_update_is_told_with_its_place(text: str) -> None:
    with pytest.raises(MalformedQuery) as refused:
        updates.read(text, BASE)
    assert {"line", "column"} <= refused.value.facts.keys()


NAMES = [
    ("", []),
    ("PREFIX a: <a:> # nothing", []),
    ("INSERT DATA { GRAPH place:kursk { } } ;", [KURSK]),
    (
        "BASE <https://kg.example/place/> DROP GRAPH <kursk> ; BASE <x/../../event/> DROP SILENT GRAPH <e>",
        [KURSK, EVENT],
    ),
    ("PREFIX p: <event/> CLEAR GRAPH p:e ; PREFIX p: <place/> CLEAR GRAPH p:kursk", [EVENT, KURSK]),
    ("move graph <place/kursk> to <place/sudzha>", [KURSK, SUDZHA]),
    ("CREATE SILENT GRAPH <place/kursk>", [KURSK]),
    ("DROP GRAPH <https://kg.example/place/\\u006bursk>", [KURSK]),
    ('INSERT DATA { GRAPH <place/kursk> { <a:b> a \'} GRAPH ?g {\', "# \\" {" } # } GRAPH ?h { }\n }', [KURSK]),
    ("INSERT { GRAPH <place/kursk> { ?s ?p ?o } } USING <event/e> USING NAMED <place/sudzha> WHERE { ?s ?p ?o }", None),
    ("WITH <place/kursk> DELETE { GRAPH <event/e> { ?s ?p ?o } ?s ?p ?o } WHERE { GRAPH <place/sudzha> { } }", None),
    (
        "WITH <place/kursk> INSERT { ?s <a:b> ?n, [ <a:c> (1 2) ] } WHERE { { SELECT ?s (COUNT(*) AS ?n) WHERE { ?s (<a:b>/!a)* ?o "
        "FILTER regex(?o, '}') FILTER(?n<?m && ?m>3) FILTER (<a:f>(?s)) FILTER <a:f>(?s) VALUES (?s ?p) { (UNDEF 1) } } GROUP BY ?s "
        "HAVING (COUNT(*) > 1) ORDER BY DESC(?n) } UNION { GRAPH <event/e> { ?s ?p ?o } } BIND((1+2)*3 AS ?x) "
        "GRAPH <place/sudzha> { ?s a ?t FILTER NOT EXISTS { ?s ?u ?v } } }",
        [KURSK, EVENT, SUDZHA],
    ),
]


@pytest.mark.parametrize(("text", "graphs"), NAMES, ids=[text[:60] for text, _ in NAMES])
def test_graphs_are_found_wherever_they_are_named(text: str, graphs: list[str] | None) -> None:
    assert set(updates.read(text, BASE).graphs) == set([KURSK, SUDZHA, EVENT] if graphs is None else graphs)


# No request leaves


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address, and what came there."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(1000))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/x", heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


WOULD_ASK = [
    "LOAD <{}> INTO GRAPH <place/kursk>",
    "load silent <{}>",
    "PREFIX a: <{}> LOAD a: INTO GRAPH <place/kursk>",
    "INSERT DATA {{ GRAPH <place/kursk> {{ }} }} ; LOAD#\n<{}> INTO GRAPH <place/kursk>",
    "INSERT DATA {{ GRAPH <place/kursk> {{ }} }};LOADSILENT<{}>INTO GRAPH<place/kursk>",
    "INSERT DATA {{ GRAPH <place/kursk> {{ }} }} ; \\u004COAD <{}> INTO GRAPH <place/kursk>",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ SERVICE <{}> {{ ?s ?p ?o }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ {{ service silent <{}> {{ ?s ?p ?o }} }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ SERVICESILENT<{}>{{ ?s ?p ?o }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ ?s ?p 1e5SERVICE<{}>{{ ?s ?p ?o }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ \\u0053ERVICE <{}> {{ ?s ?p ?o }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ FILTER EXISTS {{ SERVICE <{}> {{ ?s ?p ?o }} }} }}",
    "WITH <place/kursk> INSERT {{ ?s ?p ?o }} WHERE {{ BIND(<{}> AS ?g) SERVICE ?g {{ ?s ?p ?o }} }}",
]


def test_no_spelling_of_an_update_sends_a_request(filled: Library, listener: tuple[str, list[bytes]]) -> None:
    address, heard = listener
    for text in WOULD_ASK:
        with pytest.raises((ServiceRefused, MalformedQuery, UpdateRefused)):
            updates.read(text.format(address), BASE).compose(filled)
    assert heard == []


def test_the_process_itself_can_ask_nobody(
    filled: Library, listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where reading the text has failed to find what it says: the words do not even pass the second door."""
    address, heard = listener
    scratch = filled.scratch
    monkeypatch.setattr(scratch._federation, "admit", lambda update: Admission(update.text, update.text, (), (), None))
    for text in WOULD_ASK[:4]:
        form = text.format(address).replace("place/", f"{BASE}place/")
        try:
            assert scratch.rewrite(Query(form, base=BASE.iri), {KURSK: b""}) == {}  # SILENT
        except UpdateRefused as error:
            assert "send requests elsewhere" in error.detail
    with pytest.raises(UpdateRefused, match="send requests elsewhere"):
        scratch.rewrite(Query(WOULD_ASK[6].format(address), base=BASE.iri), {KURSK: b""})
    assert heard == []


def test_what_is_written_anywhere_else_is_refused_though_it_was_not_seen(filled: Library) -> None:
    for text in ("INSERT DATA { <a:b> a <a:c> }", "INSERT DATA { GRAPH <derived> { <a:b> a <a:c> } }"):
        with pytest.raises(UpdateRefused, match="it would write to"):
            filled.scratch.rewrite(Query(text, base=BASE.iri), {KURSK: b""})


# What it does


def test_an_update_changes_what_it_says_and_is_seen_at_once(client: FlaskClient, filled: Library, writer: Any) -> None:
    before = filled.journal.last()
    reply = send(
        client,
        "INSERT DATA { GRAPH place:kursk { place:kursk skos:altLabel 'K'@en, 'L'@en } }",
        {**writer, "KG-Note": "why"},
    )
    assert (reply.status_code, reply.data) == (204, b"")
    assert int(reply.headers["KG-Revision"]) == filled.journal.last() > before
    found = client.get("/sparql", query_string={"query": "ASK { place:kursk skos:altLabel 'K'@en }"})
    assert found.json["boolean"] is True
    read = filled.read(KURSK)
    assert read is not None
    assert (read[1].agent, read[1].change, read[1].note) == ("wren", "recorded", "why")

    text = "DELETE { GRAPH place:kursk { ?s skos:altLabel ?l } } INSERT { GRAPH place:kursk { ?s rdfs:comment ?l } } WHERE { ?s skos:altLabel ?l }"
    reply = client.post(
        "/update",
        query_string={"using-graph-uri": KURSK},
        data=text,
        headers={**writer, "Accept": "application/json", "KG-Change": "corrected-encoding"},
        content_type="application/sparql-update; charset=utf-8",
    )
    assert reply.status_code == 200, reply.json
    (written,) = reply.json["written"]
    assert (written["document"], written["created"], written["revision"]) == (KURSK, False, filled.journal.last())
    assert "altLabel" not in triples(filled, KURSK)
    assert triples(filled, KURSK).count("#comment>") == 2


def test_what_changes_nothing_is_no_revision(client: FlaskClient, filled: Library, writer: Any) -> None:
    last = filled.journal.last()
    for text in (
        "",
        "INSERT DATA { GRAPH <place/kursk> { <place/kursk> a ekg:Place } }",
        "INSERT DATA { GRAPH <place/kursk> { <place/kursk> rdfs:comment 'x' } } ; DELETE DATA { GRAPH <place/kursk> { <place/kursk> rdfs:comment 'x' } }",
        "WITH <place/nowhere> DELETE { ?s ?p ?o } WHERE { ?s ?p ?o }",
        "DROP SILENT GRAPH <place/nowhere> ; CREATE GRAPH <place/nothing>",
    ):
        reply = send(client, text, writer)
        assert (reply.status_code, reply.headers["KG-Revision"]) == (204, str(last)), (text, reply.json)
    assert filled.journal.last() == last


def test_operations_are_one_batch_and_a_rejected_one_leaves_no_trace(
    client: FlaskClient, filled: Library, writer: Any
) -> None:
    last = filled.journal.last()
    good = "INSERT DATA { GRAPH <place/kursk> { <place/kursk> rdfs:comment 'x' } }"
    reply = send(client, f"{good} ; DELETE WHERE {{ GRAPH <place/sudzha> {{ ?s rdfs:label ?l }} }}", writer)
    assert reply.status_code == 422
    (result,) = reply.json["results"]
    assert SUDZHA in str(result) and "label" in str(result)
    reply = send(
        client,
        f"{good} ; DELETE WHERE {{ GRAPH <place/sudzha> {{ ?s rdfs:label ?l }} }}",
        {**writer, "Accept": "text/turtle"},
    )
    assert (reply.status_code, reply.mimetype) == (422, "text/turtle")
    reply = send(
        client, f"{good} ; INSERT DATA {{ GRAPH <place/sudzha> {{ <place/kursk> rdfs:comment 'x' }} }}", writer
    )
    assert reply.status_code == 422  # a document speaks only about its own subjects
    assert filled.journal.last() == last

    # What refers to each other comes in any order.
    event = "<event/f> a ekg:Event ; rdfs:label 'f'@en ; ekg:place <place/new>"
    place = "<place/new> a ekg:Place ; rdfs:label 'new'@en"
    text = f"{good} ; INSERT DATA {{ GRAPH <event/f> {{ {event} }} GRAPH <place/new> {{ {place} }} }}"
    assert send(client, text, writer).status_code == 204
    batches = {read[1].batch for iri in (KURSK, BASE.iri + "event/f") if (read := filled.read(iri))}
    assert len(batches) == 1


def test_emptying_a_document_deletes_it_and_takes_an_admin(
    client: FlaskClient, filled: Library, writer: Any, admin: Any
) -> None:
    everything = "DELETE WHERE { GRAPH <place/sudzha> { ?s ?p ?o } }"
    refused = send(client, everything, writer)
    assert refused.status_code == 403 and "retracted" in refused.json["detail"]
    assert triples(filled, SUDZHA)
    assert send(client, everything, admin).status_code == 204
    assert filled.read(SUDZHA) is None
    referred = send(client, "DROP GRAPH <place/kursk>", admin)
    assert referred.status_code == 409
    assert referred.json["referrers"] == [{"node": KURSK, "document": EVENT}]
    missing = send(client, "DROP GRAPH <place/sudzha>", admin)
    assert missing.status_code == 400 and "SILENT" in missing.json["detail"]


def test_blank_nodes_come_out_as_in_any_document(client: FlaskClient, filled: Library, writer: Any) -> None:
    before = triples(filled, KURSK)
    gone = "WITH <place/kursk> DELETE { ?s geo:hasGeometry ?g . ?g ?p ?o } WHERE { ?s geo:hasGeometry ?g . ?g ?p ?o }"
    assert send(client, gone, writer).status_code == 204
    assert "_:" not in triples(filled, KURSK)
    back = "INSERT DATA { GRAPH <place/kursk> { <place/kursk> geo:hasGeometry _:g . _:g a sf:Point ; geo:asWKT 'POINT(36.2 51.7)'^^geo:wktLiteral } }"
    assert send(client, back, writer).status_code == 204
    assert triples(filled, KURSK) == before
    copied = "INSERT { GRAPH <place/new> { <place/new> a ekg:Place ; rdfs:label 'n'@en ; geo:hasGeometry ?g . ?g ?p ?o } } WHERE { GRAPH <place/kursk> { ?s geo:hasGeometry ?g . ?g ?p ?o } }"
    assert send(client, copied, writer).status_code == 204
    new = triples(filled, BASE.iri + "place/new")
    assert new.count("_:") == 3
    assert (
        set(ox.parse(new, format=ox.RdfFormat.N_TRIPLES)) & set(ox.parse(before, format=ox.RdfFormat.N_TRIPLES))
        == set()
    )


def test_what_an_update_leaves_alone_stays_as_it_was_written(filled: Library) -> None:
    """A store writes 007 as 7; a document that had its label changed does not change its numbers."""
    content = '<a:s> <a:p> "007"^^<http://www.w3.org/2001/XMLSchema#integer> .\n<a:s> <a:q> "x" .\n'
    text = f"WITH <{KURSK}> DELETE {{ ?s <a:q> ?o }} INSERT {{ ?s <a:q> 'y' }} WHERE {{ ?s <a:q> ?o }}"
    made = filled.scratch.rewrite(Query(text), {KURSK: content.encode(), SUDZHA: content.encode()})
    assert made.keys() == {KURSK}
    assert sorted(line.rsplit(b" <", 1)[0] for line in made[KURSK].splitlines()) == [
        b'<a:s> <a:p> "007"^^<http://www.w3.org/2001/XMLSchema#integer>',
        b'<a:s> <a:q> "y"',
    ]


def test_an_update_that_was_overtaken_is_made_again_of_what_is_there_then(
    client: FlaskClient, filled: Library, writer: Any
) -> None:
    """A counter: of two who add one at once, neither is lost."""
    text = "WITH place:kursk DELETE {{ ?s skos:altLabel ?l }} INSERT {{ ?s skos:altLabel ?new }} WHERE {{ ?s a ekg:Place OPTIONAL {{ ?s skos:altLabel ?l }} BIND(CONCAT(COALESCE(?l, ''), '{}') AS ?new) }}"
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: statuses.append(
                send(client.application.test_client(), text.format(n), writer).status_code
            )
        )
        for n in "abcdef"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [204] * 6
    label = triples(filled, KURSK).partition('altLabel> "')[2].partition('"')[0]
    assert sorted(label) == list("abcdef")


# The protocol


def test_the_request_follows_the_protocol(client: FlaskClient, filled: Library, writer: Any) -> None:
    text = "INSERT DATA { GRAPH <place/kursk> { <place/kursk> rdfs:comment 'x' } }"
    last = filled.journal.last()

    def status(**request: Any) -> int:
        request.setdefault("headers", writer)
        return client.post("/update", **request).status_code

    assert client.get("/update", query_string={"update": text}, headers=writer).status_code == 405
    assert client.put("/update", data=text, headers=writer).status_code == 405
    assert status(data={"update": text}, headers={}) == 401
    assert status(data={"query": "ASK {}"}) == 400
    assert status(data={"update": [text, text]}) == 400
    assert status(data={"text": text}) == 400
    assert status(data=text, content_type="application/sparql-query") == 415
    assert status(data=text.encode("utf-16"), content_type="application/sparql-update; charset=utf-16") == 415
    assert status(data=b"\xff", content_type="application/sparql-update") == 400
    assert status(data={"update": text}, headers={**writer, "If-Match": '"x"'}) == 400
    assert status(data={"update": text}, headers={**writer, "KG-Change": "improved"}) == 400
    assert status(data={"update": text}, query_string={"using-graph-uri": "urn:x"}) == 400
    assert status(data={"update": text + " " * 2**22}) == 413
    assert filled.journal.last() == last


def test_a_syntax_error_tells_the_place_in_the_text_that_was_sent(client: FlaskClient, writer: Any) -> None:
    start = "INSERT { GRAPH <place/kursk> { ?s rdfs:comment 'a service' } }"
    for text, form in (
        (f"{start}\nWHERE {{ FILTER(1 +) }}", {}),
        (f"{start}\nWHERE {{ GRAPH <place/kursk> {{ ?s ?p 1 2 }} }}", {}),
        (f"{start}\nWHERE {{ ?s ?p 1 2 }}", {"using-graph-uri": KURSK, "using-named-graph-uri": EVENT}),
    ):
        reply = send(client, text, writer, **form)
        assert (reply.status_code, reply.json["type"]) == (400, f"{BASE}errors#malformed-query")
        with pytest.raises(SyntaxError, match=f"error at {reply.json['line']}:{reply.json['column']}:"):
            ox.Store().update(text, base_iri=BASE.iri, prefixes={"rdfs": "http://www.w3.org/2000/01/rdf-schema#"})
    reply = send(client, "INSERT DATA { GRAPH <place/kursk> { <place/kursk> dwc:x 1 } }", writer)
    assert reply.json["detail"] == "no PREFIX declares dwc:"
    reply = send(client, "CLEAR ALL", writer)
    assert (reply.status_code, reply.json["type"]) == (400, f"{BASE}errors#update-refused")


def test_parameters_are_the_dataset_of_each_operation(client: FlaskClient, filled: Library, writer: Any) -> None:
    copy = "INSERT { GRAPH <place/kursk> { <place/kursk> rdfs:comment ?l } } WHERE { ?s rdfs:label ?l }"
    both = f"{copy} ; {copy.replace('rdfs:label ?l', 'a ekg:Event BIND(99 AS ?l)')}"
    assert send(client, both.replace("99", "'n'"), writer, **{"using-graph-uri": [SUDZHA, EVENT]}).status_code == 204
    assert triples(filled, KURSK).count("#comment>") == 3  # two labels, and once "n"
    given = {"using-graph-uri": SUDZHA}
    for text in (
        f"WITH <event/e> {copy}",
        copy.replace("WHERE", "USING <event/e> WHERE"),
        "DELETE WHERE { GRAPH <event/e> { ?s ?p ?o } }",
    ):
        with pytest.raises(RequestError):
            updates.read(text, BASE, [SUDZHA])
        assert send(client, text, writer, **given).status_code == 400
    with pytest.raises(UpdateRefused):
        updates.read(copy, BASE, [], [SUDZHA])


def test_an_update_that_is_stopped_or_whose_process_is_gone_costs_the_next_one_nothing(filled: Library) -> None:
    scratch = Scratch(Limits(0.5, 2**31, 2**20), filled.config.data / "spool-0-tests")
    content = "".join(f"<a:s> <a:p> <a:{n}> .\n" for n in range(1000)).encode()
    try:
        with pytest.raises(QueryTimeout, match="the update took longer"):
            endless = f"INSERT {{ GRAPH <{KURSK}> {{ ?d <a:p> ?n }} }} WHERE {{ GRAPH <{KURSK}> {{ ?s ?p ?a . ?t ?q ?b . ?u ?r ?c . ?v ?x ?d BIND(UUID() AS ?n) }} }}"
            scratch.rewrite(Query(endless), {KURSK: content})
        for _ in range(2):
            assert scratch.rewrite(Query(f"CLEAR GRAPH <{KURSK}>"), {KURSK: content}) == {KURSK: b""}
            assert scratch._process is not None
            os.kill(scratch._process.pid, signal.SIGKILL)
            until(scratch._process.has_ended, "the process is gone")
    finally:
        scratch.close()


# Agreement with an engine that knows nothing of documents


def test_outcome_is_what_the_update_makes_of_the_whole_graph(filled: Library) -> None:
    """Random updates: what this module finds them to name and to do is what they do to a store that holds everything."""
    chance = random.Random(20)
    iris = [KURSK, SUDZHA, EVENT]
    everything = [
        ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(text.iri(BASE)))
        for text in THERE
        for t in text.document().triples
    ]
    for _ in range(60):
        text = " ;\n".join(_operation(chance, iris) for _ in range(chance.randint(1, 3)))
        store = ox.Store()
        store.extend(everything)
        store.update(text, base_iri=BASE.iri, prefixes=Query(text, base=BASE.iri).supplied_prefixes())
        made = updates.read(text, BASE).compose(filled)
        for iri in iris:
            there = filled.read(iri)
            assert there is not None
            ours = made.get(iri, there[0])
            quads = ox.serialize(
                store.quads_for_pattern(None, None, None, ox.NamedNode(iri)), format=ox.RdfFormat.N_QUADS
            )
            theirs = parse(quads or b"", N_QUADS, BASE, limit=2**20)[0] if quads else None
            assert ours == theirs, text
        assert {q.graph_name for q in store} <= {ox.NamedNode(iri) for iri in iris}


def _operation(chance: random.Random, iris: list[str]) -> str:
    """An operation on documents, with all that goes wrong in reading: comments, cases, strings that look like keywords."""
    one, other, third = (chance.choice(iris) for _ in range(3))
    names = [f"<{one}>", one.removeprefix(BASE.iri).replace("/", ":"), f"<{one.removeprefix(BASE.iri)}>"]
    name = chance.choice(names)
    value = chance.choice(
        ["'a'", "'} GRAPH ?g {'@en", '"""x # "y" """', "1", "'\\u0022'", "<#p>", "[ rdfs:label '(' ]"]
    )
    graph = chance.choice(["GRAPH", "graph", "GrApH #}\n", "GRAPH\t"])
    where = chance.choice(
        [
            f"{{ {graph} {name} {{ ?s ?p ?o }} }}",
            f"{{ {graph} <{other}> {{ ?s ?p ?o FILTER(isLiteral(?o) || EXISTS {{ ?s a ?o }}) }} }}",
            f"{{ {{ GRAPH <{one}> {{ ?s ?p ?o }} }} UNION {{ GRAPH <{third}> {{ ?s ?p ?o }} }} }}",
            f"{{ SELECT ?s ?p ?o {{ GRAPH <{third}> {{ ?s ?p ?o }} FILTER NOT EXISTS {{ GRAPH <{one}> {{ ?s ?p ?o }} }} }} }}",
            f"{{ VALUES ?p {{ rdfs:label rdf:type }} GRAPH <{other}> {{ ?s ?p ?o }} MINUS {{ GRAPH <{one}> {{ ?s a ?o }} }} }}",
        ]
    )
    loose = chance.choice(
        ["{ ?s ?p ?o }", "{ ?s ?p ?o OPTIONAL { ?s a ?o } }", "{ ?s rdfs:label ?o BIND(rdfs:label AS ?p) }"]
    )
    return chance.choice(
        [
            f"INSERT DATA {{ {graph} {name} {{ <#a> rdfs:comment {value} }} }}",
            f"DELETE DATA {{ {graph} {name} {{ <{one}> rdfs:label '{one.rpartition('/')[2]}'@en }} }}",
            f"DELETE WHERE {{ {graph} {name} {{ ?s rdfs:label ?o }} }}",
            f"DELETE {{ {graph} {name} {{ ?s ?p ?o }} }} WHERE {where}",
            f"INSERT {{ {graph} {name} {{ <#b> ?p ?o }} }} WHERE {where.replace('{ ?s ?p ?o', '{ ?s ?p ?o FILTER(!isBlank(?o))')}",
            f"WITH {name} DELETE {{ ?s ?p ?o }} INSERT {{ <#c> rdfs:comment {value} }} WHERE {loose}",
            f"WITH {name} INSERT {{ <#d> rdfs:comment {value} }} USING <{other}> USING NAMED <{third}> WHERE {loose}",
            f"CLEAR SILENT graph#{chr(10)} {name}",
            f"DROP SILENT GRAPH {name}",
        ]
    )
