"""`keshikaran split`, `link`, `train` and `audit` on a workspace with near-duplicates, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli_support import Outcome, cli, talks_in_lines
from keshikaran.backbones import load_backbone
from keshikaran.pixels import RESIZE_MODES
from keshikaran.split import split_images
from keshikaran.store import (
    DuplicatePair,
    FeatureCache,
    FeatureRecipe,
    Store,
    SuspectedPair,
    Workspace,
)
from keshikaran.training import TrainingResult
from keshikaran.types import ImageId, Split
from support import bluish, encode

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def workspace(trained: TrainingResult, tmp_path: Path) -> Path:
    """240 labelled images with features, split without knowing of any copies."""
    there = trained.model_path.parent.parent
    return Path(shutil.copytree(there, tmp_path / "ws"))


def _on(store: Store, side: Split, label: int | None = None) -> list[ImageId]:
    labels = {image.image_id: image.label for image in store.labels.images()}
    found = [i for i, where in sorted(store.splits().items()) if where == side]
    return [i for i in found if label in {None, labels[i]}]


def _pair_up(store: Store, one: ImageId, other: ImageId) -> None:
    first, second = sorted([one, other])
    store.groups.record([DuplicatePair(first, second, "none", 1.0, 0.9, 0.9, 0.97, 1)])


@pytest.fixture
def planted(workspace: Path) -> tuple[ImageId, ImageId]:
    """A training image that is called a copy of a test image, of the same label."""
    with Store(workspace) as store:
        pair = _on(store, "train", 1)[0], _on(store, "test", 1)[0]
        _pair_up(store, *pair)
    return pair


def _run(
    capsys: Captured, backbone_file: Path, workspace: Path, command: str, *words: str
) -> Outcome:
    backbone = ("--backbone", str(backbone_file))
    done = cli(capsys, command, *words, *backbone, "-w", workspace)
    assert talks_in_lines(done.err)
    return done


@pytest.mark.usefixtures("planted")
def test_split_sets_training_copies_aside_and_points_to_the_audit(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "split")
    assert done.code == 0
    assert "2 images are near-duplicates of one another, in 1 groups." in done.err
    assert "1 images are set aside" in done.err
    assert "Warning" not in done.err
    assert done.err.splitlines()[-1].startswith(f"Next: keshikaran audit --workspace {workspace}")
    found = json.loads(_run(capsys, backbone_file, workspace, "split", "--json").out)
    assert (found["set_aside"], found["leaks"], found["groups"]) == (1, 0, 1)
    assert found["scheme"]["guard"] is True


@pytest.mark.usefixtures("planted")
def test_split_without_the_guard_warns_and_names_the_way_back(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "split", "--no-guard")
    assert done.code == 0
    assert "Warning: 1 images on train are near-duplicates of validation or test" in done.err
    assert f": keshikaran split --scheme hash --workspace {workspace}" in done.err
    done = _run(capsys, backbone_file, workspace, "split", "--scheme", "hash")
    assert "1 images are set aside" in done.err


def test_the_way_back_keeps_salt_and_balance(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    words = ("--salt", "a b", "--balance", "--no-guard")
    _run(capsys, backbone_file, workspace, "split", *words)
    with Store(workspace) as store:
        _pair_up(store, _on(store, "train")[0], _on(store, "test")[0])
        test = _on(store, "test")
    done = _run(capsys, backbone_file, workspace, "split")
    assert ": keshikaran split --scheme hash --salt 'a b' --balance --workspace" in done.err
    done = _run(capsys, backbone_file, workspace, "split", "--scheme", "hash", *words[:3])
    assert "changed sides" not in done.err
    with Store(workspace) as store:
        assert _on(store, "test") == test


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("scheme", ["seed", "file"])
def test_rules_made_elsewhere_warn_of_their_leaks(
    workspace: Path, backbone_file: Path, capsys: Captured, tmp_path: Path, scheme: str
) -> None:
    with Store(workspace) as store:
        images = sorted(store.labels.images(), key=lambda image: image.object_id)
        if scheme == "seed":  # the first is surely on its test side, the last on train
            ones = [image.image_id for image in images if image.label == 1]
            split_images(store)
            _pair_up(store, ones[0], ones[-1])
        lines = [f"{i},1,{side}" for i, side in store.splits().items()]
    file = tmp_path / "split.csv"
    file.write_text("\n".join(["objectId,value,type", *lines]))
    name = "seed" if scheme == "seed" else str(file)
    found = json.loads(
        _run(capsys, backbone_file, workspace, "split", "--scheme", name, "--json").out
    )
    done = _run(capsys, backbone_file, workspace, "split")
    assert found["leaks"] >= 1
    assert f"Warning: {found['leaks']} images on train are near-duplicates" in done.err
    assert ": keshikaran split --scheme hash" in done.err


def test_images_that_change_sides_are_counted(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "split", "--salt", "other")
    assert "images changed sides: figures of earlier models are not comparable." in done.err
    assert "changed sides" not in _run(capsys, backbone_file, workspace, "split").err


def test_link_tree_leaves_out_what_is_set_aside(
    workspace: Path,
    planted: tuple[ImageId, ImageId],
    backbone_file: Path,
    capsys: Captured,
    tmp_path: Path,
) -> None:
    done = _run(capsys, backbone_file, workspace, "link", str(tmp_path / "tree"))
    assert "239 links made" in done.err
    assert "1 images are set aside" in done.err
    targets = {link.resolve().stem for link in (tmp_path / "tree").glob("*/*/*")}
    assert planted[1] in targets
    assert planted[0] not in targets


@pytest.mark.usefixtures("planted")
def test_training_leaves_out_what_is_set_aside_and_says_so(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "train")
    assert "1 images are set aside" in done.err
    found = json.loads(_run(capsys, backbone_file, workspace, "train", "--json").out)
    assert sum(sum(side.values()) for side in found["split"].values()) == 239
    images = found["images"]
    assert (images["set_aside"], images["near_duplicates"], images["leaks"]) == (1, 2, 0)
    page = Path(found["report_path"]).read_text(encoding="utf-8")
    assert ">set aside<" in page
    assert "not kept out of training" not in page
    status = json.loads(cli(capsys, "status", "--json", "-w", workspace).out)
    assert status["set_aside"] == 1
    leaky = json.loads(_run(capsys, backbone_file, workspace, "train", "--no-guard", "--json").out)
    assert sum(sum(side.values()) for side in leaky["split"].values()) == 240
    assert (leaky["images"]["set_aside"], leaky["images"]["leaks"]) == (0, 1)
    page = Path(leaky["report_path"]).read_text(encoding="utf-8")
    assert "copies of test images not kept out of training" in page


# Features that are there already


def test_features_of_any_precision_and_resize_mode_will_do(
    workspace: Path, backbone_file: Path, capsys: Captured, tmp_path: Path
) -> None:
    Workspace(workspace).features.unlink()
    _run(capsys, backbone_file, workspace, "train", "--resize", "pad")
    (tmp_path / "new.png").write_bytes(encode(bluish(4_000)))
    cli(capsys, "import", tmp_path / "new.png", "--label", "0", "-w", workspace)
    _run(capsys, backbone_file, workspace, "split")
    _run(capsys, backbone_file, workspace, "link", str(tmp_path / "tree"))
    _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    digest = load_backbone(str(backbone_file)).digest
    with Store(workspace) as store, FeatureCache(Workspace(workspace).features) as cache:
        ids = [image.image_id for image in store.labels.images()]
        missing = {
            mode: len(cache.missing(FeatureRecipe(digest, "f32", mode), ids))
            for mode in RESIZE_MODES
        }
    assert missing == {"pad": 0, "crop": 241, "stretch": 241}


# audit


def test_audit_of_a_clean_workspace_ends_well(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "audit")
    assert done.code == 0
    assert [line.split()[-1] for line in done.out.splitlines()[:2]] == ["0", "0"]
    assert "as split" in done.out
    assert done.err.splitlines()[-1] == f"Next: keshikaran train --workspace {workspace}"


def test_audit_names_leaks_shows_figures_and_the_command_that_mends_them(
    workspace: Path, planted: tuple[ImageId, ImageId], backbone_file: Path, capsys: Captured
) -> None:
    train, test = planted
    done = _run(capsys, backbone_file, workspace, "audit")
    assert done.code == 3
    assert f"{train[:12]} on train is a copy of {test[:12]} on test (similarity 0.97)" in done.out
    assert "leaks                    1: 1 on train, 0 on validation" in done.out
    assert "as split, leaking test images left out" in done.out
    assert "as split, their copies left out of training" in done.out
    assert done.err.splitlines()[-1] == f"Next: keshikaran split --workspace {workspace}"
    assert _run(capsys, backbone_file, workspace, "split").code == 0
    done = _run(capsys, backbone_file, workspace, "audit")
    assert done.code == 0
    assert f"{train[:12]}  a copy of {test[:12]} on test" in done.out
    assert "guard off, their copies left out of training" in done.out


def test_audit_as_json_has_everything(
    workspace: Path, planted: tuple[ImageId, ImageId], backbone_file: Path, capsys: Captured
) -> None:
    done = _run(capsys, backbone_file, workspace, "audit", "--json")
    assert (done.code, done.out.count("\n")) == (3, 1)
    found = json.loads(done.out)
    (leak,) = found["leaks"]
    assert (leak["image_id"], leak["twin"]) == planted
    assert leak["evidence"][0]["similarity"] == 0.97
    (group,) = found["groups"]
    assert {member["image_id"] for member in group["members"]} == set(planted)
    assert found["clean"] is False
    assert found["figures"][0]["name"] == "as split"
    done = _run(capsys, backbone_file, workspace, "audit", "--json", "--no-figures")
    assert json.loads(done.out)["figures"] == []


def test_audit_asks_to_decide_contradictions(
    workspace: Path, backbone_file: Path, capsys: Captured, tmp_path: Path
) -> None:
    with Store(workspace) as store:
        zero, one = _on(store, "train", 0)[0], _on(store, "train", 1)[0]
        _pair_up(store, zero, one)
        same = _on(store, "train", 0)[1]
        copy = Path(store.entries_of(same)[0])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "copy.png").write_bytes(copy.read_bytes())
    cli(capsys, "import", tmp_path / "other" / "copy.png", "--label", "1", "-w", workspace)
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert done.code == 3
    assert "contradictions           2: 1 of the same bytes, 1 of copies" in done.out
    assert f"{same[:12]}: the same bytes under both labels:" in done.out
    assert "1 acceptable, 1 objectionable:" in done.out
    assert f"keshikaran label {same[:12]} --value 0|1" in done.err
    assert "Copies should agree; look at both and decide" in done.err
    cli(capsys, "label", same, "--value", "0", "-w", workspace)
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert done.err.splitlines()[-1].startswith(f"Next: keshikaran label {min(zero, one)[:12]}")


def test_audit_says_that_validation_and_test_stay(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    with Store(workspace) as store:
        _pair_up(store, _on(store, "validation", 0)[0], _on(store, "test", 0)[0])
    assert _run(capsys, backbone_file, workspace, "split").code == 0
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert done.code == 3
    assert ": 0 on train, 1 on validation" in done.out
    assert "Validation and test images never change sides." in done.err


def test_audit_before_any_split_and_after_new_images(
    workspace: Path, backbone_file: Path, capsys: Captured, tmp_path: Path
) -> None:
    for number in range(9):
        (tmp_path / f"new{number}.png").write_bytes(encode(bluish(5_000 + number)))
    files = sorted(tmp_path.glob("new*.png"))
    cli(capsys, "import", *files, "--label", "0", "-w", workspace)
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert "9 labelled images have no side yet: keshikaran split" in done.err
    fresh = tmp_path / "fresh"
    cli(capsys, "import", *files, "--label", "0", "-w", fresh)
    done = _run(capsys, backbone_file, fresh, "audit")
    assert "There is no split yet" in done.err
    assert "No figures: All 9 labelled images are acceptable." in done.err


def test_audit_shows_the_first_few_of_many(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    with Store(workspace) as store:
        test, train = _on(store, "test", 1)[0], _on(store, "train", 1)[:8]
        for image_id in train:
            _pair_up(store, test, image_id)
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert "… and 3 more (--json lists all)" in done.out
    assert "9 images: " in done.out
    assert "… and 7 more" in done.out


def test_suspects_are_told_of_kept_apart_and_named_with_the_evidence(
    workspace: Path, backbone_file: Path, capsys: Captured
) -> None:
    with Store(workspace) as store:
        train, test = _on(store, "train", 1)[:2], _on(store, "test", 1)[:2]
        one, other = (sorted(pair) for pair in zip(train, test, strict=True))
        seen = ("none", 1.0, 0.97, 0.4375, 0.5625)
        store.suspected.record([SuspectedPair(one[0], one[1], *seen, 2, 24.5)])
        nothing = (None, None, None, None, None)
        store.suspected.record([SuspectedPair(other[0], other[1], *nothing, 2, 21.0)])
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert done.code == 0
    assert "suspected copies         2 pairs, 2 on different sides" in done.out
    assert "(features: 24 spreads, agreement 0.44, similarity 0.56)" in done.out
    assert "(features: 21 spreads, too little to compare)" in done.out
    assert "Suspected copies on different sides: keshikaran split" in done.err
    assert done.err.splitlines()[-1].startswith("Next: keshikaran split")
    done = _run(capsys, backbone_file, workspace, "split")
    assert "2 images are set aside and take no part: copies" in done.err
    assert "4 images may be copies of one another; pixels could not tell." in done.err
    done = _run(capsys, backbone_file, workspace, "audit", "--no-figures")
    assert "suspected copies         2 pairs, 0 on different sides" in done.out
    assert f"{min(train)[:12]}  perhaps a copy of" in done.out
    assert "on no side, set aside" in done.out
    found = json.loads(_run(capsys, backbone_file, workspace, "split", "--no-guard", "--json").out)
    assert (found["suspected"], found["suspected_leaks"] + found["leaks"]) == (4, 2)
    done = _run(capsys, backbone_file, workspace, "split")  # the scheme stays as it is
    assert "2 images on train may be copies of validation or test images" in done.err
    assert "To deal near-duplicates together: keshikaran split --scheme hash" in done.err
