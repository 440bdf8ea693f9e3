"""A model file against the workspace's own test set."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bundle_support import manifest
from keshikaran.bundle import Bundle, read_bundle
from keshikaran.errors import BundleError, NotEnoughImagesError
from keshikaran.judging import Judgement, judge, terms_of
from keshikaran.preparation import open_bundle_tools
from keshikaran.split import SplitScheme, split_images
from keshikaran.store import Store, Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from keshikaran.types import SilentProgress


@pytest.fixture
def workspace(trained: TrainingResult, tmp_path: Path) -> Workspace:
    """A copy, to change as one likes."""
    shutil.copytree(trained.model_path.parent.parent, tmp_path / "copy")
    return Workspace(tmp_path / "copy")


def _judged(workspace: Workspace, bundle: Bundle) -> Judgement:
    with open_bundle_tools(workspace, bundle, TrainingOptions(isolation="off")) as tools:
        return judge(tools, bundle, "model.onnx", SilentProgress())


def test_a_model_is_worth_the_same_as_when_it_was_trained(
    workspace: Workspace, trained: TrainingResult
) -> None:
    found = _judged(workspace, read_bundle(trained.model_path))
    then, now = trained.evaluation, found.evaluation
    assert now.test_set.image_ids == then.test_set.image_ids
    assert now.test_set.y_score == pytest.approx(then.test_set.y_score, abs=1e-3)
    assert now.test.confusion_matrix == then.test.confusion_matrix
    assert now.operating == then.operating
    assert now.promises == then.promises
    assert then.validation is not None
    assert now.validation is not None
    assert now.validation.confusion_matrix == then.validation.confusion_matrix
    assert not found.foreign


def test_calibration_can_be_undone_to_show_what_it_brought(
    workspace: Workspace, trained: TrainingResult
) -> None:
    found = _judged(workspace, read_bundle(trained.model_path)).evaluation
    assert found.uncalibrated is not None
    assert trained.evaluation.uncalibrated is not None
    assert found.uncalibrated.log_loss == pytest.approx(
        trained.evaluation.uncalibrated.log_loss, abs=1e-3
    )


def test_features_by_a_network_that_only_the_file_vouches_for_are_kept_apart(
    workspace: Workspace, trained: TrainingResult
) -> None:
    first = _judged(workspace, read_bundle(trained.model_path)).features
    again = _judged(workspace, read_bundle(trained.model_path)).features
    assert (first.cached, again.cached) == (0, first.images)


def test_a_model_of_another_split_may_have_seen_the_test_images(
    workspace: Workspace, trained: TrainingResult
) -> None:
    with Store(workspace.folder) as store:
        split_images(store, SplitScheme("hash", salt="other"))
    assert _judged(workspace, read_bundle(trained.model_path)).foreign


def test_without_a_test_set_there_is_nothing_to_judge_on(
    trained: TrainingResult, tmp_path: Path
) -> None:
    with pytest.raises(NotEnoughImagesError, match="no test set to judge on: it has 0 acceptable"):
        _judged(Workspace(tmp_path / "empty"), read_bundle(trained.model_path))


def test_scores_at_another_prevalence_are_judged_at_the_labels_own_mix(
    workspace: Workspace, trained: TrainingResult, backbone_file: Path
) -> None:
    policy = replace(TrainingOptions().policy, prevalence=0.01, uploads_per_day=5_000)
    options = TrainingOptions(backbone=str(backbone_file), policy=policy, tensorboard=False)
    rare = train(workspace, (), options).evaluation
    assert rare.prevalence == 0.01
    assert rare.label_prevalence == trained.evaluation.label_prevalence
    assert rare.test.log_loss == pytest.approx(trained.evaluation.test.log_loss, abs=1e-6)
    assert rare.test.roc_auc == trained.evaluation.test.roc_auc
    assert rare.test_set.y_score.mean() < trained.evaluation.test_set.y_score.mean()
    assert (rare.operating.uploads, rare.operating.a_day) == (5_000, True)


def test_promises_survive_the_model_file(trained: TrainingResult) -> None:
    kept = read_bundle(trained.model_path).manifest
    assert kept.promises == [asdict(item) for item in trained.calibrated.points.outcomes]
    assert terms_of(kept).promises == trained.calibrated.points.outcomes


_PROMISE: dict[str, Any] = {
    "status": "supported",
    "demand": "min_recall",
    "asked": 0.9,
    "observed": {"value": 0.95, "low": 0.9, "high": 0.99},
    "promised": 0.91,
    "words": "fine",
}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "certain"},
        {"asked": "much"},
        {"observed": None},
        {"observed": {"value": 0.5}},
        {"more": 1},
    ],
)
def test_promise_that_is_none_of_ours_is_refused(change: dict[str, Any]) -> None:
    assert terms_of(manifest(promises=[_PROMISE])).promises[0].words == "fine"
    with pytest.raises(BundleError, match="holds a promise that cannot be read"):
        terms_of(manifest(promises=[_PROMISE | change]))
