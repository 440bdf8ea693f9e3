"""`keshikaran show`: one image, all we know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli_support import cli, talks_in_lines
from keshikaran import Predictor
from keshikaran.dossier import Dossier, DossierOptions
from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import content_ids, image_id_of
from keshikaran.inquiry import image_dossier
from keshikaran.store import DuplicatePair, SetAside, Store, SuspectedPair, Workspace
from keshikaran.types import ImageId
from known_support import banned_scene, copies, scene
from support import encode

Captured = pytest.CaptureFixture[str]
_HERE = DossierOptions(isolation="off")


@pytest.fixture
def own(scenes_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy that may be changed."""
    shutil.copytree(scenes_workspace.folder, tmp_path / "own")
    return Workspace(tmp_path / "own")


@pytest.fixture(scope="module")
def banned(scenes: Path, scenes_workspace: Workspace) -> Dossier:
    return image_dossier(scenes_workspace, str(banned_scene(scenes)), _HERE)


def _id(path: Path) -> ImageId:
    return image_id_of(path.read_bytes())


def _latest(workspace: Workspace) -> Path:
    model = workspace.latest_model()
    assert model is not None
    return model


# A stored image


def test_the_file_and_where_it_came_from(banned: Dossier, scenes: Path) -> None:
    path = banned_scene(scenes)
    data = path.read_bytes()
    assert (banned.image_id, banned.stored, banned.sources) == (_id(path), True, (str(path),))
    assert banned.file.object_id == content_ids(data).object_id
    assert (banned.file.bytes, banned.file.format, banned.file.frames) == (len(data), "jpeg", 1)
    assert (banned.file.width, banned.file.height, banned.file.problem) == (240, 180, None)


def test_who_said_what_and_why(banned: Dossier) -> None:
    assert (banned.label, banned.contradictory) == (1, False)
    said = [(event.by, event.value, event.why) for event in banned.history]
    assert said == [("import", 0, ""), ("person", 1, "policy 4")]
    assert banned.history[1].who == "kim"


def test_scores_are_those_of_the_model(
    banned: Dossier, scenes: Path, scenes_workspace: Workspace
) -> None:
    model = _latest(scenes_workspace)
    with Predictor.load(model, isolation="off") as predictor:
        expected = predictor.predict(banned_scene(scenes))
    (found,) = banned.scores
    assert (found.model_id, found.score, found.verdict) == (model.stem, expected.score, "pass")


def test_neighbours_are_others_nearest_first(banned: Dossier) -> None:
    cosines = [near.cosine for near in banned.neighbours]
    assert len(cosines) == 5
    assert cosines == sorted(cosines, reverse=True)
    assert banned.image_id not in {near.image_id for near in banned.neighbours}
    assert all(near.path is not None and near.path.endswith(".jpg") for near in banned.neighbours)


def test_an_id_and_a_file_lead_to_the_same(banned: Dossier, scenes_workspace: Workspace) -> None:
    assert image_dossier(scenes_workspace, banned.image_id[:12], _HERE) == banned


def test_copies_come_with_their_evidence(own: Workspace, scenes: Path) -> None:
    image_id, first, second = (
        _id(scenes / name) for name in ("red/0000.jpg", "red/0001.jpg", "blue/0001.jpg")
    )
    with Store(own.folder) as store:
        for one, other in ((image_id, first), (first, second)):
            low, high = min(one, other), max(one, other)
            store.groups.record([DuplicatePair(low, high, "mirror", 1.0, 0.9, 0.97, 0.95, 1)])
    found = image_dossier(own, image_id, _HERE)
    twins = {twin.image_id: twin for twin in found.twins}
    assert set(twins) == {first, second}
    assert str(found.group) in {image_id, first, second}
    assert (twins[first].turn, twins[first].agreement, twins[first].label) == ("mirror", 0.97, 1)
    assert (twins[second].turn, twins[second].label) == (None, 0)


def test_what_may_be_a_copy_is_named(own: Workspace, scenes: Path, capsys: Captured) -> None:
    names = ("red/0000.jpg", "red/0001.jpg", "blue/0001.jpg")
    image_id, first, second = (_id(scenes / name) for name in names)
    with Store(own.folder) as store:
        low, high = sorted([image_id, first])
        seen = SuspectedPair(low, high, "none", 0.9, 0.97, 0.44, 0.56, 2, 22.5)
        low, high = sorted([image_id, second])
        plain = SuspectedPair(low, high, None, None, None, None, None, 2, 22.5)
        store.suspected.record([seen, plain])
    suspects = {twin.image_id: twin for twin in image_dossier(own, image_id, _HERE).suspects}
    assert set(suspects) == {first, second}
    assert (suspects[first].turn, suspects[first].agreement) == ("none", 0.44)
    assert (suspects[second].turn, suspects[second].label) == (None, 0)
    done = cli(capsys, "show", image_id, "-w", own.folder, "--isolation", "off", "--models", "0")
    told = done.out.split("may be copies")[1].split("split")[0]
    assert f"{first[:12]}  objectionable" in told
    assert "agreement 0.44, similarity 0.56, turn none" in told
    assert "too plain to compare" in told


def test_what_was_set_aside_says_why(own: Workspace, scenes: Path) -> None:
    image_id, twin = _id(scenes / "red" / "0000.jpg"), _id(scenes / "red" / "0001.jpg")
    with Store(own.folder) as store:
        sides = {other: side for other, side in store.splits().items() if other != image_id}
        aside = SetAside(image_id, twin, "test")
        store.assign_splits(sides.items(), json.dumps(store.split_scheme()), [aside])
    found = image_dossier(own, image_id, _HERE)
    assert (found.split, found.set_aside) == (None, aside)


def test_a_damaged_object_still_has_a_history(own: Workspace, scenes: Path) -> None:
    with Store(own.folder) as store:
        path = store.blobs.path_of(_id(banned_scene(scenes)), "jpg")
    path.chmod(0o644)
    path.write_bytes(b"gone")
    found = image_dossier(own, _id(banned_scene(scenes)), _HERE)
    assert found.file.problem is not None
    assert "damaged_object" in found.file.problem
    assert len(found.history) == 2
    assert [score.verdict for score in found.scores] == ["undecided"]
    assert found.neighbours  # its features are there still


def test_models_that_cannot_be_read_are_named(own: Workspace, scenes: Path) -> None:
    (own.folder / "models" / "20990101T000000Z-bad.onnx").write_bytes(b"no model")
    bad, good = image_dossier(own, str(banned_scene(scenes)), _HERE).scores
    assert (bad.model_id, bad.score, bad.verdict) == ("20990101T000000Z-bad", None, "undecided")
    assert bad.reason is not None
    assert "the model cannot be read" in bad.reason
    assert good.score is not None


def test_no_more_is_asked_than_is_wanted(scenes_workspace: Workspace, scenes: Path) -> None:
    options = DossierOptions(models=0, neighbours=0, isolation="off")
    found = image_dossier(scenes_workspace, str(banned_scene(scenes)), options)
    assert (found.scores, found.neighbours) == ((), ())


# A file that is not stored


@pytest.mark.parametrize("kind", ["half", "turned"])
def test_a_copy_from_outside_is_recognised(
    kind: str, scenes: Path, scenes_workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "upload.jpg"
    path.write_bytes(copies(Image.open(banned_scene(scenes)))[kind])
    found = image_dossier(scenes_workspace, str(path), _HERE)
    assert (found.stored, found.label, found.sources, found.history) == (False, None, (), ())
    assert found.copy_of is not None
    assert found.copy_of.image_id == _id(banned_scene(scenes))
    assert found.scores[0].verdict == "pass"
    assert len(found.neighbours) == 5


def test_a_stranger_has_scores_and_neighbours(scenes_workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "stranger.png"
    path.write_bytes(encode(scene(99)))
    found = image_dossier(scenes_workspace, str(path), _HERE)
    assert (found.stored, found.copy_of, found.file.format) == (False, None, "png")
    assert found.scores[0].verdict == "block"
    assert len(found.neighbours) == 5


def test_a_file_that_is_no_image_says_so(scenes_workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("This is no picture.")
    found = image_dossier(scenes_workspace, str(path), _HERE)
    assert found.file.problem is not None
    assert found.file.problem.startswith("not_an_image")
    assert (found.copy_of, found.neighbours) == (None, ())
    assert found.scores[0].reason is not None
    assert found.scores[0].reason.startswith("not_an_image")


def test_a_workspace_without_models_and_labels_shows_what_there_is(tmp_path: Path) -> None:
    Store(tmp_path / "empty").close()
    path = tmp_path / "picture.png"
    path.write_bytes(encode(scene(99)))
    found = image_dossier(Workspace(tmp_path / "empty"), str(path), _HERE)
    assert (found.scores, found.neighbours, found.copy_of) == ((), (), None)
    assert found.file.format == "png"


@pytest.mark.parametrize(
    ("reference", "error"),
    [("nothing.jpg", UsageError), ("ffffff", UsageError), ("x" * 5000, SourceError)],
)
def test_what_is_neither_file_nor_image_is_refused(
    reference: str, error: type[Exception], scenes_workspace: Workspace
) -> None:
    with pytest.raises(error):
        image_dossier(scenes_workspace, reference, _HERE)


def test_a_file_that_cannot_be_read_is_named(
    scenes_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"x")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match=r"picture\.png cannot be read: Permission denied"):
        image_dossier(scenes_workspace, str(path), _HERE)


# The command


def _show(capsys: Captured, workspace: Workspace, *words: str | Path) -> str:
    done = cli(capsys, "show", *words, "-w", workspace.folder)
    assert done.code == 0
    assert talks_in_lines(done.err)
    return done.out


def test_people_read_it_on_one_screen(
    scenes_workspace: Workspace, scenes: Path, capsys: Captured
) -> None:
    path = banned_scene(scenes)
    done = cli(capsys, "show", path, "-w", scenes_workspace.folder)
    lines = done.out.splitlines()
    assert len(lines) < 25
    titles = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert titles == [
        *("image", "file", "sources", "label", "copies", "split", "scores", "neighbours"),
    ]
    assert "person: by kim (policy 4)" in done.out
    assert f"keshikaran label {_id(path)[:12]} --value 0|1 --workspace" in done.err


def test_machines_get_all_of_it(
    banned: Dossier, scenes_workspace: Workspace, scenes: Path, capsys: Captured
) -> None:
    done = cli(
        capsys,
        "show",
        banned_scene(scenes),
        "-w",
        scenes_workspace.folder,
        "--json",
        "--isolation",
        "off",
    )
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    assert found == json.loads(json.dumps(banned.to_dict()))


def test_people_read_of_copies_and_of_what_is_set_aside(
    own: Workspace, scenes: Path, capsys: Captured
) -> None:
    first, second = sorted((_id(scenes / "red" / "0000.jpg"), _id(scenes / "red" / "0001.jpg")))
    with Store(own.folder) as store:
        store.groups.record([DuplicatePair(first, second, "none", 1.0, 0.9, 0.97, 0.95, 1)])
        sides = {other: side for other, side in store.splits().items() if other != first}
        aside = SetAside(first, second, "test")
        store.assign_splits(sides.items(), json.dumps(store.split_scheme()), [aside])
    out = _show(capsys, own, first)
    assert f"group {first[:12]}, 2 images" in out
    assert f"{second[:12]}  objectionable" in out
    assert "agreement 0.97, similarity 0.95, turn none" in out
    assert f"set aside: its copy {second[:12]} is in test" in out


def test_people_read_that_imports_contradict(
    own: Workspace, tmp_path: Path, capsys: Captured
) -> None:
    for name in ("red", "blue"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "same.png").write_bytes(encode(scene(55)))
    cli(capsys, "import", tmp_path / "both", "--positive", "red", "-w", own.folder)
    out = _show(capsys, own, tmp_path / "both" / "red" / "same.png")
    assert "imports contradict each other; no person has decided" in out


def test_people_read_of_a_file_that_is_not_stored(
    scenes_workspace: Workspace, scenes: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "odd\nname.jpg"
    path.write_bytes(copies(Image.open(banned_scene(scenes)))["mirror"])
    done = cli(capsys, "show", path, "-w", scenes_workspace.folder)
    assert "not in the workspace" in done.out
    assert f"of {_id(banned_scene(scenes))[:12]}  objectionable" in done.out
    assert "turn mirror" in done.out
    assert "Next: keshikaran import" in done.err
    assert talks_in_lines(done.err)


def test_people_read_of_what_is_no_image(own: Workspace, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "text.png").write_text("no picture")
    shutil.rmtree(own.folder / "models")
    out = _show(capsys, own, tmp_path / "text.png")
    assert "10 bytes, not_an_image" in out
    assert "no model in the workspace" in out
    assert "none known" in out
