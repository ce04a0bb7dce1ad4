"""Answers as people read them: a thing and its name in one cell, dates in words, and below each row the words it rests on.

Hides how columns belong together, which their names and values tell: `speaker` and `speakerName`, `earliest` and `latest`,
`quotation` with its act, article, outlet and day. Promises that nothing of a row is lost that somebody would read, and one look-up for
all names. Programs get the bare columns, in the other formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pyoxigraph as ox

from kg.asking import Desk
from kg.names import Label
from kg.tables import Table, Value, text_of, type_of
from kg.terms import EKG, Base, shorten
from kg.web.reading import day, span_of
from kg.web.vocabulary import name_of_term

#: Characters up to which a cell is not broken into lines.
_SHORT = 16

_STANCES = {EKG + name: name.lower() for name in ("Affirms", "Denies", "Entertains")}


@dataclass(frozen=True)
class Part:
    """Something said in a cell: a text, its language, where it leads, the word before it; `stance` where it is one."""

    text: str
    language: str | None = None
    href: str = ""
    before: str = ""
    stance: str = ""


@dataclass(frozen=True)
class Head:
    """A column as the page shows it: in words, with what it means."""

    text: str
    meaning: str


@dataclass(frozen=True)
class Source:
    """Verbatim words below a row: which of the row's acts they are of where it has several, the act, and the article."""

    of: str
    words: str
    language: str | None
    act: str
    kind: str
    article: Part | None
    outlet: str
    published: str


@dataclass(frozen=True)
class Row:
    """One row: the parts of each cell, and the words that it rests on."""

    cells: tuple[tuple[Part, ...], ...]
    sources: tuple[Source, ...]

    @staticmethod
    def is_short(cell: Sequence[Part]) -> bool:
        """Whether a cell keeps to one line."""
        return len(cell) <= 1 and all(len(part.text) + len(part.before) <= _SHORT for part in cell)


@dataclass(frozen=True)
class Answer:
    """A table as the page shows it, without the columns that are `empty` in all these rows."""

    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    empty: tuple[str, ...] = ()


def answer(desk: Desk, table: Table, languages: Sequence[str], most: int) -> Answer:
    """The first rows of a table, at the most so many, with names in the first of these languages that a thing has one in."""
    base = desk.library.base
    rows = table.rows[:most]
    plan = _plan([column.name for column in table.columns], [c.name for c in table.columns if c.evidence], rows, base)
    owners = {
        owner
        for row in rows
        for value in row
        if isinstance(value, ox.NamedNode) and (owner := base.document_of(value.value))
    }
    writer = _Writer(base, desk.names.labels(sorted(owners), languages))
    meanings = {column.name: column.meaning for column in table.columns}
    by_name = [dict(zip(meanings, row, strict=True)) for row in rows]
    groups: list[_Group] = []
    empty: list[_Group] = []
    for group in plan.groups:
        is_told = any(of[name] is not None for of in by_name for name in group.told)
        (groups if is_told else empty).append(group)
    heads = tuple(Head(group.head, "; ".join(meanings[name] for name in group.told)) for group in groups)
    shown = []
    for of in by_name:
        cells = tuple(group.write(writer, of) for group in groups)
        sources = tuple(source for quote in plan.quotes if (source := writer.source(quote, of)) is not None)
        shown.append(Row(cells, sources))
    return Answer(heads, tuple(shown), tuple(group.head for group in empty))


def in_words(name: str) -> str:
    """The name of a column or parameter as words: `knownSince` is “known since”."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


# How columns belong together

_Write = Callable[["_Writer", dict[str, Value]], tuple[Part, ...]]


@dataclass(frozen=True)
class _Group:
    """Columns that are one on the page."""

    head: str
    told: tuple[str, ...]
    write: _Write


@dataclass(frozen=True)
class _Quote:
    """Columns that tell of one quotation; those that the question does not have are empty."""

    of: str
    words: str
    act: str
    kind: str
    article: str
    outlet: str
    published: str

    def columns(self) -> set[str]:
        return {self.words, self.act, self.kind, self.article, self.outlet, self.published} - {""}


@dataclass(frozen=True)
class _Plan:
    groups: list[_Group] = field(default_factory=list)
    quotes: list[_Quote] = field(default_factory=list)


def _plan(names: Sequence[str], evidence: Sequence[str], rows: Iterable[Sequence[Value]], base: Base) -> _Plan:
    samples = dict.fromkeys(names)
    for row in rows:
        samples |= {
            name: value for name, value in zip(names, row, strict=True) if value is not None and not samples[name]
        }
    plan = _Plan()
    for words in evidence:
        taken = {column for quote in plan.quotes for column in quote.columns()}
        plan.quotes.append(_quote(words, [name for name in names if name not in taken], evidence, samples))
    quoted = {column for quote in plan.quotes for column in quote.columns()}
    left = [name for name in names if name not in quoted]
    while left:
        group, used = _group(left, samples, base)
        plan.groups.append(group)
        left = left[used:]
    return plan


def _quote(words: str, names: Sequence[str], evidence: Sequence[str], samples: dict[str, Value]) -> _Quote:
    prefix = words.removesuffix("quotation").removesuffix("Quotation")

    def named(what: str) -> str:
        name = f"{prefix}{what.capitalize()}" if prefix else what
        return name if name in names else ""

    acts = [name for name in names if _is_part(samples[name])]
    by_name = [name for name in (named("act"), prefix, f"{prefix}By") if name in acts]
    before = [
        name
        for name in acts
        if names.index(name) < names.index(words) and not any(other.startswith(name) for other in evidence)
    ]
    act = (by_name or before[-1:] or [""])[0]
    of = in_words(prefix or act) if len(evidence) > 1 and (prefix or act) != "act" else ""
    return _Quote(of, words, act, named("kind"), named("article"), named("outlet"), named("published"))


def _group(names: Sequence[str], samples: dict[str, Value], base: Base) -> tuple[_Group, int]:
    """The columns at the beginning of these that are one on the page, and how many they are."""
    first, rest = names[0], names[1:]
    if first == "earliest" and rest[:1] == ["latest"]:
        return _Group("when", ("earliest", "latest"), lambda writer, of: writer.span(of)), 2
    stance = first.removesuffix("Stance")
    if stance != first and rest[:1] == [f"{stance}Proposition"]:
        thing, used = _thing(rest, base, samples)
        both = _Group(
            in_words(stance), (first, rest[0]), lambda writer, of: (*writer.value(of[first]), *thing.write(writer, of))
        )
        return both, used + 1
    thing, used = _thing(names, base, samples)
    if first == "speaker" and "post" in names[used : used + 1]:
        role, count = (
            _thing(names[used + 1 :], base, samples) if names[used + 1 : used + 2] == ["onBehalfOf"] else (None, 0)
        )

        def write(writer: _Writer, of: dict[str, Value]) -> tuple[Part, ...]:
            post = writer.value(of["post"])
            behalf = role.write(writer, of) if role else ()
            spoken_for = (Part(p.text, p.language, p.href, before="on behalf of") for p in behalf)
            return (*thing.write(writer, of), *post, *spoken_for)

        told = (first, "post", *(role.told if role else ()))
        return _Group("speaker", told, write), used + 1 + count
    return thing, used


def _thing(names: Sequence[str], base: Base, samples: dict[str, Value]) -> tuple[_Group, int]:
    """One column, with the one behind it where that is its name."""
    first, sample = names[0], samples[names[0]]
    wanted = {f"{first}Name", f"{first}Text", f"{first.removesuffix('Proposition')}Text"}
    if isinstance(sample, ox.NamedNode) and base.kind_of(base.document_of(sample.value) or "") == "proposition":
        wanted.add("text")
    if first in ("thing", "publisher"):
        wanted |= {"name", "outlet"}
    behind = names[1] if len(names) > 1 and names[1] in wanted else ""
    is_share, is_outlet = first == "share", first == "publisher"

    def write(writer: _Writer, of: dict[str, Value]) -> tuple[Part, ...]:
        if is_share and isinstance(of[first], ox.Literal):
            return (Part(f"{float(text_of(of[first])):.0%}"),)
        if is_outlet and of[first] is None:
            return (Part("unknown"),)
        return writer.value(of[first], of[behind] if behind else None)

    head = {"said": "proposition", "publisher": "outlet", "saidText": "proposition"}.get(first) or in_words(first)
    return _Group(head, (first,), write), 2 if behind else 1


def _is_part(value: Value) -> bool:
    return isinstance(value, ox.NamedNode) and "#" in value.value and not value.value.startswith(EKG)


# What stands in a cell


class _Writer:
    """Values in words, with the names of all documents that occur."""

    def __init__(self, base: Base, labels: dict[str, Label]) -> None:
        self._base = base
        self._home = urlsplit(base.iri).path
        self._labels = labels

    def value(self, value: Value, name: Value = None) -> tuple[Part, ...]:
        """A value; `name` is what its question calls it, where there is no label."""
        if value is None:
            return (Part(text_of(name), _language(name)),) if name is not None else ()
        if not isinstance(value, ox.NamedNode):
            return (Part(_in_words(value), _language(value)),)
        iri = value.value
        if iri in _STANCES:
            return (Part(_STANCES[iri], stance=_STANCES[iri]),)
        if iri.startswith(EKG):
            return (Part(name_of_term(iri)),)
        owner = self._base.document_of(iri)
        if owner is None:
            return (
                Part(
                    text_of(name) or shorten(iri, self._base), href=iri if iri.startswith(("http:", "https:")) else ""
                ),
            )
        label = self._labels[owner]
        if owner == iri:
            if label.language is None and name is not None:
                return (Part(text_of(name), _language(name), self._address(iri)),)
            return (Part(label.text, label.language, self._address(iri)),)
        if name is not None:
            return (Part(text_of(name), _language(name), self._address(iri)),)
        return (Part(f"“{label.text}”", label.language, self._address(iri), before="in"),)

    def span(self, of: dict[str, Value]) -> tuple[Part, ...]:
        text = span_of({name: text_of(of[name]) for name in ("earliest", "latest")})
        return (Part(text),) if text else ()

    def source(self, quote: _Quote, of: dict[str, Value]) -> Source | None:
        words, act = of[quote.words], of.get(quote.act)
        article = of.get(quote.article)
        if words is None and act is None:
            return None
        owner = self._base.document_of(act.value) if isinstance(act, ox.NamedNode) else None
        where = article if article is not None else ox.NamedNode(owner) if owner else None
        return Source(
            quote.of,
            text_of(words),
            _language(words),
            self._address(act.value) if isinstance(act, ox.NamedNode) else "",
            "".join(part.text for part in self.value(of.get(quote.kind))),
            next(iter(self.value(where)), None),
            text_of(of.get(quote.outlet)),
            day(text_of(of.get(quote.published))),
        )

    def _address(self, iri: str) -> str:
        place, hash, part = iri.removeprefix(self._base.iri).partition("#")
        return f"{self._home}{place}.html{hash}{part}"


def _language(value: Value) -> str | None:
    return value.language if isinstance(value, ox.Literal) else None


def _in_words(value: Value) -> str:
    text = text_of(value)
    kind = type_of(value)
    if kind in ("date", "dateTime"):
        return day(text)
    if kind == "boolean":
        return "yes" if text in ("true", "1") else "no"
    # Words of a question's own, such as act-without-time; what has a language is somebody's.
    return text.replace("-", " ") if re.fullmatch(r"[a-z]+(-[a-z]+)+", text) and not _language(value) else text
