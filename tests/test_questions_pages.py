"""The catalogue over HTTP: a page with a form and its answer for each question, and every format by suffix and by `Accept`."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from serving import Server

from kg import questions
from kg.questions import catalogue
from kg.tables import FORMATS
from kg.terms import KINDS
from kg.web import libraries

BASE = "https://kg.example/"
NAMED = questions.find("positions")


class Page(HTMLParser):
    """What a page holds: elements with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(client: FlaskClient, path: str, status: int = 200) -> Page:
    response = client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.status_code, response.mimetype) == (status, "text/html"), response.text[:500]
    return Page(response.text)


def test_catalogue_lists_every_question_and_its_tags(client: FlaskClient) -> None:
    found = page(client, "/questions")
    links = {attributes.get("href") for attributes in found.all("a")}
    for question in catalogue().values():
        assert f"/questions/{question.id}" in links
        assert question.summary in found.text
        assert {f"/questions?tag={tag}" for tag in question.tags} <= links


def test_catalogue_is_searched_by_words_and_by_tag(client: FlaskClient) -> None:
    found = page(client, "/questions?q=admitted+combat").all("a")
    listed = [a["href"] for a in found if re.fullmatch(r"/questions/[a-z-]+", a.get("href") or "")]
    assert listed[0] == "/questions/who-admitted-combat"
    assert len(listed) < len(catalogue())
    assert "No question has all of “quetzal”" in page(client, "/questions?q=quetzal").text
    tagged: list[dict[str, Any]] = client.get("/questions.json?tag=contested").json  # type: ignore[assignment]
    assert tagged
    assert all("contested" in question["tags"] for question in tagged)


def test_catalogue_for_programs_says_all_there_is_to_know(client: FlaskClient) -> None:
    response = client.get("/questions", headers={"Accept": "application/json"})
    assert response.mimetype == "application/json"
    listed = {question["id"]: question for question in response.json}  # type: ignore[union-attr]
    assert set(listed) == set(catalogue())
    actor = next(p for p in listed["positions"]["parameters"] if p["name"] == "proposition")
    assert (actor["type"], actor["kinds"], actor["required"]) == ("iri", ["proposition"], True)
    assert listed["positions"]["address"] == BASE + "questions/positions"


def test_form_has_a_labelled_field_for_each_parameter(client: FlaskClient) -> None:
    for question in catalogue().values():
        found = page(client, f"/questions/{question.id}")
        fields = {attributes["name"]: attributes for attributes in found.all("input") + found.all("select")}
        labelled = {attributes.get("for") for attributes in found.all("label")}
        for name in (*question.parameters, "limit"):
            assert fields[name]["id"] in labelled
        assert all(form["method"] == "get" for form in found.all("form"))
        assert all(script.get("src") or script.get("type") == "application/ld+json" for script in found.all("script"))
        for name, parameter in question.parameters.items():
            picks = [kind for kind in parameter.kinds if kind in KINDS]
            assert fields[name].get("data-picker") == (" ".join(picks) or None)


def test_form_alone_where_nothing_has_been_asked(client: FlaskClient) -> None:
    found = page(client, "/questions/positions")
    assert "rows" in found.text
    assert not found.all("table")
    assert {"placeholder": "north-korean-troops-on-russian-territory"}.items() <= next(
        field for field in found.all("input") if field["name"] == "proposition"
    ).items()


def test_answer_stands_below_the_form(client: FlaskClient) -> None:
    path = "/questions/contested?on=2025-01-01&limit=2"
    found = page(client, path)
    meanings = questions.find("contested").columns
    told = ["proposition", "stance", "actor", "day", "act", "article", "outlet", "published"]
    assert {attributes["title"] for attributes in found.all("th")} <= {meanings[name] for name in told}
    assert "The first 2 rows" in found.text
    assert {"name": "on", "value": "2025-01-01"}.items() <= next(
        field for field in found.all("input") if field["name"] == "on"
    ).items()
    links = {attributes.get("href") or "" for attributes in found.all("a")}
    assert "/actor/unnamed-ukrainian-intelligence-official.html" in links
    for form in ("csv", "tsv", "json", "xml", "md"):
        assert any(
            link.startswith(f"/questions/contested.{form}?on=2025-01-01") and "limit=2" in link for link in links
        )
    held = next(link for link in links if "revision=" in link)
    assert "As of revision" in page(client, held).text


def test_what_is_wrong_stands_beside_its_field_and_what_was_written_stays(client: FlaskClient) -> None:
    found = page(client, "/questions/positions?proposition=zzz&asof=2025-02-30&limit=no&wizard=1", 400)
    fields = {attributes["name"]: attributes for attributes in found.all("input")}
    for name, text in (("proposition", "zzz"), ("asof", "2025-02-30"), ("limit", "no")):
        assert fields[name]["value"] == text
        assert fields[name]["aria-invalid"] == "true"
        assert f"p-{name}-error" in (fields[name]["aria-describedby"] or "")
    assert "no proposition is called 'zzz'" in found.text
    assert "There is no parameter 'wizard'" in found.text


def test_several_matches_are_offered_by_name_and_slug(client: FlaskClient) -> None:
    found = page(client, "/questions/reversals?actor=russ", 400)
    assert "Several are called so. Did you mean Russia (actor/russia)" in found.text
    links = [a["href"] or "" for a in found.all("a") if "actor=actor" in (a.get("href") or "")]
    assert links[0] == "/questions/reversals?actor=actor%2Frussia"
    assert "2 rows" in page(client, links[0]).text


def test_values_are_text_on_the_page_whatever_they_hold(client: FlaskClient) -> None:
    response = client.get(
        "/questions/positions?proposition=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", headers={"Accept": "text/html"}
    )
    assert "&#34;&gt;&lt;script&gt;alert(1)" in response.text
    assert "<script>alert" not in response.text


def heads(found: str) -> list[str]:
    return re.findall(r"<th scope[^>]*>([^<]*)</th>", found)


def html(client: FlaskClient, path: str, languages: str = "en") -> str:
    response = client.get(path, headers={"Accept": "text/html", "Accept-Language": languages})
    assert response.status_code == 200, response.text[:500]
    return response.text


def test_a_thing_and_its_name_are_one_and_words_stand_below_with_their_act_and_article(client: FlaskClient) -> None:
    found = html(client, "/questions/reversals?actor=russia")
    assert heads(found) == ["actor", "days", "from", "to"]
    assert "Empty in all rows: known since." in found
    first = found[found.index("<tbody") : found.index("</tbody>")]
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", first)).strip()
    assert words.startswith("Russia1denies North Korean troops are present on Russian territory.affirms North Korean")
    assert '<a class="words" href="/article/russia-admits-north-korean-soldiers.html#s7"><q' in first
    assert re.search(r'<a href="/article/reuters-[^"]*.html"[^>]*>Reuters: [^<]*</a>, Reuters, 27 April 2025', first)


def test_a_speaker_is_named_with_the_post_and_the_one_spoken_for(client: FlaskClient) -> None:
    found = html(client, "/questions/who-admitted-combat")
    row = re.sub(r"<[^>]+>", "", found[found.index("<tbody") : found.index("</tbody>")])
    assert "Valery Gerasimov Chief of the General Staff on behalf of Russia" in " ".join(row.split())
    assert "26 April 2025" in row


def test_names_are_in_the_reader_s_language_and_say_which_it_is(client: FlaskClient) -> None:
    path = "/questions/reversals"
    assert '<a href="/actor/russia.html" dir="auto" lang="ru">Россия</a>' in html(client, path, "ru, en;q=0.5")
    assert '<a href="/actor/russia.html" dir="auto" lang="en">Russia</a>' in html(client, path, "xx")
    response = client.get(path, headers={"Accept": "text/html"})
    assert {"accept", "accept-language"} <= {name.lower() for name in response.vary}


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_no_word_of_an_answer_is_lost_and_none_is_a_term_or_an_address(client: FlaskClient, name: str) -> None:
    question = questions.find(name)
    asked = {p.name: p.example for p in question.parameters.values() if p.required and p.default is None}
    text = client.get(f"/questions/{name}.json", query_string=asked).text
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    path = f"/questions/{name}?{urlencode(asked)}"
    found = html(client, path)
    body = unescape("".join(re.findall(r"<tbody.*?</tbody>", found, re.S)))
    for row in rows:
        for column in question.evidence:
            assert row[column] is None or row[column] in body
    seen = re.sub(r"<[^>]+>", " ", body)
    assert not re.search(r"ekg:|https?://|_:", seen)
    above = re.sub(r"<[^>]+>", "", found[found.index("<h1>") : found.index("<form action", found.index("<h1>"))])
    assert "ekg:" not in above
    assert json.loads(re.findall(r'ld\+json">(.*?)</script>', found)[0])["name"] == question.summary


def test_the_catalogue_lists_each_question_once_under_a_heading(client: FlaskClient) -> None:
    found = html(client, "/questions")
    listed = re.findall(r'<li><a href="/questions/([a-z-]+)">', found)
    assert sorted(listed) == sorted(catalogue())
    assert found.count("<h2>") > 4


CHARTED = [name for name, question in sorted(catalogue().items()) if question.chart]


@pytest.mark.parametrize("name", CHARTED)
def test_a_chart_is_offered_where_there_is_something_to_draw(client: FlaskClient, name: str) -> None:
    question = questions.find(name)
    asked = {p.name: p.example for p in question.parameters.values() if p.required and p.default is None}
    drawn = json.loads(client.get(f"/questions/{name}.vl.json", query_string=asked).text)
    hints = drawn["usermeta"]
    assert {hints["bands"], *hints["needs"]} <= set(question.columns)
    rows = [row for row in drawn["datasets"]["rows"] if all(row[column] is not None for column in hints["needs"])]
    found = html(client, f"/questions/{name}?{urlencode(asked)}")
    charts = re.findall(r'data-chart="([^"]*)"', found)
    assert bool(charts) == bool(rows and libraries.installed())
    for address in charts:
        assert client.get(unescape(address)).json == drawn


def test_undated_rows_are_not_drawn_and_the_page_says_so(client: FlaskClient) -> None:
    if not libraries.installed():
        pytest.skip("the libraries of the pages are not installed: npm's registry was away")
    path = "/questions/positions?proposition=north-korean-troops-on-russian-territory"
    assert "(2 of 12 rows have no day and are not drawn)" in html(client, path)
    assert 'class="chart"' not in html(client, "/questions/contested-since")


def test_permalink_that_cannot_be_answered_any_more_leads_to_the_same_question_now(client: FlaskClient) -> None:
    asked = "proposition=north-korean-troops-on-russian-territory&limit=7"
    for revision, status in ((1, 410), (999_999, 404)):
        found = page(client, f"/questions/positions?{asked}&revision={revision}", status)
        assert f"revision {revision} " in found.text
        links = [unescape(a["href"] or "") for a in found.all("a")]
        (again,) = (href for href in links if href.startswith("/questions/positions?"))
        assert "revision" not in again
        assert "limit=7" in again
        assert page(client, again).all("table")


def test_chart_takes_a_day_for_a_day_wherever_the_reader_is(client: FlaskClient) -> None:
    """Vega reads a bare date as midnight in Greenwich, which is the day before in America."""
    path = "/questions/positions.vl.json?proposition=north-korean-troops-on-russian-territory"
    drawn = json.loads(client.get(path).text)
    assert drawn["data"] == {"name": "rows", "format": {"parse": dict.fromkeys(DAYS, "date:'%Y-%m-%d'")}}


DAYS = ["earliest", "latest", "published"]


def test_empty_answer_says_what_was_looked_for_and_why_it_may_be_empty(client: FlaskClient) -> None:
    path = "/questions/positions?proposition=north-korean-troops-on-russian-territory&asof=1900-01-01"
    found = page(client, path)
    assert "Nothing in this graph answers it with proposition North Korean troops are present" in " ".join(
        found.text.split()
    )
    hrefs = [unescape(a["href"] or "") for a in found.all("a")]
    assert "/proposition/north-korean-troops-on-russian-territory.html" in hrefs
    (of_all_days,) = (href for href in hrefs if href.startswith("/questions/positions?") and "revision" not in href)
    assert page(client, of_all_days).all("table")
    assert "1900-01-01" in found.text
    assert " ".join(NAMED.empty.split()) in " ".join(found.text.split())


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format_by_suffix_by_accept_and_by_name(client: FlaskClient, form: str) -> None:
    path = "/questions/contested{}?on=2025-01-01"
    by_suffix = client.get(path.format("." + form))
    by_accept = client.get(path.format(""), headers={"Accept": FORMATS[form]})
    by_name = client.get(path.format("") + f"&format={form}")
    assert by_suffix.status_code == 200
    assert by_suffix.mimetype == FORMATS[form]
    assert by_suffix.data == by_accept.data == by_name.data
    assert by_suffix.headers["KG-Revision"].isdigit()
    assert "Accept" in by_suffix.headers["Vary"]


def test_empty_values_are_none_and_format_may_be_a_media_type(client: FlaskClient) -> None:
    for query, media_type in (
        ("format=&excel=&asof=", "application/json"),
        ("format=CSV", "text/csv"),
        ("format=application/sparql-results+xml", "application/sparql-results+xml"),
    ):
        assert client.get(f"/questions/contested?{query}", headers={"Accept": "*/*"}).mimetype == media_type
    assert client.get("/questions.json?q=&tag=&format=json").json == client.get("/questions.json").json
    assert client.get("/questions?q=a&q=b").status_code == 400


def test_rows_are_the_same_in_all_formats(client: FlaskClient) -> None:
    found: dict[str, Any] = client.get("/questions/contested.json?on=2025-01-01").json  # type: ignore[assignment]
    rows = list(csv.reader(io.StringIO(client.get("/questions/contested.csv?on=2025-01-01").text)))
    assert rows[0] == [column["name"] for column in found["columns"]]
    assert rows[1:] == [["" if value is None else str(value) for value in row.values()] for row in found["rows"]]
    assert found["rows"]
    assert (found["parameters"]["on"], found["complete"]) == ("2025-01-01", True)


def test_excel_finds_its_mark_and_a_file_name(client: FlaskClient) -> None:
    response = client.get("/questions/contested.csv?excel=1")
    assert response.data.startswith(b"\xef\xbb\xbf")
    assert 'filename="contested.csv"' in response.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("nothing", 404, "unknown-question"),
        ("contested.docx", 404, "not-found"),
        ("contested.", 404, "not-found"),
        ("contested?format=docx", 400, "request-error"),
        ("contested?format=csv&format=json", 400, "request-error"),
        ("contested.csv?format=json", 400, "request-error"),
        ("contested-since.vl.json?format=csv", 400, "request-error"),
        ("contested.csv?excel=1&excel=0", 400, "request-error"),
        ("contested?asof=2025-02-29", 400, "invalid-parameter"),
        ("contested?on=soon", 400, "invalid-parameter"),
        ("contested?on=2025-01-01&on=2025-01-02", 400, "invalid-parameter"),
        ("contested?limit=10001", 400, "invalid-parameter"),
        ("contested?wizard=1", 400, "invalid-parameter"),
        ("contested?on=%FF", 400, "request-error"),
        ("contested?revision=999999", 404, "not-found"),
        ("contested?revision=1", 410, "snapshot-gone"),
        ("positions", 400, "invalid-parameter"),
        ("positions?proposition=zzz", 400, "unknown-name"),
        ("reversals?actor=russ", 400, "ambiguous-name"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document(client: FlaskClient, path: str, status: int, name: str) -> None:
    response = client.get(f"/questions/{path}", headers={"Accept": "application/json"})
    assert (response.status_code, response.mimetype) == (status, "application/problem+json"), response.text
    assert response.json["type"] == f"{BASE}errors#{name}"  # type: ignore[index]


def test_nothing_else_can_be_had(client: FlaskClient) -> None:
    response = client.get("/questions/contested", headers={"Accept": "image/png"})
    assert response.status_code == 406
    assert "text/csv" in response.json["available"]  # type: ignore[index]


def test_answers_are_cached_and_revalidated_like_every_read(served: Server) -> None:
    path = "questions/contested.csv?on=2025-01-01"
    first = served.get(path)
    assert first.status == 200
    assert served.get(path, {"If-None-Match": first.headers["ETag"]}).status == 304
    assert served.get(path, method="HEAD").headers["ETag"] == first.headers["ETag"]
    held = served.get(f"{path}&revision={first.headers['KG-Revision']}")
    assert held.body == first.body
    for described in ("questions", "openapi.json", ".well-known/sparql-examples"):
        reply = served.get(described)
        assert served.get(described, {"If-None-Match": reply.headers["ETag"]}).status == 304, described
