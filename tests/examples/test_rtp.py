import asyncio
from collections.abc import Callable, Coroutine

import pytest
import uvloop
from rtp import PACKET_S, RtpClock, RtpEnd, RtpReport, RtpSource, RtpWatch

HOST = "127.0.57.1"


def packets(count: int, sender: int = 7, sequence: int = 0) -> list[bytes]:
    source = RtpSource(sender, sequence)
    return [source.packet() for _ in range(count)]


def watched(sent: list[bytes], sender: int | None = 7) -> RtpWatch:
    watch = RtpWatch(sender)
    for n, packet in enumerate(sent):
        watch.receive(packet, n * PACKET_S)
    return watch


GOOD = RtpReport(received=5, lost=0, duplicates=0, late=0, foreign=0, corrupted=0, longest_gap_ms=20.0)


def test_a_packet_is_as_rfc_3550_has_it() -> None:
    first, second = packets(2, sender=0x01020304, sequence=0xFFFF)
    assert len(first) == 172
    assert first[:12].hex() == "8080ffff009fff6001020304"
    assert second[:12].hex() == "8000000000a0000001020304"
    assert first[12:20].hex() == "010203040000ffff"
    assert second[-8:].hex() == "0102030400010000"


def test_after_a_silence_the_timestamp_has_gone_on_and_the_marker_is_set() -> None:
    source = RtpSource(7)
    source.packet()
    source.silence(9)
    assert source.packet()[:8].hex() == "8080000100000640"
    assert source.sent == 2


def test_what_comes_as_sent_is_good() -> None:
    assert watched(packets(5)).report() == GOOD
    assert watched(packets(5, sequence=65_533)).report() == GOOD
    assert watched(packets(5), sender=None).report() == GOOD


def test_gaps_in_the_sequence_are_lost_packets() -> None:
    sent = packets(10)
    watch = watched([*sent[:3], *sent[5:9]])
    assert (watch.received, watch.lost, watch.missing(10)) == (7, 2, 3)


def test_late_ones_are_not_lost_and_repeats_are_told() -> None:
    a, b, c, d, e = packets(5)
    assert watched([a, c, b, d, e]).report() == GOOD._replace(late=1)
    assert watched([a, b, b, c, a, d, e]).report() == GOOD._replace(duplicates=2)
    assert watched([c, a, b, d, e]).report() == GOOD._replace(late=2)
    assert watched([c, a, d, e]).report() == GOOD._replace(received=4, lost=1, late=1)


def test_a_long_outage_is_counted_whole() -> None:
    sent = packets(2000)
    watch = watched([*sent[:2], *sent[1500:1503], sent[0]])
    assert (watch.received, watch.lost, watch.duplicates) == (5, 1498, 1)


def test_the_longest_gap_is_between_arrivals_and_not_over_a_hold() -> None:
    watch = RtpWatch(7)
    a, b, c, d = packets(4)
    watch.receive(a, 10.0)
    watch.receive(b, 10.07)
    watch.quiet()
    watch.receive(c, 20.0)
    watch.receive(d, 20.02)
    assert watch.report().longest_gap_ms == 70.0


def test_another_streams_audio_is_foreign() -> None:
    mine, other = packets(3), packets(2, sender=8)
    assert watched([mine[0], other[0], mine[1], other[1], mine[2]]).foreign == 2
    assert watched([*other, *mine], sender=None).foreign == 3


def test_bent_bytes_are_found() -> None:
    (good,) = packets(1)
    bent = [
        good[:100] + bytes([good[100] ^ 1]) + good[101:],
        good[:-1],
        good + b"x",
        b"",
        b"\x80",
        b"\x40" + good[1:],
    ]
    bent.append(good[:1] + b"\x08" + good[2:])
    assert watched(bent).report() == RtpReport(0, 0, 0, 0, 0, len(bent), 0.0)


def test_headers_made_new_by_a_pbx_do_not_matter() -> None:
    (good,) = packets(1, sequence=3)
    contributed = b"\x82\x00" + good[2:12] + b"\0" * 8 + good[12:]
    extended = b"\x90\x00\x12\x34" + good[4:12] + b"\xbe\xde\x00\x01abcd" + good[12:]
    watch = watched([contributed, extended])
    assert (watch.received, watch.duplicates, watch.corrupted) == (1, 1, 0)


# --- On sockets

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(loop: Callable[[], asyncio.AbstractEventLoop], story: Coroutine[None, None, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(story, 20.0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(limited())


@pytest.mark.parametrize("loop", LOOPS)
def test_two_ends_hear_each_other_through_a_hold(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        clock = RtpClock()
        here, there = RtpEnd(clock, 1, 2, HOST), RtpEnd(clock, 2, 1, HOST)
        here.send_to(*there.address)
        there.send_to(*here.address)
        await asyncio.gather(here.heard(4), there.heard(4))
        here.pause()
        there.watch.quiet()
        before = there.watch.received
        await here.heard(here.watch.received + 4)
        assert there.watch.received - before <= 1
        here.send_to(*there.address)
        await there.heard(before + 4)
        for end in (here, there):
            end.close()
            report = end.watch.report()
            assert report == RtpReport(report.received, 0, 0, 0, 0, 0, report.longest_gap_ms)
        assert 0 <= here.watch.missing(there.source.sent) <= 1

    run(loop, story())


def test_ends_on_ipv6_and_a_port_of_choice() -> None:
    async def story() -> None:
        clock = RtpClock()
        here = RtpEnd(clock, 1, host="::1")
        host, port = here.address
        here.send_to(host, port)
        await here.heard(2)
        with pytest.raises(OSError, match="in use"):
            RtpEnd(clock, 2, host="::1", port=port)
        here.close()

    run(asyncio.new_event_loop, story())


def test_audio_never_leaves_the_machine() -> None:
    async def story() -> None:
        clock = RtpClock()
        with pytest.raises(ValueError, match="not a loopback address"):
            RtpEnd(clock, 1, host="10.0.0.1")
        end = RtpEnd(clock, 1, host=HOST)
        with pytest.raises(ValueError, match="not a loopback address"):
            end.send_to("10.0.0.1", 4000)
        end.close()

    run(asyncio.new_event_loop, story())


def test_who_waits_for_packets_is_let_go_at_the_end() -> None:
    async def story() -> None:
        end = RtpEnd(RtpClock(), 1, host=HOST)
        waiting = asyncio.ensure_future(end.heard(1))
        await asyncio.wait([waiting], timeout=0)
        end.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(asyncio.new_event_loop, story())
