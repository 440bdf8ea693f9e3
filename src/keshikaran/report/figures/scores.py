"""How scores are spread, and what they are worth as probabilities."""

from __future__ import annotations

import numpy as np

from keshikaran.calibration_figures import CalibrationFigures
from keshikaran.evaluation import EvaluationReport
from keshikaran.report.figures.drawing import (
    BOTTOM,
    LEFT,
    RIGHT,
    Bar,
    Dot,
    Figure,
    Line,
    Tick,
    Tone,
    path,
    unit_ticks,
    x_of,
    y_of,
)

_BINS = 20
_CLASSES: tuple[tuple[int, Tone, str], ...] = (
    (0, "first", "acceptable"),
    (1, "second", "objectionable"),
)


def score_figure(evaluation: EvaluationReport) -> Figure:
    """How the scores of both classes are spread, and where the cuts lie."""
    scores, labels = evaluation.test_set.y_score, evaluation.test_set.y_true
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counts = [np.histogram(scores[labels == label], edges)[0] for label, _, _ in _CLASSES]
    top = max(1, *(int(values.max()) for values in counts))
    bars = tuple(
        _count_bar(side, index, int(count), top)
        for side, values in enumerate(counts)
        for index, count in enumerate(values)
        if count
    )
    cuts = evaluation.thresholds
    return Figure(
        "Scores of test images",
        f"Bars count images by score. Review from {cuts.review:.4f}, block from {cuts.block:.4f}.",
        "score",
        "images (logarithmic)",
        unit_ticks()[0],
        tuple(Tick(y_of(_height(n, top)), f"{n:,}") for n in (0, *_powers(top))),
        lines=(
            Line("soft", path([(x_of(cuts.review), y_of(0)), (x_of(cuts.review), y_of(1))]), True),
            Line("soft", path([(x_of(cuts.block), y_of(0)), (x_of(cuts.block), y_of(1))])),
        ),
        bars=bars,
        legend=(
            *((tone, name) for _, tone, name in _CLASSES),
            ("soft", "┆ review │ block"),
        ),
    )


def reliability_figure(evaluation: EvaluationReport) -> Figure:
    """Predicted against observed shares, before and after calibration."""
    after, before = evaluation.calibration, evaluation.uncalibrated
    true = evaluation.intervals.get("ece_debiased")
    words = f"Plain calibration error {evaluation.calibration_words()}"
    if true is not None and true.value is not None:
        words = f"Calibration error {true.value:.4f} ({true.low:.4f} to {true.high:.4f}). Plain:"
        words += f" {evaluation.calibration_words()}"
    if before is not None:
        words += f"; before calibration {before.ece:.4f}"
    return Figure(
        "Are scores probabilities?",
        words + ".",
        "predicted share, at the labels' mix",
        "observed share",
        *unit_ticks(),
        lines=(Line("soft", path([(x_of(0), y_of(0)), (x_of(1), y_of(1))]), dashed=True),),
        dots=(*_reliability("soft", before, "before"), *_reliability("first", after, "now")),
        legend=(
            ("first", "● now, 95% interval"),
            *((("soft", "○ before calibration"),) if before is not None else ()),
        ),
    )


def _reliability(tone: Tone, found: CalibrationFigures | None, when: str) -> tuple[Dot, ...]:
    return tuple(
        Dot(
            tone,
            x_of(item.mean_score),
            y_of(item.observed.value or 0.0),
            y_of(item.observed.high if when == "now" else item.observed.value or 0.0),
            y_of(item.observed.low if when == "now" else item.observed.value or 0.0),
            f"{when}: {item.images:,} images around {item.mean_score:.3f}, of which"
            f" {100 * (item.observed.value or 0.0):.3g}% are objectionable"
            f" ({100 * item.observed.low:.3g}% to {100 * item.observed.high:.3g}%)",
            hollow=when != "now",
        )
        for item in (() if found is None else found.reliability)
    )


def _powers(top: int) -> list[int]:
    """1, 10, 100 … up to `top`."""
    return [10**exponent for exponent in range(len(str(top)))]


def _count_bar(side: int, index: int, count: int, top: int) -> Bar:
    _, tone, name = _CLASSES[side]
    step = (RIGHT - LEFT) / _BINS
    y = y_of(_height(count, top))
    words = f"{count:,} {name}, score {index / _BINS:.2f} to {(index + 1) / _BINS:.2f}"
    x = LEFT + step * (index + 0.08 + 0.42 * side)
    return Bar(tone, round(x, 1), y, round(0.42 * step, 1), round(BOTTOM - y, 1), words)


def _height(count: int, top: int) -> float:
    """Share of the full height, logarithmic and 0 for 0."""
    return float(np.log1p(count) / np.log1p(top))
