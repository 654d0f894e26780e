"""Logs phones that were challenged for their REGISTER and did not try again: they have no password, or support none
of the offered digest algorithms, and would otherwise just be missing."""

from __future__ import annotations

import logging
from typing import Final

from sip.layer import Stack

WAIT: Final = 15.0
"""Seconds after a challenge in which a device answers it; one whose user types the password sends a new REGISTER."""
AGAIN: Final = 3600.0
"""Seconds between two log lines about the same phone."""

logger = logging.getLogger(__name__)


class UnansweredChallenges:
    """The open challenges of one program, at most one for each phone of the site file."""

    __slots__ = ("_armed", "_said", "_stack", "_waiting", "generation")

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._waiting: dict[str, tuple[str, float]] = {}
        """By the phone's user name: the host that was challenged first, and when."""
        self._said: dict[str, float] = {}
        self._armed = False
        self.generation = 0

    def challenged(self, user: str, host: str, now: float) -> None:
        """A REGISTER for a phone of ours came without credentials."""
        if user in self._waiting or now - self._said.get(user, -AGAIN) < AGAIN:
            return
        self._waiting[user] = host, now
        self._arm()

    def came_back(self, user: str) -> None:
        """A REGISTER with credentials came, right or wrong."""
        self._waiting.pop(user, None)

    def due(self, cause: str, now: float) -> None:
        self._armed = False
        for user, (host, at) in list(self._waiting.items()):
            if now - at < WAIT:
                break  # they are in the order of time
            del self._waiting[user]
            self._said[user] = now
            self._stack.limited_logger.warning(
                logger,
                now,
                "%s at %s was challenged for its REGISTER and did not come back: it has no password, or does not know"
                ' a digest that its line offers; try digest = ["MD5"] there',
                user,
                host,
            )
        self._arm()

    def _arm(self) -> None:
        if self._waiting and not self._armed:
            self._armed = True
            self._stack.deadlines.set(next(iter(self._waiting.values()))[1] + WAIT, self, "")
