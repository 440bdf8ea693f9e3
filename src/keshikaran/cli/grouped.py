"""Options that belong together as one frozen dataclass, instead of a parameter each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses: each of their fields becomes an option of its own.

    The fields are annotated as Typer wants parameters annotated, and have defaults. `--help` lists
    them where the dataclass stands among the parameters.

    Args:
        command: a function that Typer could not take as it is.

    Returns:
        One that Typer can take; it puts the dataclasses together and calls the command.
    """
    kinds = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(kinds[name]):
            groups[name] = kinds[name]
            flat += _options(kinds[name])
        else:
            flat.append(parameter.replace(kind=_KEYWORD, annotation=kinds[name]))

    @functools.wraps(command)
    def called(**given: Any) -> None:  # noqa: ANN401
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        command(**given)

    called.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in flat}
    return called


def _options(group: Any) -> list[inspect.Parameter]:  # noqa: ANN401
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            _KEYWORD,
            default=inspect.Parameter.empty if each.default is MISSING else each.default,
            annotation=hints[each.name],
        )
        for each in fields(group)
    ]
