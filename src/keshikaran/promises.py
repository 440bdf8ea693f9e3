"""What a demand of the policy is worth: met, too few labels to say, or out of reach.

Counts in, typed results out. A promise is the exact bound of Clopper and Pearson at the policy's
confidence, not the observed share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keshikaran.errors import BundleError
from keshikaran.intervals import Estimate, lower_bound, upper_bound, wilson
from keshikaran.policy import labels_needed
from keshikaran.types import Label

Demand = Literal["min_recall", "max_false_positive_rate", "review_budget_per_day"]

_CLASSES: dict[Label, str] = {0: "acceptable", 1: "objectionable"}


@dataclass(frozen=True, slots=True)
class Supported:
    """A demand that is met.

    Attributes:
        demand: which key of the policy.
        asked: what it says.
        observed: on the images the thresholds were chosen on, with the 95% interval.
        promised: what can be promised at the policy's confidence; for a budget, the expectation.
        words: the same in a sentence.
    """

    demand: Demand
    asked: float
    observed: Estimate
    promised: float
    words: str
    status: Literal["supported"] = "supported"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A demand that these labels are too few to promise.

    Attributes:
        demand: which key of the policy.
        asked: what it says.
        observed: on the images the thresholds were chosen on, with the 95% interval.
        promised: what can be promised instead at the policy's confidence.
        label: the class whose labels are missing.
        have: images of that class there are.
        needed: the least number that could carry the promise.
        words: the same in a sentence.
    """

    demand: Demand
    asked: float
    observed: Estimate
    promised: float
    label: Label
    have: int
    needed: int
    words: str
    status: Literal["unsupported"] = "unsupported"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A demand that another one, or the model, does not allow.

    Attributes:
        demand: which key of the policy.
        asked: what it says.
        observed: on the images the thresholds were chosen on, with the 95% interval.
        promised: what can be promised instead at the policy's confidence.
        words: the same in a sentence, with what stands in the way.
    """

    demand: Demand
    asked: float
    observed: Estimate
    promised: float
    words: str
    status: Literal["unreachable"] = "unreachable"


Outcome = Supported | Unsupported | Unreachable

_KINDS: Mapping[str, type[Supported] | type[Unsupported] | type[Unreachable]] = {
    "supported": Supported,
    "unsupported": Unsupported,
    "unreachable": Unreachable,
}


def judge_false_positive_rate(wrong: int, have: int, asked: float, confidence: float) -> Outcome:
    """The demand `max_false_positive_rate`.

    Args:
        wrong: acceptable images above `block`.
        have: acceptable images in all.
        asked: greatest rate.
        confidence: how sure a promise must be.
    """
    about = _About("max_false_positive_rate", asked, wilson(wrong, have))
    promised = upper_bound(wrong, have, confidence)
    counted = f"{wrong:,} of {have:,} acceptable images are above `block`"
    bound = f"at {confidence:.0%} confidence no more than {percent(promised)} are"
    if promised <= asked:
        words = f"At most {percent(asked)} of acceptable images are blocked: {counted}, {bound}."
        return about.supported(promised, words)
    out_of_reach = (
        f"No threshold keeps to {percent(asked)}: {counted}, the strictest there is; {bound}."
        " Look at these images: their labels may be wrong."
    )
    labels = _Labels(0, have, labels_needed(asked, confidence))
    return about.not_promised(promised, labels, f"Now {counted}; {bound}.", out_of_reach)


def judge_recall(
    found: int, have: int, asked: float, confidence: float, reviews_a_day: float = 0.0
) -> Outcome:
    """The demand `min_recall`.

    Args:
        found: objectionable images above `review`.
        have: objectionable images in all.
        asked: least recall.
        confidence: how sure a promise must be.
        reviews_a_day: how many it would take, where the review budget stands in the way.
    """
    about = _About("min_recall", asked, wilson(found, have))
    promised = lower_bound(found, have, confidence)
    counted = f"{found:,} of {have:,} objectionable images are above `review`"
    bound = f"at {confidence:.0%} confidence no less than {percent(promised)} are"
    if promised >= asked:
        words = f"At least {percent(asked)} of objectionable images are found: {counted}, {bound}."
        return about.supported(promised, words)
    out_of_reach = (
        f"The review budget does not reach {percent(asked)}: {counted}, {bound}."
        f" It would take {reviews_a_day:,.0f} reviews a day."
    )
    labels = _Labels(1, have, labels_needed(1 - asked, confidence))
    return about.not_promised(promised, labels, f"Now {counted}; {bound}.", out_of_reach)


def judge_budget(expected: Estimate, asked: int) -> Outcome:
    """The demand `review_budget_per_day`, given the reviews a day that are expected."""
    a_day = expected.value or 0.0
    words = (
        f"People look at {a_day:,.0f} images a day, of {asked:,} that they can"
        f" (95% interval {expected.low:,.0f} to {expected.high:,.0f})."
    )
    return Supported("review_budget_per_day", asked, expected, a_day, words)


def outcome_of(raw: Mapping[str, Any], origin: str) -> Outcome:
    """An outcome as a model file keeps it.

    Raises:
        BundleError: it is none of ours.
    """
    try:
        values = dict(raw)
        observed = values.pop("observed")
        kind = _KINDS[values.pop("status")]
        estimate = Estimate(*(observed[name] for name in ("value", "low", "high")))
        outcome = kind(observed=estimate, **values)
        judged = [outcome.asked, outcome.promised, estimate.low, estimate.high]
        if not all(isinstance(value, int | float) for value in judged):
            raise TypeError
    except (KeyError, TypeError) as error:
        msg = f"The model {origin} holds a promise that cannot be read."
        raise BundleError(msg, "Train again: keshikaran train") from error
    return outcome


def percent(share: float) -> str:
    """A share in words, with three digits that count."""
    return f"{100 * share:.3g}%"


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels of the class that a demand is judged on: how many there are, and how many it takes."""

    label: Label
    have: int
    needed: int


@dataclass(frozen=True, slots=True)
class _About:
    """A demand, what it asks, and what was seen."""

    demand: Demand
    asked: float
    observed: Estimate

    def supported(self, promised: float, words: str) -> Supported:
        return Supported(self.demand, self.asked, self.observed, promised, words)

    def not_promised(
        self, promised: float, labels: _Labels, now: str, out_of_reach: str
    ) -> Unsupported | Unreachable:
        """With too few labels nobody can say; with enough, it is out of reach."""
        about = (self.demand, self.asked, self.observed, promised)
        if labels.have >= labels.needed:
            return Unreachable(*about, out_of_reach)
        words = (
            f"{labels.have:,} labelled {_CLASSES[labels.label]} images are too few to promise"
            f" {percent(self.asked)}: at least {labels.needed - labels.have:,} more are needed."
            f" {now}"
        )
        return Unsupported(*about, labels.label, labels.have, labels.needed, words)
