"""Pages for people that are about the service: home and errors.

Pages work without JavaScript and ask no other host for anything.
"""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request

from kg import questions
from kg.asking import Desk
from kg.errors import KgError
from kg.library import Library

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


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The routes for people and for descriptions."""
    routes = Blueprint("pages", __name__)
    base = library.base

    @routes.get("/")
    def home() -> str:
        catalogue = questions.catalogue()
        chosen = [catalogue[name] for name in _FIRST_QUESTIONS if name in catalogue]
        return render_template(
            "home.html", counts=library.journal.counts(), revision=library.engine.reached(), questions=chosen, base=base
        )

    @routes.get("/errors")
    def errors() -> str:
        return render_template("errors.html", known=list(KgError.tree()))

    @routes.get("/favicon.ico")
    def icon() -> Response:
        return redirect(request.root_path + "/static/icon.svg", 301)  # type: ignore[return-value]

    return routes
