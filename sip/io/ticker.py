"""The tick of a loop: serves the core's deadlines together, and measures how late the loop is.

Timers of transactions expire by the hundred a second, and one tick serves many of them. The loop's own timers do not
count the time that a machine is suspended, so deadlines are kept by the core in `sip.io.clock.boottime`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TICK: Final = 0.02  # seconds between two ticks
IDLE: Final = 0.1  # the same while nothing happens
_EARLY: Final = TICK / 5  # seconds by which a tick is advanced when the loop is awake anyway


class Ticker:
    """Calls ``serve(now)`` at each tick, which returns the next deadline, or None."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        serve: Callable[[float], float | None],
        waited: Callable[[float, float], None],
    ) -> None:
        """``waited(seconds, now)`` is called with the time that one round of the loop took, which is how long a ready
        event waits."""
        self.longest_stall_s = 0.0
        """The longest time that the loop stood still, in seconds (a SIGSTOP counts)."""
        self._loop = loop
        self._clock = clock
        self._serve = serve
        self._waited = waited
        self._ticking: asyncio.TimerHandle | None = None
        self._tick_at = 0.0

    def start(self) -> None:
        self._tick_after(TICK, self._clock())

    def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def take_longest_stall(self) -> float:
        """The longest stall since the last call, in seconds."""
        longest, self.longest_stall_s = self.longest_stall_s, 0.0
        return longest

    def awake(self) -> None:
        """The loop has just served an input: tick now if the next tick is near, else within `TICK` seconds."""
        if self._ticking is None:
            return
        now = self._clock()
        if now > self._tick_at - _EARLY:
            self._tick()
        elif now + TICK < self._tick_at:  # the input may have set an earlier deadline
            self._ticking.cancel()
            self._tick_after(TICK, now)

    def _tick(self) -> None:
        now = self._clock()
        self.longest_stall_s = max(self.longest_stall_s, now - self._tick_at)
        self.stop()
        at = self._serve(now)
        done_at = self._clock()
        self.longest_stall_s = max(self.longest_stall_s, done_at - now)  # serving deadlines holds up the loop, too
        self._loop.call_soon(self._round, done_at)
        self._tick_after(IDLE if at is None else min(IDLE, max(TICK, at - done_at)), done_at)

    def _round(self, asked_at: float) -> None:
        now = self._clock()
        self._waited(now - asked_at, now)

    def _tick_after(self, pause: float, now: float) -> None:
        self._tick_at = now + pause
        self._ticking = self._loop.call_later(pause, self._tick)
