"""Query processes: each evaluates one query at a time on a read-only snapshot and can be killed at any moment.

Hides processes, pipes and limits. pyoxigraph has no query timeout, a runaway query cannot be stopped inside its process, and
some queries abort the process they run in; so no other process evaluates SPARQL. Promises that at the deadline, or when the
caller goes away, the processor is free; that a process which dies costs its own request a clear error and nothing else; and that
a result is whole or an error. What runs inside is `kg.engine.evaluator`; who is next, `kg.engine.turns`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from kg import lexis
from kg.child import frame
from kg.engine import NOBODY, Answer, Caller, Query
from kg.engine.federation import Federation
from kg.engine.process import Limits, Process, Reply, StoppedForBeingSlow
from kg.engine.turns import Turns
from kg.errors import CallerGone, KgError, MalformedQuery, Overloaded, QueryProcessDied, QueryTimeout

log = logging.getLogger("kg.query")


class QueryProcesses:
    """A fixed number of query processes and the queue before them.

    `spool` is a directory for answers too large for memory; it is emptied at the start. `federation` says what SERVICE may
    ask, by default nothing; it is closed with the processes.
    """

    def __init__(
        self, count: int, queue: int, limits: Limits, spool: Path, federation: Federation | None = None
    ) -> None:
        self.limits = limits
        self.federation = federation or Federation()
        self.turns = Turns(count, queue)
        self._spool = spool
        spool.mkdir(parents=True, exist_ok=True)
        for left_over in spool.iterdir():
            left_over.unlink(missing_ok=True)
        self._lock = threading.Lock()
        self._closed = False
        self._kills = 0
        self._idle = [Process(limits, spool) for _ in range(count)]
        self._all = set(self._idle)

    def answer(self, query: Query, snapshot: Path, revision: int, caller: Caller = NOBODY) -> Answer:
        """Evaluate a query on a snapshot. Raises a `QueryError`, `NotAcceptable`, `Overloaded` or, if the snapshot cannot be
        opened, `StorageError`. A query may wait for as long as it may run."""
        return self.begin(query, snapshot, revision, caller).answer()

    def begin(
        self,
        query: Query,
        snapshot: Path,
        revision: int,
        caller: Caller = NOBODY,
        placed: Callable[[], object] | None = None,
    ) -> Evaluation:
        """The same without waiting for anything: the evaluation of a query, of which `answer` has to be called in the end, or
        `abandon`. `placed` is called, quickly and from any thread, when it is its turn, unless it is at once."""
        return Evaluation(self, query, snapshot, revision, caller, placed)

    def figures(self) -> Mapping[str, int]:
        """Numbers for operators: processes, how many of them are busy, queries waiting, processes killed or lost so far."""
        with self._lock:
            return {
                "processes": len(self._all),
                "busy": len(self._all) - len(self._idle),
                "waiting": self.turns.waiting(),
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
        self.federation.close()

    def take(self) -> Process:
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

    def give_back(self, process: Process) -> None:
        """Somebody else may have it now; if it lives no more, its successor."""
        with self._lock:
            if self._closed:
                process.kill()
                return
            if not process.alive:
                self._replace(process)
            else:
                self._idle.append(process)

    def _replace(self, ended: Process) -> None:
        """Start another, which stands first among the idle ones, as it is still starting. The lock is held."""
        self._kills += 1
        self._all.discard(ended)
        process = Process(self.limits, self._spool)
        self._all.add(process)
        self._idle.insert(0, process)


class Evaluation:
    """One query on its way: it waits for its turn, is evaluated, or has come to its end. For one thread at a time.

    `answer` waits for the end. Who has better things to do calls `start` once it `has_turn`, watches the descriptor that it gives,
    and calls `receive` when there is something to read; and may leave the rest to a thread that calls `answer` whenever one of them
    gives None.
    """

    def __init__(
        self,
        processes: QueryProcesses,
        query: Query,
        snapshot: Path,
        revision: int,
        caller: Caller,
        placed: Callable[[], object] | None,
    ) -> None:
        self._processes = processes
        self._turns = processes.turns
        self._query = query
        self._snapshot = snapshot
        self._revision = revision
        self._caller = caller
        self._seconds = min(processes.limits.seconds, query.timeout or processes.limits.seconds)
        self._process: Process | None = None
        self._since = 0.0
        self._done: Answer | None = None
        self._ended = False
        self._open = contextlib.ExitStack()
        self._admitted = self._open.enter_context(processes.federation.admit(query))
        try:
            self._frame = frame(
                {
                    "snapshot": str(snapshot),
                    "text": self._admitted.text,
                    "base": query.base,
                    # Where a text was changed, its prefixes are those of the one that was written.
                    "prefixes": None if self._admitted.text == query.text else query.supplied_prefixes(),
                    # Oxigraph lets the union win over FROM without a word, so it is only asked for where the query names no dataset.
                    "union": not lexis.words_among(query.text, _FROM),
                    "default_graphs": query.default_graphs,
                    "named_graphs": query.named_graphs,
                    "solutions": query.solutions,
                    "triples": query.triples,
                }
            )
            self._turn = self._turns.ask(query.text, caller, woken=placed)
        except BaseException:
            self._open.close()
            raise

    @property
    def has_turn(self) -> bool:
        return self._turn.placed

    def start(self) -> int | None:
        """Give it to a process, as it is its turn; the descriptor on which there will be something to read. Never blocks."""
        self._take()
        assert self._process is not None
        return self._process.send(self._frame)

    def receive(self) -> Answer | None:
        """The answer, when there is something to read and that is all of it. Never blocks."""
        assert self._process is not None
        reply = self._process.receive()
        if reply is None:
            return None
        self._leave(finished=True)
        self._open.close()
        self._done = self._answer_of(reply)
        return self._done

    def answer(self) -> Answer:
        """The answer, after waiting for it for as long as it takes. Raises what `QueryProcesses.answer` does."""
        if self._done is not None:
            return self._done
        with self._open:
            try:
                self._done = self._wait()
                return self._done
            except MalformedQuery as error:
                explained = self._admitted.explain(error)
                raise MalformedQuery(_in_words(self._query, explained.detail), **explained.facts) from None
            except KgError as error:
                raise self._admitted.explain(error) from None
            finally:
                self._ended = True

    def abandon(self) -> None:
        """Nobody waits for the answer any more, if they still did."""
        if self._ended or self._done is not None:
            return
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._leave(finished=False)
        else:
            self._turns.withdraw(self._turn, self._caller)
        self._open.close()

    def _wait(self) -> Answer:
        caller, turns = self._caller, self._turns
        while True:
            if self._process is None:
                turns.wait(self._turn, caller, self._processes.limits.seconds)
                self._take()
            process, finished = self._process, False
            assert process is not None
            try:
                with caller.on_hang_up(process.interrupt):
                    may_go_on = partial(turns.became_slow, self._turn)
                    reply = process.evaluate(self._frame, self._seconds, may_go_on)
                finished = True
                return self._answer_of(reply)
            except StoppedForBeingSlow:
                pass
            except QueryTimeout:
                finished = True
                raise
            except QueryProcessDied:
                if caller.gone:
                    raise CallerGone("the caller went away while the query ran") from None
                raise
            finally:
                self._leave(finished)
            self._turn = turns.ask(self._query.text, caller, slow=True)

    def _take(self) -> None:
        self._process, self._since = self._processes.take(), time.monotonic()
        self._process.is_to_read(self._snapshot)

    def _leave(self, finished: bool) -> None:
        """Give the process and the turn to the next."""
        assert self._process is not None
        took, quick = time.monotonic() - self._since, self._process.was_quick
        self._processes.give_back(self._process)
        self._process = None
        self._turns.leave(self._turn, self._query.text if finished else None, slow=not quick)
        if took > self._processes.limits.slow:
            log.warning("[%s] slow query, %.1f s: %r", self._caller.request, took, self._query.text[:2000])

    def _answer_of(self, reply: Reply) -> Answer:
        header, body = reply
        kind, form, prefixes = header["kind"], header["format"], tuple(header["prefixes"])
        return Answer(kind, form, self._revision, header["length"], body, prefixes)


_FROM = frozenset({"FROM"})

_UPDATES = frozenset({"INSERT", "DELETE", "DROP", "CLEAR", "CREATE", "COPY", "MOVE", "ADD", "WITH"})


def _in_words(query: Query, message: str) -> str:
    """What a person makes of a syntax error, with the parser's own words behind it where it is not plain what is meant."""
    words = lexis.words(query.text)
    if not words & {"SELECT", "ASK", "CONSTRUCT", "DESCRIBE"}:
        if words & _UPDATES:
            return "this is an update, which goes to /update; queries begin with SELECT, ASK, CONSTRUCT or DESCRIBE"
        return f"there is no SELECT, ASK, CONSTRUCT or DESCRIBE in it ({message})"
    unknown = sorted(lexis.undeclared_prefixes(query.text) - query.supplied_prefixes().keys())
    if "refix" in message and unknown:
        names = ", ".join(f"{name}:" for name in unknown)
        return f"no PREFIX declares {names}"
    return message
