"""What test images have in common, gathered: from the catalogue, and by a look at their pixels.

Whether a picture has colour is in no header: a grey photograph is often stored as RGB. So test
images are decoded once more, small, and what was seen is kept beside the features.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keshikaran.errors import PASSING_REASONS, ImageRefusedError
from keshikaran.pixels import Decoder, PixelSpec
from keshikaran.slices import ImageTraits
from keshikaran.store import FeatureCache, Look, Store
from keshikaran.types import ImageId, Progress, SilentProgress, UInt8Array

_SPEC = PixelSpec(64, 64)
_COLOUR = 12
_COLOURED_SHARE = 0.01


def read_traits(
    store: Store,
    cache: FeatureCache,
    decoder: Decoder,
    image_ids: Sequence[ImageId],
    progress: Progress | None = None,
) -> list[ImageTraits]:
    """What is known of stored images; those never looked at are decoded, once.

    Args:
        store: where the images are.
        cache: where it is kept what they look like.
        decoder: turns image files into pixels.
        image_ids: the images, [n].
        progress: told of each that is decoded.

    Returns:
        Their traits, [n].

    Raises:
        StoreError: the workspace cannot be read or written.
    """
    known = store.traits.of_images(image_ids)
    places = store.places_of(image_ids)
    looks = _looks(store, cache, decoder, image_ids, progress or SilentProgress())
    return [
        ImageTraits(
            format=known[image_id].format,
            width=known[image_id].width,
            height=known[image_id].height,
            frames=looks[image_id].frames,
            greyscale=looks[image_id].greyscale,
            source=next(iter(places[image_id]), "").rpartition("/")[0],
            labelled_on=known[image_id].labelled_on,
        )
        for image_id in image_ids
    ]


def is_greyscale(view: UInt8Array) -> bool:
    """Whether red, green and blue agree, but for noise of a lossy format.

    Args:
        view: uint8 [H, W, 3].

    Returns:
        Whether they are within 12 of 255 of each other in 99 of 100 pixels.
    """
    red, green, blue = (view[:, :, band] for band in range(3))
    highest = np.maximum(np.maximum(red, green), blue)  # ten times faster than `max(axis=2)`
    spread = highest - np.minimum(np.minimum(red, green), blue)
    return float(np.mean(spread > _COLOUR)) < _COLOURED_SHARE


def _looks(
    store: Store,
    cache: FeatureCache,
    decoder: Decoder,
    image_ids: Sequence[ImageId],
    progress: Progress,
) -> dict[ImageId, Look]:
    known = cache.looks.read(image_ids)
    missing = [image_id for image_id in image_ids if image_id not in known]
    if not missing:
        return known
    extensions = store.extension_of(missing)

    def look(image_id: ImageId) -> tuple[Look, bool]:
        """What it looks like, and whether that is worth keeping."""
        try:
            file = store.blobs.read(image_id, extensions[image_id])
            decoded = decoder.decode(file, _SPEC)
        except ImageRefusedError as refusal:
            return Look(), refusal.reason not in PASSING_REASONS
        return Look(decoded.frames_total, is_greyscale(decoded.views[0])), True

    found: dict[ImageId, Look] = {}
    lasting: dict[ImageId, Look] = {}
    with (
        progress.task("look at test images", len(missing)) as task,
        ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="keshikaran-look") as pool,
    ):
        for image_id, (seen, lasts) in zip(missing, pool.map(look, missing), strict=True):
            found[image_id] = seen
            if lasts:
                lasting[image_id] = seen
            task.advance()
    cache.looks.put(lasting)
    return known | found
