"""A process of this service's own beside it, from both sides: started, spoken to over a pipe, waited for no longer than may be, killed.

Hides pipes, limits and signals. Promises that a read ends at its deadline, that a child ends when nobody holds its pipe any more, in
the middle of its work too, and that its memory is bounded. Knows nothing of what is said, only how: in frames, each a 4-byte length
and a JSON header, and after it as many bytes of body as the header tells. Imports little: children must start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

#: The length of a header, in bytes, before it.
LENGTH = struct.Struct(">I")

#: What a child writes first, once it can take a request.
STARTED = b"ready"

#: Seconds within which a child must have started, whatever else the machine does.
_START_PATIENCE = 60.0


def frame(header: Mapping[str, Any]) -> bytes:
    """A frame without a body."""
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text


def write(stream: IO[bytes], data: bytes) -> None:
    """Write to an unbuffered stream, all of it."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


class Child:
    """The parent's handle. Its standard error goes to `stderr`, or where the parent's goes. For one thread at a time, but for
    `interrupt` and `kill`."""

    def __init__(self, module: str, *arguments: str, stderr: IO[bytes] | None = None) -> None:
        self._stderr = stderr
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
            start_new_session=True,  # a Ctrl-C in the terminal is for the server, which finishes what runs
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._in: IO[bytes] = self._popen.stdin
        self._out: IO[bytes] = self._popen.stdout
        self._arrived = bytearray()  # what is here and not taken yet
        self.started = False
        self.alive = True

    @property
    def pid(self) -> int:
        return self._popen.pid

    def has_ended(self) -> bool:
        """Whether it is gone already, killed from outside."""
        return self._popen.poll() is not None

    def interrupt(self) -> None:
        """Stop it at once; whoever waits for it meets the end of its output. From any thread."""
        self.alive = False
        self._popen.kill()

    def kill(self) -> None:
        """Stop it and release what belongs to it. Idempotent."""
        self.interrupt()
        self._popen.wait()
        for stream in (self._in, self._out, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def wait_until_started(self) -> None:
        """Returns at once where it has. Raises `TimeoutError`, or `EOFError` where it has ended instead."""
        if not self.started:
            self.take(len(STARTED), time.monotonic() + _START_PATIENCE)
            self.started = True

    def write(self, data: bytes) -> None:
        """Give it all of this. Raises `OSError` where it has ended."""
        write(self._in, data)

    def is_ready(self, deadline: float) -> bool:
        """Whether there is something to read, or the end, before the deadline (of `time.monotonic`)."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def take(self, count: int, deadline: float) -> bytes:
        """The next `count` bytes of what it says. A small reply is read at once, and what is not asked for yet is kept.

        Raises `TimeoutError` at the deadline, and `EOFError` where it has ended.
        """
        arrived = self._arrived
        while len(arrived) < count:
            if not self.is_ready(deadline):
                raise TimeoutError
            part = self._out.read(max(65_536, min(count, 2**20)))
            if not part:
                raise EOFError("it said nothing more")
            arrived += part
        taken = bytes(arrived[:count])
        del arrived[:count]
        return taken

    def take_header(self, deadline: float) -> dict[str, Any]:
        """The header of the next frame; its body, if it has one, is next. Raises what `take` raises."""
        header: dict[str, Any] = json.loads(self.take(LENGTH.unpack(self.take(LENGTH.size, deadline))[0], deadline))
        return header

    def last_words(self) -> str:
        """The beginning of what it wrote to `stderr`. Raises `ValueError` where it was killed by us."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        return self._stderr.read(65_536).decode("utf-8", "replace")


# In the child


def begin(memory: int) -> tuple[IO[bytes], IO[bytes]]:
    """Requests and replies of this process, which is a child: bounded in memory (bytes), and ending with its parent."""
    import resource

    # RLIMIT_DATA counts what is really writable and private; RLIMIT_AS would count RocksDB's reserved address space too.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the frames
    threading.Thread(target=_end_with_pipe, daemon=True).start()
    return requests, replies


def next_header(requests: IO[bytes]) -> dict[str, Any] | None:
    """The header of the next request; None when there are no more."""
    prefix = requests.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    header: dict[str, Any] = json.loads(requests.read(LENGTH.unpack(prefix)[0]))
    return header


def _end_with_pipe() -> None:
    """End when nobody holds the other end of standard input any more, in the middle of a request too."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)  # no events asked for: a hang-up is told in any case
    poll.poll()
    os._exit(1)


def end_with_parent() -> None:
    """End when the process that started this one through `multiprocessing` does, however that ends: what it started holds both ends
    of the pipes between them and would never see the end of one. Returns at once."""

    import multiprocessing  # 10 ms that only some children need

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
