"""SERVICE: queries may ask the endpoints that the operator allows, and nothing else ever hears from us.

Hides how a query's text is made safe and who really asks. pyoxigraph sends the requests of SERVICE itself, has no hook to stop
or bound them, and reads the keyword where SPARQL 1.1 has none: it has no tokens, so `SERVICESILENT<…>`, `SERVICEex:foo`, and
`ex:SERVICE` where that name makes no IRI are SERVICE to it. So this module does not rely on finding the keyword. It rests on
what the text that reaches pyoxigraph is allowed to look like. There, the letters of SERVICE stand only

- before the address of our own gateway, or
- in a variable's name, directly behind `?` or `$` and ASCII letters: nothing else in SPARQL looks so, wherever it stands.

In strings, IRIs and comments an `e` of it is written as an escape, in which no keyword is read; prefixed names become IRIs; anything
else is refused. If our tokens are ever others than pyoxigraph's, the query is a syntax error and sends nothing. The result is
checked once more, as text, before it leaves.

Who asks the real endpoint, and how, is `kg.engine.gateway`, in the process that holds the query processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

import pyoxigraph as ox

from kg import lexis
from kg.config import Endpoint
from kg.engine import Query
from kg.engine.gateway import Gateway, Ticket
from kg.errors import KgError, MalformedQuery, ServiceFailed, ServiceRefused, StorageError

#: The letters. ASCII only, like the parser: `ſervice` is none.
_LETTERS = re.compile("service", re.IGNORECASE | re.ASCII)

#: Without one of these there is no LOAD, and no SERVICE in escapes; and reading all words costs more than all else here.
_WORTH_READING = re.compile(r"load|\\u", re.IGNORECASE | re.ASCII)

_VARIABLE = re.compile(r"[?$][0-9A-Za-z_]*", re.ASCII)

#: A variable, or the letters outside of one.
_VARIABLE_OR_LETTERS = re.compile(rf"{_VARIABLE.pattern}|({_LETTERS.pattern})", re.IGNORECASE | re.ASCII)

#: White space of SPARQL (19.8, WS), which is not Python's.
_BLANK = "[ \t\r\n]*"

#: The most that one query may ask.
_MOST_CALLS = 100


class Federation:
    """What queries may reach: nothing, or the allowed endpoints. `timeout` is in seconds and `limit` in bytes, for each request."""

    def __init__(self, allowed: Sequence[Endpoint] = (), timeout: float = 10.0, limit: int = 16 * 2**20) -> None:
        self._allowed = {endpoint.address: endpoint for endpoint in allowed}
        self._gateway = Gateway(timeout, limit) if allowed else None

    def admit(self, query: Query) -> Admission:
        """The query as the engine may have it, for the time of a `with` block. Raises `ServiceRefused`, naming the endpoint
        where there is one; and `MalformedQuery` for a name without a prefix, where it has to be replaced."""
        text = query.text
        # What an expression finds whatever the case stands in lower case too, and finding that takes a tenth of the time.
        lowered = text.lower()
        worth_reading = ("load" in lowered or "\\u" in lowered) and _WORTH_READING.search(text)
        words = lexis.words(text) if worth_reading else frozenset[str]()
        if "LOAD" in words:
            raise ServiceRefused("LOAD would make this service send requests elsewhere; it is not available here")
        if "service" not in lowered or not _LETTERS.search(text):
            if "SERVICE" in words:
                raise ServiceRefused(
                    "SERVICE would make this service send requests elsewhere; it is refused in escapes"
                )
            return Admission(text, text, (), (), None)
        tickets: list[Ticket] = []
        edits = []
        for found in _read(query):
            if isinstance(found, Edit):
                edits.append(found)
                continue
            if len(tickets) == _MOST_CALLS:
                raise ServiceRefused(f"a query may have SERVICE at most {_MOST_CALLS} times", **found.facts)
            ticket = Ticket(self._require_allowed(found), found.silent)
            tickets.append(ticket)
            edits.append(Edit(found.start, found.end, f"<{self._origin()}{ticket.secret}>"))
        edits.sort()
        sent = apply(text, edits)
        self._require_harmless(sent)
        return Admission(text, sent, edits, tickets, self._gateway)

    def close(self) -> None:
        """Ask nobody any more. Idempotent."""
        if self._gateway is not None:
            self._gateway.close()

    def _origin(self) -> str:
        return self._gateway.origin if self._gateway is not None else ""

    def _require_allowed(self, call: _Call) -> Endpoint:
        if self._gateway is None:
            raise ServiceRefused(
                "SERVICE would make this service send requests elsewhere; it is not available here", **call.facts
            )
        if call.iri is None:
            raise ServiceRefused(
                f"{call.written} is no endpoint: SERVICE takes an IRI that is written out", **call.facts
            )
        try:
            return self._allowed[Endpoint.read(call.iri).address]
        except ValueError as error:
            raise ServiceRefused(
                f"{call.iri} is not an endpoint that queries may ask: it {error}", **call.facts
            ) from None
        except KeyError:
            raise ServiceRefused(f"{call.iri} is not an endpoint that queries may ask here", **call.facts) from None

    def _require_harmless(self, sent: str) -> None:
        """Raises `ServiceRefused` unless the text is what the module's documentation says; whatever `_read` made of it."""
        ours = rf"service{_BLANK}(silent{_BLANK})?<{re.escape(self._origin())}[0-9A-Z]+>"
        call = re.compile(ours, re.IGNORECASE | re.ASCII) if self._gateway is not None else None
        for match in _VARIABLE_OR_LETTERS.finditer(sent):
            if match[1] and (call is None or not call.match(sent, match.start())):
                raise ServiceRefused("SERVICE stands in a place where it cannot be told what it means")


class Edit(NamedTuple):
    """`text` instead of what stands from `start` to `end`, which is on one line, as `text` is."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Call:
    """SERVICE in a query: where its endpoint stands, as it is `written`, and its `iri`, if that could be told."""

    start: int
    end: int
    silent: bool
    written: str
    iri: str | None
    line: int
    column: int

    @property
    def facts(self) -> dict[str, str | int | None]:
        return {"endpoint": self.iri, "line": self.line, "column": self.column}


def _read(query: Query) -> Iterator[Edit | _Call]:
    """What is to be written differently in a query. Raises `ServiceRefused` where SERVICE may be hidden in something else."""
    text, base, namespaces = query.text, query.base, query.supplied_prefixes()
    code: list[lexis.Token] = []
    comments: list[lexis.Token] = []
    for token in lexis.tokens(text):
        if token.kind == "comment":
            comments.append(token)
        elif token.kind != "space":
            code.append(token)

    end = lexis.Token("end", "", len(text))
    at = 0
    while at < len(code):
        token, following, after = (*code[at : at + 3], end, end)[:3]
        keyword = token.text.upper() if token.kind == "word" else ""
        if keyword == "BASE" and following.kind == "iri":
            base = resolve(following.text, base)
        elif keyword == "PREFIX" and following.kind == "name" and after.kind == "iri":
            namespaces[following.text[:-1]] = resolve(after.text, base) or ""
        elif keyword == "SERVICE":
            silent = following.kind == "word" and following.text.upper() == "SILENT"
            at += 1 + silent
            named = code[at] if at < len(code) else end
            for comment in comments:
                if token.start < comment.start < named.start:  # so that nothing but blanks stands before the endpoint
                    yield Edit(comment.start, comment.start + len(comment.text), " " * len(comment.text))
            comments = [one for one in comments if not token.start < one.start < named.start]
            iri = resolve(named.text, base) if named.kind == "iri" else None
            if named.kind == "name":
                iri = expand(named.text, namespaces)
            written = named.text or "the end of the query"
            line, column = place(text, token.start)
            yield _Call(named.start, named.start + len(named.text), silent, written, iri, line, column)
        elif token.kind in ("string", "iri"):
            yield from _escape(token)
        elif _LETTERS.search(token.text):
            yield from _rewrite(token, text, namespaces)
        at += 1
    for comment in comments:
        yield from _escape(comment)


def _escape(token: lexis.Token) -> Iterator[Edit]:
    """The letters with an escape in them: the same string or IRI, the same comment, and never a keyword. Not the first letter
    is escaped but the second, because a backslash may stand before the first."""
    for match in _LETTERS.finditer(token.text):
        second = token.start + match.start() + 1
        yield Edit(second, second + 1, f"\\u{ord(token.text[match.start() + 1]):04X}")


def _rewrite(token: lexis.Token, text: str, namespaces: dict[str, str]) -> Iterator[Edit]:
    """A word, name or variable with the letters in it, so that they cannot be read as a keyword."""
    if token.kind == "variable" and _VARIABLE.fullmatch(token.text):
        return
    prefix, colon, _ = token.text.partition(":")
    if token.kind != "name" or _LETTERS.search(prefix):
        line, column = place(text, token.start)
        raise ServiceRefused(
            f"{token.text} may be read as SERVICE, which would make this service send requests elsewhere; "
            + ("choose another prefix" if colon else "write it otherwise"),
            line=line,
            column=column,
        )
    iri = expand(token.text, namespaces)
    if iri is None:
        line, column = place(text, token.start)
        raise MalformedQuery(f"{token.text} stands for no IRI; is its prefix declared?", line=line, column=column)
    written = lexis.Token("iri", f"<{iri}>", 0)
    yield Edit(token.start, token.start + len(token.text), apply(written.text, list(_escape(written))))


def expand(name: str, namespaces: dict[str, str]) -> str | None:
    """The IRI of a prefixed name, None where there is none."""
    prefix, _, local = name.partition(":")
    try:
        return ox.NamedNode(namespaces[prefix] + local.replace("\\", "")).value if namespaces.get(prefix) else None
    except ValueError:
        return None


def resolve(reference: str, base: str | None) -> str | None:
    """The IRI of `<…>`, by the library that the engine resolves it with; None where it has none."""
    try:
        triple = next(iter(ox.parse(f"<a:> <a:> {reference} .", format=ox.RdfFormat.TURTLE, base_iri=base)))
    except (SyntaxError, ValueError):
        return None
    assert isinstance(triple.object, ox.NamedNode)
    return triple.object.value


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, as the engine counts them: in characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def apply(text: str, edits: Sequence[Edit]) -> str:
    parts, done = [], 0
    for edit in edits:
        parts += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*parts, text[done:]])


class Admission:
    """A query on its way: `text` is what the engine may have. As a context: afterwards nothing of it is asked any more."""

    def __init__(
        self,
        original: str,
        text: str,
        edits: Sequence[Edit],
        tickets: Sequence[Ticket],
        gateway: Gateway | None,
    ) -> None:
        self.text = text
        self._original = original
        self._edits = edits
        self._tickets = tickets
        self._gateway = gateway

    def __enter__(self) -> Admission:
        if self._gateway is not None and self._tickets:
            self._gateway.open(self._tickets)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._gateway is not None and self._tickets:
            self._gateway.end(self._tickets)

    def explain(self, error: KgError) -> KgError:
        """The error as its caller can understand it: of the text that they wrote, and of the endpoint that failed."""
        if isinstance(error, StorageError):  # what the engine makes of a request that failed
            for ticket in self._tickets:
                if ticket.failure and not ticket.silent:
                    return ServiceFailed(ticket.failure, endpoint=ticket.endpoint.iri)
            return error
        if isinstance(error, MalformedQuery) and "line" in error.facts:
            line, column = self._place_of(error.facts["line"], error.facts["column"])
            return MalformedQuery(error.detail, line=line, column=column)
        return error

    def _place_of(self, line: int, column: int) -> tuple[int, int]:
        """The place in the original of a place in the text sent. Within what was replaced: where that begins."""
        offset = sum(len(one) + 1 for one in self.text.split("\n")[: line - 1]) + column - 1
        shift = 0  # how much further right the sent text is, behind the edits so far
        for edit in self._edits:
            begin = edit.start + shift
            if offset < begin:
                break
            if offset < begin + len(edit.text):
                return place(self._original, edit.start)
            shift += len(edit.text) - (edit.end - edit.start)
        return place(self._original, offset - shift)
