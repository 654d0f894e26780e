"""An agent's call: one leg towards the servers, one or several towards the device.

What is hop-local stays here, so that no crash of a server touches it (docs/wire.md): the device's BYE and CANCEL are
answered at once and cleaned up after; session timers and digest are the device leg's. All else is passed on first
and answered after. The setting up of each direction is in ``incoming`` and ``outgoing``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway_agent.description import Description
from gateway_agent.origin import Received, key_of
from gateway_agent.refresh import SessionTimer
from sip.bridge import ALLOW, DEVICE_HOP, PASSED_METHODS, crossing, passable_tag
from sip.digest import Authorization, Refusal
from sip.message import Request, Response
from sip.session import Leg
from sip.transaction import CALLING, TRYING, ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line
    from gateway_agent.records import Gone

logger = logging.getLogger(__name__)

DIALING: Final = "dialing"
RINGING: Final = "ringing"
TALKING: Final = "talking"
ENDING: Final = "ending"

HOLD: Final = "hold_attempt"
TICK: Final = "tick"
LONGEST_SLEEP: Final = 60.0
"""Seconds between two looks at the long timers of a call: no deadline keeps an ended one for hours."""

MOST_SENT: Final = 16
"""Requests of one call that may wait for a server."""
DEVICE: Final = "device"
SERVER: Final = "server"
AGENT: Final = "agent"

_KNOWN: Final = frozenset("PRACK UPDATE REFER SUBSCRIBE NOTIFY PUBLISH REGISTER".split())


class Ended(NamedTuple):
    """How a call ended."""

    at: float
    by: str
    """``device``, ``server`` or ``agent``."""
    reason: str
    """A Reason header value, ``""`` without one."""
    status: int


class Sent:
    """A request to the servers without a final answer."""

    __slots__ = ("asked", "at", "cancelled", "client", "cseq", "reached")

    def __init__(self, asked: ServerTransaction | None, at: float, reached: bool, cseq: int) -> None:
        self.cseq = cseq
        self.asked = asked
        """The device's transaction that waits for the answer; ``None`` for a request that is ours, as a BYE is."""
        self.at = at
        self.reached = reached
        """Whether it was written to a connection; otherwise no server knows it yet."""
        self.cancelled = False
        self.client: ClientTransaction | None = None


class Own:
    """A request to the device that is the agent's own: a BYE, a refresh."""

    __slots__ = ("credentials", "lines", "method", "received")

    def __init__(self, method: str, lines: Sequence[str], received: Received | None = None) -> None:
        self.method = method
        self.lines = lines
        self.received = received
        """The server's request that it carries out, to be answered as the device answers."""
        self.credentials: tuple[Authorization, ...] = ()


class Call:
    """What both directions share: everything after the call was answered, and its end."""

    __slots__ = (
        "acked_at",
        "alarm_at",
        "answered_at",
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
    )

    direction = "in"

    def __init__(self, core: Core, line: Line, channel: int, number: str, now: float) -> None:
        self.core = core
        self.id = core.next_id()
        self.line = line
        self.channel = channel
        self.number = number
        """The far end's number, for people."""
        self.server: Leg | None = None
        self.device: Leg | None = None
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
        self.sent: list[Sent] = []
        self.received: list[Received] = []
        """Requests of servers that are not finally answered."""
        self.description = Description(line, core.relay)
        self.timer: SessionTimer | None = None
        self.ends_at: float | None = None
        """The end of the longest call."""
        self.alarm_at = 0.0
        self.ended: Ended | None = None
        self.gone: Gone | None = None
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
        sent = Sent(asked, now, self.core.connected, self.server.dialog.local_cseq + 1)
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
        self.server.reply(received.transaction, status, now, reason, answer.lines, body, tag)

    def recognised(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self.core.recognise(transaction, request, now)

    # -- what legs say --------------------------------------------------------------------------------------------

    def requested(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> None:
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

    def acknowledged(self, leg: Leg, ack: Request, now: float) -> None:
        """The ACK of a 2xx travels end to end (docs/wire.md); one that was passed on already is not again."""
        if leg is self.server:
            token = ack.get("call-state")
            if token:
                self.token = token
            if self.device is not None and self.device.owes_ack and not self.device.ended:
                body = self.description.to_device(ack)
                self.device.acknowledge(crossing(ack, DEVICE_HOP), body, now)
        elif self.server is not None and self.server.owes_ack:
            self.acked_at = now
            self.server.acknowledge(crossing(ack, DEVICE_HOP), self.description.to_server(ack), now)

    def unacknowledged(self, leg: Leg, now: float) -> None:
        """The device never acknowledged our 2xx (RFC 3261 section 13.3.1.4)."""
        self.hang_up(AGENT, 'SIP;cause=408;text="No ACK"', 408, now)

    def answered(self, leg: Leg, transaction: ClientTransaction, response: Response, now: float) -> None:
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

    def timed_out(self, leg: Leg, transaction: ClientTransaction, now: float) -> None:
        """Only devices let a request time out: to be taken as 408 (RFC 3261 section 8.1.3.1)."""
        own = transaction.context
        if isinstance(own, Own) and own.received is not None:
            self.respond(own.received, 408, now)
        if transaction.method == "INVITE" and leg is self.device and self.ended is None:
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
        elif request.method == "INVITE" and (device.inviting is not None or device.invite is not None):
            self.respond(received, 491, now)
        else:
            own = Own(request.method, crossing(request, DEVICE_HOP), received)
            self._carry_out(own, self.description.to_device(request), now, hops_of(request))

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

    def _from_device(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> None:
        server = self.server
        if request.method == "INVITE":
            self.core.stack.reply(transaction, 100, now)
            if self.timer is not None and self._is_refresh(request):
                self._answer_refresh(leg, transaction, request, now)
                return
        if server is None or server.ended or self.ended is not None:
            leg.reply(transaction, 481, now)
        elif len(self.sent) >= MOST_SENT or not self.core.may_hold():
            leg.reply(transaction, 500, now, lines=("Retry-After: 5",))
        elif request.method == "INVITE" and (server.inviting is not None or server.invite is not None):
            leg.reply(transaction, 491, now)
        else:
            lines = crossing(request, DEVICE_HOP)
            body = self.description.to_server(request)
            self.to_server(request.method, lines, body, now, transaction, hops_of(request))

    def _server_bye(self, received: Received, request: Request, now: float) -> None:
        """The far end hung up: the device is told, and what it says is the answer."""
        self.finish(SERVER, request.get("reason") or "", 200, now)
        device = self.device
        if device is not None and device.established and not device.ended:
            self._carry_out(Own("BYE", crossing(request, DEVICE_HOP), received), request.body, now)
        else:
            self.abandon_setup(request.get("reason") or "", now)
            self.respond(received, 200, now)
            self.settle(now)

    def _device_bye(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Answered at once and passed on, now or when a server is there (docs/wire.md)."""
        leg.reply(transaction, 200, now)
        server = self.server
        self.finish(DEVICE, request.get("reason") or "", 200, now)
        for received in list(self.received):
            self.respond(received, 481 if received.method != "INVITE" else 487, now)
        if server is not None and server.established and not server.ended:
            if server.owes_ack:
                server.acknowledge((), b"", now)
            self.to_server("BYE", crossing(request, DEVICE_HOP), request.body, now, None, 70)
        elif server is not None:
            self.abandon_setup(request.get("reason") or "", now)
        self.settle(now)

    # -- answers --------------------------------------------------------------------------------------------------

    def _server_answered(
        self, leg: Leg, transaction: ClientTransaction, sent: Sent, response: Response, now: float
    ) -> None:
        """An answer to a request in the server dialog goes to the device, whose request it is."""
        status, asked, device = response.status, sent.asked, self.device
        invite = transaction.method == "INVITE"
        if asked is None or not asked.open or device is None:
            if invite and status // 100 == 2:  # the device was told 500 already, or is gone
                leg.acknowledge((), b"", now)
            return
        if status == 100:
            return
        lines = crossing(response, DEVICE_HOP)
        body = self.description.to_device(response) if response.body else b""
        if invite and status // 100 == 2 and self.timer is not None and asked.request is not None:
            lines += self.timer.agree(asked.request, now)
            self.arm(now)
        device.reply(asked, _for_device(status), now, response.reason, lines, body)

    def _device_answered(self, leg: Leg, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to a request in the device dialog."""
        own, status = transaction.context, response.status
        if not isinstance(own, Own) or status == 100:
            return
        if status in (401, 407) and self._prove(own, leg, response, now):
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
        lines = crossing(response, DEVICE_HOP)
        body = self.description.to_server(response) if response.body else b""
        status = 403 if status in (401, 407) else status
        if received.final is not None:
            if invite and status // 100 == 2:
                leg.acknowledge((), b"", now)
            return
        self.respond(received, status, now, response.reason, lines, body, passable_tag(response.to_tag))

    def _prove(self, own: Own, leg: Leg, response: Response, now: float) -> bool:
        """Answer the challenge of a trunk; False when it cannot be."""
        digest = self.line.digest
        if digest is None or (own.received is not None and own.received.final is not None):
            return False
        answer = digest.answer(response, own.method, leg.dialog.target, own.credentials)
        if isinstance(answer, Refusal) or len(own.credentials) > 3:
            return False
        own.credentials = (*(one for one in own.credentials if one.name != answer.name), answer)
        body = b""
        if own.received is not None and own.received.transaction.request is not None:
            request = own.received.transaction.request
            body = self.description.again() if self.description.is_in(request) else request.body
        elif own.method == "INVITE":
            body = self.description.again()
        self._carry_out(own, body, now)
        return True

    # -- session timers (RFC 4028), on the device dialog only -----------------------------------------------------

    def _is_refresh(self, request: Request) -> bool:
        """A re-INVITE that changes nothing (RFC 4028 section 7.4: the same session version)."""
        return bool(request.body) and self.description.is_unchanged(request)

    def _answer_refresh(self, leg: Leg, transaction: ServerTransaction, request: Request, now: float) -> None:
        assert self.timer is not None
        body = self.description.again()
        lines = [*self.timer.agree(request, now), ALLOW]
        if body:
            lines.append("Content-Type: application/sdp")
        self.arm(now)
        leg.reply(transaction, 200, now, lines=lines, body=body)

    def _refreshed(self, leg: Leg, response: Response, now: float) -> None:
        """The answer to our own refresh."""
        if response.status // 100 == 2:
            leg.acknowledge((), b"", now)
        elif response.status in (408, 481) and self.ended is None:
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
        elif cause is TICK and now >= self.alarm_at:
            self._tick(now)

    def _tick(self, now: float) -> None:
        timer = self.timer
        if self.ends_at is not None and now >= self.ends_at:
            self.hang_up(AGENT, 'Q.850;cause=31;text="Longest call"', 200, now)
        elif timer is not None and now >= timer.expires_at:
            self.hang_up(AGENT, 'SIP;cause=408;text="Session expired"', 408, now)
        else:
            device = self.device
            if timer is not None and timer.ours and now >= timer.refresh_at and device is not None:
                busy = device.inviting is not None or device.invite is not None
                if busy or device.owes_ack or device.awaits_ack:
                    timer.refresh_at = now + 2.0
                else:
                    timer.refresh_at = timer.expires_at
                    body = self.description.again()
                    lines = ["Content-Type: application/sdp", ALLOW] if body else [ALLOW]
                    self._carry_out(Own("INVITE", lines), body, now)
            self.arm(now)

    def _hold_over(self, now: float) -> None:
        """No server said anything in time: the device is told so (RFC 4320: in time, not late)."""
        until = now - self.core.hold_attempt + 0.001
        for sent in list(self.sent):
            asked, client = sent.asked, sent.client
            if asked is None or client is None or sent.at > until or client.state not in (CALLING, TRYING):
                continue
            if asked.open and self.device is not None:
                self.device.reply(asked, 500, now, lines=("Retry-After: 5",))
            self.withdraw(sent, now)

    def withdraw(self, sent: Sent, now: float) -> None:
        """The device was answered, so the request is not to come about any more."""
        client, server = sent.client, self.server
        assert client is not None
        if client.method == "INVITE" and sent.reached and server is not None:
            sent.cancelled = True
            server.cancel(now)
            return
        self._over(sent)
        self.core.stack.forget(client)
        client.generation += 1
        if server is not None and server.inviting is client:
            server.inviting = None

    def _over(self, sent: Sent) -> None:
        if sent in self.sent:
            self.sent.remove(sent)
            if sent.cancelled and sent.client is not None:
                # its CANCEL may have gone to a server that is no more
                self.core.stack.clients.pop(f"{sent.client.branch}C", None)

    # -- the end --------------------------------------------------------------------------------------------------

    def cancelled(self, cancel: Request, now: float) -> None:
        """A CANCEL for the first INVITE came; it was answered 200."""
        raise NotImplementedError  # pragma: no cover

    def abandon_setup(self, reason: str, now: float) -> None:
        """End what was not answered yet, on the side away from where the end came."""
        raise NotImplementedError  # pragma: no cover

    def refuse_setup(self, status: int, lines: Sequence[str], now: float) -> None:
        """Answer the first INVITE, when it is open, with a failure."""
        raise NotImplementedError  # pragma: no cover

    def hang_up(self, by: str, reason: str, status: int, now: float) -> None:
        """End the call on both sides, in whatever state it is."""
        self.finish(by, reason, status, now)
        lines = (f"Reason: {reason}",) if reason else ()
        self.refuse_setup(status if status >= 400 else 480, lines, now)
        device, server = self.device, self.server
        if device is not None and device.established and not device.ended:
            if device.owes_ack:
                device.acknowledge((), b"", now)
            self._carry_out(Own("BYE", lines), b"", now)
        if server is not None and server.established and not server.ended:
            if server.owes_ack:
                server.acknowledge((), b"", now)
            self.to_server("BYE", lines, b"", now, None, 70)
        self.settle(now)

    def reset(self, reason: str, status: int, now: float) -> None:
        """Drop the call towards the device; the servers know (docs/wire.md, purpose=reset)."""
        server = self.server
        if server is not None and not server.ended:
            server.end()
        self.hang_up(SERVER, reason, status, now)
        for sent in list(self.sent):
            self._over(sent)
            if sent.client is not None:
                sent.client.generation += 1
                self.core.stack.forget(sent.client)
        self.settle(now)

    def finish(self, by: str, reason: str, status: int, now: float) -> None:
        """The call is over, whatever is still to be said: free the line, keep the fact for the servers."""
        if self.ended is not None:
            return
        self.ended = Ended(now, by, reason, status)
        self.phase = ENDING
        self.line.give(self.channel, now)
        self.description.release()

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


def hops_of(request: Request) -> int:
    """Max-Forwards of the request on the other leg (RFC 3261 section 16.6: one less)."""
    value = request.get("max-forwards")
    return min(int(value), 256) - 1 if value else 69


def _for_device(status: int) -> int:
    """A challenge that is not the agent's, and a redirection without Contact, mean nothing to a device."""
    return 403 if status in (401, 407) else 480 if 300 <= status < 400 else status
