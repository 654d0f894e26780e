"""The channels of a line: how many calls it carries at a time, and how many begin in a second."""

from __future__ import annotations

import heapq
from typing import Final, NamedTuple

from heartbeat.site.lines import LineSettings as Settings
from sip.overload.token_bucket import TokenBucket

REFUSALS: Final = 20
"""Calls of one line per second that are refused with a transaction; others are refused without one."""


class Busy(NamedTuple):
    """Why a line takes no call now."""

    status: int
    because: str
    paced: bool = False
    """Whether the reason is that calls come faster than the line's ``cps``."""


class Channels:
    """The channels of one line, numbered from 1; the lowest free one is taken. ``full_status`` is the status with
    which a call is refused when none is free."""

    def __init__(self, settings: Settings, full_status: int, now: float) -> None:
        self.settings = settings
        self.busy = 0
        self._full_status = full_status
        self._free: list[int] = []
        self._next = 1
        self._calls = TokenBucket(settings.cps, max(1.0, settings.cps), now)
        self._refusals = TokenBucket(REFUSALS, 2 * REFUSALS, now)

    def take(self, now: float) -> int | Busy:
        """A channel for a new call, or why there is none."""
        settings = self.settings
        if self.busy >= settings.channels:
            return Busy(self._full_status, f"all {settings.channels} channels of {settings.name} are busy")
        if settings.cps and not self._within_rate(now):
            return Busy(503, f"more than {settings.cps:g} calls a second on {settings.name}", True)
        self.busy += 1
        if self._free:
            return heapq.heappop(self._free)
        channel = self._next
        self._next += 1
        return channel

    def resume(self, channel: int) -> None:
        """Take that channel for a call from before a restart. It may be beyond the channels that the line has now."""
        self.busy += 1
        if channel in self._free:
            self._free.remove(channel)
            heapq.heapify(self._free)
        for skipped in range(self._next, channel):
            heapq.heappush(self._free, skipped)
        self._next = max(self._next, channel + 1)

    def give(self, channel: int) -> None:
        """Free a channel, since its call is over."""
        self.busy -= 1
        heapq.heappush(self._free, channel)

    def remembers(self, busy: Busy, now: float) -> bool:
        """Whether a refusal is sent in a transaction: not where calls, or refusals, come faster than allowed."""
        return not busy.paced and self._refusals.take(now)

    def _within_rate(self, now: float) -> bool:
        """Whether the line's ``cps``, as it is set now, allows one more call; one second's calls may come at once."""
        rate = self.settings.cps
        if rate != self._calls.rate:
            self._calls = TokenBucket(rate, max(1.0, rate), now)
        return self._calls.take(now)
