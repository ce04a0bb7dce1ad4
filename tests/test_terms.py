"""The base, the slugs and the names people write: the one place that takes an IRI apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kg.errors import ConfigurationError
from kg.terms import EKG, KINDS, PREFIXES, SLUG_LIMIT, Base, shorten

BASE = Base("https://kg.example/")


@pytest.mark.parametrize(
    "iri",
    [
        "https://kg.example/",
        "http://localhost:8000/",
        "https://kg.example/graph/v1/",
        "http://[::1]:8000/",
        "https://xn--80adxhks.example/київ/",
    ],
)
def test_base_is_an_absolute_http_iri_that_ends_in_a_slash(iri: str) -> None:
    assert str(Base(iri)) == iri


@pytest.mark.parametrize(
    "iri",
    [
        "",
        "/",
        "kg.example/",
        "https://kg.example",
        "https://kg.example/x",
        "ftp://kg.example/",
        "urn:kg:/",
        "https:///",
        "https://:80/",
        "https://kg.example/?a=/",
        "https://kg.example/#/",
        "https://kg.example:port/",
        "https://kg.example:99999/",
        "https://kg.example:0/",
        "https://kg.example/a b/",
        "https://kg.example/<a>/",
        'https://kg.example/"/',
        "https://kg.example/\n/",
        "https://kg.example/{a}/",
        "https://kg.example/\\/",
        "https://[::1/",
    ],
)
def test_any_other_base_is_refused_with_the_setting_and_what_was_given(iri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Base(iri)
    assert caught.value.facts == {"setting": "KG_BASE"}
    assert repr(iri) in caught.value.detail


@pytest.mark.parametrize("kind", KINDS)
def test_document_of_each_kind_is_itself_and_its_parts(kind: str) -> None:
    document = BASE.document(kind, "a-slug-2025")
    assert document == f"https://kg.example/{kind}/a-slug-2025"
    assert BASE.document_of(document) == document
    assert BASE.document_of(document + "#s1") == document
    assert BASE.document_of(document + "#") == document
    assert BASE.kind_of(document) == kind


@pytest.mark.parametrize(
    "iri",
    [
        "https://elsewhere.example/actor/x",
        "http://kg.example/actor/x",
        "https://kg.example/",
        "https://kg.example/actor",
        "https://kg.example/actor/",
        "https://kg.example/actors/x",
        "https://kg.example/Actor/x",
        "https://kg.example/actor/X",
        "https://kg.example/actor/x/y",
        "https://kg.example/actor/x/",
        "https://kg.example/actor/x?y",
        "https://kg.example/actor/x.ttl",
        "https://kg.example/actor/x_y",
        "https://kg.example/actor/-x",
        "https://kg.example/actor/x-",
        "https://kg.example/actor/x--y",
        "https://kg.example/actor/x\n",
        "https://kg.example/actor/київ",
        "https://kg.example/actor/x%20y",
        "https://kg.example/actor/٣",
        "https://kg.example/derived",
        "https://kg.example/actor/" + "x" * (SLUG_LIMIT + 1),
        "",
    ],
)
def test_no_other_iri_belongs_to_a_document(iri: str) -> None:
    assert BASE.document_of(iri) is None


def test_longest_slug() -> None:
    assert BASE.document_of("https://kg.example/actor/" + "x" * SLUG_LIMIT) is not None


@given(st.text(), st.text())
def test_document_of_an_iri_is_the_iri_without_fragment_or_nothing(path: str, fragment: str) -> None:
    iri = f"{BASE}{path}"
    document = BASE.document_of(iri + "#" + fragment)
    assert document in (None, iri.partition("#")[0])
    assert document is None or (BASE.holds(document) and BASE.kind_of(document) in KINDS)


def test_base_with_a_path_does_not_hold_its_neighbours() -> None:
    inner = Base("https://kg.example/graph/")
    assert inner.document_of("https://kg.example/graph/actor/x") == "https://kg.example/graph/actor/x"
    assert inner.document_of("https://kg.example/actor/x") is None
    assert not inner.holds("https://kg.example/graphs")


@pytest.mark.parametrize(
    ("iri", "short"),
    [
        (EKG + "speaker", "ekg:speaker"),
        (EKG, EKG),
        (EKG + "a/b", EKG + "a/b"),
        ("https://schema.org/name", "schema:name"),
        ("https://kg.example/actor/x#t1", "actor/x#t1"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_iris_are_shortened_as_people_write_them(iri: str, short: str) -> None:
    assert shorten(iri, BASE) == short


def test_without_a_base_only_prefixes_shorten() -> None:
    assert shorten("https://kg.example/actor/x") == "https://kg.example/actor/x"
    assert shorten(EKG + "speaker") == "ekg:speaker"


def test_no_prefix_stands_for_the_beginning_of_another() -> None:
    """Else the order of the table would decide how an IRI is written."""
    namespaces = list(PREFIXES.values())
    assert [(a, b) for a in namespaces for b in namespaces if a != b and a.startswith(b)] == []
    assert len(set(namespaces)) == len(namespaces)
