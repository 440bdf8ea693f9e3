"""A catalogue made again from objects and journal."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import (
    Store,
    check_store,
    rebuild_catalogue,
    rebuild_journal,
)
from keshikaran.types import Refusal
from store_support import Steps, catalogue, spoil_index, stored_files
from support import bluish, encode, reddish, write_classes


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Ten images: labels by imports and a person, a contradiction, splits, a refusal."""
    pictures = write_classes(tmp_path / "pictures", 5)
    (pictures / "blue" / "same.png").write_bytes((pictures / "red" / "0000.png").read_bytes())
    (pictures / "red" / "no.png").write_text("no picture")
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(pictures, ["red"]))
        images = [image.image_id for image in store.labels.images()]
        store.labels.say(images[0], 0, who="me", why="looked")
        store.labels.say(images[1], 1, who="me", why="")
        store.labels.say(images[1], None, who="me", why="mistaken")
        store.assign_splits([(image_id, "test") for image_id in images], '{"name": "hash"}')
        store.assign_splits([(image_id, "train") for image_id in images[2:]], '{"name": "seed"}')
    return tmp_path / "w"


@pytest.fixture
def lost(workspace: Path) -> Path:
    """The same without its catalogue."""
    (workspace / "catalogue.sqlite").unlink()
    return workspace


def _with_times(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection:
        return "\n".join(connection.iterdump())


def _damage_line(folder: Path, *numbers: int) -> None:
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for number in numbers:
        lines[number - 1] = lines[number - 1].replace(b'"record"', b'"recork"')
    path.write_bytes(b"".join(lines))


def _line_of(folder: Path, *words: str) -> int:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if all(word in line for word in words))


@pytest.mark.parametrize("how", ["gone", "there", "nonsense", "rotten"])
def test_the_new_catalogue_is_the_old_one(workspace: Path, how: str) -> None:
    rows, dump = catalogue(workspace), _with_times(workspace)
    journal = (workspace / "journal.jsonl").read_bytes()
    path = workspace / "catalogue.sqlite"
    if how == "gone":
        path.unlink()
    elif how == "nonsense":
        path.write_bytes(b"nonsense" * 1000)
    elif how == "rotten":
        data = bytearray(path.read_bytes())
        data[4096 * 2 :] = b"\xff" * (len(data) - 4096 * 2)
        path.write_bytes(data)
    before = path.read_bytes() if path.exists() else None
    steps = Steps()
    report = rebuild_catalogue(workspace, steps)
    assert (report.images, report.adopted, report.missing, report.lost) == (10, 0, 0, ())
    assert report.transactions == steps.done == 7
    assert catalogue(workspace) == rows
    assert _with_times(workspace) == dump
    assert (workspace / "journal.jsonl").read_bytes() == journal
    assert check_store(workspace, full=True).findings == ()
    if before is None:
        assert report.kept == ()
    else:
        assert (workspace / report.kept[0]).read_bytes() == before


def test_work_goes_on_behind_a_rebuild(lost: Path, tmp_path: Path) -> None:
    rebuild_catalogue(lost)
    with Store(lost) as store:
        more = write_classes(tmp_path / "more", 2, start=90)
        assert import_source(store, scan_folder(more, ["red"])).imported == 4
    assert check_store(lost, full=True).findings == ()


def test_an_object_that_no_line_names_gets_a_row_without_label(lost: Path, tmp_path: Path) -> None:
    data = encode(reddish(777))
    with Store(tmp_path / "other") as other:
        other.blobs.put(image_id_of(data), "png", data)
    name = f"{image_id_of(data)}.png"
    place = lost / "objects" / name[:2] / name[2:4]
    place.mkdir(parents=True, exist_ok=True)
    (tmp_path / "other" / "objects" / name[:2] / name[2:4] / name).replace(place / name)
    report = rebuild_catalogue(lost)
    assert (report.images, report.adopted, report.lost) == (11, 1, ())
    with Store(lost) as store:
        assert store.known_images([image_id_of(data)])
        assert store.entries_of(image_id_of(data)) == []
        assert image_id_of(data) not in {image.image_id for image in store.labels.images()}
    assert check_store(lost, full=True).findings == ()


def test_an_object_whose_line_is_damaged_keeps_its_labels(lost: Path) -> None:
    _damage_line(lost, _line_of(lost, '"kind":"image"'))
    report = rebuild_catalogue(lost)
    assert (report.images, report.adopted) == (10, 1)
    assert report.lost == ("journal.jsonl: line 2 is damaged",)
    with Store(lost) as store:
        assert len(store.labels.images()) == 9  # and one labelled both ways
    assert check_store(lost, full=True).findings == ()
    assert sorted(name.split(".before")[0] for name in report.kept) == ["journal.jsonl"]


def test_a_damaged_label_is_named_and_costs_itself_only(lost: Path) -> None:
    number = _line_of(lost, '"by":"person"', '"why":"looked"')
    _damage_line(lost, number)
    report = rebuild_catalogue(lost)
    assert report.lost == (f"journal.jsonl: line {number} is damaged",)
    assert len(catalogue(lost)["label_events"]) == 14 - 1
    assert check_store(lost, full=True).findings == ()


def test_a_torn_end_is_left_out_in_silence(workspace: Path) -> None:
    with Store(workspace) as store:
        rows = catalogue(workspace)
        store.assign_splits([], "{}")
    path = workspace / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    (workspace / "catalogue.sqlite").unlink()
    assert rebuild_catalogue(workspace).lost == ()
    assert catalogue(workspace) == rows
    Store(workspace).close()
    assert check_store(workspace, full=True).findings == ()


def test_labels_of_an_image_of_which_nothing_is_left_are_named(lost: Path) -> None:
    number = _line_of(lost, '"kind":"image"')
    line = (lost / "journal.jsonl").read_text().splitlines()[number - 1]
    image_id = line.split('"image_id":"')[1][:64]
    _damage_line(lost, number)
    next(path for path in stored_files(lost) if path.stem == image_id).unlink()
    report = rebuild_catalogue(lost)
    assert (report.images, report.adopted) == (9, 0)
    assert f"a label of {image_id}, an image unknown" in report.lost
    assert check_store(lost, full=True).findings == ()


def test_a_row_without_object_is_counted_and_keeps_its_label(lost: Path) -> None:
    stored_files(lost)[0].unlink()
    report = rebuild_catalogue(lost)
    assert (report.images, report.missing) == (10, 1)
    assert [item.kind for item in check_store(lost).findings] == ["missing_object"]


@pytest.mark.parametrize(
    ("data", "extension", "words"),
    [
        (b"not what its name says", "png", "damaged_object"),
        (None, "jpg", "holds an image of the format png"),
    ],
)
def test_an_object_that_is_no_image_is_named(
    lost: Path, data: bytes | None, extension: str, words: str
) -> None:
    content = encode(bluish(555))
    name = f"{image_id_of(content)}.{extension}"
    path = lost / "objects" / name[:2] / name[2:4] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if data is None else data)
    report = rebuild_catalogue(lost)
    assert (report.adopted, len(report.lost)) == (0, 1)
    assert words in report.lost[0]


def test_without_a_journal_objects_are_all_there_is(lost: Path) -> None:
    (lost / "journal.jsonl").unlink()
    report = rebuild_catalogue(lost)
    assert (report.images, report.adopted, report.transactions) == (10, 10, 0)
    assert report.lost == ("journal.jsonl is missing: labels, sources and splits are unknown",)
    with Store(lost) as store:
        assert store.labels.images() == []
    assert check_store(lost, full=True).findings == ()


def test_a_damaged_beginning_of_the_journal_does_not_hide_the_rest(workspace: Path) -> None:
    rows = catalogue(workspace)
    (workspace / "catalogue.sqlite").unlink()
    _damage_line(workspace, 1)
    report = rebuild_catalogue(workspace)
    assert report.lost == ("journal.jsonl: line 1 is damaged",)
    assert catalogue(workspace) == rows
    assert check_store(workspace, full=True).findings == ()


@pytest.mark.parametrize("loss", ["missing", "short"])
def test_a_catalogue_that_is_well_and_knows_more_is_not_given_up(
    workspace: Path, loss: str
) -> None:
    path = workspace / "journal.jsonl"
    if loss == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = (workspace / "catalogue.sqlite").read_bytes()
    names = sorted(item.name for item in workspace.iterdir())
    with pytest.raises(StoreError, match=r"knows more than.*× label.*rebuild --journal"):
        rebuild_catalogue(workspace)
    assert (workspace / "catalogue.sqlite").read_bytes() == before
    assert sorted(item.name for item in workspace.iterdir()) == names


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked")
@pytest.mark.parametrize("rebuild", [rebuild_catalogue, rebuild_journal])
def test_nobody_may_use_the_workspace_meanwhile(workspace: Path, rebuild: object) -> None:
    assert callable(rebuild)
    with Store(workspace), pytest.raises(StoreError, match=r"Another command is using.*Wait"):
        rebuild(workspace)
    rebuild(workspace)


def test_a_rest_of_an_older_rebuild_is_no_hindrance(lost: Path) -> None:
    (lost / ".tmp-catalogue.sqlite").write_bytes(b"half a database")
    rebuild_catalogue(lost)
    assert not (lost / ".tmp-catalogue.sqlite").exists()


def test_the_rest_of_a_transaction_goes_with_its_old_catalogue(workspace: Path) -> None:
    (workspace / "catalogue.sqlite").write_bytes(b"damaged" * 1000)
    (workspace / "catalogue.sqlite-shm").write_bytes(b"hot")
    report = rebuild_catalogue(workspace)
    assert [name.split("Z")[1] for name in report.kept] == ["", "-shm"]
    assert not (workspace / "catalogue.sqlite-shm").exists()


@pytest.mark.parametrize("step", ["rename", "copyfile"])
def test_a_disk_that_refuses_is_reported(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (workspace / "catalogue.sqlite").write_bytes(b"damaged" * 1000)
    _damage_line(workspace, 2)
    if step == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    else:
        monkeypatch.setattr("keshikaran.store.rebuild.shutil.copyfile", fail)
    with pytest.raises(StoreError, match="disk is full"):
        rebuild_catalogue(workspace)
    monkeypatch.undo()
    assert rebuild_catalogue(workspace).images == 10


# The journal from the catalogue


@pytest.mark.parametrize("how", ["missing", "short", "damaged", "foreign"])
def test_a_journal_is_written_anew_from_the_catalogue(
    workspace: Path, tmp_path: Path, how: str
) -> None:
    path = workspace / "journal.jsonl"
    before = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "short":
        path.write_bytes(before[: len(before) // 2])
    elif how == "damaged":
        _damage_line(workspace, 5)
    else:
        with Store(tmp_path / "other") as store:
            store.record_skipped("/r", [Refusal("x", "import", "corrupt", "odd" * len(before))])
        (tmp_path / "other" / "journal.jsonl").replace(path)
    dump = catalogue(workspace)
    report = rebuild_journal(workspace)
    assert (report.images, report.transactions, len(report.kept)) == (10, 1, how != "missing")
    assert catalogue(workspace) == dump
    assert check_store(workspace, full=True).findings == ()
    (workspace / "catalogue.sqlite").unlink()
    rebuild_catalogue(workspace)
    assert catalogue(workspace) == dump


def test_a_damaged_catalogue_makes_no_journal(workspace: Path) -> None:
    path = workspace / "catalogue.sqlite"
    journal = (workspace / "journal.jsonl").read_bytes()
    data = bytearray(path.read_bytes())
    data[4096 * 8 : 4096 * 14] = b"\xff" * (4096 * 6)
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="damaged"):
        rebuild_journal(workspace)
    assert (workspace / "journal.jsonl").read_bytes() == journal


def test_a_catalogue_whose_index_lies_makes_no_journal_but_is_rebuilt(workspace: Path) -> None:
    rows = catalogue(workspace)
    spoil_index(workspace / "catalogue.sqlite", "images_by_object_id", "images", "format")
    with pytest.raises(DamagedStoreError, match=r"is damaged itself: .*keshikaran rebuild"):
        rebuild_journal(workspace)
    assert len(rebuild_catalogue(workspace).kept) == 1
    assert catalogue(workspace) == rows
    assert check_store(workspace, full=True).findings == ()


def test_a_damaged_catalogue_is_given_up_for_less_than_it_had(workspace: Path) -> None:
    (workspace / "journal.jsonl").unlink()
    data = bytearray((workspace / "catalogue.sqlite").read_bytes())
    data[4096 * 6 :] = b"\xff" * (len(data) - 4096 * 6)
    (workspace / "catalogue.sqlite").write_bytes(data)
    assert rebuild_catalogue(workspace).adopted == 10


def test_a_row_that_refers_to_nothing_is_not_kept_for_its_own_sake(workspace: Path) -> None:
    rows = catalogue(workspace)
    with closing(sqlite3.connect(workspace / "catalogue.sqlite")) as connection, connection:
        connection.execute("INSERT INTO sources VALUES ('/r', 'e', 'nobody')")
    rebuild_catalogue(workspace)
    assert catalogue(workspace) == rows
