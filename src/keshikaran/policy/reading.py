"""policy.toml → `Policy`. Every refusal names the line, what is wrong there, and the remedy."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from keshikaran.errors import PolicyError
from keshikaran.policy.model import AS_IN_LABELS, DEFAULT_MIN_RECALL, Costs, Policy
from keshikaran.policy.values import CHECKS, TABLES, BadValueError, Place, name_of

_MAX_BYTES = 32_768


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: it cannot be read, is no TOML, has an unknown key or an unfit value, or asks
            for what contradicts itself.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        msg = f"The policy {path} cannot be read: {error.strerror or error}."
        raise PolicyError(msg, "Write one to start from: keshikaran policy init FILE") from error
    if len(data) > _MAX_BYTES:
        msg = f"{path} is larger than any policy: more than {_MAX_BYTES:,} bytes."
        raise PolicyError(msg, "Check that this is the file you meant.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {line}: this is not UTF-8 text."
        raise PolicyError(msg, "Save the file as UTF-8.") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, origin: str) -> Policy:
    """Read a policy from text.

    Args:
        text: TOML.
        origin: the file's name, for messages.

    Raises:
        PolicyError: as for `read_policy`.
    """
    text = text.replace("\r\n", "\n")
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        msg = f"{origin} is no valid TOML: {error}."
        advice = "Write text in quotes, numbers without; one `key = value` a line."
        raise PolicyError(msg, advice) from error
    found = _Found(text, origin, raw)
    values = _values(found)
    _check_together(found, values)
    return _policy(values)


class _Found:
    """What stands in a policy file, and where."""

    def __init__(self, text: str, origin: str, raw: Mapping[str, Any]) -> None:
        self.origin = origin
        self.raw = raw
        self._lines = text.split("\n")

    def refuse(self, place: Place, what: str, hint: str) -> NoReturn:
        """Raise an error that names file, line and key."""
        msg = f"{self.origin}, line {self.line(place)}: {name_of(place)} {what}"
        raise PolicyError(msg, hint)

    def line(self, place: Place) -> int:
        """The line a key stands on, counted from 1.

        The parser tells no positions, so it is asked how far it must read to see the key.
        """
        complete = 0
        for number in range(1, len(self._lines) + 1):
            try:
                raw = tomllib.loads("\n".join(self._lines[:number]))
            except ValueError:
                continue
            if _holds(raw, place):
                break
            complete = number
        return complete + 1


def _holds(raw: Mapping[str, Any], place: Place) -> bool:
    table, key = place
    inside = raw.get(table) if table else raw
    return isinstance(inside, dict) and key in inside


def _values(found: _Found) -> dict[Place, Any]:
    """All values of the file, each fit by itself."""
    values: dict[Place, Any] = {}
    for key, value in found.raw.items():
        if key in TABLES and isinstance(value, dict):
            places = {(key, inner): deeper for inner, deeper in value.items()}
        elif key in TABLES:
            found.refuse(("", key), "must be a table.", f"Begin it with a line [{key}].")
        else:
            places = {("", key): value}
        for place, deeper in places.items():
            values[place] = _value(found, place, deeper)
    return values


def _value(found: _Found, place: Place, value: object) -> object:
    if place not in CHECKS:
        found.refuse(place, "is not a key of a policy.", _nearest(place))
    try:
        return CHECKS[place](value)
    except BadValueError as error:
        return found.refuse(place, error.what, error.hint)


def _nearest(place: Place) -> str:
    """The known key that looks most like it, or one of the same name in another table."""
    table, key = place
    moved = [known for known in CHECKS if known[1] == key]
    if moved:
        home = f"the table [{moved[0][0]}]" if moved[0][0] else "the top, before any [table]"
        return f"It belongs into {home}."
    names = [known for _, known in CHECKS] + list(TABLES)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]}?"
    here = [known for known_table, known in CHECKS if known_table == table]
    return f"Known keys here: {', '.join(here)}."


def _check_together(found: _Found, values: Mapping[Place, Any]) -> None:
    """What is fit by itself may still contradict something else."""
    costs = [place for place in values if place[0] == "costs"]
    demands = [place for place in values if place[0] == "demands" and place[1] != "confidence"]
    if costs and demands:
        line = found.line(demands[0])
        found.refuse(
            costs[0],
            f"contradicts {name_of(demands[0])} in line {line}: costs decide both thresholds.",
            "Keep [costs] or [demands], and put # before the lines of the other.",
        )
    if "costs" in found.raw:
        _check_costs(found, values)
    _check_budget(found, values)


def _check_costs(found: _Found, values: Mapping[Place, Any]) -> None:
    for place in CHECKS:
        if place[0] == "costs" and place not in values:
            msg = f"needs {place[1]}: thresholds follow from all three costs together."
            found.refuse(("", "costs"), msg, f"Add {place[1]} to [costs].")


def _check_budget(found: _Found, values: Mapping[Place, Any]) -> None:
    place, uploads_place = ("demands", "review_budget_per_day"), ("", "uploads_per_day")
    budget, uploads = values.get(place), values.get(uploads_place)
    if budget is None:
        return
    if uploads is None:
        advice = "Add uploads_per_day at the top, before any [table]."
        found.refuse(place, "needs uploads_per_day: a budget is a share of the uploads.", advice)
    if budget >= uploads:
        msg = f"covers all {uploads:,} uploads of line {found.line(uploads_place)}."
        found.refuse(place, msg, "With so many reviewers no demand is needed: leave it out.")


def _policy(values: Mapping[Place, Any]) -> Policy:
    fields = {key: value for (table, key), value in values.items() if table != "costs"}
    if fields.get("prevalence") == AS_IN_LABELS:
        fields["prevalence"] = None
    costs = {key: value for (table, key), value in values.items() if table == "costs"}
    if costs:
        return Policy(**{"min_recall": None, **fields, "costs": Costs(**costs)})
    if "review_budget_per_day" in fields:
        return Policy(**{"min_recall": None, **fields})
    return Policy(**{"min_recall": DEFAULT_MIN_RECALL, **fields})
