"""HEP3 as collectors read it."""

from __future__ import annotations

import struct

import pytest

from sip.hep import MOST, encode

INVITE = b"INVITE sip:b@x SIP/2.0\r\nCall-ID: c\r\n\r\n"


def chunks(data: bytes) -> dict[int, bytes]:
    """What a collector reads of it."""
    mark, size = struct.unpack("!4sH", data[:6])
    assert mark == b"HEP3" and size == len(data)
    found, at = {}, 6
    while at < len(data):
        vendor, kind, length = struct.unpack_from("!HHH", data, at)
        assert vendor == 0 and length >= 6 and at + length <= len(data)
        found[kind] = data[at + 6 : at + length]
        at += length
    return found


def test_a_message_by_udp() -> None:
    data = encode(1700000000.25, "udp", ("127.0.0.1", 5060), ("127.0.0.2", 5070), INVITE, "m1", "c0ffee")
    assert chunks(data) == {
        1: b"\x02",
        2: b"\x11",
        3: b"\x7f\0\0\x01",
        4: b"\x7f\0\0\x02",
        7: struct.pack("!H", 5060),
        8: struct.pack("!H", 5070),
        9: struct.pack("!I", 1700000000),
        10: struct.pack("!I", 250000),
        11: b"\x01",
        12: bytes(4),
        15: INVITE,
        17: b"c0ffee",
        19: b"m1",
    }


@pytest.mark.parametrize(
    ("source", "target", "packed"),
    [
        ("::1", "2001:db8::1", bytes(15) + b"\x01"),
        ("127.0.0.1", "::1", bytes(10) + b"\xff\xff\x7f\0\0\x01"),
    ],
)
def test_ipv6_and_streams(source: str, target: str, packed: bytes) -> None:
    found = chunks(encode(1.9999999, "tls", (source, 1), (target, 2), b"x" * 65_000, "gw1", ""))
    assert found[1] == b"\x0a" and found[2] == b"\x06" and found[5] == packed and len(found[6]) == 16
    assert found[9] == struct.pack("!I", 2) and found[10] == bytes(4)
    assert len(found[15]) == MOST and 3 not in found
