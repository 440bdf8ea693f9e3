"""What scores and features of labelled images look like, so that a server can tell drift by it.

Numbers over many images only; no image can be told from them. A model file carries it, and nobody
vouches for that: reading checks every size and every number.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keshikaran.types import Float32Array, Float64Array, IntArray

VERSION = 1
MOST_DIRECTIONS = 32
MOST_BYTES = 200_000

_MOST_DIM = 65_536
_MOST_BINS = 50
_MOST_IMAGES = 2**40
_MOST = 1e15
_KEYS = {"version", "prevalence", "edges", "dim", "centre", "steps", "directions", "classes"}
_CLASS_KEYS = {"images", "scores", "mean", "covariance"}


@dataclass(frozen=True, slots=True)
class ClassReference:
    """Labelled images of one class that the head was not fitted on.

    Attributes:
        images: how many.
        scores: how many of them in each bin of scores, int64 [B].
        mean: of their coordinates, float64 [k + 1].
        covariance: of the same, float64 [k + 1, k + 1].
    """

    images: int
    scores: IntArray
    mean: Float64Array
    covariance: Float64Array


@dataclass(frozen=True, slots=True)
class DriftReference:
    """Labelled images, summed up.

    Attributes:
        prevalence: share of objectionable images among uploads that scores assume.
        edges: of the bins of scores, ascending, float64 [B - 1].
        centre: mean of the features, float32 [D].
        steps: length of a unit of `directions`, float64 [k].
        directions: principal directions in small whole numbers, int8 [k, D].
        classes: acceptable images, objectionable images.
    """

    prevalence: float
    edges: Float64Array
    centre: Float32Array
    steps: Float64Array
    directions: np.ndarray
    classes: tuple[ClassReference, ClassReference]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; at most 200 kB."""
        return {
            "version": VERSION,
            "prevalence": self.prevalence,
            "edges": self.edges.tolist(),
            "dim": len(self.centre),
            "centre": _packed(self.centre, "<f4"),
            "steps": self.steps.tolist(),
            "directions": _packed(self.directions, "i1"),
            "classes": [
                {
                    "images": item.images,
                    "scores": item.scores.tolist(),
                    "mean": item.mean.tolist(),
                    "covariance": _packed(item.covariance, "<f4"),
                }
                for item in self.classes
            ],
        }


class Coordinates:
    """Features → where an image lies among the labelled ones. Thread-safe.

    Args:
        centre: float32 [D].
        steps: float64 [k].
        directions: int8 [k, D].
    """

    def __init__(self, centre: Float32Array, steps: Float64Array, directions: np.ndarray) -> None:
        self._centre = centre
        self._directions = (directions * steps[:, None]).astype(np.float32)

    @classmethod
    def of(cls, reference: DriftReference) -> Coordinates:
        """Those of a reference."""
        return cls(reference.centre, reference.steps, reference.directions)

    def __len__(self) -> int:
        """How many: the directions and the rest."""
        return len(self._directions) + 1

    def __call__(self, features: Float32Array) -> Float64Array:
        """Coordinates along the directions, and the logarithm of what they leave over.

        Args:
            features: float32 [n, D].

        Returns:
            float64 [n, k + 1].
        """
        off = features - self._centre
        along = (off @ self._directions.T).astype(np.float64)
        whole = np.einsum("nd,nd->n", off, off, dtype=np.float64)
        rest = np.maximum(whole - (along**2).sum(axis=1), 1e-6 * whole + 1e-12)
        return np.column_stack([along, np.log(rest)])


def reference_of(raw: dict[str, Any]) -> DriftReference:
    """Read what `DriftReference.to_dict` gave.

    Raises:
        ValueError: anything is missing, of the wrong type or size, or no number that can be.
    """
    _require(set(raw) == _KEYS and raw["version"] == VERSION, "other keys or another version")
    dim = raw["dim"]
    _require(_is_whole(dim, 1, _MOST_DIM), "bad dim")
    edges = _numbers(raw["edges"], 0, _MOST_BINS - 1, "edges")
    _require(bool((np.diff(edges) > 0).all()), "edges do not ascend")
    steps = _numbers(raw["steps"], 1, MOST_DIRECTIONS, "steps")
    _require(bool((steps > 0).all()), "a step is not positive")
    prevalence = _numbers([raw["prevalence"]], 1, 1, "prevalence")[0]
    _require(0 <= prevalence <= 1, "bad prevalence")
    classes = raw["classes"]
    _require(isinstance(classes, list) and len(classes) == 2, "not two classes")
    return DriftReference(
        prevalence=float(prevalence),
        edges=edges,
        centre=_unpacked(raw["centre"], "<f4", (dim,), "centre").astype(np.float32),
        steps=steps,
        directions=_unpacked(raw["directions"], "i1", (len(steps), dim), "directions"),
        classes=(
            _class_of(classes[0], len(edges) + 1, len(steps) + 1),
            _class_of(classes[1], len(edges) + 1, len(steps) + 1),
        ),
    )


def _class_of(raw: object, bins: int, size: int) -> ClassReference:
    if not isinstance(raw, dict) or set(raw) != _CLASS_KEYS:
        msg = "a class has other keys"
        raise ValueError(msg)
    images, counts = raw["images"], raw["scores"]
    _require(_is_whole(images, 2, _MOST_IMAGES), "bad number of images")
    _require(isinstance(counts, list) and len(counts) == bins, "bad scores")
    _require(all(_is_whole(count, 0, images) for count in counts), "bad scores")
    _require(sum(counts) == images, "scores of more or fewer images")
    covariance = _unpacked(raw["covariance"], "<f4", (size, size), "covariance").astype(np.float64)
    _require(bool((np.diag(covariance) > 0).all()), "a variance is not positive")
    covariance = (covariance + covariance.T) / 2
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        msg = "the covariance is none"
        raise ValueError(msg) from error
    return ClassReference(
        images, np.array(counts, np.int64), _numbers(raw["mean"], size, size, "mean"), covariance
    )


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _unpacked(text: object, kind: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    size = math.prod(shape) * np.dtype(kind).itemsize
    _require(isinstance(text, str) and len(text) == 4 * math.ceil(size / 3), f"bad {name}")
    try:
        data = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"bad {name}"
        raise ValueError(msg) from error
    _require(len(data) == size, f"bad {name}")
    values = np.frombuffer(data, dtype=kind).reshape(shape)
    _require(bool(np.isfinite(values).all()), f"{name} is not finite")
    _require(bool((np.abs(values.astype(np.float64)) < _MOST).all()), f"{name} is too large")
    return values


def _numbers(raw: object, least: int, most: int, name: str) -> Float64Array:
    fits = isinstance(raw, list) and least <= len(raw) <= most
    if not isinstance(raw, list) or not fits or not all(map(_is_number, raw)):
        msg = f"bad {name}"
        raise ValueError(msg)
    return np.array(raw, dtype=np.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _require(fits: bool, words: str) -> None:
    if not fits:
        raise ValueError(words)
