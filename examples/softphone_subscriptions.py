"""The subscriptions of the softphone (RFC 6665): those that it makes, and those that others make with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from examples.softphone_call import Line
from sip.actions import Flow
from sip.dialog import DialogState, called_by
from sip.digest import Authorization, Refusal
from sip.layer import Stack
from sip.subscription import is_last
from sip.subscription_usage import SubscriptionUsage
from sip.transaction import ClientTransaction, ServerTransaction
from sip.wire.message import Request, Response
from sip.wire.uri import host_port

Tell = Callable[[str, Line, str, float], None]
"""Told of: its kind, the line, what is to be said of it, when."""


class Subscribed:
    """One subscription, ours or another one's."""

    def __init__(self, stack: Stack, line: Line, ours: bool, event: str, tell: Tell) -> None:
        self._stack = stack
        self._tell = tell
        self.line = line
        self.ours = ours
        self.event = event
        self.usage: SubscriptionUsage | None = None
        self.over = False
        self._tried: tuple[Authorization, ...] = ()
        self._expires = 0

    def is_repeat(self, transaction: ServerTransaction, request: Request, now: float) -> bool:
        return False

    def requested(
        self, usage: SubscriptionUsage, transaction: ServerTransaction, request: Request, now: float
    ) -> None:
        """A NOTIFY of ours is told of, a SUBSCRIBE to us granted."""
        if request.method == "NOTIFY":
            self._stack.reply(transaction, 200, now)
            self._tell("notified", self.line, request.body.decode("utf-8", "replace"), now)
            self._tell("subscription", self.line, request.get("subscription-state") or "", now)
            if is_last(request):
                self.end()
        else:
            expires = request.get("expires") or "3600"
            self._stack.reply(transaction, 200, now, lines=(usage.contact, f"Expires: {expires}"))
            self._tell("refreshed", self.line, expires, now)
            self.notify("", now, "active;expires=" + expires if expires != "0" else "terminated;reason=timeout")

    def subscribe(self, expires: int, now: float) -> None:
        """Ask for it, for it to go on, or with 0 for its end."""
        self._expires, self._tried = expires, ()
        self._ask((), now)

    def _ask(self, proof: tuple[str, ...], now: float) -> None:
        assert self.usage is not None
        self._follow()
        lines = (f"Event: {self.event}", f"Expires: {self._expires}", *proof)
        self.usage.send("SUBSCRIBE", lines, b"", self, now)

    def notify(self, body: str, now: float, state: str = "active") -> None:
        """Tell who subscribed."""
        assert self.usage is not None
        self._follow()
        lines = (f"Event: {self.event}", f"Subscription-State: {state}", "Content-Type: application/x-told")
        self.usage.send("NOTIFY", lines, body.encode(), self, now)
        if state.startswith("terminated"):
            self.end()

    def _follow(self) -> None:
        """Send where the other side's Contact is, over UDP."""
        assert self.usage is not None
        flow, dialog = self.usage.flow, self.usage.dialog
        if flow.transport != "udp" or not dialog.remote_tag:
            return
        host, port = host_port(dialog.target)
        if host[:1].isdigit():
            self.usage.path.move(flow._replace(remote=(host, port or 5060)))

    def responded(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        usage = self.usage
        if response.status < 200 or usage is None:
            return
        if transaction.method == "NOTIFY":
            self._tell("told", self.line, str(response.status), now)
            return
        digest = self.line.digest
        if response.status in (401, 407) and digest is not None:
            proof = digest.answer(response, "SUBSCRIBE", usage.dialog.target, self._tried)
            if not isinstance(proof, Refusal):
                self._tried = proof
                self._ask(tuple(each.line for each in proof), now)
                return
        if response.status < 300 and not usage.dialog.remote_tag:
            usage.dialog.establish(response)
        self._tell("subscribed", self.line, str(response.status), now)

    def timed_out(self, transaction: ClientTransaction, now: float) -> None:
        self._tell("told" if transaction.method == "NOTIFY" else "subscribed", self.line, "408", now)

    def end(self) -> None:
        """It is over."""
        self.over = True
        if self.usage is not None:
            self.usage.end()


class Wanted(NamedTuple):
    """What is to be watched."""

    number: str
    event: str
    expires: int = 3600


class Subscriptions:
    """All of a phone."""

    def __init__(self, stack: Stack, tell: Tell) -> None:
        self._stack = stack
        self._tell = tell
        self.known: list[Subscribed] = []

    def subscribe(self, line: Line, flow: Flow, wanted: Wanted, now: float) -> Subscribed:
        """Send a SUBSCRIBE."""
        one = Subscribed(self._stack, line, True, wanted.event, self._tell)
        host = line.aor.rpartition("@")[2]
        uri = f"sip:{wanted.number}@{host}"
        token = self._stack.token
        state = DialogState(token(), token(), "", f"<{line.aor}>", f"<{uri}>", target=uri)
        one.usage = SubscriptionUsage(self._stack, one, state, flow)
        self.known.append(one)
        one.subscribe(wanted.expires, now)
        return one

    def requested(self, transaction: ServerTransaction, request: Request, line: Line, now: float) -> None:
        """Somebody subscribes: granted, and told that there is nothing yet."""
        one = Subscribed(self._stack, line, False, request.get("event") or "", self._tell)
        tag = self._stack.token()
        one.usage = usage = SubscriptionUsage(self._stack, one, called_by(request, tag), transaction.flow)
        self.known.append(one)
        expires = request.get("expires") or "3600"
        self._stack.reply(transaction, 200, now, lines=(usage.contact, f"Expires: {expires}"), tag=tag)
        self._tell("watched", line, one.event, now)
        one.notify("nothing yet", now, f"active;expires={expires}")
