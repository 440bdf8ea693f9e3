"""The HTML report: one page that needs nothing beside it, and in which names are inert."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from keshikaran.compare import compare
from keshikaran.comparison import Entrant, Ground
from keshikaran.errors import StoreError
from keshikaran.evaluate import Terms, evaluate
from keshikaran.evaluation import SliceFigures
from keshikaran.inert import printable
from keshikaran.intervals import wilson
from keshikaran.metrics import ScoredSet
from keshikaran.policy import Policy
from keshikaran.promises import judge_false_positive_rate, judge_recall
from keshikaran.report import (
    AuditCounts,
    Picture,
    counted_sentence,
    places,
    render_html,
    report_document,
    verdict_sentence,
    write_html_report,
)
from keshikaran.report.html import MOST_SHOWN
from keshikaran.store import Contradiction
from keshikaran.training import TrainingResult
from keshikaran.types import GroupId, ImageId, Refusal, Thresholds, verdict_of
from report_support import TERMS, THRESHOLDS, content, scored

_VOID = {"meta", "br", "hr", "img", "link", "input"}
_FETCHES = {"src", "href", "xlink:href", "srcset", "action", "formaction", "data", "poster"}
_ACTIVE = {"iframe", "object", "embed", "form", "base", "link", "foreignobject"}
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
    for part in ("How good is this model?", "Figures", "Model card", "Settings", "quadrants"):
        assert part in text


def test_real_report_of_a_training_is_well_formed_and_small(trained: TrainingResult) -> None:
    data = trained.report_path.read_bytes()
    assert len(data) < 5_000_000
    page = _read(data.decode())
    assert trained.model_id in " ".join(page.text)


def test_page_fetches_nothing_and_runs_nothing(hostile: str) -> None:
    page = _read(hostile)
    assert not page.tags & _ACTIVE
    scripts = re.findall(r"<script>(.*?)</script>", hostile, re.DOTALL)
    assert len(scripts) == hostile.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in hostile
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in _FETCHES:
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, name, value)
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
    text = "".join(_read(hostile).text)
    for name in _HOSTILE:
        assert printable(name) in text
        assert name in text or not name.isprintable()
    assert "49.jpg" not in text
    assert "<img" not in hostile
    assert "onerror=" not in re.sub(r"&[^;]+;.*?&[^;]+;", "", hostile)


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
    sentence = counted_sentence(shown)
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
    assert rows["roc auc"][:2] == [f"{validation.roc_auc:.4f}", f"{test.roc_auc:.4f}"]
    area = shown.evaluation.intervals["roc_auc"]
    assert rows["roc auc"][2] == f"{area.low:.4f} to {area.high:.4f}"
    assert rows["f1"][:2] == [f"{validation.f1:.4f}", f"{test.f1:.4f}"]
    assert "needs 2,995 acceptable images, has 31" in rows["recall at 0.1% false positives"][2]
    assert rows["train"] == ["150", "75"]


def test_drawings_are_sound_svg(plain: str) -> None:
    svgs = re.findall(r"<svg viewBox=\"0 0 .*?</svg>", plain, re.DOTALL)
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


# What it says


def test_verdict_tells_a_day_under_the_policy() -> None:
    labels = np.array([1] * 20 + [0] * 80, dtype=np.int8)
    scores = np.array([0.9] * 16 + [0.3] * 3 + [0.1] + [0.7] * 4 + [0.3] * 8 + [0.1] * 68)
    ids = [ImageId(f"{number:064x}") for number in range(100)]
    terms = Terms(THRESHOLDS, prevalence=0.01, label_prevalence=0.2, uploads_per_day=10_000)
    found = evaluate(None, ScoredSet(ids, labels, scores), terms)
    assert verdict_sentence(replace(content(), evaluation=found)) == (
        "Of 10,000 uploads a day, 100 of them objectionable, it blocks 575 (495 by mistake),"
        " sends 1,005 to a person, and lets 5 objectionable ones pass."
    )


def test_equal_thresholds_send_nobody_to_a_person() -> None:
    same = evaluate(None, scored(46, 2), replace(TERMS, thresholds=Thresholds(0.5, 0.5)))
    assert "sends none to a person" in verdict_sentence(replace(content(), evaluation=same))


def test_promises_say_what_holds_and_which_labels_are_missing() -> None:
    held = judge_recall(577, 597, 0.95, 0.95)
    missing = judge_false_positive_rate(0, 100, 0.01, 0.95)
    shown = replace(content(), evaluation=replace(content().evaluation, promises=(held, missing)))
    text = " ".join(_read(render_html(shown)).text)
    assert "1 of 2 demands of the policy can be promised; missing: at least 199 more" in text
    assert "too few labels" in text
    assert held.words in text
    both = replace(shown, evaluation=replace(shown.evaluation, promises=(held,)))
    assert "All demands of the policy can be promised." in render_html(both)
    assert "demands nothing" in render_html(content())


def test_cautions_stand_at_the_top() -> None:
    noise = ScoredSet(
        [ImageId(f"{number:064x}") for number in range(20)],
        np.array([0, 1] * 10, dtype=np.int8),
        np.linspace(0, 1, 20),
    )
    leaks = AuditCounts(3, 2, 9, 0, 0, 1, 4, None)
    odd = SliceFigures(
        "format", "<b>gif</b>", 9, 3, wilson(1, 3), wilson(1, 6), None, "recall is lower"
    )
    shown = content(test=noise, foreign=True, audit=leaks)
    shown = replace(shown, evaluation=replace(shown.evaluation, slices=(odd,)))
    page = render_html(shown)
    text = " ".join(_read(page).text)
    for words in (
        "trained under another split",
        "no better than chance",
        "only 10 objectionable test images",
        "3 images outside the test set",
        "format <b>gif</b>: recall is lower",
        "far off",
    ):
        assert words in text
    assert "<b>gif" not in page
    assert "took no part in training" not in text


def test_audit_counts_and_what_was_left_out_are_shown_with_their_commands() -> None:
    shown = content(audit=AuditCounts(1, 2, 9, 3, 4, 5, 6, 7), where=" --workspace w")
    rows = {row[0]: row[1] for row in _read(render_html(shown)).rows if len(row) > 1}
    names = "leaks,duplicate groups,contradictions,contradictory groups,set aside,tiny slices"
    assert [rows[name] for name in names.split(",")] == list("123456")
    assert rows["labels to check"] == "7"
    without = render_html(replace(shown, audit=AuditCounts(1, 2, 9, 3, 4, 5, 6, None)))
    assert "keshikaran report --workspace w" in without
    assert "keshikaran audit" in render_html(content())


def test_rivals_stand_in_a_table_and_are_told_in_words() -> None:
    labels = np.tile(np.array([0, 1, 0], dtype=np.int8), 60)
    groups = [GroupId(str(number)) for number in range(len(labels))]
    ground = Ground(labels, groups, labels, groups, Policy(), 0.3)
    yours = np.clip(0.2 + 0.5 * labels + np.linspace(-0.2, 0.2, len(labels)), 0, 1)
    fields = ("1.0", "MIT", "a guess")
    mine = Entrant("mine", *fields, "probability", yours, yours)
    rival = Entrant("<i>peer</i>", *fields, "probability", yours[::-1], yours[::-1])
    found = compare(ground, mine, rival)
    page = render_html(content(comparisons=[found]))
    names = [row[0] for row in _read(page).rows if row]
    assert "this model" in names
    assert "<i>peer</i> 1.0" in names
    assert "<i>peer" not in page
    assert found.words in " ".join(_read(page).text)
    told = report_document(content(comparisons=[found]))["comparisons"]
    assert [one["name"] for one in told] == ["<i>peer</i>"]


# Its images


def _cells(page: str) -> dict[str, set[str]]:
    """Class of cell → ids of its images."""
    found: dict[str, set[str]] = {}
    for cell, image_id in re.findall(r'class="img k([\w-]+)[^"]*" data-id="(\w+)"', page):
        found.setdefault(cell, set()).add(image_id)
    return found


def test_every_test_image_is_in_the_cell_where_it_belongs() -> None:
    shown = content()
    test, found = shown.evaluation.test_set, _cells(render_html(shown))
    assert sum(map(len, found.values())) == 46
    for image_id, label, score in zip(test.image_ids, test.y_true, test.y_score, strict=True):
        assert image_id in found[f"{label}-{verdict_of(score, THRESHOLDS)}"]


def test_pictures_are_shown_with_score_label_and_a_command_that_corrects_it() -> None:
    shown = content(where=" --workspace 'my ws'")
    first = shown.evaluation.test_set.image_ids[0]
    pictures = {first: Picture("in/<b>.jpg", b"\xff\xd8 a picture", (160, 90))}
    page = render_html(replace(shown, pictures=pictures))
    assert page.count("<img ") == 1
    assert 'width="160" height="90"' in page
    assert "in/&lt;b&gt;.jpg" in page
    value = 1 - int(shown.evaluation.test_set.y_true[0])
    assert f"keshikaran label {first[:16]} --value {value} --workspace" in page


def test_large_test_set_keeps_the_page_small_and_says_what_is_left_out() -> None:
    many = scored(3 * MOST_SHOWN, 5)
    shown = content(test=many)
    picture = Picture("x.jpg", b"\xff\xd8" + bytes(40_000), (160, 160))
    page = render_html(replace(shown, pictures=dict.fromkeys(many.image_ids, picture)))
    assert len(page) < 5_000_000
    assert sum(map(len, _cells(page).values())) == MOST_SHOWN
    assert 'class="thumb"' in page
    assert f"{2 * MOST_SHOWN:,} test images are not listed" in page
    worst = {place.image_id for place in places(shown.evaluation) if place.worst}
    assert worst <= set().union(*_cells(page).values())
    without = page.split('class="missing"')
    assert f"{len(without) - 1:,} of the images listed have no picture" in page
