"""The state token: the server's state of a call, signed, and attached to messages that go to an agent anyway.

``1.<counter>.<call id>.<payload>.<mac>``: an agent stores the last one with its dialog and returns it in its list, so
that the server that takes over can go on. Legs are joined by the call id only; of the tokens of a call the one with
the highest counter is valid (docs/wire.md).
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from hashlib import blake2b
from json.encoder import encode_basestring_ascii as _json
from typing import Any, Final, NamedTuple, cast

from b2bua import device_leg_state
from b2bua.device_leg_state import DeviceLegState, PickupState
from heartbeat.mac import is_mac_of, mac_of

VERSION: Final = "1"
LONGEST: Final = 1024
"""Bytes of a token without the leg with a device."""
LONGEST_WITH_DEVICE_LEG: Final = 2048
"""Bytes of any token; longer ones are rejected."""

MOST_CHARACTERS: Final = 65
"""Characters of a number or line in a state: one more than routing accepts, so that it can tell a too long number."""
LONGEST_BRANCH: Final = 64
"""Characters of a branch in an origin; a longer one is hashed."""
CUT: Final = 10
"""Characters to which numbers are cut that would make a token too long; routing refuses such calls anyway."""
MOST_EPOCHS: Final = 8
"""Epochs of a call that are kept, the latest ones."""
_SHOWN: Final = re.compile(r"1\.([0-9]{1,9})\.([^.]*)\.[^.]*\.[^.]*\Z")


class CallState(NamedTuple):
    """The state of a call that survives its server. Instants are epoch seconds; 0 means not yet."""

    call_id: str
    counter: int = 0
    """Number of the token of this call, rising over all servers."""
    origin: str = ""
    """Agent and branch of the first INVITE: ``gw1;z9hG4bK…``; the server's name if it came by a line of its own."""
    attempt: int = 0
    """How many targets were tried, the present one included."""
    plan: str = ""
    """The targets left to try, the present one first (``b2bua.plan.Plan``); empty once answered."""
    caller: str = ""
    callee: str = ""
    caller_line: str = ""
    callee_line: str = ""
    caller_agent: str = ""
    caller_dialog: str = ""
    """Call-ID of the server dialog with the caller's agent."""
    callee_agent: str = ""
    callee_dialog: str = ""
    started: float = 0.0
    ringing: float = 0.0
    answered: float = 0.0
    session_id: str = ""
    epochs: tuple[int, ...] = ()
    """The epochs that this call lived in, oldest first."""
    dialled: str = ""
    """The number that was called first, if ``callee`` is another one."""
    part: str = ""
    """After a transfer: call id of the record for the part of the call since then."""
    transferred_by: str = ""
    """The line whose device transferred the call last, or had it made by a transfer."""
    forwarded_by: str = ""
    """The line whose forwarding led to the present target."""
    device_leg: DeviceLegState | None = None
    """The leg with one of the servers' own lines, once it is answered."""
    pickup: PickupState | None = None
    """While the call rings: the party on an own line that is picking it up."""


class TokenError(ValueError):
    """A token is not signed by us, or cannot be read."""


def call_id_of(origin: str, dialog_call_id: str) -> str:
    """The call id, derived from origin and Call-ID of the first INVITE, so that two servers that see it agree."""
    return blake2b(f"{origin} {dialog_call_id}".encode(), digest_size=12, person=b"holdfast-call").hexdigest()


def origin_of(node: str, branch: str) -> str:
    """The first two parts of an origin key, node and branch; a too long branch is hashed."""
    if len(branch) > LONGEST_BRANCH:
        branch = blake2b(branch.encode("latin-1"), digest_size=16).hexdigest()
    return f"{node};{branch}"


def sign(state: CallState, key: bytes) -> str:
    """The token for a state, of at most ``LONGEST`` bytes. Takes some 5 µs.

    If it would be longer, the last targets of the plan are left out, then numbers are cut. With a device leg it has
    at most ``LONGEST_WITH_DEVICE_LEG`` bytes; if it would be longer, the party that is picking the call up is left
    out, then that leg.
    """
    token = _signed(state, state.plan, key)
    if state.pickup is not None:
        if len(token) <= LONGEST_WITH_DEVICE_LEG:
            return token
        state = state._replace(pickup=None)
        token = _signed(state, state.plan, key)
    if state.device_leg is not None:
        if len(token) <= LONGEST_WITH_DEVICE_LEG:
            return token
        state = state._replace(device_leg=None)
        token = _signed(state, state.plan, key)
    plan = state.plan
    while len(token) > LONGEST and plan:
        plan = plan.rpartition(";")[0]
        token = _signed(state, plan, key)
    if len(token) > LONGEST:
        cut = state._replace(caller=state.caller[:CUT], callee=state.callee[:CUT], session_id="", dialled="")
        token = _signed(cut, "", key)
    return token


def _signed(state: CallState, plan: str, key: bytes) -> str:
    epochs = ",".join(map(str, state.epochs[-MOST_EPOCHS:]))
    values = (
        f"[{_json(state.origin)},{state.attempt},{_json(plan)},{_json(state.caller)},{_json(state.callee)},"
        f"{_json(state.caller_line)},{_json(state.callee_line)},{_json(state.caller_agent)},"
        f"{_json(state.caller_dialog)},{_json(state.callee_agent)},{_json(state.callee_dialog)},"
        f"{round(state.started, 3)},{round(state.ringing, 3)},{round(state.answered, 3)},"
        f"{_json(state.session_id)},[{epochs}]{_rest(state)}]"
    )
    payload = b2a_base64(values.encode(), newline=False).translate(_URL_SAFE).decode()
    text = f"{VERSION}.{state.counter}.{state.call_id}.{payload}"
    return f"{text}.{mac_of(text, key)}"


def _rest(state: CallState) -> str:
    """The trailing members, which few calls have."""
    leg, pickup = state.device_leg, state.pickup
    if leg is not None or pickup is not None:
        own = device_leg_state.encode(leg) if leg is not None else "null"
        if pickup is not None:
            own += f",[{_json(pickup.line)},{_json(pickup.number)},{device_leg_state.encode(pickup.leg)}]"
        return (
            f",{_json(state.dialled)},{_json(state.part)},{_json(state.transferred_by)},{_json(state.forwarded_by)}"
            f",{own}"
        )
    if state.transferred_by or state.forwarded_by:
        forwarded = f",{_json(state.forwarded_by)}" if state.forwarded_by else ""
        return f",{_json(state.dialled)},{_json(state.part)},{_json(state.transferred_by)}{forwarded}"
    return f",{_json(state.dialled)}" if state.dialled else ""


def read(token: str, keys: Sequence[bytes]) -> CallState:
    """The state in a token that is signed with one of the keys. Raises :class:`TokenError` with a sentence."""
    if len(token) > LONGEST_WITH_DEVICE_LEG:
        raise TokenError("the state token is longer than any that is made here")
    text, _, mac = token.rpartition(".")
    if not is_mac_of(mac, text, keys):
        raise TokenError("the state token is not signed with the site key")
    version, _, rest = text.partition(".")
    if version != VERSION:
        raise TokenError(f"the state token has format {version}, and only {VERSION} is known here")
    try:
        counter, call_id, payload = rest.split(".")
        values = cast(list[Any], json.loads(urlsafe_b64decode(payload)))
        state = _restored(call_id, int(counter), *values[:15], tuple(values[15]), *values[16:20])
        if len(values) < 21:
            return state
        return state._replace(device_leg=_device_leg(values[20]), pickup=_pickup(values[21:22]))
    except (ValueError, TypeError, LookupError):
        raise TokenError("the state token is signed, but what is in it cannot be read") from None


def is_signed(token: str, key: bytes) -> bool:
    """Whether a token is signed with that key."""
    text, _, mac = token.rpartition(".")
    return is_mac_of(mac, text, (key,))


def _device_leg(values: Any) -> DeviceLegState | None:
    """The leg with a device; None if it cannot be read, which does not invalidate the token."""
    try:
        return device_leg_state.decode(values)
    except (ValueError, TypeError, LookupError):
        return None


def _pickup(values: list[Any]) -> PickupState | None:
    """The party that is picking the call up; one that cannot be read is lost, and not the call."""
    leg = _device_leg(values[0][2]) if values and isinstance(values[0], list) and len(values[0]) == 3 else None
    return None if leg is None else PickupState(str(values[0][0]), str(values[0][1]), leg)


def named(token: str) -> tuple[str, int]:
    """The call id and the counter in a token, without verifying it; ``""`` and 0 if it has none."""
    found = _SHOWN.match(token)
    return (found[2], int(found[1])) if found is not None else ("", 0)


_restored: Callable[..., CallState] = CallState
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
