"""One decoded frame → the pictures of it that are judged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from keshikaran.pixels.colour import conversion_for
from keshikaran.pixels.contract import PixelSpec
from keshikaran.pixels.resize import add_bars, resize
from keshikaran.types import UInt8Array


def views_of(
    frame: Image.Image, spec: PixelSpec, profile: bytes | None, gamma: float | None
) -> Iterator[UInt8Array]:
    """The views of one frame, in the order of the contract.

    Args:
        frame: upright, in mode L, RGB, RGBA or CMYK.
        spec: the shape wanted.
        profile: its ICC profile, unchecked.
        gamma: its encoding exponent.

    Yields:
        uint8 [spec.height, spec.width, 3], RGB. On white; then, where pixels are transparent,
        on black and with transparency ignored. Each is followed by itself without the colour
        conversion, where that is an odd one.
    """
    for layer in _layers(frame, spec):
        conversion = conversion_for(layer.mode, profile, gamma)
        yield _finished(layer if conversion is None else conversion.apply(layer), spec)
        if conversion is not None and conversion.odd:
            yield _finished(layer, spec)


def _layers(frame: Image.Image, spec: PixelSpec) -> Iterator[Image.Image]:
    """Resized pictures, from what a viewer shows to what it hides.

    Shrinking comes before compositing, on premultiplied values: averaging areas is linear, so
    the result is the same, and one resized picture serves both backgrounds.
    """
    if frame.mode != "RGBA" or frame.getchannel("A").getextrema()[0] == 255:
        yield resize(_in_mode(frame, "RGB") if frame.mode == "RGBA" else frame, spec)
        return
    small = resize(frame.convert("RGBa"), spec)
    values = np.frombuffer(small.tobytes(), np.uint8).reshape(small.height, small.width, 4)
    colours, lack = values[..., :3], 255 - values[..., 3:]
    yield Image.fromarray(np.minimum(colours.astype(np.uint16) + lack, 255).astype(np.uint8))
    yield Image.fromarray(colours.copy())
    yield resize(frame.convert("RGB"), spec)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _finished(layer: Image.Image, spec: PixelSpec) -> UInt8Array:
    layer = add_bars(_in_mode(layer, "RGB"), spec)
    # np.asarray(layer) and layer.tobytes() would ask for the bytes piece by piece and join
    # them: a twentieth of all the time that a JPEG takes.
    encoder = Image._getencoder("RGB", "raw", ("RGB", 0, 1))
    encoder.setimage(layer.im, (0, 0, *layer.size))
    _, _, packed = encoder.encode(spec.height * spec.width * 3)
    return np.frombuffer(packed, np.uint8).reshape(spec.height, spec.width, 3)
