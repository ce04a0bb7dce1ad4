"""Many files at once: read and judged on all cores, committed in batches, what is wrong told file by file.

Hides the processes and the order of things. Promises that a batch refers only to itself and to what is in the journal, so that
the graph is whole after each; that one wrong document keeps out only itself and what refers to it; and that loading the same
files again changes nothing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urljoin

from kg.child import end_with_parent
from kg.config import Config
from kg.documents import Document
from kg.errors import KgError, Overloaded, Rejected
from kg.gate import REFERENCE, Face, Report
from kg.judging import judge_packed, pack
from kg.library import Library, Receipt, read_file
from kg.terms import Base, shorten

#: Documents in a batch, roughly: a batch is closed under references, so it may be larger.
BATCH = 500

#: From this many documents on, more processes pay for their start: each imports for 0.7 s, and judging a document takes 7 ms.
WORTH_PROCESSES = 120


@dataclass(frozen=True)
class Problem:
    """Why a file or a document in it was not taken: an error in reading it, or the gate's report. `line` counts from 1.

    `document` is the IRI of what was not taken, where that is known. The report may be on another document, which it would break.
    """

    path: Path
    line: int | None
    error: KgError | None = None
    report: Report | None = None
    document: str | None = None

    def in_words(self, base: Base) -> list[str]:
        """A line for each thing to mend, each starting with file and line as compilers write them."""
        if self.error is not None:
            column = self.error.facts.get("column")
            place = (
                f"{self.path}:{self.line}:{column}"
                if self.line and column
                else f"{self.path}:{self.line}"
                if self.line
                else str(self.path)
            )
            return [f"{place}: {self.error.detail}"]
        assert self.report is not None
        document = self.document or self.report.document
        other = "" if document == self.report.document else f"{shorten(document, base)} would break another document: "
        lines = []
        for result in self.report.results:
            line = find_line(self.path, result.focus, base) or find_line(self.path, document, base)
            lines.append(f"{self.path}{f':{line}' if line else ''}: {other}{result.in_words(base)}")
        return lines


@dataclass
class Found:
    """What the files hold: documents, where each came from, and the files or documents that cannot be used."""

    documents: dict[str, Candidate] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Candidate:
    """A document as it waits: compressed, with what is needed to order it."""

    iri: str
    path: Path
    packed: bytes
    digest: str
    references: frozenset[str]

    def document(self) -> Document:
        return Document(self.iri, zlib.decompress(self.packed))


@dataclass(frozen=True)
class Summary:
    """How a load ended. `recorded` and `unchanged` count documents, `batches` commits; `problems` are in the order of files."""

    recorded: int
    unchanged: int
    batches: int
    revision: int
    problems: tuple[Problem, ...]


class Crew:
    """Processes that read files and judge documents beside this one; they start when there is work for them."""

    def __init__(self, base: Base, config: Config) -> None:
        self._base = base
        self._config = config
        self._pool: ProcessPoolExecutor | None = None
        self._judged: dict[tuple[str, str, tuple[tuple[str, str], ...]], Report] = {}

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                os.cpu_count() or 1, multiprocessing.get_context("spawn"), initializer=_begin_work
            )
        return self._pool

    def read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, list[Candidate] | KgError]]:
        """What is in each file, in order."""
        if len(paths) < WORTH_PROCESSES:
            yield from ((path, _read(path, self._base, self._config)) for path in paths)
            return
        size = max(1, min(64, len(paths) // 16))
        outcomes = self._executor().map(
            _read, paths, itertools.repeat(self._base), itertools.repeat(self._config), chunksize=size
        )
        with _translated():
            yield from zip(paths, outcomes, strict=True)

    def judge(self, pairs: Sequence[tuple[Document, Mapping[str, Face]]]) -> list[Report]:
        """The report on each document, in order; what was judged before with the same neighbours is not judged again."""
        packed = [pack(document, near) for document, near in pairs]
        keys = [(iri, document.digest, near) for (document, _), (iri, _, near) in zip(pairs, packed, strict=True)]
        todo = [item for item, key in zip(packed, keys, strict=True) if key not in self._judged]
        if len(todo) < WORTH_PROCESSES:
            reports: Iterable[Report] = (judge_packed(item, self._base) for item in todo)
        else:
            with _translated():
                reports = list(self._executor().map(judge_packed, todo, itertools.repeat(self._base), chunksize=8))
        fresh = iter(reports)
        judged = {key: self._judged[key] if key in self._judged else next(fresh) for key in keys}
        self._judged = judged
        return [judged[key] for key in keys]

    def close(self) -> None:
        """End the processes. Idempotent."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


@contextmanager
def crew(base: Base, config: Config) -> Iterator[Crew]:
    """A crew for the time of a block."""
    it = Crew(base, config)
    try:
        yield it
    finally:
        it.close()


def _begin_work() -> None:
    """In each process of a crew, first of all: leave Ctrl-C to the command, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


@contextmanager
def _translated() -> Iterator[None]:
    """The death of a process of the crew as an error of ours."""
    try:
        yield
    except BrokenProcessPool:
        raise Overloaded(
            "a process that read or judged documents was killed, most likely for want of memory; what had been committed "
            "is kept, and loading the same files again goes on from there"
        ) from None


def _read(path: Path, base: Base, config: Config) -> list[Candidate] | KgError:
    try:
        found = read_file(path, base, config)
    except KgError as error:
        return KgError(error.detail, **error.facts)  # of plain parts, so that it travels between processes
    return [Candidate(d.iri, path, zlib.compress(d.content), d.digest, d.references(base)) for d in found]


def read_files(paths: Sequence[Path], base: Base, workers: Crew, progress: Callable[[], None] = lambda: None) -> Found:
    """All documents of all files. A document that two files hold in different versions is a problem of the second."""
    found = Found()
    for path, outcome in workers.read(paths):
        progress()
        if isinstance(outcome, KgError):
            found.problems.append(Problem(path, outcome.facts.get("line"), error=outcome))
            continue
        for candidate in outcome:
            first = found.documents.setdefault(candidate.iri, candidate)
            if first.digest != candidate.digest:
                error = KgError(f"{candidate.iri} is also in {first.path}, with other contents; leave one of them out")
                found.problems.append(Problem(path, None, error=error, document=candidate.iri))
    return found


def batches(
    documents: Mapping[str, Candidate],
    base: Base,
    size: int = BATCH,
    relying: Callable[[Candidate], Iterable[str]] = lambda candidate: (),
) -> Iterator[list[Candidate]]:
    """The documents in batches that refer only to themselves and to batches before, in the order given where that allows it.

    What a document takes away from others that are there already (`relying`) can go only with or after the others' new versions,
    so those come no later either.
    """
    placed: set[str] = set()
    batch: list[Candidate] = []
    for iri in documents:
        stack = [iri]
        while stack:  # everything that this one leads to, first to last
            current = stack.pop()
            if current in placed or current not in documents:
                continue
            placed.add(current)
            batch.append(documents[current])
            stack.extend(sorted(relying(documents[current])))
            stack.extend(
                owner for reference in sorted(documents[current].references) if (owner := base.document_of(reference))
            )
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def load(
    library: Library,
    paths: Sequence[Path],
    *,
    agent: str,
    note: str = "",
    strict: bool = False,
    on_files: Callable[[], None] = lambda: None,
    on_documents: Callable[[int, int], None] = lambda done, of: None,
    on_batch: Callable[[Receipt], None] = lambda receipt: None,
) -> Summary:
    """Write what the files hold; documents may refer to each other across files, in any order.

    What is wrong is left out, with what refers to it, and told in the summary. With `strict`, everything is one batch, and
    nothing is written if there is any problem.
    """
    with crew(library.base, library.config) as workers:
        found = read_files(paths, library.base, workers, on_files)
        there = library.journal.digests(found.documents)
        todo = {iri: candidate for iri, candidate in found.documents.items() if there.get(iri) != candidate.digest}
        problems = list(found.problems)
        refused = {iri: path for path in (p.path for p in problems) if (iri := _document_by_name(path, library.base))}
        recorded = commits = done = 0
        on_documents(0, len(todo))

        def relying(candidate: Candidate) -> Iterable[str]:
            return library.relying_on(candidate.document()) if candidate.iri in there else ()

        ordered = batches(todo, library.base, len(todo) + 1 if strict else BATCH, relying)
        for batch in () if strict and problems else ordered:
            receipt, wrong = _load_batch(library, batch, workers, agent, note, strict, refused)
            problems += wrong
            done += len(batch)
            on_documents(done, len(todo))
            if receipt is not None and receipt.revisions:
                recorded += len(receipt.revisions)
                commits += 1
                on_batch(receipt)
    library.settle(wait=600)
    order = {path: place for place, path in enumerate(paths)}
    return Summary(
        recorded,
        len(found.documents) - len(todo),
        commits,
        library.journal.last(),
        tuple(sorted(problems, key=lambda p: order[p.path])),
    )


def _load_batch(
    library: Library,
    batch: Sequence[Candidate],
    workers: Crew,
    agent: str,
    note: str,
    strict: bool,
    refused: dict[str, Path],
) -> tuple[Receipt | None, list[Problem]]:
    """Write as much of a batch as passes, or with `strict` all or nothing; the rest as problems, and into `refused`."""
    left = {candidate.iri: candidate for candidate in batch}
    problems: list[Problem] = []
    while left:
        try:
            documents = [candidate.document() for candidate in left.values()]
            return library.accept(documents, agent=agent, note=note, judge_all=workers.judge, settle=False), problems
        except Rejected as rejection:
            wrong: dict[str, Candidate] = {}
            for report in rejection.reports:
                for candidate in _culprits(library, report, left):
                    wrong[candidate.iri] = candidate
                    explained = _explained(report, refused, library.base)
                    problems.append(Problem(candidate.path, None, report=explained, document=candidate.iri))
            if not wrong:  # nothing in this batch explains it; without this we would ask for ever
                raise
            if strict:
                break
            for iri, candidate in wrong.items():
                refused[iri] = candidate.path
                del left[iri]
    return None, problems


def _culprits(library: Library, report: Report, left: Mapping[str, Candidate]) -> list[Candidate]:
    """Those of a batch that a report speaks against: the document itself, or those that would break it."""
    if report.document in left:
        return [left[report.document]]
    found = library.read(report.document)
    targets = () if found is None else sorted(_targets(found[0], library.base) & left.keys())
    return [left[iri] for iri in targets if report.document in library.relying_on(left[iri].document())]


def _explained(report: Report, refused: Mapping[str, Path], base: Base) -> Report:
    """The report, saying where a reference leads nowhere because what it leads to was sent and not taken."""

    def cause(value: str | None) -> str | None:
        owner = base.document_of(value) if value else None
        if owner is None or owner not in refused:
            return None
        return (
            f"This reference leads nowhere, because {shorten(owner, base)} was not taken either: see {refused[owner]}."
        )

    return replace(
        report,
        results=tuple(
            replace(result, message=message)
            if result.component == REFERENCE and (message := cause(result.value))
            else result
            for result in report.results
        ),
    )


def _targets(document: Document, base: Base) -> set[str]:
    return {owner for reference in document.references(base) if (owner := base.document_of(reference))}


def _document_by_name(path: Path, base: Base) -> str | None:
    """The document that a file would hold going by its name (`actor/russia.ttl`), for files that cannot be read."""
    return base.document_of(base.document(path.parent.name, path.stem))


_DECLARATION = re.compile(r"\s*@?(?:prefix\s+([\w-]*):|(base))\s*<([^<>\s]*)>", re.IGNORECASE)
_SUBJECT = re.compile(r"\s*(?:GRAPH\s+)?(?:<([^<>\s]*)>|([\w-]*):([\w-]+)(?=[\s;{]|$))")


def find_line(path: Path, iri: str, base: Base) -> int | None:
    """As `line_of`, in a file."""
    try:
        with path.open(encoding="utf-8") as file:
            return line_of(file, iri, base, base.iri)
    except (OSError, ValueError):  # not UTF-8
        return None


def line_of(lines: Iterable[str], iri: str, base: Base, resolver: str) -> int | None:
    """The first line of a text that opens with this node, written in full, relative to `resolver`, or with a prefix; counts from 1."""
    if iri.startswith("_:"):
        return None
    quoted = (f'"{iri}"', f'"{iri.removeprefix(base.iri)}"')
    prefixes: dict[str, str] = {}
    try:
        for number, line in enumerate(lines, 1):
            if declaration := _DECLARATION.match(line):
                prefix, is_base, namespace = declaration.groups()
                namespace = resolved(namespace, resolver)
                if is_base:
                    resolver = namespace
                else:
                    prefixes[prefix] = namespace
            elif subject := _SUBJECT.match(line):
                relative, prefix, local = subject.groups()
                opens = resolved(relative, resolver) if relative is not None else prefixes.get(prefix, "") + local
                if opens == iri:
                    return number
            elif any(name in line for name in quoted):
                return number
    except ValueError:  # something like an IRI that is none
        return None
    return None


def resolved(relative: str, resolver: str) -> str:
    """The IRI in full; unlike `urljoin` alone, with an empty fragment kept whatever the resolver, as namespaces have it."""
    whole = urljoin(resolver, relative) if relative else resolver
    return whole + "#" if relative.endswith("#") and not whole.endswith("#") else whole
