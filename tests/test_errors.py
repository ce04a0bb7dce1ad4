"""The error tree: drawn as it is, documented, named once, and mapped to a status and an exit code."""

from __future__ import annotations

import inspect

import pytest

from kg import cli, errors, web
from kg.errors import KgError, Rejected
from kg.gate import Report, Result

KINDS = list(KgError.tree())


def drawn() -> list[tuple[int, str]]:
    """Depth and name of each class in the drawing at the top of the module."""
    lines = (errors.__doc__ or "").splitlines()
    tree = [line for line in lines if line.strip() == "KgError" or "── " in line]
    return [(line.replace("── ", "    ").index(name) // 4, name) for line in tree for name in [line.split()[-1]]]


def test_tree_is_drawn_as_it_is() -> None:
    def walk(kind: type[KgError], depth: int) -> list[tuple[int, str]]:
        return [(depth, kind.__name__), *(entry for sub in kind.__subclasses__() for entry in walk(sub, depth + 1))]

    actual = walk(KgError, 0)
    first = drawn()[0][0]
    assert sorted(name for _, name in drawn()) == sorted(name for _, name in actual)
    assert [(depth - first, name) for depth, name in drawn()] == actual


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_title_and_a_page(kind: type[KgError]) -> None:
    first, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    assert kind.__dict__.get("__doc__")
    assert first.endswith(".")
    assert kind.title() == first.removesuffix(".")
    assert first[0].isupper()
    assert len(first) < 72
    assert rest.startswith("\n")
    assert rest.strip().endswith(".")


def test_names_are_unique_and_stable_in_form() -> None:
    names = [kind.name() for kind in KINDS]
    assert len(set(names)) == len(names)
    assert {name for name in names if not name.replace("-", "").isalpha() or name != name.lower()} == set()
    assert errors.MalformedQuery.name() == "malformed-query"
    assert errors.KgError.name() == "kg-error"


def test_titles_are_unique() -> None:
    titles = [kind.title() for kind in KINDS]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("table", [cli.EXIT_CODES, web.STATUSES], ids=["exit codes", "statuses"])
def test_every_error_is_mapped_by_itself_or_by_an_ancestor_that_says_something(
    table: dict[type[KgError], int], kind: type[KgError]
) -> None:
    assert any(ancestor in table for ancestor in kind.__mro__ if ancestor is not KgError)


def test_tables_map_nothing_that_is_not_in_the_tree() -> None:
    assert {*cli.EXIT_CODES, *web.STATUSES} <= set(KINDS)


def test_absent_facts_are_left_out() -> None:
    error = errors.MalformedDocument("x", line=3, column=None)
    assert (error.detail, str(error), error.facts) == ("x", "x", {"line": 3})


def test_rejection_counts_what_there_is_to_mend_and_keeps_the_failed_reports() -> None:
    def report(name: str, results: int) -> Report:
        return Report(name, tuple(Result(name, None, None, str(n), "urn:c") for n in range(results)))

    assert Rejected([report("a", 1), report("b", 0)]).detail == "1 thing to mend in a"
    several = Rejected([report(name, 2) for name in "abcd"])
    assert several.detail == "8 things to mend in a, b, c, …"
    assert [failed.document for failed in Rejected([report("a", 0), report("b", 1)]).reports] == ["b"]
