"""The whole way: import → store → label → split → featurize → fit → evaluate → bundle.

`train` is the only function that knows the order of the stages. Each stage takes values and
gives a frozen dataclass; none knows another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from keshikaran.bundle import Manifest, SelfTest
from keshikaran.dataset import Dataset, check_counts, check_totals
from keshikaran.errors import ImageRefusedError
from keshikaran.evaluate import evaluate
from keshikaran.export import build_scoring_graph, export_bundle
from keshikaran.featurize import FeatureTable, FeaturizeAhead
from keshikaran.head import FitResult, fit_head
from keshikaran.ingest import ImportReport, Source, import_source
from keshikaran.metrics import EvaluationReport, choose_thresholds
from keshikaran.pixels import (
    DEFAULT_LIMITS,
    EXTENSIONS,
    PIXEL_CONTRACT_VERSION,
    Limits,
)
from keshikaran.policy import Policy
from keshikaran.preparation import (
    Tools,
    engine_opener,
    featurize_labelled,
    group_labelled,
    open_tools,
    split_labelled,
)
from keshikaran.report import ReportContent, write_html_report, write_tensorboard_run
from keshikaran.seed_recipe import fit_seed_recipe
from keshikaran.split import stored_scheme
from keshikaran.store import ImageRecord, Store, Workspace, write_skipped
from keshikaran.training_run import (
    DEFAULT_RESIZE_MODE,
    HeadRecipe,
    TrainingOptions,
    TrainingResult,
)
from keshikaran.types import Label, Progress, Refusal, SilentProgress
from keshikaran.version import __version__

_PARITY_IMAGES = 16


def train(
    workspace: Workspace,
    sources: Sequence[Source] = (),
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """Import, then every stage up to bundle and report.

    Args:
        workspace: where everything is kept; created if missing.
        sources: what to import first; may be empty when the workspace has images.
        options: settings; the defaults are sensible.
        progress: told of long work.

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
            data = prepared.data
        features = _credit(features, ahead)
        refusals = _list_refusals(workspace, store, features)
        check_counts(data.counts(), _where_lost(workspace, refusals))
        with clock.stage("fit"):
            fit = _fit(data, options.recipe)
        with clock.stage("evaluate"):
            evaluation = _evaluate(data, fit, options.policy)
        with clock.stage("bundle"):
            run = _Run(workspace, tools, options, data, fit, evaluation)
            manifest = _bundle(run)
        contradictions = tuple(store.labels.contradictions())
    result = TrainingResult(
        model_id=manifest.model_id,
        model_path=workspace.model(manifest.model_id),
        report_path=workspace.report(manifest.model_id),
        images=images,
        split=data.counts(),
        split_report=prepared.split,
        timing_s={},
        features=features,
        fit=fit,
        evaluation=evaluation,
        refusals=refusals,
        contradictions=contradictions,
        manifest=manifest,
    )
    with clock.stage("report"):
        _report(workspace, result, tensorboard=options.tensorboard)
    return replace(result, timing_s=clock.timing())


def _report(workspace: Workspace, result: TrainingResult, *, tensorboard: bool) -> None:
    """Write what people look at."""
    content = ReportContent(
        model_id=result.model_id,
        settings=_settings(result.manifest),
        images=result.image_figures(),
        split=result.split,
        evaluation=result.evaluation,
        steps=result.fit.steps,
        refusals=result.refusals,
        contradictions=result.contradictions,
    )
    write_html_report(result.report_path, content)
    if tensorboard:
        write_tensorboard_run(workspace.run(result.model_id), content)


@dataclass(frozen=True, slots=True)
class _Run:
    """What is known of a run once the head is fitted."""

    workspace: Workspace
    tools: Tools
    options: TrainingOptions
    data: Dataset
    fit: FitResult
    evaluation: EvaluationReport


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


def _count(sources: Sequence[Source]) -> int | None:
    """How many entries there are, if all sources know."""
    counts = [source.count for source in sources]
    return sum(count for count in counts if count is not None) if None not in counts else None


def _credit(features: FeatureTable, ahead: FeaturizeAhead) -> FeatureTable:
    """What was computed while importing was not in the cache before."""
    ready = features.cached - len(ahead.computed.intersection(features.image_ids))
    return replace(features, cached=ready, seconds=features.seconds + ahead.seconds)


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


def _fit(data: Dataset, recipe: HeadRecipe) -> FitResult:
    fit = fit_head if recipe == "exact" else fit_seed_recipe
    return fit(*data.part("train"), *data.part("validation"))


def _evaluate(data: Dataset, fit: FitResult, policy: Policy) -> EvaluationReport:
    validation = data.scored("validation", fit.head)
    thresholds = choose_thresholds(validation.y_true, validation.y_score, policy.review_recall)
    return evaluate(validation, data.scored("test", fit.head), thresholds)


def _bundle(run: _Run) -> Manifest:
    """Write the model file; its scores are held against the pipeline's on validation files."""
    created = datetime.now(UTC)
    model_id = _model_id(created, run)

    def describe(self_test: SelfTest) -> Manifest:
        return _manifest(run, model_id, created, self_test)

    return export_bundle(
        run.workspace.model(model_id),
        build_scoring_graph(run.tools.backbone, run.fit.head),
        describe,
        engine_opener(run.options),
        _proof(run),
        run.tools.decoder,
    )


def _proof(run: _Run) -> list[tuple[bytes, float]]:
    """Validation files from both ends and the middle of the scores, and their scores.

    One that was damaged since its features were computed proves nothing and is left out.
    """
    rows = run.data.rows("validation")
    scores = run.data.scores(run.fit.head)[rows]
    order = scores.argsort(kind="stable")
    step = max(1, len(order) // _PARITY_IMAGES)
    chosen = [int(index) for index in order[::step]]
    ids = [run.data.image_ids[rows[index]] for index in chosen]
    extensions = run.tools.store.extension_of(ids)
    proof: list[tuple[bytes, float]] = []
    for image_id, index in zip(ids, chosen, strict=True):
        with suppress(ImageRefusedError):
            data = run.tools.store.blobs.read(image_id, extensions[image_id])
            proof.append((data, float(scores[index])))
    return proof


def _model_id(created: datetime, run: _Run) -> str:
    """Time first, so that names sort by age; then a digest of what was learned."""
    digest = hashlib.sha256(run.fit.head.weights.tobytes())
    digest.update(
        repr((run.fit.head.bias, run.tools.backbone.digest, run.options.precision)).encode()
    )
    return f"{created:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def _manifest(run: _Run, model_id: str, created: datetime, self_test: SelfTest) -> Manifest:
    options, backbone = run.options, run.tools.backbone
    scheme = stored_scheme(run.tools.store)
    return Manifest(
        model_id=model_id,
        created=created.isoformat(timespec="seconds"),
        keshikaran_version=__version__,
        classes={"0": options.policy.acceptable, "1": options.policy.objectionable},
        thresholds=run.evaluation.thresholds,
        thresholds_chosen_for=options.policy.thresholds_chosen_for,
        policy=options.policy.to_dict(),
        prevalence=run.data.prevalence(),
        pixel_contract=PIXEL_CONTRACT_VERSION,
        height=backbone.height,
        width=backbone.width,
        resize_mode=options.resize_mode,
        backbone={
            "name": backbone.name,
            "digest": backbone.digest,
            "licence": backbone.licence,
        },
        precision=options.precision,
        recipe={"name": options.recipe, "c": run.fit.c},
        training_set={"digest": run.data.digest(), "split_scheme": asdict(scheme)},
        split={side: dict(counts) for side, counts in run.data.counts().items()},
        metrics={
            "validation": run.evaluation.validation.to_dict(),
            "test": run.evaluation.test.to_dict(),
        },
        self_test=self_test,
        licence=f"backbone weights: {backbone.licence}; head: yours",
    )


def _list_refusals(
    workspace: Workspace, store: Store, features: FeatureTable
) -> tuple[Refusal, ...]:
    """Everything that could not be used, also written to `skipped.csv`."""
    refusals = store.skipped()
    for image_id, refusal in sorted(features.refused.items()):
        refusals.extend(
            Refusal(path, "decode", refusal.reason, refusal.detail)
            for path in store.entries_of(image_id)
        )
    write_skipped(workspace.skipped, refusals)
    return tuple(refusals)


def _settings(manifest: Manifest) -> dict[str, str]:
    """The run's settings in words, for report and TensorBoard."""
    c = manifest.recipe["c"]
    return {
        "created": manifest.created,
        "keshikaran": manifest.keshikaran_version,
        "backbone": f"{manifest.backbone['name']} ({manifest.backbone['digest'][:12]})",
        "precision": manifest.precision,
        "pixels": f"{manifest.height}×{manifest.width}, {manifest.resize_mode},"
        f" contract {manifest.pixel_contract}",
        "head": manifest.recipe["name"] + ("" if c is None else f", C = {c:g}"),
        "split scheme": manifest.training_set["split_scheme"]["name"] + _unguarded(manifest),
        "training set": manifest.training_set["digest"][:12],
        "prevalence": f"{manifest.prevalence:.4f}",
        "thresholds": manifest.thresholds_chosen_for,
    }


def _unguarded(manifest: Manifest) -> str:
    guard = manifest.training_set["split_scheme"]["guard"]
    return "" if guard else ", copies of test images not kept out of training"


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
