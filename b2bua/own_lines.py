"""The servers' own lines, without an agent: trunks (the patent's built-in gateway) and telephones that register with
the servers (its figure 9). Built on ``sip.device``.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from b2bua.caller_identity import CallerIdentity
from b2bua.destination import Destination
from b2bua.device_leg import DeviceLeg
from b2bua.direct_phone import DirectPhone, DirectPhones
from b2bua.former_legs import FormerLegs
from b2bua.lines import Lines
from b2bua.senders import Senders
from heartbeat.site.devices import policy_of, shown_to_devices, site_addresses
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.b2b.bridge import Bridge
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.policy import LinePolicy
from sip.device.trunk import TrunkDevice
from sip.dialog import DialogState
from sip.layer import Stack
from sip.location import Place
from sip.packages.line_dialog import BUSIED_BY
from sip.wire.headers import bracketed


class OwnLines:
    """All own lines at this server, with the device of each: a trunk, or a telephone."""

    def __init__(
        self,
        stack: Stack,
        site: Site,
        node: str,
        random: Random,
        secret: bytes,
        loads: Lines,
        agent_of: Callable[[Flow], str],
        decided: Callable[[str, str, float], None],
        now: float,
    ) -> None:
        """``loads`` learns which lines are in service. ``agent_of`` names the agent at the other end of a flow, or
        ``""``. ``decided`` is called with code and sentence when a line goes in or out of service.
        """
        self._stack = stack
        self._node = node
        self._random = random
        self._loads = loads
        self._decided = decided
        self._leading = False
        server = site.servers[node]
        self.flows = DeviceFlows(
            stack, node, map(str, server.sip), server.advertise, site_addresses(site), server.advertise_by
        )
        self.names = NameLookups(stack)
        self.caller_identity = CallerIdentity(stack)
        self.lines: dict[str, LineSettings] = {}
        self.realm = site.realm
        self._busied_out: dict[str, str] = {}
        """Lines that an operator has busied out, with the reason."""
        self._devices: dict[str, TrunkDevice | DirectPhone] = {}
        self.former = FormerLegs(stack, random, node, self._devices)
        self.phones = DirectPhones(stack, self.flows, random, secret, site.realm, self.former.moved)
        self.senders = Senders(stack, server, self.phones, agent_of)
        self.load(site, now)

    def load(self, site: Site, now: float) -> None:
        """Read the lines of the site file, at start and at a reload; unchanged devices go on."""
        server = site.servers[self._node]
        self.lines = {line.name: line for line in site.lines.values() if line.at_servers}
        self.realm = site.realm
        self.caller_identity.load(self.lines, site.realm)
        self._busied_out = {name: why for name, why in self._busied_out.items() if name in self.lines}
        self.senders.load(self.lines.values())
        self.former.cold = frozenset(name for name, line in self.lines.items() if line.recovery == "cold")
        policies = {name: policy_of(line, shown_to_devices(line, server)) for name, line in self.lines.items()}
        for name, device in list(self._devices.items()):
            policy = policies.get(name)
            if policy is not None and isinstance(device, DirectPhone) and policy.phone:
                device.reload(self.lines[name], policy, now)
            elif policy != device.policy:
                self._devices.pop(name).stop(now)
        for name, policy in policies.items():
            if name not in self._devices:

                def changed(because: str, now: float, name: str = name) -> None:
                    self._changed(name, because, now)

                self._devices[name] = made = self._made(self.lines[name], policy, changed)
                made.start(now, self._leading)
                self._loads.load_of(name).in_service = not self.why(name)
        self.phones.reload((one for one in self._devices.values() if isinstance(one, DirectPhone)), server, site)

    def _made(
        self, line: LineSettings, policy: LinePolicy, changed: Callable[[str, float], None]
    ) -> TrunkDevice | DirectPhone:
        if line.is_phone:
            return self.phones.make(line, policy, changed)
        return TrunkDevice(self._stack, self.flows, self.names, policy, self._random, changed)

    def why(self, line: str) -> str:
        """Why a line is out of service; ``""`` if it is in service."""
        device = self._devices.get(line)
        return self._busied_out.get(line, "") or (device.why if device is not None else "")

    def is_busied_out(self, line: str) -> bool:
        """Whether an operator has busied out a line: no new calls in either direction."""
        return line in self._busied_out

    def busy_out(self, line: str, out: bool, now: float) -> None:
        """Busy a line out until the end of this process, or end that; present calls go on."""
        if out is (line in self._busied_out):
            return
        if out:
            self._busied_out[line] = f"{BUSIED_BY}{self._node}"
        else:
            del self._busied_out[line]
        self._changed(line, "by an operator's order", now)

    def registered(self, line: str) -> bool | None:
        """Whether a trunk is registered with its carrier (None: it does not register), or a telephone with this
        server."""
        device = self._devices.get(line)
        return device.registered if device is not None else None

    def contacts(self, line: str, now: float) -> list[str]:
        """The URIs by which the devices of a telephone are registered here."""
        device = self._devices.get(line)
        return device.contacts(now) if isinstance(device, DirectPhone) else []

    def lead(self, leading: bool, now: float) -> None:
        """This server begins or ceases to lead. Only the leader registers the site's trunks with their carriers."""
        for name, device in self._devices.items():
            if leading != self._leading and isinstance(device, TrunkDevice):
                device.register(leading, now)
            self._loads.load_of(name).in_service = not self.why(name)  # a new leader begins with no loads
        self._leading = leading

    def stop(self, now: float) -> None:
        """The process ends: unregister trunks from their carriers."""
        for device in self._devices.values():
            if isinstance(device, TrunkDevice):
                device.stop(now)

    def leg(self, line: str, bridge: Bridge, flow: Flow, state: DialogState, established: bool = False) -> DeviceLeg:
        """Make a leg with a line; ``established`` as in `InviteUsage`."""
        identity, settings = self.caller_identity.policies[line], self.lines[line]
        return DeviceLeg(
            self._stack,
            self._random,
            bridge,
            self._devices[line],
            identity,
            settings.session_timer,
            settings.reliable,
            settings.transfer,
            settings.session_id,
            flow,
            state,
            established,
        )

    def resolved(self, uri: str, result: list[Place] | str, now: float) -> None:
        """Take the result of a DNS lookup: places, or a sentence that says why it failed."""
        self.names.resolved(uri, result, now)

    def ready(self, line: str, then: Callable[[float], None]) -> bool:
        """Whether the destinations of a line are known. False: ``then`` is called when they are, after a DNS lookup
        or a registration."""
        device = self._devices.get(line)
        if device is None or device.ready:
            return True
        device.wait(then)
        return False

    def destinations(self, line: str, now: float) -> list[Destination]:
        """The destinations of calls to a line, in the order to try; none if it is out of service."""
        return [] if self.why(line) else self.reachable(line, now)

    def reachable(self, line: str, now: float) -> list[Destination]:
        """The destinations of a line, even if it is out of service."""
        device = self._devices.get(line)
        if device is None:
            return []
        if isinstance(device, DirectPhone):
            return device.destinations(now)
        domain = device.policy.domain and f"sip:{bracketed(device.policy.domain)}"
        return [Destination(domain or one.peer, device=device, place=one.place) for one in device.places(now)]

    def device(self, line: str) -> TrunkDevice | DirectPhone | None:
        """The trunk or telephone of a line."""
        return self._devices.get(line)

    def _changed(self, name: str, because: str, now: float) -> None:
        if name not in self.lines:  # a reload took it away
            return
        load = self._loads.load_of(name)
        load.in_service = not self.why(name)
        state = "in" if load.in_service else "out of"
        self._decided("line" if self.lines[name].is_phone else "trunk", f"{name} is {state} service: {because}", now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream was opened or lost, or a UDP peer is unreachable."""
        if state == "open":
            self.flows.opened(flow, now)
            return
        if state == "lost":
            self.flows.lost(flow, now)
            self.phones.flow_lost(flow, now)
        self._stack.transactions.transport_failed(flow, now)
