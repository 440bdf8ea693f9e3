"""Copies of stored images, planted under other names and labels; shared with the benchmarks."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store
from keshikaran.types import ImageId, Label, Split

_NAMES: dict[Label, str] = {0: "acceptable", 1: "objectionable"}


def _encoded(picture: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _crop(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 20, height // 40, width - width // 40, height - height // 20))


def _watermark(picture: Image.Image) -> Image.Image:
    marked = picture.copy()
    ImageDraw.Draw(marked).text((marked.width // 8, marked.height // 2), "© example", "white")
    return marked


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg50": lambda picture: _encoded(picture, 50),
    "half": lambda picture: _encoded(picture.resize((picture.width // 2, picture.height // 2))),
    "crop5": lambda picture: _encoded(_crop(picture)),
    "flip": lambda picture: _encoded(ImageOps.mirror(picture)),
    "watermark": lambda picture: _encoded(_watermark(picture)),
    "bright": lambda picture: _encoded(ImageEnhance.Brightness(picture).enhance(1.3)),
}


def some_of(store: Store, side: Split, share: float, seed: int) -> list[ImageId]:
    """A random share of the images on one side, ascending."""
    there = sorted(image_id for image_id, where in store.splits().items() if where == side)
    return sorted(random.Random(seed).sample(there, round(share * len(there))))


def plant(
    store: Store, image_ids: Sequence[ImageId], folder: Path, *, wrong: bool
) -> dict[ImageId, ImageId]:
    """Import a copy of each image under another name, labelled as the image is or as it is not.

    Returns:
        Copy → image.
    """
    labels = {image.image_id: image.label for image in store.labelled_images()}
    planted: dict[ImageId, ImageId] = {}
    for number, (image_id, kind, data) in enumerate(_copies(store, image_ids)):
        label: Label = labels[image_id] if not wrong else (0 if labels[image_id] else 1)
        path = folder / _NAMES[label] / f"repost-{number}-{kind}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        planted[image_id_of(data)] = image_id
    import_source(store, scan_folder(folder, [_NAMES[1]]))
    return planted


def _copies(store: Store, image_ids: Sequence[ImageId]) -> Iterator[tuple[ImageId, str, bytes]]:
    """One kind after the other."""
    extensions = store.extension_of(image_ids)
    kinds = list(COPIES)
    for number, image_id in enumerate(image_ids):
        with Image.open(store.blobs.path_of(image_id, extensions[image_id])) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        kind = kinds[number % len(kinds)]
        yield image_id, kind, COPIES[kind](picture)
