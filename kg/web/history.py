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
from kg.asking import Desk
from kg.documents import Document
from kg.errors import NotFound, RequestError
from kg.history import Difference
from kg.journal import Revision
from kg.library import Library
from kg.terms import KINDS
from kg.web import chronicle
from kg.web.documents import FOR_EVER, revision_asked
from kg.web.negotiation import HTML, RDF_TYPES, choose, languages
from kg.web.wording import Said, Wording, parts_that_differ

_KINDS = f"any({', '.join(KINDS)})"

_LINKS, _JSON, _TEXT = "application/link-format", "application/json", "text/plain"

#: States on one page of a TimeMap, and documents in one answer about the whole graph.
_STATES = 1_000
_DOCUMENTS = 1_000

#: Differences are two graphs; in a syntax without graphs they would run together.
_GRAPHS = ("application/trig", "application/n-quads", "application/ld+json")

#: The forms of what changed in a document, by suffix.
_DIFFERENCES = {"txt": _TEXT, "trig": _GRAPHS[0], "nq": _GRAPHS[1], "jsonld": _GRAPHS[2], "html": HTML}

#: States on one page for people, and those that a form offers.
_SHOWN = 100

#: Parts that a difference for people tells; as text there are all.
_PARTS = 200


def blueprint(library: Library, desk: Desk) -> Blueprint:
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
        media_type = choose(request.headers.get("Accept"), [_LINKS, _JSON, HTML])
        address = f"{base}timemap/{kind}/{slug}"
        if media_type == HTML:
            response = states(iri, revisions, revision_asked("before"))
        else:
            after = revision_asked("after") or 0
            found = [revision for revision in revisions if revision.seq > after]
            beyond = f"{address}?after={found[_STATES - 1].seq}" if len(found) > _STATES else None
            here = address + (f"?after={after}" if after else "")
            mementos = tuple(revision for revision in found[:_STATES] if revision.digest is not None)
            found_map = history.TimeMap(iri, here, mementos, beyond)
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
        return response.make_conditional(request)  # type: ignore[return-value]

    def states(iri: str, revisions: list[Revision], before: int | None) -> Response:
        """The history of a document for people, the newest first; `before` a revision where it is long."""
        wanted = [revision for revision in revisions if before is None or revision.seq < before]
        shown = wanted[-_SHOWN:]
        told = chronicle.deeds(
            [(revision, journal.content(revision.seq)) for revision in shown[::-1]], journal, wording()
        )
        path = iri.removeprefix(base.iri)
        return page(
            "history.html",
            path=path,
            kind=base.kind_of(iri),
            name=name_of(iri, revisions),
            days=list(chronicle.by_day(told)),
            revisions=revisions[::-1][:_STATES],
            newest=revisions[-1],
            total=len(revisions),
            earlier=f"timemap/{path}?before={shown[0].seq}" if len(shown) < len(wanted) else None,
            later=f"timemap/{path}" if len(wanted) < len(revisions) else None,
            address=f"{base}timemap/{path}",
            iri=iri,
        )

    def wording(*at_hand: Document) -> Wording:
        return Wording(desk, languages(request.headers.get("Accept-Language")), at_hand)

    def name_of(iri: str, revisions: list[Revision]) -> Said:
        """The name of a document, also of one that is gone."""
        last = next((found for r in reversed(revisions) if r.digest and (found := journal.content(r.seq))), None)
        return wording().own_name(last) if last else wording().thing(iri)

    def page(template: str, **context: object) -> Response:
        response = Response(render_template(template, **context), content_type="text/html; charset=utf-8")
        response.vary.update(["Accept", "Accept-Language"])
        response.add_etag()
        return response

    @routes.get(f"/<{_KINDS}:kind>/<slug>.diff")
    @routes.get(f"/<{_KINDS}:kind>/<slug>.diff.<suffix>")
    def of_document(kind: str, slug: str, suffix: str | None = None) -> Response:
        if suffix is not None and suffix not in _DIFFERENCES:
            raise NotFound(f"there is no form .{suffix}; there are {', '.join('.' + s for s in _DIFFERENCES)}")
        iri = base.document(kind, slug)
        span = journal.span(iri)
        if span is None:
            raise NotFound(f"there never was a document {iri}", document=iri)
        media_type = _DIFFERENCES[suffix] if suffix else choose(request.headers.get("Accept"), [_TEXT, *_GRAPHS, HTML])
        first, upto, fixed = asked(exchange=media_type == HTML)
        after = journal.revision_at(iri, upto)
        if first is None:
            first = max(0, after.seq - 1) if after else 0
        before = journal.revision_at(iri, first) if first else None
        name = f"{base}{kind}/{slug}.diff?from={first}&to={upto}"
        if media_type == HTML:
            return shown_difference(iri, before, after, first, upto)
        found = history.difference(iri, content(before), content(after))

        def text() -> Iterator[str]:
            yield f"--- {history.told(before, iri, base)}"
            yield f"+++ {history.told(after, iri, base)}"
            yield from history.in_words(found, base)

        return written(text, [found], name, fixed, media_type)

    def shown_difference(iri: str, before: Revision | None, after: Revision | None, first: int, upto: int) -> Response:
        """What changed in a document, for people: statements part by part, those taken away beside those added."""
        old, new = content(before), content(after)
        revisions = journal.history(iri)
        path = iri.removeprefix(base.iri)
        seqs = [revision.seq for revision in revisions]
        current = after.seq if after else 0
        at_hand = wording(*(it for it in (new, old) if it))
        parts = parts_that_differ(iri, old, new, at_hand, _PARTS + 1)
        response = page(
            "diff.html",
            path=path,
            kind=base.kind_of(iri),
            iri=iri,
            name=name_of(iri, revisions),
            before=before,
            after=after,
            first=first,
            upto=upto,
            parts=parts[:_PARTS],
            more=len(parts) > _PARTS,
            revisions=revisions[::-1][:_STATES],
            earlier=next((seq for seq in reversed(seqs) if before and seq < before.seq), 0 if before else None),
            later=next((seq for seq in seqs if seq > current), None),
        )
        response.headers["Cache-Control"] = "no-cache"
        response.headers["KG-Revision"] = str(journal.last())
        response.headers["Link"] = f'<{iri}>; rel="about"'
        return response.make_conditional(request)  # type: ignore[return-value]

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
        media_type = choose(request.headers.get("Accept"), [_TEXT, *_GRAPHS])
        response = written(text, (found for _, _, found in differences()), name, fixed, media_type)
        if more:
            response.headers["Link"] = f'<{home}diff?from={first}&to={upto}&after={more}>; rel="next"'
        return response

    def asked(*, exchange: bool = False) -> tuple[int | None, int, bool]:
        """From which revision to which, and whether both were given, so that the answer is for ever. With `exchange`, for people
        who choose from lists, the later one may come first."""
        last = journal.last()
        text = request.args.get("from")
        first = 0 if text == "0" else revision_asked("from")
        upto = revision_asked("to")
        if upto is not None and upto > last:
            raise NotFound(f"there is no revision {upto} yet; the newest is {last}", revision=last)
        if exchange and first is not None and upto is not None and first > upto:
            first, upto = upto, first
        if first is not None and first > (upto or last):
            raise RequestError(f"from={first} comes after to={upto or last}; exchange them", parameter="from")
        return first, upto or last, upto is not None and first is not None

    def content(revision: Revision | None) -> Document | None:
        return None if revision is None else journal.content(revision.seq)

    def written(text: Callable[[], Iterator[str]], found: object, name: str, fixed: bool, media_type: str) -> Response:
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
            (told,) = chronicle.deeds([(found, journal.content(found.seq))], journal, wording())
            later = [it.seq for it in journal.history(found.document) if it.seq > found.seq]
            response = page(
                "revision.html",
                it=told,
                iri=history.activity(found.seq, base),
                previous=journal.revision_at(found.document, found.seq - 1),
                later=later[0] if later else None,
                newest=journal.last(),
            )
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
