"""Why an address could not be fetched."""

from __future__ import annotations

from keshikaran.types import ImportReason


class FetchError(Exception):
    """One address could not be fetched.

    Args:
        reason: the code.
        detail: what happened, in words.
        is_passing: whether trying again later may help.
        status: of HTTP; None if there was no answer.
        wait_s: how long the server asks to wait; None if it does not say.
    """

    def __init__(
        self,
        reason: ImportReason,
        detail: str,
        *,
        is_passing: bool = False,
        status: int | None = None,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: ImportReason = reason
        self.detail = detail
        self.is_passing = is_passing
        self.status = status
        self.wait_s = wait_s
