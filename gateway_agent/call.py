"""An agent's call: one leg towards the servers, one or several towards the device.

What is hop-local stays here, so that no crash of a server touches it (docs/wire.md): the device's BYE and CANCEL are
answered at once and cleaned up after; session timers and digest are the device leg's. All else is passed on first
and answered after. The setting up of each direction is in ``incoming`` and ``outgoing``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway_agent.deduplication import Received
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.pending import Ended, Sent
from gateway_agent.session_description import SessionDescription
from gateway_agent.session_timer import SessionTimer
from sip.invite import InviteUsage
from sip.transaction import ServerTransaction
from sip.wire.message import Request

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line
    from gateway_agent.terminated_call import TerminatedCall

logger = logging.getLogger(__name__)

DIALING: Final = "dialing"
RINGING: Final = "ringing"
TALKING: Final = "talking"
ENDING: Final = "ending"

HOLD: Final = "hold_attempt"
ALONE: Final = "no ACK of a server"
TICK: Final = "tick"


class Call:
    """What a call is, whatever its direction, and what it owes to the servers."""

    __slots__ = (
        "acked_at",
        "alarm_at",
        "answered_at",
        "asked_for_offer",
        "awaited",
        "channel",
        "core",
        "description",
        "device",
        "ended",
        "ends_at",
        "epochs",
        "generation",
        "gone",
        "id",
        "invite_at",
        "line",
        "number",
        "origin",
        "phase",
        "received",
        "ringing_at",
        "sent",
        "server",
        "session_id",
        "timer",
        "token",
        "unpaid_at",
    )

    direction = "in"

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        self.core = core
        self.id = core.next_id()
        self.line = line
        self.channel = channel
        self.number = number
        """The far end's number, for people."""
        self.server: InviteUsage | None = None
        self.device: InviteUsage | None = None
        self.phase = DIALING
        self.token = ""
        """The last state token, opaque."""
        self.origin = ""
        """The origin key of the INVITE that a server opened the call with."""
        self.invite_at = now
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.acked_at: float | None = None
        """When the last ACK went to a server."""
        self.awaited = ""
        """The origin key of the INVITE to which a 2xx was given last, whose ACK is awaited or came."""
        self.unpaid_at = math.inf
        """When a 2xx was last given to a server, whose ACK is still to come."""
        self.asked_for_offer = False
        """The INVITE of that 2xx had no offer, so that the ACK is to have the answer."""
        self.sent: list[Sent] = []
        self.received: list[Received] = []
        """Requests of servers that are not finally answered."""
        relay = core.relay if line.settings.media == "relay" else None
        self.description = SessionDescription(MediaAnchor(relay, self.id, line.behind_nat, core.seldom, now))
        self.timer: SessionTimer | None = None
        self.ends_at: float | None = None
        """The end of the longest call."""
        self.alarm_at = 0.0
        self.ended: Ended | None = None
        self.gone: TerminatedCall | None = None
        """What is left when nothing is under way any more."""
        self.epochs: tuple[int, ...] = (core.epoch,)
        self.session_id = ""
        self.generation = 0

    @property
    def label(self) -> str:
        """``trunk1/7``, ``alice``."""
        return self.line.label(self.channel)

    # -- towards the servers --------------------------------------------------------------------------------------

    def to_server(
        self, method: str, lines: Sequence[str], body: bytes, now: float, asked: ServerTransaction | None, hops: int
    ) -> None:
        """Send a request in the server dialog; without a server it stands in the record until there is one."""
        assert self.server is not None
        offered = method == "INVITE" and bool(body)
        sent = Sent(asked, now, self.core.connected, self.server.dialog.local_cseq + 1, offered)
        self.sent.append(sent)
        sent.client = self.server.send(method, lines, body, now, sent, hops)
        if asked is not None:
            self.core.stack.deadlines.set(now + self.core.hold_attempt, self, HOLD)

    def respond(
        self,
        received: Received,
        status: int,
        now: float,
        reason: str = "",
        lines: Sequence[str] = (),
        body: bytes = b"",
        tag: str = "",
    ) -> None:
        """Answer a request of a server, and remember the answer for its repeats."""
        if received.final is not None or self.server is None:
            return
        answer = received.answer(status, reason, lines, body, tag)
        if status >= 200:
            self.core.memory.answered(received, now)
            if received in self.received:
                self.received.remove(received)
            if received.method == "INVITE" and status < 300:
                self.awaited = received.key
                self._expect_ack(received, now)
        self.server.reply(received.transaction, status, now, reason, answer.lines, body, tag)

    def _expect_ack(self, received: Received, now: float) -> None:
        """No device is to end the call for want of an ACK because the path is cut (docs/decisions.md)."""
        request = received.transaction.request
        self.asked_for_offer = request is None or not request.body
        self.unpaid_at = now
        self.core.stack.deadlines.set_about(now + self.core.stack.timers.lifetime / 2, self, ALONE)

    def recognised(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self.core.arrivals.recognise(transaction, request, now)

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> tuple[str, ...]:
        return ()

    def withdraw(self, sent: Sent, now: float) -> None:
        """The device was answered, so the request is not to come about any more."""
        client, server = sent.client, self.server
        assert client is not None
        if client.method == "INVITE" and sent.reached and server is not None:
            sent.cancelled = True
            server.cancel(now)
            return
        self._over(sent)
        client.abandon()
        if client.method == "INVITE":
            self.description.server.refuse()

    def _over(self, sent: Sent) -> None:
        if sent in self.sent:
            self.sent.remove(sent)
            if sent.cancelled and sent.client is not None:
                # its CANCEL may have gone to a server that is no more
                self.core.stack.clients.pop(f"{sent.client.branch}C", None)

    def due(self, cause: str, now: float) -> None:
        """A deadline of the call."""
        raise NotImplementedError  # pragma: no cover

    # -- the end --------------------------------------------------------------------------------------------------

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL for an INVITE that came on ``leg``; it was answered 200."""
        raise NotImplementedError  # pragma: no cover

    def abandon_setup(self, reason: str, now: float) -> None:
        """End what was not answered yet, on the side away from where the end came."""
        raise NotImplementedError  # pragma: no cover

    def refuse_setup(self, status: int, lines: Sequence[str], now: float) -> None:
        """Answer the first INVITE, when it is open, with a failure."""
        raise NotImplementedError  # pragma: no cover

    def finish(self, by: str, reason: str, status: int, now: float) -> None:
        """The call is over, whatever is still to be said: free the line, keep the fact for the servers."""
        if self.ended is not None:
            return
        self.ended = Ended(now, by, reason, status)
        self.phase = ENDING
        self.line.give(self.channel, now)
        self.description.anchor.release()

    def settle(self, now: float) -> None:
        """Let go when nothing is under way towards the servers."""
        if self.ended is not None and not self.sent and not self.received:
            self.core.settled(self, now)

    def moved(self, flow: Any, target: str, now: float) -> None:
        """Another server is obeyed, or the connection was made anew: everything goes there, nothing is sent again."""
        server = self.server
        if server is None:
            return
        server.flow = flow
        server.dialog.target = target
        server.dialog.route_set = ()
        for sent in self.sent:
            if sent.client is not None:
                sent.client.flow = flow
            sent.reached = True  # it stands in the record
        for received in self.received:
            received.transaction.flow = flow
        epoch = self.core.epoch
        if epoch != self.epochs[-1]:
            self.epochs = (*self.epochs[-7:], epoch)
