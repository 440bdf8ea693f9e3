"""On real photographs: wrong labels come first, and correcting them repairs the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keshikaran.backbones import load_backbone, open_engine
from keshikaran.dealing import hash_side
from keshikaran.featurize import Featurizer, featurize
from keshikaran.head import fit_head, predict_proba
from keshikaran.ingest import import_source, scan_folder
from keshikaran.label_doubt import LabelTable
from keshikaran.metrics import compute_metrics
from keshikaran.pixels import PixelSpec
from keshikaran.review import review_labels
from keshikaran.rows import Features
from keshikaran.store import FeatureCache, Store, group_of
from keshikaran.types import ImageId, LabelArray

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(900)]

_POSITIVES = ("dress", "skirt", "shorts")


@pytest.fixture(scope="module")
def clothing(
    photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[ImageId], LabelTable]:
    """All photographs under their right labels."""
    source = photographs / "clothing" / "images"
    if not source.is_dir():
        pytest.fail(f"{source} is missing; set KESHIKARAN_TEST_DATA")
    folder = tmp_path_factory.mktemp("clothing")
    backbone = load_backbone("efficientnet-lite0")
    spec = PixelSpec(backbone.height, backbone.width, "crop")
    with Store(folder) as store, FeatureCache(folder / "features.sqlite") as cache:
        import_source(store, scan_folder(source, _POSITIVES))
        labels = {image.image_id: image.label for image in store.labels.images()}
        featurizer = Featurizer(backbone, spec, "f32", open_engine)
        found = featurize(store, cache, featurizer, list(labels))
        groups = store.groups.of_images()
    return found.image_ids, LabelTable(
        features=found.matrix[found.starts],
        labels=np.array([labels[image_id] for image_id in found.image_ids], dtype=np.int8),
        labelled=np.ones(len(found.image_ids), dtype=bool),
        groups=[group_of(image_id, groups) for image_id in found.image_ids],
    )


def _auc(ids: list[ImageId], table: Features, learned: LabelArray, right: LabelArray) -> float:
    features = np.asarray(table)
    sides = np.array([hash_side(image_id) for image_id in ids])
    train, validation, test = (sides == side for side in ("train", "validation", "test"))
    fit = fit_head(features[train], learned[train], features[validation], learned[validation])
    scores = predict_proba(fit.head, features[test])
    return compute_metrics(right[test], scores, 0.5).roc_auc or 0.0


@pytest.mark.parametrize("seed", range(5))
def test_flipped_labels_are_in_the_first_tenth_and_correcting_them_repairs_the_model(
    clothing: tuple[list[ImageId], LabelTable], seed: int
) -> None:
    ids, table = clothing
    rng = np.random.default_rng(seed)
    wrong = np.zeros(len(ids), dtype=bool)
    wrong[rng.choice(len(ids), round(0.05 * len(ids)), replace=False)] = True
    labels = np.where(wrong, 1 - table.labels, table.labels).astype(np.int8)
    review = review_labels(ids, LabelTable(table.features, labels, table.labelled, table.groups))
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    first = [row_of[item.image_id] for item in review.items[: len(ids) // 10]]
    assert wrong[first].sum() / wrong.sum() >= 0.93  # required: 0.88
    corrected = labels.copy()
    corrected[first] = table.labels[first]
    clean = _auc(ids, table.features, table.labels, table.labels)
    assert _auc(ids, table.features, corrected, table.labels) >= clean - 0.003
