"""Made-up features whose drift is known, and references of them."""

from __future__ import annotations

from functools import cache

import numpy as np

from bundle_support import HEAD, quadrant_means
from keshikaran.drift_reference import DriftReference
from keshikaran.drift_summary import UnseenImages, summarise
from keshikaran.head import predict_proba
from keshikaran.pixels import InProcessDecoder, PixelSpec
from keshikaran.types import Float32Array, Float64Array, GroupId, LabelArray
from support import FAKE_SIDE, bluish, encode, reddish

DIM = 24


def images(
    count: int, *, share: float = 0.3, shift: float = 0.0, seed: int = 0
) -> tuple[Float32Array, LabelArray, Float64Array]:
    """Features, labels and scores of images of two kinds; `shift` moves all of them aside."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < share).astype(np.int8)
    features = rng.normal(size=(count, DIM)) * np.linspace(3, 0.2, DIM)
    features[:, 0] += 4 * labels
    scores = 1 / (1 + np.exp(-(features[:, 0] - 2 + rng.normal(size=count))))
    features[:, 1] += shift
    return features.astype(np.float32), labels, scores


@cache
def reference(prevalence: float = 0.3) -> DriftReference:
    """Of 800 images that teach and 600 that do not."""
    taught, _, _ = images(800, seed=1)
    features, labels, scores = images(600, seed=2)
    groups = [GroupId(str(number)) for number in range(600)]
    found = summarise(taught, UnseenImages(features, labels, scores, groups), prevalence)
    assert found is not None
    return found


@cache
def fake_reference() -> DriftReference:
    """What the fake model of `bundle_support` would keep of 200 reddish and bluish pictures."""
    paints = [(reddish, 1), (bluish, 0)]
    files = [(encode(paint(n)), label) for n in range(5_000, 5_100) for paint, label in paints]
    spec = PixelSpec(FAKE_SIDE, FAKE_SIDE)
    decoder = InProcessDecoder()
    views = np.stack([decoder.decode(file, spec).views[0] for file, _ in files])
    features = quadrant_means(views).astype(np.float32)
    labels = np.array([label for _, label in files], np.int8)
    groups = [GroupId(str(number)) for number in range(len(files))]
    unseen = UnseenImages(features, labels, predict_proba(HEAD, features), groups)
    found = summarise(features, unseen, 0.5)
    assert found is not None
    return found
