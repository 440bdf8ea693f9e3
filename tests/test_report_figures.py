"""The drawings of a report: what is placed where."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest

from keshikaran.evaluation import EvaluationReport
from keshikaran.learning_curve import CurvePoint, FigureCurve, Forecast, LearningCurve
from keshikaran.report.figures import (
    Figure,
    learning_figure,
    precision_recall_figure,
    reliability_figure,
    report_figures,
    roc_figure,
    score_figure,
)
from keshikaran.report.figures.drawing import BOTTOM, LEFT, RIGHT, TOP, x_of, y_of
from report_support import content

_POINTS = tuple(
    CurvePoint(labels, value, value - 0.1, value + 0.05)
    for labels, value in ((100, 0.6), (200, 0.7), (400, 0.8))
)
_AHEAD = (Forecast(100, 0.82, 0.84, 0.7, 0.9), Forecast(300, 0.82, 0.86, 0.7, 0.95))
CURVE = LearningCurve(
    labels=500,
    judged_on=450,
    positives=90,
    false_positive_rate=0.05,
    recall=FigureCurve(_POINTS, _AHEAD),
    roc_auc=FigureCurve(_POINTS, _AHEAD),
)


@pytest.fixture(scope="module")
def evaluation() -> EvaluationReport:
    found = content().evaluation
    return replace(found, uncalibrated=found.calibration)


def _path(points: str) -> list[tuple[float, float]]:
    numbers = [float(number) for number in points.replace(",", " ").split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _places(figure: Figure) -> Iterable[tuple[float, float]]:
    for points in [drawn.points for drawn in figure.areas] + [d.points for d in figure.lines]:
        yield from _path(points)
    for dot in figure.dots:
        yield from ((dot.x, dot.y), (dot.x, dot.top), (dot.x, dot.bottom))
    for bar in figure.bars:
        yield from ((bar.x, bar.y), (bar.x + bar.width, bar.y + bar.height))


def test_roc_climbs_from_left_to_right_over_a_logarithmic_axis(
    evaluation: EvaluationReport,
) -> None:
    figure = roc_figure(evaluation)
    curve = _path(figure.lines[0].points)
    assert curve[0][0] == LEFT
    assert curve[-1] == pytest.approx((RIGHT, TOP))
    assert all(a[0] <= b[0] and a[1] >= b[1] for a, b in pairwise(curve))
    ticks = {tick.words: tick.at for tick in figure.x_ticks}
    least = 0.5 / evaluation.curve.acceptable
    assert ticks["100%"] == RIGHT
    assert ticks["10%"] == x_of(1 - math.log10(0.1) / math.log10(least))


def test_curves_lie_within_their_bands(evaluation: EvaluationReport) -> None:
    for figure in (roc_figure(evaluation), precision_recall_figure(evaluation)):
        band = _path(figure.areas[0].points)
        half = len(band) // 2
        upper, lower = band[:half], band[half:][::-1]
        line = _path(figure.lines[0].points)
        assert len(line) == half
        for (_, high), (_, value), (_, low) in zip(upper, line, lower, strict=True):
            assert high <= value <= low


def test_thresholds_are_dots_on_both_curves(evaluation: EvaluationReport) -> None:
    block, review = roc_figure(evaluation).dots
    assert block.y == y_of(evaluation.operating.block.recall.value or 0)
    assert review.y == y_of(evaluation.operating.review.recall.value or 0)
    assert review.hollow
    assert not block.hollow
    on_precision = precision_recall_figure(evaluation).dots[0]
    assert on_precision.y == y_of(evaluation.operating.block.precision.value or 0)


def test_reliability_shows_every_bin_before_and_after(evaluation: EvaluationReport) -> None:
    figure = reliability_figure(evaluation)
    now = [dot for dot in figure.dots if not dot.hollow]
    before = [dot for dot in figure.dots if dot.hollow]
    assert len(now) == len(before) == len(evaluation.calibration.reliability)
    assert all(dot.top <= dot.y <= dot.bottom for dot in now)
    assert "before calibration" in figure.words
    alone = reliability_figure(replace(evaluation, uncalibrated=None))
    assert [dot for dot in alone.dots if dot.hollow] == []
    assert "before" not in alone.words


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


def test_cuts_stand_where_the_thresholds_are(evaluation: EvaluationReport) -> None:
    review, block = score_figure(evaluation).lines
    assert {x for x, _ in _path(review.points)} == {x_of(evaluation.thresholds.review)}
    assert {x for x, _ in _path(block.points)} == {x_of(evaluation.thresholds.block)}


def test_learning_curve_goes_on_where_more_labels_are_expected() -> None:
    figure = learning_figure(CURVE)
    measured, expected = (_path(line.points) for line in figure.lines)
    assert expected[0] == measured[-1]
    assert [x for x, _ in expected[1:]] == [x_of(600 / 800), x_of(1)]
    assert figure.lines[1].dashed
    assert "0.800 with 400" in figure.words
    assert "300 more than now" in figure.words


def test_nothing_is_drawn_outside_the_frame(evaluation: EvaluationReport) -> None:
    figures = report_figures(evaluation, CURVE)
    assert len(figures) == 5
    for figure in figures:
        for x, y in _places(figure):
            assert LEFT <= x <= RIGHT + 0.1, figure.title
            assert TOP - 0.1 <= y <= BOTTOM + 0.1, figure.title
