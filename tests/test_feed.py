"""`/changes`: who follows it holds the graph; pages that are full never change; waiting is bounded and ends when it should."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urljoin

import generate
import pyoxigraph as ox
import pytest
from serving import Reply, Server, until, unused_port

from kg.history import PAGE
from kg.journal import Journal
from kg.terms import PREFIXES, RDF_TYPE, Base
from kg.web.feed import WAITERS

LDES, TREE, AS = "https://w3id.org/ldes#", "https://w3id.org/tree#", "https://www.w3.org/ns/activitystreams#"
DCTERMS, SCHEMA = PREFIXES["dcterms"], PREFIXES["schema"]

FORMS = {
    "application/trig": ox.RdfFormat.TRIG,
    "application/n-quads": ox.RdfFormat.N_QUADS,
    "application/ld+json": ox.RdfFormat.JSON_LD,
}


@pytest.fixture(scope="module")
def served_journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Journal]]:
    """A server on a graph with a page and a half of revisions, and its journal to write to, as `kg load` would."""
    data = tmp_path_factory.mktemp("feed") / "data"
    data.mkdir()
    port = unused_port()
    base = Base(f"http://127.0.0.1:{port}/")
    journal = Journal.create(data / "journal.sqlite", base)
    texts = list(generate.texts(PAGE + 20))
    journal.commit({text.iri(base): text.document(base) for text in texts[:PAGE]}, agent="ann")
    journal.commit({text.iri(base): text.document(base) for text in texts[PAGE:]}, agent="ben")
    for number in range(5):
        changed = {base.document("actor", "x"): generate.actor("x", label=f"X {number}").document(base)}
        journal.commit(changed, agent="cho", change="corrected-source", note=f"the {number}th time")
    journal.commit({base.document("actor", "x"): None}, agent="dee")
    journal.commit({base.document("actor", "y"): generate.actor("y").document(base)}, agent="eve")
    server = Server(data, port)
    try:
        yield server.wait(), journal
        journal.close()
        assert server.stop() == 0, server.output
    finally:
        server.kill()


class Follower:
    """A client that knows LDES and TREE and nothing of this service; it holds what it was told in a store of its own."""

    def __init__(self, server: Server, accept: str) -> None:
        self.server = server
        self.accept = accept
        self.store = ox.Store()
        self.seen: set[str] = set()
        self.done: set[str] = set()
        self.fetched: list[str] = []

    def get(self, url: str, accept: str) -> tuple[Reply, ox.Store]:
        reply = self.server.get(url, {"Accept": accept})
        assert reply.status == 200, reply.text
        read = ox.Store()
        form = FORMS.get(accept, ox.RdfFormat.TURTLE)
        read.bulk_extend(ox.parse(reply.body, format=form, base_iri=url))
        return reply, read

    def follow(self) -> None:
        """Read on from the start, past the pages that said that they never change, and apply what is new."""
        stream = urljoin(self.server.url, "changes")
        _, about = self.get(stream, "text/turtle")
        (start,) = objects(about, stream, TREE + "view")
        self.version_of = objects(about, stream, LDES + "versionOfPath")[0]
        self.order = objects(about, stream, LDES + "sequencePath")[0]
        self.delete = objects(about, stream, LDES + "versionDeleteObject")[0]
        todo = [start]
        while todo:
            url = todo.pop(0)
            self.fetched.append(url)
            _, read = self.get(url, self.accept)
            self.apply(read, stream)
            for relation in read.quads_for_pattern(ox.NamedNode(url), ox.NamedNode(TREE + "relation"), None):
                todo += [
                    str(q.object.value) for q in read.quads_for_pattern(relation.object, _iri(TREE + "node"), None)
                ]

    def apply(self, read: ox.Store, stream: str) -> None:
        members = {member for member in objects(read, stream, TREE + "member") if member not in self.seen}
        for member in sorted(members, key=lambda member: int(objects(read, member, self.order)[0])):
            self.seen.add(member)
            (document,) = objects(read, member, self.version_of)
            self.store.remove_graph(ox.NamedNode(document))
            if self.delete in objects(read, member, RDF_TYPE):
                continue
            for quad in read.quads_for_pattern(None, None, None, ox.NamedNode(member)):
                self.store.add(ox.Quad(quad.subject, quad.predicate, quad.object, ox.NamedNode(document)))


def _iri(text: str) -> ox.NamedNode:
    return ox.NamedNode(text)


def objects(store: ox.Store, subject: str, predicate: str) -> list[str]:
    found = store.quads_for_pattern(_iri(subject), _iri(predicate), None, ox.DefaultGraph())
    return sorted(str(quad.object.value) for quad in found)  # type: ignore[union-attr]


def now(journal: Journal) -> set[ox.Quad]:
    return {
        ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri))
        for document in journal.documents_now()
        for t in document.triples
    }


Served = tuple[Server, Journal]


@pytest.mark.parametrize("accept", ["application/trig", "application/n-quads"])
def test_who_follows_from_the_start_holds_the_graph_and_goes_on_holding_it(served_journal: Served, accept: str) -> None:
    server, journal = served_journal
    follower = Follower(server, accept)
    follower.follow()
    assert len(follower.seen) == journal.last()
    assert set(follower.store) == now(journal)
    base = journal.base
    slug = "later-" + accept[-2:]
    journal.commit({base.document("actor", slug): generate.actor(slug).document(base)}, agent="ann")
    journal.commit({base.document("actor", slug): generate.actor(slug, label="Z").document(base)}, agent="ann")
    journal.commit({base.document("actor", "y"): None}, agent="ann")
    follower.follow()
    assert set(follower.store) == now(journal)
    assert len(follower.seen) == journal.last()


def test_members_say_what_they_are(served_journal: Served) -> None:
    server, journal = served_journal
    read = ox.Store()
    page = server.get("changes?page=2")
    read.bulk_extend(ox.parse(page.body, format=ox.RdfFormat.TRIG))
    x = journal.base.document("actor", "x")
    kinds = {"recorded": [], "corrected-source": []}  # type: ignore[var-annotated]
    for revision in journal.history(x):
        member = f"{x}?revision={revision.seq}"
        assert objects(read, member, DCTERMS + "isVersionOf") == [x]
        (created,) = objects(read, member, DCTERMS + "created")
        assert datetime.fromisoformat(created) == revision.time
        assert objects(read, member, SCHEMA + "position") == [str(revision.seq)]
        kinds[objects(read, member, DCTERMS + "type")[0]] += objects(read, member, RDF_TYPE)
        (made,) = objects(read, member, PREFIXES["prov"] + "wasGeneratedBy")
        assert server.get(made, {"Accept": "text/turtle"}).status == 200
    assert kinds == {"corrected-source": [AS + "Create"] + [AS + "Update"] * 4, "recorded": [AS + "Delete"]}
    # The IRI of a member leads to what it says.
    member = f"{x}?revision={journal.history(x)[0].seq}"
    thing = server.get(member, {"Accept": "application/n-triples"})
    reply = server.get(urljoin(server.url, thing.headers["Location"]))
    assert set(reply.body.splitlines()) == {
        f"{quad.triple} .".encode() for quad in read.quads_for_pattern(None, None, None, _iri(member))
    }


def test_a_full_page_never_changes_and_the_last_one_is_not_kept_long(served_journal: Served) -> None:
    server, journal = served_journal
    full, last = server.get("changes?page=1"), server.get("changes?page=2")
    assert full.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert last.headers["Cache-Control"] == "public, max-age=5"
    base = journal.base
    journal.commit({base.document("actor", "z"): generate.actor("z").document(base)}, agent="ann")
    again = server.get("changes?page=1")
    assert (again.body, again.headers["ETag"]) == (full.body, full.headers["ETag"])
    assert server.get("changes?page=1", {"If-None-Match": full.headers["ETag"]}).status == 304
    grown = server.get("changes?page=2")
    assert grown.headers["ETag"] != last.headers["ETag"]
    assert len(grown.body) > len(last.body)
    assert 'rel="next"' in full.headers["Link"]
    assert 'rel="next"' not in grown.headers["Link"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("changes?page=9", {}, 404),
        ("changes?page=0", {}, 400),
        ("changes?page=1&wait=1", {}, 400),
        ("changes?wait=soon", {}, 400),
        ("changes?after=-1", {}, 400),
        ("changes?page=1", {"Accept": "text/turtle"}, 406),
    ],
)
def test_what_cannot_be_had_is_told(served_journal: Served, path: str, headers: Mapping[str, str], status: int) -> None:
    reply = served_journal[0].get(path, headers)
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_a_number_leads_to_the_page_that_goes_on_from_it(served_journal: Served) -> None:
    server, _ = served_journal
    for after, page in ((0, 1), (PAGE - 1, 1), (PAGE, 2)):
        reply = server.get(f"changes?after={after}")
        assert (reply.status, reply.headers["Location"]) == (303, f"/changes?page={page}")


def test_waiting_ends_with_the_next_revision(served_journal: Served) -> None:
    server, journal = served_journal
    last = journal.last()
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(server.get(f"changes?wait=50&after={last}"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert replies == []
    iri = journal.base.document("actor", "waited-for")
    journal.commit({iri: generate.actor("waited-for").document(journal.base)}, agent="ann")
    for thread in threads:
        thread.join()
    for reply in replies:
        assert (reply.status, reply.headers["Content-Location"]) == (200, "/changes?page=2")
        assert reply.headers["Cache-Control"] == "no-store"
        assert f"<{iri}?revision={last + 1}>".encode() in reply.body
    assert len(replies) == 3
    at_once = server.get(f"changes?wait=50&after={last}")
    assert (at_once.status, at_once.headers["KG-Revision"]) == (200, str(last + 1))


def test_waiting_in_vain_ends_empty(served_journal: Served) -> None:
    server, journal = served_journal
    reply = server.get("changes?wait=0")
    assert (reply.status, reply.body, reply.headers["KG-Revision"]) == (204, b"", str(journal.last()))
    assert reply.headers["Cache-Control"] == "no-store"


def test_those_who_wait_are_few_and_are_let_go_when_they_hang_up(served_journal: Served) -> None:
    server, _ = served_journal
    with contextlib.ExitStack() as open_ones:
        for _ in range(WAITERS):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            one.sendall(b"GET /changes?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        refused = until(
            lambda: reply if (reply := server.get("changes?wait=0")).status == 503 else None, "all places are taken"
        )
        assert refused.headers["Retry-After"]
        assert "others wait already" in refused.json()["detail"]
        assert server.get("health").status == 200
    until(lambda: server.get("changes?wait=0").status == 204, "the places are free again")


def test_those_who_wait_do_not_hold_up_the_end(serve: Callable[[Path], Server], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    journal = Journal.create(data / "journal.sqlite", generate.BASE)
    journal.commit({generate.actor("x").iri(): generate.actor("x").document()}, agent="ann")
    journal.close()
    server = serve(data)
    replies: list[Reply] = []
    waiting = threading.Thread(target=lambda: replies.append(server.get("changes?wait=60&after=9999")))
    waiting.start()
    time.sleep(0.3)
    assert server.stop() == 0
    waiting.join()
    assert replies[0].status == 204
