"""The web process: the application, its connections, and their end.

Started by `kg serve`, with settings in the environment. Ends when the process that started it does, however that ends, so that
nothing holds the data directory or the port when the server has been killed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
import threading
import time

import uvloop

from kg import config, questions
from kg.asking import Desk
from kg.child import end_with_parent
from kg.engine import Query
from kg.errors import EngineUnavailable, KgError
from kg.library import Library, open_library
from kg.web import connection, create_app, feed
from kg.web.authority import Authority
from kg.web.cache import Cache
from kg.web.front import Front
from kg.web.operations import Metrics
from kg.web.sparql import Shortcut

#: Descriptors that are not for connections.
_OTHER_DESCRIPTORS = 512


def run(listening: socket.socket, patience: float) -> bool:
    """Serve the data directory of the environment's settings until SIGTERM, and then what runs for so many seconds at the most;
    whether it could be served."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the process that started this one
    _log_to_stderr()
    end_with_parent()
    try:
        questions.catalogue()  # a file that is no question is told to who starts this, and not to everybody who asks
        library = open_library(config.read(), create=False, owner=True)
        with library:
            try:
                library.settle(wait=3600)
                library.answer(Query("ASK {}"))  # so that the first to ask waits for no process to start
            except EngineUnavailable as error:
                # Documents are served from the journal, and written to it, until the engine is back.
                logging.getLogger("kg.web").warning("%s", error.detail)
            library.start_following()
            threading.Thread(target=_collect_names, args=(library,), name="names", daemon=True).start()
            front = _front(library, _RequestLog())
            # What is there now stays: there is no use in looking through all of it, and none in looking after every few requests for
            # cycles that they do not leave. Measured: 4 % of a look-up.
            gc.collect()
            gc.freeze()
            gc.set_threshold(20_000, 20, 20)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(front, listening, patience))
            front.close()
    except KgError as error:
        sys.stderr.write(f"kg: {error.detail}\n")
        return False
    return True


def _collect_names(library: Library) -> None:
    """Bring the register up to the journal, which after a load of many documents takes a while, before somebody waits for it."""
    try:
        Desk(library).names.coverage()
    except KgError as error:
        logging.getLogger("kg.web").warning("%s", error.detail)


async def _serve(front: Front, listening: socket.socket, patience: float) -> None:
    told = asyncio.Event()

    def end() -> None:
        feed.ENDING.set()
        told.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    await connection.serve(front, listening, told, patience, _room_for_connections())


def _room_for_connections() -> int:
    """How many connections there may be, so that descriptors are left for all else: files, pipes, queries' processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connection.CONNECTIONS + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - _OTHER_DESCRIPTORS, soft // 4)
    return connection.CONNECTIONS


def _front(library: Library, request_log: _RequestLog) -> Front:
    settings = library.config
    cache = Cache(settings.cache_size)
    metrics = Metrics(library, cache.figures)
    return Front(
        create_app(library, metrics).wsgi_app,
        library.revision,
        cache,
        metrics.answered,
        # Queries that wait hold a thread each, and so do those who wait for a revision: there are as many as may wait, and the ones for all else.
        threads=settings.threads + settings.query_queue + settings.query_processes + feed.WAITERS,
        body_limit=max(settings.query_limit, settings.document_limit, settings.validate_limit),
        batch_limit=settings.batch_limit,
        may_write=Authority(library).recognises,
        proxies=frozenset(filter(None, settings.proxies.split(","))),
        base=library.base,
        shortcut=Shortcut(library),
        log=request_log.tell,
    )


def _log_to_stderr() -> None:
    # A line a request: what no line tells of is not looked up for it ("Optimization" in Python's Logging HOWTO).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _RequestLog:
    """A line a request, written as `logging` writes all others, at a tenth of its cost: together with those of all requests that the
    loop answers in the same round. From the loop's thread alone."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._second = 0
        self._time = ""

    def tell(self, line: str) -> None:
        """Log it, before the loop does anything else."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(f"{self._time},{int((now - second) * 1000):03d} INFO kg.request: {line}\n")

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


class _Formatter(logging.Formatter):
    """Writes the time as the usual one does, and works it out once a second."""

    _second = 0
    _written = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (its name there)
        second = int(record.created)
        if second != self._second:
            self._written, self._second = super().formatTime(record, self.default_time_format), second
        return f"{self._written},{int(record.msecs):03d}"
