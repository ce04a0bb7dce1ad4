"""The tokens of SPARQL: enough of its lexis to know what is a string, an IRI, a comment, a name, a variable or a word.

Hides section 19.8 of SPARQL 1.1 (the terminals). Pure text in, tokens out; it parses nothing and never fails.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")

# In this order: the first that matches at a place is the token. Strings and IRIs come before `#`, `?` and `<` on their own.
_TOKEN = re.compile(
    r"""
      (?P<comment> \#[^\n\r]* )
    | (?P<string>  \"{3}(?:[^"\\]|\\.|\"{1,2}(?!\"))*\"{3} | '{3}(?:[^'\\]|\\.|'{1,2}(?!'))*'{3}
                 | "(?:[^"\\\n\r]|\\.)*" | '(?:[^'\\\n\r]|\\.)*' )
    | (?P<iri>     <[^<>"{}|^`\\\x00-\x20]*> )
    | (?P<variable>[?$]\w+ )
    | (?P<blank>   _:[\w](?:[\w.\-]*[\w\-])? )
    | (?P<name>    (?:[^\W\d_](?:[\w.\-]*[\w\-])?)?:(?:[\w:]|%[0-9A-Fa-f]{2}|\\[^\n])?(?:(?:[\w.:\-]|%[0-9A-Fa-f]{2}|\\[^\n])*(?:[\w:\-]|%[0-9A-Fa-f]{2}|\\[^\n]))? )
    | (?P<word>    @?[A-Za-z][A-Za-z0-9_\-]* )
    | (?P<space>   \s+ )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A piece of the text. `kind` is comment, string, iri, variable, blank, name (prefixed), word, space or other."""

    kind: str
    text: str
    start: int


def tokens(text: str) -> Iterator[Token]:
    """The whole text as tokens, in order; joined they are the text again."""
    for match in _TOKEN.finditer(text):
        assert match.lastgroup is not None
        yield Token(match.lastgroup, match.group(), match.start())


def expand(text: str) -> str:
    r"""The text with `\uXXXX` and `\UXXXXXXXX` replaced by the characters they stand for (SPARQL 1.1, section 19.2)."""

    def character(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(code) if code < 0x110000 else match[0]

    return _ESCAPE.sub(character, text)


@functools.lru_cache(maxsize=256)
def words(text: str) -> frozenset[str]:
    """The bare words of a query in upper case: its keywords. Read as written and with code points expanded, because
    an engine might do either."""
    expanded = expand(text) if "\\" in text else text
    found = _survey(text)[0]
    return found if expanded == text else found | _survey(expanded)[0]


def undeclared_prefixes(text: str) -> frozenset[str]:
    """The prefixes, without colon, of the names in a query that no PREFIX of it declares."""
    return _survey(text)[1]


@functools.lru_cache(maxsize=256)
def _survey(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The words and the undeclared prefixes, in one pass. Every query goes through here, so it makes no `Token`s."""
    found: set[str] = set()
    used: set[str] = set()
    declared: set[str] = set()
    after_prefix = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind in ("space", "comment"):
            continue
        if kind == "name":
            (declared if after_prefix else used).add(match.group().partition(":")[0])
            after_prefix = False
        elif kind == "word":
            word = match.group().upper()
            found.add(word)
            after_prefix = word == "PREFIX"
        else:
            after_prefix = False
    return frozenset(found), frozenset(used - declared)
