"""Archives as sources: tar (plain, gzip, bzip2, xz), zip, and WebDataset shards.

Nothing is unpacked to disk. Members are read one after the other, and their names are text: they
say which class an image has and where it was met, and no path is ever made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keshikaran.errors import SourceError
from keshikaran.ingest.entries import Entry, Held
from keshikaran.ingest.packed import ArchiveLimits, ArchiveStop, Member, Problem, magic_of
from keshikaran.ingest.sources import as_text, is_file, is_passed_over, labels_of
from keshikaran.ingest.tar import tar_members
from keshikaran.ingest.webdataset import samples_of
from keshikaran.ingest.zip import zip_members
from keshikaran.pixels import Limits
from keshikaran.types import Refusal

_THREADS = 4
_LONGEST_NAME = 1000
_MOST_CLASSES = 100_000
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive, and what `scan_archive` found out by going through it once.

    Attributes:
        path: the file.
        positives: classes whose images are objectionable.
        class_folders: first-level folders, or the classes that WebDataset's labels name.
        count: entries there are, as far as the archive is in order.
        is_webdataset: whether members are grouped into samples.
        limits: what the archive may ask for.
    """

    path: Path
    positives: tuple[str, ...]
    class_folders: Sequence[str]
    count: int
    is_webdataset: bool
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)

    @property
    def root(self) -> str:
        """See `Source`."""
        return f"{as_text(self.path)}!"

    @property
    def labelled(self) -> bool:
        """See `Source`."""
        return bool(labels_of(self.class_folders, self.positives))

    @property
    def threads(self) -> int:
        """See `Source`."""
        return _THREADS

    @property
    def containers(self) -> Sequence[str]:
        """See `Source`."""
        return (self._itself,)

    @property
    def _itself(self) -> str:
        return f"({as_text(Path(self.path.name))} itself)"

    def walk(self, limits: Limits) -> Iterator[Entry | Refusal]:
        """See `Source`. Each content is in memory when its entry comes."""
        names = _Names()
        try:
            for name, content, class_name in self._contents(limits):
                unique = names.unique(name)
                if isinstance(content, bytes):
                    labels = labels_of([class_name], self.positives) if class_name else {}
                    yield Entry(unique, Held(content), labels.get(class_name or ""))
                else:
                    yield Refusal(unique, "import", *content)
        except ArchiveStop as stop:
            yield Refusal(self._itself, "import", stop.reason, stop.detail)

    def _contents(self, limits: Limits) -> Iterator[tuple[str, bytes | Problem, str | None]]:
        """Name, bytes or why there are none, and class of each image."""

        def take(member: Member) -> bytes | Problem:
            if member.problem is not None:
                return member.problem
            if member.size > limits.max_bytes:
                detail = f"it has {member.size:,} bytes, the limit is {limits.max_bytes:,}"
                return "too_many_bytes", detail
            return member.read()

        members = _members(self.path, self.limits)
        if not self.is_webdataset:
            for member in members:
                yield member.name, take(member), _folder_of(member.name)
            return
        for sample in samples_of(members, take):
            for name, content in sample.pictures:
                yield name, content, sample.class_name or _folder_of(name)


def scan_archive(
    path: Path, positives: Sequence[str] = (), limits: ArchiveLimits | None = None
) -> Archive:
    """Go through an archive once, without unpacking images, to know its classes.

    Images in the first-level folders named in `positives` are objectionable, those in other
    folders acceptable, as in `scan_folder`. In WebDataset shards the class is what `.cls` or
    `.json` members say; without them, the folder.

    Raises:
        SourceError: the file is missing or cannot be read. What is damaged inside is refused,
            entry by entry, when the archive is imported.
    """
    if not is_file(path):
        msg = f"{path} is no file."
        raise SourceError(msg, "Check the path.")
    path, limits = path.resolve(), limits or ArchiveLimits()
    survey = _Survey()
    try:
        for sample in samples_of(survey.watch(_members(path, limits)), lambda _: b""):
            survey.sampled += len(sample.pictures)
            survey.is_webdataset |= sample.has_label
            if sample.class_name and len(survey.classes) < _MOST_CLASSES:
                survey.classes.add(sample.class_name)
    except ArchiveStop:
        pass  # the walk says so, where it is counted
    sampled = survey.is_webdataset
    return Archive(
        path,
        tuple(positives),
        sorted((survey.classes if sampled else set()) or survey.folders),
        survey.sampled if sampled else survey.members,
        sampled,
        limits,
    )


@dataclass(slots=True)
class _Survey:
    members: int = 0
    sampled: int = 0
    is_webdataset: bool = False
    folders: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)

    def watch(self, members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            self.members += 1
            folder = _folder_of(member.name)
            if folder is not None and len(self.folders) < _MOST_CLASSES:
                self.folders.add(folder)
            yield member


class _Names:
    """Keeps names apart: an archive may hold several members of one name."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._number = 0

    def unique(self, name: str) -> str:
        self._number += 1
        if name in self._seen:
            name = f"{name} (entry {self._number})"
        self._seen.add(name)
        return name


def _members(path: Path, limits: ArchiveLimits) -> Iterator[Member]:
    """Members that are a person's, under names fit to be written down."""
    is_zip = magic_of(path).startswith(_ZIP) or path.suffix.lower() == ".zip"
    for member in (zip_members if is_zip else tar_members)(path, limits):
        parts = [
            part for part in member.name.replace("\\", "/").split("/") if part not in ("", ".")
        ]
        if not any(is_passed_over(part) and part != ".." for part in parts):
            yield replace(member, name=_written("/".join(parts) or "(no name)"))


def _written(name: str) -> str:
    """A name as text that any database and terminal takes."""
    plain = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)
    if len(plain) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:16]
    return f"{plain[:_LONGEST_NAME]}… {digest}"


def _folder_of(name: str) -> str | None:
    folder, slash, _ = name.partition("/")
    return folder if slash else None
