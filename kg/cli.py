"""The command `kg`.

Hides the shell: arguments in, exit codes and text out. Data goes to standard output, everything said about it to standard
error. Exit codes: 0 done, 1 the answer is no (rejected, does not conform, query failed), 2 could not be read or understood,
3 the data directory failed, 4 try again later.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click
import pyoxigraph as ox

from kg import __version__, assets, config, documents, loading
from kg.config import SETTINGS, Config
from kg.engine import Answer, Query
from kg.errors import (
    ConfigurationError,
    DocumentError,
    KgError,
    NotFound,
    Overloaded,
    QueryError,
    Rejected,
    RequestError,
    StorageError,
)
from kg.gate import Report, reports_as_json, reports_as_turtle
from kg.library import open_library
from kg.terms import Base, shorten

#: Kinds of error and the exit code of each; the nearest kind above decides.
EXIT_CODES: dict[type[KgError], int] = {
    KgError: 2,
    ConfigurationError: 2,
    RequestError: 2,
    DocumentError: 2,
    Rejected: 1,
    NotFound: 1,
    QueryError: 1,
    StorageError: 3,
    Overloaded: 4,
}


def exit_code(error: KgError) -> int:
    """The exit code for an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


class _Commands(click.Group):
    """Turns our errors into a message and an exit code, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KgError as error:
            _fail(error)
        except BrokenPipeError:  # `kg export | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


def _fail(error: KgError) -> None:
    place = ":".join(str(error.facts[key]) for key in ("line", "column") if key in error.facts)
    click.echo(f"kg: {f'{place}: ' if place else ''}{error.detail}", err=True)
    sys.exit(exit_code(error))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kg")
def main() -> None:
    """An event knowledge graph: who said what happened, on whose word, when, and with which evidence."""


def _settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Flags for some settings, or for all; the command gets them as one `Config` under the name `settings`."""
    chosen = [setting for setting in SETTINGS if not setting.secret and (not names or setting.name in names)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_config(**arguments: Any) -> None:
            overrides = {setting.name: arguments.pop(setting.name) for setting in chosen}
            command(settings=config.read(**overrides), **arguments)

        with_config.__name__, with_config.__doc__ = command.__name__, command.__doc__
        wrapped: Callable[..., None] = with_config
        wrapped.__click_params__ = list(getattr(command, "__click_params__", []))  # type: ignore[attr-defined]
        for setting in reversed(chosen):
            default = (
                f" [{setting.variable}; default {setting.default}]" if setting.default else f" [{setting.variable}]"
            )
            wrapped = click.option(
                "--" + setting.name.replace("_", "-"), setting.name, metavar="VALUE", help=setting.help + default
            )(wrapped)
        return wrapped

    return decorate


_FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


# serve

#: Seconds beyond the limit of a query within which a server that was told to end has ended.
_FAREWELL = 3


@main.command()
@_settings()
def serve(settings: Config) -> None:
    """Serve the graph in a data directory; an empty one is filled with the seeds first."""
    from granian import Granian
    from granian.constants import Interfaces, Loops

    address = _free_address(settings)
    # Commands hold the index for moments; who holds it for longer is another server.
    with open_library(settings, create=True, owner=True, patience=3) as library:
        base = library.base
        if library.journal.last() == 0:
            click.echo(f"{settings.data} is new: loading the seeds …", err=True)
            summary = loading.load(
                library,
                assets.files("seeds", "**/*.ttl"),
                agent="seeds",
                note="the seeds of this version",
                strict=True,  # in one batch, so that a server killed meanwhile does not leave a part of them for ever
            )
            _tell(summary, base)
    os.environ.update(config.as_environment(settings))
    os.environ["KG_DATA"] = str(settings.data.resolve())
    import multiprocessing

    multiprocessing.set_start_method(
        "spawn", force=True
    )  # a fork would inherit the store's threads in an unknown state
    server = Granian(
        "kg.web.process:application",
        address=address,
        port=settings.port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        factory=True,
        workers=1,
        websockets=False,
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=int(settings.query_timeout) + _FAREWELL,  # what runs is finished first
    )

    def ready() -> None:
        _greet(settings, base)

    server.on_startup(ready)
    server.serve()


def _free_address(settings: Config) -> str:
    """The address to listen on, as numbers; names are looked up. Raises `ConfigurationError` where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.bind}: {error.strerror}; choose another with --bind, such as --bind 127.0.0.1:8001",
            setting="KG_BIND",
        ) from None
    return str(address[0])


def _greet(settings: Config, base: Base) -> None:
    here = f"http://{settings.bind}/"
    click.echo(
        f"Serving {settings.data} at {here}"
        + (f" (documents are named {base}…)" if base.iri != settings.default_base else "")
    )
    query = "SELECT ?who ?proposition WHERE { ?act a ekg:Admission ; ekg:speaker/rdfs:label ?who ; ekg:content/schema:text ?proposition }"
    click.echo("Three things to try:")
    click.echo(f"  open {here} in a browser")
    click.echo(f"  curl -L -H 'Accept: text/turtle' {here}article/russia-admits-north-korean-soldiers")
    click.echo(f"  curl -G {here}sparql -H 'Accept: text/csv' --data-urlencode \\\n    'query={query}'")
    sys.stdout.flush()


# load and check


@main.command()
@_FILES
@click.option("--strict", is_flag=True, help="All files are one batch: if anything is wrong, nothing is written.")
@click.option("--note", default="", help="Why, for the history.")
@_settings("data", "base", "document_limit", "batch_limit")
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
    _tell(summary, base)
    if summary.problems:
        sys.exit(2 if any(problem.error for problem in summary.problems) else 1)


def _tell(summary: loading.Summary, base: Base) -> None:
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
@_settings("data", "base", "document_limit", "batch_limit")
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


# query and export


@main.command()
@click.argument("sparql", required=False)
@click.option(
    "-f", "--file", type=click.File("r", encoding="utf-8"), help="Read the query from a file; - for standard input."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "tsv", "json", "xml", "turtle", "ntriples", "rdfxml"]),
    help="Default: a table on a terminal, else CSV; for graphs Turtle.",
)
@_settings("data", "query_timeout", "query_memory", "result_limit")
def query(settings: Config, sparql: str | None, file: IO[str] | None, form: str | None) -> None:
    """Ask the graph in a data directory a SPARQL query. Prefixes of the vocabulary need not be declared."""
    if (sparql is None) == (file is None):
        raise click.UsageError("give a query, or -f FILE, and not both")
    try:
        text = sparql if sparql is not None else file.read() if file is not None else ""
    except UnicodeDecodeError as error:
        raise RequestError(f"the query is not UTF-8: byte {error.start + 1} cannot be read") from None
    form = form or ("table" if sys.stdout.isatty() else None)
    graph = {"turtle": "ttl", "ntriples": "nt", "rdfxml": "rdf"}
    solutions = {"table": "json", None: "csv"}.get(form, None if form in graph else form)
    triples = graph.get(form or "", None if form in ("csv", "tsv", "json", "xml") else "ttl")
    settings = replace(settings, query_processes=1)
    with open_library(settings, create=False, owner=False) as library:
        library.settle()
        answer = library.answer(Query(text, base=library.base.iri, solutions=solutions, triples=triples))
        if form == "table" and answer.kind != "triples":
            _print_table(answer, library.base)
        else:
            for chunk in answer.chunks():
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def _print_table(answer: Answer, base: Base) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    parsed = ox.parse_query_results(answer.read(), format=ox.QueryResultsFormat.JSON)
    if isinstance(parsed, ox.QueryBoolean):
        click.echo("yes" if parsed else "no")
        return
    names = [variable.value for variable in parsed.variables]
    table = Table(*names, box=None, pad_edge=False, header_style="bold", show_edge=False)
    count = 0
    for solution in parsed:
        count += 1
        table.add_row(*(Text(_cell(solution[name], base)) for name in names))
    Console(soft_wrap=False).print(table)
    click.echo(f"{count} row{'s' if count != 1 else ''} at revision {answer.revision}", err=True)


def _cell(term: object, base: Base) -> str:
    if term is None:
        return ""
    text = getattr(term, "value", str(term))
    # Control characters from data must not reach the terminal as commands.
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return shorten(text, base) if isinstance(term, ox.NamedNode) else text


@main.command()
@click.option("--format", "form", type=click.Choice(["trig", "nquads"]), default="trig")
@_settings("data")
def export(settings: Config, form: str) -> None:
    """Write every document, a graph each, to standard output."""
    syntax = documents.TRIG if form == "trig" else documents.N_QUADS
    with open_library(settings, create=False, owner=False) as library:
        for _, document in library.journal.current():
            if document is not None:
                sys.stdout.buffer.write(documents.serialize(document, syntax, library.base))
        sys.stdout.buffer.flush()


@main.command()
@_settings("data")
def rebuild(settings: Config) -> None:
    """Make the index anew from the journal: the one in the data directory or, with KG_ENGINE, what that server has of this base."""
    with open_library(settings, create=False, owner=False) as library:
        revision = library.rebuild()
        click.echo(f"rebuilt from the journal: {library.journal.count()} documents at revision {revision}", err=True)


if __name__ == "__main__":
    main()
