"""An audit: featurize → find copies → look at the split → fit and judge, with and without leaks.

Stores features and groups, and nothing else: the split stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from keshikaran.audit import Findings, find_issues, read_facts
from keshikaran.dataset import Dataset, check_counts, make_dataset
from keshikaran.dealing import Dealt, leaks_in
from keshikaran.errors import NotEnoughImagesError
from keshikaran.featurize import FeatureTable
from keshikaran.head import FitResult, fit_head
from keshikaran.metrics import ScoredSet, compute_metrics
from keshikaran.operating_points import choose_operating_points
from keshikaran.policy import Policy
from keshikaran.preparation import Tools, featurize_labelled, group_labelled, open_cached_tools
from keshikaran.split import SplitScheme, plan_split, stored_scheme
from keshikaran.store import Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import (
    GroupId,
    ImageId,
    Label,
    Progress,
    SilentProgress,
    Split,
    Thresholds,
)

AS_SPLIT = "as split"
GUARD_OFF = "guard off"
TEST_CUT = "leaking test images left out"
TRAIN_CUT = "their copies left out of training"


@dataclass(frozen=True, slots=True)
class Judged:
    """Test figures of one head.

    Attributes:
        name: which images it was fitted and judged on.
        train: number of images that it was fitted on.
        test: number of images that it was judged on.
        roc_auc: None if one class is missing.
        average_precision: None without objectionable images.
        recall_at_block: share of the objectionable images that is found at `block`.
        recall_at_review: and at `review`; both cuts are chosen on validation.
    """

    name: str
    train: int
    test: int
    roc_auc: float | None
    average_precision: float | None
    recall_at_block: float
    recall_at_review: float


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        scheme: how sides are chosen.
        stored: whether there was a split; else the one looked at is what `split` would make.
        findings: leaks, copies, contradictions, tiny slices.
        figures: the split as it is first; none if they were not asked for.
        no_figures: why there are none, though asked for.
    """

    scheme: SplitScheme
    stored: bool
    findings: Findings
    figures: tuple[Judged, ...] = ()
    no_figures: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran audit --json` prints."""
        found = {"scheme": asdict(self.scheme), "stored": self.stored, **asdict(self.findings)}
        figures = [asdict(judged) for judged in self.figures]
        return {
            **found,
            "clean": self.findings.clean,
            "figures": figures,
            "no_figures": self.no_figures,
        }


def audit(
    workspace: Workspace,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
    *,
    figures: bool = True,
) -> AuditReport:
    """Look for leaks, copies, contradictions and tiny slices, and at what they do to figures.

    Args:
        workspace: what to look at.
        options: backbone, engine and isolation count.
        progress: told of long work.
        figures: whether to fit heads and judge them.

    Raises:
        StoreError: the workspace cannot be used.
        BackboneError: the backbone cannot be had.
    """
    options = options or TrainingOptions()
    progress = progress or SilentProgress()
    with open_cached_tools(workspace, options) as tools:
        features = featurize_labelled(tools, progress)
        group_labelled(tools, features, progress)
        stored = bool(tools.store.split_scheme())
        if stored:
            dealt = Dealt(tools.store.splits(), tools.store.set_aside())
        else:
            dealt = plan_split(tools.store).dealt
        findings = find_issues(read_facts(tools.store, dealt))
        report = AuditReport(stored_scheme(tools.store), stored, findings)
        if not figures:
            return report
        try:
            return replace(report, figures=tuple(_figures(tools, features, dealt, progress)))
        except NotEnoughImagesError as error:
            return replace(report, no_figures=str(error))


def compare_leaks(
    features: FeatureTable,
    labels: Mapping[ImageId, Label],
    sides: Mapping[ImageId, Split],
    groups: Mapping[ImageId, GroupId],
    name: str = AS_SPLIT,
) -> list[Judged]:
    """Test figures of a split, and what remains of them without its leaks.

    Leaks are looked at from both ends: once the test images that have a copy on train or
    validation are left out of the judging, and once these copies are left out of training. The
    second compares two heads on the same test images. A split without leaks gives one row.

    Args:
        features: of all images.
        labels: of all images that have a side.
        sides: the split.
        groups: of each image that has a near-duplicate.
        name: of the split.

    Raises:
        NotEnoughImagesError: too few images of a class on a side.
    """
    data = _dataset(features, labels, sides)
    check_counts(data.counts())
    fit = _fit(data)
    cuts = _thresholds(data, fit)
    rows = [_judge(name, data, fit, cuts, set())]
    copies = set(leaks_in(sides, groups))
    leaking = _leaking(sides, groups)
    if leaking:
        rows.append(_judge(f"{name}, {TEST_CUT}", data, fit, cuts, leaking))
    if copies:
        cut = _dataset(features, labels, {i: s for i, s in sides.items() if i not in copies})
        check_counts(cut.counts())
        fit = _fit(cut)
        rows.append(_judge(f"{name}, {TRAIN_CUT}", cut, fit, _thresholds(cut, fit), set()))
    return rows


def _figures(
    tools: Tools, features: FeatureTable, dealt: Dealt, progress: Progress
) -> Iterator[Judged]:
    store = tools.store
    labels = {image.image_id: image.label for image in store.labels.images()}
    groups = store.groups.of_images()
    unguarded = _unguarded(store)
    with progress.task("judge", None) as task:
        yield from compare_leaks(features, labels, dealt.sides, groups)
        task.advance()
        if unguarded != dealt.sides and leaks_in(unguarded, groups):
            yield from compare_leaks(features, labels, unguarded, groups, GUARD_OFF)


def _unguarded(store: Store) -> Mapping[ImageId, Split]:
    """What the split would be without the guard; nothing where there is none to begin with."""
    scheme = stored_scheme(store)
    if scheme.name != "hash" or not scheme.guard:
        return {}
    return plan_split(store, replace(scheme, guard=False)).dealt.sides


def _leaking(sides: Mapping[ImageId, Split], groups: Mapping[ImageId, GroupId]) -> set[ImageId]:
    """Test images with a near-duplicate on train or validation."""
    teaching = {groups[i] for i, side in sides.items() if side != "test" and i in groups}
    return {i for i, side in sides.items() if side == "test" and groups.get(i) in teaching}


def _dataset(
    features: FeatureTable, labels: Mapping[ImageId, Label], sides: Mapping[ImageId, Split]
) -> Dataset:
    return make_dataset(features.image_ids, features.matrix, labels, sides, features.starts)


def _fit(data: Dataset) -> FitResult:
    return fit_head(*data.part("train"), *data.part("validation"))


def _thresholds(data: Dataset, fit: FitResult) -> Thresholds:
    validation = data.scored("validation", fit.head)
    share = float(validation.y_true.mean())
    usual = choose_operating_points(validation.y_true, validation.y_score, Policy(), share)
    return usual.thresholds


def _judge(
    name: str, data: Dataset, fit: FitResult, cuts: Thresholds, without: set[ImageId]
) -> Judged:
    test = _without(data.scored("test", fit.head), without)
    counts = data.counts()["train"]
    if not test.image_ids:
        return Judged(name, sum(counts.values()), 0, None, None, 0.0, 0.0)
    block = compute_metrics(test.y_true, test.y_score, cuts.block)
    review = compute_metrics(test.y_true, test.y_score, cuts.review)
    return Judged(
        name=name,
        train=sum(counts.values()),
        test=block.images,
        roc_auc=block.roc_auc,
        average_precision=block.average_precision,
        recall_at_block=block.recall,
        recall_at_review=review.recall,
    )


def _without(test: ScoredSet, left_out: set[ImageId]) -> ScoredSet:
    kept = np.array([image_id not in left_out for image_id in test.image_ids], dtype=bool)
    ids = [image_id for image_id in test.image_ids if image_id not in left_out]
    return ScoredSet(ids, test.y_true[kept], test.y_score[kept])
