"""All revisions as a stream to follow: `/changes`, a Linked Data Event Stream (LDES 1.0) in TREE pages, and waiting for the next.

Hides paging, caching and waiting. Promises that a full page never changes, and says so; that who follows from the first page and
applies each member in order holds the graph; and that those who wait are few, let go when they hang up, and cost no more than a thread.

A member is a version, `{document}?revision=n`, and what it says stands in the graph of that name: put it in the place of the graph
that it is a version of, or take that away where the member is an `as:Delete`.

People see the same newest first, in sentences.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlsplit

from flask import Blueprint, Response, redirect, render_template, request

from kg import documents, history
from kg.asking import Desk
from kg.engine import NOBODY, Caller
from kg.errors import NotFound, Overloaded, RequestError
from kg.library import Library
from kg.web import chronicle
from kg.web.documents import FOR_EVER
from kg.web.negotiation import HTML, RDF_TYPES, choose, languages
from kg.web.wording import Wording

#: Pages name graphs. TriG comes first, for those who do not say.
_PAGES = ("application/trig", "application/n-quads", "application/ld+json")

#: Revisions on one page for people, and those of one write that are shown before the rest is opened.
_DEEDS = 100
_FEW = 8

#: How long the page that still grows may be taken for what it was, in seconds.
_FRESH = 5

#: How many may wait at once, each of them in a thread, and for how many seconds.
WAITERS = 32
_LONGEST = 60.0

#: Set when this process is told to end, so that those who wait do not hold it up.
ENDING = threading.Event()

#: Seconds between two looks at the journal while somebody waits; a look takes microseconds.
_INTERVAL = 0.1


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The route `/changes`."""
    routes = Blueprint("feed", __name__)
    base = library.base
    here = f"{urlsplit(base.iri).path}changes"
    places = threading.BoundedSemaphore(WAITERS)

    @routes.get("/changes")
    def changes() -> Response:
        number, after, wait = _asked("page", 1), _asked("after", 0), _seconds_asked()
        before = _asked("before", 1)
        if before is not None and (number, after, wait) != (None, None, None):
            raise RequestError("before is for people, who read the newest first; leave out page, after and wait")
        if number is not None and (after is not None or wait is not None):
            raise RequestError("page names a page; after and wait look for one: leave out the one or the others")
        if wait is not None:
            return await_next(after, wait)
        forms = [HTML] if before is not None else [*(RDF_TYPES if number is None else _PAGES), HTML]
        if after is None and choose(request.headers.get("Accept"), forms) == HTML:
            if number is not None:
                require_page(number)
                before = number * history.PAGE + 1
            return conditional(chronicle_page(before, history.PAGE if number else _DEEDS))
        if after is not None:
            response = redirect(f"{here}?page={history.page_of(after + 1)}", 303)
            assert isinstance(response, Response)
            return response
        return conditional(stream() if number is None else page(number))

    def chronicle_page(before: int | None, count: int) -> Response:
        """Changes in sentences, the newest first: those before a revision, or of all."""
        newest = library.journal.last()
        last = newest if before is None else min(newest, before - 1)
        first = max(0, last - count) + 1
        members = library.journal.following(first - 1, last - first + 1) if last else []
        wording = Wording(desk, languages(request.headers.get("Accept-Language")))
        told = chronicle.deeds(members[::-1], library.journal, wording)
        page = render_template(
            "changes.html",
            days=list(chronicle.by_day(told)),
            few=_FEW,
            page=history.page_of(max(1, last)),
            first=first,
            last=last,
            newest=newest,
            older_than=before if before is not None and before <= newest else None,
            earlier=f"changes?before={first}" if first > 1 else None,
            later=("changes" if last + count >= newest else f"changes?before={last + count + 1}")
            if last < newest
            else None,
            modified=history.stamp(members[-1][0].time) if members else None,
            base=base,
        )
        response = Response(page, content_type="text/html; charset=utf-8")
        response.headers["KG-Revision"] = str(newest)
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.vary.update(["Accept", "Accept-Language"])
        return response

    def stream() -> Response:
        media_type = choose(request.headers.get("Accept"), list(RDF_TYPES))
        response = written(history.write(history.stream(base), _syntax(media_type)), media_type)
        response.headers["Cache-Control"] = "public, max-age=3600"
        last = history.page_of(max(1, library.journal.last()))
        response.headers["Link"] = f'<{here}?page=1>; rel="first", <{here}?page={last}>; rel="last"'
        return response

    def page(number: int) -> Response:
        media_type = choose(request.headers.get("Accept"), _PAGES)
        first = require_page(number)
        members = library.journal.following(first, history.PAGE)
        response = written(history.write(history.page(number, members, base), _syntax(media_type)), media_type)
        closed = len(members) == history.PAGE
        response.headers["Cache-Control"] = FOR_EVER if closed else f"public, max-age={_FRESH}"
        if members:
            response.last_modified = members[-1][0].time
        links = [f'<{here}>; rel="collection"']
        links += [f'<{here}?page={number - 1}>; rel="prev"'] if number > 1 else []
        links += [f'<{here}?page={number + 1}>; rel="next"'] if closed else []
        response.headers["Link"] = ", ".join(links)
        return response

    def require_page(number: int) -> int:
        """The number of the revision before the page's first. Raises `NotFound` for a page that is not reached."""
        last = library.journal.last()
        first = (number - 1) * history.PAGE
        if first > last:
            newest = history.page_of(max(1, last))
            raise NotFound(f"there is no page {number} yet; the newest is {here}?page={newest}", page=newest)
        return first

    def await_next(after: int | None, wait: float) -> Response:
        """The page with the first revision that follows, as soon as there is one; 204 where there is none in time."""
        journal = library.journal
        after = journal.last() if after is None else after
        caller: Caller = request.environ.get("kg.caller", NOBODY)
        if not places.acquire(blocking=False):
            raise Overloaded(
                f"{WAITERS} others wait already; ask without wait=, or again in a few seconds", retry_after=5
            )
        try:
            gone = threading.Event()
            deadline = time.monotonic() + wait
            with caller.on_hang_up(gone.set):
                while (last := journal.last()) <= after and not ENDING.is_set():
                    left = deadline - time.monotonic()
                    if left <= 0 or gone.wait(min(left, _INTERVAL)):
                        break
        finally:
            places.release()
        if last <= after:
            response = Response(status=204, headers={"KG-Revision": str(last)})
            del response.headers["Content-Type"]
        else:
            number = history.page_of(after + 1)
            response = page(number)
            response.headers["Content-Location"] = f"{here}?page={number}"
            response.headers["KG-Revision"] = str(last)
        response.headers["Cache-Control"] = "no-store"
        return response

    def written(body: bytes, media_type: str) -> Response:
        response = Response(
            body, content_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        )
        response.add_etag()
        response.vary.add("Accept")
        return response

    def conditional(response: Response) -> Response:
        return response.make_conditional(request)  # type: ignore[return-value]

    return routes


def _syntax(media_type: str) -> documents.Syntax:
    return documents.syntax_of_suffix(RDF_TYPES[media_type])


def _asked(name: str, least: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15 and int(text) >= least):
        raise RequestError(f"{name} is a whole number from {least}; got {text[:50]!r}", parameter=name)
    return int(text)


def _seconds_asked() -> float | None:
    text = request.args.get("wait")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise RequestError(f"wait is a number of seconds, up to {_LONGEST:g}; got {text[:50]!r}", parameter="wait")
    return min(float(text), _LONGEST)
