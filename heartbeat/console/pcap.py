"""SIP messages as a pcap file for Wireshark, tshark and sngrep: link type raw IP, one packet for each message.

The lower layers were not recorded, so IP, UDP and TCP headers are invented. Messages by TLS or WebSocket are in clear
over TCP. An unknown host is 0.0.0.0, an unknown port one above 49151.
"""

from __future__ import annotations

import ipaddress
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from heartbeat.console.traces import Hop
from heartbeat.site.values import split_host_port

LINKTYPE_RAW: Final = 101
_HEAD: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, LINKTYPE_RAW)
_MOST: Final = 65_000
"""Bytes of a packet's payload."""
_UDP: Final = 17
_TCP: Final = 6
_PUSHED: Final = 0x18
"""PSH and ACK."""
_DYNAMIC: Final = 49_152

End = tuple[bytes, int]
"""A packed address and a port."""


def capture(hops: Iterable[Hop]) -> bytes:
    """The file's content."""
    return b"".join([_HEAD, *_packets(hops)])


def _packets(hops: Iterable[Hop]) -> Iterator[bytes]:
    sent: dict[tuple[End, End], int] = {}
    for hop in hops:
        source, target = _ends(hop)
        data = hop.text.encode("latin-1", "replace")[:_MOST]
        if hop.transport == "udp":
            packet = _ip(source, target, _UDP, struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0), data, 6)
        else:
            number, other = sent.get((source, target), 1), sent.get((target, source), 1)
            sent[source, target] = number + len(data) & 0xFFFFFFFF
            head = struct.pack("!HHIIBBHHH", source[1], target[1], number, other, 5 << 4, _PUSHED, 65_535, 0, 0)
            packet = _ip(source, target, _TCP, head, data, 16)
        seconds, part = divmod(round(hop.at * 1_000_000), 1_000_000)
        yield struct.pack("<IIII", seconds, part, len(packet), len(packet)) + packet


def _ends(hop: Hop) -> tuple[End, End]:
    source, target = _end(hop.from_address, hop.source, hop.target), _end(hop.to_address, hop.target, hop.source)
    if len(source[0]) < len(target[0]):  # not known: of the family of the other one
        return (bytes(16), source[1]), target
    return source, (target[0].ljust(len(source[0]), b"\0"), target[1])


def _end(address: str, name: str, other: str) -> End:
    try:
        host, port = split_host_port(address.removesuffix(":0"))
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        packed, port = bytes(4), 0
    return packed, port or _DYNAMIC + zlib.crc32(f"{name} {other}".encode()) % (65_536 - _DYNAMIC)


def _ip(source: End, target: End, protocol: int, head: bytes, data: bytes, checksum_at: int) -> bytes:
    """The packet with valid checksums (RFC 1071)."""
    size = len(head) + len(data)
    pseudo = source[0] + target[0] + struct.pack("!II", size, protocol)
    checksum = _sum(pseudo + head + data) or 0xFFFF
    head = head[:checksum_at] + struct.pack("!H", checksum) + head[checksum_at + 2 :]
    if len(source[0]) == 16:
        outer = struct.pack("!IHBB", 6 << 28, size, protocol, 64) + source[0] + target[0]
    else:
        outer = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, protocol, 0) + source[0] + target[0]
        outer = outer[:10] + struct.pack("!H", _sum(outer)) + outer[12:]
    return outer + head + data


def _sum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
