"""Numbers: for operators whether the service lives and how it does, for machines what the data hold (VoID).

Hides prometheus_client. Numbers that others keep are read when they are asked for, so that nothing is counted twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kg import __version__, describe, documents
from kg.library import Library
from kg.web import negotiation

Figures = Callable[[], Mapping[str, int]]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The numbers of one web process. `cache` gives those of the answers in memory."""

    def __init__(self, library: Library, cache: Figures = dict) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kg_requests", "Requests answered, from memory or not.", ["method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "kg_request_seconds",
            "Time to compute an answer that was not in memory.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_State(library, cache))
        self._counters: dict[tuple[str, int], Counter] = {}  # looking them up by their labels costs more than counting

    def answered(self, method: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None where it came from memory."""
        counter = self._counters.get((method, status))
        if counter is None:
            known = method if method in _METHODS else "other"
            counter = self.requests.labels(known, str(status))
            if known == method:
                self._counters[method, status] = counter
        counter.inc()
        if seconds is not None:
            self.seconds.observe(seconds)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


#: RDF without graphs, in which descriptions are written.
_DESCRIBED = {kind: suffix for kind, suffix in negotiation.RDF_TYPES.items() if suffix not in ("trig", "nq")}


class _State(Collector):
    """What is so at the moment of asking."""

    def __init__(self, library: Library, cache: Figures) -> None:
        self._library = library
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        last, reached = self._library.revision()
        numbers = {
            "kg_revision": (last, "The newest revision in the journal."),
            "kg_revision_lag": (last - reached, "Revisions that queries do not see yet."),
        }
        for name, value in self._library.engine.figures().items():
            numbers[f"kg_query_{name}"] = (value, f"Query processes: {name}.")
        for name, value in self._cache().items():
            numbers[f"kg_cache_{name}"] = (value, f"Answers in memory: {name}.")
        for name, (value, text) in numbers.items():
            yield GaugeMetricFamily(name, text, value)
        documents = GaugeMetricFamily("kg_documents", "Documents there are now.", labels=["kind"])
        for kind, count in self._library.journal.counts().items():
            documents.add_metric([kind], count)
        yield documents
        sizes = GaugeMetricFamily(
            "kg_disk_bytes", "Disk that the data directory takes; hard links once.", labels=["part"]
        )
        for part, size in disk_use(self._library.config.data).items():
            sizes.add_metric([part], size)
        yield sizes


def disk_use(directory: Path) -> dict[str, int]:
    """Bytes on disk of each part of a data directory; a file that several share is counted where it comes first."""
    seen: set[tuple[int, int]] = set()
    sizes = {"journal": 0, "index": 0, "snapshots": 0, "spool": 0}
    for root, _, names in os.walk(directory):
        part = Path(root).relative_to(directory).parts[:1]
        for name in names:
            try:
                info = (Path(root) / name).stat()
            except FileNotFoundError:
                continue
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                key = part[0].partition("-")[0] if part else "journal"
                sizes[key] = sizes.get(key, 0) + info.st_blocks * 512
    return sizes


def blueprint(library: Library, metrics: Metrics) -> Blueprint:
    """The routes `/health`, `/health/live`, `/health/ready`, `/metrics` and `/.well-known/void`."""
    routes = Blueprint("operations", __name__)

    @routes.get("/health")
    def health() -> Response:
        last, reached = library.revision()
        figures = library.engine.figures()
        status = "the SPARQL server is away" if figures.get("away") else "ok" if last == reached else "catching up"
        return jsonify(
            status=status,
            version=__version__,
            base=library.base.iri,
            revision=last,
            reached=reached,
            facts="behind, see the log" if figures.get("rules_behind") else "ok",
            documents=library.journal.counts(),
        )

    @routes.get("/health/live")
    def live() -> Response:
        return jsonify(status="ok")

    @routes.get("/health/ready")
    def ready() -> tuple[Response, int]:
        last, reached = library.revision()
        ok = reached > 0 or last == 0
        return jsonify(
            status="ok" if ok else "no revision is published yet", revision=last, reached=reached
        ), 200 if ok else 503

    @routes.get("/.well-known/void")
    def void() -> Response:
        media_type = negotiation.choose(request.headers.get("Accept"), list(_DESCRIBED))
        revision, modified, census = library.journal.census()
        triples = describe.dataset(library.base, census, revision, modified)
        body = documents.write(triples, _DESCRIBED[media_type], library.base)
        response = Response(
            body, content_type=f"{media_type}; charset=utf-8" if media_type == "text/turtle" else media_type
        )
        response.vary.add("Accept")
        response.headers["KG-Revision"] = str(revision)  # with which the answer is kept until the next
        response.headers["Cache-Control"] = "public, no-cache"
        return response

    @routes.get("/metrics")
    def numbers() -> Response:
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    return routes
