"""Are copies of a photograph found, whatever was done to them, and nothing else?

Photographs and nine kinds of copies of some of them go into one workspace. A copy counts as found
when it ends in the group of its original; an image counts as wrongly grouped when a different
photograph is in its group. Which pairs of the untouched photographs truly are the same is known
by looking (docs/duplicates.md) and is left out of that count.

    python benchmarks/duplicates.py                      # clothing, 300 photographs x 9
    python benchmarks/duplicates.py --set imagenet       # independent photographs
    python benchmarks/duplicates.py --scale 100000       # made-up features, real pixels
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from common import clothing, machine, parser, show, temporary_folder
from keshikaran import candidates, cells
from keshikaran.alignment import THUMBNAIL
from keshikaran.candidates import find_candidates
from keshikaran.grouping import GroupingReport
from keshikaran.ingest import import_source, scan_folder
from keshikaran.pixels import PixelSpec
from keshikaran.pixels.isolated import open_decoder
from keshikaran.preparation import Tools, featurize_labelled, group_labelled, open_tools
from keshikaran.store import Store, Workspace
from keshikaran.training_run import TrainingOptions
from keshikaran.types import Float32Array, GroupId, ImageId, SilentProgress, UInt8Array
from keshikaran.verification import Thumbnails, verified

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from transforms import TRANSFORMS, kind_of, write_copies

SAME = [
    {"6075b4a5", "637a56e4"},
    {"b59e4d4a", "e6a8b33f"},
]
"""First letters of the names of photographs that are in the clothing set twice."""

DIM = 1280
LOOKALIKES = 1 / 45_000
"""Share of all pairs of different photographs that are similar enough to be looked at."""


def files_of(data: Path, name: str) -> list[Path]:
    """The untouched photographs."""
    if name == "clothing":
        return sorted(clothing(data).glob("*/*.jpg"))
    return sorted((data / "imagenet-samples").glob("*.JPEG"))


def import_all(workspace: Path, files: Sequence[Path], copies: Path | None) -> None:
    """Originals, and the copies; any labels will do."""
    with temporary_folder() as folder, Store(workspace) as store:
        (folder / "originals").mkdir()
        for path in files:
            (folder / "originals" / path.name).write_bytes(path.read_bytes())
        if copies is not None:
            copies.rename(folder / "copies")
        import_source(store, scan_folder(folder, ["originals"]))


def grouped(workspace: Path) -> tuple[GroupingReport, dict[ImageId, GroupId], dict[str, ImageId]]:
    """Group a workspace: the report, the groups, the image of each file name."""
    with open_tools(Workspace(workspace), TrainingOptions()) as tools:
        features = featurize_labelled(tools, SilentProgress())
        report = group_labelled(tools, features, SilentProgress())
        again = group_labelled(tools, features, SilentProgress())
        print(f"nothing new: {again.seconds * 1000:.0f} ms")
        return report, tools.store.groups.of_images(), names_of(tools)


def names_of(tools: Tools) -> dict[str, ImageId]:
    """The image of each file name."""
    return {
        Path(entry).name: image.image_id
        for image in tools.store.labels.images()
        for entry in tools.store.entries_of(image.image_id)
    }


def recall(
    made: Mapping[str, Path], groups: Mapping[ImageId, GroupId], names: Mapping[str, ImageId]
) -> dict[str, float]:
    """Share of each kind of copy that is in its original's group."""
    found: dict[str, list[bool]] = defaultdict(list)
    for name, original in made.items():
        copy = names[name]
        if copy != names[original.name]:
            same = groups.get(copy) is not None and groups.get(copy) == groups.get(
                names[original.name]
            )
            found[kind_of(name)].append(same)
    rates = {kind: sum(values) / len(values) for kind, values in found.items()}
    every = [value for values in found.values() for value in values]
    return {"all kinds": sum(every) / len(every), **rates}


def wrong(
    made: Mapping[str, Path], groups: Mapping[ImageId, GroupId], names: Mapping[str, ImageId]
) -> list[set[str]]:
    """Groups that hold different photographs, as their names."""
    photographs: dict[GroupId, set[str]] = defaultdict(set)
    for name, image_id in names.items():
        if image_id in groups:
            photographs[groups[image_id]].add(made.get(name, Path(name)).name)
    return [
        found
        for found in photographs.values()
        if len(found) > 1 and {name[:8] for name in found} not in SAME
    ]


def judge(files: Sequence[Path], photographs: int, seed: int) -> None:
    """Print the criterion on one set of photographs."""
    picked = Random(seed).sample(list(files), min(photographs, len(files)))
    with temporary_folder() as folder:
        import_all(folder / "untouched", files, None)
        alone, groups, names = grouped(folder / "untouched")
        made = write_copies(picked, folder / "copies", seed)
        import_all(folder / "all", files, folder / "copies")
        report, groups_of_all, names_of_all = grouped(folder / "all")
    mixed, mixed_of_all = wrong({}, groups, names), wrong(made, groups_of_all, names_of_all)
    rates = recall(made, groups_of_all, names_of_all)
    show(
        f"{len(picked)} photographs x {len(TRANSFORMS)} kinds among {len(files)}",
        {
            **{f"grouped with the original: {kind}": rate for kind, rate in rates.items()},
            "wrong groups, with copies": len(mixed_of_all),
            "wrong groups, untouched": len(mixed),
            "groups, untouched": alone.groups,
            "candidates, untouched": alone.candidates,
            "seconds, untouched": alone.seconds,
            "candidates, with copies": report.candidates,
            "seconds, with copies": report.seconds,
            **machine(),
        },
    )
    for found in mixed_of_all:
        print("wrong:", " ".join(sorted(found)))


def made_up(n: int) -> tuple[Float32Array, UInt8Array]:
    """Features of which as many pairs look alike as of real photographs, and 1% are copies."""
    rng = np.random.default_rng(0)
    strengths = (1 / np.sqrt(np.arange(1, DIM + 1))).astype(np.float32)
    features = rng.standard_normal((n, DIM), dtype=np.float32)
    families = rng.integers(0, max(2, round(1 / LOOKALIKES)), n)
    shared = np.random.default_rng(1).standard_normal((families.max() + 1, DIM), dtype=np.float32)
    features += 1.2 * shared[families]
    sketches = rng.integers(0, 256, (n, 16, 16), dtype=np.uint8)
    copies = n // 100
    features[-copies:] = features[:copies] + 0.2 * features[-copies:]
    sketches[-copies:] = sketches[:copies]
    features *= strengths
    return features, sketches


def scale(n: int, files: Sequence[Path]) -> None:
    """Print how long candidates and verification of n images take."""
    features, sketches = made_up(n)
    started = time.perf_counter()
    pairs = find_candidates(features, sketches, np.ones(n, dtype=bool))
    searched = time.perf_counter()
    spec = PixelSpec(THUMBNAIL, THUMBNAIL, "pad")
    decoder = open_decoder("process")

    def decode(numbers: Sequence[int]) -> list[UInt8Array | None]:
        return [decoder.decode(files[n % len(files)].read_bytes(), spec).views[0] for n in numbers]

    with SilentProgress().task("compare", None) as task:
        list(verified(pairs, Thumbnails(decode), task))
    decoder.close()
    ended = time.perf_counter()
    show(
        f"made-up features, {n} images",
        {
            "candidates": len(pairs),
            "seconds, candidates": searched - started,
            "seconds, pixels": ended - searched,
            "seconds": ended - started,
            **machine(),
        },
    )


def main() -> None:
    """Run it."""
    arguments = parser(__doc__)
    arguments.add_argument("--set", choices=["clothing", "imagenet"], default="clothing")
    arguments.add_argument("--photographs", type=int, default=300)
    arguments.add_argument("--seed", type=int, default=7, help="which photographs, copied how")
    arguments.add_argument("--scale", type=int, help="only time this many made-up images")
    arguments.add_argument("--cells", type=int, help="compare in cells of this many images only")
    options = arguments.parse_args()
    if options.cells:
        candidates.ALL_WITH_ALL, cells.MEMBERS = 0, options.cells
    files = files_of(options.data, options.set)
    if options.scale:
        scale(options.scale, files)
    else:
        judge(files, options.photographs, options.seed)


if __name__ == "__main__":
    main()
