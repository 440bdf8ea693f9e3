"""Frames and bars around a picture: they change what is in the middle as little as a mount does."""

from __future__ import annotations

import numpy as np

from keshikaran.types import UInt8Array

_MOST = 0.25
_LIKE = 8
_SHARE = 0.97


def trimmed(grey: UInt8Array) -> UInt8Array:
    """The picture without lines at its edges that have all one brightness.

    Args:
        grey: uint8 [H, W].

    Returns:
        uint8 [h, w]; at most a quarter is gone from each side. A picture that is flat all over
        is left as it is.
    """
    top, bottom = _edges(grey)
    left, right = _edges(grey.T)
    inside = grey[top:bottom, left:right]
    return grey if int(np.ptp(inside)) <= 2 * _LIKE else np.ascontiguousarray(inside)


def _edges(lines: UInt8Array) -> tuple[int, int]:
    """From where to where there is more than a frame."""
    most = int(_MOST * len(lines))
    top = _flat_lines(lines[:most])
    bottom = len(lines) - _flat_lines(lines[::-1][:most])
    return top, bottom


def _flat_lines(lines: UInt8Array) -> int:
    """How many of the first lines look like the first."""
    brightness = int(np.median(lines[:1]))
    for number, line in enumerate(lines):
        near = np.abs(line.astype(np.int16) - brightness) <= _LIKE
        if near.mean() < _SHARE:
            return number
    return len(lines)
