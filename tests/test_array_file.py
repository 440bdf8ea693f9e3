from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.store import read_arrays, write_arrays
from store_support import fail_fsync

_ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "table": np.arange(15, dtype=np.float32).reshape(5, 3),
    "numbers": np.array([1, -(2**60)], dtype=np.int64),
    "none": np.empty((0, 4), dtype=np.float32),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("arrays") / "a.arrays"
    write_arrays(path, {"format": 1, "features": "é"}, _ARRAYS)
    return path.read_bytes()


def test_arrays_and_settings_come_back(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.arrays"
    path.write_bytes(whole)
    file = read_arrays(path)
    assert file.settings == {"format": 1, "features": "é"}
    assert file.arrays.keys() == _ARRAYS.keys()
    for name, array in _ARRAYS.items():
        assert file.arrays[name].dtype == array.dtype
        assert np.array_equal(file.arrays[name], array)
        assert not file.arrays[name].flags.writeable


def test_an_array_that_lies_otherwise_in_memory_is_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.arrays"
    write_arrays(path, {}, {"turned": _ARRAYS["table"].T})
    assert np.array_equal(read_arrays(path).arrays["turned"], _ARRAYS["table"].T)


def test_arrays_begin_where_processors_like_it(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.arrays"
    path.write_bytes(whole)
    places = [array.ctypes.data % 64 for array in read_arrays(path).arrays.values()]
    assert places == [0, 0, 0]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(
    data: st.DataObject, whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.getbasetemp() / "changed.arrays"
    path.write_bytes(
        whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    )
    with pytest.raises(DamagedStoreError, match=r"changed\.arrays is damaged\. Delete the file"):
        read_arrays(path)


@pytest.mark.parametrize("size", [0, 1, 8, 40, 47, 200, -1])
def test_a_file_that_ends_early_is_noticed(tmp_path: Path, whole: bytes, size: int) -> None:
    path = tmp_path / "short.arrays"
    path.write_bytes(whole[:size])
    with pytest.raises(DamagedStoreError):
        read_arrays(path)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.arrays")


def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.arrays"
    path.write_bytes(whole)
    fail_fsync(monkeypatch)
    with pytest.raises(StoreError, match="disk is full"):
        write_arrays(path, {}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.arrays"]
    assert path.read_bytes() == whole
