"""What runs inside a query process: one query at a time on a read-only snapshot, or one update on a copy of documents sent with it.

Run as `python -m kg.engine.evaluator`. Reads requests from its standard input and writes replies to its standard output, each a
frame: a 4-byte length, a JSON header, and as many bytes of body as the header's `length` says, or the path of a file where the
answer was too large for the pipe. Ends when its standard input does, so none outlives its parent. Imports little: it must start fast.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyoxigraph as ox

from kg.child import STARTED, begin, frame, next_header, write
from kg.engine import Query
from kg.terms import PREFIXES

#: Up to this many bytes an answer travels through the pipe; above, through a file.
IN_MEMORY = 4 * 2**20


def write_frame(stream: IO[bytes], header: Mapping[str, Any], body: bytes = b"") -> None:
    """Write a frame and its body to an unbuffered stream."""
    write(stream, frame(header) + body)


def spool_prefix(pid: int) -> str:
    """How the names of a query process's spooled answers begin, so that they can be removed after it."""
    return f"{pid}-"


class Sink:
    """Where a result is written: memory, then a file, and past the cap an error."""

    def __init__(self, cap: int, spool: Path) -> None:
        self.length = 0
        self.file: Any = None
        self._parts: list[bytes] = []
        self._cap = cap
        self._spool = spool

    def write(self, data: bytes) -> int:
        self.length += len(data)
        if self.length > self._cap:
            raise TooLarge
        if self.file is None:
            self._parts.append(data)
            if self.length > IN_MEMORY:
                self.file = tempfile.NamedTemporaryFile(dir=self._spool, prefix=spool_prefix(os.getpid()), delete=False)
                self.file.write(b"".join(self._parts))
                self._parts = []
        else:
            self.file.write(data)
        return len(data)

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def body(self) -> bytes:
        return b"".join(self._parts)

    def discard(self) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # of a full disk, where closing tries to write once more
                self.file.close()
            Path(self.file.name).unlink(missing_ok=True)


class TooLarge(Exception):
    """The result is over the cap of its sink."""


SOLUTIONS = {
    "json": ox.QueryResultsFormat.JSON,
    "xml": ox.QueryResultsFormat.XML,
    "csv": ox.QueryResultsFormat.CSV,
    "tsv": ox.QueryResultsFormat.TSV,
}
TRIPLES = {"ttl": ox.RdfFormat.TURTLE, "nt": ox.RdfFormat.N_TRIPLES, "rdf": ox.RdfFormat.RDF_XML}


def _evaluate(store: ox.Store, request: Mapping[str, Any], sink: Sink) -> dict[str, Any]:
    graphs: dict[str, Any] = {"use_default_graph_as_union": request["union"]}
    if request["default_graphs"] or request["named_graphs"]:
        graphs = {
            "default_graph": [ox.NamedNode(iri) for iri in request["default_graphs"]],
            "named_graphs": [ox.NamedNode(iri) for iri in request["named_graphs"]],
        }
    result, supplied = _asked(store, request, graphs)
    if isinstance(result, ox.QueryTriples):
        kind, wanted = "triples", request["triples"]
    else:
        kind, wanted = ("boolean" if isinstance(result, ox.QueryBoolean) else "solutions"), request["solutions"]
    if wanted is None:
        return not_acceptable(kind)
    if isinstance(result, ox.QueryTriples):
        # QueryTriples.serialize is faster but writes no prefixes.
        ox.serialize(result, sink, format=TRIPLES[wanted], prefixes=PREFIXES)  # type: ignore[arg-type]
    else:
        result.serialize(sink, format=SOLUTIONS[wanted])  # type: ignore[arg-type]
    sink.flush()
    return {"kind": kind, "format": wanted, "length": sink.length, "prefixes": [*supplied]}


def _asked(
    store: ox.Store, request: Mapping[str, Any], graphs: Mapping[str, Any]
) -> tuple[ox.QuerySolutions | ox.QueryBoolean | ox.QueryTriples, Mapping[str, str]]:
    """What the query finds, and the prefixes that had to be supplied. Without any given in the request, they are looked for only if
    the text cannot be read as it is: reading it for them costs as much as a look-up."""
    text, base, given = request["text"], request["base"], request["prefixes"]
    if given is not None:
        return store.query(text, base_iri=base, prefixes=given, **graphs), given
    try:
        return store.query(text, base_iri=base, **graphs), {}
    except SyntaxError:
        supplied = Query(text, base).supplied_prefixes()
        if not supplied:
            raise
        return store.query(text, base_iri=base, prefixes=supplied, **graphs), supplied


def _rewrite(request: Mapping[str, Any], sink: Sink) -> dict[str, Any]:
    """Apply an update to a store that holds the documents sent with it and nothing else.

    What is written is the new state, in N-Quads, of those that it changes; the header tells which, and the bytes of each.
    """
    before, after = ox.Store(), ox.Store()
    sent: dict[ox.NamedNode, list[ox.Quad]] = {}
    for iri, content in request["documents"].items():
        graph = ox.NamedNode(iri)
        parsed = ox.parse(content, format=ox.RdfFormat.N_TRIPLES, lenient=True)
        sent[graph] = [ox.Quad(q.subject, q.predicate, q.object, graph) for q in parsed]
        before.extend(sent[graph])
        after.extend(sent[graph])
    try:
        with _without_descriptors():
            after.update(request["text"], base_iri=request["base"], prefixes=request["prefixes"])
    except OSError:
        return {"error": "refused", "message": "it would make this service send requests elsewhere"}
    stray = next((q.graph_name for q in after if q.graph_name not in sent), None)
    if stray is not None:
        what = str(stray) if isinstance(stray, ox.NamedNode) else "no graph"
        return {"error": "refused", "message": f"it would write to {what}, which it does not name as GRAPH and an IRI"}
    changed: list[tuple[str, int]] = []
    for graph, quads in sent.items():
        # The store writes some literals in another way ("01" as 1). What the update leaves alone stays as it was written.
        kept = [quad for quad in quads if quad in after]
        added = [quad for quad in after.quads_for_pattern(None, None, None, graph) if quad not in before]
        if added or len(kept) < len(quads):
            start = sink.length
            ox.serialize([*kept, *added], sink, format=ox.RdfFormat.N_QUADS)  # type: ignore[arg-type]
            changed.append((graph.value, sink.length - start))
    sink.flush()
    return {"changed": changed, "length": sink.length}


@contextlib.contextmanager
def _without_descriptors() -> Iterator[None]:
    """Within the block this process can open no file and no socket: whatever an update says, and however it is read, it asks nobody.

    RLIMIT_NOFILE is the number of the first descriptor that is refused; those that are open stay so (setrlimit(2)).
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def not_acceptable(kind: str) -> dict[str, Any]:
    """The header of a reply to a query whose kind of answer cannot be written as asked."""
    what = "RDF" if kind == "triples" else "a table" if kind == "solutions" else "true or false"
    message = f"the query answers with {what}, which cannot be written in any media type that was asked for"
    return {"error": "not acceptable", "message": message, "available": kind}


#: Where Oxigraph's message of a syntax error says that it is.
PLACE = re.compile(r"error at (\d+):(\d+): (?s:(.*))")


def _reply(request: Mapping[str, Any], store: ox.Store | None, cap: int, spool: Path) -> tuple[dict[str, Any], bytes]:
    """The reply to a query on a store or, without one, to an update."""
    sink = Sink(cap, spool)
    try:
        header = _rewrite(request, sink) if store is None else _evaluate(store, request, sink)
        if sink.file is not None:
            sink.file.close()
            return {**header, "spooled": sink.file.name}, b""
        return header, sink.body()
    except SyntaxError as error:
        place = PLACE.match(error.msg)
        line, column, message = (int(place[1]), int(place[2]), place[3]) if place else (None, None, error.msg)
        header = {"error": "syntax", "message": message, "line": line, "column": column}
    except TooLarge:
        header = {"error": "result"}
    except MemoryError:
        header = {"error": "memory"}
    except OSError as error:
        why = f"the answer could not be kept until it is sent: {error}; look whether the disk is full"
        header = {"error": "storage", "message": why}
    except (ValueError, RuntimeError) as error:
        header = {"error": "evaluation", "message": str(error)}
    sink.discard()
    return header, b""


def main(memory: int, result: int, spool: Path) -> None:
    """Answer requests from standard input until it ends."""
    requests, replies = begin(memory)
    replies.write(STARTED)
    opened: tuple[str, ox.Store] | None = None
    while (request := next_header(requests)) is not None:
        if "documents" in request:
            write_frame(replies, *_reply(request, None, result, spool))
            continue
        if opened is None or opened[0] != request["snapshot"]:
            opened = None  # closes the one before
            try:
                opened = (request["snapshot"], ox.Store.read_only(request["snapshot"]))
            except OSError as error:
                write_frame(replies, {"error": "storage", "message": f"the snapshot cannot be opened: {error}"})
                continue
        write_frame(replies, *_reply(request, opened[1], result, spool))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
