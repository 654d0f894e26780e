"""Makes the line states of calls, subscriptions and lines, and the header with which servers get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway_agent import registration_state, subscription_state
from gateway_agent.call import Call
from gateway_agent.line import Line
from gateway_agent.line_state import (
    DeviceDialog,
    LineState,
    PendingInvite,
    SentInvite,
    bound_to,
    encode,
)
from gateway_agent.records import of_line
from gateway_agent.subscription_state import SubscriptionState
from sip.dialog import UAC
from sip.invite import InviteUsage
from sip.packages.line_dialog import LineRecord
from sip.transaction import CALLING
from sip.wire.message import Request

_FOR_ANSWERS: Final = frozenset(
    "via from to call-id cseq record-route contact supported require session-expires min-se max-forwards "
    "timestamp".split()
)
"""Header fields of a device's INVITE that its answers copy, or depend on."""


class LineStates:
    """Makes the line states of one agent, as long as the server that has adopted it keeps them."""

    def __init__(self, site: str, agent: str, incarnation: int, key: Callable[[], bytes]) -> None:
        self.kept = False
        """Whether the server that has adopted this agent keeps line states (docs/wire.md)."""
        self.tell: Callable[[Call, float, bool], None] = _nobody
        """Called with a call that has changed at its device without a message to the servers."""
        self._lines_said = 0
        self._lines_told: set[str] = set()
        """Names of lines of which servers keep a state, which may be that no device is registered."""
        self._site = site
        self._agent = agent
        self._incarnation = incarnation
        self._key = key

    def lines(self, call: Any, now: float, sent: SentInvite | None = None) -> tuple[str, ...]:
        """The header line for a message to a server; ``()`` where no line state is kept, or the call has ended.
        ``sent``: the INVITE of which the header is to be part."""
        if not self.kept or not isinstance(call, Call) or call.end is not None:
            return ()
        return (f"Line-State: {self.text(call, now, sent)}",)

    def changed(self, call: Any, now: float, at_once: bool = False) -> None:
        """The call has changed at the device without a message to the servers: tell them, with other such changes or
        ``at_once``."""
        if self.kept and isinstance(call, Call) and call.end is None:
            self.tell(call, now, at_once)

    def text(self, call: Call, now: float, sent: SentInvite | None = None) -> str:
        """The value of that header."""
        side, dialog = call.server_side, call.server.dialog if call.server is not None else None
        assert dialog is not None
        side.told += 1
        tag = dialog.local_tag if dialog.direction == UAC else dialog.remote_tag
        bound = bound_to(self._site, self._agent, dialog.call_id, tag)
        return encode(snapshot(call, now, sent), self._incarnation, side.told, bound, self._key())

    def subscription(self, state: SubscriptionState, dialog: str, told: int) -> str:
        """The value of that header for a subscription. ``dialog`` is the key of its dialog with the servers, ``told``
        the number of this text among those of the subscription."""
        bound = subscription_state.bound_to(self._site, self._agent, dialog)
        return subscription_state.encode(state, self._incarnation, told, bound, self._key())

    def record(self, line: Line, now: float) -> LineRecord:
        """The record of a line, with its registrations for servers to keep, where there are any."""
        record = of_line(line)
        devices = line.far_side.line_state(now)
        if not self.kept or line.closed or (not devices and line.name not in self._lines_told):
            return record
        self._lines_told.add(line.name)
        self._lines_said += 1
        bound = registration_state.bound_to(self._site, self._agent, line.name)
        text = registration_state.encode(devices, self._incarnation, self._lines_said, bound, self._key())
        return record._replace(line_state=text)


def _nobody(call: Call, now: float, at_once: bool) -> None:
    pass


def snapshot(call: Call, now: float, sent: SentInvite | None = None) -> LineState:
    """The line state of the call at ``now``. ``sent``: the INVITE to the servers that is about to be sent."""
    side, device, description = call.server_side, call.device, call.description
    opening = call.opening
    received = side.received_as(opening) if opening is not None else None
    asked = device.server_invite.pending if device is not None else None
    if sent is None:
        for one in side.sent:
            if one.client.method == "INVITE" and one.asked is not None and not one.cancelled:
                sent = SentInvite(one.client.branch, one.cseq, one.offered)
    timer = call.session.timer
    legs = [device, *call.setup.given_up] if device is not None else call.bridge.targets
    return LineState(
        call.direction,
        call.line.name,
        call.channel,
        call.number,
        call.session_id,
        now - call.invite_at,
        None if call.ringing_at is None else now - call.ringing_at,
        None if call.answered_at is None else now - call.answered_at,
        side.origin,
        received.count if received is not None else 0,
        side.awaited,
        call.server.dialog.remote_cseq if call.server is not None else 0,
        call.setup.passed,
        tuple(_dialog(call, leg) for leg in legs),
        _head(asked.request) if asked is not None and asked.request is not None else b"",
        sent if asked is not None else None,
        description.device.export(),
        description.server.export(),
        description.standing,
        description.host,
        timer.export(now) if timer is not None else None,
        description.anchor.export(now),
        device.reliable.export()[0] if device is not None and device.reliable is not None else (),
        description.gateway.export(),
    )


def _dialog(call: Call, leg: InviteUsage) -> DeviceDialog:
    invite = leg.client_invite.pending if not leg.established else None
    pending = None
    if invite is not None:
        number = _cseq_of(invite.request)  # requests in its early dialog have taken further ones
        pending = PendingInvite(invite.branch, number, invite.state != CALLING, leg.ack.credentials)
    heard = leg.reliable.export()[1] if leg.reliable is not None else ()
    return DeviceDialog(leg.dialog.export(), leg.flow, call.setup.called_at(leg), pending, heard)


def _cseq_of(request: bytes) -> int:
    """The CSeq number of a request that the agent made."""
    return int(request.partition(b"\r\nCSeq: ")[2].partition(b" ")[0])


def _head(request: Request) -> bytes:
    """The start line and the header lines of a device's INVITE that its answers need."""
    kept = [line for name, line in zip(request.names, request.lines, strict=True) if name in _FOR_ANSWERS]
    return "\r\n".join((request.start, *kept)).encode("latin-1")
