"""What came of a stream of RTP, by RFC 3550: lost, late, twice, begun anew, and how evenly."""

from __future__ import annotations

from struct import pack

import pytest

from gateway_agent.media.reception import Reception


def packet(number: int, stamp: int, ssrc: int = 7, kind: int = 0, first: int = 0x80) -> bytearray:
    return bytearray(pack(">BBHII", first, kind, number % 65536, stamp % 2**32, ssrc))


def heard(*numbers: int) -> Reception:
    """A stream of these numbers, each packet on its time."""
    reception = Reception()
    for number in numbers:
        reception.note(packet(number, 160 * number), 100.0 + 0.02 * number)
    return reception


@pytest.mark.parametrize(
    "numbers, packets, lost",
    [
        ([], 0, 0),
        ([5], 1, 0),
        (range(100), 100, 0),
        ([1, 2, 5, 6], 4, 2),
        ([1, 2, 4, 3, 5], 5, 0),
        ([1, 2, 2, 3], 4, 0),
        ([1, 2, 2, 4], 4, 0),  # one twice, one lost: the difference of RFC 3550 appendix A.3
        (range(65530, 65550), 20, 0),
        ([65534, 65535, 65538], 3, 2),
        ([65535, 65536, 65534, 65537], 4, 0),
        (range(200_000), 200_000, 0),
        ([1, 2, 20_000, 20_001], 4, 0),  # a jump: another stream
        ([20_000, 20_001, 1, 2], 4, 0),
    ],
)
def test_packets_are_counted_by_their_numbers(numbers: list[int], packets: int, lost: int) -> None:
    reception = heard(*numbers)
    assert (reception.packets, reception.lost) == (packets, lost)


def test_another_source_goes_on_in_the_same_sums() -> None:
    reception = heard(1, 2, 4)
    for number in (900, 901, 903):
        reception.note(packet(number, 5_000_000 + 160 * number, ssrc=8, kind=8), 200.0 + 0.02 * number)
    assert (reception.packets, reception.lost, reception.type) == (6, 2, 8)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-6)


def test_jitter_is_the_mean_of_how_much_each_packet_comes_early_or_late() -> None:
    reception = Reception()
    for number, late in enumerate([0.0, 0.004, 0.0, 0.004, 0.0]):
        reception.note(packet(number, 160 * number), 50.0 + 0.02 * number + late)
    assert reception.jitter_ms == pytest.approx(4.0, abs=1e-3)
    assert heard(*range(50)).jitter_ms == pytest.approx(0, abs=1e-6)


def test_what_has_no_time_of_its_own_is_no_jitter() -> None:
    reception = heard(*range(10))
    for number in range(10, 20):  # a telephone event: one timestamp (RFC 4733 section 2.2), another payload type
        reception.note(packet(number, 1600, kind=101), 100.0 + 0.02 * number)
    for number in range(20, 30):
        reception.note(packet(number, 160 * number), 100.0 + 0.02 * number)
    assert (reception.packets, reception.lost, reception.type) == (30, 0, 0)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("jump", [10 * 8000, -(10 * 8000), 2**31])
def test_a_senders_clock_that_jumps_or_wraps_is_no_jitter(jump: int) -> None:
    reception = Reception()
    for number in range(20):
        reception.note(packet(number, 2**32 - 1600 + 160 * number + jump * (number >= 5)), 9.0 + 0.02 * number)
    assert reception.jitter_ms == pytest.approx(0, abs=1e-6)
    assert reception.packets == 20


def test_each_payload_type_is_timed_by_its_own_clock() -> None:
    reception = Reception()
    reception.clocks = {111: 48_000}
    for number in range(10):
        reception.note(packet(number, 960 * number, kind=111), 9.0 + 0.021 * number)
    assert reception.jitter_ms == pytest.approx(1.0)
    for number in range(10, 20):
        reception.note(packet(number, 160 * number), 9.0 + 0.023 * number)
    assert reception.jitter_ms == pytest.approx((9 * 1.0 + 9 * 3.0) / 18)


def test_what_is_no_rtp_is_passed_over() -> None:
    reception = heard(1, 2)
    reception.note(packet(3, 480, kind=200), 1.0)
    reception.note(packet(3, 480, kind=9, first=0x00), 1.0)
    assert (reception.packets, reception.type) == (2, 0)
