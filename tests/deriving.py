"""What follows from documents, written shortly: for the tests of rules."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence

import pyoxigraph as ox

from kg import rules
from kg.engine.deriver import Copy, changed_by
from kg.terms import EKG

BASE = "https://kg.example/"
GRAPH = rules.graph_of(BASE)
RULES = rules.catalogue()

PROLOGUE = f"""
@prefix ekg: <{EKG}> . @prefix schema: <https://schema.org/> . @prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix p: <{BASE}proposition/> . @prefix a: <{BASE}actor/> . @prefix : <{BASE}article/> .
"""

Documents = Mapping[str, Iterable[ox.Triple]]


class Derived:
    """Documents, and what follows from them, followed change by change."""

    def __init__(self, by: Sequence[rules.Rule] = RULES) -> None:
        self.by = by
        self.store = ox.Store()
        self._copy = Copy(self.store, GRAPH)

    def put(self, documents: Documents) -> None:
        gone: list[ox.Quad] = []
        come: list[ox.Quad] = []
        for name, new in documents.items():
            graph = ox.NamedNode(BASE + name)
            old = [quad.triple for quad in self.store.quads_for_pattern(None, None, None, graph)]
            less, more = changed_by(graph, old, new)
            gone, come = gone + less, come + more
        for quad in gone:
            self.store.remove(quad)
        self.store.extend(come)
        rules.difference(self._copy, self.by, BASE, _named(gone), _named(come))

    @property
    def facts(self) -> set[ox.Triple]:
        return {quad.triple for quad in self.store.quads_for_pattern(None, None, None, GRAPH)}

    def from_scratch(self, *, without: Container[ox.NamedNode] = ()) -> set[ox.Triple]:
        anew = ox.Store()
        anew.extend(quad for quad in self.store if quad.graph_name != GRAPH and quad.graph_name not in without)
        for _ in rules.everything(Copy(anew, GRAPH), self.by, BASE):
            pass
        return {quad.triple for quad in anew.quads_for_pattern(None, None, None, GRAPH)}


def _named(quads: Iterable[ox.Quad]) -> set[ox.Triple]:
    return {quad.triple for quad in quads if isinstance(quad.subject, ox.NamedNode)}


def derive(turtle: str) -> dict[str, list[tuple[str, str]]]:
    """What follows from documents given as Turtle: pairs of subject and value by predicate, without namespaces."""
    derived = Derived()
    triples = [quad.triple for quad in ox.parse(PROLOGUE + turtle, format=ox.RdfFormat.TURTLE)]
    derived.put({"article/all": triples})
    assert derived.facts == derived.from_scratch()
    return shortened(derived.facts)


def shortened(facts: Iterable[ox.Triple]) -> dict[str, list[tuple[str, str]]]:
    """Pairs of subject and value by predicate, without namespaces."""
    found: dict[str, list[tuple[str, str]]] = {}
    for triple in facts:
        found.setdefault(_short(triple.predicate), []).append((_short(triple.subject), _short(triple.object)))
    return {predicate: sorted(pairs) for predicate, pairs in found.items()}


def _short(term: ox.NamedNode | ox.BlankNode | ox.Literal | ox.Triple) -> str:
    return re.sub(r"^.*/(ns#)?", "", str(getattr(term, "value", term)))


def act(name: str, more: str = "", *, voice: str = "Attributed", speaker: str = "x") -> str:
    article = name.partition("-")[0]
    return f":{name} ekg:reportedIn :{article} ; ekg:voice ekg:{voice} ; ekg:speaker a:{speaker} . :{name} {more or 'ekg:certainty ekg:Certain'} .\n"


def said(name: str, stance: str, proposition: str, day: str = "", **more: str) -> str:
    """An act that takes a stance on a proposition, on a day: `2025-01-01`, or bounds `2025-01-01/`, `/2025-01-01`."""
    text = f"ekg:stance ekg:{stance} ; ekg:content p:{proposition}"
    first, _, last = day.partition("/") if "/" in day else (day, "", day)
    bounds = [f'{word} "{bound}"^^xsd:date' for word, bound in (("ekg:earliest", first), ("ekg:latest", last)) if bound]
    return act(name, text + (f" ; ekg:time [ {' ; '.join(bounds)} ]" if bounds else ""), **more)


def published(article: str, day: str) -> str:
    return f':{article} schema:datePublished "{day}"^^xsd:date .\n'


def of(facts: Mapping[str, list[tuple[str, str]]], predicate: str) -> dict[str, str]:
    return {
        subject: " ".join(v for s, v in facts.get(predicate, []) if s == subject)
        for subject, _ in facts.get(predicate, [])
    }


def turns(facts: Mapping[str, list[tuple[str, str]]]) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Pairs of acts: of which class each is, since when it is known, and when it was superseded."""
    since, until, to = of(facts, "knownSince"), of(facts, "supersededOn"), of(facts, "toAct")
    classes = {node: sort for node, sort in facts.get("22-rdf-syntax-ns#type", []) if sort != "prov#Entity"}
    return {
        (start, to[node]): (classes[node], since.get(node, ""), until.get(node, ""))
        for node, start in of(facts, "fromAct").items()
    }
