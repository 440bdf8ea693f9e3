"""Test images in the cells of the confusion tables: what is worst, what is shown, in which order.

People and model together put each image into one of six cells: labelled acceptable or
objectionable, and pass, review or block. Every cell of a table of either threshold is made of
whole ones of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keshikaran.evaluation import EvaluationReport
from keshikaran.metrics import ScoredSet
from keshikaran.types import Float64Array, ImageId, IntArray, Label, Thresholds

Band = Literal["pass", "review", "block"]
"""What the model says of a test image."""

BANDS: tuple[Band, ...] = ("pass", "review", "block")
NAMES: tuple[str, str] = ("acceptable", "objectionable")
STANDING_OUT = 24
"""How many images are called worst, and how many most uncertain."""

_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where one test image stands.

    Attributes:
        image_id: of the image.
        label: what people say.
        score: what the model says.
        band: the same in a word.
        worst: whether it is among the worst mistakes.
        unsure: whether it is among those nearest to a threshold.
    """

    image_id: ImageId
    label: Label
    score: float
    band: Band
    worst: bool
    unsure: bool

    @property
    def cell(self) -> str:
        """One of the six cells, such as `0-block`."""
        return f"{self.label}-{self.band}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Some of the six cells that can be looked at together.

    Attributes:
        name: short, for addresses within the page.
        words: what the images have in common.
        cells: names of cells, as `Place.cell` has them.
        images: how many test images are in them.
    """

    name: str
    words: str
    cells: tuple[str, ...]
    images: int


def places(evaluation: EvaluationReport) -> list[Place]:
    """Every test image, those first whose score is farthest from what people say."""
    test, cuts = evaluation.test_set, evaluation.thresholds
    bands = bands_of(test.y_score, cuts)
    order = np.argsort(-np.abs(test.y_score - test.y_true), kind="stable")
    worst = set(_worst(test, bands, order).tolist())
    unsure = set(_unsure(test.y_score, cuts).tolist())
    return [
        Place(
            test.image_ids[row],
            1 if test.y_true[row] else 0,
            float(test.y_score[row]),
            BANDS[bands[row]],
            row in worst,
            row in unsure,
        )
        for row in order.tolist()
    ]


def bands_of(scores: Float64Array, cuts: Thresholds) -> IntArray:
    """Number of each score's band: 0 pass, 1 review, 2 block, int64 [n]."""
    bands: IntArray = (scores >= cuts.review).astype(np.int64) + (scores >= cuts.block)
    return bands


def first_to_show(found: Sequence[Place], most: int) -> list[Place]:
    """Which images have room where there is none for all, in the order of `found`.

    The worst and the most uncertain first, then all mistakes, then from each cell in turn.
    """
    if len(found) <= most:
        return list(found)
    turn: dict[str, int] = {}

    def urgency(place: Place) -> tuple[int, int]:
        turn[place.cell] = turn.get(place.cell, 0) + 1
        kind = 0 if place.worst or place.unsure else 1 if is_mistake(place) else 2
        return kind, turn[place.cell]

    ranked = sorted(range(len(found)), key=[urgency(place) for place in found].__getitem__)
    return [found[row] for row in sorted(ranked[:most])]


def is_mistake(place: Place) -> bool:
    """Whether nobody would have put it right: blocked or passed against what people say."""
    return place.cell in ("0-block", "1-pass")


def band_choices(found: Sequence[Place]) -> list[list[Choice]]:
    """Rows by label, columns by band: the six cells."""
    doing = {"pass": "pass", "review": "go to a person", "block": "are blocked"}
    return [
        [
            _choice(found, f"{label}-{band}", f"{name} images that {doing[band]}", (band,), label)
            for band in BANDS
        ]
        for label, name in enumerate(NAMES)
    ]


def threshold_choices(
    found: Sequence[Place], threshold: Literal["review", "block"]
) -> list[list[Choice]]:
    """Rows by label, columns below and above: the confusion table of one threshold."""
    cut = BANDS.index(threshold)
    sides = (("below", BANDS[:cut]), ("above", BANDS[cut:]))
    return [
        [
            _choice(
                found,
                f"{threshold}-{label}-{side}",
                f"{name} images {side} the {threshold} threshold",
                bands,
                label,
            )
            for side, bands in sides
        ]
        for label, name in enumerate(NAMES)
    ]


def _choice(
    found: Sequence[Place], name: str, words: str, bands: Sequence[Band], label: int
) -> Choice:
    cells = tuple(f"{label}-{band}" for band in bands)
    return Choice(name, words, cells, sum(place.cell in cells for place in found))


def _worst(test: ScoredSet, bands: IntArray, order: IntArray) -> IntArray:
    wrong = np.where(test.y_true == 1, bands == 0, bands == 2)
    worst: IntArray = order[wrong[order]][:STANDING_OUT]
    return worst


def _unsure(scores: Float64Array, cuts: Thresholds) -> IntArray:
    """Rows nearest to a threshold, in log-odds."""

    def logit(share: Float64Array | float) -> Float64Array:
        inside = np.clip(share, _EDGE, 1 - _EDGE)
        return np.asarray(np.log(inside / (1 - inside)))

    away = np.minimum(
        np.abs(logit(scores) - logit(cuts.review)), np.abs(logit(scores) - logit(cuts.block))
    )
    return np.argsort(away, kind="stable")[:STANDING_OUT]
