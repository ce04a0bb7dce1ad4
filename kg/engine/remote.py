"""The index on another SPARQL 1.1 server: queries are forwarded to it, and the journal's documents applied to it as updates.

Hides SPARQLWrapper, HTTP and the habits of servers. Promises what the embedded engine promises: an answer is whole or an error;
a deadline is one, however slowly bytes trickle; a caller who goes away is not waited for; a query can neither change the server
nor make it send requests. What a server writes is read and written anew, so that an answer looks the same whoever gave it.

On the server each document is a named graph. One more, `{base}revision`, says how far the journal has been followed:

    GRAPH <{base}revision> { <{base}> schema:version 42 ; schema:sha256 "digest of what revision 42 wrote" ;
                                      schema:softwareVersion "digest of the rules that made its derived facts" }

What is derived is computed here, on a copy of what rules read, whatever the server can do, and sent like documents. The record changes last, so that a server which was stopped, restored or emptied is brought up from wherever it is, and the digest tells
a server that followed another history. Unlike snapshots, a server shows a change of many documents while it is being applied.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import logging
import os
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyoxigraph as ox
from SPARQLWrapper import BASIC, POST, URLENCODED, SPARQLWrapper

from kg import lexis, rules
from kg.config import Config
from kg.documents import Document
from kg.engine import NOBODY, Answer, Caller, Kind, Query
from kg.engine.deriver import Deriver, DerivingFailed, Difference, changed_by
from kg.engine.evaluator import SOLUTIONS, TRIPLES, Sink, TooLarge, not_acceptable
from kg.engine.exchange import Exchange, Refusal, Response, opener
from kg.engine.federation import Federation
from kg.engine.index import FOLLOWED_BY_RULES, RULES_AGAIN, lock, remove_orphans
from kg.engine.process import Limits, error_of
from kg.engine.standard import dataset, require_standard
from kg.engine.turns import Turns
from kg.errors import (
    ConfigurationError,
    DirectoryInUse,
    EngineUnavailable,
    IndexBehind,
    KgError,
    Overloaded,
    QueryError,
    QueryTimeout,
    ResultTooLarge,
    SnapshotGone,
)
from kg.journal import Journal
from kg.terms import KINDS, PREFIXES, SCHEMA, Base

log = logging.getLogger("kg.index")
slow = logging.getLogger("kg.query")

#: What one update request holds at most. Virtuoso 7.2 compiles it into one procedure and fails at 3,000 triples with blank nodes
#: ("the length of generated SQL text has exceeded 10000 lines") and at 1,000 operations ("query too large").
_TRIPLES_AT_ONCE = 1_000
_OPERATIONS_AT_ONCE = 100

#: Revisions after which the one reached is recorded on the way, so that a long catch-up need not begin again.
_REVISIONS_AT_ONCE = 2_000

#: Seconds for one update request, and for asking how far the server is.
_UPDATE_SECONDS = 120.0
_STATE_SECONDS = 10.0

#: Seconds for which it is believed that the server still has what it had.
_BELIEVED = 1.0

#: What is asked of the server. JSON first: Virtuoso's XML alters literals, its TSV is none, its Turtle makes decimals of doubles.
_ACCEPTED = {
    "solutions": "application/sparql-results+json, application/sparql-results+xml;q=0.5",
    "triples": "application/n-triples, text/turtle;q=0.5, application/rdf+xml;q=0.3",
}
_SOLUTIONS_READ = {
    "application/sparql-results+json": ox.QueryResultsFormat.JSON,
    "application/json": ox.QueryResultsFormat.JSON,
    "application/sparql-results+xml": ox.QueryResultsFormat.XML,
}
_TRIPLES_READ = {
    "application/n-triples": ox.RdfFormat.N_TRIPLES,
    "text/plain": ox.RdfFormat.N_TRIPLES,
    "text/turtle": ox.RdfFormat.TURTLE,
    "application/rdf+xml": ox.RdfFormat.RDF_XML,
}


class RemoteEngine:
    """The engine of a data directory whose index is on another server (`config.engine`).

    With `owner`, it alone brings that server up to the journal, for its lifetime, and raises `DirectoryInUse` if another does, and
    `ConfigurationError` if the server can be asked and is not fit. Without, it asks the server only when first used.
    """

    def __init__(self, config: Config, journal: Journal, *, owner: bool, patience: float = 10.0) -> None:
        self._server = _Server(config)
        self._journal = journal
        self._base: Base = journal.base
        self._directory = config.data
        self._limits = Limits(config.query_timeout, config.query_memory, config.result_limit, config.slow_query)
        self._turns = Turns(config.query_processes, config.query_queue)
        self._federation = Federation()  # nothing is allowed: the gateway of allowed endpoints is on this machine
        self._following = threading.Lock()
        self._reached = 0
        self._asked = -_BELIEVED
        self._checked = False
        self._closed = False
        self._deriver = Deriver(config.data / "deriving", config.query_memory) if owner else None
        self._rules_again = 0.0
        self._rules_failed = 0
        self._spool = config.data / ("spool" if owner else f"spool-{os.getpid()}")
        self._lock = lock(config.data / "index.lock", patience) if owner else None
        if owner:
            shutil.rmtree(self._spool, ignore_errors=True)
            remove_orphans(config.data)
            try:
                self._look()
            except EngineUnavailable as error:
                log.warning("%s", error.detail)
            except BaseException:
                self.close()
                raise

    def reached(self) -> int:
        return self._reached

    def follow(self, journal: Journal, wait: float = 30.0) -> int:
        # A catch-up that has begun is ended: to stop it in the middle would mean to begin again. So `wait` is for one's turn.
        deadline = time.monotonic() + wait
        goal = journal.last()
        while True:
            if not self._following.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise self._behind(goal)
            try:
                with self._translated(), self._ownership() as owned:
                    if owned:
                        self._catch_up(journal)
                    else:
                        self._look()
            finally:
                self._following.release()
            if self._reached >= goal:
                return self._reached
            if time.monotonic() >= deadline:
                raise self._behind(goal)
            time.sleep(0.02)

    def rebuild(self, journal: Journal) -> int:
        with self._following, self._translated(), self._ownership(insist=True):
            self._reached = 0
            self._empty()
            self._catch_up(journal)
        return self._reached

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
            exchange: Exchange[_Written] = Exchange(_Written.discard)
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
            self._turns.leave(turn, finished, took)
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
        try:
            self._require_state()
            away = 0
        except IndexBehind:
            away = 0
        except EngineUnavailable:
            away = 1
        return {
            "waiting": self._turns.waiting(),
            "away": away,
            "rules_failed": self._rules_failed,
            "rules_behind": int(self._rules_again > 0),
        }

    def close(self) -> None:
        self._closed = True
        with self._following:
            if self._deriver is not None:
                self._deriver.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
        shutil.rmtree(self._spool, ignore_errors=True)

    # Following

    @contextlib.contextmanager
    def _ownership(self, *, insist: bool = False) -> Iterator[bool]:
        """Whether this process may change the server within the block. With `insist`, raises `DirectoryInUse` instead of saying no."""
        if self._lock is not None:
            yield True
            return
        try:
            held = lock(self._directory / "index.lock", patience=0)
        except DirectoryInUse:
            if insist:
                raise
            yield False
            return
        try:
            yield True
        finally:
            os.close(held)

    def _behind(self, goal: int) -> IndexBehind:
        return IndexBehind(
            f"the write is safe in the journal, but questions see only revision {self._reached} of {goal} yet",
            reached=self._reached,
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """That a server is not fit is an error of configuration at the start, and afterwards one of the engine, which may mend."""
        try:
            yield
        except ConfigurationError as error:
            if isinstance(error, DirectoryInUse):
                raise
            raise EngineUnavailable(error.detail) from None

    def _look(self) -> _State | None:
        """Ask the server how far it is, and believe it. Raises `ConfigurationError` for one that is not fit."""
        state = self._server.state(self._base)
        if not self._checked:
            self._server.require_whole_answers()
        if state is not None:
            last = self._journal.last()
            if state.revision > last:
                raise ConfigurationError(
                    f"{self._server} has revision {state.revision} of {self._base}, the journal in {self._directory} ends at "
                    f"{last}: that server follows another journal. If this is the right one, run `kg rebuild`",
                    setting="KG_ENGINE",
                )
            if state.digest != _digest(self._journal, state.revision):
                raise ConfigurationError(
                    f"revision {state.revision} on {self._server} is not the one in the journal in {self._directory}: that "
                    "server followed another history. If this is the right one, run `kg rebuild`",
                    setting="KG_ENGINE",
                )
        self._checked = True
        self._reached = 0 if state is None else state.revision
        self._asked = time.monotonic()
        return state

    def _catch_up(self, journal: Journal) -> None:
        """Bring the server to the journal's end."""
        state = self._look()
        if state is None:
            self._server.update(_record(self._base, 0, ""))
            state = self._look()
            if state is None:
                raise ConfigurationError(
                    f"what was written to {self._server.update_url} is not seen at {self._server.url}; KG_ENGINE and "
                    "KG_ENGINE_UPDATE must be addresses of one store",
                    setting="KG_ENGINE_UPDATE",
                )
        last, done, made_by = journal.last(), state.revision, state.made_by
        difference: Difference | None = None
        if made_by == rules.digest() and done == last:
            difference = [], []
        elif made_by == rules.digest() and last <= done + FOLLOWED_BY_RULES:
            difference = self._difference(journal, done, last)
        if difference is None or sum(map(len, difference)) > _TRIPLES_AT_ONCE:
            difference, made_by = None, ""
        while done < last:
            upto = min(done + _REVISIONS_AT_ONCE, last)
            closing = _facts(self._base, *(difference or ([], [])))
            record = _record(self._base, upto, _digest(journal, upto), made_by)
            self._send(_requests(journal.current(done, upto), [*closing, *record]), unmarked=any(difference or ()))
            done = upto
        self._reached = last
        self._asked = time.monotonic()
        if difference is None:
            self._derive_everything(journal, last)

    def _send(self, requests: Iterator[list[str]], *, unmarked: bool = False) -> None:
        """Send updates. Where more than one changes derived facts, the first says that nobody knows which of them are there."""
        first = next(requests)
        for request in itertools.chain([first], requests):
            if self._closed:
                raise EngineUnavailable("the service is stopping")
            if unmarked and request is first:
                request = [_unmark(self._base), *request]  # noqa: PLW2901
            self._server.update(request)

    def _difference(self, journal: Journal, done: int, last: int) -> Difference | None:
        """What the documents of these revisions change of the derived facts; None if that cannot be found out."""
        gone: list[ox.Quad] = []
        come: list[ox.Quad] = []
        for iri, document in journal.current(done, last):
            before = [revision.seq for revision in journal.history(iri) if revision.seq <= done]
            old = journal.content(before[-1]) if before else None
            less, more = changed_by(
                ox.NamedNode(iri), () if old is None else old.triples, () if document is None else document.triples
            )
            gone += less
            come += more
        with self._borrowed_deriver() as deriver:
            if not gone and not come:
                deriver.pass_over(journal.mark(last))
                return [], []
            try:
                if not deriver.is_at(journal.mark(done)):
                    deriver.open(self._base.iri, partial(_copy, journal, done), journal.mark(done))
                    deriver.everything().unlink()
                return deriver.difference(gone, come, journal.mark(last))
            except DerivingFailed as error:
                log.warning(
                    "what changes of the derived facts could not be found out, so all are derived anew: %s", error
                )
                return None

    def _derive_everything(self, journal: Journal, last: int) -> None:
        """Make all derived facts on the server anew. Where that fails, they stay as they were."""
        if time.monotonic() < self._rules_again:
            return
        record = _record(self._base, last, _digest(journal, last), rules.digest())
        with self._borrowed_deriver() as deriver:
            try:
                deriver.open(self._base.iri, partial(_copy, journal, last), journal.mark(last))
                file = deriver.everything()
                self._rules_again = 0.0
            except DerivingFailed as error:
                self._rules_again = time.monotonic() + RULES_AGAIN
                self._rules_failed += 1
                log.error("derived facts are older than the documents, and tried again at a later write: %s", error)
                return
            derived = rules.graph_of(self._base.iri).value
            with file.open(encoding="utf-8") as lines:
                stripped = (line.rstrip("\n") for line in lines)
                pieces = iter(lambda: list(itertools.islice(stripped, _TRIPLES_AT_ONCE)), [])
                self._server.update([_unmark(self._base), f"DROP SILENT GRAPH <{derived}>"])
                self._send(itertools.chain(([_insertion(derived, piece)] for piece in pieces), [record]))
            file.unlink()

    @contextlib.contextmanager
    def _borrowed_deriver(self) -> Iterator[Deriver]:
        """The deriver, which lives as long as its owner; a command that only writes has one for the moment."""
        deriver = self._deriver or Deriver(self._directory / f"deriving-{os.getpid()}", self._limits.memory)
        try:
            yield deriver
        finally:
            if deriver is not self._deriver:
                deriver.close()

    def _empty(self) -> None:
        """Remove what belongs to this base, first of all the record of how far it is."""
        self._server.update([f"DROP SILENT GRAPH <{self._base}revision>"])
        mine = " || ".join(f'STRSTARTS(STR(?g), "{self._base}{kind}/")' for kind in KINDS)
        mine += f' || STR(?g) = "{self._base}derived"'
        left: list[str] = []
        while True:
            rows = self._server.select(
                f"SELECT DISTINCT ?g WHERE {{ GRAPH ?g {{ ?s ?p ?o }} FILTER({mine}) }} LIMIT 500"
            )
            graphs = [row["g"] for row in rows]
            if not graphs:
                return
            if graphs == left:
                raise EngineUnavailable(f"{self._server} does not remove graphs, such as <{graphs[0]}>")
            left = graphs
            for start in range(0, len(graphs), _OPERATIONS_AT_ONCE):
                some = graphs[start : start + _OPERATIONS_AT_ONCE]
                self._server.update([f"DROP SILENT GRAPH <{graph}>" for graph in some])

    # Answering

    def _evaluate(
        self, query: Query, text: str, kind: Kind, wanted: str, deadline: float, exchange: Exchange[_Written]
    ) -> _Written:
        if time.monotonic() - self._asked > _BELIEVED:
            self._require_state()
        revision = self._reached
        prologue = _prologue(query)
        if self._server.virtuoso:
            # It does not know the escapes that were put into IRIs, and needs none, because it has tokens.
            text = query.text
        with contextlib.ExitStack() as stack:
            try:
                response = stack.enter_context(self._server.ask(query, prologue + text, kind, deadline, exchange))
                self._spool.mkdir(parents=True, exist_ok=True)
                sink = Sink(self._limits.result, self._spool)
                stack.callback(lambda: sink.file is not None and sink.file.close())
                try:
                    got = _rewrite(response, kind, wanted, sink)
                except BaseException:
                    sink.discard()
                    raise
            except TooLarge:
                raise error_of({"error": "result"}, self._limits) from None
            except Refusal as refusal:
                raise refusal.as_error(len(prologue)) from None
        body: bytes | IO[bytes] = sink.body()
        if sink.file is not None:
            path = Path(sink.file.name)
            body = path.open("rb")
            path.unlink()
        return _Written(got, revision, sink.length, body)

    def _require_state(self) -> None:
        """Make sure that the server still has what it had. Raises `EngineUnavailable`, or `IndexBehind` if it has less."""
        if not self._following.acquire(blocking=False):
            if not self._checked:
                raise IndexBehind("nothing is published yet; try again in a moment", reached=0)
            return  # it is being asked or brought up this moment
        try:
            before = self._reached
            with self._translated():
                state = self._look()
                if state is None and self._lock is not None and self._journal.last() == 0:
                    self._catch_up(self._journal)  # nothing to follow, so nobody else would
                    return
        finally:
            self._following.release()
        if state is None and before == 0:
            raise IndexBehind("nothing is published yet; try again in a moment", reached=0)
        if state is None or state.revision < before:
            raise IndexBehind(
                f"{self._server} has lost what it had and is being filled again; try again in a moment",
                reached=self._reached,
            )


@dataclass(frozen=True)
class _State:
    """How far a server says it is."""

    revision: int
    digest: str
    made_by: str


@dataclass(frozen=True)
class _Written:
    """An answer, written as it was wanted."""

    kind: Kind
    revision: int
    length: int
    body: bytes | IO[bytes]

    def discard(self) -> None:
        if not isinstance(self.body, bytes):
            self.body.close()


# What is written


def _digest(journal: Journal, revision: int) -> str:
    document = journal.content(revision) if revision else None
    return document.digest if document is not None else ""


def _record(base: Base, revision: int, digest: str, made_by: str = "") -> list[str]:
    """The operations that record how far the server is, by one, so that at no moment it says nothing; and, where `made_by` tells it,
    by which rules the derived facts there were made from that."""
    graph, about = f"GRAPH <{base}revision>", f"<{base}>"
    old = f"{graph} {{ {about} <{SCHEMA}version> ?revision ; <{SCHEMA}sha256> ?digest }}"
    new = f'{graph} {{ {about} <{SCHEMA}version> {revision} ; <{SCHEMA}sha256> "{digest}" }}'
    made = f'INSERT {{ {graph} {{ {about} <{SCHEMA}softwareVersion> "{made_by}" }} }} WHERE {{}}'
    return [
        f"DELETE {{ {old} }} INSERT {{ {new} }} WHERE {{ OPTIONAL {{ {old} }} }}",
        *([made] if made_by else [_unmark(base)]),
    ]


def _unmark(base: Base) -> str:
    """The operation that takes back by which rules the derived facts were made."""
    made = f"GRAPH <{base}revision> {{ <{base}> <{SCHEMA}softwareVersion> ?made }}"
    return f"DELETE {{ {made} }} WHERE {{ {made} }}"


def _facts(base: Base, lost: Sequence[ox.Triple], won: Sequence[ox.Triple]) -> list[str]:
    """The operations that change derived facts."""
    derived = rules.graph_of(base.iri).value
    gone = "\n".join(f"{triple} ." for triple in lost)
    return ([f"DELETE DATA {{ GRAPH <{derived}> {{\n{gone}\n}} }}"] if lost else []) + (
        [_insertion(derived, [f"{triple} ." for triple in won])] if won else []
    )


def _copy(journal: Journal, revision: int, path: Path) -> None:
    """Make a store of what rules read of the documents as of a revision."""
    read = rules.asserted()
    store = ox.Store(path)
    documents = (document for _, document in journal.current(0, revision) if document is not None)
    while some := list(itertools.islice(documents, 2_000)):
        store.bulk_extend(
            ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri))
            for document in some
            for t in document.triples
            if rules.read_as(t) in read
        )
    store.flush()


def _requests(changed: Iterator[tuple[str, Document | None]], closing: Sequence[str]) -> Iterator[list[str]]:
    """Update requests, each a list of operations, that make these documents as they are now; the last ends with `closing`."""
    request: list[str] = []
    size = 0
    for iri, document in changed:
        pieces = [] if document is None else _pieces(document)
        for number, piece in enumerate([[], *pieces]):
            if size + len(piece) > _TRIPLES_AT_ONCE or len(request) + 2 > _OPERATIONS_AT_ONCE:
                yield request
                request, size = [], 0
            request.append(_insertion(iri, piece) if number else f"DROP SILENT GRAPH <{iri}>")
            size += len(piece)
    yield [*request, *closing]


def _insertion(graph: str, lines: Sequence[str]) -> str:
    # Not INSERT DATA: Virtuoso takes no blank nodes there. A template is instantiated once for the one empty solution.
    text = "\n".join(lines)
    return f"INSERT {{ GRAPH <{graph}> {{\n{text}\n}} }} WHERE {{}}"


def _pieces(document: Document) -> Iterator[list[str]]:
    """The document's triples in N-Triples, in pieces that a request can hold, each blank node with all its triples in one."""
    lines = document.content.decode("utf-8").splitlines()
    if len(lines) <= _TRIPLES_AT_ONCE:
        yield lines
        return
    # Union-find over the blank nodes: those that a triple joins belong together.
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            node = above
        return node

    nodes = [
        [str(term) for term in (triple.subject, triple.object) if isinstance(term, ox.BlankNode)]
        for triple in document.triples
    ]
    for some in nodes:
        for other in some[1:]:
            parent[root(other)] = root(some[0])
    groups: dict[str, list[str]] = {}
    for number, (triple, some) in enumerate(zip(document.triples, nodes, strict=True)):
        groups.setdefault(root(some[0]) if some else f"{number}", []).append(f"{triple} .")
    piece: list[str] = []
    for group in groups.values():
        if piece and len(piece) + len(group) > _TRIPLES_AT_ONCE:
            yield piece
            piece = []
        piece.extend(group)
    yield piece


# What is asked


def _prologue(query: Query) -> str:
    """The base and the prefixes that a query leaves out, to stand before it on its first line."""
    # Virtuoso takes BASE at the very beginning only.
    own = next((token.text for token in lexis.tokens(query.text) if token.kind not in ("space", "comment")), "")
    base = f"BASE <{query.base}> " if query.base and own.upper() != "BASE" else ""
    return base + "".join(f"PREFIX {name}: <{iri}> " for name, iri in query.supplied_prefixes().items())


def _rewrite(response: Response, kind: Kind, wanted: str, sink: Sink) -> Kind:
    """Read the server's answer and write it as it is wanted; the kind it turned out to be."""
    reader: Any = response
    parsed: Any = None
    try:
        if kind == "triples":
            syntax = _TRIPLES_READ.get(response.media_type)
            if syntax is None:
                raise response.nonsense()
            parsed = (quad.triple for quad in ox.parse(reader, format=syntax, lenient=True))
            ox.serialize(parsed, sink, format=TRIPLES[wanted], prefixes=PREFIXES)  # type: ignore[arg-type]
        else:
            results = _SOLUTIONS_READ.get(response.media_type)
            if results is None:
                raise response.nonsense()
            parsed = ox.parse_query_results(reader, format=results)
            kind = "boolean" if isinstance(parsed, ox.QueryBoolean) else "solutions"
            parsed.serialize(sink, format=SOLUTIONS[wanted])
        response.require_end()
    except (SyntaxError, ValueError, OSError, http.client.HTTPException) as error:
        if isinstance(error, TimeoutError):
            raise
        if response.broken is not None:
            raise response.broken from None
        raise response.nonsense(str(error)) from None
    finally:
        del parsed  # it must end in the thread that made it, and an error takes this frame to another
    sink.flush()
    return kind


class _Request(SPARQLWrapper):
    """SPARQLWrapper, sent through an opener of ours: its own is the process's, follows redirections anywhere, and knows no deadline."""

    def __init__(self, url: str, form: str, opener: urllib.request.OpenerDirector, timeout: float) -> None:
        self._form, self._opener, self._patience = form, opener, timeout
        super().__init__(url, agent="event-knowledge-graph")
        self.setMethod(POST)
        # Virtuoso hangs on queries that come as a body of their own.
        self.setRequestMethod(URLENCODED)
        self.setOnlyConneg(True)

    def _parseQueryType(self, query: str) -> str:  # noqa: N802 — its name there
        """What we know already; the original runs regular expressions that backtrack over whatever somebody sent."""
        return self._form

    def _query(self) -> tuple[http.client.HTTPResponse, str]:
        return self._opener.open(self._createRequest(), timeout=self._patience), self.returnFormat


class _Server:
    """The server, as two addresses and who we are there."""

    def __init__(self, config: Config) -> None:
        self.url = config.engine
        self.update_url = config.engine_update or config.engine
        self._user = config.engine_user
        self._secret = _read_secret(config)
        self._scheme = ""  # how it asks who we are, once it has
        self._tls = ssl.create_default_context()
        self._limit = config.result_limit
        self.virtuoso = False

    def __str__(self) -> str:
        return f"the SPARQL server at {self.url}"

    # Three things to ask of it

    @contextlib.contextmanager
    def ask(self, query: Query, text: str, kind: Kind, deadline: float, exchange: Exchange[Any]) -> Iterator[Response]:
        """The answer to a query, to be read within the block."""
        request = self._request(self.url, "CONSTRUCT" if kind == "triples" else "SELECT", deadline, exchange)
        request.setQuery(text)
        request.addCustomHttpHeader("Accept", _ACCEPTED["triples" if kind == "triples" else "solutions"])
        for graph in query.default_graphs:
            request.addDefaultGraph(graph)
        for graph in query.named_graphs:
            request.addNamedGraph(graph)
        with self._send(request) as raw:
            if cap := raw.headers.get("X-SPARQL-MaxRows"):
                raise ResultTooLarge(
                    f"{self} cuts answers at {cap} rows; ask for it in parts, with LIMIT and OFFSET", limit=int(cap)
                )
            if raw.headers.get("X-SQL-State"):
                raise QueryTimeout(f"{self} gave the query up: {raw.headers.get('X-SQL-Message', 'it took too long')}")
            yield Response(str(self), raw)

    def select(self, text: str, seconds: float = _STATE_SECONDS) -> list[dict[str, str]]:
        """The rows of a query of our own, as text. Raises `EngineUnavailable`."""
        deadline = time.monotonic() + seconds
        exchange: Exchange[bytes] = Exchange()

        def work() -> bytes:
            with self.ask(Query(text), text, "solutions", deadline, exchange) as response:
                parts = list(iter(response.read, b""))
                response.require_end()
                return b"".join(parts)

        try:
            body = json.loads(exchange.perform(work, deadline))
            return [{name: term["value"] for name, term in row.items()} for row in body["results"]["bindings"]]
        except (Refusal, QueryError, OSError) as error:
            raise self._unavailable(error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineUnavailable(
                f"{self} does not answer as a SPARQL server does; is it the address of one?"
            ) from None

    def update(self, operations: Sequence[str]) -> None:
        """Send one update request. Raises `EngineUnavailable`."""
        deadline = time.monotonic() + _UPDATE_SECONDS
        exchange: Exchange[None] = Exchange()

        def work() -> None:
            request = self._request(self.update_url, "INSERT", deadline, exchange)
            request.setQuery(" ;\n".join(operations))
            request.addCustomHttpHeader("Accept", "*/*")
            with self._send(request) as raw:
                raw.read(65_536)

        try:
            exchange.perform(work, deadline)
        except (Refusal, QueryError, OSError) as error:
            raise self._unavailable(error, updating=True) from None

    # What is asked with them

    def state(self, base: Base) -> _State | None:
        """How far it is with this base; None if it says nothing. Raises `ConfigurationError` if it holds another base, or hides
        named graphs from queries that name none."""
        rows = self.select(
            f"SELECT ?of ?revision ?digest ?seen ?rules WHERE {{"
            f" GRAPH ?g {{ ?of <{SCHEMA}version> ?revision ; <{SCHEMA}sha256> ?digest }}"
            f" OPTIONAL {{ ?of <{SCHEMA}version> ?seen }}"
            f" OPTIONAL {{ ?of <{SCHEMA}softwareVersion> ?rules }}"
            f' FILTER(STR(?g) = CONCAT(STR(?of), "revision")) }}'
        )
        for row in rows:
            if row["of"] != base.iri:
                raise ConfigurationError(
                    f"{self} holds the graph of the base {row['of']}, this one is for {base}; queries would see both, so each "
                    "needs a server or dataset of its own",
                    setting="KG_ENGINE",
                )
            if "seen" not in row:
                raise ConfigurationError(
                    f"{self} does not let queries see the union of its graphs by default. Oxigraph: start it with "
                    "`oxigraph serve --union-default-graph`; Fuseki: set tdb2:unionDefaultGraph to true; Stardog: set "
                    "query.all.graphs to true",
                    setting="KG_ENGINE",
                )
        return _State(int(rows[0]["revision"]), rows[0]["digest"], rows[0].get("rules", "")) if rows else None

    def require_whole_answers(self) -> None:
        """Raises `ConfigurationError` for a Virtuoso that cuts answers: it does so to graphs without a word. Once it has answered."""
        if not self.virtuoso:
            return
        try:
            rows = self.select('SELECT (bif:virtuoso_ini_item_value("SPARQL", "ResultSetMaxRows") AS ?cap) WHERE { }')
        except EngineUnavailable as error:
            log.warning("it is not known whether %s cuts graphs: %s", self, error.detail)
            return
        if rows and (cap := rows[0].get("cap")):
            raise ConfigurationError(
                f"{self} is a Virtuoso that cuts graphs after {cap} solutions and does not say so; take ResultSetMaxRows out of the "
                "section [SPARQL] of its configuration",
                setting="KG_ENGINE",
            )

    # How

    def _request(self, url: str, form: str, deadline: float, exchange: Exchange[Any]) -> _Request:
        login = (self._user, self._secret) if self._user and self._secret else None
        director = opener(exchange, self._tls, url, login, self._asked)
        request = _Request(url, form, director, max(0.001, deadline - time.monotonic()))
        if login is not None and self._scheme == "basic":
            request.setHTTPAuth(BASIC)
            request.setCredentials(self._user, self._secret)
        elif self._secret and not self._user:
            request.addCustomHttpHeader("Authorization", f"Bearer {self._secret}")
        return request

    @contextlib.contextmanager
    def _send(self, request: _Request) -> Iterator[http.client.HTTPResponse]:
        """The response of a request that succeeded. Raises `Refusal`, `EngineUnavailable` or `TimeoutError`."""
        try:
            response = request.query().response
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(65_536).decode("utf-8", "replace")
            raise Refusal(str(self), error.code, error.headers, text) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise TimeoutError from None
            raise EngineUnavailable(f"{self} cannot be reached: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError):
                raise
            raise EngineUnavailable(f"{self} broke off: {error or type(error).__name__}") from None
        with response:
            self.virtuoso = self.virtuoso or "virtuoso" in response.headers.get("Server", "").lower()
            yield response

    def _asked(self, scheme: str) -> None:
        self._scheme = scheme

    def _unavailable(self, error: Exception, *, updating: bool = False) -> EngineUnavailable:
        what = f"{self.update_url} did not take an update" if updating else f"{self} could not be asked"
        if isinstance(error, TimeoutError):
            return EngineUnavailable(f"{what}: no answer in time")
        if isinstance(error, Refusal):
            known = error.as_error()
            if isinstance(known, EngineUnavailable):
                return known
            return EngineUnavailable(f"{what} ({error.status}): {error.text}")
        return EngineUnavailable(f"{what}: {error}")


def _read_secret(config: Config) -> str:
    if not config.engine_secret_file:
        return config.engine_secret
    try:
        return Path(config.engine_secret_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"KG_ENGINE_SECRET_FILE: {config.engine_secret_file} cannot be read: {reason}",
            setting="KG_ENGINE_SECRET_FILE",
        ) from None
