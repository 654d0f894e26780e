"""Parts of a transfer: the INVITE for its target, and the state and legs of the call that its two parties have."""

from __future__ import annotations

from typing import NamedTuple

from b2bua.call import Call
from b2bua.call_state import changed
from b2bua.state_token import MOST_CHARACTERS, CallState
from heartbeat.site.model import Site
from sip.b2b.bridge import Bridge, let_go
from sip.header_policy import ALLOW, max_forwards_left
from sip.invite import InviteUsage
from sip.references import ReferTo
from sip.wire.message import Request
from sip.wire.uri import as_user, with_params


class Side(NamedTuple):
    """One party of a call."""

    number: str
    line: str
    """The line, with its channel if it has one."""
    agent: str
    dialog: str
    """Call-ID of the dialog with the agent; ``""`` for an own line."""


def side_of(state: CallState, is_caller: bool) -> Side:
    """The caller's or the callee's side of a state."""
    if is_caller:
        return Side(state.caller, state.caller_line, state.caller_agent, state.caller_dialog)
    return Side(state.callee, state.callee_line, state.callee_agent, state.callee_dialog)


def joined_state(
    former: CallState, stays: Side, target: Side, made: CallState | None, part: str, by: str, at: float
) -> CallState:
    """The state of the call between the party that stays, as the caller, and the target, from ``at`` on (wall clock
    of the call). ``made``: the state of the call to the target, if that was called for the transfer.
    """
    return changed(
        former,
        attempt=1 if made is None else made.attempt,
        plan="",
        device_leg=None,  # set anew with the leg's present CSeq, as jumps count seconds from the new answer on
        caller=stays.number,
        caller_line=stays.line,
        caller_agent=stays.agent,
        caller_dialog=stays.dialog,
        callee=target.number,
        callee_line=target.line,
        callee_agent=target.agent,
        callee_dialog=target.dialog,
        started=at if made is None else made.started,
        ringing=0.0 if made is None else made.ringing,
        answered=at,
        dialled="" if made is None else made.dialled,
        part=part,
        transferred_by=by[:MOST_CHARACTERS],
    )


def invite_for(site: Site, refer: Request, wanted: ReferTo, caller: str, referrer: str, line: str) -> Request:
    """The INVITE for the target, in the site's form: without an offer, and with Referred-By (RFC 3892), which a
    trusted line may set itself.
    """
    known = site.lines.get(line.partition("/")[0])
    by = refer.get("referred-by") if known is not None and known.trusted else None
    sender = f"<sip:{as_user(caller)}@{site.realm}>" if caller else '"Anonymous" <sip:anonymous@anonymous.invalid>'
    uri = with_params(f"sip:{as_user(wanted.uri.dialled)}@{site.realm}", wanted.uri.number_params)
    fields = {
        "From": f"{sender};tag=transfer",
        "To": f"<{uri}>",
        "Max-Forwards": str(max_forwards_left(refer)),
        "Referred-By": by or f"<sip:{as_user(referrer)}@{site.realm}>",
    }
    names, lines = [name.lower() for name in fields], [f"{name}: {value}" for name, value in fields.items()]
    return Request("INVITE", uri, [*names, "allow"], [*lines, ALLOW])


def take_target(call: Call, made: Call, target: InviteUsage) -> None:
    """Move the target's leg of the call ``made``, with its line loads, to ``call``, and drop the rest of ``made``."""
    for line in made.lines:
        call.lines.append(line)
    made.lines = []
    _take_leg(call, made, target)
    made.bridge.drop()


def take_from(call: Call, other: Call, target: InviteUsage) -> None:
    """Move a leg of the referrer's other call, with its line load, to ``call``; the other call keeps one leg."""
    line = (other.state.caller_line if target is other.bridge.origin else other.state.callee_line).partition("/")[0]
    if line in other.lines:
        other.lines.remove(line)
        call.lines.append(line)
    _take_leg(call, other, target)


def _take_leg(call: Call, other: Call, target: InviteUsage) -> None:
    let_go(other.bridge, target)
    device_leg = other.device_legs.get(target)
    if device_leg is None:
        target.owner = call.bridge
        return
    other.device_legs = {leg: one for leg, one in other.device_legs.items() if leg is not target}
    call.device_legs = {**call.device_legs, target: device_leg}
    device_leg.bridge = device_leg.holder = call.bridge


def call_of(leg: InviteUsage) -> Call | None:
    """The call that a leg belongs to, be it with an agent or an own line; None without one."""
    owner = leg.owner
    bridge = owner if isinstance(owner, Bridge) else getattr(owner, "bridge", None)
    policy = bridge.policy if isinstance(bridge, Bridge) else None
    return policy if isinstance(policy, Call) else None
