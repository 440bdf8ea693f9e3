"""Does the drift watch keep quiet about photographs of the known kind, and how soon does it speak?

In each of several rounds the clothing photographs are dealt anew: 1,500 teach a head, 400 choose
its regularisation, 800 are what a model file would keep as its reference, and the rest come in as
uploads. Uploads of the known kind must not be called drift; after them come uploads of another
kind, and it is counted how many it takes until the watch says so.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from common import TASKS, clothing, machine, parser, show, temporary_folder
from keshikaran.dataset import make_dataset
from keshikaran.drift import DriftFigures, DriftWatch
from keshikaran.drift_reference import DriftReference
from keshikaran.drift_summary import UnseenImages, summarise
from keshikaran.head import Head, fit_head, predict_proba
from keshikaran.inference import Pipeline, infer_many
from keshikaran.ingest import import_source, scan_folder
from keshikaran.preparation import Tools, featurize_labelled, group_labelled, open_tools
from keshikaran.store import Workspace, group_of
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, GroupId, LabelArray, SilentProgress

_TAUGHT, _CHOOSING, _JUDGING = 1_500, 400, 800
_ALTERED = 300
_LONG = 40_000
_MOST_DELAY = 3_000


@dataclass
class Photographs:
    """Features of all photographs, and of others."""

    features: Float32Array
    labels: LabelArray
    groups: list[GroupId]
    others: dict[str, Float32Array]


@dataclass
class Round:
    """One way to deal the photographs."""

    head: Head
    reference: DriftReference
    known: Float32Array
    live: Float32Array
    live_labels: LabelArray

    def stream(self, rows: Iterable[Float32Array]) -> Iterator[tuple[float, Float32Array]]:
        """Scores and features, as the predictor tells them."""
        for row in rows:
            yield float(predict_proba(self.head, row[None])[0]), row


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--workspace", type=Path, help="has the photographs, with features")
    chosen = arguments.parse_args()
    if chosen.workspace is not None:
        pictures = _read(chosen.workspace, chosen.data)
    else:
        with temporary_folder() as folder:
            pictures = _read(folder, chosen.data)
    rounds = [_deal(pictures, seed) for seed in range(chosen.rounds)]
    show("The drift watch: machine", machine())
    show("Uploads of the known kind", _quiet(rounds))
    kinds = {name: [rows] * len(rounds) for name, rows in pictures.others.items()}
    kinds["acceptable clothing only"] = [r.live[r.live_labels == 0] for r in rounds]
    for name, rows in kinds.items():
        show(f"Uploads of another kind: {name}", _speaks(rounds, rows))
    show("Seconds", _cost(rounds[0]))


def _read(folder: Path, data: Path) -> Photographs:
    workspace, options = Workspace(folder), TrainingOptions()
    with open_tools(workspace, options) as tools:
        if not tools.store.count_images():
            import_source(tools.store, scan_folder(clothing(data), TASKS[0]))
        table = featurize_labelled(tools, SilentProgress())
        group_labelled(tools, table, SilentProgress())
        labels = {image.image_id: image.label for image in tools.store.labels.images()}
        sides = dict.fromkeys(table.image_ids, "train")
        dataset = make_dataset(table.image_ids, table.matrix, labels, sides, table.starts)
        features, values = dataset.part("train")
        groups = tools.store.groups.of_images()
        files = sorted(clothing(data).glob("*/*.jpg"))
        files = files[:: len(files) // _ALTERED]
        foreign = sorted((data / "imagenet-samples").glob("*.JPEG"))
        others = {"other photographs (ImageNet)": _features(tools, foreign, _as_is)}
        for name, change in _CHANGES.items():
            others[f"clothing, {name}"] = _features(tools, files, change)
    return Photographs(
        features, values, [group_of(item, groups) for item in dataset.image_ids], others
    )


def _features(tools: Tools, files: list[Path], change: Callable[[Path], bytes]) -> Float32Array:
    featurizer = tools.featurizer
    engine = featurizer.open_loaded(featurizer.backbone.model)
    pipeline = Pipeline(tools.decoder, engine, featurizer.spec)
    items = ((file, partial(change, file)) for file in files)
    found = [result.outputs for result in infer_many(items, pipeline)]
    return np.stack([item[featurizer.backbone.output][0] for item in found if item is not None])


def _as_is(file: Path) -> bytes:
    return file.read_bytes()


def _changed(change: Callable[[Image.Image], Image.Image], file: Path) -> bytes:
    with Image.open(file) as image:
        out = io.BytesIO()
        change(image.convert("RGB")).save(out, "JPEG", quality=90)
    return out.getvalue()


_CHANGES: dict[str, Callable[[Path], bytes]] = {
    "at 40% brightness": partial(
        _changed, lambda image: ImageEnhance.Brightness(image).enhance(0.4)
    ),
    "greyscale": partial(_changed, lambda image: image.convert("L")),
    "blurred": partial(_changed, lambda image: image.filter(ImageFilter.GaussianBlur(4))),
    "mirrored": partial(_changed, lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def _deal(pictures: Photographs, seed: int) -> Round:
    order = np.random.default_rng(seed).permutation(len(pictures.labels))
    ends = np.cumsum([_TAUGHT, _CHOOSING, _JUDGING])
    taught, choosing, judging, live = np.split(order, ends)
    x, y = pictures.features, pictures.labels
    head = fit_head(x[taught], y[taught], x[choosing], y[choosing]).head
    groups = [pictures.groups[at] for at in judging]
    unseen = UnseenImages(x[judging], y[judging], predict_proba(head, x[judging]), groups)
    reference = summarise(x[taught], unseen, float(y[taught].mean()))
    if reference is None:
        raise RuntimeError
    return Round(head, reference, x[judging], x[live], y[live])


def _quiet(rounds: list[Round]) -> dict[str, Any]:
    """New photographs, each once; and those of the reference again and again."""
    rows: dict[str, Any] = {}
    for window in (250, 1_000):
        alarms, windows = 0, 0.0
        for item in rounds:
            alarms += _alarms(item, item.live, window)[0]
            windows += len(item.live) / window
        rows[f"new, window {window}: windows"] = windows
        rows[f"new, window {window}: alarms"] = alarms
    for window in (100, 250, 1_000):
        alarms, last = 0, []
        for seed, item in enumerate(rounds):
            rng = np.random.default_rng(seed)
            drawn = item.known[rng.integers(0, len(item.known), _LONG)]
            found, figures = _alarms(item, drawn, window)
            alarms += found
            last.append(figures)
        rows[f"drawn again, window {window}: windows"] = len(rounds) * _LONG / window
        rows[f"drawn again, window {window}: alarms"] = alarms
        rows[f"drawn again, window {window}: psi, mean"] = statistics.fmean(
            f.psi or 0 for f in last
        )
    return rows


def _alarms(item: Round, features: Float32Array, window: int) -> tuple[int, DriftFigures]:
    states: list[str] = []
    watch = DriftWatch(item.reference, window, lambda figures: states.append(figures.state))
    scores = predict_proba(item.head, features)
    for score, row in zip(scores.tolist(), features, strict=True):
        watch.add(score, row)
    return states.count("drifting"), watch.figures()


def _speaks(rounds: list[Round], kinds: list[Float32Array]) -> dict[str, Any]:
    """How many images of another kind it takes, where they are all or a part of what comes."""
    rows: dict[str, Any] = {}
    window, filled = 1_000, []
    for item, other in zip(rounds, kinds, strict=True):
        rng = np.random.default_rng(1)
        watch = DriftWatch(item.reference, 500)
        for score, row in item.stream(other[rng.integers(0, len(other), 500)]):
            watch.add(score, row)
        filled.append(watch.figures())
    for name in ("psi", "psi_limit", "distance", "distance_limit", "objectionable"):
        rows[f"window full of it, {name}"] = statistics.median(getattr(f, name) for f in filled)
    rows["window full of it: drifting"] = sum(f.state == "drifting" for f in filled) / len(filled)
    for share in (1.0, 0.3, 0.1):
        delays = [
            _delay(item, other, share, window) for item, other in zip(rounds, kinds, strict=True)
        ]
        found = [delay for delay in delays if delay is not None]
        rows[f"{share:.0%} of uploads: noticed"] = len(found) / len(delays)
        if found:
            rows[f"{share:.0%} of uploads: after images, median"] = statistics.median(found)
            rows[f"{share:.0%} of uploads: after images, most"] = max(found)
    return rows


def _delay(item: Round, other: Float32Array, share: float, window: int) -> int | None:
    """Images from the change to the alarm; None if there was none."""
    rng = np.random.default_rng(2)
    states: list[str] = []
    watch = DriftWatch(item.reference, window, lambda figures: states.append(figures.state))
    before = item.live[rng.integers(0, len(item.live), window)]
    for score, row in item.stream(before):
        watch.add(score, row)
    states.clear()
    for number in range(_MOST_DELAY):
        source = other if rng.random() < share else item.live
        for score, row in item.stream(source[rng.integers(0, len(source), 1)]):
            watch.add(score, row)
        if "drifting" in states:
            return number + 1
    return None


def _cost(item: Round) -> dict[str, Any]:
    """Of one image, of making a watch."""
    scores = predict_proba(item.head, item.live)
    started = time.perf_counter()
    watch = DriftWatch(item.reference, 1_000)
    made = time.perf_counter() - started
    times = []
    for _ in range(3):
        for score, row in zip(scores.tolist(), item.live, strict=True):
            started = time.thread_time()
            watch.add(score, row)
            times.append(time.thread_time() - started)
    return {
        "making a watch, ms": made * 1e3,
        "an image, mean, ms": statistics.fmean(times) * 1e3,
        "an image, median, ms": statistics.median(times) * 1e3,
        "an image, 99 of 100 below, ms": float(np.quantile(times, 0.99)) * 1e3,
    }


if __name__ == "__main__":
    main()
