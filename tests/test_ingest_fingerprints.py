"""Importing again without reading: fast, and never at the price of missing a change."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cli_support import cli
from keshikaran.hashing import content_ids, image_id_of
from keshikaran.ingest import entries, import_source, scan_folder, scan_label_csv
from keshikaran.pixels import Limits
from keshikaran.store import ImageRecord, Store
from keshikaran.types import Label
from store_support import catalogue, deny_reading, stored_files
from support import encode, reddish, write_classes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pictures", 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old at once: nobody here waits for two seconds."""
    monkeypatch.setattr(entries, "_RACY_NS", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that were read, in the order of their reading."""
    found: list[str] = []
    original = entries.LocalFile.read

    def read(content: entries.LocalFile, limits: Limits) -> entries.Reading:
        found.append(content.path)
        return original(content, limits)

    monkeypatch.setattr(entries.LocalFile, "read", read)
    return found


def _age(*paths: Path) -> None:
    """Wait until no clock tick can hide a change of these files."""
    newest = max(path.stat().st_ctime_ns for path in paths)
    while time.time_ns() - newest < 2_000_000_000:
        time.sleep(0.05)


@pytest.mark.usefixtures("old_files")
def test_unchanged_files_are_not_read_again(store: Store, pictures: Path, reads: list[str]) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    rows = catalogue(store.folder)
    assert len(reads) == 6
    reads.clear()
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert reads == []
    assert (report.seen, report.duplicates, report.labels) == (6, 6, 0)
    assert catalogue(store.folder) == rows


@pytest.mark.usefixtures("old_files")
def test_rehash_reads_them_all_the_same(store: Store, pictures: Path, reads: list[str]) -> None:
    import_source(store, scan_folder(pictures))
    reads.clear()
    report = import_source(store, scan_folder(pictures), rehash=True)
    assert len(reads) == 6
    assert report.duplicates == 6


def test_files_changed_within_the_last_two_seconds_are_not_trusted(
    store: Store, pictures: Path, reads: list[str]
) -> None:
    import_source(store, scan_folder(pictures))
    with closing(sqlite3.connect(store.folder / "catalogue.sqlite")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM fingerprints").fetchone() == (0,)
    _age(*pictures.rglob("*.png"))
    reads.clear()
    import_source(store, scan_folder(pictures))
    assert len(reads) == 6
    reads.clear()
    import_source(store, scan_folder(pictures))
    assert reads == []


def test_a_file_with_a_time_in_the_future_is_always_read(
    store: Store, pictures: Path, reads: list[str]
) -> None:
    path = pictures / "red" / "0000.png"
    os.utime(path, (2**33, 2**33))
    _age(*(other for other in pictures.rglob("*.png") if other != path), path)
    for _ in range(2):
        reads.clear()
        import_source(store, scan_folder(pictures))
    assert reads == [str(path)]


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("keep_times", [False, True])
def test_a_replaced_file_is_read_even_with_its_old_time_and_size(
    store: Store, pictures: Path, keep_times: bool
) -> None:
    path = pictures / "red" / "0000.png"
    path.write_bytes(encode(reddish(1), "BMP"))
    import_source(store, scan_folder(pictures, ["red"]))
    before = path.stat()
    path.write_bytes(encode(reddish(77), "BMP"))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    report = import_source(store, scan_folder(pictures, ["red"]))
    assert (report.imported, report.duplicates, report.labels) == (1, 5, 1)
    assert store.find_images(image_id_of(path.read_bytes()))


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_a_file_whose_object_is_lost_is_read_and_stored_again(
    store: Store, pictures: Path, damage: str
) -> None:
    import_source(store, scan_folder(pictures))
    lost = stored_files(store.folder)[0]
    content = lost.read_bytes()
    lost.unlink()
    if damage == "shorter":
        lost.write_bytes(content[:-1])
    report = import_source(store, scan_folder(pictures))
    assert report.duplicates == 6
    assert lost.read_bytes() == content


@pytest.mark.usefixtures("old_files")
def test_labels_change_without_reading(store: Store, pictures: Path, reads: list[str]) -> None:
    import_source(store, scan_folder(pictures, ["red"]))
    reads.clear()
    report = import_source(store, scan_folder(pictures, ["blue"]))
    assert (report.duplicates, report.labels) == (6, 6)
    (pictures / "blue" / "0000.png").rename(pictures / "red" / "moved.png")
    report = import_source(store, scan_folder(pictures, ["blue"]))
    assert (report.duplicates, report.labels) == (6, 2)
    assert store.labels.contradictions() == []
    assert reads == [str(pictures / "red" / "moved.png")]


@pytest.mark.usefixtures("old_files")
def test_other_limits_are_held_against_known_files_too(store: Store, pictures: Path) -> None:
    import_source(store, scan_folder(pictures))
    report = import_source(store, scan_folder(pictures), limits=Limits(max_side=32))
    assert [refusal.reason for refusal in report.refusals] == ["side_too_long"] * 6
    assert import_source(store, scan_folder(pictures)).duplicates == 6
    assert store.skipped() == []


@pytest.mark.usefixtures("old_files")
def test_a_known_file_under_a_wrong_name_is_still_refused(store: Store, tmp_path: Path) -> None:
    media, table = tmp_path / "media", tmp_path / "label.csv"
    media.mkdir()
    data = encode(reddish(1))
    name = f"{content_ids(data).object_id}.png"
    (media / name).write_bytes(data)
    table.write_text(f"objectId,value\n{name},1\n")
    assert import_source(store, scan_label_csv(table, media)).imported == 1
    other = f"{'0' * 40}.png"
    (media / name).rename(media / other)
    table.write_text(f"objectId,value\n{other},1\n")
    for _ in range(2):
        (refusal,) = import_source(store, scan_label_csv(table, media)).refusals
        assert refusal.reason == "hash_mismatch"


@pytest.mark.usefixtures("old_files")
def test_a_vanished_file_is_listed_and_not_taken_for_known(
    store: Store, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_source(store, scan_folder(pictures))
    listing = scan_folder(pictures)
    (pictures / "red" / "0001.png").unlink()
    report = import_source(store, listing)
    assert [refusal.path for refusal in report.refusals] == ["red/0001.png"]
    deny_reading(monkeypatch, "0002.png")
    assert import_source(store, scan_folder(pictures), rehash=True).skipped == 2


def test_whoever_featurizes_hears_of_each_batch_once_it_is_durable(
    store: Store, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.ingest.importer._BATCH", 4)
    (pictures / "red" / "text.png").write_text("no picture")
    heard: list[list[ImageRecord]] = []

    def on_committed(images: Sequence[tuple[ImageRecord, Label | None]]) -> None:
        heard.append([record for record, _ in images])
        assert {label for _, label in images} <= {0, 1}
        ids = [record.image_id for record, _ in images]
        assert store.known_images(ids) == set(ids)

    for _ in range(2):
        heard.clear()
        import_source(store, scan_folder(pictures, ["red"]), on_committed=on_committed)
        assert [len(records) for records in heard] == [4, 2]
        expected = [image_id_of(path.read_bytes()) for path in sorted(pictures.rglob("0*.png"))]
        assert [record.image_id for records in heard for record in records] == expected


def test_rehash_without_sources_has_no_effect_to_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = cli(capsys, "train", "--rehash", "--workspace", tmp_path / "w")
    assert outcome.code == 2
    assert "--rehash changes nothing without a source" in outcome.err


def test_rehash_is_taken_by_import_and_train(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reads: list[str]
) -> None:
    words = ("--workspace", tmp_path / "w", "--positive", "red")
    cli(capsys, "import", pictures, *words)
    _age(*pictures.rglob("*.png"))
    cli(capsys, "import", pictures, *words)
    for command, expected in (("import", 0), ("train", 0)):
        reads.clear()
        cli(capsys, command, pictures, *words)
        assert len(reads) == expected
        cli(capsys, command, pictures, "--rehash", *words)
        assert len(reads) == 6


def test_the_next_process_knows_them_too(tmp_path: Path) -> None:
    """Sets have another order in every process: the rules must not."""
    code = (
        "from keshikaran.ingest.known import _rules\n"
        "from keshikaran.pixels import DEFAULT_LIMITS\nprint(_rules(DEFAULT_LIMITS))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1
