"""What a server said, checked: a prediction, a description, or a typed error."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, get_args

from keshikaran.errors import BusyError, ClientError, RequestFailedError, UnreachableError
from keshikaran.inert import printable
from keshikaran.types import (
    ImageId,
    KnownImage,
    Prediction,
    PredictionSource,
    Thresholds,
    Verdict,
)

_OF_A_WHILE = {429, 502, 503, 504}
_MOST_WORDS = 500
_OTHER = "Is the address that of keshikaran serve?"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came: status, headers with lower-case names, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object in the body; empty if there is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


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


def failure_of(answer: Answer) -> ClientError | None:
    """The error that an answer is; None if it is what was asked for, or `undecided`."""
    if answer.status == 200:
        return None
    said = answer.json()
    code = said.get("code")
    if not isinstance(code, str) or not code:
        return _of_a_stranger(answer)
    if code == "undecided" and isinstance(said.get("prediction"), dict):
        return None
    request_id = said.get("request_id")
    kind = BusyError if answer.status in _OF_A_WHILE else RequestFailedError
    return kind(
        printable(code[:80]),
        f"The server answered {answer.status}: {_words(said.get('detail') or said.get('title'))}",
        _words(said.get("hint")),
        status=answer.status,
        request_id=_words(request_id) or None,
        retry_after_s=retry_after_s(answer.headers),
    )


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


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or a date; None if neither."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return float(given)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def bad_answer(why: str, answer: Answer) -> UnreachableError:
    """The error for an answer that is not one of this server's."""
    return UnreachableError("bad_answer", f"What came back {why}.", _OTHER, status=answer.status)


def _of_a_stranger(answer: Answer) -> ClientError:
    """Of a proxy before the server, or of another server."""
    what = f"Something before the server answered {answer.status}."
    code, wait = f"http_{answer.status}", retry_after_s(answer.headers)
    if answer.status in _OF_A_WHILE:
        return BusyError(code, what, "Ask again later.", status=answer.status, retry_after_s=wait)
    if 200 <= answer.status < 400:
        return bad_answer(f"has status {answer.status}; redirects are not followed", answer)
    return RequestFailedError(code, what, _OTHER, status=answer.status)


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


def _words(said: object) -> str:
    """A server's words for a line that people read."""
    return printable(said[:_MOST_WORDS]) if isinstance(said, str) else ""
