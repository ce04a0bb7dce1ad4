"""The pages about the past: changes in sentences, histories, differences in words, revisions, and pages of errors."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import pytest
from flask.testing import FlaskClient

from kg import config as settings
from kg import documents, errors
from kg.documents import Document
from kg.library import Library, open_library
from kg.terms import Base
from kg.web import create_app, status_of

BASE = Base("https://kg.example/")
ADMISSION = "article/russia-admits-north-korean-soldiers"
NASTY = "<b>Ann</b> & \u202eco"


def changed(document: Document, *pairs: tuple[str, str]) -> Document:
    text = documents.serialize(document, documents.TURTLE, BASE).decode()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    (found,) = documents.parse(text.encode(), documents.TURTLE, BASE, limit=2**22)
    return found


def actor(label: str) -> Document:
    return generate.actor("daily", label=label).document(BASE)


@pytest.fixture(scope="module")
def library(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The seeds, and after them: a correction, a retraction, an actor who comes, goes, and comes again beside a place."""
    data = tmp_path_factory.mktemp("chronicle") / "data"
    shutil.copytree(seeded_directory, data)
    config = settings.read({}, data=data, base=BASE.iri, query_processes=1)
    with open_library(config, create=False, owner=True) as opened:
        opened.settle()
        found = opened.read(BASE.iri + ADMISSION)
        assert found is not None
        corrected = changed(
            found[0], ("engaged in combat alongside", "taking part in combat beside"), ("ekg:Certain", "ekg:Probable")
        )
        opened.accept([corrected], agent="ann", change="corrected-source", note="The outlet changed its words.")
        opened.accept([corrected], agent="ben", change="retracted", note="The outlet took it back.")
        opened.accept([actor("Daily")], agent=NASTY, note="<script>alert(1)</script>")
        opened.change(lambda: {BASE.document("actor", "daily"): None}, agent="root", note="entered by mistake")
        place = generate.place("somewhere", 36.2, label="Somewhere").document(BASE)
        opened.accept([actor("The Daily"), place], agent="ann")
        opened.accept([generate.place("somewhere", 36.9, label="Somewhere").document(BASE)], agent="ann")
        yield opened


@pytest.fixture(scope="module")
def client(library: Library) -> FlaskClient:
    return create_app(library).test_client()


@pytest.fixture(scope="module")
def last(library: Library) -> int:
    return library.journal.last()


def page(client: FlaskClient, path: str, status: int = 200, **headers: str) -> str:
    sent = {
        "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        **{n.replace("_", "-"): v for n, v in headers.items()},
    }
    reply = client.get(path, headers=sent)
    assert (reply.status_code, reply.content_type) == (status, "text/html; charset=utf-8"), reply.text[:500]
    assert "<script>alert" not in reply.text
    assert " style=" not in reply.text
    ids = re.findall(r'\bid="([^"]*)"', reply.text)
    assert len(ids) == len(set(ids))
    for block in re.findall(r'<script type="application/ld\+json">(.*?)</script>', reply.text):
        assert json.loads(block)["@context"] == "https://schema.org"
    return reply.text


def words(text: str) -> str:
    """What is read on a page, in one line."""
    main = text[text.index("<main") : text.index("</main>")]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", main)).replace(" ,", ",").split())


def deeds(text: str) -> list[str]:
    return [words(f"<main>{item}</main>") for item in re.findall(r'<li class="deed".*?</div></li>', text, re.DOTALL)]


# Changes


def test_changes_are_sentences_with_the_newest_first(client: FlaskClient, last: int) -> None:
    text = page(client, "/changes")
    told = [re.sub(r"^\d\d:\d\d ", "", deed) for deed in deeds(text)]
    admission = "Russia admits that North Korean soldiers take part in its war (article of unknown origin) (article)"
    assert told[0] == f"ann updated Somewhere (place) 1 statement added, 1 taken away · revision {last}"
    assert told[1] == (
        "ann changed 2 documents at once recorded Somewhere (place) 3 statements added · revision "
        f"{last - 1} recorded The Daily (actor), which had been withdrawn 3 statements added · revision {last - 2}"
    )
    assert (
        told[2] == f"root withdrew The Daily (actor) entered by mistake 3 statements taken away · revision {last - 3}"
    )
    assert told[3].startswith(f"{NASTY} recorded The Daily (actor) <script>alert(1)</script> 3 statements added")
    assert told[4] == f"ben retracted {admission} The outlet took it back. 2 statements added · revision {last - 5}"
    assert told[5] == (
        f"ann corrected {admission}, as its source did The outlet changed its words. 2 statements added, 2 taken away · "
        f"revision {last - 6}"
    )
    assert re.match(r"seeds recorded \d+ documents at once ", told[6])
    assert f'href="/{ADMISSION}.html?revision={last - 6}"' in text
    assert f'href="/{ADMISSION}.diff?from={last - 7}&amp;to={last - 6}"' in text
    assert "daily.html?revision=" + str(last - 3) not in text, "what is gone has no page"


def test_changes_go_on_page_by_page_to_the_first(client: FlaskClient, last: int) -> None:
    seen: list[int] = []
    path: str | None = "/changes"
    while path:
        text = page(client, path)
        seen += [int(n) for n in re.findall(r"/revision/(\d+)\.html", text)]
        further = re.search(r'<a href="([^"]*)" rel="next"', text)
        path = further and html.unescape(further[1])
    assert seen == list(range(last, 0, -1))
    assert 'href="/changes" rel="prev"' in page(client, f"/changes?before={last - 50}")
    assert words(page(client, "/changes?page=1")).count("· revision 1 ") == 1


def test_the_stream_of_changes_is_data_for_who_asks_for_data(client: FlaskClient) -> None:
    for path, accept, got in (
        ("/changes", "text/turtle", "text/turtle"),
        ("/changes", "*/*", "text/turtle"),
        ("/changes?page=1", "*/*", "application/trig"),
        ("/changes?page=1", "application/n-quads, text/html;q=0.5", "application/n-quads"),
    ):
        assert client.get(path, headers={"Accept": accept}).mimetype == got
    text = page(client, "/changes")
    assert '<link rel="alternate" type="application/trig" href="/changes?page=1"' in text
    assert f"{BASE}changes?after=" in text
    assert client.get("/changes?before=3", headers={"Accept": "text/turtle"}).status_code == 406
    page(client, "/changes?before=3&page=1", 400)
    page(client, "/changes?before=x", 400)
    page(client, "/changes?page=9", 404)


def test_a_page_is_kept_until_something_changes(client: FlaskClient) -> None:
    for path in ("/changes", f"/timemap/{ADMISSION}", f"/{ADMISSION}.diff", "/revision/1"):
        first = client.get(path, headers={"Accept": "text/html"})
        assert {"Accept", "Accept-Language"} <= set(first.vary)
        again = client.get(path, headers={"Accept": "text/html", "If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304


def test_names_are_in_the_language_of_the_reader(client: FlaskClient) -> None:
    russia = "/timemap/actor/russia"
    assert "History of “ Russia ”" in words(page(client, russia))
    text = page(client, russia, Accept_Language="ru, en;q=0.5")
    assert '<span dir="auto" lang="ru">Россия</span>' in text


# History and revisions


def test_a_history_tells_each_state_and_compares_any_two(client: FlaskClient, last: int) -> None:
    text = page(client, f"/timemap/{ADMISSION}")
    told = [re.sub(r"^\d\d:\d\d ", "", deed) for deed in deeds(text)]
    assert [deed.partition(" As it")[0] for deed in told] == [
        "ben retracted it The outlet took it back.",
        "ann corrected it, as its source did The outlet changed its words.",
        "seeds recorded it",
    ]
    assert "It has had 3 states." in words(text)
    assert f'href="/{ADMISSION}.html?revision={last - 6}"' in text
    first = client.get(f"/timemap/{ADMISSION}", headers={"Accept": "application/json"}).json["mementos"]["list"][0]  # type: ignore[index]
    chosen = re.findall(r'<option value="(\d+)" selected>', text)
    assert chosen == [str(first["revision"]), str(last - 5)]


def test_the_history_of_what_is_gone_and_came_again(client: FlaskClient, last: int) -> None:
    told = [re.sub(r"^\d\d:\d\d ", "", deed) for deed in deeds(page(client, "/timemap/actor/daily"))]
    assert [deed.partition("statement")[0] for deed in told] == [
        "ann recorded it, which had been withdrawn As it was then · 3 ",
        "root withdrew it entered by mistake 3 ",
        f"{NASTY} recorded it <script>alert(1)</script> As it was then · 3 ",
    ]
    earlier = page(client, f"/timemap/actor/daily?before={last - 3}")
    assert len(deeds(earlier)) == 1
    assert "The newest states" in words(earlier)


def test_a_revision_leads_to_what_was_before_and_after(client: FlaskClient, last: int) -> None:
    read = words(page(client, f"/revision/{last - 6}"))
    assert "ann corrected Russia admits" in read
    assert "corrected-source" in read
    assert f"The state that it made, until revision {last - 5}" in read
    newest = words(page(client, f"/revision/{last}.html"))
    assert "which is how it is now" in newest
    gone = page(client, f"/revision/{last - 3}.html")
    assert f"Withdrawn until revision {last - 2}" in words(gone)
    assert f'rel="prev" href="/revision/{last - 4}.html"' in gone


# Differences


def rows(text: str) -> list[tuple[str, ...]]:
    """Part, property, what was taken away, what was added; of a part that is all new or all gone, one side only."""
    found = []
    for section in re.findall(r'<section class="differs">(.*?)</section>', text, re.DOTALL):
        title = words(f"<main>{section[: section.index('</h2>')]}</main>")
        for row in re.findall(r"<tr>(<th scope=\"row\".*?)</tr>", section, re.DOTALL):
            cells = [words(f"<main>{cell}</main>") for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
            found.append((title, *cells))
    return found


def test_a_difference_is_told_part_by_part_in_words(client: FlaskClient, last: int) -> None:
    text = page(client, f"/{ADMISSION}.diff?from={last - 7}&to={last - 6}")
    quotation, certainty = rows(text)
    assert quotation == (
        "Quotation of the admission by Valery Gerasimov e2",
        "words",
        "fighters from North Korea are engaged in combat alongside Russian forces",
        "fighters from North Korea are taking part in combat beside Russian forces",
    )
    assert certainty[1:] == ("certainty", "certain", "probable")
    assert certainty[0].startswith("Assessment by Analysts")
    assert (
        '<del class="taken"><q dir="auto">fighters from North Korea are <mark>engaged</mark> in combat <mark>alongside</mark>'
        in text
    )
    assert '<ins class="put"><q dir="auto">fighters from North Korea are <mark>taking part</mark>' in text
    assert f'href="/{ADMISSION}.diff.txt?from={last - 7}&amp;to={last - 6}"' in text


def test_a_part_without_a_name_is_told_down_to_what_differs(client: FlaskClient) -> None:
    assert rows(page(client, "/place/somewhere.diff")) == [
        ("The place itself", "coordinates", "POINT(36.2 51.7)", "POINT(36.9 51.7)")
    ]


def test_what_is_new_or_gone_is_told_whole(client: FlaskClient, last: int) -> None:
    came = rows(page(client, f"/actor/daily.diff?from=0&to={last - 4}"))
    assert came == [
        ("The actor itself added", "kind", "Actor Organization"),
        ("The actor itself added", "name", "Daily en"),
    ]
    gone = page(client, f"/actor/daily.diff?from={last - 4}&to={last - 3}")
    assert rows(gone)[0] == ("The actor itself taken away", "kind", "Actor Organization")
    assert "when it was withdrawn" in words(gone)
    assert "Nothing: it says the same in both." in words(page(client, "/actor/russia.diff?from=1&to=1"))


def test_people_may_choose_the_states_in_any_order(client: FlaskClient, last: int) -> None:
    forth = page(client, f"/{ADMISSION}.diff?from={last - 7}&to={last - 6}")
    assert rows(page(client, f"/{ADMISSION}.diff?from={last - 6}&to={last - 7}")) == rows(forth)
    assert client.get(f"/{ADMISSION}.diff?from={last - 6}&to={last - 7}").status_code == 400


@pytest.mark.parametrize(
    ("suffix", "got"),
    [("txt", "text/plain"), ("trig", "application/trig"), ("nq", "application/n-quads"), ("html", "text/html")],
)
def test_a_difference_has_its_forms_by_suffix(client: FlaskClient, suffix: str, got: str) -> None:
    reply = client.get(f"/{ADMISSION}.diff.{suffix}?from=1")
    assert (reply.status_code, reply.mimetype) == (200, got)
    if suffix == "txt":
        assert reply.data == client.get(f"/{ADMISSION}.diff?from=1").data
    assert client.get(f"/{ADMISSION}.diff.pdf").status_code == 404


# Errors


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/actor/nobody", 404, ["There is no document", "Search by a name"]),
        ("/revision/1.pdf", 404, ["there are .ttl"]),
        ("/changes?page=0", 400, ["Page is a whole number from 1", "change what the message names"]),
        ("/actor/daily.html?revision={gone}", 410, ["was withdrawn in revision", "this was the last one"]),
        ("/sparql?query=SELECT%20*%20%7B%20SERVICE%20%3Chttp://x.example/%3E%20%7B%7D%20%7D", 403, ["reach out"]),
    ],
)
def test_a_page_of_an_error_says_what_to_do(
    client: FlaskClient, last: int, path: str, status: int, said: list[str]
) -> None:
    read = words(page(client, path.format(gone=last - 3), status))
    for part in said:
        assert part in read


def test_what_was_withdrawn_leads_to_its_last_state(client: FlaskClient, last: int) -> None:
    text = page(client, f"/actor/daily.html?revision={last - 3}", 410)
    assert f'href="/actor/daily.html?revision={last - 4}"' in text
    assert client.get(f"/actor/daily.html?revision={last - 4}").status_code == 200
    assert 'href="/timemap/actor/daily"' in text


@pytest.fixture(scope="module")
def failing(library: Library) -> FlaskClient:
    """The application with an address for each kind of error, raised with all the facts that there may be."""
    facts: dict[str, Any] = {
        "limit": 30, "retry_after": 7, "available": ["text/turtle"], "supported": ["text/turtle"], "revision": 3, "allow": "GET",
        "referrers": [{"document": BASE.document("article", "x"), "node": BASE.document("actor", "y") + "#z"}], "total": 1,
    }  # fmt: skip
    app = create_app(library)

    def fail(name: str) -> str:
        raise getattr(errors, name)("it cannot be", **facts)

    app.add_url_rule("/fail/<name>", view_func=fail)
    return app.test_client()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("QueryTimeout", ["OPTIONAL", "LIMIT", "question of the catalogue", "stopped after 30 seconds", "timeout="]),
        ("Overloaded", ["Come back in 7 seconds"]),
        ("NotAcceptable", ["text/turtle"]),
        ("UnsupportedMediaType", ["text/turtle"]),
        ("PreconditionFailed", ["revision 3", "send it again"]),
        ("DocumentTooLarge", ["at most 30 bytes"]),
        ("StillReferredTo", ["article/x refers to actor/y#z", "retracted"]),
        ("Unauthorized", ["token"]),
        ("MethodNotAllowed", ["takes GET"]),
        ("JudgeDied", ["Try again once"]),
    ],
)
def test_each_kind_of_error_has_its_advice(failing: FlaskClient, error: str, said: list[str]) -> None:
    kind = getattr(errors, error)
    read = words(page(failing, f"/fail/{error}", status_of(kind)))
    for part in said:
        assert part in read
    assert kind.explanation().replace("`", "").replace(" ", "") in read.replace(" ", "")


def test_a_query_that_failed_is_there_to_be_mended(client: FlaskClient) -> None:
    text = page(client, "/sparql?query=SELECT%20*%20%7B%20SERVICE%20%3Chttp://x.example/%3E%20%7B%7D%20%7D", 403)
    assert "\nSELECT * { SERVICE &lt;http://x.example/&gt; {} }</textarea>" in text
    assert "All questions can be searched" in words(page(client, "/questions/reversal", 404))
    assert 'href="/questions/reversals"' in page(client, "/questions/reversal", 404)


def test_the_page_of_errors_has_each_with_its_status(client: FlaskClient) -> None:
    read = words(page(client, "/errors"))
    assert "The query took longer than it may 504 · query-timeout" in read
