"""The published test vectors say what this program does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from keshikaran.pixels import PIXEL_CONTRACT_VERSION, PixelSpec, decode_image

_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "vectors"
_CONTENT: dict[str, Any] = json.loads((_FOLDER / "vectors.json").read_text(encoding="utf-8"))
_VECTORS: list[dict[str, Any]] = _CONTENT["vectors"]
_LOSSY_PIXELS, _LOSSY_SCORE, _SCORE = 2.0, 1e-2, 1e-3
_each = pytest.mark.parametrize("vector", _VECTORS, ids=[vector["file"] for vector in _VECTORS])


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(_FOLDER / _CONTENT["model"])


def test_they_are_of_this_contract_and_complete_and_small() -> None:
    names = {vector["file"] for vector in _VECTORS}
    written = {path.name for path in _FOLDER.iterdir()}
    assert _CONTENT["pixel_contract"] == PIXEL_CONTRACT_VERSION
    assert written == names | {f"{name}.rgb" for name in names} | {"vectors.json", "model.onnx"}
    assert sum(path.stat().st_size for path in _FOLDER.iterdir()) < 1_000_000
    assert (_FOLDER / "model.onnx").stat().st_size < 20_000


@_each
def test_pixels(vector: dict[str, Any]) -> None:
    data = (_FOLDER / vector["file"]).read_bytes()
    decoded = decode_image(data, PixelSpec(vector["height"], vector["width"]))
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert decoded.frames_total == vector["frames_total"]
    assert decoded.frames_scored == vector["frames_scored"]
    published = np.frombuffer((_FOLDER / f"{vector['file']}.rgb").read_bytes(), np.uint8)
    published = published.reshape(-1, vector["height"], vector["width"], 3)
    digests = [hashlib.sha256(view.tobytes()).hexdigest() for view in published]
    assert digests == vector["views"]
    assert decoded.views.shape == published.shape
    if vector["exact"]:
        assert np.array_equal(decoded.views, published)
    else:
        assert np.abs(decoded.views.astype(np.int16) - published).mean() <= _LOSSY_PIXELS


@_each
def test_score(vector: dict[str, Any], session: onnxruntime.InferenceSession) -> None:
    wanted = _CONTENT["model_input"]
    spec = PixelSpec(wanted["height"], wanted["width"], wanted["resize_mode"])
    views = decode_image((_FOLDER / vector["file"]).read_bytes(), spec).views
    score = float(session.run(["score"], {"images": views})[0].max())
    assert abs(score - vector["score"]) <= (_SCORE if vector["exact"] else _LOSSY_SCORE)


def test_scores_differ() -> None:
    assert len({vector["score"] for vector in _VECTORS}) > len(_VECTORS) / 2
