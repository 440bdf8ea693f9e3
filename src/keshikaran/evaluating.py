"""A model file on any labelled images: predict → evaluate. Touches no workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from keshikaran.errors import ImageRefusedError, NotEnoughImagesError
from keshikaran.evaluate import evaluate
from keshikaran.evaluation import EvaluationReport
from keshikaran.ingest import Source
from keshikaran.judging import terms_of
from keshikaran.metrics import ScoredSet
from keshikaran.predictor import Predictor
from keshikaran.types import ImageId, Label, Progress, Refusal, SilentProgress


@dataclass(frozen=True, slots=True)
class FolderEvaluation:
    """What a model is worth on labelled images that lie somewhere.

    Attributes:
        evaluation: all figures.
        undecided: files that it could not score, or that cannot be read.
        repeated: files that are a repetition of another one, byte for byte, and count once.
        contradictory: images that lie there under both labels, and do not count.
        unlabelled: files without a label.
    """

    evaluation: EvaluationReport
    undecided: int
    repeated: int
    contradictory: int
    unlabelled: int


@dataclass(slots=True)
class _Tally:
    """What is known of the files so far."""

    labels: list[Label] = field(default_factory=list)
    scores: dict[ImageId, float] = field(default_factory=dict)
    said: dict[ImageId, set[Label]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def evaluate_sources(
    predictor: Predictor, sources: Sequence[Source], progress: Progress | None = None
) -> FolderEvaluation:
    """Score labelled images and compute all figures.

    Args:
        predictor: a loaded model.
        sources: where the images are, with labels.
        progress: told of each.

    Raises:
        NotEnoughImagesError: one of the labels is missing among the images that could be scored.
        BundleError: the model's promises are none of ours.
        SourceError: a source cannot be read.
    """
    tally = _Tally()
    counts = [source.count for source in sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with (progress or SilentProgress()).task("evaluate", total) as task:
        files = _labelled_files(predictor, sources, tally)
        for number, prediction in enumerate(predictor.predict_many(files)):
            task.advance()
            if prediction.score is None or prediction.image_id is None:
                tally.counts["undecided"] += 1
                continue
            tally.counts["repeated"] += prediction.image_id in tally.scores
            tally.scores[prediction.image_id] = prediction.score
            tally.said.setdefault(prediction.image_id, set()).add(tally.labels[number])
    scored = _scored(tally)
    terms = replace(terms_of(predictor.manifest), label_prevalence=float(scored.y_true.mean()))
    return FolderEvaluation(
        evaluate(None, scored, terms),
        tally.counts["undecided"],
        tally.counts["repeated"],
        len(tally.scores) - len(scored.image_ids),
        tally.counts["unlabelled"],
    )


def _labelled_files(
    predictor: Predictor, sources: Sequence[Source], tally: _Tally
) -> Iterator[bytes]:
    """Bytes of labelled files, whose labels are noted in the same order."""
    for source in sources:
        for item in source.walk(predictor.limits):
            if isinstance(item, Refusal):
                tally.counts["undecided"] += 1
            elif item.label is None:
                tally.counts["unlabelled"] += 1
            else:
                try:
                    data = item.content.read(predictor.limits).data
                except ImageRefusedError:
                    tally.counts["undecided"] += 1
                    continue
                tally.labels.append(item.label)
                yield data


def _scored(tally: _Tally) -> ScoredSet:
    """The images with one label each, by id."""
    ids = sorted(image_id for image_id, labels in tally.said.items() if len(labels) == 1)
    labels = np.array([next(iter(tally.said[i])) for i in ids], dtype=np.int8)
    ones = int(labels.sum())
    if not 0 < ones < len(ids):
        msg = (
            f"There are {len(ids) - ones} acceptable and {ones} objectionable images to judge on:"
            " both are needed."
        )
        raise NotEnoughImagesError(msg, "Say which class folders are objectionable: --positive")
    return ScoredSet(ids, labels, np.array([tally.scores[i] for i in ids]))
