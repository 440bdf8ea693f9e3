"""What more labels would bring."""

from __future__ import annotations

import math

from keshikaran.learning_curve import LearningCurve
from keshikaran.report.figures.drawing import Dot, Figure, Line, Tick, band, path, x_of, y_of

_STEPS = 5


def learning_figure(curve: LearningCurve) -> Figure:
    """Recall by number of labels, and where it goes."""
    points, ahead = curve.recall.points, curve.recall.forecasts
    now = curve.labels
    last = points[-1]
    most = max([now, last.labels, *(now + item.more for item in ahead)])
    lows = [*(item.low for item in points), *(item.low for item in ahead)]
    least = math.floor(10 * min(lows)) / 10
    span = max(0.1, 1.0 - least)

    def across(labels: float) -> float:
        return x_of(labels / most)

    def up(recall: float) -> float:
        return y_of((recall - least) / span)

    coming = [(across(now + item.more), item) for item in ahead]
    line = [(across(item.labels), up(item.value)) for item in points]
    further = [line[-1], *((x, up(item.then)) for x, item in coming)]
    step = _round_step(most)
    return Figure(
        "What more labels would bring",
        f"Recall at a false-positive rate of {curve.false_positive_rate:g}, by number of labels:"
        f" {last.value:.3f} with {last.labels:,}"
        + "".join(
            f", {item.then:.3f} ({item.low:.3f} to {item.high:.3f}) with {now + item.more:,},"
            f" {item.more:,} more than now"
            for item in ahead[-1:]
        )
        + f". Judged on {curve.judged_on:,} images.",
        "labelled images",
        f"recall at {100 * curve.false_positive_rate:g}% false positives",
        tuple(Tick(across(at), f"{at:,}") for at in range(0, most + 1, step)),
        tuple(
            Tick(up(least + span * part / _STEPS), f"{least + span * part / _STEPS:.2f}")
            for part in range(_STEPS + 1)
        ),
        areas=(
            band(
                "first",
                [(across(item.labels), up(item.high)) for item in points]
                + [(x, up(item.high)) for x, item in coming],
                [(across(item.labels), up(item.low)) for item in points]
                + [(x, up(item.low)) for x, item in coming],
            ),
        ),
        lines=(Line("first", path(line)), Line("first", path(further), dashed=True)),
        dots=tuple(
            Dot("first", x, y, y, y, f"{item.labels:,} labels: recall {item.value:.3f}")
            for (x, y), item in zip(line, points, strict=True)
        ),
        legend=(("first", "measured, dashed: expected; 95% interval"),),
    )


def _round_step(most: int) -> int:
    """About four marks at round numbers."""
    rough = max(1, most // 4)
    size = int(10 ** (len(str(rough)) - 1))
    return max(1, rough // size * size)
