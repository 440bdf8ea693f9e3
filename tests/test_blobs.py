import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keshikaran.errors import ImageRefusedError, StoreError
from keshikaran.hashing import image_id_of
from keshikaran.store import blobs
from keshikaran.store.blobs import BlobStore
from store_support import assert_whole, fail_fsync, stored_files

_DATA = b"bytes of a picture"
_ID = image_id_of(_DATA)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "objects")


def test_a_file_lies_under_the_first_digits_of_its_id(store: BlobStore, tmp_path: Path) -> None:
    path = store.put(_ID, "jpg", _DATA)
    assert path == tmp_path / "objects" / _ID[:2] / _ID[2:4] / f"{_ID}.jpg"
    assert path == store.path_of(_ID, "jpg")
    assert store.read(_ID, "jpg") == _DATA


def test_nothing_is_created_before_the_first_file(store: BlobStore) -> None:
    assert not store.root.exists()


def test_a_stored_file_can_only_be_read(store: BlobStore) -> None:
    assert stat.S_IMODE(store.put(_ID, "png", _DATA).stat().st_mode) == 0o444


def test_storing_again_does_not_touch_the_file(store: BlobStore) -> None:
    path = store.put(_ID, "png", _DATA)
    os.utime(path, ns=(1, 1))
    before = path.stat()
    assert store.put(_ID, "png", _DATA) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, 1)


def test_a_file_cut_short_by_a_crash_is_replaced(store: BlobStore) -> None:
    path = store.path_of(_ID, "png")
    path.parent.mkdir(parents=True)
    path.write_bytes(_DATA[:5])
    store.put(_ID, "png", _DATA)
    assert path.read_bytes() == _DATA


def _rot(path: Path) -> None:
    """Same size, one bit another."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_a_damaged_file_of_the_same_size_is_not_trusted_but_replaced(store: BlobStore) -> None:
    path = store.put(_ID, "png", _DATA)
    store.sync_folders([path])
    assert not store.wrote(path)
    _rot(path)
    store.put(_ID, "png", _DATA)
    assert path.read_bytes() == _DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert store.wrote(path)  # its new name is to be made durable


def test_a_file_with_more_behind_it_is_replaced(store: BlobStore) -> None:
    path = store.put(_ID, "png", _DATA)
    path.chmod(0o644)
    path.write_bytes(_DATA + b"\0")
    store.put(_ID, "png", _DATA)
    assert path.read_bytes() == _DATA


def test_a_file_that_cannot_be_read_any_more_is_replaced(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.put(_ID, "png", _DATA)
    before = path.stat().st_ino

    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", broken)
        store.put(_ID, "png", _DATA)
    assert path.read_bytes() == _DATA
    assert path.stat().st_ino != before


def test_a_damaged_file_is_refused_when_it_is_read(store: BlobStore) -> None:
    path = store.put(_ID, "png", _DATA)
    _rot(path)
    with pytest.raises(ImageRefusedError, match="is not what was stored") as caught:
        store.read(_ID, "png")
    assert caught.value.reason == "damaged_object"
    assert str(path) in caught.value.detail


def test_many_threads_may_store_the_same_file(store: BlobStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: store.put(_ID, "png", _DATA), range(64)))
    assert stored_files(tmp_path) == list(paths)
    assert_whole(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_file_and_no_rest(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        fail_fsync(patch, number=number)
        with pytest.raises(StoreError, match=rf"disk is full.*{_ID}\.png.*Free some space"):
            store.put(_ID, "png", _DATA)
    assert stored_files(tmp_path) == []
    assert store.put(_ID, "png", _DATA).read_bytes() == _DATA


def test_a_disk_that_fills_up_while_bytes_are_written_leaves_no_rest(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        original(descriptor, bytes(data)[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StoreError, match="disk is full"):
        store.put(_ID, "png", _DATA)
    assert stored_files(tmp_path) == []


@pytest.mark.parametrize("step", ["chmod", "replace"])
def test_any_step_that_fails_leaves_no_rest(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(StoreError, match=r"could not be written: Input/output error.*healthy disk"):
        store.put(_ID, "png", _DATA)
    assert stored_files(tmp_path) == []


def test_an_interruption_leaves_no_rest(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.put(_ID, "png", _DATA)
    assert stored_files(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_reported(store: BlobStore) -> None:
    store.root.write_bytes(b"")
    with pytest.raises(StoreError, match=r"could not be written: .*Check that the folder"):
        store.put(_ID, "png", _DATA)


def test_a_lost_file_is_refused_by_its_path(store: BlobStore) -> None:
    with pytest.raises(ImageRefusedError, match=rf"{_ID}\.png: No such file") as caught:
        store.read(_ID, "png")
    assert caught.value.reason == "unreadable_file"


def test_names_of_new_files_and_of_all_folders_above_are_made_durable(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(blobs, "sync_directory", synced.append)
    store.sync_folders([])
    assert synced == []
    path = store.path_of(_ID, "png")
    store.sync_folders([path, path.with_suffix(".jpg")])
    assert sorted(synced) == [store.root.parent, store.root, path.parent.parent, path.parent]


def test_a_disk_that_cannot_keep_names_is_reported(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.put(_ID, "png", _DATA)
    store.sync_folders([path])
    fail_fsync(monkeypatch, number=errno.EIO)
    with pytest.raises(StoreError, match="objects could not be written"):
        store.sync_folders([path])
