"""Derived facts: what each rule gives and what almost matches does not, and that following a change gives what a computation from scratch does."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from generate import Act
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kg import documents, lexis, questions, rules
from kg.config import Config
from kg.engine import Query, deriver
from kg.engine.deriver import Copy, Deriver, DerivingFailed, changed_by
from kg.engine.embedded import EmbeddedEngine
from kg.errors import ConfigurationError, KgError
from kg.library import Library, open_library
from kg.terms import EKG, RDF_TYPE
from tests.bench import growth

BASE = "https://kg.example/"
GRAPH = rules.graph_of(BASE)
RULES = rules.catalogue()

PROLOGUE = f"""
@prefix ekg: <{EKG}> . @prefix schema: <https://schema.org/> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix p: <{BASE}proposition/> . @prefix a: <{BASE}actor/> . @prefix : <{BASE}article/> .
"""

Documents = Mapping[str, Iterable[ox.Triple]]


class Derived:
    """Documents, and what follows from them, followed change by change."""

    def __init__(self, by: Sequence[rules.Rule] = RULES) -> None:
        self.by = by
        self.store = ox.Store()
        self._copy = Copy(self.store, GRAPH)

    def put(self, documents: Documents) -> None:
        gone: list[ox.Quad] = []
        come: list[ox.Quad] = []
        for name, new in documents.items():
            graph = ox.NamedNode(BASE + name)
            old = [quad.triple for quad in self.store.quads_for_pattern(None, None, None, graph)]
            less, more = changed_by(graph, old, new)
            gone, come = gone + less, come + more
        for quad in gone:
            self.store.remove(quad)
        self.store.extend(come)
        rules.difference(self._copy, self.by, BASE, _named(gone), _named(come))

    @property
    def facts(self) -> set[ox.Triple]:
        return {quad.triple for quad in self.store.quads_for_pattern(None, None, None, GRAPH)}

    def from_scratch(self, *, without: Container[ox.NamedNode] = ()) -> set[ox.Triple]:
        anew = ox.Store()
        anew.extend(quad for quad in self.store if quad.graph_name != GRAPH and quad.graph_name not in without)
        for _ in rules.everything(Copy(anew, GRAPH), self.by, BASE):
            pass
        return {quad.triple for quad in anew.quads_for_pattern(None, None, None, GRAPH)}


def _named(quads: Iterable[ox.Quad]) -> set[ox.Triple]:
    return {quad.triple for quad in quads if isinstance(quad.subject, ox.NamedNode)}


def derive(turtle: str) -> dict[str, list[tuple[str, str]]]:
    """What follows from documents given as Turtle: pairs of subject and value by predicate, without namespaces."""
    derived = Derived()
    triples = [quad.triple for quad in ox.parse(PROLOGUE + turtle, format=ox.RdfFormat.TURTLE)]
    derived.put({"article/all": triples})
    assert derived.facts == derived.from_scratch()
    return shortened(derived.facts)


def shortened(facts: Iterable[ox.Triple]) -> dict[str, list[tuple[str, str]]]:
    """Pairs of subject and value by predicate, without namespaces."""
    found: dict[str, list[tuple[str, str]]] = {}
    for triple in facts:
        found.setdefault(_short(triple.predicate), []).append((_short(triple.subject), _short(triple.object)))
    return {predicate: sorted(pairs) for predicate, pairs in found.items()}


def _short(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> str:
    return re.sub(r"^.*/(ns#)?", "", str(getattr(term, "value", term)))


def act(name: str, more: str = "", *, voice: str = "Attributed", speaker: str = "x") -> str:
    article = name.partition("-")[0]
    return f":{name} ekg:reportedIn :{article} ; ekg:voice ekg:{voice} ; ekg:speaker a:{speaker} . :{name} {more or 'ekg:certainty ekg:Certain'} .\n"


def said(name: str, stance: str, proposition: str, day: str = "", **more: str) -> str:
    """An act that takes a stance on a proposition, on a day: `2025-01-01`, or bounds `2025-01-01/`, `/2025-01-01`."""
    text = f"ekg:stance ekg:{stance} ; ekg:content p:{proposition}"
    first, _, last = day.partition("/") if "/" in day else (day, "", day)
    bounds = [f'{word} "{bound}"^^xsd:date' for word, bound in (("ekg:earliest", first), ("ekg:latest", last)) if bound]
    return act(name, text + (f" ; ekg:time [ {' ; '.join(bounds)} ]" if bounds else ""), **more)


def published(article: str, day: str) -> str:
    return f':{article} schema:datePublished "{day}"^^xsd:date .\n'


def of(facts: Mapping[str, list[tuple[str, str]]], predicate: str) -> dict[str, str]:
    return {
        subject: " ".join(v for s, v in facts.get(predicate, []) if s == subject)
        for subject, _ in facts.get(predicate, [])
    }


# Chains


def test_a_chain_leads_to_its_origin_and_counts_the_hops() -> None:
    facts = derive(act("m-1", "ekg:reports :m-2") + act("m-2", "ekg:reports :m-3") + said("m-3", "Affirms", "p"))
    assert of(facts, "origin") == {"m-1": "m-3", "m-2": "m-3", "m-3": "m-3"}
    assert of(facts, "depth") == {"m-1": "2", "m-2": "1", "m-3": "0"}
    assert set(of(facts, "chain").values()) == {"Rooted"}


def test_a_chain_that_branches_has_all_its_origins_and_the_depth_of_the_farthest() -> None:
    facts = derive(
        act("m-1", "ekg:reports :m-2, :m-3")
        + act("m-2", "ekg:reports :m-4")
        + act("m-3", "ekg:reports :m-5")
        + act("m-5", "ekg:reports :m-4")
        + said("m-4", "Affirms", "p")
        + act("n-1", "ekg:reports :m-3, :n-2")
        + said("n-2", "Affirms", "p")
    )
    assert of(facts, "origin")["n-1"] == "m-4 n-2"
    assert of(facts, "depth") == {"m-1": "3", "m-2": "1", "m-3": "2", "m-4": "0", "m-5": "1", "n-1": "3", "n-2": "0"}


def test_a_ring_over_two_articles_has_no_origin() -> None:
    """Each outlet has the other's act as one of its own, and names it the same."""
    facts = derive(
        act("m-1", "ekg:reports :m-2")
        + act("m-2", "ekg:sameActAs :n-1 ; ekg:content p:p ; ekg:stance ekg:Affirms")
        + act("n-1", "ekg:reports :n-2")
        + act("n-2", "ekg:sameActAs :m-1 ; ekg:content p:p ; ekg:stance ekg:Affirms")
        + act("o-1", "ekg:reports :m-1")
        + act("q-1", "ekg:reports :q-2")
        + said("q-2", "Affirms", "p")
    )
    assert of(facts, "chain") == {
        "m-1": "Ring", "m-2": "Ring", "n-1": "Ring", "n-2": "Ring", "o-1": "Ring", "q-1": "Rooted", "q-2": "Rooted",
    }  # fmt: skip
    assert set(of(facts, "origin")) == {"q-1", "q-2"} == set(of(facts, "depth"))
    assert of(facts, "originsAffirming") == {"p": "1"}


def test_who_returns_to_itself_by_an_act_that_is_the_same_has_no_origin_whatever_else_it_reports() -> None:
    """Nobody reports m-1 itself: it is told again as n-2, and that is what the ring comes back to."""
    facts = derive(
        act("m-1", "ekg:reports :m-2, :q-1")
        + act("m-2", "ekg:sameActAs :n-1")
        + act("n-1", "ekg:reports :n-2")
        + act("n-2", "ekg:sameActAs :m-1")
        + act("o-1", "ekg:reports :m-1")
        + act("o-2", "ekg:reports :o-1, :q-1")
        + said("q-1", "Affirms", "p")
    )
    assert of(facts, "origin") == {"o-1": "q-1", "o-2": "q-1", "q-1": "q-1"}
    assert {name for name, chain in of(facts, "chain").items() if chain == "Ring"} == {"m-1", "m-2", "n-1", "n-2"}
    assert of(facts, "depth") == {"o-1": "1", "o-2": "2", "q-1": "0"}, "who only goes round is no hop"


def test_a_chain_is_unrooted_where_nobody_located_its_end() -> None:
    facts = derive(
        act("m-1", "ekg:reports :m-2")
        + said("m-2", "Affirms", "p", voice="Presupposed")
        + act("n-1", "ekg:reports :n-2")
        + act("n-2")
        + act("o-1", "ekg:reports :o-2, :o-3")
        + said("o-2", "Affirms", "p", voice="Presupposed")
        + said("o-3", "Affirms", "p")
        + act("q-1", "ekg:evaluates a:y")
        + said("r-1", "Affirms", "p", voice="Presupposed")
        + said("r-2", "Affirms", "p")
        + ":r-1 ekg:sameActAs :r-2 ."
    )
    unrooted = {name for name, chain in of(facts, "chain").items() if chain == "Unrooted"}
    assert unrooted == {"m-1", "m-2", "n-1", "n-2", "o-2"}


def test_acts_are_the_same_by_word_or_by_speaker_content_stance_and_day() -> None:
    day, other = "2025-01-01", "2025-01-02"
    facts = derive(
        said("m-1", "Affirms", "p", day)
        + said("n-1", "Affirms", "p", day)
        + said("o-1", "Affirms", "p", other)
        + said("o-2", "Denies", "p", day)
        + said("o-3", "Affirms", "q", day)
        + said("o-4", "Affirms", "p", day, speaker="y")
        + said("o-5", "Affirms", "p", f"{day}/{other}")
        + said("o-6", "Affirms", "p", f"{day}/{other}")
        + said("o-7", "Affirms", "p")
        + said("o-8", "Affirms", "p")
        + ":n-1 ekg:content p:p . :o-8 ekg:sameActAs :o-7 . :r-1 ekg:sameActAs :n-1 ."
        + act("r-1")
    )
    together = {name: of_all for name, of_all in of(facts, "representative").items() if name != of_all}
    assert together == {"n-1": "m-1", "r-1": "m-1", "o-8": "o-7"}


# Propositions


def test_entailment_is_closed_and_runs_one_way() -> None:
    facts = derive("p:a ekg:entails p:b . p:b ekg:entails p:c . p:d ekg:sameClaimAs p:a .")
    assert of(facts, "implies") == {"a": "b c d", "b": "c", "d": "a b c"}


def test_a_circle_of_entailment_implies_nothing_of_itself() -> None:
    assert of(derive("p:a ekg:entails p:b . p:b ekg:entails p:a ."), "implies") == {"a": "b", "b": "a"}


def test_conflict_goes_both_ways_and_through_what_is_implied_only() -> None:
    facts = derive("p:a ekg:contradicts p:b . p:c ekg:entails p:a . p:d ekg:entails p:b . p:a ekg:entails p:e .")
    assert of(facts, "conflictsWith") == {"a": "b d", "b": "a c", "c": "b d", "d": "a c"}


def test_the_first_to_affirm_counts_what_implies_it_and_not_what_it_implies() -> None:
    facts = derive(
        "p:a ekg:entails p:b . p:b ekg:entails p:c ."
        + said("m-1", "Affirms", "c", "2025-01-01")
        + said("m-2", "Affirms", "a", "2025-01-03")
        + said("m-3", "Affirms", "b", "2025-01-04")
        + said("m-4", "Entertains", "b", "2025-01-01")
        + said("m-5", "Denies", "b", "2025-01-02")
        + said("m-6", "Denies", "b", "/2025-01-05")
    )
    assert of(facts, "firstAffirmed") == {"a": "m-2", "b": "m-2", "c": "m-1"}
    assert of(facts, "firstAffirmedOn")["b"] == "2025-01-03"
    assert of(facts, "firstDenied") == {"b": "m-5"}, "who denies what follows denies just that"


def test_the_day_is_that_of_the_article_only_where_the_act_has_no_time() -> None:
    facts = derive(
        published("m", "2025-01-05")
        + said("m-1", "Affirms", "a")
        + said("m-2", "Affirms", "a", "2025-01-01/")
        + said("m-3", "Affirms", "a", "/2025-01-02")
        + said("m-4", "Affirms", "a", "2025-01-06/")
        + said("n-1", "Affirms", "a")
    )
    assert of(facts, "earliestDay") == {"m-1": "2025-01-05", "m-2": "2025-01-01", "m-4": "2025-01-06"}
    assert of(facts, "latestDay") == {"m-1": "2025-01-05", "m-2": "2025-01-05", "m-3": "2025-01-02"}


def test_ten_reprints_are_one_origin() -> None:
    source = said("m-1", "Affirms", "p", "2025-01-01")
    reprints = "".join(said(f"n{i}-1", "Affirms", "p") + f":n{i}-1 ekg:reports :m-1 .\n" for i in range(10))
    facts = derive(source + reprints + said("o-1", "Affirms", "p", "2025-01-02") + said("o-2", "Denies", "p"))
    assert of(facts, "originsAffirming") == {"p": "2"}
    assert of(facts, "originsDenying") == {"p": "1"}


def test_what_a_reprint_leaves_out_of_the_chain_makes_it_no_origin() -> None:
    ministry, agency = said("m-1", "Affirms", "p", speaker="ministry"), said("m-2", "Affirms", "p", speaker="agency")
    reprint = said("n-1", "Affirms", "p", speaker="agency")
    assert of(derive(ministry + agency + ":m-2 ekg:reports :m-1 ." + reprint), "originsAffirming") == {"p": "2"}
    one = derive(ministry + agency + ":m-2 ekg:reports :m-1 ." + reprint + ":n-1 ekg:sameActAs :m-2 .")
    assert of(one, "originsAffirming") == {"p": "1"}
    assert of(derive(ministry + agency + reprint + ":n-1 ekg:sameActAs :m-2 ."), "originsAffirming") == {"p": "2"}


def test_an_act_still_stands_until_everybody_behind_it_took_the_other_side_on_a_later_day() -> None:
    said_so = said("m-1", "Affirms", "q", "2025-01-02") + "p:q ekg:entails p:p .\n"
    for stance, day, stands in (
        ("Denies", "2025-01-03", False),
        ("Denies", "2025-01-02", True),
        ("Denies", "2025-01-01", True),
        ("Denies", "", True),
        ("Entertains", "2025-01-03", True),
        ("Affirms", "2025-01-03", True),
    ):
        facts = derive(said_so + said("n-1", stance, "p", day))
        assert ("m-1", "p") in facts["stillAffirms"] or not stands, (stance, day)
        assert stands or ("m-1", "p") not in facts["stillAffirms"], (stance, day)
        assert ("m-1", "q") in facts["stillAffirms"], "who denies what it implies has not denied it"
    taken_back = said("n-1", "Denies", "p", "2025-01-03")
    assert ("m-1", "p") in derive(said_so + taken_back + ":m-1 ekg:onBehalfOf a:y .")["stillAffirms"]
    assert ("m-1", "p") not in derive(said_so + taken_back + ":m-1 ekg:onBehalfOf a:y . :n-1 ekg:onBehalfOf a:y .")[
        "stillAffirms"
    ]
    spokesman = said("m-1", "Denies", "p", "2025-01-01", speaker="z") + ":m-1 ekg:onBehalfOf a:y ."
    general = said("n-1", "Affirms", "p", "2025-01-02", speaker="w")
    assert derive(spokesman + general)["stillDenies"] == [("m-1", "p")]
    assert "stillDenies" not in derive(spokesman + general + ":n-1 ekg:onBehalfOf a:y ."), (
        "a spokesman's word is not his own"
    )
    assert "contested" not in derive(spokesman + general + ":n-1 ekg:onBehalfOf a:y .")
    undated = said("m-1", "Denies", "p") + said("n-1", "Affirms", "p", "2025-01-01")
    assert derive(undated)["stillAffirms"] == [("n-1", "p")] and "stillDenies" not in derive(undated)


def test_who_denies_a_claim_disputes_it_in_all_words_in_which_it_was_put() -> None:
    same = "p:p ekg:entails p:q . p:q ekg:entails p:p . p:q ekg:sameClaimAs p:r . p:r ekg:entails p:weaker .\n"
    denied = said("m-1", "Denies", "p", "2025-01-02")
    assert derive(same + denied)["disputes"] == [("m-1", "p"), ("m-1", "q"), ("m-1", "r")]


def test_contested_since_both_sides_had_certainly_been_taken() -> None:
    claimed = said("m-1", "Affirms", "p", "2025-01-01/2025-01-10") + said("m-2", "Affirms", "p", "2025-01-12")
    denied = said("n-1", "Denies", "p", "2025-01-05", speaker="y")
    assert of(derive(claimed + denied), "contestedSince") == {"p": "2025-01-10"}
    assert of(derive(claimed), "affirmedSince") == {"p": "2025-01-10"} and "contestedSince" not in derive(claimed)
    undated = said("n-1", "Denies", "p", speaker="y")
    facts = derive(claimed + undated)
    assert of(facts, "contested") == {"p": "true"} and "contestedSince" not in facts
    taken_back = said("o-1", "Affirms", "p", "2025-01-06", speaker="y")
    assert "contested" not in derive(claimed + denied + taken_back)
    assert "contested" not in derive(claimed + said("n-1", "Denies", "p", "2025-01-12")), (
        "one who says both is nobody's opponent"
    )


PLANNED = "p:plan ekg:modality ekg:Planned ; ekg:about a:e . p:fact ekg:modality ekg:Actual ; ekg:aspect ekg:Occurrence ; ekg:about a:e .\n"


def test_a_plan_came_true_as_what_was_first_affirmed_later() -> None:
    told, done = said("m-1", "Entertains", "plan", "2025-01-01"), said("n-1", "Affirms", "fact", "2025-01-02")
    assert of(derive(PLANNED + told + done), "cameTrueAs") == {"plan": "fact"}
    for what, turtle in {
        "told on the same day": PLANNED + told + said("n-1", "Affirms", "fact", "2025-01-01"),
        "perhaps told later": PLANNED + said("m-1", "Affirms", "plan", "2025-01-01/2025-01-02") + done,
        "affirmed before": PLANNED + told + done + said("o-1", "Affirms", "fact", "2024-12-31"),
        "denied": PLANNED + said("m-1", "Denies", "plan", "2025-01-01") + done,
        "only entertained": PLANNED + told + said("n-1", "Entertains", "fact", "2025-01-02"),
        "of another thing": PLANNED.replace("a:e", "a:f", 1) + told + done,
        "not that it took place": PLANNED.replace("Occurrence", "Presence") + told + done,
        "both planned": PLANNED.replace("Actual", "Planned") + told + done,
        "retracted": PLANNED + told + done + ':m ekg:retractedAt "2025-02-01T00:00:00Z"^^xsd:dateTime .',
    }.items():
        assert "cameTrueAs" not in derive(turtle), what
    assert of(derive(PLANNED.replace("Planned", "Hypothetical") + told + done), "cameTrueAs") == {"plan": "fact"}


def test_a_proposition_rests_on_unnamed_groups_until_somebody_with_a_name_upholds_it() -> None:
    rumour = "a:crowd a ekg:UnnamedGroup . p:q ekg:entails p:p .\n" + said("m-1", "Affirms", "p", speaker="crowd")
    passed_on = act("n-1", "ekg:reports :m-1", speaker="agency")
    assert of(derive(rumour + passed_on), "unnamedOnly") == {"p": "true"}
    for more in (
        said("o-1", "Affirms", "p"),
        said("o-1", "Affirms", "q"),
        said("o-1", "Affirms", "p", speaker="crowd") + ":o-1 ekg:onBehalfOf a:ministry .",
        ":m-1 ekg:onBehalfOf a:ministry .",
    ):
        assert "p" not in of(derive(rumour + more), "unnamedOnly"), more
    for more in (
        said("o-1", "Denies", "p"),
        said("o-1", "Entertains", "p"),
        said("o-1", "Affirms", "p") + ':o ekg:retractedAt "2025-02-01T00:00:00Z"^^xsd:dateTime .',
    ):
        assert "p" in of(derive(rumour + more), "unnamedOnly"), more


def test_retracted_articles_count_for_nothing_but_their_own_chains() -> None:
    facts = derive(
        said("m-1", "Affirms", "p", "2025-01-01")
        + said("n-1", "Affirms", "p", "2025-01-02")
        + said("n-2", "Denies", "p", "2025-01-03")
        + said("o-1", "Affirms", "p", "2025-01-04")
        + ":o-1 ekg:reports :m-1 ."
        + ':m ekg:retractedAt "2025-02-01T00:00:00Z"^^xsd:dateTime .'
    )
    assert of(facts, "firstAffirmed") == {"p": "n-1"}
    assert of(facts, "originsAffirming") == {"p": "1"}
    assert of(facts, "origin")["m-1"] == "m-1" and of(facts, "origin")["o-1"] == "m-1"
    assert sorted(of(facts, "toAct").values()) == ["n-2", "o-1"]


# Reversals

DENIED = said("m-1", "Denies", "b", "/2025-02-27", speaker="russia")


def reversals(turtle: str) -> list[tuple[str, str, str]]:
    """From which act to which, and the days between."""
    facts = derive("p:a ekg:entails p:b . p:b ekg:entails p:c . p:x ekg:contradicts p:b .\n" + turtle)
    days, to = of(facts, "days"), of(facts, "toAct")
    return sorted((start, to[node], days[node]) for node, start in of(facts, "fromAct").items())


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        pytest.param(said("n-1", "Affirms", "b", "2025-03-01", speaker="russia"), [("m-1", "n-1", "2")], id="the same"),
        pytest.param(said("n-1", "Affirms", "a", "2025-03-01", speaker="russia"), [("m-1", "n-1", "2")], id="what implies it"),
        pytest.param(said("n-1", "Affirms", "c", "2025-03-01", speaker="russia"), [], id="what it implies"),
        pytest.param(said("n-1", "Affirms", "b", "2025-02-27", speaker="russia"), [], id="the same day"),
        pytest.param(said("n-1", "Affirms", "b", "2025-02-28", speaker="russia"), [("m-1", "n-1", "1")], id="the next day"),
        pytest.param(said("n-1", "Affirms", "b", "2025-02-20/2025-03-01", speaker="russia"), [], id="perhaps earlier"),
        pytest.param(said("n-1", "Affirms", "b", "/2025-03-01", speaker="russia"), [], id="of unknown beginning"),
        pytest.param(said("n-1", "Affirms", "b", "2025-03-01", speaker="belarus"), [], id="an ally"),
        pytest.param(said("n-1", "Denies", "b", "2025-03-01", speaker="russia"), [], id="denied again"),
        pytest.param(said("n-1", "Entertains", "b", "2025-03-01", speaker="russia"), [], id="entertained"),
        pytest.param(
            said("n-1", "Affirms", "b", "2025-03-01", speaker="general") + ":n-1 ekg:onBehalfOf a:russia .",
            [("m-1", "n-1", "2")],
            id="spoken for",
        ),
        pytest.param(
            said("n-1", "Denies", "b", "2025-02-28", speaker="russia") + said("n-2", "Affirms", "b", "2025-03-01", speaker="russia"),
            [("n-1", "n-2", "1")],
            id="from the last denial",
        ),
        pytest.param(
            said("n-1", "Affirms", "b", "2025-03-01", speaker="russia") + said("n-2", "Affirms", "b", "2025-03-09", speaker="russia"),
            [("m-1", "n-1", "2")],
            id="to the first affirmation",
        ),
    ],
)  # fmt: skip
def test_from_denial_to_affirmation(later: str, expected: list[tuple[str, str, str]]) -> None:
    assert reversals(DENIED + later) == expected


def test_from_affirmation_to_denial() -> None:
    before = said("m-1", "Affirms", "a", "2024-02-28", speaker="x")
    assert reversals(before + said("n-1", "Denies", "b", "2024-03-01")) == [("m-1", "n-1", "2")], "a leap year"
    assert reversals(said("m-1", "Affirms", "c", "2024-02-28") + said("n-1", "Denies", "b", "2024-03-01")) == []


def test_from_one_affirmation_to_one_that_conflicts() -> None:
    before = said("m-1", "Affirms", "a", "2023-12-31")
    assert reversals(before + said("n-1", "Affirms", "x", "2024-01-01")) == [("m-1", "n-1", "1")]
    assert reversals(before + said("n-1", "Affirms", "x", "2023-12-31")) == []
    assert reversals(before + said("n-1", "Affirms", "c", "2024-01-01")) == []


def test_a_reversal_is_known_since_the_later_publication() -> None:
    both = DENIED + said("n-1", "Affirms", "b", "2025-03-01", speaker="russia")
    assert "knownSince" not in derive(both + published("n", "2025-04-01"))
    facts = derive(both + published("n", "2025-04-01") + published("m", "2025-05-01"))
    assert [day for _, day in facts["knownSince"]] == ["2025-05-01"]


def turns(facts: Mapping[str, list[tuple[str, str]]]) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Pairs of acts: of which class each is, since when it is known, and when it was superseded."""
    since, until, to = of(facts, "knownSince"), of(facts, "supersededOn"), of(facts, "toAct")
    classes = {node: sort for node, sort in facts.get("22-rdf-syntax-ns#type", []) if sort != "prov#Entity"}
    return {
        (start, to[node]): (classes[node], since.get(node, ""), until.get(node, ""))
        for node, start in of(facts, "fromAct").items()
    }


TURNED = (
    DENIED
    + said("n-1", "Affirms", "b", "2025-03-05", speaker="russia")
    + published("m", "2025-03-01")
    + published("n", "2025-04-01")
)


@pytest.mark.parametrize(
    ("between", "of_the_pair"),
    [
        pytest.param("", ("Reversal", "2025-04-01", ""), id="nothing"),
        pytest.param(published("o", "2025-04-02"), ("FormerReversal", "2025-04-01", "2025-04-02"), id="known a day later"),
        pytest.param(published("o", "2025-04-01"), None, id="known on the same day"),
        pytest.param(published("o", "2025-03-31"), None, id="known before"),
        pytest.param(":o schema:url <http://x.example/> .", ("FormerReversal", "2025-04-01", ""), id="in an article without a date"),
        pytest.param(published("o", "2025-04-02") + ':o ekg:retractedAt "2025-05-01T00:00:00Z"^^xsd:dateTime .',
                     ("Reversal", "2025-04-01", ""), id="retracted"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stance", ["Affirms", "Denies"])
def test_a_pair_is_a_former_reversal_where_an_act_in_between_became_known_later(
    stance: str, between: str, of_the_pair: tuple[str, str, str] | None
) -> None:
    nearer = said("o-1", stance, "b", "2025-03-03", speaker="russia") if between else ""
    assert turns(derive(TURNED + nearer + between)).get(("m-1", "n-1")) == of_the_pair


def test_of_two_that_conflict_an_act_in_between_on_either_makes_a_former_reversal() -> None:
    conflict = "p:x ekg:contradicts p:b .\n"
    pair = said("m-1", "Affirms", "b", "2025-01-01") + said("n-1", "Affirms", "x", "2025-01-05")
    days = (
        published("m", "2025-01-10")
        + published("n", "2025-01-10")
        + published("o", "2025-01-12")
        + published("q", "2025-01-11")
    )
    for one in ("b", "x"):
        found = turns(derive(conflict + pair + days + said("o-1", "Affirms", one, "2025-01-03")))
        assert found["m-1", "n-1"] == ("FormerReversal", "2025-01-10", "2025-01-12"), one
        known = turns(derive(conflict + pair + days + said("m-2", "Affirms", one, "2025-01-03")))
        assert ("m-1", "n-1") not in known, one
    both = said("o-1", "Affirms", "b", "2025-01-03") + said("q-1", "Affirms", "x", "2025-01-04")
    assert turns(derive(conflict + pair + days + both))["m-1", "n-1"] == ("FormerReversal", "2025-01-10", "2025-01-11")
    denied = said("o-1", "Denies", "b", "2025-01-03")
    assert turns(derive(conflict + pair + days + denied))["m-1", "n-1"] == ("Reversal", "2025-01-10", "")


# Following


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


# In the service


def facts_of(library: Library) -> set[str]:
    query = Query(f"CONSTRUCT {{ ?s ?p ?o }} WHERE {{ GRAPH <{GRAPH.value}> {{ ?s ?p ?o }} }}", triples="nt")
    return set(library.answer(query).read().decode().splitlines())


def rows(library: Library, text: str) -> list[list[str]]:
    body = library.answer(Query(text, base=BASE, solutions="csv")).read().decode()
    return [line.split(",") for line in body.replace(BASE, "").splitlines()[1:]]


def test_the_chain_of_the_seed_article_leads_to_the_general(seeded: Library) -> None:
    article = "article/russia-admits-north-korean-soldiers"
    found = rows(seeded, f"SELECT ?act ?origin ?depth {{ VALUES ?act {{ <{article}#s4> <{article}#s5> <{article}#s6> <{article}#s2> }}"
                 " ?act ekg:origin ?origin ; ekg:depth ?depth ; ekg:chain ekg:Rooted }")  # fmt: skip
    assert sorted(found) == [
        [f"{article}#{act}", f"{article}#s2", depth]
        for act, depth in zip(("s2", "s4", "s5", "s6"), "0321", strict=True)
    ]


def test_the_reversal_of_russia_is_found_with_its_days(seeded: Library) -> None:
    article = "article/russia-admits-north-korean-soldiers"
    found = rows(seeded, "SELECT ?actor ?from ?to ?old ?new ?days { ?r a ekg:Reversal, prov:Entity ; ekg:actor ?actor ; ekg:fromAct ?from ;"
                 " ekg:toAct ?to ; ekg:fromProposition ?old ; ekg:toProposition ?new ; ekg:days ?days }")  # fmt: skip
    denied = "proposition/north-korean-troops-on-russian-territory"
    assert [
        "actor/russia",
        f"{article}#s7",
        f"{article}#s2",
        denied,
        "proposition/north-korean-troops-fight-in-kursk",
        "1",
    ] in found
    assert {row[0] for row in found} == {"actor/russia"}


STORY = [
    generate.actor("x"),
    generate.event("e"),
    generate.proposition("p", "event/e"),
    generate.article("m", [Act("x", ("p",))]),
]


def accept(library: Library, *texts: generate.Text) -> None:
    library.accept([text.document() for text in texts], agent="a test")


def test_a_write_and_what_follows_from_it_are_seen_together_and_agree_with_a_rebuild(library: Library) -> None:
    accept(library, *STORY)
    one = facts_of(library)
    assert any("originsAffirming" in line and '"1"' in line for line in one)
    accept(library, generate.article("n", [Act("x", ("p",), "Denial"), Act("x", kind="Report", reports=(1,))]))
    two = facts_of(library)
    assert any("originsDenying" in line for line in two) and one < two
    library.rebuild()
    assert facts_of(library) == two
    accept(library, generate.article("n", [Act("x", ("p",))]))
    assert not any("originsDenying" in line for line in facts_of(library))


def test_rules_that_changed_are_applied_when_the_index_is_opened_next(library: Library, config: Config) -> None:
    accept(library, *STORY)
    before = facts_of(library)
    library.close()
    said = config.data / "index" / "REVISION"
    number, mark, _ = said.read_text("ascii").split()
    said.write_text(f"{number} {mark} 0123456789abcdef", "ascii")
    with open_library(config, create=False, owner=True) as again:
        again.settle()
        assert facts_of(again) == before
    assert said.read_text("ascii").split() == [number, mark, rules.digest()]


def test_a_rule_that_fails_loses_no_write_and_is_made_up_for(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(library, *STORY)
    engine = library.engine
    assert isinstance(engine, EmbeddedEngine)

    def fail(*_: object) -> None:
        raise DerivingFailed("a rule did not end")

    monkeypatch.setattr("kg.engine.index.RULES_AGAIN", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(Deriver, "difference", fail)
        broken.setattr(Deriver, "everything", fail)
        accept(library, generate.article("n", [Act("x", ("p",), "Denial")]))
        assert rows(library, "SELECT ?act { ?act ekg:reportedIn <article/n> }") == [["article/n#s1"]]
        assert not any("originsDenying" in line for line in facts_of(library))
        assert engine.figures()["rules_failed"] == engine.figures()["rules_behind"] == 1
    accept(library, generate.actor("y"))
    assert any("originsDenying" in line for line in facts_of(library))
    assert engine.figures()["rules_behind"] == 0


def test_a_process_that_dies_costs_no_facts(library: Library) -> None:
    accept(library, *STORY)
    engine = library.engine
    assert isinstance(engine, EmbeddedEngine)
    for process in engine.deriving_processes():
        os.kill(process, 9)
    accept(library, generate.article("n", [Act("x", ("p",), "Denial")]))
    assert any("originsDenying" in line for line in facts_of(library))


@pytest.fixture(params=[2**32, 1], ids=["in memory", "on disk"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., deriver.Inside]:
    """What the deriver's process does with a store, as much memory as it may use."""

    def open_store(quads: Iterable[ox.Quad], *, derived: bool) -> deriver.Inside:
        path = tmp_path / "store"
        ox.Store(path).extend(quads)
        known = [asdict(rule) for rule in RULES]
        inside = deriver.Inside(request.param)
        said = inside.answer({"do": "open", "store": str(path), "base": BASE, "rules": known, "derived": derived})
        assert said["done_with_it"] == (derived and request.param > 1)
        assert (tmp_path / "store-read").exists() == (not derived and request.param == 1)
        return inside

    return open_store


def test_what_is_derived_anew_is_told_apart_from_what_was_there(
    tmp_path: Path, opened: Callable[..., deriver.Inside]
) -> None:
    store = Derived()
    store.put({text.path.removesuffix(".ttl"): text.document().triples for text in STORY})
    missing = [ox.Quad(*fact, GRAPH) for fact in sorted(store.facts, key=str)[::2]]
    wrong = [ox.Quad(ox.NamedNode(BASE + "actor/x"), quad.predicate, quad.object, GRAPH) for quad in missing]
    inside = opened([*(set(store.store) - set(missing)), *wrong], derived=False)
    lost, won = tmp_path / "lost.nt", tmp_path / "won.nt"
    inside.answer({"do": "everything", "lost": str(lost), "won": str(won)})
    assert {quad.triple for quad in ox.parse(path=lost)} == {quad.triple for quad in wrong}
    assert {quad.triple for quad in ox.parse(path=won)} == {quad.triple for quad in missing}


def test_a_change_is_followed_however_large_the_graph(opened: Callable[..., deriver.Inside]) -> None:
    store = Derived()
    store.put({text.path.removesuffix(".ttl"): text.document().triples for text in STORY})
    inside, before = opened(store.store, derived=True), store.facts
    later = generate.article("n", [Act("x", ("p",), "Denial")])
    _, come = changed_by(ox.NamedNode(later.iri()), [], later.document().triples)
    said = inside.answer({"do": "difference", "gone": "", "come": "".join(f"{quad} .\n" for quad in come)})
    store.put({later.path.removesuffix(".ttl"): later.document().triples})
    lost, won = ({quad.triple for quad in ox.parse(said[name], format=deriver.NT)} for name in ("lost", "won"))
    assert lost == before - store.facts
    assert won == store.facts - before != set()


@pytest.mark.parametrize("name", ["derived", "derived#reversal-0"])
def test_nobody_writes_into_the_derived_graph(library: Library, name: str) -> None:
    accept(library, *STORY)
    text = f'<{name}> {{ <{name}> a <{EKG}Reversal> ; <http://www.w3.org/2000/01/rdf-schema#label> "x"@en }}'
    with pytest.raises(KgError):
        library.accept(documents.parse(text.encode(), documents.TRIG, library.base, limit=10_000), agent="a test")
    assert library.journal.last() == len(STORY)


# Beside documents alone


@pytest.mark.parametrize(("question", "text"), [pytest.param(*pair, id=pair[0].id) for pair in growth.underived()])
def test_what_is_read_from_derived_facts_is_what_documents_alone_give(question: questions.Question, text: str) -> None:
    """The benchmark holds the one against the other, so the one has to be the other."""
    growth.require_same_rows(question, text)


@pytest.mark.parametrize(
    "question", [q for q in questions.catalogue().values() if "#> limit" in q.text], ids=lambda question: question.id
)
def test_a_limit_within_a_question_leaves_out_what_would_be_cut_off_and_nothing_else(
    question: questions.Question,
) -> None:
    lengths = []
    for _, terms in growth.ways(question):
        rows = growth.rows_of(question.bind(terms))
        lengths.append(len(rows))
        for limit in (1, 2, 7, 20):
            assert growth.rows_of(question.bind(terms, limit)) == rows[:limit]
    assert max(lengths) > 1, "a limit of one leaves something out"


# The files


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_reads_what_it_says_it_reads(rule: rules.Rule) -> None:
    """Every predicate in the WHERE clause is one by which keys are affected, so that no change of it goes by unseen."""
    pattern = rule.sparql[rule.sparql.index("WHERE") :]
    words = [token.text for token in lexis.tokens(pattern) if token.kind not in ("space", "comment")]
    names = {word for word in words if re.fullmatch(r"(ekg|schema):[a-z]\w*", word)}
    names |= {name for word, name in itertools.pairwise(words) if word == "a"}
    read = {rules.PREFIXES[prefix] + local for prefix, _, local in (name.partition(":") for name in names)}
    own = set(rule.gives) if rule.again else set()
    assert read - own == set(rule.affected)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_patterns_of_affected_keys_only_ever_add(rule: rules.Rule) -> None:
    """What has gone is there beside what has come, so what is not there tells nothing; but of what the rule itself gave before, and of what leads
    to keys itself where it has come or gone."""
    for pattern in (p for some in rule.affected.values() for p in some):
        adding, _, negated = pattern.partition("NOT EXISTS")
        assert not lexis.words(adding) & {"NOT", "MINUS", "OPTIONAL", "EXISTS"}
        assert not lexis.words(negated) & {"NOT", "MINUS", "OPTIONAL"}
        names = {token.text for token in lexis.tokens(negated) if re.fullmatch(r"(ekg|schema):[a-z]\w*", token.text)}
        read = {rules.PREFIXES[prefix] + local for prefix, _, local in (name.partition(":") for name in names)}
        assert read <= {*rule.gives, *rule.affected}


def _rule(name: str, reads: str, gives: str) -> rules.Rule:
    header = f"#+ summary: s\n#+ description: d\n#+ key: ?k\n#+ gives: [{gives}]\n#+ affected: {{{reads}: 'BIND(?subject AS ?k)'}}\n"
    return rules.read(name, header + "CONSTRUCT {} WHERE {\n#> keys\n}")


def test_rules_come_after_those_whose_facts_they_read() -> None:
    first, then = _rule("z", "ekg:content", "ekg:x"), _rule("a", "ekg:x", "ekg:y")
    assert rules.in_order([then, first]) == (first, then)
    with pytest.raises(ConfigurationError, match="circle"):
        rules.in_order([_rule("a", "ekg:x", "ekg:y"), _rule("b", "ekg:y", "ekg:x")])
    with pytest.raises(ConfigurationError, match="both give"):
        rules.in_order([_rule("a", "ekg:x", "ekg:y"), _rule("b", "ekg:x", "ekg:y")])


@pytest.mark.parametrize("text", ["CONSTRUCT {} WHERE {}", "#+ key: ?k\n", "#+ [\n"])
def test_a_rule_without_its_header_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        rules.read("x", text)


def test_every_fact_is_a_term_of_the_ontology() -> None:
    ontology = (Path(__file__).parent.parent / "ontology" / "ekg.ttl").read_text("utf-8")
    for rule in RULES:
        for predicate in rule.gives:
            assert f"\nekg:{predicate.removeprefix(EKG)} a owl:" in ontology
