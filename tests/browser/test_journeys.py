"""Journeys through the pages, as people make them: with a mouse, with the keyboard only, and with JavaScript off."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from serving import Server
from visits import Visit

from kg.web import libraries

BROKEN = """@prefix ekg: <https://w3id.org/ekg/ns#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .

<actor/somebody-new> a ekg:Person ;
    rdfs:label "Somebody New"@en , "Somebody Else"@en .
"""
MENDED = BROKEN.replace("ekg:Person", "ekg:Person , ekg:Actor").replace(' , "Somebody Else"@en', "")


@pytest.fixture
def visit(browser: Any, served: Server) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1024, "height": 900}, accept_downloads=True, locale="en-GB")
    visit = Visit(context.new_page(), served.url)
    yield visit
    assert visit.complaints == []
    assert visit.elsewhere == []
    context.close()


@pytest.fixture(params=["with JavaScript", "without"])
def tab(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    context = browser.new_context(java_script_enabled=request.param != "without", locale="en-GB")
    yield context.new_page()
    context.close()


def test_from_a_name_in_cyrillic_to_the_admission_its_chain_and_what_was_said_before(tab: Any, served: Server) -> None:
    tab.goto(served.url)
    tab.fill("input[name=q]", "Герасимов")
    tab.press("input[name=q]", "Enter")
    assert "Валерий Герасимов" in tab.inner_text("main")
    tab.click("main a:has-text('Valery Gerasimov')")
    assert tab.inner_text("h1") == "Valery Gerasimov"
    assert "Chief of the General Staff" in tab.inner_text("main")
    tab.locator("main a[href*='russia-admits-north-korean-soldiers.html#s2']:visible").last.click()
    assert tab.url.endswith("article/russia-admits-north-korean-soldiers.html#s2")
    act = tab.inner_text("#s2")
    assert re.search(
        r"on behalf of Russia, ● ?admitted that North Korean troops are in combat in the Kursk region", act
    )
    assert "fighters from North Korea are engaged in combat alongside Russian forces" in act
    chain = tab.locator("#s2 .chain li").all_inner_texts()
    assert [step.split("\n")[0].strip(" ●") for step in chain] == [
        "the article",
        "Center for Countering Disinformation",
        "UNN",
        "Valery Gerasimov",
    ]
    tab.click("#s2 .said a:has-text('Russia')")
    assert tab.inner_text("h1") == "Russia"
    before = tab.inner_text("main")
    assert re.search(r"Denied that North Korean troops are present on Russian territory, until 25 April 2025", before)
    assert "1 day later" in before


def test_a_question_is_asked_as_of_a_day_and_its_answer_downloaded(tab: Any, served: Server) -> None:
    tab.goto(served.url + "questions")
    tab.click("text=Which actors reversed their position")
    assert "2 rows" in tab.inner_text("main")
    tab.fill("#p-asof", "2025-04-26")
    tab.locator("form.ask button").last.click()
    assert tab.url.endswith("asof=2025-04-26") or "asof=2025-04-26" in tab.url
    assert "Nothing in this graph answers it" in tab.inner_text("main")
    tab.fill("#p-asof", "")
    tab.locator("form.ask button").last.click()
    assert "2 rows" in tab.inner_text("main")
    address = tab.locator("#answer a", has_text=re.compile("^CSV$")).get_attribute("href")
    body = served.get(address.removeprefix("/")).text
    rows = list(csv.DictReader(io.StringIO(body)))
    assert [row["days"] for row in rows] == ["1", "1"]


def test_a_proposition_is_seen_as_of_a_day(tab: Any, served: Server) -> None:
    tab.goto(served.url + "proposition/north-korean-troops-on-russian-territory.html")
    assert "Denied it until" not in tab.inner_text("h1")
    tab.fill("input[name=asof]", "2024-11-05")
    tab.press("input[name=asof]", "Enter")
    tab.wait_for_url("**asof=2024-11-05*")
    seen = tab.inner_text("main")
    assert "5 November 2024" in seen
    assert "confirms the deployment of its soldiers" not in seen
    assert "around 3,000 North Korean troops" in seen


def test_a_document_with_two_errors_is_mended_and_conforms(tab: Any, served: Server) -> None:
    tab.goto(served.url)
    tab.click("footer a:has-text('Validate')")
    tab.fill("#text", BROKEN)
    tab.click("form.check button")
    seen = tab.inner_text("main")
    assert "ekg:Actor" in seen
    assert re.search(r"[Ll]ine [45]", seen)
    assert tab.input_value("#text").strip() == BROKEN.strip()
    tab.fill("#text", MENDED)
    tab.click("form.check button")
    assert "It conforms" in tab.inner_text("main")
    assert served.get("actor/somebody-new").status == 404


def test_a_file_is_validated(tab: Any, served: Server, tmp_path: Path) -> None:
    file = tmp_path / "somebody.ttl"
    file.write_text(MENDED, "utf-8")
    tab.goto(served.url + "validate")
    tab.set_input_files("#file", str(file))
    tab.click("form.check button")
    assert "It conforms" in tab.inner_text("main")


def test_a_change_leads_to_what_changed_and_to_its_document(tab: Any, served: Server) -> None:
    tab.goto(served.url)
    tab.click("footer a:has-text('Changes')")
    assert "recorded" in tab.inner_text("main")
    tab.locator("main a[href*='revision/']").first.click()
    assert re.match(r"Revision \d+", tab.inner_text("h1"))
    tab.click("main a[href*='.html?revision=']")
    assert "This is how it stood at revision" in tab.inner_text("main")


def test_a_wrong_address_leads_on(tab: Any, served: Server) -> None:
    assert tab.goto(served.url + "actor/gerasimov").status == 404
    tab.click("main a:has-text('Gerasimov')")
    assert tab.inner_text("h1") == "Valery Gerasimov"


# The editor


@pytest.mark.skipif(
    libraries.address("yasgui.js", "/") is None, reason="the editor is not installed: npm's registry was away"
)
def test_a_wrong_query_is_mended_asked_and_shared(visit: Visit, served: Server, browser: Any) -> None:
    tab = visit.tab
    tab.goto(served.url + "sparql")
    tab.wait_for_selector(".CodeMirror")

    def write(text: str) -> None:
        tab.click(".CodeMirror")
        tab.keyboard.press("Control+A")
        tab.keyboard.insert_text(text)

    write("SELECT ?name WHERE {\n  actor:russia rdfs:label ?name .\n")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector("#error")
    assert "Line 3" in tab.inner_text("#error")
    write("SELECT ?name WHERE {\n  actor:russia rdfs:label ?name .\n}")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector("#answer table")
    assert "Россия" in tab.inner_text("#answer table")
    asked = parse_qs(urlsplit(tab.url).query)
    assert asked["query"] == ["SELECT ?name WHERE {\n  actor:russia rdfs:label ?name .\n}"]
    # Who gets the address sees the same.
    other = browser.new_page()
    other.goto(tab.url)
    assert "Россия" in other.inner_text("#answer table")
    other.close()
    # Chromium logs the 400 of the first try as an error of the network.
    visit.complaints[:] = [line for line in visit.complaints if "400" not in line]


@pytest.mark.skipif(
    libraries.address("yasgui.js", "/") is None, reason="the editor is not installed: npm's registry was away"
)
def test_the_editor_completes_from_what_the_data_hold(visit: Visit, served: Server) -> None:
    tab = visit.tab
    tab.goto(served.url + "sparql")
    tab.wait_for_selector(".CodeMirror")
    tab.click(".CodeMirror")
    tab.keyboard.press("Control+A")
    tab.keyboard.type("SELECT * { ?act a ekg:Adm")
    tab.keyboard.press("Control+Space")
    tab.wait_for_selector(".CodeMirror-hints")
    assert "ekg:Admission" in tab.inner_text(".CodeMirror-hints")


@pytest.mark.skipif(
    libraries.address("vega.js", "/") is None, reason="charts are not installed: npm's registry was away"
)
def test_a_question_has_its_chart(visit: Visit, served: Server) -> None:
    visit.tab.goto(served.url + "questions/positions?proposition=north-korean-troops-on-russian-territory")
    visit.tab.wait_for_selector("figure.chart svg.marks, figure.chart svg g")
    assert visit.tab.locator("figure.chart svg path").count() > 3


def test_a_field_finds_names_in_any_script(visit: Visit, served: Server) -> None:
    tab = visit.tab
    tab.goto(served.url + "questions/reversals")
    tab.click("#p-actor")
    tab.keyboard.type("Росс")
    tab.wait_for_selector("[role=listbox] [role=option]")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**actor=*")
    assert "2 rows" in tab.inner_text("main")


# With the keyboard only


def test_the_keyboard_reaches_the_content_first(visit: Visit, served: Server) -> None:
    """WCAG 2.2, 2.4.1: the first stop leads past the navigation, and it can be seen while it has the focus."""
    tab = visit.tab
    tab.goto(served.url)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#main")


@pytest.mark.parametrize(
    "path", ["", "questions/reversals", "sparql", "validate", "actor/russia.html", "search?q=kursk", "changes"]
)
def test_the_keyboard_goes_through_a_page_and_out_of_it(visit: Visit, served: Server, path: str) -> None:
    """WCAG 2.2, 2.1.2 and 2.4.7: every stop can be seen, none comes twice, and the last leads out."""
    tab = visit.tab
    tab.goto(served.url + path)
    tab.evaluate("document.activeElement.blur()")
    stops = []
    for _ in range(400):
        tab.keyboard.press("Tab")
        stop = tab.evaluate(
            """() => { const e = document.activeElement; if (!e || e === document.body) return null;
            e.dataset.stop ??= String(document.querySelectorAll("[data-stop]").length);
            const box = e.getBoundingClientRect(); return [e.dataset.stop, e.outerHTML.slice(0, 80), box.width > 0 && box.height > 0]; }"""
        )
        if stop is None or (stops and stop[0] == stops[0][0]):
            break
        assert stop[2], f"cannot be seen: {stop[1]}"
        if stops and stop[0] == stops[-1][0]:
            continue  # a field for dates has a stop for each of its parts
        assert stop[0] not in [seen[0] for seen in stops], f"comes twice: {stop[1]}"
        stops.append(stop)
    else:
        pytest.fail("the keyboard does not get out")
    assert len(stops) > 10


# With JavaScript off


def test_a_query_can_be_written_mended_and_asked_without_javascript(without_scripts: Any, served: Server) -> None:
    tab = without_scripts
    tab.goto(served.url + "sparql")
    tab.fill("#query", "SELECT ?name WHERE { actor:russia rdfs:label ?name ")
    tab.click("form.editor button >> text=Ask")
    assert "The query cannot be read" in tab.inner_text("main")
    assert tab.input_value("#query") == "SELECT ?name WHERE { actor:russia rdfs:label ?name "
    tab.fill("#query", "SELECT ?name WHERE { actor:russia rdfs:label ?name }")
    tab.click("form.editor button >> text=Ask")
    assert "Россия" in tab.inner_text("table")
    with tab.expect_navigation() as navigation:
        tab.click("#answer a >> text=JSON")
    assert navigation.value.headers["content-type"] == "application/sparql-results+json"
