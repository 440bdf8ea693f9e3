"""How workers work."""

from __future__ import annotations

from dataclasses import dataclass

from keshikaran.backbones import EngineName
from keshikaran.backbones.devices import Device
from keshikaran.pixels import ImageFormat, Limits, ResizeMode
from keshikaran.types import Precision
from keshikaran.version import __version__


@dataclass(frozen=True, slots=True)
class Settings:
    """How workers work; the same for all of them.

    Attributes:
        shards: where shards go.
        engine: what runs the network; never `auto`, since another engine sums in another order.
        device: where it runs; never `auto`.
        precision: arithmetic of the network.
        streams: images inferred side by side by a worker, each on one processor.
        formats: kinds of file that are accepted.
        height: rows the network wants; of features.
        width: columns it wants; of features.
        resize_mode: how images get its shape; of features.
        output: its output that holds features; empty where predictions are wanted.
        dim: D, of features.
        version: of this package where the work is given out.
    """

    shards: str
    engine: EngineName
    device: Device
    precision: Precision
    streams: int
    formats: tuple[ImageFormat, ...]
    height: int = 0
    width: int = 0
    resize_mode: ResizeMode = "crop"
    output: str = ""
    dim: int = 0
    version: str = __version__

    @property
    def limits(self) -> Limits:
        """What an image file may ask for."""
        return Limits(formats=frozenset(self.formats))
