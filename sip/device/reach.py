"""How a request in a dialog reaches its device: the next hop by the policy of the line (RFC 3261, RFC 3263, RFC
5923).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address

from sip.actions import UNREACHABLE, Flow
from sip.device.flows import DeviceFlows, LineFlows
from sip.device.names import NameLookups
from sip.device.policy import LinePolicy
from sip.endpoint import DEFAULT_PORT, SECURE, is_numeric, is_private, plain_host
from sip.location import Place
from sip.next_hop import DialogPath, NextHop
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.headers import same_address
from sip.wire.message import Request
from sip.wire.uri import Uri


class TrunkReach:
    """Reaches a peer at known addresses: resolves the next hop by RFC 3263, wherever the dialog came from."""

    __slots__ = ("_flows", "_line_flows", "_names", "contact_user", "policy")

    def __init__(self, policy: LinePolicy, flows: DeviceFlows, names: NameLookups) -> None:
        self.policy = policy
        self._flows = flows
        self._line_flows = LineFlows(flows, policy)
        self._names = names
        self.contact_user = policy.account.user if policy.account is not None else policy.user

    def find(self, path: DialogPath, hop: NextHop, now: float) -> Flow | None:
        """See :class:`~sip.next_hop.Reach`."""
        flow = hop.reuse
        if self.policy.nat:
            return flow if self._flows.is_open(flow) else UNREACHABLE
        try:
            uri = Uri.parse(hop.uri)
        except SipError:
            return flow
        if self._is_plain(uri, flow):
            return flow
        if uri.scheme == "sips" and flow.transport not in SECURE:
            return UNREACHABLE  # never in clear (RFC 3261 section 26.2.2)
        host = (uri.get("maddr") or uri.host).strip("[]")
        if not host:
            return flow
        if is_numeric(host):
            return self._flow_of(uri, plain_host(host), flow)
        self._names.ask(hop.uri, lambda places, because, now: self._found(path, places, flow, now), now)
        return None

    def after(self, path: DialogPath, failed: Flow, now: float) -> Flow | None:
        """The stream by which the dialog came, if ``failed`` was at the same host: some devices give a Contact port
        at which nothing listens."""
        own = path.flow
        if (
            own != failed
            and own.transport != "udp"
            and own.remote[0] == failed.remote[0]
            and self._flows.is_open(own)
        ):
            return own
        return None

    def stream(self, uri: str, flow: Flow, now: float) -> Flow | None:
        """A stream to the address of ``flow``, for a request too large for UDP; None if the line or the URI rules it
        out, or a stream has failed lately."""
        try:
            fixed = self.policy.nat or Uri.parse(uri).transport != ""
        except SipError:
            fixed = True
        return None if fixed else self._flows.stream_instead(flow, now)

    def streamless(self, flow: Flow, now: float) -> None:
        self._flows.streamless(flow, now)

    def is_open(self, flow: Flow) -> bool:
        return self._flows.is_open(flow)

    def admits(self, path: DialogPath, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Always accept: the source was checked already. A new stream of the peer becomes the dialog's."""
        if transaction.flow.transport != "udp":
            path.move(transaction.flow)
        return True

    def _is_plain(self, uri: Uri, own: Flow) -> bool:
        """Whether the target is the address that the dialog came from, as it mostly is: nothing is to be resolved."""
        there = uri.scheme == "sip" and (uri.host, uri.port or 5060) == own.remote
        return there and not uri.params and own.transport == "udp" and own.remote not in self._flows.site

    def _flow_of(self, uri: Uri, host: str, own: Flow) -> Flow:
        """The flow to a target that needs no DNS."""
        transport = "tls" if uri.scheme == "sips" else uri.transport
        there = same_address(host, own.remote[0])
        if there and own.transport != "udp":
            port = uri.port or DEFAULT_PORT.get(transport or own.transport, 5060)
            if self._flows.is_open(own) and (not transport or (transport, port) == (own.transport, own.remote[1])):
                return own  # also where nothing need listen at that port (RFC 5923 section 3)
            transport = transport or own.transport
        transport = transport or "udp"
        port = uri.port or DEFAULT_PORT.get(transport, 5060)
        if not there and is_private(host) and not is_private(own.remote[0]):
            return own if self._flows.is_open(own) else UNREACHABLE
        return self._to(Place(transport, host, port), own)

    def _to(self, place: Place, own: Flow) -> Flow:
        place = place._replace(host=plain_host(place.host))
        if self._flows.is_site(place.host, place.port) or not is_unicast(place.host):
            return UNREACHABLE
        if (place.transport, place.address) == (own.transport, own.remote) and self._flows.is_open(own):
            return own
        if place.transport == "udp" == own.transport and (":" in place.host) == (":" in own.remote[0]):
            place = place._replace(listener=own.local)
        flow = self._line_flows.flow_to(place)
        if flow is None:
            return own if self._flows.is_open(own) else UNREACHABLE
        return flow

    def _found(self, path: DialogPath, places: list[Place], own: Flow, now: float) -> None:
        """The name was resolved. The dialog's own flow is used first if it is one of the places (RFC 3263 section
        4.3), and also if DNS knows none: the name may be one of the peer's network, or of a browser behind it."""
        if not places:
            path.found(own if self._flows.is_open(own) else UNREACHABLE, now)
            return
        flows = [self._to(place, own) for place in places]
        if own in flows:
            flows.remove(own)
            flows.insert(0, own)
        flows = [flow for flow in flows if flow is not UNREACHABLE]
        path.places = flows[1:]
        path.found(flows[0] if flows else UNREACHABLE, now)


class PhoneReach:
    """Reaches a phone that registered here: by the flow of its registration or call only (RFC 5626 section 5.3)."""

    __slots__ = ("_flows", "_moved", "_proves")

    contact_user = ""

    def __init__(
        self,
        flows: DeviceFlows,
        proves: Callable[[ServerTransaction, Request, float], bool],
        moved: Callable[[DialogPath, float], None],
    ) -> None:
        """``proves``: whether a request from a new flow has valid credentials; it is answered if it has not.
        ``moved`` is called for a dialog that was moved to another flow.
        """
        self._flows = flows
        self._proves = proves
        self._moved = moved

    def find(self, path: DialogPath, hop: NextHop, now: float) -> Flow | None:
        """The dialog's flow. A broken stream is opened again to a Contact at the same host; no name is looked up."""
        own = hop.reuse
        if self._flows.is_open(own):
            return own
        try:
            uri = Uri.parse(hop.uri)
        except SipError:
            return UNREACHABLE
        host, port = own.remote[0], uri.port or 5060
        if own.transport != "tcp" or not same_address(uri.host.strip("[]"), host) or self._flows.is_site(host, port):
            return UNREACHABLE  # otherwise a phone could make us connect to any host
        return self._flows.flow_to(Place("tcp", host, port)) or UNREACHABLE

    def after(self, path: DialogPath, failed: Flow, now: float) -> Flow | None:
        return None

    def stream(self, uri: str, flow: Flow, now: float) -> Flow | None:
        """None: the phone's flow is the only way to it."""
        return None

    def streamless(self, flow: Flow, now: float) -> None:
        pass

    def is_open(self, flow: Flow) -> bool:
        return self._flows.is_open(flow)

    def admits(self, path: DialogPath, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Tags may leak, so only a sender with valid credentials may move the dialog to another flow."""
        if not self._proves(transaction, request, now):
            return False
        path.move(transaction.flow)
        self._moved(path, now)
        return True


@lru_cache(maxsize=4096)
def is_unicast(host: str) -> bool:
    """Whether a numeric host is a single host; connecting to 0.0.0.0, for example, would reach this machine."""
    address = ip_address(host)
    return not (address.is_unspecified or address.is_multicast or host == "255.255.255.255")
