"""Work for many machines, as far as it needs no Ray: cutting, listing, reading, tokens."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_support import cli
from keshikaran.cli import main as entry
from keshikaran.errors import ClusterError, MissingExtraError, SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.pixels import DEFAULT_LIMITS
from keshikaran.scale import cluster as clusters
from keshikaran.scale import contents, listing, running
from keshikaran.scale.cluster import Cluster, connected, need_ray, require_token
from keshikaran.scale.contents import contents_of
from keshikaran.scale.listing import list_sources
from keshikaran.scale.parquet import parquet_packages
from keshikaran.scale.tasks import Piece, Task, cut, task_of
from keshikaran.scale.unlocked import GCS_QUESTION, answers_without_token
from keshikaran.store import Store
from support import bluish, encode, reddish, write_classes

_PURPOSE = {"backbone": "b", "precision": "f32"}
Captured = pytest.CaptureFixture[str]


# Cutting


def _pieces(names: set[str]) -> list[Piece]:
    return [Piece(name, "jpg") for name in names]


def _works(tasks: list[Task]) -> set[str]:
    return {task.work for task in tasks}


@settings(max_examples=30)
@given(st.sets(st.text(min_size=1, max_size=9), max_size=30), st.integers(1, 9))
def test_every_image_is_in_one_task_whatever_the_order(names: set[str], size: int) -> None:
    tasks = cut("objects", "/store", _pieces(names), _PURPOSE, size=size)
    assert sorted(piece.name for task in tasks for piece in task.pieces) == sorted(names)
    again = cut("objects", "/store", reversed(_pieces(names)), _PURPOSE, size=size)
    assert again == tasks
    assert [Task.from_json(task.to_json()) for task in tasks] == tasks
    assert len(_works(tasks)) == len(tasks)


def test_one_more_image_changes_one_task() -> None:
    names = {f"{number:064x}" for number in range(1000)}
    before = cut("objects", "/store", _pieces(names), _PURPOSE, size=10)
    after = cut("objects", "/store", _pieces(names | {"f" * 64}), _PURPOSE, size=10)
    assert len(_works(after) - _works(before)) == 1
    assert 64 <= len(before) <= 128


def test_a_task_is_known_again_elsewhere_and_not_for_another_purpose() -> None:
    pieces = _pieces({"a", "b"})
    here = task_of("objects", "/here", pieces, _PURPOSE)
    assert task_of("objects", "/there", pieces, _PURPOSE).work == here.work
    assert task_of("objects", "/here", pieces, {**_PURPOSE, "precision": "bf16"}).work != here.work
    changed = [Piece("a", "jpg", "another size"), Piece("b", "jpg")]
    assert task_of("objects", "/here", changed, _PURPOSE).work != here.work


# Listing and reading


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = write_classes(tmp_path / "in", 2)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"x")
    return folder


def _names(tasks: list[Task]) -> list[str]:
    return sorted(piece.name for task in tasks for piece in task.pieces)


def test_folders_globs_and_files_are_listed(pictures: Path) -> None:
    everything = sorted(str(path) for path in pictures.glob("[rb]*/*.png"))
    assert _names(list_sources([str(pictures)], _PURPOSE).tasks) == everything
    assert _names(list_sources([f"file://{pictures}"], _PURPOSE).tasks) == everything
    assert _names(list_sources([f"{pictures}/red/*1.png"], _PURPOSE).tasks) == [
        str(pictures / "red" / "0001.png")
    ]
    one = str(pictures / "red" / "0000.png")
    listed = list_sources([one, str(pictures)], _PURPOSE, size=1)
    assert _names(listed.tasks) == everything  # once, though named twice
    assert listed.names[0] == one


def test_a_tree_of_links_is_a_tree_of_files(pictures: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "one.png").symlink_to(pictures / "red" / "0000.png")
    (tree / "all").symlink_to(pictures)
    (tree / "gone.png").symlink_to(pictures / "red" / "gone.png")
    (task,) = list_sources([str(tree)], _PURPOSE).tasks
    (taken,) = contents_of(task, DEFAULT_LIMITS)
    assert taken.data == (pictures / "red" / "0000.png").read_bytes()


def test_a_file_that_changed_is_other_work(pictures: Path) -> None:
    before = _works(list_sources([str(pictures)], _PURPOSE, size=1).tasks)
    assert _works(list_sources([str(pictures)], _PURPOSE, size=1).tasks) == before
    (pictures / "red" / "0000.png").write_bytes(encode(reddish(77)))
    assert len(_works(list_sources([str(pictures)], _PURPOSE, size=1).tasks) - before) == 1


def test_files_are_read_as_they_are(pictures: Path) -> None:
    (task,) = list_sources([str(pictures)], _PURPOSE).tasks
    found = {taken.name: taken.data for taken in contents_of(task, DEFAULT_LIMITS)}
    assert found == {str(path): path.read_bytes() for path in pictures.glob("[rb]*/*.png")}


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_what_is_in_memory_travels_with_the_task(memory: Any) -> None:
    data = encode(reddish(1))
    memory.pipe("/in/a.png", data)
    (task,) = list_sources(["memory://in"], _PURPOSE).tasks
    assert (task.kind, base64.b64decode(task.pieces[0].place)) == ("held", data)
    memory.store.clear()
    (taken,) = contents_of(Task.from_json(task.to_json()), DEFAULT_LIMITS)
    assert (taken.name, taken.data, taken.image_id) == (
        "memory:///in/a.png",
        data,
        image_id_of(data),
    )


def test_a_store_of_fsspec_is_read_by_whoever_has_the_task(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/in/a.png", b"one")
    task = task_of(
        "files", "memory://", [Piece("a", "/in/a.png"), Piece("b", "/in/b.png")], _PURPOSE
    )
    monkeypatch.setattr(contents, "_PAUSE_S", 0.0)
    there, gone = contents_of(task, DEFAULT_LIMITS)
    assert (there.data, there.refusal) == (b"one", None)
    assert gone.refusal is not None
    assert gone.refusal[0] == "unreadable_file"


def test_a_read_that_fails_once_is_tried_again(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of("files", "memory://", [Piece("a", "/late.png")], _PURPOSE)
    monkeypatch.setattr(time, "sleep", lambda _: memory.pipe("/late.png", b"here"))
    (taken,) = contents_of(task, DEFAULT_LIMITS)
    assert taken.data == b"here"


def _tar(path: Path, members: dict[str, bytes]) -> bytes:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path.read_bytes()


def test_an_archive_is_one_task_and_its_labels_are_no_images(tmp_path: Path, memory: Any) -> None:
    one, two = encode(reddish(1)), encode(bluish(1))
    data = _tar(tmp_path / "s-0.tar", {"a.png": one, "a.cls": b"1", "b.png": two, "b.json": b"{}"})
    memory.pipe("/far/s-0.tar", data)
    near = list_sources([f"{tmp_path}/s-{{0..0}}.tar"], _PURPOSE).tasks
    far = list_sources(["memory://far/s-0.tar"], _PURPOSE).tasks
    for tasks, name in ((near, f"{tmp_path}/s-0.tar"), (far, "memory:///far/s-0.tar")):
        (task,) = tasks
        assert task.kind == "archive"
        found = [(taken.name, taken.data) for taken in contents_of(task, DEFAULT_LIMITS)]
        assert found == [(f"{name}!/a.png", one), (f"{name}!/b.png", two)]


def test_what_is_wrong_with_an_archive_is_said(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.tar"
    _tar(path, {"a.png": b"x" * 2000, "notes.txt": b"hello"})
    path.write_bytes(path.read_bytes()[:1700])
    (task,) = list_sources([str(path)], _PURPOSE).tasks
    (cut_off,) = contents_of(task, DEFAULT_LIMITS)
    assert cut_off.refusal is not None
    assert cut_off.refusal[0] == "damaged_archive"
    missing = task_of("archive", "memory://", [Piece("far.tar", "/far.tar")], _PURPOSE)
    (gone,) = contents_of(missing, DEFAULT_LIMITS)
    assert gone.refusal is not None
    assert "cannot be fetched" in gone.refusal[1]
    memory.pipe("/far.tar", b"x" * 10)
    monkeypatch.setattr(contents, "_MOST_ARCHIVE_BYTES", 9)
    large = task_of("archive", "memory://", [Piece("far.tar", "/far.tar", "", 10)], _PURPOSE)
    (refused,) = contents_of(large, DEFAULT_LIMITS)
    assert refused.refusal == ("unreadable_file", "far.tar has 10 bytes.")


def test_stored_images_are_read_and_a_machine_that_does_not_see_them_says_so(
    tmp_path: Path, pictures: Path
) -> None:
    with Store(tmp_path / "w") as store:
        import_source(store, scan_folder(pictures, ["red"]))
        stored = store.extension_of(store.image_ids())
        root = str(store.blobs.root)
    task = task_of("objects", root, [Piece(i, ext) for i, ext in stored.items()], _PURPOSE)
    found = list(contents_of(task, DEFAULT_LIMITS))
    assert [taken.image_id for taken in found] == list(stored)
    elsewhere = task_of("objects", "/nowhere/objects", task.pieces, _PURPOSE)
    with pytest.raises(SourceError, match=r"not there\. Keep the workspace on a disk that all"):
        list(contents_of(elsewhere, DEFAULT_LIMITS))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://example.org/x.jpg", "import-urls"),
        ("/nowhere/at-all", "cannot be listed"),
        ("memory://empty/*.jpg", "holds no files"),
        ("nostore://x", "cannot be reached"),
    ],
)
def test_sources_that_cannot_be_used_are_named(source: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        list_sources([source], _PURPOSE)
    assert source in caught.value.what


def test_a_file_system_whose_package_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        msg = "Install s3fs to access S3"
        raise ImportError(msg)

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(SourceError, match="Install s3fs to access S3"):
        list_sources(["s3://bucket"], _PURPOSE)


# Without the extra


def test_without_the_extra_the_commands_say_what_to_install(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clusters, "_MODULES", ("no_such_module",))
    Store(tmp_path / "w").close()
    done = cli(capsys, "featurize", "--ray", "local", "-w", tmp_path / "w")
    assert (done.code, done.out) == (1, "")
    assert "Featurizing on many machines needs packages" in done.err
    assert 'pip install "keshikaran[ray]"' in done.err
    model = tmp_path / "m.onnx"
    words = ("predict", "x.jpg", "--model", model, "--ray", "local", "--shards", tmp_path / "s")
    assert 'pip install "keshikaran[ray]"' in cli(capsys, *words).err


@pytest.mark.parametrize("missing", ["fsspec", "pyarrow"])
def test_what_reads_and_writes_belongs_to_the_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, f"{missing}.parquet", None)
    with pytest.raises(MissingExtraError, match=r"keshikaran\[ray\]"):
        parquet_packages() if missing == "pyarrow" else listing.open_files("memory://")


def test_nothing_of_ray_is_loaded_before_it_is_asked_for() -> None:
    code = "import json, sys, keshikaran.cli.main; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert {"ray", "pyarrow", "fsspec", "keshikaran.scale.worker"} & set(
        json.loads(done.stdout)
    ) == set()


# Tokens


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without a token."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_a_token_nothing_is_connected_to(home: Path) -> None:
    for address in ("auto", "head:6379", "ray://head:10001"):
        with pytest.raises(ClusterError, match=r"no token.*get-auth-token --gen.*RAY_AUTH"):
            require_token(address)


def test_tokens_must_not_be_switched_off(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for address in ("local", "auto"):
        with pytest.raises(ClusterError, match="whoever reaches that cluster"):
            require_token(address)


def test_tokens_are_found_where_ray_looks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("abc\n", encoding="utf-8")
    require_token("auto")
    assert os.environ["RAY_AUTH_MODE"] == "token"
    file = home / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with pytest.raises(ClusterError, match=r"token cannot be read"):
        require_token("auto")
    file.write_text(" \n", encoding="utf-8")
    with pytest.raises(ClusterError, match=r"token is empty"):
        require_token("auto")
    file.write_text("abc", encoding="utf-8")
    require_token("auto")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    require_token("auto")


def test_a_cluster_of_ones_own_gets_a_token_nobody_knows(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    require_token("local")
    first = os.environ["RAY_AUTH_TOKEN"]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    require_token("local")
    assert len(first) == 64
    assert os.environ["RAY_AUTH_TOKEN"] != first


class _FakeRay:
    """As much of Ray as is asked before there is work."""

    def __init__(self, port: int = 0, *, broken: str = "", there: bool = False) -> None:
        self.port, self.broken, self.there, self.ended = port, broken, there, False

    def is_initialized(self) -> bool:
        return self.there

    def init(self, **_: Any) -> None:
        if self.broken:
            raise ConnectionError(self.broken)

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=f"127.0.0.1:{self.port}")

    def shutdown(self) -> None:
        self.ended = True


def _enter(monkeypatch: pytest.MonkeyPatch, ray: _FakeRay, address: str = "auto") -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_COLOR_PREFIX", "0")
    monkeypatch.setattr(clusters, "_MODULES", ())
    monkeypatch.setitem(sys.modules, "ray", ray)
    with connected(Cluster(address)):
        pass


def test_a_cluster_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="ConnectionError: nobody home"):
        _enter(monkeypatch, _FakeRay(broken="nobody home"))
    with pytest.raises(ClusterError, match=r"connected to a Ray cluster already"):
        _enter(monkeypatch, _FakeRay(there=True))
    ray = _FakeRay(_free_port())
    with pytest.raises(ClusterError, match="cannot be used: ConnectionRefusedError"):
        _enter(monkeypatch, ray)
    assert ray.ended


_FRAME_SETTINGS = bytes.fromhex("000000040000000000")
_FRAME_DATA = bytes.fromhex("000005000000000001") + bytes(5)
_FRAME_REFUSAL = bytes.fromhex("000001010500000001") + b"\x88"


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [
        (_FRAME_SETTINGS + bytes.fromhex("000001010400000001") + b"\x88" + _FRAME_DATA, True),
        (_FRAME_SETTINGS + _FRAME_REFUSAL, False),
        (_FRAME_SETTINGS + bytes.fromhex("000004030000000001") + bytes(4), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
        (_FRAME_SETTINGS * 100, False),
        (b"\x00\x10\x00\x00", False),
    ],
)
def test_an_open_port_is_told_from_a_guarded_one(answer: bytes, *, is_open: bool) -> None:
    with _Server(answer) as (port, asked):
        assert answers_without_token("127.0.0.1", port, GCS_QUESTION, timeout_s=5) is is_open
    assert asked[0].startswith(b"PRI * HTTP/2.0")
    assert GCS_QUESTION.encode() in asked[0]
    assert b"authorization" not in asked[0]


class _Server:
    """Answers one connection with given bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._asked = answer, []  # type: tuple[bytes, list[bytes]]

    def __enter__(self) -> tuple[int, list[bytes]]:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self._listener.getsockname()[1], self._asked

    def __exit__(self, *_: object) -> None:
        self._thread.join(timeout=10)
        self._listener.close()

    def _serve(self) -> None:
        line, _ = self._listener.accept()
        with line:
            self._asked.append(line.recv(65536))
            line.sendall(self._answer)


def test_a_cluster_that_answers_anybody_gets_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with _Server(_FRAME_SETTINGS + _FRAME_DATA) as (port, _):
        ray = _FakeRay(port)
        with pytest.raises(ClusterError, match=r"works for anybody.*without a token"):
            _enter(monkeypatch, ray)
    assert ray.ended
    with (
        _Server(_FRAME_SETTINGS + _FRAME_DATA) as (port, asked),
        pytest.raises(ClusterError, match="works for anybody"),
    ):
        _enter(monkeypatch, _FakeRay(), f"ray://127.0.0.1:{port}")
    assert b"RayletDriver" in asked[0]
    with _Server(_FRAME_SETTINGS + _FRAME_REFUSAL) as (port, _):
        _enter(monkeypatch, _FakeRay(port))


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


# What workers say


def test_what_went_wrong_on_a_machine_is_said_with_its_name() -> None:
    answer = {"work": "w", "machine": "node7", "what": "The disk is full.", "hint": "Free some."}
    with pytest.raises(ClusterError, match=r"On node7: The disk is full\. Free some\."):
        running._check(answer)


@pytest.mark.parametrize("text", ["", "head", "head:", "http://head:1", "ray://head", "a b:1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address of a Ray cluster"):
        Cluster(text)
    for good in ("local", "auto", "head:6379", "10.0.0.1:6379", "[::1]:6379", "ray://head:10001"):
        assert Cluster(good).address == good


# The command line


def test_options_without_effect_are_refused(capsys: Captured, tmp_path: Path) -> None:
    model = ("--model", tmp_path / "m.onnx")
    shards = ("--shards", tmp_path / "s")
    ray = ("--ray", "local")
    for words, said in (
        (("featurize", "--shards", "s"), "--shards changes nothing without --ray"),
        (("featurize", "--part-size", "3"), "--part-size changes nothing without --ray"),
        (("predict", "x", *model, "--ray-workers", "2"), "--ray-workers changes nothing"),
        (("featurize", "pictures"), "featurized with --ray only"),
        (("featurize", *ray, "--isolation", "off"), "is not for many machines"),
        (("predict", "x", *model, *ray), "--ray needs --shards"),
        (("predict", "x", *model, *ray, *shards, "--known"), "--ray and --known exclude"),
        (("predict", "x", *model, *ray, *shards, "--memory", "m"), "--ray and --memory exclude"),
        (("predict", "x", *model, *ray, *shards, "--isolation", "off"), "not for many machines"),
        (("featurize", *ray), "There is no workspace"),
        (("featurize", "pictures", *ray, "--all"), "--all changes nothing where sources"),
    ):
        done = cli(capsys, *words, "-w", tmp_path / "none")
        assert (done.code, done.out) == (2, ""), words
        assert said in done.err


def test_featurize_is_a_command_and_says_what_ray_is_for(capsys: Captured) -> None:
    assert entry.main(["featurize", "--help"]) == 0
    assert "Ray cluster" in " ".join(capsys.readouterr().out.split())


def test_ray_is_needed_only_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_MODULES", ("json",))
    need_ray("Anything")
    assert importlib.util.find_spec("json") is not None
