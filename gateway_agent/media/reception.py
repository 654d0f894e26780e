"""Reception statistics of one RTP port by RFC 3550: packets expected, packets received, and jitter.

This is done for every packet, so the path of a packet that follows the one before is short: no packet is counted, and
the number of packets is computed from sequence numbers when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final

CLOCK_HZ: Final = 8000
"""The clock rate of payload types for which no other is known: that of telephony."""
LEAST: Final = 12
"""Octets of an RTP packet (RFC 3550 section 5.1)."""
_GAP: Final = 3000
_LATE: Final = 100
"""MAX_DROPOUT and MAX_MISORDER of RFC 3550 appendix A.1."""
_NUMBERS: Final = 1 << 16
_STEP_S: Final = 2.0
"""Seconds by which packets may be early or late; beyond, the sender's timestamps have jumped, which is no jitter."""
_head = Struct(">xBHII").unpack_from
_NO_CLOCKS: Final[Mapping[int, int]] = MappingProxyType({})


class Reception:
    """The statistics of one port. A new stream, with another SSRC or a jump of sequence numbers, adds to the sums."""

    __slots__ = (
        "_before",
        "_clock",
        "_cycles",
        "_due",
        "_expected",
        "_first",
        "_kind",
        "_most",
        "_run",
        "_skipped",
        "_ssrc",
        "_stamp",
        "_transit",
        "_uneven",
        "_uneven_s",
        "clocks",
        "type",
    )

    def __init__(self) -> None:
        self.clocks: Mapping[int, int] = _NO_CLOCKS
        """Clock rates in Hz of the payload types whose clock is not that of telephony."""
        self.type = -1
        """The payload type with which the present stream began; -1 before there was one."""
        self._ssrc = self._kind = self._stamp = -1
        self._due = 0
        """The sequence number expected next, not wrapped."""
        self._run = self._first = self._cycles = 0
        self._before = 0
        """Packets received before the present run of sequence numbers without a gap."""
        self._expected = 0
        """Packets expected of the streams before the present one."""
        self._clock = CLOCK_HZ
        self._most = _STEP_S * CLOCK_HZ
        self._transit = 0.0
        self._uneven = 0.0
        r"""The sum of \|D\| (RFC 3550 section 6.4.1) since the last change of the clock, in its ticks."""
        self._uneven_s = 0.0
        """The same sum from before that change, in seconds."""
        self._skipped = 0
        r"""Packets without a \|D\|."""

    def note(self, packet: bytearray, now: float) -> None:
        """Note a received packet of `LEAST` octets or more."""
        kind, number, stamp, ssrc = _head(packet)
        if number == self._due and kind == self._kind and ssrc == self._ssrc:
            self._due = number + 1
        elif not self._placed(packet[0], kind, number, ssrc):
            return
        step = now * self._clock - stamp - self._transit
        if stamp != self._stamp and -self._most < step < self._most:
            self._stamp = stamp
            self._transit += step
            self._uneven += step if step >= 0 else -step
        else:
            self._skip(stamp, now)

    def _skip(self, stamp: int, now: float) -> None:
        """A packet without jitter: the first one, one after a jump of timestamps, or a further one with the same
        timestamp, as of a frame or a telephone event."""
        self._skipped += 1
        if stamp != self._stamp:
            self._stamp, self._transit = stamp, now * self._clock - stamp

    def _placed(self, first: int, kind: int, number: int, ssrc: int) -> bool:
        """Note a packet that does not follow the last one: after a gap, late, or of another stream. False if it is
        not RTP."""
        if first >> 6 != 2 or 192 <= kind <= 223:  # RTCP on the same port: RFC 5761 section 4
            return False
        if kind != self._kind:
            self._kind = kind
            self._tick_by(self.clocks.get(kind & 0x7F, CLOCK_HZ))
        ahead = (number - self._due) % _NUMBERS
        if ssrc != self._ssrc or _GAP <= ahead < _NUMBERS - _LATE:
            self._before += self._due - self._run
            self._expected += self._cycles + self._due - self._first
            self._ssrc, self.type, self._stamp = ssrc, kind & 0x7F, -1
            self._cycles, self._first, self._run, self._due = 0, number, number, number + 1
            self._transit = -1e18
        elif ahead >= _GAP:
            self._before += 1  # late, or a second time
        else:
            self._before += self._due - self._run
            self._cycles += _NUMBERS * (number < self._due)
            self._run, self._due = number, number + 1
        return True

    def _tick_by(self, clock: int) -> None:
        if clock != self._clock:
            self._uneven_s, self._uneven = self._uneven_s + self._uneven / self._clock, 0.0
            self._clock, self._most, self._transit, self._stamp = clock, _STEP_S * clock, -1e18, -1

    @property
    def packets(self) -> int:
        """The number of packets received."""
        return self._before + self._due - self._run

    @property
    def lost(self) -> int:
        """The number of packets expected but not received (RFC 3550 appendix A.3); never below 0."""
        return max(0, self._expected + self._cycles + self._due - self._first - self.packets)

    @property
    def jitter_ms(self) -> float:
        r"""The mean of the interarrival jitter, into which each \|D\| goes with a sixteenth (section 6.4.1): that of
        \|D\|."""
        steps = self.packets - self._skipped
        return 1000 * (self._uneven_s + self._uneven / self._clock) / steps if steps > 0 else 0.0
