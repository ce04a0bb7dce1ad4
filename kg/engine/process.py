"""One query process, seen from outside: it is started, given a query, waited for, and killed at any moment.

Hides what is said to it. Promises that a reply is whole or an error, and that whoever must not wait need not:
`send` and `receive` never block. What runs inside is `kg.engine.evaluator`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kg.child import LENGTH, Child
from kg.engine.evaluator import spool_prefix
from kg.engine.turns import QUICK
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
    StorageError,
    UpdateRefused,
)


@dataclass(frozen=True)
class Limits:
    """What one query may use: seconds, bytes of memory, bytes of result. One that takes longer than `slow` seconds is logged."""

    seconds: float
    memory: int
    result: int
    slow: float = 5.0


#: Seconds after which a query is long, and how far its process steps back then (as nice(1) counts).
_LONG = 1.0
_STEPPED_BACK = 10

#: How many times as long as a quick one a query may wait for the processor before it counts as slow.
_PATIENCE = 10

#: Seconds of processor time that opening a snapshot may take, which is nobody's query: 0.03 on an idle machine, more on a busy one.
_OPENING = 0.15

#: A request of up to this many bytes goes into an empty pipe at once (pipe(7)).
_PIPE = 65_536


class StoppedForBeingSlow(Exception):
    """The quick place is needed: the query must wait for a slow one."""


Reply = tuple[dict[str, Any], bytes | IO[bytes]]


class Process(Child):
    """The parent's handle of one query process. It has one query at a time: `send` and `receive`, `evaluate`, or both in this order."""

    def __init__(self, limits: Limits, spool: Path) -> None:
        self._limits = limits
        self._spool = spool
        given = (str(limits.memory), str(limits.result), str(spool))
        super().__init__("kg.engine.evaluator", *given, stderr=tempfile.TemporaryFile())
        self._stepped_back = False
        self._sent = 0.0  # when the query was, if it was
        self._used_before = 0.0  # seconds of processor time, when the query was sent
        self.was_quick = False  # the query before
        self._snapshot: Path | None = None
        self._opening = False

    def kill(self) -> None:
        super().kill()
        for spooled in self._spool.glob(spool_prefix(self.pid) + "*"):  # what it was writing when it was killed
            spooled.unlink(missing_ok=True)

    def is_to_read(self, snapshot: Path) -> None:
        """Tell on which snapshot the next query is, as opening another takes time that is not the query's."""
        self._opening, self._snapshot = snapshot != self._snapshot, snapshot

    def send(self, frame: bytes) -> int | None:
        """Give it a query without waiting; the descriptor on which there will be something to read. None where that cannot be done:
        it is still starting, or the query is long. Then `evaluate` does it."""
        if not self.started or len(frame) > _PIPE:
            return None
        try:
            self._in.write(frame)
        except BrokenPipeError:
            return None  # `evaluate` finds out why
        self._begin()
        return self._out.fileno()

    def receive(self) -> Reply | None:
        """The reply, when there is something to read and that is all of it. None where more is to come, or an error has: `evaluate`
        waits for it, or raises it."""
        self._arrived += self._out.read(_PIPE) or b""
        start = LENGTH.size
        if len(self._arrived) < start:
            return None
        end = start + LENGTH.unpack_from(self._arrived)[0]
        if len(self._arrived) < end:
            return None
        header = json.loads(self._arrived[start:end])
        if "error" in header or "spooled" in header or len(self._arrived) < end + header["length"]:
            return None
        body = bytes(self._arrived[end:])
        self._rest()
        return header, body

    def evaluate(self, frame: bytes, seconds: float, may_go_on: Callable[[], bool]) -> Reply:
        """The reply to a query, which is sent first if it was not; `seconds` bounds the evaluation. Once the query has run for
        longer than a quick one, `may_go_on` is asked."""
        deadline = (self._sent or time.monotonic()) + seconds
        try:
            if not self.started:
                # The time that a new process takes to start is not the query's.
                self.wait_until_started()
                deadline = time.monotonic() + seconds
            if not self._sent:
                self._begin()
                self.write(frame)
            if not self._arrived:
                if not self._is_quick(deadline) and not may_go_on():
                    self.kill()
                    raise StoppedForBeingSlow
                if not self.is_ready(min(time.monotonic() + _LONG, deadline)):
                    self._step_back()
            header = self.take_header(deadline)
            if "error" in header:
                self._rest()
                raise error_of(header, self._limits)
            if "spooled" in header:
                path = Path(header["spooled"])
                file = path.open("rb")
                path.unlink()
                self._rest()
                return header, file
            body = self.take(header["length"], deadline)
            self._rest()
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

    def _begin(self) -> None:
        """The query is sent now."""
        self._sent, self._used_before, self.was_quick = time.monotonic(), self._processor_time(), False

    def _rest(self) -> None:
        """The reply is read; ready for the next query."""
        self.was_quick = not self._is_slow()
        self._sent = 0.0
        self._arrived.clear()
        self._step_forward()

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
        """Whether there is a reply, or the end, before the query is slow."""
        for rounds in range(1, _PATIENCE + 1):
            if self.is_ready(min(self._sent + rounds * QUICK, deadline)):
                return True
            if time.monotonic() >= deadline or self._is_slow():
                break
        return False

    def _is_slow(self) -> bool:
        """Whether the query has taken longer than a quick one. Where the machine is busy with other things that time is longer:
        what counts is the processor time that the query has had, up to `_PATIENCE` times as long a wait."""
        took = time.monotonic() - self._sent
        if took <= QUICK:
            return False
        enough = QUICK / 2 + (_OPENING if self._opening else 0)
        return took >= _PATIENCE * QUICK or self._processor_time() - self._used_before > enough

    def _processor_time(self) -> float:
        """Seconds of processor time that the process has used."""
        try:
            return time.clock_gettime(
                (~self._popen.pid << 3) | 2
            )  # clock_getcpuclockid(3) of another process, in Linux
        except OSError:  # it is gone
            return 0.0

    def _died(self) -> KgError:
        """Why the process is gone, from its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(1)
        try:
            last_words = self.last_words()
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
        case "refused":
            return UpdateRefused(header["message"])
        case "storage":
            return StorageError(header["message"])
        case _:
            return QueryError(header["message"])
