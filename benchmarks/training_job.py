"""How much faster is the whole job than the seed's recipe in Keras on the same files?

Keras reads the tree of links that `keshikaran link` writes, in an environment of its own, with
random weights of the same network (timing only). By default it runs two epochs and ten are
extrapolated: the first, plus nine times the median of the later ones, plus the test.
Ours run from an empty workspace (cold) and again (warm), report and TensorBoard included. Both
take turns in every round, since machines speed up and slow down; each round gives a ratio, and
the median of the ratios is what counts. Two comparisons are printed: work against work (what
`train` itself takes, against Keras' epochs and test), and whole process against whole process
(both with their start-up).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.environment import ensure_environment, run_json
from common import (
    clothing,
    keshikaran,
    machine,
    median_of,
    parser,
    show,
    temporary_folder,
)
from keshikaran.backbones.openvino_engine import has_bf16

_SCRIPT = Path(__file__).parent / "baselines" / "keras_seed_recipe.py"


STATES = ("cold", "warm, same sources again", "warm, nothing to import")


def link_tree(source: Path, folder: Path) -> Path:
    """The tree of links that Keras reads."""
    place = ["--workspace", str(folder / "links")]
    keshikaran("import", str(source), "--positive", "dress", *place, "--json")
    keshikaran("link", str(folder / "tree"), *place)
    return folder / "tree"


def keras(tree: Path, epochs: int) -> dict[str, Any]:
    """Run the seed's recipe."""
    return run_json(ensure_environment("keras"), _SCRIPT, [str(tree), "--epochs", str(epochs)])


def ours(state: str, source: Path, workspace: Path, precision: str) -> tuple[dict[str, Any], float]:
    """Train once; returns the printed object and wall seconds of the process."""
    named = [str(source), "--positive", "dress", "--positive", "skirt", "--positive", "shorts"]
    result, wall, _ = keshikaran(
        "train",
        *([] if state == "warm, nothing to import" else named),
        *("--precision", precision, "--workspace", str(workspace), "--json"),
    )
    return result, wall


def one_round(source: Path, tree: Path, epochs: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Keras, then ours in each precision and state.

    Returns:
        Seconds and ratios by name, and the stages of our last runs.
    """
    seed = keras(tree, epochs)
    whole = float(seed["extrapolated_total_s_for_10_epochs"])
    seconds = {
        "Keras: ten epochs and test, s": whole,
        "Keras: start-up, s": float(seed["setup_s"]),
        "Keras: image passes/s": float(seed["image_passes_per_s"]),
        "Keras: peak memory, MB": float(seed["peak_rss_mb"]),
    }
    stages: dict[str, Any] = {}
    for precision in ["f32", "bf16"] if has_bf16() else ["f32"]:
        with temporary_folder() as workspace:
            for state in STATES:
                result, wall = ours(state, source, workspace / "w", precision)
                name = f"{precision} {state}"
                total = result["timing_s"]["total"]
                seconds[f"{name}: whole process, s"] = wall
                seconds[f"{name}: train itself, s"] = total
                seconds[f"{name}: whole process, times faster"] = (whole + seed["setup_s"]) / wall
                seconds[f"{name}: train itself, times faster"] = whole / total
                stages[f"{name}: stages"] = result["timing_s"]
    return seconds, stages


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument(
        "--epochs",
        type=int,
        default=2,
        help="Keras epochs to run: two at least, since ten are extrapolated from the later ones",
    )
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    if chosen.epochs < 2:
        options.error("--epochs must be at least 2: the first one says nothing about a later one.")
    source = clothing(chosen.data)
    rounds: list[dict[str, float]] = []
    with temporary_folder() as folder:
        tree = link_tree(source, folder)
        for _ in range(chosen.rounds):
            figures, stages = one_round(source, tree, chosen.epochs)
            rounds.append(figures)
            show("one round of the whole training job", figures)
    show("the whole training job", {**machine(), **median_of(rounds), **stages})


if __name__ == "__main__":
    main()
