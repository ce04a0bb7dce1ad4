"""Every constraint of the shapes by example: one file that passes and, differing in one thing, one that fails it and nothing else.

`tests/shapes/<cluster>/<constraint>.pass.ttl` and `.fail.ttl`; the failing file opens with what its report must say. The documents
they refer to are the graphs of `tests/shapes/known.trig`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pyshacl
import pytest
import rdflib
from pyshacl.helper.path_helper import shacl_path_to_sparql_path
from pyshacl.shapes_graph import ShapesGraph
from rdflib.namespace import OWL, RDF, RDFS, SH
from rdflib.plugins.sparql import prepareQuery
from rdflib.plugins.sparql.sparql import Query

ROOT = Path(__file__).parent.parent
CASES = Path(__file__).parent / "shapes"
BASE = "https://kg.example/"
EKG = "https://w3id.org/ekg/ns#"
EKGSH = "https://w3id.org/ekg/shapes#"
FACE = {str(RDF.type), EKG + "modality", EKG + "aspect", "http://www.w3.org/ns/org#member"}
TARGETS = (SH.targetClass, SH.targetSubjectsOf, SH.targetObjectsOf, SH.targetNode)
SHAPE_FILES = sorted((ROOT / "shapes").glob("*.ttl"))

Triples = frozenset[ox.Triple]


@dataclass(frozen=True)
class Result:
    """What a report says of one violation, abbreviated as the header of a failing file writes it."""

    focus: str
    path: str
    component: str
    shape: str


class Data(rdflib.Graph):
    """A graph to be validated, of which the shapes' SPARQL is parsed once in all: half of the time that pySHACL takes."""

    def query(self, query_object: str | Query, *arguments: Any, **keywords: Any) -> rdflib.query.Result:
        parsed = prepared(query_object) if isinstance(query_object, str) else query_object
        return super().query(parsed, *arguments, **keywords)


@functools.cache
def prepared(query: str) -> Query:
    return prepareQuery(query)


def violations(candidate: Triples, known: Triples) -> list[Result]:
    """The violations in a candidate, given the faces of what it refers to; order is of no account."""
    own = {triple.subject for triple in candidate}
    mentioned = {triple.object for triple in candidate} - own
    faces = {t for t in known if t.subject in mentioned and t.predicate.value in FACE}
    data = Data()
    for triple in candidate | faces:
        data.add((as_rdflib(triple.subject), as_rdflib(triple.predicate), as_rdflib(triple.object)))
    _, report, _ = pyshacl.validate(data, shacl_graph=shapes(), inference="none", inplace=True)
    assert isinstance(report, rdflib.Graph)
    results = []
    for node in report.objects(None, SH.result):
        focus, path, component, shape = (
            report.value(node, p) for p in (SH.focusNode, SH.resultPath, SH.sourceConstraintComponent, SH.sourceShape)
        )
        if ox.NamedNode(str(focus)) in own:
            results.append(
                Result(str(focus).removeprefix(BASE), written(path), shapes().qname(str(component)), named(shape))
            )
    return results


def as_rdflib(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> rdflib.term.Node:
    """The same term for pySHACL, with literals as they were written: by default rdflib drops the zone of a date, and writes Z as +00:00."""
    match term:
        case ox.NamedNode():
            return rdflib.URIRef(term.value)
        case ox.BlankNode():
            return rdflib.BNode(term.value)
        case ox.Literal(language=str() as language):
            return rdflib.Literal(term.value, lang=language)
        case ox.Literal():
            return rdflib.Literal(term.value, datatype=rdflib.URIRef(term.datatype.value), normalize=False)
    raise TypeError(f"no RDF 1.1 term: {term}")


def written(path: rdflib.term.Node | None) -> str:
    """A property path in SPARQL's notation."""
    if path is None:
        return "none"
    prefixes = {prefix: str(namespace) for prefix, namespace in shapes().namespaces()}
    return str(shacl_path_to_sparql_path(ShapesGraph(shapes()), path, prefixes=prefixes))


def named(shape: rdflib.term.Node | None) -> str:
    return str(shape).replace(EKGSH, "ekgsh:")


@functools.cache
def shapes() -> rdflib.Graph:
    graph = rdflib.Graph(bind_namespaces="none")
    for path in SHAPE_FILES:
        graph.parse(path)
    return graph


@functools.cache
def known() -> dict[str, Triples]:
    graphs: dict[str, set[ox.Triple]] = {}
    for quad in ox.parse(path=str(CASES / "known.trig"), format=ox.RdfFormat.TRIG, base_iri=BASE):
        assert isinstance(quad.graph_name, ox.NamedNode)
        graphs.setdefault(quad.graph_name.value, set()).add(quad.triple)
    return {name: frozenset(triples) for name, triples in graphs.items()}


def everything_known() -> Triples:
    return frozenset[ox.Triple]().union(*known().values())


def document(turtle: str) -> Triples:
    return frozenset(quad.triple for quad in ox.parse(turtle, format=ox.RdfFormat.TURTLE, base_iri=BASE))


def expected(path: Path) -> Result:
    header = dict(re.findall(r"^#\+ (\w+): (.+)$", path.read_text("utf-8"), re.MULTILINE))
    return Result(**header)


def constraints() -> set[str]:
    """The names of all constraints: shapes with a name of their own that are not just a list of other shapes."""
    graph = shapes()
    declared = {s for kind in (SH.NodeShape, SH.PropertyShape) for s in graph.subjects(RDF.type, kind)}
    grouping = {RDF.type, RDFS.label, RDFS.comment, SH.property, *TARGETS}
    return {
        str(shape).removeprefix(EKGSH)
        for shape in declared
        if isinstance(shape, rdflib.URIRef) and set(graph.predicates(shape)) - grouping
    }


def case(path: Path) -> str:
    return str(path.relative_to(CASES))


FAILING = sorted(CASES.glob("*/*.fail.ttl"))
PASSING = sorted(CASES.glob("*/*.pass.ttl"))


@pytest.mark.parametrize("path", FAILING, ids=case)
def test_failing_document_fails_its_constraint_and_nothing_else(path: Path) -> None:
    assert violations(document(path.read_text("utf-8")), everything_known()) == [expected(path)]


@pytest.mark.parametrize("path", PASSING, ids=case)
def test_passing_document_passes(path: Path) -> None:
    assert violations(document(path.read_text("utf-8")), everything_known()) == []


@pytest.mark.parametrize("path", FAILING, ids=case)
def test_failing_document_is_about_the_constraint_it_is_named_after(path: Path) -> None:
    assert expected(path).shape == "ekgsh:" + path.name.removesuffix(".fail.ttl")


def test_every_constraint_has_exactly_one_pair_of_files() -> None:
    fails = sorted(path.name.removesuffix(".fail.ttl") for path in FAILING)
    passes = sorted(path.name.removesuffix(".pass.ttl") for path in PASSING)
    assert fails == sorted(constraints())
    assert passes == fails


def test_files_lie_with_the_cluster_of_their_constraint() -> None:
    astray = []
    for path in FAILING + PASSING:
        shape = f"ekgsh:{path.name.split('.')[0]} a sh:"
        if f"\n{shape}" not in (ROOT / "shapes" / f"{path.parent.name}.ttl").read_text("utf-8"):
            astray.append(case(path))
    assert astray == []


def test_known_documents_conform() -> None:
    faults = {name: found for name, triples in known().items() if (found := violations(triples, everything_known()))}
    assert faults == {}


# What one focus node cannot show

ACT = """
    @prefix ekg: <https://w3id.org/ekg/ns#> . @prefix oa: <http://www.w3.org/ns/oa#> . @prefix : <article/x#> .
    @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
    <article/x> a ekg:Article ; rdfs:label "An article"@en .
    :e1 a ekg:Evidence ; oa:hasSource <article/x> ; oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "they say" ] .
"""


def report(name: str, reported: str) -> str:
    return f""":{name} a ekg:Report, ekg:SpeechAct, ekg:Event ; ekg:speaker <actor/reuters> ; ekg:reports {reported} ;
        ekg:voice ekg:Attributed ; ekg:reportedIn <article/x> ; ekg:evidence :e1 ."""


@pytest.mark.parametrize("length", [2, 3, 5])
def test_cycle_of_reports_is_found_at_each_of_its_acts_and_nowhere_else(length: int) -> None:
    circle = [report(f"s{n}", f":s{n % length + 1}") for n in range(1, length + 1)]
    outside = report("s9", ":s1")
    found = violations(document(ACT + "\n".join([*circle, outside])), everything_known())
    assert {(result.focus, result.shape) for result in found} == {
        (f"article/x#s{n}", "ekgsh:SpeechAct-reports-cycle") for n in range(1, length + 1)
    }


def test_chain_of_reports_that_forks_and_joins_is_no_cycle() -> None:
    chain = [
        report("s1", ":s2, :s3"),
        report("s2", ":s4"),
        report("s3", ":s4"),
        report("s4", "<article/other#s1>"),
    ]
    assert violations(document(ACT + "\n".join(chain)), everything_known()) == []


def test_symmetric_relation_may_be_stated_both_ways() -> None:
    first, second = report("s1", "<article/other#s1>"), report("s2", "<article/other#s1>")
    both = ACT + first + second + ":s1 ekg:sameActAs :s2 . :s2 ekg:sameActAs :s1 ."
    assert violations(document(both), everything_known()) == []


def test_evidence_of_another_article_is_refused() -> None:
    foreign = report("s1", "<article/other#s1>") + report("s2", ":s1").replace(":e1", "<article/other#e1>")
    [found] = violations(document(ACT + foreign), everything_known())
    assert (found.focus, found.shape) == ("article/x", "ekgsh:Article-evidence-own")


@pytest.mark.parametrize(
    ("published", "accepted"),
    [
        ('"2025-04-26"^^xsd:date', True),
        ('"2025-04-25"^^xsd:date', False),
        ('"2025-04-26T00:00:00Z"^^xsd:dateTime', True),
        ('"2025-04-25T23:59:59Z"^^xsd:dateTime', False),
    ],
)
def test_act_of_26_april_is_not_later_than_publication(published: str, accepted: bool) -> None:
    dated = """
        @prefix xsd: <http://www.w3.org/2001/XMLSchema#> . @prefix schema: <https://schema.org/> .
        :s1 ekg:time :t1 . :t1 a ekg:Time ; ekg:surface "26 April 2025" ; ekg:earliest "2025-04-26"^^xsd:date .
        <article/x> schema:datePublished """
    found = violations(
        document(ACT + report("s1", "<article/other#s1>") + dated + published + " ."), everything_known()
    )
    assert [result.shape for result in found] == ([] if accepted else ["ekgsh:Article-acts-before-publication"])


@pytest.mark.parametrize(
    ("wkt", "accepted"),
    [
        ("POINT(36.19 51.73)", True),
        ("POINT (-180.0 90)", True),
        ("<http://www.opengis.net/def/crs/EPSG/0/4326> POINT(51.73 36.19)", True),
        ("POLYGON((34 51, 38 51, 38 52, 34 51))", True),
        ("POINT(51.73 136.19)", False),
        ("POINT(181 0)", False),
        ("POINT(36.19, 51.73)", False),
        ("POINT(36.19)", False),
        ("CIRCLE(36.19 51.73 2)", False),
    ],
)
def test_coordinates_are_longitude_and_latitude_in_well_known_text(wkt: str, accepted: bool) -> None:
    place = f"""
        @prefix ekg: <https://w3id.org/ekg/ns#> . @prefix geo: <http://www.opengis.net/ont/geosparql#> .
        @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
        <place/x> a ekg:Place ; rdfs:label "A place"@en ; geo:hasGeometry [ geo:asWKT "{wkt}"^^geo:wktLiteral ] ."""
    found = violations(document(place), everything_known())
    assert [result.shape for result in found] == ([] if accepted else ["ekgsh:Place-wkt-form"])


@pytest.mark.parametrize(
    "node",
    ["actor/Russia", "actor/south--korea", "actor/-x", "actor/x_y", "person/x", "actor/x/y", "actor/росія"],
)
def test_name_that_breaks_the_slug_rule_is_refused(node: str) -> None:
    actor = f"""
        @prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
        <{node}> a ekg:Person, ekg:Actor ; rdfs:label "X"@en ."""
    assert [result.shape for result in violations(document(actor), everything_known())] == ["ekgsh:Actor-iri"]


# The shapes as a set


def test_shapes_are_valid_shacl() -> None:
    # pyshacl's own meta_shacl option stops at a nesting of 15, which the shapes of SHACL need more than for nested paths.
    conforms, _, text = pyshacl.validate(
        shapes(), shacl_graph="http://www.w3.org/ns/shacl-shacl", inference="none", max_validation_depth=60
    )
    assert conforms, text


def test_every_constraint_has_one_message_of_its_own_in_english() -> None:
    messages: dict[str, list[str]] = {}
    for name in constraints():
        [message] = shapes().objects(rdflib.URIRef(EKGSH + name), SH.message)
        assert isinstance(message, rdflib.Literal) and message.language == "en", name
        messages.setdefault(str(message), []).append(name)
    assert {message: names for message, names in messages.items() if len(names) > 1} == {}


def test_every_message_says_what_to_do() -> None:
    """A message states what is wrong and, in a sentence after that, what to write instead."""
    remedies = re.compile(
        r"\b(add|write|keep|point|move|remove|correct|give|say|state|name|quote|shorten|make|convert|leave|let|use|refer"
        r"|go(es)? into|is also|lives? in|ends? in|is a document of its own|is an organization|has offset|is greater than"
        r"|two acts|two actors|two propositions|an article of its own)\b",
        re.IGNORECASE,
    )
    silent = {
        n for n in constraints() if not remedies.search(str(shapes().value(rdflib.URIRef(EKGSH + n), SH.message)))
    }
    assert silent == set()


def test_constraints_are_violations_and_active() -> None:
    assert set(shapes().objects(None, SH.severity)) <= {SH.Violation}
    assert set(shapes().subjects(SH.deactivated)) == set()


def test_every_listed_constraint_exists_and_every_constraint_has_a_target() -> None:
    graph = shapes()
    listed = {s for s in graph.objects(None, SH.property) if isinstance(s, rdflib.URIRef)}
    assert {named(s) for s in listed if (s, RDF.type, SH.PropertyShape) not in graph} == set()
    targeted = {s for target in TARGETS for s in graph.subjects(target)}
    reached = targeted | {s for group in targeted for s in graph.objects(group, SH.property)}
    assert {name for name in constraints() if rdflib.URIRef(EKGSH + name) not in reached} == set()


def test_shapes_graph_says_what_it_is() -> None:
    assert list(shapes().subjects(RDF.type, OWL.Ontology)) == [rdflib.URIRef(EKGSH.rstrip("#"))]
    assert [path.name for path in SHAPE_FILES if not path.read_text("utf-8").startswith("# ")] == []
