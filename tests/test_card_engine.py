"""The way to a card, walked on the processor: batches, bound memory, room, and what is checked.

No test here needs a card: ONNX Runtime is told of its processor where a card would be named.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from bundle_support import changed, fake, noise, quadrant_means, scoring_model
from keshikaran.backbones import Engine, load_backbone, open_engine, read_graph
from keshikaran.backbones.card_engine import CardEngine, batch_size_for
from keshikaran.backbones.devices import Placement
from keshikaran.backbones.half import in_half_precision
from keshikaran.backbones.sizes import largest_value_bytes
from keshikaran.errors import BackboneError
from keshikaran.head import Head
from keshikaran.parts import Part
from keshikaran.pixels import PixelSpec, ResizeMode
from keshikaran.scoring_graph import build_joined_graph
from keshikaran.types import Precision, UInt8Array
from support import FAKE_DIM, FAKE_SIDE, fake_backbone

_PROCESSOR = Placement("cuda", (("CPUExecutionProvider", {}),), "cpu")


def _card(
    model: bytes | None = None, precision: Precision = "f32", batch_size: int = 8
) -> CardEngine:
    return CardEngine(model or fake_backbone(), _PROCESSOR, precision, batch_size=batch_size)


@pytest.fixture(scope="module")
def card() -> CardEngine:
    return _card()


def test_it_says_what_it_is(card: CardEngine) -> None:
    asked: Engine = card
    assert (asked.name, asked.precision, asked.streams, asked.batch_size) == (
        "onnxruntime",
        "f32",
        2,
        8,
    )
    assert card.device == "cuda"


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 1000))
def test_any_number_of_images_gives_a_row_each(card: CardEngine, count: int, seed: int) -> None:
    images = noise(count, seed=seed)
    features = card.infer(images)["features"]
    assert features.dtype == np.float32
    assert features.shape == (count, FAKE_DIM)
    assert np.abs(features - quadrant_means(images)).max() < 1e-5


def test_a_graph_of_two_shapes_gets_both() -> None:
    modes: tuple[ResizeMode, ...] = ("crop", "pad")
    parts = [Part(fake(), PixelSpec(FAKE_SIDE, FAKE_SIDE, mode)) for mode in modes]
    head = Head(np.linspace(-1.0, 1.0, 2 * FAKE_DIM), 0.25)
    graph = build_joined_graph(parts, head).SerializeToString()
    one, other = noise(11, seed=3), noise(11, seed=4)
    found = _card(graph).infer(one, other)
    joined = np.hstack([quadrant_means(one), quadrant_means(other)])
    assert np.abs(found["features"] - joined).max() < 1e-5
    score = 1 / (1 + np.exp(-(joined @ head.weights + head.bias)))
    assert np.abs(found["score"] - score).max() < 1e-5


def test_pixels_may_be_a_view_of_others(card: CardEngine) -> None:
    images = noise(8)[:, :, ::-1]
    assert np.abs(card.infer(images)["features"] - quadrant_means(images)).max() < 1e-5


def test_answers_stay_as_they_are_when_memory_is_used_again(card: CardEngine) -> None:
    first = card.infer(noise(8, seed=1))["features"]
    kept = first.copy()
    card.infer(noise(8, seed=2))
    assert np.array_equal(first, kept)


def test_many_threads_share_two_sets_of_memory(card: CardEngine) -> None:
    batches = [noise(size, seed=size) for size in range(1, 20)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda images: card.infer(images)["features"], batches))
    for images, features in zip(batches, found, strict=True):
        assert np.abs(features - quadrant_means(images)).max() < 1e-5


def test_a_whole_model_gives_score_and_features() -> None:
    model = scoring_model().SerializeToString()
    images = noise(5)
    found = _card(model).infer(images)
    expected = open_engine(model, engine="onnxruntime", streams=1).infer(images)
    assert set(found) == set(expected) == {"score", "features"}
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() < 1e-6


class _Tight:
    """Sessions on a card that has room for a few images only, or is broken."""

    def __init__(self, room: int, words: str) -> None:
        self.room, self.words = room, words
        self.batch = 0
        self.sizes: list[int] = []

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = onnxruntime.InferenceSession.run_with_iobinding

        def run(session: Any, binding: Any, *rest: Any) -> None:
            self.sizes.append(self.batch)
            if self.batch > self.room:
                raise RuntimeError(self.words)
            real(session, binding, *rest)

        def update(value: Any, images: UInt8Array) -> None:
            self.batch = len(images)
            real_update(value, images)

        real_update = onnxruntime.OrtValue.update_inplace
        monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", update)
        monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", run)


_NO_ROOM = "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"


def test_batches_are_halved_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    tight = _Tight(3, _NO_ROOM)
    tight.patch(monkeypatch)
    card = _card(batch_size=16)
    assert card.batch_size == 2
    images = noise(7)
    assert np.abs(card.infer(images)["features"] - quadrant_means(images)).max() < 1e-5
    assert max(tight.sizes[-4:]) == 2


def test_room_may_be_lost_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    card = _card(batch_size=16)
    tight = _Tight(4, "CUDA error cudaErrorMemoryAllocation: out of memory")
    tight.patch(monkeypatch)
    images = noise(40)
    assert np.abs(card.infer(images)["features"] - quadrant_means(images)).max() < 1e-5
    assert card.batch_size == 4


def test_no_room_for_one_image_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _Tight(0, _NO_ROOM).patch(monkeypatch)
    with pytest.raises(BackboneError, match="no room for a single image") as caught:
        _card()
    assert "nvidia-smi" in caught.value.hint


def test_another_failure_of_the_card_is_told_and_nothing_falls_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = _card()
    _Tight(0, "CUDA failure 719: unspecified launch failure").patch(monkeypatch)
    with pytest.raises(BackboneError, match="unspecified launch failure") as caught:
        card.infer(noise(2))
    assert "--device cpu" in caught.value.hint
    assert card.batch_size == 8


@pytest.mark.parametrize(("precision", "factor"), [("f32", 1.01), ("f16", 2.0)])
def test_a_card_that_computes_something_else_is_refused(
    precision: Precision, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.IOBinding.copy_outputs_to_cpu

    def off(binding: Any) -> Any:
        return [factor * value for value in real(binding)]

    monkeypatch.setattr(onnxruntime.IOBinding, "copy_outputs_to_cpu", off)
    with pytest.raises(BackboneError, match="other numbers than the processor") as caught:
        _card(precision=precision)
    assert caught.value.hint.startswith("Use --")


def _dividing_by_little(model: onnx.ModelProto) -> None:
    white = np.array(1e-4, dtype=np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(white, "white"))


def test_a_network_that_overflows_in_f16_is_refused() -> None:
    model = changed(_dividing_by_little)
    assert np.isfinite(_card(model).infer(noise(1))["features"]).all()
    with pytest.raises(BackboneError, match=r"In f16, cuda .* \(features is off by") as caught:
        _card(model, "f16")
    assert caught.value.hint == "Use --precision f32."


def test_f16_is_near_f32_and_keeps_the_head_exact() -> None:
    model = scoring_model().SerializeToString()
    half = onnx.load_model_from_string(in_half_precision(model))
    onnx.checker.check_model(half, full_check=True)
    images = noise(6)
    found, expected = _card(model, "f16").infer(images), _card(model).infer(images)
    assert 0 < np.abs(found["features"] - expected["features"]).max() < 2e-3
    exact = open_engine(model, engine="onnxruntime", streams=1)
    weights = next(w for w in half.graph.initializer if w.name.endswith("head_weights"))
    assert weights.data_type == onnx.TensorProto.FLOAT
    assert np.abs(found["score"] - exact.infer(images)["score"]).max() < 5e-3


def test_the_embedded_network_is_the_same_in_batches() -> None:
    model = load_backbone().model
    images = noise(3, side=224)
    expected = open_engine(model, engine="onnxruntime", streams=1).infer(images)["features"]
    batched = _card(model, batch_size=2).infer(images)["features"]
    assert np.abs(batched - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("free", "value", "size"),
    [
        (None, 10, 64),
        (80 * 2**30, 5 * 10**6, 64),
        (2**30, 5 * 10**6, 8),
        (2**20, 5 * 10**6, 1),
        (0, 0, 1),
    ],
)
def test_a_small_card_gets_small_batches(free: int | None, value: int, size: int) -> None:
    assert batch_size_for(free, value) == size


def test_the_largest_value_is_known_beforehand() -> None:
    proto, signature = read_graph(fake_backbone(), "fake")
    assert largest_value_bytes(proto, set(signature.inputs)) == 4 * 32 * 32 * 3
