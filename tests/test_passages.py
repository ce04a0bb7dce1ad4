"""Places in texts: what a parser read stands on the line that is told for it, and what is in doubt is not told."""

from __future__ import annotations

from pathlib import Path

import generate
import pyoxigraph as ox
import pytest

from kg import assets, documents
from kg.documents import JSON_LD, N_QUADS, N_TRIPLES, RDF_XML, TRIG, TURTLE, Document, Syntax
from kg.passages import Passages, Place, kept_lines
from kg.terms import EKG, PREFIXES, RDF_TYPE, Base

BASE = Base("https://kg.example/")
OA = PREFIXES["oa"]

TEXT = """\
@prefix ekg: <https://w3id.org/ekg/ns#> .
PREFIX oa: <http://www.w3.org/ns/oa#>
@prefix schema: <https://schema.org/> . # a comment with <article/x> and "quotes
@prefix : <article/x#> .

<article/x> a ekg:Article ;
    schema:headline "One ; two . three #4"@en , \"\"\"Long
and [ longer ]\"\"\"@en ;
    schema:wordCount 12 .

:s1 a ekg:Claim, ekg:SpeechAct ;
    ekg:stance ekg:Affirms ,
               ekg:Denies ;;
    ekg:evidence :e1 .

:e1 a ekg:Evidence ;
    oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "caf\\u00E9" ] ,
                   [ a oa:TextPositionSelector ;
                     oa:start 3 ] .

:e2 a ekg:Evidence ;
    oa:hasSelector [ oa:exact "same" ] ;
    oa:hasSelector [ oa:prefix "a" ; oa:exact "same" ] .
"""


def places(text: str, syntax: Syntax = TURTLE, relative_to: str = BASE.iri) -> tuple[Passages, list[Document]]:
    found = documents.parse(text.encode(), syntax, BASE, relative_to=relative_to, limit=2**20)
    return Passages(text, syntax, BASE, relative_to, found), found


def selectors(found: list[Document], evidence: str) -> dict[str, str]:
    """The names of the parts of a quotation, by the last property that tells one from the other."""
    triples = [triple for document in found for triple in document.triples]
    parts = [t.object for t in triples if t.predicate.value == OA + "hasSelector" and t.subject.value == evidence]
    return {
        "|".join(
            sorted(t.predicate.value.removeprefix(OA) for t in triples if t.subject == part and OA in str(t.predicate))
        ): str(part)
        for part in parts
    }


X = BASE.document("article", "x")


@pytest.mark.parametrize(
    ("focus", "path", "value", "place"),
    [
        (X, None, None, Place(6, "node")),
        (X, RDF_TYPE, EKG + "Article", Place(6, "value")),
        (X, "https://schema.org/headline", "One ; two . three #4", Place(7, "value")),
        (X, "https://schema.org/headline", "Long\nand [ longer ]", Place(7, "value")),
        (X, "https://schema.org/wordCount", "12", Place(9, "value")),
        (X, "https://schema.org/publisher", None, Place(6, "node")),
        (X + "#s1", EKG + "stance", EKG + "Denies", Place(13, "value")),
        (X + "#s1", EKG + "stance", None, Place(12, "property")),
        (X + "#s1", EKG + "stance", EKG + "Entertains", Place(12, "property")),
        (X + "#s1", EKG + "speaker", None, Place(11, "node")),
        # What is wrong with a part may be told of the document: the part is where to look.
        (X, EKG + "stance", X + "#s1", Place(12, "property")),
        (X + "#s9", None, None, None),
        ("https://elsewhere.example/", None, None, None),
    ],
)
def test_a_place_is_as_near_as_the_text_allows(focus: str, path: str | None, value: str | None, place: Place) -> None:
    passages, _ = places(TEXT)
    assert passages.find(focus, path, value) == place


def test_a_part_without_a_name_is_known_by_what_leads_to_it_and_what_it_says() -> None:
    passages, found = places(TEXT)
    first = selectors(found, X + "#e1")
    assert passages.find(first["exact"], OA + "exact", "café") == Place(17, "value")
    assert passages.find(first["start"], OA + "start", None) == Place(19, "property")
    assert passages.find(first["start"], OA + "end", None) == Place(18, "node")
    second = selectors(found, X + "#e2")
    assert passages.find(second["exact|prefix"], OA + "prefix", "a") == Place(23, "value")
    assert passages.find(second["exact"], OA + "exact", None) == Place(22, "property")
    assert passages.find("_:unknown") is None


def test_names_resolve_against_the_document_that_is_meant() -> None:
    passages, _ = places("<>\n a <#C> .\n<#s1>\n <p> 'x' .", relative_to=X)
    assert passages.find(X, RDF_TYPE, X + "#C") == Place(2, "value")
    assert passages.find(X + "#s1", BASE.iri + "article/p", "x") == Place(4, "value")
    declared, _ = places(f"@base <{X}> .\n\n<> a <#C> .")
    assert declared.find(X) == Place(3, "node")


@pytest.mark.parametrize("path", assets.files("seeds", "**/*.ttl"), ids=lambda path: path.stem)
def test_every_statement_of_the_seeds_is_found_where_it_stands(path: Path) -> None:
    text = path.read_text("utf-8")
    passages, found = places(text)
    lines = text.split("\n")
    for document in found:
        for t in document.triples:
            if isinstance(t.object, ox.BlankNode):
                continue
            focus = str(t.subject) if isinstance(t.subject, ox.BlankNode) else t.subject.value
            value = str(t.object.value)  # type: ignore[union-attr]
            place = passages.find(focus, t.predicate.value, value)
            assert place is not None
            assert place.what == "value"
            if isinstance(t.object, ox.Literal) and len(value) < 60 and "\n" not in value and '"' not in value:
                assert value in lines[place.line - 1]


@pytest.mark.parametrize("syntax", [TURTLE, TRIG, N_TRIPLES, N_QUADS], ids=lambda syntax: syntax.name)
def test_what_the_service_writes_is_found_in_every_syntax(syntax: Syntax) -> None:
    for text in list(generate.texts(12)):
        document = text.document(BASE)
        written = documents.serialize(document, syntax, BASE).decode()
        passages, _ = places(written, syntax)
        for t in document.triples:
            if isinstance(t.subject, ox.NamedNode) and not isinstance(t.object, ox.BlankNode):
                place = passages.find(t.subject.value, t.predicate.value, str(t.object.value))  # type: ignore[union-attr]
                assert place is not None
                assert place.what == "value"


@pytest.mark.parametrize("syntax", [JSON_LD, RDF_XML], ids=lambda syntax: syntax.name)
def test_of_other_syntaxes_only_the_line_of_a_name_is_told(syntax: Syntax) -> None:
    document = generate.actor("x", label="X").document(BASE)
    written = documents.serialize(document, syntax, BASE).decode()
    passages, _ = places(written, syntax)
    place = passages.find(document.iri, RDF_TYPE, EKG + "Actor")
    assert place is not None
    assert place.what == "name"
    assert "actor/x" in written.split("\n")[place.line - 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "x:y a x:z .",
        "<a> <b> ( <c> ( <d> ) ) .",
        "<a> <b> [ " * 300,
        '"""',
        "{ { {",
        "@prefix",
        "<a> <b> 'c'^<d> .",
    ],
)
def test_a_text_that_cannot_be_followed_has_no_places_and_no_fault(text: str) -> None:
    assert Passages(text, TURTLE, BASE, BASE.iri).find(X, RDF_TYPE) is None


def test_a_large_text_has_the_lines_of_its_nodes_only() -> None:
    text = "# " + "x" * 2**18 + "\n" + TEXT
    passages, _ = places(text)
    assert passages.find(X + "#s1", EKG + "stance", EKG + "Denies") == Place(12, "name")


def test_lines_are_kept_with_those_around_them() -> None:
    assert kept_lines("a\r\nb\nc", [1, 3]) == {1: [(1, "a"), (2, "b")], 3: [(2, "b"), (3, "c")]}
