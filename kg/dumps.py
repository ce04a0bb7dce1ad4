"""The whole graph as one compressed file, made once for each revision that is asked for.

Hides the files and the thread that makes them. Promises the same bytes for the same revision, memory that does not grow with the
graph, that at most two files of a form and one in the making are on disk, and that what a crash left is removed.
"""

from __future__ import annotations

import gzip
import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kg.documents import Document
from kg.errors import BeingMade, KgError, StorageError
from kg.journal import Journal

log = logging.getLogger("kg.dumps")

#: Forms by their suffix.
FORMS = ("nq", "trig")

#: Seconds for which a dump may be given out that is no longer the newest, while the next is made: where writing never ends, none
#: would ever be ready otherwise.
_OLD = 600.0


@dataclass(frozen=True)
class Dump:
    """A finished file: the graph at `revision`, which was recorded at `modified` (None for an empty graph)."""

    path: Path
    revision: int
    tag: str
    modified: datetime | None


class Dumps:
    """The dumps of one journal in a directory that is theirs alone."""

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal = journal
        self._directory = directory
        self._condition = threading.Condition()
        self._making: set[str] = set()
        self._failed: dict[str, KgError] = {}
        for left in directory.glob("*.part"):
            left.unlink(missing_ok=True)

    def get(self, form: str, patience: float = 3.0) -> Dump:
        """The dump of the newest revision, made if need be.

        What takes longer than `patience` seconds goes on in the background, and `BeingMade` is raised, unless there is one from a
        little while ago. Many may ask at once: one is made. Raises a `StorageError` where it cannot be written.
        """
        wanted = self._journal.last()
        deadline = time.monotonic() + patience
        with self._condition:
            if form not in self._making:
                self._failed.pop(form, None)
            while True:
                found = self._newest(form)
                if found is not None and found.revision >= wanted and self._is_of_this_history(found):
                    return found
                if form in self._failed:
                    raise self._failed[form]
                if form not in self._making:
                    self._making.add(form)
                    threading.Thread(target=self._make_one, args=(form,), name=f"dump-{form}", daemon=True).start()
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
        if found is not None and self._is_of_this_history(found) and time.time() - found.path.stat().st_mtime < _OLD:
            return found
        raise BeingMade("the dump of this revision is being made; ask again in a moment", retry_after=10)

    def _make_one(self, form: str) -> None:
        try:
            self._make(form)
        except KgError as error:
            self._fail(form, error)
        except OSError as error:
            self._fail(form, StorageError(f"{self._directory}: {error.strerror or error}"))
        finally:
            with self._condition:
                self._making.discard(form)
                self._condition.notify_all()

    def _fail(self, form: str, error: KgError) -> None:
        log.error("no dump could be made: %s", error.detail)
        with self._condition:
            self._failed[form] = error

    def _make(self, form: str) -> None:
        start = time.monotonic()
        self._directory.mkdir(exist_ok=True)
        part = self._directory / f"{form}-{os.getpid()}-{threading.get_ident()}.part"
        with self._journal.still() as journal:
            revision = journal.last()
            path = self._directory / f"{_name(journal, revision)}.{form}.gz"
            try:
                with part.open("wb") as file:
                    # No name and no time of day in it, so that the bytes depend on the documents alone.
                    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
                        for document in journal.documents_now():
                            packed.write(lines(document, form))
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        log.info("made %s in %.1f s", path, time.monotonic() - start)
        self._remove_but(path, form)

    def _remove_but(self, newest: Path, form: str) -> None:
        """Leave the newest only; who is sending another still has it open."""
        for path in self._directory.glob(f"*.{form}.gz"):
            if path != newest:
                path.unlink(missing_ok=True)

    def _newest(self, form: str) -> Dump | None:
        numbers = {}
        for path in self._directory.glob(f"*.{form}.gz"):
            number = path.name.partition("-")[0]
            if number.isdecimal():
                numbers[int(number)] = path
        if not numbers:
            return None
        newest = max(numbers)
        revision = self._journal.revision(newest)
        tag = numbers[newest].name.removesuffix(".gz")
        return Dump(numbers[newest], newest, tag, None if revision is None else revision.time)

    def _is_of_this_history(self, dump: Dump) -> bool:
        """Whether it is a state of this journal, and not of one that a restored backup has replaced."""
        return dump.tag.partition(".")[0] == _name(self._journal, dump.revision)


def _name(journal: Journal, revision: int) -> str:
    return f"{revision}-{journal.mark(revision) or 'empty'}"


def lines(document: Document, form: str) -> bytes:
    """A document's graph in N-Quads, or in TriG, one triple a line: canonical N-Triples are as good as written already."""
    name = f"<{document.iri}>".encode()
    if form == "trig":
        return name + b" {\n" + document.content + b"}\n"
    return b"".join(line.removesuffix(b".\n") + name + b" .\n" for line in document.content.splitlines(keepends=True))
