"""A token bucket: so many at once, then so many a second."""

from __future__ import annotations


class TokenBucket:
    """Full at first. ``most`` at least 1; times in seconds."""

    __slots__ = ("_at", "_left", "most", "rate")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self.rate = rate
        """Tokens added each second."""
        self.most = most
        """Tokens that it holds at most."""
        self._left = most
        self._at = now

    def take(self, now: float, much: float = 1.0) -> bool:
        """Take one token, or ``much``; ``False``: there are fewer."""
        self._fill(now)
        if self._left < much:
            return False
        self._left -= much
        return True

    def wait(self, now: float) -> float:
        """Seconds until there is a token to take; 0: there is one."""
        self._fill(now)
        return max(0.0, (1.0 - self._left) / self.rate) if self.rate > 0 else 0.0

    def is_full(self, now: float) -> bool:
        """Whether it is full, as when it was new."""
        self._fill(now)
        return self._left >= self.most

    def _fill(self, now: float) -> None:
        self._left = min(self.most, self._left + max(0.0, now - self._at) * self.rate)
        self._at = now
