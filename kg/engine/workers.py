"""Query processes: each evaluates one query at a time on a read-only snapshot and can be killed at any moment.

Hides processes, pipes and limits. pyoxigraph has no query timeout, a runaway query cannot be stopped inside its process, and
some queries abort the process they run in; so no other process evaluates SPARQL. Promises that at the deadline the processor is
free, that a process which dies costs its own request a clear error and nothing else, and that a result is whole or an error.

The parent's side is `QueryProcesses`. The child's side is `main`, run as `python -m kg.engine.workers`: it reads requests from
its standard input and writes replies to its standard output, each a frame of a 4-byte length, a JSON header, and as many bytes
of body as the header says. It ends when its standard input does, so none outlives its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyoxigraph as ox

from kg import lexis
from kg.engine import Answer, Query
from kg.errors import (
    KgError,
    MalformedQuery,
    NotAcceptable,
    Overloaded,
    QueryError,
    QueryMemoryExceeded,
    QueryProcessDied,
    QueryTimeout,
    ResultTooLarge,
    ServiceRefused,
    StorageError,
)

#: Up to this many bytes an answer travels through the pipe; above, through a file.
IN_MEMORY = 4 * 2**20

_LENGTH = struct.Struct(">I")

#: Words that make an engine send requests; bare words, so `?load` and `ex:service` are none.
_REACHING_OUT = frozenset({"SERVICE", "LOAD"})


@dataclass(frozen=True)
class Limits:
    """What one query may use: seconds, bytes of memory, bytes of result."""

    seconds: float
    memory: int
    result: int


class QueryProcesses:
    """A fixed number of query processes and the queue before them.

    `spool` is a directory for answers too large for memory; it is emptied at the start.
    """

    def __init__(self, count: int, queue: int, limits: Limits, spool: Path) -> None:
        self.limits = limits
        self._spool = spool
        self._queue = queue
        spool.mkdir(parents=True, exist_ok=True)
        for left_over in spool.iterdir():
            left_over.unlink(missing_ok=True)
        self._condition = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._idle = [_Process(limits, spool) for _ in range(count)]
        self._all = set(self._idle)

    def answer(self, query: Query, snapshot: Path, revision: int) -> Answer:
        """Evaluate a query on a snapshot. Raises a `QueryError`, `NotAcceptable` or `Overloaded`."""
        if reaching := sorted(_REACHING_OUT & lexis.words(query.text)):
            raise ServiceRefused(
                f"{reaching[0]} would make this service send requests elsewhere; it is not available here"
            )
        seconds = min(self.limits.seconds, query.timeout or self.limits.seconds)
        deadline = time.monotonic() + seconds
        process = self._take(deadline)
        try:
            header, body = process.evaluate(query, snapshot, deadline, seconds)
        finally:
            self._give_back(process)
        return Answer(
            header["kind"], header["format"], revision, header["length"], body, tuple(query.supplied_prefixes())
        )

    def pids(self) -> list[int]:
        """The process ids of the query processes there are now."""
        with self._condition:
            return sorted(process.pid for process in self._all)

    def close(self) -> None:
        """Kill all processes, busy ones too. Idempotent."""
        with self._condition:
            self._closed = True
            processes, self._all, self._idle = self._all, set(), []
            self._condition.notify_all()
        for process in processes:
            process.kill()

    def _take(self, deadline: float) -> _Process:
        with self._condition:
            if not self._idle and self._waiting >= self._queue:
                raise Overloaded(
                    f"{self._waiting} queries are waiting already; try again in a few seconds", retry_after=5
                )
            self._waiting += 1
            try:
                ready = self._condition.wait_for(lambda: self._idle or self._closed, deadline - time.monotonic())
            finally:
                self._waiting -= 1
            if self._closed:
                raise Overloaded("the service is stopping", retry_after=5)
            if not ready:
                raise Overloaded("no query process became free in time; try again in a few seconds", retry_after=5)
            return self._idle.pop()

    def _give_back(self, process: _Process) -> None:
        with self._condition:
            if self._closed:
                process.kill()
                return
            if not process.alive:
                self._all.discard(process)
                process = _Process(self.limits, self._spool)
                self._all.add(process)
            self._idle.append(process)
            self._condition.notify()


class _Process:
    """The parent's handle of one query process."""

    def __init__(self, limits: Limits, spool: Path) -> None:
        self._limits = limits
        self._stderr = tempfile.TemporaryFile()
        package = Path(__file__).parents[2]
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "kg.engine.workers", str(limits.memory), str(limits.result), str(spool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._in: IO[bytes] = self._popen.stdin
        self._out: IO[bytes] = self._popen.stdout
        self.alive = True

    @property
    def pid(self) -> int:
        return self._popen.pid

    def kill(self) -> None:
        self.alive = False
        self._popen.kill()
        self._popen.wait()
        for stream in (self._in, self._out, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()

    def evaluate(
        self, query: Query, snapshot: Path, deadline: float, seconds: float
    ) -> tuple[dict[str, Any], bytes | IO[bytes]]:
        request = {
            "snapshot": str(snapshot),
            "text": query.text,
            "base": query.base,
            "prefixes": query.supplied_prefixes(),
            "default_graphs": query.default_graphs,
            "named_graphs": query.named_graphs,
            "solutions": query.solutions,
            "triples": query.triples,
        }
        try:
            _write_frame(self._in, request)
            header = json.loads(self._read(_LENGTH.unpack(self._read(4, deadline))[0], deadline))
            if "error" in header:
                raise _error(header, self._limits)
            if "spooled" in header:
                path = Path(header["spooled"])
                file = path.open("rb")
                path.unlink()
                return header, file
            return header, self._read(header["length"], deadline)
        except TimeoutError:
            self.kill()
            raise QueryTimeout(
                f"the query took longer than {seconds:g} seconds and was stopped", limit=seconds
            ) from None
        except (EOFError, BrokenPipeError):
            raise self._died() from None
        except KgError:
            raise
        except BaseException:  # the caller goes away in the middle of a frame: the pipe is of no more use
            self.kill()
            raise

    def _read(self, count: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while count:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            part = self._out.read(min(count, 2**20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _died(self) -> KgError:
        """Why the process is gone, from its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        self._stderr.seek(0)
        last_words = self._stderr.read(65_536).decode("utf-8", "replace")
        code = self._popen.returncode
        self.kill()
        if "memory allocation" in last_words or "MemoryError" in last_words:
            return _error({"error": "memory"}, self._limits)
        if "total order" in last_words:
            return QueryProcessDied(
                "ORDER BY met values that have no order among each other, and the engine gave up; order by STR(?x) instead"
            )
        return QueryProcessDied(
            f"the process that evaluated the query ended with code {code}; only this request is concerned"
        )


def _error(header: Mapping[str, Any], limits: Limits) -> KgError:
    """The error that a reply tells of."""
    match header["error"]:
        case "syntax":
            return MalformedQuery(header["message"], line=header["line"], column=header["column"])
        case "result":
            return ResultTooLarge(
                f"the answer is larger than {limits.result:,} bytes; ask for it in parts", limit=limits.result
            )
        case "memory":
            return QueryMemoryExceeded(
                f"the query needed more than {limits.memory:,} bytes of memory and was stopped", limit=limits.memory
            )
        case "not acceptable":
            return NotAcceptable(header["message"], available=header["available"])
        case "storage":
            return StorageError(header["message"])
        case _:
            return QueryError(header["message"])


def _write_frame(stream: IO[bytes], header: Mapping[str, Any], body: bytes = b"") -> None:
    text = json.dumps(header).encode()
    view = memoryview(_LENGTH.pack(len(text)) + text + body)
    while view:
        view = view[stream.write(view) :]


# The child


class _Sink:
    """Where a result is written: memory, then a file, and past the cap an error."""

    def __init__(self, cap: int, spool: Path) -> None:
        self.length = 0
        self.file: Any = None
        self._parts: list[bytes] = []
        self._cap = cap
        self._spool = spool

    def write(self, data: bytes) -> int:
        self.length += len(data)
        if self.length > self._cap:
            raise _TooLarge
        if self.file is None:
            self._parts.append(data)
            if self.length > IN_MEMORY:
                self.file = tempfile.NamedTemporaryFile(dir=self._spool, delete=False)
                self.file.write(b"".join(self._parts))
                self._parts = []
        else:
            self.file.write(data)
        return len(data)

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def body(self) -> bytes:
        return b"".join(self._parts)

    def discard(self) -> None:
        if self.file is not None:
            self.file.close()
            Path(self.file.name).unlink(missing_ok=True)


class _TooLarge(Exception):
    pass


_SOLUTIONS = {
    "json": ox.QueryResultsFormat.JSON,
    "xml": ox.QueryResultsFormat.XML,
    "csv": ox.QueryResultsFormat.CSV,
    "tsv": ox.QueryResultsFormat.TSV,
}
_TRIPLES = {"ttl": ox.RdfFormat.TURTLE, "nt": ox.RdfFormat.N_TRIPLES, "rdf": ox.RdfFormat.RDF_XML}


def _evaluate(store: ox.Store, request: Mapping[str, Any], sink: _Sink, prefixes: dict[str, str]) -> dict[str, Any]:
    graphs: dict[str, Any] = {"use_default_graph_as_union": True}
    if request["default_graphs"] or request["named_graphs"]:
        graphs = {
            "default_graph": [ox.NamedNode(iri) for iri in request["default_graphs"]],
            "named_graphs": [ox.NamedNode(iri) for iri in request["named_graphs"]],
        }
    result = store.query(request["text"], base_iri=request["base"], prefixes=request["prefixes"], **graphs)
    if isinstance(result, ox.QueryTriples):
        kind, wanted = "triples", request["triples"]
    else:
        kind, wanted = ("boolean" if isinstance(result, ox.QueryBoolean) else "solutions"), request["solutions"]
    if wanted is None:
        what = "RDF" if kind == "triples" else "a table" if kind == "solutions" else "true or false"
        message = f"the query answers with {what}, which cannot be written in any media type that was asked for"
        return {"error": "not acceptable", "message": message, "available": kind}
    if isinstance(result, ox.QueryTriples):
        # QueryTriples.serialize is faster but writes no prefixes.
        ox.serialize(result, sink, format=_TRIPLES[wanted], prefixes=prefixes)  # type: ignore[arg-type]
    else:
        result.serialize(sink, format=_SOLUTIONS[wanted])  # type: ignore[arg-type]
    sink.flush()
    return {"kind": kind, "format": wanted, "length": sink.length}


_PLACE = re.compile(r"error at (\d+):(\d+): (?s:(.*))")


def _reply(
    request: Mapping[str, Any], store: ox.Store, cap: int, spool: Path, prefixes: dict[str, str]
) -> tuple[dict[str, Any], bytes]:
    sink = _Sink(cap, spool)
    try:
        header = _evaluate(store, request, sink, prefixes)
        if sink.file is not None:
            sink.file.close()
            return {**header, "spooled": sink.file.name}, b""
        return header, sink.body()
    except SyntaxError as error:
        place = _PLACE.match(error.msg)
        line, column, message = (int(place[1]), int(place[2]), place[3]) if place else (None, None, error.msg)
        header = {"error": "syntax", "message": message, "line": line, "column": column}
    except _TooLarge:
        header = {"error": "result"}
    except MemoryError:
        header = {"error": "memory"}
    except OSError as error:
        header = {"error": "storage", "message": str(error)}
    except (ValueError, RuntimeError) as error:
        header = {"error": "evaluation", "message": str(error)}
    sink.discard()
    return header, b""


def main(memory: int, result: int, spool: Path) -> None:
    """Answer requests from standard input until it ends."""
    import resource

    from kg.terms import PREFIXES

    # RLIMIT_DATA counts what is really writable and private; RLIMIT_AS would count RocksDB's reserved address space too.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints goes to the log, not into a frame
    opened: tuple[str, ox.Store] | None = None
    while len(prefix := requests.read(4)) == 4:
        request = json.loads(requests.read(_LENGTH.unpack(prefix)[0]))
        if opened is None or opened[0] != request["snapshot"]:
            opened = None  # closes the one before
            try:
                opened = (request["snapshot"], ox.Store.read_only(request["snapshot"]))
            except OSError as error:
                _write_frame(replies, {"error": "storage", "message": f"the snapshot cannot be opened: {error}"})
                continue
        _write_frame(replies, *_reply(request, opened[1], result, spool, PREFIXES))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
