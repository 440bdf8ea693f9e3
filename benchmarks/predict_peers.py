"""How fast is bulk prediction, next to ready-made packages on the same photographs?

Each round runs every contender in a process of its own on the same list of files; loading the
model is not counted for any of them. The peers run one file at a time, as their examples do, and
with the batch size that was fastest for them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from baselines.environment import ensure_environment, run_json
from common import clothing, keshikaran, machine, parser, photographs, show, temporary_folder
from keshikaran.backbones.openvino_engine import has_bf16

_PEERS = Path(__file__).parent / "baselines" / "peers.py"
_OURS = """
import json, sys, time
from pathlib import Path
from keshikaran import Predictor
predictor = Predictor.load(sys.argv[1], precision=sys.argv[2])
paths = Path(sys.argv[3]).read_text().split("\\n")
list(predictor.predict_many(paths[:8]))
started = time.perf_counter()
count = sum(1 for _ in predictor.predict_many(paths))
print(json.dumps({"images_per_s": count / (time.perf_counter() - started)}))
"""


def our_rate(model: str, precision: str, listing: Path) -> float:
    """Images a second of `Predictor.predict_many`."""
    words = [sys.executable, "-c", _OURS, model, precision, str(listing)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["images_per_s"])


def peer_rate(peer: str, listing: Path, *more: str) -> float:
    """Images a second of a peer."""
    words = ["--peer", peer, *more, str(listing)]
    return float(run_json(ensure_environment("peers"), _PEERS, words)["images_per_s"])


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=900)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    rates: dict[str, list[float]] = {}
    with temporary_folder() as folder:
        listing = folder / "list.txt"
        listing.write_text("\n".join(map(str, photographs(chosen.data, chosen.images))))
        place = ["--workspace", str(folder / "workspace"), "--json"]
        trained, _, _ = keshikaran(
            "train", str(clothing(chosen.data)), "--positive", "dress", *place
        )
        for _ in range(chosen.rounds):
            for precision in ["f32", "bf16"] if has_bf16() else ["f32"]:
                rate = our_rate(trained["model_path"], precision, listing)
                rates.setdefault(f"keshikaran {precision}", []).append(rate)
            for peer in ("opennsfw", "nudenet"):
                alone = peer_rate(peer, listing, "--batch-size", "1")
                rates.setdefault(f"{peer}, one at a time", []).append(alone)
                rates.setdefault(f"{peer}, its best batch", []).append(peer_rate(peer, listing))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    alone = max(rate for name, rate in medians.items() if "one at a time" in name)
    batched = max(rate for name, rate in medians.items() if "keshikaran" not in name)
    rows: dict[str, Any] = {**machine(), "images": chosen.images, "rounds": chosen.rounds}
    rows |= {f"{name}, images/s (median)": rate for name, rate in medians.items()}
    for name in (name for name in medians if "keshikaran" in name):
        rows[f"{name} / faster peer one at a time"] = medians[name] / alone
        rows[f"{name} / faster peer at its best batch"] = medians[name] / batched
    show("bulk prediction", rows)


if __name__ == "__main__":
    main()
