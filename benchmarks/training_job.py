"""How much faster is the whole job than the seed's recipe in Keras on the same files?

Keras reads the tree of links that `keshikaran link` writes, in an environment of its own, with
random weights of the same network (timing only). By default it runs a few epochs and ten are
extrapolated: the first, plus nine times the median of the later ones, plus the test.
Ours are whole processes, start-up and report included, from an empty workspace.
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


def ours(source: Path, workspace: Path, precision: str) -> tuple[dict[str, Any], float]:
    """Train once; returns the printed object and wall seconds of the process."""
    result, wall, _ = keshikaran(
        "train",
        str(source),
        *("--positive", "dress", "--positive", "skirt", "--positive", "shorts"),
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
                for state in ("cold", "warm"):
                    result, wall = ours(source, workspace, precision)
                    walls.setdefault(f"{precision} {state}", []).append(wall)
                    rows[f"{precision} {state}: stages"] = result["timing_s"]
        seed = keras(source, folder, chosen.epochs)
    whole = float(seed["extrapolated_total_s_for_10_epochs"])
    rows["seed's recipe in Keras, image passes/s"] = seed["image_passes_per_s"]
    rows["seed's recipe in Keras, ten epochs, s"] = whole
    rows["seed's recipe in Keras, peak memory, MB"] = seed["peak_rss_mb"]
    for name, values in walls.items():
        median = sorted(values)[len(values) // 2]
        rows[f"{name}: whole process, s (median)"] = median
        rows[f"{name}: times faster"] = whole / median
    show("the whole training job", rows)


if __name__ == "__main__":
    main()
