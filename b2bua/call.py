"""One call of the server: the bridge of its legs (``sip.b2b``) with routing as its policy.

Everything a new server must know to go on is in the state token (``b2bua.state_token``) and in the agents' records; a
:class:`Call` is made from a :class:`~b2bua.state_token.CallState` for a new call as for one taken over.
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
"""Of what a server says by itself of an attempt: behind all that its target said."""
LONGEST_WAIT: Final = 1.0
"""Seconds for which a new call waits for an agent that is away for a moment, before it is hunted on."""


class TransferOf(Protocol):
    """A transfer that is made here (``b2bua.transfer``), as its two calls see it."""

    @property
    def agent(self) -> str: ...

    @property
    def call(self) -> Call: ...

    def hangs_up(self, leg: InviteUsage, transaction: ServerTransaction, bye: Request, now: float) -> bool:
        """Whether the BYE of a party waits for what comes of it, or changes nothing any more."""

    def progressed(self, status: int, now: float) -> None:
        """The target said something."""

    def answered(self, target: InviteUsage, response: Response, now: float) -> bool:
        """The target answered; False when nobody wants it any more."""

    def failed(self, status: int, now: float) -> None:
        """The target has not answered, or has hung up."""

    def call_ended(self, now: float) -> None:
        """The call that is transferred has ended."""

    def stop(self) -> None:
        """All of it belongs to another server."""


class PickupOf(Protocol):
    """Somebody picks it up while it rings elsewhere (``b2bua.pickup``)."""

    @property
    def agent(self) -> str: ...

    @property
    def leg(self) -> InviteUsage: ...

    instead: Callable[[float], None] | None
    """What is to be done when nothing comes of it and nobody rings."""

    def lost(self, now: float) -> None:
        """The call was answered by another one, or has ended."""

    def stop(self) -> None:
        """All of it belongs to another server."""


class TransferDirectory(Protocol):
    """Begins transfers."""

    @property
    def ending(self) -> set[str]: ...

    def refer(
        self, call: Call, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> bool: ...

    def left(self, call: Call, leg: InviteUsage, agent: str, former: CallState | None, now: float) -> None: ...


class CallServices:
    """What all calls of a server need; one for its life. What a reload changes is assigned anew."""

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
    """Given once it is made."""
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
        """By call id the Call-IDs of its dialogs with agents whose tokens the key before this one has signed: that is
        to be accepted as long as there are any."""
        self.started_at = started_at
        self.calls: dict[str, Call] = {}
        """All calls by their id."""
        self.progressed: Callable[[float], None] | None = None
        """Told that the set-up of a call went on, while after a takeover requests wait for an early dialog."""
        self.site_headers: tuple[str, ...] = ()
        """The header lines that say to an agent who speaks, and under which epoch."""

    @property
    def load(self) -> Load:
        return Load(len(self.calls), self.lines.loads)

    def sign_with(self, key: bytes) -> None:
        """Tokens are signed with another key from now on: agents get theirs anew with what is said to them next."""
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
        """The state to keep once more with what is said on a leg, where its agent has it signed by the key before."""
        dialogs = self.former_tokens.get(call.id)
        if dialogs is None or leg is None or leg.dialog.call_id not in dialogs:
            return
        dialogs.remove(leg.dialog.call_id)
        if not dialogs:
            del self.former_tokens[call.id]
        if not any(line.startswith("Call-State:") for line in lines):
            lines += self.token_lines(call, call.agent_of(leg))

    def token_lines(self, call: Call, agent: str) -> tuple[str, ...]:
        """The header line that gives an agent the state to keep; a state is signed once."""
        if not agent:
            return ()
        if call.device_legs:
            device_leg_moved(call)
        if call.signed is None or call.signed[0] is not call.state:
            call.signed = (call.state, (f"Call-State: {sign(call.state, self.key)}",))
        return call.signed[1]

    def legs_moved(self, agent: str, former: Flow | None, flow: Flow, now: float) -> None:
        """The connection to an agent was made anew: what is under way there is sent again (docs/wire.md)."""
        clients = [
            one
            for one in self.stack.clients.values()
            if one.flow == former and not isinstance(one.user, Subscription) and not one.answered
        ]
        for leg in dict.fromkeys(one.user for one in clients if isinstance(one.user, InviteUsage)):
            # an ACK has no answer, and may be lost with the former connection: what follows is not to overtake it
            if leg.ack.cseq:
                leg.dialogs.move(flow)
                leg.ack.again(leg.ack.cseq)
        for transaction in clients:  # in the order of asking, which CSeq tells
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
        """A call is over."""
        call_id = call.state.call_id
        if self.calls.get(call_id) is call:
            del self.calls[call_id]
            self.former_tokens.pop(call_id, None)
        if self.progressed is not None:
            self.progressed(now)

    def drop_calls(self) -> None:
        """They are another server's, and not ours to end: they go without a word."""
        for call in list(self.calls.values()):
            call.bridge.drop()
        self.calls.clear()
        self.former_tokens.clear()
        self.discarded.drop()
        self.lines.loads.clear()

    def ready(self, target: RouteTarget, then: Callable[[float], None]) -> bool:
        """Whether a target can say where its calls go; False: ``then`` is called when it can."""
        line = self.site.lines.get(target.line)
        return line is None or not line.at_servers or self.own_lines.ready(line.name, then)

    def destinations(self, target: RouteTarget, now: float) -> list[Destination]:
        """Where the INVITE for a target goes, in the order to try; empty when nobody is there to take it."""
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
        """Those that are still to be tried: none where a reload took the line from the servers."""
        line = self.site.lines.get(target.line)
        return destinations if line is not None and line.at_servers else []


class Call(Policy):
    """See the module."""

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
        """``wall_offset`` makes of our clock the one by which the instants of the state were taken. ``restored``: its
        legs are absent until they are made from their records, in that ``phase``.
        """
        self.services = services
        self.state = state
        """What the last token said, or would say; replaced, never changed."""
        self.wall_offset = wall_offset
        self.signed: tuple[CallState, tuple[str, ...]] | None = None
        """The state whose token was made last, with its header line."""
        self.bridge = Bridge(services.stack.deadlines, services.discarded, self, phase, restored)
        self.plan: Plan | None = None
        """What is left to try, this target first."""
        self.request: Request | None = None
        """The caller's first INVITE, as long as it may have to be sent to another target."""
        self.cancelled: Request | None = None
        """The CANCEL with which the caller gave up while the call waits for the lists of agents."""
        self.held = ""
        """Which sides hold: ``""``, ``a`` (the caller's), ``b``, ``ab``."""
        self.lines: list[str] = []
        """The lines on which it counts."""
        self.destination: Destination | None = None
        """Where the present attempt went."""
        self.destinations: list[Destination] = []
        """Where the present target may be reached besides (RFC 3263 section 4.3)."""
        self.sent_at: float | None = None
        """When a former server sent the present attempt, which is under way: its time to ring counts from there."""
        self.because = ""
        """The decision that routed it last, for ``explain``."""
        self.seen: Seen = NOTHING_SEEN
        """What the record tells besides the state."""
        self.device_legs = NO_DEVICE_LEGS
        """Legs with lines of the server's own."""
        self.last_ack = b""
        """After a takeover: the ACK that an agent had sent last, should the other one not have it."""
        self.transfer: TransferOf | None = None
        """A party of it is being transferred, or was a moment ago."""
        self.pickup: PickupOf | None = None
        """Somebody is about to answer it in place of who is called."""
        self.target_of: TransferOf | None = None
        """It was made to call the target of a transfer; its caller's leg is in another call."""

    @property
    def id(self) -> str:
        return self.state.call_id

    def agent_of(self, leg: InviteUsage | None) -> str:
        """The agent that a leg stands with, ``""`` for a line of the server's own."""
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
        """Count the call on a line."""
        if name := self.services.lines.take(line, now):
            self.lines.append(name)

    def give_line(self, line: str) -> None:
        """Count it there no more."""
        name = line.partition("/")[0]
        if name in self.lines:
            self.lines.remove(name)
            self.services.lines.give(name)

    # Setting up.

    def admit(self, transaction: ServerTransaction, request: Request, believed: Request, now: float) -> None:
        """Take the caller's first INVITE: make the leg, answer 100. ``believed``: the same in the site's form."""
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
        """Send the INVITE of an attempt, the present one where no number is given, to the next place of its target.

        Each place has a dialog of its own; ``dialog`` is that of a former server which sent it before.
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
            # an answer that is there already comes within a round trip
            ring_for = max(ring_for - (now - self.sent_at), services.stack.timers.t1)
        dialog = _known_dialog(self, dialog or new_dialog(services.stack, onward, told, place), place.agent)
        self.take_line(target.line, now)
        self.update(
            callee=target.request_number,
            **_dialled(plan, target),
            callee_agent=place.agent,
            callee_dialog=dialog.call_id,
            # only agents are given it to keep
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
        """The present target will not: hunt on, or tell the caller (RFC 3261 section 16.7)."""
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
        """To the next target, or the end of the hunt."""
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

    # What the bridge says.

    def rang(self, response: Response, now: float) -> bool:
        """The present target said something; whether its agents are to keep a new state."""
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
        plan = "" if self.target_of is None else state.plan  # it is not joined yet, and may have to be called again
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
    """All legs of a call, that of who is picking it up included."""
    legs = call.bridge.legs
    return legs if call.pickup is None else [*legs, call.pickup.leg]


def _route(call: Call, plan: Plan | Refusal, now: float) -> None:
    """Try the first target of a plan, or refuse."""
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
    """Nobody can pick it up any more."""
    if call.pickup is not None:
        call.pickup.lost(now)


def _drop_pickup(call: Call) -> None:
    """Forget who is picking it up, without a word: another server has the call."""
    if (pickup := call.pickup) is not None:
        call.pickup = None
        pickup.stop()
        drop_leg(pickup.leg)
        pickup.leg.owner = call.services.discarded


def device_leg_moved(call: Call) -> bool:
    """Take what a new server would need of a leg with a line of ours into the state; whether that is new."""
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
    """The call record as it would be if the call ended now."""
    return call.services.records.of(call.state, 0, "", now + call.wall_offset, "", call.seen)


def _tell_forwarded(call: Call, times: int, now: float) -> None:
    """181 to the caller of a call that is forwarded (RFC 3261 section 21.1.3). It has a place behind all that the
    target before has said, so that its agent passes it on once, whatever server sends it again.
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
    """The caller gave up its first INVITE."""
    origin = call.bridge.origin
    if origin is not None and (invite := origin.server_invite.pending) is not None:
        call.bridge.cancelled(origin, invite, request, now)


def wait_for(
    call: Call, connection: CallAgent, now: float, dialog: DialogState | None = None, attempt: int = 0
) -> bool:
    """Dial when the agent is there and obeys; hunt on when that takes too long. False when too many wait."""

    def on_timeout(now: float) -> None:
        if call.bridge.phase == ROUTING:
            call.go_on(503, None, now)

    return connection.refused.add(_later(call, dialog, attempt), now, on_timeout)


def _dialled(plan: Plan, target: RouteTarget) -> dict[str, str]:
    """What a state says of a target besides its number."""
    return {
        "dialled": plan.called if plan.called != target.request_number else "",
        "callee_line": target.line,
        "forwarded_by": target.forwarded_from or (plan.line if plan.forwards else ""),
    }


def _await_agent(call: Call, target: RouteTarget, dialog: DialogState | None, attempt: int, now: float) -> bool:
    """Whether the agent of that target may be here in a moment: its connection broke just now, or we began."""
    services = call.services
    line = services.site.lines.get(target.line)
    connection = services.agents.connections.get(line.agent) if line is not None else None
    if connection is None or connection.flow is not None:
        return False
    if now - max(connection.lost_at or services.started_at, services.agents.begun_at) >= LONGEST_WAIT:
        return False
    return wait_for(call, connection, now, dialog, attempt)


def _known_dialog(call: Call, dialog: DialogState, agent: str) -> DialogState:
    """The call has that dialog, which people may ask for, with an agent or with a line of its target."""
    line = call.plan.target.line if call.plan is not None else call.state.caller_line
    call.services.stack.call_ids.join(call.state.call_id, dialog.call_id, agent or line, line)
    return dialog


def with_device_leg(call: Call, line: str, flow: Flow, dialog: DialogState) -> DeviceLeg:
    """A further leg of the call, with a line of the server's own."""
    device_leg = call.services.own_lines.leg(line, call.bridge, flow, dialog)
    call.device_legs = {**call.device_legs, device_leg.leg: device_leg}
    return device_leg


def without_device_leg(call: Call, leg: InviteUsage) -> None:
    """The call goes on without that leg, which is with a line of the server's own."""
    device_leg = call.device_legs[leg]
    call.device_legs = {each: one for each, one in call.device_legs.items() if each is not leg} or NO_DEVICE_LEGS
    device_leg.stop()


def _stop_device_legs(call: Call) -> None:
    for device_leg in call.device_legs.values():
        if device_leg.session.leg is not None:
            device_leg.stop()


def _later(call: Call, dialog: DialogState | None, attempt: int) -> Callable[[float], None]:
    """Dials when what the target needs is there, unless the call has gone on meanwhile."""

    def again(now: float) -> None:
        if call.bridge.phase == ROUTING:
            call.dial(now, dialog, attempt)

    return again


def longest_of(site: Site, names: list[str]) -> float:
    """How long a call on these lines may last: agents see to theirs, the server to its own; 0: without limit."""
    longest = 0.0
    for name in names:
        line = site.lines.get(name)
        if line is not None and line.longest_call and line.at_servers:
            longest = min(longest or line.longest_call, line.longest_call)
    return longest
