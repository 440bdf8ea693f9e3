"""Pictures as they might have been: cut a little closer, mirrored, in other light.

What is drawn for a picture depends on the seed, its copy and its place alone, so that a run that
was broken off draws the same again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from keshikaran.finetune.settings import Augmentation
from keshikaran.types import Float32Array

SMALLEST_SIDE = 0.8
"""Of the side of a picture: a smaller part could lose what the label is about."""

_LIGHT = 0.2
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Draws:
    """What happens to each of n pictures.

    Attributes:
        side: of the part that is kept, relative to the picture's, float32 [n].
        place: where its middle lies, rows and columns in [-1, 1], float32 [n, 2].
        mirrored: -1.0 or 1.0, float32 [n].
        light: factors of brightness, contrast and saturation, float32 [n, 3].
    """

    side: Float32Array
    place: Float32Array
    mirrored: Float32Array
    light: Float32Array


def draw(seed: int, copy: int, count: int, wanted: Collection[Augmentation]) -> Draws:
    """What happens to `count` pictures in their copy number `copy`."""
    numbers = np.random.default_rng([seed, 1, copy]).random((count, 7), dtype=np.float32)
    side = np.ones(count, dtype=np.float32)
    if "crop" in wanted:
        side = SMALLEST_SIDE + (1 - SMALLEST_SIDE) * numbers[:, 0]
    place = (2 * numbers[:, 1:3] - 1) * (1 - side)[:, None]
    mirrored = np.where(("flip" in wanted) & (numbers[:, 3] < 0.5), -1, 1).astype(np.float32)
    light = 1 + _LIGHT * (2 * numbers[:, 4:] - 1) * float("colour" in wanted)
    return Draws(side, place, mirrored, light.astype(np.float32))


def augmented(images: Any, draws: Draws, rows: Any, height: int, width: int) -> Any:  # noqa: ANN401
    """Apply draws to pictures.

    Args:
        images: uint8 tensor [n, S, T, 3].
        draws: of more pictures.
        rows: which of the draws are for these pictures, int64 [n].
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 tensor [n, height, width, 3].
    """
    planes = images.permute(0, 3, 1, 2).to(torch.float32)
    part = functional.grid_sample(
        planes, _grid(draws, rows, height, width).to(planes), align_corners=False,
        padding_mode="reflection",
    )  # fmt: skip
    light = torch.from_numpy(draws.light[rows]).to(planes)[:, :, None, None, None].unbind(1)
    part = part * light[0]
    middle = _gray(part).mean((2, 3), keepdim=True)
    part = middle + (part - middle) * light[1]
    gray = _gray(part)
    part = gray + (part - gray) * light[2]
    return part.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _grid(draws: Draws, rows: Any, height: int, width: int) -> Any:  # noqa: ANN401
    """Where each pixel of the result comes from: float32 [n, height, width, 2]."""
    side, place = draws.side[rows], draws.place[rows]
    matrices = np.zeros((len(side), 2, 3), dtype=np.float32)
    matrices[:, 0, 0] = side * draws.mirrored[rows]
    matrices[:, 1, 1] = side
    matrices[:, 0, 2], matrices[:, 1, 2] = place[:, 1], place[:, 0]
    shape = [len(side), 3, height, width]
    return functional.affine_grid(torch.from_numpy(matrices), shape, align_corners=False)


def _gray(planes: Any) -> Any:  # noqa: ANN401
    weights = torch.tensor(_LUMA, device=planes.device)[None, :, None, None]
    return (planes * weights).sum(1, keepdim=True)
