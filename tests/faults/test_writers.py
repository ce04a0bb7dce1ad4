"""Several processes that write to one directory at once, killed at random moments, or told to do what cannot go well together."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import generate
import pytest
from agreement import Truth
from serving import ROOT, Server, environment, processes, until

from kg.config import Config
from kg.errors import DirectoryInUse
from kg.library import open_library
from kg.safekeeping import back_up, restore
from kg.terms import Base

BASE = Base("https://kg.example/")


class Nursery:
    """Writers, each in its own process. `acknowledged` are the batches that they know to be written: documents by revision."""

    def __init__(self, data: Path) -> None:
        self.mark = f"{data}-writers"
        self.acknowledged: dict[int, int] = {}
        self._born: dict[str, int] = {}
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py"), data],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(self.mark, PYTHONPATH=path),
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            match line.split():
                case [name, "born", pid]:
                    self._born[name] = int(pid)
                case [_, "wrote", revision, count]:
                    self.acknowledged[int(revision)] = int(count)

    def begin(self, name: str, batches: str = "4") -> int:
        """The process of a new writer; `batches` says which, as the nursery reads it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {batches}\n")
        self.process.stdin.flush()
        return until(lambda: self._born.get(name), "a writer begins", 30)

    def end(self) -> None:
        """Take all away."""
        for pid in processes(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until(lambda: not processes(self.mark), "all writers end", 10)
        self._reader.join()


@contextlib.contextmanager
def nursery(data: Path) -> Iterator[Nursery]:
    writers = Nursery(data)
    try:
        yield writers
    finally:
        writers.end()


@pytest.fixture
def data(config: Config) -> Path:
    with open_library(config, create=True, owner=True) as library:
        library.accept(generate.documents(8), agent="a test")
    return config.data


@pytest.mark.parametrize("served", [False, True], ids=["alone", "beside a server"])
def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(
    serve: Callable[..., Server], data: Path, config: Config, pytestconfig: pytest.Config, served: bool
) -> None:
    chance = random.Random(f"writers {served}")
    truth = Truth(data)
    server = serve(data) if served else None
    kills = pytestconfig.getoption("kills")
    with nursery(data) as writers:
        names = (f"writer-{number}" for number in range(kills + 3))
        alive = [writers.begin(next(names)) for _ in range(3)]
        until(lambda: writers.acknowledged, "the first write is acknowledged")
        for number in range(kills):
            time.sleep(chance.uniform(0, 0.3))
            known = dict(writers.acknowledged)
            os.kill(alive.pop(chance.randrange(3)), signal.SIGKILL)
            alive.append(writers.begin(next(names)))
            if number % 5 == 4:
                truth.require_batches(known)
                if server is not None:
                    truth.require_index(server, reached=max(known))
        until(lambda: len(writers.acknowledged) > 3, "the kills met writers at work")
    truth.require_batches(writers.acknowledged)
    if server is not None:
        truth.require_index(server, reached=truth.last())
        assert server.stop() == 0
    with open_library(config, create=False, owner=True) as library:
        library.settle()
        truth.require_index(library)
        truth.require_verified()
        there = [document for _, document in library.journal.current() if document is not None]
        assert library.judge(there).conforms, "nothing is there in part"
    left = [path.name for path in data.iterdir() if path.name.startswith(("spool-", "building-"))]
    assert left == []
    assert not list((data / "snapshots").glob("building-*"))


def test_a_large_batch_that_is_cut_off_leaves_no_trace(data: Path, pytestconfig: pytest.Config) -> None:
    """Cut at random moments while it is being written, the last time not at all."""
    chance = random.Random("large")
    size = 20_000 if pytestconfig.getoption("kills") > 50 else 2_000
    truth = Truth(data)
    before = truth.last()
    with nursery(data) as writers:
        for number, moment in enumerate((0.02, 0.2, 0.4, 0.6, 0.8)):
            writer = writers.begin(f"cut-{number}", f"{size}!")
            time.sleep(moment * chance.uniform(0.7, 1) * size / 5_000)
            os.kill(writer, signal.SIGKILL)
            until(lambda writer=writer: not Path("/proc", str(writer)).exists(), "it is gone")  # type: ignore[misc]
            there = truth.last()
            assert (there - before) % size == 0, "all of it or nothing"
            assert there - before >= size * len(writers.acknowledged)
        writers.begin("whole", f"{size}!")
        until(lambda: truth.last() == max(writers.acknowledged, default=0), "the last is written", 60)
    truth.require_batches({before: before, **writers.acknowledged})
    truth.require_verified()


def test_of_two_servers_on_one_directory_the_second_says_who_holds_it(serve: Callable[..., Server], data: Path) -> None:
    first = serve(data)
    second = serve(data, wait=False)
    assert second.process.wait(30) == 2
    assert f"in use by process {first.web_process}" in second.output
    assert first.count() > 0
    saved = data.parent / "saved"
    back_up(data, saved)
    with pytest.raises(DirectoryInUse, match=f"in use by process {first.web_process}"):
        restore(saved, data, force=True)
    Truth(data).require_verified()
    assert first.stop() == 0
    restore(saved, data, force=True)
    Truth(data).require_verified()


def test_two_that_begin_in_one_empty_directory(config: Config) -> None:
    """Whoever comes second finds it made; to serve it, it must wait its turn."""
    start = threading.Barrier(6)
    outcomes: list[object] = []

    def begin(owner: bool) -> None:
        start.wait()
        try:
            with open_library(config, create=True, owner=owner, patience=0) as library:
                outcomes.append(library.base)
        except DirectoryInUse as error:
            outcomes.append(error)

    threads = [threading.Thread(target=begin, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    assert all(outcome == BASE or isinstance(outcome, DirectoryInUse) for outcome in outcomes), outcomes
    assert BASE in outcomes
    assert not list(config.data.glob("journal.*.new*"))


def test_a_clock_that_goes_back_does_not_reorder_history(
    config: Config, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        late = timedelta(0)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - cls.late

    monkeypatch.setattr("kg.journal.datetime", Clock)
    with open_library(config, create=False, owner=True) as library:
        revisions = []
        for number, late in enumerate((-3_600, 0, 86_400 * 400, 7_200, -7_200)):
            Clock.late = timedelta(seconds=late)
            receipt = library.accept([generate.actor(f"late-{number}").document()], agent="a test")
            revisions += receipt.revisions
        times = [revision.time for revision in revisions]
        assert times == sorted(times)
        assert times[0] == times[1] == times[2] == times[3] < times[4]
        Truth(data).require_index(library)
    Truth(data).require_verified()
