"""The directions along which rows spread most.

Subspace iteration (Halko, Martinsson and Tropp 2011, "Finding Structure with Randomness"). Here,
since scikit-learn's takes longer to load than the work takes, and a full decomposition of a
thousand rows a second. Deterministic.
"""

from __future__ import annotations

import numpy as np

from keshikaran.types import Float32Array

_SPARE = 10  # directions more than wanted, so that the wanted ones are exact
_TURNS = 6


def principal_directions(
    centred: Float32Array, count: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """The directions of most spread, and where the rows lie along them.

    Args:
        centred: rows with mean zero, float32 [n, D].
        count: how many directions, at most.

    Returns:
        Places float32 [n, k], spread float32 [k] (the root of the sum of squares), and directions
        of length 1, float32 [k, D]; k is the least of `count`, n and D.
    """
    found = min(count, *centred.shape)
    wide = min(found + _SPARE, *centred.shape)
    start = np.random.default_rng(0).standard_normal((centred.shape[1], wide), np.float32)
    span = np.linalg.qr(centred @ start)[0]
    for _ in range(_TURNS):
        span = np.linalg.qr(centred @ (centred.T @ span))[0]
    turned, spread, directions = np.linalg.svd(span.T @ centred, full_matrices=False)
    places: Float32Array = (span @ (turned * spread)).astype(np.float32)
    return places[:, :found], spread[:found], directions[:found]
