"""Overload control: whether input waits too long before it is read, and the share of new calls refused because of
that.

One long wait is no sign of overload, since any burst or stall brings it; it is one when nothing is read at once any
more. Therefore the *least* wait of each half second counts (as in CoDel, RFC 8289 section 3). The refused share rises
fast and falls slowly, and does not change between two bounds (RFC 6357 section 5.2; loss-based as in RFC 7339 section
6.1, but by the server itself). To refuse a call costs far less than to serve it, so that accepted calls are served in
time.

A share alone is too slow: until it has risen, and until what came meanwhile is read, all wait for so long that they
are sent again, and what is accepted then has been given up. So in an overload whoever has waited for too long is
refused in any case, and the share no longer rises once the wait falls.
"""

from __future__ import annotations

from typing import Final

INTERVAL: Final = 0.5
"""Seconds over which the least wait is taken."""
MUCH: Final = 0.25
"""Seconds; a longer least wait is overload. It is half of SIP's T1, after which requests are retransmitted. 10,000
calls that are set up at once on a busy machine wait for a tenth of a second, and all of them are served."""
LITTLE: Final = 0.1
"""Seconds; below this least wait the refused share falls. In between it does not change."""
UP: Final = 0.15
DOWN: Final = 0.05
MOST: Final = 0.95
"""The highest share of new calls that is refused; a few are always tried."""
GRACE: Final = 5.0
"""Seconds after a takeover in which nothing is refused, since what waited for it comes at once."""


class Congestion:
    """The overload state of a process. Waits are counted by source, since of several queues the worst counts."""

    __slots__ = ("_began", "_credit", "_least", "_now", "_quiet_until", "_since", "refused", "share", "wait")

    def __init__(self) -> None:
        self.share = 0.0
        """The share of new calls that is refused now, 0 to `MOST`."""
        self.wait = 0.0
        """The least wait of the last interval in seconds, of the worst source."""
        self.refused = 0
        """Calls refused since the start."""
        self._least: dict[str, float] = {}
        self._now: dict[str, tuple[float, float]] = {}
        """Source -> its last wait, and when that was."""
        self._began = 0.0
        """When the first input was read; 0: none yet."""
        self._since = 0.0
        self._quiet_until = 0.0
        self._credit = 0.0

    def waited(self, source: str, wait: float, now: float) -> None:
        """Input of ``source`` was read ``wait`` seconds after it came. The time before this process was started, at
        sockets that outlive a process, does not count."""
        if not self._began:
            self._began = now
        if wait > now - self._began:
            wait = now - self._began
        if now >= self._since + INTERVAL:
            self._judge(now)
        self._now[source] = wait, now
        least = self._least.get(source)
        if least is None or wait < least:
            self._least[source] = wait

    def pause(self, now: float) -> None:
        """A takeover, after which the requests to another server come here at once: refuse nothing for ``GRACE``
        seconds."""
        self._quiet_until = now + GRACE

    def refuses(self, now: float) -> bool:
        """Whether this ordinary call is refused; refusals are spread evenly over the calls."""
        if now < self._quiet_until or self.share_at(now) <= 0.0:
            return False
        self._credit += self.share
        if self._credit >= 1.0:
            self._credit -= 1.0
        elif all(wait <= MUCH for wait, at in self._now.values() if now - at < INTERVAL):
            return False
        self.refused += 1
        return True

    def share_at(self, now: float) -> float:
        """The share that is refused now, also if no input has come since."""
        if now >= self._since + INTERVAL:
            self._judge(now)
        return self.share

    def _judge(self, now: float) -> None:
        """End an interval: adapt the share."""
        empty = int(min(now - self._since - INTERVAL, 60.0) / INTERVAL)  # intervals since, in which nothing came
        before, self.wait = self.wait, max(self._least.values(), default=0.0)
        if self.wait > MUCH and (not self.share or self.wait >= before):
            self.share = min(MOST, self.share + UP)
        elif self.wait < LITTLE:
            self.share -= DOWN
        self.share -= DOWN * empty
        if self.share < DOWN / 2:  # rounding errors
            self.share = self._credit = 0.0
        self._least.clear()
        self._since = now
