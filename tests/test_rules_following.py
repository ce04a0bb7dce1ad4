"""Derived facts: that following a change gives what a computation from scratch does."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pyoxigraph as ox
from deriving import (
    BASE,
    RULES,
    Derived,
    shortened,
    turns,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kg import rules
from kg.terms import EKG, RDF_TYPE

PROPOSITIONS, ARTICLES = (
    ("proposition/a", "proposition/b", "proposition/c", "proposition/d"),
    ("article/m", "article/n"),
)
ACTORS = ("actor/x", "actor/y")
ACTS = [f"{article}#{number}" for article in ARTICLES for number in (1, 2, 3)]
DAYS = st.sampled_from(["2025-01-01", "2025-01-02", "2025-01-03"])
PUBLISHED = ox.NamedNode("https://schema.org/datePublished")


def _node(name: str) -> ox.NamedNode:
    return ox.NamedNode(BASE + name)


def _term(local: str) -> ox.NamedNode:
    return ox.NamedNode(EKG + local)


def _day(text: str) -> ox.Literal:
    return ox.Literal(text, datatype=ox.NamedNode("http://www.w3.org/2001/XMLSchema#date"))


@st.composite
def a_proposition(draw: st.DrawFn, name: str) -> list[ox.Triple]:
    links = st.tuples(
        st.sampled_from(["entails", "entails", "contradicts", "sameClaimAs"]), st.sampled_from(PROPOSITIONS)
    )
    modality, aspect = draw(st.sampled_from(["Planned", "Actual"])), draw(st.sampled_from(["Occurrence", "Presence"]))
    return [
        *(ox.Triple(_node(name), _term(how), _node(to)) for how, to in draw(st.lists(links, max_size=2)) if to != name),
        ox.Triple(_node(name), _term("about"), _node(draw(st.sampled_from(["event/e", "event/f"])))),
        ox.Triple(_node(name), _term("modality"), _term(modality)),
        ox.Triple(_node(name), _term("aspect"), _term(aspect)),
    ]


@st.composite
def an_article(draw: st.DrawFn, name: str) -> list[ox.Triple]:
    article = _node(name)
    triples: list[ox.Triple] = []
    if day := draw(st.none() | DAYS):
        triples.append(ox.Triple(article, ox.NamedNode("https://schema.org/datePublished"), _day(day)))
    if draw(st.integers(0, 4)) == 0:
        triples.append(ox.Triple(article, _term("retractedAt"), ox.Literal("2025-02-01T00:00:00Z")))
    for number in draw(st.sets(st.sampled_from([1, 2, 3]), min_size=1)):
        act = _node(f"{name}#{number}")

        def say(predicate: str, *values: ox.NamedNode | ox.BlankNode, of: ox.NamedNode = act) -> None:
            triples.extend(ox.Triple(of, _term(predicate), value) for value in values)  # noqa: B023 — called at once

        say("reportedIn", article)
        say("speaker", _node(draw(st.sampled_from(ACTORS))))
        say("onBehalfOf", *([_node("actor/y")] if draw(st.booleans()) else []))
        say("voice", _term(draw(st.sampled_from(["Attributed", "Attributed", "Presupposed"]))))
        if contents := draw(st.sets(st.sampled_from(PROPOSITIONS), max_size=2)):
            say("content", *map(_node, contents))
            say("stance", _term(draw(st.sampled_from(["Affirms", "Affirms", "Denies", "Entertains"]))))
        say("reports", *map(_node, draw(st.sets(st.sampled_from(ACTS), max_size=2))))
        if draw(st.integers(0, 3)) == 0:
            say("sameActAs", _node(draw(st.sampled_from(ACTS))))
        bounds = sorted(draw(st.lists(DAYS, max_size=2)))
        if bounds or draw(st.booleans()):
            time = ox.BlankNode(f"{name[-1]}t{number}") if draw(st.booleans()) else _node(f"{name}#t{number}")
            say("time", time)
            triples += [ox.Triple(time, _term("earliest"), _day(bound)) for bound in bounds[:1]]
            triples += [ox.Triple(time, _term("latest"), _day(bound)) for bound in bounds[-1:]]
    return triples


@st.composite
def a_batch(draw: st.DrawFn) -> dict[str, list[ox.Triple]]:
    names = draw(
        st.lists(st.sampled_from([*PROPOSITIONS, *ARTICLES, *ARTICLES, *ACTORS]), min_size=1, max_size=3, unique=True)
    )
    documents: dict[str, list[ox.Triple]] = {}
    for name in names:
        one = a_document(name)
        documents[name] = draw(one | st.just([]))
    return documents


def a_document(name: str) -> st.SearchStrategy[list[ox.Triple]]:
    if name in ACTORS:
        return st.sampled_from(["UnnamedGroup", "UnnamedGroup", "State"]).map(
            lambda sort: [ox.Triple(_node(name), ox.NamedNode(RDF_TYPE), _term(sort))]
        )
    return an_article(name) if name in ARTICLES else a_proposition(name)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(a_batch(), min_size=1, max_size=5))
def test_following_gives_what_a_computation_from_scratch_does(batches: list[dict[str, list[ox.Triple]]]) -> None:
    derived = Derived()
    for batch in batches:
        derived.put(batch)
        assert derived.facts == derived.from_scratch()
        assert {triple for triple in derived.facts if triple.predicate == _term("origin")} == origins(derived.store)


TURNING = rules.in_order(
    [rule for rule in RULES if rule.name in ("implications", "conflicts", "days", "positions", "stands", "reversals")]
)
POSITIONS = {
    "proposition/a": [ox.Triple(_node("proposition/a"), _term("entails"), _node("proposition/b"))],
    "proposition/c": [ox.Triple(_node("proposition/c"), _term("contradicts"), _node("proposition/b"))],
}


def a_position(name: str, chance: random.Random) -> list[ox.Triple]:
    """An article with an act of one actor, whose day is often long before that of the article."""
    article, act, time = _node(name), _node(f"{name}#1"), _node(f"{name}#t1")
    day = chance.randint(1, 9)
    until = day if chance.random() < 0.8 else chance.randint(day, 9)
    triples = [
        ox.Triple(act, _term("reportedIn"), article),
        ox.Triple(act, _term(chance.choice(["speaker", "speaker", "onBehalfOf"])), _node("actor/x")),
        ox.Triple(act, _term("content"), _node(f"proposition/{chance.choice('abcc')}")),
        ox.Triple(act, _term("stance"), _term(chance.choice(["Affirms", "Affirms", "Denies"]))),
        ox.Triple(act, _term("time"), time),
        ox.Triple(time, _term("earliest"), _day(f"2025-01-0{day}")),
        ox.Triple(time, _term("latest"), _day(f"2025-01-0{until}")),
    ]
    return triples + published_on(article, chance)


def published_on(article: ox.NamedNode, chance: random.Random) -> list[ox.Triple]:
    triples = []
    if chance.random() < 0.9:
        triples.append(ox.Triple(article, PUBLISHED, _day(f"2025-02-0{chance.randint(1, 9)}")))
    if chance.random() < 0.1:
        triples.append(ox.Triple(article, _term("retractedAt"), ox.Literal("2025-03-01T00:00:00Z")))
    return triples


def test_what_was_a_reversal_on_a_day_is_what_follows_from_what_was_published_by_then() -> None:
    names = [f"article/{letter}" for letter in "mnopqrstuvwxyz"]
    for seed in range(12):
        chance = random.Random(seed)
        derived = Derived(TURNING)
        documents = {name: a_position(name, chance) for name in names}
        derived.put(POSITIONS | documents)
        for name in chance.sample(names, 3):
            told = [triple for triple in documents[name] if triple.subject != _node(name)]
            derived.put({name: told + published_on(_node(name), chance)})
        assert derived.facts == derived.from_scratch(), seed
        now = turns(shortened(derived.facts))
        printed = {
            quad.subject: quad.object.value  # type: ignore[union-attr] - a date, and no quoted triple
            for quad in derived.store.quads_for_pattern(None, PUBLISHED, None)
        }
        for today in ("2025-02-03", "2025-02-05", "2025-02-07"):
            later = {_node(name) for name in names if printed.get(_node(name), "never") > today}
            then = turns(shortened(derived.from_scratch(without=later)))
            assert {
                pair
                for pair, (sort, since, until) in now.items()
                if since and since <= today and (sort == "Reversal" or not until or today < until)
            } == {pair for pair, (sort, _, _) in then.items() if sort == "Reversal"}, (seed, today)


def origins(store: ox.Store) -> set[ox.Triple]:
    """What the rule of origins says in words, counted out step by step."""

    def pairs(predicate: str) -> dict[ox.Term, set[ox.Term]]:
        found: dict[ox.Term, set[ox.Term]] = {}
        for quad in store.quads_for_pattern(None, _term(predicate), None):
            found.setdefault(quad.subject, set()).add(quad.object)
        return found

    def from_here(start: ox.Term, steps: Mapping[ox.Term, set[ox.Term]]) -> set[ox.Term]:
        found: set[ox.Term] = set()
        ahead = set(steps.get(start, ()))
        while ahead - found:
            found |= ahead
            ahead = {to for one in ahead for to in steps.get(one, ())}
        return found

    reports, acts = pairs("reports"), pairs("reportedIn").keys()
    same = {act: one for act, (one,) in pairs("representative").items()}
    by_class: dict[ox.Term, set[ox.Term]] = {}
    for act, told in reports.items():
        by_class.setdefault(same[act], set()).update(same[one] for one in told if one in same)
    rings = {act for act in acts if same[act] in from_here(same[act], by_class)}
    return {
        ox.Triple(act, _term("origin"), root)
        for act in acts - rings
        for root in {act} | from_here(act, reports)
        if root not in reports and root not in rings
    }
