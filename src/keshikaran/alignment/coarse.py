"""Where one small picture might lie on another: masked normalised cross-correlation.

The method is Padfield's (Masked object registration in the Fourier domain, 2012): correlation
over the pixels that both pictures have, for every shift at once, by Fourier transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keshikaran.alignment.picture import COARSE_SIDE, FIELD, SCALES, Picture

LEAST_OVERLAP = 0.55
LEAST_CORRELATION = 0.5
_STARTS = 3
_LEAST_VARIANCE = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the second picture lies in the first: row = scale x its row + shift, and so columns.

    Attributes:
        scale: of the second picture.
        down: rows it is shifted by.
        across: columns it is shifted by.
        side: longer side of the pictures that rows and columns count in.
        correlation: in [-1, 1].
    """

    scale: float
    down: float
    across: float
    side: int = COARSE_SIDE
    correlation: float = 0.0


def starts(first: Picture, second: Picture) -> list[Place]:
    """The best places at a few scales, most likely first; none if nothing correlates."""
    scores = _correlations(first, second)
    peaks = scores.reshape(len(scores), -1)
    best = peaks.argmax(axis=1)
    heights = peaks[np.arange(len(peaks)), best]
    found: list[Place] = []
    for k in np.argsort(-heights, kind="stable"):
        if heights[k] < LEAST_CORRELATION or len(found) == _STARTS:
            break
        row, column = divmod(int(best[k]), FIELD)
        down, across = (n - FIELD if n > FIELD // 2 else n for n in (row, column))
        found.append(Place(float(SCALES[k]), down, across, COARSE_SIDE, float(heights[k])))
    return found


def _correlations(first: Picture, second: Picture) -> np.ndarray:
    """Correlation at each scale and shift, float32 [scales, FIELD, FIELD]; -1 where undefined."""
    a, a_mask, a_square = first.fixed.values[0]
    b, b_mask, b_square = np.conj(second.moving.values).swapaxes(0, 1)
    products = np.stack(
        [a_mask * b_mask, a * b_mask, a_square * b_mask, a_mask * b, a_mask * b_square, a * b]
    )
    n, s_a, s_aa, s_b, s_bb, s_ab = np.fft.irfft2(products, s=(FIELD, FIELD))
    n = np.maximum(n, 1)
    var_a, var_b = s_aa - s_a * s_a / n, s_bb - s_b * s_b / n
    least = LEAST_OVERLAP * np.maximum(first.fixed.areas, second.moving.areas)[:, None, None]
    usable = (n > least) & (var_a > _LEAST_VARIANCE * n) & (var_b > _LEAST_VARIANCE * n)
    scale = np.sqrt(np.maximum(var_a * var_b, 1e-3))
    return np.where(usable, (s_ab - s_a * s_b / n) / scale, -1)
