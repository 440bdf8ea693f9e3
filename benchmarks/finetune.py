"""What does fine-tuning bring over the frozen network, and what does it cost?

Four tasks on photographs of clothing, several salts, paired: the same images, the same sides. The
questions: does it win on at least three tasks, in at most 20 minutes each, with a calibration error
of at most 0.03? Takes hours on two processor cores: `--tasks`, `--salts` and `--first-salt` do a
part.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import common

FIGURES = ("roc_auc", "log_loss", "ece")
MOST_MINUTES, MOST_ECE = 20.0, 0.03


def main() -> None:
    """Train twice for each task and salt; print every pair, means, and what holds."""
    parser = common.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=len(common.TASKS))
    parser.add_argument("--salts", type=int, default=3)
    parser.add_argument("--first-salt", type=int, default=0)
    parser.add_argument("--options", default="", help="of `train --finetune`, e.g. '--epochs 5'")
    arguments = parser.parse_args()
    images = common.clothing(arguments.data)
    rows = [
        _pair(images, positives, f"finetune-{number}", arguments.options.split())
        for number in range(arguments.first_salt, arguments.first_salt + arguments.salts)
        for positives in common.TASKS[: arguments.tasks]
    ]
    _summarise(rows)


def _pair(
    images: Path, positives: tuple[str, ...], salt: str, options: list[str]
) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="keshikaran-finetune-"))
    try:
        words = [word for name in positives for word in ("--positive", name)]
        usual = ("--workspace", str(folder), "--salt", salt, "--no-tensorboard", "--json")
        frozen = _train(folder, str(images), *words, *usual)
        tuned = _train(folder, "--finetune", *options, *usual)
    finally:
        shutil.rmtree(folder)
    row: dict[str, Any] = {
        "task": "+".join(positives),
        "salt": salt,
        "minutes": tuned["seconds"] / 60,
    }
    for figure in FIGURES:
        row[figure] = [one["metrics"]["test"][figure] for one in (frozen, tuned)]
    gap = row["roc_auc"][1] - row["roc_auc"][0]
    print(
        f"{row['task']:<20} {salt}"
        f"  AUC {row['roc_auc'][0]:.4f} → {row['roc_auc'][1]:.4f} ({gap:+.4f})"
        f"  log-loss {row['log_loss'][0]:.4f} → {row['log_loss'][1]:.4f}"
        f"  ECE {row['ece'][0]:.3f} → {row['ece'][1]:.3f}  {row['minutes']:.1f} min",
        flush=True,
    )
    return row


def _train(folder: Path, *words: str) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "keshikaran", "train", *words],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, "KESHIKARAN_BACKBONES": str(folder / "backbones")},
    )
    if done.returncode not in (0, 3):
        sys.exit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "seconds": time.perf_counter() - started}


def _summarise(rows: list[dict[str, Any]]) -> None:
    print()
    wins = 0
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        gaps = np.array([row["roc_auc"][1] - row["roc_auc"][0] for row in mine])
        wins += bool(gaps.mean() > 0)
        worst = max(row["ece"][1] for row in mine)
        longest = max(row["minutes"] for row in mine)
        print(
            f"{task:<20} mean gain in AUC {gaps.mean():+.4f} over {len(mine)} salts"
            f" ({int((gaps > 0).sum())} better), worst ECE {worst:.3f}"
            f" ({'holds' if worst <= MOST_ECE else 'too high'}), longest {longest:.1f} min"
            f" ({'holds' if longest <= MOST_MINUTES else 'too long'})"
        )
    print(f"better on {wins} tasks")


if __name__ == "__main__":
    main()
