"""Scores → probabilities: make 0.83 mean that 83 of 100 such images are objectionable.

A head that was fitted on the images it scores is too sure of itself, so the map is fitted on logits
of images that their head never saw (`out_of_fold`). Two are offered:

- Platt scaling (Platt 1999, "Probabilistic Outputs for Support Vector Machines"): a · logit + b.
  Affine, so it disappears in the head's weights and bias.
- Beta calibration (Kull, Silva Filho and Flach 2017): a · ln p - b · ln(1 - p) + c. With a = b it
  is affine; otherwise it bends at p = 1/2 and needs two nodes (Softplus) in the model's graph.

Both are increasing, so no image overtakes another. Moving to another prevalence is a shift of the
logit (Saerens, Latinne and Decaestecker 2002, "Adjusting the Outputs of a Classifier to New a
Priori Probabilities").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from keshikaran.head import Bend, Head, bent, sigmoid
from keshikaran.logistic import softplus
from keshikaran.soft_logistic import fit_logistic
from keshikaran.types import Float64Array, IntArray, LabelArray

CalibrationKind = Literal["none", "platt", "beta"]

_CLEAR = 2.0  # standard errors
_OTHERS: tuple[CalibrationKind, ...] = ("none", "beta")


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """An increasing map of logits.

    The value at x is `above · softplus(x) - below · softplus(-x) + shift`: slope `below` far to the
    left, `above` far to the right. With equal slopes that is `slope · x + shift`.

    Attributes:
        kind: how it was found; `none` leaves logits as they are, but for a shift.
        below: slope for logits far below 0, not negative.
        above: slope for logits far above 0, not negative.
        shift: what is added.
    """

    kind: CalibrationKind
    below: float = 1.0
    above: float = 1.0
    shift: float = 0.0

    @property
    def affine(self) -> bool:
        """Whether it can be folded into a head."""
        return self.below == self.above

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)

    def logits(self, logits: Float64Array) -> Float64Array:
        """Calibrated logits, float64 [n]."""
        if self.affine:
            return self.above * logits + self.shift
        return bent(logits, Bend(self.below, self.above, self.shift))

    def probabilities(self, logits: Float64Array) -> Float64Array:
        """Calibrated probabilities, float64 [n]."""
        return sigmoid(self.logits(logits))

    def at_prevalence(self, known: float, wanted: float) -> CalibrationMap:
        """The same for uploads of another mix.

        Args:
            known: share of objectionable images among those it was fitted on, in (0, 1).
            wanted: share among the images it is for, in (0, 1).
        """
        shift = self.shift + prior_shift(known, wanted)
        return CalibrationMap(self.kind, self.below, self.above, shift)


UNCHANGED = CalibrationMap("none")


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """Which map was chosen, and how each did on images it was not fitted on.

    Attributes:
        chosen: fitted on all images given.
        log_loss: kind → cross-validated log-loss in nats.
    """

    chosen: CalibrationMap
    log_loss: dict[CalibrationKind, float]

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


def prior_shift(known: float, wanted: float) -> float:
    """What a change of prevalence adds to every logit; both in (0, 1)."""
    return _logit(wanted) - _logit(known)


def logits_of(scores: Float64Array) -> Float64Array:
    """Logits of probabilities, kept within ±36, where float64 tells them from 0 and 1."""
    inside = np.clip(scores, 2.0**-52, 1.0 - 2.0**-52)
    found: Float64Array = np.log(inside) - np.log1p(-inside)
    return found


def fold_into(head: Head, calibration: CalibrationMap) -> Head:
    """A head that gives calibrated logits by itself; it stays linear if the map is affine."""
    if not calibration.affine:
        bend = Bend(calibration.below, calibration.above, calibration.shift)
        return Head(head.weights, head.bias, bend)
    slope = calibration.above
    return Head(head.weights * slope, head.bias * slope + calibration.shift)


def fit_platt(logits: Float64Array, labels: LabelArray) -> CalibrationMap:
    """Slope and shift of least log-loss.

    Targets are smoothed as Platt has it, by one image more of each class, so that classes that
    lie apart give no infinite slope.

    Args:
        logits: of images their head did not see, float64 [n].
        labels: int8 [n].
    """
    inputs = np.stack([logits, np.ones(len(logits))], axis=1)
    slope, shift = fit_logistic(inputs, _smoothed(labels), np.array([1.0, 0.0]))
    slope = max(0.0, slope)
    if slope == 0.0:
        shift = _logit(float(_smoothed(labels).mean()))
    return CalibrationMap("platt", slope, slope, shift)


def fit_beta(logits: Float64Array, labels: LabelArray) -> CalibrationMap:
    """Two slopes and a shift of least log-loss; a slope that would fall is set to 0.

    Args:
        logits: of images their head did not see, float64 [n].
        labels: int8 [n].
    """
    parts = np.stack([-softplus(-logits), softplus(logits), np.ones(len(logits))], axis=1)
    targets = _smoothed(labels)
    below, above, shift = fit_logistic(parts, targets, np.array([1.0, 1.0, 0.0]))
    if below < 0.0:
        below, (above, shift) = 0.0, fit_logistic(parts[:, 1:], targets, np.array([1.0, 0.0]))
    elif above < 0.0:
        above, (below, shift) = 0.0, fit_logistic(parts[:, ::2], targets, np.array([1.0, 0.0]))
    if min(below, above) < 0.0:
        below = above = 0.0
        shift = _logit(float(targets.mean()))
    return CalibrationMap("beta", below, above, shift)


def _keep(logits: Float64Array, labels: LabelArray) -> CalibrationMap:
    return UNCHANGED


_FITS: dict[CalibrationKind, Callable[[Float64Array, LabelArray], CalibrationMap]] = {
    "none": _keep,
    "platt": fit_platt,
    "beta": fit_beta,
}


def choose_calibration(
    logits: Float64Array,
    labels: LabelArray,
    folds: IntArray,
) -> CalibrationChoice:
    """Platt scaling, unless another map is clearly better on images it was not fitted on.

    Clearly: its cross-validated log-loss is lower by more than two standard errors of the
    differences, image by image. That is rare, and should be: a map with two slopes costs every
    reader of the model two nodes more, and no map at all beats Platt's only where labels are few.

    Args:
        logits: of images their head did not see, float64 [n].
        labels: int8 [n], both classes present.
        folds: int64 [n]; whole groups of near-duplicates in one fold.
    """
    losses = {kind: _held_out_losses(kind, logits, labels, folds) for kind in _FITS}
    chosen: CalibrationKind = "platt"
    for kind in _OTHERS:
        gain = losses[chosen] - losses[kind]
        if gain.mean() > _CLEAR * gain.std() / math.sqrt(len(gain)):
            chosen = kind
    means = {kind: float(loss.mean()) for kind, loss in losses.items()}
    return CalibrationChoice(_FITS[chosen](logits, labels), means)


def _held_out_losses(
    kind: CalibrationKind, logits: Float64Array, labels: LabelArray, folds: IntArray
) -> Float64Array:
    """Each image's log-loss under a map fitted on the other folds, float64 [n]."""
    mapped = np.empty(len(logits))
    for fold in np.unique(folds):
        held = folds == fold
        fitted = _FITS[kind](logits[~held], labels[~held])
        mapped[held] = fitted.logits(logits[held])
    return softplus(np.where(labels == 1, -mapped, mapped))


def _smoothed(labels: LabelArray) -> Float64Array:
    ones = int(np.count_nonzero(labels == 1))
    zeros = len(labels) - ones
    targets: Float64Array = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    return targets


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)
