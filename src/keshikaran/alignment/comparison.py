"""Two pictures → how well one lies on the other, block by block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keshikaran.alignment.coarse import starts
from keshikaran.alignment.fine import Laid, lay, refine
from keshikaran.alignment.picture import LEVELS, Layer, Picture, Turn
from keshikaran.alignment.place import Place
from keshikaran.alignment.resample import blurred
from keshikaran.types import Float32Array

_BEGUN, _BEGUN_CLOSELY = 2, 8
_BLOCKS = (4, 8, 16)
_EDGE = 2
_WORTH_MORE, _WORTH_MORE_CLOSELY = 0.6, 0.2
_LEAST_BLOCKS = 12
_LEAST_TEXTURED = 0.35
_BLOCK_AGREES = 0.6
_TEXTURE = 2.0

LEAST_OF_BOTH = 0.75
"""What agreement and similarity must both reach in copies. Different photographs reached 0.73 and
0.83 at once; the next ones 0.67 and 0.79."""

LEAST_OF_ONE = 0.85
"""What one of them must reach. Where noise of the format hides what texture there is, all blocks
agree a little less; where words cover a quarter, the others agree well."""


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
    lower, higher = sorted((evidence.agreement, evidence.similarity))
    return lower >= LEAST_OF_BOTH and higher >= LEAST_OF_ONE


def compare(
    first: Picture, second: Picture, turns: Iterable[Turn], *, closely: bool = False
) -> Evidence | None:
    """Lay the second picture on the first, turned as named, and compare.

    Args:
        first: the picture that stays.
        second: the picture that is turned, scaled and shifted.
        turns: the turns to try.
        closely: begin at more places and give up later, in several times the time; for pairs
            that everything else speaks for.

    Returns:
        The best evidence found; None if they do not lie on each other at all, or have too
        little in them to tell.
    """
    likely = _likely(first, second, turns, _BEGUN_CLOSELY if closely else _BEGUN)
    if likely is None:
        return None
    return _follow(first, *likely, _WORTH_MORE_CLOSELY if closely else _WORTH_MORE)


def _likely(
    first: Picture, second: Picture, turns: Iterable[Turn], most: int
) -> tuple[Picture, Place, Turn] | None:
    """The turned picture and its place that look best at the smallest level."""
    begun = [(start, turn) for turn in turns for start in _starts(first, second, turn)]
    begun.sort(key=lambda one: -one[0].correlation)
    best, result = -1.0, None
    for start, turn in begun[:most]:
        other = second.turned(turn)
        a, b = first.layer(0), other.layer(0)
        place = refine(a, b, start, 0)
        if place is not None:
            likeness = _likeness(lay(a, b, place))
            if likeness > best:
                best, result = likeness, (other, place, turn)
    return result


def _starts(first: Picture, second: Picture, turn: Turn) -> list[Place]:
    """Places to begin at, of the second picture turned."""
    if turn == "mirror":
        return starts(first, second, mirrored=True)
    return starts(first, second.turned(turn))


def _likeness(laid: Laid) -> float:
    """Correlation of all that changes fast."""
    a, b = (_high_passed(grey, _BLOCKS[0]).ravel() for grey in (laid.first, laid.second))
    return float(a @ b / np.sqrt(max(float(a @ a) * float(b @ b), 1e-3)))


def _follow(
    first: Picture, second: Picture, start: Place, turn: Turn, worth_more: float
) -> Evidence | None:
    """Refine a place as long as it is promising, and judge there."""
    place, evidence = start, None
    for level in range(1, len(LEVELS)):
        a, b = first.layer(level), second.layer(level)
        better = refine(a, b, place, level)
        if better is None:
            return None
        place = better
        evidence = _judge(a, b, place, turn, _BLOCKS[level])
        if evidence is None or evidence.similarity < worth_more:
            return evidence
    return evidence


def _judge(a: Layer, b: Layer, place: Place, turn: Turn, block: int) -> Evidence | None:
    laid = lay(a, b, place)
    values = _correlations(
        _blocks(_high_passed(laid.first, block), block),
        _blocks(_high_passed(laid.second, block), block),
    )
    blocks = (laid.first.shape[0] // block) * (laid.first.shape[1] // block)
    if len(values) < max(_LEAST_BLOCKS, _LEAST_TEXTURED * blocks):
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
    passed: Float32Array = grey - blurred(grey, block / 4)
    inner: Float32Array = passed[_EDGE:-_EDGE, _EDGE:-_EDGE]
    return inner


def _correlations(a: Float32Array, b: Float32Array) -> Float32Array:
    """Correlation of each pair of blocks that have texture."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    power_a, power_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
    textured = np.maximum(power_a, power_b) > _TEXTURE * a.shape[1]
    scale = np.sqrt(np.maximum(power_a * power_b, 1e-3))
    result: Float32Array = ((a * b).sum(axis=1) / scale)[textured]
    return result


def _blocks(values: Float32Array, side: int) -> Float32Array:
    """Square blocks of a picture as rows, [blocks, side x side]; what is left over is dropped."""
    down, across = (n // side for n in values.shape)
    cut: Float32Array = values[: down * side, : across * side].reshape(down, side, across, side)
    rows: Float32Array = cut.swapaxes(1, 2).reshape(down * across, side * side)
    return rows
