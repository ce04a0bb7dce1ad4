"""A query as it is sent to another server, and the server's answer written anew, so that it looks the same whoever gave it.

Hides the formats that servers answer in. Promises that an answer is whole or an error, and within the limits of its sink.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import IO, Any

import pyoxigraph as ox

from kg import lexis
from kg.engine import Kind, Query
from kg.engine.evaluator import SOLUTIONS, TRIPLES, Sink
from kg.engine.exchange import Response
from kg.terms import PREFIXES

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


@dataclass(frozen=True)
class Written:
    """An answer, written as it was wanted."""

    kind: Kind
    revision: int
    length: int
    body: bytes | IO[bytes]

    def discard(self) -> None:
        if not isinstance(self.body, bytes):
            self.body.close()


def prologue(query: Query) -> str:
    """The base and the prefixes that a query leaves out, to stand before it on its first line."""
    # Virtuoso takes BASE at the very beginning only.
    own = next((token.text for token in lexis.tokens(query.text) if token.kind not in ("space", "comment")), "")
    base = f"BASE <{query.base}> " if query.base and own.upper() != "BASE" else ""
    return base + "".join(f"PREFIX {name}: <{iri}> " for name, iri in query.supplied_prefixes().items())


def rewrite(response: Response, kind: Kind, wanted: str, sink: Sink) -> Kind:
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
