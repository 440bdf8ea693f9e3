"""A folder with all that teaching a network needs, so that it can be broken off and gone on with.

`job.json` is written last: where it is, the rest is whole. Pictures lie in plain arrays that are
mapped, not read. Several processes may work from the same folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.errors import BackboneError
from keshikaran.finetune.settings import FinetuneSettings
from keshikaran.hashing import (
    TEMPORARY_PREFIX,
    make_folder,
    sync_directory,
    write_durably,
    write_error,
)
from keshikaran.types import Float64Array, LabelArray, UInt8Array

JOB, PARENT, CHECKPOINT = "job.json", "parent.onnx", "checkpoint.safetensors"
LARGER = 8 / 7
"""Side of the pictures to be cut closer, relative to what the network wants."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        folder: where it lies.
        name: of the network, for messages.
        output: name of the graph output with the features.
        settings: how.
        weights: of the head to begin with, float64 [D].
        bias: of the same.
        train_labels: int8 [n].
        validation_labels: int8 [m].
    """

    folder: Path
    name: str
    output: str
    settings: FinetuneSettings
    weights: Float64Array
    bias: float
    train_labels: LabelArray
    validation_labels: LabelArray

    def parent(self) -> bytes:
        """The network's ONNX file."""
        return (self.folder / PARENT).read_bytes()

    def pictures(self, side: str) -> UInt8Array:
        """Pictures of `train` or `validation`, uint8 [n, H, W, 3], mapped."""
        return read_array(self.folder / f"{side}.npy")

    @property
    def checkpoint(self) -> Path:
        """Where the work stands."""
        return self.folder / CHECKPOINT


def job_key(parts: dict[str, Any]) -> str:
    """Names a job by all that decides its result: 16 hex digits."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_ready(folder: Path) -> bool:
    """Whether all of a job is there."""
    return (folder / JOB).is_file()


def write_job(job: Job, parent: bytes) -> None:
    """Write what is left to write once the pictures are there; the job is ready then.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    stored = {
        "name": job.name,
        "output": job.output,
        "settings": job.settings.to_dict(),
        "weights": job.weights.tolist(),
        "bias": job.bias,
        "train_labels": job.train_labels.tolist(),
        "validation_labels": job.validation_labels.tolist(),
    }
    write_durably(job.folder / PARENT, parent)
    write_durably(job.folder / JOB, json.dumps(stored).encode())


def read_job(folder: Path) -> Job:
    """Read a job that is ready.

    Raises:
        BackboneError: the folder is damaged.
    """
    try:
        stored = json.loads((folder / JOB).read_bytes())
        settings = stored["settings"]
        settings["augment"] = tuple(settings["augment"])
        return Job(
            folder,
            stored["name"],
            stored["output"],
            FinetuneSettings(**settings),
            np.array(stored["weights"], dtype=np.float64),
            float(stored["bias"]),
            np.array(stored["train_labels"], dtype=np.int8),
            np.array(stored["validation_labels"], dtype=np.int8),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(folder / JOB) from error


def damaged(path: Path) -> BackboneError:
    """What is said of a file in a job's folder that cannot be read."""
    msg = f"{path} is damaged: fine-tuning cannot go on from it."
    return BackboneError(msg, f"Delete the folder {path.parent} and run the same command again.")


def write_array(
    path: Path, shape: tuple[int, ...], kind: str, rows: Iterable[np.ndarray[Any, Any]]
) -> None:
    """Write an array piece by piece; a crash leaves all of it or nothing under its name.

    Args:
        path: the file, `.npy`.
        shape: of the whole array.
        kind: of its numbers, as NumPy has it.
        rows: pieces along the first axis, in order.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        make_folder(path.parent)
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(kind), shape=shape)
        place = 0
        for piece in rows:
            array[place : place + len(piece)] = piece
            place += len(piece)
        array.flush()
        del array
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """An array as `write_array` left it, mapped, read-only.

    Raises:
        BackboneError: the file is damaged.
    """
    try:
        found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise damaged(path) from error
    return found


def remove_job(folder: Path) -> None:
    """Give back the space; what was taught is kept elsewhere by now."""
    (folder / JOB).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
