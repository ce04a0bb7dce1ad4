"""An article as its readers know it: who says what in a sentence, on whose word, and in which words.

Hides how an act becomes a sentence and how chains of reports are followed. Reads documents only, so that the page of a former
state says as much as that of the present one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kg.documents import Document
from kg.terms import EKG, PREFIXES
from kg.web.enquiry import Enquiry
from kg.web.reading import Act, Reading, Section, Value

_SCHEMA = PREFIXES["schema"]

#: Hops of a chain that a page shows; a question shows all.
_HOPS = 12

#: What speakers do by the kind of act and the stance it takes, as the words before what they say.
_VERBS: Mapping[str, Mapping[str, str]] = {
    "Admission": {"Affirms": "admitted that", "Denies": "admitted it to be untrue that"},
    "Denial": {"Denies": "denied that", "Affirms": "maintained, in denial, that"},
    "Refutation": {"Denies": "refuted that", "Affirms": "maintained, in refutation, that"},
    "Accusation": {"Affirms": "made the accusation that", "Denies": "rejected the accusation that"},
    "Justification": {"Affirms": "justified it, saying that", "Denies": "justified it, denying that"},
    "Assessment": {
        "Affirms": "judged that",
        "Denies": "judged it untrue that",
        "Entertains": "judged it possible that",
    },
    "Concern": {"Entertains": "feared that", "Affirms": "was concerned that"},
    "Claim": {
        "Affirms": "claimed that",
        "Denies": "claimed it to be untrue that",
        "Entertains": "thought it possible that",
    },
    "Report": {
        "Affirms": "reported that",
        "Denies": "reported it to be untrue that",
        "Entertains": "reported it as possible that",
    },
    "Praise": {"Affirms": "said in praise that", "Denies": "said in praise that it is untrue that"},
}
_STANCES = {"Affirms": "said that", "Denies": "denied that", "Entertains": "considered it possible that"}

_EXTENTS = {"Once": "once", "Repeated": "repeatedly", "Consistent": "consistently"}
_CERTAINTIES = {"Certain": "said to be certain", "Probable": "said to be probable", "Possible": "said to be possible"}

#: In whose words an act stands in the article.
VOICES = {
    "Attributed": "attributed",
    "ArticleVoice": "in the article’s own voice",
    "Presupposed": "taken for granted",
}

#: Words that begin an English sentence with a capital and go on within one without.
_OPENING = re.compile(
    r"(?:A|An|The|About|All|As|At|By|Both|During|Each|Every|For|From|He|His|If|In|It|Its|More|Most|No|None|Nobody|Of|On|One|Only|"
    r"Operations|Over|She|Some|Such|That|Their|There|These|They|This|Those|Two|Three|Under|Up|What|When|With)\b(?! [A-Z][a-z]+ of )"
)


@dataclass(frozen=True)
class Step:
    """One step of a chain of attribution: who speaks, and the act in which they do."""

    speakers: tuple[Value, ...]
    act: Value | None
    stance: str = ""
    own_voice: bool = False


@dataclass(frozen=True)
class Sentence:
    """An act as a sentence, with the reports by which the article knows of it, the outermost first."""

    section: Section
    act: Act
    adverb: str
    verb: str
    certainty: str
    carriers: tuple[Act, ...]
    chain: tuple[Step, ...]
    spread: tuple[Act, ...]


@dataclass(frozen=True)
class Article:
    """What its page shows of an article besides its title."""

    publishers: tuple[Value, ...]
    published: tuple[Value, ...]
    address: str | None
    language: str | None
    based_on: tuple[Value, ...]
    digest: str | None
    said: str
    happened: tuple[tuple[Value, Value], ...]
    sentences: tuple[Sentence, ...]
    voices: tuple[tuple[str, int], ...]

    def as_json_ld(self, iri: str, title: str) -> dict[str, Any]:
        """The article in schema.org's terms; what is not known is left out."""
        published = next((value.datetime for value in self.published), None)
        described: dict[str, Any] = {
            "@context": "https://schema.org",
            "@type": "NewsArticle",
            "@id": iri,
            "name": title,
            "publisher": [{"@type": "Organization", "@id": it.iri, "name": it.text} for it in self.publishers],
            "datePublished": published,
            "url": self.address,
            "inLanguage": self.language,
            "citation": [
                {"@type": "Quotation", "text": value.quotation.words}
                for sentence in self.sentences
                for value in sentence.act.quotations
                if value.quotation
            ],
        }
        return {name: value for name, value in described.items() if value}


def read(reading: Reading, sections: Sequence[Section]) -> Article:
    """The article that a document is, from its sections."""

    def text(name: str) -> str | None:
        return next((value.text for value in reading.of_itself(_SCHEMA + name)), None)

    acts = {section.act.iri: section for section in sections if section.act}
    carried: dict[str, list[Act]] = {}
    for section in acts.values():
        assert section.act is not None
        for value in section.act.reports:
            carried.setdefault(value.iri or "", []).append(section.act)
    sentences = tuple(_sentence(section, acts, carried) for section in acts.values())
    counted = [sentence.act.voice for sentence in sentences]
    address = text("url")
    return Article(
        publishers=reading.of_itself(_SCHEMA + "publisher"),
        published=reading.of_itself(_SCHEMA + "datePublished"),
        address=address if address and address.startswith(("http://", "https://")) else None,
        language=text("inLanguage"),
        based_on=reading.of_itself(_SCHEMA + "isBasedOn"),
        digest=next((value.text for value in reading.of_itself(EKG + "textDigest")), None),
        said=reading.span_of_times([value for sentence in sentences for value in sentence.act.time]),
        happened=reading.events_told([value for sentence in sentences for value in sentence.act.content]),
        sentences=sentences,
        voices=tuple((words, counted.count(name)) for name, words in VOICES.items() if name in counted),
    )


def compose(enquiry: Enquiry, it: Document, reading: Reading, sections: list[Section], past: bool) -> Mapping[str, Any]:
    """The article, for its page."""
    return {"article": read(reading, sections), "voices": VOICES, "in_sentence": in_sentence}


def in_sentence(text: str, language: str | None = "en") -> str:
    """A proposition as it reads after “that”: no full stop and, in English, no capital that only began a sentence."""
    text = text.strip().removesuffix(".")
    if language in (None, "en") and _OPENING.match(text):
        return text[0].lower() + text[1:]
    return text


def _sentence(section: Section, acts: Mapping[str, Section], carried: Mapping[str, list[Act]]) -> Sentence:
    act = section.act
    assert act is not None
    # The article knows of an act by the way that begins in its own voice; that others spread it is another matter.
    paths = sorted(_paths(act, carried), key=lambda path: path[-1].voice != "ArticleVoice")
    carriers = paths[0] if paths else ()
    return Sentence(
        section=section,
        act=act,
        adverb=_EXTENTS.get(act.extent, ""),
        verb=_verb(act),
        certainty=_CERTAINTIES.get(act.certainty, ""),
        carriers=tuple(carrier for carrier in reversed(carriers) if carrier.voice != "ArticleVoice"),
        chain=tuple(_chain(act, carriers, acts)),
        spread=tuple(path[-1] for path in paths[1:]),
    )


def _verb(act: Act) -> str:
    if act.content:
        verbs = next((verbs for kind, verbs in _VERBS.items() if kind in act.kinds), {})
        return verbs.get(act.stance) or _STANCES.get(act.stance, "said that")
    if act.evaluates:
        return "praised" if "Praise" in act.kinds else "spoke of"
    return "reported" if act.reports else "spoke"


def _paths(act: Act, carried: Mapping[str, list[Act]]) -> list[tuple[Act, ...]]:
    """The ways outwards from an act through the reports of this article that pass it on, without the act; each report once."""
    found: list[tuple[Act, ...]] = []
    seen = {act.iri}
    ways: list[tuple[Act, ...]] = [(act,)]
    while ways:
        way = ways.pop(0)
        outer = [other for other in carried.get(way[-1].iri, []) if other.iri not in seen]
        seen.update(other.iri for other in outer)
        ways += [(*way, other) for other in outer]
        if not outer and len(way) > 1:
            found.append(way[1:])
    return found


def _chain(act: Act, carriers: Sequence[Act], acts: Mapping[str, Section]) -> Iterator[Step]:
    """From the article inwards to whoever said it, also where that is told in other articles; nothing where nobody stands between."""
    inwards = list(_inwards(act, acts))
    if not carriers and not inwards:
        return
    for one in [*reversed(carriers[:_HOPS]), act, *inwards[:_HOPS]]:
        if isinstance(one, Act):
            link = Value("", f"#{one.iri.partition('#')[2]}", iri=one.iri)
            yield Step(one.speakers, link, one.stance, one.voice == "ArticleVoice")
        else:
            yield Step((), one)


def _inwards(act: Act, acts: Mapping[str, Section]) -> Iterator[Act | Value]:
    """What an act passes on, act by act, within the article; where it leads to another article, the act there ends it."""
    seen = {act.iri}
    while act.reports:
        value = act.reports[0]
        within = acts.get(value.iri or "")
        if within is None or within.act is None:
            yield value
            return
        if within.act.iri in seen:
            return
        seen.add(within.act.iri)
        act = within.act
        yield act
