"""The detector of the package nudenet, 320 pixels, as one score an image."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from keshikaran.baselines.packages import Package, ScoreView
from keshikaran.types import UInt8Array

EXPOSED = frozenset(
    {
        "ANUS_EXPOSED",
        "BUTTOCKS_EXPOSED",
        "FEMALE_BREAST_EXPOSED",
        "FEMALE_GENITALIA_EXPOSED",
        "MALE_GENITALIA_EXPOSED",
    }
)
"""Detections that count: the parts that its users block. The other 13 of its 18 classes are faces,
feet, armpits, bellies, a man's chest, and what is covered."""


def _load(module: ModuleType) -> ScoreView:
    """A detector says what it sees where; it has no score for an image.

    Here that is the highest score of a detection in `EXPOSED`, and 0 without one: one exposed part
    is enough, and boxes exclude each other too little for a sum or a product to mean anything.
    """
    detector = module.NudeDetector()

    def score(picture: UInt8Array) -> float:
        blue_first = np.ascontiguousarray(picture[..., ::-1])  # as OpenCV reads files
        found = detector.detect(blue_first)
        return max((float(one["score"]) for one in found if one["class"] in EXPOSED), default=0.0)

    return score


NUDENET = Package(
    "nudenet",
    "nudenet",
    "MIT by its metadata, AGPL-3.0 by its licence file",
    "number",
    "the highest score of an exposed part",
    _load,
)
