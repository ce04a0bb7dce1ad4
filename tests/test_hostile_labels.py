"""Labels, texts and quotations that would be markup, script or a template if a page took them for it: on every page they are text."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from kg import config as configuration
from kg import documents as rdf
from kg.library import open_library
from kg.terms import Base
from kg.web import create_app

BASE = "https://kg.example/"

#: Each would do something if it were not text. `MARK` tells whether it is on a page at all.
MARK = "hostile-mark"
HOSTILE = [
    f"<script>alert('{MARK}')</script>",
    f'"><img src=x onerror=alert("{MARK}")>',
    f"</script><script>alert('{MARK}')</script>",
    f"{{{{ 7 * 7 }}}}{MARK}{{% raw %}}",
    f"--><svg onload=alert(1)>{MARK}",
    f"javascript:alert('{MARK}')",
    f"{MARK}\u202egnidaer-ot-thgir\u202c",
    f"&lt;b&gt;{MARK}&lt;/b&gt;",
    f"{MARK}-{'long' * 60}",
]


def turtle(text: str, n: int) -> str:
    """A small world of which everything that can be called something is called this."""
    said = text.replace("\\", "\\\\").replace('"', '\\"')
    label = f'"{said} {n}"'
    return f"""
@prefix ekg: <https://w3id.org/ekg/ns#> .
@prefix schema: <https://schema.org/> .
@prefix oa: <http://www.w3.org/ns/oa#> .
@prefix org: <http://www.w3.org/ns/org#> .
@prefix geo: <http://www.opengis.net/ont/geosparql#> .
@prefix sf: <http://www.opengis.net/ont/sf#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@base <{BASE}> .
<place/p{n}> {{ <place/p{n}> a ekg:Place ; rdfs:label {label}@en ; rdfs:comment {label}@en ;
  geo:hasGeometry [ a sf:Point ; geo:asWKT "POINT(36.2 51.7)"^^geo:wktLiteral ] . }}
<actor/s{n}> {{ <actor/s{n}> a ekg:State, ekg:Actor ; rdfs:label {label}@en , {label}@uk . }}
<actor/o{n}> {{ <actor/o{n}> a ekg:Organization, ekg:Actor ; rdfs:label {label}@en . }}
<actor/m{n}> {{ <actor/m{n}> a ekg:Person, ekg:Actor ; rdfs:label {label}@en .
  <actor/m{n}#post> a ekg:Tenure ; org:member <actor/m{n}> ; org:organization <actor/s{n}> ; ekg:post {label}@en . }}
<agreement/g{n}> {{ <agreement/g{n}> a ekg:Agreement ; rdfs:label {label}@en ; ekg:party <actor/s{n}>, <actor/o{n}> . }}
<event/e{n}> {{ <event/e{n}> a ekg:Event ; rdfs:label {label}@en ; ekg:place <place/p{n}> ; ekg:time <event/e{n}#t1> .
  <event/e{n}#t1> a ekg:Time ; ekg:surface {label} ; ekg:latest "2025-01-01"^^xsd:date ; rdfs:comment {label}@en . }}
<proposition/r{n}> {{ <proposition/r{n}> a ekg:Proposition ; schema:text {label}@en ; ekg:about <event/e{n}> ; ekg:modality ekg:Actual . }}
<article/a{n}> {{ <article/a{n}> a ekg:Article ; rdfs:label {label}@en ; schema:headline {label}@en ; schema:publisher <actor/o{n}> ;
    schema:datePublished "2025-01-02"^^xsd:date .
  <article/a{n}#s1> a ekg:Denial, ekg:SpeechAct, ekg:Event ; ekg:speaker <actor/m{n}> ; ekg:inRole <actor/m{n}#post> ;
    ekg:onBehalfOf <actor/s{n}> ; ekg:content <proposition/r{n}> ; ekg:stance ekg:Denies ; ekg:voice ekg:Attributed ;
    ekg:reportedIn <article/a{n}> ; ekg:evidence <article/a{n}#e1> ; rdfs:comment {label}@en .
  <article/a{n}#s2> a ekg:Admission, ekg:SpeechAct, ekg:Event ; ekg:speaker <actor/s{n}> ; ekg:content <proposition/r{n}> ;
    ekg:stance ekg:Affirms ; ekg:voice ekg:Attributed ; ekg:invokes <agreement/g{n}> ;
    ekg:reportedIn <article/a{n}> ; ekg:evidence <article/a{n}#e1> .
  <article/a{n}#e1> a ekg:Evidence ; oa:hasSource <article/a{n}> ;
    oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "{said[:200]}" ; oa:prefix "{said[:40]}" ] . }}
"""


class Markup(HTMLParser):
    """The elements and attributes of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    data = tmp_path_factory.mktemp("hostile") / "data"
    config = configuration.read({}, data=data, base=BASE, query_processes=1)
    with open_library(config, create=True, owner=True) as library:
        documents = [
            document
            for n, text in enumerate(HOSTILE)
            for document in rdf.parse(turtle(text, n).encode(), rdf.TRIG, Base(BASE), limit=2**24)
        ]
        library.accept(documents, agent=HOSTILE[0], note=HOSTILE[1])
        library.settle()
        yield create_app(library).test_client()


def pages() -> list[str]:
    kinds = {"place": "p", "actor": "smo", "agreement": "g", "event": "e", "proposition": "r", "article": "a"}
    things = [
        f"/{kind}/{letter}{n}.html"
        for n in range(len(HOSTILE))
        for kind, letters in kinds.items()
        for letter in letters
    ]
    asked = [
        f"/{page}{quote(text)}"
        for text in HOSTILE
        for page in ("search?q=", "questions?q=", "questions/positions-of?actor=")
    ]
    return [
        *("/", "/changes", "/revision/1.html", "/timemap/actor/s0", "/actor/s0.diff"),
        *(f"/{kind}/" for kind in kinds),
        *(
            "/questions/contested-since",
            "/questions/reversals",
            "/questions/positions?proposition=r0",
            "/questions/gaps",
        ),
        "/sparql?query=" + quote("SELECT * { ?s rdfs:label ?name } LIMIT 100"),
        "/sparql?query=" + quote(HOSTILE[0]),
        *(f"/actor/{quote(text, safe='')}" for text in HOSTILE),
        *things,
        *asked,
    ]


def test_on_no_page_are_they_anything_but_text(client: FlaskClient) -> None:
    marked = 0
    for path in pages():
        response = client.get(path, headers={"Accept": "text/html"})
        if response.mimetype != "text/html":
            continue
        assert response.status_code in (200, 300, 400, 404), f"{path}: {response.status_code}"
        marked += MARK in response.text
        markup = Markup(response.text)
        for tag, attributes in markup.elements:
            assert not [name for name in attributes if name.startswith("on")], path
            assert tag != "img", path
            assert "style" not in attributes, path
            for name in ("href", "src", "action"):
                assert not (attributes.get(name) or "").strip().lower().startswith(("javascript:", "data:")), path
            if tag == "script" and "src" not in attributes:
                assert attributes.get("type") in ("application/ld+json", "application/json"), path
        assert not [script for script in markup.scripts if "</" in script or "<script" in script], path
        assert f"49{MARK}" not in response.text, path
        policy = response.headers["Content-Security-Policy"]
        scripts = next(part for part in policy.split(";") if part.strip().startswith(("script-src", "default-src")))
        assert "unsafe" not in scripts, path
    assert marked > len(HOSTILE) * 8


def test_headers_keep_pages_to_themselves(client: FlaskClient) -> None:
    headers = client.get("/actor/s0.html").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy


def test_they_come_back_whole_as_data(client: FlaskClient) -> None:
    for n, text in enumerate(HOSTILE):
        answer = client.get(
            "/sparql",
            query_string={"query": f"SELECT ?name {{ <{BASE}place/p{n}> rdfs:label ?name }}"},
            headers={"Accept": "application/sparql-results+json"},
        )
        assert answer.json is not None
        assert answer.json["results"]["bindings"][0]["name"]["value"] == f"{text} {n}"
