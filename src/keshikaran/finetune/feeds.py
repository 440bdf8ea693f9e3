"""What is put into the part of a network that is taught: pictures, or what the front makes of them.

Where only the last blocks are taught, the front sees each augmented copy of a picture once, and
what comes out of it is kept on disk; every epoch then takes the next copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from keshikaran.finetune.augment import augmented, draw
from keshikaran.finetune.device import Ranks
from keshikaran.finetune.job import Job, read_array, write_array
from keshikaran.types import Progress, UInt8Array, chunks_of

_AT_ONCE = 32
_MOST_HALF = 65_504.0  # the largest number of float16


class Feed(Protocol):
    """Gives batches of training pictures, and all validation pictures piece by piece."""

    def batch(self, epoch: int, rows: Any) -> Any:  # noqa: ANN401
        """Pictures number `rows` as they look in an epoch: tensor [len(rows), ...]."""

    def validation(self) -> Iterator[Any]:
        """Tensors [k, ...], in order."""


class Pictures:
    """Pictures themselves, augmented anew in each epoch.

    Args:
        job: what is to be done.
        size: rows and columns that the network wants.
        device: where the tensors go.
    """

    def __init__(self, job: Job, size: tuple[int, int], device: Any) -> None:  # noqa: ANN401
        self._settings, self._size, self._device = job.settings, size, device
        self._drawn = (-1, draw(0, 0, 0, ()))
        self._train, self._validation = job.pictures("train"), job.pictures("validation")

    def batch(self, epoch: int, rows: Any) -> Any:  # noqa: ANN401
        """See `Feed`."""
        if self._drawn[0] != epoch:
            wanted = (len(self._train), self._settings.augment)
            self._drawn = (epoch, draw(self._settings.seed, epoch, *wanted))
        images = _tensor(self._train[rows], self._device)
        return augmented(images, self._drawn[1], rows, *self._size)

    def validation(self) -> Iterator[Any]:
        """See `Feed`."""
        for part in chunks_of(len(self._validation), _AT_ONCE):
            yield _tensor(self._validation[part], self._device)


class Kept:
    """What the front makes of augmented copies, from files.

    Args:
        job: what is to be done.
        front: the part of the network that stays as it is.
        size: rows and columns that the network wants.
        device: where the tensors go.
        ranks: each process makes its share of the files.
        progress: told of each copy.
        mixed: whether the front runs in bfloat16.
    """

    def __init__(
        self,
        job: Job,
        front: Any,  # noqa: ANN401
        size: tuple[int, int],
        device: Any,  # noqa: ANN401
        ranks: Ranks,
        progress: Progress,
        *,
        mixed: bool,
    ) -> None:
        self._device = device
        pictures = Pictures(job, size, device)
        copies = min(job.settings.copies, job.settings.epochs) if job.settings.augment else 1
        files = [job.folder / f"kept-{copy}.npy" for copy in range(copies)]
        count = len(job.train_labels)
        with progress.task("front", copies * count) as task:
            for copy, path in enumerate(files):
                if copy % ranks.world == ranks.rank and not path.is_file():
                    rows = (np.arange(count)[part] for part in chunks_of(count, _AT_ONCE))
                    batches = (pictures.batch(copy, some) for some in rows)
                    _write(path, count, front, batches, device, mixed=mixed)
                task.advance(count)
        with torch.inference_mode():
            self._validation = [front(part).cpu() for part in pictures.validation()]
        ranks.wait()
        self._copies = [read_array(path) for path in files]

    def batch(self, epoch: int, rows: Any) -> Any:  # noqa: ANN401
        """See `Feed`."""
        copy = self._copies[(epoch - 1) % len(self._copies)]
        return _tensor(copy[rows], self._device).to(torch.float32)

    def validation(self) -> Iterator[Any]:
        """See `Feed`."""
        for part in self._validation:
            yield part.clone().to(self._device)


def _write(
    path: Path,
    count: int,
    front: Any,  # noqa: ANN401
    batches: Iterator[Any],
    device: Any,  # noqa: ANN401
    *,
    mixed: bool,
) -> None:
    def made() -> Iterator[Any]:
        with torch.inference_mode(), autocast(device, mixed=mixed):
            for images in batches:
                found = front(images).clamp(-_MOST_HALF, _MOST_HALF)
                yield found.to(torch.float16).cpu().numpy()

    pieces = made()
    first = next(pieces)

    def all_of_them() -> Iterator[Any]:
        yield first
        yield from pieces

    write_array(path, (count, *first.shape[1:]), "float16", all_of_them())


def autocast(device: Any, *, mixed: bool) -> Any:  # noqa: ANN401
    """Convolutions and products in bfloat16 inside the block, if that is asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed)


def _tensor(array: UInt8Array, device: Any) -> Any:  # noqa: ANN401
    return torch.from_numpy(np.array(array)).to(device)
