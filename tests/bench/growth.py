"""What a question costs on a large graph, held against the same on a small one.

Both hold the seeds, and a question is asked about what its header gives as examples, which the generator knows nothing of: the answer is
the same at either size, and so should the cost be. Where the header names nothing, or the answer grows with the graph, the cost of a row
is compared. The two services take turns.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyoxigraph as ox

from kg import questions, rules
from kg.engine.deriver import Copy
from tests import generate
from tests.bench import client, data
from tests.bench.client import address
from tests.bench.measures import Effort, Row, Target
from tests.bench.servers import Server

#: Questions over the whole graph that are to be read from derived facts.
OVER_ALL = frozenset(
    {"reversals", "rings-and-unrooted", "contested-since", "standing-denials", "plans-that-came-true", "unnamed-only"}
)

#: Seconds after which a question counts as unanswered; more is not waited for.
_LIMIT = 20

#: Seconds that a query over documents alone is waited for, and from how many on it is asked only once.
_PATIENCE = 120
_LONG = 20

#: Documents of the generator in the graph on which answers are compared.
_SMALL = 30


def growth(small: Server, large: Server, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """Every question about one thing, and the ones over the whole graph, large against small."""
    for question in questions.catalogue().values():
        for what, terms in ways(question):
            say(f"growth: {question.id}, {what}")
            # Whole answers: rows that are cut off have been computed and sorted like the others, unless the question itself leaves them out.
            texts = question.bind(terms, questions.LIMIT if "#> limit" in question.text else None)
            try:
                rows = [_rows(server, texts) for server in (small, large)]
                values = [[_cost(server, texts, effort) for server in (small, large)] for _ in range(effort.rounds)]
            except client.Failed as failed:
                say(f"{question.id}: {failed}")
                yield Row(f"growth, {what}: no answer within {_LIMIT} s", question.id, "ms", [_LIMIT * 1000])
                continue
            per_row = rows[0] != rows[1]
            scale = max(rows[0], 1) / max(rows[1], 1) if per_row else 1.0
            figures = [of_large / of_small * scale for of_small, of_large in values]
            unit = "× a row" if per_row else "×"
            yield Row(
                f"growth, {what}, {rows[0]:,} and {rows[1]:,} rows",
                question.id,
                "ms",
                [of_large for _, of_large in values],
                "the small graph",
                [of_small for of_small, _ in values],
                figures,
                unit,
                Target(2, at_least=False) if what == "about one" or question.id in OVER_ALL else None,
            )


def ways(question: questions.Question) -> Iterator[tuple[str, Mapping[str, questions.Term]]]:
    """How a question is asked: about its examples where it has any, and over the whole graph where it can be."""
    given = {
        name: parameter
        for name, parameter in question.parameters.items()
        if parameter.default or (parameter.required and parameter.example)
    }
    named = {
        name: parameter
        for name, parameter in question.parameters.items()
        if parameter.type == "iri"
        and parameter.example
        and set(parameter.kinds) & {"actor", "event", "proposition", "agreement", "act"}
    }
    if named:
        yield "about one", {name: _term(parameter) for name, parameter in {**given, **named}.items()}
    if not any(parameter.type == "iri" for parameter in given.values()):
        yield "over all", {name: _term(parameter) for name, parameter in given.items()}


def _term(parameter: questions.Parameter) -> questions.Term:
    text = parameter.default or parameter.example or ""
    if parameter.type != "iri":
        return parameter.read(text)
    kind = "article" if "act" in parameter.kinds else parameter.kinds[0]
    return ox.NamedNode(f"{generate.BASE.iri}{kind}/{text}")


def _rows(server: Server, query: str) -> int:
    """How many rows the answer has. Raises `Failed` where there is none in time."""
    status, body = server.request("POST", f"{server.path}?timeout={_LIMIT}", query.encode(), "application/sparql-query")
    if status != 200:
        raise client.Failed(f"{status}: {body[:200]!r}")
    return len(json.loads(body)["results"]["bindings"])


def _cost(server: Server, query: str, effort: Effort) -> float:
    """Milliseconds that the answer takes when nothing is kept of it."""
    url = address(server.endpoint, query)
    first = client.ask_anew_times(url, 1, 1).median
    more = [client.ask_anew_times(url, 1, effort.count(first, 1, 3)).median] if first < effort.seconds else [first]
    return statistics.median(more) * 1000


def derived(us: Server, rival: Server, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """Questions over the whole graph, beside the same asked of documents alone, as written in `underived/`.

    This service sends the rows it sends where nothing else is asked for, with all that is shown of each. The other one only counts its own.
    """
    for question, text in underived():
        say(f"derived: {question.id}")
        require_same_rows(question, text)
        ours_text = question.bind({}, questions.LIMIT)
        ours: list[float] = []
        theirs: list[float] = []
        waited = ""
        for _ in range(effort.rounds):
            try:
                _rows(us, ours_text)
                ours.append(_cost(us, ours_text, effort))
            except client.Failed as failed:
                say(f"{question.id}: {failed}")
                ours.append(_LIMIT * 1000)
            begun = time.perf_counter()
            try:
                # By POST: the address of some would be longer than a server takes.
                status, _ = rival.request(
                    "POST", rival.path, counted(text).encode(), "application/sparql-query", _PATIENCE
                )
            except TimeoutError:
                # It would go on for nobody. What is told is the least that it would have taken, and once is enough.
                rival.stop()
                rival.start()
                theirs.append(_PATIENCE * 1000)
                waited = f", not done after {_PATIENCE} s"
            else:
                if status != 200:
                    raise client.Failed(f"{rival.name} answered {question.id} with {status}")
                theirs.append((time.perf_counter() - begun) * 1000)
            if theirs[-1] > _LONG * 1000:
                break
        figures = [b / a for a, b in zip(ours, theirs, strict=True)]
        what = f"from derived facts beside documents alone{waited}"
        yield Row(what, question.id, "ms", ours, rival.name, theirs, figures, target=Target(50))


def counted(text: str) -> str:
    """The query that only counts the rows of another: who answers is spared putting them in order, and sending them."""
    prologue, _, select = text.partition("SELECT ")
    return f"{prologue}SELECT (COUNT(*) AS ?rows) WHERE {{ {{ SELECT {select} }} }}"


def underived() -> Iterator[tuple[questions.Question, str]]:
    """The questions that are read from derived facts, and each as a query that reads documents alone."""
    for path in sorted(Path(__file__).with_name("underived").glob("*.rq")):
        yield questions.catalogue()[path.stem], path.read_text("utf-8")


def require_same_rows(question: questions.Question, text: str) -> None:
    """Raise ValueError unless the question and the query over documents alone find the same, on a graph that is small enough for either.

    Compared are the columns that the query selects. What else a question shows is looked up for each row, which the query is spared.
    """
    theirs = rows_of(text)
    names = [] if not theirs else list(theirs[0])
    ours = rows_of(question.bind({}))
    differing = {*_only(names, theirs)} ^ {*_only(names, ours)}
    if differing or not ours:
        raise ValueError(
            f"{question.id} and its query over documents alone differ, in {names}: {sorted(differing)[:3]}"
        )


def rows_of(text: str) -> list[dict[str, str]]:
    """What a query finds on a graph that is small enough for any, a term as text by column."""
    found = _small_graph().query(text, use_default_graph_as_union=True)
    assert isinstance(found, ox.QuerySolutions)
    return [{variable.value: str(row[variable]) for variable in found.variables} for row in found]


def _only(names: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, ...]]:
    return (tuple(row[name] for name in names) for row in rows)


@functools.cache
def _small_graph() -> ox.Store:
    """The seeds, two stories and a few articles of the generator, with what follows from them."""
    store = ox.Store()
    for path in data.SEEDS.glob("*/*.ttl"):
        graph = ox.NamedNode(generate.BASE.document(path.parent.name, path.stem))
        store.load(path.read_bytes(), format=ox.RdfFormat.TURTLE, base_iri=generate.BASE.iri, to_graph=graph)
    for document in (*generate.documents(_SMALL), *data.story(0), *data.story(1)):
        store.extend(ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri)) for t in document.triples)
    for _ in rules.everything(Copy(store, rules.graph_of(generate.BASE.iri)), rules.catalogue(), generate.BASE.iri):
        pass
    return store
