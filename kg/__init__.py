"""An event knowledge graph: who said what happened, on whose word, when, and with which evidence.

`kg.connect(url_or_directory)` asks one from Python.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kg.client import connect as connect

__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Made when first asked for: every process of the service imports this package and few of them are clients.
    if name == "connect":
        return importlib.import_module("kg.client").connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
