"""The page `/validate`: a document pasted, dropped or chosen, and what is wrong with it in words beside the lines they concern.

Hides the form and how results find their lines. Promises that the text stays in the form whatever became of it, and that nothing here
is stored. Works without JavaScript.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyoxigraph as ox
from flask import render_template, request

from kg import documents
from kg.asking import Desk
from kg.documents import JSON_LD, N_QUADS, RDF_XML, TRIG, TURTLE, Document, Syntax
from kg.errors import KgError, RequestError, UnplaceableDocument
from kg.gate import Result
from kg.passages import Passages, kept_lines
from kg.terms import EKG, RDF_TYPE, shorten
from kg.verdict import Verdict
from kg.web.negotiation import languages
from kg.web.wording import Said, Wording, parts_that_differ

#: How the form comes, pasted text and chosen files alike. The other media type of forms is what curl says of anything.
FORM = "multipart/form-data"

#: Beside the text a form has its other fields and what parts them; pasted text comes with two bytes for the end of a line.
_BESIDE = 2**16

#: Results that a page shows, and parts, acts and documents of one text that would be recorded.
_RESULTS = 100
_OUTCOMES = 50

#: Characters of a line that an excerpt shows.
_WIDTH = 240

_XML = re.compile(r"\s*<(\?xml|!DOCTYPE|!--|rdf:RDF|\w+:RDF)", re.IGNORECASE)
_FOUR = re.compile(r"(?:<[^<>\s]*>|_:\S+)\s+<[^<>\s]*>\s+\S.*\s(?:<[^<>\s]*>|_:\S+)\s*\.\s*$")


@dataclass(frozen=True)
class Sent:
    """What was sent to be judged: the bytes, how they are read, the document they are about where they do not say it, and the
    choices of the form as they were made."""

    data: bytes
    syntax: Syntax
    graph: str | None
    chosen: str = ""
    file: str = ""

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace").removeprefix("\ufeff")


def sent_form(limit: int) -> Sent:
    """What a form sent. Raises `RequestError`, or `DocumentTooLarge`."""
    if request.content_length is not None and request.content_length > 3 * limit + _BESIDE:
        raise documents.too_large(request.content_length, limit, "what was sent")
    request.max_form_memory_size = 3 * limit + _BESIDE  # else half a megabyte, whatever our own limit is
    file = request.files.get("file")
    if file is not None and file.filename:
        data, name = file.stream.read(limit + 1), file.filename
    else:
        # Forms send each end of a line as CR LF, which would get into long strings.
        data, name = request.form.get("text", "").replace("\r\n", "\n").encode("utf-8", "surrogatepass"), ""
    if len(data) > limit:
        raise documents.too_large(len(data), limit, "the text")
    chosen = request.form.get("syntax", "")
    graph = request.form.get("graph", "").strip() or None
    if chosen and chosen not in {syntax.suffix for syntax in documents.SYNTAXES}:
        raise RequestError(f"there is no syntax {chosen[:40]!r}", parameter="syntax")
    return Sent(data, documents.syntax_of_suffix(chosen) if chosen else detected(data, name), graph, chosen, name)


def detected(data: bytes, name: str = "") -> Syntax:
    """The syntax of a text, by the suffix of the file's name, else by how it begins; Turtle where nothing speaks for another."""
    suffix = name.rpartition(".")[2].lower()
    known = {syntax.suffix: syntax for syntax in documents.SYNTAXES} | {"json": JSON_LD, "xml": RDF_XML}
    if "." in name and suffix in known:
        return known[suffix]
    text = data[:65_536].decode("utf-8", errors="replace").removeprefix("\ufeff")
    if _XML.match(text):
        return RDF_XML
    if re.match(r"\s*(?:\{\s*[\"}]|\[\s*[{\]])", text):
        return JSON_LD
    lines = [line for line in text.split("\n")[:200] if line.strip() and not line.lstrip().startswith("#")]
    if lines and _FOUR.match(lines[0]) and not _FOUR.match(re.sub(r"\"(?:[^\"\\]|\\.)*\"", '""', lines[0]) + "x"):
        return N_QUADS
    # TriG reads whatever Turtle reads, and graphs beside it.
    return TRIG if re.search(r"(?m)^\s*(?:GRAPH\s+)?(?:<[^<>\s]*>|[\w-]*:[\w-]*)?\s*\{", text) else TURTLE


@dataclass(frozen=True)
class Finding:
    """One thing to mend, in words: of what, with which property, which value."""

    about: Said
    anchor: str
    property: str
    value: str
    message: str


@dataclass(frozen=True)
class Passage:
    """Things to mend at one place of the text: the line and what was found on it, the lines around it, the place in words else."""

    line: int | None
    what: str
    lines: Sequence[tuple[int, str]]
    column: int | None
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Outcome:
    """What a document would become: new, changed or unchanged; its first acts in words, how many acts and quotations it has; what
    would change."""

    name: Said
    path: str
    kind: str
    state: str
    conforms: bool
    acts: Sequence[dict[str, Any]]
    act_count: int
    quotations: int
    parts: Sequence[Any]


class Page:
    """The page for one library; each method gives it as HTML."""

    def __init__(self, desk: Desk, limit: int, rate: int) -> None:
        self._desk = desk
        self._base = desk.library.base
        self._limit = limit
        self._rate = rate

    def empty(self) -> str:
        return self._page(None, request.args.get("graph", ""))

    def failed(self, sent: Sent | None, error: KgError, status: int) -> str:
        """With why nothing could be judged, beside the line where that is known."""
        line, column = error.facts.get("line"), error.facts.get("column")
        passage = None
        if sent is not None and isinstance(line, int):
            passage = Passage(line, "syntax", self._excerpt(sent.text, [line]).get(line, []), column, ())
        graph = (sent.graph or "") if sent else request.form.get("graph", request.args.get("graph", ""))
        itself = isinstance(error, UnplaceableDocument) and f"<{self._base}validate" in error.detail
        advice = "graph" if itself and not graph else ""
        return self._page(sent, graph, error=error, status=status, passage=passage, advice=advice)

    def judged(self, sent: Sent, candidates: Sequence[Document], verdict: Verdict, relative_to: str) -> str:
        """With the verdict: what to mend, where; or what the documents would become."""
        wording = Wording(self._desk, languages(request.headers.get("Accept-Language")), candidates)
        results = [(report.document, result) for report in verdict.reports for result in report.results]
        broken = {report.document for report in verdict.reports if not report.conforms}
        return self._page(
            sent,
            sent.graph or "",
            verdict=verdict,
            passages=self._passages(sent, candidates, results[:_RESULTS], relative_to, wording),
            total=len(results),
            shown=min(len(results), _RESULTS),
            outcomes=[self._outcome(it, verdict, it.iri not in broken, wording) for it in candidates[:_OUTCOMES]],
            others=len(candidates) - _OUTCOMES,
            elsewhere=sorted(broken - {it.iri for it in candidates}),
        )

    def _page(self, sent: Sent | None, graph: str, **context: Any) -> str:
        return render_template(
            "validate.html",
            sent=sent,
            graph=graph,
            base=self._base,
            limit=self._limit,
            rate=self._rate,
            syntaxes=[(syntax.suffix, syntax.name) for syntax in documents.SYNTAXES],
            **context,
        )

    def _excerpt(self, text: str, numbers: Iterable[int]) -> dict[int, list[tuple[int, str]]]:
        return {
            number: [(other, line if len(line) <= _WIDTH else line[:_WIDTH] + " …") for other, line in lines]
            for number, lines in kept_lines(text, numbers).items()
        }

    def _passages(
        self,
        sent: Sent,
        candidates: Sequence[Document],
        results: Sequence[tuple[str, Result]],
        relative_to: str,
        wording: Wording,
    ) -> list[Passage]:
        if not results:
            return []
        text = sent.text
        passages = Passages(text, sent.syntax, self._base, relative_to, candidates)
        here = {candidate.iri for candidate in candidates}
        described = {subject for candidate in candidates for subject in candidate.subjects}
        owners = _owners(candidates)
        groups: dict[tuple[int | None, str], list[Finding]] = {}
        found_on: dict[int, set[str]] = {}
        for document, result in results:
            place = passages.find(result.focus, result.path, result.value) if document in here else None
            if place is None and result.focus.startswith("_:") and result.focus in owners:
                place = passages.find(owners[result.focus])
            missing = "#" in result.focus and result.focus not in described
            key = (place.line, "") if place else (None, "elsewhere" if document not in here else "missing" * missing)
            if place:
                found_on.setdefault(place.line, set()).add(place.what)
            groups.setdefault(key, []).append(self._finding(result, owners, wording))
        excerpts = {line: _moved_left(kept) for line, kept in self._excerpt(text, [n for n, _ in groups if n]).items()}
        in_order = sorted(groups.items(), key=lambda item: (item[0][0] is None, item[0][0] or 0, item[0][1]))
        return [
            Passage(
                line,
                next((it for it in ("value", "property", "node", "name") if it in found_on.get(line or 0, ())), what),
                excerpts.get(line or 0, []),
                None,
                findings,
            )
            for (line, what), findings in in_order
        ]

    def _finding(self, result: Result, owners: dict[str, str], wording: Wording) -> Finding:
        focus = owners.get(result.focus, result.focus)
        about = wording.thing(focus)
        if focus != result.focus:
            about = Said(f"a part of {about.text}")
        silent = result.value is None or result.value.startswith("_:") or result.value == result.focus
        value = "" if silent else shorten(str(result.value), self._base)
        return Finding(
            about,
            focus.partition("#")[2],
            shorten(result.path) if result.path else "",
            value if len(value) <= _WIDTH else value[:_WIDTH] + " …",
            result.message.replace(self._base.iri, ""),
        )

    def _outcome(self, it: Document, verdict: Verdict, conforms: bool, wording: Wording) -> Outcome:
        now = self._desk.library.read(it.iri)
        state = "unchanged" if it.iri in verdict.unchanged else "changed" if now else "new"
        of: dict[str, list[ox.Triple]] = {}
        for triple in documents.in_reading_order(it):
            if isinstance(triple.subject, ox.NamedNode):
                of.setdefault(triple.subject.value, []).append(triple)
        parts = []
        if conforms and state == "changed" and now:
            fresh = Wording(self._desk, languages(request.headers.get("Accept-Language")), [it, now[0]])
            parts = parts_that_differ(it.iri, now[0], it, fresh, _OUTCOMES)
        acts = {iri: triples for iri, triples in of.items() if _is(triples, "SpeechAct")}
        told = [_act(iri, acts[iri], wording) for iri in list(acts)[:_OUTCOMES]] if conforms else []
        quotations = sum(_is(triples, "Evidence") for triples in of.values())
        return Outcome(
            wording.thing(it.iri),
            it.iri.removeprefix(self._base.iri),
            self._base.kind_of(it.iri),
            state,
            conforms,
            told,
            len(acts),
            quotations,
            parts,
        )


def _moved_left(lines: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """The same without the indentation that all of them have, which costs room on a narrow screen."""
    whole = textwrap.dedent("\n".join(line for _, line in lines)).split("\n")
    return [(number, line) for (number, _), line in zip(lines, whole, strict=True)]


def _is(triples: Iterable[ox.Triple], name: str) -> bool:
    return any(t.predicate.value == RDF_TYPE and t.object == ox.NamedNode(EKG + name) for t in triples)


def _act(iri: str, triples: Sequence[ox.Triple], wording: Wording) -> dict[str, Any]:
    """An act in words: what it is and whose, its stance, what it is about or passes on."""

    def of(name: str) -> list[Said]:
        return [wording.value(t.object) for t in triples if t.predicate.value == EKG + name]

    return {
        "anchor": iri.partition("#")[2],
        "title": wording.part(iri),
        "behalf": of("onBehalfOf"),
        "stance": ", ".join(it.text for it in of("stance")) or ("reports" if of("reports") else ""),
        "content": of("content") or of("reports") or of("evaluates"),
    }


def _owners(candidates: Iterable[Document]) -> dict[str, str]:
    """For each node without a name, the nearest one with a name of which it is a part."""
    leading = {
        str(t.object): str(t.subject) if isinstance(t.subject, ox.BlankNode) else t.subject.value
        for it in candidates
        for t in it.triples
        if isinstance(t.object, ox.BlankNode) and isinstance(t.subject, ox.BlankNode | ox.NamedNode)
    }
    owners = {}
    for node in leading:
        owner, steps = node, 0
        while owner in leading and steps < 100:
            owner, steps = leading[owner], steps + 1
        if not owner.startswith("_:"):
            owners[node] = owner
    return owners
