"""Writing over HTTP: what gets in, what is refused and how it is told, and that nobody overwrites what they have not seen."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import generate
import pyoxigraph as ox
import pytest
from flask import Flask
from generate import Act
from serving import ROOT, Reply, Server, kg, processor_time, state_of, until
from test_readme import section
from werkzeug.test import TestResponse

from kg import config as settings
from kg import documents
from kg.documents import Document
from kg.engine import Query
from kg.errors import JudgeDied, JudgingTimeout, MalformedDocument, Overloaded
from kg.judging import Judges
from kg.library import Library, open_library
from kg.tokens import Tokens
from kg.web import create_app

BASE = generate.BASE
EKG = "https://w3id.org/ekg/ns#"
TURTLE = "text/turtle"

ORGANIZATION = generate.actor("staff")
HEAD = generate.person("chief", organization="staff")
EVENT = generate.event("march")
PROPOSITION = generate.proposition("they-marched", "event/march")
STORY = (ORGANIZATION, HEAD, EVENT, PROPOSITION)


def speech(slug: str) -> generate.Text:
    return generate.article(slug, [Act("chief", ("they-marched",), in_role="chief#post-head")])


@dataclass
class Client:
    """Requests to the application, with a token unless told otherwise."""

    app: Flask
    library: Library
    secrets: Mapping[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: str | bytes | generate.Text = b"",
        *,
        as_: str = "ann",
        kind: str | None = TURTLE,
        **headers: str,
    ) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if as_:
            sent["Authorization"] = f"Bearer {self.secrets.get(as_, as_)}"
        if kind and body:
            sent["Content-Type"] = kind
        data = f"@base <{BASE}> .\n{body.turtle}" if isinstance(body, generate.Text) else body
        return self.app.test_client().open(path, method=method, data=data, headers=sent)

    def put(self, text: generate.Text, **more: Any) -> TestResponse:
        return self.ask("PUT", f"/{text.kind}/{text.slug}", text, **more)

    def digest(self, text: generate.Text) -> str | None:
        found = self.library.read(text.iri())
        return found and found[1].digest


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One application for all tests here, with a story in it; each test writes documents of its own."""
    data = tmp_path_factory.mktemp("writing") / "data"
    config = settings.read(
        {},
        data=data,
        base=BASE.iri,
        query_processes=1,
        judge_timeout=20,
        document_limit="64KiB",
        validate_limit="32KiB",
    )
    with open_library(config, create=True, owner=True) as library:
        library.accept([text.document() for text in STORY], agent="a test")
        secrets = {
            "ann": Tokens(data).create("ann", "writer"),
            "root": Tokens(data).create("root", "admin"),
            "gone": Tokens(data).create("gone", "admin"),
        }
        Tokens(data).revoke("gone")
        yield Client(create_app(library), library, secrets)


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.text
    found: dict[str, Any] = response.json
    assert found["status"] == status
    return found


# PUT, POST, DELETE


def test_put_creates_replaces_and_leaves_alone(client: Client) -> None:
    text = generate.actor("put-one")
    created = client.put(text)
    assert (created.status_code, created.headers["Location"], created.data) == (201, text.iri(), b"")
    assert created.headers["ETag"] == f'"{client.digest(text)}"'
    replaced = client.put(generate.actor("put-one", label="Another"))
    assert (replaced.status_code, "Location" in replaced.headers) == (204, False)
    assert replaced.headers["ETag"] == f'"{client.digest(text)}"' != created.headers["ETag"]
    assert int(replaced.headers["KG-Revision"]) == int(created.headers["KG-Revision"]) + 1
    same = client.put(generate.actor("put-one", label="Another"))
    assert (same.status_code, same.headers["ETag"]) == (204, replaced.headers["ETag"])
    assert [one.agent for one in client.library.journal.history(text.iri())] == ["ann", "ann"]


def test_what_was_put_is_seen_by_the_next_query(client: Client) -> None:
    for number in range(3):
        client.put(generate.actor("seen", label=f"Seen {number}"))
        answer = client.library.answer(Query("SELECT ?l { actor:seen rdfs:label ?l }", base=BASE.iri, solutions="csv"))
        assert answer.read().decode().split("\r\n")[1] == f"Seen {number}"


@pytest.mark.parametrize("syntax", documents.SYNTAXES, ids=lambda syntax: syntax.name)
def test_any_syntax_is_read(client: Client, syntax: documents.Syntax) -> None:
    text = generate.actor(f"in-{syntax.suffix}")
    body = documents.serialize(text.document(), syntax, BASE)
    response = client.ask("PUT", f"/actor/{text.slug}", body, kind=f"{syntax.media_type}; charset=UTF-8")
    assert response.status_code == 201, response.text
    assert client.library.read(text.iri())[0] == text.document()  # type: ignore[index]


def test_relative_iris_resolve_against_the_address_of_the_request(client: Client) -> None:
    body = HEAD.turtle.replace("<actor/chief#", "<#").replace("<actor/chief>", "<>").replace("<actor/staff>", "<staff>")
    assert client.ask("PUT", "/actor/relative", body).status_code == 201
    found = client.library.read(BASE.document("actor", "relative"))
    assert found is not None
    assert found[0].subjects == {BASE.document("actor", "relative") + part for part in ("", "#post-head")}
    assert BASE.document("actor", "staff") in found[0].references(BASE)


def test_post_merges(client: Client) -> None:
    text = generate.actor("merged")
    assert client.ask("POST", "/actor/merged", text).status_code == 201
    more = '<> <http://www.w3.org/2000/01/rdf-schema#label> "Злитий"@uk .'
    merged = client.ask("POST", "/actor/merged", more)
    assert (merged.status_code, merged.headers["ETag"]) == (204, f'"{client.digest(text)}"')
    there = client.library.read(text.iri())
    assert there is not None
    assert len(there[0].triples) == len(text.document().triples) + 1
    again = client.ask("POST", "/actor/merged", more)
    assert (again.status_code, again.headers["ETag"]) == (204, merged.headers["ETag"])
    assert len(client.library.journal.history(text.iri())) == 2


def test_merging_the_same_twice_duplicates_no_blank_node(client: Client) -> None:
    text = generate.place("merged-place")
    client.put(text)
    assert client.ask("POST", "/place/merged-place", text).status_code == 204
    assert client.library.read(text.iri())[0] == text.document()  # type: ignore[index]


def test_delete_takes_away_now_and_keeps_the_history(client: Client) -> None:
    text = generate.actor("deleted")
    client.put(text)
    forbidden = problem(client.ask("DELETE", "/actor/deleted"), 403)
    assert "KG-Change: retracted" in forbidden["detail"]
    deleted = client.ask("DELETE", "/actor/deleted", as_="root", KG_Note="entered twice")
    assert (deleted.status_code, "ETag" in deleted.headers) == (204, False)
    assert client.library.read(text.iri()) is None
    first, last = client.library.journal.history(text.iri())
    assert (last.digest, last.agent, last.note, last.seq) == (
        None,
        "root",
        "entered twice",
        int(deleted.headers["KG-Revision"]),
    )
    assert client.library.journal.content(first.seq) == text.document()
    assert problem(client.ask("DELETE", "/actor/deleted", as_="root"), 410)["revision"] == last.seq
    assert client.ask("DELETE", "/actor/never-there", as_="root").status_code == 404
    assert client.put(text).status_code == 201


def test_what_others_refer_to_cannot_be_deleted(client: Client) -> None:
    before = state_of(client.library.config.data)
    found = problem(client.ask("DELETE", "/event/march", as_="root"), 409)
    assert found["type"].endswith("#still-referred-to")
    assert found["referrers"] == [{"node": EVENT.iri(), "document": PROPOSITION.iri()}]
    assert (found["total"], PROPOSITION.iri() in found["detail"]) == (1, True)
    assert state_of(client.library.config.data) == before


def test_referrers_are_named_up_to_a_bound(client: Client) -> None:
    """Through the library, whose one write path all of this takes."""
    event = generate.event("popular")
    about = [generate.proposition(f"popular-{number}", "event/popular") for number in range(130)]
    client.library.accept([text.document() for text in (event, *about)], agent="a test", settle=False)
    found = problem(client.ask("DELETE", "/event/popular", as_="root"), 409)
    assert (len(found["referrers"]), found["total"]) == (100, 130)


def test_several_that_refer_to_each_other_go_together(client: Client) -> None:
    pair = [generate.event("pair"), generate.proposition("pair", "event/pair")]
    client.library.accept([text.document() for text in pair], agent="a test", settle=False)
    receipt = client.library.change(lambda: {text.iri(): None for text in pair}, agent="a test", settle=False)
    assert [revision.digest for revision in receipt.revisions] == [None, None]
    assert dict.fromkeys(text.iri() for text in pair) == receipt.digests


# Conditions


def test_writer_who_has_not_seen_the_newest_version_is_told(client: Client) -> None:
    text = generate.actor("raced")
    first = client.put(text).headers["ETag"]
    second = client.put(generate.actor("raced", label="Second"), If_Match=first)
    assert second.status_code == 204
    lost = problem(client.put(generate.actor("raced", label="Third"), If_Match=first), 412)
    assert (lost["etag"], lost["revision"]) == (second.headers["ETag"], int(second.headers["KG-Revision"]))
    assert client.put(generate.actor("raced", label="Third"), If_Match=lost["etag"]).status_code == 204
    assert problem(client.ask("DELETE", "/actor/raced", as_="root", If_Match=first), 412)["document"] == text.iri()


def test_tag_of_any_form_names_the_version(client: Client) -> None:
    text = generate.actor("forms")
    client.put(text)
    for number, form in enumerate(("", ".ttl", ".jsonld", ".nt", ".rdf", ".ttl-gzip", ".jsonld-zstd")):
        tag = f'"{client.digest(text)}{form}"'
        response = client.put(generate.actor("forms", label=str(number)), If_Match=f'"another", {tag}')
        assert response.status_code == 204, form
    for tag in (f'W/"{client.digest(text)}"', f'"{client.digest(text)}0"', '"x"'):
        assert client.put(text, If_Match=tag).status_code == 412, tag
    assert "double quotes" in problem(client.put(text, If_Match="unquoted"), 400)["detail"]


def test_served_tags_are_taken_as_conditions(client: Client) -> None:
    """What a client does: fetch a form, change it, send it back on condition."""
    client.put(generate.actor("fetched"))
    for number, path in enumerate(("/actor/fetched.ttl", "/actor/fetched.jsonld", "/graphs?graph=actor/fetched")):
        tag = client.ask("GET", path, as_="").headers["ETag"]
        changed = client.put(generate.actor("fetched", label=f"Fetched {number}"), If_Match=tag)
        assert changed.status_code == 204, (path, tag, changed.text)


def test_star_asks_whether_there_is_any(client: Client) -> None:
    text = generate.actor("starred")
    assert client.put(text, If_Match="*").status_code == 412
    assert client.put(text, If_None_Match="*").status_code == 201
    there = problem(client.put(generate.actor("starred", label="Else"), If_None_Match="*"), 412)
    assert "is there already" in there["detail"]
    assert client.put(generate.actor("starred", label="Else"), If_Match="*").status_code == 204


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_of_many_writers_from_one_version_exactly_one_wins(client: Client, method: str) -> None:
    text = generate.actor(f"contended-{method.lower()}")
    start = client.put(text).headers["ETag"]
    for _ in range(3):
        gate = threading.Barrier(6)
        outcomes: list[tuple[int, str | None]] = []

        def write(number: int, tag: str, gate: threading.Barrier = gate, outcomes: Any = outcomes) -> None:
            note = f'<actor/{text.slug}> <http://www.w3.org/2000/01/rdf-schema#comment> "{tag[1:9]} {number}"@en .\n'
            body = generate.Text("actor", text.slug, (text.turtle if method == "PUT" else "") + note)
            gate.wait()
            response = client.ask(method, f"/actor/{text.slug}", body, If_Match=tag)
            outcomes.append((response.status_code, response.headers.get("ETag")))

        threads = [threading.Thread(target=write, args=(number, start)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status for status, _ in outcomes) == [204, 412, 412, 412, 412, 412]
        (won,) = (tag for status, tag in outcomes if status == 204)
        assert won == f'"{client.digest(text)}"'
        start = won


def test_mergers_lose_nothing_of_each_other(client: Client) -> None:
    """Each is decided on what is there when it is written, without any condition."""
    client.put(generate.actor("shared"))
    names = [f"name {number}" for number in range(6)]

    def add(name: str) -> None:
        body = f'<> <http://www.w3.org/2004/02/skos/core#altLabel> "{name}"@en .'
        assert client.ask("POST", "/actor/shared", body).status_code == 204

    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there = client.library.read(BASE.document("actor", "shared"))
    assert there is not None
    assert {t.object.value for t in there[0].triples if isinstance(t.object, ox.Literal)} >= set(names)


# Refusals


def test_refusal_tells_what_to_mend_where(client: Client) -> None:
    before = state_of(client.library.config.data)
    turtle = speech("wrong").turtle.replace("<proposition/they-marched>", "<proposition/nobody-knows>")
    found = problem(client.put(generate.Text("article", "wrong", turtle)), 422)
    assert {one["line"] for one in found["results"]} == {found["results"][0]["line"]}
    (result,) = (one for one in found["results"] if "ReferenceConstraint" in one["constraint"])
    assert result["focus"] == BASE.document("article", "wrong") + "#s1"
    assert result["value"] == BASE.document("proposition", "nobody-knows")
    assert result["path"] == EKG + "content"
    assert "This reference leads nowhere" in result["message"]
    assert result["constraint"] == EKG + "ReferenceConstraintComponent"
    assert turtle.splitlines()[result["line"] - 2].startswith(":s1 a"), "a line with the base was sent before it"
    assert found["total"] == len(found["results"]) == 2
    assert state_of(client.library.config.data) == before


@pytest.mark.parametrize("media_type", ["text/turtle", "application/ld+json", "application/rdf+xml"])
def test_refusal_is_a_shacl_report_for_those_who_ask_for_rdf(client: Client, media_type: str) -> None:
    body = "<> a <https://w3id.org/ekg/ns#Actor> ."
    response = client.ask("PUT", "/actor/wrong", body, Accept=f"{media_type}, application/problem+json;q=0.5")
    assert (response.status_code, response.mimetype) == (422, media_type)
    if media_type != "application/ld+json":
        store = ox.Store()
        store.load(response.data, format=ox.RdfFormat.from_media_type(media_type))
        sh = "http://www.w3.org/ns/shacl#"
        focuses = {q.object.value for q in store.quads_for_pattern(None, ox.NamedNode(sh + "focusNode"), None)}  # type: ignore[union-attr]
        assert focuses == {BASE.document("actor", "wrong")}
    plain = client.ask("PUT", "/actor/wrong", body, Accept="*/*")
    assert plain.mimetype == "application/problem+json"


def test_words_put_into_anothers_mouth_are_refused_with_the_node_that_does_not_belong(client: Client) -> None:
    body = generate.actor("intruder").turtle + '<actor/chief> rdfs:comment "He never said that."@en .\n'
    found = problem(client.ask("PUT", "/graphs?graph=intruder", body), 400)
    assert "is not the IRI of a document" in found["detail"]
    body = body.replace("<actor/intruder>", "<>").replace("<actor/chief>", "<chief>")
    found = problem(client.ask("PUT", "/actor/intruder", body), 422)
    assert {HEAD.iri()} == {r["focus"] for r in found["results"] if "Ownership" in r["constraint"]}


BROKEN: Mapping[str, tuple[dict[str, Any], int, str, dict[str, Any]]] = {
    "not RDF": ({"body": "<> a <x> .\n  nonsense"}, 400, "malformed-document", {"line": 2, "column": 3}),
    "empty": ({"body": b"", "kind": TURTLE}, 400, "unplaceable-document", {}),
    "blank": ({"body": b" \n"}, 400, "unplaceable-document", {}),
    "no statement": ({"body": "# nothing\n"}, 400, "unplaceable-document", {}),
    "no media type": ({"body": "<> a <x> .", "kind": None}, 415, "unsupported-media-type", {}),
    "a form": ({"body": "a=b", "kind": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type", {}),
    "Latin-1": ({"body": "<> a <x> .", "kind": "text/turtle; charset=latin-1"}, 415, "unsupported-media-type", {}),
    "compressed": (
        {"body": gzip.compress(b"<> a <x> ."), "Content_Encoding": "gzip"},
        415,
        "unsupported-media-type",
        {},
    ),
    "not UTF-8": ({"body": b'<> a "\xff" .'}, 400, "malformed-document", {"line": 1, "column": 7}),
    "too large": ({"body": b"# " + b"x" * 70_000}, 413, "document-too-large", {"limit": 65_536}),
    "too large in full": (
        {"body": f"@prefix p: <http://e.example/{'x' * 20_000}/> . <> p:a p:b ; p:c p:d, p:e ."},
        413,
        "document-too-large",
        {"limit": 65_536},
    ),
    "another document": (
        {"body": f"<{HEAD.iri()}> {{ <{HEAD.iri()}> a <x> }}", "kind": "application/trig"},
        400,
        "unplaceable-document",
        {"documents": [HEAD.iri()]},
    ),
    "a remote context": (
        {"body": '{"@context": "http://127.0.0.1:9/c", "@id": "x"}', "kind": "application/ld+json"},
        400,
        "remote-reference",
        {},
    ),
    "entities": (
        {"body": '<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>', "kind": "application/rdf+xml"},
        400,
        "remote-reference",
        {"line": 1},
    ),
    "an unknown kind of change": ({"body": "<> a <x> .", "KG_Change": "improved"}, 400, "request-error", {}),
    "a note too long": ({"body": "<> a <x> .", "KG_Note": "x" * 2001}, 400, "request-error", {}),
    "a note of two lines and a bell": ({"body": "<> a <x> .", "KG_Note": "a%0Ab%07"}, 400, "request-error", {}),
    "a note in Latin-1": ({"body": "<> a <x> .", "KG_Note": "%FF"}, 400, "request-error", {}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_read_is_refused_and_leaves_no_trace(client: Client, what: str) -> None:
    request, status, name, facts = BROKEN[what]
    before = state_of(client.library.config.data)
    found = problem(client.ask("PUT", "/actor/broken", **request), status)
    assert found["type"] == f"{BASE}errors#{name}"
    assert facts.items() <= found.items()
    if status == 415:
        assert TURTLE in found["supported"]
    assert state_of(client.library.config.data) == before


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/actor/staff.ttl", "GET, HEAD, OPTIONS"),
        ("DELETE", "/actor/staff.html", "GET, HEAD, OPTIONS"),
        ("PUT", "/graphs?default", "GET, HEAD, OPTIONS"),
        ("DELETE", "/graphs?default", "GET, HEAD, OPTIONS"),
        ("DELETE", "/graphs", "GET, HEAD, POST, OPTIONS"),
    ],
)
def test_what_is_only_read_says_where_to_write(client: Client, method: str, path: str, allowed: str) -> None:
    response = client.ask(method, path, generate.actor("x"), as_="root")
    assert problem(response, 405)["detail"]
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/actor/Staff", "/actor/a--b", f"/actor/{'x' * 121}", "/graphs?graph=person/x",
                                  "/graphs?graph=https://elsewhere.example/actor/x", "/graphs?graph=derived"])  # fmt: skip
def test_what_cannot_be_a_document_cannot_be_written(client: Client, path: str) -> None:
    assert "is not the IRI of a document here" in problem(client.ask("PUT", path, "<> a <x> ."), 400)["detail"]


# Batches and graphs


def test_batch_is_written_whole_in_any_order(client: Client) -> None:
    batch = [text.document() for text in generate.texts(12, prefix="batch")]
    for syntax in (documents.TRIG, documents.N_QUADS):
        body = b"\n".join(documents.serialize(document, syntax, BASE) for document in reversed(batch))
        response = client.ask("POST", "/graphs", body, kind=syntax.media_type, KG_Note="a day's work")
        assert response.status_code == 200, response.text
        assert response.headers["KG-Revision"] == str(response.json["revision"])
        if syntax is documents.TRIG:
            assert [one["document"] for one in response.json["written"]] == sorted(one.iri for one in batch)
            assert {one["etag"] for one in response.json["written"]} == {f'"{one.digest}"' for one in batch}
            assert all(one["created"] for one in response.json["written"])
        else:
            assert (response.json["written"], len(response.json["unchanged"])) == ([], 12)


def test_one_wrong_document_keeps_out_its_whole_batch(client: Client) -> None:
    before = state_of(client.library.config.data)
    body = b"\n".join(
        documents.serialize(text.document(), documents.TRIG, BASE)
        for text in (generate.actor("right"), generate.proposition("wrong", "event/nowhere"))
    )
    found = problem(client.ask("POST", "/graphs", body, kind="application/trig"), 422)
    assert {result["document"] for result in found["results"]} == {BASE.document("proposition", "wrong")}
    assert state_of(client.library.config.data) == before
    assert problem(client.ask("POST", "/graphs", body, kind="application/trig", If_Match="*"), 400)


def test_graph_named_by_a_parameter_is_the_document(client: Client) -> None:
    text = generate.actor("indirect")
    for graph in (text.iri(), "actor/indirect", quote(text.iri(), safe="")):
        body = text.turtle.replace("<actor/indirect>", "<>")
        assert client.ask("PUT", f"/graphs?graph={graph}", body).status_code in (201, 204)
        read = client.ask("GET", f"/graphs?graph={graph}", as_="", Accept="application/n-triples")
        assert (read.status_code, read.data) == (200, text.document().content)
        assert client.ask("HEAD", f"/graphs?graph={graph}", as_="").status_code == 200
    assert len(client.library.journal.history(text.iri())) == 1
    assert client.ask("GET", "/graphs?graph=actor/nobody", as_="").status_code == 404
    assert client.ask("DELETE", "/graphs?graph=actor/indirect", as_="root").status_code == 204


@pytest.mark.parametrize("path", ["/graphs", "/graphs?graph=actor/a&graph=actor/b", "/graphs?default&graph=actor/a", "/graphs?grpah=x"])  # fmt: skip
def test_unclear_graph_is_refused(client: Client, path: str) -> None:
    assert problem(client.ask("GET", path, as_=""), 400)["detail"]


@pytest.mark.parametrize("media_type", ["application/n-triples", "text/turtle", "application/n-quads", "application/trig", "application/ld+json"])  # fmt: skip
def test_default_graph_is_the_union_of_all_documents(client: Client, media_type: str) -> None:
    client.put(generate.place("union"))
    response = client.ask("GET", "/graphs?default", as_="", Accept=media_type)
    assert (response.status_code, response.mimetype) == (200, media_type)
    syntax = next(syntax for syntax in documents.SYNTAXES if syntax.media_type == media_type)
    store = ox.Store()
    store.load(response.data, format=syntax.rdf_format)
    there = {iri: document for iri, document in client.library.journal.current() if document is not None}
    assert {quad.graph_name for quad in store} == {ox.DefaultGraph()}
    assert len(store) == sum(len(document.triples) for document in there.values())
    assert client.ask("GET", "/graphs?default", as_="", If_None_Match=response.headers["ETag"], Accept=media_type).status_code == 304  # fmt: skip


# Why: kinds of change, notes, retractions


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("a plain word", "a plain word"),
        (quote("Цитату виправлено — «до 12 000»"), "Цитату виправлено — «до 12 000»"),
        ("100 % sure", "100 % sure"),
    ],
)
def test_change_and_note_are_in_the_history(client: Client, header: str, note: str) -> None:
    text = generate.actor("noted", label=note)
    assert client.put(text, KG_Change="corrected-source", KG_Note=header).status_code in (201, 204)
    last = client.library.journal.history(text.iri())[-1]
    assert (last.change, last.note, last.agent) == ("corrected-source", note, "ann")


@pytest.mark.parametrize("note", ["", "Цитату".encode().decode("latin-1"), quote("Цитату", encoding="cp1251")])
def test_note_that_is_not_percent_encoded_utf_8_is_refused(client: Client, note: str) -> None:
    text = generate.actor("not-noted")
    assert "KG-Note" in problem(client.put(text, KG_Change="corrected-source", KG_Note=note), 400)["detail"]
    assert client.library.journal.history(text.iri()) == []


def retraction(document: Document) -> dict[str, str]:
    return {
        t.predicate.value.removeprefix(EKG): t.object.value
        for t in document.triples
        if "retract" in t.predicate.value and isinstance(t.object, ox.Literal)
    }


def test_article_is_retracted_as_it_is_and_stands_again_when_it_is_put(client: Client) -> None:
    text = speech("forged")
    created = client.put(text).headers["ETag"]
    address = "/article/forged"
    assert "says why" in problem(client.ask("POST", address, KG_Change="retracted"), 400)["detail"]
    done = client.ask(
        "POST", address, KG_Change="retracted", KG_Note="The agency never published it.", If_Match=created
    )
    assert (done.status_code, done.headers["ETag"]) == (204, f'"{client.digest(text)}"')
    there, revision = client.library.read(text.iri())  # type: ignore[misc]
    said = retraction(there)
    assert said["retractionReason"] == "The agency never published it."
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["retractedAt"])
    assert (revision.change, revision.note) == ("retracted", "The agency never published it.")
    assert len(there.triples) == len(text.document().triples) + 2

    for method, body in (("POST", b""), ("PUT", text)):  # the same again is nothing new, not a later moment
        again = client.ask(method, address, body, KG_Change="retracted", KG_Note="The agency never published it.")
        assert (again.status_code, again.headers["ETag"]) == (204, done.headers["ETag"])
    assert len(client.library.journal.history(text.iri())) == 2
    client.ask("POST", address, KG_Change="retracted", KG_Note="Forged, as the agency says.")
    assert retraction(client.library.read(text.iri())[0])["retractionReason"] == "Forged, as the agency says."  # type: ignore[index]

    assert client.put(text, KG_Note="It was genuine after all.").status_code == 204
    assert client.library.read(text.iri())[0] == text.document()  # type: ignore[index]


def test_acts_of_a_retracted_article_leave_the_answers_and_can_be_asked_for(client: Client) -> None:
    proposition = generate.proposition("rumoured", "event/march")
    group = generate.actor("some-analysts", "UnnamedGroup")
    text = generate.article("rumour", [Act("some-analysts", ("rumoured",))])
    for one in (proposition, group, text):
        client.put(one)

    def found(retracted: str = "") -> bool:
        query = (ROOT / "queries" / "unnamed-only.rq").read_text("utf-8")
        if retracted:
            query = re.sub(r"\?_+retracted_boolean\b", retracted, query)
        answer = client.library.answer(Query(query, base=BASE.iri, solutions="csv"))
        return proposition.iri().encode() in answer.read()

    assert found()
    client.ask("POST", "/article/rumour", KG_Change="retracted", KG_Note="Nobody said so.")
    assert (found(), found("false"), found("true")) == (False, False, True)


def test_only_articles_are_retracted_and_none_is_deleted_by_it(client: Client) -> None:
    refused = problem(client.ask("POST", "/actor/staff", KG_Change="retracted", KG_Note="x"), 400)
    assert "only articles are retracted" in refused["detail"]
    client.put(speech("kept"))
    for who in ("ann", "root"):
        refused = problem(client.ask("DELETE", "/article/kept", as_=who, KG_Change="retracted", KG_Note="x"), 400)
        assert "send an empty POST" in refused["detail"]
    assert client.ask("POST", "/article/nobody", KG_Change="retracted", KG_Note="x").status_code == 404


# Who


def test_without_a_token_nothing_is_written_and_it_says_what_to_send(client: Client) -> None:
    for who, words in (("", "Authorization: Bearer"), ("kg_" + "A" * 43, "not known"), ("gone", "revoked")):
        response = client.put(generate.actor("nobodys"), as_=who)
        assert words in problem(response, 401)["detail"]
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert not who or who not in response.text
    basic = client.app.test_client().put("/actor/nobodys", data="x", headers={"Authorization": "Basic YTpi"})
    assert problem(basic, 401)["detail"]
    assert client.ask("POST", "/graphs", "x", as_="").status_code == 401
    assert client.library.read(BASE.document("actor", "nobodys")) is None


def test_token_in_an_address_is_refused_with_a_word(client: Client) -> None:
    for query in (f"access_token={client.secrets['ann']}", f"x={client.secrets['ann']}"):
        found = problem(client.ask("PUT", f"/actor/staff?{query}", ORGANIZATION), 401)
        assert "revoke the one that was in this address" in found["detail"]


def test_guesses_are_limited_and_those_who_write_already_go_on(client: Client) -> None:
    def put(secret: str) -> TestResponse:
        return client.app.test_client().put(
            "/actor/guess", data="x", headers={"Authorization": f"Bearer {secret}"}, environ_base={"REMOTE_ADDR": "192.0.2.7"}
        )  # fmt: skip

    assert put(client.secrets["ann"]).status_code == 415
    assert [put(f"kg_{number}").status_code for number in range(12)] == [401] * 10 + [429] * 2
    limited = put(client.secrets["gone"])
    assert (limited.status_code, int(limited.headers["Retry-After"]) <= 61) == (429, True)
    assert put(client.secrets["ann"]).status_code == 415
    assert client.put(generate.actor("guess"), as_="kg_0").status_code == 401, "others are not concerned"


def test_without_any_token_writing_is_off_and_says_how_to_turn_it_on(library: Library) -> None:
    response = create_app(library).test_client().put("/actor/x", data="x", headers={"Authorization": "Bearer kg_x"})
    assert "kg token create" in problem(response, 403)["detail"]


# Asking for a verdict


def test_validate_tells_the_verdict_and_stores_nothing(client: Client) -> None:
    before = state_of(client.library.config.data)
    good = client.ask("POST", "/validate", generate.actor("candidate"), as_="")
    assert good.status_code == 200
    assert good.json["documents"] == [
        {"document": BASE.document("actor", "candidate"), "conforms": True, "state": "new"}
    ]
    assert (good.json["conforms"], good.json["results"]) == (True, [])
    bad = client.ask("POST", "/validate?graph=" + ORGANIZATION.iri(), "<> a <https://w3id.org/ekg/ns#Actor> .", as_="")
    assert bad.status_code == 200
    assert (bad.json["conforms"], bad.json["documents"][0]["state"]) == (False, "changed")
    assert {result["line"] for result in bad.json["results"]} == {1}
    same = client.ask("POST", "/validate", ORGANIZATION, as_="")
    assert same.json["documents"] == [{"document": ORGANIZATION.iri(), "conforms": True, "state": "unchanged"}]
    report = client.ask("POST", "/validate", generate.actor("candidate"), as_="", Accept="text/turtle")
    assert (report.status_code, b"sh:conforms true" in report.data) == (200, True)
    assert state_of(client.library.config.data) == before


def test_validate_is_limited_in_size_and_rate(client: Client) -> None:
    assert problem(client.ask("POST", "/validate", b"# " + b"x" * 40_000, as_=""), 413)["limit"] == 32_768
    assert problem(client.ask("POST", "/validate", "a b c", as_=""), 400)["line"] == 1
    assert client.ask("POST", "/validate", "x", as_="", kind="text/plain").status_code == 415
    assert b"Content-Type" in client.ask("GET", "/validate", as_="").data
    asking = client.app.test_client()
    statuses = [
        asking.post("/validate", data="x", environ_base={"REMOTE_ADDR": f"2001:db8::{n}"}).status_code
        for n in range(62)
    ]
    assert statuses == [415] * 60 + [429] * 2, "one network of IPv6 is one address"


# Judging beside


def chain(length: int) -> generate.Text:
    acts = [Act("staff", kind="Report", reports=(number + 1,)) for number in range(1, length)]
    return generate.article("chain", [*acts, Act("staff", ("they-marched",))])


@pytest.fixture
def judges() -> Iterator[Judges]:
    judges = Judges(BASE, seconds=1.0, memory=2**30, count=2)
    yield judges
    judges.close()


def test_document_that_takes_too_long_is_stopped_and_holds_nobody_up(judges: Judges) -> None:
    hostile = chain(1_500).document()
    good = generate.actor("good").document()
    judges.judge([(good, {})])
    (first,) = judges.pids()
    outcomes: list[Exception] = []

    def ask() -> None:
        with pytest.raises((JudgingTimeout, Overloaded)) as stopped:
            judges.judge([(hostile, {})], guest=True)
        outcomes.append(stopped.value)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert judges.judge([(good, {})])[0].conforms, "guests leave a process to those who write"
    for thread in threads:
        thread.join()
    assert JudgingTimeout in {type(outcome) for outcome in outcomes}
    assert processor_time(first) == 0 or first in judges.pids()
    assert judges.judge([(good, {})], guest=True)[0].conforms


def test_process_that_dies_costs_its_own_document_alone(judges: Judges) -> None:
    good = generate.actor("good").document()
    judges.judge([(good, {})])
    (idle,) = judges.pids()
    os.kill(idle, signal.SIGKILL)
    until(lambda: next(iter(judges._all)).has_ended(), "it has ended")
    assert judges.judge([(good, {})])[0].conforms, "nobody's document ended it"

    def shoot() -> None:
        until(lambda: judges._busy, "a process has been given the work")
        before = {pid: processor_time(pid) for pid in judges.pids()}
        until(lambda: any(processor_time(pid) > before[pid] + 0.1 for pid in before), "and is at it")
        for pid in before:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=shoot)
    judges._seconds = 30
    killer.start()
    with pytest.raises(JudgeDied):
        judges.judge([(chain(1_500).document(), {})])
    killer.join()
    assert judges.judge([(good, {})])[0].conforms


def test_errors_in_reading_travel_whole(client: Client) -> None:
    with pytest.raises(MalformedDocument) as error:
        client.library.judges.read(b"a b c", documents.TURTLE, relative_to=BASE.iri, limit=100)
    assert error.value.facts["line"] == 1


# A real server

Ask = Callable[..., Reply]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, seeded_directory: Path) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("written") / "data"
    shutil.copytree(seeded_directory, data)
    server = Server(data)
    try:
        yield server.wait()
        assert server.stop() == 0, server.output
    finally:
        server.kill()


def send(server: Server, method: str, path: str, body: str, **headers: str) -> Reply:
    request = urllib.request.Request(
        server.url + path,
        data=body.encode() or None,
        method=method,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def test_token_made_while_the_server_runs_opens_it_until_it_is_revoked(server: Server) -> None:
    made = kg("token", "create", "--name", "Ann", "--role", "writer", "--data", server.data)
    assert made.code == 0, made.err
    headers = {"Authorization": f"Bearer {made.out.strip()}", "Content_Type": TURTLE}
    body = generate.actor("over-http").turtle.replace("<actor/over-http>", "<>")
    raw = "Додано".encode().decode("latin-1")
    lost = send(server, "PUT", "actor/over-http", body, **headers, KG_Note=raw)
    assert (lost.status, "percent-encode" in lost.json()["detail"]) == (400, True), "never dropped without a word"
    created = send(server, "PUT", "actor/over-http", body, **headers, KG_Note=quote("Додано"))
    assert (created.status, created.body) == (201, b"")
    assert server.count("actor:over-http ?p ?o") == 3
    assert {"journal.sqlite", "tokens.sqlite"} <= {path.name for path in server.data.glob("*.sqlite")}
    row = state_of(server.data)["revision"][-1]
    assert (row[4], row[6]) == ("Ann", "Додано")
    assert kg("token", "revoke", "Ann", "--data", server.data).code == 0
    refused = send(server, "PUT", "actor/over-http", body, **headers)
    assert refused.status == 401
    assert made.out.strip() not in server.output


def test_large_body_is_read_from_those_alone_who_may_write(server: Server) -> None:
    token = kg("token", "create", "--name", "Bulk", "--role", "writer", "--data", server.data).out.strip()
    body = documents.serialize(generate.actor("bulk").document(), documents.TRIG, BASE) + b"# " + b"x" * 5_000_000

    def start(secret: str, target: str = "POST /graphs") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        head = f"{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n"
        head += f"Content-Type: application/trig\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode())
        return connection

    with start("kg_" + "A" * 43) as stranger:
        assert stranger.recv(100).startswith(b"HTTP/1.1 413"), "before a byte of it was sent"
    with start(token, "PUT /actor/bulk") as writer:
        writer.sendall(body)
        assert writer.recv(100).startswith(b"HTTP/1.1 413"), "one document is never so large"
    with start(token) as writer:
        writer.sendall(body)
        assert writer.recv(100).startswith(b"HTTP/1.1 200")


def test_browser_of_another_site_may_ask_before_it_writes(server: Server) -> None:
    asked = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, content-type, if-match, kg-change, kg-note",
    }
    for path in ("actor/russia", "graphs", "validate"):
        reply = server.get(path, asked, "OPTIONS")
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (204, "*")
        allowed = reply.headers["Access-Control-Allow-Methods"]
        assert {"PUT", "POST", "DELETE"} <= set(allowed.split(", ")) if path != "validate" else "POST" in allowed
        headers = reply.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in headers for name in ("authorization", "content-type", "if-match", "kg-change", "kg-note"))


def test_readme_examples_of_writing_give_what_is_shown(server: Server, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KG_DATA": str(server.data)}
    shell = 'kg() { "$PYTHON" -m kg.cli "$@"; }\n'
    examples = section("Write over HTTP")
    script = "\n".join(command for command, _ in examples)
    shown = "\n".join(text.strip() for _, text in examples if text.strip())
    done = subprocess.run(
        # The seeds here are named under another base than the server's address, as behind a reverse proxy.
        [
            "bash",
            "-euc",
            shell
            + script.replace("graph=http://localhost:8000/", f"graph={BASE}").replace(
                "http://localhost:8000/", server.url
            ),
        ],
        capture_output=True,
        text=True,
        env={**environment, "PYTHON": sys.executable},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace("\r\n", "\n").strip() == shown.strip()
