"""Similar images on photographs: a copy finds its original."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance, ImageOps

from keshikaran.ingest import import_source, scan_files
from keshikaran.similar import open_similar
from keshikaran.store import Store, Workspace

pytestmark = pytest.mark.realdata

_STORED, _ASKED = 200, 25


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _bright(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def _cropped(image: Image.Image) -> Image.Image:
    return ImageOps.crop(image, round(image.width * 0.05))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Workspace:
    files = sorted((photographs / "clothing" / "images").glob("*/*.jpg"))
    place = Workspace(tmp_path_factory.mktemp("similar"))
    with Store(place.folder) as store:
        import_source(store, scan_files(files[:: len(files) // _STORED][:_STORED]))
    return place


@pytest.mark.parametrize("change", [_half, _bright, _cropped, ImageOps.mirror])
def test_the_nearest_image_of_a_copy_is_its_original(
    place: Workspace, tmp_path: Path, change: Callable[[Image.Image], Image.Image]
) -> None:
    with Store(place.folder) as store:
        asked = [(i, store.blobs.read(i, "jpg")) for i in store.image_ids()[:_ASKED]]
    right = 0
    with open_similar(place) as images:
        for image_id, data in asked:
            with Image.open(io.BytesIO(data)) as image:
                change(image.convert("RGB")).save(tmp_path / "copy.jpg", quality=50)
            found = images.of(tmp_path / "copy.jpg", top=1)
            assert found.exact
            right += found.neighbours[0].image_id == image_id
    assert right >= _ASKED - 1
