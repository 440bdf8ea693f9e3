"""A report in sentences: what a day looks like, what is promised, what to be careful about."""

from __future__ import annotations

from collections.abc import Iterator

from keshikaran.inert import printable
from keshikaran.intervals import Estimate
from keshikaran.promises import Outcome, Unsupported
from keshikaran.report.content import ReportContent

_FEW = 30
_CLASSES = ("acceptable", "objectionable")


def verdict_sentence(content: ReportContent) -> str:
    """What the model does to uploads under the policy, in a sentence."""
    found = content.evaluation.operating
    uploads = f"{found.uploads:,} uploads" + (" a day" if found.a_day else "")
    bad = number(found.uploads * found.prevalence)
    review = f"sends {_about(found.reviewed)} to a person"
    if content.evaluation.thresholds.review >= content.evaluation.thresholds.block:
        review = "sends none to a person"
    return (
        f"Of {uploads}, {bad} of them objectionable, it blocks {_about(found.blocked)}"
        f" ({_about(found.wrongly_blocked)} by mistake), {review}, and lets"
        f" {_about(found.missed)} objectionable ones pass."
    )


def counted_sentence(content: ReportContent) -> str:
    """What was counted on the test images, in a sentence."""
    test = content.evaluation.test
    (_, false_alarms), (missed, found) = test.confusion_matrix
    took_part = "" if content.foreign else " that took no part in training"
    return (
        f"On {test.images:,} test images{took_part}, it finds {found:,} of"
        f" {found + missed:,} objectionable ones at the block threshold and blocks"
        f" {false_alarms:,} of {test.images - test.positives:,} acceptable ones by mistake."
    )


def promises_sentence(content: ReportContent) -> str:
    """How many demands of the policy hold, and which labels are missing; empty without demands."""
    promises = content.evaluation.promises
    if not promises:
        return ""
    held = sum(outcome.status == "supported" for outcome in promises)
    missing = [missing_labels(outcome) for outcome in promises if isinstance(outcome, Unsupported)]
    words = f"{held} of {len(promises)} demands of the policy can be promised"
    if held == len(promises):
        words = "All demands of the policy can be promised"
    return words + (f"; missing: {', '.join(missing)}." if missing else ".")


def missing_labels(outcome: Unsupported) -> str:
    """How many labels of which class a demand still needs."""
    return (
        f"at least {max(0, outcome.needed - outcome.have):,} more {_CLASSES[outcome.label]} labels"
    )


def cautions(content: ReportContent) -> Iterator[str]:
    """Everything that makes the figures mean less than they seem to."""
    evaluation = content.evaluation
    test = evaluation.test
    area = evaluation.intervals.get("roc_auc")
    if content.foreign:
        yield (
            "The model was trained under another split than the workspace has now: it may have"
            " learned from these test images, and look better than it is."
        )
    if area is not None and area.low <= 0.5:
        yield "As far as these images can tell, it may be no better than chance."
    counts = (test.images - test.positives, test.positives)
    for count, name in zip(counts, _CLASSES, strict=True):
        if count < _FEW:
            yield f"There are only {count} {name} test images: take the figures as rough."
    if content.audit is not None and content.audit.leaks:
        yield (
            f"{content.audit.leaks:,} images outside the test set show what a test or validation"
            " image looks like: the figures may look better than they are."
        )
    for item in evaluation.slices:
        if item.warning is not None:
            yield f"{item.kind} {printable(item.name)}: {item.warning}"


def outcome_words(outcome: Outcome) -> str:
    """What became of a demand, in a word for people."""
    return {
        "supported": "promised",
        "unsupported": "too few labels",
        "unreachable": "out of reach",
    }[outcome.status]


def number(value: float) -> str:
    """A count that need not be whole: two digits that count, none behind the point from 10 on."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0")


def _about(estimate: Estimate) -> str:
    return "an unknown number" if estimate.value is None else number(estimate.value)
