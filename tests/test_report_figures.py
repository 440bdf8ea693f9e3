"""The drawings of a report: what is placed where."""

from __future__ import annotations

from itertools import pairwise

import pytest

from keshikaran.evaluation import EvaluationReport
from keshikaran.report.figures import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Line,
    confusion_figure,
    precision_recall_figure,
    report_figures,
    roc_figure,
    score_figure,
)
from report_support import content


@pytest.fixture(scope="module")
def evaluation() -> EvaluationReport:
    return content().evaluation


def _path(line: Line) -> list[tuple[float, float]]:
    numbers = [float(number) for number in line.points.replace(",", " ").split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_roc_climbs_from_the_lower_left_to_the_upper_right(evaluation: EvaluationReport) -> None:
    curve = _path(roc_figure(evaluation).lines[-1])
    assert curve[0] == pytest.approx((LEFT, BOTTOM))
    assert curve[-1] == pytest.approx((RIGHT, TOP))
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in pairwise(curve))


def test_the_dot_lies_on_each_curve(evaluation: EvaluationReport) -> None:
    for figure in (roc_figure(evaluation), precision_recall_figure(evaluation)):
        assert figure.dot is not None
        x, y = figure.dot
        near = [
            min(a[0], b[0]) - 0.2 <= x <= max(a[0], b[0]) + 0.2
            and min(a[1], b[1]) - 0.2 <= y <= max(a[1], b[1]) + 0.2
            for a, b in pairwise(_path(figure.lines[-1]))
        ]
        assert any(near), figure.title


def test_bars_of_scores_count_every_test_image(evaluation: EvaluationReport) -> None:
    counts = [int(bar.words.split()[0].replace(",", "")) for bar in score_figure(evaluation).bars]
    assert sum(counts) == evaluation.test.images
    named = [bar.words.split()[1].strip(",") for bar in score_figure(evaluation).bars]
    assert set(named) == {"acceptable", "objectionable"}


def test_a_fuller_bar_is_higher(evaluation: EvaluationReport) -> None:
    bars = score_figure(evaluation).bars
    by_count = sorted(bars, key=lambda bar: int(bar.words.split()[0].replace(",", "")))
    assert [bar.height for bar in by_count] == sorted(bar.height for bar in bars)
    assert by_count[-1].y == pytest.approx(TOP)


def test_confusion_names_each_cell(evaluation: EvaluationReport) -> None:
    figure = confusion_figure(evaluation)
    (tn, fp), (fn, tp) = evaluation.test.confusion_matrix
    words = " ".join(bar.words for bar in figure.bars)
    for count, people, model in (
        (tn, "acceptable", "acceptable"),
        (fp, "acceptable", "objectionable"),
        (fn, "objectionable", "acceptable"),
        (tp, "objectionable", "objectionable"),
    ):
        assert f"{count:,} {people} images are called {model}" in words
    assert [note.words for note in figure.notes][::2] == [f"{n:,}" for n in (tn, fp, fn, tp)]


def test_nothing_is_drawn_outside_the_frame(evaluation: EvaluationReport) -> None:
    for figure in report_figures(evaluation):
        for line in figure.lines:
            assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in _path(line))
        for bar in figure.bars:
            assert LEFT <= bar.x <= bar.x + bar.width <= RIGHT + 0.1
            assert TOP - 0.1 <= bar.y <= bar.y + bar.height <= BOTTOM + 0.1
