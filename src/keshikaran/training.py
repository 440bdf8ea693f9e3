"""The whole way: import → store → label → split → featurize → fit → evaluate → bundle.

`train` is the only function that knows the order of the stages. Each stage takes values and
gives a frozen dataclass; none knows another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from keshikaran.backbones.taught import teaching_of
from keshikaran.bundling import Groups, start_bundling
from keshikaran.calibrate import CalibratedHead, LabelledRows, calibrate
from keshikaran.dataset import Dataset, check_counts, check_totals
from keshikaran.evaluate import Terms, evaluate
from keshikaran.evaluation import EvaluationReport
from keshikaran.featurize import FeatureTable, FeaturizeAhead
from keshikaran.finetune import FinetuneSettings
from keshikaran.finetuning import fine_tune
from keshikaran.head import FitResult, fit_head
from keshikaran.ingest import ImportReport, Source, import_source
from keshikaran.judging import with_slices
from keshikaran.logistic import one_thread
from keshikaran.manifest import Manifest
from keshikaran.model_card import Facts, settings_of
from keshikaran.pixels import DEFAULT_LIMITS, EXTENSIONS, Limits
from keshikaran.policy import Policy
from keshikaran.preparation import (
    Prepared,
    Tools,
    featurize_labelled,
    group_labelled,
    open_tools,
    split_labelled,
)
from keshikaran.report import ReportContent, write_tensorboard_run
from keshikaran.reporting import (
    CHEAP,
    Extras,
    all_refusals,
    extras_gatherer,
    first_views,
    write_report,
)
from keshikaran.seed_recipe import fit_seed_recipe
from keshikaran.split import stored_scheme
from keshikaran.store import ImageRecord, Store, Workspace, group_of, write_skipped
from keshikaran.training_run import (
    DEFAULT_RESIZE_MODE,
    TrainingOptions,
    TrainingResult,
)
from keshikaran.types import (
    SPLITS,
    Label,
    Progress,
    Refusal,
    SilentProgress,
)


def train(
    workspace: Workspace,
    sources: Sequence[Source] = (),
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Import, then every stage up to bundle and report.

    Args:
        workspace: where everything is kept; created if missing.
        sources: what to import first; may be empty when the workspace has images.
        options: settings; the defaults are sensible.
        progress: told of long work.
        say: told in words of what takes minutes.

    Raises:
        NotEnoughImagesError: too few labelled images on a side, or one class only.
        StoreError: the disk is full or the workspace cannot be written.
        BackboneError: the backbone, engine or precision cannot be had.
        IsolationError: no process can be started to decode images in.
        BundleError: the finished bundle does not answer as the pipeline did; nothing is written.
    """
    options = options or TrainingOptions()
    progress = progress or SilentProgress()
    clock = _Clock()
    with open_tools(workspace, options) as tools:
        store = tools.store
        images, prepared = _prepare(tools, sources, options, progress, clock)
        features, data = prepared.features, prepared.data
        refusals = _refusals(workspace, store, prepared)
        if options.finetune is not None:
            with clock.stage("finetune"):
                told = (options.finetune, progress, say or _silent)
                tools, features, data = _finetuned(workspace, tools, prepared, *told)
        fit, calibrated, groups = _fit_and_calibrate(tools, data, options, clock)
        facts = Facts(options, tools.featurizer.parts, stored_scheme(store), data, fit, calibrated)
        judged = _judge_and_bundle(workspace, tools, facts, features, groups, progress, clock)
        contradictions = tuple(store.labels.contradictions())
    model_id = judged.manifest.model_id
    result = TrainingResult(
        model_id=model_id,
        model_path=workspace.model(model_id),
        report_path=workspace.report(model_id),
        images=images,
        split=data.counts(),
        split_report=prepared.split,
        timing_s={},
        features=features,
        fit=fit,
        calibrated=calibrated,
        evaluation=judged.evaluation,
        refusals=refusals,
        contradictions=contradictions,
        manifest=judged.manifest,
    )
    with clock.stage("report"), one_thread():
        _report(workspace, result, judged.extras, options)
    return replace(result, timing_s=clock.timing())


def _prepare(
    tools: Tools,
    sources: Sequence[Source],
    options: TrainingOptions,
    progress: Progress,
    clock: _Clock,
) -> tuple[ImportReport, Prepared]:
    """Import → featurize → group → split; featurizing begins while the import goes on."""
    store = tools.store
    parts = (store, tools.cache, tools.featurizer, progress)
    with FeaturizeAhead(*parts, _count(sources)) as ahead:
        with clock.stage("import"):
            images = _import_all(store, sources, options, progress, ahead)
            check_totals(_totals(store), _hint(sources))
        with clock.stage("featurize"):
            ahead.finish()
            features = featurize_labelled(tools, progress)
    with clock.stage("group"):
        group_labelled(tools, features, progress)
    with clock.stage("split"):
        prepared = split_labelled(tools, features, options)
    return images, replace(prepared, features=_credit(features, ahead))


def _refusals(workspace: Workspace, store: Store, prepared: Prepared) -> tuple[Refusal, ...]:
    """All files that could not be used, written down; whether enough images are left."""
    refusals = all_refusals(store, prepared.features)
    write_skipped(workspace.skipped, refusals)
    check_counts(prepared.data.counts(), _where_lost(workspace, refusals))
    return refusals


def _finetuned(
    workspace: Workspace,
    tools: Tools,
    prepared: Prepared,
    settings: FinetuneSettings,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[Tools, FeatureTable, Dataset]:
    """Everything by the network that was taught; as it was where that brought nothing."""
    tuned = fine_tune(workspace, tools, prepared.data, settings, progress, say)
    if tuned is None:
        say(f"No epoch was better on the validation images: {tools.backbone.name} stays as it is.")
        return tools, prepared.features, prepared.data
    return tuned.tools, tuned.features, tuned.data


def _silent(words: str) -> None:
    """Nobody listens."""


def _report(
    workspace: Workspace, result: TrainingResult, extras: Extras, options: TrainingOptions
) -> None:
    """Write what people look at."""
    content = ReportContent(
        manifest=result.manifest,
        settings=settings_of(result.manifest),
        images=result.image_figures(),
        split=result.split,
        evaluation=result.evaluation,
        steps=result.fit.steps,
        refusals=result.refusals,
        contradictions=result.contradictions,
        audit=extras.audit,
        learning_curve=extras.learning_curve,
        pictures=extras.pictures,
        where=options.where,
    )
    write_report(result.report_path, content)
    if options.tensorboard:
        features = first_views(result.features, result.evaluation.test_set.image_ids)
        write_tensorboard_run(workspace.run(result.model_id), content, features)


def _import_all(
    store: Store,
    sources: Sequence[Source],
    options: TrainingOptions,
    progress: Progress,
    ahead: FeaturizeAhead,
) -> ImportReport:
    """Import; what carries a label is featurized as soon as it is safe in the store."""

    def committed(images: Sequence[tuple[ImageRecord, Label | None]]) -> None:
        ahead.add([(r.image_id, EXTENSIONS[r.format]) for r, label in images if label is not None])

    total = ImportReport()
    for source in sources:
        total += import_source(
            store,
            source,
            limits=Limits(formats=DEFAULT_LIMITS.formats | options.accept),
            progress=progress,
            on_committed=committed,
            rehash=options.rehash,
        )
    return total


def _groups(store: Store, data: Dataset) -> Groups:
    """Group of each image of each side, in the order of its rows."""
    known = store.groups.of_images()
    return {
        side: [group_of(data.image_ids[row], known) for row in data.rows(side)] for side in SPLITS
    }


def _count(sources: Sequence[Source]) -> int | None:
    """How many entries there are, if all sources know."""
    counts = [source.count for source in sources]
    return sum(count for count in counts if count is not None) if None not in counts else None


def _credit(features: FeatureTable, ahead: FeaturizeAhead) -> FeatureTable:
    """What was computed while importing was not in the cache before."""
    ready = features.cached - len(ahead.computed.intersection(features.image_ids))
    seconds = features.seconds + ahead.seconds
    return replace(features, cached=ready, seconds=seconds, rates=ahead.rates or features.rates)


def _totals(store: Store) -> dict[str, int]:
    """Label as text → number of labelled images."""
    ones = [image.label for image in store.labels.images()]
    return {"0": ones.count(0), "1": ones.count(1)}


def _hint(sources: Sequence[Source]) -> str:
    """What to do about missing labels, when a source has class folders that were not named."""
    folders = [name for source in sources for name in source.class_folders]
    if not folders or any(source.labelled for source in sources):
        return ""
    return f"Say which folders are objectionable with --positive NAME: {', '.join(folders)}."


def _where_lost(workspace: Workspace, refusals: Sequence[Refusal]) -> str:
    """What to do when the images of a class could not be used."""
    if not refusals:
        return ""
    return f"{len(refusals):,} files could not be used: {workspace.skipped} says which and why."


def _fit_and_calibrate(
    tools: Tools, data: Dataset, options: TrainingOptions, clock: _Clock
) -> tuple[FitResult, CalibratedHead, Groups]:
    """Fit → calibrate; what they share is as large as the features and lives no longer."""
    groups = _groups(tools.store, data)
    train, validation = data.part("train"), data.part("validation")
    with clock.stage("fit"):
        if options.recipe == "exact":
            fit = fit_head(*train, *validation, keep_ground=True)
        else:
            fit = fit_seed_recipe(*train, *validation)
    with clock.stage("calibrate"):
        rows = (
            LabelledRows(*train, groups["train"]),
            LabelledRows(*validation, groups["validation"]),
        )
        taught = teaching_of(tools.backbone) is not None
        calibrated = calibrate(fit, *rows, options.policy, taught=taught)
    return replace(fit, ground=None), calibrated, groups


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is known of a run once its model file is written."""

    evaluation: EvaluationReport
    extras: Extras
    manifest: Manifest


def _judge_and_bundle(
    workspace: Workspace,
    tools: Tools,
    facts: Facts,
    features: FeatureTable,
    groups: Groups,
    progress: Progress,
    clock: _Clock,
) -> _Judged:
    """Evaluate → gather → bundle; the engine that proves the bundle is loaded meanwhile."""
    data, calibrated = facts.data, facts.calibrated
    with ThreadPoolExecutor(1) as beside, _promised() as figures, one_thread():
        bundling = start_bundling(beside, workspace, tools, facts, groups, figures)
        with clock.stage("evaluate"):
            evaluation = _evaluate(data, calibrated, groups, facts.options.policy)
            figures.set_result(evaluation)
            evaluation = with_slices(evaluation, tools, groups["test"], progress)
        with clock.stage("gather"):
            cheap = len(data.image_ids) <= CHEAP
            found = (tools, evaluation, features, data, facts.fit.c)
            extras = extras_gatherer(*found, everything=cheap)()
        with clock.stage("bundle"):
            manifest = bundling.result()
    return _Judged(evaluation, extras, manifest)


def _evaluate(
    data: Dataset, calibrated: CalibratedHead, groups: Groups, policy: Policy
) -> EvaluationReport:
    terms = Terms(
        calibrated.points.thresholds,
        calibrated.prevalence,
        calibrated.label_prevalence,
        policy.uploads_per_day,
        calibrated.points.outcomes,
    )
    return evaluate(
        data.scored("validation", calibrated.head),
        data.scored("test", calibrated.head),
        terms,
        groups=groups["test"],
        uncalibrated=data.scored("test", calibrated.raw).y_score,
    )


@contextmanager
def _promised() -> Iterator[Future[EvaluationReport]]:
    """Figures to come; who waits for them waits no longer when the block ends without them."""
    figures: Future[EvaluationReport] = Future()
    try:
        yield figures
    finally:
        figures.cancel()


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._stages[name] = time.perf_counter() - started

    def timing(self) -> dict[str, float]:
        return {**self._stages, "total": time.perf_counter() - self._started}


__all__ = ["DEFAULT_RESIZE_MODE", "TrainingOptions", "TrainingResult", "train"]
