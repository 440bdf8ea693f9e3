import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keshikaran.errors import StoreError, UsageError
from keshikaran.hashing import content_ids, image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.linktree import write_link_tree
from keshikaran.split import SplitScheme, split_images
from keshikaran.store import Store
from keshikaran.types import SPLITS
from store_support import snapshot
from support import encode, reddish, write_classes

_IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = write_classes(tmp_path / "pictures", 12)
    (folder / "red" / "photo.bin").write_bytes(encode(reddish(99), "JPEG"))
    return folder


@pytest.fixture
def store(tmp_path: Path, pictures: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        import_source(opened, scan_folder(pictures, ["red"]))
        split_images(opened)
        yield opened


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "links"


def _tree(out: Path) -> dict[str, Path]:
    return {
        path.relative_to(out).as_posix(): path.readlink()
        for path in out.rglob("*")
        if path.is_symlink()
    }


def _expected(store: Store) -> dict[str, Path]:
    sides = store.splits()
    extensions = store.extension_of(list(sides))
    return {
        f"{sides[image.image_id]}/{image.label}/{image.object_id}.{extension}": (
            store.blobs.path_of(image.image_id, extension)
        )
        for image in store.labels.images()
        if image.image_id in sides
        for extension in [extensions[image.image_id]]
    }


def test_each_image_is_linked_under_its_side_and_label(
    store: Store, out: Path, pictures: Path
) -> None:
    report = write_link_tree(store, out)
    assert (report.folder, report.made, report.kept) == (out, 25, 0)
    assert _tree(out) == _expected(store)
    by_content = {
        content_ids(path.read_bytes()).object_id: "1" if path.parent.name == "red" else "0"
        for path in pictures.rglob("*.*")
    }
    for path in out.glob("*/*/*"):
        assert path.resolve().is_file()
        assert content_ids(path.read_bytes()).object_id == path.stem
        assert by_content[path.stem] == path.parent.name
    assert {path.suffix for path in out.glob("*/*/*")} == {".png", ".jpg"}


def test_links_lead_to_the_store_from_any_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store(Path("w")) as relative:
        report = write_link_tree(relative, Path("links"))
    assert report.folder == tmp_path / "links"
    assert _tree(tmp_path / "links") == _expected(store)


def test_a_trainer_that_reads_folders_finds_classes_and_images(store: Store, out: Path) -> None:
    """The walk of torchvision's ImageFolder and of Keras' image_dataset_from_directory."""
    write_link_tree(store, out)
    for side in SPLITS:
        root = str(out / side)
        classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        assert classes == ["0", "1"]
        samples = [
            os.path.join(folder, name)  # noqa: PTH118 - as it is written there
            for target in classes
            for folder, _, names in sorted(os.walk(os.path.join(root, target), followlinks=True))  # noqa: PTH118
            for name in sorted(names)
            if name.lower().endswith(_IMAGE_EXTENSIONS)
        ]
        wanted = [name for name in _expected(store) if name.startswith(f"{side}/")]
        assert samples == [str(out / name) for name in sorted(wanted)]


def test_both_classes_have_a_folder_even_without_images(tmp_path: Path, out: Path) -> None:
    with Store(tmp_path / "empty") as store:
        assert write_link_tree(store, out).made == 0
        assert write_link_tree(store, out).made == 0
    folders = {path.relative_to(out).as_posix() for path in out.glob("*/*")}
    assert folders == {f"{side}/{value}" for side in SPLITS for value in "01"}


def test_a_second_run_keeps_every_link(store: Store, out: Path) -> None:
    write_link_tree(store, out)
    before = snapshot(out)
    report = write_link_tree(store, out)
    assert (report.made, report.kept) == (0, 25)
    assert snapshot(out) == before


def test_another_split_moves_the_links(store: Store, out: Path) -> None:
    write_link_tree(store, out)
    before = _tree(out)
    split_images(store, SplitScheme(salt="another"))
    report = write_link_tree(store, out)
    after = _tree(out)
    assert after == _expected(store)
    assert report.kept == len(before.items() & after.items())
    assert report.made == len(after) - report.kept > 0


def test_another_label_moves_the_link_and_no_label_removes_it(store: Store, out: Path) -> None:
    write_link_tree(store, out)
    first, second, *_ = store.labels.images()
    store.labels.say(first.image_id, 1, who="ada", why="")
    store.assign_splits(
        [item for item in store.splits().items() if item[0] != second.image_id], "{}"
    )
    write_link_tree(store, out)
    assert _tree(out) == _expected(store)
    linked = {path.rpartition("/")[2].split(".")[0]: path.split("/")[1] for path in _tree(out)}
    assert linked[first.object_id] == "1"
    assert second.object_id not in linked


def test_a_workspace_that_moved_is_linked_anew(store: Store, out: Path, tmp_path: Path) -> None:
    write_link_tree(store, out)
    store.close()
    moved = (tmp_path / "w").rename(tmp_path / "moved")
    with Store(moved) as again:
        report = write_link_tree(again, out)
        assert (report.made, report.kept) == (25, 0)
        assert _tree(out) == _expected(again)


def test_the_store_and_the_sources_are_left_alone(store: Store, out: Path, pictures: Path) -> None:
    before = snapshot(store.folder / "objects"), snapshot(pictures)
    write_link_tree(store, out)
    assert (snapshot(store.folder / "objects"), snapshot(pictures)) == before


def test_files_that_others_put_into_the_tree_are_never_touched(store: Store, out: Path) -> None:
    write_link_tree(store, out)
    strangers = [
        out / "train" / "notes.txt",
        out / "train" / "0" / "mine.png",
        out / "test" / "1" / "labels.cache",
    ]
    for path in strangers:
        path.write_text("mine")
    link = out / "train" / "1" / "mine-too.png"
    link.symlink_to(strangers[1])
    split_images(store, SplitScheme(salt="another"))
    write_link_tree(store, out)
    assert [path.read_text() for path in strangers] == ["mine"] * 3
    assert link.readlink() == strangers[1]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_link_is_kept_and_reported(
    store: Store, out: Path, pictures: Path, kind: str
) -> None:
    write_link_tree(store, out)
    path = out / sorted(_tree(out))[0]
    path.unlink()
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(pictures / "red" / "0000.png")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="could not be written: File exists"):
        write_link_tree(store, out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["holiday.jpg", "models", ".hidden"])
def test_a_folder_with_other_things_is_refused(store: Store, out: Path, name: str) -> None:
    out.mkdir()
    (out / name).touch()
    before = snapshot(out)
    with pytest.raises(UsageError, match=rf"links holds other things \({name}\)\. Name a new"):
        write_link_tree(store, out)
    assert snapshot(out) == before


def test_somebody_elses_tree_of_the_same_shape_is_refused(
    store: Store, out: Path, pictures: Path
) -> None:
    """A data set laid out for a trainer, or links that another program wrote."""
    for side in SPLITS:
        (out / side / "0").mkdir(parents=True)
    name = f"{image_id_of(b'')[:40]}.png"
    (out / "train" / "0" / name).symlink_to(pictures / "blue" / "0000.png")
    before = snapshot(out)
    with pytest.raises(UsageError, match=rf"holds other things \(train/0/{name}\)"):
        write_link_tree(store, out)
    (out / "train" / "0" / name).unlink()
    (out / "test" / "0" / "cat.jpg").touch()
    with pytest.raises(UsageError, match=r"holds other things \(test/0/cat\.jpg\)"):
        write_link_tree(store, out)
    (out / "test" / "0" / "cat.jpg").unlink()
    assert snapshot(out).keys() <= before.keys()
    assert write_link_tree(store, out).made == 25


def test_a_file_in_the_place_of_the_folder_is_refused(store: Store, out: Path) -> None:
    out.touch()
    with pytest.raises(UsageError, match=r"links is a file\. Name a new or empty folder"):
        write_link_tree(store, out)


def test_a_full_disk_is_reported_and_a_second_run_completes(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.symlink_to
    made: list[Path] = []

    def symlink_to(path: Path, target: Path) -> None:
        if len(made) == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        made.append(path)
        original(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", symlink_to)
        with pytest.raises(StoreError, match="disk is full"):
            write_link_tree(store, out)
    report = write_link_tree(store, out)
    assert (report.made, report.kept) == (15, 10)
    assert _tree(out) == _expected(store)


def test_a_folder_one_may_not_look_into_is_reported(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    out.mkdir()
    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(StoreError, match="could not be written: Permission denied"):
        write_link_tree(store, out)
