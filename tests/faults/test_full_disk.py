"""A disk that fills up, and has space again: what was acknowledged is there, what was refused left no trace, reading goes on.

On a small file system of its own where the tests may mount one; elsewhere a limit on the size of files has to do for the journal.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import generate
import pytest
from agreement import Truth
from serving import Server, until

from kg.config import Config
from kg.engine import Query
from kg.errors import IndexBehind, StorageError
from kg.library import Library, open_library

#: An answer of some megabytes on the few documents of these tests: too large for memory, so it is spooled.
LARGE = "SELECT * WHERE { ?a ?b ?c . ?d ?e ?f } LIMIT 30000"


class Disk:
    """A file system of a few megabytes, which can be filled to the last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leave only so many bytes."""
        self.relieve()
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(2**16)):
                pass
        size = self._ballast.stat().st_size
        with self._ballast.open("r+b") as file:
            file.truncate(max(0, size - leave))

    def relieve(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here, root may: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def library(disk: Disk, config: Config) -> Iterator[Library]:
    with open_library(replace(config, data=disk.path / "data"), create=True, owner=True) as opened:
        opened.accept(generate.documents(40), agent="a test")
        yield opened


def write(library: Library, name: str) -> bool:
    """One more batch; whether it was acknowledged, be it that queries do not see it yet."""
    batch = list(generate.documents(3, prefix=name))
    before = library.journal.last()
    try:
        library.accept(batch, agent="a test")
    except IndexBehind as error:
        assert "safe in the journal" in error.detail
    except StorageError as error:
        assert "the disk is full" in error.detail, error.detail
        assert library.journal.last() == before
        assert library.read(batch[0].iri) is None
        return False
    assert library.journal.last() == before + 3
    return True


def require_sound(library: Library, acknowledged: dict[int, int]) -> None:
    truth = Truth(library.config.data)
    truth.require_batches(acknowledged)
    library.settle()
    assert truth.require_index(library) == library.journal.last()
    truth.require_verified()


@pytest.mark.parametrize("left", [0, 98_304, 262_144])
def test_a_full_disk_refuses_writes_and_loses_nothing(disk: Disk, library: Library, left: int) -> None:
    acknowledged = {40: 40}
    disk.fill(left)
    refused = 0
    for number in range(60):
        if write(library, f"full-{number}"):
            acknowledged[library.journal.last()] = 3
        else:
            refused += 1
            assert library.answer(Query("ASK { ?s ?p ?o }")).read(), "what was there can be read all the while"
        if refused == 3:
            break
    assert refused or left >= 98_304
    disk.relieve()
    assert write(library, "space-again")
    acknowledged[library.journal.last()] = 3
    require_sound(library, acknowledged)


def test_an_answer_for_which_there_is_no_space_is_an_error_and_leaves_nothing(disk: Disk, library: Library) -> None:
    spool = library.config.data / "spool"
    whole = library.answer(Query(LARGE)).read()
    assert len(whole) > 2**20
    disk.fill(leave=65_536)
    for _ in range(2):
        with pytest.raises(StorageError):
            library.answer(Query(LARGE))
        assert list(spool.iterdir()) == []
        assert library.answer(Query("ASK { ?s ?p ?o }")).read()
    disk.relieve()
    assert library.answer(Query(LARGE)).read() == whole
    assert list(spool.iterdir()) == []


def test_a_server_on_a_full_disk_answers_and_catches_up_when_there_is_space(
    serve: Callable[..., Server], disk: Disk, config: Config
) -> None:
    data = disk.path / "data"
    with open_library(replace(config, data=data), create=True, owner=True) as library:
        library.accept(generate.documents(40), agent="a test")
    server = serve(data)
    before = server.count()
    os.kill(server.web_process, signal.SIGSTOP)  # so that the disk is full before the index can follow
    with open_library(replace(config, data=data), create=False, owner=False) as library:
        library.accept([generate.actor("meanwhile").document()], agent="a test", settle=False)
    disk.fill()
    os.kill(server.web_process, signal.SIGCONT)
    until(lambda: "the index cannot take it" in server.output, "the server says so", 10)
    assert server.count() == before
    assert server.sparql(LARGE).status in (500, 503, 507)
    assert server.get("health").status == 200
    disk.relieve()
    truth = Truth(data)
    assert truth.require_index(server, reached=truth.last()) == 41
    assert server.sparql(LARGE).status == 200
    assert server.stop() == 0
    truth.require_verified()


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(config: Config) -> None:
    with open_library(config, create=True, owner=True) as library:
        library.accept(generate.documents(20), agent="a test", settle=False)
        acknowledged = {20: 20}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((config.data / "journal.sqlite-wal").stat().st_size + 5_000, hard))
        try:
            while write(library, f"limited-{len(acknowledged)}"):
                acknowledged[library.journal.last()] = 3
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert write(library, "unlimited")
        acknowledged[library.journal.last()] = 3
        require_sound(library, acknowledged)
