"""Folders that fsspec reaches: in memory, in archives, and on a server."""

from __future__ import annotations

import base64
import functools
import hashlib
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from archive_support import pictures, write, zip_bytes
from cli_support import cli
from keshikaran.errors import MissingExtraError, SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import ImportReport, import_source, resolve_sources
from keshikaran.ingest.remote import RemoteFile, scan_remote
from keshikaran.pixels import Limits
from keshikaran.store import Store
from store_support import catalogue
from support import write_classes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def bucket() -> str:
    """An address in memory with three red and three blue pictures, and some clutter."""
    address = f"memory://{uuid.uuid4().hex}/set"
    files = fsspec.filesystem("memory")
    for name, data in (pictures(3) | {"red/.hidden": b"x", "loose.txt": b"words"}).items():
        files.pipe_file(f"{address}/{name}", data)
    return address


def test_remote_class_folders_are_as_those_on_disk(store: Store, bucket: str) -> None:
    (source,) = resolve_sources([bucket], positives=["red"])
    assert source.class_folders == ["blue", "red"]
    report = import_source(store, source)
    assert (report.seen, report.imported, report.skipped, report.labels) == (7, 6, 1, 6)
    labels = {image.image_id: image.label for image in store.labels.images()}
    assert labels == {image_id_of(d): int(n.startswith("red")) for n, d in pictures(3).items()}
    image_id = image_id_of(pictures(3)["red/0001.png"])
    assert store.entries_of(image_id) == [f"{bucket}/red/0001.png"]
    rows = catalogue(store.folder)
    assert import_source(store, source).duplicates == 6
    assert catalogue(store.folder) == rows


def test_a_zip_on_a_remote_store_is_a_folder_too(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "set.zip", zip_bytes(pictures(2)))
    (source,) = resolve_sources([f"zip://::file://{path}"], positives=["red"])
    assert import_source(store, source) == ImportReport(seen=4, imported=4, labels=4)


def test_a_folder_on_a_server_is_listed_and_read(store: Store, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "pictures", 2)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        source = scan_remote(f"http://127.0.0.1:{server.server_address[1]}/", ["red"])
        assert not [path for path in asked if path.endswith(".png")]
        report = import_source(store, source)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert report == ImportReport(seen=4, imported=4, labels=4)


def test_files_beyond_the_limit_are_not_read(store: Store, bucket: str) -> None:
    fsspec.filesystem("memory").pipe_file(f"{bucket}/red/huge.png", bytes(200_000))
    report = import_source(store, scan_remote(bucket), limits=Limits(max_bytes=100_000))
    assert ("red/huge.png", "too_many_bytes") in {(r.path, r.reason) for r in report.refusals}


class _Files:
    """A file system that counts, with one file of unknown size."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.opened = 0

    def open(self, path: str, mode: str) -> Any:
        self.opened += 1
        if path == "forbidden":
            raise PermissionError("Access Denied")
        files = fsspec.filesystem("memory")
        files.pipe_file("/counted", self.data)
        return files.open("/counted", mode)


def test_a_file_of_unknown_size_is_read_up_to_the_limit(store: Store) -> None:
    from keshikaran.errors import ImageRefusedError

    with pytest.raises(ImageRefusedError, match="too_many_bytes"):
        RemoteFile(_Files(bytes(1000)), "x", None, None).read(Limits(max_bytes=999))
    with pytest.raises(ImageRefusedError, match="unreadable_file: PermissionError: Access Denied"):
        RemoteFile(_Files(b""), "forbidden", None, None).read(Limits())


@pytest.mark.parametrize("style", ["s3", "gcs", "other"])
def test_files_whose_digest_the_store_knows_are_not_fetched_again(
    store: Store, bucket: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictures(1)["red/0000.png"]
    digest = hashlib.md5(data)
    tags = {
        "s3": {"ETag": f'"{digest.hexdigest()}"'},
        "gcs": {"md5Hash": base64.b64encode(digest.digest()).decode()},
        "other": {"ETag": f'"{digest.hexdigest()}-2"'},
    }
    files = _Files(data)

    def listed(_: object, folder: str, detail: bool) -> dict[str, dict[str, Any]]:
        assert detail
        return {f"{folder}/red/a.png": {"size": len(data), **tags[style]}}

    monkeypatch.setattr(_Files, "find", listed, raising=False)
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (files, "bucket/set"))
    for _ in range(2):
        report = import_source(store, scan_remote("s3://bucket/set", ["red"]))
    assert report.duplicates == 1
    assert files.opened == (2 if style == "other" else 1)


def test_addresses_that_lead_nowhere_are_named() -> None:
    with pytest.raises(SourceError, match="holds no files"):
        scan_remote(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(SourceError, match="cannot be listed: ValueError"):
        scan_remote("nosuchstore://bucket/x")


def test_a_store_that_needs_another_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", needs)
    with pytest.raises(SourceError, match="Install s3fs to access S3"):
        scan_remote("s3://bucket/x")


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"keshikaran\[remote\]"):
        scan_remote("s3://bucket/x")


def test_addresses_on_the_web_belong_to_the_other_command() -> None:
    with pytest.raises(UsageError, match="import-urls"):
        resolve_sources(["https://example.org/pictures/"])


def test_files_of_this_machine_do_not_go_through_fsspec(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    folder = write_classes(tmp_path / "a::b", 1)
    assert import_source(store, *resolve_sources([folder])).imported == 2


def test_command_takes_addresses(bucket: str, tmp_path: Path, capsys: Any) -> None:
    words = ("import", bucket, "--positive", "red", "--workspace", tmp_path / "w")
    assert cli(capsys, *words).code == 3
    assert "6 already here" in cli(capsys, *words).err
