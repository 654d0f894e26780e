"""Whether what comes waits too long before it is read, and which share of new calls is refused because of that.

The sign of too much work is not one long wait, which any burst or stall brings, but that nothing is read at once any
more: the *least* wait of each half second counts (as in CoDel, RFC 8289 section 3). The share that is refused rises
fast and falls slowly, and stands still between two bounds (RFC 6357 section 5.2; of RFC 7339 section 6.1 the
loss-based kind, by the server itself). To refuse a call costs far less than to serve it, so those that are taken are
served in time.
"""

from __future__ import annotations

from typing import Final

INTERVAL: Final = 0.5
"""Seconds over which the least wait is looked for."""
MUCH: Final = 0.25
"""Seconds: a longer least wait is too much work: half of SIP's T1, after which all is sent again. On a machine that
is merely busy, 10,000 calls that are set up at once wait for a tenth of a second, and all of them are served."""
LITTLE: Final = 0.1
"""Seconds: below it there is room. In between nothing changes."""
UP: Final = 0.15
DOWN: Final = 0.05
MOST: Final = 0.95
"""Of new calls: some are tried, whatever is going on."""
GRACE: Final = 5.0
"""Seconds after a takeover in which nothing is refused: what waited for it comes at once."""


class Congestion:
    """One for each process; told of waits by source, since of several queues the worst counts."""

    __slots__ = ("_began", "_credit", "_least", "_quiet_until", "_since", "refused", "share", "wait")

    def __init__(self) -> None:
        self.share = 0.0
        """Of new calls that are refused now."""
        self.wait = 0.0
        """The least wait in the last interval, seconds."""
        self.refused = 0
        """Calls that were refused, since the start."""
        self._least: dict[str, float] = {}
        self._began = 0.0
        """When something was read first; 0: nothing was yet."""
        self._since = 0.0
        self._quiet_until = 0.0
        self._credit = 0.0

    def waited(self, source: str, wait: float, now: float) -> None:
        """Something of ``source`` was read ``wait`` seconds after it came. How long it waited for a process that did
        not run yet, at sockets that outlive it, is no sign of its work."""
        if not self._began:
            self._began = now
        if wait > now - self._began:
            wait = now - self._began
        if now >= self._since + INTERVAL:
            self._judge(now)
        least = self._least.get(source)
        if least is None or wait < least:
            self._least[source] = wait

    def pause(self, now: float) -> None:
        """What was asked of another server comes here at once: refuse nothing for a while."""
        self._quiet_until = now + GRACE

    def refuses(self, now: float) -> bool:
        """Whether one more ordinary call is refused; spread evenly over all that come."""
        if now < self._quiet_until or self.share_at(now) <= 0.0:
            return False
        self._credit += self.share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        self.refused += 1
        return True

    def share_at(self, now: float) -> float:
        """The share that is refused now; nothing that waited is heard of where nothing comes."""
        if now >= self._since + INTERVAL:
            self._judge(now)
        return self.share

    def _judge(self, now: float) -> None:
        """An interval is over."""
        empty = int(min(now - self._since - INTERVAL, 60.0) / INTERVAL)  # intervals since, in which nothing came
        self.wait = max(self._least.values(), default=0.0)
        if self.wait > MUCH:
            self.share = min(MOST, self.share + UP)
        elif self.wait < LITTLE:
            self.share -= DOWN
        self.share -= DOWN * empty
        if self.share < DOWN / 2:  # what is left of sums
            self.share = self._credit = 0.0
        self._least.clear()
        self._since = now
