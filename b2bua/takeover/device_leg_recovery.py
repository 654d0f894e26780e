"""Recovery of legs with devices on the servers' own lines, from the state token of the other leg
(``b2bua.device_leg_state``).

The device is sent nothing before its leg is restored. Then it gets a target refresh with the new server's address
(``b2bua.target_refresh``), unless it sends a request of its own first.
"""

from __future__ import annotations

import logging
from typing import Final

from b2bua.call import Call, CallServices, longest_of
from b2bua.device_leg import DeviceLeg, resume
from b2bua.device_leg_state import PickupState, resumed
from b2bua.state_token import CallState
from b2bua.takeover.records import DialogReport
from sip.actions import Flow
from sip.device.session_id import NIL
from sip.header_policy import DEVICE_HOP, crossing
from sip.invite import InviteUsage
from sip.packages.line_dialog import ACK_PENDING, request_of
from sip.transaction import ClientTransaction
from sip.wire.message import Request, Response, parse

logger = logging.getLogger(__name__)

FORMER: Final = "its other side was a line of the former server"
ACK_AGAIN: Final = 5.0
"""Seconds after an answer within which its ACK is sent once more, since the former server may have died before it
sent that. No takeover takes longer under a lease."""


def line_of(call: Call) -> str:
    """Name of the own line that a call's missing leg is with; ``""`` if that leg is with an agent."""
    state, bridge = call.state, call.bridge
    if bridge.origin is None and not state.caller_agent:
        return state.caller_line.partition("/")[0]
    if bridge.target is None and not state.callee_agent:
        return state.callee_line.partition("/")[0]
    return ""


def recover(call: Call, told: DialogReport, now: float) -> DeviceLeg | str:
    """Restore the missing leg of a call with a device, from the state token and the record of the other leg
    (``told``). Returns the leg, or a sentence that says why it is lost."""
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
    if as_origin and made.session_id and call.state.session_id:
        made.session_id = f"{call.state.session_id};remote={NIL}"
    services.stack.call_ids.join(call.id, leg_state.dialog.call_id, line, line)
    if leg_state.acknowledged:
        ack = parse(told.last_ack) if told.last_ack else None
        paid = ack is not None or record.ack.state == ACK_PENDING
        if lasted < ACK_AGAIN and paid and not told.changing:  # otherwise the session went on after that ACK
            made.leg.ack.expect(leg_state.acknowledged)
        else:
            made.leg.ack.prepare(leg_state.acknowledged, (), b"")
    bridge.attach(made.leg, as_origin)
    call.device_legs = {**call.device_legs, made.leg: made}
    if longest := longest_of(services.site, call.lines):
        bridge.limit(now - lasted + longest)
    services.own_lines.former.refresh(made, leg_state, now)
    return made


def offer_again(call: Call, told: DialogReport, now: float) -> None:
    """Take up the unanswered first INVITE of a device, from the state token. ``told`` is the record of the callee's
    leg."""
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


def reached(services: CallServices, told: PickupState, now: float) -> Flow | None:
    """The flow by which this server reaches a party on an own line that was picking a call up under a former server;
    None where it cannot."""
    flow = services.own_lines.former.way_back(told.line, told.leg, now)
    if isinstance(flow, str):
        logger.info("who was picking a call up at %s is lost: %s", told.line, flow)
        return None
    return flow


def hang_up(services: CallServices, told: PickupState | None, reason: str, now: float) -> None:
    """Send BYE to a party on an own line that was picking a call up under a former server."""
    device = services.own_lines.device(told.line) if told is not None else None
    if told is not None and device is not None and (flow := reached(services, told, now)) is not None:
        dialog = resumed(told.leg.dialog, 0.0)
        leg = InviteUsage(
            services.stack, services.discarded, flow, dialog, True, reach=device.reach, digest=device.digest
        )
        services.discarded.hang_up(leg, reason, now)


class CallOff:
    """Transaction user of the CANCEL for a former server's INVITE, whose final response went to that server."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Nothing to do: the device does not ring any more."""

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        """Nothing to do: the device is not reachable."""


def call_off(services: CallServices, state: CallState | None, now: float) -> None:
    """Cancel a former server's INVITE to an own line, because the line will be called anew or the call is over. The
    CANCEL matches by the branch of the INVITE, whichever server sends it (RFC 3261 section 9.1)."""
    leg_state = state.device_leg if state is not None else None
    if state is None or leg_state is None or not leg_state.called or state.answered:
        return
    flow = services.own_lines.former.way_back(state.callee_line.partition("/")[0], leg_state, now)
    data = leg_state.called.encode("latin-1")
    cancel = parse(data)
    if not isinstance(flow, str) and isinstance(cancel, Request):
        services.stack.request("CANCEL", data, cancel.branch, flow, CallOff(), now)


def rings_for(call: Call, now: float) -> bool:
    """Whether the caller is a device on an own line whose unanswered INVITE can be taken up again."""
    leg_state, line = call.state.device_leg, line_of(call)
    if call.state.answered or call.bridge.origin is not None or leg_state is None or not leg_state.asked or not line:
        return False
    return not isinstance(call.services.own_lines.former.way_back(line, leg_state, now), str)


def _opening(told: DialogReport) -> Request | None:
    """The INVITE with which a former server opened the dialog of a record."""
    for received in told.record.received:
        request = request_of(received.data)
        if request is not None and request.method == "INVITE" and not request.to_tag:
            return request
    return None


def acknowledge(device_leg: DeviceLeg, ack: Request, now: float) -> None:
    """Pass an agent's ACK on to the device: the former server may have died before it did."""
    body = device_leg.told(ack)
    device_leg.leg.acknowledge(crossing(ack, DEVICE_HOP), body, now)
