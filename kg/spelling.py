"""Spellings: one Latin form for a name in any script, and the bare sound of it.

Hides how scripts become Latin letters (anyascii, a letter at a time) and which differences of spelling count for nothing. Promises
that what begins a word of a text begins it in the Latin form too, so that whoever looks for a part finds it; single initials
aside.

Герасимов, Gerasimov and Gerassimow have one Latin form. 김정은, Kim Jong Un and Ким Чен Ын have three, and one sound.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from anyascii import anyascii

#: Letters that one Latin spelling has where another has the other.
_SAME = {"w": "v", "y": "i", "j": "i", "q": "k", "c": "k", "x": "ks"}

#: After these, h makes them one sound, which other spellings write without it: Kharkiv, Shoigu, Zhukov.
_BEFORE_H = frozenset("kcszgtpr")

#: Signs within a word: apostrophes and what stands for soft and hard signs.
_WITHIN = frozenset("'`\"")

#: What a sound is made of: letters that languages take for one another, the longest first.
_SOUNDS = {
    "shch": "s", "tsch": "s", "sch": "s", "dzh": "s", "tch": "s", "ch": "s", "sh": "s", "zh": "s", "ts": "s", "tz": "s", "dz": "s",
    "pkh": "p", "kh": "k", "gh": "k", "th": "t", "ph": "p", "rh": "r", "ng": "n", "ck": "k", "b": "p", "p": "p", "d": "t", "t": "t",
    "g": "k", "k": "k", "q": "k", "c": "k", "x": "ks", "z": "s", "s": "s", "f": "f", "v": "f", "w": "f", "l": "l", "m": "m",
    "n": "n", "r": "r",
}  # fmt: skip
_SOUND = re.compile(f"({'|'.join(_SOUNDS)})|(j(?=[aeou]))|(h(?=[aeiouy]))|.")

#: Words of a name from which each part can be found by its sound.
_WORDS = 8


@dataclass(frozen=True)
class Spelling:
    """The Latin form of a text: letters a to z, digits, and single spaces; for each of them the place in the text it came from."""

    text: str
    letters: str
    places: tuple[int, ...]

    def spans(self, part: str) -> list[tuple[int, int]]:
        """Where in the text a part of the Latin form stands: from, and up to, letters that the Latin form leaves out included."""
        found, start = [], self.letters.find(part) if part else -1
        while start >= 0:
            end = start + len(part)
            stop = self.places[end] if end < len(self.places) else len(self.text)
            while stop > self.places[end - 1] + 1 and not self.text[stop - 1].isalnum():
                stop -= 1
            found.append((self.places[start], stop))
            start = self.letters.find(part, end)
        return found


def composed(text: str) -> str:
    """The text with its characters composed: the one that places in a spelling refer to."""
    return unicodedata.normalize("NFC", text)


def spelling(text: str) -> Spelling:
    """The Latin form of a composed text."""
    letters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for letter in _latin(character):
            before = letters[-1] if letters else " "
            if letter in _WITHIN:
                continue
            if not letter.isalnum():
                if before != " ":
                    letters.append(" ")
                    places.append(place)
                continue
            if (
                letter == "h"
                and before in _BEFORE_H
                and (places[-1] == place or _is_latin(text[place - 1] + character))
            ):
                continue
            for one in _SAME.get(letter, letter):
                if letters and one == letters[-1] and not one.isdigit():
                    continue
                if one == "e" and letters[-1:] == ["i"] and letters[-2:-1] in ([], [" "]):
                    # Yevkurov is Evkurov too: what stands before the first vowel is hardly a letter.
                    letters[-1] = one
                    continue
                letters.append(one)
                places.append(place)
    if letters[-1:] == [" "]:
        letters.pop()
        places.pop()
    return Spelling(text, "".join(letters), tuple(places))


def plain(text: str) -> str:
    """The letters of the Latin form of any text."""
    return spelling(composed(text)).letters


def sound(text: str) -> str:
    """The consonants of a name, those that languages take for one another made one: `grsmf`-like, without spaces."""
    return "".join(_sounds(text))


def sounds(text: str) -> list[str]:
    """The sound of each run of words of a name, and so of the name whatever stands around it; one consonant says nothing."""
    words = _sounds(text)[:_WORDS]
    runs = ("".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    return sorted({run for run in runs if len(run) > 1})


def _sounds(text: str) -> list[str]:
    letters = "".join(c for c in anyascii(composed(text)).lower() if c not in _WITHIN)
    words = (_SOUND.sub(_sound, re.sub(r"(.)\1+", r"\1", word)) for word in re.findall(r"[a-z]+", letters))
    return [word for word in words if word]


def _sound(found: re.Match[str]) -> str:
    known, j, h = found.groups()
    return _SOUNDS[known] if known else "s" if j else "k" if h else ""


@functools.lru_cache(maxsize=4096)
def _latin(character: str) -> str:
    return anyascii(character).lower()


def _is_latin(characters: str) -> bool:
    return all(ord(character) < 0x250 for character in characters)
