"""The header of a canned question is its interface: every file in `queries/` has a whole one, and it is read as it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyoxigraph as ox
import pytest

from kg import lexis, questions
from kg.errors import InvalidParameter, MalformedQuestion, UnknownQuestion
from kg.questions import RESERVED, Question, catalogue
from kg.terms import KINDS, PREFIXES, Base

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "queries").glob("*.rq"))
QUESTIONS = list(catalogue().values())

each_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)


def parsed(text: str) -> Question:
    return questions.read("an-id", text)


# The catalogue


def test_catalogue_holds_every_file_under_its_stem() -> None:
    assert list(catalogue()) == [path.stem for path in FILES]
    assert FILES
    assert all(question.id == name for name, question in catalogue().items())


@each_question
def test_id_is_a_slug_and_no_command(question: Question) -> None:
    assert Base("https://kg.example/").document_of(f"https://kg.example/event/{question.id}")
    assert question.id != "new"


@each_question
def test_header_is_whole(question: Question) -> None:
    assert question.summary.endswith("?")
    assert len(question.summary) < 120
    assert len(question.description) > 60
    assert question.tags
    assert all(meaning.strip() for meaning in question.columns.values())


@each_question
def test_every_parameter_says_what_it_is(question: Question) -> None:
    described = [parameter for parameter in question.parameters.values() if parameter.name != "retracted"]
    assert all(parameter.help for parameter in described)
    assert all(parameter.example or not parameter.required for parameter in described)


@each_question
def test_columns_of_the_header_are_those_of_the_answer_in_order(question: Question) -> None:
    answer = ox.Store().query(question.sparql)
    assert isinstance(answer, ox.QuerySolutions)
    assert [variable.value for variable in answer.variables] == list(question.columns)


#: The act that a row rests on, where that is not `act`, with what comes before `Article`, `Outlet` … in the columns about it.
ACTS = {
    "days-to-admission": {"claim": "", "admission": "admission"},
    "denied-what-was-admitted": {"admission": "admission", "denial": "denial"},
    "drifting-certainty": {"inner": "inner", "outer": "outer"},
    "first-claim-of-deployment": {"claim": "", "admission": "admission"},
    "latest-reversals": {"fromAct": "from", "toAct": "to"},
    "plans-that-came-true": {"plan": "plan", "fact": "fact"},
    "reported-differently": {"one": "one", "other": "other"},
    "reversals": {"fromAct": "from", "toAct": "to"},
    "standing-denials": {"denial": "", "admission": "admission"},
    "unnamed-only": {"origin": ""},
    "who-admitted-combat": {"admission": ""},
}

#: Rows that rest on no act: articles of the outlet that is asked for; what joins two propositions; a post that a document holds.
WITHOUT_ACTS = {"articles-of-outlet", "joined-propositions", "posts"}


@pytest.mark.parametrize(
    "question", [q for q in QUESTIONS if q.id not in WITHOUT_ACTS], ids=lambda question: question.id
)
def test_each_row_has_its_act_and_article_outlet_day_and_words(question: Question) -> None:
    for act, before in ACTS.get(question.id, {"act": ""}).items():
        of = [
            f"{before}{name.capitalize() if before else name}"
            for name in ("article", "outlet", "published", "quotation")
        ]
        assert {act, *of} <= question.columns.keys()
        assert of[-1] in question.evidence


@each_question
def test_chart_and_related_questions_are_there(question: Question) -> None:
    assert set(question.related) <= set(catalogue()) - {question.id}
    if question.chart is not None:
        assert question.chart == f"{question.id}.vl.json"
        specification = json.loads((ROOT / "queries" / question.chart).read_text("utf-8"))
        assert specification["data"] == {"name": "rows"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_as_it_stands_is_sparql_that_stays_at_home(path: Path) -> None:
    text = path.read_text("utf-8")
    ox.Store().query(text)
    assert lexis.undeclared_prefixes(text) == set()
    assert not lexis.words(text) & {"SERVICE", "LOAD"}
    declared = dict(re.findall(r"(?im)^\s*PREFIX\s+([\w-]*):\s*<([^>]+)>", text))
    assert {name: iri for name, iri in declared.items() if PREFIXES.get(name, iri) != iri} == {}


def test_charts_belong_to_questions() -> None:
    assert {path.name for path in (ROOT / "queries").glob("*.json")} == {q.chart for q in QUESTIONS if q.chart}


def test_unknown_question_names_near_ones() -> None:
    with pytest.raises(UnknownQuestion, match="did you mean contested"):
        questions.find("contestd")


def test_search_finds_all_words_and_prefers_the_question_itself() -> None:
    found = [question.id for question in questions.search("who admitted combat")]
    assert found[0] == "who-admitted-combat"
    assert questions.search("who quetzal") == []
    tagged = questions.search(tag="contested")
    assert tagged
    assert all("contested" in question.tags for question in tagged)


# A header

HEADED = """#+ summary: Who said what?
#+ description: |
#+   The first line.
#+
#+     An indented one: with a colon.
#+ tags: [a, b]
#+ endpoint_in_url: False
#+ defaults:
#+   - from: 2025-01-01
#+   - limit: 10
#+ enumerate:
#+   - stance: [Affirms, Denies]
#+ parameters:
#+   actor: {kind: actor, help: who, example: russia}
#+   stance: {kind: term}
#+ columns:
#+   act: what was said
#+   who: the speaker
#+ evidence: [act]
#+ related: [contested]
#+ empty: Nobody said anything.
PREFIX ekg: <https://w3id.org/ekg/ns#>
# an ordinary comment stays
SELECT ?act ?who { ?act ekg:speaker ?who, ?_actor_iri ; ekg:stance ?__stance_iri .
  FILTER (STR(?_from_date) < "x" && COALESCE(STR(?__asof_date), "9") > "1" && $_actor_iri != ?x_y) }
"""


def test_header_is_read_as_yaml() -> None:
    question = parsed(HEADED)
    assert question.id == "an-id"
    assert question.summary == "Who said what?"
    assert question.description == "The first line.\n\n  An indented one: with a colon."
    assert question.tags == ("a", "b")
    assert list(question.columns.items()) == [("act", "what was said"), ("who", "the speaker")]
    assert (question.evidence, question.related, question.empty) == (("act",), ("contested",), "Nobody said anything.")
    assert (question.limit, question.text) == (10, HEADED)


def test_parameters_are_the_variables_with_an_underscore_first() -> None:
    parameters = parsed(HEADED).parameters
    assert list(parameters) == ["actor", "stance", "from", "asof"]
    assert {name: (p.type, p.required, p.kinds) for name, p in parameters.items()} == {
        "actor": ("iri", True, ("actor",)),
        "stance": ("iri", False, ("term",)),
        "from": ("date", True, ()),
        "asof": ("date", False, ()),
    }
    assert parameters["from"].default == "2025-01-01"
    assert parameters["stance"].choices == ("Affirms", "Denies")
    assert "published by this day" in parameters["asof"].help


def test_grlc_s_list_and_a_mapping_are_the_same() -> None:
    listed = parsed("#+ columns:\n#+   - a: first\n#+   - b: second\nSELECT ?a ?b {}")
    assert listed.columns == parsed("#+ columns:\n#+   a: first\n#+   b: second\nSELECT ?a ?b {}").columns


def test_query_is_the_file_without_its_header() -> None:
    sparql = parsed(HEADED).sparql
    assert "#+" not in sparql
    assert sparql.startswith("PREFIX ekg:")
    assert "# an ordinary comment stays\n" in sparql
    assert sparql.endswith("}\n")


def test_query_without_a_header_is_a_question_named_by_its_id() -> None:
    question = parsed("SELECT * { ?s ?p ?o }")
    assert (question.summary, question.description, question.tags) == ("an-id", "", ())
    assert (question.columns, question.parameters, question.limit) == ({}, {}, 1000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#+ a: [\nSELECT * {}", "not YAML"),
        ("#+ just words\nSELECT * {}", "no mapping"),
        ("#+ sumary: x\nSELECT * {}", "sumary"),
        ("#+ defaults:\n#+   - x: 1\nSELECT * {}", "x, which the query has no variable for"),
        ("#+ evidence: [y]\nSELECT ?x {}", "y, which is no column"),
        ("#+ differs_on: {virtuso: why}\nSELECT ?x {}", "virtuso; told apart are virtuoso"),
        ("#+ description: see ?_x\nSELECT * {}", "as a variable"),
        ("SELECT * {} # ?_x\n# and ?_y", "as a variable"),
        ("ASK {}", "SELECT"),
        ("SELECT * {} LIMIT 3", "LIMIT"),
        ("SELECT * {} OFFSET 3", "OFFSET"),
        ("SELECT * {} VALUES ?x { 1 }", "VALUES"),
        ("SELECT ?_x {}", "only a variable"),
        ("SELECT DISTINCT ?y ?_x {}", "only a variable"),
        ("SELECT (COUNT(*) AS ?n) ?_x {} GROUP BY ?n", "only a variable"),
        ("SELECT (1 AS ?_x) {}", "only a variable"),
        ("SELECT * { BIND(1 AS ?_x) }", "only a variable"),
        ("SELECT * { { SELECT ?_x {} } }", "only a variable"),
        ("SELECT * { VALUES (?y ?_x) { (1 2) } }", "only a variable"),
        ("SELECT * { VALUES ?_x { 1 } }", "only a variable"),
        ("SELECT (COUNT(?y) AS ?n) {} GROUP BY ?_x", "only a variable"),
        ("SELECT * {} ORDER BY ?_x", "only a variable"),
        ("SELECT * { FILTER(BOUND(?_x)) }", "only a variable"),
        ("SELECT * { FILTER(!bound ( $__x )) }", "only a variable"),
        ("SELECT * { FILTER(?_x > 1 && STR(?__x) = '') }", "spelt both"),
        ("SELECT * { FILTER(?_x_date > 1 && ?_x_integer = 1) }", "spelt both"),
        ("SELECT * { ?s ?p ?_x_wrong_y }", "no parameter"),
        ("SELECT * { ?s ?p ?_x_decimal }", "no known type"),
        ("SELECT * { ?s ?p ?_x_iri }", "needs a kind"),
        ("#+ parameters:\n#+   x: {kind: actor}\nSELECT * { ?s ?p ?_x_date }", "needs a kind"),
        ("#+ parameters:\n#+   x: {kind: wizard}\nSELECT * { ?s ?p ?_x_iri }", "needs a kind"),
        ("#+ parameters:\n#+   x: {hlep: y}\nSELECT * { ?s ?p ?_x }", "hlep"),
        ("#+ defaults:\n#+   - x: soon\nSELECT * { ?s ?p ?_x_date }", "YYYY-MM-DD"),
        ("#+ defaults:\n#+   - limit: 0\nSELECT * { ?s ?p ?x }", "limit"),
        *((f"SELECT * {{ ?s ?p ?_{name} }}", "cannot be called") for name in sorted(RESERVED)),
    ],
)
def test_what_cannot_be_a_question_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(MalformedQuestion, match=re.escape(why)) as caught:
        parsed(text)
    assert caught.value.detail.startswith("queries/an-id.rq: ")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT (COALESCE(?_x, 1) AS ?y) ?z {}",
        "SELECT ?y { ?s ?p ?_x } GROUP BY ?y COALESCE(?_x, 1)",
        "SELECT ?y {} ORDER BY DESC(STR(?_x)) ?y",
        "SELECT ?y { ?s ?_x ?o FILTER EXISTS { ?s ?p ?_x } { SELECT ?y { ?y ?_x [] } LIMIT 3 } }",
    ],
)
def test_where_a_term_may_stand_a_parameter_may(text: str) -> None:
    parsed(text)


# Values


@pytest.mark.parametrize(
    ("parameter", "text", "written"),
    [
        ("?_x_date", "2024-02-29", '"2024-02-29"^^<http://www.w3.org/2001/XMLSchema#date>'),
        ("?_x_xsd_date", "2024-02-29", '"2024-02-29"^^<http://www.w3.org/2001/XMLSchema#date>'),
        ("?_x_boolean", "YES", '"true"^^<http://www.w3.org/2001/XMLSchema#boolean>'),
        ("?_x_boolean", "0", '"false"^^<http://www.w3.org/2001/XMLSchema#boolean>'),
        ("?_x_integer", "+007", '"7"^^<http://www.w3.org/2001/XMLSchema#integer>'),
        ("?_x_literal", 'a"\\b\nc', r'"a\"\\b\nc"'),
        ("?_x", "Росія", '"Росія"'),
        ("?_x_uk", "Росія", '"Росія"@uk'),
    ],
)
def test_value_becomes_a_term_of_its_type(parameter: str, text: str, written: str) -> None:
    question = parsed(f"SELECT * {{ ?s ?p {parameter} }}")
    term = question.parameters["x"].read(text)
    assert questions.written(term) == written
    assert question.bind({"x": term}) == f"SELECT * {{ ?s ?p  {written}  }}\n"


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("?_x_date", "2025-02-29"),
        ("?_x_date", "2025-2-9"),
        ("?_x_date", "20250209"),
        ("?_x_date", "٢٠٢٥-٠٢-٠٩"),
        ("?_x_date", "2025-02-09Z"),
        ("?_x_boolean", "perhaps"),
        ("?_x_integer", "1e3"),
        ("?_x_integer", "1" * 19),
        ("?_x_integer", ""),
        ("?_x", "a\x00b"),
        ("?_x", "\ud800"),
    ],
)
def test_value_of_another_type_is_refused_by_the_parameter_s_name(parameter: str, text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^x ") as caught:
        parsed(f"SELECT * {{ ?s ?p {parameter} }}").parameters["x"].read(text)
    assert caught.value.facts["parameter"] == "x"


def test_bounds_and_choices_are_kept() -> None:
    bounded = parsed("#+ parameters:\n#+   x: {minimum: 1, maximum: 5}\nSELECT * { ?s ?p ?_x_integer }").parameters["x"]
    bounded.read("5")
    with pytest.raises(InvalidParameter, match="from 1 to 5; got '6'"):
        bounded.read("6")
    chosen = parsed("#+ enumerate:\n#+   - x: [a, b]\nSELECT * { ?s ?p ?_x }").parameters["x"]
    with pytest.raises(InvalidParameter, match="one of a, b; got 'c'"):
        chosen.read("c")


def test_terms_of_the_vocabulary_are_given_by_name() -> None:
    stance = parsed(HEADED).parameters["stance"]
    assert {stance.read(text).value for text in ("Denies", "ekg:Denies")} == {PREFIXES["ekg"] + "Denies"}


def test_missing_and_unknown_parameters_are_named() -> None:
    question = parsed(HEADED)
    with pytest.raises(InvalidParameter, match="actor is required: who"):
        question.bind({"from": ox.Literal("x")})
    with pytest.raises(InvalidParameter, match="no parameter 'acter'; did you mean actor"):
        question.bind({"acter": ox.Literal("x")})


def test_kinds_of_parameters_are_kinds_of_documents_and_three_more() -> None:
    kinds = {kind for question in QUESTIONS for p in question.parameters.values() for kind in p.kinds}
    assert kinds <= {*KINDS, "act", "term", "iri"}
