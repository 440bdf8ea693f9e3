"""The journal: every change to the catalogue, in order, in a file that only grows.

One line a change, and one that closes each transaction and says how many lines it has::

    {"crc":…,"record":{"format":1,"id":"…","kind":"journal"}}
    {"crc":…,"record":{"at":"…","by":"person","claim":"","image_id":"…","kind":"label",…}}
    {"crc":…,"record":{"kind":"commit","lines":1,"transaction":1}}

`record` is canonical JSON, `crc` the CRC-32 of its bytes. A transaction is written in one call
and synced before its catalogue commits; it counts once its closing line is there. What stands
after the last closing line is the rest of a write that was cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from keshikaran.errors import DamagedStoreError, StoreError
from keshikaran.hashing import write_all, write_durably, write_error
from keshikaran.store.changes import Change

_FORMAT = 1
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_HEADER_BYTES = 256  # more than the first line has
_START, _MIDDLE, _END = b'{"crc":', b',"record":', b"}\n"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a journal, between two transactions.

    Attributes:
        journal_id: which journal.
        bytes: how far from its beginning.
        transactions: how many lie before it.
    """

    journal_id: str
    bytes: int
    transactions: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """Changes that were written together.

    Attributes:
        changes: those that can be read.
        after: the place behind it.
        damage: what cannot be read, each in words; lines are counted from where reading began.
        closed: whether its closing line is there; without one it is the last.
        torn: not closed, and nothing but a write that was cut off.
    """

    changes: list[Change]
    after: Position
    damage: list[str]
    closed: bool = True

    @property
    def torn(self) -> bool:
        """Whether it is no more than the rest of a write that was cut off."""
        return not self.closed and not self.damage


class Journal:
    """The file, which need not be there yet.

    Args:
        path: usually `<workspace>/journal.jsonl`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int | None:
        """Its length in bytes; None if there is none."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return None

    def start(self) -> Position:
        """The place before the first transaction.

        Raises:
            DamagedStoreError: the first line cannot be read.
            StoreError: a newer version wrote it.
        """
        try:
            with self.path.open("rb") as file:
                line = file.readline(_HEADER_BYTES)
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}."
            raise StoreError(msg, "Check the disk and the file's permissions.") from error
        record = decode(line)
        if record is None or record.get("kind") != "journal":
            msg = f"{self.path} is damaged: its first line cannot be read."
            raise DamagedStoreError(msg, "Run: keshikaran rebuild --journal")
        if record["format"] != _FORMAT:
            msg = f"{self.path} was written by a newer version of keshikaran."
            raise StoreError(msg, "Update keshikaran, or choose another --workspace.")
        return Position(str(record["id"]), len(line), 0)

    def replace(self, changes: Iterable[Change] = ()) -> Position:
        """Start the journal anew, with `changes` as its first transaction.

        Raises:
            StoreError: the disk refuses; the old file stays.
        """
        first = encode({"kind": "journal", "format": _FORMAT, "id": secrets.token_hex(16)})
        start = Position(str(cast("Change", decode(first))["id"]), len(first), 0)
        data = _transaction(changes, 1)
        write_durably(self.path, first + data)
        return _behind(start, data)

    def append(self, changes: Sequence[Change], end: Position) -> Position:
        """Add one transaction and sync it. One process at a time: hold the catalogue's lock.

        Args:
            changes: at least one.
            end: where the journal ends now.

        Returns:
            Where it ends then.

        Raises:
            StoreError: the disk refuses; the file is as long as before.
        """
        data = _transaction(changes, end.transactions + 1)
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path, flags)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            except BaseException:
                # What a failed sync left in memory must not be read back as if it were on disk.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end.bytes)
                raise
            finally:
                os.close(descriptor)
        except OSError as error:
            raise write_error(self.path, error) from error
        return _behind(end, data)

    def cut(self, end: Position) -> None:
        """Take away the rest of a write that was cut off.

        Raises:
            StoreError: the disk refuses.
        """
        try:
            os.truncate(self.path, end.bytes)
        except OSError as error:
            raise write_error(self.path, error) from error

    def transactions(self, start: Position) -> Iterator[Transaction]:
        """What stands behind `start`, in order. Damaged lines are named and passed over.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(start.bytes)
                yield from _read(file, start)
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}."
            raise StoreError(msg, "Check the disk and the file's permissions.") from error


def encode(record: Change) -> bytes:
    """One line of the journal."""
    body = _ENCODER.encode(record).encode()
    return b"%s%d%s%s%s" % (_START, zlib.crc32(body), _MIDDLE, body, _END)


def decode(line: bytes) -> Change | None:
    """The record of one line; None if the line is not whole."""
    head, middle, rest = line.partition(_MIDDLE)
    if not (middle and head.startswith(_START) and rest.endswith(_END)):
        return None
    body = rest[: -len(_END)]
    if head[len(_START) :] != b"%d" % zlib.crc32(body):
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "kind" in record else None


def _transaction(changes: Iterable[Change], number: int) -> bytes:
    lines = [encode(change) for change in changes]
    if not lines:
        return b""
    lines.append(encode({"kind": "commit", "lines": len(lines), "transaction": number}))
    return b"".join(lines)


def _behind(place: Position, data: bytes) -> Position:
    number = place.transactions + 1 if data else place.transactions
    return Position(place.journal_id, place.bytes + len(data), number)


def _read(lines: Iterator[bytes], start: Position) -> Iterator[Transaction]:
    changes: list[Change] = []
    damage: list[str] = []
    place, end = start, start.bytes
    torn = False
    first_line = 2 if start.bytes and not start.transactions else 1
    for number, line in enumerate(lines, first_line):
        end += len(line)
        record = decode(line)
        if record is None:
            torn = not line.endswith(b"\n")  # only the last line can be without one
            if not torn:
                damage.append(f"line {number} is damaged")
        elif record["kind"] == "commit":
            after = Position(start.journal_id, end, cast("int", record["transaction"]))
            missing = _missing(record, len(changes), damage, place)
            yield Transaction(
                changes, after, [*damage, *(f"{missing} line {number}",) * bool(missing)]
            )
            changes, damage, place = [], [], after
        else:
            changes.append(record)
    if changes or damage or torn:
        after = Position(start.journal_id, end, place.transactions)
        yield Transaction(changes, after, damage, closed=False)


def _missing(closing: Change, found: int, damage: list[str], before: Position) -> str:
    """Words for what is not there at all, without a damaged line to show for it."""
    if damage:
        return ""
    if closing["transaction"] != before.transactions + 1:
        return "transactions are missing before"
    return "" if closing["lines"] == found else "lines are missing before"
