"""Bound ports, and how a packet is forwarded between them.

Packets are accepted only from the address in the session description, or the one that the device's signalling comes
from. The port may differ (NAT, or a device without RFC 4961): the source of the first packet is latched until the
description has another address. If a device's NAT binding changes during a call, its new source is latched (RFC 7362
section 5) once the old one is silent and the packets look like the described media; a source that still sends stays.
So strangers can neither listen nor inject media, and a device cannot direct media at the address of a stranger.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway_agent.media.ports import NOWHERE, RTP, UDPTL, Keys, Pair
from gateway_agent.media.reception import LEAST, Reception

if TYPE_CHECKING:
    from gateway_agent.media.srtp import Srtp

Address = tuple[Any, ...]
Form = Callable[[memoryview], bool]
"""Whether a packet looks like the media that was described."""
Forward = Callable[["Port", float, bytearray, memoryview], None]

SILENT_S = 2.0
"""Seconds without a packet after which a new source may be latched."""
SILENT_WHEN_DESCRIBED_S = 0.2
"""The same, once after each new description, since a device often sends one because it has moved."""
APART_S = 10.0
"""Least seconds between two changes of source without a new description."""
RTCP_PERIOD_S = 10.0
"""Seconds without RTCP, which is sent about every five, after which its source may change."""

_EXPEDITED = 0xB8  # DSCP EF (RFC 4594 section 4.1) in the place of IPv4's TOS


class Port:
    """One bound port. Received packets are sent from ``peer`` to its ``target``."""

    __slots__ = (
        "allowed",
        "announced",
        "described_until",
        "dropped",
        "eager",
        "form",
        "forward",
        "last_at",
        "moves_at",
        "note",
        "octets",
        "packets",
        "peer",
        "receive",
        "reception",
        "send",
        "sends",
        "silent_s",
        "sock",
        "source",
        "srtp",
        "target",
        "via",
    )

    def __init__(self, sock: socket.socket, budget: int, form: Form, silent_s: float = SILENT_S) -> None:
        self.sock = sock
        self.receive = sock.recvfrom_into
        self.send = sock.sendto
        self.peer: Port | None = None
        self.forward: Forward = forward
        """Reads and forwards one packet: `forward`, `forward_secured` or `drop`."""
        self.srtp: Srtp | None = None
        """Decrypts received packets and encrypts sent ones; None: RTP is not encrypted."""
        self.announced: tuple[str, int] | None = None
        self.via = ""
        self.eager = False
        self.form = form
        self.silent_s = silent_s
        self.described_until = 0.0
        """Until then the source may change after the shorter silence, once, because of a new description."""
        self.moves_at = 0.0
        """When the source may change again."""
        self.sends = False
        """Whether media is sent there; not while it is on hold by an address of zeros."""
        self.source: Address | None = None
        """The latched source; None before the first packet."""
        self.target: Address | None = None
        """Where media is sent; None: nowhere."""
        self.allowed = budget
        """The value of ``packets`` up to which packets are forwarded in this second (rate limit)."""
        self.packets = self.octets = self.dropped = 0
        self.last_at: float | None = None
        self.reception = Reception()
        self.note: Callable[[bytearray, float], None] | None = None
        """Called with each accepted packet, if they are RTP, for statistics."""

    def reset(self) -> None:
        """Forget the remote end."""
        self.announced = self.source = self.target = None
        self.sends = False

    def point(self, remote: tuple[str, int], via: str, eager: bool, described_at: float | None) -> None:
        """Accept media from and send it to ``remote``. The same address again does not release the latch, but after a
        new description (``described_at``) the source may change soon."""
        if described_at is not None:
            self.described_until = described_at + APART_S
        if remote[0] in NOWHERE or remote[1] == 0:
            self.sends, self.target = False, None
            return
        if (remote, via) != (self.announced, self.via):
            self.announced, self.via, self.source = remote, via, None
        self.sends = True
        self.eager = eager or via in ("", remote[0])
        self.target = self.source or (remote if self.eager else None)

    def is_foreign(self, source: Address) -> bool:
        """Whether media is not accepted from that host."""
        return self.announced is None or (source[0] != self.announced[0] and source[0] != self.via)

    def latch(self, source: Address, now: float, packet: memoryview) -> bool:
        """Whether to accept a packet from ``source``, which differs from the latched one; if so, latch it."""
        if self.is_foreign(source):
            return False
        if self.source is not None:
            silent = now - (self.last_at or 0.0)
            if now < self.described_until:
                if silent < SILENT_WHEN_DESCRIBED_S:
                    return False
            elif silent < self.silent_s or now < self.moves_at:
                return False
            if not self.form(packet):
                return False
            self.described_until = 0.0
            self.moves_at = now + APART_S
        self.source = source
        if self.sends:
            self.target = source
        return True


def form_of(kind: str, types: tuple[int, ...]) -> Form:
    """The check for packets of a kind of media (``kind`` and ``types`` of `gateway_agent.media.ports.Remote`)."""
    if kind == RTP:
        known = frozenset(types)
        return lambda packet: len(packet) >= 12 and packet[0] >> 6 == 2 and packet[1] & 0x7F in known
    return _is_udptl if kind == UDPTL else _is_nothing


def is_rtcp(packet: memoryview) -> bool:
    """Whether a packet is RTCP (RFC 3550 section 6.1, RFC 5761 section 4)."""
    return len(packet) >= 8 and packet[0] >> 6 == 2 and 192 <= packet[1] <= 223


def _is_udptl(packet: memoryview) -> bool:
    """Whether a packet may be UDPTL (ITU-T T.38 section 9.1): sequence number, length and octets of the primary
    packet, error recovery."""
    if len(packet) < 5:
        return False
    length, head = packet[2], 3
    if length & 0x80:
        length, head = (length & 0x3F) << 8 | packet[3], 4
    return head + length < len(packet)


def _is_nothing(packet: memoryview) -> bool:
    """Never: packets of unknown media cannot be recognised."""
    return False


def forward(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """Read one packet and forward it."""
    try:
        size, source = port.receive(buffer)
    except OSError:  # nothing to read after all, or an ICMP error
        return
    if source != port.source and not port.latch(source, now, view[:size]):
        port.dropped += 1
        return
    port.packets += 1
    port.octets += size
    port.last_at = now
    if port.note is not None and size >= LEAST:
        port.note(buffer, now)
    peer = port.peer
    if peer is None or (target := peer.target) is None or port.packets > port.allowed:
        port.dropped += 1
        return
    try:
        peer.send(view[:size], target)
    except OSError:  # no route, or no buffer space: lost, as the network may lose it
        port.dropped += 1


def forward_secured(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """The same if one or both sides have SRTP. Packets that fail authentication change no state."""
    try:
        size, source = port.receive(buffer)
    except OSError:
        return
    packet = bytes(view[:size])
    if port.srtp is not None:
        if port.is_foreign(source) or port.packets >= port.allowed:  # decryption is expensive
            port.dropped += 1
            return
        packet = port.srtp.open(packet)
    if not packet or (source != port.source and not port.latch(source, now, memoryview(packet))):
        port.dropped += 1
        return
    port.packets += 1
    port.octets += size
    port.last_at = now
    if port.note is not None and size >= LEAST:
        port.note(buffer, now)  # the head of a packet is not encrypted
    peer = port.peer
    if peer is None or (target := peer.target) is None or port.packets > port.allowed:
        port.dropped += 1
        return
    if peer.srtp is not None:
        packet = peer.srtp.seal(packet)
    try:
        if packet:
            peer.send(packet, target)
            return
    except OSError:
        pass
    port.dropped += 1


def drop(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """Read one packet and drop it."""
    try:
        port.receive(buffer)
    except OSError:
        return
    port.dropped += 1


class BoundPair:
    """The two sockets of a pair, its session, and the watch for silence."""

    __slots__ = ("other", "pair", "rtcp", "rtp", "told", "watched_from", "watched_s")

    def __init__(self, pair: Pair, rtp: Port, rtcp: Port) -> None:
        self.pair = pair
        self.rtp = rtp
        self.rtcp = rtcp
        self.other: BoundPair | None = None
        self.watched_s: float | None = None
        self.watched_from = 0.0
        self.told = False

    def last_at(self) -> float:
        """When media was last seen in either direction, or when watching began."""
        there = self.other.rtp.last_at if self.other else None
        return max(self.watched_from, self.rtp.last_at or 0.0, there or 0.0)

    def secure(self, keys: Keys) -> None:
        """Use SRTP with the device of this pair from now on. Raises `ValueError` or `KeyError` for invalid keys."""
        if self.rtp.srtp is None:
            from gateway_agent.media.srtp import Srtp  # loaded only if needed

            self.rtp.srtp = self.rtcp.srtp = Srtp(keys)
        else:
            self.rtp.srtp.rekey(keys)
        self._choose()

    def shut(self) -> None:
        """Forward nothing in this session until it is secured, or connected again."""
        for pair in (self, self.other):
            if pair is not None:
                pair.rtp.forward = pair.rtcp.forward = drop

    def _choose(self) -> None:
        for pair in (self, self.other):
            if pair is not None:
                secured = any(one is not None and one.rtp.srtp is not None for one in (pair, pair.other))
                pair.rtp.forward = pair.rtcp.forward = forward_secured if secured else forward

    def connect(self, other: BoundPair) -> None:
        self.disconnect()
        other.disconnect()
        for one, two in ((self, other), (other, self)):
            one.other, one.rtp.peer, one.rtcp.peer = two, two.rtp, two.rtcp
        self._choose()

    def disconnect(self) -> None:
        other, self.other = self.other, None
        self.rtp.peer = self.rtcp.peer = None
        if other is not None:
            other.disconnect()


def bind(address: str, port: int) -> socket.socket:
    """A socket for media. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def canonical(address: str, family: int) -> str:
    """The address as the kernel reports it as a packet's source. Raises `OSError` if it is of another family."""
    return socket.inet_ntop(family, socket.inet_pton(family, address))


def drain(port: Port) -> None:
    """Drop all packets in a socket's buffer, which holds some hundred."""
    buffer = bytearray(1)
    for _ in range(1000):
        try:
            port.receive(buffer)
        except OSError:
            return
