"""Subscriptions of devices to other lines (RFC 6665): message waiting (RFC 3842) and busy lamps (RFC 4235).

The agent has a dialog with the device, and another one, by way of the servers, with the agent at the far end. Servers
only pass requests of that one on and keep no state of it (docs/wire.md), so that no death of a server ends a
subscription. A request that comes in one dialog is sent in the other, and its answer comes back. The busy lamp of a
line whose devices register here is served by the agent itself, without a device: ``gateway_agent.lamps``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from gateway_agent.call_environment import CallEnvironment
from gateway_agent.call_table import CallTable
from gateway_agent.channels import Busy
from gateway_agent.deduplication import key_of
from gateway_agent.far_side import Target
from gateway_agent.lamps import Lamp, Watched, answer
from gateway_agent.line import Line
from gateway_agent.line_snapshot import LineStates
from gateway_agent.server_side import ServerRequest
from gateway_agent.subscription_state import SubscriptionState
from heartbeat.site.lines import LineSettings as Settings
from sip.actions import Flow
from sip.b2b.policy import LATER
from sip.device.header_rules import ruled
from sip.device.identity import asserted_by_device, asserted_to_device, from_device, line_parameter, to_device
from sip.dialog import DialogState, called_by, contact_uri, dialog_key
from sip.digest import Refusal
from sip.header_policy import DEVICE_HOP, crossing, max_forwards_left, refused_outside_dialogs
from sip.packages import dialog_info, message_summary
from sip.subscription import FATAL, is_last, package_of
from sip.subscription_usage import ALLOW, SubscriptionUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.errors import SipError
from sip.wire.grammar import number
from sip.wire.message import Message, Request, Response

PACKAGES: Final = (dialog_info.PACKAGE, message_summary.PACKAGE)
ALLOW_EVENTS: Final = f"Allow-Events: {', '.join(PACKAGES)}"
MOST: Final = 20_000
"""Subscriptions of all lines of an agent; beyond, 503 with Retry-After."""
MOST_OF_PHONE: Final = 256
"""Subscriptions of the devices of one phone: as many as two large consoles have keys."""
MOST_OF_TRUNK: Final = 5000
MOST_WAITING: Final = 8
"""Requests of one subscription that may wait for a server."""
LONGEST: Final = 86_400
"""Seconds: a larger Expires is taken for this."""
MARGIN: Final = 64.0
"""Seconds after its expiry for which a subscription is kept, for its last NOTIFY."""
OVER: Final = "expired"
HOLD: Final = "hold_attempt"
_SPOILT: Final = FATAL | {408}
"""Statuses of answers that end a subscription (RFC 6665 section 4.2.2, RFC 5057 section 5.1)."""


class ToServers:
    """A request of the device, passed on to the servers, without a final answer."""

    __slots__ = ("asked", "client", "generation", "subscription")

    def __init__(self, subscription: Subscription, asked: ServerTransaction) -> None:
        self.subscription = subscription
        self.asked = asked
        self.client: ClientTransaction | None = None
        self.generation = 0

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.subscription.answered_by_server(self, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        """Never called: requests to servers have no timeout."""

    def due(self, cause: str, now: float) -> None:
        self.subscription.held(self, now)


class ToDevice:
    """A request of a server, passed on to the device, without a final answer."""

    __slots__ = ("lines", "proved", "received", "request", "spare", "subscription")

    def __init__(
        self, subscription: Subscription, received: ServerRequest, request: Request, lines: list[str]
    ) -> None:
        self.subscription = subscription
        self.received = received
        self.request = request
        self.lines = lines
        self.proved = False
        self.spare: list[Target] = []
        """Further targets to try, while there is no dialog with the device yet."""

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self.subscription.answered_by_device(self, response, now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self.subscription.not_answered(self, transaction, now)


class Subscription:
    """A subscription that a device made, or that was made to one: the two dialogs, and requests under way."""

    __slots__ = (
        "_directory",
        "device",
        "event",
        "expires_at",
        "generation",
        "inward",
        "line",
        "server",
        "shift",
        "told",
        "waiting",
    )

    def __init__(self, directory: Subscriptions, line: Line, inward: bool, event: str, now: float) -> None:
        """``inward``: the device is the subscriber; otherwise it is the notifier."""
        self._directory = directory
        self.line = line
        self.inward = inward
        self.event = event
        self.server: SubscriptionUsage | None = None
        self.device: SubscriptionUsage | None = None
        self.expires_at = now + MARGIN
        self.generation = 0
        self.shift = 0
        """The CSeq number of a request to the device is that of the servers' request plus this. So a request that
        comes again after a restart of this agent goes to the device under the same number."""
        self.told = 0
        """How many texts for servers to keep were made of it."""
        self.waiting: list[ToServers] = []

    @property
    def method_of_device(self) -> str:
        return "SUBSCRIBE" if self.inward else "NOTIFY"

    def state(self, now: float) -> SubscriptionState | None:
        """What servers are to keep of the subscription; None until it has both dialogs."""
        if self.server is None or self.device is None:
            return None
        return SubscriptionState(
            "watches" if self.inward else "watched",
            self.line.name,
            self.event,
            self.expires_at - now,
            self.server.dialog.export(),
            self.device.dialog.export(),
            self.device.flow,
        )

    def is_repeat(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self._directory.environment.is_repeat(transaction, request, now)

    def requested(
        self, usage: SubscriptionUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> None:
        """Pass a request in one of the dialogs on in the other one."""
        ours = usage is self.device
        if (request.method == self.method_of_device) is not ours:
            self._directory.environment.stack.reply(transaction, 405, now, lines=(ALLOW,))
        elif ours:
            self.to_servers(transaction, request, believed(self.line, request), now)
        else:
            self.to_device(transaction, request, now)

    # From the device.

    def to_servers(self, transaction: ServerTransaction, request: Request, lines: list[str], now: float) -> None:
        """Pass a request of the device on with these header lines. It waits for an answer of whichever server leads
        until then."""
        environment, server = self._directory.environment, self.server
        assert server is not None
        if len(self.waiting) >= MOST_WAITING:
            environment.stack.reply(transaction, 500, now, lines=LATER.lines, tag=environment.stack.token())
            return
        one = ToServers(self, transaction)
        self.waiting.append(one)
        ending = request.method == "NOTIFY" and is_last(request)
        one.client = server.send(
            request.method,
            [*lines, f"Line: {self.line.name}", *(() if ending else self._directory.kept(self, now))],
            request.body,
            one,
            now,
            branch=environment.derivation.branch(request, server.dialog.call_id),
            max_forwards=max_forwards_left(request),
            no_timeout=True,
        )
        environment.stack.deadlines.set(now + environment.hold_attempt, one, HOLD)

    def moved(self, flow: Flow) -> None:
        """Servers are reached on that connection from now on: send all unanswered requests there again."""
        if self.server is not None:
            self.server.path.move(flow)
        for one in self.waiting:
            if one.client is not None:
                one.client.resend(flow)

    def answered_by_server(self, one: ToServers, response: Response, now: float) -> None:
        """Pass the final answer of the far end on to the device."""
        self._forget(one)
        request, server, device = one.asked.request, self.server, self.device
        if request is None or server is None or device is None:
            return
        if request.method == "SUBSCRIBE" and response.status < 300 and not server.dialog.remote_tag:
            server.dialog.establish(response)
        elif response.status < 300:
            server.dialog.target = contact_uri(response) or server.dialog.target
        status = 403 if response.status in (401, 407) else response.status
        lines = told(self.line, response)
        if request.method == "SUBSCRIBE" and status < 300:
            lines = [device.contact, *lines]
        stack = self._directory.environment.stack
        stack.reply(one.asked, status, now, response.reason, lines, response.body, device.dialog.local_tag)
        self._settle(request, status, response, now)

    def held(self, one: ToServers, now: float) -> None:
        """A request has waited ``hold_attempt`` seconds. While a server is connected it waits on; otherwise it is
        refused, and the device may try again."""
        environment = self._directory.environment
        if environment.connected:
            environment.stack.deadlines.set(now + environment.hold_attempt, one, HOLD)
            return
        if one.client is not None:
            one.client.terminate()
        self._forget(one)
        request = one.asked.request
        status = 500 if request is not None and request.to_tag else 503
        environment.stack.reply(one.asked, status, now, lines=LATER.lines, tag=environment.stack.token())
        if status == 503:
            self.end()

    def _forget(self, one: ToServers) -> None:
        one.generation += 1
        if one in self.waiting:
            self.waiting.remove(one)

    # To the device.

    def to_device(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """Pass a request of a server on to the device."""
        environment, device = self._directory.environment, self.device
        assert device is not None
        received = ServerRequest(key_of(request), transaction, request.method, None)
        environment.deduplication.add(received, now)
        self.send(ToDevice(self, received, request, told(self.line, request)), now)

    def send(self, one: ToDevice, now: float, flow: Flow | None = None, proof: tuple[str, ...] = ()) -> None:
        """Send the request to the device. ``proof``: header lines with the credentials that a challenge asked for;
        the request then gets the next CSeq number."""
        device, request = self.device, one.request
        assert device is not None
        self.shift += bool(proof)
        device.send(
            request.method,
            [*one.lines, *proof],
            request.body,
            one,
            now,
            branch="" if proof else self._directory.environment.derivation.branch(request, device.dialog.call_id),
            max_forwards=max_forwards_left(request),
            flow=flow,
            cseq=request.cseq + self.shift,
        )

    def answered_by_device(self, one: ToDevice, response: Response, now: float) -> None:
        device, digest = self.device, self.line.digest
        if device is None:
            return
        if response.status in (401, 407) and digest is not None and not one.proved:
            proof = digest.answer(response, one.request.method, device.dialog.target)
            if not isinstance(proof, Refusal):
                one.proved = True
                self.send(one, now, None, tuple(each.line for each in proof))
                return
        if one.request.method == "SUBSCRIBE" and response.status < 300:
            if not device.dialog.remote_tag or not one.request.to_tag:
                device.dialog.establish(response)
            else:
                device.dialog.target = contact_uri(response) or device.dialog.target
        elif response.status == 503 and one.spare:
            self._directory.open(self, one, now)
            return
        self._answer(one, response.status, response, now)

    def not_answered(self, one: ToDevice, transaction: ClientTransaction, now: float) -> None:
        """The device did not answer: try another target or address, or answer with the failure."""
        if self.device is None:
            return
        if one.spare:
            self._directory.open(self, one, now)
        elif self.device.sender.send_elsewhere(transaction, one, not one.request.to_tag, now) is None:
            self._answer(one, transaction.failure, None, now)

    def _answer(self, one: ToDevice, status: int, response: Response | None, now: float) -> None:
        environment, server = self._directory.environment, self.server
        assert server is not None
        status = 403 if status in (401, 407) else status
        own: list[str] = []
        if status < 300:
            ending = one.request.method == "NOTIFY" and is_last(one.request)
            own = [] if ending else [*self._directory.kept(self, now)]
            if one.request.method == "SUBSCRIBE":
                own = [server.contact, *own]
        answer(environment, one.received, status, response, now, own, server.dialog.local_tag)
        self._settle(one.request, status, response, now)

    # Both directions.

    def _settle(self, request: Request, status: int, response: Response | None, now: float) -> None:
        """Set the subscription's expiry by the final answer to a request, or end it."""
        if request.method == "SUBSCRIBE" and status < 300:
            said = response.get("expires") if response is not None else None
            given = number(said or request.get("expires") or "")
            self.expires_at = now + min(LONGEST if given is None else given, LONGEST)
            self.wake()
        elif (request.method == "NOTIFY" and is_last(request)) or status in _SPOILT or not request.to_tag:
            self.end()

    def wake(self) -> None:
        """Set the timer for its expiry and the margin after that."""
        self.generation += 1
        self._directory.environment.stack.deadlines.set(self.expires_at + MARGIN, self, OVER)

    def due(self, cause: str, now: float) -> None:
        self.end()

    def end(self) -> None:
        """End the subscription without a message: both ends know its expiry."""
        self.generation += 1
        for usage in (self.server, self.device):
            if usage is not None:
                usage.end()
        self._directory.remove(self)


class Subscriptions:
    """All subscriptions of an agent's devices, and the busy lamps of its phones."""

    def __init__(
        self,
        environment: CallEnvironment,
        calls: CallTable,
        lines: Mapping[str, Line],
        states: LineStates,
        host_towards: Callable[[Settings, Flow], str],
        realm: Callable[[], str],
    ) -> None:
        self.environment = environment
        self._lines = lines
        self._states = states
        self._watched = Watched(environment, calls.living, realm, self.kept)
        self._host_towards = host_towards
        self._realm = realm
        self.tell: Callable[[float], None] = _nobody
        """Sends servers the present state of all, when something has changed at a device without a message to
        them."""
        self.known: dict[str, Subscription | Lamp] = {}
        """All of them, by the key of the dialog with the servers."""
        self._watched.ended = self.remove
        environment.watched = self._watched.changed

    # New subscriptions.

    def subscribe(self, transaction: ServerTransaction, request: Request, line: Line, now: float) -> None:
        """A SUBSCRIBE outside dialogs, of an authenticated device of that line."""
        environment = self.environment
        stack = environment.stack
        if line.settings.subscriptions == "refuse":
            stack.respond_stateless(transaction, *refused_outside_dialogs("SUBSCRIBE", "REGISTER"))
            return
        if package_of(request) not in PACKAGES:
            stack.respond_stateless(transaction, 489, (ALLOW_EVENTS,))
            return
        if not contact_uri(request):
            stack.respond_stateless(transaction, 400)
            return
        if self._full(line):
            stack.respond_stateless(transaction, 503, LATER.lines)
            return
        if (before := self._opened_from(request)) is not None:  # from before a restart, and not answered yet
            before.to_servers(transaction, request, believed(line, request), now)
            return
        try:
            told = from_device(line.identity, request, self._realm())
        except SipError:
            stack.respond_stateless(transaction, 404)
            return
        one = Subscription(self, line, True, request.get("event") or "", now)
        opening = environment.derivation.to_servers(request)
        call_id, tag = (opening.call_id, opening.tag) if opening else (stack.token() + stack.token(), stack.token())
        # our tag, too, is the same again after a restart of this agent
        device = called_by(request, call_id[:16])
        one.device = SubscriptionUsage(stack, one, device, transaction.flow, line.reach)
        target = told.uri(environment.server)
        state = DialogState(call_id, tag, "", told.sender, told.recipient, target=target)
        one.server = self._site_end(one, state)
        self.known[one.server.dialog.key] = one
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
        if line.identity.from_device_headers:
            lines = ruled(line.identity.from_device_headers, lines)
        one.to_servers(transaction, request, lines, now)
        one.wake()

    def subscribed(self, transaction: ServerTransaction, request: Request, now: float) -> None:
        """A SUBSCRIBE of a server to one of the lines, outside dialogs."""
        environment = self.environment
        received = ServerRequest(key_of(request), transaction, "SUBSCRIBE", None)
        environment.deduplication.add(received, now)
        line = self._lines.get(line_parameter(request.uri))
        if line is None or line.settings.subscriptions == "refuse":
            answer(environment, received, 404 if line is None else 405, None, now)
            return
        package = package_of(request)
        if package not in PACKAGES or (line.settings.is_phone and package != dialog_info.PACKAGE):
            answer(environment, received, 489, None, now, [ALLOW_EVENTS])
        elif (known := self._opened_by(request)) is not None:  # before this process began
            assert known.server is not None
            left = max(0, int(known.expires_at - now))
            answer(environment, received, 200, None, now, [known.server.contact, f"Expires: {left}"])
        elif len(self.known) >= MOST:
            answer(environment, received, 503, None, now, [*LATER.lines])
        elif line.settings.is_phone:
            lamp = Lamp(self._watched, line, request, now)
            lamp.server = self._site_end(lamp, called_by(request, environment.stack.token()))
            if lamp.begin(received, request, now):
                self.known[lamp.server.dialog.key] = lamp
            else:
                lamp.server.end()
        else:
            one = Subscription(self, line, False, request.get("event") or "", now)
            one.server = self._site_end(one, called_by(request, environment.stack.token()))
            self.known[one.server.dialog.key] = one
            if line.far_side.ready(lambda then: self._begin(one, received, request, then), now):
                self._begin(one, received, request, now)

    def _begin(self, one: Subscription, received: ServerRequest, request: Request, now: float) -> None:
        targets = one.line.targets(now)
        if isinstance(targets, Busy):
            answer(self.environment, received, targets.status, None, now)
            one.end()
            return
        sent = ToDevice(one, received, request, [])
        sent.spare = list(targets)
        self.open(one, sent, now)

    def open(self, one: Subscription, sent: ToDevice, now: float) -> None:
        """Send a SUBSCRIBE that opens the dialog with a device to the next of its targets."""
        environment, line, request = self.environment, one.line, sent.request
        target = sent.spare.pop(0)
        flow = target.flow
        if one.device is not None:
            one.device.end()
        try:
            told = to_device(line.identity, request, self._host_towards(line.settings, flow), target.host)
        except SipError:
            answer(environment, sent.received, 404, None, now)
            one.end()
            return
        opening = environment.derivation.to_device(sent.received.key, target.uri, flow)
        token = environment.stack.token
        call_id, tag = (opening.call_id, opening.tag) if opening else (token(), token())
        uri = told.uri(target.uri) if target.fill else target.uri
        state = DialogState(call_id, tag, "", told.sender, told.recipient, target=uri, route_set=target.route)
        one.device = SubscriptionUsage(environment.stack, one, state, flow, line.reach)
        lines = [*crossing(request, DEVICE_HOP | told.dropped), *told.more]
        sent.lines = ruled(line.identity.to_device_headers, lines) if line.identity.to_device_headers else lines
        sent.proved = False
        one.wake()
        one.send(sent, now, flow)

    # What servers keep.

    def kept(self, one: Subscription | Lamp, now: float) -> tuple[str, ...]:
        """The header line with what servers are to keep of a subscription for this agent."""
        text = self.text(one, now) if self._states.kept else ""
        return (f"Line-State: {text}",) if text else ()

    def text(self, one: Subscription | Lamp, now: float) -> str:
        """The value of that header; empty where there is nothing to keep yet."""
        state = one.state(now)
        if state is None or one.server is None:
            return ""
        one.told += 1
        return self._states.subscription(state, one.server.dialog.key, one.told)

    def records(self, now: float) -> Iterator[tuple[str, str, float]]:
        """(key, text, seconds until it expires) of each subscription, for a server that has adopted this agent."""
        for key, one in list(self.known.items()):
            if one.expires_at > now and (text := self.text(one, now)):
                yield key, text, one.expires_at - now

    def resume(self, state: SubscriptionState, age: float, now: float) -> None:
        """Restore a subscription from before a restart; ``state`` is ``age`` seconds old."""
        line, stack = self._lines.get(state.line), self.environment.stack
        left = state.expires_in - age
        key = dialog_key(state.server.call_id, state.server.local_tag)
        if line is None or left <= 0 or len(self.known) >= MOST or key in self.known:
            return
        expires_at = now + left
        if state.role == "lamp":
            lamp = Lamp.resumed(self._watched, line, state, expires_at, now)
            lamp.server = self._site_end(lamp, beyond(state.server))
            self.known[lamp.server.dialog.key] = lamp
            lamp.changed(now)
        elif state.device is not None and state.flow is not None:
            one = Subscription(self, line, state.role == "watches", state.event, now)
            one.server = self._site_end(one, beyond(state.server))
            one.device = SubscriptionUsage(stack, one, state.device, state.flow, line.reach)
            one.shift = max(0, state.device.local_cseq - state.server.remote_cseq)
            one.expires_at = expires_at
            self.known[one.server.dialog.key] = one
            one.wake()

    # Servers and lines.

    def moved(self, now: float) -> None:
        """A server has adopted this agent: send it all unanswered requests."""
        for one in self.known.values():
            one.moved(self.environment.server_flow)

    def reload(self) -> None:
        """The site file has changed: end the subscriptions of lines that are gone, or refuse subscriptions now."""
        for one in list(self.known.values()):
            if self._lines.get(one.line.name) is not one.line or one.line.settings.subscriptions == "refuse":
                one.end()

    def remove(self, one: Subscription | Lamp) -> None:
        """Forget a subscription that is over."""
        if one.server is not None:
            self.known.pop(one.server.dialog.key, None)

    def _site_end(self, owner: Subscription | Lamp, state: DialogState) -> SubscriptionUsage:
        usage = SubscriptionUsage(self.environment.stack, owner, state, self.environment.server_flow)
        usage.path.user = owner.line.name
        return usage

    def _opened_by(self, request: Request) -> Subscription | Lamp | None:
        for one in self.known.values():
            dialog = one.server.dialog if one.server is not None else None
            if dialog is not None and (dialog.call_id, dialog.remote_tag) == (request.call_id, request.from_tag):
                return one
        return None

    def _opened_from(self, request: Request) -> Subscription | None:
        """The subscription that this SUBSCRIBE of a device, outside dialogs, has opened already; else None."""
        for one in self.known.values():
            if isinstance(one, Subscription) and one.inward and one.device is not None:
                dialog = one.device.dialog
                if (dialog.call_id, dialog.remote_tag) == (request.call_id, request.from_tag):
                    return one
        return None

    def _full(self, line: Line) -> bool:
        most = MOST_OF_PHONE if line.settings.is_phone else MOST_OF_TRUNK
        theirs = (isinstance(one, Subscription) and one.inward and one.line is line for one in self.known.values())
        return len(self.known) >= MOST or sum(theirs) >= most


def beyond(state: DialogState) -> DialogState:
    """The same dialog with a CSeq number beyond those that were used before a restart."""
    return state._replace(local_cseq=state.local_cseq + 1000)


def told(line: Line, message: Message) -> list[str]:
    """The header lines of a message from the servers, as they are passed on to the device."""
    dropped, more = asserted_to_device(line.identity, message, line.identity.domain)
    return [*crossing(message, DEVICE_HOP | dropped), *more]


def believed(line: Line, message: Message) -> list[str]:
    """The header lines of a message from the device, as they are passed on to the servers."""
    dropped, more = asserted_by_device(line.identity, message, "")
    return [*crossing(message, DEVICE_HOP | dropped), *more]


def _nobody(now: float) -> None:
    pass
