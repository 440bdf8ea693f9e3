"""Folders that are somewhere else: S3, Google Cloud Storage and whatever else fsspec reaches."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keshikaran.errors import ImageRefusedError, MissingExtraError, SourceError
from keshikaran.ingest.entries import Entry, Listing, Reading, check_size
from keshikaran.ingest.sources import is_passed_over, labels_of
from keshikaran.pixels import Limits

_THREADS = 16  # they wait for the network
_TAGS = ("ETag", "etag", "md5Hash", "content_md5")  # what stores call a content's digest


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a remote store.

    Attributes:
        files: the fsspec file system.
        path: as that file system names it.
        size: bytes, None if the listing did not tell.
        tag: a digest of the content by the store, None if it has none.
    """

    files: Any
    path: str
    size: int | None
    tag: str | None

    def read(self, limits: Limits) -> Reading:
        """See `Content.read`."""
        check_size(self.size or 0, limits)
        try:
            with self.files.open(self.path, "rb") as file:
                data: bytes = file.read(limits.max_bytes + 1)
        except Exception as error:  # each store has exceptions of its own
            raise ImageRefusedError("unreadable_file", _in_words(error)) from error
        check_size(len(data), limits)
        return Reading(data, self.stamp() if self.tag in _digests(data) else None)

    def stamp(self) -> str | None:
        """Size and digest as the listing had them; None where the store keeps no digests.

        Remembered only where the digest turned out to be the content's MD5: not all stores' are,
        and what was listed may have been replaced before it was read.
        """
        return None if self.tag is None else f"{self.size} {self.tag}"


def scan_remote(address: str, positives: Sequence[str] = ()) -> Listing:
    """List a remote folder of class folders; nothing is read yet.

    Args:
        address: as fsspec takes it: `s3://bucket/folder`, `zip://::s3://bucket/file.zip`, …
        positives: as for `scan_folder`.

    Raises:
        MissingExtraError: fsspec is not installed.
        SourceError: the store needs another package, or the folder cannot be listed.
    """
    try:
        fsspec = importlib.import_module("fsspec")
    except ModuleNotFoundError as error:
        what = f"Reading {address}"
        raise MissingExtraError(what, "remote") from error
    try:
        files, folder = fsspec.core.url_to_fs(address)
        found: dict[str, dict[str, Any]] = files.find(folder, detail=True)
    except ImportError as error:
        msg = f"{address}: fsspec needs a package that is not installed."
        raise SourceError(msg, _in_words(error)) from error
    except Exception as error:  # each store has exceptions of its own
        msg = f"{address} cannot be listed: {_in_words(error)}."
        raise SourceError(msg, "Check the address, and your access to it.") from error
    if not found:
        msg = f"{address} holds no files."
        raise SourceError(msg, "Check the address.")
    return _listing(address, files, folder, found, positives)


def _listing(
    address: str,
    files: Any,  # noqa: ANN401 - fsspec has no types
    folder: str,
    found: dict[str, dict[str, Any]],
    positives: Sequence[str],
) -> Listing:
    names = {_below(path, folder): path for path in sorted(found)}
    names = {
        name: path
        for name, path in names.items()
        if not any(is_passed_over(part) for part in name.split("/"))
    }
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    labels = labels_of(folders, positives)
    entries = [
        Entry(
            name,
            RemoteFile(files, path, found[path].get("size"), _tag(found[path])),
            labels.get(name.split("/")[0]) if "/" in name else None,
        )
        for name, path in names.items()
    ]
    return Listing(address.rstrip("/"), entries, class_folders=folders, threads=_THREADS)


def _below(path: str, folder: str) -> str:
    inner = path.removeprefix(folder.rstrip("/")).lstrip("/")
    return inner or path.rpartition("/")[2]


def _tag(info: dict[str, Any]) -> str | None:
    return next((str(info[name]).strip('"') for name in _TAGS if info.get(name)), None)


def _digests(data: bytes) -> tuple[str, str]:
    digest = hashlib.md5(data, usedforsecurity=False)
    return digest.hexdigest(), base64.b64encode(digest.digest()).decode()


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300].rstrip(".: ")
