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
from keshikaran.pixels.jpeg import FastMode, decode_scaled, fast_mode
from keshikaran.pixels.modes import plain_mode, upright
from keshikaran.pixels.pillow import open_with_pillow, refusals_of_pillow
from keshikaran.pixels.resize import needed_size
from keshikaran.pixels.views import views_of
from keshikaran.types import UInt8Array

_ORIENTATION_TAG = 0x0112
_TRANSPOSED = {5, 6, 7, 8}


def decode_image(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> DecodedImage:
    """Turn an image file into the pixels that training, command line and server all see.

    Args:
        data: the whole file as it was uploaded.
        spec: shape and resize mode wanted.
        limits: what the file may ask for.

    Returns:
        Its views, each spec.height × spec.width; none of them twice.

    Raises:
        ImageRefusedError: with the reason why there are no pixels. A defect in any of the
            frames that should be scored refuses the whole file.
        MissingExtraError: `limits` accepts a format whose package is not installed.
    """
    found = inspect(data, limits)
    try:
        mode = fast_mode(data, found.header) if found.header.format == "jpeg" else None
        if mode is not None:
            frame = _fast_jpeg(found, spec, mode)
            return DecodedImage(_distinct(views_of(frame, spec, found.profile, None)))
        return _by_pillow(found, spec, limits)
    except MemoryError as error:
        detail = "decoding asks for more memory than there is"
        raise ImageRefusedError("too_many_pixels", detail) from error


def read_pixels(data: bytes, spec: PixelSpec, limits: Limits = DEFAULT_LIMITS) -> UInt8Array:
    """The first view alone, uint8 [spec.height, spec.width, 3]; see `decode_image`."""
    pixels: UInt8Array = decode_image(data, spec, limits).views[0]
    return pixels


def _distinct(views: Iterator[UInt8Array]) -> UInt8Array:
    """All views, uint8 [V, H, W, 3]; one that equals an earlier one adds nothing."""
    kept: dict[bytes, UInt8Array] = {}
    first = next(views)
    for view in views:
        if not kept:
            kept[first.tobytes()] = first
        kept.setdefault(view.tobytes(), view)
    return np.stack(list(kept.values())) if len(kept) > 1 else first[None]


def _fast_jpeg(found: Inspection, spec: PixelSpec, mode: FastMode) -> Image.Image:
    header = found.header
    if found.orientation in _TRANSPOSED:
        height, width = needed_size(header.height, header.width, spec)
    else:
        width, height = needed_size(header.width, header.height, spec)
    frame = decode_scaled(found.data, height, width, mode)
    return upright(frame, found.orientation)


def _by_pillow(found: Inspection, spec: PixelSpec, limits: Limits) -> DecodedImage:
    with open_with_pillow(found.data, found.header.format) as image:
        frames = _checked_frames(image, found.header, limits)
        numbers = sampled(frames, limits.max_frames_scored)
        views = _distinct(
            view for number in numbers for view in _views_of_frame(image, number, found, spec)
        )
    return DecodedImage(views, frames, len(numbers))


def _views_of_frame(
    image: Image.Image, number: int, found: Inspection, spec: PixelSpec
) -> Iterator[UInt8Array]:
    with refusals_of_pillow():
        if number:
            image.seek(number)
        image.load()
        frame = upright(plain_mode(image, found), _orientation(image, found))
    return views_of(frame, spec, found.profile or _own_profile(image), found.gamma)


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
