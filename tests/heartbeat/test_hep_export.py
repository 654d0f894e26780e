"""Which messages go to a collector, and of what call each says that it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Collection

import pytest

from heartbeat.hep_export import AT_ONCE, BYTES_AT_ONCE, MOST_BYTES, MOST_NAMES, MOST_WAITING, WAIT, HepExport
from sip.actions import Flow
from sip.hep import MOST, MOST_NAME
from tests.sip.test_hep import chunks

DEVICE = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
SERVER = Flow("tcp", "gw1>m1#3", ("127.0.0.2", 5161))


def message(call_id: str, more: str = "") -> bytes:
    return f"INVITE sip:b@x SIP/2.0\r\nCall-ID: {call_id}\r\n{more}\r\n".encode()


def export(lines: Collection[str] = ()) -> HepExport:
    return HepExport(
        "gw1", ("127.0.0.9", 9060), lines, lambda name: {"s1": ["left/1"], "s2": ["right"]}.get(name, ())
    )


def test_all_legs_of_a_call_have_one_correlation_id_also_those_that_came_before_it_was_known() -> None:
    hep = export()
    hep.join("s1", "d1")
    hep.note(message("d1"), DEVICE, 1.0, False)
    hep.note(message("s1"), SERVER, 1.1, True)
    hep.note(message("s1", "Call-State: 1.1.c0ffee.payload.mac\r\n"), SERVER, 1.2, False)
    hep.note(message("other"), DEVICE, 1.3, True)
    assert hep.take(100.0, 1.0 + WAIT - 0.01) == []
    found = [chunks(datagram) for datagram in hep.take(100.0, 1.3 + WAIT)]
    assert [each[17] for each in found] == [b"c0ffee", b"c0ffee", b"c0ffee", b"other"]
    assert [each[9] for each in found] == [(101).to_bytes(4, "big")] * 4
    assert [(each[3], each[7]) for each in found[:2]] == [
        (b"\x7f\0\0\x07", (5099).to_bytes(2, "big")),
        (bytes(4), bytes(2)),
    ]
    assert b"payload" not in found[2][15] and hep.take(100.0, 99.0) == []


def test_only_calls_on_lines_that_are_named() -> None:
    hep = export(["left"])
    hep.join("s1", "d1")
    for call_id in ("d1", "s1", "s2", "other"):
        hep.note(message(call_id), DEVICE, 1.0, True)
    assert [chunks(each)[15] for each in hep.take(0.0, 9.0)] == [message("d1"), message("s1")]


def test_what_is_too_much_is_dropped_and_counted_and_memory_is_bounded() -> None:
    hep = export()
    for _ in range(MOST_WAITING + 7):
        hep.note(message("c"), DEVICE, 1.0, True)
    assert hep.dropped == 7 and len(hep.take(0.0, 9.0)) == AT_ONCE
    for number in range(MOST_NAMES + 7):
        hep.join(f"s{number}", f"d{number}")
    hep.join("a", "a")
    hep.join("a", "b")
    hep.join("b", "a")  # in a circle
    hep.note(message("a"), DEVICE, 1.0, True)
    while found := hep.take(0.0, 9.0):
        last = found[-1]
    assert chunks(last)[17] in (b"a", b"b")


def test_long_messages_of_a_stranger_take_neither_memory_nor_time_nor_the_way_of_others() -> None:
    hep, long = export(), message("y" * 40_000, f"X: {'z' * 25_000}\r\n")
    tracemalloc.start()
    try:
        for number in range(2 * MOST_BYTES // MOST):
            hep.note(long + b"%d" % number, DEVICE, 1.0, False)  # each a value of its own
        assert hep.dropped > 0 and tracemalloc.get_traced_memory()[0] < 1.1 * MOST_BYTES
        found = hep.take(0.0, 9.0)
        assert 0 < sum(map(len, found)) <= BYTES_AT_ONCE + MOST + 2 * MOST_NAME
        assert len(chunks(found[0])[17]) == MOST_NAME and len(chunks(found[0])[15]) == MOST
        for number in range(1000):
            hep.join(f"s{number}", f"{number:060000}")
        while hep.take(0.0, 9.0):
            pass
        assert tracemalloc.get_traced_memory()[0] < MOST_BYTES // 10
    finally:
        tracemalloc.stop()
    dropped = hep.dropped
    hep.note(message("c"), DEVICE, 1.0, False)
    assert len(hep.take(0.0, 9.0)) == 1 and hep.dropped == dropped


@pytest.mark.parametrize(
    ("flow", "host", "port"),
    [
        (Flow("tcp", "m1>>m2#1@127.0.0.9", ("127.0.0.2", 1)), b"\x7f\0\0\x09", 0),
        (Flow("tcp", "odd name", ("127.0.0.2", 1)), bytes(4), 0),
        (Flow("tls", "[::1]:5061#4", ("::1", 1)), bytes(15) + b"\x01", 5061),
    ],
)
def test_our_end(flow: Flow, host: bytes, port: int) -> None:
    hep = export()
    hep.note(message("c"), flow, 1.0, True)
    (found,) = map(chunks, hep.take(0.0, 9.0))
    assert (found.get(3) or found[5]) == host and found[7] == port.to_bytes(2, "big")
