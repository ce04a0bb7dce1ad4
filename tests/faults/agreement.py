"""Whether a data directory keeps its promises: batches whole, what was acknowledged there, the index equal to the journal.

Looks at the journal with its own reader and at the index over HTTP or through a library, never at what they say of themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pyoxigraph as ox
from serving import Server, until

from kg.documents import Document
from kg.engine import Query
from kg.engine.snapshots import differences
from kg.journal import Journal
from kg.library import Library
from kg.verification import verify_journal

#: All that documents say; what is derived from it is not theirs.
EVERYTHING = 'SELECT ?g ?s ?p ?o WHERE { GRAPH ?g { ?s ?p ?o } FILTER (!STRENDS(STR(?g), "/derived")) }'

Quads = frozenset[ox.Quad]


class Truth:
    """The journal of a directory, and what an index of it must hold. Remembers documents, so that it can be asked often."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._known: dict[str, Quads] = {}

    def _quads_of(self, document: Document) -> Quads:
        """The document as a store holds it: literals are normalised there, `"01"^^xsd:integer` to `1`."""
        if document.digest not in self._known:
            graph = ox.NamedNode(document.iri)
            store = ox.Store()
            store.extend(ox.Quad(t.subject, t.predicate, t.object, graph) for t in document.triples)
            self._known[document.digest] = frozenset(store)
        return self._known[document.digest]

    def quads(self, upto: int) -> Quads:
        """All that the documents said as of a batch."""
        journal = Journal(self._data / "journal.sqlite")
        try:
            there = [document for _, document in journal.current(0, upto) if document is not None]
        finally:
            journal.close()
        return frozenset().union(*(self._quads_of(document) for document in there))

    def last(self) -> int:
        journal = Journal(self._data / "journal.sqlite")
        try:
            return journal.last()
        finally:
            journal.close()

    def require_batches(self, acknowledged: Mapping[int, int]) -> None:
        """No batch is there in part, and all are there that were reported: number of documents by revision."""
        connection = sqlite3.connect(f"file:{self._data / 'journal.sqlite'}?mode=ro", uri=True)
        try:
            rows = connection.execute(
                "SELECT batch, count(*), min(seq), max(seq) FROM revision GROUP BY batch"
            ).fetchall()
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        finally:
            connection.close()
        end = 0
        for batch, count, first, last in sorted(rows):
            assert (first, last) == (end + 1, batch), f"batch {batch} is there in part"
            assert count == last - first + 1
            end = last
        there = {batch: count for batch, count, _, _ in rows}
        lost = {revision: count for revision, count in acknowledged.items() if there.get(revision) != count}
        assert not lost, f"acknowledged and not there: {lost}"

    def require_verified(self) -> None:
        """`kg verify` finds nothing wrong; what it looks at is more than what is looked at here."""
        journal = Journal(self._data / "journal.sqlite")
        try:
            assert [*verify_journal(journal), *differences(self._data, journal)] == []
        finally:
            journal.close()

    def require_index(self, source: Server | Library, *, reached: int | None = None) -> int:
        """What queries see is what the journal says as of the revision they claim to see; that revision.

        With `reached`, wait until queries see that revision.
        """
        if reached is not None:
            until(lambda: _answer(source, "ASK {}")[0] >= reached, f"queries see revision {reached}", 20)
        revision, body = _answer(source, EVERYTHING)
        parsed = ox.parse_query_results(body, format=ox.QueryResultsFormat.TSV)
        assert isinstance(parsed, ox.QuerySolutions)
        seen = [ox.Quad(row["s"], row["p"], row["o"], row["g"]) for row in parsed]
        expected = self.quads(revision)
        assert len(seen) == len(set(seen))
        missing, extra = expected - set(seen), set(seen) - expected
        assert not missing, (
            f"at revision {revision} the index lacks {len(missing)} of {len(expected)}: {min(map(str, missing))}"
        )
        assert not extra, f"at revision {revision} the index has {len(extra)} too many: {min(map(str, extra))}"
        return revision


def _answer(source: Server | Library, query: str) -> tuple[int, bytes]:
    if isinstance(source, Library):
        answer = source.answer(Query(query, solutions="tsv"))
        return answer.revision, answer.read()
    reply = source.sparql(query, "text/tab-separated-values")
    assert reply.status == 200, reply.text
    return int(reply.headers["KG-Revision"]), reply.body
