"""Asking a library a canned question: texts in, a table out.

Hides how a text becomes a term, a name an address, and a question a query. Promises that everything wrong with what was asked is
told at once, parameter by parameter, before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyoxigraph as ox

from kg import tables
from kg.engine import NOBODY, Caller, Query
from kg.errors import EngineUnsuitable, InvalidParameter, NotFound, UnknownName
from kg.library import Library
from kg.names import Names
from kg.questions import Parameter, Question, Term, read_limit, whole_number
from kg.register import Register
from kg.search import Search
from kg.tables import Column, Table
from kg.terms import KINDS, Base


@dataclass(frozen=True)
class Wish:
    """A question with all that it was asked with, understood: terms by parameter, the texts they came from, rows, and revision."""

    question: Question
    terms: Mapping[str, Term]
    texts: Mapping[str, str]
    limit: int
    revision: int | None = None


class Desk:
    """Where questions are asked of one library. Threads may share one."""

    def __init__(self, library: Library) -> None:
        self.library = library
        register = Register(library.journal, library.config.data / "register.sqlite")
        self.names = Names(register)
        self.search = Search(register)

    def understand(self, question: Question, given: Mapping[str, Sequence[str]]) -> Wish:
        """What a caller wishes who gave these values for parameters, `limit` and `revision`; an empty value is none.

        Raises `InvalidParameter`, or the kind below it if one parameter alone is wrong. Its `errors` has one entry for each.
        """
        errors: list[InvalidParameter] = []
        terms: dict[str, Term] = {}
        texts: dict[str, str] = {}
        limit, revision = question.limit, None
        asked: dict[str, str] = {}
        for name, values in given.items():
            texts_given = [value for value in values if value.strip()]
            try:
                if name not in ("limit", "revision"):
                    question.parameter(name)
                if len(texts_given) > 1:
                    raise InvalidParameter(f"{name} is given {len(texts_given)} times; give it once", parameter=name)
                if texts_given and name == "limit":
                    limit = read_limit(texts_given[0])
                elif texts_given and name == "revision":
                    revision = _read_revision(texts_given[0])
                elif texts_given:
                    asked[name] = texts_given[0]
            except InvalidParameter as error:
                errors.append(error)
        for name, parameter in question.parameters.items():
            text = asked.get(name, parameter.default)
            try:
                if text is not None:
                    terms[name] = self._term(parameter, text)
                    texts[name] = _as_given(parameter, text, terms[name], self.library.base)
                elif parameter.required and not any(error.facts.get("parameter") == name for error in errors):
                    raise parameter.refuse(f"is required: {parameter.help}" if parameter.help else "is required")
            except InvalidParameter as error:
                errors.append(error)
        if errors:
            raise _as_one(errors)
        return Wish(question, terms, texts, limit, revision)

    def ask(self, wish: Wish, caller: Caller = NOBODY) -> Table:
        """The answer. Raises a `QueryError`, `EngineUnsuitable` among them, `Overloaded`, or `NotFound` for a revision that is not
        there, `SnapshotGone` for one that is no longer at hand."""
        library, question = self.library, wish.question
        last = library.journal.last()
        if wish.revision is not None and wish.revision > last:
            raise NotFound(f"there is no revision {wish.revision} yet; the newest is {last}", revision=last)
        _require_suitable(question, library)
        # One row more than is wanted tells whether there are more.
        text = question.bind(wish.terms, wish.limit + 1)
        answer = library.answer(Query(text, base=library.base.iri, triples=None, revision=wish.revision), caller)
        names, rows = tables.read_results(answer.read())
        evidence = set(question.evidence)
        return Table(
            question.id,
            question.summary,
            wish.texts,
            answer.revision,
            wish.limit,
            len(rows) <= wish.limit,
            tuple(Column(name, question.columns.get(name, ""), name in evidence) for name in names),
            tuple(rows[: wish.limit]),
            library.base,
            question.empty,
        )

    def _term(self, parameter: Parameter, text: str) -> Term:
        kinds = [kind for kind in parameter.kinds if kind in KINDS]
        parameter.require_characters(text)
        if parameter.type != "iri" or not (kinds or "act" in parameter.kinds):
            return parameter.read(text)
        try:
            if "act" in parameter.kinds and "#" in text:
                return self._act(parameter, text.strip())
            if not kinds:
                raise UnknownName("is an act: its address, or the article's and the part, such as article-slug#s2")
            return ox.NamedNode(self.names.resolve(text, kinds))
        except InvalidParameter as error:
            if "parameter" in error.facts:
                raise
            raise parameter.refuse(f"cannot be used: {error.detail}", type(error), **error.facts) from None

    def _act(self, parameter: Parameter, text: str) -> ox.NamedNode:
        """The node of an article that a text names: an IRI, or `slug#part`."""
        document, _, part = text.partition("#")
        article = self.names.resolve(document, ["article"])
        iri = f"{article}#{part}"
        if iri not in self.library.journal.nodes_of(article):
            raise UnknownName(f"there is no {part[:80]!r} in {article}")
        return parameter.read_term(iri)


def _require_suitable(question: Question, library: Library) -> None:
    if not question.differs_on:
        return
    product = library.engine.product()
    if what := question.differs_on.get(product):
        raise EngineUnsuitable(
            f"the SPARQL server behind this service is a {product.capitalize()}, which does not answer {question.id} as it is meant: "
            f"{what}. A service with the index of its own, or on Oxigraph, answers it",
            engine=product,
        )


def _read_revision(text: str) -> int:
    number = whole_number(text)
    if number is None or number < 1:
        raise InvalidParameter(f"revision is the number of a revision; got {text[:80]!r}", parameter="revision")
    return number


def _as_given(parameter: Parameter, text: str, term: Term, base: Base) -> str:
    """The text by which the same is asked again, whatever things are called then."""
    if parameter.type == "boolean":
        return "yes" if term.value == "true" else "no"
    if isinstance(term, ox.NamedNode):
        if "term" in parameter.kinds:
            return text.strip()
        return term.value.removeprefix(base.iri)
    return term.value


def _as_one(errors: Sequence[InvalidParameter]) -> InvalidParameter:
    """One error for all of them, with an entry for each."""
    entries = [{"type": type(error).name(), "detail": error.detail, **error.facts} for error in errors]
    if len(errors) == 1:
        return type(errors[0])(errors[0].detail, **errors[0].facts, errors=entries)
    return InvalidParameter("; ".join(error.detail for error in errors), errors=entries)
