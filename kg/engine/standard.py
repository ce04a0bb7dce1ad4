"""Whether a query is SPARQL 1.1 in its words and names, for servers that know more than that.

Pure text in, the kind of answer out. It is no parser: what it lets through may still be a syntax error. It promises that what it
lets through is no update and uses no extension, because a server to which it is forwarded does what it says with our rights.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from kg import lexis
from kg.engine import Kind, Query
from kg.errors import MalformedQuery
from kg.terms import PREFIXES

#: The forms of queries, and the kind of answer of each.
_FORMS: dict[str, Kind] = {"SELECT": "solutions", "ASK": "boolean", "CONSTRUCT": "triples", "DESCRIBE": "triples"}

#: Every bare word of SPARQL 1.1 queries. Any other is a syntax error there, and an extension somewhere: Virtuoso's `define` fetches
#: from the web, and it takes updates where it takes queries.
_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    BASE PREFIX SELECT DISTINCT REDUCED AS CONSTRUCT WHERE DESCRIBE ASK FROM NAMED GROUP BY HAVING ORDER ASC DESC LIMIT OFFSET VALUES
    UNDEF OPTIONAL GRAPH UNION FILTER BIND MINUS EXISTS NOT IN A TRUE FALSE STR LANG LANGMATCHES DATATYPE BOUND IRI URI BNODE RAND
    ABS CEIL FLOOR ROUND CONCAT STRLEN UCASE LCASE ENCODE_FOR_URI CONTAINS STRSTARTS STRENDS STRBEFORE STRAFTER YEAR MONTH DAY
    HOURS MINUTES SECONDS TIMEZONE TZ NOW UUID STRUUID MD5 SHA1 SHA256 SHA384 SHA512 COALESCE IF STRLANG STRDT SAMETERM ISIRI ISURI
    ISBLANK ISLITERAL ISNUMERIC REGEX SUBSTR REPLACE COUNT SUM MIN MAX AVG SAMPLE GROUP_CONCAT SEPARATOR
    """,
    )
)

_UPDATES = frozenset(
    [
        "INSERT",
        "DELETE",
        "LOAD",
        "CLEAR",
        "DROP",
        "CREATE",
        "COPY",
        "MOVE",
        "ADD",
        "WITH",
        "USING",
        "DATA",
        "INTO",
        "TO",
    ]
)

#: What stands in a query besides words, names, IRIs, strings and variables: a backquote, say, is an extension.
_SIGNS = frozenset("{}()[].,;*+-/|^!=<>&?")

#: IRIs that name procedures of Virtuoso rather than things; `bif:http_get` and `bif:exec` do what they say.
_PROCEDURE = re.compile(r"(?:bif|sql):|\w+::|DB\.DBA\.", re.IGNORECASE)


def require_standard(query: Query) -> Kind:
    """The kind of answer of a query that is SPARQL 1.1 in its words and names. Raises `MalformedQuery`.

    Our own parser is inside the query processes and cannot be asked without evaluating; the server's may know more than SPARQL, and
    it has our rights. So no word that SPARQL 1.1 does not have, no prefix that nobody declared and no procedure's name gets through.
    """
    known = set(query.supplied_prefixes())
    if undeclared := sorted(lexis.undeclared_prefixes(query.text) - known):
        name = f"{undeclared[0]}:"
        at = next(token.start for token in lexis.tokens(query.text) if token.text.startswith(name))
        raise MalformedQuery(f"the prefix {name} is not declared", **_place(query.text, at))
    form = ""
    for text in dict.fromkeys((query.text, lexis.expand(query.text))):
        form = ""
        namespaces = dict(PREFIXES)
        previous: list[str] = []  # significant tokens so far
        for token in lexis.tokens(text):
            wrong, word, iri = "", token.text.upper(), ""
            match token.kind:
                case "word" if not word.startswith("@"):
                    if word in _UPDATES:
                        wrong = f"{token.text} belongs to updates; this takes queries"
                    elif word not in _WORDS:
                        wrong = f"{token.text} is not a word of SPARQL 1.1 queries"
                    elif not form and word not in ("BASE", "PREFIX"):
                        form = word
                        if form not in _FORMS:
                            wrong = f"expected SELECT, ASK, CONSTRUCT or DESCRIBE, not {token.text}"
                case "iri":
                    iri = token.text[1:-1]
                    if previous[-2:-1] == ["PREFIX"]:
                        namespaces[previous[-1].removesuffix(":")] = iri
                case "name" if previous[-1:] != ["PREFIX"]:
                    prefix, _, local = token.text.partition(":")
                    iri = namespaces.get(prefix, "") + local.replace("\\", "")
                case "other" if token.text not in _SIGNS:
                    wrong = f"{token.text!r} cannot stand here"
            if _PROCEDURE.match(iri):
                wrong = f"{token.text} names no function of SPARQL 1.1"
            if wrong:
                raise MalformedQuery(wrong, **_place(text, token.start))
            if token.kind not in ("space", "comment"):
                previous.append(word if token.kind == "word" else token.text)
    if not form:
        raise MalformedQuery("expected SELECT, ASK, CONSTRUCT or DESCRIBE", **_place(query.text, len(query.text)))
    return _FORMS[form]


def _place(text: str, at: int) -> dict[str, int]:
    before = text[:at]
    return {"line": before.count("\n") + 1, "column": at - (before.rfind("\n") + 1) + 1}


def dataset(query: Query) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The graphs that FROM and FROM NAMED of a query name, of a query that passed."""
    default: list[str] = []
    named: list[str] = []
    base, namespaces = query.base or "", query.supplied_prefixes()
    before = ["", ""]
    for token in lexis.tokens(query.text):
        if token.kind in ("space", "comment"):
            continue
        iri = None
        if token.kind == "iri":
            iri = urljoin(base, lexis.expand(token.text[1:-1]))
        elif token.kind == "name" and before[1] != "PREFIX":
            prefix, _, local = token.text.partition(":")
            iri = namespaces.get(prefix, "") + local.replace("\\", "")
        if iri is not None:
            if before[1] == "BASE":
                base = iri
            elif before[0] == "PREFIX":
                namespaces[before[1].removesuffix(":")] = iri
            elif before == ["FROM", "NAMED"]:
                named.append(iri)
            elif before[1] == "FROM":
                default.append(iri)
        before = [before[1], token.text.upper() if token.kind == "word" else token.text]
    return tuple(default), tuple(named)
