"""A dialog as the agent hands it over, in JSON (docs/wire.md, "The list"), seen from the server's side."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final

from gateway_agent.call import Call
from gateway_agent.deduplication import Received
from gateway_agent.incoming import Incoming
from gateway_agent.pending import Ended
from sip.invite import InviteUsage
from sip.transaction import CALLING
from sip.wire.message import Request

if TYPE_CHECKING:
    from gateway_agent.core import Core
    from gateway_agent.line import Line

_quote: Final = encode_basestring_ascii


class Gone:
    """A call that ended and has nothing under way: what a server has to know of it yet."""

    __slots__ = ("ages", "call_id", "ended", "head", "line", "seen_under", "told_at")

    def __init__(self, call: Call, ended: Ended, seen_under: int) -> None:
        assert call.server is not None
        self.line = call.line
        self.call_id = call.server.dialog.call_id
        self.head = _head(call, "terminated")
        self.ages = (call.invite_at, call.ringing_at, call.answered_at)
        self.ended = ended
        self.seen_under = seen_under
        """The epoch of the server that saw the end; 0 when there was none."""
        self.told_at: float | None = None
        """When a server that takes over answered the part of a list with it."""


def of_gone(gone: Gone, now: float) -> str:
    """The record of a call that is over."""
    return f"{gone.head}{_ages(*gone.ages, now)}{_ended(gone.ended, now)}}}"


def of_call(call: Call, now: float) -> str:
    """The record of a call (some 15 microseconds)."""
    server = call.server
    if server is None:
        return ""
    ages = _ages(call.invite_at, call.ringing_at, call.answered_at, now)
    ended = _ended(call.ended, now) if call.ended is not None else ""
    return f"{_head(call, _state(call, server))}{ages}{_requests(call, server, now)}{ended}}}"


def of_line(line: Line) -> str:
    """The record of a line."""
    return (
        f'{{"line":{_quote(line.name)},"kind":"{line.kind}","state":"{line.state}",'
        f'"in-service":{"true" if line.in_service else "false"},"channels":{line.settings.channels},'
        f'"busy":{line.busy},"contacts":{line.contacts},"why":{_quote(line.why)}}}'
    )


def of_head(core: Core, version: int, part: int, complete: bool) -> str:
    """The first record of each part."""
    return (
        f'{{"site":{_quote(core.site.name)},"agent":{_quote(core.agent.name)},"boot":{core.links.fence.on_disk.incarnation},'
        f'"epoch":{core.epoch},"version":{version},"part":{part},"complete":{"true" if complete else "false"}}}'
    )


def _head(call: Call, state: str) -> str:
    server = call.server
    assert server is not None
    dialog = server.dialog
    lowest = min((sent.cseq for sent in call.sent), default=dialog.local_cseq + 1)
    settings = call.line.settings
    direction = "recipient" if call.direction == "in" else "initiator"
    text = (
        f'{{"call-id":{_quote(dialog.call_id)},"local-tag":{_quote(dialog.remote_tag)},'
        f'"call-state":{_quote(call.token)},"state":"{state}","direction":"{direction}",'
        f'"remote-tag":{_quote(dialog.local_tag)},"local":{_quote(dialog.remote)},"remote":{_quote(dialog.local)},'
        f'"target":{_quote(call.core.contact_uri)},"cseq":{{"local":{dialog.remote_cseq},"remote":{lowest - 1}}},'
        f'"line":{_quote(call.label)},"priority":{settings.priority},"recovery":"{settings.recovery}"'
    )
    return text + f',"origin":{_quote(call.origin)}' if call.origin else text


def _ages(invite_at: float, ringing_at: float | None, answered_at: float | None, now: float) -> str:
    text = f',"age":{{"invite":{now - invite_at:.3f}'
    if ringing_at is not None:
        text += f',"ringing":{now - ringing_at:.3f}'
    if answered_at is not None:
        text += f',"answer":{now - answered_at:.3f}'
    return text + "}"


def _state(call: Call, server: InviteUsage) -> str:
    if call.ended is not None:
        return "terminated"
    if server.established:
        return "confirmed"
    if isinstance(call, Incoming):
        if call.early:
            return "early"
        return (
            "trying"
            if server.pending_client_invite is not None and server.pending_client_invite.state == CALLING
            else "proceeding"
        )
    early = any(answer.tag for received in call.received for answer in received.provisionals)
    return "early" if early else "proceeding"


def _requests(call: Call, server: InviteUsage, now: float) -> str:
    """What is under way, the acknowledgements, the descriptions."""
    text = ""
    if call.sent:
        sent = ",".join(
            f'{{"request":{_bytes(one.client.request)},"cancelled":{"true" if one.cancelled else "false"}}}'
            for one in call.sent
            if one.client is not None and one.client.request
        )
        if sent:
            text += f',"sent":[{sent}]'
    if call.received:
        received = [one for one in (_received(call, received) for received in call.received) if one]
        if received:
            text += f',"received":[{",".join(received)}]'
    if isinstance(call, Incoming) and call.early:
        early = ",".join(
            f'{{"tag":{_quote(tag)},"responses":[{_bytes(response.to_bytes())}]}}'
            for tag, response in call.early.items()
        )
        text += f',"early":[{early}]'
    elif call.answered_at is None:
        text += _early(call)
    text += _ack(call, server, now)
    description = call.description
    ours, theirs = description.server.last_local, description.server.last_remote
    if ours or theirs:
        held = description.held
        if held != "none":
            text += f',"held":"{held}"'
        text += f',"sdp":{{"sent":{_bytes(ours)},"received":{_bytes(theirs)}}}'
    return text


def _received(call: Call, received: Received) -> str:
    """A request of a server with its last answer, and an early dialog for each tag."""
    request = received.transaction.request
    if request is None:
        return ""
    text = f'{{"request":{_bytes(request.to_bytes())},"origin":{_quote(received.key)}'
    if received.provisionals:
        text += f',"response":{_quote(_whole(call, received, request, -1))}'
    if received.cancelled:
        text += ',"cancelled":true'
    text += "}"
    return text


def _early(call: Call) -> str:
    """The early dialogs of a call that a server opened: for each tag its provisional responses, whole."""
    for received in call.received:
        request = received.transaction.request
        if request is None or received.method != "INVITE":
            continue
        by_tag: dict[str, list[str]] = {}
        for index, answer in enumerate(received.provisionals):
            if answer.tag:
                by_tag.setdefault(answer.tag, []).append(_quote(_whole(call, received, request, index)))
        entries = [f'{{"tag":{_quote(tag)},"responses":[{",".join(all)}]}}' for tag, all in by_tag.items()]
        return f',"early":[{",".join(entries)}]' if entries else ""
    return ""


def _whole(call: Call, received: Received, request: Request, index: int) -> str:
    answer = received.provisionals[index]
    stack = call.core.stack
    lines = answer.lines
    if received.method == "INVITE" and call.server is not None:
        lines = (stack.contact(call.server.flow), *lines)
    return stack.response(request, answer.status, answer.reason, lines, answer.body, answer.tag).decode("latin-1")


def _ack(call: Call, server: InviteUsage, now: float) -> str:
    if server.awaits_ack:
        return f',"ack":"awaited","ack-cseq":{server.success_cseq},"ack-origin":{_quote(call.awaited)}'
    if server.ack_pending:
        return f',"ack":"owed","ack-cseq":{server.acked_cseq}'
    if call.acked_at is not None and now - call.acked_at <= call.core.stack.timers.lifetime:
        return f',"ack":{{"message":{_bytes(server.last_ack())}}},"ack-cseq":{server.acked_cseq}'
    return ""


def _ended(ended: Ended, now: float) -> str:
    ago = now - ended.at
    return f',"ended":{{"ago":{ago:.3f},"by":"{ended.by}","reason":{_quote(ended.reason)},"status":{ended.status}}}'


def _bytes(data: bytes) -> str:
    return _quote(data.decode("latin-1"))
