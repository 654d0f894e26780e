"""One call of the server: the bridge of its legs (``sip.b2b``) with routing as its policy.

Everything that a server needs to take the call over is in the state token (``b2bua.state_token``) and in the agents'
records. A :class:`Call` is made from a :class:`~b2bua.state_token.CallState`, be it new or taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from b2bua.call_records import CallRecords
from b2bua.call_state import changed, rings
from b2bua.cdr import Cdr
from b2bua.cookies import Cookies
from b2bua.destination import Destination
from b2bua.device_leg import NO_DEVICE_LEGS, DeviceLeg, state_of
from b2bua.directories import AgentDirectory, CallAgent, OwnLineDirectory
from b2bua.lines import Lines, Load
from b2bua.media_seen import NOTHING_SEEN, Seen, refusal_of, seen_of
from b2bua.onward import new_dialog, onward_of
from b2bua.plan import Plan, Refusal, RouteTarget
from b2bua.routing import CallRequest, Router
from b2bua.state_token import MOST_CHARACTERS, CallState, sign
from b2bua.subscription import Subscription
from heartbeat.site.model import Site
from sip.actions import Flow
from sip.b2b.bridge import ROUTING, Bridge
from sip.b2b.discarded import Discarded, drop_leg
from sip.b2b.policy import Party, Passed, Policy
from sip.device.reliability import across
from sip.dialog import DialogState, called_by
from sip.header_policy import SITE_HOP, crossing, max_forwards_left
from sip.invite import InviteUsage
from sip.layer import Stack
from sip.priority import FIELDS, priority_of
from sip.redirection import redirects_of
from sip.transaction import ServerTransaction
from sip.wire.headers import bracketed
from sip.wire.message import Request, Response
from sip.wire.uri import as_user

LAST_PLACE: Final = 999_999
"""Sequence number of a provisional response that the server makes itself: behind all those of the target."""
LONGEST_WAIT: Final = 1.0
"""Seconds for which a new call waits for an agent that has just lost its connection, before the next target."""


class TransferOf(Protocol):
    """A transfer that this server makes (``b2bua.transfer``), as seen by the transferred call and the call to the
    target."""

    @property
    def agent(self) -> str: ...

    @property
    def call(self) -> Call: ...

    def hangs_up(self, leg: InviteUsage, transaction: ServerTransaction, bye: Request, now: float) -> bool:
        """Whether the transfer handles the BYE of a party: it waits for the outcome, or changes nothing any more."""

    def progressed(self, status: int, now: float) -> None:
        """The target sent a provisional response."""

    def answered(self, target: InviteUsage, response: Response, now: float) -> bool:
        """The target answered; False when the transfer has no use for it any more."""

    def failed(self, status: int, now: float) -> None:
        """The call to the target failed, or the target has hung up."""

    def call_ended(self, now: float) -> None:
        """The transferred call has ended."""

    def stop(self) -> None:
        """Another server leads: stop without a message."""


class PickupOf(Protocol):
    """A pickup of the call while it rings elsewhere (``b2bua.pickup``)."""

    @property
    def agent(self) -> str: ...

    @property
    def leg(self) -> InviteUsage: ...

    instead: Callable[[float], None] | None
    """Called when the pickup fails and no target rings."""

    def lost(self, now: float) -> None:
        """Another party answered the call, or it has ended."""

    def stop(self) -> None:
        """Another server leads: stop without a message."""


class TransferDirectory(Protocol):
    """Begins transfers (``b2bua.transfer.Transfers``)."""

    @property
    def ending(self) -> set[str]: ...

    def refer(
        self, call: Call, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> bool: ...

    def left(self, call: Call, leg: InviteUsage, agent: str, former: CallState | None, now: float) -> None: ...


class CallServices:
    """What all calls of a server share. A server has one instance; a reload of the site file assigns new values."""

    __slots__ = (
        "agents",
        "calls",
        "chance",
        "cookies",
        "discarded",
        "former_tokens",
        "key",
        "lines",
        "node",
        "own_lines",
        "progressed",
        "records",
        "router",
        "site",
        "site_headers",
        "stack",
        "started_at",
        "transfers",
    )

    transfers: TransferDirectory
    """Assigned after construction, as it needs these services itself."""
    cookies: Cookies
    """Likewise."""

    def __init__(
        self,
        stack: Stack,
        discarded: Discarded,
        lines: Lines,
        records: CallRecords,
        agents: AgentDirectory,
        own_lines: OwnLineDirectory,
        site: Site,
        router: Router,
        key: bytes,
        chance: Random,
        started_at: float,
    ) -> None:
        self.stack = stack
        self.discarded = discarded
        self.lines = lines
        self.records = records
        self.agents = agents
        self.own_lines = own_lines
        self.site = site
        self.router = router
        self.key = key
        """Signs tokens."""
        self.chance = chance
        self.former_tokens: dict[str, set[str]] = {}
        """By call id, the Call-IDs of its dialogs whose agents still have a token signed with the previous key, which
        must be accepted as long as there are any."""
        self.started_at = started_at
        self.calls: dict[str, Call] = {}
        """All calls by their id."""
        self.progressed: Callable[[float], None] | None = None
        """Called when a call's set-up went on; set while, after a takeover, requests wait for an early dialog."""
        self.site_headers: tuple[str, ...] = ()
        """Header lines that name this server and its epoch to agents."""

    @property
    def load(self) -> Load:
        return Load(len(self.calls), self.lines.loads)

    def sign_with(self, key: bytes) -> None:
        """Sign tokens with another key from now on. Agents get a new token with the next message on each leg."""
        if key == self.key:
            return
        self.key = key
        for call in self.calls.values():
            call.signed = None
            state = call.state
            sides = ((state.caller_agent, state.caller_dialog), (state.callee_agent, state.callee_dialog))
            if dialogs := {dialog for agent, dialog in sides if agent and dialog}:
                self.former_tokens[call.id] = dialogs

    def renew(self, call: Call, leg: InviteUsage | None, lines: list[str]) -> None:
        """Add the state token to the header ``lines`` of a message on a leg, if its agent still has a token signed
        with the previous key."""
        dialogs = self.former_tokens.get(call.id)
        if dialogs is None or leg is None or leg.dialog.call_id not in dialogs:
            return
        dialogs.remove(leg.dialog.call_id)
        if not dialogs:
            del self.former_tokens[call.id]
        if not any(line.startswith("Call-State:") for line in lines):
            lines += self.token_lines(call, call.agent_of(leg))

    def token_lines(self, call: Call, agent: str) -> tuple[str, ...]:
        """The header line with the state token for an agent (``""``: none is needed). Each state is signed only
        once."""
        if not agent:
            return ()
        if call.device_legs:
            device_leg_moved(call)
        if call.signed is None or call.signed[0] is not call.state:
            call.signed = (call.state, (f"Call-State: {sign(call.state, self.key)}",))
        return call.signed[1]

    def legs_moved(self, agent: str, former: Flow | None, flow: Flow, now: float) -> None:
        """An agent has reconnected on ``flow``: send its unanswered requests again there (docs/wire.md)."""
        clients = [
            one
            for one in self.stack.clients.values()
            if one.flow == former and not isinstance(one.user, Subscription) and not one.answered
        ]
        for leg in dict.fromkeys(one.user for one in clients if isinstance(one.user, InviteUsage)):
            # an ACK has no answer, and may be lost with the former connection: later requests must not overtake it
            if leg.ack.cseq:
                leg.dialogs.move(flow)
                leg.ack.again(leg.ack.cseq)
        for transaction in clients:  # in the order in which they were sent, as CSeq demands
            transaction.resend(flow)
        cancels = {one.branch for one in clients if one.method == "CANCEL"}
        for one in clients:
            if one.method == "INVITE" and one.branch not in cancels and isinstance(one.user, InviteUsage):
                one.user.cancel_again(now)
        for call in self.calls.values():
            for leg in legs_of(call):
                if call.agent_of(leg) == agent:
                    leg.moved(flow)
        for leg in self.discarded.legs:
            if leg.flow == former:
                leg.moved(flow)

    def remove(self, call: Call, now: float) -> None:
        """Forget a call that is over."""
        call_id = call.state.call_id
        if self.calls.get(call_id) is call:
            del self.calls[call_id]
            self.former_tokens.pop(call_id, None)
        if self.progressed is not None:
            self.progressed(now)

    def drop_calls(self) -> None:
        """Forget all calls without a message, as they belong to another server now."""
        for call in list(self.calls.values()):
            call.bridge.drop()
        self.calls.clear()
        self.former_tokens.clear()
        self.discarded.drop()
        self.lines.loads.clear()

    def ready(self, target: RouteTarget, then: Callable[[float], None]) -> bool:
        """Whether the destinations of a target are known; False: ``then`` is called when they are."""
        line = self.site.lines.get(target.line)
        return line is None or not line.at_servers or self.own_lines.ready(line.name, then)

    def destinations(self, target: RouteTarget, now: float) -> list[Destination]:
        """The destinations of a target's INVITE, in the order to try; empty when none can be reached."""
        line = self.site.lines.get(target.line)
        if line is None:
            return []
        if line.at_servers:
            return self.own_lines.destinations(line.name, now)
        connection = self.agents.connections.get(line.agent)
        flow = connection.flow if connection is not None else None
        if flow is None:
            return []
        host, port = flow.remote
        number = as_user(target.request_number)
        return [Destination(f"sip:{number}@{bracketed(host)}:{port};line={line.name}", line.agent, flow)]

    def left(self, target: RouteTarget, destinations: list[Destination]) -> list[Destination]:
        """The destinations that are still to be tried: none when a reload has removed the line from the servers."""
        line = self.site.lines.get(target.line)
        return destinations if line is not None and line.at_servers else []


class Call(Policy):
    """One call: its state, what is left of its plan, and the policy of its bridge."""

    __slots__ = (
        "because",
        "bridge",
        "cancelled",
        "destination",
        "destinations",
        "device_legs",
        "held",
        "last_ack",
        "lines",
        "pickup",
        "plan",
        "request",
        "seen",
        "sent_at",
        "services",
        "signed",
        "state",
        "target_of",
        "transfer",
        "wall_offset",
    )

    def __init__(
        self,
        services: CallServices,
        state: CallState,
        wall_offset: float,
        phase: str = ROUTING,
        restored: bool = False,
    ) -> None:
        """``wall_offset`` plus the core's clock is the wall clock of the instants in the state. ``restored``: the
        call, in ``phase``, has no legs until they are made from their records.
        """
        self.services = services
        self.state = state
        """The state that the last token holds, or the next one will; replaced, never changed."""
        self.wall_offset = wall_offset
        self.signed: tuple[CallState, tuple[str, ...]] | None = None
        """The state that was signed last, with the header line of its token."""
        self.bridge = Bridge(services.stack.deadlines, services.discarded, self, phase, restored)
        self.plan: Plan | None = None
        """The targets that are left, the present one first."""
        self.request: Request | None = None
        """The caller's first INVITE, as long as it may have to be sent to another target."""
        self.cancelled: Request | None = None
        """The caller's CANCEL, while the call waits for the lists of agents."""
        self.held = ""
        """The sides that have put the call on hold: ``""``, ``a`` (the caller's), ``b``, ``ab``."""
        self.lines: list[str] = []
        """Names of the lines whose load counts this call."""
        self.destination: Destination | None = None
        """Where the INVITE of the present attempt was sent."""
        self.destinations: list[Destination] = []
        """Further destinations of the present target (RFC 3263 section 4.3)."""
        self.sent_at: float | None = None
        """When a former server sent the present attempt, if it is still pending: its ring time counts from here."""
        self.because = ""
        """The reason of the last routing decision, for ``explain``."""
        self.seen: Seen = NOTHING_SEEN
        """What the call record holds besides the state."""
        self.device_legs = NO_DEVICE_LEGS
        """The legs with devices on the servers' own lines."""
        self.last_ack = b""
        """After a takeover: the last ACK that an agent had sent, in case the other agent never got it."""
        self.transfer: TransferOf | None = None
        """The transfer of one of the parties, under way or just over."""
        self.pickup: PickupOf | None = None
        """The pickup of this call by another party, under way."""
        self.target_of: TransferOf | None = None
        """The transfer whose target this call calls; the caller's leg is then in the transferred call."""

    @property
    def id(self) -> str:
        return self.state.call_id

    def agent_of(self, leg: InviteUsage | None) -> str:
        """The agent that a leg is with, ``""`` for an own line."""
        if self.pickup is not None and leg is self.pickup.leg:
            return self.pickup.agent
        if (joining := self.bridge.joining) is not None and leg is joining.leg:
            return str(joining.about.agent)
        if leg is not None and leg is self.bridge.leaving and self.transfer is not None:
            return self.transfer.agent
        return self.state.caller_agent if leg is self.bridge.origin else self.state.callee_agent

    def update(self, **changes: Any) -> None:
        self.state = changed(self.state, **changes)

    # Lines.

    def take_line(self, line: str, now: float) -> None:
        """Count the call in the load of a line."""
        if name := self.services.lines.take(line, now):
            self.lines.append(name)

    def give_line(self, line: str) -> None:
        """Remove the call from the load of a line."""
        name = line.partition("/")[0]
        if name in self.lines:
            self.lines.remove(name)
            self.services.lines.give(name)

    # Setting up.

    def admit(self, transaction: ServerTransaction, request: Request, believed: Request, now: float) -> None:
        """Accept the caller's first INVITE: make its leg, answer 100. ``believed``: the INVITE in the site's form."""
        services = self.services
        stack, state = services.stack, self.state
        dialog = _known_dialog(self, called_by(request, stack.token()), state.caller_agent)
        if state.caller_agent:
            self.bridge.offer(InviteUsage(stack, self.bridge, transaction.flow, dialog), transaction)
        else:
            with_device_leg(self, state.caller_line, transaction.flow, dialog).offer(transaction, request, now)
        self.request = believed
        stack.reply(transaction, 100, now, lines=services.token_lines(self, state.caller_agent))

    def start(self, now: float) -> None:
        """Route the call from the beginning."""
        services, state, request = self.services, self.state, self.request
        assert request is not None
        priority = 0 if FIELDS.isdisjoint(request.names) else priority_of(request)
        line = state.caller_line.partition("/")[0]
        load = Load(len(services.calls) - (state.call_id in services.calls), services.lines.loads)  # without itself
        _route(self, services.router.plan(CallRequest(line, state.callee, state.caller, priority), load, now), now)

    def dial(self, now: float, dialog: DialogState | None = None, attempt: int = 0) -> None:
        """Send the INVITE of an attempt (0: the present one) to the next destination of the present target.

        Each destination has a dialog of its own; ``dialog`` is the one with which a former server sent it before.
        """
        plan, request, services, former = self.plan, self.request, self.services, self.state
        assert plan is not None and request is not None
        self.because = (target := plan.target).because
        if self.destinations:
            self.destinations = services.left(target, self.destinations)
        if not self.destinations:
            if not services.ready(target, _later(self, dialog, attempt)):
                return
            self.destinations = services.destinations(target, now)
        if not self.destinations:
            if not _await_agent(self, target, dialog, attempt, now):
                self.go_on(503, None, now)
            return
        place = self.destination = self.destinations.pop(0)
        flow = place.flow
        identity = services.own_lines.caller_identity
        onward, uri, told = onward_of(services.site, identity, plan, target, place, flow, request)
        ring_for = target.ring_for
        if ring_for and dialog is not None and self.sent_at is not None:
            # if the target has answered already, the answer comes within a round trip
            ring_for = max(ring_for - (now - self.sent_at), services.stack.timers.t1)
        dialog = _known_dialog(self, dialog or new_dialog(services.stack, onward, told, place), place.agent)
        self.take_line(target.line, now)
        self.update(
            callee=target.request_number,
            **_dialled(plan, target),
            callee_agent=place.agent,
            callee_dialog=dialog.call_id,
            # only agents keep it
            plan=plan.to_token() if place.agent or former.caller_agent else "",
            attempt=attempt or former.attempt,
        )
        if told is not None:
            device_leg = with_device_leg(self, target.line, flow, dialog)
            services.cookies.put(self, device_leg.leg)
            lines = [*device_leg.lines_of(onward, told), *identity.signed(target.line, onward, told, now)]
            device_leg.invite(uri, lines, onward, ring_for, place.answer_within, now)
            return
        lines = [*crossing(onward, SITE_HOP), f"Call-Origin: {former.origin};{self.state.attempt}"]
        lines += services.site_headers if onward.body else (*across(onward), *services.site_headers)
        lines += services.token_lines(self, place.agent)
        leg = InviteUsage(services.stack, self.bridge, flow, dialog)
        self.bridge.invite(leg, uri, lines, onward.body, max_forwards_left(onward), ring_for, now)

    def failed(self, leg: InviteUsage, status: int, response: Response | None, now: float) -> None:
        """The present attempt failed: try the next target, or refuse the caller (RFC 3261 section 16.7)."""
        if self.device_legs and (device_leg := self.device_legs.pop(leg, None)) is not None:
            device_leg.stop()
        self.give_line(self.state.callee_line)
        self.seen = NOTHING_SEEN if response is None else refusal_of(response)
        plan = self.plan
        if plan is None:
            self.bridge.refuse(status, now, response=response, by="callee")
            return
        unreached = status == 503 or (status == 408 and response is None and not self.bridge.given_up)
        if unreached and self.destination is not None:
            self.destination.failed(response, now)
        if unreached and self.destinations:
            self.dial(now)
        else:
            self.go_on(status, response, now)

    def go_on(self, status: int, response: Response | None, now: float) -> None:
        """Route to the next target, or refuse the caller when none is left."""
        assert self.plan is not None
        services = self.services
        rest = services.router.after(self.plan, status, services.load, now, redirects_of(response))
        if not isinstance(rest, Refusal):
            _route(self, rest, now)
            return
        self.because = rest.because
        if response is not None and rest.status == status:
            self.bridge.refuse(status, now, response=response, by="callee")
            return
        if status == 503:  # the caller is told 500 (RFC 3261 section 16.7, step 6), the record what happened
            self.bridge.finish(503, "server", "", now)
        self.bridge.refuse(rest.status, now)

    # What the bridge calls.

    def rang(self, response: Response, now: float) -> bool:
        """The present target sent a provisional response; returns whether agents must get a new token."""
        state = self.state
        changes: dict[str, Any] = {}
        line = response.get("line") if state.callee_agent else ""
        if line and line != state.callee_line:
            changes["callee_line"] = line[:MOST_CHARACTERS]
        if not state.ringing and rings(response.status):
            changes["ringing"] = now + self.wall_offset
        if changes:
            self.update(**changes)
        if self.target_of is not None:
            self.target_of.progressed(response.status, now)
        return bool(changes)

    def picked_up(self, response: Response, now: float) -> None:
        """The present target answered."""
        state = self.state
        line = (response.get("line") if state.callee_agent else "") or state.callee_line
        plan = "" if self.target_of is None else state.plan  # a transfer's target may have to be called again
        self.update(answered=now + self.wall_offset, callee_line=line[:MOST_CHARACTERS], plan=plan)
        self.seen = seen_of(self.request, response)
        self.request = self.plan = None
        _lose_pickup(self, now)
        if longest := longest_of(self.services.site, self.lines):
            self.bridge.limit(now + longest)

    def ended(self, status: int, by: Party, reason: str, now: float) -> None:
        _stop_device_legs(self)
        _lose_pickup(self, now)
        self.services.records.write(self.state, self.wall_offset, status, by, now, reason, self.because, self.seen)
        if self.transfer is not None:
            self.transfer.call_ended(now)
        if self.target_of is not None:
            self.target_of.failed(status, now)

    def over(self, now: float) -> None:
        services = self.services
        for name in self.lines:
            services.lines.give(name)
        self.lines = []
        _stop_device_legs(self)
        self.device_legs = NO_DEVICE_LEGS
        self.request = self.plan = self.target_of = None
        _drop_pickup(self)
        if self.transfer is not None:
            self.transfer.stop()
            self.transfer = None
        services.remove(self, now)

    def takes(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        if request.method == "REFER":
            return self.services.transfers.refer(self, leg, transaction, request, now)
        return self.transfer is not None and self.transfer.hangs_up(leg, transaction, request, now)

    def wanted(self, leg: InviteUsage, now: float) -> None:
        state = self.state
        agent, dialog = state.callee_agent, state.callee_dialog
        if leg is not self.bridge.origin:
            agent, dialog = state.caller_agent, state.caller_dialog
        connection = self.services.agents.connections.get(agent)
        if connection is not None and dialog:
            connection.fetch(dialog, now)


def legs_of(call: Call) -> list[InviteUsage]:
    """All legs of a call, including that of a party which is picking it up."""
    legs = call.bridge.legs
    return legs if call.pickup is None else [*legs, call.pickup.leg]


def _route(call: Call, plan: Plan | Refusal, now: float) -> None:
    """Call the first target of a plan, or refuse the caller."""
    if isinstance(plan, Refusal):
        call.because = plan.because
        lines = (f"Retry-After: {plan.retry_after}",) if plan.retry_after else ()
        call.bridge.refuse(plan.status, now, plan.reason, lines)
        return
    former, call.plan = call.plan, plan
    _tell_forwarded(call, plan.forwards - (former.forwards if former is not None else 0), now)
    call.destinations = []
    call.dial(now, attempt=call.state.attempt + 1)


def _lose_pickup(call: Call, now: float) -> None:
    """Tell a pickup that is under way that it has failed."""
    if call.pickup is not None:
        call.pickup.lost(now)


def _drop_pickup(call: Call) -> None:
    """Drop a pickup and its leg without a message, as another server has the call."""
    if (pickup := call.pickup) is not None:
        call.pickup = None
        pickup.stop()
        drop_leg(pickup.leg)
        pickup.leg.owner = call.services.discarded


def device_leg_moved(call: Call) -> bool:
    """Update the state with what a new server would need of a leg on an own line; returns whether it has changed."""
    state, bridge = call.state, call.bridge
    for leg, agent in ((bridge.origin, state.caller_agent), (bridge.target, state.callee_agent)):
        if leg is None or agent or (device_leg := call.device_legs.get(leg)) is None:
            continue
        found = state_of(device_leg, call.services.stack)
        if found is not None and found.moved_from(state.device_leg):
            call.update(device_leg=found)
            return True
    return False


def record_of(call: Call, now: float) -> Cdr:
    """The call record as it would be written if the call ended now."""
    return call.services.records.of(call.state, 0, "", now + call.wall_offset, "", call.seen)


def _tell_forwarded(call: Call, times: int, now: float) -> None:
    """Send 181 to the caller if the call has been forwarded (RFC 3261 section 21.1.3). Its sequence number is behind
    all responses of the target before, so that the agent passes it on only once, even if another server repeats it.
    """
    origin, state = call.bridge.origin, call.state
    if times <= 0 or origin is None or (invite := origin.server_invite.pending) is None:
        return
    if (device_leg := call.device_legs.get(origin)) is not None and device_leg.eager:
        return
    place = f"Call-Origin: {state.origin};{state.attempt};n={LAST_PLACE}"
    passed = Passed((place,) if state.caller_agent else (), b"")
    call.bridge.passage.reply(call, invite, 181, now, passed=passed, tag=call.id)


def cancel(call: Call, request: Request, now: float) -> None:
    """The caller has cancelled its first INVITE with ``request``."""
    origin = call.bridge.origin
    if origin is not None and (invite := origin.server_invite.pending) is not None:
        call.bridge.cancelled(origin, invite, request, now)


def wait_for(
    call: Call, connection: CallAgent, now: float, dialog: DialogState | None = None, attempt: int = 0
) -> bool:
    """Dial as soon as the agent is connected and has adopted this server; go on to the next target when that takes
    too long. False when too many requests wait already."""

    def on_timeout(now: float) -> None:
        if call.bridge.phase == ROUTING:
            call.go_on(503, None, now)

    return connection.refused.add(_later(call, dialog, attempt), now, on_timeout)


def _dialled(plan: Plan, target: RouteTarget) -> dict[str, str]:
    """The fields of a state that describe a target, besides its number."""
    return {
        "dialled": plan.called if plan.called != target.request_number else "",
        "callee_line": target.line,
        "forwarded_by": target.forwarded_from or (plan.line if plan.forwards else ""),
    }


def _await_agent(call: Call, target: RouteTarget, dialog: DialogState | None, attempt: int, now: float) -> bool:
    """If the agent of a target may reconnect in a moment, as its connection broke or this server took over just now,
    wait for it and return True."""
    services = call.services
    line = services.site.lines.get(target.line)
    connection = services.agents.connections.get(line.agent) if line is not None else None
    if connection is None or connection.flow is not None:
        return False
    if now - max(connection.lost_at or services.started_at, services.agents.begun_at) >= LONGEST_WAIT:
        return False
    return wait_for(call, connection, now, dialog, attempt)


def _known_dialog(call: Call, dialog: DialogState, agent: str) -> DialogState:
    """Register the Call-ID of a dialog under its call, for searches by an operator, and return the dialog."""
    line = call.plan.target.line if call.plan is not None else call.state.caller_line
    call.services.stack.call_ids.join(call.state.call_id, dialog.call_id, agent or line, line)
    return dialog


def with_device_leg(call: Call, line: str, flow: Flow, dialog: DialogState, established: bool = False) -> DeviceLeg:
    """Add a leg with an own line to a call, and return it; ``established`` as in `InviteUsage`."""
    device_leg = call.services.own_lines.leg(line, call.bridge, flow, dialog, established)
    call.device_legs = {**call.device_legs, device_leg.leg: device_leg}
    return device_leg


def without_device_leg(call: Call, leg: InviteUsage) -> None:
    """Remove a leg with an own line from a call that goes on."""
    device_leg = call.device_legs[leg]
    call.device_legs = {each: one for each, one in call.device_legs.items() if each is not leg} or NO_DEVICE_LEGS
    device_leg.stop()


def _stop_device_legs(call: Call) -> None:
    for device_leg in call.device_legs.values():
        if device_leg.session.leg is not None:
            device_leg.stop()


def _later(call: Call, dialog: DialogState | None, attempt: int) -> Callable[[float], None]:
    """A function that dials the target later, unless the call has left its routing phase meanwhile."""

    def again(now: float) -> None:
        if call.bridge.phase == ROUTING:
            call.dial(now, dialog, attempt)

    return again


def longest_of(site: Site, names: list[str]) -> float:
    """Seconds that a call on these lines may last, 0 for no limit; only own lines count, as agents enforce the limits
    of theirs."""
    longest = 0.0
    for name in names:
        line = site.lines.get(name)
        if line is not None and line.longest_call and line.at_servers:
            longest = min(longest or line.longest_call, line.longest_call)
    return longest
