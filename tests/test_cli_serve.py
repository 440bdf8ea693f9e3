"""`keshikaran serve`, as typed."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle_support import packed
from cli_support import cli
from keshikaran.cli.serve import _Place
from keshikaran.errors import BundleError, UsageError
from keshikaran.signature import SignatureCheck
from keshikaran.web import log as web_log
from serve_support import OTHER_MODEL_ID

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A server sends records to its own stderr, which does not outlive the test."""
    loggers = [logging.getLogger(name) for name in web_log._LEVELS]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


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


def test_serving_imports_nothing_of_training_or_the_store() -> None:
    script = (
        "import sys, keshikaran.web.server\n"
        "bad = 'sklearn scipy sqlite3 jinja2 keshikaran.store keshikaran.training'.split()\n"
        "sys.exit(sorted(name for name in bad if name in sys.modules) and 1 or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, env=dict(os.environ))
    assert done.returncode == 0
