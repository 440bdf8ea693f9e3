"""Presets made of networks computable by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bundle_support import quadrant_means
from keshikaran.pixels import PixelSpec, decode_image
from keshikaran.presets import PARTS, PartName
from keshikaran.types import Float64Array
from support import FAKE_SIDE, fake_backbone
from zoo_support import plane_means, register_fake

REAL = dict(PARTS)
QUADRANTS, PLANES = "quadrants", "planes"
TWO_PARTS = (PartName(QUADRANTS, "crop"), PartName(PLANES, "stretch"))
TWO_SHAPES = (PartName(QUADRANTS, "crop"), PartName(QUADRANTS, "pad"))


def use_fake_presets(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """`balanced` looks at two shapes with one network, `accurate` has two networks."""
    patch.setenv("KESHIKARAN_BACKBONES", str(folder))
    register_fake(QUADRANTS, fake_backbone())
    register_fake(PLANES, plane_means("Mul", [0.01, 0.02, 0.03]))
    patch.setitem(PARTS, "balanced", TWO_SHAPES)
    patch.setitem(PARTS, "accurate", TWO_PARTS)


def by_hand(data: bytes, parts: Sequence[PartName]) -> Float64Array:
    """Features of the first view of an image file, as the parts give them: float64 [D]."""
    found = []
    for part in parts:
        side = FAKE_SIDE if part.backbone == QUADRANTS else 8
        view = decode_image(data, PixelSpec(side, side, part.resize_mode)).views[:1]
        if part.backbone == QUADRANTS:
            found.append(quadrant_means(view)[0])
        else:
            found.append(view.astype(np.float64).mean(axis=(0, 1, 2)) * [0.01, 0.02, 0.03])
    return np.concatenate(found)
