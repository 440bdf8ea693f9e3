"""Does fine-tuning that was killed and started again end as it would have ended?

Once undisturbed, once with SIGKILL within a later epoch, on the same photographs and sides: the
validation log-loss of the network that comes of it may differ by 1e-4. Needs the extra `torch`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

import common
from keshikaran.backbones.taught import METADATA_KEY

MOST_DIFFERENCE = 1e-4
_EPOCH = re.compile(r"epoch +(\d+)/")


@dataclass(frozen=True)
class Place:
    """A workspace and the networks that were taught in it."""

    folder: Path

    def command(self, *words: str) -> subprocess.Popen[str]:
        """Begin `train`."""
        usual = ("--workspace", str(self.folder / "ws"), "--no-tensorboard", "--json")
        return subprocess.Popen(
            [sys.executable, "-m", "keshikaran", "train", *words, *usual],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "KESHIKARAN_BACKBONES": str(self.folder / "backbones")},
        )

    def run(self, *words: str) -> list[str]:
        """The lines that `train` says, to its end."""
        with self.command(*words) as process:
            lines = list(process.stderr or ())
        if process.returncode not in (0, 3):
            sys.exit("".join(lines))
        return lines

    def killed(self, after: int, wait_s: float, *words: str) -> None:
        """Kill `train` some seconds after it has said that an epoch is over."""
        with self.command(*words) as process:
            for line in process.stderr or ():
                found = _EPOCH.match(line)
                if found is not None and int(found[1]) >= after:
                    time.sleep(wait_s)
                    process.send_signal(signal.SIGKILL)
                    break
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"It had ended with {process.returncode} before it could be killed.")

    def loss(self) -> float:
        """Validation log-loss of the one network that was taught here."""
        (path,) = (self.folder / "backbones").glob("*.onnx")
        model = onnx.load(path)
        notes = {entry.key: entry.value for entry in model.metadata_props}
        facts: dict[str, Any] = json.loads(notes[METADATA_KEY])
        return float(facts["validation_loss"][1])


def main() -> None:
    """Teach twice, kill one of the two twice, compare."""
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--kill-after", type=int, nargs="+", default=[1, 2], metavar="EPOCH")
    parser.add_argument("--wait-s", type=float, default=2.0, help="into the next epoch")
    arguments = parser.parse_args()
    with common.temporary_folder() as folder:
        chosen = _chosen(arguments.data, arguments.images, folder / "images")
        calm, troubled = Place(folder / "calm"), Place(folder / "troubled")
        positives = [word for name in common.TASKS[0] for word in ("--positive", name)]
        for place in (calm, troubled):
            place.run(str(chosen), *positives)
        teach = ("--finetune", "--epochs", str(arguments.epochs))
        undisturbed = calm.run(*teach)
        for epoch in arguments.kill_after:
            troubled.killed(epoch, arguments.wait_s, *teach)
        resumed = troubled.run(*teach)
        print("".join(undisturbed), "".join(resumed), sep="\n--- killed and started again\n")
        losses = calm.loss(), troubled.loss()
    gap = abs(losses[0] - losses[1])
    rows = {
        "images": arguments.images,
        "killed after epochs": arguments.kill_after,
        "validation log-loss, undisturbed": losses[0],
        "validation log-loss, killed": losses[1],
        "difference": gap,
        "allowed": MOST_DIFFERENCE,
        "holds": gap <= MOST_DIFFERENCE,
    }
    print(f"difference {gap:.2e}")
    common.show("Fine-tuning killed and resumed", rows)


def _chosen(data: Path, images: int, folder: Path) -> Path:
    for path in common.photographs(data, images):
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


if __name__ == "__main__":
    main()
