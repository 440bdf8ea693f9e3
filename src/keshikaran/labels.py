"""Who said what about which image: labelling by hand, and reading what holds now."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.store import Store
from keshikaran.types import ImageId, Label

_HEX_PREFIX = re.compile(r"[0-9a-f]{6,64}")


def current_user() -> str:
    """Name of the person at the keyboard, for the label history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def find_image(store: Store, reference: str) -> ImageId:
    """An image of the store, by a file with the same bytes or by the start of its id.

    Raises:
        UsageError: no such image, or several.
        SourceError: there is such a file, but it cannot be read.
    """
    path = Path(reference)
    data = _read(path)
    if data is not None:
        image_id = image_id_of(data)
        if store.known_images([image_id]):
            return image_id
        msg = f"{path} is not in the workspace."
        raise UsageError(msg, f"Import it first: keshikaran import {path}")
    if not _HEX_PREFIX.fullmatch(reference):
        msg = f"{reference} is neither a file nor an image id."
        raise UsageError(msg, "Give a path, or at least 6 digits of an image id.")
    found = store.find_images(reference)
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} images have" if found else "No image has"
    msg = f"{many} an id that starts with {reference}."
    raise UsageError(msg, "Give more digits." if found else "Check the id.")


def label_image(
    store: Store, reference: str, value: Label | None, *, who: str, why: str = ""
) -> ImageId:
    """Append a person's word about one image; it outweighs every imported label.

    Args:
        store: the open store.
        reference: a file or an id, see `find_image`.
        value: the label; None takes an earlier word back, so that imported labels hold again.
        who: the person's name.
        why: a reason worth keeping.

    Raises:
        UsageError: no such image, or several.
        SourceError: the file cannot be read.
    """
    image_id = find_image(store, reference)
    store.label_by_person(image_id, value, who=who, why=why)
    return image_id


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise SourceError(msg, "Check the path and its permissions.") from error
