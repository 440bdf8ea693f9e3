"""Run every measurement, one after the other. Takes about half an hour on two cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import parser

_SCRIPTS = (
    "featurize_bound.py",
    "predict_peers.py",
    "training_job.py",
    "memory.py",
    "accuracy.py",
    "calibration.py",
    "similar.py",
    "suggest.py",
    "retrain.py",
)


def main() -> None:
    """Run them; the first failure ends the run."""
    chosen = parser(__doc__).parse_args()
    for script in _SCRIPTS:
        path = Path(__file__).parent / script
        subprocess.run([sys.executable, str(path), "--data", str(chosen.data)], check=True)


if __name__ == "__main__":
    main()
