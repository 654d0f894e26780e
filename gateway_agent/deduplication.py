"""Deduplication by origin key: a request that servers, the same or two, send twice reaches the device once
(docs/wire.md)."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from sip.timers import Deadlines
from sip.wire.message import Request, Response

MOST_KEY: Final = 300
"""Characters of an origin key; a longer one is ignored."""


class Remembered:
    """A request of a server. It is remembered by its origin key until 64*T1 after its final answer."""

    __slots__ = ("expires_at", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        """The origin key; ``""`` for a request without one, whose repeats cannot be recognised."""
        self.expires_at = 0.0


R = TypeVar("R", bound=Remembered)


class Deduplication(Generic[R]):
    """Requests by origin key. All are kept equally long after their final answer, so answered ones are removed in the
    order of those answers."""

    __slots__ = ("_answered", "_deadlines", "_known", "generation", "lifetime", "most")

    def __init__(self, lifetime: float, deadlines: Deadlines, most: int = 200_000) -> None:
        """``lifetime``: seconds for which a key is kept after the final answer. ``most``: greatest number of keys."""
        self.lifetime = lifetime
        self._deadlines = deadlines
        self.generation = 0
        self.most = most
        self._known: dict[str, R] = {}
        self._answered: deque[R] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> R | None:
        return self._known.get(key) if key else None

    def add(self, received: R, now: float) -> None:
        """Remember a new request. At the limit, the requests answered longest ago are forgotten early."""
        self.purge(now)
        if received.key:
            while len(self._known) >= self.most and self._answered:
                self._known.pop(self._answered.popleft().key, None)
            self._known[received.key] = received

    def answered(self, received: R, now: float) -> None:
        """Note that a request was finally answered."""
        if received.key:
            received.expires_at = now + self.lifetime
            if not self._answered:
                self._deadlines.set_about(received.expires_at, self, "expire")
            self._answered.append(received)

    def due(self, cause: str, now: float) -> None:
        self.purge(now)
        if self._answered:
            self._deadlines.set_about(self._answered[0].expires_at, self, "expire")

    def purge(self, now: float) -> None:
        """Forget requests whose time is over."""
        answered = self._answered
        while answered and answered[0].expires_at <= now:
            self._known.pop(answered.popleft().key, None)


def key_of(request: Request) -> str:
    """The origin key of a request from a server, ``""`` when it has none, or too long a one."""
    value = request.get("call-origin")
    return value if value is not None and len(value) <= MOST_KEY else ""


def place_of(response: Response) -> tuple[int, int] | None:
    """(attempt, n) from the Call-Origin of a response that a server passed on; ``None`` when the server made the
    response itself."""
    value = response.get("call-origin")
    if value is None:
        return None
    key, mark, n = value.rpartition(";n=")
    attempt = key.rpartition(";")[2]
    if not mark or not (n.isdecimal() and attempt.isdecimal()) or len(n) > 9 or len(attempt) > 9:
        return None
    return int(attempt), int(n)
