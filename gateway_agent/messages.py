"""MESSAGE outside calls (RFC 3428), from a device to the servers and from a server to a device; and unsolicited
NOTIFY of waiting messages (RFC 3842).

A device's request waits here for its answer. It has no dialog in whose record it could be, so it is sent again, under
the same branch, to whichever server adopts the agent next. A request that servers send again is recognised by its
origin key, so that the device gets it once (docs/wire.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.channels import Busy
from gateway_agent.deduplication import key_of
from gateway_agent.far_side import Target
from gateway_agent.line import Line
from gateway_agent.server_side import ServerRequest
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import UNREACHABLE, Flow
from sip.b2b.policy import LATER
from sip.device.header_rules import ruled
from sip.device.identity import from_device, line_parameter, to_device
from sip.device.sending import send_with_proof
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, refused_outside_dialogs
from sip.packages.message_summary import is_of_messages
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.build import request_bytes
from sip.wire.errors import SipError
from sip.wire.message import Request, Response

MOST: Final = 1000
"""Messages of devices that may wait for an answer, of all lines; further ones get 503 with Retry-After."""
MOST_OF_LINE: Final = 20
"""The same for one line."""
OVER: Final = "hold_attempt"


def is_unsolicited(request: Request) -> bool:
    """Whether it is a NOTIFY of waiting messages outside any subscription, as voice mail systems send it."""
    return request.method == "NOTIFY" and not request.to_tag and is_of_messages(request)


class Waiting:
    """A message of a device, passed on to the servers, without a final answer."""

    __slots__ = ("asked", "client", "generation", "line", "messages")

    def __init__(self, messages: DeviceMessages, asked: ServerTransaction, line: str) -> None:
        self.messages = messages
        self.asked = asked
        self.line = line
        self.client: ClientTransaction | None = None
        self.generation = 0

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.messages.answered(self, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        """Never called: requests to servers have no timeout."""

    def due(self, cause: str, now: float) -> None:
        self.messages.over(self, now)


class DeviceMessages:
    """Messages outside calls (MESSAGE, NOTIFY) that devices send, on their way to the servers."""

    def __init__(self, environment: CallEnvironment, realm: Callable[[], str]) -> None:
        self._environment = environment
        self._realm = realm
        self.waiting: list[Waiting] = []

    def send(self, transaction: ServerTransaction, request: Request, line: Line, now: float) -> None:
        """Pass on a MESSAGE or NOTIFY of an authenticated device of that line."""
        environment, method = self._environment, request.method
        stack = environment.stack
        if not line.settings.passes(method):
            stack.respond_stateless(transaction, *refused_outside_dialogs(method, "REGISTER"))
            return
        theirs = sum(one.line == line.name for one in self.waiting)
        if len(self.waiting) >= MOST or theirs >= MOST_OF_LINE:
            stack.respond_stateless(transaction, 503, LATER.lines)
            return
        try:
            told = from_device(line.identity, request, self._realm())
        except SipError:
            stack.respond_stateless(transaction, 404)
            return
        one = Waiting(self, transaction, line.name)
        call_id = stack.token() + stack.token()
        branch = environment.derivation.branch(request, line.name) or stack.branch()
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
        if line.identity.from_device_headers:
            lines = ruled(line.identity.from_device_headers, lines)
        head = (
            stack.via(environment.server_flow, branch),
            f"From: {told.sender};tag={stack.token()}",
            f"To: {told.recipient}",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            f"Max-Forwards: {max_forwards_left(request)}",
            *((stack.contact(environment.server_flow),) if method == "NOTIFY" else ()),
        )
        lines = [*head, *lines, f"Line: {line.name}"]
        data = request_bytes(method, told.uri(environment.server), lines, request.body)
        self.waiting.append(one)
        one.client = stack.request(method, data, branch, environment.server_flow, one, now, None, True)
        stack.deadlines.set(now + environment.hold_attempt, one, OVER)

    def moved(self, now: float) -> None:
        """A server has adopted this agent: send it all unanswered messages."""
        flow = self._environment.server_flow
        for one in self.waiting:
            if one.client is not None:
                one.client.resend(flow)

    def answered(self, one: Waiting, response: Response, now: float) -> None:
        self._forget(one)
        lines = crossing(response, DEVICE_HOP)
        status = 403 if response.status in (401, 407) else response.status
        self._environment.stack.reply(one.asked, status, now, response.reason, lines, response.body, response.to_tag)

    def over(self, one: Waiting, now: float) -> None:
        """A message has waited ``hold_attempt`` seconds. While a server is connected it waits on; otherwise it is
        refused."""
        if self._environment.connected:
            self._environment.stack.deadlines.set(now + self._environment.hold_attempt, one, OVER)
            return
        stack = self._environment.stack
        if one.client is not None:
            one.client.terminate()
        self._forget(one)
        stack.reply(one.asked, 503, now, lines=LATER.lines, tag=stack.token())

    def _forget(self, one: Waiting) -> None:
        one.generation += 1
        if one in self.waiting:
            self.waiting.remove(one)


class Delivery:
    """A message of a server on its way to the devices of a line."""

    __slots__ = ("challengeable", "line", "messages", "open", "received", "request", "spare")

    def __init__(self, messages: ServerMessages, received: ServerRequest, request: Request, line: Line) -> None:
        self.messages = messages
        self.received = received
        self.request = request
        self.line = line
        self.spare: list[Target] = []
        self.open = 0
        """The number of devices that have not answered."""
        self.challengeable: dict[str, bytes] = {}
        """The requests that were sent without credentials, by branch."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.messages.answered(self, transaction, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.messages.failed(self, transaction.failure, None, now)


class ServerMessages:
    """Messages outside calls that servers send, on their way to devices."""

    def __init__(
        self,
        environment: CallEnvironment,
        lines: Mapping[str, Line],
        host_towards: Callable[[Settings, Flow], str],
    ) -> None:
        self._environment = environment
        self._lines = lines
        self._host_towards = host_towards

    def deliver(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Send a MESSAGE or NOTIFY of a server to all devices of a phone, or to the addresses of a trunk in turn."""
        received = ServerRequest(key_of(request), transaction, request.method, None)
        self._environment.deduplication.add(received, now)
        line = self._lines.get(line_parameter(request.uri))
        if line is None or not line.settings.passes(request.method):
            self._answer(received, 404 if line is None else 405, None, now)
            return
        one = Delivery(self, received, request, line)
        if line.far_side.ready(lambda then: self._begin(one, then), now):
            self._begin(one, now)

    def _begin(self, one: Delivery, now: float) -> None:
        targets = one.line.targets(now)
        if isinstance(targets, Busy):
            self._answer(one.received, targets.status, None, now)
            return
        one.spare = list(targets)
        for _ in range(len(targets) if one.line.far_side.parallel else 1):
            self._try(one, one.spare.pop(0), now)

    def _try(self, one: Delivery, target: Target, now: float) -> None:
        flow = target.flow
        if flow is UNREACHABLE:
            self.failed(one, 503, None, now)
            return
        environment, line, request = self._environment, one.line, one.request
        stack = environment.stack
        try:
            told = to_device(line.identity, request, self._host_towards(line.settings, flow), target.host)
        except SipError:
            self.failed(one, 404, None, now)
            return
        opening = environment.derivation.to_device(one.received.key, target.uri, flow)
        call_id, tag, branches = opening or (stack.token(), stack.token(), lambda cseq: stack.branch())
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
        if line.identity.to_device_headers:
            lines = ruled(line.identity.to_device_headers, lines)
        branch = branches(1)
        head = (
            stack.via(flow, branch),
            f"From: {told.sender};tag={tag}",
            f"To: {told.recipient}",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {request.method}",
            f"Max-Forwards: {max_forwards_left(request)}",
            *((stack.contact(flow),) if request.method == "NOTIFY" else ()),
            *(f"Route: {route}" for route in target.route),
        )
        uri = told.uri(target.uri) if target.fill else target.uri
        data = request_bytes(request.method, uri, (*head, *lines), request.body)
        one.open += 1
        if line.digest is not None:
            one.challengeable[branch] = data
        stack.request(request.method, data, branch, flow, one, now)

    def answered(self, one: Delivery, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status in (401, 407) and self._prove(one, transaction, response, now):
            return
        if response.status >= 300:
            self.failed(one, response.status, response, now)
        elif one.received.final is None:
            self._answer(one.received, response.status, response, now)

    def failed(self, one: Delivery, status: int, response: Response | None, now: float) -> None:
        """A device has refused, or not answered. Unless another one accepts, the server gets the last such answer."""
        one.open -= one.open > 0
        if one.received.final is not None or one.open:
            return
        if one.spare and status in (408, 500, 503):
            self._try(one, one.spare.pop(0), now)
        else:
            self._answer(one.received, status, response, now)

    def _prove(self, one: Delivery, transaction: ClientTransaction, response: Response, now: float) -> bool:
        """After a challenge, send the request once more with credentials (RFC 3261 section 22.2). Returns whether."""
        digest, data = one.line.digest, one.challengeable.pop(transaction.branch, b"")
        if digest is None or not data:
            return False
        return send_with_proof(self._environment.stack, data, digest, transaction, response, one, now)

    def _answer(self, received: ServerRequest, status: int, response: Response | None, now: float) -> None:
        stack = self._environment.stack
        reason, lines, body, tag = "", [], b"", stack.token()
        if response is not None:
            reason, lines, body = response.reason, crossing(response, DEVICE_HOP), response.body
            tag = response.to_tag or tag
        status = 403 if status in (401, 407) else status
        answer = received.answer(status, reason, lines, body, tag)
        self._environment.deduplication.answered(received, now)
        stack.reply(received.transaction, status, now, reason, answer.lines, body, tag)
