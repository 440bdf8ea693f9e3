"""Bytes of bodies in memory, counted over all requests.

A body that finds no room waits, and its client with it: nothing is read from its socket meanwhile.
If all large bodies wait for each other, the one that came last is refused, so that the others can
be completed.
"""

from __future__ import annotations

import asyncio

from keshikaran.web.problems import RequestRefusedError

SMALL_BYTES = 256 * 1024
"""What any body may have without waiting behind larger ones."""

READ_AHEAD_BYTES = 128 * 1024
"""What the HTTP server hands over at a time, at most: it stops reading above 64 KiB."""

_FOR_SMALL = 32


class BodyMemory:
    """How much there is. Used from the event loop's thread only.

    Args:
        total: bytes for all bodies together; a thirty-second part is kept for small ones.
        unannounced: of these, bytes for bodies without a declared length.
        wait_s: how long a body may wait for room.
    """

    def __init__(self, total: int, unannounced: int, wait_s: float) -> None:
        self._total, self._unannounced = total, unannounced
        self._for_large = for_large(total)
        self._wait_s = wait_s
        self._open: dict[Lease, asyncio.Future[bool] | None] = {}  # in the order they came
        self.used = 0
        self._used_unannounced = 0

    def lease(self, declared: int | None) -> Lease:
        """A request's share, empty at first. Give it back.

        Args:
            declared: the body's length; None if it was not announced.
        """
        return Lease(self, declared)

    async def wait_for(self, lease: Lease, count: int) -> None:
        """Reserve bytes for a lease as soon as they can be had.

        Raises:
            RequestRefusedError: `memory_full`.
        """
        self._open.setdefault(lease, None)
        if self._fits(lease, count) and not self._is_behind(lease, count):
            self._add(lease, count)
            return
        turn = self._open[lease] = asyncio.get_running_loop().create_future()
        lease.wanted = count
        self._let_go_on()
        try:
            # Not an exception of the future's: its traceback would keep the body, in a circle.
            async with asyncio.timeout(self._wait_s):
                served = await turn
        except TimeoutError:
            served = False
        finally:
            if lease in self._open:
                self._open[lease] = None
        if not served:
            raise self._full()

    def take(self, lease: Lease, count: int) -> None:
        """Reserve bytes that are here already.

        Raises:
            RequestRefusedError: `memory_full`, `length_required`.
        """
        if lease.declared is None and self._used_unannounced + count > self._unannounced:
            what = f"Bodies without a length have {self._unannounced:,} bytes together."
            raise RequestRefusedError("length_required", what, "Send Content-Length.", close=True)
        if self.used + count > self._total:
            raise self._full()
        self._add(lease, count)

    def complete(self, lease: Lease) -> None:
        """A body is here: it waits for nobody any more, and will be given back."""
        self._open.pop(lease, None)

    def give_back(self, lease: Lease) -> None:
        """A request has ended."""
        self._open.pop(lease, None)
        self._add(lease, -lease.held)
        self._let_go_on()

    def _fits(self, lease: Lease, count: int) -> bool:
        most = self._total if lease.held + count <= SMALL_BYTES else self._for_large
        return self.used + count <= most

    def _is_behind(self, lease: Lease, count: int) -> bool:
        """Whether an older large body waits; a small one passes it."""
        if lease.held + count <= SMALL_BYTES:
            return False
        for other, turn in self._open.items():
            if other is lease:
                return False
            if turn is not None:
                return True
        return False

    def _let_go_on(self) -> None:
        """Serve those who wait, the oldest first; refuse the last if they wait for each other."""
        waiting = [(lease, turn) for lease, turn in self._open.items() if turn and not turn.done()]
        for lease, turn in waiting:
            if not self._fits(lease, lease.wanted):
                break
            self._add(lease, lease.wanted)
            turn.set_result(True)
            waiting = waiting[1:]
        if len(waiting) > 1 and not self._somebody_moves():
            waiting[-1][1].set_result(False)

    def _somebody_moves(self) -> bool:
        """Whether room will come by itself: from a body that is here, or a large one arriving."""
        if self.used > sum(lease.held for lease in self._open):
            return True
        return any(
            lease.held > SMALL_BYTES and (turn is None or turn.done())
            for lease, turn in self._open.items()
        )

    def _full(self) -> RequestRefusedError:
        what = f"All bodies have {self._total:,} bytes together."
        return RequestRefusedError("memory_full", what, "Try again.", close=True)

    def _add(self, lease: Lease, count: int) -> None:
        lease.held += count
        self.used += count
        self._used_unannounced += 0 if lease.declared is not None else count


class Lease:
    """What one request holds.

    Args:
        memory: where it is counted.
        declared: the length that the request declared.

    Attributes:
        held: bytes reserved.
        wanted: bytes it waits for, or waited for last.
    """

    def __init__(self, memory: BodyMemory, declared: int | None) -> None:
        self._memory, self.declared = memory, declared
        self.held = self.wanted = self._received = 0

    async def make_room(self) -> None:
        """Wait until the next piece can be held; a body of unknown length does not wait.

        Raises:
            RequestRefusedError: `memory_full`.
        """
        if self.declared is None:
            return
        ahead = min(READ_AHEAD_BYTES, self.declared - self._received)
        if (missing := self._received + ahead - self.held) > 0:
            await self._memory.wait_for(self, missing)

    def take(self, count: int) -> None:
        """Bytes have come.

        Raises:
            RequestRefusedError: `memory_full`, `length_required`.
        """
        self._received += count
        if (missing := self._received - self.held) > 0:
            self._memory.take(self, missing)

    def complete(self) -> None:
        """All of them have."""
        self._memory.complete(self)

    def __enter__(self) -> Lease:
        """The lease itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Give everything back."""
        self._memory.give_back(self)


def for_large(total: int) -> int:
    """Of all bytes those that large bodies may have."""
    return total - total // _FOR_SMALL
