"""Holds the answers to a device's BYE or CANCEL, by which it knows that its call is over, until a server knows that.

If the agent dies before, the device sends BYE or CANCEL again, to the next start of the agent. So whatever a device
was told is also known to a server (docs/wire.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.server_side import ServerSide
from sip.transaction import ServerTransaction

WITHIN: Final = 0.3
"""Seconds for which answers are held at most."""
_LATE: Final = "no word of a server"


class HeldAnswers:
    """The held answers of one call."""

    __slots__ = ("_answers", "_environment", "_side", "generation")

    def __init__(self, environment: CallEnvironment, side: ServerSide) -> None:
        self._environment = environment
        self._side = side
        self._answers: list[tuple[ServerTransaction, Callable[[float], object]]] = []
        self.generation = 0

    def waits(self, asked: ServerTransaction, status: int, now: float) -> bool:
        """Whether an answer of that status to the device is to be held; the caller then gives it to `keep`. Nothing
        is held without a server that keeps line states. A final answer that is not held sends the held ones first."""
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
        """Hold the answer to the CANCEL of the INVITE that opened the call, where that is wanted; returns whether."""
        leg, stack = self._side.leg, self._environment.stack
        if leg is None or leg.ended or leg.client_invite.pending is None or leg.established or not self._kept:
            return False
        self.keep(cancel, lambda then: stack.reply(cancel, 200, then, tag=stack.token()), now)
        return True

    def keep(self, asked: ServerTransaction, give: Callable[[float], object], now: float) -> None:
        """Hold an answer, which ``give`` sends, until `end`."""
        if not self._answers:
            self._environment.stack.deadlines.set(now + WITHIN, self, _LATE)
        self._answers.append((asked, give))

    def end(self, now: float) -> None:
        """Send the held answers: a server knows of the end, or none has said so in time."""
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
        """Whether the INVITE was cancelled towards the servers and has no final answer yet."""
        invite = self._side.leg.client_invite if self._side.leg is not None else None
        return invite is not None and invite.pending is not None and invite.cancelling and self._kept
