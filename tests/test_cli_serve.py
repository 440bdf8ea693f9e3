"""`keshikaran serve`, as typed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bundle_support import packed
from cli_support import cli
from keshikaran.cli.serve import _Place
from keshikaran.demo import make_pictures
from keshikaran.errors import BundleError, UsageError
from keshikaran.signature import SignatureCheck
from keshikaran.training import TrainingResult
from keshikaran.web.server import Announce
from keshikaran.web.service import Load
from keshikaran.web.settings import ServerSettings
from serve_support import OTHER_MODEL_ID

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(packed())
    return path


def test_public_address_without_tokens_is_wrong_usage(model: Path, capsys: Captured) -> None:
    done = cli(capsys, "serve", "--model", model, "--host", "0.0.0.0")
    assert (done.code, done.out) == (2, "")
    assert "--token-file" in done.err


def test_taken_port_and_missing_model_are_named(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cli(capsys, "serve", "--model", model, "--port", port)
    assert done.code == 2
    assert f"port {port} cannot be had" in done.err
    done = cli(capsys, "serve", "--model", tmp_path / "gone.onnx", "--port", "0")
    assert done.code == 1
    assert "gone.onnx cannot be read" in done.err
    done = cli(capsys, "serve", "-w", tmp_path / "empty", "--port", "0")
    assert done.code == 1
    assert "There is no model in" in done.err
    bad = tmp_path / "tokens"
    bad.write_text("short\n")
    done = cli(capsys, "serve", "--model", model, "--port", "0", "--token-file", bad)
    assert done.code == 2
    assert "16 characters" in done.err


def test_without_the_extra_it_says_what_to_install(
    model: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = cli(capsys, "serve", "--model", model)
    assert done.code == 1
    assert 'pip install "keshikaran[serve]"' in done.err


def test_model_named_to_a_running_server_lies_beside_the_first(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    older, newer = (tmp_path / "models" / f"{name}.onnx" for name in ("20250101", OTHER_MODEL_ID))
    place = _Place(None, tmp_path, None)
    with pytest.raises(BundleError, match="no model"):
        place.choose(None)
    older.write_bytes(b"")
    assert place.choose(None) == older
    newer.write_bytes(b"")
    assert place.choose(None) == newer
    assert place.choose(older.name) == older
    for name in ("../a.onnx", "/etc/passwd", "a/b.onnx", "..", "model.txt", "a\0/b.onnx"):
        with pytest.raises(UsageError, match="without a folder"):
            place.choose(name)
    check = SignatureCheck(tmp_path / "signature", tmp_path / "key")
    signed = _Place(older, None, check)
    assert signed.choose(older.name) == older
    with pytest.raises(UsageError, match="vouches for one file"):
        signed.choose(newer.name)


def test_demo_serves_its_model_and_says_what_to_drop(
    tmp_path: Path, trained: TrainingResult, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training and the server are those of other tests."""
    served: list[tuple[ServerSettings, str]] = []

    def fake_serve(settings: ServerSettings, load: Load, announce: Announce) -> None:
        with load(None) as predictor:
            served.append((settings, predictor.manifest.model_id))
        announce("http://127.0.0.1:4567", served[0][1])

    monkeypatch.setattr("keshikaran.training.train", lambda *_: trained)
    monkeypatch.setattr("keshikaran.web.server.serve", fake_serve)
    pictures = make_pictures(tmp_path / "some", count=2, fresh=2)
    monkeypatch.setattr("keshikaran.demo.make_pictures", lambda *_, **__: pictures)
    words = ("demo", "-w", tmp_path / "demo", "--serve", "--port", "0")
    done = cli(capsys, *words)
    assert (done.code, served) == (0, [(ServerSettings(port=0), trained.model_id)])
    assert "pictures that training never saw:" in done.out
    assert "In a browser: http://127.0.0.1:4567/ " in done.err
    dropped, broken = re.search(r"Drop the pictures of (\S+) .*\nAnd (\S+),", done.err).groups()  # type: ignore[union-attr]
    assert {path.parent for path in pictures.fresh} == {Path(dropped)}
    assert Path(broken).is_file()
    first, second = cli(capsys, *words, "--json").out.splitlines()
    assert len(json.loads(first)["predictions"]) == 2
    assert json.loads(second)["url"] == "http://127.0.0.1:4567"


def test_demo_finds_out_first_that_it_cannot_serve(tmp_path: Path, capsys: Captured) -> None:
    place = ("-w", tmp_path / "demo")
    done = cli(capsys, "demo", *place, "--port", "8000")
    assert done.code == 2
    assert "without --serve" in done.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = cli(capsys, "demo", *place, "--serve", "--port", port)
    assert done.code == 2
    assert f"port {port} cannot be had" in done.err
    assert not (tmp_path / "demo").exists()


def test_serving_imports_nothing_of_training_or_the_store() -> None:
    script = (
        "import sys, keshikaran.web.server\n"
        "bad = 'sklearn scipy sqlite3 jinja2 keshikaran.store keshikaran.training'.split()\n"
        "sys.exit(sorted(name for name in bad if name in sys.modules) and 1 or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, env=dict(os.environ))
    assert done.returncode == 0
