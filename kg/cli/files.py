"""`kg load` and `kg check`: files of RDF into the graph, or only judged.

Hides which files a directory gives. Promises that every problem is told with the file and the line it stands in.
"""

from __future__ import annotations

import getpass
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from kg import documents, loading
from kg.cli.shell import flags, main
from kg.config import Config
from kg.errors import RequestError
from kg.library import open_library
from kg.report import Report, reports_as_json, reports_as_turtle
from kg.terms import Base

_FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


@main.command()
@_FILES
@click.option("--strict", is_flag=True, help="All files are one batch: if anything is wrong, nothing is written.")
@click.option("--note", default="", help="Why, for the history.")
@flags("data", "base", "document_limit", "batch_limit")
def load(settings: Config, files: Sequence[Path], strict: bool, note: str) -> None:
    """Write documents from files into the graph, past the gate. Directories are searched for files of RDF."""
    paths = _expand(files)
    with open_library(settings, create=True, owner=False) as library, _progress() as (on_files, on_documents):
        summary = loading.load(
            library,
            paths,
            agent=f"{getpass.getuser()} (kg load)",
            note=note,
            strict=strict,
            on_files=lambda: on_files(len(paths)),
            on_documents=on_documents,
            on_batch=lambda receipt: click.echo(
                f"committed revision {receipt.revision} ({len(receipt.revisions)} documents)", err=True
            ),
        )
        base = library.base
    tell(summary, base)
    if summary.problems:
        sys.exit(2 if any(problem.error for problem in summary.problems) else 1)


def tell(summary: loading.Summary, base: Base) -> None:
    for problem in summary.problems:
        for line in problem.in_words(base):
            click.echo(line, err=True)
    parts = [f"{summary.recorded} recorded", f"{summary.unchanged} unchanged"]
    if summary.problems:
        parts.append(f"{len(summary.problems)} not taken (told above)")
    nothing = "" if summary.recorded else "; nothing changed"
    click.echo(f"{', '.join(parts)}; the graph is at revision {summary.revision}{nothing}", err=True)


def _expand(files: Sequence[Path]) -> list[Path]:
    """The files, with directories searched; each once. Raises `RequestError` where a directory holds none."""
    suffixes = {f".{syntax.suffix}" for syntax in documents.SYNTAXES}
    found: dict[Path, None] = {}
    for path in files:
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        if not inside:
            raise RequestError(f"there is no file of RDF in {path}; those end in {', '.join(sorted(suffixes))}")
        found.update(dict.fromkeys(inside))
    return list(found)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int, int], None]]]:
    """Two progress bars on a terminal, nothing elsewhere: files read, documents judged and written."""
    if not sys.stderr.isatty():
        yield lambda total: None, lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        reading, writing = bars.add_task("reading", total=None), bars.add_task("writing", total=None)
        yield (
            lambda total: bars.update(reading, advance=1, total=total),
            lambda done, total: bars.update(writing, completed=done, total=total),
        )


@main.command()
@_FILES
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "turtle", "json"]),
    default="text",
    help="The report for people or for machines.",
)
@flags("data", "base", "document_limit", "batch_limit")
def check(settings: Config, files: Sequence[Path], form: str) -> None:
    """Judge documents in files as one batch, storing nothing. References resolve among them and in the data directory, if there is one."""
    with tempfile.TemporaryDirectory() as scratch:
        if not (settings.data / "journal.sqlite").is_file():
            settings = replace(settings, data=Path(scratch), base=settings.base or settings.default_base)
        with (
            open_library(settings, create=True, owner=False) as library,
            loading.crew(library.base, settings) as workers,
        ):
            found = loading.read_files(_expand(files), library.base, workers)
            candidates = [candidate.document() for candidate in found.documents.values()]
            verdict = library.judge(candidates, workers.judge)
            known = {report.document for report in verdict.reports}
            reports = [*verdict.reports, *(Report(iri, ()) for iri in verdict.unchanged if iri not in known)]
            base = library.base
    failed = [report for report in reports if not report.conforms]
    for problem in found.problems:
        for line in problem.in_words(base):
            click.echo(line, err=True)
    if form == "json":
        click.echo(reports_as_json(reports))
    elif form == "turtle":
        click.echo(reports_as_turtle(reports), nl=False)
    else:
        for report in failed:
            candidate = found.documents.get(report.document)
            problem = loading.Problem(candidate.path if candidate else Path(report.document), None, report=report)
            for line in problem.in_words(base):
                click.echo(line)
        click.echo(f"{len(reports) - len(failed)} of {len(reports)} documents conform", err=True)
    sys.exit(2 if found.problems else 1 if failed else 0)
