"""The command `show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.options import (
    IsolationOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.dossier import Dossier, DossierOptions, FileFacts, NearImage, Twin
from keshikaran.store import LabelEvent
from keshikaran.types import KnownImage, Label

_SHOWN = 4
_WIDTH = 14
_WORDS: dict[Label | None, str] = {0: "acceptable", 1: "objectionable", None: "none"}


def show_command(
    image: Annotated[str, typer.Argument(help="A file, or an image id (6 digits or more).")],
    models: Annotated[int, typer.Option(min=0, help="Ask this many models, newest first.")] = 5,
    neighbours: Annotated[int, typer.Option(min=0, help="Name this many nearest images.")] = 5,
    isolation: IsolationOption = "process",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say all that is known about one image."""
    need_training()
    from keshikaran.inquiry import image_dossier

    place = existing_workspace(workspace)
    options = DossierOptions(models, neighbours, isolation)
    found = image_dossier(place, image, options, TerminalProgress())
    if as_json:
        result(json.dumps(found.to_dict()))
        return
    for line in dossier_lines(found):
        result(printable(line))
    where = workspace_words(workspace)
    if found.stored:
        short = found.image_id[:12]
        say(f"Next: if the label is wrong, keshikaran label {short} --value 0|1{where}")
    else:
        say(f"Next: keshikaran import {printable(image)} --label 0|1{where}")


def dossier_lines(found: Dossier) -> Iterator[str]:
    """What a person reads, one section after the other."""
    yield from _section("image", [found.image_id])
    yield from _section("file", [_file_words(found.file)])
    sources = found.sources if found.stored else ("not in the workspace",)
    yield from _section("sources", _first(sources))
    yield from _section("label", [_label_words(found), *map(_event_words, found.history[-8:])])
    yield from _section("copies", _copy_words(found))
    if found.suspects:
        yield from _section("may be copies", _first(tuple(map(_suspect_words, found.suspects))))
    yield from _section("split", [_split_words(found)])
    scores = [
        f"{'-' if one.score is None else f'{one.score:.4f}':<6}  {one.verdict:<9}  {one.model_id}"
        f"{f'  ({one.reason})' if one.reason else ''}"
        for one in found.scores
    ]
    yield from _section("scores", scores or ["no model in the workspace"])
    yield from _section("neighbours", list(map(_near_words, found.neighbours)) or ["none"])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{'' if number else title:<{_WIDTH}}{line}"


def _first(lines: tuple[str, ...]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], f"… and {more:,} more"] if more > 0 else list(lines)


def _file_words(file: FileFacts) -> str:
    if file.bytes is None or file.format is None:
        size = "" if file.bytes is None else f"{file.bytes:,} bytes, "
        return f"{size}{file.problem}"
    frames = f", {file.frames} frames" if file.frames and file.frames > 1 else ""
    return (
        f"{file.format}, {file.width} × {file.height}{frames}, {file.bytes:,} bytes,"
        f" SHA-1 {file.object_id}"
    )


def _label_words(found: Dossier) -> str:
    if found.contradictory:
        return "imports contradict each other; no person has decided"
    return _WORDS[found.label]


def _event_words(event: LabelEvent) -> str:
    value = "taken back" if event.value is None else _WORDS[event.value]
    source = event.claim if event.by == "import" else f"by {event.who}"
    why = f" ({event.why})" if event.why else ""
    return f"{event.at[:16].replace('T', ' ')}  {value:<13}  {event.by}: {source}{why}"


def _copy_words(found: Dossier) -> list[str]:
    if found.copy_of is not None:
        copy = found.copy_of
        return [f"of {copy.image_id[:12]}  {_WORDS[copy.label]}  {_evidence_words(copy)}"]
    if found.group is None:
        return ["none known"]
    lines = (f"{twin.image_id[:12]}  {_twin_words(twin)}" for twin in found.twins)
    return [f"group {found.group[:12]}, {len(found.twins) + 1} images", *_first(tuple(lines))]


def _suspect_words(twin: Twin) -> str:
    words = _twin_words(twin) if twin.turn else f"{_twin_words(twin)}too plain to compare"
    return f"{twin.image_id[:12]}  {words}"


def _twin_words(twin: Twin) -> str:
    return f"{_WORDS[twin.label]:<13}  {twin.split or '-':<10}  {_evidence_words(twin)}"


def _evidence_words(twin: Twin | KnownImage) -> str:
    if twin.agreement is None or twin.similarity is None:
        return ""
    return f"agreement {twin.agreement:.2f}, similarity {twin.similarity:.2f}, turn {twin.turn}"


def _split_words(found: Dossier) -> str:
    aside = found.set_aside
    if aside is not None:
        known = aside.twin in {twin.image_id for twin in found.twins}
        kind = "copy" if known else "suspected copy"
        return f"set aside: its {kind} {aside.twin[:12]} is in {aside.side}"
    return found.split or "none"


def _near_words(near: NearImage) -> str:
    return (
        f"{near.cosine:.3f}  {_WORDS[near.label]:<13}  {near.image_id[:12]}"
        f"  {near.path or 'no source left'}"
    )
