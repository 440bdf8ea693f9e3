"""Copies of stored images, planted under other names and labels; shared with the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageOps

from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store
from keshikaran.types import ImageId, Label, Split
from transforms import TRANSFORMS

_NAMES: dict[Label, str] = {0: "acceptable", 1: "objectionable"}


def some_of(store: Store, side: Split, share: float, seed: int) -> list[ImageId]:
    """A random share of the images on one side, ascending."""
    there = sorted(image_id for image_id, where in store.splits().items() if where == side)
    return sorted(Random(seed).sample(there, round(share * len(there))))


def plant(
    store: Store,
    image_ids: Sequence[ImageId],
    folder: Path,
    *,
    wrong: bool,
    kinds: Sequence[str] = tuple(TRANSFORMS),
) -> dict[ImageId, ImageId]:
    """Import a copy of each image under another name, labelled as the image is or as it is not.

    Returns:
        Copy → image.
    """
    labels = {image.image_id: image.label for image in store.labels.images()}
    planted: dict[ImageId, ImageId] = {}
    for number, (image_id, kind, data) in enumerate(_copies(store, image_ids, kinds)):
        label: Label = labels[image_id] if not wrong else (0 if labels[image_id] else 1)
        path = folder / _NAMES[label] / f"repost-{number}-{kind}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        planted[image_id_of(data)] = image_id
    import_source(store, scan_folder(folder, [_NAMES[1]]))
    return planted


def _copies(
    store: Store, image_ids: Sequence[ImageId], kinds: Sequence[str]
) -> Iterator[tuple[ImageId, str, bytes]]:
    """One kind after the other."""
    extensions = store.extension_of(image_ids)
    for number, image_id in enumerate(image_ids):
        with Image.open(store.blobs.path_of(image_id, extensions[image_id])) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        kind = kinds[number % len(kinds)]
        yield image_id, kind, TRANSFORMS[kind](picture, Random(number))
