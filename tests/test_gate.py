"""The gate's own checks, its reports in every form, and that its prepared shapes judge as pySHACL does."""

from __future__ import annotations

import functools
import json
import random
import threading
from collections.abc import Mapping
from pathlib import Path

import pyoxigraph as ox
import pyshacl
import pytest
import rdflib
from pyshacl.shapes_graph import ShapesGraph
from rdflib.namespace import RDF, SH
from test_shapes import FAILING, PASSING, Data, shapes

from kg import documents, gate
from kg.documents import TRIG, TURTLE, Document
from kg.gate import Face, faces, judge
from kg.report import Report, Result, path_in_sparql, reports_as_json, reports_as_turtle
from kg.terms import EKG, RDF_TYPE, XSD, Base

ROOT = Path(__file__).parent.parent
BASE = Base("https://kg.example/")
PREFIXES = (
    "@prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
    "@prefix oa: <http://www.w3.org/ns/oa#> . @prefix schema: <https://schema.org/> . @prefix org: <http://www.w3.org/ns/org#> .\n"
    "@prefix xsd: <http://www.w3.org/2001/XMLSchema#> . @prefix geo: <http://www.opengis.net/ont/geosparql#> .\n"
)
SEEDS = sorted((ROOT / "seeds").glob("*/*.ttl"))


def read(turtle: str) -> Document:
    (found,) = documents.parse((PREFIXES + turtle).encode(), TURTLE, BASE, limit=10**7)
    return found


def graph(iri: str, turtle: str) -> Document:
    """A document as only TriG can send it: with subjects that are not its own."""
    (found,) = documents.parse(f"{PREFIXES} <{iri}> {{ {turtle} }}".encode(), TRIG, BASE, limit=10**7)
    return found


def own_checks(document: Document, neighbours: Mapping[str, Face] | None = None) -> list[Result]:
    """The results that are not SHACL's."""
    return [r for r in judge(document, BASE, neighbours or {}).results if r.component.startswith(EKG)]


@functools.cache
def seeds() -> dict[str, Document]:
    read_all = (documents.parse(path.read_bytes(), TURTLE, BASE, limit=10**7) for path in SEEDS)
    return {document.iri: document for (document,) in read_all}


@functools.cache
def world() -> dict[str, Face]:
    """The faces of everything in the seeds and in the cases of the shapes."""
    known = (ROOT / "tests" / "shapes" / "known.trig").read_bytes()
    everything = [*documents.parse(known, TRIG, BASE, limit=10**7), *seeds().values()]
    return {node: face for document in everything for node, face in faces(document).items()}


def near(document: Document) -> dict[str, Face]:
    return {iri: world()[iri] for iri in document.references(BASE) if iri in world()}


RUSSIA = "<actor/russia> a ekg:State, ekg:Actor ; rdfs:label 'Russia'@en ."


# What the gate checks itself


def test_sound_document_conforms() -> None:
    report = judge(read(RUSSIA), BASE, {})
    assert report.conforms
    assert report == Report("https://kg.example/actor/russia", ())


def test_statement_about_another_document_is_refused_with_its_name() -> None:
    document = graph("actor/russia", f"{RUSSIA} <actor/ukraine> a ekg:State, ekg:Actor ; rdfs:label 'Ukraine'@en .")
    (result,) = own_checks(document)
    assert result.focus == "https://kg.example/actor/ukraine"
    assert result.component == gate.OWNERSHIP
    assert "State this in the document of https://kg.example/actor/ukraine" in result.message


@pytest.mark.parametrize(
    "subject",
    ["actor/ukraine#t1", "https://elsewhere.example/x", "actor/Russia", "urn:x", "actor/russia/more", "actor/russia?x"],
)
def test_every_kind_of_foreign_subject_is_refused(subject: str) -> None:
    document = graph("actor/russia", f"{RUSSIA} <{subject}> rdfs:label 'x'@en .")
    assert [r.focus for r in own_checks(document) if r.component == gate.OWNERSHIP] == [
        subject if ":" in subject else f"https://kg.example/{subject}"
    ]


def test_hash_iris_and_blank_nodes_of_the_document_are_its_own() -> None:
    document = read(
        f"{RUSSIA} <actor/russia#t1> a ekg:Time ; ekg:surface '2024' . <actor/russia> rdfs:seeAlso [ rdfs:label 'x' ] ."
    )
    assert own_checks(document) == []


@pytest.mark.parametrize(
    ("iri", "turtle", "wanted"),
    [
        ("actor/russia", "<actor/russia> a ekg:State .", "ekg:Actor"),
        ("place/kursk", "<place/kursk> a ekg:Actor .", "ekg:Place"),
        ("event/e", "<event/e> rdfs:label 'x'@en .", "ekg:Event"),
        ("article/a", "<article/a#t1> a ekg:Time .", "ekg:Article"),
        ("agreement/a", "<agreement/a> a ekg:Proposition .", "ekg:Agreement"),
        ("proposition/p", "<proposition/p> a 'ekg:Proposition' .", "ekg:Proposition"),
    ],
)
def test_document_that_does_not_describe_its_own_iri_as_its_kind_is_refused(iri: str, turtle: str, wanted: str) -> None:
    (result,) = [r for r in own_checks(graph(iri, turtle)) if r.component == gate.OWNERSHIP]
    assert (result.focus, result.path, result.value) == (f"https://kg.example/{iri}", RDF_TYPE, None)
    assert f"as {wanted}: add `<https://kg.example/{iri}> a {wanted}`" in result.message


@pytest.mark.parametrize("types", ["", " a schema:Person ;"])
def test_part_without_a_type_of_the_vocabulary_is_refused(types: str) -> None:
    (result,) = own_checks(read(f"{RUSSIA} <actor/russia#t1>{types} ekg:surface '2024' ."))
    assert (result.focus, result.path, result.component) == (
        "https://kg.example/actor/russia#t1",
        RDF_TYPE,
        gate.TERM,
    )


@pytest.mark.parametrize(
    ("turtle", "path", "term", "hint"),
    [
        ("ekg:speeker <actor/russia>", EKG + "speeker", "speeker", "Did you mean ekg:speaker?"),
        ("a ekg:Stat", RDF_TYPE, "Stat", "Did you mean ekg:State?"),
        ("ekg:qqqqqqqq 1", EKG + "qqqqqqqq", "qqqqqqqq", "See /ns for the terms there are."),
        (
            "rdfs:comment 'x'^^ekg:Tyme",
            "http://www.w3.org/2000/01/rdf-schema#comment",
            "Tyme",
            "Did you mean ekg:Time?",
        ),
        ("rdfs:seeAlso ekg:", "http://www.w3.org/2000/01/rdf-schema#seeAlso", "", "See /ns for the terms there are."),
    ],
)
def test_undefined_term_is_refused_with_the_nearest_defined_one(turtle: str, path: str, term: str, hint: str) -> None:
    (result,) = own_checks(read(f"{RUSSIA} <actor/russia> {turtle} ."))
    assert (result.focus, result.path, result.value) == ("https://kg.example/actor/russia", path, EKG + term)
    assert result.component == gate.TERM
    assert result.message == f"ekg:{term} is not a term of the vocabulary. {hint}"


def test_undefined_term_inside_a_blank_node_is_refused() -> None:
    (result,) = own_checks(read(f"{RUSSIA} <actor/russia> rdfs:seeAlso [ ekg:nope 1 ] ."))
    assert result.focus.startswith("_:")
    assert result.value == EKG + "nope"


def test_suggestions_are_terms_of_the_vocabulary_only() -> None:
    (result,) = own_checks(read(f"{RUSSIA} <actor/russia> ekg:headline 'x' ."))
    assert "https" not in result.message.partition("Did you mean")[2]


def test_many_misspelt_terms_are_all_told_while_suggestions_stop() -> None:
    lines = " ".join(f"<actor/russia> ekg:speeker{n:04} 1 ." for n in range(300))
    results = own_checks(read(f"{RUSSIA} {lines}"))
    assert len(results) == 300
    assert 0 < sum("Did you mean" in r.message for r in results) < 100


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("actor/russia#t9", "Describe actor/russia#t9 in this document, or mend the reference."),
        ("actor/ukraine", "Send actor/ukraine first or in the same batch, or mend the reference."),
        ("actor/ukraine#t1", "Send actor/ukraine first or in the same batch, or mend the reference."),
        (
            "actor/Ukraine",
            "Mend it: documents are named https://kg.example/(article|actor|place|agreement|event|proposition)/slug.",
        ),
        ("", "Mend it: documents are named https://kg.example/(article|actor|place|agreement|event|proposition)/slug."),
    ],
)
def test_dangling_reference_is_refused_with_what_to_do(target: str, hint: str) -> None:
    (result,) = own_checks(read(f"{RUSSIA} <actor/russia> rdfs:seeAlso <https://kg.example/{target}> ."))
    assert result.focus == "https://kg.example/actor/russia"
    assert result.value == f"https://kg.example/{target}"
    assert result.component == gate.REFERENCE
    assert result.message == f"This reference leads nowhere. {hint}"


def test_reference_resolves_by_being_among_the_neighbours_even_with_an_empty_face() -> None:
    document = read(f"{RUSSIA} <actor/russia> rdfs:seeAlso <actor/ukraine> .")
    assert own_checks(document, {"https://kg.example/actor/ukraine": ()}) == []


def test_part_without_a_name_is_told_that_it_needs_one_and_nothing_about_names() -> None:
    article = "<article/x> a ekg:Article ; rdfs:label 'x'@en ; rdfs:seeAlso [ a ekg:Evidence ] ."
    messages = [r.message for r in judge(read(article), BASE, {}).results if r.focus.startswith("_:")]
    assert any("Evidence lives in the article it quotes" in message for message in messages)
    act = "<article/x> a ekg:Article ; rdfs:label 'x'@en ; rdfs:seeAlso [ a ekg:Claim, ekg:SpeechAct, ekg:Event ] ."
    messages = [r.message for r in judge(read(act), BASE, {}).results if r.focus.startswith("_:")]
    assert any("A speech act lives in the article that reports it" in message for message in messages)
    assert not any("longer than 120 characters" in message for message in messages)


def test_reference_under_another_base_is_not_ours_to_resolve() -> None:
    document = read(f"{RUSSIA} <actor/russia> schema:sameAs <http://www.wikidata.org/entity/Q159> .")
    assert judge(document, BASE, {}).conforms


def test_results_are_in_the_same_order_each_time() -> None:
    document = read("<article/x> a ekg:Article . <article/x#s1> a ekg:Claim . <article/x#s2> a ekg:Denial .")
    orders = {judge(document, BASE, {}).results for _ in range(3)}
    assert len(orders) == 1
    (results,) = orders
    assert list(results) == sorted(results, key=lambda r: (r.focus, r.path or "", r.message, r.value or ""))


# SHACL


def by_pyshacl(document: Document, neighbours: Mapping[str, Face]) -> set[tuple[str, str, str, str, bool]]:
    """The verdict of pySHACL's own `validate`: focus, value, message, component, whether a path is told."""
    data = Data()
    statements = [*document.triples, *(t for r in document.references(BASE) for t in neighbours.get(r, ()))]
    for triple in statements:
        data.add((rdf(triple.subject), rdf(triple.predicate), rdf(triple.object)))
    own = {rdf(triple.subject) for triple in document.triples}
    _, report, _ = pyshacl.validate(data, shacl_graph=shapes(), inference="none", inplace=True)
    assert isinstance(report, rdflib.Graph)
    return {
        (
            text(report.value(node, SH.focusNode)),
            text(report.value(node, SH.value)),
            str(report.value(node, SH.resultMessage)),
            str(report.value(node, SH.sourceConstraintComponent)),
            report.value(node, SH.resultPath) is not None,
        )
        for node in report.objects(None, SH.result)
        if report.value(node, SH.focusNode) in own
    }


def rdf(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> rdflib.URIRef | rdflib.BNode | rdflib.Literal:
    if isinstance(term, ox.NamedNode):
        return rdflib.URIRef(term.value)
    if isinstance(term, ox.BlankNode):
        return rdflib.BNode(term.value)
    assert isinstance(term, ox.Literal)
    if term.language is not None:
        return rdflib.Literal(term.value, lang=term.language)
    return rdflib.Literal(term.value, datatype=rdflib.URIRef(term.datatype.value), normalize=False)


def text(node: rdflib.term.Node | None) -> str:
    return "" if node is None else f"_:{node}" if isinstance(node, rdflib.BNode) else str(node)


def by_gate(document: Document, neighbours: Mapping[str, Face]) -> set[tuple[str, str, str, str, bool]]:
    return {
        (r.focus, r.value or "", r.message, r.component, r.path is not None)
        for r in judge(document, BASE, neighbours).results
        if not r.component.startswith(EKG)
    }


@pytest.mark.parametrize("path", FAILING, ids=lambda path: path.stem)
def test_prepared_shapes_judge_the_failing_cases_of_the_shapes_as_pyshacl_does(path: Path) -> None:
    (document,) = documents.parse(path.read_bytes(), TURTLE, BASE, limit=10**7)
    found = by_gate(document, near(document))
    assert found
    assert found == by_pyshacl(document, near(document))


@pytest.mark.parametrize("path", PASSING, ids=lambda path: path.stem)
def test_prepared_shapes_find_nothing_in_the_passing_cases(path: Path) -> None:
    """As pySHACL does in test_shapes.py."""
    (document,) = documents.parse(path.read_bytes(), TURTLE, BASE, limit=10**7)
    assert by_gate(document, near(document)) == set()


def test_prepared_shapes_judge_the_longest_seed_as_pyshacl_does_whole_and_with_triples_missing() -> None:
    document = max(seeds().values(), key=lambda d: len(d.triples))
    assert len(document.triples) > 300
    assert by_gate(document, near(document)) == by_pyshacl(document, near(document)) == set()
    chosen = random.Random(1)
    for _ in range(3):
        thinned = documents.document(document.iri, (t for t in document.triples if chosen.random() < 0.9))
        found = by_gate(thinned, near(thinned))
        assert len(found) > 10
        assert found == by_pyshacl(thinned, near(thinned))


def test_seeds_conform() -> None:
    reports = [judge(document, BASE, near(document)) for document in seeds().values()]
    assert [result.in_words(BASE) for report in reports for result in report.results] == []


def test_neighbours_are_not_judged() -> None:
    """A face lacks most of what its shape demands; only the candidate's own nodes count."""
    document = read(f"{RUSSIA} <actor/russia> rdfs:seeAlso <article/x> .")
    face = tuple(read("<article/x> a ekg:Article, ekg:SpeechAct .").triples)
    assert judge(document, BASE, {"https://kg.example/article/x": face}).conforms


def test_threads_judge_at_once_with_the_verdicts_of_one() -> None:
    """pySHACL and rdflib write into what they read, so each thread has its own shapes and parsed queries."""
    cases = [documents.parse(path.read_bytes(), TURTLE, BASE, limit=10**7)[0] for path in (FAILING + PASSING)[::6]]
    alone = [judge(document, BASE, near(document)) for document in cases]
    together: dict[int, list[Report]] = {}

    def work(number: int) -> None:
        together[number] = [judge(document, BASE, near(document)) for document in cases]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[n] for n in range(4)] == [alone] * 4


def datatype(name: str, lexical: str) -> ox.Literal:
    return ox.Literal(lexical, datatype=ox.NamedNode(XSD + name))


HOSTILE: list[ox.Literal | ox.NamedNode] = [
    *(
        datatype(name, "x")
        for name in ["date", "dateTime", "integer", "decimal", "double", "boolean", "duration", "gYear", "hexBinary"]
    ),
    datatype("duration", "P99999999999999999Y"),
    datatype("integer", "9" * 5000),
    datatype("decimal", "1" + "0" * 500),
    datatype("date", "99999-01-01"),
    datatype("date", "-0001-01-01"),
    datatype("date", "2024-01-01+99:99"),
    datatype("dateTime", "2024-01-01T24:00:00Z"),
    ox.Literal("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", datatype=ox.NamedNode(str(RDF.XMLLiteral))),
    ox.Literal("<a", datatype=ox.NamedNode(str(RDF.HTML))),
    ox.Literal("\\q {?value} {value} \\1 \\"),
    ox.Literal("x", language="de-Latn-1996-x-foo"),
    ox.Literal(""),
    ox.NamedNode("urn:x"),
    ox.NamedNode("https://kg.example/article/%D0%9A"),
    ox.NamedNode(EKG + "Nonsense"),
]


@pytest.mark.parametrize("seed", range(4))
def test_merely_wrong_document_never_raises(seed: int) -> None:
    chosen = random.Random(seed)
    predicates = sorted({t.predicate.value for document in seeds().values() for t in document.triples})
    small = [document for document in seeds().values() if len(document.triples) < 100]
    for _ in range(40):
        document = chosen.choice(small)
        triples = list(document.triples)
        for _ in range(chosen.randint(1, 4)):
            old = chosen.choice(triples)
            value = ox.BlankNode() if chosen.random() < 0.1 else chosen.choice(HOSTILE)
            predicate = ox.NamedNode(chosen.choice(predicates)) if chosen.random() < 0.5 else old.predicate
            triples.append(ox.Triple(old.subject, predicate, value))
        changed = documents.document(document.iri, triples)
        report = judge(changed, BASE, near(changed))
        assert_is_validation_report(reports_as_turtle([report]), report)


@pytest.mark.parametrize(
    ("latest", "comparable"),
    [("'tomorrow'", False), ("[]", False), ("<urn:x>", False), ("1", True), ("'2024-13-45'^^xsd:date", True)],
)
def test_bound_that_is_no_date_does_not_conform(latest: str, comparable: bool) -> None:
    """rdflib gives some values of different types an order and raises an error for the rest: neither may pass."""
    turtle = (
        f"{RUSSIA} <actor/russia#t1> a ekg:Time ; ekg:surface '2024' ; ekg:earliest '2024-01-01'^^xsd:date ; "
        f"ekg:latest {latest} ; rdfs:comment 'why'@en ."
    )
    results = judge(read(turtle), BASE, {}).results
    assert any(r.message.startswith("ekg:latest is not a valid xsd:date") for r in results)
    order = (EKG + "earliest", str(SH.LessThanOrEqualsConstraintComponent), "https://w3id.org/ekg/shapes#Time-order")
    assert comparable or order in {(r.path, r.component, r.shape) for r in results}


def test_value_is_told_in_the_message_as_it_is() -> None:
    """Backslashes in a value are no pattern, and braces in it no place to fill."""
    document = read(
        r"<actor/p> a ekg:Person, ekg:Actor ; rdfs:label 'P'@en . <actor/p#post-x> a ekg:Tenure ; ekg:post 'x'@en ; "
        r"org:organization <actor/russia> ; org:member '\\q {this} \\1' ."
    )
    messages = [r.message for r in judge(document, BASE, {}).results]
    assert any(r"The tenure stands in another document than that of \q {this} \1, who holds it." in m for m in messages)


# Reports


def violation_with_a_path() -> Report:
    """An act in the article's own voice by somebody else: found along ( ekg:reportedIn schema:publisher )."""
    concern = (
        "<article/x> a ekg:Article . <article/x#s1> a ekg:Concern, ekg:SpeechAct, ekg:Event ; ekg:stance ekg:Entertains ; "
        "ekg:content <proposition/p> ; ekg:voice ekg:Attributed ; ekg:reportedIn <article/x> ; ekg:speaker <actor/russia> ; "
        "ekg:evidence <article/x#e1> . <article/x#e1> a ekg:Evidence ; oa:hasSource <article/x> ."
    )
    face = tuple(read("<proposition/p> a ekg:Proposition ; ekg:modality ekg:Actual .").triples)
    russia = tuple(read("<actor/russia> a ekg:Actor, ekg:State .").triples)
    neighbours = {"https://kg.example/proposition/p": face, "https://kg.example/actor/russia": russia}
    return judge(read(concern), BASE, neighbours)


def test_complex_path_is_told_as_a_sparql_path() -> None:
    (result,) = [r for r in violation_with_a_path().results if "A concern is about" in r.message]
    assert result.path == "ekg:content / ekg:modality"
    assert result.value == EKG + "Actual"
    assert result.in_words(BASE).startswith("article/x#s1 ekg:content / ekg:modality: A concern is about")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ex:a", "https://example.org/a"),
        ("( ekg:content ekg:modality )", "ekg:content / ekg:modality"),
        ("[ sh:inversePath ekg:content ]", "^ekg:content"),
        ("[ sh:alternativePath ( ekg:earliest ekg:latest ) ]", "ekg:earliest | ekg:latest"),
        ("[ sh:oneOrMorePath [ sh:inversePath ekg:reports ] ]", "(^ekg:reports)+"),
        ("[ sh:inversePath [ sh:oneOrMorePath ekg:reports ] ]", "^ekg:reports+"),
        ("[ sh:zeroOrMorePath [ sh:zeroOrOnePath ekg:reports ] ]", "(ekg:reports?)*"),
        ("[ sh:zeroOrMorePath ( ex:a ex:b ) ]", "(<https://example.org/a> / <https://example.org/b>)*"),
        (
            "( [ sh:alternativePath ( ekg:reports ex:b ) ] ekg:content )",
            "(ekg:reports | <https://example.org/b>) / ekg:content",
        ),
        ("[ sh:inversePath ( ekg:reports ekg:content ) ]", "^(ekg:reports / ekg:content)"),
        ("[ sh:inversePath [ sh:inversePath ekg:reports ] ]", "^(^ekg:reports)"),
        ("[ sh:alternativePath ( ( ekg:reports ekg:content ) ekg:about ) ]", "ekg:reports / ekg:content | ekg:about"),
    ],
)
def test_every_form_of_path_is_written_as_sparql_reads_it(path: str, expected: str) -> None:
    turtle = (
        f"@prefix sh: <{SH}> . @prefix ekg: <{EKG}> . @prefix ex: <https://example.org/> . ex:shape sh:path {path} ."
    )
    shapes = ox.Dataset(ox.parse(turtle, format=ox.RdfFormat.TURTLE))
    (node,) = (quad.object for quad in shapes if quad.subject == ox.NamedNode("https://example.org/shape"))
    assert isinstance(node, ox.NamedNode | ox.BlankNode)
    written = path_in_sparql(node, shapes)
    assert written == expected
    in_query = f"<{written}>" if path == "ex:a" else written
    ox.Store().query(f"PREFIX ekg: <{EKG}> ASK {{ ?a {in_query} ?b }}")


def paths_in(report: bytes) -> list[str]:
    """The paths of all results in a report in Turtle."""
    found = ox.Dataset(ox.parse(report, format=ox.RdfFormat.TURTLE))
    return [
        path_in_sparql(quad.object, found)
        for quad in found
        if quad.predicate.value == str(SH.resultPath) and isinstance(quad.object, ox.NamedNode | ox.BlankNode)
    ]


def assert_is_validation_report(turtle: bytes, report: Report) -> None:
    """SHACL, section 3.6: what a validation report and its results must have, and how often."""
    found = rdflib.Graph()
    for quad in ox.parse(turtle, format=ox.RdfFormat.TURTLE):
        found.add((rdf(quad.subject), rdf(quad.predicate), rdf(quad.object)))
    (root,) = found.subjects(RDF.type, SH.ValidationReport)
    assert list(found.objects(root, SH.conforms)) == [rdflib.Literal(report.conforms)]
    results = list(found.objects(root, SH.result))
    assert len(results) == len(report.results)
    for node in results:
        assert (node, RDF.type, SH.ValidationResult) in found
        for predicate, least, most in (
            (SH.focusNode, 1, 1),
            (SH.resultSeverity, 1, 1),
            (SH.sourceConstraintComponent, 1, 1),
            (SH.resultMessage, 1, 1),
            (SH.resultPath, 0, 1),
            (SH.value, 0, 1),
            (SH.sourceShape, 0, 1),
        ):
            assert least <= len(list(found.objects(node, predicate))) <= most, predicate
    assert set(paths_in(turtle)) <= {r.path for r in report.results}


def test_report_as_turtle_is_a_validation_report_with_its_paths_whole() -> None:
    report = violation_with_a_path()
    turtle = reports_as_turtle([report])
    assert_is_validation_report(turtle, report)
    paths = paths_in(turtle)
    assert sorted(paths) == sorted(r.path for r in report.results if r.path is not None)
    assert "ekg:content / ekg:modality" in paths


def test_report_of_a_conforming_document_as_turtle() -> None:
    report = judge(read(RUSSIA), BASE, {})
    assert_is_validation_report(reports_as_turtle([report]), report)


@pytest.mark.parametrize("path", FAILING, ids=lambda path: path.stem)
def test_every_failing_case_gives_a_validation_report(path: Path) -> None:
    (document,) = documents.parse(path.read_bytes(), TURTLE, BASE, limit=10**7)
    report = judge(document, BASE, near(document))
    assert not report.conforms
    assert_is_validation_report(reports_as_turtle([report]), report)


@pytest.mark.parametrize(
    "value", ["'urn:looks-like-an-iri'", "'_:b'", "'x'@en", "'2024-13-45'^^xsd:date", "'a\\nb \\\"c\\\"'@uk", "1"]
)
def test_value_in_the_turtle_report_is_the_term_itself(value: str) -> None:
    document = read(f"{RUSSIA} <actor/russia> a {value} .")
    (typed,) = {
        t.object for t in document.triples if isinstance(t.object, ox.Literal) and t.predicate.value == RDF_TYPE
    }
    report = judge(document, BASE, {})
    reported = {
        quad.object
        for quad in ox.parse(reports_as_turtle([report]), format=ox.RdfFormat.TURTLE)
        if quad.predicate.value == str(SH.value)
    }
    assert reported == {typed}


def test_reports_as_json_tell_everything() -> None:
    report = judge(read(f"{RUSSIA} <actor/russia> ekg:speeker 'ї'@uk ."), BASE, {})
    told = json.loads(reports_as_json([report, Report("https://kg.example/actor/x", ())]))
    assert [(r["document"], r["conforms"]) for r in told] == [
        ("https://kg.example/actor/russia", False),
        ("https://kg.example/actor/x", True),
    ]
    assert told[1]["results"] == []
    assert {
        "focus": "https://kg.example/actor/russia",
        "path": EKG + "speeker",
        "value": EKG + "speeker",
        "message": "ekg:speeker is not a term of the vocabulary. Did you mean ekg:speaker?",
        "component": EKG + "TermConstraintComponent",
        "shape": None,
        "term": None,
    } in told[0]["results"]


def test_result_in_words_is_one_short_line() -> None:
    result = Result("https://kg.example/actor/x", EKG + "post", "y" * 500, "Mend it.", gate.TERM)
    assert result.in_words(BASE) == f"actor/x ekg:post: Mend it. (value: {'y' * 119}…)"
    assert Result("_:b", None, None, "Mend it.", gate.TERM).in_words(BASE) == "_:b: Mend it."


def test_components_of_our_own_are_defined_in_the_vocabulary() -> None:
    assert {gate.OWNERSHIP, gate.REFERENCE, gate.TERM} <= gate.defined_terms()


# Faces


def test_face_holds_types_modality_aspect_and_member_and_nothing_else() -> None:
    document = read(
        "<proposition/p> a ekg:Proposition ; schema:text 'x'@en ; ekg:modality ekg:Actual ; ekg:aspect ekg:Presence ; "
        "ekg:about <actor/a> ; rdfs:seeAlso [ a ekg:Time ] . <proposition/p#t1> rdfs:label 'x' ."
    )
    found = faces(document)
    assert found.keys() == {"https://kg.example/proposition/p", "https://kg.example/proposition/p#t1"}
    assert {
        (t.predicate.value.rpartition("#")[2], str(t.object)) for t in found["https://kg.example/proposition/p"]
    } == {
        ("type", f"<{EKG}Proposition>"),
        ("modality", f"<{EKG}Actual>"),
        ("aspect", f"<{EKG}Presence>"),
    }
    assert found["https://kg.example/proposition/p#t1"] == ()


def test_shapes_are_ready_for_reuse_without_pyshacl_reading_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    judge(read(RUSSIA), BASE, {})
    monkeypatch.setattr(ShapesGraph, "_build_node_shape_cache", lambda self: pytest.fail("the shapes are read again"))
    judge(read(RUSSIA), BASE, {})
