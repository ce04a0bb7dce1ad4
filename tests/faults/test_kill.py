"""`kill -9` at random moments: of the server and its web process while files are loaded and documents sent, and of the loader itself.

`--kills N` says how often; of the server and of the loader it is a sixth of that, for these take long to start. The moments are those
of a seeded generator, but what they meet differs from run to run.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import generate
import pytest
from agreement import Truth
from serving import ENDLESS, Server, environment, kg, processes, processor_time, until

from kg.tokens import Tokens

Serve = Callable[..., Server]

#: `kg load` with batches small enough for many to be cut through.
_LOAD = "from kg import cli, loading; loading.BATCH, loading.WORTH_PROCESSES = {batch}, 24; cli.main()"
_COMMITTED = re.compile(r"committed revision (\d+) \((\d+) documents\)")


class Load:
    """One `kg load` of files that no other load has. `acknowledged` are its batches so far: documents by revision."""

    def __init__(self, data: Path, name: str, count: int, batch: int) -> None:
        self.mark = f"{data}-{name}"
        self.acknowledged: dict[int, int] = {}
        files = data.parent / f"files-{name}"
        generate.write(files, count, prefix=name, seed=count)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LOAD.format(batch=batch), "load", files, "--data", data],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.mark),
        )
        self.words: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.words.append(line)
            if committed := _COMMITTED.match(line):
                self.acknowledged[int(committed[1])] = int(committed[2])

    def wait(self) -> int:
        """Its exit code, when it has ended and all that it said has been read."""
        code = self.process.wait()
        self._reader.join()
        return code

    def begin(self) -> None:
        """Return when it has written something."""
        until(lambda: self.acknowledged, "the load begins to write")

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def require_gone(self) -> None:
        """Return when none of its processes lives."""
        until(lambda: not processes(self.mark), "all processes of the load end with it", 10)


class Loads:
    """Loads, one after the other, until told to stop."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._loads: list[Load] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.failed: list[str] = []

    def _run(self) -> None:
        while not self._over.is_set():
            load = Load(self._data, f"load-{len(self._loads)}", 23, 3)  # so few that it needs no crew
            self._loads.append(load)
            if load.wait() != 0 and not self._over.is_set():
                self.failed.append("".join(load.words))

    def acknowledged(self) -> dict[int, int]:
        return {revision: count for load in list(self._loads) for revision, count in dict(load.acknowledged).items()}

    def stop(self) -> None:
        self._over.set()
        for load in self._loads:
            load.process.kill()
        self._thread.join()
        for load in self._loads:
            load.kill()


class Puts:
    """Documents sent over HTTP, one after the other, to the server of the moment, until told to stop."""

    def __init__(self, data: Path, server: Server) -> None:
        self.server = server
        self.acknowledged: dict[int, int] = {}
        self.refused: list[str] = []
        self._token = Tokens(data).create("puts", "writer")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count():
            text = generate.actor(f"put-{number}")
            while not self._put(text) and not self._over.wait(0.01):
                pass
            if self._over.is_set():
                return

    def _put(self, text: generate.Text) -> bool:
        """Whether the server said that the document is there."""
        request = urllib.request.Request(
            f"{self.server.url}{text.kind}/{text.slug}",
            data=text.document().content,
            method="PUT",
            headers={"Content-Type": "application/n-triples", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                if response.status == 201:
                    self.acknowledged[int(response.headers["KG-Revision"])] = 1
        except urllib.error.HTTPError as error:
            self.refused.append(f"{error.code} {error.read().decode()}")
            return False
        except (OSError, http.client.HTTPException):  # killed before it could answer: it may be there or not
            return False
        return True

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def putting(data: Path, server: Server) -> Iterator[Puts]:
    puts = Puts(data, server)
    try:
        yield puts
    finally:
        puts.stop()


@contextlib.contextmanager
def loading(data: Path) -> Iterator[Loads]:
    loads = Loads(data)
    try:
        yield loads
    finally:
        loads.stop()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a few generated documents."""
    generate.write(tmp_path / "first", 12, prefix="first")
    made = kg("load", tmp_path / "first", "--data", tmp_path / "data", "--base", "https://kg.example/")
    assert made.code == 0, made.err
    return tmp_path / "data"


def test_a_server_killed_during_loads_loses_nothing(serve: Serve, data: Path, pytestconfig: pytest.Config) -> None:
    chance = random.Random("server")
    truth = Truth(data)
    server = serve(data)
    seen, kills = 0, max(3, pytestconfig.getoption("kills") // 6)
    with loading(data) as loads, putting(data, server) as puts:
        for number in range(kills):
            if number % 2:  # the first document that a server gets takes it a second; then it is quick
                before = len(puts.acknowledged)
                until(lambda before=before: len(puts.acknowledged) > before, "a document is taken")  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.5))
            if number % 5 == 3:
                kill_web_process(server)
                assert truth.require_index(server) >= seen
                time.sleep(chance.uniform(0, 0.2))
            os.kill(server.process.pid, signal.SIGKILL)
            reported = loads.acknowledged() | dict(puts.acknowledged)
            server.process.wait()
            server.require_gone()
            server = puts.server = serve(data)
            reached = truth.require_index(server, reached=max(reported, default=0))
            truth.require_batches(reported)
            assert reached >= seen
            seen = reached
        assert loads.failed == [], "a load does not need the server"
        assert len(loads.acknowledged()) > kills, "the kills met loads at work"
        assert puts.refused == []
        assert len(puts.acknowledged) >= kills // 2
    truth.require_batches(loads.acknowledged() | puts.acknowledged)
    truth.require_index(server, reached=truth.last())
    assert server.stop() == 0
    truth.require_verified()


def kill_web_process(server: Server) -> None:
    """Kill what holds the data directory and answers; return when the server answers again, with another."""
    before = server.web_process
    assert before != server.process.pid
    children = [pid for pid in server.query_processes() if pid != before]
    os.kill(before, signal.SIGKILL)
    until(lambda: server.web_process != before, f"another web process begins; the server said {server.output}")
    server.wait()
    until(lambda: not set(children) & set(server.processes()), "the query processes of the old one end", 10)
    assert server.process.poll() is None


def test_a_loader_that_is_killed_leaves_whole_batches_and_no_process(
    serve: Serve, data: Path, pytestconfig: pytest.Config
) -> None:
    chance = random.Random("loader")
    truth = Truth(data)
    server = serve(data)
    reported: dict[int, int] = {}
    cut, kills = 0, max(3, pytestconfig.getoption("kills") // 6)
    for number in range(kills):
        # Every other load is judged by a crew of processes, which must end with it.
        crew = number % 2 == 1
        load = Load(data, f"load-{number}", 40 if crew else 23, 4)
        try:
            if number % 4 < 2:
                load.begin()
                time.sleep(chance.uniform(0, 0.3))
            else:
                time.sleep(chance.uniform(0.1, 0.8))
        finally:
            load.kill()
        load.require_gone()
        reported |= load.acknowledged
        cut += 0 < sum(load.acknowledged.values()) < (40 if crew else 23)
        truth.require_batches(reported)
        truth.require_index(server, reached=truth.last())
    assert cut > 0, "some kills met a load at work"
    again = [f"load-{number}" for number in range(kills)]
    finished = kg("load", *(data.parent / f"files-{name}" for name in again[:3]), "--data", data)
    assert finished.code == 0, finished.err
    truth.require_index(server, reached=truth.last())
    assert server.stop() == 0


def test_a_query_that_runs_does_not_outlive_a_server_that_is_killed(serve: Serve, data: Path) -> None:
    """A process at work on a query does not look at its pipe; it must notice all the same, or it would burn on for days."""
    server = serve(data, flags=["--query-timeout", "600"])

    def ask() -> None:
        with contextlib.suppress(OSError):
            server.sparql(ENDLESS.replace(" }", " . ?m ?n ?o . ?q ?r ?t }"))

    asking = threading.Thread(target=ask)
    asking.start()
    until(server.is_evaluating, "the query is given to a process")
    before = {pid: processor_time(pid) for pid in server.query_processes()}
    until(lambda: any(processor_time(pid) > before[pid] + 0.3 for pid in before), "and it is at it")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.require_gone()
    asking.join(10)
    assert not asking.is_alive()


def test_a_server_killed_while_it_fills_a_new_directory_fills_it_next_time(serve: Serve, tmp_path: Path) -> None:
    server = serve(wait=False)
    until((tmp_path / "data" / "journal.sqlite").exists, "the directory is made")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.require_gone()
    again = serve(port=server.port)
    assert again.count("?act a ekg:Admission") > 0
    truth = Truth(tmp_path / "data")
    assert truth.require_index(again) == truth.last()
