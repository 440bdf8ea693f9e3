"""Which processor teaches, in which arithmetic, and with how many others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed

from keshikaran.errors import BackboneError

DEVICES = ("auto", "cpu", "cuda", "mps")
_CPU_WITH_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
_WAIT = timedelta(days=7)  # others wait while the first one imports and decodes


def choose_device(wanted: str, local_rank: int = 0) -> Any:  # noqa: ANN401
    """The device to use.

    Raises:
        BackboneError: it is not there.
    """
    has = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "mps", "cpu") if has[name])
    if not has.get(wanted, False):
        msg = f"torch sees no device {wanted} here."
        there = ", ".join(name for name in has if has[name])
        raise BackboneError(msg, f"Use --device auto, or what is there: {there}.")
    # What is judged and compared is in full single precision, and comes out the same again.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda", local_rank) if wanted == "cuda" else torch.device(wanted)


def device_words(device: Any) -> str:  # noqa: ANN401
    """What it is, for people."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}"
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def mixed_precision(device: Any) -> bool:  # noqa: ANN401
    """Whether convolutions and products run in bfloat16: where the processor is built for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not _CPU_WITH_BF16.isdisjoint(words)


class Ranks:
    """The processes that work together under `torchrun`; one alone where there is none."""

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.local = int(os.environ.get("LOCAL_RANK", "0"))

    def join(self, device: Any) -> None:  # noqa: ANN401
        """Wait until all are there."""
        if self.world > 1 and not distributed.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)
            backend = "nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_WAIT)

    def leave(self) -> None:
        """Part."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Until all have come so far."""
        if self.world > 1:
            distributed.barrier()

    def add_up(self, tensors: Iterable[Any]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.world > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)

    def tell(self, text: str, device: Any) -> str:  # noqa: ANN401
        """What the first process says, to all."""
        if self.world == 1:
            return text
        size = torch.tensor([len(text.encode())], device=device)
        distributed.broadcast(size, 0)
        letters = torch.zeros(int(size), dtype=torch.uint8, device=device)
        if self.rank == 0:
            letters.copy_(torch.tensor(list(text.encode()), dtype=torch.uint8))
        distributed.broadcast(letters, 0)
        return bytes(letters.cpu().tolist()).decode()
