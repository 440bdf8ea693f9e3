"""Is a picture that a file hides among those that are judged?

Each file shows something harmless at first sight. The hidden picture must be one of its views,
or, where the contract says that it is not looked at, must not be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from keshikaran.pixels import Limits, PixelSpec, decode_image
from keshikaran.types import UInt8Array
from stress.files import (
    animation,
    bmp_with_alpha,
    chunk,
    encode,
    png,
    riff,
    scanlines,
    soft,
    vp8x,
    with_chunk,
    with_segment,
)
from stress.finding import Finding, Size
from stress.profiles import SRGB, rgb_profile

_WIDTH, _HEIGHT = 48, 32
_SIZE = (_WIDTH, _HEIGHT)
_SPEC = PixelSpec(_HEIGHT, _WIDTH)
_SEEN = 12.0
"""Largest mean difference, of 255, at which a view counts as the picture: JPEG needs some."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A file that hides a picture.

    Attributes:
        data: the file.
        picture: what it hides, as a view must show it.
        seen: whether the contract promises to look at it.
        limits: what the decoder is told.
        frames: the numbers of frames there are and that are scored.
    """

    data: bytes
    picture: UInt8Array
    seen: bool = True
    limits: Limits = field(default_factory=Limits)
    frames: tuple[int, int] = (1, 1)


def hidden_pictures() -> dict[str, Hidden]:
    """All of them, by name."""
    return dict([*_in_frames(), *_behind_alpha(), *_behind_keys(), *_by_colour(), *_not_seen()])


def run(size: Size) -> Finding:
    """Decode each; both sizes are the same."""
    del size
    failures, found, files = [], 0, hidden_pictures()
    for name, hidden in files.items():
        decoded = decode_image(hidden.data, _SPEC, hidden.limits)
        seen = any(_distance(view, hidden.picture) <= _SEEN for view in decoded.views)
        found += seen
        if seen != hidden.seen:
            failures.append(f"{name}: {'seen' if seen else 'not seen'}")
        if _distance(decoded.views[0], hidden.picture) <= _SEEN:
            failures.append(f"{name}: not hidden at all")
        if (decoded.frames_total, decoded.frames_scored) != hidden.frames:
            failures.append(f"{name}: {decoded.frames_scored} of {decoded.frames_total} frames")
    figures = {
        "files that hide a picture": len(files),
        "hidden pictures that were judged": found,
        "documented as not looked at": sum(not hidden.seen for hidden in files.values()),
    }
    return Finding("Are hidden pictures judged as documented?", figures, failures)


def _distance(a: UInt8Array, b: UInt8Array) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def _bad() -> Image.Image:
    return soft(*_SIZE, seed=66)


def _good(seed: int = 1) -> Image.Image:
    return soft(*_SIZE, seed)


def _pixels(image: Image.Image) -> UInt8Array:
    return np.asarray(image.convert("RGB"))


def _row(count: int, place: int) -> list[Image.Image]:
    """Frames of which one is bad; no two are alike, lest an encoder merge them."""
    return [_bad() if number == place else _good(100 + number) for number in range(count)]


def _in_frames() -> Iterator[tuple[str, Hidden]]:
    bad = _pixels(_bad())
    for kind, options in {
        "GIF": {},
        "WEBP": {"lossless": True},
        "PNG": {},
        "TIFF": {},
    }.items():
        yield (
            f"{kind}, second of two",
            Hidden(animation(_row(2, 1), kind, **options), bad, frames=(2, 2)),
        )
        yield (
            f"{kind}, last of thirty",
            Hidden(animation(_row(30, 29), kind, **options), bad, frames=(30, 8)),
        )
    for disposal in (2, 3):
        data = animation(_row(3, 1), "GIF", disposal=disposal)
        yield f"GIF, disposed of by method {disposal}", Hidden(data, bad, frames=(3, 3))
    yield (
        "APNG, blended over",
        Hidden(animation(_row(3, 2), "PNG", blend=1, disposal=1), bad, frames=(3, 3)),
    )
    data = encode(_good(), save_all=True, append_images=_row(2, 1), default_image=True)
    still = Hidden(data, bad, frames=(3, 3))
    yield "APNG behind a first picture that is no part of the animation", still
    small = soft(_WIDTH // 2, _HEIGHT // 2, 66)
    wanted = np.asarray(small.resize(_SIZE, Image.Resampling.BILINEAR))
    yield (
        "TIFF, second page of another size",
        Hidden(animation([_good(), small], "TIFF"), wanted, frames=(2, 2)),
    )


def _veiled(alpha: int, mode: str = "RGBA") -> Image.Image:
    image = _bad()
    image.putalpha(alpha)
    return image.convert(mode)


def _behind_alpha() -> Iterator[tuple[str, Hidden]]:
    bad = _pixels(_bad())
    yield "PNG at alpha 0", Hidden(encode(_veiled(0)), bad)
    yield "PNG at alpha 1", Hidden(encode(_veiled(1)), bad)
    yield "grey PNG at alpha 0", Hidden(encode(_veiled(0, "LA")), _pixels(_bad().convert("L")))
    yield "WebP at alpha 0", Hidden(encode(_veiled(0), "WEBP", lossless=True, exact=True), bad)
    yield "TIFF at alpha 0", Hidden(encode(_veiled(0), "TIFF"), bad)
    yield "BMP at alpha 0", Hidden(bmp_with_alpha(_veiled(0)), bad)
    deep = np.asarray(_veiled(0)).astype(np.uint16) * 257
    yield "16-bit PNG at alpha 0", Hidden(png(_SIZE, 16, 6, scanlines(deep)), bad)
    still = encode(_veiled(0), "WEBP", lossless=True, exact=True)
    size = int.from_bytes(still[16:20], "little")
    silent = riff(vp8x(*_SIZE, 0), (b"VP8L", still[20 : 20 + size]))
    yield "WebP whose header denies its transparency", Hidden(silent, bad)
    shape = _bad().convert("L")
    for name, ground, wanted in (
        ("white", (255, 255, 255), _pixels(shape)),
        ("grey", (128, 128, 128), _pixels(shape.point(lambda value: value * 128 // 255))),
    ):
        image = Image.new("RGB", _SIZE, ground)
        image.putalpha(shape)
        yield f"PNG in the alpha channel of a {name} picture", Hidden(encode(image), wanted)
    frames = [_good(1).convert("RGBA"), _veiled(0)]
    data = animation(frames, "TIFF")
    yield "TIFF, second page at alpha 0", Hidden(data, bad, frames=(2, 2))


def _behind_keys() -> Iterator[tuple[str, Hidden]]:
    flat = _bad().quantize(64)
    bad = _pixels(flat)
    yield "palette, every entry transparent", Hidden(encode(flat, transparency=bytes(64)), bad)
    faint = bytes([3] * 64)
    yield "palette, every entry almost transparent", Hidden(encode(flat, transparency=faint), bad)
    shape = _bad().convert("1")
    black_on_white = _pixels(shape)
    mask = np.asarray(shape, dtype=np.uint8)
    white = Image.fromarray(mask, "P")
    white.putpalette([255, 255, 255] * 2)
    negative = Hidden(encode(white, "GIF", transparency=0, optimize=False), black_on_white)
    yield "GIF, white on transparent", negative
    yield (
        "palette PNG, white on transparent",
        Hidden(encode(white, transparency=b"\0\xff"), black_on_white),
    )
    pixels = np.where(mask[..., None] > 0, 254, 255).astype(np.uint8).repeat(3, axis=2)
    bright = np.where(mask[..., None] > 0, 254, 0).astype(np.uint8).repeat(3, axis=2)
    data = png(_SIZE, 8, 2, scanlines(pixels), extra=chunk(b"tRNS", b"\0\xff" * 3))
    yield "almost white on a transparent colour", Hidden(data, bright)
    deep = np.where(mask[..., None] > 0, 65000, 65535).astype(np.uint16)
    data = png(_SIZE, 16, 0, scanlines(deep), extra=chunk(b"tRNS", b"\xff\xff"))
    yield "almost white on a transparent 16-bit grey", Hidden(data, bright)


def _by_colour() -> Iterator[tuple[str, Hidden]]:
    """Pictures that some programs see and others, which ignore or follow colours, do not."""
    dark = _bad().point(lambda value: round(255 * (value / 255) ** 0.05))
    veil = rgb_profile(SRGB, (60.0,))
    yield "PNG that only a profile darkens", Hidden(encode(dark, icc_profile=veil), _pixels(dark))
    yield (
        "WebP that only a profile darkens",
        Hidden(encode(dark, "WEBP", lossless=True, icc_profile=veil), _pixels(dark)),
    )
    gamma = (4_000).to_bytes(4, "big")
    exponent = (1 / 2.2) / 0.04
    bright = _bad().point(lambda value: round(255 * (value / 255) ** (1 / exponent)))
    data = with_chunk(encode(bright), b"gAMA", gamma)
    yield "PNG that only its gamma brightens", Hidden(data, _pixels(bright))


def _not_seen() -> Iterator[tuple[str, Hidden]]:
    bad = _pixels(_bad())
    behind = encode(_good(), "JPEG") + encode(_bad(), "JPEG")
    yield "JPEG behind a JPEG", Hidden(behind, bad, seen=False)
    thumbnail = with_segment(encode(_good(), "JPEG"), 0xE1, b"Exif\0\0" + encode(_bad(), "JPEG"))
    yield "JPEG as a thumbnail", Hidden(thumbnail, bad, seen=False)
    between = animation(_row(30, 2), "GIF")
    yield (
        "GIF, between the frames that are sampled",
        Hidden(between, bad, seen=False, frames=(30, 8)),
    )
    more = Limits(max_frames_scored=30)
    yield "the same with a higher limit", Hidden(between, bad, limits=more, frames=(30, 30))
