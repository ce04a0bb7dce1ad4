"""The command `kg`, run as a person or a script runs it: what it prints where, how it ends, and what it leaves running."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from generate import Act
from serving import (
    ENDLESS,
    PATIENCE,
    ROOT,
    Server,
    environment,
    kg,
    kg_here,
    processes,
    state_of,
    until,
    unused_port,
)

from kg import cli
from kg.config import SETTINGS
from kg.errors import KgError

Serve = Callable[..., Server]

ORGANIZATION = generate.actor("staff")
EVENT = generate.event("march")
PROPOSITION = generate.proposition("they-marched", "event/march")
SPEECH = generate.article("speech", [Act("staff", ("they-marched",))])
STORY = (ORGANIZATION, EVENT, PROPOSITION, SPEECH)
WRONG = generate.proposition("wrong", "event/nowhere")
COUNT = "SELECT (COUNT(*) AS ?n) WHERE { ?s a ekg:Admission }"

#: Arguments by which a command makes a directory for the base that the generated documents have.
BASE = ("--base", "https://kg.example/")


@pytest.fixture(scope="module")
def data(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the seeds, for commands that only read."""
    return Path(shutil.copytree(seeded_directory, tmp_path_factory.mktemp("cli") / "data"))


@pytest.fixture(scope="module")
def admissions(data: Path) -> int:
    """How many admissions the seeds hold, counted in the documents themselves."""
    exported = kg_here("export", "--format", "nquads", "--data", data).out
    return len(re.findall(r"#type> <https://w3id\.org/ekg/ns#Admission>", exported))


def write(directory: Path, *texts: generate.Text) -> list[Path]:
    return [text.write(directory) for text in texts]


def on_terminal(*arguments: str | Path, **variables: str) -> tuple[int, str]:
    """Run a command with a terminal of 200 columns; the exit code and what the terminal showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kg.cli", *map(str, arguments)],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment(COLUMNS="200", TERM="xterm", **variables),
        close_fds=True,
    )
    os.close(child)
    shown = b""
    deadline = time.monotonic() + PATIENCE
    try:
        while select.select([parent], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                piece = os.read(parent, 65_536)
            except OSError:  # how Linux says that nobody holds the other end any more
                break
            if not piece:
                break
            shown += piece
        return process.wait(max(1, deadline - time.monotonic())), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(parent)


# Exit codes and help


def test_every_kind_of_error_has_an_exit_code() -> None:
    assert {cli.exit_code(kind("")) for kind in KgError.tree() if kind.__name__ != "Rejected"} == {1, 2, 3, 4}


def test_help_of_the_server_shows_every_setting_with_its_variable_and_default() -> None:
    shown = " ".join(kg("serve", "--help").out.split())
    for setting in SETTINGS:
        if setting.secret:  # a secret on a command line is shown to everyone by ps
            assert setting.help not in shown
            continue
        assert f"--{setting.name.replace('_', '-')} VALUE" in shown
        assert setting.help in shown
        assert f"[{setting.variable}{f'; default {setting.default}' if setting.default else ''}]" in shown


@pytest.mark.parametrize("command", ["load", "check", "query", "export"])
def test_help_of_a_command_shows_the_settings_it_takes(command: str) -> None:
    outcome = kg_here(command, "-h")
    assert outcome.code == 0
    assert "KG_DATA" in outcome.out
    flags = set(re.findall(r"--([a-z-]+)", outcome.out))
    variables = set(re.findall(r"\[KG_([A-Z_]+)", outcome.out))
    assert {name.lower().replace("_", "-") for name in variables} <= flags


def test_help_lists_every_command() -> None:
    shown = kg_here("--help").out
    assert set(cli.main.commands) == set(re.findall(r"^  (\w+)  ", shown, re.MULTILINE))
    assert kg_here("--version").out.startswith("kg, version ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "No such command"),
        (("load",), "Missing argument"),
        (("query",), "give a query, or -f FILE"),
        (("query", "ASK {}", "-f", "-"), "give a query, or -f FILE"),
        (("query", "ASK {}", "--format", "excel"), "'excel' is not one of"),
        (("serve", "--bind", "nowhere"), "KG_BIND must be HOST:PORT"),
        (("serve", "--query-timeout", "soon"), "KG_QUERY_TIMEOUT"),
        (("load", "x.ttl", "--document-limit", "much"), "KG_DOCUMENT_LIMIT must be a number of bytes"),
        (("load", "x.ttl", "--base", "example.org"), "the base must be an http or https IRI"),
    ],
)
def test_a_command_that_makes_no_sense_ends_with_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    run = kg if arguments[0] == "serve" else kg_here
    outcome = run(*arguments, cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_variable_is_an_error_for_every_command(tmp_path: Path) -> None:
    for command in (["query", "ASK {}"], ["export"], ["load", "x.ttl"], ["check", "x.ttl"], ["serve"]):
        run = kg if command == ["serve"] else kg_here
        outcome = run(*command, cwd=tmp_path, KG_QUERY_TIMEOUTS="5")
        assert outcome.code == 2, command
        assert "KG_QUERY_TIMEOUTS is not a setting; there are KG_BASE, " in outcome.err


def test_a_flag_goes_before_a_variable_and_a_variable_before_the_default(data: Path, tmp_path: Path) -> None:
    assert kg_here("query", "ASK {}", cwd=tmp_path).code == 3
    assert kg_here("query", "ASK {}", cwd=tmp_path, KG_DATA=str(data)).out == "true"
    assert kg_here("query", "ASK {}", "--data", data, cwd=tmp_path, KG_DATA="nowhere").out == "true"
    assert kg_here("query", "ASK {}", cwd=data.parent).out == "true"


@pytest.mark.parametrize("command", [["query", "ASK {}"], ["export"]])
def test_a_directory_without_a_graph_ends_with_3(tmp_path: Path, command: list[str]) -> None:
    outcome = kg_here(*command, "--data", tmp_path / "nothing")
    assert (outcome.code, outcome.out) == (3, "")
    assert "there is no graph in" in outcome.err
    assert not (tmp_path / "nothing").exists()


def test_a_journal_that_is_none_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"something else entirely" * 100)
    outcome = kg_here("query", "ASK {}", "--data", tmp_path)
    assert (outcome.code, outcome.out) == (3, "")
    assert "is not a journal of this service" in outcome.err
    assert "Traceback" not in outcome.err


# load


def test_load_writes_and_says_what_it_did(tmp_path: Path) -> None:
    write(tmp_path / "files", *STORY)
    outcome = kg("load", tmp_path / "files", "--data", tmp_path / "data", *BASE)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == ("committed revision 4 (4 documents)\n4 recorded, 0 unchanged; the graph is at revision 4\n")
    again = kg("load", tmp_path / "files", "--data", tmp_path / "data")
    assert (again.code, again.out) == (0, "")
    assert again.err == "0 recorded, 4 unchanged; the graph is at revision 4; nothing changed\n"


def test_load_goes_on_past_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    paths = write(tmp_path, *STORY, WRONG)
    outcome = kg_here("load", *reversed(paths), "--data", tmp_path / "data", *BASE)
    assert (outcome.code, outcome.out) == (1, "")
    opens = WRONG.turtle.splitlines().index("<proposition/wrong> a ekg:Proposition ;") + 1
    lines = outcome.err.splitlines()
    assert lines[0] == "committed revision 4 (4 documents)"
    assert any(
        line.startswith(f"{paths[-1]}:{opens}: proposition/wrong ekg:about: This reference leads nowhere")
        for line in lines
    )
    assert lines[-1] == "4 recorded, 0 unchanged, 1 not taken (told above); the graph is at revision 4"


def test_load_of_what_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttl"
    broken.write_text("no Turtle", encoding="utf-8")
    outcome = kg_here("load", broken, tmp_path / "missing.ttl", "--data", tmp_path / "data", *BASE)
    assert (outcome.code, outcome.out) == (2, "")
    first, second, last = outcome.err.splitlines()
    assert first.startswith(f"{broken}:1:")
    assert second == f"{tmp_path / 'missing.ttl'}: it cannot be read: No such file or directory"
    assert last == "0 recorded, 0 unchanged, 2 not taken (told above); the graph is at revision 0; nothing changed"


def test_strict_load_writes_nothing_and_still_tells_file_and_line(tmp_path: Path) -> None:
    write(tmp_path / "files", *STORY, WRONG)
    outcome = kg_here("load", "--strict", tmp_path / "files", "--data", tmp_path / "data", *BASE)
    assert outcome.code == 1
    assert f"{tmp_path / 'files' / WRONG.path}:" in outcome.err
    assert "0 recorded" in outcome.err
    assert kg_here("query", "ASK { ?s ?p ?o }", "--data", tmp_path / "data").out == "false"


def test_load_of_a_directory_without_rdf_says_so(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "notes.txt").write_text("nothing")
    outcome = kg_here("load", tmp_path / "files", "--data", tmp_path / "data")
    assert outcome.code == 2
    assert f"there is no file of RDF in {tmp_path / 'files'}" in outcome.err
    assert not (tmp_path / "data").exists()


def test_load_keeps_to_the_base_of_the_directory(tmp_path: Path) -> None:
    (path,) = write(tmp_path, ORGANIZATION)
    assert kg_here("load", path, "--data", tmp_path / "data", *BASE).code == 0
    outcome = kg_here("load", path, "--data", tmp_path / "data", "--base", "https://other.example/")
    assert outcome.code == 2
    assert "was created for the base https://kg.example/, not for https://other.example/" in outcome.err


def test_load_shows_its_progress_on_a_terminal_and_leaves_only_words(tmp_path: Path) -> None:
    generate.write(tmp_path / "files", 20)
    code, shown = on_terminal("load", tmp_path / "files", "--data", tmp_path / "data", *BASE)
    assert code == 0
    assert "reading" in shown
    assert "━" in shown
    assert "20/20" in shown
    assert "committed revision 20 (20 documents)" in shown
    assert "20 recorded, 0 unchanged; the graph is at revision 20" in shown


def test_interrupting_a_load_leaves_whole_batches_and_no_process(tmp_path: Path) -> None:
    generate.write(tmp_path / "files", 2000)
    mark = "interrupted-load"
    # Whoever starts the tests in the background of a script has them ignore Ctrl-C, and what they start.
    script = """import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
from kg import cli, loading; loading.BATCH = 20; cli.main()"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, "load", tmp_path / "files", "--data", tmp_path / "data", *BASE],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(mark),
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("committed revision 2")
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to all of its processes at once
        rest = process.stderr.read()
        assert process.wait(PATIENCE) == 1
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in rest, rest
    until(lambda: not processes(mark), "no process of the load is left", 10)
    ends = [int(number) for number in re.findall(r"committed revision (\d+)", first + rest)]
    assert max(row[0] for row in state_of(tmp_path / "data")["revision"]) == ends[-1] < 2000


# load beside a server


def test_what_is_loaded_beside_a_server_is_served_when_the_command_ends(
    serve: Serve, seeded_directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = serve()
    query = 'SELECT ?label WHERE { ?actor rdfs:label ?label FILTER (STRSTARTS(?label, "loaded")) } ORDER BY ?label'
    for number in range(1, 4):
        generate.actor(f"late-{number}", label=f"loaded {number}").write(tmp_path / "files")
        assert kg("load", tmp_path / "files", "--data", server.data).code == 0
        expected = "label\r\n" + "".join(f"loaded {n}\r\n" for n in range(1, number + 1))
        assert server.sparql(query).text == expected
        page = server.get(f"actor/late-{number}.ttl")
        assert (page.status, f"loaded {number}" in page.text) == (200, True)
    assert kg("query", query, "--data", server.data).out == expected


# check


def test_check_says_what_to_mend_and_where(tmp_path: Path) -> None:
    paths = write(tmp_path, *STORY, WRONG)
    outcome = kg("check", *paths, *BASE, cwd=tmp_path)
    assert outcome.code == 1
    assert outcome.err == "4 of 5 documents conform\n"
    assert all(line.startswith(f"{paths[-1]}:") for line in outcome.out.splitlines())
    assert "ekg:about: This reference leads nowhere. Send event/nowhere first" in outcome.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["actor", "article", "event", "proposition"], (
        "nothing is stored"
    )


def test_check_of_what_conforms_ends_with_0(tmp_path: Path) -> None:
    outcome = kg_here("check", *write(tmp_path, *STORY), *BASE, cwd=tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "4 of 4 documents conform\n")


def test_check_of_what_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttl"
    broken.write_text("no Turtle", encoding="utf-8")
    outcome = kg_here("check", broken, *write(tmp_path, ORGANIZATION), *BASE, cwd=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"{broken}:1:")


def test_check_resolves_references_in_the_data_directory(data: Path, tmp_path: Path) -> None:
    (path,) = write(tmp_path, generate.article("new", [Act("russia", ("north-korean-troops-fight-in-kursk",))]))
    before = state_of(data)
    assert kg_here("check", path, "--data", data).code == 0
    assert state_of(data) == before
    assert kg_here("check", path, "--data", tmp_path / "data", *BASE).code == 1


def test_check_keeps_to_the_limits_where_there_is_no_data_directory_too(tmp_path: Path) -> None:
    outcome = kg_here("check", *write(tmp_path, ORGANIZATION), *BASE, "--document-limit", "100", cwd=tmp_path)
    assert outcome.code == 2
    assert "over the limit of 100" in outcome.err


def test_check_reports_for_machines_as_json(tmp_path: Path) -> None:
    outcome = kg_here("check", *write(tmp_path, ORGANIZATION, WRONG), *BASE, "--format", "json", cwd=tmp_path)
    assert outcome.code == 1
    reports = {report["document"]: report for report in json.loads(outcome.out)}
    assert reports[ORGANIZATION.iri()] == {"document": ORGANIZATION.iri(), "conforms": True, "results": []}
    result = reports[WRONG.iri()]["results"][0]
    assert (result["focus"], result["value"]) == (WRONG.iri(), "https://kg.example/event/nowhere")


def test_check_reports_for_machines_as_a_shacl_report(tmp_path: Path) -> None:
    outcome = kg_here("check", *write(tmp_path, ORGANIZATION, WRONG), *BASE, "--format", "turtle", cwd=tmp_path)
    assert outcome.code == 1
    store = ox.Store()
    store.load(outcome.out.encode(), format=ox.RdfFormat.TURTLE)
    sh = "PREFIX sh: <http://www.w3.org/ns/shacl#> "
    rows = store.query(
        sh + "SELECT ?focus { ?report a sh:ValidationReport ; sh:conforms false ; sh:result [ sh:focusNode ?focus ] }"
    )
    assert isinstance(rows, ox.QuerySolutions)
    assert {row["focus"] for row in rows} == {ox.NamedNode(WRONG.iri())}
    verdicts = store.query(sh + "SELECT ?conforms { ?report a sh:ValidationReport ; sh:conforms ?conforms }")
    assert isinstance(verdicts, ox.QuerySolutions)
    assert sorted(str(row["conforms"]) for row in verdicts) == [str(ox.Literal(False)), str(ox.Literal(True))]


# query


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("csv", lambda text: int(list(csv.reader(io.StringIO(text)))[1][0])),
        ("tsv", lambda text: int(text.splitlines()[1])),
        ("json", lambda text: int(json.loads(text)["results"]["bindings"][0]["n"]["value"])),
        ("xml", lambda text: int(re.findall(r"<literal[^>]*>(\d+)</literal>", text)[0])),
        ("table", lambda text: int(text.splitlines()[-1])),
    ],
)
def test_query_answers_in_every_format(data: Path, admissions: int, form: str, read: Callable[[str], int]) -> None:
    outcome = kg_here("query", COUNT, "--format", form, "--data", data)
    assert outcome.code == 0, outcome.err
    assert read(outcome.out) == admissions > 0
    assert outcome.err == ("1 row at revision 117\n".replace("117", outcome.err.split()[-1]) if form == "table" else "")


@pytest.mark.parametrize(
    ("form", "rdf_format"),
    [
        (None, ox.RdfFormat.TURTLE),
        ("turtle", ox.RdfFormat.TURTLE),
        ("ntriples", ox.RdfFormat.N_TRIPLES),
        ("rdfxml", ox.RdfFormat.RDF_XML),
    ],
)
def test_query_answers_with_graphs_in_every_format(
    data: Path, admissions: int, form: str | None, rdf_format: ox.RdfFormat
) -> None:
    construct = "CONSTRUCT { ?s a ekg:Admission } WHERE { ?s a ekg:Admission }"
    outcome = kg_here("query", construct, *(["--format", form] if form else []), "--data", data)
    assert outcome.code == 0, outcome.err
    assert len(list(ox.parse(outcome.out, format=rdf_format))) == admissions


def test_query_writes_no_xml_that_is_none(data: Path) -> None:
    outcome = kg_here("query", 'SELECT ("\\u0001" AS ?a) {}', "--format", "xml", "--data", data)
    assert (outcome.code, outcome.out) == (2, "")
    assert "XML cannot hold" in outcome.err
    assert "text/csv" in outcome.err


@pytest.mark.parametrize(
    ("query", "form"), [("SELECT * { ?s ?p ?o } LIMIT 1", "turtle"), ("DESCRIBE actor:russia", "csv")]
)
def test_query_refuses_a_format_that_the_answer_does_not_have(data: Path, query: str, form: str) -> None:
    outcome = kg_here("query", query, "--format", form, "--data", data)
    assert (outcome.code, outcome.out) == (2, "")
    assert "cannot be written" in outcome.err


def test_query_is_read_from_a_file_or_standard_input(data: Path, admissions: int, tmp_path: Path) -> None:
    path = tmp_path / "count.rq"
    path.write_text(COUNT, encoding="utf-8")
    expected = f"n\r\n{admissions}\r\n"
    assert kg("query", "-f", path, "--data", data).out == expected
    assert kg("query", "-f", "-", "--data", data, stdin=COUNT).out == expected


def test_query_that_is_not_utf_8_ends_with_2(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "count.rq"
    path.write_bytes(b"ASK { ?s ?p '\xff' }")
    for outcome in (kg("query", "-f", path, "--data", data), kg("query", "-f", "-", "--data", data, stdin=b"\xff")):
        assert (outcome.code, outcome.out) == (2, "")
        assert "the query is not UTF-8" in outcome.err
    assert kg("query", "-f", tmp_path / "missing.rq", "--data", data).code == 2


def test_query_shows_a_table_on_a_terminal(data: Path) -> None:
    query = "SELECT ?who ?name WHERE { ?who a ekg:State ; rdfs:label ?name FILTER (LANG(?name) = 'en') } ORDER BY ?name"
    code, shown = on_terminal("query", query, "--data", data)
    assert code == 0
    plain = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]
    assert plain[0] == ["who", "name"]
    assert ["actor/russia", "Russia"] in plain
    assert plain[-1][1:4] == ["rows", "at", "revision"]
    assert int(plain[-1][0]) == sum(line[:1] != [] and line[0].startswith("actor/") for line in plain)


def test_query_says_yes_or_no_on_a_terminal(data: Path) -> None:
    assert on_terminal("query", "ASK { ?s a ekg:Admission }", "--data", data) == (0, "yes\r\n")
    assert on_terminal("query", "ASK { ?s a ekg:Nonsense }", "--data", data) == (0, "no\r\n")


def test_query_lets_no_control_characters_reach_a_terminal(data: Path) -> None:
    query = r'SELECT ("\u001B[2J\u0007gone" AS ?evil) {}'
    code, shown = on_terminal("query", query, "--data", data)
    assert code == 0
    assert "gone" in shown
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown


def test_a_query_that_is_wrong_ends_with_1_and_says_where(data: Path) -> None:
    outcome = kg_here("query", "SELECT ?x WHERE { ?x ?y }", "--data", data)
    assert (outcome.code, outcome.out) == (1, "")
    assert re.match(r"kg: 1:\d+: ", outcome.err)


def test_a_query_that_takes_too_long_ends_with_1(data: Path) -> None:
    outcome = kg_here("query", ENDLESS, "--query-timeout", "0.5", "--data", data)
    assert (outcome.code, outcome.out) == (1, "")
    assert "took longer than 0.5 seconds" in outcome.err


def test_an_answer_that_is_too_large_ends_with_1_and_no_part_of_it(data: Path) -> None:
    outcome = kg_here("query", "SELECT * { ?s ?p ?o }", "--result-limit", "1KiB", "--data", data)
    assert (outcome.code, outcome.out) == (1, "")
    assert "larger than 1,024 bytes" in outcome.err


def test_commands_leave_nothing_behind(data: Path) -> None:
    before = sorted(path.name for path in data.iterdir())
    mark = "leaves-nothing"
    arguments = [sys.executable, "-m", "kg.cli", "query", COUNT, "--data", str(data)]
    subprocess.run(arguments, env=environment(mark), check=True, capture_output=True)
    assert processes(mark) == []
    assert sorted(path.name for path in data.iterdir()) == before


#: Libraries that take long to import, and are no part of reading the graph: together more than all the rest that a query needs.
HEAVY = {
    "SPARQLWrapper",
    "flask",
    "httptools",
    "prometheus_client",
    "pyld",
    "pyshacl",
    "rdflib",
    "rich",
    "uvloop",
    "werkzeug",
}


@pytest.mark.parametrize("command", ["query COUNT", "export", "token list", "history actor/russia"])
def test_a_command_that_only_reads_imports_no_library_that_it_does_not_need(data: Path, command: str) -> None:
    arguments = [COUNT if word == "COUNT" else word for word in command.split()]
    script = f"import sys; from kg import cli; cli.main({arguments}, standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(KG_DATA=str(data)), capture_output=True, text=True, check=True
    )
    assert "kg.cli" in done.stderr
    assert HEAVY & set(done.stderr.split()) == set()


# export


@pytest.mark.parametrize(("form", "suffix"), [("trig", "trig"), ("nquads", "nq")])
def test_what_was_exported_loads_as_the_same_documents(data: Path, tmp_path: Path, form: str, suffix: str) -> None:
    exported = tmp_path / f"all.{suffix}"
    outcome = kg("export", "--format", form, "--data", data)
    assert (outcome.code, outcome.err) == (0, "")
    exported.write_bytes(outcome.out.encode())
    loaded = kg_here("load", exported, "--data", tmp_path / "copy", *BASE)
    assert loaded.code == 0, loaded.err

    def documents(directory: Path) -> dict[str, str]:
        rows = state_of(directory)
        digest = {row[0]: row[9] for row in rows["revision"]}
        return {document: digest[seq] for document, seq in rows["head"]}

    assert documents(tmp_path / "copy") == documents(data)
    again = kg_here("export", "--format", form, "--data", tmp_path / "copy")
    assert again.out == outcome.out


@pytest.mark.parametrize("command", ["export", "query 'SELECT * { ?s ?p ?o }'"])
def test_a_reader_that_stops_early_is_no_error(data: Path, command: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m kg.cli {command} --data "{data}" | head -1; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert done.stderr == ""
    first, code = done.stdout.splitlines()
    assert first
    assert code == "0"


# serve


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: str(sign.name))
def test_a_server_ends_promptly_and_leaves_no_process(
    serve: Serve, seeded_directory: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = serve()
    assert len(server.processes()) >= 3
    assert server.stop(sign, patience=5) == 0
    assert "Traceback" not in server.output


def test_ctrl_c_in_a_terminal_reaches_all_processes_and_ends_them(
    serve: Serve, seeded_directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = serve()
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(5) == 0
    server.require_gone()
    assert "Traceback" not in server.output


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_finishes_what_runs(
    serve: Serve, seeded_directory: Path, tmp_path: Path, sign: signal.Signals
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = serve(flags=["--query-timeout", "2"])
    replies: list[int] = []
    asking = threading.Thread(target=lambda: replies.append(server.sparql(ENDLESS).status))
    asking.start()
    until(server.is_evaluating, "the query runs")
    assert server.stop(sign, patience=15) == 0
    asking.join(10)
    assert replies == [504], "it ran to its limit, and was told so"


def test_a_new_directory_is_filled_with_the_seeds(served: Server) -> None:
    assert served.count("?act a ekg:Admission") > 0
    assert "is new: loading the seeds" in served.output
    assert f"Serving {served.data} at {served.url}" in served.output


def test_what_the_server_suggests_to_try_works(served: Server) -> None:
    greeting = until(
        lambda: served.output if "three things to try" in served.output.lower() else "", "the server greets"
    )
    commands = re.sub(r"\\\n\s*", "", greeting[greeting.lower().index("three things to try") :])
    curls = [line.strip() for line in commands.splitlines() if line.strip().startswith("curl")]
    assert len(curls) == 2
    for command in curls:
        done = subprocess.run(["bash", "-c", f"{command} -sS --fail"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Gerasimov" in done.stdout or "article" in done.stdout


def test_two_servers_cannot_share_a_port(served: Server, tmp_path: Path) -> None:
    outcome = kg("serve", "--data", tmp_path / "data", "--bind", f"127.0.0.1:{served.port}")
    assert outcome.code == 2
    assert f"cannot listen on 127.0.0.1:{served.port}: Address already in use; choose another" in outcome.err
    assert not (tmp_path / "data").exists()


def test_two_servers_cannot_share_a_directory(served: Server) -> None:
    outcome = kg("serve", "--data", served.data, "--bind", f"127.0.0.1:{unused_port()}", cwd=ROOT)
    assert outcome.code == 2
    assert f"is in use by process {served.web_process}; stop it, or choose another directory" in outcome.err
    assert served.get("health").status == 200


def test_a_server_keeps_to_the_base_of_its_directory(data: Path, tmp_path: Path) -> None:
    outcome = kg("serve", "--data", data, "--bind", f"127.0.0.1:{unused_port()}", "--base", "https://other.example/")
    assert outcome.code == 2
    assert "was created for the base https://kg.example/" in outcome.err


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    outcome = kg("serve", "--data", tmp_path / "data", "--bind", "192.0.2.1:8000")
    assert outcome.code == 2
    assert "cannot listen on 192.0.2.1:8000" in outcome.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("bind", ["localhost", "[::1]"])
def test_a_server_listens_on_a_name_or_an_ipv6_address(seeded_directory: Path, tmp_path: Path, bind: str) -> None:
    if bind == "[::1]":
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = Server(tmp_path / "data", None, "--bind", f"{bind}:{(port := unused_port())}")
    server.url = f"http://{bind}:{port}/"
    try:
        assert server.wait().count("?act a ekg:Admission") > 0
        assert server.stop() == 0
    finally:
        server.kill()


def test_settings_of_the_server_reach_the_process_that_answers(
    serve: Serve, seeded_directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(seeded_directory, tmp_path / "data")
    server = serve(flags=["--result-limit", "100"], KG_QUERY_TIMEOUT="0.3")
    assert server.sparql("SELECT * { ?s ?p ?o }").status == 413
    refused = server.sparql(ENDLESS)
    assert (refused.status, refused.json()["limit"]) == (504, 0.3)
    assert server.sparql("ASK {}").status == 200
