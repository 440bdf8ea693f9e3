"""Coverage-guided fuzzing of the decoder, by atheris.

Not part of the tests, and atheris is no dependency of theirs. In an environment that has both it
and this package::

    python -m stress.fuzz_decoder -max_total_time=600 CORPUS

CORPUS is a folder, empty or with what an earlier run found; sound files of every kind are put
into it first. A finding is a traceback, a crash or a hang, and leaves a file with the bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["keshikaran.pixels", "PIL"]):
    from keshikaran.errors import ImageRefusedError
    from keshikaran.pixels import EXTRA_FORMATS, FORMATS, Limits, PixelSpec, decode_image

from stress.golden import golden_files

_SPECS = [PixelSpec(16, 12, "crop"), PixelSpec(16, 12, "pad"), PixelSpec(16, 12, "stretch")]
# Small ones: the question is what a file does, not how long a large one takes.
_LIMITS = Limits(
    max_pixels=1_000_000,
    max_total_pixels=8_000_000,
    formats=FORMATS | (EXTRA_FORMATS & {"avif"}),
)


def one_input(data: bytes) -> None:
    """Decode; anything but pixels or a refusal escapes and is a finding."""
    try:
        views = decode_image(data, _SPECS[len(data) % len(_SPECS)], _LIMITS).views
    except ImageRefusedError:
        return
    assert views.shape[1:] == (16, 12, 3)


def main() -> None:
    """Write the sound files into the first folder named, and fuzz."""
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in golden_files().items():
            (folder / name).write_bytes(data)
    atheris.Setup([*sys.argv, "-timeout=5", "-rss_limit_mb=4096"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
