"""What a target adds to a call, as packets say."""

from __future__ import annotations

import struct

import pytest

from tests.bench.stamps import Packet, added, packets

CALLER, TARGET, CALLEE = 5090, 5060, 5080


def said(at_ms: float, source: int, target: int, first: str, method: str, call: str, number: int = 7) -> Packet:
    lines = (first, f'From: "A. Caller {number}" <sip:2001@127.0.0.1>;tag=1', f"Call-ID: {call}", f"CSeq: 1 {method}")
    return Packet(at_ms / 1e3, source, target, "\r\n".join([*lines, "", ""]).encode())


def call(number: int, start: float, near: str, far: str, late_bye: bool) -> list[Packet]:
    """INVITE stays 2 ms in the target, 200 stays 1 ms; BYE is answered after 0.5 ms, or once the callee, 4 ms later,
    has."""
    ok, ask = "SIP/2.0 200 OK", "INVITE sip:1001@127.0.0.1 SIP/2.0"
    bye = "BYE sip:1001@127.0.0.1 SIP/2.0"
    there = [
        said(start, CALLER, TARGET, ask, "INVITE", near, number),
        said(start + 1, TARGET, CALLER, "SIP/2.0 100 Trying", "INVITE", near, number),
        said(start + 2, TARGET, CALLEE, ask, "INVITE", far, number),
        said(start + 52, CALLEE, TARGET, ok, "INVITE", far, number),
        said(start + 53, TARGET, CALLER, ok, "INVITE", near, number),
        said(start + 153, CALLER, TARGET, bye, "BYE", near, number),
        said(start + 153.5, TARGET, CALLEE, bye, "BYE", far, number),
        said(start + 157.5, CALLEE, TARGET, ok, "BYE", far, number),
    ]
    answered = 157.75 if late_bye else 153.5
    return [*there, said(start + answered, TARGET, CALLER, ok, "BYE", near, number)]


@pytest.mark.parametrize("far", ["one", "another"], ids=["a proxy", "a B2BUA"])
@pytest.mark.parametrize("late_bye, bye", [(False, 0.5), (True, 0.75)], ids=["answered at once", "passed on"])
def test_what_the_callee_takes_is_not_the_targets(far: str, late_bye: bool, bye: float) -> None:
    found = added(iter(call(7, 1000.0, "one", far, late_bye)), CALLER, CALLEE)
    assert found.setup == (pytest.approx(3.0),)
    assert found.bye == (pytest.approx(bye),)


def test_calls_are_told_apart_by_their_number_in_whatever_order_they_pass() -> None:
    both = [*call(1, 1000.0, "a", "x", False), *call(2, 1000.2, "b", "y", False)]
    found = added(iter(sorted(both, key=lambda packet: packet.at)), CALLER, CALLEE)
    assert found.setup == (pytest.approx(3.0), pytest.approx(3.0))


def test_what_is_sent_again_and_what_did_not_end_do_not_count() -> None:
    first = call(1, 1000.0, "a", "x", False)
    again = [packet._replace(at=packet.at + 0.5) for packet in first]
    cut_off = call(2, 1000.0, "b", "y", False)[:5]
    assert added(iter([*first, *again, *cut_off]), CALLER, CALLEE) == added(iter(first), CALLER, CALLEE)


def test_datagrams_of_a_capture_are_read_and_a_torn_end_is_not() -> None:
    udp = struct.pack("!HHHH", CALLER, TARGET, 8 + 4, 0) + b"ping"
    frame = bytes(12) + b"\x08\x00" + bytes([0x45]) + bytes(19) + udp
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    record = struct.pack("<IIII", 100, 250_000, len(frame), len(frame)) + frame
    assert list(packets(head + record + record[:30])) == [Packet(100.25, CALLER, TARGET, b"ping")]
    assert list(packets(b"")) == []
