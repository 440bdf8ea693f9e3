"""What does an NVIDIA card bring, and how close does featurizing come to its bound?

For each precision: the difference from the processor's numbers, the card's rate by size of call,
and `infer_many` over the files as featurize runs it, beside the bound that it measures itself
(decode rate of all processors, inference rate of the card). Without a card it says so and measures
nothing; `--rehearse` walks the same way on the processor, to see that the script works.

    pip install "keshikaran[cuda]"
    python benchmarks/gpu.py --images 4000                     # the photographs below --data
    python benchmarks/gpu.py --images 4000 --made-up           # where there are none
    python benchmarks/gpu.py --device tensorrt
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common import machine, parser, photographs, show
from keshikaran.backbones import Backbone, Engine, load_backbone, open_engine
from keshikaran.backbones.card_engine import CardEngine
from keshikaran.backbones.devices import MAX_BATCH, CardKind, Placement, find_card
from keshikaran.errors import KeshikaranError
from keshikaran.inference import Pipeline, infer_many
from keshikaran.pixels import PixelSpec, read_pixels
from keshikaran.pixels.isolated import IsolatedDecoder
from keshikaran.rates import Rates
from keshikaran.training import DEFAULT_RESIZE_MODE
from keshikaran.types import Precision, UInt8Array

_COMPARED = 64
_CALLS = 20


def made_up(count: int) -> list[bytes]:
    """JPEG files of 400 × 533 pixels, smooth with some grain, so that they cost what others do."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        rough = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(rough).resize((400, 533)), dtype=np.int16)
        grainy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        out = io.BytesIO()
        Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
        files.append(out.getvalue())
    return files


def files_of(data: Path, count: int, *, invented: bool) -> list[bytes]:
    """As many files as asked for, repeated where there are fewer."""
    found = made_up(256) if invented else [path.read_bytes() for path in photographs(data, count)]
    return [found[number % len(found)] for number in range(count)]


def opened(backbone: Backbone, device: CardKind, precision: Precision, *, rehearse: bool) -> Engine:
    """The network on the card, or in a rehearsal on the processor by the same code."""
    if not rehearse:
        return open_engine(backbone.model, device=device, precision=precision)
    processor = Placement(device, (("CPUExecutionProvider", {}),), "cpu")
    return CardEngine(backbone.model, processor, precision, batch_size=8)


def rates_by_size(engine: Engine, pixels: UInt8Array) -> dict[str, float]:
    """Images a second of calls one after the other."""
    found = {}
    size = 1
    while size <= engine.batch_size:
        images = np.ascontiguousarray(np.resize(pixels, (size, *pixels.shape[1:])))
        engine.infer(images)
        begun = time.perf_counter()
        for _ in range(_CALLS):
            engine.infer(images)
        found[f"calls of {size}, images/s"] = _CALLS * size / (time.perf_counter() - begun)
        size *= 4 if size < MAX_BATCH // 4 else 2
    return found


def featurized(files: list[bytes], engine: Engine, spec: PixelSpec) -> dict[str, float]:
    """The whole way, with decoding in child processes."""
    told: list[Rates] = []

    def timed(items: Iterator[Any]) -> float:
        begun = time.perf_counter()
        done = sum(1 for _ in infer_many(items, Pipeline(decoder, engine, spec), told.append))
        return done / (time.perf_counter() - begun)

    with IsolatedDecoder() as decoder:
        rate = timed((number, partial(bytes, data)) for number, data in enumerate(files))
    (rates,) = told
    return {
        "decode, all processors, images/s": rates.decode_per_s,
        "inference, images/s": rates.infer_per_s,
        "bound, images/s": rates.bound_per_s,
        "featurize, images/s": rate,
        "featurize / bound": rate / rates.bound_per_s,
    }


def main() -> None:
    """Measure, or say that there is nothing to measure on."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=4000)
    options.add_argument("--device", choices=["cuda", "tensorrt"], default="cuda")
    options.add_argument("--made-up", action="store_true", help="pictures made here")
    options.add_argument("--rehearse", action="store_true", help="on the processor")
    chosen = options.parse_args()
    backbone = load_backbone()
    card = find_card()
    where = {"card": "none" if card is None else card.name, **machine()}
    if chosen.rehearse:
        print("A REHEARSAL on the processor: no figure below says anything of a card.")
    spec = PixelSpec(backbone.height, backbone.width, DEFAULT_RESIZE_MODE)
    precisions: tuple[Precision, ...] = ("f32", "f16")
    for precision in precisions:
        try:
            engine = opened(backbone, chosen.device, precision, rehearse=chosen.rehearse)
        except KeshikaranError as error:
            print(f"Nothing was measured: {error}")
            print("JSON " + json.dumps({"title": "none", **where, "why": error.what}))
            sys.exit(0)
        files = files_of(chosen.data, chosen.images, invented=chosen.made_up)
        pixels = np.stack([read_pixels(data, spec) for data in files[:_COMPARED]])
        exact = open_engine(backbone.model, device="cpu").infer(pixels)[backbone.output]
        off = np.abs(engine.infer(pixels)[backbone.output] - exact)
        figures = {
            "images in a call": engine.batch_size,
            "off from the processor, at most": float(off.max()),
            "off from the processor, mean": float(off.mean()),
            **rates_by_size(engine, pixels),
            **featurized(files, engine, spec),
        }
        title = f"{backbone.name} on {chosen.device} in {precision}, {len(files):,} images"
        show(f"{'REHEARSAL: ' if chosen.rehearse else ''}{title}", {**where, **figures})


if __name__ == "__main__":
    main()
