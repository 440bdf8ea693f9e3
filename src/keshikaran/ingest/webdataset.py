"""WebDataset's convention: members that share a key make a sample, and one of them is its label.

`7/000123.jpg`, `7/000123.cls` and `7/000123.json` share the key `7/000123`: everything up to the
first dot of the last part. Members of a sample follow each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby, islice

from keshikaran.ingest.packed import Member, Problem

_PICTURES = {
    "avif",
    "bmp",
    "gif",
    "heic",
    "jpeg",
    "jpg",
    "jxl",
    "png",
    "tif",
    "tiff",
    "webp",
}
_LABELS = ("cls", "json")  # the first one counts most
_FIELDS = ("label", "cls", "class", "target")
_CLASS_CHARACTERS = 200
_LABEL_BYTES = 1 << 20
_SAMPLE_MEMBERS = 1000
_SAMPLE_BYTES = 256 << 20  # held until the sample is complete and its label known

Take = Callable[[Member], bytes | Problem]


@dataclass(slots=True)
class Sample:
    """Members with one key.

    Attributes:
        pictures: name of each image, and its bytes or why there are none.
        class_name: what the label members say; None if nothing.
        has_label: whether a label member belongs to an image here.
    """

    pictures: list[tuple[str, bytes | Problem]] = field(default_factory=list)
    class_name: str | None = None
    has_label: bool = False


def samples_of(members: Iterable[Member], take: Take) -> Iterator[Sample]:
    """Group members into samples; a sample without an image has its members refused.

    Args:
        members: in the archive's order.
        take: reads an image now, or says why not.
    """
    for _, group in groupby(members, lambda member: _key_of(member.name)[0]):
        for part in _parts(group):
            yield _sample(part, take)


def _parts(group: Iterator[Member]) -> Iterator[Iterator[Member]]:
    """A group, in pieces if it is absurdly large: it has to be held."""
    for first in group:
        yield chain([first], islice(group, _SAMPLE_MEMBERS - 1))


def _sample(members: Iterable[Member], take: Take) -> Sample:
    sample = Sample()
    labels: dict[str, bytes] = {}
    others: list[str] = []
    held = 0
    for member in members:
        kind = _key_of(member.name)[1]
        if kind.rpartition(".")[2] in _PICTURES:
            content = _too_much() if held > _SAMPLE_BYTES else take(member)
            held += len(content) if isinstance(content, bytes) else 0
            sample.pictures.append((member.name, content))
            continue
        others.append(member.name)
        if kind in _LABELS and member.problem is None and member.size <= _LABEL_BYTES:
            read = member.read()
            labels[kind] = read if isinstance(read, bytes) else b""
    sample.has_label = bool(labels and sample.pictures)
    sample.class_name = _class_of(labels)
    if not sample.pictures:
        sample.pictures = [(name, _no_picture()) for name in others]
    return sample


def _key_of(name: str) -> tuple[str, str]:
    """Key and kind (`jpg`, `cls`, `seg.png`, …) of a member; the kind is lower case."""
    folder, slash, last = name.rpartition("/")
    stem, _, kind = last.partition(".")
    return f"{folder}{slash}{stem}", kind.lower()


def _too_much() -> Problem:
    return "archive_limit", f"its sample has more than {_SAMPLE_BYTES:,} bytes"


def _no_picture() -> Problem:
    return "not_an_image", "part of a sample that has no image"


def _class_of(labels: dict[str, bytes]) -> str | None:
    for kind in _LABELS:
        if kind in labels:
            found = _text(labels[kind]) if kind == "cls" else _field(labels[kind])
            if found:
                return found
    return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").strip()[:_CLASS_CHARACTERS]


def _field(content: bytes) -> str:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(values, dict):
        return ""
    for name in _FIELDS:
        value = values.get(name)
        if isinstance(value, bool | int | str):
            return str(int(value) if isinstance(value, bool) else value)[:_CLASS_CHARACTERS]
    return ""
