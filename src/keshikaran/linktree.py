"""A tree of symbolic links, `<type>/<value>/<objectId>`, for trainers that read folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import UsageError
from keshikaran.hashing import write_error
from keshikaran.store import Store
from keshikaran.types import SPLITS

_LINK_NAME = re.compile(r"[0-9a-f]{40}\.[a-z]+")
_TARGET_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+")


@dataclass(frozen=True, slots=True)
class LinkReport:
    """How many links were made, and how many were there already."""

    folder: Path
    made: int
    kept: int


def write_link_tree(store: Store, out: Path) -> LinkReport:
    """Link every labelled image that has a side; Keras and torchvision read the result.

    Links point to absolute paths. `out` must be new, empty, or a tree written before; links
    of a former split that no longer hold are removed, other files are never touched.

    Raises:
        UsageError: `out` holds something that is no link tree.
        StoreError: the links cannot be written.
    """
    out = out.resolve()
    wanted = _wanted(store, out)
    made = kept = 0
    try:
        _refuse_foreign(out)
        for side in SPLITS:
            for value in ("0", "1"):
                (out / side / value).mkdir(parents=True, exist_ok=True)
        for link in _links(out):
            if wanted.get(link) != link.readlink():
                link.unlink()
        for link, target in wanted.items():
            if link.is_symlink() and link.readlink() == target:
                kept += 1
            else:
                link.symlink_to(target)
                made += 1
    except OSError as error:
        raise write_error(out, error) from error
    return LinkReport(out, made, kept)


def _wanted(store: Store, out: Path) -> dict[Path, Path]:
    sides = store.splits()
    images = [image for image in store.labels.images() if image.image_id in sides]
    extensions = store.extension_of([image.image_id for image in images])
    links: dict[Path, Path] = {}
    for image in images:
        extension = extensions[image.image_id]
        name = f"{image.object_id}.{extension}"
        target = store.blobs.path_of(image.image_id, extension).resolve()
        links[out / sides[image.image_id] / str(image.label) / name] = target
    return links


def _links(out: Path) -> list[Path]:
    """Links that an earlier call wrote: named by object id, to a file named by image id."""
    return sorted(
        path
        for path in out.glob("*/*/*")
        if path.is_symlink()
        and _LINK_NAME.fullmatch(path.name)
        and _TARGET_NAME.fullmatch(path.readlink().name)
    )


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file."
        raise UsageError(msg, "Name a new or empty folder.")
    if not out.is_dir():
        return
    others = sorted(path for path in out.iterdir() if path.name not in SPLITS)
    if not others and not _links(out):  # somebody else's train, validation and test?
        others = sorted(path for path in out.rglob("*") if path.is_symlink() or path.is_file())
    if others:
        msg = f"{out} holds other things ({others[0].relative_to(out)})."
        raise UsageError(msg, "Name a new or empty folder.")
