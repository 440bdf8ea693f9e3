"""What can be chosen about fine-tuning, and what comes of it. Needs no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from keshikaran.errors import MissingExtraError
from keshikaran.types import Progress

Blocks = Literal["last", "all"]
"""Which part of a network is taught."""

Augmentation = Literal["crop", "flip", "colour"]
AUGMENTATIONS: tuple[Augmentation, ...] = ("crop", "flip", "colour")
"""Cut a little closer; mirrored; in other light."""

_NEEDED = ("torch", "safetensors")


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a network is taught. All of it decides the result, but for `device`.

    Attributes:
        blocks: the last third of the network, or all of it.
        augment: how pictures are changed from one epoch to the next.
        epochs: at most so many; the learning rate falls to 0 over them.
        patience: epochs without a lower validation loss after which it ends.
        batch_size: pictures for each step.
        micro_batch: pictures at once; a step adds the gradients of several. 0: all at once.
        learning_rate: size of a step relative to that of the weights.
        warmup: share of all steps over which the learning rate rises.
        weight_decay: of AdamW.
        dropout: share of features left out at each step.
        copies: augmented copies of each picture that are kept where the last blocks are taught.
        seed: of order, augmentation and dropout.
        device: `auto`, or what torch calls it.
    """

    blocks: Blocks = "last"
    augment: tuple[Augmentation, ...] = AUGMENTATIONS
    epochs: int = 10
    patience: int = 3
    batch_size: int = 32
    micro_batch: int = 0
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.2
    copies: int = 4
    seed: int = 0
    device: str = "auto"

    def to_dict(self) -> dict[str, Any]:
        """What decides the result, ready for JSON."""
        found = asdict(self)
        del found["device"]
        return {**found, "augment": list(self.augment)}


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of what goes on.

    Attributes:
        say: told of the device and of each epoch, in words.
        progress: draws bars.
        log: folder for TensorBoard; None writes nothing.
    """

    say: Callable[[str], None]
    progress: Progress
    log: Path | None = None


def need_finetuning() -> None:
    """Refuse early when the packages of the extra are missing.

    Raises:
        MissingExtraError: names the extra.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("Fine-tuning", "torch")
