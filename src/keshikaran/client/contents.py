"""What a server said, believed only if it is well-formed: a prediction, or what a model is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from keshikaran.client.answers import Answer, bad_answer
from keshikaran.types import (
    ImageId,
    KnownImage,
    Prediction,
    PredictionSource,
    Thresholds,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that answers.

    Attributes:
        model_id: its id.
        thresholds: its cuts on the score.
        manifest: all that it says about itself; see docs/model-file.md.
    """

    model_id: str
    thresholds: Thresholds
    manifest: Mapping[str, Any]


def prediction_of(answer: Answer, sent: ImageId, name: str) -> Prediction:
    """The prediction in an answer.

    Args:
        answer: one without a failure.
        sent: the hash of what was sent: an answer about other bytes is none.
        name: what the image is called here.

    Raises:
        UnreachableError: `bad_answer`.
    """
    said = answer.json()
    try:
        found = _prediction(said["prediction"] if answer.status == 422 else said, name)
    except (KeyError, TypeError, ValueError) as error:
        raise bad_answer("is no prediction", answer) from error
    if found.image_id != sent:
        raise bad_answer("is about another image", answer)
    return found


def model_of(answer: Answer) -> ServedModel:
    """The description in an answer.

    Raises:
        UnreachableError: `bad_answer`.
    """
    said = answer.json()
    try:
        cuts = said["thresholds"]
        thresholds = Thresholds(float(cuts["review"]), float(cuts["block"]))
        return ServedModel(_text(said["model_id"]), thresholds, said)
    except (KeyError, TypeError, ValueError) as error:
        raise bad_answer("describes no model", answer) from error


def _prediction(said: dict[str, Any], name: str) -> Prediction:
    score = None if said["score"] is None else float(said["score"])
    verdict = said["verdict"]
    if verdict not in get_args(Verdict) or (score is None) != (verdict == "undecided"):
        msg = "a verdict that there is not"
        raise ValueError(msg)
    if score is not None and not (math.isfinite(score) and 0.0 <= score <= 1.0):
        msg = "a score outside [0, 1]"
        raise ValueError(msg)
    source, evidence = said.get("source"), said.get("evidence")
    if source is not None and source not in get_args(PredictionSource):
        msg = "a source that there is not"
        raise ValueError(msg)
    return Prediction(
        path=name,
        image_id=None if said["image_id"] is None else ImageId(_text(said["image_id"])),
        score=score,
        verdict=verdict,
        reason=None if said.get("reason") is None else _text(said["reason"]),
        model_id=_text(said["model_id"]),
        frames_total=_count(said.get("frames_total")),
        frames_scored=_count(said.get("frames_scored")),
        source=source,
        evidence=None if evidence is None else _known(evidence),
    )


def _known(said: dict[str, Any]) -> KnownImage:
    label = said["label"]
    if label not in (0, 1):
        msg = "a label that there is not"
        raise ValueError(msg)
    numbers = [said.get("similarity"), said.get("agreement")]
    similarity, agreement = (None if each is None else float(each) for each in numbers)
    turn = said.get("turn")
    return KnownImage(
        image_id=ImageId(_text(said["image_id"])),
        label=1 if label else 0,
        similarity=similarity,
        agreement=agreement,
        turn=None if turn is None else _text(turn),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = "no text"
        raise TypeError(msg)
    return value


def _count(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        msg = "no number"
        raise TypeError(msg)
    return value
