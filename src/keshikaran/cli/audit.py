"""The command `audit`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from keshikaran.backbones import DEFAULT_BACKBONE
from keshikaran.cli.console import TerminalProgress, printable, result, say
from keshikaran.cli.data import PARTLY
from keshikaran.cli.options import (
    BackboneOption,
    JsonOption,
    WorkspaceOption,
    existing_workspace,
    need_training,
    workspace_words,
)
from keshikaran.cli.split import guarded_split

if TYPE_CHECKING:
    from keshikaran.audit import DuplicateGroup, Findings, Leak, Member, Suspicion
    from keshikaran.auditing import AuditReport, Judged

_SHOWN = 5
_SHORT = 12


def audit_command(
    figures: Annotated[
        bool, typer.Option(help="Fit and judge, to show what leaks do to test figures.")
    ] = True,
    backbone: BackboneOption = DEFAULT_BACKBONE,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for leaks, copies, contradictions and test sets too small to trust."""
    place = existing_workspace(workspace)
    need_training("Auditing")
    from keshikaran.auditing import audit
    from keshikaran.training_run import TrainingOptions

    options = TrainingOptions(backbone=backbone)
    report = audit(place, options, TerminalProgress(), figures=figures)
    if as_json:
        result(json.dumps(report.to_dict()))
    else:
        _show(report)
        for advice in _advice(report, workspace_words(workspace)):
            say(advice)
        say(f"Next: {_following(report)}{workspace_words(workspace)}")
    if not report.findings.clean:
        raise typer.Exit(PARTLY)


def _show(report: AuditReport) -> None:
    findings = report.findings
    if not report.stored:
        say("There is no split yet: this is the one that keshikaran split would make.")
    copies = sum(len(group.members) for group in findings.groups)
    sections: tuple[tuple[str, int, str, Iterable[str]], ...] = (
        ("leaks", len(findings.leaks), _where_leaks_are(findings), map(_leak, findings.leaks)),
        ("duplicate groups", len(findings.groups), f" of {copies:,} images", _groups(findings)),
        (
            "suspected copies",
            len(findings.suspected),
            _where_suspects_are(findings),
            map(_suspicion, findings.suspected),
        ),
        ("contradictions", *_contradictions(findings)),
        ("set aside", len(findings.set_aside), "", _set_aside(findings)),
        (
            "tiny slices",
            len(findings.tiny),
            " of the test set",
            (f"{item.kind} {printable(item.name)}: {item.images} images" for item in findings.tiny),
        ),
    )
    for name, number, more, lines in sections:
        result(f"{name:<18} {number:>7,}{more if number else ''}")
        for line in islice(lines, _SHOWN):
            result(f"    {line}")
        if number > _SHOWN:
            result(f"    … and {number - _SHOWN:,} more (--json lists all)")
    _show_figures(report)


def _show_figures(report: AuditReport) -> None:
    if report.no_figures:
        say(f"No figures: {report.no_figures}")
    if not report.figures:
        return
    result("")
    heads = ("train", "test", "ROC AUC", "AP", "at block", "at review")
    result(f"{'test figures':<46} " + " ".join(f"{head:>9}" for head in heads))
    for judged in report.figures:
        result(f"{judged.name:<46} " + " ".join(_cells(judged)))
    say("at block, at review: share of the objectionable test images that is found.")


def _cells(judged: Judged) -> Iterator[str]:
    yield from (f"{number:>9,}" for number in (judged.train, judged.test))
    shares = (
        judged.roc_auc,
        judged.average_precision,
        judged.recall_at_block,
        judged.recall_at_review,
    )
    yield from (f"{'–':>9}" if share is None else f"{share:>9.4f}" for share in shares)


def _where_leaks_are(findings: Findings) -> str:
    sides = Counter(leak.side for leak in findings.leaks)
    return f": {sides['train']:,} on train, {sides['validation']:,} on validation"


def _where_suspects_are(findings: Findings) -> str:
    return f" pairs, {sum(one.leaking for one in findings.suspected):,} on different sides"


def _suspicion(suspicion: Suspicion) -> str:
    first, second = suspicion.members
    pair = suspicion.evidence
    seen = (
        "too little to compare"
        if pair.similarity is None
        else f"agreement {pair.agreement:.2f}, similarity {pair.similarity:.2f}"
    )
    return (
        f"{_place(first)} on {_whereabouts(first)} may be a copy of {_place(second)} on"
        f" {_whereabouts(second)} (features: {pair.spreads:.0f} spreads, {seen})"
    )


def _whereabouts(member: Member) -> str:
    return member.side or ("no side, set aside" if member.set_aside else "no side")


def _place(member: Member) -> str:
    return printable(member.places[0]) if member.places else member.image_id[:_SHORT]


def _set_aside(findings: Findings) -> Iterator[str]:
    groups = {m.image_id: group.group_id for group in findings.groups for m in group.members}
    for item in findings.set_aside:
        known = item.image_id in groups and groups[item.image_id] == groups.get(item.twin)
        what = "a copy of" if known else "perhaps a copy of"
        yield f"{item.image_id[:_SHORT]}  {what} {item.twin[:_SHORT]} on {item.side}"


def _leak(leak: Leak) -> str:
    return (
        f"{leak.image_id[:_SHORT]} on {leak.side} is a copy of"
        f" {leak.twin[:_SHORT]} on {leak.twin_side}{_strength(leak)}"
    )


def _strength(leak: Leak) -> str:
    if not leak.evidence:
        return ""
    similarity = min(pair.similarity for pair in leak.evidence)
    over = f", over {len(leak.evidence) - 1} others" if len(leak.evidence) > 1 else ""
    return f" (similarity {similarity:.2f}{over})"


def _groups(findings: Findings) -> Iterator[str]:
    for group in findings.groups:
        yield f"{len(group.members)} images: {_first_places(group)}"


def _first_places(group: DuplicateGroup) -> str:
    names = [member.places[0] if member.places else member.image_id for member in group.members]
    more = f" … and {len(names) - 2:,} more" if len(names) > 2 else ""
    return printable(", ".join(names[:2])) + more


def _contradictions(findings: Findings) -> tuple[int, str, Iterable[str]]:
    same, alike = findings.contradictions, findings.contradictory_groups
    lines = [
        f"{item.image_id[:_SHORT]}: the same bytes under both labels:"
        f" {printable(item.acceptable[0])} and {printable(item.objectionable[0])}"
        for item in same
    ]
    lines.extend(
        f"{sum(member.label == 0 for member in group.members)} acceptable,"
        f" {sum(member.label == 1 for member in group.members)} objectionable:"
        f" {_first_places(group)}"
        for group in alike
    )
    return len(lines), f": {len(same):,} of the same bytes, {len(alike):,} of copies", lines


def _following(report: AuditReport) -> str:
    """The command to go on with."""
    findings = report.findings
    train = any(leak.side == "train" for leak in findings.leaks)
    if train or any(suspicion.leaking for suspicion in findings.suspected):
        return guarded_split(report.scheme)
    undecided = [item.image_id for item in findings.contradictions]
    undecided += [group.members[0].image_id for group in findings.contradictory_groups]
    return (
        f"keshikaran label {undecided[0][:_SHORT]} --value 0|1"
        if undecided
        else ("keshikaran train")
    )


def _advice(report: AuditReport, where: str) -> Iterator[str]:
    """What to do about each kind of finding."""
    findings, scheme = report.findings, report.scheme
    train = [leak for leak in findings.leaks if leak.side == "train"]
    between = [leak for leak in findings.leaks if leak.side == "validation"]
    if train:
        yield f"Leaks into training: {guarded_split(scheme)}{where}"
    if any(suspicion.leaking for suspicion in findings.suspected) and not train:
        yield f"Suspected copies on different sides: {guarded_split(scheme)}{where}"
    if between and not train:
        yield (
            "Validation and test images never change sides. To deal all anew:"
            f" keshikaran split --salt TEXT{where}"
        )
    if findings.contradictions:
        image_id = findings.contradictions[0].image_id[:_SHORT]
        yield f"Decide each contradiction: keshikaran label {image_id} --value 0|1{where}"
    if findings.contradictory_groups:
        image_id = findings.contradictory_groups[0].members[0].image_id[:_SHORT]
        yield (
            "Copies should agree; look at both and decide:"
            f" keshikaran label {image_id} --value 0|1{where}"
        )
    if findings.unsplit and report.stored and scheme.name != "file":
        yield f"{findings.unsplit:,} labelled images have no side yet: keshikaran split{where}"
    if findings.tiny:
        yield "Take figures on tiny slices as rough, or label more of their images."
