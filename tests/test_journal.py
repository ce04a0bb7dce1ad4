"""The journal: whole batches or nothing, history that cannot be rewritten, readers that never wait, the present in step with the past."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kg import documents, journal
from kg.documents import TURTLE, Document
from kg.errors import BaseMismatch, NewerFormat, StorageError
from kg.gate import faces
from kg.journal import Journal, decode_face
from kg.terms import Base

ROOT = Path(__file__).parent.parent
BASE = Base("https://kg.example/")
EKG = "https://w3id.org/ekg/ns#"


def actor(name: str, *points_to: str, kind: str = "State", parts: int = 0, note: object = "") -> Document:
    pointers = "".join(f" rdfs:seeAlso <{target}> ;" for target in points_to)
    turtle = (
        f"@prefix ekg: <{EKG}> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        f"<actor/{name}> a ekg:{kind}, ekg:Actor ;{pointers} rdfs:comment 'note {note}' .\n"
        + "".join(f"<actor/{name}#t{n}> a ekg:Time .\n" for n in range(parts))
    )
    (found,) = documents.parse(turtle.encode(), TURTLE, BASE, limit=10**7)
    return found


def batch(*members: Document) -> dict[str, Document | None]:
    return {document.iri: document for document in members}


def iri(name: str) -> str:
    return f"https://kg.example/actor/{name}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def book(path: Path) -> Iterator[Journal]:
    opened = Journal.create(path, BASE)
    yield opened
    opened.close()


def write(book: Journal, *members: Document, **keywords: object) -> int:
    """Commit a batch; its number."""
    revisions = book.commit(batch(*members), agent="test", **keywords)  # type: ignore[arg-type]
    assert revisions is not None
    return revisions[-1].seq


# Opening


def test_new_journal_is_empty_and_knows_its_base(book: Journal) -> None:
    assert (book.base, book.last(), book.count(), book.counts(), book.census()) == (BASE, 0, 0, {}, (0, None, {}))
    assert book.read(iri("x")) is None
    assert book.history(iri("x")) == []
    assert list(book.current()) == []


def test_missing_journal_is_told_by_its_path(path: Path) -> None:
    with pytest.raises(StorageError, match=str(path)):
        Journal(path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"Russia has admitted.\n" * 100, b"SQLite format 3\x00" + b"\x00" * 200])
def test_file_that_is_no_journal_is_told_by_its_path_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match=f"{path} is not a journal of this service"):
        Journal(path)
    assert path.read_bytes() == content


def test_database_of_something_else_is_no_journal(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE news (id INTEGER)")
    with pytest.raises(StorageError, match="is not a journal of this service"):
        Journal(path)


@pytest.mark.parametrize("missing", ["format", "base"])
def test_journal_without_its_own_description_is_no_journal(path: Path, missing: str) -> None:
    Journal.create(path, BASE).close()
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM meta WHERE key = ?", (missing,))
    with pytest.raises(StorageError, match="is not a journal of this service"):
        Journal(path)


def test_directory_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Journal(tmp_path)


def test_journal_of_a_newer_version_is_refused_and_unchanged(path: Path) -> None:
    Journal.create(path, BASE).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(journal.FORMAT + 1),))
    with pytest.raises(NewerFormat, match=f"has format {journal.FORMAT + 1}"):
        Journal(path)


def test_another_base_is_refused_by_name(book: Journal) -> None:
    book.require_base(BASE)
    with pytest.raises(BaseMismatch, match=r"https://kg\.example/") as caught:
        book.require_base(Base("https://other.example/"))
    assert caught.value.facts == {"base": "https://kg.example/"}


def test_creation_that_is_broken_off_leaves_no_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StorageError, match="No space left"):
        Journal.create(path, BASE)
    assert list(path.parent.iterdir()) == []
    monkeypatch.undo()
    Journal.create(path, BASE).close()


def test_creation_does_not_overwrite_a_journal(book: Journal, path: Path) -> None:
    write(book, actor("x"))
    with pytest.raises(StorageError, match="File exists"):
        Journal.create(path, Base("https://other.example/"))
    assert Journal(path).count() == 1


def test_journal_is_durable_by_its_settings(book: Journal, path: Path) -> None:
    """WAL and synchronous=FULL (2): what is acknowledged survives a loss of power."""
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert book._connection().execute("PRAGMA synchronous").fetchone() == (2,)


# Writing and reading


def test_what_is_written_is_read_as_it_was(book: Journal) -> None:
    x, y = actor("x"), actor("y", "actor/x")
    revisions = book.commit(batch(x, y), agent="ann", change="corrected-source", note="why")
    assert revisions is not None
    assert [(r.seq, r.batch, r.document, r.agent, r.change, r.note, r.previous, r.digest) for r in revisions] == [
        (1, 2, x.iri, "ann", "corrected-source", "why", None, x.digest),
        (2, 2, y.iri, "ann", "corrected-source", "why", None, y.digest),
    ]
    assert book.read(x.iri) == (x, revisions[0])
    assert book.history(y.iri) == [revisions[1]]
    assert book.content(1) == x
    assert (book.last(), book.count(), book.counts()) == (2, 2, {"actor": 2})
    assert book.digests([x.iri, y.iri, iri("z")]) == {x.iri: x.digest, y.iri: y.digest}


def test_times_are_utc_and_of_the_commit(book: Journal) -> None:
    before = datetime.now(UTC)
    write(book, actor("x"))
    (revision,) = book.history(iri("x"))
    assert before <= revision.time <= datetime.now(UTC)
    assert revision.time.utcoffset() == timedelta(0)


def test_each_revision_names_the_one_before(book: Journal) -> None:
    write(book, actor("x", note=1))
    write(book, actor("y"))
    write(book, actor("x", note=2))
    assert [(r.seq, r.previous) for r in book.history(iri("x"))] == [(1, None), (3, 1)]
    assert book.content(1) == actor("x", note=1)
    assert book.read(iri("x")) == (actor("x", note=2), book.history(iri("x"))[-1])


def test_document_can_be_taken_away_and_come_again(book: Journal) -> None:
    write(book, actor("x", "actor/y", parts=1))
    book.commit({iri("x"): None}, agent="test", note="withdrawn")
    assert book.read(iri("x")) is None
    assert (book.count(), book.last()) == (0, 2)
    assert book.content(1) == actor("x", "actor/y", parts=1)
    assert book.content(2) is None
    assert book.nodes_of(iri("x")) == []
    assert book.referrers([iri("y")]) == []
    assert book.history(iri("x"))[-1].digest is None
    write(book, actor("x"))
    history = book.history(iri("x"))
    assert [r.digest is None for r in history] == [False, True, False]
    assert book.read(iri("x")) == (actor("x"), history[-1])


def test_unknown_revision_is_an_error(book: Journal) -> None:
    with pytest.raises(StorageError, match="there is no revision 7"):
        book.content(7)


def test_documents_of_a_kind_are_listed_in_pages(book: Journal) -> None:
    write(book, *(actor(f"a{n:02}") for n in range(7)))
    first = book.documents("actor", 3)
    assert first == [iri(f"a{n:02}") for n in range(3)]
    assert book.documents("actor", 10, after=first[-1]) == [iri(f"a{n:02}") for n in range(3, 7)]
    assert book.documents("place") == []


def test_questions_about_thousands_of_nodes_are_answered(book: Journal) -> None:
    """More than SQLite takes variables in one statement."""
    write(book, *(actor(f"a{n}") for n in range(2000)))
    names = [iri(f"a{n}") for n in range(2500)]
    assert len(book.digests(names)) == len(book.faces(names)) == 2000
    assert book.referrers(names) == []


# History


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE revision SET agent = 'nobody'",
        "UPDATE revision SET content = NULL WHERE seq = 1",
        "DELETE FROM revision",
        "DELETE FROM revision WHERE seq = 1",
        "INSERT OR REPLACE INTO revision SELECT * FROM revision WHERE seq = 1",
    ],
)
def test_history_is_never_rewritten_whoever_tries(book: Journal, path: Path, statement: str) -> None:
    write(book, actor("x", note=1))
    write(book, actor("x", note=2))
    before = (book.history(iri("x")), book.content(1))
    with sqlite3.connect(path) as raw, pytest.raises(sqlite3.IntegrityError, match="history is never rewritten"):
        raw.execute(statement)
    assert (book.history(iri("x")), book.content(1)) == before


def test_clock_that_goes_back_does_not_reorder_history(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        moments = iter(
            [datetime(2025, 4, 26, 12, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 4, 27, tzinfo=UTC)]
        )

        @classmethod
        def now(cls, tz: timezone | None = None) -> datetime:  # type: ignore[override]
            return next(cls.moments)

    monkeypatch.setattr(journal, "datetime", Clock)
    for number in range(3):
        write(book, actor("x", note=number))
    monkeypatch.undo()
    assert [revision.time for revision in book.history(iri("x"))] == [
        datetime(2025, 4, 26, 12, tzinfo=UTC),
        datetime(2025, 4, 26, 12, tzinfo=UTC),
        datetime(2025, 4, 27, tzinfo=UTC),
    ]


# Whole batches


def test_batch_that_fails_half_way_leaves_no_trace(book: Journal) -> None:
    write(book, actor("x"))

    def fail() -> None:
        raise RuntimeError("not now")

    with pytest.raises(RuntimeError, match="not now"):
        book.commit(batch(actor("x", note=2), actor("y", "actor/x")), agent="test", before_commit=fail)
    assert (book.last(), book.count(), book.referrers([iri("x")])) == (1, 1, [])
    assert book.read(iri("x")) == (actor("x"), book.history(iri("x"))[0])
    assert write(book, actor("y")) == 2


def test_error_of_sqlite_is_told_as_ours_and_leaves_no_trace(book: Journal) -> None:
    """Two documents that describe one node: the gate never lets this through, and the journal would not either."""
    x = actor("x")
    thief = Document(iri("y"), x.content)
    with pytest.raises(StorageError) as caught:
        book.commit({x.iri: x, thief.iri: thief}, agent="test")
    assert caught.value.facts == {"path": str(book.path)}
    assert (book.last(), book.count()) == (0, 0)


def test_commit_only_if_nobody_was_quicker(book: Journal) -> None:
    assert write(book, actor("x"), unless_after=0) == 1
    assert book.commit(batch(actor("y")), agent="test", unless_after=0) is None
    assert (book.last(), book.read(iri("y"))) == (1, None)
    assert write(book, actor("y"), unless_after=1) == 2


def test_reader_does_not_wait_for_a_writer_and_does_not_see_half_a_batch(book: Journal, path: Path) -> None:
    write(book, actor("x", note=1))
    seen: list[object] = []

    def look() -> None:
        other = Journal(path)
        seen.append((other.last(), other.count(), other.read(iri("x")), [name for name, _ in other.current()]))
        other.close()

    def in_the_middle() -> None:
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(timeout=10)
        assert not reader.is_alive()

    book.commit(batch(actor("x", note=2), actor("y")), agent="test", before_commit=in_the_middle)
    assert seen == [(1, 1, (actor("x", note=1), book.history(iri("x"))[0]), [iri("x")])]
    look()
    assert seen[1] == (3, 2, (actor("x", note=2), book.history(iri("x"))[1]), [iri("x"), iri("y")])


def test_threads_share_one_journal(book: Journal) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            write(book, actor(f"a{number}", note=turn), actor(f"b{number}", note=turn))
            found = book.read(iri(f"a{number}"))
            assert found is not None
            assert found[0] == actor(f"a{number}", note=turn)

    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 — handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (book.last(), book.count()) == (80, 8)
    assert_present_follows_from_history(book)


WRITER = """
import sys
from pathlib import Path
from tests.test_journal import Journal, actor, batch
book, name = Journal(Path(sys.argv[1])), sys.argv[2]
sys.stdin.readline()
for turn in range(25):
    book.commit(batch(actor(name, "actor/shared", note=turn), actor("shared", note=name + str(turn))), agent=name)
"""


def test_two_processes_write_at_once_and_no_batch_is_lost_or_mixed(book: Journal, path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT, stdin=subprocess.PIPE, text=True)
        for name in ("ann", "bob")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    assert book.last() == 100
    for name in ("ann", "bob"):
        own = book.history(iri(name))
        assert [book.content(r.seq) for r in own] == [actor(name, "actor/shared", note=n) for n in range(25)]
        assert all(r.batch == r.seq + 1 for r in own)
    shared = book.history(iri("shared"))
    assert [r.previous for r in shared] == [None, *(r.seq for r in shared[:-1])]
    assert [r.time for r in shared] == sorted(r.time for r in shared)
    assert_present_follows_from_history(book)


# Following


def test_current_gives_each_changed_document_once_as_at_the_end_of_the_span(book: Journal) -> None:
    write(book, actor("x", note=1), actor("y", note=1))  # 2
    write(book, actor("x", note=2))  # 3
    book.commit({iri("y"): None}, agent="test")  # 4
    write(book, actor("z"), actor("y", note=5))  # 6
    now = {iri("x"): actor("x", note=2), iri("y"): actor("y", note=5), iri("z"): actor("z")}
    assert list(book.current()) == sorted(now.items())
    assert dict(book.current(after=2)) == now
    assert dict(book.current(after=3)) == {iri("y"): actor("y", note=5), iri("z"): actor("z")}
    assert dict(book.current(upto=2)) == {iri("x"): actor("x", note=1), iri("y"): actor("y", note=1)}
    assert dict(book.current(after=2, upto=4)) == {iri("x"): actor("x", note=2), iri("y"): None}
    assert list(book.current(after=6)) == []


def test_current_reads_from_one_state_while_others_write(book: Journal) -> None:
    write(book, *(actor(f"a{n}") for n in range(50)))
    walk = book.current()
    seen = [next(walk)]
    write(book, *(actor(f"a{n}", note="later") for n in range(50)), actor("zzz"))
    seen += walk
    assert [document for _, document in seen] == [actor(name.rpartition("/")[2]) for name, _ in seen]
    assert len(seen) == 50


def test_walk_that_is_broken_off_holds_nothing_back(book: Journal) -> None:
    write(book, actor("x"), actor("y"))
    walk = book.current()
    next(walk)
    walk.close()  # type: ignore[attr-defined]
    assert write(book, actor("z")) == 3


# The present


def assert_present_follows_from_history(book: Journal) -> None:
    """Heads, faces, references and census recomputed from the revisions alone."""
    newest: dict[str, Document | None] = {}
    with sqlite3.connect(book.path) as raw:
        order = raw.execute("SELECT seq, document FROM revision ORDER BY seq").fetchall()
        found_faces = raw.execute("SELECT iri, document, triples FROM face").fetchall()
        found_references = set(raw.execute("SELECT target, document FROM reference"))
        heads = dict(raw.execute("SELECT document, seq FROM head"))
    for seq, name in order:
        newest[name] = book.content(seq)
    present = {name: document for name, document in newest.items() if document is not None}
    assert {name: book.content(seq) for name, seq in heads.items()} == present
    assert {(node, name): set(decode_face(face)) for node, name, face in found_faces} == {
        (node, name): set(face) for name, document in present.items() for node, face in faces(document).items()
    }
    assert found_references == {(t, name) for name, document in present.items() for t in document.references(BASE)}
    census: Counter[tuple[str, str]] = Counter()
    for document in present.values():
        census.update(document.census())
        census["document", BASE.kind_of(document.iri)] += 1
    assert book.counts() == {kind: count for (what, kind), count in census.items() if what == "document"}
    assert book.census()[2] == {key: count for key, count in census.items() if count > 0}


@pytest.mark.parametrize("seed", range(5))
def test_present_stays_in_step_with_history(book: Journal, seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b", "c", "d", "e"]
    for turn in range(40):
        chosen: Mapping[str, Document | None] = {
            iri(name): None
            if chance.random() < 0.3
            else actor(
                name,
                *(f"actor/{target}#t{chance.randrange(3)}" for target in chance.sample(names, 2)),
                kind=chance.choice(["State", "Person"]),
                parts=chance.randrange(3),
                note=turn,
            )
            for name in chance.sample(names, chance.randint(1, 3))
        }
        book.commit(chosen, agent="test")
    assert_present_follows_from_history(book)


def test_faces_and_referrers_are_those_of_now(book: Journal) -> None:
    write(book, actor("x", kind="State", parts=2), actor("y", "actor/x", "actor/x#t0"))
    assert set(book.nodes_of(iri("x"))) == {iri("x"), iri("x#t0"), iri("x#t1")}
    assert book.referrers([iri("x"), iri("x#t0"), iri("x#t1")]) == [(iri("x"), iri("y")), (iri("x#t0"), iri("y"))]
    write(book, actor("x", kind="Person"), actor("y"))
    (face,) = book.faces([iri("x"), iri("x#t0")]).values()
    assert {t.object.value for t in face} == {EKG + "Person", EKG + "Actor"}  # type: ignore[union-attr]
    assert book.referrers([iri("x")]) == []


def test_closed_journal_opens_again(book: Journal, path: Path) -> None:
    write(book, actor("x"))
    book.close()
    again = Journal(path)
    assert again.read(iri("x")) is not None
    again.close()
