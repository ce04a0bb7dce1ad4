"""Reading and judging in processes of their own, which can be stopped.

Hides processes and pipes. Reading is bounded by the size of the text, but judging is not: a chain of a few thousand reports in one
document takes minutes, holds the interpreter's lock and cannot be stopped in its own process. Promises that a document
which takes too long, or brings its process down, costs its sender a clear error and nobody else anything; and that strangers
who only want a verdict never take the last process from those who write.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kg import assets, documents, gate
from kg.child import STARTED, Child, begin, frame, next_header, write
from kg.documents import Document, Syntax
from kg.errors import JudgeDied, JudgingTimeout, KgError, Overloaded
from kg.gate import Face, Report, Result
from kg.journal import decode_face, encode_face
from kg.terms import Base

#: A document and the faces of what it refers to, as they travel between processes: of plain parts.
Packed = tuple[str, str, tuple[tuple[str, str], ...]]

#: Seconds for which one who only wants a verdict waits for a process: each who waits holds a thread.
_GUEST_PATIENCE = 5.0

_KINDS = {kind.__name__: kind for kind in KgError.tree()}


def pack(document: Document, near: Mapping[str, Face]) -> Packed:
    """A document and its neighbours' faces, ready to travel."""
    faces = tuple((iri, encode_face(face).decode()) for iri, face in sorted(near.items()))
    return document.iri, document.content.decode(), faces


def judge_packed(item: Packed, base: Base) -> Report:
    """The gate's report on what has travelled."""
    iri, content, near = item
    return gate.judge(Document(iri, content.encode()), base, {reference: decode_face(face) for reference, face in near})


class Judges:
    """Processes that read and judge beside this one; each starts when there is work for it, 0.6 s, and stays.

    `seconds` is what one document may take, `memory` in bytes what a process may use, `count` how many processes there may be.
    Threads may share one.
    """

    def __init__(self, base: Base, *, seconds: float, memory: int, count: int) -> None:
        self._base = base
        self._seconds = seconds
        self._memory = memory
        self._count = max(2, count)
        self._free = threading.Condition()
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._busy = self._guests = 0
        self._closed = False

    def read(
        self,
        data: bytes,
        syntax: Syntax,
        *,
        relative_to: str,
        into: str | None = None,
        limit: int,
        guest: bool = False,
    ) -> list[Document]:
        """As `documents.parse`, and what it raises; or `JudgingTimeout`, `JudgeDied`, `Overloaded`."""
        request = {"suffix": syntax.suffix, "relative_to": relative_to, "into": into, "limit": limit}
        with self._process(guest) as process:
            (found,) = process.work(request, data, 1, self._seconds)
        return [Document(iri, content.encode()) for iri, content in found]

    def judge(self, pairs: Sequence[tuple[Document, Mapping[str, Face]]], guest: bool = False) -> list[Report]:
        """The report on each document, in order. Raises `JudgingTimeout`, `JudgeDied` or `Overloaded`."""
        if not pairs:
            return []
        packed = [pack(document, near) for document, near in pairs]
        with self._process(guest) as process:
            reports = list(process.work({"judge": packed}, b"", len(packed), self._seconds))
        return [Report(iri, tuple(Result(**result) for result in results)) for iri, results in reports]

    def pids(self) -> list[int]:
        """The process ids of the processes there are now."""
        with self._free:
            return sorted(process.pid for process in self._all)

    def close(self) -> None:
        """Kill all processes, busy ones too. Idempotent."""
        with self._free:
            self._closed = True
            processes, self._all, self._idle = self._all, set(), []
            self._free.notify_all()
        for process in processes:
            process.kill()

    @contextlib.contextmanager
    def _process(self, guest: bool) -> Iterator[_Process]:
        process = self._take(guest)
        try:
            yield process
        finally:
            with self._free:
                self._busy -= 1
                self._guests -= guest
                if self._closed or not process.alive:
                    self._all.discard(process)
                    process.kill()
                else:
                    self._idle.append(process)
                self._free.notify_all()

    def _take(self, guest: bool) -> _Process:
        def is_free() -> bool:
            return self._closed or (self._busy < self._count and not (guest and self._guests >= self._count - 1))

        with self._free:
            if not self._free.wait_for(is_free, min(self._seconds, _GUEST_PATIENCE) if guest else self._seconds):
                raise Overloaded("too many documents are being judged; try again in a few seconds", retry_after=5)
            if self._closed:
                raise Overloaded("the service is stopping", retry_after=5)
            while self._idle:
                process = self._idle.pop()
                if not process.has_ended():
                    break
                self._all.discard(process)  # killed while idle: nobody's document ended it
                process.kill()
            else:
                process = _Process(self._base, self._memory)
                self._all.add(process)
            self._busy += 1
            self._guests += guest
        return process


class _Process(Child):
    """The parent's handle of one process. What it prints goes to the log."""

    def __init__(self, base: Base, memory: int) -> None:
        super().__init__("kg.judging", base.iri, str(memory))

    def work(self, request: Mapping[str, Any], data: bytes, count: int, seconds: float) -> Iterator[Any]:
        """The `count` results of a request; each may take `seconds`. Take them all."""
        try:
            self.wait_until_started()
            self.write(frame({**request, "length": len(data)}))
            self.write(data)
            for _ in range(count):
                reply = self.take_header(time.monotonic() + seconds)
                if "error" in reply:
                    raise _KINDS[reply["error"]](reply["detail"], **reply["facts"])
                yield reply["result"]
        except TimeoutError:
            self.kill()
            raise JudgingTimeout(
                f"judging took longer than {seconds:g} seconds and was stopped; nothing was stored. What costs most are long chains "
                "of nodes that refer to each other: split the document",
                limit=seconds,
            ) from None
        except (EOFError, OSError):
            self.kill()
            raise JudgeDied(
                "the process that judged this ended, most likely for want of memory (its last words are in the log); nothing was stored"
            ) from None
        except KgError:  # the last word on this task
            raise
        except BaseException:  # in the middle of it: the pipe is of no more use
            self.kill()
            raise


# Inside


def _results(request: Mapping[str, Any], data: bytes, base: Base) -> Iterator[Any]:
    for item in request.get("judge", ()):
        report = judge_packed(item, base)
        yield report.document, [asdict(result) for result in report.results]
    if "suffix" in request:
        syntax = documents.syntax_of_suffix(request["suffix"])
        found = documents.parse(
            data, syntax, base, relative_to=request["relative_to"], into=request["into"], limit=request["limit"]
        )
        yield [(document.iri, document.content.decode()) for document in found]


def _serve(base: Base, memory: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = begin(memory)
    # The shapes and their queries are made ready before the first document comes: 0.2 s.
    example = assets.files("seeds", "article/*.ttl")[0].read_bytes()
    gate.judge(documents.parse(example, documents.TURTLE, base, limit=len(example))[0], base, {})

    replies.write(STARTED)
    while (request := next_header(requests)) is not None:
        data = requests.read(request["length"])
        try:
            for result in _results(request, data, base):
                write(replies, frame({"result": result}))
        except KgError as error:
            write(replies, frame({"error": type(error).__name__, "detail": error.detail, "facts": error.facts}))


if __name__ == "__main__":
    _serve(Base(sys.argv[1]), int(sys.argv[2]))
