"""The index on another SPARQL 1.1 server: queries are forwarded to it, and the journal's documents applied to it as updates.

Hides where the index is. Promises what the embedded engine promises: an answer is whole or an error; a deadline is one, however
slowly bytes trickle; a caller who goes away is not waited for; a query can neither change the server nor make it send requests.
What a server writes is read and written anew, so that an answer looks the same whoever gave it.

On the server each document is a named graph. One more, `{base}revision`, says how far the journal has been followed:

    GRAPH <{base}revision> { <{base}> schema:version 42 ; schema:sha256 "digest of what revision 42 wrote" ;
                                      schema:softwareVersion "digest of the rules that made its derived facts" }

What is derived is computed here, on a copy of what rules read, whatever the server can do, and sent like documents. The record
changes last, so that a server which was stopped, restored or emptied is brought up from wherever it is, and the digest tells a
server that followed another history. Unlike snapshots, a server shows a change of many documents while it is being applied.

    server.py       the server as it is asked: SPARQLWrapper, HTTP, credentials
    operations.py   what is written on it
    following.py    bringing it up to the journal
    rewriting.py    its answers, written anew
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from kg.config import Config
from kg.engine import NOBODY, Answer, Caller, Kind, Query
from kg.engine.evaluator import Sink, TooLarge, not_acceptable
from kg.engine.exchange import Exchange, Refusal
from kg.engine.federation import Federation
from kg.engine.index import remove_orphans
from kg.engine.process import Limits, error_of
from kg.engine.remote.following import Follower
from kg.engine.remote.rewriting import Written, prologue, rewrite
from kg.engine.remote.server import Server
from kg.engine.standard import dataset, require_standard
from kg.engine.turns import QUICK, Turns
from kg.errors import EngineUnavailable, IndexBehind, KgError, Overloaded, QueryTimeout, SnapshotGone
from kg.journal import Journal

slow = logging.getLogger("kg.query")

#: Seconds for which it is believed that the server still has what it had.
_BELIEVED = 1.0


class RemoteEngine:
    """The engine of a data directory whose index is on another server (`config.engine`).

    With `owner`, it alone brings that server up to the journal, for its lifetime, and raises `DirectoryInUse` if another does, and
    `ConfigurationError` if the server can be asked and is not fit. Without, it asks the server only when first used.
    """

    def __init__(self, config: Config, journal: Journal, *, owner: bool, patience: float = 10.0) -> None:
        self._server = Server(config)
        self._limits = Limits(config.query_timeout, config.query_memory, config.result_limit, config.slow_query)
        self._turns = Turns(config.query_processes, config.query_queue)
        self._federation = Federation()  # nothing is allowed: the gateway of allowed endpoints is on this machine
        self._closed = False
        self._spool = config.data / ("spool" if owner else f"spool-{os.getpid()}")
        self._follower = Follower(self._server, config, journal, owner=owner, patience=patience)
        if owner:
            shutil.rmtree(self._spool, ignore_errors=True)
            remove_orphans(config.data)
            try:
                self._follower.begin()
            except BaseException:
                self.close()
                raise

    def product(self) -> str:
        self._follower.require_state(believing=_BELIEVED)  # which asks it, so that it is known
        return "virtuoso" if self._server.virtuoso else ""

    def reached(self) -> int:
        return self._follower.reached

    def follow(self, journal: Journal, wait: float = 30.0) -> int:
        return self._follower.follow(journal, wait)

    def rebuild(self, journal: Journal) -> int:
        return self._follower.rebuild(journal)

    def answer(self, query: Query, caller: Caller = NOBODY) -> Answer:
        with self._federation.admit(query) as admitted:
            kind = require_standard(query)
            try:
                return self._answer(query, admitted.text, kind, caller)
            except KgError as error:
                if self._server.virtuoso or "column" not in error.facts:
                    raise
                raise admitted.explain(error) from None

    def _answer(self, query: Query, text: str, kind: Kind, caller: Caller) -> Answer:
        """The answer to a query; `text` is what is sent for it."""
        if not query.default_graphs and not query.named_graphs:
            # Oxigraph's server lets its union win over FROM, but not over the protocol's parameters.
            default, named = dataset(query)
            query = replace(query, default_graphs=default, named_graphs=named)
        wanted = query.triples if kind == "triples" else query.solutions
        if wanted is None:
            raise error_of(not_acceptable(kind), self._limits)
        seconds = min(self._limits.seconds, query.timeout or self._limits.seconds)
        if self._closed:
            raise Overloaded("the service is stopping", retry_after=5)
        turn = self._turns.enter(query.text, caller, self._limits.seconds)
        start, finished = time.monotonic(), None
        try:
            exchange: Exchange[Written] = Exchange(Written.discard)
            work = partial(self._evaluate, query, text, kind, wanted, start + seconds, exchange)
            written = exchange.perform(work, start + seconds, caller, lambda: self._turns.became_slow(turn))
            finished = query.text
        except TimeoutError:
            finished = query.text
            raise QueryTimeout(
                f"the query took longer than {seconds:g} seconds and is not waited for any more", limit=seconds
            ) from None
        finally:
            took = time.monotonic() - start
            self._turns.leave(turn, finished, slow=took > QUICK)
            if took > self._limits.slow:
                slow.warning("[%s] slow query, %.1f s: %r", caller.request, took, query.text[:2000])
        prefixes = tuple(query.supplied_prefixes())
        if query.revision is not None and query.revision != written.revision:
            written.discard()
            raise SnapshotGone(
                f"the graph as of revision {query.revision} is not at hand: the server behind this service keeps revision {written.revision} only",
                revision=query.revision,
                reached=written.revision,
            )
        return Answer(written.kind, wanted, written.revision, written.length, written.body, prefixes)

    def begin(self, query: Query, caller: Caller, placed: Callable[[], object]) -> None:
        return None  # there is always a network to wait for

    def figures(self) -> Mapping[str, int]:
        with contextlib.suppress(IndexBehind, EngineUnavailable):
            self._follower.require_state()
        return {
            "waiting": self._turns.waiting(),
            "away": int(self._follower.missed),
            "rules_failed": self._follower.rules_failed,
            "rules_behind": int(self._follower.rules_behind),
        }

    def close(self) -> None:
        self._closed = True
        self._follower.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _evaluate(
        self, query: Query, text: str, kind: Kind, wanted: str, deadline: float, exchange: Exchange[Written]
    ) -> Written:
        self._follower.require_state(believing=_BELIEVED)
        revision = self._follower.reached
        added = prologue(query)
        if self._server.virtuoso:
            # It does not know the escapes that were put into IRIs, and needs none, because it has tokens.
            text = query.text
        with contextlib.ExitStack() as stack:
            try:
                response = stack.enter_context(self._server.ask(query, added + text, kind, deadline, exchange))
                self._spool.mkdir(parents=True, exist_ok=True)
                sink = Sink(self._limits.result, self._spool)
                stack.callback(lambda: sink.file is not None and sink.file.close())
                try:
                    got = rewrite(response, kind, wanted, sink)
                except BaseException:
                    sink.discard()
                    raise
            except TooLarge:
                raise error_of({"error": "result"}, self._limits) from None
            except Refusal as refusal:
                raise refusal.as_error(len(added)) from None
        body: bytes | IO[bytes] = sink.body()
        if sink.file is not None:
            path = Path(sink.file.name)
            body = path.open("rb")
            path.unlink()
        return Written(got, revision, sink.length, body)
