"""Pages for people that are about the service: home, what it is and how it models, and errors.

Pages work without JavaScript and ask no other host for anything.
"""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, redirect, render_template, request

from kg import questions
from kg.asking import Desk
from kg.engine import NOBODY
from kg.errors import KgError
from kg.library import Library
from kg.terms import EKG
from kg.web import libraries
from kg.web.articles import in_sentence
from kg.web.enquiry import Enquiry
from kg.web.negotiation import languages
from kg.web.positions import PASTS, Naming, term, text
from kg.web.reading import day

#: What people call the six kinds, one and many.
KIND_NAMES = {
    "article": ("Article", "Articles"),
    "actor": ("Actor", "Actors"),
    "place": ("Place", "Places"),
    "agreement": ("Agreement", "Agreements"),
    "event": ("Event", "Events"),
    "proposition": ("Proposition", "Propositions"),
}

#: The questions that the home page offers, by their ids.
_FIRST_QUESTIONS = ("who-admitted-combat", "attribution-chain", "denied-what-was-admitted")

#: Rows of either kind that the home page shows.
_TURNS, _CONTESTED = 5, 6

#: The documents of the story by which the page about the service explains itself.
_STORY = (
    ("article", "russia-admits-north-korean-soldiers"),
    ("actor", "valery-gerasimov"),
    ("actor", "russia"),
    ("proposition", "north-korean-troops-on-russian-territory"),
    ("proposition", "north-korean-troops-fight-in-kursk"),
)


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The routes for people and for descriptions."""
    routes = Blueprint("pages", __name__)
    base = library.base

    @routes.get("/")
    def home() -> Response:
        spoken = languages(request.headers.get("Accept-Language"))
        enquiry = Enquiry(desk, spoken, request.environ.get("kg.caller", NOBODY))
        revision, _, census = library.journal.census()
        turns, contested = enquiry.ask("latest-reversals", _TURNS), enquiry.ask("latest-contested", _CONTESTED)
        named = ("actor", "fromProposition", "toProposition", "proposition")
        naming = Naming(desk, spoken)
        naming.learn(text(row, column) for row in (*turns.rows, *contested.rows) for column in named)
        catalogue = questions.catalogue()
        page = render_template(
            "home.html",
            counts={kind: census.get(("document", kind), 0) for kind in KIND_NAMES},
            acts=census.get(("class", EKG + "SpeechAct"), 0),
            coverage=desk.names.coverage(),
            turns=turns,
            contested=contested,
            naming=naming,
            pasts=PASTS,
            in_sentence=in_sentence,
            text=text,
            term=term,
            day=day,
            revision=revision,
            questions=[catalogue[name] for name in _FIRST_QUESTIONS if name in catalogue],
        )
        response = Response(page, mimetype="text/html")
        whole = enquiry.whole and enquiry.revision == revision
        response.headers["KG-Revision"] = str(revision)
        response.headers["Cache-Control"] = "public, no-cache" if whole else "no-store"
        response.vary.add("Accept-Language")
        return response

    @routes.get("/about")
    def about() -> str:
        there = library.journal.digests([base.document(kind, slug) for kind, slug in _STORY])
        last = library.journal.last()
        return render_template(
            "about.html",
            story=len(there) == len(_STORY),
            libraries=libraries.installed(),
            revision=last,
            base=base,
            today=datetime.now(UTC).date(),
        )

    @routes.get("/errors")
    def errors() -> str:
        return render_template("errors.html", known=list(KgError.tree()))

    @routes.get("/favicon.ico")
    def icon() -> Response:
        return redirect(request.root_path + "/static/icon.svg", 301)  # type: ignore[return-value]

    return routes
