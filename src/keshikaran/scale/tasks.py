"""What one machine is given at once: some images, named so that the same work is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TASK_FORMAT = 1
PIECES_PER_TASK = 1024
"""Images that a task holds on average; what the death of a machine costs at most, for each core."""

TaskKind = Literal["objects", "files", "archive", "held"]
"""Files of a store, files that fsspec reaches, an archive that it reaches, bytes sent along."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One image of a task, or the archive that is all of it.

    Attributes:
        name: what people call it: an image id, or an address.
        place: where it is: an extension, a path of the file system, or its bytes in base64.
        stamp: what changes with its bytes, as far as a listing tells; empty if nothing does.
        size: bytes, -1 if a listing did not tell.
    """

    name: str
    place: str
    stamp: str = ""
    size: int = -1


@dataclass(frozen=True, slots=True)
class Task:
    """Images that one machine reads, decodes and infers, and whose rows make one shard.

    Attributes:
        work: names the task: equal for equal images and an equal purpose, 32 hex digits.
        kind: where its images are.
        root: the folder of a store, or an address that fsspec takes; names the file system.
        pieces: the images, in order.
    """

    work: str
    kind: TaskKind
    root: str
    pieces: tuple[Piece, ...]

    def to_json(self) -> str:
        """As plain text: nothing of ours is pickled on its way to another machine."""
        pieces = [[piece.name, piece.place, piece.stamp, piece.size] for piece in self.pieces]
        return json.dumps([self.work, self.kind, self.root, pieces])

    @staticmethod
    def from_json(text: str) -> Task:
        """What `to_json` wrote."""
        work, kind, root, pieces = json.loads(text)
        return Task(work, kind, root, tuple(Piece(*piece) for piece in pieces))


def cut(
    kind: TaskKind,
    root: str,
    pieces: Iterable[Piece],
    purpose: dict[str, Any],
    *,
    size: int = PIECES_PER_TASK,
) -> list[Task]:
    """Deal pieces to tasks by the hash of their names.

    Which task a piece is in depends on its name and, roughly, on how many there are: a few more
    images change the tasks that they fall into and leave the others, and their shards, as they are.

    Args:
        kind: of all of them.
        root: see `Task`.
        pieces: in any order; each name once.
        purpose: what is done with them; everything that decides a row.
        size: pieces to a task, on average at most.

    Returns:
        Tasks in the order of the hashes, none of them empty, pieces by name.
    """
    ordered = sorted(pieces, key=lambda piece: piece.name)
    bits = max(0, (-(-len(ordered) // size) - 1).bit_length())
    dealt: dict[int, list[Piece]] = {}
    for piece in ordered:
        dealt.setdefault(_prefix(piece.name, bits), []).append(piece)
    return [task_of(kind, root, dealt[prefix], purpose) for prefix in sorted(dealt)]


def task_of(kind: TaskKind, root: str, pieces: Sequence[Piece], purpose: dict[str, Any]) -> Task:
    """One task of these pieces; its name does not depend on where the pieces lie."""
    said = [TASK_FORMAT, kind, purpose, [[piece.name, piece.stamp] for piece in pieces]]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    work = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Task(work, kind, root, tuple(pieces))


def _prefix(name: str, bits: int) -> int:
    """The first bits of a name's hash."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)
