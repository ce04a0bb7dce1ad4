"""The ontology as a set: each term documented and joined up, each use of one defined, JSON-LD without loss.

The other declarative folders are read as they are at run time: a new shape, query, rule or seed is covered by
being there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyoxigraph as ox
import pytest
from pyld import jsonld

from kg.terms import EKG, PREFIXES

ROOT = Path(__file__).parent.parent
ONTOLOGY = ROOT / "ontology" / "ekg.ttl"
ALIGNMENTS = ROOT / "ontology" / "alignments.ttl"
CONTEXT: dict[str, Any] = json.loads((ROOT / "ontology" / "context.jsonld").read_text("utf-8"))

RDF_FILES = sorted((ROOT / "shapes").rglob("*.ttl")) + sorted((ROOT / "seeds").rglob("*.ttl"))
SPARQL_FILES = sorted((ROOT / "queries").rglob("*.rq")) + sorted((ROOT / "ontology" / "rules").rglob("*.rq"))
SEEDS = sorted((ROOT / "seeds").rglob("*.ttl"))
BASE = "https://kg.example/"

RDF = PREFIXES["rdf"]
SH = PREFIXES["sh"]
RDF_TYPE = ox.NamedNode(RDF + "type")

#: Vocabularies that say how data is written or described, as against what it says: not listed.
LANGUAGES = (RDF, PREFIXES["xsd"], SH, PREFIXES["owl"])

PROLOGUE = "".join(f"PREFIX {prefix}: <{namespace}>\n" for prefix, namespace in PREFIXES.items()) + (
    "PREFIX vs: <http://www.w3.org/2003/06/sw-vocab-status/ns#>\n"
)
TURTLE_PROLOGUE = "".join(f"@prefix {prefix}: <{namespace}> .\n" for prefix, namespace in PREFIXES.items()) + (
    "@prefix vs: <http://www.w3.org/2003/06/sw-vocab-status/ns#> .\n"
)


def triples(path: Path) -> list[ox.Triple]:
    """The triples of a Turtle file, relative IRIs resolved against the test base."""
    return [quad.triple for quad in ox.parse(path=str(path), format=ox.RdfFormat.TURTLE, base_iri=BASE)]


def loaded(*turtle: str) -> ox.Store:
    """A store with these Turtle texts in its default graph."""
    store = ox.Store()
    for text in turtle:
        store.load(text, format=ox.RdfFormat.TURTLE, base_iri=BASE)
    return store


def rows(store: ox.Store, query: str) -> list[tuple[str, ...]]:
    """The rows of a SELECT, each value as people write it, in order; unbound as the empty string."""
    solutions = store.query(PROLOGUE + query)
    assert isinstance(solutions, ox.QuerySolutions)
    names = [variable.value for variable in solutions.variables]
    return sorted(tuple(written(solution[name]) for name in names) for solution in solutions)


def iris(store: ox.Store, query: str) -> set[str]:
    """The IRIs that a SELECT of one variable finds."""
    solutions = store.query(PROLOGUE + query)
    assert isinstance(solutions, ox.QuerySolutions)
    return {node.value for (node,) in solutions if isinstance(node, ox.NamedNode)}


def written(node: object) -> str:
    """A term as it would be written in Turtle with the house prefixes."""
    if not isinstance(node, ox.NamedNode):
        return "" if node is None else str(node)
    return short(node.value)


def short(iri: str) -> str:
    """`ekg:speaker` for its IRI; an IRI without a house prefix in angle brackets."""
    for prefix, namespace in PREFIXES.items():
        if iri.startswith(namespace):
            return f"{prefix}:{iri.removeprefix(namespace)}"
    return f"<{iri}>"


def listing(found: Iterable[str]) -> str:
    return "\n  ".join(["", *sorted(found)])


@pytest.fixture(scope="module")
def ontology() -> ox.Store:
    return loaded(ONTOLOGY.read_text("utf-8"))


# --- Documentation: one query for each thing that must hold, with a term that breaks it -------------------


@dataclass(frozen=True)
class Invariant:
    """A pattern whose solutions `?term` are the offenders, and Turtle with one, to prove that it finds.

    In the pattern, OURS binds `?term` to a term of this namespace that the ontology gives a type, PROPERTY to
    a property among them, and REUSED to a term of another vocabulary, with the `?source` that defines it.
    """

    name: str
    pattern: str
    offender: str

    @property
    def query(self) -> str:
        pattern = self.pattern.replace("OURS", OURS).replace("PROPERTY", PROPERTY).replace("REUSED", REUSED)
        return f"SELECT DISTINCT ?term WHERE {{ {pattern} }}"


OURS = "?term a ?type . FILTER STRSTARTS(STR(?term), STR(ekg:))"
PROPERTY = "?term a ?type . FILTER (?type IN (owl:ObjectProperty, owl:DatatypeProperty))"
REUSED = """
    ?term rdfs:isDefinedBy ?source . FILTER (?source != <https://w3id.org/ekg/ns>)
    FILTER (!STRSTARTS(STR(?term), STR(ekg:)))
"""

INVARIANTS = [
    Invariant(
        "a_term_has_an_english_label",
        "OURS FILTER NOT EXISTS { ?term rdfs:label ?label FILTER (LANG(?label) = 'en') }",
        'ekg:x a owl:Class ; rdfs:label "une chose"@fr .',
    ),
    Invariant(
        "a_term_has_no_two_labels_in_a_language",
        "OURS ?term rdfs:label ?one, ?two FILTER (?one != ?two && LANG(?one) = LANG(?two))",
        'ekg:x a owl:Class ; rdfs:label "one thing"@en, "another thing"@en .',
    ),
    Invariant(
        "two_terms_of_a_kind_do_not_share_a_label",
        """
        OURS ?term rdfs:label ?label . ?other a ?type ; rdfs:label ?same .
        FILTER (?term != ?other && LCASE(STR(?label)) = LCASE(STR(?same)))
        """,
        'ekg:x a owl:Class ; rdfs:label "One"@en . ekg:y a owl:Class ; rdfs:label "one"@en .',
    ),
    Invariant(
        "a_term_has_an_english_definition",
        "OURS FILTER NOT EXISTS { ?term skos:definition ?d FILTER (LANG(?d) = 'en') }",
        "ekg:x a owl:Class .",
    ),
    Invariant(
        "a_term_has_no_two_definitions_in_a_language",
        "OURS ?term skos:definition ?one, ?two FILTER (?one != ?two && LANG(?one) = LANG(?two))",
        'ekg:x a owl:Class ; skos:definition "one thing"@en, "another thing"@en .',
    ),
    Invariant(
        "two_terms_do_not_share_a_definition",
        "OURS ?term skos:definition ?d . ?other skos:definition ?d FILTER (?term != ?other)",
        'ekg:x a owl:Class ; skos:definition "A thing"@en . ekg:y skos:definition "A thing"@en .',
    ),
    Invariant(
        "a_term_has_an_example",
        "OURS FILTER NOT EXISTS { ?term skos:example ?e FILTER (STRLEN(?e) > 10) }",
        'ekg:x a owl:Class ; skos:example "" .',
    ),
    Invariant(
        "a_term_is_defined_by_this_ontology",
        "OURS FILTER NOT EXISTS { ?term rdfs:isDefinedBy <https://w3id.org/ekg/ns> }",
        "ekg:x a owl:Class .",
    ),
    Invariant(
        "a_term_is_defined_by_no_other_ontology",
        "OURS ?term rdfs:isDefinedBy ?other FILTER (?other != <https://w3id.org/ekg/ns>)",
        "ekg:x a owl:Class ; rdfs:isDefinedBy <https://w3id.org/ekg/ns>, <https://schema.org/> .",
    ),
    Invariant(
        "a_term_has_a_known_status",
        "OURS FILTER NOT EXISTS { ?term vs:term_status ?s FILTER (?s IN ('stable', 'testing', 'unstable')) }",
        'ekg:x a owl:Class ; vs:term_status "maybe" .',
    ),
    Invariant(
        "a_term_has_one_status",
        "OURS ?term vs:term_status ?one, ?two FILTER (?one != ?two)",
        'ekg:x a owl:Class ; vs:term_status "stable", "unstable" .',
    ),
    Invariant(
        "a_class_has_a_super_class",
        "?term a owl:Class FILTER NOT EXISTS { ?term rdfs:subClassOf ?super }",
        "ekg:x a owl:Class .",
    ),
    Invariant(
        "a_super_class_is_not_below_its_sub_class",
        "?term rdfs:subClassOf+ ?term",
        "ekg:x rdfs:subClassOf ekg:y . ekg:y rdfs:subClassOf ekg:x .",
    ),
    Invariant(
        "a_super_property_is_not_below_its_sub_property",
        "?term rdfs:subPropertyOf+ ?term",
        "ekg:x rdfs:subPropertyOf ekg:y . ekg:y rdfs:subPropertyOf ekg:x .",
    ),
    Invariant(
        "a_property_has_a_super_property_or_says_why_not",
        """
        PROPERTY FILTER NOT EXISTS { ?term rdfs:subPropertyOf ?super }
        FILTER NOT EXISTS { ?term rdfs:comment ?why FILTER CONTAINS(LCASE(?why), 'no super-property') }
        """,
        'ekg:x a owl:ObjectProperty ; rdfs:comment "Beautiful."@en .',
    ),
    Invariant(
        "a_property_hints_at_its_domain",
        "PROPERTY FILTER NOT EXISTS { ?term schema:domainIncludes ?domain }",
        "ekg:x a owl:ObjectProperty ; schema:rangeIncludes ekg:Event .",
    ),
    Invariant(
        "a_property_hints_at_its_range",
        "PROPERTY FILTER NOT EXISTS { ?term schema:rangeIncludes ?range }",
        "ekg:x a owl:ObjectProperty ; schema:domainIncludes ekg:Event .",
    ),
    Invariant(
        "a_property_says_how_often_it_is_used",
        """
        PROPERTY ?term vs:term_status 'stable'
        FILTER NOT EXISTS { ?term skos:scopeNote ?note FILTER REGEX(?note, 'exactly 1|[012][.][.][1n]') }
        """,
        'ekg:x a owl:ObjectProperty ; vs:term_status "stable" ; skos:scopeNote "Now and then."@en .',
    ),
    Invariant(
        "a_term_of_ours_that_another_refers_to_is_defined",
        """
        ?term schema:domainIncludes|schema:rangeIncludes|rdfs:subClassOf|rdfs:subPropertyOf|rdfs:seeAlso
              ?missing
        FILTER STRSTARTS(STR(?missing), STR(ekg:)) FILTER NOT EXISTS { ?missing a ?type }
        """,
        "ekg:x schema:rangeIncludes ekg:Nowhere .",
    ),
    Invariant(
        "the_values_of_an_object_property_are_not_literals",
        """
        ?term a owl:ObjectProperty ; schema:rangeIncludes ?range
        FILTER (STRSTARTS(STR(?range), STR(xsd:)) || ?range = rdf:langString)
        """,
        "ekg:x a owl:ObjectProperty ; schema:rangeIncludes xsd:date .",
    ),
    Invariant(
        "the_values_of_a_datatype_property_are_literals",
        """
        ?term a owl:DatatypeProperty ; schema:rangeIncludes ?range
        FILTER (!STRSTARTS(STR(?range), STR(xsd:)) && ?range != rdf:langString)
        """,
        "ekg:x a owl:DatatypeProperty ; schema:rangeIncludes ekg:Time .",
    ),
    Invariant(
        "nothing_is_inferred_from_a_domain_or_range",
        "?term rdfs:domain|rdfs:range ?class",
        "ekg:x rdfs:domain ekg:Event .",
    ),
    Invariant(
        "a_concept_is_a_top_concept_of_its_scheme",
        """
        ?term a skos:Concept FILTER NOT EXISTS {
            ?term skos:inScheme ?scheme ; skos:topConceptOf ?scheme .
            ?scheme a skos:ConceptScheme ; skos:hasTopConcept ?term }
        """,
        "ekg:x a skos:Concept ; skos:inScheme ekg:StanceScheme ; skos:topConceptOf ekg:StanceScheme .",
    ),
    Invariant(
        "a_concept_is_in_one_scheme",
        "?term skos:inScheme ?one, ?two FILTER (?one != ?two)",
        "ekg:x a skos:Concept ; skos:inScheme ekg:StanceScheme, ekg:VoiceScheme .",
    ),
    Invariant(
        "a_scheme_names_concepts_that_name_it",
        "?term skos:hasTopConcept ?concept FILTER NOT EXISTS { ?concept skos:inScheme ?term }",
        "ekg:x a skos:ConceptScheme ; skos:hasTopConcept ekg:Affirms .",
    ),
    Invariant(
        "the_preferred_label_of_a_concept_is_its_label",
        """
        ?term a ?kind FILTER (?kind IN (skos:Concept, skos:ConceptScheme))
        FILTER NOT EXISTS { ?term skos:prefLabel ?label ; rdfs:label ?label }
        """,
        'ekg:x a skos:Concept ; rdfs:label "this"@en ; skos:prefLabel "that"@en .',
    ),
    Invariant(
        "a_scheme_is_the_value_set_of_a_property",
        """
        ?term a skos:ConceptScheme
        FILTER NOT EXISTS { ?property rdfs:seeAlso ?term ; schema:rangeIncludes skos:Concept }
        """,
        "ekg:x a skos:ConceptScheme .",
    ),
    Invariant(
        "a_property_of_concepts_names_its_scheme",
        """
        ?term schema:rangeIncludes skos:Concept
        FILTER NOT EXISTS { ?term rdfs:seeAlso ?scheme . ?scheme a skos:ConceptScheme }
        """,
        "ekg:x schema:rangeIncludes skos:Concept .",
    ),
    Invariant(
        "a_reused_term_has_a_kind_a_label_and_a_note_on_its_use",
        "REUSED FILTER NOT EXISTS { ?term a ?kind ; rdfs:label ?label ; skos:scopeNote ?note }",
        'schema:x a rdf:Property ; rdfs:label "x"@en ; rdfs:isDefinedBy <https://schema.org/> .',
    ),
    Invariant(
        "a_reused_term_is_defined_by_its_own_vocabulary",
        "REUSED FILTER (!STRSTARTS(STR(?term), STR(?source)))",
        "schema:x rdfs:isDefinedBy <http://www.w3.org/ns/org#> .",
    ),
    Invariant(
        "a_reused_term_is_given_no_further_meaning",
        """
        REUSED
        ?term rdfs:subClassOf|rdfs:subPropertyOf|skos:definition|schema:domainIncludes|schema:rangeIncludes
              ?meaning
        """,
        "schema:x rdfs:isDefinedBy <https://schema.org/> ; rdfs:subPropertyOf ekg:time .",
    ),
]


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.name)
def test_every_term_keeps_the_house_rule(ontology: ox.Store, invariant: Invariant) -> None:
    offenders = rows(ontology, invariant.query)
    assert not offenders, f"{invariant.name}:" + listing(" ".join(row) for row in offenders)


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.name)
def test_the_house_rule_finds_a_term_that_breaks_it(invariant: Invariant) -> None:
    broken = loaded(ONTOLOGY.read_text("utf-8"), TURTLE_PROLOGUE + invariant.offender)
    assert any(row[0] in ("ekg:x", "schema:x") for row in rows(broken, invariant.query))


#: Words that a definition may share with its label without repeating it.
SMALL = {"a", "an", "and", "in", "is", "it", "of", "or", "that", "the", "to"}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower())) - SMALL


def test_a_definition_says_more_than_its_label(ontology: ox.Store) -> None:
    found = ontology.query(PROLOGUE + "SELECT ?term ?label ?d { ?term rdfs:label ?label ; skos:definition ?d }")
    assert isinstance(found, ox.QuerySolutions)
    texts = [(written(s["term"]), s["label"].value, s["d"].value) for s in found]
    assert texts
    offenders = [
        f"{term}: {definition}"
        for term, label, definition in texts
        if len(words(definition) - words(label)) < 2 or len(definition) < 15
    ]
    assert not offenders, listing(offenders)


def test_the_header_has_version_licence_prefix_and_policy(ontology: ox.Store) -> None:
    ((version, version_iri, licence, prefix, namespace, policy),) = rows(
        ontology,
        """
        PREFIX vann: <http://purl.org/vocab/vann/>
        SELECT ?version (STR(?iri) AS ?version_iri) (STR(?l) AS ?licence) ?prefix ?namespace ?policy {
            <https://w3id.org/ekg/ns> a owl:Ontology ;
                owl:versionInfo ?version ; owl:versionIRI ?iri ; dcterms:license ?l ;
                dcterms:title [] ; dcterms:description [] ; dcterms:created [] ; skos:changeNote ?policy ;
                vann:preferredNamespacePrefix ?prefix ; vann:preferredNamespaceUri ?namespace }
        """,
    )
    assert version == '"0.1.0"'
    assert version_iri == '"https://w3id.org/ekg/ns/0.1.0"'
    assert licence == '"https://creativecommons.org/licenses/by/4.0/"'
    assert (prefix, namespace) == ('"ekg"', f'"{EKG}"')
    assert "owl:deprecated" in policy


# --- Use: what shapes, queries, rules and seeds mention ---------------------------------------------------

SPARQL_TOKEN = re.compile(
    r"""
    (?P<string>\"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*')
  | (?P<declaration>\bPREFIX\s+(?P<name>[\w.-]*):\s*<(?P<namespace>[^<>\s]*)>)
  | <(?P<iri>[^<>"{}|^`\\\s]*)>
  | (?P<comment>\#[^\n]*)
  | (?<![\w?$@-])(?P<prefix>[A-Za-z][\w.-]*):(?P<local>[\w-]*(?:\.[\w-]+)*)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def iris_in_sparql(text: str, prefixes: dict[str, str]) -> set[str]:
    """The IRIs a query mentions, written out or prefixed, but not those in its strings and comments."""
    declared = dict(prefixes)
    found = set()
    for token in SPARQL_TOKEN.finditer(text):
        if token["declaration"]:
            declared[token["name"]] = token["namespace"]
        elif token["iri"]:
            found.add(token["iri"])
        elif token["prefix"] in declared and token["local"]:
            found.add(declared[token["prefix"]] + token["local"])
    return found


def test_the_scanner_reads_what_sparql_reads() -> None:
    query = """
        PREFIX e: <https://w3id.org/ekg/ns#>   # e:comment <https://w3id.org/ekg/ns#comment>
        SELECT ?_on_date { ?a e:speaker/^e:content ?b ; a <https://w3id.org/ekg/ns#Denial> .
          FILTER (?x < 3 && ?y > 2) FILTER (STR(?a) != "e:string # no") FILTER (?l = '''e:long' "''')
          ?b e:about ?c . ?c e:time[] .
          FILTER (?v:nothing != "x"@en) }
    """
    expected = {"speaker", "content", "Denial", "about", "time"}
    assert {iri.removeprefix(EKG) for iri in iris_in_sparql(query, {})} == expected


def nodes(statements: Iterable[ox.Triple]) -> Iterator[str]:
    """Every IRI of the triples: subjects, predicates, objects and datatypes."""
    for triple in statements:
        for term in (triple.subject, triple.predicate, triple.object):
            if isinstance(term, ox.NamedNode):
                yield term.value
            elif isinstance(term, ox.Literal):
                yield term.datatype.value


def sparql_in_shapes(statements: list[ox.Triple]) -> Iterator[str]:
    """The IRIs mentioned by the SPARQL that shapes carry, under the prefixes they declare for it."""
    namespaces = {
        t.subject: t.object.value
        for t in statements
        if t.predicate.value == SH + "namespace" and isinstance(t.object, ox.Literal)
    }
    declared = {
        t.object.value: namespaces[t.subject]
        for t in statements
        if t.predicate.value == SH + "prefix" and isinstance(t.object, ox.Literal) and t.subject in namespaces
    }
    for triple in statements:
        if triple.predicate.value in (SH + "select", SH + "ask") and isinstance(triple.object, ox.Literal):
            yield from iris_in_sparql(triple.object.value, PREFIXES | declared)


def mentions() -> dict[str, set[str]]:
    """For each IRI, the files of shapes, seeds, queries and rules that mention it."""
    found: dict[str, set[str]] = {}
    # Prefixes for SPARQL in shapes may be declared once, in a file of their own.
    shapes = [triple for path in sorted((ROOT / "shapes").rglob("*.ttl")) for triple in triples(path)]
    for iri in sparql_in_shapes(shapes):
        found.setdefault(iri, set()).add("shapes (SPARQL)")
    for path in RDF_FILES:
        for iri in nodes(triples(path)):
            found.setdefault(iri, set()).add(str(path.relative_to(ROOT)))
    for path in SPARQL_FILES:
        for iri in iris_in_sparql(path.read_text("utf-8"), {}):
            found.setdefault(iri, set()).add(str(path.relative_to(ROOT)))
    return found


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    return mentions()


def terms_of(store: ox.Store, *kinds: str) -> set[str]:
    """The IRIs of our namespace that the ontology gives one of these types."""
    wanted = " ".join(kinds)
    return iris(
        store,
        f"SELECT DISTINCT ?t {{ VALUES ?k {{ {wanted} }} ?t a ?k FILTER STRSTARTS(STR(?t), STR(ekg:)) }}",
    )


ANY = (
    "owl:Class",
    "owl:ObjectProperty",
    "owl:DatatypeProperty",
    "skos:Concept",
    "skos:ConceptScheme",
    "sh:ConstraintComponent",
)
IN_DATA = ANY[:4]


def test_every_term_used_is_defined(ontology: ox.Store, used: dict[str, set[str]]) -> None:
    undefined = {iri for iri in used if iri.startswith(EKG)} - terms_of(ontology, *ANY)
    assert not undefined, listing(f"{short(iri)} in {', '.join(sorted(used[iri])[:3])}" for iri in undefined)


def test_every_defined_term_is_used_or_reserved(ontology: ox.Store, used: dict[str, set[str]]) -> None:
    reserved = iris(ontology, "SELECT ?t { ?t vs:term_status 'unstable' }")
    unused = terms_of(ontology, *IN_DATA) - reserved - set(used)
    assert not unused, listing(map(short, unused))


def test_no_class_is_an_orphan(ontology: ox.Store, used: dict[str, set[str]]) -> None:
    """A class hangs below something, and something hangs on it: a property, a subclass, or a shape."""
    joined = iris(
        ontology,
        "SELECT DISTINCT ?t { [] schema:domainIncludes|schema:rangeIncludes|rdfs:subClassOf ?t }",
    )
    shaped = {
        triple.object.value
        for path in sorted((ROOT / "shapes").rglob("*.ttl"))
        for triple in triples(path)
        if triple.predicate.value in (SH + "targetClass", SH + "class", SH + "hasValue", RDF + "first")
        and isinstance(triple.object, ox.NamedNode)
    }
    reserved = iris(ontology, "SELECT ?t { ?t vs:term_status 'unstable' }")
    orphans = terms_of(ontology, "owl:Class") - joined - shaped - reserved
    # A leaf below a class of ours that has properties has its place from it, where it is used.
    inherited = iris(
        ontology,
        "SELECT DISTINCT ?t { ?t rdfs:subClassOf+ ?s . ?p schema:domainIncludes|schema:rangeIncludes ?s }",
    )
    orphans -= inherited & set(used)
    assert not orphans, listing(map(short, orphans))


def test_reserved_terms_are_not_in_the_seeds(ontology: ox.Store) -> None:
    reserved = iris(ontology, "SELECT ?t { ?t vs:term_status 'unstable' }")
    assert reserved
    used_by_seeds = {iri for path in SEEDS for iri in nodes(triples(path))}
    assert not reserved & used_by_seeds, listing(map(short, reserved & used_by_seeds))


def test_every_reused_term_is_listed(ontology: ox.Store, used: dict[str, set[str]]) -> None:
    """What seeds use as property, type or datatype, and what shapes and queries name, beside our own."""
    listed = iris(ontology, f"SELECT ?term {{ {REUSED} }}")
    found: dict[str, str] = {}
    for path in SEEDS:
        for triple in triples(path):
            found[triple.predicate.value] = path.name
            if triple.predicate == RDF_TYPE and isinstance(triple.object, ox.NamedNode):
                found[triple.object.value] = path.name
            if isinstance(triple.object, ox.Literal):
                found[triple.object.datatype.value] = path.name
    for path in sorted((ROOT / "shapes").rglob("*.ttl")):
        for triple in triples(path):
            names_a_term = triple.predicate.value.startswith(SH) or triple.predicate.value == RDF + "first"
            if names_a_term and isinstance(triple.object, ox.NamedNode):
                found[triple.object.value] = path.name
    for iri, files in used.items():
        if any(file.endswith(".rq") or file == "shapes (SPARQL)" for file in files):
            found[iri] = sorted(files)[0]
    vocabularies = tuple(namespace for namespace in PREFIXES.values() if namespace not in (*LANGUAGES, EKG))
    unlisted = {iri for iri in found if iri.startswith(vocabularies)} - listed
    foreign = {
        triple.predicate.value
        for path in SEEDS
        for triple in triples(path)
        if not triple.predicate.value.startswith((*vocabularies, *LANGUAGES, EKG))
    }
    assert not unlisted | foreign, listing(f"{short(iri)} in {found[iri]}" for iri in unlisted | foreign)


def test_every_listed_term_is_reused(ontology: ox.Store, used: dict[str, set[str]]) -> None:
    idle = iris(ontology, f"SELECT ?term {{ {REUSED} }}") - set(used)
    assert not idle, listing(map(short, idle))


def test_shapes_allow_exactly_the_concepts_of_each_scheme(ontology: ox.Store) -> None:
    shapes = loaded(*(path.read_text("utf-8") for path in sorted((ROOT / "shapes").rglob("*.ttl"))))
    by_property = {
        iri: iris(ontology, f"SELECT ?c {{ <{iri}> rdfs:seeAlso ?scheme . ?c skos:inScheme ?scheme }}")
        for iri in iris(ontology, "SELECT ?p { ?p schema:rangeIncludes skos:Concept ; vs:term_status 'stable' }")
    }
    assert len(by_property) == 6
    for iri, concepts in by_property.items():
        lists = shapes.query(
            PROLOGUE + f"SELECT ?list (GROUP_CONCAT(STR(?v)) AS ?all) {{ ?s sh:path <{iri}> ; sh:in ?list ."
            " ?list rdf:rest*/rdf:first ?v } GROUP BY ?list"
        )
        assert isinstance(lists, ox.QuerySolutions)
        allowed = [set(solution["all"].value.split()) for solution in lists]
        assert concepts in allowed, f"no shape allows exactly the concepts of {short(iri)}: {allowed}"


def test_shapes_allow_only_values_that_the_ontology_hints_at(ontology: ox.Store) -> None:
    both = loaded(
        ONTOLOGY.read_text("utf-8"),
        *(path.read_text("utf-8") for path in sorted((ROOT / "shapes").rglob("*.ttl"))),
    )
    allowed = """
        ?shape sh:path ?property . FILTER STRSTARTS(STR(?property), STR(ekg:))
        ?shape sh:class|(sh:or/rdf:rest*/rdf:first/sh:class) ?class .
    """
    assert len(iris(both, f"SELECT DISTINCT ?property {{ {allowed} }}")) > 10
    strangers = rows(
        both,
        f"SELECT DISTINCT ?property ?class {{ {allowed}"
        " FILTER NOT EXISTS { ?property schema:rangeIncludes ?range . ?class rdfs:subClassOf* ?range } }",
    )
    assert not strangers, listing(" -> ".join(row) for row in strangers)


def test_the_service_raises_each_constraint_component(ontology: ox.Store) -> None:
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "kg").rglob("*.py")))
    components = terms_of(ontology, "sh:ConstraintComponent")
    assert len(components) == 3
    silent = {iri for iri in components if iri.removeprefix(EKG) not in source}
    assert not silent, listing(map(short, silent))


# --- Alignments -------------------------------------------------------------------------------------------

MAPPINGS = """
    VALUES ?match { skos:exactMatch skos:closeMatch skos:broadMatch skos:narrowMatch skos:relatedMatch
                    owl:equivalentClass owl:equivalentProperty owl:sameAs }
"""
UNREASONED = """
    SELECT ?term ?target {
      VALUES ?match { skos:exactMatch owl:equivalentClass owl:equivalentProperty owl:sameAs }
      ?term ?match ?target
      FILTER NOT EXISTS {
        [] a owl:Axiom ; owl:annotatedSource ?term ; owl:annotatedProperty ?match ;
           owl:annotatedTarget ?target ; rdfs:comment ?why FILTER (STRLEN(?why) > 20) } }
"""


@pytest.fixture(scope="module")
def alignments() -> ox.Store:
    return loaded(ALIGNMENTS.read_text("utf-8"))


def test_only_defined_terms_of_ours_are_mapped(ontology: ox.Store, alignments: ox.Store) -> None:
    sources = iris(alignments, f"SELECT DISTINCT ?term {{ {MAPPINGS} ?term ?match ?target }}")
    assert sources
    strangers = sources - terms_of(ontology, *ANY)
    assert not strangers, listing(map(short, strangers))


def test_nothing_is_mapped_to_a_term_of_ours(alignments: ox.Store) -> None:
    loops = rows(
        alignments,
        f"SELECT ?term ?target {{ {MAPPINGS} ?term ?match ?target FILTER STRSTARTS(STR(?target), STR(ekg:)) }}",
    )
    assert not loops, listing(" ".join(row) for row in loops)


def test_no_exact_match_without_a_reason(alignments: ox.Store) -> None:
    unreasoned = rows(alignments, UNREASONED)
    assert not unreasoned, listing(" ".join(row) for row in unreasoned)


def test_an_exact_match_needs_its_own_reason() -> None:
    claim = "ekg:Event skos:exactMatch sem:Event . "
    reason = (
        "[] a owl:Axiom ; owl:annotatedSource ekg:Event ; owl:annotatedProperty skos:exactMatch ;"
        ' owl:annotatedTarget sem:%s ; rdfs:comment "Both leave open whether it took place." .'
    )
    assert rows(loaded(TURTLE_PROLOGUE + claim), UNREASONED) == [("ekg:Event", "sem:Event")]
    assert rows(loaded(TURTLE_PROLOGUE + claim + reason % "Place"), UNREASONED) == [("ekg:Event", "sem:Event")]
    assert rows(loaded(TURTLE_PROLOGUE + claim + reason % "Event"), UNREASONED) == []


def test_a_pair_is_mapped_in_one_strength_only(alignments: ox.Store) -> None:
    twice = rows(
        alignments,
        f"SELECT ?term ?target {{ {MAPPINGS} ?term ?match ?target }} GROUP BY ?term ?target HAVING (COUNT(*) > 1)",
    )
    assert not twice, listing(" ".join(row) for row in twice)


def test_a_mapping_does_not_repeat_a_super_term(ontology: ox.Store, alignments: ox.Store) -> None:
    both = loaded(ONTOLOGY.read_text("utf-8"), ALIGNMENTS.read_text("utf-8"))
    repeated = rows(
        both,
        f"SELECT ?term ?target {{ {MAPPINGS} ?term ?match ?target ; rdfs:subClassOf|rdfs:subPropertyOf ?target }}",
    )
    assert not repeated, listing(" ".join(row) for row in repeated)


def test_every_mapping_set_has_a_source_and_mappings(alignments: ox.Store) -> None:
    sets = iris(alignments, "PREFIX void: <http://rdfs.org/ns/void#> SELECT ?s { ?s a void:Linkset }")
    named = iris(alignments, "SELECT ?s { <https://w3id.org/ekg/alignments> dcterms:hasPart ?s }")
    sourced = iris(
        alignments,
        "SELECT ?s { ?s dcterms:source ?source ; dcterms:title ?t ; rdfs:comment ?c"
        " FILTER REGEX(?c, '^Source: .*20[0-9][0-9]', 's') }",
    )
    names = {iri.rpartition("#")[2] for iri in sets}
    assert names == {"sem", "prov", "schema", "grasp", "aif", "cito", "cameo", "plover"}
    assert sets == named == sourced
    targets = iris(alignments, f"SELECT DISTINCT ?target {{ {MAPPINGS} ?term ?match ?target }}")
    marks = {
        "schema": "https://schema.org/",
        "aif": "/AIDA-Interchange-Format/",
        "cameo": "#cameo-",
        "plover": "#plover-",
    }
    empty = {name for name in names if not any(marks.get(name, f"/{name}") in target for target in targets)}
    assert not empty, listing(empty)


def test_every_code_is_mapped_and_has_a_notation(alignments: ox.Store) -> None:
    codes = iris(alignments, "SELECT ?c { ?c a skos:Concept }")
    mapped = iris(alignments, f"SELECT DISTINCT ?target {{ {MAPPINGS} ?term ?match ?target . ?target a skos:Concept }}")
    complete = iris(
        alignments,
        "SELECT ?c { ?c skos:notation ?n ; skos:prefLabel ?l ; skos:inScheme ?s"
        " FILTER STRENDS(STR(?c), CONCAT('-', ?n)) }",
    )
    assert codes == mapped == complete


@pytest.mark.parametrize(
    ("term", "match", "code"),
    [
        ("ekg:Admission", "skos:closeMatch", "015"),
        ("ekg:Denial", "skos:narrowMatch", "016"),
        ("ekg:Praise", "skos:closeMatch", "051"),
        ("ekg:Signing", "skos:closeMatch", "057"),
        ("ekg:Accusation", "skos:closeMatch", "112"),
        ("ekg:Accusation", "skos:relatedMatch", "111"),
        ("ekg:Engagement", "skos:closeMatch", "19"),
        ("ekg:Accusation", "skos:relatedMatch", "ACCUSE"),
    ],
)
def test_event_codes_are_found_by_their_notation(alignments: ox.Store, term: str, match: str, code: str) -> None:
    assert (match,) in rows(alignments, f"SELECT ?match {{ {term} ?match ?concept . ?concept skos:notation '{code}' }}")


# --- The JSON-LD context ----------------------------------------------------------------------------------

DEFINITIONS: dict[str, Any] = {key: value for key, value in CONTEXT["@context"].items() if not key.startswith("@")}


def identifier(definition: Any) -> str:
    """The IRI or keyword a context entry stands for, its prefix expanded."""
    name: str = definition["@id"] if isinstance(definition, dict) else definition
    prefix, colon, local = name.partition(":")
    return PREFIXES[prefix] + local if colon and prefix in PREFIXES else name


def test_the_context_has_the_name_of_every_term_and_no_other(ontology: ox.Store) -> None:
    terms = terms_of(ontology, *IN_DATA) | iris(ontology, f"SELECT ?term {{ {REUSED} }}")
    wanted = {re.split(r"[#/]", iri)[-1]: iri for iri in terms}
    assert len(wanted) == len(terms), "two terms share a local name"
    aliases = {"id": "@id", "type": "@type"}
    # `time` is a property of ours; as a prefix it would be ambiguous to every reader of the JSON.
    prefixes = {prefix: namespace for prefix, namespace in PREFIXES.items() if prefix != "time"}
    assert {key: identifier(value) for key, value in DEFINITIONS.items()} == wanted | aliases | prefixes


def test_the_context_coerces_as_the_ontology_says(ontology: ox.Store) -> None:
    wrong = []
    for iri in terms_of(ontology, "owl:ObjectProperty"):
        definition = DEFINITIONS[iri.removeprefix(EKG)]
        of_concepts = rows(ontology, f"SELECT ?p {{ BIND (<{iri}> AS ?p) ?p schema:rangeIncludes skos:Concept }}")
        if not isinstance(definition, dict) or definition.get("@type") != ("@vocab" if of_concepts else "@id"):
            wrong.append(short(iri))
    for iri, datatype in (
        ("earliest", "xsd:date"),
        ("latest", "xsd:date"),
        ("datePublished", "xsd:date"),
        ("start", "xsd:integer"),
        ("end", "xsd:integer"),
        ("asWKT", "geo:wktLiteral"),
    ):
        if DEFINITIONS[iri].get("@type") != datatype:
            wrong.append(iri)
    assert not wrong, listing(wrong)


def no_network(url: str, options: Any) -> Any:
    raise AssertionError(f"asked for {url}")


def canonical(quads: Iterable[ox.Quad]) -> list[str]:
    """The quads with blank nodes named by RDFC-1.0, sorted: equal for equal datasets."""
    dataset = ox.Dataset(quads)
    dataset.canonicalize(ox.CanonicalizationAlgorithm.RDFC_1_0)
    return sorted(str(quad) for quad in dataset)


def compacted(quads: Iterable[ox.Quad]) -> dict[str, Any]:
    """The dataset as JSON-LD under the context, which is inlined."""
    n_quads = ox.serialize(quads, format=ox.RdfFormat.N_QUADS)
    assert n_quads is not None
    expanded = jsonld.from_rdf(n_quads.decode(), {"documentLoader": no_network})
    result: dict[str, Any] = jsonld.compact(expanded, CONTEXT, {"documentLoader": no_network, "graph": True})
    return {**result, "@context": CONTEXT["@context"]}


def read_by_pyld(document: dict[str, Any]) -> list[str]:
    n_quads = jsonld.to_rdf(document, {"format": "application/n-quads", "documentLoader": no_network, "base": BASE})
    return canonical(ox.parse(n_quads, format=ox.RdfFormat.N_QUADS))


def read_by_oxigraph(document: dict[str, Any]) -> list[str]:
    return canonical(ox.parse(json.dumps(document), format=ox.RdfFormat.JSON_LD, base_iri=BASE))


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    return {key for inner in value for key in keys_of(inner)} if isinstance(value, list) else set()


#: Every term of the vocabulary, and the literals that are hardest to keep: without a language where one is
#: usual, in other scripts, with a region, a dateTime where a date is usual, an integer in an unusual form,
#: quotes and newlines.
SAMPLE = (
    TURTLE_PROLOGUE
    + """
@prefix : <article/sample#> .
<article/sample> a ekg:Article ; rdfs:label "A sample"@en, "Зразок"@uk, "표본"@ko, "no language" ;
    schema:headline "Headline"@en-GB ; schema:publisher <actor/outlet> ;
    schema:datePublished "2025-04-27T08:30:00Z"^^xsd:dateTime ;
    schema:url <https://news.example/a?b=c#d> ; schema:inLanguage "en" ;
    schema:isBasedOn <https://en.wikipedia.org/wiki/Portal:X> ;
    ekg:textDigest "sha256:00" ; ekg:retractedAt "2026-11-22T18:00:00Z"^^xsd:dateTime ; ekg:retractionReason "Forged" ;
    rdfs:comment "One\\nnote, \\"quoted\\""@en, "Another"@en .
<article/dated> a ekg:Article ; rdfs:label "Dated"@en ; schema:headline "untagged" ;
    schema:datePublished "2025-04-27"^^xsd:date .
<article/odd> a ekg:Article ; schema:datePublished "2025" ; schema:url "https://not-an.example/iri" .
<actor/outlet> a ekg:Organization, ekg:Actor ; skos:altLabel "Outlet"@en, "The Outlet"@en, "untagged" ;
    schema:sameAs <http://www.wikidata.org/entity/Q1>, <http://www.wikidata.org/entity/Q2> .
<actor/force> a ekg:ArmedForce, ekg:Organization, ekg:Actor .
<actor/state> a ekg:State, ekg:Actor .
<actor/group> a ekg:UnnamedGroup, ekg:Actor .
<actor/person> a ekg:Person, ekg:Actor ; rdfs:label "Персона"@ru .
<actor/person#post-chief> a ekg:Tenure ; org:member <actor/person> ; org:organization <actor/state> ;
    ekg:post "chief"@en, "начальник"@ru, "untagged" ; ekg:time <actor/person#t1> .
<actor/person#t1> a ekg:Time ; ekg:edtf "2024-06~" .
<place/p> a ekg:Place ; schema:containedInPlace <place/q> ;
    geo:hasGeometry [ a sf:Point ; geo:asWKT "POINT(36.19 51.73)"^^geo:wktLiteral ], [ geo:asWKT "plain" ] .
<agreement/a> a ekg:Agreement ; ekg:party <actor/state>, <actor/outlet> .
<event/e> a ekg:Deployment, ekg:Event ; ekg:place <place/p> ; ekg:force <actor/force> ;
    ekg:by <actor/state> ; ekg:alongside <actor/group> ;
    ekg:against <actor/outlet> ; sem:hasSubEvent <event/f>, <event/g> ; ekg:time <event/e#t1> .
<event/e#t1> a ekg:Time ; ekg:surface "last year"@en ; ekg:earliest "2024-01-01"^^xsd:date ;
    ekg:latest "2024-12-31"^^xsd:date .
<event/f> a ekg:Signing, ekg:Event ; ekg:agreement <agreement/a> .
<event/g> a ekg:Engagement, ekg:Event . <event/h> a ekg:Deception, ekg:Event .
:s1 a ekg:Admission, ekg:SpeechAct, ekg:Event ; ekg:speaker <actor/person> ; ekg:onBehalfOf <actor/state> ;
    ekg:inRole <actor/person#post-chief> ; ekg:content <proposition/p> ; ekg:stance ekg:Affirms ;
    ekg:certainty ekg:Certain ; ekg:extent ekg:Once ;
    ekg:voice ekg:Attributed ; ekg:respondsTo :s2 ; ekg:invokes <agreement/a> ;
    ekg:reportedIn <article/sample> ; ekg:evidence :e1 ;
    ekg:time :t1 ; ekg:sameActAs <article/dated#s1>, <article/dated#s2> .
:s2 a ekg:Denial, ekg:SpeechAct, ekg:Event ; ekg:stance ekg:Denies ; ekg:certainty ekg:Probable ;
    ekg:extent ekg:Repeated ; ekg:voice ekg:Presupposed .
:s3 a ekg:Concern, ekg:SpeechAct, ekg:Event ; ekg:stance ekg:Entertains ; ekg:certainty ekg:Possible ;
    ekg:extent ekg:Consistent ; ekg:voice ekg:ArticleVoice .
:s4 a ekg:Report, ekg:SpeechAct, ekg:Event ; ekg:reports :s1 ; ekg:origin :s1 ; ekg:depth 1 ;
    ekg:representative :s4 ; ekg:chain ekg:Rooted ; ekg:utterance "00" ; ekg:earliestDay "2025-04-26"^^xsd:date ;
    ekg:latestDay "2025-04-26"^^xsd:date ; ekg:upholds <proposition/p> ; ekg:disputes <proposition/q> ;
    ekg:standsFor "01" ; ekg:standsAgainst "02" ; ekg:stillAffirms <proposition/p> ; ekg:stillDenies <proposition/q> ;
    ekg:positionOf <actor/state> ; ekg:independentlyAffirms <proposition/p> ; ekg:independentlyDenies <proposition/q> .
:s5 a ekg:Praise, ekg:SpeechAct, ekg:Event ; ekg:evaluates <actor/force>, <event/e> .
:s6 a ekg:Claim, ekg:Refutation, ekg:Accusation, ekg:Justification, ekg:Assessment .
:e1 a ekg:Evidence ; oa:hasSource <article/sample> ;
    oa:hasSelector
        [ a oa:TextQuoteSelector ; oa:exact "слова" ; oa:prefix "before "@en ; oa:suffix " after" ],
        [ a oa:TextPositionSelector ; oa:start 134 ; oa:end 139 ] .
:e2 a ekg:Evidence ; oa:hasSelector [ a oa:TextPositionSelector ; oa:start "007"^^xsd:integer ;
    oa:end "9"^^xsd:nonNegativeInteger ] .
:t1 a ekg:Time ; ekg:surface "26 April" .
<proposition/p> a ekg:Proposition ; schema:text "Text."@en, "Текст."@uk, "untagged" ;
    ekg:about <event/e>, <place/p> ; ekg:aspect ekg:Presence ;
    ekg:modality ekg:Actual ; ekg:imputedTo <actor/state> ; ekg:entails <proposition/q>,
    <proposition/r> ; ekg:contradicts <proposition/s> ;
    ekg:sameClaimAs <proposition/t> .
<proposition/q> ekg:aspect ekg:Occurrence ; ekg:modality ekg:Planned .
<proposition/r> ekg:aspect ekg:End ; ekg:modality ekg:Hypothetical .
<proposition/s> ekg:aspect ekg:Legality . <proposition/t> ekg:aspect ekg:Intent .
<proposition/u> ekg:aspect ekg:Identity .
<proposition/u> ekg:implies <proposition/p> ; ekg:conflictsWith <proposition/q> ; ekg:firstAffirmed :s1 ;
    ekg:firstAffirmedOn "2025-04-26"^^xsd:date ; ekg:firstDenied :s2 ; ekg:firstDeniedOn "2025-04-25"^^xsd:date ;
    ekg:originsAffirming 2 ; ekg:originsDenying 1 ; ekg:unnamedOnly true ; ekg:contested true ;
    ekg:affirmedSince "2025-04-26"^^xsd:date ; ekg:deniedSince "2025-04-25"^^xsd:date ;
    ekg:contestedSince "2025-04-26"^^xsd:date ; ekg:cameTrueAs <proposition/p> .
_:reversal a ekg:Reversal, prov:Entity ; ekg:actor <actor/state> ; ekg:fromAct :s2 ; ekg:toAct :s1 ; ekg:fromProposition <proposition/p> ;
    ekg:toProposition <proposition/q> ; ekg:days 1 ; ekg:knownSince "2025-04-27"^^xsd:date .
_:former a ekg:FormerReversal ; ekg:supersededOn "2025-04-28"^^xsd:date .
:s5 ekg:chain ekg:Unrooted . :s6 ekg:chain ekg:Ring .
"""
)


def sample() -> list[ox.Quad]:
    return list(ox.parse(SAMPLE, format=ox.RdfFormat.TURTLE, base_iri=BASE))


def test_the_sample_uses_every_term_of_the_context() -> None:
    wanted = {
        identifier(value) for key, value in DEFINITIONS.items() if key not in PREFIXES and key not in ("id", "type")
    }
    missing = wanted - set(nodes(quad.triple for quad in sample()))
    assert not missing, listing(map(short, missing))


def test_the_sample_round_trips_without_loss() -> None:
    document = compacted(sample())
    assert read_by_pyld(document) == canonical(sample())
    assert read_by_oxigraph(document) == canonical(sample())


def test_the_usual_case_needs_no_prefix() -> None:
    document = compacted(sample())
    nodes_by_id = {node["id"]: node for node in document["@graph"]}
    admission = nodes_by_id[BASE + "article/sample#s1"]
    assert set(admission["type"]) == {"Admission", "SpeechAct", "Event"}
    assert (admission["stance"], admission["certainty"], admission["voice"]) == (
        "Affirms",
        "Certain",
        "Attributed",
    )
    assert admission["speaker"] == BASE + "actor/person"
    assert nodes_by_id[BASE + "event/e#t1"]["earliest"] == "2024-01-01"
    assert nodes_by_id[BASE + "article/dated"]["datePublished"] == "2025-04-27"
    assert nodes_by_id[BASE + "article/sample"]["label"] == {
        "en": "A sample",
        "uk": "Зразок",
        "ko": "표본",
        "@none": "no language",
    }


def test_the_unusual_case_falls_back_to_a_prefixed_key() -> None:
    nodes_by_id = {node["id"]: node for node in compacted(sample())["@graph"]}
    article = nodes_by_id[BASE + "article/sample"]
    assert article["schema:datePublished"] == {"type": "xsd:dateTime", "@value": "2025-04-27T08:30:00Z"}
    assert nodes_by_id[BASE + "article/odd"]["schema:url"] == "https://not-an.example/iri"


def test_json_as_people_write_it_reads_as_the_turtle() -> None:
    """Nested selectors, plain strings and numbers, enumerations by name: no keyword but the context."""
    document = {
        "@context": CONTEXT["@context"],
        "id": "article/x#s1",
        "type": ["Denial", "SpeechAct", "Event"],
        "speaker": "actor/russia",
        "stance": "Denies",
        "voice": "Attributed",
        "comment": "no language",
        "evidence": {
            "id": "article/x#e1",
            "type": "Evidence",
            "hasSelector": [
                {"type": "TextQuoteSelector", "exact": "had consistently denied"},
                {"type": "TextPositionSelector", "start": 3, "end": 26},
            ],
        },
        "time": {"id": "article/x#t1", "type": "Time", "surface": "Until now", "latest": "2025-04-25"},
    }
    turtle = (
        TURTLE_PROLOGUE
        + """
        <article/x#s1> a ekg:Denial, ekg:SpeechAct, ekg:Event ;
            ekg:speaker <actor/russia> ; ekg:stance ekg:Denies ; ekg:voice ekg:Attributed ;
            rdfs:comment "no language" ; ekg:evidence <article/x#e1> ; ekg:time <article/x#t1> .
        <article/x#e1> a ekg:Evidence ; oa:hasSelector
            [ a oa:TextQuoteSelector ; oa:exact "had consistently denied" ],
            [ a oa:TextPositionSelector ; oa:start 3 ; oa:end 26 ] .
        <article/x#t1> a ekg:Time ; ekg:surface "Until now" ; ekg:latest "2025-04-25"^^xsd:date .
        """
    )
    expected = canonical(ox.parse(turtle, format=ox.RdfFormat.TURTLE, base_iri=BASE))
    assert read_by_oxigraph(document) == expected
    assert read_by_pyld(document) == expected


def test_a_misspelt_key_or_value_is_kept_for_the_gate_to_refuse() -> None:
    """Without @vocab, JSON-LD would drop an unknown key in silence: the act would just lack a speaker."""
    document = {
        "@context": CONTEXT["@context"],
        "id": "article/x#s1",
        "type": "Denail",
        "speeker": "actor/russia",
        "stance": "Denys",
    }
    mentioned = " ".join(read_by_oxigraph(document))
    assert all(f"<{EKG}{name}>" in mentioned for name in ("Denail", "speeker", "Denys"))
    assert read_by_pyld(document) == read_by_oxigraph(document)


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: str(path.relative_to(ROOT / "seeds")))
def test_a_seed_round_trips_without_loss(path: Path) -> None:
    quads = list(ox.parse(path=str(path), format=ox.RdfFormat.TURTLE, base_iri=BASE))
    document = compacted(quads)
    expected = canonical(quads)
    assert read_by_oxigraph(document) == expected
    assert read_by_pyld(document) == expected
    # A publication time to the second is as good as a day; it only takes the longer key.
    prefixed = {key for key in keys_of(document["@graph"]) if ":" in key} - {"schema:datePublished"}
    assert not prefixed, f"values that the context does not foresee: {sorted(prefixed)}"
