"""The feature cache → an index that finds the nearest images quickly, kept up to date.

An index is a table for `pruned_search` in a file of its own, `index/<recipe>.arrays`: a cache of a
cache. What was added to the features since is added to it when it is opened; what is lost,
damaged or made for other features is made again. The full features stay where they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keshikaran.errors import BackboneError, DamagedStoreError
from keshikaran.pruned_search import (
    Found,
    FullRows,
    Projection,
    Table,
    Wanted,
    fit_projection,
    search,
)
from keshikaran.store import FeatureRecipe, FeatureRows, read_arrays, write_arrays
from keshikaran.types import Float32Array, IntArray, Progress, SilentProgress

_FORMAT = 1
_SCAN_BYTES = 128_000_000
_LEAST_DIMS = 128
_SAMPLE = 25_000
_GROWTH = 1.25
_EXACT_UP_TO = 300_000
_MOST_ROWS = 2_000

Origin = Literal["current", "added", "built"]
"""How an index came to be: as it lay there, with new rows added, or made anew."""


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """An index that can be asked.

    Attributes:
        table: what is scanned.
        features: where the full features are.
        origin: what opening it took.
    """

    table: Table
    features: FeatureRows
    origin: Origin

    @property
    def rows(self) -> int:
        """How many rows can be found; an image of several views has several."""
        return len(self.table.rows)

    def search(self, query: Float32Array, wanted: Wanted) -> Found:
        """The nearest images of a query, float32 [D]; exactly so up to 300,000 rows.

        Beyond, at most 2,000 full rows are looked at (or eight for each image wanted), and the
        answer says whether that was enough to be sure.

        Raises:
            DamagedStoreError: the features were changed after the index was opened.
        """
        most = None if self.rows <= _EXACT_UP_TO else max(_MOST_ROWS, 8 * wanted.count)
        asked = Wanted(wanted.count, wanted.without, most)
        return search(self.table, query, asked, self._fetch)

    def _fetch(self, numbers: IntArray) -> FullRows:
        found = self.features.numbered(numbers)
        return FullRows(found.numbers, found.image_ids, found.features)


def open_index(
    folder: Path, recipe: FeatureRecipe, features: FeatureRows, progress: Progress | None = None
) -> SearchIndex:
    """The index of all features under a recipe, made or completed first if need be.

    Args:
        folder: where indexes lie, usually `<workspace>/index`.
        recipe: names the file.
        features: at least one row.
        progress: told of rows that are read.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
        BackboneError: there are features that are not numbers.
    """
    progress = progress or SilentProgress()
    path = index_path(folder, recipe)
    kept = _read(path, features)
    if kept is None:
        return _build(path, features, progress)
    last = int(kept.table.rows[-1])
    new = features.count(after=last)
    if not new:
        return SearchIndex(kept.table, features, "current")
    projection, total = kept.table.projection, len(kept.table.rows) + new
    if projection.basis is None or total > _GROWTH * kept.fitted:
        return _build(path, features, progress)
    table = _joined(kept.table, _read_rows(projection, features, last, new, progress))
    _write(path, features, table, kept.fitted)
    return SearchIndex(table, features, "added")


def rebuild_index(
    folder: Path, recipe: FeatureRecipe, features: FeatureRows, progress: Progress | None = None
) -> SearchIndex:
    """Make the index anew, whatever is there; see `open_index`."""
    return _build(index_path(folder, recipe), features, progress or SilentProgress())


def index_path(folder: Path, recipe: FeatureRecipe) -> Path:
    """The file of a recipe's index."""
    key = hashlib.sha256(repr(astuple(recipe)).encode()).hexdigest()
    return folder / f"{key[:16]}.arrays"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a file holds: the table, and how many rows there were when its basis was chosen."""

    table: Table
    fitted: int


def _read(path: Path, features: FeatureRows) -> _Kept | None:
    """None if there is no file, or one that is damaged, or was made for other features."""
    with suppress(FileNotFoundError, DamagedStoreError):
        file = read_arrays(path)
        rows, projection = file.arrays["rows"], _projection_in(file.arrays)
        noted = file.settings["format"], file.settings["features"]
        if noted == (_FORMAT, _name_of(features, int(rows[-1]))):
            table = Table(projection, file.arrays["coordinates"], file.arrays["rests"], rows)
            return _Kept(table, int(file.settings["fitted"]))
    return None


def _projection_in(arrays: Mapping[str, Any]) -> Projection:
    return Projection(arrays["mean"], arrays.get("basis"))


def _name_of(features: FeatureRows, last: int) -> str:
    """Names the features up to a row: where an older copy was put back, that row is another's."""
    whose = features.numbered(np.array([last], dtype=np.int64)).image_ids
    return f"{features.identity} {last} {''.join(whose)}"


def _build(path: Path, features: FeatureRows, progress: Progress) -> SearchIndex:
    count = features.count()
    dims = max(_LEAST_DIMS, _SCAN_BYTES // (4 * count))
    sample = features.sample(_SAMPLE)
    if not np.isfinite(sample).all():
        raise _not_numbers()
    projection = fit_projection(sample, dims)
    del sample
    table = _read_rows(projection, features, 0, count, progress)
    _write(path, features, table, len(table.rows))
    return SearchIndex(table, features, "built")


def _read_rows(
    projection: Projection, features: FeatureRows, after: int, count: int, progress: Progress
) -> Table:
    """The table of at most `count` rows with a number above `after`."""
    dims = len(projection.mean) if projection.basis is None else projection.basis.shape[1]
    coordinates = np.empty((count, dims), dtype=np.float32)
    rests = np.empty(count, dtype=np.float32)
    numbers = np.empty(count, dtype=np.int64)
    filled = 0
    with progress.task("index", count) as task:
        for rows in features.after(after):
            here = slice(filled, min(count, filled + len(rows.numbers)))
            got = slice(here.stop - here.start)
            coordinates[here], rests[here] = projection.coordinates(rows.features[got])
            numbers[here] = rows.numbers[got]
            filled = here.stop
            task.advance(got.stop)
            if filled == count:  # what came meanwhile is added next time
                break
    if not np.isfinite(coordinates[:filled]).all():
        raise _not_numbers()
    return Table(projection, coordinates[:filled], rests[:filled], numbers[:filled])


def _not_numbers() -> BackboneError:
    msg = "The backbone gives features that are not numbers."
    return BackboneError(msg, "Check how the network was exported, or use another one.")


def _joined(first: Table, second: Table) -> Table:
    return Table(
        first.projection,
        np.concatenate([first.coordinates, second.coordinates]),
        np.concatenate([first.rests, second.rests]),
        np.concatenate([first.rows, second.rows]),
    )


def _write(path: Path, features: FeatureRows, table: Table, fitted: int) -> None:
    arrays: dict[str, Float32Array | IntArray] = {
        "mean": table.projection.mean,
        "coordinates": table.coordinates,
        "rests": table.rests,
        "rows": table.rows,
    }
    if table.projection.basis is not None:
        arrays["basis"] = table.projection.basis
    name = _name_of(features, int(table.rows[-1]))
    write_arrays(path, {"format": _FORMAT, "features": name, "fitted": fitted}, arrays)
