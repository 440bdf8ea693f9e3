"""A model file against the workspace's own test set: featurize what lacks features → evaluate.

Nothing is decoded where features are cached, and nothing is fitted: the head comes out of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from keshikaran.bundle import Bundle, Manifest
from keshikaran.calibration import logits_of, prior_shift
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.errors import NotEnoughImagesError
from keshikaran.evaluate import Terms, evaluate
from keshikaran.evaluation import EvaluationReport
from keshikaran.featurize import FeatureTable, featurize
from keshikaran.head import Head, sigmoid
from keshikaran.metrics import ScoredSet
from keshikaran.preparation import Tools
from keshikaran.promises import outcome_of
from keshikaran.scoring_graph import read_head
from keshikaran.slices import slice_figures
from keshikaran.split import stored_scheme
from keshikaran.store import group_of
from keshikaran.traits import read_traits
from keshikaran.types import Float64Array, GroupId, ImageId, Label, Progress, Split

_JUDGING: tuple[Split, ...] = ("validation", "test")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model is worth on the workspace's test set.

    Attributes:
        manifest: what the model says about itself.
        evaluation: all figures.
        features: of the validation and test images.
        groups: of near-duplicates among the test images, in the order of `evaluation.test_set`.
        foreign: whether the model was trained under another split, so that it may have learned
            from these test images.
        validation_set: the validation images with their scores; they may lack a label.
    """

    manifest: Manifest
    evaluation: EvaluationReport
    features: FeatureTable
    groups: tuple[GroupId, ...]
    foreign: bool
    validation_set: ScoredSet


def judge(tools: Tools, bundle: Bundle, origin: str, progress: Progress) -> Judgement:
    """Score the workspace's validation and test images and compute all figures.

    Args:
        tools: from `open_bundle_tools` for the same bundle.
        bundle: a checked model file.
        origin: its name, for messages.
        progress: told of images that lack features.

    Raises:
        NotEnoughImagesError: there is no test set with both labels yet.
        BundleError: the file has no head of ours, or describes itself wrongly.
        StoreError: the disk is full or the workspace cannot be written.
    """
    manifest = bundle.manifest
    head = read_head(bundle.model, origin, len(manifest.inputs))
    features, data = _judging_images(tools, progress)
    known = tools.store.groups.of_images()
    validation, test = data.scored("validation", head), data.scored("test", head)
    groups = tuple(group_of(image_id, known) for image_id in test.image_ids)
    evaluation = evaluate(
        _if_both(validation),
        test,
        terms_of(manifest),
        groups=groups,
        uncalibrated=_uncalibrated(manifest, head, test.y_score),
    )
    evaluation = with_slices(evaluation, tools, groups, progress)
    foreign = manifest.training_set.get("split_scheme") != asdict(stored_scheme(tools.store))
    return Judgement(manifest, evaluation, features, groups, foreign, validation)


def with_slices(
    evaluation: EvaluationReport, tools: Tools, groups: Sequence[GroupId], progress: Progress
) -> EvaluationReport:
    """The same with figures of what test images have in common.

    Args:
        evaluation: its test images are the workspace's.
        tools: of that workspace.
        groups: of near-duplicates, in the order of `evaluation.test_set`.
        progress: told of test images that were never looked at.

    Raises:
        StoreError: the workspace cannot be read or written.
    """
    test = evaluation.test_set
    traits = read_traits(tools.store, tools.cache, tools.decoder, test.image_ids, progress)
    return replace(evaluation, slices=slice_figures(test, traits, evaluation.thresholds, groups))


def terms_of(manifest: Manifest) -> Terms:
    """What a model says its figures are to be taken at.

    Raises:
        BundleError: its promises are none of ours.
    """
    uploads = manifest.policy.get("uploads_per_day")
    return Terms(
        manifest.thresholds,
        _inside(manifest.prevalence),
        _inside(manifest.calibration["label_prevalence"]),
        uploads if isinstance(uploads, int) and uploads > 0 else None,
        tuple(outcome_of(raw, manifest.model_id) for raw in manifest.promises),
    )


def _judging_images(tools: Tools, progress: Progress) -> tuple[FeatureTable, Dataset]:
    store = tools.store
    labels: dict[ImageId, Label] = {image.image_id: image.label for image in store.labels.images()}
    sides = {i: side for i, side in store.splits().items() if side in _JUDGING and i in labels}
    features = featurize(store, tools.cache, tools.featurizer, list(sides), progress)
    data = make_dataset(features.image_ids, features.matrix, labels, sides, features.starts)
    counts = data.counts()["test"]
    if not min(counts.values()):
        msg = (
            f"There is no test set to judge on: it has {counts['0']} acceptable and"
            f" {counts['1']} objectionable images."
        )
        raise NotEnoughImagesError(msg, "Import labelled images and run: keshikaran train")
    return features, data


def _if_both(scored: ScoredSet) -> ScoredSet | None:
    return scored if len(np.unique(scored.y_true)) == 2 else None


def _uncalibrated(manifest: Manifest, head: Head, scores: Float64Array) -> Float64Array | None:
    """Probabilities before calibration, where the map can be undone."""
    found = manifest.calibration
    if head.bend is not None or found["above"] <= 0:
        return None
    moved = prior_shift(_inside(found["label_prevalence"]), _inside(manifest.prevalence))
    return sigmoid((logits_of(scores) - moved - found["shift"]) / found["above"])


def _inside(share: float) -> float:
    """Off both ends, where odds would be infinite."""
    return min(max(share, 1e-9), 1 - 1e-9)
