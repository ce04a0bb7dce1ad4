"""Backups, restores, rebased copies, and the proof that a data directory holds what it should."""

from __future__ import annotations

import os
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import generate
import pytest
from click.testing import CliRunner, Result
from test_readme import section

from kg import safekeeping
from kg.cli import main
from kg.config import Config, read
from kg.documents import TURTLE, Document, parse
from kg.engine.snapshots import differences
from kg.errors import DirectoryInUse, RequestError, StorageError
from kg.journal import Journal
from kg.library import open_library
from kg.terms import Base
from kg.verification import text_digest, verify_evidence, verify_journal

BASE = Base("https://kg.example/")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with some history: documents changed, one taken away, one that came back. Never change it: copy it."""
    data = tmp_path_factory.mktemp("original") / "data"
    settings = read({}, data=data, base=BASE.iri, query_processes=1)
    with open_library(settings, create=True, owner=True) as library:
        library.accept(generate.documents(24), agent="one", note="the first", settle=False)
        library.accept([generate.actor("changing").document()], agent="two", settle=False)
        library.accept(
            [generate.actor("changing", label="Renamed").document()],
            agent="two",
            change="corrected-source",
            settle=False,
        )
        library.journal.commit({BASE.document("actor", "changing"): None}, agent="three")
        library.accept([generate.actor("changing", label="Back").document()], agent="two", settle=False)
        library.settle()
    return data


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def kg(*arguments: str | Path) -> Result:
    return CliRunner(env={"KG_ENGINE": ""}).invoke(main, [str(argument) for argument in arguments])


def findings(data: Path) -> list[str]:
    journal = Journal(data / "journal.sqlite")
    try:
        return [*verify_journal(journal), *differences(data, journal)]
    finally:
        journal.close()


def rows(data: Path, sql: str = "SELECT * FROM revision ORDER BY seq") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"file:{data / 'journal.sqlite'}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_the_readme_says_how_to_keep_a_graph(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KG_DATA", str(data))
    commands = [command.split() for command, _ in section("Keep")]
    assert [command[:2] for command in commands] == [["kg", name] for name in ("backup", "verify", "restore", "rebase")]
    for _, *arguments in commands:
        done = kg(*arguments)
        assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert findings(tmp_path / "restored") == findings(tmp_path / "renamed") == []


# Backup and restore


def test_a_backup_put_back_is_the_graph_with_its_history(data: Path, config: Config, tmp_path: Path) -> None:
    saved = tmp_path / "saved.kg"
    made = kg("backup", saved, "--data", data)
    assert (made.exit_code, made.stdout) == (0, "")
    assert f"revision 28 with 25 documents to {saved}" in made.stderr
    restored = kg("restore", saved, "--data", tmp_path / "other")
    assert restored.exit_code == 0, restored.stderr
    assert "restored revision 28 with 25 documents" in restored.stderr
    assert rows(tmp_path / "other") == rows(data)
    with open_library(replace(config, data=tmp_path / "other"), create=False, owner=True) as library:
        library.settle()
        library.accept([generate.actor("afterwards").document()], agent="a test")
    assert findings(tmp_path / "other") == []


def test_a_backup_is_one_file_of_one_state_while_others_write(data: Path, config: Config, tmp_path: Path) -> None:
    settings = replace(config, data=data)
    with open_library(settings, create=False, owner=True) as library:
        written = 0

        def write(stage: str) -> Callable[[int, int], None]:
            def progress(done: int, of: int) -> None:
                nonlocal written
                library.accept([generate.actor(f"meanwhile-{written}").document()], agent="a test")
                written += 1

            return progress

        held = safekeeping.back_up(data, tmp_path / "saved", stage=write)
        assert written > 0
        assert held.revision == 28
        assert library.journal.last() == 28 + written
    assert sorted(path.name for path in tmp_path.glob("saved*")) == ["saved"]
    copied = Journal(tmp_path / "saved")
    assert list(verify_journal(copied)) == []
    copied.close()


def test_a_backup_replaces_nothing_unless_told_to(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.write_text("dear to someone")
    refused = kg("backup", saved, "--data", data)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert saved.read_text() == "dear to someone"
    assert kg("backup", saved, "--data", data, "--force").exit_code == 0
    assert kg("backup", tmp_path, "--data", data).exit_code == 2
    assert kg("backup", tmp_path / "nowhere" / "saved", "--data", data).exit_code == 3


def test_a_damaged_journal_does_not_take_the_place_of_a_good_backup(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    assert kg("backup", saved, "--data", data).exit_code == 0
    good = saved.read_bytes()
    garble_pages(data / "journal.sqlite")
    refused = kg("backup", saved, "--data", data, "--force")
    assert refused.exit_code == 3, refused.stderr
    assert saved.read_bytes() == good
    assert list(tmp_path.glob("saved.*")) == []


def garble_pages(path: Path) -> None:
    """Make all but the first page of a journal something else."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_what_a_killed_backup_left_goes_with_the_next(data: Path, tmp_path: Path) -> None:
    left, living = tmp_path / "saved.999999999.new", tmp_path / f"saved.{os.getppid()}.new"
    left.write_bytes(b"half")
    living.write_bytes(b"another's at this moment")
    safekeeping.back_up(data, tmp_path / "saved")
    assert not left.exists()
    assert living.exists()


def test_restoring_moves_what_was_there_aside(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    safekeeping.back_up(data, saved)
    connection = sqlite3.connect(data / "journal.sqlite")
    connection.execute("UPDATE meta SET value = '2001-01-01T00:00:00.000000Z' WHERE key = 'created'")
    connection.commit()
    connection.close()
    refused = kg("restore", saved, "--data", data)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    restored = kg("restore", saved, "--data", data, "--force")
    assert restored.exit_code == 0, restored.stderr
    (aside,) = data.glob("replaced-*")
    assert str(aside) in restored.stderr
    assert ("2001-01-01T00:00:00.000000Z",) in rows(aside, "SELECT value FROM meta")
    assert ("2001-01-01T00:00:00.000000Z",) not in rows(data, "SELECT value FROM meta")
    assert findings(data) == []


def test_a_journal_that_is_no_longer_one_is_moved_aside_with_its_log(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    safekeeping.back_up(data, saved)
    (data / "journal.sqlite").write_bytes(b"\xa5" * 20_000)
    (data / "journal.sqlite-wal").write_bytes(b"\xa5" * 5_000)
    told = kg("export", "--data", data)
    assert told.exit_code == 3
    assert "kg restore" in told.stderr
    _, aside = safekeeping.restore(saved, data, force=True)
    assert aside is not None
    assert sorted(path.name for path in aside.iterdir()) == [
        "journal.sqlite",
        "journal.sqlite-shm",
        "journal.sqlite-wal",
    ]
    assert findings(data) == []


@pytest.mark.parametrize("owner", [True, False])
def test_nothing_is_restored_under_a_process_that_works_on_the_directory(
    data: Path, config: Config, tmp_path: Path, owner: bool
) -> None:
    saved = tmp_path / "saved"
    safekeeping.back_up(data, saved)
    with open_library(replace(config, data=data), create=False, owner=owner) as library:
        library.accept([generate.actor("kept").document()], agent="a test")
        with pytest.raises(DirectoryInUse):
            safekeeping.restore(saved, data, force=True)
        library.accept([generate.actor("kept-too").document()], agent="a test")
        assert library.journal.last() == 30
    assert findings(data) == []


def test_a_process_that_opened_a_journal_before_it_was_replaced_writes_nothing(data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    safekeeping.back_up(data, saved)
    early = Journal(data / "journal.sqlite")
    early.last()
    (data / "journal.sqlite").rename(data / "elsewhere")
    safekeeping.restore(saved, data)
    with pytest.raises(StorageError, match="was replaced"):
        early.commit({BASE.document("actor", "lost"): generate.actor("lost").document()}, agent="a test")
    early.close()
    assert len(rows(data)) == 28


@pytest.mark.parametrize("damage", ["not a journal", "cut in half", "garbled", "with another content", "of nothing"])
def test_a_file_that_is_not_sound_is_not_restored(data: Path, tmp_path: Path, damage: str) -> None:
    saved = tmp_path / "saved"
    safekeeping.back_up(data, saved)
    if damage == "not a journal":
        saved.write_text("something else")
    elif damage == "cut in half":
        os.truncate(saved, saved.stat().st_size // 2)
    elif damage == "garbled":
        garble_pages(saved)
    elif damage == "with another content":
        tamper(saved, "UPDATE revision SET content = (SELECT content FROM revision WHERE seq = 1) WHERE seq = 2")
    else:
        saved.unlink()
    before = rows(data)
    refused = kg("restore", saved, "--data", data, "--force")
    assert refused.exit_code == 3, refused.stderr
    assert str(saved) in refused.stderr
    assert rows(data) == before
    assert list(data.glob("replaced-*")) == list(data.glob("journal.*.new")) == []


# Verify


def tamper(journal: Path, *statements: str) -> None:
    """Change a journal behind its back, as a fault of the disk, or a hand, might."""
    connection = sqlite3.connect(journal, isolation_level=None)
    for name in ("changed", "deleted", "replaced"):
        connection.execute(f"DROP TRIGGER history_is_not_{name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


#: What is done to the journal, and words that tell of it.
TAMPERING: Mapping[str, tuple[str, str]] = {
    "content": ("UPDATE revision SET content = (SELECT content FROM revision WHERE seq = 1) WHERE seq = 2", "content whose digest"),
    "packing": ("UPDATE revision SET content = x'00' WHERE seq = 2", "is damaged"),
    "digest": ("UPDATE revision SET digest = 'abc' WHERE seq = 5", "revision 5 of"),
    "gap": ("DELETE FROM revision WHERE seq = 25", "revision 25 is missing"),
    "end of a batch": ("DELETE FROM revision WHERE seq BETWEEN 20 AND 24", "batch 24 is there in part"),
    "batch": ("UPDATE revision SET batch = 3 WHERE seq = 26", "revision 26 says that it is of batch 3"),
    "agent": ("UPDATE revision SET agent = 'someone else' WHERE seq = 9", "another time or agent"),
    "time": ("UPDATE revision SET time = '2001-01-01T00:00:00.000000Z' WHERE seq = 26", "earlier than the one before"),
    "no time": ("UPDATE revision SET time = 'yesterday' WHERE seq = 26", "cannot be read to its end"),
    "change": ("UPDATE revision SET change = 'improved' WHERE seq = 3", "no known kind of change: improved"),
    "name": ("UPDATE revision SET document = 'https://elsewhere.example/x' WHERE seq = 3", "no name for a document"),
    "previous": ("UPDATE revision SET previous = 1 WHERE seq = 26", "follows revision 1, not revision 25"),
    "head": ("UPDATE head SET seq = 25 WHERE seq = 28", "newest revision"),
    "head lost": ("DELETE FROM head WHERE seq = 3", "newest revision"),
    "face": ("UPDATE face SET triples = x'' WHERE iri LIKE '%changing'", "table of nodes"),
    "reference": ("DELETE FROM reference WHERE target LIKE '%actor-1'", "table of references"),
    "census": ("UPDATE census SET count = count + 1 WHERE what = 'triples'", "census"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERING)
def test_verifying_tells_what_is_wrong_in_the_journal(data: Path, what: str) -> None:
    statement, words = TAMPERING[what]
    tamper(data / "journal.sqlite", statement)
    told = findings(data)
    assert any(words in line for line in told), told


def test_a_reference_that_leads_nowhere_is_told(data: Path) -> None:
    journal = Journal(data / "journal.sqlite")
    journal.commit({BASE.document("place", "g-place-1"): None}, agent="past the gate")
    told = list(verify_journal(journal))
    journal.close()
    assert told
    assert all("place/g-place-1, which no document describes" in line for line in told)


def test_verifying_says_that_all_is_well_and_changes_nothing(data: Path) -> None:
    before = sorted(path.name for path in data.rglob("*") if not path.name.startswith("journal.sqlite-"))
    proved = kg("verify", "--data", data)
    assert (proved.exit_code, proved.stdout) == (0, "")
    assert "all is well: 25 documents at revision 28" in proved.stderr
    assert before == sorted(path.name for path in data.rglob("*") if not path.name.startswith("journal.sqlite-"))


def test_what_is_wrong_is_a_line_each_and_the_answer_no(data: Path) -> None:
    tamper(data / "journal.sqlite", "UPDATE census SET count = 0 WHERE what = 'triples'")
    proved = kg("verify", "--data", data)
    assert proved.exit_code == 1
    assert len(proved.stdout.splitlines()) == 1
    assert "1 thing wrong" in proved.stderr


def test_verifying_tells_where_the_index_differs_from_the_journal(data: Path) -> None:
    """What queries see must not depend on who wrote it, so the journal is given a history that the index has not seen."""
    (snapshot,) = (data / "snapshots").iterdir()
    journal = Journal(data / "journal.sqlite")
    journal.commit({BASE.document("actor", "changing"): None}, agent="another history")
    snapshot.rename(snapshot.with_name(f"29-{journal.mark(29)}"))
    told = list(differences(data, journal))
    assert told == [
        f"the index has the graph <{BASE}actor/changing>, which is no document's at revision 29; `kg rebuild` makes the index anew"
    ]
    renamed = generate.place("g-place-1", label="Renamed").document()
    journal.commit(
        {renamed.iri: renamed, generate.actor("new").iri(): generate.actor("new").document()}, agent="a test"
    )
    snapshot.with_name(f"29-{journal.mark(29)}").rename(snapshot.with_name(f"31-{journal.mark(31)}"))
    told = "\n".join(differences(data, journal))
    assert "of https://kg.example/actor/new the index lacks 3 triples and has 0" in told
    assert "of https://kg.example/place/g-place-1 the index lacks" in told
    journal.close()


def test_an_index_of_another_history_or_none_is_told(data: Path) -> None:
    journal = Journal(data / "journal.sqlite")
    (snapshot,) = (data / "snapshots").iterdir()
    other = snapshot.with_name("28-0123456789abcdef")
    snapshot.rename(other)
    assert "another history" in "".join(differences(data, journal))
    for path in other.glob("*.sst"):
        path.unlink()
    other.rename(snapshot)
    assert "kg rebuild" in "".join(differences(data, journal))
    shutil.rmtree(snapshot)
    assert list(differences(data, journal)) == []
    assert "there is no index yet" in kg("verify", "--data", data).stderr
    journal.close()


# Evidence

TEXT = "Moscow denied it. «They are on leave», the Kremlin said. They are, it said again: “Café”. They are."


def article(*evidence: str, digest: str = "") -> Document:
    """An article with these selectors, one piece of evidence each."""
    digest = digest or text_digest(TEXT)
    turtle = f'@prefix : <article/x#> .\n<article/x> a ekg:Article ; ekg:textDigest "{digest}" .\n'
    for number, selectors in enumerate(evidence, 1):
        turtle += f":e{number} a ekg:Evidence ; oa:hasSource <article/x> ; oa:hasSelector {selectors} .\n"
    prefixes = "@prefix ekg: <https://w3id.org/ekg/ns#> .\n@prefix oa: <http://www.w3.org/ns/oa#> .\n"
    (parsed,) = parse((prefixes + turtle).encode(), TURTLE, BASE, limit=2**20)
    return parsed


def quote(exact: str, prefix: str = "", suffix: str = "") -> str:
    parts = (
        [f'oa:exact "{exact}"'] + [f'oa:prefix "{prefix}"'] * bool(prefix) + [f'oa:suffix "{suffix}"'] * bool(suffix)
    )
    return f"[ a oa:TextQuoteSelector ; {' ; '.join(parts)} ]"


def position(start: int, end: int) -> str:
    return f"[ a oa:TextPositionSelector ; oa:start {start} ; oa:end {end} ]"


def place_of(words: str) -> str:
    at = TEXT.index(words)
    return position(at, at + len(words))


@pytest.mark.parametrize(
    "selectors",
    [
        quote("Moscow denied it"),
        f"{quote('Moscow denied it')} , {place_of('Moscow denied it')}",
        quote("They are", prefix="said. ", suffix=", it said"),
        f"{quote('They are')} , {place_of('They are')}",
        place_of("on leave"),
        quote(unicodedata.normalize("NFD", "Café")),
    ],
)
@pytest.mark.parametrize(
    "text",
    [TEXT, TEXT + "\n", "\ufeff" + TEXT + "\r\n", unicodedata.normalize("NFD", TEXT)],
    ids=["", "nl", "bom", "nfd"],
)
def test_evidence_that_agrees_with_the_text(selectors: str, text: str) -> None:
    assert list(verify_evidence(article(selectors), text)) == []


@pytest.mark.parametrize(
    ("selectors", "words"),
    [
        (quote("Moscow admitted it"), "#e1: “Moscow admitted it” is not in the text"),
        (quote("they are on  leave"), "save for spaces, line breaks, capitals"),
        (quote("They are"), "is in the text 3 times; say which by oa:prefix"),
        (quote("on leave", prefix="They were "), "but not after “They were ”"),
        (quote("on leave", suffix="."), "but not before “.”"),
        (f"{quote('on leave')} , {position(0, 8)}", "the offsets 0 to 8 are of “Moscow d”; “on leave” is at 28 to 36"),
        (f"{quote('on leave')} , {position(28, 37)}", "the offsets 28 to 37 are of “on leave»”"),
        (position(90, 900), "are not in the text"),
    ],
)
def test_evidence_that_does_not(selectors: str, words: str) -> None:
    (told,) = verify_evidence(article(selectors), TEXT)
    assert words in told


def test_another_version_of_the_text_is_told_by_its_digest() -> None:
    (told,) = verify_evidence(article(digest=text_digest("another")), TEXT)
    assert text_digest(TEXT) in told


def test_evidence_against_a_file_from_the_shell(data: Path, tmp_path: Path) -> None:
    acts = [generate.Act("changing", ("g-proposition-1",), quote="denied it")]
    journal = Journal(data / "journal.sqlite")
    written = generate.article("told", acts).document()
    journal.commit({written.iri: written}, agent="a test")
    journal.close()
    file = tmp_path / "text"
    file.write_text(TEXT, encoding="utf-8")
    told = kg("verify", "--text", file, "--article", "told", "--data", data)
    assert told.exit_code == 1
    assert told.stdout == f"{written.iri} has no ekg:textDigest; that of this text is {text_digest(TEXT)}\n"
    assert kg("verify", "--text", file, "--article", written.iri, "--data", data).stdout == told.stdout
    assert kg("verify", "--text", file, "--article", "unknown", "--data", data).exit_code == 1
    assert kg("verify", "--text", tmp_path / "none", "--article", "told", "--data", data).exit_code == 2
    file.write_bytes(b"\xff\xfe")
    assert kg("verify", "--text", file, "--article", "told", "--data", data).exit_code == 2
    assert kg("verify", "--text", file, "--data", data).exit_code == 2


# Rebase


def test_a_rebased_graph_is_the_same_history_under_other_names(data: Path, config: Config, tmp_path: Path) -> None:
    before = (data / "journal.sqlite").read_bytes()
    to = tmp_path / "to"
    done = kg("rebase", "http://localhost:8000/kg/", "--to", to, "--data", data)
    assert done.exit_code == 0, done.stderr
    assert (data / "journal.sqlite").read_bytes() == before
    kept = "SELECT seq, batch, substr(document, {0}), time, agent, change, note, previous FROM revision ORDER BY seq"
    assert rows(to, kept.format(len("http://localhost:8000/kg/"))) == rows(data, kept.format(len(BASE.iri)))
    with open_library(replace(config, data=to, base=""), create=False, owner=True) as library:
        assert library.settle() == 28
        for kind in ("actor", "article"):
            (iri, *_) = library.journal.documents(kind)
            found = library.read(iri)
            assert found is not None
            assert b"https://kg.example/" not in found[0].content
        there = [document for _, document in library.journal.current() if document is not None]
        assert library.judge(there).conforms
        library.accept([generate.actor("new").document(library.base)], agent="a test")
    assert findings(to) == []
    assert list(to.glob("building-*")) == []


def test_only_names_are_rebased(data: Path, tmp_path: Path) -> None:
    turtle = (
        "<actor/x> a <https://w3id.org/ekg/ns#State>, <https://w3id.org/ekg/ns#Actor> ; "
        '<http://www.w3.org/2000/01/rdf-schema#label> "X" ; '
        '<http://www.w3.org/2000/01/rdf-schema#comment> "see <https://kg.example/actor/x>" ; '
        "<https://schema.org/sameAs> <https://kg.example.org/actor/x> .\n"
    )
    (document,) = parse(turtle.encode(), TURTLE, BASE, limit=2**20)
    journal = Journal(data / "journal.sqlite")
    journal.commit({document.iri: document}, agent="https://kg.example/agent")
    journal.close()
    safekeeping.rebase(data, Base("https://new.example/"), tmp_path / "to")
    renamed = Journal(tmp_path / "to" / "journal.sqlite")
    found = renamed.read("https://new.example/actor/x")
    renamed.close()
    assert found is not None
    assert b'"see <https://kg.example/actor/x>"' in found[0].content
    assert b"<https://kg.example.org/actor/x>" in found[0].content
    assert found[0].content.count(b"https://new.example/actor/x") == 5
    assert found[1].agent == "https://kg.example/agent"


def test_a_rebased_copy_takes_nobodys_place_and_leaves_nothing_half_made(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is a graph"):
        safekeeping.rebase(data, Base("https://new.example/"), data)
    with pytest.raises(RequestError, match="already"):
        safekeeping.rebase(data, BASE, tmp_path / "to")
    tamper(data / "journal.sqlite", "UPDATE revision SET content = x'00' WHERE seq = 2")
    with pytest.raises(StorageError, match="kg verify"):
        safekeeping.rebase(data, Base("https://new.example/"), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
    assert kg("rebase", "no base", "--to", tmp_path / "to", "--data", data).exit_code == 2


# Tidiness


def test_an_owner_removes_what_killed_processes_left(data: Path, config: Config) -> None:
    gone = [data / name for name in ("spool-999999999", "spool-999999999-verifying", "building-999999999")]
    living = data / f"spool-{os.getppid()}"
    for path in (*gone, living):
        path.mkdir()
        (path / "something").touch()
    made = [data / f"journal.{name}.new" for name in ("999999999", "999999999-12")]
    for path in made:
        path.touch()
    with open_library(replace(config, data=data), create=False, owner=True):
        assert [path for path in (*gone, *made) if path.exists()] == []
        assert living.exists()


def test_of_two_that_make_a_directory_at_once_both_get_it(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is quicker between our look and our making."""
    create = Journal.create
    with monkeypatch.context() as patch:

        def overtaken(path: Path, base: Base) -> Journal:
            create(path, base).close()
            return create(path, base)

        patch.setattr(Journal, "create", overtaken)
        with open_library(config, create=True, owner=False) as library:
            assert library.journal.last() == 0
