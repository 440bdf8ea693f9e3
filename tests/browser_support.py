"""A headless browser for tests of pages, and what axe-core finds in a page.

The browser is the machine's own Chromium (or the one that `KESHIKARAN_BROWSER` names); none is
downloaded. Where there is none, tests with `BROWSER_MARKS` are skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_OF_WEIGHT = {"serious", "critical"}
_PATIENCE_MS = 30_000
expect.set_options(timeout=_PATIENCE_MS)


@cache
def find_browser() -> str | None:
    """The path of a Chromium; None if this machine has none."""
    named = os.environ.get("KESHIKARAN_BROWSER")
    found = (shutil.which(name) for name in ([named] if named else _NAMES))
    return next((path for path in found if path), None)


BROWSER_MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(find_browser() is None, reason="this machine has no Chromium"),
]
"""For `pytestmark` of a file whose tests all drive a browser."""


def needs_browser(test: Any) -> Any:
    """Mark one test that drives a browser."""
    for mark in BROWSER_MARKS:
        test = mark(test)
    return test


@contextmanager
def headless() -> Iterator[Browser]:
    """A browser with a profile of its own, ended with the block.

    An event loop runs in this thread meanwhile: `asyncio.run` cannot be called in the block.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=_FLAGS, chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Browser, origin: str = "", **context: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page of an own profile, and the list of what went wrong in it.

    That is: errors and warnings on its console (so also what its content security policy refused),
    exceptions nobody caught, and requests that leave `origin`, which are not let out.

    Args:
        browser: where to open it.
        origin: the only place that it may ask, such as `http://127.0.0.1:8000`; "" for a page from
            a file, which may ask nothing.
        context: options of `Browser.new_context`.
    """
    troubles: list[str] = []

    def ask(route: Route) -> None:
        url = route.request.url
        if url.startswith(("blob:", "data:", "file:")) or (origin and url.startswith(origin + "/")):
            route.continue_()
        else:
            troubles.append(f"asked {url}")
            route.abort()

    opened = browser.new_context(**context)
    try:
        opened.route("**/*", ask)
        page = opened.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: troubles.append(f"threw {error}"))
        page.on(
            "console",
            lambda said: (
                troubles.append(f"{said.type}: {said.text}")
                if said.type in ("error", "warning")
                else None
            ),
        )
        yield page, troubles
    finally:
        opened.close()


def findings(page: Page, *, kinds: Sequence[str] = tuple(_OF_WEIGHT)) -> list[str]:
    """What axe-core holds against the page, one line an element.

    Args:
        page: as it is shown now.
        kinds: the impacts that count.
    """
    page.evaluate(_axe())
    found = page.evaluate("() => axe.run()")
    return [
        f"{violation['id']} ({violation['impact']}): {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in kinds
        for node in violation["nodes"]
    ]


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
