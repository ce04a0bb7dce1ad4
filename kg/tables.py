"""Answers as tables of terms, and the forms in which they leave: JSON, CSV, TSV, XML, Markdown.

Hides how each format writes a value. Promises that a form is whole, that the same table gives the same bytes, and that no cell of a
CSV or TSV is taken for a formula by a spreadsheet: text that begins with `= + - @`, also in the wide form of East Asian keyboards,
with a tab or with the end of a line gets an apostrophe before it, as spreadsheets themselves mark text. Numbers stay numbers.
For the bare values there is `/sparql`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyoxigraph as ox

from kg.errors import NotFound
from kg.questions import Question
from kg.terms import XSD, Base, shorten

Value = ox.NamedNode | ox.BlankNode | ox.Literal | None

#: Formats by name, with the media type of each; `srj` is SPARQL 1.1 Query Results JSON.
FORMATS: dict[str, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "xml": "application/sparql-results+xml",
    "md": "text/markdown",
    "srj": "application/sparql-results+json",
}

_INTEGERS = frozenset(
    XSD + name
    for name in ("integer", "int", "long", "short", "byte", "nonNegativeInteger", "positiveInteger", "negativeInteger", "nonPositiveInteger", "unsignedInt")
)  # fmt: skip
_DECIMALS = frozenset(XSD + name for name in ("decimal", "double", "float"))
#: With what a cell begins that some spreadsheet takes for a formula (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Column:
    """A column: its name, what it means, and whether it holds verbatim words."""

    name: str
    meaning: str = ""
    evidence: bool = False


@dataclass(frozen=True)
class Table:
    """An answer: rows of values under columns, as of a revision. `parameters` are those it was asked with, as a caller would write
    them; `complete` is false where there are more rows than `limit`; `empty` says why it may be empty, where it is."""

    question: str
    summary: str
    parameters: Mapping[str, str]
    revision: int
    limit: int
    complete: bool
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = field(repr=False)
    base: Base | None = None
    empty: str = ""

    def write(self, form: str, *, excel: bool = False) -> bytes:
        """The table in one of `FORMATS`. With `excel`, CSV and TSV begin with the mark by which Excel knows UTF-8."""
        if form in ("csv", "tsv"):
            return b"\xef\xbb\xbf" * excel + _separated(self, form)
        if form == "md":
            return _markdown(self)
        if form == "xml":
            return _xml(self)
        return json.dumps(_results(self) if form == "srj" else self.as_json(), ensure_ascii=False).encode()

    def as_json(self) -> dict[str, Any]:
        """The table for programs that know no RDF: plain values, with a type for each column."""
        names = [column.name for column in self.columns]
        return ({} if self.rows or not self.empty else {"empty": self.empty}) | {
            "question": self.question,
            "summary": self.summary,
            "parameters": dict(self.parameters),
            "base": str(self.base or ""),
            "revision": self.revision,
            "limit": self.limit,
            "complete": self.complete,
            "columns": [
                {
                    "name": column.name,
                    "meaning": column.meaning,
                    "type": self.type_of(place),
                    "evidence": column.evidence,
                }
                for place, column in enumerate(self.columns)
            ],
            "rows": [dict(zip(names, map(plain, row), strict=True)) for row in self.rows],
        }

    def type_of(self, place: int) -> str:
        """What all values of a column are: iri, text, date, dateTime, integer, number, boolean; `mixed`, or `empty`."""
        types = {type_of(row[place]) for row in self.rows if row[place] is not None}
        return types.pop() if len(types) == 1 else "mixed" if types else "empty"


def type_of(value: Value) -> str:
    """What a value is, in the words of `Table.type_of`."""
    if not isinstance(value, ox.Literal):
        return "iri"
    datatype = value.datatype.value
    if datatype in _INTEGERS:
        return "integer"
    if datatype in _DECIMALS:
        return "number"
    local = datatype.removeprefix(XSD)
    return local if local in ("date", "dateTime", "boolean") else "text"


def plain(value: Value) -> str | int | float | bool | None:
    """A value as JSON has it: numbers and truth values as such, everything else as text. Numbers that JSON has none for are text."""
    if value is None:
        return None
    if isinstance(value, ox.BlankNode):
        return f"_:{value.value}"
    if isinstance(value, ox.Literal):
        kind = type_of(value)
        try:
            if kind == "integer":
                return int(value.value)
            if kind == "number":
                number = float(value.value)
                return number if math.isfinite(number) else value.value
        except ValueError:
            return value.value
        if kind == "boolean" and value.value in ("true", "false", "1", "0"):
            return value.value in ("true", "1")
    return value.value


def text_of(value: Value) -> str:
    """A value as people read it in a cell."""
    return "" if value is None else f"_:{value.value}" if isinstance(value, ox.BlankNode) else value.value


def _cell(value: Value) -> str:
    text = text_of(value)
    if text.startswith(_FORMULA) and type_of(value) not in ("integer", "number"):
        return "'" + text
    return text


def _separated(table: Table, form: str) -> bytes:
    text = io.StringIO()
    if form == "csv":
        writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
        writer.writerow([column.name for column in table.columns])
        writer.writerows([[_cell(value) for value in row] for row in table.rows])
        return text.getvalue().encode()
    # In text/tab-separated-values a value cannot hold what separates values.
    lines = [[column.name for column in table.columns]]
    lines += [[re.sub(r"[\t\r\n]+", " ", _cell(value)) for value in row] for row in table.rows]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _markdown(table: Table) -> bytes:
    def cell(value: Value) -> str:
        text = re.sub(r"\s+", " ", text_of(value))
        text = re.sub(r"([\\|*_`\[\]<>])", r"\\\1", text)
        if isinstance(value, ox.NamedNode) and value.value.startswith(("http://", "https://")):
            short = re.sub(r"([\\|*_`\[\]<>])", r"\\\1", shorten(value.value, table.base))
            address = value.value.replace("|", "%7C").replace("(", "%28").replace(")", "%29")
            return f"[{short}]({address})"
        return text

    asked = ", ".join(f"{name} = {value}" for name, value in table.parameters.items())
    lines = [f"# {table.summary}", ""]
    lines += [f"Asked with {asked}.", ""] if asked else []
    lines.append("| " + " | ".join(column.name for column in table.columns) + " |")
    lines.append("|" + " --- |" * len(table.columns))
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.rows]
    count = len(table.rows)
    more = "" if table.complete else f", the first of more than {count}"
    lines += ["", f"{count} row{'s' * (count != 1)}{more}, at revision {table.revision}."]
    lines += ["", table.empty] if table.empty and not count else []
    return ("\n".join(re.sub(r"[\r\n]+", " ", line) for line in lines) + "\n").encode()


def _xml(table: Table) -> bytes:
    """SPARQL Query Results XML Format (second edition)."""

    def term(value: Value) -> str:
        if isinstance(value, ox.NamedNode):
            return f"<uri>{escape(value.value)}</uri>"
        if isinstance(value, ox.BlankNode):
            return f"<bnode>{escape(value.value)}</bnode>"
        assert isinstance(value, ox.Literal)
        mark = ""
        if value.language:
            mark = f" xml:lang={quoteattr(value.language)}"
        elif value.datatype.value != XSD + "string":
            mark = f" datatype={quoteattr(value.datatype.value)}"
        return f"<literal{mark}>{escape(value.value, {chr(13): '&#13;'})}</literal>"

    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<sparql xmlns="http://www.w3.org/2005/sparql-results#">\n<head>']
    parts += [f"<variable name={quoteattr(column.name)}/>" for column in table.columns]
    parts.append("</head>\n<results>\n")
    for row in table.rows:
        bindings = (
            f"<binding name={quoteattr(column.name)}>{term(value)}</binding>"
            for column, value in zip(table.columns, row, strict=True)
            if value is not None
        )
        parts.append(f"<result>{''.join(bindings)}</result>\n")
    parts.append("</results>\n</sparql>\n")
    return "".join(parts).encode()


def _results(table: Table) -> dict[str, Any]:
    """SPARQL 1.1 Query Results JSON Format."""

    def term(value: Value) -> dict[str, str]:
        if isinstance(value, ox.NamedNode):
            return {"type": "uri", "value": value.value}
        if isinstance(value, ox.BlankNode):
            return {"type": "bnode", "value": value.value}
        assert isinstance(value, ox.Literal)
        result = {"type": "literal", "value": value.value}
        if value.language:
            result["xml:lang"] = value.language
        elif value.datatype.value != XSD + "string":
            result["datatype"] = value.datatype.value
        return result

    names = [column.name for column in table.columns]
    bindings = [
        {name: term(value) for name, value in zip(names, row, strict=True) if value is not None} for row in table.rows
    ]
    return {"head": {"vars": names}, "results": {"bindings": bindings}}


def read_results(body: bytes) -> tuple[list[str], list[tuple[Value, ...]]]:
    """Columns and rows of SPARQL results in JSON."""
    parsed = ox.parse_query_results(body, format=ox.QueryResultsFormat.JSON)
    assert isinstance(parsed, ox.QuerySolutions)
    names = [variable.value for variable in parsed.variables]
    return names, [tuple(solution[name] for name in names) for solution in parsed]


@dataclass(frozen=True)
class Drawing:
    """What of an answer a chart shows: how many of its rows, of how many, in how many bands, and the fields that a row must have."""

    drawn: int
    rows: int
    bands: int
    needs: tuple[str, ...]


def chart(question: Question, table: Table) -> dict[str, Any]:
    """The question's Vega-Lite specification with the rows as its data set `rows`: whole in itself, nothing is fetched.

    Days are read as days of the clock at hand: Vega takes a date for midnight in Greenwich, and west of it shows the day before.
    """
    specification = _specification(question)
    days = {
        column.name: "date:'%Y-%m-%d'" for place, column in enumerate(table.columns) if table.type_of(place) == "date"
    }
    if days:
        specification.setdefault("data", {"name": "rows"})["format"] = {"parse": days}
    specification["datasets"] = {"rows": table.as_json()["rows"]}
    return specification


def drawn_of(specification: Mapping[str, Any]) -> Drawing:
    """What a chart with its rows in it shows."""
    rows, meta = specification["datasets"]["rows"], specification.get("usermeta", {})
    needs, bands = tuple(meta.get("needs", ())), meta.get("bands")
    drawn = [row for row in rows if all(row.get(name) is not None for name in needs)]
    return Drawing(len(drawn), len(rows), len({row.get(bands) for row in drawn}), needs)


def _specification(question: Question) -> dict[str, Any]:
    path = question.chart_specification()
    if path is None:
        raise NotFound(f"the question {question.id} has no chart")
    specification: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return specification
