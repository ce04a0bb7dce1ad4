"""The names everyone uses: namespaces, prefixes, and the rule by which documents get their IRIs.

Promises that `Base` is the only place which takes an IRI apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from kg.errors import ConfigurationError

EKG = "https://w3id.org/ekg/ns#"
EKG_SHAPES = "https://w3id.org/ekg/shapes#"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
XSD = "http://www.w3.org/2001/XMLSchema#"
SCHEMA = "https://schema.org/"
SKOS = "http://www.w3.org/2004/02/skos/core#"
SH = "http://www.w3.org/ns/shacl#"
ORG = "http://www.w3.org/ns/org#"

RDF_TYPE = RDF + "type"
RDFS_LABEL = RDFS + "label"

#: In the order in which serialisations declare them.
PREFIXES: dict[str, str] = {
    "ekg": EKG,
    "schema": SCHEMA,
    "prov": "http://www.w3.org/ns/prov#",
    "oa": "http://www.w3.org/ns/oa#",
    "sem": "http://semanticweb.cs.vu.nl/2009/11/sem/",
    "org": ORG,
    "time": "http://www.w3.org/2006/time#",
    "geo": "http://www.opengis.net/ont/geosparql#",
    "sf": "http://www.opengis.net/ont/sf#",
    "skos": SKOS,
    "dcterms": "http://purl.org/dc/terms/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "sh": SH,
    "rdf": RDF,
    "rdfs": RDFS,
    "xsd": XSD,
}

#: The six kinds of document and the class that the document's own IRI has.
KINDS: dict[str, str] = {
    "article": EKG + "Article",
    "actor": EKG + "Actor",
    "place": EKG + "Place",
    "agreement": EKG + "Agreement",
    "event": EKG + "Event",
    "proposition": EKG + "Proposition",
}

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
SLUG_LIMIT = 120


@dataclass(frozen=True)
class Base:
    """The IRI under which one deployment names its documents: absolute, http or https, ending in `/`.

    Raises `ConfigurationError` for anything else, so that a `Base` in hand is always usable.
    """

    iri: str

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.iri)
            usable = (
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and (parts.port is None or parts.port > 0)
                and not parts.query
                and not parts.fragment
                and self.iri.endswith("/")
                and not re.search(r'[\x00-\x20<>"{}|\\^`]', self.iri)
            )
        except ValueError:  # half an IPv6 address, a port that is no number
            usable = False
        if not usable:
            raise ConfigurationError(
                f"the base must be an http or https IRI that ends in a slash, such as https://example.org/kg/; got {self.iri!r}",
                setting="KG_BASE",
            )

    def __str__(self) -> str:
        return self.iri

    def document(self, kind: str, slug: str) -> str:
        """The IRI of the document of this kind (`article`, …) and slug, whether or not it exists."""
        return f"{self.iri}{kind}/{slug}"

    def holds(self, iri: str) -> bool:
        """Whether the IRI lies under this base, so that it must be a document's, or part of one."""
        return iri.startswith(self.iri)

    def document_of(self, iri: str) -> str | None:
        """The IRI of the document that may speak about this IRI: itself, without its fragment.

        None for an IRI of another base, and for one that is not `{base}{kind}/{slug}` with a well-formed slug.
        """
        document, _, _ = iri.partition("#")
        if not document.startswith(self.iri):
            return None
        kind, _, slug = document.removeprefix(self.iri).partition("/")
        if kind not in KINDS or not SLUG.fullmatch(slug) or len(slug) > SLUG_LIMIT:
            return None
        return document

    def kind_of(self, document: str) -> str:
        """The kind (`article`, …) of a document's IRI, as given by `document_of`."""
        return document.removeprefix(self.iri).partition("/")[0]


def shorten(iri: str, base: Base | None = None) -> str:
    """The IRI as people write it: `ekg:speaker`, `actor/russia`, or as it is where neither applies."""
    if base is not None and base.holds(iri):
        return iri.removeprefix(base.iri)
    for prefix, namespace in PREFIXES.items():
        if iri.startswith(namespace) and re.fullmatch(r"\w[\w-]*", iri.removeprefix(namespace)):
            return f"{prefix}:{iri.removeprefix(namespace)}"
    return iri


def language_rank(language: str | None, wanted: Sequence[str]) -> int:
    """The place of a language among those wanted, 0 for the best; `en-GB` is content with `en`, and the other way round
    (RFC 4647, sections 3.3.1 and 3.4)."""
    tag = (language or "").lower()
    for place, other in enumerate(wanted):
        if tag == other or (tag and (tag.startswith(other + "-") or other.startswith(tag + "-"))):
            return place
    return len(wanted)
