"""Ready-made models in packages of others, run on arrays that `pixels` made."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from types import ModuleType

import numpy as np

from keshikaran.baselines.rival import RivalCard
from keshikaran.comparison import Scale
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

Loader = Callable[[ModuleType], ScoreView]
"""Loads a network from its imported package."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package and what is asked of it.

    Attributes:
        distribution: its name on PyPI, and the rival's.
        module: what is imported.
        licence: of package and network.
        scale: whether its scores are meant as probabilities.
        meaning: what its score is, in words.
        load: called when there is something to score.
    """

    distribution: str
    module: str
    licence: str
    scale: Scale
    meaning: str
    load: Loader


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

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
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

    The package is imported when the first image is to be scored: where all scores are known
    already, it takes no time.

    Args:
        package: the package.
        store: where the images are.
        decoder: makes pixels of them.
        limits: what a file may ask for.

    Raises:
        MissingExtraError: it is not installed.
    """

    def __init__(self, package: Package, store: Store, decoder: Decoder, limits: Limits) -> None:
        self._package = package
        self._store = store
        self._decoder = OwnSizeDecoder(decoder, limits)
        self._failure: str | None = None
        self.card = RivalCard(
            package.distribution,
            _version_of(package),
            package.licence,
            package.scale,
            package.meaning,
        )

    def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
        """See `Rival.score`.

        Raises:
            MissingExtraError: the package cannot be imported.
        """
        engine = PackageEngine(self._package.load(_imported(self._package)))
        pipeline = Pipeline(self._decoder, engine, PixelSpec(_LONGEST_SIDE, _LONGEST_SIDE))
        extensions = self._store.extension_of(image_ids)
        read = self._store.blobs.read
        items = ((one, partial(read, one, extensions[one])) for one in image_ids)
        for result in infer_many(items, pipeline):
            self._failure = engine.failure
            yield self._told(result)

    def _told(self, result: Inferred[ImageId]) -> RivalScore:
        if result.outputs is None:
            refusal = result.refusal
            lasting = refusal is not None and refusal.reason not in PASSING_REASONS
            return RivalScore(result.key, None, str(refusal), lasting)
        score = result.outputs.score()
        if np.isfinite(score):
            return RivalScore(result.key, score)
        return RivalScore(result.key, None, f"it failed: {self._failure}", lasting=False)

    def notes(self) -> tuple[str, ...]:
        """See `Rival.notes`."""
        if self._failure is None:
            return ()
        return (f"{self._package.distribution} failed on images, at first with: {self._failure}",)

    def close(self) -> None:
        """Nothing to give back."""


def _version_of(package: Package) -> str:
    if importlib.util.find_spec(package.module) is None:
        raise _missing(package)
    try:
        return version(package.distribution)
    except PackageNotFoundError as error:
        raise _missing(package) from error


def _imported(package: Package) -> ModuleType:
    try:
        return importlib.import_module(package.module)
    except ImportError as error:
        raise _missing(package) from error


def _missing(package: Package) -> MissingExtraError:
    return MissingExtraError(f"Comparing with {package.distribution}", EXTRA)
