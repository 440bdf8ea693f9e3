"""One rival against a model: both held against the same policy, on the same images.

The rival's thresholds are chosen on the validation images as the model's are: by the same demands,
with the same bounds (`rival_tuning`).

Differences are paired: both are counted on the same resamples of the test images, groups of
near-duplicates as a whole. An image without a score is neither found nor blocked, and ranks below
all others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keshikaran.bootstrap import Plan, Statistic, bootstrap_estimate, difference, plan_resampling
from keshikaran.comparison import (
    LOW_RATE,
    Better,
    Comparison,
    Differences,
    Entrant,
    Ground,
    SideFigures,
)
from keshikaran.curves import recall_at, weighted_recall_at
from keshikaran.intervals import Estimate
from keshikaran.operating_figures import operating_figures
from keshikaran.promises import percent
from keshikaran.rival_tuning import Tuned, tune
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.types import BoolArray, Float64Array, LabelArray, Thresholds
from keshikaran.weighted_figures import weighted_roc_auc, weighted_share


def compare(ground: Ground, entrant: Entrant) -> Comparison:
    """Tune a rival and hold it against the model.

    Args:
        ground: labelled images with the model's scores, both labels on both sides.
        entrant: the rival's scores of the same images.

    Raises:
        NotEnoughImagesError: the rival has scored too few validation images to choose thresholds.
    """
    tuned = tune(ground, entrant)
    labels, groups = ground.test_labels, ground.test_groups
    theirs = tuned.points.thresholds
    yours = _figures(ground, ground.scores, ground.thresholds)
    rival = _figures(ground, tuned.test, theirs)
    plan = plan_resampling(labels, groups)
    gaps = _differences(labels, (ground.scores, ground.thresholds), (tuned.test, theirs), plan)
    better = _better(gaps.roc_auc)
    unscored = int(np.isnan(entrant.test).sum())
    return Comparison(
        name=entrant.name,
        version=entrant.version,
        licence=entrant.licence,
        meaning=entrant.meaning,
        thresholds=theirs,
        review_from=tuned.own[0],
        block_from=tuned.own[1],
        chosen_for=tuned.points.chosen_for,
        promises=tuned.points.outcomes,
        tuned_on=tuned.tuned_on,
        unscored_validation=len(entrant.validation) - tuned.tuned_on,
        unscored_test=unscored,
        yours=yours,
        rival=rival,
        difference=gaps,
        better=better,
        words=_words(entrant.name, yours, rival, gaps.roc_auc, better),
        notes=(*entrant.notes, *_notes(entrant.name, unscored, len(labels), tuned), *_rare(yours)),
    )


def _figures(ground: Ground, scores: Float64Array, thresholds: Thresholds) -> SideFigures:
    labels = ground.test_labels
    uploads = ground.policy.uploads_per_day
    return SideFigures(
        roc_auc_estimate(labels, scores),
        recall_at(labels, scores, LOW_RATE, ground.test_groups),
        operating_figures(labels, scores, thresholds, ground.prevalence, uploads),
    )


_Side = tuple[Float64Array, Thresholds]


def _differences(labels: LabelArray, yours: _Side, rival: _Side, plan: Plan) -> Differences:
    """Each figure of both sides on the same resamples."""

    def gap(figure: Callable[[Float64Array, Thresholds], Statistic]) -> Estimate:
        return bootstrap_estimate(difference(figure(*yours), figure(*rival)), plan)

    def share(label: int, called: BoolArray) -> Statistic:
        return weighted_share(called.astype(np.float64), (labels == label).astype(np.float64))

    return Differences(
        roc_auc=gap(lambda scores, _: weighted_roc_auc(labels, scores)),
        recall_at=gap(lambda scores, _: weighted_recall_at(labels, scores, LOW_RATE)),
        found=gap(lambda scores, cuts: share(1, scores >= cuts.review)),
        stopped=gap(lambda scores, cuts: share(0, scores >= cuts.review)),
        wrongly_blocked=gap(lambda scores, cuts: share(0, scores >= cuts.block)),
    )


def _better(gap: Estimate) -> Better:
    if gap.low > 0:
        return "yours"
    return "rival" if gap.high < 0 else "unclear"


def _words(name: str, yours: SideFigures, rival: SideFigures, gap: Estimate, better: Better) -> str:
    """The comparison in sentences; the first is the one to remember."""
    low = f"At {percent(LOW_RATE)} false positives"
    ours, theirs = _share(yours.recall_at.recall), _share(rival.recall_at.recall)
    verdicts = {
        "yours": "yours is better",
        "rival": f"{name} is better",
        "unclear": "these images do not tell which is better",
    }
    area = f"{gap.value or 0.0:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    return (
        f"{low} {name} finds {theirs} of the objectionable images where yours finds {ours}."
        f" With thresholds for the same policy it finds {_share(rival.found)} (yours:"
        f" {_share(yours.found)}) and stops {_share(rival.stopped)} of the acceptable images"
        f" (yours: {_share(yours.stopped)}). Area under the ROC curve, yours minus its: {area}:"
        f" {verdicts[better]}."
    )


def _rare(figures: SideFigures) -> tuple[str, ...]:
    """What to think of recalls at 1% false positives where few images are acceptable."""
    found = figures.recall_at
    if found.supported:
        return ()
    return (
        f"{found.have:,} acceptable test images are too few to speak of {percent(found.rate)} false"
        f" positives: it takes {found.needed:,}. Take recalls at that rate as rough.",
    )


def _share(figure: Estimate) -> str:
    return f"{figure.value or 0.0:.0%}"


def _notes(name: str, unscored: int, images: int, tuned: Tuned) -> tuple[str, ...]:
    notes = []
    if unscored:
        notes.append(
            f"{name} could not score {unscored:,} of {images:,} test images: they count as neither"
            " found nor blocked."
        )
    if tuned.reversed:
        notes.append(
            f"On the validation images, larger scores of {name} go with acceptable images. If they"
            " mean the opposite of what is asked here, turn them round."
        )
    return tuple(notes)
