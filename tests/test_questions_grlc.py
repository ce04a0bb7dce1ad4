"""The files in `queries/` run unchanged under grlc, which knows nothing of this service but its SPARQL endpoint.

grlc's own code reads the files from a directory, finds the parameters, puts values into the text and asks `/sparql`.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from serving import Server

from kg.examples import sample
from kg.questions import Question, catalogue
from kg.terms import KINDS, Base

QUERIES = Path(__file__).parent.parent / "queries"

each_question = pytest.mark.parametrize("question", catalogue().values(), ids=lambda question: question.id)


@pytest.fixture(scope="module")
def grlc(tmp_path_factory: pytest.TempPathFactory, served: Server) -> Iterator[tuple[Any, Any]]:
    """grlc's module of queries and its loader of a directory, pointed at the service."""
    directory = tmp_path_factory.mktemp("grlc")
    for path in QUERIES.glob("*.rq"):
        shutil.copy(path, directory)
    (directory / "endpoint.txt").write_text(f"{served.url}sparql\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)  # it reads a configuration from where it is started
        from grlc import fileLoaders, utils

        yield utils, fileLoaders.LocalLoader(str(directory))


def arguments(question: Question, base: str, **more: str) -> dict[str, str]:
    """What is required, by default or example, as grlc takes it: the text that belongs into the place of the variable."""
    given = {}
    for name, parameter in question.parameters.items():
        text = more.get(name, parameter.default or parameter.example if parameter.required else None)
        if text is None:
            continue
        if parameter.type == "iri" and "term" not in parameter.kinds and not text.startswith("http"):
            kind = next((kind for kind in parameter.kinds if kind in KINDS), "article")
            text = base + (text if text.partition("/")[0] in KINDS else f"{kind}/{text}")
        given[name] = {"yes": "true", "no": "false"}.get(text, text) if parameter.type == "boolean" else text
    return given


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def asked_of_grlc(grlc: tuple[Any, Any], metadata: dict[str, Any], given: dict[str, str]) -> list[list[str]]:
    """The steps of grlc's `dispatchSPARQLQuery`, one by one, so that the file is parsed once and not for each answer."""
    from grlc import gquery

    utils, loader = grlc
    endpoint, authentication = gquery.guess_endpoint_uri(metadata["original_query"], loader)
    rewritten = gquery.rewrite_query(metadata["original_query"], metadata["parameters"], given)
    text, status, headers = utils._dispatchQuerySelect(
        "text/csv", None, rewritten, endpoint, authentication, {}, "POST"
    )
    assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8"), text
    return rows(text)


def asked_here(served: Server, question: Question, given: dict[str, str]) -> list[list[str]]:
    reply = served.get(f"questions/{question.id}.csv?{urlencode({**given, 'limit': '10000'})}")
    assert reply.status == 200, reply.text
    return rows(reply.text)


@each_question
def test_question_is_the_same_under_grlc(grlc: tuple[Any, Any], served: Server, question: Question) -> None:
    """Its header, its parameters, and its answers, with what is required alone and with everything given."""
    from grlc import gquery

    metadata = gquery.get_metadata(grlc[1].getTextForName(question.id)[0], "")
    assert metadata["summary"] == question.summary
    assert metadata["tags"] == list(question.tags)
    assert metadata["type"] == "SelectQuery"
    assert [str(variable) for variable in metadata["variables"]] == list(question.columns)
    found = metadata["parameters"]
    assert {name: parameter["required"] for name, parameter in found.items()} == {
        name: parameter.required for name, parameter in question.parameters.items()
    }
    for name, parameter in question.parameters.items():
        if parameter.default is not None:
            assert str(found[name]["default"]) in (parameter.default, {"no": "False"}.get(parameter.default))

    given = arguments(question, served.url)
    assert asked_of_grlc(grlc, metadata, given) == asked_here(served, question, given)

    more = {"asof": "2025-01-31", "retracted": "yes", "on": "2025-01-31"}
    more |= {p.name: p.example for p in question.parameters.values() if p.example and p.type == "iri"}
    given = arguments(question, served.url, **more)
    assert asked_of_grlc(grlc, metadata, given) == asked_here(served, question, given)


@each_question
def test_file_runs_as_it_is(served: Server, question: Question) -> None:
    """Without any value: a parameter that may be left out is a variable without one, and means the same as if left out."""
    reply = served.sparql(question.text)
    assert reply.status == 200, reply.text
    if not any(parameter.required for parameter in question.parameters.values()):
        assert rows(reply.text) == asked_here(served, question, {})


@each_question
def test_sample_of_the_catalogue_runs(served: Server, question: Question) -> None:
    assert served.sparql(sample(question, Base(served.url))).status == 200
