"""One rival against a model: both held against the same policy, on the same images.

Thresholds of both are chosen anew, by the same demands, on the same validation images
(`rival_tuning`). Those that the model has rest on scores of training images too, which rivals do
not have: they are better, and would make any rival look worse than it is.

Differences are paired: both are counted on the same resamples of the test images, groups of
near-duplicates as a whole. An image without a score is neither found nor blocked, and ranks below
all others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keshikaran.bootstrap import Statistic, bootstrap_estimate, difference, plan_resampling
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
from keshikaran.types import BoolArray, Float64Array, Thresholds
from keshikaran.weighted_figures import weighted_roc_auc, weighted_share


def compare(ground: Ground, yours: Entrant, rival: Entrant) -> Comparison:
    """Tune a model and a rival, and hold one against the other.

    Args:
        ground: labelled images, both labels on both sides.
        yours: the model's scores of them.
        rival: the rival's.

    Raises:
        NotEnoughImagesError: one has scored too few validation images to choose thresholds.
    """
    tuned = [tune(ground, entrant) for entrant in (yours, rival)]
    figures = [_figures(ground, one) for one in tuned]
    gaps = _differences(ground, tuned[0], tuned[1])
    better = _better(gaps.roc_auc)
    unscored = int(np.isnan(rival.test).sum())
    return Comparison(
        name=rival.name,
        version=rival.version,
        licence=rival.licence,
        meaning=rival.meaning,
        thresholds=tuned[1].points.thresholds,
        your_thresholds=tuned[0].points.thresholds,
        review_from=tuned[1].own[0],
        block_from=tuned[1].own[1],
        chosen_for=tuned[1].points.chosen_for,
        promises=tuned[1].points.outcomes,
        tuned_on=tuned[1].tuned_on,
        unscored_validation=len(rival.validation) - tuned[1].tuned_on,
        unscored_test=unscored,
        yours=figures[0],
        rival=figures[1],
        difference=gaps,
        better=better,
        words=_words(rival.name, figures[0], figures[1], gaps.roc_auc, better),
        notes=(
            *rival.notes,
            *_notes(rival.name, unscored, len(rival.test), tuned[1]),
            *_rare(figures[0]),
        ),
    )


def _figures(ground: Ground, tuned: Tuned) -> SideFigures:
    labels, scores, cuts = ground.test_labels, tuned.test, tuned.points.thresholds
    uploads = ground.policy.uploads_per_day
    return SideFigures(
        roc_auc_estimate(labels, scores),
        recall_at(labels, scores, LOW_RATE, ground.test_groups),
        operating_figures(labels, scores, cuts, ground.prevalence, uploads),
    )


def _differences(ground: Ground, yours: Tuned, rival: Tuned) -> Differences:
    """Each figure of both sides on the same resamples."""
    labels = ground.test_labels
    plan = plan_resampling(labels, ground.test_groups)
    sides = [(one.test, one.points.thresholds) for one in (yours, rival)]

    def gap(figure: Callable[[Float64Array, Thresholds], Statistic]) -> Estimate:
        return bootstrap_estimate(difference(*(figure(*side) for side in sides)), plan)

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
    found = f"{_share(rival.found)} (yours: {_share(yours.found)})"
    stopped = [_share(side.stopped) for side in (rival, yours)]
    return (
        f"{low} {name} finds {theirs} of the objectionable images where yours finds {ours}."
        f" With thresholds for the same policy, chosen on the same images, it finds {found}"
        f" and stops {stopped[0]} of the acceptable images (yours: {stopped[1]})."
        f" Area under the ROC curve, yours minus its: {area}: {verdicts[better]}."
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
