"""Hashes, and files that are either old or new after a crash, never half."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keshikaran.errors import StoreError
from keshikaran.hashing import content_ids, image_id_of, sync_directory, write_durably, write_error

_SHA1_OF_ABC = "a9993e364706816aba3e25717850c26c9cd0d89d"
_SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_both_names_of_the_same_bytes() -> None:
    ids = content_ids(b"abc")
    assert ids.image_id == image_id_of(b"abc") == _SHA256_OF_ABC
    assert ids.object_id == _SHA1_OF_ABC


def test_other_bytes_have_another_name() -> None:
    assert image_id_of(b"abc") != image_id_of(b"abd")


def test_written_file_holds_the_bytes_and_can_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    write_durably(path, b"content")
    assert path.read_bytes() == b"content"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old and longer")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"


def _failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    if step == "fsync":
        monkeypatch.setattr("keshikaran.hashing.os.fsync", _failing(code))
    else:
        monkeypatch.setattr(Path, "replace", _failing(code))
    with pytest.raises(StoreError, match="The disk is full") as caught:
        write_durably(path, b"new")
    assert str(path) in str(caught.value)
    assert "Free some space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "inside.bin"
    with pytest.raises(StoreError, match="could not be written") as caught:
        write_durably(path, b"new")
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_an_error_without_words_is_still_told() -> None:
    assert "strange" in str(write_error(Path("x"), OSError("strange")))


def test_temporary_file_that_cannot_be_removed_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", _failing(errno.EIO))
    monkeypatch.setattr(Path, "unlink", _failing(errno.EIO))
    with pytest.raises(StoreError, match="could not be written"):
        write_durably(tmp_path / "file.bin", b"new")


def test_folders_are_not_synced_where_they_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr("keshikaran.hashing.os.open", lambda *args: opened.append(args))
    with monkeypatch.context() as windows:
        windows.setattr("keshikaran.hashing.os.name", "nt")
        sync_directory(tmp_path)
    assert not opened
