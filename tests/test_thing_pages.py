"""The pages of articles, events, agreements and places, on the seeds: what they say, in words that people use."""

from __future__ import annotations

import json
import re

import pytest
from flask.testing import FlaskClient
from markup import text

from kg.errors import Overloaded
from kg.library import Library
from kg.web import libraries, maps
from kg.web.articles import in_sentence

ADMITS = "article/russia-admits-north-korean-soldiers"


def says(client: FlaskClient, path: str, **headers: str) -> str:
    response = client.get(f"/{path}.html" if "?" not in path else f"/{path}", headers=headers)
    assert response.status_code == 200, response.text[:500]
    return text(response.text).replace(" ,", ",").replace(" .", ".")


def part(client: FlaskClient, path: str, anchor: str) -> str:
    """What a page says in one of its parts."""
    found = re.search(
        rf'<article class="act[^>]* id="{anchor}".*?</article>', client.get(f"/{path}.html").text, re.DOTALL
    )
    assert found is not None
    return text(found[0]).replace(" ,", ",").replace(" .", ".")


def described(client: FlaskClient, path: str) -> dict[str, object]:
    """The schema.org description on a page."""
    found = re.search(
        r'<script type="application/ld\+json">(.*?)</script>', client.get(f"/{path}.html").text, re.DOTALL
    )
    assert found is not None
    described: dict[str, object] = json.loads(found[1])
    return described


# Articles


def test_an_admission_is_a_sentence_with_post_principal_and_the_chain_it_is_known_by(client: FlaskClient) -> None:
    said = part(client, ADMITS, "s2")
    assert (
        "Valery Gerasimov, Chief of the General Staff, on behalf of Russia, ● admitted that North Korean troops are in combat "
        "in the Kursk region on Russia's side – as reported by Center for Countering Disinformation, citing UNN."
    ) in said
    assert "“" not in said.partition("fighters from North Korea")[0]  # the quotation follows, it is not the sentence
    assert "the article Center for Countering Disinformation UNN Valery Gerasimov ●" in said
    assert "said 26 April 2025" in said


def test_that_others_spread_an_act_is_not_how_the_article_knows_of_it(client: FlaskClient) -> None:
    said = part(client, ADMITS, "s2")
    sentence, _, rest = said.partition("fighters from North Korea")
    assert "propaganda" not in sentence
    assert "also passed on by Russian propaganda" in rest


def test_a_denial_says_how_steadily_and_until_when(client: FlaskClient) -> None:
    said = part(client, ADMITS, "s7")
    assert "Russia consistently ✕ denied that North Korean troops are present on Russian territory." in said
    assert "until 25 April 2025" in said


def test_the_articles_own_voice_and_what_it_takes_for_granted_are_told_apart(client: FlaskClient) -> None:
    page = says(client, ADMITS)
    assert "12 attributed, 11 in the article’s own voice, 3 taken for granted." in page
    assert "Claim in the article’s own voice The article ● claimed that Russia had not officially admitted" in page


def test_four_times_are_told_apart(client: FlaskClient) -> None:
    page = says(client, "article/ap-2024-06-19-partnership-signed")
    assert re.search(
        r"It took place Signing of the partnership agreement between Russia and North Korea, 19 June 2024", page
    )
    assert "It was said at times not known" in page
    assert "It was published 19 June 2024" in page
    assert re.search(r"It was recorded here \d+ \w+ 20\d\d", page)
    unknown = says(client, ADMITS)
    assert "Publisher not known, date of publication not known" in unknown
    assert "It was said until 26 April 2025" in unknown  # the denial is open at its beginning


def test_an_article_describes_itself_to_search_engines_without_what_is_unknown(client: FlaskClient) -> None:
    known = described(client, "article/reuters-2025-04-27-north-korea-confirms")
    assert (known["@type"], known["datePublished"]) == ("NewsArticle", "2025-04-27")
    assert [it["name"] for it in known["publisher"]] == ["Reuters"]  # type: ignore[attr-defined]
    assert not {"publisher", "datePublished", "url"} & described(client, ADMITS).keys()


def test_a_former_state_says_as_much_but_not_who_refers_to_it(client: FlaskClient, seeds: Library) -> None:
    found = seeds.read(seeds.base.iri + ADMITS)
    assert found is not None
    seq = found[1].seq
    page = says(client, f"{ADMITS}.html?revision={seq}")
    assert "admitted that North Korean troops are in combat" in page
    assert "What refers to it" not in page


@pytest.mark.parametrize(
    ("given", "within"),
    [
        ("The treaty was signed.", "the treaty was signed"),
        ("Russia is suffering losses.", "Russia is suffering losses"),
        ("Under their agreement both aid each other.", "under their agreement both aid each other"),
        ("Operations in the Kursk region go on.", "operations in the Kursk region go on"),
        ("The Bank of England raised rates.", "The Bank of England raised rates"),
        ("No. 10 denies it.", "no. 10 denies it"),
    ],
)
def test_a_proposition_reads_on_after_that(given: str, within: str) -> None:
    assert in_sentence(given) == within


def test_a_proposition_in_another_language_keeps_its_capital() -> None:
    assert in_sentence("Війська воюють.", "uk") == "Війська воюють"


# Events


def test_an_event_shows_what_is_said_of_it_and_never_that_it_took_place(client: FlaskClient) -> None:
    page = says(client, "event/deployment-of-north-korean-troops-to-russia")
    assert "affirmed North Korean soldiers have been deployed to Russia. ● North Korea affirms, 27 April 2025:" in page
    assert "admission in Reuters: North Korea confirms that it deployed soldiers to Russia" in page
    assert "part of Deployment of North Korean troops to fight on Russia's side" in page


def test_an_event_by_a_day_shows_only_what_had_been_published(client: FlaskClient) -> None:
    page = says(client, "event/deployment-of-north-korean-troops-to-russia.html?asof=2025-04-26")
    assert "What is said of it by 26 April 2025 0" in page
    assert "admission in Reuters" not in page
    assert "By that date nothing had been published" in page
    assert client.get("/event/deployment-of-north-korean-troops-to-russia.html?asof=yesterday").status_code == 400


def test_a_contested_event_shows_both_sides(client: FlaskClient) -> None:
    page = says(client, "event/fighting-in-kursk-region")
    assert "contested The fighting in the Kursk region has ended. " in page
    assert re.search(r"● Russia affirms", page)
    assert re.search(r"✕ \S.* denies", page)


def test_a_page_goes_without_what_cannot_be_had_just_now_and_says_so(
    client: FlaskClient, seeds: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise Overloaded("too many queries wait")

    monkeypatch.setattr(seeds, "answer", refuse)
    response = client.get("/event/deployment-of-north-korean-troops-to-russia.html")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert "This part could not be had just now: too many queries wait." in text(response.text)
    assert "Deployment of North Korean troops to Russia" in text(response.text)


# Agreements and places


def test_an_agreement_shows_parties_signing_and_who_invoked_it_for_what(client: FlaskClient) -> None:
    page = says(client, "agreement/russia-north-korea-partnership")
    assert "Parties North Korea and Russia" in page
    assert "Signing Signing of the partnership agreement between Russia and North Korea, 19 June 2024" in page
    assert (
        "Russian propaganda invokes it to say that The military collaboration of Russia and North Korea is fully legal."
        in page
    )


def test_a_place_shows_what_is_said_to_have_happened_there_and_in_the_places_in_it(client: FlaskClient) -> None:
    page = says(client, "place/russia")
    assert "Deployment of North Korean troops to Russia · deployment" in page
    assert "Fighting in the Kursk region · engagement · Kursk region" in page
    assert "62° N, 96.7° E" in page
    assert "In it Kursk region" in page
    assert described(client, "place/kursk-region")["geo"] == [
        {"@type": "GeoCoordinates", "latitude": 51.7, "longitude": 36.2}
    ]


@pytest.mark.parametrize(
    ("wkt", "position"),
    [
        ("POINT(36.2 51.7)", (36.2, 51.7)),
        (" point ( -0.5   -51 ) ", (-0.5, -51.0)),
        ("<http://www.opengis.net/def/crs/OGC/1.3/CRS84> POINT(1 2)", (1.0, 2.0)),
        ("POINT(190 0)", None),
        ("POINT(0 91)", None),
        ("POLYGON((0 0, 1 0, 1 1, 0 0))", None),
        ("POINT EMPTY", None),
        ("", None),
    ],
)
def test_points_are_read_from_wkt(wkt: str, position: tuple[float, float] | None) -> None:
    assert maps.point(wkt) == position


@pytest.mark.skipif(
    libraries.outlines("countries-110m.json") is None, reason="the outlines of world-atlas are not installed"
)
def test_a_map_holds_its_points_and_is_small() -> None:
    points = [maps.Point("Kursk", 36.2, 51.7), maps.Point("Seoul", 127.0, 37.6), maps.Point("Ushuaia", -68.3, -54.8)]
    for chosen in (points[:1], points[:2], points):
        drawn = maps.draw(chosen)
        assert drawn is not None
        assert all(0 <= spot.x <= maps.WIDTH and 0 <= spot.y <= maps.HEIGHT for spot in drawn.spots)
        assert len(drawn.land) < 60_000
        assert re.fullmatch(r"(M-?\d+ -?\d+l(-?\d+ -?\d+ ?)+z)+", drawn.land)


def test_without_points_or_outlines_there_is_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    assert maps.draw([]) is None
    monkeypatch.setattr(maps, "_land", lambda _: None)
    assert maps.draw([maps.Point("Kursk", 36.2, 51.7)]) is None
