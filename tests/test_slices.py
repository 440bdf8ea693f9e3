"""Slices of the test set: each image is in one of each kind; a bad one is named, luck is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshikaran.errors import ImageRefusedError
from keshikaran.evaluation import SliceFigures, SliceKind
from keshikaran.ingest import import_source, scan_folder
from keshikaran.metrics import ScoredSet
from keshikaran.pixels import DecodedImage, InProcessDecoder, PixelSpec
from keshikaran.slices import ImageTraits, _fisher, slice_figures
from keshikaran.store import FeatureCache, Store
from keshikaran.training import TrainingResult
from keshikaran.traits import is_greyscale, read_traits
from keshikaran.types import GroupId, ImageId, Thresholds
from store_support import an_id
from support import bluish, encode, quadrants

_CUTS = Thresholds(0.3, 0.7)
_PLAIN = ImageTraits("jpeg", 400, 500, 1, False, "/data/a", "2026-01-05")


def _traits(**changed: object) -> ImageTraits:
    values = {name: getattr(_PLAIN, name) for name in ImageTraits.__slots__} | changed
    return ImageTraits(**values)


def _test_set(labels: Sequence[int], scores: Sequence[float]) -> ScoredSet:
    ids = [an_id(str(number)) for number in range(len(labels))]
    return ScoredSet(ids, np.array(labels, np.int8), np.array(scores, np.float64))


def _halves(missed_there: int = 0, blocked_there: int = 0) -> ScoredSet:
    """400 images, every other one objectionable; those from 200 on go wrong as often as told."""
    labels = [number % 2 for number in range(400)]
    scores = [0.9 if label else 0.1 for label in labels]
    for number in range(missed_there):
        scores[201 + 2 * number] = 0.05
    for number in range(blocked_there):
        scores[200 + 2 * number] = 0.95
    return _test_set(labels, scores)


def _half_greyscale() -> list[ImageTraits]:
    return [_traits(greyscale=number >= 200) for number in range(400)]


def _one(figures: Sequence[SliceFigures], kind: SliceKind, name: str) -> SliceFigures:
    (found,) = [item for item in figures if (item.kind, item.name) == (kind, name)]
    return found


def test_a_slice_where_many_are_missed_is_warned_of_and_no_other() -> None:
    figures = slice_figures(_halves(missed_there=20), _half_greyscale(), _CUTS)
    grey = _one(figures, "greyscale", "greyscale")
    assert grey.warning == "misses 20.0% of the objectionable images, elsewhere 0.0%"
    assert (grey.images, grey.positives, grey.recall.value) == (200, 100, 0.8)
    assert [item.name for item in figures if item.warning] == ["greyscale"]


def test_a_slice_where_many_are_wrongly_blocked_is_warned_of() -> None:
    figures = slice_figures(_halves(blocked_there=15), _half_greyscale(), _CUTS)
    grey = _one(figures, "greyscale", "greyscale")
    assert grey.warning == "blocks 15.0% of the acceptable ones wrongly, elsewhere 0.0%"
    assert grey.false_positive_rate.value == 0.15


def test_a_slice_that_is_bad_in_both_ways_says_both() -> None:
    figures = slice_figures(_halves(20, 20), _half_greyscale(), _CUTS)
    warning = _one(figures, "greyscale", "greyscale").warning
    assert warning is not None
    assert warning.count("elsewhere") == 2


def test_a_small_difference_is_no_warning() -> None:
    figures = slice_figures(_halves(missed_there=3), _half_greyscale(), _CUTS)
    assert not any(item.warning for item in figures)


def test_copies_of_one_missed_image_are_one_mistake() -> None:
    test = _halves(missed_there=20)
    groups = [GroupId(str(number)) for number in range(400)]
    for number in range(20):
        groups[201 + 2 * number] = GroupId("one photograph")
    figures = slice_figures(test, _half_greyscale(), _CUTS, groups)
    assert not any(item.warning for item in figures)


def test_few_images_are_too_few_to_say() -> None:
    labels = [number % 2 for number in range(100)]
    scores = [0.9 if label else 0.1 for label in labels]
    scores[1] = scores[3] = 0.0
    traits = [_traits(frames=5 if number < 4 else 1) for number in range(100)]
    animated = _one(slice_figures(_test_set(labels, scores), traits, _CUTS), "animated", "animated")
    assert animated.too_few
    assert animated.warning is None
    assert animated.recall.value == 0.0


def test_a_model_without_a_weak_spot_is_seldom_warned_of() -> None:
    rng = np.random.default_rng(5)
    warned = 0
    for _ in range(60):
        labels = rng.integers(0, 2, 300)
        scores = np.where(rng.random(300) < 0.1, 1 - labels, labels)
        traits = [
            _traits(
                format=str(rng.choice(["png", "jpeg", "gif"])),
                greyscale=bool(rng.random() < 0.3),
                source=f"/data/{rng.integers(0, 5)}",
            )
            for _ in range(300)
        ]
        figures = slice_figures(_test_set(labels.tolist(), scores.tolist()), traits, _CUTS)
        warned += any(item.warning for item in figures)
    assert warned <= 6  # of 60, where 3 are expected at most


_ANY = st.builds(
    ImageTraits,
    format=st.sampled_from(["jpeg", "png", "webp"]),
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    frames=st.none() | st.integers(1, 5),
    greyscale=st.none() | st.booleans(),
    source=st.sampled_from(["", "a", "/x/a", "/x/b", "http://pictures.test/c"])
    | st.integers(0, 60).map(lambda number: f"/many/{number}"),
    labelled_on=st.just("") | st.dates().map(str),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_ANY, st.booleans(), st.floats(0, 1)), min_size=1, max_size=80))
def test_the_slices_of_a_kind_hold_each_image_once(
    images: list[tuple[ImageTraits, bool, float]],
) -> None:
    traits, labels, scores = zip(*images, strict=True)
    test = _test_set([int(label) for label in labels], scores)
    figures = slice_figures(test, traits, _CUTS)
    for kind in get_args(SliceKind):
        own = [item for item in figures if item.kind == kind]
        assert sum(item.images for item in own) == len(images)
        assert sum(item.positives for item in own) == sum(labels)
        assert len({item.name for item in own}) == len(own)
        assert all(item.images for item in own)


@pytest.mark.parametrize(
    ("width", "height", "aspect", "size"),
    [
        (100, 105, "square", "short side below 200 px"),
        (300, 200, "landscape", "short side 200 to 399 px"),
        (500, 799, "portrait", "short side 400 to 799 px"),
        (900, 2500, "extreme, 2.5:1 or more", "short side 800 px or more"),
    ],
)
def test_what_sizes_and_shapes_are_called(width: int, height: int, aspect: str, size: str) -> None:
    figures = slice_figures(_test_set([1], [0.5]), [_traits(width=width, height=height)], _CUTS)
    assert _one(figures, "aspect", aspect).images == 1
    assert _one(figures, "size", size).images == 1


def test_sizes_come_in_order_and_unknown_ones_last() -> None:
    traits = [_traits(width=side, height=side) for side in (900, 100, 500, 300)]
    traits.append(_traits(greyscale=None))
    figures = slice_figures(_test_set([1, 0, 1, 0, 1], [0.5] * 5), traits, _CUTS)
    sizes = [item.name for item in figures if item.kind == "size"]
    assert [name.split()[2] for name in sizes] == ["below", "200", "400", "800"]
    assert [item.name for item in figures if item.kind == "greyscale"][-1] == "not known"


def test_sources_are_called_by_what_tells_them_apart() -> None:
    traits = [_traits(source=f"/home/kim/pictures/{name}") for name in ("cats", "dogs/old")]
    figures = slice_figures(_test_set([1, 0], [0.5, 0.5]), traits, _CUTS)
    assert {item.name for item in figures if item.kind == "source"} == {"cats", "dogs/old"}


def test_a_single_source_keeps_its_own_name() -> None:
    figures = slice_figures(_test_set([1], [0.5]), [_PLAIN], _CUTS)
    assert _one(figures, "source", "a").images == 1


def test_of_very_many_sources_the_small_ones_are_gathered() -> None:
    names = [f"/s/{number:02d}" for number in range(30) for _ in range(2 if number < 20 else 1)]
    labels = [number % 2 for number in range(len(names))]
    traits = [_traits(source=name) for name in names]
    figures = slice_figures(_test_set(labels, [0.5] * len(names)), traits, _CUTS)
    sources = [item for item in figures if item.kind == "source"]
    assert len(sources) == 21
    assert _one(sources, "source", "other sources").images == 10


def test_label_ages_are_quarters_that_cut_no_day_in_two() -> None:
    days = ["2026-01-01"] * 50 + [f"2026-02-{day:02d}" for day in range(1, 21)] * 5
    labels = [number % 2 for number in range(150)]
    traits = [_traits(labelled_on=day) for day in days]
    figures = slice_figures(_test_set(labels, [0.5] * 150), traits, _CUTS)
    ages = [(item.name, item.images) for item in figures if item.kind == "label age"]
    assert ages == [
        ("labelled 2026-01-01", 50),
        ("labelled 2026-02-01 to 2026-02-05", 25),
        ("labelled 2026-02-06 to 2026-02-13", 40),
        ("labelled 2026-02-14 to 2026-02-20", 35),
    ]


def test_grey_pixels_with_the_noise_of_a_jpeg_are_grey() -> None:
    rng = np.random.default_rng(3)
    grey = np.repeat(rng.integers(0, 256, (40, 40, 1)), 3, axis=2)
    noisy = np.clip(grey + rng.integers(-3, 4, grey.shape), 0, 255).astype(np.uint8)
    assert is_greyscale(noisy)
    noisy[:8, :8, 0] = 255
    noisy[:8, :8, 2] = 0
    assert not is_greyscale(noisy)


class _CountingDecoder(InProcessDecoder):
    """Counts, and fails in passing or for good as told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.refusal: ImageRefusedError | None = None

    def decode(self, data: bytes, spec: PixelSpec) -> DecodedImage:
        self.calls += 1
        if self.refusal is not None:
            raise self.refusal
        return super().decode(data, spec)


def _imported(folder: Path) -> tuple[Store, list[ImageId]]:
    (folder / "in" / "red").mkdir(parents=True)
    grey = quadrants([(9, 9, 9), (90, 90, 90), (150, 150, 150), (240, 240, 240)])
    frames = [bluish(1), bluish(2)]
    (folder / "in" / "red" / "a.png").write_bytes(encode(grey))
    (folder / "in" / "red" / "b.gif").write_bytes(
        encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    )
    store = Store(folder / "workspace")
    import_source(store, scan_folder(folder / "in", ["red"]))
    return store, store.image_ids()


def test_traits_come_from_catalogue_and_pixels_and_are_looked_at_once(tmp_path: Path) -> None:
    store, ids = _imported(tmp_path)
    decoder = _CountingDecoder()
    with store, FeatureCache(tmp_path / "features.sqlite") as cache:
        found = {item.format: item for item in read_traits(store, cache, decoder, ids)}
        again = read_traits(store, cache, decoder, ids)
    assert decoder.calls == 2
    assert again == [found[item.format] for item in again]
    assert found["png"].greyscale is True
    assert found["png"].frames == 1
    assert found["gif"].greyscale is False
    assert found["gif"].frames == 2
    assert found["png"].source.endswith("/in/red")
    assert len(found["png"].labelled_on) == 10
    assert (found["png"].width, found["png"].height) == (64, 64)


@pytest.mark.parametrize(("reason", "looks"), [("decoder_died", 2), ("truncated", 1)])
def test_an_image_that_cannot_be_decoded_is_not_known(
    tmp_path: Path, reason: str, looks: int
) -> None:
    store, ids = _imported(tmp_path)
    decoder = _CountingDecoder()
    decoder.refusal = ImageRefusedError(reason, "for the test")  # type: ignore[arg-type]
    with store, FeatureCache(tmp_path / "features.sqlite") as cache:
        found = [read_traits(store, cache, decoder, ids) for _ in range(2)][-1]
    assert {(item.greyscale, item.frames) for item in found} == {(None, None)}
    assert decoder.calls == looks * len(ids)  # what may pass is tried again


def test_training_gives_figures_of_slices(trained: TrainingResult) -> None:
    slices = trained.evaluation.slices
    whole = len(trained.evaluation.test_set.image_ids)
    assert _one(slices, "format", "PNG").images == whole
    assert {item.name for item in slices if item.kind == "source"} == {"blue", "red"}
    assert [item["name"] for item in trained.evaluation.to_dict()["slices"]] == [
        item.name for item in slices
    ]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_chance_is_that_of_fishers_exact_test(a: int, b: int, c: int, d: int) -> None:
    from scipy.stats import fisher_exact

    found = _fisher(a, a + b, c, c + d)
    assert found == pytest.approx(fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-6, abs=1e-12)
