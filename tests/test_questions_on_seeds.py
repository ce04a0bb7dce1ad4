"""Each canned question, asked of the seeds and of data that almost match.

What is right lies in ``tests/questions``: ``<slug>.csv`` are the exact rows over the seeds, in order, and
``<slug>@<date>.csv`` those for a date where the question takes one. ``<slug>.near.trig`` holds documents that almost
match: added to the seeds they change nothing, unless a file ``….near.csv`` says what they change. ``<slug>.also.trig`` holds
documents that do match in ways of which the seeds have no case, and ``….also.csv`` the answer with them. A new case is a new file.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pyoxigraph as ox
import pytest

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "queries"
EXPECTED = Path(__file__).resolve().parent / "questions"
SEEDS = ROOT / "seeds"
BASE = "https://kg.example/"

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
    return store


@pytest.fixture(scope="module")
def seeds() -> ox.Store:
    return load_seeds()


def ask(store: ox.Store, case: str) -> Rows:
    """Return the header and the rows of the question ``slug`` or ``slug@date``."""
    slug, _, date = case.partition("@")
    text = (QUERIES / f"{slug}.rq").read_text(encoding="utf-8")
    if date:
        text = re.sub(r"\?_on_date\b", f'"{date}"^^<http://www.w3.org/2001/XMLSchema#date>', text)
    answer = store.query(text, use_default_graph_as_union=True)
    assert isinstance(answer, ox.QuerySolutions)
    serialised = answer.serialize(format=ox.QueryResultsFormat.CSV)
    assert serialised is not None
    return list(csv.reader(io.StringIO(serialised.decode())))


def expected(name: str) -> Rows:
    return list(csv.reader((EXPECTED / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


def header(slug: str) -> list[str]:
    lines = (QUERIES / f"{slug}.rq").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#+").removeprefix(" ") for line in lines if line.startswith("#+")]


@pytest.mark.parametrize("case", CASES)
def test_answer_over_the_seeds_is_exact(seeds: ox.Store, case: str) -> None:
    assert ask(seeds, case) == expected(case)


@pytest.mark.parametrize("case", CASES)
def test_what_almost_matches_does_not_appear(case: str) -> None:
    slug = case.partition("@")[0]
    store = load_seeds(EXPECTED / f"{slug}.near.trig")
    changed = f"{case}.near" if (EXPECTED / f"{case}.near.csv").exists() else case
    assert ask(store, case) == expected(changed)


@pytest.mark.parametrize("case", ALSO_CASES)
def test_what_matches_in_other_ways_appears(case: str) -> None:
    slug = case.partition("@")[0]
    store = load_seeds(EXPECTED / f"{slug}.also.trig")
    answer = ask(store, case)
    assert answer == expected(f"{case}.also")
    assert answer != expected(case)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_question_has_an_answer_and_near_misses(slug: str) -> None:
    assert [case for case in CASES if case.partition("@")[0] == slug], f"{slug} has no expected answer"
    assert (EXPECTED / f"{slug}.near.trig").exists(), f"{slug} has no near misses"


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
def test_header_says_what_the_question_is(slug: str) -> None:
    lines = header(slug)
    keys = [line.partition(":")[0] for line in lines if re.match(r"\w+:", line)]
    assert [key for key in keys if key != "defaults"] == ["summary", "description", "tags", "columns"]
    for line in lines:
        if re.match(r"(summary|  \w+): ", line):
            value = line.partition(": ")[2]
            assert ": " not in value and " #" not in value, f"not a plain YAML scalar: {line}"


@pytest.mark.parametrize("slug", SLUGS)
def test_header_names_the_columns_of_the_answer(seeds: ox.Store, slug: str) -> None:
    case = next(case for case in CASES if case.partition("@")[0] == slug)
    lines = header(slug)
    named = [line.strip().partition(":")[0] for line in lines[lines.index("columns:") + 1 :]]
    assert named == ask(seeds, case)[0]


@pytest.mark.parametrize("slug", SLUGS)
def test_parameters_and_defaults_agree(slug: str) -> None:
    text = (QUERIES / f"{slug}.rq").read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    parameters = set(re.findall(r"\?_([a-z]+)_[a-z]+\b", body))
    lines = header(slug)
    defaults: set[str] = set()
    if "defaults:" in lines:
        for line in lines[lines.index("defaults:") + 1 :]:
            match = re.match(r'  - "([a-z]+)": \S+', line)
            if match is None:
                break
            defaults.add(match[1])
    assert defaults == parameters


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
