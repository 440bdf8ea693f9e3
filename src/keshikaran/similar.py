"""Which stored images are most like one image: featurize → index → search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keshikaran.errors import (
    BackboneError,
    DamagedStoreError,
    ImageRefusedError,
    SourceError,
    StoreError,
)
from keshikaran.featurize import fill_cache
from keshikaran.hashing import image_id_of
from keshikaran.inference import Pipeline, infer_image
from keshikaran.labels import find_image
from keshikaran.pixels import DEFAULT_LIMITS
from keshikaran.preparation import Tools, engine_opener, open_tools
from keshikaran.pruned_search import Found, Wanted
from keshikaran.search_index import open_index, rebuild_index
from keshikaran.store import FeatureRows, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, ImageId, Label, Progress

DEFAULT_TOP = 10


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored image that is like another one.

    Attributes:
        image_id: of the stored image.
        cosine: how alike, in [-1, 1]: centred cosine of the features; 1 is the same picture.
        label: what was said of it; None if nothing, or both.
        paths: where it was met when it was imported.
    """

    image_id: ImageId
    cosine: float
    label: Label | None
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Similar:
    """What is like an image.

    Attributes:
        image_id: of the image asked about.
        stored: whether it is in the store itself; then it is not its own neighbour.
        neighbours: the most alike first.
        exact: whether it is proven that no other stored image is more alike.
        images: how many stored images were there to compare with.
    """

    image_id: ImageId
    stored: bool
    neighbours: tuple[Neighbour, ...]
    exact: bool
    images: int

    def to_dict(self) -> dict[str, Any]:
        """The object that `keshikaran similar --json` prints."""
        return asdict(self)


class SimilarImages:
    """Finds stored images that are like another image; made by `open_similar`.

    Args:
        tools: open store, cache and backbone.
        folder: where indexes lie.
        progress: told of long work.

    Attributes:
        images: how many stored images there are to compare with.
        not_compared: how many stored images are left out, since they cannot be decoded.
    """

    def __init__(self, tools: Tools, folder: Path, progress: Progress | None) -> None:
        self._tools = tools
        self._recipe = tools.featurizer.recipe
        self._folder, self._progress = folder, progress
        self._pipeline: Pipeline | None = None
        self.images, self.not_compared = self._fill()
        self._index = open_index(folder, self._recipe, self._rows(), progress)

    def of(self, image: str | Path, top: int = DEFAULT_TOP) -> Similar:
        """The stored images most like an image file, or like a stored image named by its id.

        Args:
            image: a file anywhere, or the start of a stored image's id.
            top: how many are wanted.

        Raises:
            UsageError: neither a file nor one image's id.
            SourceError: the file cannot be read, or is no image that can be decoded.
            BackboneError: the features of the image are not numbers.
        """
        data = _bytes_of(image)
        image_id = find_image(self._tools.store, str(image)) if data is None else image_id_of(data)
        stored = bool(self._tools.store.known_images([image_id]))
        views = self._cached(image_id) if stored else None
        if views is None:
            views = self._featurized(str(image), data if data is not None else self._read(image_id))
        found = self._search(views, top, image_id)
        return Similar(image_id, stored, self._described(found), found.exact, self.images)

    def _fill(self) -> tuple[int, int]:
        """Features of all stored images; returns how many have some, and how many have none."""
        store, cache = self._tools.store, self._tools.cache
        wanted = store.image_ids()
        if not wanted:
            msg = f"There are no images in the workspace at {store.folder}."
            raise StoreError(msg, "Import some: keshikaran import FOLDER --positive NAME")
        done = fill_cache(store, cache, self._tools.featurizer, wanted, self._progress)
        refused = len(cache.refusals(wanted, self._recipe.pixel_contract)) + len(done.passing)
        if refused == len(wanted):
            msg = f"None of the {refused:,} images in the workspace can be decoded."
            raise StoreError(msg, "Import others, or see what keshikaran fsck --full says.")
        return len(wanted) - refused, refused

    def _rows(self) -> FeatureRows:
        return self._tools.cache.rows(self._recipe, self._tools.backbone.dim)

    def _cached(self, image_id: ImageId) -> Float32Array | None:
        found, matrix, _ = self._tools.cache.read(
            self._recipe, [image_id], self._tools.backbone.dim
        )
        return matrix if found else None

    def _read(self, image_id: ImageId) -> bytes:
        extension = self._tools.store.extension_of([image_id])[image_id]
        try:
            return self._tools.store.blobs.read(image_id, extension)
        except ImageRefusedError as refusal:
            hint = "See what else is wrong: keshikaran fsck --full"
            raise _undecodable(image_id, refusal, hint) from refusal

    def _featurized(self, name: str, data: bytes) -> Float32Array:
        """Features of the image's views, float32 [V, D], by the way that the stored ones took."""
        featurizer = self._tools.featurizer
        if self._pipeline is None:
            engine = featurizer.open_loaded(featurizer.backbone.model)
            self._pipeline = Pipeline(featurizer.decoder, engine, featurizer.spec)
        try:
            views = infer_image(data, self._pipeline)[featurizer.backbone.output]
        except ImageRefusedError as refusal:
            raise _undecodable(name, refusal) from refusal
        if not np.isfinite(views).all():
            msg = f"The backbone gives features of {name} that are not numbers."
            raise BackboneError(msg, "Check how the network was exported, or use another one.")
        return views

    def _search(self, views: Float32Array, top: int, image_id: ImageId) -> Found:
        """The nearest images of any view; they are in the store, and not the image itself."""
        without = {image_id}
        while True:
            wanted = Wanted(top, frozenset(without))
            try:
                found = self._search_views(views, wanted)
            except DamagedStoreError:  # the features were changed since: once more, made anew
                rows = self._rows()
                self._index = rebuild_index(self._folder, self._recipe, rows, self._progress)
                found = self._search_views(views, wanted)
            gone = set(found.image_ids) - self._tools.store.known_images(found.image_ids)
            if not gone:
                return found
            without |= gone

    def _search_views(self, views: Float32Array, wanted: Wanted) -> Found:
        """Of an image's views the one counts that is most like the other image."""
        by_view = [self._index.search(view, wanted) for view in views]
        if len(by_view) == 1:
            return by_view[0]
        best: dict[ImageId, float] = {}
        for found in by_view:
            for image_id, cosine in zip(found.image_ids, found.cosines, strict=True):
                best[image_id] = max(cosine, best.get(image_id, -1.0))
        nearest = sorted(best, key=lambda image_id: (-best[image_id], image_id))[: wanted.count]
        return Found(
            nearest,
            [best[image_id] for image_id in nearest],
            all(found.exact for found in by_view),
            sum(found.looked_at for found in by_view),
        )

    def _described(self, found: Found) -> tuple[Neighbour, ...]:
        store = self._tools.store
        labels = store.labels.of(found.image_ids)
        return tuple(
            Neighbour(image_id, cosine, labels.get(image_id), tuple(store.entries_of(image_id)))
            for image_id, cosine in zip(found.image_ids, found.cosines, strict=True)
        )


@contextmanager
def open_similar(
    workspace: Workspace,
    options: TrainingOptions | None = None,
    progress: Progress | None = None,
) -> Iterator[SimilarImages]:
    """Open what finds similar images; close it at the end of the block.

    Features that are missing are computed first, and the index is completed: with many new images
    this takes its time, afterwards a query takes milliseconds.

    Args:
        workspace: where the images are.
        options: of these backbone, engine, isolation and accepted formats count; precision and
            resize mode only where no features are there yet, else those of most features.
        progress: told of long work.

    Raises:
        StoreError: no image in the store, or the workspace cannot be used.
        BackboneError: the backbone or engine cannot be had.
        IsolationError: no process can be started to decode images in.
    """
    chosen = options or TrainingOptions()
    with open_tools(workspace, chosen) as tools:
        yield SimilarImages(_as_featurized(tools, chosen), workspace.index, progress)


def _as_featurized(tools: Tools, options: TrainingOptions) -> Tools:
    """The same tools, working in the precision and resize mode that most features have."""
    backbone = tools.backbone
    recipes = [tools.featurizer.recipe, *tools.cache.recipes(backbone.digest)]
    recipe = max(recipes, key=lambda recipe: tools.cache.rows(recipe, backbone.dim).count())
    if recipe == tools.featurizer.recipe:
        return tools
    options = replace(options, precision=recipe.precision)
    featurizer = replace(
        tools.featurizer,
        spec=replace(tools.featurizer.spec, resize_mode=recipe.resize_mode),
        precision=recipe.precision,
        open_loaded=engine_opener(options),
    )
    return replace(tools, featurizer=featurizer)


def _bytes_of(image: str | Path) -> bytes | None:
    """The bytes of a file; None if there is none of this name."""
    path = Path(image)
    most = DEFAULT_LIMITS.max_bytes
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise SourceError(msg, "Check the path and its permissions.") from error
    if len(data) > most:
        raise _undecodable(
            str(path), ImageRefusedError("too_many_bytes", f"more than {most:,} bytes")
        )
    return data


def _undecodable(
    name: str, refusal: ImageRefusedError, hint: str = "Give an image file that opens in a viewer."
) -> SourceError:
    msg = f"{name} cannot be compared: {refusal}."
    return SourceError(msg, hint)
