"""Which frames of an animation, and which pages of a document, are looked at."""

from __future__ import annotations


def sampled(frames: int, most: int) -> list[int]:
    """Numbers of the frames to score: first, last, and evenly spaced ones between.

    Args:
        frames: how many there are, at least 1.
        most: how many to look at; 1 takes the first alone.

    Returns:
        Ascending numbers from 0; all of them where there are no more than `most`.
    """
    if frames <= most:
        return list(range(frames))
    if most <= 1:
        return [0]
    gaps = most - 1
    return [(number * (frames - 1) + gaps // 2) // gaps for number in range(most)]
