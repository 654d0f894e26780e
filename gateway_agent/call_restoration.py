"""Restores calls from what a server returns after a restart of this agent (docs/line-dialog.md, ``purpose=return``).

The state of the device's side comes from the line state. The state of the servers' side comes from the record that
the server itself has made, which is newer: it tells which requests of either side are not answered yet. Calls are
made by the same constructor as new ones. No new request is sent to a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from gateway_agent.call import ALONE, Call, Setup
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.deduplication import place_of
from gateway_agent.incoming import Incoming
from gateway_agent.line import Line
from gateway_agent.line_state import DeviceDialog, LineState, PendingInvite, SentInvite
from gateway_agent.outgoing import Outgoing
from gateway_agent.server_side import PendingRequest, ServerRequest
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow
from sip.b2b.bridge import DIALING, ELSEWHERE, SETUP, TALKING
from sip.device.session_timer import SessionTimer
from sip.dialog import UAC, UAS, Dialog, DialogState
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, passable_tag
from sip.invite import InviteUsage
from sip.invite.reliable import Reliable
from sip.offer_answer import AGREED
from sip.packages.line_dialog import ACK_AWAITED, CONFIRMED, DialogRecord, ReceivedRequest, request_of
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, parse

_CANCEL: Final = Request("CANCEL", "", [], [])
"""Stands for a CANCEL that came to the agent before its restart."""
REFRESH_AFTER: Final = 0.5
"""Seconds until a session refresh that was under way is sent once more: by then servers have the agent's list."""
JUMP: Final = 1000
"""CSeq numbers towards servers that are skipped after a restart: some may have been used without any record of it."""


class NotRestorable(Exception):
    """A call that cannot be restored; ``str()`` is a sentence that says why."""


class CallRestoration:
    """Restores the calls of an agent; it has one object of this."""

    def __init__(
        self,
        environment: CallEnvironment,
        lines: Mapping[str, Line],
        next_id: Callable[[], int],
        host_towards: Callable[[Settings, Flow], str],
    ) -> None:
        self._environment = environment
        self._lines = lines
        self._next_id = next_id
        self._host_towards = host_towards

    def restore(self, state: LineState, told: DialogRecord, age: float, now: float) -> Call:
        """Make the call from its line state, which is ``age`` seconds old, and the server's record of its dialog
        (``told``). Raises :class:`NotRestorable`; then nothing has been changed."""
        line = self._lines.get(state.line)
        if line is None:
            raise NotRestorable(f"the line {state.line} is not here any more")
        answered = state.answered is not None
        if not state.dialogs or (not answered and told.state == CONFIRMED and state.direction == "out"):
            raise NotRestorable("its line state is older than what the server knows of it")
        opening = None if state.direction == "in" or answered else _opening(told)
        if not answered and (opening is None if state.direction == "out" else not state.asked or state.sent is None):
            raise NotRestorable("its INVITE is not there any more")
        said_at = now - age
        call = self._made(state, line, answered, said_at, now)
        server = self._server_leg(call, state, told, answered)
        request = request_of(opening.data) if opening is not None else None
        since = max(0, told.dialog.local_cseq - state.served)
        for one in state.dialogs:
            if answered and one.invite is not None:
                self._cancel(line, one, one.invite, now)
                continue
            leg = self._device_leg(call, one, answered, since, request, now)
            if state.said or one.heard:
                leg.reliable = Reliable(self._environment.stack)
                leg.reliable.resume(state.said, one.heard)
        call.server_side.token = told.token
        if state.direction == "in":
            self._resume_incoming(call, server, state, told, answered, now)
        else:
            self._resume_outgoing(call, server, state, told, opening, request, now)
        if answered:
            device, at = call.device, call.answered_at or said_at
            assert device is not None
            call.picked_up(device, at)
            call.session.arm(now)
        return call

    def _made(self, state: LineState, line: Line, answered: bool, said_at: float, now: float) -> Call:
        setup: Setup = Incoming()
        if state.direction == "out":
            setup = Outgoing((), partial(self._host_towards, line.settings))
        phase = TALKING if answered else DIALING
        id_, invited_at = self._next_id(), said_at - state.invited
        call = Call(self._environment, setup, id_, line, state.channel, state.number, invited_at, phase)
        line.channels.resume(state.channel)
        call.session_id = state.session_id
        call.ringing_at = None if state.rang is None else said_at - state.rang
        call.answered_at = None if state.answered is None else said_at - state.answered
        call.server_side.origin, call.server_side.awaited = state.origin, state.awaited
        call.description.resume(state.device, state.server, state.standing, state.host)
        call.session.offers = call.description.device
        if state.relay is not None:
            call.description.anchor.resume(state.relay, said_at)
        if state.gateway is not None:
            call.description.gateway.resume(state.gateway)
        if state.timer is not None:
            call.session.timer = SessionTimer.restored(state.timer, said_at, now + REFRESH_AFTER)
        return call

    def _server_leg(self, call: Call, state: LineState, told: DialogRecord, answered: bool) -> InviteUsage:
        theirs, environment = told.dialog, self._environment
        sent = state.sent.cseq if state.sent is not None else 0
        dialog = DialogState(
            theirs.call_id,
            theirs.remote_tag,
            theirs.local_tag if answered or state.direction == "out" else "",
            theirs.remote,
            theirs.local,
            max(theirs.remote_cseq, sent) + JUMP,
            theirs.local_cseq,
            f"sip:{environment.server};transport=tcp",
            (),
            UAS if theirs.direction == UAC else UAC,
        )
        leg = InviteUsage(environment.stack, call, environment.server_flow, dialog, answered, no_timeout=True)
        call.server = call.server_side.leg = leg
        return leg

    def _cancel(self, line: Line, one: DeviceDialog, invite: PendingInvite, now: float) -> None:
        """Cancel a device that still rings although another one has answered. It may have been cancelled before the
        restart; then this is a repetition."""
        environment = self._environment
        stack, discarded = environment.stack, environment.discarded
        leg = InviteUsage(stack, discarded, one.flow, one.dialog, reach=line.reach, digest=line.digest)
        client, head = self._invite(leg, one, invite, 70)
        stack.resume(client, one.flow, request_bytes("INVITE", one.called, head, b""))
        discarded.cancel(leg, (ELSEWHERE,), now)

    def _invite(
        self, leg: InviteUsage, one: DeviceDialog, invite: PendingInvite, max_forwards: int
    ) -> tuple[ClientTransaction, list[str]]:
        """The client transaction of an INVITE that was sent to the device before the restart, and the first lines of
        that INVITE. The transaction is prepared, not begun."""
        branch, cseq, _, lines = invite
        stack = self._environment.stack
        opened = Dialog(one.dialog._replace(remote_tag=""))  # as it went, whatever has answered it since
        _, head = opened.head("INVITE", cseq, stack.via(one.flow, branch))
        head += (stack.contact(one.flow), f"Max-Forwards: {max_forwards}", *lines)
        client = stack.prepare("INVITE", branch, one.flow, leg, SETUP)
        leg.client_invite.latest = client
        leg.ack.note_credentials(lines)
        return client, head

    def _device_leg(
        self, call: Call, one: DeviceDialog, answered: bool, since: int, request: Request | None, now: float
    ) -> InviteUsage:
        """Make the leg of one dialog with the device. ``since`` is the number of requests of servers that were passed
        on to the device after the line state was made; each has used a CSeq number."""
        line, stack = call.line, self._environment.stack
        if call.server is not None:
            stack.call_ids.join(call.server.dialog.call_id, one.dialog.call_id, call.label, call.label)
        dialog = one.dialog._replace(local_cseq=one.dialog.local_cseq + since)
        leg = InviteUsage(stack, call, one.flow, dialog, answered, reach=line.reach, digest=line.digest)
        if answered or call.direction == "in":
            call.device = call.session.leg = leg
        if isinstance(call.setup, Outgoing) and not answered:
            assert request is not None
            call.setup.resume(call, leg, one.called, request)
        if one.invite is None or request is None:
            return leg
        leg.client_invite.offered = bool(request.body)
        client, head = self._invite(leg, one, one.invite, max_forwards_left(request))
        if one.invite.heard:
            stack.resume(client, one.flow, request_bytes("INVITE", one.called, head, b""))
        else:  # to a device that has the INVITE already, this is a retransmission
            assert isinstance(call.setup, Outgoing)
            further, body = call.setup.again(call, leg, request, now)
            stack.begin(client, one.flow, request_bytes("INVITE", one.called, (*head, *further), body), now)
        call.bridge.targets.append(leg)
        return leg

    def _resume_incoming(
        self, call: Call, server: InviteUsage, state: LineState, told: DialogRecord, answered: bool, now: float
    ) -> None:
        """Restore what is under way in a call that the device opened."""
        device = call.device
        assert device is not None
        bridge = call.bridge
        asked = self._asked(device, state)
        if answered:
            bridge.attach(device, as_origin=True)
            bridge.attach(server, as_origin=False)
            self._resume_ack(call, server, device, state, told, now)
        else:
            assert asked is not None
            bridge.offer(device, asked)
            bridge.targets = [server]
        self._resume_sent(call, server, asked, state.sent, told, not answered, now)
        if isinstance(call.setup, Incoming) and not answered:
            call.setup.passed = state.passed
            call.setup.eager = True
        if asked is not None and any(one.cancelled for one in told.sent):
            call.cancelled(device, asked, _CANCEL, now)
        for response in [found for one in told.early if (found := _response_of(one.responses[0])) is not None]:
            invite = server.client_invite.pending
            place = place_of(response) or (1, 0)
            unheard = device.reliable is not None and device.reliable.is_unacknowledged(passable_tag(response.to_tag))
            if unheard and invite is not None and isinstance(call.setup, Incoming) and place[1]:
                call.setup.passed = (place[0], place[1] - 1)  # sent again, since its PRACK is still to come
                invite.receive(response, now)
            elif isinstance(call.setup, Incoming) and place <= call.setup.passed:
                call.setup.heard(call, response, now)
            elif invite is not None and invite.branch == response.branch:
                invite.receive(response, now)

    def _resume_outgoing(
        self,
        call: Call,
        server: InviteUsage,
        state: LineState,
        told: DialogRecord,
        opening: ReceivedRequest | None,
        request: Request | None,
        now: float,
    ) -> None:
        """Restore what is under way in a call that a server opened."""
        stack, side = self._environment.stack, call.server_side
        if opening is None or request is None:  # answered
            device = call.device
            assert device is not None
            call.bridge.attach(server, as_origin=True)
            call.bridge.attach(device, as_origin=False)
            self._resume_sent(call, server, self._asked(device, state), state.sent, told, False, now)
            self._resume_ack(call, server, device, state, told, now)
            return
        transaction = stack.receiver.resume(request, self._environment.server_flow)
        call.bridge.offer(server, transaction)
        received = ServerRequest(state.origin, transaction, "INVITE", side)
        received.count = state.responses
        received.cancelled = opening.cancelled
        self._environment.deduplication.add(received, now)
        side.received.append(received)

    def conclude(self, state: LineState, now: float) -> None:
        """Answer 487 to an INVITE of the device that is unanswered although the call is over, since the device
        cancelled it or ended the call (RFC 3261 sections 9.2, 15.1.2). It may have had that answer before."""
        request, stack = _request_asked(state), self._environment.stack
        if request is not None and state.dialogs:
            device = state.dialogs[0]
            transaction = stack.receiver.resume(request, device.flow)
            stack.reply(transaction, 487, now, tag=device.dialog.local_tag)

    def _asked(self, device: InviteUsage, state: LineState) -> ServerTransaction | None:
        """The server transaction of the device's INVITE that has no final answer yet; None when there is none."""
        request, stack = _request_asked(state), self._environment.stack
        if request is None:
            return None
        transaction = stack.receiver.resume(request, device.flow)
        transaction.last = stack.response(request, 100, "Trying", (), b"", "")
        transaction.context = device
        device.server_invite.latest = transaction
        return transaction

    def _resume_sent(
        self,
        call: Call,
        server: InviteUsage,
        asked: ServerTransaction | None,
        sent: SentInvite | None,
        told: DialogRecord,
        opening: bool,
        now: float,
    ) -> None:
        """Resume the device's INVITE on its way to the servers. If the server's record has it neither as pending nor
        with a final answer, the server has answered it: it is sent again under the same branch, to have the answer
        repeated."""
        if sent is None or asked is None:
            return
        environment = self._environment
        stack, flow = environment.stack, environment.server_flow
        whole = next((one.data for one in told.sent if _has_branch(one.data, sent.branch)), b"")
        answers = [found for one in told.early if (found := _response_of(one.responses[0])) is not None]
        data = whole or self._again(call, server, sent)
        client = stack.prepare("INVITE", sent.branch, flow, server, SETUP if opening else asked, True)
        if whole or any(one.branch == sent.branch and one.status >= 200 for one in answers):
            stack.resume(client, flow, data)
        else:
            stack.begin(client, flow, data, now)
        server.client_invite.latest = client
        call.server_side.sent.append(PendingRequest(asked, client, sent.cseq, sent.offered, True, now))

    def _again(self, call: Call, server: InviteUsage, sent: SentInvite) -> bytes:
        stack, flow = self._environment.stack, self._environment.server_flow
        uri, head = server.dialog.head("INVITE", sent.cseq, stack.via(flow, sent.branch))
        body = call.description.server.last_local if sent.offered else b""
        lines = (*head, stack.contact(flow), "Max-Forwards: 70", f"Line: {call.label}")
        return request_bytes("INVITE", uri, (*lines, "Content-Type: application/sdp") if body else lines, body)

    def _resume_ack(
        self, call: Call, server: InviteUsage, device: InviteUsage, state: LineState, told: DialogRecord, now: float
    ) -> None:
        """Restore the ACK for the 2xx with which the device answered an INVITE. While the servers' ACK is awaited, so
        is the device's. Where the servers' ACK came before the restart, it is kept ready, and sent to the device only
        when that repeats its 2xx."""
        number, ack = state.dialogs[0].dialog.local_cseq, told.ack
        request = request_of(ack.message) if ack.message else None
        if not number:
            return
        if ack.state == ACK_AWAITED:
            server.server_invite.expect_ack(cseq=ack.cseq)
            device.ack.expect(number)
            call.server_side.unacknowledged_at = now
            timers, deadlines = self._environment.stack.timers, self._environment.stack.deadlines
            deadlines.set_about(now + timers.lifetime / 2, call, ALONE)
        elif request is not None:
            description, body = call.description, b""
            if request.body and description.device.state == AGREED:
                body = description.device.local
            elif request.body:
                body = call.passed(server, request, now).body
                call.rollback.accept()
            device.ack.prepare(number, crossing(request, DEVICE_HOP), body)


def _request_asked(state: LineState) -> Request | None:
    """The device's INVITE that has no final answer yet, with its offer; None when there is none."""
    return request_of(state.asked + b"\r\n\r\n" + (state.device.next_remote or b"")) if state.asked else None


def _opening(told: DialogRecord) -> ReceivedRequest | None:
    """The INVITE with which a server opened the dialog, as long as that is unanswered; None when there is none."""
    for one in told.received:
        request = request_of(one.data)
        if request is not None and request.method == "INVITE" and not request.to_tag:
            return one
    return None


def _has_branch(data: bytes, branch: str) -> bool:
    request = request_of(data)
    return request is not None and request.branch == branch


def _response_of(data: bytes) -> Response | None:
    try:
        found = parse(data)
    except SipError:
        return None
    return found if isinstance(found, Response) else None
