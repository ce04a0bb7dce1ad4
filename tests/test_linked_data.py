"""Documents, their former states, lists and dumps as a linked-data client meets them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kg import config as settings
from kg import documents
from kg.dumps import Dumps
from kg.journal import Journal
from kg.library import Library, open_library
from kg.terms import PREFIXES, Base
from kg.web import create_app

BASE = Base("https://kg.example/data/")
HYDRA, TREE = "http://www.w3.org/ns/hydra/core#", "https://w3id.org/tree#"
RUSSIA = BASE.document("actor", "russia")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A graph under a base with a path. Revisions: 1 an actor, 2 corrected, 3 to 132 others, 133 one of them withdrawn, 134 an article."""
    directory = tmp_path_factory.mktemp("linked") / "data"
    with open_library(settings.read({}, data=directory, base=BASE.iri), create=True, owner=True) as opened:
        journal = opened.journal

        def write(*texts: generate.Text, **why: str) -> None:
            assert journal.commit({text.iri(BASE): text.document(BASE) for text in texts}, agent="ann", **why)

        write(generate.actor("russia", "State", "Rusia"))
        russian = '<actor/russia> a ekg:State, ekg:Actor ; rdfs:label "Russia"@en, "Россия"@ru, "Росія"@uk .\n'
        write(generate.Text("actor", "russia", generate._PREFIXES + russian), change="corrected-encoding")
        write(
            *(generate.actor(f"a{number}", label=f"Actor {number:03}") for number in range(129)),
            generate.place("kursk"),
        )
        journal.commit({BASE.document("actor", "a0"): None}, agent="ben", note="twice here")
        write(generate.article("news", [generate.Act("russia", kind="Praise")]))
        yield opened


@pytest.fixture(scope="module")
def client(library: Library) -> FlaskClient:
    return create_app(library).test_client()


def get(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    """Ask as the proxy does that stands before a base with a path, and takes it away."""
    return client.get(
        path.removeprefix("/data"), headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def links(response: TestResponse) -> dict[str, str]:
    """Target by relation; a relation that stands beside others counts alone too."""
    found = re.findall(r'<([^>]*)>; rel="([^"]*)"', response.headers["Link"])
    return {one: target for target, rel in found for one in (rel, *rel.split())}


def at(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def quads(response: TestResponse, form: ox.RdfFormat) -> list[ox.Quad]:
    return list(ox.parse(response.get_data(), format=form))


def statements(response: TestResponse) -> set[tuple[str, str, str]]:
    found = quads(response, ox.RdfFormat.TURTLE)
    return {(str(q.subject).strip("<>"), q.predicate.value, str(q.object).strip("<>")) for q in found}


# Documents


def test_addresses_in_headers_are_right_under_a_base_with_a_path(client: FlaskClient) -> None:
    thing = get(client, "/actor/russia")
    assert (thing.status_code, thing.headers["Location"]) == (303, "/data/actor/russia.ttl")
    assert {"accept", "accept-datetime"} <= {name.lower() for name in thing.vary}
    reply = get(client, thing.headers["Location"])
    assert reply.headers["Content-Location"] == "/data/actor/russia.ttl"
    of = links(reply)
    assert (of["original"], of["about"]) == (RUSSIA, RUSSIA)
    assert (of["timegate"], of["timemap"]) == ("/data/actor/russia", "/data/timemap/actor/russia")
    for rel in ("timegate", "timemap", "related", "describedby", "http://www.w3.org/ns/prov#has_provenance"):
        assert get(client, of[rel]).status_code in (200, 303), rel


def test_a_date_tells_a_document_from_the_one_before_or_is_left_out(client: FlaskClient, library: Library) -> None:
    """Both states may be of one second, and then a date in seconds is the same for both."""
    first, second = library.journal.history(RUSSIA)
    reply = get(client, "/actor/russia.ttl")
    same = first.time.replace(microsecond=0) == second.time.replace(microsecond=0)
    assert ("Last-Modified" in reply.headers) is not same
    place = get(client, "/place/kursk.ttl")
    assert get(client, "/place/kursk.ttl", If_Modified_Since=place.headers["Last-Modified"]).status_code == 304
    long_ago = at(datetime(2001, 1, 1, tzinfo=UTC))
    assert get(client, "/place/kursk.ttl", If_Modified_Since=long_ago).status_code == 200
    # A tag that does not fit outweighs a date that does.
    both = get(client, "/place/kursk.ttl", If_None_Match='"x"', If_Modified_Since=place.headers["Last-Modified"])
    assert both.status_code == 200


@pytest.mark.parametrize(
    ("accept_language", "title", "content_language"),
    [
        ("uk, en;q=0.5", "Росія", "uk, en"),
        ("ru-RU", "Россия", "ru, en"),
        ("de, *;q=0.1", "Russia", "en"),
        ("uk;q=0, ru;q=0.2", "Россия", "ru, en"),
        ("", "Russia", "en"),
    ],
)
def test_a_page_calls_things_as_the_reader_does(
    client: FlaskClient, accept_language: str, title: str, content_language: str
) -> None:
    reply = get(client, "/actor/russia.html", Accept_Language=accept_language)
    assert f">{title}</h1>" in reply.text
    assert reply.headers["Content-Language"] == content_language
    assert "accept-language" in {name.lower() for name in reply.vary}
    assert title in get(client, "/article/news.html", Accept_Language=accept_language).text


def test_what_others_say_stands_apart_from_what_a_document_says(client: FlaskClient, library: Library) -> None:
    reply = get(client, links(get(client, "/actor/russia.ttl"))["related"])
    found = quads(reply, ox.RdfFormat.TRIG)
    named = {str(quad.graph_name).strip("<>") for quad in found}
    assert named == {RUSSIA, BASE.document("article", "news")}
    own = {quad.triple for quad in found if str(quad.graph_name) == f"<{RUSSIA}>"}
    others = {quad.triple for quad in found} - own
    document = library.read(RUSSIA)
    assert document is not None
    assert own == set(document[0].triples)
    assert {str(triple.object) for triple in others} == {f"<{RUSSIA}>"}
    assert {triple.predicate.value for triple in others} == {PREFIXES["ekg"] + "speaker"}
    assert get(client, "/actor/russia.ttl?with=references").status_code == 400


# Memento (RFC 7089)


@pytest.mark.parametrize(("path", "form"), [("/actor/russia", "ttl"), ("/actor/russia.nt", "nt")])
def test_a_moment_leads_to_the_state_that_was_in_force(
    client: FlaskClient, library: Library, path: str, form: str
) -> None:
    first, second = library.journal.history(RUSSIA)
    cases = {first.time - timedelta(days=9): first, second.time: second, second.time + timedelta(days=9): second}
    for moment, revision in cases.items():
        gate = get(client, path, Accept_Datetime=at(moment))
        assert (gate.status_code, gate.headers["Location"]) == (
            302,
            f"/data/actor/russia.{form}?revision={revision.seq}",
        )
        assert "accept-datetime" in {name.lower() for name in gate.vary}
        assert links(gate)["original"] == RUSSIA
        state = get(client, gate.headers["Location"])
        assert parsedate_to_datetime(state.headers["Memento-Datetime"]) == revision.time.replace(microsecond=0)
        content = library.journal.content(revision.seq)
        assert content is not None
        syntax = documents.syntax_of_suffix(form)
        assert documents.parse(state.get_data(), syntax, BASE, limit=2**20) == [content]


def test_a_state_is_immutable_and_names_the_first_and_the_last(client: FlaskClient) -> None:
    state = get(client, "/actor/russia.ttl?revision=1")
    assert state.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert state.headers["KG-Revision"] == "1"
    of = links(state)
    assert of["first"] == "/data/actor/russia.ttl?revision=1"
    assert of["last"] == "/data/actor/russia.ttl?revision=2"
    assert of["alternate"].endswith("?revision=1")
    assert "Memento-Datetime" not in get(client, "/actor/russia.ttl").headers


def test_a_number_of_another_document_is_the_state_of_the_graph_then(client: FlaskClient) -> None:
    state = get(client, "/actor/russia.ttl?revision=100")
    assert (state.headers["KG-Revision"], state.headers["Content-Location"]) == (
        "2",
        "/data/actor/russia.ttl?revision=2",
    )
    assert state.get_data() == get(client, "/actor/russia.ttl?revision=2").get_data()
    thing = get(client, "/actor/russia?revision=1", Accept="application/n-triples")
    assert (thing.status_code, thing.headers["Location"]) == (303, "/data/actor/russia.nt?revision=1")


def test_the_page_of_a_state_says_that_it_is_one(client: FlaskClient) -> None:
    page = get(client, "/actor/russia.html?revision=1")
    assert "This is how it stood at revision 1" in page.text
    assert ">Rusia</h1>" in page.text
    assert "What refers to it" not in page.text


@pytest.mark.parametrize(
    ("path", "headers", "status", "detail"),
    [
        ("/actor/a0", {}, 410, f"{BASE}actor/a0 was withdrawn in revision 133"),
        ("/actor/a0.ttl", {}, 410, f"{BASE}actor/a0 was withdrawn in revision 133"),
        ("/actor/a0.ttl?revision=134", {}, 410, "withdrawn in revision 133 and was not there at revision 134"),
        ("/actor/a0.ttl", {"Accept-Datetime": "Sun, 22 Nov 2099 18:00:00 GMT"}, 410, "withdrawn in revision 133"),
        ("/actor/a1.ttl?revision=1", {}, 404, "first recorded in revision 4"),
        ("/actor/russia.ttl?revision=999", {}, 404, "no revision 999 yet; the newest is 134"),
        ("/actor/russia.ttl?revision=one", {}, 400, "revision is the number of a revision"),
        ("/actor/russia", {"Accept-Datetime": "yesterday"}, 400, "Accept-Datetime is a date such as"),
        ("/actor/nobody", {"Accept-Datetime": "Sun, 22 Nov 2026 18:00:00 GMT"}, 404, "there is no document"),
        ("/timemap/actor/nobody", {}, 404, "there never was"),
    ],
)
def test_what_is_not_to_be_had_is_told_with_its_reason(
    client: FlaskClient, path: str, headers: dict[str, str], status: int, detail: str
) -> None:
    reply = client.get(path, headers=headers)
    assert reply.status_code == status, reply.text
    assert detail in (reply.json or {})["detail"]
    if status == 410:
        assert get(client, links(reply)["timemap"]).status_code == 200


def test_what_was_withdrawn_can_be_read_as_it_was(client: FlaskClient) -> None:
    assert get(client, "/actor/a0.ttl?revision=132").status_code == 200
    of = links(get(client, "/actor/a0.ttl?revision=132"))
    assert of["last"] == "/data/actor/a0.ttl?revision=3"


def test_a_time_map_lists_every_state_once_in_link_format_and_json(client: FlaskClient, library: Library) -> None:
    text = get(client, "/timemap/actor/russia")
    assert text.mimetype == "application/link-format"
    of = re.findall(r'<([^>]*)>; rel="([^"]*)"(?:; datetime="([^"]*)")?', text.text)
    states = [(target, rel, moment) for target, rel, moment in of if "memento" in rel]
    first, second = library.journal.history(RUSSIA)
    assert states == [
        (f"{RUSSIA}.ttl?revision=1", "first memento", at(first.time)),
        (f"{RUSSIA}.ttl?revision=2", "last memento", at(second.time)),
    ]
    assert (RUSSIA, "original timegate", "") in of
    found = json.loads(get(client, "/timemap/actor/russia", Accept="application/json").text)
    assert [state["uri"] for state in found["mementos"]["list"]] == [target for target, _, _ in states]
    assert found["mementos"]["list"][1]["change"] == "corrected-encoding"
    withdrawn = get(client, "/timemap/actor/a0")
    assert withdrawn.text.count("memento") == 1
    page = get(client, "/timemap/actor/a0", Accept="text/html").text
    assert "withdrawn" in page
    assert "twice here" in page


# Differences and provenance


def test_what_changed_is_told_as_text_and_as_two_graphs(client: FlaskClient) -> None:
    text = get(client, "/actor/russia.diff?from=1&to=2")
    assert text.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert text.text.splitlines()[2:] == [
        '- <actor/russia> rdfs:label "Rusia"@en .',
        '+ <actor/russia> rdfs:label "Russia"@en .',
        '+ <actor/russia> rdfs:label "Россия"@ru .',
        '+ <actor/russia> rdfs:label "Росія"@uk .',
    ]
    found = quads(get(client, "/actor/russia.diff?from=1&to=2", Accept="application/n-quads"), ox.RdfFormat.N_QUADS)
    sides = [str(quad.graph_name).rpartition("#")[2] for quad in found]
    assert sorted(sides) == ["added>"] * 3 + ["removed>"]
    newest = get(client, "/actor/russia.diff")
    assert newest.text == text.text
    assert newest.headers["Cache-Control"] == "no-cache"


def test_what_changed_in_the_whole_graph_is_told_document_by_document(client: FlaskClient) -> None:
    text = get(client, "/diff?from=132&to=134").text
    heads = [line for line in text.splitlines() if line.startswith("+++")]
    assert len(heads) == 2
    assert heads[0].startswith("+++ actor/a0, revision 133,")
    assert heads[1].startswith("+++ article/news, revision 134,")
    assert get(client, "/diff").status_code == 400
    assert get(client, "/diff?from=3&to=2").status_code == 400
    assert get(client, "/diff?from=3&to=200").status_code == 404


def test_a_revision_has_its_provenance_in_every_form(client: FlaskClient) -> None:
    expected = None
    for suffix, form in (("ttl", ox.RdfFormat.TURTLE), ("nt", ox.RdfFormat.N_TRIPLES), ("rdf", ox.RdfFormat.RDF_XML)):
        reply = get(client, f"/revision/2.{suffix}")
        assert reply.headers["Cache-Control"].endswith("immutable")
        triples = {quad.triple for quad in quads(reply, form)}
        assert expected in (None, triples)
        expected = triples
    assert get(client, "/revision/2.jsonld").json is not None
    assert "corrected-encoding" in get(client, "/revision/2", Accept="text/html").text
    assert get(client, "/revision/999").status_code == 404
    assert get(client, "/revision/2.pdf").status_code == 404


# Lists


def test_lists_are_read_page_by_page_to_the_end(client: FlaskClient) -> None:
    path, members = "/data/actor/", []
    while path:
        reply = get(client, path, Accept="text/turtle")
        assert reply.status_code == 200
        found = statements(reply)
        members += sorted(o for s, p, o in found if p == TREE + "member")
        assert (BASE.iri + "actor/", HYDRA + "totalItems", '"129"^^<http://www.w3.org/2001/XMLSchema#integer') in found
        after = {o for s, p, o in found if p == HYDRA + "next"}
        assert after == {o for s, p, o in found if p == TREE + "node"}
        path = after.pop().removeprefix("https://kg.example") if after else ""
    assert len(members) == len(set(members)) == 129
    assert BASE.document("actor", "a0") not in members


def test_lists_are_sorted_by_name_or_the_newest_first(client: FlaskClient) -> None:
    def shown(path: str) -> list[str]:
        return re.findall(r'href="/data/actor/([^"/]+)\.html" ', get(client, path).text)

    by_name = shown("/actor/") + shown("/actor/?page=2")
    assert by_name == [f"a{number}" for number in range(1, 129)] + ["russia"]
    newest = shown("/actor?order=newest")
    assert newest == [f"a{number}" for number in range(128, 28, -1)]
    assert 'rel="next"' in get(client, "/actor/").text
    assert 'rel="next"' not in get(client, "/actor/?page=2").text


@pytest.mark.parametrize(
    ("query", "status"), [("?page=3", 404), ("?page=0", 400), ("?page=x", 400), ("?order=age", 400)]
)
def test_a_page_that_is_not_there_is_told(client: FlaskClient, query: str, status: int) -> None:
    assert get(client, f"/actor/{query}").status_code == status
    assert get(client, "/agreement/").status_code == 200


# Dumps


@pytest.mark.parametrize(("form", "syntax"), [("nq", ox.RdfFormat.N_QUADS), ("trig", ox.RdfFormat.TRIG)])
def test_a_dump_is_the_graph(client: FlaskClient, library: Library, form: str, syntax: ox.RdfFormat) -> None:
    reply = get(client, f"/dump.{form}.gz")
    assert (reply.status_code, reply.mimetype) == (200, "application/gzip")
    assert reply.headers["KG-Revision"] == "134"
    found = set(ox.parse(gzip.decompress(reply.get_data()), format=syntax))
    expected = {
        ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(iri))
        for iri, document in library.journal.current()
        if document is not None
        for t in document.triples
    }
    assert found == expected


def test_a_dump_comes_in_parts_that_fit_together(client: FlaskClient) -> None:
    whole = get(client, "/dump.nq.gz")
    body, tag = whole.get_data(), whole.headers["ETag"]
    assert tag.startswith('"134-')
    parts = [get(client, "/dump.nq.gz", Range=f"bytes={start}-{start + 999}", If_Range=tag) for start in (0, 1000)]
    assert [part.status_code for part in parts] == [206, 206]
    assert b"".join(part.get_data() for part in parts) == body[:2000]
    assert parts[1].headers["Content-Range"] == f"bytes 1000-1999/{len(body)}"
    other = get(client, "/dump.nq.gz", Range="bytes=0-9", If_Range='"another"')
    assert (other.status_code, other.get_data()) == (200, body)
    beyond = get(client, "/dump.nq.gz", Range=f"bytes={len(body)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(body)}")
    assert get(client, "/dump.nq.gz", If_None_Match=tag).status_code == 304


def test_void_points_to_the_dumps(client: FlaskClient) -> None:
    found = statements(get(client, "/.well-known/void", Accept="text/turtle"))
    dumps = {o for _, p, o in found if p == "http://rdfs.org/ns/void#dataDump"}
    assert dumps == {f"{BASE}dump.nq.gz", f"{BASE}dump.trig.gz"}
    assert all(get(client, "/" + dump.removeprefix(BASE.iri)).status_code == 200 for dump in dumps)


def test_a_dump_is_made_once_for_many_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal.sqlite", BASE)
    journal.commit({t.iri(BASE): t.document(BASE) for t in generate.texts(40)}, agent="ann")
    left = tmp_path / "dumps" / "nq-1-1.part"
    left.parent.mkdir()
    left.write_bytes(b"half of one")
    dumps = Dumps(journal, tmp_path / "dumps")
    assert not left.exists()
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(dumps.get("nq", 20).path)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = set(found)
    assert len(found) == 6
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    made = path.stat().st_mtime_ns
    assert dumps.get("nq").path.stat().st_mtime_ns == made
    path.unlink()
    assert hashlib.sha256(dumps.get("nq", 20).path.read_bytes()).hexdigest() == digest
    journal.commit({RUSSIA: generate.actor("russia").document(BASE)}, agent="ann")
    newer = dumps.get("nq", 20)
    assert newer.revision == 41
    assert [p.name for p in (tmp_path / "dumps").iterdir()] == [newer.path.name]
    journal.close()
