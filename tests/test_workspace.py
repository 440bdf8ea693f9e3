from pathlib import Path

import pytest

from keshikaran.store import Workspace, workspace_folder


def test_every_path_lies_in_the_workspace_and_naming_it_creates_nothing(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "w")
    assert place.features == tmp_path / "w" / "features.sqlite"
    assert place.skipped == tmp_path / "w" / "skipped.csv"
    assert place.model("m1") == tmp_path / "w" / "models" / "m1.onnx"
    assert place.report("m1") == tmp_path / "w" / "reports" / "m1.html"
    assert place.run("m1") == tmp_path / "w" / "runs" / "m1"
    assert place.latest_model() is None
    assert not place.folder.exists()


def test_the_latest_model_is_the_one_with_the_latest_time_in_its_name(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    (tmp_path / "models").mkdir()
    assert place.latest_model() is None
    for name in ("20240102-000000-bb.onnx", "20250101-000000-aa.onnx", "20260101.part"):
        (tmp_path / "models" / name).touch()
    assert place.latest_model() == place.model("20250101-000000-aa")


def test_the_option_wins_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KESHIKARAN_WORKSPACE", raising=False)
    assert workspace_folder(None) == Path("keshikaran-workspace")
    monkeypatch.setenv("KESHIKARAN_WORKSPACE", "")
    assert workspace_folder(None) == Path("keshikaran-workspace")
    monkeypatch.setenv("KESHIKARAN_WORKSPACE", "/from/environment")
    assert workspace_folder(None) == Path("/from/environment")
    assert workspace_folder(Path("chosen")) == Path("chosen")
