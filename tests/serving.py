"""The real thing as processes: the server and the commands of the shell, and the state that they leave on disk.

Whoever starts a process ends it: `Server.stop` and `Server.kill` do, and `processes` finds what is left by a mark that processes
inherit from who started them, however far.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from click.testing import CliRunner

from kg import cli

ROOT = Path(__file__).resolve().parent.parent

T = TypeVar("T")

#: A bound for what takes a second or two; only a fault ever reaches it.
PATIENCE = 60.0

#: A query that takes days on the seeds alone.
ENDLESS = "SELECT (COUNT(*) AS ?n) WHERE { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l }"

#: The variable by which the processes that a test started can be told from all others.
_MARK = "TEST_PROCESSES_OF"


def until(what: Callable[[], T], why: str, patience: float = PATIENCE) -> T:
    """The first true value of `what`, asked again and again; fails, saying why, when there is none in `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (value := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:g} seconds: {why}")
        time.sleep(0.01)
    return value


def environment(mark: str = "", **variables: str) -> dict[str, str]:
    """The environment for a process of ours: this one's without its settings, finding this source tree."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KG_")}
    path = os.pathsep.join([str(ROOT), *filter(None, [clean.get("PYTHONPATH")])])
    return {**clean, "PYTHONPATH": path, _MARK: mark, **variables}


def processes(mark: str) -> list[int]:
    """The living processes that carry a mark, however far from the one that was started with it."""
    needle = f"{_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        # A process may end while it is looked at; a zombie has no environment any more.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has taken so far; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        user, system = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0


def unused_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP, of any status; nothing is followed."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Unfollowed)


class Server:
    """`kg serve` as a process of its own. `url` ends in a slash and is the base of the graph; `data` is its directory."""

    def __init__(self, data: Path, port: int | None = None, *flags: str, **variables: str) -> None:
        self.data = data
        self.port = port or unused_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.mark = uuid.uuid4().hex
        self.log = data.with_name(f"{data.name}-{self.mark[:6]}.log")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kg.cli", "serve", "--data", str(data), "--bind", f"127.0.0.1:{self.port}"]
            + (["--base", self.url] if not (data / "journal.sqlite").exists() else [])
            + ["--query-processes", "1", *flags],
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            env=environment(self.mark, **variables),
            cwd=data.parent,
            start_new_session=True,  # a signal to its group, as a terminal sends Ctrl-C, does not reach the tests
        )

    def wait(self) -> Server:
        """Return when the server answers."""

        def answers() -> bool:
            assert self.process.poll() is None, f"the server ended with code {self.process.returncode}: {self.output}"
            with contextlib.suppress(OSError):
                return self.get("health").status == 200
            return False

        until(answers, f"the server answers; it said {self.output}")
        return self

    @property
    def output(self) -> str:
        """What it has written so far, standard output and error together."""
        return self.log.read_text("utf-8", "replace")

    @property
    def web_process(self) -> int:
        """The process that holds the data directory, as its lock file tells."""
        return int(until(lambda: (self.data / "index.lock").read_text("ascii").strip(), "the lock names its holder"))

    def query_processes(self) -> list[int]:
        """The processes that evaluate queries."""
        return [pid for pid in self.processes() if "kg.engine.evaluator" in _command(pid)]

    def processes(self) -> list[int]:
        """All processes of this server: its own, the web process, the query processes."""
        return processes(self.mark)

    def get(self, path: str = "", headers: Mapping[str, str] | None = None, method: str = "GET") -> Reply:
        """Ask for a path relative to the base, or for a whole address. Redirections are not followed."""
        return self.send(method, path, None, headers)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The same with a body, whose media type is among the headers."""
        url = path if path.startswith("http") else self.url + path.lstrip("/")
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
        try:
            with _OPENER.open(request, timeout=PATIENCE) as response:
                return Reply(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def sparql(self, query: str, accept: str = "text/csv") -> Reply:
        """A query by GET."""
        return self.get(f"sparql?{urlencode({'query': query})}", {"Accept": accept})

    def is_evaluating(self) -> bool:
        """Whether a query has been given to a query process and not come back."""
        return "\nkg_query_busy 1" in self.get("metrics").text

    def count(self, pattern: str = "?s ?p ?o") -> int:
        """How many solutions a pattern has."""
        reply = self.sparql(f"SELECT (COUNT(*) AS ?n) WHERE {{ {pattern} }}")
        assert reply.status == 200, reply.text
        return int(reply.text.split()[1])

    def stop(self, sign: signal.Signals = signal.SIGTERM, patience: float = 15.0) -> int:
        """End it as an operator would and return the exit code; fails if anything of it is still there then."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{sign.name} did not end the server in {patience:g} seconds: {self.output}") from None
        self.require_gone()
        return code

    def require_gone(self, patience: float = 10.0) -> None:
        """Return when no process of this server lives; fails when that takes longer."""
        try:
            until(lambda: not self.processes(), "no process of the server is left", patience)
        except AssertionError:
            left = {pid: _command(pid) for pid in self.processes()}
            self.kill()
            raise AssertionError(f"these processes outlived their server: {left}; it said {self.output}") from None

    def kill(self) -> None:
        """Take it away, all of it, whatever it is doing."""
        for pid in {self.process.pid, *self.processes()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


#: What starts a server of the test's own: the fixture `serve`.
Serve = Callable[..., Server]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return "gone"


# Commands


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


def kg(*arguments: str | Path, stdin: str | bytes = b"", cwd: Path | None = None, **variables: str) -> Outcome:
    """Run a command of the shell, `kg("query", "ASK {}", "--data", path)`, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "kg.cli", *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=environment(**variables),
        cwd=cwd,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def kg_here(*arguments: str | Path, stdin: str | bytes = b"", cwd: Path | None = None, **variables: str) -> Outcome:
    """The same within this process, where that a command is a process is not the point: in a tenth of the time. Not for `kg serve`."""
    unset = dict.fromkeys(name for name in os.environ if name.startswith("KG_"))
    with contextlib.chdir(cwd or Path.cwd()):
        done = CliRunner(env={**unset, **variables}).invoke(
            cli.main, list(map(str, arguments)), stdin, prog_name="kg", catch_exceptions=False
        )
    return Outcome(done.exit_code, done.stdout, done.stderr)


# State


def state_of(data: Path) -> dict[str, Any]:
    """All that a data directory holds, as it would differ if anything had been written: the journal's rows, the published
    snapshots, and what the index says it has reached."""
    connection = sqlite3.connect(f"file:{data / 'journal.sqlite'}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        state: dict[str, Any] = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    finally:
        connection.close()
    reached = data / "index" / "REVISION"
    state["index"] = reached.read_text("ascii") if reached.exists() else None
    state["snapshots"] = sorted(path.name for path in (data / "snapshots").glob("[0-9]*"))
    return state
