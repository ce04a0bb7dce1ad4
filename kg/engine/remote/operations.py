"""What is written on another server, as SPARQL Update: documents, derived facts, and the record of how far the server is.

Hides what servers can take at once. Promises requests that no server is known to fail at, and that all of them, sent once more from
the first, leave the server as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyoxigraph as ox

from kg import rules
from kg.documents import Document
from kg.terms import SCHEMA, Base

#: What one update request holds at most. Virtuoso 7.2 compiles it into one procedure and fails at 3,000 triples with blank nodes
#: ("the length of generated SQL text has exceeded 10000 lines") and at 1,000 operations ("query too large").
TRIPLES_AT_ONCE = 1_000
OPERATIONS_AT_ONCE = 100


def record(base: Base, revision: int, digest: str, made_by: str = "") -> list[str]:
    """The operations that record how far the server is, by one, so that at no moment it says nothing; and, where `made_by` tells it,
    by which rules the derived facts there were made from that."""
    graph, about = f"GRAPH <{base}revision>", f"<{base}>"
    old = f"{graph} {{ {about} <{SCHEMA}version> ?revision ; <{SCHEMA}sha256> ?digest }}"
    new = f'{graph} {{ {about} <{SCHEMA}version> {revision} ; <{SCHEMA}sha256> "{digest}" }}'
    made = f'INSERT {{ {graph} {{ {about} <{SCHEMA}softwareVersion> "{made_by}" }} }} WHERE {{}}'
    return [
        f"DELETE {{ {old} }} INSERT {{ {new} }} WHERE {{ OPTIONAL {{ {old} }} }}",
        *([made] if made_by else [unmark(base)]),
    ]


def unmark(base: Base) -> str:
    """The operation that takes back by which rules the derived facts were made."""
    made = f"GRAPH <{base}revision> {{ <{base}> <{SCHEMA}softwareVersion> ?made }}"
    return f"DELETE {{ {made} }} WHERE {{ {made} }}"


def facts(base: Base, lost: Sequence[ox.Triple], won: Sequence[ox.Triple]) -> list[str]:
    """The operations that change derived facts."""
    derived = rules.graph_of(base.iri).value
    gone = "\n".join(f"{triple} ." for triple in lost)
    return ([f"DELETE DATA {{ GRAPH <{derived}> {{\n{gone}\n}} }}"] if lost else []) + (
        [insertion(derived, [f"{triple} ." for triple in won])] if won else []
    )


def requests(changed: Iterator[tuple[str, Document | None]], closing: Sequence[str]) -> Iterator[list[str]]:
    """Update requests, each a list of operations, that make these documents as they are now; the last ends with `closing`."""
    request: list[str] = []
    size = 0
    for iri, document in changed:
        pieces = [] if document is None else _pieces(document)
        for number, piece in enumerate([[], *pieces]):
            if size + len(piece) > TRIPLES_AT_ONCE or len(request) + 2 > OPERATIONS_AT_ONCE:
                yield request
                request, size = [], 0
            request.append(insertion(iri, piece) if number else f"DROP SILENT GRAPH <{iri}>")
            size += len(piece)
    yield [*request, *closing]


def insertion(graph: str, lines: Sequence[str]) -> str:
    # Not INSERT DATA: Virtuoso takes no blank nodes there. A template is instantiated once for the one empty solution.
    text = "\n".join(lines)
    return f"INSERT {{ GRAPH <{graph}> {{\n{text}\n}} }} WHERE {{}}"


def _pieces(document: Document) -> Iterator[list[str]]:
    """The document's triples in N-Triples, in pieces that a request can hold, each blank node with all its triples in one."""
    lines = document.content.decode("utf-8").splitlines()
    if len(lines) <= TRIPLES_AT_ONCE:
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
        if piece and len(piece) + len(group) > TRIPLES_AT_ONCE:
            yield piece
            piece = []
        piece.extend(group)
    yield piece
