"""Are two pictures copies of one photograph? Judged on pixels.

`coarse` finds where one small picture might lie on the other, `fine` lays it there exactly, and
here the two are compared block by block. Two photographs of one scene agree in some blocks; two
copies of one photograph agree in nearly all that were not painted over. numpy only: serving a
model may ask this question too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keshikaran.alignment.coarse import starts
from keshikaran.alignment.fine import Laid, lay
from keshikaran.alignment.picture import (
    THUMBNAIL,
    TURNS,
    Picture,
    Turn,
    high_passed,
    thumbnail_of,
    turned,
)

RULES = 1
"""Version of all that decides whether two pictures are copies."""

_BLOCK = 16
_LEAST_BLOCKS = 6
_BLOCK_AGREES = 0.6
_TEXTURE = 2.0

LEAST_AGREEMENT = 0.8
LEAST_SIMILARITY = 0.9


@dataclass(frozen=True, slots=True)
class Evidence:
    """How well two pictures lie on each other.

    Attributes:
        turn: how the second must be turned to lie on the first.
        scale: size of the second in the first's frame, both shown with the same longer side.
        overlap: share of the smaller picture that both show, in [0, 1].
        agreement: share of the compared blocks that correlate, in [0, 1].
        similarity: the blocks' median correlation, in [-1, 1].
    """

    turn: Turn
    scale: float
    overlap: float
    agreement: float
    similarity: float


def is_copy(evidence: Evidence) -> bool:
    """Whether two pictures are copies of one photograph."""
    return evidence.agreement >= LEAST_AGREEMENT and evidence.similarity >= LEAST_SIMILARITY


def compare(first: Picture, second: Picture, turns: Iterable[Turn]) -> Evidence | None:
    """Lay the second picture on the first, turned as named, and compare.

    Args:
        first: the picture that stays.
        second: the picture that is turned, scaled and shifted.
        turns: the turns to try.

    Returns:
        The best evidence found; None if they do not lie on each other at all, or have too
        little in them to tell.
    """
    best: Evidence | None = None
    for turn in turns:
        other = second.turned(turn)
        for start in starts(first, other):
            laid = lay(first, other, start)
            found = None if laid is None else _judge(first, other, laid, turn)
            if found is not None and (best is None or found.similarity > best.similarity):
                best = found
            if best is not None and is_copy(best):
                return best
    return best


def _judge(first: Picture, second: Picture, laid: Laid, turn: Turn) -> Evidence | None:
    a, b = high_passed(first.layers[-1].grey), high_passed(laid.pixels)
    whole = _blocks(laid.seen).all(axis=1)
    a, b = _blocks(a)[whole], _blocks(b)[whole]
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    power_a, power_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
    textured = np.maximum(power_a, power_b) > _TEXTURE * _BLOCK * _BLOCK
    if textured.sum() < _LEAST_BLOCKS:
        return None
    products = (a * b).sum(axis=1) / np.sqrt(np.maximum(power_a * power_b, 1e-3))
    values = products[textured]
    smaller = min(first.grey.size, second.grey.size * laid.scale**2)
    return Evidence(
        turn,
        laid.scale,
        min(1.0, float(laid.seen.sum()) / smaller),
        float((values > _BLOCK_AGREES).mean()),
        float(np.median(values)),
    )


def _blocks(values: np.ndarray) -> np.ndarray:
    """Square blocks of a picture as rows, [blocks, side x side]; what is left over is dropped."""
    down, across = (n // _BLOCK for n in values.shape)
    cut = values[: down * _BLOCK, : across * _BLOCK].reshape(down, _BLOCK, across, _BLOCK)
    return cut.swapaxes(1, 2).reshape(down * across, _BLOCK * _BLOCK)


__all__ = [
    "RULES",
    "THUMBNAIL",
    "TURNS",
    "Evidence",
    "Picture",
    "Turn",
    "compare",
    "is_copy",
    "thumbnail_of",
    "turned",
]
