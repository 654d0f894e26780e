"""Statistics of a process: its share of a CPU, its message rate, and the stalls of its loop."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from heartbeat import form
from heartbeat.console.views.process import ProcessStats
from heartbeat.console.views.status import Alert
from sip.overload.congestion import Congestion

MINUTE: Final = 60.0
AVERAGE: Final = 10.0
"""Seconds over which shares and rates are averages."""
APART: Final = 0.5
"""Least seconds between two stored samples; a sample that comes sooner is merged into the last one."""


class StatsSampler:
    """Samples of the last minute; one is taken every second, and one for each request."""

    def __init__(self, cpu: float, messages: int, now: float) -> None:
        self._used: deque[tuple[float, float, int]] = deque([(now, cpu, messages)])
        self._stalls: deque[tuple[float, float]] = deque()
        self._longest = 0.0

    @property
    def stall(self) -> float:
        """The longest stall of the last minute, in seconds."""
        return max((stall for _, stall in self._stalls), default=0.0)

    def sample(self, stall: float, cpu: float, messages: int, now: float) -> ProcessStats:
        """Add a sample. ``stall``: the longest stall since the last one, in seconds; ``cpu``: CPU seconds and
        ``messages``: SIP messages received, both since the start."""
        self._longest = max(self._longest, stall)
        if self._stalls and now - self._stalls[-1][0] < APART:
            at, before = self._stalls.pop()
            self._stalls.append((at, max(before, stall)))
        else:
            self._stalls.append((now, stall))
        while now - self._stalls[0][0] > MINUTE:
            self._stalls.popleft()
        if now - self._used[-1][0] >= APART:
            self._used.append((now, cpu, messages))
        while len(self._used) > 2 and now - self._used[0][0] > AVERAGE:
            self._used.popleft()
        since, cpu_then, messages_then = self._used[0]
        span = max(now - since, APART)
        return ProcessStats(
            cpu=round((cpu - cpu_then) / span, 4),
            messages_per_s=round((messages - messages_then) / span, 2),
            stall_last_minute=round(self.stall, 4),
            stall_since_start=round(self._longest, 4),
            messages=messages,
            form=form(),
        )


def with_congestion(stats: ProcessStats, congestion: Congestion, now: float) -> ProcessStats:
    """``stats`` with the waiting time of messages and the share of calls refused because of it."""
    share = round(congestion.share_at(now), 2)
    return replace(stats, wait=round(congestion.wait, 4), refused_share=share, refused=congestion.refused)


def overload_alerts(name: str, stats: ProcessStats) -> list[Alert]:
    """An alert if calls are refused because of overload."""
    if not stats.refused_share:
        return []
    said = f"{name} refuses {stats.refused_share:.0%} of new calls, for what comes waits too long until it is read"
    return [Alert("overload", f"{said}: its machine is too busy, or too many calls come")]
