"""Error by number of labels, as a power law that goes on where measuring ends.

Error falls about as a power of the number of labels: error = a + b · labels^-c (Cortes et al. 1993,
"Learning Curves: Asymptotic Values and Rate of Convergence"; Figueroa et al. 2012, "Predicting
sample size required for classification performance").
"""

from __future__ import annotations

import numpy as np

from keshikaran.types import Float64Array, IntArray

_POWERS = np.linspace(0.1, 1.5, 15)


def extrapolated(sizes: IntArray, errors: Float64Array, ahead: Float64Array) -> Float64Array:
    """Errors at other sizes by the curve that fits best, each column by its own.

    Args:
        sizes: numbers of labels, ascending, [S]; the larger ones count more.
        errors: float64 [S, B], each at least 0.
        ahead: other sizes, float64 [A].

    Returns:
        Float64 [A, B].
    """
    best = np.full(errors.shape[1], np.inf)
    result = np.empty((len(ahead), errors.shape[1]))
    weights = sizes / sizes.sum()
    for power in _POWERS:
        x = (sizes / sizes[-1]) ** -power
        level, slope = _line(x, errors, weights)
        misfit = weights @ (errors - level - np.outer(x, slope)) ** 2
        better = misfit < best
        best[better] = misfit[better]
        reach = (ahead / sizes[-1]) ** -power
        result[:, better] = (level + np.outer(reach, slope))[:, better]
    return result


def _line(
    x: Float64Array, errors: Float64Array, weights: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Weighted least squares error = level + slope · x, both at least 0."""
    middle, mean = weights @ x, weights @ errors
    lean = (weights * (x - middle)) @ (errors - mean) / (weights @ (x - middle) ** 2)
    slope = np.maximum(0.0, lean)
    level = mean - slope * middle
    steep = level < 0.0
    slope[steep] = ((weights * x) @ errors / (weights @ x**2))[steep]
    level[steep] = 0.0
    return level, slope
