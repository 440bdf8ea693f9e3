"""Features → nearest neighbours, by centred cosine."""

from __future__ import annotations

import numpy as np

from keshikaran.types import Float32Array, IntArray

_TINY = 1e-12


def centred(features: Float32Array, mean: Float32Array) -> Float32Array:
    """Rows minus `mean`, each of length one; a row equal to `mean` becomes zero.

    Args:
        features: float32 [n, D].
        mean: float32 [D], of all images of the store.

    Returns:
        float32 [n, D].
    """
    rows = features - mean
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    result: Float32Array = rows / np.maximum(lengths, np.float32(_TINY))
    return result


def nearest(rows: Float32Array, queries: Float32Array, count: int) -> tuple[IntArray, Float32Array]:
    """The `count` most similar rows of each query, exactly; the most similar first.

    Args:
        rows: float32 [n, D], from `centred`.
        queries: float32 [m, D], from `centred` with the same mean.
        count: how many are wanted; fewer come if there are fewer rows.

    Returns:
        Row numbers int64 [m, k] and cosines float32 [m, k]. Equals come in order of their row.
    """
    cosines = queries @ rows.T
    count = min(count, len(rows))
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order.astype(np.int64), np.take_along_axis(cosines, order, axis=1)
