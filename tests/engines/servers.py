"""SPARQL servers that are not ours, as processes and threads of a test: Oxigraph's, Virtuoso, and one that behaves badly.

All listen on 127.0.0.1 only. Whoever starts one stops it.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from serving import until, unused_port

#: What Debian calls the package with the binaries.
VIRTUOSO_PACKAGE = "virtuoso-opensource-7-bin"


def virtuoso_is_missing() -> bool:
    return shutil.which("virtuoso-t") is None or shutil.which("isql-vt") is None


def oxigraph_program() -> str | None:
    """The program of the PyPI package, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("oxigraph")
    return str(beside) if beside.exists() else shutil.which("oxigraph")


class Process:
    """A server as a process. `settings` are those of ours that lead to it."""

    process: subprocess.Popen[bytes]
    query: str
    update: str

    def __init__(self, directory: Path, port: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or unused_port()
        self.log = directory / "server.log"

    @property
    def settings(self) -> dict[str, str]:
        return {"engine": self.query, "engine_update": self.update}

    def run(self, *command: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self.answers, f"{command[0]} answers; it said {self.log.read_text('utf-8', 'replace')[-2000:]}")

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text("utf-8", "replace")[-2000:]
        with contextlib.suppress(OSError):
            return "true" in self.send("query", "ASK { }")
        return False

    def send(self, kind: str, text: str) -> str:
        """A query or an update, past everything of ours; what it said."""
        url = self.query if kind == "query" else self.update
        form = urllib.parse.urlencode({kind: text}).encode()
        headers = {"Accept": "application/sparql-results+json, application/n-triples;q=0.5"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, form, headers), timeout=30) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.code}: {error.read().decode()[:2000]}") from None

    def stop(self, sign: signal.Signals = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            self.process.send_signal(sign)
            self.process.wait(30)


class Oxigraph(Process):
    """`oxigraph serve`, in memory. `start` again after `stop` gives an empty one on the same port, or with `kept` the same."""

    def __init__(self, directory: Path, *, union: bool = True, kept: bool = False) -> None:
        super().__init__(directory)
        self.query, self.update = (f"http://127.0.0.1:{self.port}/{path}" for path in ("query", "update"))
        self._flags = ["--union-default-graph"] * union + ["--location", str(directory / "store")] * kept

    def start(self) -> Self:
        program = oxigraph_program()
        assert program is not None
        self.run(program, "serve", "--bind", f"127.0.0.1:{self.port}", *self._flags)
        return self


_VIRTUOSO = """\
[Database]
DatabaseFile = virtuoso.db
ErrorLogFile = virtuoso.log
LockFile = virtuoso.lck
TransactionFile = virtuoso.trx
xa_persistent_file = virtuoso.pxa
FileExtend = 200
[TempDatabase]
DatabaseFile = virtuoso-temp.db
TransactionFile = virtuoso-temp.trx
[Parameters]
ServerPort = 127.0.0.1:{sql}
DisableUnixSocket = 1
ServerThreads = 20
CheckpointInterval = 0
NumberOfBuffers = 4000
MaxDirtyBuffers = 3000
CaseMode = 2
DirsAllowed = .
AsyncQueueMaxThreads = 2
ThreadsPerQuery = 2
[HTTPServer]
ServerPort = 127.0.0.1:{http}
ServerRoot = .
ServerThreads = 10
[SPARQL]
MaxQueryExecutionTime = 10
{cap}
"""


class Virtuoso(Process):
    """Virtuoso with an empty database, where everybody may query and update at /sparql, and dba at /sparql-auth. It fetches nothing:
    the Sponger is not installed. `cap` is its ResultSetMaxRows."""

    def __init__(self, directory: Path, *, cap: int | None = None) -> None:
        super().__init__(directory)
        self.query = self.update = f"http://127.0.0.1:{self.port}/sparql"
        self._sql = unused_port()
        text = _VIRTUOSO.format(sql=self._sql, http=self.port, cap="" if cap is None else f"ResultSetMaxRows = {cap}")
        (directory / "virtuoso.ini").write_text(text, "ascii")

    @property
    def authenticated(self) -> dict[str, str]:
        """Settings that lead to where it asks who we are, by a digest."""
        url = self.query + "-auth"
        return {"engine": url, "engine_update": url, "engine_user": "dba", "engine_secret": "dba"}

    def start(self) -> Self:
        self.run("virtuoso-t", "+foreground", "+configfile", "virtuoso.ini")
        # Not before it has said so: the SQL port opens before the server is ready for it.
        self._execute('GRANT SPARQL_UPDATE TO "SPARQL"')
        return self

    def _execute(self, statement: str) -> None:
        command = ["isql-vt", str(self._sql), "dba", "dba", f"exec={statement};"]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True, timeout=30)

    def clear(self, base: str) -> None:
        """Remove all graphs under a base, and stop the queries that nobody waits for any more."""
        self._execute("txn_killall()")
        found = self.send(
            "query", f'SELECT DISTINCT ?g {{ GRAPH ?g {{ ?s ?p ?o }} FILTER(STRSTARTS(STR(?g), "{base}")) }}'
        )
        graphs = {part.partition('"')[0] for part in found.split('"value": "')[1:]}
        for graph in sorted(graphs):
            self.send("update", f"DROP SILENT GRAPH <{graph}>")


# A server that behaves badly

Handler = Callable[["Exchanged", socket.socket], object]


class Exchanged:
    """A request that came: its method, path, headers by lower-case name, and form."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = first.split(" ", 2)
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.form = dict(urllib.parse.parse_qsl(body.decode()))
        self.raw = head + b"\r\n\r\n" + body


class Odd:
    """A server that hands each request to `handler` with the open connection, and otherwise passes it on to a real one.

    A handler that returns `PASS` leaves the request to it.
    """

    def __init__(self, real: Process, handler: Handler | None = None) -> None:
        self.seen: list[Exchanged] = []
        self.handler = handler
        odd = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                connection: socket.socket = self.request
                data = b""
                while b"\r\n\r\n" not in data:
                    if not (piece := connection.recv(65_536)):
                        return
                    data += piece
                head, _, body = data.partition(b"\r\n\r\n")
                request = Exchanged(head, body)
                while len(body) < int(request.headers.get("content-length", "0")):
                    body += connection.recv(65_536)
                request = Exchanged(head, body)
                odd.seen.append(request)
                with contextlib.suppress(OSError):
                    if odd.handler is None or odd.handler(request, connection) is PASS:
                        odd._pass_on(real, request, connection)

        class Threads(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

        self._server = Threads(("127.0.0.1", 0), Connection)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    @property
    def settings(self) -> dict[str, str]:
        return {
            f"engine{suffix}": f"http://127.0.0.1:{self.port}/{path}"
            for suffix, path in (("", "query"), ("_update", "update"))
        }

    @staticmethod
    def _pass_on(real: Process, request: Exchanged, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", real.port)) as other:
            other.sendall(request.raw)
            while piece := other.recv(65_536):
                connection.sendall(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


#: What a handler returns that leaves the request to the real server.
PASS = object()


def reply(status: str, body: bytes = b"", headers: Mapping[str, str] | None = None, length: int | None = None) -> bytes:
    """An answer, with the length it claims to have."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
