"""Image file → upright RGB pixels in the shape a network wants. The one code path for all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels.contract import (
    DEFAULT_LIMITS,
    EXTRA_FORMATS,
    DecodedImage,
    Limits,
    PixelSpec,
)
from keshikaran.pixels.frames import sampled
from keshikaran.pixels.header import inspect
from keshikaran.pixels.headers import ImageHeader, Inspection
from keshikaran.pixels.headers.base import check_frames, check_size, check_work
from keshikaran.pixels.jpeg import FastMode, decode_scaled, fast_mode, scaled_size
from keshikaran.pixels.modes import plain_mode, upright
from keshikaran.pixels.pillow import open_with_pillow, refusals_of_pillow
from keshikaran.pixels.resize import needed_size
from keshikaran.pixels.views import views_of
from keshikaran.types import UInt8Array

_ORIENTATION_TAG = 0x0112
_TRANSPOSED = {5, 6, 7, 8}

_View = tuple[UInt8Array, ...]
"""One picture in each shape, uint8 [height, width, 3]."""


def decode_image(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> DecodedImage:
    """Turn an image file into the pixels that training, command line and server all see.

    Args:
        data: the whole file as it was uploaded.
        spec: shape and resize mode wanted; perhaps further ones beside it. The pixels in a shape
            do not depend on the others.
        limits: what the file may ask for.

    Returns:
        Its views, each spec.height × spec.width; none of them twice in all shapes.

    Raises:
        ImageRefusedError: with the reason why there are no pixels. A defect in any of the
            frames that should be scored refuses the whole file.
        MissingExtraError: `limits` accepts a format whose package is not installed.
    """
    found = inspect(data, limits)
    try:
        mode = fast_mode(data, found.header) if found.header.format == "jpeg" else None
        if mode is not None:
            return _collected(_views_of_jpeg(found, spec, mode))
        return _by_pillow(found, spec, limits)
    except MemoryError as error:
        detail = "decoding asks for more memory than there is"
        raise ImageRefusedError("too_many_pixels", detail) from error


def read_pixels(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> UInt8Array:
    """The first view alone, uint8 [spec.height, spec.width, 3]; see `decode_image`."""
    pixels: UInt8Array = decode_image(data, spec, limits).views[0]
    return pixels


def _collected(
    views: Iterator[_View], frames_total: int = 1, frames_scored: int = 1
) -> DecodedImage:
    """All views; one that equals an earlier one in all shapes adds nothing."""
    first = next(views)
    kept: dict[bytes, _View] = {}
    order: list[int] = []
    for view in views:
        if not kept:
            kept[_bytes_of(first)] = first
            order.append(0)
        key = _bytes_of(view)
        kept.setdefault(key, view)
        order.append(list(kept).index(key))
    chosen = list(kept.values()) or [first]
    joined = [
        np.stack(shape) if len(shape) > 1 else shape[0][None] for shape in zip(*chosen, strict=True)
    ]
    same = len(order) == len(chosen)
    numbers = () if same or not order else tuple(order)
    return DecodedImage(joined[0], frames_total, frames_scored, tuple(joined[1:]), numbers)


def _bytes_of(view: _View) -> bytes:
    return b"".join(shape.tobytes() for shape in view)


def _views_of_jpeg(found: Inspection, spec: PixelSpec, mode: FastMode) -> Iterator[_View]:
    """Decoded once for all shapes that want the same scale, as each would be by itself."""
    header = found.header
    frames: dict[tuple[int, int], Image.Image] = {}
    made = []
    for shape in spec.shapes:
        if found.orientation in _TRANSPOSED:
            height, width = needed_size(header.height, header.width, shape)
        else:
            width, height = needed_size(header.width, header.height, shape)
        size = scaled_size(found.data, height, width) if spec.beside else (height, width)
        if size not in frames:
            frames[size] = upright(
                decode_scaled(found.data, height, width, mode), found.orientation
            )
        made.append(views_of(frames[size], shape, found.profile, None))
    return zip(*made, strict=True)


def _by_pillow(found: Inspection, spec: PixelSpec, limits: Limits) -> DecodedImage:
    with open_with_pillow(found.data, found.header.format) as image:
        frames = _checked_frames(image, found.header, limits)
        numbers = sampled(frames, limits.max_frames_scored)
        views = (view for n in numbers for view in _views_of_frame(image, n, found, spec))
        return _collected(views, frames, len(numbers))


def _views_of_frame(
    image: Image.Image, number: int, found: Inspection, spec: PixelSpec
) -> Iterator[_View]:
    with refusals_of_pillow():
        if number:
            image.seek(number)
        image.load()
        frame = upright(plain_mode(image, found), _orientation(image, found))
    profile = found.profile or _own_profile(image)
    shapes = [views_of(frame, shape, profile, found.gamma) for shape in spec.shapes]
    return zip(*shapes, strict=True)


def _checked_frames(image: Image.Image, header: ImageHeader, limits: Limits) -> int:
    """The number of frames, once Pillow and we agree on the size."""
    if header.format in EXTRA_FORMATS:
        frames = int(getattr(image, "n_frames", 1))
        check_frames(frames, limits)
        check_size(*image.size, limits)
        check_work(frames * image.width * image.height, limits)
        return frames
    if header.format != "gif" and sorted(image.size) != sorted((header.width, header.height)):
        words = f"{header.width}×{header.height} or {image.width}×{image.height}"
        detail = f"its header can be read as {words}"
        raise ImageRefusedError("corrupt", detail)
    return header.frames


def _own_profile(image: Image.Image) -> bytes | None:
    """What Pillow found in a TIFF, AVIF or HEIC; the others were inspected for it."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def _orientation(image: Image.Image, found: Inspection) -> int:
    """By the inspection, except in formats whose directories are Pillow's business."""
    if found.header.format not in {"tiff", "avif"}:
        return found.orientation
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's EXIF reader raises anything on damaged blocks
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
