"""Everything a report shows, gathered: figures, pictures, audit, learning curve → page, JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from keshikaran.audit import Findings, find_issues, read_facts
from keshikaran.backbones.taught import teaching_of
from keshikaran.bundle import Bundle, read_bundle
from keshikaran.comparison import Comparison
from keshikaran.dataset import Dataset, make_dataset
from keshikaran.dealing import Dealt
from keshikaran.evaluation import EvaluationReport
from keshikaran.featurize import FeatureTable
from keshikaran.forecast import curve_maker
from keshikaran.judging import Judgement, judge
from keshikaran.learning_curve import LearningCurve
from keshikaran.manifest import Manifest
from keshikaran.model_card import settings_of
from keshikaran.preparation import Tools, featurize_labelled, open_bundle_tools
from keshikaran.report import (
    AuditCounts,
    Picture,
    ReportContent,
    first_to_show,
    places,
    write_html_report,
    write_json_report,
)
from keshikaran.store import Store, Workspace
from keshikaran.suspects import suspects_counter
from keshikaran.thumbnails import thumbnail_maker
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, ImageId, Label, Progress, Refusal, SilentProgress

MOST_PICTURES = 450
"""Pictures on one page: more would make the file larger than 5 MB."""

CHEAP = 1_500
"""Labelled images up to which a training run also measures what `report` always measures."""

_AHEAD = (100, 300, 1_000)

Rivals = Callable[[Tools, Judgement], Sequence[Comparison]]
"""Holds other models against one that was judged with these tools."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What a report shows besides figures.

    Attributes:
        pictures: of the test images.
        audit: what is wrong with the labelled images.
        learning_curve: None where nobody looked, or with too few images to say.
    """

    pictures: Mapping[ImageId, Picture]
    audit: AuditCounts
    learning_curve: LearningCurve | None


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report that was made anew.

    Attributes:
        content: what it shows.
        page: the HTML file.
        document: the JSON file.
    """

    content: ReportContent
    page: Path
    document: Path


def extras_gatherer(
    tools: Tools,
    evaluation: EvaluationReport,
    features: FeatureTable,
    data: Dataset,
    c: float | None,
    *,
    everything: bool,
) -> Callable[[], Extras]:
    """Read the store now; what comes back does the work, in any thread.

    Args:
        tools: open until the work is done.
        evaluation: of the model.
        features: of all labelled images.
        data: the same with labels and sides.
        c: inverse regularisation strength of the head; None where that is not known.
        everything: whether to look for labels to check and to measure the learning curve, which
            takes seconds for thousands of images. Not for a network that these labels taught:
            it would vouch for them.
    """
    store = tools.store
    everything = everything and teaching_of(tools.backbone) is None
    findings = find_issues(read_facts(store, Dealt(store.splits(), store.set_aside())))
    ids = evaluation.test_set.image_ids
    known = store.places_of(ids)
    chosen = [place.image_id for place in first_to_show(places(evaluation), MOST_PICTURES)]
    draw = thumbnail_maker(tools, chosen)
    count = suspects_counter(store, features) if everything else None
    picked = {i for i, why in store.suggested.of_images().items() if "random" not in why}
    curve = curve_maker(data, store.groups.of_images(), picked, c, _AHEAD) if everything else None

    def gather() -> Extras:
        with ThreadPoolExecutor(1) as beside:  # others decode: this process is free meanwhile
            drawing = beside.submit(draw)
            audit = audit_counts(findings, None if count is None else count())
            measured = None if curve is None else curve()
            small = drawing.result()
        pictures = {}
        for image_id in ids:
            place = next(iter(known.get(image_id, ())), image_id)
            drawn = small.get(image_id)
            pictures[image_id] = (
                Picture(place)
                if drawn is None
                else Picture(place, drawn.file, (drawn.width, drawn.height), drawn.tile)
            )
        return Extras(pictures, audit, measured)

    return gather


def audit_counts(findings: Findings, labels_to_check: int | None) -> AuditCounts:
    """What `keshikaran audit` lists, counted."""
    return AuditCounts(
        leaks=len(findings.leaks),
        duplicate_groups=len(findings.groups),
        suspected=len(findings.suspected),
        contradictions=len(findings.contradictions),
        contradictory_groups=len(findings.contradictory_groups),
        set_aside=len(findings.set_aside),
        tiny_slices=len(findings.tiny),
        labels_to_check=labels_to_check,
    )


def report_model(
    workspace: Workspace,
    model: Path,
    options: TrainingOptions | None = None,
    *,
    output: Path | None = None,
    where: str = "",
    rivals: Rivals | None = None,
    progress: Progress | None = None,
) -> WrittenReport:
    """Judge a model file on the workspace's test set, and write page and JSON anew.

    Args:
        workspace: with labelled images on a test side.
        model: the model file; nobody need vouch for it.
        options: engine and isolation; the rest is the model's own.
        output: where the page goes; default: the workspace's reports. The JSON goes beside it.
        where: what commands need at their end to find the workspace.
        rivals: holds other models against this one; None: nobody asked.
        progress: told of long work.

    Raises:
        BundleError: the model file cannot be used.
        NotEnoughImagesError: there is no test set with both labels yet.
        StoreError: the disk is full or the workspace cannot be written.
    """
    progress = progress or SilentProgress()
    bundle = read_bundle(model)
    with open_bundle_tools(workspace, bundle, options or TrainingOptions()) as tools:
        content = gather_report(tools, bundle, model.name, progress, rivals)
    page = output or workspace.report(content.model_id)
    return write_report(page, replace(content, where=where))


def gather_report(
    tools: Tools,
    bundle: Bundle,
    origin: str,
    progress: Progress,
    rivals: Rivals | None = None,
) -> ReportContent:
    """Judge a model and gather all that its report shows; see `report_model`.

    Args:
        tools: from `open_bundle_tools` for the same bundle.
        bundle: a checked model file.
        origin: its name, for messages.
        progress: told of long work.
        rivals: holds other models against this one; None: nobody asked.
    """
    judged = judge(tools, bundle, origin, progress)
    store = tools.store
    features = featurize_labelled(tools, progress)
    labels: dict[ImageId, Label] = {i.image_id: i.label for i in store.labels.images()}
    data = make_dataset(
        features.image_ids, features.matrix, labels, store.splits(), features.starts
    )
    c = chosen_c(bundle.manifest)
    gather = extras_gatherer(tools, judged.evaluation, features, data, c, everything=True)
    content = _content(store, judged, data, features, gather())
    return content if rivals is None else replace(content, comparisons=rivals(tools, judged))


def all_refusals(store: Store, features: FeatureTable) -> tuple[Refusal, ...]:
    """Everything that could not be used: at the door, or when it was to be decoded."""
    refusals = store.skipped()
    for image_id, refusal in sorted(features.refused.items()):
        refusals.extend(
            Refusal(path, "decode", refusal.reason, refusal.detail)
            for path in store.entries_of(image_id)
        )
    return tuple(refusals)


def first_views(features: FeatureTable, image_ids: Sequence[ImageId]) -> Float32Array:
    """The first part's row of each image's first view: float32 [n, D]; all of them have one."""
    place = dict(zip(features.image_ids, features.starts.tolist(), strict=True))
    rows: Float32Array = features.first_part[[place[image_id] for image_id in image_ids]]
    return rows


def chosen_c(manifest: Manifest) -> float | None:
    """The regularisation a model says it has, if that can be true."""
    c = manifest.recipe.get("c")
    if isinstance(c, int | float) and not isinstance(c, bool) and 1e-9 < c < 1e9:
        return float(c)
    return None


def write_report(page: Path, content: ReportContent) -> WrittenReport:
    """Write page and JSON durably.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    document = page.with_suffix(".json")
    write_html_report(page, content)
    write_json_report(document, content)
    return WrittenReport(content, page, document)


def _content(
    store: Store, judged: Judgement, data: Dataset, features: FeatureTable, extras: Extras
) -> ReportContent:
    contradictions = store.labels.contradictions()
    return ReportContent(
        manifest=judged.manifest,
        settings=settings_of(judged.manifest),
        images={
            "stored": store.count_images(),
            "labelled": len(features.image_ids) + len(features.refused),
            "skipped": len(store.skipped()),
            "undecodable": len(features.refused),
            "contradictory": len(contradictions),
        },
        split=data.counts(),
        evaluation=judged.evaluation,
        steps=(),
        refusals=all_refusals(store, features),
        contradictions=contradictions,
        audit=extras.audit,
        learning_curve=extras.learning_curve,
        pictures=extras.pictures,
        foreign=judged.foreign,
    )
