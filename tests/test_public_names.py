"""What a user imports, and what that import costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keshikaran
from keshikaran import backbones, pixels
from support import encode, reddish

_OF_TRAINING = {
    "google.cloud",
    "jinja2",
    "joblib",
    "keshikaran.featurize",
    "keshikaran.head",
    "keshikaran.store",
    "keshikaran.training",
    "scipy",
    "sklearn",
    "sqlite3",
    "tensorboardX",
    "torch",
}


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def test_public_names() -> None:
    assert sorted(keshikaran.__all__) == [
        "Client",
        "KeshikaranError",
        "Prediction",
        "Predictor",
        "__version__",
    ]


@pytest.mark.parametrize("module", [keshikaran, backbones, pixels])
def test_every_public_name_is_there(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert all(hasattr(module, name) for name in names)
    assert len(set(names)) == len(names)


def test_version_has_three_numbers() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", keshikaran.__version__)


def test_importing_the_package_loads_nothing_of_training() -> None:
    code = (
        "import json, sys; from keshikaran import Predictor; print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(_python(code).stdout))
    assert "keshikaran.predictor" in loaded
    assert loaded & _OF_TRAINING == set()


def test_the_client_loads_nothing_that_runs_a_model_or_decodes_an_image() -> None:
    code = "import json, sys; from keshikaran import Client; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(_python(code).stdout))
    assert "keshikaran.client" in loaded
    heavy = {"PIL", "keshikaran.predictor", "onnx", "onnxruntime", "openvino", "rich", "simplejpeg"}
    assert loaded & (_OF_TRAINING | heavy | {"starlette", "typer", "uvicorn"}) == set()


def test_names_are_loaded_when_they_are_used() -> None:
    code = "import json, sys, keshikaran; print(json.dumps(sorted(sys.modules)))"
    assert {"numpy", "onnx", "PIL"} & set(json.loads(_python(code).stdout)) == set()
    assert set(keshikaran.__all__) <= set(dir(keshikaran))
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        keshikaran.Trainer  # noqa: B018


def test_importing_the_package_says_nothing() -> None:
    result = _python("import keshikaran")
    assert (result.stdout, result.stderr) == ("", "")


def test_broken_metadata_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    data = encode(reddish(1), "TIFF", tiffinfo={0x0131: "software with a long name"})
    pointer = data.index(b"\x31\x01\x02\x00") + 8
    path = tmp_path / "broken.tif"
    path.write_bytes(data[:pointer] + b"\xff\xff\xff\x00" + data[pointer + 4 :])
    code = (
        "import sys; from pathlib import Path; from keshikaran.pixels import *;"
        "print(read_pixels(Path(sys.argv[1]).read_bytes(), PixelSpec(8, 8)).shape)"
    )
    result = _python(code, str(path))
    assert (result.stdout, result.stderr) == ("(8, 8, 3)\n", "")
