"""Many images at once: in order, a few at a time, and no image spoils another."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundle_support import noise, opened, quadrant_means
from keshikaran.backbones import Engine
from keshikaran.errors import ImageRefusedError
from keshikaran.featurize import rate_words
from keshikaran.inference import Pipeline, infer_image, infer_many
from keshikaran.pixels import (
    DEFAULT_LIMITS,
    DecodedImage,
    InProcessDecoder,
    Limits,
    PixelSpec,
    read_pixels,
)
from keshikaran.rates import Rates
from keshikaran.types import Float32Array, Precision, UInt8Array
from support import FAKE_SIDE, encode, fake_backbone, reddish

_SPEC = PixelSpec(FAKE_SIDE, FAKE_SIDE)
_PICTURE = encode(reddish(1))
_READ_AHEAD = 8


class _SlowEngine:
    """Takes a moment for each image and notes who asked."""

    name = "slow"
    precision: Precision = "f32"
    batch_size = 1

    def __init__(self, streams: int) -> None:
        self.streams = streams
        self.threads: set[str] = set()

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        self.threads.add(threading.current_thread().name)
        time.sleep(0.002)
        return {"mean": images.mean(axis=(1, 2, 3), dtype=np.float32)}


def _through(engine: Engine, limits: Limits = DEFAULT_LIMITS) -> Pipeline:
    return Pipeline(InProcessDecoder(limits), engine, _SPEC)


def _reader(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def test_one_image_gives_its_outputs_by_view() -> None:
    pixels = noise(1)
    data = encode(Image.fromarray(pixels[0]))
    features = infer_image(data, _through(opened(fake_backbone())))["features"]
    assert features.shape == (1, 12)
    assert np.abs(features - quadrant_means(pixels)).max() < 1e-5


def test_one_bad_image_is_refused() -> None:
    with pytest.raises(ImageRefusedError, match="not_an_image"):
        infer_image(b"words", _through(_SlowEngine(1)))


def test_limits_are_kept() -> None:
    limits = Limits(max_bytes=10)
    with pytest.raises(ImageRefusedError, match="too_many_bytes"):
        infer_image(_PICTURE, _through(_SlowEngine(1), limits))
    (result,) = infer_many([("a", _reader(_PICTURE))], _through(_SlowEngine(1), limits))
    assert result.refusal is not None


def test_results_come_in_the_order_of_the_images() -> None:
    engine = opened(fake_backbone())
    files = [encode(reddish(seed)) for seed in range(30)]
    items = [(index, _reader(data)) for index, data in enumerate(files)]
    results = list(infer_many(items, _through(engine)))
    assert [result.key for result in results] == list(range(30))
    for result, data in zip(results, files, strict=True):
        assert result.outputs is not None
        alone = infer_image(data, _through(engine))["features"]
        assert np.array_equal(result.outputs["features"], alone)


def test_a_refused_image_keeps_its_place_and_spoils_no_other() -> None:
    def gone() -> bytes:
        detail = "No such file"
        raise ImageRefusedError("unreadable_file", detail)

    reads = [_reader(_PICTURE), _reader(b"words"), gone, _reader(_PICTURE)]
    results = list(infer_many(enumerate(reads), _through(_SlowEngine(2))))
    assert [result.key for result in results] == [0, 1, 2, 3]
    reasons = [result.refusal and result.refusal.reason for result in results]
    assert reasons == [None, "not_an_image", "unreadable_file", None]
    assert [result.outputs is None for result in results] == [False, True, True, False]


class _TwoViews:
    """Shows each picture and its negative."""

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        pixels = read_pixels(data, spec)
        return DecodedImage(np.stack([pixels, 255 - pixels]), frames_total=7, frames_scored=2)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_views_come_back_to_their_image_however_many_are_inferred_together(
    batch_size: int,
) -> None:
    engine = _SlowEngine(1)
    engine.batch_size = batch_size
    files = [encode(Image.new("L", (4, 4), level)) for level in range(0, 250, 25)]
    reads = [_reader(data) for data in [*files, b"words", files[3]]]
    results = list(infer_many(enumerate(reads), Pipeline(_TwoViews(), engine, _SPEC)))
    means = [None if r.outputs is None else r.outputs["mean"].tolist() for r in results]
    expected = [[float(level), float(255 - level)] for level in range(0, 250, 25)]
    assert means == [*expected, None, expected[3]]
    outputs = results[0].outputs
    assert outputs is not None
    assert (outputs.frames_total, outputs.frames_scored) == (7, 2)


def test_nothing_in_nothing_out() -> None:
    assert list(infer_many([], _through(_SlowEngine(1)))) == []


def test_two_workers_more_than_the_engine_has_streams() -> None:
    engine = _SlowEngine(streams=2)
    items = [(index, _reader(_PICTURE)) for index in range(40)]
    assert len(list(infer_many(items, _through(engine)))) == 40
    assert 2 <= len(engine.threads) <= 4
    assert all(name.startswith("keshikaran") for name in engine.threads)


def test_an_endless_list_is_read_only_a_little_ahead() -> None:
    taken = itertools.count()
    last = 0

    def endless() -> Iterator[tuple[int, Callable[[], bytes]]]:
        nonlocal last
        for last in taken:
            yield last, _reader(_PICTURE)

    results = infer_many(endless(), _through(_SlowEngine(streams=1)))
    assert [next(results).key for _ in range(5)] == [0, 1, 2, 3, 4]
    assert last < 5 + 3 * _READ_AHEAD
    assert isinstance(results, Generator)
    results.close()


def test_leaving_early_stops_the_workers() -> None:
    started = []
    released = threading.Event()

    def reader(number: int) -> Callable[[], bytes]:
        def read() -> bytes:
            started.append(number)
            if number > 0:
                released.wait(timeout=10)
            return _PICTURE

        return read

    before = set(threading.enumerate())
    results = infer_many(((n, reader(n)) for n in itertools.count()), _through(_SlowEngine(1)))
    assert isinstance(results, Generator)
    next(results)
    timer = threading.Timer(0.05, released.set)
    timer.start()
    results.close()
    timer.join()
    assert len(started) <= 4
    own = set(threading.enumerate()) - before
    assert not any(thread.name.startswith("keshikaran") for thread in own)


def test_a_defect_is_not_hidden_as_a_refusal() -> None:
    def read() -> bytes:
        msg = "a defect"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="a defect"):
        list(infer_many([("a", read)], _through(_SlowEngine(1))))


# What bounds the rate, and the way by a card


class _Card(_SlowEngine):
    """A card in name; its answers are computed by hand, its calls counted."""

    device = "cuda"

    def __init__(self, batch_size: int) -> None:
        super().__init__(streams=2)
        self.batch_size = batch_size
        self.calls: list[int] = []

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        self.calls.append(len(images))
        return super().infer(images, *beside)


def _levels(count: int) -> list[tuple[int, Callable[[], bytes]]]:
    files = [encode(Image.new("L", (4, 4), level % 250)) for level in range(count)]
    return [(level, _reader(data)) for level, data in enumerate(files)]


def test_a_card_gets_whole_batches_and_gives_the_same_results() -> None:
    card = _Card(8)
    items = [*_levels(45), (45, _reader(b"words"))]
    found = list(infer_many(items, _through(card)))
    expected = list(infer_many(items, _through(_SlowEngine(2))))
    assert [result.key for result in found] == list(range(46))
    for one, other in zip(found, expected, strict=True):
        assert (one.outputs is None) is (other.outputs is None)
        if one.outputs is not None and other.outputs is not None:
            assert np.array_equal(one.outputs["mean"], other.outputs["mean"])
    assert found[45].refusal is not None
    assert sorted(card.calls) == [5, *[8] * 5]
    assert all(name.startswith("keshikaran-card") for name in card.threads)


@pytest.mark.parametrize("engine", [_SlowEngine(2), _Card(4)])
@pytest.mark.parametrize("count", [200, 40])
def test_rates_are_measured_once_and_every_result_comes_once(
    engine: _SlowEngine, count: int
) -> None:
    told: list[Rates] = []
    results = list(infer_many(_levels(count), _through(engine), told.append))
    assert [result.key for result in results] == list(range(count))
    means = [result.outputs["mean"][0] for result in results if result.outputs is not None]
    assert means == [level % 250 for level in range(count)]
    (rates,) = told
    assert rates.images == min(count, 128)
    assert rates.device == ("cuda" if isinstance(engine, _Card) else "cpu")
    assert min(rates.decode_per_s, rates.infer_per_s) > 0


def test_too_few_images_are_not_measured() -> None:
    told: list[Rates] = []
    engine = _SlowEngine(1)
    assert len(list(infer_many(_levels(31), _through(engine), told.append))) == 31
    broken = [(number, _reader(b"words")) for number in range(60)]
    assert len(list(infer_many(broken, _through(engine), told.append))) == 60
    assert told == []


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_the_bound_is_never_above_either_rate(decode: float, infer: float) -> None:
    shared = Rates(decode, infer, 100, "cpu", "f32")
    beside = Rates(decode, infer, 100, "cuda", "f16")
    assert shared.bound_per_s < beside.bound_per_s == min(decode, infer)
    assert 1 / shared.bound_per_s == pytest.approx(1 / decode + 1 / infer)


def test_the_bound_in_words_and_for_machines() -> None:
    rates = Rates(700.4, 2900.2, 512, "cuda", "f16")
    assert str(rates) == "bound 700 (decode 700, inference 2,900 on cuda in f16)"
    assert rate_words(612.3, rates) == f"612 images/s; {rates}"
    assert rate_words(612.3, None) == "612 images/s"
    assert rates.to_dict() == {
        "images_per_s": 700.4,
        "decode_per_s": 700.4,
        "infer_per_s": 2900.2,
        "device": "cuda",
        "precision": "f16",
    }
