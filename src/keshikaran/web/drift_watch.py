"""The drift watch of one loaded model, and what the log says about it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from keshikaran.drift import DriftFigures, DriftWatch
from keshikaran.drift_reference import reference_of
from keshikaran.predictor import Predictor
from keshikaran.types import Float32Array
from keshikaran.web.log import note


def watch_drift(predictor: Predictor, window: int) -> Callable[[], DriftFigures] | None:
    """Compare what a model is asked about with what it was judged on, from now on.

    Args:
        predictor: the model; it tells each image's score and features.
        window: how many images are compared at a time; 0 compares none.

    Returns:
        Gives the figures found last; None where nothing is compared, which the log says.
    """
    if not window:
        return None
    manifest = predictor.manifest
    if not manifest.reference:
        what = "The model says nothing about the images it was judged on: drift is not watched."
        hint = "Train again with at least 10 validation and test images of each class."
        note(logging.INFO, "drift_unknown", model_id=manifest.model_id, detail=what, hint=hint)
        return None

    def changed(figures: DriftFigures) -> None:
        level = logging.WARNING if figures.state == "drifting" else logging.INFO
        note(level, "drift", **line_of(figures), model_id=manifest.model_id)

    watch = DriftWatch(reference_of(manifest.reference), window, changed)
    width = manifest.parts[0]["features"]

    def seen(score: float, features: Float32Array) -> None:
        watch.add(score, features[:width])

    predictor.watch_images(seen)
    return watch.figures


def line_of(figures: DriftFigures) -> dict[str, object]:
    """Figures, and what they mean, as fields of a line."""
    return {
        "state": figures.state,
        "images": figures.images,
        "psi": _rounded(figures.psi),
        "psi_limit": _rounded(figures.psi_limit),
        "feature_distance": _rounded(figures.distance),
        "feature_distance_limit": _rounded(figures.distance_limit),
        "detail": _meaning(figures),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _meaning(figures: DriftFigures) -> str:
    if figures.state != "drifting":
        return "The last images look like those the model was judged on."
    if (figures.distance or 0) > (figures.distance_limit or 0):
        return (
            "The last images are of another kind than those the model was judged on. Import some of"
            " them, label what `keshikaran suggest` names, and train again."
        )
    return (
        "Scores are spread otherwise than on the images the model was judged on, though the images"
        f" look alike; about {figures.objectionable or 0:.0%} seem to be objectionable. Set"
        " `prevalence` in policy.toml to what is true, or label recent images, and train again."
    )
