"""Features → nearest neighbours, by centred cosine."""

from __future__ import annotations

import numpy as np

from keshikaran.types import Float32Array, IntArray, chunks_of

_TINY = 1e-12
_CELLS = 1 << 24


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
    rows /= np.maximum(lengths, np.float32(_TINY))
    return rows


def nearest(rows: Float32Array, queries: Float32Array, count: int) -> tuple[IntArray, Float32Array]:
    """The `count` most similar rows of each query, exactly; the most similar first.

    At most 64 MiB of cosines (or one query's) are held at a time.

    Args:
        rows: float32 [n, D], from `centred`.
        queries: float32 [m, D], from `centred` with the same mean.
        count: how many are wanted; fewer come if there are fewer rows.

    Returns:
        Row numbers int64 [m, k] and cosines float32 [m, k]. Equals come in order of their row.
    """
    count = min(count, len(rows))
    places = np.empty((len(queries), count), dtype=np.int64)
    cosines = np.empty((len(queries), count), dtype=np.float32)
    if not count:
        return places, cosines
    for part in chunks_of(len(queries), max(1, _CELLS // len(rows))):
        for place, values in enumerate(queries[part] @ rows.T, start=part.start):
            places[place] = _first(values, count)
            cosines[place] = values[places[place]]
    return places, cosines


def _first(values: Float32Array, count: int) -> IntArray:
    """Places of the `count` largest values; equals in order of their place."""
    least = np.partition(values, -count)[-count]
    enough = np.flatnonzero(values >= least)
    order = np.argsort(-values[enough], kind="stable")[:count]
    return enough[order].astype(np.int64)
