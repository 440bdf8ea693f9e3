"""Who said what about which image: labelling by hand, and reading what holds now."""

from __future__ import annotations

import getpass
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from keshikaran.errors import SourceError, UsageError
from keshikaran.hashing import image_id_of
from keshikaran.label_file import FileRow, read_corrections
from keshikaran.store import Store
from keshikaran.types import ImageId, Label

_SHOWN = 10
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
    store.labels.say(image_id, value, who=who, why=why)
    return image_id


@dataclass(frozen=True, slots=True)
class FileLabels:
    """What a filled-in list changed.

    Attributes:
        corrected: images that have another label now.
        confirmed: images whose label a person now vouches for.
        taken_back: images about which a person's word holds no longer.
        unchanged: rows that say what a person had said before.
    """

    corrected: int = 0
    confirmed: int = 0
    taken_back: int = 0
    unchanged: int = 0


def label_from_file(store: Store, path: Path, *, who: str, why: str = "") -> FileLabels:
    """Take over what a person wrote into a list of labels: all of it, or nothing.

    Args:
        store: the open store.
        path: a CSV file, see `label_file`.
        who: the person's name.
        why: the reason where a row gives none.

    Raises:
        SourceError: the file cannot be read, or some of its rows make no sense; each is named
            with its line, and no label changes.
    """
    rows, wrong = read_corrections(path)
    book = _LabelBook(store, rows)
    done: Counter[str] = Counter()
    words: list[tuple[ImageId, Label | None, str]] = []
    for row in rows:
        try:
            kind, value = book.reading(row)
        except ValueError as error:
            wrong.append(f"line {row.line}: {error}")
            continue
        done[kind] += 1
        if kind != "unchanged":
            words.append((row.image_id, value, row.why or why))
    if wrong:
        raise _nothing_taken(path, wrong)
    if words:
        store.labels.say_many(words, who=who)
    return FileLabels(**done)


class _LabelBook:
    """What holds now, to read rows by."""

    def __init__(self, store: Store, rows: Sequence[FileRow]) -> None:
        self._known = store.known_images([row.image_id for row in rows])
        self._labels = {image.image_id: image.label for image in store.labels.images()}
        self._settled = store.labels.settled()
        self._by_people = store.labels.by_people()
        self._read: dict[ImageId, FileRow] = {}

    def reading(self, row: FileRow) -> tuple[str, Label | None]:
        """What the row amounts to, as a field of `FileLabels`, and the label it gives.

        Raises:
            ValueError: it makes no sense; says why.
        """
        if row.image_id not in self._known:
            msg = f"no image here has the id {row.image_id[:64]!r}"
            raise ValueError(msg)
        first = self._read.setdefault(row.image_id, row)
        if first is not row:
            msg = f"line {first.line} is about the same image"
            raise ValueError(msg)
        if row.correct == "none":
            if row.image_id not in self._by_people:
                msg = "none takes back what a person said, and nobody said anything"
                raise ValueError(msg)
            return "taken_back", None
        return self._labelled(row)

    def _labelled(self, row: FileRow) -> tuple[str, Label]:
        now = self._labels.get(row.image_id)
        value = now if row.correct == "keep" else cast("Label", int(row.correct))
        if value is None:
            msg = "there is no label to keep; write 0 or 1"
            raise ValueError(msg)
        if row.correct == "keep" and row.shown not in {None, str(now)}:
            msg = f"its label is {now} by now, not {row.shown!r}; write 0 or 1"
            raise ValueError(msg)
        if self._settled.get(row.image_id) == value:
            return "unchanged", value
        return ("confirmed" if value == now else "corrected"), value


def _nothing_taken(path: Path, wrong: Sequence[str]) -> SourceError:
    more = f"; and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    msg = f"No label was changed. {path}: {'; '.join(wrong[:_SHOWN])}{more}."
    return SourceError(msg, "Correct these lines and give the file again.")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise SourceError(msg, "Check the path and its permissions.") from error
