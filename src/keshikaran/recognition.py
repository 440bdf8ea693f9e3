"""Is this one of the known images? By its bytes, then as a copy, verified on pixels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import asdict

import numpy as np

from keshikaran.alignment import (
    THUMBNAIL,
    TURNS,
    Evidence,
    Picture,
    Turn,
    compare,
    inverse,
    is_copy,
    thumbnail_of,
    turned,
)
from keshikaran.errors import ImageRefusedError, MemoryFileError
from keshikaran.inference import Outputs
from keshikaran.manifest import Manifest
from keshikaran.memory import Memory
from keshikaran.pixels import Decoder, PixelSpec
from keshikaran.recipe import FeatureRecipe
from keshikaran.types import ImageId, KnownImage, Label

_MOST_CANDIDATES = 3
_MOST_A_TURN = 1
_MOST_VIEWS = 8

WHOLE = PixelSpec(THUMBNAIL, THUMBNAIL, "pad")
"""How pictures are decoded to be compared: all of it, in a square with grey bars."""

_FIT = "Make them for this model: keshikaran export-memory FILE --model MODEL"
_Match = tuple[int, Evidence]


def key_of(manifest: Manifest) -> FeatureRecipe:
    """What a model's features are computed by."""
    return FeatureRecipe(
        manifest.backbone["digest"],
        manifest.precision,
        manifest.lead.resize_mode,
        manifest.pixel_contract,
    )


def check_fit(memory: Memory, manifest: Manifest) -> None:
    """Refuse known images whose features a model does not compute.

    Those that are known by their bytes alone fit any model.

    Args:
        memory: the known images.
        manifest: what the model says about itself.

    Raises:
        MemoryFileError: another network, precision, resize mode or pixel contract.
    """
    if not len(memory.owners):
        return
    wanted, found = asdict(key_of(manifest)), asdict(memory.key)
    for name, value in wanted.items():
        if found[name] != value:
            what = name.replace("_", " ")
            msg = (
                f"The known images were prepared with {what} {found[name]!s:.12}, the model"
                f" {manifest.model_id} has {value!s:.12}."
            )
            raise MemoryFileError(msg, _FIT)
    if manifest.parts[0]["features"] != len(memory.features.whitening.mean):
        msg = f"The known images do not have as many features as {manifest.model_id} gives."
        raise MemoryFileError(msg, _FIT)


class Recognizer:
    """Looks images up among known ones. Thread-safe.

    Labels that contradict each other (of copies of one photograph) answer nothing, with one
    exception: the very bytes that a person called objectionable.

    Args:
        memory: the known images.
        decoder: turns their pictures, and the images asked about, into pixels.
    """

    def __init__(self, memory: Memory, decoder: Decoder) -> None:
        self._memory, self._decoder = memory, decoder
        self._disputed = memory.disputed()

    def by_bytes(self, image_id: ImageId) -> KnownImage | None:
        """The known image with these bytes, unless what is known of it is in dispute."""
        ids = self._memory.image_ids
        number = bisect_left(ids, image_id)
        if number == len(ids) or ids[number] != image_id:
            return None
        if self._label(number) == 0 and self._group(number) in self._disputed:
            return None
        return KnownImage(image_id, self._label(number))

    def by_pixels(self, outputs: Outputs, read: Callable[[], bytes]) -> KnownImage | None:
        """The known image that one of an image's views is a copy of.

        An objectionable one comes before acceptable ones, then the one that agrees best.

        Args:
            outputs: what the model's network gave, with a sketch.
            read: gives the image's bytes; called only where features are alike.
        """
        candidates = self._candidates(outputs)
        if not candidates:
            return None
        try:
            views = self._decoder.decode(read(), WHOLE).views
        except ImageRefusedError:  # gone meanwhile; the model has seen it
            return None
        paired = len(views) == len(outputs["features"])
        pictures = [Picture(thumbnail_of(view)) for view in views]
        found: list[_Match] = []
        for view, rows in candidates.items():
            found.extend(self._copies([pictures[view]] if paired else pictures, rows))
        return self._best(found)

    def _candidates(self, outputs: Outputs) -> dict[int, dict[int, tuple[Turn, ...]]]:
        """View → rows that may be copies → turns to try; only views that have some."""
        found: dict[int, dict[int, tuple[Turn, ...]]] = {}
        width = len(self._memory.features.whitening.mean)  # of the model's first part
        alike = self._memory.features.alike(outputs["features"][:, :width], _MOST_CANDIDATES)
        for view, rows in enumerate(alike[:_MOST_VIEWS]):
            for row in rows:
                found.setdefault(view, {})[row] = ("none", "mirror")
        if outputs.sketch is not None and len(self._memory.owners):
            plain = outputs.sketch.astype(np.float32)
            turns = [turned(plain, turn).ravel() for turn in TURNS]
            alike = self._memory.sketches.alike(np.stack(turns), _MOST_A_TURN)
            for turn, rows in zip(TURNS, alike, strict=True):
                for row in rows:
                    tried = found.setdefault(0, {}).get(row, ())
                    found[0][row] = tuple(dict.fromkeys((*tried, inverse(turn))))
        return found

    def _copies(
        self, pictures: list[Picture], candidates: dict[int, tuple[Turn, ...]]
    ) -> list[_Match]:
        """Known images that one of the pictures is a copy of; nothing if their labels differ."""
        found: list[_Match] = []
        for row, turns in candidates.items():
            number = int(self._memory.owners[row])
            if self._group(number) in self._disputed:
                continue
            known = self._picture(row)
            if known is None:
                continue
            tried = (compare(picture, known, turns) for picture in pictures)
            copies = [one for one in tried if one is not None and is_copy(one)]
            if copies:
                found.append((number, max(copies, key=lambda one: one.similarity)))
        labels = {self._label(number) for number, _ in found}
        return found if len(labels) == 1 else []

    def _best(self, found: Iterable[_Match]) -> KnownImage | None:
        ranked = sorted(found, key=lambda one: (-self._label(one[0]), -one[1].similarity, one[0]))
        if not ranked:
            return None
        number, evidence = ranked[0]
        return KnownImage(
            self._memory.image_ids[number],
            self._label(number),
            evidence.similarity,
            evidence.agreement,
            evidence.turn,
        )

    def _picture(self, row: int) -> Picture | None:
        try:
            image = self._decoder.decode(self._memory.pictures[row], WHOLE)
        except ImageRefusedError:
            return None
        return Picture(thumbnail_of(image.views[0]))

    def _label(self, number: int) -> Label:
        return 1 if self._memory.labels[number] else 0

    def _group(self, number: int) -> int:
        return int(self._memory.groups[number])
