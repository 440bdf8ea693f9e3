"""A sketch: 16 x 16 grey values of what a backbone saw, to find turned copies by.

A backbone's features change when a picture is turned; its sketch just turns along.
"""

from __future__ import annotations

import numpy as np

from keshikaran.alignment.resample import resized
from keshikaran.types import UInt8Array

SKETCH_SIDE = 16
_GREEN = 1


def sketch_of(view: UInt8Array) -> UInt8Array:
    """Mean brightness in the fields of a grid, by the green channel alone.

    Args:
        view: uint8 [H, W, 3].

    Returns:
        uint8 [16, 16].
    """
    grey = view[:, :, _GREEN].astype(np.float32)
    means = resized(grey, SKETCH_SIDE, SKETCH_SIDE)
    result: UInt8Array = (means + 0.5).astype(np.uint8)
    return result
