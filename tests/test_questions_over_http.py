"""The eight questions on the seeds, asked of the real server over HTTP: the rows that come back are exactly the expected ones.

The expected rows are those of `tests/questions`, which are written for the base https://kg.example/; a served graph has the
server's own address for its base. That the answers themselves are right is shown by `test_questions_on_seeds`.
"""

from __future__ import annotations

import csv
import io
import re
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from serving import Server

from kg import questions

EXPECTED = Path(__file__).resolve().parent / "questions"
CASES = sorted(path.stem for path in EXPECTED.glob("*.csv") if not path.stem.endswith((".near", ".also")))

Rows = list[list[str]]


def query(case: str) -> str:
    """The text of the question `slug` or `slug@date`."""
    slug, _, date = case.partition("@")
    text = questions.catalogue()[slug].text
    return re.sub(r"\?_on_date\b", f'"{date}"^^<http://www.w3.org/2001/XMLSchema#date>', text) if date else text


def expected(case: str, base: str) -> Rows:
    text = (EXPECTED / f"{case}.csv").read_text("utf-8").replace("https://kg.example/", base)
    return list(csv.reader(io.StringIO(text)))


def by_get(server: Server, text: str) -> Rows:
    reply = server.sparql(text)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/csv; charset=utf-8"), reply.text
    return list(csv.reader(io.StringIO(reply.text)))


def by_post(server: Server, text: str) -> Rows:
    form = urlencode({"query": text}).encode()
    request = urllib.request.Request(server.url + "sparql", data=form, headers={"Accept": "text/csv"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return list(csv.reader(io.StringIO(response.read().decode())))


def test_every_question_is_asked() -> None:
    assert {case.partition("@")[0] for case in CASES} == set(questions.catalogue())
    assert len(questions.catalogue()) >= 8


@pytest.mark.parametrize("case", CASES)
def test_rows_by_get_are_exact(served: Server, case: str) -> None:
    assert by_get(served, query(case)) == expected(case, served.url)


@pytest.mark.parametrize("case", CASES)
def test_rows_by_form_post_are_exact(served: Server, case: str) -> None:
    assert by_post(served, query(case)) == expected(case, served.url)


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
