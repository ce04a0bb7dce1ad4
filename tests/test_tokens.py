"""Tokens: made once, kept as digests, told from all others, and gone when they are revoked."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import stat
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kg.cli import main
from kg.errors import NotFound, RequestError
from kg.tokens import Token, Tokens, last_day

TODAY = datetime.now(UTC).date()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "data")


def kg(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments, "--data", str(data)])


def test_token_is_found_and_nothing_like_it(tokens: Tokens) -> None:
    ann, root = tokens.create("ann", "writer"), tokens.create("root", "admin")
    assert re.fullmatch(r"kg_[A-Za-z0-9_-]{43}", ann)
    assert tokens.find(ann) == Token("ann", "writer", TODAY, None, None, None)
    assert (found := tokens.find(root)) is not None and found.role == "admin"
    for other in ("", "kg_", ann[:-1], ann + "A", ann.swapcase(), "kg_" + "A" * 43, ann + "\n", " " + ann):
        assert tokens.find(other) is None, other


def test_only_a_digest_is_kept_in_a_file_for_its_owner_alone(tokens: Tokens, tmp_path: Path) -> None:
    secret = tokens.create("ann", "writer")
    (path,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret.encode() not in path.read_bytes()
    assert secret.removeprefix("kg_").encode() not in path.read_bytes()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT digest FROM token").fetchall() == [
            (hashlib.sha256(secret.encode()).digest(),)
        ]


def test_use_is_noted_by_the_day(tokens: Tokens) -> None:
    secret = tokens.create("ann", "writer")
    assert [token.used for token in tokens.all()] == [None]
    tokens.find(secret)
    assert [token.used for token in tokens.all()] == [TODAY]


def test_revoked_token_opens_nothing_and_its_name_is_free(tokens: Tokens) -> None:
    old = tokens.create("ann", "writer")
    with pytest.raises(RequestError, match="there is a token named 'ann' already"):
        tokens.create("ann", "admin")
    tokens.revoke("ann")
    assert tokens.find(old) is None
    new = tokens.create("ann", "writer")
    assert tokens.find(old) is None
    assert tokens.find(new) is not None
    assert [token.revoked for token in tokens.all()] == [TODAY, None]
    with pytest.raises(NotFound, match="no living token named 'bob'"):
        tokens.revoke("bob")


def test_expired_token_opens_nothing(tokens: Tokens, tmp_path: Path) -> None:
    last, over = tokens.create("today", "writer", TODAY), tokens.create("over", "writer", TODAY)
    with sqlite3.connect(tmp_path / "data" / "tokens.sqlite") as connection:
        yesterday = str(TODAY - timedelta(days=1))
        connection.execute("UPDATE token SET expires = ? WHERE name = 'over'", (yesterday,))
    assert tokens.find(last) is not None
    assert tokens.find(over) is None
    tokens.create("over", "writer")  # the name of what is dead is free
    with pytest.raises(RequestError, match="is over"):
        tokens.create("late", "writer", TODAY - timedelta(days=1))


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\tb", " a", "a\u202eb", "\x00"])
def test_name_that_could_not_be_read_in_a_history_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(RequestError, match="1 to 100 printable characters"):
        tokens.create(name, "writer")
    assert not tokens.are_in_use()


def test_names_may_be_in_any_script(tokens: Tokens) -> None:
    assert tokens.find(tokens.create("Оксана (desk)", "writer")) is not None


def test_expiry_is_a_day_or_a_number_of_days() -> None:
    assert last_day("2031-01-01") == date(2031, 1, 1)
    assert last_day("90d") == TODAY + timedelta(days=90)
    for wrong in ("tomorrow", "", "90", "-1d", "2031-02-30", "9999999d"):
        with pytest.raises(RequestError, match="an expiry is a day"):
            last_day(wrong)


def test_without_a_directory_there_are_no_tokens_and_none_is_made(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "data")
    assert not tokens.are_in_use()
    assert tokens.find("kg_" + "A" * 43) is None
    assert not (tmp_path / "data").exists()


# kg token


def test_command_prints_the_token_alone_on_standard_output(tmp_path: Path) -> None:
    done = kg(tmp_path, "create", "--name", "ann", "--role", "writer", "--expires", "90d")
    assert done.exit_code == 0
    assert re.fullmatch(r"kg_[A-Za-z0-9_-]{43}\n", done.stdout)
    assert done.stderr.startswith("It cannot be shown again.")
    assert (found := Tokens(tmp_path).find(done.stdout.strip())) is not None
    assert found.expires == TODAY + timedelta(days=90)


def test_commands_list_and_revoke(tmp_path: Path) -> None:
    secret = kg(tmp_path, "create", "--name", "ann", "--role", "admin").stdout.strip()
    listed = kg(tmp_path, "list").stdout
    assert listed.splitlines() == ["name\trole\tcreated\texpires\tused\trevoked", f"ann\tadmin\t{TODAY}\t\t\t"]
    assert secret not in listed
    assert kg(tmp_path, "revoke", "ann").exit_code == 0
    assert kg(tmp_path, "list").stdout.splitlines()[1] == f"ann\tadmin\t{TODAY}\t\t\t{TODAY}"
    again = kg(tmp_path, "revoke", "ann")
    assert (again.exit_code, again.stderr.startswith("kg: there is no living token named 'ann'")) == (1, True)
