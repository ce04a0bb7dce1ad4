"""The seeds keep the promises that make them an example: of documents, and of quoting others.

What holds of any document is the gate's to judge. Here is what holds of these: that they are complete among themselves,
that they cover the seed article and its story, and that they quote exactly, briefly, and never as much as to replace a text.
"""

from __future__ import annotations

import calendar
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyoxigraph as ox
import pytest

ROOT = Path(__file__).resolve().parent.parent
SEEDS = ROOT / "seeds"
ARTICLE_TEXT = ROOT.parent / "shared" / "seed" / "article.txt"
BASE = "https://kg.example/"

EKG = "https://w3id.org/ekg/ns#"
OA = "http://www.w3.org/ns/oa#"
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
RDFS_LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
SCHEMA = "https://schema.org/"
SEED_ARTICLE = BASE + "article/russia-admits-north-korean-soldiers"

FILES = sorted(SEEDS.rglob("*.ttl"))
KINDS = {
    "article": "Article",
    "actor": "Actor",
    "place": "Place",
    "agreement": "Agreement",
    "event": "Event",
    "proposition": "Proposition",
}
WORDS_OF_THE_SEED_ARTICLE = 12
WORDS_OF_A_SUMMARY = 6

# Publisher and day of the twelve items of the story, and a word that its article's name must hold.
STORY = {
    ("associated-press", "2024-06-19", "signed"),
    ("nk-news", "2024-06-27", "engineers"),
    ("reuters", "2024-10-13", "zelenskyy"),
    ("politico", "2024-10-16", "involvement"),
    ("bbc", "2024-10-18", "troops"),
    ("the-guardian", "2024-10-23", "presence"),
    ("yonhap-news-agency", "2024-10-25", "kursk"),
    ("the-independent", "2024-11-04", "engagement"),
    ("reuters", "2024-11-09", "law"),
    ("reuters", "2025-01-11", "prisoners"),
    ("reuters", "2025-04-27", "confirms"),
    ("bbc", "2025-06-18", "workers"),
}

# Where an actor is from decides the languages of its labels; "" is for those from elsewhere, or from nobody knows where.
HOME_LANGUAGE = {
    "ru": """russia vladimir-putin valery-gerasimov yunus-bek-yevkurov russian-general-staff russian-forces
             russian-ministry-of-defence russian-propaganda""",
    "uk": """ukraine volodymyr-zelenskyy center-for-countering-disinformation unn ccd-analysts ukrainian-forces
             ukrainian-military-sources unnamed-ukrainian-intelligence-official""",
    "ko": """north-korea kim-jong-un north-korean-troops north-korean-engineering-forces south-korea yoon-suk-yeol
             national-intelligence-service yonhap-news-agency unnamed-south-korean-official unnamed-sources-of-yonhap""",
    "": """united-states us-state-department associated-press nk-news reuters politico bbc the-guardian the-independent
           unnamed-author-of-russia-admits-north-korean-soldiers unnamed-concerned-observers""",
}
SCRIPT = {"ru": "CYRILLIC", "uk": "CYRILLIC", "ko": "HANGUL"}


def iri_of(path: Path) -> str:
    return BASE + path.relative_to(SEEDS).with_suffix("").as_posix()


def parse(path: Path) -> list[ox.Triple]:
    quads = ox.parse(path.read_bytes(), format=ox.RdfFormat.TURTLE, base_iri=BASE)
    return [quad.triple for quad in quads]


def name(path: Path) -> str:
    return path.relative_to(SEEDS).with_suffix("").as_posix()


DOCUMENTS = {iri_of(path): parse(path) for path in FILES}
ARTICLES = [iri for iri in DOCUMENTS if iri.startswith(BASE + "article/")]


def objects(
    triples: list[ox.Triple], subject: object, predicate: str
) -> list[ox.NamedNode | ox.BlankNode | ox.Literal]:
    return [
        triple.object
        for triple in triples
        if triple.subject == subject
        and triple.predicate.value == predicate
        and isinstance(triple.object, ox.NamedNode | ox.BlankNode | ox.Literal)
    ]


def values(triples: list[ox.Triple], subject: object, predicate: str) -> list[str]:
    return [term.value for term in objects(triples, subject, predicate)]


def quotations(article: str) -> Iterator[tuple[str, str, list[tuple[int, int]]]]:
    """Yield the evidence, the exact words, and the offsets given for them, of each piece of evidence in the article."""
    triples = DOCUMENTS[article]
    for triple in triples:
        if triple.predicate.value != RDF_TYPE or triple.object != ox.NamedNode(EKG + "Evidence"):
            continue
        assert isinstance(triple.subject, ox.NamedNode)
        selectors = objects(triples, triple.subject, OA + "hasSelector")
        exact = [text for selector in selectors for text in values(triples, selector, OA + "exact")]
        assert len(exact) == 1, triple.subject
        spans = [
            (int(start), int(end))
            for selector in selectors
            for start in values(triples, selector, OA + "start")
            for end in values(triples, selector, OA + "end")
        ]
        yield triple.subject.value, exact[0], spans


@pytest.fixture(scope="module")
def text() -> str:
    if not ARTICLE_TEXT.exists():
        pytest.skip(f"the seed article's text is its publisher's and not kept here: no {ARTICLE_TEXT}")
    return ARTICLE_TEXT.read_text(encoding="utf-8")


def test_there_are_seeds_of_every_kind() -> None:
    assert {path.parent.name for path in FILES} == set(KINDS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_document_is_named_by_its_path(path: Path) -> None:
    assert path.parent.parent == SEEDS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem) and len(path.stem) <= 120
    types = values(DOCUMENTS[iri_of(path)], ox.NamedNode(iri_of(path)), RDF_TYPE)
    assert EKG + KINDS[path.parent.name] in types


@pytest.mark.parametrize("path", FILES, ids=name)
def test_document_speaks_only_about_its_own_subjects(path: Path) -> None:
    own = iri_of(path)
    foreign = {
        triple.subject.value
        for triple in DOCUMENTS[own]
        if isinstance(triple.subject, ox.NamedNode)
        and triple.subject.value != own
        and not triple.subject.value.startswith(own + "#")
    }
    assert not foreign


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_reference_resolves_among_the_seeds(path: Path) -> None:
    known = {
        triple.subject.value
        for triples in DOCUMENTS.values()
        for triple in triples
        if isinstance(triple.subject, ox.NamedNode)
    }
    referred = {
        triple.object.value
        for triple in DOCUMENTS[iri_of(path)]
        if isinstance(triple.object, ox.NamedNode) and triple.object.value.startswith(BASE)
    }
    assert not referred - known


def test_no_seed_but_an_article_stands_alone() -> None:
    """An entity that nothing speaks of is a leftover."""
    referred = {
        triple.object.value.partition("#")[0]
        for own, triples in DOCUMENTS.items()
        for triple in triples
        if isinstance(triple.object, ox.NamedNode) and triple.object.value.partition("#")[0] != own
    }
    assert not set(DOCUMENTS) - set(ARTICLES) - referred


@pytest.mark.parametrize("article", ARTICLES, ids=lambda iri: iri.removeprefix(BASE))
def test_quotations_are_short_and_stand_for_an_act(article: str) -> None:
    limit = WORDS_OF_THE_SEED_ARTICLE if article == SEED_ARTICLE else WORDS_OF_A_SUMMARY
    found = list(quotations(article))
    assert found
    assert [exact for _, exact, _ in found if len(exact.split()) > limit] == []
    used = {
        triple.object.value
        for triple in DOCUMENTS[article]
        if triple.predicate.value == EKG + "evidence" and isinstance(triple.object, ox.NamedNode)
    }
    assert {evidence for evidence, _, _ in found} == used


@pytest.mark.parametrize("article", ARTICLES, ids=lambda iri: iri.removeprefix(BASE))
def test_acts_and_evidence_are_numbered_without_a_gap(article: str) -> None:
    numbers: dict[str, set[int]] = defaultdict(set)
    for triple in DOCUMENTS[article]:
        if isinstance(triple.subject, ox.NamedNode) and "#" in triple.subject.value:
            match = re.fullmatch(r"([set])([1-9][0-9]*)", triple.subject.value.partition("#")[2])
            assert match is not None, triple.subject
            numbers[match[1]].add(int(match[2]))
    for found in numbers.values():
        assert found == set(range(1, len(found) + 1))


def test_quotations_agree_with_the_text_and_its_offsets(text: str) -> None:
    assert unicodedata.is_normalized("NFC", text)
    for evidence, exact, spans in quotations(SEED_ARTICLE):
        assert len(spans) == 1, evidence
        start, end = spans[0]
        assert text[start:end] == exact, evidence


def test_quotations_agree_with_their_offsets_and_each_other() -> None:
    """What can be known without the text: each quotation is as long as its span, and where two overlap they say the same."""
    said: dict[int, str] = {}
    for evidence, exact, spans in quotations(SEED_ARTICLE):
        ((start, end),) = spans
        assert end - start == len(exact), evidence
        assert [said.setdefault(start + place, letter) for place, letter in enumerate(exact)] == list(exact), evidence


def test_digest_is_that_of_the_text(text: str) -> None:
    digest = "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()
    assert values(DOCUMENTS[SEED_ARTICLE], ox.NamedNode(SEED_ARTICLE), EKG + "textDigest") == [digest]


def test_context_of_a_quotation_stands_beside_it_in_the_text(text: str) -> None:
    triples = DOCUMENTS[SEED_ARTICLE]
    for triple in triples:
        if triple.predicate.value == OA + "exact":
            selector = triple.subject
            prefix = "".join(values(triples, selector, OA + "prefix"))
            suffix = "".join(values(triples, selector, OA + "suffix"))
            (exact,) = values(triples, selector, OA + "exact")
            assert prefix + exact + suffix in text


def test_every_sentence_of_the_article_is_quoted(text: str) -> None:
    sentences = list(re.finditer(r"[^.]+\.", text))
    assert len(sentences) == 14
    spans = [span for _, _, given in quotations(SEED_ARTICLE) for span in given]
    for sentence in sentences:
        inside = [span for span in spans if sentence.start() <= span[0] and span[1] <= sentence.end()]
        assert inside, sentence[0]


def test_quotations_come_in_the_order_of_the_sentences(text: str) -> None:
    """Acts follow the text sentence by sentence; only what is about another act may follow that act instead."""
    ends = [sentence.end() for sentence in re.finditer(r"[^.]+\.", text)]

    def sentence_of(span: tuple[int, int]) -> int:
        return next(number for number, end in enumerate(ends, 1) if span[0] < end)

    order = {
        int(evidence.rpartition("#e")[2]): sentence_of(spans[0]) for evidence, _, spans in quotations(SEED_ARTICLE)
    }
    late = 3  # "for the first time": said in sentence 1, about the act of sentence 2
    sequence = [order[number] for number in sorted(order) if number != late]
    assert order[late] == 1
    assert sequence == sorted(sequence)


def test_quotations_do_not_amount_to_the_text(text: str) -> None:
    quoted: set[int] = set()
    for _, _, spans in quotations(SEED_ARTICLE):
        for start, end in spans:
            quoted.update(range(start, end))
    assert len(quoted) < len(text) / 2
    everything = " ".join(path.read_text(encoding="utf-8") for path in FILES)
    assert [sentence for sentence in re.findall(r"[^.]+\.", text) if sentence.strip() in everything] == []


def test_what_is_unknown_of_the_seed_article_is_not_given() -> None:
    unknown = {SCHEMA + term for term in ("headline", "publisher", "url", "datePublished", "isBasedOn")}
    given = {
        triple.predicate.value for triple in DOCUMENTS[SEED_ARTICLE] if triple.subject == ox.NamedNode(SEED_ARTICLE)
    }
    assert not given & unknown


def test_all_items_of_the_story_are_there() -> None:
    found = set()
    for article in ARTICLES:
        if article == SEED_ARTICLE:
            continue
        node = ox.NamedNode(article)
        (publisher,) = values(DOCUMENTS[article], node, SCHEMA + "publisher")
        (date,) = values(DOCUMENTS[article], node, SCHEMA + "datePublished")
        matching = {
            item
            for item in STORY
            if item[:2] == (publisher.rpartition("/")[2], date) and item[2] in article.split("/")[-1]
        }
        assert matching, article
        found |= matching
    assert found == STORY
    assert len(ARTICLES) == len(STORY) + 1


@pytest.mark.parametrize(
    "article", [iri for iri in ARTICLES if iri != SEED_ARTICLE], ids=lambda iri: iri.removeprefix(BASE)
)
def test_story_claims_nothing_of_the_outlets_text(article: str) -> None:
    """The words are a summary's, so there is neither a headline nor a digest nor an offset."""
    predicates = {triple.predicate.value for triple in DOCUMENTS[article]}
    assert not predicates & {SCHEMA + "headline", EKG + "textDigest", OA + "start", OA + "end"}
    (based_on,) = values(DOCUMENTS[article], ox.NamedNode(article), SCHEMA + "isBasedOn")
    year, month, day = re.findall(r"(\d{4})-(\d\d)-(\d\d)", article)[0]
    page = f"https://en.wikipedia.org/wiki/Portal:Current_events/{year}_{calendar.month_name[int(month)]}_{int(day)}"
    assert based_on == page


def test_entailments_have_no_cycle() -> None:
    entailed: dict[str, list[str]] = defaultdict(list)
    for triples in DOCUMENTS.values():
        for triple in triples:
            if triple.predicate.value == EKG + "entails":
                assert isinstance(triple.subject, ox.NamedNode) and isinstance(triple.object, ox.NamedNode)
                entailed[triple.subject.value].append(triple.object.value)
    assert entailed
    for start in list(entailed):
        reached: set[str] = set()
        frontier = list(entailed[start])
        while frontier:
            proposition = frontier.pop()
            if proposition not in reached:
                reached.add(proposition)
                frontier += entailed.get(proposition, [])
        assert start not in reached


def test_what_was_admitted_entails_what_was_denied() -> None:
    combat = ox.NamedNode(BASE + "proposition/north-korean-troops-fight-in-kursk")
    presence = BASE + "proposition/north-korean-troops-on-russian-territory"
    assert presence in values(DOCUMENTS[combat.value], combat, EKG + "entails")
    assert values(DOCUMENTS[presence], ox.NamedNode(presence), EKG + "entails") == []


def test_contradictions_are_said_on_both_sides() -> None:
    pairs = {
        (triple.subject, triple.object)
        for triples in DOCUMENTS.values()
        for triple in triples
        if triple.predicate.value == EKG + "contradicts"
    }
    assert pairs
    assert pairs == {(right, left) for left, right in pairs}


def test_every_actor_has_a_home_in_the_table() -> None:
    listed = [slug for slugs in HOME_LANGUAGE.values() for slug in slugs.split()]
    assert sorted(listed) == sorted(path.stem for path in FILES if path.parent.name == "actor")


@pytest.mark.parametrize("language", list(HOME_LANGUAGE), ids=lambda language: language or "elsewhere")
def test_actors_are_named_in_the_language_of_their_home(language: str) -> None:
    for slug in HOME_LANGUAGE[language].split():
        node = ox.NamedNode(BASE + "actor/" + slug)
        labels = {
            term.language: term.value
            for term in objects(DOCUMENTS[node.value], node, RDFS_LABEL)
            if isinstance(term, ox.Literal)
        }
        assert set(labels) == {"en", language} - {""}, slug
        if language:
            letters = [letter for letter in labels[language] if letter.isalpha()]
            assert all(unicodedata.name(letter).startswith(SCRIPT[language]) for letter in letters), slug
            assert unicodedata.is_normalized("NFC", labels[language]), slug


def test_times_with_bounds_say_why() -> None:
    for iri, triples in DOCUMENTS.items():
        for triple in triples:
            if triple.predicate.value == RDF_TYPE and triple.object == ox.NamedNode(EKG + "Time"):
                assert values(triples, triple.subject, "http://www.w3.org/2000/01/rdf-schema#comment"), iri
