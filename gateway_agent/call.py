"""An agent's call: one leg towards the servers, one or several towards the device, joined by ``sip.b2b``.

What concerns one hop only is done here, so that no crash of a server touches it (docs/wire.md): the device's BYE and
CANCEL are answered by the agent and passed on; session timers and digest belong to the device's leg. Every other
request is passed on first, and answered when the other side has answered. The setup of a call in each direction is in
``incoming`` and ``outgoing``; what messages carry across is in ``passage``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal

from gateway_agent.call_end import AGENT, DEVICE, SERVER, CallEnd, EndedBy
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.held_answers import HeldAnswers
from gateway_agent.last_figures import measured, told
from gateway_agent.line import Line
from gateway_agent.media_anchor import MediaAnchor
from gateway_agent.reinvite_rollback import ReinviteRollback
from gateway_agent.sdes import DeviceKeys
from gateway_agent.server_side import PendingRequest, ServerRequest, ServerSide
from gateway_agent.session_description import SessionDescription
from gateway_agent.terminated_call import TerminatedCall
from gateway_agent.webrtc.anchor import WebrtcAnchor
from sip.b2b.bridge import ROUTING, Bridge, acknowledge
from sip.b2b.policy import LATER, Party, Passed, Policy
from sip.device.header_rules import ruled
from sip.device.identity import AS_IT_IS, POLICY_FIELDS, asserted_by_device, asserted_to_device
from sip.device.session import REFRESH, SDP, DeviceSession
from sip.device.session_id import learned, line_of
from sip.header_policy import ALLOW, DEVICE_HOP, PASSED_METHODS, crossing
from sip.invite import InviteUsage
from sip.offer_answer import REMOTE_CHANGE, REMOTE_OFFER
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Message, Request, Response

logger = logging.getLogger(__name__)

HOLD: Final = "hold_attempt"
ALONE: Final = "no ACK of a server"


class Setup:
    """The part of call setup that depends on who called. This base class passes everything on."""

    __slots__ = ()

    direction: Literal["in", "out"] = "in"
    passed = (0, 0)
    """Attempt and ``n`` of the last provisional response that the device got."""

    def rang(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed | None:
        """Lines and body for the caller's side of a provisional response that came on ``leg``; ``None`` when the
        response is not passed on."""
        return call.passed(leg, response, now)

    def answered(self, call: Call, leg: InviteUsage, response: Response, first: bool, now: float) -> Passed:
        """Lines and body for the caller's side of the 2xx that came on ``leg``."""
        return call.passed(leg, response, now)

    @property
    def given_up(self) -> list[InviteUsage]:
        """Legs to the device whose INVITE still has no final answer after another leg was answered."""
        return []

    def called_at(self, leg: InviteUsage) -> str:
        """The Request-URI with which a leg to the device was opened, ``""`` where the device opened it."""
        return ""

    def refusal(self, call: Call, response: Response) -> Passed:
        """Lines and body for the caller's side of a failure response."""
        return Passed(told_to_device(call.line, response), response.body)

    def once_more(self, call: Call, leg: InviteUsage, response: Response, now: float) -> bool:
        """React to a 422 of the device. Returns whether the INVITE was sent once more, with a longer interval."""
        return False

    def hold_over(self, call: Call, now: float) -> None:
        """The device's INVITE has waited ``hold_attempt`` seconds for a first response of a server."""

    def failed(self, call: Call, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """The leg that was called failed: try another target, or refuse the call."""
        call.bridge.refuse(status, now, response=response, by="callee")


class Call(Policy):
    """One call of an agent: owns its legs, and is the policy of the bridge between them."""

    __slots__ = (
        "answered_at",
        "bridge",
        "channel",
        "description",
        "device",
        "direction",
        "early",
        "end",
        "environment",
        "figures",
        "generation",
        "gone",
        "held_answers",
        "id",
        "invite_at",
        "label",
        "line",
        "number",
        "received",
        "ringing_at",
        "rollback",
        "sent",
        "server",
        "server_side",
        "session",
        "session_id",
        "setup",
        "why",
    )

    def __init__(
        self,
        environment: CallEnvironment,
        setup: Setup,
        id_: int,
        line: Line,
        channel: int,
        number: str,
        now: float,
        phase: str = ROUTING,
    ) -> None:
        """``phase`` is the first state of the bridge; a call that is restored after a restart does not begin with
        routing. ``channel`` is the line's channel that the call occupies, ``number`` the far end's, ``now`` the
        instant of the INVITE."""
        self.environment = environment
        self.setup = setup
        self.id = id_
        self.line = line
        self.channel = channel
        self.label = line.far_side.label(channel)
        """``trunk1/7``, ``alice``."""
        self.direction = setup.direction
        """``in``: the device called."""
        self.number = number
        """The far end's number, for people."""
        self.bridge = Bridge(environment.stack.deadlines, environment.discarded, self, phase)
        self.description = _description_of(environment, line, id_, now)
        self.figures = measured(self.description, environment.stack.deadlines)
        """The relay's measurements of the media; None where no relay carries it."""
        self.server_side = ServerSide(environment)
        self.session = DeviceSession(
            environment.stack, environment.random, self._hang_up_alone, self.description.device
        )
        """The session with the device: session timer and refreshes."""
        self.session.changed = self._changed_alone
        ours = setup.direction == "in"
        self.rollback = ReinviteRollback(environment, self.server_side, self.description, ours, self.label)
        self.held_answers = HeldAnswers(environment, self.server_side)
        self.sent: list[PendingRequest] = self.server_side.sent
        self.received: list[ServerRequest] = self.server_side.received
        self.server: InviteUsage | None = None
        """The leg towards the servers."""
        self.device: InviteUsage | None = None
        """The device's leg, once it is known which one it is."""
        self.early: dict[str, Response] = {}
        """The last provisional response of the servers in each early dialog, by To tag; part of the call's record."""
        self.invite_at = now
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.end: CallEnd | None = None
        """How the call ended; None while it lives."""
        self.why = ""
        """The Reason header value for a call that is about to end, used where the bridge gives none."""
        self.gone: TerminatedCall | None = None
        """What is kept of the call once it has ended and no transaction is under way any more."""
        self.session_id = ""
        self.generation = 0

    def passed(self, leg: InviteUsage, message: Message, now: float) -> Passed:
        """Header lines and body for the other side of a message that came on ``leg``."""
        if leg is self.server:
            self.session_id = learned(self.session_id, message) if self.line.settings.session_id else self.session_id
            return Passed(told_to_device(self.line, message), self.description.from_server(message, now))
        lines = believed_of_device(self.line, message, self.session_id)
        return Passed(lines, self.description.from_device(message, leg.flow.remote[0], now))

    def picked_up(self, device: InviteUsage, now: float) -> None:
        """The call is answered; ``device`` is the leg that it is on."""
        self.device = self.session.leg = device
        self.answered_at, self.early = now, {}
        self.environment.watched(self.line, now)
        if longest := self.line.settings.longest_call:
            self.bridge.limit(now + longest)
        self.description.anchor.watch(self.line.settings.media_timeout)

    # Events of the legs.

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self.environment.is_repeat(transaction, request, now)

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> tuple[str, ...]:
        return ()

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        method = request.method
        if method not in PASSED_METHODS or (method == "REFER" and self.line.settings.transfer == "refuse"):
            if method == "REFER" and leg is not self.server:
                _note_refused_transfer(self, now)
            leg.reply(transaction, _REFUSALS.get(method, 501), now, lines=(ALLOW,))
            return
        if leg is self.server and method != "OPTIONS":
            self.server_side.hear(transaction, request, now)
        elif method in ("INVITE", "UPDATE") and self.session.answer_refresh(leg, transaction, request, now):
            return
        elif method not in ("BYE", "OPTIONS") and self.end is None and not self.server_side.may_send():
            leg.reply(transaction, 500, now, lines=LATER.lines)
            return
        if method == "UPDATE":
            offers = self.description.server if leg is self.server else self.description.device
            if (status := offers.clash(request)) and self.end is None:
                _refuse_offer(self, leg, transaction, status, now)
                return
        if method == "BYE" and _ends_later(self, lambda then: _hung_up(self, leg, transaction, request, then), now):
            return
        self.bridge.requested(leg, transaction, request, now)

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        """Pass an ACK on: it travels end to end (docs/wire.md), once. A PRACK is only noted: the other hop has its
        own."""
        if ack.method == "PRACK":
            _pracked(self, leg, now)
        elif leg is self.server:
            self.server_side.note_token(ack)
            if self.device is not None and self.device.ack.pending:
                self.bridge.acknowledged(leg, ack, now)
        elif self.server is not None and self.server.ack.pending:
            self.server_side.acked_at = now
            self.bridge.acknowledged(leg, ack, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> None:
        """The device never acknowledged our 2xx (RFC 3261 section 13.3.1.4), or a reliable response before it."""
        status, missing = (408, "ACK") if leg.established else (504, "PRACK")
        self.hang_up(AGENT, f'SIP;cause={status};text="No {missing}"', status, now)

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, asked = response.status, transaction.context
        success = transaction.method == "INVITE" and 200 <= status < 300
        instead = success and isinstance(asked, ServerTransaction) and _updates(asked)
        given_up = isinstance(asked, ServerTransaction) and not asked.open
        if leg is self.server:
            self.server_side.note_token(response)
            sent = self.server_side.sent_by(transaction)
            if sent is not None:
                sent.heard = True
            if sent is not None and status >= 200:
                self.server_side.remove(sent)
                if success and given_up:
                    self.rollback.overtaken(sent, response, now)
                elif given_up and transaction.method == "INVITE":
                    self.description.server.refuse()
            if success and self.end is not None:
                self.answered_at = now  # it crossed what ended the call
        elif success:
            self.session.learn(response, now)
            if given_up:
                leg.acknowledge((), b"", now)
        self.bridge.answered(leg, transaction, response, now)
        if instead and leg.ack.pending:  # whoever asked by UPDATE has no ACK to send
            acknowledge(self.bridge, leg, (), b"", now)
        if self.end is not None:
            self.bridge.settle(now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """Only devices let requests time out: to be taken as 408, a transport error as 503 (RFC 3261 8.1.3.1)."""
        change = (transaction.method == "INVITE" or transaction.context is REFRESH) and leg is self.device
        # a transport error ends no dialog
        gone = change and transaction.failure == 408 and not leg.client_invite.cancelling
        if change and isinstance(transaction.context, ServerTransaction):
            self.description.refuse(now)
        self.bridge.timed_out(leg, transaction, now)
        if self.end is not None:
            self.bridge.settle(now)
        if gone:
            self.session.gone(now)

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """A CANCEL for an INVITE that came on ``leg``; it was answered 200."""
        if leg is self.server:
            received = self.server_side.received_as(invite)
            if received is not None:
                received.cancelled = True
        elif leg.established and self.server_side.sent_for(invite) is not None:
            self.rollback.cancelled(invite, cancel, now)
            return
        elif leg is self.device and not leg.established and self.answered_at is not None:  # before its PRACK
            self.hang_up(DEVICE, cancel.get("reason") or "", 487, now)
            return
        self.bridge.cancelled(leg, invite, cancel, now)

    # Time.

    def due(self, cause: str, now: float) -> None:
        if self.end is not None:
            return
        if cause is HOLD:
            self.setup.hold_over(self, now)
        elif cause is ALONE:
            side, half = self.server_side, self.environment.stack.timers.lifetime / 2
            if now - side.unacknowledged_at >= half - 0.001:
                _acknowledge_alone(self, side.asked_for_offer, now)

    # The end.

    def hang_up(self, by: EndedBy, reason: str, status: int, now: float) -> None:
        """End the call on both sides, in whatever state it is."""
        if self.end is None and not _ends_later(self, lambda then: self.hang_up(by, reason, status, then), now):
            self.bridge.release(reason, now, _PARTY[self.direction][by], status)

    def _changed_alone(self, now: float, at_once: bool) -> None:
        self.environment.line_states.changed(self, now, at_once)

    def _hang_up_alone(self, reason: str, status: int, now: float) -> None:
        self.hang_up(AGENT, reason, status, now)

    def reset(self, reason: str, status: int, now: float) -> None:
        """Drop the call towards the device; the servers know (docs/wire.md, ``purpose=reset``)."""
        self.server_side.drop(status, now)
        self.bridge.release(reason, now, _PARTY[self.direction][SERVER], status)

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        self.setup.failed(self, leg, status, response, now)

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        """The call is over for its users: free the channel and the media, and give up requests whose answers nobody
        awaits any more. Transactions may still be under way; `over` follows when they are finished."""
        side, who = self.server_side, _ENDED_BY[self.direction][by]
        self.end = CallEnd(now, who, reason or self.why, status)
        self.line.channels.give(self.channel)
        self.environment.watched(self.line, now)
        self.session.stop()
        self.description.release()
        side.ended = True
        _give_up(self, who, now)

    @property
    def opening(self) -> ServerTransaction | None:
        """The INVITE that opened the call, as long as it is not answered."""
        origin = self.bridge.origin
        return origin.server_invite.pending if self.answered_at is None and origin is not None else None

    def over(self, now: float) -> None:
        """No transaction of the ended call is under way any more: settle it."""
        side = self.server_side
        self.held_answers.end(now)
        for received in list(self.received):
            side.respond(received, 487 if received.method == "INVITE" else 481, now)
        side.terminate()
        self.environment.settled(self, now)


def _give_up(call: Call, who: EndedBy, now: float) -> None:
    """Answer or withdraw the requests under way in a call that has ended, where nobody awaits their answers any
    more."""
    side = call.server_side
    if call.answered_at is None:
        failed = call.server is not None and call.server.ended
        for sent in list(call.sent):
            if sent.client.method == "INVITE":  # that opens the call, unless it was answered
                if not sent.client.answered:
                    sent.cancelled = sent.reached
                    if not sent.reached:
                        side.withdraw(sent, now)
            elif failed:  # it came in an early dialog, which is gone
                side.conclude(sent, 481, now)
    for received in list(call.received):
        invite = received.method == "INVITE"
        if received.transaction is call.opening:
            continue  # the bridge answers it
        if who is DEVICE or (who is SERVER and invite):  # RFC 3261 section 15.1.2
            lines = told(call.figures) if received.method == "BYE" else ()
            side.respond(received, 487 if invite else 481, now, lines=lines)


def _description_of(environment: CallEnvironment, line: Line, id_: int, now: float) -> SessionDescription:
    """The session description of a new call on that line, with the relay and WebRTC gateway that its media needs."""
    relay = environment.relays.get(line.settings.media)
    keys = None
    if line.settings.srtp == "sdes":
        keys = DeviceKeys(environment.derivation.secret, f"{environment.random.getrandbits(64):x}")
    anchor = MediaAnchor(relay, id_, line.behind_nat, environment.log, now, line.web, keys)
    relay_view = anchor.to_gateway if relay is not None and not line.secured else None
    return SessionDescription(anchor, WebrtcAnchor(environment.webrtc, line.secured, line.behind_nat, relay_view))


def _ends_later(call: Call, end: Callable[[float], None], now: float) -> bool:
    """Whether the end of the call is postponed until the relay has reported its measurements; ``end`` is called
    then."""
    figures = call.figures
    return figures is not None and call.answered_at is not None and call.end is None and figures.first(end, now)


def _hung_up(call: Call, leg: InviteUsage, bye: ServerTransaction, request: Request, now: float) -> None:
    """Handle a BYE that was postponed. Meanwhile the call may have ended, and its leg may have another owner."""
    if bye.open:
        owner = call.bridge if leg.owner is call else leg.owner
        owner.requested(leg, bye, request, now)


def _refuse_offer(call: Call, leg: InviteUsage, transaction: ServerTransaction, status: int, now: float) -> None:
    """Refuse an offer that crosses another one (RFC 3311 section 5.2); nothing is changed."""
    received, lines = call.server_side.received_as(transaction), LATER.lines if status == 500 else ()
    if received is None:
        leg.reply(transaction, status, now, lines=lines)
    else:
        call.server_side.respond(received, status, now, lines=lines)


def _pracked(call: Call, leg: InviteUsage, now: float) -> None:
    """The device sent PRACK for a provisional response: an SDP answer in that response is now valid (RFC 3262
    section 5)."""
    answers = leg.reliable is not None and leg.reliable.described
    if answers and call.description.device.state in (REMOTE_OFFER, REMOTE_CHANGE):
        call.rollback.accept()
    call.environment.line_states.changed(call, now, True)


def _acknowledge_alone(call: Call, asked_for_offer: bool, now: float) -> None:
    """Acknowledge the device's 2xx without the servers: no ACK came from them within 32*T1, half of the time for
    which a device repeats a 2xx.

    An offer in that 2xx is answered with the description that the device was given last. In a new call it was given
    none: then no ACK is sent.
    """
    leg = call.device
    if leg is None or not leg.ack.pending or leg.ended:
        return
    body = call.description.answer_device_alone() if asked_for_offer else b""
    if body or not asked_for_offer:
        call.environment.counters["acknowledged alone"] += 1
        acknowledge(call.bridge, leg, (SDP,) if body else (), body, now)


def told_to_device(line: Line, message: Message) -> list[str]:
    """The header lines of a message from the servers, as they are passed on to the device."""
    identity = line.identity
    told = (
        AS_IT_IS
        if POLICY_FIELDS.isdisjoint(message.names)
        else asserted_to_device(identity, message, identity.domain)
    )
    lines = _crossing(message, *told)
    return ruled(identity.to_device_headers, lines) if identity.to_device_headers else lines


def believed_of_device(line: Line, message: Message, session_id: str) -> list[str]:
    """The header lines of a message from the device, as they are passed on to the servers. ``session_id`` is used
    where the message has none."""
    identity = line.identity
    believed = AS_IT_IS if POLICY_FIELDS.isdisjoint(message.names) else asserted_by_device(identity, message, "")
    lines = _crossing(message, *believed)
    if line.settings.session_id:
        lines += line_of(session_id, message)
    return ruled(identity.from_device_headers, lines) if identity.from_device_headers else lines


def _note_refused_transfer(call: Call, now: float) -> None:
    """Say why a user cannot transfer calls: a device shows at most that it was declined."""
    said = '%s asks for a transfer (REFER), which its line refuses: transfer = "serve" in [lines.%s] lets it'
    name = call.line.settings.name
    call.environment.log.warning(logger, now, said, call.label, name, line=name)


def _updates(asked: ServerTransaction) -> bool:
    return asked.request is not None and asked.request.method == "UPDATE"


def _crossing(message: Message, dropped: frozenset[str], more: Sequence[str]) -> list[str]:
    if not dropped:
        return crossing(message, DEVICE_HOP)
    return [*crossing(message, DEVICE_HOP | dropped), *more]


_REFUSALS: Final = {"SUBSCRIBE": 405, "PUBLISH": 405, "REGISTER": 405, "REFER": 603}
"""Statuses for methods that are known, but refused in a call."""

_PARTY: Final[dict[str, dict[EndedBy, Party]]] = {
    "in": {DEVICE: "caller", SERVER: "callee", AGENT: "server"},
    "out": {DEVICE: "callee", SERVER: "caller", AGENT: "server"},
}
"""The bridge's party for each side, by the direction of the call."""
_ENDED_BY: Final[dict[str, dict[Party, EndedBy]]] = {
    direction: {party: by for by, party in parties.items()} for direction, parties in _PARTY.items()
}
