"""Bound ports, and the way of a packet between them.

Packets are taken only from the address that the session description announced, or where a NAT may stand before it,
from the one that the device's signalling comes from. The port may be another one (a NAT, or a device that does not
follow RFC 4961): the first packet's source is latched, once, until the description names another place. So a stranger
can neither listen in nor speak, nor be flooded by a device that announces his address.
"""

from __future__ import annotations

import socket
from typing import Any

from gateway_agent.media.ports import NOWHERE, Pair

Address = tuple[Any, ...]

_EXPEDITED = 0xB8  # DSCP EF (RFC 4594 section 4.1) in the place of IPv4's TOS


class Port:
    """One bound port. What comes in leaves from ``peer`` towards its ``target``."""

    __slots__ = (
        "announced",
        "budget",
        "dropped",
        "last_at",
        "octets",
        "packets",
        "peer",
        "receive",
        "send",
        "sends",
        "sock",
        "source",
        "target",
        "via",
    )

    def __init__(self, sock: socket.socket, budget: int) -> None:
        self.sock = sock
        self.receive = sock.recvfrom_into
        self.send = sock.sendto
        self.peer: Port | None = None
        self.announced: tuple[str, int] | None = None
        self.via = ""
        self.sends = False
        """Not while the other side is on hold by zeros."""
        self.source: Address | None = None
        """Latched; None until the first packet."""
        self.target: Address | None = None
        self.budget = budget
        self.packets = self.octets = self.dropped = 0
        self.last_at: float | None = None

    def point(self, remote: tuple[str, int] | None, via: str) -> None:
        """Take from and send to ``remote``. The same place again does not open the latch again."""
        if remote is None:
            self.announced = self.source = self.target = None
            self.sends = False
        elif remote[0] in NOWHERE or remote[1] == 0:
            self.sends, self.target = False, None
        else:
            if (remote, via) != (self.announced, self.via):
                self.announced, self.via, self.source = remote, via, None
            self.sends = True
            self.target = self.source or (remote if via in ("", remote[0]) else None)

    def latch(self, source: Address) -> bool:
        """Whether to take a packet from ``source``, which is not the one latched."""
        if self.source is not None or self.announced is None:
            return False
        if source[0] != self.announced[0] and source[0] != self.via:
            return False
        self.source = source
        if self.sends:
            self.target = source
        return True


def forward(port: Port, now: float, buffer: bytearray, view: memoryview) -> None:
    """Take one packet that is there and send it on."""
    try:
        size, source = port.receive(buffer)
    except OSError:  # nothing there after all, or the word of an unreachable target
        return
    if source != port.source and not port.latch(source):
        port.dropped += 1
        return
    port.packets += 1
    port.octets += size
    port.last_at = now
    peer = port.peer
    port.budget -= 1
    if peer is None or peer.target is None or port.budget < 0:
        port.dropped += 1
        return
    try:
        peer.send(view[:size], peer.target)
    except OSError:  # no route, or no room: the network would have lost it as well
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

    def connect(self, other: BoundPair) -> None:
        self.disconnect()
        other.disconnect()
        for one, two in ((self, other), (other, self)):
            one.other, one.rtp.peer, one.rtcp.peer = two, two.rtp, two.rtcp

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
