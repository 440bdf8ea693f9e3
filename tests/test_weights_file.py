"""Reading `.pth` files of weights: what is read, and that nothing in them is run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import BackboneError
from keshikaran.zoo import weights_file as module
from keshikaran.zoo.weights_file import parse_weights, read_weights_file
from zoo_support import call, pickled, weights_file


def _tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "norm.bias": rng.normal(size=4).astype(np.float32),
        "norm.num_batches_tracked": np.array(7, dtype=np.int64),
    }


def test_tensors_are_read_and_counters_left_out() -> None:
    tensors = _tensors()
    found = parse_weights(weights_file(tensors), "a.pth")
    assert list(found) == ["conv.weight", "norm.bias"]
    for name, values in found.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, tensors[name])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_tensors_may_lie_in_any_order_of_their_axes(shape: list[int], random: Any) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    axes = list(range(len(shape)))
    random.shuffle(axes)
    turned = np.transpose(values, axes)
    steps = tuple(step // 4 for step in turned.strides)
    file = weights_file({"w": values}, strides={"w": steps}, shapes={"w": turned.shape})
    np.testing.assert_array_equal(parse_weights(file, "a.pth")["w"], turned)


def test_single_tensor_is_read() -> None:
    tensors = {"w": np.ones(3, dtype=np.float32)}
    assert list(parse_weights(weights_file(tensors), "a.pth")) == ["w"]


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hostile = weights_file(_tensors(), extra={"x": call("os", "mkdir", str(trace))})
    with pytest.raises(BackboneError, match="asks to run os mkdir"):
        parse_weights(hostile, "a.pth")
    assert not trace.exists()


def test_other_numbers_than_floats_and_counters_are_refused() -> None:
    file = weights_file(_tensors(), kinds={"norm.bias": "HalfStorage"})
    with pytest.raises(BackboneError, match="numbers of the kind torch HalfStorage"):
        parse_weights(file, "a.pth")


def test_things_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(BackboneError, match="other things than tensors"):
        parse_weights(weights_file(_tensors(), extra={"epoch": 3}), "a.pth")


def test_values_that_are_no_numbers_are_refused() -> None:
    file = weights_file({"w": np.array([1.0, np.nan], dtype=np.float32)})
    with pytest.raises(BackboneError, match="values that are no numbers"):
        parse_weights(file, "a.pth")


def test_tensor_beyond_its_data_is_refused() -> None:
    file = weights_file({"w": np.ones((2, 3), dtype=np.float32)}, strides={"w": (300, 1)})
    with pytest.raises(BackboneError, match="reaches beyond its data"):
        parse_weights(file, "a.pth")


def test_negative_steps_are_refused() -> None:
    file = weights_file({"w": np.ones((2, 3), dtype=np.float32)}, strides={"w": (-3, 1)})
    with pytest.raises(BackboneError, match="describes a tensor"):
        parse_weights(file, "a.pth")


def test_file_of_another_kind_is_refused() -> None:
    with pytest.raises(BackboneError, match="does not start as one"):
        parse_weights(weights_file(_tensors(), magic=5), "a.pth")
    with pytest.raises(BackboneError, match="is no file of weights"):
        parse_weights(b"PK\x03\x04 a newer kind of file", "a.pth")


def test_dictionary_that_is_none_is_refused() -> None:
    parts = [module._MAGIC, module._VERSION, {}, [1, 2], []]
    with pytest.raises(BackboneError, match="no dictionary of tensors"):
        parse_weights(b"".join(pickled(part) for part in parts), "a.pth")


def test_data_that_tensors_do_not_name_are_refused() -> None:
    parts = [module._MAGIC, module._VERSION, {}, {}, ["1000"]]
    with pytest.raises(BackboneError, match="do not belong together"):
        parse_weights(b"".join(pickled(part) for part in parts), "a.pth")


def test_data_of_another_size_are_refused() -> None:
    file = weights_file({"w": np.ones(3, dtype=np.float32)})
    changed = file[:-20] + (4).to_bytes(8, "little") + file[-12:] + b"\0\0\0\0"
    with pytest.raises(BackboneError, match="another size"):
        parse_weights(changed, "a.pth")


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(BackboneError, match="something follows"):
        parse_weights(weights_file(_tensors()) + b"!", "a.pth")


def test_storage_named_in_another_way_is_refused() -> None:
    step = b"\x80\x02U\x03abcQ."  # a persistent id that is a plain string of three letters
    facts: dict[str, bool] = {}
    head = b"".join(pickled(part) for part in (module._MAGIC, module._VERSION, facts))
    with pytest.raises(BackboneError, match="is no file of weights"):
        parse_weights(head + step, "a.pth")
    view = b"\x80\x02(U\x07storageU\x01xU\x01yU\x03cpuK\x01NtQ."
    with pytest.raises(BackboneError, match="names data in a way"):
        parse_weights(head + view, "a.pth")


def test_pickle_without_an_end_is_refused() -> None:
    head = b"".join(pickled(part) for part in (module._MAGIC, module._VERSION))
    with pytest.raises(BackboneError, match="is no file of weights"):
        parse_weights(head + b"\x80\x02}", "a.pth")


@pytest.mark.parametrize("step", [b"\x80\x02c__main__\nx\n)\x81.", b"\x80\x04\x8c\x01x\x93."])
def test_any_other_step_is_refused(step: bytes) -> None:
    head = b"".join(pickled(part) for part in (module._MAGIC, module._VERSION))
    with pytest.raises(BackboneError, match="it takes the step"):
        parse_weights(head + step, "a.pth")


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_damage_ends_in_words_or_in_tensors(noise: bytes, place: int) -> None:
    file = weights_file(_tensors())
    damaged = file[:place] + noise + file[place + len(noise) :]
    with contextlib.suppress(BackboneError):
        found = parse_weights(damaged, "a.pth")
        assert all(values.dtype == np.float32 for values in found.values())


@pytest.mark.parametrize("cut", [0, 10, 100, 300, -1])
def test_file_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(BackboneError, match="is no file of weights"):
        parse_weights(weights_file(_tensors())[:cut], "a.pth")


def test_file_that_is_missing_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match="cannot be read"):
        read_weights_file(tmp_path / "nowhere.pth")
    large = tmp_path / "large.pth"
    large.write_bytes(b"12345")
    assert read_weights_file(large) == b"12345"
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 4)
    with pytest.raises(BackboneError, match="more than 4 bytes"):
        read_weights_file(large)
