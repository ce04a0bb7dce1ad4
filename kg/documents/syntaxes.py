"""The ways in which RDF is written here: media types, suffixes, the vocabulary's JSON-LD context, and triples as they come in each.

Hides the serialiser. Promises that a syntax is named in one place, and that its suffix and media type find it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox

from kg import assets
from kg.errors import UnsupportedMediaType
from kg.terms import PREFIXES


@dataclass(frozen=True)
class Syntax:
    """A way to write RDF: its registered media type, the suffix of its files, and whether it can name graphs."""

    name: str
    media_type: str
    suffix: str
    rdf_format: ox.RdfFormat
    graphs: bool


TURTLE = Syntax("Turtle", "text/turtle", "ttl", ox.RdfFormat.TURTLE, False)
JSON_LD = Syntax("JSON-LD", "application/ld+json", "jsonld", ox.RdfFormat.JSON_LD, True)
N_TRIPLES = Syntax("N-Triples", "application/n-triples", "nt", ox.RdfFormat.N_TRIPLES, False)
RDF_XML = Syntax("RDF/XML", "application/rdf+xml", "rdf", ox.RdfFormat.RDF_XML, False)
TRIG = Syntax("TriG", "application/trig", "trig", ox.RdfFormat.TRIG, True)
N_QUADS = Syntax("N-Quads", "application/n-quads", "nq", ox.RdfFormat.N_QUADS, True)
SYNTAXES = (TURTLE, JSON_LD, N_TRIPLES, RDF_XML, TRIG, N_QUADS)


def syntax_of_suffix(suffix: str) -> Syntax:
    """The syntax of a file by its suffix, without the dot. Raises `UnsupportedMediaType`."""
    for syntax in SYNTAXES:
        if syntax.suffix == suffix.lower():
            return syntax
    known = [f".{syntax.suffix}" for syntax in SYNTAXES]
    raise UnsupportedMediaType(
        f"no syntax of RDF has the suffix .{suffix}; use one of {', '.join(known)}", supported=known
    )


@functools.cache
def context() -> dict[str, Any]:
    """The JSON-LD context of the vocabulary, as an object `{"@context": …}`."""
    loaded: dict[str, Any] = json.loads((assets.folder("ontology") / "context.jsonld").read_text("utf-8"))
    return loaded


def to_bytes(statements: Iterable[ox.Triple] | Iterable[ox.Quad], syntax: Syntax) -> bytes:
    """Any triples or quads as they come, in a syntax, with the common prefixes where it has any."""
    written = ox.serialize(statements, format=syntax.rdf_format, prefixes=PREFIXES)
    assert written is not None  # None only where an output is given
    return written
