"""The past: states in the journal, differences in words and as graphs, TimeMaps, provenance, and the commands that show them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import kg_here

from kg import documents, history
from kg.documents import Document
from kg.errors import RequestError
from kg.journal import Journal, Revision
from kg.terms import PREFIXES, RDF_TYPE, Base

BASE = generate.BASE
RUSSIA = BASE.document("actor", "russia")


def actor(label: str, slug: str = "russia") -> Document:
    return generate.actor(slug, "State", label).document()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    """A journal in which an actor is recorded, corrected, withdrawn and recorded again, and another once."""
    journal = Journal.create(tmp_path / "journal.sqlite", BASE)
    journal.commit({RUSSIA: actor("Rusia")}, agent="ann")
    journal.commit(
        {RUSSIA: actor("Russia"), BASE.document("actor", "egypt"): actor("Égypte", "egypt")},
        agent="ben",
        change="corrected-encoding",
        note="a letter",
    )
    journal.commit({RUSSIA: None}, agent="cho")
    journal.commit({RUSSIA: actor("Russia, again")}, agent="dee")
    yield journal
    journal.close()


# States


def test_the_state_in_force_at_a_number_is_the_newest_that_is_not_later(book: Journal) -> None:
    at = [book.revision_at(RUSSIA, seq) for seq in range(6)]
    assert [found and found.seq for found in at] == [None, 1, 2, 2, 4, 5]


def test_the_state_in_force_at_a_moment_is_the_last_of_its_second(book: Journal) -> None:
    first, newest, count = book.span(RUSSIA) or pytest.fail("it has states")
    assert (first.seq, newest.seq, count) == (1, 5, 4)
    assert book.revision_by(RUSSIA, first.time - timedelta(seconds=2)) is None
    assert book.revision_by(RUSSIA, newest.time + timedelta(days=1)) == newest
    exact = book.revision_by(RUSSIA, newest.time.replace(microsecond=0))
    assert exact == newest


def test_revisions_are_read_with_what_they_left(book: Journal) -> None:
    found = book.following(1, 3)
    assert [(revision.seq, document and document.iri) for revision, document in found] == [
        (2, RUSSIA),
        (3, BASE.document("actor", "egypt")),
        (4, None),
    ]
    assert book.changed(1, 3) == [BASE.document("actor", "egypt"), RUSSIA]
    assert book.changed(1, 3, beyond=BASE.document("actor", "egypt")) == [RUSSIA]


def test_titles_are_those_of_the_documents_there_are(book: Journal) -> None:
    assert [(title.label, title.seq) for title in book.titles("actor")] == [("Égypte", 3), ("Russia, again", 5)]
    assert [title.seq for title in book.titles("actor", newest_first=True, limit=1)] == [5]
    assert book.titles("actor", skip=2) == []
    book.commit({RUSSIA: None}, agent="ann")
    assert [title.label for title in book.titles("actor")] == ["Égypte"]


def test_a_journal_from_before_there_were_titles_gets_them(book: Journal) -> None:
    before = book.titles("actor")
    book.close()
    with sqlite3.connect(book.path) as raw:
        raw.execute("DROP TABLE title")
    raw.close()
    opened = Journal(book.path)
    assert opened.titles("actor") == before
    opened.commit({RUSSIA: actor("Aaa")}, agent="ann")
    assert [title.label for title in opened.titles("actor")] == ["Aaa", "Égypte"]
    opened.close()


# Differences


def words(before: Document | None, after: Document | None) -> list[str]:
    iri = (before or after or pytest.fail("one is there")).iri
    return list(history.in_words(history.difference(iri, before, after), BASE))


def test_a_difference_in_words_is_short_and_in_order() -> None:
    assert words(actor("Rusia"), actor("Russia")) == [
        '- <actor/russia> rdfs:label "Rusia"@en .',
        '+ <actor/russia> rdfs:label "Russia"@en .',
    ]
    assert words(None, actor("Russia")) == [
        "+ <actor/russia> a ekg:Actor .",
        "+ <actor/russia> a ekg:State .",
        '+ <actor/russia> rdfs:label "Russia"@en .',
    ]
    assert words(actor("Russia"), actor("Russia")) == []


def test_a_blank_node_that_changed_within_stands_in_what_leads_to_it() -> None:
    place, moved = (generate.place("kursk", x, 51.7).document() for x in (36.2, 36.3))
    point = '[ a sf:Point ; geo:asWKT "POINT({} 51.7)"^^geo:wktLiteral ]'
    assert words(place, moved) == [
        f"{sign} <place/kursk> geo:hasGeometry {point.format(x)} ." for sign, x in (("-", "36.2"), ("+", "36.3"))
    ]


def test_no_control_character_gets_into_the_words() -> None:
    nasty = actor("Rus\u202esia\\u001b[2J".replace("\\u001b", "\u009b"))
    (_, line) = words(actor("Russia"), nasty)
    assert line.isprintable()
    assert "\\u202E" in line
    assert "\\u009B" in line


LABELS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=4, unique=True)


@settings(max_examples=30, deadline=None)
@given(LABELS, LABELS)
def test_a_difference_applied_to_the_one_state_gives_the_other(old: list[str], new: list[str]) -> None:
    def stated(labels: list[str]) -> Document:
        point = "".join(f' ; <urn:p> [ <urn:q> "{label}" ]' for label in labels)
        text = f'<actor/x> a <urn:C> ; <urn:l> {", ".join(f""""{label}" """ for label in labels)}{point} .'
        (found,) = documents.parse(text.encode(), documents.TURTLE, BASE, limit=2**20)
        return found

    before, after = stated(old), stated(new)
    found = history.difference(before.iri, before, after)
    assert (set(before.triples) - set(found.removed)) | set(found.added) == set(after.triples)
    assert bool(found) == (before != after)
    graphs = {quad.graph_name.value for quad in history.as_quads(found, "urn:d")}  # type: ignore[union-attr]
    assert graphs <= {"urn:d#removed", "urn:d#added"}


@pytest.mark.parametrize("text", ["actor/russia", "/actor/russia", RUSSIA])
def test_a_document_is_named_by_its_iri_or_in_short(text: str) -> None:
    assert history.document_named(text, BASE) == RUSSIA


@pytest.mark.parametrize("text", ["russia", "actor/", "https://elsewhere.example/actor/russia", "actor/Ru ssia", ""])
def test_what_names_no_document_is_told_how_to_name_one(text: str) -> None:
    with pytest.raises(RequestError, match="actor/russia for short"):
        history.document_named(text, BASE)


# Provenance


def store_of(revision: Revision) -> set[tuple[str, str, str]]:
    return {
        (str(t.subject), t.predicate.value, str(t.object))
        for t in history.provenance(revision, Base("https://kg.example/"))
    }


def test_a_revision_tells_who_made_what_of_what_and_when(book: Journal) -> None:
    recorded, corrected, withdrawn, _ = book.history(RUSSIA)
    prov = PREFIXES["prov"]
    of = store_of(corrected)
    me, version = "<https://kg.example/revision/2>", f"<{RUSSIA}?revision=2>"
    moment = f'"{corrected.time:%Y-%m-%dT%H:%M:%S.%fZ}"^^<http://www.w3.org/2001/XMLSchema#dateTime>'
    assert {
        (me, RDF_TYPE, f"<{prov}Activity>"),
        (me, prov + "endedAtTime", moment),
        (me, PREFIXES["dcterms"] + "type", '"corrected-encoding"'),
        (me, PREFIXES["skos"] + "changeNote", '"a letter"'),
        (me, prov + "generated", version),
        (me, prov + "wasAssociatedWith", "<https://kg.example/revision/2#agent>"),
        ("<https://kg.example/revision/2#agent>", PREFIXES["rdfs"] + "label", '"ben"'),
        (version, prov + "specializationOf", f"<{RUSSIA}>"),
        (version, prov + "wasRevisionOf", f"<{RUSSIA}?revision=1>"),
        (version, PREFIXES["schema"] + "sha256", f'"{corrected.digest}"'),
    } <= of
    assert not any(prov + "wasRevisionOf" == predicate for _, predicate, _ in store_of(recorded))
    assert ("<https://kg.example/revision/4>", prov + "invalidated", version) in store_of(withdrawn)
    assert not any(prov + "generated" == predicate for _, predicate, _ in store_of(withdrawn))


def test_prefixes_are_those_in_use_and_in_a_fixed_order(book: Journal) -> None:
    (first, *_) = book.history(RUSSIA)
    text = history.write(history.provenance(first, BASE), documents.TURTLE).decode()
    assert re.findall(r"@prefix (\w+):", text) == ["schema", "prov", "dcterms", "rdfs", "xsd"]
    assert len(list(ox.parse(text, format=ox.RdfFormat.TURTLE))) == len(store_of(first))


# On the shell


def test_the_shell_lists_states_and_shows_what_changed(tmp_path: Path, book: Journal) -> None:
    book.close()
    data = ("--data", tmp_path)
    table = kg_here("history", "actor/russia", *data)
    lines = [line.split("\t") for line in table.out.splitlines()]
    assert lines[0] == ["revision", "time", "change", "agent", "note", "digest"]
    assert [line[:1] + line[2:5] for line in lines[1:]] == [
        ["1", "recorded", "ann", ""],
        ["2", "corrected-encoding", "ben", "a letter"],
        ["4", "withdrawn", "cho", ""],
        ["5", "recorded", "dee", ""],
    ]
    as_json = json.loads(kg_here("history", RUSSIA, "--format", "json", *data).out)
    assert [(state["revision"], state["note"]) for state in as_json][:2] == [(1, ""), (2, "a letter")]
    changed = kg_here("diff", "actor/russia", "1", "2", *data)
    assert changed.code == 0
    assert changed.out.splitlines()[2:] == [
        '- <actor/russia> rdfs:label "Rusia"@en .',
        '+ <actor/russia> rdfs:label "Russia"@en .',
    ]
    assert "revision 1, " in changed.out.splitlines()[0]
    newest = kg_here("diff", "actor/russia", *data).out.splitlines()
    assert "withdrawn" in newest[0]
    assert all(line.startswith("+") for line in newest[1:])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("history", "actor/nobody"), 1, "there never was a document https://kg.example/actor/nobody"),
        (("diff", "actor/russia", "1", "99"), 1, "there is no revision 99 yet; the newest is 5"),
    ],
)
def test_what_is_not_there_is_told(
    tmp_path: Path, book: Journal, arguments: tuple[str, ...], code: int, message: str
) -> None:
    book.close()
    done = kg_here(*arguments, "--data", tmp_path)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
