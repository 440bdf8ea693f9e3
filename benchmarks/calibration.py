"""Do scores mean what they say, and do promises hold on images that chose nothing?

Tasks made from the clothing photographs, several split salts each, dealt by groups of
near-duplicates. Heads are fitted and calibrated by the same functions as in training, so that what
is measured is what ships. Printed for each task:

- calibration error, Brier score and log-loss on test, before and after, with the calibration error
  that exact probabilities would show on as many images, and what remains without chance
  ("debiased"), with the number of salts whose interval allows for exact probabilities;
- in how many salts `min_recall = 0.95` and `max_false_positive_rate = 0.02` were promised, and held
  on test: the observed rate, and whether the test's 95% interval allows the promise;
- precision at 1 in 100: whether a resample of the test set with that mix, and what the validation
  images foretold, lie within the interval printed for the test set.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from accuracy import classes_of
from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.bootstrap import plan_resampling
from keshikaran.calibrate import CalibratedHead, LabelledRows, calibrate
from keshikaran.calibration_figures import CalibrationFigures, calibration_figures
from keshikaran.calibration_interval import calibration_error_estimate
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.dealing import Dealt, deal
from keshikaran.featurize import FeatureTable
from keshikaran.head import fit_head, predict_proba
from keshikaran.ingest import import_source, scan_folder
from keshikaran.intervals import Estimate
from keshikaran.metrics import expected_calibration_error
from keshikaran.operating_figures import cut_figures
from keshikaran.policy import Policy
from keshikaran.preparation import Tools, featurize_labelled, group_labelled, open_tools
from keshikaran.store import Store, Workspace, group_of
from keshikaran.training_run import TrainingOptions
from keshikaran.types import (
    Float64Array,
    GroupId,
    ImageId,
    Label,
    LabelArray,
    SilentProgress,
    Split,
)

RECALL, RATE, RARE = 0.95, 0.02, 0.01
RESAMPLED = 20_000
FIVE = 5


@dataclass(frozen=True)
class Run:
    """One task under one salt.

    Attributes:
        data: features, labels, sides.
        usual: calibrated for uploads as mixed as the labels.
        rare: the same head for uploads of which 1 in 100 is objectionable.
        test_groups: of near-duplicates, one for each test image.
    """

    data: Dataset
    usual: CalibratedHead
    rare: CalibratedHead
    test_groups: Sequence[GroupId]

    def scored(self, side: Split, head: CalibratedHead) -> tuple[LabelArray, Float64Array]:
        """Labels and scores of one side."""
        features, labels = self.data.part(side)
        return labels, predict_proba(head.head, features)


def run_of(
    tools: Tools, table: FeatureTable, classes: list[str], task: tuple[str, ...], salt: str
) -> Run:
    """Deal, fit and calibrate as training does."""
    named = dict(zip(table.image_ids, classes, strict=True))
    groups = tools.store.groups.of_images()
    images = [
        replace(image, label=cast("Label", int(named[image.image_id] in task)))
        for image in tools.store.labels.images()
        if image.image_id in named
    ]
    labels = {image.image_id: image.label for image in images}
    sides = dict(deal(images, groups, Dealt(), salt=salt).sides)
    data = make_dataset(table.image_ids, table.matrix, labels, sides, table.starts)
    fit = fit_head(*data.part("train"), *data.part("validation"))
    policy = Policy(min_recall=RECALL, max_false_positive_rate=RATE)
    rows = [rows_of(data, side, groups) for side in ("train", "validation")]
    return Run(
        data,
        calibrate(fit, rows[0], rows[1], policy),
        calibrate(fit, rows[0], rows[1], replace(policy, prevalence=RARE)),
        rows_of(data, "test", groups).groups,
    )


def rows_of(data: Dataset, side: str, groups: dict[ImageId, GroupId]) -> LabelledRows:
    """One side with its groups."""
    chosen = cast("Split", side)
    ids = [group_of(data.image_ids[row], groups) for row in data.rows(chosen)]
    return LabelledRows(*data.part(chosen), ids)


def mean(values: Iterable[float]) -> float:
    """The mean, for printing."""
    return statistics.mean(values)


def show_calibration(title: str, runs: list[Run]) -> None:
    """Figures on test before and after."""
    rows: dict[str, object] = {
        "chosen": " ".join(run.usual.choice.chosen.kind for run in runs),
        "test images": " ".join(str(len(run.data.part("test")[1])) for run in runs),
    }
    for name in ("before", "after"):
        found: list[CalibrationFigures] = []
        together: list[tuple[LabelArray, Float64Array]] = []
        true: list[Estimate] = []
        for run in runs:
            features, labels = run.data.part("test")
            scores = predict_proba(run.usual.raw if name == "before" else run.usual.head, features)
            together.append((labels, scores))
            found.append(calibration_figures(labels, scores))
            plan = plan_resampling(labels, run.test_groups)
            true.append(calibration_error_estimate(labels, scores, plan))
        equal = [equal_mass(*one) for one in together[:FIVE]]
        joined = [np.concatenate(parts) for parts in zip(*together, strict=True)]
        rows |= {
            f"{name}: ECE, mean of the first {FIVE} salts": mean(f.ece for f in found[:FIVE]),
            f"{name}: the same of exact probabilities": mean(f.ece_by_chance for f in found[:FIVE]),
            f"{name}: ECE, mean of all salts": mean(f.ece for f in found),
            f"{name}: the same of exact probabilities, all": mean(f.ece_by_chance for f in found),
            f"{name}: ECE debiased, mean of the first {FIVE} salts": mean(values(true[:FIVE])),
            f"{name}: ECE debiased, mean of all salts": mean(values(true)),
            f"{name}: ECE debiased, each salt": " ".join(f"{one:.4f}" for one in values(true)),
            f"{name}: its upper end, mean of all salts": mean(one.high for one in true),
            f"{name}: intervals that begin at 0": sum(one.low == 0 for one in true),
            f"{name}: ECE, ten bins of equally many images, first {FIVE} salts": mean(equal),
            f"{name}: the same of exact probabilities, equally many": mean(
                equal_mass_by_chance(scores) for _, scores in together[:FIVE]
            ),
            f"{name}: ECE, each salt": " ".join(f"{f.ece:.4f}" for f in found),
            f"{name}: ECE, all salts together": expected_calibration_error(joined[0], joined[1]),
            f"{name}: Brier score": mean(f.brier.score for f in found),
            f"{name}: its miscalibration": mean(f.brier.miscalibration for f in found),
            f"{name}: log-loss": mean(f.log_loss for f in found),
        }
    show(f"calibration, {title}", rows)


def equal_mass(labels: LabelArray, scores: Float64Array, bins: int = 10) -> float:
    """Calibration error in bins of equally many images (Roelofs et al. 2022)."""
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return sum(abs(float((scores[part] - labels[part]).sum())) for part in parts) / len(labels)


def equal_mass_by_chance(scores: Float64Array, rounds: int = 100) -> float:
    """The same of exact probabilities."""
    rng = np.random.default_rng(0)
    return mean(
        equal_mass((rng.random(len(scores)) < scores).astype(np.int8), scores)
        for _ in range(rounds)
    )


def values(found: Iterable[Estimate]) -> list[float]:
    """The figures without their intervals."""
    return [one.value or 0.0 for one in found]


def show_promises(title: str, runs: list[Run]) -> None:
    """How often promises hold on test."""
    kept = {"recall": [0, 0], "rate": [0, 0]}
    promised = 0
    levels: list[tuple[float, float]] = []
    for run in runs:
        cuts, outcomes = run.usual.points.thresholds, run.usual.points.outcomes
        promised += all(outcome.status == "supported" for outcome in outcomes)
        labels, scores = run.scored("test", run.usual)
        review = cut_figures(labels, scores, cuts.review, RARE)
        block = cut_figures(labels, scores, cuts.block, RARE)
        count(kept["recall"], review.recall, RECALL, at_least=True)
        count(kept["rate"], block.false_positive_rate, RATE, at_least=False)
        levels.append((review.recall.value or 0.0, block.false_positive_rate.value or 0.0))
    of = f"of {len(runs)}"
    rows: dict[str, object] = {
        "both promised": f"{promised} {of}",
        "recall of 95% held as observed": f"{kept['recall'][0]} {of}",
        "recall of 95% within the interval": f"{kept['recall'][1]} {of}",
        "false-positive rate of 2% held as observed": f"{kept['rate'][0]} {of}",
        "false-positive rate of 2% within the interval": f"{kept['rate'][1]} {of}",
        "recall on test, mean": mean(level[0] for level in levels),
        "false-positive rate on test, mean": mean(level[1] for level in levels),
    }
    show(f"promises, {title}", rows)


def count(kept: list[int], found: Estimate, asked: float, *, at_least: bool) -> None:
    """Count a promise as held outright, and as not refuted by the interval."""
    value = found.value or 0.0
    kept[0] += value >= asked if at_least else value <= asked
    kept[1] += found.high >= asked if at_least else found.low <= asked


def show_precision(title: str, runs: list[Run]) -> None:
    """Precision at 1 in 100, foretold and seen."""
    rows: dict[str, object] = {}
    for cut in ("review", "block"):
        seen: list[float] = []
        told: list[float] = []
        held = {"seen": 0, "foretold": 0}
        for number, run in enumerate(runs):
            at = getattr(run.rare.points.thresholds, cut)
            test = run.scored("test", run.rare)
            printed = cut_figures(*test, at, RARE).precision
            seen.append(resampled(test, at, number))
            told.append(
                cut_figures(*run.scored("validation", run.rare), at, RARE).precision.value or 0
            )
            held["seen"] += printed.low <= seen[-1] <= printed.high
            held["foretold"] += printed.low <= told[-1] <= printed.high
        rows |= {
            f"{cut}: precision seen, mean": mean(seen),
            f"{cut}: precision foretold, mean": mean(told),
            f"{cut}: seen, within the test's interval": f"{held['seen']} of {len(runs)}",
            f"{cut}: foretold, within the test's interval": f"{held['foretold']} of {len(runs)}",
        }
    show(f"precision at 1%, {title}", rows)


def resampled(scored: tuple[LabelArray, Float64Array], cut: float, seed: int) -> float:
    """Precision on 20,000 images drawn from a set, 1 in 100 of them objectionable."""
    labels, scores = scored
    rng = np.random.default_rng(seed)
    ones, zeros = scores[labels == 1], scores[labels == 0]
    rare = int(RARE * RESAMPLED)
    right = np.count_nonzero(rng.choice(ones, rare) >= cut)
    wrong = np.count_nonzero(rng.choice(zeros, RESAMPLED - rare) >= cut)
    return right / max(1, right + wrong)


def main() -> None:
    """Import, featurize, measure."""
    options = parser(__doc__)
    options.add_argument("--workspace", type=Path, help="keep features here between runs")
    options.add_argument("--salts", type=int, default=10, help="splits for each task")
    options.add_argument("--tasks", type=int, default=len(TASKS), help="how many of them")
    chosen = options.parse_args()
    show("machine", machine())
    with ExitStack() as stack:
        folder = chosen.workspace or stack.enter_context(temporary_folder())
        with Store(folder) as store:
            import_source(store, scan_folder(clothing(chosen.data), ["dress"]))
        tools = stack.enter_context(open_tools(Workspace(folder), TrainingOptions()))
        table = featurize_labelled(tools, SilentProgress())
        group_labelled(tools, table, SilentProgress())
        classes = classes_of(tools.store, table.image_ids)
        for task in TASKS[: chosen.tasks]:
            salts = [str(number) for number in range(chosen.salts)]
            runs = [run_of(tools, table, classes, task, salt) for salt in salts]
            show_calibration("+".join(task), runs)
            show_promises("+".join(task), runs)
            show_precision("+".join(task), runs)


if __name__ == "__main__":
    main()
