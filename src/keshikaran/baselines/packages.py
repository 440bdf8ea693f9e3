"""Ready-made models in packages of others, run on arrays that `pixels` made."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from types import ModuleType

import numpy as np

from keshikaran.baselines.rival import RivalCard
from keshikaran.errors import PASSING_REASONS, MissingExtraError
from keshikaran.inference import Inferred, Pipeline, infer_many
from keshikaran.pixels import Decoder, Limits, OwnSizeDecoder, PixelSpec
from keshikaran.store import RivalScore, Store
from keshikaran.types import Float32Array, ImageId, Precision, UInt8Array

EXTRA = "baselines"
_LONGEST_SIDE = 1024  # far above what the networks look at (224, 320), so that theirs is the resize

_logger = logging.getLogger("keshikaran")

ScoreView = Callable[[UInt8Array], float]
"""One picture, uint8 [H, W, 3], RGB → its score."""


class PackageEngine:
    """Makes an `Engine` of a package: one call at a time, while other images are decoded.

    A picture on which the package fails has no score (NaN); the first failure is kept.

    Args:
        score_view: asks the package about one picture.
    """

    name: str = "package"
    precision: Precision = "f32"
    streams: int = 1
    batch_size: int = 1

    def __init__(self, score_view: ScoreView) -> None:
        self.failure: str | None = None
        self._score_view = score_view
        self._lock = Lock()

    def infer(self, images: UInt8Array) -> dict[str, Float32Array]:
        """The score of each picture, float32 [N]."""
        with self._lock:
            return {"score": np.array([self._safely(image) for image in images], np.float32)}

    def _safely(self, image: UInt8Array) -> float:
        try:
            return self._score_view(image)
        except Exception as error:  # a package may raise anything
            if self.failure is None:
                self.failure = f"{type(error).__name__}: {error}"
                _logger.warning("A rival failed on an image: %s", self.failure)
            return float("nan")


class PackageRival:
    """A package's model. An image's score is the highest of its views, as it is for models of ours.

    Args:
        card: what it says about itself.
        score_view: asks the package about one picture.
        store: where the images are.
        decoder: makes pixels of them.
        limits: what a file may ask for.
    """

    def __init__(
        self, card: RivalCard, score_view: ScoreView, store: Store, decoder: Decoder, limits: Limits
    ) -> None:
        self.card = card
        self._engine = PackageEngine(score_view)
        spec = PixelSpec(_LONGEST_SIDE, _LONGEST_SIDE)
        self._pipeline = Pipeline(OwnSizeDecoder(decoder, limits), self._engine, spec)
        self._store = store

    def score(self, image_ids: Sequence[ImageId]) -> Iterator[RivalScore]:
        """See `Rival.score`."""
        extensions = self._store.extension_of(image_ids)
        read = self._store.blobs.read
        items = (
            (image_id, partial(read, image_id, extensions[image_id])) for image_id in image_ids
        )
        for result in infer_many(items, self._pipeline):
            yield self._told(result)

    def _told(self, result: Inferred[ImageId]) -> RivalScore:
        if result.outputs is None:
            refusal = result.refusal
            lasting = refusal is not None and refusal.reason not in PASSING_REASONS
            return RivalScore(result.key, None, str(refusal), lasting)
        score = result.outputs.score()
        if np.isfinite(score):
            return RivalScore(result.key, score)
        return RivalScore(result.key, None, f"it failed: {self._engine.failure}", lasting=False)

    def notes(self) -> tuple[str, ...]:
        """See `Rival.notes`."""
        failure = self._engine.failure
        return () if failure is None else (f"It failed on images; the first time with {failure}",)

    def close(self) -> None:
        """Nothing to give back."""


def load_package(module: str, distribution: str) -> tuple[ModuleType, str]:
    """A package and its version.

    Raises:
        MissingExtraError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module), version(distribution)
    except (ImportError, PackageNotFoundError) as error:
        what = f"Comparing with {distribution}"
        raise MissingExtraError(what, EXTRA) from error
