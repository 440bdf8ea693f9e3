"""Who may use a folder together, and who has to have it alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keshikaran.errors import StoreError
from keshikaran.store import Store, lock
from keshikaran.store.lock import FolderLock, alone_in, hold_workspace

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked")


def test_many_share_and_one_is_alone(tmp_path: Path) -> None:
    first, second, alone = (FolderLock(tmp_path) for _ in range(3))
    assert first.share(0)
    assert second.share(0)
    assert not alone.take_alone()
    first.release()
    assert not alone.take_alone()
    second.release()
    assert alone.take_alone()
    assert not first.share(0)
    assert list(tmp_path.iterdir()) == []


def test_who_shares_waits_for_the_one_who_is_alone(tmp_path: Path) -> None:
    alone, other = FolderLock(tmp_path), FolderLock(tmp_path)
    assert alone.take_alone()
    timer = threading.Timer(0.1, alone.release)
    timer.start()
    assert other.share(30)
    timer.join()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from keshikaran.store.lock import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1])); lock.share(0); print('held', flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not FolderLock(tmp_path).take_alone()
        process.kill()
        process.wait()
        assert FolderLock(tmp_path).take_alone()


def test_a_child_process_does_not_keep_what_was_given_back(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    assert held.take_alone()
    descriptor = held._descriptor
    assert descriptor is not None
    copy = os.dup(descriptor)  # what a forked child has
    held.release()
    assert FolderLock(tmp_path).take_alone()
    os.close(copy)


def test_a_lock_that_is_forgotten_is_given_back(tmp_path: Path) -> None:
    forgotten = FolderLock(tmp_path)
    assert forgotten.take_alone()
    del forgotten
    assert FolderLock(tmp_path).take_alone()


def test_a_workspace_being_rebuilt_is_waited_for_and_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_TIMEOUT_S", 0.05)
    with (
        alone_in(tmp_path, "Busy."),
        pytest.raises(StoreError, match=r"being rebuilt by another command.*Wait"),
    ):
        Store(tmp_path)
    Store(tmp_path).close()


def test_objects_being_cleared_up_are_waited_for_and_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.store.blobs._LOCK_TIMEOUT_S", 0.05)
    with Store(tmp_path) as store:
        (tmp_path / "objects").mkdir()
        with (
            alone_in(tmp_path / "objects", "Busy."),
            pytest.raises(StoreError, match=r"being cleared up by another command.*Wait"),
        ):
            store.blobs.put(store.known_images([]) or "0" * 64, "png", b"data")  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"gone could not be written: No such file"),
        alone_in(tmp_path / "gone", "Busy."),
    ):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"inside could not be written"),
        hold_workspace(tmp_path / "file" / "inside"),
    ):
        pass


def test_where_there_are_no_locks_nobody_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("keshikaran.store.lock.fcntl.flock", flock)
    with hold_workspace(tmp_path), alone_in(tmp_path, "Busy."):
        pass


def test_a_store_that_cannot_be_opened_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"no database at all")
    with pytest.raises(StoreError, match="is damaged"):
        Store(tmp_path)
    assert FolderLock(tmp_path).take_alone()
