"""Bound ports, and the way of a packet between them.

Packets are taken only from the address that the session description announced, or the one that the device's
signalling comes from. The port may be another one (a NAT, or a device that does not follow RFC 4961): the first
packet's source is latched, until the description names another place. A device whose NAT maps it anew in the middle
of a call is followed (RFC 7362 section 5) when its old source is silent and what comes from the new one looks like
its media; a source that still sends stays. So a stranger can neither listen in nor speak, nor be flooded by a device
that announces his address.
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
"""Seconds without a packet after which a source may have moved."""
SILENT_WHEN_DESCRIBED_S = 0.2
"""The same once after each new description: whoever describes himself anew may just have moved."""
APART_S = 10.0
"""Seconds between two moves that no description explains."""
RTCP_PERIOD_S = 10.0
"""RTCP comes every five seconds or so: it is silent only after more than that."""

_EXPEDITED = 0xB8  # DSCP EF (RFC 4594 section 4.1) in the place of IPv4's TOS


class Port:
    """One bound port. What comes in leaves from ``peer`` towards its ``target``."""

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
        """How a packet that is there is sent on."""
        self.srtp: Srtp | None = None
        """What opens what comes in, and seals what leaves."""
        self.announced: tuple[str, int] | None = None
        self.via = ""
        self.eager = False
        self.form = form
        self.silent_s = silent_s
        self.described_until = 0.0
        """Until then a source that was described anew may move sooner, once."""
        self.moves_at = 0.0
        """When the source may move next."""
        self.sends = False
        """Not while the other side is on hold by zeros."""
        self.source: Address | None = None
        """Latched; None until the first packet."""
        self.target: Address | None = None
        self.allowed = budget
        """How many packets may have come until the next second begins."""
        self.packets = self.octets = self.dropped = 0
        self.last_at: float | None = None
        self.reception = Reception()
        self.note: Callable[[bytearray, float], None] | None = None
        """Told of each packet that is taken, where they are RTP."""

    def reset(self) -> None:
        """Nothing is known of the other end any more."""
        self.announced = self.source = self.target = None
        self.sends = False

    def point(self, remote: tuple[str, int], via: str, eager: bool, described_at: float | None) -> None:
        """Take from and send to ``remote``. The same place again does not open the latch again, but when it was
        described anew the source may move soon."""
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
        """Whether nothing is due from that host."""
        return self.announced is None or (source[0] != self.announced[0] and source[0] != self.via)

    def latch(self, source: Address, now: float, packet: memoryview) -> bool:
        """Whether to take a packet from ``source``, which is not the one latched."""
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
    """The form of a kind of media (`gateway_agent.media.ports.Remote`)."""
    if kind == RTP:
        known = frozenset(types)
        return lambda packet: len(packet) >= 12 and packet[0] >> 6 == 2 and packet[1] & 0x7F in known
    return _is_udptl if kind == UDPTL else _is_nothing


def is_rtcp(packet: memoryview) -> bool:
    """RFC 3550 section 6.1, RFC 5761 section 4."""
    return len(packet) >= 8 and packet[0] >> 6 == 2 and 192 <= packet[1] <= 223


def _is_udptl(packet: memoryview) -> bool:
    """ITU-T T.38 section 9.1: sequence number, length and octets of the primary packet, error recovery."""
    if len(packet) < 5:
        return False
    length, head = packet[2], 3
    if length & 0x80:
        length, head = (length & 0x3F) << 8 | packet[3], 4
    return head + length < len(packet)


def _is_nothing(packet: memoryview) -> bool:
    """Of media that we know nothing of, none proves itself."""
    return False


def forward(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """Take one packet that is there and send it on."""
    try:
        size, source = port.receive(buffer)
    except OSError:  # nothing there after all, or the word of an unreachable target
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
    except OSError:  # no route, or no room: the network would have lost it as well
        port.dropped += 1


def forward_secured(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """The same where one of the two sides, or both, have SRTP. What does not prove itself changes nothing."""
    try:
        size, source = port.receive(buffer)
    except OSError:
        return
    packet = bytes(view[:size])
    if port.srtp is not None:
        if port.is_foreign(source) or port.packets >= port.allowed:  # what follows costs something
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
    """Take one packet, for nobody."""
    try:
        port.receive(buffer)
    except OSError:
        return
    port.dropped += 1


class BoundPair:
    """The two ports of a pair, and what is watched of it."""

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
        """What goes to the device here and comes from it is SRTP. Raises `ValueError` or `KeyError` for keys that are
        none."""
        if self.rtp.srtp is None:
            from gateway_agent.media.srtp import Srtp  # for who has such a line

            self.rtp.srtp = self.rtcp.srtp = Srtp(keys)
        else:
            self.rtp.srtp.rekey(keys)
        self._choose()

    def shut(self) -> None:
        """Nothing passes between the two, until it is secured, or they are connected anew."""
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
    """As the kernel writes it in a packet's source. Raises `OSError` when it is of another family."""
    return socket.inet_ntop(family, socket.inet_pton(family, address))


def drain(port: Port) -> None:
    """Drop what waits in a socket (its buffer holds some hundred packets)."""
    buffer = bytearray(1)
    for _ in range(1000):
        try:
            port.receive(buffer)
        except OSError:
            return
