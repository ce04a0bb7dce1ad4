"""The page `/validate`: what is wrong beside the lines it concerns, what a document would become, and nothing stored."""

from __future__ import annotations

import html
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import generate
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kg import assets, documents
from kg import config as settings
from kg.library import Library, open_library
from kg.terms import Base
from kg.web import create_app
from kg.web.checking import detected

BASE = Base("https://kg.example/")

#: Two things are wrong with it, on the lines that say so.
WRONG = """\
@prefix ekg: <https://w3id.org/ekg/ns#> .
@prefix oa: <http://www.w3.org/ns/oa#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix : <article/example#> .

<article/example> a ekg:Article ;
    rdfs:label "An <i>example</i>"@en .

:s1 a ekg:Claim, ekg:SpeechAct, ekg:Event ;
    ekg:speaker <actor/russia> ;
    ekg:content <proposition/north-korean-troops-fight-in-kursk> ;
    ekg:stance ekg:Affirms, ekg:Denies ; # wrong: one too many
    ekg:reportedIn <article/example> ;
    ekg:voice ekg:Attributed ;
    ekg:evidence :e1 .

:e1 a ekg:Evidence ; # wrong: no words
    oa:hasSource <article/example> ;
    oa:hasSelector [ a oa:TextQuoteSelector ; oa:prefix "before " ] .
"""
RIGHT = WRONG.replace(", ekg:Denies", "").replace("oa:prefix", "oa:exact")


@pytest.fixture(scope="module")
def library(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    data = tmp_path_factory.mktemp("checking") / "data"
    shutil.copytree(seeded_directory, data)
    config = settings.read(
        {}, data=data, base=BASE.iri, query_processes=1, validate_limit="64KiB", validate_rate=200, judge_timeout=60
    )
    with open_library(config, create=False, owner=True) as opened:
        opened.settle()
        yield opened


@pytest.fixture(scope="module")
def client(library: Library) -> FlaskClient:
    return create_app(library).test_client()


def send(client: FlaskClient, text: str = "", accept: str = "text/html", **fields: object) -> TestResponse:
    """As a browser sends the form: each end of a line in the text is CR LF."""
    data = {"text": text.replace("\n", "\r\n"), "syntax": "", "graph": "", **fields}
    return client.post("/validate", data=data, content_type="multipart/form-data", headers={"Accept": accept})


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def outcome(reply: TestResponse) -> str:
    return reply.text[reply.text.index('<div id="outcome">') : reply.text.index('<form class="check"')]


def in_form(reply: TestResponse) -> str:
    """What stands in the field for the text; the first line end after the tag is no part of it."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", reply.text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def findings(reply: TestResponse) -> list[tuple[str, list[str]]]:
    """The places and what is to mend at each."""
    items = re.findall(r'<li class="passage">(.*?)\n</li>', outcome(reply), re.DOTALL)
    return [
        (words(item[: item.index("</h3>")]), [words(one) for one in re.findall(r"<li>(.*?)</li>", item, re.DOTALL)])
        for item in items
    ]


def test_the_form_explains_itself_and_the_text_for_programs_stays(client: FlaskClient) -> None:
    page = client.get("/validate", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    read = words(page.text)
    assert "<actor/russia> is https://kg.example/actor/russia" in read
    assert "at most 65,536 bytes" in read
    assert in_form(page) == ""
    for name in ("text", "file", "syntax", "graph"):
        assert page.text.count(f'<label for="{name}">') == 1
        assert f'id="{name}" name="{name}"' in page.text
    assert client.get("/validate").mimetype == "text/plain"
    assert client.get("/validate", headers={"Accept": "application/json"}).mimetype == "text/plain"
    assert 'value="article/x"' in client.get("/validate?graph=article/x", headers={"Accept": "text/html"}).text


def test_what_is_wrong_is_told_beside_its_line(client: FlaskClient, library: Library) -> None:
    before = library.journal.last()
    reply = send(client, WRONG)
    assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-store")
    assert "2 things to mend" in outcome(reply)
    (first, [stance]), (second, [quotation]) = findings(reply)
    assert first == "Line 12"
    assert stance.startswith("The act takes two stances. Keep one, or write two acts")
    assert stance.endswith("Claim by Russia ( #s1 ), ekg:stance")
    assert second == "Line 17 and what follows"
    assert quotation.startswith("The quotation has no words. Add oa:exact with the words")
    assert quotation.endswith("Quotation of the claim by Russia ( #e1 ), oa:hasSelector / oa:exact")
    shown = re.findall(r'<span class="line meant"><span class="number">(\d+)</span> <bdi>(.*?)</bdi>', reply.text)
    assert [(int(n), html.unescape(line).strip()) for n, line in shown] == [
        (n, WRONG.split("\n")[n - 1].strip()) for n in (12, 17)
    ]
    assert in_form(reply) == WRONG
    assert "<i>example" not in reply.text
    assert library.journal.last() == before


def test_a_syntax_error_is_shown_at_its_place_and_the_text_stays(client: FlaskClient) -> None:
    text = "\n<actor/x> a <b> ;\n\t<c> .\n"
    reply = send(client, text, syntax="ttl")
    assert reply.status_code == 400
    read = words(outcome(reply))
    assert read.startswith("The text is not well-formed RDF Line 3 , column 6:")
    assert "It was read as Turtle. What" in read
    assert in_form(reply) == text
    assert '<option value="ttl" selected>' in reply.text


@pytest.mark.parametrize(
    ("text", "fields", "status", "said"),
    [
        ("", {}, 400, "There is not one triple in it."),
        ("<> a <x> .", {}, 400, "say below which one that is"),
        (WRONG, {"graph": "elsewhere/x"}, 400, "Graph is the IRI of one document"),
        (WRONG, {"syntax": "docx"}, 400, "There is no syntax"),
        ("# " + "x" * 70_000, {}, 413, "over the limit of 65,536"),
        ("# " + "x" * 400_000, {}, 413, "over the limit of 65,536"),
    ],
)
def test_what_cannot_be_judged_is_told_with_the_form(
    client: FlaskClient, text: str, fields: dict[str, str], status: int, said: str
) -> None:
    reply = send(client, text, **fields)
    assert (reply.status_code, reply.mimetype) == (status, "text/html")
    assert said.lower() in words(outcome(reply)).lower()
    assert "<h2>Mend it and ask again</h2>" in reply.text or in_form(reply) == ""
    as_json = send(client, text, accept="*/*", **fields)
    assert (as_json.status_code, as_json.mimetype) == (status, "application/problem+json")


def test_what_conforms_tells_what_it_would_become(client: FlaskClient, library: Library) -> None:
    reply = send(client, RIGHT)
    read = words(outcome(reply))
    assert read.startswith(
        f"It conforms Read as Turtle, and judged against the graph as it is at revision {library.journal.last()}."
    )
    assert "An <i>example</i> A new article, article/example ; 1 act and 1 quotation." in read
    assert "Claim by Russia: affirms North Korean troops are in combat in the Kursk region on Russia's side." in read
    assert library.read(BASE.document("article", "example")) is None


def test_a_change_is_shown_as_a_difference(client: FlaskClient, library: Library) -> None:
    iri = BASE.document("article", "ap-2024-06-19-partnership-signed")
    found = library.read(iri)
    assert found is not None
    text = documents.serialize(found[0], documents.TURTLE, BASE).decode()
    same = words(outcome(send(client, text)))
    assert "as it is already: nothing would change; 1 act and 2 quotations" in same
    reply = send(client, text.replace('"sign an agreement"', '"signed an agreement"'))
    assert '<del class="taken"><q dir="auto"><mark>sign</mark> an agreement</q></del>' in reply.text
    assert '<ins class="put"><q dir="auto"><mark>signed</mark> an agreement</q></ins>' in reply.text
    assert "Quotation of the claim by Associated Press" in words(outcome(reply))


def test_what_would_break_another_document_is_told_as_such(client: FlaskClient) -> None:
    reply = send(client, generate.actor("associated-press", "State").turtle)  # no outlet any more
    assert "The text itself may be in order: with it, 1 other document would not be any more." in words(outcome(reply))
    ((place, [told]),) = findings(reply)
    assert place == "In other documents"
    assert told.startswith("The publisher is not an ekg:Organization.")
    assert 'href="/article/ap-2024-06-19-partnership-signed.html"' in outcome(reply)


def test_what_is_missing_is_told_as_such(client: FlaskClient) -> None:
    reply = send(
        client, generate.actor("valery-gerasimov", "Person").turtle
    )  # without his post, to which articles refer
    ((place, [told]),) = findings(reply)
    assert place == "Missing from the text"
    assert told.startswith(
        "The document no longer describes this node, but article/russia-admits-north-korean-soldiers"
    )


def test_a_file_is_read_as_its_name_says(client: FlaskClient) -> None:
    document = generate.actor("from-a-file", label="Файл").document(BASE)
    for syntax in documents.SYNTAXES:
        content = documents.serialize(document, syntax, BASE)
        file = (io.BytesIO(content), f"x.{syntax.suffix}")
        read = words(outcome(send(client, file=file)))
        assert read.startswith(f"It conforms Read as {syntax.name},")
        assert "Файл" in read
    broken = send(client, file=(io.BytesIO("<actor/x> a <b>; <c> \xff".encode("latin-1")), "x.ttl"))
    assert (broken.status_code, "this is not UTF-8" in broken.text.replace("This", "this")) == (400, True)


def test_a_document_may_be_named_in_short(client: FlaskClient) -> None:
    text = generate.actor("y").turtle.replace("<actor/y>", "<>")
    for graph in ("actor/y", "/actor/y", BASE.document("actor", "y")):
        assert "A new actor, actor/y" in words(outcome(send(client, text, graph=graph)))


def test_the_form_serves_programs_too(client: FlaskClient) -> None:
    found = send(client, WRONG, accept="application/json").json
    assert found is not None
    assert (found["conforms"], found["total"]) == (False, 2)
    assert send(client, WRONG, accept="text/turtle").mimetype == "text/turtle"
    sent = client.post("/validate", data=WRONG, content_type="text/turtle", headers={"Accept": "text/html"})
    assert (sent.status_code, in_form(sent)) == (200, WRONG)
    urlencoded = client.post("/validate", data={"text": WRONG}, headers={"Accept": "application/json"})
    assert urlencoded.status_code == 415, "what curl says of a file without a header"


def test_too_many_requests_keep_the_text(library: Library) -> None:
    asking = create_app(library).test_client()
    for _ in range(library.config.validate_rate):
        asking.post("/validate", data="x")
    reply = send(asking, RIGHT)
    assert (reply.status_code, int(reply.headers["Retry-After"]) > 0) == (429, True)
    assert in_form(reply) == RIGHT


NQ = '<https://kg.example/actor/x> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> "a <b> c" {} .\n'


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("<a> a <b> .", documents.TURTLE),
        ("[ a <b> ] .", documents.TURTLE),
        ("", documents.TURTLE),
        ("@prefix : <x> .\n:g { :a :b :c }", documents.TRIG),
        ("GRAPH <g> {\n}", documents.TRIG),
        ("{ <a> <b> <c> }", documents.TRIG),
        ('{"@id": "x"}', documents.JSON_LD),
        ('\ufeff[{"@id": "x"}]', documents.JSON_LD),
        ("<?xml version='1.0'?><rdf:RDF/>", documents.RDF_XML),
        ("\n<rdf:RDF xmlns:rdf='x'/>", documents.RDF_XML),
        (NQ.format("<https://kg.example/actor/x>"), documents.N_QUADS),
        (NQ.format(""), documents.TURTLE),
    ],
)
def test_a_syntax_is_known_by_its_looks(text: str, syntax: documents.Syntax) -> None:
    assert detected(text.encode()) == syntax


def test_seeds_are_known_for_what_they_are() -> None:
    for path in assets.files("seeds", "**/*.ttl"):
        assert detected(path.read_bytes()) == documents.TURTLE
    for text in generate.texts(20):
        for syntax in (documents.TRIG, documents.N_QUADS, documents.JSON_LD, documents.RDF_XML):
            assert detected(documents.serialize(text.document(BASE), syntax, BASE)) == syntax
