"""The same file gets the same answer, however it is asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_support import packed
from keshikaran.known import export_memory
from keshikaran.store import Workspace
from known_support import allowed_scene, banned_scene, copies, scene
from parity_support import check_parity, every_way
from serve_support import BLUE, RED
from support import encode, reddish

Captured = pytest.CaptureFixture[str]


def written(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    """The files in a folder, by name."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in files}


def test_every_way_to_ask_gives_the_same_answer(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "model.onnx").write_bytes(packed())
    files = {
        "a.png": RED,
        "b.jpg": BLUE,
        "c.webp": encode(reddish(3), "WEBP"),
        "d.png": b"no picture",
        "e.gif": encode(reddish(4), "GIF", save_all=True, append_images=[reddish(5), reddish(6)]),
        "f.jpg": encode(reddish(7), "JPEG")[:-200],
        "g.png": b"",
    }
    answers = every_way(written(tmp_path, files), tmp_path / "model.onnx", capsys)
    check_parity(answers, len(files))
    verdicts = [each["verdict"] for each in answers["HTTP, raw"]]
    assert verdicts[:4] == ["pass", "block", "pass", "undecided"]
    assert verdicts[6] == "undecided"
    assert [each["path"] for each in answers["HTTP, multipart"]] == list(files)


def test_known_images_are_known_however_they_are_asked_about(
    scenes: Path, scenes_workspace: Workspace, tmp_path: Path, capsys: Captured
) -> None:
    model = scenes_workspace.latest_model()
    assert model is not None
    memory = tmp_path / "known.memory"
    export_memory(scenes_workspace, model, memory, isolation="off")
    files = {
        "allowed.jpg": allowed_scene(scenes).read_bytes(),
        "banned.jpg": banned_scene(scenes).read_bytes(),
        "copy.jpg": copies(scene(10_005, red=False))["half"],
        "stranger.jpg": encode(scene(777), "JPEG"),
    }
    answers = every_way(written(tmp_path, files), model, capsys, "--memory", memory)
    check_parity(answers, len(files))
    sources = [each["source"] for each in answers["HTTP, raw"]]
    assert sources == ["exact", "exact", "near_duplicate", "model"]
    assert [each["verdict"] for each in answers["HTTP, raw"]][:3] == ["pass", "block", "block"]
