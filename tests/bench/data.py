"""The same generated graph for all servers.

The first articles, and one story (`story.trig`), come in as any document does, through `kg load` and its gate. Judging takes some 20 ms of
processor time a document, so the rest, which the generator promises to be as valid, and as many more stories as the size asks for, is committed
straight to the journal, in batches; the index follows both alike. What the others load is what `kg export` gives.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kg import config, documents
from kg.documents import Document
from kg.library import open_library
from tests import generate
from tests.bench import servers
from tests.serving import environment

_BATCH = 2_000

#: The story that the project comes with, the same at every size: what is asked about it has answers of the same length.
SEEDS = Path(__file__).resolve().parents[2] / "seeds"

#: One story for so many articles of the generator.
_ARTICLES_A_STORY = 200

_STORY = Path(__file__).with_name("story.trig").read_text("utf-8")


@dataclass(frozen=True)
class Data:
    """A graph on disk. `gated` of its articles came through `kg load`, `gate_rate` documents a second."""

    directory: Path
    articles: int
    documents: int
    gated: int
    gate_rate: float

    @property
    def ours(self) -> Path:
        return self.directory / "kg"

    @property
    def quads(self) -> Path:
        return self.directory / "data.nq"

    @property
    def oxigraph(self) -> Path:
        """Oxigraph's store, made when first asked for."""
        store = self.directory / "oxigraph"
        if not store.exists():
            building = self.directory / "oxigraph-building"
            binary = servers.program("oxigraph")
            _run(binary, "load", "--location", building, "--file", self.quads)
            _run(binary, "optimize", "--location", building)
            building.rename(store)
        return store


def prepare(directory: Path, articles: int, gated: int, say: Callable[[str], None]) -> Data:
    """The graph of so many articles in a directory, or what is there already; `gated` of them go through the gate."""
    ready = directory / "ready.json"
    if ready.exists():
        return Data(directory, **json.loads(ready.read_text("utf-8")))
    ours = directory / "kg"
    coming = _up_to(articles)
    say(f"{min(gated, articles):,} articles through `kg load` …")
    shutil.copytree(SEEDS, directory / "documents", dirs_exist_ok=True)
    for text in _take(coming, gated):
        text.write(directory / "documents")
    (directory / "documents" / "story.trig").write_text(_STORY.replace("NUMBER", "0"), "utf-8")
    count = len(list((directory / "documents").glob("*/*.ttl"))) + len(story(0))
    begun = time.perf_counter()
    _run(
        sys.executable,
        "-m",
        "kg.cli",
        "load",
        "--data",
        ours,
        "--base",
        generate.BASE.iri,
        directory / "documents",
    )
    rate = count / (time.perf_counter() - begun)
    if articles > gated:
        say(f"{articles - gated:,} articles straight to the journal …")
    rest = itertools.chain(
        (text.document() for text in coming),
        itertools.chain.from_iterable(story(number) for number in range(1, articles // _ARTICLES_A_STORY)),
    )
    with open_library(config.read({}, data=ours), create=False, owner=False) as library:
        while batch := {document.iri: document for document in itertools.islice(rest, _BATCH)}:
            library.journal.commit(batch, agent="benchmark")
            count += len(batch)
        library.settle(wait=3600)
    with (directory / "data.nq").open("wb") as file:
        _run(sys.executable, "-m", "kg.cli", "export", "--data", ours, "--format", "nquads", into=file.fileno())
    data = Data(directory, articles, count, min(gated, articles), rate)
    made = asdict(data)
    del made["directory"]
    ready.write_text(json.dumps(made), "utf-8")
    return data


def story(number: int) -> list[Document]:
    """The documents of one story, which has none in common with another."""
    text = _STORY.replace("NUMBER", str(number))
    return documents.parse(text.encode(), documents.TRIG, generate.BASE, limit=2**24)


def _up_to(articles: int) -> Iterator[generate.Text]:
    """Documents until there are so many articles."""
    return _take(generate.texts(sys.maxsize), articles)


def _take(coming: Iterator[generate.Text], articles: int) -> Iterator[generate.Text]:
    for text in coming:
        yield text
        articles -= text.kind == "article"
        if articles == 0:
            return


def _run(*command: str | Path, into: int = subprocess.DEVNULL) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        stdout=into,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(),
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace')[-2000:]}"
        )
