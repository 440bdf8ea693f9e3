import errno
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keshikaran.errors import SourceError, StoreError
from keshikaran.hashing import ContentIds, content_ids, image_id_of
from keshikaran.ingest import (
    CLASS_NAMES,
    ImportReport,
    import_source,
    importer,
    scan_files,
    scan_folder,
)
from keshikaran.pixels import Limits
from keshikaran.store import ImageRecord, Store
from keshikaran.types import ImageId, Label, Refusal
from store_support import (
    Steps,
    assert_whole,
    catalogue,
    deny_reading,
    fail_fsync,
    snapshot,
    stored_files,
)
from support import bluish, encode, reddish, write_classes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five reddish and five bluish pictures in class folders."""
    return write_classes(tmp_path / "pictures", 5)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def store(workspace: Path) -> Iterator[Store]:
    with Store(workspace) as opened:
        yield opened


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "_BATCH", 3)


def _labels(store: Store) -> dict[str, int]:
    """Object id → label."""
    return {image.object_id: image.label for image in store.labels.images()}


def _by_class(folder: Path, **labels: int) -> dict[str, int]:
    return {
        content_ids(path.read_bytes()).object_id: label
        for name, label in labels.items()
        for path in (folder / name).iterdir()
    }


def _dump(workspace: Path) -> list[str]:
    """The whole catalogue, times included."""
    with closing(sqlite3.connect(workspace / "catalogue.sqlite")) as connection:
        return list(connection.iterdump())


def _clean_import(folder: Path, workspace: Path, *positives: str) -> dict[str, list[Any]]:
    with Store(workspace) as store:
        import_source(store, scan_folder(folder, positives))
    return dict(catalogue(workspace))


def _disputed(tmp_path: Path) -> Path:
    """Class folders with one picture under both names, and one of each besides."""
    folder = write_classes(tmp_path / "disputed", 1)
    for name in ("red", "blue"):
        (folder / name / "same.png").write_bytes(encode(reddish(77)))
    return folder


# What an import does


def test_every_file_is_copied_under_the_hash_of_its_bytes(
    store: Store, pictures: Path, workspace: Path
) -> None:
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert report == ImportReport(seen=10, imported=10, labels=10)
    files = [path for path in pictures.rglob("*") if path.is_file()]
    assert {path.name for path in stored_files(workspace)} == {
        f"{image_id_of(path.read_bytes())}.png" for path in files
    }
    assert_whole(workspace)
    assert store.count_images() == 10


def test_an_image_is_recorded_with_what_its_header_says(store: Store, workspace: Path) -> None:
    source = workspace.parent / "one.bin"
    source.write_bytes(encode(reddish(1).resize((40, 30)), "JPEG"))
    import_source(store, scan_files([source]))
    ids = content_ids(source.read_bytes())
    ((image_id, object_id, *rest),) = catalogue(workspace)["images"]
    assert (image_id, object_id) == (ids.image_id, ids.object_id)
    assert rest == ["jpeg", source.stat().st_size, 40, 30]
    assert store.blobs.read(ids.image_id, "jpg") == source.read_bytes()


def test_positive_says_which_class_folders_are_objectionable(store: Store, pictures: Path) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    assert _labels(store) == _by_class(pictures, red=1, blue=0)


@pytest.mark.parametrize("name", [*CLASS_NAMES, "Positive", "OBJECTIONABLE"])
def test_folders_that_say_their_class_need_no_positive(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "deep" / "er").mkdir(parents=True)
    (tmp_path / name / "deep" / "er" / "a.png").touch()
    (tmp_path / "unknown").mkdir()
    (tmp_path / "unknown" / "b.png").touch()
    labels = {entry.name: entry.label for entry in scan_folder(tmp_path).entries}
    expected = CLASS_NAMES[name.lower()]
    assert labels == {f"{name}/deep/er/a.png": expected, "unknown/b.png": None}


def test_folder_names_that_say_nothing_give_no_labels(store: Store, pictures: Path) -> None:
    report = import_source(store, scan_folder(pictures))
    assert (report.imported, report.labels) == (10, 0)
    assert store.labels.images() == []


def test_files_outside_class_folders_carry_no_label(pictures: Path) -> None:
    (pictures / "loose.png").touch()
    labels = {entry.name: entry.label for entry in scan_folder(pictures, ["red"]).entries}
    assert labels["loose.png"] is None
    assert set(labels.values()) == {None, 0, 1}


def test_entries_come_in_the_same_order_whatever_the_disk_says(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scan_folder(pictures)
    original = os.walk

    def backwards(*args: Any, **options: Any) -> Iterator[Any]:
        for folder, folders, files in original(*args, **options):
            folders.reverse()
            yield folder, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert scan_folder(pictures) == expected
    names = [entry.name for entry in expected.entries]
    assert names == sorted(names)


def test_progress_is_told_of_every_file(store: Store, pictures: Path) -> None:
    steps = Steps()
    import_source(store, scan_folder(pictures), progress=steps)
    assert steps.tasks == [("import", 10)]
    assert steps.done == 10


def test_two_imports_add_up() -> None:
    refusals = tuple(Refusal(name, "import", "corrupt", "") for name in "ab")
    one = ImportReport(5, 3, 1, 1, 4, refusals[:1])
    two = ImportReport(1, 0, 0, 1, 0, refusals[1:])
    assert one + two == ImportReport(6, 3, 1, 2, 4, refusals)


# Importing again


def test_importing_again_changes_no_row_and_no_file(
    store: Store, pictures: Path, workspace: Path
) -> None:
    (pictures / "red" / "text.jpg").write_text("no picture")
    import_source(store, scan_folder(pictures, ["red"]))
    rows, files = catalogue(workspace), snapshot(workspace / "objects")
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.seen, report.imported, report.duplicates, report.skipped) == (11, 0, 10, 1)
    assert report.labels == 0
    assert catalogue(workspace) == rows
    assert snapshot(workspace / "objects") == files


def test_importing_again_changes_no_time_of_a_row(
    store: Store, pictures: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    rows = _dump(workspace)
    monkeypatch.setattr("keshikaran.store.store._now", lambda: "2999-01-01T00:00:00+00:00")
    import_source(store, scan_folder(pictures, ["red"]))
    assert _dump(workspace) == rows


def test_the_same_picture_under_another_name_is_a_duplicate(
    store: Store, pictures: Path, workspace: Path
) -> None:
    shutil.copy(pictures / "red" / "0000.png", pictures / "red" / "copy.png")
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.duplicates) == (10, 1)
    assert len(stored_files(workspace)) == 10
    image_id = image_id_of((pictures / "red" / "copy.png").read_bytes())
    assert store.entries_of(image_id) == [
        str(pictures / "red" / "0000.png"),
        str(pictures / "red" / "copy.png"),
    ]


@pytest.mark.usefixtures("small_batches")
def test_batches_make_no_difference(store: Store, pictures: Path, workspace: Path) -> None:
    shutil.copy(pictures / "red" / "0000.png", pictures / "blue" / "zzzz.png")
    (pictures / "blue" / "empty.png").touch()
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.seen, report.imported, report.duplicates, report.skipped) == (12, 10, 1, 1)
    assert catalogue(workspace) == _clean_import(pictures, workspace.parent / "other", "red")


def test_another_positive_revises_the_labels_without_a_contradiction(
    store: Store, pictures: Path
) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    report = import_source(store, scan_folder(pictures, ["blue"]))
    assert (report.duplicates, report.labels) == (10, 10)
    assert store.labels.contradictions() == []
    assert _labels(store) == _by_class(pictures, red=0, blue=1)
    import_source(store, scan_folder(pictures, ["red", "blue"]))
    assert store.labels.contradictions() == []
    assert _labels(store) == _by_class(pictures, red=1, blue=1)


def test_a_file_whose_content_was_replaced_is_another_image(store: Store, pictures: Path) -> None:
    path = pictures / "red" / "0000.png"
    import_source(store, scan_folder(pictures, ["red"]))
    path.write_bytes(encode(reddish(500)))
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.labels) == (1, 1)
    assert store.count_images() == 11


# The same bytes under two labels


def test_the_same_bytes_under_two_labels_are_reported_and_kept_out(
    store: Store, tmp_path: Path
) -> None:
    folder = _disputed(tmp_path)
    report = import_source(store, scan_folder(folder, ["red"]))
    assert (report.imported, report.duplicates) == (3, 1)
    (found,) = store.labels.contradictions()
    assert found.image_id == image_id_of((folder / "red" / "same.png").read_bytes())
    assert found.acceptable == (str(folder / "blue" / "same.png"),)
    assert found.objectionable == (str(folder / "red" / "same.png"),)
    assert found.image_id not in {image.image_id for image in store.labels.images()}
    assert len(store.labels.images()) == 2


def test_a_person_ends_the_contradiction_and_taking_the_word_back_reopens_it(
    store: Store, tmp_path: Path
) -> None:
    folder = _disputed(tmp_path)
    import_source(store, scan_folder(folder, ["red"]))
    before = store.labels.contradictions()
    image_id = before[0].image_id
    store.labels.say(image_id, 1, who="ada", why="a logo")
    assert store.labels.contradictions() == []
    assert {image.image_id: image.label for image in store.labels.images()}[image_id] == 1
    import_source(store, scan_folder(folder, ["red"]))
    assert store.labels.contradictions() == []
    store.labels.say(image_id, None, who="ada", why="")
    assert store.labels.contradictions() == before
    assert image_id not in {image.image_id for image in store.labels.images()}


# What counts as a file of the source


def test_links_to_files_are_followed_and_links_to_folders_are_not(
    store: Store, pictures: Path, tmp_path: Path
) -> None:
    outside = write_classes(tmp_path / "outside", 1, start=50)
    (pictures / "red" / "link.png").symlink_to(outside / "red" / "0050.png")
    (pictures / "red" / "folder").symlink_to(outside / "blue", target_is_directory=True)
    (pictures / "linked-class").symlink_to(outside / "blue", target_is_directory=True)
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.seen, report.imported) == (11, 11)
    linked = content_ids((outside / "red" / "0050.png").read_bytes())
    assert _labels(store)[linked.object_id] == 1
    copy = store.blobs.path_of(linked.image_id, "png")
    assert not copy.is_symlink()
    assert store.entries_of(linked.image_id) == [str(pictures / "red" / "link.png")]


def test_the_source_itself_may_be_a_link(store: Store, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pictures, target_is_directory=True)
    import_source(store, scan_folder(tmp_path / "link", ["red"]))
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.duplicates, report.labels) == (10, 0)


def test_a_link_that_leads_nowhere_is_listed(store: Store, pictures: Path) -> None:
    (pictures / "red" / "gone.png").symlink_to(pictures / "nowhere.png")
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert report.imported == 10
    (refusal,) = report.refusals
    assert refusal == Refusal(
        "red/gone.png", "import", "unreadable_file", os.strerror(errno.ENOENT)
    )


def test_hidden_files_and_files_of_the_system_are_not_listed(pictures: Path) -> None:
    expected = scan_folder(pictures)
    (pictures / ".cache").mkdir()
    for name in (".cache/a.png", "red/.DS_Store", "red/Thumbs.db", "blue/desktop.ini"):
        (pictures / name).touch()
    assert scan_folder(pictures) == expected


def test_a_workspace_inside_the_source_is_not_imported(pictures: Path) -> None:
    workspace = pictures / "keshikaran-workspace"
    with Store(workspace) as store:
        import_source(store, scan_folder(pictures, ["red"]))
        report = import_source(store, scan_folder(pictures, ["red"]))
        assert (report.seen, report.duplicates, report.labels) == (10, 10, 0)
        assert store.labels.contradictions() == []


def test_a_pipe_is_refused_and_not_waited_for(store: Store, pictures: Path) -> None:
    os.mkfifo(pictures / "red" / "pipe.png")
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert report.imported == 10
    (refusal,) = report.refusals
    assert (refusal.path, refusal.reason) == ("red/pipe.png", "unreadable_file")
    assert refusal.detail == "not a regular file"


def test_names_in_old_encodings_are_imported_and_written_with_escapes(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"Caf\xe9")
    (folder / "red").mkdir(parents=True)
    (folder / "red" / os.fsdecode(b"\x93\xfa\x96{.png")).write_bytes(encode(reddish(1)))
    (folder / "red" / os.fsdecode(b"\xe9.txt")).write_text("no picture")
    for _ in range(2):
        report = import_source(store, scan_folder(folder, ["red"]))
    assert (report.seen, report.duplicates, report.skipped, report.labels) == (2, 1, 1, 0)
    (image,) = store.labels.images()
    name = r"Caf\udce9/red/\udc93\udcfa\udc96{.png"
    assert store.entries_of(image.image_id) == [str(tmp_path / name)]
    assert [refusal.path for refusal in store.skipped()] == [
        str(tmp_path / r"Caf\udce9/red/\udce9.txt")
    ]


# What is refused, and what cannot be read


def test_the_content_decides_what_a_file_is(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode(reddish(1), "PNG"))
    (folder / "b.txt").write_bytes(encode(reddish(2), "JPEG"))
    (folder / "c.png").write_text("words")
    (folder / "d.png").touch()
    (folder / "e.png").write_bytes(b"%PDF-1.7")
    report = import_source(store, scan_folder(folder))
    assert report.imported == 2
    assert {path.suffix for path in stored_files(store.folder)} == {".png", ".jpg"}
    assert [(refusal.path, refusal.reason) for refusal in report.refusals] == [
        ("c.png", "not_an_image"),
        ("d.png", "empty_file"),
        ("e.png", "unsupported_format"),
    ]
    listed = [(refusal.path, refusal.stage) for refusal in store.skipped()]
    assert listed == [(str(folder / name), "import") for name in ("c.png", "d.png", "e.png")]


def test_a_file_beyond_the_limit_is_not_even_read(
    store: Store, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (pictures / "red" / "0000.png").stat().st_size
    (pictures / "red" / "huge.png").write_bytes(bytes(1_000_000))
    deny_reading(monkeypatch, "huge.png")
    report = import_source(store, scan_folder(pictures), limits=Limits(max_bytes=size + 5000))
    (refusal,) = report.refusals
    assert refusal.reason == "too_many_bytes"
    assert "1,000,000 bytes, the limit is" in refusal.detail
    report = import_source(store, scan_folder(pictures), limits=Limits(max_side=32))
    assert {refusal.reason for refusal in report.refusals} == {"side_too_long", "unreadable_file"}


def test_an_unreadable_file_is_listed_and_stops_nothing(
    store: Store, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        deny_reading(patch, "0003.png")
        report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.skipped) == (8, 2)
    assert [refusal.path for refusal in report.refusals] == ["blue/0003.png", "red/0003.png"]
    assert {refusal.detail for refusal in report.refusals} == {"Permission denied"}
    assert [refusal.path for refusal in store.skipped()] == [
        str(pictures / "blue" / "0003.png"),
        str(pictures / "red" / "0003.png"),
    ]
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.duplicates) == (2, 8)
    assert store.skipped() == []


def test_an_unreadable_folder_is_named_before_anything_is_imported(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.scandir

    def scandir(path: Any = ".") -> Any:
        if os.fspath(path) == str(pictures / "red"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match=r"pictures/red cannot be read: Permission denied"):
        scan_folder(pictures, ["red"])


def test_a_folder_that_is_missing_or_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere does not exist\. Check the path"):
        scan_folder(tmp_path / "nowhere")
    (tmp_path / "file.png").touch()
    with pytest.raises(SourceError, match=r"file\.png is no folder"):
        scan_folder(tmp_path / "file.png")


def test_a_name_that_no_file_can_have_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        scan_folder(tmp_path / ("x" * 5000))
    with pytest.raises(SourceError, match="is no file"):
        scan_files([tmp_path / ("x" * 5000)])


def test_single_files_carry_the_label_that_was_given(store: Store, tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for number, path in enumerate(paths):
        path.write_bytes(encode(bluish(number)))
    report = import_source(store, scan_files(paths, 1))
    assert (report.imported, report.labels) == (2, 2)
    assert set(_labels(store).values()) == {1}
    assert store.entries_of(image_id_of(paths[0].read_bytes())) == [str(paths[0])]
    report = import_source(store, scan_files(paths[:1], 0))
    assert (report.duplicates, report.labels) == (1, 1)
    assert store.labels.contradictions() == []


# What an import leaves alone


def test_sources_are_left_as_they_were_and_nothing_is_written_elsewhere(
    pictures: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "red" / "text.jpg").write_text("no picture")
    (pictures / "red" / "0001.png").chmod(0o400)
    (pictures / "red" / "link.png").symlink_to(pictures / "blue" / "0001.png")
    here, temporary = workspace.parent / "here", workspace.parent / "temporary"
    here.mkdir()
    temporary.mkdir()
    workspace.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = snapshot(workspace.parent, without=workspace)
    with Store(workspace) as store:
        for _ in range(2):
            import_source(store, scan_folder(pictures, ["red"]))
    assert snapshot(workspace.parent, without=workspace) == before
    assert {path.name for path in workspace.iterdir()} == {
        "catalogue.sqlite",
        "journal.jsonl",
        "objects",
    }


def test_stored_files_can_only_be_read(store: Store, pictures: Path, workspace: Path) -> None:
    (pictures / "red" / "0000.png").chmod(0o600)
    import_source(store, scan_folder(pictures))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in stored_files(workspace)}
    assert modes == {0o444}


# When the disk is full, or somebody presses ctrl-C


@pytest.mark.parametrize("allowed", [0, 5, 12])
@pytest.mark.usefixtures("small_batches")
def test_a_full_disk_keeps_what_was_committed_and_a_second_run_completes(
    pictures: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    with monkeypatch.context() as patch, Store(workspace) as store:
        fail_fsync(patch, after=allowed)
        with pytest.raises(StoreError, match=r"disk is full.*run the same command again"):
            import_source(store, scan_folder(pictures, ["red"]))
    assert_whole(workspace)
    stored = {path.stem for path in stored_files(workspace)}
    recorded = {row[0] for row in catalogue(workspace)["images"]}
    assert recorded <= stored
    assert len(recorded) < 10
    rows = _clean_import(pictures, workspace, "red")
    assert rows == _clean_import(pictures, workspace.parent / "other", "red")
    assert len(stored_files(workspace)) == 10


def test_a_disk_too_full_for_the_catalogue_records_nothing_by_halves(
    pictures: Path, workspace: Path
) -> None:
    for number in range(40):  # rows enough for another page
        (pictures / "blue" / f"{number:0150d}.png").write_bytes(encode(bluish(900 + number)))
    with Store(workspace) as store:
        connection = store._db.connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match=r"disk is full: .*catalogue\.sqlite"):
            import_source(store, scan_folder(pictures, ["red"]))
        assert store.count_images() == 0
        assert store.labels.images() == []
    assert_whole(workspace)
    rows = _clean_import(pictures, workspace, "red")
    assert rows == _clean_import(pictures, workspace.parent / "other", "red")


@pytest.mark.parametrize("at", [1, 4, 10])
@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_import_keeps_what_was_committed_and_can_go_on(
    pictures: Path, workspace: Path, at: int
) -> None:
    (pictures / "blue" / "0002x.png").write_text("no picture")
    with Store(workspace) as store, pytest.raises(KeyboardInterrupt):
        import_source(store, scan_folder(pictures, ["red"]), progress=Steps(interrupt_at=at))
    assert_whole(workspace)
    kept = catalogue(workspace)
    assert len(kept["images"]) + len(kept["skipped"]) == (at - 1) // 3 * 3
    with Store(workspace) as store:
        report = import_source(store, scan_folder(pictures, ["red"]))
    assert report.seen == 11
    assert report.imported == 10 - len(kept["images"])
    assert catalogue(workspace) == _clean_import(pictures, workspace.parent / "other", "red")


def test_moving_a_file_to_another_class_folder_corrects_its_label(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pictures", 2)
    with Store(tmp_path / "workspace") as store:
        import_source(store, scan_folder(folder, ["red"]))
        (folder / "red" / "0000.png").rename(folder / "blue" / "moved.png")
        report = import_source(store, scan_folder(folder, ["red"]))
        assert report.labels == 2  # the new claim, and the end of the old one
        assert store.labels.contradictions() == []
        assert sum(image.label for image in store.labels.images()) == 1


def test_a_source_that_was_cleared_after_its_import_loses_no_label(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pictures", 2)
    with Store(tmp_path / "workspace") as store:
        import_source(store, scan_folder(folder, ["red"]))
        for file in folder.glob("*/*.png"):
            file.unlink()
        write_classes(folder, 1, start=7)
        import_source(store, scan_folder(folder, ["red"]))
        assert len(store.labels.images()) == 6


def test_a_name_that_is_no_utf_8_is_not_taken_for_a_moved_file(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pictures", 1)
    data = (folder / "red" / "0000.png").read_bytes()
    (Path(os.fsdecode(os.fsencode(folder / "blue") + b"/\xff.png"))).write_bytes(data)
    with Store(tmp_path / "workspace") as store:
        for _ in range(2):
            import_source(store, scan_folder(folder, ["red"]))
            assert len(store.labels.contradictions()) == 1


# Images that pass for others, and objects that are not what they were


def test_an_image_made_to_have_the_sha1_of_another_is_refused_and_reported(
    store: Store, tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_classes(tmp_path / "twins", 1)
    harmless, banned = folder / "blue" / "0000.png", folder / "red" / "0000.png"

    def broken_sha1(data: bytes) -> ContentIds:
        return ContentIds(image_id_of(data), "c" * 40)

    monkeypatch.setattr("keshikaran.ingest.importer.content_ids", broken_sha1)
    heard: list[ImageId] = []

    def on_committed(images: Sequence[tuple[ImageRecord, Label | None]]) -> None:
        heard.extend(record.image_id for record, _ in images)

    report = import_source(store, scan_folder(folder, ["red"]), on_committed=on_committed)
    assert (report.seen, report.imported, report.duplicates, report.skipped) == (2, 1, 0, 1)
    assert heard == [image_id_of(harmless.read_bytes())]
    (refusal,) = report.refusals
    assert (refusal.path, refusal.reason) == ("red/0000.png", "sha1_collision")
    assert image_id_of(harmless.read_bytes()) in refusal.detail
    assert store.known_images([image_id_of(banned.read_bytes())]) == set()
    assert [item.reason for item in store.skipped()] == ["sha1_collision"]
    again = import_source(store, scan_folder(folder, ["red"]))
    assert (again.imported, again.duplicates, again.skipped) == (0, 1, 1)


def test_the_first_images_are_ready_long_before_the_last(store: Store, tmp_path: Path) -> None:
    """Who works on them meanwhile need not wait for a full batch."""
    told: list[int] = []
    source = scan_folder(write_classes(tmp_path / "forty", 20), ["red"])
    report = import_source(store, source, on_committed=lambda images: told.append(len(images)))
    assert report.imported == 40
    assert told == [16, 24]


@pytest.mark.parametrize("loss", ["flipped", "gone"])
def test_importing_the_original_again_repairs_its_object_durably(
    store: Store, pictures: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    victim = stored_files(workspace)[4]
    data = victim.read_bytes()
    victim.unlink()
    if loss == "flipped":
        victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    synced: list[Path] = []
    monkeypatch.setattr("keshikaran.store.blobs.sync_directory", synced.append)
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.duplicates) == (0, 10)
    assert victim.read_bytes() == data
    assert victim.parent in synced
    assert_whole(workspace)
