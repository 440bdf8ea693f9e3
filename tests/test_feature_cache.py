import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keshikaran.errors import ImageRefusedError, StoreError
from keshikaran.pixels import PIXEL_CONTRACT_VERSION
from keshikaran.store import FeatureCache, FeatureRecipe
from keshikaran.types import Float32Array
from store_support import an_id

_RECIPE = FeatureRecipe("d" * 64, "f32", "crop", PIXEL_CONTRACT_VERSION)
_IDS = [an_id(str(number)) for number in range(4)]
_OTHERS = [
    replace(_RECIPE, backbone_digest="e" * 64),
    replace(_RECIPE, precision="bf16"),
    replace(_RECIPE, resize_mode="pad"),
    replace(_RECIPE, pixel_contract=PIXEL_CONTRACT_VERSION + 1),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(path) as opened:
        yield opened


def _vector(*values: float) -> Float32Array:
    """The features of an image's only view."""
    return np.array([values], dtype=np.float32)


def _refusal() -> ImageRefusedError:
    return ImageRefusedError("truncated", "ends early")


def test_features_come_back_bit_by_bit_in_the_order_asked_for(cache: FeatureCache) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3, 16)).astype(np.float32)
    vectors[0, :3] = [np.nextafter(np.float32(0), np.float32(1)), -0.0, np.finfo(np.float32).max]
    cache.put(_RECIPE, list(zip(_IDS, vectors[:, None], strict=False)), [])
    wanted = [_IDS[2], _IDS[0], _IDS[1]]
    found, matrix, _ = cache.read(_RECIPE, wanted, 16)
    assert found == wanted
    assert matrix.dtype == np.float32
    assert matrix.tobytes() == vectors[[2, 0, 1]].tobytes()


def test_an_image_of_several_views_has_neighbouring_rows(cache: FeatureCache) -> None:
    views = np.arange(6, dtype=np.float32).reshape(3, 2)
    cache.put(_RECIPE, [(_IDS[1], _vector(7, 8)), (_IDS[0], views), (_IDS[2], _vector(9, 9))], [])
    found, matrix, starts = cache.read(_RECIPE, [_IDS[1], _IDS[3], _IDS[0], _IDS[2]], 2)
    assert found == [_IDS[1], _IDS[0], _IDS[2]]
    assert starts.tolist() == [0, 1, 4]
    assert matrix.tolist() == [[7, 8], [0, 1], [2, 3], [4, 5], [9, 9]]
    assert cache.missing(_RECIPE, _IDS[:4]) == [_IDS[3]]


def test_images_without_features_are_left_out(cache: FeatureCache) -> None:
    cache.put(_RECIPE, [(_IDS[1], _vector(1, 2))], [])
    found, matrix, _ = cache.read(_RECIPE, _IDS, 2)
    assert found == [_IDS[1]]
    assert matrix.tolist() == [[1.0, 2.0]]


def test_an_empty_cache_lacks_everything(cache: FeatureCache) -> None:
    assert cache.missing(_RECIPE, _IDS) == _IDS
    assert cache.missing(_RECIPE, []) == []
    found, matrix, _ = cache.read(_RECIPE, _IDS, 7)
    assert found == []
    assert matrix.shape == (0, 7)
    assert cache.refusals(_IDS) == {}


def test_missing_keeps_the_order_and_leaves_out_features_and_refusals(cache: FeatureCache) -> None:
    cache.put(_RECIPE, [(_IDS[1], _vector(1))], [(_IDS[2], _refusal())])
    assert cache.missing(_RECIPE, [_IDS[3], _IDS[2], _IDS[1], _IDS[0]]) == [_IDS[3], _IDS[0]]


@pytest.mark.parametrize("other", _OTHERS)
def test_another_recipe_is_another_key(cache: FeatureCache, other: FeatureRecipe) -> None:
    cache.put(_RECIPE, [(_IDS[0], _vector(1))], [])
    assert cache.missing(other, _IDS[:1]) == _IDS[:1]
    assert cache.read(other, _IDS[:1], 1)[0] == []
    cache.put(other, [(_IDS[0], _vector(2))], [])
    assert cache.read(_RECIPE, _IDS[:1], 1)[1].tolist() == [[1.0]]
    assert cache.read(other, _IDS[:1], 1)[1].tolist() == [[2.0]]


def test_a_refusal_holds_for_every_backbone_under_the_same_decoding_rules(
    cache: FeatureCache,
) -> None:
    cache.put(_RECIPE, [], [(_IDS[0], _refusal())])
    for other in _OTHERS[:3]:
        assert cache.missing(other, _IDS[:1]) == []
    assert cache.missing(_OTHERS[3], _IDS[:1]) == _IDS[:1]
    assert cache.refusals(_IDS, pixel_contract=PIXEL_CONTRACT_VERSION + 1) == {}


def test_a_refusal_keeps_its_reason(cache: FeatureCache) -> None:
    cache.put(_RECIPE, [], [(_IDS[0], _refusal())])
    (refused,) = cache.refusals(_IDS).items()
    assert refused[0] == _IDS[0]
    assert (refused[1].reason, refused[1].detail) == ("truncated", "ends early")


def test_the_latest_features_and_refusals_count(cache: FeatureCache) -> None:
    cache.put(_RECIPE, [(_IDS[0], _vector(1))], [(_IDS[1], _refusal())])
    later = ImageRefusedError("corrupt", "odd")
    cache.put(_RECIPE, [(_IDS[0], _vector(2))], [(_IDS[1], later)])
    assert cache.read(_RECIPE, _IDS, 1)[1].tolist() == [[2.0]]
    assert cache.refusals(_IDS)[_IDS[1]].reason == "corrupt"


def test_long_lists_are_looked_up_whole(cache: FeatureCache) -> None:
    ids = [an_id(f"long {number}") for number in range(1203)]
    cache.put(
        _RECIPE,
        [(image_id, _vector(number)) for number, image_id in enumerate(ids[:1100])],
        [(image_id, _refusal()) for image_id in ids[1150:]],
    )
    assert cache.missing(_RECIPE, ids) == ids[1100:1150]
    found, matrix, _ = cache.read(_RECIPE, ids, 1)
    assert found == ids[:1100]
    assert matrix[:, 0].tolist() == list(range(1100))
    assert set(cache.refusals(ids)) == set(ids[1150:])


def test_features_outlive_the_process_and_deleting_the_file_only_forgets_them(path: Path) -> None:
    with FeatureCache(path) as cache:
        cache.put(_RECIPE, [(_IDS[0], _vector(1))], [])
    with FeatureCache(path) as cache:
        assert cache.missing(_RECIPE, _IDS[:1]) == []
    path.unlink()
    with FeatureCache(path) as cache:
        assert cache.missing(_RECIPE, _IDS[:1]) == _IDS[:1]


def test_two_openers_agree_on_the_key_of_a_recipe(path: Path) -> None:
    with FeatureCache(path) as one, FeatureCache(path) as two:
        one.put(_RECIPE, [(_IDS[0], _vector(1))], [])
        two.put(_RECIPE, [(_IDS[1], _vector(2))], [])
        assert one.missing(_RECIPE, _IDS) == _IDS[2:]
        assert two.missing(_RECIPE, _IDS) == _IDS[2:]


def test_put_records_all_or_nothing(cache: FeatureCache, path: Path) -> None:
    cache.missing(_RECIPE, _IDS)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE refusals")
    with pytest.raises(StoreError, match=r"features\.sqlite: no such table"):
        cache.put(_RECIPE, [(_IDS[0], _vector(1))], [(_IDS[1], _refusal())])
    assert cache.read(_RECIPE, _IDS, 1)[0] == []


def test_a_damaged_cache_is_reported_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"no database at all")
    with pytest.raises(StoreError, match=r"features\.sqlite is damaged.*Delete the file"):
        FeatureCache(path)
