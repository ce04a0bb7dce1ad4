"""A tab of the browser that remembers what it was told and what it asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Visit:
    """A tab that remembers what it was told and what it asked for."""

    tab: Any
    here: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tab.on("console", self._console)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("requestfailed", self._failed)
        self.tab.on("request", self._request)

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # the browser's own doing, when the next page is opened meanwhile
            self.complaints.append(f"{request.url} failed: {request.failure}")

    def _console(self, message: Any) -> None:
        # Chromium logs a page of its own that comes with 4xx as an error; that status is what these pages are for.
        if message.type in ("error", "warning") and message.location["url"] != self.tab.url:
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _request(self, request: Any) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob") and not request.url.startswith(self.here):
            self.elsewhere.append(request.url)
