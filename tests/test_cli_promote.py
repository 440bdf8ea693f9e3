"""`keshikaran promote`, `rollback`, `models list` and `models show`, as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundle_support import fake, opened
from cli_support import Outcome, cli
from keshikaran.bundle import pack, read_bundle, run_self_test
from keshikaran.errors import PromotionError
from keshikaran.head import Head
from keshikaran.model_list import find_model
from keshikaran.promoting import put_new_model_into_use, weigh
from keshikaran.scoring_graph import build_scoring_graph, read_head
from keshikaran.store import Workspace, read_in_use
from keshikaran.training import TrainingOptions, TrainingResult
from keshikaran.types import SilentProgress
from support import FAKE_SIDE, encode, reddish

_BAD = "20270101T000000Z-baadbaad"
Captured = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Bench:
    """A workspace with a good model and a newer one that is noise."""

    place: Workspace
    good: str
    run: Callable[..., Outcome]

    @property
    def in_use(self) -> str | None:
        return read_in_use(self.place.model_folder).model_id


def _worse(model: Path, target: Path, **manifest: object) -> None:
    """The same network with a head that says the opposite, under another id."""
    bundle = read_bundle(model)
    head = read_head(bundle.model, "model")
    turned = Head(-head.weights, -head.bias)
    graph = build_scoring_graph(fake(), turned)
    said = replace(
        bundle.manifest,
        model_id=target.stem,
        self_test=run_self_test(opened(graph), FAKE_SIDE, FAKE_SIDE),
        **manifest,  # type: ignore[arg-type]
    )
    target.write_bytes(pack(graph, said))


@pytest.fixture(scope="module")
def template(trained: TrainingResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both models. Do not change it."""
    folder = tmp_path_factory.mktemp("promote") / "w"
    shutil.copytree(trained.model_path.parent.parent, folder)
    place = Workspace(folder)
    _worse(place.model(trained.model_id), place.model(_BAD))
    models = place.model(_BAD), place.model(trained.model_id)
    weigh(place, *models, TrainingOptions(), SilentProgress())  # features are in the cache then
    return folder


@pytest.fixture
def bench(template: Path, trained: TrainingResult, tmp_path: Path, capsys: Captured) -> Bench:
    place = Workspace(tmp_path / "w")
    shutil.copytree(template, place.folder)

    def run(*words: str | Path) -> Outcome:
        return cli(capsys, *words, "-w", place.folder)

    return Bench(place, trained.model_id, run)


def test_first_model_is_put_into_use_without_comparison(bench: Bench) -> None:
    done = bench.run("promote", _BAD)
    assert done.code == 0
    assert "Nobody had chosen a model before, so nothing was compared" in done.err
    assert done.err.splitlines()[-1].startswith("Next: keshikaran predict IMAGE")
    (change,) = read_in_use(bench.place.model_folder).changes
    assert (change.model_id, change.action, change.forced, change.verdict) == (
        _BAD, "promote", False, None,
    )  # fmt: skip
    assert change.who


def test_older_model_is_compared_with_the_newest_that_answers(bench: Bench) -> None:
    done = bench.run("promote", bench.good[:20])
    assert done.code == 0
    assert f"in use                       {_BAD}" in done.out
    assert done.out.splitlines()[-1].split() == ["verdict", "better"]
    assert "roc auc                        0.0000   1.0000" in done.out
    assert bench.in_use == bench.good


def test_model_that_is_worse_is_refused_and_says_in_what(bench: Bench) -> None:
    bench.run("promote", bench.good)
    done = bench.run("promote")  # the newest
    assert done.code == 1
    assert "significant loss" in done.out
    assert f"{_BAD} is not put into use. It is significantly worse than {bench.good}" in done.err
    assert "roc auc" in done.err
    assert "--force --reason TEXT" in done.err
    assert bench.in_use == bench.good


def test_card_that_is_not_there_is_an_error_where_features_are_missing(bench: Bench) -> None:
    bench.place.features.unlink()
    for words in (("promote", bench.good), ("report",), ("evaluate",)):
        done = bench.run(*words, "--device", "cuda")
        assert (done.code, done.out) == (1, "")
        assert "built without" in done.err


def test_force_needs_a_reason_which_is_kept(bench: Bench) -> None:
    bench.run("promote", bench.good)
    assert bench.run("promote", "--force").code == 2
    assert bench.run("promote", "--force", "--reason", " ").code == 2
    done = bench.run("promote", "--force", "--reason", "new policy", "--who", "kim")
    assert done.code == 0
    change = read_in_use(bench.place.model_folder).changes[-1]
    assert (change.model_id, change.why, change.who, change.forced) == (
        _BAD, "new policy", "kim", True,
    )  # fmt: skip
    assert change.verdict == "significant loss"
    assert "roc_auc" in change.losses
    listed = bench.run("models", "list").out
    assert "by kim, significant loss, forced: new policy" in listed


def test_comparing_only_changes_nothing(bench: Bench) -> None:
    bench.run("promote", _BAD)
    done = bench.run("promote", bench.good, "--dry-run")
    assert done.code == 0
    assert "Only compared. Nothing speaks against it." in done.err
    assert bench.in_use == _BAD
    assert bench.run("promote", "--dry-run", "--force", "--reason", "x").code == 2


def test_json_lists_every_image_concerned_with_its_file(bench: Bench) -> None:
    bench.run("promote", bench.good)
    done = bench.run("promote", "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert list(found) == [
        *("model_id", "model_path", "was_in_use", "reasons", "notes", "comparison", "promoted")
    ]
    assert (found["promoted"], found["was_in_use"]) == (False, bench.good)
    moved = found["comparison"]["transitions"]
    assert len(moved) == sum(sum(n.values()) for n in found["comparison"]["moves"].values()) > 10
    assert all(item["paths"][0].endswith(".png") for item in moved)
    assert {item["label"] for item in moved} == {0, 1}
    forced = bench.run("promote", "--json", "--force", "--reason", "x")
    assert (forced.code, json.loads(forced.out)["promoted"]) == (0, True)


def test_only_ten_images_are_shown_to_people(bench: Bench) -> None:
    bench.run("promote", bench.good)
    done = bench.run("promote", "--dry-run")
    assert done.code == 1  # it would be refused
    assert sum(" → " in line and line.startswith("  ") for line in done.out.splitlines()) == 10
    assert "more: see --json." in done.err


def test_model_in_use_is_not_compared_with_itself(bench: Bench) -> None:
    bench.run("promote", bench.good)
    done = bench.run("promote", bench.good)
    assert (done.code, done.out) == (0, "")
    assert "is in use already" in done.err
    assert len(read_in_use(bench.place.model_folder).changes) == 1


def test_other_model_to_compare_with_can_be_named(bench: Bench) -> None:
    done = bench.run("promote", bench.good, "--against", _BAD, "--dry-run")
    assert f"in use                       {_BAD}" in done.out


def test_file_from_elsewhere_is_copied_into_the_workspace(bench: Bench, tmp_path: Path) -> None:
    bench.run("promote", _BAD)
    other = tmp_path / "bought.onnx"
    shutil.copy(bench.place.model(bench.good), other)
    bench.place.model(bench.good).unlink()
    done = bench.run("promote", other)
    assert done.code == 0
    assert bench.place.model(bench.good).read_bytes() == other.read_bytes()
    assert bench.place.model_to_use() == bench.place.model(bench.good)


def test_other_file_with_the_same_id_is_refused(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / f"{bench.good}.onnx"
    _worse(bench.place.model(bench.good), other)
    done = bench.run("promote", other)
    assert done.code == 1
    assert "has the same model id and other content" in done.err


def test_model_that_may_have_learned_the_test_images_is_refused(bench: Bench) -> None:
    foreign = "20270202T000000Z-f0f0f0f0"
    good = read_bundle(bench.place.model(bench.good))
    split = good.manifest.training_set | {"split_scheme": {"name": "hash", "salt": "other"}}
    said = replace(good.manifest, model_id=foreign, training_set=split)
    graph = build_scoring_graph(fake(), read_head(good.model, "m"))
    bench.place.model(foreign).write_bytes(pack(graph, said))
    bench.run("promote", bench.good)
    done = bench.run("promote", foreign)
    assert done.code == 1
    assert "may have learned the test images" in done.err
    bench.run("promote", foreign, "--force", "--reason", "bought")
    back = bench.run("promote", bench.good)
    assert back.code == 0
    assert f"Note: {foreign} was trained under another split" in back.err


def good_path(bench: Bench) -> Path:
    return bench.place.model(bench.good)


def test_other_policy_and_few_images_are_mentioned(bench: Bench) -> None:
    target = bench.place.model("20270303T000000Z-0d0d0d0d")
    costs = {"miss": 50.0, "false_alarm": 5.0, "review": 1.0}
    _worse(good_path(bench), target, policy={"costs": costs, "max_false_positive_rate": 0.05})
    bench.run("promote", bench.good)
    done = bench.run("promote", target.stem, "--dry-run")
    assert "Note: The two were trained under different policies" in done.err
    assert "test images of one label: small differences cannot be seen" in done.err
    assert "recall at 5% false" in done.out
    assert "expected cost" in done.out


def test_costs_that_make_no_sense_are_left_out(bench: Bench) -> None:
    bench.run("promote", bench.good)
    target = bench.place.model("20270303T000000Z-0d0d0d0d")
    for costs in ({"miss": -1.0, "false_alarm": 1, "review": 1}, 7):
        _worse(good_path(bench), target, policy={"costs": costs, "max_false_positive_rate": "no"})
        done = bench.run("promote", target.stem, "--dry-run")
        assert "recall at 1% false" in done.out
        assert "expected cost" not in done.out


def test_where_the_old_model_cannot_be_read_somebody_must_answer_for_the_new_one(
    bench: Bench,
) -> None:
    bench.run("promote", _BAD)
    bench.place.model(_BAD).write_bytes(b"gone wrong")
    done = bench.run("promote", bench.good)
    assert done.code == 1
    assert f"It cannot be compared with {_BAD}" in done.err
    assert bench.run("promote", bench.good, "--force", "--reason", "disk").code == 0
    assert bench.in_use == bench.good


def test_model_that_does_not_exist_is_said_to_be_none(bench: Bench) -> None:
    done = bench.run("promote", "20")
    assert (done.code, "2 models" in done.err) == (2, True)
    done = bench.run("promote", "nothing.onnx")
    assert (done.code, "No models" in done.err) == (2, True)
    for model in bench.place.models():
        model.unlink()
    done = bench.run("promote")
    assert (done.code, "There is no model in" in done.err) == (1, True)


def test_refused_model_is_not_put_into_use_from_python_either(bench: Bench) -> None:
    options = TrainingOptions()
    new, old = find_model(bench.place, _BAD), find_model(bench.place, bench.good)
    weighed = weigh(bench.place, new, old, options, SilentProgress())
    with pytest.raises(PromotionError, match="significantly worse"):
        put_new_model_into_use(bench.place, weighed, who="kim")
    assert bench.in_use is None


# What follows from it


def test_predict_and_train_go_by_the_model_in_use(
    bench: Bench, backbone_file: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(encode(reddish(5000)))
    assert json.loads(bench.run("predict", picture, "--json").out)["model_id"] == _BAD
    bench.run("promote", bench.good)
    assert json.loads(bench.run("predict", picture, "--json").out)["model_id"] == bench.good
    again = bench.run("train", "--backbone", backbone_file, "--no-tensorboard")
    assert again.code == 0
    assert f"{bench.good} stays in use until another is promoted." in again.err
    (newest,) = {model.stem for model in bench.place.models()} - {_BAD, bench.good}
    assert again.err.splitlines()[-1].startswith(f"Next: keshikaran promote {newest}")
    assert json.loads(bench.run("predict", picture, "--json").out)["model_id"] == bench.good
    assert json.loads(bench.run("status", "--json").out)["model_in_use"] == bench.good


# Going back


def test_rollback_goes_back_and_keeps_why(bench: Bench) -> None:
    nothing = bench.run("rollback")
    assert (nothing.code, "There is no model to go back to" in nothing.err) == (2, True)
    bench.run("promote", _BAD)
    bench.run("promote", bench.good)
    done = bench.run("rollback", "--reason", "complaints")
    assert (done.code, done.out.strip()) == (0, _BAD)
    assert f"It replaces {bench.good}" in done.err
    change = read_in_use(bench.place.model_folder).changes[-1]
    assert (change.action, change.why) == ("rollback", "complaints")
    assert bench.run("rollback").code == 2
    there = bench.run("rollback", "--to", bench.good, "--json")
    assert json.loads(there.out)["was_in_use"] == _BAD
    same = bench.run("rollback", "--to", bench.good)
    assert "It is in use already." in same.err


def test_rollback_to_a_file_that_is_damaged_is_refused(bench: Bench) -> None:
    bench.run("promote", _BAD)
    bench.run("promote", bench.good)
    bench.place.model(_BAD).write_bytes(b"gone wrong")
    assert bench.run("rollback").code == 1
    assert bench.in_use == bench.good


# Lists


def test_list_marks_the_model_that_answers(bench: Bench) -> None:
    before = bench.run("models", "list")
    assert [line[:2] for line in before.out.splitlines()[1:]] == ["* ", "  "]
    assert before.out.count("trained") == 2
    assert before.err.splitlines()[-1].startswith("Next: keshikaran promote")
    bench.run("promote", bench.good)
    after = bench.run("models", "list", "--json")
    found = json.loads(after.out)
    assert [(one["model_id"], one["in_use"], one["answers"]) for one in found] == [
        (_BAD, False, False),
        (bench.good, True, True),
    ]
    assert found[1]["roc_auc"] == 1.0
    assert found[1]["change"]["action"] == "promote"
    assert found[1]["thresholds"].keys() == {"review", "block"}


def test_damaged_and_missing_models_are_listed_too(bench: Bench) -> None:
    bench.run("promote", bench.good)
    bench.place.model(bench.good).unlink()
    bench.place.model(_BAD).write_bytes(b"gone wrong")
    done = bench.run("models", "list")
    assert done.code == 0
    assert f"* {bench.good}" in done.out
    assert "cannot be read" in done.out
    assert "is not a keshikaran model" in done.out
    shown = bench.run("models", "show", _BAD)
    assert "problem" in shown.out


def test_show_tells_figures_and_history(bench: Bench) -> None:
    bench.run("promote", bench.good, "--reason", "first")
    done = bench.run("models", "show", bench.good)
    assert "in use             yes" in done.out
    assert "roc auc            1.0000" in done.out
    assert ": first" in done.out
    found = json.loads(bench.run("models", "show", bench.good, "--json").out)
    assert [change["why"] for change in found["changes"]] == ["first"]


def test_empty_workspace_has_no_models_to_list(bench: Bench) -> None:
    for model in bench.place.models():
        model.unlink()
    done = bench.run("models", "list")
    assert (done.code, done.out) == (0, "")
    assert "Next: keshikaran train" in done.err
