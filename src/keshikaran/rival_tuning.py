"""A rival's scores → probabilities under the policy, and its two thresholds.

Most rivals' scores are no probabilities under the policy, which is what costs are weighed with; so
Platt scaling on the validation images comes first (Platt 1999). It changes no order: a slope that
would fall or vanish, as it does for a rival that knows nothing of the policy, is kept just above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keshikaran.calibration import CalibrationMap, fit_platt, logits_of
from keshikaran.comparison import Entrant, Ground, Scale
from keshikaran.errors import NotEnoughImagesError
from keshikaran.operating_points import OperatingPoints, choose_operating_points
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.types import Float64Array, LabelArray

_LEAST_SLOPE = 1e-3


@dataclass(frozen=True, slots=True)
class Tuned:
    """A rival whose thresholds are chosen.

    Attributes:
        points: its thresholds on calibrated scores, and what became of the policy's demands.
        test: calibrated probabilities of the test images, float64 [t]; 0 where it has no score.
        own: `review` and `block` in its own numbers; None where no image is above them.
        tuned_on: validation images that it could score.
        reversed: whether its larger scores go with acceptable images.
    """

    points: OperatingPoints
    test: Float64Array
    own: tuple[float | None, float | None]
    tuned_on: int
    reversed: bool


def tune(ground: Ground, entrant: Entrant) -> Tuned:
    """Calibrate a rival and choose its thresholds, both on the validation images.

    Raises:
        NotEnoughImagesError: it has scored too few of them.
    """
    known = np.isfinite(entrant.validation)
    raw, labels = entrant.validation[known], ground.validation_labels[known]
    ones = int(np.count_nonzero(labels == 1))
    if not 0 < ones < len(labels):
        reason = f" {entrant.notes[0]}" if entrant.notes else ""
        msg = (
            f"{entrant.name} has scored {len(labels) - ones:,} acceptable and {ones:,}"
            f" objectionable validation images, which is too few to choose its thresholds.{reason}"
        )
        raise NotEnoughImagesError(msg, "Let it score all validation and test images.")
    to_input = _standardised(raw, entrant.scale)
    fitted = _platt(to_input(raw), labels)
    calibration = fitted.at_prevalence(float(labels.mean()), ground.prevalence)
    mapped = calibration.probabilities(to_input(raw))
    groups = [group for group, one in zip(ground.validation_groups, known, strict=True) if one]
    points = choose_operating_points(labels, mapped, ground.policy, ground.prevalence, groups)
    cuts = points.thresholds
    test = np.zeros(len(entrant.test))
    scored = np.isfinite(entrant.test)
    test[scored] = calibration.probabilities(to_input(entrant.test[scored]))
    own = (_own_cut(raw, mapped, cuts.review), _own_cut(raw, mapped, cuts.block))
    return Tuned(points, test, own, len(labels), roc_auc_estimate(labels, raw).high < 0.5)


def _standardised(raw: Float64Array, scale: Scale) -> Callable[[Float64Array], Float64Array]:
    """What Platt scaling gets: logits of probabilities, other numbers as they are, centred.

    One unit is a standard deviation of `raw`, so that a slope means the same for every rival.
    """
    values = logits_of(raw) if scale == "probability" else raw
    centre, spread = float(values.mean()), float(values.std()) or 1.0

    def inputs(scores: Float64Array) -> Float64Array:
        moved = logits_of(scores) if scale == "probability" else scores
        found: Float64Array = (moved - centre) / spread
        return found

    return inputs


def _platt(inputs: Float64Array, labels: LabelArray) -> CalibrationMap:
    """Platt scaling that keeps the order."""
    if np.ptp(inputs) == 0.0:
        share = float(labels.mean())
        return CalibrationMap("platt", 1.0, 1.0, float(np.log(share / (1 - share))))
    fitted = fit_platt(inputs, labels)
    slope = max(fitted.above, _LEAST_SLOPE)
    return CalibrationMap("platt", slope, slope, fitted.shift)


def _own_cut(raw: Float64Array, mapped: Float64Array, cut: float) -> float | None:
    """A cut in the rival's own numbers: halfway between the scores that it parts."""
    above, below = raw[mapped >= cut], raw[mapped < cut]
    if not len(above):
        return None
    lowest = float(above.min())
    return (lowest + float(below.max())) / 2 if len(below) else lowest
