"""The devices of one phone: their registrations (RFC 3261 section 10.3), the flows by which they are reached (RFC
5626), and their dialogs, which follow a device to a new flow.

Agents have one for each phone or browser, servers one for each direct telephone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from sip.actions import Flow
from sip.device.flows import DeviceFlows
from sip.device.keep_alive import KeepAlive
from sip.device.phone_authentication import PhoneAuthentication
from sip.device.phone_dialogs import PhoneDialogs
from sip.layer import Stack
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
from sip.wire.message import Request
from sip.wire.uri import Uri

MIN_EXPIRES: Final = 30
MOST_LOST: Final = 32
"""Broken connections of a phone that are remembered until their devices register again."""


class PhonePolicy(NamedTuple):
    """The settings of a phone's line. Times in seconds."""

    name: str
    """Name of the line."""
    user: str
    """User part of its address of record, and digest user name."""
    contacts: int
    """Most devices registered at a time."""
    expires: int
    """Longest registration granted."""
    keep_alive: float
    """Most time between two OPTIONS to a device that registered over UDP; 0: none are sent."""


class PhoneServices(NamedTuple):
    """What the phones of a program share."""

    stack: Stack
    random: Random
    flows: DeviceFlows
    dialogs: PhoneDialogs
    authentication: PhoneAuthentication
    registered: dict[Flow, set[str]]
    """Names of the phones registered by each flow."""


class PhoneDevice:
    """One phone, a user of the site's realm, with all its devices."""

    def __init__(
        self,
        services: PhoneServices,
        policy: PhonePolicy,
        meets: Callable[[Flow], bool],
        changed: Callable[[Sequence[BindingChange], float], None],
    ) -> None:
        """``meets``: whether its devices may use a flow; ``changed`` is called with bindings that were added,
        refreshed or removed."""
        self.policy = policy
        self.meets = meets
        self._services = services
        self._tell = changed
        self.reach: Reach = services.dialogs.reach(self._proves)
        """How requests in its dialogs are routed."""
        self._lost: deque[Binding] = deque(maxlen=MOST_LOST)
        """Bindings whose connection broke, until their devices register again."""
        digest = services.authentication.digest
        self._registrar = Registrar(self._is_mine, digest, _limits(policy), self._may)
        self._keep_alive = KeepAlive(services.stack, services.random, policy.keep_alive, self._kept_alive)
        self.generation = 0
        self._due_at = 0.0

    def bindings(self, now: float) -> list[Binding]:
        """The registered devices, by falling q value, then the latest first."""
        return self._registrar.bindings(self.policy.name, now)

    @property
    def known(self) -> bool:
        """Whether there is any binding, perhaps one that has just expired."""
        return bool(self._registrar.names())

    def _is_mine(self, uri: Uri) -> str | None:
        return self.policy.name if uri.dialled == self.policy.user else None

    def _may(self, username: str, name: str) -> bool:
        return username == self.policy.user

    def _proves(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self._services.authentication.proves(self.policy.user, self.meets, transaction, request, now)

    def _kept_alive(self, now: float) -> list[tuple[str, Flow]]:
        """The contacts to be kept alive; those behind a proxy are left to it (RFC 5626 section 5)."""
        return [(one.contact.uri, one.flow) for one in self.bindings(now) if not one.path]

    def register(self, transaction: ServerTransaction, request: Request, source: Flow, now: float) -> None:
        """Answer a REGISTER for this phone that came from ``source``."""
        outcome = self._registrar.register(request, transaction.flow, now, source)
        authentication = self._services.authentication
        if outcome.refused is not None:
            authentication.refused(self.policy.user, outcome.refused, request, source, now)
        else:
            authentication.unanswered.came_back(self.policy.user)
        if not outcome.changes or outcome.reply is None:
            authentication.answer(transaction, outcome.reply)
            return
        reply, stack = outcome.reply, self._services.stack
        stack.know(source.remote[0], now)
        self._changed(outcome.changes, now)
        stack.reply(transaction, reply.status, now, lines=reply.lines, tag=stack.token())

    def way_to(self, binding: Binding) -> Flow:
        """The flow of a registration; if its connection broke and the device listens, a stream that is opened now."""
        flows, place = self._services.flows, listens_at(binding)
        if place is None or flows.is_open(binding.flow) or flows.is_site(*place):
            return binding.flow
        return flows.flow_to(Place("tcp", *place)) or binding.flow

    def is_by(self, flow: Flow) -> bool:
        """Whether one of its devices is registered by that flow."""
        return self.policy.name in self._services.registered.get(flow, ())

    def expect(self, lost: Binding) -> None:
        """A device with dialogs taken over from another process may register here: they are moved to its flow
        then."""
        if lost not in self._lost:
            self._lost.append(lost)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A stream to a device broke."""
        changes = tuple(self._registrar.flow_lost(flow))
        self._lost.extend(change.binding for change in changes)
        self._changed(changes, now)

    def resume(self, found: Sequence[Binding], now: float) -> None:
        """Restore bindings of a process before this one. Its streams are closed: a device that does not listen has to
        register again, and its dialogs are moved then."""
        changes: list[BindingChange] = []
        for binding in found:
            if binding.flow.transport == "udp" or listens_at(binding) is not None:
                changes += self._registrar.resume(binding, now)
            else:
                self._lost.append(binding)
        self._changed(tuple(changes), now)

    def stop(self, now: float) -> None:
        """The line was removed by a reload."""
        self._changed(tuple(self._registrar.remove(self.policy.name, "the line is no more")), now)

    def reload(self, policy: PhonePolicy, now: float) -> None:
        """Apply new settings; registrations stay."""
        self.policy = policy
        self._registrar.limits = _limits(policy)
        self._keep_alive.interval = policy.keep_alive
        self._keep_alive.changed(now)

    def due(self, cause: str, now: float) -> None:
        self._changed(tuple(self._registrar.handle_timer(now)), now)

    def _follow(self, change: BindingChange, now: float) -> None:
        """Move the dialogs of a device to the flow by which it has registered."""
        binding, former, dialogs = change.binding, change.former, self._services.dialogs
        if former is not None and former.flow != binding.flow and same_device(former, binding):
            dialogs.move(self.reach, former.flow, binding.flow, now)
        for lost in [one for one in self._lost if same_device(one, binding) or connected_anew(one, binding)]:
            dialogs.move(self.reach, lost.flow, binding.flow, now)
            self._lost.remove(lost)

    def _changed(self, changes: tuple[BindingChange, ...], now: float) -> None:
        name, registered = self.policy.name, self._services.registered
        for change in changes:
            flow = change.binding.flow
            if change.kind in (ADDED, REFRESHED):
                registered.setdefault(flow, set()).add(name)
                self._follow(change, now)
            left = flow if change.former is None else change.former.flow
            if left in registered and name not in self._registrar.users(left):
                registered[left].discard(name)
                if not registered[left]:
                    del registered[left]
        self._keep_alive.changed(now)
        at = self._registrar.get_timer()
        if at is not None and (self._due_at <= now or at < self._due_at):  # a later one is set when this one fires
            self._due_at = at
            self.generation += 1
            self._services.stack.deadlines.set(at, self, "phone")
        if changes:
            self._tell(changes, now)


def _limits(policy: PhonePolicy) -> RegistrarLimits:
    return RegistrarLimits(policy.contacts, MIN_EXPIRES, policy.expires, policy.expires)
