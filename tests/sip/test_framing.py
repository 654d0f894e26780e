"""Messages out of streams: every cut, every limit, every wrong Content-Length."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.wire.framing import PING, PONG, Framer

HEAD = b"MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bKx\r\nSubject: l: 7\r\n"


def message(body: bytes = b"", header: bytes = b"Content-Length") -> bytes:
    return HEAD + header + b": " + str(len(body)).encode() + b"\r\n\r\n" + body


def feed_all(framer: Framer, pieces: list[bytes]) -> list[bytes]:
    return [found for piece in pieces for found in framer.feed(piece)]


def test_a_whole_message_is_handed_on_uncopied() -> None:
    data = message(b"hello")
    framer = Framer()
    assert framer.feed(data)[0] is data
    assert framer.waiting == 0


@pytest.mark.parametrize("cut", range(1, 6))
def test_an_empty_line_ahead_is_none_of_the_message_wherever_it_is_cut(cut: int) -> None:
    stream = b"\r\nContent-Length: 100\r\nSubject: its first line is no header\r\n\r\n"
    framer = Framer()
    assert feed_all(framer, [stream[:cut], stream[cut:]]) == []
    assert framer.fault is not None and framer.fault.status == 400
    well = b"\r\n" + message(b"hello")
    assert feed_all(Framer(), [well[:cut], well[cut:]]) == [well[2:]]


def test_several_messages_in_one_piece() -> None:
    several = [message(b"one"), message(), message(b"\r\n\r\nContent-Length: 999\r\n\r\n")]
    assert Framer().feed(b"".join(several)) == several


@pytest.mark.parametrize(
    "header",
    [b"Content-Length", b"content-length", b"CONTENT-LENGTH", b"l", b"L", b"Content-Length \t", b"l  "],
)
def test_content_length_in_each_spelling(header: bytes) -> None:
    data = message(b"12345", header)
    assert Framer().feed(data + b"rest") == [data]


@pytest.mark.parametrize("value", [b":5", b":  5\t ", b":\r\n 5", b": 005", b": 5\r\nl: 5"])
def test_content_length_values_that_mean_five(value: bytes) -> None:
    data = HEAD + b"Content-Length" + value + b"\r\n\r\n12345"
    framer = Framer()
    assert framer.feed(data) == [data]
    assert framer.fault is None


@pytest.mark.parametrize(
    ("line", "status", "sentence"),
    [
        (b"Content-Length: -1\r\n", 400, "no number"),
        (b"Content-Length: 5x\r\n", 400, "no number"),
        (b"Content-Length:\r\n", 400, "no number"),
        (b"Content-Length: 5 5\r\n", 400, "no number"),
        (b"Content-Length: 5\r\nl: 6\r\n", 400, "twice and different"),
        (b"X-Content-Length: 5\r\n", 400, "no Content-Length"),
        (b"Content-Length: 1048577\r\n", 413, "more than 1048576"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", 413, "more than 1048576"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_faults_say_what_is_wrong_and_carry_the_head(line: bytes, status: int, sentence: str, bytewise: bool) -> None:
    bad = HEAD + line + b"\r\n"
    data = message(b"good") + bad + b"12345"
    framer = Framer()
    pieces = [data[i : i + 1] for i in range(len(data))] if bytewise else [data]
    assert feed_all(framer, pieces) == [message(b"good")]
    assert framer.fault is not None
    assert (framer.fault.status, framer.fault.head) == (status, bad)
    assert sentence in framer.fault.reason
    assert framer.feed(message()) == []


@pytest.mark.parametrize("size", [1, 7, 4096, 200_000])
def test_headers_without_end_are_a_fault_and_hold_little(size: int) -> None:
    framer = Framer()
    fed = 0
    while framer.fault is None:
        framer.feed(b"x" * size)
        fed += size
        assert framer.waiting <= 64 * 1024 + size
    assert fed <= 64 * 1024 + size
    assert (framer.fault.status, framer.fault.head) == (513, b"")
    assert framer.waiting == 0


def test_headers_that_are_too_long_carry_those_lines_that_are_whole() -> None:
    framer = Framer(max_head=200)
    framer.feed(HEAD + b"X: " + b"x" * 200)
    assert framer.fault is not None and (framer.fault.status, framer.fault.head) == (513, HEAD + b"\r\n")


def test_limits_are_the_callers() -> None:
    framer = Framer(max_head=200, max_body=4)
    assert framer.feed(message(b"1234")) == [message(b"1234")]
    framer.feed(message(b"12345"))
    assert framer.fault is not None


def test_pings_and_pongs() -> None:
    framer = Framer()
    assert framer.feed(b"\r\n\r\n") == [PING]
    assert framer.feed(b"\r\n" + message()) == [message()]
    assert framer.feed(b"\r\n\r\n" * 1000) == [PING]
    assert framer.feed(message() + b"\r\n\r\n" + message(b"x")) == [message(), PING, message(b"x")]
    assert feed_all(framer, [b"\r", b"\n", b"\r", b"\n"]) == [PING]
    assert feed_all(framer, [b"\r\n", message()]) == [message()]
    assert framer.waiting == 0


@given(
    parts=st.lists(st.one_of(st.just(PING), st.binary(max_size=40).map(message)), max_size=8),
    cuts=st.lists(st.integers(min_value=0, max_value=1500), max_size=12),
)
def test_cuts_do_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    framer = Framer()
    found = feed_all(framer, [data[a:b] for a, b in pairwise(edges)])
    # Pings that come together may be yielded as one.
    assert [each for each in found if each != PING] == [each for each in parts if each != PING]
    assert (PING in found) == (PING in parts)
    assert framer.waiting == 0


def test_bytewise_input_is_linear() -> None:
    def cost(size: int) -> float:
        data = message(b"x" * size)
        framer = Framer()
        start = time.process_time()
        for i in range(len(data)):
            framer.feed(data[i : i + 1])
        return time.process_time() - start

    small, large = cost(20_000), cost(200_000)
    assert large < 60 * small  # linear is 10, quadratic 100


@given(st.binary(max_size=400))
def test_garbage_never_raises(data: bytes) -> None:
    framer = Framer()
    framer.feed(data)
    framer.feed(b"\r\n\r\n")


def test_a_pong_is_nothing_that_waits_for_its_rest() -> None:
    framer = Framer()
    assert framer.feed(PONG) == [] and framer.waiting == 0
    framer.forget_pong()
    assert framer.feed(PONG) == []
    assert framer.feed(b"OPTIONS") == [] and framer.waiting
    split = Framer()
    assert split.feed(PONG) == [] and split.feed(PONG) == [PING]
