"""Speech for the softphone: 20 ms packets of PCMU whose every byte can be checked, and a watch that checks them.

`RtpSource` and `RtpWatch` are pure; `RtpEnd` and `RtpClock` put them on loopback sockets with asyncio.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

PACKET_S = 0.02
SAMPLES = 160
PCMU = 0
_HEADER = struct.Struct(">BBHII")
_MARK = struct.Struct(">II")
_REPEATS = SAMPLES // _MARK.size
_WINDOW = 512
"""Packets that may still come late; a repeat older than that is counted as a duplicate."""
_SEEN = (1 << _WINDOW) - 1


class RtpSource:
    """A stream of packets (RFC 3550 section 5.1). The payload says who sent it and which one it is, 20 times over:
    sequence numbers in the payload pass through a PBX that makes new headers."""

    def __init__(self, sender: int, sequence: int = 0) -> None:
        self.sender = sender
        self.sent = 0
        self._sequence = sequence
        self._timestamp = (sequence * SAMPLES) & 0xFFFF_FFFF
        self._marker = 0x80

    def packet(self) -> bytes:
        """The next packet."""
        head = _HEADER.pack(0x80, PCMU | self._marker, self._sequence & 0xFFFF, self._timestamp, self.sender)
        payload = _MARK.pack(self.sender, self._sequence) * _REPEATS
        self._marker = 0
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
        self._timestamp = (self._timestamp + SAMPLES) & 0xFFFF_FFFF
        self.sent += 1
        return head + payload

    def silence(self, packets: int) -> None:
        """Time passed in which nothing was sent: a new talkspurt begins (RFC 3551 section 4.1)."""
        self._timestamp = (self._timestamp + packets * SAMPLES) & 0xFFFF_FFFF
        self._marker = 0x80


class RtpReport(NamedTuple):
    """What a watch has seen."""

    received: int
    """Good packets, each counted once."""
    lost: int
    """Missing between the first and the last one received."""
    duplicates: int
    late: int
    """Came after a later one; not lost."""
    foreign: int
    """Another stream's audio: crossed."""
    corrupted: int
    """No RTP, or a payload that nobody sent so."""
    longest_gap_ms: float
    """Between two packets in the order of arrival, hold apart (see `RtpWatch.quiet`)."""


class RtpWatch:
    """Checks what is received. ``sender`` is whose packets are right; None takes the first one's."""

    def __init__(self, sender: int | None = None) -> None:
        self.sender = sender
        self.received = self.lost = self.duplicates = self.late = self.foreign = self.corrupted = 0
        self.longest_gap_s = 0.0
        self._first = 0
        self._highest = 0
        self._seen = 0
        self._last_at: float | None = None

    def receive(self, packet: bytes, now: float) -> None:
        """A packet that arrived at ``now``, in seconds."""
        mark = _read(packet)
        if mark is None:
            self.corrupted += 1
            return
        sender, sequence = mark
        if self.sender is None:
            self.sender = sender
        if sender != self.sender:
            self.foreign += 1
            return
        if self._last_at is not None:
            self.longest_gap_s = max(self.longest_gap_s, now - self._last_at)
        self._last_at = now
        self._place(sequence)

    def quiet(self) -> None:
        """Silence is right from here to the next packet, as on hold: it is no gap."""
        self._last_at = None

    def missing(self, sent: int) -> int:
        """Packets not received of ``sent`` in all, the last and the first ones included."""
        return sent - self.received

    def report(self) -> RtpReport:
        gap_ms = round(self.longest_gap_s * 1000.0, 3)
        return RtpReport(self.received, self.lost, self.duplicates, self.late, self.foreign, self.corrupted, gap_ms)

    def _place(self, sequence: int) -> None:
        if not self._seen:
            self._first, self._highest, self._seen = sequence, sequence, 1
            self.received += 1
            return
        ahead = sequence - self._highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _SEEN if ahead < _WINDOW else 1
            self._highest = sequence
            self.lost += ahead - 1
        elif -ahead >= _WINDOW or self._seen >> -ahead & 1:
            self.duplicates += 1
            return
        else:
            self._seen |= 1 << -ahead
            self.late += 1
            # One from before the first makes those in between missing; any other was missing itself.
            self.lost += self._first - sequence - 1 if sequence < self._first else -1
            self._first = min(self._first, sequence)
        self.received += 1


def _read(packet: bytes) -> tuple[int, int] | None:
    """Sender and sequence number out of the payload; None when it is not as `RtpSource` made it."""
    if len(packet) < _HEADER.size or packet[0] >> 6 != 2 or packet[1] & 0x7F != PCMU:
        return None
    start = _HEADER.size + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    payload = packet[start:]
    mark = payload[: _MARK.size]
    if len(payload) != SAMPLES or mark * _REPEATS != payload:
        return None
    sender, sequence = _MARK.unpack(mark)
    return sender, sequence


class RtpClock:
    """One tick every 20 ms for all streams, on an absolute schedule. A tick that comes too late is not made up for:
    the packets that were due are left out, as silence."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends: dict[RtpEnd, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0
        self._last_at: float | None = None
        self.longest_tick_s = 0.0
        """Between two ticks: how far the sender itself is the cause of a gap."""
        self.left_out = 0
        """Ticks that were not made up for."""

    def add(self, end: RtpEnd) -> None:
        self._ends[end] = None
        if self._timer is None:
            self._due_at, self._last_at = time.monotonic(), None
            self._timer = self._loop.call_later(0.0, self._tick)

    def discard(self, end: RtpEnd) -> None:
        self._ends.pop(end, None)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = time.monotonic()
        if self._last_at is not None:
            self.longest_tick_s = max(self.longest_tick_s, now - self._last_at)
        self._last_at = now
        skipped = max(0, int((now - self._due_at) / PACKET_S))
        self.left_out += skipped
        for end in tuple(self._ends):
            end.tick(skipped)
        self._due_at += PACKET_S * (skipped + 1)
        self._timer = self._loop.call_later(max(0.0, self._due_at - time.monotonic()), self._tick)


class RtpEnd:
    """One end of a call's audio on a loopback address: sends while told to, and watches what comes.

    ``sender`` marks our packets, ``expect`` those that should come (our own mark, when an echo answers). Raises
    `ValueError` for an address that is not loopback, `OSError` when the port cannot be bound.
    """

    def __init__(
        self, clock: RtpClock, sender: int, expect: int | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in _harmless(host) else socket.AF_INET
        self.source = RtpSource(sender)
        self.watch = RtpWatch(expect)
        self.unsent = 0
        """Packets that the socket did not take."""
        self._clock = clock
        self._remote: tuple[str, int] | None = None
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []
        self._sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._sock.bind((host, port))
        except OSError:
            self._sock.close()
            raise
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def send_to(self, host: str, port: int) -> None:
        """Begin, or go on, to send there. Raises `ValueError` for an address that is not loopback."""
        self._remote = (_harmless(host), port)
        self._clock.add(self)

    def send(self, packet: bytes) -> None:
        """This one besides, now: a telephone event, say (RFC 4733). Nothing is sent on hold."""
        if self._remote is not None:
            self._sock.sendto(packet, self._remote)

    def pause(self) -> None:
        """Send nothing more, as on hold, until `send_to`."""
        if self._remote is not None:
            self._remote = None
            self._clock.discard(self)
            self.source.silence(1)

    async def heard(self, packets: int) -> None:
        """Returns when so many good packets have come in all."""
        if self.watch.received < packets:
            self._awaited.append((packets, waits := self._loop.create_future()))
            await waits

    def close(self) -> None:
        self.pause()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for _, waits in self._awaited:
            waits.cancel()

    def tick(self, skipped: int) -> None:
        """Send the packet that is due; called by the clock."""
        assert self._remote is not None  # the clock knows only ends that send
        if skipped:
            self.source.silence(skipped)
        try:
            self._sock.sendto(self.source.packet(), self._remote)
        except OSError:
            self.unsent += 1

    def _readable(self) -> None:
        for packet, age in _waiting(self._sock):
            self.watch.receive(packet, time.monotonic() - age)
        for packets, waits in self._awaited:
            if packets <= self.watch.received and not waits.done():
                waits.set_result(None)
        if self._awaited:
            self._awaited = [entry for entry in self._awaited if not entry[1].done()]


_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python 3.11 has no name for it
_TIMESPEC = struct.Struct("@ll")
_DOCUMENTATION: Final = tuple(
    ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
)


def _waiting(sock: socket.socket) -> Iterator[tuple[bytes, float]]:
    """The packets that wait, each with the seconds since it arrived: by the kernel's word, since a busy process
    (thousands of calls are set up in it) comes late to look."""
    for _ in range(64):
        try:
            packet, ancillary, _, _ = sock.recvmsg(2048, 64)
        except OSError:
            return
        age = 0.0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
                age = (time.time_ns() - seconds * 1_000_000_000 - nanoseconds) / 1e9
        yield packet, age


def _harmless(host: str) -> str:
    """Loopback, or an address of the documentation: nobody is there but in a network that a test made (RFC 5737)."""
    address = ipaddress.ip_address(host)
    if not address.is_loopback and not any(address in network for network in _DOCUMENTATION):
        raise ValueError(f"{host} is not a loopback address; this audio is for tests on one machine only")
    return host
