"""Small pictures of stored images, for pages that people look through."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import make_thumbnail
from keshikaran.preparation import Tools
from keshikaran.types import ImageId, Progress


def make_thumbnails(
    tools: Tools, image_ids: Sequence[ImageId], progress: Progress
) -> dict[ImageId, bytes]:
    """JPEG files of those images that can be decoded.

    Args:
        tools: open.
        image_ids: stored images.
        progress: told of each.
    """
    extensions = tools.store.extension_of(image_ids)
    made: dict[ImageId, bytes] = {}
    with progress.task("thumbnails", len(image_ids)) as task:
        for image_id in image_ids:
            with suppress(ImageRefusedError):  # damaged since its features were computed
                data = tools.store.blobs.read(image_id, extensions[image_id])
                made[image_id] = make_thumbnail(tools.decoder, data)
            task.advance()
    return made
