"""Telephones without an agent (the patent's figure 9): they register with the servers and are served by the leader.
Each server has its own registrations, so a stand-by at which a telephone also registers can reach it right after a
takeover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from b2bua.destination import Destination
from b2bua.device_leg_state import DeviceLegState
from heartbeat.site.devices import host_of, phone_of
from heartbeat.site.lines import DIGESTS, LineSettings
from heartbeat.site.model import Server, Site
from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.phone import PhoneDevice, PhoneServices
from sip.device.phone_authentication import PhoneAuthentication
from sip.device.phone_dialogs import Leg, PhoneDialogs
from sip.device.phones import DigestOrders, Phones
from sip.device.policy import LinePolicy
from sip.digest import DigestClient, DigestServer
from sip.endpoint import is_numeric, plain_host
from sip.layer import Stack
from sip.location import Place
from sip.next_hop import Reach
from sip.peers import network_of
from sip.registrar import ADDED, REFRESHED, Binding, BindingChange
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr, same_address
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

UNREGISTERED: Final = "no device is registered"


class DirectPhone:
    """A telephone that registers with the servers, with all its devices."""

    digest: DigestClient | None = None
    """None: telephones do not challenge us."""
    ready = True
    route: tuple[str, ...] = ()

    def __init__(
        self,
        services: PhoneServices,
        settings: LineSettings,
        policy: LinePolicy,
        changed: Callable[[str, float], None],
        came: Callable[[str, Destination, float], None],
    ) -> None:
        """``changed`` is called with a sentence when a binding is added or removed, ``came`` for each device that
        registers."""
        self.policy = policy
        self.settings = settings
        self._flows = services.flows
        self._tell = changed
        self._came = came
        self._device = PhoneDevice(services, phone_of(settings), self.meets, self._changed)
        self.reach: Reach = self._device.reach

    @property
    def name(self) -> str:
        """Name of the line."""
        return self.settings.name

    @property
    def user(self) -> str:
        """User part of its address of record, and digest user name."""
        return self.settings.aor_user

    @property
    def registered(self) -> bool | None:
        """Whether any device is registered."""
        return self._device.known

    @property
    def why(self) -> str:
        """Why it can take no call; ``""`` if it can."""
        return "" if self._device.known else UNREGISTERED

    def contacts(self, now: float) -> list[str]:
        """The Contact URIs of its registrations."""
        return [one.contact.uri for one in self._device.bindings(now)]

    def meets(self, source: Flow) -> bool:
        """Always: it may register from anywhere."""
        return True

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for it."""
        self._device.register(transaction, request, source, now)

    def destinations(self, now: float) -> list[Destination]:
        """Where a call to it is sent: to the preferred device, to the next one if that does not answer."""
        return [self._destination(one) for one in self._device.bindings(now)]

    def _destination(self, binding: Binding) -> Destination:
        return Destination(binding.contact.uri, "", self._device.way_to(binding), self, None, binding.path)

    def way_back(self, state: DeviceLegState, now: float) -> Flow:
        """The flow for a dialog that is taken over: that of the device's registration here, else its former address.
        If it is not reached there, the dialog is moved when it registers (`PhoneDevice.expect`)."""
        target = _uri_of(state.dialog.target)
        here = _device_of(self._device.bindings(now), target, state, self.settings.contacts == 1)
        if here is not None:
            return self._device.way_to(here)
        transport, host, port = state.transport, state.host, state.port
        flow = self._flows.flow_to(Place("udp", host, port)) if transport == "udp" else None
        flow = flow or Flow(transport, "", (host, port))
        if target is not None:
            contact = NameAddr.parse(f"<{state.dialog.target}>")
            self._device.expect(Binding(self.name, contact, flow, 0.0, "", 0))
        return flow

    def is_reached(self, state: DeviceLegState, flow: Flow) -> bool:
        """Whether a request on that flow probably reaches the device: it has registered by it, or there is no NAT
        between, which would only let the former server's packets pass."""
        if self._device.is_by(flow):
            return True
        target = _uri_of(state.dialog.target)
        return (
            target is not None
            and is_numeric(target.host.strip("[]"))
            and same_address(plain_host(target.host.strip("[]")), state.host)
            and (state.transport == "tcp" or (state.transport == "udp" and flow.local != ""))
        )

    def reload(self, settings: LineSettings, policy: LinePolicy, now: float) -> None:
        """Apply changed settings; registrations stay."""
        self.settings = settings
        self.policy = policy
        self._device.reload(phone_of(settings), now)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream to a device broke."""
        self._device.flow_lost(flow, now)

    def stop(self, now: float) -> None:
        """The line was removed by a reload."""
        self._device.stop(now)

    def start(self, now: float, register: bool = True) -> None:
        """Nothing: it is in service as soon as a device registers."""

    def wait(self, then: Callable[[float], None]) -> None:
        """Nothing: it is always ready, as no name is resolved."""

    def flow_to(self, place: Place) -> Flow | None:
        """None: it is reached by its registrations only."""
        return None

    def failed(self, place: Place, response: Response | None, now: float) -> None:
        """Nothing: a device that does not answer stays registered."""

    def _changed(self, changes: Sequence[BindingChange], now: float) -> None:
        if any(change.kind != REFRESHED for change in changes):
            self._tell(changes[-1].because, now)
        for change in changes:
            if change.kind == ADDED:
                self._came(self.name, self._destination(change.binding), now)


class DirectPhones:
    """All telephones that register with this server."""

    def __init__(
        self,
        stack: Stack,
        flows: DeviceFlows,
        random: Random,
        secret: bytes,
        realm: str,
        moved: Callable[[Leg, float], None],
    ) -> None:
        """``secret``: key for nonces; ``moved`` is called with a leg that was moved to another flow."""
        self._stack = stack
        self.came: Callable[[str, Destination, float], None] = _nobody
        """Called for each device that registers, with its line and destination."""
        self._by_user: dict[str, DirectPhone] = {}
        self._orders = DigestOrders(secret, DIGESTS)
        self._digest = DigestServer(realm, secret, self._password, self._orders.of)
        dialogs = PhoneDialogs(stack, flows)
        dialogs.moved = moved
        authentication = PhoneAuthentication(stack, self._digest)
        self._registered: dict[Flow, set[str]] = {}
        self._services = PhoneServices(stack, random, flows, dialogs, authentication, self._registered)
        self._phones = Phones(stack, authentication, self._by_user, self._registered, self._stranger)

    def make(self, settings: LineSettings, policy: LinePolicy, changed: Callable[[str, float], None]) -> DirectPhone:
        """The telephone of a line."""
        return DirectPhone(self._services, settings, policy, changed, lambda *one: self.came(*one))

    def reload(self, phones: Iterable[DirectPhone], server: Server, site: Site) -> None:
        """Set the telephones, after a reload."""
        self._by_user.clear()
        self._by_user.update((phone.user, phone) for phone in phones)
        self._orders.by_user = {user: phone.settings.digest for user, phone in self._by_user.items()}
        places = [site.realm, server.advertise, *server.advertise_by.values(), *(one.host for one in server.sip)]
        places += [phone.settings.advertise for phone in self._by_user.values()]
        self._digest.hosts = frozenset(host_of(place).lower() for place in places if place)

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def is_at(self, host: str) -> bool:
        """Whether a telephone is registered from the host (IPv6: from its /64 network)."""
        network = network_of(host)
        return any(network_of(flow.remote[0]) == network for flow in self._registered)

    def names(self, flow: Flow) -> set[str]:
        """The lines of the telephones registered by a flow."""
        return self._registered.get(flow, set())

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER."""
        self._phones.register(transaction, request, source, now)

    def sender(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> str | None:
        """The line of the telephone that sent a request outside a dialog; None: it was answered."""
        phone = self._phones.sender(transaction, request, source, now)
        return phone.name if phone is not None else None

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream broke."""
        for phone in [one for one in self._by_user.values() if one.name in self.names(flow)]:
            phone.flow_lost(flow, now)

    def _password(self, user: str) -> str | None:
        phone = self._by_user.get(user)
        secret = phone.settings.password if phone is not None else None
        given = secret.value if secret is not None else None
        return given.decode("utf-8", "replace") if given is not None else None

    def _stranger(self) -> None:
        self._stack.counters["strangers"] += 1


def _nobody(line: str, there: Destination, now: float) -> None:
    pass


def _device_of(found: list[Binding], target: Uri | None, state: DeviceLegState, alone: bool) -> Binding | None:
    """The registered device that has the dialog; None if that is not certain, since the 481 of another device would
    end the call. ``alone``: the line has at most one device."""
    likeness = [_match_score(one, target, state) for one in found]
    most = max(likeness, default=0)
    if not most and not alone:
        return None
    best = [one for one, rank in zip(found, likeness, strict=True) if rank == most]
    return best[0] if len({one.flow for one in best}) == 1 else None


def _match_score(binding: Binding, target: Uri | None, state: DeviceLegState) -> int:
    """How likely a binding is that of the device with the dialog, 0 (no evidence) to 4."""
    flow, contact = binding.flow, _uri_of(binding.contact.uri)
    if (flow.transport, flow.remote) == (state.transport, (state.host, state.port)):
        return 4
    if target is None or contact is None:
        return 0
    same_host = same_address(flow.remote[0], state.host)
    if contact.matches(target):
        return 3 if same_host else 1
    # a device that puts its NAT mapping into Contact has another port at each server
    return 2 if same_host and (contact.user, contact.host) == (target.user, target.host) else 0


def _uri_of(text: str) -> Uri | None:
    try:
        return Uri.parse(text)
    except SipError:
        return None
