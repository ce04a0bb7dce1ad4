"""Query processes: real ones, on a real snapshot. Each way in which a query can go wrong costs only itself."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyoxigraph as ox
import pytest
from serving import until

from kg.engine import Answer, Caller, Query, process
from kg.engine.evaluator import IN_MEMORY
from kg.engine.process import Limits
from kg.engine.workers import QueryProcesses
from kg.errors import (
    CallerGone,
    KgError,
    MalformedQuery,
    NotAcceptable,
    QueryError,
    QueryMemoryExceeded,
    QueryProcessDied,
    QueryTimeout,
    ResultTooLarge,
    ServiceRefused,
    StorageError,
)

COUNT = 3000
#: Three ways to combine 3,000 things: hours.
BURN = "SELECT (COUNT(*) AS ?n) { ?a ?p ?x . ?b ?p ?y . ?c ?p ?z FILTER(?x + ?y + ?z < 0) }"
MEMORY = 400 * 2**20


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("store")
    store = ox.Store(directory / "store")
    node = ox.NamedNode
    store.extend(
        ox.Quad(node(f"http://x/{n}"), node("http://x/p"), ox.Literal(n), node(f"http://g/{n % 3}"))
        for n in range(COUNT)
    )
    store.flush()
    store.backup(directory / "snapshot")
    return directory / "snapshot"


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryProcesses]:
    spool = tmp_path_factory.mktemp("spool")
    started = QueryProcesses(2, 16, Limits(20, MEMORY, 40 * 2**20), spool)
    yield started
    pids = started.pids()
    started.close()
    until(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids), "all processes ended")
    assert list(spool.iterdir()) == []


class Ask:
    def __init__(self, processes: QueryProcesses, snapshot: Path) -> None:
        self.processes = processes
        self.snapshot = snapshot

    def __call__(self, text: str, caller: Caller | None = None, **query: object) -> Answer:
        return self.processes.answer(Query(text, **query), self.snapshot, 7, caller or Caller())  # type: ignore[arg-type]

    def value(self, text: str, **query: object) -> str:
        return self(text, solutions="csv", **query).read().decode().split("\r\n")[1]

    def still_works(self) -> None:
        assert self.value("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }") == str(COUNT)


@pytest.fixture
def ask(processes: QueryProcesses, snapshot: Path) -> Iterator[Ask]:
    asked = Ask(processes, snapshot)
    yield asked
    asked.still_works()


def _cpu(pid: int) -> int:
    """Clock ticks of processor time that a process has used."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def assert_idle(processes: QueryProcesses) -> None:
    """No process uses the processor: what it used does not grow over a while."""

    def idle() -> bool:
        before = {pid: _cpu(pid) for pid in processes.pids()}
        time.sleep(0.2)
        return all(_cpu(pid) - ticks <= 1 for pid, ticks in before.items())

    until(idle, "the processor is free", 5)


def test_default_graph_is_the_union(ask: Ask) -> None:
    assert ask.value("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }") == "3000"


@pytest.mark.parametrize(
    ("text", "dataset", "expected"),
    [
        ("SELECT (COUNT(*) AS ?n) FROM <http://g/1> { ?s ?p ?o }", {}, "1000"),
        ("SELECT (COUNT(*) AS ?n) FROM <http://g/1> FROM <http://g/2> { ?s ?p ?o }", {}, "2000"),
        ("SELECT (COUNT(*) AS ?n) FROM NAMED <http://g/1> { ?s ?p ?o }", {}, "0"),
        ("SELECT (COUNT(*) AS ?n) FROM NAMED <http://g/1> { GRAPH ?g { ?s ?p ?o } }", {}, "1000"),
        ("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }", {"default_graphs": ("http://g/0", "http://g/2")}, "2000"),
        ("SELECT (COUNT(*) AS ?n) { GRAPH ?g { ?s ?p ?o } }", {"default_graphs": ("http://g/0",)}, "0"),
        ("SELECT (COUNT(*) AS ?n) { GRAPH ?g { ?s ?p ?o } }", {"named_graphs": ("http://g/0",)}, "1000"),
        ("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }", {"named_graphs": ("http://g/0",)}, "0"),
        (
            "SELECT (COUNT(*) AS ?n) FROM <http://g/1> { ?s ?p ?o }",
            {"default_graphs": ("http://g/0", "http://g/2")},
            "2000",
        ),
    ],
)
def test_dataset_of_the_query_and_of_the_protocol(
    ask: Ask, text: str, dataset: dict[str, object], expected: str
) -> None:
    assert ask.value(text, **dataset) == expected


def test_from_in_a_string_names_no_dataset(ask: Ask) -> None:
    assert ask.value('SELECT (COUNT(*) AS ?n) { ?s ?p ?o FILTER("FROM <x>" != STR(?o)) }  # FROM nowhere') == "3000"


def test_common_prefixes_are_supplied_and_named(ask: Ask) -> None:
    answer = ask("SELECT ?x { ?x a ekg:Event ; rdfs:label ?l }")
    assert answer.prefixes == ("ekg", "rdfs")
    assert ask("PREFIX ekg: <http://other/> ASK { ?x a ekg:Event }").prefixes == ()


def test_kind_prefixes_follow_the_base(ask: Ask) -> None:
    assert (
        ask.value("SELECT (STR(actor:russia) AS ?iri) {}", base="https://kg.example/")
        == "https://kg.example/actor/russia"
    )


def test_deadline_stops_the_query_and_frees_the_processor(ask: Ask) -> None:
    with pytest.raises(QueryTimeout) as caught:
        ask(BURN + "# deadline", timeout=0.5)
    assert caught.value.facts["limit"] == 0.5
    assert_idle(ask.processes)


def test_caller_can_only_shorten_the_deadline(snapshot: Path, tmp_path: Path) -> None:
    processes = QueryProcesses(1, 4, Limits(0.3, MEMORY, 2**20), tmp_path)
    try:
        with pytest.raises(QueryTimeout) as caught:
            Ask(processes, snapshot)(BURN, timeout=1000.0)
        assert caught.value.facts["limit"] == 0.3
    finally:
        processes.close()


def test_caller_who_goes_away_frees_the_processor(ask: Ask) -> None:
    caller = Caller("a")
    threading.Timer(0.4, caller.hang_up).start()
    with pytest.raises(CallerGone):
        ask(BURN + "# gone", caller)
    assert_idle(ask.processes)


def test_memory_is_bounded(ask: Ask) -> None:
    with pytest.raises(QueryMemoryExceeded) as caught:
        ask("SELECT DISTINCT ?a ?b ?c { ?a ?p ?x . ?b ?p ?y . ?c ?p ?z } ORDER BY ?x")
    assert caught.value.facts["limit"] == MEMORY


def test_result_is_bounded_and_nothing_is_left_of_it(ask: Ask, processes: QueryProcesses) -> None:
    with pytest.raises(ResultTooLarge):
        ask("SELECT ?a ?b ?x { ?a ?p ?x . ?b ?p ?y }")
    assert list(processes._spool.iterdir()) == []


def test_large_result_is_whole_and_leaves_no_file(ask: Ask, processes: QueryProcesses) -> None:
    answer = ask("SELECT ?a ?b { ?a ?p ?x . ?b ?p ?y } LIMIT 200000", solutions="csv")
    assert answer.length > IN_MEMORY
    assert not isinstance(answer.body, bytes)
    assert list(processes._spool.iterdir()) == []
    body = answer.read()
    assert len(body) == answer.length
    assert sum(1 for _ in csv.reader(io.StringIO(body.decode()))) == 200_001


def test_process_killed_in_the_middle_costs_only_its_query(ask: Ask) -> None:
    before = {pid: _cpu(pid) for pid in ask.processes.pids()}
    errors: list[KgError] = []

    def burn() -> None:
        try:
            ask(BURN + "# killed")
        except KgError as error:
            errors.append(error)

    def burning() -> list[int]:
        return [pid for pid, used in before.items() if _cpu(pid) - used > 30]

    thread = threading.Thread(target=burn)
    thread.start()
    until(lambda: bool(burning()), "it runs")
    (busy,) = burning()
    os.kill(busy, signal.SIGKILL)
    assert ask.value("SELECT (1 AS ?one) {}") == "1"
    thread.join(10)
    assert [type(error) for error in errors] == [QueryProcessDied]
    assert busy not in ask.processes.pids()
    assert len(ask.processes.pids()) == 2


def test_process_killed_while_idle_costs_no_query(ask: Ask) -> None:
    ended = ask.processes.pids()
    for pid in ended:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until its last thread has ended
    assert ask.value("SELECT (1 AS ?one) {}") == "1"
    assert ask.value("SELECT (2 AS ?two) {}") == "2"


def test_order_by_that_aborts_the_engine_is_told_apart(ask: Ask) -> None:
    values = " ".join(
        f'"2025-01-{day:02}T{hour:02}:00:00{zone}"^^xsd:dateTime'
        for day in range(1, 8)
        for hour in (0, 7, 14, 21)
        for zone in ("", "Z", "+14:00", "-14:00", "+05:00")
    )
    text = f"SELECT ?d {{ VALUES ?d {{ {values} }} }} ORDER BY ?d"
    try:
        ask(text)
    except QueryProcessDied as error:
        assert "ORDER BY" in error.detail
    assert ask(text.replace("ORDER BY ?d", "ORDER BY STR(?d)")).kind == "solutions"


def test_a_syntax_error_has_its_place(ask: Ask) -> None:
    with pytest.raises(MalformedQuery) as caught:
        ask("SELECT ?a\nWHERE { ?a ? }")
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (2, 15)


@pytest.mark.parametrize("text", ["INSERT DATA { <a:a> <a:b> 1 }", "DROP ALL", "CLEAR DEFAULT", ""])
def test_an_update_is_not_a_query(ask: Ask, text: str) -> None:
    with pytest.raises(MalformedQuery):
        ask(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }",
        "SELECT * { service silent <http://127.0.0.1:9/> { ?s ?p ?o } }",
        "SELECT * { \\u0053ERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }",
        "SELECT * { { SELECT * { SERVICE ?x { } } } }",
        "LOAD <http://127.0.0.1:9/>",
    ],
)
def test_reaching_out_is_refused(ask: Ask, text: str) -> None:
    with pytest.raises(ServiceRefused):
        ask(text)


def test_service_may_be_talked_about(ask: Ask) -> None:
    assert (
        ask.value('PREFIX x: <http://x/> SELECT ?load { BIND("SERVICE" AS ?load) OPTIONAL { ?s x:LOAD 1 } } # SERVICE')
        == "SERVICE"
    )


def test_answers_in_no_form_that_was_asked_for(ask: Ask) -> None:
    with pytest.raises(NotAcceptable):
        ask("CONSTRUCT { ?s ?p ?o } { ?s ?p ?o }", triples=None)
    with pytest.raises(NotAcceptable):
        ask("ASK {}", solutions=None)


def test_a_snapshot_that_is_gone_is_told(processes: QueryProcesses, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        processes.answer(Query("ASK {}"), tmp_path / "nowhere", 1)


def test_every_failure_is_one_of_ours(ask: Ask) -> None:
    for text in (
        "SELECT (1/0 AS ?x) {}",
        "SELECT * { ?s ?p ?o FILTER(REGEX(?o, '[')) }",
        "SELECT ?x { ?x <http://x/p>{1000000} ?y }",
    ):
        try:
            ask(text)
        except QueryError:
            continue


def test_a_hundred_callers_at_once_are_all_answered_or_told(ask: Ask) -> None:
    outcomes: list[str] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        try:
            outcome = ask.value(f"SELECT ({number} AS ?n) {{}}", caller=Caller(str(number)))
        except KgError as error:
            outcome = type(error).__name__
        with lock:
            outcomes.append(outcome)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 100
    assert set(outcomes) <= {*map(str, range(100)), "Overloaded"}
    assert len(set(outcomes) - {"Overloaded"}) >= 18


def test_a_query_that_waited_for_the_processor_is_not_remembered_as_slow(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next time it would wait behind slow ones, and they can take as long as a query may."""
    monkeypatch.setattr(process, "_PATIENCE", 100)  # however busy the machine is
    text = "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }"
    ask.still_works()
    held = ask.processes.pids()
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGCONT) for pid in held]).start()
    assert ask.value(text) == str(COUNT)
    assert_goes_before_slow_ones(ask, text, str(COUNT))


def assert_goes_before_slow_ones(ask: Ask, text: str, value: str) -> None:
    with slow_queries(ask, 1) as threads:
        until(lambda: ask.processes.figures()["busy"] == 1, "the slow one runs")
        time.sleep(0.2)  # past being quick
        assert ask.value(text) == value
        assert threads[0].is_alive(), "it did not wait for the slow one's end"


@contextlib.contextmanager
def slow_queries(ask: Ask, count: int) -> Iterator[list[threading.Thread]]:
    """Within the block so many callers wait for queries that take hours; then they hang up."""
    callers = [Caller(f"slow {n}") for n in range(count)]

    def burn(text: str, caller: Caller) -> None:
        with pytest.raises(KgError):
            ask(text, caller)

    threads = [threading.Thread(target=burn, args=(f"{BURN} # {n}", caller)) for n, caller in enumerate(callers)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for caller in callers:
            caller.hang_up()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_look_ups_are_answered_while_slow_queries_burn(ask: Ask) -> None:
    with slow_queries(ask, 6):
        until(lambda: ask.processes.figures()["waiting"] >= 4, "slow queries wait for a slow place")
        for number in range(50):
            assert ask.value(f"SELECT ({number} AS ?n) {{}}") == str(number)
        assert ask.processes.figures()["waiting"] >= 4, "they still wait"


def test_the_opening_of_a_snapshot_is_nobodys_query(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that happens to be the first on a snapshot is quick, and waits for no slow one."""
    monkeypatch.setattr(process, "QUICK", 0.01)  # so that opening is long beside it
    monkeypatch.setattr(process, "_PATIENCE", 1_000)  # however long it waits for the processor
    started = QueryProcesses(2, 4, Limits(5, MEMORY, 2**20), tmp_path)
    try:
        assert_goes_before_slow_ones(Ask(started, snapshot), "SELECT (1 AS ?n) {}", "1")
    finally:
        started.close()


def test_a_long_query_lets_look_ups_go_first_and_its_process_comes_back(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that one which is long is far from its limit, and the other's end far from its beginning, on a machine that is busy.
    monkeypatch.setattr(process, "_LONG", 0.05)
    caller = Caller("long")

    def burn() -> None:
        with pytest.raises(KgError):
            ask(f"{BURN} # long", caller, timeout=4.0)

    def priorities() -> set[int]:
        return {os.getpriority(os.PRIO_PROCESS, pid) for pid in ask.processes.pids()}

    thread = threading.Thread(target=burn)
    thread.start()
    until(lambda: max(priorities()) == 10, "it has stepped back")
    assert min(priorities()) == 0, "the other has not"
    thread.join(20)
    # One that ends well takes its place again, or has been replaced.
    some = "SELECT (COUNT(*) AS ?n) { GRAPH <http://g/0> { ?a ?p ?x } ?b ?p ?y FILTER(?x + ?y >= 0) } # long enough"
    assert ask.value(some) == str(COUNT // 3 * COUNT)
    assert priorities() == {0}
