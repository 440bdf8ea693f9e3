"""One small interface over everything that gives a score."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from keshikaran.comparison import Scale
from keshikaran.store import RivalScore
from keshikaran.types import ImageId


@dataclass(frozen=True, slots=True)
class RivalCard:
    """What a rival says about itself.

    Attributes:
        name: what it is called in tables.
        version: with its name, decides what it says of an image.
        licence: of its package and network.
        scale: whether its scores are meant as probabilities.
        meaning: what its score is, in words.
        cached: whether its scores are worth keeping.
    """

    name: str
    version: str
    licence: str
    scale: Scale
    meaning: str
    cached: bool = True


class Rival(Protocol):
    """Something that gives scores.

    Attributes:
        card: what it says about itself.
    """

    @property
    def card(self) -> RivalCard:
        """What it says about itself."""

    def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
        """What it says of each stored image, in order, as it comes to know it.

        An image that it cannot score is a result too. Leaving the loop early stops the work.
        """

    def notes(self) -> tuple[str, ...]:
        """What a person should know about the scores given so far, in sentences."""

    def close(self) -> None:
        """Give back what it holds; it cannot score afterwards."""
