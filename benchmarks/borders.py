"""Would trimming uniform borders help? Clean, barred and trimmed pictures under one head.

A head is fitted on clean photographs; the test half is scored clean, with bars added, and with
borders trimmed, whether there are any or not.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common import TASKS, parser, photographs, show
from keshikaran.backbones import load_backbone, open_engine
from keshikaran.pixels import PixelSpec, read_pixels

_NOISE = 8
"""Rows and columns whose values differ by no more than this count as border."""
_LEAST = 0.2
"""What is left of a side after trimming; less than that, and nothing is trimmed."""

Change = Callable[[Image.Image], Image.Image]


def bars(colour: int, share: float, *, across: bool) -> Change:
    """Add bars of `share` of the side at both ends."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        extra = round((width if across else height) * share)
        size = (width + 2 * extra, height) if across else (width, height + 2 * extra)
        canvas = Image.new("RGB", size, (colour,) * 3)
        canvas.paste(image, (extra, 0) if across else (0, extra))
        return canvas

    return change


def trimmed(image: Image.Image) -> Image.Image:
    """Without the uniform rows and columns at its edges."""
    pixels = np.asarray(image).astype(np.int16)
    busy = np.abs(pixels - pixels[:1, :1]).max(axis=2) > _NOISE
    rows, columns = np.flatnonzero(busy.any(axis=1)), np.flatnonzero(busy.any(axis=0))
    if not len(rows) or not len(columns):
        return image
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    small = box[2] - box[0] < _LEAST * image.width or box[3] - box[1] < _LEAST * image.height
    return image if small else image.crop(box)


def pixels_of(path: Path, change: Change | None, spec: PixelSpec) -> np.ndarray:
    """What the network sees of a changed photograph."""
    if change is None:
        return read_pixels(path.read_bytes(), spec)
    out = io.BytesIO()
    with Image.open(path) as image:
        change(image.convert("RGB")).save(out, "PNG", compress_level=0)
    return read_pixels(out.getvalue(), spec)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=1_000)
    chosen = options.parse_args()
    paths = photographs(chosen.data, chosen.images)
    backbone = load_backbone()
    engine = open_engine(backbone.model, streams=1)
    spec = PixelSpec(backbone.height, backbone.width, "crop")

    def features(change: Change | None, files: list[Path]) -> np.ndarray:
        views = (pixels_of(path, change, spec) for path in files)
        return np.concatenate([engine.infer(view[None])[backbone.output] for view in views])

    classes = np.array([path.parent.name for path in paths])
    test = np.arange(len(paths)) % 2 == 1
    judged = [path for path, of_test in zip(paths, test, strict=True) if of_test]
    clean = features(None, paths)
    black_sides, white_sides = bars(0, 0.3, across=True), bars(255, 0.3, across=True)
    black_ends = bars(0, 0.3, across=False)
    variants: dict[str, np.ndarray] = {
        "clean": clean[test],
        "clean, trimmed": features(trimmed, judged),
        "black bars left and right": features(black_sides, judged),
        "the same, trimmed": features(lambda image: trimmed(black_sides(image)), judged),
        "white bars left and right": features(white_sides, judged),
        "the same white ones, trimmed": features(lambda image: trimmed(white_sides(image)), judged),
        "black bars above and below": features(black_ends, judged),
        "the same ends, trimmed": features(lambda image: trimmed(black_ends(image)), judged),
    }
    for task in TASKS[:3]:
        labels = np.isin(classes, task)
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2_000))
        head.fit(clean[~test], labels[~test])
        scores = {name: head.predict_proba(rows)[:, 1] for name, rows in variants.items()}
        rows: dict[str, float] = {}
        for name, values in scores.items():
            rows[f"{name}: ROC AUC"] = float(roc_auc_score(labels[test], values))
            rows[f"{name}: mean change of score"] = float(np.abs(values - scores["clean"]).mean())
        show(f"Borders, {', '.join(task)}", rows)


if __name__ == "__main__":
    main()
