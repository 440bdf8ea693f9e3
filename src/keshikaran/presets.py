"""What `--preset` stands for: chosen on the curve in docs/presets.md.

`benchmarks/presets.py` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from keshikaran.backbones import DEFAULT_BACKBONE, Backbone, known_names, load_backbone
from keshikaran.errors import BackboneError
from keshikaran.pixels import ResizeMode

Preset = Literal["fast", "balanced", "accurate"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

LITE1 = "efficientnet-lite1"


@dataclass(frozen=True, slots=True)
class PartName:
    """A network, and how pictures get its shape.

    Attributes:
        backbone: its name.
        resize_mode: see `ResizeMode`.
    """

    backbone: str
    resize_mode: ResizeMode


PARTS: dict[Preset, tuple[PartName, ...]] = {
    "fast": (PartName(DEFAULT_BACKBONE, "crop"),),
    "balanced": (PartName(DEFAULT_BACKBONE, "crop"), PartName(DEFAULT_BACKBONE, "stretch")),
    "accurate": (PartName(DEFAULT_BACKBONE, "crop"), PartName(LITE1, "crop")),
}
"""What the features of each preset are made of; all begin with those of `fast`."""


def load_backbones(preset: Preset) -> list[Backbone]:
    """The networks of a preset's parts.

    Raises:
        BackboneError: one of them has not been added yet.
    """
    names = [part.backbone for part in PARTS[preset]]
    missing = next((name for name in names if name not in known_names()), None)
    if missing is not None:
        msg = f"The preset {preset} needs the backbone {missing}, which was not added yet."
        raise BackboneError(msg, f"Run: keshikaran backbone add package:{missing}")
    return [load_backbone(name) for name in names]
