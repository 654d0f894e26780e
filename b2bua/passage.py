"""How messages pass through the server from one leg to the other: the site's headers, state tokens, and refusals by
agents' fences (docs/wire.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from b2bua.call import Call, CallServices, device_leg_moved, wait_for, without_device_leg
from b2bua.call_state import held_after
from b2bua.device_leg import DeviceLeg, session_lines
from b2bua.replacement import joined
from b2bua.transfer import Ask
from sip.b2b.bridge import (
    ACKNOWLEDGED,
    ANSWERED,
    CHANGED,
    ENDED,
    FAILED,
    HELD_BACK,
    OUR_OWN,
    PROVISIONAL,
    REQUESTED,
    RESPONDED,
    ROUTING,
    SETUP,
)
from sip.b2b.policy import LATER, NOTHING, Passage, Passed
from sip.device.header_rules import ruled, without
from sip.device.identity import (
    AS_IT_IS,
    POLICY_FIELDS,
    asserted_by_device,
    asserted_to_device,
    rewritten,
    with_fields,
)
from sip.device.reliability import marks
from sip.device.session import for_device
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left
from sip.invite import InviteUsage
from sip.redirection import contact_lines
from sip.references import EVENT, ReferTo, is_of_transfer
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Message, Request, Response, parse
from sip.wire.uri import as_user


class Authority(Protocol):
    """The part of :class:`~b2bua.leadership.Leadership` that calls need."""

    @property
    def serving(self) -> bool: ...

    def shows_higher_epoch(self, response: Response, agent: str, now: float) -> bool: ...


class ServerPassage(Passage):
    """A server has one instance. ``services`` and ``authority`` are assigned after construction."""

    services: CallServices
    authority: Authority

    def __init__(self, node: str) -> None:
        self.node = node

    def hop_headers(self, leg: InviteUsage, method: str, now: float) -> Sequence[str]:
        services = self.services
        if leg.path.reach is not None:  # an own line; not tested by the agent, whose connection may be lost just now
            return ()
        if method != "BYE":
            return services.site_headers
        # a request that the server makes itself has a key of its own (docs/wire.md)
        return (f"Call-Origin: {self.node};{services.stack.branch()};0", *services.site_headers)

    def pass_on(
        self,
        call: Call,
        event: str,
        leg: InviteUsage,
        other: InviteUsage | None,
        message: Any,
        first: bool,
        now: float,
    ) -> Passed | None:
        if call.device_legs:
            lines, body = _crossed(call, event, leg, other, message)
            if event is REQUESTED and other is not None and message.method in ("REFER", "NOTIFY"):
                lines = _of_transfer(self, call, leg, other, message, lines)
        else:
            lines, body = crossing(message, DEVICE_HOP), message.body
        if event is PROVISIONAL or event is ANSWERED:
            if event is ANSWERED:
                call.picked_up(message, now)
                if call.target_of is not None and call.target_of.answered(leg, message, now):
                    return None
                told = True
            else:
                told = call.rang(message, now) or first
            if call.state.caller_agent:
                _note_answer(call, message, lines, told)
            if "rseq" in message.first:
                _note_reliable(call, message, lines, other)
            if self.services.progressed is not None:
                self.services.progressed(now)
        elif event is RESPONDED:
            _note_response(call, leg, message, lines, other)
            joining = call.bridge.joining
            if joining is not None and other is joining.leg and 200 <= message.status < 300:
                lines += joined(call, joining, now)
            _note_device_leg(call, other, lines)
        elif event is ACKNOWLEDGED:
            if agent := call.agent_of(other):
                lines += self.services.site_headers
                if other is not call.bridge.origin or (call.device_legs and device_leg_moved(call)):
                    lines += self.services.token_lines(call, agent)
                    call.signed = None  # both agents have it
        elif event is FAILED:
            if message.status < 400:
                lines += contact_lines(message, self.services.stack, leg.flow)
        elif call.agent_of(other):
            lines.append(f"Call-Origin: {call.agent_of(leg) or self.node};{message.branch};1")
            lines += self.services.site_headers
            _note_device_leg(call, other, lines)
        if call.device_legs and event in _TOLD:
            self.services.cookies.put(call)
        if self.services.former_tokens:
            self.services.renew(call, other, lines)
        return Passed(lines, body)

    def send(
        self,
        call: Call,
        leg: InviteUsage,
        method: str,
        passed: Passed,
        asked: ServerTransaction | str,
        max_forwards: int,
        now: float,
    ) -> None:
        there = call.device_legs.get(leg)
        if there is not None and _waits(self, call, there, method, asked, now):
            return
        lines = [*passed.lines, *(there.session.asking() if there is not None and method == "INVITE" else ())]
        if method == "PRACK" and isinstance(asked, ServerTransaction):
            asking = call.device_legs.get(asked.context)
            if asking is not None and asking.offers_anew:  # the response is acknowledged on the other hop already
                method = "UPDATE"
        # between agents, the sender's agent knows when its device gave up, and reverts a late success itself
        no_timeout = method == "INVITE" and bool(call.state.caller_agent and call.state.callee_agent)
        leg.send(method, lines, passed.body, now, asked, max_forwards, no_timeout)

    def reply(
        self,
        call: Any,
        asked: ServerTransaction,
        status: int,
        now: float,
        reason: str = "",
        passed: Passed | None = None,
        tag: str = "",
    ) -> None:
        device_leg = call.device_legs.get(asked.context) if isinstance(call, Call) and call.device_legs else None
        if device_leg is not None and status >= 200:
            if (shown := for_device(status, (passed or NOTHING).lines)) != status:
                status, reason = shown, ""
            if asked.request is not None and asked.request.method in ("INVITE", "UPDATE", "PRACK"):
                lines, body = passed or NOTHING
                status, lines = device_leg.answer(asked.request, status, lines, now)
                passed = Passed(lines, body)
        lines, body = passed or NOTHING
        asked.context.reply(asked, status, now, reason, lines, body, tag)
        if isinstance(call, Call) and (joining := call.bridge.joining) is not None:
            _end_refused(call, joining.leg)

    def own(
        self, call: Any, leg: InviteUsage, transaction: ClientTransaction, response: Response | None, now: float
    ) -> None:
        asked = transaction.context
        if not isinstance(asked, Ask) or (response is not None and response.status < 200):
            return
        if isinstance(call, Call) and response is not None and (device_leg := call.device_legs.get(leg)) is not None:
            response.body = device_leg.heard(response)
        asked.transfer.heard(asked.what, response, now)

    def answers_at_once(self, call: Any, leg: InviteUsage) -> bool:
        """Whether requests of a leg are answered at once: on own lines, as agents do for their devices."""
        return isinstance(call, Call) and leg in call.device_legs

    def unanswered(self, call: Call, leg: InviteUsage, transaction: ClientTransaction) -> int:
        if transaction.method != "BYE" and call.agent_of(leg):
            return 500  # a missing agent must not end a dialog (docs/wire.md)
        return super().unanswered(call, leg, transaction)

    def unacknowledged(self, call: Call, leg: InviteUsage, now: float) -> float | None:
        """A missing ACK ends a call only if the agent was reachable all that time; a cut path proves nothing
        (docs/decisions.md).
        """
        connection = self.services.agents.connections.get(call.agent_of(leg))
        lifetime = self.services.stack.timers.lifetime
        if connection is not None and (reached := connection.reached_for(now)) < lifetime:
            return now + lifetime - reached
        return None

    def intercepts(
        self, call: Call | None, leg: InviteUsage, transaction: ClientTransaction, response: Response, now: float
    ) -> bool:
        """A refusal by an agent's fence ends nothing: the request goes again when the agent has adopted this
        server."""
        if response.status != 403:
            device_leg = call.device_legs.get(leg) if call is not None and call.device_legs else None
            return device_leg is not None and device_leg.by_reinvite(transaction, response, now)
        connection = self.services.agents.by_flow.get(leg.flow)
        if connection is None or not self.authority.shows_higher_epoch(
            response, self.services.agents.agent_of(leg.flow), now
        ):
            return False
        if not self.authority.serving:
            return True
        asked = transaction.context
        if asked is SETUP:
            if call is not None:
                call.bridge.step(HELD_BACK, leg, None, None, now)
                if call.bridge.phase is ROUTING:
                    call.give_line(call.state.callee_line)
                    if not wait_for(call, connection, now):
                        call.go_on(503, None, now)
        elif isinstance(asked, Ask):
            connection.refused.add(partial(asked.transfer.again, asked.what), now)
        elif transaction.method == "BYE" and not isinstance(asked, ServerTransaction):
            reason = _reason_in(transaction.request) if asked is OUR_OWN else str(asked)
            connection.refused.add(partial(self.services.discarded.hang_up, leg, reason), now)
            if call is not None:
                call.bridge.settle(now)
        elif (
            call is not None
            and isinstance(asked, ServerTransaction)
            and asked.open
            and not connection.refused.add(partial(self._ask_again, call, leg, asked), now)
        ):
            self.reply(call, asked, 500, now, passed=LATER)
        return True

    def _ask_again(self, call: Call, leg: InviteUsage, asked: ServerTransaction, now: float) -> None:
        request, asking = asked.request, asked.context
        if request is None or not asked.open or not isinstance(asking, InviteUsage):
            return
        if request.method == "BYE":
            passed = self.pass_on(call, ENDED, asking, leg, request, False, now) or NOTHING
            self.send(call, leg, "BYE", passed, asked, max_forwards_left(request), now)
        else:
            event = CHANGED if request.method == "INVITE" else REQUESTED
            call.bridge.step(event, asking, asked, request, now)

    def behind(self, call: Call, leg: InviteUsage, act: Callable[[float], None], now: float) -> bool:
        connection = self.services.agents.by_flow.get(leg.flow)
        return connection is not None and bool(connection.refused) and connection.refused.add(act, now)


def _end_refused(call: Call, leg: InviteUsage) -> None:
    """Remove the leg of a party that was to replace another one, if that was refused."""
    if leg.ended:
        call.bridge.joining = None
        if leg in call.device_legs:
            without_device_leg(call, leg)


def _waits(
    passage: ServerPassage, call: Call, device_leg: DeviceLeg, method: str, asked: ServerTransaction | str, now: float
) -> bool:
    """Whether a request to a telephone that is not reachable yet was answered 500 with Retry-After. Otherwise it
    would end in 408 after 64*T1, which ends the sender's dialog. A BYE, or the re-INVITE of a replacement, is sent
    anyway.
    """
    if (
        not device_leg.refresh_pending
        or not isinstance(asked, ServerTransaction)
        or method == "BYE"
        or call.bridge.joining
    ):
        return False
    device_leg.session.offers.refuse()
    passage.reply(call, asked, 500, now, passed=LATER)
    return True


_TOLD: Final = frozenset({ANSWERED, CHANGED, REQUESTED, RESPONDED})
"""Events whose message gives the other side a new Contact of the server."""


def _crossed(
    call: Call, event: str, leg: InviteUsage, other: InviteUsage | None, message: Message
) -> tuple[list[str], bytes]:
    """Header lines and body of a message that passes from or to an own line, in the form for the other side."""
    here = call.device_legs.get(leg) if event is not FAILED else None
    there = call.device_legs.get(other) if other is not None else None
    dropped, more = AS_IT_IS
    tells = not POLICY_FIELDS.isdisjoint(message.names)
    if tells and here is not None:
        dropped, more = asserted_by_device(here.identity, message, "")
    if tells and there is not None:
        believed = with_fields(message, dropped, more) if dropped else message
        hidden, more = asserted_to_device(there.identity, believed, there.identity.domain)
        dropped |= hidden
    lines = [*crossing(message, DEVICE_HOP | dropped if dropped else DEVICE_HOP), *more]
    if here is not None and (rules := here.identity.from_device_headers):
        lines = ruled(rules, lines)
    if there is not None and (rules := there.identity.to_device_headers):
        lines = ruled(rules, lines)
    if event is FAILED:
        return lines, message.body
    if here is not None:
        lines += session_lines(here, message)
        message.body = here.heard(message)
    if there is None:
        return lines, message.body
    body = there.told(message)
    if event is PROVISIONAL and (there.eager or "rseq" in message.first):
        lines = there.provisional_lines(message, lines)
    elif event is ANSWERED and not body and there.described:
        lines, body = there.answer_of(message, lines)
    return lines, body


def _of_transfer(
    passage: ServerPassage, call: Call, leg: InviteUsage, other: InviteUsage, request: Request, lines: list[str]
) -> list[str]:
    """Header lines of a REFER from or to an own line, with the number in Refer-To in the form of the receiving side;
    or of its NOTIFY, without the ``id`` of Event, which is a CSeq of the other hop.
    """
    if request.method == "NOTIFY":
        return [*without(lines, "event"), f"Event: {EVENT}"] if is_of_transfer(request) else lines
    refer, here, there = ReferTo.of(request), call.device_legs.get(leg), call.device_legs.get(other)
    number = refer.uri.dialled
    if here is not None:
        number = rewritten(here.identity.from_device_called, number)
    called = f"sip:{as_user(number)}@{passage.node}"
    if there is not None:
        told = as_user(rewritten(there.identity.to_device_called, number))
        called = passage.services.stack.contact_uri(other.flow, told)
    return [*without(lines, "refer-to"), refer.line(called, lambda dialog: dialog)]


def _reason_in(data: bytes) -> str:
    """The Reason header of a request that the server has sent."""
    return parse(data).get("reason") or ""


def _note_answer(call: Call, response: Response, lines: list[str], told: bool) -> None:
    """Add the headers for the caller's agent to a response to the first INVITE; ``told``: with a state token."""
    state = call.state
    if state.callee_agent and (origin := response.get("call-origin")) is not None:
        lines.append(f"Call-Origin: {origin}")
    if told:
        lines += call.services.token_lines(call, state.caller_agent)


def _note_reliable(call: Call, response: Response, lines: list[str], other: InviteUsage | None) -> None:
    """Mark a provisional response that arrived reliably, so that the agent can decide how its device gets it."""
    if call.agent_of(other):
        lines += marks(response)


def _note_device_leg(call: Call, other: InviteUsage | None, lines: list[str]) -> None:
    """Add a new token for the other leg's agent, if the state of a leg with an own line has changed."""
    if call.device_legs and (agent := call.agent_of(other)) and device_leg_moved(call):
        lines += call.services.token_lines(call, agent)


def _note_response(
    call: Call, leg: InviteUsage, response: Response, lines: list[str], asking: InviteUsage | None
) -> None:
    """Add headers to a response within the call, and note from a re-INVITE's SDP which sides hold."""
    if call.agent_of(leg) and call.agent_of(asking) and (origin := response.get("call-origin")) is not None:
        lines.append(f"Call-Origin: {origin}")
    if response.cseq_method == "INVITE" and response.status < 300 and asking is not None:
        pending = asking.server_invite.pending
        offer = pending.request.body if pending is not None and pending.request is not None else b""
        side = "a" if asking is call.bridge.origin else "b"
        call.held = held_after(call.held, side, offer, response.body)
