"""`kg backup`, `kg restore`, `kg verify`, `kg rebase` and `kg rebuild`: that nothing is lost, and that one can be sure of it.

Hides progress bars and the order in which things are told. Promises that what is wrong goes to standard output, a line each, and
that a command which found something wrong, or could not do its work, does not end with 0.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from kg import safekeeping
from kg.cli.shell import flags, main
from kg.config import Config
from kg.engine.snapshots import Snapshots, differences
from kg.errors import MalformedDocument, NotFound, RequestError, StorageError
from kg.journal import Journal
from kg.library import open_library
from kg.safekeeping import Held, Stage
from kg.terms import Base
from kg.verification import Progress, silent, verify_evidence, verify_journal

_FILE = click.Path(path_type=Path)
_FORCE = "Replace the file if it is there."


@main.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help=_FORCE)
@flags("data")
def backup(settings: Config, file: Path, force: bool) -> None:
    """Write the whole graph with its history into FILE, also while a server runs."""
    with _stages() as stage:
        held = safekeeping.back_up(settings.data, file, force=force, stage=stage)
    click.echo(f"backed up {_told(held)} to {file} ({held.size:,} bytes)", err=True)


@main.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Where there is a graph, move it aside.")
@flags("data")
def restore(settings: Config, file: Path, force: bool) -> None:
    """Put a backup into a data directory. Stop its server first; the file is verified before anything changes."""
    with _stages() as stage:
        held, aside = safekeeping.restore(file, settings.data, force=force, stage=stage)
    if aside is not None:
        click.echo(f"what was there is in {aside}; delete it when you are sure that you do not need it", err=True)
    click.echo(f"restored {_told(held)} from {file}", err=True)


@main.command()
@click.option("--text", type=_FILE, help="Compare an article's evidence with its text in this file, and nothing else.")
@click.option("--article", help="The article of the text: its IRI or its slug.")
@flags("data")
def verify(settings: Config, text: Path | None, article: str | None) -> None:
    """Prove that the graph is what it should be: digests, history, tables, and the index against the journal. Changes nothing."""
    if (text is None) != (article is None):
        raise click.UsageError("--text and --article go together")
    path = settings.data / "journal.sqlite"
    if not path.is_file():
        raise StorageError(f"there is no graph in {settings.data}; name another with --data")
    with contextlib.closing(Journal(path)) as journal:
        if text is not None and article is not None:
            wrong, summary = _verify_text(journal, text, article)
        else:
            wrong, summary = _verify_all(journal, settings)
    if wrong:
        click.echo(f"{wrong} thing{'s' if wrong > 1 else ''} wrong", err=True)
        sys.exit(1)
    click.echo(summary, err=True)


def _verify_text(journal: Journal, file: Path, article: str) -> tuple[int, str]:
    iri = article if "/" in article else journal.base.document("article", article)
    found = journal.read(iri)
    if found is None:
        raise NotFound(f"there is no article {iri} in the graph")
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MalformedDocument(f"{file} is not UTF-8: byte {error.start + 1} cannot be read") from None
    return _tell(verify_evidence(found[0], text)), f"the evidence of {iri} agrees with {file}"


def _verify_all(journal: Journal, settings: Config) -> tuple[int, str]:
    with _stages() as stage:
        wrong = _tell(verify_journal(journal, stage("history")))
        if not settings.engine:
            wrong += _tell(differences(settings.data, journal, stage("index")))
    summary = f"all is well: {journal.count():,} documents at revision {journal.last()}"
    newest = Snapshots(settings.data / "snapshots").newest()
    if settings.engine:
        summary += "; what the server of KG_ENGINE holds was not compared: `kg rebuild` makes it anew"
    elif newest is None:
        summary += "; there is no index yet, the next command that asks makes it"
    elif newest.revision < journal.last():
        summary += f"; the index is at revision {newest.revision} and follows with the next command that asks"
    return wrong, summary


def _tell(findings: Iterator[str]) -> int:
    """Print what is wrong, a line each; how much it was."""
    count = 0
    for finding in findings:
        count += 1
        click.echo("".join(c if c.isprintable() else " " for c in finding))
    return count


@main.command()
@click.argument("new_base")
@click.option("--to", required=True, type=_FILE, help="The new data directory.")
@flags("data")
def rebase(settings: Config, new_base: str, to: Path) -> None:
    """Make a new data directory in which all documents, and their history, are named under NEW_BASE. The old one stays as it is."""
    base = Base(new_base)
    with _stages() as stage:
        held = safekeeping.rebase(settings.data, base, to, stage=stage)
    click.echo(f"{_told(held)} are under {base} in {to}", err=True)


@main.command()
@flags("data")
def rebuild(settings: Config) -> None:
    """Make the index anew from the journal: the one in the data directory or, with KG_ENGINE, what that server has of this base."""
    with open_library(settings, create=False, owner=False) as library:
        revision = library.rebuild()
        click.echo(f"rebuilt from the journal: {library.journal.count()} documents at revision {revision}", err=True)


def _told(held: Held) -> str:
    return f"revision {held.revision} with {held.documents:,} documents"


@contextlib.contextmanager
def _stages() -> Iterator[Stage]:
    """A progress bar for each stage on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda stage: silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def begin(stage: str) -> Progress:
            task = bars.add_task(stage, total=None)
            return lambda done, of: bars.update(task, completed=done, total=of)

        yield begin
