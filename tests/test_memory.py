"""A file of known images: whole or refused, whoever wrote it."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keshikaran.errors import MemoryFileError, StoreError
from keshikaran.memory import (
    MAGIC,
    Memory,
    pack_memory,
    parse_memory,
    read_memory,
    write_memory,
)
from keshikaran.whitening import Index
from memory_support import changed_header, image_ids, index, sealed, small_memory, with_header

_WHOLE = pack_memory(small_memory())


def _same(first: Memory, second: Memory) -> bool:
    return (
        (first.key, first.image_ids, list(first.pictures))
        == (second.key, second.image_ids, list(second.pictures))
        and np.array_equal(first.labels, second.labels)
        and np.array_equal(first.groups, second.groups)
        and np.array_equal(first.owners, second.owners)
        and _same_index(first.features, second.features)
        and _same_index(first.sketches, second.sketches)
    )


def _same_index(first: Index, second: Index) -> bool:
    return (
        np.array_equal(first.whitening.mean, second.whitening.mean)
        and np.array_equal(first.whitening.projection, second.whitening.projection)
        and first.whitening.cut == second.whitening.cut
        and np.allclose(first.rows, second.rows, atol=1e-3)
    )


@pytest.mark.parametrize("memory", [small_memory(), small_memory(rows=3), small_memory(rows=0)])
def test_what_is_written_is_read(memory: Memory, tmp_path: Path) -> None:
    path = tmp_path / "new" / "known.memory"
    size = write_memory(path, memory)
    assert size == path.stat().st_size
    assert _same(read_memory(path), memory)


def test_same_images_give_the_same_bytes() -> None:
    assert pack_memory(small_memory()) == pack_memory(small_memory())
    assert pack_memory(parse_memory(_WHOLE, "it")) == _WHOLE


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_memory(tmp_path / "known", small_memory())
    assert (tmp_path / "known").stat().st_mode & 0o077 == 0


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="could not be written"):
        write_memory(tmp_path / "file" / "known", small_memory())


def test_groups_with_both_labels_are_disputed() -> None:
    groups = np.array([7, 7, 2, 2, 2])
    assert small_memory((0, 1, 1, 1, 1), groups=groups).disputed() == {7}


# Damage


@pytest.mark.parametrize("length", [*range(0, len(_WHOLE), 211), len(_WHOLE) - 1])
def test_a_part_of_a_file_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(_WHOLE[:length])
    with pytest.raises(MemoryFileError, match="export-memory"):
        read_memory(path)


@given(st.integers(0, len(_WHOLE) * 8 - 1))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    data = bytearray(_WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MemoryFileError):
        parse_memory(bytes(data), "flipped")


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, MAGIC + noise, sealed(MAGIC + noise)):
        with pytest.raises(MemoryFileError):
            parse_memory(data, "noise")


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(MemoryFileError, match="its size does not fit"):
        parse_memory(sealed(_WHOLE[:-32] + b"\0"), "long")


# Files that somebody made on purpose: the digest fits


def _sizes(**values: Any) -> dict[str, Any]:
    return {"width": 6, "dims": 3, "cut": 0.5, **values}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"images": 2**31 - 1}, "its size does not fit"),
        ({"rows": 2**31 - 1}, "its size does not fit"),
        ({"features": _sizes(width=2**31 - 1, dims=2**31 - 1)}, "its size does not fit"),
        ({"sketches": _sizes(dims=2**31 - 1)}, "its size does not fit"),
        ({"picture_bytes": 10**9}, "its size does not fit"),
        ({"images": 2**40}, "bad images"),
        ({"images": -1}, "bad images"),
        ({"images": 5.0}, "bad images"),
        ({"rows": True}, "bad rows"),
        ({"features": None}, "bad features"),
        ({"features": {}}, "no 'cut'"),
        ({"features": _sizes(dims="3")}, "bad dims"),
        ({"sketches": _sizes(width=-6)}, "bad width"),
        ({"picture_bytes": 10**12}, "bad picture_bytes"),
        ({"features": _sizes(cut=0.0)}, "bad cut"),
        ({"features": _sizes(cut=1)}, "bad cut"),
        ({"sketches": _sizes(cut=float("nan"))}, "bad cut"),
        ({"schema": 2}, "its format is 2, this program reads 1"),
        ({"backbone_digest": 7}, "bad backbone_digest"),
        ({"precision": "f64"}, "bad precision"),
        ({"precision": ["f32"]}, "bad precision"),
        ({"resize_mode": "tear"}, "bad resize_mode"),
        ({"pixel_contract": "2"}, "bad pixel_contract"),
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_taken(
    values: dict[str, Any], words: str
) -> None:
    data = changed_header(values)
    tracemalloc.start()
    with pytest.raises(MemoryFileError, match=words):
        parse_memory(data, "lie")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"[]", "its header is no object"),
        (b"{}", "no 'schema'"),
        (b"{", "Expecting"),
        (b"[" * 4000, "is damaged"),
        (b"\xff", "is damaged"),
        (b" " * 5000, "its header is too long"),
        (b'{"schema":1}', "no 'images'"),
    ],
)
def test_headers_that_are_none_are_refused(header: bytes, words: str) -> None:
    with pytest.raises(MemoryFileError, match=words):
        parse_memory(with_header(header, small_memory()), "odd")


_IDS = image_ids(5)
_NANS = np.full(6, np.nan, dtype=np.float32)
_INFINITE = np.full((6, 3), -np.inf, dtype=np.float32)


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (small_memory(image_ids=_IDS[::-1]), "its ids are not in order"),
        (small_memory(image_ids=[_IDS[0]] * 5), "its ids are not in order"),
        (small_memory((0, 1, 2, 0, 1)), "a label is neither 0 nor 1"),
        (small_memory((0, 1, -1, 0, 1)), "a label is neither 0 nor 1"),
        (small_memory(groups=np.array([0, 1, -2, 3, 4])), "a group's number is negative"),
        (small_memory(owners=np.array([0, 1, 2, 3, 5])), "its rows belong to no image"),
        (small_memory(owners=np.array([-1, 1, 2, 3, 4])), "its rows belong to no image"),
        (small_memory(owners=np.array([0, 1, 1, 3, 4])), "its rows belong to no image"),
        (small_memory(features=index(5, 6, mean=_NANS)), "a value is not a number"),
        (small_memory(features=index(5, 6, projection=_INFINITE)), "a value is not a number"),
        (small_memory(sketches=index(5, 255)), "its sketches have another size"),
        (small_memory(rows=0, sketches=index(0, 256)), "its sketches have another size"),
    ],
)
def test_values_that_code_could_stumble_over_are_refused(memory: Memory, words: str) -> None:
    with pytest.raises(MemoryFileError, match=words):
        parse_memory(pack_memory(memory), "hostile")


def test_rows_that_would_win_every_comparison_are_refused() -> None:
    memory = small_memory()
    memory.sketches.rows[2] *= 1000
    with pytest.raises(MemoryFileError, match="a row is too long"):
        parse_memory(pack_memory(memory), "hostile")


def test_more_rows_than_images_are_refused() -> None:
    three, two = small_memory((0, 1, 0)), small_memory((0, 1))
    more = replace(three, image_ids=two.image_ids, labels=two.labels, groups=two.groups)
    with pytest.raises(MemoryFileError, match="more rows than images"):
        parse_memory(pack_memory(more), "hostile")


def test_pictures_that_reach_beyond_the_end_are_refused() -> None:
    data = bytearray(_WHOLE[:-32])
    lengths = data.index(np.array([1, 2, 3, 4, 5], dtype="<u4").tobytes())
    data[lengths + 3] = 0xFF
    with pytest.raises(MemoryFileError, match="pictures' lengths do not fit"):
        parse_memory(sealed(bytes(data)), "hostile")


# Paths


def _missing(folder: Path) -> Path:
    return folder / "nothing"


def _other(folder: Path) -> Path:
    (folder / "text").write_text("dear reader\n")
    return folder / "text"


def _device(folder: Path) -> Path:
    return Path("/dev/zero")


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_missing, "cannot be read: No such file"),
        (_other, "is not a file of known images"),
        (_device, "is not a plain file"),
        (_pipe, "is not a plain file"),
        (lambda folder: folder, "is not a plain file"),
    ],
)
def test_what_is_no_such_file_is_named(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(MemoryFileError, match=words):
        read_memory(make(tmp_path))
