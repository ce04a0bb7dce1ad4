"""Files that were damaged, lost or restored: the journal is the truth, and everything else is made again from it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import generate
import pytest
from agreement import Truth
from serving import Server, kg, kg_here, until

from kg.config import Config
from kg.library import open_library
from kg.safekeeping import back_up, restore

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which some batches have been written and one document has been changed."""
    root = tmp_path_factory.mktemp("original")
    for number, batch in enumerate(("a", "b", "c")):
        generate.write(root / batch, 8, prefix=batch, seed=number)
        made = kg_here("load", root / batch, "--data", root / "data", "--base", "https://kg.example/")
        assert made.code == 0, made.err
    changed = generate.place("a-place-1", label="Renamed").write(root / "d")
    assert kg_here("load", changed, "--data", root / "data").code == 0
    return root / "data"


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A copy of it, the test's own. The files of its snapshots are links to those of the store, as in the original."""
    return copy(original, tmp_path / "data")


def copy(source: Path, target: Path) -> Path:
    """A copy that keeps hard links, as `cp -a` does."""
    copied: dict[int, Path] = {}

    def link_or_copy(origin: str, destination: str) -> str:
        inode = Path(origin).stat().st_ino
        if inode in copied:
            Path(destination).hardlink_to(copied[inode])
        else:
            shutil.copy2(origin, destination)
            copied[inode] = Path(destination)
        return destination

    return Path(shutil.copytree(source, target, copy_function=link_or_copy))


def files(directory: Path, pattern: str = "*") -> list[Path]:
    found = sorted(path for path in directory.rglob(pattern) if path.is_file() and path.stat().st_size)
    assert found, f"no {pattern} in {directory}"
    return found


def truncate(paths: list[Path]) -> None:
    for path in paths:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)


def garble(paths: list[Path]) -> None:
    chance = random.Random(1)
    for path in paths:
        path.write_bytes(chance.randbytes(path.stat().st_size))


def delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()


def newest_snapshot(data: Path) -> Path:
    return max((data / "snapshots").iterdir(), key=lambda path: int(path.name.partition("-")[0]))


DAMAGE: Mapping[str, Callable[[Path], object]] = {
    "all files of the store cut in half": lambda data: truncate(files(data / "index" / "store")),
    "all files of the store garbled": lambda data: garble(files(data / "index" / "store")),
    "tables of the store cut in half": lambda data: truncate(files(data / "index" / "store", "*.sst")),
    "tables of the store garbled": lambda data: garble(files(data / "index" / "store", "*.sst")),
    "tables of the store deleted": lambda data: delete(files(data / "index" / "store", "*.sst")),
    "the store's manifest garbled": lambda data: garble(files(data / "index" / "store", "MANIFEST*")),
    "the store's CURRENT deleted": lambda data: delete(files(data / "index" / "store", "CURRENT")),
    "the store deleted": lambda data: shutil.rmtree(data / "index" / "store"),
    "REVISION deleted": lambda data: (data / "index" / "REVISION").unlink(),
    "REVISION garbled": lambda data: (data / "index" / "REVISION").write_bytes(b"\xff\xfe"),
    "REVISION empty": lambda data: (data / "index" / "REVISION").write_bytes(b""),
    "the index deleted": lambda data: shutil.rmtree(data / "index"),
    "the snapshots deleted": lambda data: shutil.rmtree(data / "snapshots"),
    "index and snapshots deleted": lambda data: [*map(shutil.rmtree, (data / "index", data / "snapshots"))],
    "the newest snapshot emptied": lambda data: delete(files(newest_snapshot(data))),
    "the newest snapshot garbled": lambda data: garble(files(newest_snapshot(data))),
    "a snapshot half made": lambda data: shutil.copytree(data / "index" / "store", data / "snapshots" / "building-999"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_index_is_made_again(data: Path, config: Config, what: str) -> None:
    truth = Truth(data)
    last = truth.last()
    DAMAGE[what](data)
    with open_library(replace(config, data=data), create=False, owner=True) as library:
        assert library.settle() == last
        assert truth.require_index(library) == last
        library.accept([generate.actor("afterwards").document()], agent="a test")
        assert truth.require_index(library) == last + 1
    assert not list((data / "snapshots").glob("building-*"))


@pytest.mark.parametrize("what", ["all files of the store garbled", "the newest snapshot emptied"])
def test_a_server_starts_on_a_damaged_index(serve: Serve, data: Path, what: str) -> None:
    truth = Truth(data)
    DAMAGE[what](data)
    server = serve(data)
    assert truth.require_index(server) == truth.last()
    assert server.stop() == 0


@pytest.mark.parametrize("what", ["the index deleted", "index and snapshots deleted", "REVISION deleted"])
def test_a_command_alone_makes_the_index_again_too(data: Path, what: str) -> None:
    DAMAGE[what](data)
    counted = kg("query", "SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }", "--data", data)
    assert counted.code == 0, counted.err
    truth = Truth(data)
    assert int(counted.out.split()[1]) == len(truth.quads(truth.last()))


# The journal


def write(data: Path, config: Config, name: str) -> int:
    """One more batch, seen by queries; its revision."""
    with open_library(replace(config, data=data), create=False, owner=False) as library:
        return library.accept(generate.documents(4, prefix=name), agent="a test").revision


def copy_of_journal(data: Path) -> Path:
    """A copy of the journal as it is now, made as an operator would, while others may hold it open."""
    target = data.parent / "journal-then.sqlite"
    with sqlite3.connect(data / "journal.sqlite") as source, sqlite3.connect(target) as copied:
        source.backup(copied)
    source.close()
    copied.close()
    return target


def put_back(data: Path, saved: Path) -> None:
    for path in data.glob("journal.sqlite*"):
        path.unlink()
    shutil.copy2(saved, data / "journal.sqlite")


def test_an_index_ahead_of_a_restored_journal_follows_it_back(serve: Serve, data: Path, config: Config) -> None:
    saved = copy_of_journal(data)
    then = Truth(data).last()
    assert write(data, config, "later") > then
    put_back(data, saved)
    truth = Truth(data)
    assert truth.last() == then
    server = serve(data)
    assert truth.require_index(server) == then
    assert server.stop() == 0


def test_a_restored_journal_that_has_gone_on_is_not_mistaken_for_the_old_one(data: Path, config: Config) -> None:
    """Another history has the same numbers; the index must not take its end for the end of the one it knows."""
    saved = copy_of_journal(data)
    then = Truth(data).last()
    write(data, config, "lost")
    put_back(data, saved)
    write(data, config, "other")
    write(data, config, "and-more")
    truth = Truth(data)
    assert truth.last() == then + 8
    with open_library(replace(config, data=data), create=False, owner=True) as library:
        library.settle()
        assert truth.require_index(library) == then + 8


def test_a_journal_restored_while_it_is_served_is_followed_back(data: Path, config: Config) -> None:
    saved = copy_of_journal(data)
    write(data, config, "later")
    truth = Truth(data)
    with open_library(replace(config, data=data), create=False, owner=False) as library:
        before = truth.require_index(library)
        with sqlite3.connect(saved) as source, sqlite3.connect(data / "journal.sqlite") as target:
            source.backup(target)  # in place, as `.restore` of the sqlite3 shell does
        source.close()
        target.close()
        library.start_following()
        until(lambda: library.engine.reached() == truth.last(), "the index follows the journal back", 10)
        assert truth.require_index(library) == truth.last() < before


def test_a_command_sees_that_the_index_is_ahead_of_the_journal(data: Path, config: Config) -> None:
    saved = copy_of_journal(data)
    write(data, config, "later")
    put_back(data, saved)
    truth = Truth(data)
    counted = kg("query", "SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }", "--data", data)
    assert counted.code == 0, counted.err
    assert int(counted.out.split()[1]) == len(truth.quads(truth.last()))


def test_a_torn_tail_of_the_journal_loses_only_what_is_torn(data: Path, config: Config, tmp_path: Path) -> None:
    """What power takes from the end of the write-ahead log is a commit that had not returned; those before it stay."""
    settings = replace(config, data=data)
    wal = data / "journal.sqlite-wal"
    reported: dict[int, int] = {}
    ends: list[tuple[int, int]] = []
    with open_library(settings, create=False, owner=True) as library:
        for number in range(4):
            batch = list(generate.documents(3, prefix=f"torn-{number}"))
            receipt = library.accept(batch, agent="a test")
            reported[receipt.revision] = 3
            ends.append((receipt.revision, wal.stat().st_size))
        # As they lie on disk at this moment; closing would move the log into the journal.
        torn = tmp_path / "torn"
        shutil.copytree(data, torn)
    assert ends[2][1] < ends[3][1], "the log grew with the last batch"
    for cut in (ends[3][1] - 1, ends[2][1] + 4_000, ends[2][1] + 1, ends[2][1]):
        with (torn / "journal.sqlite-wal").open("r+b") as file:
            file.truncate(cut)
        (torn / "journal.sqlite-shm").unlink(missing_ok=True)
        probe = copy(torn, tmp_path / f"torn-at-{cut}")
        truth = Truth(probe)
        assert truth.last() == ends[2][0]
        truth.require_batches({revision: count for revision, count in reported.items() if revision <= ends[2][0]})
        with open_library(replace(settings, data=probe), create=False, owner=True) as opened:
            opened.settle()
            assert truth.require_index(opened) == ends[2][0]


def test_a_garbled_tail_of_the_journal_is_cut_back_to_a_whole_batch(data: Path, config: Config, tmp_path: Path) -> None:
    """What is written in blocks may be there in any order, or be something else: the log is good up to the first sum that is not."""
    chance = random.Random("torn")
    settings = replace(config, data=data)
    wal = data / "journal.sqlite-wal"
    ends: list[tuple[int, int]] = []
    with open_library(settings, create=False, owner=False) as library:
        for number in range(5):
            receipt = library.accept(generate.documents(3, prefix=f"torn-{number}"), agent="a test", settle=False)
            ends.append((wal.stat().st_size, receipt.revision))
        torn = tmp_path / "torn"
        torn.mkdir()
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            shutil.copy2(data / name, torn / name)
    first, last = ends[0], ends[-1]
    whole = (torn / "journal.sqlite-wal").read_bytes()
    for number in range(12):
        at = chance.randrange(first[0], last[0])
        with (torn / "journal.sqlite-wal").open("wb") as file:
            file.write(whole[:at])
            if number % 3:  # else what is missing is missing
                file.write(chance.randbytes(min(len(whole) - at, chance.choice([1, 512, 4096, len(whole)]))))
            if number % 3 == 2:
                file.write(whole[file.tell() :])
        probe = Path(shutil.copytree(torn, tmp_path / f"probe-{number}"))
        expected = max(revision for end, revision in ends if end <= at)
        truth = Truth(probe)
        assert truth.last() in (expected, last[1])  # a random byte may be the right one
        truth.require_verified()


@pytest.mark.parametrize("what", ["its head", "its middle", "all of it", "its tail cut off", "its length of zeros"])
def test_a_damaged_journal_is_told_with_what_helps(data: Path, tmp_path: Path, what: str) -> None:
    """And helps: the backup takes its place, and what is left of the journal is kept."""
    saved = tmp_path / "saved"
    back_up(data, saved)
    then = Truth(data).last()
    path = data / "journal.sqlite"
    size = path.stat().st_size
    if what == "its tail cut off":
        truncate([path])
    else:
        start, end = {"its head": (0, 4096), "its middle": (4096, size - 4096)}.get(what, (0, size))
        with path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(end - start) if "zeros" in what else random.Random(1).randbytes(end - start))
    damaged = path.read_bytes()
    told = kg("verify", "--data", data)
    assert told.code in (1, 3)
    assert "kg restore" in told.out + told.err
    _, aside = restore(saved, data, force=True)
    assert aside is not None
    assert (aside / "journal.sqlite").read_bytes()[100:] == damaged[100:]  # before that stands that it has no log
    truth = Truth(data)
    assert truth.last() == then
    truth.require_verified()
