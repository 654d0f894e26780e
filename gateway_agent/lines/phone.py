"""A phone or a browser: devices that register with the agent; all of them ring at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final

from gateway_agent.channels import Busy
from gateway_agent.far_side import Changed, LineEnvironment, Target
from gateway_agent.registration_state import Registered
from heartbeat.site.devices import host_of
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow, Flush
from sip.bearer import WEB
from sip.device.flows import DeviceFlows
from sip.device.keep_alive import KeepAlive
from sip.digest import DigestClient
from sip.location import Place
from sip.next_hop import Reach
from sip.registrar import (
    ADDED,
    REFRESHED,
    Binding,
    BindingChange,
    Registrar,
    RegistrarLimits,
    connected_anew,
    listens_at,
    same_device,
)
from sip.transaction import ServerTransaction
from sip.wire.message import Request, Response
from sip.wire.uri import Uri

FLUSH: Final = Flush()
MIN_EXPIRES = 30
MOST_LOST = 32
"""Broken connections whose devices may register anew."""


class Phone:
    """One user of the site's realm."""

    full_status = 486
    out_status = 480
    parallel = True

    def __init__(self, environment: LineEnvironment, settings: Settings, changed: Changed) -> None:
        self.settings = settings
        self.environment = environment
        self.name = settings.name
        self._tell = changed
        self.digest: DigestClient | None = None
        self.reach: Reach = environment.access.phone_reach(
            partial(environment.authentication.proves, settings.aor_user, self.meets)
        )
        self._lost: deque[Binding] = deque(maxlen=MOST_LOST)
        """Bindings whose connection broke: their devices may connect and register anew."""
        self._registrar = Registrar(self._is_mine, environment.authentication.digest, _limits(settings), self._may)
        self._keep_alive = KeepAlive(environment.stack, environment.random, settings.keep_alive, self._contacts)
        self.generation = 0
        self._due_at = 0.0
        self._told: dict[str, float] = {}
        """When the bindings end by what servers were told last, by the URIs of their contacts."""

    def _is_mine(self, uri: Uri) -> str | None:
        return self.name if uri.dialled == self.settings.aor_user else None

    def _contacts(self, now: float) -> list[tuple[str, Flow]]:
        """Those behind a proxy are kept reachable by that (RFC 5626 section 5)."""
        return [(one.contact.uri, one.flow) for one in self._registrar.bindings(self.name, now) if not one.path]

    def _may(self, username: str, name: str) -> bool:
        return username == self.settings.aor_user

    @property
    def why(self) -> str:
        return "" if self.contacts else "no device is registered"

    @property
    def contacts(self) -> int:
        return len(self._registrar.bindings(self.name, self.environment.now()))

    @property
    def registered(self) -> bool | None:
        return bool(self.contacts)

    @property
    def address(self) -> str:
        bindings = self._registrar.bindings(self.name, self.environment.now())
        return bindings[0].contact.uri if bindings else ""

    def label(self, channel: int) -> str:
        return self.name

    def meets(self, source: Flow) -> bool:
        """Whether its devices may be there: a station is on this machine, since its password may be made from the
        site key; a browser comes by WebSocket, from a page that ``origins`` names."""
        if self.settings.kind == "web":
            return source.transport in WEB
        host = source.remote[0]
        return self.settings.kind != "station" or ip_address(host).is_loopback or host == host_of(source.local)

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for this phone."""
        before = bool(self.contacts)
        outcome = self._registrar.register(request, transaction.flow, now, source)
        user, authentication = self.settings.aor_user, self.environment.authentication
        if outcome.refused is not None:
            authentication.refused(user, outcome.refused, request, source, now)
        else:
            authentication.unanswered.came_back(user)
        if not outcome.changes or outcome.reply is None:
            authentication.answer(transaction, outcome.reply)
            return
        reply, stack = outcome.reply, self.environment.stack
        stack.know(source.remote[0], now)
        self._changed(outcome.changes, before, now)
        if before != bool(self.contacts):
            stack.do(FLUSH)  # a phone that has its 200 can be called: the servers hear of it first
        stack.reply(transaction, reply.status, now, lines=reply.lines, tag=stack.token())

    def targets(self, now: float) -> list[Target] | Busy:
        bindings = self._registrar.bindings(self.name, now)
        if not bindings:
            return Busy(self.out_status, f"no device is registered as {self.name}")
        realm = self.environment.realm()
        flows = self.environment.access.flows
        return [Target(one.contact.uri, realm, False, _way_to(one, flows), path=one.path) for one in bindings]

    def flow_lost(self, flow: Flow, now: float) -> None:
        before = bool(self.contacts)
        changes = tuple(self._registrar.flow_lost(flow))
        self._lost.extend(change.binding for change in changes)
        self._changed(changes, before, now)

    def ready(self, then: Callable[[float], None], now: float) -> bool:
        return True

    def failed(self, target: Target, response: Response | None, now: float) -> None:
        """A device that does not answer stays registered."""

    def start(self, now: float) -> None:
        """It is in service as soon as a device registers."""

    def stop(self, now: float) -> None:
        self._changed(tuple(self._registrar.remove(self.name, "the line is no more")), False, now)

    def reload(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self._registrar.limits = _limits(settings)
        self._keep_alive.interval = settings.keep_alive
        self._keep_alive.changed(now)

    def due(self, cause: str, now: float) -> None:
        before = self.contacts_before()
        self._changed(tuple(self._registrar.handle_timer(now)), before, now)

    def line_state(self, now: float) -> tuple[Registered, ...]:
        """What servers are to keep of it."""
        found = self._registrar.bindings(self.name, now)
        self._told = {one.contact.uri: one.expires_at for one in found}
        return tuple(Registered.of(one, now) for one in found)

    def resume(self, devices: Sequence[Registered], age: float, now: float) -> None:
        """Devices that were registered, as they were known ``age`` seconds ago. Streams are gone with the process
        that had them: devices that do not listen come again, and their dialogs with them."""
        before = bool(self.contacts)
        changes: list[BindingChange] = []
        for device in devices:
            binding = device.binding(self.name, now - age)
            if binding.flow.transport == "udp" or listens_at(binding) is not None:
                changes += self._registrar.resume(binding, now)
            else:
                self._lost.append(binding)
        self._changed(tuple(changes), before, now)

    def contacts_before(self) -> bool:
        """Whether anybody is noted, even one whose time is just over."""
        return bool(self._registrar.names())

    def _follow(self, change: BindingChange) -> None:
        """The dialogs of a device go along with its registration."""
        binding = change.binding
        former = change.former
        if former is not None and former.flow != binding.flow and same_device(former, binding):
            self.environment.access.move(self.reach, former.flow, binding.flow, self.environment.now())
        for lost in [one for one in self._lost if same_device(one, binding) or connected_anew(one, binding)]:
            self.environment.access.move(self.reach, lost.flow, binding.flow, self.environment.now())
            self._lost.remove(lost)

    def _changed(self, changes: tuple[BindingChange, ...], before: bool, now: float) -> None:
        phones = self.environment.registered
        for change in changes:
            flow = change.binding.flow
            if change.kind in (ADDED, REFRESHED):
                phones.setdefault(flow, set()).add(self.name)
                self._follow(change)
            left = flow if change.former is None else change.former.flow
            if left in phones and self.name not in self._registrar.users(left):
                phones[left].discard(self.name)
                if not phones[left]:
                    del phones[left]
        self._keep_alive.changed(now)
        at = self._registrar.get_timer()
        if at is not None and (self._due_at <= now or at < self._due_at):  # a later one is set when this one fires
            self._due_at = at
            self.generation += 1
            self.environment.stack.deadlines.set(at, self, "phone")
        if changes and any(change.kind != REFRESHED for change in changes):
            self._tell(changes[-1].because, now, True)
        elif any(self._lags(change.binding, now) for change in changes):
            self._tell("", now, True)

    def _lags(self, binding: Binding, now: float) -> bool:
        """Whether what servers know of a binding ends before half of its time is over."""
        told = self._told.get(binding.contact.uri, 0.0)
        return told - now < (binding.expires_at - now) / 2


def _way_to(binding: Binding, flows: DeviceFlows) -> Flow:
    """The flow of a registration; where its connection broke and the device listens, one that is opened now."""
    place = listens_at(binding)
    if place is None or flows.is_open(binding.flow) or flows.is_site(*place):
        return binding.flow
    return flows.flow_to(Place("tcp", *place)) or binding.flow


def _limits(settings: Settings) -> RegistrarLimits:
    return RegistrarLimits(settings.contacts, MIN_EXPIRES, settings.expires, settings.expires)
