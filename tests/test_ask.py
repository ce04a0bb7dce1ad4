"""`kg ask` and `kg.connect`: the questions from the shell and from Python, of a directory or a running service, with the same answers."""

from __future__ import annotations

import csv
import datetime
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest
import rich.cells
from click.testing import CliRunner, Result
from serving import PATIENCE, Server, environment, kg, kg_here, unused_port

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
        (["contested", "--asof", "2025-02-30"], 2, "there is no 2025-02-30 in the calendar"),
        (["contested", "--param", "on"], 2, "--param is followed by NAME=VALUE"),
        (["contested", "--on=2025-01-01", "--param", "on=2025-01-01"], 2, "once for each name"),
        (["contested", "--param", "excel=1"], 2, "there is no parameter 'excel'"),
        (["reversals", "--actor", "\udcff"], 2, "actor has a character that is none"),
        (["CONTESTED"], 1, "did you mean contested"),
        (["voices-of-outlets", "--chart", "x.pdf"], 2, "ends in .svg or .png"),
        (["voices-of-outlets", "--chart", "/nowhere/x.svg"], 3, "/nowhere/x.svg cannot be written"),
        (
            ["voices-of-outlets", "--asof", "1900-01-01", "--chart", "x.svg"],
            2,
            "nothing to draw in this answer: it has no rows",
        ),
        (["contested-since", "--chart", "x.svg"], 2, "none of its 2 rows has latest"),
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


class Impostor(http.server.BaseHTTPRequestHandler):
    """What is no event knowledge graph, and how it fails, by the first part of its address."""

    def do_GET(self) -> None:
        manner = self.path.split("/")[1]
        if manner == "page":
            self.reply(b"<html>", "text/html")
        elif manner == "other":
            self.reply(b"{}", "application/json")
        elif manner == "broken":
            self.reply(b"{", "application/json", 100)
        elif manner == "moved":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
        elif manner == "noise":
            self.wfile.write(b"\x00\x01\r\n\r\n")

    def do_POST(self) -> None:
        self.do_GET()

    def reply(self, body: bytes, media_type: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def impostor() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("manner", "why"),
    [
        ("page", "did not answer as"),
        ("other", "did not answer as"),
        ("broken", "broke off in the middle"),
        ("moved", "answered 302"),
        ("noise", "did not answer as"),
        ("silence", "cannot be reached"),
    ],
)
def test_nothing_of_what_is_no_service_is_taken_for_an_answer(impostor: str, manner: str, why: str) -> None:
    for arguments in ([], ["contested"], ["contested", "--format", "table"], ["contested", "--help"]):
        result = run(*arguments, "--url", impostor + manner)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert why in result.stderr
    with package.connect(impostor + manner) as connection, pytest.raises(RequestError, match=why):
        connection.query("ASK {}")


@pytest.mark.parametrize(
    "address",
    ["ftp://x/", "http://", "http://[x", "http://x:99999/", "http://x/a b", "http://u:p@x/", "http://x/?y=1", "x:80"],
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(RequestError, match="is no address of a service"):
        package.connect(address)
    result = run("contested", "--url", address)
    assert (result.exit_code, "address" in result.stderr) == (2, True)


def test_parameters_may_be_written_as_param_too(data: Path) -> None:
    asked = run("reversals", "--param", "actor=Россия", "--data", data)
    assert asked.exit_code == 0, asked.output
    assert asked.stdout == run("reversals", "--actor", "russia", "--data", data).stdout


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
    if question.id == "contested-since":  # on the seeds nobody knows when; `nothing to draw` is told above
        return
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    drawn = (tmp_path / "x.svg").read_text("utf-8")
    assert drawn.startswith("<svg")
    # A line of no length is drawn by browsers, where its ends are round, and not by what makes PNGs.
    assert not re.search(r'<line aria-label[^>]* x2="0" y2="0"', drawn)


def test_chart_may_be_a_png_and_what_is_not_drawn_is_told(data: Path, tmp_path: Path) -> None:
    arguments = ("force-whereabouts", "--force", "north-korean-troops", "--data", data, "--chart")
    result = run(*arguments, tmp_path / "x.PNG")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "2 of 13 rows are without earliest or latest and not drawn" in result.stderr
    drawn = (tmp_path / "x.PNG").read_bytes()
    assert drawn.startswith(b"\x89PNG")


def test_chart_shows_the_day_that_is_meant_west_of_greenwich(data: Path, tmp_path: Path) -> None:
    arguments = [
        "ask",
        "days-to-admission",
        "--actor",
        "russia",
        "--data",
        str(data),
        "--chart",
        str(tmp_path / "x.svg"),
    ]
    done = kg(*arguments, TZ="America/Los_Angeles")  # a process: a zone is read once
    assert done.code == 0, done.err
    assert "claimed: 16 October 2024" in (tmp_path / "x.svg").read_text("utf-8")


# The terminal

WIDE = [
    {
        "act": "https://kg.example/article/a-rather-long-name-of-an-article#s2",
        "words": "북한군은 쿠르스크에서 싸우고 있다",
        "sure": True,
    },
    {"act": "https://kg.example/article/another#s1", "words": "«Они там»", "sure": False},
]


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_no_cell_is_cut_however_narrow_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    types = {"act": "iri", "words": "text", "sure": "boolean", "none": "empty"}
    columns = [{"name": name, "type": kind} for name, kind in types.items()]
    rows = [{**row, "none": None} for row in WIDE]
    asking._print(Rows({"revision": 7, "base": "https://kg.example/", "columns": columns, "rows": rows}))
    shown, told = capsys.readouterr()
    assert "…" not in shown
    assert all(rich.cells.cell_len(line) <= width for line in shown.splitlines())
    letters = sorted(re.sub(r"\s", "", shown))
    for text in ("article/a-rather-long-name-of-an-article#s2", "북한군은쿠르스크에서싸우고있다", "yes", "no"):
        for letter in text:
            letters.remove(letter)
    assert "none" not in shown
    assert told.strip() == "2 rows at revision 7; empty in all rows: none"


def test_empty_answer_says_what_was_asked_and_why_it_may_be_empty(data: Path) -> None:
    result = run("reversals", "--actor", "ukraine", "--asof", "1900-01-01", "--format", "table", "--data", data)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 rows" in result.stderr
    assert "Asked with actor actor/ukraine, asof 1900-01-01" in result.stderr
    assert "No actor is known to have changed position" in result.stderr


@pytest.mark.parametrize("width", [50, 90])
def test_help_keeps_to_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for question in catalogue():
        assert max(map(len, run(question, "--help").stdout.splitlines())) <= width
    assert all(len(line) < 80 for line in run("--help").stdout.splitlines())


# A new question


#: Where one file more makes a question: its page, its answer, its description, and the query for editors.
ASKED = """
import sys
from kg import config
from kg.library import open_library
from kg.web import create_app

with open_library(config.read({}, data=sys.argv[1], query_processes=1), create=False, owner=True) as library:
    library.settle()
    client = create_app(library).test_client()
    for path in ("questions", "questions/what-was-said", "questions/what-was-said.csv?actor=russia", "openapi.json"):
        response = client.get("/" + path, headers={"Accept": "text/html, */*;q=0.1"})
        assert response.status_code == 200, response.text
        assert "what-was-said" in response.text or "article/" in response.text, path
    assert "ex:what-was-said a sh:SPARQLExecutable" in client.get("/.well-known/sparql-examples").text
"""


def a_tree_without_questions(root: Path) -> dict[str, str]:
    """The source tree at this place, but for its questions and tests; the environment in which it is the one."""
    for name in ("kg", "ontology", "shapes", "seeds"):
        (root / name).symlink_to(Path(__file__).parent.parent / name)
    for name in ("queries", "tests/questions"):
        (root / name).mkdir(parents=True)
    return environment(PYTHONPATH=str(root), PYTHONDONTWRITEBYTECODE="1")


def test_server_with_a_file_that_is_no_question_does_not_start(data: Path, tmp_path: Path) -> None:
    variables = a_tree_without_questions(tmp_path)
    (tmp_path / "queries" / "wrong.rq").write_text("SELECT ?_x_iri { ?s ?p ?o }", "utf-8")
    copied = shutil.copytree(data, tmp_path / "data")
    command = [sys.executable, "-m", "kg.cli", "serve", "--data", copied, "--bind", f"127.0.0.1:{unused_port()}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, "kg: queries/wrong.rq: " in done.stderr) == (2, True), done.stderr


def test_new_question_is_everywhere_and_its_tests_pass(data: Path, tmp_path: Path) -> None:
    """The tests of questions, of the files as they are written, in a tree where it is the only question."""
    root = Path(__file__).parent.parent
    variables = a_tree_without_questions(tmp_path)
    for name in ("test_questions_on_seeds.py", "test_questions_header.py", "test_questions_binding.py"):
        shutil.copy(root / "tests" / name, tmp_path / "tests" / name)
    result = run("new", "what-was-said", tmp_path)
    assert result.exit_code == 0, result.output
    written = [Path(line).relative_to(tmp_path).as_posix() for line in result.stdout.split()]
    assert sorted(written) == [
        "queries/what-was-said.rq",
        "tests/questions/what-was-said.also.trig",
        "tests/questions/what-was-said.near.trig",
        "tests/questions/what-was-said@asof=1900-01-01.also.csv",
        "tests/questions/what-was-said@asof=1900-01-01.csv",
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "what-was-said"]
    tested = subprocess.run(
        [*command, "tests"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed is not None
    assert int(passed[1]) > 15
    copied = shutil.copytree(data, tmp_path / "data")
    for given in (["-c", ASKED, copied], ["-m", "kg.cli", "ask", "what-was-said", "--data", copied]):
        done = subprocess.run(
            [sys.executable, *given], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
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
    assert first["day"] == datetime.date(2024, 10, 16)
    assert rows.parameters["on"] == "2025-01-01"
    assert (rows.revision > 0, rows.types["day"]) == (True, "date")


def test_rows_become_a_data_frame(connection: Connection) -> None:
    rows = connection.ask("first-claim-of-deployment")
    frame = rows.to_pandas()
    assert list(frame.columns) == list(rows.columns)
    assert len(frame) == len(rows)
    assert pandas.api.types.is_datetime64_any_dtype(frame["claimedOn"])
    assert int(frame["days"].iloc[0]) == rows[0]["days"] == 195
    assert connection.ask("contested", on="1900-01-01").to_pandas().empty


def test_data_frame_keeps_whole_numbers_and_truth_where_some_are_missing() -> None:
    columns = [{"name": "n", "type": "integer"}, {"name": "b", "type": "boolean"}, {"name": "d", "type": "date"}]
    rows = [{"n": 1, "b": True, "d": "2025-01-01"}, {"n": None, "b": None, "d": None}]
    frame = Rows({"revision": 1, "columns": columns, "rows": rows}).to_pandas()
    assert [str(kind) for kind in frame.dtypes[:2]] == ["Int64", "boolean"]
    assert pandas.api.types.is_datetime64_any_dtype(frame["d"])
    assert bool(frame.isna().iloc[1].all())


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        Rows({"revision": 1, "columns": [], "rows": []}).to_pandas()


def test_values_of_python_are_those_of_the_question(connection: Connection) -> None:
    april = datetime.date(2025, 4, 1), pandas.Timestamp("2025-04-30T23:00:00")
    rows = connection.ask("changed-between", from_=april[0], until=april[1], retracted=True, limit=3)
    assert {"from": "2025-04-01", "until": "2025-04-30", "retracted": "yes"}.items() <= rows.parameters.items()
    assert connection.ask("contested", on=None).parameters["on"] == questions.find("contested").parameters["on"].default
    for wrong in (["russia"], {"russia"}, b"russia"):
        with pytest.raises(InvalidParameter, match="actor is one value"):
            connection.ask("reversals", actor=wrong)
    with pytest.raises(InvalidParameter, match="actor has a character that is none"):
        connection.ask("reversals", actor="\ud800")
    for name in ("../sparql", "reversals.csv", ""):
        with pytest.raises(UnknownQuestion):
            connection.ask(name)


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
