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
from keshikaran.alignment.fine import Laid, lay, refine
from keshikaran.alignment.picture import (
    LEVELS,
    THUMBNAIL,
    TURNS,
    Layer,
    Picture,
    Turn,
    thumbnail_of,
    turned,
)
from keshikaran.alignment.place import Place
from keshikaran.alignment.resample import blurred
from keshikaran.types import Float32Array

RULES = 1
"""Version of all that decides whether two pictures are copies."""

_BEGUN = 3
_FOLLOWED = 1
_BLOCKS = (4, 8, 16)
_EDGE = 2
_WORTH_MORE = 0.6
_LEAST_BLOCKS = 6
_BLOCK_AGREES = 0.6
_TEXTURE = 2.0

LEAST_AGREEMENT = 0.72
LEAST_SIMILARITY = 0.88


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
    for place, turn, other in _likely(first, second, turns)[:_FOLLOWED]:
        found = _follow(first, other, place, turn)
        if found is not None and (best is None or found.similarity > best.similarity):
            best = found
        if best is not None and is_copy(best):
            break
    return best


def _likely(
    first: Picture, second: Picture, turns: Iterable[Turn]
) -> list[tuple[Place, Turn, Picture]]:
    """Places in pictures of the smallest level, the one that looks best first."""
    begun = [
        (start, turn, other)
        for turn in turns
        for other in (second.turned(turn),)
        for start in starts(first, other)
    ]
    begun.sort(key=lambda one: -one[0].correlation)
    ranked = []
    for start, turn, other in begun[:_BEGUN]:
        a, b = first.layer(0), other.layer(0)
        place = refine(a, b, start, 0)
        if place is not None:
            laid = lay(a, b, place)
            ranked.append((_likeness(laid), (place, turn, other)))
    return [one for _, one in sorted(ranked, key=lambda pair: -pair[0])]


def _likeness(laid: Laid) -> float:
    """Correlation of all that changes fast."""
    a, b = (_high_passed(grey, _BLOCKS[0]).ravel() for grey in (laid.first, laid.second))
    return float(a @ b / np.sqrt(max(float(a @ a) * float(b @ b), 1e-3)))


def _follow(first: Picture, second: Picture, start: Place, turn: Turn) -> Evidence | None:
    """Refine a place as long as it is promising, and judge there."""
    place: Place | None = start
    evidence = None
    for level in range(1, len(LEVELS)):
        a, b = first.layer(level), second.layer(level)
        place = refine(a, b, place, level)
        if place is None:
            return None
        evidence = _judge(a, b, place, turn, _BLOCKS[level])
        if evidence is None or evidence.similarity < _WORTH_MORE:
            return evidence
    return evidence


def _judge(a: Layer, b: Layer, place: Place, turn: Turn, block: int) -> Evidence | None:
    laid = lay(a, b, place)
    values = _correlations(
        _blocks(_high_passed(laid.first, block), block),
        _blocks(_high_passed(laid.second, block), block),
    )
    if len(values) < _LEAST_BLOCKS:
        return None
    smaller = min(a.grey.size, b.grey.size * place.scale**2)
    return Evidence(
        turn,
        float(place.scale),
        min(1.0, float(laid.first.size / smaller)),
        float((values > _BLOCK_AGREES).mean()),
        float(np.median(values)),
    )


def _high_passed(grey: Float32Array, block: int) -> Float32Array:
    """Without what changes slowly, and without the edge, where resizing mixes in its outside."""
    result: Float32Array = (grey - blurred(grey, block / 4))[_EDGE:-_EDGE, _EDGE:-_EDGE]
    return result


def _correlations(a: Float32Array, b: Float32Array) -> Float32Array:
    """Correlation of each pair of blocks that have texture."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    power_a, power_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
    textured = np.maximum(power_a, power_b) > _TEXTURE * a.shape[1]
    result: Float32Array = (a * b).sum(axis=1) / np.sqrt(np.maximum(power_a * power_b, 1e-3))
    return result[textured]


def _blocks(values: Float32Array, side: int) -> Float32Array:
    """Square blocks of a picture as rows, [blocks, side x side]; what is left over is dropped."""
    down, across = (n // side for n in values.shape)
    cut = values[: down * side, : across * side].reshape(down, side, across, side)
    return cut.swapaxes(1, 2).reshape(down * across, side * side)


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
