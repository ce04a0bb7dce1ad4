"""A process from which writers are born in no time: each writes batches to one data directory until it is killed.

Its argument is a data directory. Each line of its input is the name of a writer to begin, and how many documents its batches have;
or, with an exclamation mark behind the number, that it writes one such batch past the gate, which takes a long batch a while. Writers
say `NAME born PID`, then `NAME wrote REVISION COUNT` for each batch that was acknowledged, a line each; all end with this process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import sys
import threading
from pathlib import Path

import generate

from kg import config
from kg.documents import Document
from kg.errors import IndexBehind
from kg.gate import judge
from kg.journal import Journal
from kg.library import open_library
from kg.terms import Base


def batch(name: str, number: int, size: int, base: Base) -> list[Document]:
    """Documents that refer to each other, so that none of them could stand without the rest, and one that all writers change."""
    own = [generate.event(f"{name}-{number}-event")]
    own += [
        generate.proposition(f"{name}-{number}-proposition-{place}", f"event/{name}-{number}-event")
        for place in range(size - 2)
    ]
    return [text.document(base) for text in (*own, generate.actor("shared", label=f"{name} {number}"))]


def write(name: str, data: Path, size: int) -> None:
    settings = config.read({}, data=data, query_processes=1)
    say(f"{name} born {os.getpid()}")
    with open_library(settings, create=False, owner=False) as library:
        for number in itertools.count():
            documents = batch(name, number, size, library.base)
            with contextlib.suppress(IndexBehind):
                receipt = library.accept(documents, agent=name)
                say(f"{name} wrote {receipt.revision} {len(receipt.revisions)}")


def write_at_once(name: str, data: Path, size: int) -> None:
    journal = Journal(data / "journal.sqlite")
    batch = {text.iri(): text.document() for text in (generate.actor(f"{name}-{number}") for number in range(size))}
    say(f"{name} born {os.getpid()}")
    revisions = journal.commit(batch, agent=name)
    assert revisions is not None
    say(f"{name} wrote {revisions[-1].seq} {size}")
    os._exit(0)


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # in one go, so that lines of several writers do not mix


def end_with(parent: int) -> None:
    """End when the process that this one was born from does."""
    select.select([os.pidfd_open(parent)], [], [])
    os._exit(1)


def main(data: Path) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    base = Base("https://kg.example/")
    judge(generate.actor("x").document(base), base, {})  # reads the shapes, once for all
    say("nursery is ready")
    me = os.getpid()
    for line in sys.stdin:
        if os.fork() == 0:
            threading.Thread(target=end_with, args=(me,), daemon=True).start()
            name, size = line.split()
            begin = write_at_once if size.endswith("!") else write
            begin(name, data, int(size.rstrip("!")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
