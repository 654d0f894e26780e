"""RFC 3261 table 4 as numbers, and a heap of deadlines."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Final, Protocol

GRAIN: Final = 0.25
"""Seconds: the ends of remembering come together at multiples of it."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The base values, in seconds, from which section 17 derives all others."""

    t1: float = 0.5
    """Estimate of the round trip."""
    t2: float = 4.0
    """The longest interval between retransmissions."""
    t4: float = 5.0
    """How long a message may stay in the network."""
    d: float = 32.0
    """Timer D: how long a failed INVITE absorbs repeats of the final response."""

    @property
    def lifetime(self) -> float:
        """64*T1: timers B, F, H, J, L and M."""
        return 64 * self.t1


class Due(Protocol):
    """What owns deadlines. A change of ``generation`` annuls all that were set before."""

    generation: int

    def due(self, cause: str, now: float) -> None: ...


class Deadlines:
    """Who is to be woken when; annulled entries leave the heap when their time comes.

    Set and next cost about a microsecond at 100,000 entries.
    """

    __slots__ = ("_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, str, Due]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, at: float, owner: Due, cause: str) -> None:
        """Call ``owner.due(cause, now)`` at ``at``, unless its generation has changed by then."""
        self._serial += 1
        heapq.heappush(self._heap, (at, self._serial, owner.generation, cause, owner))

    def set_about(self, at: float, owner: Due, cause: str) -> None:
        """The same for an end of remembering: some fraction of a second later, together with others.

        At a thousand calls a second these are most of all deadlines, and each instant of its own would wake the loop.
        """
        self.set(math.ceil(at / GRAIN) * GRAIN, owner, cause)

    def next(self) -> float | None:
        """The earliest instant at which something is due; annulled entries that stand before it leave the heap."""
        heap = self._heap
        while heap:
            first = heap[0]
            if first[2] == first[4].generation:
                return first[0]
            heapq.heappop(heap)
        return None

    def fire(self, now: float) -> None:
        """Wake everybody whose time has come, in order of time."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, generation, cause, owner = heapq.heappop(heap)
            if generation == owner.generation:
                owner.due(cause, now)
