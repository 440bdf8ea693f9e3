"""Do wrong labels come first in the list to check, and does correcting them repair the model?

On the clothing photographs, 5% of all labels (of train, validation and test alike) are flipped at
random, five times. Printed: the share of them within the first 10% of the list, by head and
neighbours together and by each alone; test ROC AUC, always judged by the right test labels, of
heads trained on right labels, on flipped ones, and on those that are left after correcting what
the first 10% shows. `--task` takes another of the tasks that the benchmarks know.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from accuracy import classes_of, features_of
from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.backbones import load_backbone
from keshikaran.dealing import hash_side
from keshikaran.head import fit_head, predict_proba
from keshikaran.ingest import import_source, scan_folder
from keshikaran.label_doubt import LabelTable, doubt_labels
from keshikaran.metrics import compute_metrics
from keshikaran.review import review_labels
from keshikaran.store import Store, group_of
from keshikaran.types import Float32Array, Float64Array, ImageId, LabelArray

SEEDS = 5
FLIPPED = 0.05
LOOKED_AT = 0.1


class Photographs:
    """The workspace's images with the labels of one task."""

    def __init__(self, folder: Path, positive: tuple[str, ...]) -> None:
        with Store(folder) as store:
            table = features_of(store, folder, load_backbone("efficientnet-lite0"), "crop", "f32")
            classes = classes_of(store, table.image_ids)
            groups = store.groups.of_images()
        self.ids: list[ImageId] = table.image_ids
        self.features: Float32Array = table.matrix[table.starts]
        self.groups = [group_of(image_id, groups) for image_id in self.ids]
        self.right: LabelArray = np.isin(classes, positive).astype(np.int8)
        self.sides = np.array([hash_side(image_id) for image_id in self.ids])

    def auc(self, labels: LabelArray) -> float:
        """Test ROC AUC of a head that learned `labels`, by the right test labels."""
        train, validation, test = (self.sides == side for side in ("train", "validation", "test"))
        fit = fit_head(
            self.features[train], labels[train], self.features[validation], labels[validation]
        )
        scores = predict_proba(fit.head, self.features[test])
        return compute_metrics(self.right[test], scores, 0.5).roc_auc or 0.0


def share_found(doubt: Float64Array, wrong: np.ndarray) -> float:
    """Share of the wrong labels among the tenth that is doubted most."""
    first = np.argsort(-doubt, kind="stable")[: round(LOOKED_AT * len(doubt))]
    return float(wrong[first].sum() / wrong.sum())


def one_run(photographs: Photographs, seed: int) -> dict[str, float]:
    """Flip, review, correct."""
    count = len(photographs.ids)
    rng = np.random.default_rng(seed)
    wrong = np.zeros(count, dtype=bool)
    wrong[rng.choice(count, round(FLIPPED * count), replace=False)] = True
    labels = np.where(wrong, 1 - photographs.right, photographs.right).astype(np.int8)
    every = np.ones(count, dtype=bool)
    table = LabelTable(photographs.features, labels, every, photographs.groups)
    started = time.perf_counter()
    review = review_labels(photographs.ids, table)
    seconds = time.perf_counter() - started

    row_of = {image_id: row for row, image_id in enumerate(photographs.ids)}
    listed = np.array([row_of[item.image_id] for item in review.items])
    first = listed[: round(LOOKED_AT * count)]
    corrected = labels.copy()
    corrected[first] = photographs.right[first]

    doubts = doubt_labels(table)
    signs = np.where(labels == 1, -1.0, 1.0)
    votes = np.array(
        [
            sum(max(cosine, 0.0) ** 4 * (labels[row] - 0.5) for row, cosine in near)
            for near in doubts.neighbours
        ]
    )
    return {
        "found": float(wrong[first].sum() / wrong.sum()),
        "found, head alone": share_found(signs * (doubts.scores - 0.5), wrong),
        "found, neighbours alone": share_found(signs * votes, wrong),
        "found in first 5%": float(wrong[listed[: round(0.05 * count)]].sum() / wrong.sum()),
        "look wrong by confident joint": float(review.suspicious),
        "test AUC, right labels": photographs.auc(photographs.right),
        "test AUC, flipped": photographs.auc(labels),
        "test AUC, corrected": photographs.auc(corrected),
        "seconds": seconds,
    }


def report(folder: Path, positive: tuple[str, ...]) -> None:
    """Five seeds of one task."""
    photographs = Photographs(folder, positive)
    runs = [one_run(photographs, seed) for seed in range(SEEDS)]
    rows: dict[str, object] = {"images": len(photographs.ids), "seeds": SEEDS}
    for name in runs[0]:
        rows[name] = statistics.mean(run[name] for run in runs)
    rows["found, worst seed"] = min(run["found"] for run in runs)
    rows["AUC lost after correcting, worst seed"] = max(
        run["test AUC, right labels"] - run["test AUC, corrected"] for run in runs
    )
    show(f"label court: {', '.join(positive)}", rows)


def main() -> None:
    """Run the tasks."""
    options = parser(__doc__)
    options.add_argument("--workspace", type=Path, help="one that holds the photographs already")
    options.add_argument("--task", type=int, action="append", choices=range(len(TASKS)))
    chosen = options.parse_args()
    show("machine", machine())
    with temporary_folder() as temporary:
        folder = chosen.workspace or temporary
        if chosen.workspace is None:
            with Store(folder) as store:
                import_source(store, scan_folder(clothing(chosen.data), TASKS[0]))
        for number in chosen.task or [0]:
            report(folder, TASKS[number])


if __name__ == "__main__":
    main()
