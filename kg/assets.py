"""Where the four declarative folders lie; the only module that knows.

In a source tree they stand beside the package, in an installed wheel inside it (`kg/_assets/`).
"""

from __future__ import annotations

import functools
from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "_assets"


@functools.cache
def folder(name: str) -> Path:
    """The folder `ontology`, `shapes`, `queries` or `seeds`, readable, as a path."""
    for root in (_PACKAGE.parent, _INSTALLED):
        if (root / name).is_dir() and (root / "ontology" / "ekg.ttl").is_file():
            return root / name
    raise FileNotFoundError(f"{name}/ is missing beside {_PACKAGE} and in {_INSTALLED}: the installation is broken")


def files(name: str, pattern: str) -> list[Path]:
    """The files of a folder that match a glob pattern (`**/*.ttl`), in the order of their names."""
    return sorted(path for path in folder(name).glob(pattern) if path.is_file())
