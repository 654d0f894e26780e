"""What comes to one port of RTP, counted as RFC 3550 counts it: how much should have come, did, and how evenly.

It is done for every packet, so the way of a packet that follows the one before is short: only what tells it from
others is kept, and how many there were is known from their numbers when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Final

CLOCK_HZ: Final = 8000
"""Of payload types of which nothing else is said: telephony."""
LEAST: Final = 12
"""Octets of an RTP packet (RFC 3550 section 5.1)."""
_GAP: Final = 3000
_LATE: Final = 100
"""MAX_DROPOUT and MAX_MISORDER of RFC 3550 appendix A.1."""
_NUMBERS: Final = 1 << 16
_STEP_S: Final = 2.0
"""Seconds by which packets may come early or late; beyond, the sender's time has jumped, which is no jitter."""
_head = Struct(">xBHII").unpack_from
_NO_CLOCKS: Final[Mapping[int, int]] = MappingProxyType({})


class Reception:
    """See the module. A stream that begins anew, by its SSRC or by a jump of its numbers, adds to the same sums."""

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
        """Hz, of the payload types whose clock is not that of telephony."""
        self.type = -1
        """The payload type that the present stream began with; -1 before there was one."""
        self._ssrc = self._kind = self._stamp = -1
        self._due = 0
        """The number after the last, not wrapped."""
        self._run = self._first = self._cycles = 0
        self._before = 0
        """Packets that came before the present run of numbers without a gap."""
        self._expected = 0
        """Packets of streams before this one that should have come."""
        self._clock = CLOCK_HZ
        self._most = _STEP_S * CLOCK_HZ
        self._transit = 0.0
        self._uneven = 0.0
        r"""The sum of \|D\| (RFC 3550 section 6.4.1) since the clock is this one, by that clock."""
        self._uneven_s = 0.0
        """The same of before, in seconds."""
        self._skipped = 0
        r"""Packets without a \|D\|."""

    def note(self, packet: bytearray, now: float) -> None:
        """A packet of `LEAST` octets or more came."""
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
        """The first packet by this time, or a further one of a frame or of a telephone event."""
        self._skipped += 1
        if stamp != self._stamp:
            self._stamp, self._transit = stamp, now * self._clock - stamp

    def _placed(self, first: int, kind: int, number: int, ssrc: int) -> bool:
        """Find the place of a packet that does not follow the last; False for what is no RTP."""
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
        """Those that came."""
        return self._before + self._due - self._run

    @property
    def lost(self) -> int:
        """Those that should have come besides (RFC 3550 appendix A.3); never below 0."""
        return max(0, self._expected + self._cycles + self._due - self._first - self.packets)

    @property
    def jitter_ms(self) -> float:
        r"""The mean of the interarrival jitter, into which each \|D\| goes with a sixteenth (section 6.4.1): that of
        \|D\|."""
        steps = self.packets - self._skipped
        return 1000 * (self._uneven_s + self._uneven / self._clock) / steps if steps > 0 else 0.0
