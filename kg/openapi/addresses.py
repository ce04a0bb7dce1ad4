"""Every address of the service beside the single questions: what it takes, what it gives, how it fails.

Hides nothing. Promises, and a test asks for it, that no address of the service is left out and that none is described that is not
there.
"""

from __future__ import annotations

from collections.abc import Iterable

from kg.dumps import FORMS
from kg.openapi.parts import (
    ALWAYS,
    CREATED,
    EXAMPLE,
    GRAPHS,
    HTML,
    JSON,
    ONE,
    QUERY,
    RDF,
    RECEIPT,
    RESULTS,
    TEXT,
    TRIPLES,
    WRITE,
    WRITTEN,
    Json,
    body,
    head,
    headers,
    json_of,
    number,
    of_types,
    parameter,
    problems,
    read,
    see,
    shared,
    suffix,
    write,
)
from kg.search import KINDS_FOUND, LENGTH, MOST
from kg.tables import FORMATS


def paths() -> Json:
    """The addresses by their templates, in the order in which they read well."""
    return {
        **_queries(),
        **_documents(),
        **_graphs(),
        **_history(),
        **_search(),
        **_questions(),
        **_descriptions(),
        **_operations(),
    }


def _queries() -> Json:
    asked = {
        "200": {
            "description": "The answer, whole; without a query the description of the service.",
            "headers": headers("KG-Revision"),
            "content": of_types(RESULTS),
        }
    }
    parameters = [
        parameter("default-graph-uri", "A document to ask instead of all.", format="iri"),
        parameter("named-graph-uri", "A document that GRAPH may name.", format="iri"),
        parameter(
            "timeout",
            "Seconds that it may take, if that is less than the service allows.",
            type="number",
            exclusiveMinimum=0,
        ),
        parameter(
            "format",
            "A short name of a format, instead of `Accept`.",
            enum=["json", "xml", "csv", "tsv", "ttl", "html"],
        ),
    ]
    text = parameter(
        "query",
        "SPARQL 1.1. Prefixes of the vocabulary need not be declared.",
        example="SELECT ?label WHERE { actor:russia rdfs:label ?label }",
    )
    form = "application/x-www-form-urlencoded"

    def sent(name: str, media_type: str) -> Json:
        properties = {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}
        return {"required": True, "content": {media_type: {"schema": {"type": "string"}}, form: {"schema": properties}}}

    return {
        "/sparql": {
            "get": {
                "summary": "SPARQL 1.1 Protocol; without a query the service description",
                "tags": ["sparql"],
                "parameters": [text, *parameters],
                "responses": {**asked, **problems([*QUERY, "304"])},
            },
            "post": {
                "summary": "SPARQL 1.1 Protocol",
                "tags": ["sparql"],
                "parameters": parameters,
                "requestBody": sent("query", "application/sparql-query"),
                "responses": {**asked, **problems([*QUERY, "415"])},
            },
        },
        "/update": {
            "post": write(
                "SPARQL 1.1 Update",
                "Every graph is named outright and is a document. All operations are one write, past the gate, or nothing changes.",
                [parameter(f"using-{name}graph-uri", "As the protocol says.", format="iri") for name in ("", "named-")],
                [*WRITE, "404", "410"],
                requestBody=sent("update", "application/sparql-update"),
                responses={**RECEIPT, "204": {"description": "It is written.", "headers": headers("KG-Revision")}},
            )
        },
        "/validate": {
            "get": read("writing", "How to ask what the gate would say; for people a form", [TEXT, HTML], kept=False),
            "post": {
                "summary": "What the gate says of documents; nothing is stored and no token needed",
                "tags": ["writing"],
                "parameters": [
                    parameter("graph", "The document that it is about, where the body does not say.", format="iri")
                ],
                "requestBody": {
                    **(sent_as_it_is := body(RDF, EXAMPLE)),
                    "content": {**sent_as_it_is["content"], **_FORM},
                },
                "responses": {
                    "200": {
                        "description": "The verdict, whether good or bad; as RDF a SHACL validation report.",
                        "content": {**json_of("Verdict"), **of_types([*RDF, HTML])},
                    },
                    **problems([*ALWAYS, "406", "413", "415", "429"]),
                },
            },
        },
    }


#: The form of the page for people, which programs may send as well.
_FORM: Json = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["text"],
            "properties": {
                "text": {"type": "string", "description": "The document; CR LF in it is taken for LF."},
                "file": {"type": "string", "format": "binary", "description": "Instead of the text."},
                "syntax": {"type": "string", "enum": ["", *{**TRIPLES, **GRAPHS}], "description": "Else by its looks."},
                "graph": {"type": "string", "description": "As the parameter, or a kind and slug."},
            },
        }
    }
}


def _documents() -> Json:
    thing = shared("kind", "slug")
    moved = {
        "302": see("The state at the moment in `Accept-Datetime`."),
        "303": see("Its document, by `Accept`."),
    }
    lead = {
        "summary": "A thing: 303 to its document, by Accept",
        "tags": ["documents"],
        "parameters": [*thing, *shared("revision", "Accept-Datetime")],
        "responses": {**moved, **problems([*ALWAYS, "404", "406", "410"])},
    }
    document = read(
        "documents",
        "A document in one form, now or at a revision",
        (*RDF, HTML),
        "404",
        "406",
        "410",
        parameters=[
            *thing,
            *shared("revision", "Accept-Datetime"),
            suffix({**TRIPLES, **GRAPHS, "html": HTML}),
            parameter(
                "with",
                "With `references`, in TriG and N-Quads: what other documents say of it, too.",
                enum=["references"],
            ),
            parameter("after", "The document after which a long list of references goes on."),
        ],
        others={"302": moved["302"]},
    )
    conditions = shared("If-Match", "If-None-Match")
    put = write(
        "Put a document in the place of the one that is there, or of none",
        "It passes the gate, or nothing changes (422). Relative IRIs resolve against the address.",
        [*thing, *conditions],
        [*ONE],
        requestBody=body(RDF, EXAMPLE),
        responses={**CREATED, **WRITTEN},
    )
    post = write(
        "Merge into a document, or retract an article",
        "What is sent is added to what is there. An empty body with `KG-Change: retracted` and the reason in `KG-Note` retracts.",
        [*thing, *conditions],
        [*ONE],
        requestBody=body(RDF, EXAMPLE, required=False),
        responses={**CREATED, **WRITTEN},
    )
    delete = write(
        "Take a document away",
        "Takes a token with the role admin. 409 as long as others refer to it. Its history stays.",
        [*thing, *conditions],
        [*ONE],
        responses={"204": {"description": "It is not there any more.", "headers": headers("KG-Revision")}},
    )
    listing = read(
        "documents",
        "The documents of a kind, in pages",
        (HTML, *TRIPLES.values()),
        "404",
        "406",
        parameters=[
            *shared("kind"),
            parameter("order", "By name, or the newest first.", enum=["label", "newest"], default="label"),
            parameter("page", "From 1.", type="integer", minimum=1, maximum=10**9),
        ],
    )
    return {
        "/{kind}/": {"get": listing},
        "/{kind}/{slug}": {"get": lead, "head": head(lead), "put": put, "post": post, "delete": delete},
        "/{kind}/{slug}.{suffix}": {"get": document, "head": head(document)},
    }


def _graphs() -> Json:
    graph = parameter("graph", "The IRI of a document, relative or not.", example="actor/russia")
    default: Json = {**parameter("default", "The union of all documents, to read.", enum=[""]), "allowEmptyValue": True}
    conditions = shared("If-Match", "If-None-Match")
    union = read(
        "documents",
        "A document named by a parameter, or the union",
        RDF,
        "404",
        "406",
        "410",
        parameters=[graph, default],
    )
    return {
        "/graphs": {
            "get": union,
            "head": head(union),
            "put": write(
                "Put a document named by a parameter",
                "As at its own address.",
                [graph, *conditions],
                ONE,
                requestBody=body(RDF),
                responses={**CREATED, **WRITTEN},
            ),
            "post": write(
                "Merge into a document named by a parameter; without it, write a batch",
                "A batch puts each document in the place of the one that is there: all of them, or none.",
                [graph, *conditions],
                ONE,
                requestBody=body(RDF, required=False),
                responses={**RECEIPT, **CREATED, **WRITTEN},
            ),
            "delete": write(
                "Take away a document named by a parameter",
                "As at its own address.",
                [graph, *conditions],
                ONE,
                responses={"204": {"description": "It is not there any more.", "headers": headers("KG-Revision")}},
            ),
        }
    }


def _history() -> Json:
    thing = shared("kind", "slug")
    span = [
        number("from", "The revision before the changes.", 0),
        number("to", "The revision after them; the newest."),
    ]
    differences = (TEXT, *GRAPHS.values())
    which = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 10**15},
    }
    revision = read("history", "Where a revision comes from (PROV)", (*RDF, HTML), "404", "406", parameters=[which])
    forms = {**TRIPLES, **GRAPHS, "html": HTML}
    return {
        "/timemap/{kind}/{slug}": {
            "get": read(
                "history",
                "All states of a document (RFC 7089)",
                {"application/link-format": {}, **json_of(), HTML: {}},
                "404",
                "406",
                parameters=[
                    *thing,
                    number("after", "The revision after which a long list goes on."),
                    number("before", "On the page for people, the revision before which it goes on."),
                ],
            )
        },
        "/{kind}/{slug}.diff": {
            "get": read(
                "history",
                "What changed in a document",
                [*differences, HTML],
                "404",
                "406",
                parameters=[*thing, *span],
            )
        },
        "/{kind}/{slug}.diff.{suffix}": {
            "get": read(
                "history",
                "What changed in a document, in a form",
                [*differences, HTML],
                "404",
                parameters=[*thing, suffix(["txt", *GRAPHS, "html"]), *span],
            )
        },
        "/diff": {
            "get": read(
                "history",
                "What changed in the graph, document by document",
                differences,
                "404",
                "406",
                parameters=[
                    {**span[0], "required": True, "example": 1},
                    span[1],
                    parameter("after", "The document after which a long answer goes on."),
                ],
            )
        },
        "/revision/{number}": {"get": revision},
        "/revision/{number}.{suffix}": {"get": {**revision, "parameters": [which, suffix(forms)]}},
        "/changes": {
            "get": read(
                "history",
                "All revisions as a stream to follow (LDES), or one page of it",
                [*RDF, HTML],
                "404",
                "406",
                parameters=[
                    number("page", "A page of the stream, from 1."),
                    number("before", "On the page for people, the revision before which it goes on."),
                    number("after", "See the page on which the first revision after this is.", 0),
                    parameter(
                        "wait",
                        "Seconds to wait for that revision, up to 60.",
                        type="integer",
                        minimum=0,
                        maximum=9999,
                    ),
                ],
                others={
                    "204": {"description": "There was none in time.", "headers": headers("KG-Revision")},
                    "303": see("The page with the first revision after."),
                },
            )
        },
        "/dump.{form}.gz": {
            "get": read(
                "history",
                "The whole graph to download, in parts if need be",
                ["application/gzip"],
                "404",
                "412",
                "416",
                parameters=[
                    {
                        "name": "form",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "enum": [*FORMS]},
                        "example": next(iter(FORMS)),
                    },
                    {"name": "Range", "in": "header", "description": "Bytes (RFC 9110).", "schema": {"type": "string"}},
                ],
                others={"206": {"description": "A part.", "content": {"application/gzip": {}}}},
            )
        },
    }


def _search() -> Json:
    text: Json = {"type": "string"}
    known: Json = {"type": ["string", "null"]}
    whole: Json = {"type": "integer", "minimum": 0}
    place: Json = {"type": "array", "items": whole, "minItems": 2, "maxItems": 2}
    matched = _object(text=text, language=known, marks={"type": "array", "items": place})
    hit = _object(
        iri=text, path=text, label=text, language=known, kind=text, matched=matched, retracted={"type": "boolean"}
    )
    group = _object(kind=text, total=whole, hits={"type": "array", "items": hit})
    found = _object(q=text, revision=whole, total=whole, groups={"type": "array", "items": group})
    asked = [
        parameter(
            "q", "Words to search for, in any script; those within quotation marks stand together.", maxLength=LENGTH
        ),
        parameter("kind", "Only what is of this kind.", enum=[*KINDS_FOUND]),
        parameter(
            "limit", "Hits of each kind, 10 unless told, 100 where a kind is.", type="integer", minimum=1, maximum=MOST
        ),
    ]
    summary = "Names, propositions and quotations that have some words in them, by kind, the nearest first"
    content: Json = {JSON: {"schema": found}, HTML: {}}
    form = suffix(["json", "html"])
    return {
        "/search": {"get": read("search", summary, content, "406", parameters=asked)},
        "/search.{suffix}": {"get": read("search", summary, content, "404", parameters=[*asked, form])},
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": [*properties], "properties": properties}


#: The id of a question at the end of an address.
QUESTION: Json = {
    "name": "question",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "example": "reversals",
}


def _questions() -> Json:
    words = [
        parameter("q", "Words to search for."),
        parameter("tag", "Only those with this tag."),
        parameter("format", "Instead of `Accept` or a suffix.", enum=["json", "html"]),
    ]
    listed = {JSON: {"schema": {"type": "array", "items": {"type": "object"}}}, HTML: {}}
    catalogue = read("questions", "The catalogue of questions", listed, "404", "406", parameters=words)
    form = suffix([*FORMATS, "html", "vl.json"])
    content = [*FORMATS.values(), HTML]
    one = read(
        "questions",
        "A question in one format; each has its parameters at its own address below",
        content,
        *("404", "406", "410", "413", "504"),
        parameters=[QUESTION, form],
    )
    return {
        "/questions": {"get": catalogue},
        "/questions.{suffix}": {"get": {**catalogue, "parameters": [*words, suffix(["json", "html"])]}},
        "/questions/{question}": {"get": {**one, "parameters": [QUESTION]}},
        "/questions/{question}.{suffix}": {"get": one},
    }


def _descriptions() -> Json:
    def said(summary: str, content: Json | Iterable[str], *failures: str, suffixes: Iterable[str] = ()) -> Json:
        parameters = [suffix(suffixes)] if suffixes else []
        return {"get": read("descriptions", summary, content, *failures, parameters=parameters)}

    rdf = tuple(TRIPLES.values())
    vocabulary, shapes = "The vocabulary", "The shapes that every document conforms to (SHACL)"
    return {
        "/": {"get": read("descriptions", "The home page", [HTML], kept=False)},
        "/openapi.json": said("This description", json_of()),
        "/.well-known/void": said("What the graph holds (VoID)", rdf, "406"),
        "/.well-known/sparql-examples": said("The questions as SPARQL examples", rdf, "406"),
        "/.well-known/sparql-examples/{question}": {
            "get": {
                "summary": "One of the questions as a SPARQL example: where it stands with the others",
                "tags": ["descriptions"],
                "parameters": [QUESTION],
                "responses": {"303": see("Where it is."), **problems([*ALWAYS, "404"])},
            }
        },
        "/ns": said(vocabulary, (*rdf, HTML), "406"),
        "/ns.{suffix}": said(vocabulary, (*rdf, HTML), "404", suffixes=(*TRIPLES, "html")),
        "/shapes": said(shapes, rdf, "406"),
        "/shapes.{suffix}": said(shapes, rdf, "404", suffixes=TRIPLES),
        "/context.jsonld": said("The JSON-LD context", [TRIPLES["jsonld"]]),
        "/about": {"get": read("descriptions", "What is modelled and how, licences, version", [HTML], kept=False)},
        "/errors": {"get": read("descriptions", "What each error means", [HTML], kept=False)},
        "/favicon.ico": {
            "get": {
                "summary": "The icon",
                "tags": ["descriptions"],
                "responses": {"301": see("Where it is."), **problems(ALWAYS)},
            }
        },
    }


def _operations() -> Json:
    def told(summary: str, content: Json) -> Json:
        return {"get": read("operations", summary, content, kept=False)}

    status: Json = {
        JSON: {
            "schema": {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}},
        }
    }
    ready = told("Whether it can answer; 503 until it can", status)
    ready["get"]["responses"]["503"] = {
        "description": "Not yet.",
        "content": {**status, "application/problem+json": {}},
    }
    return {
        "/health": told("How the service is, and at which revision", status),
        "/health/live": told("Whether the process answers", status),
        "/health/ready": ready,
        "/metrics": told("Numbers for operators (OpenMetrics)", {TEXT: {}}),
    }
