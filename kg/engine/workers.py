"""Query processes: each evaluates one query at a time on a read-only snapshot and can be killed at any moment.

Hides processes, pipes and limits. pyoxigraph has no query timeout, a runaway query cannot be stopped inside its process, and
some queries abort the process they run in; so no other process evaluates SPARQL. Promises that at the deadline, or when the
caller goes away, the processor is free; that a process which dies costs its own request a clear error and nothing else; and that
a result is whole or an error. What runs inside is `kg.engine.evaluator`; who is next, `kg.engine.turns`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from kg import lexis
from kg.engine import NOBODY, Answer, Caller, Query
from kg.engine.evaluator import LENGTH, STARTED, write_frame
from kg.engine.federation import Federation
from kg.engine.turns import QUICK, Turns
from kg.errors import (
    CallerGone,
    KgError,
    MalformedQuery,
    NotAcceptable,
    Overloaded,
    QueryError,
    QueryMemoryExceeded,
    QueryProcessDied,
    QueryTimeout,
    ResultTooLarge,
    StorageError,
)

log = logging.getLogger("kg.query")


@dataclass(frozen=True)
class Limits:
    """What one query may use: seconds, bytes of memory, bytes of result. One that takes longer than `slow` seconds is logged."""

    seconds: float
    memory: int
    result: int
    slow: float = 5.0


#: Seconds within which a process must have started, whatever else the machine does.
_START_PATIENCE = 60.0


#: Seconds after which a query is long, and how far its process steps back then (as nice(1) counts).
_LONG = 1.0
_STEPPED_BACK = 10


class _StoppedForBeingSlow(Exception):
    """The quick place is needed: the query must wait for a slow one."""


class QueryProcesses:
    """A fixed number of query processes and the queue before them.

    `spool` is a directory for answers too large for memory; it is emptied at the start. `federation` says what SERVICE may
    ask, by default nothing; it is closed with the processes.
    """

    def __init__(
        self, count: int, queue: int, limits: Limits, spool: Path, federation: Federation | None = None
    ) -> None:
        self.limits = limits
        self._federation = federation or Federation()
        self._spool = spool
        self._turns = Turns(count, queue)
        spool.mkdir(parents=True, exist_ok=True)
        for left_over in spool.iterdir():
            left_over.unlink(missing_ok=True)
        self._lock = threading.Lock()
        self._closed = False
        self._kills = 0
        self._idle = [_Process(limits, spool) for _ in range(count)]
        self._all = set(self._idle)

    def answer(self, query: Query, snapshot: Path, revision: int, caller: Caller = NOBODY) -> Answer:
        """Evaluate a query on a snapshot. Raises a `QueryError`, `NotAcceptable`, `Overloaded` or, if the snapshot cannot be
        opened, `StorageError`. A query may wait for as long as it may run."""
        with self._federation.admit(query) as admitted:
            try:
                return self._answer(query, admitted.text, snapshot, revision, caller)
            except MalformedQuery as error:
                explained = admitted.explain(error)
                raise MalformedQuery(_in_words(query, explained.detail), **explained.facts) from None
            except KgError as error:
                raise admitted.explain(error) from None

    def _answer(self, query: Query, text: str, snapshot: Path, revision: int, caller: Caller) -> Answer:
        """The answer to a query; `text` is what is evaluated for it."""
        words = lexis.words(query.text)
        seconds = min(self.limits.seconds, query.timeout or self.limits.seconds)
        request = {
            "snapshot": str(snapshot),
            "text": text,
            "base": query.base,
            "prefixes": query.supplied_prefixes(),
            # Oxigraph lets the union win over FROM without a word, so it is only asked for where the query names no dataset.
            "union": "FROM" not in words,
            "default_graphs": query.default_graphs,
            "named_graphs": query.named_graphs,
            "solutions": query.solutions,
            "triples": query.triples,
        }
        slow: bool | None = None
        while True:
            turn = self._turns.enter(query.text, caller, self.limits.seconds, slow=slow)
            process, finished, start = self._take(), None, time.monotonic()
            try:
                with caller.on_hang_up(process.interrupt):
                    may_go_on = partial(self._turns.became_slow, turn)
                    header, body = process.evaluate(request, seconds, may_go_on)
                finished = query.text
            except _StoppedForBeingSlow:
                slow = True
                continue
            except QueryTimeout:
                finished = query.text
                raise
            except QueryProcessDied:
                if caller.gone:
                    raise CallerGone("the caller went away while the query ran") from None
                raise
            finally:
                took = time.monotonic() - start
                self._give_back(process)
                self._turns.leave(turn, finished, took)
                if took > self.limits.slow:
                    log.warning("[%s] slow query, %.1f s: %r", caller.request, took, query.text[:2000])
            return Answer(
                header["kind"], header["format"], revision, header["length"], body, tuple(query.supplied_prefixes())
            )

    def figures(self) -> Mapping[str, int]:
        """Numbers for operators: processes, how many of them are busy, queries waiting, processes killed or lost so far."""
        with self._lock:
            return {
                "processes": len(self._all),
                "busy": len(self._all) - len(self._idle),
                "waiting": self._turns.waiting(),
                "replaced": self._kills,
            }

    def pids(self) -> list[int]:
        """The process ids of the query processes there are now."""
        with self._lock:
            return sorted(process.pid for process in self._all)

    def close(self) -> None:
        """Kill all processes, busy ones too. Idempotent."""
        with self._lock:
            self._closed = True
            processes, self._all, self._idle = self._all, set(), []
        for process in processes:
            process.kill()
        self._federation.close()

    def _take(self) -> _Process:
        """An idle process; whoever has a turn finds one."""
        with self._lock:
            if self._closed:
                raise Overloaded("the service is stopping", retry_after=5)
            # The one used last: its caches are warm and it has the newest snapshot open.
            process = self._idle.pop()
            if not process.has_ended():
                return process
            # Nobody's query ended it, so nobody's query is to fail of it.
            process.kill()
            self._replace(process)
            return self._idle.pop(0)

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            if self._closed:
                process.kill()
                return
            if not process.alive:
                self._replace(process)
            else:
                self._idle.append(process)


    def _replace(self, ended: _Process) -> None:
        """Start another, which stands first among the idle ones, as it is still starting. The lock is held."""
        self._kills += 1
        self._all.discard(ended)
        process = _Process(self.limits, self._spool)
        self._all.add(process)
        self._idle.insert(0, process)


class _Process:
    """The parent's handle of one query process."""

    def __init__(self, limits: Limits, spool: Path) -> None:
        self._limits = limits
        self._stderr = tempfile.TemporaryFile()
        package = Path(__file__).parents[2]
        path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "kg.engine.evaluator", str(limits.memory), str(limits.result), str(spool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # a Ctrl-C in the terminal is for the server, which finishes what runs
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._in: IO[bytes] = self._popen.stdin
        self._out: IO[bytes] = self._popen.stdout
        self.alive = True
        self._started = False
        self._stepped_back = False

    @property
    def pid(self) -> int:
        return self._popen.pid

    def has_ended(self) -> bool:
        """Whether it is gone already, killed from outside."""
        return self._popen.poll() is not None

    def interrupt(self) -> None:
        """Stop it at once; whoever waits for its reply is told that it died. From any thread."""
        self.alive = False
        self._popen.kill()

    def kill(self) -> None:
        """Stop it and release what belongs to it."""
        self.alive = False
        self._popen.kill()
        self._popen.wait()
        for stream in (self._in, self._out, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()

    def evaluate(
        self, request: Mapping[str, Any], seconds: float, may_go_on: Callable[[], bool]
    ) -> tuple[dict[str, Any], bytes | IO[bytes]]:
        """The header and body of the reply; `seconds` bounds the evaluation. Once the query has run for longer than a quick one,
        `may_go_on` is asked."""
        deadline = time.monotonic() + seconds
        try:
            if not self._started:
                # The time that a new process takes to start is not the query's.
                self._read(bytearray(), len(STARTED), time.monotonic() + _START_PATIENCE)
                self._started = True
                deadline = time.monotonic() + seconds
            write_frame(self._in, request)
            if not self._is_quick(deadline) and not may_go_on():
                self.kill()
                raise _StoppedForBeingSlow
            if not self._ready(min(time.monotonic() + _LONG, deadline)):
                self._step_back()
            arrived = bytearray()
            header = json.loads(self._read(arrived, LENGTH.unpack(self._read(arrived, 4, deadline))[0], deadline))
            if "error" in header:
                self._step_forward()
                raise error_of(header, self._limits)
            if "spooled" in header:
                path = Path(header["spooled"])
                file = path.open("rb")
                path.unlink()
                self._step_forward()
                return header, file
            body = self._read(arrived, header["length"], deadline)
            self._step_forward()
            return header, body
        except TimeoutError:
            self.kill()
            raise QueryTimeout(
                f"the query took longer than {seconds:g} seconds and was stopped", limit=seconds
            ) from None
        except (EOFError, BrokenPipeError):
            raise self._died() from None
        except KgError:
            raise
        except BaseException:  # in the middle of a frame: the pipe is of no more use
            self.kill()
            raise

    def _step_back(self) -> None:
        """Let look-ups go first where they and a long query want the same processor. Evaluation runs in the main thread, which
        has the number of the process."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._popen.pid, _STEPPED_BACK)
            self._stepped_back = True

    def _step_forward(self) -> None:
        """Undo that. Only the superuser may, so for others the process is replaced: a tenth of what the query took."""
        if self._stepped_back and self.alive:
            try:
                os.setpriority(os.PRIO_PROCESS, self._popen.pid, 0)
                self._stepped_back = False
            except OSError:
                self.kill()

    def _is_quick(self, deadline: float) -> bool:
        """Whether there is a reply, or the end, within the time of a quick query. Where the machine is busy with other things
        that time is longer: what counts is the processor time that the query has had, up to ten times as long a wait."""
        start, used = time.monotonic(), self._processor_time()
        for rounds in range(1, 11):
            if self._ready(min(start + rounds * QUICK, deadline)):
                return True
            if time.monotonic() >= deadline or self._processor_time() - used > QUICK / 2:
                break
        return False

    def _processor_time(self) -> float:
        """Seconds of processor time that the process has used."""
        try:
            return time.clock_gettime(
                (~self._popen.pid << 3) | 2
            )  # clock_getcpuclockid(3) of another process, in Linux
        except OSError:  # it is gone
            return 0.0

    def _ready(self, deadline: float) -> bool:
        """Whether there is something to read, or the end, before the deadline."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _read(self, arrived: bytearray, count: int, deadline: float) -> bytes:
        """The next `count` bytes. `arrived` holds what came with earlier ones: a small reply is one read."""
        while len(arrived) < count:
            if not self._ready(deadline):
                raise TimeoutError
            part = self._out.read(max(65_536, min(count, 2**20)))
            if not part:
                raise EOFError
            arrived += part
        taken = bytes(arrived[:count])
        del arrived[:count]
        return taken

    def _died(self) -> KgError:
        """Why the process is gone, from its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        try:
            self._stderr.seek(0)
            last_words = self._stderr.read(65_536).decode("utf-8", "replace")
        except ValueError:  # closed together with all processes
            return Overloaded("the service is stopping", retry_after=5)
        code = self._popen.returncode
        self.kill()
        if "memory allocation" in last_words or "MemoryError" in last_words:
            return error_of({"error": "memory"}, self._limits)
        if "total order" in last_words:
            return QueryProcessDied(
                "ORDER BY met values that have no order among each other, and the engine gave up; order by STR(?x) instead"
            )
        return QueryProcessDied(
            f"the process that evaluated the query ended with code {code}; only this request is concerned"
        )


_UPDATES = frozenset({"INSERT", "DELETE", "DROP", "CLEAR", "CREATE", "COPY", "MOVE", "ADD", "WITH"})


def _in_words(query: Query, message: str) -> str:
    """What a person makes of a syntax error, with the parser's own words behind it where it is not plain what is meant."""
    words = lexis.words(query.text)
    if not words & {"SELECT", "ASK", "CONSTRUCT", "DESCRIBE"}:
        if words & _UPDATES:
            return "this is an update; queries begin with SELECT, ASK, CONSTRUCT or DESCRIBE"
        return f"there is no SELECT, ASK, CONSTRUCT or DESCRIBE in it ({message})"
    unknown = sorted(lexis.undeclared_prefixes(query.text) - query.supplied_prefixes().keys())
    if "refix" in message and unknown:
        names = ", ".join(f"{name}:" for name in unknown)
        return f"no PREFIX declares {names}"
    return message


def error_of(header: Mapping[str, Any], limits: Limits) -> KgError:
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
