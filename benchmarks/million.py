"""How do time and memory of each step grow with the number of images, up to a million?

Images are made up: rows in the catalogue and features in the cache, no files and no pixels. Each
step runs in a process of its own, at a tenth, a third and all of the images, and is told in
seconds, processor seconds and peak memory, also per 100,000 images: where these do not grow, the
step is linear.

    python benchmarks/million.py --images 100000
    python benchmarks/million.py --images 1000000 --columns 256    # where 10 GB are too much
    python benchmarks/million.py --images 1000000 --shares 1 --keep /large/disk

What a run with `--keep` has measured is kept with the workspace, and is not measured again: a run
that was broken off goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from common import machine, parser, show, temporary_folder
from keshikaran.backbones import DEFAULT_BACKBONE
from keshikaran.preparation import featurize_labelled, group_labelled, open_tools
from keshikaran.split import split_images
from keshikaran.store import FeatureCache, ImageRecord, SourceEntry, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import (
    Float32Array,
    ImageId,
    IntArray,
    Label,
    SilentProgress,
    UInt8Array,
    chunks_of,
)
from tree import PeakMemory

_AT_ONCE = 2_000
_LATENT = 64
_SHARE = 0.2
_SIDE = 32
_PER = 100_000
_LOOK_EVERY_S = 0.5
_COMMANDS = {
    "split again": ["split", "--json"],
    "status": ["status", "--json"],
    "audit": ["audit", "--json"],
    "train": ["train", "--json"],
    "report": ["report", "--force", "--json"],
}
_TAKE_A_BACKBONE = ("split", "audit", "train")


def ids_of(part: slice) -> list[ImageId]:
    """Ids that look like hashes, the same in every process."""
    rng = np.random.default_rng([1, part.start])
    return [ImageId(rng.bytes(32).hex()) for _ in range(part.start, part.stop)]


def made_up(part: slice, columns: int) -> tuple[Float32Array, IntArray, UInt8Array]:
    """Features of some 64 causes and noise, labels that one mixture of the causes makes likely."""
    shape = np.random.default_rng(0)
    spread = shape.normal(0, 1, (_LATENT, columns)).astype(np.float32)
    spread *= (np.arange(1, _LATENT + 1, dtype=np.float32) ** -0.5)[:, None]
    direction = shape.normal(0, 1, _LATENT)
    rng = np.random.default_rng([2, part.start])
    size = part.stop - part.start
    causes = rng.standard_normal((size, _LATENT), dtype=np.float32)
    features = np.maximum(causes @ spread, 0) * np.float32(0.2)
    features += rng.standard_normal(features.shape, dtype=np.float32) * np.float32(0.1)
    logits = causes @ direction - np.quantile(causes @ direction, 1 - _SHARE)
    labels = rng.random(size) < 1 / (1 + np.exp(-logits))
    sketches = rng.integers(0, 256, (size, 16, 16), dtype=np.uint8)
    return features, labels.astype(np.int64), sketches


def narrow_backbone(columns: int) -> bytes:
    """A network that nobody will run on an image: mean colours, spread over the columns."""
    weights = np.random.default_rng(3).normal(0, 1, (12, columns)).astype(np.float32)
    half = _SIDE // 2
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["means"], kernel_shape=[half, half], strides=[half, half]
        ),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["features"]),
    ]
    shape: list[str | int | None] = ["N", _SIDE, _SIDE, 3]
    graph = helper.make_graph(
        nodes,
        "narrow",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", columns])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


class Steps:
    """What runs in a process of its own.

    Args:
        folder: the workspace's.
        images: how many are made up.
        columns: width of the features.
    """

    def __init__(self, folder: Path, images: int, columns: int) -> None:
        self.workspace = Workspace(folder / "w")
        self.images, self.columns = images, columns
        narrow = folder / "narrow.onnx"
        self.backbone = str(narrow) if narrow.exists() else DEFAULT_BACKBONE
        self.options = TrainingOptions(backbone=self.backbone)

    def catalogue(self) -> None:
        """Write images, sources and labels as an import does, 2,000 a transaction."""
        with Store(self.workspace.folder) as store:
            for part in chunks_of(self.images, _AT_ONCE):
                labels: list[Label] = [1 if one else 0 for one in made_up(part, 1)[1]]
                ids = ids_of(part)
                store.add(
                    [ImageRecord(i, i[:40], "jpeg", 1, 400, 533) for i in ids],
                    [
                        SourceEntry("/made-up", f"{i}.jpg", i, label)
                        for i, label in zip(ids, labels, strict=True)
                    ],
                    who="benchmark",
                )

    def cache(self) -> None:
        """Make features up and write them."""
        with open_tools(self.workspace, self.options) as tools:
            recipe = tools.featurizer.recipe
        with FeatureCache(self.workspace.features) as cache:
            for part in chunks_of(self.images, _AT_ONCE):
                features, _, sketches = made_up(part, self.columns)
                ids = ids_of(part)
                rows = [(i, row[None]) for i, row in zip(ids, features, strict=True)]
                cache.put(recipe, rows, [], list(zip(ids, sketches, strict=True)))

    def read(self) -> None:
        """Read all features."""
        with open_tools(self.workspace, self.options) as tools:
            featurize_labelled(tools, SilentProgress())

    def group(self) -> None:
        """Read all features and look for near-duplicates."""
        with open_tools(self.workspace, self.options) as tools:
            features = featurize_labelled(tools, SilentProgress())
            group_labelled(tools, features, SilentProgress())

    def split(self) -> None:
        """Deal all images for the first time."""
        with Store(self.workspace.folder) as store:
            split_images(store)


def child(folder: Path, command: list[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Run a process; its figures, and what it printed."""
    before = os.times()
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        peak = PeakMemory(process.pid, every_s=_LOOK_EVERY_S)
        own = PeakMemory(process.pid, ("Anonymous:", "Anonymous:"), _LOOK_EVERY_S)
        if process.stdout is None:
            raise RuntimeError
        text = process.stdout.read()
        code = process.wait()
    seconds = time.perf_counter() - started
    peak.stop()
    own.stop()
    if code not in {0, 3}:
        sys.exit(f"{' '.join(command)} ended with {code}.")
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    figures = {"s": seconds, "processor s": used, "MB": own.mb, "MB with mapped files": peak.mb}
    return figures, json.loads(text) if text.startswith(b"{") else {}


class _Done:
    """What an earlier run in the same folder measured, and what this one adds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.figures: dict[str, dict[str, float]] = {}
        if path.exists():
            self.figures = json.loads(path.read_text(encoding="utf-8"))

    def note(self, name: str, figures: dict[str, float]) -> dict[str, float]:
        self.figures[name] = figures
        self._path.write_text(json.dumps(self.figures), encoding="utf-8")
        return figures


def measured(folder: Path, images: int, columns: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Each step's figures, one after the other in one workspace."""
    if columns != 1280:
        (folder / "narrow.onnx").write_bytes(narrow_backbone(columns))
    steps = Steps(folder, images, columns)
    itself = [sys.executable, str(Path(__file__).resolve()), "--images", str(images)]
    itself += ["--columns", str(columns), "--workspace", str(folder)]
    done = _Done(folder / "measured.json")
    yield from done.figures.items()
    for name in ("catalogue", "cache", "read", "group", "split"):
        if name not in done.figures:
            yield name, done.note(name, child(folder, [*itself, "--step", name])[0])
    for name, words in _COMMANDS.items():
        if name in done.figures or (name == "report" and steps.backbone != DEFAULT_BACKBONE):
            continue  # a report's network comes from the model file, under a name of its own
        command = [sys.executable, "-m", "keshikaran", *words]
        command += ["--workspace", str(steps.workspace.folder)]
        if words[0] in _TAKE_A_BACKBONE:
            command += ["--backbone", steps.backbone]
        figures, printed = child(folder, command)
        yield name, done.note(name, figures)
        for stage, seconds in printed.get("timing_s", {}).items():
            yield f"{name}: {stage}", done.note(f"{name}: {stage}", {"s": seconds})


def table(found: Mapping[int, Mapping[str, Mapping[str, float]]]) -> dict[str, str]:
    """Figures of each step at each size, and how they grew per image from first to last."""
    sizes = sorted(found)
    rows: dict[str, str] = {}
    for step in found[sizes[-1]]:
        for unit in found[sizes[-1]][step]:
            values = [found[size][step][unit] for size in sizes]
            rates = [value / size * _PER for value, size in zip(values, sizes, strict=True)]
            cells = "  ".join(
                f"{value:9.1f} ({rate:7.1f})" for value, rate in zip(values, rates, strict=True)
            )
            growth = rates[-1] / rates[0] if rates[0] else 0.0
            rows[f"{step}, {unit}"] = f"{cells}   x{growth:.2f}"
    return rows


@contextmanager
def folder_for(keep: Path | None, images: int, columns: int) -> Iterator[Path]:
    """A folder that goes away, or one below `keep` that stays."""
    if keep is None:
        with temporary_folder() as folder:
            yield folder
        return
    folder = keep.resolve() / f"{images}x{columns}"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


def main() -> None:
    """Measure, or be one of the processes that are measured."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=100_000)
    options.add_argument("--columns", type=int, default=1280, help="width of the features")
    options.add_argument("--shares", default="0.1,0.3333,1", help="of the images, in turn")
    options.add_argument("--keep", type=Path, help="folder to work in, and to go on in later")
    options.add_argument("--workspace", type=Path, help="for --step")
    options.add_argument("--step", choices=["catalogue", "cache", "read", "group", "split"])
    chosen = options.parse_args()
    if chosen.step:
        run: Callable[[], None] = getattr(
            Steps(chosen.workspace, chosen.images, chosen.columns), chosen.step
        )
        run()
        return
    found: dict[int, dict[str, dict[str, float]]] = {}
    for share in map(float, chosen.shares.split(",")):
        images = round(chosen.images * share)
        with folder_for(chosen.keep, images, chosen.columns) as folder:
            found[images] = {}
            for step, figures in measured(folder, images, chosen.columns):
                found[images][step] = figures
                words = "  ".join(f"{value:,.1f} {unit}" for unit, value in figures.items())
                print(f"{images:>9,}  {step:<18} {words}", file=sys.stderr, flush=True)
    title = f"{', '.join(f'{size:,}' for size in sorted(found))} images of {chosen.columns} columns"
    show(f"{title} (per {_PER:,}), growth per image", {**machine(), **table(found)})


if __name__ == "__main__":
    main()
