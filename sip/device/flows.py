"""The flows to devices: by which listener or stream a place is reached, and which streams are there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

from sip.actions import Address, Close, Flow, Open
from sip.endpoint import ListenerAddress, is_numeric
from sip.layer import Stack
from sip.location import Place
from sip.wire.errors import Malformed
from sip.wire.headers import Via, bracketed

MOST_STREAMS: Final = 1000
"""Connections that a program opens to devices."""
CONNECT_WITHIN: Final = 1.0
"""Seconds that a request which is too large for UDP waits for a stream."""
STREAMLESS: Final = 3600.0
"""Seconds for which it is remembered that a place takes no streams."""
MOST_FLOWS: Final = 10_000
"""UDP places whose flow is remembered."""


class Connecting:
    """A stream that has a time limit."""

    __slots__ = ("_flow", "_flows", "generation")

    def __init__(self, flows: DeviceFlows, flow: Flow) -> None:
        self._flows = flows
        self._flow = flow
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        self._flows.give_up(self._flow, now)


class DeviceFlows:
    """All of one program."""

    def __init__(
        self, stack: Stack, name: str, listeners: Iterable[str], advertise: str, site: Collection[Address]
    ) -> None:
        """``listeners`` are spelled ``udp:host:port``; ``name`` begins the names of our streams; ``advertise`` stands
        for the listeners' hosts in messages; ``site`` are the addresses of the site's own programs, to which no
        device may have us speak.
        """
        self.site = frozenset(site)
        self._stack = stack
        self._name = name
        self._default: dict[tuple[str, bool], str] = {}
        self._known: OrderedDict[tuple[str, Address, str], Flow] = OrderedDict()
        self._streams: dict[Flow, bool] = {}
        """Whether it is open already; those that are about to be stand here as well."""
        self._streamless: dict[Address, float] = {}
        self._opened = 0
        self._ours = 0
        for endpoint in map(ListenerAddress.parse, listeners):
            local = endpoint.local
            stack.sent_by[local] = f"{bracketed((advertise or endpoint.host).strip('[]'))}:{endpoint.port}"
            six = ":" in endpoint.host
            self._default.setdefault((endpoint.transport, six), local)
            self._default.setdefault(("", six), local)
        stack.responder.reconnect = self.reconnect

    def flow_to(self, place: Place) -> Flow | None:
        """A way to a place: one that is there, or a stream that is opened now; None: none of ours leads there."""
        transport, host, port = place.transport, place.host, place.port
        key = (transport, (host, port), place.listener)
        flow = self._known.get(key)
        if flow is not None:
            return flow
        six = ":" in host
        local = self._default.get((transport, six))
        if transport == "tcp" and local is None:
            local = self._default.get(("", six))
        if local is None or not is_numeric(host) or transport not in ("udp", "tcp"):
            return None
        if transport == "udp":
            flow = Flow("udp", place.listener or local, (host, port))
            if len(self._known) - self._ours >= MOST_FLOWS:
                self._forget_datagrams()
        else:
            if self._ours >= MOST_STREAMS:
                return None
            self._opened += 1
            self._ours += 1
            flow = Flow("tcp", f"{self._name}-d{self._opened}@{local.rpartition(':')[0].strip('[]')}", (host, port))
            self._stack.sent_by[flow.local] = self._stack.sent_by[local]
            self._streams[flow] = False
            self._stack.do(Open(flow))
        self._known[key] = flow
        return flow

    def stream_instead(self, flow: Flow, now: float) -> Flow | None:
        """A stream to the place of a UDP flow, within a second; None where there was none within the last hour."""
        if self._streamless.get(flow.remote, 0.0) > now:
            return None
        stream = self.flow_to(Place("tcp", *flow.remote))
        if stream is not None and not self._streams.get(stream, True):
            self._stack.deadlines.set(now + CONNECT_WITHIN, Connecting(self, stream), "connect")
        return stream

    def streamless(self, flow: Flow, now: float) -> None:
        """No stream came about to the place of a UDP flow: it is not tried again for an hour."""
        if len(self._streamless) >= MOST_STREAMS:
            self._streamless.clear()
        self._streamless[flow.remote] = now + STREAMLESS

    def give_up(self, flow: Flow, now: float) -> None:
        """A stream that is still not open is not waited for any more."""
        if not self._streams.get(flow, True):
            self._stack.do(Close(flow))
            self.lost(flow)
            self._stack.transactions.transport_failed(flow, now)

    def is_open(self, flow: Flow) -> bool:
        """Whether something can be sent: always by UDP, on a stream that is there or about to be."""
        return flow.transport == "udp" or flow in self._streams

    def reconnect(self, flow: Flow, via: str) -> Flow:
        """See :attr:`sip.responder.Responder.reconnect`: to the host that the request came from and to no other."""
        if self.is_open(flow):
            return flow
        try:
            port = Via.parse(via).port or 5060
        except Malformed:
            return flow
        host = flow.remote[0]
        return flow if self.is_site(host, port) else self.flow_to(Place(flow.transport, host, port)) or flow

    def is_site(self, host: str, port: int) -> bool:
        """Whether a program of the site listens there for its own."""
        return (host, port) in self.site

    def advertise(self, flow: Flow, place: str) -> None:
        """Write ``place`` (``host:port``) into messages on a flow, in place of our listener's."""
        advertised = self._stack.advertised
        if len(advertised) > MOST_FLOWS:
            advertised.clear()
        advertised[flow] = place

    def opened(self, flow: Flow) -> None:
        """A stream is open."""
        self._streams[flow] = True
        sent_by = self._stack.sent_by
        local = flow.local.partition("#")[0]
        if local in sent_by:
            sent_by[flow.local] = sent_by[local]

    def lost(self, flow: Flow) -> None:
        """A stream broke, or could not be opened. Its requests are told of by ``Stack.transport_failed``."""
        self._streams.pop(flow, None)
        self._stack.advertised.pop(flow, None)
        if "#" in flow.local or "@" in flow.local:
            self._stack.sent_by.pop(flow.local, None)
        key = (flow.transport, flow.remote, "")
        if self._known.get(key) == flow:
            del self._known[key]
            self._ours -= 1

    def _forget_datagrams(self) -> None:
        self._known = OrderedDict((key, flow) for key, flow in self._known.items() if flow.transport == "tcp")
