"""Known images are known again: by their bytes, or as a copy that the pixels confirm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_support import manifest
from keshikaran.errors import ImageRefusedError, MemoryFileError
from keshikaran.memory import Memory
from keshikaran.pixels import InProcessDecoder
from keshikaran.recognition import Recognizer, check_fit, key_of
from keshikaran.types import KnownImage
from known_support import copies, memory_of, one_hot, outputs, scene
from memory_support import image_ids
from support import FAKE_DIM, encode, quadrants

_KNOWN = scene(1)
_COPIES = copies(_KNOWN)


def _recognizer(memory: Memory) -> Recognizer:
    return Recognizer(memory, InProcessDecoder())


def _ask(
    memory: Memory, upload: bytes, *numbers: int, sketch: Image.Image | None = None
) -> KnownImage | None:
    """Ask about an upload whose views have the features of the known images `numbers`."""
    features = np.concatenate([one_hot(number) for number in numbers])
    return _recognizer(memory).by_pixels(outputs(features, sketch), lambda: upload)


def _never() -> bytes:
    pytest.fail("the file was read although nothing is alike")


# By bytes


@pytest.mark.parametrize("label", [0, 1])
def test_same_bytes_are_known_with_their_label(label: int) -> None:
    recognizer = _recognizer(memory_of([_KNOWN, scene(2)], [1 - label, label]))
    first, second = image_ids(2)
    assert recognizer.by_bytes(second) == KnownImage(second, label)  # type: ignore[arg-type]
    found = recognizer.by_bytes(first)
    assert found is not None
    assert found.label == 1 - label


def test_other_bytes_are_not_known() -> None:
    stranger = image_ids(3)
    recognizer = _recognizer(memory_of([_KNOWN, scene(2)], [0, 1]))
    unknown = set(stranger) - set(image_ids(2))
    assert all(recognizer.by_bytes(image_id) is None for image_id in unknown)
    assert (
        _recognizer(memory_of([], [], sketches=memory_of([_KNOWN], [0]).sketches)).by_bytes(
            stranger[0]
        )
        is None
    )


def test_in_a_dispute_only_the_objectionable_bytes_are_known() -> None:
    memory = memory_of([_KNOWN, scene(2)], [0, 1], groups=np.array([5, 5]))
    acceptable, objectionable = image_ids(2)
    assert _recognizer(memory).by_bytes(acceptable) is None
    assert _recognizer(memory).by_bytes(objectionable) == KnownImage(objectionable, 1)


# As a copy


@pytest.mark.parametrize(
    ("kind", "turn"), [("jpeg", "none"), ("half", "none"), ("crop", "none"), ("mirror", "mirror")]
)
def test_copies_are_known_with_the_evidence(kind: str, turn: str) -> None:
    found = _ask(memory_of([_KNOWN, scene(2)], [1, 0]), _COPIES[kind], 0)
    assert found is not None
    assert (found.image_id, found.label, found.turn) == (image_ids(2)[0], 1, turn)
    assert found.similarity is not None
    assert found.agreement is not None
    assert found.similarity > 0.9
    assert found.agreement > 0.8


def test_turned_copies_are_found_by_their_sketch() -> None:
    memory = memory_of([scene(2), _KNOWN], [0, 1])
    upload = _KNOWN.transpose(Image.Transpose.ROTATE_90)
    assert _ask(memory, _COPIES["turned"], 5) is None
    found = _ask(memory, _COPIES["turned"], 5, sketch=upload)
    assert found is not None
    assert (found.image_id, found.turn) == (image_ids(2)[1], "left")


def test_like_features_are_not_enough() -> None:
    assert _ask(memory_of([_KNOWN], [1]), encode(scene(3), "JPEG"), 0) is None


def test_flat_pictures_are_copies_of_nothing() -> None:
    flat = quadrants([(200, 10, 10)] * 4, side=200)
    assert _ask(memory_of([flat], [1]), encode(flat), 0) is None


def test_a_stranger_is_not_even_read() -> None:
    recognizer = _recognizer(memory_of([_KNOWN, scene(2)], [1, 0]))
    assert recognizer.by_pixels(outputs(one_hot(7), scene(3)), _never) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_like_nothing(value: float) -> None:
    features = np.full((1, FAKE_DIM), value, dtype=np.float32)
    assert _recognizer(memory_of([_KNOWN], [1])).by_pixels(outputs(features), _never) is None


def test_a_later_frame_that_shows_something_objectionable_counts() -> None:
    frames = [scene(8), scene(2), _KNOWN]
    upload = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    memory = memory_of([scene(2), _KNOWN], [0, 1])
    found = _ask(memory, upload, 7, 0, 1)
    assert found is not None
    assert (found.image_id, found.label) == (image_ids(2)[1], 1)


def test_of_several_copies_the_objectionable_one_is_named() -> None:
    """Two frames are no contradiction: each is a copy of another known picture."""
    upload = encode(scene(2), "GIF", save_all=True, append_images=[_KNOWN], duration=100)
    for labels, expected in (([1, 0], 0), ([0, 1], 1)):
        found = _ask(memory_of([_KNOWN, scene(2)], labels), upload, 1, 0)
        assert found is not None
        assert found.image_id == image_ids(2)[expected]


@pytest.mark.parametrize("groups", [[0, 0], [0, 1]])
def test_copies_with_both_labels_answer_nothing(groups: list[int]) -> None:
    features = memory_of([_KNOWN, _KNOWN], [0, 1]).features
    features.rows[1] = features.rows[0]
    memory = memory_of([_KNOWN, _KNOWN], [0, 1], groups=np.array(groups), features=features)
    assert _ask(memory, _COPIES["jpeg"], 0) is None


def test_a_picture_that_cannot_be_read_is_no_copy() -> None:
    assert _ask(memory_of([b"no picture"], [1]), _COPIES["jpeg"], 0) is None


def test_an_upload_that_is_gone_meanwhile_is_no_copy() -> None:
    def gone() -> bytes:
        raise ImageRefusedError("unreadable_file", "gone")

    recognizer = _recognizer(memory_of([_KNOWN], [1]))
    assert recognizer.by_pixels(outputs(one_hot(0)), gone) is None


# Which model they fit


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backbone": {"name": "other", "digest": "77" * 32}}, "backbone digest abab"),
        ({"precision": "bf16"}, "precision f32"),
        ({"resize_mode": "pad"}, "resize mode crop"),
        ({"pixel_contract": 3}, "pixel contract 2"),
    ],
)
def test_another_network_is_refused(fields: dict[str, Any], words: str) -> None:
    memory = memory_of([_KNOWN], [1])
    fitting: dict[str, Any] = {
        "backbone": {"name": "fake", "digest": "ab" * 32},
        "resize_mode": "crop",
    }
    assert key_of(manifest(**fitting)) == memory.key
    check_fit(memory, manifest(**fitting))
    with pytest.raises(MemoryFileError, match=words):
        check_fit(memory, manifest(**{**fitting, **fields}))


def test_another_number_of_features_is_refused() -> None:
    made = memory_of([_KNOWN], [1])
    memory = memory_of([_KNOWN], [1], features=made.sketches, key=key_of(manifest()))
    with pytest.raises(MemoryFileError, match="as many features"):
        check_fit(memory, manifest())
