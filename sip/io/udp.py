"""One UDP listener on a raw non-blocking socket, cheaper per datagram than an asyncio protocol (measured with
uvloop).

ICMP errors are read from the socket's error queue (ip(7), ``IP_RECVERR``), which has the address that cannot be
reached. While one is pending, the next read or send to any address fails with it, and epoll reports EPOLLERR, at
which uvloop stops watching the socket. So each error drains the queue and registers the socket anew, and a failed
send is repeated once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sip.actions import Address, Flow
from sip.endpoint import is_numeric
from sip.overload.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

_KNOWN_FLOWS: Final = 16_384
_SO_TIMESTAMPNS: Final = 35  # Linux: the time at which the kernel received a datagram, as ancillary data
_TIMESPEC: Final = struct.Struct("=qq")  # seconds and nanoseconds
_SAMPLED: Final = 0.02
"""Seconds between two measurements of how long a datagram has waited."""
_MOST_AT_ONCE: Final = 4  # datagrams read at one wake-up: the answer to the first one waits for the last one
_AT_ONCE_AGAIN: Final = 0.0002
"""Seconds: when woken again sooner, several datagrams are probably there. Otherwise a second read would most often
only raise BlockingIOError."""
_RECEIVE_BUFFER: Final = 4 * 1024 * 1024
_SEND_BUFFER: Final = 1024 * 1024
_MAX_WAITING: Final = 8 * 1024 * 1024
_SO_MEMINFO: Final = 55  # Linux: nine 32-bit figures, the last one counts drops
_SO_RCVBUFFORCE: Final = 33  # Linux: exceeds net.core.rmem_max, needs CAP_NET_ADMIN
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_EXTENDED_ERROR: Final = struct.Struct("=IBBB")  # the head of sock_extended_err: errno, origin, ICMP type, code
_UNREACHABLE_TYPES: Final = {2: 3, 3: 1}
"""The ICMP type of "destination unreachable" by the origin of an error: ICMP, ICMPv6 (RFC 792, RFC 4443 section 3.1).
"""
_UNREACHABLE: Final = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOPROTOOPT}
"""Port, host, network and protocol unreachable. EMSGSIZE is left out: it only asks for smaller packets."""
_MOST_ERRORS: Final = 256  # read from the error queue at a time
_MOST_REPORTS: Final = 100
"""Unreachable addresses reported in a second: each report searches all transactions, and ICMP can be forged."""


class NetworkListener(Protocol):
    """Receives what comes from the network; `sip.io.pump.Pump` is one."""

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """A datagram, or bytes of a stream."""

    def flow_changed(self, flow: Flow, state: str, now: float, names: tuple[str, ...] = ()) -> None:
        """A stream is ``open`` or ``lost``, a UDP peer ``unreachable``. ``names``: the identities in the verified
        certificate of an open stream's peer.
        """

    def flush(self) -> None:
        """The end of a batch of input: send the answers."""

    def waited(self, source: str, wait: float, now: float) -> None:
        """An input was read ``wait`` seconds after the kernel had received it at the listener ``source``."""


class Counters:
    """Counts of faults at the sockets since the start."""

    __slots__ = (
        "connections_refused",
        "datagrams_dropped",
        "handshakes_failed",
        "receive_errors",
        "send_errors",
        "streams_lost",
        "unknown_flows",
    )

    def __init__(self) -> None:
        self.connections_refused = 0
        self.datagrams_dropped = 0
        self.handshakes_failed = 0
        self.receive_errors = 0
        self.send_errors = 0
        self.streams_lost = 0
        self.unknown_flows = 0

    def as_dict(self) -> dict[str, int]:
        """All counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class UdpListener:
    """Reads when the socket is readable, and writes at once or, when its buffer is full, as soon as there is room."""

    def __init__(
        self,
        local: str,
        sock: socket.socket,
        receiver: NetworkListener,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        """``local`` names the listener in flows; ``sock`` was made by `bound`."""
        self._receiver = receiver
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._local = local
        self._flows: dict[object, Flow] = {}
        self._waiting: deque[tuple[bytes, Address]] = deque()
        self._waiting_bytes = 0
        self._reports = TokenBucket(_MOST_REPORTS, _MOST_REPORTS, clock())
        self._read_at = self._sampled_at = 0.0
        """When the last wake-up ended, and when a wait was last measured."""
        self.sock = sock
        self.address: Address = sock.getsockname()[:2]
        """Host and port that it is bound to."""
        loop.add_reader(sock.fileno(), self._readable)

    def send(self, data: bytes, remote: Address) -> None:
        """Send one datagram; one that cannot be sent is counted and dropped."""
        if not is_numeric(remote[0]):
            self._counters.send_errors += 1
            logger.warning("not sent to %s:%s: a host must be numeric here", *remote)
            return
        if self._waiting:
            self._wait(data, remote)
            return
        try:
            self._send(data, remote)
        except BlockingIOError:
            self._wait(data, remote)
            self._loop.add_writer(self.sock.fileno(), self._writable)

    @property
    def overflows(self) -> int:
        """Datagrams that the kernel dropped because its buffer was full (0 where it does not count them)."""
        try:
            memory = self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
        except OSError:
            return 0
        return int.from_bytes(memory[32:36], sys.byteorder)

    def close(self) -> None:
        """Stop listening; queued datagrams are dropped."""
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock.fileno())
            self._loop.remove_writer(self.sock.fileno())
            self.sock.close()

    def _readable(self) -> None:
        """Read datagrams and have them answered; the loop calls again if there are more."""
        receive_from, receive, flows, clock = self.sock.recvfrom, self._receiver.receive, self._flows, self._clock
        now = clock()
        sampled = now - self._sampled_at < _SAMPLED
        for _ in range(1 if now - self._read_at > _AT_ONCE_AGAIN else _MOST_AT_ONCE):
            try:
                if sampled:
                    data, source = receive_from(65_535)
                else:
                    sampled = True
                    data, source = self._sample(now)
            except BlockingIOError:
                break
            except OSError as error:  # of a datagram sent before
                self._counters.receive_errors += 1
                logger.debug("udp:%s: %s", self._local, error)
                self._report(self._drain_errors())
                continue
            flow = flows.get(source)
            if flow is None:
                if len(flows) >= _KNOWN_FLOWS:  # source addresses can be forged without limit
                    flows.clear()
                flow = flows[source] = Flow("udp", self._local, (source[0], source[1]))
            receive(data, flow, clock())
        self._receiver.flush()
        self._read_at = clock()

    def _sample(self, now: float) -> tuple[bytes, Address]:
        """Read one datagram and report how long it has waited. The kernel stamps by the wall clock, so a step of it
        spoils one sample."""
        data, ancillary, _, source = self.sock.recvmsg(65_535, 64)
        self._sampled_at = now
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) >= _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                self._receiver.waited(self._local, max(0.0, time.time() - seconds - nanoseconds * 1e-9), now)
        return data, source

    def _send(self, data: bytes, remote: Address) -> None:
        """Send now. Raises `BlockingIOError` when the buffer is full."""
        try:
            self.sock.sendto(data, remote)
            return
        except BlockingIOError:
            raise
        except (OSError, OverflowError):
            unreachable = self._drain_errors()
        try:
            self.sock.sendto(data, remote)  # the error was that of an earlier datagram
        except BlockingIOError:
            raise
        except (OSError, OverflowError) as error:
            self._failed(remote, error)
            if isinstance(error, OSError) and error.errno in _UNREACHABLE:
                unreachable.add(remote)
        finally:
            if unreachable:  # later, since the core is being served now
                self._loop.call_soon(self._report_sent, unreachable)

    def _drain_errors(self) -> set[Address]:
        """Empty the error queue; returns the addresses that are unreachable."""
        found: set[Address] = set()
        for _ in range(_MOST_ERRORS):
            try:
                _, ancillary, _, remote = self.sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError:
                break
            for level, kind, data in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                    number, origin, icmp_type, _ = _EXTENDED_ERROR.unpack_from(data)
                    if number in _UNREACHABLE and icmp_type == _UNREACHABLE_TYPES.get(origin):
                        found.add((remote[0], remote[1]))
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.sock.fileno())
            self._loop.add_reader(self.sock.fileno(), self._readable)
        return found

    def _report(self, unreachable: Iterable[Address]) -> None:
        for remote in unreachable:
            now = self._clock()
            if self._reports.take(now):
                self._receiver.flow_changed(Flow("udp", self._local, remote), "unreachable", now)

    def _report_sent(self, unreachable: Iterable[Address]) -> None:
        self._report(unreachable)
        self._receiver.flush()

    def _wait(self, data: bytes, remote: Address) -> None:
        if self._waiting_bytes + len(data) > _MAX_WAITING:
            self._counters.datagrams_dropped += 1
            return
        self._waiting.append((data, remote))
        self._waiting_bytes += len(data)

    def _writable(self) -> None:
        while self._waiting:
            data, remote = self._waiting[0]
            try:
                self._send(data, remote)
            except BlockingIOError:
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(data)
        self._loop.remove_writer(self.sock.fileno())

    def _failed(self, remote: Address, error: Exception) -> None:
        self._counters.send_errors += 1
        count = self._counters.send_errors
        # The first ones, then each thousandth, since a dead network would fill the log.
        if count <= 10 or count % 1000 == 0:
            logger.warning("udp:%s to %s:%s: %s (%d so far)", self._local, *remote, error, count)


def bound(address: Address) -> socket.socket:
    """A socket for a `UdpListener`. Raises `OSError` when ``address`` cannot be bound."""
    sock = socket.socket(family_of(address[0]), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _enlarge(sock)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge(sock: socket.socket) -> None:
    """Enlarge the buffers for the messages that come while Python is busy: a takeover, a garbage collection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
