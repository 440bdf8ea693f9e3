"""The report in a browser: nothing asked, nothing wrong, and each cell shows exactly its images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from browser_support import findings, headless, needs_browser, watched
from keshikaran.metrics import ScoredSet
from keshikaran.report import Picture, ReportContent, render_html
from keshikaran.report.gallery import BANDS
from keshikaran.training import TrainingResult
from keshikaran.types import ImageId, verdict_of
from report_support import THRESHOLDS, content
from support import encode, reddish

_BELOW = {"review": {"pass"}, "block": {"pass", "review"}}


@pytest.fixture(scope="module")
def shown() -> ReportContent:
    """Images in all six cells, with pictures but for the last."""
    ids = [ImageId(f"{number:064x}") for number in range(60)]
    labels = np.tile(np.array([0, 1], dtype=np.int8), 30)
    found = content(test=ScoredSet(ids, labels, np.linspace(0.005, 0.995, 60)))
    pictures = {
        image_id: Picture(f"in/{number}.jpg", encode(reddish(number), "JPEG"), (64, 64))
        for number, image_id in enumerate(ids[:-1])
    }
    return replace(found, pictures=pictures)


@pytest.fixture(scope="module")
def file(shown: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(shown), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as opened:
        yield opened


def _visible(page: Page) -> set[str]:
    script = "all => all.filter(e => e.checkVisibility()).map(e => e.dataset.id)"
    found: list[str] = page.eval_on_selector_all(".img", script)
    return set(found)


def _expected(shown: ReportContent) -> dict[str, set[str]]:
    """Name of a choice → the images it must show, worked out anew."""
    test = shown.evaluation.test_set
    cells: dict[str, set[str]] = {}
    for image_id, label, score in zip(test.image_ids, test.y_true, test.y_score, strict=True):
        band = verdict_of(score, THRESHOLDS)
        cells.setdefault(f"{label}-{band}", set()).add(image_id)
        for threshold, below in _BELOW.items():
            side = "below" if band in below else "above"
            cells.setdefault(f"{threshold}-{label}-{side}", set()).add(image_id)
    return cells


@needs_browser
def test_a_click_on_each_cell_shows_exactly_its_images(
    browser: Browser, file: Path, shown: ReportContent
) -> None:
    expected = _expected(shown)
    assert {f"{label}-{band}" for label in (0, 1) for band in BANDS} <= set(expected)
    assert len(expected) == 14
    with watched(browser) as (page, troubles):
        page.goto(file.as_uri())
        for name, ids in expected.items():
            cell = page.locator(f"label:has(#s-{name})")
            assert cell.locator("b").inner_text() == str(len(ids))
            cell.click()
            assert _visible(page) == ids, name
            told = [line for line in page.locator(".says").all() if line.is_visible()]
            assert [line.inner_text().split()[0] for line in told] == [str(len(ids))]
        assert troubles == []


@needs_browser
def test_cells_work_from_the_keyboard_and_without_script(
    browser: Browser, file: Path, shown: ReportContent
) -> None:
    expected = _expected(shown)
    with watched(browser, java_script_enabled=False) as (page, troubles):
        page.goto(file.as_uri())
        page.locator("#s-worst").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.locator("#s-every").is_checked()
        page.keyboard.press("ArrowDown")
        first = page.locator("#s-0-pass")
        assert first.is_checked()
        seen = {item.get_attribute("data-id") for item in page.locator(".img:visible").all()}
        assert seen == expected["0-pass"]
        assert troubles == []


@needs_browser
def test_pictures_are_blurred_until_somebody_asks(browser: Browser, file: Path) -> None:
    blur = "e => getComputedStyle(e).filter"
    with watched(browser) as (page, troubles):
        page.goto(file.as_uri())
        page.locator("label:has(#s-every)").click()
        picture, other = page.locator(".thumb img").nth(0), page.locator(".thumb img").nth(1)
        assert picture.evaluate(blur) == other.evaluate(blur) == "blur(14px)"
        page.locator(".thumb input").nth(0).check()
        page.mouse.move(0, 0)
        assert picture.evaluate(blur) == "none"
        assert other.evaluate(blur) == "blur(14px)"
        page.locator("#all").check()
        assert other.evaluate(blur) == "none"
        assert troubles == []


@needs_browser
def test_report_of_a_training_opens_clean_in_light_dark_and_on_a_phone(
    browser: Browser, trained: TrainingResult, file: Path
) -> None:
    for where in (trained.report_path, file):
        for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
            size = {"width": width, "height": 800}
            with watched(browser, viewport=size, color_scheme=scheme) as (page, troubles):
                page.goto(where.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                if width == 360 or where == file:
                    assert findings(page) == []
                assert troubles == []
