"""What a transfer makes of calls: the INVITE for its target, and the call that its two parties have then."""

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
    """With its channel."""
    agent: str
    dialog: str
    """Call-ID of its server dialog; ``""`` with a line of the server's own."""


def side_of(state: CallState, is_caller: bool) -> Side:
    """The party that called, or the other one."""
    if is_caller:
        return Side(state.caller, state.caller_line, state.caller_agent, state.caller_dialog)
    return Side(state.callee, state.callee_line, state.callee_agent, state.callee_dialog)


def joined_state(
    former: CallState, stays: Side, target: Side, made: CallState | None, part: str, by: str, at: float
) -> CallState:
    """The state of the call that who stays has with the target, as its caller, from ``at`` on (its wall clock).
    ``made``: that of the call to the target, where it was called for this.
    """
    return changed(
        former,
        attempt=1 if made is None else made.attempt,
        plan="",
        device_leg=None,  # told anew: its numbers are those of now, as the time is that is counted from
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
    """The INVITE for the target, in the site's form: without an offer, and with who referred (RFC 3892), whom a
    trusted line may name itself.
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
    """The leg of a call that was made to a target is a leg of ``call``, with what is counted for it; nothing else is
    left of that call.
    """
    for line in made.lines:
        call.lines.append(line)
    made.lines = []
    _take_leg(call, made, target)
    made.bridge.drop()


def take_from(call: Call, other: Call, target: InviteUsage) -> None:
    """A leg of another call of the referrer is a leg of ``call``; that other call has one side then."""
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
    device_leg.bridge = call.bridge


def call_of(leg: InviteUsage) -> Call | None:
    """The call of a leg, of an agent's or a line of the server's own."""
    owner = leg.owner
    bridge = owner if isinstance(owner, Bridge) else getattr(owner, "bridge", None)
    policy = bridge.policy if isinstance(bridge, Bridge) else None
    return policy if isinstance(policy, Call) else None
