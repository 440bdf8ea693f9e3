"""Small pictures of stored images, for pages that people look through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import Thumbnail, make_small
from keshikaran.preparation import Tools
from keshikaran.types import ImageId, Progress, SilentProgress

_THREADS = 4


def make_thumbnails(
    tools: Tools, image_ids: Sequence[ImageId], progress: Progress
) -> dict[ImageId, bytes]:
    """JPEG files of those images that can be decoded.

    Args:
        tools: open.
        image_ids: stored images.
        progress: told of each.
    """
    made = thumbnail_maker(tools, image_ids, progress)()
    return {image_id: thumbnail.file for image_id, thumbnail in made.items()}


def thumbnail_maker(
    tools: Tools, image_ids: Sequence[ImageId], progress: Progress | None = None
) -> Callable[[], dict[ImageId, Thumbnail]]:
    """Read the catalogue now; what comes back makes the pictures, in any thread."""
    extensions = tools.store.extension_of(image_ids)
    told = progress or SilentProgress()

    def one(image_id: ImageId) -> Thumbnail | None:
        try:
            data = tools.store.blobs.read(image_id, extensions[image_id])
            return make_small(tools.decoder, data)
        except ImageRefusedError:  # damaged since its features were computed
            return None

    def all_of_them() -> dict[ImageId, Thumbnail]:
        made: dict[ImageId, Thumbnail] = {}
        with told.task("thumbnails", len(image_ids)) as task, ThreadPoolExecutor(_THREADS) as pool:
            for image_id, thumbnail in zip(image_ids, pool.map(one, image_ids), strict=True):
                if thumbnail is not None:
                    made[image_id] = thumbnail
                task.advance()
        return made

    return all_of_them
