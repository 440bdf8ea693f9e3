"""The HTML report: one page that needs nothing beside it, and in which names are inert."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from keshikaran.errors import StoreError
from keshikaran.metrics import ScoredSet
from keshikaran.report import render_html, verdict_sentence, write_html_report
from keshikaran.store import Contradiction
from keshikaran.training import TrainingResult
from keshikaran.types import ImageId, Refusal
from report_support import content

_VOID = {"meta", "br", "hr", "img", "link", "input"}
_FETCHES = {"src", "href", "xlink:href", "srcset", "action", "formaction", "data", "poster"}
_ACTIVE = {"script", "iframe", "object", "embed", "form", "base", "link", "foreignobject"}
_HOSTILE = [
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "' onmouseover='alert(1).jpg",
    "{{ 7 * 7 }}.jpg",
    "a\x1b[31m\n\u202egpj.exe",
    "</td></table></body>",
]


@dataclass
class _Page(HTMLParser):
    """Reads a page strictly: every element that opens closes, in order."""

    open: list[str] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.extend((tag, name, value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.rows and self.open and self.open[-1] in {"td", "th"}:
            self.rows[-1].append(data)


def _read(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def hostile() -> str:
    refusals = [Refusal(name, "import", "not_an_image", f"found {name}") for name in _HOSTILE]
    contradiction = Contradiction(
        ImageId("ab" * 32), acceptable=(_HOSTILE[0],), objectionable=(_HOSTILE[1], _HOSTILE[2])
    )
    return render_html(content(refusals, [contradiction], {"policy": _HOSTILE[0]}))


@pytest.fixture(scope="module")
def plain() -> str:
    return render_html(content())


def test_page_is_well_formed_and_has_each_part(plain: str) -> None:
    page = _read(plain)
    assert {"html", "head", "body", "table", "svg"} <= page.tags
    text = " ".join(page.text)
    for part in ("How good is this model?", "Figures", "Images", "Settings", "quadrants"):
        assert part in text


def test_real_report_of_a_training_is_well_formed_and_small(trained: TrainingResult) -> None:
    data = trained.report_path.read_bytes()
    assert len(data) < 5_000_000
    page = _read(data.decode())
    assert trained.model_id in " ".join(page.text)


def test_page_fetches_nothing_and_runs_nothing(hostile: str) -> None:
    page = _read(hostile)
    assert not page.tags & _ACTIVE
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in _FETCHES:
            assert value.startswith(("#", "data:image/png;")), (tag, name, value)
        if not name.startswith("xmlns"):
            assert "://" not in value, (tag, name, value)
    style = re.findall(r"url\(([^)]*)\)|(@import)", hostile)
    assert all(target.startswith("#") for target, _ in style)
    # Names of XML vocabularies are addresses in form only: nothing fetches them.
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", hostile)
    assert "https://" not in hostile


def test_page_forbids_the_browser_to_fetch_anything(plain: str) -> None:
    page = _read(plain)
    policies = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert any("default-src 'none'" in policy for policy in policies)


def test_hostile_file_names_are_shown_and_inert(hostile: str) -> None:
    page = _read(hostile)
    assert "script" not in page.tags
    assert "img" not in page.tags
    text = "".join(page.text)
    for name in _HOSTILE:
        assert name in text
    assert "49.jpg" not in text


def test_each_refusal_is_listed_with_stage_and_reason() -> None:
    refusals = [
        Refusal("in/half.jpg", "decode", "truncated", "the JPEG data ends"),
        Refusal("in/text.jpg", "import", "not_an_image", "no image format"),
    ]
    page = _read(render_html(content(refusals)))
    assert ["in/half.jpg", "decode", "truncated", "the JPEG data ends"] in page.rows
    assert ["in/text.jpg", "import", "not_an_image", "no image format"] in page.rows
    assert "Not used: 2 files that could not be read" in " ".join(page.text)


def test_long_list_of_refusals_says_where_the_rest_is() -> None:
    refusals = [Refusal(f"{n}.jpg", "import", "empty_file", "no bytes") for n in range(250)]
    text = " ".join(_read(render_html(content(refusals))).text)
    assert "Not used: 250 files" in text
    assert "199.jpg" in text
    assert "200.jpg" not in text
    assert "skipped.csv in the workspace lists all" in text


def test_nothing_is_said_of_refusals_when_there_are_none(plain: str) -> None:
    text = " ".join(_read(plain).text)
    assert "Not used" not in text


def test_contradictions_name_both_sides_and_the_way_out() -> None:
    item = Contradiction(ImageId("cd" * 32), ("plain/1.jpg", "plain/2.jpg"), ("bad/1.jpg",))
    page = _read(render_html(content(contradictions=[item])))
    assert ["cdcdcdcdcdcd", "plain/1.jpg, plain/2.jpg", "bad/1.jpg"] in page.rows
    assert "keshikaran label" in " ".join(page.text)


def test_sentence_counts_what_the_confusion_matrix_counts() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0], dtype=np.int8)
    scores = np.array([0.9, 0.6, 0.1, 0.8, 0.5, 0.2, 0.1])
    ids = [ImageId(f"{number:064x}") for number in range(7)]
    shown = content(test=ScoredSet(ids, labels, scores))
    assert shown.evaluation.test.confusion_matrix == [[3, 1], [1, 2]]
    sentence = verdict_sentence(shown)
    assert sentence == (
        "On 7 test images that took no part in training, it finds 2 of 3 objectionable ones at"
        " the block threshold and blocks 1 of 4 acceptable ones by mistake."
    )
    assert sentence in " ".join(_read(render_html(shown)).text)


def test_table_shows_the_figures_of_both_sides(plain: str) -> None:
    shown = content()
    rows = {row[0]: row[1:] for row in _read(plain).rows if row}
    test, validation = shown.evaluation.test, shown.evaluation.validation
    assert validation is not None
    assert rows["images"] == ["30", "46"]
    assert rows["roc_auc"] == [f"{validation.roc_auc:.4f}", f"{test.roc_auc:.4f}"]
    assert rows["f1"] == [f"{validation.f1:.4f}", f"{test.f1:.4f}"]
    assert rows["train"] == ["150", "75"]


def test_drawings_are_sound_svg(plain: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", plain, re.DOTALL)
    assert len(svgs) == 4
    for svg in svgs:
        assert len(list(ElementTree.fromstring(svg).iter())) > 20


def test_page_is_written_to_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "model.html"
    write_html_report(path, content())
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [other.name for other in path.parent.iterdir()] == ["model.html"]


def test_folder_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"model\.html could not be written"):
        write_html_report(tmp_path / "reports" / "model.html", content())
