"""Whether the images that come in still look like the labelled ones.

Two figures over the last N images:

- the population stability index of the scores (Siddiqi 2006): Σ (p - q) ln(p / q) over tenths of
  the reference under the declared prevalence. Of N and M images of the same kind it is not 0 but
  about (bins - 1) (1/N + 1/M) (Yurdakul and Naranjo 2020), so its limit comes from simulated
  windows;
- the distance of the features' mean from the nearest mixture of acceptable and objectionable
  images, in standard deviations (Mahalanobis), with Hotelling's limit. That more objectionable
  images come than were declared moves the scores, not this distance; images of a new kind move it.

A figure counts as drift where it is above what chance explains *and* large enough to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from threading import Lock
from typing import Literal, get_args

import numpy as np

from keshikaran.drift_reference import Coordinates, DriftReference
from keshikaran.types import Float32Array, Float64Array, FloatArray

DriftState = Literal["warming up", "steady", "drifting"]
DRIFT_STATES: tuple[DriftState, ...] = get_args(DriftState)

DEFAULT_WINDOW = 1_000
LEAST_WINDOW = 100
MOST_WINDOW = 100_000

CHANCE = 1e-5
LEAST_PSI = 0.2
LEAST_DISTANCE = 0.5
_LEAVE = 0.8
_LOOKS_A_WINDOW = 50
_SIMULATIONS = 10_000
_TAIL = (1e-2, 1e-3)


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """How the last images compare with the labelled ones; figures are None while warming up.

    Attributes:
        state: what follows.
        images: how many the window holds.
        psi: population stability index of the scores.
        psi_limit: above this it counts.
        distance: of the features, in standard deviations.
        distance_limit: above this it counts.
        objectionable: share of objectionable images that explains the features best, in [0, 1].
    """

    state: DriftState
    images: int
    psi: float | None = None
    psi_limit: float | None = None
    distance: float | None = None
    distance_limit: float | None = None
    objectionable: float | None = None


class DriftWatch:
    """Compares the last images with a reference. Thread-safe; its memory is bounded.

    Args:
        reference: of the model that answers.
        window: how many images are compared at a time, 100 to 100,000.
        changed: told when the state changes, in the thread that added the image.
    """

    def __init__(
        self,
        reference: DriftReference,
        window: int = DEFAULT_WINDOW,
        changed: Callable[[DriftFigures], None] = lambda _: None,
    ) -> None:
        self._coordinates = Coordinates.of(reference)
        self._edges = reference.edges
        self._scores = ScoreDrift(reference, window)
        self._features = FeatureDrift(reference, window)
        self._changed = changed
        self._lock = Lock()
        self._bins = np.zeros(window, dtype=np.int16)
        self._places = np.zeros((window, len(self._coordinates)), dtype=np.float32)
        self._added = 0
        self._figures = DriftFigures("warming up", 0)

    def figures(self) -> DriftFigures:
        """What was found last; looked at anew 50 times a window."""
        with self._lock:
            if self._figures.state == "warming up":
                return DriftFigures("warming up", self._added)
            return self._figures

    def add(self, score: float, features: Float32Array) -> None:
        """Take an image in; one without numbers is left out.

        Args:
            score: the model's.
            features: of the image's first view, float32 [D].
        """
        place = self._coordinates(features[None])[0]
        if not (np.isfinite(score) and np.isfinite(place).all()):
            return
        bin_number = np.searchsorted(self._edges, score, side="right")
        window = len(self._bins)
        with self._lock:
            row = self._added % window
            self._bins[row], self._places[row] = bin_number, place
            self._added += 1
            if self._added >= window and self._added % max(1, window // _LOOKS_A_WINDOW) == 0:
                self._look()

    def _look(self) -> None:
        before = self._figures.state
        psi, psi_limit = self._scores.figure(self._bins), self._scores.limit
        distance, distance_limit, share = self._features.figure(self._places)
        ease = _LEAVE if before == "drifting" else 1.0
        drifting = psi > ease * psi_limit or distance > ease * distance_limit
        self._figures = DriftFigures(
            "drifting" if drifting else "steady",
            len(self._bins),
            psi,
            psi_limit,
            distance,
            distance_limit,
            share,
        )
        if self._figures.state != before:
            self._changed(self._figures)


class ScoreDrift:
    """The population stability index of a window's scores.

    Args:
        reference: what scores looked like.
        window: images in a window.
    """

    def __init__(self, reference: DriftReference, window: int) -> None:
        self._window = window
        shares = [
            (item.scores + 0.5) / (item.images + 0.5 * len(item.scores))
            for item in reference.classes
        ]
        mix = reference.prevalence
        self._expected = (1 - mix) * shares[0] + mix * shares[1]
        self.limit = max(LEAST_PSI, self._chance_limit(reference, shares))

    def figure(self, bins: np.ndarray) -> float:
        """The index.

        Args:
            bins: of each image's score, integer [N].
        """
        counts = np.bincount(bins, minlength=len(self._expected))
        return float(_psi(self._shares(counts[None]), self._expected[None])[0])

    def _shares(self, counts: np.ndarray) -> Float64Array:
        """Half an image more in each bin, so that an empty one is not infinitely far off."""
        shares: Float64Array = (counts + 0.5) / (self._window + 0.5 * counts.shape[1])
        return shares

    def _chance_limit(self, reference: DriftReference, shares: Sequence[FloatArray]) -> float:
        """What windows of the same kind stay below, but for `CHANCE` of them."""
        rng = np.random.default_rng(0)
        mix = reference.prevalence
        expected = np.zeros((_SIMULATIONS, len(self._expected)))
        for share, item, weight in zip(shares, reference.classes, (1 - mix, mix), strict=True):
            drawn = rng.multinomial(item.images, share / share.sum(), _SIMULATIONS)
            expected += weight * (drawn + 0.5) / (item.images + 0.5 * len(share))
        counts = rng.multinomial(self._window, self._expected / self._expected.sum(), _SIMULATIONS)
        found = _psi(self._shares(counts), expected)
        return _far_quantile(found, CHANCE)


class FeatureDrift:
    """The distance of a window's features from mixtures of both classes.

    Args:
        reference: where both classes lie.
        window: images in a window.
    """

    def __init__(self, reference: DriftReference, window: int) -> None:
        self._window = window
        zero, one = reference.classes
        self._zero, self._apart = zero.mean, one.mean - zero.mean
        self._spreads = zero.covariance, one.covariance
        self._counts = zero.images, one.images
        shared = zero.covariance + one.covariance
        towards = np.linalg.solve(shared, self._apart)
        self._share_of = towards / max(float(towards @ self._apart), 1e-12)
        size, images = len(self._zero), sum(self._counts)
        spare = max(1, images - size - 3)  # Hotelling's correction for an estimated covariance
        self._chance = _chi_square(1 - CHANCE, size) * max(1.0, (images - 2) / spare)

    def figure(self, places: np.ndarray) -> tuple[float, float, float]:
        """Distance, its limit, and the share of objectionable images that explains most.

        Args:
            places: coordinates of the images, [N, k + 1].
        """
        off = places.mean(axis=0, dtype=np.float64) - self._zero
        share = float(np.clip(self._share_of @ off, 0.0, 1.0))
        off = off - share * self._apart
        weights = (1 - share), share
        spread = weights[0] * self._spreads[0] + weights[1] * self._spreads[1]
        variance = spread / self._window
        uncertainty = 1 / self._window
        for weight, own, images in zip(weights, self._spreads, self._counts, strict=True):
            variance = variance + weight**2 * own / images
            uncertainty += weight**2 / images
        statistic = max(0.0, float(off @ np.linalg.solve(variance, off)))
        limit = max(LEAST_DISTANCE, float(np.sqrt(self._chance * uncertainty)))
        return float(np.sqrt(statistic * uncertainty)), limit, share


def _psi(found: Float64Array, expected: Float64Array) -> Float64Array:
    values: Float64Array = ((found - expected) * np.log(found / expected)).sum(axis=1)
    return values


def _far_quantile(values: Float64Array, chance: float) -> float:
    """What is exceeded with a small chance, from a tail that falls exponentially (as chi-square's).

    A chi-square fitted by its moments lies too low: with few images in a bin, the logarithm makes
    the tail heavier.
    """
    near, far = np.quantile(values, [1 - share for share in _TAIL])
    steps = np.log(_TAIL[1] / chance) / np.log(_TAIL[0] / _TAIL[1])
    return float(far + steps * (far - near))


def _chi_square(share: float, freedom: float) -> float:
    """Quantile of the chi-square distribution (Wilson and Hilferty 1931)."""
    z = NormalDist().inv_cdf(share)
    part = 2 / (9 * freedom)
    return float(freedom * max(0.0, 1 - part + z * np.sqrt(part)) ** 3)
