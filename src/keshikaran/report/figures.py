"""Figures as numbers to draw: everything is placed here, templates/figure.svg.j2 only writes it.

The drawings take their colours from the page, so that one drawing serves light and dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from keshikaran.evaluation import EvaluationReport
from keshikaran.metrics import Curves, compute_curves
from keshikaran.types import Float64Array

Tone = Literal["first", "second", "soft"]
"""Which of the page's colours: acceptable or the model, objectionable or the cut, and the rest."""

WIDTH, HEIGHT = 400, 320
LEFT, TOP, RIGHT, BOTTOM = 56, 36, 384, 268

_BINS = 20
_COUNTS = (0, 1, 10, 100, 1_000, 10_000, 100_000)
_CLASSES: tuple[tuple[int, Tone, str], ...] = (
    (0, "first", "acceptable"),
    (1, "second", "objectionable"),
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, in units of the drawing, with its words."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """A run of straight lines; `points` as SVG takes them."""

    tone: Tone
    points: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A filled rectangle, and what it says when pointed at."""

    tone: Tone
    x: float
    y: float
    width: float
    height: float
    words: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Note:
    """Words in the drawing, centred on a point."""

    x: float
    y: float
    words: str
    size: int = 12


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing. All coordinates are in its own 400 × 320 units, y downwards."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    notes: tuple[Note, ...] = ()
    dot: tuple[float, float] | None = None
    legend: tuple[tuple[Tone, str], ...] = ()
    turned_y_ticks: bool = False


def report_figures(evaluation: EvaluationReport) -> list[Figure]:
    """What a report draws, in order."""
    return [
        roc_figure(evaluation),
        precision_recall_figure(evaluation),
        score_figure(evaluation),
        confusion_figure(evaluation),
    ]


def roc_figure(evaluation: EvaluationReport) -> Figure:
    """True against false positive rate on the test images; the dot is the block threshold."""
    curves, test = _curves(evaluation), evaluation.test
    (tn, fp), _ = test.confusion_matrix
    return Figure(
        "ROC on test images",
        "false positive rate",
        "true positive rate",
        *_unit_ticks(),
        lines=(
            Line("soft", _points(np.array([0.0, 1.0]), np.array([0.0, 1.0])), dashed=True),
            Line("first", _points(curves.false_positive_rate, curves.true_positive_rate)),
        ),
        dot=(_x(fp / max(1, tn + fp)), _y(test.recall)),
    )


def precision_recall_figure(evaluation: EvaluationReport) -> Figure:
    """Precision against recall on the test images; the dot is the block threshold."""
    curves, test = _curves(evaluation), evaluation.test
    return Figure(
        "Precision and recall on test images",
        "recall",
        "precision",
        *_unit_ticks(),
        lines=(Line("first", _points(curves.recall, curves.precision)),),
        dot=(_x(test.recall), _y(test.precision)),
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
    ends = np.array([0.0, 1.0])
    return Figure(
        "Scores of test images",
        "score",
        "images (logarithmic)",
        _unit_ticks()[0],
        tuple(
            Tick(_y(_height(n, top)), f"{n:,}") for n in (0, 1, 10, 100, 1000, 10**4) if n <= top
        ),
        lines=(
            Line("soft", _points(np.full(2, cuts.review), ends), dashed=True),
            Line("soft", _points(np.full(2, cuts.block), ends)),
        ),
        bars=bars,
        legend=(
            *((tone, name) for _, tone, name in _CLASSES),
            ("soft", "cuts: review dashed, block solid"),
        ),
    )


def confusion_figure(evaluation: EvaluationReport) -> Figure:
    """The confusion matrix at the `block` threshold."""
    matrix = evaluation.test.confusion_matrix
    centres = (0.25, 0.75)
    names = [name for _, _, name in _CLASSES]
    bars, notes = [], []
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            share = count / max(1, sum(counts))
            words = f"{count:,} {names[row]} images are called {names[column]} ({share:.1%})"
            left, top = _x(column / 2), _y(1 - row / 2)
            half = ((RIGHT - LEFT) / 2, (BOTTOM - TOP) / 2)
            tone: Tone = "first" if row == column else "second"
            bars.append(Bar(tone, left, top, *half, words, opacity=0.08 + 0.6 * share))
            notes.append(Note(left + half[0] / 2, top + half[1] / 2, f"{count:,}", 22))
            notes.append(Note(left + half[0] / 2, top + half[1] / 2 + 20, f"{share:.1%}"))
    return Figure(
        "Confusion at the block threshold",
        "the model says",
        "people say",
        tuple(Tick(_x(at), name) for at, name in zip(centres, names, strict=True)),
        tuple(Tick(_y(1 - at), name) for at, name in zip(centres, names, strict=True)),
        bars=tuple(bars),
        notes=tuple(notes),
        turned_y_ticks=True,
    )


def _curves(evaluation: EvaluationReport) -> Curves:
    test = evaluation.test_set
    return compute_curves(test.y_true, test.y_score)


def _count_bar(side: int, index: int, count: int, top: int) -> Bar:
    _, tone, name = _CLASSES[side]
    step = (RIGHT - LEFT) / _BINS
    y = _y(_height(count, top))
    words = f"{count:,} {name}, score {index / _BINS:.2f} to {(index + 1) / _BINS:.2f}"
    x = LEFT + step * (index + 0.08 + 0.42 * side)
    return Bar(tone, round(x, 1), y, round(0.42 * step, 1), round(BOTTOM - y, 1), words)


def _height(count: int, top: int) -> float:
    """Share of the full height, logarithmic and 0 for 0."""
    return float(np.log1p(count) / np.log1p(top))


def _unit_ticks() -> tuple[tuple[Tick, ...], tuple[Tick, ...]]:
    marks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    x = tuple(Tick(_x(mark), f"{mark:.1f}") for mark in marks)
    return x, tuple(Tick(_y(mark), f"{mark:.1f}") for mark in marks)


def _points(x: Float64Array, y: Float64Array) -> str:
    return " ".join(f"{_x(a)},{_y(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _x(share: float) -> float:
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _y(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)
