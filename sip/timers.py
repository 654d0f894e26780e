"""The timers of RFC 3261 (table 4), and a queue of deadlines."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Protocol

GRAIN: Final = 0.25
"""Seconds; deadlines of :meth:`Deadlines.set_about` are rounded to multiples of it."""

SWEEP: Final = 4096
"""So many deadlines are set between two sweeps for annulled ones."""

_LANES: Final = 6
"""One for each usual time span: T1, a pause, T4, 64*T1, a registration's, the longest ringing."""


@dataclass(frozen=True, slots=True)
class Timers:
    """The base values in seconds, from which RFC 3261 section 17 derives all others."""

    t1: float = 0.5
    """Estimate of the round trip."""
    t2: float = 4.0
    """The longest interval between retransmissions."""
    t4: float = 5.0
    """How long a message may stay in the network."""
    d: float = 32.0
    """Timer D: how long a failed INVITE absorbs retransmissions of the final response."""
    lifetime: float = field(init=False)
    """64*T1: timers B, F, H, J, L and M."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lifetime", 64 * self.t1)


class Due(Protocol):
    """The owner of deadlines. A change of ``generation`` annuls those set before."""

    generation: int

    def due(self, cause: str, now: float) -> None: ...


class Deadlines:
    """A queue of deadlines. Annulled entries are removed when their time comes, or earlier when they outnumber the
    others: a call that is answered in a second must not leave an entry for three minutes of ringing behind.

    Most deadlines are one of a few time spans from now (0.5 s, 32 s, ...), and those of one span are set in order:
    they are kept in lanes that are thus sorted, and only what fits no lane goes to a heap. Set and next take well
    under a microsecond at 100,000 entries.
    """

    __slots__ = ("_heap", "_kept", "_lanes", "_serial")

    def __init__(self) -> None:
        self._lanes: tuple[deque[Entry], ...] = tuple(deque() for _ in range(_LANES))
        """The last deadline of each lane is earlier than that of the lane before it."""
        self._heap: list[Entry] = []
        self._kept = [0] * (_LANES + 1)
        """The number of entries of each lane, and of the heap, after its last sweep."""
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap) + sum(map(len, self._lanes))

    def set(self, at: float, owner: Due, cause: str) -> None:
        """Call ``owner.due(cause, now)`` at ``at``, unless its generation has changed by then."""
        self._serial += 1
        if not self._serial % SWEEP:
            self._sweep()
        entry = (at, self._serial, owner.generation, cause, owner)
        for lane in self._lanes:
            if not lane or lane[-1][0] <= at:
                lane.append(entry)
                return
        heapq.heappush(self._heap, entry)

    def set_about(self, at: float, owner: Due, cause: str) -> None:
        """As `set`, but up to ``GRAIN`` seconds later, together with others; for the end of a transaction's life.

        At a thousand calls a second these are most deadlines, and separate times would wake the event loop for each.
        """
        self.set(at + -at % GRAIN, owner, cause)

    def next(self) -> float | None:
        """The earliest deadline; annulled entries before it are removed."""
        first: float | None = None
        for lane in self._lanes:
            while lane:
                entry = lane[0]
                if entry[2] == entry[4].generation:
                    if first is None or entry[0] < first:
                        first = entry[0]
                    break
                lane.popleft()
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2] == entry[4].generation:
                return entry[0] if first is None or entry[0] < first else first
            heapq.heappop(heap)
        return first

    def fire(self, now: float) -> None:
        """Call ``due`` of all whose deadline has come, in order of time. Where one raises, the others are left for
        the next call.
        """
        while due := self._take(now):
            while due:
                _, _, generation, cause, owner = due.pop()
                if generation == owner.generation:
                    try:
                        owner.due(cause, now)
                    except Exception:
                        self._heap.extend(due)
                        heapq.heapify(self._heap)
                        raise

    def _sweep(self) -> None:
        """Remove annulled entries where they may outnumber the others, so that the cost for each entry is small."""
        for number, entries in enumerate((*self._lanes, self._heap)):
            if len(entries) > 2 * self._kept[number] + SWEEP:
                kept = [entry for entry in entries if entry[2] == entry[4].generation]
                entries.clear()
                entries.extend(kept)
                self._kept[number] = len(kept)
                if entries is self._heap:
                    heapq.heapify(self._heap)

    def _take(self, now: float) -> list[Entry]:
        """All entries that are due, the first one last."""
        due: list[Entry] = []
        for lane in self._lanes:
            while lane and lane[0][0] <= now:
                due.append(lane.popleft())
        heap = self._heap
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap))
        due.sort(reverse=True)
        return due


Entry = tuple[float, int, int, str, Due]
