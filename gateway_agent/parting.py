"""The answer to the BYE of a device, which waits until a server knows of it.

Should the agent die before, its device says BYE again, to the next start of the agent: what a device was told is
known to somebody else (docs/wire.md).
"""

from __future__ import annotations

from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.server_side import ServerSide
from sip.transaction import ServerTransaction

WITHIN: Final = 0.3
"""Seconds that it waits at the most."""
_LATE: Final = "no word of a server"


class Parting:
    """One for each call."""

    __slots__ = ("_bye", "_environment", "_side", "generation")

    def __init__(self, environment: CallEnvironment, side: ServerSide) -> None:
        self._environment = environment
        self._side = side
        self._bye: ServerTransaction | None = None
        self.generation = 0

    def waits(self, asked: ServerTransaction, status: int, now: float) -> bool:
        """Whether that answer is to wait; it is then given by :meth:`end`. Without a server that keeps line states
        it goes at once."""
        request, leg, environment = asked.request, self._side.leg, self._environment
        if request is None or request.method != "BYE" or status != 200 or leg is None or leg.ended:
            return False
        if not (leg.established and environment.connected and environment.line_states.kept):
            return False
        self._bye = asked
        environment.stack.deadlines.set(now + WITHIN, self, _LATE)
        return True

    def end(self, now: float) -> None:
        """A server knows, or none said so in time."""
        bye, self._bye = self._bye, None
        if bye is not None and bye.open:
            self.generation += 1
            self._environment.stack.reply(bye, 200, now)

    def due(self, cause: str, now: float) -> None:
        self.end(now)
