"""How a value of this agent is written that servers are to keep for it, opaque (docs/wire.md, "An agent's death").

``<format>.<incarnation>.<counter>.<payload>.<mac>``: a server reads the second and third, and keeps the last one
until the agent asks for it after a death of its own. It is signed, not encrypted, like the state token: the same
descriptions cross this hop in clear.

The payload is a JSON text. Nearly all are short, and go as they are (format 2), but for a few signs in place of what
comes often: packing takes ten times as long. Others are packed (format 1).
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import Final

from heartbeat.mac import is_mac_of, mac_of

PACKED: Final = "1"
PLAIN: Final = "2"
LONGEST: Final = 4096
"""Characters of what servers keep; a call with more cannot be restored, and that is said."""
LONGEST_PLAIN: Final = 1500
"""Characters of a payload that goes as it is."""
TOO_LONG: Final = "-"
"""The payload of one that would be longer."""
MOST_DECODED: Final = 65_536
"""Bytes of a payload when it is unpacked; one with more is too long, however well it is packed."""
_BESIDES: Final = 32
"""Characters behind the payload, at most."""


class LineStateError(ValueError):
    """A line state that cannot be read; ``str()`` is a sentence."""


def sealed(plain: str, whole: Callable[[], bytes], incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text for servers. ``plain`` is a JSON text of lists, ``whole`` gives the same as it is to be packed;
    ``bound``: what it belongs to, nothing else may give it back. One that would be too long says so in place of its
    payload.
    """
    if len(plain) <= LONGEST_PLAIN and not (
        "~" in plain or "^" in plain or "|" in plain or "`" in plain or "}" in plain
    ):
        # as in _restored, written out: this is done four times a call
        payload = (
            plain.replace(".", "~")
            .replace("\\r\\na=rtpmap:", "`")
            .replace("\\r\\n", "^")
            .replace("IN IP4 ", "}")
            .replace('","', "|")
        )
        text = f"{PLAIN}.{incarnation}.{counter}.{payload}"
    else:
        text = _packed(whole(), f"{PACKED}.{incarnation}.{counter}.")
    return f"{text}.{mac_of(f'line state {bound} {text}', key)}"


def opened(text: str, bound: str, keys: Sequence[bytes]) -> bytes:
    """What was sealed with any of the keys, plain or whole; raises :class:`LineStateError`."""
    if len(text) > LONGEST:
        raise LineStateError("the line state is longer than any that is made here")
    said, _, mac = text.rpartition(".")
    if not is_mac_of(mac.translate(_URL_SAFE), f"line state {bound} {said}", keys):
        raise LineStateError("the line state is not signed with the site key for this dialog")
    version, _, rest = said.partition(".")
    if version not in (PACKED, PLAIN):
        raise LineStateError(f"the line state has format {version}, and only {PACKED} and {PLAIN} are known here")
    payload = rest.rpartition(".")[2]
    if payload == TOO_LONG:
        raise LineStateError(f"the line state would have been longer than {LONGEST} characters")
    return _restored(payload) if version == PLAIN else _unpacked(payload)


def _restored(payload: str) -> bytes:
    for sign, meant in _SIGNS:
        payload = payload.replace(sign, meant)
    return payload.encode()


def _packed(whole: bytes, front: str) -> str:
    packer = _PACKER.copy()
    payload = b2a_base64(packer.compress(whole) + packer.flush(), newline=False).decode()
    if len(front) + len(payload) > LONGEST - _BESIDES or len(whole) > MOST_DECODED:
        return front + TOO_LONG
    return front + payload


def _unpacked(payload: str) -> bytes:
    try:
        return zlib.decompressobj(-_WINDOW, _DICTIONARY).decompress(b64decode(payload), MOST_DECODED)
    except (ValueError, zlib.error):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


_SIGNS: Final = (("|", '","'), ("}", "IN IP4 "), ("^", "\\r\\n"), ("`", "\\r\\na=rtpmap:"), ("~", "."))
"""No payload has them otherwise. A dot ends a field."""
_URL_SAFE: Final = str.maketrans("+/", "-_")
"""Of format 1 the MAC was written in the other alphabet."""
_WINDOW: Final = 12
_DICTIONARY: Final = (
    b"Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:Record-Route: <sip:;lr>\r\nINVITE sip: SIP/2.0\r\nVia: SIP/2.0/UDP ;rport;branch=z9hG4bK"
    b'\r\nFrom: <sip:>;tag=\r\nTo: <sip:>\r\nCall-ID: \r\nCSeq: 1 INVITE\r\n,null,null,[["in","out",'
    b'["nothing","local_offer","remote_offer","local_change","remote_change",-1,0,["agreed",0,1,-1,-1,0],'
    b'0,"z9hG4bK","<sip:",[],"recipient","initiator","udp","tcp",":5060","127.0.0.",5060,"",null]],-1,null,'
    b"v=0\r\no=- 1 1 IN IP4 192.168.0.\r\ns=-\r\nc=IN IP4 192.168.0.\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 9 18 "
    b"101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendonly\r\na=recvonly\r\n"
    b"a=sendrecv\r\n"
)
"""What most calls have of: a payload is packed against it. Another dictionary is another format."""
_PACKER: Final = zlib.compressobj(6, zlib.DEFLATED, -_WINDOW, 3, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
"""Copied for each: to prepare one costs more than to use it."""
