"""Which backbone is worth its cost, on the images of one workspace: `compare-backbones`.

Each network's features of the same labelled images train a head on the same split and are judged on
the same test images, so that differences are paired. Costs are measured in turns, in one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from keshikaran.backbones import DEFAULT_BACKBONE, Backbone, load_backbone, open_engine
from keshikaran.backbones.cost import Contender, ms_per_image
from keshikaran.bootstrap import bootstrap_estimate, difference, plan_resampling
from keshikaran.curves import recall_at
from keshikaran.dataset import Dataset, check_counts, make_dataset
from keshikaran.errors import UsageError
from keshikaran.featurize import FeatureTable
from keshikaran.head import fit_head
from keshikaran.intervals import Estimate
from keshikaran.metrics import ScoredSet
from keshikaran.preparation import check_untaught, featurize_labelled, group_labelled, open_tools
from keshikaran.report import ComparedBackbone
from keshikaran.roc_area import roc_auc_estimate
from keshikaran.split import SplitScheme, plan_split, stored_scheme
from keshikaran.store import Store, Workspace, group_of
from keshikaran.training_run import TrainingOptions
from keshikaran.types import GroupId, ImageId, Label, Progress, Split
from keshikaran.weighted_figures import weighted_roc_auc

RATE = 0.01
"""False-positive rate at which recall is told."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare-backbones` found.

    Attributes:
        rows: the best ROC AUC first.
        first: the backbone that the others are held against: the first that was named.
        train: images that taught.
        test: images that judged.
        positives: how many of them are objectionable.
        salts: on how many further splits each network was fitted and judged again.
        engine: what ran the networks.
    """

    rows: tuple[ComparedBackbone, ...]
    first: str
    train: int
    test: int
    positives: int
    salts: int
    engine: str

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Featurized:
    backbone: Backbone
    features: FeatureTable


def compare_backbones(
    workspace: Workspace,
    names: Sequence[str],
    options: TrainingOptions,
    progress: Progress,
    *,
    salts: int = 0,
) -> Comparison:
    """Featurize, fit and judge with each backbone in turn.

    Args:
        workspace: with labelled images.
        names: of backbones, or paths of ONNX files; two at least. Near-duplicates are looked for
            with the network of the package if it is among them, else with the first.
        options: pixels, precision and engine; the backbone is taken from `names`.
        progress: told of long work.
        salts: further splits to fit and judge on, each dealt with another salt; nothing of them is
            stored.

    Raises:
        UsageError: fewer than two different networks.
        NotEnoughImagesError: too few labelled images on a side, or one class only.
        KeshikaranError: as `keshikaran.preparation.open_tools`.
    """
    _check_names([load_backbone(name) for name in dict.fromkeys(names)])
    found: list[_Featurized] = []
    groups_by = DEFAULT_BACKBONE if DEFAULT_BACKBONE in names else names[0]
    for name in dict.fromkeys(names):
        with open_tools(workspace, replace(options, backbone=name)) as tools:
            features = featurize_labelled(tools, progress)
            if name == groups_by:
                group_labelled(tools, features, progress)
            found.append(_Featurized(tools.backbone, features))
    with Store(workspace.folder) as store:
        return _compare(store, found, options, progress, salts)


def _check_names(backbones: Sequence[Backbone]) -> None:
    if len({backbone.digest for backbone in backbones}) < max(2, len(backbones)):
        msg = "Comparing takes two different backbones or more."
        raise UsageError(msg, "See which there are: keshikaran backbone list")
    for backbone in backbones:
        check_untaught(backbone)


@dataclass(frozen=True, slots=True)
class _Judges:
    """Sides of one split, and what else is known of the images."""

    labels: dict[ImageId, Label]
    groups: dict[ImageId, GroupId]
    sides: dict[ImageId, Split]


def _compare(
    store: Store,
    found: Sequence[_Featurized],
    options: TrainingOptions,
    progress: Progress,
    salts: int,
) -> Comparison:
    labels: dict[ImageId, Label] = {i.image_id: i.label for i in store.labels.images()}
    groups = dict(store.groups.of_images())
    schemes = [stored_scheme(store), *(SplitScheme(salt=f"compare-{n}") for n in range(salts))]
    splits = [
        _Judges(labels, groups, dict(plan_split(store, scheme).dealt.sides)) for scheme in schemes
    ]
    for split in splits:
        check_counts(_dataset(found[0], split).counts())
    judged: list[list[ScoredSet]] = []
    with progress.task("judge", len(found) * len(splits)) as task:
        for item in found:
            judged.append([])
            for split in splits:
                judged[-1].append(_scored(_dataset(item, split)))
                task.advance()
    costs, engine = _costs([item.backbone for item in found], options)
    first = judged[0][0]
    rows = [
        _row(item.backbone, sets, cost, splits[0], first)
        for item, sets, cost in zip(found, judged, costs, strict=True)
    ]
    rows.sort(key=lambda row: -row.area)
    train = _dataset(found[0], splits[0]).counts()["train"]
    return Comparison(
        rows=tuple(rows),
        first=found[0].backbone.name,
        train=sum(train.values()),
        test=len(first.image_ids),
        positives=int(first.y_true.sum()),
        salts=salts,
        engine=engine,
    )


def _dataset(item: _Featurized, split: _Judges) -> Dataset:
    table = item.features
    return make_dataset(table.image_ids, table.matrix, split.labels, split.sides, table.starts)


def _scored(data: Dataset) -> ScoredSet:
    fit = fit_head(*data.part("train"), *data.part("validation"))
    return data.scored("test", fit.head)


def _row(
    backbone: Backbone, sets: Sequence[ScoredSet], cost: float, split: _Judges, first: ScoredSet
) -> ComparedBackbone:
    own = sets[0]
    labels, scores = own.y_true, own.y_score
    groups = [group_of(image_id, split.groups) for image_id in own.image_ids]
    area = roc_auc_estimate(labels, scores)
    others = [float(roc_auc_estimate(s.y_true, s.y_score).value or 0.0) for s in sets[1:]]
    return ComparedBackbone(
        name=backbone.name,
        digest=backbone.digest,
        area=float(area.value or 0.0),
        roc_auc=area,
        gain=None if own is first else _gain(own, first, groups),
        recall=recall_at(labels, scores, RATE, groups).recall,
        other_areas=tuple(others),
        ms_per_image=cost,
        bytes=len(backbone.model),
        height=backbone.height,
        width=backbone.width,
        dim=backbone.dim,
        licence=backbone.licence,
    )


def _gain(own: ScoredSet, first: ScoredSet, groups: Sequence[GroupId]) -> Estimate | None:
    """How much larger its area is than the first one's, on the same resamples."""
    if own.image_ids != first.image_ids:
        return None
    areas = [weighted_roc_auc(part.y_true, part.y_score) for part in (own, first)]
    return bootstrap_estimate(difference(*areas), plan_resampling(own.y_true, groups))


def _costs(backbones: Sequence[Backbone], options: TrainingOptions) -> tuple[list[float], str]:
    contenders = []
    for backbone in backbones:
        asked = (options.engine, options.precision)
        engine = open_engine(
            backbone.model, engine=asked[0], precision=asked[1], device="cpu", streams=1
        )
        contenders.append(Contender(engine, backbone.height, backbone.width))
    return ms_per_image(contenders), contenders[0].engine.name
