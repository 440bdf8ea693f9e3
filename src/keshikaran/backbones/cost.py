"""What an image costs: seconds of inference, several networks measured in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keshikaran.backbones.engine import Engine

_ROUNDS = 7
_LEAST_S = 0.1


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
    the fastest round counts: what slows a round down is never the network.

    Args:
        contenders: what to measure.
        rounds: how often each gets its turn, at least 1.
    """
    calls = [_calls(contender) for contender in contenders]
    found = np.empty((rounds, len(contenders)))
    for turn in range(rounds):
        for number, contender in enumerate(contenders):
            found[turn, number] = _seconds(contender, calls[number]) / calls[number]
    return [1000.0 * float(seconds) for seconds in found.min(axis=0)]


def _calls(contender: Contender) -> int:
    """How many calls make a turn that is long enough to be measured; warms the network up."""
    _seconds(contender, 1)
    return max(1, round(_LEAST_S / max(_seconds(contender, 1), 1e-6)))


def _seconds(contender: Contender, calls: int) -> float:
    pixels = np.random.default_rng(0).integers(
        0, 256, (1, contender.height, contender.width, 3), dtype=np.uint8
    )
    started = time.perf_counter()
    for _ in range(calls):
        contender.engine.infer(pixels)
    return time.perf_counter() - started
