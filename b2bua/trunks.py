"""The trunk lines that servers own, with no agent between (the patent's built-in gateway): ordinary calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from b2bua.routing import Place
from heartbeat.site.devices import policy_of, site_addresses
from heartbeat.site.sources import SourceTable
from sip import location
from sip.actions import Flow, Resolve
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.reach import TrunkReach
from sip.dialog import bare_uri
from sip.invite import InviteUsage
from sip.layer import InDialog
from sip.peers import Probe, ProbePlan
from sip.requests import OutgoingRequest
from sip.transaction import ClientTransaction
from sip.wire.errors import SipError
from sip.wire.message import Response
from sip.wire.uri import as_user, host_port

if TYPE_CHECKING:
    from b2bua.core import Core
    from heartbeat.site.lines import Line

AGAIN: Final = "resolve again"
PROBE: Final = "probe"
REFRESH: Final = 60.0
"""Seconds after which a name is asked for again; the resolver's cache keeps its own times."""


class Trunks:
    """All trunks of this server."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.generation = 0
        self._targets: dict[str, list[location.Place]] = {}
        self._probes: dict[str, Probe] = {}
        server = core.server
        self.flows = DeviceFlows(
            core.stack, core.node, map(str, server.sip), server.advertise, site_addresses(core.site)
        )
        self.names = NameLookups(core.stack)
        self._reach: dict[str, TrunkReach] = {}
        self.load(0.0)

    def load(self, now: float) -> None:
        """Read the lines of the site file, at start and at a reload."""
        core = self.core
        self.lines = {line.name: line for line in core.site.lines.values() if line.at_servers}
        self._sources = SourceTable(self.lines.values())
        self._reach = {
            name: TrunkReach(policy_of(line, line.advertise), self.flows, self.names)
            for name, line in self.lines.items()
        }
        wanted = {peer.uri for line in self.lines.values() for peer in line.peer}
        self._targets = {uri: targets for uri, targets in self._targets.items() if uri in wanted}
        for uri in wanted:
            core.stack.do(Resolve(uri))
        self.generation += 1
        if wanted:
            core.stack.deadlines.set(now + REFRESH, self, AGAIN)
        self._start_probes(now)

    def due(self, cause: str, now: float) -> None:
        if cause is AGAIN:
            for uri in self._targets:
                self.core.stack.do(Resolve(uri))
            self.core.stack.deadlines.set(now + REFRESH, self, AGAIN)
        else:
            for name, probe in self._probes.items():
                probe.handle_timer(now)
                self._probe_on(name, probe, now)
            self._probe_wake(now)

    def reach_of(self, line: str) -> TrunkReach | None:
        """How requests in the dialogs of a trunk find their way; None for a line that is none of the servers'."""
        return self._reach.get(line)

    def resolved(self, uri: str, targets: list[location.Place] | str, now: float) -> None:
        """Names answered. An empty answer leaves the old targets."""
        self.names.resolved(uri, targets, now)
        if targets and not isinstance(targets, str):
            self._targets[uri] = targets
            for target in targets:
                if target.transport == "tcp":
                    self.flows.flow_to(target)

    def line_of(self, flow: Flow) -> str:
        """The trunk that a request comes from, by its source address; ``""`` for a stranger."""
        line = self._sources.line(*flow.remote)
        return line.name if line is not None else ""

    def owner(self, host: str) -> str:
        """Who has a host's address, for the shares of ``sip.overload.admission``: the trunk, or the host itself."""
        line = self._sources.line(host, 0)
        return line.name if line is not None else host

    def expected(self, leg: InDialog, flow: Flow) -> bool:
        """Whether a request in a dialog may come from another host than where ours go: from one that its peer named,
        another peer of the same trunk, or the agent itself on another connection."""
        if not isinstance(leg, InviteUsage):
            return False
        agents = self.core.agents
        if leg.flow in self.core.stack.kept or flow in self.core.stack.kept:
            return agents.agent_of(leg.flow) == agents.agent_of(flow) != ""
        line = self.line_of(flow)
        return (line != "" and line == self.line_of(leg.flow)) or flow.remote[0] in named_by(leg)

    def place(self, line: Line, number: str, tried: int = 0) -> Place | None:
        """Where a call to that trunk goes when so many addresses were tried; None when there is no further one."""
        for peer in line.peer:
            for target in self._targets.get(peer.uri, ()):
                flow = self.flows.flow_to(target)
                if flow is None:
                    continue
                if not tried:
                    return Place("", flow, f"sip:{as_user(number)}@{peer.uri[4:]}")
                tried -= 1
        return None

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream is open or lost; a UDP peer is unreachable."""
        if state == "open":
            self.flows.opened(flow)
            return
        if state == "lost":
            self.flows.lost(flow)
        self.core.stack.transport_failed(flow, now)

    # -- OPTIONS to peers ---------------------------------------------------------------------------------------

    def _start_probes(self, now: float) -> None:
        stack = self.core.stack
        self._probes = {}
        for line in self.lines.values():
            if line.options is not None and line.peer:
                plan = ProbePlan(interval=line.options.interval, misses=line.options.misses)
                local = f"sip:{self.core.node}@{stack.default_sent_by}"
                self._probes[line.name] = Probe(line.peer[0].uri, local, stack.token(), stack.token(), plan)
        for name, probe in self._probes.items():
            probe.start(now)
            self._probe_on(name, probe, now)
        self._probe_wake(now)

    def _probe_wake(self, now: float) -> None:
        times = [at for probe in self._probes.values() if (at := probe.get_timer()) is not None]
        if times:
            self.core.stack.deadlines.set(max(min(times), now + 0.05), self, PROBE)

    def _probe_on(self, name: str, probe: Probe, now: float) -> None:
        for ask in probe.to_do():
            self._send(name, ask, now)
        while (changed := probe.next_event()) is not None:
            self.core.lines.load_of(name).in_service = changed.in_service
            self.core.decided(
                "trunk", f"{name} is {'in' if changed.in_service else 'out of'} service: {changed.because}", now
            )

    def _send(self, name: str, ask: OutgoingRequest, now: float) -> None:
        stack = self.core.stack
        targets = self._targets.get(self.lines[name].peer[0].uri, [])
        flow = self.flows.flow_to(targets[0]) if targets else None
        if flow is None:
            return
        branch = stack.branch()
        head = [f"{ask.method} {ask.uri} SIP/2.0", stack.via(flow, branch), "Max-Forwards: 70", stack.contact(flow)]
        text = "\r\n".join([*head, *ask.lines, f"Content-Length: {len(ask.body)}", "", ""])
        stack.request(ask.method, text.encode("latin-1") + ask.body, branch, flow, self, now, name)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        probe = self._probes.get(transaction.context)
        if probe is not None and response.status >= 200:
            probe.answered(response, now)
            self._probe_on(transaction.context, probe, now)
            self._probe_wake(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        probe = self._probes.get(transaction.context)
        if probe is not None:
            probe.failed("no answer", now)
            self._probe_on(transaction.context, probe, now)
            self._probe_wake(now)


def named_by(leg: InviteUsage) -> list[str]:
    """The hosts from which the peer of a dialog said that its requests would come: its Contact, the next route."""
    hosts = []
    for value in (leg.dialog.target, *leg.dialog.route_set[:1]):
        try:
            hosts.append(host_port(bare_uri(value))[0])
        except SipError:
            continue
    return hosts
