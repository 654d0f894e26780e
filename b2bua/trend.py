"""Figures of a server's last hour, for its web page. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

EVERY: Final = 10.0
"""Seconds between two points."""
POINTS: Final = 360


class Point(NamedTuple):
    """The figures at one time."""

    at: float
    calls: int
    per_second: float
    """New calls a second."""
    cpu: float
    """Percent of a processor."""
    stall: float
    """The longest stall of the event loop in the last minute, in milliseconds."""


class Trend:
    """See the module."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS)

    def note(self, now: float, calls: int, per_second: float, cpu: float, stall: float) -> None:
        """Note the present figures; they are kept once in `EVERY` seconds."""
        if not self.points or now - self.points[-1].at >= EVERY:
            self.points.append(Point(now, calls, round(per_second, 2), round(100 * cpu, 1), round(1000 * stall)))

    def view(self, offset: float) -> list[list[Any]]:
        """All points, the oldest first; ``offset``: seconds to add for epoch time."""
        return [[round(point.at + offset), *point[1:]] for point in self.points]
