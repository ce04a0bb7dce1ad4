"""Many files at once: what gets in, in which batches, and what is told about the rest."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import generate
import pytest
from generate import Act
from hypothesis import given
from hypothesis import strategies as st
from serving import state_of

from kg import documents, gate, loading
from kg.documents import Document
from kg.engine import Query
from kg.errors import Overloaded
from kg.gate import Face, Report
from kg.library import Library, Receipt
from kg.loading import Candidate, Summary, batches, find_line, load

BASE = generate.BASE

ORGANIZATION = generate.actor("staff")
HEAD = generate.person("chief", organization="staff")
EVENT = generate.event("march")
PROPOSITION = generate.proposition("they-marched", "event/march")
SPEECH = generate.article("speech", [Act("chief", ("they-marched",), in_role="chief#post-head")])
STORY = (ORGANIZATION, HEAD, EVENT, PROPOSITION, SPEECH)


def write(directory: Path, *texts: generate.Text) -> list[Path]:
    return [text.write(directory) for text in texts]


def there(library: Library) -> set[str]:
    """The documents there are, as `kind/slug`."""
    return {iri.removeprefix(BASE.iri) for iri, document in library.journal.current() if document is not None}


def told(summary: Summary) -> list[str]:
    return [line for problem in summary.problems for line in problem.in_words(BASE)]


# What gets in


def test_files_may_refer_to_each_other_in_any_order(library: Library, tmp_path: Path) -> None:
    paths = generate.write(tmp_path, 40)
    random.Random(3).shuffle(paths)
    summary = load(library, paths, agent="a test")
    assert (summary.recorded, summary.unchanged, summary.problems) == (40, 0, ())
    assert summary.revision == library.settle() == 40


def test_files_may_refer_to_each_other_in_circles(library: Library, tmp_path: Path) -> None:
    one = generate.proposition("one", "proposition/two")
    two = generate.proposition("two", "proposition/three")
    three = generate.proposition("three", "proposition/one")
    assert load(library, write(tmp_path, one, two, three), agent="a test").batches == 1


@pytest.mark.parametrize("syntax", documents.SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_document_is_the_same_from_a_file_of_any_syntax(
    library: Library, tmp_path: Path, syntax: documents.Syntax
) -> None:
    paths = []
    for text in STORY:
        path = tmp_path / f"{text.slug}.{syntax.suffix}"
        path.write_bytes(documents.serialize(text.document(), syntax, BASE))
        paths.append(path)
    assert load(library, paths, agent="a test").problems == ()
    for text in STORY:
        found = library.read(text.iri())
        assert found is not None
        assert found[0] == text.document()


@pytest.mark.parametrize("syntax", [s for s in documents.SYNTAXES if s.graphs], ids=lambda syntax: syntax.name)
def test_one_file_may_hold_many_documents(library: Library, tmp_path: Path, syntax: documents.Syntax) -> None:
    path = tmp_path / f"story.{syntax.suffix}"
    if syntax is documents.JSON_LD:
        graphs = [{"@id": d.iri, "@graph": documents.expanded(d)} for d in (text.document() for text in STORY)]
        path.write_text(json.dumps(graphs), encoding="utf-8")
    else:
        path.write_bytes(b"".join(documents.serialize(text.document(), syntax, BASE) for text in STORY))
    assert load(library, [path], agent="a test").recorded == 5
    assert there(library) == {f"{text.kind}/{text.slug}" for text in STORY}


def test_the_same_files_again_change_nothing(library: Library, tmp_path: Path) -> None:
    paths = generate.write(tmp_path, 20)
    load(library, paths, agent="a test")
    before = state_of(library.config.data)
    assert load(library, paths, agent="again") == Summary(0, 20, 0, 20, ())
    assert state_of(library.config.data) == before


def test_only_what_changed_is_written_again(library: Library, tmp_path: Path) -> None:
    paths = write(tmp_path, *STORY)
    load(library, paths, agent="a test")
    generate.actor("staff", label="General staff").write(tmp_path)
    summary = load(library, paths, agent="again")
    assert (summary.recorded, summary.unchanged, summary.revision) == (1, 4, 6)


def test_a_load_that_was_cut_short_goes_on_where_it_ended(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 5)
    paths = generate.write(tmp_path, 40)

    def stop(receipt: Receipt) -> None:
        if receipt.revision >= 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(library, paths, agent="a test", on_batch=stop)
    kept = library.journal.last()
    assert 15 <= kept < 40
    summary = load(library, paths, agent="again")
    assert (summary.recorded, summary.unchanged, summary.problems) == (40 - kept, kept, ())


# Batches


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Candidate]:
    """Candidates with references to each other, to themselves' neighbours and to what is not among them."""
    count = draw(st.integers(0, 25))
    names = [BASE.document("event", f"e{number}") for number in range(count + 3)]
    return {
        name: Candidate(
            name,
            Path(name),
            b"",
            "",
            frozenset(
                target + draw(st.sampled_from(["", "#part"]))
                for target in draw(st.lists(st.sampled_from(names), max_size=4))
            ),
        )
        for name in draw(st.permutations(names[:count]))
    }


def owners(candidate: Candidate) -> Iterable[str]:
    return {owner for reference in candidate.references if (owner := BASE.document_of(reference))}


@given(graphs(), st.integers(1, 8))
def test_a_batch_refers_only_to_itself_and_to_batches_before(candidates: dict[str, Candidate], size: int) -> None:
    seen: set[str] = set()
    for batch in batches(candidates, BASE, size):
        seen |= {candidate.iri for candidate in batch}
        for candidate in batch:
            assert set(owners(candidate)) & candidates.keys() <= seen
    assert seen == candidates.keys()


@given(graphs(), st.integers(1, 8))
def test_each_document_is_in_one_batch(candidates: dict[str, Candidate], size: int) -> None:
    placed = [[candidate.iri for candidate in batch] for batch in batches(candidates, BASE, size)]
    assert sorted(itertools.chain(*placed)) == sorted(candidates)
    assert all(len(batch) >= size for batch in placed[:-1])


@given(graphs(), st.integers(1, 8))
def test_without_references_batches_have_the_size_asked_for(candidates: dict[str, Candidate], size: int) -> None:
    alone = {iri: replace(candidate, references=frozenset()) for iri, candidate in candidates.items()}
    placed = [candidate.iri for batch in batches(alone, BASE, size) for candidate in batch]
    assert placed == list(candidates)
    assert all(len(batch) == size for batch in list(batches(alone, BASE, size))[:-1])


@given(graphs(), st.integers(1, 8), st.randoms(use_true_random=False))
def test_those_who_rely_on_a_document_come_no_later(
    candidates: dict[str, Candidate], size: int, chance: random.Random
) -> None:
    relying = {iri: chance.sample(sorted(candidates), min(len(candidates), 2)) for iri in candidates}
    seen: set[str] = set()
    for batch in batches(candidates, BASE, size, lambda candidate: relying[candidate.iri]):
        seen |= {candidate.iri for candidate in batch}
        for candidate in batch:
            assert set(relying[candidate.iri]) <= seen


def test_documents_keep_their_order_where_references_allow(tmp_path: Path) -> None:
    texts = list(generate.texts(60))
    candidates = {
        text.iri(): Candidate(text.iri(), tmp_path, b"", "", text.document().references(BASE)) for text in texts
    }
    placed = [candidate.iri for batch in batches(candidates, BASE, 10) for candidate in batch]
    assert placed == list(candidates)


def test_the_graph_is_whole_after_each_batch(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH", 5)
    paths = generate.write(tmp_path, 50)
    random.Random(5).shuffle(paths)
    summary = load(library, paths, agent="a test")
    assert summary.batches > 3
    ends = sorted({revision.batch for iri, _ in library.journal.current() for revision in library.journal.history(iri)})
    assert len(ends) == summary.batches
    for end in ends:
        known = [document for _, document in library.journal.current(0, end) if document is not None]
        subjects = {subject for document in known for subject in document.subjects}
        assert all(document.references(BASE) <= subjects for document in known), f"after revision {end}"


def test_what_is_taken_away_goes_with_the_references_to_it_however_far_apart(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person comes in the first file and the article that named the post in the last, many batches later."""
    monkeypatch.setattr(loading, "BATCH", 3)
    load(library, write(tmp_path, *STORY), agent="a test")
    headless = generate.person("chief", post=None).write(tmp_path)
    speech = generate.article("speech", [Act("chief", ("they-marched",))]).write(tmp_path)
    between = [generate.actor(f"actor-{number}").write(tmp_path) for number in range(20)]
    summary = load(library, [headless, *between, speech], agent="again")
    assert told(summary) == []
    assert summary.recorded == 22


def test_several_hundred_documents_use_all_cores(library: Library, tmp_path: Path) -> None:
    paths = generate.write(tmp_path, 240)
    workers: set[int] = set()
    over = threading.Event()

    def children() -> set[int]:
        lists = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {int(pid) for pids in lists for pid in pids.read_text().split()}

    before = children()  # servers of other tests

    def watch() -> None:
        """Children that take up processor time while the files are loaded."""
        while not over.wait(0.05):
            for pid in children() - before:
                times = Path("/proc", str(pid), "stat")
                if times.exists() and sum(map(int, times.read_text().rpartition(")")[2].split()[11:13])) > 40:
                    workers.add(pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        summary = load(library, paths, agent="a test")
    finally:
        over.set()
        watcher.join()
    assert (summary.recorded, summary.problems) == (240, ())
    assert len(workers) >= min(os.cpu_count() or 1, 2)
    assert not any(Path("/proc", str(pid)).exists() for pid in workers), "they end with the load"


# What does not get in


def test_a_wrong_document_keeps_out_only_itself_and_what_refers_to_it(library: Library, tmp_path: Path) -> None:
    wrong = generate.proposition("they-marched", "event/nowhere")
    further = generate.proposition("further", "event/march", entails=["they-marched"])
    last = generate.proposition("last", "proposition/further")
    paths = write(tmp_path, last, SPEECH, ORGANIZATION, HEAD, EVENT, wrong, further)
    summary = load(library, paths, agent="a test")
    assert there(library) == {"actor/staff", "actor/chief", "event/march"}
    assert [problem.path for problem in summary.problems] == [paths[0], paths[1], paths[5], paths[6]]
    assert summary.recorded == 3
    lines = told(summary)

    def only(document: str) -> str:
        (line,) = (line for line in lines if line.startswith(str(tmp_path / document)) and "leads nowhere" in line)
        return line

    assert "Send event/nowhere first or in the same batch" in only("proposition/they-marched.ttl")
    cause = "This reference leads nowhere, because proposition/they-marched was not taken either: see "
    assert cause + str(paths[5]) in only("article/speech.ttl")
    assert cause + str(paths[5]) in only("proposition/further.ttl")
    assert f"because proposition/further was not taken either: see {paths[6]}" in only("proposition/last.ttl")


def test_what_refers_to_a_file_that_cannot_be_read_says_so(library: Library, tmp_path: Path) -> None:
    paths = write(tmp_path, *STORY)
    paths[3].write_text("this is not Turtle", encoding="utf-8")
    summary = load(library, paths, agent="a test")
    assert summary.recorded == 3
    assert any(
        line.startswith(f"{paths[4]}:")
        and f"because proposition/they-marched was not taken either: see {paths[3]}" in line
        for line in told(summary)
    )


def test_a_rejected_document_in_an_earlier_batch_is_named_too(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 1)
    wrong = generate.proposition("they-marched", "event/nowhere")
    paths = write(tmp_path, wrong, EVENT, ORGANIZATION, HEAD, SPEECH)
    lines = told(load(library, paths, agent="a test"))
    assert any(f"because proposition/they-marched was not taken either: see {paths[0]}" in line for line in lines)


def test_what_refers_to_a_rejected_new_version_stays_with_the_old_one(library: Library, tmp_path: Path) -> None:
    load(library, write(tmp_path, *STORY), agent="a test")
    wrong = generate.proposition("they-marched", "event/nowhere").write(tmp_path)
    echo = generate.article("echo", [Act("staff", ("they-marched",))]).write(tmp_path)
    summary = load(library, [wrong, echo], agent="again")
    assert [problem.path for problem in summary.problems] == [wrong]
    assert "article/echo" in there(library)


def test_only_the_document_that_would_break_another_is_kept_out(library: Library, tmp_path: Path) -> None:
    other = generate.proposition("they-may-stop", "event/march", modality="Planned")
    fear = generate.article("fear", [Act("staff", ("they-may-march", "they-may-stop"), "Concern")])
    possible = generate.proposition("they-may-march", "event/march", modality="Hypothetical")
    load(library, write(tmp_path, ORGANIZATION, EVENT, possible, other, fear), agent="a test")
    came_true = generate.proposition("they-may-march", "event/march", modality="Actual").write(tmp_path)
    reworded = generate.proposition("they-may-stop", "event/march", modality="Planned", text="Or so").write(tmp_path)
    summary = load(library, [came_true, reworded], agent="again")
    assert (summary.recorded, [problem.path for problem in summary.problems]) == (1, [came_true])
    (line,) = told(summary)
    assert line.startswith(f"{came_true}:10: proposition/they-may-march would break another document: article/fear#s1 ")


def test_problems_are_told_in_the_order_of_the_files(library: Library, tmp_path: Path) -> None:
    good = write(tmp_path, ORGANIZATION, EVENT)
    unreadable = tmp_path / "actor" / "broken.ttl"
    unreadable.write_text("<actor/broken> a\n    ekg:Nothing .\n", encoding="utf-8")
    wrong = generate.proposition("wrong", "event/nowhere").write(tmp_path)
    missing = tmp_path / "missing.ttl"
    paths = [wrong, good[0], missing, unreadable, good[1]]
    summary = load(library, paths, agent="a test")
    assert [problem.path for problem in summary.problems] == [wrong, missing, unreadable]
    assert summary.recorded == 2


def test_a_problem_is_told_with_file_and_line(library: Library, tmp_path: Path) -> None:
    paths = write(tmp_path, *STORY[:-1])
    text = SPEECH.turtle.replace("ekg:voice ekg:Attributed ;", "").replace(
        "<proposition/they-marched>", "<proposition/gone>"
    )
    speech = tmp_path / "speech.ttl"
    speech.write_text(text, encoding="utf-8")
    broken = tmp_path / "broken.ttl"
    broken.write_text("\n\n<actor/broken> a ekg:Actor, .\n", encoding="utf-8")
    lines = told(load(library, [*paths, speech, broken], agent="a test"))
    opens = text.splitlines().index(":s1 a ekg:Claim, ekg:SpeechAct, ekg:Event ;") + 1
    about = [line for line in lines if line.startswith(str(speech))]
    assert len(about) >= 2
    assert all(line.startswith(f"{speech}:{opens}: article/speech#s1 ekg:") for line in about)
    assert [line.startswith(f"{broken}:3:") for line in lines if line.startswith(str(broken))] == [True]


def test_a_document_in_two_files_in_two_versions_is_a_problem_of_the_second(library: Library, tmp_path: Path) -> None:
    first = generate.actor("staff").write(tmp_path / "a")
    second = generate.actor("staff", label="Another").write(tmp_path / "b")
    same = generate.actor("staff").write(tmp_path / "c")
    summary = load(library, [first, second, same], agent="a test")
    assert (summary.recorded, [problem.path for problem in summary.problems]) == (1, [second])
    assert f"actor/staff is also in {first}, with other contents" in told(summary)[0]


@pytest.mark.parametrize("wrong", ["rejected", "unreadable"])
def test_strictly_nothing_is_written_if_anything_is_wrong(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr(loading, "BATCH", 5)
    load(library, write(tmp_path, ORGANIZATION), agent="a test")
    before = state_of(library.config.data)
    paths = generate.write(tmp_path, 20)
    bad = generate.proposition("wrong", "event/nowhere").write(tmp_path)
    if wrong == "unreadable":
        bad.write_bytes(b"\xff\xfe")
    summary = load(library, [*paths, bad], agent="a test", strict=True)
    assert (summary.recorded, summary.batches, summary.revision) == (0, 0, 1)
    assert [problem.path for problem in summary.problems] == [bad]
    assert state_of(library.config.data) == before


def test_strictly_all_files_are_one_batch(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH", 5)
    receipts: list[Receipt] = []
    summary = load(library, generate.write(tmp_path, 20), agent="a test", strict=True, on_batch=receipts.append)
    assert (summary.recorded, summary.batches, [receipt.revision for receipt in receipts]) == (20, 1, [20])


def test_a_killed_process_is_an_error_and_what_was_committed_is_kept(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "BATCH", 30)
    monkeypatch.setattr(loading, "WORTH_PROCESSES", 30)
    paths = generate.write(tmp_path, 120)
    pools: list[loading.Crew] = []
    create = loading.Crew.__init__

    def remembered(crew: loading.Crew, *arguments: object) -> None:
        create(crew, *arguments)  # type: ignore[arg-type]
        pools.append(crew)

    def kill(receipt: Receipt) -> None:
        assert pools[0]._pool is not None
        os.kill(next(iter(pools[0]._pool._processes)), signal.SIGKILL)

    monkeypatch.setattr(loading.Crew, "__init__", remembered)
    with pytest.raises(Overloaded, match="was killed"):
        load(library, paths, agent="a test", on_batch=kill)
    kept = library.journal.last()
    assert kept >= 30
    monkeypatch.setattr(loading.Crew, "__init__", create)
    again = load(library, paths, agent="again")
    assert (again.recorded, again.unchanged, again.problems) == (120 - kept, kept, ())


# Files that cannot be used


def _missing(path: Path) -> None:
    pass


def _directory(path: Path) -> None:
    path.mkdir()


def _forbidden(path: Path) -> None:
    path.write_text(EVENT.turtle, encoding="utf-8")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")


UNUSABLE: Mapping[str, tuple[str, object, str]] = {
    "missing": ("x.ttl", _missing, "cannot be read: No such file or directory"),
    "a directory": ("x.ttl", _directory, "cannot be read: Is a directory"),
    "forbidden": ("x.ttl", _forbidden, "cannot be read: Permission denied"),
    "empty": ("x.ttl", b"", "not one triple"),
    "only a comment": ("x.ttl", b"# nothing yet\n", "not one triple"),
    "binary": ("x.ttl", bytes(range(256)) * 40, ":1"),
    "not RDF": ("x.ttl", b"Moscow denied for months.\n", ":1"),
    "UTF-16": ("x.ttl", EVENT.turtle.encode("utf-16"), ":1"),
    "Latin-1": ("x.ttl", generate.event("x", label="Défense").turtle.encode("latin-1"), ""),
    "binary JSON-LD": ("x.jsonld", b"\x80\x81", "this is not UTF-8"),
    "cut off": ("x.ttl", EVENT.turtle[:-20].encode(), ""),
    "XML that is none": ("x.rdf", b"<rdf", ":1"),
    "N-Triples that are Turtle": ("x.nt", EVENT.turtle.encode(), ":1"),
    "an unknown suffix": ("x.txt", EVENT.turtle.encode(), "no syntax of RDF has the suffix .txt"),
    "no suffix": ("x", EVENT.turtle.encode(), "no syntax of RDF has the suffix ."),
    "50 MB": ("x.ttl", EVENT.turtle.encode() + b"#" * 50_000_000, "over the limit of 4,194,304"),
    "two documents": ("x.ttl", (EVENT.turtle + ORGANIZATION.turtle).encode(), "speaks about 2 documents"),
    "someone else's": ("x.ttl", b"<https://other.example/actor/x> a <https://other.example/X> .", "is not the IRI of a document here"),
    "a name that is no slug": ("x.ttl", b"<actor/Big_Name> a <https://w3id.org/ekg/ns#Actor> .", "is not the IRI of a document here"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_file_that_cannot_be_used_is_told_and_keeps_out_nothing_else(
    library: Library, tmp_path: Path, what: str
) -> None:
    name, content, says = UNUSABLE[what]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        assert callable(content)
        content(path)
    good = ORGANIZATION.write(tmp_path)
    summary = load(library, [path, good], agent="a test")
    assert (summary.recorded, [problem.path for problem in summary.problems]) == (1, [path])
    (line,) = told(summary)
    assert line.startswith(f"{path}:")
    assert says in line
    assert len(line) < 600, "a person reads this"


REFUSED: Mapping[str, tuple[str, str]] = {
    "words under another document's IRI": (
        SPEECH.turtle + f"<{HEAD.iri()}> <https://w3id.org/ekg/ns#surface> 'never said' .\n",
        "it speaks about 2 documents",
    ),
    "a dangling reference": (
        SPEECH.turtle.replace("<proposition/they-marched>", "<proposition/nobody-knows>"),
        "This reference leads nowhere. Send proposition/nobody-knows first",
    ),
    "two stances": (
        SPEECH.turtle.replace("ekg:stance ekg:Affirms", "ekg:stance ekg:Affirms, ekg:Denies"),
        "The act takes two stances. Keep one",
    ),
    "not RDF at all": ("Moscow denied for months.\n", ":1"),
    "50 MB": (SPEECH.turtle + "#" * 50_000_000, "bytes, over the limit of 4,194,304"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_each_refusal_has_its_own_error_and_changes_nothing(library: Library, tmp_path: Path, what: str) -> None:
    def count() -> bytes:
        query = Query("SELECT (COUNT(*) AS ?n) WHERE { ?s ?p ?o }", solutions="csv")
        return library.answer(query).read()

    load(library, write(tmp_path, *STORY), agent="a test")
    before, triples = state_of(library.config.data), count()
    path = tmp_path / "article" / "speech.ttl"
    text, says = REFUSED[what]
    path.write_text(text, encoding="utf-8")
    summary = load(library, [path], agent="a test")
    assert (summary.recorded, summary.revision) == (0, 5)
    assert any(says in line for line in told(summary))
    others = {other for name, (_, other) in REFUSED.items() if name != what and len(other) > 5}
    assert not any(other in line for line in told(summary) for other in others)
    assert state_of(library.config.data) == before
    assert count() == triples


# Lines


@pytest.mark.parametrize(
    ("name", "text", "iri", "line"),
    [
        ("x.ttl", "@prefix : <article/x#> .\n\n:s1 a 1 .\n:s10 a 1 .\n", "article/x#s10", 4),
        ("x.ttl", "@prefix actor: <actor/> .\nactor:a\n  a 1 .\nactor:b a 1 .\n", "actor/b", 4),
        ("x.ttl", "# <actor/a> is here\n  <actor/a> a 1 .\n", "actor/a", 2),
        ("x.ttl", "PREFIX a: <https://kg.example/actor/>\n\na:b a 1 .\n", "actor/b", 3),
        ("x.ttl", "@base <https://kg.example/actor/> .\n<b> a 1 .\n", "actor/b", 2),
        ("x.ttl", "<actor/a> <is> <actor/b> .\n<actor/b> a 1 .\n", "actor/b", 2),
        ("x.ttl", "<actor/a> a 1 .\n", "actor/b", None),
        ("x.ttl", "<actor/a> a 1 .\n", "_:b0", None),
        ("x.nt", "<https://kg.example/actor/a> <https://x/p> 1 .\n", "actor/a", 1),
        (
            "x.trig",
            "@prefix : <article/a#> .\n<article/a> {\n  :s1 a 1 .\n}\n@prefix : <article/b#> .\nGRAPH <article/b> {\n  :s1 a 1 .\n}\n",
            "article/b#s1",
            7,
        ),
        ("x.jsonld", '[\n {"@id": "https://kg.example/actor/a"},\n {"@id": "actor/b"}\n]\n', "actor/b", 3),
        ("x.rdf", "<rdf:RDF>\n <rdf:Description\n  rdf:about=\"https://kg.example/actor/a\"/>\n</rdf:RDF>", "actor/a", 3),
    ],
)  # fmt: skip
def test_the_line_of_a_node_is_where_its_description_opens(
    tmp_path: Path, name: str, text: str, iri: str, line: int | None
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert find_line(path, iri if iri.startswith("_:") else BASE.iri + iri, BASE) == line


def test_a_file_that_is_no_text_or_gone_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.ttl"
    assert find_line(path, BASE.iri + "actor/a", BASE) is None
    path.write_bytes(b"\xff\xfe<actor/a>")
    assert find_line(path, BASE.iri + "actor/a", BASE) is None


def test_a_document_is_not_judged_again_when_nothing_about_it_changed(library: Library, tmp_path: Path) -> None:
    with loading.crew(BASE, library.config) as workers:
        pairs: list[tuple[Document, Mapping[str, Face]]] = [(ORGANIZATION.document(), {}), (EVENT.document(), {})]
        first = workers.judge(pairs)
        assert [report.conforms for report in first] == [True, True]
        again: Sequence[Report] = workers.judge(pairs)
        assert all(one is other for one, other in zip(first, again, strict=True))
        faces = gate.faces(EVENT.document())
        with_event = workers.judge([(PROPOSITION.document(), faces)])
        assert with_event[0].conforms
        assert not workers.judge([(PROPOSITION.document(), {})])[0].conforms
