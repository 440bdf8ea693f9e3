"""Colours as the file means them → sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SAME = 2
"""A conversion that moves no colour by more than this is left out."""
_ODD = 48
"""One that moves colours by more than this on average hides as much as it shows."""
_DISPLAY_GAMMA = 1 / 2.2
_PROBES_A_SIDE = 6
_KEPT_PROFILES = 8


@dataclass(frozen=True, slots=True)
class Conversion:
    """How to bring a picture to sRGB.

    Attributes:
        apply: from a picture in the mode it was made for to one in RGB.
        odd: whether the picture must be judged without it, too.
    """

    apply: Callable[[Image.Image], Image.Image]
    odd: bool


def conversion_for(mode: str, profile: bytes | None, gamma: float | None) -> Conversion | None:
    """The conversion that a file asks for; None where it has none that matters.

    Args:
        mode: Pillow's mode of the picture: RGB, L or CMYK.
        profile: ICC profile; one that is damaged or for another mode counts as absent.
        gamma: encoding exponent.
    """
    if profile is not None:
        return _by_profile(profile, mode)
    return None if gamma is None or mode == "CMYK" else _by_gamma(gamma, mode)


@lru_cache(maxsize=_KEPT_PROFILES)
def _by_profile(profile: bytes, mode: str) -> Conversion | None:
    from PIL import ImageCms  # only files with a profile pay for it

    if _SPACES.get(profile[16:20]) != mode:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
        )
        return _judged(transform.apply, mode)
    except Exception:  # littlecms and its wrapper raise anything on damaged profiles
        return None


@lru_cache(maxsize=_KEPT_PROFILES)
def _by_gamma(gamma: float, mode: str) -> Conversion | None:
    exponent = _DISPLAY_GAMMA / gamma
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    bands = len(Image.new(mode, (1, 1)).getbands())

    def apply(image: Image.Image) -> Image.Image:
        return image.point(table * bands).convert("RGB")

    return _judged(apply, mode)


def _judged(apply: Callable[[Image.Image], Image.Image], mode: str) -> Conversion | None:
    probe = _probe(mode)
    before = np.asarray(probe.convert("RGB")).astype(np.int16)
    moved = np.abs(np.asarray(apply(probe)) - before)
    if mode != "CMYK" and moved.max() <= _SAME:
        return None
    return Conversion(apply, odd=bool(moved.mean() > _ODD))


@cache
def _probe(mode: str) -> Image.Image:
    """Colours spread evenly over the whole space of `mode`, one a pixel."""
    values = np.linspace(0, 255, _PROBES_A_SIDE).round().astype(np.uint8)
    bands = len(Image.new(mode, (1, 1)).getbands())
    grid = np.stack(np.meshgrid(*[values] * bands, indexing="ij"), axis=-1).reshape(-1, 1, bands)
    return Image.frombytes(mode, (1, len(grid)), grid.tobytes())
