"""What can be asked and sent, for programs: the OpenAPI 3.1 description of the whole service.

Hides the format. Promises that every address and every question is in it, and that what is described is there: a test asks for it.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from kg import __version__
from kg.journal import CHANGES
from kg.openapi import addresses
from kg.openapi.parts import GRAPHS, TRIPLES, Json, headers, problems
from kg.questions import LIMITS, Parameter, Question, catalogue
from kg.tables import FORMATS
from kg.terms import KINDS, SLUG, Base

#: Statuses of errors, and when.
_ERRORS = {
    "400": "The request is not understood; the problem says what to mend.",
    "401": "Writing takes a token.",
    "403": "This may not be done: with this token, or by a query.",
    "404": "There is nothing under this address.",
    "405": "This address does not take that method; `Allow` says which it takes.",
    "406": "None of the media types asked for can be had.",
    "409": "Others still refer to what would be taken away.",
    "410": "It was here and is not any more.",
    "412": "It is no longer what the condition names; nothing was written.",
    "413": "What was sent, or the answer, is too large.",
    "415": "What was sent is in a media type that is not read here.",
    "416": "There is no such part.",
    "422": "The gate refuses the document; `results` says what to mend. Nothing was written.",
    "429": "Too many requests from one address; `Retry-After` says when to come back.",
    "500": "The query died of itself, or the service failed.",
    "501": "The SPARQL server behind the service is of a kind that does not answer this question as it is meant.",
    "502": "Another service that the query asks did not answer as it must.",
    "503": "The service is busy or behind; `Retry-After` says when to come back.",
    "504": "The query took longer than it may.",
}


@functools.lru_cache(maxsize=4)
def write(base: Base) -> bytes:
    """The description of a deployment (OpenAPI Specification 3.1.0), JSON."""
    asked = {f"/questions/{question.id}": {"get": _question(question, base)} for question in catalogue().values()}
    description: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Event knowledge graph",
            "version": __version__,
            "summary": "Who said what happened, on whose word, when, and with which evidence.",
            "description": "Every question can be asked at its own address, which takes `Accept` or a suffix "
            f"({', '.join('.' + form for form in FORMATS)}). Reading is public. Every error is a problem document (RFC 9457). "
            "What takes GET takes HEAD and OPTIONS. With `KG-Min-Revision` an answer waits until that revision is in it.",
            "license": {"name": "CC BY 4.0 (data), Apache-2.0 (code)", "identifier": "CC-BY-4.0"},
        },
        "servers": [{"url": base.iri.rstrip("/")}],
        "tags": [
            {"name": "questions", "description": "Canned questions: each answer row carries its evidence."},
            {"name": "search", "description": "Finding things by name, and words in what was said."},
            {"name": "sparql", "description": "The graph in SPARQL 1.1."},
            {"name": "documents", "description": "Articles, actors, places, agreements, events and propositions."},
            {
                "name": "writing",
                "description": "Writing with a token, past the gate (SPARQL 1.1 Graph Store Protocol).",
            },
            {"name": "history", "description": "Former states, differences, and changes to follow."},
            {"name": "descriptions", "description": "What the service and the graph say of themselves."},
            {"name": "operations", "description": "For operators."},
        ],
        "paths": {**asked, **addresses.paths()},
        "components": _components(),
    }
    return json.dumps(description, ensure_ascii=False).encode()


def _question(question: Question, base: Base) -> Json:
    parameters = [_parameter(parameter) for parameter in question.parameters.values()]
    shared = ("limit", "revision", "format", "excel")
    row = {
        "type": "object",
        "properties": {
            name: {"type": ["string", "number", "boolean", "null"], "description": meaning}
            for name, meaning in question.columns.items()
        },
    }
    table = {
        "allOf": [
            {"$ref": "#/components/schemas/Table"},
            {"type": "object", "properties": {"rows": {"type": "array", "items": row}}},
        ]
    }
    text = {"schema": {"type": "string"}}
    content = {
        "application/json": {"schema": table},
        **{media_type: text for media_type in (*FORMATS.values(), "text/html") if media_type != "application/json"},
        "application/sparql-results+json": {"schema": {"type": "object"}},
    }
    return {
        "operationId": question.id,
        "summary": question.summary,
        "description": question.description + (f"\n\nAn empty answer: {question.empty}" if question.empty else ""),
        "tags": ["questions"],
        "externalDocs": {"url": f"{base}questions/{question.id}", "description": "The question as a page"},
        "parameters": [
            *parameters,
            *({"$ref": f"#/components/parameters/{name}"} for name in shared if name != "limit"),
            {
                "name": "limit",
                "in": "query",
                "description": "Rows at most; `complete` says whether there are more.",
                "schema": {"type": "integer", "minimum": LIMITS[0], "maximum": LIMITS[1], "default": question.limit},
            },
        ],
        "responses": {
            "200": {"description": "The answer, whole.", "headers": headers(), "content": content},
            **problems(["304", "400", "404", "406", "410", "413", "500", "501", "503", "504"]),
        },
    }


def _parameter(parameter: Parameter) -> Json:
    schema: Json = {"type": "string"}
    if parameter.type == "date":
        schema = {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    elif parameter.type == "boolean":
        schema = {"type": "string", "enum": ["yes", "no", "true", "false", "1", "0"]}
    elif parameter.type == "integer":
        schema = {"type": "integer"}
        schema |= {} if parameter.minimum is None else {"minimum": parameter.minimum}
        schema |= {} if parameter.maximum is None else {"maximum": parameter.maximum}
    elif parameter.choices:
        schema = {"type": "string", "enum": list(parameter.choices)}
    if parameter.default is not None:
        default: Any = int(parameter.default) if parameter.type == "integer" else parameter.default
        schema["default"] = default
    described: Json = {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required and parameter.default is None,
        "description": " ".join(filter(None, [_sentence(parameter.help), _ways(parameter)])) or parameter.name,
        "schema": schema,
    }
    if parameter.example is not None:
        described["example"] = int(parameter.example) if parameter.type == "integer" else parameter.example
    return described


def _sentence(text: str) -> str:
    """A text as a sentence; in the headers of questions some are, and some are not."""
    return text and text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _ways(parameter: Parameter) -> str:
    """How a value may be written, where its type does not say it."""
    kinds = [kind for kind in parameter.kinds if kind in KINDS]
    ways = [f"The name of one {' or '.join(kinds)}: address, slug, or label in any language."] if kinds else []
    ways += ["An act: its address, or `article-slug#part`."] * ("act" in parameter.kinds)
    ways += ["A term of the vocabulary, such as `Affirms`."] * ("term" in parameter.kinds and not parameter.choices)
    return " ".join(ways)


def _components() -> Json:
    def query(name: str, description: str, schema: Json) -> Json:
        return {"name": name, "in": "query", "description": description, "schema": schema}

    def path(name: str, schema: Json, example: str) -> Json:
        return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}

    def header(name: str, description: str, **schema: Any) -> Json:
        return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}

    forms = sorted({*FORMATS, "html"})
    problem: Json = {
        "type": "object",
        "description": "RFC 9457. What the case needs stands beside these.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "parameter": {"type": "string"},
            "errors": {
                "type": "array",
                "description": "Everything that is wrong, parameter by parameter.",
                "items": {
                    "type": "object",
                    "required": ["type", "detail", "parameter"],
                    "properties": {
                        "type": {"type": "string"},
                        "detail": {"type": "string"},
                        "parameter": {"type": "string"},
                        "matches": {"type": "array", "items": {"$ref": "#/components/schemas/Match"}},
                    },
                },
            },
        },
    }
    column = {
        "type": "object",
        "required": ["name", "meaning", "type", "evidence"],
        "properties": {
            "name": {"type": "string"},
            "meaning": {"type": "string"},
            "type": {"enum": ["iri", "text", "date", "dateTime", "integer", "number", "boolean", "mixed", "empty"]},
            "evidence": {"type": "boolean", "description": "Whether it holds an article’s own words."},
        },
    }
    table = {
        "type": "object",
        "required": ["question", "summary", "parameters", "revision", "limit", "complete", "columns", "rows"],
        "properties": {
            "question": {"type": "string"},
            "summary": {"type": "string"},
            "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
            "base": {"type": "string", "description": "The IRI under which documents are named."},
            "revision": {"type": "integer"},
            "limit": {"type": "integer"},
            "complete": {"type": "boolean", "description": "Whether these are all rows there are."},
            "columns": {"type": "array", "items": column},
            "rows": {"type": "array", "items": {"type": "object"}},
            "empty": {"type": "string", "description": "Why it may be empty, where there are no rows."},
        },
    }
    match = {
        "type": "object",
        "required": ["label", "iri"],
        "properties": {"label": {"type": "string"}, "iri": {"type": "string", "format": "iri"}},
    }
    receipt = {
        "type": "object",
        "description": "What a write did.",
        "required": ["revision", "written", "unchanged"],
        "properties": {
            "revision": {"type": "integer"},
            "written": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["document", "revision", "etag", "created"],
                    "properties": {
                        "document": {"type": "string", "format": "iri"},
                        "revision": {"type": "integer"},
                        "etag": {"type": ["string", "null"], "description": "Null for one that was taken away."},
                        "created": {"type": "boolean"},
                    },
                },
            },
            "unchanged": {"type": "array", "items": {"type": "string", "format": "iri"}},
        },
    }
    result = {
        "type": "object",
        "description": "One thing to mend.",
        "required": ["document", "message"],
        "properties": {name: {"type": "string"} for name in ("document", "focus", "path", "value", "message", "shape")}
        | {"line": {"type": "integer", "description": "Where the description of the node begins, if that is known."}},
    }
    problem["properties"]["results"] = results = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}
    verdict = {
        "type": "object",
        "required": ["conforms", "revision", "documents", "results", "total"],
        "properties": {
            "conforms": {"type": "boolean"},
            "revision": {"type": "integer", "description": "The revision of the graph in whose light it was judged."},
            "documents": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["document", "conforms", "state"],
                    "properties": {
                        "document": {"type": "string", "format": "iri"},
                        "conforms": {"type": "boolean"},
                        "state": {"enum": ["new", "changed", "unchanged"]},
                    },
                },
            },
            "results": results,
            "total": {"type": "integer"},
        },
    }
    return {
        "schemas": {
            "Table": table,
            "Problem": problem,
            "Match": match,
            "Receipt": receipt,
            "Result": result,
            "Verdict": verdict,
        },
        "parameters": {
            "revision": query(
                "revision",
                "The revision to answer from; 410 when it is no longer at hand.",
                {"type": "integer", "minimum": 1, "maximum": 10**15},
            ),
            "format": query("format", "Instead of `Accept` or a suffix.", {"type": "string", "enum": forms}),
            "excel": query(
                "excel",
                "With 1, CSV and TSV begin with the mark by which Excel knows UTF-8.",
                {"enum": ["0", "1", "no", "yes", "false", "true"]},
            ),
            "kind": path("kind", {"type": "string", "enum": [*KINDS]}, "actor"),
            "slug": path("slug", {"type": "string", "pattern": f"^{SLUG.pattern}$", "maxLength": 120}, "russia"),
            "If-Match": header("If-Match", "The entity tag that the document must still have."),
            "If-None-Match": header("If-None-Match", "With `*`, the document must not be there."),
            "Accept-Datetime": header(
                "Accept-Datetime", "The moment whose state is wanted (RFC 7089), as an HTTP date."
            ),
            "KG-Change": header("KG-Change", "The kind of change.", enum=[*CHANGES], default="recorded"),
            "KG-Note": header("KG-Note", "Why, percent-encoded where it is not ASCII."),
        },
        "headers": {
            "KG-Revision": {"description": "The revision of the graph that this is of.", "schema": {"type": "integer"}},
            "ETag": {"description": "For `If-None-Match`, and `If-Match` of a write.", "schema": {"type": "string"}},
            "Location": {"description": "Where it is.", "schema": {"type": "string"}},
        },
        "responses": {
            "304": {"description": "It is still what `If-None-Match` names."},
            **{status: _failure(status, description) for status, description in _ERRORS.items()},
        },
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "`Authorization: Bearer kg_…`. The operator makes one with `kg token create`.",
            }
        },
    }


def _failure(status: str, description: str) -> Json:
    content: Json = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}, "text/html": {}}
    if status == "422":  # a report may be had as RDF
        content |= {media_type: {} for media_type in {**TRIPLES, **GRAPHS}.values()}
    return {"description": description, "content": content}
