"""How long does it take to find the ten nearest of many images, and are they the right ones?

Features of so many images have to be made up. Each is a photograph's features, moved up to half the
way to one of its fifty nearest neighbours, plus 0.1 to 0.4 of the difference of two photographs
taken at random, and no value below zero: the spread and the neighbourhoods stay those of real
features. Questions are made the same way ("alike"), and with 1 to 2 of such a difference
("unlike": hardly anything in the store resembles them, which makes it harder to be sure).

Against it: one product of all features, float32 and held in memory, with the question in numpy.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common import machine, parser, photographs, show, temporary_folder
from keshikaran.hashing import image_id_of
from keshikaran.ingest import import_source, scan_files
from keshikaran.preparation import open_tools
from keshikaran.pruned_search import Wanted
from keshikaran.search_index import open_index
from keshikaran.similar import open_similar
from keshikaran.similarity import centred
from keshikaran.store import FeatureCache, FeatureRecipe, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array

_RECIPE = FeatureRecipe("0" * 64, "f32", "crop")
_STEP = 10_000
_QUESTIONS = 200
_TOP = 10
_NEIGHBOURS = 50
_KINDS = {"alike": (0.1, 0.4), "unlike": (1.0, 2.0)}


def real_features(data: Path, workspace: Path | None) -> Float32Array:
    """Features of the photographs: of a workspace that has them, or computed now."""
    with temporary_folder() as folder:
        place = Workspace(workspace or folder)
        if workspace is None:
            with Store(place.folder) as store:
                import_source(store, scan_files(photographs(data)))
        with open_similar(place):
            pass  # featurizes what is missing
        with open_tools(place, TrainingOptions()) as tools:
            wanted = tools.store.image_ids()
            return tools.cache.read(tools.featurizer.recipe, wanted, tools.backbone.dim)[1]


class Maker:
    """Makes features up; see the module."""

    def __init__(self, real: Float32Array) -> None:
        self._real = real
        unit = centred(real, real.mean(axis=0))
        self._near = np.argsort(-(unit @ unit.T), axis=1)[:, 1 : _NEIGHBOURS + 1]

    def make(self, count: int, seed: int, noise: tuple[float, float]) -> Iterator[Float32Array]:
        """`count` rows in pieces; the same ones each time."""
        for start in range(0, count, _STEP):
            rng = np.random.default_rng((seed, start))
            size = min(_STEP, count - start)
            one, third, fourth = rng.integers(0, len(self._real), (3, size))
            other = self._near[one, rng.integers(0, _NEIGHBOURS, size)]
            rows = self._real[one]
            way = rng.uniform(0, 0.5, (size, 1)).astype(np.float32)
            rows += way * (self._real[other] - rows)
            share = rng.uniform(*noise, (size, 1)).astype(np.float32)
            rows += share * (self._real[third] - self._real[fourth])
            yield np.maximum(rows, 0, out=rows)


def fill(place: Workspace, maker: Maker, count: int) -> float:
    """Write made-up features to a cache; returns seconds."""
    started = time.perf_counter()
    with FeatureCache(place.features) as cache:
        number = 0
        for rows in maker.make(count, 1, _KINDS["alike"]):
            ids = [image_id_of(str(number + index).encode()) for index in range(len(rows))]
            views = [rows[index : index + 1] for index in range(len(rows))]
            cache.put(_RECIPE, list(zip(ids, views, strict=True)), [])
            number += len(rows)
    return time.perf_counter() - started


def memory_mb(kind: str) -> float:
    """Memory of this process: RssAnon is its own, RssFile are pages of files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def ask(folder: Path, dim: int) -> dict[str, Any]:
    """Open the index, making it if it is not there, and answer; run in a process of its own."""
    place = Workspace(folder)
    started = time.perf_counter()
    with FeatureCache(place.features) as cache:
        index = open_index(place.index, _RECIPE, cache.rows(_RECIPE, dim))
        opened = time.perf_counter() - started
        result: dict[str, Any] = {
            "origin": index.origin,
            "open_s": opened,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "dims": index.table.coordinates.shape[1],
            "mean": index.table.projection.mean.tolist(),
        }
        for kind in _KINDS:
            questions = np.load(folder / f"{kind}.npy")
            seconds, found = [], []
            for question in np.concatenate([questions[:20], questions]):
                started = time.perf_counter()
                found.append(index.search(question, Wanted(_TOP)))
                seconds.append(time.perf_counter() - started)
            seconds, found = seconds[20:], found[20:]  # the first ones warm up
            result[kind] = {
                "ms": statistics.median(seconds) * 1e3,
                "ms95": float(np.quantile(seconds, 0.95)) * 1e3,
                "exact": sum(one.exact for one in found) / len(found),
                "looked_at": statistics.median(one.looked_at for one in found),
                "ids": [one.image_ids for one in found],
            }
        result["own_mb"], result["file_mb"] = memory_mb("RssAnon"), memory_mb("RssFile")
    return result


def in_child(folder: Path, dim: int) -> dict[str, Any]:
    """`ask` in a process of its own."""
    words = [sys.executable, __file__, "--ask", str(folder), "--dim", str(dim)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(
    folder: Path, maker: Maker, count: int, mean: Float32Array, answers: dict[str, Any]
) -> dict[str, Any]:
    """Plain numpy: its time, and how many of its ten nearest were found."""
    matrix = np.empty((count, len(mean)), dtype=np.float32)
    start = 0
    for rows in maker.make(count, 1, _KINDS["alike"]):
        matrix[start : start + len(rows)] = centred(rows, mean)
        start += len(rows)
    result: dict[str, Any] = {}
    for kind in _KINDS:
        seconds, recall, tenth = [], [], []
        questions = centred(np.load(folder / f"{kind}.npy"), mean)
        for question, found in zip(questions, answers[kind]["ids"], strict=True):
            started = time.perf_counter()
            cosines = matrix @ question
            best = np.argpartition(cosines, -_TOP)[-_TOP:]
            seconds.append(time.perf_counter() - started)
            right = {image_id_of(str(number).encode()) for number in best.tolist()}
            recall.append(len(right.intersection(found)) / _TOP)
            tenth.append(float(cosines[best].min()))
        result[f"{kind}: cosine of the tenth, median"] = statistics.median(tenth)
        result[f"{kind}: plain numpy, ms a query"] = statistics.median(seconds) * 1e3
        result[f"{kind}: recall@10"] = statistics.mean(recall)
    return result


def measure(maker: Maker, count: int, dim: int) -> None:
    """One size."""
    rows: dict[str, Any] = {**machine(), "images": count, "dimensions": dim}
    with temporary_folder() as folder:
        place = Workspace(folder)
        rows["writing made-up features, s"] = fill(place, maker, count)
        for seed, (kind, noise) in enumerate(_KINDS.items(), start=2):
            np.save(folder / f"{kind}.npy", np.concatenate([*maker.make(_QUESTIONS, seed, noise)]))
        built, answers = in_child(folder, dim), in_child(folder, dim)
        if (built["origin"], answers["origin"]) != ("built", "current"):
            sys.exit("The index was not kept.")
        rows["building the index, s"] = built["open_s"]
        rows["memory while building, MB"] = built["peak_mb"]
        rows["opening the index, s"] = answers["open_s"]
        rows["dimensions scanned"] = answers["dims"]
        rows["index file, MB"] = sum(file.stat().st_size for file in place.index.iterdir()) / 1e6
        rows["memory while asking: own, MB"] = answers["own_mb"]
        rows["memory while asking: pages of files, MB"] = answers["file_mb"]
        for kind in _KINDS:
            of = answers[kind]
            rows[f"{kind}: ms a query, median"] = of["ms"]
            rows[f"{kind}: ms a query, 95 of 100 below"] = of["ms95"]
            rows[f"{kind}: proven exact"] = of["exact"]
            rows[f"{kind}: full rows looked at, median"] = of["looked_at"]
        mean = np.array(answers["mean"], dtype=np.float32)
        rows |= compare(folder, maker, count, mean, answers)
    for kind in _KINDS:
        faster = rows[f"{kind}: plain numpy, ms a query"] / rows[f"{kind}: ms a query, median"]
        rows[f"{kind}: times faster than plain numpy"] = faster
    show("similar", rows)


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, action="append", help="default: 100000 and 1000000")
    options.add_argument("--workspace", type=Path, help="has features of the photographs already")
    options.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--dim", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.ask is not None:
        print(json.dumps(ask(chosen.ask, chosen.dim)))
        return
    real = real_features(chosen.data, chosen.workspace)
    maker = Maker(real)
    for count in chosen.images or [100_000, 1_000_000]:
        measure(maker, count, real.shape[1])


if __name__ == "__main__":
    main()
