"""Requests that an agent's fence refused although this server leads: sent again once the agent has adopted it.

Either the agent still obeyed an earlier epoch, or the request was built under an earlier epoch (docs/wire.md). Such a
refusal says nothing about the call, so it is not treated as an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sip.timers import Deadlines

LOOK: Final = "look after what was refused"
LONGEST: Final = 1.0
"""Seconds for which a new call waits for the agent to adopt this server, before the next target is tried."""
MOST: Final = 10_000
"""Requests to one agent that may wait; further ones are answered 500 with Retry-After."""


class Retry(NamedTuple):
    """A waiting request: ``again`` sends it once more; ``on_timeout`` is due at ``until``, on the core's clock."""

    again: Callable[[float], None]
    on_timeout: Callable[[float], None] | None
    """Called when the agent has not adopted this server in time; ``None``: the request waits on."""
    until: float


class FencedRetryQueue:
    """The waiting requests of one agent."""

    __slots__ = ("_deadlines", "_obeys", "_waiting", "generation")

    def __init__(self, deadlines: Deadlines, obeys: Callable[[], bool]) -> None:
        """``obeys``: whether the agent is connected and has adopted this server under the present epoch."""
        self._deadlines = deadlines
        self._obeys = obeys
        self.generation = 0
        self._waiting: list[Retry] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(
        self, again: Callable[[float], None], now: float, on_timeout: Callable[[float], None] | None = None
    ) -> bool:
        """Keep a request. If it was refused only because it was built under an older epoch, the agent has adopted
        this server already, and the request goes again when the deadline comes.

        False when too many wait.
        """
        if len(self._waiting) >= MOST:
            return False
        self._waiting.append(Retry(again, on_timeout, now + LONGEST))
        self._deadlines.set(now + LONGEST, self, LOOK)
        return True

    def adopted(self, now: float) -> None:
        """The agent has adopted this server: send all refused requests again, in the order of refusal."""
        waiting, self._waiting = self._waiting, []
        self.generation += 1
        for each in waiting:
            each.again(now)

    def due(self, cause: str, now: float) -> None:
        if self._obeys():
            self.adopted(now)
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.on_timeout is None or each.until > now:
                self._waiting.append(each)
            else:
                each.on_timeout(now)

    def clear(self) -> None:
        """Another server leads, which gets these requests from the agents: forget them."""
        self.generation += 1
        self._waiting = []
