"""`kg ask` and `kg.connect`: the questions from the shell and from Python, of a directory or a running service, with the same answers."""

from __future__ import annotations

import csv
import datetime
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas
import pyoxigraph as ox
import pytest
from click.testing import CliRunner, Result
from serving import Server, kg_here, unused_port

import kg as package
from kg import questions
from kg.cli import asking, exit_code, main
from kg.client import Connection, Iri, Rows
from kg.errors import AmbiguousName, InvalidParameter, RequestError, SnapshotGone, StorageError, UnknownQuestion
from kg.questions import catalogue

BASE = "https://kg.example/"
CONTESTED = {"on": "2025-01-01"}


@pytest.fixture(scope="module")
def data(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the seeds, for tests that only read."""
    directory = tmp_path_factory.mktemp("ask") / "data"
    shutil.copytree(seeded_directory, directory)
    return directory


@pytest.fixture(scope="module", params=["directory", "service"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    where = request.getfixturevalue("data") if request.param == "directory" else request.getfixturevalue("served").url
    with package.connect(where) as connected:
        yield connected


def run(*arguments: str | Path) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, ["ask", *map(str, arguments)])


# The shell


def test_list_names_every_question() -> None:
    result = run()
    assert result.exit_code == 0
    listed = dict(line.split("\t") for line in result.stdout.splitlines())
    assert listed == {name: question.summary for name, question in catalogue().items()}


def test_list_of_a_service_is_its_own(served: Server) -> None:
    assert run("--url", served.url).stdout == run().stdout


def test_answer_is_csv_where_nobody_looks(data: Path) -> None:
    result = run("contested", "--on", "2025-01-01", "--data", data)
    assert result.exit_code == 0, result.output
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert rows[0] == list(questions.find("contested").columns)
    assert len(rows) > 1


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "xml", "md", "table"])
def test_directory_and_service_answer_alike_in_every_format(data: Path, served: Server, form: str) -> None:
    arguments = ("contested", "--on=2025-01-01", "--limit", "2", "--format", form)
    here, there = run(*arguments, "--data", data), run(*arguments, "--url", served.url)
    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    assert here.stdout
    assert there.stdout.replace(served.url, BASE) == here.stdout


def test_names_are_understood_and_several_matches_are_told(data: Path) -> None:
    assert run("reversals", "--actor", "RUSSIA", "--data", data).exit_code == 0
    result = run("reversals", "--actor", "russ", "--data", data)
    assert result.exit_code == 2
    assert "Russia (actor/russia)" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["contestd"], 1, "did you mean contested"),
        (["contested", "--on", "soon"], 2, "on is a day"),
        (["contested", "--om", "2025-01-01"], 2, "did you mean on?"),
        (["contested", "--on"], 2, "--on has no value"),
        (["contested", "2025"], 2, "'2025' stands alone"),
        (["contested", "--on", "2025-01-01", "--on", "2025-01-02"], 2, "on is given twice"),
        (["contested", "--limit", "0"], 2, "limit is a whole number"),
        (["contested", "--revision", "1"], 1, "no longer at hand"),
        (["positions"], 2, "proposition is required"),
        (["contested", "--chart", "x.svg"], 1, "has no chart"),
        (["new", "No Slug"], 2, "small letters"),
    ],
)
def test_what_is_wrong_is_said_on_standard_error_with_its_exit_code(
    data: Path, served: Server, arguments: list[str], code: int, why: str
) -> None:
    for where in (["--data", data], ["--url", served.url]):
        result = run(*arguments, *(where if arguments[0] != "new" else []))
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert why in result.stderr


def test_service_that_is_not_there_and_what_is_no_service_are_told(served: Server) -> None:
    result = run("contested", "--url", f"http://127.0.0.1:{unused_port()}/")
    assert (result.exit_code, "cannot be reached" in result.stderr) == (2, True)
    result = run("contested", "--url", f"{served.url}static/")
    assert result.exit_code != 0


def test_help_of_a_question_lists_its_parameters_and_columns() -> None:
    result = run("positions", "--help")
    question = questions.find("positions")
    for word in (*(f"--{name}" for name in question.parameters), *question.columns, question.summary):
        assert word in result.stdout
    assert "kg ask [QUESTION]" in run("--help").stdout


def test_command_as_a_process_ends_clean(data: Path) -> None:
    outcome = kg_here("ask", "contested", "--on", "2025-01-01", "--format", "json", "--data", data)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["question"] == "contested"
    assert not list(data.glob("spool-*"))


def test_no_control_character_of_data_reaches_a_terminal() -> None:
    columns = [{"name": "c", "type": "text"}]
    rows = Rows({"revision": 1, "columns": columns, "rows": [{"c": "\x1b[2Jx\x07"}]})
    result = CliRunner(catch_exceptions=False).isolation()
    with result as (out, *_):
        asking._print(rows)
        assert b"\x1b[2J" not in out.getvalue()
        assert b"x" in out.getvalue()


# Charts

CHARTED = [question for question in catalogue().values() if question.chart]


@pytest.mark.parametrize("question", CHARTED, ids=lambda question: question.id)
def test_chart_is_drawn(data: Path, tmp_path: Path, question: questions.Question) -> None:
    given = [
        word
        for parameter in question.parameters.values()
        if parameter.required and parameter.default is None
        for word in (f"--{parameter.name}", str(parameter.example))
    ]
    result = run(question.id, *given, "--chart", tmp_path / "x.svg", "--data", data)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert (tmp_path / "x.svg").read_text("utf-8").startswith("<svg")


@pytest.mark.skipif(not CHARTED, reason="no question has a chart")
def test_chart_may_be_a_png_and_nothing_else(tmp_path: Path) -> None:
    specification = json.dumps(
        {
            "data": {"name": "rows"},
            "datasets": {"rows": [{"a": 1}, {"a": 2}]},
            "mark": "bar",
            "encoding": {"x": {"field": "a", "type": "quantitative"}},
        }
    ).encode()
    assert asking._drawn(specification, ".png").startswith(b"\x89PNG")
    with pytest.raises(RequestError, match=r"\.svg or \.png"):
        asking._drawn(specification, ".pdf")


# A new question


def test_new_question_can_be_asked_as_it_is_written(tmp_path: Path) -> None:
    result = run("new", "what-was-said", tmp_path)
    assert result.exit_code == 0, result.output
    written = [Path(line) for line in result.stdout.split()]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "queries/what-was-said.rq",
        "tests/questions/what-was-said.csv",
        "tests/questions/what-was-said.near.trig",
    ]
    question = questions.read("what-was-said", (tmp_path / "queries/what-was-said.rq").read_text("utf-8"))
    ox.Store().query(question.bind({"actor": ox.NamedNode(BASE + "actor/russia")}, 10))
    header = (tmp_path / "tests/questions/what-was-said.csv").read_text("utf-8").strip().split(",")
    assert header == list(question.columns)
    store = ox.Store()
    store.load((tmp_path / "tests/questions/what-was-said.near.trig").read_bytes(), ox.RdfFormat.TRIG, base_iri=BASE)
    assert len(store)
    again = run("new", "what-was-said", tmp_path)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


# Python


def test_rows_have_types(connection: Connection) -> None:
    rows = connection.ask("contested", on=datetime.date(2025, 1, 1), limit=5, retracted=False)
    assert rows.columns == tuple(questions.find("contested").columns)
    assert len(rows) == len(list(rows)) > 0
    first = rows[0]
    assert isinstance(first["proposition"], Iri)
    assert first["proposition"].startswith(rows.base)
    assert first["affirmedOn"] == datetime.date(2024, 11, 4)
    assert rows.parameters["on"] == "2025-01-01"
    assert (rows.revision > 0, rows.types["deniedOn"]) == (True, "date")


def test_rows_become_a_data_frame(connection: Connection) -> None:
    rows = connection.ask("first-claim-of-deployment")
    frame = rows.to_pandas()
    assert list(frame.columns) == list(rows.columns)
    assert len(frame) == len(rows)
    assert pandas.api.types.is_datetime64_any_dtype(frame["claimedOn"])
    assert int(frame["days"].iloc[0]) == rows[0]["days"] == 195
    assert connection.ask("contested", on="1900-01-01").to_pandas().empty


def test_evidence_is_told(connection: Connection) -> None:
    rows = connection.ask("positions", proposition="north-korean-troops-on-russian-territory")
    assert rows.evidence == ("quotation",)
    assert rows.meanings["quotation"]


def test_errors_are_those_of_the_service(connection: Connection) -> None:
    with pytest.raises(UnknownQuestion, match="did you mean contested"):
        connection.ask("contestd")
    with pytest.raises(AmbiguousName) as caught:
        connection.ask("reversals", actor="russ")
    assert {match["label"] for match in caught.value.facts["matches"]} >= {"Russia"}
    with pytest.raises(InvalidParameter, match="on is a day"):
        connection.ask("contested", on="soon")
    with pytest.raises(SnapshotGone):
        connection.ask("contested", revision=1)
    assert exit_code(caught.value) == 2


def test_sparql_is_answered_too(connection: Connection) -> None:
    rows = connection.query("SELECT ?s ?n { VALUES (?s ?n) { (actor:russia 3) (UNDEF 4) } } ORDER BY ?n")
    assert isinstance(rows, Rows)
    assert [row["n"] for row in rows] == [3, 4]
    assert isinstance(rows[0]["s"], Iri)
    assert rows[1]["s"] is None
    assert connection.query("ASK { actor:russia a ekg:State }") is True
    graph = connection.query("CONSTRUCT { actor:russia rdfs:label ?l } WHERE { actor:russia rdfs:label ?l }")
    assert isinstance(graph, str)
    assert '"Russia"@en' in graph


def test_catalogue_is_there(connection: Connection) -> None:
    assert {question["id"] for question in connection.questions()} == set(catalogue())


def test_directory_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no graph"):
        package.connect(tmp_path)


def test_package_is_light_until_connect_is_asked_for() -> None:
    code = "import sys, kg; assert 'kg.client' not in sys.modules and 'pyoxigraph' not in sys.modules; kg.connect; assert 'kg.client' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
