"""Scripts, styles and outlines that the pages use: our own in `static/`, those of others in `ui/built/`, where the installation put them.

Hides where files lie. Promises that an address holds the digest of what is sent from it, so that browsers may keep it for ever, and
that a library which is not installed has no address, so that a page knows to do without.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, redirect, request

from kg.errors import NotFound

_OURS = Path(__file__).parent / "static"
BUILT = Path(__file__).parent / "ui" / "built"

_FOLDER = "static/lib/"


@dataclass(frozen=True)
class Library:
    """A library of others that pages use: its name, version, licence, home page, files, and the file with the licence's text."""

    name: str
    version: str
    licence: str
    home: str
    files: tuple[str, ...]
    terms: str | None


def blueprint(home: str) -> Blueprint:
    """The route `/static/lib/{name}.{digest}.{ext}`; `home` is the path of the first page."""
    routes = Blueprint("libraries", __name__)

    @routes.get(f"/{_FOLDER}<name>")
    def file(name: str) -> Response:
        stem, _, extension = name.rpartition(".")
        plain = f"{stem.rpartition('.')[0]}.{extension}"
        current = address(plain, home)
        if current is None:
            raise NotFound(f"there is no file {name[:80]}")
        if not current.endswith("/" + name):  # a page from before the last installation asks for what was there then
            response: Response = redirect(current)  # type: ignore[assignment]
            response.headers["Cache-Control"] = "no-store"
            return response
        content, digest = _content(path := _path(plain), _changed(path))
        response = Response(content, mimetype=mimetypes.guess_type(plain)[0] or "application/octet-stream")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.set_etag(digest)
        return response.make_conditional(request)  # type: ignore[return-value]

    return routes


def address(name: str, home: str) -> str | None:
    """Where browsers find a file by its plain name, such as `vega.js`; None if it is not there."""
    path = _path(name)
    if path is None:
        return None
    stem, _, extension = name.rpartition(".")
    return f"{home}{_FOLDER}{stem}.{_content(path, _changed(path))[1]}.{extension}"


def outlines(name: str) -> Any:
    """The countries of the world as TopoJSON (`countries-110m.json` or `countries-50m.json`); None if they are not there."""
    path = BUILT / name
    return json.loads(path.read_bytes()) if path.is_file() else None


#: What pages do without.
PLAINER = "SPARQL is written in a plain field, the answers of questions come without charts, and maps have no outlines of countries"


@functools.cache
def installed() -> tuple[Library, ...]:
    """The libraries of others that are there."""
    try:
        manifest = json.loads((BUILT / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    found = []
    for entry in manifest["libraries"]:
        files = tuple(file["name"] for file in entry["files"] if _path(file["name"]) is not None)
        if files:
            about = {field: entry[field] for field in ("name", "version", "licence", "home")}
            found.append(Library(**about, files=files, terms=entry.get("terms")))
    return tuple(found)


def _path(name: str) -> Path | None:
    if "/" in name or name.startswith(".") or name == "manifest.json":
        return None
    return next((folder / name for folder in (_OURS, BUILT) if (folder / name).is_file()), None)


def _changed(path: Path | None) -> int:
    return 0 if path is None else path.stat().st_mtime_ns


@functools.lru_cache(maxsize=64)
def _content(path: Path | None, changed: int) -> tuple[bytes, str]:
    """What a file holds and the beginning of its digest; `changed` is when it last was."""
    assert path is not None
    content = path.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]
