"""Documents: one canonical form whatever the syntax, every kind of bad input with its own error, and nothing ever fetched."""

from __future__ import annotations

import json
import random
import socket
import string
import sys
from collections.abc import Iterator

import pyoxigraph as ox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kg import documents
from kg.documents import JSON_LD, N_QUADS, N_TRIPLES, RDF_XML, SYNTAXES, TRIG, TURTLE, Document, Syntax
from kg.errors import (
    DocumentError,
    DocumentTooLarge,
    MalformedDocument,
    RemoteReference,
    TangledBlankNodes,
    UnplaceableDocument,
    UnsupportedMediaType,
)
from kg.terms import RDF, XSD, Base

BASE = Base("https://kg.example/")
X = "https://kg.example/actor/x"
PLENTY = 10**9
SOUND = "<actor/x> a <urn:c> ."
XML = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:u="urn:" xml:base="https://kg.example/">'
    '<rdf:Description rdf:about="actor/x">{}</rdf:Description></rdf:RDF>'
)


def parse(text: str | bytes, syntax: Syntax = TURTLE, **keywords: object) -> list[Document]:
    data = text.encode() if isinstance(text, str) else text
    return documents.parse(data, syntax, BASE, limit=PLENTY, **keywords)  # type: ignore[arg-type]


def one(text: str | bytes, syntax: Syntax = TURTLE) -> Document:
    (found,) = parse(text, syntax)
    return found


def refusal(text: str | bytes, syntax: Syntax = TURTLE) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse(text, syntax)
    return caught.value


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Any attempt to reach another machine fails the test, whatever becomes of the error."""
    attempts: list[object] = []

    def attempt(self: socket.socket, address: object) -> None:
        attempts.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", attempt)
    yield attempts
    assert attempts == []


# Random documents

PREDICATES = [
    "https://schema.org/name",
    "https://w3id.org/ekg/ns#speaker",
    "http://www.w3.org/2000/01/rdf-schema#label",
    "https://kg.example/own",
    "https://example.org/a-b.c",
    "https://example.org/123",
    "https://example.org/Київ",
    "https://example.org/?q=1&r=2",
    "urn:p",
    RDF + "_1",
    RDF + "first",
]

names = st.text(string.ascii_lowercase + string.digits + "éїк한-._~", min_size=1, max_size=8)
iris = st.one_of(
    st.builds("https://example.org/{}".format, names),
    st.builds("{}#{}".format, st.just(X), names),
    st.builds("https://kg.example/place/{}".format, names),
    st.just("urn:a%20b"),
    st.just(X),
    st.just(RDF + "nil"),
).map(ox.NamedNode)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))) + "\ufffe\uffff")
texts = st.text(st.one_of(characters, st.sampled_from("\t\n\r\"'\\<>&{}@^#\x85\u2028\u0301ї한😀")), max_size=20)
literals = st.one_of(
    texts.map(ox.Literal),
    st.builds(
        lambda text, language: ox.Literal(text, language=language),
        texts,
        st.sampled_from(["en", "uk", "ko", "en-US", "zh-Hant-TW", "x-private", "de-1996"]),
    ),
    st.builds(
        lambda text, datatype: ox.Literal(text, datatype=ox.NamedNode(datatype)),
        st.one_of(texts, st.sampled_from(["1", "01", "+1", "1.0", "1e0", "true", "1", "INF", "2024-01-01", "{}"])),
        st.sampled_from([XSD + n for n in ("integer", "decimal", "double", "boolean", "date", "string")])
        | st.just("urn:dt"),
    ),
)
subjects = st.one_of(st.just(X), st.builds("{}#{}".format, st.just(X), names)).map(ox.NamedNode)


@st.composite
def triples(draw: st.DrawFn) -> list[ox.Triple]:
    """Triples of one document whose blank nodes form trees."""
    found: list[ox.Triple] = [ox.Triple(ox.NamedNode(X), ox.NamedNode("urn:p"), ox.Literal("there is one at least"))]

    def describe(subject: ox.NamedNode | ox.BlankNode, depth: int) -> None:
        for _ in range(draw(st.integers(1 if depth == 0 else 0, 3))):
            predicate = ox.NamedNode(draw(st.sampled_from([*PREDICATES, RDF + "type"])))
            value: ox.NamedNode | ox.BlankNode | ox.Literal
            if depth < 3 and draw(st.integers(0, 3)) == 0:
                value = ox.BlankNode()
                describe(value, depth + 1)
            else:
                value = draw(st.one_of(iris, literals))
            found.append(ox.Triple(subject, predicate, value))

    for _ in range(draw(st.integers(1, 3))):
        describe(draw(subjects), 0)
    if draw(st.booleans()):
        describe(ox.BlankNode(), 1)
    return found


def relabelled(statements: list[ox.Triple]) -> list[ox.Triple]:
    """The same statements with other labels for the blank nodes."""
    labels: dict[ox.BlankNode, ox.BlankNode] = {}

    def again(node: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> ox.NamedNode | ox.BlankNode | ox.Literal:
        assert not isinstance(node, ox.Triple)
        return labels.setdefault(node, ox.BlankNode()) if isinstance(node, ox.BlankNode) else node

    return [ox.Triple(again(t.subject), t.predicate, again(t.object)) for t in statements]  # type: ignore[arg-type]


@given(triples(), st.randoms(use_true_random=False))
def test_content_depends_neither_on_order_nor_on_labels_nor_on_repetition(
    statements: list[ox.Triple], chance: random.Random
) -> None:
    document = documents.document(X, statements)
    shuffled = relabelled(statements)
    chance.shuffle(shuffled)
    assert documents.document(X, shuffled) == document
    assert documents.document(X, [*shuffled, *shuffled[:3]]) == document


@settings(max_examples=60, deadline=None)
@given(triples())
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_document_written_in_any_syntax_reads_back_the_same(syntax: Syntax, statements: list[ox.Triple]) -> None:
    document = documents.document(X, statements)
    written = documents.serialize(document, syntax, BASE)
    assert documents.parse(written, syntax, BASE, limit=PLENTY) == [document]
    assert documents.serialize(document, syntax, BASE) == written


@given(triples())
def test_canonical_form_is_sorted_lines_of_canonical_n_triples(statements: list[ox.Triple]) -> None:
    content = documents.document(X, statements).content
    lines = content.split(b"\n")
    assert lines.pop() == b""
    assert lines == sorted(set(lines))
    assert all(line.endswith(b" .") for line in lines)
    # RDF 1.1 N-Triples, section 4: single spaces, and of escapes only those that must be.
    again = b"".join(f"{t.subject} {t.predicate} {t.object} .\n".encode() for t in Document(X, content).triples)
    assert again == content


@given(triples(), st.integers(0, 10))
def test_names_of_blank_nodes_stay_when_another_part_changes(statements: list[ox.Triple], number: int) -> None:
    more = ox.Triple(ox.NamedNode(X + "#another"), ox.NamedNode("urn:p"), ox.Literal(number))
    extended = documents.document(X, [*statements, more])
    lines = set(documents.document(X, statements).content.splitlines())
    assert set(extended.content.splitlines()) == lines | {f"{more} .".encode()}


@given(triples())
def test_names_of_blank_nodes_differ_between_documents(statements: list[ox.Triple]) -> None:
    def blanks(document: Document) -> set[ox.BlankNode]:
        return {t.object for t in document.triples if isinstance(t.object, ox.BlankNode)}

    assert not blanks(documents.document(X, statements)) & blanks(documents.document(X + "y", statements))


@given(st.binary(max_size=200))
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_any_bytes_are_a_document_or_a_document_error(syntax: Syntax, data: bytes) -> None:
    try:
        documents.parse(data, syntax, BASE, limit=PLENTY)
    except DocumentError as error:
        assert error.detail
    else:
        assert data


json_values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from([X, "actor/x", "urn:p", "a", "en", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    *("@context", "@id", "@type", "@value", "@language", "@list", "@set", "@graph", "@reverse"),
                    *("@included", "@direction", "@index", "@nest", "urn:p", "a", "b"),
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_json_is_a_document_or_a_document_error(value: object) -> None:
    try:
        parse(json.dumps(value), JSON_LD)
    except DocumentError as error:
        assert error.detail


def test_equal_content_from_every_syntax() -> None:
    turtle = one(
        "@prefix ekg: <https://w3id.org/ekg/ns#> . <actor/x> a ekg:State ; <urn:p> [ <urn:q> 'a'@en-US, 01 ], <actor/y> ."
    )
    lines = (
        f'<{X}> <{RDF}type> <https://w3id.org/ekg/ns#State> .\n<{X}> <urn:p> _:z .\n_:z <urn:q> "a"@en-us .\n'
        f'_:z <urn:q> "01"^^<{XSD}integer> .\n<{X}> <urn:p> <https://kg.example/actor/y> .\n'
    )
    quads = "".join(line.removesuffix(" .") + f" <{X}> .\n" for line in lines.splitlines())
    json_ld = {
        "@context": "context.jsonld",
        "@id": "actor/x",
        "@type": "State",
        "urn:p": [
            {"urn:q": [{"@value": "a", "@language": "en-US"}, {"@value": "01", "@type": XSD + "integer"}]},
            {"@id": "actor/y"},
        ],
    }
    xml = XML.format(
        '<rdf:type rdf:resource="https://w3id.org/ekg/ns#State"/><u:p rdf:resource="actor/y"/><u:p rdf:parseType="Resource">'
        f'<u:q xml:lang="en-US">a</u:q><u:q rdf:datatype="{XSD}integer">01</u:q></u:p>'
    )
    trig = (
        "GRAPH <actor/x> { <actor/x> a <https://w3id.org/ekg/ns#State> ; <urn:p> [ <urn:q> 'a'@en-us, 01 ], <actor/y> }"
    )
    assert one(lines, N_TRIPLES) == turtle
    assert one(quads, N_QUADS) == turtle
    assert one(json.dumps(json_ld), JSON_LD) == turtle
    assert one(xml, RDF_XML) == turtle
    assert one(trig, TRIG) == turtle


# Reading what is sound


def test_many_documents_come_in_the_order_of_their_iris() -> None:
    found = parse(
        "<actor/b> { <actor/b> a <urn:c> } <actor/a> { <actor/a> a <urn:c> } <actor/b> { <actor/b> a <urn:d> }", TRIG
    )
    assert [(document.iri, len(document.triples)) for document in found] == [
        ("https://kg.example/actor/a", 1),
        ("https://kg.example/actor/b", 2),
    ]


def test_relative_iris_resolve_against_the_address_that_is_given() -> None:
    (found,) = documents.parse(
        b"<#s1> a <urn:c> ; <urn:p> <../actor/y>, <> .",
        TURTLE,
        BASE,
        relative_to="https://kg.example/article/x",
        limit=99,
    )
    assert found.iri == "https://kg.example/article/x"
    assert found.references(BASE) == {"https://kg.example/actor/y", "https://kg.example/article/x"}


def test_foreign_subjects_are_left_to_the_gate() -> None:
    found = one(f"{SOUND} <urn:y> a <urn:c> .")
    assert found.subjects == {X, "urn:y"}


def test_references_are_what_is_pointed_to_under_the_base_and_not_described_here() -> None:
    found = one(
        "<actor/x> <urn:p> <actor/x#t1>, <actor/y>, <actor/x#t9>, <urn:z>, 'https://kg.example/actor/z' . <actor/x#t1> a <actor/k> ."
    )
    names = {"actor/y", "actor/x#t9", "actor/k"}
    assert found.references(BASE) == {f"https://kg.example/{name}" for name in names}


@pytest.mark.parametrize(
    "text", ["Привіт, Києве", "러시아 파병", "اعتراف", "😀", "e\u0301", "\x85\u2028\u2029", "\x7f", "a\r\nb", "\\u0041"]
)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_script_survives(syntax: Syntax, text: str) -> None:
    document = documents.document(X, [ox.Triple(ox.NamedNode(X), ox.NamedNode("urn:p"), ox.Literal(text))])
    (triple,) = one(documents.serialize(document, syntax, BASE), syntax).triples
    assert triple.object == ox.Literal(text)


def test_language_tags_are_one_whatever_their_case() -> None:
    assert one("<actor/x> <urn:p> 'a'@en-US .") == one("<actor/x> <urn:p> 'a'@EN-us .")


def test_iris_with_percent_codes_are_kept_as_written() -> None:
    (triple,) = one("<actor/x> <urn:p> <urn:a%20b%C3%a9> .").triples
    assert triple.object == ox.NamedNode("urn:a%20b%C3%a9")


def test_literals_are_kept_as_written() -> None:
    found = one("<actor/x> <urn:p> 01, +1, 1.0, 1.00, 1e0, '2024-01-01Z'^^<http://www.w3.org/2001/XMLSchema#date> .")
    values = {t.object.value for t in found.triples if isinstance(t.object, ox.Literal)}
    assert values == {"01", "+1", "1.0", "1.00", "1e0", "2024-01-01Z"}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_byte_order_mark_is_no_part_of_the_document(syntax: Syntax) -> None:
    document = one(SOUND)
    assert one(b"\xef\xbb\xbf" + documents.serialize(document, syntax, BASE), syntax) == document


@pytest.mark.parametrize(
    "name",
    ["https://kg.example/context.jsonld", "https://w3id.org/ekg/context.jsonld", "/context.jsonld", "context.jsonld"],
)
def test_own_context_is_known_by_its_addresses(name: str) -> None:
    expected = one("<actor/x> a <https://w3id.org/ekg/ns#State> .")
    assert one(json.dumps({"@context": name, "@id": "actor/x", "@type": "State"}), JSON_LD) == expected
    in_list = {"@context": [name, {"z": "urn:z"}], "@id": "actor/x", "@type": "State"}
    assert one(json.dumps(in_list), JSON_LD) == expected
    in_term = {"@context": {"t": {"@id": "urn:p", "@context": name}}, "@id": "actor/x", "t": {"@type": "State"}}
    assert one(json.dumps(in_term), JSON_LD) == one("<actor/x> <urn:p> [ a <https://w3id.org/ekg/ns#State> ] .")


def test_digest_is_the_sha_256_of_the_content() -> None:
    document = Document(X, b"")
    assert document.digest == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_suffixes_name_their_syntaxes_in_any_case() -> None:
    assert [documents.syntax_of_suffix(s.suffix.upper()) for s in SYNTAXES] == list(SYNTAXES)
    with pytest.raises(UnsupportedMediaType) as caught:
        documents.syntax_of_suffix("txt")
    assert caught.value.facts["supported"] == [".ttl", ".jsonld", ".nt", ".rdf", ".trig", ".nq"]


# What cannot be read


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("data", [b"", b"  \n\t ", b"\xef\xbb\xbf"])
def test_empty_file_is_told_as_such(data: bytes, syntax: Syntax) -> None:
    error = refusal(data, syntax)
    assert type(error) is UnplaceableDocument
    assert error.detail == "there is not one triple in it"


@pytest.mark.parametrize(
    ("text", "syntax"),
    [("# nothing\n", TURTLE), ("<actor/x> { }", TRIG), ("[]", JSON_LD), ("{}", JSON_LD), (XML.format(""), RDF_XML)],
)
def test_file_without_triples_is_told_as_such(text: str, syntax: Syntax) -> None:
    assert refusal(text, syntax).detail == "there is not one triple in it"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told_as_such(encoding: str, syntax: Syntax) -> None:
    mark = "\ufeff" if encoding != "utf-16" else ""
    error = refusal((mark + SOUND).encode(encoding), syntax)
    assert (type(error), error.detail) == (MalformedDocument, "this is UTF-16; save it as UTF-8")
    assert error.facts == {"line": 1, "column": 1}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_latin_1_is_told_with_its_place_counted_in_characters(syntax: Syntax) -> None:
    error = refusal("# Київ\n<actor/x> <urn:ї> ".encode() + b"'\xe9' .", syntax)
    assert (type(error), error.detail) == (MalformedDocument, "this is not UTF-8")
    assert error.facts == {"line": 2, "column": 20}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_binary_is_malformed(syntax: Syntax) -> None:
    assert type(refusal(bytes(range(256)), syntax)) is MalformedDocument
    error = refusal(b"\x00" * 16, syntax)
    assert (type(error), error.facts) == (MalformedDocument, {"line": 1, "column": 1})


NOT_RDF = {
    "HTML": "<!DOCTYPE html>\n<html lang='en'><head><title>News</title></head><body><p>x</body></html>",
    "PDF": "%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "CSV": "actor,claim\nrussia,denied\n",
    "prose": "Russia has admitted.",
}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", NOT_RDF)
def test_what_is_not_rdf_at_all_is_malformed_on_the_first_line(name: str, syntax: Syntax) -> None:
    error = refusal(NOT_RDF[name], syntax)
    expected = RemoteReference if (name, syntax) == ("HTML", RDF_XML) else MalformedDocument
    assert type(error) is expected
    assert error.facts["line"] == 1


@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s is not JSON_LD], ids=lambda syntax: syntax.name)
def test_json_in_another_syntax_is_malformed(syntax: Syntax) -> None:
    error = refusal('{"@id": "actor/x"}', syntax)
    assert (type(error), error.facts["line"]) == (MalformedDocument, 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "detail"),
    [
        ("<actor/x> <urn:p> 1 .\n<actor/x> 'c' 1 .", 2, 11, "'c' is not a valid predicate"),
        ("<actor/x> <urn:p> 1 .\r\n<actor/x> 'c' 1 .", 2, 11, "'c' is not a valid predicate"),
        ("\n\n<actor/x> foo:b 1 .", 3, 11, "The prefix foo: has not been declared"),
        ("<actor/x> <urn:p> 1\n<actor/y> <urn:p> 1 .", 2, 1, "A dot is expected at the end of statements"),
        ("<actor/x> <urn:p> 'Київ' ^ .", 1, 26, "^ is not a valid subject or graph name"),
        ("<actor/x> <urn:p> <urn:a b> .", 1, 19, "Invalid IRI code point ' '"),
        ("<actor/x> <urn:p> <urn:a\\u0020b> .", 1, 19, "Invalid IRI code point ' '"),
        ("<actor/x> <urn:p> <urn:a\\u0001b> .", 1, 19, "Invalid IRI code point '\x01'"),
        ("<actor/x> <urn:p> <urn:a\\u003Eb> .", 1, 19, "Invalid IRI code point '>'"),
        ("<actor/x> <urn:p> <urn:%zz> .", 1, 19, "Invalid IRI percent encoding '%zz'"),
        ("<actor/x> <urn:p> 'a'@toolonglanguage .", 1, 23, "A subtag may be eight characters in length at maximum"),
        ("<actor/x> <urn:p> 'never ends .", 1, 19, "Unexpected end of file"),
    ],
)
def test_syntax_error_in_turtle_is_told_with_line_and_column(text: str, line: int, column: int, detail: str) -> None:
    error = refusal(text)
    assert (type(error), error.detail) == (MalformedDocument, detail)
    assert error.facts == {"line": line, "column": column}


@pytest.mark.parametrize(
    ("text", "syntax", "line", "column"),
    [
        ('{\n "@id": }', JSON_LD, 2, 9),
        ('{"@id": "actor/x"', JSON_LD, 1, 18),
        ("5", JSON_LD, 1, 1),
        ('"actor/x"', JSON_LD, 1, 1),
        ("<a>\n</b>", RDF_XML, 2, 3),
        (XML.format("<u:p>&eacute;</u:p>"), RDF_XML, 1, 154),
        (f"<{X}> <urn:p> <urn:o> .\n<{X}> <urn:p> <urn:a b> .", N_TRIPLES, 2, 38),
        (f"<{X}> <urn:p> <urn:o> <{X}> .\n<{X}> <urn:p> .", N_QUADS, 2, 38),
        ("<actor/x> {\n<actor/x> <urn:p> }", TRIG, 2, 19),
    ],
)
def test_syntax_error_elsewhere_is_told_with_line_and_column(text: str, syntax: Syntax, line: int, column: int) -> None:
    error = refusal(text, syntax)
    assert type(error) is MalformedDocument
    assert error.facts == {"line": line, "column": column}


def test_document_of_fifty_megabytes_is_refused_unread() -> None:
    data = b"\x00" * 50_000_000
    with pytest.raises(DocumentTooLarge) as caught:
        documents.parse(data, TURTLE, BASE, limit=4 * 2**20)
    assert caught.value.detail == "it has 50,000,000 bytes, over the limit of 4,194,304"
    assert caught.value.facts == {"limit": 4 * 2**20}


def test_limit_itself_is_allowed() -> None:
    data = SOUND.encode()
    assert documents.parse(data, TURTLE, BASE, limit=len(data))
    with pytest.raises(DocumentTooLarge):
        documents.parse(data, TURTLE, BASE, limit=len(data) - 1)


def test_prefix_that_stands_for_megabytes_is_refused_before_it_is_written_out() -> None:
    bomb = f"@prefix a: <urn:{'a' * 100_000}> . <actor/x> {'; '.join(['a:x a:y'] * 10_000)} ."
    with pytest.raises(DocumentTooLarge) as caught:
        documents.parse(bomb.encode(), TURTLE, BASE, limit=200_000)
    assert "written in full" in caught.value.detail


# JSON-LD


def nested(depth: int) -> str:
    return '{"@id": "actor/x", ' + '"urn:p": {' * depth + '"urn:q": 1' + "}" * (depth + 1)


def test_json_may_nest_so_deep_and_no_deeper() -> None:
    assert one(nested(documents.BLANK_DEPTH), JSON_LD)
    assert type(refusal(nested(documents.BLANK_DEPTH + 1), JSON_LD)) is TangledBlankNodes
    for text in (
        nested(documents.DEPTH + 1),
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        '{"@context": ' + "[" * 700 + "]" * 700 + ', "@id": "actor/x", "urn:p": 1}',
        '{"@context": ' + '{"a": {"@context": ' * 300 + "{}" + "}}" * 300 + "}",
    ):
        error = refusal(text, JSON_LD)
        assert (type(error), error.detail) == (MalformedDocument, "it nests deeper than 100 levels")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/c", "https://schema.org", "file:///etc/passwd", "other.jsonld", ""]
)
@pytest.mark.parametrize(
    "text",
    [
        '{"@context": %s, "@id": "actor/x", "urn:p": 1}',
        '{"@context": [{"a": "urn:a"}, %s], "@id": "actor/x", "a": 1}',
        '{"@id": "actor/x", "urn:p": {"@context": %s, "urn:q": 1}}',
        '{"@context": {"t": {"@id": "urn:t", "@context": %s}}, "@id": "actor/x", "t": {"urn:p": 1}}',
        '{"@context": {"t": {"@id": "urn:t", "@context": [{"u": {"@context": [%s]}}]}}, "@id": "actor/x"}',
        '{"\\u0040context": %s, "@id": "actor/x", "urn:p": 1}',
    ],
)
def test_context_of_another_place_is_never_fetched_wherever_it_is_named(text: str, address: str) -> None:
    error = refusal(text % json.dumps(address), JSON_LD)
    assert type(error) is RemoteReference
    assert error.facts == {"context": address}
    assert "https://kg.example/context.jsonld" in error.detail


@pytest.mark.parametrize(
    "text",
    [
        '{"@context": {"@import": "http://127.0.0.1:9/"}, "@id": "actor/x"}',
        '{"@context": [{"@version": 1.1, "@import": "context.jsonld"}], "@id": "actor/x"}',
    ],
)
def test_import_in_a_context_is_refused(text: str) -> None:
    error = refusal(text, JSON_LD)
    assert (type(error), error.detail.partition(" ")[0]) == (RemoteReference, "@import")


def test_context_named_again_and_again_is_refused_before_it_fills_the_memory() -> None:
    node = '{"@context": "context.jsonld", "@id": "actor/x", "label": "x"}'
    assert one(f"[{', '.join([node] * 3)}]", JSON_LD)
    error = refusal(f"[{', '.join([node] * (documents.CONTEXTS + 1))}]", JSON_LD)
    assert (type(error), error.detail) == (
        MalformedDocument,
        "it names its context more than 1,000 times; name it once, at the top",
    )


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ("NaN", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("1e400", "1e400 is too large for a number in JSON-LD"),
        ("9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"),
        ('"\\ud800"', "an escape such as \\ud800 is half a character; write both halves or the character"),
        ('{"@value": "a", "@value": "b"}', "the key '@value' stands twice in one object"),
    ],
)
def test_json_that_would_lose_something_is_refused(value: str, detail: str) -> None:
    error = refusal(f'{{"@id": "actor/x", "urn:p": {value}}}', JSON_LD)
    assert (type(error), error.detail) == (MalformedDocument, detail)


def test_lists_in_lists_and_nodes_that_point_back_end() -> None:
    assert len(one('{"@id": "actor/x", "urn:p": {"@list": [{"@list": [1]}]}}', JSON_LD).triples) == 5
    cyclic = '{"@id": "actor/x", "urn:p": {"@id": "_:a", "urn:p": {"@id": "_:b", "urn:p": {"@id": "_:a"}}}}'
    assert type(refusal(cyclic, JSON_LD)) is TangledBlankNodes
    endless = (
        '{"@id": "actor/x", "urn:p": {"@id": "_:a", "http://www.w3.org/1999/02/22-rdf-syntax-ns#first": 1, '
        '"http://www.w3.org/1999/02/22-rdf-syntax-ns#rest": {"@id": "_:a"}}}'
    )
    assert type(refusal(endless, JSON_LD)) is TangledBlankNodes


# XML


@pytest.mark.parametrize(
    "declaration",
    [
        "<!DOCTYPE a>",
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]>',
        "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n + 1} '{f'&a{n};' * 10}'>" for n in range(30)) + "]>",
    ],
)
def test_document_type_declaration_is_refused_before_any_entity_is_read(declaration: str) -> None:
    error = refusal(f"\n{declaration}<a>&x;&a30;</a>", RDF_XML)
    assert type(error) is RemoteReference
    assert error.facts["line"] == 2


def test_xml_may_nest_so_deep_and_no_deeper() -> None:
    node = '<u:p><rdf:Description rdf:about="actor/x">'
    close = "</rdf:Description></u:p>"
    assert one(XML.format(node * 48 + "<u:p>1</u:p>" + close * 48), RDF_XML)
    for depth in (50, 100_000):
        error = refusal(XML.format(node * depth + close * depth), RDF_XML)
        assert (type(error), error.detail) == (MalformedDocument, "it nests deeper than 100 levels")
        assert error.facts["line"] == 1


# RDF 1.2, and what one syntax can say and another cannot


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("<actor/x> <urn:p> << <urn:a> <urn:b> <urn:c> >> .", TURTLE),
        ("<actor/x> <urn:p> <<( <urn:a> <urn:b> <urn:c> )>> .", TURTLE),
        ("<actor/x> <urn:p> 1 {| <urn:q> 2 |} .", TURTLE),
        ("<actor/x> <urn:p> 1 ~ <actor/x#r> .", TURTLE),
        ("<actor/x> { <actor/x> <urn:p> <<( <urn:a> <urn:b> 1 )>> }", TRIG),
        (f"<{X}> <urn:p> <<( <urn:a> <urn:b> <urn:c> )>> .", N_TRIPLES),
        (f"<{X}> <urn:p> {'<<( <urn:a> <urn:b> ' * 2000}<urn:c>{' )>>' * 2000} <{X}> .", N_QUADS),
        ("<actor/x> <urn:p> 'a'@ar--rtl .", TURTLE),
        (f'<{X}> <urn:p> "a"@ar--ltr .', N_TRIPLES),
        ('{"@id": "actor/x", "urn:p": {"@value": "a", "@language": "ar", "@direction": "rtl"}}', JSON_LD),
    ],
)
def test_rdf_1_2_is_refused_as_such(text: str, syntax: Syntax) -> None:
    error = refusal(text, syntax)
    assert type(error) is MalformedDocument
    assert error.detail.endswith("RDF 1.2 is not read here, only RDF 1.1")


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_character_that_xml_cannot_carry_is_refused_by_its_code(character: str) -> None:
    for text, syntax in (
        (f"<actor/x> <urn:p> '\\u{ord(character):04X}' .", TURTLE),
        (json.dumps({"@id": "actor/x", "urn:p": f"a{character}"}), JSON_LD),
    ):
        error = refusal(text, syntax)
        assert type(error) is MalformedDocument
        assert f"U+{ord(character):04X}" in error.detail


@pytest.mark.parametrize("name", ["li", "about", "Description", "ID", "bagID"])
def test_word_of_rdf_xml_is_no_property_in_any_syntax(name: str) -> None:
    error = refusal(f"<actor/x> <{RDF}{name}> 1 .")
    assert (type(error), error.detail.partition(" ")[0]) == (MalformedDocument, f"rdf:{name}")


# Blank nodes


@pytest.mark.parametrize(
    "text",
    [
        "<actor/x> <urn:p> _:b . <actor/x> <urn:q> _:b .",
        "<actor/x> <urn:p> _:b . <actor/x#y> <urn:p> _:b .",
        "<actor/x> <urn:p> 1 . _:a <urn:p> _:a .",
        "<actor/x> <urn:p> 1 . _:a <urn:p> _:b . _:b <urn:p> _:a .",
        "<actor/x> <urn:p> _:a . _:a <urn:p> _:b . _:b <urn:q> _:c . _:c <urn:p> _:b .",
    ],
)
def test_blank_node_used_twice_or_in_a_circle_is_refused(text: str) -> None:
    error = refusal(text)
    assert type(error) is TangledBlankNodes
    assert f"give it a name of its own, such as <{X}#part>" in error.detail


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("<actor/x> { <actor/x> <urn:p> _:b } <actor/y> { <actor/y> <urn:p> _:b }", TRIG),
        ("<actor/x> { <actor/x> <urn:p> _:b } <actor/y> { <actor/y> <urn:p> 1 . _:b <urn:p> 1 }", TRIG),
        (f"<{X}> <urn:p> _:b <{X}> .\n<{X}y> <urn:p> _:b <{X}y> .", N_QUADS),
    ],
)
def test_blank_node_shared_by_two_documents_is_refused(text: str, syntax: Syntax) -> None:
    error = refusal(text, syntax)
    assert type(error) is TangledBlankNodes
    assert "https://kg.example/actor/x and in https://kg.example/actor/" in error.detail


def test_blank_nodes_may_nest_so_deep_and_no_deeper() -> None:
    def chain(depth: int) -> str:
        return "<actor/x> <urn:p> " + "[ <urn:p> " * depth + "1" + " ]" * depth + " ."

    assert one(chain(documents.BLANK_DEPTH))
    for depth in (documents.BLANK_DEPTH + 1, 20_000):
        error = refusal(chain(depth))
        assert (type(error), "nest deeper than 50 levels" in error.detail) == (TangledBlankNodes, True)


def test_same_triple_twice_is_no_second_use_of_its_blank_node() -> None:
    assert len(one("<actor/x> <urn:p> _:b . <actor/x> <urn:p> _:b . _:b <urn:q> 1 .").triples) == 2


def test_twins_stay_two() -> None:
    assert len(one("<actor/x> <urn:p> [], [], [ <urn:q> 1 ], [ <urn:q> 1 ] .").triples) == 6


def test_work_for_blank_nodes_grows_with_their_number_and_no_faster() -> None:
    def calls(number: int) -> int:
        """How many functions are called while so many blank nodes, half of them twins, are named."""
        x = ox.NamedNode(X)
        statements = [
            triple
            for n in range(number)
            for node in [ox.BlankNode()]
            for triple in (
                ox.Triple(x, ox.NamedNode("urn:p"), node),
                ox.Triple(node, ox.NamedNode("urn:q"), ox.Literal(n // 2)),
            )
        ]
        count = 0

        def tick(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(tick)
        try:
            documents.document(X, statements)
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(1_000), calls(10_000)
    assert 8 * few < many < 12 * few


# Where a document belongs


@pytest.mark.parametrize(
    ("text", "syntax", "detail"),
    [
        ("[] a <urn:c> .", TURTLE, "all its subjects are blank nodes"),
        ("<urn:z> a <urn:c> .", TURTLE, "what it speaks about, <urn:z>, is not the IRI of a document here"),
        ("<actor/X> a <urn:c> .", TURTLE, "what it speaks about, <https://kg.example/actor/X>, is not"),
        ("<actor/x?y> a <urn:c> .", TURTLE, "what it speaks about, <https://kg.example/actor/x?y>, is not"),
        ("<actor/x> a <urn:c> . <actor/y#z> a <urn:c> .", TURTLE, "it speaks about 2 documents"),
        (
            "@base <http://evil.example/> . <actor/x> a <urn:c> .",
            TURTLE,
            "what it speaks about, <http://evil.example/actor/x>",
        ),
        ("<actor/x> a <urn:c> . <actor/x> { <actor/x> a <urn:c> }", TRIG, "1 triple stands outside any graph"),
        ("<actor/x> a <urn:c>, <urn:d> . <actor/x> { <actor/x> a <urn:c> }", TRIG, "2 triples stand outside any graph"),
        ("_:g { <actor/x> a <urn:c> }", TRIG, "a graph has a blank node for a name"),
        ("<actor/x#g> { <actor/x> a <urn:c> }", TRIG, "the name of a graph, <https://kg.example/actor/x#g>, is not"),
        ("<urn:g> { <actor/x> a <urn:c> }", TRIG, "the name of a graph, <urn:g>, is not the IRI of a document here"),
        ("<derived> { <actor/x> a <urn:c> }", TRIG, "the name of a graph, <https://kg.example/derived>, is not"),
        ('{"@id": "actor/x", "urn:p": {"@id": "actor/y", "urn:p": 1}}', JSON_LD, "it speaks about 2 documents"),
        (
            '{"@id": "urn:g", "@graph": [{"@id": "actor/x", "urn:p": 1}]}',
            JSON_LD,
            "the name of a graph, <urn:g>, is not",
        ),
    ],
)
def test_document_that_has_no_place_is_refused(text: str, syntax: Syntax, detail: str) -> None:
    error = refusal(text, syntax)
    assert type(error) is UnplaceableDocument
    assert error.detail.startswith(detail)


def test_several_documents_in_one_turtle_file_are_named() -> None:
    error = refusal("<actor/b> a <urn:c> . <actor/a#x> a <urn:c> .")
    assert error.facts == {"documents": ["https://kg.example/actor/a", "https://kg.example/actor/b"]}


def test_one_bad_graph_keeps_out_the_whole_file() -> None:
    assert (
        type(refusal("<actor/x> { <actor/x> a <urn:c> } <actor/y> { [] <urn:p> <<( <urn:a> <urn:b> 1 )>> }", TRIG))
        is MalformedDocument
    )


# Writing


STORY = """
@prefix : <article/x#> . @prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix oa: <http://www.w3.org/ns/oa#> .
:s10 a ekg:Claim ; ekg:content <proposition/p> ; ekg:speaker <actor/russia> ; rdfs:label "ten"@en .
:s2 a ekg:Claim ; ekg:speaker <actor/ukraine> .
:e1 a ekg:Evidence ; oa:hasSelector [ a oa:TextPositionSelector ; oa:start 3 ] .
<article/x> a ekg:Article ; rdfs:label "x" .
"""


def test_turtle_is_written_for_reading() -> None:
    """The document itself first, its parts by number, types and labels before the rest, blank nodes in their place."""
    (document,) = parse(STORY)
    assert documents.serialize(document, TURTLE, BASE).decode() == (
        "@prefix : <https://kg.example/article/x#> .\n"
        "@prefix article: <https://kg.example/article/> .\n"
        "@prefix actor: <https://kg.example/actor/> .\n"
        "@prefix proposition: <https://kg.example/proposition/> .\n"
        "@prefix ekg: <https://w3id.org/ekg/ns#> .\n"
        "@prefix oa: <http://www.w3.org/ns/oa#> .\n"
        "@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .\n"
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        "@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .\n"
        "\n"
        'article:x\n    a ekg:Article ;\n    rdfs:label "x" .\n'
        "\n"
        ":e1\n    a ekg:Evidence ;\n    oa:hasSelector [\n        a oa:TextPositionSelector ;\n        oa:start 3\n    ] .\n"
        "\n"
        ":s2\n    a ekg:Claim ;\n    ekg:speaker actor:ukraine .\n"
        "\n"
        ':s10\n    a ekg:Claim ;\n    rdfs:label "ten"@en ;\n    ekg:speaker actor:russia ;\n    ekg:content proposition:p .\n'
    )


def test_json_ld_names_the_context_of_this_deployment_first() -> None:
    (document,) = parse(STORY)
    written = json.loads(documents.serialize(document, JSON_LD, BASE))
    assert next(iter(written.items())) == ("@context", "https://kg.example/context.jsonld")
    assert [node["id"] for node in written["@graph"]] == [
        f"https://kg.example/article/x{part}" for part in ("", "#e1", "#s2", "#s10")
    ]


def test_any_triples_are_written_by_suffix() -> None:
    statements = one("<actor/x> a <https://w3id.org/ekg/ns#State> .").triples
    for suffix in ("ttl", "nt", "rdf", "jsonld"):
        written = documents.write(statements, suffix, BASE)
        assert one(written, documents.syntax_of_suffix(suffix)).triples == statements
    with pytest.raises(UnsupportedMediaType):
        documents.write(statements, "txt", BASE)
