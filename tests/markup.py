"""What markup says to somebody who reads it."""

from __future__ import annotations

import html
import re


def text(markup: str) -> str:
    """What markup says, without tags, on one line."""
    return re.sub(r" ([,.;:])", r"\1", " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split()))
