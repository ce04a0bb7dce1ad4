"""Tokens: who may write over HTTP, and as whom.

Hides SQLite and how secrets are kept. They lie beside the journal and not in it, so that a copy of the graph carries none. Promises that
only digests are stored, in a file that only its owner reads; that finding one takes the same time whatever is looked for; and that
names of living tokens are unique, since revisions carry them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from kg.errors import NotFound, RequestError, StorageError

#: What a token may do. A `writer` records, corrects and retracts; an `admin` also deletes.
ROLES = ("writer", "admin")

#: What tokens start with, so that people and scanners for leaked secrets know one when they see it.
PREFIX = "kg_"

_FORM = re.compile(r"kg_[A-Za-z0-9_-]{43}")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL,
    role    TEXT NOT NULL,
    digest  BLOB NOT NULL,              -- SHA-256 of the token, which is 256 random bits: nothing to guess, so nothing to slow down
    created TEXT NOT NULL,
    expires TEXT,                       -- the last day, UTC
    used    TEXT,                       -- the day of the last use, UTC
    revoked TEXT
)
"""


@dataclass(frozen=True)
class Token:
    """What is known of a token, which does not include the token. Days are UTC; `expires` is the last on which it is good."""

    name: str
    role: str
    created: date
    expires: date | None
    used: date | None
    revoked: date | None

    @property
    def living(self) -> bool:
        """Whether it opens anything today."""
        return self.revoked is None and (self.expires is None or self.expires >= _today())


class Tokens:
    """The tokens of one data directory. Threads and processes may share them; what one changes the others see at once."""

    def __init__(self, data: Path) -> None:
        self._path = data / "tokens.sqlite"

    def create(self, name: str, role: str, expires: date | None = None) -> str:
        """A new token, which is told this once. Raises `RequestError` for a name that cannot be had or a day that is over."""
        if not (1 <= len(name) <= 100) or not name.isprintable() or name != name.strip():
            raise RequestError("a name has 1 to 100 printable characters and no blanks at its ends")
        if role not in ROLES:
            raise RequestError(f"{role!r} is no role; there are {', '.join(ROLES)}")
        if expires is not None and expires < _today():
            raise RequestError(f"{expires} is over; give a day to come, or a number of days such as 90d")
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._open(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if any(token.name == name and token.living for token in self._all(connection)):
                raise RequestError(f"there is a token named {name!r} already; revoke it, or choose another name")
            connection.execute(
                "INSERT INTO token (name, role, digest, created, expires) VALUES (?, ?, ?, ?, ?)",
                (name, role, _digest(secret), str(_today()), expires and str(expires)),
            )
            connection.execute("COMMIT")
        return secret

    def all(self) -> list[Token]:
        """Every token there ever was, oldest first."""
        with self._open() as connection:
            return self._all(connection)

    def revoke(self, name: str) -> None:
        """From now on the living token of this name opens nothing. Raises `NotFound` where there is none."""
        with self._open() as connection:
            changed = connection.execute(
                "UPDATE token SET revoked = ? WHERE name = ? AND revoked IS NULL AND (expires IS NULL OR expires >= ?)",
                (str(_today()), name, str(_today())),
            ).rowcount
        if not changed:
            raise NotFound(f"there is no living token named {name!r}; `kg token list` shows those there are")

    def find(self, secret: str) -> Token | None:
        """The living token that this is, or None. Its use is noted, by the day."""
        wanted = _digest(secret)
        found: tuple[int, Token] | None = None
        with self._open() as connection:
            for number, digest, token in self._rows(connection):
                # Every row is compared, and each in constant time, so that nothing can be learnt from how long it takes.
                if hmac.compare_digest(digest, wanted):
                    found = number, token
            if found is None or not found[1].living or not _FORM.fullmatch(secret):
                return None
            if found[1].used != _today():
                connection.execute("UPDATE token SET used = ? WHERE id = ?", (str(_today()), found[0]))
        return found[1]

    def are_in_use(self) -> bool:
        """Whether there ever was a token; without one, writing over HTTP is off."""
        return bool(self.all())

    def _all(self, connection: sqlite3.Connection) -> list[Token]:
        return [token for _, _, token in self._rows(connection)]

    def _rows(self, connection: sqlite3.Connection) -> list[tuple[int, bytes, Token]]:
        rows = connection.execute(
            "SELECT id, digest, name, role, created, expires, used, revoked FROM token ORDER BY id"
        ).fetchall()
        return [
            (number, digest, Token(name, role, date.fromisoformat(days[0]), *map(_day, days[1:])))
            for number, digest, name, role, *days in rows
        ]

    @contextlib.contextmanager
    def _open(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if create:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            there = self._path.is_file()
            connection = sqlite3.connect(self._path if there else ":memory:", isolation_level=None, timeout=60)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self._path}: {error}", path=str(self._path)) from None
        try:
            connection.execute(_SCHEMA)
            yield connection
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}", path=str(self._path)) from None
        finally:
            connection.close()


def last_day(text: str) -> date:
    """The day that an expiry names: `2027-01-01`, or `90d` for that many days from today. Raises `RequestError`."""
    try:
        if match := re.fullmatch(r"(\d{1,5})d", text):
            return _today() + timedelta(days=int(match[1]))
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise RequestError(
            f"an expiry is a day such as 2027-01-01, or days from now such as 90d; got {text!r}"
        ) from None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _today() -> date:
    return datetime.now(UTC).date()


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
