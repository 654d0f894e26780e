"""The devices' side of an agent: whose request it is, by its source and its digest, and the flows to devices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from hashlib import blake2s
from typing import TYPE_CHECKING

from gateway_agent import numbers
from gateway_agent.call import Call
from gateway_agent.incoming import Incoming
from gateway_agent.line import Busy, Line
from gateway_agent.lines.phone import Phone
from heartbeat.site.devices import policy_of, shown_to_devices, site_addresses
from heartbeat.site.lines import DIGESTS
from heartbeat.site.lines import Line as Settings
from heartbeat.site.sources import SourceTable
from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.names import NameLookups
from sip.device.policy import LinePolicy
from sip.device.reach import PhoneReach
from sip.device.session_timer import LEAST, asks_too_little
from sip.device.trunk import TrunkDevice
from sip.header_policy import refused_outside_dialogs
from sip.invite import InviteUsage
from sip.layer import InDialog
from sip.next_hop import Reach, named_hosts
from sip.requests import ResponseSpec
from sip.transaction import ServerTransaction
from sip.wire.errors import SipError
from sip.wire.headers import NameAddr, bracketed
from sip.wire.message import Request
from sip.wire.uri import Uri

if TYPE_CHECKING:
    from gateway_agent.core import Core

logger = logging.getLogger(__name__)


class Devices:
    """Finds lines for requests and flows for lines."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._sources = SourceTable(())
        self._users: dict[str, Phone] = {}
        self._orders: list[tuple[str, ...]] = []
        agent = core.agent
        self.flows = DeviceFlows(
            core.stack, agent.name, map(str, agent.sip), agent.advertise, site_addresses(core.site)
        )
        self.names = NameLookups(core.stack)

    def reload(self) -> None:
        """The lines changed."""
        lines = self.core.lines.values()
        self._sources = SourceTable(line.settings for line in lines if line.kind == "trunk")
        self._users = {line.settings.aor_user: line for line in lines if isinstance(line, Phone)}
        self._orders = [phone.settings.digest for phone in self._users.values()]
        self.core.digest.hosts = self._hosts()

    # -- flows ----------------------------------------------------------------------------------------------------

    def flow_changed(self, flow: Flow, state: str, now: float) -> None:
        if state == "open":
            self.flows.opened(flow)
            return
        if state == "lost":
            self.core.stack.flow_lost(flow)
            self.flows.lost(flow)
            for name in list(self.core.phones.get(flow, ())):
                self.core.lines[name].flow_lost(flow, now)
        self.core.stack.transport_failed(flow, now)

    def policy_of(self, settings: Settings) -> LinePolicy:
        """How a line meets its devices."""
        return policy_of(settings, self.address_towards(settings))

    def trunk_of(self, settings: Settings, changed: Callable[[str, float], None]) -> TrunkDevice:
        """The far side of a trunk."""
        core = self.core
        return TrunkDevice(core.stack, self.flows, self.names, self.policy_of(settings), core.random, changed)

    def phone_reach(self, settings: Settings) -> PhoneReach:
        """How requests in the dialogs of a phone find it, and who may take them along to another flow."""
        return PhoneReach(self.flows, partial(self._proves, settings.aor_user))

    def _proves(self, user: str, transaction: ServerTransaction, request: Request, now: float) -> bool:
        """Whether a request in a phone's dialog that came from another flow has that phone's password; else it is
        answered.
        """
        core, source = self.core, transaction.flow
        wrong = core.digest.guesses.wrong
        verdict = core.digest.check(request, now, proxy=True, flow=source)
        if verdict.accepted and verdict.username == user:
            core.stack.echoes.know(source.remote[0], now)
            return True
        if verdict.accepted:
            core.stack.respond_stateless(transaction, 403)
        else:
            self.respond_stateless(transaction, core.digest.refusal(verdict, source, user, now, proxy=True))
        self._note(wrong, source, now)
        return False

    def move(self, reach: Reach, old: Flow, new: Flow) -> None:
        """A device registered anew from another flow: its dialogs go there (RFC 5626 section 5.3)."""
        for leg in self.core.stack.legs.values():
            if isinstance(leg, InviteUsage) and leg.path.reach is reach and leg.path.flow == old:
                leg.path.move(new)

    def advertise(self, line: Line, flow: Flow) -> None:
        """A line with an address of its own to be shown: see to it on this flow."""
        if line.settings.advertise and line.kind == "trunk":
            self.flows.advertise(flow, self.address_towards(line.settings))

    def address_towards(self, settings: Settings) -> str:
        """``host:port`` to be written into messages to the devices of a line."""
        agent = self.core.agent
        return shown_to_devices(settings, agent.advertise, agent.sip)

    def _hosts(self) -> frozenset[str]:
        """All that a device may write where it means this agent: the realm, and our addresses as they are shown."""
        agent = self.core.agent
        shown = [one.advertise for one in self.core.site.lines_of(agent.name)]
        places = [self.core.site.realm, agent.advertise, *(one.host for one in agent.sip), *shown]
        return frozenset(_host(place).lower() for place in places if place)

    def host_towards(self, settings: Settings, flow: Flow) -> str:
        """Our host as the other side of ``flow`` is to see it, without brackets."""
        return _host(settings.advertise or self.core.stack.address(flow))

    # -- whose it is ----------------------------------------------------------------------------------------------

    def requested(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """A request of a device, or of a stranger."""
        core, stack, method = self.core, self.core.stack, request.method
        if method == "INVITE" and not request.to_tag:
            self._invited(transaction, request, source, now)
        elif method == "REGISTER":
            self._register(transaction, request, source, now)
        elif method == "OPTIONS":
            core.answer_options(transaction, now)
        elif request.to_tag:
            stack.respond_stateless(transaction, 481)
        else:
            stack.respond_stateless(transaction, *refused_outside_dialogs(method, "REGISTER"))

    def owner(self, host: str) -> str:
        """Who has a host's address, for the shares of ``sip.overload.admission``: the trunk, or the host itself."""
        line = self._sources.line(host, 0, stream=True)
        return line.name if line is not None else host

    def expected(self, leg: InDialog, flow: Flow, method: str) -> bool:
        """Whether a request in a dialog may come from another host than where ours go: a server as the fence has it,
        a trunk from an address of its line, or one that it named itself, a phone from wherever it proves itself."""
        core = self.core
        if flow in core.stack.kept:
            return True
        if not isinstance(leg, InviteUsage) or leg.flow in core.stack.kept or not isinstance(leg.owner, Call):
            return False
        line = leg.owner.line
        if leg is leg.owner.server:
            return False
        if line is self._trunk_of(flow) or line.name in core.phones.get(flow, ()):
            return True
        return flow.remote[0] in named_hosts(leg.dialog) if line.kind == "trunk" else method != "ACK"

    def _register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        core, digest = self.core, self.core.digest
        wrong = digest.guesses.wrong
        try:
            user = Uri.parse(NameAddr.parse(request.get("to") or "").uri).dialled
        except SipError:
            user = ""
        phone = self._users.get(user)
        if phone is not None:
            phone.register(transaction, request, source, now)
        else:
            # Nobody is told who exists: a stranger is challenged like everybody, and never gets through.
            core.counters["strangers"] += 1
            verdict = digest.check(request, now, flow=source)
            if verdict.accepted:
                core.stack.respond_stateless(transaction, 403)
            else:
                self.respond_stateless(transaction, digest.refusal(verdict, source, user, now))
        self._note(wrong, source, now)

    def respond_stateless(self, transaction: ServerTransaction, reply: ResponseSpec | None) -> None:
        """Answer without keeping anything, or do not answer at all."""
        if reply is not None:
            self.core.stack.respond_stateless(transaction, reply.status, reply.lines)
            return
        transaction.generation += 1
        self.core.stack.forget(transaction)

    def _note(self, wrong: int, source: Flow, now: float) -> None:
        """Log a wrong password, when there was one."""
        guesses = self.core.digest.guesses
        if guesses.wrong != wrong:
            user = next(reversed(guesses.by_user))
            self.core.seldom.warning(logger, now, "a wrong password for %r from %s", user, source.remote[0])

    def algorithms_of(self, user: str) -> tuple[str, ...]:
        """What a phone's digest may be made with. A user that is nobody is treated like one of the phones, always
        the same one, so that no order of algorithms tells who exists."""
        phone = self._users.get(user)
        if phone is None and self._orders:
            mark = blake2s(user.encode("utf-8", "replace"), key=self.core.secret[:32], digest_size=8).digest()
            return self._orders[int.from_bytes(mark, "big") % len(self._orders)]
        return phone.settings.digest if phone is not None else DIGESTS

    def _invited(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        core, stack = self.core, self.core.stack
        line = self._line_of(transaction, request, source, now)
        if line is None:
            return
        timer = line.settings.session_timer
        if lines := asks_too_little(request, timer.min_se if timer is not None else LEAST):
            stack.respond_stateless(transaction, 422, lines)
            return
        if core.draining or not core.environment.may_hold():
            stack.respond_stateless(transaction, 503, ("Retry-After: 60",))
            return
        try:
            told = numbers.from_device(line.settings, request, core.site.realm)
        except SipError as error:
            stack.respond_stateless(transaction, 484 if line.kind == "phone" else 404)
            core.seldom.info(logger, now, "a call of %s is refused: %s", line.name, error)
            return
        channel = line.take(now)
        if isinstance(channel, Busy):
            core.counters["no channel"] += 1
            status = 503 if channel.status == 480 else channel.status
            if line.remembers(channel, now):
                self._refuse(transaction, status, now)
            else:  # whoever forges the address of a trunk fills no table, and has nothing sent again to it
                stack.respond_stateless(transaction, status, ("Retry-After: 5",))
            return
        setup = Incoming()
        call = Call(core.environment, setup, core.next_id(), line, channel, told.called, now)
        if fault := call.description.anchor.reserve():
            self.core.seldom.warning(logger, now, "a call of %s is refused: %s", line.name, fault)
            line.give(channel, now)
            self._refuse(transaction, 503, now)
            return
        self.advertise(line, transaction.flow)
        setup.begin(call, transaction, request, told, now)
        core.enter(call)
        stack.counters["calls"] += 1

    def _line_of(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> Line | None:
        """The line that a call from there is on; ``None`` when it was refused."""
        core = self.core
        trunk = self._trunk_of(source)
        if trunk is not None:
            return trunk
        names = core.phones.get(source) or core.phones.get(transaction.flow) or ()
        if not self._users:
            core.counters["strangers"] += 1
            core.seldom.info(logger, now, "a call from %s:%s is refused: nobody's address", *source.remote)
            core.stack.respond_stateless(transaction, 403)
            return None
        # Also from a flow that nobody registered by: a phone may call before it registers anew, from behind a NAT
        # that has mapped it anew, by another socket. A 403 would be final for it; a challenge tells nobody anything.
        wrong = core.digest.guesses.wrong
        verdict = core.digest.check(request, now, proxy=True, flow=source)
        phone = self._users.get(verdict.username) if verdict.accepted else None
        if phone is None:
            if not names:
                core.counters["strangers"] += 1
            user = self._caller(request, names)
            self.respond_stateless(transaction, core.digest.refusal(verdict, source, user, now, proxy=True))
            self._note(wrong, source, now)
            return None
        core.stack.echoes.know(source.remote[0], now)
        return phone

    def _caller(self, request: Request, names: Collection[str]) -> str:
        """Who has to prove his password: who From says, or any of the phones that registered by the flow."""
        try:
            user = Uri.parse(NameAddr.parse(request.get("from") or "").uri).dialled
        except SipError:
            user = ""
        phone = self._users.get(user)
        if names and (phone is None or phone.name not in names):
            phone = next((one for one in self._users.values() if one.name in names), None)
        return phone.settings.aor_user if phone is not None else user

    def _trunk_of(self, source: Flow) -> Line | None:
        """The trunk whose addresses a request came from."""
        known = self._sources.line(*source.remote, source.transport != "udp")
        return self.core.lines.get(known.name) if known is not None else None

    def _refuse(self, transaction: ServerTransaction, status: int, now: float) -> None:
        """Refuse for now; a repeat is refused too, though a channel may be free by then."""
        stack = self.core.stack
        stack.reply(transaction, status, now, lines=("Retry-After: 5",), tag=stack.token())


def _host(place: str) -> str:
    """The host of ``host``, ``host:port`` or ``[host]:port``, without brackets."""
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] if place.count(":") == 1 else place


def _place(host: str, port: int) -> str:
    return f"{bracketed(host.strip('[]'))}:{port}"
