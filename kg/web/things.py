"""The page of each document: what it says, and around it what others say of the thing.

Hides templates and how a page is put together. Pages work without JavaScript.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import render_template

from kg.documents import Document
from kg.journal import Revision
from kg.web import actors, articles, events, places, propositions
from kg.web.enquiry import Enquiry
from kg.web.reading import Reading, Section, label_of

#: Documents that refer to one, as its page lists them.
_PAGE = 100

#: What the page of a kind tells besides its document, by the names that its template knows.
Composer = Callable[[Enquiry, Document, Reading, list[Section], bool], Mapping[str, Any]]

#: Templates and composers of the kinds whose pages tell more than their documents say. The flag is whether the state is a former
#: one: of that, nothing is said that only the present graph knows.
_COMPOSERS: Mapping[str, tuple[str, Composer]] = {
    "actor": ("actor.html", actors.compose),
    "article": ("article.html", articles.compose),
    "event": ("event.html", events.compose),
    "agreement": ("agreement.html", events.compose_agreement),
    "place": ("place.html", places.compose),
    "proposition": ("proposition.html", propositions.compose),
}


@dataclass(frozen=True)
class Page:
    """A page, and whether all of it could be had."""

    text: str
    whole: bool


def document(enquiry: Enquiry, it: Document, revision: Revision, *, past: bool = False) -> Page:
    """The page of a document: what it says, part by part, what the graph knows of the thing, and who refers to it now.

    With `past`, the page of a state that may be no longer so: nothing is said of who refers to it.
    """
    library, languages = enquiry.desk.library, enquiry.languages
    base = library.base
    kind = base.kind_of(it.iri)
    reading = Reading(library, it, languages)
    sections = reading.sections()
    template, composer = _COMPOSERS.get(kind, ("document.html", None))
    more = composer(enquiry, it, reading, sections, past) if composer else {}
    referrers = [] if past else sorted({referrer for _, referrer in library.journal.referrers(it.subjects)} - {it.iri})
    referring: dict[str, list[tuple[str, str]]] = {}
    for iri, label in enquiry.desk.names.labels(referrers[:_PAGE], languages).items():
        referring.setdefault(base.kind_of(iri), []).append((iri.removeprefix(base.iri), label.text))
    text = render_template(
        template,
        path=it.iri.removeprefix(base.iri),
        kind=kind,
        iri=it.iri,
        title=label_of(it, languages),
        it=sections[0],
        parts=more.get("parts", [section for section in sections[1:] if not section.act]),
        referring={kind: sorted(found, key=lambda item: item[1].casefold()) for kind, found in referring.items()},
        more_referring=max(0, len(referrers) - _PAGE),
        revision=revision,
        past=past,
        enquiry=enquiry,
        **{name: value for name, value in more.items() if name != "parts"},
    )
    return Page(text, enquiry.whole)
