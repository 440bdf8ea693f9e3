"""The first inferences of a process, made by many threads together, do not block each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from keshikaran.backbones import open_engine

model = Path(sys.argv[1]).read_bytes()
image = np.full((1, 32, 32, 3), 255, dtype=np.uint8)
with ThreadPoolExecutor(8) as pool:
    for outputs in pool.map(lambda _: open_engine(model).infer(image), range(8)):
        assert outputs["features"].min() == 1.0
"""


@pytest.mark.parametrize("attempt", range(4))
def test_first_inferences_together_end(backbone_file: Path, attempt: int) -> None:
    command = [sys.executable, "-c", _SCRIPT, str(backbone_file)]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), attempt
