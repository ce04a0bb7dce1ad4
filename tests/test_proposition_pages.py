"""The pages of propositions, on the seeds: how they stand on a day, on whose word, and what they are joined to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from markup import text

from kg.asking import Desk
from kg.errors import QueryTimeout
from kg.library import Library
from kg.web import propositions

BASE = "https://kg.example/"
PRESENCE = "north-korean-troops-on-russian-territory"
COMBAT = "north-korean-troops-fight-in-kursk"
ENDED = "fighting-in-kursk-has-ended"


def page(client: FlaskClient, slug: str, asof: str = "") -> str:
    response = client.get(f"/proposition/{slug}.html" + (f"?asof={asof}" if asof else ""))
    assert response.status_code == 200, response.text[:500]
    return response.text


def standing(markup: str) -> str:
    """What depends on the day asked for."""
    found = re.search(r'<div id="as-of">(.*?)</section>', markup, re.DOTALL)
    assert found is not None
    return text(found[1])


def side(markup: str, number: int) -> str:
    """Those who affirm (0) or who deny (1)."""
    return text(re.findall(r'<div class="side">.*?</div>', markup, re.DOTALL)[number])


def marks(markup: str) -> list[str]:
    """What the marks of the timeline say."""
    drawn = re.search(r'<svg class="timeline".*?\n</svg>', markup, re.DOTALL)
    return re.findall(r'aria-label="([^"]+)"><title>', drawn[0]) if drawn else []


# How it stands


def test_status_in_one_line_with_independent_origins(client: FlaskClient) -> None:
    assert standing(page(client, PRESENCE)).startswith(
        "Today: ● affirmed by 8 independent origins; ✕ 1 once denied it, or what follows from it."
    )


def test_what_one_affirms_and_another_denies_is_contested(client: FlaskClient) -> None:
    said = standing(page(client, ENDED))
    assert said.startswith(
        "Today: contested, ● affirmed by 1 independent origin and ✕ denied by 1 independent origin."
    ), "and since when is not known, as no act on it is dated"
    assert "Nothing dates these acts, so that there is no timeline." in said
    assert '<details id="acts" open>' in page(client, ENDED)


def test_first_on_either_side_and_who_came_round(client: FlaskClient) -> None:
    said = standing(page(client, PRESENCE))
    assert (
        "First affirmed by Unnamed senior Ukrainian intelligence official, 16 October 2024, by way of what entails it."
        in said
    )
    assert "First denied by Russia, until 25 April 2025." in said
    assert "Russia denied it until 25 April 2025 and does so no more." in said


def test_origins_stand_by_side_with_their_articles_and_words(client: FlaskClient) -> None:
    whole = page(client, PRESENCE)
    affirmed, denied = side(whole, 0), side(whole, 1)
    assert affirmed.startswith("● Affirmed 8 independent origins in 7 articles")
    assert "Russia in 2 articles Russia confirmed the presence Reuters, 27 April 2025" in affirmed, (
        "told twice, one origin"
    )
    assert affirmed.index("16 October 2024") < affirmed.index("27 April 2025") < affirmed.index("openly praising")
    assert denied.startswith("✕ Denied 1 independent origin in 1 article Russia consistently denied the presence")


def test_timeline_has_a_lane_for_each_actor_with_those_who_changed_sides_first(client: FlaskClient) -> None:
    whole = page(client, PRESENCE)
    names = [text(name) for name in re.findall(r'<a href="/actor/[^"]+" lang="en">(<text.*?)</a>', whole)]
    assert names == [
        "Russia",
        "Unnamed senior Ukrainian intelligence official",
        "United States",
        "Ukraine",
        "North Korea",
    ]
    said = marks(whole)
    assert any(mark.startswith("Russia denies: ") for mark in said)
    assert any(mark.startswith("2 acts: ") for mark in said), "two acts of the same days are one mark"


def test_act_by_act_says_by_way_of_what(client: FlaskClient) -> None:
    said = standing(page(client, PRESENCE))
    assert (
        "26 April 2025 Valery Gerasimov, Chief of the General Staff, on behalf of Russia ● affirms it, by affirming that "
        "North Korean troops are in combat in the Kursk region on Russia's side"
    ) in said
    assert (
        "until 25 April 2025 Russia ✕ denies it, by denying that North Korean troops are present on Russian territory"
    ) in standing(page(client, COMBAT)), "who denies presence denies combat"


def test_articles_that_carry_it_are_listed_with_their_words(client: FlaskClient) -> None:
    said = standing(page(client, COMBAT)).partition("Articles that carry it")[2]
    assert (
        "The Independent: Ukraine says that its forces have engaged North Korean troops The Independent, 4 November 2024"
        in said
    )
    assert "(passed on)" in said
    assert "with reference to UNN" in said


# As of a day


def test_before_the_admission_was_published_there_is_none(client: FlaskClient) -> None:
    whole = page(client, PRESENCE, "2025-04-25")
    said = standing(whole)
    assert said.startswith("By 25 April 2025: ● affirmed by 5 independent origins.")
    assert "confirmed the presence" not in said
    assert not [mark for mark in marks(whole) if "Russia" in mark.partition(":")[0]]
    assert side(whole, 1) == "✕ Denied Nobody is known to have denied it by then."
    assert "3 acts stand in articles without a date of publication, and are left out here." in said
    assert "confirmed the presence" in standing(page(client, PRESENCE, "2025-04-27"))


def test_days_on_which_something_changed_are_links(client: FlaskClient) -> None:
    whole = page(client, PRESENCE, "2024-10-25")
    steps = re.findall(r'<a href="([^"]+)" data-day="([^"]*)"( aria-current="date")?>', whole)
    assert [day for _, day, _ in steps] == [
        "2024-10-16", "2024-10-23", "2024-10-25", "2024-11-04", "2025-01-11", "2025-04-27", ""
    ]  # fmt: skip
    assert [day for _, day, current in steps if current] == ["2024-10-25"]
    assert steps[0][0] == f"/proposition/{PRESENCE}.html?asof=2024-10-16"
    assert '<input id="asof" name="asof" type="date" value="2024-10-25">' in whole
    counts = [len(marks(client.get(address).text)) for address, _, _ in steps]
    assert counts[:2] == [1, 2]
    assert counts == sorted(counts)


def test_before_anything_was_published_nobody_is_known(client: FlaskClient) -> None:
    said = standing(page(client, PRESENCE, "2020-01-01"))
    assert said.startswith("By 1 January 2020: nobody is known to have taken a stance on it.")
    assert "No article published by then is known to carry it." in said


def test_the_answer_as_a_table_is_of_the_same_day(client: FlaskClient) -> None:
    whole = page(client, PRESENCE, "2024-10-25")
    tables = re.findall(r'href="/(questions/[^".]+\?[^"]+)">As a table', whole)
    assert {table.partition("?")[0] for table in tables} == {
        "questions/independent-origins", "questions/positions", "questions/articles-with-proposition", "questions/joined-propositions"
    }  # fmt: skip
    assert all(("asof=2024-10-25" in table) == ("joined" not in table) for table in tables)


def test_a_day_that_is_none_is_told_as_that(client: FlaskClient) -> None:
    response = client.get(f"/proposition/{PRESENCE}.html?asof=soon", headers={"Accept": "text/html"})
    assert response.status_code == 400
    assert "is a day, YYYY-MM-DD" in text(response.text)


# What it is joined to


def test_what_it_entails_and_what_entails_it_in_both_directions(client: FlaskClient) -> None:
    joined = text(page(client, COMBAT).partition('<section id="joined">')[2].partition("</section>")[0])
    assert (
        "Follows from it North Korean soldiers take part in Russia's war against Ukraine. ● 4 independent origins"
        in joined
    )
    assert "North Korean troops are present on Russian territory. ● 8 ✕ 1 independent origins" in joined
    assert (
        "It follows from Ukrainian forces have engaged North Korean troops in the Kursk region, for the first time. ● 1"
        in joined
    )
    through = text(page(client, "first-engagement-in-kursk").partition('<section id="joined">')[2])
    assert "North Korean troops are present on Russian territory. through others; ● 8" in through
    facts = text(page(client, COMBAT).partition('<section id="stands">')[0])
    assert "about " in facts
    assert "aspect occurrence" in facts
    assert "entails" not in facts, "said once, with names and origins, below"


def test_what_contradicts_it_is_named(client: FlaskClient) -> None:
    joined = text(page(client, ENDED).partition('<section id="joined">')[2].partition("</section>")[0])
    assert "Cannot be so together with it Operations in the Kursk region are still going on." in joined


# The page itself


def test_description_for_search_engines_is_a_claim_with_its_appearances(client: FlaskClient) -> None:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page(client, COMBAT), re.DOTALL)
    assert found is not None
    described = json.loads(found[1])
    assert (described["@type"], described["@id"]) == ("Claim", f"{BASE}proposition/{COMBAT}")
    assert described["text"] == "North Korean troops are in combat in the Kursk region on Russia's side."
    appearances = {it["@id"].rpartition("/")[2]: it.get("datePublished") for it in described["appearance"]}
    assert appearances["independent-2024-11-04-first-engagement"] == "2024-11-04"
    assert appearances["russia-admits-north-korean-soldiers"] is None


def test_a_question_without_an_answer_costs_its_part_only(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Desk.ask

    def ask(self: Desk, wish: Any, *more: Any) -> Any:
        if wish.question.id in ("how-it-stands", "joined-propositions"):
            raise QueryTimeout("the query was stopped after 30 seconds")
        return asked(self, wish, *more)

    monkeypatch.setattr(Desk, "ask", ask)
    response = client.get(f"/proposition/{COMBAT}.html")
    said = text(response.text)
    assert "how it stands cannot be told just now" in said
    assert "The propositions joined to it are missing here" in said
    assert "No proposition is recorded that it entails" not in said
    assert "entails North Korean soldiers take part" in said, "what its own document says of that is there"
    assert "fighters from North Korea are engaged" in said
    assert response.headers["Cache-Control"] == "no-store"


def test_a_proposition_of_many_acts_is_bounded_and_says_so(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propositions, "_POSITIONS", 5)
    monkeypatch.setattr(propositions, "_LANES", 2)
    monkeypatch.setattr(propositions, "_TABLE", 3)
    monkeypatch.setattr(propositions, "_ORIGINS", 2)
    monkeypatch.setattr(propositions, "_STEPS", 2)
    whole = page(client, PRESENCE)
    said = standing(whole)
    assert "and 6 more." in side(whole, 0)
    assert "The first 3 are listed." in said
    assert "more actor is not drawn." in said
    assert "2 of 4 or more days:" in text(whole)
    by_then = standing(page(client, PRESENCE, "2024-10-23"))
    assert "troops are now present in Russia" in by_then, (
        "where not all acts are at hand, those by the day are asked for"
    )


def test_a_former_state_says_only_what_its_document_said(client: FlaskClient, seeds: Library) -> None:
    found = seeds.read(f"{BASE}proposition/{COMBAT}")
    assert found is not None
    whole = client.get(f"/proposition/{COMBAT}.html?revision={found[1].seq}").text
    assert 'id="stands"' not in whole
    assert "entails" in text(whole)
