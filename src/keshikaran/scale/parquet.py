"""The rows of shards as Parquet: their columns, writing them, reading them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keshikaran.errors import MissingExtraError
from keshikaran.hashing import write_error
from keshikaran.scale.shards import ShardFolder

_ROWS_HELD = 1024


class ShardWriter:
    """Writes one task's rows; holds a thousand of them at most.

    Args:
        folder: where the shard goes.
        schema: its columns, as pyarrow has them.
        work: the task.
    """

    def __init__(self, folder: ShardFolder, schema: Any, work: str) -> None:  # noqa: ANN401
        self._arrow = parquet_packages()
        self._folder, self._schema, self._work = folder, schema, work
        self._path = folder.temporary(work)
        self._rows: list[Mapping[str, Any]] = []
        # Features are noise to a compressor; as they are they are read fastest.
        self._file = self._arrow.parquet.ParquetWriter(
            str(self._path), schema, compression="none", use_dictionary=False
        )

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """One row, with a value for each column that has one."""
        self._rows.append(row)
        if len(self._rows) == _ROWS_HELD:
            self._write()

    def finish(self) -> str:
        """Make the shard whole; gives its name.

        Raises:
            StoreError: the disk is full or cannot be written.
        """
        try:
            self._write()
            self._file.close()
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error
        return self._folder.place(self._path, self._work)

    def _write(self) -> None:
        table = self._arrow.Table.from_pylist(self._rows, schema=self._schema)
        self._file.write_table(table)
        self._rows = []


def feature_schema(dim: int, note: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Columns of features: a row for each view, or one for an image that was refused.

    `image_id` text, empty if the bytes could not be had; `name` text; `view` int32 from 0;
    `features` dim × float32; `sketch` 256 bytes, of view 0; `reason` and `detail`, of a refusal.

    Args:
        dim: D.
        note: JSON on how they were made; kept under the key `keshikaran`.
    """
    arrow = parquet_packages()
    text = arrow.string()
    columns = [
        ("image_id", text),
        ("name", text),
        ("view", arrow.int32()),
        ("features", arrow.list_(arrow.float32(), dim)),
        ("sketch", arrow.binary(256)),
        ("reason", text),
        ("detail", text),
    ]
    return arrow.schema(columns, metadata={"keshikaran": note})


def prediction_schema(note: str) -> Any:  # noqa: ANN401
    """Columns of predictions: those of `keshikaran.types.Prediction`, without evidence."""
    arrow = parquet_packages()
    text, number = arrow.string(), arrow.int32()
    columns = [
        ("path", text),
        ("image_id", text),
        ("score", arrow.float64()),
        ("verdict", text),
        ("reason", text),
        ("model_id", text),
        ("frames_total", number),
        ("frames_scored", number),
        ("source", text),
    ]
    return arrow.schema(columns, metadata={"keshikaran": note})


def read_batches(path: Path) -> Iterator[Any]:
    """The rows of a shard as pyarrow's record batches, a thousand at most each."""
    with parquet_packages().parquet.ParquetFile(str(path)) as file:
        yield from file.iter_batches(batch_size=_ROWS_HELD)


def parquet_packages() -> Any:  # noqa: ANN401
    """pyarrow, with its Parquet part loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        what = "Reading and writing Parquet"
        raise MissingExtraError(what, "ray") from error
    return importlib.import_module("pyarrow")
