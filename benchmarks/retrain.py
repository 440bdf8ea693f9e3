"""How long does a training take that has 100 new labels and 20,000 images with cached features?

The clothing photographs are imported and featurized, and rows are made up until there are enough:
each is a mixture of two photographs of one class, in catalogue and cache only (with what a look at
its pixels would have said). All images on the validation side are real files, since the bundle is
proved on them. 100 images are left unlabelled;
labelling them is what comes before the training that counts, which runs in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common import TASKS, clothing, keshikaran, machine, median_of, parser, show, temporary_folder
from keshikaran.dealing import hash_side
from keshikaran.featurize import FeatureTable, featurize
from keshikaran.head import fit_head, predict_proba
from keshikaran.ingest import import_source, scan_folder
from keshikaran.preparation import open_tools
from keshikaran.store import FeatureCache, ImageRecord, Look, SourceEntry, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, ImageId, Label, SilentProgress

_AT_ONCE = 2_000
_NOISE = 0.02
_TRUTH = 0.01

MadeUp = tuple[ImageId, Float32Array, Label | None]
"""Id, features, and the label if it has one."""


def real_images(workspace: Workspace, source: Path) -> tuple[FeatureTable, list[Label]]:
    """Import and featurize the photographs; features and labels."""
    with Store(workspace.folder) as store:
        import_source(store, scan_folder(source, TASKS[0]))
    with open_tools(workspace, TrainingOptions()) as tools:
        label_of = {image.image_id: image.label for image in tools.store.labels.images()}
        table = featurize(
            tools.store, tools.cache, tools.featurizer, list(label_of), SilentProgress()
        )
    return table, [label_of[image_id] for image_id in table.image_ids]


def made_up(table: FeatureTable, labels: list[Label], count: int, unlabelled: int) -> list[MadeUp]:
    """Images that never were: ids off the validation side, mixed features, labels.

    A label is drawn with the probability that a head fitted on the photographs gives, so that
    the classes overlap as they do in life.
    """
    rng = np.random.default_rng(0)
    firsts, values = table.matrix[table.starts], np.array(labels, dtype=np.int8)
    truth = fit_head(firsts, values, firsts, values, grid=(_TRUTH,)).head
    images: list[MadeUp] = []
    while len(images) < count:
        image_id = ImageId(rng.bytes(32).hex())
        if hash_side(image_id) == "validation":
            continue
        one, two = rng.integers(len(firsts), size=2)
        share = rng.uniform(0.5, 1.0)
        mixed = share * firsts[one] + (1 - share) * firsts[two]
        mixed = (mixed + rng.normal(0.0, _NOISE, mixed.shape)).astype(np.float32)
        drawn: Label = 1 if rng.random() < predict_proba(truth, mixed[None])[0] else 0
        images.append((image_id, mixed, None if len(images) < unlabelled else drawn))
    return images


def fill(workspace: Workspace, images: list[MadeUp]) -> None:
    """Write made-up images into catalogue and cache."""
    with open_tools(workspace, TrainingOptions()) as tools:
        recipe = tools.featurizer.recipe
    with Store(workspace.folder) as store, FeatureCache(workspace.features) as cache:
        for start in range(0, len(images), _AT_ONCE):
            part = images[start : start + _AT_ONCE]
            store.add(
                [ImageRecord(i, i[:40], "jpeg", 1, 400, 533) for i, _, _ in part],
                [SourceEntry("/made-up", f"{i}.jpg", i, label) for i, _, label in part],
                who="benchmark",
            )
            cache.put(recipe, [(i, row[None]) for i, row, _ in part], [])
            cache.looks.put({i: Look(frames=1, greyscale=False) for i, _, _ in part})


def train(workspace: Workspace) -> tuple[dict[str, Any], float]:
    """Train as a user does; the printed object and wall seconds."""
    result, wall, _ = keshikaran("train", "--workspace", str(workspace.folder), "--json")
    return result, wall


def one_round(workspace: Workspace, new: list[ImageId]) -> dict[str, float]:
    """Train, label some images, train again (that is what counts), and take the labels back."""
    train(workspace)
    with Store(workspace.folder) as store:
        for number, image_id in enumerate(new):
            store.labels.say(image_id, 1 if number % 5 == 0 else 0, who="benchmark", why="")
    result, wall = train(workspace)
    with Store(workspace.folder) as store:
        for image_id in new:
            store.labels.say(image_id, None, who="benchmark", why="")
    timing: dict[str, float] = result["timing_s"]
    return {
        "images": result["featurize"]["images"],
        "whole process, s": wall,
        **{f"{name}, s": seconds for name, seconds in timing.items()},
        "fit's share of train itself": timing["fit"] / timing["total"],
        "test ROC AUC": result["metrics"]["test"]["roc_auc"],
    }


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=20_000)
    options.add_argument("--labels", type=int, default=100, help="how many are new")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workspace", type=Path, help="make it here, or use the one there")
    chosen = options.parse_args()
    with temporary_folder() as folder:
        workspace = Workspace(chosen.workspace or folder / "w")
        if not workspace.features.exists():
            table, labels = real_images(workspace, clothing(chosen.data))
            count = chosen.images - len(labels)
            fill(workspace, made_up(table, labels, count, chosen.labels))
        with Store(workspace.folder) as store:
            new = store.labels.unlabelled()
        rounds = [one_round(workspace, new) for _ in range(chosen.rounds)]
    show(f"retrain after {chosen.labels} new labels", {**machine(), **median_of(rounds)})


if __name__ == "__main__":
    main()
