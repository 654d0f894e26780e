"""MESSAGE outside calls (RFC 3428) and subscriptions of devices (RFC 6665): from line to line, each passed on first
and answered after.

What opens something goes by the routes; what is inside a subscription to the agent and line that its Request-URI
names, for the dialog is one between two agents. A server keeps nothing of it but the transactions. Its agent sends it
again to the server that leads next, under the same branch, and the agent where it goes recognises its origin key: so
it comes once, whatever server dies meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

from b2bua.call import LONGEST_WAIT, CallServices, onward_of
from b2bua.destination import Destination
from b2bua.routing import CallRequest, LineLoad, Load, Plan, Refusal, RouteTarget
from b2bua.state_token import origin_of
from sip.actions import UNREACHABLE
from sip.b2b.policy import LATER
from sip.device.sending import send_with_proof
from sip.dialog import bare_uri
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, refused_outside_dialogs
from sip.packages.message_summary import is_of_messages
from sip.subscription import FATAL, is_last
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Request, Response
from sip.wire.uri import Uri, user_of

MOST: Final = 2000
"""Messages under way at once; beyond, 503 with Retry-After."""
MOST_OF_TRUNK: Final = 20
"""Of one trunk of ours; agents count those of theirs."""
LONGEST_AWAY: Final = 8.0
"""Seconds for which an agent that starts anew is waited for with what is inside a subscription."""
PASSED: Final = frozenset({"MESSAGE", "SUBSCRIBE", "NOTIFY"})
LOOK_S: Final = 0.1


class Authority(Protocol):
    """Who may lead, as far as messages ask."""

    def heard_refusal(self, response: Response, agent: str, now: float) -> bool: ...


class Passing:
    """One message on its way."""

    __slots__ = (
        "asked",
        "attempt",
        "generation",
        "line",
        "messages",
        "origin",
        "places",
        "plan",
        "provable",
        "request",
        "until",
    )

    def __init__(
        self, messages: Messages, asked: ServerTransaction, request: Request, origin: str, plan: Plan, now: float
    ) -> None:
        self.messages = messages
        self.asked = asked
        self.request = request
        self.origin = origin
        self.plan = plan
        self.attempt = 0
        self.until = now
        """How long an agent that is away is waited for."""
        self.generation = 0
        self.line = plan.line
        """That it came from."""
        self.places: list[Destination] = []
        """Of a trunk of ours, those that are left to try."""
        self.provable = b""
        """What went there without credentials."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.messages.answered(self, transaction, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.messages.failed(self, transaction.failure, None, now)

    def due(self, cause: str, now: float) -> None:
        self.messages.pass_on(self, now)


class Messages:
    """One for the life of a server."""

    def __init__(self, services: CallServices, authority: Authority, node: str) -> None:
        self._services = services
        self._authority = authority
        self._node = node
        self.under_way: set[Passing] = set()

    def requested(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """One of these of an agent's device; a MESSAGE of a trunk of ours, too."""
        services, method = self._services, request.method
        stack, trunks = services.stack, services.trunks
        line = (request.get("line") or "").partition("/")[0] if agent else trunks.line_of(transaction.flow)
        known = services.site.lines.get(line)
        if known is None or not known.passes(method) or known.agent != agent:
            stack.respond_stateless(transaction, *refused_outside_dialogs(method))
            return
        theirs = 0 if agent else sum(one.line == line for one in self.under_way)
        if len(self.under_way) >= MOST or theirs >= MOST_OF_TRUNK:
            stack.respond_stateless(transaction, 503, LATER.lines)
            return
        try:
            request = request if agent else trunks.callers.believed(line, request)
            called, caller = user_of(request.uri), user_of(bare_uri(request.get("from") or ""))
        except SipError:
            stack.respond_stateless(transaction, 404)
            return
        plan = self._plan(request, CallRequest(line, called, caller), now)
        if isinstance(plan, int):
            stack.respond_stateless(transaction, plan)
            return
        one = Passing(self, transaction, request, origin_of(agent or self._node, request.branch), plan, now)
        self.under_way.add(one)
        self._next(one, now)

    def _plan(self, request: Request, asked: CallRequest, now: float) -> Plan | int:
        """Which lines it may go to, or the status with which it is refused."""
        lines = self._services.site.lines
        if request.to_tag:  # the other end of a subscription, as it named itself in Contact
            line = lines.get(asked.called)
            if line is None or line.agent != Uri.parse(request.uri).host:
                return 481
            return _to(line.name, asked, "it has the other end of the subscription")
        of_mailbox = request.method == "SUBSCRIBE" and is_of_messages(request)
        own = lines.get(asked.line or "")
        if of_mailbox and own is not None and own.mailbox and asked.called in (*own.numbers, own.aor_user):
            return _to(own.mailbox, asked, f"it keeps the messages of {own.name}")
        plan = self._services.router.plan(asked, self._load(), now)
        if isinstance(plan, Refusal):
            return plan.status
        first = lines.get(plan.target.line)
        if of_mailbox and first is not None and first.is_phone:
            return _to(first.mailbox, asked, f"it keeps the messages of {first.name}") if first.mailbox else 404
        return plan

    def _load(self) -> Load:
        """Whoever talks can be written to."""
        loads = self._services.lines.loads
        return Load(0, {name: LineLoad(0, load.in_service) for name, load in loads.items()})

    def _next(self, one: Passing, now: float) -> None:
        one.attempt += 1
        one.until = now + (LONGEST_AWAY if one.request.to_tag else LONGEST_WAIT)
        one.places = []
        self.pass_on(one, now)

    def pass_on(self, one: Passing, now: float) -> None:
        """Send it to the first target that is left."""
        services, target = self._services, one.plan.target
        line = services.site.lines.get(target.line)
        if not one.asked.open:
            self.under_way.discard(one)
            return
        passed = one.request.method
        if line is None or not line.passes(passed) or (line.at_servers and passed != "MESSAGE"):
            self.failed(one, 405, None, now)
            return
        if line.at_servers:
            if one.places or services.ready(target, lambda then: self.pass_on(one, then)):
                self._to_trunk(one, now)
            return
        places = services.destinations(target, now)
        if not places:
            if now < one.until:
                services.stack.deadlines.set(now + LOOK_S, one, "is the agent there?")
            else:
                self.failed(one, 503, None, now)
            return
        stack, place, request = services.stack, places[0], one.request
        branch, method = stack.branch(), request.method
        lines = [
            stack.via(place.flow, branch),
            *(_same_dialog(request) if method in _OF_DIALOGS else self._own_head(request)),
            f"Max-Forwards: {max_forwards_left(request)}",
            *crossing(request, DEVICE_HOP),
            f"Call-Origin: {one.origin};{one.attempt}",
            *services.site_headers,
        ]
        uri = request.uri if request.to_tag else place.uri
        stack.request(method, request_bytes(method, uri, lines, request.body), branch, place.flow, one, now)

    def _to_trunk(self, one: Passing, now: float) -> None:
        """Send it to the next place of a trunk of ours."""
        services, plan = self._services, one.plan
        target = plan.target
        places = one.places or services.destinations(target, now)
        if not places:
            self.failed(one, 503, None, now)
            return
        place, *one.places = places
        stack, flow = services.stack, place.flow
        try:
            onward, uri, told = onward_of(services, plan, target, place, flow, one.request)
        except SipError:
            self.failed(one, 404, None, now)
            return
        assert told is not None
        branch = stack.branch()
        lines = [
            stack.via(flow, branch),
            f"From: {told.sender};tag={stack.token()}",
            f"To: {told.recipient}",
            f"Call-ID: {stack.token()}{stack.token()}",
            "CSeq: 1 MESSAGE",
            f"Max-Forwards: {max_forwards_left(onward)}",
            *(f"Route: {route}" for route in place.route),
            *services.trunks.callers.headers(target.line, onward, told),
        ]
        one.provable = request_bytes("MESSAGE", uri, lines, onward.body)
        if flow is UNREACHABLE:
            self.failed(one, 503, None, now)
        else:
            stack.request("MESSAGE", one.provable, branch, flow, one, now, place)

    def _own_head(self, request: Request) -> tuple[str, ...]:
        stack = self._services.stack
        return (
            f"From: {request.from_untagged};tag={stack.token()}",
            f"To: {request.to_untagged}",
            f"Call-ID: {stack.token()}{stack.token()}",
            f"CSeq: 1 {request.method}",
        )

    def answered(self, one: Passing, transaction: ClientTransaction, response: Response, now: float) -> None:
        """The agent's answer: that of its device, or a refusal by its fence, after which it is sent again; or that of
        a trunk of ours."""
        agents, flow, place = self._services.agents, transaction.flow, transaction.context
        data, one.provable = one.provable, b""
        if response.status in (401, 407) and isinstance(place, Destination) and place.trunk is not None and data:
            digest, stack = place.trunk.digest, self._services.stack
            if digest is not None and send_with_proof(stack, data, digest, transaction, response, one, now):
                return
        connection = agents.by_flow.get(flow)
        if (
            response.status == 403
            and connection is not None
            and self._authority.heard_refusal(response, agents.agent_of(flow), now)
        ):
            if not connection.refused.add(partial(self.pass_on, one), now):
                self.failed(one, 503, None, now)
        elif response.status >= 300:
            self.failed(one, response.status, response, now)
        else:
            self._answer(one, response.status, response, now)

    def failed(self, one: Passing, status: int, response: Response | None, now: float) -> None:
        """To the next target, or the answer."""
        services = self._services
        if one.places and status in (408, 503):
            self.pass_on(one, now)
            return
        if one.request.to_tag:
            self._answer(one, status, response, now)
            return
        rest = services.router.after(one.plan, status, self._load(), now)
        if isinstance(rest, Refusal):
            self._answer(one, rest.status, response if rest.status == status else None, now)
        else:
            one.plan = rest
            self._next(one, now)

    def _answer(self, one: Passing, status: int, response: Response | None, now: float) -> None:
        self.under_way.discard(one)
        stack, request = self._services.stack, one.request
        status = 403 if status in (401, 407) else status
        if request.to_tag and (status in FATAL or is_last(request)):
            self._services.agents.subscription_ended(request.call_id)
        if response is None:
            lines = list(LATER.lines) if status == 503 else []
            stack.reply(one.asked, status, now, lines=lines, tag=stack.token())
        else:
            contact = [response.line("contact")] if "contact" in response else []
            lines = [*(contact if request.method in _OF_DIALOGS else ()), *crossing(response, DEVICE_HOP)]
            stack.reply(one.asked, status, now, response.reason, lines, response.body, response.to_tag)

    def drop(self) -> None:
        """They are another server's: their agents send them there."""
        for one in self.under_way:
            one.generation += 1
            one.asked.terminate()
        self.under_way.clear()


def _to(line: str, asked: CallRequest, because: str) -> Plan:
    """There and nowhere else."""
    return Plan(
        (RouteTarget(line, asked.called, LONGEST_WAIT, because),), asked.line or "", asked.called, asked.caller
    )


def _same_dialog(request: Request) -> list[str]:
    """Its dialog is one between two agents: they know it by the same names (docs/wire.md)."""
    return [request.line(name) for name in ("from", "to", "call-id", "cseq", "contact") if name in request]


_OF_DIALOGS: Final = frozenset({"SUBSCRIBE", "NOTIFY"})
