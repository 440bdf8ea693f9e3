"""Any shape → the network's shape, by area-quality resampling."""

from __future__ import annotations

from PIL import Image

from keshikaran.pixels.contract import PixelSpec, ResizeMode

_PAD_GREY = (128, 128, 128)


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
    """Bring an RGB picture to `spec.width` × `spec.height`.

    `stretch` squeezes; `crop` scales until the frame is covered and keeps the middle; `pad`
    scales until all of it fits and adds grey bars. Shrinking averages areas, growing
    interpolates.
    """
    size = (spec.width, spec.height)
    if spec.resize_mode == "stretch":
        return _resample(image, size, (0.0, 0.0, float(image.width), float(image.height)))
    if spec.resize_mode == "crop":
        return _resample(image, size, _middle(image, spec))
    inner = needed_size(image.width, image.height, spec)
    box = (0.0, 0.0, float(image.width), float(image.height))
    canvas = Image.new("RGB", size, _PAD_GREY)
    offset = ((spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2)
    canvas.paste(_resample(image, inner, box), offset)
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


__all__ = ["ResizeMode", "needed_size", "resize"]
