"""The README is true: each command in it is run as written, and what it shows is what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import Server

from kg.config import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def _examples(text: str) -> list[tuple[str, str]]:
    """Commands in the console blocks of a text, and what stands below each."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, lines, quoted = [], example.splitlines(), False
            while lines and (quoted or not command):
                line = lines.pop(0)
                command.append(line)
                quoted ^= line.count("'") % 2 == 1
            found.append(("\n".join(command), "\n".join(lines)))
    return found


def section(title: str) -> list[tuple[str, str]]:
    """The examples of one section."""
    text = re.split(rf"^#+ {re.escape(title)}$", README, flags=re.MULTILINE)[1]
    return _examples(re.split(r"^#", text, flags=re.MULTILINE)[0])


#: All but those that write to the graph, or files: see test_writing and test_safekeeping.
EXAMPLES = [example for example in _examples(README) if example not in section("Write over HTTP") + section("Keep")]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[command.split("\n")[0][:40] for command, _ in EXAMPLES])
def test_example_gives_what_is_shown(served: Server, command: str, shown: str) -> None:
    script = command.replace("http://localhost:8000/", served.url)
    bin_directory = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "KG_DATA": str(served.data),
    }
    kg = f'kg() {{ "{sys.executable}" -m kg.cli "$@"; }}\n'
    done = subprocess.run(
        check=False,
        args=["bash", "-euc", kg + script],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if shown:
        assert done.stdout.replace("\r\n", "\n").strip() == shown.strip()


def test_readme_names_every_setting() -> None:
    assert [setting.variable for setting in SETTINGS if f"`{setting.variable}`" not in README] == []


def test_what_it_is_and_how_to_run_it_stand_first() -> None:
    opening = "\n".join(README.splitlines()[:30])
    assert "kg serve" in opening
    assert "curl" in opening
    assert "195 days" in opening
