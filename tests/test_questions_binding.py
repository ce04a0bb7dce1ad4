"""A value is a term in the place of a variable and can be nothing else, whatever characters it has.

Proved on the algebra: a query with any value in it, read by rdflib, is the query with a harmless value in it, but for that term;
and Oxigraph reads the value as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyoxigraph as ox
import pytest
import rdflib
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rdflib.plugins.sparql import prepareQuery
from rdflib.plugins.sparql.parserutils import CompValue

from kg import questions
from kg.errors import InvalidParameter
from kg.questions import Question, catalogue

#: A parameter wherever a term may stand, next to whatever could grow together with it.
PLACES = """PREFIX ekg: <https://w3id.org/ekg/ns#>
SELECT ?s (CONCAT("?_v{type}", STR(?_v{type})) AS ?t) # no ?y here: <"'
WHERE {{
  ?s ekg:said ?_v{type}, $_v{type} . ?s ?p ?_v{type}.
  FILTER(STR(?_v{type})="?_v{type}" || 1<2 || ?_v{type}!=?s||STR(?_v{type})!='''?_v{type} " ' ''')
  OPTIONAL {{ ?s <urn:x?_v{type}> ?o FILTER EXISTS {{ ?o ekg:said ?_v{type} }} }}
  {{ SELECT ?s (COUNT(?_v{type}) AS ?n) WHERE {{ ?s ekg:said [] MINUS {{ ?s ekg:x ?_v{type} }} }} GROUP BY ?s HAVING (COUNT(*) > 1) }}
  BIND(IF(?_v{type} = ?s, ?_v{type}, "\\"?_v{type}") AS ?z)
}}
ORDER BY STR(?_v{type})
"""
HEADER = "#+ parameters:\n#+   v: {kind: iri}\n"

HOSTILE = [
    '" . ?s ?p ?o . #',
    '"} UNION { ?s ?p ?o } #',
    '"@en . } SELECT * WHERE { ?a ?b ?c . FILTER("" = "',
    "'; DROP ALL; #",
    '""" . } #',
    "\\",
    '\\"',
    "\\\\",
    "\\u0022 . ?s ?p ?o . #",
    "\\\\u0022 ) || true #",
    "\\U00000022",
    "\\u005C\\u0022",
    "\\uD800",
    "\\n\n\r\t\b\f",
    "?_v ?__v $_v",
    "#+ summary: x",
    "<urn:x> ?s ?p",
    "{{{}}}",
    "%s %(x)s {0}",
    "\u2028\u2029\x85\x0b\x1c",
    "\ufeff\u202e\u200d",
    "PREFIX ekg: <urn:y> SELECT * { ?s ?p ?o }",
    "-1",
    "^^<urn:t>",
]

texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text("\"'\\u0052U{}()<>#?_v$.;,@^|/\n\r\t en-1 ", max_size=30),
    st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
)


def question(kind: str) -> Question:
    return questions.read("places", (HEADER if kind == "_iri" else "") + PLACES.format(type=kind))


QUESTIONS = {kind: question(kind) for kind in ("", "_literal", "_en", "_iri")}


def shape(node: Any, term: Any) -> Any:
    """The algebra as plain data, with a mark in the place of one term."""
    if isinstance(node, CompValue):
        return node.name, {key: shape(value, term) for key, value in node.items() if key not in ("_vars", "lazy")}
    if isinstance(node, Mapping):
        return {shape(key, term): shape(value, term) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [shape(item, term) for item in node]
    if isinstance(node, set | frozenset):
        return sorted((shape(item, term) for item in node), key=repr)
    if isinstance(node, rdflib.term.Node):
        return (
            "THE VALUE"
            if node == term and not isinstance(node, rdflib.BNode)
            else "blank"
            if isinstance(node, rdflib.BNode)
            else node.n3()
        )
    return repr(node)


def algebra(bound: str, term: ox.NamedNode | ox.Literal) -> Any:
    value: rdflib.term.Node = rdflib.URIRef(term.value)
    if isinstance(term, ox.Literal):
        value = rdflib.Literal(term.value, lang=term.language)
    return shape(prepareQuery(bound).algebra, value)


HARMLESS: dict[str, ox.NamedNode | ox.Literal] = {
    "": ox.Literal("harmless"),
    "_literal": ox.Literal("harmless"),
    "_en": ox.Literal("harmless", language="en"),
    "_iri": ox.NamedNode("urn:harmless"),
}
EXPECTED = {kind: algebra(QUESTIONS[kind].bind({"v": term}), term) for kind, term in HARMLESS.items()}


def test_the_value_stands_in_every_place() -> None:
    for kind in QUESTIONS:
        assert str(EXPECTED[kind]).count("THE VALUE") >= 12


@settings(max_examples=40, deadline=None)
@given(texts, st.sampled_from(["", "_literal", "_en"]))
@example("\\u0022 . ?s ?p ?o . #", "")
@example("\\\\u0022 ) || true #", "_en")
def test_no_text_changes_the_query(text: str, kind: str) -> None:
    term = QUESTIONS[kind].parameters["v"].read(text)
    assert algebra(QUESTIONS[kind].bind({"v": term}), term) == EXPECTED[kind]


@settings(max_examples=40, deadline=None)
@given(texts)
@example("urn:x> ?s ?p")
@example("urn:\\u003E")
@example("http://e.org/%3E")
def test_no_iri_changes_the_query(text: str) -> None:
    for candidate in (text, f"urn:x:{text}", f"http://e.org/{text}"):
        try:
            term = QUESTIONS["_iri"].parameters["v"].read(candidate)
        except InvalidParameter:
            continue
        assert algebra(QUESTIONS["_iri"].bind({"v": term}), term) == EXPECTED["_iri"]


@settings(max_examples=150, deadline=None)
@given(texts)
def test_engine_reads_the_value_as_it_was_given(text: str) -> None:
    it = questions.read("one", 'SELECT ("a" AS ?one) (STRAFTER(CONCAT("-", ?_v), "-") AS ?value) {}')
    (row,) = ox.Store().query(it.bind({"v": it.parameters["v"].read(text)}, 10))  # type: ignore[misc]
    assert row["value"].value == text


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_question_binds_all_its_parameters(name: str) -> None:
    """With a value for each, the query parses and no parameter is left in it; with only what is required, the others stay.

    That rdflib reads the files, too, is shown where they run under grlc.
    """
    it = catalogue()[name]
    samples: dict[str, ox.NamedNode | ox.Literal] = {
        parameter.name: ox.NamedNode("https://kg.example/actor/x")
        if parameter.type == "iri"
        else parameter.read(
            {"date": "2025-01-01", "boolean": "yes", "integer": str(parameter.minimum or 1)}.get(parameter.type, "x")
        )
        for parameter in it.parameters.values()
        if not parameter.choices or parameter.type == "iri"
    } | {
        parameter.name: parameter.read(parameter.choices[0])
        for parameter in it.parameters.values()
        if parameter.choices and parameter.type != "iri"
    }
    bound = it.bind(samples, 7)
    ox.Store().query(bound)
    assert bound.endswith("\nLIMIT 7\n")
    assert "?_" not in bound
    required = {key: term for key, term in samples.items() if it.parameters[key].required}
    ox.Store().query(it.bind(required, 7))
