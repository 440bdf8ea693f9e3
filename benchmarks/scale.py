"""What do a million images cost on a Ray cluster, and a hundred million?

A cluster of this machine's processors featurizes photographs twice, first a part of them and then
all: the difference is what an image costs, without the start of the cluster. The processor time is
that of every process, Ray's own included, against the same images without Ray in the same run. Then
the shards are merged into a feature cache, and everything is multiplied; the arithmetic is printed.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common import clothing, machine, parser, show, temporary_folder
from keshikaran.backbones import load_backbone, usable_cores
from keshikaran.featurize import fill_cache
from keshikaran.ingest import import_source, scan_files
from keshikaran.preparation import open_tools
from keshikaran.scale.cluster import Cluster
from keshikaran.scale.featurizing import FeaturizeRequest, featurize_on
from keshikaran.scale.merging import Target, merge
from keshikaran.scale.shards import ShardFolder
from keshikaran.scale.tasks import Piece, cut
from keshikaran.store import FeatureCache, FeatureRecipe, Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import SilentProgress
from tree import tree

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_S = 0.3


class CpuWatch:
    """Processor seconds of this process's descendants, also of those that end meanwhile."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._own = 0.0  # of the watching itself
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Look no more; the seconds of all together, this process included."""
        self._done.set()
        self._thread.join()
        return sum(self._seen.values()) - self._own

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            for pid in tree(os.getpid()):
                with suppress(OSError):
                    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
                    fields = text.rpartition(")")[2].split()
                    self._seen[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
            self._own = time.thread_time()


@dataclass(frozen=True)
class Cost:
    """Of some images."""

    images: int
    wall_s: float
    cpu_s: float


def own_cpu_s() -> float:
    """Processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def imported(folder: Path, files: list[Path]) -> Workspace:
    """A workspace with these photographs and no features."""
    with Store(folder) as store:
        import_source(store, scan_files(files))
    return Workspace(folder)


def without_ray(place: Workspace) -> Cost:
    """All stored images on this machine, as `keshikaran featurize` does it."""
    watch, before, started = CpuWatch(), own_cpu_s(), time.perf_counter()
    with open_tools(place, TrainingOptions()) as tools:
        filled = fill_cache(tools.store, tools.cache, tools.featurizer, tools.store.image_ids())
    return Cost(filled.images, time.perf_counter() - started, watch.stop() - before)


def with_ray(place: Workspace, shards: Path, workers: int) -> Cost:
    """All stored images on a cluster that is started for it; their shards stay."""
    watch, before, started = CpuWatch(), own_cpu_s(), time.perf_counter()
    request = FeaturizeRequest(Cluster("local", workers), (), str(shards), 256, everything=True)
    done = featurize_on(place, request, TrainingOptions(), SilentProgress())
    return Cost(done.images, time.perf_counter() - started, watch.stop() - before)


def merged(place: Workspace, shards: Path) -> Cost:
    """Shards into an empty cache."""
    backbone = load_backbone()
    place.features.unlink()
    recipe = FeatureRecipe(backbone.digest, "f32", TrainingOptions().resize_mode)
    folder = ShardFolder(str(shards))
    with Store(place.folder) as store, FeatureCache(place.features) as cache:
        before, started = own_cpu_s(), time.perf_counter()
        target = Target(store, cache, recipe, backbone.dim)
        done = merge(folder, sorted(folder.names().values()), target, SilentProgress())
    return Cost(done.added, time.perf_counter() - started, own_cpu_s() - before)


def main() -> None:
    """Measure, multiply, print."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=1800)
    options.add_argument("--price", type=float, default=0.05, help="of a core for an hour")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    files = sorted(clothing(chosen.data).glob("*/*.jpg"))[: chosen.images]
    cores = usable_cores()
    with temporary_folder() as folder:
        few = imported(folder / "few", files[: len(files) // 3])
        many = imported(folder / "many", files)
        plain = without_ray(imported(folder / "plain", files))
        start = with_ray(few, folder / "shards-few", cores)
        whole = with_ray(many, folder / "shards", cores)
        shards = list((folder / "shards").glob("*.parquet"))
        shard_bytes = sum(path.stat().st_size for path in shards) / whole.images
        merging = merged(many, folder / "shards")
        cache_bytes = many.features.stat().st_size / merging.images
        with Store(many.folder) as store:
            pieces = (Piece(image_id, "jpg") for image_id in store.image_ids())
            tasks = cut("objects", str(store.blobs.root), pieces, {})
        told = sum(len(task.to_json()) for task in tasks) / whole.images
    images = whole.images - start.images
    each_s = (whole.cpu_s - start.cpu_s) / images
    plain_s = plain.cpu_s / plain.images
    merge_s = merging.cpu_s / merging.images
    show(
        "an image on a Ray cluster",
        {
            **machine(),
            "images": whole.images,
            "workers": cores,
            "images/s, wall, start not counted": images / (whole.wall_s - start.wall_s),
            "CPU-ms an image, everything": 1e3 * each_s,
            "CPU-ms an image, without Ray": 1e3 * plain_s,
            "with Ray / without": each_s / plain_s,
            "CPU-s to start and end": start.cpu_s - each_s * start.images,
            "bytes an image in shards": shard_bytes,
            "bytes an image in the cache": cache_bytes,
            "CPU-ms an image to merge, driver": 1e3 * merge_s,
            "bytes an image of tasks, driver": told,
        },
    )
    for millions in (1, 100):
        multiply(millions, each_s, chosen.price)
        print(
            f"  {shard_bytes:,.0f} bytes an image: {millions * shard_bytes / 1e3:,.1f} GB of shards"
        )
        print(f"  {1e3 * merge_s:.2f} ms an image to merge: {millions * merge_s / 3.6e-3:,.2f} h")
        print(
            f"  {cache_bytes:,.0f} bytes an image: {millions * cache_bytes / 1e3:,.1f} GB of cache"
        )
        print(f"  {told:,.0f} bytes an image: {millions * told / 1e3:,.2f} GB of tasks, driver")


def multiply(millions: int, each_s: float, price: float) -> None:
    """Print what so many millions of images take."""
    hours = each_s * millions * 1e6 / 3600
    print(f"\n{millions},000,000 images")
    print(f"  {1e3 * each_s:.2f} CPU-ms × {millions},000,000 / 3,600,000 = {hours:,.1f} core-hours")
    print(f"  on 64 cores {hours / 64:,.2f} h, on 1,024 cores {hours / 1024:,.2f} h")
    print(f"  at {price} a core-hour: {hours * price:,.2f}")


if __name__ == "__main__":
    main()
