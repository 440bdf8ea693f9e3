"""What looking among known images costs, and what it finds.

    python benchmarks/known_images.py [--photographs N] [--data FOLDER] [--rows N]

Half of the photographs become known images (every other one objectionable); the others are
strangers, and four copies of each of some known ones are uploads. Prints milliseconds a prediction
with and without known images, for the same files in the same run, the share of copies that are
recognised, and how long finding candidates takes among made-up rows of `--rows` known images.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from keshikaran import Prediction, Predictor
from keshikaran.inference import Outputs
from keshikaran.ingest import scan_folder
from keshikaran.known import export_memory
from keshikaran.memory import Memory, read_memory
from keshikaran.pixels import InProcessDecoder
from keshikaran.recognition import Recognizer
from keshikaran.sketches import SKETCH_SIDE
from keshikaran.store import Workspace
from keshikaran.training import TrainingOptions, train

_COPIED = 50


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("KESHIKARAN_TEST_DATA", "../shared/data"))
    parser.add_argument("--photographs", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    files = sorted(Path(arguments.data, "clothing").rglob("*.jpg"))[: arguments.photographs]
    with tempfile.TemporaryDirectory() as name:
        measure(files, Path(name), arguments.rows)


def measure(files: list[Path], folder: Path, rows: int) -> None:
    """Train on half of the files, then ask about all kinds."""
    known, strangers = files[::2], files[1::2]
    for number, path in enumerate(known):
        place = folder / "known" / ("objectionable" if number % 2 else "acceptable")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    workspace = Workspace(folder / "workspace")
    source = scan_folder(folder / "known", ["objectionable"])
    model = train(workspace, [source], TrainingOptions(tensorboard=False)).model_path
    started = time.perf_counter()
    report = export_memory(workspace, model, folder / "known.memory")
    seconds = time.perf_counter() - started
    print(f"{report.images} known images, {report.bytes / report.images:,.0f} bytes an image,")
    print(f"exported in {seconds:.1f} s")
    memory = read_memory(folder / "known.memory")
    uploads: dict[str, list[str | bytes]] = {
        "strangers": [str(path) for path in strangers],
        "same bytes": [str(path) for path in known],
        "copies": [data for path in known[:_COPIED] for data in _copies(path)],
    }
    with (
        Predictor.load(model, streams=1) as plain,
        Predictor.load(model, streams=1, memory=memory) as knowing,
    ):
        for name, images in uploads.items():
            _compare(name, images, plain, knowing)
    _candidates(memory, rows)


def _compare(name: str, images: list[str | bytes], plain: Predictor, knowing: Predictor) -> None:
    """In turns, so that whatever else the machine does hits both alike."""
    times: dict[str, list[float]] = {"without": [], "with": []}
    found: list[Prediction] = []
    for image in images:
        for who, predictor in (("without", plain), ("with", knowing)):
            started = time.perf_counter()
            prediction = predictor.predict(image)
            times[who].append(1e3 * (time.perf_counter() - started))
        found.append(prediction)
    without, with_it = np.median(times["without"]), np.median(times["with"])
    sources = dict(Counter(one.source for one in found))
    print(
        f"{name:<11} {len(images):>5}: median {without:7.2f} ms without, {with_it:7.2f} ms with"
        f" (mean {np.mean(times['without']):.2f}, {np.mean(times['with']):.2f}); {sources}"
    )


def _copies(path: Path) -> list[bytes]:
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = picture.size
    return [
        _jpeg(picture, 50),
        _jpeg(picture.resize((width // 2, height // 2)), 90),
        _jpeg(picture.crop((width // 40, height // 40, width - width // 40, height)), 90),
        _jpeg(ImageOps.mirror(picture), 90),
    ]


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _candidates(memory: Memory, count: int) -> None:
    """Finding candidates among many known images; their rows are made up, as no copy is asked."""
    rng = np.random.default_rng(0)

    def many(rows: np.ndarray) -> np.ndarray:
        noise = rng.standard_normal((count, rows.shape[1]), dtype=np.float32)
        return noise / np.linalg.norm(noise, axis=1, keepdims=True)

    large = replace(
        memory,
        owners=np.arange(count),
        features=replace(memory.features, rows=many(memory.features.rows)),
        sketches=replace(memory.sketches, rows=many(memory.sketches.rows)),
    )
    width = len(memory.features.whitening.mean)
    for known in (memory, large):
        recognizer = Recognizer(known, InProcessDecoder())
        times = []
        for _ in range(20):
            features = rng.standard_normal((1, width), dtype=np.float32)
            sketch = rng.integers(0, 256, (SKETCH_SIDE, SKETCH_SIDE)).astype(np.uint8)
            outputs = Outputs({"features": features}, 1, 1, sketch)
            started = time.perf_counter()
            recognizer.by_pixels(outputs, bytes)
            times.append(1e3 * (time.perf_counter() - started))
        size = known.features.rows.nbytes + known.sketches.rows.nbytes
        print(
            f"candidates among {len(known.owners):>7,}: median {np.median(times):.2f} ms,"
            f" rows of {size / 1e6:,.0f} MB"
        )


if __name__ == "__main__":
    main()
