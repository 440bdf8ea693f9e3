"""Would another map make better probabilities than the one in use?

The first task of `calibration.py`, several split salts: each map is fitted on scores of training
images by heads that never saw them, and judged on test images by log-loss, the mean calibration
error of the salts, and the error of all their test sets together. The last map is fitted on the
test images themselves: no map of its kind could look better but by chance.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accuracy import classes_of
from calibration import mean, rows_of, run_of
from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.calibration import CalibrationMap, fit_beta, fit_platt, logits_of
from keshikaran.featurize import FeatureTable
from keshikaran.head import fit_head, predict_proba, sigmoid
from keshikaran.ingest import import_source, scan_folder
from keshikaran.metrics import expected_calibration_error, log_loss
from keshikaran.out_of_fold import assign_folds, out_of_fold_scores
from keshikaran.preparation import Tools, featurize_labelled, group_labelled, open_tools
from keshikaran.soft_logistic import fit_logistic
from keshikaran.store import Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float64Array, IntArray, LabelArray, SilentProgress


@dataclass(frozen=True)
class Logits:
    """One split: unseen training images, validation and test images."""

    train: Float64Array
    train_labels: LabelArray
    folds: IntArray
    validation: Float64Array
    validation_labels: LabelArray
    test: Float64Array
    test_labels: LabelArray


def hard_platt(logits: Float64Array, labels: LabelArray) -> CalibrationMap:
    """Platt scaling without smoothed targets."""
    inputs = np.stack([logits, np.ones(len(logits))], axis=1)
    slope, shift = fit_logistic(inputs, labels.astype(np.float64), np.array([1.0, 0.0]))
    return CalibrationMap("platt", slope, slope, shift)


def mapped(one: Logits, everything: CalibrationMap) -> dict[str, Float64Array]:
    """Test logits under each map."""
    platt = fit_platt(one.train, one.train_labels)
    parts = [one.folds != fold for fold in np.unique(one.folds)]
    folds = [fit_platt(one.train[part], one.train_labels[part]) for part in parts]
    more = fit_platt(
        np.append(one.train, one.validation), np.append(one.train_labels, one.validation_labels)
    )
    return {
        "none": one.test,
        "Platt, smoothed targets (in use)": platt.logits(one.test),
        "Platt, hard targets": hard_platt(one.train, one.train_labels).logits(one.test),
        "mean of maps without each fold": np.mean([m.logits(one.test) for m in folds], axis=0),
        "Platt on validation images too": more.logits(one.test),
        "beta": fit_beta(one.train, one.train_labels).logits(one.test),
        "Platt fitted on all test images": everything.logits(one.test),
    }


def logits_under(
    tools: Tools, table: FeatureTable, classes: list[str], task: tuple[str, ...], salt: str
) -> Logits:
    """What the maps are fitted on and judged on."""
    data = run_of(tools, table, classes, task, salt).data
    train = rows_of(data, "train", tools.store.groups.of_images())
    fit = fit_head(*data.part("train"), *data.part("validation"))
    folds = assign_folds(train.groups, train.labels)
    unseen = out_of_fold_scores(train.features, train.labels, folds, fit.c, near=fit.head)
    sides = []
    for side in ("validation", "test"):
        features, labels = data.part(side)
        sides += [logits_of(predict_proba(fit.head, features)), labels]
    return Logits(logits_of(unseen), train.labels, folds, *sides)


def main() -> None:
    """Fit and judge."""
    options = parser(__doc__)
    options.add_argument("--workspace", type=Path, help="keep features here between runs")
    options.add_argument("--salts", type=int, default=10)
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
        task = TASKS[0]
        salts = [str(number) for number in range(chosen.salts)]
        splits = [logits_under(tools, table, classes, task, salt) for salt in salts]
    labels = np.concatenate([one.test_labels for one in splits])
    everything = hard_platt(np.concatenate([one.test for one in splits]), labels)
    found = [mapped(one, everything) for one in splits]
    rows = {}
    for name in found[0]:
        scores = [sigmoid(one[name]) for one in found]
        pairs = [(one.test_labels, part) for one, part in zip(splits, scores, strict=True)]
        together = expected_calibration_error(labels, np.concatenate(scores))
        rows[name] = (
            f"log-loss {mean(log_loss(*pair) for pair in pairs):.4f}, error of five salts"
            f" {mean(expected_calibration_error(*pair) for pair in pairs[:5]):.4f},"
            f" of all together {together:.4f}"
        )
    show("maps, " + "+".join(task), rows)


if __name__ == "__main__":
    main()
