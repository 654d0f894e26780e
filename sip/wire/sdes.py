"""SRTP keys in session descriptions (SDES, RFC 4568): reading, removing and inserting them.

Supported are the two suites that every SDES implementation has, AES_CM_128_HMAC_SHA1_80 and _32, with one key for a
whole session: no MKI, no second key, no session parameters but those that may be ignored.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final, NamedTuple

from sip.wire.sdp import MediaAddress, SdpError, endpoints, sections

SUITES: Final = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
"""In our order of preference."""
KEY_OCTETS: Final = 30
"""Master key of 16, master salt of 14 octets (RFC 4568 section 6.1)."""

_CRYPTO: Final = re.compile(rb"(?m)^a=crypto:(\d{1,9})[ \t]+(\S+)[ \t]+(\S+)[ \t]*([^\r\n]*)\r?\n?")
_KEY: Final = re.compile(rb"(?i)inline:([A-Za-z0-9+/=]+)(?:\|(?:2\^\d{1,2}|\d{1,15}))?")
"""A key and its lifetime, which is ignored: it is far longer than a call."""
_PASSED_OVER: Final = re.compile(rb"(?i)(?:-\S+|WSH=\d+)")
_SECURED: Final = re.compile(rb"^(m=\S+ \S+ )RTP/SAVP(F?)(?= )", re.IGNORECASE)
_PLAIN: Final = re.compile(rb"^(m=\S+ \S+ )RTP/AVP(F?)(?= )", re.IGNORECASE)


class Crypto(NamedTuple):
    """One ``a=crypto`` line: the key with which the sender of the description encrypts its media."""

    tag: str
    suite: str
    key: bytes
    """`KEY_OCTETS` of them."""

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.suite})"


def is_secured(place: MediaAddress) -> bool:
    """Whether a section is SRTP keyed by SDES."""
    return place.proto.upper() in ("RTP/SAVP", "RTP/SAVPF")


def is_plain(place: MediaAddress) -> bool:
    """Whether a section is unencrypted RTP."""
    return place.proto.upper() in ("RTP/AVP", "RTP/AVPF")


def keys(body: bytes) -> list[Crypto | None]:
    """For each ``m=`` section the first ``a=crypto`` line that we support; None for one that is no RTP, or refused.
    Raises `SdpError` for RTP without such a line."""
    found: list[Crypto | None] = []
    for place, part in zip(endpoints(body), sections(body)[1], strict=True):
        if place.rejected or not place.is_rtp:
            found.append(None)
            continue
        if not is_secured(place):
            raise SdpError(f"SRTP with keys by SDES is due, and {place.proto} is described")
        crypto = next((one for line in _CRYPTO.finditer(part) if (one := _read(line)) is not None), None)
        if crypto is None:
            raise SdpError(f"no a=crypto line has a suite that we know: {' or '.join(SUITES)}")
        found.append(crypto)
    return found


def plain(body: bytes) -> bytes:
    """``body`` without encryption: RTP/AVP in place of RTP/SAVP, and no keys. Raises `SdpError`."""
    head, parts = sections(body)
    return head + b"".join(_SECURED.sub(rb"\1RTP/AVP\2", _CRYPTO.sub(b"", part)) for part in parts)


def secured(body: bytes, cryptos: Sequence[Sequence[Crypto]]) -> bytes:
    """``body`` with RTP/SAVP and the ``cryptos`` of each ``m=`` section; an empty list leaves a section's
    ``a=crypto`` out. Raises `SdpError`."""
    head, parts = sections(body)
    return head + b"".join(_with_lines(part, lines) for part, lines in zip(parts, cryptos, strict=True))


def _with_lines(part: bytes, cryptos: Sequence[Crypto]) -> bytes:
    part, found = _PLAIN.subn(rb"\1RTP/SAVP\2", part)
    if not found or not cryptos:
        return part
    end = b"" if part.endswith(b"\n") else b"\r\n"
    lines = (f"a=crypto:{one.tag} {one.suite} inline:{b64encode(one.key).decode()}\r\n" for one in cryptos)
    return part + end + "".join(lines).encode()


def _read(line: re.Match[bytes]) -> Crypto | None:
    suite = line[2].decode("latin-1").upper()
    key = _KEY.fullmatch(line[3])
    if suite not in SUITES or key is None or not all(map(_PASSED_OVER.fullmatch, line[4].split())):
        return None
    try:
        octets = b64decode(key[1], validate=True)
    except ValueError:
        return None
    return Crypto(line[1].decode(), suite, octets) if len(octets) == KEY_OCTETS else None
