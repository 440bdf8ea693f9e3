"""`keshikaran compare-backbones`: a table and a picture on the user's own images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from cli_support import cli
from html_support import read_page
from keshikaran.intervals import Estimate
from keshikaran.report import ComparedBackbone, render_backbone_page
from keshikaran.report.backbone_page import cost_figure
from keshikaran.report.figures.drawing import BOTTOM, LEFT, RIGHT, TOP
from keshikaran.store import Store
from keshikaran.training import TrainingResult
from support import fake_backbone
from zoo_support import plane_means, register_fake


@pytest.fixture(scope="module")
def workspace(trained: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained workspace: reddish pictures are objectionable."""
    place = tmp_path_factory.mktemp("compare") / "ws"
    shutil.copytree(trained.model_path.parent.parent, place)
    return place


@pytest.fixture(autouse=True)
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`quadrants` and `planes` see red and blue; `green` sees neither."""
    monkeypatch.setenv("KESHIKARAN_BACKBONES", str(tmp_path / "backbones"))
    monkeypatch.setattr("keshikaran.backbones.cost._TURN_S", 0.01)
    register_fake("quadrants", fake_backbone())
    register_fake("planes", plane_means("Mul", [0.01, 0.01, 0.01]))
    register_fake("green", plane_means("Mul", [0.0, 0.01, 0.0]))


def test_table_and_picture(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(workspace) as store:
        sides = store.splits()
    done = cli(capsys, "compare-backbones", "quadrants", "green", "planes", "-w", workspace)
    assert done.code == 0, done.err
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names[0] == "backbone"
    assert names[-1] == "green"  # what sees nothing comes last
    assert sorted(names[1:]) == ["green", "planes", "quadrants"]
    page = workspace / "reports" / "backbones.html"
    assert str(page) in done.err
    assert f"keshikaran train --backbone {names[1]} --workspace {workspace}" in done.err
    text = page.read_text(encoding="utf-8")
    assert text.count("<circle") == 3
    assert "prefers-color-scheme: dark" in text
    with Store(workspace) as store:
        assert store.splits() == sides


def test_figures_of_the_json(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare-backbones", "quadrants", "green", "--salts", "2", "--json", "-w", workspace)
    done = cli(capsys, *words)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    best, worst = found["rows"]
    assert (best["name"], worst["name"], found["first"]) == (
        "quadrants",
        "green",
        "quadrants",
    )
    assert best["gain"] is None
    gain = worst["gain"]
    assert gain["low"] <= gain["value"] <= gain["high"] < 0
    assert gain["value"] == pytest.approx(worst["area"] - best["area"])
    for row in found["rows"]:
        assert row["roc_auc"]["low"] <= row["area"] <= row["roc_auc"]["high"]
        assert row["recall"]["low"] <= row["recall"]["value"] <= row["recall"]["high"]
        assert len(row["other_areas"]) == 2
        assert row["ms_per_image"] > 0
    assert [(row["height"], row["width"], row["dim"]) for row in found["rows"]] == [
        (32, 32, 12),
        (8, 8, 3),
    ]
    assert found["salts"] == 2
    assert found["train"] > found["test"] > found["positives"] > 0


def test_features_are_computed_once(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare-backbones", "quadrants", "planes", "--json", "-w", workspace)
    first, again = (json.loads(cli(capsys, *words).out) for _ in range(2))
    for one, other in zip(first["rows"], again["rows"], strict=True):
        assert (one["name"], one["area"], one["recall"], one["gain"]) == (
            other["name"],
            other["area"],
            other["recall"],
            other["gain"],
        )


@pytest.mark.parametrize("names", [["green"], ["green", "green"], ["green", "GREEN.onnx"]])
def test_one_network_is_nothing_to_compare(
    names: list[str], workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "GREEN.onnx"
    copy.write_bytes(plane_means("Mul", [0.0, 0.01, 0.0]))
    words = [str(copy) if name == copy.name else name for name in names]
    done = cli(capsys, "compare-backbones", *words, "-w", workspace)
    assert done.code == 2
    assert "two different backbones" in done.err


def test_unknown_network_is_named_before_any_work(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "compare-backbones", "green", "resnet", "-w", workspace)
    assert done.code == 1
    assert "no backbone named resnet" in done.err


def test_page_goes_where_it_is_asked_for(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare-backbones", "quadrants", "planes", "-w", workspace, "--html")
    assert cli(capsys, *words, tmp_path / "page.txt").code == 2
    assert cli(capsys, *words, tmp_path / "page.html").code == 0
    assert (tmp_path / "page.html").is_file()


# The picture


def _row(name: str, area: float, cost: float, others: Sequence[float] = ()) -> ComparedBackbone:
    interval = Estimate(area, area - 0.01, min(1.0, area + 0.01))
    return ComparedBackbone(
        name=name,
        digest="0" * 64,
        area=area,
        roc_auc=interval,
        gain=Estimate(0.001, -0.002, 0.004),
        recall=Estimate(0.8, 0.7, 0.9),
        other_areas=tuple(others),
        ms_per_image=cost,
        bytes=13_400_000,
        height=224,
        width=224,
        dim=1280,
        licence="Apache-2.0",
    )


def test_better_is_higher_and_dearer_is_further_right() -> None:
    rows = [_row("good", 0.99, 20.0), _row("cheap", 0.98, 5.0), _row("poor", 0.62, 200.0)]
    figure = cost_figure(rows)
    good, cheap, poor = figure.dots
    assert good.y < cheap.y < poor.y
    assert cheap.x < good.x < poor.x
    for dot in figure.dots:
        assert LEFT <= dot.x <= RIGHT
        assert TOP <= dot.top <= dot.y <= dot.bottom <= BOTTOM
    for tick in figure.x_ticks:
        assert LEFT <= tick.at <= RIGHT
    for tick in figure.y_ticks:
        assert TOP <= tick.at <= BOTTOM
    assert 2 <= len(figure.y_ticks) <= 8
    assert len(figure.x_ticks) >= 2


def test_names_do_not_cover_each_other() -> None:
    rows = [_row(f"network-{n}", 0.98, 10.0) for n in range(4)]
    heights = sorted(note.y for note in cost_figure(rows).notes)
    assert all(below - above >= 12 for above, below in pairwise(heights))


def test_names_stay_in_the_drawing() -> None:
    rows = [_row("a" * 40, 0.98, 1.0), _row("b" * 40, 0.97, 1000.0)]
    for note in cost_figure(rows).notes:
        assert note.x - 3 * len(note.words) > 0
        assert note.x + 3 * len(note.words) < 400


def test_equal_networks_can_be_drawn() -> None:
    figure = cost_figure([_row("one", 1.0, 5.0), _row("two", 1.0, 5.0)])
    assert figure.dots[0].y == figure.dots[1].y


def test_page_needs_nothing_beside_itself() -> None:
    rows = [_row("<b>odd</b>", 0.98, 5.0, [0.97, 0.99]), _row("two", 0.97, 9.0, [0.9, 0.94])]
    text = render_backbone_page(rows, "What was compared.")
    page = read_page(text)
    addresses = [name for _, name, _ in page.attributes if name in {"src", "href", "xlink:href"}]
    assert addresses == []
    assert "<b>odd" not in text
    assert "mean of 2 further splits" in text
    assert "0.9800" in text
    assert "What was compared." in text
