"""The past of documents over HTTP: TimeMaps, differences, and where each revision comes from.

Hides negotiation and paging; what is told is made in `kg.history`. Promises that what concerns named revisions only is marked as
never changing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from flask import Blueprint, Response, render_template, request

from kg import documents, history
from kg.documents import Document
from kg.errors import NotFound, RequestError
from kg.history import Difference
from kg.journal import Revision
from kg.library import Library
from kg.terms import KINDS
from kg.web.documents import FOR_EVER, revision_asked
from kg.web.negotiation import HTML, RDF_TYPES, choose

_KINDS = f"any({', '.join(KINDS)})"

_LINKS, _JSON, _TEXT = "application/link-format", "application/json", "text/plain"

#: States on one page of a TimeMap, and documents in one answer about the whole graph.
_STATES = 1_000
_DOCUMENTS = 1_000

#: Differences are two graphs; in a syntax without graphs they would run together.
_GRAPHS = ("application/trig", "application/n-quads", "application/ld+json")


def blueprint(library: Library) -> Blueprint:
    """The routes `/timemap/{kind}/{slug}`, `/{kind}/{slug}.diff`, `/diff` and `/revision/{n}`."""
    routes = Blueprint("history", __name__)
    base, journal = library.base, library.journal
    home = urlsplit(base.iri).path

    @routes.get(f"/timemap/<{_KINDS}:kind>/<slug>")
    def time_map(kind: str, slug: str) -> Response:
        iri = base.document(kind, slug)
        revisions = journal.history(iri)
        if not revisions:
            raise NotFound(f"there never was a document {iri}", document=iri)
        after = revision_asked("after") or 0
        media_type = choose(request.headers.get("Accept"), [_LINKS, _JSON, HTML])
        found = [revision for revision in revisions if revision.seq > after]
        address = f"{base}timemap/{kind}/{slug}"
        beyond = f"{address}?after={found[_STATES - 1].seq}" if len(found) > _STATES else None
        shown = found[:_STATES]
        if media_type == HTML:
            page = render_template(
                "history.html", path=f"{kind}/{slug}", iri=iri, kind=kind, revisions=shown[::-1], beyond=beyond
            )
            response = Response(page, content_type="text/html; charset=utf-8")
        else:
            here = address + (f"?after={after}" if after else "")
            states = tuple(revision for revision in shown if revision.digest is not None)
            found_map = history.TimeMap(iri, here, states, beyond)
            body = (
                found_map.link_format()
                if media_type == _LINKS
                else json.dumps(found_map.as_json(), indent=2, ensure_ascii=False)
            )
            response = Response(body, content_type=media_type)
        response.headers["KG-Revision"] = str(revisions[-1].seq)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Link"] = f'<{iri}>; rel="original", <{home}{kind}/{slug}>; rel="timegate"'
        response.vary.add("Accept")
        return response

    @routes.get(f"/<{_KINDS}:kind>/<slug>.diff")
    def of_document(kind: str, slug: str) -> Response:
        iri = base.document(kind, slug)
        span = journal.span(iri)
        if span is None:
            raise NotFound(f"there never was a document {iri}", document=iri)
        first, upto, fixed = asked()
        after = journal.revision_at(iri, upto)
        if first is None:
            first = max(0, after.seq - 1) if after else 0
        before = journal.revision_at(iri, first) if first else None
        name = f"{base}{kind}/{slug}.diff?from={first}&to={upto}"
        found = history.difference(iri, content(before), content(after))

        def text() -> Iterator[str]:
            yield f"--- {history.told(before, iri, base)}"
            yield f"+++ {history.told(after, iri, base)}"
            yield from history.in_words(found, base)

        return written(text, [found], name, fixed)

    @routes.get("/diff")
    def of_graph() -> Response:
        first, upto, fixed = asked()
        if first is None:
            raise RequestError(
                "/diff?from=N says from which revision on; to= is the newest unless it is given", parameter="from"
            )
        after = request.args.get("after", "")
        iris = journal.changed(first, upto, base.iri + after if after else "", _DOCUMENTS + 1)
        more = iris[_DOCUMENTS - 1].removeprefix(base.iri) if len(iris) > _DOCUMENTS else None

        def differences() -> Iterator[tuple[Revision | None, Revision | None, Difference]]:
            for iri in iris[:_DOCUMENTS]:
                before, now = journal.revision_at(iri, first), journal.revision_at(iri, upto)
                if found := history.difference(iri, content(before), content(now)):
                    yield before, now, found

        def text() -> Iterator[str]:
            for before, now, found in differences():
                yield f"--- {history.told(before, found.document, base)}"
                yield f"+++ {history.told(now, found.document, base)}"
                yield from history.in_words(found, base)

        name = f"{base}diff?from={first}&to={upto}"
        response = written(text, (found for _, _, found in differences()), name, fixed)
        if more:
            response.headers["Link"] = f'<{home}diff?from={first}&to={upto}&after={more}>; rel="next"'
        return response

    def asked() -> tuple[int | None, int, bool]:
        """From which revision to which, and whether both were given, so that the answer is for ever."""
        last = journal.last()
        text = request.args.get("from")
        first = 0 if text == "0" else revision_asked("from")
        upto = revision_asked("to")
        if upto is not None and upto > last:
            raise NotFound(f"there is no revision {upto} yet; the newest is {last}", revision=last)
        if first is not None and first > (upto or last):
            raise RequestError(f"from={first} comes after to={upto or last}; exchange them", parameter="from")
        return first, upto or last, upto is not None and first is not None

    def content(revision: Revision | None) -> Document | None:
        return None if revision is None else journal.content(revision.seq)

    def written(text: Callable[[], Iterator[str]], found: object, name: str, fixed: bool) -> Response:
        media_type = choose(request.headers.get("Accept"), [_TEXT, *_GRAPHS])
        if media_type == _TEXT:
            body = "".join(f"{line}\n" for line in text()).encode()
        else:
            quads = (quad for one in found for quad in history.as_quads(one, name))  # type: ignore[attr-defined]
            body = history.write(quads, documents.syntax_of_suffix(RDF_TYPES[media_type]))
        response = Response(body, content_type=f"{media_type}; charset=utf-8" if media_type == _TEXT else media_type)
        response.vary.add("Accept")
        response.headers["Cache-Control"] = FOR_EVER if fixed else "no-cache"
        response.headers["KG-Revision"] = str(journal.last())
        return response

    @routes.get("/revision/<text>")
    def revision(text: str) -> Response:
        number, dot, suffix = text.partition(".")
        found = journal.revision(int(number)) if number.isascii() and number.isdecimal() and len(number) < 19 else None
        if found is None:
            raise NotFound(f"there is no revision {number[:30]}; the newest is {journal.last()}")
        if dot and suffix not in (*RDF_TYPES.values(), "html"):
            raise NotFound(
                f"there is no form .{suffix}; there are {', '.join('.' + s for s in RDF_TYPES.values())}, .html"
            )
        types = {kind: short for kind, short in RDF_TYPES.items() if not dot or short == suffix}
        media_type = (
            HTML
            if suffix == "html"
            else choose(None if dot else request.headers.get("Accept"), [*types, *([] if dot else [HTML])])
        )
        if media_type == HTML:
            path = found.document.removeprefix(base.iri)
            page = render_template("revision.html", it=found, path=path, iri=history.activity(found.seq, base))
            response = Response(page, content_type="text/html; charset=utf-8")
        else:
            body = provenance(found, types[media_type])
            response = Response(
                body, content_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
            )
            response.last_modified = found.time
            response.headers["Cache-Control"] = FOR_EVER
        response.add_etag()
        response.vary.add("Accept")
        response.headers["KG-Revision"] = str(found.seq)
        response.headers["Link"] = f'<{found.document}?revision={found.seq}>; rel="about"'
        return response.make_conditional(request)  # type: ignore[return-value]

    def provenance(found: Revision, suffix: str) -> bytes:
        triples = history.provenance(found, base)
        if suffix == documents.JSON_LD.suffix:
            return documents.json_ld(triples, base)
        return history.write(triples, documents.syntax_of_suffix(suffix))

    return routes
