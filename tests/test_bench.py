"""The benchmark runs from end to end and leaves nothing out; what it measures is not judged here."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from serving import environment, until

ROOT = Path(__file__).resolve().parent.parent
QUERIES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "tests/bench/queries").glob("*.rq"))}


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The cells of a quick run on this service alone."""
    command = [sys.executable, "-m", "tests.bench", "--quick", "--alone", "--articles", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_query_is_measured_again_and_anew(rows: list[list[str]]) -> None:
    repeated = [cells[1] for cells in rows if cells[0].startswith("repeated")]
    anew = [cells[1] for cells in rows if cells[0].startswith("first time")]
    assert sorted(repeated) == sorted(QUERIES)
    assert sorted(anew) == sorted([*QUERIES, *QUERIES])  # at one connection and at eight


def test_every_measure_has_its_rows(rows: list[list[str]]) -> None:
    others = [cells[0] for cells in rows if not cells[0].startswith(("repeated", "first time"))]
    assert [re.split(r"[,(]", what)[0].strip() for what in others] == [
        "p99 of first-time look-ups",
        "p99 of first-time look-ups",
        "memory of all processes",
        "start to first answer",
        "write to visibility",
        "write to visibility",
    ]


def test_every_row_has_a_value_of_ours_and_held_targets_their_verdict(rows: list[list[str]]) -> None:
    for cells in rows:
        assert len(cells) == 7
        assert re.fullmatch(r"[\d,.]+ (requests/s|ms|s|MiB)", cells[2]), cells
        if cells[4] and cells[5]:
            assert cells[6] in ("reached", "**not reached**"), cells


_STARTS_ONE = """
import sys, time
from pathlib import Path
from tests.bench.servers import Server
code = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
server = Server("any", "/", lambda port: [sys.executable, "-c", code, str(port)], Path(sys.argv[1]))
server.start()
print(server._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_what_it_started_ends_with_it_however_that_ends(tmp_path: Path, sign: signal.Signals) -> None:
    command = [sys.executable, "-c", _STARTS_ONE, str(tmp_path / "log")]
    bench = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment())
    assert bench.stdout is not None
    server = Path("/proc", bench.stdout.readline().strip())
    assert server.exists()
    bench.send_signal(sign)
    bench.wait()
    bench.stdout.close()
    until(lambda: not server.exists() or "zombie" in (server / "status").read_text(), "the server ends", 10)


@pytest.fixture(scope="module")
def graph() -> ox.Store:
    store = ox.Store()
    for document in generate.documents(400):
        store.extend(ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri)) for t in document.triples)
    return store


@pytest.mark.parametrize("name", QUERIES)
def test_query_says_what_it_stands_for_and_finds_something(graph: ox.Store, name: str) -> None:
    assert QUERIES[name].startswith("#+ summary: ")
    answer = graph.query(QUERIES[name], use_default_graph_as_union=True)
    assert bool(answer) if isinstance(answer, ox.QueryBoolean) else next(iter(answer), None) is not None
