"""How close does featurizing come to what decoding and inference alone would allow?

In each round, on the same files: decode only, infer only, then both through `infer_many` as
featurize and predict do. The bound is cores / (decode CPU-seconds + inference CPU-seconds for an
image), each taken from the processor time the process spends on that work alone, on all cores.
Both together decode in child processes, as commands do, and once more without; the bound knows
nothing of children. On a busy machine only the processor times mean something.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import machine, median_of, parser, photographs, show
from keshikaran.backbones import Engine, load_backbone, open_engine, usable_cores
from keshikaran.backbones.openvino_engine import has_bf16
from keshikaran.inference import Pipeline, infer_many
from keshikaran.pixels import Decoder, InProcessDecoder, PixelSpec, read_pixels
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.training import DEFAULT_RESIZE_MODE
from keshikaran.types import Precision
from tree import cpu_s


def one_round(
    files: list[Path], engine: Engine, spec: PixelSpec, decoders: dict[str, Decoder]
) -> dict[str, float]:
    """Rates in images a second, and what part of the bound both together reach."""
    cores = usable_cores()
    # A sample to infer on: keeping every picture would time the system's memory, not decoding.
    kept = [read_pixels(path.read_bytes(), spec) for path in files[::10]]
    size = engine.batch_size
    calls = [
        np.stack([kept[(start + index) % len(kept)] for index in range(size)])
        for start in range(0, len(files), size)
    ]

    def decode(path: Path) -> None:
        read_pixels(path.read_bytes(), spec)

    with ThreadPoolExecutor(cores) as pool:
        decoding = timed(lambda: list(pool.map(decode, files)))
    with ThreadPoolExecutor(engine.streams) as pool:
        inferring = timed(lambda: list(pool.map(engine.infer, calls)))
    count = len(files)
    alone_s = decoding.cpu_s + inferring.cpu_s
    bound = count * cores / alone_s
    figures = {
        "decode only, images/s": count / decoding.wall_s,
        "decode only, CPU-ms an image": 1e3 * decoding.cpu_s / count,
        "infer only, images/s": count / inferring.wall_s,
        "infer only, CPU-ms an image": 1e3 * inferring.cpu_s / count,
        "bound, images/s": bound,
    }
    for name, decoder in decoders.items():
        items = ((path, path.read_bytes) for path in files)
        pipeline = Pipeline(decoder, engine, spec)
        both = timed(lambda: sum(1 for _ in infer_many(items, pipeline)))  # noqa: B023
        figures |= {
            f"both, {name}: images/s": count / both.wall_s,
            f"both, {name}: CPU-ms an image": 1e3 * both.cpu_s / count,
            f"both, {name}: rate / bound": count / both.wall_s / bound,
            f"both, {name}: CPU of each alone / CPU of both": alone_s / both.cpu_s,
        }
    return figures


@dataclass(frozen=True)
class Timed:
    """Seconds on the wall, and on the processors with those of child processes."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Timed:
    """Run once."""
    wall, cpu = time.perf_counter(), cpu_s(os.getpid())
    work()
    return Timed(time.perf_counter() - wall, cpu_s(os.getpid()) - cpu)


def main() -> None:
    """Measure f32, and bf16 where the processor has it."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=1200)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    files = photographs(chosen.data, chosen.images)
    backbone = load_backbone()
    spec = PixelSpec(backbone.height, backbone.width, DEFAULT_RESIZE_MODE)
    decoders: dict[str, Decoder] = {"isolated": IsolatedDecoder(), "off": InProcessDecoder()}
    precisions: list[Precision] = ["f32", "bf16"] if has_bf16() else ["f32"]
    for precision in precisions:
        engine = open_engine(backbone.model, precision=precision)
        one_round(files[:50], engine, spec, decoders)
        rounds = [one_round(files, engine, spec, decoders) for _ in range(chosen.rounds)]
        figures = {"images": len(files), "rounds": len(rounds), **median_of(rounds)}
        show(f"featurize against its bound, {precision}", {**machine(), **figures})


if __name__ == "__main__":
    main()
