"""Anything in any order: a library beside a model of what it should hold, through writes, refusals, races, crashes and lost files.

The model is a dictionary of documents, the list of what was written, and one rule: a write is taken if and only if
nothing there would then refer to what is not there. All documents drawn here are valid but for that, save those that are meant not to be.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import generate
import hypothesis.strategies as st
import pyoxigraph as ox
import pytest
from generate import Act
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from serving import state_of, until

from kg import config, documents, rules
from kg.documents import Document
from kg.engine import Query
from kg.engine.deriver import Copy
from kg.engine.snapshots import Snapshots, differences
from kg.errors import KgError, PreconditionFailed, Rejected, StillReferredTo
from kg.journal import Journal
from kg.library import Library, open_library
from kg.terms import EKG, PREFIXES
from kg.verification import verify_journal
from kg.web.writing import Conditions

BASE = generate.BASE
DERIVED = rules.graph_of(BASE.iri)

PERSONS, ORGANIZATIONS, EVENTS, ARTICLES = ("ada", "ben"), ("staff", "fleet"), ("raid", "march"), ("x", "y")

#: Each proposition entails only those before it.
PROPOSITIONS = ("left", "left-at-dawn", "left-by-sea-at-dawn")

Batch = Mapping[str, Document | None]

# What may be written

_label = st.sampled_from(["one", "two", "три"])
_organization = st.builds(lambda slug, label: generate.actor(slug, label=label), st.sampled_from(ORGANIZATIONS), _label)
_person = st.builds(
    lambda slug, label, post, where: generate.person(slug, label=label, post=post, organization=where),
    st.sampled_from(PERSONS),
    _label,
    st.sampled_from(["post-head", None]),
    st.sampled_from(ORGANIZATIONS),
)
_event = st.builds(lambda slug, label: generate.event(slug, label=label), st.sampled_from(EVENTS), _label)


@st.composite
def _proposition(draw: st.DrawFn) -> generate.Text:
    place = draw(st.integers(0, len(PROPOSITIONS) - 1))
    entails = draw(st.sets(st.sampled_from(PROPOSITIONS[:place]))) if place else ()
    about = f"event/{draw(st.sampled_from(EVENTS))}"
    return generate.proposition(PROPOSITIONS[place], about, entails=sorted(entails), text=draw(_label))


@st.composite
def _article(draw: st.DrawFn) -> generate.Text:
    acts: list[Act] = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        person = draw(st.sampled_from(PERSONS))
        role = f"{person}#post-head" if draw(st.booleans()) else None
        reports = (number - 1,) if number > 1 and draw(st.booleans()) else ()
        kind = "Report" if reports else draw(st.sampled_from(["Claim", "Denial"]))
        content = () if reports else (draw(st.sampled_from(PROPOSITIONS)),)
        acts.append(Act(person, content, kind, in_role=role, reports=reports, quote=draw(_label)))
    day = datetime.date(2026, 11, draw(st.integers(1, 3)))
    return generate.article(draw(st.sampled_from(ARTICLES)), acts, published=day)


_text = st.one_of(_article(), _article(), _proposition(), _person, _organization, _event)
_iri = st.builds(
    BASE.document,
    st.just("actor"),
    st.sampled_from(PERSONS + ORGANIZATIONS),
) | st.one_of(
    *(
        st.builds(BASE.document, st.just(kind), st.sampled_from(slugs))
        for kind, slugs in (("event", EVENTS), ("proposition", PROPOSITIONS), ("article", ARTICLES))
    )
)


def _spoilt(text: generate.Text, how: str) -> Document:
    document = text.document()
    iri, label, see = ox.NamedNode(document.iri), PREFIXES["rdfs"] + "label", ox.NamedNode(PREFIXES["rdfs"] + "seeAlso")
    triples = list(document.triples)
    if how == "unnamed":
        triples = [t for t in triples if t.predicate.value not in (label, PREFIXES["schema"] + "text")]
    elif how == "leads nowhere":
        triples.append(ox.Triple(iri, see, ox.NamedNode(BASE.document("actor", "nobody"))))
    else:  # of what is another's to describe
        triples.append(ox.Triple(ox.NamedNode(BASE.document("place", "elsewhere")), see, iri))
    return documents.document(document.iri, triples)


# The machine


class Desk(RuleBasedStateMachine):
    """One library at a time on one directory, which moves when it crashes: what a killed process leaves is the files as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="kg-machine-"))
        self.lives = 0
        self.there: dict[str, Document] = {}
        self.history: list[tuple[str, str | None, str]] = []
        self.library = self._open(create=True)

    def teardown(self) -> None:
        try:
            self.library.settle()
            self.index_agrees()
            for where in ("?s ?p ?o", "GRAPH ?g { ?s ?p ?o }"):
                counts = [
                    self._count(f"SELECT (COUNT(*) AS ?n) WHERE {{ {{ {what} WHERE {{ {where} }} }} }}")
                    for what in ("SELECT ?s ?p ?o", "SELECT DISTINCT ?s ?p ?o")
                ]
                assert counts[0] == counts[1], "the union is duplicate-free"
            journal = self.library.journal
            assert [*verify_journal(journal), *differences(self.data, journal)] == []
        finally:
            self.library.close()
            shutil.rmtree(self.place, ignore_errors=True)

    @property
    def data(self) -> Path:
        return self.place / f"life-{self.lives}"

    def _open(self, *, create: bool = False) -> Library:
        chosen = config.read({}, data=self.data, base=BASE.iri, query_processes=1, query_timeout=20)
        opened = open_library(chosen, create=create, owner=True)
        opened.settle()
        return opened

    def _count(self, query: str) -> int:
        return int(self.library.answer(Query(query, solutions="csv")).read().split()[1])

    # Writing

    def _stands(self, batch: Batch) -> bool:
        """Whether all references would lead somewhere with this written."""
        after = {iri: found for iri, found in {**self.there, **batch}.items() if found is not None}
        described = {subject for document in after.values() for subject in document.subjects}
        return all(document.references(BASE) <= described for document in after.values())

    def _write(self, batch: Batch, change: str = "recorded", *, settle: bool = True) -> None:
        """Write it and hold the outcome against the model's."""
        before = state_of(self.data)
        try:
            receipt = self.library.change(lambda: batch, agent="a test", change=change, settle=settle)
        except (Rejected, StillReferredTo) as refusal:
            assert not self._stands(batch), refusal.detail
            assert state_of(self.data) == before, "what is refused leaves no trace"
        else:
            assert self._stands(batch)
            self._took(batch, change)
            assert receipt.revision == len(self.history)

    def _took(self, batch: Batch, change: str) -> None:
        for iri, document in batch.items():
            if document == self.there.get(iri):
                continue
            self.history.append((iri, document and document.digest, change))
            if document is None:
                del self.there[iri]
            else:
                self.there[iri] = document

    @initialize()
    def begin(self) -> None:
        story = [
            generate.actor("staff"),
            generate.actor("fleet"),
            generate.person("ada", organization="staff"),
            generate.person("ben", organization="fleet"),
            generate.event("raid"),
            generate.proposition("left", "event/raid"),
        ]
        self._write({text.iri(): text.document() for text in story})

    @rule(
        text=_text, settle=st.booleans(), change=st.sampled_from(["recorded", "corrected-source", "corrected-encoding"])
    )
    def put(self, text: generate.Text, settle: bool, change: str) -> None:
        self._write({text.iri(): text.document()}, change, settle=settle)

    @rule(texts=st.lists(_text, min_size=2, max_size=4, unique_by=lambda text: text.iri()), gone=st.none() | _iri)
    def write_a_batch(self, texts: list[generate.Text], gone: str | None) -> None:
        batch: dict[str, Document | None] = {gone: None} if gone is not None and gone in self.there else {}
        self._write(batch | {text.iri(): text.document() for text in texts})

    @rule(iri=_iri, name=_label)
    def merge(self, iri: str, name: str) -> None:
        if (there := self.there.get(iri)) is not None:
            statement = ox.Triple(
                ox.NamedNode(iri), ox.NamedNode(PREFIXES["skos"] + "altLabel"), ox.Literal(name, language="en")
            )
            self._write({iri: documents.document(iri, [*there.triples, statement])})

    @rule(iri=_iri, settle=st.booleans())
    def delete(self, iri: str, settle: bool) -> None:
        if iri in self.there:
            self._write({iri: None}, settle=settle)

    @rule(slug=st.sampled_from(ARTICLES), reason=_label)
    def retract(self, slug: str, reason: str) -> None:
        iri = BASE.document("article", slug)
        there = self.there.get(iri)
        if there is None:
            return
        receipt = self.library.change(lambda: {iri: there}, agent="a test", change="retracted", note=reason)
        found = self.library.read(iri)
        assert found is not None
        said = {t for t in found[0].triples if t.predicate.value in (EKG + "retractedAt", EKG + "retractionReason")}
        assert {t.object.value for t in said if t.predicate.value.endswith("Reason")} == {reason}  # type: ignore[union-attr]
        assert len(said) == 2
        assert set(found[0].triples) - said == set(there.triples) - {
            t for t in there.triples if t.predicate.value in (EKG + "retractedAt", EKG + "retractionReason")
        }
        assert bool(receipt.revisions) == (found[0] != there)
        self._took({iri: found[0]}, "retracted")

    @rule(text=_text, other=_text, how=st.sampled_from(["unnamed", "leads nowhere", "of another"]))
    def be_refused(self, text: generate.Text, other: generate.Text, how: str) -> None:
        """Whatever else is in the batch with it."""
        batch = {other.iri(): other.document(), text.iri(): _spoilt(text, how)}
        before = state_of(self.data)
        with pytest.raises((Rejected, StillReferredTo)):
            self.library.accept(list(batch.values()), agent="a test")
        assert state_of(self.data) == before, "what is refused leaves no trace"

    @rule(iri=_iri, conditional=st.booleans())
    def race(self, iri: str, conditional: bool) -> None:
        """Two start from one version: with a condition exactly one of them wins, without one both are written."""
        there = self.there.get(iri)
        if there is None:
            return
        condition = Conditions(f'"{there.digest}"' if conditional else None, None)
        start = threading.Barrier(2)
        outcomes: dict[int, KgError | None] = {}
        number = len(self.history)
        names = [f"racer {number} {one}" for one in range(2)]

        def write(one: int) -> None:
            statement = ox.Triple(
                ox.NamedNode(iri), ox.NamedNode(PREFIXES["skos"] + "altLabel"), ox.Literal(names[one], language="en")
            )

            def compose() -> Batch:
                found = self.library.read(iri)
                condition.require(iri, found)
                assert found is not None
                return {iri: documents.document(iri, [*found[0].triples, statement])}

            start.wait()
            try:
                self.library.change(compose, agent="a test")
                outcomes[one] = None
            except KgError as error:
                outcomes[one] = error

        threads = [threading.Thread(target=write, args=(one,)) for one in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [one for one in outcomes if outcomes[one] is None]
        lost = [error for error in outcomes.values() if error is not None]
        assert (len(won), len(lost)) == ((1, 1) if conditional else (2, 0)), outcomes
        for error in lost:
            assert isinstance(error, PreconditionFailed)
            assert error.facts["etag"] != f'"{there.digest}"'
        for revision in self.library.journal.history(iri)[-len(won) :]:
            content = self.library.journal.content(revision.seq)
            assert content is not None
            self._took({iri: content}, "recorded")
        assert {names[one] for one in won} == {
            t.object.value
            for t in self.there[iri].triples
            if isinstance(t.object, ox.Literal) and t.object.value in names
        }

    # Crashes

    @rule()
    def reopen(self) -> None:
        self.library.close()
        self.library = self._open()

    @rule(lost=st.sets(st.sampled_from(["index", "snapshots", "spool", "index/REVISION"])))
    def crash(self, lost: set[str]) -> None:
        """Go on with the files as they are at this moment, less those that were lost with it."""
        self._crash(lambda data: [_remove(data / name) for name in lost])

    @rule()
    def keep_the_index(self) -> None:
        """A copy of it, as by a backup of files that forgot the journal."""
        _remove(self.place / "kept")
        shutil.copytree(self.data / "index", self.place / "kept")

    @precondition(lambda self: (self.place / "kept").exists())
    @rule(snapshots=st.booleans())
    def crash_and_put_back_an_index(self, snapshots: bool) -> None:
        """An older one, maybe of a graph that has since gone another way; with the snapshots of today or none."""

        def put_back(data: Path) -> None:
            _remove(data / "index")
            shutil.copytree(self.place / "kept", data / "index")
            if not snapshots:
                _remove(data / "snapshots")

        self._crash(put_back)

    def _crash(self, damage: Callable[[Path], object]) -> None:
        old = self.data
        self.lives += 1
        until(lambda: _copied(old, self.data), "the files can be copied as they are at one moment")
        self.library.close()
        _remove(old)
        damage(self.data)
        self.library = self._open()

    @rule()
    def rebuild(self) -> None:
        self.library.rebuild()

    # What holds at any time

    @invariant()
    def journal_agrees(self) -> None:
        journal = Journal(self.data / "journal.sqlite")
        try:
            assert {document.iri: document for document in journal.documents_now()} == self.there
            assert [(one.document, one.digest, one.change) for one in journal.revisions()] == self.history
        finally:
            journal.close()

    @invariant()
    def index_agrees(self) -> None:
        """What queries see is all documents as of one revision, each triple once, and what follows from them and nothing else."""
        reached = self.library.engine.reached()
        if reached != len(self.history):
            return  # a write that did not wait for the index; the next one does
        newest = Snapshots(self.data / "snapshots").newest()
        assert newest is not None
        assert newest.revision == reached
        seen = set(ox.Store.read_only(str(newest.path)))
        stated = {quad for quad in seen if quad.graph_name != DERIVED}
        expected = ox.Store()
        expected.extend(
            ox.Quad(t.subject, t.predicate, t.object, ox.NamedNode(document.iri))
            for document in self.there.values()
            for t in document.triples
        )
        assert stated == set(expected)
        assert len({quad.triple for quad in seen}) == len(seen), "the union is duplicate-free"
        for _ in rules.everything(Copy(expected, DERIVED), rules.catalogue(), BASE.iri):
            pass
        assert seen - stated == {quad for quad in expected if quad.graph_name == DERIVED}


def _copied(old: Path, new: Path) -> bool:
    """Whether a copy was made, and no file came, went or grew meanwhile: the store tidies up in the background."""
    _remove(new)

    def files() -> set[tuple[str, int]]:
        return {(str(path), path.stat().st_size) for path in old.rglob("*") if path.is_file()}

    try:
        before = files()
        shutil.copytree(old, new)
        return files() == before
    except (shutil.Error, FileNotFoundError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_whatever_happens_in_whatever_order_what_was_acknowledged_is_there_and_nothing_else() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Desk,
        settings=settings(
            max_examples=8,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.reuse, Phase.generate),  # a failure is short enough to read, and to shorten it takes minutes
        ),
    )
