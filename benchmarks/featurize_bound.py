"""How close does featurizing come to what decoding and inference alone would allow?

In each round, on the same files: decode only, infer only, then both through `infer_many` as
featurize and predict do. The bound is cores / (decode CPU-seconds + inference CPU-seconds for an
image), each taken from the rate that all cores reach together at that work alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import machine, median_of, parser, photographs, seconds, show
from keshikaran.backbones import Engine, load_backbone, open_engine, usable_cores
from keshikaran.backbones.openvino_engine import has_bf16
from keshikaran.inference import infer_many
from keshikaran.pixels import PixelSpec, read_pixels
from keshikaran.training import DEFAULT_RESIZE_MODE
from keshikaran.types import Precision, UInt8Array


def one_round(files: list[Path], engine: Engine, spec: PixelSpec) -> dict[str, float]:
    """Rates in images a second, and what part of the bound both together reach."""
    cores = usable_cores()
    kept: list[UInt8Array] = []

    def decode(path: Path) -> UInt8Array:
        return read_pixels(path.read_bytes(), spec)[None]

    with ThreadPoolExecutor(cores) as pool:
        decode_s = seconds(lambda: kept.extend(pool.map(decode, files)))
    with ThreadPoolExecutor(engine.streams) as pool:
        infer_s = seconds(lambda: list(pool.map(engine.infer, kept)))
    items = ((path, path.read_bytes) for path in files)
    both_s = seconds(lambda: sum(1 for _ in infer_many(items, engine, spec)))
    bound = len(files) / (decode_s + infer_s)
    return {
        "decode only, images/s": len(files) / decode_s,
        "infer only, images/s": len(files) / infer_s,
        "bound, images/s": bound,
        "both, images/s": len(files) / both_s,
        "both / bound": len(files) / both_s / bound,
    }


def main() -> None:
    """Measure f32, and bf16 where the processor has it."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=1200)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    files = photographs(chosen.data, chosen.images)
    backbone = load_backbone()
    spec = PixelSpec(backbone.height, backbone.width, DEFAULT_RESIZE_MODE)
    precisions: list[Precision] = ["f32", "bf16"] if has_bf16() else ["f32"]
    for precision in precisions:
        engine = open_engine(backbone.model, precision=precision)
        one_round(files[:50], engine, spec)
        rounds = [one_round(files, engine, spec) for _ in range(chosen.rounds)]
        figures = {"images": len(files), "rounds": len(rounds), **median_of(rounds)}
        show(f"featurize against its bound, {precision}", {**machine(), **figures})


if __name__ == "__main__":
    main()
