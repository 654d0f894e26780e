"""Makes the records that the agent's list has of calls and lines (``sip.packages.line_dialog``), as seen from the
server's side."""

from __future__ import annotations

from gateway_agent.call import Call
from gateway_agent.line import Line
from gateway_agent.server_side import ServerRequest
from gateway_agent.terminated_call import Instants, TerminatedCall
from sip.dialog import UAC, UAS, DialogState
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.packages import line_dialog
from sip.packages.line_dialog import (
    ACK_AWAITED,
    ACK_PENDING,
    NO_ACK,
    Ack,
    Ages,
    DialogRecord,
    EarlyDialog,
    Ended,
    LineRecord,
    ReceivedRequest,
    SentRequest,
)
from sip.transaction import CALLING
from sip.wire.message import Request


class Recorder:
    """Makes the records of calls, as they are at the instant ``now``."""

    __slots__ = ("_stack", "_target")

    def __init__(self, stack: Stack, target: str) -> None:
        """``target``: the URI at which servers reach this agent."""
        self._stack = stack
        self._target = target

    def of_call(self, call: Call, now: float) -> DialogRecord:
        """The record of a call. It must have a dialog with a server, as each call in the call table has."""
        server, ended = call.server, call.end
        assert server is not None
        side, line = call.server_side, call.line.settings
        described = call.description.server
        ours, theirs = described.last_local, described.last_remote
        sent, received = call.sent, call.received
        return DialogRecord(
            self._dialog(call, server),
            side.token,
            _state(call, server),
            call.label,
            line.priority,
            line.recovery,
            side.origin,
            _ages(_instants(call), now),
            tuple(SentRequest(one.client.request, one.cancelled) for one in sent if one.client.request)
            if sent
            else (),
            tuple(filter(None, (self._received(call, one) for one in received))) if received else (),
            self._early(call),
            self._ack(call, server, now),
            call.description.held if ours or theirs else "none",
            ours,
            theirs,
            None if ended is None else Ended(now - ended.at, ended.by, ended.reason, ended.status, _measured(call)),
        )

    def terminated(self, call: Call, seen_under: int) -> TerminatedCall:
        """What is kept of a call that ended. ``seen_under``: the epoch of the server that saw the end, 0 for none."""
        server, ended = call.server, call.end
        assert server is not None and ended is not None
        line = call.line.settings
        record = DialogRecord(
            self._dialog(call, server),
            call.server_side.token,
            line_dialog.TERMINATED,
            call.label,
            line.priority,
            line.recovery,
            call.server_side.origin,
            ended=Ended(0.0, ended.by, ended.reason, ended.status, _measured(call)),
        )
        return TerminatedCall(call.line.name, record, _instants(call), ended.at, seen_under)

    def _dialog(self, call: Call, server: InviteUsage) -> DialogState:
        """The dialog as the server has it."""
        dialog, sent = server.dialog, call.sent
        return DialogState(
            dialog.call_id,
            dialog.remote_tag,
            dialog.local_tag,
            dialog.remote,
            dialog.local,
            dialog.remote_cseq,
            min(one.cseq for one in sent) - 1 if sent else dialog.local_cseq,
            self._target,
            (),
            UAS if dialog.direction == UAC else UAC,
        )

    def _received(self, call: Call, received: ServerRequest) -> ReceivedRequest | None:
        """A request of a server with its last answer."""
        request = received.transaction.request
        if request is None:
            return None
        response = self._whole(call, received, request, -1) if received.provisionals else b""
        return ReceivedRequest(request.to_bytes(), received.key, response, received.cancelled)

    def _early(self, call: Call) -> tuple[EarlyDialog, ...]:
        """An early dialog for each tag, with the last provisional response; in a call that a server opened, with all
        of them."""
        if call.direction == "in":
            return tuple(EarlyDialog(tag, (each.to_bytes(),)) for tag, each in call.early.items())
        if call.answered_at is not None:
            return ()
        for received in call.received:
            request = received.transaction.request
            if request is not None and received.method == "INVITE":
                by_tag: dict[str, list[bytes]] = {}
                for index, answer in enumerate(received.provisionals):
                    if answer.tag:
                        by_tag.setdefault(answer.tag, []).append(self._whole(call, received, request, index))
                return tuple(EarlyDialog(tag, tuple(responses)) for tag, responses in by_tag.items())
        return ()

    def _whole(self, call: Call, received: ServerRequest, request: Request, index: int) -> bytes:
        answer = received.provisionals[index]
        lines = answer.lines
        if received.method == "INVITE" and call.server is not None:
            lines = (self._stack.contact(call.server.flow), *lines)
        return self._stack.response(request, answer.status, answer.reason, lines, answer.body, answer.tag)

    def _ack(self, call: Call, server: InviteUsage, now: float) -> Ack:
        if server.server_invite.awaits_ack:
            return Ack(ACK_AWAITED, b"", server.server_invite.success_cseq, call.server_side.awaited)
        if server.ack.pending:
            return Ack(ACK_PENDING, b"", server.ack.cseq)
        acked_at = call.server_side.acked_at
        if acked_at is not None and now - acked_at <= self._stack.timers.lifetime:
            return Ack("", server.ack.message(), server.ack.cseq)
        return NO_ACK


def _measured(call: Call) -> str:
    return call.figures.text if call.figures is not None else ""


def of_terminated(call: TerminatedCall, now: float) -> DialogRecord:
    """The record of a call that is over."""
    ended = call.record.ended
    assert ended is not None
    return call.record._replace(ages=_ages(call.instants, now), ended=ended._replace(ago=now - call.ended_at))


def of_line(line: Line) -> LineRecord:
    """The record of a line."""
    return LineRecord(
        line.name,
        line.kind,
        line.state,
        line.in_service,
        line.settings.channels,
        line.busy,
        line.far_side.contacts,
        line.why,
    )


def _instants(call: Call) -> Instants:
    return Instants(call.invite_at, call.ringing_at, call.answered_at)


def _ages(instants: Instants, now: float) -> Ages:
    invite, ringing, answer = instants
    return Ages(now - invite, None if ringing is None else now - ringing, None if answer is None else now - answer)


def _state(call: Call, server: InviteUsage) -> str:
    if call.end is not None:
        return line_dialog.TERMINATED
    if server.established:
        return line_dialog.CONFIRMED
    if call.direction == "in":
        if call.early:
            return line_dialog.EARLY
        calling = server.client_invite.pending
        return line_dialog.TRYING if calling is not None and calling.state == CALLING else line_dialog.PROCEEDING
    early = any(answer.tag for received in call.received for answer in received.provisionals)
    return line_dialog.EARLY if early else line_dialog.PROCEEDING
