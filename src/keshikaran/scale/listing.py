"""What a person types → tasks: images that fsspec reaches, and archives of them."""

from __future__ import annotations

import base64
import hashlib
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keshikaran.errors import MissingExtraError, SourceError
from keshikaran.ingest.shards import expand_shards, is_archive_name
from keshikaran.ingest.sources import is_passed_over
from keshikaran.scale.tasks import PIECES_PER_TASK, Piece, Task, cut, task_of

_GLOB = re.compile(r"[*?\[]")
_WEB = ("http://", "https://")
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "updated", "created")


@dataclass(slots=True)
class Listed:
    """What sources hold.

    Attributes:
        tasks: all of it, in tasks.
        names: of the images and archives, in the order given.
    """

    tasks: list[Task] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def list_sources(
    sources: Sequence[str], purpose: dict[str, Any], *, size: int = PIECES_PER_TASK
) -> Listed:
    """List folders, globs, files and tar archives that fsspec reaches; nothing is read yet.

    Args:
        sources: paths of this machine, or addresses (`s3://…`, `gs://…`, `file://…`,
            `memory://…`); `shard-{000..009}.tar` for many.
        purpose: see `cut`.
        size: images to a task.

    Raises:
        MissingExtraError: fsspec is not installed.
        SourceError: a source is on the web, cannot be listed, or holds nothing.
        UsageError: a range of shards stands for none or for absurdly many.
    """
    listed = Listed()
    files: dict[str, dict[str, Piece]] = {}
    for source in sources:
        for address in _expanded(source):
            root, pieces = _list_one(address)
            for piece in pieces:
                listed.names.append(piece.name)
                if is_archive_name(piece.name):
                    listed.tasks.append(task_of("archive", root, [piece], purpose))
                else:
                    files.setdefault(root, {})[piece.name] = piece
    for root, found in files.items():
        if root == "memory://":  # no other process sees what is there
            held = [_held(piece) for piece in found.values()]
            listed.tasks += cut("held", root, held, purpose, size=size)
        else:
            listed.tasks += cut("files", root, found.values(), purpose, size=size)
    return listed


def open_files(root: str) -> Any:  # noqa: ANN401 - fsspec has no types
    """The file system that a task's root names.

    Raises:
        MissingExtraError: fsspec is not installed.
        SourceError: it needs a package that is not installed, or cannot be reached.
    """
    return _resolved(root)[0]


def _expanded(source: str) -> list[str]:
    if source.lower().startswith(_WEB):
        msg = f"{source} is an address on the web."
        raise SourceError(msg, "Write it into a file, and run: keshikaran import-urls FILE")
    return expand_shards(source) if "{" in source and ".." in source else [source]


def _list_one(address: str) -> tuple[str, list[Piece]]:
    """The file system, as an address, and what it has below or under this name."""
    files, path = _resolved(address)
    try:
        if _GLOB.search(path):
            found: dict[str, dict[str, Any]] = files.glob(path, detail=True)
        elif files.isdir(path):
            found = files.find(path, detail=True)
        else:
            found = {path: files.info(path)}
        found = {name: _followed(files, name, info) for name, info in found.items()}
    except Exception as error:  # each store has exceptions of its own
        msg = f"{address} cannot be listed: {in_words(error)}."
        raise SourceError(msg, "Check the address, and your access to it.") from error
    base = path.rstrip("/") if len(found) > 1 or path not in found else ""
    names = sorted(
        name
        for name, info in found.items()
        if info.get("type") == "file" and not _is_hidden(name.removeprefix(base))
    )
    if not names:
        msg = f"{address} holds no files."
        raise SourceError(msg, "Check the address.")
    root = _root_of(address, files)
    return root, [_piece(root, files, name, found[name]) for name in names]


def _followed(files: Any, path: str, info: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """What a link leads to; listings tell of the link itself."""
    if info.get("type") in ("file", "directory"):
        return info
    return dict(files.info(path)) if files.isfile(path) else info


def _is_hidden(below: str) -> bool:
    return any(is_passed_over(part) for part in below.split("/") if part)


def _piece(root: str, files: Any, path: str, info: dict[str, Any]) -> Piece:  # noqa: ANN401
    stamp = next((str(info[name]) for name in _STAMPS if info.get(name)), "")
    size = info.get("size")
    shown = path if root == "file://" else str(files.unstrip_protocol(path))
    return Piece(shown, path, f"{size} {stamp}", -1 if size is None else int(size))


def _held(piece: Piece) -> Piece:
    files = open_files("memory://")
    data = files.cat_file(piece.place)
    stamp = hashlib.sha256(data).hexdigest()
    return Piece(piece.name, base64.b64encode(data).decode(), stamp, len(data))


def _root_of(address: str, files: Any) -> str:  # noqa: ANN401
    """What names the file system alone; a chain (`zip://::s3://…`) is named by all of it."""
    if "::" in address:
        return address
    protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return "file://" if protocol in ("file", "local") else f"{protocol}://"


def _resolved(address: str) -> tuple[Any, str]:
    try:
        fsspec = importlib.import_module("fsspec")
    except ModuleNotFoundError as error:
        what = f"Reading {address}"
        raise MissingExtraError(what, "ray") from error
    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        msg = f"{address}: fsspec needs a package that is not installed."
        raise SourceError(msg, in_words(error)) from error
    except Exception as error:  # each store has exceptions of its own
        msg = f"{address} cannot be reached: {in_words(error)}."
        raise SourceError(msg, "Check the address, and your access to it.") from error
    return files, str(path)


def in_words(error: Exception) -> str:
    """An error of a store in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".: ")
