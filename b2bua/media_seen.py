"""What a server sees of a call beside its state: what the far side answered, and the media that were agreed on.

It is for the call record alone, so it is read once, by searching; nothing is checked, and nothing raises.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sip.offer_answer import description_in
from sip.wire.errors import SipError
from sip.wire.message import Message, Request, Response

_WORD: Final = re.compile(rb"[0-9A-Za-z.:_+-]{1,64}")
STATIC: Final = {b"0": "PCMU", b"3": "GSM", b"4": "G723", b"8": "PCMA", b"9": "G722", b"18": "G729"}
"""Payload types that need no description (RFC 3551 section 6)."""


class Seen(NamedTuple):
    """See the module; ``""`` and 0 where it is not known."""

    status: int = 0
    """The final status of the callee's device."""
    codec: str = ""
    caller: str = ""
    """Where the caller wants its media, ``192.0.2.1:4000``."""
    callee: str = ""
    reason: str = ""
    """The Reason (RFC 3326) of its refusal."""


NOTHING_SEEN: Final = Seen()


def seen_of(request: Request | None, response: Response) -> Seen:
    """What the INVITE and its 2xx say; where the offer is in the 2xx, the caller's part is not known."""
    answer = _described(response)
    return Seen(response.status, _codec(answer), _place(_described(request)), _place(answer))


def refusal_of(response: Response) -> Seen:
    """What a final response other than a 2xx says."""
    return Seen(response.status, reason=response.get("reason") or "")


def _described(message: Message | None) -> bytes:
    try:
        where = description_in(message) if message is not None else None
    except SipError:
        return b""
    return message.body[where] if message is not None and where is not None else b""


def _place(body: bytes) -> str:
    """Where the first section of a description wants its media."""
    media = body.find(b"\nm=")
    if media < 0:
        return ""
    # a section's own address goes before that of the session (RFC 8866 section 5.7)
    end = body.find(b"\nm=", media + 3)
    at = body.find(b"\nc=", media, end if end >= 0 else len(body))
    if at < 0:
        at = body.find(b"\nc=", 0, media)
    section, address = _words(body, media), _words(body, at)
    if at < 0 or len(section) < 2 or len(address) < 3:
        return ""
    host, port = address[2].partition(b"/")[0], section[1].partition(b"/")[0]
    if not (_WORD.fullmatch(host) and _WORD.fullmatch(port)):
        return ""
    return (f"[{host.decode()}]:" if b":" in host else f"{host.decode()}:") + port.decode()


def _codec(body: bytes) -> str:
    section = _words(body, body.find(b"\nm="))
    if len(section) < 4:
        return ""
    first = section[3]
    if first in STATIC:
        return STATIC[first]
    described = _words(body, body.find(b"\na=rtpmap:%b " % first))
    name = described[1].partition(b"/")[0] if len(described) > 1 else b""
    return name.decode() if _WORD.fullmatch(name) else ""


def _words(body: bytes, at: int) -> list[bytes]:
    """The words of the line behind the line end at ``at``; none where it is not there."""
    end = body.find(b"\n", at + 1)
    return body[at + 1 : end if end >= 0 else len(body)].split(None, 8) if at >= 0 else []
