"""How long a write takes until the next read shows it, with rules and without: two services on copies of one graph, in turns.

A write is a PUT of one article; it shows when a query after it finds it. The articles tell of the actors and propositions that come up most, which is
where a write concerns most of what is derived. The service without rules is a copy of the program whose `ontology/rules/` is empty.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests import generate
from tests.bench.client import ACCEPT, Failed
from tests.bench.data import Data
from tests.bench.measures import Effort, Row, Target
from tests.bench.servers import OURS, Server
from tests.serving import ROOT, environment

#: Writes that are not counted, until everything is open and warm, and those of a round.
_WARMING = 5
_WRITES = 20


def visibility(data: Data, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """Writes with rules beside the same without."""
    place = data.directory / "visibility"
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        writers = []
        for name, program in (("rules", ROOT), ("none", _without_rules(place / "program"))):
            say(f"visibility: starting the service, rules: {name}")
            _copy(data.ours, place / name)
            writer = _Writer(place / name, program)
            stack.callback(writer.server.stop)
            writer.server.start()
            writers.append(writer)
        numbers = itertools.count()
        for _ in range(_WARMING):
            for writer in writers:
                writer.write(next(numbers))
        rounds = []
        for number in range(effort.rounds):
            say(f"visibility, round {number + 1}")
            taken = [[writer.write(next(numbers)) for writer in writers] for _ in range(_WRITES)]
            rounds.append([statistics.median(of) for of in zip(*taken, strict=True)])
    ours, theirs = ([of[which] for of in rounds] for which in (0, 1))
    yield Row(
        f"PUT of one article until it shows, median of {_WRITES}",
        "",
        "ms",
        ours,
        "without rules",
        theirs,
        [a / b for a, b in zip(ours, theirs, strict=True)],
        target=Target(5, at_least=False),
    )


class _Writer:
    """A service on a data directory, and somebody who may write there."""

    def __init__(self, data: Path, program: Path) -> None:
        # The processes of a service take their program from where the first did, and not from where they are started.
        variables = {"PYTHONPATH": str(program), "PYTHONSAFEPATH": "1"}

        def command(port: int) -> Sequence[str | Path]:
            settings = [f"{name}={value}" for name, value in variables.items()]
            serve = [sys.executable, "-m", "kg.cli", "serve", "--data", data, "--bind", f"127.0.0.1:{port}"]
            return ["env", *settings, *serve]

        self.server = Server(OURS, "/sparql", command, data.with_name(f"{data.name}.log"))
        create = ["token", "create", "--data", str(data), "--name", "benchmark", "--role", "writer"]
        done = subprocess.run(
            [sys.executable, "-m", "kg.cli", *create], capture_output=True, text=True, env=environment(), check=True
        )
        self._token = done.stdout.strip()

    def write(self, number: int) -> float:
        """Milliseconds from the beginning of the PUT of an article like no other until a query has found it."""
        acts = [
            generate.Act("g-actor-1", ("g-proposition-1",), "Denial", quote=f"words {number}"),
            generate.Act("g-actor-2", ("g-proposition-1",), "Claim", quote=f"other words {number}"),
            generate.Act("g-actor-3", kind="Report", reports=(2,), quote=f"passed on {number}"),
        ]
        day = datetime.date(2030, 1, 1) + datetime.timedelta(days=number)
        text = generate.article(f"visible-{uuid.uuid4().hex}", acts, published=day)
        content = text.document().content
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/n-triples"}
        query = quote(f"ASK {{ <{text.iri()}> a ?kind }}", safe="")
        connection = http.client.HTTPConnection(urlsplit(self.server.endpoint).netloc, timeout=120)
        with contextlib.closing(connection):
            connection.connect()
            begun = time.perf_counter()
            connection.request("PUT", f"/{text.path.removesuffix('.ttl')}", content, headers)
            response = connection.getresponse()
            said = response.read()
            if response.status != 201:
                raise Failed(f"a PUT was answered with {response.status}: {said[:200]!r}")
            connection.request("GET", f"{self.server.path}?query={query}", headers={"Accept": ACCEPT})
            if not json.loads(connection.getresponse().read())["boolean"]:
                raise Failed("a write was not visible to the next read")
            return (time.perf_counter() - begun) * 1000


def _without_rules(place: Path) -> Path:
    """A copy of the program and its folders that has no rules."""
    for name in ("kg", "ontology", "queries", "seeds", "shapes"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "rules"))
    return place


def _copy(data: Path, to: Path) -> None:
    """Copy a data directory. The store's tables, which are never changed but only replaced, are linked."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".sst") else shutil.copy2)(source, target)

    shutil.copytree(data, to, copy_function=copy, ignore=shutil.ignore_patterns("snapshots", "deriving"))
