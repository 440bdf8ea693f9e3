"""Features → vectors whose cosine tells copies of one photograph from photographs that are alike.

Principal components, each divided by its spread: what all images share counts little, what few
have counts much. Between different photographs the cosine is then close to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log10

import numpy as np

from keshikaran.similarity import centred
from keshikaran.types import Float32Array

_DIMS = 512
_HEAD_DIMS = 128
_LEAST_GLANCE = 0.35
_FIT_ROWS = 20_000
_SPREAD_ROWS = 2_000
_RIDGE = 1e-3
_RIDGE_OF_FEW = 0.3
_SPREADS = 11.0
_LEAST_CUT, _HIGHEST_CUT = 0.2, 0.97


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """How features become comparable.

    Attributes:
        mean: float32 [D], taken from them first.
        projection: float32 [D, d], what follows.
        cut: cosine from which two images may be copies of one photograph.
    """

    mean: Float32Array
    projection: Float32Array
    cut: float

    def apply(self, features: Float32Array) -> Float32Array:
        """Vectors of length one, float32 [n, d], of features float32 [n, D]."""
        return _unit(np.asarray((features - self.mean) @ self.projection, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Index:
    """Known images by one kind of features.

    A glance at the first components leaves few rows to look at with all of them.

    Attributes:
        whitening: how features become comparable.
        rows: float32 [m, d], whitened, a row for each image.
    """

    whitening: Whitening
    rows: Float32Array

    def alike(self, features: Float32Array, most: int) -> list[list[int]]:
        """For each query the rows that may be copies, the most similar first.

        Args:
            features: float32 [n, D].
            most: at most so many rows for each.
        """
        if not len(self.rows) or not np.isfinite(features).all():
            return [[] for _ in features]
        queries = self.whitening.apply(features)
        glances = (self._heads @ _unit(queries[:, :_HEAD_DIMS]).T).T  # four times the other way
        return [
            self._highest(query, np.flatnonzero(glance >= _LEAST_GLANCE), most)
            for query, glance in zip(queries, glances, strict=True)
        ]

    @cached_property
    def _heads(self) -> Float32Array:
        """The first components alone, float32 [m, 128]: a fourth of the bytes to go through."""
        return _unit(self.rows[:, :_HEAD_DIMS])

    def _highest(self, query: Float32Array, rows: np.ndarray, most: int) -> list[int]:
        cosines = self.rows[rows] @ query
        order = np.argsort(-cosines, kind="stable")[:most]
        found: list[int] = rows[order[cosines[order] >= self.whitening.cut]].tolist()
        return found


def _unit(rows: Float32Array) -> Float32Array:
    return centred(rows, np.zeros(rows.shape[1], dtype=np.float32))


def fit_whitening(features: Float32Array, dims: int = _DIMS) -> Whitening:
    """Learn from images of the kind that will be compared.

    Args:
        features: float32 [n, D], n >= 1; of many, an even selection is used.
        dims: principal components to keep at most.
    """
    sample = features[_evenly(len(features), _FIT_ROWS)].astype(np.float64)
    mean = sample.mean(axis=0)
    covariance = (sample - mean).T @ (sample - mean) / len(sample)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1][:dims].clip(0), vectors[:, ::-1][:, :dims]
    ridge = max(_RIDGE, _RIDGE_OF_FEW / len(sample)) * values[0]
    projection = vectors / np.sqrt(values + max(ridge, np.finfo(np.float32).tiny))
    found = Whitening(mean.astype(np.float32), projection.astype(np.float32), _HIGHEST_CUT)
    rows = found.apply(features[_evenly(len(features), _SPREAD_ROWS)])
    return Whitening(found.mean, found.projection, _cut(rows))


def _cut(rows: Float32Array) -> float:
    """Many spreads of the cosines of different images; where images are few, it is too narrow."""
    if len(rows) < 2:
        return _HIGHEST_CUT
    spreads = min(_SPREADS, 4 + 7 / 3 * log10(len(rows)))
    cosines = rows @ rows.T
    spread = float(np.sqrt(np.mean(np.square(cosines[~np.eye(len(rows), dtype=bool)]))))
    return float(np.clip(spreads * spread, _LEAST_CUT, _HIGHEST_CUT))


def _evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
