"""The trunk lines that servers own, with no agent between (the patent's built-in gateway): ``sip.device`` here."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from b2bua.destination import Destination
from b2bua.lines import Lines
from b2bua.target_refresh import TargetRefresh
from b2bua.trunk_callers import TrunkCallers
from b2bua.trunk_leg import TrunkLeg
from b2bua.trunk_state import TrunkState
from heartbeat.site.devices import policy_of, shown_to_devices, site_addresses
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Site
from heartbeat.site.sources import SourceTable
from sip.actions import Flow
from sip.b2b.bridge import Bridge
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.trunk import TrunkDevice
from sip.dialog import DialogState
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.location import Place
from sip.next_hop import named_hosts
from sip.packages.line_dialog import BUSIED_BY
from sip.receiver import InDialog
from sip.wire.headers import bracketed


class Trunks:
    """All trunks of this server."""

    def __init__(
        self,
        stack: Stack,
        site: Site,
        node: str,
        random: Random,
        loads: Lines,
        agent_of: Callable[[Flow], str],
        decided: Callable[[str, str, float], None],
        now: float,
    ) -> None:
        """``loads`` learns which trunks are in service; ``agent_of`` names the agent at the other end of a flow,
        ``""`` where there is none; ``decided`` is told, by code and sentence, of what went in or out of service.
        """
        self._stack = stack
        self._node = node
        self._random = random
        self._loads = loads
        self._agent_of = agent_of
        self._decided = decided
        self._leading = False
        server = site.servers[node]
        self.flows = DeviceFlows(
            stack, node, map(str, server.sip), server.advertise, site_addresses(site), server.advertise_by
        )
        self.names = NameLookups(stack)
        self.callers = TrunkCallers(stack)
        self.lines: dict[str, LineSettings] = {}
        self._busied_out: dict[str, str] = {}
        """Trunks that take no new calls, by an operator's order, and by whose."""
        self._devices: dict[str, TrunkDevice] = {}
        self.load(site, now)

    def load(self, site: Site, now: float) -> None:
        """Read the lines of the site file, at start and at a reload; what has not changed goes on."""
        server = site.servers[self._node]
        self.lines = {line.name: line for line in site.lines.values() if line.at_servers}
        self.callers.load(self.lines, site.realm)
        self._busied_out = {name: why for name, why in self._busied_out.items() if name in self.lines}
        self._sources = SourceTable(self.lines.values())
        policies = {name: policy_of(line, shown_to_devices(line, server)) for name, line in self.lines.items()}
        for name in [name for name, device in self._devices.items() if policies.get(name) != device.policy]:
            self._devices.pop(name).stop(now)
        for name, policy in policies.items():
            if name not in self._devices:

                def changed(because: str, now: float, name: str = name) -> None:
                    self._changed(name, because, now)

                device = TrunkDevice(self._stack, self.flows, self.names, policy, self._random, changed)
                self._devices[name] = device
                device.start(now, self._leading)
                self._loads.load_of(name).in_service = not self.why(name)

    def why(self, line: str) -> str:
        """Why a trunk is out of service; empty in service."""
        device = self._devices.get(line)
        return self._busied_out.get(line, "") or (device.why if device is not None else "")

    def is_busied_out(self, line: str) -> bool:
        """Whether an operator wants no new calls on a trunk, in neither direction."""
        return line in self._busied_out

    def busy_out(self, line: str, out: bool, now: float) -> None:
        """Take no new calls on a trunk until the end of this process, or take them again; its calls stay."""
        if out is (line in self._busied_out):
            return
        if out:
            self._busied_out[line] = f"{BUSIED_BY}{self._node}"
        else:
            del self._busied_out[line]
        self._changed(line, "by an operator's order", now)

    def registered(self, line: str) -> bool | None:
        """Whether a trunk is registered with its carrier; None where it is to be nowhere."""
        device = self._devices.get(line)
        return device.registered if device is not None else None

    def lead(self, leading: bool, now: float) -> None:
        """Calls are taken here, or not any more: only where they are is the site registered with its carriers."""
        for name, device in self._devices.items():
            if leading != self._leading:
                device.register(leading, now)
            self._loads.load_of(name).in_service = not self.why(name)  # a new leader begins with no loads
        self._leading = leading

    def stop(self, now: float) -> None:
        """The process ends: registrations are taken back."""
        for device in self._devices.values():
            device.stop(now)

    def leg(self, line: str, bridge: Bridge, flow: Flow, state: DialogState, established: bool = False) -> TrunkLeg:
        """A leg of a call with that trunk; ``established`` as of `InviteUsage`."""
        identity, settings = self.callers.identities[line], self.lines[line]
        return TrunkLeg(
            self._stack,
            self._random,
            bridge,
            self._devices[line],
            identity,
            settings.session_timer,
            settings.reliable,
            settings.transfer,
            flow,
            state,
            established,
        )

    def way_back(self, line: str, state: TrunkState, now: float) -> Flow | str:
        """By which flow a leg of a former server is reached from here; or a sentence, why it is not."""
        device = self._devices.get(line)
        if device is None:
            return f"{line} is no trunk of the servers any more"
        if self.lines[line].recovery == "cold":
            return f"{line} is cold: its calls are dropped"
        transport, host, port = state.transport, state.host, state.port
        known = next((each.place for each in device.places(now) if each.place[:3] == (transport, host, port)), None)
        if known is None and transport == "udp":
            known = Place("udp", host, port)
        flow = device.flow_to(known) if known is not None else None
        if device.policy.nat and (flow is None or self._stack.address(flow) != state.shown):
            return f"the peer of {line} is behind NAT, which lets nothing through from here"
        if flow is None and transport == "udp":
            return f"no listener of {self._node} leads to the peer of {line}"
        # a stream that it had opened to the former server: the next request opens one to its Contact
        return flow or Flow(transport, "", (host, port))

    def refresh(self, trunk: TrunkLeg, shown: str, now: float) -> None:
        """Have the peer of a leg that came from a former server find us, unless it does by what that one has
        ``shown``; a session timer of ours goes on by the same request."""
        leg, session = trunk.leg, trunk.session
        ours = session.timer is not None and session.timer.ours
        if ours or leg.path.flow.transport != "udp" or self._stack.address(leg.path.flow) != shown:
            TargetRefresh(self._stack.deadlines, self._random, leg, session, trunk.takes_update, trunk.hang_up, now)

    def resolved(self, uri: str, result: list[Place] | str, now: float) -> None:
        """A name was looked up, or could not be."""
        self.names.resolved(uri, result, now)

    def ready(self, line: str, then: Callable[[float], None]) -> bool:
        """Whether a trunk can say where its calls go; False: ``then`` is called when it can, as its names are looked
        up or its registrar is asked."""
        device = self._devices.get(line)
        if device is None or device.ready:
            return True
        device.wait(then)
        return False

    def destinations(self, line: str, now: float) -> list[Destination]:
        """Where a call to a trunk goes, in the order to try."""
        return [] if self.why(line) else self.reachable(line, now)

    def reachable(self, line: str, now: float) -> list[Destination]:
        """The same, be it in service or not."""
        device = self._devices.get(line)
        if device is None:
            return []
        domain = device.policy.domain and f"sip:{bracketed(device.policy.domain)}"
        return [Destination(domain or one.peer, trunk=device, place=one.place) for one in device.places(now)]

    def device(self, line: str) -> TrunkDevice | None:
        """The far side of a trunk."""
        return self._devices.get(line)

    def _changed(self, name: str, because: str, now: float) -> None:
        load = self._loads.load_of(name)
        load.in_service = not self.why(name)
        state = "in" if load.in_service else "out of"
        self._decided("trunk", f"{name} is {state} service: {because}", now)

    def line_of(self, flow: Flow) -> str:
        """The trunk that a request comes from, by its source address, and its certificate where the line names one;
        ``""`` for a stranger."""
        line = self._sources.line(*flow.remote, flow.transport != "udp")
        if line is None and flow in self._stack.certified:
            line = self._sources.certified(self._stack.certified[flow])
        if line is None or (line.certificate and not self._stack.speaks_for(flow, line.certificate)):
            return ""
        return line.name

    def owner(self, host: str) -> str:
        """Who has a host's address, for the shares of ``sip.overload.admission``: the trunk, or the host itself."""
        line = self._sources.line(host, 0, stream=True)
        return line.name if line is not None else host

    def is_peer(self, host: str) -> bool:
        """Whether a host is a trunk's."""
        return self.owner(host) != host

    def expected(self, leg: InDialog, flow: Flow, method: str) -> bool:
        """Whether a request in a dialog may come from another host than where ours go: from one that its peer named,
        another peer of the same trunk, or the agent itself on another connection."""
        if not isinstance(leg, InviteUsage):
            return False
        site_flows = self._stack.site_flows
        if leg.flow in site_flows or flow in site_flows:
            return self._agent_of(leg.flow) == self._agent_of(flow) != ""
        line = self.line_of(flow)
        return (line != "" and line == self.line_of(leg.flow)) or flow.remote[0] in named_hosts(leg.dialog)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream is open or lost; a UDP peer is unreachable."""
        if state == "open":
            self.flows.opened(flow, now)
            return
        if state == "lost":
            self.flows.lost(flow, now)
        self._stack.transactions.transport_failed(flow, now)
