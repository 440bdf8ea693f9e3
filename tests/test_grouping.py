"""Copies of one picture end in one group, whenever they came."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from duplicates_support import group, landscape, write
from keshikaran.ingest import import_source, scan_folder
from keshikaran.store import Store
from keshikaran.types import SilentProgress
from support import encode
from transforms import TRANSFORMS

COPIES = ("half", "rotation", "jpeg50")


def fill(workspace: Path, source: Path) -> None:
    with Store(workspace) as store:
        import_source(store, scan_folder(source, ["a"]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve landscapes, and three copies of two of them under the other label."""
    folder = tmp_path_factory.mktemp("landscapes")
    for seed in range(12):
        write(folder, f"{'ab'[seed % 2]}/{seed:02d}.png", landscape(seed))
    for seed in (0, 1):
        for name in COPIES:
            data = TRANSFORMS[name](landscape(seed), Random(seed))
            write(folder, f"{'ba'[seed % 2]}/{seed:02d}-{name}.jpg", data)
    return folder


def by_name(folder: Path, backbone: Path) -> list[list[str]]:
    """The groups, as sorted names of files."""
    _, groups, names = group(folder, backbone)
    found: dict[str, list[str]] = {}
    for name, image_id in sorted(names.items()):
        if image_id in groups:
            found.setdefault(groups[image_id], []).append(name)
    return sorted(found.values())


EXPECTED = [
    sorted([f"{seed:02d}.png", *(f"{seed:02d}-{name}.jpg" for name in COPIES)]) for seed in (0, 1)
]


def test_copies_are_grouped_and_pairs_carry_evidence(
    tmp_path: Path, files: Path, backbone_file: Path
) -> None:
    fill(tmp_path, files)
    report, _, names = group(tmp_path, backbone_file)
    assert (report.images, report.new_images, report.groups) == (18, 18, 2)
    assert report.new_pairs == report.pairs >= 6
    assert by_name(tmp_path, backbone_file) == EXPECTED
    with Store(tmp_path) as store:
        (pair,) = (
            pair
            for pair in store.groups.pairs(names["00.png"])
            if names["00-rotation.jpg"] in {pair.first, pair.second}
        )
    assert pair.turn == ("right" if pair.first == names["00.png"] else "left")
    assert pair.similarity > 0.9
    assert pair.agreement > 0.9


def test_processes_find_the_same_as_one(
    tmp_path: Path, files: Path, backbone_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done where there is much to look at."""
    found = []
    for name, worth in (("one", 1_000), ("many", 1)):
        for constant in ("_WORTH_PROCESSES", "_WORTH_PROCESSES_CLOSELY"):
            monkeypatch.setattr(f"keshikaran.verification.{constant}", worth)
        fill(tmp_path / name, files)
        group(tmp_path / name, backbone_file)
        with Store(tmp_path / name) as store:
            found.append(store.groups.pairs())
    assert found[0] == found[1] != []


def test_a_second_look_has_nothing_to_do(tmp_path: Path, files: Path, backbone_file: Path) -> None:
    fill(tmp_path, files)
    first, _, _ = group(tmp_path, backbone_file)
    second, _, _ = group(tmp_path, backbone_file)
    assert (second.new_images, second.candidates, second.new_pairs) == (0, 0, 0)
    assert (second.pairs, second.groups) == (first.pairs, first.groups)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_arrival_does_not_change_the_groups(
    tmp_path: Path, files: Path, backbone_file: Path, seed: int
) -> None:
    paths = sorted(files.glob("*/*"))
    random.Random(seed).shuffle(paths)
    for number, part in enumerate((paths[:6], paths[6:11], paths[11:])):
        for path in part:
            write(tmp_path / f"part{number}", f"{path.parent.name}/{path.name}", path.read_bytes())
        fill(tmp_path / "ws", tmp_path / f"part{number}")
        report, _, _ = group(tmp_path / "ws", backbone_file)
        assert report.new_images == len(part)
    assert by_name(tmp_path / "ws", backbone_file) == EXPECTED


def test_losing_the_cache_loses_time_only(tmp_path: Path, files: Path, backbone_file: Path) -> None:
    fill(tmp_path, files)
    before, _, _ = group(tmp_path, backbone_file)
    (tmp_path / "features.sqlite").unlink()
    after, _, _ = group(tmp_path, backbone_file)
    assert (after.pairs, after.groups) == (before.pairs, before.groups)
    assert by_name(tmp_path, backbone_file) == EXPECTED


def test_a_cache_of_an_earlier_version_gets_its_sketches(
    tmp_path: Path, files: Path, backbone_file: Path
) -> None:
    fill(tmp_path, files)
    group(tmp_path, backbone_file)
    with closing(sqlite3.connect(tmp_path / "features.sqlite")) as cache:
        cache.execute("DELETE FROM sketches")
        cache.commit()
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as catalogue:
        catalogue.execute("DELETE FROM compared_images")
        catalogue.commit()
    report, _, _ = group(tmp_path, backbone_file)
    assert (report.new_images, report.new_pairs) == (18, 0)
    with closing(sqlite3.connect(tmp_path / "features.sqlite")) as cache:
        assert cache.execute("SELECT COUNT(*) FROM sketches").fetchone() == (18,)


def test_a_file_that_was_damaged_since_is_simply_no_pair(
    tmp_path: Path, files: Path, backbone_file: Path
) -> None:
    fill(tmp_path / "ws", files)
    with Store(tmp_path / "ws") as store:
        ids = {Path(store.entries_of(i.image_id)[0]).name: i for i in store.labels.images()}
        broken = ids["00-half.jpg"].image_id
        path = store.blobs.path_of(broken, "jpg")
    shutil.copytree(tmp_path / "ws", tmp_path / "whole")
    group(tmp_path / "ws", backbone_file)
    with closing(sqlite3.connect(tmp_path / "ws" / "catalogue.sqlite")) as catalogue:
        catalogue.execute("DELETE FROM compared_images")
        catalogue.execute("DELETE FROM duplicate_pairs")
        catalogue.execute("DELETE FROM group_members")
        catalogue.commit()
    path.chmod(0o644)
    path.write_bytes(b"nothing of use")
    _, groups, _ = group(tmp_path / "ws", backbone_file)
    assert broken not in groups
    assert ids["00-rotation.jpg"].image_id in groups


def test_one_image_alone_is_no_trouble(tmp_path: Path, backbone_file: Path) -> None:
    write(tmp_path / "files", "a/one.png", landscape(0))
    write(tmp_path / "files", "b/broken.png", encode(landscape(1))[:2000])
    fill(tmp_path / "ws", tmp_path / "files")
    report, groups, _ = group(tmp_path / "ws", backbone_file)
    assert (report.images, report.candidates, dict(groups)) == (1, 0, {})


def test_a_cache_that_knows_images_of_another_store_does_no_harm(
    tmp_path: Path, files: Path, backbone_file: Path
) -> None:
    fill(tmp_path / "old", files)
    group(tmp_path / "old", backbone_file)
    for path in sorted(files.glob("*/0*"))[:6]:
        write(tmp_path / "some", f"{path.parent.name}/{path.name}", path.read_bytes())
    fill(tmp_path / "ws", tmp_path / "some")
    shutil.copy(tmp_path / "old" / "features.sqlite", tmp_path / "ws" / "features.sqlite")
    first, _, _ = group(tmp_path / "ws", backbone_file)
    second, _, _ = group(tmp_path / "ws", backbone_file)
    assert (first.images, first.new_images) == (6, 6)
    assert (second.new_images, second.candidates) == (0, 0)
    assert (second.pairs, second.groups) == (first.pairs, first.groups)


def test_people_see_how_far_it_is(tmp_path: Path, files: Path, backbone_file: Path) -> None:
    class Listening(SilentProgress):
        tasks: list[tuple[str, int | None]] = []  # noqa: RUF012

        def task(self, title: str, total: int | None):  # type: ignore[no-untyped-def]  # noqa: ANN202
            self.tasks.append((title, total))
            return super().task(title, total)

    fill(tmp_path, files)
    listening = Listening()
    report, _, _ = group(tmp_path, backbone_file, listening)
    totals = [total or 0 for title, total in listening.tasks if title == "compare"]
    assert sum(totals) == report.candidates > 0
