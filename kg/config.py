"""The settings: one table, from which the environment, the flags of `kg serve` and the documentation are read.

A setting `query_timeout` is `KG_QUERY_TIMEOUT` in the environment and `--query-timeout` as a flag. An unknown `KG_…`
variable is an error, because a misspelt limit is no limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kg.errors import ConfigurationError


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 86_400:
        raise ValueError("must be more than 0 and less than a day")
    return number


_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+) ?(B|KiB|MiB|GiB|)", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a number of bytes, or one with a unit, such as 64MiB")
    return int(match[1]) * _UNITS[match[2]]


def _address(text: str) -> str:
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):(\d{1,5})", text)
    if match is None or int(match[2]) > 65_535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8000")
    return text


@dataclass(frozen=True)
class Setting:
    """One row of the table. `default` is text, as in the environment, and goes through `read` like any other value."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str

    @property
    def variable(self) -> str:
        return "KG_" + self.name.upper()


#: Two at the least, so that one is kept for quick queries.
_CORES = str(max(2, os.cpu_count() or 1))

SETTINGS: tuple[Setting, ...] = (
    Setting("data", "data", Path, "The data directory: journal, index and snapshots."),
    Setting("bind", "127.0.0.1:8000", _address, "The address and port to listen on."),
    Setting("base", "", str, "The IRI under which documents are named; fixed when the data directory is created. Default: http://{bind}/."),
    Setting("query_processes", _CORES, _whole, "How many processes evaluate queries. Default: one for each core."),
    Setting("query_timeout", "30", _seconds, "Seconds after which a query is stopped."),
    Setting("slow_query", "5", _seconds, "Seconds from which a query is written to the log."),
    Setting("query_memory", "4GiB", _size, "Memory that one query process may use."),
    Setting("query_queue", "64", _whole, "How many queries may wait for a process; past that, callers are told to come back."),
    Setting("query_limit", "1MiB", _size, "The longest query text that is read."),
    Setting("result_limit", "256MiB", _size, "The largest answer to a query; past that it is an error, never a part."),
    Setting("document_limit", "4MiB", _size, "The largest single document that is read."),
    Setting("batch_limit", "256MiB", _size, "The largest file that holds many documents (TriG, N-Quads, JSON-LD)."),
    Setting("cache_size", "64MiB", _size, "Memory for answers that are asked for again."),
    Setting("threads", "16", _whole, "How many requests other than waiting queries are worked on at once."),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The settings in force. Sizes are bytes, times are seconds; `base` is empty where none was chosen."""

    data: Path
    bind: str
    base: str
    query_processes: int
    query_timeout: float
    slow_query: float
    query_memory: int
    query_queue: int
    query_limit: int
    result_limit: int
    document_limit: int
    batch_limit: int
    cache_size: int
    threads: int

    @property
    def host(self) -> str:
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def default_base(self) -> str:
        """The base for a new data directory where none was chosen: the address, by a name that browsers take."""
        host = self.bind.rpartition(":")[0]
        if host in ("0.0.0.0", "127.0.0.1", "[::]", "[::1]"):  # noqa: S104 — named, not bound
            host = "localhost"
        return f"http://{host}:{self.port}/"


def read(environment: Mapping[str, str] | None = None, **overrides: Any) -> Config:
    """The settings of an environment (default: this process's), with `overrides` by name before them.

    Raises `ConfigurationError` for a value that cannot be read and for a `KG_…` variable that is no setting.
    """
    environment = os.environ if environment is None else environment
    known = {setting.variable for setting in SETTINGS}
    for variable in environment:
        if variable.startswith("KG_") and variable not in known:
            raise ConfigurationError(
                f"{variable} is not a setting; there are {', '.join(sorted(known))}", setting=variable
            )
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        override = overrides.get(setting.name)
        text = environment.get(setting.variable, setting.default) if override is None else str(override)
        try:
            values[setting.name] = setting.read(text)
        except ValueError as error:
            raise ConfigurationError(f"{setting.variable} {error}; got {text!r}", setting=setting.variable) from None
    return Config(**values)


def as_environment(config: Config) -> dict[str, str]:
    """The same settings as environment variables, for a process that is started with them."""
    return {setting.variable: str(getattr(config, setting.name)) for setting in SETTINGS}
