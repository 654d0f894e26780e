"""What becomes of a re-INVITE that its device gave up, or was told was given up, while the other side has it.

A device that has sent CANCEL, or that no server answered in time, is told 487 or 500 in the end. When the other side
accepts the change all the same, the two ends would live by different descriptions: the agent, which alone knows both
words, then asks the other side back to what its device stands by (docs/decisions.md).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway_agent.call import HOLD, Call
from gateway_agent.pending import Own, Sent
from sip.header_policy import ALLOW
from sip.invite import InviteUsage
from sip.transaction import CALLING, TRYING, ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line

logger = logging.getLogger(__name__)

UNDO: Final = "undo a change"
MOST_TRIES: Final = 10
"""Times that the other side is asked back to what the device stands by."""
_OURS: Final = (2.1, 4.0)
_THEIRS: Final = (0.0, 2.0)
"""Seconds to wait after 491, by whose Call-ID it is (RFC 3261 section 14.1)."""
_BUSY_S: Final = 0.5
_SDP: Final = "Content-Type: application/sdp"


class Changes(Call):
    """A call whose description changes, or does not."""

    __slots__ = ("undoing",)

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        super().__init__(core, line, channel, number, now)
        self.undoing = 0
        """How often the other side was, or is next to be, asked back; 0: both ends agree."""

    def agreed(self) -> None:
        """Offer and answer were exchanged: both ends live by what the device said last."""
        self.description.accept()
        self.undoing = 0

    # -- CANCEL of a re-INVITE ------------------------------------------------------------------------------------

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """200 was said to the CANCEL; the answer to the INVITE is what the other side says (RFC 3261 section 9)."""
        reason = cancel.get("reason")
        lines = (f"Reason: {reason}",) if reason else ()
        if leg is self.server:
            self._cancelled_by_server(invite, lines, now)
        else:
            self._cancelled_by_device(leg, invite, lines, now)

    def _cancelled_by_server(self, invite: ServerTransaction, lines: tuple[str, ...], now: float) -> None:
        received = next((one for one in self.received if one.transaction is invite), None)
        if received is None:
            return
        received.cancelled = True
        own = (
            self.device.pending_client_invite.context
            if self.device is not None and self.device.pending_client_invite is not None
            else None
        )
        if self.device is not None and isinstance(own, Own) and own.received is received:
            self.device.cancel(now, lines)
        else:  # it has not gone to the device yet
            self.respond(received, 487, now)

    def _cancelled_by_device(
        self, leg: InviteUsage, invite: ServerTransaction, lines: tuple[str, ...], now: float
    ) -> None:
        sent = next((one for one in self.sent if one.asked is invite), None)
        if sent is None or self.server is None:
            return
        if not sent.reached:
            self._give_up(sent, 487, now)
            return
        sent.cancelled = True
        sent.at = now
        self.server.cancel(now, lines)
        self.core.stack.deadlines.set(now + self.core.hold_attempt, self, HOLD)

    def _hold_over(self, now: float) -> None:
        """No server said anything in time, or nobody anything to a CANCEL: the device is told so (RFC 4320)."""
        until = now - self.core.hold_attempt + 0.001
        for sent in list(self.sent):
            asked, client = sent.asked, sent.client
            if asked is None or client is None or not asked.open or sent.at > until:
                continue
            if sent.cancelled:
                self._give_up(sent, 487, now)
            elif client.state in (CALLING, TRYING):
                self._give_up(sent, 500, now)

    def _give_up(self, sent: Sent, status: int, now: float) -> None:
        if self.device is not None and sent.asked is not None:
            self.device.reply(sent.asked, status, now, lines=("Retry-After: 5",) if status == 500 else ())
        if sent.client is not None and sent.client.method == "INVITE":
            self.description.refuse_device(now)
        self.withdraw(sent, now)

    # -- what the other side accepted all the same ----------------------------------------------------------------

    def accepted_too_late(self, leg: InviteUsage, response: Response, offered: bool, now: float) -> None:
        """A 2xx to an INVITE that the device has given up; ``offered``: the INVITE had the offer in it."""
        if self.ended is not None or not self.description.standing:
            leg.acknowledge((), b"", now)
        elif offered:
            self.description.overtaken(response)
            leg.acknowledge((), b"", now)
            self.undoing = 1
            self._undo(now)
        else:  # RFC 3261 section 13.2.2.4: an offer in a 2xx has its answer in the ACK
            leg.acknowledge((_SDP,), self.description.answer_server_alone(response), now)

    def _undo(self, now: float) -> None:
        """Ask the other side back to what the device stands by."""
        server = self.server
        if server is None or server.ended or self.ended is not None or not self.undoing:
            return
        if server.pending_client_invite is not None or server.invite is not None:
            self.core.stack.deadlines.set(now + _BUSY_S, self, UNDO)
            return
        self.to_server("INVITE", (_SDP, ALLOW), self.description.restore(), now, None, 70)

    def undone(self, leg: InviteUsage, response: Response, now: float) -> None:
        """The final answer to that."""
        status = response.status
        if status < 300:
            self.description.restored(response, now)
            leg.acknowledge((), b"", now)
            self.undoing = 0
            return
        self.description.server.refuse()
        if self.undoing and status in (491, 500, 503) and self.undoing < MOST_TRIES:
            self.undoing += 1
            given = response.get("retry-after") or ""
            wait = self.core.random.uniform(*(_OURS if self.direction == "in" else _THEIRS))
            if status != 491:
                wait = min(float(given), 32.0) if given.isascii() and given.isdigit() else wait
            self.core.stack.deadlines.set(now + wait, self, UNDO)
        else:
            logger.warning("%s: the other side keeps a change that its device gave up: %s", self.label, status)
            self.undoing = 0
