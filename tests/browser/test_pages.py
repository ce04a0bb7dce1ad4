"""The pages in a real browser: at three widths, in light and dark, with axe-core's rules of accessibility.

A page passes when the browser has nothing to complain of, it asks no other host for anything, it is no wider than the window, axe-core
finds nothing, and it says what it is there to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from serving import Server
from visits import Visit

from kg import questions

_LONG = 'SELECT ?s ?p ?o ("' + "Donaudampfschifffahrtsgesellschaft" * 12 + '" AS ?long) WHERE { ?s ?p ?o } LIMIT 30'


def _asking(query: str) -> str:
    return "sparql?" + urlencode({"query": query})


#: Each page, the status with which it comes, and words that must be seen on it.
PAGES: dict[str, tuple[str, int, list[str]]] = {
    "home": ("", 200, ["Who said what happened", "13 articles", "Three questions to try"]),
    "list": ("proposition/", 200, ["Propositions", "The fighting in the Kursk region has ended."]),
    "actor": ("actor/valery-gerasimov.html", 200, ["Валерий Герасимов", "Chief of the General Staff"]),
    "state": ("actor/russia.html", 200, ["Reversed", "1 day later", "Denied that North Korean troops are present"]),
    "outlet": ("actor/reuters.html", 200, ["Reuters: North Korea confirms"]),
    "unnamed": ("actor/ukrainian-military-sources.html", 200, ["Ukrainian military sources"]),
    "article": (
        "article/russia-admits-north-korean-soldiers.html",
        200,
        ["on behalf of Russia", "fighters from North Korea are engaged in combat", "26 April 2025"],
    ),
    "place": ("place/kursk-region.html", 200, ["Курская область", "51.7° N, 36.2° E"]),
    "agreement": ("agreement/russia-north-korea-partnership.html", 200, ["조선-로씨야", "Parties"]),
    "proposition": ("proposition/north-korean-troops-on-russian-territory.html", 200, ["Affirmed", "Denied"]),
    "proposition as of": (
        "proposition/north-korean-troops-on-russian-territory.html?asof=2024-11-05",
        200,
        ["5 November 2024"],
    ),
    "event": ("event/fighting-in-kursk-region.html", 200, ["contested", "The fighting in the Kursk region has ended"]),
    "event as of": ("event/fighting-in-kursk-region.html?asof=2024-01-01", 200, ["nothing had been published"]),
    "former state": ("actor/russia.html?revision=999999", 404, ["There is nothing under this address"]),
    "search": ("search?" + urlencode({"q": "Герасимов"}), 200, ["Valery Gerasimov"]),
    "search in vain": ("search?q=qqqqqqqq", 200, ["qqqqqqqq"]),
    "changes": ("changes", 200, ["recorded", "To follow"]),
    "history": ("timemap/actor/russia", 200, ["revision"]),
    "revision": ("revision/1.html", 200, ["Revision 1"]),
    "validate": ("validate", 200, ["The document", "From the shell"]),
    "about": ("about", 200, ["CC BY 4.0", "Natural Earth"]),
    "sparql": ("sparql", 200, ["Ask", "need not be declared"]),
    "answer": (_asking(questions.catalogue()["attribution-chain"].sparql), 200, ["4 rows", "with reference to UNN"]),
    "questions": ("questions", 200, ["Search the questions", "Which agreements are invoked"]),
    "question": ("questions/contested?on=2025-01-01", 200, ["What counts", "rows", "Download as"]),
    "question with a chart": (
        "questions/positions?proposition=north-korean-troops-on-russian-territory",
        200,
        ["Download as"],
    ),
    "question in error": ("questions/reversals?actor=russ", 400, ["Did you mean"]),
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

#: Widths and schemes in which a page is looked at, and the rules of axe-core that are asked there; none for all. Contrast depends on the
#: scheme and the sizes of targets on the width; everything else is the same in all four.
LOOKS: list[tuple[int, str, list[str]]] = [
    (1024, "light", []),
    (390, "dark", []),
    (390, "light", ["color-contrast", "target-size"]),
    (1024, "dark", ["color-contrast", "target-size"]),
    (1600, "light", ["target-size"]),
]

#: Elements that stick out of the window to the right and cannot be scrolled to: a scroller of their own may hold them.
_CUT_OFF = """() => [...document.querySelectorAll("main *, header *, footer *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre, textarea, .CodeMirror, figure.chart"))
  .filter(e => getComputedStyle(e.closest("thead") ?? e).clipPath === "none")
  .map(e => e.outerHTML.slice(0, 120))"""


#: The editor's own scroller follows the caret in its field, which has the focus; axe-core sees a scroller without one.
_AXE = """async rules => (await axe.run({ exclude: [".CodeMirror-scroll"] }, rules.length ? { runOnly: rules } : {})).violations
  .map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " " + n.failureSummary)])"""


@pytest.fixture(scope="module")
def visit(browser: Any, served: Server) -> Iterator[Visit]:
    # axe-core is put into the page by the browser, past the page's policy; the pages know nothing of it.
    context = browser.new_context(viewport={"width": 1024, "height": 900}, reduced_motion="reduce")
    yield Visit(context.new_page(), served.url)
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_in_order(visit: Visit, served: Server, axe: str, name: str) -> None:
    path, status, words = PAGES[name]
    visit.complaints.clear()
    visit.elsewhere.clear()
    visit.tab.set_viewport_size({"width": 1024, "height": 900})
    visit.tab.emulate_media(color_scheme="light")
    response = visit.tab.goto(served.url + path, wait_until="load")
    assert response.status == status
    for drawn in ("figure.chart svg g", ".CodeMirror"):
        if visit.tab.locator(drawn.split(" ")[0]).count():
            visit.tab.wait_for_selector(drawn)
    seen = visit.tab.inner_text("main") + "".join(
        area.input_value() for area in visit.tab.query_selector_all("textarea")
    )
    for word in words:
        assert word in seen
    assert visit.tab.title()
    assert visit.tab.locator("meta[name=description]").get_attribute("content")
    visit.tab.evaluate(axe)
    for width, scheme, rules in LOOKS:
        visit.tab.set_viewport_size({"width": width, "height": 900})
        visit.tab.emulate_media(color_scheme=scheme)
        where = f"at {width} pixels, {scheme}"
        assert visit.tab.evaluate("document.documentElement.scrollWidth") <= width, f"wider than the window {where}"
        assert visit.tab.evaluate(_CUT_OFF) == [], f"cut off {where}"
        assert visit.tab.evaluate(_AXE, rules) == [], where
    assert visit.complaints == []
    assert visit.elsewhere == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_keep_their_colours_apart(visit: Visit, served: Server, scheme: str) -> None:
    """The dark scheme is dark and the light one light, and text stands out from its ground by 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    visit.tab.emulate_media(color_scheme=scheme)
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
