"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kg.web import libraries

sync_api = pytest.importorskip("playwright.sync_api", reason="there is no Playwright here: pip install playwright")

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, the rules of accessibility as a script; the test injects it, the pages know nothing of it."""
    script = libraries.BUILT / "tests" / "axe.js"
    if not script.exists():
        pytest.skip(
            "axe-core is not installed: install with `pip install -e .[test]` where npm's registry can be reached"
        )
    return script.read_text("utf-8")


@pytest.fixture
def without_scripts(browser: Any) -> Iterator[Any]:
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()
