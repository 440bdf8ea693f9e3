"""The three ways to the network's shape, on pictures whose result is computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keshikaran.pixels import RESIZE_MODES, PixelSpec, ResizeMode, read_pixels
from keshikaran.pixels.resize import add_bars, needed_size, resize
from keshikaran.types import UInt8Array
from support import encode

_PAD_GREY = 128


def _grey(rows: list[list[int]]) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype=np.uint8)).convert("RGB")


def _resized(image: Image.Image, spec: PixelSpec) -> UInt8Array:
    return np.asarray(add_bars(resize(image, spec), spec))


def _rows(image: Image.Image, spec: PixelSpec) -> list[list[int]]:
    pixels = _resized(image, spec)
    assert (pixels == pixels[:, :, :1]).all()
    rows: list[list[int]] = pixels[:, :, 0].tolist()
    return rows


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_picture_of_the_right_shape_is_left_alone(mode: ResizeMode) -> None:
    rows = [[1, 2, 3], [250, 251, 252]]
    assert _rows(_grey(rows), PixelSpec(2, 3, mode)) == rows


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_shrinking_averages_areas(mode: ResizeMode) -> None:
    rows = [[0, 100, 200, 50], [100, 0, 0, 150]]
    assert _rows(_grey(rows), PixelSpec(1, 2, mode)) == [[50, 100]]


def test_stretch_squeezes_the_whole_picture() -> None:
    rows = [[0, 100, 200, 50], [100, 0, 0, 150]]
    assert _rows(_grey(rows), PixelSpec(2, 2, "stretch")) == [[50, 125], [50, 75]]


def test_growing_interpolates() -> None:
    assert _rows(_grey([[0, 200]]), PixelSpec(1, 4, "stretch")) == [[0, 50, 150, 200]]


def test_crop_keeps_the_middle_of_a_wide_picture() -> None:
    rows = [[9, 9, 10, 20, 30, 40, 9, 9], [9, 9, 30, 40, 50, 60, 9, 9]]
    assert _rows(_grey(rows), PixelSpec(1, 2, "crop")) == [[25, 45]]
    assert _rows(_grey(rows), PixelSpec(2, 4, "crop")) == [row[2:6] for row in rows]
    assert _rows(_grey(rows * 2), PixelSpec(2, 2, "crop")) == [[25, 45], [25, 45]]


def test_crop_keeps_the_middle_of_a_high_picture() -> None:
    rows = [[9, 9], [9, 9], [10, 20], [30, 40], [9, 9], [9, 9]]
    assert _rows(_grey(rows), PixelSpec(2, 2, "crop")) == [[10, 20], [30, 40]]
    assert _rows(_grey(rows), PixelSpec(1, 1, "crop")) == [[25]]


def test_pad_puts_grey_bars_above_and_below_a_wide_picture() -> None:
    grey = [_PAD_GREY] * 4
    rows = [[10, 20, 30, 40], [50, 60, 70, 80]]
    assert _rows(_grey(rows), PixelSpec(4, 4, "pad")) == [grey, *rows, grey]


def test_pad_puts_grey_bars_beside_a_high_picture() -> None:
    rows = [[10], [20], [30], [40]]
    grey = _PAD_GREY
    expected = [[grey, value, grey, grey] for (value,) in rows]
    assert _rows(_grey(rows), PixelSpec(4, 4, "pad")) == expected


def test_pad_shrinks_until_all_of_it_fits() -> None:
    rows = [[0, 100, 200, 50], [100, 0, 0, 150]]
    assert _rows(_grey(rows), PixelSpec(2, 2, "pad")) == [[50, 100], [_PAD_GREY, _PAD_GREY]]


def test_colours_stay_apart() -> None:
    image = Image.new("RGB", (2, 2), (255, 0, 0))
    image.putpixel((0, 0), (0, 255, 0))
    image.putpixel((1, 1), (0, 0, 255))
    pixel = _resized(image, PixelSpec(1, 1)).ravel()
    assert np.abs(pixel.astype(int) - (128, 64, 64)).max() <= 1


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_single_pixel_fills_the_whole_shape(mode: ResizeMode) -> None:
    pixels = read_pixels(encode(Image.new("RGB", (1, 1), (10, 20, 30))), PixelSpec(32, 32, mode))
    assert (pixels == (10, 20, 30)).all()


@pytest.mark.parametrize("size", [(1, 500), (500, 1)])
def test_a_line_is_stretched_or_cropped_to_fill_the_shape(size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size, (10, 20, 30)))
    for mode in ("stretch", "crop"):
        assert (read_pixels(data, PixelSpec(32, 32, mode)) == (10, 20, 30)).all()


def test_a_line_is_padded_to_one_line_between_bars() -> None:
    upright = read_pixels(encode(Image.new("RGB", (1, 500))), PixelSpec(32, 32, "pad"))
    lying = read_pixels(encode(Image.new("RGB", (500, 1))), PixelSpec(32, 32, "pad"))
    assert (upright[:, 15] == 0).all()
    assert (lying[15] == 0).all()
    assert (np.delete(upright, 15, axis=1) == _PAD_GREY).all()
    assert (np.delete(lying, 15, axis=0) == _PAD_GREY).all()


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (3, 2)])
def test_small_jpegs_grow(mode: ResizeMode, size: tuple[int, int]) -> None:
    data = encode(Image.new("RGB", size, (128, 128, 128)), "JPEG")
    assert (read_pixels(data, PixelSpec(32, 48, mode)) == 128).all()


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("stretch", (400, 100), (32, 16)),
        ("crop", (400, 100), (64, 16)),
        ("crop", (100, 400), (32, 128)),
        ("pad", (400, 100), (32, 8)),
        ("pad", (100, 400), (4, 16)),
        ("pad", (1, 500), (1, 16)),
        ("pad", (500, 1), (32, 1)),
        ("crop", (1, 500), (32, 16_000)),
    ],
)
def test_decoders_are_asked_for_no_less_than_is_needed(
    mode: ResizeMode, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert needed_size(*size, PixelSpec(16, 32, mode)) == expected


_sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@settings(max_examples=150, deadline=None)
@given(_sizes, _sizes, st.sampled_from(RESIZE_MODES))
def test_a_flat_picture_stays_flat(
    size: tuple[int, int], wanted: tuple[int, int], mode: ResizeMode
) -> None:
    spec = PixelSpec(*wanted, mode)
    pixels = _resized(Image.new("RGB", size, (10, 20, 30)), spec)
    assert pixels.shape == (*wanted, 3)
    picture = (pixels == (10, 20, 30)).all(axis=2)
    bars = (pixels == _PAD_GREY).all(axis=2)
    assert (picture | bars).all()
    assert picture.any()
    if mode != "pad":
        assert picture.all()


@settings(max_examples=100, deadline=None)
@given(_sizes, _sizes, st.sampled_from(RESIZE_MODES), st.integers(0, 9))
def test_no_colour_is_made_that_was_not_between_two_others(
    size: tuple[int, int], wanted: tuple[int, int], mode: ResizeMode, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(60, 200, (*size, 3), dtype=np.uint8)
    pixels = _resized(Image.fromarray(noise), PixelSpec(*wanted, mode))
    assert pixels.min() >= noise.min()
    assert pixels.max() <= max(noise.max(), _PAD_GREY)
