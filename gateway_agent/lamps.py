"""Busy lamps of telephones that register here (RFC 4235): the agent is the notifier, with the calls that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from gateway_agent.call import Call
from gateway_agent.call_environment import CallEnvironment
from gateway_agent.line import Line
from gateway_agent.server_side import ServerRequest
from gateway_agent.subscription_state import SubscriptionState
from sip.actions import Flow
from sip.header_policy import DEVICE_HOP, crossing
from sip.packages.dialog_info import CONTENT_TYPE, PACKAGE, WatchedDialog, dialog_info
from sip.references import PICKUP
from sip.requests import ResponseSpec
from sip.subscription import TERMINATED, Granted, Notifier, Package, judge
from sip.subscription_usage import ALLOW, SubscriptionUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.errors import SipError
from sip.wire.headers import Event
from sip.wire.message import Request, Response
from sip.wire.uri import user_of

PACKAGES: Final = {PACKAGE: Package(min_expires=60, max_expires=86_400, default_expires=3600)}
OVER: Final = "expires"
Realm = Callable[[], str]
Kept = Callable[[Any, float], tuple[str, ...]]


class Watched:
    """What the lamps of an agent share: its calls, and the lamps of each line."""

    def __init__(
        self, environment: CallEnvironment, calls: Mapping[int, Call], realm: Callable[[], str], kept: Kept
    ) -> None:
        self.environment = environment
        self._calls = calls
        self.realm = realm
        self.ended: Callable[[Any], None] = _nobody
        """Called with each lamp that is over."""
        self.lamps: dict[str, dict[Lamp, None]] = {}
        """The lamps, by the name of the line."""
        self.kept = kept
        """Returns the header line with what servers are to keep of a lamp."""

    def changed(self, line: Line, now: float) -> None:
        """A call on that line began, rang, was answered or ended."""
        for lamp in list(self.lamps.get(line.name, ())):
            lamp.changed(now)

    def calls_of(self, line: Line) -> Iterable[Call]:
        return [call for call in self._calls.values() if call.line is line and call.end is None]


def _state_of(call: Call) -> WatchedDialog:
    state = "confirmed" if call.answered_at is not None else "early" if call.ringing_at is not None else "trying"
    # what the telephone does, whichever way the call goes through the site
    direction = "initiator" if call.direction == "in" else "recipient"
    if state == "trying" and direction == "recipient":
        state = "early"  # the telephone is being called: for its watchers it rings
    if state != "early" or direction != "recipient" or call.server is None:
        return WatchedDialog(str(call.id), direction, state)  # type: ignore[arg-type]
    dialog = call.server.dialog  # as the servers know it, since they decide who may pick the call up
    return WatchedDialog(str(call.id), "recipient", "early", dialog.call_id, PICKUP, dialog.remote_tag)


class Lamp:
    """One subscription to the calls of a line. One NOTIFY at a time is under way; later changes go with the next."""

    __slots__ = ("_client", "_notifier", "_told", "_watched", "generation", "line", "number", "server", "told")

    def __init__(self, watched: Watched, line: Line, request: Request, now: float) -> None:
        self._watched = watched
        self.line = line
        self.server: SubscriptionUsage | None = None
        self._notifier: Notifier | None = None
        self._client: ClientTransaction | None = None
        """The NOTIFY under way."""
        self._told: dict[str, WatchedDialog] = {}
        """The dialogs in the last NOTIFY, by id."""
        self.generation = 0
        self.told = 0
        try:
            self.number = user_of(request.uri) or line.settings.aor_user
        except SipError:
            self.number = line.settings.aor_user

    @classmethod
    def resumed(cls, watched: Watched, line: Line, state: SubscriptionState, expires_at: float, now: float) -> Lamp:
        """A lamp from before a restart."""
        request = Request("SUBSCRIBE", f"sip:{state.number}@{watched.realm()}", [], [])
        lamp = cls(watched, line, request, now)
        granted = Granted(Event.parse(state.event), max(1, round(expires_at - now)))
        lamp._notifier = Notifier(granted, PACKAGES, now)
        lamp._enter()
        return lamp

    @property
    def expires_at(self) -> float:
        return self._notifier.expires_at if self._notifier is not None else 0.0

    def begin(self, received: ServerRequest, request: Request, now: float) -> bool:
        """Answer the SUBSCRIBE; False when it is refused."""
        granted = judge(request, PACKAGES)
        environment, server = self._watched.environment, self.server
        assert server is not None
        if isinstance(granted, ResponseSpec):
            answer(environment, received, granted.status, None, now, granted.lines)
            return False
        self._notifier = Notifier(granted, PACKAGES, now)
        lines = [server.contact, *granted.reply().lines, *self._watched.kept(self, now)]
        answer(environment, received, 200, None, now, lines, server.dialog.local_tag)
        self._enter()
        self._go_on(now)
        return True

    def state(self, now: float) -> SubscriptionState | None:
        """What servers are to keep of it; None before it was granted."""
        notifier, server = self._notifier, self.server
        if notifier is None or server is None:
            return None
        left, dialog = notifier.expires_at - now, server.dialog.export()
        return SubscriptionState("lamp", self.line.name, str(notifier.event), left, dialog, None, None, self.number)

    def is_repeat(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return self._watched.environment.is_repeat(transaction, request, now)

    def requested(
        self, usage: SubscriptionUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> None:
        """A SUBSCRIBE in the dialog refreshes or ends it."""
        environment, notifier = self._watched.environment, self._notifier
        received = ServerRequest(request.get("call-origin") or "", transaction, request.method, None)
        environment.deduplication.add(received, now)
        if request.method != "SUBSCRIBE" or notifier is None:
            answer(environment, received, 405, None, now, [ALLOW])
            return
        reply = notifier.refresh(request, now)
        lines = [usage.contact, *self._watched.kept(self, now)] if reply.status < 300 else []
        answer(environment, received, reply.status, None, now, [*lines, *reply.lines], usage.dialog.local_tag)
        self._wake()
        self._go_on(now)

    def changed(self, now: float) -> None:
        """The calls of its line have changed."""
        if self._notifier is not None:
            self._notifier.owed = True
            self._go_on(now)

    def moved(self, flow: Flow) -> None:
        """Servers are reached on that connection from now on: an unanswered NOTIFY is sent again there."""
        if self.server is not None:
            self.server.path.move(flow)
        if self._client is not None:
            self._client.resend(flow)

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """An answer to a NOTIFY."""
        if response.status < 200 or self._notifier is None:
            return
        self._client = None
        self._notifier.answered(response, now)
        if response.status == 408:
            self._notifier.failed(now)
        self._go_on(now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        """Never called: requests to servers have no timeout."""

    def due(self, cause: str, now: float) -> None:
        if self._notifier is not None:
            self._notifier.handle_timer(now)
            self._go_on(now)

    def end(self) -> None:
        """End the lamp without a message: the line is gone, or the subscription is over."""
        self.generation += 1
        lamps = self._watched.lamps.get(self.line.name)
        if lamps is not None:
            lamps.pop(self, None)
            if not lamps:
                del self._watched.lamps[self.line.name]
        if self.server is not None:
            self.server.end()
        self._notifier = None
        self._watched.ended(self)

    def _enter(self) -> None:
        self._watched.lamps.setdefault(self.line.name, {})[self] = None
        self._wake()

    def _wake(self) -> None:
        self.generation += 1
        at = self._notifier.get_timer() if self._notifier is not None else None
        if at is not None:
            self._watched.environment.stack.deadlines.set(at, self, OVER)

    def _go_on(self, now: float) -> None:
        """Send a NOTIFY if one is owed and none is under way."""
        notifier = self._notifier
        if notifier is None or self._client is not None:
            return
        if notifier.owed and notifier.state is not TERMINATED:
            notifier.notify(now, (f"Content-Type: {CONTENT_TYPE}",), self._body())
        asks = notifier.to_do()
        for ask in asks:
            assert self.server is not None
            kept = self._watched.kept(self, now) if notifier.state is not TERMINATED else ()
            lines = (*ask.lines, f"Line: {self.line.name}", *kept)
            self._client = self.server.send("NOTIFY", lines, ask.body, self, now, no_timeout=True)
        if notifier.state is TERMINATED and not asks:
            self.end()

    def _body(self) -> bytes:
        """The body of a NOTIFY: all calls of the line, and once those that have ended since the last one."""
        calls = {one.id: one for one in map(_state_of, self._watched.calls_of(self.line))}
        ended = [one._replace(state="terminated") for one in self._told.values() if one.id not in calls]
        self._told = calls
        assert self.server is not None
        # the version must rise by one with each NOTIFY (RFC 4235 section 4.1), as the CSeq number does
        entity = f"sip:{self.number}@{self._watched.realm()}"
        return dialog_info(entity, self.server.dialog.local_cseq + 1, [*calls.values(), *ended])


def answer(
    environment: CallEnvironment,
    received: ServerRequest,
    status: int,
    response: Response | None,
    now: float,
    own: Sequence[str] = (),
    tag: str = "",
) -> None:
    """Answer a request of a server in or for a subscription. ``response`` is the device's answer, if there is one;
    ``own`` are header lines of the agent."""
    stack = environment.stack
    reason, lines, body = "", [*own], b""
    if response is not None:
        reason, lines, body = response.reason, [*own, *crossing(response, DEVICE_HOP)], response.body
    said = received.answer(status, reason, lines, body, tag or stack.token())
    environment.deduplication.answered(received, now)
    stack.reply(received.transaction, status, now, reason, said.lines, body, said.tag)


def _nobody(lamp: Any) -> None:
    pass
