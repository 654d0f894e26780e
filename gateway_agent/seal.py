"""The encoding of values that servers keep for this agent without reading them (docs/wire.md, "An agent's death").

``<format>.<incarnation>.<counter>.<payload>.<mac>``: a server reads the second and third field, and keeps the newest
text until the agent asks for it after a restart. The text is signed, not encrypted, like the state token: the same
session descriptions cross this hop in clear anyway.

The payload is a JSON text. Nearly all are short: they are not compressed (format 2), only frequent substrings are
replaced by single characters, since compression takes ten times as long. Longer ones are compressed (format 1).
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
"""Characters of a text that servers keep. A call that would need more cannot be restored; its text says so."""
LONGEST_PLAIN: Final = 1500
"""Characters of a payload that is sent uncompressed."""
TOO_LONG: Final = "-"
"""Stands for a payload that would be too long."""
MOST_DECODED: Final = 65_536
"""Bytes of a payload before compression; one with more is too long, however well it compresses."""
_OVERHEAD: Final = 32
"""Characters after the payload, at most."""


class LineStateError(ValueError):
    """A line state that cannot be read; ``str()`` is a sentence."""


def sealed(plain: str, whole: Callable[[], bytes], incarnation: int, counter: int, bound: str, key: bytes) -> str:
    """The text for servers. ``plain`` is a JSON text of lists, and ``whole`` gives the same value in the form that is
    compressed. ``bound`` names what the text belongs to: it is valid for nothing else. One that would be too long
    says so in place of its payload.
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
    """The JSON text, or the form that was compressed, in a text that is signed with one of the keys and bound to
    ``bound``. Raises :class:`LineStateError`."""
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
    if len(front) + len(payload) > LONGEST - _OVERHEAD or len(whole) > MOST_DECODED:
        return front + TOO_LONG
    return front + payload


def _unpacked(payload: str) -> bytes:
    try:
        return zlib.decompressobj(-_WINDOW, _DICTIONARY).decompress(b64decode(payload), MOST_DECODED)
    except (ValueError, zlib.error):
        raise LineStateError("the line state is signed, but what is in it cannot be read") from None


_SIGNS: Final = (("|", '","'), ("}", "IN IP4 "), ("^", "\\r\\n"), ("`", "\\r\\na=rtpmap:"), ("~", "."))
"""Characters and the substrings that they stand for. A payload that has one of them by itself is compressed
instead. A dot is replaced since it ends a field."""
_URL_SAFE: Final = str.maketrans("+/", "-_")
"""Earlier versions wrote the MAC of format 1 in the other base64 alphabet."""
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
"""Substrings that most payloads have, as the dictionary for their compression. A changed one is another format."""
_PACKER: Final = zlib.compressobj(6, zlib.DEFLATED, -_WINDOW, 3, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
"""Copied for each use, since to prepare a compressor costs more than to use it."""
