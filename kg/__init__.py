"""An event knowledge graph: who said what happened, on whose word, when, and with which evidence."""

__version__ = "0.1.0"
