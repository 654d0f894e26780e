"""Everything in the dialogs of a call: requests and answers of both sides, refreshes, and hanging up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway_agent.call import ALONE, HOLD, TICK
from gateway_agent.deduplication import Received, key_of
from gateway_agent.pending import AGENT, DEVICE, SERVER, Own, Sent, for_device, hops_of
from gateway_agent.reinvite_rollback import UNDO, Changes
from sip.digest import Refusal
from sip.header_policy import ALLOW, DEVICE_HOP, PASSED_METHODS, crossing, passable_tag
from sip.invite import InviteUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line

LONGEST_SLEEP: Final = 60.0
"""Seconds between two looks at the long timers of a call: no deadline keeps an ended one for hours."""
MOST_SENT: Final = 16
"""Requests of one call that may wait for a server."""
LATE: Final = "after the ACK"
APART: Final = 0.01
"""Seconds between an ACK and an INVITE to a device over UDP, where the second might overtake the first."""

_KNOWN: Final = frozenset("PRACK UPDATE REFER SUBSCRIBE NOTIFY PUBLISH REGISTER".split())


class Dialogs(Changes):
    """A call once its legs are there."""

    __slots__ = ("late", "told_ack_at")

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        super().__init__(core, line, channel, number, now)
        self.told_ack_at = 0.0
        """When the last ACK went to the device."""
        self.late: Received | None = None
        """An INVITE for the device that is to keep its distance from that ACK."""

    # -- what legs say --------------------------------------------------------------------------------------------

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A request in one of the dialogs."""
        method = request.method
        if method == "OPTIONS":
            leg.reply(transaction, 200, now, lines=(ALLOW, "Accept: application/sdp"))
        elif method not in PASSED_METHODS:
            leg.reply(transaction, 405 if method in _KNOWN else 501, now, lines=(ALLOW,))
        elif leg is self.server:
            self._from_server(transaction, request, now)
        elif leg is not self.device:
            leg.reply(transaction, 481, now)
        elif method == "BYE":
            self._device_bye(leg, transaction, request, now)
        else:
            self._from_device(leg, transaction, request, now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """The ACK of a 2xx travels end to end (docs/wire.md); one that was passed on already is not again."""
        if leg is self.server:
            token = ack.get("call-state")
            if token:
                self.token = token
            if self.device is not None and self.device.ack_pending and not self.device.ended:
                body = self.description.from_server(ack, now)
                if body:
                    self.agreed()
                self.device.acknowledge(crossing(ack, DEVICE_HOP), body, now)
                self.told_ack_at = now
        elif self.server is not None and self.server.ack_pending:
            self.acked_at = now
            body = self.description.from_device(ack, leg.flow.remote[0], now)
            if body:
                self.agreed()
            self.server.acknowledge(crossing(ack, DEVICE_HOP), body, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> None:
        """The device never acknowledged our 2xx (RFC 3261 section 13.3.1.4)."""
        self.hang_up(AGENT, 'SIP;cause=408;text="No ACK"', 408, now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        """A response from either side."""
        if leg is self.server:
            sent: Sent = transaction.context
            token = response.get("call-state")
            if token:
                self.token = token
            if response.status >= 200:
                self._over(sent)
            self._server_answered(leg, transaction, sent, response, now)
        else:
            self._device_answered(leg, transaction, response, now)
        if self.ended is not None:
            self.settle(now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """Only devices let requests time out: to be taken as 408, a transport error as 503 (RFC 3261 8.1.3.1)."""
        own = transaction.context
        cancelled = isinstance(own, Own) and own.received is not None and own.received.cancelled
        if isinstance(own, Own) and own.received is not None:
            self.respond(own.received, 487 if cancelled else transaction.failure, now)
        gone = transaction.failure == 408 and not cancelled  # a transport error ends no dialog
        if transaction.method == "INVITE" and leg is self.device and self.ended is None and gone:
            self.hang_up(AGENT, 'SIP;cause=408;text="The device is gone"', 408, now)
        if self.ended is not None:
            self.settle(now)

    # -- requests in the dialogs ----------------------------------------------------------------------------------

    def _from_server(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        received = Received(key_of(request), transaction, request.method, self)
        self.core.memory.add(received, now)
        self.received.append(received)
        token = request.get("call-state")
        if token:
            self.token = token
        device = self.device
        if request.method == "BYE":
            self._server_bye(received, request, now)
        elif device is None or device.ended:
            self.respond(received, 481, now)
        elif request.method == "INVITE" and (device.pending_client_invite is not None or device.invite is not None):
            self.respond(received, 491, now)
        elif request.method == "INVITE":
            self.core.stack.reply(transaction, 100, now)  # a CANCEL must not have to wait for the device
            if now < self.told_ack_at + APART and device.flow.transport == "udp":
                self.late = received
                self.core.stack.deadlines.set(self.told_ack_at + APART, self, LATE)
            else:
                self._pass_on(received, request, now)
        else:
            self._pass_on(received, request, now)

    def _pass_on(self, received: Received, request: Request, now: float) -> None:
        own = Own(request.method, crossing(request, DEVICE_HOP), received)
        self._carry_out(own, self.description.from_server(request, now), now, hops_of(request))

    def _pass_on_late(self, now: float) -> None:
        received, self.late = self.late, None
        device = self.device
        if received is None or received.final is not None or received.transaction.request is None or device is None:
            return
        if device.pending_client_invite is not None or device.invite is not None:
            self.respond(received, 491, now)
        else:
            self._pass_on(received, received.transaction.request, now)

    def _carry_out(self, own: Own, body: bytes, now: float, hops: int = 70) -> None:
        """Send a request in the device dialog, with what the line adds."""
        device = self.device
        assert device is not None
        lines = list(own.lines)
        if own.method == "INVITE" and self.timer is not None:
            lines += self.timer.asking()
        digest = self.line.digest
        if digest is not None:
            given = own.credentials or tuple(digest.authorize(own.method, device.dialog.target))
            own.credentials = given
            lines += [one.line for one in given]
        device.send(own.method, lines, body, now, own, hops)

    def _from_device(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        server = self.server
        if request.method == "INVITE":
            self.core.stack.reply(transaction, 100, now)
            if self.timer is not None and (lines := self.timer.asks_too_little(request)):
                leg.reply(transaction, 422, now, lines=lines)
                return
            if self.timer is not None and self._is_refresh(request):
                self._answer_refresh(leg, transaction, request, now)
                return
        if server is None or server.ended or self.ended is not None:
            leg.reply(transaction, 481, now)
        elif len(self.sent) >= MOST_SENT or not self.core.may_hold():
            leg.reply(transaction, 500, now, lines=("Retry-After: 5",))
        elif request.method == "INVITE" and (server.pending_client_invite is not None or server.invite is not None):
            leg.reply(transaction, 491, now)
        else:
            lines = crossing(request, DEVICE_HOP)
            body = self.description.from_device(request, leg.flow.remote[0], now)
            self.to_server(request.method, lines, body, now, transaction, hops_of(request))

    def _server_bye(self, received: Received, request: Request, now: float) -> None:
        """The far end hung up: the device is told, and what it says is the answer."""
        self.finish(SERVER, request.get("reason") or "", 200, now)
        for other in [one for one in self.received if one.method == "INVITE"]:
            self.respond(other, 487, now)  # RFC 3261 section 15.1.2, whatever the device still says to it
        device = self.device
        if device is not None and device.established and not device.ended:
            if device.ack_pending:  # its ACK was lost on the way here (RFC 3261 section 13.2.2.4: each 2xx gets one)
                device.acknowledge((), b"", now)
            self._carry_out(Own("BYE", crossing(request, DEVICE_HOP), received), request.body, now)
        else:
            self.abandon_setup(request.get("reason") or "", now)
            self.respond(received, 200, now)
            self.settle(now)

    def _device_bye(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Answered at once and passed on, now or when a server is there (docs/wire.md)."""
        leg.reply(transaction, 200, now)
        server = self.server
        self.finish(DEVICE, request.get("reason") or "", 200, now)
        for received in list(self.received):
            self.respond(received, 481 if received.method != "INVITE" else 487, now)
        if server is not None and server.established and not server.ended:
            if server.ack_pending:
                server.acknowledge((), b"", now)
            self.to_server("BYE", crossing(request, DEVICE_HOP), request.body, now, None, 70)
        elif server is not None:
            self.abandon_setup(request.get("reason") or "", now)
        self.settle(now)

    # -- answers --------------------------------------------------------------------------------------------------

    def _server_answered(
        self, leg: InviteUsage, transaction: ClientTransaction, sent: Sent, response: Response, now: float
    ) -> None:
        """An answer to a request in the server dialog goes to the device, whose request it is."""
        status, asked, device = response.status, sent.asked, self.device
        invite = transaction.method == "INVITE"
        if asked is None and invite:
            if status >= 200:
                self.undone(leg, response, now)
            return
        if asked is None or not asked.open or device is None:
            if invite and status // 100 == 2:
                self.accepted_too_late(leg, response, sent.offered, now)
            elif invite and status >= 300:
                self.description.server.refuse()
            return
        if status == 100:
            return
        lines = crossing(response, DEVICE_HOP)
        body = self.description.from_server(response, now)
        if invite and status // 100 == 2 and sent.offered:
            self.agreed()
        elif invite and status >= 300:
            self.description.refuse(now)
        if invite and status // 100 == 2 and self.timer is not None and asked.request is not None:
            lines += self.timer.agree(asked.request, now)
            self.arm(now)
        device.reply(asked, for_device(status), now, response.reason, lines, body)

    def _device_answered(
        self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float
    ) -> None:
        """An answer to a request in the device dialog."""
        own, status = transaction.context, response.status
        if not isinstance(own, Own) or status == 100:
            return
        if status in (401, 407) and self._prove(own, leg, response, now):
            return
        if status == 422 and self._asks_again(own, response, now):
            return
        invite = own.method == "INVITE"
        if invite and status // 100 == 2 and self.timer is not None:
            self.timer.learn(response, now)
            self.arm(now)
        received = own.received
        if received is None:
            if invite:
                self._refreshed(leg, response, now)
            return
        status = 403 if status in (401, 407) else status
        if received.final is not None:
            if invite and status // 100 == 2:
                leg.acknowledge((), b"", now)
            return
        lines = crossing(response, DEVICE_HOP)
        request = received.transaction.request
        body = self.description.from_device(response, leg.flow.remote[0], now)
        if invite and status >= 300:
            self.description.refuse(now)
        elif invite and status >= 200 and request is not None and request.body:
            self.agreed()
        self.respond(received, status, now, response.reason, lines, body, passable_tag(response.to_tag))

    def _asks_again(self, own: Own, response: Response, now: float) -> bool:
        """A change that was passed on meets a 422, which is no business of the far side (RFC 4028 section 7.3)."""
        received = own.received
        if self.timer is None or received is None or received.final is not None or received.cancelled:
            return False
        request = received.transaction.request
        if request is None or not self.timer.raised(response):
            return False
        own.credentials = ()
        self._carry_out(own, self.description.from_server(request, now), now)
        return True

    def _prove(self, own: Own, leg: InviteUsage, response: Response, now: float) -> bool:
        """Answer the challenge of a trunk; False when it cannot be."""
        digest = self.line.digest
        received = own.received
        if digest is None or (received is not None and (received.final is not None or received.cancelled)):
            return False
        answer = digest.answer(response, own.method, leg.dialog.target, own.credentials)
        if isinstance(answer, Refusal):
            return False
        own.credentials = answer
        body = b""
        if own.received is not None and own.received.transaction.request is not None:
            body = self.description.from_server(own.received.transaction.request, now)
        elif own.method == "INVITE":
            body = self.description.agreed
        self._carry_out(own, body, now)
        return True

    # -- session timers (RFC 4028), on the device dialog only -----------------------------------------------------

    def _is_refresh(self, request: Request) -> bool:
        """A re-INVITE that changes nothing (RFC 4028 section 7.4: the same session version)."""
        return self.description.refreshes(request)

    def _answer_refresh(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        assert self.timer is not None
        body = self.description.agreed
        lines = [*self.timer.agree(request, now), ALLOW]
        if body:
            lines.append("Content-Type: application/sdp")
        self.arm(now)
        leg.reply(transaction, 200, now, lines=lines, body=body)

    def _refreshed(self, leg: InviteUsage, response: Response, now: float) -> None:
        """The answer to our own refresh."""
        if response.status // 100 == 2:
            leg.acknowledge((), b"", now)
        elif response.status >= 300 and self.ended is None and self.timer is not None:
            if self.timer.refused(response, self.direction == "out", self.core.random, now):
                self.arm(now)
            else:
                self.hang_up(AGENT, 'SIP;cause=481;text="The device does not know the call"', 481, now)

    def arm(self, now: float) -> None:
        """Wake at the next of the long timers."""
        at = now + LONGEST_SLEEP
        if self.timer is not None:
            at = min(at, self.timer.next_at)
        elif self.ends_at is None:
            return
        if self.ends_at is not None:
            at = min(at, self.ends_at)
        if self.alarm_at <= now or at < self.alarm_at:
            self.alarm_at = at
            self.core.stack.deadlines.set(at, self, TICK)

    def due(self, cause: str, now: float) -> None:
        if self.ended is not None:
            return
        if cause is HOLD:
            self._hold_over(now)
        elif cause is UNDO:
            self._undo(now)
        elif cause is ALONE:
            self._acknowledge_alone(now)
        elif cause is LATE:
            self._pass_on_late(now)
        elif cause is TICK and now >= self.alarm_at:
            self._tick(now)

    def _acknowledge_alone(self, now: float) -> None:
        """No ACK came from the servers for half of the time for which a device repeats its 2xx.

        An offer in that 2xx is answered with what the device knows of the far end; of a new call it knows nothing.
        """
        device = self.device
        waited = now - self.unpaid_at >= self.core.stack.timers.lifetime / 2 - 0.001
        if not waited or device is None or not device.ack_pending or device.ended:
            return
        body = self.description.answer_device_alone() if self.asked_for_offer else b""
        if body or not self.asked_for_offer:
            self.core.counters["acknowledged alone"] += 1
            device.acknowledge(("Content-Type: application/sdp",) if body else (), body, now)
            self.told_ack_at = now

    def _tick(self, now: float) -> None:
        timer = self.timer
        if self.ends_at is not None and now >= self.ends_at:
            self.hang_up(AGENT, 'Q.850;cause=31;text="Longest call"', 200, now)
        elif timer is not None and now >= timer.expires_at:
            self.hang_up(AGENT, 'SIP;cause=408;text="Session expired"', 408, now)
        else:
            device = self.device
            if timer is not None and timer.ours and now >= timer.refresh_at and device is not None:
                busy = device.pending_client_invite is not None or device.invite is not None
                if busy or device.ack_pending or device.awaits_ack:
                    timer.refresh_at = now + 2.0
                else:
                    timer.refresh_at = timer.expires_at
                    body = self.description.agreed
                    lines = ["Content-Type: application/sdp", ALLOW] if body else [ALLOW]
                    self._carry_out(Own("INVITE", lines), body, now)
            self.arm(now)

    # -- the end ----------------------------------------------------------------------

    def hang_up(self, by: str, reason: str, status: int, now: float) -> None:
        """End the call on both sides, in whatever state it is."""
        self.finish(by, reason, status, now)
        lines = (f"Reason: {reason}",) if reason else ()
        self.refuse_setup(status if status >= 400 else 480, lines, now)
        device, server = self.device, self.server
        if device is not None and device.established and not device.ended:
            if device.ack_pending:
                device.acknowledge((), b"", now)
            self._carry_out(Own("BYE", lines), b"", now)
        if server is not None and server.established and not server.ended:
            if server.ack_pending:
                server.acknowledge((), b"", now)
            self.to_server("BYE", lines, b"", now, None, 70)
        self.settle(now)

    def reset(self, reason: str, status: int, now: float) -> None:
        """Drop the call towards the device; the servers know (docs/wire.md, purpose=reset)."""
        server = self.server
        if server is not None and not server.ended:
            server.end()
        for received in self.received:
            received.answer(status, "", (), b"", self.core.stack.token())
            self.core.memory.answered(received, now)
        self.received = []
        if self.ended is None:
            self.hang_up(SERVER, reason, status, now)
        for sent in list(self.sent):
            self._over(sent)
            if sent.client is not None:
                sent.client.abandon()
        self.settle(now)
