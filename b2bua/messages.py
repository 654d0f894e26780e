"""MESSAGE outside calls (RFC 3428): from line to line by the routes, each passed on first and answered after.

A server keeps nothing of it but the transactions. Its agent sends it again to the server that leads next, under the
same branch, and the agent where it goes recognises its origin key: so it comes once, whatever server dies meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

from b2bua.call import LONGEST_WAIT, CallServices
from b2bua.routing import CallRequest, LineLoad, Load, Plan, Refusal
from b2bua.state_token import origin_of
from heartbeat.site.lines import LineSettings
from sip.actions import Flow
from sip.b2b.policy import LATER
from sip.dialog import bare_uri
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, refused_outside_dialogs
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Request, Response
from sip.wire.uri import user_of

MOST: Final = 2000
"""Messages under way at once; beyond, 503 with Retry-After."""
LOOK_S: Final = 0.1


class Authority(Protocol):
    """Who may lead, as far as messages ask."""

    def heard_refusal(self, response: Response, agent: str, now: float) -> bool: ...


class Passing:
    """One message on its way."""

    __slots__ = ("asked", "attempt", "generation", "messages", "origin", "plan", "request", "until")

    def __init__(
        self, messages: Messages, asked: ServerTransaction, request: Request, origin: str, plan: Plan, now: float
    ) -> None:
        self.messages = messages
        self.asked = asked
        self.request = request
        self.origin = origin
        self.plan = plan
        self.attempt = 0
        self.until = now + LONGEST_WAIT
        """How long an agent that is away is waited for."""
        self.generation = 0

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.messages.answered(self, transaction.flow, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.messages.failed(self, 408, None, now)

    def due(self, cause: str, now: float) -> None:
        self.messages.pass_on(self, now)


class Messages:
    """One for the life of a server."""

    def __init__(self, services: CallServices, authority: Authority) -> None:
        self._services = services
        self._authority = authority
        self.under_way: set[Passing] = set()

    def requested(self, transaction: ServerTransaction, request: Request, agent: str, now: float) -> None:
        """A MESSAGE of an agent's device."""
        services = self._services
        stack, line = services.stack, (request.get("line") or "").partition("/")[0]
        known = services.site.lines.get(line)
        if not agent or not _passes(known) or (known is not None and known.agent != agent):
            stack.respond_stateless(transaction, *refused_outside_dialogs("MESSAGE"))
            return
        if len(self.under_way) >= MOST:
            stack.respond_stateless(transaction, 503, LATER.lines)
            return
        try:
            called, caller = user_of(request.uri), user_of(bare_uri(request.get("from") or ""))
        except SipError:
            stack.respond_stateless(transaction, 404)
            return
        plan = services.router.plan(CallRequest(line, called, caller), self._load(), now)
        if isinstance(plan, Refusal):
            stack.respond_stateless(transaction, plan.status)
            return
        one = Passing(self, transaction, request, origin_of(agent, request.branch), plan, now)
        self.under_way.add(one)
        self._next(one, now)

    def _load(self) -> Load:
        """Whoever talks can be written to."""
        loads = self._services.lines.loads
        return Load(0, {name: LineLoad(0, load.in_service) for name, load in loads.items()})

    def _next(self, one: Passing, now: float) -> None:
        one.attempt += 1
        one.until = now + LONGEST_WAIT
        self.pass_on(one, now)

    def pass_on(self, one: Passing, now: float) -> None:
        """Send it to the first target that is left."""
        services, target = self._services, one.plan.target
        line = services.site.lines.get(target.line)
        if not one.asked.open:
            self.under_way.discard(one)
            return
        if line is None or line.at_servers or not _passes(line):
            self.failed(one, 405, None, now)
            return
        places = services.destinations(target, now)
        if not places:
            if now < one.until:
                services.stack.deadlines.set(now + LOOK_S, one, "is the agent there?")
            else:
                self.failed(one, 503, None, now)
            return
        stack, place, request = services.stack, places[0], one.request
        branch, tag = stack.branch(), stack.token()
        lines = [
            stack.via(place.flow, branch),
            f"From: {request.from_untagged};tag={tag}",
            f"To: {request.to_untagged}",
            f"Call-ID: {stack.token()}{stack.token()}",
            "CSeq: 1 MESSAGE",
            f"Max-Forwards: {max_forwards_left(request)}",
            *crossing(request, DEVICE_HOP),
            f"Call-Origin: {one.origin};{one.attempt}",
            *services.site_headers,
        ]
        data = request_bytes("MESSAGE", place.uri, lines, request.body)
        stack.request("MESSAGE", data, branch, place.flow, one, now)

    def answered(self, one: Passing, flow: Flow, response: Response, now: float) -> None:
        """The agent's answer: that of its device, or a refusal by its fence, after which it is sent again."""
        agents = self._services.agents
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
        rest = services.router.after(one.plan, status, self._load(), now)
        if isinstance(rest, Refusal):
            self._answer(one, rest.status, response if rest.status == status else None, now)
        else:
            one.plan = rest
            self._next(one, now)

    def _answer(self, one: Passing, status: int, response: Response | None, now: float) -> None:
        self.under_way.discard(one)
        stack = self._services.stack
        if response is None:
            stack.reply(one.asked, status, now, tag=stack.token())
        else:
            lines = crossing(response, DEVICE_HOP)
            stack.reply(one.asked, status, now, response.reason, lines, response.body, response.to_tag)

    def drop(self) -> None:
        """They are another server's: their agents send them there."""
        for one in self.under_way:
            one.generation += 1
            one.asked.terminate()
        self.under_way.clear()


def _passes(line: LineSettings | None) -> bool:
    return line is not None and line.messages == "pass"
