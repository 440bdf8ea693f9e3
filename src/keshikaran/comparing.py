"""Rivals against a model: judge → ask each rival what is not known yet → compare.

Rivals are asked about validation and test images only: some take a tenth of a second an image. What
they say is kept in the workspace, every few seconds, so that an interruption loses little and a
second run is quick.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.baselines import Rival, open_rival
from keshikaran.bundle import read_bundle
from keshikaran.compare import compare
from keshikaran.comparison import Comparison, Entrant, Ground
from keshikaran.errors import NotEnoughImagesError
from keshikaran.judging import Judgement, judge
from keshikaran.metrics import ScoredSet
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.pixels.isolated import Isolation
from keshikaran.policy import policy_of
from keshikaran.preparation import Tools, open_bundle_tools
from keshikaran.store import RivalKey, RivalScore, RivalScores, Workspace, group_of
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float64Array, ImageId, Progress

_COMMIT_EVERY_S = 2.0
_WAY_OF_ASKING = 1  # raise it when what a rival is handed, or what is made of its answer, changes


@dataclass(frozen=True, slots=True)
class Contest:
    """A model and what it was held against.

    Attributes:
        judgement: what the model is worth by itself.
        comparisons: one for each rival, in the order they were named.
    """

    judgement: Judgement
    comparisons: tuple[Comparison, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the single images, ready for JSON."""
        test = self.judgement.evaluation.test
        return {
            "model_id": self.judgement.manifest.model_id,
            "images": test.images,
            "objectionable": test.positives,
            "foreign": self.judgement.foreign,
            "comparisons": [one.to_dict() for one in self.comparisons],
        }


def compare_model(
    workspace: Workspace,
    model: Path,
    names: Sequence[str],
    progress: Progress,
    isolation: Isolation = "process",
) -> Contest:
    """Judge a model file on the workspace's test set, and rivals on the same images.

    Args:
        workspace: with labelled images that have sides.
        model: the model file.
        names: what `baselines.open_rival` takes.
        progress: told of each image that is featurized or scored.
        isolation: where images are decoded.

    Raises:
        KeshikaranError: as `judging.judge` and `compare_all`.
    """
    bundle = read_bundle(model)
    options = TrainingOptions(isolation=isolation)
    with open_bundle_tools(workspace, bundle, options) as tools:
        judgement = judge(tools, bundle, str(model), progress)
        found = compare_all(names, workspace, tools, judgement, progress, isolation)
    return Contest(judgement, found)


def compare_all(
    names: Sequence[str],
    workspace: Workspace,
    tools: Tools,
    judgement: Judgement,
    progress: Progress,
    isolation: Isolation = "process",
) -> tuple[Comparison, ...]:
    """Hold rivals against a model that has been judged.

    Args:
        names: what `baselines.open_rival` takes; one that is named twice is compared once.
        workspace: where scores are kept.
        tools: the same that the model was judged with.
        judgement: of the model.
        progress: told of each image that is scored.
        isolation: where images are decoded for model files.

    Raises:
        UsageError: a name means nothing.
        MissingExtraError: a rival's package is not installed.
        SourceError: a list of scores cannot be used.
        BundleError: a model file cannot be used, or the model's policy cannot be read.
        NotEnoughImagesError: there is no validation set, or a rival could not score it.
        StoreError: the disk is full or the workspace cannot be written.
    """
    ground, yours = _ground(tools, judgement), _yours(judgement)
    image_ids = [
        *judgement.validation_set.image_ids,
        *judgement.evaluation.test_set.image_ids,
    ]
    with ExitStack() as rivals:  # all are opened before any is asked, which may take minutes
        opened = [
            rivals.enter_context(closing(open_rival(name, tools.store, tools.decoder, isolation)))
            for name in dict.fromkeys(names)
        ]
        return tuple(
            compare(
                ground,
                yours,
                _entrant(rival, judgement, ask(rival, workspace, image_ids, progress)),
            )
            for rival in opened
        )


def ask(
    rival: Rival, workspace: Workspace, image_ids: Sequence[ImageId], progress: Progress
) -> Mapping[ImageId, RivalScore]:
    """What a rival says of stored images; only those are scored of which that is not known.

    Raises:
        StoreError: what it says cannot be kept.
    """
    if not rival.card.cached:
        return {one.image_id: one for one in rival.score(image_ids)}
    version = f"{rival.card.version} ({_WAY_OF_ASKING})"
    key = RivalKey(rival.card.name, version, PIXEL_CONTRACT_VERSION)
    with RivalScores(workspace.rivals) as cache:
        known = cache.known(key)
        missing = [image_id for image_id in image_ids if image_id not in known]
        if missing:
            with (
                progress.task(rival.card.name, len(missing)) as task,
                closing(rival.score(missing)) as scores,
                closing(_kept(cache, key, scores)) as kept,
            ):
                for one in kept:
                    known[one.image_id] = one
                    task.advance()
    return known


def _kept(
    cache: RivalScores, key: RivalKey, scores: Iterable[RivalScore]
) -> Generator[RivalScore, None, None]:
    """The same scores; what has come is kept now and then, and at the end, however that comes."""
    waiting: list[RivalScore] = []
    kept_at = time.monotonic()
    try:
        for one in scores:
            waiting.append(one)
            if time.monotonic() - kept_at > _COMMIT_EVERY_S:
                cache.put(key, waiting)
                waiting, kept_at = [], time.monotonic()
            yield one
    finally:
        cache.put(key, waiting)


def _ground(tools: Tools, judgement: Judgement) -> Ground:
    manifest, test = judgement.manifest, judgement.evaluation.test_set
    validation = judgement.validation_set
    ones = int(np.count_nonzero(validation.y_true == 1))
    if not 0 < ones < len(validation.y_true):
        msg = (
            "There are no validation images to choose thresholds on:"
            f" {len(validation.y_true) - ones} acceptable and {ones} objectionable ones."
        )
        raise NotEnoughImagesError(msg, "Import more labelled images and run: keshikaran train")
    known = tools.store.groups.of_images()
    return Ground(
        validation.y_true,
        [group_of(image_id, known) for image_id in validation.image_ids],
        test.y_true,
        judgement.groups,
        policy_of(manifest.policy, manifest.model_id),
        judgement.evaluation.prevalence,
    )


def _yours(judgement: Judgement) -> Entrant:
    manifest = judgement.manifest
    scores = (judgement.validation_set.y_score, judgement.evaluation.test_set.y_score)
    fields = (manifest.model_id, manifest.keshikaran_version, manifest.licence, "its probability")
    return Entrant(*fields, "probability", *scores)


def _entrant(rival: Rival, judgement: Judgement, scores: Mapping[ImageId, RivalScore]) -> Entrant:
    def column(images: ScoredSet) -> Float64Array:
        values = (scores[one].score for one in images.image_ids)
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    card = rival.card
    return Entrant(
        card.name,
        card.version,
        card.licence,
        card.meaning,
        card.scale,
        column(judgement.validation_set),
        column(judgement.evaluation.test_set),
        rival.notes(),
    )
