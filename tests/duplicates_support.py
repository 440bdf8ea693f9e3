"""Pictures with enough in them to be recognised, and stores that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from keshikaran.alignment import THUMBNAIL, Picture, thumbnail_of
from keshikaran.grouping import GroupingReport
from keshikaran.pixels import PixelSpec, read_pixels
from keshikaran.preparation import featurize_labelled, group_labelled, open_tools
from keshikaran.store import Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import GroupId, ImageId, Progress, SilentProgress
from support import encode


def landscape(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """Soft shapes of all sizes, as photographs have them; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in ((3, 80.0), (6, 60.0), (12, 45.0), (24, 30.0), (48, 20.0)):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        for band in range(3):
            grown = Image.fromarray(noise[:, :, band]).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            total[:, :, band] += strength * np.asarray(grown)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def picture(data: bytes) -> Picture:
    """What comparing sees of an image file."""
    return Picture(thumbnail_of(read_pixels(data, PixelSpec(THUMBNAIL, THUMBNAIL, "pad"))))


def write(folder: Path, name: str, image: Image.Image | bytes) -> Path:
    """One image file in a class folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image if isinstance(image, bytes) else encode(image))
    return path


def group(
    folder: Path, backbone: Path, progress: Progress | None = None
) -> tuple[GroupingReport, Mapping[ImageId, GroupId], dict[str, ImageId]]:
    """Featurize and group a workspace; the report, the groups, and the id of each file name."""
    progress = progress or SilentProgress()
    with open_tools(Workspace(folder), TrainingOptions(backbone=str(backbone))) as tools:
        features = featurize_labelled(tools, progress)
        report = group_labelled(tools, features, progress)
        names = {
            Path(entry).name: image.image_id
            for image in tools.store.labels.images()
            for entry in tools.store.entries_of(image.image_id)
        }
        return report, tools.store.groups.of_images(), names
