"""Requests outside calls: MESSAGE (RFC 3428) and devices' subscriptions (RFC 6665). Each is passed from line to line,
and answered when the other side has answered.

Requests outside a dialog follow the routes. Requests inside a subscription go to the line that their Request-URI
names, as the dialog is one between two agents. A server keeps no state but the transactions: if it dies, the sending
agent repeats the request to the next leader with the same branch, and the receiving agent recognises its origin key,
so it arrives only once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from b2bua.call import LONGEST_WAIT, CallServices
from b2bua.destination import Destination
from b2bua.device_subscriptions import (
    OF_DIALOGS,
    SITE,
    PeerRoute,
    contact_for_agent,
    contact_for_peer,
    decode,
    dialog_of,
    far_after,
    from_peer,
    known_by,
    number_there,
)
from b2bua.lines import LineLoad, Load
from b2bua.onward import onward_of
from b2bua.plan import Plan, Refusal, RouteTarget
from b2bua.routing import CallRequest
from b2bua.state_token import origin_of
from heartbeat.site.lines import LineSettings
from sip.actions import UNREACHABLE, Flow
from sip.b2b.policy import LATER
from sip.device.sending import send_with_proof
from sip.dialog import Dialog, bare_uri
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, refused_outside_dialogs
from sip.next_hop import DialogPath
from sip.packages.message_summary import is_of_messages
from sip.references import is_of_transfer
from sip.subscription import FATAL, is_last
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Request, Response, elements
from sip.wire.uri import Uri, user_of

MOST: Final = 2000
"""Requests that may be under way at once; further ones are answered 503 with Retry-After."""
MOST_OF_LINE: Final = 20
"""The same limit for one own line; agents limit theirs themselves."""
RESTART_WAIT: Final = 8.0
"""Seconds for which a request inside a subscription waits for an agent that restarts."""
PASSED: Final = frozenset({"MESSAGE", "SUBSCRIBE", "NOTIFY"})
LOOK_S: Final = 0.1


class Authority(Protocol):
    """The part of :class:`~b2bua.leadership.Leadership` that is needed here."""

    def shows_higher_epoch(self, response: Response, agent: str, now: float) -> bool: ...


class Passing:
    """One request under way; the transaction user of its client transactions."""

    __slots__ = (
        "asked",
        "attempt",
        "dialog",
        "generation",
        "line",
        "messages",
        "of_own_line",
        "origin",
        "places",
        "plan",
        "provable",
        "request",
        "until",
    )

    def __init__(
        self,
        messages: Messages,
        asked: ServerTransaction,
        request: Request,
        origin: str,
        plan: Plan,
        of_own_line: bool,
        now: float,
    ) -> None:
        self.messages = messages
        self.asked = asked
        self.request = request
        self.origin = origin
        self.plan = plan
        self.attempt = 0
        self.until = now
        """Until when to wait for an agent that is not connected, on the core's clock."""
        self.generation = 0
        self.line = plan.line
        """The line that the request came from."""
        self.of_own_line = of_own_line
        """Whether that is an own line."""
        self.dialog: Dialog | None = None
        """The subscription's dialog with the peer of an own line, if the request was sent to one."""
        self.places: list[Destination] = []
        """The destinations of an own line that are left to try."""
        self.provable = b""
        """The bytes sent to an own line without credentials, to be sent again with them when challenged."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.messages.answered(self, transaction, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.messages.failed(self, transaction.failure, None, now)

    def due(self, cause: str, now: float) -> None:
        self.messages.pass_on(self, now)


class Messages:
    """Passes these requests on. A server has one instance for its whole life."""

    def __init__(self, services: CallServices, authority: Authority, node: str) -> None:
        self._services = services
        self._authority = authority
        self._node = node
        self.under_way: set[Passing] = set()

    def requested(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """Handle a request of an agent's device or, where ``agent`` is empty, of an own line."""
        services, method = self._services, request.method
        stack, own_lines = services.stack, services.own_lines
        line: str | None
        if agent:
            line = (request.get("line") or "").partition("/")[0]
        elif request.to_tag:  # telephones at servers have no subscriptions
            line = own_lines.senders.line_of(transaction.flow)
        else:
            line = own_lines.senders.of(transaction, request, now)
        if line is None:
            return
        known = services.site.lines.get(line)
        if known is None or not known.passes(method) or known.agent != agent:
            stack.respond_stateless(transaction, *refused_outside_dialogs(method))
            return
        theirs = 0 if agent else sum(one.line == line for one in self.under_way)
        if len(self.under_way) >= MOST or theirs >= MOST_OF_LINE:
            stack.respond_stateless(transaction, 503, LATER.lines)
            return
        try:
            request = request if agent or request.to_tag else own_lines.caller_identity.believed(line, request)
            called, caller = user_of(request.uri), user_of(bare_uri(request.get("from") or ""))
        except SipError:
            stack.respond_stateless(transaction, 404)
            return
        plan = self._plan(request, CallRequest(line, called, caller), now)
        if isinstance(plan, int):
            stack.respond_stateless(transaction, plan)
            return
        one = Passing(
            self, transaction, request, origin_of(agent or self._node, request.branch), plan, not agent, now
        )
        self.under_way.add(one)
        self._next(one, now)

    def _plan(self, request: Request, asked: CallRequest, now: float) -> Plan | int:
        """The lines that a request may go to, or the status that refuses it."""
        lines = self._services.site.lines
        if request.to_tag:  # the other end of a subscription, as it named itself in Contact
            line, from_own_line = lines.get(asked.called), lines[asked.line or ""].at_servers
            if line is None or not (from_own_line or _is_at(line, request.uri)):
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
        """The load for routing, without any busy channels: a busy line can get messages."""
        loads = self._services.lines.loads
        return Load(0, {name: LineLoad(0, load.in_service) for name, load in loads.items()})

    def _next(self, one: Passing, now: float) -> None:
        one.attempt += 1
        one.until = now + (RESTART_WAIT if one.request.to_tag else LONGEST_WAIT)
        one.places = []
        self.pass_on(one, now)

    def pass_on(self, one: Passing, now: float) -> None:
        """Send the request to the first target that is left."""
        services, target = self._services, one.plan.target
        line = services.site.lines.get(target.line)
        if not one.asked.open:
            self.under_way.discard(one)
            return
        passed = one.request.method
        if line is None or not line.passes(passed) or (line.at_servers and one.of_own_line and passed != "MESSAGE"):
            self.failed(one, 405, None, now)
            return
        if line.at_servers:
            if one.places or services.ready(target, lambda then: self.pass_on(one, then)):
                self._to_device(one, now)
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
            *(_same_dialog(request, one) if method in OF_DIALOGS else self._own_head(request)),
            f"Max-Forwards: {max_forwards_left(request)}",
            *(self._heard(one) if one.of_own_line and request.to_tag else crossing(request, DEVICE_HOP)),
            f"Call-Origin: {one.origin};{one.attempt}",
            *services.site_headers,
        ]
        uri = place.uri
        if request.to_tag:
            uri = known_by(line.agent, line.name) if one.of_own_line else request.uri
        stack.request(method, request_bytes(method, uri, lines, request.body), branch, place.flow, one, now)

    def _heard(self, one: Passing) -> list[str]:
        return self._services.own_lines.caller_identity.heard(one.line, one.request)

    def _to_device(self, one: Passing, now: float) -> None:
        """Send the request to the next destination of an own line."""
        if one.request.to_tag:
            self._inside(one, now)
            return
        services, plan = self._services, one.plan
        target = plan.target
        places = one.places or services.destinations(target, now)
        if not places:
            self.failed(one, 503, None, now)
            return
        place, *one.places = places
        stack, flow, identity = services.stack, place.flow, services.own_lines.caller_identity
        try:
            onward, uri, told = onward_of(services.site, identity, plan, target, place, flow, one.request)
        except SipError:
            self.failed(one, 404, None, now)
            return
        assert told is not None
        headers = identity.headers(target.line, onward, told)
        if onward.method in OF_DIALOGS:
            dialog = dialog_of(onward, PeerRoute(uri, place.route), told.sender, told.recipient)
            self._send(one, dialog, None, headers, flow, place, now)
            return
        branch = stack.branch()
        lines = [
            stack.via(flow, branch),
            f"From: {told.sender};tag={stack.token()}",
            f"To: {told.recipient}",
            f"Call-ID: {stack.token()}{stack.token()}",
            "CSeq: 1 MESSAGE",
            f"Max-Forwards: {max_forwards_left(onward)}",
            *(f"Route: {route}" for route in place.route),
            *headers,
        ]
        one.provable = request_bytes("MESSAGE", uri, lines, onward.body)
        if flow is UNREACHABLE:
            self.failed(one, 503, None, now)
        else:
            stack.request("MESSAGE", one.provable, branch, flow, one, now, place)

    def _inside(self, one: Passing, now: float) -> None:
        """Send an agent's request inside a subscription to the peer of an own line."""
        services, request, target = self._services, one.request, one.plan.target
        far, places = decode(request.uri), services.destinations(target, now)
        if far is None or not far.target or not places or places[0].device is None:
            self.failed(one, 481 if far is None or not far.target else 503, None, now)
            return
        place = places[0]
        assert place.device is not None
        dialog = dialog_of(request, far, request.from_untagged, request.to_untagged)
        headers = services.own_lines.caller_identity.said(target.line, request)
        path = DialogPath(place.flow, place.device.reach)

        def go(flow: Flow, now: float) -> None:
            self._send(one, dialog, far, headers, flow, place, now)

        flow = path.flow_for(far.target, far.route_set, now)
        if flow is None:
            path.wait(go, now)
        else:
            go(flow, now)

    def _send(
        self,
        one: Passing,
        dialog: Dialog,
        far: PeerRoute | None,
        headers: list[str],
        flow: Flow,
        place: Destination,
        now: float,
    ) -> None:
        """Send a subscription's request to the peer of an own line; ``far``: its target, if known already."""
        stack, request = self._services.stack, one.request
        if flow is UNREACHABLE or not one.asked.open:
            self.failed(one, 503, None, now)
            return
        branch, one.dialog = stack.branch(), dialog
        uri, head = dialog.head(request.method, number_there(request), stack.via(flow, branch))
        lines = [
            *head,
            contact_for_peer(stack, flow, one.line, far),
            f"Max-Forwards: {max_forwards_left(request)}",
            *headers,
        ]
        one.provable = request_bytes(request.method, uri, lines, request.body)
        stack.request(request.method, one.provable, branch, flow, one, now, place)

    def _own_head(self, request: Request) -> tuple[str, ...]:
        stack = self._services.stack
        return (
            f"From: {request.from_untagged};tag={stack.token()}",
            f"To: {request.to_untagged}",
            f"Call-ID: {stack.token()}{stack.token()}",
            f"CSeq: 1 {request.method}",
        )

    def answered(self, one: Passing, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Handle a final response: of an own line, or of an agent, either from its device or a refusal by its fence,
        after which the request is sent again."""
        agents, flow, place = self._services.agents, transaction.flow, transaction.context
        data, one.provable = one.provable, b""
        if response.status in (401, 407) and isinstance(place, Destination) and place.device is not None and data:
            digest, stack = place.device.digest, self._services.stack
            if digest is not None and send_with_proof(stack, data, digest, transaction, response, one, now):
                return
        connection = agents.by_flow.get(flow)
        if (
            response.status == 403
            and connection is not None
            and self._authority.shows_higher_epoch(response, agents.agent_of(flow), now)
        ):
            if not connection.refused.add(partial(self.pass_on, one), now):
                self.failed(one, 503, None, now)
        elif response.status >= 300:
            self.failed(one, response.status, response, now)
        else:
            self._answer(one, response.status, response, now)

    def failed(self, one: Passing, status: int, response: Response | None, now: float) -> None:
        """The present target failed: try the next one, or answer the request."""
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
            lines = [*self._contact(one, response), *self._response_lines(one, response)]
            stack.reply(one.asked, status, now, response.reason, lines, response.body, response.to_tag)

    def _contact(self, one: Passing, response: Response) -> list[str]:
        """The Contact line for a response in a subscription that is passed back."""
        stack, request = self._services.stack, one.request
        if request.method not in OF_DIALOGS or "contact" not in response or response.status >= 300:
            return []
        if one.of_own_line:
            known = decode(request.uri) if request.to_tag else PeerRoute("", tuple(elements(request, "record-route")))
            return [contact_for_peer(stack, one.asked.flow, one.plan.target.line, known)]
        if one.dialog is not None:
            return [contact_for_agent(one.plan.target.line, far_after(request, one.dialog, response))]
        return [response.line("contact")]

    def _response_lines(self, one: Passing, response: Response) -> list[str]:
        """The header lines of a response in the form for the sender of the request."""
        callers = self._services.own_lines.caller_identity
        if one.of_own_line:
            return callers.said(one.line, response)
        return crossing(response, DEVICE_HOP) if one.dialog is None else callers.heard(one.plan.target.line, response)

    def drop(self) -> None:
        """Another server leads: drop all requests, which the agents repeat to it."""
        for one in self.under_way:
            one.generation += 1
            one.asked.terminate()
        self.under_way.clear()


def is_passed(request: Request, lines: Mapping[str, LineSettings]) -> bool:
    """Whether a request of an own line is to be handled here. In the dialog of a subscription, not of a call, its
    Request-URI names the line of an agent."""
    if request.method == "MESSAGE":
        return not request.to_tag
    if request.method not in OF_DIALOGS or is_of_transfer(request):
        return False
    if not request.to_tag:
        return True
    with suppress(SipError):
        line = lines.get(user_of(request.uri))
        return line is not None and not line.at_servers
    return False


def _to(line: str, asked: CallRequest, because: str) -> Plan:
    """A plan with this line as the only target."""
    return Plan(
        (RouteTarget(line, asked.called, LONGEST_WAIT, because),), asked.line or "", asked.called, asked.caller
    )


def _is_at(line: LineSettings, uri: str) -> bool:
    """Whether the host in a Contact from the agents' side is that of the line's agent, or of the servers."""
    return Uri.parse(uri).host == (line.agent or SITE)


def _same_dialog(request: Request, one: Passing) -> list[str]:
    """The header lines of the subscription's dialog, which both agents know by the same identifiers
    (docs/wire.md)."""
    if one.of_own_line:
        return from_peer(request, one.line)
    return [request.line(name) for name in ("from", "to", "call-id", "cseq", "contact") if name in request]
