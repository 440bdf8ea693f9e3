"""Parquet shards and the worker that writes them, without a cluster. `make test-ray` has these."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.backbones import load_backbone
from keshikaran.errors import ClusterError, DamagedStoreError, StoreError, UsageError
from keshikaran.featurize import fill_cache
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.pixels import FORMATS
from keshikaran.preparation import open_tools
from keshikaran.scale import running
from keshikaran.scale.cluster import Cluster
from keshikaran.scale.merging import Target, merge, read_rows
from keshikaran.scale.parquet import ShardWriter, feature_schema
from keshikaran.scale.running import Order, run
from keshikaran.scale.settings import Settings
from keshikaran.scale.shards import ShardFolder, absolute
from keshikaran.scale.tasks import Piece, Task, task_of
from keshikaran.scale.worker import Worker
from keshikaran.store import FeatureCache, FeatureRecipe, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import ImageId, SilentProgress
from support import FAKE_DIM, FAKE_SIDE, encode, reddish, write_classes

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

_WORK = "0" * 32
_ID = "a" * 64


def _write(folder: ShardFolder, rows: list[Mapping[str, Any]], work: str = _WORK) -> str:
    with ShardWriter(folder, feature_schema(3, "{}"), work) as writer:
        for row in rows:
            writer.add(row)
        return writer.finish()


def _image(image_id: str, *views: list[float], name: str = "") -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = [
        {
            "image_id": image_id,
            "name": name or image_id,
            "view": number,
            "features": np.array(view, dtype=np.float32),
        }
        for number, view in enumerate(views)
    ]
    return [{**rows[0], "sketch": bytes(range(256))}, *rows[1:]]


def _refused(image_id: str, reason: str, name: str = "") -> Mapping[str, Any]:
    return {"image_id": image_id, "name": name or image_id, "reason": reason, "detail": "words"}


@pytest.fixture(params=["folder", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ShardFolder]:
    """A folder of this machine, and an address that fsspec takes."""
    if request.param == "folder":
        yield ShardFolder(f"file://{tmp_path}/shards")
        return
    fsspec.filesystem("memory").store.clear()
    yield ShardFolder("memory://far/shards/")
    fsspec.filesystem("memory").store.clear()


def test_rows_are_read_as_they_were_written(folder: ShardFolder) -> None:
    assert folder.names() == {}
    odd = [float("nan"), -0.0, 1e-45]
    rows = [*_image(_ID, odd, [1, 2, 3]), _refused("b" * 64, "corrupt"), *_image("c" * 64, odd)]
    name = _write(folder, rows)
    assert folder.names() == {_WORK: name}
    with folder.fetched(name) as path:
        first, second, third = read_rows(path, 3)
    assert first.features is not None
    assert first.features.tobytes() == np.array([odd, [1, 2, 3]], dtype=np.float32).tobytes()
    assert first.sketch is not None
    assert first.sketch.tobytes() == bytes(range(256))
    assert (second.features, second.reason, second.detail) == (None, "corrupt", "words")
    assert (third.image_id, third.features is not None) == ("c" * 64, True)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=2100))
def test_images_keep_their_views_whatever_their_number(views: list[int]) -> None:
    folder = ShardFolder("memory://made/shards")
    rows: list[Mapping[str, Any]] = []
    for number, count in enumerate(views):
        image_id = f"{number:064x}"
        made = [[number, view, 0.5] for view in range(count)]
        rows += _image(image_id, *made) if count else [_refused(image_id, "corrupt")]
    name = _write(folder, rows)
    with folder.fetched(name) as path:
        found = list(read_rows(path, 3))
    assert [0 if row.features is None else len(row.features) for row in found] == views
    folder.remove(name)


def test_the_same_rows_make_the_same_file(folder: ShardFolder) -> None:
    first = _write(folder, _image(_ID, [1, 2, 3]))
    assert _write(folder, _image(_ID, [1, 2, 3])) == first
    assert len(folder.names()) == 1
    other = _write(folder, _image(_ID, [1, 2, 4]))
    assert folder.names() == {_WORK: min(first, other)}  # one counts, the same one each time
    folder.remove(min(first, other))
    assert folder.names() == {_WORK: max(first, other)}


def test_what_is_not_finished_is_no_shard(tmp_path: Path) -> None:
    folder = ShardFolder(str(tmp_path))
    with ShardWriter(folder, feature_schema(3, "{}"), _WORK) as writer:
        writer.add(_image(_ID, [1, 2, 3])[0])
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path: Path) -> None:
    folder = ShardFolder(str(tmp_path))
    name = _write(folder, _image(_ID, [1, 2, 3]))
    path = tmp_path / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    with (
        pytest.raises(DamagedStoreError, match=r"not what was written.*Delete it"),
        folder.fetched(name),
    ):
        pass
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="holds no features of 5 numbers"):
        list(read_rows(path, 5))


def test_what_a_killed_worker_left_goes_when_its_task_is_done(tmp_path: Path) -> None:
    folder = ShardFolder(str(tmp_path))
    folder.clear_up({_WORK})
    left, other = folder.temporary(_WORK), folder.temporary("1" * 32)
    done = _write(folder, _image(_ID, [1, 2, 3]))
    folder.clear_up({_WORK})
    assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, done])
    ShardFolder(str(tmp_path / "none")).clear_up({_WORK})


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    folder = ShardFolder(str(file))
    with pytest.raises(StoreError, match=r"file cannot be read"):
        folder.names()
    with pytest.raises(StoreError, match=r"file could not be written"):
        folder.temporary(_WORK)
    with pytest.raises(StoreError, match=r"could not be written"):
        folder.remove("x")
    with pytest.raises(StoreError, match=r"cannot be read"), ShardFolder("/nowhere").fetched("x"):
        pass
    made = ShardFolder(str(tmp_path)).temporary(_WORK)
    with pytest.raises(StoreError, match=r"could not be written"):
        folder.place(made, _WORK)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keshikaran.scale.parquet.os.fsync", full)
    with pytest.raises(StoreError, match="The disk is full"):
        _write(ShardFolder(str(tmp_path)), _image(_ID, [1, 2, 3]))
    assert list(tmp_path.iterdir()) == []


# Merging


@pytest.fixture
def target(tmp_path: Path, backbone_file: Path) -> Iterator[Target]:
    pictures = write_classes(tmp_path / "in", 1)
    with Store(tmp_path / "w") as store, FeatureCache(tmp_path / "w" / "features.sqlite") as cache:
        import_source(store, scan_folder(pictures, ["red"]))
        recipe = FeatureRecipe(load_backbone(str(backbone_file)).digest, "f32", "crop")
        yield Target(store, cache, recipe, 3)


def test_an_image_is_merged_once_and_a_strange_one_not_at_all(
    target: Target, folder: ShardFolder
) -> None:
    one, two = target.store.image_ids()
    first = _write(folder, [*_image(one, [1, 2, 3], [4, 5, 6]), *_image(_ID, [7, 8, 9])])
    again = [*_image(one, [0, 0, 0]), _refused(two, "truncated"), _refused("", "corrupt", "gone")]
    second = _write(folder, again, "1" * 32)
    done = merge(folder, [first, second], target, SilentProgress())
    assert (done.images, done.added, done.elsewhere, done.refused) == (5, 1, 1, 2)
    assert done.refusals == [(two, "truncated", "words"), ("gone", "corrupt", "words")]
    found, matrix, _ = target.cache.read(target.recipe, [one, two, ImageId(_ID)], 3)
    assert (found, matrix.tolist()) == ([one], [[1, 2, 3], [4, 5, 6]])
    assert target.cache.refusals([one, two])[two].reason == "truncated"
    assert list(target.cache.sketches(target.recipe, [one])) == [one]
    again_done = merge(folder, [first, second], target, SilentProgress())
    assert (again_done.images, again_done.added) == (5, 0)


def test_a_refusal_that_may_pass_is_not_remembered(target: Target, folder: ShardFolder) -> None:
    one = target.store.image_ids()[0]
    rows = [_refused(one, "unreadable_file")]
    done = merge(folder, [_write(folder, rows)], target, SilentProgress())
    assert done.refused == 1
    assert target.cache.refusals([one]) == {}


# The worker


@pytest.fixture
def order(tmp_path: Path, backbone_file: Path) -> Order:
    settings = Settings(
        shards=str(tmp_path / "shards"),
        engine="openvino",
        device="cpu",
        precision="f32",
        streams=1,
        formats=tuple(sorted(FORMATS)),
        height=FAKE_SIDE,
        width=FAKE_SIDE,
        output="features",
        dim=FAKE_DIM,
    )
    return Order(Cluster("auto"), settings, backbone_file.read_bytes())


def _worker(order: Order) -> Worker:
    return Worker(json.dumps(asdict(order.settings)), order.model)


def test_a_worker_computes_what_this_machine_computes(order: Order, backbone_file: Path) -> None:
    shards = Path(order.settings.shards)
    pictures = write_classes(shards.parent / "in", 3)
    (pictures / "red" / "torn.png").write_bytes(encode(reddish(7))[:-200])
    place = Workspace(shards.parent / "w")
    with Store(place.folder) as store:
        import_source(store, scan_folder(pictures, ["red"]))
        ids = store.image_ids()
        pieces = [Piece(image_id, "png") for image_id in [*ids, ImageId("f" * 64)]]
        task = task_of("objects", str(store.blobs.root), pieces, {})
    answer = _worker(order)({"task": task.to_json()})
    assert (answer["work"], answer["what"]) == (task.work, "")
    with ShardFolder(order.settings.shards).fetched(answer["shard"]) as path:
        rows = {row.image_id: row for row in read_rows(path, FAKE_DIM)}
    assert rows[""].reason == "unreadable_file"
    options = TrainingOptions(backbone=str(backbone_file))
    with open_tools(place, options) as tools:
        fill_cache(tools.store, tools.cache, tools.featurizer, ids)
        recipe = tools.featurizer.recipe
        found, matrix, _ = tools.cache.read(recipe, ids, FAKE_DIM)
        refused = tools.cache.refusals(ids)
    assert set(rows) - {""} == set(ids)
    for number, image_id in enumerate(found):
        features = rows[image_id].features
        assert features is not None
        assert features.tobytes() == matrix[number].tobytes()
    assert {i: rows[i].reason for i in refused} == {i: why.reason for i, why in refused.items()}


def test_what_a_person_should_know_comes_back_as_words(order: Order) -> None:
    task = task_of("objects", "/nowhere", [Piece(_ID, "png")], {})
    answer = _worker(order)({"task": task.to_json()})
    assert answer["what"] == "The folder /nowhere is not there."
    assert "all machines see" in answer["hint"]
    older = replace(order, settings=replace(order.settings, version="0.0.1"))
    answer = _worker(older)({"task": task.to_json()})
    assert "the work is for 0.0.1" in answer["what"]
    with pytest.raises(ClusterError, match=r"On .*: It has keshikaran .*same version"):
        running._check(answer)


# Who works


def _fake(monkeypatch: pytest.MonkeyPatch, answers: Any) -> None:
    @contextmanager
    def connected(_: Cluster) -> Iterator[None]:
        yield None

    monkeypatch.setattr(running, "connected", connected)
    monkeypatch.setattr(running, "_answers", answers)


def _held() -> Task:
    import base64

    data = encode(reddish(1))
    pieces = [Piece("one", base64.b64encode(data).decode(), image_id_of(data))]
    return task_of("held", "memory://", pieces, {})


def test_a_task_that_nobody_did_is_missed(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake(monkeypatch, lambda *_: iter([]))
    with pytest.raises(ClusterError, match="1 of 1 tasks were not done"):
        run([_held()], order, SilentProgress())


def test_work_is_done_once_and_damage_again(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def answers(_: Any, tasks: list[Task], order: Order) -> Iterator[dict[str, str]]:
        for task in tasks:
            given.append(task.work)
            yield _worker(order)({"task": task.to_json()})

    _fake(monkeypatch, answers)
    task = _held()
    first = run([task, task], order, SilentProgress())
    assert (len(first.shards), first.reused, given) == (1, 0, [task.work])
    assert run([task], order, SilentProgress()).shards == first.shards
    assert given == [task.work]
    (path,) = Path(order.settings.shards).iterdir()
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert run([task], order, SilentProgress()).shards == first.shards
    assert given == [task.work] * 2


def test_a_place_that_nobody_else_sees_is_refused(order: Order) -> None:
    unseen = replace(order, settings=replace(order.settings, shards="memory://shards"))
    with pytest.raises(UsageError, match=r"No other process sees memory://shards"):
        run([_held()], unseen, SilentProgress())


def test_a_place_means_the_same_to_a_worker_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("shards") == absolute(f"file://{tmp_path}/shards") == f"{tmp_path}/shards"
    assert absolute("s3://bucket/shards") == "s3://bucket/shards"


def test_what_could_not_be_read_is_tried_again_by_the_next_run(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keshikaran.scale.contents._PAUSE_S", 0.0)

    def answers(_: Any, tasks: list[Task], order: Order) -> Iterator[dict[str, str]]:
        for task in tasks:
            yield _worker(order)({"task": task.to_json()})

    _fake(monkeypatch, answers)
    place = Path(order.settings.shards).parent / "late.png"
    task = task_of("files", "file://", [Piece("late", str(place))], {})
    before = run([task], order, SilentProgress())
    place.write_bytes(encode(reddish(3)))
    after = run([task], order, SilentProgress())
    assert (before.reused, after.reused) == (0, 0)
    assert before.shards != after.shards
    assert run([task], order, SilentProgress()).reused == 1


def test_what_ray_says_went_wrong_is_passed_on(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_items(*_: Any, **__: Any) -> None:
        msg = "no node has\n enough memory"
        raise RuntimeError(msg)

    data = SimpleNamespace(
        DataContext=SimpleNamespace(get_current=SimpleNamespace),
        from_items=from_items,
        ActorPoolStrategy=SimpleNamespace,
    )
    monkeypatch.setitem(sys.modules, "ray.data", data)
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    with pytest.raises(ClusterError, match=r"RuntimeError: no node has enough memory"):
        list(running._answers(ray, [_held()], order))


@pytest.mark.parametrize(
    ("resources", "device", "workers", "tasks", "expected"),
    [
        ({"CPU": 8.0}, "cpu", None, 100, (8, {"num_cpus": 1.0})),
        ({"CPU": 8.0}, "cpu", 3, 100, (3, {"num_cpus": 1.0})),
        ({"CPU": 8.0}, "cpu", None, 2, (2, {"num_cpus": 1.0})),
        ({"CPU": 8.0, "GPU": 2.0}, "cpu", None, 100, (8, {"num_cpus": 1.0})),
        (
            {"CPU": 8.0, "GPU": 2.0},
            "cuda",
            None,
            100,
            (2, {"num_cpus": 4.0, "num_gpus": 1.0}),
        ),
        ({}, "cpu", None, 100, (1, {"num_cpus": 1.0})),
    ],
)
def test_there_is_a_worker_for_each_processor_or_card(
    order: Order,
    resources: dict[str, float],
    device: Any,
    workers: int | None,
    tasks: int,
    expected: tuple[int, dict[str, float]],
) -> None:
    ray = SimpleNamespace(cluster_resources=lambda: resources)
    settings = replace(order.settings, device=device)
    asked = replace(order, cluster=Cluster("auto", workers), settings=settings)
    assert running._pool(ray, asked, tasks) == expected
