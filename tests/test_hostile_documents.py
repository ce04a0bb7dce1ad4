"""Documents that mean harm, sent by somebody with a token: each is refused with a clear error or stored safely, in bounded time and
memory, and the next caller is answered as if nothing had been.

What the reader of documents makes of such texts is in `test_documents.py`; here it is what the whole service does.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode

import generate
import pyoxigraph as ox
import pytest
from serving import PATIENCE, Reply, Server, state_of, unused_port

from kg import config as settings
from kg.library import open_library
from kg.terms import PREFIXES
from kg.tokens import Tokens

TURTLE, JSON_LD, RDF_XML, TRIG, N_TRIPLES = (
    "text/turtle",
    "application/ld+json",
    "application/rdf+xml",
    "application/trig",
    "application/n-triples",
)

#: What all processes of the server together may hold at any moment. It is generous: a web process takes 150 MiB, each that judges 100.
MEMORY = 1536 * 2**20

#: Seconds for one answer, of which judging may take `--judge-timeout` twice: for reading and for the verdict.
SECONDS = 60

_PROLOGUE = "".join(f"@prefix {name}: <{PREFIXES[name]}> .\n" for name in ("ekg", "rdfs", "skos", "schema"))
_ACTOR = _PROLOGUE + '<> a ekg:Organization, ekg:Actor ; rdfs:label "Staff"@en .\n'


class Watch:
    """Looks at the memory of a server's processes all the time, so that those which have come and gone count too."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, sum(map(resident, self._server.processes())))

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def resident(pid: int) -> int:
    """Bytes of memory that a process holds and shares with none; 0 for one that is gone."""
    with contextlib.suppress(OSError, ValueError):
        size, shared = Path("/proc", str(pid), "statm").read_text().split()[1:3]
        return (int(size) - int(shared)) * 4096
    return 0


@dataclass
class Attacker:
    """Has a token. `heard` is a port of the same machine to which no document may make anybody connect."""

    server: Server
    token: str
    watch: Watch
    ear: socket.socket

    @property
    def heard(self) -> str:
        return f"http://127.0.0.1:{self.ear.getsockname()[1]}/"

    def send(self, body: str | bytes, kind: str = TURTLE, path: str = "actor/hostile", method: str = "PUT") -> Reply:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        return self.server.send(method, path, body.encode() if isinstance(body, str) else body, headers)


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    data, port = tmp_path_factory.mktemp("hostile") / "data", unused_port()
    chosen = settings.read({}, data=data, base=f"http://127.0.0.1:{port}/")
    with open_library(chosen, create=True, owner=True) as library:
        library.accept([generate.actor("staff").document(library.base)], agent="a test")
    server = Server(data, port, "--judge-timeout", "20", "--query-memory", "1GiB")
    try:
        server.wait()
        watch = Watch(server)
        try:
            with socket.create_server(("127.0.0.1", 0)) as ear:
                yield Attacker(server, Tokens(data).create("Mallory", "writer"), watch, ear)
        finally:
            watch.end()
        assert server.stop() == 0, server.output
        assert "Traceback" not in server.output, server.output
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def unharmed(attacker: Attacker) -> Iterator[None]:
    """After each attack, the service is as it was: it answers, has not grown out of bounds, and nobody was called."""
    attacker.watch.most = 0
    started = time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS
    assert attacker.watch.most < MEMORY, f"{attacker.watch.most:,} bytes"
    assert attacker.server.get("health").status == 200
    assert attacker.server.count("actor:staff rdfs:label ?label") == 1
    attacker.ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        attacker.ear.accept()


def refused(attacker: Attacker, name: str, status: int, send: Callable[[], Reply]) -> str:
    """Send what must be refused by this error and leave no trace; its words."""
    before = state_of(attacker.server.data)
    reply = send()
    assert (reply.status, reply.headers.get_content_type()) == (status, "application/problem+json"), reply.text[:2_000]
    assert reply.json()["type"].partition("#")[2] == name
    assert len(reply.body) < 1_000_000, "an error is not larger than what it is about"
    assert state_of(attacker.server.data) == before
    return str(reply.json()["detail"])


# Bombs

_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol0 "lol">'
    + "".join(f"<!ENTITY lol{n + 1} '" + f"&lol{n};" * 10 + "'>" for n in range(9))
    + ']><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="">'
    '<label xmlns="http://www.w3.org/2000/01/rdf-schema#">&lol9;</label></rdf:Description></rdf:RDF>'
)


def _blank_nodes(count: int) -> str:
    return _ACTOR + "<> skos:note " + ",".join(["[]"] * count) + " .\n"


REFUSED = {
    "a billion laughs": (_LAUGHS, RDF_XML, "remote-reference", 400),
    "a file as an entity": (
        '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        RDF_XML,
        "remote-reference",
        400,
    ),
    "a remote context": ('{"@context": "{heard}c", "@id": ""}', JSON_LD, "remote-reference", 400),
    "a file as a context": ('{"@context": "file:///etc/passwd", "@id": ""}', JSON_LD, "remote-reference", 400),
    "a context that imports": ('{"@context": {"@import": "{heard}c"}, "@id": ""}', JSON_LD, "remote-reference", 400),
    "a context that names itself": (
        '{"@context": {"a": {"@id": "urn:a", "@context": "{base}actor/hostile"}}, "@id": "", "a": {"a": {"a": 1}}}',
        JSON_LD,
        "remote-reference",
        400,
    ),
    "terms in a circle": (
        '{"@context": {"a": "b:x", "b": "a:x"}, "@id": "{base}actor/hostile", "a:p": 1}',
        JSON_LD,
        "malformed-document",
        400,
    ),
    "JSON of a hundred thousand levels": (
        '{"urn:p":' * 100_000 + "1" + "}" * 100_000,
        JSON_LD,
        "malformed-document",
        400,
    ),
    "Turtle of thirty thousand levels": (
        _ACTOR + "<> skos:note " + "[ skos:note " * 30_000 + "1" + "]" * 30_000 + " .",
        TURTLE,
        "tangled-blank-nodes",
        400,
    ),
    "lists of thirty thousand levels": (
        _ACTOR + "<> skos:note " + "(" * 30_000 + ")" * 30_000 + " .",
        TURTLE,
        "tangled-blank-nodes",
        400,
    ),
    "a space in an IRI": ("<> <urn:p> <http://a.example/b c> .", TURTLE, "malformed-document", 400),
    "a bell in an IRI": ("<> <urn:p> <http://a.example/\x07> .", TURTLE, "malformed-document", 400),
    "an escaped line break in an IRI": (
        "<> <urn:p> <http://a.example/\\u000A> .",
        TURTLE,
        "malformed-document",
        400,
    ),
    "an escaped angle bracket in an IRI": (
        "<> <urn:p> <http://a.example/\\u003E\\u0020.> .",
        N_TRIPLES,
        "malformed-document",
        400,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bombs_are_refused_unexploded(attacker: Attacker, what: str) -> None:
    body, kind, name, status = REFUSED[what]
    body = body.replace("{heard}", attacker.heard).replace("{base}", attacker.server.url)
    assert refused(attacker, name, status, lambda: attacker.send(body, kind))


def test_ten_million_blank_nodes_are_refused_by_their_size(attacker: Attacker) -> None:
    """All thirty megabytes of them, and some that come in under the limit: written in full they are over it."""
    for count in (10_000_000, 400_000):
        body = _blank_nodes(count).encode()
        assert (len(body) > 4 * 2**20) == (count == 10_000_000)
        refused(attacker, "document-too-large", 413, lambda body=body: attacker.send(body))  # type: ignore[misc]


def test_what_just_fits_is_judged_in_its_time_or_stopped(attacker: Attacker) -> None:
    """Nothing is wrong with tens of thousands of blank nodes but that there are so many."""
    before = state_of(attacker.server.data)
    reply = attacker.send(_blank_nodes(20_000), path="actor/crowd")
    if reply.status == 201:
        assert len(attacker.server.get("actor/crowd.nt").body.splitlines()) == 20_003
    else:
        assert (reply.status, reply.json()["type"].partition("#")[2]) == (413, "judging-timeout"), reply.text[:500]
        assert state_of(attacker.server.data) == before


# What would do harm to those who read it


def test_shapes_and_imports_in_data_are_only_data(attacker: Attacker) -> None:
    """Shapes come from the service alone; no statement of a document makes it judge otherwise, or fetch anything."""
    imports = f"@prefix owl: <http://www.w3.org/2002/07/owl#> . @prefix sh: <http://www.w3.org/ns/shacl#> .\n<> owl:imports <{attacker.heard}o> ; sh:shapesGraph <{attacker.heard}s> .\n"
    shape = '<#shape> a sh:NodeShape ; sh:targetClass ekg:Actor ; sh:sparql [ sh:select "SELECT $this WHERE { $this ?p ?o }" ] .\n'
    anothers = f"<{PREFIXES['ekg']}Actor> sh:deactivated true .\n"
    assert attacker.send(_ACTOR + imports).status in (201, 204)
    for more, constraint, focus in (
        (shape, "TermConstraintComponent", attacker.server.url + "actor/hostile#shape"),
        (anothers, "OwnershipConstraintComponent", PREFIXES["ekg"] + "Actor"),
    ):
        results = attacker.send(_ACTOR + imports + more).json()["results"]
        assert (PREFIXES["ekg"] + constraint, focus) in {(one["constraint"], one["focus"]) for one in results}
    # With that there, others are judged as before.
    assert attacker.send(_ACTOR, path="actor/innocent").status == 201
    assert attacker.send(_ACTOR.replace("rdfs:label", "rdfs:comment"), path="actor/unnamed").status == 422


class _Isolation(HTMLParser):
    """Finds text outside any element that isolates its direction (HTML, section 15.3.5: `bdi`, and any with `dir`)."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[tuple[str, bool]] = []
        self.bare: list[str] = []
        self.held = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        shown = {"title", "alt", "placeholder", "value", "aria-label", "label"}
        self.bare += [
            f"{name}={value}"
            for name, value in attrs
            if name in shown and "dir" not in names and any(mark in (value or "") for mark in _MARKS)
        ]
        if tag not in ("meta", "link", "input", "img", "br", "hr", "wbr"):
            self.stack.append((tag, tag in ("bdi", "title") or bool(names & {"dir"})))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(mark in data for mark in _MARKS):
            self.held += 1
            # The direction of the page itself, on <html> or <body>, isolates from nothing.
            if not any(isolates for tag, isolates in self.stack if tag not in ("html", "body")):
                self.bare.append(data)


#: Overrides, embeddings and isolates (Unicode Standard Annex 9), with which text is made to look like another.
_MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_text_that_turns_around_turns_nothing_else_around(attacker: Attacker) -> None:
    """It may be part of a name, so it is kept, byte for byte; pages isolate it from what is ours."""
    label = "Staff \u202eevisnefed yletinifed\u2066 <b>&amp;"
    names = f'rdfs:label "{label}"@en ; skos:altLabel "{label}"@en ; rdfs:comment "{label}"'
    body = f"{_PROLOGUE}<> a ekg:Organization, ekg:Actor ; {names} .\n"
    reply = attacker.send(body, path="actor/turning")
    assert reply.status in (201, 204), reply.text
    asked = attacker.server.get("actor/turning.nt")
    assert {
        q.object.value for q in ox.parse(asked.body, format=ox.RdfFormat.N_TRIPLES) if isinstance(q.object, ox.Literal)
    } == {label}
    speech = _PROLOGUE + '<> a ekg:Event ; rdfs:label "Muster"@en ; ekg:by </actor/turning> .'
    assert attacker.send(speech, path="event/muster").status in (201, 204)
    query = "sparql?" + urlencode({"query": "SELECT ?s ?label WHERE { ?s rdfs:label ?label }"})
    for path in ("actor/turning.html", "actor/", "event/muster.html", query):
        page = attacker.server.get(path, {"Accept": "text/html"})
        parser = _Isolation()
        parser.feed(page.text)
        assert (page.status, "<b>" in page.text, parser.bare) == (200, False, []), path
        assert parser.held, path


def test_a_gigantic_literal_is_kept_whole_or_refused_by_its_size(attacker: Attacker) -> None:
    words = "вода " * 350_000
    reply = attacker.send(_ACTOR + f'<> rdfs:comment "{words}"@uk .', path="actor/long")
    assert reply.status == 201, reply.text[:500]
    assert words in attacker.server.get("actor/long.nt").text
    for suffix in ("html", "jsonld", "rdf"):
        assert attacker.server.get(f"actor/long.{suffix}").status == 200
    refused(attacker, "document-too-large", 413, lambda: attacker.send(_ACTOR + f'<> rdfs:comment "{words * 2}" .'))


def test_names_that_climb_out_name_nothing(attacker: Attacker) -> None:
    for path in (
        "actor/..%2f..%2fetc%2fpasswd",
        "actor/%00",
        "actor/a%0d%0aSet-Cookie:x",
        "actor/" + quote("\u202eevil"),
    ):
        reply = attacker.send(_ACTOR, path=path)
        assert reply.status in (400, 404), (path, reply.status)
        assert "Set-Cookie" not in reply.headers


def test_many_tiny_requests_cost_little_and_leave_the_rest_as_it_is(
    attacker: Attacker, pytestconfig: pytest.Config
) -> None:
    count, before = pytestconfig.getoption("requests"), state_of(attacker.server.data)
    token = {"Authorization": f"Bearer {attacker.token}"}
    kinds: list[tuple[str, str, str, dict[str, str], set[int]]] = [
        ("GET", "/actor/staff.ttl", "", {}, {200}),
        ("GET", "/actor/nobody", "", {}, {404}),
        ("GET", f"/sparql?{urlencode({'query': 'ASK {}'})}", "", {}, {200, 503}),
        ("GET", "/sparql?query=SELEKT", "", {}, {400, 503}),
        ("PUT", "/actor/x", "<> a <x> .", {"Authorization": "Bearer kg_guess", "Content-Type": TURTLE}, {401, 429}),
        ("POST", "/validate", "x", {"Content-Type": TURTLE}, {400, 429, 503}),
        ("PUT", "/actor/x", "", {**token, "Content-Type": TURTLE}, {400}),
        ("PUT", "/actor/x", "x", {**token, "Content-Type": "x"}, {415}),
        ("DELETE", "/actor/staff", "", token, {403}),
        ("BREW", "/", "", {}, {405, 501, 400}),
    ]
    seen: Counter[tuple[int, int]] = Counter()
    web = attacker.server.web_process
    grown = resident(web)

    def ask(share: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", attacker.server.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            for number in range(share):
                method, path, body, headers, _ = kinds[number % len(kinds)]
                connection.request(method, path, body or None, headers)
                answer = connection.getresponse()
                answer.read()
                seen[number % len(kinds), answer.status] += 1

    threads = [threading.Thread(target=ask, args=(count // 8,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(seen.values()) == count // 8 * 8
    for number, (method, path, _, _, expected) in enumerate(kinds):
        assert {status for n, status in seen if n == number} <= expected, (method, path, seen)
    assert state_of(attacker.server.data) == before
    assert resident(web) - grown < 200 * 2**20
    assert attacker.server.web_process == web
