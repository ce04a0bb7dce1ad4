"""Each canned question, asked of the seeds and of data that almost match.

What is right lies in ``tests/questions``: ``<slug>.csv`` are the exact rows over the seeds, in order, and
``<slug>@<name>=<value>&<name>=<value>.csv`` those with parameters (``<slug>@<date>.csv`` where the parameter is ``on``); documents are
given by slug. ``<slug>.near.trig`` holds documents that almost match: added to the seeds they change nothing, unless a file
``….near.csv`` says what they change. ``<slug>.also.trig`` holds documents that do match in ways of which the seeds have no
case, and ``….also.csv`` the answer with them; it may stand alone. A new case is a new file. What is
derived is computed by the rules for each.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from pathlib import Path

import pyoxigraph as ox
import pytest

from kg import documents, gate, questions, rules
from kg.engine.deriver import Copy
from kg.terms import PREFIXES, Base

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "queries"
EXPECTED = Path(__file__).resolve().parent / "questions"
SEEDS = ROOT / "seeds"
BASE = "https://kg.example/"
DERIVED = rules.graph_of(BASE)

SLUGS = sorted(path.stem for path in QUERIES.glob("*.rq"))
CASES = sorted(path.stem for path in EXPECTED.glob("*.csv") if not path.stem.endswith((".near", ".also")))
ALSO_CASES = sorted(path.name.removesuffix(".also.csv") for path in EXPECTED.glob("*.also.csv"))

Rows = list[list[str]]


def load_seeds(*near: Path) -> ox.Store:
    store = ox.Store()
    for path in SEEDS.glob("*/*.ttl"):
        graph = ox.NamedNode(BASE + path.relative_to(SEEDS).with_suffix("").as_posix())
        store.load(path.read_bytes(), format=ox.RdfFormat.TURTLE, base_iri=BASE, to_graph=graph)
    for path in near:
        store.load(path.read_bytes(), format=ox.RdfFormat.TRIG, base_iri=BASE)
    derive(store)
    return store


def derive(store: ox.Store) -> None:
    """Compute what follows from the documents anew."""
    store.remove_graph(DERIVED)
    for _ in rules.everything(Copy(store, DERIVED), rules.catalogue(), BASE):
        pass


@pytest.fixture(scope="module")
def seeds() -> ox.Store:
    return load_seeds()


@functools.cache
def seeds_with(slug: str, manner: str) -> ox.Store:
    """Shared by the cases of a question, none of which writes."""
    return load_seeds(EXPECTED / f"{slug}.{manner}.trig")


def term(parameter: questions.Parameter, value: str) -> ox.NamedNode | ox.Literal:
    """What a case's file name says, as a term: a document by its slug, an act by its article's and its own name."""
    if parameter.type != "iri":
        return parameter.read(value)
    kind = "article" if parameter.kinds == ("act",) else parameter.kinds[0]
    return ox.NamedNode(f"{BASE}{kind}/{value}")


def bound(case: str, retracted: bool = False) -> str:
    """The query of a case, its parameters bound, with the acts of retracted articles or without."""
    slug, _, given = case.partition("@")
    question = questions.catalogue()[slug]
    values = dict(pair.split("=", 1) for pair in (given if "=" in given else f"on={given}").split("&") if given)
    values |= {"retracted": "true"} if retracted else {}
    defaults = {
        name: parameter.default
        for name, parameter in question.parameters.items()
        if parameter.default is not None and name not in values
    }
    terms = {name: term(question.parameters[name], value) for name, value in {**defaults, **values}.items()}
    return question.bind(terms)


def ask(store: ox.Store, case: str, retracted: bool = False) -> Rows:
    """Return the header and the rows of a case, with the acts of retracted articles or without."""
    answer = store.query(bound(case, retracted), use_default_graph_as_union=True)
    assert isinstance(answer, ox.QuerySolutions)
    serialised = answer.serialize(format=ox.QueryResultsFormat.CSV)
    assert serialised is not None
    return list(csv.reader(io.StringIO(serialised.decode())))


def expected(name: str) -> Rows:
    return list(csv.reader((EXPECTED / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("case", CASES)
def test_answer_over_the_seeds_is_exact(seeds: ox.Store, case: str) -> None:
    assert ask(seeds, case) == expected(case)


@pytest.mark.parametrize("case", CASES)
def test_what_almost_matches_does_not_appear(case: str) -> None:
    changed = f"{case}.near" if (EXPECTED / f"{case}.near.csv").exists() else case
    assert ask(seeds_with(case.partition("@")[0], "near"), case) == expected(changed)


@pytest.mark.parametrize("case", ALSO_CASES)
def test_what_matches_in_other_ways_appears(case: str) -> None:
    assert ask(seeds_with(case.partition("@")[0], "also"), case) == expected(f"{case}.also")


@pytest.mark.parametrize("slug", SLUGS)
def test_what_matches_in_other_ways_makes_a_difference(slug: str) -> None:
    cases = [case for case in ALSO_CASES if case.partition("@")[0] == slug]
    assert any(expected(f"{case}.also") != expected(case) for case in cases if (EXPECTED / f"{case}.csv").exists())
    assert any(expected(f"{case}.also")[1:] for case in cases)


RETRACT = """
    PREFIX ekg: <https://w3id.org/ekg/ns#>
    INSERT { GRAPH ?g { ?article ekg:retractedAt "2026-11-22T18:00:00Z"^^<http://www.w3.org/2001/XMLSchema#dateTime> } }
    WHERE { GRAPH ?g { ?article a ekg:Article } }
"""


@pytest.fixture(scope="module")
def retracted() -> ox.Store:
    """The seeds, every article of them retracted."""
    store = load_seeds()
    store.update(RETRACT)
    derive(store)
    return store


#: What there is of an answer when every article is retracted is not nothing: gaps are what is missing then, a retraction is a change, and
#: no article says who holds a post or what a proposition entails.
NOT_FROM_ACTS_ALONE = {"gaps", "changed-between", "posts", "joined-propositions"}

#: Start from the English name of a place and a force, or tell a name in whatever language there is.
BY_NAME = {"who-admitted-combat", "attribution-chain", "gaps", "posts"}

#: Rest on derived facts that leave retracted articles out, whatever is asked for; their descriptions say so.
WITHOUT_RETRACTED = {"latest-reversals", "reversals"}


@pytest.mark.parametrize("case", [case for case in CASES if case.partition("@")[0] not in NOT_FROM_ACTS_ALONE])
def test_acts_of_retracted_articles_are_left_out_unless_asked_for(retracted: ox.Store, case: str) -> None:
    assert ask(retracted, case) == expected(case)[:1]
    if case.partition("@")[0] not in WITHOUT_RETRACTED:
        assert ask(retracted, case, retracted=True) == expected(case)


def test_what_a_retracted_article_alone_said_of_an_admission_is_gone() -> None:
    """The chain begins where the next article takes it up."""
    store = load_seeds(EXPECTED / "attribution-chain.also.trig")
    before = ask(store, "attribution-chain")
    articles = sorted({row[before[0].index("article")] for row in before[1:]})
    assert len(articles) > 1
    store.update(RETRACT.replace("{ ?article a", f"{{ BIND(<{articles[0]}> AS ?article) ?article a"))
    after = ask(store, "attribution-chain")
    assert {row[before[0].index("article")] for row in after[1:]} <= set(articles[1:])
    assert after[1:], "the others still stand"


# What holds for any data: a question asked with a date, or of retracted articles, is the same question asked of less.


TYPE = ox.NamedNode(PREFIXES["rdf"] + "type")
ARTICLE = ox.NamedNode(PREFIXES["ekg"] + "Article")
RETRACTED_AT = ox.NamedNode(PREFIXES["ekg"] + "retractedAt")
PUBLISHED = ox.NamedNode(PREFIXES["schema"] + "datePublished")
DAY = ox.NamedNode(PREFIXES["xsd"] + "date")
MOMENT = ox.Literal("2026-11-22T18:00:00Z", datatype=ox.NamedNode(PREFIXES["xsd"] + "dateTime"))
UNDATED = ox.NamedNode(f"{BASE}article/russia-admits-north-korean-soldiers")

Articles = dict[ox.NamedNode, str]


@functools.cache
def all_data() -> tuple[ox.Store, Articles, dict[ox.NamedNode, set[ox.NamedNode]]]:
    """The data of all questions in one store, and of each article its day and the articles it points at.

    Names that several questions use are kept apart. The undated seed gets a day, as much of the data points at it; an
    article that points at a later one is left out, for taking away the later would leave it pointing at nothing."""
    store = ox.Store()
    for path in SEEDS.glob("*/*.ttl"):
        graph = ox.NamedNode(BASE + path.relative_to(SEEDS).with_suffix("").as_posix())
        store.load(path.read_bytes(), format=ox.RdfFormat.TURTLE, base_iri=BASE, to_graph=graph)
    for path in EXPECTED.glob("*.trig"):
        apart = re.sub(
            r"(?<=[/:])(near|also)-", rf"\1-{path.name.partition('.')[0]}-", path.read_text(encoding="utf-8")
        )
        store.load(apart.encode(), format=ox.RdfFormat.TRIG, base_iri=BASE)
    store.add(ox.Quad(UNDATED, PUBLISHED, ox.Literal("2025-04-26", datatype=DAY), UNDATED))
    articles = {
        article: min(
            (quad.object.value[:10] for quad in store.quads_for_pattern(article, PUBLISHED, None)), default="9999"
        )
        for article in (quad.subject for quad in store.quads_for_pattern(None, TYPE, ARTICLE))
    }
    points = {
        article: {
            to
            for quad in store.quads_for_pattern(None, None, None, article)
            if isinstance(quad.object, ox.NamedNode)
            and (to := ox.NamedNode(quad.object.value.partition("#")[0])) in articles
        }
        for article in articles
    }
    while ahead := [
        one for one, to in points.items() if any(articles[far] > articles[one] or far not in points for far in to)
    ]:
        for article in ahead:
            store.remove_graph(article)
            del points[article]
    derive(store)
    return store, {article: articles[article] for article in points}, points


def without(gone: set[ox.NamedNode]) -> ox.Store:
    """All data but some articles."""
    store = ox.Store()
    store.bulk_extend(quad for quad in all_data()[0] if quad.graph_name not in gone and quad.graph_name != DERIVED)
    derive(store)
    return store


#: The first case of each question that is asked of the seeds' own documents; of the one that is four, each.
ONE_OF_EACH = {
    case if "@gap=" in case else case.partition("@")[0]: case
    for case in reversed(CASES)
    if "asof=" not in case and "=also-" not in case
}.values()


def rows(store: ox.Store, case: str) -> Rows:
    return sorted(ask(store, case))


def test_answer_as_of_a_day_is_that_of_what_was_published_by_then() -> None:
    store, articles, _ = all_data()
    day = "2025-05-20"
    then = without({article for article, published in articles.items() if published > day})
    for case in ONE_OF_EACH:
        slug = case.partition("@")[0]
        # A change has a day of its own, which is not that of an article where it is a retraction.
        if slug != "changed-between" and "asof" in questions.catalogue()[slug].parameters:
            given = case if "=" in case or "@" not in case else case.replace("@", "@on=")
            assert rows(store, f"{given}{'&' if '@' in given else '@'}asof={day}") == rows(then, case), case


def test_answer_without_retracted_articles_is_that_of_the_others() -> None:
    _, _, points = all_data()
    gone = set(sorted(points, key=str)[::2])
    while more := {article for article, to in points.items() if to & gone} - gone:
        gone |= more
    retracted = without(set())
    for article in gone:
        retracted.add(ox.Quad(article, RETRACTED_AT, MOMENT, article))
    derive(retracted)
    others = without(gone)
    for case in ONE_OF_EACH:
        if case.partition("@")[0] != "changed-between":
            assert rows(retracted, case) == rows(others, case), case


def test_what_has_no_name_in_english_is_there_without_one() -> None:
    """A row more or less, for a name more or less, is a wrong answer."""
    store, _, _ = all_data()
    german = without(set())
    for quad in list(german):
        if isinstance(quad.object, ox.Literal) and quad.object.language == "en":
            german.remove(quad)
            translated = ox.Literal(f"≠ {quad.object.value}", language="de")
            german.add(ox.Quad(quad.subject, quad.predicate, translated, quad.graph_name))
    for case in ONE_OF_EACH:
        if case.partition("@")[0] not in BY_NAME:
            found, named = ask(german, case), ask(store, case)
            assert len(found) == len(named), case
            assert not [cell for row in found for cell in row if cell.startswith("≠")], case


@pytest.mark.parametrize("slug", SLUGS)
def test_every_question_has_an_answer_and_near_misses(slug: str) -> None:
    assert [case for case in CASES if case.partition("@")[0] == slug], f"{slug} has no expected answer"
    assert (EXPECTED / f"{slug}.near.trig").exists(), f"{slug} has no near misses"


@functools.cache
def faces_of_seeds() -> dict[str, gate.Face]:
    faces: dict[str, gate.Face] = {}
    for path in SEEDS.glob("*/*.ttl"):
        (document,) = documents.parse(path.read_bytes(), documents.TURTLE, Base(BASE), limit=2**24)
        faces |= gate.faces(document)
    return faces


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*.trig")), ids=lambda path: path.stem)
def test_data_would_be_accepted(path: Path) -> None:
    """What the gate refuses can be in no graph, and shows nothing about a question."""
    base = Base(BASE)
    added = {
        document.iri: document for document in documents.parse(path.read_bytes(), documents.TRIG, base, limit=2**24)
    }
    faces = dict(faces_of_seeds())
    for document in added.values():
        faces |= gate.faces(document)
    reports = [gate.judge(document, base, faces) for document in added.values()]
    assert [result.in_words(base) for report in reports for result in report.results] == []


@pytest.mark.parametrize("path", sorted(EXPECTED.iterdir()), ids=lambda path: path.name)
def test_every_file_belongs_to_a_question(path: Path) -> None:
    assert path.name.partition(".")[0].partition("@")[0] in SLUGS


@pytest.mark.parametrize("slug", SLUGS)
def test_near_misses_stand_beside_the_seeds(slug: str) -> None:
    """A near miss under a seed's name would change the seed instead of standing beside it."""
    near = {
        quad.graph_name.value
        for quad in ox.parse((EXPECTED / f"{slug}.near.trig").read_bytes(), format=ox.RdfFormat.TRIG, base_iri=BASE)
        if isinstance(quad.graph_name, ox.NamedNode)
    }
    assert near
    assert all(iri.rpartition("/")[2].startswith("near-") for iri in near)
    known = {BASE + path.relative_to(SEEDS).with_suffix("").as_posix() for path in SEEDS.glob("*/*.ttl")}
    assert not near & known


@pytest.mark.parametrize("slug", SLUGS)
def test_question_names_no_deployment(slug: str) -> None:
    """A query with the IRI of a document would work under one base only."""
    text = (QUERIES / f"{slug}.rq").read_text(encoding="utf-8")
    assert BASE not in text
    for iri in re.findall(r"^PREFIX\s+\S+\s+<([^>]*)>", text, flags=re.MULTILINE):
        assert iri.startswith(("https://w3id.org/ekg/", "http://www.w3.org/", "https://schema.org/"))


def test_the_story_in_three_answers(seeds: ox.Store) -> None:
    """Said once in plain sight, so that a regenerated CSV cannot quietly change what the seeds are known to say."""
    admitted = dict(zip(*ask(seeds, "who-admitted-combat"), strict=True))
    assert (admitted["speakerName"], admitted["onBehalfOfName"]) == ("Valery Gerasimov", "Russia")
    assert (admitted["post"], admitted["date"]) == ("Chief of the General Staff", "2025-04-26")

    claimed = dict(zip(*ask(seeds, "first-claim-of-deployment"), strict=True))
    assert (claimed["claimantName"], claimed["claimedOn"]) == ("Volodymyr Zelenskyy", "2024-10-13")
    assert (claimed["admittedBy"], claimed["days"]) == (BASE + "actor/russia", "195")

    presence = BASE + "proposition/north-korean-troops-on-russian-territory"
    ended = BASE + "proposition/fighting-in-kursk-has-ended"
    assert {row[0] for row in ask(seeds, "contested@2025-01-01")[1:]} == {presence}
    assert {row[0] for row in ask(seeds, "contested@2025-05-01")[1:]} == {ended}
