"""The phases of a call, and what is made of its state alone: numbers shown, results, the call record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from b2bua.cdr import Cdr, EndedBy, Result
from b2bua.state_token import CallState
from sip.wire import sdp
from sip.wire.message import Request
from sip.wire.uri import as_user

if TYPE_CHECKING:
    from b2bua.core import Core

ROUTING: Final = "routing"
DIALING: Final = "dialing"
RINGING: Final = "ringing"
TALKING: Final = "talking"
ENDING: Final = "ending"


def changed(state: CallState, **changes: Any) -> CallState:
    """A new state; its token, the next one sent, counts one higher."""
    return state._replace(counter=state.counter + 1, **changes)


def held_after(held: str, asking: str, offer: bytes, answer: bytes) -> str:
    """Who holds after a re-INVITE from the side ``asking``, by the directions of its SDP (RFC 3264 section 8.4)."""
    sides = set(held)
    for side, body in ((asking, offer), ("a" if asking == "b" else "b", answer)):
        if body:
            try:
                (sides.add if sdp.is_hold(body) else sides.discard)(side)
            except sdp.SdpError:
                continue
    return "".join(sorted(sides))


def rings(status: int) -> bool:
    """Whether a provisional status says that somebody is being alerted, or hears something."""
    return status in (180, 183)


def with_user(value: str, number: str) -> str:
    """A From value that shows another number; the display name goes, since it was the other number's."""
    host = value.partition("@")[2].partition(">")[0].partition(";")[0] or "localhost"
    return f"<sip:{as_user(number)}@{host}>"


def hops(request: Request) -> int:
    """The Max-Forwards of the request when it is passed on (validated where it came in)."""
    return int(request.get("max-forwards") or 70) - 1


def result_of(status: int, answered: bool, cancelled: bool) -> Result:
    """What a call came to, in one word."""
    if answered:
        return "reset" if status == 503 else "answered"
    if cancelled or status == 487:
        return "cancelled"
    if status in (486, 600):
        return "busy"
    if status in (408, 480):
        return "no-answer"
    return "failed" if status >= 500 else "rejected"


def record_of(
    core: Core, state: CallState, status: int, ended_by: EndedBy, ended: float, reason: str, cancelled: bool
) -> Cdr:
    """The call record of a call that ended at ``ended``."""
    return Cdr(
        call_id=state.call_id,
        session_id=state.session_id,
        site=core.site.name,
        node=core.node,
        epoch=core.epoch,
        caller=state.caller,
        callee=state.callee,
        caller_line=state.caller_line,
        callee_line=state.callee_line,
        attempts=state.attempt,
        started=state.started or None,
        ringing=state.ringing or None,
        answered=state.answered or None,
        ended=ended + core.wall_offset,
        result=result_of(status, bool(state.answered), cancelled),
        status=status,
        ended_by=ended_by,
        reason=reason,
    )
