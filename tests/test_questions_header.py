"""The header of a canned question is its interface: every file in `queries/` has a whole one, and it is read as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pyoxigraph as ox
import pytest
import yaml

from kg import lexis, questions
from kg.questions import Question, catalogue
from kg.terms import PREFIXES, Base

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "queries").glob("*.rq"))


def parsed(text: str) -> Question:
    return questions._parse("an-id", text)


def test_catalogue_holds_every_file_under_its_stem() -> None:
    assert list(catalogue()) == [path.stem for path in FILES]
    assert FILES
    assert all(question.id == name for name, question in catalogue().items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_id_is_a_slug(path: Path) -> None:
    assert Base("https://kg.example/").document_of(f"https://kg.example/event/{path.stem}")


@pytest.mark.parametrize("question", catalogue().values(), ids=lambda question: question.id)
def test_header_is_whole(question: Question) -> None:
    assert question.summary.endswith("?")
    assert len(question.summary) < 120
    assert len(question.description) > 60
    assert question.tags
    assert all(meaning.strip() for meaning in question.columns.values())


@pytest.mark.parametrize("question", catalogue().values(), ids=lambda question: question.id)
def test_header_says_nothing_that_is_not_read(question: Question) -> None:
    header = yaml.safe_load("\n".join(line[3:] for line in question.text.splitlines() if line.startswith("#+")))
    assert set(header) <= {"summary", "description", "tags", "columns", "defaults"}


@pytest.mark.parametrize("question", catalogue().values(), ids=lambda question: question.id)
def test_columns_of_the_header_are_those_of_the_answer_in_order(question: Question) -> None:
    answer = ox.Store().query(question.sparql)
    assert isinstance(answer, ox.QuerySolutions)
    assert [variable.value for variable in answer.variables] == list(question.columns)


@pytest.mark.parametrize("question", catalogue().values(), ids=lambda question: question.id)
def test_defaults_are_those_of_parameters(question: Question) -> None:
    """grlc's convention: the default of `on` is that of `?_on` or, with a type, of `?_on_date`."""
    names = {re.sub(r"^_", "", parameter).partition("_")[0] for parameter in question.parameters}
    assert set(question.defaults) <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_as_it_stands_is_sparql_that_stays_at_home(path: Path) -> None:
    text = path.read_text("utf-8")
    ox.Store().query(text)
    assert lexis.undeclared_prefixes(text) == set()
    assert not lexis.words(text) & {"SERVICE", "LOAD"}
    declared = dict(re.findall(r"(?im)^\s*PREFIX\s+([\w-]*):\s*<([^>]+)>", text))
    assert {name: iri for name, iri in declared.items() if PREFIXES.get(name, iri) != iri} == {}


HEADED = """#+ summary: Who said what?
#+ description: |
#+   The first line.
#+
#+     An indented one: with a colon.
#+ tags: [a, b]
#+ defaults:
#+   - actor: <https://kg.example/actor/russia>
#+   - from: 2025-01-01
#+   - limit: 10
#+ columns:
#+   - act: what was said
#+   - who: the speaker
PREFIX ekg: <https://w3id.org/ekg/ns#>
# an ordinary comment stays
SELECT ?act ?who { ?act ekg:speaker ?who, ?_actor_iri . FILTER (?_from_date < ?_limit_integer && ?_actor_iri != ?x_y) }
"""


def test_header_is_read_as_yaml_and_its_values_as_text() -> None:
    question = parsed(HEADED)
    assert question.id == "an-id"
    assert question.summary == "Who said what?"
    assert question.description == "The first line.\n\n  An indented one: with a colon."
    assert question.tags == ("a", "b")
    assert question.defaults == {"actor": "<https://kg.example/actor/russia>", "from": "2025-01-01", "limit": "10"}
    assert list(question.columns.items()) == [("act", "what was said"), ("who", "the speaker")]
    assert question.text == HEADED


def test_columns_may_be_a_mapping_too() -> None:
    assert parsed("#+ columns:\n#+   a: first\n#+   b: second\nASK {}").columns == {"a": "first", "b": "second"}


def test_query_is_the_file_without_its_header() -> None:
    sparql = parsed(HEADED).sparql
    assert "#+" not in sparql
    assert sparql.startswith("PREFIX ekg:")
    assert "# an ordinary comment stays\n" in sparql
    assert sparql.endswith("}\n")


def test_parameters_are_the_variables_with_an_underscore_first() -> None:
    assert parsed(HEADED).parameters == ("_actor_iri", "_from_date", "_limit_integer")


def test_query_without_a_header_is_a_question_named_by_its_id() -> None:
    question = parsed("ASK { ?s ?p ?o }")
    assert (question.summary, question.description, question.tags) == ("an-id", "", ())
    assert (question.columns, question.defaults, question.parameters) == ({}, {}, ())
    assert question.sparql == "ASK { ?s ?p ?o }\n"
