"""Each server as the process that its users would start, on 127.0.0.1, with what it needs to know it by."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.bench.client import ACCEPT
from tests.serving import environment, processes, processor_time, unused_port

OURS = "this service"
OXIGRAPH = "oxigraph serve"
RDFLIB = "rdflib-endpoint"

#: The smallest question there is, for when only an answer matters.
_ANYTHING = "ASK {}"

_PATIENCE = 900.0


class Missing(Exception):
    """A program is not installed."""


def program(name: str) -> Path:
    """Where a program is: beside this Python or on the path. Raises `Missing`."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed (pip install {name})")
    return Path(found)


@dataclass
class Server:
    """A server that is told how to start, and is started and ended as often as is needed."""

    name: str
    path: str
    command: Callable[[int], Sequence[str | Path]]
    log: Path
    port: int = 0
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self, query: str = _ANYTHING) -> float:
        """Start it and wait until it answers a query; the seconds that took."""
        self.port = unused_port()
        begun = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(self._mark),
                start_new_session=True,
                preexec_fn=_end_with_bench,  # noqa: PLW1509 — the bench has one thread
            )
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(query)[0] == 200:
                    return time.perf_counter() - begun
            if self._process.poll() is not None or time.perf_counter() - begun > _PATIENCE:
                self.stop()
                raise RuntimeError(f"{self.name} did not start: {self.log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.002)

    def ask(self, query: str, timeout: float = _PATIENCE) -> tuple[int, bytes]:
        """Status and body of an answer, over a connection of its own."""
        return self.request("GET", f"{self.path}?query={quote(query, safe='')}", timeout=timeout)

    def request(
        self, method: str, target: str, body: bytes | None = None, media_type: str = "", timeout: float = _PATIENCE
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=timeout)
        with contextlib.closing(connection):
            headers = {"Accept": ACCEPT, **({"Content-Type": media_type} if media_type else {})}
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def memory(self) -> float:
        """Bytes of memory of all its processes, what they share counted once (PSS)."""
        return sum(_proportional_set_size(pid) for pid in processes(self._mark))

    def rest(self, patience: float = 120.0) -> None:
        """Return when it has come to rest: some servers go on with what nobody waits for any more."""
        deadline = time.perf_counter() + patience
        of = processes(self._mark)
        while time.perf_counter() < deadline:
            before = sum(map(processor_time, of))
            time.sleep(0.1)
            if sum(map(processor_time, of)) - before < 0.03:
                return

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_bench() -> None:
    """In the child, before it is a server: from now on it is told to end when the process that started it has, by whatever signal."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _proportional_set_size(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def ours(data: Path) -> Server:
    """`kg serve` as it comes."""

    def command(port: int) -> Sequence[str | Path]:
        return [sys.executable, "-m", "kg.cli", "serve", "--data", data, "--bind", f"127.0.0.1:{port}"]

    return Server(OURS, "/sparql", command, data.with_name("kg.log"))


def oxigraph(store: Path) -> Server:
    """`oxigraph serve` with the union of all graphs as the default, as our queries see it.

    Without `--timeout-s`: with it, the server aborts under load.
    """
    binary = program("oxigraph")

    def command(port: int) -> Sequence[str | Path]:
        return [binary, "serve", "--location", store, "--bind", f"127.0.0.1:{port}", "--union-default-graph"]

    return Server(OXIGRAPH, "/query", command, store.with_name("oxigraph.log"))


def rdflib(quads: Path) -> Server:
    """`rdflib-endpoint serve` with its own store in memory; reading the data is part of its start."""
    binary = program("rdflib-endpoint")

    def command(port: int) -> Sequence[str | Path]:
        return [binary, "serve", "--host", "127.0.0.1", "--port", str(port), quads]

    return Server(RDFLIB, "/", command, quads.with_name("rdflib-endpoint.log"))
