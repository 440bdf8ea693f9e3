"""A small report, made up, to draw from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bundle_support import manifest
from keshikaran.evaluate import Terms, evaluate
from keshikaran.head import FitStep
from keshikaran.metrics import ScoredSet
from keshikaran.report import ReportContent
from keshikaran.store import Contradiction
from keshikaran.types import ImageId, Refusal, Thresholds

THRESHOLDS = Thresholds(review=0.2, block=0.55)
TERMS = Terms(THRESHOLDS, prevalence=1 / 3, label_prevalence=1 / 3)


def scored(rows: int, seed: int) -> ScoredSet:
    """Overlapping scores of both classes."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.array([0, 1, 0], dtype=np.int8), rows)[:rows]
    scores = np.clip(rng.normal(0.3 + 0.4 * labels, 0.2), 0.0, 1.0)
    return ScoredSet([ImageId(f"{number:064x}") for number in range(rows)], labels, scores)


def content(
    refusals: Sequence[Refusal] = (),
    contradictions: Sequence[Contradiction] = (),
    settings: dict[str, str] | None = None,
    test: ScoredSet | None = None,
    **more: Any,
) -> ReportContent:
    """What a report shows, with three steps on the way to the head."""
    steps = [
        FitStep(step, 10.0**step, 0.6 - 0.1 * step, 0.65 - 0.1 * step, 0.7, 0.6 + 0.1 * step)
        for step in range(3)
    ]
    return ReportContent(
        manifest=manifest(),
        settings=settings or {"backbone": "quadrants", "precision": "f32"},
        images={"seen": 300, "imported": 290, "duplicates": 6, "skipped": 4},
        split={
            "train": {"0": 150, "1": 75},
            "validation": {"0": 20, "1": 10},
            "test": {"0": 31, "1": 15},
        },
        evaluation=evaluate(scored(30, 1), test or scored(46, 2), TERMS),
        steps=steps,
        refusals=refusals,
        contradictions=contradictions,
        **more,
    )
