"""Averages over about the last ten seconds: calls and messages a second."""

from __future__ import annotations

from collections import deque
from typing import Final

from heartbeat.console.views.status import Rates

SPAN: Final = 10.0
"""Seconds over which the averages are taken."""


class RateMeter:
    """Makes averages from counters that are read now and then."""

    def __init__(self, now: float) -> None:
        self._seen: deque[tuple[float, int, int]] = deque([(now, 0, 0)], maxlen=100)

    def read(self, calls: int, messages: int, now: float) -> Rates:
        """The averages; ``calls`` and ``messages``: the present values of the counters."""
        seen = self._seen
        seen.append((now, calls, messages))
        while len(seen) > 2 and now - seen[0][0] > SPAN:
            seen.popleft()
        first, last = seen[0], seen[-1]
        span = max(last[0] - first[0], 1e-3)
        return Rates(
            calls_per_s=round((last[1] - first[1]) / span, 2),
            messages_per_s=round((last[2] - first[2]) / span, 2),
        )
