"""What a stress test found, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Size = Literal["quick", "full"]
"""`quick` is for every test run, seconds each; `full` is what docs/reliability.md reports."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Attributes:
        question: in one sentence.
        figures: what was counted or measured, by name, with units in the names.
        failures: each thing that should not have happened, in words; empty is good.
    """

    question: str
    figures: dict[str, Any]
    failures: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def to_markdown(self) -> str:
        """A paragraph for docs/reliability.md."""
        rows = [f"| {name} | {_shown(value)} |" for name, value in self.figures.items()]
        verdict = "Held." if self.held else f"**{len(self.failures)} failures.**"
        lines = [f"### {self.question}", "", verdict, "", "| | |", "|---|---|", *rows]
        lines += ["", *(f"- {words}" for words in self.failures[:20])] if self.failures else []
        return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
