"""What decides the features of an image, apart from the image."""

from __future__ import annotations

from dataclasses import dataclass

from keshikaran.pixels import PIXEL_CONTRACT_VERSION, ResizeMode
from keshikaran.types import Precision


@dataclass(frozen=True, slots=True)
class FeatureRecipe:
    """How features were computed. Only features of one recipe can be compared.

    Attributes:
        backbone_digest: SHA-256 of the network's file.
        precision: arithmetic it ran in.
        resize_mode: how images got its shape.
        pixel_contract: version of the decoding rules.
    """

    backbone_digest: str
    precision: Precision
    resize_mode: ResizeMode
    pixel_contract: int = PIXEL_CONTRACT_VERSION
