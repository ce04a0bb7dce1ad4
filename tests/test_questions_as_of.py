"""As of a day, a question answers what it would answer if nothing had been published since: without a date it reads much of that from
derived facts, with one it works it out from the acts, and the two must agree.

Asked are the seeds with the documents that were written to match the question in all ways, as of the days on which those were published.
"""

from __future__ import annotations

import pyoxigraph as ox
import pytest
from test_questions_on_seeds import BASE, SEEDS, derive, seeds_with

from kg import questions
from tests.bench.growth import ways

PUBLISHED = ox.NamedNode("https://schema.org/datePublished")

#: Questions of which the same cannot be said, and why.
LEFT_OUT = {
    "rings-and-unrooted": "which acts are the same, and whether a chain has found its root, is as known now",
    "attribution-depth": "a chain is followed through an article without a date, which itself is left out",
    "articles-with-proposition": "so is what an act passes on",
    "changed-between": "a retraction has a day of its own",
}

QUESTIONS = [
    question
    for question in questions.catalogue().values()
    if "asof" in question.parameters and question.id not in LEFT_OUT
]


def days(store: ox.Store) -> list[str]:
    """The days on which the documents appeared that are no seeds, without the last, by which everything has."""
    seeds = {f"{BASE}article/{path.stem}" for path in SEEDS.glob("article/*.ttl")}
    found = store.quads_for_pattern(None, PUBLISHED, None)
    return sorted({quad.object.value[:10] for quad in found if quad.graph_name.value not in seeds})[:-1]


def as_of(store: ox.Store, day: str) -> ox.Store:
    """What there was by that day. An article without a date may have come at any time, and is left out."""
    earlier = ox.Store()
    dated = {quad.subject: quad.object.value for quad in store.quads_for_pattern(None, PUBLISHED, None)}
    for name in store.named_graphs():
        if not name.value.startswith(f"{BASE}article/") or (name in dated and dated[name][:10] <= day):
            earlier.extend(store.quads_for_pattern(None, None, None, name))
    derive(earlier)
    return earlier


def answer(store: ox.Store, question: questions.Question, terms: dict[str, questions.Term]) -> list[str]:
    found = store.query(question.bind(terms), use_default_graph_as_union=True)
    assert isinstance(found, ox.QuerySolutions)
    return sorted(" ".join(f"{name.value}={row[name]}" for name in found.variables) for row in found)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_as_of_a_day_nothing_published_since_counts(question: questions.Question) -> None:
    store = seeds_with(question.id, "also")
    possible = days(store) or ["2025-04-27"]
    for day in {possible[len(possible) // 3], possible[-1]}:
        by_then = as_of(store, day)
        for _, terms in ways(question):
            given = {**terms, "asof": question.parameters["asof"].read(day)}
            assert answer(store, question, given) == answer(by_then, question, dict(terms)), day
