"""Any shape → the network's shape, by area-quality resampling."""

from __future__ import annotations

from PIL import Image

from keshikaran.pixels.contract import PixelSpec, ResizeMode

BAR_GREY = (128, 128, 128)
"""Colour of the bars of `pad`."""


def needed_size(width: int, height: int, spec: PixelSpec) -> tuple[int, int]:
    """The smallest (width, height) a decoder may deliver without loss for `spec`.

    Args:
        width: columns of the upright picture.
        height: rows of the upright picture.
        spec: the shape wanted.
    """
    if spec.resize_mode == "stretch":
        return spec.width, spec.height
    scale = _scale(width, height, spec)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(image: Image.Image, spec: PixelSpec) -> Image.Image:
    """Bring a picture to `spec.width` × `spec.height`, or for `pad` to what fits into that.

    `stretch` squeezes; `crop` scales until the frame is covered and keeps the middle; `pad`
    scales until all of it fits: `add_bars` does the rest. Shrinking averages areas, growing
    interpolates. Any mode of 8 bits a band will do, bands are independent.
    """
    size = (spec.width, spec.height)
    box = (0.0, 0.0, float(image.width), float(image.height))
    if spec.resize_mode == "crop":
        return _resample(image, size, _middle(image, spec))
    if spec.resize_mode == "pad":
        size = needed_size(image.width, image.height, spec)
    return _resample(image, size, box)


def add_bars(image: Image.Image, spec: PixelSpec) -> Image.Image:
    """Put an RGB picture into the middle of a grey one of `spec.width` × `spec.height`."""
    if image.size == (spec.width, spec.height):
        return image
    canvas = Image.new("RGB", (spec.width, spec.height), BAR_GREY)
    canvas.paste(image, ((spec.width - image.width) // 2, (spec.height - image.height) // 2))
    return canvas


def _scale(width: int, height: int, spec: PixelSpec) -> float:
    ratios = (spec.width / width, spec.height / height)
    return max(ratios) if spec.resize_mode == "crop" else min(ratios)


def _middle(image: Image.Image, spec: PixelSpec) -> tuple[float, float, float, float]:
    """The centred box with the target's aspect ratio."""
    scale = _scale(image.width, image.height, spec)
    width, height = spec.width / scale, spec.height / scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    right, bottom = min(left + width, image.width), min(top + height, image.height)
    return (max(left, 0.0), max(top, 0.0), right, bottom)


def _resample(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image:
    shrinks = box[2] - box[0] >= size[0] and box[3] - box[1] >= size[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return image.resize(size, method, box=box, reducing_gap=3.0 if shrinks else None)


__all__ = ["BAR_GREY", "ResizeMode", "add_bars", "needed_size", "resize"]
