"""The drift watch of a server: metrics, log lines, and models that say nothing about drift."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bundle_support import bundle, opened, scoring_model
from drift_support import fake_reference
from keshikaran.drift import DriftFigures
from keshikaran.errors import UsageError
from keshikaran.pixels import InProcessDecoder
from keshikaran.predictor import Predictor
from keshikaran.web.app import Api
from keshikaran.web.drift_watch import line_of, watch_drift
from keshikaran.web.log import LOGGER
from keshikaran.web.settings import ServerSettings
from serve_support import MODEL_ID, MULTIPART, OTHER_MODEL_ID, api, ask, form, get, in_loop
from support import bluish, encode, quadrants, reddish


def _with_reference(model_id: str = MODEL_ID) -> Predictor:
    made = bundle(model_id=model_id, reference=fake_reference().to_dict())
    return Predictor(made, opened(scoring_model()), decoder=InProcessDecoder())


def _known_kind(number: int) -> bytes:
    return encode((reddish if number % 2 else bluish)(7_000 + number))


def _green(number: int) -> bytes:
    colours = [(10 + number % 20, 240 - part, 10 + part) for part in range(4)]
    return encode(quadrants(colours, noise=8, seed=number))


def _send(to: Api, count: int, paint: Callable[[int], bytes]) -> None:
    for start in range(0, count, 10):
        files = [(f"{number}.png", paint(number)) for number in range(start, start + 10)]
        answer = ask(to, body=form(*files), headers=MULTIPART)
        assert answer.status == 200


def _metrics(of: Api) -> dict[str, float]:
    lines = get(of, "/metrics").body.decode().splitlines()
    drift = [line for line in lines if line.startswith("keshikaran_drift")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in drift)}


def _state(state: str) -> str:
    return f'keshikaran_drift_state{{keshikaran_drift_state="{state}"}}'


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """What the server writes down, as it happens."""
    found: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields: dict[str, Any] = getattr(record, "event", {})
            found.append({"event": record.getMessage(), "level": record.levelname, **fields})

    handler, level = Keep(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield found
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


def _drift(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"].startswith("drift")]


def test_uploads_of_another_kind_show_in_metrics_and_in_one_line_of_the_log(
    events: list[dict[str, Any]],
) -> None:
    to = api(lambda _: _with_reference(), drift_window=100)
    assert _metrics(to)[_state("warming_up")] == 1
    _send(to, 110, _known_kind)
    found = _metrics(to)
    assert found[_state("steady")] == 1
    assert found["keshikaran_drift_images"] == 100
    assert found["keshikaran_drift_psi"] < found["keshikaran_drift_psi_limit"]
    assert (
        found["keshikaran_drift_feature_distance"]
        < found["keshikaran_drift_feature_distance_limit"]
    )
    _send(to, 60, _green)
    found = _metrics(to)
    assert found[_state("drifting")] == 1
    assert (
        found["keshikaran_drift_feature_distance"]
        > found["keshikaran_drift_feature_distance_limit"]
    )
    steady, drifting = _drift(events)
    assert (steady["state"], steady["level"]) == ("steady", "INFO")
    assert (drifting["state"], drifting["level"]) == ("drifting", "WARNING")
    assert drifting["feature_distance"] > drifting["feature_distance_limit"]
    assert drifting["psi"] > 0
    assert drifting["model_id"] == MODEL_ID
    assert "train again" in drifting["detail"]
    in_loop(to.service.close)


def test_a_model_that_says_nothing_has_no_figures_and_one_line(
    events: list[dict[str, Any]],
) -> None:
    to = api()
    _send(to, 20, _known_kind)
    assert not _metrics(to)
    (line,) = _drift(events)
    assert line["event"] == "drift_unknown"
    assert "Train again" in line["hint"]
    in_loop(to.service.close)


def test_a_window_of_nothing_turns_it_off(events: list[dict[str, Any]]) -> None:
    to = api(lambda _: _with_reference(), drift_window=0)
    _send(to, 20, _known_kind)
    assert not _metrics(to)
    assert not _drift(events)
    in_loop(to.service.close)


def test_another_model_begins_anew() -> None:
    models = iter([_with_reference(), _with_reference(OTHER_MODEL_ID)])
    to = api(lambda _: next(models), drift_window=100)
    _send(to, 100, _known_kind)
    assert _metrics(to)[_state("steady")] == 1
    in_loop(lambda: to.service.reload(None))
    assert _metrics(to)[_state("warming_up")] == 1
    assert _metrics(to)["keshikaran_drift_images"] == 0
    in_loop(to.service.close)


def test_images_that_could_not_be_judged_do_not_count() -> None:
    to = api(lambda _: _with_reference(), drift_window=100)
    assert ask(to, body=b"no image").status == 422
    assert ask(to, body=_green(1)).status == 200
    assert _metrics(to)["keshikaran_drift_images"] == 1
    in_loop(to.service.close)


def test_the_model_is_described_without_its_reference() -> None:
    to = api(lambda _: _with_reference())
    assert json.loads(get(to, "/v1/model").body)["reference"] == {}
    in_loop(to.service.close)


def test_the_predictor_tells_score_and_features_of_what_it_answers() -> None:
    told: list[tuple[float, int]] = []
    with _with_reference() as predictor:
        predictor.watch_images(lambda score, features: told.append((score, len(features))))
        predictions = list(predictor.predict_many([_green(1), b"no image", _known_kind(1)]))
    scores = [item.score for item in predictions if item.score is not None]
    assert told == [(score, 12) for score in scores]


def test_what_to_do_depends_on_what_has_drifted() -> None:
    figures = DriftFigures("drifting", 500, 0.4, 0.2, 0.3, 0.5, 0.04)
    assert "about 4% seem to be objectionable" in str(line_of(figures)["detail"])
    assert "prevalence" in str(line_of(figures)["detail"])
    figures = DriftFigures("drifting", 500, 0.4, 0.2, 0.6, 0.5, 0.04)
    assert "another kind" in str(line_of(figures)["detail"])
    assert line_of(DriftFigures("warming up", 3))["psi"] is None


@pytest.mark.parametrize("window", [1, 99, 100_001])
def test_a_window_too_small_or_too_large_is_refused(window: int) -> None:
    with pytest.raises(UsageError, match="drift_window"):
        ServerSettings(drift_window=window)


def test_watching_gives_figures_of_what_was_predicted() -> None:
    with _with_reference() as predictor:
        figures = watch_drift(predictor, 100)
        assert figures is not None
        predictor.predict(_known_kind(3))
        assert figures() == DriftFigures("warming up", 1)
