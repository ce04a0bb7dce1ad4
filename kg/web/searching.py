"""Search: one page and one JSON answer for whatever somebody types, grouped by what was found.

Hides forms, negotiation, and the line that tells a reader what a hit is. Promises words of people on the page, and that each part
of a text that was asked for is marked.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, render_template, request

from kg.asking import Desk
from kg.errors import KgError, RequestError
from kg.names import Label
from kg.questions import whole_number
from kg.search import KINDS_FOUND, LENGTH, MOST, Found, Hit
from kg.terms import EKG, KINDS, Base, language_rank
from kg.web.negotiation import HTML, choose, languages
from kg.web.reading import day
from kg.web.vocabulary import name_of_term

log = logging.getLogger("kg.web")

#: What people call the groups, and a single thing of each.
GROUP_NAMES = {
    "actor": ("People and organisations", "person or organisation"),
    "proposition": ("Propositions", "proposition"),
    "event": ("Events", "event"),
    "place": ("Places", "place"),
    "agreement": ("Agreements", "agreement"),
    "article": ("Articles", "article"),
    "quotation": ("Quotations", "quotation"),
}

#: Hits of each group where all groups are shown.
_HITS = 10

#: Classes that say no more than the group does.
_GENERAL = {"Actor", "Event", "Article", "Place", "Agreement", "Proposition"}


def blueprint(desk: Desk) -> Blueprint:
    """The routes `/search`, `/search.json` and `/search.html`."""
    routes = Blueprint("search", __name__)
    base = desk.library.base

    @routes.get("/search")
    @routes.get("/search.<any(json, html):suffix>")
    def search(suffix: str | None = None) -> Response:
        text, kind, limit = _asked()
        spoken = languages(request.headers.get("Accept-Language"))
        if suffix is None:
            suffix = "html" if choose(request.headers.get("Accept"), [HTML, "application/json"]) == HTML else "json"
        found = desk.search.find(text, spoken, kinds=[kind] if kind else KINDS_FOUND, limit=limit)
        if suffix == "json":
            body = json.dumps(_as_json(found, base), ensure_ascii=False)
            response = Response(body, mimetype="application/json")
        else:
            response = Response(_page(desk, found, kind, limit, spoken), mimetype=HTML)
        address = f"{urlsplit(base.iri).path}search"
        query = urlencode({"q": text, **({"kind": kind} if kind else {})})
        other = {"json": ("html", HTML), "html": ("json", "application/json")}[suffix]
        response.headers["Link"] = f'<{address}.{other[0]}?{query}>; rel="alternate"; type="{other[1]}"'
        response.headers["KG-Revision"] = str(found.revision)
        response.headers["Cache-Control"] = "public, no-cache"
        response.vary.update(["Accept", "Accept-Language"])
        return response

    return routes


def _asked() -> tuple[str, str, int]:
    """The text, the kind (empty for all), and how many hits of each. Raises `RequestError`."""
    unknown = [name for name in request.args if name not in ("q", "kind", "limit")]
    if unknown:
        raise RequestError(f"this takes q, kind and limit; got {', '.join(unknown)[:200]}", parameter=unknown[0])
    kind = request.args.get("kind", "")
    if kind and kind not in KINDS_FOUND:
        raise RequestError(f"kind is one of {', '.join(KINDS_FOUND)}; got {kind[:50]!r}", parameter="kind")
    text, limit = request.args.get("limit", ""), MOST if kind else _HITS
    if text:
        number = whole_number(text)
        if number is None or not 1 <= number <= MOST:
            raise RequestError(f"limit is a number from 1 to {MOST}; got {text[:50]!r}", parameter="limit")
        limit = number
    return request.args.get("q", ""), kind, limit


def _as_json(found: Found, base: Base) -> dict[str, Any]:
    return {
        "q": found.text,
        "revision": found.revision,
        "total": found.total,
        "groups": [
            {"kind": group.kind, "total": group.total, "hits": [hit_as_json(hit, base) for hit in group.hits]}
            for group in found.groups
        ],
    }


def hit_as_json(hit: Hit, base: Base) -> dict[str, Any]:
    """A hit for programs; `matched` is the text that has what was asked for, with the stretches of it that were."""
    matched = hit.matched or hit.label
    part = f"#{hit.part}" if hit.part else ""
    return {
        "iri": hit.iri + part,
        "path": address_of(hit, base),
        "label": hit.label.text,
        "language": hit.label.language,
        "kind": hit.kind,
        "matched": {
            "text": matched.text,
            "language": matched.language,
            "marks": [list(mark) for mark in matched.marks],
        },
        "retracted": bool(hit.facts.get("retracted")),
    }


def address_of(hit: Hit, base: Base) -> str:
    """Where a hit is read, below the home page: a quotation on its article's page."""
    return hit.iri.removeprefix(base.iri) + ".html" + (f"#{hit.part}" if hit.part else "")


def suggestions(desk: Desk, path: str, accept_language: str | None) -> list[dict[str, Any]]:
    """What somebody may have meant who asked for an address at which there is nothing; empty where nothing is near."""
    *above, name = path.strip("/").split("/")
    kind = above[-1] if above and above[-1] in KINDS else ""
    name = re.sub(r"\.[a-z.]{1,7}$", "", name)
    try:
        hits = desk.search.near(kind, name, languages(accept_language)) if name else []
    except KgError as error:
        log.warning("no suggestions for %s: %s", path, error.detail)
        return []
    base = desk.library.base
    return [
        {
            "iri": hit.iri,
            "path": address_of(hit, base),
            "kind": hit.kind,
            "label": hit.label.text,
            "language": hit.label.language,
        }
        for hit in hits
    ]


def _page(desk: Desk, found: Found, kind: str, limit: int, spoken: Sequence[str]) -> str:
    base = desk.library.base
    hits = [hit for group in found.groups for hit in group.hits]
    names = Lines(desk, ((hit.iri, hit.facts) for hit in hits), spoken)
    groups = [
        {
            "kind": group.kind,
            "title": GROUP_NAMES[group.kind][0],
            "total": group.total,
            "more": f"search?{urlencode({'q': found.text, 'kind': group.kind})}"
            if len(group.hits) < group.total and not kind
            else "",
            "hits": [
                {
                    "href": address_of(hit, base),
                    "label": hit.label,
                    "matched": hit.matched,
                    "line": names.of(hit.kind, hit.iri, hit.facts),
                    "retracted": bool(hit.facts.get("retracted")),
                }
                for hit in group.hits
            ],
        }
        for group in found.groups
    ]
    return render_template(
        "search.html",
        text=found.text,
        groups=groups,
        total=found.total,
        kind=kind,
        kind_name=GROUP_NAMES[kind][0] if kind else "",
        limit=limit,
        length=LENGTH,
        revision=found.revision,
        everywhere=f"search?{urlencode({'q': found.text})}",
        data=f"search.json?{urlencode({'q': found.text, **({'kind': kind} if kind else {})})}",
    )


class Lines:
    """The line that tells a reader what each of some documents is, with the names of others that it needs looked up at once."""

    def __init__(self, desk: Desk, documents: Iterable[tuple[str, Mapping[str, Any]]], spoken: Sequence[str]) -> None:
        self._spoken = spoken
        told = list(documents)
        wanted = [iri for _, facts in told for name in ("outlets", "within", "speakers") for iri in facts.get(name, ())]
        self._labels = desk.names.labels([*wanted, *(iri for iri, _ in told)], spoken)

    def of(self, kind: str, iri: str, facts: Mapping[str, Any]) -> list[Label]:
        """The parts of the line: what it is, its post, its outlet, its day; of a quotation who speaks and in which article. Empty where there
        is nothing to say."""
        parts = []
        if kind == "quotation":
            parts += [self._labels[speaker] for speaker in facts.get("speakers", ())[:2]]
            parts.append(self._labels[iri])
        kinds = [name for name in facts.get("classes", ()) if name not in _GENERAL]
        if kind in ("actor", "event"):
            telling = [name for name in kinds if name != "Organization"] or kinds
            parts += [Label(_word(name)) for name in telling[:1]]
        if posts := facts.get("posts"):
            best = min(posts, key=lambda post: (language_rank(post[1], self._spoken), post[0]))
            parts.append(Label(best[0], best[1] or None))
        if facts.get("modality", "Actual") != "Actual":
            parts.append(Label(_word(facts["modality"])))
        parts += [self._labels[place] for place in facts.get("within", ())[:1]]
        parts += [self._labels[outlet] for outlet in facts.get("outlets", ())[:2]]
        if published := facts.get("published"):
            parts.append(Label(day(published)))
        return parts


def _word(name: str) -> str:
    return {"Organization": "organisation"}.get(name) or name_of_term(EKG + name).lower()
