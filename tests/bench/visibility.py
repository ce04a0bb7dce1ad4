"""How long a write takes until the next read shows it, with rules and without.

`python -m tests.bench.visibility DATA rules|none COUNT` writes so many articles through the library of a data directory, one after the
other, and prints the milliseconds of each as JSON. Each run is a process of its own, for the rules of a process are fixed. The articles tell of
the actors and propositions that come up most, which is where a write concerns most of what is derived.
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from kg import config, rules
from kg.engine import Query
from kg.library import open_library
from tests import generate
from tests.bench.data import Data
from tests.bench.measures import Effort, Row, Target
from tests.serving import environment

#: Writes of a run that are not counted, until everything is open and warm.
_WARMING = 5
_WRITES = 20


def visibility(data: Data, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """Writes with rules beside the same without, on copies of the data, in turns."""
    values: dict[str, list[float]] = {"rules": [], "none": []}
    for kind in values:
        shutil.rmtree(data.directory / f"visibility-{kind}", ignore_errors=True)
        shutil.copytree(data.ours, data.directory / f"visibility-{kind}")
    for number in range(effort.rounds):
        for kind, medians in values.items():
            say(f"visibility, {kind}, round {number + 1}")
            command = [sys.executable, "-m", "tests.bench.visibility", data.directory / f"visibility-{kind}", kind]
            done = subprocess.run(
                [*map(str, command), str(_WRITES)], capture_output=True, text=True, env=environment(), check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"the writes ended with {done.returncode}: {done.stderr[-2000:]}")
            taken = sorted(json.loads(done.stdout))
            medians.append(taken[len(taken) // 2])
    for kind in values:
        shutil.rmtree(data.directory / f"visibility-{kind}")
    figures = [with_rules / without for with_rules, without in zip(values["rules"], values["none"], strict=True)]
    yield Row(
        f"write to visibility through the library, median of {_WRITES}",
        "",
        "ms",
        values["rules"],
        "without rules",
        values["none"],
        figures,
        target=Target(5, at_least=False),
    )


def _write(data: Path, count: int) -> list[float]:
    day = datetime.date(2030, 1, 1)
    taken = []
    with open_library(config.read({}, data=data), create=False, owner=True) as library:
        library.settle(wait=600)
        for number in range(_WARMING + count):
            acts = [
                generate.Act("g-actor-1", ("g-proposition-1",), "Denial", quote=f"words {number}"),
                generate.Act("g-actor-2", ("g-proposition-1",), "Claim", quote=f"other words {number}"),
                generate.Act("g-actor-3", kind="Report", reports=(2,), quote=f"passed on {number}"),
            ]
            text = generate.article(
                f"visible-{uuid.uuid4().hex}", acts, published=day + datetime.timedelta(days=number)
            )
            document = text.document()
            begun = time.perf_counter()
            library.accept([document], agent="benchmark")
            answer = library.answer(Query(f"ASK {{ <{text.iri()}> a ?kind }}", base=generate.BASE.iri, triples=None))
            if not json.loads(answer.read())["boolean"]:
                raise RuntimeError("a write was not visible to the next read")
            taken.append((time.perf_counter() - begun) * 1000)
    return taken[_WARMING:]


if __name__ == "__main__":
    if sys.argv[2] == "none":
        rules.catalogue = lambda: ()  # type: ignore[assignment]
    sys.stdout.write(json.dumps(_write(Path(sys.argv[1]), int(sys.argv[3]))))
