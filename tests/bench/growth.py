"""What a question costs on a large graph, held against the same on a small one.

Both hold the seeds, and a question is asked about what its header gives as examples, which the generator knows nothing of: the answer is
the same at either size, and so should the cost be. Where the header names nothing, or the answer grows with the graph, the cost of a row
is compared. The two services take turns.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyoxigraph as ox

from kg import questions
from tests import generate
from tests.bench import client
from tests.bench.client import address
from tests.bench.measures import Effort, Row, Target
from tests.bench.servers import Server

#: Questions over the whole graph that are to be read from derived facts.
OVER_ALL = frozenset(
    {"reversals", "rings-and-unrooted", "contested-since", "standing-denials", "plans-that-came-true", "unnamed-only"}
)

#: Seconds after which a question counts as unanswered; more is not waited for.
_LIMIT = 20


def growth(small: Server, large: Server, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """Every question about one thing, and the ones over the whole graph, large against small."""
    for question in questions.catalogue().values():
        for what, terms in _ways(question):
            say(f"growth: {question.id}, {what}")
            texts = question.bind(terms, questions.LIMITS[1])
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


def _ways(question: questions.Question) -> Iterator[tuple[str, Mapping[str, questions.Term]]]:
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
    """Questions over the whole graph, beside the same asked of documents alone, as written in `underived/`."""
    for path in sorted(Path(__file__).with_name("underived").glob("*.rq")):
        question = questions.catalogue()[path.stem]
        ours_text, theirs_text = question.bind({}, questions.LIMIT), path.read_text("utf-8")
        ours, theirs = [], []
        for _ in range(effort.rounds):
            say(f"derived: {path.stem}")
            try:
                _rows(us, ours_text)
                ours.append(_cost(us, ours_text, effort))
            except client.Failed as failed:
                say(f"{path.stem}: {failed}")
                ours.append(_LIMIT * 1000)
            begun = time.perf_counter()
            try:
                rival.ask(theirs_text, timeout=_LIMIT)
            except TimeoutError:
                # It would go on for nobody: what is told is the least that it would have taken.
                rival.stop()
                rival.start()
                theirs.append(_LIMIT * 1000)
            else:
                theirs.append((time.perf_counter() - begun) * 1000)
        figures = [b / a for a, b in zip(ours, theirs, strict=True)]
        what = f"from derived facts beside documents alone (at most {_LIMIT} s waited)"
        yield Row(what, path.stem, "ms", ours, rival.name, theirs, figures, target=Target(50))
