"""Where the work stands, on disk: a file of plain tensors (safetensors), never a pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from keshikaran.finetune.job import damaged
from keshikaran.hashing import write_durably

Tensors = list[Any]
_KINDS = ("weights", "mean", "best", "first_moment", "second_moment")


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """One pass over the training pictures.

    Attributes:
        epoch: counts from 1; 0 is before the first.
        train_loss: mean log-loss in nats of augmented pictures on the way; None before the first.
        validation_loss: log-loss in nats of the averaged weights.
        learning_rate: at its end, relative to the weights.
        seconds: it took.
        images_per_s: pictures taught.
    """

    epoch: int
    train_loss: float | None
    validation_loss: float
    learning_rate: float
    seconds: float
    images_per_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(slots=True)
class State:
    """All that changes while a network is taught.

    Attributes:
        weights: as they are.
        mean: their moving average, which is judged.
        best: the average with the least validation loss.
        first_moment: of AdamW.
        second_moment: of AdamW.
        step: number of steps taken.
        loss: sum of the losses of this epoch's pictures so far.
        seconds: spent in this epoch so far.
        history: of the epochs that are over.
    """

    weights: Tensors
    mean: Tensors
    best: Tensors
    first_moment: Tensors
    second_moment: Tensors
    step: int
    loss: float
    seconds: float
    history: list[EpochFigures]

    @property
    def best_epoch(self) -> EpochFigures:
        """The epoch with the least validation loss; the first of equals."""
        return min(self.history, key=lambda one: one.validation_loss)


def write_checkpoint(path: Path, state: State) -> None:
    """Write it so that a crash leaves the one before or this one.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    tensors = {
        f"{kind}.{number}": tensor.detach().cpu().contiguous().clone()
        for kind in _KINDS
        for number, tensor in enumerate(getattr(state, kind))
    }
    facts = {
        "step": state.step,
        "loss": state.loss,
        "seconds": state.seconds,
        "history": [one.to_dict() for one in state.history],
    }
    write_durably(path, save(tensors, metadata={"facts": json.dumps(facts)}))


def read_checkpoint(path: Path, like: Sequence[Any]) -> State:
    """Read it back.

    Args:
        path: the file.
        like: the weights that it must fit.

    Raises:
        BackboneError: it is damaged or of other weights.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            found = {
                kind: [
                    file.get_tensor(f"{kind}.{i}").to(one.device).reshape(one.shape)
                    for i, one in enumerate(like)
                ]
                for kind in _KINDS
            }
        history = [EpochFigures(**one) for one in facts["history"]]
        parts = {kind: _laid_out(found[kind], like) for kind in _KINDS}
        return State(
            **parts,
            step=facts["step"],
            loss=facts["loss"],
            seconds=facts["seconds"],
            history=history,
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise damaged(path) from error


def _laid_out(found: Tensors, like: Sequence[Any]) -> Tensors:
    return [torch.empty_like(one).copy_(new) for new, one in zip(found, like, strict=True)]
