"""Facts for the call record that are not in the call's state: the callee's final status, and the negotiated media.

As only call records use them, they are found in messages by a text search, without validation; nothing raises.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sip.offer_answer import description_in
from sip.wire.errors import SipError
from sip.wire.message import Message, Request, Response

_SECTION: Final = re.compile(rb"\nm=[^ \r\n]+ ([0-9]{1,5})[/0-9]* [^ \r\n]+ ([0-9A-Za-z*_+-]{1,64})")
_ADDRESS: Final = re.compile(rb"\nc=IN IP[46] ([0-9A-Za-z.:_-]{1,64})")
_CODEC: Final = re.compile(rb"[0-9A-Za-z.:_+-]{1,64}")
STATIC: Final = {b"0": "PCMU", b"3": "GSM", b"4": "G723", b"8": "PCMA", b"9": "G722", b"18": "G729"}
"""Static payload types, which need no rtpmap (RFC 3551 section 6)."""


class Seen(NamedTuple):
    """The facts for one call; ``""`` and 0 stand for unknown."""

    status: int = 0
    """The final status of the callee's device."""
    codec: str = ""
    caller: str = ""
    """Address and port to which the caller's media go, as ``192.0.2.1:4000``."""
    callee: str = ""
    reason: str = ""
    """The Reason header (RFC 3326) of the callee's refusal."""


NOTHING_SEEN: Final = Seen()


def seen_of(request: Request | None, response: Response) -> Seen:
    """The facts from an INVITE and its 2xx. If the offer is in the 2xx, the caller's media are unknown."""
    codec, callee = _media(response)
    return Seen(response.status, codec, _media(request)[1], callee)


def seen_in_report(seen: Seen, callee: bool, description: bytes) -> Seen:
    """Add the media of one side of a call that was answered under another server, from the last SDP that its agent
    sent; ``callee``: it is the callee's side.
    """
    if not description:
        return seen
    codec, place = _first_of(description)
    return seen._replace(status=200, codec=codec, callee=place) if callee else seen._replace(status=200, caller=place)


def refusal_of(response: Response) -> Seen:
    """The facts from a final response other than a 2xx."""
    return Seen(response.status, reason=response.get("reason") or "")


def _media(message: Message | None) -> tuple[str, str]:
    """Codec, and address and port, of the first media section in a message's SDP."""
    try:
        where = description_in(message) if message is not None else None
    except SipError:
        where = None
    return ("", "") if message is None or where is None else _first_of(message.body[where.start : where.stop])


def _first_of(body: bytes) -> tuple[str, str]:
    """Codec, and address and port, of the first media section of an SDP."""
    section = _SECTION.search(body)
    return ("", "") if section is None else (_codec(body, section[2]), _place(body, section))


def _place(body: bytes, section: re.Match[bytes]) -> str:
    """Address and port of a media section; ``""`` without an address."""
    # a section's own address goes before that of the session (RFC 8866 section 5.7)
    end = body.find(b"\nm=", section.end())
    found = _ADDRESS.search(body, section.end(), end if end >= 0 else len(body)) or _ADDRESS.search(
        body, 0, section.start() + 1
    )
    if found is None:
        return ""
    host = found[1].decode()
    return f"[{host}]:{section[1].decode()}" if ":" in host else f"{host}:{section[1].decode()}"


def _codec(body: bytes, first: bytes) -> str:
    """The name of a payload type."""
    if first in STATIC:
        return STATIC[first]
    _, _, described = body.partition(b"\na=rtpmap:%b " % first)
    found = _CODEC.match(described)
    return found[0].decode() if found is not None else ""
