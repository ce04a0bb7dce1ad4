"""The command: `python -m tests.bench`. Progress goes to standard error, Markdown to standard output."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import click

from tests.bench import client, data, measures, servers
from tests.bench.growth import derived, growth
from tests.bench.measures import EVERY_QUERY, MEASURES, Bench, Effort, Row
from tests.bench.servers import Missing, Server
from tests.bench.visibility import visibility

#: The measure that needs a small graph beside the large one.
GROWTH = "growth"

#: The measure of questions that are read from derived facts, beside documents alone.
DERIVED = "derived"

#: The measure that needs copies of the data, and no server.
VISIBILITY = "visibility"


@click.command()
@click.option(
    "--articles", multiple=True, type=int, default=(10_000,), help="Articles in the graph; may be given more than once."
)
@click.option(
    "--small",
    type=int,
    default=1_000,
    help="Articles in the graph on which rdflib-endpoint is measured, and against which growth is.",
)
@click.option(
    "--gated", type=int, default=1_000, help="Articles that go through `kg load`; the rest is committed directly."
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([*MEASURES, EVERY_QUERY, GROWTH, DERIVED, VISIBILITY]),
    help="What to measure; default: all but growth, derived and visibility.",
)
@click.option("--rounds", type=int, default=5, help="How often each server has its turn.")
@click.option("--seconds", type=float, default=2.0, help="The length of one run, roughly.")
@click.option("--alone", is_flag=True, help="Measure this service only.")
@click.option("--quick", is_flag=True, help="One round of moments: whether everything works, not how fast.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Where graphs are made, kept, and found again. Default: made anew, and removed.",
)
def main(
    articles: Sequence[int],
    small: int,
    gated: int,
    only: Sequence[str],
    rounds: int,
    seconds: float,
    alone: bool,
    quick: bool,
    directory: Path | None,
) -> None:
    """Measure this service beside oxigraph serve and rdflib-endpoint, on the same data, and print tables of ratios."""
    effort = Effort(1, 0.02) if quick else Effort(rounds, seconds)
    wanted = list(only or [*MEASURES, EVERY_QUERY])
    with contextlib.ExitStack() as stack:
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        for count in articles:
            if chosen := [name for name in wanted if name in MEASURES]:
                graph = _graph(place, count, gated)
                _print_heading(graph, effort)
                with _running(graph, [] if alone else [servers.OXIGRAPH]) as (us, others):
                    rival = others[0] if others else None
                    measures.require_same_answers([us, *others])
                    bench = Bench(graph, us, rival, effort, _say)
                    _print_table(row for name in chosen for row in MEASURES[name](bench))
            if VISIBILITY in wanted:
                graph = _graph(place, count, gated)
                _print_heading(graph, effort)
                _print_table(visibility(graph, effort, _say))
            if GROWTH in wanted:
                graph, base = _graph(place, count, gated), _graph(place, small, gated)
                _print_heading(graph, effort)
                with _running(graph, []) as (large, _), _running(base, []) as (little, _):
                    _print_table(growth(little, large, effort, _say))
            if DERIVED in wanted:
                graph = _graph(place, count, gated)
                _print_heading(graph, effort)
                with _running(graph, [] if alone else [servers.OXIGRAPH]) as (us, others):
                    for rival in others:
                        _print_table(derived(us, rival, effort, _say))
        if EVERY_QUERY in wanted and not alone:
            graph = _graph(place, small, gated)
            _print_heading(graph, effort)
            with _running(graph, [servers.OXIGRAPH, servers.RDFLIB]) as (us, others):
                measures.require_same_answers([us, *others])
                if others and others[-1].name == servers.RDFLIB:
                    _print_table(_every_query(graph, us, others, effort))


def _every_query(graph: data.Data, us: Server, others: Sequence[Server], effort: Effort) -> Iterator[Row]:
    """This service held against the last of the others and, for reference, so are those between."""
    *between, slow = others
    yield from measures.every_query(Bench(graph, us, slow, effort, _say))
    for server in between:
        for row in measures.every_query(Bench(graph, server, slow, effort, _say), repeated=False):
            yield _for_reference(row)


def _for_reference(row: Row) -> Row:
    """A row of another server's in our place, which has no target to reach."""
    return Row(
        f"for reference, {servers.OXIGRAPH}: {row.what}",
        row.query,
        row.unit,
        row.ours,
        row.other,
        row.theirs,
        row.figures,
    )


def _graph(place: Path, articles: int, gated: int) -> data.Data:
    directory = place / f"articles-{articles}"
    directory.mkdir(parents=True, exist_ok=True)
    return data.prepare(directory, articles, gated, _say)


@contextlib.contextmanager
def _running(graph: data.Data, others: Sequence[str]) -> Iterator[tuple[Server, list[Server]]]:
    """This service and those of the others that are installed, started, and ended at the end."""
    running = [servers.ours(graph.ours)]
    for name in others:
        try:
            running.append(
                servers.oxigraph(graph.oxigraph) if name == servers.OXIGRAPH else servers.rdflib(graph.quads)
            )
        except Missing as missing:
            _say(f"{missing}: not measured")
    with contextlib.ExitStack() as stack:
        for server in running:
            _say(f"starting {server.name} …")
            stack.callback(server.stop)
            server.start()
        yield running[0], running[1:]


def _print_heading(graph: data.Data, effort: Effort) -> None:
    versions = []
    for package in ("pyoxigraph", "oxigraph", "rdflib-endpoint", "uvloop"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    generator = "wrk" if client.WRK else "a client in Python, for want of wrk: it may be what limits the fastest rows"
    straight = graph.documents and graph.articles > graph.gated
    click.echo(
        f"\n## {graph.articles:,} articles\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}. "
        f"Load: {generator}. {effort.rounds} rounds of about {effort.seconds:g} s, servers in turns. {_load()}\n\n"
        f"{graph.documents:,} documents, {graph.gate_rate:,.0f} a second through `kg load`"
        + (f" (the first {graph.gated:,} articles; the rest was committed to the journal directly)" if straight else "")
        + ".\n"
    )


def _print_table(rows: Iterable[Row]) -> None:
    """Print rows as they come, and what came of the targets."""
    click.echo(measures.HEAD)
    held = []
    for row in rows:
        click.echo(measures.line(row))
        if row.reached is not None:
            held.append(row.reached)
    click.echo(f"\nTargets: {sum(held)} of {len(held)} reached. {_load()}")


def _load() -> str:
    return "Load average: " + ", ".join(f"{value:.1f}" for value in os.getloadavg()) + "."


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    sys.exit(main())
