"""Options of fine-tuning, and what they come to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated

import typer

from keshikaran.backbones import Device
from keshikaran.errors import UsageError
from keshikaran.finetune import AUGMENTATIONS, Augmentation, FinetuneSettings, need_finetuning


class TaughtBlocks(StrEnum):
    """Which part of the network is taught."""

    LAST = "last"
    ALL = "all"


class Change(StrEnum):
    """How pictures are changed from one epoch to the next."""

    CROP = "crop"
    FLIP = "flip"
    COLOUR = "colour"
    NONE = "none"


@dataclass(frozen=True)
class FinetuneOptions:
    """The options, as they were typed."""

    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune", help="Teach the backbone itself, too: minutes instead of seconds."
        ),
    ] = False
    blocks: Annotated[
        TaughtBlocks | None,
        typer.Option(
            help="Fine-tuning: the last third of the network (default), or all of it.",
            show_default=False,
        ),
    ] = None
    augment: Annotated[
        list[Change] | None,
        typer.Option(
            "--augment",
            help="Fine-tuning: how pictures vary; repeat for several. Default: crop, flip, colour.",
            show_default=False,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Fine-tuning: at most so many. Default: 10.", show_default=False
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Fine-tuning: of order and augmentation. Default: 0.", show_default=False
        ),
    ] = None

    def chosen(self, device: Device) -> FinetuneSettings | None:
        """What the options ask for; None without `--finetune`.

        Args:
            device: that of all networks; TensorRT only infers, on a card that torch can teach on.

        Raises:
            UsageError: an option would change nothing, or two contradict each other.
            MissingExtraError: torch is not installed.
        """
        if not self.finetune:
            self._refuse_without_effect()
            return None
        need_finetuning()
        usual = FinetuneSettings()
        return FinetuneSettings(
            blocks=usual.blocks if self.blocks is None else self.blocks.value,
            augment=_augmentations(self.augment),
            epochs=usual.epochs if self.epochs is None else self.epochs,
            seed=usual.seed if self.seed is None else self.seed,
            device="cuda" if device == "tensorrt" else device,
        )

    def _refuse_without_effect(self) -> None:
        for each in fields(self)[1:]:
            if getattr(self, each.name) not in (None, []):
                msg = f"--{each.name} changes nothing without --finetune."
                raise UsageError(msg, "Leave it out, or add --finetune.")


def _augmentations(chosen: Sequence[Change] | None) -> tuple[Augmentation, ...]:
    if not chosen:
        return AUGMENTATIONS
    if Change.NONE in chosen and len(set(chosen)) > 1:
        msg = "--augment none contradicts the others."
        raise UsageError(msg, "Leave it out, or leave them out.")
    return tuple(one for one in AUGMENTATIONS if one in {change.value for change in chosen})


def follows(settings: FinetuneSettings | None) -> bool:
    """Whether this is one of the other processes of a `torchrun`: it only helps to teach.

    Raises:
        UsageError: `torchrun` without `--finetune`.
        BackboneError: what it was to teach cannot be taught.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    if settings is None:
        msg = "torchrun starts several processes, and only --finetune has work for them."
        raise UsageError(msg, "Run keshikaran without torchrun, or add --finetune.")
    if os.environ.get("RANK", "0") == "0":
        return False
    from keshikaran.finetune.crew import Crew

    with Crew(settings.device) as crew:
        crew.follow()
    return True
