"""The one write path: what it lets in, what it refuses, and what is left behind when it refuses."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import generate
import pyoxigraph as ox
import pytest
from generate import Act
from serving import environment, state_of, until

from kg import documents, gate
from kg.config import Config
from kg.documents import Document
from kg.engine import Query
from kg.errors import (
    BaseMismatch,
    DirectoryInUse,
    DocumentTooLarge,
    MalformedDocument,
    Rejected,
    RequestError,
    StillReferredTo,
    StorageError,
    UnplaceableDocument,
    UnsupportedMediaType,
)
from kg.gate import REFERENCE, Face, Report
from kg.library import Library, Receipt, open_library, read_file

BASE = generate.BASE
IRI = BASE.document


def texts(*some: generate.Text) -> list[Document]:
    return [text.document() for text in some]


#: A head of an organization who said something: the smallest graph with references between documents.
ORGANIZATION = generate.actor("staff")
HEAD = generate.person("chief", organization="staff")
HEADLESS = generate.person("chief", post=None)
EVENT = generate.event("march")
PROPOSITION = generate.proposition("they-marched", "event/march")
POSSIBLE = generate.proposition("they-may-march", "event/march", modality="Hypothetical")
SPEECH = generate.article("speech", [Act("chief", ("they-marched",), in_role="chief#post-head")])
FEAR = generate.article("fear", [Act("staff", ("they-may-march",), "Concern")])
STORY = (ORGANIZATION, HEAD, EVENT, PROPOSITION, SPEECH)


def accept(library: Library, *some: generate.Text | Document) -> Receipt:
    return library.accept(
        [one.document() if isinstance(one, generate.Text) else one for one in some], agent="a test", settle=False
    )


def rows(library: Library, query: str) -> list[str]:
    """The rows of a query as CSV, without the header."""
    return library.answer(Query(query, base=BASE.iri, solutions="csv")).read().decode().split("\r\n")[1:-1]


def count(library: Library) -> int:
    """Triples of documents that queries see, each as often as it is there; not what is derived from them."""
    documents_only = f"GRAPH ?g {{ ?s ?p ?o }} FILTER(?g != <{BASE}derived>)"
    return int(rows(library, f"SELECT (COUNT(*) AS ?n) WHERE {{ {documents_only} }}")[0])


def now(library: Library) -> dict[str, Document]:
    """All documents there are now."""
    return {iri: document for iri, document in library.journal.current() if document is not None}


def require_whole(library: Library) -> None:
    """Every document that is there conforms, with what is there beside it."""
    there = now(library)
    faces = {node: face for document in there.values() for node, face in gate.faces(document).items()}
    for document in there.values():
        near = {iri: faces[iri] for iri in document.references(BASE) if iri in faces}
        assert gate.judge(document, BASE, near).conforms, document.iri


# Batches


def test_documents_of_a_batch_may_refer_to_each_other_in_any_order(library: Library) -> None:
    batch = list(generate.documents(40))
    random.Random(1).shuffle(batch)
    receipt = library.accept(batch, agent="a test")
    assert {revision.document for revision in receipt.revisions} == {document.iri for document in batch}
    assert {revision.batch for revision in receipt.revisions} == {receipt.revision} == {40}
    assert now(library) == {document.iri: document for document in batch}


def test_documents_of_a_batch_may_refer_to_each_other_in_circles(library: Library) -> None:
    one = generate.proposition("one", "proposition/two")
    two = generate.proposition("two", "proposition/one")
    with pytest.raises(Rejected):
        accept(library, one)
    assert accept(library, one, two).revision == 2


def test_one_wrong_document_keeps_out_its_whole_batch(library: Library) -> None:
    wrong = generate.proposition("wrong", "event/nowhere")
    with pytest.raises(Rejected) as rejection:
        accept(library, *STORY, wrong)
    assert [report.document for report in rejection.value.reports] == [wrong.iri()]
    assert now(library) == {}


def test_a_document_in_two_versions_in_one_batch_is_refused(library: Library) -> None:
    with pytest.raises(UnplaceableDocument, match="actor/staff comes twice"):
        accept(library, ORGANIZATION, generate.actor("staff", label="Another"))
    assert now(library) == {}


def test_a_document_may_come_twice_in_one_batch_if_it_is_the_same(library: Library) -> None:
    assert len(accept(library, ORGANIZATION, ORGANIZATION).revisions) == 1


def test_an_empty_batch_writes_nothing(library: Library) -> None:
    assert library.accept([], agent="a test") == Receipt(0, (), ())


def test_the_same_again_makes_no_revision_whatever_syntax_it_comes_in(library: Library) -> None:
    accept(library, *STORY)
    before = state_of(library.config.data)
    for syntax in documents.SYNTAXES:
        again = [
            parsed
            for text in STORY
            for parsed in documents.parse(
                documents.serialize(text.document(), syntax, BASE), syntax, BASE, limit=2**20, relative_to=text.iri()
            )
        ]
        receipt = library.accept(again, agent="another", note="again", settle=False)
        assert receipt == Receipt(5, (), tuple(text.iri() for text in STORY)), syntax.name
    assert state_of(library.config.data) == before


def test_a_receipt_tells_what_is_new_from_what_was_there(library: Library) -> None:
    accept(library, ORGANIZATION, EVENT)
    renamed = generate.actor("staff", label="General staff").document()
    receipt = library.accept(
        [renamed, *texts(EVENT, PROPOSITION)],
        agent="an editor",
        change="corrected-source",
        note="a better name",
        settle=False,
    )
    assert receipt.revision == 4
    assert receipt.unchanged == (EVENT.iri(),)
    first, second = receipt.revisions
    assert (first.document, first.previous, first.digest) == (ORGANIZATION.iri(), 1, renamed.digest)
    assert (second.document, second.previous) == (PROPOSITION.iri(), None)
    assert {(r.agent, r.change, r.note) for r in receipt.revisions} == {
        ("an editor", "corrected-source", "a better name")
    }
    assert library.read(ORGANIZATION.iri()) == (renamed, first)


# Reading what was written


def test_what_was_accepted_is_seen_by_the_next_query(library: Library) -> None:
    for number in range(1, 6):
        receipt = library.accept(texts(generate.actor(f"actor-{number}")), agent="a test")
        answer = library.answer(Query("SELECT (COUNT(*) AS ?n) WHERE { ?a a ekg:Actor }", solutions="csv"))
        assert (answer.revision, answer.read().split()[1]) == (receipt.revision, str(number).encode())


def test_a_new_version_replaces_the_old_one_in_answers(library: Library) -> None:
    library.accept(texts(generate.actor("staff", label="Old")), agent="a test")
    library.accept(texts(generate.actor("staff", label="New")), agent="a test")
    assert rows(library, "SELECT ?label WHERE { actor:staff rdfs:label ?label }") == ["New"]


def test_what_another_process_writes_is_seen_without_asking(library: Library, config: Config) -> None:
    library.settle()
    library.start_following()
    script = (
        "import sys; from pathlib import Path; from kg import config; from kg.library import open_library, read_file\n"
        "settings = config.read({}, data=sys.argv[1])\n"
        "with open_library(settings, create=False, owner=False) as library:\n"
        "    library.accept(read_file(Path(sys.argv[2]), library.base, settings), agent='another process', settle=False)\n"
    )
    path = ORGANIZATION.write(config.data.parent)
    subprocess.run([sys.executable, "-c", script, config.data, path], env=environment(), check=True)
    until(lambda: library.engine.reached() == 1, "the follower publishes what another wrote")
    assert rows(library, "SELECT ?label WHERE { actor:staff rdfs:label ?label }") == ["staff"]


def test_a_reader_beside_the_owner_sees_what_the_owner_writes(library: Library, config: Config) -> None:
    with open_library(config, create=False, owner=False) as reader:
        for number in range(1, 4):
            library.accept(texts(generate.actor(f"actor-{number}")), agent="a test")
            assert rows(reader, "SELECT (COUNT(*) AS ?n) WHERE { ?a a ekg:Actor }") == [str(number)]


# Refusals leave no trace

_SMALL = len(SPEECH.turtle)

WRONG: Mapping[str, tuple[bytes, type[Exception], str]] = {
    "words under another document's IRI": (
        (SPEECH.turtle + '<actor/chief> rdfs:comment "He never said that."@en .\n').encode(),
        UnplaceableDocument,
        "speaks about 2 documents",
    ),
    "a dangling reference": (
        SPEECH.turtle.replace("<proposition/they-marched>", "<proposition/nobody-knows>").encode(),
        Rejected,
        "This reference leads nowhere",
    ),
    "two stances": (
        SPEECH.turtle.replace("ekg:stance ekg:Affirms", "ekg:stance ekg:Affirms, ekg:Denies").encode(),
        Rejected,
        "two stances",
    ),
    "not RDF at all": (b"Moscow denied for months.\n", MalformedDocument, ""),
    "50 MB": (SPEECH.turtle.encode() + b"# " + b"x" * 50_000_000, DocumentTooLarge, "over the limit of 4,194,304"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused_leaves_no_trace(library: Library, tmp_path: Path, what: str) -> None:
    library.accept(texts(*STORY), agent="a test")
    before, triples = state_of(library.config.data), count(library)
    content, error, says = WRONG[what]
    path = tmp_path / "article" / "speech.ttl"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(error) as refusal:
        library.accept(read_file(path, BASE, library.config), agent="a test")
    said = str(refusal.value)
    if isinstance(refusal.value, Rejected):
        said = " ".join(result.message for report in refusal.value.reports for result in report.results)
    assert says in said
    assert state_of(library.config.data) == before
    assert count(library) == triples
    assert library.settle() == 5


def test_words_put_under_another_documents_iri_are_refused_by_the_gate_too(library: Library) -> None:
    """A graph may be named rightly and still speak about others: TriG, JSON-LD and PUT get past the question of whose file it is."""
    accept(library, *STORY)
    smuggled = (
        f'<{SPEECH.iri()}> {{ <{HEAD.iri()}> <http://www.w3.org/2000/01/rdf-schema#comment> "He never said that." }}'
    )
    batch = documents.parse(smuggled.encode(), documents.TRIG, BASE, limit=2**20)
    with pytest.raises(Rejected) as rejection:
        library.accept(batch, agent="a test")
    (report,) = rejection.value.reports
    assert gate.OWNERSHIP in {result.component for result in report.results if result.focus == HEAD.iri()}


def test_judging_stores_nothing(library: Library) -> None:
    accept(library, ORGANIZATION)
    before = state_of(library.config.data)
    verdict = library.judge(texts(*STORY))
    assert verdict.conforms
    assert (verdict.as_of, verdict.unchanged) == (1, (ORGANIZATION.iri(),))
    assert set(verdict.changed) == {text.iri() for text in STORY[1:]}
    assert not library.judge(texts(SPEECH)).conforms
    assert state_of(library.config.data) == before


# What others rely on


def test_a_node_that_others_refer_to_cannot_be_taken_away(library: Library) -> None:
    accept(library, *STORY)
    before = state_of(library.config.data)
    with pytest.raises(Rejected) as rejection:
        accept(library, HEADLESS)
    (report,) = rejection.value.reports
    (result,) = report.results
    assert report.document == HEAD.iri()
    assert (result.focus, result.value, result.component) == (HEAD.iri() + "#post-head", SPEECH.iri(), REFERENCE)
    assert SPEECH.iri() in result.message
    assert state_of(library.config.data) == before


def test_all_who_refer_to_what_would_go_are_told(library: Library) -> None:
    echo = generate.article("echo", [Act("chief", ("they-marched",), in_role="chief#post-head")])
    accept(library, *STORY, echo)
    with pytest.raises(Rejected) as rejection:
        accept(library, HEADLESS)
    (report,) = rejection.value.reports
    assert [result.value for result in report.results] == [echo.iri(), SPEECH.iri()]


def test_a_node_can_go_together_with_the_references_to_it(library: Library) -> None:
    accept(library, *STORY)
    without = generate.article("speech", [Act("chief", ("they-marched",))])
    assert len(accept(library, HEADLESS, without).revisions) == 2
    require_whole(library)


def test_a_document_that_others_rely_on_is_judged_by_what_becomes_of_them(library: Library) -> None:
    """A concern is about what has not happened; it does not become wrong under its author's hands."""
    accept(library, ORGANIZATION, EVENT, POSSIBLE, FEAR)
    before = state_of(library.config.data)
    came_true = generate.proposition("they-may-march", "event/march", modality="Actual")
    with pytest.raises(Rejected) as rejection:
        accept(library, came_true)
    (report,) = rejection.value.reports
    (result,) = report.results
    assert (report.document, result.focus) == (FEAR.iri(), FEAR.iri() + "#s1")
    assert state_of(library.config.data) == before


def test_what_others_rely_on_can_change_together_with_them(library: Library) -> None:
    accept(library, ORGANIZATION, EVENT, POSSIBLE, FEAR)
    came_true = generate.proposition("they-may-march", "event/march", modality="Actual")
    claimed = generate.article("fear", [Act("staff", ("they-may-march",), "Claim")])
    assert len(accept(library, came_true, claimed).revisions) == 2
    require_whole(library)


def test_a_change_that_concerns_nobody_else_judges_nobody_else(library: Library) -> None:
    accept(library, *STORY)
    judged: list[str] = []

    def judge(pairs: Sequence[tuple[Document, Mapping[str, Face]]]) -> list[Report]:
        judged.extend(document.iri for document, _ in pairs)
        return [gate.judge(document, BASE, near) for document, near in pairs]

    library.accept(
        texts(generate.person("chief", organization="staff", label="Renamed")), agent="a test", judge_all=judge
    )
    assert judged == [HEAD.iri()]


def test_relying_on_names_those_who_would_lose_something(library: Library) -> None:
    accept(library, *STORY, POSSIBLE, FEAR)
    assert library.relying_on(HEADLESS.document()) == {SPEECH.iri()}
    actual = generate.proposition("they-may-march", "event/march")
    assert library.relying_on(actual.document()) == {FEAR.iri()}
    renamed = generate.actor("staff", label="Renamed")
    assert library.relying_on(renamed.document()) == frozenset()
    assert library.relying_on(generate.actor("new").document()) == frozenset()


# Changes composed of what is there


def test_change_is_composed_anew_when_another_wrote_in_between(library: Library) -> None:
    """What it read is what it is written upon, a condition as much as a text."""
    accept(library, ORGANIZATION)
    seen: list[str] = []

    def compose() -> dict[str, Document | None]:
        found = library.read(ORGANIZATION.iri())
        assert found is not None
        label = next(t.object.value for t in found[0].triples if isinstance(t.object, ox.Literal))
        seen.append(label)
        return {ORGANIZATION.iri(): generate.actor("staff", label=f"{label} and more").document()}

    other = generate.actor("staff", label="Meanwhile")
    receipt = library.change(
        compose, agent="slow", judge_all=overtaken_by(lambda: accept(library, other)), settle=False
    )
    assert seen == ["staff", "Meanwhile"]
    assert receipt.digests == {
        ORGANIZATION.iri(): generate.actor("staff", label="Meanwhile and more").document().digest
    }


def test_what_compose_raises_ends_the_change(library: Library) -> None:
    def compose() -> dict[str, Document | None]:
        raise UnplaceableDocument("not like this")

    with pytest.raises(UnplaceableDocument, match="not like this"):
        library.change(compose, agent="a test")
    assert library.journal.last() == 0


def test_documents_are_taken_away_and_the_index_follows(library: Library) -> None:
    accept(library, *STORY)
    receipt = library.change(lambda: {SPEECH.iri(): None, IRI("actor", "never-there"): None}, agent="a test")
    assert [(revision.document, revision.digest) for revision in receipt.revisions] == [(SPEECH.iri(), None)]
    assert receipt.unchanged == (IRI("actor", "never-there"),)
    assert rows(library, f"SELECT ?p WHERE {{ <{SPEECH.iri()}> ?p ?o }}") == []
    require_whole(library)


def test_nothing_is_taken_away_under_others(library: Library) -> None:
    accept(library, *STORY)
    before = state_of(library.config.data)
    with pytest.raises(StillReferredTo) as refusal:
        library.change(lambda: {HEAD.iri(): None, EVENT.iri(): None}, agent="a test")
    assert sorted(refusal.value.facts["referrers"], key=lambda one: one["node"]) == [
        {"node": HEAD.iri(), "document": SPEECH.iri()},
        {"node": HEAD.iri() + "#post-head", "document": SPEECH.iri()},
        {"node": EVENT.iri(), "document": PROPOSITION.iri()},
    ]
    wrong = generate.proposition("wrong", "event/nowhere").document()
    with pytest.raises(Rejected):  # what else is wrong is told together with it
        library.change(lambda: {HEAD.iri(): None, wrong.iri: wrong}, agent="a test")
    assert state_of(library.config.data) == before
    library.change(lambda: {text.iri(): None for text in STORY}, agent="a test")
    assert now(library) == {}


@pytest.mark.parametrize(("change", "note"), [("improved", ""), ("recorded", "x" * 2001), ("recorded", "a\x00b")])
def test_reason_that_history_cannot_hold_is_refused(library: Library, change: str, note: str) -> None:
    with pytest.raises(RequestError):
        library.accept(texts(ORGANIZATION), agent="a test", change=change, note=note)
    assert library.journal.last() == 0


# Many at once


def overtaken_by(
    other: Callable[[], object],
) -> Callable[[Sequence[tuple[Document, Mapping[str, Face]]]], list[Report]]:
    """A judge during whose first round something else happens."""
    rounds = itertools.count()

    def judge(pairs: Sequence[tuple[Document, Mapping[str, Face]]]) -> list[Report]:
        reports = [gate.judge(document, BASE, near) for document, near in pairs]
        if next(rounds) == 0:
            other()
        return reports

    return judge


def test_a_verdict_that_was_overtaken_lets_nothing_in(library: Library) -> None:
    """The post was there when the article was judged, and gone when it was to be written."""
    accept(library, *STORY[:-1])
    with pytest.raises(Rejected) as rejection:
        library.accept(
            texts(SPEECH), agent="slow", judge_all=overtaken_by(lambda: accept(library, HEADLESS)), settle=False
        )
    assert [result.value for report in rejection.value.reports for result in report.results][:1] == [
        HEAD.iri() + "#post-head"
    ]
    require_whole(library)


def test_a_rejection_that_was_overtaken_is_reached_anew(library: Library) -> None:
    """The post was missing when the article was judged, and there when it would have been refused."""
    accept(library, ORGANIZATION, HEADLESS, EVENT, PROPOSITION)
    library.accept(texts(SPEECH), agent="slow", judge_all=overtaken_by(lambda: accept(library, HEAD)), settle=False)
    require_whole(library)
    assert SPEECH.iri() in now(library)


def test_a_long_batch_gets_through_among_many_small_ones(library: Library, config: Config) -> None:
    accept(library, *STORY)
    over = threading.Event()
    small = [[generate.actor(f"busy-{number % 7}", label=str(number)).document()] for number in range(1_000)]
    written: list[int] = []

    def hurry() -> None:
        with open_library(config, create=False, owner=False) as another:
            for batch in small:
                if over.is_set():
                    return
                receipt = another.accept(batch, agent="busy", judge_all=lambda pairs: [_fine(pairs)], settle=False)
                written.append(receipt.revision)

    rounds: list[int] = []  # how many the others had written when a round of judging began
    after: list[int] = []  # and when it ended

    def slowly(pairs: Sequence[tuple[Document, Mapping[str, Face]]]) -> list[Report]:
        rounds.append(len(written))
        if len(rounds) == 1:
            until(lambda: len(written) > 10, "the others write meanwhile")
        time.sleep(0.2)
        after.append(len(written))
        return [Report(document.iri, ()) for document, _ in pairs]

    other = threading.Thread(target=hurry)
    other.start()
    try:
        receipt = library.accept(texts(generate.actor("long")), agent="slow", judge_all=slowly, settle=False)
    finally:
        over.set()
        other.join()
    assert len(receipt.revisions) == 1
    assert len(rounds) == 2, "overtaken once, never twice"
    assert after[0] > rounds[0] + 10, "others write while it is judged first"
    assert after[1] <= rounds[1] + 1, "nobody writes while it is judged again; one may only now say that it has written"


def _fine(pairs: Sequence[tuple[Document, Mapping[str, Face]]]) -> Report:
    ((document, _),) = pairs
    return Report(document.iri, ())


def test_writers_in_threads_never_leave_a_reference_that_leads_nowhere(library: Library) -> None:
    """Some add articles that name the chief's post while others give the post to and fro."""
    accept(library, *STORY[:-1])
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def write(name: str, batch: list[list[Document]]) -> None:
        start.wait()
        for documents_ in batch:
            try:
                library.accept(documents_, agent=name, settle=False)
                outcomes.append(f"{name} accepted")
            except Rejected as rejection:
                components = {result.component for report in rejection.reports for result in report.results}
                assert REFERENCE in components, rejection.reports
                outcomes.append(f"{name} rejected")

    articles = [
        texts(generate.article(f"speech-{number}", [Act("chief", ("they-marched",), in_role="chief#post-head")]))
        for number in range(12)
    ]
    moves = [texts(HEADLESS), texts(HEAD)] * 4
    threads = [threading.Thread(target=write, args=("article", articles[number::4])) for number in range(4)]
    threads += [threading.Thread(target=write, args=("post", moves)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 12 + 16
    there = now(library)
    assert sum(iri.startswith(IRI("article", "")) for iri in there) == outcomes.count("article accepted")
    require_whole(library)
    library.settle()
    assert count(library) == sum(len(document.triples) for document in there.values())


def test_writers_in_processes_never_leave_a_reference_that_leads_nowhere(library: Library, config: Config) -> None:
    accept(library, *STORY[:-1])
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import generate; from generate import Act; from kg import config; from kg.errors import Rejected\n"
        "from kg.library import open_library\n"
        "name, accepted = sys.argv[3], 0\n"
        "post = [generate.person('chief', post=None), generate.person('chief', organization='staff')] * 3\n"
        "speeches = [generate.article(f'speech-{name}-{n}', [Act('chief', ('they-marched',), in_role='chief#post-head')])\n"
        "            for n in range(6)]\n"
        "with open_library(config.read({}, data=sys.argv[1]), create=False, owner=False) as library:\n"
        "    print('ready', flush=True); sys.stdin.readline()\n"
        "    for text in post if name == 'post' else speeches:\n"
        "        try: accepted += len(library.accept([text.document()], agent=name, settle=False).revisions)\n"
        "        except Rejected as rejection:\n"
        "            assert '"
        + REFERENCE
        + "' in {r.component for report in rejection.reports for r in report.results}\n"
        "print(accepted)\n"
    )
    folder = Path(generate.__file__).parent
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, config.data, folder, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for name in ("post", "a", "b")
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        outcomes = [writer.communicate("go\n", timeout=60)[0] for writer in _started(writers)]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    revisions = [revision for iri in now(library) for revision in library.journal.history(iri)]
    assert len(revisions) == 4 + sum(int(out) for out in outcomes)
    require_whole(library)


def _started(writers: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """All of them told to go before the first is waited for."""
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return writers


# Opening and closing


def test_a_directory_without_a_graph_is_not_made_by_reading(config: Config) -> None:
    with pytest.raises(StorageError, match="there is no graph in"):
        open_library(config, create=False, owner=False)
    assert not config.data.exists()


def test_a_graph_is_opened_only_under_its_own_base(library: Library, config: Config) -> None:
    library.close()
    other = Config(**{**vars(config), "base": "https://other.example/"})
    with pytest.raises(BaseMismatch, match=r"was created for the base https://kg\.example/, not for https://other"):
        open_library(other, create=True, owner=True)
    anyones = Config(**{**vars(config), "base": ""})
    with open_library(anyones, create=True, owner=True) as opened:
        assert opened.base == BASE


def test_a_directory_has_one_owner_at_a_time(library: Library, config: Config) -> None:
    with pytest.raises(DirectoryInUse, match="is in use by process"):
        open_library(config, create=False, owner=True, patience=0)
    library.close()
    with open_library(config, create=False, owner=True, patience=0) as opened:
        assert opened.settle() == 0


def test_closing_twice_is_closing_once(library: Library) -> None:
    library.accept(texts(ORGANIZATION), agent="a test")
    library.start_following()
    library.close()
    library.close()


def test_a_file_is_read_by_its_suffix_and_within_its_limit(config: Config, tmp_path: Path) -> None:
    path = ORGANIZATION.write(tmp_path)
    assert read_file(path, BASE, config) == texts(ORGANIZATION)
    with pytest.raises(UnsupportedMediaType, match=r"no syntax of RDF has the suffix \.txt"):
        read_file(path.rename(path.with_suffix(".txt")), BASE, config)
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        read_file(path, BASE, config)


def test_a_document_is_held_to_the_limit_of_a_document_in_a_larger_file_too(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "two.nq"
    batch = texts(ORGANIZATION, generate.event("long", label="x" * 2_000))
    path.write_bytes(b"".join(documents.serialize(document, documents.N_QUADS, BASE) for document in batch))
    tight = Config(**{**vars(config), "document_limit": 1_000})
    with pytest.raises(DocumentTooLarge, match=r"event/long has 2,\d+ bytes, over the limit of 1,000"):
        read_file(path, BASE, tight)
    assert read_file(path, BASE, config) == batch
