"""UDP and TCP, IPv4 and IPv6: the sockets of a program, on whatever loop runs (uvloop where there is one)."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sip.actions import Address, Close, Flow, Open, Send
from sip.endpoint import ListenerAddress, is_numeric
from sip.io.clock import boottime
from sip.io.stream import CLOSING, CONNECTING, Stream, tune
from sip.io.udp import Counters, NetworkListener, UdpListener, family_of
from sip.peers import network_of
from sip.wire.errors import SipError

logger = logging.getLogger(__name__)

TICK: Final = 1.0  # seconds between two looks at the age of connections
RESERVED: Final = 512
"""Descriptors that accepted streams leave for connections of ours and for files: votes, call records."""
_ACCEPTS: Final = 16  # connections taken at one wake-up
_BACKLOG: Final = 1024


class TransportError(SipError):
    """A listener cannot be had; the sentence says which and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may cost. Bytes, seconds and counts."""

    connections: int = 8192
    """Accepted streams in all (fewer where descriptors are scarce), and as many of ours besides. Each listener has an
    equal part of them, so that devices' streams leave agents' theirs."""
    connections_of_one: int = 1024
    """Accepted streams of one remote host, or of 64 bits of IPv6."""
    waiting: int = 32 * 1024 * 1024
    """Bytes that may wait on one stream; a reader slower than that is cut off."""
    waiting_in_all: int = 256 * 1024 * 1024
    """Bytes that may wait on all streams together."""
    connect_s: float = 5.0
    """A connect takes no longer."""
    first_byte_s: float = 30.0
    """An accepted stream that says nothing for so long is closed."""
    idle_s: float = 7200.0
    """A stream on which nothing moved for so long is closed."""
    stalled_s: float = 30.0
    """A stream that takes nothing of what waits for so long is closed."""
    linger_s: float = 5.0
    """After our end of a stream is closed the peer may take so long to close its own."""


class Transport:
    """All sockets of one program. It does not raise once it is open, whatever peers do."""

    def __init__(
        self,
        listeners: Iterable[str],
        receiver: NetworkListener,
        loop: asyncio.AbstractEventLoop,
        limits: Limits | None = None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        """Nothing is bound yet: see `open`. Raises `BadEndpoint` for a listener that cannot be read."""
        self.limits = limits or Limits()
        self.counters = Counters()
        self.clock = clock
        self.ticks = 0
        """Counts `TICK`s: the coarse clock of streams."""
        self.waiting = 0
        """Bytes that wait on all streams."""
        self._endpoints = {spec: ListenerAddress.parse(spec) for spec in listeners}
        self._receiver = receiver
        self._loop = loop
        self._udp: dict[str, UdpListener] = {}
        self._accepting: dict[str, socket.socket] = {}
        self._addresses: dict[str, Address] = {}
        self._streams: dict[Flow, Stream] = {}
        self._ours: set[Flow] = set()
        self._of_host: Counter[str] = Counter()
        self._dirty: list[Stream] = []
        self._accepted = 0
        self._taken: Counter[str] = Counter()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        streamers = sum(endpoint.transport == "tcp" for endpoint in self._endpoints.values())
        in_all = min(self.limits.connections, max(descriptors - RESERVED, descriptors // 2))
        self._most_taken = in_all // max(1, streamers)
        self._sweeping: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Bind all listeners. Raises `TransportError`, and then none is open."""
        for spec, endpoint in self._endpoints.items():
            try:
                self._listen(spec, endpoint)
            except OSError as error:
                self.close()
                raise TransportError(
                    f"cannot listen on {spec}: {error.strerror or error}; change the listener or free the port"
                ) from error
        self._sweeping = self._loop.call_later(TICK, self._sweep)

    def close(self) -> None:
        """Close every socket at once. Nothing is reported."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for listener in self._udp.values():
            listener.close()
        for accepting in self._accepting.values():
            self._loop.remove_reader(accepting.fileno())
            accepting.close()
        self._accepting.clear()
        streams = list(self._streams.values())
        self._ours.update(self._streams)  # closed by us: not reported
        for stream in streams:
            stream.abort("the transport is closed")

    def address(self, spec: str) -> Address:
        """The host and port that the listener ``spec`` is bound to (a port 0 became a real one)."""
        return self._addresses[spec]

    def addresses(self) -> dict[str, Address]:
        """Every listener by its specification."""
        return dict(self._addresses)

    @property
    def streams(self) -> int:
        """How many connections there are."""
        return len(self._streams)

    def figures(self) -> dict[str, int]:
        """Counts since the start, and what is there now, by name: for a status page."""
        overflows = sum(listener.overflows for listener in self._udp.values())
        now = {"udp_overflows": overflows, "streams": len(self._streams), "stream_bytes_waiting": self.waiting}
        return self.counters.as_dict() | now

    def send(self, action: Send) -> None:
        """Write to a flow. Streams write at `flush`; a flow that is not there (any more) is counted."""
        flow = action.flow
        if flow.transport == "udp":
            listener = self._udp.get(flow.local)
            if listener is None:
                self.counters.unknown_flows += 1
            else:
                listener.send(action.data, flow.remote)
            return
        stream = self._streams.get(flow)
        if stream is None or stream.state == CLOSING:
            self.counters.unknown_flows += 1
            return
        size = len(action.data)
        if stream.waiting + size > self.limits.waiting:
            self._loop.call_soon(stream.abort, "it reads too slowly: too much waits for it")
            return
        if self.waiting + size > self.limits.waiting_in_all:
            self._loop.call_soon(self._make_room)
        if not stream.waiting:
            self._dirty.append(stream)
        stream.send(action.data, action.urgent)

    def _make_room(self) -> None:
        """Too much waits on all streams: not who is spoken to just now pays for it, but the slowest reader."""
        while self.waiting > self.limits.waiting_in_all:
            slowest = max(self._streams.values(), key=lambda stream: stream.waiting)
            slowest.abort("it reads too slowly: too much waits on all streams, and most of it here")

    def connect(self, action: Open) -> None:
        """Begin to connect; `flow_changed` follows in any case. What is sent meanwhile waits.

        A ``local`` of the form ``name@host`` binds the connection to that host first.
        """
        flow = action.flow
        old = self._streams.get(flow)
        if old is not None:
            if old.state != CLOSING:
                return
            old.abort("opened anew")
        reason = self._connect(flow)
        if reason:
            logger.info("tcp to %s:%s: %s", *flow.remote, reason)
            self._loop.call_soon(self._report_lost, flow)

    def disconnect(self, action: Close) -> None:
        """Close a stream after what waits was written. Unless it wants to be told, the core has let go of it."""
        stream = self._streams.get(action.flow)
        if stream is not None:
            if not action.told:
                self._ours.add(action.flow)
            stream.close()

    def flush(self) -> None:
        """Write what `send` lined up: one system call a stream."""
        if self._dirty:
            for stream in self._dirty:
                stream.flush()
            self._dirty.clear()

    def stream_opened(self, stream: Stream) -> None:
        """Called by a stream."""
        self._receiver.flow_changed(stream.flow, "open", self.clock())
        self._receiver.flush()

    def stream_received(self, stream: Stream, data: bytes) -> None:
        """Called by a stream."""
        self._receiver.receive(data, stream.flow, self.clock())
        self._receiver.flush()

    def stream_lost(self, stream: Stream, reason: str) -> None:
        """Called by a stream."""
        flow = stream.flow
        del self._streams[flow]
        if stream.accepted:
            self._taken[flow.local.partition("#")[0]] -= 1
            peer = network_of(flow.remote[0])
            self._of_host[peer] -= 1
            if not self._of_host[peer]:
                del self._of_host[peer]
        logger.debug("tcp %s %s:%s: %s", flow.local, *flow.remote, reason)
        if flow in self._ours:
            self._ours.discard(flow)
            return
        self.counters.streams_lost += 1
        self._report_lost(flow)

    def _report_lost(self, flow: Flow) -> None:
        self._receiver.flow_changed(flow, "lost", self.clock())
        self._receiver.flush()

    def _listen(self, spec: str, endpoint: ListenerAddress) -> None:
        at = (endpoint.host, endpoint.port)
        if endpoint.transport == "udp":
            listener = UdpListener(endpoint.local, at, self._receiver, self._loop, self.clock, self.counters)
            self._udp[endpoint.local] = listener
            self._addresses[spec] = listener.address
            return
        sock = socket.socket(family_of(endpoint.host), socket.SOCK_STREAM)
        self._accepting[spec] = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(at)
        sock.listen(_BACKLOG)
        self._addresses[spec] = sock.getsockname()[:2]
        self._loop.add_reader(sock.fileno(), self._acceptable, sock, endpoint.local)

    def _acceptable(self, listener: socket.socket, local: str) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, source = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:  # no descriptors left: the listener stays readable, so look away for a while
                self.counters.connections_refused += 1
                logger.warning("tcp:%s: no connection taken for a second: %s", local, error)
                self._loop.remove_reader(listener.fileno())
                self._loop.call_later(1.0, self._accept_again, listener, local)
                return
            host, limits = source[0], self.limits
            peer = network_of(host)
            if self._taken[local] >= self._most_taken or self._of_host[peer] >= limits.connections_of_one:
                self.counters.connections_refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            tune(sock)
            self._accepted += 1
            flow = Flow("tcp", f"{local}#{self._accepted}", (host, source[1]))
            self._of_host[peer] += 1
            self._taken[local] += 1
            stream = self._streams[flow] = Stream(sock, flow, self, self._loop, accepted=True)
            self.stream_opened(stream)

    def _accept_again(self, listener: socket.socket, local: str) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self._acceptable, listener, local)

    def _connect(self, flow: Flow) -> str:
        """Why it is hopeless; an empty string when the connect is under way."""
        host, port = flow.remote
        if not is_numeric(host):
            return "a host must be numeric here"
        if len(self._streams) - self._taken.total() >= self.limits.connections:
            return "too many connections"
        try:
            sock = socket.socket(family_of(host), socket.SOCK_STREAM)
        except OSError as error:
            return str(error)
        try:
            sock.setblocking(False)
            tune(sock)
            source = flow.local.rpartition("@")[2]
            if source != flow.local and is_numeric(source):
                sock.bind((source, 0))
            sock.connect((host, port))
        except BlockingIOError:
            pass  # under way
        except (OSError, OverflowError) as error:
            sock.close()
            return str(error)
        self._streams[flow] = Stream(sock, flow, self, self._loop, accepted=False)
        return ""

    def _sweep(self) -> None:
        self.ticks += 1
        limits = self.limits
        for stream in list(self._streams.values()):
            age = (self.ticks - stream.since_tick) * TICK
            still = (self.ticks - stream.moved_tick) * TICK
            if stream.state == CONNECTING:
                if age > limits.connect_s:
                    stream.abort("no answer to the connect")
            elif stream.waiting:
                if still > limits.stalled_s:
                    stream.abort("it takes nothing of what waits")
            elif stream.state == CLOSING:
                if age > limits.linger_s:
                    stream.abort("the peer does not close its end")
            elif still > (limits.idle_s if stream.heard or not stream.accepted else limits.first_byte_s):
                stream.abort("nothing was said for too long")
        self._sweeping = self._loop.call_later(TICK, self._sweep)
