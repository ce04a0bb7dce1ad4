"""`kg history` and `kg diff`: the states of a document, and what changed from one to another.

Hides how they are printed. Promises that no control character from data reaches a terminal as a command.
"""

from __future__ import annotations

import json
import sys

import click

from kg import history as past
from kg.cli.shell import flags, main
from kg.config import Config
from kg.documents import Document
from kg.errors import NotFound, RequestError
from kg.journal import Journal, Revision
from kg.library import open_library

_COLUMNS = ("revision", "time", "change", "agent", "note", "digest")


@main.command()
@click.argument("document")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "tsv", "json"]),
    help="Default: a table on a terminal, else tab-separated values.",
)
@flags("data")
def history(settings: Config, document: str, form: str | None) -> None:
    """List the states of a document, given by its IRI or as actor/russia, oldest first."""
    form = form or ("table" if sys.stdout.isatty() else "tsv")
    with open_library(settings, create=False, owner=False) as library:
        iri = past.document_named(document, library.base)
        revisions = _history(library.journal, iri)
    rows = [
        (str(r.seq), past.stamp(r.time), r.change if r.digest else "withdrawn", r.agent, r.note, r.digest or "")
        for r in revisions
    ]
    if form == "json":
        found = [dict(zip(_COLUMNS, (r.seq, *row[1:]), strict=True)) for r, row in zip(revisions, rows, strict=True)]
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif form == "tsv":
        for row in (_COLUMNS, *rows):
            click.echo("\t".join(map(_shown, row)))
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*_COLUMNS[:-1], box=None, pad_edge=False, header_style="bold", show_edge=False)
        for row in rows:
            table.add_row(*(Text(_shown(cell)) for cell in row[:-1]))
        Console(soft_wrap=False).print(table)


@main.command()
@click.argument("document")
@click.argument("first", metavar="[FROM", required=False, type=click.IntRange(min=0))
@click.argument("last", metavar="[TO]]", required=False, type=click.IntRange(min=1))
@flags("data")
def diff(settings: Config, document: str, first: int | None, last: int | None) -> None:
    """Show what changed in a document, given by its IRI or as actor/russia: from its state before the newest, or at revision FROM,
    to the newest, or at revision TO."""
    with open_library(settings, create=False, owner=False) as library:
        journal, base = library.journal, library.base
        iri = past.document_named(document, base)
        newest = _history(journal, iri)[-1]
        if last is not None and last > journal.last():
            raise NotFound(f"there is no revision {last} yet; the newest is {journal.last()}")
        now = newest if last is None else journal.revision_at(iri, last)
        if first is None:
            first = max(0, now.seq - 1) if now else 0
        if now is not None and last is not None and first > last:
            raise RequestError(f"{first} comes after {last}; exchange them")
        before = journal.revision_at(iri, first) if first else None
        found = past.difference(iri, _content(journal, before), _content(journal, now))
        click.echo(f"--- {past.told(before, iri, base)}")
        click.echo(f"+++ {past.told(now, iri, base)}")
        for line in past.in_words(found, base):
            click.echo(line)


def _history(journal: Journal, iri: str) -> list[Revision]:
    revisions = journal.history(iri)
    if not revisions:
        raise NotFound(f"there never was a document {iri}", document=iri)
    return revisions


def _content(journal: Journal, revision: Revision | None) -> Document | None:
    return None if revision is None else journal.content(revision.seq)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
