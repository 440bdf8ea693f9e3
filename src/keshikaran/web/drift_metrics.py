"""Drift for Prometheus: asked for when somebody looks, absent where nothing is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.registry import Collector

from keshikaran.drift import DRIFT_STATES, DriftFigures


class DriftCollector(Collector):
    """Figures of the model that answers.

    Attributes:
        figures: gives them; None while no model is compared.
    """

    def __init__(self) -> None:
        self.figures: Callable[[], DriftFigures] | None = None

    def collect(self) -> Iterator[Metric]:
        """One family a figure; while warming up there is only the state and the images."""
        if self.figures is None:
            return
        found = self.figures()
        state = {name.replace(" ", "_"): name == found.state for name in DRIFT_STATES}
        yield StateSetMetricFamily(
            "keshikaran_drift_state", "Whether images still look like the labelled ones.", state
        )
        for name, words, value in (
            ("images", "Images that are compared.", float(found.images)),
            ("psi", "Population stability index of the scores.", found.psi),
            ("psi_limit", "Above it, scores have drifted.", found.psi_limit),
            ("feature_distance", "Of the features, in standard deviations.", found.distance),
            ("feature_distance_limit", "Above it, features have drifted.", found.distance_limit),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"keshikaran_drift_{name}", words, value)
