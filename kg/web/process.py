"""The web process: what the HTTP server calls to get the application.

Started by `kg serve`, from settings in the environment. Ends when the process that started it does, however that ends, so that
nothing holds the data directory or the port when the server has been killed.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys

from kg import config
from kg.child import end_with_parent
from kg.engine import Query
from kg.errors import EngineUnavailable, KgError
from kg.library import open_library
from kg.web import create_app, feed
from kg.web.authority import Authority
from kg.web.cache import Cache
from kg.web.front import Front
from kg.web.operations import Metrics
from kg.web.sparql import Shortcut


def application() -> Front:
    """The service on the data directory of the environment's settings."""
    _log_to_stderr()
    end_with_parent()
    try:
        settings = config.read()
        library = open_library(settings, create=False, owner=True)
        try:
            library.settle(wait=3600)
            library.answer(Query("ASK {}"))  # so that the first to ask waits for no process to start
        except EngineUnavailable as error:
            # Documents are served from the journal, and written to it, until the engine is back.
            logging.getLogger("kg.web").warning("%s", error.detail)
    except KgError as error:
        sys.stderr.write(f"kg: {error.detail}\n")
        os.kill(os.getppid(), signal.SIGTERM)
        raise
    library.start_following()
    atexit.register(library.close)
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
        told_to_end=feed.ENDING.set,
    )


def _log_to_stderr() -> None:
    # A line a request: what no line tells of is not looked up for it ("Optimization" in Python's Logging HOWTO).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _Formatter(logging.Formatter):
    """Writes the time as the usual one does, and works it out once a second."""

    _second = 0
    _written = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (its name there)
        second = int(record.created)
        if second != self._second:
            self._written, self._second = super().formatTime(record, self.default_time_format), second
        return f"{self._written},{int(record.msecs):03d}"
