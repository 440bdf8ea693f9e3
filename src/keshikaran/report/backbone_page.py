"""The page of `compare-backbones`: a table, and accuracy against cost as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keshikaran.hashing import write_durably
from keshikaran.intervals import Estimate
from keshikaran.report.figures.drawing import (
    BOTTOM,
    LEFT,
    RIGHT,
    Dot,
    Figure,
    Note,
    Tick,
    x_of,
    y_of,
)
from keshikaran.report.pages import page_environment

_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_TICKS = 6
_NAME_ROOM = 13.0
_COSTS = tuple(base * 10.0**power for power in range(-3, 6) for base in (1, 2, 5))


@dataclass(frozen=True, slots=True)
class ComparedBackbone:
    """What one network brings and costs.

    Attributes:
        name: of the network.
        digest: of its file.
        area: under the ROC curve on the workspace's test images.
        roc_auc: the same with its 95% interval.
        gain: how much larger the area is than the first network's, paired; None for that one, and
            where they were not judged on the same images.
        recall: share of objectionable test images found at 1% false positives.
        other_areas: the area on further splits.
        ms_per_image: of inference, one image after the other.
        bytes: size of the file.
        height: rows of its input.
        width: columns of its input.
        dim: number of features.
        licence: of the weights.
    """

    name: str
    digest: str
    area: float
    roc_auc: Estimate
    gain: Estimate | None
    recall: Estimate
    other_areas: tuple[float, ...]
    ms_per_image: float
    bytes: int
    height: int
    width: int
    dim: int
    licence: str

    @property
    def mean_of_others(self) -> float | None:
        """Mean area on the further splits; None where there were none."""
        return sum(self.other_areas) / len(self.other_areas) if self.other_areas else None


def write_backbone_page(path: Path, rows: Sequence[ComparedBackbone], sentence: str) -> None:
    """Draw the page and write it durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    write_durably(path, render_backbone_page(rows, sentence).encode())


def render_backbone_page(rows: Sequence[ComparedBackbone], sentence: str) -> str:
    """The page as text; it needs nothing beside itself.

    Args:
        rows: in the order of the table.
        sentence: what was compared on what.
    """
    template = page_environment().get_template("backbones.html.j2")
    return template.render(rows=rows, sentence=sentence, figure=cost_figure(rows))


def cost_figure(rows: Sequence[ComparedBackbone]) -> Figure:
    """ROC AUC against milliseconds an image, with 95% intervals."""
    low, high, step = _area_range(rows)
    left, right = _cost_range(rows)

    def x(cost: float) -> float:
        share = (math.log(cost) - math.log(left)) / (math.log(right) - math.log(left))
        return x_of(share)

    def y(area: float) -> float:
        return y_of((area - low) / (high - low))

    marks = [low + number * step for number in range(round((high - low) / step) + 1)]
    digits = max(2, -math.floor(math.log10(step)))
    dots, names = [], []
    for row in rows:
        across, down = x(row.ms_per_image), y(row.area)
        words = f"{row.name}: {row.area:.4f}, {row.ms_per_image:.1f} ms an image"
        ends = (y(row.roc_auc.high), y(row.roc_auc.low))
        dots.append(Dot("first", across, down, *ends, words))
        names.append(Note(_inside(across, row.name), _beside(*ends), row.name))
    return Figure(
        "Accuracy against cost",
        "; ".join(dot.words for dot in dots) + ".",
        "milliseconds an image (logarithmic)",
        "ROC AUC on test images",
        tuple(Tick(x(cost), f"{cost:g}") for cost in _COSTS if left <= cost <= right),
        tuple(Tick(y(mark), f"{mark:.{digits}f}") for mark in marks),
        dots=tuple(dots),
        notes=_spread(names),
    )


def _area_range(rows: Sequence[ComparedBackbone]) -> tuple[float, float, float]:
    """Lowest and highest mark that hold all intervals, and the distance between marks."""
    lowest = min(row.roc_auc.low for row in rows)
    highest = max(row.roc_auc.high for row in rows)
    span = max(highest - lowest, _STEPS[0])
    step = next((step for step in _STEPS if span / step <= _MOST_TICKS), _STEPS[-1])
    return math.floor(lowest / step) * step, math.ceil(highest / step) * step, step


def _cost_range(rows: Sequence[ComparedBackbone]) -> tuple[float, float]:
    costs = [row.ms_per_image for row in rows]
    return min(costs) / 1.6, max(costs) * 1.6


def _beside(upper: float, lower: float) -> float:
    """Height of a name: below its interval, or above it where there is no room below."""
    below = round(lower + _NAME_ROOM, 1)
    return below if below < BOTTOM - 2 else round(upper - 5, 1)


def _inside(across: float, name: str) -> float:
    """Where to centre a name so that it stays in the drawing."""
    half = 3.0 * len(name)
    return round(min(max(across, LEFT + half), RIGHT - half), 1)


def _spread(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Names beside their dots, moved down where two would cover each other."""
    placed: list[Note] = []
    for note in sorted(notes, key=lambda note: note.y):
        down = note.y
        for other in placed:
            close = abs(other.x - note.x) < 3.0 * (len(other.words) + len(note.words))
            if close and abs(other.y - down) < _NAME_ROOM:
                down = other.y + _NAME_ROOM
        placed.append(Note(note.x, round(down, 1), note.words))
    return tuple(placed)
