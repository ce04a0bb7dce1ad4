"""The HTTP side of the served graph: what each address answers, to whom, and that nothing here asks any other machine for anything.

The protocol itself, sentence by sentence, is in `tests/conformance`; clients that are not ours are in `tests/clients`.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, quote, urldefrag, urlencode, urljoin, urlsplit

import pyoxigraph as ox
import pytest
from serving import Reply, Server, kg

from kg import assets
from kg.errors import KgError
from kg.library import Library
from kg.web import create_app

SEEDS = list(assets.files("seeds", "**/*.ttl"))
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PROBLEM = "application/problem+json"

#: Suffix, media type as it is sent, and the parser's format.
FORMS = {
    "ttl": ("text/turtle; charset=utf-8", ox.RdfFormat.TURTLE),
    "jsonld": ("application/ld+json", ox.RdfFormat.JSON_LD),
    "nt": ("application/n-triples", ox.RdfFormat.N_TRIPLES),
    "rdf": ("application/rdf+xml", ox.RdfFormat.RDF_XML),
    "trig": ("application/trig", ox.RdfFormat.TRIG),
    "nq": ("application/n-quads", ox.RdfFormat.N_QUADS),
}

ADMISSIONS = (
    "SELECT ?act ?speaker WHERE { ?act a ekg:Admission ; ekg:speaker ?speaker } ORDER BY STR(?act) STR(?speaker)"
)


def post(server: Server, path: str, body: bytes, **headers: str) -> Reply:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, data=body, headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return Reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers, error.read())


def canonical(triples: Iterator[ox.Quad]) -> str:
    """The triples of a document, whatever graph they stand in, with blank nodes named by a canonical labelling."""
    dataset = ox.Dataset(ox.Quad(quad.subject, quad.predicate, quad.object) for quad in triples)
    dataset.canonicalize(ox.CanonicalizationAlgorithm.RDFC_1_0)
    return "\n".join(sorted(map(str, dataset)))


@functools.cache
def seed(path: Path, base: str) -> str:
    return canonical(ox.parse(path.read_bytes(), format=ox.RdfFormat.TURTLE, base_iri=base))


def with_context(text: bytes, server: Server) -> bytes:
    """JSON-LD with the context that it names written into it: pyoxigraph, rightly, fetches none."""
    tree = json.loads(text)
    assert tree["@context"] == server.url + "context.jsonld"
    context = server.get("context.jsonld")
    assert (context.status, context.headers["Content-Type"]) == (200, "application/ld+json")
    return json.dumps({**tree, "@context": context.json()["@context"]}).encode()


# Queries in, answers out


def asked(server: Server, way: str, query: str, accept: str) -> Reply:
    if way == "GET":
        return server.get("sparql?" + urlencode({"query": query}), {"Accept": accept})
    if way == "form":
        form = urlencode({"query": query}).encode()
        return post(server, "sparql", form, Accept=accept, Content_Type="application/x-www-form-urlencoded")
    return post(server, "sparql", query.encode(), Accept=accept, Content_Type="application/sparql-query")


WAYS = ("GET", "form", "direct")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("accept", "content_type", "results"),
    [
        ("application/sparql-results+json", "application/sparql-results+json", ox.QueryResultsFormat.JSON),
        ("application/sparql-results+xml", "application/sparql-results+xml", ox.QueryResultsFormat.XML),
        ("text/tab-separated-values", "text/tab-separated-values; charset=utf-8", ox.QueryResultsFormat.TSV),
    ],
)
def test_every_way_to_ask_gives_the_same_rows(
    served: Server, way: str, accept: str, content_type: str, results: ox.QueryResultsFormat
) -> None:
    reply = asked(served, way, ADMISSIONS, accept)
    assert (reply.status, reply.headers["Content-Type"]) == (200, content_type)
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    parsed = ox.parse_query_results(reply.body, format=results)
    assert isinstance(parsed, ox.QuerySolutions)
    rows = [[solution["act"].value, solution["speaker"].value] for solution in parsed]
    plain = asked(served, way, ADMISSIONS, "text/csv")
    assert plain.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert rows == list(csv.reader(io.StringIO(plain.text)))[1:]
    article = served.url + "article/russia-admits-north-korean-soldiers"
    assert [f"{article}#s2", served.url + "actor/valery-gerasimov"] in rows


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", FORMS)
def test_every_way_to_ask_gives_the_same_graph(served: Server, way: str, suffix: str) -> None:
    media_type, form = FORMS[suffix]
    query = "CONSTRUCT { ?s ?p ?o } WHERE { GRAPH place:kursk-region { ?s ?p ?o } }"
    reply = asked(served, way, query, media_type.partition(";")[0])
    assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
    body = with_context(reply.body, served) if suffix == "jsonld" else reply.body
    kursk = next(path for path in SEEDS if path.stem == "kursk-region")
    assert canonical(ox.parse(body, format=form)) == seed(kursk, served.url)


def test_a_query_may_use_the_common_prefixes_and_is_told_which_were_supplied(served: Server) -> None:
    reply = served.sparql('ASK { actor:russia rdfs:label "Russia"@en }', "application/sparql-results+json")
    assert reply.json()["boolean"] is True
    assert reply.headers["KG-Prefixes-Added"] == "actor, rdfs"


def test_an_answer_says_at_which_revision_it_was_read(served: Server) -> None:
    assert served.sparql("ASK {}").headers["KG-Revision"] == str(served.get("health").json()["revision"])


# Errors


def require_problem(server: Server, reply: Reply, status: int, name: str) -> dict[str, object]:
    """The problem document of an answer, which must be one, and whose type must lead to a place that exists."""
    assert (reply.status, reply.headers["Content-Type"]) == (status, PROBLEM), reply.text
    problem: dict[str, object] = reply.json()
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    address, anchor = urldefrag(str(problem["type"]))
    assert (address, anchor) == (server.url + "errors", name)
    assert f'id="{anchor}"' in server.get("errors").text
    return problem


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("query", "line", "column"),
    [
        ("SELECT * WHERE { ?s ?p }", 1, 25),
        ("SELECT *\nWHERE {\n  ?s ekg:speaker }", 3, 18),
        ("SELECT ?x WHERE { ?x unheardof:of ?y }", 1, 34),
        ("INSERT DATA { <a:a> <a:b> <a:c> }", 1, 10),
        ("", 1, 1),
    ],
)
def test_a_syntax_error_is_told_with_its_place(served: Server, way: str, query: str, line: int, column: int) -> None:
    problem = require_problem(served, asked(served, way, query, "text/csv"), 400, "malformed-query")
    assert (problem["line"], problem["column"]) == (line, column)


@pytest.mark.parametrize(
    ("path", "headers", "status", "name"),
    [
        ("actor/nobody", {}, 404, "not-found"),
        ("actor/nobody.ttl", {}, 404, "not-found"),
        ("actor/russia.pdf", {}, 404, "not-found"),
        ("actor/Russia", {}, 404, "not-found"),
        ("actor/" + quote("Россия"), {}, 404, "not-found"),
        ("actor/russia/more", {}, 404, "not-found"),
        ("nothing", {}, 404, "not-found"),
        ("ns.pdf", {}, 404, "not-found"),
        ("static/nothing.css", {}, 404, "not-found"),
        ("static/../__init__.py", {}, 404, "not-found"),
        ("actor/russia", {"Accept": "image/png"}, 406, "not-acceptable"),
        ("sparql", {"Accept": "image/png"}, 406, "not-acceptable"),
        ("shapes", {"Accept": "image/png"}, 406, "not-acceptable"),
        ("sparql?query=ASK%7B%7D", {"Accept": "image/png"}, 406, "not-acceptable"),
        ("sparql?query=ASK%7B%7D&format=pdf", {}, 406, "not-acceptable"),
        ("sparql?query=ASK%7B%7D&timeout=soon", {}, 400, "request-error"),
        ("sparql?query=ASK%7B%7D&timeout=-1", {}, 400, "request-error"),
        ("sparql?query=ASK%7B%7D&timeout=nan", {}, 400, "request-error"),
        ("health", {"KG-Min-Revision": "soon"}, 400, "request-error"),
    ],
)
def test_every_error_is_a_problem_document(
    served: Server, path: str, headers: dict[str, str], status: int, name: str
) -> None:
    require_problem(served, served.get(path, headers), status, name)


def test_every_kind_of_error_has_a_place_on_the_page_of_errors(served: Server) -> None:
    anchors = re.findall(r'<dt id="([a-z-]+)">', served.get("errors").text)
    assert set(anchors) == {kind.name() for kind in KgError.tree()}
    assert len(anchors) == len(set(anchors))


@pytest.mark.parametrize("path", ["actor/nobody", "sparql?query=SELEKT", "sparql?query=ASK%7B%7D&timeout=x", "nothing"])
def test_a_browser_gets_errors_as_pages(served: Server, path: str) -> None:
    reply = served.get(path, {"Accept": BROWSER})
    assert reply.status in (400, 404)
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1" in reply.text


def test_a_browser_sees_where_the_query_is_wrong(served: Server) -> None:
    text = served.get("sparql?" + urlencode({"query": "SELECT * WHERE {\n ?s ?p }"}), {"Accept": BROWSER}).text
    assert "Line 2, column 9" in text
    assert '<textarea id="query"' in text
    assert "?s ?p }</textarea>" in text  # what was typed is still there


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("sparql", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("", {"GET", "HEAD", "OPTIONS"}),
        ("health", {"GET", "HEAD", "OPTIONS"}),
        ("ns", {"GET", "HEAD", "OPTIONS"}),
    ],
)
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PROPFIND"])
def test_405_names_the_methods_there_are(served: Server, path: str, allowed: set[str], method: str) -> None:
    reply = served.get(path, method=method)
    require_problem(served, reply, 405, "method-not-allowed")
    assert set(reply.headers["Allow"].split(", ")) == allowed


def test_what_was_withdrawn_is_told_apart_from_what_never_was(seeded: Library) -> None:
    iri = seeded.base.document("actor", "kim-jong-un")
    revisions = seeded.journal.commit({iri: None}, agent="test", change="retracted")
    assert revisions is not None
    seeded.settle()
    client = create_app(seeded).test_client()
    gone, never = client.get("/actor/kim-jong-un.ttl"), client.get("/actor/kim-jong-il.ttl")
    assert (gone.status_code, never.status_code) == (410, 404)
    assert gone.json is not None and never.json is not None
    assert gone.json["detail"] == f"{iri} was withdrawn in revision {revisions[-1].seq}"
    assert never.json["detail"] == f"there is no document {seeded.base.document('actor', 'kim-jong-il')}"


def test_a_query_over_the_size_limit_is_refused(served: Server) -> None:
    body = b"SELECT * WHERE { ?s ?p ?o } #" + b"x" * 1_100_000
    reply = post(served, "sparql", body, Content_Type="application/sparql-query")
    require_problem(served, reply, 413, "request-error")


# Documents


@pytest.mark.parametrize(
    ("accept", "suffix"),
    [
        ("text/turtle", "ttl"),
        ("application/ld+json", "jsonld"),
        ("application/n-triples", "nt"),
        ("application/rdf+xml", "rdf"),
        ("application/trig", "trig"),
        ("application/n-quads", "nq"),
        ("text/html", "html"),
        (BROWSER, "html"),
        ("*/*", "ttl"),
        ("text/*", "ttl"),
        ("application/rdf+xml;q=0.5, application/n-triples;q=0.7", "nt"),
        ("text/turtle;q=0.1, application/*;q=0.4", "jsonld"),
        ('application/ld+json; profile="http://www.w3.org/ns/json-ld#compacted"', "jsonld"),
        ("text/turtle; charset=utf-8", "ttl"),
        ("TEXT/Turtle", "ttl"),
        ("text/turtle;q=0, */*", "jsonld"),
        ("", "ttl"),
    ],
)
def test_the_thing_leads_to_the_document_asked_for(served: Server, accept: str, suffix: str) -> None:
    reply = served.get("actor/valery-gerasimov", {"Accept": accept})
    assert reply.status == 303
    assert urljoin(served.url + "actor/valery-gerasimov", reply.headers["Location"]) == (
        f"{served.url}actor/valery-gerasimov.{suffix}"
    )
    assert "Accept" in reply.headers["Vary"]


@pytest.mark.parametrize("suffix", FORMS)
def test_every_document_comes_back_as_it_was_written(served: Server, suffix: str) -> None:
    media_type, form = FORMS[suffix]
    context = json.dumps(served.get("context.jsonld").json()["@context"]).encode()
    for path in SEEDS:
        name = f"{path.parent.name}/{path.stem}"
        reply = served.get(f"{name}.{suffix}")
        assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
        body = (
            reply.body.replace(f'"{served.url}context.jsonld"'.encode(), context) if suffix == "jsonld" else reply.body
        )
        quads = list(ox.parse(body, format=form))
        assert canonical(iter(quads)) == seed(path, served.url), name
        if suffix in ("trig", "nq"):
            assert {quad.graph_name for quad in quads} == {ox.NamedNode(served.url + name)}


def test_a_document_names_its_other_forms_and_what_describes_it(served: Server) -> None:
    reply = served.get("actor/russia.ttl")
    links = re.findall(r'<([^>]*)>; rel="([a-z]+)"(?:; type="([^"]+)")?', reply.headers["Link"])
    alternates = {kind: target for target, rel, kind in links if rel == "alternate"}
    assert set(alternates) == {*(media_type.partition(";")[0] for media_type, _ in FORMS.values()), "text/html"} - {
        "text/turtle"
    }
    for kind, target in alternates.items():
        other = served.get(urljoin(served.url, target))
        assert (other.status, other.headers["Content-Type"].partition(";")[0]) == (200, kind)
    assert (served.url + "actor/russia", "about", "") in links
    assert reply.headers["Content-Location"] == "/actor/russia.ttl"
    for target in (target for target, rel, _ in links if rel == "describedby"):
        assert served.get(urljoin(served.url, target), {"Accept": "text/turtle"}).status == 200


def test_a_document_that_one_has_is_not_sent_again(served: Server) -> None:
    first = served.get("actor/russia.ttl")
    assert first.headers["ETag"].startswith('"')
    again = served.get("actor/russia.ttl", {"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    since = served.get("actor/russia.ttl", {"If-Modified-Since": first.headers["Last-Modified"]})
    assert (since.status, since.body) == (304, b"")
    other = served.get("actor/russia.nt", {"If-None-Match": first.headers["ETag"]})
    assert other.status == 200  # another form is another representation


@pytest.mark.parametrize(
    "path", ["", "actor/", "actor/russia.html", "actor/russia.ttl", "ns", "health", "sparql?query=ASK%7B%7D"]
)
def test_head_is_get_without_the_body(served: Server, path: str) -> None:
    head, get = served.get(path, method="HEAD"), served.get(path)
    assert (head.status, head.body) == (200, b"")
    ignored = {"date"}
    assert {k.lower(): v for k, v in head.headers.items() if k.lower() not in ignored} == {
        k.lower(): v for k, v in get.headers.items() if k.lower() not in ignored
    }


# Descriptions


@pytest.mark.parametrize("path", ["ns", "shapes"])
@pytest.mark.parametrize("suffix", ["ttl", "jsonld", "nt", "rdf"])
def test_vocabulary_and_shapes_are_served_whole_in_every_syntax(served: Server, path: str, suffix: str) -> None:
    media_type, form = FORMS[suffix]
    folder, pattern = {"ns": ("ontology", "*.ttl"), "shapes": ("shapes", "*.ttl")}[path]
    files = list(assets.files(folder, pattern))
    written = {quad for file in files for quad in ox.parse(path=str(file), format=ox.RdfFormat.TURTLE) if named(quad)}
    by_suffix = served.get(f"{path}.{suffix}")
    negotiated = served.get(path, {"Accept": media_type.partition(";")[0]})
    assert by_suffix.body == negotiated.body
    assert by_suffix.headers["Content-Type"] == negotiated.headers["Content-Type"] == media_type
    body = with_context(by_suffix.body, served) if suffix == "jsonld" else by_suffix.body
    assert {quad for quad in ox.parse(body, format=form) if named(quad)} == written


def named(quad: ox.Quad) -> bool:
    return not isinstance(quad.subject, ox.BlankNode) and not isinstance(quad.object, ox.BlankNode)


def test_health_says_how_the_service_is(served: Server) -> None:
    health = served.get("health").json()
    assert health["status"] == "ok"
    assert health["base"] == served.url
    assert health["revision"] == health["reached"] >= 1
    kinds = {path.parent.name for path in SEEDS}
    assert health["documents"] == {kind: sum(path.parent.name == kind for path in SEEDS) for kind in kinds}


def test_the_first_page_offers_three_questions_that_have_answers(served: Server) -> None:
    page = Page(served.get("").text)
    offered = {"/questions/who-admitted-combat", "/questions/attribution-chain", "/questions/denied-what-was-admitted"}
    asked = [link for link in page.links if link.startswith("/questions/")]
    assert offered < set(asked)
    for link in asked:
        answer = served.get(link, {"Accept": "text/csv"})
        assert answer.status == 200
        assert len(answer.text.splitlines()) > 1


# Pages


class Page(HTMLParser):
    """What a page refers to: where its links lead, what it loads, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        if "id" in of:
            self.anchors.append(of["id"])
        if tag == "a" or (tag == "link" and of.get("rel") == "alternate"):
            self.links.append(of["href"])
        else:
            self.loaded += [of[name] for name in ("src", "href", "srcset", "action", "data", "poster") if name in of]
        # A page holds no code: what it runs comes from files, and what it holds is data.
        data = of.get("type") in ("application/ld+json", "application/json")
        if (tag == "script" and "src" not in of and not data) or any(name.startswith("on") for name in of):
            self.scripts += 1


def _shape(url: str) -> str:
    """An address without what it is about: `/actor/….ttl`, `/questions/positions?asof=&proposition=`."""
    it = urlsplit(url)
    path = re.sub(r"(?<=^/)(\w+/)[^./?]+", r"\1…", it.path) if not it.path.startswith("/questions/") else it.path
    return f"{path}?{'&'.join(sorted(name for name, _ in parse_qsl(it.query, keep_blank_values=True)))}"


def test_every_link_on_every_page_leads_somewhere_and_no_page_loads_from_elsewhere(served: Server) -> None:
    here = urlsplit(served.url).netloc
    todo, anchors_wanted = [served.url], set[tuple[str, str]]()
    anchors: dict[str, list[str]] = {}
    seen, alike = {served.url}, Counter[str]()
    while todo:
        url = todo.pop()
        reply = served.get(url, {"Accept": BROWSER})
        for _ in range(2):
            if reply.status in (301, 303):
                reply = served.get(urljoin(url, reply.headers["Location"]), {"Accept": BROWSER})
        assert reply.status == 200, f"{url}: {reply.status} {reply.text[:300]}"
        if not reply.headers["Content-Type"].startswith("text/html"):
            continue
        page = Page(reply.text)
        anchors[url] = page.anchors
        assert len(page.anchors) == len(set(page.anchors)), f"{url} has an anchor twice"
        assert page.scripts == 0, url
        for target in page.loaded:
            absolute = urljoin(url, target)
            assert urlsplit(absolute).netloc == here, f"{url} loads {target}"
            page.links.append(absolute)
        for link in page.links:
            target, anchor = urldefrag(urljoin(url, link))
            if urlsplit(target).netloc != here:
                assert urlsplit(target).scheme in ("http", "https"), f"{url} links to {link}"
                continue
            if anchor:
                anchors_wanted.add((target, anchor))
            if target not in seen:
                seen.add(target)
                # The page of every document is opened; of other addresses that differ only in what they are about, a few, and of the
                # forms of answers, which are written alike for all, fewer.
                alike[shape := _shape(target)] += 1
                if target.endswith(".html") or alike[shape] <= (2 if "/questions/" in target else 6):
                    todo.append(target)
    assert {f"{served.url}{path.parent.name}/{path.stem}.html" for path in SEEDS} <= seen
    # A thing's IRI leads to its page by 303, and a fragment goes along.
    lost = {
        (target, anchor)
        for target, anchor in anchors_wanted
        if anchor not in anchors.get(target, anchors.get(f"{target}.html", []))
    }
    assert not lost


def test_a_page_forbids_all_that_it_does_not_need(served: Server) -> None:
    policy = served.get("actor/russia.html").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert served.get("actor/russia.html").headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_of_an_article_tells_each_act_with_its_words(served: Server) -> None:
    text = served.get("article/russia-admits-north-korean-soldiers.html").text
    act = text[text.index('id="s2"') :]
    act = " ".join(re.sub(r"<[^>]+>", "", act[act.index(">") + 1 : act.index("</article>")]).split())
    assert act.startswith(
        "Admission Valery Gerasimov, Chief of the General Staff, on behalf of Russia, ● admitted that"
    )
    assert "North Korean troops are in combat in the Kursk region on Russia&#39;s side – as reported by" in act
    assert "fighters from North Korea are engaged in combat alongside Russian forces" in act
    assert "26 April 2025 (in the text: “26 April”)" in act
    assert (
        act.index("admitted") < act.index("troops are in combat") < act.index("fighters from") < act.index("26 April")
    )


def test_markup_in_data_and_queries_stays_text(served: Server) -> None:
    attack = "<script>alert(1)</script>"
    query = f'SELECT ("{attack}" AS ?x) (<javascript:alert(1)> AS ?y) WHERE {{}}'
    for path in (
        "sparql?" + urlencode({"query": query}),
        "sparql?" + urlencode({"query": attack}),
        "actor/" + quote(attack),
    ):
        text = served.get(path, {"Accept": BROWSER}).text
        assert attack not in text
        assert 'href="javascript:' not in text
        assert "&lt;script&gt;" in text


# Nothing reaches out


class Ear:
    """A port that hears whether anybody connects."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.heard = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.heard += 1
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


def test_the_ear_hears(ear: Ear) -> None:
    with socket.create_connection(("127.0.0.1", ear.port)):
        time.sleep(0.1)
    assert ear.heard == 1


REACHING = {
    "service": "SELECT * WHERE { SERVICE <URL> { ?s ?p ?o } }",
    "lower case": "select * where { service <URL> { ?s ?p ?o } }",
    "silent": "SELECT * WHERE { SERVICE SILENT <URL> { ?s ?p ?o } }",
    "variable": "SELECT * WHERE { VALUES ?e { <URL> } SERVICE ?e { ?s ?p ?o } }",
    "escaped": r"SELECT * WHERE { \u0053ERVICE <URL> { ?s ?p ?o } }",
    "escaped long": r"SELECT * WHERE { S\U00000045RVICE <URL> { ?s ?p ?o } }",
    "escaped and silent": r"SELECT * WHERE { SERV\u0049CE \u0053ILENT <URL> { ?s ?p ?o } }",
    "no space": "SELECT*{SERVICE<URL>{?s ?p ?o}}",
    "comment between": "SELECT * { SERVICE # <a:b> {\n <URL> { ?s ?p ?o } }",
    "after a string": "SELECT * { BIND('''\\''' # ' ''' AS ?x) SERVICE <URL> { ?s ?p ?o } }",
    "after a fake comment": "SELECT * { <http://x.example/#> ?p ?o . SERVICE <URL> { ?s ?p ?o } }",
    "subquery": "SELECT * { { SELECT * { { SELECT * { SERVICE <URL> { ?s ?p ?o } } } } } }",
    "exists": "ASK { FILTER EXISTS { SERVICE <URL> { ?s ?p ?o } } }",
    "not exists in bind": "SELECT * { BIND(NOT EXISTS { SERVICE <URL> { ?s ?p ?o } } AS ?x) }",
    "optional": "SELECT * { OPTIONAL { SERVICE <URL> { ?s ?p ?o } } }",
    "union": "SELECT * { {} UNION { SERVICE <URL> { ?s ?p ?o } } }",
    "minus": "SELECT * { ?s ?p ?o MINUS { SERVICE <URL> { ?s ?p ?o } } }",
    "graph": "SELECT * { GRAPH ?g { SERVICE <URL> { ?s ?p ?o } } }",
    "construct": "CONSTRUCT { ?s ?p ?o } WHERE { SERVICE <URL> { ?s ?p ?o } }",
    "describe": "DESCRIBE ?s WHERE { SERVICE <URL> { ?s ?p ?o } }",
    "prefixed": "PREFIX x: <URL> SELECT * { SERVICE x: { ?s ?p ?o } }",
    "base": "BASE <URL> SELECT * { SERVICE <> { ?s ?p ?o } }",
    "load": "LOAD <URL>",
    "load silent": "LOAD SILENT <URL> INTO GRAPH <a:b>",
    "escaped load": r"\u004cOAD <URL>",
}


@pytest.mark.parametrize("spelling", REACHING)
def test_no_query_makes_the_service_connect_to_another(served: Server, ear: Ear, spelling: str) -> None:
    query = REACHING[spelling].replace("URL", ear.url)
    for way in WAYS:
        reply = asked(served, way, query, "text/csv")
        problem = require_problem(served, reply, 403, "service-refused")
        assert re.search("SERVICE|LOAD", str(problem["detail"]))
    assert ear.heard == 0


def test_the_words_are_free_where_they_are_no_keywords(served: Server) -> None:
    query = 'SELECT ?service ?load WHERE { BIND("SERVICE <x>" AS ?service) BIND(<http://x.example/LOAD> AS ?load) } # SERVICE <x:y> {}'
    assert served.sparql(query).text.splitlines()[1] == "SERVICE <x>,http://x.example/LOAD"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM <URL> WHERE { ?s ?p ?o }",
        "SELECT * FROM NAMED <URL> WHERE { GRAPH ?g { ?s ?p ?o } }",
        "SELECT * WHERE { GRAPH <URL> { ?s ?p ?o } }",
        "DESCRIBE <URL>",
    ],
)
def test_a_graph_that_is_not_here_is_empty_and_not_fetched(served: Server, ear: Ear, query: str) -> None:
    accept = "text/csv, application/n-triples"
    reply = served.sparql(query.replace("URL", ear.url), accept)
    assert reply.status == 200
    assert len(reply.text.splitlines()) <= 1  # the header of a table, or nothing
    assert ear.heard == 0


def test_a_dataset_of_the_protocol_is_not_fetched(served: Server, ear: Ear) -> None:
    for name in ("default-graph-uri", "named-graph-uri"):
        fields = {"query": "SELECT * { { ?s ?p ?o } UNION { GRAPH ?g { ?s ?p ?o } } }", name: ear.url}
        reply = served.get("sparql?" + urlencode(fields), {"Accept": "text/csv"})
        assert (reply.status, len(reply.text.splitlines())) == (200, 1)
    assert ear.heard == 0


FILES = {
    "context.jsonld": '{"@context": "URLcontext.jsonld", "@id": "actor/x", "@type": "Actor"}',
    "contexts.jsonld": '{"@context": [{}, "URLcontext.jsonld"], "@id": "actor/x", "@type": "Actor"}',
    "scoped.jsonld": '{"@context": {"label": {"@id": "http://www.w3.org/2000/01/rdf-schema#label", "@context": "URLc"}}, "@id": "actor/x", "label": {"@id": "a:b"}}',
    "nested.jsonld": '{"@id": "actor/x", "http://x.example/p": {"@context": "URLcontext.jsonld", "@id": "actor/y"}}',
    "import.jsonld": '{"@context": {"@version": 1.1, "@import": "URLcontext.jsonld"}, "@id": "actor/x"}',
    "entity.rdf": '<!DOCTYPE r [<!ENTITY e SYSTEM "URLentity">]><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="actor/x"><rdf:value>&e;</rdf:value></rdf:Description></rdf:RDF>',
    "parameter.rdf": '<!DOCTYPE r [<!ENTITY % e SYSTEM "URLentity"> %e;]><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    "external.rdf": '<!DOCTYPE r SYSTEM "URLentity"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    "stylesheet.rdf": '<?xml-stylesheet href="URLstyle"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    "imports.ttl": "@prefix owl: <http://www.w3.org/2002/07/owl#> . <actor/x> owl:imports <URLontology> .",
}


def test_no_file_that_is_read_makes_anything_connect(tmp_path: Path, ear: Ear) -> None:
    """Read as `kg check` and `kg load` read them: each is refused, and for what would have been fetched the message says so."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text.replace("URL", ear.url), "utf-8")
    files = [folder / name for name in FILES]
    for command in ("check", "load"):
        outcome = kg(command, *files, "--data", tmp_path / "data", "--base", "https://kg.example/")
        assert outcome.code != 0
        said = outcome.out + outcome.err
        for name in FILES:
            assert name in said, said
        for name in ("context.jsonld", "contexts.jsonld", "nested.jsonld", "import.jsonld"):
            assert re.search(rf"{re.escape(name)}.*fetched", said), said
        for name in ("entity.rdf", "parameter.rdf", "external.rdf"):
            assert re.search(rf"{re.escape(name)}.*document type declaration", said), said
    assert ear.heard == 0
