"""A re-INVITE to a device whose session's SDP the server does not know, as after a takeover in a call without agents.
The device is asked for an offer (RFC 3261 section 13.2.1), the device on the other side answers it, and the answer
goes back in the ACK (RFC 3725 section 7). Both devices thereby learn the new server's Contact, and the server their
SDP.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from sip.device.session import SDP, DeviceSession
from sip.dialog import UAC
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.offer_answer import description_in
from sip.reinvite_retry import OURS, TEMPORARY_REFUSALS, wait_after
from sip.timers import Deadlines
from sip.transaction import ClientTransaction
from sip.wire import sdp
from sip.wire.message import Message, Response

ASK: Final = "ask the other side"
WAIT_S: Final = 20.0
"""Seconds that an offer may wait; its sender repeats the 2xx for 64*T1, 32 seconds (RFC 3261 section 13.3.1.4)."""
FREE_S: Final = 0.5
"""Seconds until a busy other side is tried again."""


class Side(NamedTuple):
    """One of the two devices."""

    leg: InviteUsage
    session: DeviceSession

    @property
    def busy(self) -> bool:
        """Whether no INVITE may be sent to the device now (RFC 3261 section 14.1)."""
        leg = self.leg
        pending = leg.client_invite.pending or leg.server_invite.pending
        return bool(pending) or leg.server_invite.awaits_ack or leg.ack.pending

    @property
    def ours(self) -> bool:
        """Whether the server has opened the dialog, and so owns its Call-ID."""
        return self.leg.dialog.direction == UAC


class OfferCrossing:
    """One such exchange; the context of both INVITEs."""

    __slots__ = ("_deadlines", "_here", "_offer", "_over", "_random", "_there", "_until", "generation")

    def __init__(
        self,
        deadlines: Deadlines,
        random: Random,
        here: Side,
        there: Side,
        over: Callable[[int, float, float], None],
        now: float,
    ) -> None:
        """Ask ``here`` for an offer at once; neither side may be busy. ``over`` is called once, with the final status
        (200, that of a refusal, or 408) and the seconds until another try."""
        self.generation = 0
        self._deadlines = deadlines
        self._random = random
        self._here = here
        self._there = there
        self._over = over
        self._offer = b""
        self._until = now + WAIT_S
        here.leg.send("INVITE", [ALLOW, *here.session.asking()], b"", now, self)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """One of the two devices has sent a response."""
        status = response.status
        if status < 200:
            return
        if leg is self._there.leg:
            self._answered_there(response, now)
        elif status >= 300:
            self._over(status, wait_after(response, self._here.ours, self._random), now)
        elif offer := _described(response):
            self._offer = offer
            self._here.session.offers.receive(offer)
            self.due(ASK, now)
        else:  # the 2xx has no offer, but the device has learned the new Contact all the same
            leg.acknowledge((), b"", now)
            self._over(200, 0.0, now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """No response came, or the request could not be sent."""
        if leg is self._there.leg:
            self._there.session.offers.refuse()
            self._decline(transaction.failure, now)
        else:
            self._over(transaction.failure, self._random.uniform(*OURS), now)

    def due(self, cause: str, now: float) -> None:
        """Send the offer to the other side."""
        here, there = self._here, self._there
        if here.leg.ended or there.leg.ended:  # the end of a call acknowledges what is pending
            return
        if there.busy:
            self._later(491, FREE_S, now)
            return
        passed = there.session.offers.continued(self._offer)
        there.session.offers.send(passed)
        there.leg.send("INVITE", [SDP, ALLOW, *there.session.asking()], passed, now, self)

    def _answered_there(self, response: Response, now: float) -> None:
        leg, session = self._there
        if response.status >= 300:
            session.offers.refuse()
            self._later(response.status, wait_after(response, self._there.ours, self._random), now)
            return
        answer = _described(response)
        if answer:
            session.offers.receive(answer)
        session.offers.accept()
        leg.acknowledge((), b"", now)
        if answer:
            self._answer(answer, now)
            self._over(200, 0.0, now)
        else:
            self._decline(488, now)

    def _later(self, status: int, wait: float, now: float) -> None:
        if status in TEMPORARY_REFUSALS and now + wait < self._until:
            self._deadlines.set(now + wait, self, ASK)
        else:
            self._decline(status, now)

    def _decline(self, status: int, now: float) -> None:
        """The other side does not answer the offer, but the ACK must have an answer (RFC 3261 section 13.2.2.4)."""
        try:
            answer = sdp.inactive(self._offer)
        except sdp.SdpError:
            answer = sdp.refused(self._offer)
        self._answer(answer, now)
        self._over(status, self._random.uniform(*OURS), now)

    def _answer(self, answer: bytes, now: float) -> None:
        leg, session = self._here
        if leg.ended:
            return
        passed = session.offers.continued(answer)
        session.offers.send(passed)
        session.offers.accept()
        leg.acknowledge([SDP], passed, now)


def _described(message: Message) -> bytes:
    where = description_in(message)
    return message.body[where.start : where.stop] if where is not None else b""
