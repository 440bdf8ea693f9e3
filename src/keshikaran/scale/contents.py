"""A task → the bytes of its images, read ahead while others are decoded."""

from __future__ import annotations

import base64
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from keshikaran.errors import ImageRefusedError, SourceError
from keshikaran.hashing import image_id_of
from keshikaran.ingest.archives import Archive
from keshikaran.ingest.entries import Entry, LocalFile
from keshikaran.ingest.remote import RemoteFile
from keshikaran.pixels import Limits
from keshikaran.scale.listing import in_words, open_files
from keshikaran.scale.tasks import Piece, Task
from keshikaran.store import BlobStore
from keshikaran.types import ImageId, ImportReason, Refusal

_AHEAD = 16  # they wait for a disk or the network
_TRIES = 3
_PAUSE_S = 0.5
_MOST_ARCHIVE_BYTES = 256 << 30


@dataclass(frozen=True, slots=True)
class Taken:
    """One image of a task.

    Attributes:
        name: what people call it.
        data: its bytes; empty if there are none.
        image_id: of the bytes; None if there are none.
        refusal: why there are none: code and words.
    """

    name: str
    data: bytes = b""
    image_id: ImageId | None = None
    refusal: tuple[ImportReason, str] | None = None


def contents_of(task: Task, limits: Limits) -> Iterator[Taken]:
    """The images of a task, in order; a few are in memory at a time.

    Args:
        task: what to read.
        limits: what an image file may be.

    Raises:
        SourceError: the task's file system or the store's folder is not there on this machine.
    """
    if task.kind == "archive":
        yield from _members(task, limits)
        return
    read = _reader(task, limits)
    jobs = (partial(_take, piece, read) for piece in task.pieces)
    yield from _ahead(jobs)


def _reader(task: Task, limits: Limits) -> Callable[[Piece], bytes]:
    if task.kind == "held":
        return lambda piece: base64.b64decode(piece.place)
    if task.kind == "objects":
        blobs = BlobStore(_there(task.root))
        return lambda piece: blobs.read(ImageId(piece.name), piece.place)
    if task.root == "file://":
        return lambda piece: LocalFile(piece.place).read(limits).data
    files = open_files(task.root)
    return lambda piece: _remote(files, piece).read(limits).data


def _remote(files: Any, piece: Piece) -> RemoteFile:  # noqa: ANN401 - fsspec has no types
    return RemoteFile(files, piece.place, piece.size if piece.size >= 0 else None, None)


def _there(root: str) -> Path:
    folder = Path(root)
    if not folder.is_dir():
        msg = f"The folder {root} is not there."
        hint = "Keep the workspace on a disk that all machines see under the same path."
        raise SourceError(msg, hint)
    return folder


def _take(piece: Piece, read: Callable[[Piece], bytes]) -> Taken:
    for left in reversed(range(_TRIES)):
        try:
            data = read(piece)
        except ImageRefusedError as refusal:
            if left and refusal.reason == "unreadable_file":
                time.sleep(_PAUSE_S)
                continue
            return Taken(piece.name, refusal=(refusal.reason, refusal.detail))
        return Taken(piece.name, data, image_id_of(data))
    raise AssertionError


def _ahead(jobs: Iterable[Callable[[], Taken]]) -> Iterator[Taken]:
    """Run jobs some way ahead of whoever takes their results."""
    waiting = iter(jobs)
    pending: deque[Future[Taken]] = deque()
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="keshikaran-read") as pool:
        try:
            pending.extend(pool.submit(job) for job in islice(waiting, _AHEAD))
            while pending:
                taken = pending.popleft().result()
                pending.extend(pool.submit(job) for job in islice(waiting, 1))
                yield taken
        finally:
            for future in pending:
                future.cancel()


def _members(task: Task, limits: Limits) -> Iterator[Taken]:
    """The images of an archive: WebDataset's samples, or all members that are images."""
    (piece,) = task.pieces
    try:
        with _fetched(task.root, piece) as path:
            for entry in Archive(path, (), (), 0, is_webdataset=True).walk(limits):
                yield _member(piece.name, entry, limits)
    except SourceError as error:
        yield Taken(piece.name, refusal=("unreadable_file", error.what))


def _member(archive: str, entry: Entry | Refusal, limits: Limits) -> Taken:
    if isinstance(entry, Refusal):
        return Taken(f"{archive}!/{entry.path}", refusal=(entry.reason, entry.detail))
    name = f"{archive}!/{entry.name}"
    try:
        data = entry.content.read(limits).data
    except ImageRefusedError as refusal:
        return Taken(name, refusal=(refusal.reason, refusal.detail))
    return Taken(name, data, image_id_of(data))


@contextmanager
def _fetched(root: str, piece: Piece) -> Iterator[Path]:
    """An archive as a file of this machine."""
    if root == "file://":
        yield Path(piece.place)
        return
    if piece.size > _MOST_ARCHIVE_BYTES:
        msg = f"{piece.name} has {piece.size:,} bytes."
        raise SourceError(msg, "Cut it into smaller archives.")
    with tempfile.TemporaryDirectory(prefix="keshikaran-archive-") as place:
        path = Path(place) / (piece.place.rpartition("/")[2] or "archive")
        try:
            open_files(root).get_file(piece.place, str(path))
        except Exception as error:  # each store has exceptions of its own
            msg = f"{piece.name} cannot be fetched: {in_words(error)}."
            raise SourceError(msg, "Check the address, and your access to it.") from error
        yield path
