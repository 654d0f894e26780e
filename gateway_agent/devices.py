"""The devices' side of an agent: finds the line of a device's request, by its source address and its digest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gateway_agent.absent_browsers import AbsentBrowsers
from gateway_agent.call import Call
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.call_table import CallTable
from gateway_agent.channels import Busy
from gateway_agent.device_access import DeviceAccess
from gateway_agent.incoming import Incoming
from gateway_agent.line import Line
from gateway_agent.messages import DeviceMessages, is_unsolicited
from gateway_agent.phone_directory import PhoneDirectory
from gateway_agent.subscriptions import Subscription, Subscriptions
from heartbeat.site.ban_rules import ban_by
from heartbeat.site.lines import LineSettings
from heartbeat.site.model import Bans
from heartbeat.site.sources import SourceTable
from sip.actions import Flow
from sip.bearer import WEB
from sip.device.identity import Numbers, from_device
from sip.device.phone_authentication import PhoneAuthentication
from sip.device.phone_dialogs import Leg
from sip.device.phones import Phones
from sip.device.reliability import refused
from sip.device.session_timer import LEAST, asks_too_little
from sip.header_policy import refused_outside_dialogs
from sip.invite import InviteUsage
from sip.next_hop import named_hosts
from sip.peers import network_of
from sip.priority import priority_of
from sip.receiver import InDialog
from sip.subscription_usage import SubscriptionUsage
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.message import Request

logger = logging.getLogger(__name__)


class AgentFunctions(NamedTuple):
    """What the handling of devices' requests needs of the agent as a whole."""

    realm: Callable[[], str]
    draining: Callable[[], bool]
    answer_options: Callable[[ServerTransaction, float], None]
    """Answers an OPTIONS with whether a new call would be accepted."""
    urgent: Callable[[LineSettings, str, int], bool]
    """Whether a call from a line to a number, with that priority, goes before others."""


class Devices:
    """Handles requests of devices outside dialogs: finds their lines, and admits calls."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: CallTable,
        lines: Mapping[str, Line],
        registered: Mapping[Flow, set[str]],
        access: DeviceAccess,
        directory: PhoneDirectory,
        authentication: PhoneAuthentication,
        agent: AgentFunctions,
        subscriptions: Subscriptions,
    ) -> None:
        """``registered`` has the names of the phones that are registered on each flow."""
        self._environment = environment
        self._calls = calls
        self._lines = lines
        self._registered = registered
        self._access = access
        self._directory = directory
        self._authentication = authentication
        counters = environment.counters

        def stranger() -> None:
            counters["strangers"] += 1

        self._phones = Phones(environment.stack, authentication, directory.by_user, registered, stranger)
        self.absent = AbsentBrowsers(environment, calls.living)
        self._agent = agent
        self._subscriptions = subscriptions
        self.messages = DeviceMessages(environment, agent.realm)
        self._sources = SourceTable(())
        access.dialogs.moved = self.moved
        environment.stack.receiver.expected = self.expected
        environment.stack.admission.name_of = self.owner

    def reload(self, bans: Bans) -> None:
        """The lines have changed, or the rules for banning sources."""
        lines = self._lines.values()
        self._sources = SourceTable(line.settings for line in lines if line.kind == "trunk")
        self._directory.reload(lines)
        self._authentication.digest.hosts = self._access.own_hosts()
        ban_by(self._environment.stack, bans, self._is_peer)
        self._subscriptions.reload()
        if self._environment.stir is not None:
            self._environment.stir.load([line.settings for line in lines])

    def servers_moved(self, now: float) -> None:
        """A server has adopted this agent: send it the requests that are in no call's record."""
        self.messages.moved(now)
        self._subscriptions.moved(now)

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        """A stream to a device was opened or lost, or an address cannot be reached."""
        stack = self._environment.stack
        if state == "open":
            self._access.flows.opened(flow, now)
            return
        if state == "lost":
            stack.flow_lost(flow)
            self._access.flows.lost(flow, now)
            for name in list(self._registered.get(flow, ())):
                self._lines[name].far_side.flow_lost(flow, now)
            if flow.transport in WEB:
                self.absent.look(now)
        stack.transactions.transport_failed(flow, now)

    def moved(self, leg: Leg, now: float) -> None:
        """A leg of a device has moved to another flow, on which the device authenticated itself."""
        if isinstance(leg, SubscriptionUsage):
            self._subscriptions.tell(now)
            return
        call = leg.owner
        if isinstance(call, Call) and leg is call.device:
            call.description.device_moved(leg.flow.remote[0], now)
            self.absent.came_back(call)

    def requested(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """A request outside dialogs, of a device or a stranger."""
        stack, method = self._environment.stack, request.method
        if method == "INVITE" and not request.to_tag:
            self._invited(transaction, request, source, now)
        elif method == "REGISTER":
            self._phones.register(transaction, request, source, now)
        elif not request.to_tag and (method in ("MESSAGE", "SUBSCRIBE") or is_unsolicited(request)):
            line = self._line_of(transaction, request, source, now)
            if line is not None and method == "SUBSCRIBE":
                self._subscriptions.subscribe(transaction, request, line, now)
            elif line is not None:
                self.messages.send(transaction, request, line, now)
        elif method == "OPTIONS":
            self._agent.answer_options(transaction, now)
        elif request.to_tag:
            stack.respond_stateless(transaction, 481)
        else:
            stack.respond_stateless(transaction, *refused_outside_dialogs(method, "REGISTER"))

    def owner(self, host: str) -> str:
        """The name of the trunk that has this address, else the host: its requests share one limit
        (``sip.overload.admission``)."""
        line = self._sources.line(host, 0, stream=True)
        return line.name if line is not None else host

    def _is_peer(self, host: str) -> bool:
        """Whether a host belongs to a trunk, or to the network of a registered phone."""
        network = network_of(host)
        return self.owner(host) != host or any(network_of(flow.remote[0]) == network for flow in self._registered)

    def expected(self, leg: InDialog, flow: Flow, method: str) -> bool:
        """Whether a request in a dialog may come from another host than the one to which the agent sends. For servers
        the fence decides. A trunk may use the addresses of its line, and hosts that it named in the dialog. A phone
        may use any host on which it authenticates itself."""
        site_flows = self._environment.stack.site_flows
        if flow in site_flows:
            return True
        if not isinstance(leg, (InviteUsage, SubscriptionUsage)) or leg.flow in site_flows:
            return False
        owner = leg.owner
        if not isinstance(owner, (Call, Subscription)) or leg is owner.server:
            return False  # also for a test call of the agent, which is hung up from where it was answered
        line = owner.line
        if line is self._trunk_of(flow) or line.name in self._registered.get(flow, ()):
            return True
        return flow.remote[0] in named_hosts(leg.dialog) if line.kind == "trunk" else method != "ACK"

    def _invited(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        environment, stack = self._environment, self._environment.stack
        line = self._line_of(transaction, request, source, now)
        if line is None:
            return
        timer = line.settings.session_timer
        if lines := asks_too_little(request, timer.min_se if timer is not None else LEAST):
            stack.respond_stateless(transaction, 422, lines)
            return
        wanted = line.settings.reliable
        if wanted != "supported" and (refusal := refused(wanted, request)) is not None:
            stack.respond_stateless(transaction, refusal.status, refusal.lines)
            return
        if self._agent.draining() or not environment.may_hold():
            stack.respond_stateless(transaction, 503, ("Retry-After: 60",))
            return
        try:
            told = from_device(line.identity, request, self._agent.realm())
        except SipError as error:
            stack.respond_stateless(transaction, 484 if line.settings.is_phone else 404)
            environment.log.info(logger, now, "a call of %s is refused: %s", line.name, error)
            return
        if (
            stack.congestion.share_at(now)
            and not self._agent.urgent(line.settings, told.called, priority_of(request))
            and stack.congestion.refuses(now)
        ):
            environment.counters["congested"] += 1
            stack.refuse_for_overload(transaction, 503, (f"Retry-After: {environment.random.randint(2, 10)}",), now)
            return
        if environment.stir is None or line.settings.stir_verify is None:
            self._admit(transaction, line, told, now)
            return

        def verified(told: Numbers, status: int, then: float) -> None:
            if not transaction.open:  # cancelled meanwhile
                return
            if status:
                stack.reply(transaction, status, then, tag=stack.token())
            else:
                self._admit(transaction, line, told, then)

        environment.stir.verify(line.settings, request, told, verified, now)
        if transaction.open and not transaction.last:  # it waits for a certificate
            stack.reply(transaction, 100, now)

    def _admit(self, transaction: ServerTransaction, line: Line, told: Numbers, now: float) -> None:
        """Admit a call of a device: take a channel and ports, and send the INVITE to the servers."""
        environment, stack, request = self._environment, self._environment.stack, transaction.request
        assert request is not None
        channel = line.take(now)
        if isinstance(channel, Busy):
            environment.counters["no channel"] += 1
            status = 503 if channel.status == 480 else channel.status
            if line.channels.remembers(channel, now):
                self._refuse(transaction, status, now)
            else:  # forged source addresses must neither fill the table of transactions nor cause retransmissions
                stack.respond_stateless(transaction, status, ("Retry-After: 5",))
            return
        setup = Incoming()
        call = Call(environment, setup, self._calls.next_id(), line, channel, told.called, now)
        if fault := call.description.anchor.reserve():
            environment.log.warning(logger, now, "a call of %s is refused: %s", line.name, fault)
            line.channels.give(channel)
            self._refuse(transaction, 503, now)
            return
        self._access.advertise(line.settings, transaction.flow)
        setup.begin(call, transaction, request, told, now)
        self._calls.enter(call)
        environment.watched(line, now)
        stack.counters["calls"] += 1

    def _line_of(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> Line | None:
        """The line of a request from that source; ``None`` when the request was refused or challenged."""
        environment = self._environment
        trunk = self._trunk_of(source)
        if trunk is not None:
            return trunk
        if not self._directory.by_user:
            environment.counters["strangers"] += 1
            environment.log.info(logger, now, "a call from %s:%s is refused: nobody's address", *source.remote)
            environment.stack.respond_stateless(transaction, 403)
            return None
        phone = self._phones.sender(transaction, request, source, now)
        return self._lines.get(phone.name) if phone is not None else None

    def _trunk_of(self, source: Flow) -> Line | None:
        """The trunk to which a source belongs, by its address or its certificate; None where the trunk wants a
        certificate and the source has not shown it."""
        known = self._sources.line(*source.remote, source.transport != "udp")
        if known is None and source in self._environment.stack.certified:
            known = self._sources.certified(self._environment.stack.certified[source])
        if known is None:
            return None
        if known.certificate and not self._environment.stack.speaks_for(source, known.certificate):
            return None
        return self._lines.get(known.name)

    def _refuse(self, transaction: ServerTransaction, status: int, now: float) -> None:
        """Refuse an INVITE for now. Its retransmissions are refused too, even if a channel is free by then."""
        stack = self._environment.stack
        stack.reply(transaction, status, now, lines=("Retry-After: 5",), tag=stack.token())
