"""SPARQL Update, made a change of documents: what an update names, whether it may, and what it makes of them.

Hides how the text is read. An update reaches only documents that it names outright, so that what it reads and writes can be known
before it runs. What it makes of them is found out on copies (`kg.engine.scratch`), where nothing else is; it becomes a change
like any other, through the gate, or none. So a text that the engine reads in another way than this module can do no harm: the
engine has only what was found here, and what it writes anywhere else is refused. This module is there to refuse in words what would
otherwise read nothing, write nowhere, and look like a success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from kg import documents, lexis
from kg.documents import N_QUADS, Document
from kg.engine import NOBODY, Caller, Query
from kg.engine.federation import Admission, Edit, apply, expand, place, resolve
from kg.errors import KgError, MalformedQuery, RequestError, ServiceRefused, UpdateRefused
from kg.library import Library
from kg.terms import Base
from kg.verdict import Batch

#: Deepest nesting of braces and brackets.
DEPTH = 100

_QUERIES = frozenset({"SELECT", "ASK", "CONSTRUCT", "DESCRIBE"})

#: Words in a group that are not part of a triple.
_CONNECTIVES = frozenset({"OPTIONAL", "UNION", "MINUS", "LATERAL", "NOT", "EXISTS"})


@dataclass(frozen=True)
class Update:
    """An update that names only documents: `graphs` are their IRIs, in the order in which it names them."""

    text: str
    graphs: tuple[str, ...]
    base: Base
    _edits: tuple[Edit, ...] = ()

    def compose(self, library: Library, caller: Caller = NOBODY) -> Batch:
        """The new state of each document that the update changes, as things are now; None for one of which nothing is left.

        Nothing is stored. Raises a `QueryError`, `DocumentError` or `Overloaded`.
        """
        there: dict[str, bytes] = {}
        size, limit = 0, library.config.batch_limit
        for iri in self.graphs:
            found = library.read(iri)
            there[iri] = b"" if found is None else found[0].content
            size += len(there[iri])
            if size > limit:
                raise documents.too_large(size, limit, "all that the update names, together,")
        sent = apply(self.text, self._edits)
        try:
            rewritten = library.scratch.rewrite(Query(sent, base=self.base.iri), there, caller)
        except KgError as error:
            raise Admission(self.text, sent, self._edits, (), None).explain(error) from None
        return {iri: self._document(iri, quads, library) for iri, quads in rewritten.items()}

    def _document(self, iri: str, quads: bytes, library: Library) -> Document | None:
        """By the way of every other document, so that what no document may hold is refused here as there."""
        if not quads:
            return None
        limit = library.config.document_limit
        (read,) = library.judges.read(quads, N_QUADS, relative_to=self.base.iri, limit=library.config.batch_limit)
        if len(read.content) > limit:
            raise documents.too_large(len(read.content), limit, iri)
        return read


def read(text: str, base: Base, using: Sequence[str] = (), using_named: Sequence[str] = ()) -> Update:
    """The update, if it names only documents and these outright.

    `using` and `using_named` are the parameters of the protocol (SPARQL 1.1 Protocol, section 2.2.3): as if USING and USING
    NAMED with them stood in each operation. Raises `UpdateRefused`, `ServiceRefused`, `MalformedQuery` or `RequestError`.
    """
    reader = _Reader(text, base, using, using_named)
    reader.update()
    return Update(text, tuple(reader.graphs), base, tuple(reader.edits))


class _Reader:
    """Reads the operations of an update as far as is needed to know its graphs (SPARQL 1.1 Query, section 19.8, rules 29 to 69)."""

    def __init__(self, text: str, base: Base, using: Sequence[str], using_named: Sequence[str]) -> None:
        self.graphs: dict[str, None] = {}
        self.edits: list[Edit] = []
        self._text = text
        self._base = base
        self._resolver: str | None = base.iri
        self._namespaces = Query(text, base=base.iri).supplied_prefixes()
        self._code = [token for token in lexis.tokens(text) if token.kind not in ("space", "comment")]
        self._end = lexis.Token("end", "", len(text))
        self._at = 0
        self._depth = 0
        for iri in (*using, *using_named):
            self._admit(iri, None)
        self._default_given = bool(using)
        self._clauses = "".join(f"USING <{iri}> " for iri in using)
        self._clauses += "".join(f"USING NAMED <{iri}> " for iri in using_named)

    def update(self) -> None:
        for token in self._code:
            if token.kind == "other" and token.text in "\\\"'":
                self._malformed(
                    token,
                    "an escape stands outside strings and IRIs; write the character itself"
                    if token.text == "\\"
                    else "a string begins here that does not end",
                )
        while True:
            self._prologue()
            if self._token is self._end:
                return
            self._operation()
            if self._token is self._end:
                return
            self._expect(";", "the next operation comes behind a ;")

    # Operations

    def _prologue(self) -> None:
        while True:
            if self._take_word("BASE"):
                self._resolver = resolve(self._next("iri", "BASE takes an IRI in <…>").text, self._resolver)
            elif self._take_word("PREFIX"):
                name = self._next("name", "PREFIX takes a name that ends in a colon").text
                iri = self._next("iri", "PREFIX takes an IRI in <…> behind the name").text
                self._namespaces[name[:-1]] = resolve(iri, self._resolver) or ""
            else:
                return

    def _operation(self) -> None:
        first = self._token
        word = self._word(first)
        self._at += 1
        match word:
            case "INSERT" | "DELETE" if self._take_word("DATA"):
                self._quads(default=False)
            case "DELETE" if self._word(self._token) == "WHERE":
                if self._clauses:
                    raise RequestError(
                        "DELETE WHERE has no USING; write DELETE { … } WHERE { … }, or leave out using-graph-uri"
                    )
                self._at += 1
                self._quads(default=False)
            case "INSERT" | "DELETE":
                self._at -= 1
                self._modify(default=False)
            case "WITH":
                self._forbid_using_twice(first)
                self._graph("WITH")
                self._modify(default=True)
            case "CLEAR" | "DROP":
                self._take_word("SILENT")
                self._require_named(f"{word} GRAPH")
                if not self._take_word("GRAPH"):
                    self._malformed(self._token, f"{word} takes GRAPH and the IRI of a document")
                self._graph(f"{word} GRAPH")
            case "CREATE":
                self._take_word("SILENT")
                if not self._take_word("GRAPH"):
                    self._malformed(self._token, "CREATE takes GRAPH and the IRI of a document")
                self._graph("CREATE GRAPH")
            case "ADD" | "MOVE" | "COPY":
                self._take_word("SILENT")
                self._graph_or_default(word)
                if not self._take_word("TO"):
                    self._malformed(self._token, f"{word} takes a document, TO, and another")
                self._graph_or_default(f"{word} … TO")
            case "LOAD":
                raise ServiceRefused(
                    "LOAD would make this service send requests elsewhere; fetch the text yourself, and send it with PUT or INSERT DATA",
                    **self._where(first),
                )
            case _ if word in _QUERIES:
                self._malformed(first, f"{word} begins a query, which goes to {self._base}sparql; this is for updates")
            case _:
                self._malformed(
                    first,
                    "expected an operation: INSERT, DELETE, WITH, CLEAR, DROP, CREATE, ADD, MOVE or COPY",
                )

    def _modify(self, *, default: bool) -> None:
        """DELETE and INSERT with templates, and WHERE. `default`: there is a WITH."""
        some = False
        for word in ("DELETE", "INSERT"):
            if self._take_word(word):
                some = True
                self._quads(default=default)
        if not some:
            self._malformed(self._token, "expected DELETE or INSERT")
        given, unnamed = False, False
        while self._word(self._token) == "USING":
            self._forbid_using_twice(self._token)
            self._at += 1
            given = True
            unnamed = not self._take_word("NAMED") or unnamed
            self._graph("USING")
        where = self._token
        if not self._take_word("WHERE"):
            self._malformed(
                where, "expected WHERE; what is inserted or deleted as it is stands in INSERT DATA or DELETE DATA"
            )
        if self._clauses:
            self.edits.append(Edit(where.start, where.start, self._clauses))
            given, unnamed = True, self._default_given
        self._group(default=unnamed if given else default)

    def _quads(self, *, default: bool) -> None:
        """Data or a template: graphs, and triples outside of them where that means something."""
        self._expect("{", "expected {")
        while not self._take("}"):
            token = self._token
            if self._take_word("GRAPH"):
                self._graph("GRAPH")
                self._expect("{", "expected { behind the name of the graph")
                while not self._take("}"):
                    if self._token.text == "{":
                        self._malformed(self._token, "expected } before the next {")
                    self._past()
            elif token.text == "{":
                self._malformed(token, "expected GRAPH and the IRI of a document before {")
            else:
                if token.text != "." and not default:
                    self._refuse_default(token, "stands in no graph")
                self._past()

    # Patterns

    def _group(self, *, default: bool) -> None:
        """A group graph pattern. `default`: triples outside GRAPH are read from a document."""
        self._enter("{", "expected {")
        while not self._take("}"):
            token = self._token
            word = self._word(token)
            if token.text == "{":
                self._group(default=default)
            elif self._take_word("GRAPH"):
                self._graph("GRAPH")
                self._group(default=True)
            elif word == "SERVICE":
                raise ServiceRefused(
                    "SERVICE would make this service send requests elsewhere; an update takes what it writes from the documents "
                    "that it names",
                    **self._where(token),
                )
            elif word == "FILTER":
                self._at += 1
                if self._word(self._token) not in _CONNECTIVES:
                    if self._token.text != "(":
                        self._past()  # the name of a function
                    self._brackets(default=default)
            elif word == "BIND":
                self._at += 1
                self._brackets(default=default)
            elif word == "VALUES":
                self._values()
            elif word == "SELECT":
                self._selection(default=default)
            else:
                if word not in _CONNECTIVES and token.text not in (".", ";") and not default:
                    self._refuse_default(token, "would be read from no graph")
                self._past()
        self._depth -= 1

    def _selection(self, *, default: bool) -> None:
        """A subquery, up to the end of the group that it fills."""
        while self._token.text != "}":
            if self._token.text == "{":
                self._group(default=default)
            elif self._token.text == "(":
                self._brackets(default=default)
            elif self._word(self._token) == "VALUES":
                self._values()
            else:
                self._past()

    def _values(self) -> None:
        while not self._take("{"):
            self._past()
        while not self._take("}"):
            self._past()

    def _brackets(self, *, default: bool) -> None:
        """An expression in brackets, which may hold patterns behind EXISTS."""
        self._enter("(", "expected (")
        while not self._take(")"):
            if self._token.text == "{":
                self._group(default=default)
            elif self._token.text == "(":
                self._brackets(default=default)
            else:
                self._past()
        self._depth -= 1

    # Graphs

    def _graph(self, behind: str) -> None:
        """The name of a graph, which has to be a document's IRI, written out."""
        token = self._token
        self._past()
        iri: str | None = None
        if token.kind == "iri":
            iri = resolve(token.text, self._resolver)
        elif token.kind == "name":
            iri = expand(token.text, self._namespaces)
        elif token.kind in ("variable", "blank"):
            raise UpdateRefused(
                f"{token.text} may be any graph; an update names its documents outright, so write one operation for each, "
                f"with {behind} <{self._example}>",
                **self._where(token),
            )
        if iri is None:
            self._malformed(token, f"expected the IRI of a document behind {behind}, and got {token.text or 'the end'}")
        self._admit(iri, token)

    def _graph_or_default(self, behind: str) -> None:
        self._require_named(behind)
        self._take_word("GRAPH")
        self._graph(behind)

    def _require_named(self, behind: str) -> None:
        word = self._word(self._token)
        if word in ("DEFAULT", "NAMED", "ALL"):
            raise UpdateRefused(
                f"{behind.removesuffix(' GRAPH')} {word} is about more than one document; name each document outright, "
                f"with {behind} <{self._example}>",
                **self._where(self._token),
            )

    def _admit(self, iri: str, token: lexis.Token | None) -> None:
        document = self._base.document_of(iri)
        if document == iri:
            self.graphs.setdefault(iri)
            return
        where = self._where(token) if token else {}
        if iri == f"{self._base}derived":
            why = "what is in it follows by rules from the documents; change those"
        elif document:
            why = f"it is a part of <{document}>, which is the graph to name"
        else:
            why = f"graphs to name are documents, such as <{self._example}>"
        raise UpdateRefused(
            f"<{iri}> is not a graph that can be read or written by an update: {why}", graph=iri, **where
        )

    def _refuse_default(self, token: lexis.Token, what: str) -> NoReturn:
        if token is self._end:
            self._unfinished()
        raise UpdateRefused(
            f"{token.text} … {what}: every triple belongs to a document. Put it into GRAPH <{self._example}> {{ … }}, or, "
            "before a DELETE or INSERT with WHERE, name the document once: WITH <…>",
            **self._where(token),
        )

    def _forbid_using_twice(self, token: lexis.Token) -> None:
        if self._clauses:
            raise RequestError(
                f"the update has {token.text.upper()} itself, so using-graph-uri and using-named-graph-uri have no place",
                parameter="using-graph-uri",
                **self._where(token),
            )

    @property
    def _example(self) -> str:
        return next(iter(self.graphs), self._base.document("article", "…"))

    # Tokens

    @property
    def _token(self) -> lexis.Token:
        return self._code[self._at] if self._at < len(self._code) else self._end

    def _word(self, token: lexis.Token) -> str:
        return token.text.upper() if token.kind == "word" else ""

    def _take_word(self, word: str) -> bool:
        found = self._word(self._token) == word
        self._at += found
        return found

    def _take(self, text: str) -> bool:
        found = self._token.kind == "other" and self._token.text == text
        self._at += found
        return found

    def _past(self) -> None:
        """Go on behind the next token. Raises `MalformedQuery` where there is none, or one that cannot stand here."""
        token, following = self._token, self._code[self._at + 1 : self._at + 2]
        if token is self._end:
            self._unfinished()
        if token.text == "}":
            self._malformed(token, "this } is not expected here")
        if token.kind == "name" and token.text.upper().startswith("GRAPH:") and following and following[0].text == "{":
            self._malformed(token, f"write a blank behind {token.text[:5]}")  # to the engine it is the keyword
        self._at += 1

    def _next(self, kind: str, otherwise: str) -> lexis.Token:
        token = self._token
        if token.kind != kind:
            self._malformed(token, otherwise)
        self._at += 1
        return token

    def _expect(self, text: str, otherwise: str) -> None:
        if not self._take(text):
            self._malformed(self._token, otherwise)

    def _enter(self, text: str, otherwise: str) -> None:
        self._expect(text, otherwise)
        self._depth += 1
        if self._depth > DEPTH:
            self._malformed(self._token, f"it nests deeper than {DEPTH} levels")

    def _where(self, token: lexis.Token) -> dict[str, int]:
        line, column = place(self._text, token.start)
        return {"line": line, "column": column}

    def _unfinished(self) -> NoReturn:
        self._malformed(self._end, "the update ends in the middle; is there a } or ) missing?")

    def _malformed(self, token: lexis.Token, what: str) -> NoReturn:
        raise MalformedQuery(what, **self._where(token))
