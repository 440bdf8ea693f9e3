"""`skipped.csv`: every file that could not be used, and why, for people and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from keshikaran.hashing import write_durably
from keshikaran.types import ImportReason, Refusal

_HEADER = ["path", "stage", "reason", "detail"]


def write_skipped(path: Path, refusals: Sequence[Refusal]) -> None:
    """Write the list.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((r.path, r.stage, r.reason, r.detail) for r in refusals)
    write_durably(path, text.getvalue().encode())


def update_skipped(path: Path, refusals: Sequence[Refusal]) -> None:
    """Write what imports refused, and keep what the last training could not decode.

    Raises:
        StoreError: as for `write_skipped`.
    """
    kept = _undecodable(path)
    if refusals or kept or path.exists():
        write_skipped(path, [*refusals, *kept])


def _undecodable(path: Path) -> list[Refusal]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []  # none yet, or not as we wrote it: the next training makes a new one
    return [
        Refusal(place, "decode", cast("ImportReason", reason), detail)
        for place, stage, reason, detail in (row for row in rows if len(row) == len(_HEADER))
        if stage == "decode"
    ]
