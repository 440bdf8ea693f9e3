"""Pictures to check a network with: of the workspace if it has some, else the demonstration's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from keshikaran.demo import make_pictures
from keshikaran.errors import ImageRefusedError
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits, PixelSpec
from keshikaran.pixels.isolated import Isolation, open_decoder
from keshikaran.store import Store, Workspace
from keshikaran.types import UInt8Array
from keshikaran.zoo.timm_export import Pictures

COUNT = 8
_TRIED = 3 * COUNT


@contextmanager
def check_pictures(workspace: Workspace, isolation: Isolation = "process") -> Iterator[Pictures]:
    """A function that gives up to eight pictures in the size that a network wants.

    Raises:
        IsolationError: no process can be started to decode images in.
    """
    files = _stored(workspace) or _painted()
    limits = Limits(formats=DEFAULT_LIMITS.formats)
    with closing(open_decoder(isolation, limits)) as decoder:

        def pictures(height: int, width: int) -> UInt8Array:
            return _decoded(files, decoder, PixelSpec(height, width, "crop"))

        yield pictures


def _stored(workspace: Workspace) -> list[bytes]:
    """Files of some stored images, spread over all of them; none where there is no workspace."""
    if not (workspace.folder / "catalogue.sqlite").is_file():
        return []
    with Store(workspace.folder) as store:
        ids = store.image_ids()
        ids = ids[:: max(1, len(ids) // _TRIED)][:_TRIED]
        extensions = store.extension_of(ids)
        found = []
        for image_id in ids:
            try:
                found.append(store.blobs.read(image_id, extensions[image_id]))
            except ImageRefusedError:
                continue  # damaged; there are others
    return found


def _painted() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        made = make_pictures(Path(folder), count=0, fresh=COUNT)
        return [path.read_bytes() for path in made.fresh]


def _decoded(files: Sequence[bytes], decoder: Decoder, spec: PixelSpec) -> UInt8Array:
    views = []
    for file in files:
        try:
            views.append(decoder.decode(file, spec).views[0])
        except ImageRefusedError:
            continue  # says nothing about the network
        if len(views) == COUNT:
            break
    return np.stack(views) if views else _noise(spec)


def _noise(spec: PixelSpec) -> UInt8Array:
    """Where no stored image can be decoded."""
    shape = (COUNT, spec.height, spec.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
