"""Canned questions: each is one file in `queries/`, whose header is its interface.

The header is grlc's: comment lines that start with `#+`, together YAML. The file stem is the question's id everywhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from kg import assets


@dataclass(frozen=True)
class Question:
    """A question: `id`, `summary` (the question in words), `description`, what the columns mean, defaults of its parameters, and the SPARQL."""

    id: str
    summary: str
    description: str
    tags: tuple[str, ...]
    columns: Mapping[str, str]
    defaults: Mapping[str, str]
    text: str

    @property
    def sparql(self) -> str:
        """The query without its header."""
        return "\n".join(line for line in self.text.splitlines() if not line.startswith("#+")).strip() + "\n"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The variables that stand for parameters, in grlc's convention `?_name_type`, without the question mark."""
        return tuple(sorted(set(re.findall(r"\?(_\w+)", self.sparql))))


@functools.cache
def catalogue() -> Mapping[str, Question]:
    """All questions by id."""
    return {path.stem: _parse(path.stem, path.read_text("utf-8")) for path in assets.files("queries", "*.rq")}


def _parse(name: str, text: str) -> Question:
    header = (
        yaml.safe_load("\n".join(line[2:].removeprefix(" ") for line in text.splitlines() if line.startswith("#+")))
        or {}
    )
    defaults: dict[str, str] = {}
    for item in header.get("defaults") or []:
        defaults.update({key: str(value) for key, value in item.items()})
    columns = header.get("columns") or {}
    if isinstance(columns, list):
        columns = {key: value for item in columns for key, value in item.items()}
    return Question(
        name,
        str(header.get("summary", name)),
        str(header.get("description", "")).strip(),
        tuple(header.get("tags") or ()),
        {str(key): str(value) for key, value in columns.items()},
        defaults,
        text,
    )
