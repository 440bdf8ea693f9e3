"""What each key of a policy file may hold."""

from __future__ import annotations

from collections.abc import Callable

from keshikaran.policy.model import AS_IN_LABELS

Place = tuple[str, str]
"""Table (empty: the top of the file) and key."""

TABLES = ("demands", "costs")

_MAX_TEXT = 1_000
_MOST = 10**12
_ONE_IN_A_MILLION = 1e-6


class BadValueError(Exception):
    """A value that a key cannot hold.

    Args:
        what: what is wrong with it; continues a sentence that begins with the key.
        hint: what to write instead.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def name_of(place: Place) -> str:
    """A key as it is spoken of."""
    table, key = place
    return f"[{table}] {key}" if table else key


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"must be text, not {_shown(value)}."
        raise BadValueError(msg, "Write it in quotes.")
    if not value.strip():
        raise BadValueError("is empty.", "Say it in a sentence.")
    if len(value) > _MAX_TEXT:
        msg = f"has {len(value):,} characters, more than {_MAX_TEXT:,}."
        raise BadValueError(msg, "A sentence or two will do.")
    return value.strip()


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"must be a number, not {_shown(value)}."
        raise BadValueError(msg, "Write digits without quotes.")
    if not -_MOST <= value <= _MOST:  # a number without bounds is no float, and neither is NaN
        msg = f"is out of any range: {_shown(value)}."
        raise BadValueError(msg, "Write an ordinary number.")
    return float(value)


def _share(value: object) -> float:
    number = _number(value)
    if _ONE_IN_A_MILLION <= number <= 1 - _ONE_IN_A_MILLION:
        return number
    msg = f"must be a share above 0 and below 1, not {_shown(value)}."
    if 1 < number < 100:
        raise BadValueError(msg, f"For {value} percent write {number / 100:g}.")
    if number in {0.0, 1.0}:
        advice = "No number of labels can promise never or always: write 0.001 or 0.999, say."
        raise BadValueError(msg, advice)
    raise BadValueError(msg, "For 5 percent write 0.05.")


def _prevalence(value: object) -> float | str:
    if isinstance(value, str):
        if value.strip().lower() == AS_IN_LABELS:
            return AS_IN_LABELS
        msg = f'must be a share or "{AS_IN_LABELS}", not {_shown(value)}.'
        raise BadValueError(msg, "For one in a hundred write 0.01, without quotes.")
    return _share(value)


def _confidence(value: object) -> float:
    number = _share(value)
    if number <= 0.5:
        msg = f"must be above 0.5, not {_shown(value)}: below, a promise is a guess."
        raise BadValueError(msg, "0.95 is usual.")
    return number


def _whole(least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        number = _number(value)
        if number < least or number != int(number):
            msg = f"must be a whole number, {least} or more, not {_shown(value)}."
            raise BadValueError(msg, "Write it in digits, such as 10_000.")
        return int(number)

    return check


def _cost(*, least: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        number = _number(value)
        if number < least:
            words = "above 0" if least else "0 or more"
            msg = f"must be {words}, not {_shown(value)}."
            raise BadValueError(msg, "Any unit will do: only the ratios of the costs count.")
        return number

    return check


def _shown(value: object) -> str:
    words = f'"{value}"' if isinstance(value, str) else str(value)
    words = {True: "true", False: "false"}.get(value, words) if isinstance(value, bool) else words
    return words if len(words) <= 40 else words[:40] + "…"


CHECKS: dict[Place, Callable[[object], object]] = {
    ("", "objectionable"): _text,
    ("", "acceptable"): _text,
    ("", "prevalence"): _prevalence,
    ("", "uploads_per_day"): _whole(1),
    ("demands", "min_recall"): _share,
    ("demands", "max_false_positive_rate"): _share,
    ("demands", "review_budget_per_day"): _whole(0),
    ("demands", "confidence"): _confidence,
    ("costs", "miss"): _cost(least=_ONE_IN_A_MILLION),
    ("costs", "false_alarm"): _cost(least=_ONE_IN_A_MILLION),
    ("costs", "review"): _cost(least=0.0),
}
"""Every key there is, and what makes a value of it or raises `BadValueError`."""
