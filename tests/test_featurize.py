import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keshikaran import featurize as module
from keshikaran.backbones import Backbone, Engine, load_backbone, open_engine
from keshikaran.errors import ImageRefusedError, RefusalReason, StoreError
from keshikaran.featurize import FeatureTable, Featurizer, featurize
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_folder
from keshikaran.pixels import DecodedImage, PixelSpec, ResizeMode, decode_image
from keshikaran.store import FeatureCache, FeatureRecipe, Store
from keshikaran.types import Float32Array, ImageId, Precision, UInt8Array
from store_support import Steps
from support import FAKE_DIM, FAKE_SIDE, encode, quadrants, reddish, write_classes

_RED, _GREEN, _BLUE, _GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (51, 102, 153)


class _Network:
    """Opens the fake backbone, counts how often, and how many images it saw."""

    def __init__(self) -> None:
        self.opened = 0
        self.images = 0

    def open(self, model: bytes) -> Engine:
        self.opened += 1
        return _Counting(self, open_engine(model, streams=2))


class _Counting:
    def __init__(self, network: _Network, engine: Engine) -> None:
        self.name, self.precision, self.streams = engine.name, engine.precision, engine.streams
        self.batch_size = engine.batch_size
        self._network, self._engine = network, engine

    def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
        self._network.images += len(images)
        return self._engine.infer(images, *beside)


@pytest.fixture
def network() -> _Network:
    return _Network()


@pytest.fixture
def backbone(backbone_file: Path) -> Backbone:
    return load_backbone(str(backbone_file))


@pytest.fixture
def featurizer(backbone: Backbone, network: _Network) -> Featurizer:
    return _featurizer(backbone, network)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "w") as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "features.sqlite") as opened:
        yield opened


@pytest.fixture
def ids(store: Store, tmp_path: Path) -> list[ImageId]:
    """Ten pictures in the store."""
    folder = write_classes(tmp_path / "pictures", 5)
    import_source(store, scan_folder(folder, ["red"]))
    return [image.image_id for image in store.labels.images()]


def _featurizer(
    backbone: Backbone,
    network: _Network,
    resize_mode: ResizeMode = "stretch",
    precision: Precision = "f32",
) -> Featurizer:
    spec = PixelSpec(backbone.height, backbone.width, resize_mode)
    return Featurizer(backbone, spec, precision, network.open)


def _add(store: Store, folder: Path, name: str, data: bytes) -> ImageId:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    import_source(store, scan_folder(folder))
    return image_id_of(data)


def _rows(table: FeatureTable) -> dict[ImageId, list[float]]:
    return dict(zip(table.image_ids, table.matrix.tolist(), strict=True))


def _expected(colours: list[tuple[int, int, int]]) -> list[float]:
    """Red of the four quadrants, then green, then blue, as shares of white."""
    return [colour[channel] / 255 for channel in range(3) for colour in colours]


def test_features_are_those_computed_by_hand(
    store: Store, cache: FeatureCache, featurizer: Featurizer, tmp_path: Path
) -> None:
    layouts = [[_RED, _GREEN, _BLUE, _GREY], [_GREY, _GREY, _RED, _RED]]
    ids = [
        _add(store, tmp_path / "p", f"{number}.png", encode(quadrants(colours)))
        for number, colours in enumerate(layouts)
    ]
    table = featurize(store, cache, featurizer, ids)
    assert table.matrix.shape == (2, FAKE_DIM)
    assert table.matrix.dtype == np.float32
    rows = _rows(table)
    for image_id, colours in zip(ids, layouts, strict=True):
        assert rows[image_id] == pytest.approx(_expected(colours), abs=1e-6)


def test_noisy_pictures_give_the_mean_of_each_quadrant(
    store: Store, cache: FeatureCache, featurizer: Featurizer, tmp_path: Path
) -> None:
    image = reddish(3).resize((FAKE_SIDE, FAKE_SIDE))
    image_id = _add(store, tmp_path / "p", "a.png", encode(image))
    half = FAKE_SIDE // 2
    pixels = np.asarray(image, dtype=np.float64).reshape(2, half, 2, half, 3)
    means = pixels.mean(axis=(1, 3)).reshape(4, 3).T.ravel() / 255
    table = featurize(store, cache, featurizer, [image_id])
    assert table.matrix[0] == pytest.approx(means, abs=1e-5)


def test_a_second_run_computes_nothing_and_gives_the_same_bits(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    network: _Network,
    ids: list[ImageId],
) -> None:
    first = featurize(store, cache, featurizer, ids)
    second = featurize(store, cache, featurizer, ids)
    assert (first.images, first.cached, second.images, second.cached) == (10, 0, 10, 10)
    assert (network.opened, network.images) == (1, 10)
    assert second.image_ids == first.image_ids
    assert second.matrix.tobytes() == first.matrix.tobytes()
    assert first.images_per_s is not None
    assert first.images_per_s == pytest.approx(10 / first.seconds)
    assert second.images_per_s is None


def test_only_new_images_are_computed(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    network: _Network,
    ids: list[ImageId],
) -> None:
    featurize(store, cache, featurizer, ids[:7])
    table = featurize(store, cache, featurizer, ids)
    assert (table.images, table.cached) == (10, 7)
    assert network.images == 10


def test_the_order_of_the_ids_and_repeats_among_them_do_not_matter(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    tmp_path: Path,
    ids: list[ImageId],
) -> None:
    one = featurize(store, cache, featurizer, ids)
    with FeatureCache(tmp_path / "other.sqlite") as other:
        two = featurize(store, other, featurizer, [*reversed(ids), ids[0]])
    assert one.image_ids == two.image_ids == sorted(ids)
    assert one.matrix.tobytes() == two.matrix.tobytes()
    assert two.images == 10


def test_no_images_are_no_work(
    store: Store, cache: FeatureCache, featurizer: Featurizer, network: _Network
) -> None:
    table = featurize(store, cache, featurizer, [])
    assert table.matrix.shape == (0, FAKE_DIM)
    assert (table.image_ids, table.refused, table.images_per_s) == ([], {}, None)
    assert network.opened == 0


def test_deleting_the_cache_loses_time_only(
    store: Store, featurizer: Featurizer, network: _Network, tmp_path: Path, ids: list[ImageId]
) -> None:
    results = []
    for _ in range(2):
        with FeatureCache(tmp_path / "gone.sqlite") as cache:
            results.append(featurize(store, cache, featurizer, ids).matrix.tobytes())
        (tmp_path / "gone.sqlite").unlink()
    assert results[0] == results[1]
    assert network.opened == 2


def test_progress_is_told_of_each_image_that_needs_work(
    store: Store, cache: FeatureCache, featurizer: Featurizer, ids: list[ImageId]
) -> None:
    featurize(store, cache, featurizer, ids[:4])
    steps = Steps()
    featurize(store, cache, featurizer, ids, steps)
    assert (steps.tasks, steps.done) == ([("featurize", 6)], 6)
    steps = Steps()
    featurize(store, cache, featurizer, ids, steps)
    assert (steps.tasks, steps.done) == ([], 0)


# What belongs to the key


def test_the_key_holds_all_that_decides_the_value(backbone: Backbone, network: _Network) -> None:
    featurizer = _featurizer(backbone, network, "pad", "bf16")
    assert featurizer.recipe == FeatureRecipe(backbone.digest, "bf16", "pad")


def test_another_resize_mode_is_computed_anew(
    store: Store, cache: FeatureCache, backbone: Backbone, network: _Network, tmp_path: Path
) -> None:
    wide = Image.new("RGB", (96, 32), _RED)
    wide.paste(_BLUE, (32, 0, 64, 32))  # the middle third
    ids = [_add(store, tmp_path / "p", "wide.png", encode(wide))]
    red = {}
    modes: tuple[ResizeMode, ...] = ("stretch", "crop", "pad")
    for _ in range(2):
        for mode in modes:
            table = featurize(store, cache, _featurizer(backbone, network, mode), ids)
            red[mode] = table.matrix[0, 0]
    assert network.opened == 3
    assert red["crop"] == 0.0
    assert red["stretch"] == pytest.approx(2 / 3, abs=0.05)
    assert 0.4 < red["pad"] < 0.6


def test_another_precision_or_network_is_computed_anew(
    store: Store, cache: FeatureCache, backbone: Backbone, network: _Network, ids: list[ImageId]
) -> None:
    featurize(store, cache, _featurizer(backbone, network), ids)
    featurize(store, cache, _featurizer(backbone, network, precision="bf16"), ids)
    assert network.images == 20
    other = replace(backbone, digest="0" * 64)
    assert featurize(store, cache, _featurizer(other, network), ids).cached == 0
    assert featurize(store, cache, _featurizer(backbone, network), ids).cached == 10
    assert network.images == 30


# What cannot be decoded, and what cannot be read


def test_an_image_that_cannot_be_decoded_is_refused_once_and_for_all(
    store: Store,
    cache: FeatureCache,
    backbone: Backbone,
    featurizer: Featurizer,
    network: _Network,
    ids: list[ImageId],
    tmp_path: Path,
) -> None:
    data = encode(quadrants([_RED, _GREEN, _BLUE, _GREY], side=256, noise=40), "JPEG")
    cut = _add(store, tmp_path / "p", "cut.jpg", data[: len(data) // 2])
    wanted = [*ids, cut]
    for cached in (0, 11):
        table = featurize(store, cache, featurizer, wanted)
        assert table.image_ids == sorted(ids)
        assert (table.images, table.cached) == (11, cached)
        assert {key: error.reason for key, error in table.refused.items()} == {cut: "truncated"}
    assert network.opened == 1
    other = _featurizer(backbone, network, "pad")
    assert featurize(store, cache, other, [cut]).cached == 1
    assert network.opened == 1


def test_a_file_that_cannot_be_read_now_is_tried_again_next_time(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    network: _Network,
    ids: list[ImageId],
    tmp_path: Path,
) -> None:
    path = store.blobs.path_of(ids[0], "png")
    shutil.move(path, tmp_path / "away.png")
    for _ in range(2):
        table = featurize(store, cache, featurizer, ids)
        assert table.image_ids == sorted(ids[1:])
        assert {key: error.reason for key, error in table.refused.items()} == {
            ids[0]: "unreadable_file"
        }
    assert network.opened == 2
    shutil.move(tmp_path / "away.png", path)
    table = featurize(store, cache, featurizer, ids)
    assert (len(table.image_ids), table.refused, table.cached) == (10, {}, 9)


def test_a_damaged_object_is_refused_and_never_remembered_as_a_fact_about_the_image(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    ids: list[ImageId],
) -> None:
    path = store.blobs.path_of(ids[0], "png")
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for _ in range(2):
        table = featurize(store, cache, featurizer, ids)
        assert {key: error.reason for key, error in table.refused.items()} == {
            ids[0]: "damaged_object"
        }
        assert cache.refusals(ids) == {}
    store.blobs.put(ids[0], "png", data)
    assert len(featurize(store, cache, featurizer, ids).image_ids) == 10


# When work stops in the middle


@pytest.mark.parametrize("at", [1, 6, 10])
def test_an_interruption_keeps_what_is_done(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    network: _Network,
    ids: list[ImageId],
    at: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        featurize(store, cache, featurizer, ids, Steps(interrupt_at=at))
    assert cache.missing(featurizer.recipe, sorted(ids)) == sorted(ids)[at:]
    table = featurize(store, cache, featurizer, ids)
    assert (len(table.image_ids), table.cached) == (10, at)
    assert network.opened == (1 if at == 10 else 2)


def test_an_engine_that_fails_keeps_what_is_done(
    store: Store, cache: FeatureCache, featurizer: Featurizer, ids: list[ImageId]
) -> None:
    class Failing(_Counting):
        def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
            if self._network.images >= 4:
                raise RuntimeError("out of order")
            return super().infer(images, *beside)

    network = _Network()
    failing = replace(
        featurizer, open_loaded=lambda model: Failing(network, open_engine(model, streams=1))
    )
    with pytest.raises(RuntimeError, match="out of order"):
        featurize(store, cache, failing, ids)
    kept = 10 - len(cache.missing(featurizer.recipe, ids))
    assert 0 < kept <= 5
    assert featurize(store, cache, featurizer, ids).cached == kept


def test_work_is_committed_while_it_goes_on(
    store: Store,
    featurizer: Featurizer,
    ids: list[ImageId],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that even a power cut loses seconds of work only."""
    monkeypatch.setattr(module, "_COMMIT_EVERY_S", -1.0)
    path = tmp_path / "features.sqlite"
    seen: list[int] = []

    class Watching(Steps):
        def advance(self, steps: int = 1) -> None:
            with FeatureCache(path) as other:
                seen.append(len(ids) - len(other.missing(featurizer.recipe, ids)))

    with FeatureCache(path) as cache:
        featurize(store, cache, featurizer, ids, Watching())
    assert seen == list(range(1, 11))


def test_a_cache_on_a_full_disk_is_reported_and_a_second_run_completes(
    store: Store, cache: FeatureCache, featurizer: Featurizer, ids: list[ImageId]
) -> None:
    class Wide(_Counting):
        def infer(self, images: UInt8Array, *beside: UInt8Array) -> dict[str, Float32Array]:
            return {"features": np.zeros((len(images), 2000), dtype=np.float32)}

    wide = replace(
        featurizer,
        backbone=replace(featurizer.backbone, dim=2000),
        open_loaded=lambda model: Wide(_Network(), open_engine(model, streams=1)),
    )
    cache.missing(wide.recipe, ids)
    connection = cache._db.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"disk is full: .*features\.sqlite"):
        featurize(store, cache, wide, ids)
    connection.execute("PRAGMA max_page_count = 1000000")
    table = featurize(store, cache, wide, ids)
    assert (table.cached, table.matrix.shape) == (0, (10, 2000))


class _Dying:
    """A decoder whose processes die at some images, but not for ever."""

    def __init__(self, reason: RefusalReason, times: int) -> None:
        self._reason, self._left = reason, times

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        if self._left:
            self._left -= 1
            raise ImageRefusedError(self._reason, "killed")
        return decode_image(data, spec)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("reason", ["decoder_died", "decode_timeout"])
def test_an_image_whose_decoder_died_is_tried_again_by_the_next_run(
    store: Store,
    cache: FeatureCache,
    featurizer: Featurizer,
    ids: list[ImageId],
    reason: RefusalReason,
) -> None:
    dying = replace(featurizer, decoder=_Dying(reason, 3))
    first = featurize(store, cache, dying, ids)
    assert sorted(refusal.reason for refusal in first.refused.values()) == [reason] * 3
    assert len(first.image_ids) == len(ids) - 3
    second = featurize(store, cache, dying, ids)
    assert second.refused == {}
    assert second.image_ids == sorted(ids)
