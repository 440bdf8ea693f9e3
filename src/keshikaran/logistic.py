"""L2-regularised logistic regression, solved to any tolerance by SciPy's L-BFGS-B.

With many more rows than columns, the search runs in coordinates in which the loss is about
equally curved in all directions (a preconditioner: Nocedal and Wright 2006, "Numerical
Optimization", sections 5.1 and 7.2). There it takes a handful of looks at the rows instead of
some forty. Where it ends is the same: the problem is convex.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from itertools import starmap
from typing import Any, cast

import numpy as np
from threadpoolctl import ThreadpoolController

from keshikaran.rows import StandardRows, pieces, raw_pieces
from keshikaran.types import (
    BoolArray,
    Float32Array,
    Float64Array,
    FloatArray,
    LabelArray,
    chunks_of,
)

_Minimizer = Callable[..., Any]

_MAX_ITERATIONS = 5_000
_NEGLIGIBLE = 64 * float(np.finfo(np.float64).eps)  # relative gain of a step
_TALL = 4  # rows for each column, from which curvature is worth its price
_MANY_SEARCHES = 2  # the same where several searches share it
_MANY_LOOKS = 10  # at the rows: the curvature known no longer fits
_LEAST_WEIGHT = 1e-4  # of a row in the curvature, so that no direction is flat
_NEAR = 4.0  # penalties that one root serves: a look more costs less than another root
_SOME = 4
_SHAPE_ROWS = 128_000  # and a hundred a column: more would tell no more of the shape
_SHAPE_RATIO = 100
_ROUNDING = float(np.finfo(np.float32).eps)
_ROWS = 2_048
_CACHED_ROWS = 256  # they stay in a processor's cache for both products


class LogisticRegression:
    """Labelled rows, and the weights that fit them best under any regularisation.

    Keeps what it learned about the loss's shape from one call of `solve` to the next.

    Args:
        x: rows [n, D], float32 for speed or float64 for the last digits; they may be too many to
            hold.
        y: labels 0 or 1, [n].
        counted: bool [n], the rows that are to be fitted; None for all. The others are not copied
            out of the way.
    """

    def __init__(
        self, x: FloatArray | StandardRows, y: LabelArray, counted: BoolArray | None = None
    ) -> None:
        self._x = x
        self._count = len(x) if counted is None else int(np.count_nonzero(counted))
        self._signs: Float64Array = np.where(y == 1, -1.0, 1.0)
        if counted is not None:
            self._signs *= counted  # a row without a side pulls nowhere
        # For the last digits rows are centred before they are added up: a mean can be large.
        self._centre: Float64Array | None = None
        if isinstance(x, StandardRows) and x.dtype == np.float64:
            self._centre = x.mean
        self._minimize = load_minimizer()
        self._tall = len(x) >= _TALL * x.shape[1]
        self._curvature: Float64Array | None = None
        self._whole = False
        self._root: Float64Array | None = None
        self._known = 1.0  # strength of the penalty in it
        self._gradient: Float64Array = np.empty(0)
        self._looks = 0

    def solve(
        self, c: float, start: Float64Array, tolerance: float, shape: Float64Array | None = None
    ) -> Float64Array:
        """Minimise ½|w|² + c · Σ log-loss, divided by c · n so that the tolerance fits any n and c.

        Args:
            c: inverse regularisation strength.
            start: weights and bias to start from, float64 [D + 1]. The bias is not regularised.
            tolerance: ends when no slope is steeper.
            shape: from `shape` of a problem much like this one; it decides how fast the search
                is, not where it ends. None: measured here if that pays.

        Returns:
            Weights and bias, float64 [D + 1].
        """
        strength = 1.0 / (c * self._count)
        options = {"ftol": _NEGLIGIBLE, "maxiter": _MAX_ITERATIONS, "maxls": 50}
        if shape is not None:
            return self._solve_in(shape, strength, start, tolerance, options)
        if not self._tall:
            self._looks = 0
            found = self._minimize(
                lambda values: self._loss_and_gradient(values, strength),
                start,
                jac=True,
                method="L-BFGS-B",
                options={**options, "gtol": tolerance},
            ).x
            return np.array(found)
        return self._solve_conditioned(strength, start, tolerance, options)

    def _solve_conditioned(
        self, strength: float, start: Float64Array, tolerance: float, options: dict[str, Any]
    ) -> Float64Array:
        """Search with the curvature of this problem, measured anew when it no longer fits."""
        if self._curvature is None or self._looks > _MANY_LOOKS:
            # Without weights all rows count the same, and the penalty is strong: some will do.
            self._whole = bool(start[:-1].any())
            self._curvature = self._measure_curvature(start, 1 if self._whole else _SOME)
            self._root = None
        if self._root is None or max(strength / self._known, self._known / strength) > _NEAR:
            self._root, self._known = _root(self._curvature, strength), strength
        return self._solve_in(self._root, strength, start, tolerance, options)

    def shape(self, c: float, values: Float64Array) -> Float64Array | None:
        """What makes searches near `values` fast, float64 [D + 1, D + 1]; None if nothing does."""
        if len(self._x) < _MANY_SEARCHES * self._x.shape[1]:
            return None
        known = self._curvature if self._whole else None
        curvature = self._measure_curvature(values, 1) if known is None else known
        return _root(curvature, 1.0 / (c * self._count))

    def probabilities(self, values: Float64Array) -> Float64Array:
        """Of label 1 under weights and bias, float64 [n]; as exact as the rows are."""
        weights, bias = self._raw(values)
        found = np.empty(len(self._x))
        for rows, x in self._pieces():
            found[rows] = x @ weights
        return sigmoid(found + bias)

    def _solve_in(
        self,
        root: Float64Array,
        strength: float,
        start: Float64Array,
        tolerance: float,
        options: dict[str, Any],
    ) -> Float64Array:
        """Search in v = Lᵀw, where L Lᵀ is the curvature of the penalised loss."""
        from scipy.linalg import solve_triangular

        def back(values: Float64Array) -> Float64Array:
            result: Float64Array = solve_triangular(
                root, values, lower=True, trans="T", check_finite=False
            )
            return result

        def loss_and_gradient(values: Float64Array) -> tuple[float, Float64Array]:
            loss, gradient = self._loss_and_gradient(back(values), strength)
            return loss, solve_triangular(root, gradient, lower=True, check_finite=False)

        def end_when_flat(_: Float64Array) -> None:
            if np.abs(self._gradient).max() <= tolerance:
                raise StopIteration

        self._looks = 0
        found = self._minimize(
            loss_and_gradient,
            root.T @ start,
            jac=True,
            method="L-BFGS-B",
            callback=end_when_flat,
            options={**options, "gtol": 0.0},
        ).x
        return back(found)

    def _loss_and_gradient(
        self, values: Float64Array, strength: float
    ) -> tuple[float, Float64Array]:
        weights, bias = self._raw(values)

        def part(rows: slice, x: FloatArray) -> tuple[float, FloatArray, float]:
            signs = self._signs[rows]
            margins = signs * ((x @ weights).astype(np.float64) + bias)
            slopes = signs * sigmoid(margins) / self._count
            loss = float(np.logaddexp(0.0, margins).sum())
            return loss, slopes.astype(x.dtype) @ x, float(slopes.sum())

        total, gradient = 0.0, np.zeros(len(values))
        for loss, slope, last in starmap(part, self._pieces()):
            total += loss
            gradient[:-1] += slope
            gradient[-1] += last
        if isinstance(self._x, StandardRows):
            if self._centre is None:
                gradient[:-1] -= gradient[-1] * self._x.mean
            gradient[:-1] /= self._x.scale
        gradient[:-1] += strength * values[:-1]
        self._gradient = gradient
        self._looks += 1
        penalty = 0.5 * strength * float(values[:-1] @ values[:-1])
        return total / self._count + penalty, gradient

    def _raw(self, values: Float64Array) -> tuple[FloatArray, float]:
        """Weights and bias for rows as `_pieces` gives them."""
        weights, bias = values[:-1], float(values[-1])
        if isinstance(self._x, StandardRows):  # moved into the weights: cheaper than into the rows
            weights = weights / self._x.scale
            if self._centre is None:
                bias -= float(self._x.mean @ weights)
        return weights.astype(self._x.dtype), bias

    def _pieces(self) -> Iterator[tuple[slice, FloatArray]]:
        if isinstance(self._x, StandardRows):
            return raw_pieces(self._x.rows, _CACHED_ROWS, self._x.dtype, self._centre)
        return pieces(self._x, _CACHED_ROWS)

    def _measure_curvature(self, values: Float64Array, every: int) -> Float64Array:
        """Second derivatives of the mean log-loss over every so manieth row.

        Products in single precision: a rough shape is enough. Returns float64 [D + 1, D + 1].
        """
        every = max(every, len(self._x) // max(_SHAPE_ROWS, _SHAPE_RATIO * len(values)))
        x = self._x[::every]
        weights, bias = values[:-1].astype(self._x.dtype), values[-1]

        def part(rows: slice) -> Float32Array:
            some = np.asarray(x[rows])
            p = sigmoid((some @ weights).astype(np.float64) + bias)
            heights = np.sqrt(np.maximum(p * (1 - p), _LEAST_WEIGHT)).astype(np.float32)
            weighted = np.empty((len(some), len(values)), dtype=np.float32)
            np.multiply(some, heights[:, None], out=weighted[:, :-1], casting="same_kind")
            weighted[:, -1] = heights
            square: Float32Array = weighted.T @ weighted
            return square

        total = np.zeros((len(values), len(values)))
        with ThreadPoolExecutor(_processors(), thread_name_prefix="keshikaran-fit") as pool:
            for square in pool.map(part, chunks_of(len(x), _ROWS)):  # in order, whoever is first
                total += square
        return total / len(x)


def _root(curvature: Float64Array, strength: float) -> Float64Array:
    """Cholesky's root of the curvature with the penalty's, kept clear of rounding errors.

    In single precision, as the curvature was measured: any triangle near it will do. In double
    where that fails: features that repeat each other leave next to nothing in some directions.
    """
    try:
        return _root_of(curvature.astype(np.float32), strength)
    except np.linalg.LinAlgError:
        return _root_of(curvature.copy(), strength)


def _root_of(whole: FloatArray, strength: float) -> Float64Array:
    """The same in the precision of `whole`, which is overwritten."""
    diagonal = np.einsum("ii->i", whole)
    diagonal += _ROUNDING * diagonal.sum()
    diagonal[:-1] += strength
    root: Float64Array = np.linalg.cholesky(whole).astype(np.float64)
    return root


def one_thread() -> AbstractContextManager[object]:
    """Let the libraries that fit use one processor.

    The work is bound by memory, a second thread was three times slower on two cores, and sums do
    not depend on how many processors there are.
    """
    limit: AbstractContextManager[object] = _threads().limit(limits=1)
    return limit


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _threads() -> ThreadpoolController:
    load_minimizer()  # before: a limit holds for the libraries known by then
    return ThreadpoolController()


def load_minimizer() -> _Minimizer:
    """SciPy's, loaded only by what fits: it takes a third of a second."""
    from scipy.optimize import minimize

    return cast("_Minimizer", minimize)


def sigmoid(logits: Float64Array) -> Float64Array:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(logits))
    result: Float64Array = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return result


def softplus(values: Float64Array) -> Float64Array:
    """ln(1 + exp(x)) without overflow."""
    result: Float64Array = np.logaddexp(0.0, values)
    return result
