"""From a workspace's labels to answers that rest on them: Python, command line, file, workspace."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from PIL import Image

from cli_support import cli
from keshikaran import Prediction, Predictor
from keshikaran.errors import MemoryFileError, NotEnoughImagesError
from keshikaran.hashing import content_ids, image_id_of
from keshikaran.ingest import scan_folder
from keshikaran.known import export_memory, open_known
from keshikaran.memory import Memory, read_memory
from keshikaran.pixels import EXTENSIONS
from keshikaran.store import DuplicatePair, ImageRecord, SourceEntry, Store, Workspace
from keshikaran.training import TrainingOptions, train
from keshikaran.types import ImageId
from known_support import allowed_scene, banned_scene, copies, scene
from support import bluish, encode

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(scenes_workspace: Workspace) -> Path:
    path = scenes_workspace.latest_model()
    assert path is not None
    return path


@pytest.fixture(scope="module")
def memory_file(
    scenes_workspace: Workspace, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("memory") / "known.memory"
    export_memory(scenes_workspace, model, path)
    return path


@pytest.fixture(scope="module")
def plain(model: Path) -> Predictor:
    return Predictor.load(model, isolation="off")


@pytest.fixture(scope="module")
def knowing(model: Path, memory_file: Path) -> Predictor:
    return Predictor.load(model, memory=memory_file, isolation="off")


def _copies_of(path: Path) -> dict[str, bytes]:
    return copies(Image.open(path))


def _score(prediction: Prediction) -> float:
    assert prediction.score is not None
    return prediction.score


# Answers


def test_without_known_images_the_model_answers(plain: Predictor, scenes: Path) -> None:
    found = plain.predict(banned_scene(scenes))
    assert (found.source, found.evidence, found.verdict) == ("model", None, "pass")


def test_the_very_bytes_get_the_label(plain: Predictor, knowing: Predictor, scenes: Path) -> None:
    for path, verdict, score in (
        (banned_scene(scenes), "block", 1.0),
        (allowed_scene(scenes), "pass", 0.0),
    ):
        found = knowing.predict(path)
        assert (found.verdict, found.score, found.source) == (verdict, score, "exact")
        assert found.evidence is not None
        assert (found.evidence.image_id, found.evidence.label) == (found.image_id, int(score))
        assert (found.frames_total, found.reason) == (None, None)
        assert plain.predict(path).verdict != verdict


@pytest.mark.parametrize("kind", ["jpeg", "half", "crop", "mirror", "turned"])
def test_a_copy_of_a_banned_picture_does_not_come_back(
    kind: str, plain: Predictor, knowing: Predictor, scenes: Path
) -> None:
    upload = _copies_of(banned_scene(scenes))[kind]
    assert plain.predict(upload).verdict == "pass"
    found = knowing.predict(upload)
    assert (found.verdict, found.score, found.source) == ("block", 1.0, "near_duplicate")
    assert found.evidence is not None
    assert found.evidence.image_id == image_id_of(banned_scene(scenes).read_bytes())
    assert found.frames_total == 1


@pytest.mark.parametrize("kind", ["jpeg", "mirror"])
def test_a_copy_of_an_acceptable_picture_never_lowers_a_verdict(
    kind: str, plain: Predictor, knowing: Predictor, scenes: Path
) -> None:
    upload = _copies_of(allowed_scene(scenes))[kind]
    found, before = knowing.predict(upload), plain.predict(upload)
    assert (found.score, found.verdict) == (before.score, "block")
    assert found.source == "near_duplicate"
    assert found.evidence is not None
    assert found.evidence.label == 0


def test_strangers_get_the_model_s_answer(plain: Predictor, knowing: Predictor) -> None:
    for seed in range(500, 510):
        upload = encode(scene(seed, red=seed % 2 == 0), "JPEG")
        assert knowing.predict(upload) == plain.predict(upload)


def test_what_cannot_be_read_is_undecided_and_has_no_source(knowing: Predictor) -> None:
    found = knowing.predict(b"no picture")
    assert (found.verdict, found.score, found.source) == ("undecided", None, None)
    assert found.evidence is None


def test_many_get_the_answers_that_each_gets(knowing: Predictor, scenes: Path) -> None:
    uploads: list[str | bytes] = [
        str(banned_scene(scenes)),
        b"no picture",
        *_copies_of(allowed_scene(scenes)).values(),
        encode(scene(777), "PNG"),
        str(allowed_scene(scenes)),
        str(scenes / "missing.jpg"),
    ]
    assert list(knowing.predict_many(uploads)) == [knowing.predict(one) for one in uploads]


def test_a_file_that_changes_after_it_was_scored_keeps_the_model_s_answer(
    knowing: Predictor,
    plain: Predictor,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "upload.jpg"
    path.write_bytes(_copies_of(banned_scene(scenes))["half"])
    expected = plain.predict(path)
    read, opened = Path.open, []

    def swapped(self: Path, *arguments: str) -> io.IOBase:
        opened.append(self)
        if opened.count(path) == 2:
            return io.BytesIO(encode(bluish(1)))
        return read(self, *arguments)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(Path, "open", swapped)
    assert knowing.predict(path) == expected
    assert opened.count(path) == 2


# The same from everywhere


def _from_file(workspace: Workspace, model: Path, file: Path) -> AbstractContextManager[Memory]:
    return nullcontext(read_memory(file))


def _from_workspace(
    workspace: Workspace, model: Path, file: Path
) -> AbstractContextManager[Memory]:
    return open_known(workspace, model, isolation="off")


@pytest.fixture(scope="module")
def uploads(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Known pictures, copies and strangers. Do not change it."""
    folder = tmp_path_factory.mktemp("known-uploads")
    for name, path in (("allowed", allowed_scene(scenes)), ("banned", banned_scene(scenes))):
        shutil.copy(path, folder / f"{name}.jpg")
        for kind, data in _copies_of(path).items():
            (folder / f"{name}-{kind}.jpg").write_bytes(data)
    (folder / "stranger.png").write_bytes(encode(scene(4_711)))
    (folder / "text.png").write_bytes(b"This is no picture.")
    return folder


def test_file_and_workspace_command_line_and_python_agree(
    scenes_workspace: Workspace,
    model: Path,
    memory_file: Path,
    uploads: Path,
    knowing: Predictor,
    capsys: Captured,
) -> None:
    paths = [str(path) for path in sorted(uploads.iterdir())]
    expected = [json.loads(json.dumps(one.to_dict())) for one in knowing.predict_many(paths)]
    assert {one["source"] for one in expected} == {"exact", "near_duplicate", "model", None}
    folder = scenes_workspace.folder
    by_file = cli(capsys, "predict", uploads, "--model", model, "--memory", memory_file, "--json")
    by_workspace = cli(capsys, "predict", uploads, "-w", folder, "--known", "--json")
    for done in (by_file, by_workspace):
        assert (done.code, done.err) == (3, "")
        found = [json.loads(line) for line in done.out.splitlines()]
        for one, other in zip(found, expected, strict=True):
            assert _without_evidence(one) == _without_evidence(other)
            if other["evidence"] is not None:
                assert one["evidence"]["image_id"] == other["evidence"]["image_id"]
                assert one["evidence"]["turn"] == other["evidence"]["turn"]
    assert [json.loads(line) for line in by_file.out.splitlines()] == expected


def _without_evidence(prediction: dict[str, object]) -> dict[str, object]:
    """Small pictures differ a little from the originals: so does the evidence."""
    return {name: value for name, value in prediction.items() if name != "evidence"}


def test_people_read_which_image_is_known(
    model: Path, memory_file: Path, uploads: Path, capsys: Captured
) -> None:
    done = cli(capsys, "predict", uploads, "--model", model, "--memory", memory_file)
    lines = {Path(line.split()[2]).name: line for line in done.out.splitlines()}
    banned = image_id_of((uploads / "banned.jpg").read_bytes())[:12]
    allowed = image_id_of((uploads / "allowed.jpg").read_bytes())[:12]
    assert lines["banned.jpg"].endswith(f"(known: same bytes as {banned}, objectionable)")
    assert lines["allowed-half.jpg"].endswith(f"(known: copy of {allowed}, acceptable)")
    assert lines["stranger.png"].endswith("stranger.png")


# The file


def test_export_says_what_it_holds(
    scenes_workspace: Workspace, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "known.memory"
    done = cli(capsys, "export-memory", path, "-w", scenes_workspace.folder)
    assert (done.code, done.out) == (0, f"{path}\n")
    assert "60 known images, 30 of them objectionable" in done.err
    assert "keep it as safe as the images" in done.err
    assert f"Next: keshikaran predict IMAGE --memory {path}" in done.err


def test_export_is_the_same_each_time(
    scenes_workspace: Workspace, model: Path, memory_file: Path, tmp_path: Path
) -> None:
    export_memory(scenes_workspace, model, tmp_path / "again", isolation="off")
    assert (tmp_path / "again").read_bytes() == memory_file.read_bytes()


def test_export_as_json(
    scenes_workspace: Workspace, model: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "known.memory"
    done = cli(
        capsys, "export-memory", path, "-w", scenes_workspace.folder, "--exact-only", "--json"
    )
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "path": str(path),
        "model_id": model.stem,
        "images": 60,
        "objectionable": 30,
        "exact_only": 60,
        "disputed": 0,
        "left_out": 0,
        "bytes": path.stat().st_size,
    }
    assert path.stat().st_size < 60 * 40 + 1000


def test_exact_only_knows_bytes_and_no_copies(
    scenes_workspace: Workspace, model: Path, plain: Predictor, scenes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hashes.memory"
    export_memory(scenes_workspace, model, path, exact_only=True, isolation="off")
    with Predictor.load(model, memory=path, isolation="off") as predictor:
        assert predictor.predict(banned_scene(scenes)).source == "exact"
        upload = _copies_of(banned_scene(scenes))["jpeg"]
        assert predictor.predict(upload) == plain.predict(upload)


def test_a_file_for_another_network_is_refused(
    scenes: Path, backbone_file: Path, memory_file: Path, tmp_path: Path
) -> None:
    options = TrainingOptions(backbone=str(backbone_file), tensorboard=False, resize_mode="pad")
    other = train(Workspace(tmp_path), [scan_folder(scenes, ["red"])], options)
    with pytest.raises(MemoryFileError, match="resize mode"):
        Predictor.load(other.model_path, memory=memory_file)


def test_a_damaged_file_is_refused(
    model: Path, memory_file: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(memory_file.read_bytes()[:-1])
    done = cli(capsys, "predict", "x.jpg", "--model", model, "--memory", path)
    assert done.code == 1
    assert "its size does not fit" in done.err
    assert "export-memory" in done.err


def test_two_memories_are_one_too_many(model: Path, memory_file: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", "x", "--model", model, "--memory", memory_file, "--known")
    assert done.code == 2
    assert "--memory and --known exclude each other" in done.err


def test_known_needs_a_workspace(model: Path, tmp_path: Path, capsys: Captured) -> None:
    done = cli(capsys, "predict", "x", "--model", model, "--known", "-w", tmp_path / "none")
    assert done.code == 2
    assert "There is no workspace" in done.err
    assert not (tmp_path / "none").exists()


# What is left out


@pytest.fixture
def own(scenes_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy that may be changed."""
    shutil.copytree(scenes_workspace.folder, tmp_path / "own")
    return Workspace(tmp_path / "own")


def _store_broken(store: Store, data: bytes, label: int) -> ImageId:
    """Put a file with a sound header and no picture behind it into the store."""
    image_id = image_id_of(data)
    store.blobs.sync_folders([store.blobs.put(image_id, EXTENSIONS["jpeg"], data)])
    record = ImageRecord(image_id, content_ids(data).object_id, "jpeg", len(data), 240, 180)
    entry = SourceEntry("x", f"{label}.jpg", image_id, label)  # type: ignore[arg-type]
    store.add([record], [entry], who="test")
    return image_id


def test_undecodable_files_are_known_only_if_they_are_objectionable(own: Workspace) -> None:
    whole = encode(scene(900), "JPEG")
    with Store(own.folder) as store:
        acceptable = _store_broken(store, whole[:700], 0)
        objectionable = _store_broken(store, whole[:710], 1)
    model = own.latest_model()
    assert model is not None
    report = export_memory(own, model, own.folder / "known", isolation="off")
    assert (report.images, report.exact_only, report.left_out) == (61, 1, 1)
    with Predictor.load(model, memory=own.folder / "known", isolation="off") as predictor:
        assert predictor.predict(whole[:710]).verdict == "block"
        assert predictor.predict(whole[:710]).image_id == objectionable
        assert predictor.predict(whole[:700]).verdict == "undecided"
        assert predictor.predict(whole[:700]).image_id == acceptable


def test_a_damaged_object_is_known_by_its_bytes_alone(own: Workspace, scenes: Path) -> None:
    data = banned_scene(scenes).read_bytes()
    with Store(own.folder) as store:
        path = store.blobs.path_of(image_id_of(data), "jpg")
    path.chmod(0o644)
    path.write_bytes(data[:-1])
    model = own.latest_model()
    assert model is not None
    report = export_memory(own, model, own.folder / "known", isolation="off")
    assert (report.images, report.exact_only) == (60, 1)
    with Predictor.load(model, memory=own.folder / "known", isolation="off") as predictor:
        assert predictor.predict(data).source == "exact"
        assert predictor.predict(_copies_of(banned_scene(scenes))["jpeg"]).source == "model"


def test_copies_with_both_labels_leave_it_to_the_model(own: Workspace, scenes: Path) -> None:
    paths = (allowed_scene(scenes), banned_scene(scenes))
    first, second = sorted(image_id_of(path.read_bytes()) for path in paths)
    with Store(own.folder) as store:
        store.groups.record([DuplicatePair(first, second, "none", 1.0, 1.0, 1.0, 1.0, 1)])
    model = own.latest_model()
    assert model is not None
    report = export_memory(own, model, own.folder / "known", isolation="off")
    assert report.disputed == 2
    with Predictor.load(model, memory=own.folder / "known", isolation="off") as predictor:
        assert predictor.predict(allowed_scene(scenes)).source == "model"
        assert predictor.predict(banned_scene(scenes)).source == "exact"
        for path in paths:
            assert predictor.predict(_copies_of(path)["jpeg"]).source == "model"


def test_images_labelled_after_training_are_featurized_by_the_model(own: Workspace) -> None:
    picture = scene(901, red=False)
    data = encode(picture, "PNG")
    path = own.folder / "late.png"
    path.write_bytes(data)
    model = own.latest_model()
    assert model is not None
    with Store(own.folder) as store:
        _import(store, path, data)
    with (
        open_known(own, model, isolation="off") as memory,
        Predictor.load(model, memory=memory, isolation="off") as predictor,
    ):
        assert predictor.predict(copies(picture)["mirror"]).verdict == "block"


def _import(store: Store, path: Path, data: bytes) -> None:
    image_id = image_id_of(data)
    store.blobs.sync_folders([store.blobs.put(image_id, "png", data)])
    record = ImageRecord(image_id, content_ids(data).object_id, "png", len(data), 240, 180)
    store.add([record], [SourceEntry(str(path), "late.png", image_id, 1)], who="test")


def test_without_labels_there_is_nothing_to_know(model: Path, tmp_path: Path) -> None:
    Store(tmp_path).close()
    with pytest.raises(NotEnoughImagesError, match="No image in"):
        export_memory(Workspace(tmp_path), model, tmp_path / "known")
    assert not (tmp_path / "known").exists()


def test_without_a_model_there_is_nothing_to_export_for(tmp_path: Path, capsys: Captured) -> None:
    Store(tmp_path).close()
    done = cli(capsys, "export-memory", tmp_path / "known", "-w", tmp_path)
    assert done.code == 1
    assert "There is no model" in done.err
