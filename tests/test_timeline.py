"""The arithmetic of timelines: honest dates, marks that do not cover each other, names that fit a phone."""

from __future__ import annotations

import itertools

import pytest

from kg.web.timeline import Event, Lane, Turn, draw


def event(key: str, stance: str, earliest: str, latest: str) -> Event:
    return Event(key, stance, earliest, latest, f"#{key}", f"act {key}")


def lane(*events: Event, name: str = "A lane") -> Lane:
    return Lane(name, "en", "/lane", events, "#all")


def test_a_day_is_a_mark_and_an_interval_is_a_line_that_ends_in_one() -> None:
    drawing = draw(
        [[lane(event("a", "Affirms", "2025-01-01", "2025-01-01"), event("b", "Denies", "2025-01-05", "2025-03-01"))]]
    )
    (drawn,) = drawing.lanes
    (span,) = drawn.spans
    marks = {mark.stance: mark for mark in drawn.marks}
    assert not span.open
    assert span.x1 < span.x2 == marks["Denies"].x
    assert marks["Affirms"].x < span.x1
    assert span.y == marks["Denies"].y > marks["Affirms"].y, "denial stands below affirmation"


def test_an_open_beginning_is_a_broken_line_from_the_edge_and_an_open_end_one_to_it() -> None:
    drawing = draw([[lane(event("a", "Denies", "", "2025-04-25"), event("b", "Affirms", "2025-04-26", ""))]])
    spans = {span.y: span for span in drawing.lanes[0].spans}
    rows = {row.stance: row.y for row in drawing.lanes[0].rows}
    marks = {mark.stance: mark.x for mark in drawing.lanes[0].marks}
    denial, affirmation = spans[rows["Denies"]], spans[rows["Affirms"]]
    assert denial.open
    assert affirmation.open
    assert denial.x1 < denial.x2 == marks["Denies"]
    assert marks["Affirms"] == affirmation.x1 < affirmation.x2


def test_what_nothing_dates_stands_in_a_column_of_its_own() -> None:
    drawing = draw([[lane(event("a", "Affirms", "", ""), event("b", "Affirms", "2025-01-01", "2025-01-01"))]])
    dated, undated = sorted(mark.x for mark in drawing.lanes[0].marks)
    assert undated == drawing.undated
    assert dated < undated
    assert draw([[lane(event("b", "Affirms", "2025-01-01", "2025-01-01"))]]).undated is None
    assert draw([[lane(event("a", "Affirms", "", ""))]]).ticks == ()


def test_marks_that_would_cover_each_other_are_one_with_their_number() -> None:
    acts = [event(f"a{n}", "Affirms", f"2025-01-{n:02}", f"2025-01-{n:02}") for n in (1, 2, 3)]
    far = event("far", "Affirms", "2026-01-01", "2026-01-01")
    marks = draw([[lane(*acts, far)]]).lanes[0].marks
    assert [(mark.count, mark.href) for mark in marks] == [(3, "#all"), (1, "#far")]
    assert "3 acts" in marks[0].words


def test_a_reversal_leads_from_the_mark_of_one_act_to_that_of_the_other() -> None:
    groups = [
        [lane(event("no", "Denies", "", "2025-04-25")), lane(event("yes", "Affirms", "2025-04-26", "2025-04-26"))]
    ]
    drawing = draw(groups, [Turn("no", "yes", "reversed after 1 day"), Turn("no", "elsewhere", "not drawn")])
    denial, admission = drawing.lanes[0].marks[0], drawing.lanes[1].marks[0]
    (turn,) = drawing.turns
    assert (turn.x1, turn.x2) == (denial.x, admission.x)
    assert denial.y < turn.y1 < turn.y2 < admission.y
    assert turn.words == "reversed after 1 day"


@pytest.mark.parametrize(
    ("first", "last"),
    [("2025-04-26", "2025-04-26"), ("2025-04-25", "2025-04-27"), ("2024-10-16", "2025-04-27"), ("1991-01-01", "2025-01-01"),
     ("0001-01-01", "0001-01-02"), ("9999-12-30", "9999-12-31"), ("0001-01-01", "9999-12-31")],
)  # fmt: skip
def test_the_axis_has_a_few_words_that_do_not_touch(first: str, last: str) -> None:
    drawing = draw([[lane(event("a", "Affirms", first, first), event("b", "Denies", last, last))]])
    places = [tick.x for tick in drawing.ticks]
    assert 1 <= len(places) <= 3
    assert all(20 <= place <= 80 for place in places)
    assert all(after - before > 15 for before, after in itertools.pairwise(places))
    assert all(0 <= mark.x <= 100 for mark in drawing.lanes[0].marks)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Short.", 1),
        ("North Korean troops are in combat in the Kursk region on Russia's side.", 2),
        ("word " * 100, 3),
        ("Donaudampfschifffahrtsgesellschaft" * 4, 3),
        ("북한군이쿠르스크지역에서전투중이다" * 2, 2),
        ("", 1),
    ],
)
def test_names_are_broken_into_lines_for_a_phone(name: str, lines: int) -> None:
    drawn = draw([[lane(event("a", "Affirms", "", ""), name=name)]]).lanes[0]
    assert len(drawn.lines) == lines
    assert all(len(line) <= 45 for _, line in drawn.lines)
    assert drawn.name == name, "nothing is lost to those who hear it"


def test_groups_are_parted_by_a_rule_and_lanes_do_not_overlap() -> None:
    one = lane(event("a", "Affirms", "2025-01-01", "2025-01-01"))
    drawing = draw([[one, one], [one]])
    assert len(drawing.rules) == 1
    rows = [row.y for drawn in drawing.lanes for row in drawn.rows]
    assert rows == sorted(set(rows))
    assert rows[-1] < drawing.height
