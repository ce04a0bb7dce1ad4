"""The settings: one table, from which the environment, the flags of `kg serve` and the documentation are read.

A setting `query_timeout` is `KG_QUERY_TIMEOUT` in the environment and `--query-timeout` as a flag. An unknown `KG_…`
variable is an error, because a misspelt limit is no limit.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


def _endpoint(text: str) -> str:
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or re.search(r"\s", text):
        raise ValueError("must be an http or https address, such as https://db.example/sparql")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; KG_ENGINE_USER and KG_ENGINE_SECRET_FILE are for those")
    return text


def _place(path: str) -> str:
    return str(Path(path).resolve()) if path else path


@dataclass(frozen=True)
class Endpoint:
    """A SPARQL endpoint elsewhere. With `internal`, its name may lead to addresses that are not public."""

    scheme: str
    host: str
    port: int
    path: str
    internal: bool = False

    @classmethod
    def read(cls, text: str) -> Endpoint:
        """The endpoint of an IRI, `internal:` before it or not. Raises `ValueError`, saying what the text must or must not."""
        internal, iri = text.startswith("internal:"), text.removeprefix("internal:")
        if not re.fullmatch(r"https?://[!#-;=?-\[\]_a-z~]+", iri, re.IGNORECASE | re.ASCII):
            raise ValueError("must be an absolute http or https IRI in ASCII: punycode in names, %-encoding in paths")
        if re.search(r"[?#]", iri):
            raise ValueError("must not have a query string or fragment")
        try:
            parts = urlsplit(iri)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port == 0:
            raise ValueError("must have a host, and a port from 1 to 65535 if any")
        if "@" in parts.netloc:
            raise ValueError("must not have a user or password")
        return cls(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], parts.path or "/", internal)

    @property
    def address(self) -> tuple[str, str, int, str]:
        """What must be equal for two endpoints to be the same."""
        return self.scheme, self.host, self.port, self.path

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address itself, where the endpoint is named by it."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def iri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == {"http": 80, "https": 443}[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def endpoints(text: str) -> tuple[Endpoint, ...]:
    """The endpoints of a list with commas or blanks between them. Raises `ValueError`."""
    read = []
    for item in re.split(r"[\s,]+", text.strip(" ,\t\r\n")):
        try:
            read += [Endpoint.read(item)] if item else []
        except ValueError as error:
            raise ValueError(f"lists {item}, which {error}") from None
    return tuple(read)


def _endpoints(text: str) -> str:
    endpoints(text)
    return text


@dataclass(frozen=True)
class Setting:
    """One row of the table. `default` is text, as in the environment, and goes through `read` like any other value.

    What is `secret` is taken from the environment only, because other users of a machine can read the flags of a process, and
    is never shown.
    """

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    secret: bool = False

    @property
    def variable(self) -> str:
        return "KG_" + self.name.upper()


def _addresses(text: str) -> str:
    """IP addresses with commas or blanks between them, each in its usual spelling."""
    return ",".join(str(ipaddress.ip_address(part)) for part in text.replace(",", " ").split())


#: Two at the least, so that one is kept for quick queries.
_CORES = str(max(2, os.cpu_count() or 1))

SETTINGS: tuple[Setting, ...] = (
    Setting("data", "data", Path, "The data directory: journal, index and snapshots."),
    Setting("bind", "127.0.0.1:8000", _address, "The address and port to listen on."),
    Setting("base", "", str, "The IRI under which documents are named; fixed when the data directory is created. Default: http://{bind}/."),
    Setting("query_processes", _CORES, _whole, "How many processes evaluate queries. Default: one for each core."),
    Setting("query_timeout", "30", _seconds, "Seconds after which a query is stopped."),
    Setting("slow_query", "5", _seconds, "Seconds from which a query is written to the log."),
    Setting("query_memory", "4GiB", _size, "Memory that one query process may use, and the process that evaluates rules."),
    Setting("query_queue", "64", _whole, "How many queries may wait for a process; past that, callers are told to come back."),
    Setting("query_limit", "1MiB", _size, "The longest query text that is read."),
    Setting("result_limit", "256MiB", _size, "The largest answer to a query; past that it is an error, never a part."),
    Setting("document_limit", "4MiB", _size, "The largest single document that is read."),
    Setting("batch_limit", "256MiB", _size, "The largest file that holds many documents (TriG, N-Quads, JSON-LD)."),
    Setting("judge_timeout", "30", _seconds, "Seconds within which a document that is sent must have been read, and judged."),
    Setting("validate_limit", "1MiB", _size, "The largest body that /validate reads."),
    Setting("validate_rate", "60", _whole, "How many times a minute one address may ask /validate."),
    Setting("cache_size", "64MiB", _size, "Memory for answers that are asked for again."),
    Setting("threads", "16", _whole, "How many requests other than waiting queries are worked on at once."),
    Setting("proxies", "", _addresses, "Addresses of reverse proxies, with commas between them; where one of them asks, its X-Forwarded-For names the caller, for fair turns. Default: none is believed."),
    Setting("service_allow", "", _endpoints, "The endpoints that queries may ask with SERVICE: IRIs with commas or blanks between them. One whose name leads to addresses that are not public (loopback, private networks) needs `internal:` before it, as in internal:http://fuseki:3030/news/sparql; one whose host is such an address itself does not. Default: none."),
    Setting("service_timeout", "10", _seconds, "Seconds within which such an endpoint must have answered."),
    Setting("service_limit", "16MiB", _size, "The largest answer of such an endpoint."),
    Setting("engine", "", _endpoint, "The query address of a SPARQL 1.1 server that takes the place of the index here. Default: the index is kept in the data directory."),
    Setting("engine_update", "", _endpoint, "Where that server takes updates. Default: where it takes queries."),
    Setting("engine_user", "", str, "The user to be there; without one, the secret is a bearer token."),
    Setting("engine_secret", "", str, "The user's password, or the bearer token.", secret=True),
    Setting("engine_secret_file", "", _place, "A file with the password or token, instead of KG_ENGINE_SECRET."),
    Setting("engine_lag", "10000", _whole, "How many revisions that server may be behind before writes are refused."),
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
    proxies: str = ""
    judge_timeout: float = 30.0
    validate_limit: int = 2**20
    validate_rate: int = 60
    service_allow: str = ""
    service_timeout: float = 10.0
    service_limit: int = 16 * 2**20
    engine: str = ""
    engine_update: str = ""
    engine_user: str = ""
    engine_secret: str = field(default="", repr=False)
    engine_secret_file: str = ""
    engine_lag: int = 10_000

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
            shown = re.sub(r"//[^/@]*@", "//…@", text)
            raise ConfigurationError(f"{setting.variable} {error}; got {shown!r}", setting=setting.variable) from None
    return Config(**values)


def as_environment(config: Config) -> dict[str, str]:
    """The same settings as environment variables, for a process that is started with them."""
    return {setting.variable: str(getattr(config, setting.name)) for setting in SETTINGS}
