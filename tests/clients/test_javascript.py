"""RDF libraries of JavaScript, jsonld.js and N3.js, as their users run them under Node.

They come from npm in the versions of `package-lock.json`, into a directory outside this tree that later runs find again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pyoxigraph as ox
import pytest
from serving import Server

HERE = Path(__file__).resolve().parent

#: Where packages are kept between runs.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kg-tests"

DOCUMENTS = (
    "article/russia-admits-north-korean-soldiers",
    "actor/valery-gerasimov",
    "place/kursk-region",
    "agreement/russia-north-korea-partnership",
)


@pytest.fixture(scope="session")
def packages() -> Path:
    """The directory with the packages in it, installed by `npm ci` where there is none of this lock file yet."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no node or npm here: apt-get install nodejs npm")
    place = CACHE / f"clients-{hashlib.sha256((HERE / 'package-lock.json').read_bytes()).hexdigest()[:16]}"
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=CACHE, prefix="building-"))
        try:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, building)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
            done = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                pytest.skip(f"npm cannot install what this needs: {done.stderr.strip()[-300:]}")
            if not place.is_dir():  # another process may have been faster
                building.rename(place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return place


@pytest.mark.parametrize("path", DOCUMENTS)
def test_json_ld_and_turtle_say_the_same_to_two_libraries(served: Server, packages: Path, path: str) -> None:
    """Each in its own reading, canonised by jsonld.js, and again by the store that the service runs on."""
    command = ["node", str(HERE / "read.cjs"), str(packages), served.url + path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["turtle"]["type"] == "text/turtle; charset=utf-8"
    assert read["turtle"]["canonical"] == read["jsonld"]["canonical"]
    lines = read["turtle"]["canonical"].splitlines()
    assert lines == sorted(lines)
    ours = served.get(path + ".nt").body
    assert canonised(read["turtle"]["canonical"].encode()) == canonised(ours)
    assert len(lines) == len(ours.splitlines()) > 3


def canonised(triples: bytes) -> ox.Dataset:
    found = ox.Dataset(ox.parse(triples, format=ox.RdfFormat.N_QUADS))
    found.canonicalize(ox.CanonicalizationAlgorithm.RDFC_1_0)
    return found
