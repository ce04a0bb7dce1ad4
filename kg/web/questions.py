"""The catalogue of questions: a page for each, with a form, the answer below it, and the answer in every format one suffix away.

Hides forms and negotiation. Pages work without JavaScript. Every address is a read like any other: it can be kept, linked to, and
asked again with `If-None-Match`; with `revision` it answers from that state of the graph or says that it cannot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pyoxigraph as ox
from flask import Blueprint, Response, render_template, request

from kg import examples, openapi, questions
from kg.asking import Desk, Wish
from kg.engine import NOBODY
from kg.errors import InvalidParameter, NotFound, RequestError, SnapshotGone
from kg.library import Library
from kg.questions import Parameter, Question
from kg.tables import FORMATS, Table, chart, drawn_of
from kg.terms import EKG, KINDS, Base
from kg.web.answers import answer, in_words
from kg.web.negotiation import HTML, RDF_TYPES, choose, languages, require_xml
from kg.web.vocabulary import name_of_term

#: In the order of preference where the client has none.
_TYPES = {"application/json": "json", **{media_type: form for form, media_type in FORMATS.items()}, HTML: "html"}
_BY_SUFFIX = {form: media_type for media_type, form in _TYPES.items()}
_TITLES = {"csv": "CSV", "tsv": "TSV", "json": "JSON", "xml": "SPARQL XML", "md": "Markdown"}

#: The chart's specification with the rows in it, as the editors of Vega-Lite open it.
_CHART = "vl.json"

#: What fields are called where the parameter's name does not tell.
_LABELS = {"asof": "as of", "retracted": "with retracted articles"}

_YES_OR_NO = {"1": True, "0": False, "yes": True, "no": False, "true": True, "false": False}

#: Rows that a page shows; it says how many there are and links to all of them.
_ROWS = 500


def blueprint(library: Library, desk: Desk) -> Blueprint:
    """The routes `/questions`, `/questions/{id}`, `/openapi.json` and `/.well-known/sparql-examples`."""
    routes = Blueprint("questions", __name__)

    @routes.get("/questions")
    @routes.get("/questions.<suffix>")
    def catalogue(suffix: str | None = None) -> Response:
        given = _fields()
        text, tag = _one(given, "q"), _one(given, "tag")
        form = _form(suffix, _one(given, "format"), {"application/json": "json", HTML: "html"})
        if given:
            raise RequestError(
                f"this takes q, tag and format; got {', '.join(given)[:200]}", parameter=next(iter(given))
            )
        found = questions.search(text, tag)
        if form == "json":
            listed = [{**question.as_json(), "address": f"{library.base}questions/{question.id}"} for question in found]
            return _kept(Response(json.dumps(listed, ensure_ascii=False), mimetype="application/json"))
        tags = sorted({tag for question in questions.catalogue().values() for tag in question.tags})
        groups = {"": found} if text or tag else _under_headings(found)
        page = render_template(
            "questions.html", base=library.base, groups=groups, in_prose=_in_prose, tags=tags, text=text, tag=tag
        )
        return _kept(Response(page, mimetype=HTML))

    @routes.get("/questions/<name>")
    def question(name: str) -> Response:
        name, dot, suffix = name.partition(".")
        it = questions.find(name)
        given = _fields()
        excel = _excel(_one(given, "excel") or "no")
        named = _one(given, "format")
        form = _form(suffix if dot else None, named, _TYPES if suffix != _CHART else {"application/json": _CHART})
        if form == "html":
            return _page(desk, it, given)
        wish = desk.understand(it, given)
        table = desk.ask(wish, request.environ.get("kg.caller", NOBODY))
        if form == _CHART:
            return _answered(Response(json.dumps(chart(it, table)), mimetype="application/json"), table)
        body = table.write(form, excel=excel)
        media_type = FORMATS[form]
        if form == "xml":
            require_xml([body], [other for other in _TYPES if other != media_type])
        charset = "; charset=utf-8" if media_type.startswith("text/") else ""
        header = "; header=present" if form == "csv" else ""
        response = Response(body, content_type=media_type + charset + header)
        if form in ("csv", "tsv"):
            response.headers["Content-Disposition"] = f'inline; filename="{it.id}.{form}"'
        return _answered(response, table)

    @routes.get("/openapi.json")
    def description() -> Response:
        response = Response(openapi.write(library.base), mimetype="application/json")
        response.headers["Cache-Control"] = "public, max-age=3600"
        return _with_tag(response)

    @routes.get("/.well-known/sparql-examples/<name>")
    def sparql_example(name: str) -> Response:
        questions.find(name)
        return Response(status=303, headers={"Location": f"{library.base}.well-known/sparql-examples"})

    @routes.get("/.well-known/sparql-examples")
    def sparql_examples() -> Response:
        types = {kind: suffix for kind, suffix in RDF_TYPES.items() if suffix not in ("trig", "nq")}
        media_type = choose(request.headers.get("Accept"), [*types])
        response = Response(examples.write(library.base, types[media_type]), mimetype=media_type)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return _with_tag(_varied(response))

    return routes


def _fields() -> dict[str, list[str]]:
    """The parameters of the address. Raises `RequestError` where they are not UTF-8."""
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            request.query_string.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError as error:  # UnicodeDecodeError is one
        raise RequestError(f"the parameters cannot be read: {error}") from None
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _excel(text: str) -> bool:
    if text not in _YES_OR_NO:
        raise RequestError(f"excel is one of {', '.join(_YES_OR_NO)}; got {text[:50]!r}", parameter="excel")
    return _YES_OR_NO[text]


def _one(given: dict[str, list[str]], name: str) -> str:
    """Take a value that is the address's own, empty where there is none. Raises `RequestError` where there are several."""
    values = [value for value in given.pop(name, []) if value.strip()]
    if len(values) > 1:
        raise RequestError(f"{name} is given {len(values)} times; give it once", parameter=name)
    return values[0] if values else ""


def _form(suffix: str | None, named: str, types: Mapping[str, str]) -> str:
    """The format asked for: by suffix or `format=`, a short name or a media type, else by `Accept`.

    Raises `NotFound` for another suffix, `RequestError` for another `format`, or for one that contradicts the suffix.
    """
    forms = ", ".join("." + form for form in dict.fromkeys(types.values()))
    if suffix is not None and suffix not in types.values():
        raise NotFound(f"there is no form .{suffix[:40]}; there are {forms}")
    # In a query string a bare + is a space.
    asked = named.strip().lower().removeprefix(".").replace(" ", "+")
    form = types.get(asked, asked)
    if asked and form not in types.values():
        raise RequestError(
            f"format is one of {forms.replace('.', '')}, or its media type; got {named[:50]!r}", parameter="format"
        )
    if suffix is not None and asked and form != suffix:
        raise RequestError(f"the address ends in .{suffix}, and format says {form}; leave one out", parameter="format")
    return suffix or form or types[choose(request.headers.get("Accept"), [*types])]


def _varied(response: Response) -> Response:
    response.vary.add("Accept")
    return response


def _kept(response: Response) -> Response:
    """What changes only with the catalogue."""
    response.headers["Cache-Control"] = "public, no-cache"
    return _with_tag(_varied(response))


def _with_tag(response: Response) -> Response:
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]


def _answered(response: Response, table: Table) -> Response:
    """With what tells of which state of the graph it is; the entity tag comes with it."""
    response.headers["KG-Revision"] = str(table.revision)
    response.headers["Cache-Control"] = "public, no-cache"
    return _varied(response)


# The pages

#: Under which heading the catalogue shows a question: the first of these of which it has a tag, taken in the order of its own tags.
_HEADINGS = {
    "Disputes and changes of position": ("contested", "reversal", "change", "position", "proposition", "event"),
    "Denials, admissions, and who was first": ("denial", "admission", "deployment", "first"),
    "On whose word": ("attribution", "origin", "presupposition", "certainty"),
    "Actors and forces": ("actor", "force", "agreement"),
    "Outlets and articles": ("outlet", "article"),
    "Plans, intents and deceptions": ("planned", "hypothetical", "intent", "deception"),
}


def _under_headings(found: Sequence[Question]) -> dict[str, list[Question]]:
    """The questions by heading; those that fit under none stand last."""
    of_tag = {tag: heading for heading, tags in _HEADINGS.items() for tag in tags}
    groups: dict[str, list[Question]] = {heading: [] for heading in (*_HEADINGS, "The graph itself")}
    for question in found:
        heading = next((of_tag[tag] for tag in question.tags if tag in of_tag), "The graph itself")
        groups[heading].append(question)
    return {heading: group for heading, group in groups.items() if group}


def _page(desk: Desk, question: Question, given: Mapping[str, Sequence[str]]) -> Response:
    """The form and, if enough is known to ask, the answer below it, or beside each field what is wrong with it."""
    context: dict[str, Any] = {
        "question": question,
        "related": _related(question),
        "meant": _in_prose(question.description),
        "ld": _for_search_engines(question, desk.library.base, []),
    }
    values = {name: texts[-1] for name, texts in given.items()}
    try:
        missing = any(
            parameter.required and parameter.default is None and not values.get(name, "").strip()
            for name, parameter in question.parameters.items()
        )
        if missing and not any(value.strip() for value in values.values()):
            wish = None  # nobody has asked yet
        else:
            wish = desk.understand(question, given)
    except InvalidParameter as error:
        entries: list[dict[str, Any]] = error.facts["errors"]
        errors: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            errors.setdefault(entry["parameter"], []).append(
                _with_addresses(entry, question, values, desk.library.base)
            )
        known = {*question.parameters, "limit"}
        context["others"] = [entry for name, found in errors.items() if name not in known for entry in found]
        page = render_template(
            "question.html",
            **context,
            fields=_inputs(question, values, errors, {}),
            limit=values.get("limit") or question.limit,
            limit_errors=errors.get("limit", []),
        )
        return _varied(Response(page, 400, mimetype=HTML))
    if wish is None:
        fields = _inputs(question, values, {}, {})
        page = render_template("question.html", **context, fields=fields, limit=question.limit)
        return _kept(Response(page, mimetype=HTML))
    try:
        table = desk.ask(wish, request.environ.get("kg.caller", NOBODY))
    except NotFound as error:  # of the revision alone: what else is wrong has been told
        fields = _inputs(question, values, {}, wish.texts)
        gone = {"detail": error.detail, "newest": _address(wish)}
        page = render_template("question.html", **context, fields=fields, limit=wish.limit, gone=gone)
        return _varied(Response(page, 410 if isinstance(error, SnapshotGone) else 404, mimetype=HTML))
    context |= _answer(table, wish, desk)
    fields = _inputs(question, values, {}, wish.texts)
    page = render_template("question.html", **context, fields=fields, limit=wish.limit)
    response = _answered(Response(page, mimetype=HTML), table)
    response.vary.add("Accept-Language")
    return response


def _inputs(
    question: Question,
    values: Mapping[str, str],
    errors: Mapping[str, list[dict[str, Any]]],
    texts: Mapping[str, str],
) -> list[dict[str, Any]]:
    """What the form shows for each parameter; what was sent stands in it as it was written."""
    inputs = []
    for name, parameter in question.parameters.items():
        value = values.get(name) or texts.get(name) or parameter.default or ""
        inputs.append(
            {
                "parameter": parameter,
                "label": _LABELS.get(name) or in_words(name),
                "picks": " ".join(kind for kind in parameter.kinds if kind in KINDS),
                "value": value,
                "input": _input(parameter, value),
                "choices": ("no", "yes") if parameter.type == "boolean" else parameter.choices,
                "errors": errors.get(name, []),
            }
        )
    return inputs


def _input(parameter: Parameter, value: str) -> str:
    if parameter.choices or (parameter.type == "boolean" and value in ("", "yes", "no")):
        return "choice"
    if parameter.type != "date":
        return "text"
    # A field for dates shows nothing of what is no date, and what was wrong should be seen.
    try:
        parameter.read(value or "2025-01-01")
    except InvalidParameter:
        return "text"
    return "date"


def _in_prose(text: str) -> list[str]:
    """The paragraphs of a description, with the names of terms as people say them: it is written for those who ask in SPARQL too."""
    return re.sub(r"\bekg:(\w+)", lambda match: name_of_term(EKG + match[1]), text).split("\n\n")


def _related(question: Question) -> list[Question]:
    known = questions.catalogue()
    return [known[name] for name in question.related if name in known]


def _with_addresses(entry: dict[str, Any], question: Question, values: Mapping[str, str], base: Base) -> dict[str, Any]:
    """An error with, for each thing that may have been meant, the address at which the question is asked with that."""
    matches = []
    for match in entry.get("matches", []):
        name = match["iri"].removeprefix(base.iri)
        query = urlencode({**{k: v for k, v in values.items() if v}, entry["parameter"]: name})
        matches.append({**match, "name": name, "path": f"questions/{question.id}?{query}"})
    return {**entry, "matches": matches}


def _address(wish: Wish, suffix: str = "", *, without: str = "", **more: str) -> str:
    """The address at which the same is asked; with a suffix the answer in a form. `without` one of its parameters, or with `more`."""
    asked = {**wish.texts, **({} if wish.limit == wish.question.limit else {"limit": str(wish.limit)}), **more}
    query = urlencode({name: value for name, value in asked.items() if name != without})
    return f"questions/{wish.question.id}{suffix}{'?' if query else ''}{query}"


def _asked(wish: Wish, desk: Desk, languages: Sequence[str]) -> list[dict[str, str]]:
    """What was looked for, in words: things by their names, with their addresses."""
    base = desk.library.base
    things = {
        name: document
        for name, term in wish.terms.items()
        if isinstance(term, ox.NamedNode) and (document := base.document_of(term.value)) == term.value
    }
    labels = desk.names.labels(things.values(), languages)
    asked = []
    for name, value in wish.texts.items():
        thing = things.get(name)
        asked.append(
            {
                "name": _LABELS.get(name) or in_words(name),
                "value": labels[thing].text.rstrip(".") if thing else value,
                "language": (labels[thing].language if thing else None) or "",
                "path": f"{wish.texts[name]}.html" if thing else "",
            }
        )
    return asked


def _answer(table: Table, wish: Wish, desk: Desk) -> dict[str, Any]:
    same = {} if wish.revision is None else {"revision": str(wish.revision)}
    wanted = languages(request.headers.get("Accept-Language"))
    forms = [(title, _address(wish, f".{form}", **same)) for form, title in _TITLES.items()]
    forms.insert(1, ("CSV for Excel", _address(wish, ".csv", **same, excel="1")))
    if wish.question.chart is not None:
        forms.append(("chart (Vega-Lite)", _address(wish, f".{_CHART}", **same)))
    return {
        "table": table,
        "shown": answer(desk, table, wanted, _ROWS),
        "asked": [] if table.rows else _asked(wish, desk, wanted),
        "of_all_days": _address(wish, without="asof", **same) if "asof" in wish.texts else None,
        "chart": _chart_of(wish.question, table, _address(wish, f".{_CHART}", **same)),
        "forms": forms,
        "permalink": _address(wish, revision=str(table.revision)),
        "newest": _address(wish),
        "types": {title: FORMATS[form] for form, title in _TITLES.items()} | {"chart (Vega-Lite)": "application/json"},
        "ld": _for_search_engines(
            wish.question, desk.library.base, [(FORMATS[f], _address(wish, f".{f}", **same)) for f in _TITLES]
        ),
        "held": wish.revision is not None,
        "sparql": wish.question.bind(wish.terms, wish.limit),
    }


def _for_search_engines(question: Question, base: Base, forms: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The answer as a data set, in the terms of schema.org."""
    return {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "name": question.summary,
        "description": " ".join(_in_prose(question.description)),
        "keywords": list(question.tags),
        "isAccessibleForFree": True,
        "isPartOf": {"@type": "DataCatalog", "name": "Event knowledge graph", "url": base.iri},
        "distribution": [
            {"@type": "DataDownload", "encodingFormat": media_type, "contentUrl": f"{base}{path}"}
            for media_type, path in forms
        ],
    }


def _chart_of(question: Question, table: Table, path: str) -> dict[str, Any] | None:
    """Where the chart of an answer is to be had, what it shows, about how many pixels high it will be, and how many rows it draws."""
    if question.chart is None or not table.rows:
        return None
    specification = chart(question, table)
    shown = drawn_of(specification)
    return {
        "path": path,
        "title": specification.get("title", question.summary),
        "height": 110 + specification.get("usermeta", {}).get("step", 200) * shown.bands,
        "drawn": shown.drawn,
        "undated": shown.rows - shown.drawn,
    }
