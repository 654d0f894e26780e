"""Cookies: the state of a call without agents, encrypted in the user part of our Contact.

Such a call has no agent to store a state token. But each of its two devices has our Contact as the Request-URI of its
requests in the dialog (RFC 3261 section 12.2.1.1), and in its notifications about its dialogs (RFC 4235): a new
server that receives one finds there the state of the call and of its other leg. It is encrypted, as it is about the
other device's dialog.
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
"""Prefix of a cookie; another dictionary or order of values needs another prefix."""
LONGEST: Final = 900
"""Characters of a cookie; a longer one is left out, since elements on the path might refuse the Contact."""
MOST_DECODED: Final = 8192


class Cipher(Protocol):
    """The cipher of one key (``b2bua.cookie_cipher``)."""

    def seal(self, plain: bytes) -> bytes: ...

    def open(self, sealed: bytes) -> bytes | None: ...


class OwnLeg(NamedTuple):
    """The state of the carrying device's own dialog that its requests do not contain."""

    tag: str
    """Our tag."""
    local_cseq: int = 0
    route_set: tuple[str, ...] = ()
    by_update: bool = False
    timer: Timer | None = None
    origin: str = ""
    """The origin line (``o=``) of our descriptions there, if it is not the other device's own."""
    sections: str = ""
    """As in `DeviceLegState`, if the other device does not know all sections."""


class Cookie(NamedTuple):
    """The content of a cookie."""

    state: CallState
    """The call's state without the members about agents."""
    calls: bool
    """The carrying device is the caller."""
    own: OwnLeg
    """The leg of the carrying device."""
    other: DeviceLegState
    """The other leg."""


def encode(cookie: Cookie, cipher: Cipher) -> str:
    """The user part of our Contact; ``""`` if it would be too long."""
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
    # few calls have these, and earlier versions do not know them
    rest = f",{_json([own.origin, own.sections])[1:-1]}" if own.origin or own.sections else ""
    whole = f"{_json(values)[:-1]},{device_leg_state.encode(cookie.other)}{rest}]".encode()
    packer = _PACKER.copy()
    sealed = cipher.seal(packer.compress(whole) + packer.flush())
    text = FORMAT + b2a_base64(sealed, newline=False).translate(_URL_SAFE).decode().rstrip("=")
    return text if len(text) <= LONGEST else ""


def decode(text: str, ciphers: Sequence[Cipher]) -> Cookie | None:
    """The cookie in a user part that was made with one of the site's keys; None for any other text."""
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
        return None  # made by another version


_json: Final = json.JSONEncoder(separators=(",", ":")).encode
_state: Final[Callable[..., Any]] = CallState
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_DICTIONARY: Final = (
    b'INVITE sip:Via: SIP/2.0/UDP ;branch=z9hG4bK","",[1],"",0,0.0,0.0,"",[],"","","","",1,[],null,[1800,90,0],["",'
    b'"<sip:@>","\\"\\" <sip:+1@192.168.0.>",;transport=tcp>","<sip:;lr>"],;line=,"sip:@10.0.0.:5060"'
    b',"udp","tcp","192.168.0.",5060,".:5060",1,0,"- 1 1 IN IP4 192.168.0.","- 1 IN IP6 ",null,""]]'
)
"""The zlib dictionary: texts that most cookies have."""
_PACKER: Final = zlib.compressobj(6, zlib.DEFLATED, -12, 3, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
"""Copied for each cookie, since creating a compressor costs more than using it."""
