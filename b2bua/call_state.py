"""What is made of a call's state alone: the next state, and who holds."""

from __future__ import annotations

from typing import Any, Final

from b2bua.state_token import MOST_CHARACTERS, CallState
from sip.wire import sdp

_AT: Final = {name: index for index, name in enumerate(CallState._fields)}
_COUNTER: Final = _AT["counter"]


def changed(state: CallState, **changes: Any) -> CallState:
    """A new state; its token, the next one sent, counts one higher."""
    values: list[Any] = list(state)
    values[_COUNTER] += 1
    for name, value in changes.items():
        values[_AT[name]] = value
    return CallState._make(values)


def seat_taken(called: bool, number: str, line: str, agent: str, dialog: str) -> dict[str, str]:
    """What the state says of who has taken that side of the call; ``dialog`` is its Call-ID with an agent."""
    side = "callee" if called else "caller"
    return {
        side: number[:MOST_CHARACTERS],
        f"{side}_line": line[:MOST_CHARACTERS],
        f"{side}_agent": agent,
        f"{side}_dialog": dialog if agent else "",
    }


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
