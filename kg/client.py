"""Asking from Python: `kg.connect(url_or_directory).ask("reversals", actor="russia")`.

Hides whether the graph is a running service or a data directory. Promises the same rows with the same types from both, and the
same errors: what a service refuses with a problem document is raised as the error it stands for.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, overload
from urllib.parse import quote, urlencode, urlsplit

import pyoxigraph as ox

from kg import __version__, config, questions
from kg.asking import Desk
from kg.engine import Query
from kg.errors import InvalidParameter, KgError, RequestError, UnknownQuestion
from kg.library import Library, open_library
from kg.tables import FORMATS, chart, plain, type_of

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped,unused-ignore]

#: Seconds for which a service is waited for.
_PATIENCE = 120.0


class Iri(str):
    """A value that is an address and not just text."""

    __slots__ = ()


Cell = str | int | float | bool | date | datetime | None
Row = dict[str, Cell]


class Rows(Sequence[Row]):
    """An answer: rows, each a dictionary by column. `types`, `meanings` and `evidence` tell of the columns; `complete` is false where
    there are more rows than the limit; `revision` is the state of the graph that they are of; `empty` says of an answer without rows
    why that may be."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.question: str = answer.get("question", "")
        self.summary: str = answer.get("summary", "")
        self.parameters: dict[str, str] = dict(answer.get("parameters", {}))
        self.empty: str = answer.get("empty", "")
        self.base: str = answer.get("base", "")
        self.revision: int = answer["revision"]
        self.complete: bool = answer.get("complete", True)
        self.columns: tuple[str, ...] = tuple(column["name"] for column in answer["columns"])
        self.types: dict[str, str] = {column["name"]: column["type"] for column in answer["columns"]}
        self.meanings: dict[str, str] = {column["name"]: column.get("meaning", "") for column in answer["columns"]}
        self.evidence: tuple[str, ...] = tuple(c["name"] for c in answer["columns"] if c.get("evidence"))
        self._rows = [{name: _typed(row[name], self.types[name]) for name in self.columns} for row in answer["rows"]]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self.columns)} at revision {self.revision}>"

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a data frame: dates, whole numbers and truth values as such, whether or not some are missing. Needs pandas."""
        try:
            import pandas
        except ImportError:
            raise ImportError("a data frame needs pandas: pip install pandas") from None

        frame = pandas.DataFrame(self._rows, columns=list(self.columns))
        for name, kind in self.types.items():
            if kind in ("date", "dateTime"):
                # What pandas has no moment for (a year before 1677) stays as it is.
                frame[name] = (
                    pandas.to_datetime(frame[name], errors="coerce") if _within_pandas(frame[name]) else frame[name]
                )
            elif kind == "integer":
                frame[name] = frame[name].astype("Int64")
            elif kind == "boolean":
                frame[name] = frame[name].astype("boolean")
        return frame


def _within_pandas(values: Any) -> bool:
    return all(1678 <= value.year <= 2261 for value in values if hasattr(value, "year"))


def _typed(value: Any, kind: str) -> Cell:
    if isinstance(value, str):
        try:
            if kind == "date":
                return date.fromisoformat(value)
            if kind == "dateTime":
                return datetime.fromisoformat(value)
        except ValueError:
            return value  # a year that Python has no date for
        if kind == "iri":
            return Iri(value)
    cell: Cell = value
    return cell


class Connection:
    """A graph to ask. Use it as a context, or close it."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    def questions(self) -> list[dict[str, Any]]:
        """All questions, as `/questions.json` lists them."""
        return self._source.questions()

    def ask(self, question: str, *, limit: int | None = None, revision: int | None = None, **parameters: Any) -> Rows:
        """The answer to a question of the catalogue, by its id.

        Parameters are texts, numbers, truth values or dates, by their names, with a `_` behind those that Python keeps for itself
        (`from_`); things may be given by address, slug or label. Raises `UnknownQuestion`, `InvalidParameter` and what else a
        question can fail of, as in `kg.errors`.
        """
        given = {
            "limit": limit,
            "revision": revision,
            **{name.removesuffix("_"): parameters[name] for name in parameters},
        }
        texts = {name: _text(name, value) for name, value in given.items() if value is not None}
        return self.read(question, texts)

    def read(self, question: str, given: Mapping[str, str]) -> Rows:
        """The answer as rows, asked with texts."""
        body = self.write(question, "json", given)
        try:
            return Rows(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RequestError("the answer is not one of an event knowledge graph") from None

    def write(self, question: str, form: str, given: Mapping[str, str]) -> bytes:
        """The answer in a format of `kg.tables.FORMATS`, or `vl.json`: the question's chart with the rows in it."""
        for name, text in given.items():
            if not text.isprintable() and re.search(r"[\ud800-\udfff]", text):
                raise InvalidParameter(f"{name} has a character that is none", parameter=name)
        return self._source.write(question, form, given)

    def query(self, sparql: str) -> Rows | bool | str:
        """The answer to a SPARQL query: rows, the truth of an ASK, or Turtle. The prefixes of the vocabulary need not be declared."""
        kind, body, revision = self._source.query(sparql)
        if kind == "triples":
            return body.decode()
        parsed = ox.parse_query_results(body, format=ox.QueryResultsFormat.JSON)
        if isinstance(parsed, ox.QueryBoolean):
            return bool(parsed)
        assert isinstance(parsed, ox.QuerySolutions)
        names = [variable.value for variable in parsed.variables]
        rows = [[solution[name] for name in names] for solution in parsed]
        columns = []
        for place, name in enumerate(names):
            types = {type_of(row[place]) for row in rows if row[place] is not None}
            columns.append({"name": name, "type": types.pop() if len(types) == 1 else "mixed" if types else "empty"})
        values = [dict(zip(names, map(plain, row), strict=True)) for row in rows]
        return Rows({"revision": revision, "columns": columns, "rows": values})

    def close(self) -> None:
        """Release what is held. Idempotent."""
        self._source.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(where: str | Path) -> Connection:
    """A connection to a running service, by its address, or to a data directory, by its path.

    Raises `StorageError` where the directory has no graph, and `RequestError` for what is no address of a service; whether one
    answers shows when it is asked.
    """
    if isinstance(where, str) and ("://" in where or re.match(r"[\w.-]+:[0-9]+(/|$)", where)):
        return Connection(_Service(where))
    settings = replace(config.read(data=Path(where)), query_processes=1)
    return Connection(_Directory(open_library(settings, create=False, owner=False)))


def _text(name: str, value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset | dict | bytes):
        raise InvalidParameter(f"{name} is one value; got a {type(value).__name__}", parameter=name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat()
    return str(value)


class _Source(Protocol):
    """Where answers come from."""

    def questions(self) -> list[dict[str, Any]]: ...

    def write(self, question: str, form: str, given: Mapping[str, str]) -> bytes: ...

    def query(self, sparql: str) -> tuple[str, bytes, int]: ...

    def close(self) -> None: ...


class _Directory:
    """A data directory, whether or not a server runs on it."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._desk = Desk(library)

    def questions(self) -> list[dict[str, Any]]:
        return [question.as_json() for question in questions.search()]

    def write(self, question: str, form: str, given: Mapping[str, str]) -> bytes:
        it = questions.find(question)
        wish = self._desk.understand(it, {name: [value] for name, value in given.items()})
        self._library.settle()
        table = self._desk.ask(wish)
        return json.dumps(chart(it, table)).encode() if form == "vl.json" else table.write(form)

    def query(self, sparql: str) -> tuple[str, bytes, int]:
        self._library.settle()
        answer = self._library.answer(Query(sparql, base=self._library.base.iri, triples="ttl"))
        return answer.kind, answer.read(), answer.revision

    def close(self) -> None:
        self._library.close()


class _Service:
    """A running service."""

    def __init__(self, address: str) -> None:
        self._base = _checked(address).rstrip("/") + "/"

    def questions(self) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = json.loads(self._read("questions.json", "application/json")[0])
            if isinstance(found, list) and all({"id", "summary"} <= question.keys() for question in found):
                return found
        except (ValueError, TypeError, AttributeError):
            pass
        raise self._stranger("questions.json")

    def write(self, question: str, form: str, given: Mapping[str, str]) -> bytes:
        if re.search(r"[/.]", question):  # would be another address
            raise UnknownQuestion(f"there is no question {question[:80]!r}; the catalogue lists all there are")
        for name in ("excel", "format"):  # the address takes them, the question does not
            if name in given:
                raise InvalidParameter(f"there is no parameter {name!r}", parameter=name)
        suffix = form if form in FORMATS else "vl.json"
        path = f"questions/{quote(question, safe='')}.{suffix}"
        body, headers = self._read(f"{path}?{urlencode(given)}", FORMATS.get(suffix, "application/json"))
        if "KG-Revision" not in headers:
            raise self._stranger(path)
        return body

    def query(self, sparql: str) -> tuple[str, bytes, int]:
        text = urlencode({"query": sparql}, errors="replace").encode()
        body, headers = self._read("sparql", "application/sparql-results+json", "text/turtle", data=text)
        kind = "triples" if headers.get("Content-Type", "").startswith("text/turtle") else "solutions"
        return kind, body, int(headers.get("KG-Revision") or 0)

    def close(self) -> None:
        pass

    def _read(self, path: str, *types: str, data: bytes | None = None) -> tuple[bytes, Any]:
        """The body and header of an answer in one of these media types, the first of them preferred."""
        accept = ", ".join(
            [types[0], *(f"{media_type};q=0.9" for media_type in (*types[1:], "application/problem+json"))]
        )
        headers = {"Accept": accept, "User-Agent": f"kg/{__version__}"}
        request = urllib.request.Request(self._base + path, data, headers)  # noqa: S310 - `_checked` saw to its scheme
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310
                body, found = response.read(), response.headers
        except urllib.error.HTTPError as error:
            with error:
                try:
                    raise _error(error, error.read()) from None
                except (OSError, http.client.HTTPException):
                    raise self._stranger(path) from None
        except OSError as error:
            why = getattr(error, "reason", error)
            if isinstance(why, TimeoutError):
                raise RequestError(f"{self._base} did not answer within {_PATIENCE:.0f} seconds") from None
            raise RequestError(f"{self._base} cannot be reached: {why}") from None
        except http.client.IncompleteRead:
            raise RequestError(f"{self._base} broke off in the middle of the answer") from None
        except http.client.HTTPException:
            raise self._stranger(path) from None
        if found.get_content_type() not in types:
            raise self._stranger(path)
        return body, found

    def _stranger(self, path: str) -> RequestError:
        address = self._base + path.partition("?")[0]
        return RequestError(f"{address} did not answer as an event knowledge graph does; is that its address?")


def _checked(address: str) -> str:
    """The address of a service. Raises `RequestError` for what cannot be one."""
    try:
        parts = urlsplit(address)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or parts.username is not None or parts.query or parts.fragment or re.search(r"[^!-~]", address):
        raise RequestError(f"{address[:200]!r} is no address of a service, such as http://localhost:8000/")
    return address


def _error(error: urllib.error.HTTPError, body: bytes) -> KgError:
    """The error that a problem document stands for."""
    try:
        problem = json.loads(body)
        name = problem["type"].rpartition("#")[2]
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = " ".join(str(error.reason).split())
        return RequestError(f"{error.url} answered {error.code} {reason}, and not as an event knowledge graph does")
    facts = {
        key: value for key, value in problem.items() if key not in ("type", "title", "status", "detail", "request")
    }
    kind = next((kind for kind in KgError.tree() if kind.name() == name), KgError)
    made = kind.__new__(kind)
    KgError.__init__(made, detail, **facts)
    return made
