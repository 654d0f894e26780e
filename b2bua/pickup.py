"""A call that rings, picked up elsewhere: INVITE with Replaces that names an early dialog (RFC 3891 section 3).

Both the party that picks up and the caller have made an offer. So the INVITE with Replaces is answered with an
inactive session, and a re-INVITE then carries the caller's offer to the new party, as the first INVITE carried it to
the ringing telephone. The answer to the re-INVITE answers the call; targets that still ring get CANCEL.

Until then the call is unchanged, and rings on when the pickup fails. The agent of the new party has the call's token.
So a server that takes over finds, with this agent, a dialog that its party opened in an unanswered call, and sends
the re-INVITE again under the same origin key. Where the new party is on an own line, the token at the caller's agent
has its leg.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from b2bua.call import Call, CallServices, with_device_leg, without_device_leg
from b2bua.device_leg import DeviceLeg, change, state_once_answered, take_pickup
from b2bua.device_leg_state import PickupState
from b2bua.lines import Load
from b2bua.plan import Plan
from b2bua.routing import CallRequest
from b2bua.state_token import MOST_CHARACTERS, CallState, origin_of
from sip.b2b.bridge import ANSWERED, COMPLETED_ELSEWHERE, DIALING, RINGING, ROUTING, Bridge
from sip.b2b.policy import Party
from sip.dialog import DialogState
from sip.header_policy import ALLOW, DEVICE_HOP, crossing, max_forwards_left
from sip.invite import InviteUsage
from sip.offer_answer import description_in
from sip.reinvite_retry import TEMPORARY_REFUSALS, wait_after
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire import sdp, sdp_body
from sip.wire.message import Request, Response

logger = logging.getLogger(__name__)

# States.
TAKEN: Final = "taken"
"""The INVITE is answered; its ACK is to come."""
ASKING: Final = "asking"
"""The re-INVITE with the caller's offer is sent, or about to be."""
AGREED: Final = "agreed"
"""The new party has answered the re-INVITE."""
OVER: Final = "over"

# Events.
ACKNOWLEDGED: Final = "acknowledged"
AGAIN: Final = "to be looked at again"
ACCEPTED: Final = "accepted"
GIVEN_UP: Final = "not to be had"
HUNG_UP: Final = "hung up"

PICKED: Final = (ROUTING, DIALING, RINGING)
"""Phases of a call in which it may be picked up."""
LOOK_S: Final = 0.1
"""Seconds until the re-INVITE is tried again when it could not be passed on."""
MOST_TRIES: Final = 10
"""Times that the re-INVITE is sent again after the new party refused it for the moment."""
LONGEST: Final = "it takes too long"
NUMBER: Final = 600
"""Attempt number in the origin key of the re-INVITE (docs/wire.md). It grows each time that the telephone has refused
for the moment, since an agent repeats its former answer to a key that it knows."""
GONE: Final = 'SIP;cause=487;text="Nothing to pick up"'


class Joiner(NamedTuple):
    """A party that joins a call by an INVITE of its own."""

    line: str
    agent: str
    dialog: str
    """Call-ID of the server dialog."""
    number: str


class Pickup:
    """One pickup. It owns the leg of the party that picks up until the leg becomes one of the call."""

    __slots__ = (
        "_answer",
        "_joiner",
        "call",
        "device_leg",
        "generation",
        "instead",
        "leg",
        "refusals",
        "state",
        "tries",
    )

    def __init__(self, call: Call, joiner: Joiner, dialog: DialogState, flow: Any, established: bool = False) -> None:
        """``established``: a former server has answered the INVITE."""
        self.call = call
        self._joiner = joiner
        self._answer: tuple[ClientTransaction, Response] | None = None
        self.instead: Callable[[float], None] | None = None
        """Called when the pickup fails and no target rings."""
        self.generation = 0
        self.refusals = 0
        """Temporary refusals (`TEMPORARY_REFUSALS`) by the telephone."""
        self.tries = 0
        """Refusals for the moment by the telephone or its agent."""
        self.state = TAKEN
        stack = call.services.stack
        self.device_leg: DeviceLeg | None = None
        """The leg's hop, if the party is on an own line."""
        if joiner.agent:
            self.leg = InviteUsage(stack, self, flow, dialog, established)
        else:
            self.device_leg = with_device_leg(call, joiner.line, flow, dialog, established)
            self.device_leg.holder = self
            self.leg = self.device_leg.leg
        stack.call_ids.join(call.id, joiner.dialog, joiner.agent, joiner.line)
        call.pickup = self

    @property
    def agent(self) -> str:
        """The agent that the leg is with, ``""`` for an own line."""
        return self._joiner.agent

    @property
    def bridge(self) -> Bridge:
        """The bridge of the call."""
        return self.call.bridge

    def take(self, invite: ServerTransaction, answer: bytes, now: float) -> None:
        """Answer the INVITE with an inactive session."""
        call, leg = self.call, self.leg
        leg.server_invite.latest = invite
        invite.context = leg
        lines: tuple[str, ...] = (f"Content-Type: {sdp_body.TYPE}",)
        if self.device_leg is None:
            lines = (*lines, ALLOW, *call.services.token_lines(call, self.agent))
        elif invite.request is not None:
            lines = (*lines, *take_pickup(self.device_leg, invite.request, answer, now))
            self._note(self.device_leg, now)  # before the answer is sent: nobody else could tell a new server of it
        leg.reply(invite, 200, now, lines=lines, body=answer)
        self._limit(now)

    def go_on(self, now: float) -> None:
        """Continue a pickup that a former server has begun."""
        self._limit(now)
        self.step(ACKNOWLEDGED, None, now)
        if self.device_leg is not None and self.state is ASKING:
            self._note(self.device_leg, now)

    def _note(self, device_leg: DeviceLeg, now: float) -> None:
        """Put the party on an own line into the state of the call."""
        state = state_once_answered(device_leg, self.call.services.stack)
        _tell(self.call, PickupState(self._joiner.line, self._joiner.number, state), now)

    def step(self, event: str, subject: Any, now: float) -> None:
        """Step the state machine; the state changes here, and in `stop`."""
        entry = TABLE.get((self.state, event))
        if entry is None:
            logger.debug("pickup of %s is %s: %s is of no interest", self.call.id, self.state, event)
            return
        following, action = entry
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("pickup of %s: %s, %s -> %s", self.call.id, event, self.state, following)
        self.state = following
        action(self, subject, now)

    def lost(self, now: float) -> None:
        """Another party answered the call, or it has ended."""
        self.step(GIVEN_UP, COMPLETED_ELSEWHERE if self.call.state.answered else GONE, now)

    def stop(self) -> None:
        """Ignore all further events; nothing is sent."""
        self.generation += 1
        self.state = OVER

    def release(self, reason: str, now: float, by: Party = "server", status: int = 200) -> None:
        """The party's session has expired, or its device is gone."""
        self.step(GIVEN_UP, reason, now)

    def due(self, cause: str, now: float) -> None:
        if cause is LONGEST:
            self.step(GIVEN_UP, GONE, now)
        else:
            self.step(AGAIN, None, now)

    # What the leg calls (``sip.invite.UsageOwner``).

    def is_repeat(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Any:
        return self.call.bridge.hop_headers(leg, method, now)

    def requested(self, leg: InviteUsage, transaction: ServerTransaction, request: Request, now: float) -> None:
        if request.method == "BYE":
            leg.reply(transaction, 200, now)
            self.step(HUNG_UP, None, now)
        else:
            status = 491 if request.method == "INVITE" else 500
            leg.reply(transaction, status, now, lines=() if status == 491 else ("Retry-After: 1",))

    def acknowledged(self, leg: InviteUsage, ack: Request, now: float) -> None:
        self.step(ACKNOWLEDGED, None, now)

    def unacknowledged(self, leg: InviteUsage, now: float) -> float | None:
        self.step(GIVEN_UP, 'SIP;cause=408;text="No ACK"', now)
        return None

    def cancelled(self, leg: InviteUsage, invite: ServerTransaction, cancel: Request, now: float) -> None:
        """Nothing to do: the INVITE was answered at once."""

    def answered(self, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float) -> None:
        status, bridge = response.status, self.call.bridge
        if status < 200 or transaction.method != "INVITE":
            return
        if status < 300:
            self._answer = transaction, response
            self.step(ACCEPTED, None, now)
        elif (
            status in TEMPORARY_REFUSALS or (status == 422 and self.device_leg is not None)
        ) and self.tries < MOST_TRIES:
            # RFC 4028 section 7.3: the next one asks for the longer interval
            self.tries += 1
            self.refusals += "call-origin" in response  # without the key the agent did not pass the request on
            self._wake(wait_after(response, False, self.call.services.chance), now)
        elif bridge.passage.intercepts(self.call, leg, transaction, response, now):
            self._wake(LOOK_S, now)
        else:
            self.step(GIVEN_UP, GONE, now)

    def timed_out(self, leg: InviteUsage, transaction: ClientTransaction, now: float) -> None:
        """A device has not answered; requests to agents do not time out."""
        if transaction.method == "INVITE":
            self.step(GIVEN_UP, GONE, now)

    def _wake(self, after: float, now: float) -> None:
        self.call.services.stack.deadlines.set(now + after, self, AGAIN)

    def _limit(self, now: float) -> None:
        stack = self.call.services.stack
        stack.deadlines.set(now + stack.timers.lifetime, self, LONGEST)


# Actions of the table: (pickup, subject, now).


def _ask(pickup: Pickup, _: Any, now: float) -> None:
    """Send the re-INVITE with the caller's offer, or without one if the caller's INVITE had none."""
    call, leg, joiner = pickup.call, pickup.leg, pickup._joiner
    request, services = call.request, call.services
    if request is None or call.bridge.phase not in PICKED:
        pickup.step(GIVEN_UP, GONE, now)
        return
    if pickup.device_leg is not None:
        change(pickup.device_leg, request, now)
        return
    origin = f"Call-Origin: {origin_of(joiner.agent, joiner.dialog)};{NUMBER + pickup.refusals}"
    lines = [*crossing(request, DEVICE_HOP), origin, *services.site_headers]
    leg.send("INVITE", lines, request.body, now, None, max_forwards_left(request), no_timeout=True)


def _connect(pickup: Pickup, _: None, now: float) -> None:
    """The re-INVITE is answered: make its leg the call's target, and step the bridge with the answer."""
    call, joiner = pickup.call, pickup._joiner
    bridge, state = call.bridge, call.state
    assert pickup._answer is not None
    if bridge.phase not in PICKED:
        pickup.step(GIVEN_UP, GONE, now)
        return
    pickup.stop()
    transaction, response = pickup._answer
    call.pickup = None
    if pickup.device_leg is None:
        pickup.leg.owner = bridge
    else:
        pickup.device_leg.holder = bridge
        call.update(device_leg=None)
    call.give_line(state.callee_line)
    call.take_line(joiner.line, now)
    call.update(
        callee=joiner.number[:MOST_CHARACTERS],
        callee_line=joiner.line[:MOST_CHARACTERS],
        callee_agent=joiner.agent,
        callee_dialog=joiner.dialog,
        dialled=state.dialled or state.callee,
        pickup=None,
    )
    bridge.targets.append(pickup.leg)
    bridge.step(ANSWERED, pickup.leg, transaction, response, now)


def _hang_up(pickup: Pickup, reason: str, now: float) -> None:
    """The pickup has failed: hang its leg up; the call rings on, if it still does."""
    pickup.stop()
    call, leg = pickup.call, pickup.leg
    if call.pickup is pickup:
        call.pickup = None
    if leg in call.device_legs:
        without_device_leg(call, leg)
    if call.state.pickup is not None:
        _tell(call, None, now)
    if not leg.ended:
        call.services.discarded.hang_up(leg, reason, now)
    if pickup.instead is not None and call.bridge.phase is ROUTING:
        pickup.instead(now)


def _let_go(pickup: Pickup, _: None, now: float) -> None:
    pickup.leg.owner = pickup.call.services.discarded
    _hang_up(pickup, "", now)


def _tell(call: Call, pickup: PickupState | None, now: float) -> None:
    """Put a party on an own line that picks the call up into its state, or remove it; and tell the caller's agent
    while that waits for an answer."""
    call.update(pickup=pickup)
    origin, agent = call.bridge.origin, call.state.caller_agent
    if agent and origin is not None and (invite := origin.server_invite.pending) is not None:
        origin.reply(invite, 100, now, lines=call.services.token_lines(call, agent))


Action = Callable[[Pickup, Any, float], None]

TABLE: Final[dict[tuple[str, str], tuple[str, Action]]] = {
    (TAKEN, ACKNOWLEDGED): (ASKING, _ask),
    (TAKEN, GIVEN_UP): (OVER, _hang_up),
    (TAKEN, HUNG_UP): (OVER, _let_go),
    (ASKING, AGAIN): (ASKING, _ask),
    (ASKING, ACCEPTED): (AGREED, _connect),
    (ASKING, GIVEN_UP): (OVER, _hang_up),
    (ASKING, HUNG_UP): (OVER, _let_go),
    (AGREED, GIVEN_UP): (OVER, _hang_up),
    (AGREED, HUNG_UP): (OVER, _let_go),
}
"""``(state, event) -> (next, action)``; other events are ignored."""


def pick_up(call: Call, joiner: Joiner, dialog: DialogState, invite: ServerTransaction, now: float) -> int:
    """Begin a pickup by the sender of an INVITE with Replaces, which opens ``dialog``. Returns 100, or the status
    that refuses the INVITE."""
    request = invite.request
    if call.pickup is not None:
        return 486  # somebody is just picking it up
    if not may_pick_up(call.services, joiner, call.state, now):
        return 603
    at = description_in(request) if request is not None else None
    if at is None or request is None:
        return 488
    try:
        answer = sdp.inactive(request.body[at], call.services.stack.token().encode())
    except sdp.SdpError:
        return 488
    Pickup(call, joiner, dialog, invite.flow).take(invite, answer, now)
    return 100


def may_pick_up(services: CallServices, joiner: Joiner, state: CallState, now: float) -> bool:
    """Whether the joiner's line may pick up calls of the ringing telephone. It may if it may subscribe to it
    (docs/decisions.md): both lines pass subscriptions, and the routes lead from the one to a number of the other."""
    lines = services.site.lines
    own, rung = lines.get(joiner.line.partition("/")[0]), lines.get(state.callee_line.partition("/")[0])
    if own is None or rung is None or not rung.is_phone:
        return False
    if own.subscriptions != "pass" or rung.subscriptions != "pass":
        return False
    for number in (*rung.numbers, rung.aor_user):
        plan = services.router.plan(CallRequest(own.name, number, joiner.number), Load(0, {}), now)
        if isinstance(plan, Plan) and plan.target.line == rung.name:
            return True
    return False


def picks_up(state: CallState, call_id: str, opened_by_server: bool) -> bool:
    """Whether a confirmed dialog is that of a party which picks up: the party opened it, and is not the caller, and
    the call is unanswered."""
    return not (state.answered or opened_by_server or call_id in (state.caller_dialog, state.callee_dialog))
