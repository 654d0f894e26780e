"""The paths of heartbeats between servers: datagrams, or a stream that each server opens to the other's ``beat``.

A request is sent on our own stream, and its response comes back on it. A stream without responses is replaced, since
data queued in the kernel during a network failure would come late.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from heartbeat.site.model import Site
from heartbeat.site.values import Endpoint
from sip.actions import Close, Flow, Open
from sip.layer import Stack
from sip.wire.framing import PING
from sip.wire.headers import bracketed

CONNECT_LIMIT: Final = 1.0
"""Seconds within which a connection must be established, TLS handshake included."""
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 0.5
"""Seconds between two tries to connect, at most."""
LOOK: Final = 1.0
"""Seconds between two checks: a request sent before one must be answered before the next."""

TRY: Final = "connect"
SLOW: Final = "connect takes too long"
QUIET: Final = "look"


class BeatStream:
    """Our stream to another server."""

    __slots__ = (
        "_asked", "_authority", "_failures", "_heard", "_owed", "_paths", "flow", "generation", "name", "reach"
    )  # fmt: skip

    def __init__(self, paths: BeatPaths, name: str, reach: Endpoint, authority: str) -> None:
        self._paths = paths
        self._authority = authority
        self._failures = 0
        self._asked = self._heard = self._owed = False
        self.name = name
        self.reach = reach
        self.flow: Flow | None = None
        self.generation = 0

    def connect(self, now: float) -> None:
        self.generation += 1
        self.flow = self._paths.open(self, self._authority)
        self._paths.stack.deadlines.set(now + CONNECT_LIMIT, self, SLOW)

    def opened(self, now: float) -> None:
        self.generation += 1
        self._asked = self._heard = self._owed = False
        self._paths.stack.deadlines.set(now + LOOK, self, QUIET)

    def asks(self) -> None:
        self._asked = True

    def heard(self) -> None:
        self._heard = True
        self._failures = 0

    def lost(self, now: float) -> None:
        self.generation += 1
        self.flow = None
        paths = self._paths
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures, 16)) * paths.random.uniform(0.5, 1.0)
        self._failures += 1
        paths.stack.deadlines.set(now + wait, self, TRY)

    def due(self, cause: str, now: float) -> None:
        if cause is TRY:
            self.connect(now)
        elif cause is SLOW or (self._owed and not self._heard):
            self._paths.give_up(self, now)
        else:
            self._owed = self._asked and not self._heard
            self._asked = self._heard = False
            self.generation += 1
            self._paths.stack.deadlines.set(now + LOOK, self, QUIET)


class BeatPaths:
    """The paths from one server to the others."""

    def __init__(
        self,
        stack: Stack,
        site: Site,
        node: str,
        random: Random,
        came: Callable[[bytes, Flow, float], None],
        now: float,
    ) -> None:
        """``came`` is called with each message at our address for heartbeats, and with responses on our streams."""
        self.stack = stack
        self.random = random
        self._came = came
        self.locals: set[str] = set()
        """The ``Flow.local`` names of flows for heartbeats."""
        own = site.servers[node].beat
        self.local = f"{bracketed(own.host)}:{own.port}" if own is not None else ""
        """Our address for heartbeats, ``host:port``."""
        self._node = node
        self._opened = 0
        self._datagrams: dict[str, Flow] = {}
        self._streams: dict[str, BeatStream] = {}
        self._ours: dict[Flow, BeatStream] = {}
        self._open: set[Flow] = set()
        if own is None:
            return
        if own.transport == "udp":
            self.locals.add(self.local)
        for name, server in site.servers.items():
            reach = server.beat_reach
            if name == node or reach is None:
                continue
            if own.transport == "udp":
                self._datagrams[name] = Flow("udp", self.local, reach.address)
            else:
                stream = self._streams[name] = BeatStream(self, name, reach, site.identity.authority)
                stack.deadlines.set(now, stream, TRY)
        self._bound = own.host

    def flow_to(self, server: str) -> Flow | None:
        """The flow for requests to another server; None: there is none at present."""
        stream = self._streams.get(server)
        if stream is None:
            return self._datagrams.get(server)
        if stream.flow is None or stream.flow not in self._open:
            return None
        stream.asks()
        return stream.flow

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Process data on a flow of heartbeats."""
        if flow.transport == "udp":
            self._came(data, flow, now)
            return
        stream = self._ours.get(flow)
        framer, messages = self.stack.receiver.streams.feed(data, flow, now)
        for message in messages:
            if stream is not None:
                stream.heard()
            if message is not PING:
                self._came(message, flow, now)
        if framer.fault is not None:
            self.stack.close(flow)

    def flow_changed(self, flow: Flow, state: str, now: float) -> bool:
        """A flow has changed; returns whether it is a path of heartbeats. ICMP errors of datagrams are ignored: the
        other server may be started later."""
        stream = self._ours.get(flow)
        if stream is None and (not self.local or flow.local.partition("#")[0] != self.local):
            return False
        if flow.transport == "udp":
            return True
        if state == "open":
            self._open.add(flow)
            self.locals.add(flow.local)
            if stream is not None:
                stream.opened(now)
            return True
        self._forget(flow)
        if stream is not None:
            stream.lost(now)
        return True

    def open(self, stream: BeatStream, authority: str) -> Flow:
        """Open a stream from our address for heartbeats."""
        self._opened += 1
        reach = stream.reach
        flow = Flow(reach.transport, f"{self._node}>>{stream.name}#{self._opened}@{self._bound}", reach.address)
        self._ours[flow] = stream
        tls = reach.transport == "tls"
        self.stack.do(Open(flow, (reach.host, stream.name), "", authority) if tls else Open(flow))
        return flow

    def give_up(self, stream: BeatStream, now: float) -> None:
        """Replace a stream that could not be opened, or has no responses."""
        if stream.flow is not None:
            self.stack.do(Close(stream.flow))
            self._forget(stream.flow)
        stream.lost(now)

    def _forget(self, flow: Flow) -> None:
        self.stack.flow_lost(flow)
        self._ours.pop(flow, None)
        self._open.discard(flow)
        self.locals.discard(flow.local)
