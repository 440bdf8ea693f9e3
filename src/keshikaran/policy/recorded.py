"""The policy that a model file recorded → `Policy`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keshikaran.errors import BundleError
from keshikaran.policy.model import Costs, Policy
from keshikaran.policy.values import CHECKS, BadValueError, name_of

_OPEN = frozenset(
    {
        "min_recall",
        "max_false_positive_rate",
        "review_budget_per_day",
        "prevalence",
        "uploads_per_day",
    }
)


def policy_of(raw: Mapping[str, Any], origin: str) -> Policy:
    """A policy as `Policy.to_dict` gave it; what it does not say is as usual.

    Args:
        raw: from a model file, which anybody may have written.
        origin: the model, for messages.

    Raises:
        BundleError: a value makes no sense.
    """
    try:
        costs = raw.get("costs")
        fields = _checked(raw, inside=False)
        return Policy(**fields, costs=Costs(**_checked(costs, inside=True)) if costs else None)
    except (AttributeError, TypeError, BadValueError) as error:
        msg = f"The model {origin} holds a policy that cannot be read: {error}"
        raise BundleError(msg, "Train again: keshikaran train") from error


def _checked(raw: Mapping[str, Any], *, inside: bool) -> dict[str, Any]:
    """The values of `[costs]`, or all others; None is how "not asked" was recorded."""
    fields: dict[str, Any] = {}
    for place, check in CHECKS.items():
        table, key = place
        if (table == "costs") != inside or key not in raw.keys():  # noqa: SIM118 - a dict only
            continue
        value = raw[key]
        try:
            fields[key] = None if value is None and key in _OPEN else check(value)
        except BadValueError as error:
            msg = f"{name_of(place)} {error.what}"
            raise BadValueError(msg, error.hint) from error
    return fields
