"""Where updates are tried: a process of its own that holds the documents an update names and nothing else, and can be killed.

Hides the process. Promises that an update changes nothing by being tried; that it sees and reaches only the documents handed over;
that it asks no other machine, however its text is read; and that one that takes too long, or too much, costs its own request an error.
What runs inside is `kg.engine.evaluator`.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kg import lexis
from kg.child import frame
from kg.engine import NOBODY, Caller, Query
from kg.engine.federation import Federation
from kg.engine.process import Limits, Process
from kg.errors import CallerGone, KgError, MalformedQuery, Overloaded, QueryError, QueryProcessDied


class Scratch:
    """Updates are tried one after the other: who writes is judged in turn anyway. The process starts with the first one."""

    def __init__(self, limits: Limits, spool: Path) -> None:
        self._limits = limits
        self._spool = spool
        self._federation = Federation()  # SERVICE would be asked again each time another writer was faster
        self._turn = threading.Lock()
        self._process: Process | None = None
        self._closed = False

    def rewrite(self, update: Query, documents: Mapping[str, bytes], caller: Caller = NOBODY) -> dict[str, bytes]:
        """What the update makes of these documents, given by IRI in N-Triples: the new state, in N-Quads, of each that it changes;
        nothing is left of one where that is empty.

        Raises a `QueryError`, of which `UpdateRefused` where it writes to anything else, or `Overloaded`.
        """
        with self._federation.admit(update) as admitted:
            request = {
                "text": admitted.text,
                "base": update.base,
                "prefixes": update.supplied_prefixes(),
                "documents": {iri: content.decode() for iri, content in documents.items()},
            }
            try:
                header, body = self._evaluate(request, caller)
            except KgError as error:
                raise _in_words(update, admitted.explain(error)) from None
        parts, start = {}, 0
        for iri, length in header["changed"]:
            parts[iri] = body[start : start + length]
            start += length
        return parts

    def _evaluate(self, request: Mapping[str, Any], caller: Caller) -> tuple[dict[str, Any], bytes]:
        seconds = self._limits.seconds
        if not self._turn.acquire(timeout=seconds):
            raise Overloaded(f"other updates took all of {seconds:g} seconds", retry_after=5)
        try:
            process = self._ready()
            with caller.on_hang_up(process.interrupt):
                header, body = process.evaluate(frame(request), seconds, lambda: True)
        except QueryProcessDied:
            if caller.gone:
                raise CallerGone("the caller went away while the update ran") from None
            raise
        finally:
            self._turn.release()
        if isinstance(body, bytes):
            return header, body
        with body:
            return header, body.read()

    def _ready(self) -> Process:
        """The process. Whose turn it is has it alone."""
        if self._closed:
            raise Overloaded("the service is stopping", retry_after=5)
        if self._process is not None and (not self._process.alive or self._process.has_ended()):
            self._process.kill()
            self._process = None
        if self._process is None:
            self._spool.mkdir(parents=True, exist_ok=True)
            self._process = Process(self._limits, self._spool)
        return self._process

    def close(self) -> None:
        """End the process, and what it is doing. Idempotent."""
        self._closed = True
        process = self._process
        if process is not None:
            process.interrupt()
        with self._turn:
            if self._process is not None:
                self._process.kill()
                self._process = None
        shutil.rmtree(self._spool, ignore_errors=True)


def _in_words(update: Query, error: KgError) -> KgError:
    """The error, telling of an update and not of a query."""
    if isinstance(error, MalformedQuery) and "refix" in error.detail:
        unknown = sorted(lexis.undeclared_prefixes(update.text) - update.supplied_prefixes().keys())
        if unknown:
            return MalformedQuery(f"no PREFIX declares {', '.join(f'{name}:' for name in unknown)}", **error.facts)
    if missing := re.fullmatch(r"The graph <(.*)> does not exist", error.detail):
        return QueryError(f"there is no document {missing[1]}; with SILENT that is no error", document=missing[1])
    if there := re.fullmatch(r"The graph <(.*)> already exists", error.detail):
        return QueryError(f"there is a document {there[1]} already; with SILENT that is no error", document=there[1])
    return type(error)(error.detail.replace("the query", "the update"), **error.facts)
