"""The file that lists addresses: one a line, or a table with the header `url,value`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from keshikaran.errors import SourceError
from keshikaran.types import Label

_HEADER = ["url", "value"]
_PASSWORD = re.compile(r"//[^/?#]*@")


@dataclass(slots=True)
class UrlEntry:
    """One address.

    Attributes:
        url: as it was written.
        claims: what the list says about it: names of entries and their labels. More than one
            when the list names the address again with another value.
    """

    url: str
    claims: list[tuple[str, Label | None]] = field(default_factory=list)

    def claim(self, line: int, label: Label | None) -> None:
        """Add what another line says; the same again adds nothing."""
        if label not in [said for _, said in self.claims]:
            name = _PASSWORD.sub("//***@", self.url)
            self.claims.append((f"{name} (line {line})" if self.claims else name, label))


def read_url_list(path: Path, label: Label | None = None) -> list[UrlEntry]:
    """Read a list of addresses; each comes once, in the order of the file.

    Args:
        path: a text file, or a CSV file that starts with `url,value`; empty lines and, in text
            files, lines that start with `#` do not count.
        label: what to say about all addresses of a text file.

    Raises:
        SourceError: the file cannot be read, or a line of it makes no sense.
    """
    found: dict[str, UrlEntry] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            is_table = file.readline().strip().lower() == ",".join(_HEADER)
            file.seek(0)
            lines = _table(path, csv.reader(file)) if is_table else _text(file, label)
            for line, url, value in lines:
                found.setdefault(url, UrlEntry(url)).claim(line, value)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as a list of addresses: {error}."
        raise SourceError(msg, "Check the path, and save the file as UTF-8.") from error
    if is_table and label is not None:
        msg = f"{path} has values of its own."
        raise SourceError(msg, "Leave --label out.")
    return list(found.values())


def _text(lines: Iterator[str], label: Label | None) -> Iterator[tuple[int, str, Label | None]]:
    for number, line in enumerate(lines, start=1):
        url = line.strip()
        if url and not url.startswith("#"):
            yield number, url, label


def _table(path: Path, rows: Iterator[list[str]]) -> Iterator[tuple[int, str, Label | None]]:
    next(rows)
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(_HEADER) or row[1].strip() not in {"0", "1", ""}:
            msg = f"{path}, row {number}: {','.join(row)[:80]!r} is no address and value."
            raise SourceError(msg, "Write: url,value. Values are 0, 1 or nothing.")
        value = row[1].strip()
        yield number, row[0].strip(), cast("Label", int(value)) if value else None
