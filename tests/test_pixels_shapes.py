"""One picture in several shapes: decoded once, the pixels of each as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keshikaran.parts import matched
from keshikaran.pixels import DecodedImage, PixelSpec, decode_image
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.pixels.jpeg import FastMode, decode_scaled
from keshikaran.types import IntArray, UInt8Array
from support import bluish, encode, quadrants, reddish

_CROP, _PAD, _SMALL = PixelSpec(32, 32, "crop"), PixelSpec(32, 32, "pad"), PixelSpec(8, 12)
_ALL = PixelSpec(32, 32, "crop", (_PAD, _SMALL))


def _see_through_at_the_edge() -> Image.Image:
    """A wide picture whose middle is opaque: cropped, it has one view."""
    image = reddish(3).convert("RGBA").resize((96, 32))
    mask = Image.new("L", (96, 32), 0)
    mask.paste(255, (30, 0, 66, 32))
    image.putalpha(mask)
    return image


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(reddish(5).resize((500, 200)), "JPEG", exif=exif)


_FILES = {
    "jpeg": encode(reddish(1).resize((640, 480)), "JPEG"),
    "turned": _turned(),
    "grey": encode(reddish(1).convert("L").resize((300, 900)), "JPEG"),
    "png": encode(reddish(2)),
    "see-through": encode(reddish(4).convert("LA")),
    "see-through at the edge": encode(_see_through_at_the_edge()),
    "gif": encode(reddish(8), "GIF", save_all=True, append_images=[bluish(9), reddish(10)]),
    "the same frame again": encode(
        reddish(8), "WEBP", lossless=True, save_all=True,
        append_images=[bluish(9), reddish(8), bluish(9)], duration=[40, 50, 60, 70],
    ),
}  # fmt: skip


def _pictures(image: DecodedImage, number: int) -> UInt8Array:
    """Every picture that was made from the file, in one of the shapes."""
    order = list(image.order) or list(range(len(image.views)))
    pictures: UInt8Array = image.inputs[number][order]
    return pictures


@pytest.mark.parametrize("name", _FILES)
def test_pixels_of_a_shape_do_not_depend_on_the_others(name: str) -> None:
    together = decode_image(_FILES[name], _ALL)
    assert len(together.inputs) == 3
    for number, spec in enumerate(_ALL.shapes):
        alone = decode_image(_FILES[name], spec)
        assert np.array_equal(_pictures(together, number)[0], alone.views[0])
        assert np.array_equal(_pictures(together, number), _pictures(alone, 0))
        assert together.frames_total == alone.frames_total


def test_what_is_hidden_at_the_edge_is_a_view_though_the_middle_hides_nothing() -> None:
    data = _FILES["see-through at the edge"]
    cropped, together = decode_image(data, _CROP), decode_image(data, _ALL)
    assert len(cropped.views) == 1
    assert cropped.order == (0, 0, 0)
    assert len(together.views) == len(together.beside[0]) == 3


def test_a_jpeg_is_decoded_once_for_shapes_that_want_the_same_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def counted(data: bytes, height: int, width: int, mode: FastMode) -> Image.Image:
        sizes.append((height, width))
        return decode_scaled(data, height, width, mode)

    monkeypatch.setattr("keshikaran.pixels.decode.decode_scaled", counted)
    data = encode(quadrants([(9, 9, 9), (90, 90, 90), (150, 150, 150), (240, 240, 240)]), "JPEG")
    decode_image(data, PixelSpec(60, 60, "crop", (PixelSpec(58, 58, "pad"), PixelSpec(57, 57))))
    assert len(sizes) == 1
    decode_image(data, PixelSpec(60, 60, "crop", (PixelSpec(8, 8),)))
    assert len(sizes) == 3


@pytest.mark.parametrize("forked", [True, False])
def test_a_child_gives_the_same_in_all_shapes(forked: bool) -> None:
    with IsolatedDecoder(workers=1, forked=forked) as decoder:
        for data in _FILES.values():
            here, there = decode_image(data, _ALL), decoder.decode(data, _ALL)
            assert (here.order, here.frames_total) == (there.order, there.frames_total)
            for one, other in zip(here.inputs, there.inputs, strict=True):
                assert np.array_equal(one, other)


def _as_order(numbers: list[int]) -> IntArray:
    """The same partition, numbered by first appearance."""
    known: dict[int, int] = {}
    return np.array([known.setdefault(number, len(known)) for number in numbers])


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.lists(
            st.lists(st.integers(0, 3), min_size=count, max_size=count), min_size=1, max_size=4
        )
    )
)
def test_views_are_matched_picture_by_picture(partitions: list[list[int]]) -> None:
    orders = [_as_order(numbers) for numbers in partitions]
    rows = matched([order if order.any() else order[:1] for order in orders])
    assert rows[0].tolist() == [0] * len(orders)
    pictures = list(dict.fromkeys(zip(*(order.tolist() for order in orders), strict=True)))
    assert [tuple(row) for row in rows.tolist()] == pictures
