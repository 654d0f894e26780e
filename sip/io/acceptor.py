"""Accepting streams, within limits: of all streams, of one remote host, and of handshakes under way."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

from sip.actions import Flow
from sip.endpoint import ListenerAddress
from sip.io.stream import HANDSHAKE, Stream, StreamOwner, tune
from sip.io.udp import Counters, family_of
from sip.overload.address_limit import AddressLimit
from sip.overload.token_bucket import TokenBucket
from sip.peers import network_of

logger = logging.getLogger(__name__)

RESERVED: Final = 512
"""File descriptors that accepted streams leave for outgoing connections and files: votes, call records."""
_ACCEPTS: Final = 16  # connections accepted at one wake-up
_BACKLOG: Final = 1024
_PAUSE: Final = 0.05  # seconds without accepting when handshakes begin too fast


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what remote hosts may take of a transport. Bytes, seconds and counts."""

    connections: int = 8192
    """Accepted streams in all (fewer where descriptors are scarce), and as many outgoing ones besides. Each listener
    has an equal share, so that devices cannot take the streams of agents."""
    connections_of_one: int = 1024
    """Accepted streams of one remote host, or of 64 bits of IPv6."""
    waiting: int = 32 * 1024 * 1024
    """Unsent bytes of one stream; a slower reader is disconnected."""
    waiting_in_all: int = 256 * 1024 * 1024
    """Unsent bytes of all streams together."""
    connect_s: float = 5.0
    """Longest time for an outgoing connection, its handshake included."""
    handshake_s: float = 5.0
    """Longest time for the handshake of an accepted stream."""
    handshakes: int = 512
    """Accepted streams in their handshake; beyond, the oldest of them is closed for a new one."""
    handshakes_of_one: int = 64
    """The same of one remote host, or of 64 bits of IPv6; further ones are refused."""
    handshakes_per_s: float = 200.0
    """Streams with a handshake accepted in a second, as each takes about a millisecond of CPU from the calls. Further
    ones wait in the kernel's backlog."""
    handshakes_of_one_per_s: float = 50.0
    """The same of one remote host; further ones are refused, so that others have their turn."""
    ping_s: float = 30.0
    """A WebSocket peer that was silent for so long gets a ping, and has as long to answer."""
    first_byte_s: float = 30.0
    """An accepted stream that sends nothing for so long is closed."""
    idle_s: float = 7200.0
    """A stream without traffic for so long is closed."""
    stalled_s: float = 30.0
    """A stream whose peer reads none of the waiting bytes for so long is closed."""
    linger_s: float = 5.0
    """Time that the peer has to close its end after we closed ours."""


class AcceptorOwner(StreamOwner, Protocol):
    """What an acceptor needs of its transport."""

    limits: Limits
    counters: Counters

    def accepted(self, sock: socket.socket, flow: Flow) -> Stream:
        """Make a stream of an accepted connection."""


class Acceptor:
    """All listeners for streams of one transport."""

    def __init__(self, owner: AcceptorOwner, loop: asyncio.AbstractEventLoop, listeners: int) -> None:
        """``listeners``: the number of listeners that share the streams."""
        self._owner = owner
        self._loop = loop
        self._listening: list[socket.socket] = []
        self._in_handshake: dict[Stream, None] = {}  # oldest first
        self._handshakes_of: Counter[str] = Counter()
        rate = owner.limits.handshakes_per_s
        self._pace = TokenBucket(rate, max(1.0, rate), owner.clock())
        self._pace_of_one = AddressLimit(owner.limits.handshakes_of_one_per_s, owner.limits.handshakes_of_one)
        self._of_host: Counter[str] = Counter()
        self._accepted = 0
        self._taken: Counter[str] = Counter()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        in_all = min(owner.limits.connections, max(descriptors - RESERVED, descriptors // 2))
        self._most_taken = in_all // max(1, listeners)

    @property
    def taken(self) -> int:
        """The number of accepted streams."""
        return self._taken.total()

    def listen(self, endpoint: ListenerAddress, inherited: socket.socket | None = None) -> socket.socket:
        """Listen at ``endpoint``, or on ``inherited``, which listens already; the socket. Raises `OSError`."""
        sock = inherited or socket.socket(family_of(endpoint.host), socket.SOCK_STREAM)
        self._listening.append(sock)
        sock.setblocking(False)
        if inherited is None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((endpoint.host, endpoint.port))
            sock.listen(_BACKLOG)
        self._loop.add_reader(sock.fileno(), self._acceptable, sock, endpoint)
        return sock

    def close(self) -> None:
        """Close all listening sockets."""
        for sock in self._listening:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._listening.clear()

    def handshake_over(self, stream: Stream) -> None:
        """The handshake of an accepted stream has ended."""
        if stream in self._in_handshake:
            del self._in_handshake[stream]
            _take_off(self._handshakes_of, network_of(stream.flow.remote[0]))

    def lost(self, stream: Stream) -> None:
        """An accepted stream was closed."""
        self.handshake_over(stream)
        self._taken[stream.flow.local.partition("#")[0]] -= 1
        _take_off(self._of_host, network_of(stream.flow.remote[0]))

    def _acceptable(self, listener: socket.socket, endpoint: ListenerAddress) -> None:
        owner, local, paced = self._owner, endpoint.local, endpoint.transport != "tcp"
        for _ in range(_ACCEPTS):
            now = owner.clock()
            if paced and self._pace.wait(now):
                self._pause_listener(listener, endpoint, _PAUSE)
                return
            try:
                sock, source = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # closed by the peer before it was accepted
            except OSError as error:  # no descriptors left: the listener would stay readable, so pause
                owner.counters.connections_refused += 1
                logger.warning("%s:%s: no connection taken for a second: %s", endpoint.transport, local, error)
                self._pause_listener(listener, endpoint, 1.0)
                return
            host, limits = source[0], owner.limits
            peer = network_of(host)
            if (
                self._taken[local] >= self._most_taken
                or self._of_host[peer] >= limits.connections_of_one
                or self._handshakes_of[peer] >= limits.handshakes_of_one
                or (paced and not self._pace_of_one.allows(peer, False, now))
            ):
                owner.counters.connections_refused += 1
                sock.close()
                continue
            if paced:
                self._pace.take(now)
            sock.setblocking(False)
            tune(sock)
            self._accepted += 1
            self._of_host[peer] += 1
            self._taken[local] += 1
            flow = Flow(endpoint.transport, f"{local}#{self._accepted}", (host, source[1]))
            stream = owner.accepted(sock, flow)
            if stream.state == HANDSHAKE:
                self._handshake_begins(stream, peer)
            else:
                owner.stream_opened(stream)

    def _handshake_begins(self, stream: Stream, peer: str) -> None:
        if len(self._in_handshake) >= self._owner.limits.handshakes:
            next(iter(self._in_handshake)).abort("others want to have their handshake, too")
        self._in_handshake[stream] = None
        self._handshakes_of[peer] += 1

    def _pause_listener(self, listener: socket.socket, endpoint: ListenerAddress, seconds: float) -> None:
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(seconds, self._accept_again, listener, endpoint)

    def _accept_again(self, listener: socket.socket, endpoint: ListenerAddress) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self._acceptable, listener, endpoint)


def _take_off(count: Counter[str], key: str) -> None:
    count[key] -= 1
    if not count[key]:
        del count[key]
