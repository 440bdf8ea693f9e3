"""What becomes of the images that Pillow tests itself with, 73 of them hostile?

At full size the source distribution is fetched by pip into a temporary folder; nothing of it is
kept. The quick size needs no network: it takes sound and damaged files made in code.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from keshikaran.pixels import Limits
from stress.bombs import bombs
from stress.child import Child, resident_mb
from stress.finding import Finding, Size
from stress.golden import golden_files

_RELEASE = "pillow==13.0.0"
_FOLDER = "/Tests/images/"
_ELSEWHERE = {".png", ".jpg", ".gif", ".webp", ".tif", ".bmp", ".ico", ".eps"}
_HANG_S = 5.0
_MOST_GROWN_MB = 30.0


def run(size: Size) -> Finding:
    """Decode every image, each in a child process."""
    tally: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    # Made before memory is looked at: what making them took is not what judging them takes.
    images = list(_generated() if size == "quick" else _released())
    before = resident_mb()
    with Child(_HANG_S, Limits()) as child:
        for name, data in images:
            answer = child.ask(data)
            tally[answer.outcome if answer.typed else "untyped"] += 1
            slowest = max(slowest, answer.seconds)
            if not answer.typed:
                failures.append(f"{name}: {answer.outcome}")
    grown = resident_mb() - before
    if grown > _MOST_GROWN_MB:
        failures.append(f"the parent grew by {grown:.0f} MB")
    figures = {
        "images": sum(tally.values()),
        "taken from": "made in code" if size == "quick" else f"the sources of {_RELEASE}",
        "crashes, hangs over 5 s, untyped outcomes": len(failures),
        "slowest, ms": slowest * 1000,
        "parent grew by, MB": grown,
        **dict(tally.most_common()),
    }
    return Finding("Does the decoder survive Pillow's own test images?", figures, failures)


def _generated() -> Iterator[tuple[str, bytes]]:
    yield from golden_files().items()
    yield from ((name, data) for name, data in bombs().items() if len(data) < 5_000_000)


def _released() -> Iterator[tuple[str, bytes]]:
    """Every test image, and those of its manual; all of them, not only what we accept."""
    with tempfile.TemporaryDirectory(prefix="keshikaran-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", folder, _RELEASE]
        subprocess.run(command, check=True, timeout=600)
        (archive,) = Path(folder).glob("pillow-*.tar.gz")
        with tarfile.open(archive) as sources:
            for member in sources:
                if member.isfile() and _is_picture(member.name):
                    content = sources.extractfile(member)
                    assert content is not None
                    yield Path(member.name).name, content.read()


def _is_picture(name: str) -> bool:
    return _FOLDER in name or Path(name).suffix in _ELSEWHERE
