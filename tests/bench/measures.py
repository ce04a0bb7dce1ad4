"""What is measured, and the targets.

Servers take turns, round after round, so that whatever the machine does meanwhile falls on all. A figure compares two servers
within one round; a row tells the median of the rounds' figures and their range. A query counts as small or large by what it
costs Oxigraph here, not by what it looks like.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from kg import config
from tests import generate
from tests.bench import client
from tests.bench.client import Sample, address
from tests.bench.data import Data
from tests.bench.servers import OURS, Server
from tests.serving import ENDLESS, environment

#: Seconds from which a query counts as large.
LARGE = 0.005

CONNECTIONS = 8

QUERIES = {path.stem: path.read_text("utf-8") for path in sorted(Path(__file__).with_name("queries").glob("*.rq"))}

#: The look-up for measures that need just one.
LOOK_UP = QUERIES["labels"]


@dataclass(frozen=True)
class Target:
    """A bound that the median of the figures has to keep."""

    bound: float
    at_least: bool = True

    def reached(self, figure: float) -> bool:
        return figure >= self.bound if self.at_least else figure <= self.bound


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `theirs` hold a value a round, `figures` what comes of each pair; both are empty without another server."""

    what: str
    query: str
    unit: str
    ours: Sequence[float]
    other: str = ""
    theirs: Sequence[float] = ()
    figures: Sequence[float] = ()
    figure_unit: str = "×"
    target: Target | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none, or nothing to compare with."""
        if self.target is None or not self.figures:
            return None
        return self.target.reached(statistics.median(self.figures))


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and roughly the seconds of one run."""

    rounds: int
    seconds: float

    def count(self, cost: float, connections: int, least: int) -> int:
        """How many requests of this cost make a run: a multiple of the connections."""
        wanted = min(400, max(least, round(self.seconds / cost)))
        return max(1, round(wanted / connections)) * connections


class Bench:
    """One data set, its servers, and the effort to spend. `rival` is what this service is held against, if anything."""

    def __init__(
        self, data: Data, us: Server, rival: Server | None, effort: Effort, say: Callable[[str], None]
    ) -> None:
        self.data = data
        self.us = us
        self.rival = rival
        self.effort = effort
        self.say = say
        self._costs: dict[str, float] = {}

    @property
    def servers(self) -> list[Server]:
        return [self.us, *([self.rival] if self.rival else [])]

    def cost(self, query: str) -> float:
        """Seconds that a query takes the rival (alone: us) when nothing else goes on."""
        if query not in self._costs:
            server = self.rival or self.us
            self._costs[query] = client.ask_anew_times(address(server.endpoint, QUERIES[query]), 1, 5).median
        return self._costs[query]

    def in_turns(self, run: Callable[[Server], float]) -> list[list[float]]:
        """The value of each server in each round."""
        values: list[list[float]] = [[] for _ in self.servers]
        for _ in range(self.effort.rounds):
            for server, of in zip(self.servers, values, strict=True):
                of.append(run(server))
                if self.effort.seconds >= 1:  # wrk goes away in the middle of things; the client of our own does not
                    server.rest()
        return values

    def row(
        self,
        what: str,
        query: str,
        unit: str,
        run: Callable[[Server], float],
        compare: Callable[[float, float], float],
        target: Target | None = None,
        figure_unit: str = "×",
    ) -> Row:
        """Run each server in turns; `compare` makes the figure of our value and theirs."""
        self.say(f"{what}: {query}" if query else what)
        ours, *others = self.in_turns(run)
        theirs = others[0] if others else []
        figures = [compare(a, b) for a, b in zip(ours, theirs, strict=False)]
        return Row(what, query, unit, ours, self.rival.name if self.rival else "", theirs, figures, figure_unit, target)


def _more(ours: float, theirs: float) -> float:
    return ours / theirs


def _faster(ours: float, theirs: float) -> float:
    return theirs / ours


def _longer(ours: float, theirs: float) -> float:
    return ours - theirs


def require_same_answers(servers: Sequence[Server]) -> None:
    """Fails unless all servers give the same answer to each query, which also warms them up."""
    for name, query in QUERIES.items():
        answers = {}
        for server in servers:
            status, body = server.ask(query)
            if status != 200:
                raise client.Failed(f"{server.name} answered {name} with {status}: {body[:500]!r}")
            answers[server.name] = _in_order(json.loads(body))
        if len({json.dumps(answer) for answer in answers.values()}) > 1:
            shown = {server: str(answer)[:300] for server, answer in answers.items()}
            raise client.Failed(f"the servers do not agree on {name}: {shown}")


def _in_order(answer: Mapping[str, object]) -> object:
    match answer:
        case {"boolean": value}:
            return value
        case {"results": {"bindings": list(rows)}}:
            return sorted(
                json.dumps({name: [term["type"], term["value"]] for name, term in row.items()}, sort_keys=True)
                for row in rows
            )
    raise client.Failed(f"not a SPARQL result: {str(answer)[:300]}")


def repeated(bench: Bench) -> Iterator[Row]:
    """The same query again and again, eight connections."""
    for name, text in QUERIES.items():
        large = bench.cost(name) >= LARGE
        kind = "repeated, large" if large else "repeated, small"

        def run(server: Server, name: str = name, text: str = text) -> float:
            # What is computed each time must come to its end some times within the span.
            needed = 1 if server is bench.us else 3 * CONNECTIONS * bench.cost(name)
            seconds = min(60, max(bench.effort.seconds, needed)) if bench.rival else bench.effort.seconds
            return client.repeat(address(server.endpoint, text), CONNECTIONS, seconds).rate

        yield bench.row(kind, name, "requests/s", run, _more, Target(50 if large else 1.5))


def first_time(bench: Bench) -> Iterator[Row]:
    """Queries in words that were never used before: one connection, then eight."""
    for name, text in QUERIES.items():
        cost = bench.cost(name)

        def run(server: Server, connections: int, text: str = text, cost: float = cost) -> Sample:
            url = address(server.endpoint, text)
            if cost < LARGE:
                return client.ask_anew(url, connections, bench.effort.seconds)
            return client.ask_anew_times(url, connections, bench.effort.count(cost, connections, 2 * connections + 3))

        def median(server: Server, run: Callable[[Server, int], Sample] = run) -> float:
            return run(server, 1).median * 1000

        def rate(server: Server, run: Callable[[Server, int], Sample] = run) -> float:
            return run(server, CONNECTIONS).rate

        one, many = "1 connection", f"{CONNECTIONS} connections"
        if cost < LARGE:
            yield bench.row(
                f"first time, small, {one}", name, "ms", median, _longer, Target(0.5, at_least=False), "ms more"
            )
            yield bench.row(f"first time, small, {many}", name, "requests/s", rate, _more, Target(0.25))
        else:
            yield bench.row(f"first time, large, {one}", name, "ms", median, _faster, Target(0.9))
            yield bench.row(f"first time, large, {many}", name, "requests/s", rate, _more, Target(0.9))


def every_query(bench: Bench, *, repeated: bool = True) -> Iterator[Row]:
    """All queries against a rival that is slow at each, for the first time and repeated."""
    for name, text in QUERIES.items():
        cost = bench.cost(name)
        few = bench.effort.count(cost, 1, 3)

        def first(server: Server, text: str = text, few: int = few) -> float:
            return client.ask_anew_times(address(server.endpoint, text), 1, few).median * 1000

        def again(server: Server, text: str = text, cost: float = cost) -> float:
            url = address(server.endpoint, text)
            if server is bench.us:
                return client.repeat(url, CONNECTIONS, bench.effort.seconds).rate
            # To who keeps no answers, a repeat is as new as any; this way none is cut off half done.
            return client.ask_anew_times(url, CONNECTIONS, bench.effort.count(cost, CONNECTIONS, 8)).rate

        yield bench.row("every query, first time, 1 connection", name, "ms", first, _faster, Target(20))
        if repeated:
            yield bench.row(
                f"every query, repeated, {CONNECTIONS} connections", name, "requests/s", again, _more, Target(20)
            )


def runaway(bench: Bench) -> Iterator[Row]:
    """Look-ups that reach a query process, while every such process but the quick one is kept busy for ever."""
    for connections in (1, CONNECTIONS):
        what = f"p99 of first-time look-ups, {connections} connection{'s' if connections > 1 else ''}, runaway queries burning"
        bench.say(what)
        quiet: list[float] = []
        burning: list[float] = []
        for number in range(bench.effort.rounds):
            quiet.append(_tail(bench, connections))
            with contextlib.ExitStack() as stack:
                for one in range(config.read({}).query_processes - 1):
                    stack.enter_context(_runaway(bench.us, f"{connections} {number} {one}"))
                time.sleep(0.5)  # until the service has found out that they are slow
                burning.append(_tail(bench, connections))
            bench.us.rest()
        figures = [_more(a, b) for a, b in zip(burning, quiet, strict=True)]
        yield Row(what, "labels", "ms", burning, "quiet", quiet, figures, target=Target(3, at_least=False))


def _tail(bench: Bench, connections: int) -> float:
    url = address(bench.us.endpoint, LOOK_UP)
    return client.ask_anew(url, connections, 2 * bench.effort.seconds).p99 * 1000


@contextlib.contextmanager
def _runaway(server: Server, mark: str) -> Iterator[None]:
    """A query without end is being evaluated within the block; then its caller goes away."""
    connection = http.client.HTTPConnection(urlsplit(server.endpoint).netloc)
    with contextlib.closing(connection):
        connection.request("GET", f"{server.path}?query={quote(f'{ENDLESS} # {mark}')}")
        yield


def memory(bench: Bench) -> Iterator[Row]:
    """Memory of all processes, after what was measured before."""

    def mebibytes(server: Server) -> float:
        return server.memory() / 2**20

    yield bench.row("memory of all processes (PSS)", "", "MiB", mebibytes, _more)


def start(bench: Bench) -> Iterator[Row]:
    """From the start of the process to its first answer, with the files warm in the machine's memory."""

    def seconds(server: Server) -> float:
        server.stop()
        return server.start(LOOK_UP)

    yield bench.row("start to first answer", "labels", "s", seconds, _more)


def write(bench: Bench) -> Iterator[Row]:
    """From the start of writing one document to the first answer that shows it: `kg load` with all its checks beside a bare PUT."""
    visible: list[float] = []
    after: list[float] = []
    theirs: list[float] = []
    bench.say("a write until it is visible")
    for number in range(bench.effort.rounds):
        text = generate.actor(f"written-{time.time_ns()}-{number}", label="Written while it was served")
        path = text.write(bench.data.directory / "written")
        begun = time.perf_counter()
        command = [sys.executable, "-m", "kg.cli", "load", "--data", str(bench.data.ours), str(path)]
        loading = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        returned = seen = 0.0
        while not (returned and seen):
            if not seen and _shows(bench.us, text):
                seen = time.perf_counter()
            if not returned and loading.poll() is not None:
                returned = time.perf_counter()
                if loading.returncode != 0:
                    raise client.Failed(f"`kg load` ended with {loading.returncode}")
            if time.perf_counter() - begun > 120:
                raise client.Failed("a write was not visible within two minutes")
            time.sleep(0.001)
        visible.append((seen - begun) * 1000)
        after.append(max(0.0, seen - returned) * 1000)
        if bench.rival is not None:
            begun = time.perf_counter()
            turtle = f"@base <{generate.BASE.iri}> .\n{text.turtle}".encode()
            status, body = bench.rival.request(
                "PUT", f"/store?graph={quote(text.iri(), safe='')}", turtle, "text/turtle"
            )
            if status >= 300:
                raise client.Failed(f"{bench.rival.name} answered a write with {status}: {body[:300]!r}")
            while not _shows(bench.rival, text):
                time.sleep(0.001)
            theirs.append((time.perf_counter() - begun) * 1000)
    other = f"{bench.rival.name}, PUT" if bench.rival else ""
    figures = [_more(a, b) for a, b in zip(visible, theirs, strict=False)]
    yield Row("write to visibility, from the start of `kg load`", "", "ms", visible, other, theirs, figures)
    yield Row(
        "write to visibility, after `kg load` returned",
        "",
        "ms",
        after,
        "its whole time",
        visible,
        [a / b for a, b in zip(after, visible, strict=True)],
    )


def _shows(server: Server, text: generate.Text) -> bool:
    status, body = server.ask(f"ASK {{ <{text.iri()}> ?p ?o }}")
    return status == 200 and json.loads(body)["boolean"]


#: What is measured on the large data set, by name, in an order in which none disturbs what follows.
MEASURES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "repeated": repeated,
    "first-time": first_time,
    "runaway": runaway,
    "memory": memory,
    "start": start,
    "write": write,
}

#: The measure that has a data set of its own.
EVERY_QUERY = "rdflib-endpoint"


HEAD = (
    f"| What | Query | {OURS} | held against | figure: median (min … max) | target | |\n|---|---|--:|--:|--:|--:|---|"
)


def line(row: Row) -> str:
    """A row in Markdown, below `HEAD`. The figure stands as the median of the rounds, with the smallest and largest in brackets."""
    sign = "≥" if row.target and row.target.at_least else "≤"
    low, high = (_number(bound(row.figures, default=0.0)) for bound in (min, max))
    cells = [
        row.what,
        row.query,
        f"{_number(statistics.median(row.ours))} {row.unit}",
        f"{row.other}: {_number(statistics.median(row.theirs))} {row.unit}" if row.theirs else "nothing",
        f"{_number(statistics.median(row.figures))} {row.figure_unit} ({low} … {high})" if row.figures else "",
        f"{sign} {row.target.bound:g} {row.figure_unit}" if row.target else "",
        {None: "", True: "reached", False: "**not reached**"}[row.reached],
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    """Three digits that count."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"
