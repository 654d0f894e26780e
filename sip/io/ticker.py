"""When a loop looks at the clock: seldom, together for all that is due, and whether it came late.

Ends of transactions come by the hundred a second, and one wake-up serves many. The loop's own timers would know
nothing of a machine's sleep, so deadlines are the core's, by `sip.io.clock.boottime`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TICK: Final = 0.02  # seconds between two looks whether the loop stood still, and whether deadlines have come
IDLE: Final = 0.1  # the same while nothing happens
_EARLY: Final = TICK / 5  # so much before its time a tick is taken along when the loop is awake anyway


class Ticker:
    """Calls ``serve(now)`` when it is time to; that returns the next deadline, None when there is none."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        serve: Callable[[float], float | None],
        waited: Callable[[float, float], None],
    ) -> None:
        """``waited`` is told how long one round of the loop took, and when: what is ready waits so long."""
        self.longest_stall_s = 0.0
        """Seconds that the loop stood still at most (a SIGSTOP counts)."""
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
        """The longest since the last call."""
        longest, self.longest_stall_s = self.longest_stall_s, 0.0
        return longest

    def awake(self) -> None:
        """The loop has just worked: look at the clock now when it is nearly time to, and soon in any case."""
        if self._ticking is None:
            return
        now = self._clock()
        if now > self._tick_at - _EARLY:
            self._tick()
        elif now + TICK < self._tick_at:  # what was done may have set a deadline before that
            self._ticking.cancel()
            self._tick_after(TICK, now)

    def _tick(self) -> None:
        now = self._clock()
        self.longest_stall_s = max(self.longest_stall_s, now - self._tick_at)
        self.stop()
        at = self._serve(now)
        done_at = self._clock()
        self.longest_stall_s = max(self.longest_stall_s, done_at - now)  # what is done here holds up the loop, too
        self._loop.call_soon(self._round, done_at)
        self._tick_after(IDLE if at is None else min(IDLE, max(TICK, at - done_at)), done_at)

    def _round(self, asked_at: float) -> None:
        now = self._clock()
        self._waited(now - asked_at, now)

    def _tick_after(self, pause: float, now: float) -> None:
        self._tick_at = now + pause
        self._ticking = self._loop.call_later(pause, self._tick)
