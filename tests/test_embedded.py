"""The index of our own: what it publishes, what it removes, and what others may do meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from serving import environment, until

from kg.config import Config
from kg.engine import Query
from kg.engine.embedded import EmbeddedEngine
from kg.engine.snapshots import Snapshots, tables_in
from kg.errors import DirectoryInUse, IndexBehind, StorageError
from kg.journal import Journal
from kg.library import Library
from kg.terms import Base

BASE = Base("https://kg.example/")


def _count(engine: EmbeddedEngine) -> int:
    """Triples of documents."""
    documents = f"GRAPH ?g {{ ?s ?p ?o }} FILTER(?g != <{BASE}derived>)"
    answer = engine.answer(Query(f"SELECT (COUNT(*) AS ?n) {{ {documents} }}", solutions="csv"))
    return int(answer.read().split()[1])


@pytest.fixture
def journal(config: Config) -> Journal:
    config.data.mkdir()
    made = Journal.create(config.data / "journal.sqlite", BASE)
    made.commit({d.iri: d for d in generate.documents(30)}, agent="test")
    return made


def test_an_empty_journal_can_be_asked(config: Config) -> None:
    config.data.mkdir()
    engine = EmbeddedEngine(config, owner=True)
    try:
        assert engine.follow(Journal.create(config.data / "journal.sqlite", BASE)) == 0
        assert _count(engine) == 0
    finally:
        engine.close()


def test_nothing_is_answered_before_anything_is_published(config: Config) -> None:
    config.data.mkdir()
    engine = EmbeddedEngine(config, owner=True)
    try:
        with pytest.raises(IndexBehind):
            engine.answer(Query("ASK {}"))
    finally:
        engine.close()


def test_queries_see_what_was_followed_and_the_revision_says_so(config: Config, journal: Journal) -> None:
    engine = EmbeddedEngine(config, owner=True)
    try:
        assert engine.follow(journal) == journal.last() == engine.reached()
        whole = sum(len(d.triples) for _, d in journal.current() if d is not None)
        assert _count(engine) == whole
        gone, kept = next((iri, d) for iri, d in journal.current() if d is not None)
        journal.commit({gone: None}, agent="test")
        assert engine.answer(Query("ASK {}")).revision < journal.last(), "not followed yet"
        engine.follow(journal)
        assert kept is not None
        assert _count(engine) == whole - len(kept.triples)
        assert engine.answer(Query("ASK {}")).revision == journal.last()
    finally:
        engine.close()


def test_a_bulk_load_is_answered_like_many_small_ones(config: Config, journal: Journal) -> None:
    """Bulk loads go by the store's own files, which are merged when they are many; small ones do not."""
    engine = EmbeddedEngine(config, owner=True)
    try:
        for number, document in enumerate(generate.documents(40)):
            journal.commit({document.iri: document}, agent="test")
            if number % 8 == 0:
                engine.follow(journal)
        engine.follow(journal)
        small = _count(engine)
        assert small == sum(len(d.triples) for _, d in journal.current() if d is not None)
        many = {d.iri: d for d in generate.documents(900)}
        journal.commit(many, agent="test")
        engine.follow(journal)
        assert _count(engine) == sum(len(d.triples) for _, d in journal.current() if d is not None) > small
    finally:
        engine.close()


def test_blank_nodes_of_documents_stay_apart(seeded: Library) -> None:
    answer = seeded.answer(
        Query(
            "SELECT (COUNT(*) AS ?n) { GRAPH ?g { ?a ?p ?node } GRAPH ?h { ?b ?q ?node } FILTER(isBlank(?node) && ?g != ?h) }",
            solutions="csv",
        )
    )
    assert answer.read().split()[1] == b"0"


def test_a_second_owner_is_told_who_the_first_is(config: Config, journal: Journal) -> None:
    engine = EmbeddedEngine(config, owner=True)
    try:
        with pytest.raises(DirectoryInUse, match=str(os.getpid())):
            EmbeddedEngine(config, owner=True, patience=0.1)
    finally:
        engine.close()
    EmbeddedEngine(config, owner=True, patience=0.1).close()


def test_one_that_owns_nothing_waits_for_the_owner_and_says_so(config: Config, journal: Journal) -> None:
    owner, guest = EmbeddedEngine(config, owner=True), EmbeddedEngine(config, owner=False)
    try:
        with pytest.raises(IndexBehind, match="safe in the journal"):
            guest.follow(journal, wait=0.2)
        owner.follow(journal)
        assert guest.follow(journal, wait=0.2) == journal.last()
        assert _count(guest) == _count(owner)
    finally:
        guest.close()
        owner.close()


def test_a_guest_leaves_no_files(config: Config, journal: Journal) -> None:
    guest = EmbeddedEngine(config, owner=False)
    guest.follow(journal)
    assert _count(guest) > 0
    guest.close()
    assert sorted(path.name.rstrip("-shmwal") for path in config.data.iterdir() if "spool" in path.name) == []


def test_an_owner_removes_what_killed_commands_left(config: Config, journal: Journal) -> None:
    dead = config.data / "spool-999999999"
    mine = config.data / f"spool-{os.getpid()}"
    for path in (dead, mine):
        path.mkdir()
    EmbeddedEngine(config, owner=True).close()
    assert not dead.exists()
    assert mine.exists(), "its process lives"


def test_a_snapshot_removed_underneath_is_told_and_the_next_is_used(config: Config, journal: Journal) -> None:
    engine = EmbeddedEngine(replace(config, query_processes=1), owner=True)
    try:
        first = engine.follow(journal)
        before = _count(engine)
        shutil.rmtree(config.data / "snapshots" / f"{first}-{journal.mark(first)}")
        assert _count(engine) == before, "a process that has it open reads on"
        os.kill(engine.query_processes()[0], 9)
        with pytest.raises((StorageError, Exception)):
            engine.answer(Query("ASK { ?killed ?p ?o }"))
        with pytest.raises(StorageError):
            engine.answer(Query("ASK { ?again ?p ?o }"))
        journal.commit({d.iri: d for d in list(generate.documents(32))[30:]}, agent="test")
        engine.follow(journal)
        assert _count(engine) > before
    finally:
        engine.close()


# Derived facts, all made anew

_KILLED = """
import os, sys
from pathlib import Path
from kg import config
from kg.engine import index
from kg.library import open_library

data, file, place = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
read = index._read

def killed(path, graph):
    for number, quad in enumerate(read(path, graph)):
        if path.name == file and number == place:
            os.kill(os.getpid(), 9)
        yield quad
    if path.name == file and place < 0:
        os.kill(os.getpid(), 9)

index._read, index._AT_ONCE = killed, 3
open_library(config.read({}, data=data), create=False, owner=True).settle()
"""


@pytest.mark.parametrize(("file", "place"), [("lost.nt", 5), ("won.nt", 10), ("won.nt", -1)])
def test_whoever_is_killed_while_derived_facts_are_exchanged_leaves_none_wrong(
    config: Config, journal: Journal, file: str, place: int
) -> None:
    engine = EmbeddedEngine(config, owner=True)
    engine.follow(journal)
    facts = _facts(engine)
    engine.close()
    said = config.data / "index" / "REVISION"
    number, mark, digest = said.read_text("ascii").split()
    said.write_text(f"{number} {mark} of-other-rules", "ascii")
    store, graph = ox.Store(config.data / "index" / "store"), ox.NamedNode(f"{BASE}derived")
    for quad in list(store.quads_for_pattern(None, None, None, graph))[::2]:
        store.remove(quad)
        store.add(ox.Quad(ox.NamedNode(f"{BASE}of-other-rules"), quad.predicate, quad.object, graph))
    del store
    command = [sys.executable, "-c", _KILLED, config.data, file, str(place)]
    assert subprocess.run(command, env=environment(), check=False).returncode == -signal.SIGKILL
    assert said.read_text("ascii").split()[2] == "-"
    engine = EmbeddedEngine(config, owner=True)
    try:
        engine.follow(journal)
        assert _facts(engine) == facts != b""
        assert said.read_text("ascii").split() == [number, mark, digest]
    finally:
        engine.close()


def test_derived_facts_that_stay_the_same_are_not_written_again(config: Config, journal: Journal) -> None:
    engine = EmbeddedEngine(config, owner=True)
    engine.follow(journal)
    engine.close()
    before = tables_in(config.data / "index" / "store")
    said = config.data / "index" / "REVISION"
    number, mark, digest = said.read_text("ascii").split()
    said.write_text(f"{number} {mark} of-other-rules", "ascii")
    engine = EmbeddedEngine(config, owner=True)
    try:
        engine.follow(journal)
        assert said.read_text("ascii").split()[2] == digest
        # The store may merge small tables at any time; only what is written makes it larger.
        assert sum(tables_in(config.data / "index" / "store").values()) <= sum(before.values())
    finally:
        engine.close()


def _facts(engine: EmbeddedEngine) -> bytes:
    query = f"SELECT ?s ?p ?o {{ GRAPH <{BASE}derived> {{ ?s ?p ?o }} }} ORDER BY ?s ?p ?o"
    return engine.answer(Query(query, solutions="csv")).read()


# Snapshots


def test_what_the_store_has_merged_meanwhile_is_published_again_at_the_start(
    config: Config, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.engine.snapshots._MERGED", 1)
    snapshots = Snapshots(config.data / "snapshots")
    _write_in_pieces(config, journal)
    old = snapshots.newest()
    ox.Store(config.data / "index" / "store").optimize()
    assert old is not None
    beside = EmbeddedEngine(config, owner=False)
    count, query = _count(beside), Query("SELECT (COUNT(*) AS ?n) { ?s ?p ?o }", solutions="csv")
    engine = EmbeddedEngine(config, owner=True)
    try:
        assert engine.follow(journal) == journal.last() == engine.answer(query).revision
        new = snapshots.newest()
        assert new is not None
        assert (new.revision, new.mark) == (old.revision, old.mark)
        assert tables_in(new.path) == tables_in(config.data / "index" / "store") != tables_in(old.path)
        assert _count(engine) == _count(beside) == count
        processes = beside._processes.get()
        answers = [processes.answer(query, snapshot.path, 0).read() for snapshot in (old, new)]
        assert answers[0] == answers[1], "who reads the old one goes on reading it"
        engine.follow(journal)
    finally:
        engine.close()
        beside.close()
    EmbeddedEngine(config, owner=True).close()
    assert snapshots.newest() == new, "once is enough"


def test_what_the_store_merges_while_nobody_writes_is_published_again(
    config: Config, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kg.engine.snapshots._MERGED", 1)
    monkeypatch.setattr("kg.engine.embedded._LOOK_AGAIN", 0.02)
    snapshots, place = Snapshots(config.data / "snapshots"), config.data / "index" / "store"
    _write_in_pieces(config, journal)
    engine = EmbeddedEngine(config, owner=True)
    try:
        engine.follow(journal)
        before = _count(engine)
        assert engine._index is not None
        engine._index._store.optimize()

        def is_of_the_store() -> bool:
            newest = snapshots.newest()
            return newest is not None and tables_in(newest.path) == tables_in(place)

        until(is_of_the_store, "the snapshot is of the tables that the store has now")
        assert engine.reached() == journal.last()
        assert _count(engine) == before
    finally:
        engine.close()


def _write_in_pieces(config: Config, journal: Journal) -> None:
    """So that the store comes to have several tables for the same."""
    engine = EmbeddedEngine(config, owner=True)
    for number in range(3):
        journal.commit({d.iri: d for d in [generate.place(f"piece-{number}").document()]}, agent="test")
        engine.follow(journal)
    engine.close()


@pytest.fixture
def store(tmp_path: Path) -> ox.Store:
    return ox.Store(tmp_path / "store")


def test_snapshots_are_numbered_and_the_newest_is_found(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    assert snapshots.newest() is None
    for number in (9, 10, 100):
        snapshots.publish(store, number, "m")
    assert snapshots.newest() == (100, "m", tmp_path / "snapshots" / "100-m")


def test_publishing_the_same_again_changes_nothing(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    snapshots.publish(store, 1, "m")
    inode = (tmp_path / "snapshots" / "1-m").stat().st_ino
    snapshots.publish(store, 1, "m")
    assert (tmp_path / "snapshots" / "1-m").stat().st_ino == inode


def test_what_is_published_again_stands_beside_and_is_the_newest(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    for times in range(12):
        snapshots.publish(store, 7, "m", again=times > 0)
        newest = snapshots.newest()
        assert newest == snapshots.at(7)
        assert newest is not None
        assert newest[:2] == (7, "m")
        assert newest.path.name == (f"7-m-{times}" if times else "7-m")
    snapshots.publish(store, 8, "n", again=True)
    assert snapshots.newest() == (8, "n", tmp_path / "snapshots" / "8-n")


def test_old_snapshots_go_after_their_grace_and_the_newest_never(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    for number in (1, 2, 3):
        snapshots.publish(store, number, "m")
    snapshots.tidy()
    assert {path.name for path in snapshots.directory.iterdir()} == {"1-m", "2-m", "3-m"}, (
        "somebody may read them still"
    )
    long_ago = time.time() - 3600
    for path in snapshots.directory.iterdir():
        os.utime(path, (long_ago, long_ago))
    snapshots.tidy()
    assert {path.name for path in snapshots.directory.iterdir()} == {"3-m"}


def test_snapshots_are_bounded_in_number_however_many_writes_there_are(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    for number in range(1, 41):
        snapshots.publish(store, number, "m")
        snapshots.tidy()
    assert len(list(snapshots.directory.iterdir())) == 20


def test_what_a_crash_left_half_built_is_removed(tmp_path: Path, store: ox.Store) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    snapshots.publish(store, 1, "m")
    (snapshots.directory / "building-12345").mkdir()
    (snapshots.directory / "building-removed-0").mkdir()
    snapshots.tidy()
    assert {path.name for path in snapshots.directory.iterdir()} == {"1-m"}
