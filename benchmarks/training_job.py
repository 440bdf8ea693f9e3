"""How much faster is the whole job than the seed's recipe in Keras on the same files?

Keras reads the tree of links that `keshikaran link` writes, in an environment of its own, with
random weights of the same network (timing only). By default it runs a few epochs and ten are
extrapolated: the first, plus nine times the median of the later ones, plus the test.
Ours run from an empty workspace (cold) and again (warm), report and TensorBoard included. Two
comparisons are printed: work against work (what `train` itself takes, against Keras' epochs and
test), and whole process against whole process (both with their start-up).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.environment import ensure_environment, run_json
from common import clothing, keshikaran, machine, parser, show, temporary_folder
from keshikaran.backbones.openvino_engine import has_bf16

_SCRIPT = Path(__file__).parent / "baselines" / "keras_seed_recipe.py"


def keras(source: Path, folder: Path, epochs: int) -> dict[str, Any]:
    """Run the seed's recipe on a tree of links."""
    place = ["--workspace", str(folder / "links")]
    keshikaran("import", str(source), "--positive", "dress", *place, "--json")
    keshikaran("link", str(folder / "tree"), *place)
    return run_json(
        ensure_environment("keras"), _SCRIPT, [str(folder / "tree"), "--epochs", str(epochs)]
    )


def ours(state: str, source: Path, workspace: Path, precision: str) -> tuple[dict[str, Any], float]:
    """Train once; returns the printed object and wall seconds of the process."""
    named = [str(source), "--positive", "dress", "--positive", "skirt", "--positive", "shorts"]
    result, wall, _ = keshikaran(
        "train",
        *([] if state == "warm, nothing to import" else named),
        *("--precision", precision, "--workspace", str(workspace), "--json"),
    )
    return result, wall


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--epochs", type=int, default=3, help="Keras epochs to run")
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    source = clothing(chosen.data)
    rows: dict[str, Any] = dict(machine())
    walls: dict[str, list[float]] = {}
    with temporary_folder() as folder:
        for number in range(chosen.rounds):
            for precision in ["f32", "bf16"] if has_bf16() else ["f32"]:
                workspace = folder / f"{precision}-{number}"
                for state in ("cold", "warm, same sources again", "warm, nothing to import"):
                    result, wall = ours(state, source, workspace, precision)
                    walls.setdefault(f"{precision} {state}: whole process", []).append(wall)
                    total = result["timing_s"]["total"]
                    walls.setdefault(f"{precision} {state}: train itself", []).append(total)
                    rows[f"{precision} {state}: stages"] = result["timing_s"]
        seed = keras(source, folder, chosen.epochs)
    whole = float(seed["extrapolated_total_s_for_10_epochs"])
    rows["seed's recipe in Keras, image passes/s"] = seed["image_passes_per_s"]
    rows["seed's recipe in Keras, ten epochs, s"] = whole
    rows["seed's recipe in Keras, start-up, s"] = seed["setup_s"]
    rows["seed's recipe in Keras, peak memory, MB"] = seed["peak_rss_mb"]
    for name, values in walls.items():
        median = sorted(values)[len(values) // 2]
        rows[f"{name}, s (median)"] = median
        theirs = whole + float(seed["setup_s"]) if "whole process" in name else whole
        rows[f"{name}, times faster"] = theirs / median
    show("the whole training job", rows)


if __name__ == "__main__":
    main()
