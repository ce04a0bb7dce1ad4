"""A timeline as a drawing: lanes below each other on one axis of time, marks by stance, and turns from one to another.

Hides the arithmetic. Across, everything is in hundredths of the width, so that the drawing fits every screen with text and
marks of one size; down, in pixels. Promises honest dates: an act between two days is a line with its mark at the last, an open
end is broken off at the edge, what nothing dates stands in a column of its own. Marks that would cover each other are one
mark with their number.
"""

from __future__ import annotations

import calendar
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

#: Where marks lie across; the words of the stances stand before, what has no date behind.
_LEFT, _RIGHT, _UNDATED = 20.0, 86.0, 94.0

#: Marks nearer than this are drawn as one: 13 pixels on the narrowest screen.
_NEAR = 3.8

#: Wide enough for a phone, in columns of a monospaced face; lines of a name, pixels of a line and of a row of marks.
_COLUMNS, _LINES, _LINE, _ROW = 44, 3, 18, 30

#: From top to bottom.
_STANCES = ("Affirms", "Entertains", "Denies")

#: So far apart that words on the axis do not touch on a phone, none where they would touch those over what has no date.
_APART, _LAST_TICK = 22.0, 76.0

#: What the words beside a turn take on a phone.
_WORDS = 38.0


@dataclass(frozen=True)
class Event:
    """Something with a stance, between two days that may be unknown. `key` is what turns name it by."""

    key: object
    stance: str
    earliest: str
    latest: str
    href: str
    words: str


@dataclass(frozen=True)
class Lane:
    """What is drawn in one lane; `many` is where a mark leads that stands for several events."""

    name: str
    language: str | None
    href: str
    events: Sequence[Event]
    many: str = ""


@dataclass(frozen=True)
class Turn:
    """A reversal: from one event to another, and what to write beside it."""

    origin: object
    target: object
    words: str


@dataclass(frozen=True)
class Mark:
    x: float
    y: int
    stance: str
    href: str
    words: str
    count: int


@dataclass(frozen=True)
class Span:
    """A stretch of time in which an act was done; `open` where it has no known beginning or end."""

    x1: float
    x2: float
    y: int
    open: bool


@dataclass(frozen=True)
class DrawnRow:
    y: int
    stance: str


@dataclass(frozen=True)
class DrawnLane:
    y: int
    lines: tuple[tuple[int, str], ...]
    language: str | None
    name: str
    href: str
    rows: tuple[DrawnRow, ...]
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class DrawnTurn:
    x1: float
    y1: int
    x2: float
    y2: int
    words: str
    before: bool


@dataclass(frozen=True)
class Tick:
    x: float
    words: str


@dataclass(frozen=True)
class Drawing:
    """All that a template needs. `rules` are the heights of the lines between groups."""

    height: int
    axis: int
    ticks: tuple[Tick, ...]
    lanes: tuple[DrawnLane, ...]
    rules: tuple[int, ...]
    turns: tuple[DrawnTurn, ...]
    undated: float | None


def draw(groups: Sequence[Sequence[Lane]], turns: Sequence[Turn] = ()) -> Drawing:
    """The drawing of lanes in groups. An empty lane takes its room all the same."""
    events = [event for group in groups for lane in group for event in lane.events]
    days = [day for event in events for text in (event.earliest, event.latest) if (day := _day(text)) is not None]
    scale = _Scale(min(days), max(days)) if days else None
    y = 30 if scale else 6
    lanes: list[DrawnLane] = []
    rules: list[int] = []
    places: dict[object, tuple[float, int]] = {}
    for number, group in enumerate(groups):
        if number:
            rules.append(y)
            y += 14
        for lane in group:
            drawn, y = _lane(lane, y, scale, places)
            lanes.append(drawn)
    undated = any(mark.x == _UNDATED for lane in lanes for mark in lane.marks)
    return Drawing(
        height=y,
        axis=18,
        ticks=tuple(scale.ticks()) if scale else (),
        lanes=tuple(lanes),
        rules=tuple(rules),
        turns=tuple(_turns(turns, places, lanes)),
        undated=_UNDATED if undated else None,
    )


def _lane(lane: Lane, y: int, scale: _Scale | None, places: dict[object, tuple[float, int]]) -> tuple[DrawnLane, int]:
    lines = []
    for line in _wrapped(lane.name):
        y += _LINE
        lines.append((y - 4, line))
    top = y
    by_stance: dict[str, list[tuple[float, Event]]] = {}
    spans: dict[Span, None] = {}
    rows = []
    for stance in _STANCES:
        of = [event for event in lane.events if event.stance == stance]
        if not of:
            continue
        middle = y + _ROW // 2
        rows.append(DrawnRow(middle, stance))
        for event in of:
            x, span = _place(event, middle, scale)
            by_stance.setdefault(stance, []).append((x, event))
            if span is not None:
                spans[span] = None
        y += _ROW
    marks = []
    for row in rows:
        for mark, keys in _clusters(sorted(by_stance[row.stance], key=lambda item: item[0]), row, lane.many):
            marks.append(mark)
            places |= dict.fromkeys(keys, (mark.x, mark.y))
    return DrawnLane(
        top, tuple(lines), lane.language, lane.name, lane.href, tuple(rows), tuple(spans), tuple(marks)
    ), y + 10


def _place(event: Event, y: int, scale: _Scale | None) -> tuple[float, Span | None]:
    """Where the mark of an event stands, and the stretch in which it can have been."""
    earliest, latest = _day(event.earliest), _day(event.latest)
    if scale is None or (earliest is None and latest is None):
        return _UNDATED, None
    if earliest is None:
        assert latest is not None
        return scale.x(latest), Span(_LEFT, scale.x(latest), y, True)
    if latest is None:
        return scale.x(earliest), Span(scale.x(earliest), _RIGHT + 2, y, True)
    if latest > earliest:
        return scale.x(latest), Span(scale.x(earliest), scale.x(latest), y, False)
    return scale.x(latest), None


def _clusters(placed: Sequence[tuple[float, Event]], row: DrawnRow, many: str) -> Iterator[tuple[Mark, list[object]]]:
    cluster: list[tuple[float, Event]] = []
    for item in [*placed, None]:
        if item is not None and (not cluster or item[0] - cluster[0][0] < _NEAR):
            cluster.append(item)
            continue
        if cluster:
            events = [event for _, event in cluster]
            acts = {event.href: event for event in events}
            words = events[0].words if len(acts) == 1 else f"{len(acts)} acts: {events[0].words}; and others"
            href = events[0].href if len(acts) == 1 else many or events[0].href
            # The last: a turn ends where it is known that it has been made.
            yield Mark(cluster[-1][0], row.y, row.stance, href, words, len(acts)), [event.key for event in events]
        cluster = [item] if item is not None else []


def _turns(
    turns: Sequence[Turn], places: Mapping[object, tuple[float, int]], lanes: Sequence[DrawnLane]
) -> Iterator[DrawnTurn]:
    taken: dict[int, list[tuple[float, float]]] = {}
    for lane in lanes:
        for mark in lane.marks:
            taken.setdefault(mark.y, []).append((mark.x, mark.x))
    drawn = set()
    for turn in turns:
        if turn.origin not in places or turn.target not in places:
            continue
        (x1, y1), (x2, y2) = places[turn.origin], places[turn.target]
        if (x1, y1) == (x2, y2) or (x1, y1, x2, y2) in drawn:
            continue
        drawn.add((x1, y1, x2, y2))
        # Beside the mark at its end, on the side that is free; the words are left out where none is.
        sides = {True: (x2 - _WORDS, x2 - 1), False: (x2 + 1, x2 + _WORDS)}
        free = [
            before
            for before, (start, end) in sides.items()
            if start >= 0 and end <= 100 and all(last < start or first > end for first, last in taken.get(y2, ()))
        ]
        if free:
            taken[y2].append(sides[free[0]])
        # Off the marks at both ends, which are 7 pixels high on either side.
        off = 9 if y2 > y1 else -9 if y2 < y1 else 0
        yield DrawnTurn(x1, y1 + off, x2, y2 - off, turn.words if free else "", bool(free) and free[0])


class _Scale:
    """Days to hundredths of the width."""

    def __init__(self, first: date, last: date) -> None:
        room = max(timedelta(days=(last - first).days * 0.03), timedelta(days=1))
        if last - first < timedelta(days=8):
            room = timedelta(days=4)
        self._first = _moved(first, -room)
        self._last = _moved(last, room)

    def x(self, day: date) -> float:
        share = (day - self._first).days / max((self._last - self._first).days, 1)
        return round(_LEFT + share * (_RIGHT - _LEFT), 2)

    def ticks(self) -> Iterator[Tick]:
        """At most three, at beginnings of years, months or days."""
        first, last = self._first, self._last
        if last.year - first.year > 2:
            days, words = [date(year, 1, 1) for year in range(first.year + 1, last.year + 1)], "%Y"
        else:
            days = [
                date(year, month, 1)
                for year in range(first.year, last.year + 1)
                for month in range(1, 13)
                if first <= date(year, month, 1) <= last
            ]
            words = "%b %Y"
        if len(days) < 2:
            days, words = [first + timedelta(days=n) for n in range((last - first).days + 1)], "%d %b %Y"
        before = 0.0
        for day in days:
            if self.x(day) <= _LAST_TICK and self.x(day) - before >= _APART:
                before = self.x(day)
                yield Tick(before, _written(day, words))


def _written(day: date, words: str) -> str:
    month = calendar.month_abbr[day.month]
    return words.replace("%d", str(day.day)).replace("%b", month).replace("%Y", f"{day.year:04}")


def _moved(day: date, by: timedelta) -> date:
    try:
        return day + by
    except OverflowError:
        return day


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _wrapped(name: str) -> Iterator[str]:
    """A name in lines that fit a phone, three at most; drawings do not wrap by themselves."""
    lines = [""]
    for word in name.split():
        for piece in _pieces(word):
            if lines[-1] and _columns(f"{lines[-1]} {piece}") > _COLUMNS:
                lines.append(piece)
            else:
                lines[-1] = f"{lines[-1]} {piece}".strip()
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1][: _COLUMNS - 1] + "…"]
    yield from lines


def _pieces(word: str) -> Iterator[str]:
    """A word in pieces that each fit a line; scripts without spaces are one long word."""
    start = 0
    while start < len(word):
        end = next(at for at in range(len(word), start, -1) if _columns(word[start:at]) <= _COLUMNS or at == start + 1)
        yield word[start:end]
        start = end


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
