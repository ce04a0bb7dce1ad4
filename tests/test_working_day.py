"""A working day of analysts at one desk, over HTTP: they record, correct, collide, are refused, withdraw, and look back; and one who
follows from elsewhere ends up with the same graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pyoxigraph as ox
from serving import Reply, Server, kg, state_of, until
from test_feed import Follower, now

from kg.journal import Journal
from kg.terms import PREFIXES
from kg.tokens import Tokens
from kg.verification import text_digest

TEXT = "The navy landed on the island at dawn, the admiral said on Sunday. He had denied it for weeks."
QUOTED = "The navy landed on the island at dawn"

EKG, XSD = PREFIXES["ekg"], PREFIXES["xsd"]
_PROLOGUE = "".join(f"@prefix {name}: <{PREFIXES[name]}> .\n" for name in ("ekg", "schema", "oa", "rdfs", "xsd"))

ACTOR = '<> a ekg:Person, ekg:Actor ; rdfs:label "The admiral"@en, "Адмірал"@uk .\n'
EVENT = '<> a ekg:Event ; rdfs:label "The landing on the island"@en .\n'
PROPOSITION = """{
  "@context": "%(base)scontext.jsonld",
  "@id": "%(base)sproposition/navy-landed",
  "type": "Proposition",
  "text": {"en": "The navy landed on the island."},
  "about": "%(base)sevent/landing",
  "modality": "Actual"
}"""


def admission(quoted: str, start: int = 0) -> str:
    return f"""\
<> a ekg:Article ; rdfs:label "Landing admitted"@en ; ekg:textDigest "{text_digest(TEXT)}" .
<#s1> a ekg:Admission, ekg:SpeechAct, ekg:Event ; ekg:speaker </actor/admiral> ; ekg:content </proposition/navy-landed> ;
    ekg:stance ekg:Affirms ; ekg:voice ekg:Attributed ; ekg:reportedIn <> ; ekg:evidence <#e1> .
<#e1> a ekg:Evidence ; oa:hasSource <> ; oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "{quoted}" ] ,
    [ a oa:TextPositionSelector ; oa:start {start} ; oa:end {start + len(quoted)} ] .
"""


#: Without a voice, at a local time, and by somebody whom nobody has recorded.
HASTY = """\
<> a ekg:Article ; rdfs:label "Landing claimed"@en ; schema:datePublished "2026-11-22T10:00:00"^^xsd:dateTime .
<#s1> a ekg:Claim, ekg:SpeechAct, ekg:Event ; ekg:speaker </actor/bosun> ; ekg:content </proposition/navy-landed> ;
    ekg:stance ekg:Affirms ; ekg:reportedIn <> ; ekg:evidence <#e1> .
<#e1> a ekg:Evidence ; oa:hasSource <> ; oa:hasSelector [ a oa:TextQuoteSelector ; oa:exact "we were there first" ] .
"""


@dataclass
class Desk:
    """Where one analyst sits, with a token, in front of the service."""

    server: Server
    token: str

    def send(self, method: str, path: str, body: str = "", kind: str = "text/turtle", **headers: str) -> Reply:
        sent = {"Authorization": f"Bearer {self.token}"} | ({"Content-Type": kind} if body else {})
        sent |= {name.replace("_", "-"): quote(value, safe=' "*') for name, value in headers.items()}
        text = _PROLOGUE + body if body and kind == "text/turtle" else body
        return self.server.send(method, path, text.encode() or None, sent)


@dataclass
class Remembered:
    """What a document was at each revision, and the times at which it was that, taken from a clock of one's own."""

    states: dict[int, ox.Dataset] = field(default_factory=dict)
    times: dict[int, datetime] = field(default_factory=dict)

    def note(self, server: Server, path: str) -> None:
        """What is there now. States are told apart by the second, so this returns in the next."""
        reply = server.get(path + ".nt")
        assert reply.status == 200, reply.text
        revision = int(reply.headers["KG-Revision"])
        self.states[revision] = content(reply)
        moment = datetime.now(UTC).replace(microsecond=0)
        self.times[revision] = moment
        until(lambda: datetime.now(UTC).replace(microsecond=0) > moment, "the clock goes on")


def content(reply: Reply) -> ox.Dataset:
    """What an N-Triples document says, whatever its blank nodes are called."""
    found = ox.Dataset(ox.parse(reply.body, format=ox.RdfFormat.N_TRIPLES))
    found.canonicalize(ox.CanonicalizationAlgorithm.UNSTABLE)
    return found


def desk(server: Server, name: str, role: str = "writer") -> Desk:
    return Desk(server, Tokens(server.data).create(name, role))


def test_a_working_day(blank: Server, tmp_path: Path) -> None:
    server = blank
    ann, ben = desk(server, "Ann"), desk(server, "Ben")
    follower = Follower(server, "application/trig")

    # Each document refers to those before it, in whatever syntax its author likes.
    assert ann.send("PUT", "actor/admiral", ACTOR, If_None_Match="*").status == 201
    assert ann.send("PUT", "event/landing", EVENT, If_None_Match="*").status == 201
    json_ld = PROPOSITION % {"base": server.url}
    made = ann.send("PUT", "proposition/navy-landed", json_ld, "application/ld+json", If_None_Match="*")
    assert (made.status, made.headers["Location"]) == (201, server.url + "proposition/navy-landed"), made.text
    article, past = "article/admission", Remembered()
    misquoted = QUOTED.replace("landed", "lended")
    made = ann.send("PUT", article, admission(misquoted), If_None_Match="*")
    assert made.status == 201, made.text
    past.note(server, article)
    follower.follow()

    # Before lunch: what is quoted is compared with the text, and corrected.
    text = tmp_path / "text"
    text.write_text(TEXT + "\n", encoding="utf-8")
    compare = ("verify", "--text", text, "--article", server.url + article, "--data", server.data)
    told = kg(*compare)
    assert (told.code, misquoted in told.out) == (1, True)
    why = {"KG_Change": "corrected-source", "KG_Note": "“lended”: the typist's, not the paper's"}
    corrected = ann.send("PUT", article, admission(QUOTED), If_Match=made.headers["ETag"], **why)
    assert corrected.status == 204, corrected.text
    assert kg(*compare).code == 0
    past.note(server, article)

    # Ben still has the first version before him; he is told which there is, and adds to that.
    more = '<> rdfs:comment "Compare the denials of October."@en .\n'
    lost = ben.send("PUT", article, admission(misquoted) + more, If_Match=made.headers["ETag"])
    assert lost.status == 412, lost.text
    assert lost.json()["etag"] == corrected.headers["ETag"]
    there = server.get(f"{article}.ttl?revision={lost.json()['revision']}")
    assert (there.status, QUOTED in there.text) == (200, True)
    added = ben.send("POST", article, more, If_Match=lost.json()["etag"])
    assert added.status == 204, added.text
    past.note(server, article)

    # A document in haste is refused, and mended by somebody who reads nothing but the refusal.
    before = state_of(server.data)
    assert mended(ann, "article/claim", _PROLOGUE + HASTY, before) == "2026-11-22T10:00:00Z"
    asked = f"questions/articles-with-proposition?proposition={quote(server.url, safe='')}proposition/navy-landed"
    assert "we were there first" in answered(server, asked)

    # In the evening the paper withdraws it.
    etag = server.get(article + ".nt").headers["ETag"]
    reason = "The paper took it back: the admiral was misheard."
    retracted = ben.send("POST", article, KG_Change="retracted", KG_Note=reason, If_Match=etag)
    assert retracted.status == 204, retracted.text
    past.note(server, article)
    assert QUOTED not in answered(server, asked)
    assert QUOTED in answered(server, asked + "&retracted=true")
    assert reason in server.get(article + ".html").text

    # What was deleted is gone now, and was there before.
    assert ann.send("PUT", "place/island", '<> a ekg:Place ; rdfs:label "The island"@en .').status == 201
    assert ann.send("DELETE", "place/island").status == 403
    assert desk(server, "Root", "admin").send("DELETE", "place/island").status == 204
    assert server.get("place/island.ttl").status == 410

    looked_back(server, article, past)
    history = Journal(server.data / "journal.sqlite")
    try:
        told_of = [(one.agent, one.change, one.note) for one in history.history(server.url + article)]
        assert told_of == [
            ("Ann", "recorded", ""),
            ("Ann", "corrected-source", why["KG_Note"]),
            ("Ben", "recorded", ""),
            ("Ben", "retracted", reason),
        ]
        follower.follow()
        assert set(follower.store) == now(history)
    finally:
        history.close()
    verified = kg("verify", "--data", server.data)
    assert verified.code == 0, verified.out


def answered(server: Server, asked: str) -> str:
    reply = server.get(asked, {"Accept": "text/csv"})
    assert reply.status == 200, reply.text
    return reply.text


# Mending by the message alone


def mended(writer: Desk, path: str, turtle: str, before: Mapping[str, Any]) -> str:
    """Send a wrong document until it is taken, changing only what the refusals say, as they say it; its time of publication then.

    Of each result is read which node and path it is about, which value, and what the message quotes or says to send first.
    """
    iri = writer.server.url + path
    triples = set(ox.parse(turtle, format=ox.RdfFormat.TURTLE, base_iri=iri))
    for _ in range(3):
        body = ox.serialize([quad.triple for quad in triples], format=ox.RdfFormat.TURTLE) or b""
        reply = writer.send("PUT", path, body.decode(), "text/turtle; charset=utf-8")
        if reply.status == 201:
            (published,) = (q.object for q in triples if q.predicate.value == PREFIXES["schema"] + "datePublished")
            return str(published.value)  # type: ignore[union-attr]
        assert reply.status == 422, reply.text
        assert state_of(writer.server.data) == before, "a rejected document leaves no trace"
        for result in reply.json()["results"]:
            assert result["focus"].startswith(iri)
            before = _mend(writer, triples, result) or before
    raise AssertionError(f"it cannot be mended by what was said: {reply.text}")


def _mend(writer: Desk, triples: set[ox.Quad], result: dict[str, Any]) -> Mapping[str, Any] | None:
    message, path = result["message"], result["path"]
    if missing := re.search(r"Send (\S+) first", message):
        # Another message says of which kinds it may be.
        reply = writer.send("PUT", missing[1], '<> a ekg:Person, ekg:Actor ; rdfs:label "The bosun"@en .\n')
        assert reply.status == 201, reply.text
        return state_of(writer.server.data)
    if "in UTC" in message:
        (old,) = (q for q in triples if (q.subject.value, q.predicate.value) == (result["focus"], path))  # type: ignore[union-attr]
        triples.remove(old)
        moment = ox.Literal(result["value"] + "Z", datatype=ox.NamedNode(XSD + "dateTime"))
        triples.add(ox.Quad(old.subject, old.predicate, moment))
    elif snippet := re.search(r"Add `(ekg:\w+ ekg:\w+)`", message):
        triples |= set(ox.parse(f"{_PROLOGUE}<{result['focus']}> {snippet[1]} .", format=ox.RdfFormat.TURTLE))
    return None


# Looking back


def looked_back(server: Server, path: str, past: Remembered) -> None:
    """Each former state is found by its date and by its number, and is what it was."""
    assert len(past.states) == 4
    for revision, state in past.states.items():
        numbered = server.get(f"{path}.nt?revision={revision}")
        assert (numbered.status, content(numbered)) == (200, state)
        headers = {"Accept": "application/n-triples", "Accept-Datetime": format_datetime(past.times[revision], True)}
        led = server.get(path, headers)
        assert (led.status, "accept-datetime" in led.headers["Vary"].lower()) == (302, True)
        dated = server.get(urljoin(server.url, led.headers["Location"]), headers)
        assert (dated.status, content(dated)) == (200, state)
        assert parsedate_to_datetime(dated.headers["Memento-Datetime"]) <= past.times[revision]
    listed = server.get(f"timemap/{path}", {"Accept": "application/json"})
    assert len(listed.json()["mementos"]["list"]) == len(past.states)
    asked_too_early = {"Accept-Datetime": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert f"revision={min(past.states)}" in server.get(path, asked_too_early).headers["Location"]
