"""The journal as people read it: who did what to which document, when and why, in sentences, by day and by write.

Hides how revisions become sentences. What several documents got in one write is told once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kg.documents import Document
from kg.history import stamp
from kg.journal import Journal, Revision
from kg.terms import Base
from kg.web.wording import Said, Wording

#: What was done, and the circumstance that follows what it was done to, by the kind of change.
_CHANGES = {
    "corrected-source": ("corrected", "as its source did"),
    "corrected-encoding": ("corrected", "which had been taken down wrongly"),
    "retracted": ("retracted", ""),
}


@dataclass(frozen=True)
class Deed:
    """What one revision did to one document. `added` and `removed` count statements; the address of what changed is absent where
    there was nothing before."""

    revision: Revision
    verb: str
    circumstance: str
    name: Said
    kind: str
    path: str
    added: int
    removed: int

    @property
    def gone(self) -> bool:
        return self.revision.digest is None

    @property
    def moment(self) -> str:
        return stamp(self.revision.time)

    @property
    def day(self) -> str:
        return self.revision.time.strftime("%-d %B %Y")

    @property
    def hour(self) -> str:
        return self.revision.time.strftime("%H:%M")

    @property
    def size(self) -> str:
        """How much of it changed, in words."""
        parts = [(self.added, "added"), (self.removed, "taken away")]
        told = [(count, done) for count, done in parts if count]
        if not told:
            return "nothing else changed"
        count, done = told[0]
        first = f"{count:,} {'statement' if count == 1 else 'statements'} {done}"
        return ", ".join([first, *(f"{count:,} {done}" for count, done in told[1:])])


def deed(
    revision: Revision, before: tuple[Revision, Document | None] | None, after: Document | None, base: Base, name: Said
) -> Deed:
    """What a revision did, from the one before it of the same document and what either left."""
    if revision.digest is None:
        verb, circumstance = "withdrew", ""
    elif revision.change in _CHANGES and before is not None:
        verb, circumstance = _CHANGES[revision.change]
    elif before is None:
        verb, circumstance = ("retracted" if revision.change == "retracted" else "recorded"), ""
    elif before[0].digest is None:
        verb, circumstance = "recorded", "which had been withdrawn"
    else:
        verb, circumstance = "updated", ""
    old, new = _lines(before[1] if before else None), _lines(after)
    path = revision.document.removeprefix(base.iri)
    kind = base.kind_of(revision.document)
    return Deed(revision, verb, circumstance, name, kind, path, len(new - old), len(old - new))


def _lines(document: Document | None) -> frozenset[bytes]:
    """What a document says, a part without a name counted with what leads to it."""
    lines = document.content.splitlines() if document else ()
    return frozenset(line for line in lines if not line.startswith(b"_:"))


def deeds(members: Sequence[tuple[Revision, Document | None]], journal: Journal, wording: Wording) -> list[Deed]:
    """What these revisions did, in their order, each document by its name now or, where it is gone, by its last."""
    base = journal.base
    names = wording.documents({revision.document for revision, _ in members})

    def told(revision: Revision, after: Document | None) -> Deed:
        found = journal.revision_at(revision.document, revision.seq - 1)
        before = None if found is None else (found, journal.content(found.seq))
        name = names[revision.document]
        held = after or (before and before[1])
        if name.language is None and held is not None:  # no label now, as far as can be told from here
            name = wording.own_name(held)
        return deed(revision, before, after, base, name)

    return [told(revision, after) for revision, after in members]


@dataclass(frozen=True)
class Write:
    """What one write did, or the part of it at hand: its deeds, alike but for their documents."""

    deeds: tuple[Deed, ...]

    @property
    def first(self) -> Deed:
        return self.deeds[0]

    @property
    def together(self) -> bool:
        return len(self.deeds) > 1

    @property
    def same(self) -> bool:
        """Whether all of it was the same, so that one verb tells it."""
        return len({(it.verb, it.circumstance) for it in self.deeds}) == 1


def by_day(told: Sequence[Deed]) -> Iterator[tuple[str, list[Write]]]:
    """Deeds under their days, those of one write together; in the order given."""
    for day, of_day in itertools.groupby(told, key=lambda it: it.day):
        groups = itertools.groupby(of_day, key=lambda it: it.revision.batch)
        yield day, [Write(tuple(group)) for _, group in groups]
