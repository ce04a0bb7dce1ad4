"""Whatever somebody types is found in any script, nothing that is typed is an error, and what is found is what the documents say now."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import generate
import pyoxigraph as ox
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from kg import documents, retraction
from kg.documents import Document
from kg.errors import RequestError
from kg.library import Library
from kg.register import QUOTATION, Register, collect
from kg.search import KINDS_FOUND, LENGTH, Found, Search
from kg.spelling import composed, plain, sound, sounds, spelling
from kg.terms import Base
from kg.web import create_app

BASE = "https://kg.example/"
GERASIMOV, KIM, ZELENSKYY = (
    BASE + f"actor/{slug}" for slug in ("valery-gerasimov", "kim-jong-un", "volodymyr-zelenskyy")
)


@pytest.fixture(scope="module")
def search(seeds: Library) -> Search:
    return Search(Register(seeds.journal, seeds.config.data / "register.sqlite"))


def of_turtle(text: str) -> Document:
    (found,) = documents.parse((generate._PREFIXES + text).encode(), documents.TURTLE, Base(BASE), limit=2**20)
    return found


def actor(slug: str, *labels: str) -> Document:
    return of_turtle(f"<actor/{slug}> a ekg:Person, ekg:Actor ; rdfs:label {', '.join(labels)} .")


def searching(library: Library) -> Search:
    return Search(Register(library.journal, library.config.data / "register.sqlite"))


def iris(found: Found, kind: str = "actor") -> list[str]:
    return [hit.iri for group in found.groups if group.kind == kind for hit in group.hits]


def marked(found: Found, kind: str) -> list[str]:
    return [
        text
        for group in found.groups
        if group.kind == kind
        for hit in group.hits
        for text, is_it in hit.label.pieces
        if is_it
    ]


# Spelling


@pytest.mark.parametrize(
    "names",
    [
        ("Gerasimov", "Герасимов", "Gerassimow", "GERASIMOV"),
        ("Zelenskyy", "Zelenskyi", "Зеленський", "Zelenskij"),
        ("Yevkurov", "Евкуров", "Evkurov"),
        ("Kharkiv", "Харків", "Charkiw"),
        ("Łódź", "Lodz"),
        ("Vučić", "Vucic", "Вучић"),
        ("Cuba", "Kuba", "Куба"),
        ("Kyiv", "Київ"),
    ],
)
def test_spellings_of_one_name_have_one_latin_form(names: tuple[str, ...]) -> None:
    assert len({plain(name) for name in names}) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("Kim Jong Un", "Kim Jong-un", "김정은", "Ким Чен Ын"),
        ("Yoon Suk Yeol", "윤석열", "Юн Сок Ёль"),
        ("Pyongyang", "평양", "Пхеньян"),
        ("Gerasimov", "Herasymov", "Герасимов"),
        ("Zelenskyy", "Selenskyj", "Зеленський"),
    ],
)
def test_names_that_are_written_quite_otherwise_sound_alike(names: tuple[str, ...]) -> None:
    assert len({sound(name) for name in names}) == 1


def test_names_of_different_people_do_not_sound_alike() -> None:
    names = ("Gerasimov", "Putin", "Zelenskyy", "Kim Jong Un", "Yoon Suk Yeol", "Yevkurov", "Trump", "Macron", "Shoigu")
    assert len({sound(name) for name in names}) == len(names)


def test_part_of_a_name_has_a_sound_of_its_own() -> None:
    assert sound("Gerasimov") in sounds("Валерий Герасимов")
    assert sounds("Un") == []


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_spelling_knows_the_place_of_each_letter(text: str) -> None:
    text = composed(text)
    found = spelling(text)
    assert set(found.letters) <= set("abcdefghijklmnopqrstuvwxyz0123456789 ")
    assert "  " not in found.letters
    assert len(found.letters) == len(found.places)
    assert list(found.places) == sorted(found.places)
    for start, end in found.spans(found.letters):
        assert 0 <= start < end <= len(text)


_WORDS = st.text(
    "abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщьыэюяїєіґ김정은윤석열中国", min_size=1, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, min_size=1, max_size=4), st.data())
def test_beginning_of_any_word_begins_the_word_in_latin_too(words: list[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(words))
    beginning = word[: data.draw(st.integers(2, max(2, len(word))))]
    asked = plain(beginning)
    if len(asked) > 1:
        assert f" {asked}" in f" {plain(' '.join(words))} "


# Finding


@pytest.mark.parametrize(
    "text",
    ["Gerasimov", "Герасимов", "герасимов", "Gerassimow", "Herasymov", "Valery Gerasimov", "gerasimov valery", "Gera"],
)
def test_gerasimov_is_found_however_he_is_spelt(search: Search, text: str) -> None:
    assert iris(search.find(text))[0] == GERASIMOV


@pytest.mark.parametrize("text", ["Kim Jong Un", "김정은", "김정", "Ким Чен Ын", "kim jong-un", "Kim"])
def test_kim_jong_un_is_found_in_three_scripts(search: Search, text: str) -> None:
    assert iris(search.find(text))[0] == KIM


@pytest.mark.parametrize("text", ["Zelensky", "Zelenskyy", "Зеленський", "Selenskyj", "Зеленск"])
def test_zelenskyy_is_found_however_he_is_spelt(search: Search, text: str) -> None:
    assert iris(search.find(text))[0] == ZELENSKYY


def test_names_of_one_script_only_are_found_from_the_others(library: Library) -> None:
    library.accept([actor("kim", '"김정은"@ko'), actor("gerasimov", '"Валерий Герасимов"@ru')], agent="t")
    search = searching(library)
    assert iris(search.find("Kim Jong Un")) == iris(search.find("Ким Чен Ын")) == [BASE + "actor/kim"]
    assert iris(search.find("Gerassimow")) == iris(search.find("Valery Gerasimov")) == [BASE + "actor/gerasimov"]


def test_what_is_found_is_shown_in_the_reader_s_language_with_the_name_that_matched(search: Search) -> None:
    (hit,) = search.find("Герасимов", ["en"], kinds=["actor"]).groups[0].hits
    assert (hit.label.text, hit.label.language) == ("Valery Gerasimov", "en")
    assert hit.matched is not None
    assert (hit.matched.text, hit.matched.language) == ("Валерий Герасимов", "ru")
    assert hit.matched.pieces == [("Валерий ", False), ("Герасимов", True)]
    (hit,) = search.find("Герасимов", ["ru", "en"], kinds=["actor"]).groups[0].hits
    assert (hit.label.text, hit.matched) == ("Валерий Герасимов", None)


def test_as_typed_comes_before_other_scripts_and_the_label_before_the_rest(library: Library) -> None:
    labels = ['"Kursk Oblast"@en', '"Курск"@ru', '"Kursk"@en', '"Battle of Kursk"@en', '"Kurskaya"@en', '"Akkursk"@en']
    library.accept([actor(f"a{number}", label) for number, label in enumerate(labels)], agent="t")
    found = [iri.rpartition("/")[2] for iri in iris(searching(library).find("Kursk"))]
    assert found == ["a2", "a0", "a3", "a4", "a5", "a1"]


def test_quotations_lead_to_their_act_with_who_speaks_and_when(search: Search) -> None:
    (group,) = search.find("confirmed the presence", kinds=[QUOTATION]).groups
    (hit,) = group.hits
    assert hit.iri == BASE + "article/reuters-2025-04-27-north-korea-confirms"
    assert hit.part == "s2"
    assert hit.label.text == "Russia confirmed the presence"
    assert hit.facts["speakers"] and hit.facts["published"] == "2025-04-27"


def test_propositions_and_events_are_found_by_words_in_any_order(search: Search) -> None:
    found = search.find("territory present korean")
    assert iris(found, "proposition") == [BASE + "proposition/north-korean-troops-on-russian-territory"]
    assert marked(found, "proposition") == ["Korean", "present", "territory"]
    assert iris(search.find('"present korean" territory'), "proposition") == []


@pytest.mark.parametrize(("text", "first"), [("UN", "UNN"), ("un", "UNN"), ("US", "United States Department of State")])
def test_short_words_find_beginnings_of_words(search: Search, text: str, first: str) -> None:
    labels = [hit.label.text for group in search.find(text).groups if group.kind == "actor" for hit in group.hits]
    assert (
        any(label.lower().startswith(first[:2].lower()) or f" {text.lower()}" in label.lower() for label in labels)
        or not labels
    )
    if text.lower() == "un":
        assert first in labels[:2]


def test_total_counts_all_and_hits_are_the_best(library: Library) -> None:
    library.journal.commit(
        {it.iri: it for it in (actor(f"p{number}", f'"Person {number} Smith"@en') for number in range(60))}, agent="t"
    )
    (group,) = searching(library).find("smith person", limit=7).groups
    assert (group.total, len(group.hits)) == (60, 7)


@pytest.mark.parametrize(
    "text",
    ['"', '""', '"unbalanced', "a AND", "NEAR(a b)", "kurs*", "^kursk", "letters:kursk", "-", "()", "'; DROP TABLE entry; --", "%_", "\\", "\x00", "😀",
     "{}", "a" * LENGTH, "\ud7ff", "+ - *", "x NOT y", "ʹ", "\u202e"],
)  # fmt: skip
def test_any_text_can_be_asked_for(search: Search, text: str) -> None:
    found = search.find(text)
    assert found.total >= sum(len(group.hits) for group in found.groups) >= 0


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
def test_no_text_is_an_error_and_marks_lie_within_the_text(search: Search, text: str) -> None:
    for group in search.find(text).groups:
        for hit in group.hits:
            assert "".join(piece for piece, _ in hit.label.pieces) == hit.label.text


def test_text_that_is_too_long_and_too_many_words_are_refused(search: Search) -> None:
    with pytest.raises(RequestError, match="at most 200 characters; this one has 201"):
        search.find("x" * 201)
    with pytest.raises(RequestError, match="at most 12 words"):
        search.find(" ".join(f"w{number}" for number in range(13)))


def test_of_a_long_text_the_stretch_is_shown_that_has_the_word(library: Library) -> None:
    long = actor("long", f'"{"word " * 200}needle {"word " * 200}"@en')
    library.journal.commit({long.iri: long}, agent="t")  # the gate would not have it
    ((hit,),) = [group.hits for group in searching(library).find("needle").groups]
    assert len(hit.label.text) < 400
    assert [piece for piece, is_it in hit.label.pieces if is_it] == ["needle"]


# Agreement with the graph


def said(register: Register) -> dict[str, set[Any]]:
    """What stands in the register, by what it stands for."""
    with register.reading() as connection:
        return {
            "names": set(connection.execute("SELECT document, label, language FROM name")),
            "quotations": set(
                connection.execute("SELECT document, part, words FROM entry WHERE part != '' OR words != ''")
            ),
            "facts": set(connection.execute("SELECT document, facts FROM entry WHERE words = ''")),
            "latin": {
                (row[0], row[1])
                for row in connection.execute("SELECT document, letters FROM entry JOIN latin ON latin.rowid = id")
            },
            "rows": {connection.execute("SELECT count(*) FROM latin").fetchone()[0]},
        }


def test_register_holds_what_the_current_documents_say_after_any_writes(library: Library, tmp_path: Path) -> None:
    """Followed step by step it is the same as made at once, and the same as what the documents say."""
    chance = random.Random(4)
    kept = list(generate.documents(160, base=Base(BASE)))
    register = Register(library.journal, tmp_path / "followed.sqlite")
    for step in range(60):
        batch: dict[str, Document | None] = {}
        for it in chance.sample(kept, 5):
            there = it.iri in library.journal.digests([it.iri])
            if there and chance.random() < 0.3:
                batch[it.iri] = None
            elif there and "/article/" in it.iri:
                batch.update(retraction.retracted({it.iri: it}, {}, f"reason {step}", library.base))
            else:
                name = f'<{it.iri}> <http://www.w3.org/2000/01/rdf-schema#label> "Имя {step}"@ru .\n'.encode()
                more = [quad.triple for quad in ox.parse(name, format=ox.RdfFormat.N_TRIPLES)]
                batch[it.iri] = documents.document(it.iri, [*it.triples, *more])
        library.journal.commit(batch, agent="t")
        if step % 7 == 0:
            said(register)
    followed = said(register)
    assert followed == said(Register(library.journal, tmp_path / "at-once.sqlite"))
    now = {it.iri: collect(it) for it in library.journal.documents_now()}
    assert followed["names"] == {(iri, name.label, name.language) for iri, it in now.items() for name in it.names}
    quoted = {(iri, q.part, q.words) for iri, it in now.items() for q in it.quotations}
    assert followed["quotations"] == quoted
    assert {(iri, json.loads(facts).get("retracted", False)) for iri, facts in followed["facts"]} == {
        (iri, b"retractedAt" in it.content) for iri, it in ((it.iri, it) for it in library.journal.documents_now())
    }
    with register.reading() as connection:
        connection.execute("ROLLBACK")
        connection.execute("INSERT INTO latin (latin) VALUES ('integrity-check')")
        (entries,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    assert followed["rows"] == {entries} == {len(now) + sum(len(it.quotations) for it in now.values())}


def test_written_and_withdrawn_documents_are_found_and_gone_at_once(library: Library) -> None:
    search = searching(library)
    library.accept([actor("ruritania", '"Ruritania"@en')], agent="t")
    assert iris(search.find("ruritan")) == [BASE + "actor/ruritania"]
    assert search.find("ruritan").revision == library.journal.last()
    library.accept([actor("ruritania", '"Graustark"@en')], agent="t")
    assert iris(search.find("ruritan")) == []
    assert iris(search.find("Граустарк")) == [BASE + "actor/ruritania"]
    library.journal.commit({BASE + "actor/ruritania": None}, agent="t")
    assert search.find("graustark").groups == ()


def test_quotation_of_a_retracted_article_is_marked(seeded: Library) -> None:
    article = BASE + "article/reuters-2025-04-27-north-korea-confirms"
    found = seeded.read(article)
    assert found is not None
    seeded.journal.commit(retraction.retracted({article: found[0]}, {}, "made up", seeded.base), agent="t")
    client = create_app(seeded).test_client()
    hits = client.get("/search.json?q=confirmed+the+presence&kind=quotation").json["groups"][0]["hits"]  # type: ignore[index]
    assert [hit["retracted"] for hit in hits] == [True]
    page = client.get("/search.html?q=confirmed+the+presence").text
    assert "<strong>retracted</strong>" in page
    assert "<strong>retracted</strong>" in client.get("/article/", headers={"Accept": "text/html"}).text


def test_damaged_register_is_made_anew(library: Library) -> None:
    library.accept([actor("ruritania", '"Ruritania"@en')], agent="t")
    searching(library).find("x")
    connection = sqlite3.connect(library.config.data / "register.sqlite")
    connection.executescript("UPDATE layout SET text = 'of old'; DROP TABLE latin")
    connection.close()
    assert iris(searching(library).find("Ruritania")) == [BASE + "actor/ruritania"]


# Over HTTP


def test_json_answer_is_whole(client: FlaskClient) -> None:
    response = client.get("/search", query_string={"q": "Ким Чен Ын"}, headers={"Accept": "application/json"})
    assert response.json == {
        "q": "Ким Чен Ын",
        "revision": 117,
        "total": 1,
        "groups": [
            {
                "kind": "actor",
                "total": 1,
                "hits": [
                    {
                        "iri": KIM,
                        "path": "actor/kim-jong-un.html",
                        "label": "Kim Jong Un",
                        "language": "en",
                        "kind": "actor",
                        "matched": {"text": "Kim Jong Un", "language": "en", "marks": []},
                        "retracted": False,
                    }
                ],
            }
        ],
    }
    assert response.headers["KG-Revision"] == "117"
    assert {"Accept", "Accept-Language"} <= {name.strip() for name in response.headers["Vary"].split(",")}


def test_page_groups_and_marks_what_is_found(client: FlaskClient) -> None:
    page = client.get("/search?q=Gerasimov", headers={"Accept": "text/html"}).text
    assert "Valery <mark>Gerasimov</mark></span></a>" in page
    assert "<span>person</span> · <span>Chief of the General Staff</span>" in page
    assert 'href="/article/russia-admits-north-korean-soldiers.html#s10"' in page
    assert page.index("People and organisations") < page.index("Quotations")
    in_russian = client.get("/search?q=Gerasimov", headers={"Accept": "text/html", "Accept-Language": "ru"}).text
    assert 'lang="ru">Валерий <mark>Герасимов</mark></span></a>' in in_russian


def test_page_of_a_search_without_hits_says_what_to_try(client: FlaskClient) -> None:
    page = client.get("/search.html?q=qqqq").text
    assert 'Nothing has “<span dir="auto">qqqq</span>” in it' in page
    assert "What to try" in page
    assert client.get("/search.json?q=").json == {"q": "", "revision": 117, "total": 0, "groups": []}


def test_what_was_typed_is_text_on_the_page(client: FlaskClient) -> None:
    page = client.get("/search.html", query_string={"q": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page
    assert "&#34;&gt;&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("q=x&kind=agent", "kind is one of actor, proposition, event, place, agreement, article, quotation"),
        ("q=x&limit=0", "limit is a number from 1 to 100"),
        ("q=x&limit=many", "limit is a number from 1 to 100"),
        ("q=x&page=2", "this takes q, kind and limit; got page"),
        (f"q={'x' * 201}", "q is a text of at most 200 characters"),
    ],
)
def test_what_search_does_not_take_is_refused(client: FlaskClient, query: str, detail: str) -> None:
    response = client.get(f"/search.json?{query}")
    assert response.status_code == 400
    assert detail in response.json["detail"]  # type: ignore[index]


def test_every_kind_can_be_searched_alone(client: FlaskClient) -> None:
    for kind in KINDS_FOUND:
        groups = client.get(f"/search.json?q=Russia&kind={kind}").json["groups"]  # type: ignore[index]
        assert [group["kind"] for group in groups] == [kind]
        assert all(hit["kind"] == kind for hit in groups[0]["hits"])
        assert groups[0]["total"] == len(groups[0]["hits"])


# Near names


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("/actor/rusia", "actor/russia"),
        ("/actor/gerasimov.ttl", "actor/valery-gerasimov"),
        ("/place/valery-gerasimov.html", "actor/valery-gerasimov"),
        ("/actor/Герасимов", "actor/valery-gerasimov"),
        ("/actor/kim-jong-ung", "actor/kim-jong-un"),
        ("/event/north-korean-combat-in-kursk", "event/north-korean-combat-in-kursk-region"),
        ("/people/Зеленський", "actor/volodymyr-zelenskyy"),
    ],
)
def test_address_with_nothing_under_it_suggests_what_is_near(client: FlaskClient, path: str, first: str) -> None:
    response = client.get(path, headers={"Accept": "application/problem+json"})
    assert response.status_code == 404
    suggestions: list[dict[str, Any]] = response.json["suggestions"]  # type: ignore[index]
    assert suggestions[0]["iri"] == BASE + first
    assert suggestions[0]["path"] == first + ".html"
    assert len(suggestions) <= 5
    page = client.get(path, headers={"Accept": "text/html"}).text
    assert f'<a href="/{first}.html"' in page and "Did you mean" in page


@pytest.mark.parametrize("path", ["/x.php", "/actor/qqqq", "/actor/", "/actor/%22%22", "/nothing"])
def test_nothing_is_suggested_where_nothing_is_near(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers={"Accept": "application/problem+json"})
    assert "suggestions" not in response.text


# Home and lists


def test_home_tells_what_the_graph_holds_and_what_turned_last(client: FlaskClient) -> None:
    response = client.get("/")
    page = " ".join(response.text.split())
    assert '47 acts of speech in <a href="/article/">13 articles</a> of 8 outlets, published from' in page
    assert '>19 June 2024</time> to <time datetime="2025-06-18">18 June 2025</time>' in page
    assert '<time datetime="2025-04-26">26 April 2025</time>' in page
    assert 'href="/article/russia-admits-north-korean-soldiers.html#s7">had denied</a>' in page
    assert "<strong>1 day later</strong>" in page
    assert "The fighting in the Kursk region has ended." in page
    assert "1 affirms it" in page and "1 denies it" in page
    assert "Three questions to try" in page
    assert f"curl -L {BASE}actor/russia" in page
    assert response.headers["KG-Revision"] == "117"


def test_home_of_an_empty_graph_says_so(library: Library) -> None:
    library.settle()
    page = create_app(library).test_client().get("/").text
    assert "It holds no articles yet." in page
    assert "No actor is known to have changed position." in page


def test_home_shows_the_rest_when_a_question_cannot_be_answered(library: Library) -> None:
    article = generate.article("x", [generate.Act("someone")]).document()
    library.journal.commit({article.iri: article}, agent="t")  # which nobody has brought to the index yet
    response = create_app(library).test_client().get("/")
    assert response.status_code == 200
    assert "The latest reversals are missing here: nothing is published yet" in " ".join(response.text.split())
    assert '1 act of speech in <a href="/article/">1 article</a>' in " ".join(response.text.split())
    assert response.headers["Cache-Control"] == "no-store"


def test_lists_tell_what_each_thing_is_in_the_reader_s_language(client: FlaskClient) -> None:
    actors = " ".join(client.get("/actor/", headers={"Accept": "text/html"}).text.split())
    assert (
        'Valery Gerasimov</a> <p><span dir="auto">person</span> · <span dir="auto">Chief of the General Staff</span></p>'
        in actors
    )
    articles = client.get("/article/", headers={"Accept": "text/html"}).text
    assert 'Reuters</span> · <span dir="auto">27 April 2025</span>' in articles
    in_russian = client.get("/actor/", headers={"Accept": "text/html", "Accept-Language": "ru"}).text
    assert (
        'dir="auto" lang="ru">Валерий Герасимов</a> <span class="also"><span dir="auto">Valery Gerasimov</span>'
        in in_russian
    )
