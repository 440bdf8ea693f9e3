"""A tree of symbolic links, `<type>/<value>/<objectId>`, for trainers that read folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keshikaran.errors import UsageError
from keshikaran.hashing import write_error
from keshikaran.store import Store
from keshikaran.types import SPLITS


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
    _refuse_foreign(out)
    wanted = _wanted(store, out)
    made = kept = 0
    try:
        for side in SPLITS:
            for value in ("0", "1"):
                (out / side / value).mkdir(parents=True, exist_ok=True)
        for link in _links(out):
            if wanted.get(link) != link.readlink():
                link.unlink()
        for link, target in wanted.items():
            if link.is_symlink():
                kept += 1
            else:
                link.symlink_to(target)
                made += 1
    except OSError as error:
        raise write_error(out, error) from error
    return LinkReport(out, made, kept)


def _wanted(store: Store, out: Path) -> dict[Path, Path]:
    sides = store.splits()
    images = [image for image in store.labelled_images() if image.image_id in sides]
    extensions = store.extension_of([image.image_id for image in images])
    links: dict[Path, Path] = {}
    for image in images:
        extension = extensions[image.image_id]
        name = f"{image.object_id}.{extension}"
        target = store.blobs.path_of(image.image_id, extension).resolve()
        links[out / sides[image.image_id] / str(image.label) / name] = target
    return links


def _links(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("*/*/*") if path.is_symlink())


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file."
        raise UsageError(msg, "Name a new or empty folder.")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names - set(SPLITS):
        msg = f"{out} holds other things ({sorted(names - set(SPLITS))[0]})."
        raise UsageError(msg, "Name a new or empty folder.")
