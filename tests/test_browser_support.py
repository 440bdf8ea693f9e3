"""The browser that tests of pages drive: it is ours, it is watched, and it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser_support import find_browser, findings, headless, needs_browser, watched

_PAGE = """<!doctype html><html lang="en"><title>t</title><main><h1>Hello</h1>
<img src="picture.png" {alt}><p style="color:{colour};background:#fff">Words</p></main>"""


def _children() -> set[str]:
    """Processes that are ours or our children's."""
    found, todo = set[str](), ["self"]
    while todo:
        for tasks in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            new = set(tasks.read_text().split()) - found
            found |= new
            todo += new
    return found


@needs_browser
def test_browser_shows_a_page_and_axe_finds_what_is_wrong_with_it(tmp_path: Path) -> None:
    before = _children()
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(_PAGE.format(alt='alt="a dog"', colour="#222"))
    bad.write_text(_PAGE.format(alt="", colour="#ddd"))
    (tmp_path / "picture.png").write_bytes(b"")
    with headless() as browser, watched(browser) as (page, troubles):
        page.goto(good.as_uri())
        assert page.inner_text("h1") == "Hello"
        assert findings(page) == []
        page.goto(bad.as_uri())
        assert {line.split()[0] for line in findings(page)} == {"color-contrast", "image-alt"}
        assert troubles == []
        assert _children() > before
    assert _children() == before


@needs_browser
def test_requests_to_elsewhere_and_errors_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    script = """<script>
        const picture = new Image();
        picture.onerror = () => { document.title = "refused"; };
        picture.src = "http://elsewhere.test/a.png";
        missing();
    </script>"""
    file.write_text(f"<!doctype html><title>t</title>{script}")
    with headless() as browser, watched(browser) as (page, troubles):
        page.goto(file.as_uri())
        expect(page).to_have_title("refused")
    assert "asked http://elsewhere.test/a.png" in troubles
    assert any(line.startswith("threw") and "missing" in line for line in troubles)


def test_browser_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KESHIKARAN_BROWSER", "no-such-browser")
    find_browser.cache_clear()
    try:
        assert find_browser() is None
        monkeypatch.setenv("KESHIKARAN_BROWSER", "sh")
        find_browser.cache_clear()
        assert (find_browser() or "").endswith("/sh")
    finally:
        monkeypatch.undo()
        find_browser.cache_clear()
