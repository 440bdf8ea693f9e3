"""What an image costs: seconds of inference, several networks measured in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.backbones.engine import Engine

_ROUNDS = 5
_TURN_S = 0.1


@dataclass(frozen=True, slots=True)
class Contender:
    """A network to measure.

    Attributes:
        engine: it, loaded; with one stream, so that nothing else runs beside it.
        height: rows it wants.
        width: columns it wants.
    """

    engine: Engine
    height: int
    width: int


def ms_per_image(contenders: Sequence[Contender], rounds: int = _ROUNDS) -> list[float]:
    """Milliseconds an image takes in each network, one call after the other.

    The networks take turns, so that a machine that is busy for a while is so for all of them, and
    the fastest call counts: what slows a call down is never the network.

    Args:
        contenders: what to measure.
        rounds: how often each gets its turn, at least 1.
    """
    found = [math.inf] * len(contenders)
    for _ in range(rounds):
        for number, contender in enumerate(contenders):
            found[number] = min(found[number], _fastest_call(contender))
    return [1000.0 * seconds for seconds in found]


def _fastest_call(contender: Contender) -> float:
    """Seconds of the fastest call in one turn, which ends after a moment."""
    shape = (1, contender.height, contender.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    fastest = math.inf
    begun = now = time.perf_counter()
    while now - begun < _TURN_S:
        before = now
        contender.engine.infer(pixels)
        now = time.perf_counter()
        fastest = min(fastest, now - before)
    return fastest
