"""Legs with devices of the servers' own lines, made again of what the token of the other leg tells
(``b2bua.device_leg_state``).

Nothing is asked of the peer before the leg is there; then it is told where its calls are now
(``b2bua.target_refresh``), unless it finds that by itself.
"""

from __future__ import annotations

from typing import Final

from b2bua.call import Call, CallServices, longest_of
from b2bua.device_leg import DeviceLeg, resume
from b2bua.device_leg_state import resumed
from b2bua.state_token import CallState
from b2bua.takeover.records import ToldDialog
from sip.actions import Flow
from sip.header_policy import DEVICE_HOP, crossing
from sip.packages.line_dialog import ACK_PENDING, request_of
from sip.transaction import ClientTransaction
from sip.wire.message import Request, Response, parse

FORMER: Final = "its other side was a line of the former server"
ACK_AGAIN: Final = 5.0
"""Seconds after an answer in which its ACK is sent once more: the server may have died with it. Longer ago it did not
in any takeover that a lease allows."""


def line_of(call: Call) -> str:
    """The line that its absent leg is with; ``""`` where it is an agent's."""
    state, bridge = call.state, call.bridge
    if bridge.origin is None and not state.caller_agent:
        return state.caller_line.partition("/")[0]
    if bridge.target is None and not state.callee_agent:
        return state.callee_line.partition("/")[0]
    return ""


def recover(call: Call, told: ToldDialog, now: float) -> DeviceLeg | str:
    """Make the leg with a device that a call lacks, by the token and by what was ``told`` of its other leg; or a
    sentence, why it is lost."""
    services, bridge, record, leg_state = call.services, call.bridge, told.record, call.state.device_leg
    as_origin = bridge.origin is None
    dialog = call.state.caller_dialog if as_origin else call.state.callee_dialog
    if leg_state is None or leg_state.asked or leg_state.called or dialog not in ("", leg_state.dialog.call_id):
        return FORMER
    line = line_of(call)
    flow = services.own_lines.former.way_back(line, leg_state, now)
    if isinstance(flow, str):
        return f"{FORMER}: {flow}"
    lasted = now - (call.state.answered - call.wall_offset)
    made = services.own_lines.leg(line, bridge, flow, resumed(leg_state.dialog, lasted), True)
    resume(made, leg_state, record.sdp_sent, record.sdp_received, lasted, now)
    services.stack.call_ids.join(call.id, leg_state.dialog.call_id, line, line)
    if leg_state.acknowledged:
        ack = parse(told.last_ack) if told.last_ack else None
        paid = ack is not None or record.ack.state == ACK_PENDING
        if lasted < ACK_AGAIN and paid and not told.changing:  # else it has gone on since
            made.leg.ack.expect(leg_state.acknowledged)
        else:
            made.leg.ack.prepare(leg_state.acknowledged, (), b"")
    bridge.attach(made.leg, as_origin)
    call.device_legs = {**call.device_legs, made.leg: made}
    if longest := longest_of(services.site, call.lines):
        bridge.limit(now - lasted + longest)
    services.own_lines.former.refresh(made, leg_state, now)
    return made


def offer_again(call: Call, told: ToldDialog, now: float) -> None:
    """Take the first INVITE of a device as a former server has left it, from the token; ``told`` is the leg of who is
    being called."""
    services, leg_state = call.services, call.state.device_leg
    assert leg_state is not None
    line, opening = line_of(call), _opening(told)
    body = told.record.sdp_received
    head = leg_state.asked + "\r\nContent-Type: application/sdp" if body else leg_state.asked
    request = parse(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)
    assert isinstance(request, Request)
    flow = services.own_lines.former.way_back(line, leg_state, now)
    assert isinstance(flow, Flow)
    stack = services.stack
    made = services.own_lines.leg(line, call.bridge, flow, leg_state.dialog)
    transaction = stack.receiver.resume(request, flow)
    transaction.last = stack.response(request, 100, "Trying", (), b"", "")
    call.device_legs = {made.leg: made}
    made.offer(transaction, request, now)
    call.request = opening or services.own_lines.caller_identity.believed(line, request)
    stack.call_ids.join(call.id, leg_state.dialog.call_id, line, line)


class CallOff:
    """The CANCEL of a former server's INVITE; what comes of it goes to that one."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """It rings no more, or had stopped by itself."""

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        """Nobody is there."""


def call_off(services: CallServices, state: CallState | None, now: float) -> None:
    """Have a line of ours stop ringing for a former server: it is called once more, or nobody wants it any more
    (RFC 3261 section 9.1: the CANCEL is that of the INVITE, whoever sends it)."""
    leg_state = state.device_leg if state is not None else None
    if state is None or leg_state is None or not leg_state.called or state.answered:
        return
    flow = services.own_lines.former.way_back(state.callee_line.partition("/")[0], leg_state, now)
    data = leg_state.called.encode("latin-1")
    cancel = parse(data)
    if not isinstance(flow, str) and isinstance(cancel, Request):
        services.stack.request("CANCEL", data, cancel.branch, flow, CallOff(), now)


def rings_for(call: Call, now: float) -> bool:
    """Whether its caller is a device whose INVITE can be taken up again."""
    leg_state, line = call.state.device_leg, line_of(call)
    if call.state.answered or call.bridge.origin is not None or leg_state is None or not leg_state.asked or not line:
        return False
    return not isinstance(call.services.own_lines.former.way_back(line, leg_state, now), str)


def _opening(told: ToldDialog) -> Request | None:
    """The INVITE with which a former server called."""
    for received in told.record.received:
        request = request_of(received.data)
        if request is not None and request.method == "INVITE" and not request.to_tag:
            return request
    return None


def acknowledge(device_leg: DeviceLeg, ack: Request, now: float) -> None:
    """Send the ACK of an agent on, which a former server may not have done."""
    body = device_leg.told(ack)
    device_leg.leg.acknowledge(crossing(ack, DEVICE_HOP), body, now)
