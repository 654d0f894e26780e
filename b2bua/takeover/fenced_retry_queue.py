"""Requests that an agent refused by its fence although this server leads: they go again when it has adopted us.

The agent still obeyed an epoch before ours, or the request was written under an epoch before the present one
(docs/wire.md). Such a refusal says nothing about the call, so it is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sip.timers import Deadlines

LOOK: Final = "look after what was refused"
LONGEST: Final = 1.0
"""Seconds for which a new call waits for an agent to adopt us before it is hunted on."""
MOST: Final = 10_000
"""Requests to one agent that may wait; beyond, they are answered 500 with Retry-After."""


class Retry(NamedTuple):
    """A request that waits, as what is to be done when the agent adopts us; ``until``: at the latest."""

    again: Callable[[float], None]
    on_timeout: Callable[[float], None] | None
    """What to do when the agent does not adopt us in time; ``None``: wait on, nothing else is to be done."""
    until: float


class FencedRetryQueue:
    """What one agent refused."""

    __slots__ = ("_deadlines", "_obeys", "_waiting", "generation")

    def __init__(self, deadlines: Deadlines, obeys: Callable[[], bool]) -> None:
        """``obeys``: whether the agent is there and has adopted us under the present epoch."""
        self._deadlines = deadlines
        self._obeys = obeys
        self.generation = 0
        self._waiting: list[Retry] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(
        self, again: Callable[[float], None], now: float, on_timeout: Callable[[float], None] | None = None
    ) -> bool:
        """Keep a request; one refused for its old epoch goes again a little later, the agent being ours already.

        False when too many wait.
        """
        if len(self._waiting) >= MOST:
            return False
        self._waiting.append(Retry(again, on_timeout, now + LONGEST))
        self._deadlines.set(now + LONGEST, self, LOOK)
        return True

    def adopted(self, now: float) -> None:
        """The agent obeys us: all that it refused goes again, in the order in which it was refused."""
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
        """Another server leads: it has all of this from the agents."""
        self.generation += 1
        self._waiting = []
