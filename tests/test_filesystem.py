"""Workspaces on network file systems are refused, with what to do instead."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from keshikaran.errors import StoreError
from keshikaran.store import Store, database, filesystem
from keshikaran.store.database import Database
from keshikaran.store.filesystem import file_system_of, is_network

_ONE = (("CREATE TABLE things (name TEXT)",),)


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of mounts in place of the system's."""
    table = tmp_path / "mountinfo"
    table.write_text("")
    monkeypatch.setattr(filesystem, "_MOUNTS", table)
    return table


def _mount(table: Path, point: Path | str, kind: str) -> None:
    with table.open("a") as file:
        file.write(f"36 35 98:0 / {point} rw,noatime shared:1 master:2 - {kind} server:/x rw\n")


def test_the_deepest_and_latest_mount_counts(mounts: Path, tmp_path: Path) -> None:
    _mount(mounts, "/", "ext4")
    _mount(mounts, tmp_path / "far", "nfs4")
    _mount(mounts, tmp_path / "far" / "near", "tmpfs")
    assert file_system_of(tmp_path) == "ext4"
    assert file_system_of(tmp_path / "far" / "deep" / "er") == "nfs4"
    assert file_system_of(tmp_path / "far" / "near" / "w") == "tmpfs"
    assert file_system_of(tmp_path / "farther") == "ext4"
    _mount(mounts, tmp_path / "far", "xfs")
    assert file_system_of(tmp_path / "far") == "xfs"


def test_names_with_spaces_are_found(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    _mount(mounts, str(tmp_path / "a b").replace(" ", r"\040"), "cifs")
    assert is_network(tmp_path / "a b" / "w")


def test_links_are_followed(mounts: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    _mount(mounts, tmp_path / "far", "fuse.sshfs")
    assert is_network(tmp_path / "link" / "w")


def test_lines_that_make_no_sense_are_passed_over(mounts: Path, tmp_path: Path) -> None:
    mounts.write_text("\nshort - nfs\n36 35 98:0 / / rw\n")
    assert file_system_of(tmp_path) == ""


def test_where_the_system_does_not_say_nothing_is_refused(mounts: Path, tmp_path: Path) -> None:
    mounts.unlink()
    assert file_system_of(tmp_path) == ""
    Store(tmp_path / "w").close()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre"])
def test_a_workspace_on_a_network_disk_is_refused(mounts: Path, tmp_path: Path, kind: str) -> None:
    _mount(mounts, tmp_path / "far", kind)
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*on a local disk") as e:
        Store(tmp_path / "far" / "w")
    assert "KESHIKARAN_NETWORK_WORKSPACE=allow" in e.value.hint
    assert not (tmp_path / "far" / "w" / "catalogue.sqlite").exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs"])
def test_a_local_disk_is_not(mounts: Path, tmp_path: Path, kind: str) -> None:
    _mount(mounts, "/", kind)
    Store(tmp_path / "w").close()


def test_who_allows_it_gets_the_journal_that_can_bear_it(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mount(mounts, tmp_path / "far", "nfs")
    monkeypatch.setenv("KESHIKARAN_NETWORK_WORKSPACE", "allow")
    monkeypatch.setattr(database, "wal_is_safe", lambda _: True)
    for place, mode in ((tmp_path / "far", "delete"), (tmp_path / "near", "wal")):
        with closing(Database(place / "x.sqlite", _ONE)) as db:
            assert db.connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
