"""Derived facts: what each rule gives, and what almost matches and gives nothing."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from deriving import (
    RULES,
    act,
    derive,
    of,
    published,
    said,
    turns,
)

from kg import lexis, rules
from kg.errors import ConfigurationError
from kg.terms import EKG

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
    only_what_implies_it = rumour.replace("ekg:content p:p", "ekg:content p:q")
    assert of(derive(only_what_implies_it), "unnamedOnly") == {"q": "true"}


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
