"""Answers in memory, as bookkeeping."""

from __future__ import annotations

import gzip
from urllib.parse import parse_qsl, quote

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kg.web.cache import (
    Cache,
    Kept,
    canonical,
    coding_for,
    compress,
    matches,
    parameters,
    worth_compressing,
)


def kept(size: int, etag: str = '"x"') -> Kept:
    return Kept(200, [], b"x" * size, etag, [])


def test_an_answer_is_found_at_its_revision_only() -> None:
    cache = Cache(100_000)
    cache.find((1, 1), "q")
    cache.keep((1, 1), "q", kept(10))
    assert cache.find((1, 1), "q") is not None
    assert cache.find((2, 1), "q") is None
    assert cache.find((1, 1), "q") is None, "what was kept before the write is gone"


def test_an_answer_computed_before_a_write_is_not_kept_after_it() -> None:
    cache = Cache(100_000)
    cache.find((1, 1), "q")
    cache.find((2, 2), "other")
    cache.keep((1, 1), "q", kept(10))
    assert cache.find((2, 2), "q") is None
    assert cache.figures()["entries"] == 0


def test_one_answer_takes_an_eighth_at_the_most() -> None:
    cache = Cache(80_000)
    cache.find((1,), "q")
    cache.keep((1,), "q", kept(10_001))
    assert cache.find((1,), "q") is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9_000)), max_size=200))
def test_memory_stays_within_its_bound(puts: list[tuple[int, int]]) -> None:
    cache = Cache(100_000)
    cache.find((1,), "start")
    for name, size in puts:
        cache.keep((1,), name, kept(size))
        figures = cache.figures()
        assert figures["bytes"] <= 100_000
        assert figures["bytes"] == sum(entry.size for entry in cache._kept.values())


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(20_000)
    cache.find((1,), "start")
    for name in range(12):
        cache.keep((1,), name, kept(400))
        assert cache.find((1,), 0) is not None, "asked for all the time"
    assert cache.find((1,), 1) is None


def test_the_order_of_parameters_does_not_matter() -> None:
    assert canonical("a=1&b=2") == canonical("b=2&a=1")
    assert canonical("a=1&a=2") == canonical("a=2&a=1")
    assert canonical("a=1") != canonical("a=2")
    assert canonical("a=") != canonical("")


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("*", "zstd"),
        ("br", "identity"),
        ("gzip;q=0", "identity"),
        ("identity, gzip;q=0.5", "identity"),
        ("nonsense;;q=x", "identity"),
    ],
)
def test_coding_follows_the_header(header: str, coding: str) -> None:
    assert coding_for(header) == coding


def test_compressed_bodies_are_the_same_after_unpacking() -> None:
    body = "Курск 쿠르스크 ".encode() * 500
    assert gzip.decompress(compress(body, "gzip")) == body
    assert zstandard.ZstdDecompressor().decompress(compress(body, "zstd")) == body


def test_what_is_small_or_packed_already_is_left_alone() -> None:
    assert not worth_compressing("text/turtle", 999)
    assert worth_compressing("text/turtle; charset=utf-8", 1000)
    assert not worth_compressing("image/png", 100_000)


@pytest.mark.parametrize(
    ("header", "found"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False), ("", False)],
)
def test_entity_tags_compare_weakly(header: str, found: bool) -> None:
    assert matches(header, '"a"') is found


@given(
    st.one_of(
        st.text("ab=&%+;04dDAcé \n_#", max_size=30),
        st.text(max_size=20).map(lambda text: f"q={quote(text)}&{quote(text)}"),
    )
)
def test_parameters_are_those_of_any_form(query: str) -> None:
    assert parameters(query) == tuple(parse_qsl(query, keep_blank_values=True))
