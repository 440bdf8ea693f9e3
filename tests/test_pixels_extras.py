"""AVIF, HEIC and JPEG XL: only where somebody asked for them."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401 - lets Pillow write it
import pytest
from PIL import Image
from stress.files import animation, encode, exif, soft, stored

from keshikaran.errors import ImageRefusedError, MissingExtraError, RefusalReason
from keshikaran.pixels import (
    EXTRA_FORMATS,
    FORMATS,
    ImageFormat,
    Limits,
    PixelSpec,
    decode_image,
    read_header,
    sniff_format,
)

pillow_heif.register_heif_opener()

_ALL = Limits(formats=FORMATS | EXTRA_FORMATS)
_PICTURE = soft(64, 48)
_SPEC = PixelSpec(48, 64)
_PILLOW: dict[ImageFormat, str] = {"avif": "AVIF", "heic": "HEIF", "jxl": "JXL"}
_extra = pytest.mark.parametrize("name", sorted(EXTRA_FORMATS))


def _encode(name: ImageFormat, image: Image.Image = _PICTURE) -> bytes:
    return encode(image, _PILLOW[name], quality=92)


def _reason(data: bytes, limits: Limits = _ALL) -> RefusalReason:
    with pytest.raises(ImageRefusedError) as caught:
        decode_image(data, _SPEC, limits)
    return caught.value.reason


@_extra
def test_refused_unless_asked_for(name: ImageFormat) -> None:
    data = _encode(name)
    assert _reason(data, Limits()) == "unsupported_format"
    assert sniff_format(data, _ALL.formats) == name
    views = decode_image(data, _SPEC, _ALL).views
    assert np.abs(views[0].astype(np.int16) - np.asarray(_PICTURE)).mean() < 4


def test_a_format_can_be_taken_off_the_list() -> None:
    with pytest.raises(ImageRefusedError, match="GIF files are not accepted"):
        decode_image(encode(_PICTURE, "GIF"), _SPEC, Limits(formats=FORMATS - {"gif"}))


@_extra
def test_limits_hold(name: ImageFormat) -> None:
    data = _encode(name)
    assert _reason(data, Limits(formats=_ALL.formats, max_side=50)) == "side_too_long"
    assert _reason(data, Limits(formats=_ALL.formats, max_pixels=1_000)) == "too_many_pixels"


@_extra
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_part_of_a_file_is_refused(name: ImageFormat, share: float) -> None:
    data = _encode(name)
    assert _reason(data[: int(len(data) * share)]) in {"truncated", "corrupt"}


@_extra
def test_nothing_hides_behind_transparency(name: ImageFormat) -> None:
    image = _PICTURE.copy()
    image.putalpha(0)
    image.paste(_PICTURE, (0, 0), Image.new("1", (64, 24)).resize((64, 48)))
    data = encode(image, _PILLOW[name], quality=92)
    views = decode_image(data, _SPEC, _ALL).views
    assert (views[0] == 255).all()
    assert (views[1] == 0).all()


@pytest.mark.parametrize("name", ["avif", "heic"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_upright(name: ImageFormat, orientation: int) -> None:
    block = exif(orientation).tobytes()
    data = encode(stored(_PICTURE, orientation), _PILLOW[name], quality=92, exif=block)
    views = decode_image(data, _SPEC, _ALL).views
    assert np.abs(views[0].astype(np.int16) - np.asarray(_PICTURE)).mean() < 4


@pytest.mark.parametrize("name", ["avif", "heic"])
def test_frames_are_sampled(name: ImageFormat) -> None:
    data = animation([soft(64, 48, number) for number in range(12)], _PILLOW[name])
    decoded = decode_image(data, _SPEC, _ALL)
    assert (decoded.frames_total, decoded.frames_scored, len(decoded.views)) == (12, 8, 8)
    few = Limits(formats=_ALL.formats, max_frames=11)
    assert _reason(data, few) == "too_many_frames"


@pytest.mark.parametrize(("name", "package"), [("heic", "pillow_heif"), ("jxl", "pillow_jxl")])
def test_a_missing_package_is_named(
    name: ImageFormat, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _encode(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        decode_image(data, _SPEC, _ALL)
    assert caught.value.extra == name


# Headers by hand


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, name) + body


_FTYP = _box(b"ftyp", b"avif", bytes(4), b"avifmif1")


def _with_size(width: int, height: int, *more: bytes) -> bytes:
    ispe = _box(b"ispe", bytes(4), struct.pack(">II", width, height))
    return _FTYP + _box(b"meta", bytes(4), _box(b"iprp", _box(b"ipco", ispe, *more)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_FTYP, "corrupt"),
        (_with_size(60_000, 60_000), "side_too_long"),
        (_with_size(9_000, 9_000), "too_many_pixels"),
        (_with_size(8, 8, _box(b"colr", bytes(17_000_000))), "too_much_metadata"),
        (_with_size(8, 8, _box(b"free") * 30_000), "corrupt"),
        (_with_size(8, 8)[:-1], "truncated"),
        (_with_size(8, 8) + struct.pack(">I4sQ", 1, b"free", 4), "corrupt"),
        (_with_size(8, 8) + struct.pack(">I4sQ", 1, b"free", 2**60), "truncated"),
    ],
)
def test_boxes_are_held_against_the_limits(data: bytes, reason: RefusalReason) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        read_header(data, _ALL)
    assert caught.value.reason == reason


def test_samples_of_a_track_are_frames() -> None:
    stsz = _box(b"stsz", bytes(8), struct.pack(">I", 1_000_000))
    track = _box(b"moov", _box(b"trak", _box(b"mdia", _box(b"minf", _box(b"stbl", stsz)))))
    assert _reason(_with_size(8, 8) + track) == "too_many_frames"
    stsz = _box(b"stsz", bytes(8), struct.pack(">I", 1_900))
    track = _box(b"moov", _box(b"trak", _box(b"mdia", _box(b"minf", _box(b"stbl", stsz)))))
    assert _reason(_with_size(4_000, 4_000) + track) == "too_many_pixels"


def _bits(*fields: tuple[int, int]) -> bytes:
    """Values and their widths, the lowest bits first, behind the mark of a codestream."""
    value = place = 0
    for number, width in fields:
        value |= number << place
        place += width
    return b"\xff\x0a" + value.to_bytes(place // 8 + 40, "little")


_SMALL_SQUARE = ((1, 1), (0, 5), (1, 3))  # 8 × 8
_EXTRA_FIELDS = (*_SMALL_SQUARE, (0, 1), (1, 1), (0, 3))  # up to the orientation


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        (_SMALL_SQUARE, (8, 8)),
        (((1, 1), (3, 5), (0, 3), (5, 5)), (48, 32)),
        (((0, 1), (1, 2), (999, 13), (7, 3)), (2_000, 1_000)),
        (((0, 1), (0, 2), (99, 9), (0, 3), (1, 2), (199, 13)), (200, 100)),
    ],
)
def test_size_in_a_jpeg_xl(fields: tuple[tuple[int, int], ...], size: tuple[int, int]) -> None:
    header = read_header(_bits(*fields, (1, 1)), _ALL)
    assert (header.width, header.height) == size
    boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + _box(b"jxlp", bytes(4), _bits(*fields, (1, 1)))
    assert read_header(boxed, _ALL) == header


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_bits((0, 1), (3, 2), (2**30 - 1, 30), (1, 3)), "side_too_long"),
        (_bits(*_SMALL_SQUARE, (0, 1), (1, 1), (0, 3), (0, 1), (1, 1)), "unsupported_pixels"),
        (
            _bits(*_SMALL_SQUARE, (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1)),
            "unsupported_pixels",
        ),
        (_bits(*_EXTRA_FIELDS, (1, 1), *_SMALL_SQUARE, (1, 1)), "unsupported_pixels"),
        (b"\xff\x0a\x00", "truncated"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "corrupt"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4sQ", 1, b"free", 4), "corrupt"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + _box(b"Exif", bytes(17_000_000)), "too_much_metadata"),
    ],
)
def test_jpeg_xl_headers_that_are_refused(data: bytes, reason: RefusalReason) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        read_header(data, _ALL)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("brands", "name"),
    [(b"mif1\0\0\0\0heic", "heic"), (b"mif1\0\0\0\0mif1avif", "avif"), (b"heix\0\0\0\0", "heic")],
)
def test_further_brands_tell_what_a_general_container_holds(brands: bytes, name: str) -> None:
    assert sniff_format(_box(b"ftyp", brands), _ALL.formats) == name
