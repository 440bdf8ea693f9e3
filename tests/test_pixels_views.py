"""What is looked at in one file: frames, what lies behind transparency, colours both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stress.files import animation, chunk, encode, png, scanlines, soft, with_chunk, with_segment
from stress.profiles import (
    D50,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    SRGB_CURVE,
    grey_profile,
    rgb_profile,
)

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import (
    RESIZE_MODES,
    DecodedImage,
    Limits,
    PixelSpec,
    ResizeMode,
    decode_image,
)
from keshikaran.pixels.colour import conversion_for
from keshikaran.pixels.frames import sampled
from keshikaran.types import UInt8Array

_SIZE = (12, 8)
_SPEC = PixelSpec(8, 12)
_RED, _GREEN, _BLUE = (200, 10, 20), (10, 200, 20), (10, 20, 200)


def _flat(colour: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, _SIZE, colour)


def _decode(data: bytes, limits: Limits | None = None) -> DecodedImage:
    return decode_image(data, _SPEC, limits or Limits())


def _colours(data: bytes) -> list[tuple[int, ...]]:
    """Each view of a flat picture as its one colour."""
    views = _decode(data).views
    assert (views == views[:, :1, :1]).all()
    return [tuple(int(value) for value in view[0, 0]) for view in views]


# Frames


@pytest.mark.parametrize(
    ("frames", "most", "numbers"),
    [
        (1, 8, [0]),
        (8, 8, list(range(8))),
        (9, 8, [0, 1, 2, 3, 5, 6, 7, 8]),
        (100, 3, [0, 50, 99]),
        (30, 8, [0, 4, 8, 12, 17, 21, 25, 29]),
        (5, 1, [0]),
        (5, 0, [0]),
        (5, 2, [0, 4]),
    ],
)
def test_frames_are_spread_evenly(frames: int, most: int, numbers: list[int]) -> None:
    assert sampled(frames, most) == numbers


@given(st.integers(1, 5_000), st.integers(2, 100))
def test_first_and_last_frame_are_always_among_them(frames: int, most: int) -> None:
    numbers = sampled(frames, most)
    assert numbers[0] == 0
    assert numbers[-1] == frames - 1
    assert len(numbers) == min(frames, most)
    gaps = np.diff(numbers)
    assert len(gaps) == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


_KINDS = {
    "GIF": {},
    "WEBP": {"lossless": True},
    "PNG": {},
    "TIFF": {},
}


@pytest.mark.parametrize("kind", _KINDS)
def test_each_frame_is_a_view(kind: str) -> None:
    frames = [_flat(_RED), _flat(_GREEN), _flat(_BLUE)]
    data = animation(frames, kind, **_KINDS[kind])
    decoded = _decode(data)
    assert (decoded.frames_total, decoded.frames_scored) == (3, 3)
    assert _colours(data) == [_RED, _GREEN, _BLUE]


@pytest.mark.parametrize("kind", _KINDS)
def test_no_more_frames_are_scored_than_asked_for(kind: str) -> None:
    frames = [soft(*_SIZE, seed) for seed in range(20)]
    data = animation(frames, kind, **_KINDS[kind])
    decoded = _decode(data, Limits(max_frames_scored=4))
    assert (decoded.frames_total, decoded.frames_scored, len(decoded.views)) == (20, 4, 4)
    everything = _decode(data, Limits(max_frames_scored=20)).views
    assert np.array_equal(decoded.views, everything[sampled(20, 4)])


@pytest.mark.parametrize("kind", _KINDS)
def test_a_defect_in_a_later_frame_refuses_the_file(kind: str) -> None:
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)) for _ in range(3)]
    data = animation(noise, kind, **_KINDS[kind])
    assert _decode(data).frames_total == 3
    with pytest.raises(ImageRefusedError):
        _decode(data[:-30])


def test_pages_of_different_sizes_are_each_brought_to_shape() -> None:
    data = animation([_flat(_RED), Image.new("RGB", (500, 3), _BLUE)], "TIFF")
    assert _colours(data) == [_RED, _BLUE]


def test_frames_that_look_alike_are_one_view() -> None:
    data = animation([_flat(_RED), _flat(_BLUE), _flat(_RED)], "TIFF")
    decoded = _decode(data)
    assert decoded.frames_scored == 3
    assert _colours(data) == [_RED, _BLUE]


def test_a_later_gif_frame_is_what_a_viewer_shows() -> None:
    first = _flat(_RED)
    second = first.copy()
    second.paste(_BLUE, (6, 0, 12, 8))
    views = _decode(animation([first, second], "GIF")).views
    assert tuple(views[1][0, 0]) == _RED
    assert tuple(views[1][0, 11]) == _BLUE


def test_more_frames_than_allowed_are_refused() -> None:
    data = animation([_flat(_RED), _flat(_BLUE)], "GIF")
    with pytest.raises(ImageRefusedError, match="too_many_frames"):
        _decode(data, Limits(max_frames=1))


@pytest.mark.parametrize("kind", _KINDS)
def test_more_pixels_in_all_frames_than_allowed_are_refused(kind: str) -> None:
    data = animation([_flat(_RED), _flat(_BLUE)], kind, **_KINDS[kind])
    assert _decode(data, Limits(max_total_pixels=2 * 96)).frames_total == 2
    with pytest.raises(ImageRefusedError, match="too_many_pixels"):
        _decode(data, Limits(max_total_pixels=2 * 96 - 1))


def test_pages_that_are_not_scored_cost_nothing() -> None:
    data = animation([_flat(_RED), _flat(_BLUE), _flat(_GREEN)], "TIFF")
    limits = Limits(max_total_pixels=2 * 96, max_frames_scored=2)
    assert len(_decode(data, limits).views) == 2


# Transparency


def test_an_opaque_picture_is_one_view() -> None:
    assert _colours(encode(_flat(_RED))) == [_RED]
    assert _colours(encode(_flat((*_RED, 255), "RGBA"))) == [_RED]


def test_a_transparent_picture_is_seen_on_white_on_black_and_without_transparency() -> None:
    data = encode(_flat((200, 10, 20, 51), "RGBA"))
    assert _colours(data) == [(244, 206, 208), (40, 2, 4), _RED]


def test_what_is_white_and_transparent_is_not_judged_twice() -> None:
    data = encode(_flat((255, 255, 255, 0), "RGBA"))
    assert _colours(data) == [(255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_shrinking_weighs_colours_by_how_much_of_them_shows(mode: ResizeMode) -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:, ::2] = (200, 100, 40, 255)
    pixels[:, 1::2] = (0, 250, 0, 0)
    views = decode_image(encode(Image.fromarray(pixels)), PixelSpec(4, 4, mode)).views
    seen = [tuple(int(value) for value in view[0, 0]) for view in views]
    assert np.abs(np.array(seen) - [(228, 178, 148), (100, 50, 20), (100, 175, 20)]).max() <= 1


def test_bars_are_grey_on_every_background() -> None:
    image = Image.new("RGBA", (8, 4), (200, 10, 20, 0))
    views = decode_image(encode(image), PixelSpec(8, 8, "pad")).views
    assert (views[:, :2] == 128).all()
    assert (views[0, 2:6] == 255).all()
    assert (views[1, 2:6] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.sampled_from(RESIZE_MODES), st.integers(1, 20), st.integers(1, 20))
def test_compositing_before_or_after_shrinking_is_the_same(
    seed: int, mode: ResizeMode, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (9, 13, 4), dtype=np.uint8))
    spec = PixelSpec(height, width, mode)
    views = decode_image(encode(image), spec).views
    for ground, view in ((255, views[0]), (0, views[1])):
        below = Image.new("RGBA", image.size, (ground, ground, ground, 255))
        flat = Image.alpha_composite(below, image).convert("RGB")
        (expected,) = decode_image(encode(flat), spec).views
        assert np.abs(view.astype(np.int16) - expected).max() <= 2


def test_a_transparent_grey_of_two_bits_is_the_right_one() -> None:
    data = png((4, 1), 2, 0, b"\0" + bytes([0b00011011]), extra=chunk(b"tRNS", b"\0\2"))
    view = decode_image(data, PixelSpec(1, 4)).views[0]
    assert view[0, :, 0].tolist() == [0, 85, 255, 255]


def test_a_transparent_grey_of_sixteen_bits_is_exact() -> None:
    values = np.array([[[0x1234], [0x1235]]], dtype=np.uint16)
    data = png((2, 1), 16, 0, scanlines(values), extra=chunk(b"tRNS", b"\x12\x34"))
    view = decode_image(data, PixelSpec(1, 2)).views[0]
    assert view[0, :, 0].tolist() == [255, 0x12]


def test_a_transparent_colour_of_sixteen_bits_counts_by_its_high_bytes() -> None:
    values = np.array([[[0x1200, 0x3400, 0x5600], [0x9900, 0, 0]]], dtype=np.uint16)
    key = chunk(b"tRNS", bytes.fromhex("120034005600"))
    view = decode_image(png((2, 1), 16, 2, scanlines(values), extra=key), PixelSpec(1, 2)).views[0]
    assert view[0].tolist() == [[255, 255, 255], [0x99, 0, 0]]


def test_a_palette_with_alpha_in_a_tiff_is_seen_both_ways() -> None:
    image = Image.new("LA", _SIZE, (60, 0))
    assert _colours(encode(image, "TIFF")) == [(255,) * 3, (0,) * 3, (60,) * 3]


def test_an_animation_with_a_transparent_colour_shows_what_lies_below() -> None:
    second = _flat((1, 2, 3))
    second.paste(_BLUE, (6, 0, 12, 8))
    data = animation([_flat(_RED), second], "PNG", blend=1, transparency=(1, 2, 3))
    views = _decode(data).views
    assert tuple(views[1][0, 0]) == _RED
    assert tuple(views[1][0, 11]) == _BLUE


# Colour


def _saturated() -> Image.Image:
    return _flat((220, 60, 40))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_wide_gamut_is_brought_to_srgb(kind: str) -> None:
    image = _saturated()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    options |= {"subsampling": 0} if kind == "JPEG" else {}
    profile = rgb_profile(DISPLAY_P3, SRGB_CURVE)
    (plain,) = _colours(encode(image, kind, **options))
    (wide,) = _colours(encode(image, kind, icc_profile=profile, **options))
    assert np.abs(np.array(plain) - (220, 60, 40)).max() <= 2
    # Display P3's red lies outside sRGB: more red, less of the others.
    assert np.abs(np.array(wide) - (239, 35, 17)).max() <= 3


def test_srgb_itself_is_left_alone() -> None:
    profile = rgb_profile(SRGB, SRGB_CURVE)
    assert conversion_for("RGB", profile, None) is None
    assert _colours(encode(_saturated(), icc_profile=profile)) == [(220, 60, 40)]


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"not a profile at all",
        rgb_profile(PROPHOTO, (1.8,), D50)[:200],
        rgb_profile(SRGB, SRGB_CURVE)[:16] + b"RGB " + bytes(300),
        grey_profile(1.0),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_broken_or_unfit_profile_counts_as_none(profile: bytes, kind: str) -> None:
    image = soft(*_SIZE)
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = encode(image, kind, **options)
    marked = encode(image, kind, icc_profile=profile, **options)
    assert np.array_equal(_decode(marked).views, _decode(plain).views)


def test_a_grey_profile_is_followed() -> None:
    image = Image.new("L", _SIZE, 100)
    (colour,) = _colours(encode(image, "JPEG", quality=100, icc_profile=grey_profile(1.0)))
    # Linear grey of 100/255 is brighter in sRGB.
    assert np.abs(np.array(colour) - 168).max() <= 2


def test_a_jpeg_profile_with_a_missing_part_counts_as_none() -> None:
    profile = rgb_profile(PROPHOTO, (1.8,), D50)
    plain = encode(soft(*_SIZE), "JPEG")
    part = with_segment(plain, 0xE2, b"ICC_PROFILE\0\x02\x02" + profile)
    assert np.array_equal(_decode(part).views, _decode(plain).views)


def test_a_profile_that_turns_everything_over_is_judged_with_and_without() -> None:
    swapped = rgb_profile((SRGB[1], SRGB[2], SRGB[0]))
    followed, ignored = _colours(encode(_flat(_RED), icc_profile=swapped))
    assert ignored == _RED
    assert np.abs(np.array(followed) - _GREEN).max() <= 20


def test_gamma_is_followed_where_nothing_outweighs_it() -> None:
    image = Image.new("L", _SIZE, 100)
    linear = with_chunk(encode(image), b"gAMA", (100_000).to_bytes(4, "big"))
    (followed,) = _colours(linear)
    assert abs(followed[0] - 167) <= 1
    for name, body in ((b"sRGB", b"\0"), (b"gAMA", (45_455).to_bytes(4, "big"))):
        first = with_chunk(linear, name, body)
        assert _colours(first) == [(100, 100, 100)]


@pytest.mark.parametrize("gamma", [0, 1, 45_455, 2**32 - 1])
def test_no_gamma_is_too_odd(gamma: int) -> None:
    data = with_chunk(encode(soft(*_SIZE)), b"gAMA", gamma.to_bytes(4, "big"))
    plain: UInt8Array = _decode(encode(soft(*_SIZE))).views[0]
    assert any(np.array_equal(view, plain) for view in _decode(data).views)
