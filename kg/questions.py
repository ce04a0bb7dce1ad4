"""Canned questions: each is one file in `queries/`, whose header is its interface.

Hides the header and how values get into a query. Promises that a value is a term in the place of a variable and can be nothing
else, whatever characters it has; a file that cannot keep that promise is refused when it is read.

`queries/{id}.rq` is SPARQL 1.1 that runs as it is, here and under grlc 1.3. Its comment lines that start with `#+` are YAML: grlc's
`summary`, `description`, `tags`, `defaults`, `enumerate`, and of our own

    parameters   {name: {kind, help, example, minimum, maximum}}; what is fixed for all (`asof`, `retracted`) needs no entry
    columns      {name: meaning}, in the order of the SELECT clause
    evidence     the columns that hold verbatim words
    chart        the file of a Vega-Lite specification beside it, over the data set `rows`
    related      ids of other questions
    empty        why an answer may be empty
    differs_on   {product: what it does}, for SPARQL servers that answer with other rows or not at all: there it is not asked

A parameter is a variable `?_name_type`, or `?__name_type` where it may be left out: then it stays a variable without a value.
The type is `iri` (by the parameter's `kind`), `date`, `boolean`, `integer`, `literal` or none (text), or a language such as `en`.
grlc takes `date` and `boolean` for languages: files use such a value through `STR(…)` only, which is the same both ways.
`limit` is no variable, since SPARQL has none there: the query ends without LIMIT, and `bind` adds it. It puts it too in the place of
each comment `#> limit`, with which a subquery ends whose solutions stand in the order of the rows and give at least a row each: then rows that
would be cut off are never made. `#> limit / 2` is for solutions that give at least two rows each.

Four rules keep the cost of a question with its answer and not with the graph. They follow from how Oxigraph plans (sparopt 0.5.13,
`reorder_joins` and `is_fit_for_for_loop_join`; `oxigraph query --explain --stats` shows a plan) and cost other engines nothing:

1. Put what must be there into a subquery with a LIMIT that cuts nothing off, and the OPTIONAL look-ups behind it. Oxigraph takes each
   further pattern to multiply what comes before, tenfold to a thousandfold. Past 10^17 it no longer sees that looking up is cheaper, and
   reads the whole graph for every OPTIONAL. A LIMIT caps its guess: `LIMIT 1000000000` before OPTIONAL; `LIMIT 999999` where
   patterns follow that have to start from those rows, as a pattern without a constant counts as a million.
2. A constant as object (`ekg:stance ekg:Affirms`, `a ekg:Admission`) counts as a thousand and is where Oxigraph begins. Unless that is the
   beginning meant, use a variable and FILTER. An IRI made from text, or bound by an OPTIONAL, is never looked up: find it again
   from the parameter, and compare. Where there may be no such text, the IRI has no value and later patterns match everything:
   `COALESCE(IRI(…), ekg:Denies)`, any term that they do not match. What an OPTIONAL has bound is looked up only by an OPTIONAL inside it.
3. Patterns within EXISTS are not put in order: each is looked up only by what stands outside. One pattern for each, the next within a
   FILTER EXISTS inside it. A UNION is looked up if all branches bind what joins it to the rest and none has an OPTIONAL on
   that; DISTINCT, GROUP BY, MINUS and subqueries never are: they start from the parameter themselves, and come last.
   That is of use where everything is to be read: subqueries of one pattern each, with a LIMIT, are read as they lie and joined by
   hashing, five times as fast as looking up each of hundreds of thousands, and so is MINUS beside NOT EXISTS.
4. Sorting makes its keys for every row, whatever is cut off later: of days and numbers first, which cost nothing; behind them, where there are
   tens of thousands, `?act` and not `STR(?act)`. `a || EXISTS { … }` searches though `a` is so: `IF(a, true, EXISTS { … })` does
   not. A branch that a parameter rules out begins with `{ SELECT ?asked WHERE { BIND(true AS ?asked) FILTER(…) } LIMIT 1 }`, so
   that nothing of it is read.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import yaml

from kg import assets, lexis
from kg.errors import InvalidParameter, MalformedQuestion, UnknownQuestion
from kg.terms import EKG, KINDS, XSD

Term = ox.NamedNode | ox.Literal

#: Rows that an answer has at the most, and where nothing else is asked for.
LIMITS = (1, 10_000)
LIMIT = 1_000

#: What addresses and commands mean by themselves, and so cannot be a question's parameter.
RESERVED = frozenset({"limit", "revision", "format", "excel", "q", "url", "data", "chart", "param"})

#: Parameters that mean the same in every question that has them.
_FIXED = {
    "asof": {"help": "Only what was published by this day. An article without a date of publication is then left out."},
    "retracted": {"help": "Whether articles that have been retracted count too."},
}

_LIMIT_HERE = re.compile(r"#> limit(?: / ([2-9]))?")

_KEYS = frozenset(
    {"summary", "description", "tags", "endpoint_in_url", "defaults", "enumerate", "parameters", "columns", "evidence", "chart", "related", "empty", "differs_on"}
)  # fmt: skip
#: SPARQL servers that are told apart.
_PRODUCTS = frozenset({"virtuoso"})
_TYPES = frozenset({"iri", "date", "boolean", "integer", "literal"})
_VARIABLE = re.compile(r"[?$](_{1,2})([A-Za-z0-9]+)(?:_(?:xsd_)?([A-Za-z0-9]+))?")
_Refusal = type[InvalidParameter]
_TRUTH = {"yes": "true", "true": "true", "1": "true", "no": "false", "false": "false", "0": "false"}


class _Yaml(yaml.SafeLoader):
    """YAML as people write it: `on`, `yes` and `no` are words, as in YAML 1.2, and only `true` and `false` are truth values."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's own
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF"))


@dataclass(frozen=True)
class Parameter:
    """What a question can be given. `type` is iri, date, boolean, integer, literal, or a language; `kinds` is what an iri may be:
    kinds of document, `act`, `term` or `iri`. `default` and `choices` are texts as a caller would write them."""

    name: str
    type: str
    required: bool
    help: str = ""
    kinds: tuple[str, ...] = ()
    default: str | None = None
    choices: tuple[str, ...] = ()
    example: str | None = None
    minimum: int | None = None
    maximum: int | None = None

    def read(self, text: str) -> Term:
        """The term that a text stands for; for `type` iri only where the kind is `term` or `iri`. Raises `InvalidParameter`."""
        if self.choices and text not in self.choices and text.rpartition(":")[2] not in self.choices:
            raise self.refuse(f"is one of {', '.join(self.choices)}; got {_shown(text)}")
        self.require_characters(text)
        if self.type == "iri":
            return self.read_term(text)
        if self.type == "date":
            day = text.strip()
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
                raise self.refuse(f"is a day, YYYY-MM-DD, such as 2025-04-26; got {_shown(text)}")
            try:
                date.fromisoformat(day)
            except ValueError:
                raise self.refuse(f"is a day, YYYY-MM-DD, and there is no {day} in the calendar") from None
            return ox.Literal(day, datatype=ox.NamedNode(XSD + "date"))
        if self.type == "boolean":
            truth = text.strip().lower()
            if truth not in _TRUTH:
                raise self.refuse(f"is yes or no; got {_shown(text)}")
            return ox.Literal(_TRUTH[truth], datatype=ox.NamedNode(XSD + "boolean"))
        if self.type == "integer":
            number = whole_number(text.strip())
            low, high = self.minimum, self.maximum
            if number is None or (low is not None and number < low) or (high is not None and number > high):
                bounds = ("" if low is None else f" from {low:,}") + ("" if high is None else f" to {high:,}")
                raise self.refuse(f"is a whole number{bounds}; got {_shown(text)}")
            return ox.Literal(str(number), datatype=ox.NamedNode(XSD + "integer"))
        return ox.Literal(text) if self.type == "literal" else ox.Literal(text, language=self.type)

    def require_characters(self, text: str) -> None:
        """Raise `InvalidParameter` where a text holds what is no character: NUL, or half of a surrogate pair."""
        if "\x00" in text or re.search(r"[\ud800-\udfff]", text):
            raise self.refuse("has a character that is none")

    def read_term(self, text: str) -> ox.NamedNode:
        """The IRI that is written out, or the term of the vocabulary that is meant."""
        local = text.removeprefix("ekg:")
        if "term" in self.kinds and re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", local):
            return ox.NamedNode(EKG + local)
        try:
            iri = ox.NamedNode(text)
        except ValueError:
            raise self.refuse(f"is an absolute IRI; got {_shown(text)}") from None
        if [token.kind for token in lexis.tokens(f"<{text}>")] != ["iri"]:
            raise self.refuse(f"is an absolute IRI; got {_shown(text)}")
        return iri

    def refuse(self, why: str, kind: _Refusal = InvalidParameter, **facts: Any) -> InvalidParameter:
        """The error that says what is wrong with this parameter."""
        return kind(f"{self.name} {why}", parameter=self.name, **facts)


@dataclass(frozen=True)
class Question:
    """A question: `id`, `summary` (the question in words), `description`, its parameters by name, what the columns mean and which of
    them are evidence. `text` is the file as it is; `limit` the number of rows where nothing else is asked for; `differs_on` says by
    product which SPARQL servers do not answer it as it is meant, and what they do."""

    id: str
    summary: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    columns: Mapping[str, str]
    evidence: tuple[str, ...]
    chart: str | None
    related: tuple[str, ...]
    empty: str
    differs_on: Mapping[str, str]
    limit: int
    text: str

    @property
    def sparql(self) -> str:
        """The query without its header."""
        return _without_header(self.text)

    def bind(self, values: Mapping[str, Term], limit: int | None = None) -> str:
        """The query with a term in the place of each parameter that is in `values`, by name, and at most `limit` rows.

        Raises `InvalidParameter` for a name that is no parameter, and where one that is required is missing.
        """
        for name in values:
            self.parameter(name)
        for name, parameter in self.parameters.items():
            if parameter.required and name not in values:
                raise parameter.refuse(f"is required: {parameter.help}" if parameter.help else "is required")
        pieces = []
        for token in lexis.tokens(self.sparql):
            match = _VARIABLE.fullmatch(token.text) if token.kind == "variable" else None
            here = _LIMIT_HERE.fullmatch(token.text.strip()) if token.kind == "comment" else None
            if limit is not None and here:
                pieces.append(f"LIMIT {-(-limit // int(here[1] or 1)):d}")
                continue
            # Spaces, so that what stands beside the variable cannot grow together with the term: `?_x_en-1`.
            pieces.append(f" {written(values[match[2]])} " if match and match[2] in values else token.text)
        return "".join(pieces) + ("" if limit is None else f"\nLIMIT {limit:d}\n")

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name. Raises `InvalidParameter`, which names the ones there are."""
        if name in self.parameters:
            return self.parameters[name]
        known = [*self.parameters, "limit", "revision"]
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise InvalidParameter(f"there is no parameter {_shown(name)}{hint}", parameter=name[:100], available=known)

    def as_json(self) -> dict[str, Any]:
        """What there is to know of the question, for programs."""
        parameters = [
            {
                "name": parameter.name,
                "type": parameter.type,
                "kinds": list(parameter.kinds),
                "required": parameter.required and parameter.default is None,
                "help": parameter.help,
                "default": parameter.default,
                "choices": list(parameter.choices),
                "example": parameter.example,
            }
            for parameter in self.parameters.values()
        ]
        return {
            "id": self.id,
            "summary": self.summary,
            "description": self.description,
            "tags": list(self.tags),
            "parameters": parameters,
            "columns": [
                {"name": name, "meaning": meaning, "evidence": name in self.evidence}
                for name, meaning in self.columns.items()
            ],
            "limit": self.limit,
            "related": list(self.related),
        }

    def chart_specification(self) -> Path | None:
        """The file with the Vega-Lite specification, if the question has one."""
        return None if self.chart is None else assets.folder("queries") / self.chart


def written(term: Term) -> str:
    r"""A term as SPARQL writes it, so that every reader takes it for that term.

    Some readers replace `\uXXXX` before anything else (SPARQL 1.1, section 19.2) and do not see that in `\\u0022` the backslash is
    escaped: there the `u` is written as a code point too, which both ways of reading turn into the same. With eight digits, since
    rdflib reads eight after `\u` where it finds them.
    """
    if isinstance(term, ox.NamedNode):
        return f"<{term.value}>"
    text = re.sub(r'\\([uU])?|["\n\r\t]', _escape, term.value)
    if term.language:
        return f'"{text}"@{term.language}'
    return f'"{text}"' if term.datatype.value == XSD + "string" else f'"{text}"^^<{term.datatype.value}>'


def _escape(match: re.Match[str]) -> str:
    if match[1]:
        return f"\\\\\\U{ord(match[1]):08X}"
    return {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}[match[0]]


def whole_number(text: str) -> int | None:
    """The number that a text of at most 18 digits is; None for anything else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def read_limit(text: str | int, highest: int = LIMITS[1]) -> int:
    """A number of rows. Raises `InvalidParameter`."""
    number = whole_number(str(text).strip())
    if number is None or not LIMITS[0] <= number <= highest:
        raise InvalidParameter(
            f"limit is a whole number from {LIMITS[0]} to {highest:,}; got {_shown(str(text))}", parameter="limit"
        )
    return number


@functools.cache
def catalogue() -> Mapping[str, Question]:
    """All questions by id. Raises `MalformedQuestion` where a file cannot be one."""
    return {path.stem: read(path.stem, path.read_text("utf-8")) for path in assets.files("queries", "*.rq")}


def find(name: str) -> Question:
    """The question of that id. Raises `UnknownQuestion`, which names near ones."""
    if name in catalogue():
        return catalogue()[name]
    near = difflib.get_close_matches(name.lower(), catalogue(), 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "the catalogue lists all there are"
    raise UnknownQuestion(f"there is no question {_shown(name)}; {hint}", near=near)


def search(text: str = "", tag: str = "") -> list[Question]:
    """The questions that have all words of a text, in whatever they say of themselves, and a tag; those that have them in the
    question itself first."""
    words = text.casefold().split()
    found = []
    for question in catalogue().values():
        said = f"{question.id} {question.summary} {' '.join(question.tags)}".casefold()
        more = f"{said} {question.description} {' '.join(question.columns.values())}".casefold()
        if all(word in more for word in words) and (not tag or tag in question.tags):
            found.append((sum(word not in said for word in words), question.id, question))
    return [question for *_, question in sorted(found, key=lambda item: item[:2])]


# Reading a file


def read(name: str, text: str) -> Question:
    """The question in a file's text. Raises `MalformedQuestion`, which says what the header or the query must have."""

    def refuse(why: str) -> MalformedQuestion:
        return MalformedQuestion(f"queries/{name}.rq: {why}", question=name)

    lines = [line[2:].removeprefix(" ") for line in text.splitlines() if line.startswith("#+")]
    try:
        header = yaml.load("\n".join(lines), _Yaml) or {}  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise refuse(f"its header is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(header, dict):
        raise refuse("its header is no mapping of keys to values")
    if unknown := sorted(str(key) for key in header.keys() - _KEYS):
        raise refuse(f"its header has {', '.join(unknown)}; there are {', '.join(sorted(_KEYS))}")
    if re.search(r"[?$]_", "\n".join(line for line in text.splitlines() if line.startswith("#"))):
        raise refuse("a comment or the header names a parameter as a variable; grlc would take that for one more")
    try:
        defaults, choices = _by_name(header.get("defaults")), _by_name(header.get("enumerate"))
        limit = read_limit(defaults.pop("limit", LIMIT))
        said = header.get("parameters") or {}
        # As the header lists them; what all questions have comes last.
        order = [*said, *(name for name in defaults if name not in _FIXED)]
        parameters = dict(
            sorted(
                _parameters(_without_header(text), said, defaults, choices),
                key=lambda item: (item[0] in _FIXED, order.index(item[0]) if item[0] in order else len(order)),
            )
        )
        differs = {str(product).lower(): str(what) for product, what in _by_name(header.get("differs_on")).items()}
        columns = {str(column): str(meaning) for column, meaning in _by_name(header.get("columns")).items()}
    except (ValueError, AttributeError, TypeError, InvalidParameter) as error:
        raise refuse(str(error)) from None
    if left := sorted((defaults.keys() | choices.keys() | (header.get("parameters") or {}).keys()) - parameters.keys()):
        raise refuse(f"its header speaks of {', '.join(map(str, left))}, which the query has no variable for")
    if unknown := sorted(differs.keys() - _PRODUCTS):
        raise refuse(f"differs_on speaks of {', '.join(unknown)}; told apart are {', '.join(sorted(_PRODUCTS))}")
    evidence = tuple(header.get("evidence") or ())
    if strangers := sorted(set(evidence) - columns.keys()):
        raise refuse(f"evidence names {', '.join(strangers)}, which is no column")
    _require_bindable(_without_header(text), refuse)
    question = Question(
        name,
        str(header.get("summary", name)),
        str(header.get("description", "")).strip(),
        tuple(map(str, header.get("tags") or ())),
        parameters,
        columns,
        evidence,
        header.get("chart"),
        tuple(header.get("related") or ()),
        str(header.get("empty", "")).strip(),
        differs,
        limit,
        text,
    )
    for parameter in parameters.values():
        _require_usable(parameter, refuse)
    return question


def _without_header(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#+")).strip() + "\n"


def _by_name(value: Any) -> dict[str, Any]:
    """grlc's list of mappings of one key, or a mapping, as one."""
    if isinstance(value, list):
        return {str(key): inner for item in value for key, inner in item.items()}
    return {str(key): inner for key, inner in (value or {}).items()}


def _parameters(
    sparql: str, said: Mapping[str, Any], defaults: Mapping[str, Any], choices: Mapping[str, Any]
) -> Iterator[tuple[str, Parameter]]:
    spelt: dict[str, re.Match[str]] = {}
    for token in lexis.tokens(sparql):
        if token.kind != "variable" or not token.text[1:].startswith("_"):
            continue
        match = _VARIABLE.fullmatch(token.text)
        if match is None:
            raise ValueError(
                f"{token.text} is no parameter: those are ?_name_type and ?__name_type, names without underscores"
            )
        first = spelt.setdefault(match[2], match)
        if first[0][1:] != match[0][1:]:
            raise ValueError(f"the parameter {match[2]} is spelt both {first[0]} and {match[0]}")
    for name, match in spelt.items():
        kind = match[3] or "literal"
        if kind not in _TYPES and not re.fullmatch(r"[a-z]{2,3}", kind):
            raise ValueError(
                f"{match[0]} has no known type; there are {', '.join(sorted(_TYPES))} and languages such as en"
            )
        if name in RESERVED:
            raise ValueError(f"a parameter cannot be called {name}")
        of = {**_FIXED.get(name, {}), **(said.get(name) or {})}
        if unknown := sorted(of.keys() - {"kind", "help", "example", "minimum", "maximum"}):
            raise ValueError(
                f"the parameter {name} has {', '.join(unknown)}; there are kind, help, example, minimum, maximum"
            )
        kinds = of.get("kind", ())
        yield (
            name,
            Parameter(
                name,
                kind,
                len(match[1]) == 1,
                str(of.get("help", "")).strip(),
                (kinds,) if isinstance(kinds, str) else tuple(kinds),
                None if defaults.get(name) is None else _as_text(defaults[name]),
                tuple(_as_text(choice) for choice in choices.get(name) or ()),
                None if of.get("example") is None else _as_text(of["example"]),
                of.get("minimum"),
                of.get("maximum"),
            ),
        )


def _as_text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _require_usable(parameter: Parameter, refuse: Any) -> None:
    """Raise what `refuse` makes where a default, an example or a kind cannot be used."""
    known = {*KINDS, "act", "term", "iri"}
    if (parameter.type == "iri") != bool(parameter.kinds) or not known.issuperset(parameter.kinds):
        raise refuse(
            f"the parameter {parameter.name} needs a kind if it is an iri, and only then: {', '.join(sorted(known))}"
        )
    for text in (parameter.default, parameter.example):
        if text is not None and (parameter.type != "iri" or "term" in parameter.kinds):
            try:
                parameter.read(text)
            except InvalidParameter as error:
                raise refuse(f"the default or example of {error.detail}") from None


def _require_bindable(sparql: str, refuse: Any) -> None:
    """Raise what `refuse` makes where a parameter stands where SPARQL takes a variable and no term, or the query has a limit of its own."""
    braces = parens = 0
    listed: tuple[str, int] | None = (
        None  # within SELECT …, VALUES … or … BY: the word, and how many brackets were open there
    )
    before = ("", "")
    outermost: list[str] = []
    for token in lexis.tokens(sparql):
        if token.kind in ("space", "comment"):
            continue
        text = token.text.upper() if token.kind == "word" else token.text
        if token.kind == "other":
            braces += {"{": 1, "}": -1}.get(text, 0)
            parens += {"(": 1, ")": -1}.get(text, 0)
            listed = None if text == "{" else listed
        elif token.kind == "word":
            if text in ("SELECT", "VALUES", "BY"):
                listed = (text, parens)
            elif text in ("WHERE", "FROM", "HAVING", "ORDER") and listed and parens <= listed[1]:
                listed = None
            if braces == 0:
                outermost.append(text)
        elif token.kind == "variable" and token.text[1:].startswith("_"):
            # In brackets there is an expression, which takes terms; only those of VALUES hold variables again.
            among = listed is not None and (listed[0] == "VALUES" or parens == listed[1])
            if among or before[1] == "AS" or before == ("BOUND", "("):
                raise refuse(
                    f"{token.text} stands where only a variable may, not a value; use COALESCE({token.text}, …) or STR({token.text})"
                )
        before = (before[1], text)
    if "SELECT" not in outermost:
        raise refuse("a question is a SELECT query")
    if {"LIMIT", "OFFSET", "VALUES"} & set(outermost):
        raise refuse("it ends with LIMIT, OFFSET or VALUES; the number of rows is the caller's")


def _shown(text: str, length: int = 80) -> str:
    return repr(text if len(text) <= length else text[: length - 1] + "…")
