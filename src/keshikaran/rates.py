"""How fast decoding and inferring go by themselves, and what bounds both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rates:
    """Measured on the first few hundred images, one after the other.

    Attributes:
        decode_per_s: images a second that all usable processors read and decode.
        infer_per_s: images a second that the network answers, with nothing else going on.
        images: how many were looked at.
        device: where the network ran.
        precision: the arithmetic it ran in.
    """

    decode_per_s: float
    infer_per_s: float
    images: int
    device: str
    precision: str

    @property
    def bound_per_s(self) -> float:
        """What no arrangement of the work can exceed, images a second.

        A card works beside the processors, so the slower of the two bounds; on the processor both
        share it: 1 / (1 / decode + 1 / infer).
        """
        if self.device != "cpu":
            return min(self.decode_per_s, self.infer_per_s)
        return 1.0 / (1.0 / self.decode_per_s + 1.0 / self.infer_per_s)

    def __str__(self) -> str:
        """As it stands beside a rate that was reached."""
        return (
            f"bound {self.bound_per_s:,.0f} (decode {self.decode_per_s:,.0f},"
            f" inference {self.infer_per_s:,.0f} on {self.device} in {self.precision})"
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "images_per_s": round(self.bound_per_s, 2),
            "decode_per_s": round(self.decode_per_s, 2),
            "infer_per_s": round(self.infer_per_s, 2),
            "device": self.device,
            "precision": self.precision,
        }
