"""Where one picture lies in another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where the second picture lies in the first: row = scale x its row + shift, and so columns.

    Attributes:
        scale: of the second picture.
        down: rows it is shifted by.
        across: columns it is shifted by.
        side: longer side of the pictures that rows and columns count in.
        correlation: in [-1, 1].
    """

    scale: float
    down: float
    across: float
    side: int
    correlation: float = 0.0

    def at(self, side: int) -> Place:
        """The same in pictures of another size."""
        ratio = side / self.side
        return Place(self.scale, self.down * ratio, self.across * ratio, side, self.correlation)
