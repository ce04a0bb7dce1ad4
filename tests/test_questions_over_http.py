"""The questions on the seeds, asked of the real server over HTTP: the rows that come back are exactly the expected ones.

The expected rows are those of `tests/questions`, which are written for the base https://kg.example/; a served graph has the
server's own address for its base. That the answers themselves are right is shown by `test_questions_on_seeds`.
"""

from __future__ import annotations

import csv
import io
import urllib.request
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from serving import Server

from kg import questions

EXPECTED = Path(__file__).resolve().parent / "questions"
CASES = sorted(path.stem for path in EXPECTED.glob("*.csv") if not path.stem.endswith((".near", ".also")))

Rows = list[list[str]]


def parameters(case: str) -> dict[str, str]:
    """What the question of `slug`, `slug@date` or `slug@name=value&name=value` is asked with."""
    given = case.partition("@")[2]
    if given and "=" not in given:
        return {"on": given}
    return dict(parse_qsl(given))


def expected(case: str, base: str) -> Rows:
    text = (EXPECTED / f"{case}.csv").read_text("utf-8").replace("https://kg.example/", base)
    return list(csv.reader(io.StringIO(text)))


def asked(server: Server, case: str) -> Rows:
    """The rows at the question's own address."""
    reply = server.get(f"questions/{case.partition('@')[0]}.csv?{urlencode(parameters(case))}")
    assert reply.status == 200, reply.text
    return list(csv.reader(io.StringIO(reply.text)))


def by_get(server: Server, text: str) -> Rows:
    reply = server.sparql(text)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv; charset=utf-8"), reply.text
    return list(csv.reader(io.StringIO(reply.text)))


def by_post(server: Server, text: str) -> Rows:
    form = urlencode({"query": text}).encode()
    request = urllib.request.Request(server.url + "sparql", data=form, headers={"Accept": "text/csv"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return list(csv.reader(io.StringIO(response.read().decode())))


def query(name: str) -> str:
    """The text of a question that needs no parameter."""
    return questions.catalogue()[name].text


def test_every_question_is_asked() -> None:
    assert {case.partition("@")[0] for case in CASES} == set(questions.catalogue())
    assert len(questions.catalogue()) >= 8


@pytest.mark.parametrize("case", CASES)
def test_rows_are_exact(served: Server, case: str) -> None:
    assert asked(served, case) == expected(case, served.url)


@pytest.mark.parametrize("case", [case for case in CASES if "@" not in case])
def test_query_of_the_file_gives_them_too(served: Server, case: str) -> None:
    assert by_get(served, query(case)) == by_post(served, query(case)) == expected(case, served.url)


def test_who_admitted_combat_in_words(served: Server) -> None:
    """One admission: by Valery Gerasimov, as Chief of the General Staff and for Russia, on 26 April 2025."""
    header, *rows = by_get(served, query("who-admitted-combat"))
    (admission,) = (dict(zip(header, row, strict=True)) for row in rows)
    assert admission == {
        "admission": served.url + "article/russia-admits-north-korean-soldiers#s2",
        "speaker": served.url + "actor/valery-gerasimov",
        "speakerName": "Valery Gerasimov",
        "post": "Chief of the General Staff",
        "onBehalfOf": served.url + "actor/russia",
        "onBehalfOfName": "Russia",
        "date": "2025-04-26",
        "article": served.url + "article/russia-admits-north-korean-soldiers",
        "quotation": "fighters from North Korea are engaged in combat alongside Russian forces",
        "outlet": "",
        "published": "",
    }


def test_attribution_chain_in_words(served: Server) -> None:
    """The unnamed author passes on the Center for Countering Disinformation, it passes on UNN, and UNN passes on Gerasimov."""
    header, *rows = by_get(served, query("attribution-chain"))
    hops = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(hop["hop"], hop["kind"].rpartition("#")[2], hop["speakerName"], hop["quotation"]) for hop in hops] == [
        ("1", "Report", "Unnamed author of “Russia admits North Korean soldiers”", "This admission was reported"),
        ("2", "Report", "Center for Countering Disinformation", "reported by the Center for Countering Disinformation"),
        ("3", "Report", "UNN", "with reference to UNN"),
        (
            "4",
            "Admission",
            "Valery Gerasimov",
            "fighters from North Korea are engaged in combat alongside Russian forces",
        ),
    ]
    assert {hop["article"] for hop in hops} == {served.url + "article/russia-admits-north-korean-soldiers"}
    assert {hop["admission"] for hop in hops} == {hops[-1]["act"]}
