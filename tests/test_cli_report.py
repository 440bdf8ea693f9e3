"""`keshikaran evaluate` and `keshikaran report`, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundle_support import manifest, packed
from cli_support import cli, talks_in_lines
from keshikaran.ingest import scan_folder
from keshikaran.model_card import settings_of
from keshikaran.report import render_html
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, TrainingResult, train
from report_support import content
from support import bluish, encode, reddish, write_classes


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, backbone_file: Path) -> Path:
    """With a few labels that are wrong, and one file that is no image."""
    pictures = write_classes(tmp_path_factory.mktemp("in"), 100)
    for number in range(8):
        (pictures / "red" / f"wrong{number}.png").write_bytes(encode(bluish(900 + number)))
    (pictures / "red" / "notes.txt").write_text("no image")
    folder = tmp_path_factory.mktemp("report-ws")
    options = TrainingOptions(backbone=str(backbone_file), tensorboard=False)
    train(Workspace(folder), [scan_folder(pictures, ["red"])], options)
    return folder


def test_evaluate_prints_what_training_found(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Workspace(workspace).latest_model()
    assert model is not None
    document = json.loads((workspace / "reports" / f"{model.stem}.json").read_bytes())
    done = cli(capsys, "evaluate", "-w", workspace, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["foreign"] is False
    assert found["test"]["confusion_matrix"] == document["evaluation"]["test"]["confusion_matrix"]
    assert found["test"]["roc_auc"] == pytest.approx(document["evaluation"]["test"]["roc_auc"])
    spoken = cli(capsys, "evaluate", "-w", workspace, "--model", model)
    assert f"{found['test']['roc_auc']:.4f}" in spoken.out
    assert "wrongly blocked" in spoken.out
    assert spoken.err.splitlines()[-1] == (
        f"Next: for a page to look at, keshikaran report --workspace {workspace}"
    )


def test_evaluate_on_a_folder_counts_each_image_once_and_touches_no_workspace(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_classes(tmp_path / "in", 12)
    shutil.copy(pictures / "red" / "0000.png", pictures / "red" / "again.png")
    (pictures / "red" / "both.png").write_bytes(encode(reddish(777)))
    (pictures / "blue" / "both.png").write_bytes(encode(reddish(777)))
    (pictures / "red" / "broken.jpg").write_bytes(b"no image")
    (pictures / "loose.png").write_bytes(encode(reddish(778)))
    model = Workspace(workspace).latest_model()
    assert model is not None
    before = (workspace / "journal.jsonl").read_bytes()
    words = ("evaluate", pictures, "--positive", "red", "--model", model)
    done = cli(capsys, *words, "--json", "-w", tmp_path / "none")
    found = json.loads(done.out)
    assert done.code == 3
    assert found["test"]["images"] == 24
    assert found["test"]["roc_auc"] == 1.0
    assert (found["undecided"], found["repeated"]) == (1, 2)
    assert (found["contradictory"], found["unlabelled"]) == (1, 1)
    assert (workspace / "journal.jsonl").read_bytes() == before
    assert not (tmp_path / "none").exists()
    spoken = cli(capsys, *words)
    assert "1 files stayed undecided" in spoken.err
    assert "1 files contradictory" in spoken.err


def test_evaluate_says_what_is_missing(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_classes(tmp_path / "in", 3)
    shutil.rmtree(pictures / "blue")
    model = Workspace(workspace).latest_model() or Path()
    done = cli(capsys, "evaluate", pictures, "--positive", "red", "--model", model)
    assert done.code == 1
    assert "0 acceptable and 3 objectionable images to judge on" in done.err
    useless = cli(capsys, "evaluate", "--positive", "red", "-w", workspace)
    assert useless.code == 2
    assert "change nothing without images" in useless.err


def test_report_makes_page_and_json_anew_with_the_counts_of_the_audit(
    workspace: Path, backbone_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "report", "-w", workspace, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    document = json.loads(Path(found["document_path"]).read_bytes())
    words = ("--backbone", backbone_file, "-w", workspace, "--json")
    audit = json.loads(cli(capsys, "audit", *words).out)
    counts = document["audit"]
    assert counts["leaks"] == len(audit["leaks"])
    assert counts["duplicate_groups"] == len(audit["groups"])
    assert counts["contradictions"] == len(audit["contradictions"])
    assert counts["set_aside"] == len(audit["set_aside"])
    assert counts["tiny_slices"] == len(audit["tiny"])
    assert counts["labels_to_check"] == audit["labels_to_check"]
    assert counts["labels_to_check"] >= 4
    review = json.loads(cli(capsys, "review-labels", *words).out)
    assert review["suspicious"] == counts["labels_to_check"]
    assert document["learning_curve"] is not None
    page = Path(found["report_path"]).read_text(encoding="utf-8")
    assert "What more labels would bring" in page
    assert "notes.txt" in page
    assert page.count("<img ") == document["evaluation"]["test"]["images"]
    assert f"--workspace {workspace}" in page


def test_report_says_the_verdict_and_where_it_lies(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    done = cli(capsys, "report", "-w", workspace, "--output", page)
    assert done.code == 0
    assert done.out.startswith("Of 1,000 uploads")
    assert str(page) in done.out
    assert page.is_file()
    assert page.with_suffix(".json").is_file()
    assert done.err.splitlines()[-1] == f"Next: open {page}"
    assert talks_in_lines(done.err)
    again = cli(capsys, "report", "-w", workspace, "--output", page)
    assert again.code == 0


def test_report_never_writes_over_what_is_no_report(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diary, table = tmp_path / "diary.html", tmp_path / "table.json"
    diary.write_text("<p>dear diary</p>")
    table.write_text("{}")
    for output, taken in ((diary, diary), (tmp_path / "table.html", table)):
        done = cli(capsys, "report", "-w", workspace, "--output", output)
        assert done.code == 2
        assert f"{taken} is there already, and it is no report." in done.err
    assert diary.read_text() == "<p>dear diary</p>"
    named = cli(capsys, "report", "-w", workspace, "--output", tmp_path / "model.onnx")
    assert named.code == 2
    assert "does not end in .html" in named.err
    forced = cli(capsys, "report", "-w", workspace, "--output", diary, "--force")
    assert forced.code == 0
    assert diary.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_model_of_another_split_is_reported_with_a_caution(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained: TrainingResult
) -> None:
    split = cli(capsys, "evaluate", "-w", workspace, "--model", trained.model_path)
    assert split.code == 0
    stranger = tmp_path / "stranger.onnx"
    stranger.write_bytes(packed())
    done = cli(capsys, "evaluate", "-w", workspace, "--model", stranger)
    assert done.code == 0
    assert "trained under another split" in done.err


def test_strangers_model_may_say_anything_about_itself(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger.onnx"
    odd: dict[str, Any] = {
        "policy": {"objectionable": ["<script>x</script>"], "uploads_per_day": "many"},
        "recipe": {"c": True, "name": 7},
        "training_set": {"digest": 5, "split_scheme": "x"},
        "split": {"<img src=x>": {"<b>": 3}},
        "licence": "</script><script>alert(1)</script>",
        "classes": {"0": "a\u202eb", "1": "<h1>"},
    }
    stranger.write_bytes(packed(**odd))
    done = cli(
        capsys, "report", "-w", workspace, "--model", stranger, "--output", tmp_path / "s.html"
    )
    assert done.code == 0
    assert talks_in_lines(done.err)
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    for markup in ("<script>alert", "<script>x", "<img src=x", "<b>3", "<h1>”", "\u202e"):
        assert markup not in page
    assert settings_of(manifest(**odd))["head"] == "unknown"


@pytest.mark.parametrize(
    "promise",
    [
        {"words": ["x"]},
        {"demand": "world peace"},
        {"label": "<b>", "status": "unsupported", "have": 1, "needed": 2},
        {"needed": "many", "status": "unsupported", "have": 1, "label": 0},
    ],
)
def test_promise_of_a_strangers_model_that_is_none_is_refused(
    promise: dict[str, object],
    workspace: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = {
        "demand": "min_recall", "asked": 0.9, "observed": {"value": 1, "low": 0, "high": 1},
        "promised": 0.9, "words": "x", "status": "supported",
    }  # fmt: skip
    stranger = tmp_path / "stranger.onnx"
    stranger.write_bytes(packed(promises=[plain | promise]))
    done = cli(capsys, "evaluate", "-w", workspace, "--model", stranger)
    assert done.code == 1
    assert "holds a promise that cannot be read" in done.err


def test_page_says_which_command_measures_what_a_training_run_left_out() -> None:
    page = render_html(content(where=" --workspace here"))
    assert "keshikaran report --workspace here" in page
