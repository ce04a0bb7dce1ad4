"""Derived facts in the service: with each write, whatever fails, and beside what documents alone give."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from deriving import (
    BASE,
    GRAPH,
    RULES,
    Derived,
)
from generate import Act

from kg import documents, questions, rules
from kg.config import Config
from kg.engine import Query, deriver
from kg.engine.deriver import Deriver, DerivingFailed, changed_by
from kg.engine.embedded import EmbeddedEngine
from kg.errors import KgError
from kg.library import Library, open_library
from kg.terms import EKG
from tests.bench import growth

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
