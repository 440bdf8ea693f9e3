"""What is taken away, and what never is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from keshikaran.errors import StoreError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import GcReport, Store, check_store, collect_garbage
from store_support import Steps, catalogue, stored_files
from support import write_classes

_LEFT = b"left by an import that died"
_HOUR = 3600.0


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(write_classes(tmp_path / "pictures", 3), ["red"]))
    return tmp_path / "w"


@pytest.fixture
def garbage(workspace: Path) -> list[str]:
    """An object without a row, and temporary files in three places."""
    name = f"{image_id_of(_LEFT)}.png"
    place = workspace / "objects" / name[:2] / name[2:4]
    (workspace / "models").mkdir()
    files = [place / name, place / ".tmp-a", workspace / "models" / ".tmp-b", workspace / ".tmp-c"]
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.write_bytes(_LEFT)
    return sorted(file.relative_to(workspace).as_posix() for file in files)


def test_old_garbage_goes_and_everything_else_stays(workspace: Path, garbage: list[str]) -> None:
    kept = stored_files(workspace)
    rows = catalogue(workspace)
    (workspace / "objects" / "notes.txt").write_text("not ours to remove")
    steps = Steps()
    report = collect_garbage(workspace, now=time.time() + 2 * _HOUR, progress=steps)
    assert report == GcReport(3, 1, 4 * len(_LEFT), 0, tuple(garbage), dry_run=False)
    assert (steps.tasks, steps.done) == ([("collect", 4)], 4)
    assert not any((workspace / name).exists() for name in garbage)
    assert set(stored_files(workspace)) <= {*kept, workspace / "objects" / "notes.txt"}
    assert catalogue(workspace) == rows
    assert [item.kind for item in check_store(workspace, full=True).findings] == ["strange_file"]


def test_a_dry_run_says_the_same_and_removes_nothing(workspace: Path, garbage: list[str]) -> None:
    later = time.time() + 2 * _HOUR
    dry = collect_garbage(workspace, dry_run=True, now=later)
    assert (dry.removed, dry.dry_run) == (tuple(garbage), True)
    assert all((workspace / name).exists() for name in garbage)
    assert collect_garbage(workspace, now=later).removed == dry.removed


def test_nothing_younger_than_an_hour_goes(workspace: Path, garbage: list[str]) -> None:
    for now in (None, time.time() + _HOUR - 60):
        report = collect_garbage(workspace, now=now)
        assert (report.removed, report.too_young) == ((), 4)
    assert all((workspace / name).exists() for name in garbage)


@pytest.mark.skipif(os.name == "nt", reason="the time of the last change is POSIX")
def test_a_file_that_was_given_an_old_time_is_not_old(workspace: Path, garbage: list[str]) -> None:
    for name in garbage:
        os.utime(workspace / name, (1, 1))
    assert collect_garbage(workspace).too_young == 4


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked")
def test_an_import_at_work_keeps_everything(workspace: Path, garbage: list[str]) -> None:
    later = time.time() + 2 * _HOUR
    with Store(workspace) as store:
        store.blobs.put(image_id_of(b"new"), "png", b"new")
        with pytest.raises(StoreError, match=r"An import is at work.*Wait for it"):
            collect_garbage(workspace, now=later)
    assert all((workspace / name).exists() for name in garbage)
    assert len(collect_garbage(workspace, now=later).removed) == 5


def test_who_only_reads_and_labels_is_not_in_the_way(workspace: Path, garbage: list[str]) -> None:
    with Store(workspace) as store:
        image = store.labels.images()[0]
        store.labels.say(image.image_id, 0, who="me", why="")
        assert collect_garbage(workspace, now=time.time() + 2 * _HOUR).removed == tuple(garbage)
        assert store.blobs.read(image.image_id, "png")


def test_an_empty_catalogue_is_not_taken_at_its_word(workspace: Path) -> None:
    files = stored_files(workspace)
    (workspace / "catalogue.sqlite").unlink()
    (workspace / "journal.jsonl").unlink()
    with pytest.raises(StoreError, match=r"knows no image at all.*keshikaran rebuild"):
        collect_garbage(workspace, now=time.time() + 2 * _HOUR)
    assert stored_files(workspace) == files


def test_a_file_that_cannot_be_removed_is_named(
    workspace: Path, garbage: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(StoreError, match=r"\.png could not .*Permission denied"):
        collect_garbage(workspace, now=time.time() + 2 * _HOUR)
    assert garbage


def test_a_file_in_the_place_of_the_objects_is_reported(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "objects").write_bytes(b"")
    with pytest.raises(StoreError, match="objects could not be written"):
        collect_garbage(tmp_path)
