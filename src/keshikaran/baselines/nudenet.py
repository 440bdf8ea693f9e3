"""The detector of the package nudenet, 320 pixels, as one score an image."""

from __future__ import annotations

import numpy as np

from keshikaran.baselines.packages import PackageRival, load_package
from keshikaran.baselines.rival import RivalCard
from keshikaran.pixels import Decoder, Limits
from keshikaran.store import Store
from keshikaran.types import UInt8Array

NAME = "nudenet"

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


def open_nudenet(store: Store, decoder: Decoder, limits: Limits) -> PackageRival:
    """Load it.

    A detector says what it sees where; it has no score for an image. Here that is the highest score
    of a detection in `EXPOSED`, and 0 without one: one exposed part is enough, and boxes exclude
    each other too little for a sum or a product to mean anything.

    Raises:
        MissingExtraError: the package is not installed.
    """
    module, version = load_package("nudenet", NAME)
    detector = module.NudeDetector()

    def score(picture: UInt8Array) -> float:
        blue_first = np.ascontiguousarray(picture[..., ::-1])  # as OpenCV reads files
        found = detector.detect(blue_first)
        return max((float(one["score"]) for one in found if one["class"] in EXPOSED), default=0.0)

    card = RivalCard(
        NAME,
        version,
        "MIT by its metadata, AGPL-3.0 by its licence file",
        "number",
        "the highest score of an exposed part",
    )
    return PackageRival(card, score, store, decoder, limits)
