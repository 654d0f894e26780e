"""The device dialog of a call, and what the agent does in it by itself: the session timer (RFC 4028), the ACK where
no server sends one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.line import Line
from gateway_agent.session_description import SessionDescription
from sip.b2b.policy import NOTHING, Passed
from sip.device.session_timer import SessionTimer
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

REFRESH: Final = "refresh"
"""The context of a re-INVITE that only refreshes the session."""
_BUSY_S: Final = 2.0
_SDP: Final = "Content-Type: application/sdp"


class DeviceSide:
    """See the module. ``leg`` is there once it is known which device it is."""

    __slots__ = ("_environment", "description", "ends_at", "leg", "line", "timer")

    def __init__(self, environment: CallEnvironment, line: Line, description: SessionDescription) -> None:
        self._environment = environment
        self.line = line
        self.description = description
        self.leg: InviteUsage | None = None
        self.timer: SessionTimer | None = None
        self.ends_at = math.inf
        """The end of the longest call."""

    @property
    def next_at(self) -> float:
        """When :meth:`look` wants to be called."""
        return min(self.ends_at, self.timer.next_at if self.timer is not None else math.inf)

    def answered(self, now: float) -> None:
        """The call is answered."""
        settings = self.line.settings
        if settings.longest_call:
            self.ends_at = now + settings.longest_call
        self.description.anchor.watch(settings.media_timeout)

    def send(
        self,
        leg: InviteUsage,
        method: str,
        lines: Sequence[str],
        body: bytes,
        context: ServerTransaction | str,
        max_forwards: int,
        now: float,
    ) -> ClientTransaction:
        """Send a request in a dialog."""
        if method == "INVITE" and self.timer is not None:
            lines = (*lines, *self.timer.asking())
        return leg.send(method, lines, body, now, context, max_forwards)

    def learn(self, response: Response, now: float) -> None:
        """A 2xx to an INVITE of ours."""
        if self.timer is not None:
            self.timer.learn(response, now)

    def agree(self, request: Request | None, now: float) -> list[str]:
        """The lines of a 2xx to an INVITE of the device."""
        return self.timer.agree(request, now) if self.timer is not None and request is not None else []

    def answer_refresh(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Answer a re-INVITE that changes nothing, or asks for too short an interval; it never leaves the hop. False
        when it is neither.
        """
        if self.timer is None:
            return False
        if too_little := self.timer.asks_too_little(request):
            self._environment.stack.reply(transaction, 100, now)
            leg.reply(transaction, 422, now, lines=too_little)
            return True
        if not self.description.refreshes(request):
            return False
        self._environment.stack.reply(transaction, 100, now)
        lines = [*self.timer.agree(request, now), ALLOW, _SDP]
        leg.reply(transaction, 200, now, lines=lines, body=self.description.agreed)
        return True

    def answer_alone(self, asked_for_offer: bool) -> Passed | None:
        """What an ACK that no server sent has in it; None where none is awaited, or none can be given.

        An offer in the 2xx is answered with what the device knows of the far end; of a new call it knows nothing.
        """
        leg = self.leg
        if leg is None or not leg.ack.pending or leg.ended:
            return None
        if not asked_for_offer:
            return NOTHING
        body = self.description.answer_device_alone()
        return Passed((_SDP,), body) if body else None

    def refreshed(self, leg: InviteUsage, response: Response, own_dialog: bool, now: float) -> bool:
        """The answer to our own refresh; ``own_dialog``: its Call-ID is ours. False: the device does not know
        the call any more.
        """
        if 200 <= response.status < 300:
            leg.acknowledge((), b"", now)
        elif response.status >= 300 and self.timer is not None:
            return self.timer.refused(response, own_dialog, self._environment.random, now)
        return True

    def look(self, now: float) -> tuple[str, int]:
        """Do what is due by the long timers: Reason and status to end the call with; ``("", 0)`` when not."""
        timer, leg = self.timer, self.leg
        if now >= self.ends_at:
            return 'Q.850;cause=31;text="Longest call"', 200
        if timer is None or leg is None:
            return "", 0
        if now >= timer.expires_at:
            return 'SIP;cause=408;text="Session expired"', 408
        if timer.ours and now >= timer.refresh_at:
            busy = leg.client_invite.pending is not None or leg.server_invite.pending is not None
            if busy or now < leg.ack.free_at or leg.server_invite.awaits_ack:
                timer.refresh_at = now + _BUSY_S
            else:
                timer.refresh_at = timer.expires_at
                body = self.description.agreed
                self.send(leg, "INVITE", (_SDP, ALLOW) if body else (ALLOW,), body, REFRESH, 70, now)
        return "", 0
