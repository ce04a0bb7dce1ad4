"""The pages of actors, on the seeds: posts, positions over time with their reversals, and apart from them what others say."""

from __future__ import annotations

import html
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import generate
import pytest
from flask.testing import FlaskClient
from markup import text

from kg import config as configuration
from kg.asking import Desk
from kg.errors import Overloaded
from kg.library import Library, open_library
from kg.terms import Base
from kg.web import actors, create_app

BASE = "https://kg.example/"
DENIED = "North Korean troops are present on Russian territory"
ADMITTED = "North Korean troops are in combat in the Kursk region on Russia's side"


def page(client: FlaskClient, slug: str, query: str = "", **headers: str) -> str:
    response = client.get(f"/actor/{slug}.html{query}", headers=headers)
    assert response.status_code == 200, response.text[:500]
    return response.text


def part(markup: str, anchor: str) -> str:
    """The markup of a section."""
    found = re.search(rf'<section id="{anchor}">.*?</section>', markup, re.DOTALL)
    assert found is not None, anchor
    return found[0]


def drawing(markup: str) -> str:
    found = re.search(r'<svg class="timeline".*?\n</svg>', markup, re.DOTALL)
    assert found is not None
    return found[0]


# Russia: the denial, the admission, and the day between them


def test_denial_and_admission_meet_as_a_reversal_with_its_days(client: FlaskClient) -> None:
    said = text(part(page(client, "russia"), "positions"))
    assert (
        f"✕ Denied that {DENIED}, until 25 April 2025; then ● affirmed that {ADMITTED}, 26 April 2025, by Valery Gerasimov: "
        "1 day later."
    ) in said
    assert (
        f"✕ Denied that {DENIED}, until 25 April 2025; then ● affirmed that {DENIED}, 26 April 2025: 1 day later."
        in said
    )


def test_they_meet_on_the_timeline_in_one_group_of_lanes(client: FlaskClient) -> None:
    drawn = drawing(page(client, "russia"))
    names = [text(name) for name in re.findall(r'<a href="/proposition/[^"]+" lang="en">(.*?)</a>', drawn)]
    assert [name.removesuffix(".") for name in names[:2]] == [DENIED, ADMITTED]
    assert names[-1] == "The fighting in the Kursk region has ended.", "joined to nothing, and so in a group of its own"
    assert drawn.count('class="rule"') == 1
    assert drawn.count('class="turn"') == 2
    assert drawn.count("reversed after 1 day") == 2
    (denial,) = re.findall(r'href="([^"]+)" aria-label="Russia denies: [^"]+ Until 25 April 2025"', drawn)
    assert denial == "/article/russia-admits-north-korean-soldiers.html#s7"
    (admission,) = re.findall(r'href="([^"]+)" aria-label="Valery Gerasimov, on behalf of Russia, affirms: ', drawn)
    assert admission == "/article/russia-admits-north-korean-soldiers.html#s2"


def test_the_denial_has_no_known_beginning_and_praise_has_no_date(client: FlaskClient) -> None:
    drawn = drawing(page(client, "russia"))
    assert drawn.count('class="span open"') == 1
    assert ">no date<" in drawn
    assert len(re.findall(r'class="target" cx="94.0%"', drawn)) == 3, (
        "three propositions are affirmed at a time not known"
    )


def test_the_same_is_listed_with_who_speaks_in_which_post_and_for_whom(client: FlaskClient) -> None:
    table = part(page(client, "russia"), "positions").partition("<tbody>")[2]
    rows = [text(row) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
    assert len(rows) == 7
    assert rows[2].startswith(
        f"26 April 2025 ● affirms that {ADMITTED} Valery Gerasimov, Chief of the General Staff, on behalf of Russia (admission) "
        "fighters from North Korea are engaged in combat alongside Russian forces Russia admits"
    )
    assert rows[3].startswith(
        f"until 25 April 2025 ✕ denies that {DENIED} Russia (denial) consistently denied the presence"
    )
    assert "/questions/positions-of?actor=actor%2Frussia" in part(page(client, "russia"), "positions")


def test_praise_stands_apart_from_what_others_say(client: FlaskClient) -> None:
    whole = page(client, "russia")
    own, others = text(part(whole, "of-others")), text(part(whole, "said-about"))
    assert "Praises North Korean troops: ● affirms that North Korean troops fought with resilience and heroism" in own
    assert "Accuses" not in own
    assert "heroism" not in others
    assert (
        "Accusations Unnamed author of “Russia admits North Korean soldiers” ● affirms that Russia falsified documents"
    ) in others
    assert "✕ denies that Russia has widespread international support" in others
    assert "◇ thinks it possible that Russia is willing to deploy North Korean forces further, inside Ukraine" in others
    assert others.count("Russia falsified documents") == 1, "once, under the weightiest way in which it concerns Russia"


def test_posts_at_a_state_and_posts_of_a_person(client: FlaskClient) -> None:
    assert "Vladimir Putin, President of Russia, over a time not known" in text(part(page(client, "russia"), "holders"))
    gerasimov = page(client, "valery-gerasimov")
    assert ("Chief of the General Staff, General Staff of the Russian Armed Forces, over a time not known") in text(
        part(gerasimov, "posts")
    )
    assert gerasimov.count('id="post-chief-of-general-staff"') == 1, "the part of the document is where its links lead"
    assert "Начальник Генерального штаба" in text(
        part(page(client, "valery-gerasimov", **{"Accept-Language": "ru"}), "posts")
    )


def test_names_are_in_the_reader_s_language_where_there_is_one(client: FlaskClient) -> None:
    said = text(page(client, "russia", **{"Accept-Language": "ru"}))
    assert "Валерий Герасимов" in said
    assert "North Korean troops are present" in said, "no text in Russian is known"


def test_what_was_published_by_a_day_has_no_admission_yet(client: FlaskClient) -> None:
    whole = page(client, "russia", "?asof=2025-04-25")
    assert "Only what was published by 25 April 2025" in text(whole)
    assert "By then nothing had been published in which this actor takes a position." in text(part(whole, "positions"))
    assert "admi" not in text(part(whole, "positions"))
    by_then = text(part(page(client, "russia", "?asof=2025-04-27"), "positions"))
    assert "affirms that North Korean troops are present" in by_then
    assert "✕" not in by_then, "the denial is known from an article without a date only"


# Others


def test_an_outlet_shows_its_articles_voices_and_depths(client: FlaskClient) -> None:
    said = text(part(page(client, "reuters"), "outlet"))
    assert "Reuters: North Korea confirms that it deployed soldiers to Russia 27 April 2025, 2 acts" in said
    assert said.index("27 April 2025") < said.index("11 January 2025") < said.index("13 October 2024")
    assert "in its own voice 2 33 % attributed to others 4 67 %" in said
    assert "none 6 4" in said
    assert 'id="outlet"' not in page(client, "russia")
    assert 'id="outlet"' not in page(client, "unn"), "no article of UNN's own is known"


def test_whose_words_an_agency_passes_on(client: FlaskClient) -> None:
    said = text(part(page(client, "unn"), "of-others"))
    assert "Passes on the words of Valery Gerasimov with reference to UNN" in said


def test_what_is_not_known_is_said(client: FlaskClient) -> None:
    said = text(page(client, "bbc"))
    assert "Nobody is known to be praised, accused or cited by this actor." in said
    assert "Nobody else is known to have said anything about this actor." in said


@pytest.mark.parametrize(
    ("slug", "kind"),
    [("valery-gerasimov", "Person"), ("russia", "GovernmentOrganization"), ("reuters", "NewsMediaOrganization"), ("unn", "Organization"),
     ("unnamed-concerned-observers", "Thing")],
)  # fmt: skip
def test_description_for_search_engines_is_that_of_its_kind(client: FlaskClient, slug: str, kind: str) -> None:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page(client, slug), re.DOTALL)
    assert found is not None
    described = json.loads(found[1])
    assert (described["@type"], described["@id"]) == (kind, f"{BASE}actor/{slug}")
    if slug == "valery-gerasimov":
        assert described["jobTitle"] == ["Chief of the General Staff"]
    if slug == "russia":
        assert "http://www.wikidata.org/entity/Q159" in described["sameAs"]


def test_a_former_state_says_only_what_its_document_said(client: FlaskClient, seeds: Library) -> None:
    found = seeds.read(f"{BASE}actor/russia")
    assert found is not None
    whole = page(client, "russia", f"?revision={found[1].seq}")
    assert 'id="positions"' not in whole
    assert "This is how it stood" in whole


def test_every_part_leads_to_its_question(client: FlaskClient) -> None:
    whole = page(client, "russia") + page(client, "reuters") + page(client, "unn")
    links = set(re.findall(r'href="(/questions/[^"#.]+\?[^"#]+)', whole))
    asked = {link.partition("?")[0].rpartition("/")[2] for link in links}
    assert asked == {
        "posts", "positions-of", "reversals", "said-of", "said-about", "passes-on", "articles-of-outlet", "voices-of-outlets",
        "attribution-depth",
    }  # fmt: skip
    for link in links:
        assert client.get(html.unescape(link), headers={"Accept": "text/html"}).status_code in (200, 303), link


def test_a_question_without_an_answer_costs_its_part_only(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Desk.ask

    def ask(self: Desk, wish: Any, *more: Any) -> Any:
        if wish.question.id in ("positions-of", "said-about"):
            raise Overloaded("all query processes are busy", retry_after=5)
        return asked(self, wish, *more)

    monkeypatch.setattr(Desk, "ask", ask)
    response = client.get("/actor/russia.html")
    said = text(response.text)
    assert "The positions are missing here: all query processes are busy." in said
    assert "The acts of others are missing here" in said
    assert "Nobody else is known" not in said, "not known is another thing than not found out"
    assert "No position is known" not in said
    assert "1 day later" in said, "reversals could be had"
    assert response.headers["Cache-Control"] == "no-store"
    monkeypatch.undo()
    assert client.get("/actor/russia.html").headers["Cache-Control"] == "no-cache"


def test_a_page_of_many_acts_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A speaker of 60 acts on 20 propositions, where the page takes 30 rows and draws four lanes."""
    monkeypatch.setattr(actors, "_POSITIONS", 30)
    monkeypatch.setattr(actors, "_LANES", 4)
    monkeypatch.setattr(actors, "_TABLE", 10)
    made = [generate.actor("busy", "State"), generate.event("e")]
    made += [generate.proposition(f"p-{n}", "event/e") for n in range(20)]
    acts = [generate.Act("busy", (f"p-{n % 20}",)) for n in range(60)]
    made.append(generate.article("long", acts, published=date(2025, 1, 1)))
    with open_library(
        configuration.read({}, data=tmp_path / "data", base=BASE, query_processes=1), create=True, owner=True
    ) as crowded:
        crowded.accept([it.document(Base(BASE)) for it in made], agent="test")
        whole = page(create_app(crowded).test_client(), "busy")
    said = text(part(whole, "positions"))
    assert "Drawn from its newest 30 entries." in said
    assert "more propositions are not drawn" in said
    assert drawing(whole).count('class="lane"') == 4
    assert len(re.findall(r"<tr>", part(whole, "positions"))) == 11
    assert "There is more than is shown here" in said
