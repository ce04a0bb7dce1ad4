"""What tests stand on: a library, one with the seeds in it, and the real server as its own process.

Everything here is the real thing in a temporary directory; there are no mocks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from serving import Serve, Server, unused_port

from kg import assets
from kg import config as settings
from kg.config import Config
from kg.library import Library, open_library, read_file
from kg.web import create_app

BASE = "https://kg.example/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=8, help="how often tests/faults kill each kind of process; 1000 takes hours"
    )
    parser.addoption(
        "--requests",
        type=int,
        default=1_000,
        help="how many tiny requests test_hostile_documents.py sends; 100000 takes minutes",
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings for a data directory that is not there yet, with one query process; nothing from the environment."""
    return settings.read({}, data=tmp_path / "data", base=BASE, query_processes=1, query_timeout=20)


@pytest.fixture
def library(config: Config) -> Iterator[Library]:
    """An empty library, base https://kg.example/."""
    with open_library(config, create=True, owner=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def seeded_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the seeds in it, base https://kg.example/, that nobody holds open. Never change it: copy it.

    The processes of a run share one, which the first to want it makes.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory = shared / "seeded" / "data"
    with (shared / "seeded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return directory
        config = settings.read({}, data=directory.with_name("unfinished"), base=BASE)
        with open_library(config, create=True, owner=True) as opened:
            opened.accept(
                (it for path in assets.files("seeds", "**/*.ttl") for it in read_file(path, opened.base, config)),
                agent="seeds",
            )
        return config.data.rename(directory)


@pytest.fixture
def seeded(seeded_directory: Path, config: Config) -> Iterator[Library]:
    """A library with the seeds in it, base https://kg.example/, the test's own to change."""
    shutil.copytree(seeded_directory, config.data)
    with open_library(config, create=False, owner=True) as opened:
        opened.settle()
        yield opened


@pytest.fixture(scope="module")
def seeds(seeded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library with the seeds in it for the tests of one module, which only read; its base is https://kg.example/."""
    data = tmp_path_factory.mktemp("seeds") / "data"
    shutil.copytree(seeded_directory, data)
    with open_library(settings.read({}, data=data, query_processes=1), create=False, owner=True) as opened:
        opened.settle()
        yield opened


@pytest.fixture(scope="module")
def client(seeds: Library) -> FlaskClient:
    """Asks the application over `seeds`, in this process."""
    return create_app(seeds).test_client()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the seeds in it for all tests that only read; its base is its own address."""
    server = Server(tmp_path_factory.mktemp("served") / "data")
    try:
        server.wait()
        yield server
        assert server.stop() == 0, server.output
    finally:
        server.kill()


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an empty graph, which the tests of one module write to together; its base is its own address."""
    data, port = tmp_path_factory.mktemp("blank") / "data", unused_port()
    open_library(settings.read({}, data=data, base=f"http://127.0.0.1:{port}/"), create=True, owner=False).close()
    server = Server(data, port)
    try:
        yield server.wait()
        assert server.stop() == 0, server.output
    finally:
        server.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers for one test: `serve(data=…, port=…, flags=…, wait=…, KG_…=…)`, by default in the test's own directory.

    A new directory is filled with the seeds, which takes seconds: copy `seeded_directory`, or make one with `kg load`. Whatever the
    test leaves running is ended after it.
    """
    started: list[Server] = []

    def start(
        data: Path | None = None,
        *,
        port: int | None = None,
        flags: Sequence[str] = (),
        wait: bool = True,
        **variables: str,
    ) -> Server:
        server = Server(data or tmp_path / "data", port, *flags, **variables)
        started.append(server)
        return server.wait() if wait else server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """`free_port()` is a port of 127.0.0.1 on which nothing listens."""
    return unused_port
