"""Drift: quiet about images of the known kind, soon heard about others, and what a file may say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from bundle_support import bundle, manifest, packed
from drift_support import DIM, fake_reference, images, reference
from keshikaran import drift
from keshikaran.bundle import parse_bundle
from keshikaran.drift import DriftFigures, DriftWatch, ScoreDrift
from keshikaran.drift_reference import Coordinates, DriftReference, reference_of
from keshikaran.drift_summary import UnseenImages, summarise
from keshikaran.errors import BundleError
from keshikaran.manifest import parse_manifest
from keshikaran.training import TrainingResult
from keshikaran.types import GroupId


def _watched(count: int, window: int = 500, **kind: Any) -> DriftFigures:
    watch = DriftWatch(reference(), window)
    features, _, scores = images(count, **kind)
    for score, row in zip(scores.tolist(), features, strict=True):
        watch.add(score, row)
    return watch.figures()


def _numbers(figures: DriftFigures) -> tuple[float, float, float, float]:
    found = (figures.psi, figures.psi_limit, figures.distance, figures.distance_limit)
    assert None not in found
    return found  # type: ignore[return-value]


def test_images_of_the_known_kind_are_steady() -> None:
    figures = _watched(500, seed=11)
    psi, psi_limit, distance, distance_limit = _numbers(figures)
    assert figures.state == "steady"
    assert psi < psi_limit
    assert distance < distance_limit
    assert figures.objectionable == pytest.approx(0.3, abs=0.1)


def test_until_the_window_is_full_nothing_is_said() -> None:
    assert _watched(499) == DriftFigures("warming up", 499)


def test_images_of_another_kind_are_drift_of_features_even_where_scores_stay() -> None:
    figures = _watched(500, shift=4.0)
    psi, psi_limit, distance, distance_limit = _numbers(figures)
    assert figures.state == "drifting"
    assert distance > distance_limit
    assert psi < psi_limit


def test_more_objectionable_images_are_drift_of_scores_and_not_of_features() -> None:
    figures = _watched(500, share=0.75)
    psi, psi_limit, distance, distance_limit = _numbers(figures)
    assert figures.state == "drifting"
    assert psi > psi_limit
    assert distance < distance_limit
    assert figures.objectionable == pytest.approx(0.75, abs=0.1)


def test_scores_are_held_against_the_declared_prevalence() -> None:
    features, _, scores = images(500, share=0.75, seed=4)
    states = []
    for prevalence in (0.75, 0.3):
        watch = DriftWatch(reference(prevalence), 500)
        for score, row in zip(scores.tolist(), features, strict=True):
            watch.add(score, row)
        states.append(watch.figures().state)
    assert states == ["steady", "drifting"]


def test_the_state_is_told_once_and_comes_back() -> None:
    told: list[str] = []
    watch = DriftWatch(reference(), 100, lambda figures: told.append(figures.state))
    for count, shift in ((300, 0.0), (300, 6.0), (300, 0.0)):
        features, _, scores = images(count, shift=shift, seed=count)
        for score, row in zip(scores.tolist(), features, strict=True):
            watch.add(score, row)
    assert told == ["steady", "drifting", "steady"]


def test_a_figure_that_wavers_about_its_limit_does_not_flap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    watch = DriftWatch(reference(), 100, lambda figures: told.append(figures.state))
    values = iter([0.9, 1.1, 0.9, 1.1, 0.85, 1.05, 0.7])
    monkeypatch.setattr(ScoreDrift, "figure", lambda self, _: next(values) * self.limit)
    features, _, scores = images(112, seed=8)
    for score, row in zip(scores.tolist(), features, strict=True):
        watch.add(score, row)
    assert told == ["steady", "drifting", "steady"]
    assert next(values, None) is None


def test_an_image_without_numbers_is_left_out() -> None:
    watch = DriftWatch(reference(), 100)
    features, _, _ = images(1)
    watch.add(float("nan"), features[0])
    watch.add(0.5, np.full(DIM, np.nan, np.float32))
    watch.add(0.5, features[0])
    assert watch.figures() == DriftFigures("warming up", 1)


def test_many_threads_may_add_at_once() -> None:
    watch = DriftWatch(reference(), 400)
    features, _, scores = images(800, seed=6)

    def add(part: slice) -> None:
        for score, row in zip(scores[part].tolist(), features[part], strict=True):
            watch.add(score, row)

    threads = [threading.Thread(target=add, args=(slice(n, None, 4),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.figures().state == "steady"
    assert watch.figures().images == 400


def _noting(told: list[str]) -> Callable[[DriftFigures], None]:
    return lambda figures: told.append(figures.state)


def test_false_alarms_are_rare() -> None:
    alarms = 0
    features, _, scores = images(10_000, seed=12)
    for window in (100, 500):
        told: list[str] = []
        watch = DriftWatch(reference(), window, _noting(told))
        for score, row in zip(scores.tolist(), features, strict=True):
            watch.add(score, row)
        alarms += told.count("drifting")
    assert alarms == 0


@pytest.mark.parametrize("share", [0.5, 0.99, 0.99999])
@pytest.mark.parametrize("freedom", [3, 9, 33])
def test_quantiles_of_chi_square_are_close(share: float, freedom: int) -> None:
    assert drift._chi_square(share, freedom) == pytest.approx(chi2.ppf(share, freedom), rel=0.06)


def test_the_stability_index_is_that_of_the_books() -> None:
    found, expected = np.array([[0.5, 0.3, 0.2]]), np.array([[0.4, 0.4, 0.2]])
    by_hand = 0.1 * np.log(0.5 / 0.4) - 0.1 * np.log(0.3 / 0.4)
    assert drift._psi(found, expected)[0] == pytest.approx(by_hand)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_bins_hold_every_unseen_image_once(seed: int, prevalence: float) -> None:
    features, labels, scores = images(150, seed=seed)
    scores = np.round(scores, 1)  # many are the same
    groups = [GroupId(str(number)) for number in range(150)]
    found = summarise(features, UnseenImages(features, labels, scores, groups), prevalence)
    assert found is not None
    assert [int(item.scores.sum()) for item in found.classes] == [
        item.images for item in found.classes
    ]
    assert sum(item.images for item in found.classes) == 150
    assert (np.diff(found.edges) > 0).all()
    _same(reference_of(json.loads(json.dumps(found.to_dict()))), found)


def _same(first: DriftReference, second: DriftReference) -> None:
    assert first.prevalence == second.prevalence
    for name in ("edges", "centre", "steps", "directions"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for one, other in zip(first.classes, second.classes, strict=True):
        assert one.images == other.images
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-5, atol=1e-5)


def test_copies_of_one_photograph_count_once() -> None:
    features, labels, scores = images(100, seed=3)
    groups = [GroupId(str(number // 2)) for number in range(100)]
    labels[1::2] = labels[::2]
    found = summarise(features, UnseenImages(features, labels, scores, groups), 0.3)
    assert found is not None
    assert sum(item.images for item in found.classes) == 50


def test_too_few_unseen_images_are_no_reference() -> None:
    features, labels, scores = images(60, seed=3)
    labels[:] = 0
    labels[:9] = 1
    groups = [GroupId(str(number)) for number in range(60)]
    assert summarise(features, UnseenImages(features, labels, scores, groups), 0.3) is None


def test_scores_that_are_all_the_same_have_one_bin_and_never_drift() -> None:
    features, labels, scores = images(100, seed=3)
    scores[:] = 0.5
    groups = [GroupId(str(number)) for number in range(100)]
    found = summarise(features, UnseenImages(features, labels, scores, groups), 0.3)
    assert found is not None
    assert len(found.edges) == 0
    assert ScoreDrift(found, 100).figure(np.zeros(100, np.int64)) == 0.0


def test_a_reference_of_a_real_backbone_is_small() -> None:
    rng = np.random.default_rng(0)
    taught = rng.normal(size=(400, 1280)).astype(np.float32)
    labels = (rng.random(400) < 0.5).astype(np.int8)
    groups = [GroupId(str(number)) for number in range(400)]
    found = summarise(taught, UnseenImages(taught, labels, rng.random(400), groups), 0.5)
    assert found is not None
    assert len(found.steps) == 32
    assert len(json.dumps(found.to_dict())) < 100_000


def test_coordinates_keep_distances_along_the_directions_and_tell_the_rest() -> None:
    found = Coordinates.of(reference())
    features, _, _ = images(50, seed=9)
    off = features - reference().centre
    places = found(features)
    assert places.shape == (50, len(found))
    lengths = (places[:, :-1] ** 2).sum(axis=1) + np.exp(places[:, -1])
    np.testing.assert_allclose(lengths, (off.astype(np.float64) ** 2).sum(axis=1), rtol=1e-4)


def _drop(raw: dict[str, Any]) -> None:
    del raw["steps"]


def _class(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["classes"][0].update({name: value})


_DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key is missing": _drop,
    "another version": lambda raw: raw.update(version=2),
    "no dim": lambda raw: raw.update(dim=True),
    "a huge dim": lambda raw: raw.update(dim=10**9),
    "edges that do not ascend": lambda raw: raw.update(edges=raw["edges"][::-1]),
    "too many edges": lambda raw: raw.update(edges=[n / 100 for n in range(50)]),
    "edges of text": lambda raw: raw.update(edges=["0.1"]),
    "edges that are none": lambda raw: raw.update(edges={"0": 1}),
    "no steps": lambda raw: raw.update(steps=[]),
    "a step of nothing": lambda raw: raw.update(steps=[0.0] * len(raw["steps"])),
    "a huge step": lambda raw: raw.update(steps=[1e16] * len(raw["steps"])),
    "a prevalence above 1": lambda raw: raw.update(prevalence=1.5),
    "one class": lambda raw: raw.update(classes=raw["classes"][:1]),
    "a class that is none": lambda raw: raw.update(classes=[1, 2]),
    "short directions": lambda raw: raw.update(directions=raw["directions"][:-4]),
    "no base64": lambda raw: raw.update(centre="é" + raw["centre"][1:]),
    "padding in the middle": lambda raw: raw.update(centre=raw["centre"][:-4] + "===="),
    "padding where none belongs": lambda raw: raw.update(centre=raw["centre"][:-2] + "=="),
    "a number that is none": lambda raw: raw.update(centre="AADAfw" + raw["centre"][6:]),
    "too large a number": lambda raw: raw.update(centre="////fv//" + raw["centre"][8:]),
    "one image": _class("images", 1),
    "scores of other images": _class("images", 1_000),
    "too few bins": _class("scores", [3]),
    "a negative count": _class("scores", [-1] * 10),
    "too few means": _class("mean", [0.0]),
    "no covariance": _class("covariance", ""),
    "another key": _class("more", 1),
}


@pytest.mark.parametrize("damage", _DAMAGE.values(), ids=_DAMAGE.keys())
def test_a_damaged_reference_is_refused(damage: Callable[[dict[str, Any]], object]) -> None:
    raw = json.loads(json.dumps(fake_reference().to_dict()))
    damage(raw)
    with pytest.raises(ValueError, match=r"\w"):
        reference_of(raw)
    with pytest.raises(BundleError, match="manifest is damaged"):
        parse_manifest(manifest(reference=raw).to_json(), "model.onnx")


@pytest.mark.parametrize("sign", [-1.0, 0.0])
def test_a_covariance_that_is_none_is_refused(sign: float) -> None:
    raw = fake_reference().to_dict()
    size = len(raw["steps"]) + 1
    values = np.full((size, size), 5.0) + np.eye(size) * 1e-3
    values[0, 0] *= sign
    values[1, 0] = values[0, 1] = 50.0
    from keshikaran.drift_reference import _packed

    raw["classes"][1]["covariance"] = _packed(values, "<f4")
    with pytest.raises(ValueError, match="variance"):
        reference_of(raw)
    values[0, 0] = 5.0
    raw["classes"][1]["covariance"] = _packed(values, "<f4")
    with pytest.raises(ValueError, match="the covariance is none"):
        reference_of(raw)


def test_a_reference_that_is_no_object_is_refused() -> None:
    with pytest.raises(BundleError, match="bad reference"):
        parse_manifest(manifest(reference=[]).to_json(), "model.onnx")


def test_a_reference_of_another_network_is_refused() -> None:
    with pytest.raises(BundleError, match="does not fit its manifest"):
        parse_bundle(packed(reference=reference().to_dict()), "model.onnx")
    assert bundle(reference=fake_reference().to_dict()).manifest.reference["dim"] == 12


def test_training_keeps_a_reference_of_images_that_did_not_teach(trained: TrainingResult) -> None:
    found = reference_of(trained.manifest.reference)
    counts = trained.split
    for label, item in zip(("0", "1"), found.classes, strict=True):
        assert 10 <= item.images <= counts["validation"][label] + counts["test"][label]
    assert found.prevalence == trained.manifest.prevalence
