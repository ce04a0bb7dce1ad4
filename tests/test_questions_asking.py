"""A question asked of a library: names in any language become addresses, what is wrong is told at once, and the table leaves whole."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg import config as configuration
from kg import documents, questions, tables
from kg.asking import Desk
from kg.errors import AmbiguousName, InvalidParameter, KgError, NotFound, SnapshotGone, UnknownName
from kg.library import Library, open_library
from kg.names import Label, Names
from kg.questions import catalogue
from kg.register import Register, fold
from kg.tables import Column, Table
from kg.terms import XSD, Base

BASE = "https://kg.example/"

ACTS = questions.read(
    "acts",
    """#+ summary: What did this actor say?
#+ parameters:
#+   actor: {kind: [actor, place], help: who speaks}
#+   act: {kind: act}
#+   about: {kind: iri}
#+ columns:
#+   act: the act
#+   words: its words
#+ evidence: [words]
PREFIX ekg: <https://w3id.org/ekg/ns#>
PREFIX oa: <http://www.w3.org/ns/oa#>
SELECT ?act ?words WHERE {
  ?act ekg:speaker ?_actor_iri ; ekg:evidence/oa:hasSelector/oa:exact ?words .
  FILTER(STR(?act) = COALESCE(STR(?__act_iri), STR(?act)) && ?act != COALESCE(?__about_iri, <urn:x>) && STR(?__asof_date) != "x"
         || !COALESCE(?__retracted_boolean, false))
} ORDER BY STR(?act) ?words""",
)


@pytest.fixture(scope="module")
def desk(seeds: Library) -> Desk:
    return Desk(seeds)


def actor(slug: str, *labels: str) -> documents.Document:
    names = ", ".join(labels)
    text = f"<actor/{slug}> a ekg:State, ekg:Actor ; rdfs:label {names} ."
    prefixes = "@prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . "
    (found,) = documents.parse((prefixes + text).encode(), documents.TURTLE, Base(BASE), limit=2**20)
    return found


def names_of(library: Library) -> Names:
    return Names(Register(library.journal, library.config.data / "register.sqlite"))


# Names


@pytest.mark.parametrize(
    "text",
    [
        "https://kg.example/actor/valery-gerasimov",
        "actor/valery-gerasimov",
        "actor:valery-gerasimov",
        "valery-gerasimov",
        "Valery Gerasimov",
        "  valery   GERASIMOV ",
        "Валерий Герасимов",
        "валерий герасимов",
        "valery g",
        "Valery-Gerasimov",
        "ACTOR/Valery-Gerasimov",
        "/actor/valery-gerasimov.ttl",
        "https://kg.example/actor/valery-gerasimov.html",
        "<https://kg.example/actor/valery-gerasimov>",
    ],
)
def test_actor_is_named_by_address_slug_label_or_beginning(desk: Desk, text: str) -> None:
    assert desk.names.resolve(text, ["actor"]) == BASE + "actor/valery-gerasimov"


def test_other_label_and_proposition_s_text_are_names_too(desk: Desk) -> None:
    assert desk.names.resolve("Kursk region", ["place"]) == BASE + "place/kursk-region"
    found = desk.names.resolve("North Korean troops are present on Russian territory.", ["proposition"])
    assert found == BASE + "proposition/north-korean-troops-on-russian-territory"


def test_name_of_several_is_refused_with_all_of_them(desk: Desk) -> None:
    with pytest.raises(AmbiguousName, match=r"Russia \(actor/russia\)") as caught:
        desk.names.resolve("russ", ["actor"])
    matches = {match["iri"] for match in caught.value.facts["matches"]}
    assert {BASE + "actor/russia", BASE + "actor/russian-forces"} <= matches


def test_slug_of_two_kinds_is_refused_and_the_kind_decides(desk: Desk) -> None:
    with pytest.raises(AmbiguousName) as caught:
        desk.names.resolve("russia", ["actor", "place"])
    assert {match["iri"] for match in caught.value.facts["matches"]} == {BASE + "actor/russia", BASE + "place/russia"}
    assert desk.names.resolve("place/russia", ["actor", "place"]) == BASE + "place/russia"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Rusia", "did you mean Russia"),
        ("Gerasimov", "did you mean Valery Gerasimov"),
        ("zzz", "no actor is called 'zzz'"),
        ("actor/nobody", "no document https://kg.example/actor/nobody"),
        ("https://kg.example/place/kursk-region", "names no actor"),
        ("https://elsewhere.example/actor/russia", "is no actor here"),
        ("https://kg.example/actor/russia#x", "is no actor here"),
        ("<>", "no actor is called"),
    ],
)
def test_unknown_name_is_refused_with_near_ones(desk: Desk, text: str, why: str) -> None:
    with pytest.raises(UnknownName, match=why):
        desk.names.resolve(text, ["actor"])


def test_names_follow_the_journal(library: Library) -> None:
    names = names_of(library)
    with pytest.raises(UnknownName):
        names.resolve("Ruritania", ["actor"])
    library.accept([actor("ruritania", '"Ruritania"@en')], agent="t")
    assert names.resolve("ruritania", ["actor"]) == BASE + "actor/ruritania"
    library.accept([actor("ruritania", '"Strelsau"@en', '"Штрельзау"@ru')], agent="t")
    assert names.resolve("штрельзау", ["actor"]) == BASE + "actor/ruritania"
    assert names.label(BASE + "actor/ruritania") == "Strelsau"
    with pytest.raises(UnknownName):
        names.resolve("Ruritani", ["actor"])
    library.journal.commit({BASE + "actor/ruritania": None}, agent="t")
    with pytest.raises(UnknownName):
        names.resolve("Strelsau", ["actor"])


def test_names_are_collected_anew_where_their_file_is_lost_damaged_or_of_another_history(
    library: Library, tmp_path: Path
) -> None:
    library.accept([actor("ruritania", '"Ruritania"@en')], agent="t")
    path = library.config.data / "register.sqlite"
    names_of(library).resolve("Ruritania", ["actor"])
    for wal in path.parent.glob("register.sqlite-*"):
        wal.unlink()
    path.write_bytes(b"this is no database, " * 500)
    assert names_of(library).resolve("Ruritania", ["actor"])
    other = configuration.read({}, data=tmp_path / "other", base=BASE, query_processes=1)
    with open_library(other, create=True, owner=True) as elsewhere:
        elsewhere.accept([actor("syldavia", '"Syldavia"@en')], agent="t")
        names = Names(Register(elsewhere.journal, path))
        assert names.resolve("syldavia", ["actor"])
        with pytest.raises(UnknownName):
            names.resolve("Ruritania", ["actor"])


def test_labels_are_those_of_the_reader_s_languages_then_english_then_any(library: Library) -> None:
    names = names_of(library)
    west, east, nobody = BASE + "actor/zubrowka", BASE + "actor/graustark", BASE + "actor/nobody-here"
    library.accept([actor("zubrowka", '"Zubrowka"@en', '"Zubrówka"@pl', '"Zubrowka"@de-AT')], agent="t")
    library.accept([actor("graustark", '"Грауштарк"@uk', '"Graustark"@fr')], agent="t")
    assert names.labels([west], ["pl", "en"]) == {west: Label("Zubrówka", "pl")}
    assert names.labels([west], ["de", "en"]) == {west: Label("Zubrowka", "de-at")}
    assert names.labels([west], ["ko", "en"]) == {west: Label("Zubrowka", "en")}
    many = [f"{BASE}actor/none-{number}" for number in range(2_000)]
    found = names.labels([west, nobody, *many, east, west], ["ko", "uk", "en"])
    assert found[east] == Label("Грауштарк", "uk")
    assert found[nobody] == Label("nobody-here", None)
    assert list(found) == [west, nobody, *many, east]
    assert names.labels([]) == {}


def test_another_name_is_never_shown_before_a_label(desk: Desk) -> None:
    kursk = BASE + "place/kursk-region"
    assert desk.names.labels([kursk], ["en"]) == {kursk: Label("Kursk region", "en")}
    assert desk.names.labels([kursk], ["uk", "en"]) == {kursk: Label("Курська область", "uk")}


def test_register_of_another_layout_is_made_anew(library: Library) -> None:
    library.accept([actor("ruritania", '"Ruritania"@en', '"Рутенія"@uk')], agent="t")
    names_of(library).label(BASE + "actor/ruritania")
    connection = sqlite3.connect(library.config.data / "register.sqlite")
    connection.executescript("UPDATE layout SET text = 'of old'; DROP TABLE name; CREATE TABLE name (kind TEXT)")
    connection.close()
    found = names_of(library).labels([BASE + "actor/ruritania"], ["uk"])
    assert found == {BASE + "actor/ruritania": Label("Рутенія", "uk")}


def test_labels_are_compared_without_case_composition_and_spaces() -> None:
    assert fold("  Zelen\u0301skyy\u00a0 V. ") == fold("ZELE\u0143SKYY V.")
    assert fold("STRASSE") == fold("straße")


# Asking


def test_answer_has_typed_values_meanings_and_evidence(desk: Desk) -> None:
    wish = desk.understand(ACTS, {"actor": ["Valery Gerasimov"], "limit": ["1"]})
    table = desk.ask(wish)
    assert table.columns == (Column("act", "the act"), Column("words", "its words", evidence=True))
    assert wish.texts == {"actor": "actor/valery-gerasimov"}
    assert (len(table.rows), table.limit) == (1, 1)
    assert table.revision == desk.library.engine.reached()
    every = desk.ask(desk.understand(ACTS, {"actor": ["valery-gerasimov"]}))
    assert every.complete
    assert table.complete == (len(every.rows) <= 1)
    assert every.rows[0] == table.rows[0]


def test_what_was_asked_can_be_asked_again_by_what_the_answer_says(desk: Desk) -> None:
    wish = desk.understand(ACTS, {"actor": ["Валерий Герасимов"], "retracted": ["TRUE"], "asof": ["2025-05-01"]})
    assert wish.texts == {"actor": "actor/valery-gerasimov", "asof": "2025-05-01", "retracted": "yes"}
    again = desk.understand(ACTS, {name: [text] for name, text in wish.texts.items()})
    assert again == wish


def test_act_is_given_by_article_and_part(desk: Desk) -> None:
    for text in ("russia-admits-north-korean-soldiers#s2", BASE + "article/russia-admits-north-korean-soldiers#s2"):
        wish = desk.understand(ACTS, {"actor": ["valery-gerasimov"], "act": [text]})
        assert wish.terms["act"] == ox.NamedNode(BASE + "article/russia-admits-north-korean-soldiers#s2")
    for text in ("russia-admits-north-korean-soldiers#s999", "nothing#s1", "s2"):
        with pytest.raises(UnknownName, match=r"^act cannot be used"):
            desk.understand(ACTS, {"actor": ["valery-gerasimov"], "act": [text]})


def test_all_that_is_wrong_is_told_at_once_by_parameter(desk: Desk) -> None:
    given = {
        "actor": ["russ"],
        "asof": ["soon"],
        "limit": ["0"],
        "revision": ["x"],
        "wizard": ["1"],
        "retracted": ["no", "yes"],
    }
    with pytest.raises(InvalidParameter) as caught:
        desk.understand(ACTS, given)
    assert {entry["parameter"]: entry["type"] for entry in caught.value.facts["errors"]} == {
        "limit": "invalid-parameter",
        "revision": "invalid-parameter",
        "wizard": "invalid-parameter",
        "retracted": "invalid-parameter",
        "actor": "ambiguous-name",
        "asof": "invalid-parameter",
    }


def test_one_thing_wrong_is_raised_as_what_it_is(desk: Desk) -> None:
    with pytest.raises(InvalidParameter, match=r"^actor is required: who speaks") as missing:
        desk.understand(ACTS, {"actor": [" "]})
    assert type(missing.value) is InvalidParameter
    with pytest.raises(AmbiguousName) as caught:
        desk.understand(ACTS, {"actor": ["russ"]})
    assert caught.value.facts["parameter"] == "actor"
    assert len(caught.value.facts["errors"]) == 1


#: A parameter of each sort that there is, by its question; parameters of one sort are read alike.
SORTS = list(
    {
        (p.type, p.kinds, p.choices, p.minimum, p.maximum, p.required, p.default): (question, p.name)
        for question in (ACTS, *catalogue().values())
        for p in question.parameters.values()
    }.values()
)


@settings(max_examples=40, deadline=None)
@given(
    st.text(max_size=40) | st.sampled_from(["http://[", "actor:", "/", "a#b#c", "\\u0022", "x" * 10_000, "%", "'; --"])
)
def test_no_value_of_any_parameter_does_more_than_be_refused(desk: Desk, text: str) -> None:
    for question, name in SORTS:
        try:
            wish = desk.understand(question, {name: [text]})
        except InvalidParameter:
            continue
        term = wish.terms.get(name)
        if term is None:
            assert not text.strip()
        elif question.parameters[name].type == "iri":
            assert isinstance(term, ox.NamedNode)
        else:
            assert isinstance(term, ox.Literal)


def test_revision_is_answered_while_its_snapshot_lives_and_says_so_when_not(library: Library) -> None:
    question = questions.read(
        "labels",
        "SELECT ?label { ?x <http://www.w3.org/2000/01/rdf-schema#label> ?label } ORDER BY ?label",
    )
    desk = Desk(library)
    first = library.accept([actor("ruritania", '"Ruritania"@en')], agent="t").revision
    second = library.accept([actor("syldavia", '"Syldavia"@en')], agent="t").revision

    def labels(**given: str) -> tuple[int, list[str]]:
        table = desk.ask(desk.understand(question, {name: [value] for name, value in given.items()}))
        return table.revision, [tables.text_of(row[0]) for row in table.rows]

    assert labels() == (second, ["Ruritania", "Syldavia"])
    assert labels(revision=str(first)) == (first, ["Ruritania"])
    assert labels(revision=str(second)) == (second, ["Ruritania", "Syldavia"])
    with pytest.raises(NotFound, match="no revision 999 yet"):
        labels(revision="999")
    shutil.rmtree(next((library.config.data / "snapshots").glob(f"{first}-*")))
    with pytest.raises(SnapshotGone, match=f"revision {first} is no longer at hand") as caught:
        labels(revision=str(first))
    assert caught.value.facts["reached"] == second


# Forms


def literal(text: str, kind: str = "string") -> ox.Literal:
    return ox.Literal(text, datatype=ox.NamedNode(XSD + kind))


VALUES: dict[str, tuple[tables.Value, Any, str]] = {
    "iri": (ox.NamedNode(BASE + "actor/russia"), BASE + "actor/russia", "iri"),
    "text": (ox.Literal('a "b", c\nd | e\t<f>'), 'a "b", c\nd | e\t<f>', "text"),
    "named": (ox.Literal("Росія", language="uk"), "Росія", "text"),
    "date": (literal("2025-04-26", "date"), "2025-04-26", "date"),
    "days": (literal("-195", "integer"), -195, "integer"),
    "share": (literal("0.25", "decimal"), 0.25, "number"),
    "infinite": (literal("INF", "double"), "INF", "number"),
    "same": (literal("true", "boolean"), True, "boolean"),
    "none": (None, None, "empty"),
    "blank": (ox.BlankNode("b0"), "_:b0", "iri"),
    "formula": (ox.Literal("=HYPERLINK(1)"), "=HYPERLINK(1)", "text"),
}
TABLE = Table(
    "all-kinds",
    "Which kinds are there?",
    {"actor": "russia"},
    7,
    1000,
    True,
    tuple(Column(name, f"a {name}", name == "text") for name in VALUES),
    (tuple(value for value, _, _ in VALUES.values()),),
    Base(BASE),
)


def test_json_has_plain_values_and_the_type_of_each_column() -> None:
    found = json.loads(TABLE.write("json"))
    assert found["rows"] == [{name: plain for name, (_, plain, _) in VALUES.items()}]
    assert {column["name"]: column["type"] for column in found["columns"]} == {
        n: kind for n, (_, _, kind) in VALUES.items()
    }
    assert [column["name"] for column in found["columns"] if column["evidence"]] == ["text"]
    assert (found["question"], found["parameters"], found["revision"], found["complete"]) == (
        "all-kinds",
        {"actor": "russia"},
        7,
        True,
    )


def test_column_of_several_types_says_so() -> None:
    rows = ((literal("1", "integer"),), (ox.Literal("x"),))
    assert Table("q", "?", {}, 1, 9, True, (Column("c"),), rows).type_of(0) == "mixed"


@pytest.mark.parametrize("form", ["srj", "xml"])
def test_sparql_results_are_read_back_as_they_were(form: str) -> None:
    wanted = {"srj": ox.QueryResultsFormat.JSON, "xml": ox.QueryResultsFormat.XML}[form]
    parsed = ox.parse_query_results(TABLE.write(form), format=wanted)
    assert isinstance(parsed, ox.QuerySolutions)
    (row,) = parsed
    assert {name: row[name] for name in VALUES} == {name: value for name, (value, _, _) in VALUES.items()}


def test_csv_holds_text_as_it_is_and_no_formula() -> None:
    header, row = csv.reader(io.StringIO(TABLE.write("csv").decode(), newline=""))
    assert header == list(VALUES)
    found = dict(zip(header, row, strict=True))
    assert found["text"] == 'a "b", c\nd | e\t<f>'
    assert found["days"] == "-195"
    assert found["formula"] == "'=HYPERLINK(1)"
    assert found["none"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_no_cell_of_text_begins_as_a_formula(form: str, start: str) -> None:
    table = Table("q", "?", {}, 1, 9, True, (Column("c"),), ((ox.Literal(start + "1+1"),), (literal("-1", "integer"),)))
    text = table.write(form).decode()
    cells = list(csv.reader(io.StringIO(text, newline=""), delimiter="," if form == "csv" else "\t"))
    assert cells[1][0].startswith("'")
    assert cells[2] == ["-1"]


def test_excel_gets_its_mark() -> None:
    assert TABLE.write("csv", excel=True) == b"\xef\xbb\xbf" + TABLE.write("csv")


def test_tsv_has_a_line_a_row_and_a_tab_between_values() -> None:
    lines = TABLE.write("tsv").decode().splitlines()
    assert len(lines) == 2
    assert [len(line.split("\t")) for line in lines] == [len(VALUES)] * 2


def test_markdown_is_one_table_with_links() -> None:
    lines = TABLE.write("md").decode().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert "[actor/russia](https://kg.example/actor/russia)" in rows[2]
    assert r"d \| e \<f\>" in rows[2]
    assert lines[0] == "# Which kinds are there?"
    assert lines[-1] == "1 row, at revision 7."


def test_errors_of_questions_say_where_they_belong() -> None:
    for kind in (UnknownName, AmbiguousName):
        assert issubclass(kind, InvalidParameter)
        assert issubclass(kind, KgError)
