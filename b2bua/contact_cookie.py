"""What survives of a call without any agent: its devices carry it, sealed, in the user part of our Contact.

Such a call has nobody to keep a state token. But each of its two devices names our Contact in all that it asks in the
dialog (RFC 3261 section 12.2.1.1), and in what it tells of its dialogs (RFC 4235): a new server to which that comes
reads there what the call is, and all of its other leg. The device cannot read it, since it is about another's dialog.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from b2bua import device_leg_state
from b2bua.device_leg_state import DeviceLegState, Timer
from b2bua.state_token import CallState

FORMAT: Final = "hf1-"
"""In front of it: another dictionary, another order of values is another format."""
LONGEST: Final = 900
"""Characters. A longer one is left out: its Contact would be refused by somebody on the way."""
MOST_DECODED: Final = 8192


class Cipher(Protocol):
    """Of one key (``b2bua.cookie_cipher``)."""

    def seal(self, plain: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes | None: ...


class OwnLeg(NamedTuple):
    """What is not told by a device of its own dialog when it asks something there."""

    tag: str
    """Ours."""
    local_cseq: int = 0
    route_set: tuple[str, ...] = ()
    by_update: bool = False
    timer: Timer | None = None
    origin: str = ""
    """The origin line that was described there, where that is not the other device's own."""
    sections: str = ""
    """As of `DeviceLegState`, where the other device does not know all of them."""


class Cookie(NamedTuple):
    """What one device carries."""

    state: CallState
    """Without what concerns agents."""
    calls: bool
    """It is the caller's."""
    own: OwnLeg
    other: DeviceLegState


def encode(cookie: Cookie, cipher: Cipher) -> str:
    """The user part; ``""`` where it would be too long."""
    state, own = cookie.state, cookie.own
    values = [
        state.call_id,
        state.counter,
        state.origin,
        state.caller,
        state.callee,
        state.caller_line,
        state.callee_line,
        round(state.started, 2),
        round(state.ringing, 2),
        round(state.answered, 2),
        state.session_id,
        state.epochs,
        state.dialled,
        state.forwarded_by,
        state.part,
        state.transferred_by,
        int(cookie.calls),
        *own[:3],
        int(own.by_update),
        own.timer,
    ]
    # of few calls, and told to no earlier version
    rest = f",{_json([own.origin, own.sections])[1:-1]}" if own.origin or own.sections else ""
    whole = f"{_json(values)[:-1]},{device_leg_state.encode(cookie.other)}{rest}]".encode()
    packer = _PACKER.copy()
    sealed = cipher.seal(packer.compress(whole) + packer.flush())
    text = FORMAT + b2a_base64(sealed, newline=False).translate(_URL_SAFE).decode().rstrip("=")
    return text if len(text) <= LONGEST else ""


def decode(text: str, ciphers: Sequence[Cipher]) -> Cookie | None:
    """What a user part carries that was made with any of the site's keys; None for any other."""
    if not text.startswith(FORMAT) or len(text) > LONGEST or not text.isascii():
        return None
    try:
        sealed = urlsafe_b64decode(text[len(FORMAT) :] + "=" * (-(len(text) - len(FORMAT)) % 4))
    except ValueError:
        return None
    packed = next((found for cipher in ciphers if (found := cipher.open(sealed)) is not None), None)
    if packed is None:
        return None
    try:
        values = json.loads(zlib.decompressobj(-12, _DICTIONARY).decompress(packed, MOST_DECODED))
        call_id, counter, origin, caller, callee, caller_line, callee_line, *rest = values
        started, ringing, answered, session_id, epochs, dialled, forwarded_by, part, transferred_by, calls = rest[:10]
        tag, cseq, route_set, by_update, timer, other, *described = rest[10:]
        own_origin, sections = map(str, described or ("", ""))
        state = _state(
            call_id,
            counter,
            origin,
            caller=caller,
            callee=callee,
            caller_line=caller_line,
            callee_line=callee_line,
            started=float(started),
            ringing=float(ringing),
            answered=float(answered),
            session_id=session_id,
            epochs=tuple(map(int, epochs)),
            dialled=dialled,
            forwarded_by=forwarded_by,
            part=part,
            transferred_by=transferred_by,
        )
        own = OwnLeg(
            str(tag),
            int(cseq),
            tuple(map(str, route_set)),
            bool(by_update),
            None if timer is None else Timer(*timer),
            own_origin,
            sections,
        )
        return Cookie(state, bool(calls), own, device_leg_state.decode(other))
    except (ValueError, TypeError, LookupError, zlib.error):
        return None  # of another version


_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_state: Final[Callable[..., Any]] = CallState
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_DICTIONARY: Final = (
    b'INVITE sip:Via: SIP/2.0/UDP ;branch=z9hG4bK","",[1],"",0,0.0,0.0,"",[],"","","","",1,[],null,[1800,90,0],["",'
    b'"<sip:@>","\\"\\" <sip:+1@192.168.0.>",;transport=tcp>","<sip:;lr>"],;line=,"sip:@10.0.0.:5060"'
    b',"udp","tcp","192.168.0.",5060,".:5060",1,0,"- 1 1 IN IP4 192.168.0.","- 1 IN IP6 ",null,""]]'
)
"""What most have of."""
_PACKER: Final = zlib.compressobj(6, zlib.DEFLATED, -12, 3, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
"""Copied for each: to prepare one costs more than to use it."""
