"""The last hour of a server in a few numbers, for its page. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

EVERY: Final = 10.0
"""Seconds between two points."""
POINTS: Final = 360


class Point(NamedTuple):
    """One of them."""

    at: float
    calls: int
    per_second: float
    """New calls."""
    cpu: float
    """Percent of a processor."""
    stall: float
    """Milliseconds for which the loop stood still at most, in the last minute."""


class Trend:
    """See the module."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS)

    def note(self, now: float, calls: int, per_second: float, cpu: float, stall: float) -> None:
        """How it is now; it counts when its time has come."""
        if not self.points or now - self.points[-1].at >= EVERY:
            self.points.append(Point(now, calls, round(per_second, 2), round(100 * cpu, 1), round(1000 * stall)))

    def view(self, offset: float) -> list[list[Any]]:
        """All points, the oldest first, by the wall clock that ``offset`` makes."""
        return [[round(point.at + offset), *point[1:]] for point in self.points]
