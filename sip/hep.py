"""HEP3, the encapsulation of captured SIP for a HOMER collector: one datagram for each message.

There is no RFC: ``HEP3``, the total length, then chunks of vendor (0: common), type, length and value.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

SIP: Final = 1
"""The protocol type of the payload."""
MOST: Final = 60_000
"""Bytes of a message: with its chunks it has to fit into a datagram."""
MOST_NAME: Final = 1000
"""Bytes of the correlation id: a device may write a Call-ID that is longer than a datagram."""
_UDP: Final = 17
_TCP: Final = 6
_IPV4: Final = 2
_IPV6: Final = 10
_HEAD: Final = struct.Struct("!4sH")
_CHUNK: Final = struct.Struct("!HHH")

# Types of chunks.
FAMILY: Final = 1
PROTOCOL: Final = 2
SOURCE_4: Final = 3
TARGET_4: Final = 4
SOURCE_6: Final = 5
TARGET_6: Final = 6
SOURCE_PORT: Final = 7
TARGET_PORT: Final = 8
SECONDS: Final = 9
MICROSECONDS: Final = 10
KIND: Final = 11
AGENT_ID: Final = 12
PAYLOAD: Final = 15
CORRELATION_ID: Final = 17
NODE_NAME: Final = 19


def encode(
    at: float, transport: str, source: tuple[str, int], target: tuple[str, int], payload: bytes, name: str, call: str
) -> bytes:
    """The datagram for a message sent at ``at`` (epoch seconds). Hosts are numeric; ``name`` is the capturing node,
    ``call`` the correlation id of the call."""
    one, other = ipaddress.ip_address(source[0]), ipaddress.ip_address(target[0])
    seconds, part = divmod(round(at * 1_000_000), 1_000_000)
    four = one.version == other.version == 4
    chunks = [
        _chunk(FAMILY, bytes([_IPV4 if four else _IPV6])),
        _chunk(PROTOCOL, bytes([_UDP if transport == "udp" else _TCP])),
        _chunk(SOURCE_4 if four else SOURCE_6, one.packed if four else _as_six(one)),
        _chunk(TARGET_4 if four else TARGET_6, other.packed if four else _as_six(other)),
        _chunk(SOURCE_PORT, struct.pack("!H", source[1])),
        _chunk(TARGET_PORT, struct.pack("!H", target[1])),
        _chunk(SECONDS, struct.pack("!I", seconds)),
        _chunk(MICROSECONDS, struct.pack("!I", part)),
        _chunk(KIND, bytes([SIP])),
        _chunk(AGENT_ID, struct.pack("!I", 0)),
        _chunk(NODE_NAME, name.encode()),
        _chunk(CORRELATION_ID, call.encode("latin-1", "replace")[:MOST_NAME]),
        _chunk(PAYLOAD, payload[:MOST]),
    ]
    body = b"".join(chunks)
    return _HEAD.pack(b"HEP3", _HEAD.size + len(body)) + body


def _chunk(kind: int, value: bytes) -> bytes:
    return _CHUNK.pack(0, kind, _CHUNK.size + len(value)) + value


def _as_six(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """An IPv4 address as IPv4-mapped IPv6, for use with an IPv6 peer (RFC 4291 section 2.5.5.2)."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
