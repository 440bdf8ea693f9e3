"""What features are made of: networks, and the shape of the picture that each gets.

A part is one network looking at one shape of the picture. The features of several parts stand side
by side; the first part alone is what near-duplicates, similar images and known images go by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keshikaran.backbones import Backbone, Engine, device_of
from keshikaran.pixels import PixelSpec
from keshikaran.recipe import FeatureRecipe
from keshikaran.types import Float32Array, IntArray, Precision, UInt8Array


@dataclass(frozen=True, slots=True)
class Part:
    """A network and the pixels it gets.

    Attributes:
        backbone: the frozen network.
        spec: the shape of the picture; has none beside it.
    """

    backbone: Backbone
    spec: PixelSpec

    def recipe(self, precision: Precision) -> FeatureRecipe:
        """The key of its features in the cache."""
        return FeatureRecipe(self.backbone.digest, precision, self.spec.resize_mode)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The shapes that some parts want, each of them once.

    Attributes:
        spec: the shapes, the first one with the others beside it.
        places: for each part, which of the shapes it wants.
    """

    spec: PixelSpec
    places: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Inputs:
        """Those of at least one part."""
        first, *beside = shapes = list(dict.fromkeys(part.spec for part in parts))
        places = tuple(shapes.index(part.spec) for part in parts)
        return cls(replace(first, beside=tuple(beside)), places)


def output_name(number: int) -> str:
    """What `PartsEngine` calls the features of a part."""
    return f"part {number}"


class PartsEngine:
    """Several parts as one engine: an input for each shape, an output for each part.

    A network that serves several parts is loaded once.

    Args:
        parts: at least one.
        open_loaded: loads a network's bytes.
    """

    def __init__(self, parts: Sequence[Part], open_loaded: Callable[[bytes], Engine]) -> None:
        loaded = {part.backbone.digest: part.backbone.model for part in parts}
        engines = {digest: open_loaded(model) for digest, model in loaded.items()}
        self._parts = [(engines[part.backbone.digest], part.backbone.output) for part in parts]
        self._places = Inputs.of(parts).places
        first, _ = self._parts[0]
        self.name, self.precision, self.device = first.name, first.precision, device_of(first)
        self.streams, self.batch_size = first.streams, first.batch_size

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        """See `Engine.infer`."""
        given = (images, *beside)
        return {
            output_name(number): engine.infer(given[place])[output]
            for number, ((engine, output), place) in enumerate(
                zip(self._parts, self._places, strict=True)
            )
        }


def matched(orders: Sequence[IntArray]) -> IntArray:
    """Which views of one image belong together.

    Views that are alike in one shape can differ in another: whatever differs in any is a view.

    Args:
        orders: for each part its `DecodedImage.order`, int64 [U] or, with one view, [1].

    Returns:
        int64 [V, P]: the view of each part, for each view of the image; the first is all zeros.
    """
    most = max(map(len, orders))
    wide = [np.zeros(most, dtype=np.int64) if len(order) == 1 else order for order in orders]
    together = np.stack(wide, axis=1)
    _, first = np.unique(together, axis=0, return_index=True)
    rows: IntArray = together[np.sort(first)]
    return rows
