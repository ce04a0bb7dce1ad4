"""Valid documents in any number: for tests that need many, and for benchmarks.

The same arguments give the same documents, byte for byte, and the first hundred of a thousand are the hundred. Each document refers
only to documents before it, so that any beginning of the sequence stands on its own. What is written about what follows the
shape of real coverage: a few actors and propositions come up all the time, most hardly ever, and recent ones more than old ones.

`texts` yields Turtle, `documents` what the service makes of it, `write` puts files into a directory. The functions named after a kind
of document (`actor`, `person`, `proposition`, …) write one small valid document each, for tests that look at a single case.
"""

from __future__ import annotations

import datetime
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kg import documents as rdf
from kg.documents import Document
from kg.terms import Base

BASE = Base("https://kg.example/")

_PREFIXES = """\
@prefix ekg: <https://w3id.org/ekg/ns#> .
@prefix schema: <https://schema.org/> .
@prefix oa: <http://www.w3.org/ns/oa#> .
@prefix org: <http://www.w3.org/ns/org#> .
@prefix geo: <http://www.opengis.net/ont/geosparql#> .
@prefix sf: <http://www.opengis.net/ont/sf#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .

"""

#: Kinds of act that need content, and the stance each takes.
_STANCES = {
    "Claim": "Affirms",
    "Admission": "Affirms",
    "Denial": "Denies",
    "Refutation": "Denies",
    "Accusation": "Affirms",
    "Justification": "Affirms",
    "Assessment": "Affirms",
    "Concern": "Entertains",
}

#: What a story of twenty documents is made of, in an order in which each has something to refer to.
_STORY = ("place", "actor", "person", "event", "event", *(["proposition", "article"] * 5), *(["article"] * 5))

_NOUNS = ("convoy", "brigade", "ministry", "harbour", "garrison", "envoy", "treaty", "depot", "crossing", "village")
_VERBS = ("reached", "left", "attacked", "joined", "guarded", "denied", "supplied", "entered", "lost", "rebuilt")


@dataclass(frozen=True)
class Text:
    """One document as Turtle with IRIs relative to the base."""

    kind: str
    slug: str
    turtle: str

    @property
    def path(self) -> str:
        """Where its file lies: `article/x.ttl`."""
        return f"{self.kind}/{self.slug}.ttl"

    def iri(self, base: Base = BASE) -> str:
        return base.document(self.kind, self.slug)

    def document(self, base: Base = BASE) -> Document:
        (parsed,) = rdf.parse(self.turtle.encode(), rdf.TURTLE, base, limit=2**24)
        return parsed

    def write(self, directory: Path) -> Path:
        """The file, made in the directory, with its kind's folder."""
        path = directory / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.turtle, encoding="utf-8")
        return path


# One document


def place(slug: str, x: float = 36.2, y: float = 51.7, label: str = "") -> Text:
    return _text(
        "place",
        slug,
        f'<place/{slug}> a ekg:Place ;\n    rdfs:label "{label or slug}"@en ;\n'
        f'    geo:hasGeometry [ a sf:Point ; geo:asWKT "POINT({x:.1f} {y:.1f})"^^geo:wktLiteral ] .\n',
    )


def actor(slug: str, kind: str = "Organization", label: str = "") -> Text:
    """An actor of one of the five kinds; a person without a post."""
    types = "ekg:ArmedForce, ekg:Organization" if kind == "ArmedForce" else f"ekg:{kind}"
    return _text("actor", slug, f'<actor/{slug}> a {types}, ekg:Actor ;\n    rdfs:label "{label or slug}"@en .\n')


def person(slug: str, *, post: str | None = "post-head", organization: str = "", label: str = "") -> Text:
    """A person, with a post at an organization unless `post` is None."""
    tenure = (
        f"\n<actor/{slug}#{post}> a ekg:Tenure ;\n    org:member <actor/{slug}> ;\n"
        f'    org:organization <actor/{organization}> ;\n    ekg:post "Head"@en .\n'
    )
    return _text("actor", slug, actor(slug, "Person", label).turtle.removeprefix(_PREFIXES) + (tenure if post else ""))


def event(slug: str, *, kind: str = "", force: str = "", at: str = "", label: str = "") -> Text:
    """An event; a deployment or engagement needs a force and a place."""
    types = f"ekg:{kind}, ekg:Event" if kind else "ekg:Event"
    parts = [f'rdfs:label "{label or slug}"@en']
    parts += [f"ekg:force <actor/{force}>"] if force else []
    parts += [f"ekg:place <place/{at}>"] if at else []
    return _text("event", slug, f"<event/{slug}> a {types} ;\n    " + " ;\n    ".join(parts) + " .\n")


def proposition(
    slug: str, about: str, *, modality: str = "Actual", entails: Sequence[str] = (), text: str = "", aspect: str = ""
) -> Text:
    """A proposition about an IRI relative to the base (`event/x`); `entails` are slugs of other propositions."""
    parts = [f'schema:text "{text or slug}."@en', f"ekg:about <{about}>", f"ekg:modality ekg:{modality}"]
    parts += [f"ekg:aspect ekg:{aspect}"] if aspect else []
    parts += [f"ekg:entails {', '.join(f'<proposition/{other}>' for other in entails)}"] if entails else []
    return _text(
        "proposition", slug, f"<proposition/{slug}> a ekg:Proposition ;\n    " + " ;\n    ".join(parts) + " .\n"
    )


@dataclass(frozen=True)
class Act:
    """A speech act in an article. `content` are slugs of propositions, `reports` numbers of other acts in the article."""

    speaker: str
    content: tuple[str, ...] = ()
    kind: str = "Claim"
    stance: str | None = None
    in_role: str | None = None
    reports: tuple[int, ...] = ()
    quote: str = "a few words"


def article(slug: str, acts: Sequence[Act], *, publisher: str = "", published: datetime.date | None = None) -> Text:
    """An article with its acts, each with evidence of its own; where the date is known, the acts are of that day."""
    lines = [f'<article/{slug}> a ekg:Article ;\n    rdfs:label "{slug}"@en']
    lines += [f"schema:publisher <actor/{publisher}>"] if publisher else []
    lines += [f'schema:datePublished "{published}"^^xsd:date'] if published else []
    blocks = [" ;\n    ".join(lines) + " .\n"]
    for number, act in enumerate(acts, 1):
        stance = act.stance or _STANCES.get(act.kind, "Affirms")
        parts = [f"ekg:speaker <actor/{act.speaker}>"]
        parts += [f"ekg:inRole <actor/{act.in_role}>"] if act.in_role else []
        if act.content:
            parts.append(f"ekg:content {', '.join(f'<proposition/{content}>' for content in act.content)}")
            parts.append(f"ekg:stance ekg:{stance}")
        parts += [f"ekg:reports {', '.join(f':s{other}' for other in act.reports)}"] if act.reports else []
        parts += ["ekg:voice ekg:Attributed", f"ekg:reportedIn <article/{slug}>", f"ekg:evidence :e{number}"]
        parts += [f"ekg:time :t{number}"] if published else []
        blocks.append(
            f":s{number} a ekg:{act.kind}, ekg:SpeechAct, ekg:Event ;\n    " + " ;\n    ".join(parts) + " .\n"
        )
        blocks.append(
            f":e{number} a ekg:Evidence ;\n    oa:hasSource <article/{slug}> ;\n"
            f'    oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "{act.quote}" ] .\n'
        )
        if published:
            blocks.append(
                f':t{number} a ekg:Time ;\n    ekg:surface "{published}" ;\n'
                f'    ekg:earliest "{published}"^^xsd:date ;\n    ekg:latest "{published}"^^xsd:date .\n'
            )
    return _text("article", slug, f"@prefix : <article/{slug}#> .\n\n" + "\n".join(blocks))


def _text(kind: str, slug: str, body: str) -> Text:
    return Text(kind, slug, _PREFIXES + body)


# Many documents


def texts(count: int, *, seed: int = 0, prefix: str = "g") -> Iterator[Text]:
    """`count` valid documents. Sets with different prefixes have no document in common."""
    return itertools.islice(_endless(random.Random(seed), prefix), count)


def documents(count: int, *, seed: int = 0, prefix: str = "g", base: Base = BASE) -> Iterator[Document]:
    """The same as `texts`, read and in canonical form."""
    return (text.document(base) for text in texts(count, seed=seed, prefix=prefix))


def write(directory: Path, count: int, *, seed: int = 0, prefix: str = "g") -> list[Path]:
    """The same as `texts`, a file each, in their order."""
    return [text.write(directory) for text in texts(count, seed=seed, prefix=prefix)]


def _endless(chance: random.Random, prefix: str) -> Iterator[Text]:
    names: dict[str, list[str]] = {kind: [] for kind in ("place", "force", "speaker", "event", "actual", "possible")}
    posts: dict[str, str] = {}  # of persons
    numbers: dict[str, int] = {}
    day = datetime.date(2022, 1, 1)

    def name(kind: str) -> str:
        numbers[kind] = numbers.get(kind, 0) + 1
        return f"{prefix}-{kind}-{numbers[kind]}"

    def known(group: str) -> str:
        """One of a group: a third of the time among the first ten, else among the last two hundred."""
        of = names[group]
        return chance.choice(of[:10] if chance.random() < 1 / 3 else of[-200:])

    def sentence() -> str:
        return f"The {chance.choice(_NOUNS)} {chance.choice(_VERBS)} the {chance.choice(_NOUNS)}"

    opening = ["place", "state", "force", "actor", "event", "proposition", "possible"]
    for kind in itertools.chain(opening, itertools.cycle(_STORY)):
        if kind == "place":
            slug = name("place")
            names["place"].append(slug)
            yield place(slug, chance.uniform(-180, 180), chance.uniform(-85, 85), f"Place {numbers['place']}")
        elif kind in ("actor", "state", "force"):
            slug = name("actor")
            sort = {"state": "State", "force": "ArmedForce"}.get(kind) or chance.choice(
                ["Organization", "State", "ArmedForce", "UnnamedGroup"]
            )
            if sort == "ArmedForce":
                names["force"].append(slug)
            names["speaker"].append(slug)
            yield actor(slug, sort, f"{sort} {numbers['actor']}")
        elif kind == "person":
            slug = name("person")
            text = person(slug, organization=known("speaker"), label=f"Person {numbers['person']}")
            names["speaker"].append(slug)
            posts[slug] = f"{slug}#post-head"
            yield text
        elif kind == "event":
            slug = name("event")
            sort = chance.choice(["", "Deployment", "Engagement"])
            text = (
                event(slug, kind=sort, force=known("force"), at=known("place"), label=sentence())
                if sort
                else event(slug, label=sentence())
            )
            names["event"].append(slug)
            yield text
        elif kind in ("proposition", "possible"):
            slug = name("proposition")
            modality = (
                chance.choice(["Planned", "Hypothetical"]) if kind == "possible" or chance.random() < 0.2 else "Actual"
            )
            entails = [known("actual")] if names["actual"] and modality == "Actual" and chance.random() < 0.3 else []
            about = f"event/{known('event')}"
            text = proposition(slug, about, modality=modality, entails=entails, text=sentence())
            names["actual" if modality == "Actual" else "possible"].append(slug)
            yield text
        else:
            day += datetime.timedelta(days=chance.randrange(2))
            acts: list[Act] = []
            for number in range(1, chance.randint(2, 5) + 1):
                speaker = known("speaker")
                quote = f"{sentence().lower()} {number}"
                if number > 1 and chance.random() < 0.4:
                    acts.append(Act(speaker, kind="Report", reports=(number - 1,), quote=quote))
                    continue
                sort = chance.choice(list(_STANCES))
                content = known("possible" if sort == "Concern" else "actual")
                acts.append(Act(speaker, (content,), sort, in_role=posts.get(speaker), quote=quote))
            yield article(name("article"), acts, published=day)
