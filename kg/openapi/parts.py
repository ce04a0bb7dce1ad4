"""What operations are put together from: parameters, bodies, responses, and what a read and a write have in common.

Hides the format of OpenAPI 3.1, for those parts that one address shares with others; `kg.openapi` holds what is named here by
reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

#: RDF without graphs and with them, by suffix.
TRIPLES = {
    "ttl": "text/turtle",
    "jsonld": "application/ld+json",
    "nt": "application/n-triples",
    "rdf": "application/rdf+xml",
}
GRAPHS = {"trig": "application/trig", "nq": "application/n-quads", "jsonld": "application/ld+json"}
RDF = tuple({**TRIPLES, **GRAPHS}.values())
RESULTS = (
    "application/sparql-results+json",
    "application/sparql-results+xml",
    "application/json",
    "application/xml",
    "text/csv",
    "text/tab-separated-values",
    *RDF,
    "text/html",
)
HTML, JSON, TEXT = "text/html", "application/json", "text/plain"

#: What may happen to any request: it is not understood, the service fails, or the revision that it asks to wait for does not come.
ALWAYS = ("400", "500", "503")

#: What may happen to a query, to a write, and to a write of one document at its address.
QUERY = (*ALWAYS, "403", "406", "413", "502", "504")
WRITE = (*ALWAYS, "401", "403", "409", "413", "415", "422", "429")
ONE = (*WRITE, "404", "405", "410", "412")


def problems(statuses: Iterable[str]) -> Json:
    """Responses by reference, in the order of their statuses."""
    return {status: {"$ref": f"#/components/responses/{status}"} for status in sorted(set(statuses))}


def headers(*names: str) -> Json:
    """Headers of a response by reference; without names those of every read of the graph."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names or ("KG-Revision", "ETag")}


def shared(*names: str) -> list[Json]:
    """Parameters by reference."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def of_types(media_types: Iterable[str], schema: Json | None = None) -> Json:
    """Content in any of these media types."""
    return {media_type: {"schema": schema} if schema else {} for media_type in media_types}


def json_of(schema: str | None = None) -> Json:
    """Content in JSON, of a schema by its name or any object."""
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}}}


def parameter(name: str, description: str, *, example: Any = None, **schema: Any) -> Json:
    """A parameter of an address, text unless the schema says otherwise."""
    described = {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}
    return described if example is None else {**described, "example": example}


def number(name: str, description: str, minimum: int = 1, **more: Any) -> Json:
    """A parameter that is a whole number, such as that of a revision."""
    return parameter(name, description, type="integer", minimum=minimum, maximum=10**15 - 1, **more)


def read(
    tag: str,
    summary: str,
    content: Json | Iterable[str],
    *failures: str,
    parameters: Iterable[Json] = (),
    kept: bool = True,
    others: Json | None = None,
) -> Json:
    """A GET. `kept` says that the answer has an entity tag; `others` are responses beside 200 and failures."""
    ok = {
        "description": "What was asked for, whole.",
        "content": content if isinstance(content, dict) else of_types(content),
    }
    if kept:
        ok["headers"] = headers()
    return {
        "summary": summary,
        "tags": [tag],
        "parameters": list(parameters),
        "responses": {"200": ok, **problems([*ALWAYS, *(["304"] if kept else []), *failures]), **(others or {})},
    }


def head(operation: Json) -> Json:
    """The same without the body."""
    responses = {
        status: {name: part for name, part in response.items() if name != "content"}
        for status, response in operation["responses"].items()
    }
    return {**operation, "summary": "The header of the same", "responses": responses}


def write(summary: str, description: str, parameters: Iterable[Json], failures: Iterable[str], **more: Any) -> Json:
    """What takes a token, a kind of change and a note. `responses` are those of success."""
    return {
        "summary": summary,
        "description": description,
        "tags": ["writing"],
        "security": [{"token": []}],
        "parameters": [*parameters, *shared("KG-Change", "KG-Note")],
        "responses": {**problems(failures), **more.pop("responses")},
        **more,
    }


def see(description: str) -> Json:
    """A response that leads elsewhere."""
    return {"description": description, "headers": headers("Location")}


WRITTEN: Json = {"204": {"description": "It is written.", "headers": headers()}}
CREATED: Json = {
    "201": {"description": "It is new, and written.", "headers": headers("Location", "KG-Revision", "ETag")}
}
RECEIPT: Json = {
    "200": {"description": "All of it is written.", "headers": headers("KG-Revision"), "content": json_of("Receipt")}
}


def body(media_types: Iterable[str], example: str | None = None, *, required: bool = True) -> Json:
    """A text that is sent; the example is Turtle."""
    content = of_types(media_types, {"type": "string"})
    if example is not None:
        content["text/turtle"]["example"] = example
    return {"required": required, "content": content}


#: Shown as what may be sent. It conforms.
EXAMPLE = """@prefix ekg: <https://w3id.org/ekg/ns#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<> a ekg:State, ekg:Actor ; rdfs:label "Russia"@en .
"""


def suffix(forms: Iterable[str]) -> Json:
    """The parameter at the end of an address that names a form."""
    return {"name": "suffix", "in": "path", "required": True, "schema": {"type": "string", "enum": [*forms]}}
