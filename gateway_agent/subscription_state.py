"""What only an agent knows of a subscription, as one frozen value that the servers keep for it (docs/wire.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from gateway_agent.seal import LineStateError, opened, sealed
from sip.actions import Flow
from sip.dialog import UAC, UAS, DialogState

Role = Literal["watches", "watched", "lamp"]
"""The role of the line's device: it subscribes; it is subscribed to; or the agent notifies in its place."""
ROLES: Final[tuple[Role, ...]] = ("watches", "watched", "lamp")


class SubscriptionState(NamedTuple):
    """The value that servers keep."""

    role: Role
    line: str
    event: str
    """The value of the Event header."""
    expires_in: float
    """Seconds from when this value was made until the subscription expires."""
    server: DialogState
    device: DialogState | None
    """None for a lamp, which has no dialog with a device."""
    flow: Flow | None
    number: str = ""
    """The number that a lamp shows."""


def encode(state: SubscriptionState, incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text that servers keep."""
    flow = [state.flow.transport, state.flow.local, *state.flow.remote] if state.flow is not None else None
    values = [*state[:3], round(state.expires_in, 3), state.server, state.device, flow, state.number]
    plain = json.dumps(values, separators=(",", ":"))
    return sealed(plain, plain.encode, incarnation, counter, bound, key)


def decode(text: str, bound: str, keys: Sequence[bytes]) -> SubscriptionState:
    """The subscription in a text that servers kept. Raises :class:`LineStateError`."""
    packed = opened(text, bound, keys)
    try:
        role, line, event, expires_in, server, device, flow, number = json.loads(packed)
        return SubscriptionState(
            ROLES[ROLES.index(role)],
            line,
            event,
            expires_in,
            _dialog(server),
            _dialog(device) if device is not None else None,
            Flow(flow[0], flow[1], (flow[2], flow[3])) if flow is not None else None,
            number,
        )
    except (ValueError, TypeError, LookupError):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


def bound_to(site: str, agent: str, dialog: str) -> str:
    """What the text is bound to: the agent's end of the dialog with the servers (``sip.dialog.dialog_key``)."""
    return f"{site} {agent} subscription {dialog}"


def _dialog(values: list[Any]) -> DialogState:
    *others, route_set, direction = values
    known: list[Any] = [*others, tuple(route_set), UAC if direction == UAC else UAS]
    return DialogState(*known)
