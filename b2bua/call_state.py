"""Pure functions on a call's state: the next state, and which sides hold."""

from __future__ import annotations

from typing import Any, Final

from b2bua.state_token import MOST_CHARACTERS, CallState
from sip.wire import sdp

_AT: Final = {name: index for index, name in enumerate(CallState._fields)}
_COUNTER: Final = _AT["counter"]


def changed(state: CallState, **changes: Any) -> CallState:
    """A new state with these changes; its counter, which orders tokens, is one higher."""
    values: list[Any] = list(state)
    values[_COUNTER] += 1
    for name, value in changes.items():
        values[_AT[name]] = value
    return CallState._make(values)


def party_replaced(called: bool, number: str, line: str, agent: str, dialog: str) -> dict[str, str]:
    """The changes to a state when another party has taken a side of the call; ``dialog``: Call-ID of its dialog with
    an agent."""
    side = "callee" if called else "caller"
    return {
        side: number[:MOST_CHARACTERS],
        f"{side}_line": line[:MOST_CHARACTERS],
        f"{side}_agent": agent,
        f"{side}_dialog": dialog if agent else "",
    }


def held_after(held: str, asking: str, offer: bytes, answer: bytes) -> str:
    """Which sides hold after a re-INVITE from side ``asking``, by the directions in its SDP (RFC 3264 section
    8.4)."""
    sides = set(held)
    for side, body in ((asking, offer), ("a" if asking == "b" else "b", answer)):
        if body:
            try:
                (sides.add if sdp.is_hold(body) else sides.discard)(side)
            except sdp.SdpError:
                continue
    return "".join(sorted(sides))


def rings(status: int) -> bool:
    """Whether a provisional status means that the callee is alerted, or that there is early media."""
    return status in (180, 183)
