"""The sockets of a program: UDP, TCP, TLS and WebSocket, by IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sip.actions import Address, Close, Flow, Open, Send
from sip.endpoint import ListenerAddress, is_numeric
from sip.io.acceptor import Acceptor, Limits
from sip.io.clock import boottime
from sip.io.codec import Codec, CodecError, Codecs
from sip.io.stream import CLOSING, CONNECTING, HANDSHAKE, Stream, tune
from sip.io.udp import Counters, NetworkListener, UdpListener, bound, family_of
from sip.wire.errors import SipError

logger = logging.getLogger(__name__)

TICK: Final = 1.0  # seconds between two checks of the age of connections
CODED: Final = frozenset({"tls", "ws", "wss"})
"""Transports that need a codec."""
PINGED: Final = frozenset({"ws", "wss"})
"""Transports with a ping that peers must answer."""


class TransportError(SipError):
    """A listener cannot be opened; the text says which one and what to do."""


class Transport:
    """All sockets of one program. Once open, it raises for no fault of a peer."""

    def __init__(
        self,
        listeners: Iterable[str],
        receiver: NetworkListener,
        loop: asyncio.AbstractEventLoop,
        limits: Limits | None = None,
        clock: Callable[[], float] = boottime,
        codecs: Codecs | None = None,
    ) -> None:
        """Binds nothing yet: see `open`. ``codecs`` are needed for TLS and WebSocket. Raises `BadEndpoint` for an
        invalid listener.
        """
        self._codecs = codecs
        self.limits = limits or Limits()
        self.counters = Counters()
        self.clock = clock
        self.ticks = 0
        """Counts `TICK`s: the coarse clock of streams."""
        self.waiting = 0
        """Unsent bytes of all streams."""
        self._endpoints = {spec: ListenerAddress.parse(spec) for spec in listeners}
        self._receiver = receiver
        self._loop = loop
        self._udp: dict[str, UdpListener] = {}
        self._addresses: dict[str, Address] = {}
        self._streams: dict[Flow, Stream] = {}
        self._ours: set[Flow] = set()
        self._dirty: list[Stream] = []
        streamers = sum(endpoint.transport != "udp" for endpoint in self._endpoints.values())
        self._acceptor = Acceptor(self, loop, streamers)
        self._sweeping: asyncio.TimerHandle | None = None
        self._sockets: dict[str, socket.socket] = {}
        self._inherited: dict[str, socket.socket] = {}

    def inherit(self, sockets: Mapping[str, socket.socket]) -> None:
        """Use these sockets, by the specifications of their listeners, instead of binding new ones in `open`: the
        process before this one has bound them."""
        self._inherited = dict(sockets)

    def listening(self) -> dict[str, socket.socket]:
        """The sockets of all listeners by their specifications."""
        return dict(self._sockets)

    def open(self) -> None:
        """Bind all listeners. Raises `TransportError`; then no listener is open."""
        for spec, endpoint in self._endpoints.items():
            if endpoint.transport in CODED and (missing := self._missing(endpoint.transport)):
                self.close()
                raise TransportError(f"cannot listen on {spec}: {missing}")
            try:
                self._listen(spec, endpoint)
            except OSError as error:
                self.close()
                raise TransportError(
                    f"cannot listen on {spec}: {error.strerror or error}; change the listener or free the port"
                ) from error
        for unused in self._inherited.values():
            unused.close()
        self._inherited = {}
        self._sweeping = self._loop.call_later(TICK, self._sweep)

    def _missing(self, transport: str) -> str:
        return self._codecs.missing(transport) if self._codecs is not None else "nothing here speaks it"

    def close(self) -> None:
        """Close all sockets at once, without reporting lost flows."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for listener in self._udp.values():
            listener.close()
        self._acceptor.close()
        streams = list(self._streams.values())
        self._ours.update(self._streams)  # so that they are not reported
        for stream in streams:
            stream.abort("the transport is closed")

    def address(self, spec: str) -> Address:
        """Host and port that the listener ``spec`` is bound to, with the port chosen by the system for port 0."""
        return self._addresses[spec]

    def addresses(self) -> dict[str, Address]:
        """The addresses of all listeners by their specifications."""
        return dict(self._addresses)

    @property
    def streams(self) -> int:
        """The number of stream connections."""
        return len(self._streams)

    def figures(self) -> dict[str, int]:
        """Counts since the start and present figures, by name."""
        overflows = sum(listener.overflows for listener in self._udp.values())
        now = {"udp_overflows": overflows, "streams": len(self._streams), "stream_bytes_waiting": self.waiting}
        return self.counters.as_dict() | now

    def send(self, action: Send) -> None:
        """Send on a flow; streams write at `flush`. A message for an unknown flow is counted and dropped."""
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
        """Too many bytes wait on all streams: abort the streams with the most, not the one just written to."""
        while self.waiting > self.limits.waiting_in_all:
            slowest = max(self._streams.values(), key=lambda stream: stream.waiting)
            slowest.abort("it reads too slowly: too much waits on all streams, and most of it here")

    def connect(self, action: Open) -> None:
        """Begin to connect; the result is reported by `flow_changed`. Messages sent meanwhile are queued.

        A flow whose ``local`` has the form ``name@host`` is bound to the address ``host`` first.
        """
        flow = action.flow
        old = self._streams.get(flow)
        if old is not None:
            if old.state != CLOSING:
                return
            old.abort("opened anew")
        reason = self._connect(action)
        if reason:
            logger.info("%s to %s:%s: %s", flow.transport, *flow.remote, reason)
            self._loop.call_soon(self._report_lost, flow)

    def disconnect(self, action: Close) -> None:
        """Close a stream once its queued data is written; its loss is reported only if ``action.told``."""
        stream = self._streams.get(action.flow)
        if stream is not None:
            if not action.told:
                self._ours.add(action.flow)
            stream.close()

    def flush(self) -> None:
        """Write what `send` has queued, with one system call a stream."""
        if self._dirty:
            for stream in self._dirty:
                stream.flush()
            self._dirty.clear()

    def stream_opened(self, stream: Stream) -> None:
        """Called by a stream: report that it is open."""
        stream.opened = True
        self._acceptor.handshake_over(stream)
        self._receiver.flow_changed(stream.flow, "open", self.clock(), stream.names)
        self._receiver.flush()

    def stream_received(self, stream: Stream, data: bytes) -> None:
        """Called by a stream: pass on bytes of its peer."""
        self._receiver.receive(data, stream.flow, self.clock())
        self._receiver.flush()

    def stream_lost(self, stream: Stream, reason: str) -> None:
        """Called by a stream: report its loss, unless we closed it or it was never reported as open."""
        flow = stream.flow
        del self._streams[flow]
        if stream.accepted:
            self._acceptor.lost(stream)
        unexpected = stream.heard and not stream.opened and not stream.accepted
        level = logging.WARNING if unexpected else logging.DEBUG
        logger.log(level, "%s %s %s:%s: %s", flow.transport, flow.local, *flow.remote, reason)
        if flow in self._ours:
            self._ours.discard(flow)
            return
        if stream.accepted and not stream.opened:
            self.counters.handshakes_failed += 1
            return
        self.counters.streams_lost += 1
        self._report_lost(flow)

    def _report_lost(self, flow: Flow) -> None:
        self._receiver.flow_changed(flow, "lost", self.clock())
        self._receiver.flush()

    def _listen(self, spec: str, endpoint: ListenerAddress) -> None:
        inherited = self._inherited.pop(spec, None)
        if endpoint.transport == "udp":
            sock = inherited or bound((endpoint.host, endpoint.port))
            self._udp[endpoint.local] = UdpListener(
                endpoint.local, sock, self._receiver, self._loop, self.clock, self.counters
            )
        else:
            sock = self._acceptor.listen(endpoint, inherited)
        self._sockets[spec] = sock
        self._addresses[spec] = sock.getsockname()[:2]

    def accepted(self, sock: socket.socket, flow: Flow) -> Stream:
        """Called by the acceptor: make a stream of an accepted connection."""
        codec = self._codecs.accept(flow.transport) if flow.transport in CODED and self._codecs is not None else None
        stream = self._streams[flow] = Stream(sock, flow, self, self._loop, accepted=True, codec=codec)
        return stream

    def _connect(self, action: Open) -> str:
        """Start a connect; returns ``""``, or why it cannot succeed."""
        flow = action.flow
        host, port = flow.remote
        if not is_numeric(host):
            return "a host must be numeric here"
        if len(self._streams) - self._acceptor.taken >= self.limits.connections:
            return "too many connections"
        try:
            codec = self._codec_of(action)
            sock = socket.socket(family_of(host), socket.SOCK_STREAM)
        except (CodecError, OSError) as error:
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
        self._streams[flow] = Stream(sock, flow, self, self._loop, accepted=False, codec=codec)
        return ""

    def _codec_of(self, action: Open) -> Codec | None:
        transport = action.flow.transport
        if transport == "tcp":
            return None
        if self._codecs is None:
            raise CodecError(f"nothing here speaks {transport}")
        return self._codecs.connect(transport, action.names, action.shown, action.authority)

    def _ping(self, stream: Stream) -> None:
        silent = (self.ticks - stream.spoke_tick) * TICK
        if silent > 2 * self.limits.ping_s:
            stream.abort("no answer to a ping")
        elif silent > self.limits.ping_s and stream.asked_tick <= stream.spoke_tick:
            stream.ping()

    def _sweep(self) -> None:
        self.ticks += 1
        limits = self.limits
        for stream in list(self._streams.values()):
            age = (self.ticks - stream.since_tick) * TICK
            untaken = (self.ticks - stream.taken_tick) * TICK
            still = min(untaken, (self.ticks - stream.spoke_tick) * TICK)
            if stream.state == CONNECTING:
                if age > limits.connect_s:
                    stream.abort("no answer to the connect")
            elif stream.state == HANDSHAKE:
                if age > (limits.handshake_s if stream.accepted else limits.connect_s):
                    stream.abort("its handshake takes too long")
            elif stream.waiting:
                if untaken > limits.stalled_s:
                    stream.abort("it takes nothing of what waits")
            elif stream.state == CLOSING:
                if age > limits.linger_s:
                    stream.abort("the peer does not close its end")
            elif still > (limits.idle_s if stream.heard or not stream.accepted else limits.first_byte_s):
                stream.abort("nothing was said for too long")
            elif stream.flow.transport in PINGED:
                self._ping(stream)
        self._sweeping = self._loop.call_later(TICK, self._sweep)
