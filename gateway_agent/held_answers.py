"""The answers by which a device knows that its call is over, to its own BYE or CANCEL: they wait until a server knows
of it too.

Should the agent die before, its device says BYE or CANCEL again, to the next start of the agent: what a device was
told is known to somebody else (docs/wire.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.server_side import ServerSide
from sip.transaction import ServerTransaction

WITHIN: Final = 0.3
"""Seconds that they wait at the most."""
_LATE: Final = "no word of a server"


class HeldAnswers:
    """One for each call."""

    __slots__ = ("_answers", "_environment", "_side", "generation")

    def __init__(self, environment: CallEnvironment, side: ServerSide) -> None:
        self._environment = environment
        self._side = side
        self._answers: list[tuple[ServerTransaction, Callable[[float], object]]] = []
        self.generation = 0

    def waits(self, asked: ServerTransaction, status: int, now: float) -> bool:
        """Whether that answer to the device is to wait; it is then to be given to `keep`. Without a server that keeps
        line states it goes at once, and what waits goes before it."""
        request, leg = asked.request, self._side.leg
        if request is not None and leg is not None and not leg.ended:
            if request.method == "BYE":
                return status == 200 and leg.established and self._kept
            if status == 487 and request.method == "INVITE" and self._given_up:
                return True
        if status >= 200:
            self.end(now)
        return False

    def cancelled(self, cancel: ServerTransaction, now: float) -> bool:
        """Whether the answer to the CANCEL of the INVITE that opened the call is to wait; it is kept then."""
        leg, stack = self._side.leg, self._environment.stack
        if leg is None or leg.ended or leg.client_invite.pending is None or leg.established or not self._kept:
            return False
        self.keep(cancel, lambda then: stack.reply(cancel, 200, then, tag=stack.token()), now)
        return True

    def keep(self, asked: ServerTransaction, give: Callable[[float], object], now: float) -> None:
        """Let an answer wait for `end`."""
        if not self._answers:
            self._environment.stack.deadlines.set(now + WITHIN, self, _LATE)
        self._answers.append((asked, give))

    def end(self, now: float) -> None:
        """A server knows, or none said so in time."""
        if self._answers:
            self.generation += 1
            answers, self._answers = self._answers, []
            for asked, give in answers:
                if asked.open:
                    give(now)

    def due(self, cause: str, now: float) -> None:
        self.end(now)

    @property
    def _kept(self) -> bool:
        return self._environment.connected and self._environment.line_states.kept

    @property
    def _given_up(self) -> bool:
        """A server is told that the INVITE is not to come about."""
        invite = self._side.leg.client_invite if self._side.leg is not None else None
        return invite is not None and invite.pending is not None and invite.cancelling and self._kept
