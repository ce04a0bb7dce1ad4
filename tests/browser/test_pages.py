"""The pages in a real browser: Debian's Chromium, driven by Playwright, at three widths, in light and dark.

A page passes when the browser has nothing to complain of, it asks no other host for anything, it is no wider than the window,
and it says what it is there to say. There is no JavaScript: the same pages are opened with it switched off.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from serving import Server

from kg import questions

sync_api = pytest.importorskip("playwright.sync_api", reason="there is no Playwright here: pip install playwright")

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

_LONG = 'SELECT ?s ?p ?o ("' + "Donaudampfschifffahrtsgesellschaft" * 12 + '" AS ?long) WHERE { ?s ?p ?o } LIMIT 30'


def _asking(query: str) -> str:
    return "sparql?" + urlencode({"query": query})


#: Each page, the status with which it comes, and words that must be seen on it.
PAGES: dict[str, tuple[str, int, list[str]]] = {
    "home": ("", 200, ["Who said what happened", "13 articles", "Three questions to try"]),
    "list": ("proposition/", 200, ["Propositions", "The fighting in the Kursk region has ended."]),
    "actor": (
        "actor/valery-gerasimov.html",
        200,
        ["Валерий Герасимов", "Chief of the General Staff", "What refers to it"],
    ),
    "article": (
        "article/russia-admits-north-korean-soldiers.html",
        200,
        ["on behalf of Russia", "fighters from North Korea are engaged in combat", "26 April 2025"],
    ),
    "place": ("place/kursk-region.html", 200, ["Курская область", "POINT(36.2 51.7)"]),
    "agreement": ("agreement/russia-north-korea-partnership.html", 200, ["조선-로씨야", "party"]),
    "proposition": (
        "proposition/north-korean-troops-fight-in-kursk.html",
        200,
        ["entails", "North Korean troops are present"],
    ),
    "event": ("event/north-korean-combat-in-kursk-region.html", 200, ["Engagement", "Armed Forces of Ukraine"]),
    "sparql": ("sparql", 200, ["Ask", "need not be declared"]),
    "answer": (_asking(questions.catalogue()["attribution-chain"].sparql), 200, ["4 rows", "with reference to UNN"]),
    "questions": ("questions", 200, ["Search the questions", "Which agreements are invoked"]),
    "question": ("questions/contested?on=2025-01-01", 200, ["What counts", "4 rows", "Download as"]),
    "question in error": ("questions/reversals?actor=russ", 400, ["Did you mean", "actor/russia"]),
    "wide answer": (_asking(_LONG), 200, ["30 rows"]),
    "no rows": (_asking("SELECT * WHERE { <a:b> ?p ?o }"), 200, ["Nothing matches"]),
    "verdict": (_asking("ASK { ?s a ekg:Admission }"), 200, ["Yes"]),
    "graph": (_asking("DESCRIBE actor:valery-gerasimov"), 200, ["rdfs:label"]),
    "syntax error": (_asking("SELECT * WHERE {\n  ?s ?p\n}"), 400, ["The query cannot be read", "Line 3"]),
    "refused": (_asking("SELECT * { SERVICE <https://example.org/> {} }"), 403, ["Queries do not reach out"]),
    "vocabulary": ("ns", 200, ["Classes", "ekg:Admission", "ekg:speaker"]),
    "errors": ("errors", 200, ["not-acceptable"]),
    "nothing": ("actor/nobody", 404, ["There is nothing under this address"]),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Visit:
    """A tab that remembers what it was told and what it asked for."""

    tab: Any
    here: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tab.on("console", self._console)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("requestfailed", self._failed)
        self.tab.on("request", self._request)

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the browser's own doing, when the next page is opened meanwhile
            self.complaints.append(f"{request.url} failed: {request.failure}")

    def _console(self, message: Any) -> None:
        # Chromium logs a page of its own that comes with 4xx as an error; that status is what these pages are for.
        if message.type in ("error", "warning") and message.location["url"] != self.tab.url:
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _request(self, request: Any) -> None:
        if urlsplit(request.url).scheme != "data" and not request.url.startswith(self.here):
            self.elsewhere.append(request.url)


@pytest.fixture(scope="module", params=[(390, "light"), (390, "dark"), (1024, "light"), (1024, "dark"), (1600, "light")],
                ids=lambda of: f"{of[0]}-{of[1]}")  # fmt: skip
def visit(request: pytest.FixtureRequest, browser: Any, served: Server) -> Iterator[Visit]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Visit(context.new_page(), served.url)
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_in_order(visit: Visit, served: Server, name: str) -> None:
    path, status, words = PAGES[name]
    visit.complaints.clear()
    visit.elsewhere.clear()
    response = visit.tab.goto(served.url + path)
    assert response.status == status
    seen = visit.tab.inner_text("main") + "".join(
        area.input_value() for area in visit.tab.query_selector_all("textarea")
    )
    for word in words:
        assert word in seen
    assert visit.complaints == []
    assert visit.elsewhere == []
    width = visit.tab.viewport_size["width"]
    assert visit.tab.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the window"
    assert visit.tab.evaluate(_CUT_OFF) == []
    assert visit.tab.title()


#: Elements that stick out of the window to the right and cannot be scrolled to: a scroller of their own may hold them.
_CUT_OFF = """() => [...document.querySelectorAll("main *, header *, footer *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre, textarea"))
  .map(e => e.outerHTML.slice(0, 120))"""


def test_pages_keep_their_colours_apart(visit: Visit, served: Server) -> None:
    """The dark scheme is dark and the light one light, and text stands out from its ground by 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    visit.tab.goto(served.url + "article/russia-admits-north-korean-soldiers.html")
    dark = visit.tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = _luminance(visit.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert (ground < 0.1) if dark else (ground > 0.8)
    for selector in (
        "body",
        "a",
        ".note",
        ".count",
        ".quotation figcaption",
        "footer.site",
        "dt",
        ".speaker a",
        ".act h3 a",
    ):
        colour = _luminance(visit.tab.evaluate(f"getComputedStyle(document.querySelector({selector!r})).color"))
        lighter, darker = max(colour, ground), min(colour, ground)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, selector


def _luminance(colour: str) -> float:
    """The relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour.strip("rgba()").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture
def without_scripts(browser: Any) -> Iterator[Any]:
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def test_a_question_can_be_asked_without_javascript(without_scripts: Any, served: Server) -> None:
    """From the first page by a question to its answer, to the evidence, and back to who else speaks of it."""
    tab = without_scripts
    tab.goto(served.url)
    tab.click("text=Who admitted that North Korean troops fight in the Kursk region?")
    assert "1 row" in tab.inner_text("main")
    tab.click("td a >> text=soldiers#s2")
    assert tab.url == served.url + "article/russia-admits-north-korean-soldiers.html#s2"
    act = tab.inner_text("#s2")
    assert "Valery Gerasimov, Chief of the General Staff, on behalf of Russia" in act
    assert "fighters from North Korea are engaged in combat alongside Russian forces" in act
    tab.click("#s2 .content a")
    assert tab.inner_text("h1") == "North Korean troops are in combat in the Kursk region on Russia's side."
    assert "Russia admits that North Korean soldiers" in tab.inner_text("#referring")


def test_a_query_can_be_written_mended_and_asked_without_javascript(without_scripts: Any, served: Server) -> None:
    tab = without_scripts
    tab.goto(served.url + "sparql")
    tab.fill("#query", "SELECT ?name WHERE { actor:russia rdfs:label ?name ")
    tab.click("button")
    assert "The query cannot be read" in tab.inner_text("main")
    assert tab.input_value("#query") == "SELECT ?name WHERE { actor:russia rdfs:label ?name "
    tab.fill("#query", "SELECT ?name WHERE { actor:russia rdfs:label ?name }")
    tab.click("button")
    assert "Россия" in tab.inner_text("table")
    with tab.expect_navigation() as navigation:
        tab.click("#answer a >> text=JSON")
    assert navigation.value.headers["content-type"] == "application/sparql-results+json"


def test_the_keyboard_reaches_the_content_first(browser: Any, served: Server) -> None:
    """WCAG 2.2, 2.4.1: the first stop leads past the navigation, and it can be seen while it has the focus."""
    tab = browser.new_page()
    tab.goto(served.url)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "To the content"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#main")
    tab.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, the rules of accessibility as a script, from npm's registry; the test injects it, the pages know nothing of it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here: apt-get install npm")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [npm, "pack", "axe-core@4", "--silent"], cwd=folder, capture_output=True, timeout=60, check=False
    )
    packed = next(folder.glob("axe-core-*.tgz"), None)
    if packed is None:
        pytest.skip(f"npm's registry gave no axe-core: {done.stderr.decode()[-200:]}")
    with tarfile.open(packed) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return io.TextIOWrapper(member, "utf-8").read()


@pytest.mark.parametrize(
    "name", [name for name in PAGES if name not in ("place", "agreement", "event", "no rows", "verdict", "refused")]
)
def test_axe_finds_nothing(browser: Any, axe: str, served: Server, name: str) -> None:
    path, _, _ = PAGES[name]
    context = browser.new_context(bypass_csp=True, viewport={"width": 1024, "height": 900})
    try:
        tab = context.new_page()
        tab.goto(served.url + path)
        tab.add_script_tag(content=axe)
        found = tab.evaluate(
            "axe.run().then(r => r.violations.map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html)]))"
        )
        assert found == []
    finally:
        context.close()
