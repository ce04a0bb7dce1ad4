"""`kg ask`: the questions of the catalogue, from the shell, of a data directory or a running service.

Hides how parameters of a question become flags. Promises the answer whole on standard output, and no control character from data
on a terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kg import assets, questions
from kg.cli.shell import flags, main
from kg.client import Cell, Iri, Rows, connect
from kg.config import Config
from kg.errors import InvalidParameter, RequestError, StorageError
from kg.tables import drawn_of
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
    if url is not None and "://" not in url:
        raise RequestError(f"--url is the address of a service, such as http://localhost:8000/; got {url[:200]!r}")
    if wants_help and question in (None, "new"):
        click.echo(_HELP)
        return
    if wants_help or question is None:
        known = connect(url).questions() if url else [it.as_json() for it in questions.search()]
        # What another service has is found there, and what nobody has is refused as always.
        its = [it for it in known if it["id"] == question]
        if question is None:
            _list(known)
        else:
            click.echo(_interface(its[0] if its else questions.find(question).as_json()))
        return
    if chart is not None and chart.suffix.lower() not in (".svg", ".png"):
        raise RequestError(f"a chart is drawn into a file that ends in .svg or .png, not {chart.suffix or 'nothing'}")
    given = _parameters(rest)
    with connect(url or settings.data) as connection:
        if chart is not None:
            _draw(connection.write(question, "vl.json", given), chart)
        form = form or ("table" if sys.stdout.isatty() else None if chart else "csv")
        if form == "table":
            _print(connection.read(question, given))
        elif form is not None:
            sys.stdout.buffer.write(connection.write(question, form, given))
            sys.stdout.buffer.flush()


_HELP = """Usage: kg ask [QUESTION] [--PARAMETER VALUE]... [OPTIONS]

  Ask a question of the catalogue; without one, list them all. `kg ask QUESTION
  --help` tells what it can be given. `kg ask new ID` writes a new question to
  begin with, and its tests.

Options:
  --PARAMETER VALUE  One of the question's own; also --param PARAMETER=VALUE.
  --limit N          Rows at most.
  --revision N       Answer from that revision of the graph, while at hand.
  --format FORM      table, csv, tsv, json, xml or md. Default: a table on a
                     terminal, else CSV.
  --chart FILE       Draw the answer into FILE, .svg or .png, where the
                     question has a chart.
  --data DIRECTORY   The data directory to ask [KG_DATA; default data].
  --url ADDRESS      A running service to ask instead.
  -h, --help         Show this message and exit."""


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
        if name == "param":
            name, equals, value = value.partition("=")
            if not equals or name in given:
                raise InvalidParameter("--param is followed by NAME=VALUE, once for each name", parameter=name)
        given[name] = value
    return given


def _list(found: Sequence[Mapping[str, Any]]) -> None:
    if not sys.stdout.isatty():
        for question in found:
            click.echo(f"{question['id']}\t{question['summary']}")
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("question", no_wrap=True),
        Column("what it asks", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for question in found:
        table.add_row(_printable(question["id"]), _printable(question["summary"]))
    Console().print(table)
    click.echo("`kg ask QUESTION --help` tells what a question can be given.", err=True)


def _interface(question: Mapping[str, Any]) -> str:
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)

    def filled(text: str, before: str = "") -> str:
        text = " ".join(_printable(text).split())
        hang = " " * 6 if before else ""
        return textwrap.fill(text, width, initial_indent=before, subsequent_indent=hang, break_on_hyphens=False)

    lines = [filled(question["summary"]), ""]
    for paragraph in question["description"].split("\n\n"):
        lines += [filled(paragraph), ""]
    for parameter in question["parameters"]:
        needed, default = parameter["required"], parameter["default"]
        kind = " or ".join(parameter["kinds"]) or {"literal": "text"}.get(parameter["type"], parameter["type"])
        facts = [kind, "required" if needed else f"default {default}" if default else "optional"]
        facts += [f"one of {', '.join(parameter['choices'])}"] if parameter["choices"] else []
        facts += [f"such as {parameter['example']}"] if parameter["example"] else []
        lines.append(filled(f"{parameter['help']} [{'; '.join(facts)}]", f"  --{parameter['name']}  "))
    lines += [f"  --limit  Rows at most. [integer; default {question['limit']}]", "", "Columns:"]
    lines += [filled(column["meaning"], f"  {column['name']}  ") for column in question["columns"]]
    return "\n".join(lines)


#: Columns narrower than this are no table that anybody reads; then each row is a list of its own.
_NARROW = 14


def _print(rows: Rows) -> None:
    """Whole cells, however narrow the terminal: what is too long for its line goes on in the next. Columns without values are left out."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    base = Base(rows.base) if rows.base else None
    console = Console(soft_wrap=False)
    names = [name for name in rows.columns if any(row[name] is not None for row in rows)]
    cells = [[_printable(_cell(row[name], base)) for name in names] for row in rows]
    if len(names) * _NARROW <= console.width:
        columns = [Column(name, overflow="fold") for name in names]
        table = Table(*columns, box=None, pad_edge=False, header_style="bold", show_edge=False)
        for line in cells:
            table.add_row(*map(Text, line))
        if names:
            console.print(table)
    else:
        for line in cells:
            table = Table(
                Column(no_wrap=True),
                Column(overflow="fold"),
                box=None,
                pad_edge=False,
                show_header=False,
                show_edge=False,
            )
            for name, text in zip(names, line, strict=True):
                if text:
                    table.add_row(Text(name, style="bold"), Text(text))
            console.print(table, "")
    more = "" if rows.complete else "; there are more, raise --limit"
    empty = [name for name in rows.columns if name not in names] if rows else []
    none = f"; empty in all rows: {', '.join(empty)}" if empty else ""
    click.echo(f"{len(rows)} row{'s' * (len(rows) != 1)} at revision {rows.revision}{more}{none}", err=True)
    if not rows:
        asked = ", ".join(f"{name} {value}" for name, value in rows.parameters.items())
        click.echo(_printable(f"Asked{f' with {asked}' if asked else ''}. {rows.empty}".strip()), err=True)


def _cell(cell: Cell, base: Base | None) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else shorten(cell, base) if isinstance(cell, Iri) else str(cell)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _draw(specification: bytes, path: Path) -> None:
    """A chart into a file, .svg or .png. Raises `RequestError` where it cannot be drawn, `StorageError` where it cannot be written."""
    try:
        import vl_convert
    except ImportError:
        raise RequestError("charts need vl-convert-python: pip install 'event-knowledge-graph[chart]'") from None
    shown = drawn_of(json.loads(specification))
    if not shown.drawn:
        why = f"none of its {shown.rows} rows has {' and '.join(shown.needs)}" if shown.rows else "it has no rows"
        raise RequestError(f"there is nothing to draw in this answer: {why}")
    text = specification.decode()
    # The rows are in the specification: nothing may be fetched.
    if path.suffix.lower() == ".svg":
        drawn: bytes = vl_convert.vegalite_to_svg(text, allowed_base_urls=[]).encode()
    else:
        drawn = vl_convert.vegalite_to_png(text, scale=2, allowed_base_urls=[])
    try:
        path.write_bytes(drawn)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from None
    if shown.drawn < shown.rows:
        left = shown.rows - shown.drawn
        click.echo(f"{left} of {shown.rows} rows are without {' or '.join(shown.needs)} and not drawn", err=True)


# A new question

#: The files of a new question: its query, and its tests, which pass. They hold at whatever the seeds say, since nothing in those was
#: published so long ago.
_TEMPLATE = {
    "queries/{id}.rq": """\
#+ summary: What has been said, by whom and in which article?
#+ description: |
#+   Each act, with its speaker and the article that reports it, the earliest first.
#+
#+   What counts and what does not: say it here, with the boundary cases that the tests show.
#+ tags: [new]
#+ endpoint_in_url: False
#+ parameters:
#+   actor: {kind: actor, help: only what this actor said, example: russia}
#+ columns:
#+   speaker: who speaks
#+   speakerName: the speaker's name in English
#+   act: the act
#+   article: the article that holds the act
#+   outlet: the outlet's name, or its address where it has no English one; empty if unknown
#+   published: the day the article was published; empty if unknown
#+   quotation: the article's words for the act
#+ evidence: [quotation]
#+ empty: Nobody is known to have said anything by that day.

PREFIX ekg:    <https://w3id.org/ekg/ns#>
PREFIX oa:     <http://www.w3.org/ns/oa#>
PREFIX rdfs:   <http://www.w3.org/2000/01/rdf-schema#>
PREFIX schema: <https://schema.org/>
PREFIX xsd:    <http://www.w3.org/2001/XMLSchema#>

SELECT DISTINCT ?speaker ?speakerName ?act ?article ?outlet ?published ?quotation
WHERE {
  # The limit cuts nothing off: kg/questions.py, rule 1.
  {
    SELECT *
    WHERE {
      ?act ekg:speaker ?__actor_iri , ?speaker ;
           ekg:reportedIn ?article ;
           ekg:evidence/oa:hasSelector/oa:exact ?quotation .
    }
    LIMIT 1000000000
  }
  OPTIONAL { ?article schema:datePublished ?articleDated }
  FILTER(COALESCE(SUBSTR(STR(?articleDated), 1, 10), "9999-12-31")
         <= COALESCE(STR(?__asof_date), "9999-12-31"))
  FILTER(COALESCE(STR(?__retracted_boolean), "false") = "true"
         || NOT EXISTS { ?article ekg:retractedAt ?articleWithdrawn })
  OPTIONAL { ?speaker rdfs:label ?speakerName FILTER(LANG(?speakerName) = "en") }
  OPTIONAL {
    ?article schema:publisher ?outletIs
    OPTIONAL { ?outletIs rdfs:label ?outletName FILTER(LANG(?outletName) = "en") }
  }
  BIND(COALESCE(STR(?outletName), STR(?outletIs)) AS ?outlet)
  BIND(STRDT(SUBSTR(STR(?articleDated), 1, 10), xsd:date) AS ?published)
}
ORDER BY STR(?published) STR(?act) STR(?speaker) ?outlet ?quotation
""",
    "tests/questions/{id}@asof=1900-01-01.csv": """\
speaker,speakerName,act,article,outlet,published,quotation
""",
    "tests/questions/{id}@asof=1900-01-01.also.csv": """\
speaker,speakerName,act,article,outlet,published,quotation
https://kg.example/actor/ukraine,Ukraine,https://kg.example/article/also-in-time#s1,https://kg.example/article/also-in-time,Reuters,1900-01-01,made up
""",
    "tests/questions/{id}.also.trig": """\
# Documents that match: added to the seeds they give the rows of the .also.csv.
@prefix ekg:         <https://w3id.org/ekg/ns#> .
@prefix schema:      <https://schema.org/> .
@prefix oa:          <http://www.w3.org/ns/oa#> .
@prefix rdfs:        <http://www.w3.org/2000/01/rdf-schema#> .
@prefix xsd:         <http://www.w3.org/2001/XMLSchema#> .
@prefix actor:       <actor/> .
@prefix article:     <article/> .
@prefix proposition: <proposition/> .

article:also-in-time {
    article:also-in-time a ekg:Article ;
        rdfs:label "also-in-time"@en ;
        schema:publisher actor:reuters ;
        schema:datePublished "1900-01-01"^^xsd:date .

    <article/also-in-time#s1> a ekg:Claim , ekg:SpeechAct , ekg:Event ;
        ekg:speaker actor:ukraine ;
        ekg:content proposition:north-korean-troops-on-russian-territory ;
        ekg:stance ekg:Affirms ;
        ekg:voice ekg:Attributed ;
        ekg:reportedIn article:also-in-time ;
        ekg:evidence <article/also-in-time#e1> .
    <article/also-in-time#e1> a ekg:Evidence ;
        oa:hasSource article:also-in-time ;
        oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "made up" ] .
}
""",
}
_TEMPLATE["tests/questions/{id}.near.trig"] = (
    _TEMPLATE["tests/questions/{id}.also.trig"]
    .replace("match: added to the seeds they give the rows of the .also.csv.", "almost match: they change no answer.")
    .replace("also-in-time", "near-day-late")
    .replace("1900-01-01", "1900-01-02")
)


def _new(rest: Sequence[str]) -> None:
    """Write the files of a new question into the source tree, or under the directory that is named."""
    if not rest or len(rest) > 2 or not SLUG.fullmatch(rest[0]) or rest[0] == "new":
        raise RequestError(
            "kg ask new ID [DIRECTORY]: an id is small letters, digits and hyphens, such as first-denial"
        )
    name = rest[0]
    root = Path(rest[1]) if len(rest) == 2 else assets.folder("queries").parent
    written = {root / path.format(id=name): text for path, text in _TEMPLATE.items()}
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
    click.echo(
        "It can be asked, and its tests pass: pytest tests/test_questions_on_seeds.py -k " + name + "\n"
        "Now write the query, and into .csv files the rows that are right: on the seeds, with .also.trig, and with .near.trig,\n"
        "whose documents almost match.",
        err=True,
    )
