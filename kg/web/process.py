"""The web process: what the HTTP server calls to get the application.

Started by `kg serve`, from settings in the environment. Ends when the process that started it does, however that ends, so that
nothing holds the data directory or the port when the server has been killed.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading

from flask import Flask

from kg import config
from kg.engine import Query
from kg.errors import KgError
from kg.library import open_library
from kg.web import create_app


def application() -> Flask:
    """The application on the data directory of the environment's settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        library = open_library(config.read(), create=False, owner=True)
        library.settle(wait=3600)
        library.answer(Query("ASK {}"))  # so that the first to ask waits for no process to start
    except KgError as error:
        sys.stderr.write(f"kg: {error.detail}\n")
        os.kill(os.getppid(), signal.SIGTERM)
        raise
    library.start_following()
    atexit.register(library.close)
    return create_app(library)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
