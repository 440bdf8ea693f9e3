"""Bytes of bodies in memory, counted over all requests."""

from __future__ import annotations

from keshikaran.web.problems import RequestRefusedError


class BodyMemory:
    """How much there is. Used from the event loop's thread only.

    Args:
        total: bytes for all bodies together.
        unannounced: of these, bytes for bodies without a declared length.
    """

    def __init__(self, total: int, unannounced: int) -> None:
        self._total, self._unannounced = total, unannounced
        self.used = 0
        self._used_unannounced = 0

    def lease(self, *, announced: bool) -> Lease:
        """A request's share, empty at first. Give it back."""
        return Lease(self, announced=announced)

    def _take(self, count: int, *, announced: bool) -> None:
        if not announced and self._used_unannounced + count > self._unannounced:
            what = f"Bodies without a length have {self._unannounced:,} bytes together."
            raise RequestRefusedError("length_required", what, "Send Content-Length.", close=True)
        if self.used + count > self._total:
            what = f"All bodies have {self._total:,} bytes together."
            raise RequestRefusedError("memory_full", what, "Try again.", close=True)
        self._add(count, announced=announced)

    def _add(self, count: int, *, announced: bool) -> None:
        self.used += count
        self._used_unannounced += 0 if announced else count


class Lease:
    """What one request holds.

    Args:
        memory: where it is counted.
        announced: whether the request declared its length.
    """

    def __init__(self, memory: BodyMemory, *, announced: bool) -> None:
        self._memory, self._announced = memory, announced
        self._held = 0

    def take(self, count: int) -> None:
        """Reserve so many bytes more.

        Raises:
            RequestRefusedError: `memory_full`, `length_required`.
        """
        self._memory._take(count, announced=self._announced)
        self._held += count

    def __enter__(self) -> Lease:
        """The lease itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Give everything back."""
        self._memory._add(-self._held, announced=self._announced)
        self._held = 0
