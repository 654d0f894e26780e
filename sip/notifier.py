"""The notifier's half of subscriptions, any event package (RFC 6665 section 4.2); the other is ``sip.subscription``.

:func:`judge` decides about a SUBSCRIBE; a :class:`Notifier` is one subscription that was accepted. It says when a
NOTIFY is owed (:attr:`Notifier.owed`) and its owner, who knows the state, gives the body to :meth:`Notifier.notify`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sip.requests import OutgoingRequest, ResponseSpec
from sip.subscription import FATAL
from sip.wire.errors import Malformed
from sip.wire.grammar import number
from sip.wire.headers import Event
from sip.wire.message import Request, Response

ACTIVE: Final = "active"
PENDING: Final = "pending"
TERMINATED: Final = "terminated"


@dataclass(frozen=True, slots=True)
class Package:
    """How long subscriptions to an event package last, in seconds."""

    min_expires: int = 60
    max_expires: int = 3600
    default_expires: int = 3600


@dataclass(frozen=True, slots=True)
class Granted:
    """A SUBSCRIBE that is in order."""

    event: Event
    expires: int
    """Seconds granted; 0 for a fetch or an end."""

    def reply(self, because: str = "") -> ResponseSpec:
        """The answer; its owner adds Contact (RFC 6665 section 4.2.1.1: always 200, never 202)."""
        return ResponseSpec(
            200, because or f"subscribed to {self.event} for {self.expires} s", (f"Expires: {self.expires}",)
        )


def judge(request: Request, packages: Mapping[str, Package]) -> Granted | ResponseSpec:
    """Whether a SUBSCRIBE can be granted, by its form; whether its sender may have it is for the caller to say."""
    allowed = f"Allow-Events: {', '.join(sorted(packages))}"
    value = request.get("event")
    if value is None:
        return ResponseSpec(489, "a SUBSCRIBE without Event", (allowed,))
    try:
        event = Event.parse(value)
    except Malformed as error:
        return ResponseSpec(400, str(error))
    package = packages.get(event.package)
    if package is None:
        return ResponseSpec(489, f"nobody notifies of {event.package} here", (allowed,))
    asked = request.get("expires")
    seconds = package.default_expires if asked is None else number(asked)
    if seconds is None:
        return ResponseSpec(400, "Expires is no number")
    if 0 < seconds < package.min_expires and seconds < 3600:  # RFC 6665 section 4.2.1.1
        return ResponseSpec(423, f"{seconds} s is too brief", (f"Min-Expires: {package.min_expires}",))
    return Granted(event, min(seconds, package.max_expires))


class Notifier:
    """One accepted subscription. Gone (:attr:`ended`) after the last NOTIFY was made or one of them failed."""

    __slots__ = ("_out", "_reason", "because", "ended", "event", "expires_at", "owed", "packages", "state")

    def __init__(self, granted: Granted, packages: Mapping[str, Package], now: float, pending: bool = False) -> None:
        self.event = granted.event
        self.packages = packages
        self.state = PENDING if pending else ACTIVE
        self.because = f"subscribed to {self.event}"
        self.expires_at = now + granted.expires
        self.owed = True
        """A NOTIFY with the state is to be made now (RFC 6665 section 4.2.1.2)."""
        self.ended = False
        self._reason = ""
        self._out: list[OutgoingRequest] = []
        if not granted.expires:
            self._close("timeout", "a fetch")

    def refresh(self, request: Request, now: float) -> ResponseSpec:
        """A SUBSCRIBE in the dialog: goes on, or ends with ``Expires: 0``; both are followed by a NOTIFY."""
        if self.state == TERMINATED:
            return ResponseSpec(481, "a subscription that has ended")
        found = judge(request, self.packages)
        if isinstance(found, ResponseSpec):
            return found
        if found.event.package != self.event.package or found.event.id != self.event.id:
            return ResponseSpec(481, f"a SUBSCRIBE to {found.event} in the subscription to {self.event}")
        self.owed = True
        self.expires_at = now + found.expires
        if not found.expires:
            self._close("timeout", "the subscriber ended it")
        return found.reply()

    def admit(self) -> None:
        """What was pending is allowed now."""
        if self.state == PENDING:
            self.state = ACTIVE
            self.owed = True

    def changed(self) -> None:
        """The state that is watched changed: a NOTIFY is owed."""
        self.owed = self.owed or self.state == ACTIVE

    def notify(self, now: float, lines: tuple[str, ...] = (), body: bytes = b"", more: bool = False) -> None:
        """Make a NOTIFY; ``lines`` hold Content-Type and the like, ``more`` says that further parts follow."""
        if self.ended:
            return
        self.owed = more
        left = max(0, math.ceil(round(self.expires_at - now, 3)))  # never longer than was granted (RFC 6665 4.1.3)
        if self.state != TERMINATED:
            state = f"{self.state};expires={left}"
        elif more:
            state = f"{ACTIVE};expires={max(left, 1)}"
        else:
            state = f"{TERMINATED};{self._reason}"
            self.ended = True
        self._out.append(
            OutgoingRequest("NOTIFY", "", (f"Event: {self.event}", f"Subscription-State: {state}", *lines), body)
        )

    def terminate(self, reason: str, now: float, retry_after: int | None = None, because: str = "") -> None:
        """End it from our side, with a last NOTIFY without a body (``deactivated``, ``giveup``, …)."""
        if self.state != TERMINATED:
            self._close(reason, because or f"ended here: {reason}", retry_after)
            self.notify(now)

    def answered(self, response: Response) -> None:
        """The final answer to a NOTIFY (RFC 6665 section 4.2.2)."""
        if response.status in FATAL:
            self._abandon(f"the subscriber answered {response.status}")

    def failed(self, because: str) -> None:
        """A NOTIFY had no answer: the subscription is gone."""
        self._abandon(because)

    def handle_timer(self, now: float) -> None:
        if self.state != TERMINATED and now >= self.expires_at:
            self.terminate("timeout", now, because="it was not refreshed")

    def get_timer(self) -> float | None:
        return None if self.state == TERMINATED else self.expires_at

    def to_do(self) -> list[OutgoingRequest]:
        """The NOTIFYs to send now, in order; handed over."""
        out, self._out = self._out, []
        return out

    def _close(self, reason: str, because: str, retry_after: int | None = None) -> None:
        self.state = TERMINATED
        self.because = because
        self._reason = f"reason={reason}" + (f";retry-after={retry_after}" if retry_after is not None else "")

    def _abandon(self, because: str) -> None:
        self.state = TERMINATED
        self.because = because
        self.owed = False
        self.ended = True
        self._out.clear()
