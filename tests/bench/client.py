"""The load: so many requests at once over kept connections, and how long they took.

Two generators with one face. `wrk` is for what is counted in thousands a second: it takes far less of the processor than any
server here. The client of our own sends a fixed number of requests and waits for the last, which is fairer where one request
takes long: at the end of a fixed time, what is half done would count as nothing. It also stands in where there is no `wrk`, and
for runs of less than a second, the shortest that `wrk` can do.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

ACCEPT = "application/sparql-results+json"

WRK = shutil.which("wrk")

#: Longer than any query here takes with eight at once.
_PATIENCE = 300


class Failed(Exception):
    """A server did not answer, or not with 200."""


@dataclass(frozen=True)
class Sample:
    """One run. `rate` is requests a second, the rest seconds of a request."""

    rate: float
    median: float
    p99: float


def address(endpoint: str, query: str) -> str:
    """The address of a query at an endpoint. It ends within a comment of the query, so that whatever is added makes another text."""
    return f"{endpoint}?query={quote(query + chr(10) + '#', safe='')}"


def repeat(url: str, connections: int, seconds: float) -> Sample:
    """Ask the same again and again, after it has been answered once."""
    _own(lambda: url, 1, count=1)
    if WRK and seconds >= 1:
        return _wrk(url, connections, seconds, ())
    return _own(lambda: url, connections, seconds=seconds)


def ask_anew(url: str, connections: int, seconds: float) -> Sample:
    """Ask what has never been asked in these words, for some time."""
    if WRK and seconds >= 1:
        return _wrk(url, connections, seconds, (f"{uuid.uuid4().hex}-",))
    return _own(_never_asked(url), connections, seconds=seconds)


def ask_anew_times(url: str, connections: int, count: int) -> Sample:
    """Ask what has never been asked in these words, so many times."""
    return _own(_never_asked(url), connections, count=count)


def _never_asked(url: str) -> Callable[[], str]:
    numbers, mark = itertools.count(1), uuid.uuid4().hex
    return lambda: f"{url}{mark}-{next(numbers)}"


def _wrk(url: str, connections: int, seconds: float, arguments: tuple[str, ...]) -> Sample:
    script = Path(__file__).with_name("load.lua")
    span = f"{round(seconds)}s"
    command = [
        str(WRK),
        "-t1",
        f"-c{connections}",
        f"-d{span}",
        f"--timeout={_PATIENCE}s",
        f"-s{script}",
        f"-HAccept: {ACCEPT}",
    ]
    done = subprocess.run([*command, url, "--", *arguments], capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed(f"wrk said: {done.stdout}{done.stderr}") from None
    if told["failed"] or not told["requests"]:
        raise Failed(f"{told['failed']} of {told['requests']} requests failed: {url[:100]}…")
    return Sample(told["requests"] / told["seconds"], told["median"], told["p99"])


def _own(url: Callable[[], str], connections: int, *, count: int | None = None, seconds: float = 0.0) -> Sample:
    """`count` requests, or as many as fit into `seconds`."""

    async def run() -> Sample:
        start = time.perf_counter()
        tickets: Iterator[int] = iter(range(count)) if count is not None else itertools.count()
        took: list[float] = []

        async def ask_on() -> None:
            parts = urlsplit(url())
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {ACCEPT}\r\n\r\n"
            try:
                for _ in tickets:
                    if count is None and time.perf_counter() - start > seconds:
                        break
                    begun = time.perf_counter()
                    parts = urlsplit(url())
                    writer.write(f"GET {parts.path}?{parts.query}{head}".encode())
                    await _read_answer(reader)
                    took.append(time.perf_counter() - begun)
            finally:
                writer.close()

        await asyncio.wait_for(asyncio.gather(*(ask_on() for _ in range(connections))), _PATIENCE)
        elapsed = time.perf_counter() - start
        took.sort()
        return Sample(len(took) / elapsed, statistics.median(took), took[int(len(took) * 0.99)])

    try:
        return asyncio.run(run())
    except (OSError, EOFError, TimeoutError) as error:
        raise Failed(f"{type(error).__name__}: {error}") from None


async def _read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer to its end, by its length or its chunks (RFC 9112, section 6)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, *fields = head.split("\r\n")
    headers = {name: value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(headers["content-length"]))
    if " 200" not in status:
        raise Failed(f"a server answered {status}")
