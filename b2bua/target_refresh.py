"""Target refresh (RFC 3261 section 12.2): gives the device of a restored leg on an own line the Contact of the server
that has taken over, by UPDATE if the device supports it, else by a re-INVITE with the unchanged session. If the
server does not know the session's SDP, it asks the device for an offer, and the other side answers
(`b2bua.offer_crossing`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from b2bua.offer_crossing import OfferCrossing, Side
from sip.device.session import SDP, DeviceSession
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.offer_answer import AGREED
from sip.reinvite_retry import OURS, TEMPORARY_REFUSALS, wait_after
from sip.timers import Deadlines
from sip.transaction import ClientTransaction
from sip.wire.message import Response

DUE: Final = "target refresh"
SPREAD: Final = 1.0
"""Seconds over which the refreshes after a takeover are spread."""


class TargetRefresh:
    """The target refresh of one leg; the context of its client transactions."""

    __slots__ = (
        "_beyond",
        "_by_update",
        "_crosses",
        "_deadlines",
        "_hang_up",
        "_leg",
        "_random",
        "_session",
        "_until",
        "generation",
    )

    def __init__(
        self,
        deadlines: Deadlines,
        random: Random,
        leg: InviteUsage,
        session: DeviceSession,
        by_update: bool,
        beyond: Callable[[], Side | None],
        hang_up: Callable[[str, int, float], None],
        now: float,
    ) -> None:
        """``beyond`` returns the other side of the call, if it can be asked to answer an offer. ``hang_up`` ends the
        call with a Reason and a status, when the device does not know the dialog, or does not answer."""
        self.generation = 0
        self._deadlines = deadlines
        self._random = random
        self._leg = leg
        self._session = session
        self._by_update = by_update
        self._crosses = False
        """The device supports no UPDATE, and the SDP of its session is not known."""
        self._beyond = beyond
        self._hang_up = hang_up
        self._until = now + leg.stack.timers.lifetime
        deadlines.set(now + random.uniform(0.0, SPREAD), self, DUE)

    def due(self, cause: str, now: float) -> None:
        leg, offers = self._leg, self._session.offers
        if leg.ended:
            return
        busy = leg.client_invite.pending is not None or leg.server_invite.pending is not None
        if busy or now < leg.ack.free_at or leg.server_invite.awaits_ack or offers.state is not AGREED:
            self._later(now)
            return
        timer = self._session.timer
        asking = timer.asking() if timer is not None else []
        if self._crosses:
            self._cross(now)
        elif self._by_update or not offers.local:
            leg.send("UPDATE", [ALLOW, *asking], b"", now, self)
        else:
            leg.send("INVITE", [SDP, ALLOW, *asking], offers.local, now, self)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The device has sent a response."""
        status = response.status
        if status < 200:
            return
        if status < 300:
            if transaction.method == "INVITE":
                leg.acknowledge((), b"", now)
            else:
                self._session.learn(response, now)
        elif status in (405, 501) and transaction.method == "UPDATE":
            self._by_update, self._crosses = False, not self._session.offers.local
            self.due(DUE, now)
        else:
            here = Side(leg, self._session)
            self._refused(status, wait_after(response, here.ours, self._random), now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """No response came, or the request could not be sent."""
        if transaction.failure == 408 or now >= self._until:
            self._hang_up('SIP;cause=408;text="The device is gone"', 408, now)
        else:
            self._later(now)

    def _cross(self, now: float) -> None:
        here, beyond = Side(self._leg, self._session), self._beyond()
        if here.leg.ended:
            return
        if beyond is not None and not here.busy and not beyond.busy:
            OfferCrossing(self._deadlines, self._random, here, beyond, self._crossed, now)
        elif now < self._until:
            self._later(now)

    def _crossed(self, status: int, wait: float, now: float) -> None:
        if status >= 300:
            self._refused(status, wait, now)

    def _refused(self, status: int, wait: float, now: float) -> None:
        if status in (408, 481):
            self._hang_up('SIP;cause=481;text="The device does not know the call"', 481, now)
        elif status in TEMPORARY_REFUSALS and now < self._until:
            self._deadlines.set(now + wait, self, DUE)

    def _later(self, now: float) -> None:
        self._deadlines.set(now + self._random.uniform(*OURS), self, DUE)
