"""Formats that are taken only where somebody asked for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import cli
from keshikaran.training import TrainingResult
from support import encode, reddish, write_classes

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty reddish and forty bluish pictures, and one reddish one as AVIF."""
    folder = write_classes(tmp_path / "pictures", 40)
    (folder / "red" / "modern.avif").write_bytes(encode(reddish(4711), "AVIF"))
    return folder


def test_import_takes_the_format_only_if_asked(
    pictures: Path, tmp_path: Path, capsys: Captured
) -> None:
    place = ("--workspace", tmp_path / "w", "--json")
    done = cli(capsys, "import", pictures, "--positive", "red", *place)
    assert done.code == 3
    (refusal,) = json.loads(done.out)["refusals"]
    assert (refusal["path"], refusal["reason"]) == ("red/modern.avif", "unsupported_format")
    again = cli(capsys, "import", pictures, "--positive", "red", "--accept", "avif", *place)
    assert again.code == 0
    assert json.loads(again.out)["imported"] == 1


def test_what_was_accepted_once_is_trained_on_from_then_on(
    pictures: Path, backbone_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    more = ("--backbone", backbone_file, "--workspace", tmp_path / "w", "--json")
    first = cli(capsys, "train", pictures, "--positive", "red", "--accept", "avif", *more)
    assert first.code == 0
    again = cli(capsys, "train", *more)
    assert again.code == 0
    for done in (first, again):
        found = json.loads(done.out)
        assert sum(count for side in found["split"].values() for count in side.values()) == 81
        assert found["refusals"] == []


@pytest.mark.parametrize("isolation", ["process", "off"])
def test_prediction_takes_the_format_only_if_asked(
    trained: TrainingResult, isolation: str, pictures: Path, capsys: Captured
) -> None:
    picture = pictures / "red" / "modern.avif"
    words = ("predict", picture, "--model", trained.model_path, "--isolation", isolation, "--json")
    refused = cli(capsys, *words)
    assert refused.code == 3
    assert json.loads(refused.out)["reason"].startswith("unsupported_format: ")
    taken = cli(capsys, *words, "--accept", "avif", "--accept", "jxl")
    assert taken.code == 0
    assert json.loads(taken.out)["verdict"] == "block"
