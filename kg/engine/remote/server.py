"""Another SPARQL 1.1 server, as two addresses and who we are there: what can be asked of it and sent to it.

Hides SPARQLWrapper, HTTP, credentials and the habits of servers. Promises that a deadline is one, however slowly bytes trickle; that
every failure of the server or the way to it is an `EngineUnavailable`, a `Refusal` or a `TimeoutError`; and that nothing goes
anywhere but to the two addresses.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SPARQLWrapper import BASIC, POST, URLENCODED, SPARQLWrapper

from kg.config import Config
from kg.engine import Kind, Query
from kg.engine.exchange import Exchange, Refusal, Response, opener
from kg.errors import ConfigurationError, EngineUnavailable, QueryError, QueryTimeout, ResultTooLarge
from kg.terms import SCHEMA, Base

log = logging.getLogger("kg.index")

#: Seconds for one update request, and for asking how far the server is.
_UPDATE_SECONDS = 120.0
_STATE_SECONDS = 10.0

#: What is asked of the server. JSON first: Virtuoso's XML alters literals, its TSV is none, its Turtle makes decimals of doubles.
_ACCEPTED = {
    "solutions": "application/sparql-results+json, application/sparql-results+xml;q=0.5",
    "triples": "application/n-triples, text/turtle;q=0.5, application/rdf+xml;q=0.3",
}


@dataclass(frozen=True)
class State:
    """How far a server says it is."""

    revision: int
    digest: str
    made_by: str


class Server:
    """The server. `virtuoso` tells whether it has answered as one."""

    def __init__(self, config: Config) -> None:
        self.url = config.engine
        self.update_url = config.engine_update or config.engine
        self._user = config.engine_user
        self._secret = _read_secret(config)
        self._scheme = ""  # how it asks who we are, once it has
        self._tls = ssl.create_default_context()
        self.virtuoso = False

    def __str__(self) -> str:
        return f"the SPARQL server at {self.url}"

    # Three things to ask of it

    @contextlib.contextmanager
    def ask(self, query: Query, text: str, kind: Kind, deadline: float, exchange: Exchange[Any]) -> Iterator[Response]:
        """The answer to a query, to be read within the block."""
        request = self._request(self.url, "CONSTRUCT" if kind == "triples" else "SELECT", deadline, exchange)
        request.setQuery(text)
        request.addCustomHttpHeader("Accept", _ACCEPTED["triples" if kind == "triples" else "solutions"])
        for graph in query.default_graphs:
            request.addDefaultGraph(graph)
        for graph in query.named_graphs:
            request.addNamedGraph(graph)
        with self._send(request) as raw:
            if cap := raw.headers.get("X-SPARQL-MaxRows"):
                raise ResultTooLarge(
                    f"{self} cuts answers at {cap} rows; ask for it in parts, with LIMIT and OFFSET", limit=int(cap)
                )
            if raw.headers.get("X-SQL-State"):
                raise QueryTimeout(f"{self} gave the query up: {raw.headers.get('X-SQL-Message', 'it took too long')}")
            yield Response(str(self), raw)

    def select(self, text: str, seconds: float = _STATE_SECONDS) -> list[dict[str, str]]:
        """The rows of a query of our own, as text. Raises `EngineUnavailable`."""
        deadline = time.monotonic() + seconds
        exchange: Exchange[bytes] = Exchange()

        def work() -> bytes:
            with self.ask(Query(text), text, "solutions", deadline, exchange) as response:
                parts = list(iter(response.read, b""))
                response.require_end()
                return b"".join(parts)

        try:
            body = json.loads(exchange.perform(work, deadline))
            return [{name: term["value"] for name, term in row.items()} for row in body["results"]["bindings"]]
        except (Refusal, QueryError, OSError) as error:
            raise self._unavailable(error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineUnavailable(
                f"{self} does not answer as a SPARQL server does; is it the address of one?"
            ) from None

    def update(self, operations: Sequence[str]) -> None:
        """Send one update request. Raises `EngineUnavailable`."""
        deadline = time.monotonic() + _UPDATE_SECONDS
        exchange: Exchange[None] = Exchange()

        def work() -> None:
            request = self._request(self.update_url, "INSERT", deadline, exchange)
            request.setQuery(" ;\n".join(operations))
            request.addCustomHttpHeader("Accept", "*/*")
            with self._send(request) as raw:
                raw.read(65_536)

        try:
            exchange.perform(work, deadline)
        except (Refusal, QueryError, OSError) as error:
            raise self._unavailable(error, updating=True) from None

    # What is asked with them

    def state(self, base: Base) -> State | None:
        """How far it is with this base; None if it says nothing. Raises `ConfigurationError` if it holds another base, or hides
        named graphs from queries that name none."""
        rows = self.select(
            f"SELECT ?of ?revision ?digest ?seen ?rules WHERE {{"
            f" GRAPH ?g {{ ?of <{SCHEMA}version> ?revision ; <{SCHEMA}sha256> ?digest }}"
            f" OPTIONAL {{ ?of <{SCHEMA}version> ?seen }}"
            f" OPTIONAL {{ ?of <{SCHEMA}softwareVersion> ?rules }}"
            f' FILTER(STR(?g) = CONCAT(STR(?of), "revision")) }}'
        )
        for row in rows:
            if row["of"] != base.iri:
                raise ConfigurationError(
                    f"{self} holds the graph of the base {row['of']}, this one is for {base}; queries would see both, so each "
                    "needs a server or dataset of its own",
                    setting="KG_ENGINE",
                )
            if "seen" not in row:
                raise ConfigurationError(
                    f"{self} does not let queries see the union of its graphs by default. Oxigraph: start it with "
                    "`oxigraph serve --union-default-graph`; Fuseki: set tdb2:unionDefaultGraph to true; Stardog: set "
                    "query.all.graphs to true",
                    setting="KG_ENGINE",
                )
        return State(int(rows[0]["revision"]), rows[0]["digest"], rows[0].get("rules", "")) if rows else None

    def require_whole_answers(self) -> None:
        """Raises `ConfigurationError` for a Virtuoso that cuts answers: it does so to graphs without a word. Once it has answered."""
        if not self.virtuoso:
            return
        try:
            rows = self.select('SELECT (bif:virtuoso_ini_item_value("SPARQL", "ResultSetMaxRows") AS ?cap) WHERE { }')
        except EngineUnavailable as error:
            log.warning("it is not known whether %s cuts graphs: %s", self, error.detail)
            return
        if rows and (cap := rows[0].get("cap")):
            raise ConfigurationError(
                f"{self} is a Virtuoso that cuts graphs after {cap} solutions and does not say so; take ResultSetMaxRows out of the "
                "section [SPARQL] of its configuration",
                setting="KG_ENGINE",
            )

    # How

    def _request(self, url: str, form: str, deadline: float, exchange: Exchange[Any]) -> _Request:
        login = (self._user, self._secret) if self._user and self._secret else None
        director = opener(exchange, self._tls, url, login, self._asked)
        request = _Request(url, form, director, max(0.001, deadline - time.monotonic()))
        if login is not None and self._scheme == "basic":
            request.setHTTPAuth(BASIC)
            request.setCredentials(self._user, self._secret)
        elif self._secret and not self._user:
            request.addCustomHttpHeader("Authorization", f"Bearer {self._secret}")
        return request

    @contextlib.contextmanager
    def _send(self, request: _Request) -> Iterator[http.client.HTTPResponse]:
        """The response of a request that succeeded. Raises `Refusal`, `EngineUnavailable` or `TimeoutError`."""
        try:
            response = request.query().response
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(65_536).decode("utf-8", "replace")
            raise Refusal(str(self), error.code, error.headers, text) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise TimeoutError from None
            raise EngineUnavailable(f"{self} cannot be reached: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError):
                raise
            raise EngineUnavailable(f"{self} broke off: {error or type(error).__name__}") from None
        with response:
            self.virtuoso = self.virtuoso or "virtuoso" in response.headers.get("Server", "").lower()
            yield response

    def _asked(self, scheme: str) -> None:
        self._scheme = scheme

    def _unavailable(self, error: Exception, *, updating: bool = False) -> EngineUnavailable:
        what = f"{self.update_url} did not take an update" if updating else f"{self} could not be asked"
        if isinstance(error, TimeoutError):
            return EngineUnavailable(f"{what}: no answer in time")
        if isinstance(error, Refusal):
            known = error.as_error()
            if isinstance(known, EngineUnavailable):
                return known
            return EngineUnavailable(f"{what} ({error.status}): {error.text}")
        return EngineUnavailable(f"{what}: {error}")


class _Request(SPARQLWrapper):
    """SPARQLWrapper, sent through an opener of ours: its own is the process's, follows redirections anywhere, and knows no deadline."""

    def __init__(self, url: str, form: str, opener: urllib.request.OpenerDirector, timeout: float) -> None:
        self._form, self._opener, self._patience = form, opener, timeout
        super().__init__(url, agent="event-knowledge-graph")
        self.setMethod(POST)
        # Virtuoso hangs on queries that come as a body of their own.
        self.setRequestMethod(URLENCODED)
        self.setOnlyConneg(True)

    def _parseQueryType(self, query: str) -> str:  # noqa: N802 — its name there
        """What we know already; the original runs regular expressions that backtrack over whatever somebody sent."""
        return self._form

    def _query(self) -> tuple[http.client.HTTPResponse, str]:
        return self._opener.open(self._createRequest(), timeout=self._patience), self.returnFormat


def _read_secret(config: Config) -> str:
    if not config.engine_secret_file:
        return config.engine_secret
    try:
        return Path(config.engine_secret_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"KG_ENGINE_SECRET_FILE: {config.engine_secret_file} cannot be read: {reason}",
            setting="KG_ENGINE_SECRET_FILE",
        ) from None
