"""The words of the package: verdicts, thresholds, predictions, errors."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran import errors
from keshikaran.errors import (
    ImageRefusedError,
    KeshikaranError,
    MissingExtraError,
    UsageError,
)
from keshikaran.types import (
    ImageId,
    Prediction,
    SilentProgress,
    Thresholds,
    Verdict,
    chunks_of,
    verdict_of,
)

_CUTS = Thresholds(review=0.2, block=0.7)
_unit = st.floats(0, 1)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (0.0, "pass"),
        (0.1999, "pass"),
        (0.2, "review"),
        (0.6999, "review"),
        (0.7, "block"),
        (1.0, "block"),
    ],
)
def test_score_at_a_threshold_belongs_to_the_stricter_side(score: float, verdict: Verdict) -> None:
    assert verdict_of(score, _CUTS) == verdict


@pytest.mark.parametrize("score", [None, math.nan, math.inf, -math.inf, -0.001, 1.001])
def test_what_is_no_probability_is_undecided(score: float | None) -> None:
    assert verdict_of(score, _CUTS) == "undecided"
    assert verdict_of(score, Thresholds(1.0, 1.0)) == "undecided"


def test_equal_thresholds_leave_nothing_to_review() -> None:
    cuts = Thresholds(0.5, 0.5)
    assert [verdict_of(score, cuts) for score in (0.49, 0.5, 0.51)] == ["pass", "block", "block"]


def test_block_beyond_one_never_blocks() -> None:
    assert verdict_of(1.0, Thresholds(0.5, math.inf)) == "review"


@given(_unit, _unit, _unit, _unit)
def test_a_higher_score_never_gets_a_milder_verdict(
    first: float, second: float, low: float, high: float
) -> None:
    cuts = Thresholds(min(low, high), max(low, high))
    order = ["pass", "review", "block"]
    verdicts = [verdict_of(score, cuts) for score in sorted((first, second))]
    assert order.index(verdicts[0]) <= order.index(verdicts[1])


@given(st.floats() | st.none(), _unit)
def test_only_a_score_below_both_thresholds_passes(score: float | None, cut: float) -> None:
    if verdict_of(score, Thresholds(cut, cut)) == "pass":
        assert score is not None
        assert 0 <= score < cut


@pytest.mark.parametrize(
    ("review", "block"), [(-0.1, 0.5), (0.6, 0.5), (math.nan, 0.5), (0.5, math.nan)]
)
def test_thresholds_out_of_order_are_refused(review: float, block: float) -> None:
    with pytest.raises(ValueError, match="0 <= review <= block"):
        Thresholds(review, block)


def test_prediction_is_ready_for_json() -> None:
    prediction = Prediction("dog.jpg", ImageId("ab"), 0.25, "review", None, "m")
    fields = json.loads(json.dumps(prediction.to_dict()))
    asked = ["path", "image_id", "score", "verdict", "reason", "model_id"]
    assert list(fields) == [*asked, "frames_total", "frames_scored", "source", "evidence"]
    assert fields["score"] == 0.25
    assert fields["reason"] is None


@given(st.integers(0, 50), st.integers(1, 20))
def test_chunks_cover_everything_once_in_order(n: int, size: int) -> None:
    pieces = [list(range(n))[piece] for piece in chunks_of(n, size)]
    assert [item for piece in pieces for item in piece] == list(range(n))
    assert all(len(piece) <= size for piece in pieces)


def test_nobody_watching_hears_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    progress = SilentProgress()
    with progress.task("reading", 3) as task:
        task.advance()
        task.advance(2)
    assert capfd.readouterr() == ("", "")


# Errors


def _error_types() -> list[type[Exception]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]


def test_one_class_catches_every_error() -> None:
    assert len(_error_types()) > 8
    assert all(issubclass(error, KeshikaranError) for error in _error_types())


def test_the_drawing_of_the_errors_names_each_of_them() -> None:
    drawing = errors.__doc__
    assert drawing is not None
    assert all(error.__name__ in drawing for error in _error_types())


def test_message_ends_with_what_to_do() -> None:
    error = KeshikaranError("The disk is full.", "Free some space.")
    assert str(error) == "The disk is full. Free some space."
    assert (error.what, error.hint) == ("The disk is full.", "Free some space.")
    assert str(KeshikaranError("It broke.")) == "It broke."


def test_wrong_usage_has_an_exit_code_of_its_own() -> None:
    assert (KeshikaranError.exit_code, UsageError.exit_code) == (1, 2)


def test_missing_extra_says_what_to_install() -> None:
    error = MissingExtraError("The report", "train")
    assert str(error) == (
        'The report needs packages that are not installed. Run: pip install "keshikaran[train]"'
    )
    assert error.extra == "train"


def test_refusal_survives_the_trip_between_processes() -> None:
    refusal = ImageRefusedError("truncated", "half is missing")
    again = pickle.loads(pickle.dumps(refusal))
    assert isinstance(again, ImageRefusedError)
    assert (again.reason, again.detail) == ("truncated", "half is missing")
    assert str(again) == "truncated: half is missing"
