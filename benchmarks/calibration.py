"""Do scores mean what they say, and do promises hold on images that chose nothing?

Four tasks made from the clothing photographs, several split salts each. The head is fitted on the
training side; its calibration comes from out-of-fold scores of that side. Printed for each task:

- calibration error, Brier score and log-loss on test, before and after, with the calibration error
  that exact probabilities would show on as many images ("by chance");
- in how many salts `min_recall = 0.95` and `max_false_positive_rate = 0.02` held on test, with
  thresholds chosen on out-of-fold scores, on the validation side, or both: the observed rate, and
  whether the test's 95% interval allows the promise;
- precision at 1 in 100: whether a resample of the test set with that mix, and what the images that
  chose the thresholds foretold, lie within the interval printed for the test set.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accuracy import classes_of, features_of, split_by
from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.backbones import load_backbone
from keshikaran.calibration import (
    CalibrationChoice,
    CalibrationMap,
    choose_calibration,
    fit_beta,
    fit_platt,
    logits_of,
)
from keshikaran.calibration_figures import CalibrationFigures, calibration_figures
from keshikaran.dataset import Dataset
from keshikaran.head import fit_head, sigmoid
from keshikaran.ingest import import_source, scan_folder
from keshikaran.intervals import Estimate
from keshikaran.metrics import expected_calibration_error
from keshikaran.operating_figures import CutFigures, cut_figures
from keshikaran.operating_points import choose_operating_points
from keshikaran.out_of_fold import assign_folds, out_of_fold_scores
from keshikaran.policy import Policy
from keshikaran.store import Store
from keshikaran.training import DEFAULT_RESIZE_MODE
from keshikaran.types import Float64Array, GroupId, LabelArray, Thresholds

RECALL, RATE, RARE = 0.95, 0.02, 0.01
RESAMPLED = 20_000
Scored = tuple[LabelArray, Float64Array]
"""Labels and logits."""


@dataclass(frozen=True)
class Fitted:
    """One task under one salt.

    Attributes:
        sets: labels and logits: out of fold, validation, and test.
        choice: the calibration that was chosen on the first.
        maps: each candidate, fitted on the first.
    """

    sets: dict[str, Scored]
    choice: CalibrationChoice
    maps: dict[str, CalibrationMap]


def fitted(data: Dataset) -> Fitted:
    """Fit and calibrate; every image is a group of its own here."""
    features, labels = data.part("train")
    fit = fit_head(features, labels, *data.part("validation"))
    groups = [GroupId(data.image_ids[row]) for row in data.rows("train")]
    folds = assign_folds(groups, labels)
    logits = logits_of(out_of_fold_scores(features, labels, folds, fit.c or 1.0))
    sets = {"out of fold": (labels, logits)}
    for side in ("validation", "test"):
        scored = data.scored(side, fit.head)
        sets[side] = (scored.y_true, logits_of(scored.y_score))
    both = [
        np.concatenate(parts) for parts in zip(sets["out of fold"], sets["validation"], strict=True)
    ]
    sets["both"] = (both[0], both[1])
    choice = choose_calibration(logits, labels, folds)
    maps = {"platt": fit_platt(logits, labels), "beta": fit_beta(logits, labels)}
    return Fitted(sets, choice, maps | {"chosen": choice.chosen})


def mean(values: Iterable[float]) -> float:
    """The mean, for printing."""
    return statistics.mean(values)


def show_calibration(title: str, runs: list[Fitted]) -> None:
    """Figures on test before and after."""
    rows: dict[str, object] = {
        "chosen": " ".join(run.choice.chosen.kind for run in runs),
    }
    for name in ("before", "platt", "beta", "chosen"):
        found: list[CalibrationFigures] = []
        scores: list[Float64Array] = []
        for run in runs:
            labels, logits = run.sets["test"]
            mapped = sigmoid(logits) if name == "before" else run.maps[name].probabilities(logits)
            scores.append(mapped)
            found.append(calibration_figures(labels, mapped))
        truth = np.concatenate([run.sets["test"][0] for run in runs])
        rows |= {
            f"{name}: ECE, mean of salts": mean(f.ece for f in found),
            f"{name}: ECE, each salt": " ".join(f"{f.ece:.4f}" for f in found),
            f"{name}: ECE of exact probabilities": mean(f.ece_by_chance for f in found),
            f"{name}: ECE, all salts together": expected_calibration_error(
                truth, np.concatenate(scores)
            ),
            f"{name}: Brier score": mean(f.brier.score for f in found),
            f"{name}: its miscalibration": mean(f.brier.miscalibration for f in found),
            f"{name}: log-loss": mean(f.log_loss for f in found),
        }
    show(f"calibration, {title}", rows)


def show_promises(title: str, runs: list[Fitted]) -> None:
    """How often promises hold on test."""
    rows: dict[str, object] = {"test images": str([len(run.sets["test"][0]) for run in runs])}
    for source in ("out of fold", "validation", "both"):
        kept = {"recall": [0, 0], "rate": [0, 0]}
        told = 0
        levels: list[tuple[float, float]] = []
        for run in runs:
            cuts, supported = thresholds_from(run, source, None)
            told += supported
            labels, scores = calibrated(run, "test", None)
            review = cut_figures(labels, scores, cuts.review, RARE)
            block = cut_figures(labels, scores, cuts.block, RARE)
            count(kept["recall"], review.recall, RECALL, at_least=True)
            count(kept["rate"], block.false_positive_rate, RATE, at_least=False)
            levels.append((review.recall.value or 0.0, block.false_positive_rate.value or 0.0))
        rows |= {
            f"{source}: both promised": f"{told} of {len(runs)}",
            f"{source}: recall held as observed": f"{kept['recall'][0]} of {len(runs)}",
            f"{source}: recall within the interval": f"{kept['recall'][1]} of {len(runs)}",
            f"{source}: rate held as observed": f"{kept['rate'][0]} of {len(runs)}",
            f"{source}: rate within the interval": f"{kept['rate'][1]} of {len(runs)}",
            f"{source}: recall on test, mean": mean(level[0] for level in levels),
            f"{source}: rate on test, mean": mean(level[1] for level in levels),
        }
    show(f"promises, {title}", rows)


def count(kept: list[int], found: Estimate, asked: float, *, at_least: bool) -> None:
    """Count a promise as held outright, and as not refuted by the interval."""
    value = found.value or 0.0
    kept[0] += value >= asked if at_least else value <= asked
    kept[1] += found.high >= asked if at_least else found.low <= asked


def calibrated(run: Fitted, source: str, prevalence: float | None) -> Scored:
    """Labels and probabilities of a set under a prevalence; None: the labels'."""
    labels, logits = run.sets[source]
    known = float(run.sets["out of fold"][0].mean())
    chosen = run.choice.chosen
    if prevalence is not None:
        chosen = chosen.at_prevalence(known, prevalence)
    return labels, chosen.probabilities(logits)


def thresholds_from(run: Fitted, source: str, prevalence: float | None) -> tuple[Thresholds, bool]:
    """Thresholds chosen on a set, and whether both demands were promised."""
    policy = Policy(min_recall=RECALL, max_false_positive_rate=RATE, prevalence=prevalence)
    labels, scores = calibrated(run, source, prevalence)
    share = float(labels.mean()) if prevalence is None else prevalence
    points = choose_operating_points(labels, scores, policy, share)
    return points.thresholds, all(o.status == "supported" for o in points.outcomes)


def show_precision(title: str, runs: list[Fitted]) -> None:
    """Precision at 1 in 100, foretold and seen."""
    rows: dict[str, object] = {}
    for cut in ("review", "block"):
        held = {"seen": 0, "foretold": 0}
        seen: list[float] = []
        for number, run in enumerate(runs):
            thresholds, _ = thresholds_from(run, "both", RARE)
            at = getattr(thresholds, cut)
            observed = resampled(calibrated(run, "test", RARE), at, number)
            seen.append(observed)
            printed = figures(run, "test", at).precision
            foretold = figures(run, "both", at).precision.value or 0.0
            held["seen"] += printed.low <= observed <= printed.high
            held["foretold"] += printed.low <= foretold <= printed.high
        rows |= {
            f"{cut}: precision seen, mean": mean(seen),
            f"{cut}: seen, within the test's interval": f"{held['seen']} of {len(runs)}",
            f"{cut}: foretold, within the test's interval": f"{held['foretold']} of {len(runs)}",
        }
    show(f"precision at 1%, {title}", rows)


def figures(run: Fitted, source: str, cut: float) -> CutFigures:
    """One cut on a set, at 1%."""
    labels, scores = calibrated(run, source, RARE)
    return cut_figures(labels, scores, cut, RARE)


def resampled(scored: Scored, cut: float, seed: int) -> float:
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
    options.add_argument("--salts", type=int, default=5, help="splits for each task")
    chosen = options.parse_args()
    show("machine", machine())
    with temporary_folder() as temporary:
        folder = chosen.workspace or temporary
        with Store(folder) as store:
            import_source(store, scan_folder(clothing(chosen.data), ["dress"]))
            table = features_of(store, folder, load_backbone(), DEFAULT_RESIZE_MODE, "f32")
            classes = classes_of(store, table.image_ids)
            for task in TASKS:
                salts = [str(number) for number in range(chosen.salts)]
                runs = [fitted(split_by(table, classes, task, salt)) for salt in salts]
                show_calibration("+".join(task), runs)
                show_promises("+".join(task), runs)
                show_precision("+".join(task), runs)


if __name__ == "__main__":
    main()
