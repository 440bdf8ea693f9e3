"""Pictures with enough in them to be known again, and known images made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from keshikaran.inference import Outputs
from keshikaran.memory import Memory
from keshikaran.recipe import FeatureRecipe
from keshikaran.sketches import sketch_of
from keshikaran.types import Float32Array
from keshikaran.whitening import Index, Whitening
from memory_support import image_ids
from support import FAKE_DIM, encode

KEY = FeatureRecipe("ab" * 32, "f32", "crop", 2)


def scene(seed: int, *, red: bool = True, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """A picture of soft shapes and fine grain, reddish or bluish; each seed another one."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3), dtype=np.float64)
    for side, strength in ((4, 90), (12, 60), (40, 35)):
        patches = rng.uniform(-1, 1, (side, side)).astype(np.float32)
        layer = Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)
        pixels += strength * np.asarray(layer)[:, :, None]
    pixels += (150, 120, 90) if red else (90, 120, 150)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def copies(picture: Image.Image) -> dict[str, bytes]:
    """What uploaders make of a picture."""
    width, height = picture.size
    return {
        "jpeg": encode(picture, "JPEG", quality=50),
        "half": encode(picture.resize((width // 2, height // 2)), "JPEG", quality=90),
        "crop": encode(picture.crop((8, 6, width - 8, height - 6)), "JPEG", quality=90),
        "mirror": encode(ImageOps.mirror(picture), "JPEG", quality=90),
        "turned": encode(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90),
    }


def write_scenes(folder: Path, count: int) -> Path:
    """Write `count` scenes each to `folder/red` and `folder/blue`."""
    for name, first in (("red", 0), ("blue", 10_000)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            data = encode(scene(first + number, red=name == "red"), "JPEG", quality=92)
            (folder / name / f"{number:04d}.jpg").write_bytes(data)
    return folder


def allowed_scene(scenes: Path) -> Path:
    """Reddish, which the model blocks, but called acceptable."""
    return scenes / "red" / "0003.jpg"


def banned_scene(scenes: Path) -> Path:
    """Bluish, which the model passes, but called objectionable."""
    return scenes / "blue" / "0005.jpg"


def one_hot(number: int, size: int = FAKE_DIM) -> Float32Array:
    """Features that only one known image has."""
    return np.eye(size, dtype=np.float32)[[number]]


def outputs(features: Float32Array, picture: Image.Image | None = None) -> Outputs:
    """What a network would give for an image; with a picture, its sketch too."""
    sketch = None if picture is None else sketch_of(np.asarray(picture.resize((64, 64))))
    return Outputs({"features": features}, len(features), len(features), sketch)


def memory_of(
    pictures: Sequence[bytes | Image.Image], labels: Sequence[int], **fields: Any
) -> Memory:
    """Known images; the features of the first are `one_hot(0)`, and so on."""
    count = len(pictures)
    plain = Whitening(np.zeros(FAKE_DIM, np.float32), np.eye(FAKE_DIM, dtype=np.float32), 0.5)
    values: dict[str, Any] = {
        "key": KEY,
        "image_ids": image_ids(count),
        "labels": np.array(labels, dtype=np.int8),
        "groups": np.arange(count),
        "owners": np.arange(count),
        "features": Index(plain, np.eye(FAKE_DIM, dtype=np.float32)[:count]),
        "sketches": _sketches(pictures),
        "pictures": [
            data if isinstance(data, bytes) else encode(data, "JPEG") for data in pictures
        ],
    }
    return Memory(**{**values, **fields})


def _sketches(pictures: Sequence[bytes | Image.Image]) -> Index:
    """Compared as they are, less their mean brightness."""
    whitening = Whitening(np.full(256, 120, np.float32), np.eye(256, dtype=np.float32), 0.9)
    blank = np.full((16, 16), 120, dtype=np.uint8)
    sketches = [
        blank if isinstance(one, bytes) else sketch_of(np.asarray(one.resize((64, 64))))
        for one in pictures
    ]
    return Index(whitening, whitening.apply(np.array(sketches, np.float32).reshape(-1, 256)))
