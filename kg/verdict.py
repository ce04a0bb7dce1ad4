"""The verdict on a batch: what is wrong with it, as of one state of the journal, and what a write would change.

Hides which documents have to be judged: those of the batch that are new, and those outside it that rely on what it alters or takes
away. Promises that a batch with a verdict of nothing wrong, written onto that same state, leaves every document there valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kg.documents import Document
from kg.errors import Rejected, StillReferredTo, UnplaceableDocument
from kg.gate import REFERENCE, Face, Report, Result, faces, judge
from kg.journal import Journal

#: Given documents and the faces of all they refer to, the report on each, in the same order.
Judge = Callable[[Sequence[tuple[Document, Mapping[str, Face]]]], Sequence[Report]]

#: The new state of each document that a write concerns, by its IRI; None takes it away.
Batch = Mapping[str, Document | None]

#: Referrers that an error names; there may be any number.
_REFERRERS = 100


@dataclass(frozen=True)
class Verdict:
    """Reports on a batch, as of one state of the journal. `changed` are the documents that a write would change.

    `bereft` are pairs of a node that goes with its document and a document that refers to it, where that is all that is wrong.
    """

    as_of: int
    reports: tuple[Report, ...]
    changed: Batch
    unchanged: tuple[str, ...]
    bereft: tuple[tuple[str, str], ...] = ()

    @property
    def conforms(self) -> bool:
        return all(report.conforms for report in self.reports)

    def require(self) -> None:
        """Raises `Rejected`, or `StillReferredTo` where nothing is wrong but that others refer to what would be taken away."""
        if self.conforms:
            return
        if not self.bereft:
            raise Rejected(self.reports)
        count = len({referrer for _, referrer in self.bereft})
        some = ", ".join(sorted({referrer for _, referrer in self.bereft[:_REFERRERS]})[:3])
        raise StillReferredTo(
            f"{count} other document{'s refer' if count != 1 else ' refers'} to what would be taken away: {some}"
            f"{', …' if count > 3 else ''}; change or delete {'them' if count != 1 else 'it'} first, or in the same batch",
            referrers=[{"node": node, "document": referrer} for node, referrer in self.bereft[:_REFERRERS]],
            total=len(self.bereft),
        )


def batch_of(candidates: Iterable[Document]) -> dict[str, Document | None]:
    """The batch that these documents are. Raises `UnplaceableDocument` where two have one IRI and differ."""
    batch: dict[str, Document | None] = {}
    for candidate in candidates:
        if batch.get(candidate.iri, candidate) != candidate:
            raise UnplaceableDocument(f"{candidate.iri} comes twice in one batch, with different contents")
        batch[candidate.iri] = candidate
    return batch


def verdict_on(batch: Batch, journal: Journal, as_of: int, judge_all: Judge | None = None) -> Verdict:
    """The verdict on a batch beside what the journal holds; `as_of` is the journal's newest batch, looked up before this one was made.

    The batch is judged as a whole: its documents may refer to each other in any order. Documents outside it whose references it
    would break, or under which it would change what they rely on, are judged with it.
    """
    there = journal.digests(batch)
    changed = {
        iri: candidate
        for iri, candidate in batch.items()
        if there.get(iri) != (None if candidate is None else candidate.digest)
    }
    unchanged = tuple(iri for iri in batch if iri not in changed)
    sent = [candidate for candidate in changed.values() if candidate is not None]
    new_faces = {iri: face for candidate in sent for iri, face in faces(candidate).items()}
    old_nodes = {node for iri in changed for node in journal.nodes_of(iri)}
    gone = old_nodes - new_faces.keys()
    old_faces = journal.faces(old_nodes)
    altered = {node for node, face in old_faces.items() if node in new_faces and new_faces[node] != face}
    dangling: dict[str, list[tuple[str, str]]] = {}
    for target, referrer in journal.referrers(gone):
        if referrer not in changed:
            dangling.setdefault(journal.base.document_of(target) or target, []).append((target, referrer))
    relying = {referrer for _, referrer in journal.referrers(altered)} - changed.keys()
    todo = [*sent, *(found[0] for iri in sorted(relying) if (found := journal.read(iri)) is not None)]
    wanted = {reference for candidate in todo for reference in candidate.references(journal.base)}
    known = {iri: face for iri, face in journal.faces(wanted - new_faces.keys()).items() if iri not in gone}
    resolved = {**known, **{iri: new_faces[iri] for iri in wanted & new_faces.keys()}}
    pairs = [
        (candidate, {r: resolved[r] for r in candidate.references(journal.base) if r in resolved}) for candidate in todo
    ]
    reports = list(
        judge_all(pairs) if judge_all else (judge(candidate, journal.base, near) for candidate, near in pairs)
    )
    bereft: list[tuple[str, str]] = []
    if all(report.conforms for report in reports) and all(changed.get(iri, iri) is None for iri in dangling):
        bereft = [pair for pairs_of in dangling.values() for pair in pairs_of]
    reports += [
        _still_referred_to(document, pairs_of, changed.get(document) is None) for document, pairs_of in dangling.items()
    ]
    return Verdict(as_of, tuple(_merged(reports)), changed, unchanged, tuple(bereft))


def _still_referred_to(document: str, references: Sequence[tuple[str, str]], goes: bool) -> Report:
    what = "This node would go with its document" if goes else "The document no longer describes this node"
    results = tuple(
        Result(
            target,
            None,
            referrer,
            f"{what}, but {referrer} refers to it. Keep it, or send {referrer} without the reference in the same batch.",
            REFERENCE,
        )
        for target, referrer in references
    )
    return Report(document, results)


def _merged(reports: Iterable[Report]) -> list[Report]:
    """One report a document."""
    results: dict[str, tuple[Result, ...]] = {}
    for report in reports:
        results[report.document] = (*results.get(report.document, ()), *report.results)
    return [Report(document, found) for document, found in results.items()]
