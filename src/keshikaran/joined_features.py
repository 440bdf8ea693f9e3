"""Features of several parts, side by side, out of the cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keshikaran.parts import matched
from keshikaran.recipe import FeatureRecipe
from keshikaran.store import FeatureCache, room_for
from keshikaran.types import Float32Array, ImageId, IntArray, chunks_of

_ROWS = 16_384
_SAME: IntArray = np.zeros(1, dtype=np.int64)


def read_joined(
    cache: FeatureCache,
    recipes: Sequence[FeatureRecipe],
    dims: Sequence[int],
    image_ids: Sequence[ImageId],
) -> tuple[list[ImageId], Float32Array, IntArray]:
    """Features of those of `image_ids` that all parts have; see `FeatureCache.read`.

    Args:
        cache: has the orders of all images with several views, unless there is one part only.
        recipes: the parts'.
        dims: how many features each part gives.
        image_ids: the images wanted.

    Returns:
        The n ids found, in the order asked for; float32 [R, sum of `dims`], the rows of each
        image's views one after the other; and int64 [n], where each image's rows begin. With one
        part, just what the cache gives.
    """
    if len(recipes) == 1:
        return cache.read(recipes[0], image_ids, dims[0])
    tables = [cache.read(recipe, image_ids, dim) for recipe, dim in zip(recipes, dims, strict=True)]
    everywhere = set(image_ids).intersection(*(ids for ids, _, _ in tables))
    found = [image_id for image_id in image_ids if image_id in everywhere]
    rows, starts = _rows(cache, recipes, found)
    images = np.repeat(np.arange(len(found)), np.diff(np.append(starts, len(rows))))
    joined = room_for(len(rows), sum(dims), cache.folder)
    end = 0
    for number, (ids, matrix, firsts) in enumerate(tables):
        place = dict(zip(ids, firsts.tolist(), strict=True))
        own = np.array([place[image_id] for image_id in found], dtype=np.int64)
        taken = own[images] + rows[:, number]
        for part in chunks_of(len(joined), _ROWS):
            joined[part, end : end + dims[number]] = matrix[taken[part]]
        end += dims[number]
    return found, joined, starts


def _rows(
    cache: FeatureCache, recipes: Sequence[FeatureRecipe], image_ids: Sequence[ImageId]
) -> tuple[IntArray, IntArray]:
    """Which view of each part makes each row, int64 [R, P], and where each image's rows begin."""
    orders = [cache.orders(recipe) for recipe in recipes]
    several = set().union(*orders)
    one = np.zeros((1, len(recipes)), dtype=np.int64)
    pieces = [
        matched([of_part.get(image_id, _SAME) for of_part in orders])
        if image_id in several
        else one
        for image_id in image_ids
    ]
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    return np.concatenate(pieces or [one[:0]]), starts.astype(np.int64)
