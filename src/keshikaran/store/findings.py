"""What a check of the store can find, what each finding means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FindingKind = Literal[
    "damaged_catalogue",
    "damaged_journal",
    "missing_object",
    "damaged_object",
    "unreadable_object",
    "sha1_collision",
    "damaged_record",
    "missing_model",
    "damaged_cache",
    "journal_ahead",
    "writable_object",
    "unreferenced_object",
    "temporary_file",
    "strange_file",
]
"""A closed list, the worst first."""

LEFTOVERS: frozenset[FindingKind] = frozenset(
    {
        "journal_ahead",
        "writable_object",
        "unreferenced_object",
        "temporary_file",
        "strange_file",
    }
)
"""Kinds that mean no loss: what an interruption leaves, or what somebody put there."""

ADVICE: dict[FindingKind, str] = {
    "damaged_catalogue": "Make it again from the objects and the journal: keshikaran rebuild",
    "damaged_journal": "If the catalogue is well, write the journal anew:"
    " keshikaran rebuild --journal",
    "missing_object": "Import the original again; labels are kept.",
    "damaged_object": "Import the original again: it is replaced. Until then it is refused.",
    "unreadable_object": "Check the disk, then import the original again.",
    "sha1_collision": "One of the two images was made to pass for the other: look at both.",
    "damaged_record": "Move the file away, then choose a model again: keshikaran promote",
    "missing_model": "Put the file back, or choose another: keshikaran rollback",
    "damaged_cache": "Delete the file: the next training fills it again.",
    "journal_ahead": "An interrupted command, or one at work: the next one takes it over.",
    "writable_object": "Take the permission to write away, so that nothing changes it by mistake.",
    "unreferenced_object": "An interrupted import, or one at work; else: keshikaran gc",
    "temporary_file": "An interrupted command, or one at work; else: keshikaran gc",
    "strange_file": "keshikaran did not write it: move it elsewhere.",
}


@dataclass(frozen=True, slots=True)
class FsckFinding:
    """One thing that is not as it should be.

    Attributes:
        kind: what it is.
        subject: the image id or the file concerned, below the workspace.
        detail: what exactly was found.
    """

    kind: FindingKind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class FsckReport:
    """What a check found.

    Attributes:
        images: rows of the catalogue.
        objects: stored files, temporary and strange ones not counted.
        hashed: files whose content was read and compared with their name.
        findings: by kind, the worst first; then by subject.
    """

    images: int
    objects: int
    hashed: int
    findings: tuple[FsckFinding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is lost or damaged; leftovers do not count."""
        return all(finding.kind in LEFTOVERS for finding in self.findings)


def by_weight(findings: list[FsckFinding]) -> tuple[FsckFinding, ...]:
    """In the order of a report."""
    order = {kind: number for number, kind in enumerate(get_args(FindingKind))}
    return tuple(sorted(findings, key=lambda item: (order[item.kind], item.subject, item.detail)))
