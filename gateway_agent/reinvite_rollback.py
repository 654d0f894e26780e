"""Rolls a re-INVITE back that the device cancelled, or that was refused towards the device, when the other side
accepts it nevertheless.

A device that has sent CANCEL, or that no server answered in time, finally gets 487 or 500. If the other side then
accepts the change, the two ends have different session descriptions. Only the agent knows both answers, and sends a
re-INVITE that brings the other side back to what the device stands by (docs/decisions.md).
"""

from __future__ import annotations

import logging
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.server_side import PendingRequest, ServerSide
from gateway_agent.session_description import SessionDescription
from sip.b2b.bridge import reasons_of
from sip.b2b.policy import LATER
from sip.header_policy import ALLOW
from sip.reinvite_retry import TEMPORARY_REFUSALS, wait_after
from sip.transaction import CALLING, TRYING, ServerTransaction
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

ROLLBACK: Final = "re-INVITE of ours"
"""The context of the re-INVITE that brings the other side back."""
MOST_TRIES: Final = 10
"""Number of such re-INVITEs that are tried."""
_BUSY_S: Final = 0.5
_HOLD: Final = "hold_attempt"
SDP: Final = "Content-Type: application/sdp"


class ReinviteRollback:
    """One for each call."""

    __slots__ = ("_description", "_environment", "_label", "_ours", "_side", "generation", "tries")

    def __init__(
        self,
        environment: CallEnvironment,
        side: ServerSide,
        description: SessionDescription,
        ours: bool,
        label: str,
    ) -> None:
        """``ours``: the server dialog has our Call-ID."""
        self._environment = environment
        self._side = side
        self._description = description
        self._ours = ours
        self._label = label
        self.generation = 0
        self.tries = 0
        """The number of the present try to bring the other side back; 0: both ends agree."""

    def accept(self) -> None:
        """Offer and answer were exchanged: both ends agree."""
        self._description.accept()
        self.tries = 0

    def hold(self, now: float) -> None:
        """A request of the device was sent to the servers: limit the time for which it waits for an answer."""
        self._environment.stack.deadlines.set(now + self._environment.hold_attempt, self, _HOLD)

    def cancelled(self, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """The device cancelled a re-INVITE: pass the CANCEL on; the device gets the other side's answer (RFC 3261
        section 9)."""
        sent, leg = self._side.sent_for(invite), self._side.leg
        if sent is None or leg is None:
            return
        if not sent.reached:
            self._give_up(sent, 487, now)
            return
        sent.cancelled = True
        sent.at = now
        leg.cancel(now, reasons_of(cancel))
        self.hold(now)

    def _hold_over(self, now: float) -> None:
        """Answer requests of the device for which the time is over: 500 to those that no server has reacted to, 487
        to a cancelled INVITE without an answer (RFC 4320)."""
        until = now - self._environment.hold_attempt + 0.001
        established = self._side.leg is not None and self._side.leg.established
        for sent in list(self._side.sent):
            if sent.client.method == "INVITE" and not established:
                continue  # the one that opens the call
            if sent.asked is not None and sent.asked.open and sent.at <= until:
                if sent.cancelled:
                    self._give_up(sent, 487, now)
                elif sent.client.state in (CALLING, TRYING):
                    self._give_up(sent, 500, now)

    def _give_up(self, sent: PendingRequest, status: int, now: float) -> None:
        asked, invite = sent.asked, sent.client.method == "INVITE"
        assert asked is not None
        asked.context.reply(asked, status, now, lines=LATER.lines if status == 500 else ())
        if invite:
            self._description.refuse_device(now)
        if not self._side.withdraw(sent, now) and invite:
            self._description.server.refuse()

    def overtaken(self, sent: PendingRequest, response: Response, now: float) -> None:
        """A 2xx came to an INVITE that is no longer open towards the device: acknowledge it, and begin to bring the
        other side back."""
        side, description = self._side, self._description
        leg = side.leg
        assert leg is not None
        if side.ended or not description.standing:
            leg.acknowledge((), b"", now)
        elif sent.offered:
            description.overtaken(response)
            leg.acknowledge((), b"", now)
            self.tries = 1
            self._ask_back(now)
        else:  # RFC 3261 section 13.2.2.4: an offer in a 2xx has its answer in the ACK
            leg.acknowledge((SDP,), description.answer_server_alone(response), now)

    def due(self, cause: str, now: float) -> None:
        if not self._side.ended:
            if cause is _HOLD:
                self._hold_over(now)
            else:
                self._ask_back(now)

    def _ask_back(self, now: float) -> None:
        """Send the re-INVITE with what the device stands by, or try later while another INVITE is under way."""
        leg = self._side.leg
        if leg is None or leg.ended or not self.tries:
            return
        if leg.client_invite.pending is not None or leg.server_invite.pending is not None:
            self._environment.stack.deadlines.set(now + _BUSY_S, self, ROLLBACK)
            return
        self._side.send("INVITE", (SDP, ALLOW), self._description.restore(), ROLLBACK, 70, now)

    def answered(self, response: Response, now: float) -> None:
        """Handle a response to that re-INVITE."""
        status, leg = response.status, self._side.leg
        assert leg is not None
        if status < 200:
            return
        if status < 300:
            self._description.restored(response, now)
            leg.acknowledge((), b"", now)
            self.tries = 0
            return
        self._description.server.refuse()
        if self.tries and status in TEMPORARY_REFUSALS and self.tries < MOST_TRIES:
            self.tries += 1
            wait = wait_after(response, self._ours, self._environment.random)
            self._environment.stack.deadlines.set(now + wait, self, ROLLBACK)
        else:
            logger.warning("%s: the other side keeps a change that its device gave up: %s", self._label, status)
            self.tries = 0
