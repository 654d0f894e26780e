"""The ring of messages: bounded whatever comes, and longer for what failed."""

from __future__ import annotations

import tracemalloc

import pytest

from sip.actions import Flow
from sip.message_ring import LONGEST, MOST_FAILED, MessageRing, Recorded, call_id_in

FLOW = Flow("udp", "127.0.0.1:5060", ("127.0.0.7", 5099))
SITE = Flow("tcp", "gw1#1", ("127.0.0.11", 40001))
SIZE = 64 * 1024


def message(call_id: str = "c1", method: str = "INVITE", size: int = 0) -> bytes:
    return f"{method} sip:b@x SIP/2.0\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\r\n{'x' * size}".encode()


def test_messages_are_found_by_call_id_in_the_order_of_time() -> None:
    ring = MessageRing(SIZE)
    assert ring.oldest_at is None and ring.of(["c1"]) == []
    for at, call_id in enumerate(["c1", "c2", "c1", "c3"]):
        ring.note(message(call_id), FLOW, float(at), at % 2 == 1)
    assert ring.of(["c1"]) == [
        Recorded(0.0, FLOW, message("c1"), False),
        Recorded(2.0, FLOW, message("c1"), False),
    ]
    assert [(each.at, each.sent) for each in ring.of({"c2", "c3", "c9"})] == [(1.0, True), (3.0, True)]
    assert ring.oldest_at == 0.0 and len(list(ring)) == 4


@pytest.mark.parametrize("size", [0, 100, 3000, LONGEST, 60_000])
def test_memory_is_bounded_whatever_comes(size: int) -> None:
    ring = MessageRing(SIZE)
    for at in range(2000):
        ring.note(message(f"c{at % 700}", size=size), FLOW, float(at), False)
        if at % 3 == 0:
            ring.keep([f"c{at % 700}"], float(at))
        if at % 100 == 0:
            assert ring.size <= SIZE + LONGEST + 1000
    newest = [each.at for each in ring][-1]
    assert newest == 1999.0
    assert max(len(each.data) for each in ring) <= LONGEST


def test_what_a_ring_says_of_its_size_is_what_it_takes() -> None:
    tracemalloc.start()
    try:
        ring = MessageRing(1024 * 1024)
        before = tracemalloc.get_traced_memory()[0]
        for at in range(5000):
            ring.note(message(f"c{at}", size=at % 700), FLOW, float(at), False)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.8 * taken < ring.size < 1024 * 1024
    assert taken < 1024 * 1024


def test_a_full_ring_takes_no_more_memory() -> None:
    """It writes where it has written before: nothing of the heap comes and goes with a message."""
    ring = MessageRing(1024 * 1024)
    data = message("c1", size=600)
    for at in range(5000):
        ring.note(data, FLOW, 1.0, at % 2 == 1)
    tracemalloc.start()
    try:
        for at in range(5000):
            ring.note(data, FLOW, 1.0, at % 2 == 1)
        assert tracemalloc.get_traced_memory()[0] < 256 * 1024, "the numbers of the entries"
    finally:
        tracemalloc.stop()


def test_the_messages_of_failed_calls_stay_when_others_go() -> None:
    ring = MessageRing(SIZE)
    ring.note(message("bad"), FLOW, 1.0, False)
    ring.note(message("leg of bad"), SITE, 1.1, True)
    ring.note(message("good"), FLOW, 1.2, False)
    ring.keep(["bad", "leg of bad"], 1.5)
    for at in range(2, 1000):
        ring.note(message(f"c{at}"), FLOW, float(at), False)
    assert [each.at for each in ring.of(["bad", "leg of bad", "good"])] == [1.0, 1.1]
    for at in range(MOST_FAILED):
        ring.keep([f"c{at}"], 1000.0)
    assert ring.of(["bad"]) == [], "as many as that are too many"


def test_failed_calls_go_when_there_are_too_many_bytes_of_them() -> None:
    ring = MessageRing(SIZE)
    for at in range(500):
        ring.note(message(f"bad{at}", size=500), FLOW, float(at), False)
        ring.keep([f"bad{at}"], float(at))
    found = [each.at for each in ring]
    assert found == sorted(found) and found[-1] == 499.0
    assert len(found) > 70 and found[0] > 0.0


def test_a_new_size_forgets_all_and_none_keeps_nothing() -> None:
    ring = MessageRing(SIZE)
    ring.note(message(), FLOW, 1.0, False)
    ring.resize(0)
    assert list(ring) == [] and ring.size == 0
    for at in range(3):
        ring.note(message(), FLOW, float(at), True)
    assert list(ring) == [] and ring.size == 0


@pytest.mark.parametrize(
    ("start", "sent", "noted"),
    [
        ("OPTIONS sip:m2@x SIP/2.0", False, False),
        ("SIP/2.0 200 OK", False, False),
        ("SIP/2.0 403 No", False, False),
        ("OPTIONS sip:m2@x SIP/2.0", True, True),  # a beat of ours is urgent, and so is not told of
    ],
)
def test_heartbeats_are_not_noted(start: str, sent: bool, noted: bool) -> None:
    ring = MessageRing(SIZE)
    beat = f"{start}\r\nCall-ID: b\r\nCSeq: 7 OPTIONS\r\nHeartbeat: site=s; node=m1\r\n\r\n"
    ring.note(beat.encode(), SITE, 1.0, sent)
    assert len(list(ring)) == noted


def test_what_begins_as_a_heartbeat_is_noted() -> None:
    ring = MessageRing(SIZE)
    for text in ("OPTIONS sip:x SIP/2.0\r\nCall-ID: q\r\nCSeq: 7 OPTIONS\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "OPT"):
        ring.note(text.encode(), FLOW, 1.0, False)
    assert len(list(ring)) == 3


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"A\r\nCall-ID: x@y\r\nB: 1\r\n\r\n", b"x@y"),
        (b"A\r\ni: x@y \r\n\r\n", b"x@y"),
        (b"A\r\nCALL-ID \t: x\r\n\r\n", b"x"),
        (b"A\r\nVia: i:no\r\n\r\n", b""),
        (b"A\r\nCall-ID: cut", b"cut"),
        (b"", b""),
    ],
)
def test_the_call_id_of_a_message(data: bytes, found: bytes) -> None:
    assert call_id_in(data) == found
