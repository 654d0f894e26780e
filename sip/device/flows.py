"""The flows to devices: by which listener or stream a place is reached, and which streams are there.

Streams are reused both ways: those that we opened for all that goes to the same place, those of others by their own
dialogs and registrations, or, where TLS has proved who they are and they say so, for new calls too (RFC 5923).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from sip.actions import Address, Close, Flow, Open
from sip.certificate_names import speaks_for
from sip.device.keep_alive import StreamKeepAlive
from sip.device.policy import LinePolicy
from sip.endpoint import DEFAULT_PORT, SECURE, ListenerAddress, is_numeric, plain_host
from sip.layer import Stack
from sip.location import Place
from sip.wire.errors import Malformed
from sip.wire.headers import Via, bracketed
from sip.wire.message import Response

MOST_STREAMS: Final = 1000
"""Connections that a program opens to devices."""
CONNECT_WITHIN: Final = 1.0
"""Seconds for which a request that is too large for UDP waits for a stream to open."""
STREAMLESS: Final = 3600.0
"""Seconds for which it is remembered that no stream can be opened to an address."""
MOST_FLOWS: Final = 10_000
"""Addresses whose UDP flow is remembered."""


Key = tuple[str, Address, str] | tuple[str, Address, str, tuple[str, ...], str, str]
"""Transport, address, listener; for TLS also the names expected, the certificate shown, and the trusted
authorities."""


_KEEP: Final = re.compile(r"^[^,]*;\s*keep\s*=\s*([0-9]{1,5})\b", re.IGNORECASE)


class Connecting:
    """The deadline of a stream that is being opened."""

    __slots__ = ("_flow", "_flows", "generation")

    def __init__(self, flows: DeviceFlows, flow: Flow) -> None:
        self._flows = flows
        self._flow = flow
        self.generation = 0

    def due(self, cause: str, now: float) -> None:
        self._flows.give_up(self._flow, now)


class DeviceFlows:
    """The flows of one program to devices."""

    def __init__(
        self,
        stack: Stack,
        name: str,
        listeners: Iterable[str],
        advertise: str,
        site: Collection[Address],
        advertise_by: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``listeners`` are spelled ``udp:host:port``; ``name`` begins the names of our streams; ``advertise`` stands
        for the listeners' hosts in messages, ``advertise_by`` for those of single transports, perhaps with a port;
        ``site`` are the addresses of the site's own programs, to which no device may have us speak.
        """
        self.site = frozenset(site)
        self._stack = stack
        self._name = name
        self._default: dict[tuple[str, bool], str] = {}
        self._at: dict[tuple[str, str], str] = {}
        """Listeners by transport and host, and by host alone under ``""``."""
        self._known: OrderedDict[Key, Flow] = OrderedDict()
        self._keys: dict[Flow, Key] = {}
        """Of our streams."""
        self._kept: dict[Flow, StreamKeepAlive] = {}
        """Streams of ours that are open."""
        self._aliases: dict[Address, Flow] = {}
        """Streams of others that may be used towards these places."""
        self._streams: dict[Flow, bool] = {}
        """Whether it is open already; those that are about to be stand here as well."""
        self._told: dict[Flow, dict[object, Callable[[float], None]]] = {}
        """The functions to call when a stream breaks."""
        self._streamless: dict[Address, float] = {}
        self._opened = 0
        self._ours = 0
        for endpoint in map(ListenerAddress.parse, listeners):
            local = endpoint.local
            shown = advertise_by.get(endpoint.transport) or advertise or endpoint.host
            stack.sent_by[local] = shown_address(shown, endpoint.port)
            six = ":" in endpoint.host
            self._at.setdefault((endpoint.transport, endpoint.host), local)
            self._at.setdefault(("", endpoint.host), local)
            self._default.setdefault((endpoint.transport, six), local)
            if endpoint.transport not in ("ws", "wss"):  # no streams are opened from a WebSocket listener
                self._default.setdefault(("", six), local)
        self.has_tls = any(transport == "tls" for transport, _ in self._default)
        """Whether there is a listener for TLS, which peers by TLS are to find in our Contact."""
        stack.responder.reconnect = self.reconnect
        stack.receiver.aliased = self.aliased

    def flow_to(self, place: Place, policy: LinePolicy | None = None) -> Flow | None:
        """A way to a place: one that is there, or a stream that is opened now; None: none of ours leads there.
        ``policy`` says whom TLS has to find there.
        """
        transport, host, port = place.transport, place.host, place.port
        key: Key = (transport, (host, port), place.listener)
        wanted: tuple[tuple[str, ...], str, str] | None = None
        if transport == "tls":
            wanted = _wanted(place, policy)
            key = (*key, *wanted)
            alias = self._aliases.get((host, port))
            if alias is not None and speaks_for(self._stack.certified.get(alias, ()), wanted[0]):
                return alias
        flow = self._known.get(key)
        if flow is not None:
            return flow
        six = ":" in host
        local = self._default.get((transport, six))
        if transport == "tcp" and local is None:
            local = self._default.get(("", six))
        if local is None or not is_numeric(host) or transport not in ("udp", "tcp", "tls"):
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
            leaves = place.listener or local
            own = f"{self._name}-d{self._opened}@{leaves.rpartition(':')[0].strip('[]')}"
            flow = Flow(transport, own, (host, port))
            self._stack.sent_by[flow.local] = self._stack.sent_by[leaves]
            self._streams[flow] = False
            self._keys[flow] = key
            self._stack.do(Open(flow) if wanted is None else Open(flow, *wanted))
        self._known[key] = flow
        return flow

    def listener_at(self, transport: str, host: str) -> str:
        """Our listener of that transport at ``host``, otherwise any listener there; ``""`` where there is none."""
        return self._at.get((transport, host)) or self._at.get(("", host), "")

    def says_sips(self, flow: Flow) -> None:
        """The peer is called by a ``sips`` URI, so our Contact must be one too (RFC 3261 section 8.1.1.8)."""
        if flow.transport in SECURE:
            self._stack.sips_flows.add(flow)

    def stream_instead(self, flow: Flow, now: float) -> Flow | None:
        """Open a stream to the address of a UDP flow; None where that has failed lately (see `streamless`)."""
        if self._streamless.get(flow.remote, 0.0) > now:
            return None
        stream = self.flow_to(Place("tcp", *flow.remote))
        if stream is not None and not self._streams.get(stream, True):
            self._stack.deadlines.set(now + CONNECT_WITHIN, Connecting(self, stream), "connect")
        return stream

    def streamless(self, flow: Flow, now: float) -> None:
        """No stream could be opened to the address of a UDP flow: do not try again for a while."""
        if len(self._streamless) >= MOST_STREAMS:
            self._streamless.clear()
        self._streamless[flow.remote] = now + STREAMLESS

    def give_up(self, flow: Flow, now: float) -> None:
        """Give up a stream that is still not open."""
        if not self._streams.get(flow, True):
            self._stack.do(Close(flow))
            self.lost(flow, now)
            self._stack.transactions.transport_failed(flow, now)

    def is_open(self, flow: Flow) -> bool:
        """Whether messages can be sent on a flow: always by UDP; on a stream that is open or being opened."""
        return flow.transport == "udp" or flow in self._streams

    def reconnect(self, flow: Flow, via: str) -> Flow:
        """See :attr:`sip.responder.Responder.reconnect`: to the host that the request came from and to no other."""
        if self.is_open(flow):
            return flow
        if flow.transport not in ("tcp", "tls"):
            return flow  # nobody can connect to a browser (RFC 7118 section 5)
        try:
            sender = Via.parse(via)
        except Malformed:
            return flow
        host, port = flow.remote[0], sender.port or DEFAULT_PORT[flow.transport]
        name = sender.host if flow.transport == "tls" else ""
        return flow if self.is_site(host, port) else self.flow_to(Place(flow.transport, host, port, name)) or flow

    def aliased(self, flow: Flow, via: str) -> None:
        """A peer offers by ``alias`` to receive requests for its sent-by on its own stream. Accepted from a peer with
        a verified certificate, for the address that it comes from (RFC 5923 sections 5 and 8)."""
        if flow.transport != "tls" or flow not in self._stack.certified or flow not in self._streams:
            return
        try:
            sender = Via.parse(via.partition(":")[2])
        except Malformed:
            return
        if sender.get("alias") is not None and flow not in self._keys:
            if len(self._aliases) >= MOST_STREAMS:
                self._aliases.clear()
            self._aliases[flow.remote[0], sender.port or DEFAULT_PORT["tls"]] = flow

    def is_site(self, host: str, port: int) -> bool:
        """Whether a program of the site listens at that address for other programs of the site."""
        return (host, port) in self.site

    def advertise(self, flow: Flow, place: str) -> None:
        """Write ``place`` (``host:port``) into messages on a flow, in place of our listener's."""
        advertised = self._stack.advertised
        if len(advertised) > MOST_FLOWS:
            advertised.clear()
        advertised[flow] = place

    def keep(self, flow: Flow, response: Response, now: float) -> None:
        """Take from a response how long a stream of ours may be idle (RFC 6223, RFC 5626 section 4.4)."""
        kept = self._kept.get(flow)
        if kept is None:
            return
        found = _KEEP.search(response.get("via") or "")
        seconds = found[1] if found is not None else (response.get("flow-timer") or "").strip()
        if seconds.isascii() and seconds.isdigit() and len(seconds) < 6:
            kept.keep(float(seconds), now)

    def opened(self, flow: Flow, now: float) -> None:
        """A stream is open."""
        self._streams[flow] = True
        if flow in self._keys:
            self._kept[flow] = StreamKeepAlive(self._stack, flow, self._silent, now)
        sent_by = self._stack.sent_by
        local = flow.local.partition("#")[0]
        if local in sent_by:
            sent_by[flow.local] = sent_by[local]

    def when_lost(self, flow: Flow, who: object, then: Callable[[float], None] | None) -> None:
        """Call ``then`` once when that stream breaks, on behalf of ``who``; None: cancel that."""
        if then is not None:
            self._told.setdefault(flow, {})[who] = then
        elif flow in self._told:
            self._told[flow].pop(who, None)

    def lost(self, flow: Flow, now: float) -> None:
        """A stream broke, or could not be opened. Its requests are failed by
        ``TransactionTable.transport_failed``."""
        self._streams.pop(flow, None)
        if (kept := self._kept.pop(flow, None)) is not None:
            kept.stop()
        self._stack.advertised.pop(flow, None)
        if "#" in flow.local or "@" in flow.local:
            self._stack.sent_by.pop(flow.local, None)
        key = self._keys.pop(flow, None)
        if key is not None:
            self._known.pop(key, None)
            self._ours -= 1
        for place in [place for place, alias in self._aliases.items() if alias == flow]:
            del self._aliases[place]
        for then in self._told.pop(flow, {}).values():
            then(now)

    def _silent(self, flow: Flow) -> None:
        self._stack.do(Close(flow, True))

    def _forget_datagrams(self) -> None:
        self._known = OrderedDict((key, flow) for key, flow in self._known.items() if flow.transport != "udp")


class LineFlows:
    """The same as one trunk uses them: TLS that proves its peer, never to programs of the site, and our address as it
    is to be shown there."""

    __slots__ = ("_flows", "_policy", "_secure")

    def __init__(self, flows: DeviceFlows, policy: LinePolicy) -> None:
        self._flows = flows
        self._policy = policy
        self._secure = any(peer.startswith("sips:") for peer in policy.peers)

    def flow_to(self, place: Place) -> Flow | None:
        """See :meth:`DeviceFlows.flow_to`; None also where programs of the site are."""
        if not is_numeric(place.host) or self._flows.is_site(plain_host(place.host), place.port):
            return None
        address = self._policy.address
        if address and (":" in address) == (":" in place.host):
            place = place._replace(listener=self._flows.listener_at(place.transport, address))
        flow = self._flows.flow_to(place, self._policy)
        if flow is not None and self._secure:
            self._flows.says_sips(flow)
        if flow is not None and self._policy.advertise:
            self._flows.advertise(flow, self._policy.advertise)
        return flow

    def keep(self, flow: Flow, response: Response, now: float) -> None:
        """See :meth:`DeviceFlows.keep`."""
        self._flows.keep(flow, response, now)

    def when_lost(self, flow: Flow, who: object, then: Callable[[float], None] | None) -> None:
        """See :meth:`DeviceFlows.when_lost`."""
        self._flows.when_lost(flow, who, then)


def _wanted(place: Place, policy: LinePolicy | None) -> tuple[tuple[str, ...], str, str]:
    """For TLS to an address: the names of which its certificate must have one, our host whose certificate is shown,
    and the file of the trusted authorities. See `Open`."""
    names = (place.tls_name or place.host,)
    if policy is None:
        return names, "", ""
    return policy.certificate or names, policy.local.rpartition(":")[0].strip("[]"), policy.authority


def shown_address(shown: str, port: int) -> str:
    """``host:port`` to be written into messages for ``host``, ``host:port``, ``[host]:port`` or a bare IPv6 address;
    ``port`` where it names none."""
    if shown.startswith("[") and "]:" in shown:
        return shown
    if shown.count(":") == 1:
        return shown
    return f"{bracketed(shown.strip('[]'))}:{port}"
