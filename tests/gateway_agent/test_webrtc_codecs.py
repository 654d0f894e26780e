"""One direction of transcoding: what goes out has numbers of its own, in step with what came in."""

from __future__ import annotations

import itertools
import struct
from random import Random

from gateway_agent.webrtc.codecs import Transcoder
from gateway_agent.webrtc.legs import Stream

PCMA = Stream("PCMA", 8000, 8, 101, 8000)
OPUS = Stream("opus", 48000, 111, 110, 48000)
SILENCE = b"\xd5" * 160


def packet(
    number: int, stamp: int, payload: bytes = SILENCE, kind: int = 8, ssrc: int = 7, first: int = 0x80
) -> bytes:
    return struct.pack("!BBHII", first, kind, number & 0xFFFF, stamp & 0xFFFFFFFF, ssrc) + payload


def told(out: list[bytes]) -> list[tuple[int, int, int]]:
    """Payload type, sequence number and timestamp of what goes out."""
    return [(one[1] & 0x7F, *struct.unpack_from("!HI", one, 2)) for one in out]


def test_numbers_follow_and_stamps_keep_the_pace() -> None:
    way = Transcoder(PCMA, OPUS, 9)
    out = [one for n in range(20) for one in told(way.take(packet(n, n * 160)))]
    assert len(out) >= 18 and {kind for kind, _, _ in out} == {111}
    numbers, stamps = [n for _, n, _ in out], [stamp for _, _, stamp in out]
    assert numbers == list(range(numbers[0], numbers[0] + len(out)))
    assert {b - a for a, b in itertools.pairwise(stamps)} == {960}


def test_a_gap_is_a_gap_and_what_comes_late_or_again_is_dropped() -> None:
    way = Transcoder(PCMA, OPUS, 9)
    for n in range(5):
        way.take(packet(n, n * 160))
    before = told(way.take(packet(5, 5 * 160)))[-1]
    assert way.take(packet(5, 5 * 160)) == [] == way.take(packet(3, 3 * 160))
    after = told(way.take(packet(30, 30 * 160)))[-1]
    assert after[1] == before[1] + 1 and after[2] - before[2] == 25 * 960 + 960, "one frame is in the coder"


def test_another_source_begins_anew() -> None:
    way = Transcoder(PCMA, OPUS, 9)
    for n in range(3):
        way.take(packet(50_000 + n, n * 160))
    assert way.take(packet(10, 4_000_000_000, ssrc=8))


def test_stamps_go_on_where_they_wrap() -> None:
    way = Transcoder(OPUS, PCMA, 9)
    opus = Transcoder(PCMA, OPUS, 9)
    frames = [one[12:] for n in range(30) for one in opus.take(packet(n, n * 160))]
    begin = 2**32 - 10 * 960
    stamps = [
        stamp
        for n, frame in enumerate(frames)
        for _, _, stamp in told(way.take(packet(n, begin + n * 960 + (n > 20) * 960, frame, 111)))
    ]
    assert all(0 < (b - a) & 0xFFFFFFFF <= 480 for a, b in itertools.pairwise(stamps)), stamps


def test_keys_keep_their_stamp_and_their_duration_in_the_other_clock() -> None:
    way = Transcoder(OPUS, PCMA, 9)
    out = [way.take(packet(n, 48_000, struct.pack("!BBH", 5, 10, 960 * n), 110))[0] for n in (1, 2, 3)]
    assert {stamp for _, _, stamp in told(out)} == {8000}
    assert [int.from_bytes(one[14:16], "big") for one in out] == [160, 320, 480]
    assert way.take(packet(4, 48_000, b"\x05", 110)) == []


def test_whatever_comes_harms_nobody() -> None:
    random, way = Random(1), Transcoder(OPUS, PCMA, 9)
    for n in range(2000):
        whole = bytearray(
            packet(n, n * 960, random.randbytes(random.randrange(80)), 111, first=random.randrange(256))
        )
        del whole[random.randrange(len(whole) + 1) :]
        way.take(bytes(whole))
