"""Networks that were fine-tuned, and the images that taught them.

Such a network knows its images' labels: scores of these say nothing about it. Its ONNX file says
that it was taught; the list of images lies beside it, since it is nobody's business where only the
network goes. Images are known by their bytes, whatever workspace they are in.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx

from keshikaran.backbones.registered import backbones_folder
from keshikaran.backbones.registry import Backbone
from keshikaran.errors import BackboneError
from keshikaran.hashing import write_durably
from keshikaran.types import ImageId

METADATA_KEY = "finetuned"
"""Under which an ONNX file says what it was taught from, and how."""

_ID_LENGTH = 64


def teaching_of(backbone: Backbone) -> dict[str, Any] | None:
    """How a network was taught; None for one that was not."""
    notes = {p.key: p.value for p in onnx.load_model_from_string(backbone.model).metadata_props}
    if METADATA_KEY not in notes:
        return None
    try:
        found = json.loads(notes[METADATA_KEY])
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def write_taught(name: str, image_ids: Collection[ImageId]) -> None:
    """Note which images taught a network that is about to be registered.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_durably(_path(name), "".join(f"{one}\n" for one in sorted(image_ids)).encode())


def taught_images(backbone: Backbone) -> frozenset[ImageId]:
    """The images that taught a network; none where it was not taught.

    Raises:
        BackboneError: it was taught, and the list of its images is gone or damaged.
    """
    if teaching_of(backbone) is None:
        return frozenset()
    path = _path(backbone.name)
    hint = "Fine-tune it again here: keshikaran train --finetune"
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, ValueError) as error:
        msg = f"{backbone.name} was fine-tuned, and the list of its images, {path}, is not there."
        raise BackboneError(msg, hint) from error
    if not lines or any(len(line) != _ID_LENGTH for line in lines):
        msg = f"{path} is no list of images."
        raise BackboneError(msg, hint)
    return frozenset(map(ImageId, lines))


def _path(name: str) -> Path:
    return backbones_folder() / f"{name}.taught"
