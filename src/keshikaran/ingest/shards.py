"""Names of archives: which files are taken for one, and ranges of shards."""

from __future__ import annotations

import math
import re
from itertools import product

from keshikaran.errors import UsageError

_NAME = re.compile(r".*\.(zip|tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST = 100_000


def is_archive_name(name: str) -> bool:
    """Whether a file of that name is taken for an archive; its content says which kind."""
    return _NAME.fullmatch(name) is not None


def expand_shards(text: str) -> list[str]:
    """Replace ranges as in `shard-{000..009}.tar`, leading zeros kept; no range, no change.

    Raises:
        UsageError: they stand for absurdly many files, or for none.
    """
    parts = _RANGE.split(text)  # text, first, last, text, first, last, text …
    ends = list(zip(parts[1::3], parts[2::3], strict=True))
    count = math.prod(max(0, int(last) - int(first) + 1) for first, last in ends)
    if not 0 < count <= _MOST:
        msg = f"{text} stands for {count:,} files."
        raise UsageError(msg, f"Name between 1 and {_MOST:,} at once.")
    numbers = [
        [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
        for first, last in ends
    ]
    pattern = "{}".join(part.replace("{", "{{").replace("}", "}}") for part in parts[0::3])
    return [pattern.format(*chosen) for chosen in product(*numbers)]
