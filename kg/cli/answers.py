"""`kg query` and `kg export`: what the graph says, on standard output.

Hides how answers are printed. Promises that no control character from data reaches a terminal as a command.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import IO

import click
import pyoxigraph as ox

from kg import documents
from kg.cli.shell import flags, main
from kg.config import Config
from kg.engine import Answer, Query
from kg.errors import RequestError
from kg.library import open_library
from kg.terms import Base, shorten


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
@flags("data", "query_timeout", "query_memory", "result_limit")
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
        if answer.format in ("xml", "rdf"):
            from kg.web.negotiation import require_xml_answer  # the web side takes a third of a second to import

            require_xml_answer(answer)
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
@flags("data")
def export(settings: Config, form: str) -> None:
    """Write every document, a graph each, to standard output."""
    syntax = documents.TRIG if form == "trig" else documents.N_QUADS
    with open_library(settings, create=False, owner=False) as library:
        for _, document in library.journal.current():
            if document is not None:
                sys.stdout.buffer.write(documents.serialize(document, syntax, library.base))
        sys.stdout.buffer.flush()
