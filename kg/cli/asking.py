"""`kg ask`: the questions of the catalogue, from the shell, of a data directory or a running service.

Hides how parameters of a question become flags. Promises the answer whole on standard output, and no control character from data
on a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kg import assets, questions
from kg.cli.shell import flags, main
from kg.client import Iri, Rows, connect
from kg.config import Config
from kg.errors import InvalidParameter, RequestError, StorageError
from kg.terms import SLUG, Base, shorten


@main.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("question", required=False)
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
@click.option("--format", "form", type=click.Choice(["table", "csv", "tsv", "json", "xml", "md"]))
@click.option("--chart", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--url")
@click.option("-h", "--help", "wants_help", is_flag=True)
@flags("data")
def ask(
    settings: Config,
    question: str | None,
    rest: Sequence[str],
    form: str | None,
    chart: Path | None,
    url: str | None,
    wants_help: bool,
) -> None:
    """Ask a question of the catalogue: `kg ask` lists them."""
    if question == "new" and not wants_help:
        _new(rest)
        return
    if wants_help:
        click.echo(_HELP if question in (None, "new") else _interface(questions.find(str(question))))
        return
    if question is None:
        _list(connect(url).questions() if url else [question.as_json() for question in questions.search()])
        return
    given = _parameters(rest)
    with connect(url or settings.data) as connection:
        if chart is not None:
            chart.write_bytes(_drawn(connection.write(question, "vl.json", given), chart.suffix))
        form = form or ("table" if sys.stdout.isatty() else None if chart else "csv")
        if form == "table":
            _print(Rows(json.loads(connection.write(question, "json", given))))
        elif form is not None:
            sys.stdout.buffer.write(connection.write(question, form, given))
            sys.stdout.buffer.flush()


_HELP = """Usage: kg ask [QUESTION] [--PARAMETER VALUE]... [OPTIONS]

  Ask a question of the catalogue; without one, list them all. `kg ask QUESTION --help` tells what it can be given.
  `kg ask new ID` writes a new question to begin with, and its tests.

Options:
  --format [table|csv|tsv|json|xml|md]  Default: a table on a terminal, else CSV.
  --chart FILE                          Draw the answer into FILE, .svg or .png, where the question has a chart.
  --limit N                             Rows at most.
  --revision N                          Answer from that revision of the graph, while it is at hand.
  --data DIRECTORY                      The data directory to ask [KG_DATA; default data].
  --url ADDRESS                         A running service to ask instead.
  -h, --help                            Show this message and exit."""


def _parameters(rest: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value` as a mapping. Raises `InvalidParameter`."""
    given: dict[str, str] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise InvalidParameter(f"{word!r} stands alone; parameters are written --name value", parameter=word)
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not words:
                raise InvalidParameter(f"--{name} has no value", parameter=name)
            value = words.pop(0)
        if name in given:
            raise InvalidParameter(f"{name} is given twice; give it once", parameter=name)
        given[name] = value
    return given


def _list(found: Sequence[Mapping[str, Any]]) -> None:
    if not sys.stdout.isatty():
        for question in found:
            click.echo(f"{question['id']}\t{question['summary']}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("question", "what it asks", box=None, pad_edge=False, header_style="bold")
    for question in found:
        table.add_row(_printable(question["id"]), _printable(question["summary"]))
    Console().print(table)
    click.echo("`kg ask QUESTION --help` tells what a question can be given.", err=True)


def _interface(question: questions.Question) -> str:
    lines = [question.summary, "", question.description, ""]
    for parameter in question.parameters.values():
        needed = parameter.required and parameter.default is None
        kind = " or ".join(parameter.kinds) or {"literal": "text"}.get(parameter.type, parameter.type)
        facts = [kind, "required" if needed else f"default {parameter.default}" if parameter.default else "optional"]
        facts += [f"one of {', '.join(parameter.choices)}"] if parameter.choices else []
        facts += [f"such as {parameter.example}"] if parameter.example else []
        lines.append(f"  --{parameter.name}  {parameter.help} [{'; '.join(facts)}]".replace("  [", " ["))
    lines += [f"  --limit  Rows at most. [integer; default {question.limit}]", "", "Columns:"]
    lines += [f"  {name}  {meaning}" for name, meaning in question.columns.items()]
    return "\n".join(lines)


#: Columns narrower than this are no table that anybody reads; then each row is a list of its own.
_NARROW = 14


def _print(rows: Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    base = Base(rows.base) if rows.base else None
    console = Console(soft_wrap=False)
    cells = [
        [
            _printable("" if cell is None else shorten(cell, base) if isinstance(cell, Iri) else str(cell))
            for cell in row.values()
        ]
        for row in rows
    ]
    if len(rows.columns) * _NARROW <= console.width:
        table = Table(*rows.columns, box=None, pad_edge=False, header_style="bold", show_edge=False)
        for line in cells:
            table.add_row(*map(Text, line))
        console.print(table)
    else:
        for line in cells:
            table = Table("", "", box=None, pad_edge=False, show_header=False, show_edge=False)
            for name, text in zip(rows.columns, line, strict=True):
                if text:
                    table.add_row(Text(name, style="bold"), Text(text))
            console.print(table, "")
    more = "" if rows.complete else "; there are more, raise --limit"
    click.echo(f"{len(rows)} row{'s' * (len(rows) != 1)} at revision {rows.revision}{more}", err=True)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _drawn(specification: bytes, suffix: str) -> bytes:
    """A Vega-Lite specification as an image. Raises `RequestError` where that cannot be."""
    try:
        import vl_convert
    except ImportError:
        raise RequestError("charts need vl-convert-python: pip install 'event-knowledge-graph[chart]'") from None
    # The rows are in the specification: nothing may be fetched.
    if suffix.lower() == ".svg":
        svg: str = vl_convert.vegalite_to_svg(specification.decode(), allowed_base_urls=[])
        return svg.encode()
    if suffix.lower() == ".png":
        png: bytes = vl_convert.vegalite_to_png(specification.decode(), scale=2, allowed_base_urls=[])
        return png
    raise RequestError(f"a chart is drawn into a file that ends in .svg or .png, not {suffix or 'nothing'}")


# A new question

_QUERY = """\
#+ summary: What did this actor say?
#+ description: |
#+   Each act of the actor, with the article that reports it.
#+
#+   What counts and what does not: say it here, with the boundary cases that the tests show.
#+ tags: [new]
#+ endpoint_in_url: False
#+ parameters:
#+   actor: {kind: actor, help: Who speaks., example: russia}
#+ columns:
#+   act: the act
#+   article: the article that reports it
#+   quotation: the article's words for it
#+ evidence: [quotation]
#+ empty: The actor is not known to have said anything by that day.

PREFIX ekg:    <https://w3id.org/ekg/ns#>
PREFIX oa:     <http://www.w3.org/ns/oa#>
PREFIX schema: <https://schema.org/>

SELECT DISTINCT ?act ?article ?quotation
WHERE {
  ?act ekg:speaker ?_actor_iri ;
       ekg:reportedIn ?article ;
       ekg:evidence/oa:hasSelector/oa:exact ?quotation .
  OPTIONAL { ?article schema:datePublished ?published }
  FILTER(COALESCE(SUBSTR(STR(?published), 1, 10), "9999-12-31") <= COALESCE(STR(?__asof_date), "9999-12-31"))
  FILTER(COALESCE(STR(?__retracted_boolean), "false") = "true" || NOT EXISTS { ?article ekg:retractedAt ?withdrawn })
}
ORDER BY STR(?act) ?quotation
"""

_NEAR = """\
# Documents that almost match: added to the seeds they change nothing in the answer.
@prefix ekg:    <https://w3id.org/ekg/ns#> .
@prefix rdfs:   <http://www.w3.org/2000/01/rdf-schema#> .

GRAPH <actor/near-neighbour> {
  <actor/near-neighbour> a ekg:State, ekg:Actor ; rdfs:label "Near neighbour"@en .
}
"""


def _new(rest: Sequence[str]) -> None:
    """Write the files of a new question into the source tree, or under the directory that is named."""
    if not rest or len(rest) > 2 or not SLUG.fullmatch(rest[0]) or rest[0] == "new":
        raise RequestError(
            "kg ask new ID [DIRECTORY]: an id is small letters, digits and hyphens, such as first-denial"
        )
    name = rest[0]
    root = Path(rest[1]) if len(rest) == 2 else assets.folder("queries").parent
    written = {
        root / "queries" / f"{name}.rq": _QUERY,
        root / "tests" / "questions" / f"{name}.csv": "act,article,quotation\n",
        root / "tests" / "questions" / f"{name}.near.trig": _NEAR,
    }
    there = [path for path in written if path.exists()]
    if there:
        raise RequestError(f"{there[0]} is there already")
    try:
        for path, text in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            click.echo(path)
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}") from None
    click.echo("Now write the query, and into the .csv the rows that are right on the seeds.", err=True)
