"""The tokens of SPARQL: enough of its lexis to know what is a string, an IRI, a comment, a name, a variable or a word.

Hides section 19.8 of SPARQL 1.1 (the terminals). Pure text in, tokens out; it parses nothing and never fails.

Engines need no tokens: one that parses character by character takes `SERVICESILENT<urn:x>`, `1e5SERVICE<urn:x>` and even `SERVICE:x{`
for what they are with the spaces put in. `words` promises to see a keyword there too, so that what must not be asked cannot be hidden.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")

# Character classes by their names in the grammar; `\w` has characters that no name may have, and lacks others.
_BASE = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u200c-\u200d\u2070-\u218f\u2c00-\u2fef"
    "\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd\U00010000-\U000effff"
)
_MARKS = "\u00b7\u0300-\u036f\u203f-\u2040"
_CHARS = rf"{_BASE}_0-9\-{_MARKS}"
_PLX = r"%[0-9A-Fa-f]{2}|\\[_~.\-!$&'()*+,;=/?\#@%]"

_NUMBER = r"(?:[0-9]++\.[0-9]*+|\.?[0-9]++)[eE][+\-]?[0-9]++ | [0-9]*+\.[0-9]++ | [0-9]++"

# In this order: the first that matches at a place is the token. Strings and IRIs come before `#`, `?` and `<` on their own. What has
# been passed over in vain is taken whole (`open`, `run`) and never given back (`*+`), so that the time is in proportion to the text.
_TOKEN = rf"""
      (?P<comment> \#[^\n\r]*+ )
    | (?P<string>  \"{{3}}(?:[^"\\]++|\\.|\"{{1,2}}(?!\"))*+\"{{3}} | '{{3}}(?:[^'\\]++|\\.|'{{1,2}}(?!'))*+'{{3}} )
    | (?P<openlong> \"{{3}}.*+ | '{{3}}.*+ )
    | (?P<short>   "(?:[^"\\\n\r]++|\\.)*+" | '(?:[^'\\\n\r]++|\\.)*+' )
    | (?P<open>    "(?:[^"\\\n\r]++|\\.)*+ | '(?:[^'\\\n\r]++|\\.)*+ )
    | (?P<iri>     <(?:[^<>"{{}}|^`\\\x00-\x20]|\\u[0-9A-Fa-f]{{4}}|\\U[0-9A-Fa-f]{{8}})*+> )
    | (?P<variable>[?$][{_BASE}_0-9][{_BASE}_0-9{_MARKS}]*+ )
    | (?P<blank>   _:[{_BASE}_0-9](?:[{_CHARS}]|\.++(?=[{_CHARS}]))*+ )
    | (?P<name>    (?:[{_BASE}][{_CHARS}.]*+(?<!\.))?:
                   (?:(?:[{_BASE}_:0-9]|{_PLX})(?:[{_CHARS}:]|{_PLX}|\.++(?=[{_CHARS}:]|{_PLX}))*+)? )
    | (?P<run>     [{_BASE}][{_CHARS}.]*+ )
    | (?P<number>  {_NUMBER} )
    | (?P<word>    @[A-Za-z][A-Za-z0-9\-]*+ )
    | (?P<space>   \s++ )
    | (?P<other>   . )
    """

# Within a run of letters that is no name, and after a quotation mark whose fellow is missing. An engine might read the latter in
# another way, `VALUES ?x {"""x#"} SERVICE` as two strings: so nothing in it is taken for a comment or a name.
_PIECE = rf"(?P<number>{_NUMBER})|(?P<word>[A-Za-z][A-Za-z0-9_\-]*+)|(?P<space>\s++)|(?P<other>.)"

#: The keywords of SPARQL 1.1 Query and Update of three letters or more, which may stand in one run with another word.
_KEYWORDS = frozenset(
    re.findall(
        r"\S+",
        """
    ABS ADD ALL ASC ASK AVG BASE BIND BNODE BOUND CEIL CLEAR COALESCE CONCAT CONSTRUCT CONTAINS COPY COUNT CREATE DATA DATATYPE
    DAY DEFAULT DELETE DESC DESCRIBE DISTINCT DROP ENCODE_FOR_URI EXISTS FALSE FILTER FLOOR FROM GRAPH GROUP GROUP_CONCAT HAVING
    HOURS INSERT INTO IRI ISBLANK ISIRI ISLITERAL ISNUMERIC ISURI LANG LANGMATCHES LCASE LIMIT LOAD MAX MD5 MIN MINUS MINUTES MONTH
    MOVE NAMED NOT NOW OFFSET OPTIONAL ORDER PREFIX RAND REDUCED REGEX REPLACE ROUND SAMETERM SAMPLE SECONDS SELECT SEPARATOR SERVICE
    SHA1 SHA256 SHA384 SHA512 SILENT STR STRAFTER STRBEFORE STRDT STRENDS STRLANG STRLEN STRSTARTS STRUUID SUBSTR SUM TIMEZONE TRUE
    UCASE UNDEF UNION URI USING UUID VALUES WHERE WITH YEAR
    """,
    )
)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when there is something to read: it takes a third of the time in which a query process starts, and most need none."""
    return re.compile(pattern, re.VERBOSE | re.DOTALL)


class Token(NamedTuple):
    """A piece of the text. `kind` is comment, string, iri, variable, blank, number, name (prefixed), word, space or other."""

    kind: str
    text: str
    start: int


def tokens(text: str) -> Iterator[Token]:
    """The whole text as tokens, in order; joined they are the text again."""
    for match in _compiled(_TOKEN).finditer(text):
        kind = match.lastgroup
        assert kind is not None
        if kind in ("run", "open", "openlong"):
            for piece in _compiled(_PIECE).finditer(text, match.start(), match.end()):
                assert piece.lastgroup is not None
                yield Token(piece.lastgroup, piece.group(), piece.start())
        else:
            yield Token("string" if kind == "short" else kind, match.group(), match.start())


def expand(text: str) -> str:
    r"""The text with `\uXXXX` and `\UXXXXXXXX` replaced by the characters they stand for (SPARQL 1.1, section 19.2)."""

    def character(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(code) if code < 0x110000 else match[0]

    return _ESCAPE.sub(character, text)


def words(text: str) -> frozenset[str]:
    """The bare words of a query in upper case: its keywords, also those that stand in one run with others. Read as written and with
    code points expanded, because an engine might do either."""
    found: set[str] = set()
    for form in {text, expand(text)}:
        before = ""
        prefix: tuple[str, str] | None = None  # that of the name just passed, and what stood before it
        for token in (*_significant(form), Token("end", "", len(form))):
            if prefix is not None and _reads_as_keyword(*prefix, token.text.upper()):
                found.add(prefix[0])
            prefix = (token.text.partition(":")[0].upper(), before) if token.kind == "name" else None
            if token.kind == "word":
                found.add(token.text.upper())
            before = token.text.upper() if token.kind in ("word", "other") else token.kind
    unknown = "\n".join(word for word in found - _KEYWORDS if not word.startswith("@"))
    return frozenset(found | {keyword for keyword in _KEYWORDS if keyword in unknown})


def words_among(text: str, wanted: frozenset[str]) -> frozenset[str]:
    """`words(text) & wanted`, at next to no cost where the letters of none of them stand in the text in any way."""
    capitals = text.upper()
    if "\\U" not in capitals and not any(word in capitals for word in wanted):
        return frozenset()
    return words(text) & wanted


def _reads_as_keyword(prefix: str, before: str, after: str) -> bool:
    """Whether a name could also be a keyword and a name without prefix: `SERVICE:x {`, `LOAD:x ;`.

    `GRAPH service:x {` and `service:p service:o ;` can only be names.
    """
    if not prefix:
        return False
    return (after == "{" and before != "GRAPH") or (before in ("", ";", "iri") and after in ("", ";", "INTO"))


def _significant(text: str) -> Iterator[Token]:
    return (token for token in tokens(text) if token.kind not in ("space", "comment"))


def undeclared_prefixes(text: str) -> frozenset[str]:
    """The prefixes, without colon, of the names in a query that no PREFIX of it declares."""
    used: set[str] = set()
    declared: set[str] = set()
    after_prefix = False
    # Every query is read so, and making tokens costs more than finding them. There are no names within what `tokens` takes apart
    # but keywords there are, so the last of its words counts.
    for match in _compiled(_TOKEN).finditer(text):
        kind = match.lastgroup
        if kind == "name":
            (declared if after_prefix else used).add(match.group().partition(":")[0])
            after_prefix = False
        elif kind == "run":
            run = match.group()
            after_prefix = run.upper().endswith("PREFIX") and _last_word(run) == "PREFIX"
        elif kind in _OPEN:
            after_prefix = _last_word(match.group()) == "PREFIX"
        elif kind != "space" and kind != "comment":
            after_prefix = False
    return frozenset(used - declared)


#: Quotation marks whose fellow is missing, with all behind them.
_OPEN = frozenset({"open", "openlong"})


def _last_word(text: str) -> str:
    """What `tokens` finds last in a text that it takes apart, in upper case, if it is a word."""
    last = ""
    for piece in _compiled(_PIECE).finditer(text):
        if piece.lastgroup != "space":
            last = piece.group().upper() if piece.lastgroup == "word" else ""
    return last
