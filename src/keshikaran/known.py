"""Labelled images of a workspace → known images for a model, as they are or as a file.

The model's own file computes whatever features are missing: it gives those of its backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from keshikaran.alignment import TURNS, thumbnail_of, turned
from keshikaran.backbones import Backbone, Engine, open_engine, read_graph
from keshikaran.bundle import Bundle, read_bundle
from keshikaran.errors import ImageRefusedError, NotEnoughImagesError
from keshikaran.featurize import Featurizer, featurize
from keshikaran.grouping import FirstViews, Sources, group_images
from keshikaran.manifest import Manifest
from keshikaran.memory import Memory, write_memory
from keshikaran.pixels import DEFAULT_LIMITS, Decoder, Limits
from keshikaran.pixels.grey import encode_grey
from keshikaran.pixels.isolated import Isolation, open_decoder
from keshikaran.preparation import known_backbone
from keshikaran.recognition import WHOLE, key_of
from keshikaran.sketches import SKETCH_SIDE
from keshikaran.store import FeatureCache, Store, Workspace, group_of
from keshikaran.types import ImageId, IntArray, Progress, SilentProgress
from keshikaran.whitening import Index, Whitening, fit_whitening

_SKETCHES_LEARNED = 2_000
_SKETCH_DIMS = 96
_THREADS = 4


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What a file of known images holds.

    Attributes:
        path: the file.
        model_id: the model that it fits, as do others with the same backbone and settings.
        images: known images.
        objectionable: how many of them are objectionable.
        exact_only: how many of them are known by their bytes alone.
        disputed: how many are copies of an image with the other label.
        left_out: labelled acceptable, but cannot be decoded.
        bytes: size of the file.
    """

    path: Path
    model_id: str
    images: int
    objectionable: int
    exact_only: int
    disputed: int
    left_out: int
    bytes: int


@contextmanager
def open_known(
    workspace: Workspace,
    model: Path,
    *,
    isolation: Isolation = "process",
    progress: Progress | None = None,
) -> Iterator[Memory]:
    """The labelled images of a workspace as known images for a model.

    Features that the workspace lacks are computed first. Pictures are read from the store when
    they are needed: keep the block open while the memory is in use.

    Args:
        workspace: where the images are.
        model: a model file.
        isolation: whether images are decoded in child processes or in this one.
        progress: told of long work.

    Raises:
        BundleError: the model cannot be used.
        NotEnoughImagesError: nothing is labelled.
        StoreError: the workspace cannot be used.
        BackboneError: features are missing and the model cannot be run to compute them.
        IsolationError: no process can be started to decode images in.
    """
    with _open(workspace, model, isolation) as opened:
        yield gather(opened, progress or SilentProgress())


def export_memory(
    workspace: Workspace,
    model: Path,
    path: Path,
    *,
    exact_only: bool = False,
    isolation: Isolation = "process",
    progress: Progress | None = None,
) -> MemoryReport:
    """Write the labelled images of a workspace as a file of known images for a model.

    Args:
        workspace: where the images are.
        model: a model file.
        path: the file to write.
        exact_only: leave out all pictures and features: images are known by their bytes alone.
        isolation: whether images are decoded in child processes or in this one.
        progress: told of long work.

    Raises:
        KeshikaranError: as `open_known`; also a StoreError if the file cannot be written.
    """
    progress = progress or SilentProgress()
    with _open(workspace, model, isolation) as opened:
        memory = gather(opened, progress)
        whole = _without_rows(memory) if exact_only else _small(memory, opened.decoder, progress)
        size = write_memory(path, whole)
        labelled = len(opened.store.labels.images())
    return MemoryReport(
        path=path,
        model_id=opened.bundle.manifest.model_id,
        images=len(whole.image_ids),
        objectionable=int(whole.labels.sum()),
        exact_only=len(whole.image_ids) - len(whole.owners),
        disputed=int(np.isin(whole.groups, list(whole.disputed())).sum()),
        left_out=labelled - len(whole.image_ids),
        bytes=size,
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A workspace and a model, open.

    Attributes:
        store: the catalogue and the images.
        cache: their features.
        decoder: turns image files into pixels.
        bundle: the model file, checked.
    """

    store: Store
    cache: FeatureCache
    decoder: Decoder
    bundle: Bundle


@contextmanager
def _open(workspace: Workspace, model: Path, isolation: Isolation) -> Iterator[Opened]:
    bundle = read_bundle(model)
    with Store(workspace.folder) as store:
        limits = Limits(formats=DEFAULT_LIMITS.formats | store.formats())
        with (
            closing(open_decoder(isolation, limits)) as decoder,
            FeatureCache(workspace.features) as cache,
        ):
            yield Opened(store, cache, decoder, bundle)


def gather(opened: Opened, progress: Progress) -> Memory:
    """The labelled images as known images; see `open_known`.

    Acceptable ones that cannot be decoded are left out: such a file is never passed.
    """
    store = opened.store
    labels = {image.image_id: image.label for image in store.labels.images()}
    if not labels:
        msg = f"No image in {store.folder} is labelled, so that none is known."
        raise NotEnoughImagesError(msg, "Label some: keshikaran label IMAGE --value 0|1")
    featurizer = featurizer_of(opened.bundle, opened.decoder)
    features = featurize(store, opened.cache, featurizer, list(labels), progress)
    readable = set(features.image_ids)
    ids = sorted(image_id for image_id, label in labels.items() if label or image_id in readable)
    first_views = features.matrix[features.starts]
    sources = Sources(store, opened.cache, opened.decoder, featurizer.recipe, featurizer.spec)
    group_images(sources, FirstViews(features.image_ids, first_views), progress)
    groups = store.groups.of_images()
    whitening = fit_whitening(first_views)
    return Memory(
        key=key_of(opened.bundle.manifest),
        image_ids=ids,
        labels=np.array([labels[image_id] for image_id in ids], dtype=np.int8),
        groups=_numbered([group_of(image_id, groups) for image_id in ids]),
        owners=np.flatnonzero([image_id in readable for image_id in ids]),
        features=Index(whitening, whitening.apply(first_views)),
        sketches=_sketches(opened.cache, featurizer, features.image_ids),
        pictures=_StoredFiles(store, features.image_ids),
    )


def _sketches(cache: FeatureCache, featurizer: Featurizer, image_ids: Sequence[ImageId]) -> Index:
    """Learned from the pictures in all turns; a picture without a sketch is like no other."""
    found = cache.sketches(featurizer.recipe, image_ids)
    none = np.zeros((SKETCH_SIDE, SKETCH_SIDE), dtype=np.uint8)
    all_of_them = np.array([found.get(image_id, none) for image_id in image_ids], dtype=np.float32)
    sketches = all_of_them.reshape(-1, SKETCH_SIDE, SKETCH_SIDE)
    sample = sketches[:: max(1, len(sketches) // _SKETCHES_LEARNED)]
    every = np.concatenate([turned(sample, turn) for turn in TURNS])
    whitening = fit_whitening(every.reshape(len(every), -1), _SKETCH_DIMS)
    rows = whitening.apply(sketches.reshape(len(sketches), -1))
    rows[[image_id not in found for image_id in image_ids]] = 0
    return Index(whitening, rows)


def featurizer_of(bundle: Bundle, decoder: Decoder) -> Featurizer:
    """A model file as the backbone that is inside it; of several parts, the first one's.

    Raises:
        BackboneError: the file has several networks, and the first is not among those here.
    """
    manifest = bundle.manifest
    if len(manifest.parts) > 1:
        return _first_part(bundle.manifest, decoder)
    _, signature = read_graph(bundle.model, manifest.model_id)
    backbone = Backbone(
        name=manifest.backbone["name"],
        digest=manifest.backbone["digest"],
        model=bundle.model,
        height=manifest.lead.height,
        width=manifest.lead.width,
        dim=signature.outputs["features"][0],
        output="features",
        licence=manifest.backbone["licence"],
    )

    def loaded(model: bytes) -> Engine:
        return open_engine(model, precision=manifest.precision)

    return Featurizer(backbone, manifest.pixels, manifest.precision, loaded, decoder)


def _first_part(manifest: Manifest, decoder: Decoder) -> Featurizer:
    backbone = known_backbone(manifest, manifest.parts[0]["backbone"])

    def loaded(model: bytes) -> Engine:
        return open_engine(model, precision=manifest.precision)

    return Featurizer(backbone, manifest.lead, manifest.precision, loaded, decoder)


def _numbered(names: Sequence[str]) -> IntArray:
    """The same number for the same name."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


class _StoredFiles(Sequence[bytes]):
    """The original files of stored images, read when they are asked for."""

    def __init__(self, store: Store, image_ids: Sequence[ImageId]) -> None:
        self._blobs, self._ids = store.blobs, image_ids
        self._extensions = store.extension_of(image_ids)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        image_id = self._ids[index]
        return self._blobs.read(image_id, self._extensions[image_id])


def _small(memory: Memory, decoder: Decoder, progress: Progress) -> Memory:
    """With small pictures instead of stored files; those that are damaged lose their row."""

    def shrunk(row: int) -> bytes | None:
        try:
            views = decoder.decode(memory.pictures[row], WHOLE).views
        except ImageRefusedError:
            return None
        return encode_grey(thumbnail_of(views[0]))

    rows = range(len(memory.owners))
    pictures: list[bytes | None] = []
    with (
        progress.task("pictures", len(rows)) as task,
        ThreadPoolExecutor(_THREADS, thread_name_prefix="keshikaran") as pool,
    ):
        for picture in pool.map(shrunk, rows):
            pictures.append(picture)
            task.advance()
    kept = np.flatnonzero([picture is not None for picture in pictures])
    return replace(
        memory,
        owners=memory.owners[kept],
        features=replace(memory.features, rows=memory.features.rows[kept]),
        sketches=replace(memory.sketches, rows=memory.sketches.rows[kept]),
        pictures=[picture for picture in pictures if picture is not None],
    )


def _without_rows(memory: Memory) -> Memory:
    """The ids and labels alone."""
    none = np.zeros((0, 0), dtype=np.float32)
    nothing = Index(Whitening(none.ravel(), none, 1.0), none)
    owners = memory.owners[:0]
    return replace(memory, owners=owners, features=nothing, sketches=nothing, pictures=[])
