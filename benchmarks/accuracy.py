"""How good is the exact head, and how good the seed's recipe on the same features and split?

Four tasks made from the clothing photographs, five split salts each; test ROC AUC, mean over the
salts. With `--resize all`, every resize mode is compared: that is how the default was chosen.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.backbones import Backbone, load_backbone, open_engine
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.dealing import hash_side
from keshikaran.featurize import FeatureTable, Featurizer, featurize
from keshikaran.head import fit_head
from keshikaran.ingest import import_source, scan_folder
from keshikaran.metrics import compute_metrics
from keshikaran.pixels import RESIZE_MODES, PixelSpec, ResizeMode
from keshikaran.seed_recipe import fit_seed_recipe
from keshikaran.store import FeatureCache, Store
from keshikaran.training import DEFAULT_RESIZE_MODE
from keshikaran.types import ImageId, Precision

SALTS = ("0", "1", "2", "3", "4")


def classes_of(store: Store, image_ids: list[ImageId]) -> list[str]:
    """The class folder each image came from."""
    return [Path(store.entries_of(image_id)[0]).parent.name for image_id in image_ids]


def features_of(
    store: Store, folder: Path, backbone: Backbone, mode: ResizeMode, precision: Precision
) -> FeatureTable:
    """Features of every stored image."""
    spec = PixelSpec(backbone.height, backbone.width, mode)

    def opened(model: bytes) -> object:
        return open_engine(model, precision=precision)

    featurizer = Featurizer(backbone, spec, precision, opened)  # type: ignore[arg-type]
    with FeatureCache(folder / "features.sqlite") as cache:
        images = [image.image_id for image in store.labels.images()]
        return featurize(store, cache, featurizer, images)


def split_by(table: FeatureTable, classes: list[str], task: tuple[str, ...], salt: str) -> Dataset:
    """The table with this task's labels and this salt's sides."""
    labels = {
        image_id: 1 if name in task else 0
        for image_id, name in zip(table.image_ids, classes, strict=True)
    }
    sides = {image_id: hash_side(image_id, salt) for image_id in table.image_ids}
    return make_dataset(table.image_ids, table.matrix, labels, sides)  # type: ignore[arg-type]


def test_auc(data: Dataset, recipe: str) -> float:
    """ROC AUC on the test images."""
    fit = (fit_head if recipe == "exact" else fit_seed_recipe)(
        *data.part("train"), *data.part("validation")
    )
    test = data.scored("test", fit.head)
    return compute_metrics(test.y_true, test.y_score, 0.5).roc_auc or 0.0


def compare(table: FeatureTable, classes: list[str], title: str) -> None:
    """Print mean AUCs of both recipes on all tasks, and how often the exact one is behind."""
    for task in TASKS:
        splits = [split_by(table, classes, task, salt) for salt in SALTS]
        exact = [test_auc(data, "exact") for data in splits]
        seed = [test_auc(data, "seed") for data in splits]
        rows = {
            "exact, mean test ROC AUC": statistics.mean(exact),
            "exact, each salt": " ".join(f"{value:.4f}" for value in exact),
            "seed recipe, mean test ROC AUC": statistics.mean(seed),
            "seed recipe, each salt": " ".join(f"{value:.4f}" for value in seed),
            "salts where exact is below seed": sum(a < b for a, b in zip(exact, seed, strict=True)),
        }
        show(f"accuracy, {'+'.join(task)}, {title}", rows)


def main() -> None:
    """Import, featurize, compare."""
    options = parser(__doc__)
    options.add_argument("--resize", choices=[*RESIZE_MODES, "all"], default=DEFAULT_RESIZE_MODE)
    options.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    options.add_argument("--workspace", type=Path, help="keep features here between runs")
    chosen = options.parse_args()
    modes = RESIZE_MODES if chosen.resize == "all" else (chosen.resize,)
    show("machine", machine())
    with temporary_folder() as temporary:
        folder = chosen.workspace or temporary
        with Store(folder) as store:
            import_source(store, scan_folder(clothing(chosen.data), ["dress"]))
            backbone = load_backbone()
            for mode in modes:
                table = features_of(store, folder, backbone, mode, chosen.precision)
                classes = classes_of(store, table.image_ids)
                compare(table, classes, f"{mode}, {chosen.precision}")


if __name__ == "__main__":
    main()
